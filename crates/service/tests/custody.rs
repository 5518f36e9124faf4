//! Several custodians of one root key: each opens it alone, they come and go while the service runs, and none is lost by a rekey.

mod support;

use jadeseal_root::{PassphraseFrom, SealSource, ShareFrom};
use jadeseal_service::{
    check_root,
    clock::ManualClock,
    custody,
    rekey::{Others, rekey, rekey_with},
};
use serde_json::json;
use std::{io::Write, os::unix::fs::OpenOptionsExt, path::Path};
use support::Kms;

const SECRET: &str = "aGVsbG8gd29ybGQ=";

fn at(seconds: u64) -> ManualClock {
    ManualClock::new(seconds)
}

fn file(path: &Path) -> SealSource {
    SealSource::File { path: path.to_owned() }
}

fn passphrase(path: &Path, text: &str) -> SealSource {
    if !path.exists() {
        let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        made.unwrap().write_all(text.as_bytes()).unwrap();
    }
    SealSource::Passphrase { from: PassphraseFrom::File(path.to_owned()) }
}

fn shares(dir: &Path, picked: &[u8], threshold: Option<u8>) -> SealSource {
    let shares = picked.iter().map(|n| ShareFrom::File(dir.join(format!("share{n}")))).collect();
    SealSource::Shamir { shares, threshold }
}

fn cause<T: std::fmt::Debug>(result: jadeseal_types::error::Result<T>) -> String {
    result.unwrap_err().internal_cause().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn custodians_come_and_go_while_the_service_runs() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let blob = kms.encrypt(&user, &key, SECRET).await;
    let (store, dir) = (kms.store.as_ref(), kms.dir.path());
    let own = file(&dir.join("root.key"));
    let office = passphrase(&dir.join("passphrase"), "correct horse battery");
    let board = shares(dir, &[1, 2, 3], Some(2));

    custody::add(store, &own, "office", &office, None, &at(77)).await.unwrap();
    custody::add(store, &own, "board", &board, None, &at(78)).await.unwrap();
    let (_, record) = store.outbox_pending(0, 1_000).await.unwrap().pop().unwrap();
    assert!(String::from_utf8(record).unwrap().contains("\"time\":\"1970-01-01T00:01:18.000000Z\""), "the same clock");
    let listed = custody::list(store).await.unwrap();
    let shown: Vec<_> = listed.iter().map(|c| (c.slot.as_str(), c.kind.as_str(), c.since, c.complete)).collect();
    assert_eq!(shown[0], ("board", "shamir", 78, true));
    assert_eq!(shown[1], ("office", "passphrase", 77, true));
    assert_eq!((shown[2].0, shown[2].1, shown.len()), ("primary", "file", 3));
    assert!(listed[0].about.starts_with("2 of 3, set "), "{listed:?}");
    // Each alone opens everything.
    for (slot, custodian) in [("primary", &own), ("office", &office), ("board", &shares(dir, &[3, 1], None))] {
        let proof = custody::prove(store, slot, custodian).await.unwrap();
        assert_eq!((proof.versions.as_slice(), proof.domains), ([1].as_slice(), 1), "{slot}");
        check_root(store, custodian).await.unwrap();
    }
    assert!(custody::prove(store, "office", &own).await.is_err(), "of another slot");
    assert!(check_root(store, &shares(dir, &[2], None)).await.is_err(), "one share");
    // Nothing twice, no strange names, no slot of somebody who has one.
    assert!(cause(custody::add(store, &own, "office", &office, None, &at(1)).await).contains("already"));
    assert!(cause(custody::add(store, &own, "again", &own, None, &at(1)).await).contains("\"primary\" already"));
    assert!(cause(custody::add(store, &own, "again", &office, None, &at(1)).await).contains("\"office\" already"));
    assert!(cause(custody::add(store, &own, "a b", &office, None, &at(1)).await).contains("letters"));
    // The service's own slot stays, and the last one does.
    assert!(cause(custody::remove(store, &own, "primary", false, &at(1)).await).contains("with no other"));
    assert!(custody::remove(store, &own, "office", false, &at(1)).await.unwrap());
    assert!(!custody::remove(store, &own, "office", false, &at(1)).await.unwrap());
    assert!(check_root(store, &office).await.is_err());
    assert!(custody::remove(store, &own, "primary", true, &at(1)).await.unwrap());
    assert!(cause(custody::remove(store, &own, "board", true, &at(1)).await).contains("last slot"));
    // The service had opened the root key before, and goes on.
    assert_eq!(kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob })).await["Plaintext"], SECRET);
    let more = kms.create(&user, "more").await;
    kms.encrypt(&user, &more, SECRET).await;
}

