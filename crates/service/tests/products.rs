//! Cloud products: the key that each gets by itself, and who may do what with it.

mod support;

use jadeseal_types::{AccountId, Alias, SecretId};
use serde_json::{Value, json};
use support::{AES, Kms, SM4, User, code};

/// An account's user, and products that act for it.
struct Cast {
    kms: Kms,
    account: AccountId,
    user: User,
    cos: User,
    cbs: User,
}

impl Cast {
    async fn new() -> Self {
        let kms = Kms::start().await;
        let new = kms.svc.create_account("test").await.unwrap();
        let account = new.account;
        let (cos, cbs) = (grant(&kms, account, "cos").await, grant(&kms, account, "cbs").await);
        Cast { kms, account, user: new.into(), cos, cbs }
    }

    /// The key that `cos` gets by itself.
    async fn default_key(&self) -> String {
        let made = self.kms.ok(&self.cos, "Encrypt", json!({ "KeyId": "", "Plaintext": "AA==" })).await;
        made["KeyId"].as_str().unwrap().to_owned()
    }
}

async fn grant(kms: &Kms, account: AccountId, product: &str) -> User {
    let product = Alias::parse(product).unwrap();
    kms.svc.accounts().grant(account, &product).await.unwrap().unwrap().into()
}

fn ids(answer: &Value) -> Vec<String> {
    answer["Keys"].as_array().unwrap().iter().map(|k| k["KeyId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_product_that_names_no_key_gets_one() {
    let cast = Cast::new().await;
    let Cast { kms, user, cos, cbs, .. } = &cast;
    let key = cast.default_key().await;
    // The same one again, by every way of naming none, and the other product another one.
    let made = kms.ok(cos, "GenerateDataKey", json!({ "KeySpec": "AES_256" })).await;
    assert_eq!(made["KeyId"], json!(key));
    let made = kms.ok(cos, "GenerateDataKey", json!({ "KeyId": null, "KeySpec": "AES_128" })).await;
    assert_eq!(made["KeyId"], json!(key));
    let other = kms.ok(cbs, "Encrypt", json!({ "Plaintext": "AA==" })).await["KeyId"].clone();
    assert_ne!(other, json!(key));
    // Another region, another key.
    let there = kms.call_in(cos, SM4, "Encrypt", json!({ "KeyId": "", "Plaintext": "AA==" })).await;
    assert!(there["KeyId"].is_string() && there["KeyId"] != json!(key), "{there}");

    let seen = kms.ok(user, "DescribeKey", json!({ "KeyId": key })).await["KeyMetadata"].clone();
    assert_eq!(
        (&seen["Alias"], &seen["Owner"], &seen["KeyState"]),
        (&json!("kms-cos"), &json!("cos"), &json!("Enabled"))
    );
    assert_eq!(ids(&kms.ok(user, "ListKeys", json!({ "Role": 1 })).await).len(), 2);
    assert!(ids(&kms.ok(user, "ListKeys", json!({})).await).is_empty());
    let status = kms.ok(user, "GetServiceStatus", json!({})).await;
    assert_eq!(status["CmkUserCount"], 0, "a product's keys are outside the quota");
    // A user names his keys as ever.
    assert_eq!(kms.err(user, "Encrypt", json!({ "Plaintext": "AA==" })).await, "MissingParameter");
    let empty = kms.err(user, "Encrypt", json!({ "KeyId": "", "Plaintext": "AA==" })).await;
    assert_eq!(empty, "InvalidParameterValue.InvalidKeyId");
    assert!(kms.audit().contains(r#""action":"CreateProductKey""#));
    assert!(kms.audit().contains(r#""principal":"product""#));
}

#[tokio::test]
async fn many_first_calls_make_one_key() {
    let cast = Cast::new().await;
    let call = || cast.default_key();
    let (a, b, c, d, e, f) = tokio::join!(call(), call(), call(), call(), call(), call());
    assert!([b, c, d, e, f].iter().all(|id| *id == a));
    assert_eq!(cast.kms.ok(&cast.user, "ListKeys", json!({ "Role": 1 })).await["TotalCount"], 1);
}

#[tokio::test]
async fn a_request_that_is_refused_makes_no_key() {
    let Cast { kms, user, cos, .. } = Cast::new().await;
    for (params, wanted) in [
        (json!({}), "MissingParameter"),
        (json!({ "Plaintext": 7 }), "InvalidParameter"),
        (json!({ "Plaintext": "AA==", "Odd": 1 }), "UnknownParameter"),
    ] {
        assert_eq!(kms.err(&cos, "Encrypt", params).await, wanted);
    }
    assert_eq!(
        kms.err(&cos, "CreateKey", json!({ "Alias": "kms-cos-x", "Type": 2 })).await,
        "InvalidParameterValue.InvalidType"
    );
    assert_eq!(kms.ok(&user, "ListKeys", json!({ "Role": 1 })).await["TotalCount"], 0);
}

#[test]
fn a_products_role_names_actions_that_exist() {
    let table: Value = serde_json::from_str(&jadeseal_service::EXPORTS[0].json()).unwrap();
    for action in jadeseal_auth::PRODUCT_ACTIONS {
        assert!(table["actions"].get(action).is_some(), "{action}");
    }
}

/// Consent that was taken back between the look at the key and the commit stays taken back.
#[tokio::test]
async fn a_product_cannot_overtake_the_end_of_its_consent() {
    let Cast { kms, user, cos, .. } = Cast::new().await;
    let key = kms.create(&user, "mine").await;
    let bind = |resource: &str| json!({ "KeyId": key, "ProductId": "cos", "ResourceId": resource });
    kms.ok(&user, "BindCloudResource", bind("a")).await;
    for n in 0..20 {
        let more = format!("more-{n}");
        let (product, taken) = tokio::join!(
            kms.call(&cos, "BindCloudResource", bind(&more)),
            kms.ok(&user, "UnbindCloudResource", bind("a"))
        );
        assert!(taken.get("Error").is_none());
        assert!(product.get("Error").is_none() || code(&product) == "ResourceUnavailable.CmkNotFound", "{product}");
        let now = kms.err(&cos, "Encrypt", json!({ "KeyId": key, "Plaintext": "AA==" })).await;
        assert_eq!(now, "ResourceUnavailable.CmkNotFound");
        kms.ok(&user, "BindCloudResource", bind("a")).await;
    }
}

#[tokio::test]
async fn a_default_key_that_is_gone_is_made_anew() {
    let cast = Cast::new().await;
    let key = cast.default_key().await;
    let Cast { mut kms, cos, user, .. } = cast;
    kms.ok(&cos, "DisableKey", json!({ "KeyId": key })).await;
    let disabled = kms.err(&cos, "Encrypt", json!({ "KeyId": "", "Plaintext": "AA==" })).await;
    assert_eq!(disabled, "ResourceUnavailable.CmkDisabled", "it is there, and off");
    kms.ok(&cos, "ScheduleKeyDeletion", json!({ "KeyId": key, "PendingWindowInDays": 7 })).await;
    kms.pass_time(std::time::Duration::from_secs(8 * 86_400)).await;
    let next = kms.ok(&cos, "Encrypt", json!({ "KeyId": "", "Plaintext": "AA==" })).await["KeyId"].clone();
    assert_ne!(next, json!(key));
    // After a start the key is found again rather than made again.
    let kms = kms.restart().await;
    assert_eq!(kms.ok(&cos, "Encrypt", json!({ "KeyId": "", "Plaintext": "AA==" })).await["KeyId"], next);
    assert_eq!(kms.ok(&user, "ListKeys", json!({ "Role": 1 })).await["TotalCount"], 1);
}

#[tokio::test]
async fn the_user_sees_and_rotates_a_products_key_and_no_more() {
    let cast = Cast::new().await;
    let Cast { kms, user, cos, .. } = &cast;
    let key = cast.default_key().await;
    let blob = kms.encrypt(cos, &key, "AAECAw==").await;
    let on = |more: Value| {
        let mut params = json!({ "KeyId": key });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    for (action, params) in [
        ("DescribeKey", on(json!({}))),
        ("DescribeKeys", json!({ "KeyIds": [key] })),
        ("GetKeyRotationStatus", on(json!({}))),
        ("EnableKeyRotation", on(json!({}))),
        ("RotateKey", on(json!({}))),
        ("DisableKeyRotation", on(json!({}))),
    ] {
        kms.ok(user, action, params).await;
    }
    for (action, params, wanted) in [
        ("DisableKey", on(json!({})), "FailedOperation.CmkUsedByCloudProduct"),
        ("DisableKeys", json!({ "KeyIds": [key] }), "FailedOperation.CmkUsedByCloudProduct"),
        ("ScheduleKeyDeletion", on(json!({ "PendingWindowInDays": 7 })), "FailedOperation.CmkUsedByCloudProduct"),
        ("ArchiveKey", on(json!({})), "UnsupportedOperation.NotUserCreatedCmk"),
        ("CancelKeyArchive", on(json!({})), "UnsupportedOperation.NotUserCreatedCmk"),
        ("EnableKey", on(json!({})), "UnauthorizedOperation"),
        ("CancelKeyDeletion", on(json!({})), "UnauthorizedOperation"),
        ("UpdateAlias", on(json!({ "Alias": "mine" })), "UnauthorizedOperation"),
        ("UpdateKeyDescription", on(json!({ "Description": "mine" })), "UnauthorizedOperation"),
        (
            "BindCloudResource",
            on(json!({ "ProductId": "cos", "ResourceId": "b" })),
            "FailedOperation.CmkUsedByCloudProduct",
        ),
        (
            "GetParametersForImport",
            on(json!({ "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048" })),
            "UnsupportedOperation.NotExternalCmk",
        ),
        ("UnbindCloudResource", on(json!({ "ProductId": "cos", "ResourceId": "b" })), "UnauthorizedOperation"),
        ("Encrypt", on(json!({ "Plaintext": "AA==" })), "UnauthorizedOperation"),
        ("Decrypt", json!({ "CiphertextBlob": blob }), "UnauthorizedOperation"),
        ("ReEncrypt", json!({ "CiphertextBlob": blob }), "UnauthorizedOperation"),
        ("GenerateDataKey", on(json!({ "KeySpec": "AES_256" })), "UnauthorizedOperation"),
    ] {
        assert_eq!(kms.err(user, action, params).await, wanted, "{action}");
    }
    assert_eq!(kms.state(user, &key).await, "Enabled");
    assert_eq!(kms.ok(cos, "Decrypt", json!({ "CiphertextBlob": blob })).await["Plaintext"], "AAECAw==");
    let refused = kms.call(user, "DisableKey", on(json!({}))).await;
    assert!(refused["Error"]["Message"].as_str().unwrap().contains("cloud product cos"), "{refused}");
}

#[tokio::test]
async fn a_product_uses_a_users_key_only_while_it_is_bound_to_it() {
    let cast = Cast::new().await;
    let Cast { kms, user, cos, cbs, .. } = &cast;
    let key = kms.create(user, "mine").await;
    let blob = kms.encrypt(user, &key, "AAECAw==").await;
    let bind = |product: &str, resource: &str| json!({ "KeyId": key, "ProductId": product, "ResourceId": resource });
    let unknown = "ResourceUnavailable.CmkNotFound";
    for (action, params, wanted) in [
        ("DescribeKey", json!({ "KeyId": key }), unknown),
        ("Encrypt", json!({ "KeyId": key, "Plaintext": "AA==" }), unknown),
        ("Decrypt", json!({ "CiphertextBlob": blob }), "InvalidParameterValue.InvalidCiphertext"),
        ("BindCloudResource", bind("cos", "b"), unknown),
        ("DisableKey", json!({ "KeyId": key }), unknown),
    ] {
        assert_eq!(kms.err(cos, action, params).await, wanted, "{action} before it is bound");
    }
    assert_eq!(kms.ok(cos, "ListKeys", json!({})).await["TotalCount"], 0, "lists are of its own keys");

    kms.ok(user, "BindCloudResource", bind("cos", "bucket-1")).await;
    assert_eq!(kms.ok(cos, "Decrypt", json!({ "CiphertextBlob": blob })).await["Plaintext"], "AAECAw==");
    kms.ok(cos, "DescribeKey", json!({ "KeyId": key })).await;
    kms.ok(cos, "BindCloudResource", bind("cos", "bucket-2")).await;
    assert_eq!(kms.err(cos, "BindCloudResource", bind("cbs", "disk")).await, "UnauthorizedOperation");
    for action in ["DisableKey", "EnableKey", "ArchiveKey", "EnableKeyRotation", "RotateKey"] {
        assert_eq!(kms.err(cos, action, json!({ "KeyId": key })).await, "UnauthorizedOperation", "{action}");
    }
    // Another product is not helped by it, and the user still has the key.
    assert_eq!(kms.err(cbs, "Encrypt", json!({ "KeyId": key, "Plaintext": "AA==" })).await, unknown);
    kms.encrypt(user, &key, "AA==").await;

    // The refusal names who uses the key.
    kms.ok(user, "BindCloudResource", bind("ssm", "secret")).await;
    let refused = kms.call(user, "DisableKey", json!({ "KeyId": key })).await;
    assert_eq!(code(&refused), "FailedOperation.CmkUsedByCloudProduct");
    let message = refused["Error"]["Message"].as_str().unwrap();
    assert!(message.contains("cos bucket-1, cos bucket-2, ssm secret."), "{message}");
    for n in 0..7 {
        kms.ok(user, "BindCloudResource", bind("ssm", &format!("secret-{n}"))).await;
    }
    let refused = kms.call(user, "DisableKeys", json!({ "KeyIds": [key] })).await;
    assert!(refused["Error"]["Message"].as_str().unwrap().contains("and 5 more"), "{refused}");

    // What has returned counts at once. A binding of the product's own is no consent, until the user repeats it.
    kms.ok(user, "UnbindCloudResource", bind("cos", "bucket-1")).await;
    for (action, params) in [
        ("Encrypt", json!({ "KeyId": key, "Plaintext": "AA==" })),
        ("BindCloudResource", bind("cos", "bucket-3")),
        ("UnbindCloudResource", bind("cos", "bucket-2")),
    ] {
        assert_eq!(kms.err(cos, action, params).await, unknown, "{action}");
    }
    kms.ok(user, "BindCloudResource", bind("cos", "bucket-2")).await;
    kms.ok(cos, "Encrypt", json!({ "KeyId": key, "Plaintext": "AA==" })).await;
    kms.ok(cos, "BindCloudResource", bind("cos", "bucket-2")).await;
    kms.ok(cos, "Encrypt", json!({ "KeyId": key, "Plaintext": "AA==" })).await;
    kms.ok(cos, "UnbindCloudResource", bind("cos", "bucket-2")).await;
    assert_eq!(kms.err(cos, "Encrypt", json!({ "KeyId": key, "Plaintext": "AA==" })).await, unknown);
}

#[tokio::test]
async fn a_product_makes_and_rules_its_own_keys() {
    let cast = Cast::new().await;
    let Cast { kms, user, cos, cbs, .. } = &cast;
    for alias in ["mine", "kms-cbs", "kms-cos", "kms-cos-", "kms-cosx", "kms-cbs-x", "kms-", "KMS-cos-x"] {
        assert_eq!(kms.err(cos, "CreateKey", json!({ "Alias": alias })).await, "InvalidParameterValue.InvalidAlias");
    }
    for alias in ["kms-x", "KMS-cos", "kms-cos-logs"] {
        assert_eq!(kms.err(user, "CreateKey", json!({ "Alias": alias })).await, "InvalidParameterValue.InvalidAlias");
    }
    let key = kms.create(cos, "kms-cos-logs").await;
    assert_eq!(
        kms.err(cos, "UpdateAlias", json!({ "KeyId": key, "Alias": "logs" })).await,
        "InvalidParameterValue.InvalidAlias"
    );
    kms.ok(cos, "UpdateAlias", json!({ "KeyId": key, "Alias": "kms-cos-log" })).await;
    assert_eq!(kms.err(cbs, "DescribeKey", json!({ "KeyId": key })).await, "ResourceUnavailable.CmkNotFound");
    assert_eq!(ids(&kms.ok(cos, "ListKeys", json!({})).await), std::slice::from_ref(&key));
    assert!(ids(&kms.ok(cbs, "ListKeys", json!({ "Role": 1 })).await).is_empty());
    // A key that resources of the product use stays as it is for the product too.
    kms.ok(cos, "BindCloudResource", json!({ "KeyId": key, "ProductId": "cos", "ResourceId": "b" })).await;
    assert_eq!(kms.err(cos, "DisableKey", json!({ "KeyId": key })).await, "FailedOperation.CmkUsedByCloudProduct");
    kms.ok(cos, "UnbindCloudResource", json!({ "KeyId": key, "ProductId": "cos", "ResourceId": "b" })).await;
    for action in ["DisableKey", "EnableKey", "ArchiveKey", "CancelKeyArchive"] {
        kms.ok(cos, action, json!({ "KeyId": key })).await;
    }
    for action in ["GetParametersForImport", "ImportKeyMaterial", "DeleteImportedKeyMaterial"] {
        assert_eq!(kms.err(cos, action, json!({ "KeyId": key })).await, "UnauthorizedOperation", "{action}");
    }
}

#[tokio::test]
async fn data_keys_of_products_are_theirs() {
    let cast = Cast::new().await;
    let Cast { kms, user, cos, cbs, .. } = &cast;
    let named = |name: &str| json!({ "KeySpec": "AES_256", "IsHostedByKms": 1, "DataKeyName": name });
    for name in ["bucket", "kms-cos", "kms-cbs-bucket"] {
        assert_eq!(kms.err(cos, "GenerateDataKey", named(name)).await, "InvalidParameterValue.InvalidDataKeyName");
    }
    let hosted = named("kms-cos-bucket");
    let id = kms.ok(cos, "GenerateDataKey", hosted).await["DataKeyId"].as_str().unwrap().to_owned();
    let on = json!({ "DataKeyId": id });
    kms.ok(cos, "GetDataKeyPlaintext", on.clone()).await;
    let seen = kms.ok(user, "DescribeDataKey", on.clone()).await;
    assert_eq!(seen["DataKeyMetadata"]["Owner"], "cos");
    assert_eq!(kms.ok(user, "ListDataKeys", json!({ "Role": 1 })).await["TotalCount"], 1);
    assert_eq!(kms.ok(user, "ListDataKeys", json!({})).await["TotalCount"], 0);
    let other = json!({ "DataKeyId": id, "DataKeyName": "bucket" });
    assert_eq!(kms.err(cos, "UpdateDataKeyName", other).await, "InvalidParameterValue.InvalidDataKeyName");
    for action in ["GetDataKeyPlaintext", "GetDataKeyCiphertextBlob", "DisableDataKey", "EnableDataKey"] {
        assert_eq!(kms.err(user, action, on.clone()).await, "UnauthorizedOperation", "{action}");
        assert_eq!(kms.err(cbs, action, on.clone()).await, "ResourceUnavailable.DataKeyNotFound", "{action}");
    }
    assert_eq!(kms.err(user, "DisableDataKeys", json!({ "DataKeyIds": [id] })).await, "UnauthorizedOperation");
    kms.ok(cos, "DisableDataKeys", json!({ "DataKeyIds": [id] })).await;
    // Under a key of the user, while it is bound.
    let key = kms.create(user, "mine").await;
    kms.ok(user, "BindCloudResource", json!({ "KeyId": key, "ProductId": "cos", "ResourceId": "b" })).await;
    let hosted = json!({ "KeyId": key, "KeySpec": "AES_256", "IsHostedByKms": 1, "DataKeyName": "kms-cos-second" });
    let on = json!({ "DataKeyId": kms.ok(cos, "GenerateDataKey", hosted).await["DataKeyId"] });
    kms.ok(cos, "GetDataKeyPlaintext", on.clone()).await;
    kms.ok(cos, "DisableDataKey", on.clone()).await;
    kms.ok(cos, "EnableDataKey", on.clone()).await;
    kms.ok(user, "UnbindCloudResource", json!({ "KeyId": key, "ProductId": "cos", "ResourceId": "b" })).await;
    let unknown = "ResourceUnavailable.DataKeyNotFound";
    assert_eq!(kms.err(cos, "GetDataKeyPlaintext", on.clone()).await, unknown);
    let batch = json!({ "DataKeyIds": [on["DataKeyId"]] });
    for action in ["DescribeDataKeys", "EnableDataKeys", "DisableDataKeys"] {
        assert_eq!(kms.err(cos, action, batch.clone()).await, unknown, "{action}");
    }
    // Under his own key the user has the last word, but never the data key.
    for action in ["GetDataKeyPlaintext", "EnableDataKey"] {
        assert_eq!(kms.err(user, action, on.clone()).await, "UnauthorizedOperation", "{action}");
    }
    kms.ok(user, "DisableDataKey", on.clone()).await;
    kms.ok(user, "ScheduleDataKeyDeletion", json!({ "DataKeyId": on["DataKeyId"], "PendingWindowInDays": 7 })).await;
}

#[tokio::test]
async fn what_a_product_leaves_behind_the_user_can_end() {
    let cast = Cast::new().await;
    let stays = cast.default_key().await;
    let Cast { kms, user, cos, .. } = cast;
    let kms = kms.restart_with_products(&["cbs"]).await;
    assert_eq!(kms.err(&cos, "GetRegions", json!({})).await, "AuthFailure.SecretIdNotFound");
    let use_it = json!({ "KeyId": stays, "Plaintext": "AA==" });
    assert_eq!(kms.err(&user, "Encrypt", use_it).await, "UnauthorizedOperation");
    kms.ok(&user, "DisableKey", json!({ "KeyId": stays })).await;
    kms.ok(&user, "ScheduleKeyDeletion", json!({ "KeyId": stays, "PendingWindowInDays": 7 })).await;
    kms.ok(&user, "CancelKeyDeletion", json!({ "KeyId": stays })).await;
}

#[tokio::test]
async fn a_binding_from_before_the_product_was_configured_is_no_consent() {
    let cast = Cast::new().await;
    let Cast { kms, user, account, .. } = cast;
    let key = kms.create(&user, "mine").await;
    kms.ok(&user, "BindCloudResource", json!({ "KeyId": key, "ProductId": "ssm", "ResourceId": "s" })).await;
    let kms = kms.restart_with_products(&["ssm"]).await;
    let ssm = grant(&kms, account, "ssm").await;
    let call = json!({ "KeyId": key, "Plaintext": "AA==" });
    assert_eq!(kms.err(&ssm, "Encrypt", call.clone()).await, "ResourceUnavailable.CmkNotFound");
    kms.ok(&user, "BindCloudResource", json!({ "KeyId": key, "ProductId": "ssm", "ResourceId": "s" })).await;
    kms.ok(&ssm, "Encrypt", call).await;
}

#[tokio::test]
async fn an_access_key_of_a_product_can_be_taken_back() {
    let cast = Cast::new().await;
    let Cast { kms, account, user, cos, cbs } = &cast;
    let key = cast.default_key().await;
    let accounts = kms.svc.accounts();
    let revoke = async |of: &User| {
        let id = SecretId::parse(&of.secret_id).unwrap();
        jadeseal_service::accounts::revoke(kms.store.as_ref(), &id).await.unwrap()
    };
    assert!(revoke(cos).await);
    assert!(revoke(cos).await, "it may be done again");
    assert!(!revoke(user).await, "not the user's");
    // No job has run: a cached access key of a product is not believed for longer than this.
    tokio::time::sleep(jadeseal_service::jobs::ACCESS_KEY_PERIOD).await;
    let call = json!({ "KeyId": key, "Plaintext": "AA==" });
    assert_eq!(kms.err(cos, "Encrypt", call.clone()).await, "AuthFailure.SecretIdNotFound");
    // The rest goes on, and a new grant reaches the same key.
    kms.ok(cbs, "Encrypt", json!({ "Plaintext": "AA==" })).await;
    let again = grant(kms, *account, "cos").await;
    assert_eq!(kms.ok(&again, "Encrypt", json!({ "Plaintext": "AA==" })).await["KeyId"], json!(key));
    let product = Alias::parse("cos").unwrap();
    assert!(accounts.grant(AccountId(1), &product).await.unwrap().is_none(), "no such account");
}

#[tokio::test]
async fn a_product_that_is_not_configured_is_nobody() {
    let cast = Cast::new().await;
    let stranger = grant(&cast.kms, cast.account, "tdsql").await;
    assert_eq!(cast.kms.err(&stranger, "GetRegions", json!({})).await, "AuthFailure.SecretIdNotFound");
    let answer = cast.kms.call_in(&cast.cos, AES, "GetRegions", json!({})).await;
    assert!(answer["Regions"].is_array());
}
