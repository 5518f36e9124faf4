//! While a commit of the store is slow: reads and the use of cached keys go on, other changes wait for their own commits.

mod support;

use serde_json::json;
use std::time::{Duration, Instant};
use support::{Kms, faults::Fault};

/// How long a commit takes.
const SLOW: Duration = Duration::from_millis(400);
/// Longer than anything takes that waits for no commit.
const QUICK: Duration = Duration::from_millis(200);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_commit_holds_up_no_read_and_no_use_of_a_key() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let blob = kms.encrypt(&user, &key, "YQ==").await;

    let (has_come, go_on) = kms.faults.hold_next_commit();
    let create = kms.ok(&user, "CreateKey", json!({ "Alias": "late" }));
    tokio::pin!(create);
    let use_it = async {
        has_come.await.unwrap();
        let (mut longest, started) = (Duration::ZERO, Instant::now());
        let mut rounds = 0;
        while started.elapsed() < 2 * SLOW {
            let mut timed = async |action: &str, params| {
                let began = Instant::now();
                let answer = kms.ok(&user, action, params).await;
                longest = longest.max(began.elapsed());
                answer
            };
            timed("Encrypt", json!({ "KeyId": key, "Plaintext": "YQ==" })).await;
            let opened = timed("Decrypt", json!({ "CiphertextBlob": blob })).await;
            assert_eq!(opened["Plaintext"], "YQ==");
            timed("GenerateDataKey", json!({ "KeyId": key, "KeySpec": "AES_256" })).await;
            timed("DescribeKey", json!({ "KeyId": key })).await;
            // What is not committed is not seen.
            assert_eq!(timed("ListKeys", json!({})).await["TotalCount"], 1);
            assert!(kms.svc.ready().await.is_ok());
            assert!(kms.svc.metrics_text().await.contains("jadeseal_ready 1\n"));
            rounds += 1;
        }
        assert!(longest < QUICK && rounds > 5, "{longest:?} in {rounds} rounds");
    };
    tokio::select! {
        _ = &mut create => panic!("acknowledged before it was committed"),
        () = use_it => {}
    }
    go_on.send(()).unwrap();
    let made = create.await["KeyId"].as_str().unwrap().to_owned();
    assert_eq!(kms.ok(&user, "ListKeys", json!({})).await["TotalCount"], 2);
    // A commit that fails late is no key, and nobody else's either.
    kms.faults.next_commit(Fault::Refused);
    assert_eq!(kms.err(&user, "CreateKey", json!({ "Alias": "never" })).await, "InternalError");
    assert_eq!(kms.ok(&user, "ListKeys", json!({})).await["TotalCount"], 2);
    assert_eq!(kms.state(&user, &made).await, "Enabled");
}

/// Every commit is slow: whoever changes something waits for his own, not for those of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_commits_run_beside_each_other() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    kms.faults.slow_commits(SLOW);
    let started = Instant::now();
    let create = |n: u32| {
        let (kms, user) = (&kms, &user);
        async move { kms.create(user, &format!("k-{n}")).await }
    };
    let made = tokio::join!(create(1), create(2), create(3), create(4), create(5), create(6));
    let took = started.elapsed();
    assert!(took >= SLOW && took < 3 * SLOW, "{took:?}");
    let made = [made.0, made.1, made.2, made.3, made.4, made.5];
    kms.faults.slow_commits(Duration::ZERO);
    // Nothing that was acknowledged is missing after a restart, and each has its record, once.
    let kms = kms.restart().await;
    let audit = kms.audit();
    for key in made {
        assert_eq!(kms.state(&user, &key).await, "Enabled");
        assert_eq!(audit.lines().filter(|l| l.contains("\"CreateKey\"") && l.contains(&key)).count(), 1, "{key}");
    }
}
