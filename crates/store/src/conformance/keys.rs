//! Keys: changes, compare-and-swap, scopes.

use super::*;
use crate::error::StoreError;
use std::sync::Arc;

type S = Arc<dyn Store>;

/// Every field comes back.
pub async fn round_trip(store: S) {
    let here = home();
    let full = Cmk {
        description: "说明 with 'quotes'".into(),
        usage: KeyUsage::SignSm2,
        suite: Suite::Sm4,
        origin: Origin::External,
        state: KeyState::Archived,
        owner: Owner::Product(Alias::parse("cos").unwrap()),
        creator: Uin(u64::MAX),
        deletion_date: 1,
        valid_to: 2,
        rotation: Rotation { enabled: true, days: 365, last: 3, next: 4, last_on_demand: 5 },
        current_version: 6,
        hsm_cluster: "hsm-1".into(),
        material_digest: Some([8; 32]),
        ..key(&here, 1)
    };
    let tags = vec![Tag { key: "b".into(), value: "2".into() }, Tag { key: "a".into(), value: "".into() }];
    let create = Change::CreateKey { cmk: full.clone(), version: Some(version(1, 6)), tags: tags.clone() };
    let done = store.commit(&here, one(create)).await.unwrap();
    assert_eq!(done.keys, std::slice::from_ref(&full));
    assert_eq!(done.outbox_id, None);
    assert_eq!(store.key(&here, id(1)).await.unwrap(), Some(full));
    assert_eq!(store.versions(&here, id(1)).await.unwrap(), [version(1, 6)]);
    assert_eq!(store.tags(&here, id(1)).await.unwrap(), [tags[1].clone(), tags[0].clone()]);

    super::create(&*store, &here, [key(&here, 2)]).await;
    let found = store.keys(&here, &[id(2), id(9), id(1), id(2)]).await.unwrap();
    let ids: Vec<_> = found.iter().map(|k| k.as_ref().map(|k| k.key_id)).collect();
    assert_eq!(ids, [Some(id(2)), None, Some(id(1)), Some(id(2))]);
}

/// An update with another revision than the row's is refused; what never changes does not.
pub async fn compare_and_swap(store: S) {
    let here = home();
    let first = create(&*store, &here, [Cmk { revision: 77, bindings: 5, ..key(&here, 1) }]).await.remove(0);
    assert_eq!((first.revision, first.bindings), (1, 0));
    let wanted = Cmk { state: KeyState::Disabled, description: "new".into(), valid_to: 9, ..first.clone() };
    let stray = Cmk { create_time: 1, usage: KeyUsage::SignP256, bindings: 9, creator: Uin(1), ..wanted.clone() };
    let done = store.commit(&here, one(Change::UpdateKey { cmk: stray })).await.unwrap();
    assert_eq!(done.keys, [Cmk { revision: 2, ..wanted }]);
    assert_eq!(store.key(&here, id(1)).await.unwrap().unwrap(), done.keys[0]);

    let stale = one(Change::UpdateKey { cmk: first });
    assert_eq!(store.commit(&here, stale).await, Err(StoreError::Conflict));
    let unknown = one(Change::UpdateKey { cmk: key(&here, 2) });
    assert_eq!(store.commit(&here, unknown).await, Err(StoreError::NotFound));
    assert_eq!(store.key(&here, id(1)).await.unwrap().unwrap(), done.keys[0]);
    let again = one(Change::CreateKey {
        cmk: Cmk { alias: Alias::parse("other").unwrap(), ..key(&here, 1) },
        version: None,
        tags: vec![],
    });
    assert_eq!(store.commit(&here, again).await, Err(StoreError::Conflict));
}

