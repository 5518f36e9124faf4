//! The rows, as plain data. Times are Unix seconds. Wrapped bytes print as their length.

use jadeseal_auth::{Caller, Member};
use jadeseal_types::{
    AccountId, Alias, AppId, DataKeyId, DataKeyState, GroupId, KeyId, KeyState, KeyUsage, Origin, Owner, PolicyId,
    Region, RoleId, SecretId, Suite, Uin,
};
use std::fmt;

/// What a caller may touch: one account in one region. Made from an authenticated caller, from a member account that he
/// was admitted to, or from a row that a system query returned to a background job ([`Cmk::scope`], [`DataKey::scope`]);
/// there is no other way, so that code that would reach another tenant does not compile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    account: AccountId,
    region: Region,
}

impl Scope {
    /// The caller's account, in the region of the request.
    pub fn of(caller: &Caller, region: Region) -> Self {
        Scope { account: caller.account(), region }
    }

    /// A member's account, in the region of the request.
    pub fn of_member(member: &Member, region: Region) -> Self {
        Scope { account: member.account(), region }
    }

    /// Any scope, for the contract tests.
    #[cfg(any(test, feature = "conformance"))]
    pub fn any(account: AccountId, region: Region) -> Self {
        Scope { account, region }
    }

    /// The tenant.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The region of the request.
    pub fn region(&self) -> &Region {
        &self.region
    }
}

/// A key's row: everything but its material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmk {
    /// Id, unique in the whole store.
    pub key_id: KeyId,
    /// The tenant it belongs to. Never changes.
    pub account: AccountId,
    /// The region it lives in. Never changes.
    pub region: Region,
    /// Unique per account and region, whatever the state.
    pub alias: Alias,
    /// Free text.
    pub description: String,
    /// What it is for. Never changes.
    pub usage: KeyUsage,
    /// Its family of symmetric algorithms. Never changes.
    pub suite: Suite,
    /// Where its material comes from. Never changes.
    pub origin: Origin,
    /// State.
    pub state: KeyState,
    /// The user or a cloud product. Never changes.
    pub owner: Owner,
    /// The principal that created it. Never changes.
    pub creator: Uin,
    /// When it was created. Never changes.
    pub create_time: u64,
    /// When it will be destroyed; 0 = not scheduled.
    pub deletion_date: u64,
    /// When imported material expires; 0 = never.
    pub valid_to: u64,
    /// Rotation.
    pub rotation: Rotation,
    /// Version of the material that encrypts; 0 = no material.
    pub current_version: u32,
    /// The HSM cluster it lives in; empty = none. Never changes.
    pub hsm_cluster: String,
    /// Number of cloud resources bound to it. Kept by the store ([`Change::Bind`],
    /// [`Change::Unbind`]); the value in an update is ignored.
    pub bindings: u32,
    /// Digest of the material first imported, which later imports must match.
    pub material_digest: Option<[u8; 32]>,
    /// Counts the changes of the row, from 1. What compare-and-swap compares.
    pub revision: u64,
}

impl Cmk {
    /// The scope the key is in, for jobs that act on rows of all accounts.
    pub fn scope(&self) -> Scope {
        Scope { account: self.account, region: self.region.clone() }
    }
}

/// A key with what belongs to it, as an operator looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOverview {
    /// Its row.
    pub cmk: Cmk,
    /// When it was last used, as far as that has been saved ([`crate::Store::touch_keys`]); 0 = no use is known.
    pub last_used: u64,
    /// Number of versions of its material.
    pub versions: u64,
    /// Number of its data keys, in whatever state.
    pub data_keys: u64,
}

/// Rotation of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Whether the key rotates by itself.
    pub enabled: bool,
    /// Period in days.
    pub days: u32,
    /// Last rotation; 0 = none.
    pub last: u64,
    /// Next rotation.
    pub next: u64,
    /// Last rotation on demand; 0 = none.
    pub last_on_demand: u64,
}

