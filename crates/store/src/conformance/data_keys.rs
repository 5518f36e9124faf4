//! Hosted data keys: changes, scopes, lists, what their CMK does to them.

use super::*;
use crate::error::StoreError;
use std::sync::Arc;

type S = Arc<dyn Store>;

fn did(n: u32) -> DataKeyId {
    DataKeyId(id(n))
}

/// A store with CMKs 900 and 901 in the home scope.
async fn with_cmks(store: &S) -> Scope {
    let here = home();
    create(&**store, &here, [key(&here, 900), key(&here, 901)]).await;
    here
}

async fn make(store: &S, scope: &Scope, keys: impl IntoIterator<Item = DataKey>) -> Vec<DataKey> {
    create_data_keys(&**store, scope, keys).await
}

async fn row(store: &S, scope: &Scope, n: u32) -> Option<DataKey> {
    store.data_key(scope, did(n)).await.unwrap()
}

/// Every field comes back; the alias is that of the CMK at the moment.
pub async fn round_trip(store: S) {
    let here = with_cmks(&store).await;
    let full = DataKey {
        description: "说明 with 'quotes'".into(),
        bytes: 1024,
        origin: Origin::External,
        state: DataKeyState::PendingDelete,
        owner: Owner::Product(Alias::parse("cos").unwrap()),
        creator: Uin(u64::MAX),
        deletion_date: 5,
        hsm_cluster: "hsm-1".into(),
        ..data_key(&here, 1, 900)
    };
    let tags = vec![Tag { key: "b".into(), value: "2".into() }, Tag { key: "a".into(), value: "".into() }];
    let given = DataKey { cmk_alias: Alias::parse("ignored").unwrap(), revision: 9, ..full.clone() };
    let create = Change::CreateDataKey { key: given, material: data_key_material(1), tags: tags.clone() };
    let done = store.commit(&here, one(create)).await.unwrap();
    assert_eq!(done, Committed { outbox_id: None, keys: vec![] });
    assert_eq!(row(&store, &here, 1).await, Some(full.clone()));
    assert_eq!(store.data_key_material(&here, did(1)).await.unwrap(), Some(data_key_material(1)));
    assert_eq!(store.data_key_tags(&here, did(1)).await.unwrap(), [tags[1].clone(), tags[0].clone()]);

    let cmk = store.key(&here, id(900)).await.unwrap().unwrap();
    let renamed = Cmk { alias: Alias::parse("renamed").unwrap(), ..cmk };
    store.commit(&here, one(Change::UpdateKey { cmk: renamed.clone() })).await.unwrap();
    assert_eq!(row(&store, &here, 1).await, Some(DataKey { cmk_alias: renamed.alias, ..full }));

    make(&store, &here, [data_key(&here, 2, 901)]).await;
    let found = store.data_keys(&here, &[did(2), did(9), did(1), did(2)]).await.unwrap();
    let ids: Vec<_> = found.iter().map(|k| k.as_ref().map(|k| k.data_key_id)).collect();
    assert_eq!(ids, [Some(did(2)), None, Some(did(1)), Some(did(2))]);
}

/// An update with another revision than the row's is refused; what never changes does not.
pub async fn compare_and_swap(store: S) {
    let here = with_cmks(&store).await;
    let first = make(&store, &here, [DataKey { revision: 77, ..data_key(&here, 1, 900) }]).await.remove(0);
    assert_eq!(first.revision, 1);
    let wanted = DataKey {
        state: DataKeyState::Disabled,
        description: "new".into(),
        name: Alias::parse("new").unwrap(),
        deletion_date: 4,
        ..first.clone()
    };
    let stray = DataKey {
        create_time: 1,
        cmk: id(901),
        bytes: 9,
        origin: Origin::External,
        creator: Uin(1),
        owner: Owner::Product(Alias::parse("cos").unwrap()),
        hsm_cluster: "x".into(),
        ..wanted.clone()
    };
    store.commit(&here, one(Change::UpdateDataKey { key: stray })).await.unwrap();
    let stored = Some(DataKey { revision: 2, ..wanted });
    assert_eq!(row(&store, &here, 1).await, stored);
    let stale = one(Change::UpdateDataKey { key: first });
    assert_eq!(store.commit(&here, stale).await, Err(StoreError::Conflict));
    let unknown = one(Change::UpdateDataKey { key: data_key(&here, 2, 900) });
    assert_eq!(store.commit(&here, unknown).await, Err(StoreError::NotFound));
    assert_eq!(row(&store, &here, 1).await, stored);
    let again = DataKey { name: Alias::parse("other").unwrap(), ..data_key(&here, 1, 900) };
    let again = Change::CreateDataKey { key: again, material: data_key_material(1), tags: vec![] };
    assert_eq!(store.commit(&here, one(again)).await, Err(StoreError::Conflict));
    let foreign = Change::CreateDataKey { key: data_key(&here, 3, 900), material: data_key_material(4), tags: vec![] };
    assert_eq!(store.commit(&here, one(foreign)).await, Err(StoreError::Conflict));
}

