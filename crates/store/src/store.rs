//! The contract. Every implementation passes the suite in `conformance`.

use crate::error::Result;
use crate::model::*;
use async_trait::async_trait;
use jadeseal_types::{AccountId, Alias, DataKeyId, DataKeyState, KeyId, KeyState, SecretId};
use std::path::Path;

/// Where the rows are.
///
/// - A call that writes has been made durable when it returns `Ok`, and is visible to every call that begins
///   later. It is one transaction: all or nothing.
/// - Dropping the future of a call that writes does not undo it.
/// - The calls that take a [`Scope`] see and change only that account's keys in that region: the key of
///   another one does not exist for them (`None`, `NotFound`).
/// - A store holds no more than a bounded number of waiting calls: the rest gets
///   [`crate::StoreError::Unavailable`] at once.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // ---- within a scope ----

    /// Applies the changes in their order, with the audit record. One that fails undoes them all, and its error
    /// is the answer.
    async fn commit(&self, scope: &Scope, commit: Commit) -> Result<Committed>;

    /// One key.
    async fn key(&self, scope: &Scope, key_id: KeyId) -> Result<Option<Cmk>>;

    /// Several keys at one moment, in the order of the ids.
    async fn keys(&self, scope: &Scope, key_ids: &[KeyId]) -> Result<Vec<Option<Cmk>>>;

    /// All versions of a key's material, by version ascending.
    async fn versions(&self, scope: &Scope, key_id: KeyId) -> Result<Vec<KeyVersion>>;

    /// One version of a key's material.
    async fn version(&self, scope: &Scope, key_id: KeyId, version: u32) -> Result<Option<KeyVersion>>;

    /// The rows and the total of a query, of one moment: those of all the scopes in one list. Each scope is to be given
    /// once; none gives an empty page.
    async fn list(&self, scopes: &[Scope], query: KeyQuery) -> Result<Page<Cmk>>;

    /// As [`Store::list`] for one scope, with the ids alone.
    async fn list_ids(&self, scope: &Scope, query: KeyQuery) -> Result<Page<KeyId>>;

    /// The live import parameters. Their expiry is the caller's to check.
    async fn import_params(&self, scope: &Scope, key_id: KeyId) -> Result<Option<ImportParams>>;

    /// The key with this alias, in whatever state.
    async fn key_by_alias(&self, scope: &Scope, alias: &Alias) -> Result<Option<Cmk>>;

    /// The bindings of a key, by product and resource, at most `limit`.
    async fn bindings(&self, scope: &Scope, key_id: KeyId, limit: u64) -> Result<Vec<Binding>>;

    /// Whether any resource of a product is bound to a key with the user's consent.
    async fn is_bound(&self, scope: &Scope, key_id: KeyId, product_id: &str) -> Result<bool>;

    /// The tags of a key, by tag key.
    async fn tags(&self, scope: &Scope, key_id: KeyId) -> Result<Vec<Tag>>;

    /// What counts against the quota: the user's own keys in every state but PendingDelete.
    async fn count_own(&self, scope: &Scope) -> Result<u64>;

    /// When a key was last used, as far as it has been saved ([`Store::touch_keys`]); 0 when no use is known, or no key.
    async fn last_used(&self, scope: &Scope, key_id: KeyId) -> Result<u64>;

    // ---- data keys, within a scope ----

    /// One data key.
    async fn data_key(&self, scope: &Scope, id: DataKeyId) -> Result<Option<DataKey>>;

    /// Several data keys at one moment, in the order of the ids.
    async fn data_keys(&self, scope: &Scope, ids: &[DataKeyId]) -> Result<Vec<Option<DataKey>>>;

    /// A data key itself, wrapped.
    async fn data_key_material(&self, scope: &Scope, id: DataKeyId) -> Result<Option<DataKeyMaterial>>;

    /// The tags of a data key, by tag key.
    async fn data_key_tags(&self, scope: &Scope, id: DataKeyId) -> Result<Vec<Tag>>;

    /// As [`Store::list`]. Data keys of a CMK are looked for in the CMK's own scope.
    async fn list_data_keys(&self, scopes: &[Scope], query: DataKeyQuery) -> Result<Page<DataKey>>;

    /// As [`Store::list_data_keys`] for one scope, with the ids alone.
    async fn list_data_key_ids(&self, scope: &Scope, query: DataKeyQuery) -> Result<Page<DataKeyId>>;

    /// What counts against the quota: the user's own data keys in every state but PendingDelete.
    async fn count_data_keys(&self, scope: &Scope) -> Result<u64>;

    /// How many data keys of any state a CMK has, counted up to `at_most`.
    async fn count_data_keys_of(&self, scope: &Scope, cmk: KeyId, at_most: u64) -> Result<u64>;

    /// Data keys of any state of a CMK, at most `limit`, in no particular order.
    async fn data_keys_of(&self, scope: &Scope, cmk: KeyId, limit: u64) -> Result<Vec<DataKey>>;

    // ---- tags, of the scope's account in every region ----

    /// Keys and data keys with their tags, in the order of the ids, at one moment. None for what the account does not
    /// have.
    async fn taggables(&self, scope: &Scope, ids: &[KeyId]) -> Result<Vec<Option<Taggable>>>;

    /// Keys and data keys that have tags, by id ascending, beginning behind `after`: those that have all of the tag
    /// keys, each with any of its values (no value = any). Reads no more than what the first filter matches.
    async fn tagged(
        &self,
        scope: &Scope,
        filters: &[(String, Vec<String>)],
        after: Option<KeyId>,
        limit: u64,
    ) -> Result<Vec<Taggable>>;

    /// Tag keys in use, ascending, beginning behind `after`. Costs by the answer, not by the number of tags.
    async fn tag_keys(&self, scope: &Scope, after: &str, limit: u64) -> Result<Vec<String>>;

    /// Tags in use with one of the keys, by key and value ascending, beginning behind `after`. Costs as
    /// [`Store::tag_keys`].
    async fn tag_values(&self, scope: &Scope, keys: &[String], after: Option<Tag>, limit: u64) -> Result<Vec<Tag>>;

    // ---- for background jobs and caches ----

    /// Data keys in PendingDelete with `deletion_date <= now`, the earliest first, at most `limit`.
    async fn due_data_key_deletions(&self, now: u64, limit: u64) -> Result<Vec<DataKey>>;

    /// Keys in PendingDelete with `deletion_date <= now`, the earliest first, at most `limit`.
    async fn due_deletions(&self, now: u64, limit: u64) -> Result<Vec<Cmk>>;

    /// Keys of any state that still have imported material although it has expired (`0 < valid_to <= now`), the
    /// earliest first.
    async fn due_expiries(&self, now: u64, limit: u64) -> Result<Vec<Cmk>>;

    /// Keys in Enabled with rotation on and `next <= now`, the earliest first.
    async fn due_rotations(&self, now: u64, limit: u64) -> Result<Vec<Cmk>>;

    /// Forgets import parameters of all accounts with `expires <= now`, at most `limit`; tells how many.
    async fn drop_expired_imports(&self, now: u64, limit: u64) -> Result<u64>;

    /// Keys of all accounts by key id ascending, beginning behind `after`: for filling caches.
    async fn all_keys_meta(&self, after: Option<KeyId>, limit: u64) -> Result<Vec<Cmk>>;

    /// Notes when keys were last used, in one transaction. Never moves back; unknown ids are skipped; rows and revisions
    /// stay as they are.
    async fn touch_keys(&self, used: &[(KeyId, u64)]) -> Result<()>;

    /// One key of any account with what belongs to it, for the operator.
    async fn overview(&self, key_id: KeyId) -> Result<Option<KeyOverview>>;

    /// Keys of all accounts with what belongs to them, as [`Store::all_keys_meta`]: for the operator.
    async fn overviews(&self, after: Option<KeyId>, limit: u64) -> Result<Vec<KeyOverview>>;

    /// Number of keys in each state that any key is in.
    async fn counts_by_state(&self) -> Result<Vec<(KeyState, u64)>>;

    /// As [`Store::counts_by_state`], of data keys.
    async fn data_key_counts_by_state(&self) -> Result<Vec<(DataKeyState, u64)>>;

    // ---- accounts and access keys ----

    /// All accounts, the oldest first.
    async fn accounts(&self) -> Result<Vec<AccountRow>>;

    /// One account.
    async fn account(&self, account: AccountId) -> Result<Option<AccountRow>>;

    /// A new account with its domain key and access keys (each stored with revision 1). `Conflict` when one of
    /// them exists, belongs to another account, or the account's number is a user's, or when `domain.root_version` is
    /// not the current root key: the caller then wraps anew. With a `record`, that goes into the outbox in the same
    /// transaction.
    async fn create_account(
        &self,
        account: AccountRow,
        domain: DomainRow,
        access_keys: Vec<AccessKeyRow>,
        record: Option<Vec<u8>>,
    ) -> Result<()>;

    /// One access key, whatever its account: this is how a caller is found.
    async fn access_key(&self, secret_id: &SecretId) -> Result<Option<AccessKeyRow>>;

    /// The access keys of an account, by SecretId.
    async fn access_keys(&self, account: AccountId) -> Result<Vec<AccessKeyRow>>;

    /// All principals of an account, at one moment. None when there is no such account.
    async fn identities(&self, account: AccountId) -> Result<Option<Identities>>;

    /// [`Identities::revision`] of an account, alone.
    async fn identities_revision(&self, account: AccountId) -> Result<Option<u64>>;

    /// The accounts whose principals or access keys have been changed ([`Change::Identities`],
    /// [`Store::put_access_key`]) since a moment that an earlier call told, and the present moment: whoever keeps them in
    /// memory looks here whether they are still what they were. Moments grow; the first is 0.
    async fn identities_changed(&self, since: u64) -> Result<(u64, Vec<AccountId>)>;

    /// Stores an access key, with revision + 1. Revision 0 makes a new one (`Conflict` when it exists,
    /// `NotFound` when the account does not), any other must be the row's (`Conflict`; `NotFound` when there is
    /// no such row in the account). Account, product and creation time of a row never change. As to `record`, see
    /// [`Store::create_account`].
    async fn put_access_key(&self, row: AccessKeyRow, record: Option<Vec<u8>>) -> Result<()>;

    /// Notes when access keys were last used. Never moves back; unknown ids are skipped; revisions stay.
    async fn touch_access_keys(&self, used: &[(SecretId, u64)]) -> Result<()>;

    // ---- key hierarchy ----

    /// All versions of an account's domain key, by version ascending.
    async fn domains(&self, account: AccountId) -> Result<Vec<DomainRow>>;

    /// One more version of an account's domain key, stored with revision 1. `Conflict` when it exists, or
    /// `row.root_version` is not the current root key; `NotFound` when the account does not exist.
    async fn add_domain(&self, row: DomainRow) -> Result<()>;

    /// Domain keys of all accounts that are wrapped under a root key, at most `limit`.
    async fn domains_under_root(&self, root_version: u32, limit: u64) -> Result<Vec<DomainRow>>;

    /// Number of domain keys under a root key.
    async fn count_domains_under(&self, root_version: u32) -> Result<u64>;

    /// Replaces wrapping and root version of a domain key whose revision is `row.revision`; stored with
    /// revision + 1. `Conflict` on another revision, or when `row.root_version` is not the current root key.
    async fn rewrap_domain(&self, row: DomainRow) -> Result<()>;

    /// All sealed copies of all root keys, by version and slot.
    async fn root_rows(&self) -> Result<Vec<RootRow>>;

    /// A new root key in its slots: it becomes `Current`, all others `Retiring` (the states in the rows are not
    /// read). `Conflict` when there is no row, the rows name different versions or one slot twice, the version
    /// is not greater than every one stored, or the slots of the current root key, by name ascending, are not those of
    /// `beside`: a custodian that was added in the meantime would be lost with the old version. As to `record`, see
    /// [`Store::create_account`].
    async fn add_root(&self, rows: Vec<RootRow>, beside: &[String], record: Option<Vec<u8>>) -> Result<()>;

    /// Replaces the sealed copies of a root key; its state stays. `NotFound` when there is none of the version,
    /// `Conflict` when the rows are none, name another version or one slot twice.
    async fn replace_root_slots(&self, version: u32, rows: Vec<RootRow>) -> Result<()>;

    /// One more sealed copy of every root key, in a slot of one name. `Conflict` when the rows do not name each stored version
    /// once (the root key was replaced in the meantime: seal anew), differ in their slot, or the slot exists. As to `record`, see
    /// [`Store::create_account`].
    async fn add_root_slot(&self, rows: Vec<RootRow>, record: Option<Vec<u8>>) -> Result<()>;

    /// Forgets the sealed copies in a slot. `NotFound` when there are none, `Conflict` when a root key would be left without
    /// any. As to `record`, see [`Store::create_account`].
    async fn drop_root_slot(&self, slot: &str, record: Option<Vec<u8>>) -> Result<()>;

    /// Forgets a root key. `Conflict` while it is current or any domain key is under it, `NotFound` when there is
    /// none. As to `record`, see [`Store::create_account`].
    async fn drop_root(&self, version: u32, record: Option<Vec<u8>>) -> Result<()>;

    // ---- audit records of changes ----

    /// Puts an audit record into the outbox that belongs to no change of the store, or to several; returns its id.
    async fn add_outbox(&self, record: Vec<u8>) -> Result<u64>;

    /// Audit records not yet done with whose ids are greater than `after` (0: all, ids begin with 1), by id ascending, at most
    /// `limit`.
    async fn outbox_pending(&self, after: u64, limit: u64) -> Result<Vec<(u64, Vec<u8>)>>;

    /// Forgets audit records that have reached the log; unknown ids are skipped. By id rather than up to an id:
    /// callers copy their records in an order of their own. Ids are never used again.
    async fn outbox_done(&self, ids: &[u64]) -> Result<()>;

    // ---- the store itself ----

    /// Reads a small value of the deployment.
    async fn meta_get(&self, key: &str) -> Result<Option<Vec<u8>>>;

    /// Writes a small value of the deployment. One whose key begins with `under_root/` begins with the version of the root key
    /// that it lies under, 4 bytes, big-endian, or is empty: it is `Conflict` when that is not the current root key, and
    /// [`Store::drop_root`] is while one lies under the version.
    async fn meta_put(&self, key: &str, value: &[u8]) -> Result<()>;

    /// Writes a copy of everything, as of one moment during the call, to a new file (mode 0600) that
    /// [`crate::SqliteStore::open`] opens, whatever kind of store this is, and that is on stable storage when this returns.
    /// Reads and writes go on meanwhile. `Unavailable` when the file exists, `Full` when the disk is; what was written of it
    /// is then removed.
    async fn snapshot(&self, to: &Path) -> Result<()>;

    /// Version of the schema in use, from 1.
    async fn schema_version(&self) -> Result<u32>;

    /// Whether reads are answered and writes accepted. Does not show that there is room on the disk.
    async fn ping(&self) -> Result<()>;

    /// Finishes what waits, then closes. Every later call is `Unavailable`; closing again is fine.
    async fn close(&self) -> Result<()>;
}
