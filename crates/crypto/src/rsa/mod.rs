//! RSA-2048 (RFC 8017): decryption and signing keys, recipients and import keys.

mod implicit;
mod key;
mod raw;

pub use key::{RsaKey, RsaPublicKey, RsaScheme};

use crate::{CryptoError, der};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use jadeseal_types::SecretBytes;

/// The one accepted size of modulus, bits.
pub(crate) const BITS: usize = 2048;
/// Length of a ciphertext, bytes.
pub(crate) const BYTES: usize = BITS / 8;

/// How a message is padded before it is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// RSAES-PKCS1-v1_5 (RFC 8017 section 7.2).
    Pkcs1,
    /// RSAES-OAEP with SHA-1 and MGF1-SHA-1 (RFC 8017 section 7.1).
    OaepSha1,
    /// RSAES-OAEP with SHA-256 and MGF1-SHA-256 (RFC 8017 section 7.1).
    OaepSha256,
}

impl Padding {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::Pkcs1, Self::OaepSha1, Self::OaepSha256];

    /// The API's spelling.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Pkcs1 => "RSAES_PKCS1_V1_5",
            Self::OaepSha1 => "RSAES_OAEP_SHA_1",
            Self::OaepSha256 => "RSAES_OAEP_SHA_256",
        }
    }

    /// Reads the API's spelling, case-sensitively.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|p| p.wire() == text)
    }

    /// Longest message under a 2,048-bit key, bytes.
    pub const fn max_message(self) -> usize {
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

/// A private key and its public half; what import keys are, and the base of [`RsaKey`].
pub(crate) struct Pair {
    private: PrivateDecryptingKey,
    spki: Vec<u8>,
}

impl Pair {
    pub(crate) fn generate() -> Result<Self, CryptoError> {
        Self::new(PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| CryptoError::Unavailable("RSA key"))?)
    }

    /// Reads PKCS#8 (RFC 5208); the library checks that the numbers belong together.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, CryptoError> {
        // The library does not mind what follows.
        der::whole(der, der::SEQUENCE).ok_or(CryptoError::Invalid)?;
        let private = PrivateDecryptingKey::from_pkcs8(der).map_err(|_| CryptoError::Invalid)?;
        if private.key_size_bits() != BITS {
            return Err(CryptoError::Invalid);
        }
        // The library also takes a key without its public exponent, which it would use without blinding;
        // such a key has no public half to be written.
        Self::new(private).map_err(|_| CryptoError::Invalid)
    }

    fn new(private: PrivateDecryptingKey) -> Result<Self, CryptoError> {
        let spki: PublicKeyX509Der<'_> =
            private.public_key().as_der().map_err(|_| CryptoError::Unavailable("RSA key export"))?;
        Ok(Pair { spki: spki.as_ref().to_vec(), private })
    }

    pub(crate) fn to_pkcs8(&self) -> Result<SecretBytes, CryptoError> {
        let der: Pkcs8V1Der<'_> = self.private.as_der().map_err(|_| CryptoError::Unavailable("RSA key export"))?;
        Ok(SecretBytes::copy_from(der.as_ref()))
    }

    pub(crate) fn public_spki(&self) -> &[u8] {
        &self.spki
    }

    /// Decrypts; every failure is [`CryptoError::Invalid`].
    ///
    /// With PKCS#1 v1.5 a caller can still tell good padding from bad, so this is only for places that
    /// bound the number of attempts; the padding check itself takes constant time in the library.
    pub(crate) fn decrypt(&self, padding: Padding, text: &[u8]) -> Result<SecretBytes, CryptoError> {
        if text.len() != BYTES {
            return Err(CryptoError::Invalid);
        }
        let failed = |_| CryptoError::Invalid;
        let mut out = SecretBytes::zeroed(BYTES);
        let message = match padding.oaep() {
            Some(oaep) => {
                let key = OaepPrivateDecryptingKey::new(self.private.clone()).map_err(failed)?;
                SecretBytes::copy_from(key.decrypt(oaep, text, out.expose_mut(), None).map_err(failed)?)
            }
            None => {
                let key = Pkcs1PrivateDecryptingKey::new(self.private.clone()).map_err(failed)?;
                SecretBytes::copy_from(key.decrypt(text, out.expose_mut()).map_err(failed)?)
            }
        };
        Ok(message)
    }
}

/// What follows the raw operation in PKCS#1 v1.5 decryption, from the key derivation key of
/// draft-irtf-cfrg-rsa-guidance and the encoded block. Open for the measurement of its timing alone.
///
/// # Errors
/// [`CryptoError::Unavailable`] when the library fails; never for the block.
#[doc(hidden)]
pub fn implicit_rejection(kdk: &[u8; 32], block: &[u8; BYTES]) -> Result<SecretBytes, CryptoError> {
    implicit::message(kdk, block)
}