/// One alias per account and region, whatever the state; free elsewhere.
pub async fn alias_is_unique_in_its_scope(store: S) {
    let here = home();
    for (n, state) in KeyState::ALL.iter().enumerate() {
        let n = n as u32;
        create(&*store, &here, [Cmk { state: *state, ..key(&here, n) }]).await;
        let twin = Cmk { alias: key(&here, n).alias, ..key(&here, 100 + n) };
        let twin = one(Change::CreateKey { cmk: twin, version: None, tags: vec![] });
        assert_eq!(store.commit(&here, twin).await, Err(StoreError::AliasTaken), "{state}");
    }
    let renamed = Cmk { alias: key(&here, 1).alias, ..key(&here, 0) };
    assert_eq!(store.commit(&here, one(Change::UpdateKey { cmk: renamed })).await, Err(StoreError::AliasTaken));
    for (n, other) in [(200, scope(100_000_001, "ap-beijing")), (201, scope(2, "ap-guangzhou"))] {
        create(&*store, &other, [Cmk { alias: key(&here, 0).alias, ..key(&other, n) }]).await;
    }
    let upper = Cmk { alias: Alias::parse("KEY-0").unwrap(), ..key(&here, 300) };
    create(&*store, &here, [upper]).await;
}

/// A destroyed key leaves nothing behind.
pub async fn destroy_frees_alias_and_children(store: S) {
    let here = home();
    create(&*store, &here, [key(&here, 1)]).await;
    let bind = Change::Bind(binding(1, "r"));
    let import = Change::PutImport(import(1));
    let rows = store.commit(&here, Commit { changes: vec![bind, import], outbox: None }).await.unwrap().keys;
    let destroy = |revision| one(Change::DestroyKey { key_id: id(1), revision });
    assert_eq!(store.commit(&here, destroy(1)).await, Err(StoreError::Conflict));
    let done = store.commit(&here, destroy(rows[0].revision)).await.unwrap();
    assert!(done.keys.is_empty());
    assert_eq!(store.commit(&here, destroy(2)).await, Err(StoreError::NotFound));
    assert_eq!(store.key(&here, id(1)).await.unwrap(), None);

    let reborn = Change::CreateKey { cmk: key(&here, 1), version: None, tags: vec![] };
    store.commit(&here, one(reborn)).await.unwrap();
    assert!(store.versions(&here, id(1)).await.unwrap().is_empty());
    assert!(store.bindings(&here, id(1), 10).await.unwrap().is_empty());
    assert!(store.tags(&here, id(1)).await.unwrap().is_empty());
    assert_eq!(store.import_params(&here, id(1)).await.unwrap(), None);
}

/// Another account's key, or one of another region, does not exist for any scoped call.
pub async fn scopes_do_not_see_each_other(store: S) {
    let here = home();
    let tags = vec![Tag { key: "t".into(), value: "v".into() }];
    let changes = vec![
        Change::CreateKey { cmk: key(&here, 1), version: Some(version(1, 1)), tags },
        Change::Bind(binding(1, "r")),
        Change::PutImport(import(1)),
    ];
    let row = store.commit(&here, Commit { changes, outbox: None }).await.unwrap().keys.remove(0);
    assert_eq!(store.key_by_alias(&here, &row.alias).await.unwrap().as_ref(), Some(&row));
    for other in [scope(100_000_001, "ap-beijing"), scope(100_000_002, "ap-guangzhou")] {
        assert_eq!(store.key(&other, id(1)).await.unwrap(), None);
        assert_eq!(store.keys(&other, &[id(1)]).await.unwrap(), [None]);
        assert!(store.versions(&other, id(1)).await.unwrap().is_empty());
        assert_eq!(store.version(&other, id(1), 1).await.unwrap(), None);
        assert_eq!(store.list(std::slice::from_ref(&other), KeyQuery::default()).await.unwrap().total, 0);
        assert!(store.list_ids(&other, KeyQuery::default()).await.unwrap().items.is_empty());
        assert_eq!(store.import_params(&other, id(1)).await.unwrap(), None);
        assert!(store.bindings(&other, id(1), 10).await.unwrap().is_empty());
        assert!(!store.is_bound(&other, id(1), "cos").await.unwrap());
        assert_eq!(store.key_by_alias(&other, &row.alias).await.unwrap(), None);
        assert!(store.tags(&other, id(1)).await.unwrap().is_empty());
        assert_eq!(store.count_own(&other).await.unwrap(), 0);
        let changes = [
            Change::CreateKey { cmk: key(&here, 2), version: None, tags: vec![] },
            Change::UpdateKey { cmk: row.clone() },
            Change::UpdateKey { cmk: Cmk { account: other.account(), region: other.region().clone(), ..row.clone() } },
            Change::AddVersion(version(1, 2)),
            Change::DropVersions(id(1)),
            Change::DestroyKey { key_id: id(1), revision: row.revision },
            Change::PutImport(import(1)),
            Change::TakeImportAttempt { key_id: id(1), token_digest: [1; 32], limit: 9 },
            Change::ReturnImportAttempt { key_id: id(1), token_digest: [1; 32] },
            Change::DropImport(id(1)),
            Change::Bind(binding(1, "other")),
            Change::Unbind { key_id: id(1), product_id: "cos".into(), resource_id: "r".into() },
        ];
        for change in changes {
            let text = format!("{change:?}");
            assert_eq!(store.commit(&other, one(change)).await, Err(StoreError::NotFound), "{text}");
        }
    }
    assert_eq!(store.key(&here, id(1)).await.unwrap(), Some(row));
    assert_eq!(store.version(&here, id(1), 1).await.unwrap(), Some(version(1, 1)));
    assert_eq!(store.import_params(&here, id(1)).await.unwrap(), Some(import(1)));
    assert_eq!(store.bindings(&here, id(1), 10).await.unwrap(), [binding(1, "r")]);
    assert_eq!(store.key(&here, id(2)).await.unwrap(), None);
}

