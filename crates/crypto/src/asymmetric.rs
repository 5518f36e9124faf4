//! What all asymmetric algorithms share.

use crate::CryptoError;
use aws_lc_rs::digest::{Algorithm, Digest};
use aws_lc_rs::signature::{ParsedPublicKey, VerificationAlgorithm};

/// What is to be signed or verified.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The message itself; the algorithm hashes it.
    Message(&'a [u8]),
    /// Its digest, made by the caller: of exactly the length of the algorithm's hash, else the call is
    /// [`Invalid`](crate::CryptoError::Invalid). For SM2 it is e = SM3(Z ‖ M) (GB/T 32918.2 section 6.1).
    Digest(&'a [u8]),
}

/// A public key made ready for one signature algorithm.
pub(crate) struct Verifier {
    key: ParsedPublicKey,
    hash: &'static Algorithm,
}

impl Verifier {
    /// Reads a public key in a form that the library knows for the algorithm.
    pub(crate) fn new(
        alg: &'static dyn VerificationAlgorithm,
        hash: &'static Algorithm,
        key: &[u8],
    ) -> Result<Self, CryptoError> {
        let key = ParsedPublicKey::new(alg, key).map_err(|_| CryptoError::Invalid)?;
        Ok(Verifier { key, hash })
    }

    /// False for a signature that is wrong or malformed; an error for a digest of the wrong length.
    pub(crate) fn verify(&self, input: Input<'_>, signature: &[u8]) -> Result<bool, CryptoError> {
        Ok(match input {
            Input::Message(message) => self.key.verify_sig(message, signature),
            Input::Digest(value) => self.key.verify_digest_sig(&digest(self.hash, value)?, signature),
        }
        .is_ok())
    }
}

/// A digest that the caller made, of the length of the hash.
pub(crate) fn digest(hash: &'static Algorithm, value: &[u8]) -> Result<Digest, CryptoError> {
    Digest::import_less_safe(value, hash).map_err(|_| CryptoError::Invalid)
}
