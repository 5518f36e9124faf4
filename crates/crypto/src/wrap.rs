//! How every level of the key hierarchy seals the next one.
//!
//! `"JW" | format 1 | suite u8 | parent version u32 | salt 32 | commitment 32 | ciphertext |
//! tag 16`, integers big-endian. Derivation as in the ciphertext blob, under the label
//! `jadeseal/wrap1`; the associated data is all that stands before the ciphertext, then the place
//! (purpose, account, key, …) to which the secret belongs, so a row copied elsewhere does not open.

use crate::envelope::{self, EXTRA};
use crate::kdf::{Prf, SALT};
use crate::{CryptoError, random};
use jadeseal_types::{SecretBytes, Suite};

/// Bytes that wrapping adds to the secret.
pub const OVERHEAD: usize = HEADER + EXTRA;

/// Length of a wrapping key in bytes, for both suites.
pub const KEY_LEN: usize = 32;

const HEADER: usize = 8;
const MAGIC: [u8; 3] = [b'J', b'W', 1];
const LABEL: &[u8; 14] = b"jadeseal/wrap1";

/// A key that wraps others, with the state of its derivation precomputed and wiped on drop.
pub struct WrapKey(Prf);

impl WrapKey {
    /// Prepares a key of [`KEY_LEN`] bytes.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a key of another length.
    pub fn new(suite: Suite, key: &SecretBytes) -> Result<Self, CryptoError> {
        if key.len() != KEY_LEN {
            return Err(CryptoError::Invalid);
        }
        Prf::new(suite, key.expose()).map(WrapKey)
    }

    /// The suite of the key.
    pub fn suite(&self) -> Suite {
        self.0.suite()
    }

    /// Wraps a secret for one place. `parent_version` tells a later reader which version of this
    /// key to take; see [`place`] for the encoding of places.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when random bytes or the cipher fail.
    pub fn seal(&self, parent_version: u32, place: &[u8], secret: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.seal_with_salt(parent_version, place, secret, &random::salt()?)
    }

    /// Unwraps a secret that was wrapped for this place.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for every fault of the bytes, the key or the place alike.
    pub fn open(&self, wrapped: &[u8], place: &[u8]) -> Result<SecretBytes, CryptoError> {
        if header(wrapped)?.0 != self.suite() {
            return Err(CryptoError::Invalid);
        }
        envelope::open(&self.0, LABEL, HEADER, wrapped, place)
    }

    /// [`WrapKey::seal`] with a given salt, for known answers only.
    pub(crate) fn seal_with_salt(
        &self,
        parent_version: u32,
        place: &[u8],
        secret: &[u8],
        salt: &[u8; SALT],
    ) -> Result<Vec<u8>, CryptoError> {
        let mut header = [0; HEADER];
        header[..3].copy_from_slice(&MAGIC);
        header[3] = self.suite().code();
        header[4..].copy_from_slice(&parent_version.to_be_bytes());
        envelope::seal(&self.0, LABEL, &header, salt, place, secret)
    }
}

/// The version of the parent key under which the bytes were wrapped. Not authenticated before
/// [`WrapKey::open`].
///
/// # Errors
/// [`CryptoError::Invalid`] for anything that is not a wrapped secret of this format.
pub fn parent_version(wrapped: &[u8]) -> Result<u32, CryptoError> {
    header(wrapped).map(|(_, version)| version)
}

/// The suite that wrapped the bytes. Not authenticated before [`WrapKey::open`].
///
/// # Errors
/// As [`parent_version`].
pub fn suite(wrapped: &[u8]) -> Result<Suite, CryptoError> {
    header(wrapped).map(|(suite, _)| suite)
}

/// Encodes a place: each part behind its length (32 bits, big-endian), so that no two places
/// encode alike.
pub fn place(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|p| 4 + p.len()).sum());
    for part in parts {
        out.extend_from_slice(&(part.len() as u32).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// A wrapping key that wraps with either suite: what seals the key hierarchy, whose suite follows the configuration
/// of the day. The key enters two unrelated pseudo-random functions, HMAC-SHA-256 and HMAC-SM3.
pub struct EitherWrapKey {
    aes: WrapKey,
    sm4: WrapKey,
}

impl EitherWrapKey {
    /// Prepares a key of [`KEY_LEN`] bytes.
    ///
    /// # Errors
    /// As [`WrapKey::new`].
    pub fn new(key: &SecretBytes) -> Result<Self, CryptoError> {
        Ok(EitherWrapKey { aes: WrapKey::new(Suite::Aes256, key)?, sm4: WrapKey::new(Suite::Sm4, key)? })
    }

    /// The key for one suite.
    pub fn of(&self, suite: Suite) -> &WrapKey {
        match suite {
            Suite::Aes256 => &self.aes,
            Suite::Sm4 => &self.sm4,
        }
    }

    /// As [`WrapKey::open`], with the suite that the bytes name.
    ///
    /// # Errors
    /// As [`WrapKey::open`].
    pub fn open(&self, wrapped: &[u8], place: &[u8]) -> Result<SecretBytes, CryptoError> {
        self.of(suite(wrapped)?).open(wrapped, place)
    }
}

fn header(wrapped: &[u8]) -> Result<(Suite, u32), CryptoError> {
    let read = || {
        let (header, _) = wrapped.split_first_chunk::<HEADER>()?;
        let [j, w, format, suite, version @ ..] = *header;
        let known = [j, w, format] == MAGIC && wrapped.len() >= OVERHEAD;
        let suite = Suite::from_code(suite)?;
        known.then_some((suite, u32::from_be_bytes(version)))
    };
    read().ok_or(CryptoError::Invalid)
}