/// One version of a key's material.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyVersion {
    /// The key.
    pub key_id: KeyId,
    /// From 1.
    pub version: u32,
    /// When it was made.
    pub create_time: u64,
    /// Version of the account's domain key that wraps it.
    pub domain_version: u32,
    /// The wrapped material.
    pub wrapped: Vec<u8>,
}

/// A hosted data key's row: everything but the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKey {
    /// Id, unique in the whole store.
    pub data_key_id: DataKeyId,
    /// The CMK that encrypts it, of the same account and region. Never changes.
    pub cmk: KeyId,
    /// The CMK's alias. Kept by the store; the value in a change is ignored.
    pub cmk_alias: Alias,
    /// The tenant it belongs to. Never changes.
    pub account: AccountId,
    /// The region it lives in. Never changes.
    pub region: Region,
    /// Unique among the data keys of its account and region, whatever the state.
    pub name: Alias,
    /// Free text.
    pub description: String,
    /// Its length. Never changes.
    pub bytes: u32,
    /// Where it comes from. Never changes.
    pub origin: Origin,
    /// State.
    pub state: DataKeyState,
    /// The user or a cloud product. Never changes.
    pub owner: Owner,
    /// The principal that had it made. Never changes.
    pub creator: Uin,
    /// When it was created. Never changes.
    pub create_time: u64,
    /// When it will be destroyed; 0 = not scheduled.
    pub deletion_date: u64,
    /// The HSM cluster of its CMK; empty = none. Never changes.
    pub hsm_cluster: String,
    /// Counts the changes of the row, from 1. What compare-and-swap compares.
    pub revision: u64,
}

impl DataKey {
    /// The scope the data key is in, for jobs that act on rows of all accounts.
    pub fn scope(&self) -> Scope {
        Scope { account: self.account, region: self.region.clone() }
    }
}

/// A hosted data key itself, wrapped. Never changes.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKeyMaterial {
    /// The data key.
    pub data_key_id: DataKeyId,
    /// Version of the account's domain key that wraps it.
    pub domain_version: u32,
    /// The wrapped ciphertext.
    pub wrapped: Vec<u8>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// OwnerUin.
    pub account: AccountId,
    /// AppId.
    pub app_id: AppId,
    /// Free text.
    pub name: String,
    /// When it was created.
    pub create_time: u64,
}

/// One version of a tenant's domain key.
#[derive(Clone, PartialEq, Eq)]
pub struct DomainRow {
    /// The tenant.
    pub account: AccountId,
    /// From 1.
    pub version: u32,
    /// Version of the root key that wraps it.
    pub root_version: u32,
    /// The wrapped domain key.
    pub wrapped: Vec<u8>,
    /// Counts the changes of the row, from 1.
    pub revision: u64,
}

/// Whether new domain keys are wrapped under a root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RootState {
    /// Wraps all that is new. At most one version is current.
    Current = 1,
    /// Being replaced: opens what is still under it.
    Retiring = 2,
}

impl RootState {
    /// The number in the row.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Reads the number of a row.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(RootState::Current),
            2 => Some(RootState::Retiring),
            _ => None,
        }
    }
}

/// One sealed copy of a root key. A version may be sealed several times, in slots, so that more than
/// one seal can open it.
#[derive(Clone, PartialEq, Eq)]
pub struct RootRow {
    /// Version of the root key, from 1.
    pub version: u32,
    /// Name of the copy, unique within the version.
    pub slot: String,
    /// Kind of seal.
    pub seal_kind: String,
    /// Parameters of the seal (salt, cost, handle).
    pub params: Vec<u8>,
    /// The sealed root key.
    pub wrapped: Vec<u8>,
    /// State, the same in all slots of a version.
    pub state: RootState,
    /// When it was made.
    pub create_time: u64,
}

/// An access key of the API.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKeyRow {
    /// Its public half.
    pub secret_id: SecretId,
    /// The tenant.
    pub account: AccountId,
    /// The principal that signs with it.
    pub uin: Uin,
    /// The cloud product that signs with it, acting for the account; none for the account's own principals. Never
    /// changes.
    pub product: Option<Alias>,
    /// Free text.
    pub description: String,
    /// The wrapped SecretKey.
    pub wrapped_secret: Vec<u8>,
    /// Version of the account's domain key that wraps it.
    pub domain_version: u32,
    /// Whether it may be used.
    pub enabled: bool,
    /// When it was created.
    pub create_time: u64,
    /// When it was last used; 0 = never.
    pub last_used: u64,
    /// Counts the changes of the row, from 1; `last_used` does not count.
    pub revision: u64,
}

