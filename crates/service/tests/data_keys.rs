//! Hosted data keys through the whole service: making, import, every state, names, deletion, batches.

mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jadeseal_service::clock::Clock as _;
use serde_json::{Value, json};
use std::time::Duration;
use support::{AES, Kms, SM4, START, code, faults::Fault, hosted::*, keys::b64};

const DAY: Duration = Duration::from_secs(86_400);
const CMK_STATE: &str = "ResourceUnavailable.CmkStateNotSupport";
const NAME_TAKEN: &str = "InvalidParameterValue.DataKeyNameAlreadyExists";
const BAD_IMPORT: &str = "InvalidParameterValue.InvalidImportKeyMaterial";

#[tokio::test]
async fn a_hosted_data_key_is_what_was_generated() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    for (region, length) in [(AES, 1), (AES, 1024), (SM4, 16)] {
        let made = kms.call_in(&user, region, "CreateKey", json!({ "Alias": format!("cmk-{length}") })).await;
        let cmk = text(&made["KeyId"]);
        let context = r#"{"b":"2","a":"1"}"#;
        let params = json!({
            "KeyId": cmk, "NumberOfBytes": length, "IsHostedByKms": 1, "DataKeyName": format!("d-{length}"),
            "Description": "what for", "EncryptionContext": context,
        });
        let made = kms.call_in(&user, region, "GenerateDataKey", params).await;
        let id = text(&made["DataKeyId"]);
        assert_eq!((&made["TagCode"], &made["TagMsg"]), (&json!(0), &json!("")));
        // The context was remembered: reading takes none.
        let read = kms.call_in(&user, region, "GetDataKeyPlaintext", of(&id)).await;
        assert_eq!(read["Plaintext"], made["Plaintext"]);
        assert_eq!(STANDARD.decode(text(&read["Plaintext"])).unwrap().len(), length);
        let blob = kms.call_in(&user, region, "GetDataKeyCiphertextBlob", of(&id)).await;
        assert_eq!(blob["CiphertextBlob"], made["CiphertextBlob"]);
        let open = json!({ "CiphertextBlob": blob["CiphertextBlob"], "EncryptionContext": context });
        assert_eq!(kms.call_in(&user, region, "Decrypt", open).await["Plaintext"], made["Plaintext"]);

        let got = kms.call_in(&user, region, "DescribeDataKey", of(&id)).await["DataKeyMetadata"].clone();
        let uin = got["CreatorUin"].as_u64().unwrap();
        let wanted = json!({
            "DataKeyId": id, "KeyId": cmk, "KeyName": format!("cmk-{length}"), "DataKeyName": format!("d-{length}"),
            "NumberOfBytes": length, "CreateTime": START, "Description": "what for", "KeyState": "Enabled",
            "CreatorUin": uin, "Owner": "user", "DeletionDate": 0, "Origin": "TENCENT_KMS", "HsmClusterId": "",
            "ResourceId": format!("creatorUin/{uin}/{id}"), "CreatorUinString": uin.to_string(),
        });
        for (name, value) in wanted.as_object().unwrap() {
            assert_eq!(got[name], *value, "{name}");
        }
    }
    let status = kms.ok(&user, "GetServiceStatus", json!({})).await;
    assert_eq!((&status["IsAllowedDataKeyHosted"], &status["DataKeyUsedCount"]), (&json!(true), &json!(2)));
    assert_eq!(status["DataKeyLimit"], i32::MAX);
}

