//! Files of older and newer programs.

use super::*;

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let (dir, store) = open();
    store.close().await.unwrap();
    let path = dir.path().join("db");
    let newer = schema::VERSION + 1;
    Connection::open(&path).unwrap().execute("UPDATE schema_version SET version = ?1", [newer]).unwrap();
    let Err(StoreError::Unavailable(text)) = SqliteStore::open(&path, Options::default()) else { panic!() };
    assert!(text.contains(&format!("version {newer},")) && text.contains("a newer release"), "{text}");
    assert_eq!(SqliteStore::keep_before_migration(&path, 1).unwrap(), None);
}

#[tokio::test]
async fn every_older_schema_is_brought_forward() {
    for older in 1..schema::VERSION {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let conn = Connection::open(&path).unwrap();
        for step in &schema::MIGRATIONS[..older as usize] {
            conn.execute_batch(step).unwrap();
        }
        conn.execute("INSERT INTO schema_version (id, version) VALUES (1, ?1)", [older]).unwrap();
        conn.execute("INSERT INTO meta (key, value) VALUES ('k', x'07')", []).unwrap();
        drop(conn);
        let beside = SqliteStore::open(&path, Options { migrate: false, ..Options::default() });
        assert!(matches!(beside, Err(StoreError::Unavailable(why)) if why.contains("older")), "from version {older}");
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        assert_eq!(store.schema_version().await.unwrap(), schema::VERSION);
        assert_eq!(store.meta_get("k").await.unwrap(), Some(vec![7]), "from version {older}");
        let here = home();
        create(&store, &here, [key(&here, 1)]).await;
        create_data_keys(&store, &here, [data_key(&here, 2, 1)]).await;
    }
}

/// A store of version 2 with keys in it: what later versions keep besides is there afterwards.
#[tokio::test]
async fn rows_of_version_2_are_brought_forward() {
    let dir = tempfile::tempdir().unwrap();
    let (made, path) = (dir.path().join("made"), dir.path().join("db"));
    let here = home();
    {
        let store = SqliteStore::open(&made, Options::default()).unwrap();
        create(&store, &here, [key(&here, 1), key(&here, 2)]).await;
        create_data_keys(&store, &here, [data_key(&here, 3, 1)]).await;
        store.close().await.unwrap();
    }
    // The tables of version 2, with rows whose columns have not changed since and some as it wrote them.
    let conn = Connection::open(&path).unwrap();
    for step in &schema::MIGRATIONS[..2] {
        conn.execute_batch(step).unwrap();
    }
    conn.execute("ATTACH ?1 AS made", [made.to_str().unwrap()]).unwrap();
    conn.execute_batch(
        "INSERT INTO schema_version (id, version) VALUES (1, 2);
         INSERT INTO cmk SELECT * FROM made.cmk;
         INSERT INTO key_version SELECT * FROM made.key_version;
         INSERT INTO data_key SELECT * FROM made.data_key;
         INSERT INTO data_key_material SELECT * FROM made.data_key_material;
         INSERT INTO tag (cmk, key, value) SELECT id, 'env', 'prod' FROM cmk;
         INSERT INTO data_key_tag (data_key, key, value) SELECT id, 'env', 'test' FROM data_key;
         INSERT INTO binding (cmk, product_id, resource_id, create_time) SELECT id, 'cos', 'bucket', 9 FROM cmk;
         INSERT INTO account (account, app_id, name, create_time) VALUES (7, 8, 'old', 9);
         INSERT INTO access_key VALUES ('AKIDold', 7, 7, x'00', 1, 1, 9, 0, 1);",
    )
    .unwrap();
    drop(conn);
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let tagged = store.tagged(&here, &[("env".into(), vec![])], None, 9).await.unwrap();
    assert_eq!(tagged.iter().map(|t| t.id).collect::<Vec<_>>(), [id(1), id(2), id(3)]);
    let values = store.tag_values(&here, &["env".into()], None, 9).await.unwrap();
    assert_eq!(values.iter().map(|t| t.value.as_str()).collect::<Vec<_>>(), ["prod", "test"]);
    assert!(store.data_key(&here, DataKeyId(id(3))).await.unwrap().is_some());
    let bindings = store.bindings(&here, id(1), 9).await.unwrap();
    assert_eq!(bindings.iter().map(|b| (b.resource_id.as_str(), b.consent)).collect::<Vec<_>>(), [("bucket", false)]);
    let old = store.access_key(&SecretId::parse("AKIDold").unwrap()).await.unwrap().unwrap();
    assert_eq!((old.product, old.enabled), (None, true));
}