/// A sub-user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRow {
    /// Its number, different from that of every other user and account. Never changes.
    pub uin: Uin,
    /// Unique in the account. Never changes.
    pub name: String,
    /// Free text.
    pub remark: String,
    /// Whether it may use a console.
    pub console_login: bool,
    /// Free text.
    pub phone: String,
    /// Free text.
    pub country_code: String,
    /// Free text.
    pub email: String,
    /// When it was created. Never changes.
    pub create_time: u64,
}

/// A group of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// Its number, unique in the whole store. Never changes.
    pub id: GroupId,
    /// Unique in the account.
    pub name: String,
    /// Free text.
    pub remark: String,
    /// When it was created. Never changes.
    pub create_time: u64,
}

/// A user in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: GroupId,
    /// The user.
    pub uin: Uin,
    /// Since when.
    pub create_time: u64,
}

/// A policy that an account has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRow {
    /// Its number, unique in the whole store. Never changes.
    pub id: PolicyId,
    /// Unique in the account.
    pub name: String,
    /// Free text.
    pub description: String,
    /// The text in the policy language.
    pub document: String,
    /// When it was created. Never changes.
    pub create_time: u64,
    /// When it was last changed.
    pub update_time: u64,
}

/// What a policy is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attached {
    /// A user.
    User(Uin),
    /// A group: its users have the policy.
    Group(GroupId),
    /// A role.
    Role(RoleId),
}

/// A policy at a user, group or role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The policy: one of the account, or a preset, of which the store knows nothing.
    pub policy: PolicyId,
    /// Where.
    pub to: Attached,
    /// Since when.
    pub create_time: u64,
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRow {
    /// Its number, unique in the whole store. Never changes.
    pub id: RoleId,
    /// Unique in the account. Never changes.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Who may take it: a text in the policy language.
    pub document: String,
    /// Whether a console may take it.
    pub console_login: bool,
    /// Longest life of a session, seconds.
    pub session_duration: u64,
    /// Its tags, by tag key.
    pub tags: Vec<Tag>,
    /// When it was created. Never changes.
    pub create_time: u64,
    /// When it was last changed.
    pub update_time: u64,
}

/// All principals of an account with what they may do, at one moment. Small by its limits, so it is read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identities {
    /// The account.
    pub account: AccountRow,
    /// Counts the changes of anything in here but `last_used` of access keys, from 1. What compare-and-swap compares.
    pub revision: u64,
    /// By creation time, then number.
    pub users: Vec<UserRow>,
    /// By creation time, then number.
    pub groups: Vec<GroupRow>,
    /// By group, then user.
    pub members: Vec<Membership>,
    /// By creation time, then number.
    pub policies: Vec<PolicyRow>,
    /// By time, then policy.
    pub attachments: Vec<Attachment>,
    /// By creation time, then number.
    pub roles: Vec<RoleRow>,
    /// By creation time, then SecretId: of the account itself, its users, and cloud products.
    pub access_keys: Vec<AccessKeyRow>,
}

impl Identities {
    /// A user by number.
    pub fn user(&self, uin: Uin) -> Option<&UserRow> {
        self.users.iter().find(|user| user.uin == uin)
    }

    /// A user by name.
    pub fn user_named(&self, name: &str) -> Option<&UserRow> {
        self.users.iter().find(|user| user.name == name)
    }

    /// A group by number.
    pub fn group(&self, id: GroupId) -> Option<&GroupRow> {
        self.groups.iter().find(|group| group.id == id)
    }

    /// A policy that the account made, by number.
    pub fn policy(&self, id: PolicyId) -> Option<&PolicyRow> {
        self.policies.iter().find(|policy| policy.id == id)
    }

