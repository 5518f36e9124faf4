//! Asymmetric and post-quantum keys through the whole service: usages, states, regions.

mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jadeseal_types::KeyId;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use support::{
    AES, INTL, Kms, SM4, STRICT, User, code,
    keys::{MESSAGE, b64, create, encrypt, pem_of},
};

/// Usage, algorithms for SignByAsymmetricKey and length of their digest.
const SIGNING: &[(&str, &[&str], usize)] = &[
    ("ASYMMETRIC_SIGN_VERIFY_RSA_2048", &["RSA_PSS_SHA_256", "RSA_PKCS1_SHA_256"], 32),
    ("ASYMMETRIC_SIGN_VERIFY_SM2", &["SM2DSA", "SM2DSA_ASN1", "SM2DSA_RAW"], 32),
    ("ASYMMETRIC_SIGN_VERIFY_ECC", &["ECC_P256_R1"], 32),
    ("ASYMMETRIC_SIGN_VERIFY_ECDSA384", &["ECC_P384_R1"], 48),
];

const USAGES: &[&str] = &[
    "ENCRYPT_DECRYPT",
    "ASYMMETRIC_DECRYPT_RSA_2048",
    "ASYMMETRIC_DECRYPT_SM2",
    "ASYMMETRIC_DECRYPT_KYBER_AES",
    "ASYMMETRIC_SIGN_VERIFY_RSA_2048",
    "ASYMMETRIC_SIGN_VERIFY_SM2",
    "ASYMMETRIC_SIGN_VERIFY_ECC",
    "ASYMMETRIC_SIGN_VERIFY_ECDSA384",
    "ASYMMETRIC_SIGN_VERIFY_DILITHIUM",
];