/// One name per account and region, whatever the state; aliases of CMKs are in a space of their own.
pub async fn name_is_unique_in_its_scope(store: S) {
    let here = with_cmks(&store).await;
    for (n, state) in (1..).zip(DataKeyState::ALL) {
        make(&store, &here, [DataKey { state: *state, ..data_key(&here, n, 900) }]).await;
        let twin = DataKey { name: data_key(&here, n, 0).name, ..data_key(&here, 100 + n, 901) };
        let twin = Change::CreateDataKey { key: twin, material: data_key_material(100 + n), tags: vec![] };
        assert_eq!(store.commit(&here, one(twin)).await, Err(StoreError::NameTaken), "{state}");
        assert_eq!(store.data_key_material(&here, did(100 + n)).await.unwrap(), None);
    }
    let renamed = DataKey { name: data_key(&here, 2, 0).name, ..data_key(&here, 1, 900) };
    assert_eq!(store.commit(&here, one(Change::UpdateDataKey { key: renamed })).await, Err(StoreError::NameTaken));
    for (n, other) in [(200, scope(100_000_001, "ap-beijing")), (201, scope(2, "ap-guangzhou"))] {
        create(&*store, &other, [key(&other, n)]).await;
        let same = DataKey { name: data_key(&here, 1, 0).name, ..data_key(&other, n, n) };
        make(&store, &other, [same]).await;
    }
    let upper = DataKey { name: Alias::parse("DATA-1").unwrap(), ..data_key(&here, 300, 900) };
    let as_cmk = DataKey { name: key(&here, 900).alias, ..data_key(&here, 301, 900) };
    make(&store, &here, [upper, as_cmk]).await;
}

/// A destroyed data key leaves nothing behind; a destroyed CMK leaves none of its data keys.
pub async fn destroyed_alone_and_with_its_cmk(store: S) {
    let here = with_cmks(&store).await;
    let tags = vec![Tag { key: "t".into(), value: "v".into() }];
    for n in 1..=4 {
        let cmk = if n == 4 { 901 } else { 900 };
        let create =
            Change::CreateDataKey { key: data_key(&here, n, cmk), material: data_key_material(n), tags: tags.clone() };
        store.commit(&here, one(create)).await.unwrap();
    }
    let destroy = |revision| one(Change::DestroyDataKey { data_key_id: did(1), revision });
    assert_eq!(store.commit(&here, destroy(2)).await, Err(StoreError::Conflict));
    store.commit(&here, destroy(1)).await.unwrap();
    assert_eq!(store.commit(&here, destroy(1)).await, Err(StoreError::NotFound));
    assert_eq!(row(&store, &here, 1).await, None);
    let empty = async |n: u32| {
        assert_eq!(row(&store, &here, n).await, None, "{n}");
        assert_eq!(store.data_key_material(&here, did(n)).await.unwrap(), None, "{n}");
        assert!(store.data_key_tags(&here, did(n)).await.unwrap().is_empty(), "{n}");
    };
    empty(1).await;

    store.commit(&here, one(Change::DestroyKey { key_id: id(900), revision: 1 })).await.unwrap();
    for n in 1..=3 {
        empty(n).await;
    }
    assert!(row(&store, &here, 4).await.is_some(), "that of another CMK stays");
    assert_eq!(store.data_key_tags(&here, did(4)).await.unwrap(), tags);
    assert_eq!(store.count_data_keys(&here).await.unwrap(), 1);
    let orphan = Change::CreateDataKey { key: data_key(&here, 5, 900), material: data_key_material(5), tags: vec![] };
    assert_eq!(store.commit(&here, one(orphan)).await, Err(StoreError::NotFound), "its CMK is gone");
    create(&*store, &here, [key(&here, 900)]).await;
    make(&store, &here, [data_key(&here, 1, 900)]).await;
    assert!(store.data_key_tags(&here, did(1)).await.unwrap().is_empty(), "a new one of the same id");
}

