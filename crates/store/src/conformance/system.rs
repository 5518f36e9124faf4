//! Accounts, access keys, the key hierarchy, the outbox, the store itself.

use super::*;
use crate::error::StoreError;
use std::sync::Arc;

type S = Arc<dyn Store>;

fn slots(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn rooted(store: &S) {
    store.add_root(vec![root(1, "a")], &[], None).await.unwrap();
}

/// An account comes with its domain key and access keys, or not at all.
pub async fn accounts_and_access_keys(store: S) {
    rooted(&store).await;
    store
        .create_account(account(20), domain(20, 1), vec![access_key(20, "AKID1"), access_key(20, "AKID2")], None)
        .await
        .unwrap();
    store.create_account(account(10), domain(10, 1), vec![], None).await.unwrap();
    assert_eq!(store.account(AccountId(20)).await.unwrap(), Some(account(20)));
    assert_eq!(store.account(AccountId(30)).await.unwrap(), None);
    assert_eq!(store.accounts().await.unwrap(), [account(10), account(20)]);
    let found = store.access_key(&SecretId::parse("AKID2").unwrap()).await.unwrap();
    assert_eq!(found, Some(AccessKeyRow { revision: 1, ..access_key(20, "AKID2") }));
    assert_eq!(store.access_key(&SecretId::parse("akid2").unwrap()).await.unwrap(), None);
    assert_eq!(store.domains(AccountId(20)).await.unwrap(), [DomainRow { revision: 1, ..domain(20, 1) }]);

    let refused = [
        (account(20), domain(20, 1), vec![]),
        (account(30), domain(31, 1), vec![]),
        (account(30), domain(30, 1), vec![access_key(31, "AKID3")]),
        (account(30), domain(30, 1), vec![access_key(30, "AKID3"), access_key(30, "AKID1")]),
    ];
    for (account, domain, keys) in refused {
        assert_eq!(store.create_account(account, domain, keys, None).await, Err(StoreError::Conflict));
    }
    assert_eq!(store.accounts().await.unwrap().len(), 2);
    assert!(store.domains(AccountId(30)).await.unwrap().is_empty());
    assert_eq!(store.access_key(&SecretId::parse("AKID3").unwrap()).await.unwrap(), None);
}

/// Access keys are made with revision 0 and changed by compare-and-swap within their account.
pub async fn access_key_revisions(store: S) {
    rooted(&store).await;
    store.create_account(account(1), domain(1, 1), vec![], None).await.unwrap();
    store.create_account(account(2), domain(2, 1), vec![], None).await.unwrap();
    let row = AccessKeyRow { product: Alias::parse("cos"), ..access_key(1, "AKID") };
    let (before, _) = store.identities_changed(0).await.unwrap();
    store.put_access_key(row.clone(), None).await.unwrap();
    let (made, changed) = store.identities_changed(before).await.unwrap();
    assert!(made > before);
    assert_eq!(changed, [AccountId(1)]);
    assert_eq!(store.put_access_key(row.clone(), None).await, Err(StoreError::Conflict));
    assert_eq!(store.put_access_key(access_key(9, "AKID9"), None).await, Err(StoreError::NotFound));
    assert_eq!(store.identities_changed(made).await.unwrap(), (made, vec![]), "nothing was changed");
    let off = AccessKeyRow { enabled: false, description: "old".into(), revision: 1, ..row.clone() };
    // The product stays, whatever an update says.
    store.put_access_key(AccessKeyRow { product: None, ..off.clone() }, None).await.unwrap();
    let (off_at, changed) = store.identities_changed(made).await.unwrap();
    assert!(off_at > made);
    assert_eq!(changed, [AccountId(1)]);
    assert_eq!(store.put_access_key(off.clone(), None).await, Err(StoreError::Conflict));
    let foreign = AccessKeyRow { account: AccountId(2), revision: 2, ..row.clone() };
    assert_eq!(store.put_access_key(foreign, None).await, Err(StoreError::NotFound));
    let absent = AccessKeyRow { revision: 1, ..access_key(1, "AKID8") };
    assert_eq!(store.put_access_key(absent, None).await, Err(StoreError::NotFound));
    let stored = store.access_key(&row.secret_id).await.unwrap();
    let off = AccessKeyRow { revision: 2, ..off };
    assert_eq!(stored.as_ref(), Some(&off));
    assert_eq!(store.access_keys(AccountId(1)).await.unwrap(), [off]);
    assert!(store.access_keys(AccountId(2)).await.unwrap().is_empty());
    assert_eq!(store.identities_changed(off_at).await.unwrap(), (off_at, vec![]), "nothing was changed since");
    let revision = |of: Option<Identities>| of.unwrap().revision;
    assert_eq!(revision(store.identities(AccountId(1)).await.unwrap()), 3);
    assert_eq!(revision(store.identities(AccountId(2)).await.unwrap()), 1);
}

/// The time of last use only grows, and is no change of the row.
pub async fn touching_never_moves_back(store: S) {
    rooted(&store).await;
    store.create_account(account(1), domain(1, 1), vec![access_key(1, "A"), access_key(1, "B")], None).await.unwrap();
    let (a, b, c) = ("A", "B", "C");
    let use_at = |name: &str, at| (SecretId::parse(name).unwrap(), at);
    let moment = store.identities_changed(0).await.unwrap().0;
    store.touch_access_keys(&[use_at(a, 70), use_at(c, 71), use_at(b, 72)]).await.unwrap();
    store.touch_access_keys(&[use_at(a, 60), use_at(b, 80)]).await.unwrap();
    for (name, at) in [(a, 70), (b, 80)] {
        let row = store.access_key(&SecretId::parse(name).unwrap()).await.unwrap().unwrap();
        assert_eq!((row.last_used, row.revision), (at, 1));
    }
    assert_eq!(store.access_key(&SecretId::parse(c).unwrap()).await.unwrap(), None);
    assert_eq!(store.identities_changed(moment).await.unwrap(), (moment, vec![]));
}

/// The time of a key's last use only grows, is no change of its row, is seen in its scope alone, and goes with the key.
pub async fn keys_last_used(store: S) {
    let (here, there) = (home(), scope(100_000_002, "ap-guangzhou"));
    let rows = create(store.as_ref(), &here, [key(&here, 1), key(&here, 2)]).await;
    let used = async |n| store.last_used(&home(), id(n)).await.unwrap();
    assert_eq!((used(1).await, used(9).await), (0, 0), "never used, and no such key");
    store.touch_keys(&[(id(1), 70), (id(9), 71), (id(2), 72)]).await.unwrap();
    store.touch_keys(&[(id(1), 60), (id(2), 80), (id(2), 75)]).await.unwrap();
    store.touch_keys(&[]).await.unwrap();
    assert_eq!((used(1).await, used(2).await, used(9).await), (70, 80, 0));
    assert_eq!(store.last_used(&there, id(1)).await.unwrap(), 0, "another account's key does not exist");
    assert_eq!(store.key(&here, id(1)).await.unwrap().as_ref(), rows.first(), "no change of the row");
    let revision = rows[0].revision;
    store.commit(&here, one(Change::DestroyKey { key_id: id(1), revision })).await.unwrap();
    create(store.as_ref(), &here, [key(&here, 1)]).await;
    assert_eq!((used(1).await, used(2).await), (0, 80), "it went with its key");
}

/// Keys with what belongs to them, one by one and in pages over all accounts.
pub async fn key_overviews(store: S) {
    let (here, there) = (home(), scope(100_000_002, "ap-beijing"));
    let rows = create(store.as_ref(), &here, [key(&here, 1), key(&here, 3)]).await;
    let foreign = create(store.as_ref(), &there, [key(&there, 2)]).await;
    create_data_keys(store.as_ref(), &here, [data_key(&here, 10, 3), data_key(&here, 11, 3)]).await;
    store.commit(&here, one(Change::AddVersion(version(3, 2)))).await.unwrap();
    store.touch_keys(&[(id(2), 50)]).await.unwrap();
    let of =
        |cmk: &Cmk, last_used, versions, data_keys| KeyOverview { cmk: cmk.clone(), last_used, versions, data_keys };
    let all = [of(&rows[0], 0, 1, 0), of(&foreign[0], 50, 1, 0), of(&rows[1], 0, 2, 2)];
    assert_eq!(store.overviews(None, 10).await.unwrap(), all);
    assert_eq!(store.overviews(Some(id(1)), 1).await.unwrap(), all[1..2]);
    assert!(store.overviews(Some(id(3)), 10).await.unwrap().is_empty());
    assert_eq!(store.overview(id(3)).await.unwrap().as_ref(), all.last());
    assert_eq!(store.overview(id(4)).await.unwrap(), None);
}

/// The record of a change of accounts, access keys or root keys comes with it or not at all, and one of no change of the
/// store alone.
pub async fn records_of_other_changes(store: S) {
    let record = |n: u8| Some(vec![n]);
    store.add_root(vec![root(1, "a")], &[], record(1)).await.unwrap();
    assert_eq!(store.add_root(vec![root(1, "a")], &slots(&["a"]), record(90)).await, Err(StoreError::Conflict));
    store.create_account(account(1), domain(1, 1), vec![], record(2)).await.unwrap();
    let again = store.create_account(account(1), domain(1, 1), vec![], record(91)).await;
    assert_eq!(again, Err(StoreError::Conflict));
    store.put_access_key(access_key(1, "AKID"), record(3)).await.unwrap();
    assert_eq!(store.put_access_key(access_key(1, "AKID"), record(92)).await, Err(StoreError::Conflict));
    let alone = store.add_outbox(vec![4]).await.unwrap();
    assert_eq!(store.drop_root(1, record(93)).await, Err(StoreError::Conflict));
    store.add_root(vec![root(2, "a")], &slots(&["a"]), None).await.unwrap();
    let row = store.domains(AccountId(1)).await.unwrap().remove(0);
    store.rewrap_domain(DomainRow { root_version: 2, ..row }).await.unwrap();
    store.drop_root(1, record(5)).await.unwrap();
    let pending = store.outbox_pending(0, 1_000).await.unwrap();
    assert_eq!(pending.iter().map(|(_, record)| record[0]).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(pending.is_sorted_by_key(|(id, _)| *id) && pending[3].0 == alone);
    store.outbox_done(&[alone]).await.unwrap();
    assert_eq!(store.outbox_pending(0, 1_000).await.unwrap().len(), 4);
}

/// One version is current; slots are replaced as a whole.
pub async fn roots_and_slots(store: S) {
    assert!(store.root_rows().await.unwrap().is_empty());
    store.add_root(vec![root(1, "b"), root(1, "a")], &[], None).await.unwrap();
    assert_eq!(store.root_rows().await.unwrap(), [root(1, "a"), root(1, "b")]);
    let refused = [vec![], vec![root(1, "c")], vec![root(2, "a"), root(3, "b")], vec![root(2, "a"), root(2, "a")]];
    for rows in refused {
        assert_eq!(store.add_root(rows, &slots(&["a", "b"]), None).await, Err(StoreError::Conflict));
    }
    assert_eq!(store.root_rows().await.unwrap(), [root(1, "a"), root(1, "b")]);
    store
        .add_root(vec![RootRow { state: RootState::Retiring, ..root(2, "a") }], &slots(&["a", "b"]), None)
        .await
        .unwrap();
    let old = |slot| RootRow { state: RootState::Retiring, ..root(1, slot) };
    assert_eq!(store.root_rows().await.unwrap(), [old("a"), old("b"), root(2, "a")]);

    store.replace_root_slots(1, vec![root(1, "c")]).await.unwrap();
    assert_eq!(store.root_rows().await.unwrap(), [old("c"), root(2, "a")]);
    assert_eq!(store.replace_root_slots(3, vec![root(3, "c")]).await, Err(StoreError::NotFound));
    for rows in [vec![], vec![root(1, "c")], vec![root(2, "c"), root(2, "c")]] {
        assert_eq!(store.replace_root_slots(2, rows).await, Err(StoreError::Conflict));
    }
    assert_eq!(store.root_rows().await.unwrap(), [old("c"), root(2, "a")]);
}

/// Custodians come and go one by one, each with all versions, and never the last one.
pub async fn custodians(store: S) {
    rooted(&store).await;
    store.create_account(account(1), domain(1, 1), vec![], None).await.unwrap();
    store.add_root(vec![root(2, "a")], &slots(&["a"]), None).await.unwrap();
    let refused = [
        vec![],
        vec![root(2, "b")],
        vec![root(1, "b"), root(2, "b"), root(3, "b")],
        vec![root(1, "b"), root(1, "b")],
        vec![root(1, "b"), root(2, "c")],
        vec![root(1, "a"), root(2, "a")],
    ];
    for rows in refused {
        assert_eq!(store.add_root_slot(rows, None).await, Err(StoreError::Conflict));
    }
    assert_eq!(store.drop_root_slot("a", None).await, Err(StoreError::Conflict));
    assert_eq!(store.drop_root_slot("b", None).await, Err(StoreError::NotFound));
    // The states in the rows are not read.
    store.add_root_slot(vec![root(2, "b"), root(1, "b")], None).await.unwrap();
    let old = |slot| RootRow { state: RootState::Retiring, ..root(1, slot) };
    assert_eq!(store.root_rows().await.unwrap(), [old("a"), old("b"), root(2, "a"), root(2, "b")]);
    assert_eq!(
        store.add_root(vec![root(3, "a")], &slots(&["a"]), None).await,
        Err(StoreError::Conflict),
        "b would be lost"
    );
    store.drop_root_slot("a", None).await.unwrap();
    assert_eq!(store.root_rows().await.unwrap(), [old("b"), root(2, "b")]);
    assert_eq!(store.drop_root_slot("b", None).await, Err(StoreError::Conflict));
    store.add_root(vec![root(3, "c")], &slots(&["b"]), None).await.unwrap();
}

/// A copy has everything as of one moment, while others write; nothing is written over.
pub async fn snapshots(store: S) {
    let dir = tempfile::tempdir().unwrap();
    rooted(&store).await;
    let here = home();
    create(store.as_ref(), &here, (0..40).map(|n| key(&here, n))).await;
    let (writer, there) = (store.clone(), here.clone());
    let writing = tokio::spawn(async move {
        for n in 100..160 {
            create(writer.as_ref(), &there, [key(&there, n)]).await;
        }
    });
    let path = dir.path().join("copy");
    store.snapshot(&path).await.unwrap();
    writing.await.unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(store.snapshot(&path).await, Err(StoreError::Unavailable(_))));
    crate::SqliteStore::check(&path).unwrap();
    let copy: S = Arc::new(crate::SqliteStore::open(&path, crate::Options::default()).unwrap());
    let copied = copy.all_keys_meta(None, 1000).await.unwrap();
    assert!((40..=100).contains(&copied.len()));
    for (n, row) in copied.iter().enumerate() {
        let n = u32::try_from(n).unwrap();
        assert_eq!(row.key_id, id(if n < 40 { n } else { 60 + n }), "no key without those before it");
    }
    assert_eq!(copy.root_rows().await.unwrap(), store.root_rows().await.unwrap());
    copy.close().await.unwrap();
}

/// An account wrapped under a root key that is not current any more must be wrapped anew.
pub async fn account_under_old_root_is_refused(store: S) {
    assert_eq!(store.create_account(account(1), domain(1, 1), vec![], None).await, Err(StoreError::Conflict));
    rooted(&store).await;
    store.add_root(vec![root(2, "a")], &slots(&["a"]), None).await.unwrap();
    for version in [1, 3] {
        let refused = store.create_account(account(1), domain(1, version), vec![access_key(1, "A")], None).await;
        assert_eq!(refused, Err(StoreError::Conflict));
    }
    assert!(store.accounts().await.unwrap().is_empty());
    store.create_account(account(1), domain(1, 2), vec![access_key(1, "A")], None).await.unwrap();
}

/// Domain keys move to the current root key by compare-and-swap.
pub async fn rewrapping(store: S) {
    rooted(&store).await;
    for n in 1..=3 {
        store.create_account(account(n), domain(n, 1), vec![], None).await.unwrap();
    }
    store.add_root(vec![root(2, "a")], &slots(&["a"]), None).await.unwrap();
    assert_eq!(store.count_domains_under(1).await.unwrap(), 3);
    assert_eq!(store.domains_under_root(1, 2).await.unwrap().len(), 2);
    let row = store.domains(AccountId(2)).await.unwrap().remove(0);
    let moved = DomainRow { root_version: 2, wrapped: vec![1, 1], ..row.clone() };
    store.rewrap_domain(moved.clone()).await.unwrap();
    assert_eq!(store.rewrap_domain(moved.clone()).await, Err(StoreError::Conflict));
    let back = DomainRow { revision: 2, ..row };
    assert_eq!(store.rewrap_domain(back).await, Err(StoreError::Conflict), "not under a retiring root key");
    let absent = DomainRow { account: AccountId(9), revision: 1, ..moved.clone() };
    assert_eq!(store.rewrap_domain(absent).await, Err(StoreError::NotFound));
    assert_eq!(store.domains(AccountId(2)).await.unwrap(), [DomainRow { revision: 2, ..moved }]);
    let left: Vec<_> = store.domains_under_root(1, 10).await.unwrap().iter().map(|d| d.account.0).collect();
    assert_eq!(left, [1, 3]);
    assert_eq!(store.count_domains_under(2).await.unwrap(), 1);
}

/// An account gets further domain keys, under the current root key only.
pub async fn more_domains(store: S) {
    rooted(&store).await;
    assert_eq!(store.add_domain(domain(1, 1)).await, Err(StoreError::NotFound), "no such account");
    store.create_account(account(1), domain(1, 1), vec![], None).await.unwrap();
    assert_eq!(store.add_domain(domain(1, 1)).await, Err(StoreError::Conflict), "it exists");
    let second = DomainRow { version: 2, ..domain(1, 1) };
    store.add_root(vec![root(2, "a")], &slots(&["a"]), None).await.unwrap();
    assert_eq!(store.add_domain(second.clone()).await, Err(StoreError::Conflict), "a retiring root key");
    let second = DomainRow { root_version: 2, ..second };
    store.add_domain(second.clone()).await.unwrap();
    let stored = store.domains(AccountId(1)).await.unwrap();
    assert_eq!(stored, [DomainRow { revision: 1, ..domain(1, 1) }, DomainRow { revision: 1, ..second }]);
}

/// A root key goes only when nothing is under it and it is not the current one.
pub async fn drop_root_is_refused(store: S) {
    rooted(&store).await;
    assert_eq!(store.drop_root(1, None).await, Err(StoreError::Conflict));
    store.meta_put("under_root/x", b"\0\0\0\x01old").await.unwrap();
    store.meta_put("under_root/y", b"").await.unwrap();
    store.create_account(account(1), domain(1, 1), vec![], None).await.unwrap();
    store.add_root(vec![root(2, "a"), root(2, "b")], &slots(&["a"]), None).await.unwrap();
    assert_eq!(store.drop_root(1, None).await, Err(StoreError::Conflict));
    let row = store.domains(AccountId(1)).await.unwrap().remove(0);
    store.rewrap_domain(DomainRow { root_version: 2, ..row }).await.unwrap();
    // Nor does it while a value of the deployment lies under it, and none is put under a retiring one.
    assert_eq!(store.drop_root(1, None).await, Err(StoreError::Conflict));
    assert_eq!(store.meta_put("under_root/x", b"\0\0\0\x01new").await, Err(StoreError::Conflict));
    assert_eq!(store.meta_put("under_root/x", b"\0\0").await, Err(StoreError::Conflict));
    store.meta_put("under_root/x", b"\0\0\0\x02new").await.unwrap();
    store.drop_root(1, None).await.unwrap();
    assert_eq!(store.drop_root(1, None).await, Err(StoreError::NotFound));
    assert_eq!(store.drop_root(2, None).await, Err(StoreError::Conflict));
    assert_eq!(store.root_rows().await.unwrap(), [root(2, "a"), root(2, "b")]);
    assert_eq!(
        store.add_root(vec![root(1, "a")], &slots(&["a", "b"]), None).await,
        Err(StoreError::Conflict),
        "versions do not come back"
    );
}

/// While accounts are made and the root key is replaced, no account ends up under a root key that is gone.
pub async fn account_races_rekey(store: S) {
    rooted(&store).await;
    let maker = store.clone();
    let makers = tokio::spawn(async move {
        for n in 1..=60 {
            loop {
                let current = maker.root_rows().await.unwrap();
                let current = current.iter().find(|r| r.state == RootState::Current).unwrap().version;
                match maker.create_account(account(n), domain(n, current), vec![], None).await {
                    Ok(()) => break,
                    Err(e) => assert_eq!(e, StoreError::Conflict),
                }
            }
        }
    });
    for version in 2..=8 {
        store.add_root(vec![root(version, "a")], &slots(&["a"]), None).await.unwrap();
        while store.drop_root(version - 1, None).await == Err(StoreError::Conflict) {
            for row in store.domains_under_root(version - 1, 10).await.unwrap() {
                store.rewrap_domain(DomainRow { root_version: version, ..row }).await.unwrap();
            }
        }
    }
    makers.await.unwrap();
    assert_eq!(store.root_rows().await.unwrap(), [root(8, "a")]);
    assert_eq!(store.accounts().await.unwrap().len(), 60);
    assert_eq!(store.count_domains_under(8).await.unwrap(), 60);
}

/// Audit records wait, in order, until they are done with; their ids do not come back.
pub async fn outbox(store: S) {
    let here = home();
    let mut ids = Vec::new();
    for n in 1..=4u32 {
        let change = Change::CreateKey { cmk: key(&here, n), version: None, tags: vec![] };
        let commit = Commit { changes: vec![change], outbox: Some(vec![n as u8]) };
        ids.push(store.commit(&here, commit).await.unwrap().outbox_id.unwrap());
    }
    store.outbox_done(&[ids[2], ids[0], 999_999]).await.unwrap();
    assert_eq!(store.outbox_pending(0, 1_000).await.unwrap(), [(ids[1], vec![2]), (ids[3], vec![4])]);
    assert_eq!(store.outbox_pending(0, 1).await.unwrap(), [(ids[1], vec![2])], "no more than are asked for");
    assert_eq!(store.outbox_pending(ids[1], 1).await.unwrap(), [(ids[3], vec![4])]);
    assert!(store.outbox_pending(ids[3], 1_000).await.unwrap().is_empty());
    store.outbox_done(&ids).await.unwrap();
    store.outbox_done(&[]).await.unwrap();
    assert!(store.outbox_pending(0, 1_000).await.unwrap().is_empty());
    let alone = Commit { changes: vec![], outbox: Some(vec![5]) };
    let next = store.commit(&here, alone).await.unwrap().outbox_id.unwrap();
    assert!(next > ids[3]);
}

/// Small values of the deployment.
pub async fn meta_values(store: S) {
    assert_eq!(store.meta_get("clock").await.unwrap(), None);
    store.meta_put("clock", &[1, 0]).await.unwrap();
    store.meta_put("clock", &[]).await.unwrap();
    assert_eq!(store.meta_get("clock").await.unwrap(), Some(vec![]));
    assert!(store.schema_version().await.unwrap() >= 1);
    store.ping().await.unwrap();
}

/// A closed store answers so, and closing twice is fine.
pub async fn closed(store: S) {
    rooted(&store).await;
    store.close().await.unwrap();
    store.close().await.unwrap();
    let unavailable = |e: StoreError| matches!(e, StoreError::Unavailable(_));
    assert!(unavailable(store.ping().await.unwrap_err()));
    assert!(unavailable(store.root_rows().await.unwrap_err()));
    assert!(unavailable(store.meta_put("k", b"v").await.unwrap_err()));
}
