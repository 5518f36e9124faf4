//! The service as a whole: life cycle, jobs, tenancy, audit, restarts.

mod support;

use jadeseal_service::clock::Clock as _;
use serde_json::{Value, json};
use std::time::Duration;
use support::{AES, Kms, Request, SM4, START, code};

const DAY: Duration = Duration::from_secs(86_400);
/// Base64 of a plaintext that must never turn up in the audit log.
const SECRET: &str = "dG9wIHNlY3JldCBwbGFpbnRleHQ=";

#[tokio::test]
async fn encrypts_and_decrypts_in_both_profiles() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    for (region, edition) in [(AES, 2), (SM4, 4)] {
        let made = kms.call_in(&user, region, "CreateKey", json!({ "Alias": "k" })).await;
        let key = made["KeyId"].as_str().unwrap();
        let meta = kms.call_in(&user, region, "DescribeKey", json!({ "KeyId": key })).await;
        assert_eq!(meta["KeyMetadata"]["Type"], edition);
        let context = r#"{"b":"2","a":"1"}"#;
        let params = json!({ "KeyId": key, "Plaintext": SECRET, "EncryptionContext": context });
        let sealed = kms.call_in(&user, region, "Encrypt", params).await;
        let blob = sealed["CiphertextBlob"].as_str().unwrap();
        let open = |context: &str| json!({ "CiphertextBlob": blob, "EncryptionContext": context });
        // Equivalent JSON opens; another context does not.
        let opened = kms.call_in(&user, region, "Decrypt", open(r#"{ "a": "1", "b": "2" }"#)).await;
        assert_eq!((&opened["Plaintext"], &opened["KeyId"]), (&json!(SECRET), &json!(key)));
        for wrong in ["", "{}", r#"{"a":"1"}"#, r#"{"a":"1","b":"3"}"#] {
            let refused = kms.call_in(&user, region, "Decrypt", open(wrong)).await;
            assert_eq!(code(&refused), "InvalidParameterValue.InvalidCiphertext", "{wrong}");
        }
        // The other region does not know the key.
        let other = if region == AES { SM4 } else { AES };
        let foreign = kms.call_in(&user, other, "Decrypt", open(context)).await;
        assert_eq!(code(&foreign), "InvalidParameterValue.InvalidCiphertext");
    }
}

#[tokio::test]
async fn another_accounts_keys_do_not_exist() {
    let kms = Kms::start().await;
    let (alice, bob) = (kms.user().await, kms.user().await);
    let key = kms.create(&alice, "same-alias").await;
    kms.create(&bob, "same-alias").await;
    let blob = kms.encrypt(&alice, &key, SECRET).await;
    let unknown = "11111111-2222-1333-8444-555555555555";
    for (action, extra) in [
        ("DescribeKey", json!({})),
        ("EnableKey", json!({})),
        ("DisableKey", json!({})),
        ("ScheduleKeyDeletion", json!({ "PendingWindowInDays": 7 })),
        ("CancelKeyDeletion", json!({})),
        ("ArchiveKey", json!({})),
        ("RotateKey", json!({})),
        ("Encrypt", json!({ "Plaintext": SECRET })),
        ("GenerateDataKey", json!({ "KeySpec": "AES_256" })),
        ("UnbindCloudResource", json!({ "ProductId": "p", "ResourceId": "r" })),
    ] {
        let mut answers = Vec::new();
        for id in [key.as_str(), unknown] {
            let mut params = extra.clone();
            params["KeyId"] = json!(id);
            let mut answer = kms.call(&bob, action, params).await;
            answer["RequestId"] = Value::Null;
            answers.push(answer);
        }
        assert_eq!(code(&answers[0]), "ResourceUnavailable.CmkNotFound", "{action}");
        assert_eq!(answers[0], answers[1], "{action}: a foreign key looks like no key");
    }
    assert_eq!(
        kms.err(&bob, "Decrypt", json!({ "CiphertextBlob": blob })).await,
        "InvalidParameterValue.InvalidCiphertext"
    );
    assert_eq!(kms.ok(&bob, "ListKeys", json!({})).await["TotalCount"], 1);
    let found = kms.ok(&bob, "ListKeyDetail", json!({ "SearchKeyAlias": key })).await;
    assert_eq!(found["TotalCount"], 0);
}

#[tokio::test]
async fn a_disabled_key_is_disabled_when_the_call_returns() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    for _ in 0..20 {
        kms.encrypt(&user, &key, SECRET).await;
        kms.ok(&user, "DisableKey", json!({ "KeyId": key })).await;
        let params = json!({ "KeyId": key, "Plaintext": SECRET });
        assert_eq!(kms.err(&user, "Encrypt", params).await, "ResourceUnavailable.CmkDisabled");
        kms.ok(&user, "EnableKey", json!({ "KeyId": key })).await;
    }
}