#[tokio::test]
async fn generating_and_importing_check_their_parameters() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let cmk = kms.create(&user, "cmk").await;
    let base = json!({ "KeyId": cmk, "KeySpec": "AES_256", "IsHostedByKms": 1, "DataKeyName": "d" });
    let tag = json!({ "TagKey": "k", "TagValue": "v" });
    for (more, expected) in [
        (json!({ "IsHostedByKms": 2 }), "InvalidParameter"),
        (json!({ "DataKeyName": "" }), "MissingParameter"),
        (json!({ "DataKeyName": null }), "MissingParameter"),
        (json!({ "DataKeyName": "kms-x" }), "InvalidParameterValue.InvalidDataKeyName"),
        (json!({ "DataKeyName": "a b" }), "InvalidParameterValue.InvalidDataKeyName"),
        (json!({ "DataKeyName": "x".repeat(61) }), "InvalidParameterValue.InvalidDataKeyName"),
        (json!({ "Description": "x".repeat(101) }), "InvalidParameter"),
        (json!({ "Tags": [tag, tag] }), "InvalidParameterValue.TagKeysDuplicated"),
        (json!({ "HsmClusterId": "cls-hsm-1" }), "InvalidParameterValue.InvalidHsmClusterId"),
        (json!({ "EncryptionPublicKey": "x" }), "InvalidParameter"),
    ] {
        let answer = kms.call(&user, "GenerateDataKey", with(&base, more.clone())).await;
        assert_eq!(code(&answer), expected, "{more}");
    }
    // Without hosting, what is about hosting has no effect.
    let plain = kms.ok(&user, "GenerateDataKey", with(&base, json!({ "IsHostedByKms": 0, "Tags": [tag] }))).await;
    for name in ["DataKeyId", "TagCode", "TagMsg"] {
        assert!(plain[name].is_null(), "{plain}");
    }
    assert_eq!(kms.ok(&user, "ListDataKeys", json!({})).await["TotalCount"], 0);

    let base = json!({ "DataKeyName": "i", "ImportKeyMaterial": b64("12345"), "ImportType": 2, "KeyId": cmk });
    let other = kms.create(&user, "other").await;
    let blob = text(&plain["CiphertextBlob"]);
    let mut tampered = STANDARD.decode(&blob).unwrap();
    *tampered.last_mut().unwrap() ^= 1;
    let in_context = json!({ "KeyId": cmk, "KeySpec": "AES_256", "EncryptionContext": r#"{"a":"1"}"# });
    let in_context = kms.ok(&user, "GenerateDataKey", in_context).await;
    let long = kms.encrypt(&user, &cmk, &b64([7; 1025])).await;
    for (more, expected) in [
        (json!({ "ImportType": 3 }), "InvalidParameterValue.InvalidType"),
        (json!({ "ImportType": 0 }), "InvalidParameterValue.InvalidType"),
        (json!({ "KeyId": null }), "MissingParameter"),
        (json!({ "KeyId": "" }), "MissingParameter"),
        (json!({ "KeyId": "x" }), "InvalidParameterValue.InvalidKeyId"),
        (json!({ "KeyId": UNKNOWN }), "ResourceUnavailable.CmkNotFound"),
        (json!({ "ImportKeyMaterial": "" }), "InvalidParameterValue.InvalidPlaintext"),
        (json!({ "ImportKeyMaterial": "!" }), "InvalidParameterValue.InvalidPlaintext"),
        (json!({ "ImportKeyMaterial": b64([1; 1025]) }), "InvalidParameterValue.InvalidPlaintext"),
        (json!({ "ImportKeyMaterial": b64([1; 5000]) }), "InvalidParameterValue.InvalidPlaintext"),
        (json!({ "DataKeyName": "" }), "InvalidParameterValue.InvalidDataKeyName"),
        (json!({ "Description": "x".repeat(101) }), "InvalidParameter"),
        (json!({ "Tags": [tag, tag] }), "InvalidParameterValue.TagKeysDuplicated"),
        (json!({ "HsmClusterId": "cls-hsm-1" }), "InvalidParameterValue.InvalidHsmClusterId"),
        (json!({ "ImportType": 1 }), BAD_IMPORT),
        (json!({ "ImportType": 1, "ImportKeyMaterial": "!" }), BAD_IMPORT),
        (json!({ "ImportType": 1, "ImportKeyMaterial": b64(&tampered) }), BAD_IMPORT),
        (json!({ "ImportType": 1, "ImportKeyMaterial": blob, "KeyId": other }), BAD_IMPORT),
        (json!({ "ImportType": 1, "ImportKeyMaterial": in_context["CiphertextBlob"] }), BAD_IMPORT),
        (json!({ "ImportType": 1, "ImportKeyMaterial": long }), BAD_IMPORT),
    ] {
        let answer = kms.call(&user, "ImportDataKey", with(&base, more.clone())).await;
        assert_eq!(code(&answer), expected, "{more}");
    }
    assert_eq!(kms.ok(&user, "ListDataKeys", json!({})).await["TotalCount"], 0, "no refusal left anything");
}

#[tokio::test]
async fn data_keys_of_both_kinds_are_imported() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let cmk = kms.create(&user, "cmk").await;
    let made = kms.ok(&user, "GenerateDataKey", json!({ "KeyId": cmk, "NumberOfBytes": 48 })).await;
    for (name, key_id) in [("a", json!(null)), ("b", json!("")), ("c", json!(cmk))] {
        let params = json!({
            "DataKeyName": name, "ImportKeyMaterial": made["CiphertextBlob"], "ImportType": "1", "KeyId": key_id,
        });
        let done = kms.ok(&user, "ImportDataKey", params).await;
        assert_eq!((&done["KeyId"], &done["TagCode"]), (&json!(cmk), &json!(0)));
        let id = text(&done["DataKeyId"]);
        assert_eq!(plaintext(&kms, &user, &id).await, text(&made["Plaintext"]));
        let blob = kms.ok(&user, "GetDataKeyCiphertextBlob", of(&id)).await;
        assert_eq!(blob["CiphertextBlob"], made["CiphertextBlob"]);
        let meta = metadata(&kms, &user, &id).await;
        assert_eq!((&meta["NumberOfBytes"], &meta["Origin"]), (&json!(48), &json!("EXTERNAL")));
    }
    for length in [1, 5, 1024] {
        let given = b64(vec![9; length]);
        let params = json!({
            "DataKeyName": format!("p-{length}"), "ImportKeyMaterial": given, "ImportType": 2, "KeyId": cmk,
            "Description": "mine",
        });
        let id = text(&kms.ok(&user, "ImportDataKey", params.clone()).await["DataKeyId"]);
        assert_eq!(plaintext(&kms, &user, &id).await, given);
        let blob = kms.ok(&user, "GetDataKeyCiphertextBlob", of(&id)).await;
        let opened = kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob["CiphertextBlob"] })).await;
        assert_eq!(opened["Plaintext"], given);
        let meta = metadata(&kms, &user, &id).await;
        assert_eq!((&meta["Description"], &meta["Origin"]), (&json!("mine"), &json!("EXTERNAL")));
        assert_eq!(kms.err(&user, "ImportDataKey", params).await, NAME_TAKEN);
    }
    // A blob of another account or region looks like a broken one.
    let bob = kms.user().await;
    let foreign = json!({ "DataKeyName": "f", "ImportKeyMaterial": made["CiphertextBlob"], "ImportType": 1 });
    assert_eq!(kms.err(&bob, "ImportDataKey", foreign.clone()).await, BAD_IMPORT);
    assert_eq!(code(&kms.call_in(&user, SM4, "ImportDataKey", foreign).await), BAD_IMPORT);
}

