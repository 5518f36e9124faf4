//! Quotas and rates through the whole service.

mod support;

use jadeseal_service::quotas::{Figures, Quotas};
use jadeseal_types::AccountId;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use support::{AES, Kms, Request, SM4, START, User, code, hosted::*, keys::b64};

const RATE: &str = "RequestLimitExceeded";
const TOTAL: &str = "RequestLimitExceeded.UinLimitExceeded";
const KEYS: &str = "LimitExceeded.CmkLimitExceeded";
const DATA_KEYS: &str = "LimitExceeded.DataKeyLimitExceeded";

fn rates(list: &[(&str, u32)]) -> BTreeMap<String, u32> {
    list.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect()
}

fn general(figures: Figures) -> Quotas {
    Quotas::new(figures, vec![], 1).unwrap()
}

fn quota(cmks: u64, data_keys: u64) -> Quotas {
    general(Figures { cmks: Some(cmks), data_keys: Some(data_keys), ..Figures::default() })
}

/// The codes of calls in a row; nothing for those that succeed.
async fn codes(kms: &Kms, user: &User, action: &str, params: Value, times: usize) -> Vec<String> {
    let mut codes = Vec::new();
    for _ in 0..times {
        let answer = kms.call(user, action, params.clone()).await;
        codes.push(answer["Error"]["Code"].as_str().unwrap_or_default().to_owned());
    }
    codes
}

#[tokio::test]
async fn rates_are_of_an_account_and_come_back_after_a_second() {
    let figures =
        Figures { total_rate: Some(6), rates: rates(&[("default", 4), ("GetRegions", 2)]), ..Figures::default() };
    let kms = Kms::start_with(general(figures)).await;
    let (user, other) = (kms.user().await, kms.user().await);
    let asked = json!({});
    assert_eq!(codes(&kms, &user, "GetRegions", asked.clone(), 4).await, ["", "", RATE, RATE]);
    // An action without a rate of its own has the default; four of the account's six are left.
    assert_eq!(codes(&kms, &user, "ListAlgorithms", asked.clone(), 5).await, ["", "", "", "", RATE]);
    // Each action has its own, and above them is the account's.
    assert_eq!(codes(&kms, &user, "ListKeys", asked.clone(), 1).await, [TOTAL]);
    assert_eq!(codes(&kms, &other, "GetRegions", asked.clone(), 3).await, ["", "", RATE]);
    // All regions together.
    kms.clock.advance(Duration::from_secs(1));
    for (region, expected) in [(AES, ""), (SM4, ""), (SM4, RATE)] {
        let answer = kms.call_in(&user, region, "GetRegions", json!({})).await;
        assert_eq!(answer["Error"]["Code"].as_str().unwrap_or_default(), expected);
    }
    // Two a second are one each half second.
    kms.clock.advance(Duration::from_millis(499));
    assert_eq!(codes(&kms, &user, "GetRegions", asked.clone(), 1).await, [RATE]);
    kms.clock.advance(Duration::from_millis(1));
    assert_eq!(codes(&kms, &user, "GetRegions", asked, 2).await, ["", RATE]);
    let refusal = kms.call(&user, "GetRegions", json!({})).await;
    assert!(refusal["Error"]["Message"].as_str().unwrap().contains("GetRegions 2 times"), "{refusal}");
    // Refusals are on record and counted like every answer.
    let refused = kms.audit().lines().filter(|l| l.contains("\"RequestLimitExceeded\"")).count();
    assert_eq!(refused, 8);
    let metrics = kms.svc.metrics_text().await;
    assert!(metrics.contains("action=\"GetRegions\",code=\"RequestLimitExceeded\"} 7"), "{metrics}");
    assert!(metrics.contains("action=\"ListKeys\",code=\"RequestLimitExceeded.UinLimitExceeded\"} 1"), "{metrics}");
}

