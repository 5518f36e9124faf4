//! When keys were last used: what counts as a use, where it is kept, and who is told.

mod support;

use jadeseal_service::{clock::Clock as _, looks};
use jadeseal_types::KeyId;
use serde_json::{Value, json};
use std::time::Duration;
use support::{Kms, START, User};

const DAY: u64 = 86_400;

fn id(key: &str) -> KeyId {
    KeyId::parse(key).unwrap()
}

/// What the store knows.
async fn saved(kms: &Kms, key: &str) -> u64 {
    looks::key(kms.store.as_ref(), id(key), kms.clock.now()).await.unwrap().unwrap().last_used
}

/// Lets a minute pass and tells what the store knows then.
async fn saved_soon(kms: &mut Kms, key: &str) -> u64 {
    kms.clock.advance(Duration::from_secs(60));
    kms.run_jobs().await;
    saved(kms, key).await
}

async fn message(kms: &Kms, user: &User, action: &str, params: Value, language: &'static str) -> (String, String) {
    let request = support::Request::new(user, kms.clock.now(), support::AES, action, &params);
    let answer = kms.send(&request.with_header("x-tc-language", language)).await;
    (support::code(&answer), answer["Error"]["Message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn uses_are_saved_once_a_minute_and_at_the_stop() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    kms.run_jobs().await;
    assert_eq!(saved(&kms, &key).await, 0, "to be made is no use");
    let blob = kms.encrypt(&user, &key, "YQ==").await;
    kms.run_jobs().await;
    assert_eq!(saved(&kms, &key).await, START, "the first one is saved at once");
    for _ in 0..5 {
        kms.clock.advance(Duration::from_secs(10));
        kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob })).await;
        kms.run_jobs().await;
        assert_eq!(saved(&kms, &key).await, START, "not a write for each");
    }
    kms.clock.advance(Duration::from_secs(10));
    kms.run_jobs().await;
    assert_eq!(saved(&kms, &key).await, START + 50);
    // What replaces the entry in the cache, or drops it, drops no use.
    kms.clock.advance(Duration::from_secs(5));
    kms.encrypt(&user, &key, "YQ==").await;
    kms.ok(&user, "UpdateAlias", json!({ "KeyId": key, "Alias": "other" })).await;
    kms.run_jobs().await;
    assert_eq!(saved(&kms, &key).await, START + 50);
    let kms = kms.restart().await;
    assert_eq!(saved(&kms, &key).await, START + 65, "an orderly stop saves");
    let revision = kms.store.overview(id(&key)).await.unwrap().unwrap().cmk.revision;
    assert_eq!(revision, 2, "a use is no change of the row");
}

#[tokio::test]
async fn what_counts_as_a_use() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let make = async |usage: &str| {
        let params = json!({ "Alias": format!("k-{}", usage.to_lowercase()), "KeyUsage": usage });
        kms.ok(&user, "CreateKey", params).await["KeyId"].as_str().unwrap().to_owned()
    };
    let key = make("ENCRYPT_DECRYPT").await;
    let (p256, sm2, kyber) = (
        make("ASYMMETRIC_SIGN_VERIFY_ECC").await,
        make("ASYMMETRIC_DECRYPT_SM2").await,
        make("ASYMMETRIC_DECRYPT_KYBER_AES").await,
    );
    let second = kms.create(&user, "second").await;
    // Looking at a key and changing it is none, nor is what fails.
    for (action, params) in [
        ("DescribeKey", json!({ "KeyId": key })),
        ("DisableKey", json!({ "KeyId": key })),
        ("EnableKey", json!({ "KeyId": key })),
        ("GetPublicKey", json!({ "KeyId": p256 })),
    ] {
        kms.ok(&user, action, params).await;
    }
    let sm2_blob = json!({ "KeyId": sm2, "Ciphertext": "YWJj" });
    assert_eq!(kms.err(&user, "AsymmetricSm2Decrypt", sm2_blob).await, "FailedOperation.DecryptError");
    for one in [&key, &p256, &sm2, &kyber, &second] {
        assert_eq!(saved_soon(&mut kms, one).await, 0, "{one}");
    }
    let blob = kms.encrypt(&user, &key, "YQ==").await;
    let mut last = saved_soon(&mut kms, &key).await;
    assert!(last > 0);
    let hosted = json!({ "KeyId": key, "KeySpec": "AES_256", "IsHostedByKms": 1, "DataKeyName": "hosted" });
    let hosted = kms.ok(&user, "GenerateDataKey", hosted).await["DataKeyId"].as_str().unwrap().to_owned();
    let now = saved_soon(&mut kms, &key).await;
    assert!(now > last, "GenerateDataKey");
    last = now;
    let import = json!({ "DataKeyName": "imported", "ImportType": 2, "ImportKeyMaterial": "YWJj", "KeyId": key });
    for (action, params) in [
        ("Decrypt", json!({ "CiphertextBlob": blob })),
        ("GetDataKeyPlaintext", json!({ "DataKeyId": hosted })),
        ("GetDataKeyCiphertextBlob", json!({ "DataKeyId": hosted })),
        ("ImportDataKey", import),
        ("ReEncrypt", json!({ "CiphertextBlob": blob, "DestinationKeyId": second })),
    ] {
        kms.ok(&user, action, params).await;
        let now = saved_soon(&mut kms, &key).await;
        assert!(now > last, "{action}");
        last = now;
    }
    assert_eq!(saved(&kms, &second).await, last, "both keys of a ReEncrypt");
    kms.ok(&user, "DescribeDataKey", json!({ "DataKeyId": hosted })).await;
    assert_eq!(saved_soon(&mut kms, &key).await, last, "to look at a data key is no use");
    let sign = json!({ "KeyId": p256, "Algorithm": "ECC_P256_R1", "Message": "YQ==" });
    kms.ok(&user, "SignByAsymmetricKey", sign).await;
    kms.ok(&user, "PostQuantumCryptoEncrypt", json!({ "KeyId": kyber, "PlainText": "YQ==" })).await;
    assert!(saved_soon(&mut kms, &p256).await > 0 && saved(&kms, &kyber).await > 0);
    assert_eq!(saved(&kms, &sm2).await, 0);
}