    /// A role by number.
    pub fn role(&self, id: RoleId) -> Option<&RoleRow> {
        self.roles.iter().find(|role| role.id == id)
    }

    /// A role by name.
    pub fn role_named(&self, name: &str) -> Option<&RoleRow> {
        self.roles.iter().find(|role| role.name == name)
    }
}

/// One change among the principals of an account. What is named must be of the account, else `NotFound`; a name or number
/// that is taken is `Conflict`.
#[derive(Clone, Debug)]
pub enum IdentityChange {
    /// A new user.
    AddUser(UserRow),
    /// A user as it should be.
    UpdateUser(UserRow),
    /// A user with its access keys, memberships and attachments.
    DropUser(Uin),
    /// A new group.
    AddGroup(GroupRow),
    /// A group as it should be.
    UpdateGroup(GroupRow),
    /// A group with its memberships and attachments.
    DropGroup(GroupId),
    /// A user joins a group; `Conflict` when it is there.
    AddMember(Membership),
    /// A user leaves a group.
    DropMember {
        /// The group.
        group: GroupId,
        /// The user.
        uin: Uin,
    },
    /// A new policy.
    AddPolicy(PolicyRow),
    /// A policy as it should be.
    UpdatePolicy(PolicyRow),
    /// A policy with its attachments.
    DropPolicy(PolicyId),
    /// A policy, of the account or preset, is attached; `Conflict` when it is. The target must exist.
    Attach(Attachment),
    /// And detached.
    Detach {
        /// The policy.
        policy: PolicyId,
        /// From what.
        from: Attached,
    },
    /// A new role with its tags.
    AddRole(RoleRow),
    /// A role as it should be, with its tags.
    UpdateRole(RoleRow),
    /// A role with its attachments.
    DropRole(RoleId),
    /// A new access key of the account itself or one of its users, stored with revision 1.
    AddAccessKey(AccessKeyRow),
    /// Switches an access key on or off. One of a cloud product is `NotFound`.
    SetAccessKey {
        /// Which.
        secret_id: SecretId,
        /// Whether it may be used.
        enabled: bool,
    },
    /// Removes an access key. One of a cloud product is `NotFound`.
    DropAccessKey(SecretId),
}

/// The live pair of import token and wrapping key of a key: at most one per key.
#[derive(Clone, PartialEq, Eq)]
pub struct ImportParams {
    /// The key.
    pub key_id: KeyId,
    /// Digest of the token.
    pub token_digest: [u8; 32],
    /// Wrapping algorithm of the import.
    pub algorithm: String,
    /// The wrapped private key.
    pub wrapped_private: Vec<u8>,
    /// Version of the account's domain key that wraps it.
    pub domain_version: u32,
    /// When the pair dies.
    pub expires: u64,
    /// Attempts taken and not given back: failed imports, and those under way.
    pub failures: u32,
}

/// A cloud resource that uses a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The key.
    pub key_id: KeyId,
    /// The product.
    pub product_id: String,
    /// The resource within the product.
    pub resource_id: String,
    /// The account's user agreed by it that the product uses the key. Once given for a resource it stays as long as the
    /// binding.
    pub consent: bool,
    /// When it was bound.
    pub create_time: u64,
}

/// A key or data key as its tags are managed: by account, over all regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taggable {
    /// Its id.
    pub id: KeyId,
    /// Where it lives.
    pub region: Region,
    /// The principal that made it.
    pub creator: Uin,
    /// The user or a cloud product.
    pub owner: Owner,
    /// Its tags, by tag key.
    pub tags: Vec<Tag>,
}

/// A tag of a key or a data key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Unique per key.
    pub key: String,
    /// Value.
    pub value: String,
}

/// Whose keys a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Those of the account's own user.
    Own,
    /// Those that cloud products made for the account.
    Product,
}

