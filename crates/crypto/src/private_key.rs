//! Private keys of asymmetric CMKs, whatever their algorithm, and the names of what can be done with them.

use crate::CryptoError;
use crate::asymmetric::Input;
use crate::ec::{Curve, EcKey};
use crate::mldsa::MlDsaKey;
use crate::mlkem::MlKemKey;
use crate::rsa::{Padding, RsaKey, RsaScheme};
use crate::sm2::Sm2Key;
use jadeseal_types::{KeyUsage, SecretBytes};

/// How a signature is made and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureScheme {
    /// SM2 with SM3 and the user id `1234567812345678` (GB/T 32918.2, GM/T 0009), in DER.
    Sm2,
    /// The same as R ‖ S, 64 bytes.
    Sm2Raw,
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5), in DER.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384 (FIPS 186-5), in DER.
    EcdsaP384,
    /// RSASSA-PSS with SHA-256, MGF1-SHA-256 and a salt of 32 bytes (RFC 8017 section 8.1).
    RsaPss,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2).
    RsaPkcs1,
}

impl SignatureScheme {
    /// Reads the API's spelling, case-sensitively. `SM2DSA_ASN1` is another name of `SM2DSA`.
    pub fn from_wire(text: &str) -> Option<Self> {
        Some(match text {
            "SM2DSA" | "SM2DSA_ASN1" => Self::Sm2,
            "SM2DSA_RAW" => Self::Sm2Raw,
            "ECC_P256_R1" => Self::EcdsaP256,
            "ECC_P384_R1" => Self::EcdsaP384,
            "RSA_PSS_SHA_256" => Self::RsaPss,
            "RSA_PKCS1_SHA_256" => Self::RsaPkcs1,
            _ => return None,
        })
    }

    /// The usage of the keys that sign so.
    pub const fn usage(self) -> KeyUsage {
        match self {
            Self::Sm2 | Self::Sm2Raw => KeyUsage::SignSm2,
            Self::EcdsaP256 => KeyUsage::SignP256,
            Self::EcdsaP384 => KeyUsage::SignP384,
            Self::RsaPss | Self::RsaPkcs1 => KeyUsage::SignRsa2048,
        }
    }

    /// Length of a digest, bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::EcdsaP384 => 48,
            _ => 32,
        }
    }
}

/// An opened private key with its public half. Everything that a call needs has been worked out when it was opened.
pub enum PrivateKey {
    /// RSA-2048. Boxed: it is eight times as large as the others.
    Rsa(Box<RsaKey>),
    /// ECDSA on P-256.
    P256(EcKey),
    /// ECDSA on P-384.
    P384(EcKey),
    /// SM2.
    Sm2(Sm2Key),
    /// ML-KEM-1024.
    MlKem(MlKemKey),
    /// ML-DSA-87.
    MlDsa(MlDsaKey),
}

impl PrivateKey {
    /// Makes a key for a usage. RSA takes about a tenth of a second of processor time, the others well under a
    /// millisecond.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails, and for a symmetric usage.
    pub fn generate(usage: KeyUsage) -> Result<Self, CryptoError> {
        Ok(match usage {
            KeyUsage::EncryptDecrypt => return Err(NOT_ASYMMETRIC),
            KeyUsage::DecryptRsa2048 | KeyUsage::SignRsa2048 => Self::Rsa(Box::new(RsaKey::generate()?)),
            KeyUsage::DecryptSm2 | KeyUsage::SignSm2 => Self::Sm2(Sm2Key::generate()?),
            KeyUsage::SignP256 => Self::P256(EcKey::generate(Curve::P256)?),
            KeyUsage::SignP384 => Self::P384(EcKey::generate(Curve::P384)?),
            KeyUsage::DecryptKyber => Self::MlKem(MlKemKey::generate()?),
            KeyUsage::SignDilithium => Self::MlDsa(MlDsaKey::generate()?),
        })
    }

    /// Reads what [`PrivateKey::material`] wrote.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for anything that is not a private key for this usage.
    pub fn open(usage: KeyUsage, material: &SecretBytes) -> Result<Self, CryptoError> {
        let bytes = material.expose();
        Ok(match usage {
            KeyUsage::EncryptDecrypt => return Err(NOT_ASYMMETRIC),
            KeyUsage::DecryptRsa2048 | KeyUsage::SignRsa2048 => Self::Rsa(Box::new(RsaKey::from_pkcs8(bytes)?)),
            KeyUsage::DecryptSm2 | KeyUsage::SignSm2 => Self::Sm2(Sm2Key::from_scalar(bytes)?),
            KeyUsage::SignP256 => Self::P256(EcKey::from_pkcs8(Curve::P256, bytes)?),
            KeyUsage::SignP384 => Self::P384(EcKey::from_pkcs8(Curve::P384, bytes)?),
            KeyUsage::DecryptKyber => Self::MlKem(MlKemKey::from_bytes(bytes)?),
            KeyUsage::SignDilithium => Self::MlDsa(MlDsaKey::from_seed(bytes)?),
        })
    }