#[tokio::test]
async fn only_authenticated_requests_count_and_all_of_them() {
    let kms = Kms::start_with(general(Figures { rates: rates(&[("default", 1)]), ..Figures::default() })).await;
    let user = kms.user().await;
    let forged = Request::new(&user, START, AES, "ListKeys", &json!({ "Limit": 1 })).with_header("x-tc-timestamp", "1");
    assert_eq!(code(&kms.send(&forged).await), "AuthFailure.SignatureExpire");
    // The rate comes before parameters and region: a wrong call takes its place.
    assert_eq!(kms.err(&user, "ListKeys", json!({ "Limit": 201 })).await, "InvalidParameter");
    assert_eq!(kms.err(&user, "ListKeys", json!({ "Nothing": 1 })).await, RATE);
    assert_eq!(code(&kms.call_in(&user, "mars", "GetRegions", json!({})).await), "UnsupportedRegion");
    assert_eq!(code(&kms.call_in(&user, "mars", "GetRegions", json!({})).await), RATE);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_at_once_share_a_rate() {
    let figures = Figures { total_rate: Some(10), rates: rates(&[("ListKeys", 7)]), ..Figures::default() };
    let kms = Arc::new(Kms::start_with(general(figures)).await);
    let user = Arc::new(kms.user().await);
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let (kms, user) = (kms.clone(), user.clone());
            let action = if n % 2 == 0 { "ListKeys" } else { "GetRegions" };
            tokio::spawn(async move { (action, kms.call(&user, action, json!({})).await.get("Error").is_none()) })
        })
        .collect();
    let (mut all, mut lists) = (0, 0);
    for task in tasks {
        let (action, ok) = task.await.unwrap();
        all += u32::from(ok);
        lists += u32::from(ok && action == "ListKeys");
    }
    assert!(all <= 10 && lists <= 7 && all >= 7, "{all} {lists}");
}

#[tokio::test]
async fn quotas_count_what_is_there_in_a_region() {
    let kms = Kms::start_with(quota(2, 2)).await;
    let (user, other) = (kms.user().await, kms.user().await);
    let create = |alias: &str, usage: &str| json!({ "Alias": alias, "KeyUsage": usage });
    kms.create(&user, "a").await;
    kms.ok(&user, "CreateKey", json!({ "Alias": "b", "Type": 2 })).await;
    for (usage, kind) in [
        ("ENCRYPT_DECRYPT", 1),
        ("ENCRYPT_DECRYPT", 2),
        ("ASYMMETRIC_DECRYPT_RSA_2048", 1),
        ("ASYMMETRIC_SIGN_VERIFY_ECC", 1),
    ] {
        let params = with(&create("c", usage), json!({ "Type": kind }));
        assert_eq!(kms.err(&user, "CreateKey", params).await, KEYS, "{usage}");
    }
    kms.create(&other, "a").await;
    assert_eq!(kms.call_in(&user, SM4, "CreateKey", json!({ "Alias": "a" })).await["KeyState"], "Enabled");
}

#[tokio::test]
async fn a_key_pending_deletion_makes_room_and_may_come_back() {
    let kms = Kms::start_with(quota(1, 9)).await;
    let user = kms.user().await;
    let key = kms.create(&user, "a").await;
    let one = json!({ "KeyId": key });
    kms.ok(&user, "DisableKey", one.clone()).await;
    assert_eq!(kms.err(&user, "CreateKey", json!({ "Alias": "b" })).await, KEYS, "a disabled one counts");
    kms.ok(&user, "ScheduleKeyDeletion", with(&one, json!({ "PendingWindowInDays": 7 }))).await;
    kms.create(&user, "b").await;
    kms.ok(&user, "CancelKeyDeletion", one).await;
    let status = kms.ok(&user, "GetServiceStatus", json!({})).await;
    assert_eq!((&status["CmkUserCount"], &status["CmkLimit"]), (&json!(2), &json!(1)));
    assert_eq!(kms.err(&user, "CreateKey", json!({ "Alias": "c" })).await, KEYS);
}