#[tokio::test]
async fn deletion_waits_for_its_date_and_frees_the_alias() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let blob = kms.encrypt(&user, &key, SECRET).await;
    kms.ok(&user, "DisableKey", json!({ "KeyId": key })).await;
    let scheduled = kms.ok(&user, "ScheduleKeyDeletion", json!({ "KeyId": key, "PendingWindowInDays": "7" })).await;
    assert_eq!(scheduled["DeletionDate"], START + 7 * 86_400);
    kms.run_jobs().await;
    kms.pass_time(7 * DAY - Duration::from_secs(1)).await;
    assert_eq!(kms.state(&user, &key).await, "PendingDelete");
    assert_eq!(kms.err(&user, "CreateKey", json!({ "Alias": "k" })).await, "InvalidParameterValue.AliasAlreadyExists");
    let mut kms = kms.restart().await;
    kms.run_jobs().await;
    kms.pass_time(Duration::from_secs(601)).await;
    assert_eq!(kms.err(&user, "DescribeKey", json!({ "KeyId": key })).await, "ResourceUnavailable.CmkNotFound");
    assert_eq!(
        kms.err(&user, "Decrypt", json!({ "CiphertextBlob": blob })).await,
        "InvalidParameterValue.InvalidCiphertext"
    );
    kms.create(&user, "k").await;
    assert!(kms.audit().contains(r#""action":"DeleteKeyAtDate""#));
}

#[tokio::test]
async fn a_clock_that_jumps_destroys_nothing_at_once() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    kms.ok(&user, "DisableKey", json!({ "KeyId": key })).await;
    kms.ok(&user, "ScheduleKeyDeletion", json!({ "KeyId": key, "PendingWindowInDays": 7 })).await;
    kms.run_jobs().await;
    kms.clock.advance(Duration::from_secs(700));
    kms.run_jobs().await;
    // Somebody sets the clock a year ahead, and notices five minutes later.
    kms.clock.jump_to(START + 365 * 86_400);
    kms.run_jobs().await;
    kms.clock.advance(Duration::from_secs(300));
    kms.run_jobs().await;
    assert_eq!(kms.state(&user, &key).await, "PendingDelete");
    kms.clock.jump_to(START + 2_000);
    kms.run_jobs().await;
    kms.ok(&user, "CancelKeyDeletion", json!({ "KeyId": key })).await;
    assert_eq!(kms.state(&user, &key).await, "Disabled");
}

#[tokio::test]
async fn rotation_on_schedule_survives_restarts_and_keeps_old_ciphertext_readable() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let old = kms.encrypt(&user, &key, SECRET).await;
    kms.ok(&user, "EnableKeyRotation", json!({ "KeyId": key, "RotateDays": 30 })).await;
    kms.pass_time(29 * DAY).await;
    let mut kms = kms.restart().await;
    kms.pass_time(2 * DAY).await;
    let meta = kms.ok(&user, "DescribeKey", json!({ "KeyId": key })).await["KeyMetadata"].clone();
    let last = meta["LastRotateTime"].as_u64().unwrap();
    assert!((START + 30 * 86_400..=START + 31 * 86_400).contains(&last), "{meta}");
    assert_eq!(meta["NextRotateTime"].as_u64().unwrap(), last + 30 * 86_400);
    assert_eq!(kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": old })).await["Plaintext"], SECRET);
    let moved = kms.ok(&user, "ReEncrypt", json!({ "CiphertextBlob": old })).await;
    assert_eq!(moved["ReEncrypted"], true);
    let again = kms.ok(&user, "ReEncrypt", json!({ "CiphertextBlob": moved["CiphertextBlob"] })).await;
    assert_eq!((&again["ReEncrypted"], &again["CiphertextBlob"]), (&json!(false), &moved["CiphertextBlob"]));
    // A long sleep rotates once, not once for each missed period.
    kms.clock.advance(400 * DAY);
    kms.run_jobs().await;
    let meta = kms.ok(&user, "DescribeKey", json!({ "KeyId": key })).await["KeyMetadata"].clone();
    assert_eq!(meta["LastRotateTime"].as_u64().unwrap(), kms.clock.now());
    assert_eq!(meta["NextRotateTime"].as_u64().unwrap(), kms.clock.now() + 30 * 86_400);
}

