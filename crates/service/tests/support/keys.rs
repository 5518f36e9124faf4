//! What tests of asymmetric keys share.

use super::{Kms, User};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jadeseal_crypto::{Recipient, RecipientAlgorithm};
use serde_json::json;

/// Something to sign.
pub const MESSAGE: &[u8] = b"a message to be signed";

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub async fn create(kms: &Kms, user: &User, usage: &str) -> String {
    let alias = format!("k-{}", usage.to_lowercase());
    let made = kms.ok(user, "CreateKey", json!({ "Alias": alias, "KeyUsage": usage })).await;
    assert_eq!(made["KeyUsage"], usage);
    assert_eq!(made["KeyState"], "Enabled");
    made["KeyId"].as_str().unwrap().to_owned()
}

pub async fn pem_of(kms: &Kms, user: &User, key: &str) -> String {
    let answer = kms.ok(user, "GetPublicKey", json!({ "KeyId": key })).await;
    assert_eq!(answer["KeyId"], *key);
    let pem = answer["PublicKeyPem"].as_str().unwrap().to_owned();
    // One block, 64 columns, a line end at the end, the same bytes as PublicKey.
    let body = pem.strip_prefix("-----BEGIN PUBLIC KEY-----\n").unwrap();
    let body = body.strip_suffix("-----END PUBLIC KEY-----\n").unwrap();
    assert!(body.lines().all(|line| line.len() <= 64) && body.ends_with('\n'));
    assert_eq!(body.replace('\n', ""), answer["PublicKey"].as_str().unwrap());
    pem
}

/// What a client does with the public key: encrypts to it.
pub fn encrypt(pem: &str, algorithm: &str, plaintext: &[u8]) -> Vec<u8> {
    let algorithm = RecipientAlgorithm::from_wire(algorithm).unwrap();
    Recipient::parse(pem, algorithm).unwrap().encrypt(plaintext).unwrap()
}
