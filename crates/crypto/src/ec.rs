//! ECDSA over P-256 with SHA-256 and over P-384 with SHA-384 (FIPS 186-5 section 6).

use crate::asymmetric::{self, Input, Verifier};
use crate::{CryptoError, der};
use aws_lc_rs::digest::{Algorithm, SHA256, SHA384};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair};
use jadeseal_types::SecretBytes;

/// The curve, and with it the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// P-256 with SHA-256; digests have 32 bytes.
    P256,
    /// P-384 with SHA-384; digests have 48 bytes.
    P384,
}

impl Curve {
    /// Every value.
    pub const ALL: &'static [Self] = &[Self::P256, Self::P384];

    /// Bytes of a coordinate, of a scalar and of the digest.
    const fn bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    fn hash(self) -> &'static Algorithm {
        match self {
            Self::P256 => &SHA256,
            Self::P384 => &SHA384,
        }
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            Self::P384 => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
        }
    }

    /// Verification of signatures in DER and of R ‖ S.
    fn verification(self) -> [&'static EcdsaVerificationAlgorithm; 2] {
        match self {
            Self::P256 => [&signature::ECDSA_P256_SHA256_ASN1, &signature::ECDSA_P256_SHA256_FIXED],
            Self::P384 => [&signature::ECDSA_P384_SHA384_ASN1, &signature::ECDSA_P384_SHA384_FIXED],
        }
    }

    /// The SubjectPublicKeyInfo (RFC 5480) up to the uncompressed point.
    const fn spki_head(self) -> &'static [u8] {
        match self {
            Self::P256 => b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\0",
            Self::P384 => b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\0\x22\x03\x62\0",
        }
    }
}

/// A private key.
pub struct EcKey {
    pair: EcdsaKeyPair,
    public: EcPublicKey,
}

impl EcKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn generate(curve: Curve) -> Result<Self, CryptoError> {
        let failed = CryptoError::Unavailable("EC key");
        Self::new(curve, EcdsaKeyPair::generate(curve.signing()).map_err(|_| failed)?).map_err(|_| failed)
    }

    /// Reads PKCS#8 version 1 (RFC 5208, RFC 5915) in DER.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for anything but a private key of this curve, and when a public key stands
    /// beside it that is not its own.
    pub fn from_pkcs8(curve: Curve, der: &[u8]) -> Result<Self, CryptoError> {
        // The library does not mind what follows.
        der::whole(der, der::SEQUENCE).ok_or(CryptoError::Invalid)?;
        Self::new(curve, EcdsaKeyPair::from_pkcs8(curve.signing(), der).map_err(|_| CryptoError::Invalid)?)
    }

    fn new(curve: Curve, pair: EcdsaKeyPair) -> Result<Self, CryptoError> {
        let spki = [curve.spki_head(), pair.public_key().as_ref()].concat();
        Ok(EcKey { public: EcPublicKey::from_spki(curve, &spki)?, pair })
    }

    /// The private key as PKCS#8 version 1 in DER, with the public key: 138 or 185 bytes.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn to_pkcs8(&self) -> Result<SecretBytes, CryptoError> {
        let der = self.pair.to_pkcs8v1().map_err(|_| CryptoError::Unavailable("EC key export"))?;
        Ok(SecretBytes::copy_from(der.as_ref()))
    }

    /// The public key as SubjectPublicKeyInfo (RFC 5480) in DER, with an uncompressed point: 91 or 120
    /// bytes.
    pub fn public_spki(&self) -> &[u8] {
        &self.public.spki
    }

    /// The public key, for verification.
    pub fn public(&self) -> &EcPublicKey {
        &self.public
    }

    /// Signs with a fresh random nonce; the result is the DER of `Ecdsa-Sig-Value` (RFC 3279), at most 72
    /// or 104 bytes.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a digest that has not the length of the curve's hash,
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn sign(&self, input: Input<'_>) -> Result<Vec<u8>, CryptoError> {
        let made = match input {
            Input::Message(message) => self.pair.sign(&SystemRandom::new(), message),
            Input::Digest(digest) => self.pair.sign_digest(&asymmetric::digest(self.public.curve.hash(), digest)?),
        };
        Ok(made.map_err(|_| CryptoError::Unavailable("ECDSA signature"))?.as_ref().to_vec())
    }

    /// See [`EcPublicKey::verify`].
    ///
    /// # Errors
    /// See there.
    pub fn verify(&self, input: Input<'_>, signature: &[u8]) -> Result<bool, CryptoError> {
        self.public.verify(input, signature)
    }
}

/// A public key.
pub struct EcPublicKey {
    curve: Curve,
    spki: Vec<u8>,
    der: Verifier,
    fixed: Verifier,
}

impl EcPublicKey {
    /// Reads a SubjectPublicKeyInfo (RFC 5480) in DER with the curve's name and an uncompressed point.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for anything else, and for a point that is not on the curve.
    pub fn from_spki(curve: Curve, spki: &[u8]) -> Result<Self, CryptoError> {
        let point = spki.strip_prefix(curve.spki_head()).ok_or(CryptoError::Invalid)?;
        if point.len() != 1 + 2 * curve.bytes() {
            return Err(CryptoError::Invalid);
        }
        let [der, fixed] = curve.verification();
        Ok(EcPublicKey {
            curve,
            spki: spki.to_vec(),
            der: Verifier::new(der, curve.hash(), point)?,
            fixed: Verifier::new(fixed, curve.hash(), point)?,
        })
    }

    /// Whether the signature is one of this key, in strict DER or as R ‖ S of 64 or 96 bytes; false for
    /// a malformed one.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a digest that has not the length of the curve's hash.
    pub fn verify(&self, input: Input<'_>, signature: &[u8]) -> Result<bool, CryptoError> {
        // DER of this very length takes two uncommonly short numbers, but it exists.
        let fixed = signature.len() == 2 * self.curve.bytes();
        Ok(self.der.verify(input, signature)? || (fixed && self.fixed.verify(input, signature)?))
    }
}
