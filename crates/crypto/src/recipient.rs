//! Results encrypted to a public key that the caller sends along (`EncryptionPublicKey`,
//! `EncryptionAlgorithm`). RSA-2048; the names of SM2 are known, the algorithm is not there yet.

use crate::CryptoError;
use crate::rsa::{self, Padding};
use aws_lc_rs::rsa::PublicEncryptingKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest text of a public key, bytes.
pub const MAX_KEY_BYTES: usize = 4096;

/// `EncryptionAlgorithm` of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientAlgorithm {
    /// SM2, C1C3C2 without the prefix byte.
    Sm2,
    /// SM2, C1C3C2 in ASN.1 (GM/T 0009).
    Sm2Asn1,
    /// RSAES-PKCS1-v1_5 (RFC 8017 section 7.2).
    RsaPkcs1,
    /// RSAES-OAEP with SHA-1 (RFC 8017 section 7.1).
    RsaOaepSha1,
    /// RSAES-OAEP with SHA-256 (RFC 8017 section 7.1).
    RsaOaepSha256,
}

/// Why a public key cannot receive results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipientError {
    /// Longer than [`MAX_KEY_BYTES`].
    #[error("the public key is too long")]
    TooLong,
    /// Neither PEM nor base64 of a SubjectPublicKeyInfo.
    #[error("the public key is malformed")]
    Malformed,
    /// The key is of another kind than the algorithm.
    #[error("the public key does not fit the algorithm")]
    Mismatch,
    /// An RSA key of another size than 2,048 bits.
    #[error("the RSA key does not have 2048 bits")]
    KeySize,
    /// SM2 is not available yet.
    #[error("SM2 is not available yet")]
    Sm2NotYet,
}

impl RecipientAlgorithm {
    /// Every value.
    pub const ALL: &'static [Self] =
        &[Self::Sm2, Self::Sm2Asn1, Self::RsaPkcs1, Self::RsaOaepSha1, Self::RsaOaepSha256];

    /// The API's spelling.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Sm2 => "SM2",
            Self::Sm2Asn1 => "SM2_C1C3C2_ASN1",
            Self::RsaPkcs1 => "RSAES_PKCS1_V1_5",
            Self::RsaOaepSha1 => "RSAES_OAEP_SHA_1",
            Self::RsaOaepSha256 => "RSAES_OAEP_SHA_256",
        }
    }

    /// Reads the API's spelling, case-sensitively.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|a| a.wire() == text)
    }

    fn padding(self) -> Option<Padding> {
        match self {
            Self::Sm2 | Self::Sm2Asn1 => None,
            Self::RsaPkcs1 => Some(Padding::Pkcs1),
            Self::RsaOaepSha1 => Some(Padding::OaepSha1),
            Self::RsaOaepSha256 => Some(Padding::OaepSha256),
        }
    }
}

/// A caller's public key with the algorithm to use.
#[derive(Debug)]
pub struct Recipient {
    key: PublicEncryptingKey,
    padding: Padding,
}

impl Recipient {
    /// Reads a SubjectPublicKeyInfo (RFC 5280): PEM (`PUBLIC KEY`, any line ends and widths, with
    /// or without a last line end) or the base64 of the DER alone.
    ///
    /// # Errors
    /// See [`RecipientError`].
    pub fn parse(pem: &str, alg: RecipientAlgorithm) -> Result<Recipient, RecipientError> {
        let der = decode(pem)?;
        let kind = key_kind(&der).ok_or(RecipientError::Malformed)?;
        let padding = match (alg.padding(), kind) {
            (Some(padding), Kind::Rsa) => padding,
            (None, Kind::Ec) => return Err(RecipientError::Sm2NotYet),
            _ => return Err(RecipientError::Mismatch),
        };
        let key = PublicEncryptingKey::from_der(&der).map_err(|_| match rsa_modulus_bits(&der) {
            Some(bits) if bits != rsa::BITS => RecipientError::KeySize,
            _ => RecipientError::Malformed,
        })?;
        if key.key_size_bits() != rsa::BITS {
            return Err(RecipientError::KeySize);
        }
        Ok(Recipient { key, padding })
    }

    /// Longest secret that [`Recipient::encrypt`] takes, bytes.
    pub fn max_len(&self) -> usize {
        self.padding.max_message()
    }

    /// Encrypts a secret of at most [`Recipient::max_len`] bytes; the result has 256.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a longer secret, [`CryptoError::Unavailable`] when the library
    /// fails.
    pub fn encrypt(&self, secret: &[u8]) -> Result<Vec<u8>, CryptoError> {
        rsa::encrypt(&self.key, self.padding, secret)
    }
}

fn decode(pem: &str) -> Result<Vec<u8>, RecipientError> {
    if pem.len() > MAX_KEY_BYTES {
        return Err(RecipientError::TooLong);
    }
    let text = pem.trim_ascii();
    let body = match text.strip_prefix("-----BEGIN PUBLIC KEY-----") {
        Some(rest) => rest.strip_suffix("-----END PUBLIC KEY-----").ok_or(RecipientError::Malformed)?,
        None => text,
    };
    let body: Vec<u8> = body.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(body).map_err(|_| RecipientError::Malformed)
}

enum Kind {
    Rsa,
    Ec,
    Other,
}

/// `rsaEncryption`, 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// `id-ecPublicKey`, 1.2.840.10045.2.1; SM2 keys carry it with their own curve.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

const SEQUENCE: u8 = 0x30;
const OBJECT_ID: u8 = 0x06;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

/// The algorithm of a SubjectPublicKeyInfo, so that a wrong pair is told from a broken key.
fn key_kind(der: &[u8]) -> Option<Kind> {
    let (spki, []) = element(der, SEQUENCE)? else { return None };
    let (algorithm, _) = element(spki, SEQUENCE)?;
    Some(match element(algorithm, OBJECT_ID)?.0 {
        RSA => Kind::Rsa,
        EC => Kind::Ec,
        _ => Kind::Other,
    })
}

/// Bits of the modulus of an RSA key that the library refused.
fn rsa_modulus_bits(der: &[u8]) -> Option<usize> {
    let (_, key) = element(element(der, SEQUENCE)?.0, SEQUENCE)?;
    let key = element(key, BIT_STRING)?.0.strip_prefix(&[0])?;
    let modulus = element(element(key, SEQUENCE)?.0, INTEGER)?.0;
    let first = modulus.iter().position(|b| *b != 0)?;
    let significant = modulus.get(first..)?;
    Some(significant.len() * 8 - significant.first()?.leading_zeros() as usize)
}

/// Contents of one DER element (X.690) of at most 64 KiB and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(n, r)| (usize::from(*n), r))?,
        0x82 => rest.split_first_chunk::<2>().map(|(n, r)| (usize::from(u16::from_be_bytes(*n)), r))?,
        _ => return None,
    };
    if found == tag { rest.split_at_checked(len) } else { None }
}