/// What a list shows. Filters are joined by AND.
#[derive(Clone, Debug)]
pub struct KeyQuery {
    /// Whose keys.
    pub role: Role,
    /// Of exactly this owner.
    pub owner: Option<Owner>,
    /// In any of these states; empty = in every state.
    pub states: Vec<KeyState>,
    /// Of this usage.
    pub usage: Option<KeyUsage>,
    /// Of this origin.
    pub origin: Option<Origin>,
    /// The text is part of the key id (as its 36 characters) or of the alias: literally and
    /// case-sensitively, no character is a wildcard. Empty = no filter.
    pub search: Option<String>,
    /// In exactly this HSM cluster; the empty text = outside any.
    pub hsm_cluster: Option<String>,
    /// All of these tag keys with any of their values; no value = the tag key is there.
    pub tags: Vec<(String, Vec<String>)>,
    /// By creation time ascending; otherwise descending. Equal times: by key id, ascending in both.
    pub ascending: bool,
    /// Rows to leave out at the start.
    pub offset: u64,
    /// Most rows to return.
    pub limit: u64,
}

impl Default for KeyQuery {
    /// The account's own keys, newest first, the first ten.
    fn default() -> Self {
        KeyQuery {
            role: Role::Own,
            owner: None,
            states: Vec::new(),
            usage: None,
            origin: None,
            search: None,
            hsm_cluster: None,
            tags: Vec::new(),
            ascending: false,
            offset: 0,
            limit: jadeseal_types::limits::DEFAULT_PAGE,
        }
    }
}

/// What a list of data keys shows. Filters are joined by AND.
#[derive(Clone, Debug)]
pub struct DataKeyQuery {
    /// Whose data keys.
    pub role: Role,
    /// Of exactly this owner.
    pub owner: Option<Owner>,
    /// In any of these states; empty = in every state.
    pub states: Vec<DataKeyState>,
    /// Of this origin.
    pub origin: Option<Origin>,
    /// Of this CMK.
    pub cmk: Option<KeyId>,
    /// Of this length.
    pub bytes: Option<u32>,
    /// As [`KeyQuery::search`], in the data key id and the name.
    pub search: Option<String>,
    /// In exactly this HSM cluster; the empty text = outside any.
    pub hsm_cluster: Option<String>,
    /// As [`KeyQuery::tags`].
    pub tags: Vec<(String, Vec<String>)>,
    /// As [`KeyQuery::ascending`], ties by data key id.
    pub ascending: bool,
    /// Rows to leave out at the start.
    pub offset: u64,
    /// Most rows to return.
    pub limit: u64,
}

impl Default for DataKeyQuery {
    /// The account's own data keys, newest first, the first ten.
    fn default() -> Self {
        DataKeyQuery {
            role: Role::Own,
            owner: None,
            states: Vec::new(),
            origin: None,
            cmk: None,
            bytes: None,
            search: None,
            hsm_cluster: None,
            tags: Vec::new(),
            ascending: false,
            offset: 0,
            limit: jadeseal_types::limits::DEFAULT_PAGE,
        }
    }
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// Number of rows that the filters let through, on all pages.
    pub total: u64,
    /// The rows of this page.
    pub items: Vec<T>,
}

/// What a quota counts: the account's own ones in a region, in every state but PendingDelete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// CMKs.
    Keys,
    /// Hosted data keys.
    DataKeys,
}

