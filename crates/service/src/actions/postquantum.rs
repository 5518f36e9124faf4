//! Post-quantum keys: ML-KEM-1024 with AES-256-GCM (`Kyber_AES`) and ML-DSA-87 (`Dilithium`).

use super::{
    Cmk, EncryptingPostQuantum, SigningPostQuantum, VerifyingPostQuantum,
    asymmetric::{Signed, Verified},
    compute, on_key,
    recipient::{deliver, recipient},
    usable,
};
use crate::{
    action::{Access, Action, Named, Spec, Target, family},
    cx::Cx,
    docs,
    keys::KeyEntry,
    lifecycle::Use,
    schema::{Doc, answer, request},
    values::{Base64, Blob, Message, Plaintext, SecretBase64, Signature},
};
use jadeseal_auth::params::Params;
use jadeseal_crypto::{CryptoError, pq};
use jadeseal_types::{ApiError, ErrorCode as E, KeyId, error::Result};
use std::sync::Arc;

family![PostQuantumCryptoEncrypt, PostQuantumCryptoDecrypt, PostQuantumCryptoSign, PostQuantumCryptoVerify];

request! {
    /// Encrypts up to 4 KiB with a post-quantum key.
    PostQuantumCryptoEncrypt {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        required plaintext: Plaintext = "PlainText", Doc("Base64 of 1 to 4096 bytes.", "1 到 4096 字节数据的 base64。");
    }
}

answer! {
    /// What a post-quantum key encrypted.
    PostQuantumEncrypted {
        blob: Base64 = "CiphertextBlob", docs::BLOB;
        key_id: KeyId = "KeyId", docs::KEY_ID;
    }
}

on_key!(PostQuantumCryptoEncrypt, PostQuantumCryptoSign, PostQuantumCryptoVerify);

impl Action for PostQuantumCryptoEncrypt {
    const SPEC: Spec = Spec {
        name: "PostQuantumCryptoEncrypt",
        access: Access::Use,
        errors: &[
            E::InvalidKeyId,
            E::InvalidPlaintext,
            E::CmkNotFound,
            E::CmkDisabled,
            E::CmkArchived,
            E::UnsupportedKeyUsageInCurrentRegion,
        ],
        doc: Doc("Encrypts up to 4096 bytes with a Kyber_AES CMK.", "使用后量子主密钥加密最多 4096 字节的数据。"),
    };
    type On = Cmk<EncryptingPostQuantum>;
    type Response = PostQuantumEncrypted;

    async fn run(self, cmk: Cmk<EncryptingPostQuantum>, cx: &Cx<'_>) -> Result<PostQuantumEncrypted> {
        let (key_id, version) = (self.key_id, cmk.entry.row.current_version);
        let plaintext = self.plaintext.0;
        let blob = cmk.compute(cx, move |key| key.seal_post_quantum(key_id, version, plaintext.expose()));
        let blob = blob.await?.map_err(ApiError::internal)?;
        cx.used(&cmk.entry);
        Ok(PostQuantumEncrypted { blob: Base64(blob), key_id })
    }
}

request! {
    /// Decrypts what PostQuantumCryptoEncrypt made.
    PostQuantumCryptoDecrypt {
        required blob: Blob = "CiphertextBlob", docs::BLOB;
        optional public_key: String = "EncryptionPublicKey", docs::RECIPIENT_KEY;
        optional algorithm: String = "EncryptionAlgorithm", docs::RECIPIENT_ALGORITHM;
    }
}

answer! {
    /// What a post-quantum key decrypted.
    PostQuantumDecrypted {
        key_id: KeyId = "KeyId", docs::KEY_ID;
        plaintext: SecretBase64 = "PlainText", docs::PLAINTEXT;
    }
}

/// A post-quantum ciphertext whose key has been found in the caller's scope and may decrypt.
pub struct PostQuantumSealed {
    entry: Arc<KeyEntry>,
    version: u32,
}

impl Target<PostQuantumCryptoDecrypt> for PostQuantumSealed {
    const ON_KEYS: bool = true;

    fn named(params: &Params<'_>) -> Named {
        let header = Blob::peek(params.get("CiphertextBlob")).and_then(|blob| pq::header(&blob).ok());
        Named::Keys(header.map(|(key_id, _)| key_id).into_iter().collect())
    }

    fn early(request: &PostQuantumCryptoDecrypt, cx: &Cx<'_>) -> Result<()> {
        recipient(request.public_key.as_deref(), request.algorithm.as_deref(), cx).map(drop)
    }

