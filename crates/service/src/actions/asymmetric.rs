//! Asymmetric keys: public keys, decryption, signatures.

use super::{Cmk, DecryptingRsa, DecryptingSm2, OnKey, ShowingPublicKey, Signing, Verifying, on_key};
use crate::{
    action::{Access, Action, Spec, family},
    cx::Cx,
    docs,
    schema::{Doc, answer, request},
    values::{Base64, Encoded, Message, SecretBase64, Signature},
};
use jadeseal_crypto::{CryptoError, PrivateKey, SignatureScheme, asymmetric::Input, rsa::Padding};
use jadeseal_types::{ApiError, ErrorCode as E, KeyId, SecretBytes, error::Result, limits};

family![GetPublicKey, AsymmetricRsaDecrypt, AsymmetricSm2Decrypt, SignByAsymmetricKey, VerifyByAsymmetricKey];

request! {
    /// Asks for a public key.
    GetPublicKey {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
    }
}

answer! {
    /// A public key.
    PublicKey {
        key_id: KeyId = "KeyId", docs::KEY_ID;
        spki: Base64 = "PublicKey", Doc("SubjectPublicKeyInfo in DER, base64.", "公钥（SPKI DER），base64。");
        pem: String = "PublicKeyPem", Doc("The same in PEM.", "PEM 格式的公钥。");
    }
}

on_key!(GetPublicKey);

impl Action for GetPublicKey {
    const SPEC: Spec = Spec {
        name: "GetPublicKey",
        access: Access::Read,
        errors: &[E::InvalidKeyId, E::CmkNotFound, E::CmkStateNotSupport, E::UnsupportedKeyUsageInCurrentRegion],
        doc: Doc("Returns the public key of an asymmetric CMK.", "获取非对称主密钥的公钥。"),
    };
    type On = Cmk<ShowingPublicKey>;
    type Response = PublicKey;

    async fn run(self, cmk: Cmk<ShowingPublicKey>, cx: &Cx<'_>) -> Result<PublicKey> {
        let key = cmk.private_key(cx).await?;
        let spki = key.public_spki().to_vec();
        Ok(PublicKey { key_id: self.key_id, pem: pem(&spki)?, spki: Base64(spki) })
    }
}

/// PEM as RFC 7468 wants it written: 64 columns, a line end behind each line.
fn pem(spki: &[u8]) -> Result<String> {
    pem_rfc7468::encode_string("PUBLIC KEY", pem_rfc7468::LineEnding::LF, spki).map_err(ApiError::internal)
}

request! {
    /// Decrypts with an RSA key.
    AsymmetricRsaDecrypt {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        required ciphertext: Encoded<4096> = "Ciphertext", Doc("Ciphertext made with the public key, base64.", "用公钥加密的密文，base64。");
        required algorithm: String = "Algorithm", Doc("RSAES_PKCS1_V1_5, RSAES_OAEP_SHA_1 or RSAES_OAEP_SHA_256.", "RSAES_PKCS1_V1_5、RSAES_OAEP_SHA_1 或 RSAES_OAEP_SHA_256。");
    }
}

answer! {
    /// What an asymmetric key decrypted.
    AsymmetricallyDecrypted {
        key_id: KeyId = "KeyId", docs::KEY_ID;
        plaintext: SecretBase64 = "Plaintext", Doc("Plaintext, base64.", "明文，base64。");
    }
}

impl AsymmetricRsaDecrypt {
    fn padding(&self) -> Result<Padding> {
        Padding::from_wire(&self.algorithm).ok_or_else(|| {
            ApiError::invalid(
                "Algorithm",
                "must be RSAES_PKCS1_V1_5, RSAES_OAEP_SHA_1 or RSAES_OAEP_SHA_256",
                "必须为 RSAES_PKCS1_V1_5、RSAES_OAEP_SHA_1 或 RSAES_OAEP_SHA_256",
            )
        })
    }
}

impl OnKey for AsymmetricRsaDecrypt {
    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn early(&self, _: &Cx<'_>) -> Result<()> {
        self.padding().map(drop)
    }
}

impl Action for AsymmetricRsaDecrypt {
    const SPEC: Spec = Spec {
        name: "AsymmetricRsaDecrypt",
        access: Access::Use,
        errors: &[
            E::DecryptError,
            E::InvalidKeyId,
            E::InvalidKeyUsage,
            E::CmkNotFound,
            E::CmkStateNotSupport,
            E::UnsupportedKeyUsageInCurrentRegion,
        ],
        doc: Doc(
            "Decrypts with an RSA CMK. Wrong PKCS#1 v1.5 padding gives random bytes, not an error.",
            "使用 RSA 主密钥解密。PKCS#1 v1.5 填充错误时返回随机数据而非错误。",
        ),
    };
    type On = Cmk<DecryptingRsa>;
    type Response = AsymmetricallyDecrypted;