/// One change of a [`Commit`]. A key or data key outside the scope is `NotFound` for each of them.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new key, stored with revision 1 and no bindings, with its first material, if any. `Conflict` when
    /// the id is in use, `AliasTaken` when the alias is.
    CreateKey {
        /// The row.
        cmk: Cmk,
        /// The first version, of the same key id.
        version: Option<KeyVersion>,
        /// Its tags; a tag key given twice is `Conflict`.
        tags: Vec<Tag>,
    },
    /// Compare-and-swap: the row's revision must equal `cmk.revision` (else `Conflict`); stored with
    /// revision + 1. What [`Cmk`] says never changes is left as it is, and so is `bindings`.
    UpdateKey {
        /// The row as it should be, with the revision it was read with.
        cmk: Cmk,
    },
    /// A new version of the material; `Conflict` when the version exists.
    AddVersion(KeyVersion),
    /// Removes all versions of the material; fine when there is none. Nothing of it stays readable, see
    /// [`Change::destroys`].
    DropVersions(KeyId),
    /// Removes the key with its versions, tags, bindings, import parameters and data keys. Alias and names are free
    /// from then on.
    DestroyKey {
        /// The key.
        key_id: KeyId,
        /// Must be the row's, else `Conflict`.
        revision: u64,
    },
    /// Replaces the key's import parameters.
    PutImport(ImportParams),
    /// Takes one of the `limit` attempts that a token has, before anything is decrypted with its wrapping key:
    /// counts up `failures`. `Conflict` when none is left, or the key's token is not this one (any more).
    TakeImportAttempt {
        /// The key.
        key_id: KeyId,
        /// Digest of the token.
        token_digest: [u8; 32],
        /// Attempts of a token.
        limit: u32,
    },
    /// Gives back an attempt that ended well. Nothing happens when the key's token is another one by now.
    ReturnImportAttempt {
        /// The key.
        key_id: KeyId,
        /// Digest of the token.
        token_digest: [u8; 32],
    },
    /// Removes the key's import parameters; fine when there are none.
    DropImport(KeyId),
    /// Binds a resource: counts up `bindings` and the revision, unless it is bound already: then nothing
    /// changes but that consent may be added, which counts up the revision. Comes after an `UpdateKey` of the same key in one commit.
    Bind(Binding),
    /// Removes a binding and counts down; `NotFound` when there is none.
    Unbind {
        /// The key.
        key_id: KeyId,
        /// The product.
        product_id: String,
        /// The resource.
        resource_id: String,
    },
    /// Sets and removes tags of a key or a data key, whichever has the id, in any region of the scope's account; its
    /// row and revision stay as they are. `TooManyTags` when it would have more than `limit` afterwards, `NotFound`
    /// when the account has neither.
    ModifyTags {
        /// Id of the key or the data key.
        id: KeyId,
        /// Tags that it gets, or whose value changes.
        set: Vec<Tag>,
        /// Tag keys that it loses; fine when it has no such tag.
        remove: Vec<String>,
        /// How many tags it may have.
        limit: usize,
    },
    /// A new data key, stored with revision 1. `NotFound` when its CMK is not in the scope, `Conflict` when the id is
    /// in use, `NameTaken` when the name is.
    CreateDataKey {
        /// The row.
        key: DataKey,
        /// The data key itself, of the same id.
        material: DataKeyMaterial,
        /// Its tags; a tag key given twice is `Conflict`.
        tags: Vec<Tag>,
    },
    /// Compare-and-swap: the row's revision must equal `key.revision` (else `Conflict`); stored with revision + 1.
    /// What [`DataKey`] says never changes is left as it is.
    UpdateDataKey {
        /// The row as it should be, with the revision it was read with.
        key: DataKey,
    },
    /// Removes the data key with all that belongs to it. The name is free from then on.
    DestroyDataKey {
        /// The data key.
        data_key_id: DataKeyId,
        /// Must be the row's, else `Conflict`.
        revision: u64,
    },
    /// Changes nothing: the commit happens only where the scope has fewer than `quota` of what is counted, at this
    /// place among the changes; else `NoRoom`. Counts no further than `quota`.
    RequireRoom {
        /// What.
        of: Counted,
        /// How many there may be.
        quota: u64,
    },
    /// Changes the principals of the scope's account, if `revision` is still that of [`Identities`] (else `Conflict`), and
    /// counts it up. The region of the scope does not matter.
    Identities {
        /// The revision that was read.
        revision: u64,
        /// In this order.
        changes: Vec<IdentityChange>,
    },
    /// Changes nothing: the commit happens only if the key's row is still that one, else `Conflict`.
    RequireKey {
        /// The key.
        key_id: KeyId,
        /// Must be the row's.
        revision: u64,
    },
}