/// Every action in every state of the data key, and of its CMK.
#[tokio::test]
async fn every_action_in_every_state() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let ok = "";
    let not_pending = "ResourceUnavailable.DataKeyNotPendingDelete";
    // Outcome in Enabled, Disabled, PendingDelete with an enabled CMK.
    let table = [
        ("DescribeDataKey", json!({}), [ok, ok, ok]),
        ("DescribeDataKeys", json!({}), [ok, ok, ok]),
        ("EnableDataKey", json!({}), [ok, ok, STATE]),
        ("EnableDataKeys", json!({}), [ok, ok, STATE]),
        ("DisableDataKey", json!({}), [ok, ok, STATE]),
        ("DisableDataKeys", json!({}), [ok, ok, STATE]),
        ("UpdateDataKeyName", json!({ "DataKeyName": "same" }), [ok, ok, STATE]),
        ("UpdateDataKeyDescription", json!({ "Description": "new" }), [ok, ok, STATE]),
        ("ScheduleDataKeyDeletion", json!({ "PendingWindowInDays": 30 }), [STATE, ok, STATE]),
        ("CancelDataKeyDeletion", json!({}), [not_pending, not_pending, ok]),
        (
            "GetDataKeyPlaintext",
            json!({}),
            [ok, "ResourceUnavailable.DataKeyDisabled", "ResourceUnavailable.DataKeyPendingDelete"],
        ),
        ("GetDataKeyCiphertextBlob", json!({}), [ok, STATE, STATE]),
    ];
    // State of the CMK, how it gets there, and what reading says.
    let (disable, window) = (("DisableKey", json!({})), json!({ "PendingWindowInDays": 7 }));
    let cmk_states = [
        ("Enabled", vec![], ok),
        ("Archived", vec![("ArchiveKey", json!({}))], ok),
        ("Disabled", vec![disable.clone()], "ResourceUnavailable.CmkDisabled"),
        ("PendingDelete", vec![disable, ("ScheduleKeyDeletion", window)], "ResourceUnavailable.CmkDisabled"),
    ];
    let mut names = 0;
    for (cmk_state, steps, reading) in cmk_states {
        for (action, more, outcomes) in &table {
            for (state, outcome) in ["Enabled", "Disabled", "PendingDelete"].into_iter().zip(outcomes) {
                names += 1;
                let cmk = kms.create(&user, &format!("cmk-{names}")).await;
                let (id, _) = host(&kms, &user, &cmk, &format!("d-{names}")).await;
                put_into(&kms, &user, &id, state).await;
                for (step, params) in &steps {
                    kms.ok(&user, step, with(params, json!({ "KeyId": cmk }))).await;
                }
                let mut params =
                    with(&if action.ends_with('s') { json!({ "DataKeyIds": [id] }) } else { of(&id) }, more.clone());
                if *action == "UpdateDataKeyName" {
                    params["DataKeyName"] = json!(format!("r-{names}"));
                }
                let needs_cmk = ["EnableDataKey", "EnableDataKeys", "CancelDataKeyDeletion"].contains(action);
                let wanted = match (*outcome, *action) {
                    ("", "GetDataKeyPlaintext") => reading,
                    ("", _) if needs_cmk && cmk_state != "Enabled" => CMK_STATE,
                    (outcome, _) => outcome,
                };
                let before = metadata(&kms, &user, &id).await;
                let answer = kms.call(&user, action, params).await;
                let got = answer["Error"]["Code"].as_str().unwrap_or(ok);
                assert_eq!(got, wanted, "{action} in {state}, CMK {cmk_state}: {answer}");
                let after = metadata(&kms, &user, &id).await;
                if got != ok {
                    assert_eq!(after, before, "{action}: a refused call changes nothing");
                }
                let target = match (*action, got) {
                    ("EnableDataKey" | "EnableDataKeys", "") => "Enabled",
                    ("DisableDataKey" | "DisableDataKeys" | "CancelDataKeyDeletion", "") => "Disabled",
                    ("ScheduleDataKeyDeletion", "") => "PendingDelete",
                    _ => state,
                };
                assert_eq!(after["KeyState"], target, "{action} in {state}, CMK {cmk_state}");
                let date = match (*action, target) {
                    ("ScheduleDataKeyDeletion", "PendingDelete") if got == ok => START + 30 * 86_400,
                    (_, "PendingDelete") => START + 7 * 86_400,
                    _ => 0,
                };
                assert_eq!(after["DeletionDate"], date, "{action} in {state}");
            }
        }
    }
}

