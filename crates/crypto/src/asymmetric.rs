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

/// Checks that the bytes are one DER SEQUENCE of at most 64 KiB and nothing more; the library's parsers
/// do not mind what follows the structure that they read.
pub(crate) fn one_sequence(der: &[u8]) -> Result<(), CryptoError> {
    let len = match *der {
        [0x30, n @ 0..=0x7f, ..] => 2 + usize::from(n),
        [0x30, 0x81, n @ 0x80..=0xff, ..] => 3 + usize::from(n),
        [0x30, 0x82, high @ 1..=0xff, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
        _ => return Err(CryptoError::Invalid),
    };
    if der.len() == len { Ok(()) } else { Err(CryptoError::Invalid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_takes_up_everything() {
        for (len, head) in
            [(0, &[0x30, 0][..]), (127, &[0x30, 127]), (128, &[0x30, 0x81, 128]), (256, &[0x30, 0x82, 1, 0])]
        {
            let whole = [head, &vec![0; len]].concat();
            assert!(one_sequence(&whole).is_ok(), "{len}");
            assert!(one_sequence(&whole[..whole.len() - 1]).is_err());
            assert!(one_sequence(&[&whole[..], &[0]].concat()).is_err());
        }
        for bad in [&[0x31, 0][..], &[0x30, 0x80, 0, 0], &[0x30, 0x81, 1, 0], &[0x30, 0x82, 0, 1, 0], &[0x30]] {
            assert!(one_sequence(bad).is_err());
        }
    }
}