impl Change {
    /// The CMK whose row, material or belongings the change may change. A data key is none of them: nothing of its CMK
    /// changes with it.
    pub fn key_id(&self) -> Option<KeyId> {
        match self {
            Change::CreateKey { cmk, .. } | Change::UpdateKey { cmk } => Some(cmk.key_id),
            Change::AddVersion(version) => Some(version.key_id),
            Change::PutImport(import) => Some(import.key_id),
            Change::Bind(binding) => Some(binding.key_id),
            Change::DropVersions(key_id) | Change::DropImport(key_id) => Some(*key_id),
            Change::DestroyKey { key_id, .. }
            | Change::TakeImportAttempt { key_id, .. }
            | Change::ReturnImportAttempt { key_id, .. }
            | Change::Unbind { key_id, .. } => Some(*key_id),
            // Nor do tags stand in the key's row.
            Change::ModifyTags { .. }
            | Change::CreateDataKey { .. }
            | Change::UpdateDataKey { .. }
            | Change::DestroyDataKey { .. } => None,
            Change::RequireRoom { .. } | Change::RequireKey { .. } | Change::Identities { .. } => None,
        }
    }

    /// Whether it takes away wrapped secrets. A store must not keep them readable anywhere in its files, such as
    /// in free pages or a log, for more than some seconds.
    pub fn destroys(&self) -> bool {
        match self {
            // Replacing a wrapping key destroys the one before.
            Change::DropVersions(_) | Change::DestroyKey { .. } | Change::DropImport(_) | Change::PutImport(_) => true,
            Change::DestroyDataKey { .. } => true,
            Change::Identities { changes, .. } => {
                changes.iter().any(|c| matches!(c, IdentityChange::DropUser(_) | IdentityChange::DropAccessKey(_)))
            }
            Change::CreateKey { .. }
            | Change::UpdateKey { .. }
            | Change::AddVersion(_)
            | Change::TakeImportAttempt { .. }
            | Change::ReturnImportAttempt { .. }
            | Change::Bind(_)
            | Change::Unbind { .. }
            | Change::ModifyTags { .. }
            | Change::CreateDataKey { .. }
            | Change::UpdateDataKey { .. }
            | Change::RequireRoom { .. }
            | Change::RequireKey { .. } => false,
        }
    }
}

/// Changes that happen together or not at all, with their audit record.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Applied in this order.
    pub changes: Vec<Change>,
    /// The audit record, stored in the same transaction until [`crate::Store::outbox_done`].
    pub outbox: Option<Vec<u8>>,
}

/// What a [`Commit`] left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Id of the audit record; greater than that of every record stored before it.
    pub outbox_id: Option<u64>,
    /// The rows of the keys that were created, updated, bound or unbound, as stored, with their new revisions:
    /// each key once, in the order of the first change that named it. Destroyed keys are left out, and so are data
    /// keys, which nobody caches.
    pub keys: Vec<Cmk>,
}

/// Shows bytes by their number alone.
struct Bytes(usize);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0)
    }
}

macro_rules! debug_by_length {
    ($name:ident { $($plain:ident),* } { $($hidden:ident),* }) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    $(.field(stringify!($plain), &self.$plain))*
                    $(.field(stringify!($hidden), &Bytes(self.$hidden.len())))*
                    .finish()
            }
        }
    };
}

debug_by_length!(KeyVersion { key_id, version, create_time, domain_version } { wrapped });
debug_by_length!(DataKeyMaterial { data_key_id, domain_version } { wrapped });
debug_by_length!(DomainRow { account, version, root_version, revision } { wrapped });
debug_by_length!(RootRow { version, slot, seal_kind, state, create_time } { params, wrapped });
debug_by_length!(AccessKeyRow { secret_id, account, uin, product, description, domain_version, enabled, create_time, last_used,
    revision } { wrapped_secret });
debug_by_length!(ImportParams { key_id, algorithm, domain_version, expires, failures } { token_digest, wrapped_private });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_bytes_print_as_their_length() {
        let row = KeyVersion {
            key_id: KeyId::from_bytes([7; 16]),
            version: 1,
            create_time: 5,
            domain_version: 1,
            wrapped: vec![201, 202, 203],
        };
        let text = format!("{row:?}");
        assert!(text.contains("wrapped: <3 bytes>"), "{text}");
        assert!(!text.contains("202"), "{text}");
    }
}