/// What the state of the CMK allows of making and importing.
#[tokio::test]
async fn new_data_keys_need_an_enabled_cmk() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let states: [(&str, &[&str], [&str; 2]); 4] = [
        ("", &["ArchiveKey"], ["CmkArchived"; 2]),
        ("", &["DisableKey"], ["CmkDisabled"; 2]),
        ("", &["DisableKey", "ScheduleKeyDeletion"], ["KeyPendingDelete"; 2]),
        ("external", &[], ["CmkDisabled", "CmkStateNotSupport"]),
    ];
    for (n, (kind, steps, codes)) in states.into_iter().enumerate() {
        let external = kind == "external";
        let params = json!({ "Alias": format!("k-{n}"), "Type": if external { 2 } else { 1 } });
        let cmk = text(&kms.ok(&user, "CreateKey", params).await["KeyId"]);
        let blob = match external {
            true => Value::Null,
            false => {
                kms.ok(&user, "GenerateDataKey", json!({ "KeyId": cmk, "NumberOfBytes": 8 })).await["CiphertextBlob"]
                    .clone()
            }
        };
        for step in steps {
            kms.ok(
                &user,
                step,
                if *step == "ScheduleKeyDeletion" {
                    json!({ "KeyId": cmk, "PendingWindowInDays": 7 })
                } else {
                    json!({ "KeyId": cmk })
                },
            )
            .await;
        }
        let generate = json!({ "KeyId": cmk, "NumberOfBytes": 8, "IsHostedByKms": 1, "DataKeyName": "d" });
        let import = json!({ "KeyId": cmk, "DataKeyName": "d", "ImportType": 2, "ImportKeyMaterial": b64("x") });
        assert_eq!(kms.err(&user, "GenerateDataKey", generate).await, format!("ResourceUnavailable.{}", codes[0]));
        assert_eq!(kms.err(&user, "ImportDataKey", import).await, format!("ResourceUnavailable.{}", codes[1]));
        if !external {
            let import = json!({ "DataKeyName": "d", "ImportType": 1, "ImportKeyMaterial": blob });
            assert_eq!(kms.err(&user, "ImportDataKey", import).await, format!("ResourceUnavailable.{}", codes[1]));
        }
    }
    let signing = json!({ "Alias": "s", "KeyUsage": "ASYMMETRIC_SIGN_VERIFY_ECC" });
    let signing = text(&kms.ok(&user, "CreateKey", signing).await["KeyId"]);
    let usage = "InvalidParameterValue.InvalidKeyUsage";
    let generate = json!({ "KeyId": signing, "NumberOfBytes": 8, "IsHostedByKms": 1, "DataKeyName": "d" });
    assert_eq!(kms.err(&user, "GenerateDataKey", generate).await, usage);
    // A ciphertext that names such a key is a wrong ciphertext like any other.
    let id = jadeseal_types::KeyId::parse(&signing).unwrap();
    let forged = [b"JS\x01\x01", &id.as_bytes()[..], &[0; 4], &[7; 100]].concat();
    let forged = json!({ "DataKeyName": "d", "ImportType": 1, "ImportKeyMaterial": b64(forged) });
    assert_eq!(kms.err(&user, "ImportDataKey", forged).await, BAD_IMPORT);
    let import = json!({ "KeyId": signing, "DataKeyName": "d", "ImportType": 2, "ImportKeyMaterial": b64("x") });
    assert_eq!(kms.err(&user, "ImportDataKey", import).await, usage);
}