    async fn run(self, cmk: Cmk<DecryptingRsa>, cx: &Cx<'_>) -> Result<AsymmetricallyDecrypted> {
        let padding = self.padding()?;
        let plaintext = cmk.compute(cx, move |key| key.decrypt_rsa(padding, &self.ciphertext.0)).await?;
        let plaintext = decrypted(plaintext)?;
        cx.used(&cmk.entry);
        Ok(AsymmetricallyDecrypted { key_id: self.key_id, plaintext })
    }
}

/// One answer for everything that can be wrong with a ciphertext.
fn decrypted(result: Result<SecretBytes, CryptoError>) -> Result<SecretBase64> {
    match result {
        Ok(plaintext) => Ok(SecretBase64(plaintext)),
        Err(CryptoError::Invalid) => Err(E::DecryptError.into()),
        Err(e) => Err(ApiError::internal(e)),
    }
}

request! {
    /// Decrypts with an SM2 key.
    AsymmetricSm2Decrypt {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        required ciphertext: Encoded<4096> = "Ciphertext", Doc("SM2 ciphertext C1C3C2 in ASN.1, at most 256 bytes, base64.", "SM2 密文（C1C3C2，ASN.1），最多 256 字节，base64。");
    }
}

impl OnKey for AsymmetricSm2Decrypt {
    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn early(&self, _: &Cx<'_>) -> Result<()> {
        if self.ciphertext.0.is_empty() || self.ciphertext.0.len() > limits::MAX_SM2_CIPHERTEXT_BYTES {
            return Err(ApiError::invalid("Ciphertext", "must be 1 to 256 bytes", "必须为 1 到 256 字节"));
        }
        Ok(())
    }

    /// A region without SM2 says so, but for a key that was made when it had it.
    fn missing(cx: &Cx<'_>) -> E {
        let offered = cx.region.profile.offers(jadeseal_types::KeyUsage::DecryptSm2);
        if offered { E::CmkNotFound } else { E::UnsupportedKeyUsageInCurrentRegion }
    }
}

impl Action for AsymmetricSm2Decrypt {
    const SPEC: Spec = Spec {
        name: "AsymmetricSm2Decrypt",
        access: Access::Use,
        errors: &[
            E::DecryptError,
            E::InvalidKeyId,
            E::InvalidKeyUsage,
            E::CmkNotFound,
            E::CmkStateNotSupport,
            E::UnsupportedKeyUsageInCurrentRegion,
        ],
        doc: Doc("Decrypts with an SM2 CMK.", "使用 SM2 主密钥解密。"),
    };
    type On = Cmk<DecryptingSm2>;
    type Response = AsymmetricallyDecrypted;

    async fn run(self, cmk: Cmk<DecryptingSm2>, cx: &Cx<'_>) -> Result<AsymmetricallyDecrypted> {
        let plaintext = cmk.compute(cx, move |key| key.decrypt_sm2(&self.ciphertext.0)).await?;
        let plaintext = decrypted(plaintext)?;
        cx.used(&cmk.entry);
        Ok(AsymmetricallyDecrypted { key_id: self.key_id, plaintext })
    }
}

request! {
    /// Signs a message or its digest.
    SignByAsymmetricKey {
        required algorithm: String = "Algorithm", docs::SIGNATURE_ALGORITHM;
        required message: Message = "Message", docs::MESSAGE;
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        optional message_type: String = "MessageType", docs::MESSAGE_TYPE;
    }
}

answer! {
    /// A signature.
    Signed {
        signature: Base64 = "Signature", Doc("Signature, base64; elliptic curve signatures in DER.", "签名，base64；椭圆曲线签名为 DER 编码。");
    }
}

impl OnKey for SignByAsymmetricKey {
    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn early(&self, _: &Cx<'_>) -> Result<()> {
        Signable::check(&self.algorithm, self.message_type.as_deref(), &self.message).map(drop)
    }
}

impl Action for SignByAsymmetricKey {
    const SPEC: Spec = Spec {
        name: "SignByAsymmetricKey",
        access: Access::Use,
        errors: &[E::InvalidKeyId, E::CmkNotFound, E::CmkStateNotSupport, E::UnsupportedKeyUsageInCurrentRegion],
        doc: Doc("Signs a message or its digest with an asymmetric CMK.", "使用非对称主密钥对消息或摘要签名。"),
    };
    type On = Cmk<Signing>;
    type Response = Signed;

