//! Records of what is done beside requests: they are in the log once, whoever does it and whatever stops in between.

mod support;

use jadeseal_root::SealSource;
use jadeseal_service::{
    accounts::{self, Accounts},
    records,
    rekey::rekey,
};
use jadeseal_types::{AccountId, Alias, SecretId};
use serde_json::{Value, json};
use std::time::Duration;
use support::Kms;

fn seal(kms: &Kms) -> SealSource {
    SealSource::File { path: kms.dir.path().join("root.key") }
}

/// Action and subjects of the records of the service itself, in their order.
fn told(kms: &Kms) -> Vec<(String, Value)> {
    let audit = kms.audit();
    let records = audit.lines().filter_map(|line| serde_json::from_str::<Value>(line.split_once(' ')?.1).ok());
    records
        .filter(|record| record["principal"] == "service")
        .map(|record| {
            let agent = record["user_agent"].as_str().unwrap();
            assert!(agent.starts_with("jadeseal-cli/") && record["uin"] == "" && record["source"] == "", "{record}");
            assert!(record["access"] == "write" && record["code"] == "", "{record}");
            (record["action"].as_str().unwrap().to_owned(), record["subjects"].clone())
        })
        .collect()
}

/// Lets the jobs look at the outbox, flush and look again.
async fn settle(kms: &mut Kms) {
    for _ in 0..2 {
        kms.clock.advance(Duration::from_secs(3));
        kms.run_jobs().await;
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    kms.run_jobs().await;
}

#[tokio::test]
async fn what_the_command_line_does_is_recorded_by_the_service_beside_it() {
    let mut kms = Kms::start().await;
    let beside = Accounts::open(kms.store.clone(), seal(&kms), None).await.unwrap();
    let made = beside.create("other").await.unwrap();
    let account = made.account;
    let cos = Alias::parse("cos").unwrap();
    let granted = beside.grant(account, &cos).await.unwrap().unwrap().secret_id;
    let another = beside.recover(account).await.unwrap().unwrap().secret_id;
    assert!(accounts::revoke(kms.store.as_ref(), &granted).await.unwrap());
    assert!(accounts::revoke(kms.store.as_ref(), &granted).await.unwrap(), "it is off already: no change, no record");
    for enabled in [false, true] {
        assert!(accounts::switch_root_key(kms.store.as_ref(), account, &another, enabled).await.unwrap());
    }
    let unknown = SecretId::parse("AKIDunknown").unwrap();
    assert!(!accounts::revoke(kms.store.as_ref(), &unknown).await.unwrap());
    assert!(beside.grant(AccountId(7), &cos).await.unwrap().is_none());
    rekey(kms.store.as_ref(), &seal(&kms), None, None, kms.clock.as_ref()).await.unwrap();
    assert!(told(&kms).is_empty());
    settle(&mut kms).await;
    let expected = [
        ("CreateAccount", json!([format!("account/{account}"), format!("accesskey/{}", made.secret_id)])),
        ("GrantProduct", json!(["product/cos", format!("accesskey/{granted}")])),
        ("CreateAccountAccessKey", json!([format!("accesskey/{another}")])),
        ("RevokeProduct", json!(["product/cos", format!("accesskey/{granted}")])),
        ("DisableAccountAccessKey", json!([format!("accesskey/{another}")])),
        ("EnableAccountAccessKey", json!([format!("accesskey/{another}")])),
        ("Rekey", json!(["rootversion/2", "slot/primary"])),
        ("Rekey", json!(["rootversion/2", "droppedversion/1"])),
    ]
    .map(|(action, subjects)| (action.to_owned(), subjects));
    assert_eq!(told(&kms), expected);
    assert!(kms.store.outbox_pending(0, 1_000).await.unwrap().is_empty(), "done with once it is on the disk");
    settle(&mut kms).await;
    let kms = kms.restart().await;
    assert_eq!(told(&kms), expected, "once each");
}

#[tokio::test]
async fn where_no_service_runs_the_next_start_records_it() {
    let kms = Kms::start().await;
    let clock = kms.clock.clone();
    let path = kms.dir.path().join("jadeseal.db");
    let kms = kms
        .restart_after(move || {
            // In a thread, for the runtime of the test waits here.
            let work = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let store = jadeseal_store::SqliteStore::open(&path, jadeseal_store::Options::default()).unwrap();
                    let subjects = ["slot/primary".to_owned()];
                    records::record(&store, clock.as_ref(), "Rekey", &subjects, &[], None).await.unwrap();
                    jadeseal_store::Store::close(&store).await.unwrap();
                });
            };
            std::thread::spawn(work).join().unwrap();
        })
        .await;
    let once = [("Rekey".to_owned(), json!(["slot/primary"]))];
    assert_eq!(told(&kms), once);
    let kms = kms.restart().await;
    assert_eq!(told(&kms), once);
}

/// While requests change keys and another process writes records, each has one record in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_is_doubled_beside_changes_of_the_service() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    settle(&mut kms).await;
    let before = told(&kms).len();
    let (store, clock) = (kms.store.clone(), kms.clock.clone());
    let other = tokio::spawn(async move {
        for n in 0..100 {
            let subjects = [format!("slot/{n}")];
            records::record(store.as_ref(), clock.as_ref(), "Rekey", &subjects, &[], None).await.unwrap();
        }
    });
    for n in 0..60 {
        kms.create(&user, &format!("k{n}")).await;
        kms.clock.advance(Duration::from_secs(2));
        kms.run_jobs().await;
    }
    other.await.unwrap();
    settle(&mut kms).await;
    let mut seen: Vec<String> = told(&kms)[before..].iter().map(|(_, s)| s[0].as_str().unwrap().to_owned()).collect();
    seen.sort();
    let mut all: Vec<String> = (0..100).map(|n| format!("slot/{n}")).collect();
    all.sort();
    assert_eq!(seen, all);
    assert_eq!(kms.audit().matches(r#""action":"CreateKey""#).count(), 60);
}

/// A row that the log can never take stays where people can look at it, and nothing behind it waits for that.
#[tokio::test]
async fn a_record_that_can_never_be_written_keeps_none_of_the_others() {
    let mut kms = Kms::start().await;
    let bad = kms.store.add_outbox(b"not\na record".to_vec()).await.unwrap();
    for n in 0..600 {
        let subjects = [format!("slot/{n}")];
        records::record(kms.store.as_ref(), kms.clock.as_ref(), "Rekey", &subjects, &[], None).await.unwrap();
    }
    settle(&mut kms).await;
    let left = async |kms: &Kms| kms.store.outbox_pending(0, 1_000).await.unwrap();
    assert_eq!(left(&kms).await, [(bad, b"not\na record".to_vec())]);
    assert_eq!(told(&kms).len(), 600);
    kms.svc.ready().await.unwrap();
    // Nor at the next start.
    records::record(kms.store.as_ref(), kms.clock.as_ref(), "Rekey", &["slot/last".to_owned()], &[], None)
        .await
        .unwrap();
    let mut kms = kms.restart().await;
    settle(&mut kms).await;
    assert_eq!((left(&kms).await.len(), told(&kms).len()), (1, 601));
}
