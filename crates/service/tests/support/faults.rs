//! A store that fails when it is told to.

use async_trait::async_trait;
use jadeseal_store::*;
use jadeseal_types::{AccountId, Alias, DataKeyId, DataKeyState, KeyId, KeyState, SecretId};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// What the next commit does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not happen: the disk is full.
    Refused,
    /// It does not happen: somebody else was faster, it seems.
    Conflict,
    /// It happens, but the answer is lost on the way.
    AnswerLost,
}

/// A commit that waits: tells when it has arrived, then goes on when it is told.
type Held = (oneshot::Sender<()>, oneshot::Receiver<()>);

/// Faults to come.
#[derive(Default)]
pub struct Faults(Mutex<Option<Fault>>, Mutex<Option<Held>>, Mutex<Duration>);

impl Faults {
    /// Spoils the next commit.
    pub fn next_commit(&self, fault: Fault) {
        *self.0.lock() = Some(fault);
    }

    /// Holds the next commit: the first end hears when it has come, the other lets it go on.
    pub fn hold_next_commit(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let ((come, has_come), (go, may_go)) = (oneshot::channel(), oneshot::channel());
        *self.1.lock() = Some((come, may_go));
        (has_come, go)
    }

    /// From now on each commit takes so much longer.
    pub fn slow_commits(&self, by: Duration) {
        *self.2.lock() = by;
    }

    /// Forgets a fault that has not struck; true when there was one.
    pub fn clear(&self) -> bool {
        self.0.lock().take().is_some()
    }
}

/// The store itself, with faults.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Arc<Faults>,
}

impl FaultyStore {
    pub fn new(inner: Arc<dyn Store>, faults: Arc<Faults>) -> Self {
        FaultyStore { inner, faults }
    }

    async fn spoiled(&self, scope: &Scope, commit: Commit) -> Result<Committed> {
        // Not held across the await.
        let held = self.faults.1.lock().take();
        if let Some((come, may_go)) = held {
            come.send(()).unwrap();
            may_go.await.unwrap();
        }
        let slow = *self.faults.2.lock();
        tokio::time::sleep(slow).await;
        let fault = self.faults.0.lock().take();
        match fault {
            None => self.inner.commit(scope, commit).await,
            Some(Fault::Refused) => Err(StoreError::Full("on purpose".into())),
            Some(Fault::Conflict) => Err(StoreError::Conflict),
            Some(Fault::AnswerLost) => {
                self.inner.commit(scope, commit).await?;
                Err(StoreError::Unavailable("the answer was lost, on purpose".into()))
            }
        }
    }
}

/// Everything but commits goes to the store as it is.
macro_rules! pass_on {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)+) => {
        #[async_trait]
        impl Store for FaultyStore {
            async fn commit(&self, scope: &Scope, commit: Commit) -> Result<Committed> {
                self.spoiled(scope, commit).await
            }

            $(async fn $name(&self, $($arg: $ty),*) -> Result<$out> {
                self.inner.$name($($arg),*).await
            })+
        }
    };
}