#[tokio::test]
async fn on_demand_rotation_is_once_a_day() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let rotate = json!({ "KeyId": key });
    assert_eq!(kms.err(&user, "RotateKey", rotate.clone()).await, "UnsupportedOperation.RotateNotSupported");
    kms.ok(&user, "EnableKeyRotation", rotate.clone()).await;
    assert!(kms.ok(&user, "RotateKey", rotate.clone()).await["TaskId"].is_string());
    assert_eq!(kms.err(&user, "RotateKey", rotate.clone()).await, "RequestLimitExceeded.RotateRateLimited");
    kms.pass_time(DAY).await;
    kms.ok(&user, "RotateKey", rotate).await;
}

#[tokio::test]
async fn every_request_leaves_one_record_without_secrets() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let blob = kms.encrypt(&user, &key, SECRET).await;
    kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob })).await;
    let data_key = kms.ok(&user, "GenerateDataKey", json!({ "KeyId": key, "KeySpec": "AES_256" })).await;
    let random = kms.ok(&user, "GenerateRandom", json!({ "NumberOfBytes": 32 })).await;
    let unknown = kms.call(&user, "NoSuchAction", json!({ "Plaintext": SECRET })).await;
    let unsigned = {
        let mut request = Request::new(&user, kms.clock.now(), AES, "ListKeys", &json!({}));
        request.body = "{ }".to_owned();
        kms.send(&request).await
    };
    assert_eq!(code(&unsigned), "AuthFailure.SignatureFailure");
    let audit = kms.audit();
    for answer in [&data_key, &random, &unknown, &unsigned] {
        let id = answer["RequestId"].as_str().unwrap();
        assert_eq!(audit.matches(id).count(), 1, "{answer}");
    }
    assert_eq!(audit.lines().filter(|l| !l.starts_with('#')).count(), 7);
    for secret in [
        SECRET,
        "top secret",
        &blob[..40],
        data_key["Plaintext"].as_str().unwrap(),
        random["Plaintext"].as_str().unwrap(),
    ] {
        assert!(!audit.contains(secret), "{secret}");
    }
    assert_eq!(audit.matches(&key).count(), 4, "create, encrypt, decrypt, data key");
}

#[tokio::test]
async fn a_captured_signature_cannot_be_aimed_at_another_action_or_region() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let captured = || Request::new(&user, START, AES, "DescribeKey", &json!({ "KeyId": key }));
    assert!(kms.send(&captured()).await.get("KeyMetadata").is_some());
    assert!(kms.send(&captured()).await.get("KeyMetadata").is_some(), "a plain retry is legal");
    let elsewhere = [192, 0, 2, 7].into();
    assert!(kms.send_from(&captured(), elsewhere).await.get("KeyMetadata").is_some(), "a retry through another way");
    let aimed = captured().with_header("x-tc-action", "DisableKey");
    assert_eq!(code(&kms.send_from(&aimed, elsewhere).await), "AuthFailure.SignatureFailure");
    let moved = captured().with_header("x-tc-region", SM4);
    assert_eq!(code(&kms.send_from(&moved, elsewhere).await), "AuthFailure.SignatureFailure");
    assert_eq!(kms.state(&user, &key).await, "Enabled");
    // An honest client's next call with the same body in the same second carries the same signature.
    assert!(kms.send(&aimed).await.get("Error").is_none());
    assert_eq!(kms.state(&user, &key).await, "Disabled");
}

