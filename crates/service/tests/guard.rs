//! Floods of requests that are refused before it is known whose they are.

mod support;

use jadeseal_service::clock::Clock as _;
use jadeseal_types::{ErrorCode, Lang};
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc, time::Duration};
use support::{AES, Kms, Request, User, code};
use tokio::task::JoinSet;

const SOURCE: [u8; 4] = [192, 0, 2, 1];

fn nobody(user: &User) -> User {
    user.with_key(user.uin, "AKIDnobodyatall", "x")
}

async fn ask_from(kms: &Kms, user: &User, source: [u8; 4]) -> Value {
    let request = Request::new(user, kms.clock.now(), AES, "GetRegions", &json!({}));
    kms.send_from(&request, source.into()).await
}

/// Sends so many requests at once; the codes of their answers.
async fn all_at_once(kms: &Arc<Kms>, user: &User, count: usize) -> Vec<String> {
    let mut all = JoinSet::new();
    for _ in 0..count {
        let request = Request::new(user, kms.clock.now(), AES, "GetRegions", &json!({}));
        let kms = kms.clone();
        all.spawn(async move { code(&kms.send_from(&request, SOURCE.into()).await) });
    }
    all.join_all().await
}

fn records(kms: &Kms) -> usize {
    kms.audit().lines().filter(|line| !line.starts_with('#')).count()
}

async fn metric(kms: &Kms, name: &str) -> u64 {
    let text = kms.svc.metrics_text().await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn a_flood_of_wrong_credentials_fills_no_log() {
    let kms = Kms::start().await;
    // No answer waits.
    kms.svc.hurry();
    let user = kms.user().await;
    kms.ok(&user, "GetRegions", json!({})).await;
    let before = records(&kms);
    for _ in 0..1_000 {
        assert_eq!(code(&ask_from(&kms, &nobody(&user), SOURCE).await), "AuthFailure.SecretIdNotFound");
    }
    assert_eq!(records(&kms) - before, 60);
    kms.clock.advance(Duration::from_secs(1));
    // Wrong signatures too, of an access key that is in memory.
    let impostor = user.with_key(user.uin, &user.secret_id, "wrong");
    for _ in 0..1_000 {
        assert_eq!(code(&ask_from(&kms, &impostor, SOURCE).await), "AuthFailure.SignatureFailure");
    }
    assert_eq!(records(&kms) - before, 61);
    assert_eq!(metric(&kms, "jadeseal_unrecorded_refusals_total").await, 1_939);
    assert_eq!(metric(&kms, "jadeseal_wrong_credentials_total{code=\"AuthFailure.SecretIdNotFound\"}").await, 1_000);
    assert_eq!(metric(&kms, "jadeseal_wrong_credentials_total{code=\"AuthFailure.SignatureFailure\"}").await, 1_000);
    // Right requests from there, refused ones of known callers, and refusals elsewhere are on record as ever.
    assert!(ask_from(&kms, &user, SOURCE).await.get("Error").is_none());
    let refused = Request::new(&user, kms.clock.now(), AES, "DescribeKey", &json!({}));
    assert_eq!(code(&kms.send_from(&refused, SOURCE.into()).await), "MissingParameter");
    ask_from(&kms, &nobody(&user), [192, 0, 2, 2]).await;
    assert_eq!(records(&kms) - before, 64);
}

#[tokio::test]
async fn who_hangs_up_is_counted() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    for _ in 0..500 {
        let request = Request::new(&nobody(&user), kms.clock.now(), AES, "GetRegions", &json!({}));
        let asked = kms.send_from(&request, SOURCE.into());
        // Mostly while the store is being looked into.
        drop(tokio::time::timeout(Duration::ZERO, asked).await);
    }
    assert_eq!(records(&kms), 60);
    assert_eq!(metric(&kms, "jadeseal_unrecorded_refusals_total").await, 440);
    // He who is known has his record.
    kms.ok(&user, "GetRegions", json!({})).await;
    let list = Request::new(&user, kms.clock.now(), AES, "ListKeys", &json!({}));
    drop(tokio::time::timeout(Duration::ZERO, kms.send_from(&list, SOURCE.into())).await);
    assert!(kms.audit().contains("ListKeys"));
}

