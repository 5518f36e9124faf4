//! Ed25519 (RFC 8032): signatures of our own log, no algorithm of a CMK.

use crate::{CryptoError, random};
use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use jadeseal_types::SecretBytes;

/// Bytes of a seed, the stored form of a key.
pub const SEED: usize = 32;
/// Bytes of a public key.
pub const PUBLIC: usize = 32;
/// Bytes of a signature.
pub const SIGNATURE: usize = 64;

/// A private key.
pub struct Ed25519Key {
    seed: SecretBytes,
    pair: Ed25519KeyPair,
    public: [u8; PUBLIC],
}

impl Ed25519Key {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the generator fails.
    pub fn generate() -> Result<Self, CryptoError> {
        let seed = random::secret(SEED)?;
        Self::from_seed(seed.expose()).map_err(|_| CryptoError::Unavailable("Ed25519 key"))
    }

    /// Takes the seed (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for another length than [`SEED`].
    pub fn from_seed(seed: &[u8]) -> Result<Self, CryptoError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| CryptoError::Invalid)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| CryptoError::Invalid)?;
        Ok(Ed25519Key { seed: SecretBytes::copy_from(seed), pair, public })
    }

    /// What [`Ed25519Key::from_seed`] takes.
    pub fn seed(&self) -> &SecretBytes {
        &self.seed
    }

    /// The public key (RFC 8032 section 5.1.5).
    pub fn public(&self) -> &[u8; PUBLIC] {
        &self.public
    }

    /// Signs a message (PureEdDSA, RFC 8032 section 5.1.6).
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        let mut out = [0; SIGNATURE];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        out
    }
}

/// Whether a signature of a message is a public key's (RFC 8032 section 5.1.7). Anything malformed is false.
pub fn verify(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&signature::ED25519, public).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// RFC 8032 section 7.1, test 2.
    #[test]
    fn the_published_signature() {
        let seed = HEXLOWER.decode(b"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let key = Ed25519Key::from_seed(&seed).unwrap();
        assert_eq!(HEXLOWER.encode(key.public()), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = key.sign(&[0x72]);
        assert_eq!(
            HEXLOWER.encode(&signature),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert!(verify(key.public(), &[0x72], &signature));
        assert!(!verify(key.public(), &[0x73], &signature));
        assert!(!verify(&key.public()[1..], &[0x72], &signature));
        assert!(!verify(key.public(), &[0x72], &signature[1..]));
        let again = Ed25519Key::from_seed(key.seed().expose()).unwrap();
        assert_eq!(again.sign(&[0x72]), signature);
        assert!(Ed25519Key::from_seed(&seed[1..]).is_err());
    }

    #[test]
    fn keys_differ() {
        assert_ne!(Ed25519Key::generate().unwrap().public(), Ed25519Key::generate().unwrap().public());
    }
}
