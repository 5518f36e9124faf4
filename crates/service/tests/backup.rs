//! Backups: what they hold, what a proof finds, and what a restored deployment does.

mod support;

use jadeseal_backup::{LockTo, Unlock};
use jadeseal_root::SealSource;
use jadeseal_service::{
    backup::{self, Proof, Request, Restoring},
    clock::{Clock, ManualClock},
    custody,
};
use jadeseal_store::{Options, SqliteStore, Store};
use jadeseal_types::SecretBytes;
use rusqlite::Connection;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use support::{Kms, User};

const SECRET: &str = "aGVsbG8gd29ybGQ=";
const DAY: u64 = 86_400;

fn passphrase() -> SecretBytes {
    SecretBytes::copy_from(b"correct horse battery")
}

fn file(path: &Path) -> SealSource {
    SealSource::File { path: path.to_owned() }
}

async fn make_from(kms: &Kms, store: &dyn Store, out: &Path, with_root: bool) -> jadeseal_types::error::Result<Proof> {
    let secret = passphrase();
    backup::make(Request {
        store,
        root: &file(&kms.dir.path().join("root.key")),
        suite: None,
        scratch: kms.dir.path(),
        audit: &kms.dir.path().join("audit"),
        out,
        lock: LockTo::Passphrase(&secret),
        with_root,
        clock: kms.clock.as_ref(),
    })
    .await
}

async fn make(kms: &Kms, out: &Path) -> Proof {
    make_from(kms, kms.store.as_ref(), out, true).await.unwrap()
}

/// Restores to a directory with its own key file, there.
async fn restore_to(kms: &Kms, archive: &Path, dir: &Path, hold: u64) -> backup::Restored {
    let secret = passphrase();
    backup::restore(Restoring {
        archive,
        unlock: &Unlock::Passphrase(&secret),
        data_dir: dir,
        database: "jadeseal.db",
        root: &file(&dir.join("root.key")),
        slot: None,
        open_with: None,
        hold,
        keep_log: false,
        audit: Some(&kms.dir.path().join("audit")),
        clock: kms.clock.as_ref(),
    })
    .await
    .unwrap()
}

