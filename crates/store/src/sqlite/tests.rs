//! What only the embedded store promises; the contract itself is in `conformance`.

use super::*;
use crate::conformance::{create, create_data_keys, data_key, data_key_material, home, id, key, one, scope, version};
use jadeseal_types::{DataKeyState, Origin};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;
use tempfile::TempDir;

async fn fresh() -> (TempDir, Arc<dyn Store>) {
    let (dir, store) = open();
    (dir, Arc::new(store))
}

mod migrations;

mod contract {
    use super::fresh;
    crate::store_conformance!(fresh);
}

fn open() -> (TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("db"), Options::default()).unwrap();
    (dir, store)
}

/// A commit of one new key with its version and an audit record, as CreateKey makes it.
fn creation(scope: &Scope, n: u32) -> Commit {
    let change = Change::CreateKey { cmk: key(scope, n), version: Some(version(n, 1)), tags: vec![] };
    Commit { changes: vec![change], outbox: Some(vec![7; 400]) }
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let (dir, store) = open();
    let here = home();
    create(&store, &here, (0..50).map(|n| key(&here, n))).await;
    store.close().await.unwrap();
    // Gone, or empty where a reader was the last to close.
    let log = std::fs::metadata(dir.path().join("db-wal")).map_or(0, |m| m.len());
    assert_eq!(log, 0, "the log is emptied into the file");
    let store = SqliteStore::open(dir.path().join("db"), Options::default()).unwrap();
    assert_eq!(store.count_own(&here).await.unwrap(), 50);
    assert_eq!(store.version(&here, id(49), 1).await.unwrap().unwrap().version, 1);
}

