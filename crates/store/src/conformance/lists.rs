//! Lists, counts and the queries of the background jobs.

use super::*;
use std::sync::Arc;

type S = Arc<dyn Store>;

async fn ids(store: &S, query: KeyQuery) -> Vec<u32> {
    let page = store.list_ids(&home(), query.clone()).await.unwrap();
    let rows = store.list(&[home()], query).await.unwrap();
    assert_eq!(page.total, rows.total);
    assert_eq!(page.items, rows.items.iter().map(|k| k.key_id).collect::<Vec<_>>());
    page.items.iter().map(number).collect()
}

fn number(id: &KeyId) -> u32 {
    u32::from_be_bytes(id.as_bytes()[..4].try_into().unwrap())
}

fn numbers(keys: Vec<Cmk>) -> Vec<u32> {
    keys.iter().map(|k| number(&k.key_id)).collect()
}

fn all() -> KeyQuery {
    KeyQuery { limit: 100, ..KeyQuery::default() }
}

/// By creation time either way, ties by id ascending in both; pages join up; totals count all pages.
pub async fn order_and_paging(store: S) {
    let here = home();
    let times = [5, 9, 5, 7, 5, 9];
    let keys = (1..7).zip(times).map(|(n, t)| Cmk { create_time: t, ..key(&here, n) });
    create(&*store, &here, keys.rev().collect::<Vec<_>>()).await;
    create(&*store, &scope(1, "ap-guangzhou"), [key(&scope(1, "ap-guangzhou"), 50)]).await;
    let newest = [2, 6, 4, 1, 3, 5];
    let oldest = [1, 3, 5, 4, 2, 6];
    for (ascending, order) in [(false, newest), (true, oldest)] {
        assert_eq!(ids(&store, KeyQuery { ascending, ..all() }).await, order);
        for limit in 1..=7u64 {
            let mut joined = Vec::new();
            for offset in (0..6).step_by(limit as usize) {
                joined.extend(ids(&store, KeyQuery { ascending, offset, limit, ..all() }).await);
            }
            assert_eq!(joined, order, "limit {limit}");
        }
    }
    for (offset, limit) in [(6, 5), (0, 0), (u64::MAX, u64::MAX)] {
        let page = store.list(std::slice::from_ref(&here), KeyQuery { offset, limit, ..all() }).await.unwrap();
        assert_eq!(page, Page { total: 6, items: vec![] });
    }
    assert_eq!(ids(&store, KeyQuery { offset: 4, limit: u64::MAX, ..all() }).await, [3, 5]);
}

/// Each filter alone, and all together.
pub async fn filters(store: S) {
    let here = home();
    create(
        &*store,
        &here,
        [
            key(&here, 1),
            Cmk { state: KeyState::Disabled, usage: KeyUsage::SignSm2, ..key(&here, 2) },
            Cmk { state: KeyState::PendingImport, origin: Origin::External, ..key(&here, 3) },
            Cmk { hsm_cluster: "hsm-1".into(), ..key(&here, 4) },
            Cmk { owner: Owner::Product(Alias::parse("cos").unwrap()), ..key(&here, 5) },
            Cmk { state: KeyState::Disabled, origin: Origin::External, hsm_cluster: "hsm-1".into(), ..key(&here, 6) },
        ],
    )
    .await;
    let states = |s: &[KeyState]| KeyQuery { states: s.to_vec(), ..all() };
    assert_eq!(ids(&store, all()).await, [6, 4, 3, 2, 1]);
    assert_eq!(ids(&store, KeyQuery { role: Role::Product, ..all() }).await, [5]);
    let product = |name: &str| KeyQuery { role: Role::Product, owner: Alias::parse(name).map(Owner::Product), ..all() };
    assert_eq!(ids(&store, product("cos")).await, [5]);
    assert!(ids(&store, product("co")).await.is_empty());
    assert_eq!(ids(&store, states(&[KeyState::Disabled])).await, [6, 2]);
    assert_eq!(ids(&store, states(&[KeyState::Disabled, KeyState::PendingImport])).await, [6, 3, 2]);
    assert!(ids(&store, states(&[KeyState::Archived])).await.is_empty());
    assert_eq!(ids(&store, KeyQuery { usage: Some(KeyUsage::SignSm2), ..all() }).await, [2]);
    assert_eq!(ids(&store, KeyQuery { origin: Some(Origin::External), ..all() }).await, [6, 3]);
    assert_eq!(ids(&store, KeyQuery { hsm_cluster: Some("hsm-1".into()), ..all() }).await, [6, 4]);
    assert_eq!(ids(&store, KeyQuery { hsm_cluster: Some("".into()), ..all() }).await, [3, 2, 1]);
    let every = KeyQuery {
        states: vec![KeyState::Disabled],
        usage: Some(KeyUsage::EncryptDecrypt),
        origin: Some(Origin::External),
        hsm_cluster: Some("hsm-1".into()),
        search: Some("key-6".into()),
        ..all()
    };
    assert_eq!(ids(&store, every).await, [6]);
}

