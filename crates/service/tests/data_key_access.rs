//! Who sees which hosted data keys, and how: lists, tenants, recipients, regions, rows, audit.

mod support;

use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use support::{AES, Kms, SM4, STRICT, User, code, hosted::*, keys::b64};

const DAY: Duration = Duration::from_secs(86_400);

async fn listed(kms: &Kms, user: &User, params: Value) -> Vec<String> {
    let page = kms.ok(user, "ListDataKeyDetail", params).await;
    let names: Vec<_> = page["DataKeyMetadatas"].as_array().unwrap().iter().map(|m| text(&m["DataKeyName"])).collect();
    assert_eq!(page["TotalCount"], names.len());
    names
}

#[tokio::test]
async fn lists_filter_by_everything() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let (x, y) = (kms.create(&user, "x").await, kms.create(&user, "y").await);
    let tag = |value: &str| json!([{ "TagKey": "env", "TagValue": value }]);
    let mut ids = Vec::new();
    // Names that are part of no id.
    for (name, cmk, bytes, tags) in [
        ("q-1", &x, 16, tag("prod")),
        ("q_2", &x, 32, tag("test")),
        ("z-3", &y, 16, json!([])),
        ("Z-4", &y, 64, json!([])),
    ] {
        let params = json!({
            "KeyId": cmk, "NumberOfBytes": bytes, "IsHostedByKms": 1, "DataKeyName": name, "Tags": tags,
        });
        ids.push(text(&kms.ok(&user, "GenerateDataKey", params).await["DataKeyId"]));
        kms.clock.advance(Duration::from_secs(1));
    }
    let import = json!({ "DataKeyName": "w-5", "ImportKeyMaterial": b64("12345"), "ImportType": 2, "KeyId": x });
    kms.ok(&user, "ImportDataKey", import).await;
    put_into(&kms, &user, &ids[1], "Disabled").await;
    put_into(&kms, &user, &ids[2], "PendingDelete").await;
    for (params, names) in [
        (json!({}), &["w-5", "Z-4", "z-3", "q_2", "q-1"][..]),
        (json!({ "OrderType": 1 }), &["q-1", "q_2", "z-3", "Z-4", "w-5"]),
        (
            json!({ "KeyState": 0, "Role": 0, "DataKeyLen": 0, "KeyId": "", "Origin": "" }),
            &["w-5", "Z-4", "z-3", "q_2", "q-1"],
        ),
        (json!({ "KeyState": 1 }), &["w-5", "Z-4", "q-1"]),
        (json!({ "KeyState": 2 }), &["q_2"]),
        (json!({ "KeyState": 3 }), &["z-3"]),
        (json!({ "KeyId": x }), &["w-5", "q_2", "q-1"]),
        (json!({ "DataKeyLen": 16 }), &["z-3", "q-1"]),
        (json!({ "DataKeyLen": 17 }), &[]),
        (json!({ "Origin": "EXTERNAL" }), &["w-5"]),
        (json!({ "Origin": "TENCENT_KMS", "OrderType": 1 }), &["q-1", "q_2", "z-3", "Z-4"]),
        (json!({ "Origin": "ALL", "KeyId": y }), &["Z-4", "z-3"]),
        (json!({ "SearchKeyAlias": "_" }), &["q_2"]),
        (json!({ "SearchKeyAlias": "z-" }), &["z-3"]),
        (json!({ "SearchKeyAlias": "%" }), &[]),
        (json!({ "SearchKeyAlias": ids[3] }), &["Z-4"]),
        (json!({ "SearchKeyAlias": x }), &[]),
        (json!({ "TagFilters": [{ "TagKey": "env" }] }), &["q_2", "q-1"]),
        (json!({ "TagFilters": [{ "TagKey": "env", "TagValue": ["prod"] }] }), &["q-1"]),
        // A key named twice: any of its values, and without values any at all.
        (
            json!({ "TagFilters": [{ "TagKey": "env", "TagValue": ["none"] }, { "TagKey": "env", "TagValue": ["prod"] }] }),
            &["q-1"],
        ),
        (json!({ "TagFilters": [{ "TagKey": "env", "TagValue": ["none"] }, { "TagKey": "env" }] }), &["q_2", "q-1"]),
        (json!({ "Role": 1 }), &[]),
        (json!({ "HsmClusterId": "default", "KeyState": 2 }), &["q_2"]),
        (
            json!({ "KeyId": x, "DataKeyLen": 16, "KeyState": 1, "SearchKeyAlias": "q", "Origin": "TENCENT_KMS" }),
            &["q-1"],
        ),
    ] {
        assert_eq!(listed(&kms, &user, params.clone()).await, names, "{params}");
    }
    for (params, expected) in [
        (json!({ "KeyState": 4 }), "InvalidParameter"),
        (json!({ "OrderType": 2 }), "InvalidParameter"),
        (json!({ "Role": 2 }), "InvalidParameter"),
        (json!({ "Limit": 201 }), "InvalidParameter"),
        (json!({ "Origin": "x" }), "InvalidParameter"),
        (json!({ "DataKeyLen": 1025 }), "InvalidParameter"),
        (json!({ "KeyId": "x" }), "InvalidParameterValue.InvalidKeyId"),
        (json!({ "KeyId": UNKNOWN }), "ResourceUnavailable.CmkNotFound"),
        (json!({ "HsmClusterId": "x" }), "InvalidParameterValue.InvalidHsmClusterId"),
        (json!({ "TagFilters": vec![json!({ "TagKey": "k" }); 51] }), "InvalidParameter"),
        (json!({ "TagFilters": [{ "TagKey": "k", "TagValue": vec!["v"; 501] }] }), "InvalidParameter"),
        (json!({ "MemberAccounts": [{ "MemberUin": 1 }] }), "UnsupportedOperation.NotRoleOperation"),
    ] {
        assert_eq!(kms.err(&user, "ListDataKeyDetail", params.clone()).await, expected, "{params}");
    }
    // ListDataKeys leaves out what waits for its deletion.
    let page = kms.ok(&user, "ListDataKeys", json!({ "Offset": 1, "Limit": 2 })).await;
    let seen: Vec<_> = page["DataKeys"].as_array().unwrap().iter().map(|k| text(&k["DataKeyId"])).collect();
    assert_eq!((seen, &page["TotalCount"]), (vec![ids[3].clone(), ids[1].clone()], &json!(4)));
}