/// Another account's data key, or one of another region, does not exist for any scoped call.
pub async fn scopes_do_not_see_each_other(store: S) {
    let here = with_cmks(&store).await;
    let tags = vec![Tag { key: "t".into(), value: "v".into() }];
    let create_one = Change::CreateDataKey { key: data_key(&here, 1, 900), material: data_key_material(1), tags };
    store.commit(&here, one(create_one)).await.unwrap();
    let mine = row(&store, &here, 1).await.unwrap();
    for (n, other) in [(910, scope(100_000_001, "ap-beijing")), (911, scope(100_000_002, "ap-guangzhou"))] {
        create(&*store, &other, [key(&other, n)]).await;
        assert_eq!(row(&store, &other, 1).await, None);
        assert_eq!(store.data_keys(&other, &[did(1)]).await.unwrap(), [None]);
        assert_eq!(store.data_key_material(&other, did(1)).await.unwrap(), None);
        assert!(store.data_key_tags(&other, did(1)).await.unwrap().is_empty());
        let of_cmk = DataKeyQuery { cmk: Some(id(900)), ..all() };
        for query in [all(), of_cmk] {
            assert_eq!(store.list_data_keys(std::slice::from_ref(&other), query.clone()).await.unwrap().total, 0);
            assert!(store.list_data_key_ids(&other, query).await.unwrap().items.is_empty());
        }
        assert_eq!(store.count_data_keys(&other).await.unwrap(), 0);
        let theirs = |key: DataKey| DataKey { account: other.account(), region: other.region().clone(), ..key };
        let material = data_key_material(2);
        let changes = [
            Change::CreateDataKey { key: data_key(&here, 2, 900), material: material.clone(), tags: vec![] },
            Change::CreateDataKey { key: data_key(&here, 2, n), material: material.clone(), tags: vec![] },
            Change::CreateDataKey { key: data_key(&other, 2, 900), material: material.clone(), tags: vec![] },
            Change::UpdateDataKey { key: mine.clone() },
            Change::UpdateDataKey { key: theirs(mine.clone()) },
            Change::DestroyDataKey { data_key_id: did(1), revision: 1 },
        ];
        for change in changes {
            let text = format!("{change:?}");
            assert_eq!(store.commit(&other, one(change)).await, Err(StoreError::NotFound), "{text}");
        }
    }
    let foreign = Change::CreateDataKey { key: data_key(&here, 2, 910), material: data_key_material(2), tags: vec![] };
    assert_eq!(store.commit(&here, one(foreign)).await, Err(StoreError::NotFound), "under a CMK of elsewhere");
    assert_eq!(row(&store, &here, 1).await, Some(mine));
    assert_eq!(row(&store, &here, 2).await, None);
}

/// A batch with one bad member changes nothing and leaves no audit record.
pub async fn changes_are_all_or_nothing(store: S) {
    let here = with_cmks(&store).await;
    let rows = make(&store, &here, (1..=3).map(|n| data_key(&here, n, 900))).await;
    let off = |row: &DataKey| Change::UpdateDataKey { key: DataKey { state: DataKeyState::Disabled, ..row.clone() } };
    let stale = DataKey { revision: 9, ..rows[2].clone() };
    let bad = Commit { changes: vec![off(&rows[0]), off(&rows[1]), off(&stale)], outbox: Some(b"record".to_vec()) };
    assert_eq!(store.commit(&here, bad).await, Err(StoreError::Conflict));
    let ids = [did(1), did(2), did(3)];
    let now = store.data_keys(&here, &ids).await.unwrap();
    assert_eq!(now.into_iter().flatten().collect::<Vec<_>>(), rows);
    assert!(store.outbox_pending(0, 1_000).await.unwrap().is_empty());
    let good = Commit { changes: rows.iter().map(off).collect(), outbox: Some(b"record".to_vec()) };
    assert!(store.commit(&here, good).await.unwrap().outbox_id.is_some());
    let now = store.data_keys(&here, &ids).await.unwrap();
    assert!(now.iter().flatten().all(|k| k.revision == 2 && k.state == DataKeyState::Disabled));
}