#[tokio::test]
async fn refusals_of_a_deletion_say_when_the_key_was_last_used() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let delete = json!({ "KeyId": key, "PendingWindowInDays": 7 });
    let (code, text) = message(&kms, &user, "ScheduleKeyDeletion", delete.clone(), "en-US").await;
    assert_eq!(code, "ResourceUnavailable.CmkShouldBeDisabled");
    assert!(text.ends_with(". No use of it is on record."), "{text}");
    kms.encrypt(&user, &key, "YQ==").await;
    // Known before it is saved.
    let (code, text) = message(&kms, &user, "ScheduleKeyDeletion", delete.clone(), "en-US").await;
    assert_eq!(code, "ResourceUnavailable.CmkShouldBeDisabled");
    assert!(text.ends_with(". It was last used 2026-11-24T06:00Z."), "{text}");
    let (code, text) = message(&kms, &user, "ScheduleKeyDeletion", delete.clone(), "zh-CN").await;
    assert_eq!(code, "ResourceUnavailable.CmkShouldBeDisabled");
    assert!(text.ends_with("密钥最近一次使用于 2026-11-24T06:00Z。"), "{text}");
    // Read from the store after a start.
    let kms = kms.restart().await;
    kms.ok(&user, "DisableKey", json!({ "KeyId": key })).await;
    kms.ok(&user, "ScheduleKeyDeletion", delete.clone()).await;
    let (code, text) = message(&kms, &user, "ScheduleKeyDeletion", delete, "en-US").await;
    assert_eq!(code, "ResourceUnavailable.CmkStateNotSupport");
    assert!(text.ends_with("It was last used 2026-11-24T06:00Z."), "{text}");
    // Other refusals say nothing of it, nor does the API's description of a key.
    let (_, text) = message(&kms, &user, "EnableKey", json!({ "KeyId": key }), "en-US").await;
    assert!(!text.contains("last used"), "{text}");
    let described = kms.ok(&user, "DescribeKey", json!({ "KeyId": key })).await;
    assert!(!described.to_string().to_lowercase().contains("used"), "{described}");
}

#[tokio::test]
async fn an_operator_finds_what_is_not_used() {
    let mut kms = Kms::start().await;
    let (one, two) = (kms.user().await, kms.user().await);
    let used = kms.create(&one, "used").await;
    let idle = kms.create(&two, "idle").await;
    kms.ok(&one, "EnableKeyRotation", json!({ "KeyId": used })).await;
    let hosted = json!({ "KeyId": used, "KeySpec": "AES_256", "IsHostedByKms": 1, "DataKeyName": "hosted" });
    kms.pass_time(Duration::from_secs(10 * DAY)).await;
    kms.ok(&one, "GenerateDataKey", hosted).await;
    let young = kms.create(&one, "young").await;
    kms.pass_time(Duration::from_secs(DAY)).await;
    let now = kms.clock.now();
    let found = async |days: Option<u64>| {
        let keys = looks::keys(kms.store.as_ref(), days, now).await.unwrap();
        keys.into_iter().map(|key| key.alias).collect::<Vec<_>>()
    };
    assert_eq!(found(Some(5)).await, ["idle"], "neither one that is used nor one that is new");
    assert_eq!(found(Some(12)).await, [""; 0]);
    let mut all = found(None).await;
    all.sort();
    assert_eq!(all, ["idle", "used", "young"]);
    let look = looks::key(kms.store.as_ref(), id(&used), now).await.unwrap().unwrap();
    let (created, last) = (look.create_time, look.last_used);
    assert_eq!((created, last), (START, START + 10 * DAY));
    assert_eq!((look.account, look.region.as_str(), look.state), (one.uin, support::AES, "Enabled"));
    assert_eq!((look.usage, look.origin, look.owner.as_str()), ("ENCRYPT_DECRYPT", "TENCENT_KMS", "user"));
    assert_eq!((look.versions, look.current_version, look.data_keys), (1, 1, 1));
    assert_eq!((look.rotation_days, look.next_rotation, look.deletion_date), (365, START + 365 * DAY, 0));
    let look = looks::key(kms.store.as_ref(), id(&idle), now).await.unwrap().unwrap();
    assert_eq!((look.account, look.last_used, look.rotation_days, look.next_rotation), (two.uin, 0, 0, 0));
    assert!(looks::key(kms.store.as_ref(), KeyId::from_bytes([1; 16]), now).await.unwrap().is_none());
    assert!(looks::key(kms.store.as_ref(), id(&young), now).await.unwrap().is_some());
}

/// More keys than the cache holds: what it lets go of is saved all the same.
#[tokio::test]
async fn keys_that_leave_the_cache_keep_their_use() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let mut keys = Vec::new();
    for n in 0..1_500 {
        keys.push(kms.create(&user, &format!("k{n}")).await);
    }
    kms.run_jobs().await;
    kms.clock.advance(Duration::from_secs(7));
    for key in &keys {
        kms.encrypt(&user, key, "YQ==").await;
    }
    assert!(kms.svc.cached_keys() < keys.len());
    kms.clock.advance(Duration::from_secs(60));
    kms.run_jobs().await;
    for key in &keys {
        assert_eq!(saved(&kms, key).await, START + 7);
    }
}