/// A batch with one bad member changes nothing and leaves no audit record.
pub async fn changes_are_all_or_nothing(store: S) {
    let here = home();
    let rows = create(&*store, &here, (1..=3).map(|n| key(&here, n))).await;
    let off = |row: &Cmk| Change::UpdateKey { cmk: Cmk { state: KeyState::Disabled, ..row.clone() } };
    let stale = Cmk { revision: 9, ..rows[2].clone() };
    let changes = vec![off(&rows[0]), Change::AddVersion(version(2, 2)), off(&rows[1]), off(&stale)];
    let bad = Commit { changes, outbox: Some(b"record".to_vec()) };
    assert_eq!(store.commit(&here, bad).await, Err(StoreError::Conflict));
    let now = store.keys(&here, &[id(1), id(2), id(3)]).await.unwrap();
    assert_eq!(now.into_iter().flatten().collect::<Vec<_>>(), rows);
    assert_eq!(store.versions(&here, id(2)).await.unwrap().len(), 1);
    assert!(store.outbox_pending(0, 1_000).await.unwrap().is_empty());

    let good = Commit { changes: rows.iter().map(off).collect(), outbox: Some(b"record".to_vec()) };
    let done = store.commit(&here, good).await.unwrap();
    assert!(done.keys.iter().all(|k| k.revision == 2 && k.state == KeyState::Disabled));
    let pending = store.outbox_pending(0, 1_000).await.unwrap();
    assert_eq!(pending, [(done.outbox_id.unwrap(), b"record".to_vec())]);
}

/// Calls that arrive together share a transaction, not their failures.
pub async fn failing_member_leaves_others(store: S) {
    let here = home();
    create(&*store, &here, [key(&here, 0)]).await;
    let tasks: Vec<_> = (1..=120u32)
        .map(|n| {
            let (store, here) = (store.clone(), here.clone());
            tokio::spawn(async move {
                let mut cmk = key(&here, n);
                if n % 4 == 0 {
                    cmk.alias = key(&here, 0).alias;
                }
                let change = Change::CreateKey { cmk, version: Some(version(n, 1)), tags: vec![] };
                let commit = Commit { changes: vec![change], outbox: Some(n.to_be_bytes().to_vec()) };
                (n, store.commit(&here, commit).await)
            })
        })
        .collect();
    for task in tasks {
        let (n, done) = task.await.unwrap();
        if n % 4 == 0 {
            assert_eq!(done, Err(StoreError::AliasTaken), "{n}");
        } else {
            assert_eq!(done.unwrap().keys[0].key_id, id(n));
        }
        assert_eq!(store.key(&here, id(n)).await.unwrap().is_some(), n % 4 != 0, "{n}");
        assert_eq!(store.version(&here, id(n), 1).await.unwrap().is_some(), n % 4 != 0, "{n}");
    }
    let pending = store.outbox_pending(0, 1_000).await.unwrap();
    assert_eq!(pending.len(), 90);
    assert!(pending.is_sorted_by(|a, b| a.0 < b.0));
    assert!(pending.iter().all(|(_, r)| r[3] % 4 != 0));
}