#[tokio::test]
async fn at_the_top_unknown_callers_take_turns() {
    let kms = Arc::new(Kms::start().await);
    kms.svc.hurry();
    let (known, fresh) = (kms.user().await, kms.user().await);
    kms.ok(&known, "GetRegions", json!({})).await;
    assert!(all_at_once(&kms, &nobody(&known), 100).await.iter().all(|c| c == "AuthFailure.SecretIdNotFound"));
    let codes = all_at_once(&kms, &nobody(&known), 100).await;
    let looked_for = codes.iter().filter(|c| *c == "AuthFailure.SecretIdNotFound").count();
    assert!((1..100).contains(&looked_for), "{looked_for}");
    assert!(codes.iter().all(|c| c == "AuthFailure.SecretIdNotFound" || c == "RequestLimitExceeded"), "{codes:?}");
    assert!(all_at_once(&kms, &known, 100).await.iter().all(|c| c.starts_with("no error")), "in memory");
    // Somebody right who is new comes in when it is his turn, and is known from then on.
    assert!(ask_from(&kms, &fresh, SOURCE).await.get("Error").is_none());
    assert!(all_at_once(&kms, &fresh, 100).await.iter().all(|c| c.starts_with("no error")));
}

#[tokio::test]
async fn a_source_has_so_many_places_to_wait_in() {
    let kms = Kms::start().await;
    let refusals = |source: [u8; 4], count| {
        let mut all = JoinSet::new();
        for _ in 0..count {
            let svc = kms.svc.clone();
            let error = ErrorCode::UnsupportedProtocol.into();
            all.spawn(async move { svc.refuse(error, Lang::En, Some(IpAddr::from(source))).await.close });
        }
        all.join_all()
    };
    let closed = refusals(SOURCE, 100).await.into_iter().filter(|close| *close).count();
    assert_eq!(closed, 100 - 20 - 16);
    assert!(!refusals([192, 0, 2, 2], 30).await.contains(&true));
    assert_eq!(metric(&kms, "jadeseal_slowed_refusals_total").await, 26);
    assert_eq!(metric(&kms, "jadeseal_refused_unauthenticated_total{code=\"UnsupportedProtocol\"}").await, 130);
}

#[tokio::test]
async fn other_refusals_of_unknown_callers_count_too() {
    let kms = Kms::start().await;
    kms.svc.hurry();
    let user = kms.user().await;
    for (n, (action, version, ago, expected)) in [
        ("Nonsense", "2019-01-18", 0, "InvalidAction"),
        ("GetRegions", "2000-01-01", 0, "NoSuchVersion"),
        ("GetRegions", "2019-01-18", 1_000, "AuthFailure.SignatureExpire"),
    ]
    .into_iter()
    .enumerate()
    {
        let source = [198, 51, 100, u8::try_from(n).unwrap()];
        let before = records(&kms);
        for _ in 0..100 {
            let request = Request::new(&user, kms.clock.now() - ago, AES, action, &json!({}));
            let answer = kms.send_from(&request.with_header("x-tc-version", version), source.into()).await;
            assert_eq!(code(&answer), expected);
        }
        assert_eq!(records(&kms) - before, 60, "{expected}");
        let name = format!("jadeseal_refused_unauthenticated_total{{code=\"{expected}\"}}");
        assert_eq!(metric(&kms, &name).await, 100);
    }
}

#[tokio::test]
async fn what_is_in_memory_is_counted() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let sub = kms.sub_user(&user, "sub").await;
    assert_eq!(kms.err(&sub, "ListKeys", json!({})).await, "UnauthorizedOperation");
    assert_eq!(metric(&kms, "jadeseal_cached_accounts").await, 1);
    assert_eq!(metric(&kms, "jadeseal_cached_access_keys").await, 2);
    assert_eq!(metric(&kms, "jadeseal_cached_sessions").await, 0);
    assert_eq!(metric(&kms, "jadeseal_unreadable_policies").await, 0);
    // Somebody has written to the database.
    let document = r#"{"version":"2.0","statement":[{"effect":"allow","action":"kms:*","resource":"*"}]}"#;
    let made = json!({ "PolicyName": "p", "PolicyDocument": document });
    let policy = kms.cam(&user, "CreatePolicy", made).await["PolicyId"].clone();
    kms.cam(&user, "AttachUserPolicy", json!({ "PolicyId": policy, "AttachUin": sub.uin })).await;
    let database = rusqlite::Connection::open(kms.dir.path().join("jadeseal.db")).unwrap();
    assert_eq!(database.execute("UPDATE policy SET document = 'x'", []).unwrap(), 1);
    drop(database);
    assert_eq!(kms.err(&sub, "ListKeys", json!({})).await, "UnauthorizedOperation");
    assert_eq!(metric(&kms, "jadeseal_unreadable_policies").await, 1);
}