/// Paging over a list while data keys come and go: whatever was there all the time is seen.
#[tokio::test]
async fn paging_while_data_keys_come_and_go() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let cmk = kms.create(&user, "cmk").await;
    let mut stable = BTreeSet::new();
    for n in 0..25 {
        stable.insert(host(&kms, &user, &cmk, &format!("s-{n}")).await.0);
    }
    kms.clock.advance(Duration::from_secs(10));
    let (goes, _) = host(&kms, &user, &cmk, "goes").await;
    put_into(&kms, &user, &goes, "PendingDelete").await;
    let mut seen = BTreeSet::new();
    let mut offset = 0;
    loop {
        let page = kms.ok(&user, "ListDataKeyDetail", json!({ "Offset": offset, "Limit": 7, "OrderType": 1 })).await;
        let items = page["DataKeyMetadatas"].as_array().unwrap().clone();
        if items.is_empty() {
            break;
        }
        offset += items.len();
        seen.extend(items.iter().map(|m| text(&m["DataKeyId"])));
        kms.clock.advance(Duration::from_secs(1));
        if offset < 40 {
            // Newer ones come at the end of an ascending list.
            host(&kms, &user, &cmk, &format!("new-{offset}")).await;
        }
        if offset == 14 {
            kms.run_jobs().await;
            kms.pass_time(8 * DAY).await;
            assert_eq!(kms.err(&user, "DescribeDataKey", of(&goes)).await, NOT_FOUND);
        }
    }
    assert!(seen.is_superset(&stable));
    assert!(seen.len() > stable.len());
}