#[tokio::test(flavor = "multi_thread")]
async fn regions_make_the_keys_that_they_list() {
    let kms = Kms::start_strict().await;
    let user = kms.user().await;
    let all: BTreeSet<&str> = USAGES.iter().copied().collect();
    let gm = BTreeSet::from(["ENCRYPT_DECRYPT", "ASYMMETRIC_DECRYPT_SM2", "ASYMMETRIC_SIGN_VERIFY_SM2"]);
    let not_gm: BTreeSet<&str> = all.iter().copied().filter(|u| !u.ends_with("SM2")).collect();
    for (region, offered, edition) in [(AES, &all, 2), (INTL, &not_gm, 2), (SM4, &gm, 4), (STRICT, &gm, 4)] {
        let listed = kms.call_in(&user, region, "ListAlgorithms", json!({})).await;
        let lists = ["SymmetricAlgorithms", "AsymmetricAlgorithms", "AsymmetricSignVerifyAlgorithms"];
        let listed = lists.iter().flat_map(|l| listed[*l].as_array().unwrap().clone());
        let listed: BTreeMap<String, String> = listed
            .map(|a| (a["KeyUsage"].as_str().unwrap().to_owned(), a["Algorithm"].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(listed.keys().map(String::as_str).collect::<BTreeSet<_>>(), *offered, "{region}");
        assert_eq!(listed["ENCRYPT_DECRYPT"], if edition == 4 { "SM4" } else { "AES_256" });
        for usage in USAGES {
            let params = json!({ "Alias": usage.to_lowercase(), "KeyUsage": usage });
            let made = kms.call_in(&user, region, "CreateKey", params).await;
            if !offered.contains(usage) {
                assert_eq!(code(&made), "UnsupportedOperation.UnsupportedKeyUsageInCurrentRegion", "{region} {usage}");
                continue;
            }
            let described = kms.call_in(&user, region, "DescribeKey", json!({ "KeyId": made["KeyId"] })).await;
            assert_eq!(described["KeyMetadata"]["KeyUsage"], **usage);
            assert_eq!(described["KeyMetadata"]["Type"], edition, "{region} {usage}");
        }
    }
    // No region has a key of another one.
    let params = json!({ "KeyUsage": "ALL", "Limit": 200 });
    let listed = kms.call_in(&user, SM4, "ListKeyDetail", params).await;
    assert_eq!(listed["TotalCount"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_of_every_algorithm_verify() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    for (usage, algorithms, digest_len) in SIGNING {
        let key = create(&kms, &user, usage).await;
        for algorithm in *algorithms {
            for (kind, message) in [("RAW", MESSAGE.to_vec()), ("DIGEST", vec![7; *digest_len])] {
                let base =
                    json!({ "KeyId": key, "Algorithm": algorithm, "MessageType": kind, "Message": b64(&message) });
                let with = |name: &str, value: Value| {
                    let mut params = base.clone();
                    params[name] = value;
                    params
                };
                let signed = kms.ok(&user, "SignByAsymmetricKey", base.clone()).await;
                let signature = signed["Signature"].as_str().unwrap();
                let verify = async |params: Value| {
                    kms.ok(&user, "VerifyByAsymmetricKey", params).await["SignatureValid"].as_bool().unwrap()
                };
                assert!(verify(with("SignatureValue", signature.into())).await, "{algorithm} {kind}");
                let mut other = message.clone();
                other[0] ^= 1;
                let mut changed = with("SignatureValue", signature.into());
                changed["Message"] = b64(&other).into();
                assert!(!verify(changed).await, "{algorithm} {kind}");
                let mut bad = STANDARD.decode(signature).unwrap();
                let middle = bad.len() / 2;
                bad[middle] ^= 1;
                for malformed in [b64(&bad), b64(b"x"), b64([0; 64]), String::new()] {
                    assert!(!verify(with("SignatureValue", malformed.into())).await, "{algorithm} {kind}");
                }
                let no_base64 = with("SignatureValue", "!".into());
                assert_eq!(kms.err(&user, "VerifyByAsymmetricKey", no_base64).await, "InvalidParameterValue");
            }
            let sign = |kind: &str, message: &[u8]| json!({ "KeyId": key, "Algorithm": algorithm, "MessageType": kind, "Message": b64(message) });
            for (kind, length, fine) in [
                ("RAW", 1, true),
                ("RAW", 4096, true),
                ("", 4096, true),
                ("RAW", 4097, false),
                ("RAW", 0, false),
                ("DIGEST", digest_len - 1, false),
                ("DIGEST", digest_len + 1, false),
                ("digest", *digest_len, false),
            ] {
                let answer = kms.call(&user, "SignByAsymmetricKey", sign(kind, &vec![1; length])).await;
                match fine {
                    true => assert!(answer["Signature"].is_string(), "{algorithm} {kind} {length}: {answer}"),
                    false => assert_eq!(code(&answer), "InvalidParameter", "{algorithm} {kind} {length}"),
                }
            }
        }
        // Every algorithm of another key, and one that does not exist.
        let foreign = SIGNING.iter().filter(|(u, _, _)| u != usage).flat_map(|(_, algorithms, _)| *algorithms);
        for algorithm in foreign.chain(&["RSA_PSS_SHA_512", "sm2dsa", ""]) {
            let params = json!({ "KeyId": key, "Algorithm": algorithm, "Message": b64(MESSAGE) });
            assert_eq!(kms.err(&user, "SignByAsymmetricKey", params).await, "InvalidParameter", "{usage} {algorithm}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn elliptic_curve_signatures_may_come_raw() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let key = create(&kms, &user, "ASYMMETRIC_SIGN_VERIFY_SM2").await;
    let sign = |algorithm: &str| json!({ "KeyId": key, "Algorithm": algorithm, "Message": b64(MESSAGE) });
    let raw = kms.ok(&user, "SignByAsymmetricKey", sign("SM2DSA_RAW")).await;
    assert_eq!(STANDARD.decode(raw["Signature"].as_str().unwrap()).unwrap().len(), 64);
    for algorithm in ["SM2DSA", "SM2DSA_ASN1", "SM2DSA_RAW"] {
        let mut params = sign(algorithm);
        params["SignatureValue"] = raw["Signature"].clone();
        assert_eq!(kms.ok(&user, "VerifyByAsymmetricKey", params).await["SignatureValid"], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ciphertext_of_clients_is_decrypted() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let rsa = create(&kms, &user, "ASYMMETRIC_DECRYPT_RSA_2048").await;
    let pem = pem_of(&kms, &user, &rsa).await;
    for algorithm in ["RSAES_PKCS1_V1_5", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"] {
        let sealed = encrypt(&pem, algorithm, b"secret");
        let open = |ciphertext: &[u8]| json!({ "KeyId": rsa, "Ciphertext": b64(ciphertext), "Algorithm": algorithm });
        let opened = kms.ok(&user, "AsymmetricRsaDecrypt", open(&sealed)).await;
        assert_eq!((opened["Plaintext"].as_str(), opened["KeyId"].as_str()), (Some(&*b64("secret")), Some(&*rsa)));
        let mut tampered = sealed.clone();
        tampered[100] ^= 1;
        let answer = kms.call(&user, "AsymmetricRsaDecrypt", open(&tampered)).await;
        if algorithm == "RSAES_PKCS1_V1_5" {
            // No oracle: some bytes, the same each time.
            assert_eq!(answer["Plaintext"], kms.ok(&user, "AsymmetricRsaDecrypt", open(&tampered)).await["Plaintext"]);
            assert_ne!(answer["Plaintext"], *b64("secret"));
        } else {
            assert_eq!(code(&answer), "FailedOperation.DecryptError");
        }
        for wrong in [&sealed[1..], &[&sealed[..], &[0]].concat(), &[0xff; 256], b""] {
            let answer = kms.call(&user, "AsymmetricRsaDecrypt", open(wrong)).await;
            assert_eq!(code(&answer), "FailedOperation.DecryptError", "{algorithm} {}", wrong.len());
        }
    }
    let unknown = json!({ "KeyId": rsa, "Ciphertext": b64([1; 256]), "Algorithm": "RSAES_OAEP_SHA_512" });
    assert_eq!(kms.err(&user, "AsymmetricRsaDecrypt", unknown).await, "InvalidParameter");

    let sm2 = create(&kms, &user, "ASYMMETRIC_DECRYPT_SM2").await;
    let pem = pem_of(&kms, &user, &sm2).await;
    let sealed = encrypt(&pem, "SM2_C1C3C2_ASN1", b"secret");
    let open = |ciphertext: &[u8]| json!({ "KeyId": sm2, "Ciphertext": b64(ciphertext) });
    let opened = kms.ok(&user, "AsymmetricSm2Decrypt", open(&sealed)).await;
    assert_eq!(opened["Plaintext"].as_str(), Some(&*b64("secret")));
    for at in [10, 50, 90, sealed.len() - 1] {
        let mut tampered = sealed.clone();
        tampered[at] ^= 1;
        assert_eq!(kms.err(&user, "AsymmetricSm2Decrypt", open(&tampered)).await, "FailedOperation.DecryptError");
    }
    for wrong in [&[][..], &[1; 257]] {
        assert_eq!(kms.err(&user, "AsymmetricSm2Decrypt", open(wrong)).await, "InvalidParameter");
    }
    let elsewhere = kms.call_in(&user, INTL, "AsymmetricSm2Decrypt", open(&sealed)).await;
    assert_eq!(code(&elsewhere), "UnsupportedOperation.UnsupportedKeyUsageInCurrentRegion");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_encrypted_to_public_keys_of_callers() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    // The caller's keys are CMKs here, so that the service can decrypt for him.
    let (sm2, rsa) =
        (create(&kms, &user, "ASYMMETRIC_DECRYPT_SM2").await, create(&kms, &user, "ASYMMETRIC_DECRYPT_RSA_2048").await);
    let (sm2_pem, rsa_pem) = (pem_of(&kms, &user, &sm2).await, pem_of(&kms, &user, &rsa).await);
    let key = kms.create(&user, "symmetric").await;
    let kyber = create(&kms, &user, "ASYMMETRIC_DECRYPT_KYBER_AES").await;
    let blob = kms.encrypt(&user, &key, &b64("secret")).await;
    let pq = json!({ "KeyId": kyber, "PlainText": b64("secret") });
    let pq_blob = kms.ok(&user, "PostQuantumCryptoEncrypt", pq).await["CiphertextBlob"].clone();
    for (algorithm, pem) in [
        ("SM2_C1C3C2_ASN1", &sm2_pem),
        ("RSAES_PKCS1_V1_5", &rsa_pem),
        ("RSAES_OAEP_SHA_1", &rsa_pem),
        ("RSAES_OAEP_SHA_256", &rsa_pem),
    ] {
        let to = json!({ "EncryptionPublicKey": pem, "EncryptionAlgorithm": algorithm });
        let with = |params: Value| {
            let mut params = params;
            params.as_object_mut().unwrap().extend(to.as_object().unwrap().clone());
            params
        };
        for (action, params, member) in [
            ("Decrypt", json!({ "CiphertextBlob": blob }), "Plaintext"),
            ("PostQuantumCryptoDecrypt", json!({ "CiphertextBlob": pq_blob }), "PlainText"),
            ("GenerateDataKey", json!({ "KeyId": key, "NumberOfBytes": 6 }), "Plaintext"),
        ] {
            let answer = kms.ok(&user, action, with(params)).await;
            let opened = match algorithm.starts_with("SM2") {
                true => {
                    kms.ok(&user, "AsymmetricSm2Decrypt", json!({ "KeyId": sm2, "Ciphertext": answer[member] })).await
                }
                false => {
                    let params = json!({ "KeyId": rsa, "Ciphertext": answer[member], "Algorithm": algorithm });
                    kms.ok(&user, "AsymmetricRsaDecrypt", params).await
                }
            };
            if action == "GenerateDataKey" {
                let again = kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": answer["CiphertextBlob"] })).await;
                assert_eq!(opened["Plaintext"], again["Plaintext"], "{algorithm}");
            } else {
                assert_eq!(opened["Plaintext"].as_str(), Some(&*b64("secret")), "{action} {algorithm}");
            }
        }
    }
    // Raw SM2, the default: 64 + 32 + 6 bytes, no prefix.
    let answer = kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob, "EncryptionPublicKey": sm2_pem })).await;
    assert_eq!(STANDARD.decode(answer["Plaintext"].as_str().unwrap()).unwrap().len(), 102);
    // A key that does not fit its algorithm (decision 15).
    let mut p256 = create(&kms, &user, "ASYMMETRIC_SIGN_VERIFY_ECC").await;
    p256 = pem_of(&kms, &user, &p256).await;
    for (algorithm, pem) in
        [("SM2", &rsa_pem), ("RSAES_OAEP_SHA_1", &sm2_pem), ("SM2", &p256), ("SM2", &"nonsense".to_owned())]
    {
        let params = json!({ "CiphertextBlob": blob, "EncryptionPublicKey": pem, "EncryptionAlgorithm": algorithm });
        assert_eq!(kms.err(&user, "Decrypt", params).await, "InvalidParameter", "{algorithm}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn post_quantum_keys_encrypt_and_sign() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let other = kms.user().await;
    let kyber = create(&kms, &user, "ASYMMETRIC_DECRYPT_KYBER_AES").await;
    let params = json!({ "KeyId": kyber, "PlainText": b64(vec![9; 4096]) });
    let sealed = kms.ok(&user, "PostQuantumCryptoEncrypt", params).await;
    let blob = sealed["CiphertextBlob"].as_str().unwrap();
    let open = |blob: &str| json!({ "CiphertextBlob": blob });
    let opened = kms.ok(&user, "PostQuantumCryptoDecrypt", open(blob)).await;
    assert_eq!((opened["PlainText"].as_str(), opened["KeyId"].as_str()), (Some(&*b64(vec![9; 4096])), Some(&*kyber)));
    let invalid = "InvalidParameterValue.InvalidCiphertext";
    assert_eq!(kms.err(&other, "PostQuantumCryptoDecrypt", open(blob)).await, invalid);
    // A blob that names a key of the other kind is wrong like any other, and the two kinds are not mistaken.
    let mut forged = STANDARD.decode(kms.encrypt(&user, &kms.create(&user, "other").await, &b64("x")).await).unwrap();
    forged[4..20].copy_from_slice(KeyId::parse(&kyber).unwrap().as_bytes());
    assert_eq!(kms.err(&user, "Decrypt", open(&b64(&forged))).await, invalid);
    assert_eq!(kms.err(&user, "ReEncrypt", open(&b64(&forged))).await, invalid);
    assert_eq!(kms.err(&user, "Decrypt", open(blob)).await, invalid);
    let symmetric = kms.create(&user, "symmetric").await;
    let symmetric_blob = kms.encrypt(&user, &symmetric, &b64("x")).await;
    assert_eq!(kms.err(&user, "PostQuantumCryptoDecrypt", open(&symmetric_blob)).await, invalid);
    let bytes = STANDARD.decode(blob).unwrap();
    for at in [0, 3, 5, 23, 24, 1000, 1600, 1640, 1700, bytes.len() - 1] {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert_eq!(kms.err(&user, "PostQuantumCryptoDecrypt", open(&b64(&bad))).await, invalid, "{at}");
    }
    for wrong in ["", "!", &b64(&bytes[..100])] {
        assert_eq!(kms.err(&user, "PostQuantumCryptoDecrypt", open(wrong)).await, invalid);
    }
    for wrong in
        [json!({ "KeyId": kyber, "PlainText": "" }), json!({ "KeyId": kyber, "PlainText": b64(vec![9; 4097]) })]
    {
        assert_eq!(kms.err(&user, "PostQuantumCryptoEncrypt", wrong).await, "InvalidParameterValue.InvalidPlaintext");
    }

    let dilithium = create(&kms, &user, "ASYMMETRIC_SIGN_VERIFY_DILITHIUM").await;
    let sign = json!({ "KeyId": dilithium, "Message": b64(MESSAGE) });
    let signature = kms.ok(&user, "PostQuantumCryptoSign", sign.clone()).await["Signature"].clone();
    let verify = |message: &[u8], signature: Value| json!({ "KeyId": dilithium, "Message": b64(message), "SignatureValue": signature });
    let good = kms.ok(&user, "PostQuantumCryptoVerify", verify(MESSAGE, signature.clone())).await;
    assert_eq!(good["SignatureValid"], true);
    for wrong in [verify(b"other", signature.clone()), verify(MESSAGE, b64("short").into())] {
        assert_eq!(kms.ok(&user, "PostQuantumCryptoVerify", wrong).await["SignatureValid"], false);
    }
    assert_eq!(kms.err(&user, "PostQuantumCryptoVerify", verify(MESSAGE, "!".into())).await, "InvalidParameterValue");
    for key in [&kyber, &dilithium] {
        pem_of(&kms, &user, key).await;
    }
}

/// A call of every action that uses an asymmetric key, on a key of the usage that it needs.
async fn calls(kms: &Kms, user: &User) -> Vec<(&'static str, String, Value)> {
    let rsa = create(kms, user, "ASYMMETRIC_DECRYPT_RSA_2048").await;
    let sm2 = create(kms, user, "ASYMMETRIC_DECRYPT_SM2").await;
    let ecc = create(kms, user, "ASYMMETRIC_SIGN_VERIFY_ECC").await;
    let kyber = create(kms, user, "ASYMMETRIC_DECRYPT_KYBER_AES").await;
    let dilithium = create(kms, user, "ASYMMETRIC_SIGN_VERIFY_DILITHIUM").await;
    let message = b64(MESSAGE);
    let to_rsa = encrypt(&pem_of(kms, user, &rsa).await, "RSAES_OAEP_SHA_256", MESSAGE);
    let to_sm2 = encrypt(&pem_of(kms, user, &sm2).await, "SM2_C1C3C2_ASN1", MESSAGE);
    let ecc_sign = json!({ "KeyId": ecc, "Algorithm": "ECC_P256_R1", "Message": message });
    let mut ecc_verify = ecc_sign.clone();
    ecc_verify["SignatureValue"] = kms.ok(user, "SignByAsymmetricKey", ecc_sign.clone()).await["Signature"].clone();
    let pq_sign = json!({ "KeyId": dilithium, "Message": message });
    let mut pq_verify = pq_sign.clone();
    pq_verify["SignatureValue"] = kms.ok(user, "PostQuantumCryptoSign", pq_sign.clone()).await["Signature"].clone();
    let pq_encrypt = json!({ "KeyId": kyber, "PlainText": message });
    let pq_blob = kms.ok(user, "PostQuantumCryptoEncrypt", pq_encrypt.clone()).await["CiphertextBlob"].clone();
    let rsa_decrypt = json!({ "KeyId": rsa, "Ciphertext": b64(to_rsa), "Algorithm": "RSAES_OAEP_SHA_256" });
    vec![
        ("GetPublicKey", ecc.clone(), json!({ "KeyId": ecc })),
        ("AsymmetricRsaDecrypt", rsa, rsa_decrypt),
        ("AsymmetricSm2Decrypt", sm2.clone(), json!({ "KeyId": sm2, "Ciphertext": b64(to_sm2) })),
        ("SignByAsymmetricKey", ecc.clone(), ecc_sign),
        ("VerifyByAsymmetricKey", ecc, ecc_verify),
        ("PostQuantumCryptoEncrypt", kyber.clone(), pq_encrypt),
        ("PostQuantumCryptoDecrypt", kyber, json!({ "CiphertextBlob": pq_blob })),
        ("PostQuantumCryptoSign", dilithium.clone(), pq_sign),
        ("PostQuantumCryptoVerify", dilithium, pq_verify),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn states_allow_what_decisions_7_and_8_say() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let calls = calls(&kms, &user).await;
    let keys: BTreeSet<&String> = calls.iter().map(|(_, key, _)| key).collect();
    let all = async |kms: &Kms, action: &str, more: Value| {
        for key in &keys {
            let mut params = more.clone();
            params["KeyId"] = json!(key);
            kms.ok(&user, action, params).await;
        }
    };
    let expect = async |kms: &Kms, state: &str, works: &[&str]| {
        for (action, _, params) in &calls {
            let answer = kms.call(&user, action, params.clone()).await;
            let wanted = match *action {
                _ if works.contains(action) => None,
                "PostQuantumCryptoEncrypt" if state == "Archived" => Some("ResourceUnavailable.CmkArchived"),
                "PostQuantumCryptoEncrypt" | "PostQuantumCryptoDecrypt" => Some("ResourceUnavailable.CmkDisabled"),
                _ => Some("ResourceUnavailable.CmkStateNotSupport"),
            };
            match wanted {
                None => assert!(answer.get("Error").is_none(), "{state} {action}: {answer}"),
                Some(wanted) => assert_eq!(code(&answer), wanted, "{state} {action}"),
            }
        }
    };
    let every: Vec<&str> = calls.iter().map(|(action, _, _)| *action).collect();
    expect(&kms, "Enabled", &every).await;
    all(&kms, "ArchiveKey", json!({})).await;
    let reading = [
        "GetPublicKey",
        "AsymmetricRsaDecrypt",
        "AsymmetricSm2Decrypt",
        "VerifyByAsymmetricKey",
        "PostQuantumCryptoDecrypt",
        "PostQuantumCryptoVerify",
    ];
    expect(&kms, "Archived", &reading).await;
    all(&kms, "CancelKeyArchive", json!({})).await;
    all(&kms, "DisableKey", json!({})).await;
    expect(&kms, "Disabled", &[]).await;
    all(&kms, "ScheduleKeyDeletion", json!({ "PendingWindowInDays": 7 })).await;
    expect(&kms, "PendingDelete", &[]).await;
    all(&kms, "CancelKeyDeletion", json!({})).await;
    all(&kms, "EnableKey", json!({})).await;
    let mut kms = {
        kms.run_jobs().await;
        kms.restart().await
    };
    expect(&kms, "Enabled, after a restart", &every).await;
    all(&kms, "DisableKey", json!({})).await;
    all(&kms, "ScheduleKeyDeletion", json!({ "PendingWindowInDays": 7 })).await;
    kms.pass_time(std::time::Duration::from_secs(8 * 86_400)).await;
    for (action, _, params) in &calls {
        let wanted = match *action {
            "PostQuantumCryptoDecrypt" => "InvalidParameterValue.InvalidCiphertext",
            _ => "ResourceUnavailable.CmkNotFound",
        };
        assert_eq!(kms.err(&user, action, params.clone()).await, wanted, "{action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_other_usages_and_other_accounts_are_refused() {
    let kms = Kms::start().await;
    let (user, stranger) = (kms.user().await, kms.user().await);
    let calls = calls(&kms, &user).await;
    let symmetric = kms.create(&user, "symmetric").await;
    for (action, key, params) in &calls {
        if *action == "PostQuantumCryptoDecrypt" {
            continue;
        }
        assert_eq!(kms.err(&stranger, action, params.clone()).await, "ResourceUnavailable.CmkNotFound", "{action}");
        let mut on_symmetric = params.clone();
        on_symmetric["KeyId"] = json!(symmetric);
        let wanted = match *action {
            "AsymmetricRsaDecrypt" | "AsymmetricSm2Decrypt" => "InvalidParameterValue.InvalidKeyUsage",
            _ => "InvalidParameter",
        };
        assert_eq!(kms.err(&user, action, on_symmetric).await, wanted, "{action}");
        // And the other way round.
        let encrypt = json!({ "KeyId": key, "Plaintext": b64("x") });
        assert_eq!(kms.err(&user, "Encrypt", encrypt).await, "InvalidParameter");
        let data_key = json!({ "KeyId": key, "NumberOfBytes": 16 });
        assert_eq!(kms.err(&user, "GenerateDataKey", data_key).await, "InvalidParameterValue.InvalidKeyUsage");
        for rotation in ["EnableKeyRotation", "RotateKey"] {
            let refused = kms.err(&user, rotation, json!({ "KeyId": key })).await;
            assert_eq!(refused, "UnsupportedOperation.RotateNotSupported");
        }
    }
    let external = json!({ "Alias": "e", "KeyUsage": "ASYMMETRIC_SIGN_VERIFY_ECC", "Type": 2 });
    assert_eq!(kms.err(&user, "CreateKey", external).await, "InvalidParameterValue.InvalidType");
    // Nothing of it is in the audit log.
    let log = kms.audit();
    for (_, _, params) in &calls {
        for member in ["Ciphertext", "CiphertextBlob", "Message", "SignatureValue", "PlainText"] {
            if let Some(text) = params[member].as_str() {
                assert!(!log.contains(text), "{member}");
            }
        }
    }
}