/// Of updates from one revision exactly one succeeds.
pub async fn racing_updates_have_one_winner(store: S) {
    let here = home();
    let row = create(&*store, &here, [key(&here, 1)]).await.remove(0);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let (store, here) = (store.clone(), here.clone());
            let cmk = Cmk { description: format!("{n}"), ..row.clone() };
            tokio::spawn(async move { store.commit(&here, one(Change::UpdateKey { cmk })).await })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            Ok(done) => winners.extend(done.keys),
            Err(e) => assert_eq!(e, StoreError::Conflict),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(store.key(&here, id(1)).await.unwrap().unwrap(), winners[0]);
}

/// Material is added, never overwritten, and dropped as a whole.
pub async fn versions_and_material(store: S) {
    let here = home();
    create(&*store, &here, [key(&here, 1)]).await;
    store.commit(&here, one(Change::AddVersion(version(1, 3)))).await.unwrap();
    store.commit(&here, one(Change::AddVersion(version(1, 2)))).await.unwrap();
    let other = KeyVersion { wrapped: vec![0; 60], ..version(1, 2) };
    assert_eq!(store.commit(&here, one(Change::AddVersion(other))).await, Err(StoreError::Conflict));
    assert_eq!(store.versions(&here, id(1)).await.unwrap(), [version(1, 1), version(1, 2), version(1, 3)]);
    assert_eq!(store.version(&here, id(1), 3).await.unwrap(), Some(version(1, 3)));
    assert_eq!(store.version(&here, id(1), 4).await.unwrap(), None);
    for _ in 0..2 {
        store.commit(&here, one(Change::DropVersions(id(1)))).await.unwrap();
        assert!(store.versions(&here, id(1)).await.unwrap().is_empty());
    }
    let foreign = Change::CreateKey { cmk: key(&here, 2), version: Some(version(1, 1)), tags: vec![] };
    assert_eq!(store.commit(&here, one(foreign)).await, Err(StoreError::Conflict));
}

/// One live pair per key, whose attempts are counted for its own token alone.
pub async fn import_parameters(store: S) {
    let here = home();
    create(&*store, &here, [key(&here, 1)]).await;
    let put = |p: ImportParams| store.commit(&here, one(Change::PutImport(p)));
    put(import(1)).await.unwrap();
    let newer = ImportParams { token_digest: [2; 32], ..import(1) };
    put(newer.clone()).await.unwrap();
    assert_eq!(store.import_params(&here, id(1)).await.unwrap(), Some(newer.clone()));
    let take = |token: u8| {
        let change = Change::TakeImportAttempt { key_id: id(1), token_digest: [token; 32], limit: 3 };
        store.commit(&here, one(change))
    };
    let give_back =
        |token: u8| store.commit(&here, one(Change::ReturnImportAttempt { key_id: id(1), token_digest: [token; 32] }));
    let failures = async || store.import_params(&here, id(1)).await.unwrap().unwrap().failures;
    assert_eq!(take(1).await, Err(StoreError::Conflict), "the token before the present one");
    let (a, b, c, d) = tokio::join!(take(2), take(2), take(2), take(2));
    let taken = [a, b, c, d].iter().filter(|r| r.is_ok()).count();
    assert_eq!((taken, failures().await), (3, 3), "never more than the limit");
    assert_eq!(take(2).await, Err(StoreError::Conflict));
    give_back(1).await.unwrap();
    assert_eq!(failures().await, 3, "another token's attempt");
    give_back(2).await.unwrap();
    assert_eq!(failures().await, 2);
    take(2).await.unwrap();
    put(import(1)).await.unwrap();
    give_back(1).await.unwrap();
    assert_eq!(failures().await, 0, "there was nothing to give back");
    take(1).await.unwrap();
    assert_eq!(failures().await, 1);
    for _ in 0..2 {
        store.commit(&here, one(Change::DropImport(id(1)))).await.unwrap();
        assert_eq!(store.import_params(&here, id(1)).await.unwrap(), None);
    }
    assert_eq!(take(1).await, Err(StoreError::Conflict));
    give_back(1).await.unwrap();
}

