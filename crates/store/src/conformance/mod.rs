//! The contract of [`crate::Store`] as tests. Mount it with [`crate::store_conformance!`]; every case gets an
//! empty store.

pub mod data_keys;
pub mod identities;
pub mod keys;
pub mod lists;
pub mod system;
pub mod tags;

use crate::model::*;
use crate::store::Store;
use jadeseal_types::{
    AccountId, Alias, AppId, DataKeyId, DataKeyState, KeyId, KeyState, KeyUsage, Origin, Owner, Region, SecretId,
    Suite, Uin,
};

/// Mounts one `#[tokio::test]` per case. The factory names an async function of
/// the module that mounts, which returns a guard (what the store
/// needs to live, such as its directory) and an `Arc<dyn Store>` that is empty.
#[macro_export]
macro_rules! store_conformance {
    ($factory:ident) => {
        $crate::store_conformance!(@mount $factory, keys:
            round_trip, compare_and_swap, alias_is_unique_in_its_scope, destroy_frees_alias_and_children,
            scopes_do_not_see_each_other, changes_are_all_or_nothing, failing_member_leaves_others,
            racing_updates_have_one_winner, versions_and_material, import_parameters,
            expired_imports_are_dropped, bindings_count, committed_rows_are_those_stored, required_revision,
            room_in_a_quota, racing_for_the_last_room);
        $crate::store_conformance!(@mount $factory, lists:
            order_and_paging, filters, search_is_literal, tag_filters, counts, due_queries, all_keys_in_pages,
            several_scopes);
        $crate::store_conformance!(@mount $factory, data_keys:
            round_trip, compare_and_swap, name_is_unique_in_its_scope, destroyed_alone_and_with_its_cmk,
            scopes_do_not_see_each_other, changes_are_all_or_nothing, racing_updates_have_one_winner,
            order_and_paging, filters, search_is_literal, tag_filters, counts_and_due_deletions,
            several_scopes, room_in_a_quota, racing_for_the_last_room, those_of_a_cmk);
        $crate::store_conformance!(@mount $factory, tags:
            set_and_removed, bounded, accounts_do_not_see_each_other, pages_and_filters, keys_and_values_in_pages);
        $crate::store_conformance!(@mount $factory, identities:
            empty_account, round_trip_in_order, users, groups, members, policies, attachments, roles, access_keys,
            dropped_with_what_belongs_to_them, numbers_and_names_are_unique, users_and_accounts_share_numbers,
            accounts_do_not_see_each_other, large_numbers, compare_and_swap, racing_writers, changes_are_all_or_nothing,
            moments_grow, audit_record, region_does_not_matter);
        $crate::store_conformance!(@mount $factory, system:
            accounts_and_access_keys, access_key_revisions, touching_never_moves_back, keys_last_used, key_overviews,
            roots_and_slots, custodians, snapshots, records_of_other_changes,
            account_under_old_root_is_refused, rewrapping, more_domains, drop_root_is_refused, account_races_rekey,
            outbox, meta_values, closed);
    };
    (@mount $factory:ident, $group:ident: $($case:ident),+) => {
        mod $group {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let (_guard, store) = super::$factory().await;
                    $crate::conformance::$group::$case(store).await;
                }
            )+
        }
    };
}

/// A scope of the tests.
pub fn scope(account: u64, region: &str) -> Scope {
    Scope::any(AccountId(account), Region::parse(region).unwrap())
}

/// The scope that most tests use.
pub fn home() -> Scope {
    scope(100_000_001, "ap-guangzhou")
}