#[tokio::test]
async fn errors_come_in_their_order_and_language() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let now = kms.clock.now();
    let wrong_version = Request::new(&user, now, AES, "Nonsense", &json!({})).with_header("x-tc-version", "2000-01-01");
    assert_eq!(code(&kms.send(&wrong_version).await), "NoSuchVersion");
    let nobody = support::User::from(kms.svc.create_account("x").await.unwrap());
    let mut ghost = Request::new(&nobody, now - 4_000, AES, "ListKeys", &json!({}));
    let authorization = ghost.headers["authorization"].to_str().unwrap().replace(&nobody.secret_id, "AKIDnobody");
    ghost = ghost.with_header("authorization", &authorization);
    assert_eq!(code(&kms.send(&ghost).await), "AuthFailure.SecretIdNotFound", "before the timestamp");
    let late = Request::new(&user, now - 301, "nowhere", "ListKeys", &json!({}));
    assert_eq!(code(&kms.send(&late).await), "AuthFailure.SignatureExpire", "before the region");
    let nowhere = Request::new(&user, now, "nowhere", "Encrypt", &json!({ "X": 1 }));
    assert_eq!(code(&kms.send(&nowhere).await), "UnsupportedRegion", "before the parameters");
    for (params, expected) in [
        (json!({ "KeyId": 5, "What": 1 }), "UnknownParameter"),
        (json!({ "KeyId": 5 }), "MissingParameter"),
        (json!({ "KeyId": 5, "Plaintext": "!" }), "InvalidParameter"),
        (json!({ "KeyId": "x", "Plaintext": "!" }), "InvalidParameterValue.InvalidKeyId"),
    ] {
        assert_eq!(kms.err(&user, "Encrypt", params).await, expected);
    }
    let chinese = Request::new(&user, now, AES, "Encrypt", &json!({})).with_header("x-tc-language", "zh-CN");
    let message = kms.send(&chinese).await["Error"]["Message"].as_str().unwrap().to_owned();
    assert!(message.contains("缺少") && message.contains("`KeyId`"), "{message}");
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let (a, b) = (kms.create(&user, "a").await, kms.create(&user, "b").await);
    kms.ok(&user, "ArchiveKey", json!({ "KeyId": b })).await;
    let both = json!({ "KeyIds": [a, b] });
    assert_eq!(kms.err(&user, "DisableKeys", both).await, "ResourceUnavailable.CmkStateNotSupport");
    assert_eq!(kms.state(&user, &a).await, "Enabled");
    kms.ok(&user, "CancelKeyArchive", json!({ "KeyId": b })).await;
    kms.ok(&user, "DisableKeys", json!({ "KeyIds": [b, a] })).await;
    let described = kms.ok(&user, "DescribeKeys", json!({ "KeyIds": [b, a] })).await;
    let metas = described["KeyMetadatas"].as_array().unwrap();
    assert_eq!(metas.iter().map(|m| m["KeyId"].as_str().unwrap()).collect::<Vec<_>>(), [b.as_str(), a.as_str()]);
    assert!(metas.iter().all(|m| m["KeyState"] == "Disabled"));
}