/// Expired import parameters of all accounts go away in portions; the others stay.
pub async fn expired_imports_are_dropped(store: S) {
    let (here, there) = (home(), scope(5, "ap-beijing"));
    create(&*store, &here, (1..=3).map(|n| key(&here, n))).await;
    create(&*store, &there, [key(&there, 4)]).await;
    for (scope, n, expires) in [(&here, 1, 10), (&here, 2, 11), (&here, 3, 20), (&there, 4, 9)] {
        let change = Change::PutImport(ImportParams { expires, ..import(n) });
        store.commit(scope, one(change)).await.unwrap();
    }
    assert_eq!(store.drop_expired_imports(8, 10).await.unwrap(), 0);
    assert_eq!(store.drop_expired_imports(11, 2).await.unwrap(), 2);
    assert_eq!(store.drop_expired_imports(11, 2).await.unwrap(), 1);
    assert_eq!(store.drop_expired_imports(11, 2).await.unwrap(), 0);
    for (scope, n) in [(&here, 1), (&here, 2), (&there, 4)] {
        assert_eq!(store.import_params(scope, id(n)).await.unwrap(), None, "{n}");
        assert!(store.key(scope, id(n)).await.unwrap().is_some());
    }
    assert_eq!(store.import_params(&here, id(3)).await.unwrap().unwrap().expires, 20);
}

/// The count of bindings is exact, whatever is repeated.
pub async fn bindings_count(store: S) {
    let here = home();
    create(&*store, &here, [key(&here, 1)]).await;
    let bind = |r: &str| store.commit(&here, one(Change::Bind(binding(1, r))));
    let unbind = |r: &str| {
        let gone = Change::Unbind { key_id: id(1), product_id: "cos".into(), resource_id: r.into() };
        store.commit(&here, one(gone))
    };
    let first = bind("b").await.unwrap().keys;
    assert_eq!((first[0].bindings, first[0].revision), (1, 2));
    assert_eq!(bind("b").await.unwrap().keys, first);
    assert_eq!(bind("a").await.unwrap().keys[0].bindings, 2);
    assert_eq!(store.bindings(&here, id(1), 10).await.unwrap(), [binding(1, "a"), binding(1, "b")]);
    assert_eq!(store.bindings(&here, id(1), 1).await.unwrap(), [binding(1, "a")]);
    assert!(store.is_bound(&here, id(1), "cos").await.unwrap());
    assert!(!store.is_bound(&here, id(1), "co").await.unwrap());
    assert!(!store.is_bound(&here, id(2), "cos").await.unwrap());
    // Consent can be added to a binding, not taken from it, and is what counts for the product.
    let noted = Binding { product_id: "cbs".into(), consent: false, ..binding(1, "d") };
    let before = store.commit(&here, one(Change::Bind(noted.clone()))).await.unwrap().keys.remove(0);
    assert!(!store.is_bound(&here, id(1), "cbs").await.unwrap());
    let agreed = Binding { consent: true, ..noted.clone() };
    let after = store.commit(&here, one(Change::Bind(agreed.clone()))).await.unwrap().keys.remove(0);
    assert_eq!((after.bindings, after.revision), (before.bindings, before.revision + 1));
    assert_eq!(store.commit(&here, one(Change::Bind(noted))).await.unwrap().keys, [after]);
    assert!(store.is_bound(&here, id(1), "cbs").await.unwrap());
    let gone = Change::Unbind { key_id: id(1), product_id: "cbs".into(), resource_id: "d".into() };
    store.commit(&here, one(gone)).await.unwrap();
    assert_eq!(unbind("b").await.unwrap().keys[0].bindings, 1);
    assert_eq!(unbind("b").await, Err(StoreError::NotFound));
    assert_eq!(store.key(&here, id(1)).await.unwrap().unwrap().bindings, 1);
    assert_eq!(store.bindings(&here, id(1), 10).await.unwrap(), [binding(1, "a")]);
}

