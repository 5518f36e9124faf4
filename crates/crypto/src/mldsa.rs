//! ML-DSA-87 (FIPS 204), hedged, with an empty context string.

use crate::{CryptoError, random};
use aws_lc_rs::signature::{KeyPair, ML_DSA_87, ML_DSA_87_SIGNING, ParsedPublicKey, PqdsaKeyPair};
use jadeseal_types::SecretArray;

/// Bytes of a seed, the stored form of a key.
pub const SEED: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE: usize = 4627;

/// Bytes of a raw public key.
const PUBLIC: usize = 2592;
/// The SubjectPublicKeyInfo (RFC 9881) up to the raw public key; id-ml-dsa-87 is 2.16.840.1.101.3.4.3.19.
const SPKI_HEAD: &[u8; 22] = b"\x30\x82\x0a\x32\x30\x0b\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x13\x03\x82\x0a\x21\0";

/// A private key.
pub struct MlDsaKey {
    seed: SecretArray<SEED>,
    pair: PqdsaKeyPair,
    public: MlDsaPublicKey,
}

impl MlDsaKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when random bytes or the library fail.
    pub fn generate() -> Result<Self, CryptoError> {
        let seed = random::secret(SEED)?;
        Self::from_seed(seed.expose()).map_err(|_| CryptoError::Unavailable("ML-DSA key"))
    }

    /// Expands the seed ξ (FIPS 204 algorithm 6).
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for another length than [`SEED`].
    pub fn from_seed(seed: &[u8]) -> Result<Self, CryptoError> {
        let seed = SecretArray::from_slice(seed).ok_or(CryptoError::Invalid)?;
        let pair = PqdsaKeyPair::from_seed(&ML_DSA_87_SIGNING, seed.expose()).map_err(|_| CryptoError::Invalid)?;
        let spki = [&SPKI_HEAD[..], pair.public_key().as_ref()].concat();
        Ok(MlDsaKey { seed, public: MlDsaPublicKey::from_spki(&spki)?, pair })
    }

    /// The seed, from which the key is made again.
    pub fn seed(&self) -> &SecretArray<SEED> {
        &self.seed
    }

    /// The public key as SubjectPublicKeyInfo (RFC 9881) in DER, 2,614 bytes.
    pub fn public_spki(&self) -> &[u8] {
        &self.public.spki
    }

    /// The public key, for verification.
    pub fn public(&self) -> &MlDsaPublicKey {
        &self.public
    }

    /// Signs the message itself (not a digest) with fresh randomness; the result has [`SIGNATURE`] bytes.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut out = vec![0; SIGNATURE];
        self.pair.sign(message, &mut out).map_err(|_| CryptoError::Unavailable("ML-DSA signature"))?;
        Ok(out)
    }

    /// See [`MlDsaPublicKey::verify`].
    ///
    /// # Errors
    /// See there.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<bool, CryptoError> {
        self.public.verify(message, signature)
    }
}

/// A public key.
pub struct MlDsaPublicKey {
    spki: Vec<u8>,
    key: ParsedPublicKey,
}

impl MlDsaPublicKey {
    /// Reads a SubjectPublicKeyInfo (RFC 9881) in DER.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for anything but an ML-DSA-87 key.
    pub fn from_spki(spki: &[u8]) -> Result<Self, CryptoError> {
        let raw = spki.strip_prefix(SPKI_HEAD).filter(|raw| raw.len() == PUBLIC).ok_or(CryptoError::Invalid)?;
        let key = ParsedPublicKey::new(&ML_DSA_87, raw).map_err(|_| CryptoError::Invalid)?;
        Ok(MlDsaPublicKey { spki: spki.to_vec(), key })
    }

    /// Whether the signature is one of this key; false for a malformed one.
    ///
    /// # Errors
    /// None: the result has the form of the other algorithms.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<bool, CryptoError> {
        Ok(self.key.verify_sig(message, signature).is_ok())
    }
}