/// The service goes on with what was restored elsewhere.
async fn move_in(kms: Kms, from: PathBuf) -> Kms {
    let to = kms.dir.path().to_owned();
    kms.restart_after(move || {
        for name in ["jadeseal.db", "jadeseal.db-wal", "jadeseal.db-shm"] {
            let _ = std::fs::remove_file(to.join(name));
        }
        for name in ["jadeseal.db", "root.key"] {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    })
    .await
}

async fn schedule(kms: &Kms, user: &User, key: &str) {
    kms.ok(user, "DisableKey", json!({ "KeyId": key })).await;
    kms.ok(user, "ScheduleKeyDeletion", json!({ "KeyId": key, "PendingWindowInDays": 7 })).await;
}

#[tokio::test]
async fn nothing_is_destroyed_before_the_operator_has_looked() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let (kept, doomed) = (kms.create(&user, "kept").await, kms.create(&user, "doomed").await);
    let blob = kms.encrypt(&user, &kept, SECRET).await;
    schedule(&kms, &user, &doomed).await;
    // That the account was made is then in the log.
    kms.run_jobs().await;
    let out = tempfile::tempdir().unwrap();
    let archive = out.path().join("b");
    let proof = make(&kms, &archive).await;
    assert!(proof.differences.is_empty(), "{:?}", proof.differences);
    assert_eq!((proof.due_for_deletion, proof.canaries, proof.versions), (0, 1, 2));

    // What a restore undoes is in the log.
    kms.ok(&user, "DisableKey", json!({ "KeyId": kept })).await;
    kms.pass_time(Duration::from_secs(8 * DAY)).await;
    assert_eq!(kms.err(&user, "DescribeKey", json!({ "KeyId": doomed })).await, "ResourceUnavailable.CmkNotFound");
    let new = out.path().join("new");
    let restored = restore_to(&kms, &archive, &new, 2 * DAY).await;
    assert_eq!((restored.slot.as_str(), restored.proof.due_for_deletion), ("restored", 1));
    assert_eq!(restored.held_until, kms.clock.now() + 2 * DAY);
    let replay = restored.replay.unwrap().unwrap();
    // What the command line did may come late into the log.
    let of_keys = replay.changes.iter().filter(|c| !c.resources.is_empty());
    let seen: Vec<_> = of_keys.map(|c| (c.action.as_str(), c.resources.as_slice())).collect();
    assert_eq!(seen, [("DisableKey", &[kept.clone()][..]), ("DeleteKeyAtDate", &[doomed.clone()][..])]);

    // Its day has long passed, and it is there until the hold ends: time enough to cancel.
    let mut kms = move_in(kms, new).await;
    assert_eq!(kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob })).await["Plaintext"], SECRET);
    kms.pass_time(Duration::from_secs(DAY)).await;
    assert_eq!(kms.state(&user, &doomed).await, "PendingDelete");
    kms.pass_time(Duration::from_secs(2 * DAY)).await;
    assert_eq!(kms.err(&user, "DescribeKey", json!({ "KeyId": doomed })).await, "ResourceUnavailable.CmkNotFound");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let kms = Kms::start().await;
    let (user, other) = (kms.user().await, kms.user().await);
    let (key, spoilt) = (kms.create(&user, "k").await, kms.create(&user, "spoilt").await);
    let signer = kms.ok(&user, "CreateKey", json!({ "Alias": "s", "KeyUsage": "ASYMMETRIC_SIGN_VERIFY_ECC" })).await;
    let hosted = json!({ "KeyId": key, "IsHostedByKms": 1, "DataKeyName": "d", "NumberOfBytes": 32 });
    kms.ok(&user, "GenerateDataKey", hosted).await;
    let out = tempfile::tempdir().unwrap();
    let proof = make(&kms, &out.path().join("good")).await;
    assert!(proof.differences.is_empty(), "{:?}", proof.differences);
    assert_eq!((proof.versions, proof.access_keys, proof.canaries), (3, 2, 1));
    assert_eq!(proof.without_canary, [other.uin], "an account without a key");
    assert_eq!(proof.manifest.data_keys.values().sum::<u64>(), 1);

    // Rows that somebody swapped or altered behind the service's back: the backup says so, key by key.
    let copy = out.path().join("copy.db");
    kms.store.snapshot(&copy).await.unwrap();
    let conn = Connection::open(&copy).unwrap();
    let id = |key: &str| {
        let hex: String = key.chars().filter(|c| *c != '-').collect();
        format!("(SELECT id FROM cmk WHERE key_id = x'{hex}')")
    };
    let signer = signer["KeyId"].as_str().unwrap().to_owned();
    conn.execute_batch(&format!(
        "UPDATE key_version SET wrapped = (SELECT wrapped FROM key_version WHERE cmk = {}) WHERE cmk = {};
         UPDATE key_version SET wrapped = zeroblob(120) WHERE cmk = {};
         UPDATE data_key_material SET wrapped = zeroblob(200);
         UPDATE access_key SET wrapped_secret = zeroblob(120) WHERE uin = {};",
        id(&key),
        id(&spoilt),
        id(&signer),
        other.uin
    ))
    .unwrap();
    drop(conn);
    let store = SqliteStore::open(&copy, Options::default()).unwrap();
    let proof = make_from(&kms, &store, &out.path().join("bad"), true).await.unwrap();
    store.close().await.unwrap();
    let told = proof.differences.join("\n");
    assert_eq!(proof.differences.len(), 4, "{told}");
    for wanted in [&*spoilt, &*signer, "data key ", &*other.secret_id] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    // It is written nevertheless, since it is all that there is.
    assert!(out.path().join("bad").exists());
    let secret = passphrase();
    let again =
        backup::prove(&out.path().join("bad"), &Unlock::Passphrase(&secret), None, out.path(), 1).await.unwrap();
    assert_eq!(again.differences, proof.differences);
}