/// A commit answers each key once, as it is at the end.
pub async fn committed_rows_are_those_stored(store: S) {
    let here = home();
    let rows = create(&*store, &here, [key(&here, 2), key(&here, 1)]).await;
    assert_eq!(rows.iter().map(|k| k.key_id).collect::<Vec<_>>(), [id(2), id(1)]);
    let changes = vec![
        Change::UpdateKey { cmk: rows[1].clone() },
        Change::UpdateKey { cmk: rows[0].clone() },
        Change::Bind(binding(1, "r")),
    ];
    let done = store.commit(&here, Commit { changes, outbox: None }).await.unwrap().keys;
    let seen: Vec<_> = done.iter().map(|k| (k.key_id, k.revision, k.bindings)).collect();
    assert_eq!(seen, [(id(1), 3, 1), (id(2), 2, 0)]);
    assert_eq!(store.key(&here, id(1)).await.unwrap().unwrap(), done[0]);
    assert_eq!(store.commit(&here, Commit::default()).await.unwrap(), Committed { outbox_id: None, keys: vec![] });
}

fn binding(n: u32, resource: &str) -> Binding {
    Binding { key_id: id(n), product_id: "cos".into(), resource_id: resource.into(), consent: true, create_time: 30 }
}

fn import(n: u32) -> ImportParams {
    ImportParams {
        key_id: id(n),
        token_digest: [1; 32],
        algorithm: "RSAES_OAEP_SHA_256".into(),
        wrapped_private: vec![4; 100],
        domain_version: 1,
        expires: 99,
        failures: 0,
    }
}

/// A commit that needs a key as it was read happens only while it is so, and leaves that key alone.
pub async fn required_revision(store: S) {
    let here = home();
    let read = create(&*store, &here, [key(&here, 1)]).await.remove(0);
    let other = key(&here, 2);
    let changes = |n: u32, revision| Commit {
        changes: vec![
            Change::RequireKey { key_id: id(n), revision },
            Change::CreateKey { cmk: other.clone(), version: None, tags: Vec::new() },
        ],
        outbox: None,
    };
    let disabled = Cmk { state: KeyState::Disabled, ..read.clone() };
    store.commit(&here, one(Change::UpdateKey { cmk: disabled })).await.unwrap();
    assert_eq!(store.commit(&here, changes(1, read.revision)).await, Err(StoreError::Conflict));
    assert_eq!(store.commit(&here, changes(7, 1)).await, Err(StoreError::NotFound));
    let foreign = scope(here.account().0, "ap-beijing");
    let required = Change::RequireKey { key_id: id(1), revision: 2 };
    assert_eq!(store.commit(&foreign, one(required)).await, Err(StoreError::NotFound));
    assert_eq!(store.key(&here, id(2)).await.unwrap(), None);
    let done = store.commit(&here, changes(1, 2)).await.unwrap();
    assert_eq!(done.keys.iter().map(|k| k.key_id).collect::<Vec<_>>(), [id(2)]);
    assert_eq!(store.key(&here, id(1)).await.unwrap().unwrap().revision, 2);
}

/// The account's own keys in every state but PendingDelete take room.
pub async fn room_in_a_quota(store: S) {
    let here = home();
    let product = Cmk { owner: Owner::Product(Alias::parse("cos").unwrap()), ..key(&here, 1) };
    let leaving = Cmk { state: KeyState::PendingDelete, ..key(&here, 2) };
    let archived = Cmk { state: KeyState::Archived, ..key(&here, 3) };
    create(&*store, &here, [product, leaving, archived]).await;
    let next = |n, quota| Commit {
        changes: vec![
            Change::RequireRoom { of: Counted::Keys, quota },
            Change::CreateKey { cmk: key(&here, n), version: None, tags: Vec::new() },
        ],
        outbox: Some(vec![1]),
    };
    let full = Err(StoreError::NoRoom(Counted::Keys));
    assert_eq!(store.commit(&here, next(4, 1)).await, full);
    assert!(store.outbox_pending(0, 1_000).await.unwrap().is_empty());
    store.commit(&here, next(4, 2)).await.unwrap();
    assert_eq!(store.commit(&here, next(5, 2)).await, full);
    assert_eq!(store.count_own(&here).await.unwrap(), 2);
}

/// Exactly as many get in as there is room for.
pub async fn racing_for_the_last_room(store: S) {
    let here = home();
    let create = |n| Change::CreateKey { cmk: key(&home(), n), version: None, tags: Vec::new() };
    let made = race(&store, &here, Counted::Keys, create).await;
    assert_eq!((made, store.count_own(&here).await.unwrap()), (5, 5));
}