#[tokio::test]
async fn data_keys_have_a_quota() {
    let kms = Kms::start_with(quota(9, 2)).await;
    let user = kms.user().await;
    let cmk = kms.create(&user, "cmk").await;
    let (first, _) = host(&kms, &user, &cmk, "a").await;
    let import =
        |name: &str| json!({ "DataKeyName": name, "ImportKeyMaterial": b64("1234"), "ImportType": 2, "KeyId": cmk });
    kms.ok(&user, "ImportDataKey", import("b")).await;
    let generate = json!({ "KeyId": cmk, "KeySpec": "AES_256", "IsHostedByKms": 1, "DataKeyName": "c" });
    assert_eq!(kms.err(&user, "GenerateDataKey", generate.clone()).await, DATA_KEYS);
    assert_eq!(kms.err(&user, "ImportDataKey", import("c")).await, DATA_KEYS);
    kms.ok(&user, "GenerateDataKey", with(&generate, json!({ "IsHostedByKms": 0 }))).await;
    // One that goes makes room; when that is taken, it cannot come back.
    put_into(&kms, &user, &first, "PendingDelete").await;
    kms.ok(&user, "GenerateDataKey", generate).await;
    assert_eq!(kms.err(&user, "CancelDataKeyDeletion", of(&first)).await, DATA_KEYS);
    assert_eq!(metadata(&kms, &user, &first).await["KeyState"], "PendingDelete");
    let second = kms.ok(&user, "ListDataKeys", json!({ "Limit": 1 })).await;
    put_into(&kms, &user, &text(&second["DataKeys"][0]["DataKeyId"]), "PendingDelete").await;
    kms.ok(&user, "CancelDataKeyDeletion", of(&first)).await;
    let status = kms.ok(&user, "GetServiceStatus", json!({})).await;
    assert_eq!((&status["DataKeyUsedCount"], &status["DataKeyLimit"]), (&json!(2), &json!(2)));
    assert_eq!(status["FreeDataKeyLimit"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn creating_at_once_fills_a_quota_exactly() {
    let kms = Arc::new(Kms::start_with(quota(10, 10)).await);
    let user = Arc::new(kms.user().await);
    let race = async |make: Arc<dyn Fn(usize) -> (&'static str, Value) + Send + Sync>, full: &'static str| {
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let (kms, user, (action, params)) = (kms.clone(), user.clone(), make(n));
                tokio::spawn(async move { kms.call(&user, action, params).await })
            })
            .collect();
        let mut made = Vec::new();
        for task in tasks {
            let answer = task.await.unwrap();
            match answer.get("Error") {
                None => made.push(text(&answer["KeyId"])),
                Some(_) => assert_eq!(code(&answer), full),
            }
        }
        made
    };
    let made = race(Arc::new(|n| ("CreateKey", json!({ "Alias": format!("k-{n}") }))), KEYS).await;
    assert_eq!(made.len(), 10);
    let cmk = made[0].clone();
    let host = move |n| {
        let name = format!("d-{n}");
        ("GenerateDataKey", json!({ "KeyId": cmk, "KeySpec": "AES_128", "IsHostedByKms": 1, "DataKeyName": name }))
    };
    assert_eq!(race(Arc::new(host), DATA_KEYS).await.len(), 10);
    let status = kms.ok(&user, "GetServiceStatus", json!({})).await;
    assert_eq!((&status["CmkUserCount"], &status["DataKeyUsedCount"]), (&json!(10), &json!(10)));
}

#[tokio::test]
async fn the_service_status_tells_the_figures() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let status = kms.ok(&user, "GetServiceStatus", json!({})).await;
    for name in ["CmkLimit", "DataKeyLimit", "FreeDataKeyLimit", "QpsLimit", "QpsTotalLimit"] {
        assert_eq!(status[name], i32::MAX, "{name}");
    }
    assert_eq!((&status["RegionsQps"], &status["ExclusiveHSMList"]), (&json!([]), &json!([])));
    assert_eq!(status["ExclusiveHSMEnabled"], false);
    let account = kms.store.accounts().await.unwrap()[0].account;
    let own = Figures { cmks: Some(500), rates: rates(&[("default", 50)]), ..Figures::default() };
    let all = Figures { total_rate: Some(900), data_keys: Some(u64::MAX), ..Figures::preset("tencent").unwrap() };
    kms.limit(Quotas::new(all, vec![(account, own), (AccountId(5), Figures::default())], 1).unwrap());
    let kms = kms.restart().await;
    let other = kms.user().await;
    for (user, cmks, qps) in [(&user, 500, 50), (&other, 200, 100)] {
        let status = kms.ok(user, "GetServiceStatus", json!({})).await;
        assert_eq!((&status["CmkLimit"], &status["QpsLimit"]), (&json!(cmks), &json!(qps)));
        assert_eq!((&status["QpsTotalLimit"], &status["DataKeyLimit"]), (&json!(900), &json!(i32::MAX)));
        let regions: Vec<_> = [AES, SM4, support::INTL].iter().map(|r| json!({ "Region": r, "Qps": qps })).collect();
        assert_eq!(status["RegionsQps"], json!(regions));
    }
}

#[tokio::test]
async fn nothing_is_hosted_under_a_key_that_was_disabled_meanwhile() {
    let kms = Arc::new(Kms::start().await);
    let user = Arc::new(kms.user().await);
    let cmk = kms.create(&user, "cmk").await;
    let (data_key, _) = host(&kms, &user, &cmk, "old").await;
    let key = json!({ "KeyId": cmk });
    let hosting = json!({ "KeyId": cmk, "KeySpec": "AES_256", "IsHostedByKms": 1, "DataKeyName": "new" });
    let import = json!({ "DataKeyName": "imported", "ImportKeyMaterial": b64("12"), "ImportType": 2, "KeyId": cmk });
    let mut count = 1;
    for (state, action, params, refusal) in [
        ("Enabled", "GenerateDataKey", hosting, "ResourceUnavailable.CmkDisabled"),
        ("Enabled", "ImportDataKey", import, "ResourceUnavailable.CmkDisabled"),
        ("Disabled", "EnableDataKey", of(&data_key), "ResourceUnavailable.CmkStateNotSupport"),
        ("Disabled", "EnableDataKeys", json!({ "DataKeyIds": [data_key] }), "ResourceUnavailable.CmkStateNotSupport"),
        ("PendingDelete", "CancelDataKeyDeletion", of(&data_key), "ResourceUnavailable.CmkStateNotSupport"),
    ] {
        if metadata(&kms, &user, &data_key).await["KeyState"] != state {
            put_into(&kms, &user, &data_key, state).await;
        }
        // The call has seen an enabled key and is about to commit when DisableKey returns.
        let (come, go) = kms.faults.hold_next_commit();
        let call = tokio::spawn({
            let (kms, user, params) = (kms.clone(), user.clone(), params.clone());
            async move { kms.call(&user, action, params).await }
        });
        come.await.unwrap();
        kms.ok(&user, "DisableKey", key.clone()).await;
        go.send(()).unwrap();
        assert_eq!(code(&call.await.unwrap()), refusal, "{action}");
        assert_eq!(metadata(&kms, &user, &data_key).await["KeyState"], state);
        assert_eq!(kms.ok(&user, "ListDataKeyDetail", key.clone()).await["TotalCount"], count);
        kms.ok(&user, "EnableKey", key.clone()).await;
        // A change that leaves the key usable only makes it start over.
        if action == "GenerateDataKey" || action == "EnableDataKey" {
            let (come, go) = kms.faults.hold_next_commit();
            let call = tokio::spawn({
                let (kms, user, params) = (kms.clone(), user.clone(), params);
                async move { kms.call(&user, action, params).await }
            });
            come.await.unwrap();
            kms.ok(&user, "UpdateAlias", with(&key, json!({ "Alias": format!("renamed-{action}") }))).await;
            go.send(()).unwrap();
            let answer = call.await.unwrap();
            assert!(answer.get("Error").is_none(), "{answer}");
            if action == "GenerateDataKey" {
                let made = text(&answer["DataKeyId"]);
                assert_eq!(plaintext(&kms, &user, &made).await, text(&answer["Plaintext"]));
                count += 1;
            } else {
                kms.ok(&user, "DisableDataKey", of(&data_key)).await;
            }
        }
    }
}