/// Of updates from one revision exactly one succeeds.
pub async fn racing_updates_have_one_winner(store: S) {
    let here = with_cmks(&store).await;
    let row = make(&store, &here, [data_key(&here, 1, 900)]).await.remove(0);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let (store, here) = (store.clone(), here.clone());
            let key = DataKey { description: format!("{n}"), ..row.clone() };
            tokio::spawn(async move { store.commit(&here, one(Change::UpdateDataKey { key })).await })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => winners += 1,
            Err(e) => assert_eq!(e, StoreError::Conflict),
        }
    }
    assert_eq!(winners, 1);
}

async fn ids(store: &S, query: DataKeyQuery) -> Vec<u32> {
    let page = store.list_data_key_ids(&home(), query.clone()).await.unwrap();
    let rows = store.list_data_keys(&[home()], query).await.unwrap();
    assert_eq!(page.total, rows.total);
    assert_eq!(page.items, rows.items.iter().map(|k| k.data_key_id).collect::<Vec<_>>());
    page.items.iter().map(number).collect()
}

fn number(id: &DataKeyId) -> u32 {
    u32::from_be_bytes(id.0.as_bytes()[..4].try_into().unwrap())
}

fn all() -> DataKeyQuery {
    DataKeyQuery { limit: 100, ..DataKeyQuery::default() }
}

/// By creation time either way, ties by id ascending in both; pages join up; totals count all pages.
pub async fn order_and_paging(store: S) {
    let here = with_cmks(&store).await;
    let times = [5, 9, 5, 7, 5, 9];
    let keys = (1..7).zip(times).map(|(n, t)| DataKey { create_time: t, ..data_key(&here, n, 900 + n % 2) });
    make(&store, &here, keys.rev().collect::<Vec<_>>()).await;
    for (ascending, order) in [(false, [2, 6, 4, 1, 3, 5]), (true, [1, 3, 5, 4, 2, 6])] {
        assert_eq!(ids(&store, DataKeyQuery { ascending, ..all() }).await, order);
        for limit in 1..=7u64 {
            let mut joined = Vec::new();
            for offset in (0..6).step_by(limit as usize) {
                joined.extend(ids(&store, DataKeyQuery { ascending, offset, limit, ..all() }).await);
            }
            assert_eq!(joined, order, "limit {limit}");
        }
    }
    for (offset, limit) in [(6, 5), (0, 0), (u64::MAX, u64::MAX)] {
        let page =
            store.list_data_keys(std::slice::from_ref(&here), DataKeyQuery { offset, limit, ..all() }).await.unwrap();
        assert_eq!(page, Page { total: 6, items: vec![] });
    }
}