/// The searched text is no pattern, case counts, and the id is searched in its written form.
pub async fn search_is_literal(store: S) {
    let here = home();
    let named = |n, alias: &str| Cmk { alias: Alias::parse(alias).unwrap(), ..key(&here, n) };
    create(&*store, &here, [named(1, "ab_c"), named(2, "abxc"), named(3, "ABxC"), named(4, "q-0004")]).await;
    let found = async |text: &str| ids(&store, KeyQuery { search: Some(text.into()), ..all() }).await;
    assert_eq!(found("b_c").await, [1]);
    assert_eq!(found("bxc").await, [2]);
    assert_eq!(found("BxC").await, [3]);
    assert!(found("%").await.is_empty());
    assert!(found("b%c").await.is_empty());
    assert!(found("\\").await.is_empty());
    assert!(found("'").await.is_empty());
    assert!(found("键").await.is_empty());
    assert_eq!(found("").await, [4, 3, 2, 1]);
    assert_eq!(found("_").await, [1]);
    // Ids read 0000000N-a5a5-a5a5-a5a5-a5a5a5a5a5a5.
    assert_eq!(found("00000003").await, [3]);
    assert_eq!(found("0004").await, [4]);
    assert_eq!(found("2-a5a5-a5").await, [2]);
    assert_eq!(found(&id(1).to_string()).await, [1]);
    assert!(found("3a5").await.is_empty(), "hyphens are part of the text");
    assert!(found("3-A5").await.is_empty());
    assert!(found(&format!("{}0", id(1))).await.is_empty());
}

/// OR within a tag key, AND between them; no value = the tag key is there.
pub async fn tag_filters(store: S) {
    let here = home();
    let sets: [&[(&str, &str)]; 4] =
        [&[("env", "prod"), ("team", "a")], &[("env", "test"), ("team", "a")], &[("env", "dev")], &[]];
    for (n, set) in (1..).zip(sets) {
        let tags = set.iter().map(|(k, v)| Tag { key: (*k).into(), value: (*v).into() }).collect();
        store.commit(&here, one(Change::CreateKey { cmk: key(&here, n), version: None, tags })).await.unwrap();
    }
    let found = async |tags: &[(&str, &[&str])]| {
        let tags = tags.iter().map(|(k, v)| ((*k).into(), v.iter().map(|v| (*v).into()).collect())).collect();
        ids(&store, KeyQuery { tags, ..all() }).await
    };
    assert_eq!(found(&[("env", &["prod", "dev"])]).await, [3, 1]);
    assert_eq!(found(&[("env", &["prod", "test"]), ("team", &["a"])]).await, [2, 1]);
    assert_eq!(found(&[("env", &["dev"]), ("team", &[])]).await, [0u32; 0]);
    assert_eq!(found(&[("team", &[])]).await, [2, 1]);
    assert_eq!(found(&[("Env", &[])]).await, [0u32; 0]);
    let twice = vec![Tag { key: "a".into(), value: "1".into() }, Tag { key: "a".into(), value: "2".into() }];
    let twice = one(Change::CreateKey { cmk: key(&here, 9), version: None, tags: twice });
    assert_eq!(store.commit(&here, twice).await, Err(crate::StoreError::Conflict));
    assert_eq!(store.key(&here, id(9)).await.unwrap(), None);
}

/// The quota's count and the count by state.
pub async fn counts(store: S) {
    let here = home();
    let states = [KeyState::Enabled, KeyState::Enabled, KeyState::PendingDelete, KeyState::PendingImport];
    create(&*store, &here, (1..).zip(states).map(|(n, state)| Cmk { state, ..key(&here, n) })).await;
    create(&*store, &here, [Cmk { owner: Owner::Product(Alias::parse("cos").unwrap()), ..key(&here, 9) }]).await;
    let far = scope(100_000_001, "ap-beijing");
    create(&*store, &far, [key(&far, 20)]).await;
    assert_eq!(store.count_own(&here).await.unwrap(), 3);
    assert_eq!(store.count_own(&far).await.unwrap(), 1);
    let counts = store.counts_by_state().await.unwrap();
    assert_eq!(counts, [(KeyState::Enabled, 4), (KeyState::PendingDelete, 1), (KeyState::PendingImport, 1)]);
}

