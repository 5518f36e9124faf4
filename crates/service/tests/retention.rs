//! Removal of old audit records: announced first, done behind a checkpoint, and provable afterwards.

mod support;

use jadeseal_audit::{Trust, checkpoint, verify_log};
use jadeseal_service::{clock::Clock as _, retention};
use serde_json::json;
use std::time::{Duration, Instant};
use support::Kms;

const YEAR: Duration = Duration::from_secs(366 * 86_400);

async fn covered(kms: &Kms) {
    let until = Instant::now() + Duration::from_secs(20);
    let log = kms.svc.audit_log();
    while log.published().is_none_or(|p| p.checkpoint.size < log.next_index()) {
        assert!(Instant::now() < until, "no checkpoint");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_records_go_step_by_step() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    // A segment of the harness has 1 MiB.
    for _ in 0..3_000 {
        kms.call(&user, "DescribeKey", json!({ "KeyId": key })).await;
    }
    // Its hashes are on stable storage with the stop.
    let kms = kms.restart().await;
    let dir = kms.dir.path().join("audit");
    let trust = Trust { keys: checkpoint::keys(&dir).unwrap(), ..Trust::default() };
    let mut announced = retention::Announced::default();
    covered(&kms).await;
    assert_eq!(retention::step(&kms.svc, &mut announced).await.unwrap(), 0);
    assert!(!kms.audit().contains("RetireAuditRecords"), "nothing is old");
    kms.clock.advance(11 * YEAR);
    assert_eq!(retention::step(&kms.svc, &mut announced).await.unwrap(), 0);
    assert_eq!(kms.audit().matches("RetireAuditRecords").count(), 1, "it is said first");
    assert_eq!(verify_log(&dir, &trust, &[], |_, _| {}).unwrap().first, 0);
    covered(&kms).await;
    assert_eq!(retention::step(&kms.svc, &mut announced).await.unwrap(), 1, "and done behind a checkpoint of it");
    let proved = verify_log(&dir, &trust, &[], |_, _| {}).unwrap();
    assert!(proved.first > 1_000 && proved.first < proved.end, "{proved:?}");
    // Nothing is left to do, and nothing is said again.
    assert_eq!(retention::step(&kms.svc, &mut announced).await.unwrap(), 0);
    assert_eq!(kms.audit().matches("RetireAuditRecords").count(), 1);
    // The next start takes the log as it is.
    let kms = kms.restart().await;
    let now = kms.clock.now();
    assert!(now > 0 && kms.svc.audit_log().next_index() > proved.first);
}