/// Each filter alone, and all together.
pub async fn filters(store: S) {
    let here = with_cmks(&store).await;
    let of = |n, cmk| data_key(&here, n, cmk);
    let rows = [
        of(1, 900),
        DataKey { state: DataKeyState::Disabled, ..of(2, 901) },
        DataKey { state: DataKeyState::PendingDelete, origin: Origin::External, ..of(3, 900) },
        DataKey { hsm_cluster: "hsm-1".into(), bytes: 16, ..of(4, 901) },
        DataKey { owner: Owner::Product(Alias::parse("cos").unwrap()), ..of(5, 900) },
        DataKey {
            state: DataKeyState::Disabled,
            origin: Origin::External,
            hsm_cluster: "hsm-1".into(),
            bytes: 1024,
            ..of(6, 901)
        },
    ];
    make(&store, &here, rows).await;
    let states = |s: &[DataKeyState]| DataKeyQuery { states: s.to_vec(), ..all() };
    assert_eq!(ids(&store, all()).await, [6, 4, 3, 2, 1]);
    assert_eq!(ids(&store, DataKeyQuery { role: Role::Product, ..all() }).await, [5]);
    assert_eq!(ids(&store, states(&[DataKeyState::Disabled])).await, [6, 2]);
    assert_eq!(ids(&store, states(&[DataKeyState::Enabled, DataKeyState::Disabled])).await, [6, 4, 2, 1]);
    assert_eq!(ids(&store, DataKeyQuery { origin: Some(Origin::External), ..all() }).await, [6, 3]);
    assert_eq!(ids(&store, DataKeyQuery { cmk: Some(id(900)), ..all() }).await, [3, 1]);
    assert_eq!(ids(&store, DataKeyQuery { cmk: Some(id(999)), ..all() }).await, [0u32; 0]);
    assert_eq!(ids(&store, DataKeyQuery { bytes: Some(16), ..all() }).await, [4]);
    assert_eq!(ids(&store, DataKeyQuery { hsm_cluster: Some("hsm-1".into()), ..all() }).await, [6, 4]);
    assert_eq!(ids(&store, DataKeyQuery { hsm_cluster: Some("".into()), ..all() }).await, [3, 2, 1]);
    let every = DataKeyQuery {
        states: vec![DataKeyState::Disabled],
        origin: Some(Origin::External),
        cmk: Some(id(901)),
        bytes: Some(1024),
        hsm_cluster: Some("hsm-1".into()),
        search: Some("data-6".into()),
        ..all()
    };
    assert_eq!(ids(&store, every).await, [6]);
}

/// The searched text is no pattern, case counts, and the id is searched in its written form.
pub async fn search_is_literal(store: S) {
    let here = with_cmks(&store).await;
    let named = |n, name: &str| DataKey { name: Alias::parse(name).unwrap(), ..data_key(&here, n, 900) };
    make(&store, &here, [named(1, "ab_c"), named(2, "abxc"), named(3, "ABxC"), named(4, "q-0004")]).await;
    let found = async |text: &str| ids(&store, DataKeyQuery { search: Some(text.into()), ..all() }).await;
    assert_eq!(found("b_c").await, [1]);
    assert_eq!(found("bxc").await, [2]);
    assert_eq!(found("BxC").await, [3]);
    for absent in ["%", "b%c", "'", "键", "key-900", "3-A5"] {
        assert!(found(absent).await.is_empty(), "{absent}");
    }
    assert_eq!(found("").await, [4, 3, 2, 1]);
    assert_eq!(found("00000003").await, [3]);
    assert_eq!(found("0004").await, [4]);
    assert_eq!(found("2-a5a5-a5").await, [2]);
    assert_eq!(found(&id(1).to_string()).await, [1]);
}

/// OR within a tag key, AND between them; no value = the tag key is there.
pub async fn tag_filters(store: S) {
    let here = with_cmks(&store).await;
    let sets: [&[(&str, &str)]; 4] =
        [&[("env", "prod"), ("team", "a")], &[("env", "test"), ("team", "a")], &[("env", "dev")], &[]];
    let tags_of =
        |set: &[(&str, &str)]| set.iter().map(|(k, v)| Tag { key: (*k).into(), value: (*v).into() }).collect();
    for (n, set) in (1..).zip(sets) {
        let (key, material) = (data_key(&here, n, 900), data_key_material(n));
        store.commit(&here, one(Change::CreateDataKey { key, material, tags: tags_of(set) })).await.unwrap();
    }
    // Tags of the CMK are not those of its data keys.
    let tagged = Change::CreateKey { cmk: key(&here, 950), version: None, tags: tags_of(&[("team", "a")]) };
    store.commit(&here, one(tagged)).await.unwrap();
    make(&store, &here, [data_key(&here, 9, 950)]).await;
    let found = async |tags: &[(&str, &[&str])]| {
        let tags = tags.iter().map(|(k, v)| ((*k).into(), v.iter().map(|v| (*v).into()).collect())).collect();
        ids(&store, DataKeyQuery { tags, ..all() }).await
    };
    assert_eq!(found(&[("env", &["prod", "dev"])]).await, [3, 1]);
    assert_eq!(found(&[("env", &["prod", "test"]), ("team", &["a"])]).await, [2, 1]);
    assert_eq!(found(&[("env", &["dev"]), ("team", &[])]).await, [0u32; 0]);
    assert_eq!(found(&[("team", &[])]).await, [2, 1]);
    let twice = tags_of(&[("a", "1"), ("a", "2")]);
    let twice = Change::CreateDataKey { key: data_key(&here, 8, 900), material: data_key_material(8), tags: twice };
    assert_eq!(store.commit(&here, one(twice)).await, Err(StoreError::Conflict));
    assert_eq!(row(&store, &here, 8).await, None);
}

