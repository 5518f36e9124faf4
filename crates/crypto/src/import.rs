//! Wrapping keys for imported key material (BYOK): the KMS makes an RSA-2048 pair, the user encrypts
//! the material to its public half.

use crate::CryptoError;
use crate::rsa::{Padding, Pair};
use jadeseal_types::SecretBytes;

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
    pub fn unwrap(&self, padding: Padding, ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        self.0.decrypt(padding, ciphertext)
    }
}
