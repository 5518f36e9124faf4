//! Regions in which nothing but the GM algorithms may be used.

mod support;

use jadeseal_crypto::wrap::suite;
use jadeseal_types::{AccountId, KeyId, Suite};
use serde_json::{Value, json};
use support::{
    AES, Kms, STRICT, User, code,
    keys::{MESSAGE, b64, create, encrypt, pem_of},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_region_uses_nothing_but_gm() {
    let kms = Kms::start_strict().await;
    let user = kms.user().await;
    let call = async |action: &str, params: Value| kms.call_in(&user, STRICT, action, params).await;
    let key = call("CreateKey", json!({ "Alias": "k" })).await["KeyId"].clone();
    let sealed = call("Encrypt", json!({ "KeyId": key, "Plaintext": b64("secret") })).await;
    let sm2 = call("CreateKey", json!({ "Alias": "s", "KeyUsage": "ASYMMETRIC_DECRYPT_SM2" })).await["KeyId"].clone();
    let sm2_pem = call("GetPublicKey", json!({ "KeyId": sm2 })).await["PublicKeyPem"].clone();
    let rsa = create(&kms, &user, "ASYMMETRIC_DECRYPT_RSA_2048").await;
    let rsa_pem = pem_of(&kms, &user, &rsa).await;
    for algorithm in ["RSAES_PKCS1_V1_5", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"] {
        let params = json!({ "CiphertextBlob": sealed["CiphertextBlob"], "EncryptionPublicKey": rsa_pem,
            "EncryptionAlgorithm": algorithm });
        assert_eq!(code(&call("Decrypt", params).await), "InvalidParameter", "{algorithm}");
        let import = json!({ "KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048" });
        assert_eq!(code(&call("GetParametersForImport", import).await), "UnsupportedOperation");
    }
    for algorithm in ["SM2", "SM2_C1C3C2_ASN1", ""] {
        let params = json!({ "CiphertextBlob": sealed["CiphertextBlob"], "EncryptionPublicKey": sm2_pem,
            "EncryptionAlgorithm": algorithm });
        assert!(call("Decrypt", params).await["Plaintext"].is_string(), "{algorithm}");
    }
    assert_eq!(code(&call("CreateKey", json!({ "Alias": "e", "Type": 2 })).await), "InvalidParameterValue.InvalidType");
    // A valid algorithm without a key says nothing; another one is refused without a key too.
    let alone =
        |algorithm: &str| json!({ "CiphertextBlob": sealed["CiphertextBlob"], "EncryptionAlgorithm": algorithm });
    assert!(call("Decrypt", alone("SM2")).await["Plaintext"].is_string());
    for algorithm in ["RSAES_OAEP_SHA_256", "FOO"] {
        assert_eq!(code(&call("Decrypt", alone(algorithm)).await), "InvalidParameter");
    }
    for spec in ["AES_128", "AES_256"] {
        let answer = call("GenerateDataKey", json!({ "KeyId": key, "KeySpec": spec })).await;
        assert_eq!(code(&answer), "InvalidParameter");
    }
    for spec in ["", "AES_256"] {
        // The number goes before the name.
        let answer = call("GenerateDataKey", json!({ "KeyId": key, "KeySpec": spec, "NumberOfBytes": 16 })).await;
        assert!(answer["Plaintext"].is_string(), "{answer}");
    }
}

/// The suites that wrap what is stored: root key, domain keys and one CMK's material.
async fn wrapping_suites(kms: &Kms, account: AccountId, key: KeyId) -> (Suite, Vec<Suite>, Suite) {
    let root = kms.store.root_rows().await.unwrap().pop().unwrap();
    let domains = kms.store.domains(account).await.unwrap();
    let domains = domains.iter().map(|d| suite(&d.wrapped).unwrap()).collect();
    let rows = kms.store.all_keys_meta(None, 1_000).await.unwrap();
    let row = rows.iter().find(|row| row.key_id == key).unwrap();
    let version = kms.store.versions(&row.scope(), key).await.unwrap().pop().unwrap();
    (suite(&root.wrapped).unwrap(), domains, suite(&version.wrapped).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_becomes_strict_wraps_with_sm4_from_then_on() {
    let mut kms = Kms::start().await;
    let made = kms.svc.create_account("test").await.unwrap();
    let account = made.account;
    let user: User = made.into();
    let create = async |kms: &Kms, region: &str, alias: &str| {
        let made = kms.call_in(&user, region, "CreateKey", json!({ "Alias": alias })).await;
        KeyId::parse(made["KeyId"].as_str().unwrap()).unwrap()
    };
    let old = create(&kms, AES, "old").await;
    let blob = kms.encrypt(&user, &old.to_string(), &b64("secret")).await;
    let (aes, sm4) = (Suite::Aes256, Suite::Sm4);
    assert_eq!(wrapping_suites(&kms, account, old).await, (aes, vec![aes], aes));
    kms.become_strict();
    let kms = kms.restart().await;
    // The account gets a domain key that wraps with SM4, itself wrapped with SM4.
    let new = create(&kms, STRICT, "new").await;
    assert_eq!(wrapping_suites(&kms, account, new).await, (aes, vec![aes, sm4], sm4));
    create(&kms, STRICT, "another").await;
    assert_eq!(kms.store.domains(account).await.unwrap().len(), 2, "one is enough");
    let source = jadeseal_root::SealSource::File { path: kms.dir.path().join("root.key") };
    jadeseal_service::rekey::rekey(kms.store.as_ref(), &source, None, Some(sm4), kms.clock.as_ref()).await.unwrap();
    assert_eq!(wrapping_suites(&kms, account, new).await, (sm4, vec![sm4, sm4], sm4));
    // All of it opens, before and after a restart; no later rekey goes back to AES.
    for restarted in [false, true] {
        let opened = kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob })).await;
        assert_eq!(opened["Plaintext"].as_str(), Some(&*b64("secret")), "{restarted}");
    }
    jadeseal_service::rekey::rekey(kms.store.as_ref(), &source, None, Some(aes), kms.clock.as_ref()).await.unwrap();
    let kms = kms.restart().await;
    assert_eq!(wrapping_suites(&kms, account, new).await, (sm4, vec![sm4, sm4], sm4));
    let opened = kms.ok(&user, "Decrypt", json!({ "CiphertextBlob": blob })).await;
    assert_eq!(opened["Plaintext"].as_str(), Some(&*b64("secret")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_becomes_strict_keeps_its_other_keys_unused() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    let blob = kms.encrypt(&user, &key, &b64("secret")).await;
    let ecc = create(&kms, &user, "ASYMMETRIC_SIGN_VERIFY_ECC").await;
    kms.ok(&user, "EnableKeyRotation", json!({ "KeyId": key, "RotateDays": 7 })).await;
    let external = kms.ok(&user, "CreateKey", json!({ "Alias": "e", "Type": 2 })).await["KeyId"].clone();
    let ask = json!({ "KeyId": external, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048" });
    let asked = kms.ok(&user, "GetParametersForImport", ask).await;
    kms.turn_strict(AES);
    let mut kms = kms.restart().await;
    let wrapped = encrypt(asked["PublicKey"].as_str().unwrap(), "RSAES_OAEP_SHA_256", &[7; 32]);
    let import =
        json!({ "KeyId": external, "ImportToken": asked["ImportToken"], "EncryptedKeyMaterial": b64(wrapped) });
    assert_eq!(kms.err(&user, "ImportKeyMaterial", import).await, "UnsupportedOperation");
    let refused = "UnsupportedOperation.UnsupportedKeyUsageInCurrentRegion";
    for (action, params) in [
        ("Encrypt", json!({ "KeyId": key, "Plaintext": b64("x") })),
        ("Decrypt", json!({ "CiphertextBlob": blob })),
        ("ReEncrypt", json!({ "CiphertextBlob": blob })),
        ("GenerateDataKey", json!({ "KeyId": key, "NumberOfBytes": 16 })),
        ("EnableKeyRotation", json!({ "KeyId": key })),
        ("RotateKey", json!({ "KeyId": key })),
        ("GetPublicKey", json!({ "KeyId": ecc })),
        ("SignByAsymmetricKey", json!({ "KeyId": ecc, "Algorithm": "ECC_P256_R1", "Message": b64(MESSAGE) })),
    ] {
        assert_eq!(kms.err(&user, action, params).await, refused, "{action}");
    }
    // Nothing new is made for it on schedule either.
    kms.run_jobs().await;
    kms.pass_time(std::time::Duration::from_secs(8 * 86_400)).await;
    let status = kms.ok(&user, "GetKeyRotationStatus", json!({ "KeyId": key })).await;
    assert_eq!(status["KeyRotationEnabled"], false);
    let row = kms.store.all_keys_meta(None, 100).await.unwrap().into_iter().find(|r| r.key_id.to_string() == key);
    assert_eq!(row.unwrap().current_version, 1);
    assert!(kms.audit().contains(r#""action":"StopKeyRotation""#));
    for key in [&key, &ecc] {
        assert_eq!(kms.state(&user, key).await, "Enabled");
        kms.ok(&user, "DisableKey", json!({ "KeyId": key })).await;
    }
}