/// The quota's count, and what the deletion job sees: all accounts, the earliest first.
pub async fn counts_and_due_deletions(store: S) {
    let here = with_cmks(&store).await;
    let there = scope(5, "ap-beijing");
    create(&*store, &there, [key(&there, 910)]).await;
    let deleting = |s: &Scope, n, cmk, at| DataKey {
        state: DataKeyState::PendingDelete,
        deletion_date: at,
        ..data_key(s, n, cmk)
    };
    let product = DataKey { owner: Owner::Product(Alias::parse("cos").unwrap()), ..data_key(&here, 9, 900) };
    let off = DataKey { state: DataKeyState::Disabled, ..data_key(&here, 8, 900) };
    make(&store, &here, [deleting(&here, 1, 900, 30), deleting(&here, 2, 901, 10), deleting(&here, 3, 900, 31)]).await;
    make(&store, &here, [product, off, data_key(&here, 7, 901)]).await;
    let far = DataKey { deletion_date: 1, ..data_key(&there, 5, 910) };
    make(&store, &there, [deleting(&there, 4, 910, 20), far]).await;
    assert_eq!(store.count_data_keys(&here).await.unwrap(), 2);
    assert_eq!(store.count_data_keys(&there).await.unwrap(), 1);
    let due = async |now, limit| -> Vec<u32> {
        store.due_data_key_deletions(now, limit).await.unwrap().iter().map(|k| number(&k.data_key_id)).collect()
    };
    assert_eq!(due(30, 10).await, [2, 4, 1]);
    assert_eq!(due(30, 2).await, [2, 4]);
    assert!(due(9, 10).await.is_empty());
    assert_eq!(store.due_data_key_deletions(20, 9).await.unwrap()[1], deleting(&there, 4, 910, 20));
}

/// Several scopes make one list, in one order, with one total; a CMK's data keys are in the CMK's scope.
pub async fn several_scopes(store: S) {
    let scopes: Vec<Scope> = (1..=3).map(|account| scope(account, "ap-guangzhou")).collect();
    let mut rows = Vec::new();
    for (i, s) in (0u32..).zip(&scopes) {
        create(&*store, s, [key(s, 900 + i)]).await;
        let keys = (1..=4).map(|n| DataKey { create_time: n, ..data_key(s, 10 * i + n as u32, 900 + i) });
        rows.extend(make(&store, s, keys.collect::<Vec<_>>()).await);
    }
    for ascending in [false, true] {
        let two = [scopes[2].clone(), scopes[0].clone()];
        let mut expected: Vec<&DataKey> = rows.iter().filter(|k| k.account != scopes[1].account()).collect();
        expected.sort_by_key(|k| (if ascending { k.create_time } else { 9 - k.create_time }, k.data_key_id));
        for offset in 0..9 {
            let page = store.list_data_keys(&two, DataKeyQuery { ascending, offset, limit: 3, ..all() }).await.unwrap();
            assert_eq!(page.total, 8);
            let part = expected.iter().skip(offset as usize).take(3);
            assert_eq!(page.items.iter().collect::<Vec<_>>(), part.copied().collect::<Vec<_>>());
        }
    }
    for (i, n) in [(900, 4), (901, 0), (902, 4)] {
        let of_cmk = DataKeyQuery { cmk: Some(id(i)), ..all() };
        let page = store.list_data_keys(&[scopes[0].clone(), scopes[2].clone()], of_cmk).await.unwrap();
        assert_eq!((page.total, page.items.len()), (n, n as usize), "{i}");
        assert!(page.items.iter().all(|k| k.cmk == id(i)));
    }
    assert_eq!(store.list_data_keys(&[], all()).await.unwrap(), Page { total: 0, items: vec![] });
}