#[tokio::test]
async fn rotation_restarts_and_a_new_root_key_leave_data_keys_readable() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let cmk = kms.create(&user, "cmk").await;
    let (id, secret) = host(&kms, &user, &cmk, "d").await;
    kms.ok(&user, "EnableKeyRotation", json!({ "KeyId": cmk })).await;
    kms.ok(&user, "RotateKey", json!({ "KeyId": cmk })).await;
    let (newer, newer_secret) = host(&kms, &user, &cmk, "d2").await;
    kms = kms.restart().await;
    assert_eq!(plaintext(&kms, &user, &id).await, secret);
    let source = jadeseal_root::SealSource::File { path: kms.dir.path().join("root.key") };
    jadeseal_service::rekey::rekey(kms.store.as_ref(), &source, None, None, kms.clock.as_ref()).await.unwrap();
    kms = kms.restart().await;
    assert_eq!(plaintext(&kms, &user, &id).await, secret);
    assert_eq!(plaintext(&kms, &user, &newer).await, newer_secret);
    for (id, secret) in [(&id, &secret), (&newer, &newer_secret)] {
        let blob = kms.ok(&user, "GetDataKeyCiphertextBlob", of(id)).await;
        let opened = kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob["CiphertextBlob"] })).await;
        assert_eq!(opened["Plaintext"], **secret);
    }
}