pass_on! {
    fn key(scope: &Scope, key_id: KeyId) -> Option<Cmk>;
    fn keys(scope: &Scope, key_ids: &[KeyId]) -> Vec<Option<Cmk>>;
    fn versions(scope: &Scope, key_id: KeyId) -> Vec<KeyVersion>;
    fn version(scope: &Scope, key_id: KeyId, version: u32) -> Option<KeyVersion>;
    fn list(scopes: &[Scope], query: KeyQuery) -> Page<Cmk>;
    fn list_ids(scope: &Scope, query: KeyQuery) -> Page<KeyId>;
    fn import_params(scope: &Scope, key_id: KeyId) -> Option<ImportParams>;
    fn key_by_alias(scope: &Scope, alias: &Alias) -> Option<Cmk>;
    fn bindings(scope: &Scope, key_id: KeyId, limit: u64) -> Vec<Binding>;
    fn is_bound(scope: &Scope, key_id: KeyId, product_id: &str) -> bool;
    fn tags(scope: &Scope, key_id: KeyId) -> Vec<Tag>;
    fn count_own(scope: &Scope) -> u64;
    fn last_used(scope: &Scope, key_id: KeyId) -> u64;
    fn data_key(scope: &Scope, id: DataKeyId) -> Option<DataKey>;
    fn data_keys(scope: &Scope, ids: &[DataKeyId]) -> Vec<Option<DataKey>>;
    fn data_key_material(scope: &Scope, id: DataKeyId) -> Option<DataKeyMaterial>;
    fn data_key_tags(scope: &Scope, id: DataKeyId) -> Vec<Tag>;
    fn list_data_keys(scopes: &[Scope], query: DataKeyQuery) -> Page<DataKey>;
    fn list_data_key_ids(scope: &Scope, query: DataKeyQuery) -> Page<DataKeyId>;
    fn count_data_keys(scope: &Scope) -> u64;
    fn count_data_keys_of(scope: &Scope, cmk: KeyId, at_most: u64) -> u64;
    fn data_keys_of(scope: &Scope, cmk: KeyId, limit: u64) -> Vec<DataKey>;
    fn taggables(scope: &Scope, ids: &[KeyId]) -> Vec<Option<Taggable>>;
    fn tagged(scope: &Scope, filters: &[(String, Vec<String>)], after: Option<KeyId>, limit: u64) -> Vec<Taggable>;
    fn tag_keys(scope: &Scope, after: &str, limit: u64) -> Vec<String>;
    fn tag_values(scope: &Scope, keys: &[String], after: Option<Tag>, limit: u64) -> Vec<Tag>;
    fn due_data_key_deletions(now: u64, limit: u64) -> Vec<DataKey>;
    fn due_deletions(now: u64, limit: u64) -> Vec<Cmk>;
    fn due_expiries(now: u64, limit: u64) -> Vec<Cmk>;
    fn due_rotations(now: u64, limit: u64) -> Vec<Cmk>;
    fn drop_expired_imports(now: u64, limit: u64) -> u64;
    fn all_keys_meta(after: Option<KeyId>, limit: u64) -> Vec<Cmk>;
    fn touch_keys(used: &[(KeyId, u64)]) -> ();
    fn overview(key_id: KeyId) -> Option<KeyOverview>;
    fn overviews(after: Option<KeyId>, limit: u64) -> Vec<KeyOverview>;
    fn counts_by_state() -> Vec<(KeyState, u64)>;
    fn data_key_counts_by_state() -> Vec<(DataKeyState, u64)>;
    fn accounts() -> Vec<AccountRow>;
    fn account(account: AccountId) -> Option<AccountRow>;
    fn create_account(account: AccountRow, domain: DomainRow, access_keys: Vec<AccessKeyRow>, record: Option<Vec<u8>>) -> ();
    fn access_key(secret_id: &SecretId) -> Option<AccessKeyRow>;
    fn access_keys(account: AccountId) -> Vec<AccessKeyRow>;
    fn identities(account: AccountId) -> Option<Identities>;
    fn identities_revision(account: AccountId) -> Option<u64>;
    fn identities_changed(since: u64) -> (u64, Vec<AccountId>);
    fn put_access_key(row: AccessKeyRow, record: Option<Vec<u8>>) -> ();
    fn touch_access_keys(used: &[(SecretId, u64)]) -> ();
    fn domains(account: AccountId) -> Vec<DomainRow>;
    fn add_domain(row: DomainRow) -> ();
    fn domains_under_root(root_version: u32, limit: u64) -> Vec<DomainRow>;
    fn count_domains_under(root_version: u32) -> u64;
    fn rewrap_domain(row: DomainRow) -> ();
    fn root_rows() -> Vec<RootRow>;
    fn add_root(rows: Vec<RootRow>, beside: &[String], record: Option<Vec<u8>>) -> ();
    fn add_root_slot(rows: Vec<RootRow>, record: Option<Vec<u8>>) -> ();
    fn drop_root_slot(slot: &str, record: Option<Vec<u8>>) -> ();
    fn replace_root_slots(version: u32, rows: Vec<RootRow>) -> ();
    fn drop_root(version: u32, record: Option<Vec<u8>>) -> ();
    fn add_outbox(record: Vec<u8>) -> u64;
    fn outbox_pending(after: u64, limit: u64) -> Vec<(u64, Vec<u8>)>;
    fn outbox_done(ids: &[u64]) -> ();
    fn meta_get(key: &str) -> Option<Vec<u8>>;
    fn meta_put(key: &str, value: &[u8]) -> ();
    fn snapshot(to: &std::path::Path) -> ();
    fn schema_version() -> u32;
    fn ping() -> ();
    fn close() -> ();
}