#[tokio::test]
async fn the_root_key_is_replaced_while_serving() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let blob = kms.encrypt(&user, &key, SECRET).await;
    let source = jadeseal_root::SealSource::File { path: kms.dir.path().join("root.key") };
    let report =
        jadeseal_service::rekey::rekey(kms.store.as_ref(), &source, None, None, kms.clock.as_ref()).await.unwrap();
    assert_eq!((report.version, report.rewrapped, report.resumed), (2, 1, false));
    // The running service goes on, also with accounts that it has to open or make under the new root key.
    assert_eq!(kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob })).await["Plaintext"], SECRET);
    let other = kms.user().await;
    let theirs = kms.create(&other, "k").await;
    kms.encrypt(&other, &theirs, SECRET).await;
    let kms = kms.restart().await;
    assert_eq!(kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob })).await["Plaintext"], SECRET);
    kms.encrypt(&other, &theirs, SECRET).await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_one_record_that_says_what_happened() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    for n in 0..40 {
        let request = Request::new(&user, kms.clock.now(), AES, "CreateKey", &json!({ "Alias": format!("k{n}") }));
        // Polled a few times, then dropped, at a different point each time.
        let call = kms.send(&request);
        let _ = tokio::time::timeout(Duration::from_micros(60 * n), call).await;
    }
    // Commits that were under way end on their own.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let total = kms.ok(&user, "ListKeys", json!({})).await["TotalCount"].as_u64().unwrap();
    let audit = kms.audit();
    let creates: Vec<Value> = audit
        .lines()
        .filter(|l| l.contains(r#""action":"CreateKey""#))
        .map(|l| serde_json::from_str(&l[9..]).unwrap())
        .collect();
    let ids: std::collections::HashSet<_> = creates.iter().map(|r| r["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), creates.len(), "one record for each request");
    assert_eq!(creates.iter().filter(|r| r["code"] == "").count() as u64, total, "one success for each key");
}

#[tokio::test]
async fn the_root_of_trust_moves_to_another_file_also_behind_an_interrupted_rekey() {
    use jadeseal_root::SealSource;
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let blob = kms.encrypt(&user, &key, SECRET).await;
    let old = SealSource::File { path: kms.dir.path().join("root.key") };
    let new = SealSource::File { path: kms.dir.path().join("new.key") };
    // An interrupted plain rekey: the new version is stored, nothing is re-wrapped yet.
    let rows = kms.store.root_rows().await.unwrap();
    let seals = old.open(&[record(&rows[0])]).unwrap();
    let keyring =
        jadeseal_root::Keyring::unlock(&[seals[0].as_ref()], &[record(&rows[0])], jadeseal_types::Suite::Aes256)
            .unwrap();
    let next = keyring.add_version(seals[0].as_ref(), "primary").unwrap();
    let next = jadeseal_store::RootRow { version: next.version, wrapped: next.wrapped, ..rows[0].clone() };
    kms.store.add_root(vec![next], &["primary".to_owned()], None).await.unwrap();
    let report =
        jadeseal_service::rekey::rekey(kms.store.as_ref(), &old, Some(&new), None, kms.clock.as_ref()).await.unwrap();
    assert_eq!((report.version, report.resumed, report.dropped), (3, true, vec![1, 2]));
    jadeseal_service::check_root(kms.store.as_ref(), &new).await.expect("the new file opens everything");
    assert!(jadeseal_service::check_root(kms.store.as_ref(), &old).await.is_err(), "the old one nothing");
    // Again with nothing to do but the same: a plain new version.
    let again = jadeseal_service::rekey::rekey(kms.store.as_ref(), &new, None, None, kms.clock.as_ref()).await.unwrap();
    assert_eq!((again.version, again.resumed), (4, false));
    std::fs::rename(kms.dir.path().join("new.key"), kms.dir.path().join("root.key")).unwrap();
    let kms = kms.restart().await;
    assert_eq!(kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob })).await["Plaintext"], SECRET);
}

fn record(row: &jadeseal_store::RootRow) -> jadeseal_root::RootRecord {
    jadeseal_root::RootRecord {
        version: row.version,
        slot: row.slot.clone(),
        seal_kind: row.seal_kind.clone(),
        params: row.params.clone(),
        wrapped: row.wrapped.clone(),
    }
}

/// Wraps material for an EXTERNAL key as a client would, through the parameters that the service gave.
async fn wrapped(kms: &Kms, user: &support::User, key: &str, material: &[u8]) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let ask = json!({ "KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048" });
    let params = kms.ok(user, "GetParametersForImport", ask).await;
    let to = jadeseal_crypto::Recipient::parse(
        params["PublicKey"].as_str().unwrap(),
        jadeseal_crypto::RecipientAlgorithm::Rsa(jadeseal_crypto::rsa::Padding::OaepSha256),
    );
    let sealed = to.unwrap().encrypt(material).unwrap();
    json!({
        "KeyId": key, "ImportToken": params["ImportToken"], "EncryptedKeyMaterial": STANDARD.encode(sealed),
    })
}