#[tokio::test]
async fn without_the_root_key_a_custodian_is_needed() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    kms.create(&user, "k").await;
    let out = tempfile::tempdir().unwrap();
    let archive = out.path().join("b");
    let proof = make_from(&kms, kms.store.as_ref(), &archive, false).await.unwrap();
    assert!(!proof.manifest.root_key && proof.differences.is_empty());
    let secret = passphrase();
    let unlock = Unlock::Passphrase(&secret);
    let refused = backup::prove(&archive, &unlock, None, out.path(), 1).await.unwrap_err();
    assert!(refused.internal_cause().unwrap().contains("without the root key"));
    let own = file(&kms.dir.path().join("root.key"));
    backup::prove(&archive, &unlock, Some(&own), out.path(), 1).await.unwrap();
    let foreign = file(&out.path().join("foreign.key"));
    foreign.create().unwrap();
    assert!(backup::prove(&archive, &unlock, Some(&foreign), out.path(), 1).await.is_err());
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 2, "nothing is left of the proofs");
    // With the key file that the old host had, the old slot does.
    let new = out.path().join("new");
    std::fs::create_dir(&new).unwrap();
    std::fs::copy(kms.dir.path().join("root.key"), new.join("root.key")).unwrap();
    let root = file(&new.join("root.key"));
    let restored = backup::restore(Restoring {
        archive: &archive,
        unlock: &unlock,
        data_dir: &new,
        database: "jadeseal.db",
        root: &root,
        slot: None,
        open_with: Some(&own),
        hold: 0,
        keep_log: false,
        audit: None,
        clock: &ManualClock::new(1),
    })
    .await
    .unwrap();
    assert_eq!(restored.slot, "primary");
    let store = SqliteStore::open(new.join("jadeseal.db"), Options::default()).unwrap();
    assert_eq!(custody::list(&store).await.unwrap().len(), 1);
}

#[tokio::test]
async fn backups_and_deployments_of_every_older_schema_come_forward() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let blob = kms.encrypt(&user, &key, SECRET).await;
    let out = tempfile::tempdir().unwrap();
    let mut kms = kms;
    for older in 1..SqliteStore::VERSION {
        let (made, old) = (out.path().join(format!("made{older}")), out.path().join(format!("v{older}")));
        kms.store.snapshot(&made).await.unwrap();
        let live = kms.dir.path().join("jadeseal.db");
        kms = kms
            .restart_after(|| {
                jadeseal_store::sqlite::downgrade(&made, &old, older);
                for suffix in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{suffix}", live.display()));
                }
                std::fs::copy(&old, &live).unwrap();
                let kept = SqliteStore::keep_before_migration(&live, u64::from(older)).unwrap().unwrap();
                SqliteStore::check(&kept).unwrap();
            })
            .await;
        assert_eq!(kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob })).await["Plaintext"], SECRET, "{older}");
        let proof = make(&kms, &out.path().join(format!("b{older}"))).await;
        assert!(proof.differences.is_empty(), "version {older}: {:?}", proof.differences);
    }
}

#[tokio::test]
async fn a_log_that_ends_before_the_backup_tells_nothing() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    kms.create(&user, "k").await;
    let head = backup::AuditHead { next_index: 1_000_000, checkpoint: None };
    let why = backup::changes_since(&kms.dir.path().join("audit"), &head).unwrap_err();
    assert!(why.internal_cause().unwrap().contains("tells nothing"));
    let head = backup::AuditHead { next_index: 0, checkpoint: None };
    let all = backup::changes_since(&kms.dir.path().join("audit"), &head).unwrap();
    assert_eq!(all.changes.iter().filter(|c| c.action == "CreateKey").count(), 1);
}