/// A store of version 4: its access keys stay, and each account has principals from then on.
#[tokio::test]
async fn accounts_of_version_4_are_brought_forward() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let conn = Connection::open(&path).unwrap();
    for step in &schema::MIGRATIONS[..4] {
        conn.execute_batch(step).unwrap();
    }
    conn.execute_batch(
        "INSERT INTO schema_version (id, version) VALUES (1, 4);
         UPDATE access_key_epoch SET epoch = 12;
         INSERT INTO account (account, app_id, name, create_time) VALUES (9, 10, 'b', 9), (7, 8, 'a', 9);
         INSERT INTO access_key VALUES ('AKIDown', 7, 7, x'01', 1, 1, 9, 5, 3, NULL);
         INSERT INTO access_key VALUES ('AKIDcos', 7, 7, x'02', 2, 0, 9, 0, 1, 'cos');",
    )
    .unwrap();
    drop(conn);
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    let row = |name: &str| AccessKeyRow {
        account: AccountId(7),
        uin: jadeseal_types::Uin(7),
        create_time: 9,
        ..crate::conformance::access_key(7, name)
    };
    let own = AccessKeyRow { wrapped_secret: vec![1], last_used: 5, revision: 3, ..row("AKIDown") };
    let cos =
        AccessKeyRow { wrapped_secret: vec![2], domain_version: 2, enabled: false, revision: 1, ..row("AKIDcos") };
    let cos = AccessKeyRow { product: Alias::parse("cos"), ..cos };
    let first = store.identities(AccountId(7)).await.unwrap().unwrap();
    assert_eq!((first.revision, first.access_keys), (1, vec![cos, own]));
    let second = store.identities(AccountId(9)).await.unwrap().unwrap();
    assert_eq!((second.revision, second.account.name.as_str(), second.users.len()), (1, "b", 0));
    let (moment, changed) = store.identities_changed(0).await.unwrap();
    assert_eq!(changed, [AccountId(7), AccountId(9)]);
    let change =
        Change::Identities { revision: 1, changes: vec![IdentityChange::DropAccessKey(row("AKIDown").secret_id)] };
    store.commit(&scope(7, "ap-guangzhou"), one(change)).await.unwrap();
    let (later, changed) = store.identities_changed(moment).await.unwrap();
    assert!(later > moment);
    assert_eq!(changed, [AccountId(7)]);
}

/// Before a migration the file is copied beside itself; the last three copies stay. Without a copy there is no migration.
#[tokio::test]
async fn older_tables_are_kept_before_they_are_brought_forward() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jadeseal.db");
    assert_eq!(SqliteStore::keep_before_migration(&path, 1).unwrap(), None, "no file");
    let conn = Connection::open(&path).unwrap();
    conn.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())).unwrap();
    for step in &schema::MIGRATIONS[..3] {
        conn.execute_batch(step).unwrap();
    }
    conn.execute_batch(
        "INSERT INTO schema_version (id, version) VALUES (1, 3); INSERT INTO meta (key, value) VALUES ('k', x'07')",
    )
    .unwrap();
    let mut kept = Vec::new();
    for now in [9, 10, 11, 100, 101] {
        // The last writes are still in the log.
        kept.push(SqliteStore::keep_before_migration(&path, now).unwrap().unwrap());
    }
    assert!(kept[4].to_str().unwrap().ends_with(&format!("jadeseal.db.before-v{}-101", schema::VERSION)), "{kept:?}");
    assert_eq!(kept.iter().map(|k| k.exists()).collect::<Vec<_>>(), [false, false, true, true, true]);
    assert_eq!(std::fs::metadata(&kept[4]).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(SqliteStore::version_of(&kept[4]).unwrap(), Some(3));
    // The same second again: the file is never written over, and so nothing is brought forward.
    let refused = SqliteStore::keep_before_migration(&path, 101);
    assert!(matches!(refused, Err(StoreError::Unavailable(why)) if why.contains("not brought forward")));
    drop(conn);
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    assert_eq!(SqliteStore::keep_before_migration(&path, 200).unwrap(), None, "nothing to bring forward");
    store.close().await.unwrap();
    let old = SqliteStore::open(&kept[4], Options::default()).unwrap();
    assert_eq!(old.meta_get("k").await.unwrap(), Some(vec![7]));
}

