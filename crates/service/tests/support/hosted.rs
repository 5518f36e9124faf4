//! Calls about hosted data keys.

use super::{Kms, User};
use serde_json::{Value, json};

/// A well-formed id that nothing has.
pub const UNKNOWN: &str = "11111111-2222-1333-8444-555555555555";
pub const STATE: &str = "ResourceUnavailable.DataKeyStateNotSupport";
pub const NOT_FOUND: &str = "ResourceUnavailable.DataKeyNotFound";

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

/// `base` with other members.
pub fn with(base: &Value, more: Value) -> Value {
    let mut all = base.clone();
    more.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
    all
}

/// Hosts a data key of 32 bytes; its id and plaintext.
pub async fn host(kms: &Kms, user: &User, cmk: &str, name: &str) -> (String, String) {
    let params = json!({ "KeyId": cmk, "KeySpec": "AES_256", "IsHostedByKms": 1, "DataKeyName": name });
    let made = kms.ok(user, "GenerateDataKey", params).await;
    (text(&made["DataKeyId"]), text(&made["Plaintext"]))
}

pub fn of(id: &str) -> Value {
    json!({ "DataKeyId": id })
}

pub async fn metadata(kms: &Kms, user: &User, id: &str) -> Value {
    kms.ok(user, "DescribeDataKey", of(id)).await["DataKeyMetadata"].clone()
}

pub async fn plaintext(kms: &Kms, user: &User, id: &str) -> String {
    text(&kms.ok(user, "GetDataKeyPlaintext", of(id)).await["Plaintext"])
}

pub async fn put_into(kms: &Kms, user: &User, id: &str, state: &str) {
    if state != "Enabled" {
        kms.ok(user, "DisableDataKey", of(id)).await;
    }
    if state == "PendingDelete" {
        kms.ok(user, "ScheduleDataKeyDeletion", with(&of(id), json!({ "PendingWindowInDays": 7 }))).await;
    }
    assert_eq!(metadata(kms, user, id).await["KeyState"], state);
}