#[tokio::test]
async fn names_are_unique_until_the_end() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let cmk = kms.create(&user, "cmk").await;
    let (a, _) = host(&kms, &user, &cmk, "a").await;
    let (b, _) = host(&kms, &user, &cmk, "b").await;
    host(&kms, &user, &cmk, "cmk").await;
    let rename = |id: &str, name: &str| with(&of(id), json!({ "DataKeyName": name }));
    let generate = |name: &str| json!({ "KeyId": cmk, "NumberOfBytes": 8, "IsHostedByKms": 1, "DataKeyName": name });
    for (action, params) in [("UpdateDataKeyName", rename(&b, "a")), ("GenerateDataKey", generate("a"))] {
        assert_eq!(kms.err(&user, action, params).await, NAME_TAKEN, "{action}");
    }
    for bad in ["", "_x", "kms-a", "键"] {
        assert_eq!(
            kms.err(&user, "UpdateDataKeyName", rename(&b, bad)).await,
            "InvalidParameterValue.InvalidDataKeyName"
        );
    }
    kms.ok(&user, "UpdateDataKeyName", rename(&a, "a")).await;
    kms.ok(&user, "UpdateDataKeyName", rename(&a, "A")).await;
    kms.ok(&user, "UpdateDataKeyName", rename(&b, "a")).await;
    put_into(&kms, &user, &b, "PendingDelete").await;
    kms.run_jobs().await;
    kms.pass_time(DAY).await;
    assert_eq!(kms.err(&user, "GenerateDataKey", generate("a")).await, NAME_TAKEN);
    kms.pass_time(7 * DAY).await;
    assert_eq!(kms.err(&user, "DescribeDataKey", of(&b)).await, NOT_FOUND);
    kms.ok(&user, "GenerateDataKey", generate("a")).await;
    // The alias of the CMK shows at once.
    kms.ok(&user, "UpdateAlias", json!({ "KeyId": cmk, "Alias": "renamed" })).await;
    assert_eq!(metadata(&kms, &user, &a).await["KeyName"], "renamed");
}

