//! What becomes of requests while the audit log takes no records, and afterwards. In a program of its own, because it is the
//! size of this process's files that runs out.

mod support;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::time::Duration;
use support::{Kms, User};
use tokio::signal::unix::{SignalKind, signal};

/// Linux's SIGXFSZ, which a write beyond the limit raises besides failing.
const SIGXFSZ: i32 = 25;

/// No file may be written beyond so many bytes, as on a full disk; until dropped.
struct Full(Rlimit);

impl Full {
    fn at(bytes: u64) -> Self {
        let old = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: Some(bytes), maximum: old.maximum }).unwrap();
        Full(old)
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        setrlimit(Resource::Fsize, self.0).unwrap();
    }
}

/// The records of gaps so far.
fn gaps(kms: &Kms) -> Vec<Value> {
    let audit = kms.audit();
    let records = audit.lines().filter_map(|line| serde_json::from_str::<Value>(line.split_once(' ')?.1).ok());
    records.filter(|record| record["action"] == "AuditGap").collect()
}

async fn encrypt(kms: &Kms, user: &User, key: &str) -> Option<String> {
    let answer = kms.call(user, "Encrypt", json!({ "KeyId": key, "Plaintext": "YQ==" })).await;
    answer["Error"]["Code"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_gap_is_told_counted_and_recorded_once() {
    let _ignored = signal(SignalKind::from_raw(SIGXFSZ)).unwrap();
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    kms.run_jobs().await;
    assert_eq!(encrypt(&kms, &user, &key).await, None);
    kms.svc.ready().await.unwrap();

    // Requests are refused, and it is said why.
    let full = Full::at(1);
    for _ in 0..3 {
        assert_eq!(encrypt(&kms, &user, &key).await.as_deref(), Some("InternalError"));
        kms.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(kms.svc.ready().await.unwrap_err().reason, "audit log: no space left on its disk");
    kms.run_jobs().await;
    assert_eq!(kms.svc.ready().await.unwrap_err().reason, "audit log: no space left on its disk");
    let metrics = kms.svc.metrics_text().await;
    assert!(metrics.contains("jadeseal_audit_refused_total 3\n"), "{metrics}");
    assert!(metrics.contains("jadeseal_ready 0\n"), "{metrics}");
    assert!(gaps(&kms).is_empty());
    drop(full);

    // The first that is answered again brings the record of the gap with it, once, however many there are at the time.
    let one = || encrypt(&kms, &user, &key);
    assert_eq!(tokio::join!(one(), one(), one(), one()), (None, None, None, None));
    kms.svc.ready().await.unwrap();
    assert!(kms.svc.metrics_text().await.contains("jadeseal_ready 1\n"));
    kms.run_jobs().await;
    let told = gaps(&kms);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        told[0]["subjects"],
        json!(["refused/3", "from/2026-11-24T06:00:00.000000Z", "to/2026-11-24T06:00:02.000000Z"])
    );
    let whose = ["principal", "access", "uin", "source", "code"].map(|m| told[0][m].as_str().unwrap());
    assert_eq!(whose, ["service", "write", "", "", ""]);

    // Where nobody calls, the jobs find out.
    let full = Full::at(1);
    assert_eq!(encrypt(&kms, &user, &key).await.as_deref(), Some("InternalError"));
    drop(full);
    assert!(kms.svc.ready().await.is_err());
    kms.run_jobs().await;
    kms.svc.ready().await.unwrap();
    assert_eq!(gaps(&kms)[1]["subjects"][0], "refused/1");

    // Where the log has no room and the store has, a change that was committed was not refused: its record comes later, once.
    for _ in 0..1_500 {
        assert_eq!(encrypt(&kms, &user, &key).await, None);
    }
    let log = kms.dir.path().join("audit").join("audit-0000000000000000.log");
    let room = std::fs::metadata(log).unwrap().len();
    for file in ["jadeseal.db", "jadeseal.db-wal"] {
        let size = std::fs::metadata(kms.dir.path().join(file)).unwrap().len();
        assert!(size + 100_000 < room, "{file} has {size} bytes, the log {room}");
    }
    let full = Full::at(room);
    assert_eq!(encrypt(&kms, &user, &key).await.as_deref(), Some("InternalError"));
    kms.ok(&user, "UpdateAlias", json!({ "KeyId": key, "Alias": "other" })).await;
    kms.run_jobs().await;
    assert!(!kms.audit().contains("UpdateAlias") && kms.svc.ready().await.is_err());
    drop(full);
    kms.run_jobs().await;
    assert_eq!(gaps(&kms)[2]["subjects"][0], "refused/1");
    assert_eq!(kms.audit().matches("UpdateAlias").count(), 1);

    // A gap that is open at an orderly stop is recorded by the next start.
    let full = Full::at(room);
    for _ in 0..2 {
        assert_eq!(encrypt(&kms, &user, &key).await.as_deref(), Some("InternalError"));
    }
    // That has to be possible while the disk is still full.
    let mut kms = kms.restart().await;
    assert!(kms.svc.ready().await.is_err() && gaps(&kms).len() == 3);
    assert_eq!(encrypt(&kms, &user, &key).await.as_deref(), Some("InternalError"));
    drop(full);
    kms.run_jobs().await;
    let told = gaps(&kms);
    let counts: Vec<_> = told[3..].iter().map(|gap| gap["subjects"][0].as_str().unwrap()).collect();
    assert_eq!(counts, ["refused/1", "refused/2"], "that of this run, and that of the last one");
    kms.svc.ready().await.unwrap();
    let kms = kms.restart().await;
    assert_eq!((gaps(&kms).len(), kms.audit().matches("UpdateAlias").count()), (5, 1), "nothing is doubled");
}