    async fn run(self, cmk: Cmk<Signing>, cx: &Cx<'_>) -> Result<Signed> {
        let signable = Signable::check(&self.algorithm, self.message_type.as_deref(), &self.message)?;
        signable.fits(&cmk)?;
        let message = self.message;
        let signature = cmk.compute(cx, move |key| key.sign(signable.scheme, signable.input(&message))).await?;
        let signature = signature.map_err(ApiError::internal)?;
        cx.used(&cmk.entry);
        Ok(Signed { signature: Base64(signature) })
    }
}

request! {
    /// Verifies a signature of a message or its digest.
    VerifyByAsymmetricKey {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        required signature: Signature = "SignatureValue", docs::SIGNATURE;
        required message: Message = "Message", docs::MESSAGE;
        required algorithm: String = "Algorithm", docs::SIGNATURE_ALGORITHM;
        optional message_type: String = "MessageType", docs::MESSAGE_TYPE;
    }
}

answer! {
    /// Whether a signature is right.
    Verified {
        valid: bool = "SignatureValid", Doc("True when the signature is right.", "签名是否有效。");
    }
}

impl OnKey for VerifyByAsymmetricKey {
    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn early(&self, _: &Cx<'_>) -> Result<()> {
        Signable::check(&self.algorithm, self.message_type.as_deref(), &self.message).map(drop)
    }
}

impl Action for VerifyByAsymmetricKey {
    const SPEC: Spec = Spec {
        name: "VerifyByAsymmetricKey",
        access: Access::Use,
        errors: &[
            E::InvalidParameterValue,
            E::InvalidKeyId,
            E::CmkNotFound,
            E::CmkStateNotSupport,
            E::UnsupportedKeyUsageInCurrentRegion,
        ],
        doc: Doc("Verifies a signature with an asymmetric CMK.", "使用非对称主密钥验证签名。"),
    };
    type On = Cmk<Verifying>;
    type Response = Verified;

    async fn run(self, cmk: Cmk<Verifying>, cx: &Cx<'_>) -> Result<Verified> {
        let signable = Signable::check(&self.algorithm, self.message_type.as_deref(), &self.message)?;
        signable.fits(&cmk)?;
        let (message, signature) = (self.message, self.signature);
        let verify = move |key: &_| verify(key, signable, &message, &signature);
        let valid = cmk.compute(cx, verify).await?;
        let valid = valid.map_err(ApiError::internal)?;
        cx.used(&cmk.entry);
        Ok(Verified { valid })
    }
}

fn verify(key: &PrivateKey, signable: Signable, message: &Message, signature: &Signature) -> Result<bool, CryptoError> {
    key.verify(signable.scheme, signable.input(message), &signature.0)
}

/// How a message is to be signed or verified, with the form of the message checked.
#[derive(Clone, Copy)]
struct Signable {
    scheme: SignatureScheme,
    digest: bool,
}

impl Signable {
    fn check(algorithm: &str, message_type: Option<&str>, message: &Message) -> Result<Self> {
        let scheme = SignatureScheme::from_wire(algorithm).ok_or_else(|| {
            let names: Vec<_> = SignatureScheme::ALL.iter().map(|s| s.wire()).collect();
            let names = names.join(", ");
            ApiError::invalid("Algorithm", &format!("must be one of {names}"), &format!("必须为以下之一：{names}"))
        })?;
        let digest = match message_type {
            None | Some("" | "RAW") => false,
            Some("DIGEST") => true,
            Some(_) => return Err(ApiError::invalid("MessageType", "must be RAW or DIGEST", "必须为 RAW 或 DIGEST")),
        };
        if digest && message.0.len() != scheme.digest_len() {
            let n = scheme.digest_len();
            let (en, zh) = (format!("must be a digest of {n} bytes"), format!("必须为 {n} 字节的摘要"));
            return Err(ApiError::invalid("Message", &en, &zh));
        }
        Ok(Signable { scheme, digest })
    }

    /// Refuses an algorithm that is not one of the key.
    fn fits<D>(self, cmk: &Cmk<D>) -> Result<()> {
        if self.scheme.usage() == cmk.entry.row.usage {
            return Ok(());
        }
        Err(ApiError::invalid("Algorithm", "does not fit the key", "与密钥不匹配"))
    }

    fn input(self, message: &Message) -> Input<'_> {
        if self.digest { Input::Digest(&message.0) } else { Input::Message(&message.0) }
    }
}
