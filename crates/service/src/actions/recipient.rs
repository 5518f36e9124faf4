//! Results encrypted to a public key of the caller (`EncryptionPublicKey`, `EncryptionAlgorithm`).

use crate::{cx::Cx, values::SecretBase64};
use jadeseal_crypto::{CryptoError, Recipient, RecipientAlgorithm, RecipientError};
use jadeseal_types::{ApiError, ErrorCode as E, SecretBytes, error::Result};

/// The caller's public key, where one was given. An empty key means none, as for every optional text.
pub(super) fn recipient(pem: Option<&str>, algorithm: Option<&str>, cx: &Cx<'_>) -> Result<Option<Recipient>> {
    // Looked at without a key too: it is a value like any other.
    let algorithm = match algorithm {
        None | Some("") => RecipientAlgorithm::Sm2,
        Some(text) => RecipientAlgorithm::from_wire(text).ok_or_else(|| {
            let names: Vec<_> = RecipientAlgorithm::ALL.iter().map(|a| a.wire()).collect();
            let names = names.join(", ");
            let (en, zh) = (format!("must be one of {names}"), format!("必须为以下之一：{names}"));
            ApiError::invalid("EncryptionAlgorithm", &en, &zh)
        })?,
    };
    if cx.region.profile.is_strict() && !algorithm.is_gm() {
        return Err(ApiError::invalid(
            "EncryptionAlgorithm",
            "must be SM2 or SM2_C1C3C2_ASN1 in this region",
            "在该地域必须为 SM2 或 SM2_C1C3C2_ASN1",
        ));
    }
    let Some(pem) = pem.filter(|pem| !pem.is_empty()) else { return Ok(None) };
    Recipient::parse(pem, algorithm).map(Some).map_err(|e| {
        let (en, zh) = match e {
            RecipientError::Mismatch => ("does not fit EncryptionAlgorithm", "与 EncryptionAlgorithm 不匹配"),
            RecipientError::KeySize => ("must be an RSA key of 2048 bits", "必须为 2048 位 RSA 公钥"),
            RecipientError::TooLong => ("is too long", "过长"),
            RecipientError::Malformed => (
                "is not a SubjectPublicKeyInfo in PEM (PUBLIC KEY) or base64",
                "不是 PEM（PUBLIC KEY）或 base64 格式的 SPKI 公钥",
            ),
        };
        ApiError::invalid("EncryptionPublicKey", en, zh)
    })
}

/// The plaintext as the caller wants it: encrypted to his public key, or as it is.
pub(super) async fn deliver(plaintext: SecretBytes, to: Option<Recipient>, cx: &Cx<'_>) -> Result<SecretBase64> {
    let Some(recipient) = to else { return Ok(SecretBase64(plaintext)) };
    // SM2 takes about a quarter of a millisecond.
    let sealed = cx.svc.workers.run(move || recipient.encrypt(plaintext.expose())).await?;
    match sealed {
        Ok(sealed) => Ok(SecretBase64(SecretBytes::new(sealed))),
        Err(CryptoError::Invalid) => Err(ApiError::with_text(
            E::EncryptionError,
            "The plaintext is too long for the given public key.",
            "明文过长，无法使用所给公钥加密。",
        )),
        Err(e) => Err(ApiError::internal(e)),
    }
}