/// What is damaged is told.
#[tokio::test]
async fn damage_is_found() {
    let (dir, store) = open();
    let here = home();
    create(&store, &here, (0..200).map(|n| key(&here, n))).await;
    store.close().await.unwrap();
    let path = dir.path().join("db");
    SqliteStore::check(&path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let (at, len) = ((bytes.len() / 2) & !4095, 4096);
    bytes[at..at + len].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    assert!(SqliteStore::check(&path).is_err());
}

/// The rows of every older version are afterwards what they were.
#[tokio::test]
async fn real_rows_of_every_older_version_are_brought_forward() {
    let dir = tempfile::tempdir().unwrap();
    let (made, here) = (dir.path().join("made"), home());
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&made, Options::default()).unwrap());
    store.add_root(vec![crate::conformance::root(1, "a")], &[], None).await.unwrap();
    let account =
        AccountRow { account: here.account(), app_id: jadeseal_types::AppId(8), name: "a".into(), create_time: 9 };
    let domain = DomainRow { account: here.account(), version: 1, root_version: 1, wrapped: vec![9; 60], revision: 0 };
    let access_key = crate::conformance::access_key(here.account().0, "AKIDown");
    store.create_account(account.clone(), domain, vec![access_key.clone()], None).await.unwrap();
    create(store.as_ref(), &here, (0..9).map(|n| key(&here, n))).await;
    create_data_keys(store.as_ref(), &here, [data_key(&here, 20, 1), data_key(&here, 21, 2)]).await;
    let (keys, versions) = (store.all_keys_meta(None, 99).await.unwrap(), store.versions(&here, id(1)).await.unwrap());
    let data_key = store.data_key(&here, DataKeyId(id(20))).await.unwrap();
    let (roots, domains) = (store.root_rows().await.unwrap(), store.domains(here.account()).await.unwrap());
    store.close().await.unwrap();
    for older in 1..schema::VERSION {
        let path = dir.path().join(format!("v{older}"));
        downgrade(&made, &path, older);
        assert_eq!(SqliteStore::version_of(&path).unwrap(), Some(older));
        let store = SqliteStore::open(&path, Options::default()).unwrap();
        assert_eq!(store.all_keys_meta(None, 99).await.unwrap(), keys, "version {older}");
        assert_eq!(store.versions(&here, id(1)).await.unwrap(), versions);
        assert_eq!(store.account(here.account()).await.unwrap().as_ref(), Some(&account));
        assert_eq!(store.root_rows().await.unwrap(), roots);
        assert_eq!(store.domains(here.account()).await.unwrap(), domains);
        assert_eq!(store.access_keys(here.account()).await.unwrap()[0].wrapped_secret, access_key.wrapped_secret);
        assert!(store.identities(here.account()).await.unwrap().is_some());
        // Hosted data keys came with version 2.
        let kept = store.data_key(&here, DataKeyId(id(20))).await.unwrap();
        assert_eq!(kept, if older >= 2 { data_key.clone() } else { None }, "version {older}");
        store.close().await.unwrap();
        SqliteStore::check(&path).unwrap();
    }
}