/// As of keys; products' data keys and those in PendingDelete take no room, and each place in a commit sees the ones before it.
pub async fn room_in_a_quota(store: S) {
    let here = with_cmks(&store).await;
    let product = DataKey { owner: Owner::Product(Alias::parse("cos").unwrap()), ..data_key(&here, 1, 900) };
    let leaving = DataKey { state: DataKeyState::PendingDelete, ..data_key(&here, 2, 900) };
    let leaving = make(&store, &here, [product, leaving]).await.remove(1);
    let room = |quota| Change::RequireRoom { of: Counted::DataKeys, quota };
    let create =
        |n| Change::CreateDataKey { key: data_key(&here, n, 900), material: data_key_material(n), tags: Vec::new() };
    let commit = async |changes| store.commit(&here, Commit { changes, outbox: None }).await.map(drop);
    let full = Err(StoreError::NoRoom(Counted::DataKeys));
    assert_eq!(commit(vec![room(0), create(3)]).await, full);
    assert_eq!(commit(vec![room(1), create(3), room(1), create(4)]).await, full, "the first takes the room");
    assert_eq!(row(&store, &here, 3).await, None);
    assert_eq!(commit(vec![room(2), create(3), room(2), create(4)]).await, Ok(()));
    let back = DataKey { state: DataKeyState::Disabled, ..leaving };
    let back = || Change::UpdateDataKey { key: back.clone() };
    assert_eq!(commit(vec![room(2), back()]).await, full);
    assert_eq!(commit(vec![room(3), back()]).await, Ok(()));
    assert_eq!(store.count_data_keys(&here).await.unwrap(), 3);
    // Another scope has a room of its own, and CMKs another quota.
    let there = scope(here.account().0, "ap-beijing");
    let elsewhere = Commit { changes: vec![room(1)], outbox: None };
    assert_eq!(store.commit(&there, elsewhere).await.map(drop), Ok(()));
    assert_eq!(commit(vec![Change::RequireRoom { of: Counted::Keys, quota: 3 }]).await, Ok(()));
    assert_eq!(commit(vec![room(u64::MAX)]).await, Ok(()));
}

/// Exactly as many get in as there is room for.
pub async fn racing_for_the_last_room(store: S) {
    let here = with_cmks(&store).await;
    let create =
        |n| Change::CreateDataKey { key: data_key(&here, n, 900), material: data_key_material(n), tags: Vec::new() };
    let made = race(&store, &here, Counted::DataKeys, create).await;
    assert_eq!((made, store.count_data_keys(&here).await.unwrap()), (5, 5));
}

/// Those of one CMK alone, up to a number, of any state and owner.
pub async fn those_of_a_cmk(store: S) {
    let here = with_cmks(&store).await;
    let product = DataKey { owner: Owner::Product(Alias::parse("cos").unwrap()), ..data_key(&here, 1, 900) };
    let off = DataKey { state: DataKeyState::PendingDelete, deletion_date: 9, ..data_key(&here, 2, 900) };
    let mut all = make(&store, &here, [product, off, data_key(&here, 3, 900)]).await;
    make(&store, &here, [data_key(&here, 4, 901)]).await;
    for (limit, count) in [(0, 0), (2, 2), (3, 3), (u64::MAX, 3)] {
        assert_eq!(store.count_data_keys_of(&here, id(900), limit).await.unwrap(), count);
        assert_eq!(store.data_keys_of(&here, id(900), limit).await.unwrap().len() as u64, count);
    }
    let mut found = store.data_keys_of(&here, id(900), 9).await.unwrap();
    found.sort_by_key(|k| k.data_key_id);
    all.sort_by_key(|k| k.data_key_id);
    assert_eq!(found, all);
    let elsewhere = scope(here.account().0, "ap-beijing");
    assert_eq!(store.count_data_keys_of(&elsewhere, id(900), 9).await.unwrap(), 0);
    assert!(store.data_keys_of(&elsewhere, id(900), 9).await.unwrap().is_empty());
    let counts = store.data_key_counts_by_state().await.unwrap();
    assert_eq!(counts, [(DataKeyState::Enabled, 3), (DataKeyState::PendingDelete, 1)]);
}
