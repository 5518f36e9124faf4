//! Keys of AsymmetricRsaDecrypt and of RSA signatures.

use super::implicit::Decryptor;
use super::{BITS, BYTES, Padding, Pair};
use crate::asymmetric::{self, Input, Verifier};
use crate::{CryptoError, der, rsa};
use aws_lc_rs::digest::SHA256;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, PublicEncryptingKey};
use aws_lc_rs::signature::{self, RsaEncoding};
use jadeseal_types::SecretBytes;

/// Signature schemes of RFC 8017, both with SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsaScheme {
    /// RSASSA-PSS with MGF1-SHA-256 and a salt of 32 bytes, the only length that verifies (section 8.1).
    PssSha256,
    /// RSASSA-PKCS1-v1_5 (section 8.2).
    Pkcs1Sha256,
}

impl RsaScheme {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::PssSha256, Self::Pkcs1Sha256];

    fn encoding(self) -> &'static dyn RsaEncoding {
        match self {
            Self::PssSha256 => &signature::RSA_PSS_SHA256,
            Self::Pkcs1Sha256 => &signature::RSA_PKCS1_SHA256,
        }
    }
}

/// An RSA-2048 private key, ready for decryption and for signing. Opening one costs about as much as two
/// private operations, since the library checks the numbers for each use; a call costs nothing of that
/// again, so keep it.
pub struct RsaKey {
    pair: Pair,
    signer: KeyPair,
    decryptor: Decryptor,
    public: RsaPublicKey,
}

impl RsaKey {
    /// Makes a new key. Takes about a tenth of a second of processor time.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn generate() -> Result<Self, CryptoError> {
        let pair = Pair::generate()?;
        let der = pair.to_pkcs8()?;
        Self::new(pair, der.expose()).map_err(|_| CryptoError::Unavailable("RSA key"))
    }

    /// Reads PKCS#8 version 1 (RFC 5208) in DER.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for anything but an RSA private key of 2,048 bits whose numbers belong
    /// together.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, CryptoError> {
        Self::new(Pair::from_pkcs8(der)?, der)
    }

    fn new(pair: Pair, der: &[u8]) -> Result<Self, CryptoError> {
        Ok(RsaKey {
            signer: KeyPair::from_pkcs8(der).map_err(|_| CryptoError::Invalid)?,
            decryptor: Decryptor::from_pkcs8(der).ok_or(CryptoError::Invalid)?,
            public: RsaPublicKey::from_spki(pair.public_spki())?,
            pair,
        })
    }

    /// The private key as PKCS#8 version 1 (RFC 5208) in DER, about 1.2 KB.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn to_pkcs8(&self) -> Result<SecretBytes, CryptoError> {
        self.pair.to_pkcs8()
    }

    /// The public key as SubjectPublicKeyInfo (RFC 5280) in DER.
    pub fn public_spki(&self) -> &[u8] {
        self.pair.public_spki()
    }

    /// The public key, for verification.
    pub fn public(&self) -> &RsaPublicKey {
        &self.public
    }

    /// Decrypts 256 bytes of ciphertext.
    ///
    /// With [`Padding::Pkcs1`] wrong padding is no error: the result is then a message that looks random,
    /// of a length that looks random, the same on each call (implicit rejection). Whoever uses it finds
    /// out by what is in it, as with any forged message.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a ciphertext of another length or not below the modulus, and with
    /// OAEP for every fault alike.
    pub fn decrypt(&self, padding: Padding, ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        match padding {
            Padding::Pkcs1 => self.decryptor.decrypt(ciphertext),
            Padding::OaepSha1 | Padding::OaepSha256 => self.pair.decrypt(padding, ciphertext),
        }
    }

    /// Signs; the result has 256 bytes.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a digest of another length than 32 bytes,
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn sign(&self, scheme: RsaScheme, input: Input<'_>) -> Result<Vec<u8>, CryptoError> {
        let mut out = vec![0; BYTES];
        match input {
            Input::Message(message) => self.signer.sign(scheme.encoding(), &SystemRandom::new(), message, &mut out),
            Input::Digest(digest) => {
                self.signer.sign_digest(scheme.encoding(), &asymmetric::digest(&SHA256, digest)?, &mut out)
            }
        }
        .map_err(|_| CryptoError::Unavailable("RSA signature"))?;
        Ok(out)
    }

    /// See [`RsaPublicKey::verify`].
    ///
    /// # Errors
    /// See there.
    pub fn verify(&self, scheme: RsaScheme, input: Input<'_>, signature: &[u8]) -> Result<bool, CryptoError> {
        self.public.verify(scheme, input, signature)
    }
}

/// An RSA-2048 public key.
pub struct RsaPublicKey {
    encrypting: PublicEncryptingKey,
    pss: Verifier,
    pkcs1: Verifier,
}

impl RsaPublicKey {
    /// Reads a SubjectPublicKeyInfo (RFC 5280) in DER.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for anything but an RSA key of 2,048 bits.
    pub fn from_spki(der: &[u8]) -> Result<Self, CryptoError> {
        // The library does not mind what follows.
        der::whole(der, der::SEQUENCE).ok_or(CryptoError::Invalid)?;
        let encrypting = PublicEncryptingKey::from_der(der).map_err(|_| CryptoError::Invalid)?;
        if encrypting.key_size_bits() != BITS {
            return Err(CryptoError::Invalid);
        }
        Ok(RsaPublicKey {
            encrypting,
            pss: Verifier::new(&signature::RSA_PSS_2048_8192_SHA256, &SHA256, der)?,
            pkcs1: Verifier::new(&signature::RSA_PKCS1_2048_8192_SHA256, &SHA256, der)?,
        })
    }

    /// Encrypts a message of at most [`Padding::max_message`] bytes; the result has 256.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a longer message, [`CryptoError::Unavailable`] when the library fails.
    pub fn encrypt(&self, padding: Padding, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        rsa::encrypt(&self.encrypting, padding, message)
    }

    /// Whether the signature is one of this key; false for a malformed one.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a digest of another length than 32 bytes.
    pub fn verify(&self, scheme: RsaScheme, input: Input<'_>, signature: &[u8]) -> Result<bool, CryptoError> {
        match scheme {
            RsaScheme::PssSha256 => self.pss.verify(input, signature),
            RsaScheme::Pkcs1Sha256 => self.pkcs1.verify(input, signature),
        }
    }
}