#[tokio::test]
async fn close_finishes_what_waits() {
    let (dir, store) = open();
    let (store, here) = (Arc::new(store), home());
    let calls: Vec<_> = (0..200)
        .map(|n| {
            let (store, here) = (store.clone(), here.clone());
            tokio::spawn(async move { store.commit(&here, creation(&here, n)).await.is_ok() })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await.unwrap();
    let mut stored = 0;
    for call in calls {
        stored += u64::from(call.await.unwrap());
    }
    let store = SqliteStore::open(dir.path().join("db"), Options::default()).unwrap();
    assert_eq!(store.count_own(&here).await.unwrap(), stored);
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    std::fs::write(&path, "not a database, but long enough to be mistaken for one".repeat(50)).unwrap();
    assert!(matches!(SqliteStore::open(&path, Options::default()), Err(StoreError::Unavailable(_))));
    assert!(matches!(SqliteStore::open(dir.path().join("no/db"), Options::default()), Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn only_the_owner_reads_the_files() {
    let (dir, store) = open();
    store.meta_put("k", b"v").await.unwrap();
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    for name in ["db", "db-wal", "db-shm"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    store.close().await.unwrap();
    std::fs::set_permissions(dir.path().join("db"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let _store = SqliteStore::open(dir.path().join("db"), Options::default()).unwrap();
    assert_eq!(mode("db"), 0o600);
}

#[tokio::test]
async fn durability_settings_are_on() {
    let (_dir, store) = open();
    let read = store.write(|c| {
        let get = |name: &str| Ok::<i64, StoreError>(c.query_row(&format!("PRAGMA {name}"), [], |r| r.get(0))?);
        Ok((
            get("synchronous")?,
            get("foreign_keys")?,
            get("secure_delete")?,
            c.query_row("PRAGMA journal_mode", [], |r| r.get(0))?,
        ))
    });
    assert_eq!(read.await.unwrap(), (2, 1, 1, String::from("wal")));
    let changed = store.read(|c| Ok(c.execute("DELETE FROM meta", [])?)).await;
    assert!(changed.is_err(), "readers cannot write");
}

/// Twelve random-looking bytes for each version of each key, as often as the files have them.
fn found(dir: &TempDir, marks: &[Vec<u8>]) -> usize {
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap_or_default();
    let files = [read("db"), read("db-wal")];
    let heads: std::collections::HashSet<&[u8]> = marks.iter().map(|m| &m[..12]).collect();
    files.iter().flat_map(|f| f.windows(12)).filter(|w| heads.contains(w)).count()
}

fn mark(n: u32, version: u32) -> Vec<u8> {
    let seed = u64::from(n) << 32 | u64::from(version);
    let spread = |i: u64| (seed + (i << 48)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    (0..8).flat_map(spread).collect()
}

#[tokio::test]
async fn destroyed_material_is_in_no_file() {
    const KEYS: u32 = 300;
    let (dir, store) = open();
    let here = home();
    let of = |n: u32, v: u32| KeyVersion { wrapped: mark(n, v), ..version(n, v) };
    for n in 0..KEYS {
        let made = Change::CreateKey { cmk: key(&here, n), version: Some(of(n, 1)), tags: vec![] };
        store.commit(&here, Commit { changes: vec![made], outbox: Some(vec![7; 400]) }).await.unwrap();
    }
    // Versions that come later are put between others: pages are split and their content moves.
    for v in 2..6 {
        for n in (0..KEYS).step_by(v as usize) {
            store.commit(&here, crate::conformance::one(Change::AddVersion(of(n, v)))).await.unwrap();
        }
    }
    let marks = |keys: &mut dyn Iterator<Item = u32>| -> Vec<Vec<u8>> {
        keys.flat_map(|n| (1..6).filter(move |v| *v == 1 || n % v == 0).map(move |v| mark(n, v))).collect()
    };
    let (doomed, kept) = (marks(&mut (0..KEYS).filter(|n| n % 3 < 2)), marks(&mut (0..KEYS).filter(|n| n % 3 == 2)));
    assert!(found(&dir, &doomed) >= doomed.len());
    for n in 0..KEYS {
        let change = match n % 3 {
            0 => Change::DropVersions(id(n)),
            1 => Change::DestroyKey { key_id: id(n), revision: 1 },
            _ => continue,
        };
        store.commit(&here, crate::conformance::one(change)).await.unwrap();
    }
    // The log is emptied without further calls, and a while after at the latest.
    let log = || std::fs::metadata(dir.path().join("db-wal")).unwrap().len();
    let start = Instant::now();
    while log() > 0 && start.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(log(), 0);
    assert_eq!(found(&dir, &doomed), 0, "while open");
    assert!(found(&dir, &kept) >= kept.len());
    store.close().await.unwrap();
    assert_eq!(found(&dir, &doomed), 0, "after closing");
}

#[tokio::test]
async fn a_reader_delays_the_emptying_of_the_log_and_nothing_else() {
    let (dir, store) = open();
    let here = home();
    create(&store, &here, (0..2).map(|n| key(&here, n))).await;
    let reader = Connection::open(dir.path().join("db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM cmk").unwrap();
    let destroy = |n| crate::conformance::one(Change::DestroyKey { key_id: id(n), revision: 1 });
    store.commit(&here, destroy(0)).await.unwrap();
    let log = || std::fs::metadata(dir.path().join("db-wal")).unwrap().len();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        let turn = Instant::now();
        store.meta_put("k", b"v").await.unwrap();
        assert!(turn.elapsed() < Duration::from_secs(5), "waits for no reader");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(log() > 0);
    reader.execute_batch("COMMIT").unwrap();
    let start = Instant::now();
    while log() > 0 && start.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(log(), 0);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_recovers() {
    let (_dir, store) = open();
    let here = home();
    create(&store, &here, [key(&here, 0)]).await;
    let cap = async |pages: i64| {
        let set = store.write(move |c| Ok(c.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |r| r.get(0))?));
        let _: i64 = set.await.unwrap();
    };
    // SQLite takes the present size where the limit is lower.
    cap(1).await;
    let mut made = 0;
    let failed = loop {
        match store.commit(&here, creation(&here, made + 1)).await {
            Ok(_) => made += 1,
            Err(e) => break e,
        }
        assert!(made < 1000);
    };
    assert!(matches!(failed, StoreError::Full(_)), "{failed:?}");
    // Nothing of the failed call stayed, reads go on, and writing fails cleanly again.
    assert_eq!(store.count_own(&here).await.unwrap(), u64::from(made) + 1);
    assert_eq!(store.outbox_pending(0, 1_000).await.unwrap().len() as u32, made);
    let big = store.meta_put("big", &[0; 100_000]).await;
    assert!(matches!(big, Err(StoreError::Full(_))), "{big:?}");
    store.ping().await.unwrap();
    cap(1 << 30).await;
    store.commit(&here, creation(&here, made + 1)).await.unwrap();
    store.meta_put("big", &[0; 100_000]).await.unwrap();
    assert_eq!(store.count_own(&here).await.unwrap(), u64::from(made) + 2);
}

#[tokio::test]
async fn an_abandoned_transaction_fails_the_whole_batch() {
    let (_dir, store) = open();
    let here = home();
    // As SQLite does by itself on some errors: the transaction ends under the hands of one call.
    let lost = store.write(|c| {
        c.execute("INSERT INTO meta (key, value) VALUES ('lost', x'00')", [])?;
        c.execute_batch("ROLLBACK")?;
        Ok(())
    });
    assert!(matches!(lost.await, Err(StoreError::Unavailable(_))));
    assert_eq!(store.meta_get("lost").await.unwrap(), None);
    // And a call that leaves a broken transaction behind: the commit fails, everybody hears it.
    let broken = store.write(|c| {
        c.execute_batch("PRAGMA defer_foreign_keys = ON")?;
        c.execute("INSERT INTO tag (cmk, key, value) VALUES (99, 'k', 'v')", [])?;
        Ok(())
    });
    let good = store.commit(&here, creation(&here, 1));
    let (broken, good) = tokio::join!(broken, good);
    assert!(broken.is_err());
    let stored = store.key(&here, id(1)).await.unwrap().is_some();
    assert_eq!(good.is_ok(), stored, "an answer tells the truth, whether or not they shared a transaction");
    store.commit(&here, creation(&here, 2)).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { queue: 2, readers: 1, ..Options::default() };
    let store = Arc::new(SqliteStore::open(dir.path().join("db"), options).unwrap());
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let (started, running) = oneshot::channel();
    let first = tokio::spawn({
        let store = store.clone();
        async move {
            let work = move |_: &Connection| {
                let _ = started.send(());
                let _ = gate.recv();
                Ok(())
            };
            store.write(work).await
        }
    });
    running.await.unwrap();
    let put = |n: u8| {
        let store = store.clone();
        tokio::spawn(async move { store.meta_put("k", &[n]).await })
    };
    let waiting = [put(1), put(2)];
    tokio::task::yield_now().await;
    let refused = store.meta_put("k", &[3]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    go.send(()).unwrap();
    first.await.unwrap().unwrap();
    for call in waiting {
        call.await.unwrap().unwrap();
    }
    assert_eq!(store.meta_get("k").await.unwrap(), Some(vec![2]));
}

#[tokio::test]
async fn two_stores_share_one_file() {
    let (dir, one) = open();
    let two = SqliteStore::open(dir.path().join("db"), Options::default()).unwrap();
    let here = home();
    let writes = async |store: &SqliteStore, from: u32| {
        for n in from..from + 40 {
            store.commit(&here, creation(&here, n)).await.unwrap();
        }
    };
    tokio::join!(writes(&one, 0), writes(&two, 1000));
    assert_eq!(one.count_own(&here).await.unwrap(), 80);
    one.close().await.unwrap();
    assert_eq!(two.count_own(&here).await.unwrap(), 80);
    two.commit(&here, creation(&here, 5000)).await.unwrap();
}

/// 100,000 keys of fifty accounts in one list: merged, not sorted, at every offset.
#[tokio::test]
async fn lists_over_many_accounts_are_fast() {
    const EACH: u32 = 2000;
    let (dir, store) = open();
    let scopes: Vec<Scope> = (1..=50).map(|n| scope(n, "ap-guangzhou")).collect();
    for (i, s) in (0..).zip(&scopes) {
        let keys = (i * EACH..(i + 1) * EACH).map(|n| Cmk { create_time: u64::from(n % EACH), ..key(s, n) });
        create(&store, s, keys).await;
    }
    for (name, ascending, offset, search) in [
        ("first", false, 0, None),
        ("middle", false, 50_000, None),
        ("last", false, 99_900, None),
        ("last ascending", true, 99_900, None),
        ("alias", false, 0, Some("key-99".to_owned())),
    ] {
        let query = KeyQuery { ascending, offset, limit: 200, search, ..KeyQuery::default() };
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            let page = store.list(&scopes, query.clone()).await.unwrap();
            best = best.min(start.elapsed());
            assert!(!page.items.is_empty(), "{name}");
        }
        println!("list of 50 accounts, {name}: {best:?}");
        assert!(best < Duration::from_millis(400), "{name}: {best:?}");
    }
    let conn = schema::open_reader(&dir.path().join("db"), Duration::from_secs(1)).unwrap();
    for ascending in [false, true] {
        for (number, tags) in [(1, 0), (1, 2), (3, 0), (3, 2), (50, 50)] {
            let tags = (0..tags).map(|n| (format!("k{n}"), vec!["a".into(), "b".into()])).collect();
            let query = KeyQuery { ascending, tags, ..KeyQuery::default() };
            let sql = keys::filter(&conn, &scopes[..number], &query).unwrap().select_page("id");
            let start = Instant::now();
            let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            println!("planning for {number} accounts: {:?}", start.elapsed());
            let none = rusqlite::params_from_iter(vec![0; plan.parameter_count()]);
            let steps: Vec<String> =
                plan.query_map(none, |r| r.get(3)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
            let steps = steps.join("\n");
            assert_eq!(steps.contains("MERGE (UNION ALL)"), number > 1, "{steps}");
            assert!(!steps.contains("TEMP B-TREE"), "nothing is sorted:\n{steps}");
        }
    }
}

/// 100,000 keys of one account: every page of a list is fast, whatever the offset and order. The bound is ten
/// times what an optimised build takes, for slow machines under load.
#[tokio::test]
async fn lists_of_many_keys_are_fast() {
    const KEYS: u32 = 100_000;
    let (_dir, store) = open();
    let here = home();
    for from in (0..KEYS).step_by(5000) {
        // Thousands share a second, as after a bulk load.
        let keys = (from..from + 5000).map(|n| Cmk { create_time: u64::from(n / 3000), ..key(&here, n) });
        create(&store, &here, keys).await;
    }
    let queries = [
        ("first", KeyQuery::default()),
        ("middle", KeyQuery { offset: 50_000, limit: 200, ..KeyQuery::default() }),
        ("last", KeyQuery { offset: 99_900, limit: 200, ..KeyQuery::default() }),
        ("last ascending", KeyQuery { offset: 99_900, limit: 200, ascending: true, ..KeyQuery::default() }),
        ("state", KeyQuery { states: vec![KeyState::Enabled], offset: 99_900, limit: 200, ..KeyQuery::default() }),
        ("alias", KeyQuery { search: Some("key-99".into()), limit: 200, ..KeyQuery::default() }),
        ("id", KeyQuery { search: Some("0001869f-a5".into()), limit: 200, ..KeyQuery::default() }),
        ("alias of all", KeyQuery { search: Some("key".into()), offset: 99_900, limit: 200, ..KeyQuery::default() }),
    ];
    for (name, query) in queries {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            let page = store.list(std::slice::from_ref(&here), query.clone()).await.unwrap();
            best = best.min(start.elapsed());
            assert!(!page.items.is_empty(), "{name}");
        }
        println!("list {name}: {best:?}");
        assert!(best < Duration::from_millis(200), "{name}: {best:?}");
    }
    let start = Instant::now();
    let (mut after, mut seen) = (None, 0);
    while let Some(last) = store.all_keys_meta(after, 5000).await.unwrap().last() {
        after = Some(last.key_id);
        seen += 1;
    }
    println!("all keys: {:?}", start.elapsed());
    assert_eq!(seen, KEYS / 5000);
    // Each commit of another connection takes the readers' pages away.
    for (name, offset) in [("first after a change", 0), ("last after a change", 99_900)] {
        let mut best = Duration::MAX;
        for n in 0..5 {
            create(&store, &scope(7, "ap-guangzhou"), [key(&scope(7, "ap-guangzhou"), KEYS + offset + n)]).await;
            let start = Instant::now();
            let query = KeyQuery { offset: offset.into(), limit: 200, ..KeyQuery::default() };
            store.list(std::slice::from_ref(&here), query).await.unwrap();
            best = best.min(start.elapsed());
        }
        println!("list {name}: {best:?}");
        assert!(best < Duration::from_millis(300), "{name}: {best:?}");
    }
}

#[tokio::test]
async fn destroyed_data_keys_are_in_no_file() {
    const KEYS: u32 = 300;
    let (dir, store) = open();
    let here = home();
    create(&store, &here, [key(&here, 9000), key(&here, 9001)]).await;
    for n in 0..KEYS {
        // Some are so long that they take pages of their own.
        let wrapped = mark(n, 1).repeat(if n % 5 == 0 { 150 } else { 2 });
        let material = DataKeyMaterial { wrapped, ..data_key_material(n) };
        let change = Change::CreateDataKey { key: data_key(&here, n, 9000 + n % 2), material, tags: vec![] };
        store.commit(&here, one(change)).await.unwrap();
    }
    let of = |which: fn(u32) -> bool| (0..KEYS).filter(|n| which(*n)).map(|n| mark(n, 1)).collect::<Vec<_>>();
    // Those of the second CMK go with it, every third of the first one alone.
    let (doomed, kept) = (of(|n| n % 2 == 1 || n % 3 == 0), of(|n| n % 2 == 0 && n % 3 > 0));
    assert!(found(&dir, &doomed) >= doomed.len());
    for n in (0..KEYS).filter(|n| n % 2 == 0 && n % 3 == 0) {
        let data_key_id = data_key(&here, n, 0).data_key_id;
        store.commit(&here, one(Change::DestroyDataKey { data_key_id, revision: 1 })).await.unwrap();
    }
    store.commit(&here, one(Change::DestroyKey { key_id: id(9001), revision: 1 })).await.unwrap();
    let log = || std::fs::metadata(dir.path().join("db-wal")).unwrap().len();
    let start = Instant::now();
    while log() > 0 && start.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((log(), found(&dir, &doomed)), (0, 0));
    assert!(found(&dir, &kept) >= kept.len());
}

#[tokio::test]
async fn secrets_of_dropped_access_keys_are_in_no_file() {
    const KEYS: u32 = 200;
    let (dir, store) = open();
    store.add_root(vec![crate::conformance::root(1, "a")], &[], None).await.unwrap();
    let (account, domain) = (crate::conformance::account(7), crate::conformance::domain(7, 1));
    store.create_account(account, domain, vec![], None).await.unwrap();
    let user = |uin| UserRow {
        uin,
        name: uin.to_string(),
        remark: String::new(),
        console_login: false,
        phone: String::new(),
        country_code: String::new(),
        email: String::new(),
        create_time: 1,
    };
    let (gone, stays) = (jadeseal_types::Uin(8), jadeseal_types::Uin(9));
    let mut changes = vec![IdentityChange::AddUser(user(gone)), IdentityChange::AddUser(user(stays))];
    changes.extend((0..KEYS).map(|n| {
        let row = crate::conformance::access_key(7, &format!("K{n}"));
        let uin = if n % 3 == 0 { gone } else { stays };
        IdentityChange::AddAccessKey(AccessKeyRow { uin, wrapped_secret: mark(n, 1), ..row })
    }));
    let here = scope(7, "ap-guangzhou");
    store.commit(&here, one(Change::Identities { revision: 1, changes })).await.unwrap();
    let marks = |which: fn(u32) -> bool| (0..KEYS).filter(|n| which(*n)).map(|n| mark(n, 1)).collect::<Vec<_>>();
    let (doomed, kept) = (marks(|n| n % 3 < 2), marks(|n| n % 3 == 2));
    assert!(found(&dir, &doomed) >= doomed.len());
    let mut changes = vec![IdentityChange::DropUser(gone)];
    let single = (0..KEYS).filter(|n| n % 3 == 1).map(|n| SecretId::parse(&format!("K{n}")).unwrap());
    changes.extend(single.map(IdentityChange::DropAccessKey));
    store.commit(&here, one(Change::Identities { revision: 2, changes })).await.unwrap();
    let log = || std::fs::metadata(dir.path().join("db-wal")).unwrap().len();
    let start = Instant::now();
    while log() > 0 && start.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((log(), found(&dir, &doomed)), (0, 0));
    assert!(found(&dir, &kept) >= kept.len());
}

/// 100,000 data keys of one account: every page of a list is fast, as with keys. The end of a CMK with half of them is
/// one transaction that others can wait for.
#[tokio::test]
async fn lists_of_many_data_keys_are_fast() {
    const KEYS: u32 = 100_000;
    let (_dir, store) = open();
    let here = home();
    create(&store, &here, [key(&here, KEYS), key(&here, KEYS + 1)]).await;
    for from in (0..KEYS).step_by(5000) {
        let changes = (from..from + 5000).map(|n| {
            let key = DataKey { create_time: u64::from(n / 3000), ..data_key(&here, n, KEYS + n % 2) };
            let tags =
                if n % 10 == 0 { vec![Tag { key: "env".into(), value: format!("{}", n % 100) }] } else { vec![] };
            Change::CreateDataKey { key, material: data_key_material(n), tags }
        });
        store.commit(&here, Commit { changes: changes.collect(), outbox: None }).await.unwrap();
    }
    let all = DataKeyQuery { limit: 200, ..DataKeyQuery::default() };
    let last = DataKeyQuery { offset: 99_900, ..all.clone() };
    let half = DataKeyQuery { offset: 49_900, cmk: Some(id(KEYS)), ..all.clone() };
    let queries = [
        ("first", DataKeyQuery::default()),
        ("middle", DataKeyQuery { offset: 50_000, ..all.clone() }),
        ("last", last.clone()),
        ("last ascending", DataKeyQuery { ascending: true, ..last.clone() }),
        ("state", DataKeyQuery { states: vec![DataKeyState::Enabled, DataKeyState::Disabled], ..last.clone() }),
        ("of a CMK", half.clone()),
        ("of a CMK ascending", DataKeyQuery { ascending: true, ..half.clone() }),
        ("length", DataKeyQuery { bytes: Some(32), ..last.clone() }),
        ("origin", DataKeyQuery { origin: Some(Origin::Kms), ..last }),
        ("name", DataKeyQuery { search: Some("data-99".into()), ..all.clone() }),
        ("id", DataKeyQuery { search: Some("0001869f-a5".into()), ..all.clone() }),
        ("tag", DataKeyQuery { tags: vec![("env".into(), vec!["30".into(), "40".into()])], ..all.clone() }),
        ("all filters", {
            let tags = vec![("env".into(), vec!["30".into()])];
            let (states, origin) = (vec![DataKeyState::Enabled], Some(Origin::Kms));
            let search = Some("data-9".into());
            DataKeyQuery { states, origin, bytes: Some(32), search, tags, offset: 0, ..half }
        }),
    ];
    for (name, query) in queries {
        let mut best = Duration::MAX;
        for _ in 0..5 {
            let start = Instant::now();
            let page = store.list_data_keys(std::slice::from_ref(&here), query.clone()).await.unwrap();
            best = best.min(start.elapsed());
            assert!(!page.items.is_empty(), "{name}");
        }
        println!("list {name}: {best:?}");
        assert!(best < Duration::from_millis(200), "{name}: {best:?}");
    }
    let start = Instant::now();
    assert_eq!(store.count_data_keys(&here).await.unwrap(), u64::from(KEYS));
    println!("count: {:?}", start.elapsed());
    let start = Instant::now();
    store.commit(&here, one(Change::DestroyKey { key_id: id(KEYS), revision: 1 })).await.unwrap();
    println!("destroying a CMK with {} data keys: {:?}", KEYS / 2, start.elapsed());
    assert_eq!(store.count_data_keys(&here).await.unwrap(), u64::from(KEYS / 2));
}

/// Prints creations per second by 32 callers: `cargo test -p jadeseal-store -- --ignored --nocapture rate`, with the
/// disk to measure in `STORE_RATE_DIR` where the temporary directory is in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn creation_rate() {
    const EACH: u32 = 1000;
    let dir = tempfile::tempdir_in(std::env::var_os("STORE_RATE_DIR").unwrap_or(std::env::temp_dir().into())).unwrap();
    let store = Arc::new(SqliteStore::open(dir.path().join("db"), Options::default()).unwrap());
    let start = Instant::now();
    let callers: Vec<_> = (0..32u32)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                let here = home();
                for n in 0..EACH {
                    store.commit(&here, creation(&here, caller * EACH + n)).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    println!("{:.0} creations/s", f64::from(32 * EACH) / start.elapsed().as_secs_f64());
}
