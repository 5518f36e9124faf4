//! Results encrypted to a public key that the caller sends along (`EncryptionPublicKey`,
//! `EncryptionAlgorithm`): RSA-2048 or SM2.

use crate::rsa::{self, Padding};
use crate::sm2::{self, Sm2PublicKey};
use crate::{CryptoError, der};
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
    /// RSA-2048.
    Rsa(Padding),
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
    /// The key is of another kind than the algorithm; for SM2 that includes a key on another curve,
    /// which is a sound key of its own kind.
    #[error("the public key does not fit the algorithm")]
    Mismatch,
    /// An RSA key of another size than 2,048 bits.
    #[error("the RSA key does not have 2048 bits")]
    KeySize,
}

impl RecipientAlgorithm {
    /// Every value.
    pub const ALL: &'static [Self] = &[
        Self::Sm2,
        Self::Sm2Asn1,
        Self::Rsa(Padding::Pkcs1),
        Self::Rsa(Padding::OaepSha1),
        Self::Rsa(Padding::OaepSha256),
    ];

    /// The API's spelling.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Sm2 => "SM2",
            Self::Sm2Asn1 => "SM2_C1C3C2_ASN1",
            Self::Rsa(padding) => padding.wire(),
        }
    }

    /// True for the algorithms of a strict GM region.
    pub const fn is_gm(self) -> bool {
        matches!(self, Self::Sm2 | Self::Sm2Asn1)
    }

    /// Reads the API's spelling, case-sensitively.
    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|a| a.wire() == text)
    }
}

/// A caller's public key with the algorithm to use.
#[derive(Debug)]
pub struct Recipient(Key);

#[derive(Debug)]
enum Key {
    Rsa(PublicEncryptingKey, Padding),
    Sm2(Sm2PublicKey),
    Sm2Asn1(Sm2PublicKey),
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
        let sm2 = || match kind {
            Kind::Sm2 => Sm2PublicKey::from_spki(&der).map_err(|_| RecipientError::Malformed),
            Kind::Rsa | Kind::Other => Err(RecipientError::Mismatch),
        };
        Ok(Recipient(match alg {
            RecipientAlgorithm::Sm2 => Key::Sm2(sm2()?),
            RecipientAlgorithm::Sm2Asn1 => Key::Sm2Asn1(sm2()?),
            RecipientAlgorithm::Rsa(padding) => match kind {
                Kind::Rsa => Key::Rsa(rsa_key(&der)?, padding),
                Kind::Sm2 | Kind::Other => return Err(RecipientError::Mismatch),
            },
        }))
    }

    /// Longest secret that [`Recipient::encrypt`] takes, bytes.
    pub fn max_len(&self) -> usize {
        match &self.0 {
            Key::Rsa(_, padding) => padding.max_message(),
            Key::Sm2(_) | Key::Sm2Asn1(_) => sm2::MAX_MESSAGE,
        }
    }

    /// Encrypts a secret of at most [`Recipient::max_len`] bytes, which with SM2 is not empty. The result
    /// has 256 bytes with RSA, 96 more than the secret with SM2, and up to 112 more with SM2 in ASN.1.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a secret of another length, [`CryptoError::Unavailable`] when the
    /// library or the generator fails.
    pub fn encrypt(&self, secret: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match &self.0 {
            Key::Rsa(key, padding) => rsa::encrypt(key, *padding, secret),
            Key::Sm2(key) => key.encrypt_raw(secret),
            Key::Sm2Asn1(key) => key.encrypt_asn1(secret),
        }
    }
}

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";

pub(crate) fn decode(pem: &str) -> Result<Vec<u8>, RecipientError> {
    if pem.len() > MAX_KEY_BYTES {
        return Err(RecipientError::TooLong);
    }
    // As other readers of PEM do, whatever stands around the block is passed over (RFC 7468 section 2).
    let body = match pem.split_once(BEGIN) {
        Some((_, rest)) => match rest.split_once("-----END PUBLIC KEY-----") {
            // Of two keys none is the one that is meant.
            Some((body, after)) if !after.contains(BEGIN) => body,
            _ => return Err(RecipientError::Malformed),
        },
        None => pem,
    };
    let body: Vec<u8> = body.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(body).map_err(|_| RecipientError::Malformed)
}

/// An RSA key of the one accepted size.
fn rsa_key(der: &[u8]) -> Result<PublicEncryptingKey, RecipientError> {
    let key = PublicEncryptingKey::from_der(der).map_err(|_| match rsa_modulus_bits(der) {
        Some(bits) if bits != rsa::BITS => RecipientError::KeySize,
        _ => RecipientError::Malformed,
    })?;
    if key.key_size_bits() == rsa::BITS { Ok(key) } else { Err(RecipientError::KeySize) }
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Rsa,
    Sm2,
    Other,
}

/// `rsaEncryption`, 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// The algorithm of a SubjectPublicKeyInfo, so that a wrong pair is told from a broken key.
pub(crate) fn key_kind(spki: &[u8]) -> Option<Kind> {
    let (algorithm, _) = der::element(der::whole(spki, der::SEQUENCE)?, der::SEQUENCE)?;
    let (name, parameters) = der::element(algorithm, der::OBJECT_ID)?;
    Some(match name {
        RSA => Kind::Rsa,
        sm2::EC if der::whole(parameters, der::OBJECT_ID) == Some(sm2::CURVE) => Kind::Sm2,
        _ => Kind::Other,
    })
}

/// Bits of the modulus of an RSA key that the library refused.
fn rsa_modulus_bits(spki: &[u8]) -> Option<usize> {
    let (_, key) = der::element(der::whole(spki, der::SEQUENCE)?, der::SEQUENCE)?;
    let key = der::element(key, der::BIT_STRING)?.0.strip_prefix(&[0])?;
    let modulus = der::element(der::element(key, der::SEQUENCE)?.0, der::INTEGER)?.0;
    let first = modulus.iter().position(|b| *b != 0)?;
    let significant = modulus.get(first..)?;
    Some(significant.len() * 8 - significant.first()?.leading_zeros() as usize)
}