/// The jobs see what is due in all accounts, the earliest first, and nothing else.
pub async fn due_queries(store: S) {
    let (here, there) = (home(), scope(5, "ap-beijing"));
    let deleting = |s: &Scope, n, at| Cmk { state: KeyState::PendingDelete, deletion_date: at, ..key(s, n) };
    create(&*store, &here, [deleting(&here, 1, 30), deleting(&here, 2, 10), deleting(&here, 3, 31)]).await;
    create(&*store, &there, [deleting(&there, 4, 20), Cmk { deletion_date: 1, ..key(&there, 5) }]).await;
    assert_eq!(numbers(store.due_deletions(30, 10).await.unwrap()), [2, 4, 1]);
    assert_eq!(numbers(store.due_deletions(30, 2).await.unwrap()), [2, 4]);
    assert!(store.due_deletions(9, 10).await.unwrap().is_empty());

    for (n, state) in (10..).zip(KeyState::ALL) {
        // PendingImport has no material left to expire.
        let current_version = u32::from(*state != KeyState::PendingImport);
        let (valid_to, deletion_date) = (100 - u64::from(n), u64::MAX / 2);
        create(&*store, &here, [Cmk { state: *state, valid_to, deletion_date, current_version, ..key(&here, n) }])
            .await;
    }
    // Enabled 10, Disabled 11, PendingDelete 12, PendingImport 13, Archived 14.
    assert_eq!(numbers(store.due_expiries(90, 10).await.unwrap()), [14, 12, 11, 10]);
    assert_eq!(numbers(store.due_expiries(89, 10).await.unwrap()), [14, 12, 11]);

    for (n, state) in (20..).zip(KeyState::ALL) {
        let rotation = Rotation { enabled: true, days: 7, last: 0, next: 50, last_on_demand: 0 };
        create(&*store, &here, [Cmk { state: *state, rotation, deletion_date: u64::MAX / 2, ..key(&here, n) }]).await;
    }
    assert_eq!(numbers(store.due_rotations(50, 10).await.unwrap()), [20]);
    assert!(store.due_rotations(49, 10).await.unwrap().is_empty());
    assert_eq!(numbers(store.due_rotations(u64::MAX, u64::MAX).await.unwrap()), [20]);
}

/// All keys of all accounts once, by id.
pub async fn all_keys_in_pages(store: S) {
    for (n, account) in [(3, 1), (1, 2), (5, 1), (2, 3), (4, 2)] {
        let s = scope(account, "ap-guangzhou");
        create(&*store, &s, [key(&s, n)]).await;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.all_keys_meta(after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key_id);
        seen.extend(numbers(page));
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

/// Several scopes make one list, in one order, with one total, whatever the offset; each filter holds in all of them.
pub async fn several_scopes(store: S) {
    let scopes: Vec<Scope> = (1..=4).map(|account| scope(account, "ap-guangzhou")).collect();
    let mut rows = Vec::new();
    for (n, s) in (1..).zip([0, 1, 2, 0, 1, 2, 2, 0, 1, 0, 0, 2].map(|n: usize| &scopes[n])) {
        let state = if n % 3 == 0 { KeyState::Disabled } else { KeyState::Enabled };
        // Three keys of different accounts share each second.
        let cmk = Cmk { create_time: u64::from(n / 3), state, ..key(s, n) };
        rows.extend(create(&*store, s, [cmk]).await);
    }
    // Keys of others: of a fifth account, and of the same accounts elsewhere.
    for other in [scope(5, "ap-guangzhou"), scope(1, "ap-beijing")] {
        create(&*store, &other, [key(&other, 100 + other.account().0 as u32)]).await;
    }
    for some in [&scopes[..], &scopes[..3], &scopes[1..3], &scopes[3..], &[scopes[2].clone(), scopes[0].clone()], &[]] {
        for (ascending, states) in
            [(false, vec![]), (true, vec![]), (false, vec![KeyState::Enabled]), (true, vec![KeyState::Disabled])]
        {
            let mut expected: Vec<&Cmk> = rows
                .iter()
                .filter(|k| some.iter().any(|s| s.account() == k.account))
                .filter(|k| states.is_empty() || states.contains(&k.state))
                .collect();
            expected.sort_by_key(|k| (if ascending { k.create_time } else { u64::MAX - k.create_time }, k.key_id));
            let total = expected.len() as u64;
            for offset in 0..=total + 1 {
                for limit in [0, 1, 3, 200] {
                    let query = KeyQuery { states: states.clone(), ascending, offset, limit, ..all() };
                    let page = store.list(some, query).await.unwrap();
                    assert_eq!(page.total, total);
                    let part = expected.iter().skip(offset as usize).take(limit as usize);
                    assert_eq!(page.items.iter().collect::<Vec<_>>(), part.copied().collect::<Vec<_>>());
                }
            }
        }
        let searched = KeyQuery { search: Some("key-1".into()), ..all() };
        let found = rows.iter().filter(|k| k.alias.as_str().contains("key-1"));
        let found = found.filter(|k| some.iter().any(|s| s.account() == k.account)).count() as u64;
        assert_eq!(store.list(some, searched).await.unwrap().total, found);
    }
}