#[tokio::test]
async fn a_rekey_loses_no_custodian() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let blob = kms.encrypt(&user, &key, SECRET).await;
    let (store, dir) = (kms.store.as_ref(), kms.dir.path());
    let own = file(&dir.join("root.key"));
    let office = passphrase(&dir.join("passphrase"), "correct horse battery");
    let board = shares(dir, &[1, 2, 3], Some(2));
    custody::add(store, &own, "office", &office, None, &at(1)).await.unwrap();
    custody::add(store, &own, "board", &board, None, &at(1)).await.unwrap();
    let before = store.root_rows().await.unwrap();

    // Whoever is not at hand is named, and nothing is begun; no key file is made either.
    let why = cause(rekey(store, &own, None, None, &at(1)).await);
    assert!(why.contains("board (shamir), office (passphrase)") && why.contains("--drop-slot"), "{why}");
    let fresh = file(&dir.join("fresh.key"));
    assert!(cause(rekey(store, &own, Some(&fresh), None, &at(1)).await).contains("board"));
    assert!(!dir.join("fresh.key").exists());
    let slots = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let unknown = Others { custodians: &[], dropped: &slots(&["nobody"]) };
    assert!(cause(rekey_with(store, &own, None, unknown, None, &at(1)).await).contains("\"nobody\""));
    let (custodians, dropped) = ([office.clone(), shares(dir, &[2, 3], None)], slots(&["primary"]));
    let own_too = Others { custodians: &custodians, dropped: &dropped };
    assert!(cause(rekey_with(store, &own, None, own_too, None, &at(1)).await).contains("cannot be dropped"));
    assert_eq!(store.root_rows().await.unwrap(), before);

    let others = Others { custodians: &custodians, dropped: &[] };
    assert!(cause(rekey_with(store, &own, Some(&office), others, None, &at(1)).await).contains("\"office\" already"));
    assert_eq!(store.root_rows().await.unwrap(), before);

    // All there: all of them open the new version.
    let all = Others { custodians: &custodians, dropped: &[] };
    let report = rekey_with(store, &own, None, all, None, &at(1)).await.unwrap();
    assert_eq!((report.version, report.dropped.as_slice()), (2, [1].as_slice()));
    for (slot, custodian) in [("primary", &own), ("office", &office), ("board", &custodians[1])] {
        assert_eq!(custody::prove(store, slot, custodian).await.unwrap().versions, [2], "{slot}");
    }
    // Moved to another file, and the passphrase is dropped.
    let (custodians, dropped) = ([shares(dir, &[1, 2], None)], slots(&["office"]));
    let others = Others { custodians: &custodians, dropped: &dropped };
    let report = rekey_with(store, &own, Some(&fresh), others, None, &at(1)).await.unwrap();
    assert_eq!(report.version, 3);
    assert_eq!(custody::prove(store, "primary", &fresh).await.unwrap().versions, [3]);
    assert_eq!(custody::list(store).await.unwrap().len(), 2);
    assert!(check_root(store, &own).await.is_err() && check_root(store, &office).await.is_err());
    check_root(store, &shares(dir, &[3, 1], None)).await.unwrap();
    assert_eq!(kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob })).await["Plaintext"], SECRET);
}