/// The n-th key id.
pub fn id(n: u32) -> KeyId {
    let mut bytes = [0xa5; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    KeyId::from_bytes(bytes)
}

/// The n-th key of a scope: enabled, created at second `1000 + n`.
pub fn key(scope: &Scope, n: u32) -> Cmk {
    Cmk {
        key_id: id(n),
        account: scope.account(),
        region: scope.region().clone(),
        alias: Alias::parse(&format!("key-{n}")).unwrap(),
        description: String::new(),
        usage: KeyUsage::EncryptDecrypt,
        suite: Suite::Aes256,
        origin: Origin::Kms,
        state: KeyState::Enabled,
        owner: Owner::User,
        creator: Uin(7),
        create_time: 1000 + u64::from(n),
        deletion_date: 0,
        valid_to: 0,
        rotation: Rotation { enabled: false, days: 0, last: 0, next: 5000, last_on_demand: 0 },
        current_version: 1,
        hsm_cluster: String::new(),
        bindings: 0,
        material_digest: None,
        revision: 1,
    }
}

/// A version of the n-th key.
pub fn version(n: u32, version: u32) -> KeyVersion {
    KeyVersion { key_id: id(n), version, create_time: 1000, domain_version: 1, wrapped: vec![version as u8; 60] }
}

/// Creates keys, each with one version, and returns the rows as stored.
pub async fn create(store: &dyn Store, scope: &Scope, keys: impl IntoIterator<Item = Cmk>) -> Vec<Cmk> {
    let changes = keys.into_iter().map(|cmk| {
        let first = KeyVersion { key_id: cmk.key_id, ..version(0, 1) };
        Change::CreateKey { cmk, version: Some(first), tags: Vec::new() }
    });
    let commit = Commit { changes: changes.collect(), outbox: None };
    store.commit(scope, commit).await.unwrap().keys
}

/// The n-th data key of a scope, of the CMK `cmk`: enabled, created at second `1000 + n`.
pub fn data_key(scope: &Scope, n: u32, cmk: u32) -> DataKey {
    DataKey {
        data_key_id: DataKeyId(id(n)),
        cmk: id(cmk),
        cmk_alias: Alias::parse(&format!("key-{cmk}")).unwrap(),
        account: scope.account(),
        region: scope.region().clone(),
        name: Alias::parse(&format!("data-{n}")).unwrap(),
        description: String::new(),
        bytes: 32,
        origin: Origin::Kms,
        state: DataKeyState::Enabled,
        owner: Owner::User,
        creator: Uin(7),
        create_time: 1000 + u64::from(n),
        deletion_date: 0,
        hsm_cluster: String::new(),
        revision: 1,
    }
}

/// The n-th data key itself.
pub fn data_key_material(n: u32) -> DataKeyMaterial {
    DataKeyMaterial { data_key_id: DataKeyId(id(n)), domain_version: 1, wrapped: vec![n as u8; 60] }
}

/// Commits 32 changes at once, each behind a quota of five; how many got in. The others found no room.
pub async fn race(
    store: &std::sync::Arc<dyn Store>,
    scope: &Scope,
    of: Counted,
    create: impl Fn(u32) -> Change,
) -> usize {
    let commits: Vec<_> = (0..32).map(|n| vec![Change::RequireRoom { of, quota: 5 }, create(n)]).collect();
    let commit = |changes| {
        let (store, scope) = (store.clone(), scope.clone());
        tokio::spawn(async move { store.commit(&scope, Commit { changes, outbox: None }).await.map(drop) })
    };
    let tasks: Vec<_> = commits.into_iter().map(commit).collect();
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => made += 1,
            Err(e) => assert_eq!(e, crate::error::StoreError::NoRoom(of)),
        }
    }
    made
}

/// Creates data keys and returns the rows as stored.
pub async fn create_data_keys(
    store: &dyn Store,
    scope: &Scope,
    keys: impl IntoIterator<Item = DataKey>,
) -> Vec<DataKey> {
    let mut ids = Vec::new();
    let changes = keys.into_iter().map(|key| {
        ids.push(key.data_key_id);
        let material = DataKeyMaterial { data_key_id: key.data_key_id, ..data_key_material(7) };
        Change::CreateDataKey { key, material, tags: Vec::new() }
    });
    let commit = Commit { changes: changes.collect(), outbox: None };
    assert!(store.commit(scope, commit).await.unwrap().keys.is_empty());
    store.data_keys(scope, &ids).await.unwrap().into_iter().flatten().collect()
}

/// A commit of one change.
pub fn one(change: Change) -> Commit {
    Commit { changes: vec![change], outbox: None }
}

/// An account.
pub fn account(n: u64) -> AccountRow {
    AccountRow { account: AccountId(n), app_id: AppId(n + 1), name: format!("account {n}"), create_time: 10 + n }
}

/// The first domain key of an account.
pub fn domain(account: u64, root_version: u32) -> DomainRow {
    DomainRow { account: AccountId(account), version: 1, root_version, wrapped: vec![9; 60], revision: 0 }
}

/// An access key of an account.
pub fn access_key(account: u64, name: &str) -> AccessKeyRow {
    AccessKeyRow {
        secret_id: SecretId::parse(name).unwrap(),
        account: AccountId(account),
        product: None,
        uin: Uin(account),
        description: String::new(),
        wrapped_secret: vec![3; 40],
        domain_version: 1,
        enabled: true,
        create_time: 50,
        last_used: 0,
        revision: 0,
    }
}

/// One slot of a root key.
pub fn root(version: u32, slot: &str) -> RootRow {
    RootRow {
        version,
        slot: slot.into(),
        seal_kind: "file".into(),
        params: vec![1, 2],
        wrapped: vec![version as u8; 60],
        state: RootState::Current,
        create_time: 20,
    }
}