    /// As for symmetric ciphertext, a malformed blob and one of an unknown key give the same answer.
    async fn load(request: &PostQuantumCryptoDecrypt, cx: &Cx<'_>) -> Result<Self> {
        let (key_id, version) = pq::header(&request.blob.0).map_err(|_| invalid())?;
        let entry = cx.find_key(key_id).await?.ok_or_else(invalid)?;
        usable(&entry, Use::DecryptPostQuantum, cx)?;
        // A version that does not exist is one that nobody has encrypted with.
        cx.svc.keys.asymmetric(&cx.scope, &entry, version).await?.ok_or_else(invalid)?;
        Ok(PostQuantumSealed { entry, version })
    }
}

impl Action for PostQuantumCryptoDecrypt {
    const SPEC: Spec = Spec {
        name: "PostQuantumCryptoDecrypt",
        access: Access::Use,
        errors: &[E::EncryptionError, E::InvalidCiphertext, E::CmkDisabled, E::UnsupportedKeyUsageInCurrentRegion],
        doc: Doc("Decrypts what PostQuantumCryptoEncrypt made.", "解密后量子密文。"),
    };
    type On = PostQuantumSealed;
    type Response = PostQuantumDecrypted;

    async fn run(self, sealed: PostQuantumSealed, cx: &Cx<'_>) -> Result<PostQuantumDecrypted> {
        let recipient = recipient(self.public_key.as_deref(), self.algorithm.as_deref(), cx)?;
        let key_id = sealed.entry.row.key_id;
        cx.note(key_id);
        let check = |entry: &KeyEntry| usable(entry, Use::DecryptPostQuantum, cx);
        let blob = self.blob.0;
        let opened = compute(sealed.entry.clone(), sealed.version, check, cx, move |key| key.open_post_quantum(&blob));
        let plaintext = opened.await?.map_err(|e| match e {
            CryptoError::Invalid => invalid(),
            CryptoError::Unavailable(_) => ApiError::internal(e),
        })?;
        let plaintext = deliver(plaintext, recipient, cx).await?;
        cx.used(&sealed.entry);
        Ok(PostQuantumDecrypted { key_id, plaintext })
    }
}

/// One answer for everything that can be wrong with a ciphertext, which has no encryption context here.
fn invalid() -> ApiError {
    ApiError::with_text(E::InvalidCiphertext, "The ciphertext is invalid.", "密文无效。")
}

request! {
    /// Signs with a post-quantum key.
    PostQuantumCryptoSign {
        required message: Message = "Message", Doc("Message, base64 of 1 to 4096 bytes.", "消息，1 到 4096 字节数据的 base64。");
        required key_id: KeyId = "KeyId", docs::KEY_ID;
    }
}

impl Action for PostQuantumCryptoSign {
    const SPEC: Spec = Spec {
        name: "PostQuantumCryptoSign",
        access: Access::Use,
        errors: &[E::InvalidKeyId, E::CmkNotFound, E::CmkStateNotSupport, E::UnsupportedKeyUsageInCurrentRegion],
        doc: Doc("Signs up to 4096 bytes with a Dilithium CMK.", "使用后量子主密钥签名。"),
    };
    type On = Cmk<SigningPostQuantum>;
    type Response = Signed;

    async fn run(self, cmk: Cmk<SigningPostQuantum>, cx: &Cx<'_>) -> Result<Signed> {
        let signature = cmk.compute(cx, move |key| key.sign_post_quantum(&self.message.0));
        let signature = signature.await?.map_err(ApiError::internal)?;
        cx.used(&cmk.entry);
        Ok(Signed { signature: Base64(signature) })
    }
}

request! {
    /// Verifies a signature of a post-quantum key.
    PostQuantumCryptoVerify {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        required signature: Signature = "SignatureValue", docs::SIGNATURE;
        required message: Message = "Message", Doc("Message, base64 of 1 to 4096 bytes.", "消息，1 到 4096 字节数据的 base64。");
    }
}

impl Action for PostQuantumCryptoVerify {
    const SPEC: Spec = Spec {
        name: "PostQuantumCryptoVerify",
        access: Access::Use,
        errors: &[
            E::InvalidParameterValue,
            E::InvalidKeyId,
            E::CmkNotFound,
            E::CmkStateNotSupport,
            E::UnsupportedKeyUsageInCurrentRegion,
        ],
        doc: Doc("Verifies a signature of a Dilithium CMK.", "验证后量子签名。"),
    };
    type On = Cmk<VerifyingPostQuantum>;
    type Response = Verified;

    async fn run(self, cmk: Cmk<VerifyingPostQuantum>, cx: &Cx<'_>) -> Result<Verified> {
        let valid = cmk.compute(cx, move |key| key.verify_post_quantum(&self.message.0, &self.signature.0));
        let valid = valid.await?.map_err(ApiError::internal)?;
        cx.used(&cmk.entry);
        Ok(Verified { valid })
    }
}
