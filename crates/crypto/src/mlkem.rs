//! ML-KEM-1024 (FIPS 203).

use crate::CryptoError;
use aws_lc_rs::digest::{SHA3_256, digest};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_1024};
use jadeseal_types::{SecretArray, SecretBytes};
use subtle::ConstantTimeEq;

/// Bytes of a decapsulation key, the stored form: dk_PKE 1536 | ek 1568 | H(ek) 32 | z 32 (FIPS 203
/// algorithm 16).
pub const PRIVATE: usize = 3168;
/// Bytes of an encapsulation key.
pub const PUBLIC: usize = 1568;
/// Bytes of a KEM ciphertext.
pub const CIPHERTEXT: usize = 1568;
/// Bytes of a shared secret.
pub const SHARED: usize = 32;

/// Where the encapsulation key stands in a decapsulation key.
const PUBLIC_AT: usize = 1536;
/// The prime of the ring, q.
const MODULUS: u16 = 3329;
/// The SubjectPublicKeyInfo (RFC 9935) up to the raw public key; id-alg-ml-kem-1024 is
/// 2.16.840.1.101.3.4.4.3.
const SPKI_HEAD: &[u8; 22] = b"\x30\x82\x06\x32\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x04\x03\x03\x82\x06\x21\0";

/// A decapsulation key and its encapsulation key.
pub struct MlKemKey {
    private: DecapsulationKey,
    public: MlKemPublicKey,
}

impl MlKemKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn generate() -> Result<Self, CryptoError> {
        let failed = CryptoError::Unavailable("ML-KEM key");
        let private = DecapsulationKey::generate(&ML_KEM_1024).map_err(|_| failed)?;
        Self::new(private).map_err(|_| failed)
    }

    /// Reads a decapsulation key of [`PRIVATE`] bytes.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for another length, when the hash check of FIPS 203 section 7.3 or the
    /// modulus check of section 7.2 fails, and when the two halves do not belong together.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CryptoError> {
        Self::new(DecapsulationKey::new(&ML_KEM_1024, bytes).map_err(|_| CryptoError::Invalid)?)
    }

    fn new(private: DecapsulationKey) -> Result<Self, CryptoError> {
        // The library does not give the public key of a private key that was read.
        let bytes = export(&private)?;
        let (public, rest) = bytes.expose()[PUBLIC_AT..].split_at(PUBLIC);
        if !bool::from(digest(&SHA3_256, public).as_ref().ct_eq(&rest[..32])) {
            return Err(CryptoError::Invalid);
        }
        let key = MlKemKey { public: MlKemPublicKey::from_raw(public)?, private };
        // A mangled private half would encrypt what nobody can decrypt.
        let (text, secret) = key.public.encapsulate()?;
        if key.decapsulate(&text)?.expose().ct_eq(secret.expose()).into() { Ok(key) } else { Err(CryptoError::Invalid) }
    }

    /// The decapsulation key, [`PRIVATE`] bytes.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn to_bytes(&self) -> Result<SecretBytes, CryptoError> {
        export(&self.private)
    }

    /// The public key as SubjectPublicKeyInfo (RFC 9935) in DER, 1,590 bytes.
    pub fn public_spki(&self) -> &[u8] {
        &self.public.spki
    }

    /// The public key, for encapsulation.
    pub fn public(&self) -> &MlKemPublicKey {
        &self.public
    }

    /// The shared secret in a ciphertext; for one that was not made with this key, a secret that looks
    /// random (FIPS 203 section 6.3).
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for another length than [`CIPHERTEXT`].
    pub fn decapsulate(&self, text: &[u8]) -> Result<SecretArray<SHARED>, CryptoError> {
        let secret = self.private.decapsulate(Ciphertext::from(text)).map_err(|_| CryptoError::Invalid)?;
        SecretArray::from_slice(secret.as_ref()).ok_or(CryptoError::Invalid)
    }
}

fn export(private: &DecapsulationKey) -> Result<SecretBytes, CryptoError> {
    let failed = CryptoError::Unavailable("ML-KEM key export");
    let bytes = SecretBytes::copy_from(private.key_bytes().map_err(|_| failed)?.as_ref());
    if bytes.len() == PRIVATE { Ok(bytes) } else { Err(failed) }
}

/// An encapsulation key.
pub struct MlKemPublicKey {
    spki: Vec<u8>,
    key: EncapsulationKey,
}

impl MlKemPublicKey {
    /// Reads a SubjectPublicKeyInfo (RFC 9935) in DER.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for anything but an ML-KEM-1024 key with reduced coefficients.
    pub fn from_spki(spki: &[u8]) -> Result<Self, CryptoError> {
        Self::from_raw(spki.strip_prefix(SPKI_HEAD).ok_or(CryptoError::Invalid)?)
    }

    fn from_raw(raw: &[u8]) -> Result<Self, CryptoError> {
        let key = EncapsulationKey::new(&ML_KEM_1024, raw).map_err(|_| CryptoError::Invalid)?;
        if !reduced(&raw[..PUBLIC - 32]) {
            return Err(CryptoError::Invalid);
        }
        Ok(MlKemPublicKey { spki: [&SPKI_HEAD[..], raw].concat(), key })
    }

    /// A fresh shared secret and the ciphertext of [`CIPHERTEXT`] bytes that carries it.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn encapsulate(&self) -> Result<(Vec<u8>, SecretArray<SHARED>), CryptoError> {
        let failed = CryptoError::Unavailable("ML-KEM encapsulation");
        let (text, secret) = self.key.encapsulate().map_err(|_| failed)?;
        Ok((text.as_ref().to_vec(), SecretArray::from_slice(secret.as_ref()).ok_or(failed)?))
    }
}

/// The modulus check (FIPS 203 section 7.2): every coefficient of 12 bits is below q. The key is public.
fn reduced(raw: &[u8]) -> bool {
    raw.as_chunks::<3>().0.iter().all(|[a, b, c]| {
        let (first, second) = (u16::from_le_bytes([*a, b & 0xf]), u16::from(*b) >> 4 | u16::from(*c) << 4);
        first < MODULUS && second < MODULUS
    })
}
