//! RSA-2048 encryption and decryption (RFC 8017), shared by recipients and import keys.

use crate::CryptoError;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey,
};
use jadeseal_types::SecretBytes;

/// The one accepted size of modulus, bits.
pub(crate) const BITS: usize = 2048;
/// Length of a ciphertext, bytes.
pub(crate) const BYTES: usize = BITS / 8;

/// Paddings of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// RSAES-PKCS1-v1_5.
    Pkcs1,
    /// RSAES-OAEP with SHA-1 and MGF1-SHA-1.
    OaepSha1,
    /// RSAES-OAEP with SHA-256 and MGF1-SHA-256.
    OaepSha256,
}

impl Padding {
    /// Longest message under a 2,048-bit key, bytes.
    pub(crate) const fn max_message(self) -> usize {
        match self {
            Padding::Pkcs1 => BYTES - 11,
            Padding::OaepSha1 => BYTES - 2 - 2 * 20,
            Padding::OaepSha256 => BYTES - 2 - 2 * 32,
        }
    }

    fn oaep(self) -> Option<&'static OaepAlgorithm> {
        match self {
            Padding::Pkcs1 => None,
            Padding::OaepSha1 => Some(&OAEP_SHA1_MGF1SHA1),
            Padding::OaepSha256 => Some(&OAEP_SHA256_MGF1SHA256),
        }
    }
}

/// Encrypts a message that is not longer than [`Padding::max_message`].
pub(crate) fn encrypt(key: &PublicEncryptingKey, padding: Padding, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
    if message.len() > padding.max_message() {
        return Err(CryptoError::Invalid);
    }
    let failed = |_| CryptoError::Unavailable("RSA encryption");
    let mut out = vec![0; BYTES];
    let len = match padding.oaep() {
        Some(oaep) => {
            let key = OaepPublicEncryptingKey::new(key.clone()).map_err(failed)?;
            key.encrypt(oaep, message, &mut out, None).map_err(failed)?.len()
        }
        None => {
            let key = Pkcs1PublicEncryptingKey::new(key.clone()).map_err(failed)?;
            key.encrypt(message, &mut out).map_err(failed)?.len()
        }
    };
    out.truncate(len);
    Ok(out)
}

/// Decrypts; every failure is [`CryptoError::Invalid`].
///
/// With PKCS#1 v1.5 a caller can still tell good padding from bad, so this is only for places that
/// bound the number of attempts; the padding check itself takes constant time in the library.
pub(crate) fn decrypt(key: &PrivateDecryptingKey, padding: Padding, text: &[u8]) -> Result<SecretBytes, CryptoError> {
    if text.len() != BYTES {
        return Err(CryptoError::Invalid);
    }
    let failed = |_| CryptoError::Invalid;
    let mut out = SecretBytes::zeroed(BYTES);
    let message = match padding.oaep() {
        Some(oaep) => {
            let key = OaepPrivateDecryptingKey::new(key.clone()).map_err(failed)?;
            SecretBytes::copy_from(key.decrypt(oaep, text, out.expose_mut(), None).map_err(failed)?)
        }
        None => {
            let key = Pkcs1PrivateDecryptingKey::new(key.clone()).map_err(failed)?;
            SecretBytes::copy_from(key.decrypt(text, out.expose_mut()).map_err(failed)?)
        }
    };
    Ok(message)
}