#[tokio::test]
async fn another_accounts_data_keys_do_not_exist() {
    let kms = Kms::start().await;
    let (alice, bob) = (kms.user().await, kms.user().await);
    let cmk = kms.create(&alice, "cmk").await;
    let (id, secret) = host(&kms, &alice, &cmk, "same").await;
    let bobs = kms.create(&bob, "cmk").await;
    host(&kms, &bob, &bobs, "same").await;
    for (action, extra) in [
        ("DescribeDataKey", json!({})),
        ("DescribeDataKeys", json!({})),
        ("EnableDataKey", json!({})),
        ("EnableDataKeys", json!({})),
        ("DisableDataKey", json!({})),
        ("DisableDataKeys", json!({})),
        ("UpdateDataKeyName", json!({ "DataKeyName": "stolen" })),
        ("UpdateDataKeyDescription", json!({ "Description": "stolen" })),
        ("ScheduleDataKeyDeletion", json!({ "PendingWindowInDays": 7 })),
        ("CancelDataKeyDeletion", json!({})),
        ("GetDataKeyPlaintext", json!({})),
        ("GetDataKeyCiphertextBlob", json!({})),
    ] {
        let params =
            |id: &str| with(&if action.ends_with('s') { json!({ "DataKeyIds": [id] }) } else { of(id) }, extra.clone());
        let mut answers = [
            kms.call(&bob, action, params(&id)).await,
            kms.call(&bob, action, params(UNKNOWN)).await,
            kms.call_in(&alice, SM4, action, params(&id)).await,
            // The id of a CMK is no id of a data key.
            kms.call(&alice, action, params(&cmk)).await,
        ];
        for answer in &mut answers {
            answer["RequestId"] = Value::Null;
            assert_eq!(code(answer), NOT_FOUND, "{action}");
        }
        assert_eq!(answers[0], answers[1], "{action}: a foreign data key looks like none");
        if !["GetDataKeyPlaintext"].contains(&action) {
            let member = with(&params(&id), json!({ "MemberAccount": { "MemberUin": 1 } }));
            assert_eq!(kms.err(&alice, action, member).await, "UnsupportedOperation.NotRoleOperation", "{action}");
        }
        let malformed = kms.err(&alice, action, params("x")).await;
        assert_eq!(malformed, "InvalidParameterValue.InvalidDataKeyId", "{action}");
    }
    assert_eq!(kms.err(&alice, "DescribeKey", json!({ "KeyId": id })).await, "ResourceUnavailable.CmkNotFound");
    assert_eq!(kms.ok(&bob, "ListDataKeyDetail", json!({ "SearchKeyAlias": id })).await["TotalCount"], 0);
    assert_eq!(kms.err(&bob, "ListDataKeyDetail", json!({ "KeyId": cmk })).await, "ResourceUnavailable.CmkNotFound");
    assert_eq!(kms.ok(&bob, "ListDataKeys", json!({})).await["TotalCount"], 1);
    let there = kms.call_in(&alice, SM4, "ListDataKeys", json!({})).await;
    assert_eq!(there["TotalCount"], 0);
    assert_eq!(plaintext(&kms, &alice, &id).await, secret);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_encrypted_to_the_caller() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let cmk = kms.create(&user, "cmk").await;
    let (id, secret) = host(&kms, &user, &cmk, "d").await;
    // A key pair of the service stands in for the caller's own.
    for (usage, algorithm, action) in [
        ("ASYMMETRIC_DECRYPT_RSA_2048", "RSAES_OAEP_SHA_256", "AsymmetricRsaDecrypt"),
        ("ASYMMETRIC_DECRYPT_SM2", "SM2_C1C3C2_ASN1", "AsymmetricSm2Decrypt"),
    ] {
        let made = kms.ok(&user, "CreateKey", json!({ "Alias": action, "KeyUsage": usage })).await;
        let pem = kms.ok(&user, "GetPublicKey", json!({ "KeyId": made["KeyId"] })).await["PublicKeyPem"].clone();
        let to = json!({ "EncryptionPublicKey": pem, "EncryptionAlgorithm": algorithm });
        let open = async |sealed: &Value| {
            let mut params = json!({ "KeyId": made["KeyId"], "Ciphertext": sealed });
            if action == "AsymmetricRsaDecrypt" {
                params["Algorithm"] = json!(algorithm);
            }
            text(&kms.ok(&user, action, params).await["Plaintext"])
        };
        let sealed = kms.ok(&user, "GetDataKeyPlaintext", with(&of(&id), to.clone())).await["Plaintext"].clone();
        assert_eq!(open(&sealed).await, secret, "{algorithm}");
        let params = json!({ "KeyId": cmk, "NumberOfBytes": 24, "IsHostedByKms": 1, "DataKeyName": action });
        let made = kms.ok(&user, "GenerateDataKey", with(&params, to.clone())).await;
        let kept = plaintext(&kms, &user, &text(&made["DataKeyId"])).await;
        assert_eq!(open(&made["Plaintext"]).await, kept);
        let wrong = with(&to, json!({ "EncryptionAlgorithm": "x" }));
        assert_eq!(kms.err(&user, "GetDataKeyPlaintext", with(&of(&id), wrong)).await, "InvalidParameter");
        if algorithm.starts_with("RSA") {
            // Too long for the caller's key: nothing is hosted.
            let long = json!({ "KeyId": cmk, "NumberOfBytes": 1024, "IsHostedByKms": 1, "DataKeyName": "long" });
            let refused = kms.err(&user, "GenerateDataKey", with(&long, to)).await;
            assert_eq!(refused, "FailedOperation.EncryptionError");
            assert_eq!(kms.ok(&user, "ListDataKeyDetail", json!({ "SearchKeyAlias": "long" })).await["TotalCount"], 0);
        }
    }
}

