//! RSA keys made ahead of time, and threads for asymmetric operations.

mod support;

use jadeseal_service::pool;
use serde_json::json;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use support::{
    Kms, code,
    keys::{MESSAGE, b64, create, pem_of},
};
use tokio::sync::watch;

/// Runs the job that fills the pool until it holds `count` pairs.
async fn fill(kms: &Kms, count: usize) {
    let (stop, stopped) = watch::channel(false);
    let job = tokio::spawn(pool::fill(kms.svc.clone(), std::time::Duration::ZERO, stopped));
    let full = async {
        while kms.svc.pooled_rsa_keys() < count {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), full).await.expect("the pool is filled");
    stop.send_replace(true);
    job.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pooled_rsa_keys_survive_restarts_and_are_used_once() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let file = kms.dir.path().join("rsa-pool");
    fill(&kms, 2).await;
    assert!(!file.exists(), "a running service has its pairs in memory alone");
    let kms = kms
        .restart_after(|| {
            // Sealed: the algorithm's name, which each private key begins with, is nowhere in it.
            let rsa = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
            assert!(!std::fs::read(&file).unwrap().windows(rsa.len()).any(|w| w == rsa));
        })
        .await;
    assert!(!file.exists(), "gone before a pair of it is offered");
    assert_eq!(kms.svc.pooled_rsa_keys(), 2, "a restart loses nothing");
    let mut public = BTreeSet::new();
    let create = async |kms: &Kms, alias: &str| {
        let params = json!({ "Alias": alias, "KeyUsage": "ASYMMETRIC_SIGN_VERIFY_RSA_2048" });
        let key = kms.ok(&user, "CreateKey", params).await["KeyId"].as_str().unwrap().to_owned();
        pem_of(kms, &user, &key).await
    };
    for (alias, left) in [("r1", 1), ("r2", 0), ("r3", 0)] {
        public.insert(create(&kms, alias).await);
        assert_eq!(kms.svc.pooled_rsa_keys(), left, "the third is made on demand");
    }
    fill(&kms, 2).await;
    for alias in ["i1", "i2"] {
        let key = kms.ok(&user, "CreateKey", json!({ "Alias": alias, "Type": 2 })).await["KeyId"].clone();
        let params = json!({ "KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048" });
        let got = kms.ok(&user, "GetParametersForImport", params).await;
        public.insert(got["PublicKey"].as_str().unwrap().to_owned());
    }
    assert_eq!(kms.svc.pooled_rsa_keys(), 0);
    assert_eq!(public.len(), 5, "no pair is used twice");
    // A file that is no pool, and one that is cut off, are thrown away.
    let mut kms = kms;
    for bad in [&b"nonsense"[..], b"jadeseal-rsa-pool-v1\nshort"] {
        kms = kms.restart_after(|| std::fs::write(&file, bad).unwrap()).await;
        assert!(!file.exists());
        assert_eq!(kms.svc.pooled_rsa_keys(), 0);
    }
    public.insert(create(&kms, "r4").await);
    assert_eq!(public.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_calls_use_up_no_thread_and_grow_nothing() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    fill(&kms, 2).await;
    let create = json!({ "Alias": "r", "KeyUsage": "ASYMMETRIC_SIGN_VERIFY_RSA_2048" });
    kms.ok(&user, "CreateKey", create.clone()).await;
    for _ in 0..3 {
        assert_eq!(kms.err(&user, "CreateKey", create.clone()).await, "InvalidParameterValue.AliasAlreadyExists");
    }
    fill(&kms, 2).await;
    assert_eq!(kms.svc.pooled_rsa_keys(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_with_a_key_after_disable_key_has_returned() {
    const CALLS: usize = 200;
    let kms = Arc::new(Kms::start().await);
    let user = Arc::new(kms.user().await);
    let key = create(&kms, &user, "ASYMMETRIC_SIGN_VERIFY_RSA_2048").await;
    let sign = json!({ "KeyId": key, "Algorithm": "RSA_PSS_SHA_256", "Message": b64(MESSAGE) });
    kms.ok(&user, "SignByAsymmetricKey", sign.clone()).await;
    let signed = Arc::new(AtomicUsize::new(0));
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let (kms, user, sign, signed) = (kms.clone(), user.clone(), sign.clone(), signed.clone());
            tokio::spawn(async move {
                let answer = kms.call(&user, "SignByAsymmetricKey", sign).await;
                match answer.get("Error") {
                    None => drop(signed.fetch_add(1, Ordering::SeqCst)),
                    Some(_) => assert_eq!(code(&answer), "ResourceUnavailable.CmkStateNotSupport"),
                }
            })
        })
        .collect();
    while signed.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    kms.ok(&user, "DisableKey", json!({ "KeyId": key })).await;
    let before = signed.load(Ordering::SeqCst);
    for call in calls {
        call.await.unwrap();
    }
    // Those that were under way, and those whose answers were: a few. Without the second look it would be all.
    let late = signed.load(Ordering::SeqCst) - before;
    assert!(before + 40 < CALLS, "the test must see calls that wait: {before}");
    assert!(late <= 30, "{late} of {CALLS} signatures came late, after {before}");
}