    /// What is stored of the key, to be wrapped: `docs/formats.md` has the form of each algorithm.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn material(&self) -> Result<SecretBytes, CryptoError> {
        match self {
            Self::Rsa(key) => key.to_pkcs8(),
            Self::P256(key) | Self::P384(key) => key.to_pkcs8(),
            Self::Sm2(key) => Ok(key.to_scalar()),
            Self::MlKem(key) => key.to_bytes(),
            Self::MlDsa(key) => Ok(SecretBytes::copy_from(key.seed().expose())),
        }
    }

    /// The public key as SubjectPublicKeyInfo (RFC 5280) in DER.
    pub fn public_spki(&self) -> &[u8] {
        match self {
            Self::Rsa(key) => key.public_spki(),
            Self::P256(key) | Self::P384(key) => key.public_spki(),
            Self::Sm2(key) => key.public_spki(),
            Self::MlKem(key) => key.public_spki(),
            Self::MlDsa(key) => key.public_spki(),
        }
    }

    /// Signs.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] when the scheme is not one of this key, or for a digest of another length;
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn sign(&self, scheme: SignatureScheme, input: Input<'_>) -> Result<Vec<u8>, CryptoError> {
        match (self, scheme) {
            (Self::Rsa(key), SignatureScheme::RsaPss) => key.sign(RsaScheme::PssSha256, input),
            (Self::Rsa(key), SignatureScheme::RsaPkcs1) => key.sign(RsaScheme::Pkcs1Sha256, input),
            (Self::P256(key), SignatureScheme::EcdsaP256) => key.sign(input),
            (Self::P384(key), SignatureScheme::EcdsaP384) => key.sign(input),
            (Self::Sm2(key), SignatureScheme::Sm2) => Ok(key.sign(input)?.to_der()),
            (Self::Sm2(key), SignatureScheme::Sm2Raw) => Ok(key.sign(input)?.to_raw().to_vec()),
            _ => Err(CryptoError::Invalid),
        }
    }

    /// Verifies. Elliptic curve signatures may be in DER or R ‖ S, whatever the scheme says. A signature that is
    /// wrong or malformed is false.
    ///
    /// # Errors
    /// As [`PrivateKey::sign`].
    pub fn verify(&self, scheme: SignatureScheme, input: Input<'_>, signature: &[u8]) -> Result<bool, CryptoError> {
        match (self, scheme) {
            (Self::Rsa(key), SignatureScheme::RsaPss) => key.verify(RsaScheme::PssSha256, input, signature),
            (Self::Rsa(key), SignatureScheme::RsaPkcs1) => key.verify(RsaScheme::Pkcs1Sha256, input, signature),
            (Self::P256(key), SignatureScheme::EcdsaP256) => key.verify(input, signature),
            (Self::P384(key), SignatureScheme::EcdsaP384) => key.verify(input, signature),
            (Self::Sm2(key), SignatureScheme::Sm2 | SignatureScheme::Sm2Raw) => key.verify(input, signature),
            _ => Err(CryptoError::Invalid),
        }
    }

    /// Decrypts with RSA. Wrong PKCS#1 v1.5 padding gives a pseudo-random plaintext, not an error.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for every fault of the ciphertext alike, and for a key of another algorithm.
    pub fn decrypt_rsa(&self, padding: Padding, ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        match self {
            Self::Rsa(key) => key.decrypt(padding, ciphertext),
            _ => Err(CryptoError::Invalid),
        }
    }

    /// Decrypts SM2 ciphertext, C1C3C2 in ASN.1 (GM/T 0009).
    ///
    /// # Errors
    /// As [`PrivateKey::decrypt_rsa`].
    pub fn decrypt_sm2(&self, ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        match self {
            Self::Sm2(key) => key.decrypt(ciphertext),
            _ => Err(CryptoError::Invalid),
        }
    }
}

const NOT_ASYMMETRIC: CryptoError = CryptoError::Unavailable("an asymmetric algorithm for a symmetric usage");
