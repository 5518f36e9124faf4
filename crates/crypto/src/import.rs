//! Wrapping keys for imported key material (BYOK): the KMS makes an RSA-2048 pair, the user encrypts
//! the material to its public half.

use crate::CryptoError;
use crate::rsa::{Padding, Pair};
use jadeseal_types::SecretBytes;

/// How the user wrapped the material.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrappingAlgorithm {
    /// RSAES-PKCS1-v1_5 (RFC 8017 section 7.2).
    RsaPkcs1,
    /// RSAES-OAEP with SHA-1 (RFC 8017 section 7.1).
    RsaOaepSha1,
    /// RSAES-OAEP with SHA-256 (RFC 8017 section 7.1).
    RsaOaepSha256,
}

impl WrappingAlgorithm {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::RsaPkcs1, Self::RsaOaepSha1, Self::RsaOaepSha256];

    /// The API's spelling.
    pub const fn wire(self) -> &'static str {
        self.padding().wire()
    }

    /// Reads the API's spelling, case-sensitively.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|a| a.wire() == text)
    }

    const fn padding(self) -> Padding {
        match self {
            Self::RsaPkcs1 => Padding::Pkcs1,
            Self::RsaOaepSha1 => Padding::OaepSha1,
            Self::RsaOaepSha256 => Padding::OaepSha256,
        }
    }
}

/// An RSA-2048 pair to which key material is wrapped.
pub struct ImportKey(Pair);

impl ImportKey {
    /// Makes a new pair. Takes about a tenth of a second of processor time.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn generate() -> Result<Self, CryptoError> {
        Pair::generate().map(ImportKey)
    }

    /// The private key as PKCS#8 version 1 (RFC 5208) in DER.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn to_pkcs8(&self) -> Result<SecretBytes, CryptoError> {
        self.0.to_pkcs8()
    }

    /// Reads what [`ImportKey::to_pkcs8`] wrote.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for anything but an RSA-2048 private key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, CryptoError> {
        Pair::from_pkcs8(der).map(ImportKey)
    }

    /// The public key as SubjectPublicKeyInfo (RFC 5280) in DER.
    pub fn public_spki(&self) -> Vec<u8> {
        self.0.public_spki().to_vec()
    }

    /// Decrypts wrapped material; the caller checks its length, and answers a wrong length exactly
    /// as it answers this error. Wrong padding is an error also with PKCS#1 v1.5: implicit rejection, as
    /// [`RsaKey`](crate::rsa::RsaKey) does it, would hand out random bytes as the user's key.
    ///
    /// The caller bounds the number of failures for one key: with PKCS#1 v1.5, success and failure
    /// themselves are an oracle when they can be asked without end.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for every fault alike.
    pub fn unwrap(&self, alg: WrappingAlgorithm, ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        self.0.decrypt(alg.padding(), ciphertext)
    }
}