#[tokio::test]
async fn a_strict_region_reads_no_data_key_of_an_aes_cmk() {
    let mut kms = Kms::start_strict().await;
    let user = kms.user().await;
    let cmk = kms.create(&user, "cmk").await;
    let (id, secret) = host(&kms, &user, &cmk, "d").await;
    let made = kms.call_in(&user, STRICT, "CreateKey", json!({ "Alias": "k" })).await;
    let params = json!({ "KeyId": made["KeyId"], "NumberOfBytes": 16, "IsHostedByKms": 1, "DataKeyName": "d" });
    let hosted = kms.call_in(&user, STRICT, "GenerateDataKey", params).await;
    let read = kms.call_in(&user, STRICT, "GetDataKeyPlaintext", of(&text(&hosted["DataKeyId"]))).await;
    assert_eq!(read["Plaintext"], hosted["Plaintext"]);
    assert_eq!(plaintext(&kms, &user, &id).await, secret);
    kms.turn_strict(AES);
    let kms = kms.restart().await;
    let refused = "UnsupportedOperation.UnsupportedKeyUsageInCurrentRegion";
    assert_eq!(kms.err(&user, "GetDataKeyPlaintext", of(&id)).await, refused);
    let import = json!({ "KeyId": cmk, "DataKeyName": "i", "ImportType": 2, "ImportKeyMaterial": b64("x") });
    assert_eq!(kms.err(&user, "ImportDataKey", import).await, refused);
    // Managing it stays possible.
    put_into(&kms, &user, &id, "PendingDelete").await;
}

#[tokio::test]
async fn rows_cannot_be_exchanged() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let (x, y) = (kms.create(&user, "x").await, kms.create(&user, "y").await);
    let (a, _) = host(&kms, &user, &x, "a").await;
    let (b, secret) = host(&kms, &user, &x, "b").await;
    let (c, _) = host(&kms, &user, &x, "c").await;
    let sql = rusqlite::Connection::open(kms.dir.path().join("jadeseal.db")).unwrap();
    let row = |id: &str| {
        let bytes = jadeseal_types::KeyId::parse(id).unwrap();
        sql.query_row("SELECT id FROM data_key WHERE data_key_id = ?1", [bytes.as_bytes()], |r| r.get::<_, i64>(0))
            .unwrap()
    };
    let moved = "UPDATE data_key_material SET wrapped = (SELECT wrapped FROM data_key_material WHERE data_key = ?1) WHERE data_key = ?2";
    sql.execute(moved, [row(&b), row(&a)]).unwrap();
    let to_y = "UPDATE data_key SET cmk = (SELECT id FROM cmk WHERE key_id = ?1) WHERE id = ?2";
    sql.execute(to_y, rusqlite::params![jadeseal_types::KeyId::parse(&y).unwrap().as_bytes(), row(&c)]).unwrap();
    drop(sql);
    for id in [&a, &c] {
        for action in ["GetDataKeyPlaintext", "GetDataKeyCiphertextBlob"] {
            assert_eq!(kms.err(&user, action, of(id)).await, "InternalError");
        }
    }
    assert_eq!(plaintext(&kms, &user, &b).await, secret);
}

#[tokio::test]
async fn the_audit_log_names_data_keys_and_holds_no_secret() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let cmk = kms.create(&user, "cmk").await;
    let context = r#"{"purpose":"a-context-of-mine"}"#;
    let params = json!({
        "KeyId": cmk, "KeySpec": "AES_256", "IsHostedByKms": 1, "DataKeyName": "name-of-it",
        "Description": "text-of-it", "EncryptionContext": context,
    });
    let made = kms.ok(&user, "GenerateDataKey", params).await;
    let id = text(&made["DataKeyId"]);
    let mine = b64("material that is mine alone");
    let import = json!({ "KeyId": cmk, "DataKeyName": "i", "ImportType": 2, "ImportKeyMaterial": mine });
    let imported = kms.ok(&user, "ImportDataKey", import).await;
    let read = kms.ok(&user, "GetDataKeyPlaintext", of(&id)).await;
    let blob = kms.ok(&user, "GetDataKeyCiphertextBlob", of(&id)).await;
    let refused = kms.call(&user, "GetDataKeyPlaintext", of(UNKNOWN)).await;
    let audit = kms.audit();
    let record = |answer: &Value| {
        let of_it: Vec<_> = audit.lines().filter(|l| l.contains(answer["RequestId"].as_str().unwrap())).collect();
        assert_eq!(of_it.len(), 1, "one record for each request");
        of_it[0].to_owned()
    };
    for answer in [&made, &read] {
        assert!(record(answer).contains(&id) && record(answer).contains(&cmk), "{}", record(answer));
    }
    assert!(record(&imported).contains(imported["DataKeyId"].as_str().unwrap()));
    assert!(record(&blob).contains(&id));
    assert!(record(&refused).contains(UNKNOWN) && record(&refused).contains("DataKeyNotFound"));
    let blob = text(&made["CiphertextBlob"]);
    for secret in
        [&text(&made["Plaintext"]), &mine, &blob[..40], "mine alone", "a-context-of-mine", "name-of-it", "text-of-it"]
    {
        assert!(!audit.contains(secret), "{secret}");
    }
}