#[tokio::test]
async fn deletion_waits_for_its_date_and_a_steady_clock() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let cmk = kms.create(&user, "cmk").await;
    let (id, _) = host(&kms, &user, &cmk, "d").await;
    kms.ok(&user, "DisableDataKey", of(&id)).await;
    let schedule = |days: u64| with(&of(&id), json!({ "PendingWindowInDays": days }));
    for days in [0, 6, 31] {
        assert_eq!(
            kms.err(&user, "ScheduleDataKeyDeletion", schedule(days)).await,
            "InvalidParameter.InvalidPendingWindowInDays"
        );
    }
    let done = kms.ok(&user, "ScheduleDataKeyDeletion", schedule(7)).await;
    assert_eq!((&done["DeletionDate"], &done["DataKeyId"]), (&json!(START + 7 * 86_400), &json!(id)));
    let used = async |kms: &Kms| kms.ok(&user, "GetServiceStatus", json!({})).await["DataKeyUsedCount"].clone();
    assert_eq!(used(&kms).await, 0);
    kms.run_jobs().await;
    kms.clock.advance(Duration::from_secs(700));
    kms.run_jobs().await;
    // A clock that is set a year ahead destroys nothing at once.
    kms.clock.jump_to(START + 365 * 86_400);
    kms.run_jobs().await;
    assert_eq!(metadata(&kms, &user, &id).await["KeyState"], "PendingDelete");
    kms.clock.jump_to(START + 2_000);
    kms.run_jobs().await;
    assert_eq!(kms.ok(&user, "CancelDataKeyDeletion", of(&id)).await["DataKeyId"], id);
    assert_eq!(used(&kms).await, 1);
    kms.ok(&user, "ScheduleDataKeyDeletion", schedule(7)).await;
    let date = metadata(&kms, &user, &id).await["DeletionDate"].as_u64().unwrap();
    kms.run_jobs().await;
    kms.pass_time(Duration::from_secs(date - kms.clock.now() - 1)).await;
    assert_eq!(metadata(&kms, &user, &id).await["KeyState"], "PendingDelete");
    // A job that fails leaves its work to the next pass.
    kms.clock.advance(Duration::from_secs(1));
    kms.faults.next_commit(Fault::Refused);
    kms.run_jobs().await;
    assert_eq!(metadata(&kms, &user, &id).await["KeyState"], "PendingDelete");
    kms.run_jobs().await;
    assert_eq!(kms.err(&user, "DescribeDataKey", of(&id)).await, NOT_FOUND);
    let audit = kms.audit();
    let record = audit.lines().find(|line| line.contains(r#""action":"DeleteDataKeyAtDate""#)).unwrap();
    assert!(record.contains(&id) && record.contains(r#""principal":"service""#), "{record}");
}

#[tokio::test]
async fn data_keys_end_with_their_cmk() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let (cmk, other) = (kms.create(&user, "cmk").await, kms.create(&user, "other").await);
    let mut doomed = Vec::new();
    for n in 0..3 {
        doomed.push(host(&kms, &user, &cmk, &format!("d-{n}")).await.0);
    }
    let (kept, secret) = host(&kms, &user, &other, "kept").await;
    kms.ok(&user, "DisableKey", json!({ "KeyId": cmk })).await;
    kms.ok(&user, "ScheduleKeyDeletion", json!({ "KeyId": cmk, "PendingWindowInDays": 7 })).await;
    kms.run_jobs().await;
    kms.pass_time(8 * DAY).await;
    for id in &doomed {
        for action in ["DescribeDataKey", "GetDataKeyPlaintext", "EnableDataKey"] {
            assert_eq!(kms.err(&user, action, of(id)).await, NOT_FOUND, "{action}");
        }
    }
    assert_eq!(kms.ok(&user, "ListDataKeyDetail", json!({})).await["TotalCount"], 1);
    assert_eq!(plaintext(&kms, &user, &kept).await, secret);
    host(&kms, &user, &other, "d-0").await;
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let cmk = kms.create(&user, "cmk").await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(host(&kms, &user, &cmk, &format!("d-{n}")).await.0);
    }
    put_into(&kms, &user, &ids[1], "PendingDelete").await;
    let batch = |ids: &[&str]| json!({ "DataKeyIds": ids });
    let [a, b, c] = [&*ids[0], &*ids[1], &*ids[2]];
    for action in ["EnableDataKeys", "DisableDataKeys"] {
        assert_eq!(kms.err(&user, action, batch(&[a, b, c])).await, STATE);
        assert_eq!(metadata(&kms, &user, a).await["KeyState"], "Enabled");
    }
    for action in ["EnableDataKeys", "DisableDataKeys", "DescribeDataKeys"] {
        assert_eq!(kms.err(&user, action, batch(&[a, a])).await, "InvalidParameterValue.DuplicatedDataKeyId");
        assert_eq!(kms.err(&user, action, batch(&[a, UNKNOWN])).await, NOT_FOUND);
        assert_eq!(kms.err(&user, action, batch(&[a, "x"])).await, "InvalidParameterValue.InvalidDataKeyId");
        assert_eq!(kms.err(&user, action, batch(&[])).await, "InvalidParameterValue");
        assert_eq!(kms.err(&user, action, batch(&[a; 101])).await, "InvalidParameterValue");
    }
    kms.ok(&user, "DisableDataKeys", batch(&[c, a])).await;
    let described = kms.ok(&user, "DescribeDataKeys", batch(&[c, b, a])).await;
    let seen: Vec<_> =
        described["DataKeyMetadatas"].as_array().unwrap().iter().map(|m| text(&m["DataKeyId"])).collect();
    assert_eq!(seen, [c, b, a]);
    kms.ok(&user, "DisableKey", json!({ "KeyId": cmk })).await;
    assert_eq!(kms.err(&user, "EnableDataKeys", batch(&[a, c])).await, CMK_STATE);
    kms.ok(&user, "EnableKey", json!({ "KeyId": cmk })).await;
    // Somebody else was faster, it seems: tried again.
    kms.faults.next_commit(Fault::Conflict);
    kms.ok(&user, "EnableDataKeys", batch(&[a, c])).await;
    assert_eq!(metadata(&kms, &user, c).await["KeyState"], "Enabled");
    kms.faults.next_commit(Fault::AnswerLost);
    assert_eq!(kms.err(&user, "DisableDataKey", of(a)).await, "InternalError");
    assert_eq!(metadata(&kms, &user, a).await["KeyState"], "Disabled", "nothing is remembered that says otherwise");
    // A data key whose commit fails does not exist.
    kms.faults.next_commit(Fault::Refused);
    let params = json!({ "KeyId": cmk, "NumberOfBytes": 8, "IsHostedByKms": 1, "DataKeyName": "late" });
    assert_eq!(kms.err(&user, "GenerateDataKey", params.clone()).await, "InternalError");
    kms.ok(&user, "GenerateDataKey", params).await;
}