#[tokio::test]
async fn imported_material_is_unusable_at_its_expiry_and_gone_when_the_clock_is_trusted() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let made = kms.ok(&user, "CreateKey", json!({ "Alias": "x", "Type": 2 })).await;
    let key = made["KeyId"].as_str().unwrap().to_owned();
    let mut import = wrapped(&kms, &user, &key, &[7; 32]).await;
    import["ValidTo"] = json!(START + 5_000);
    kms.ok(&user, "ImportKeyMaterial", import).await;
    let blob = kms.encrypt(&user, &key, SECRET).await;
    kms.run_jobs().await;
    kms.clock.advance(Duration::from_secs(700));
    kms.run_jobs().await;
    // The clock jumps past the expiry: no use, but nothing is destroyed on the word of that clock.
    kms.clock.jump_to(START + 365 * 86_400);
    kms.run_jobs().await;
    let open = json!({ "CiphertextBlob": blob });
    assert_eq!(kms.err(&user, "Decrypt", open.clone()).await, "ResourceUnavailable.CmkDisabled");
    assert_eq!(kms.state(&user, &key).await, "PendingImport");
    kms.clock.jump_to(START + 1_000);
    kms.run_jobs().await;
    assert_eq!(kms.ok(&user, "Decrypt", open.clone()).await["Plaintext"], SECRET);
    // It really expires, while the key waits for its deletion; a cancelled deletion brings no material back.
    kms.ok(&user, "DisableKey", json!({ "KeyId": key })).await;
    kms.ok(&user, "ScheduleKeyDeletion", json!({ "KeyId": key, "PendingWindowInDays": 7 })).await;
    kms.pass_time(2 * DAY).await;
    kms.run_jobs().await;
    kms.ok(&user, "CancelKeyDeletion", json!({ "KeyId": key })).await;
    assert_eq!(kms.state(&user, &key).await, "PendingImport");
    let scope = kms.store.all_keys_meta(None, 1).await.unwrap()[0].scope();
    let id = jadeseal_types::KeyId::parse(&key).unwrap();
    assert!(kms.store.versions(&scope, id).await.unwrap().is_empty());
    // The same material makes it whole again; other material does not.
    let other = wrapped(&kms, &user, &key, &[8; 32]).await;
    assert_eq!(kms.err(&user, "ImportKeyMaterial", other).await, "InvalidParameterValue.MaterialNotMatch");
    let same = wrapped(&kms, &user, &key, &[7; 32]).await;
    kms.ok(&user, "ImportKeyMaterial", same).await;
    assert_eq!(kms.ok(&user, "Decrypt", open).await["Plaintext"], SECRET);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_failed_imports_end_a_token_however_many_come_at_once() {
    let kms = std::sync::Arc::new(Kms::start().await);
    let user = std::sync::Arc::new(kms.user().await);
    let made = kms.ok(&user, "CreateKey", json!({ "Alias": "x", "Type": 2 })).await;
    let key = made["KeyId"].as_str().unwrap();
    let good = wrapped(&kms, &user, key, &[7; 32]).await;
    let mut bad = good.clone();
    bad["EncryptedKeyMaterial"] = json!("AAAA");
    let tries: Vec<_> = (0..40)
        .map(|_| {
            let (kms, user, bad) = (kms.clone(), user.clone(), bad.clone());
            tokio::spawn(async move { kms.err(&user, "ImportKeyMaterial", bad).await })
        })
        .collect();
    let mut codes = std::collections::BTreeMap::new();
    for t in tries {
        *codes.entry(t.await.unwrap()).or_insert(0) += 1;
    }
    assert_eq!(
        codes.into_iter().collect::<Vec<_>>(),
        [("InvalidParameter.DecryptMaterialError".to_owned(), 10), ("ResourceUnavailable.TokenExpired".to_owned(), 30)]
    );
    assert_eq!(kms.err(&user, "ImportKeyMaterial", good).await, "ResourceUnavailable.TokenExpired");
}

#[tokio::test]
async fn a_clock_that_was_ahead_does_not_lock_rotation() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    kms.ok(&user, "EnableKeyRotation", json!({ "KeyId": key })).await;
    kms.clock.jump_to(START + 365 * 86_400);
    kms.ok(&user, "RotateKey", json!({ "KeyId": key })).await;
    kms.clock.jump_to(START + 10);
    kms.ok(&user, "RotateKey", json!({ "KeyId": key })).await;
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_on_record() {
    use support::faults::Fault;
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    kms.faults.next_commit(Fault::AnswerLost);
    let answer = kms.call(&user, "DisableKey", json!({ "KeyId": key })).await;
    assert_eq!(code(&answer), "InternalError");
    assert_eq!(kms.state(&user, &key).await, "Disabled", "the cache does not say otherwise");
    let kms = kms.restart().await;
    let log = kms.audit();
    let id = answer["RequestId"].as_str().unwrap();
    let of_request: Vec<_> = log.lines().filter(|line| line.contains(id)).collect();
    assert_eq!(of_request.len(), 2, "what the caller was told, and what happened: {of_request:?}");
    assert!(of_request[0].contains(r#""code":"InternalError""#) && of_request[1].contains(r#""code":"""#));
}
