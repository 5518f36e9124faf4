//! Ciphertext blob v1, what Encrypt returns and Decrypt reads (base64 at the edge).
//!
//! `"JS" | format 1 | suite u8 | key id 16 | key version u32 | salt 32 | commitment 32 |
//! ciphertext | tag 16`, integers big-endian. The message key and the commitment are derived from
//! the CMK version with the salt as context (label `jadeseal/blob1`); the associated data is all
//! that stands before the ciphertext, then the encoded encryption context.

use crate::envelope::{self, EXTRA};
use crate::kdf::{Prf, SALT};
use crate::{Context, CryptoError, random};
use jadeseal_types::{KeyId, SecretBytes, Suite};

/// Bytes that a blob adds to its plaintext.
pub const OVERHEAD: usize = HEADER + EXTRA;

const HEADER: usize = 24;
const MAGIC: [u8; 3] = [b'J', b'S', 1];
const LABEL: &[u8; 14] = b"jadeseal/blob1";

/// One version of a CMK, ready for use: its suite and the precomputed state of the derivation. The
/// material itself is not kept; the state is wiped on drop.
pub struct BlobKey(Prf);

impl BlobKey {
    /// Prepares key material of exactly [`Suite::material_len`] bytes.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for material of another length.
    pub fn new(suite: Suite, material: &SecretBytes) -> Result<Self, CryptoError> {
        if material.len() != suite.material_len() {
            return Err(CryptoError::Invalid);
        }
        Prf::new(suite, material.expose()).map(BlobKey)
    }

    /// The suite of the key.
    pub fn suite(&self) -> Suite {
        self.0.suite()
    }
}

/// The public part of a blob that says which key opens it. Not authenticated before [`open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Algorithms of the blob.
    pub suite: Suite,
    /// The CMK.
    pub key_id: KeyId,
    /// The version of its material.
    pub version: u32,
}

impl Header {
    /// Reads the header of a blob that is at least [`OVERHEAD`] bytes long.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for anything that is not a blob of this format.
    pub fn parse(blob: &[u8]) -> Result<Header, CryptoError> {
        let read = || {
            let (header, _) = blob.split_first_chunk::<HEADER>()?;
            let [j, s, format, suite, rest @ ..] = header;
            let (key_id, version) = rest.split_first_chunk::<16>()?;
            let known = [*j, *s, *format] == MAGIC && blob.len() >= OVERHEAD;
            let header = Header {
                suite: Suite::from_code(*suite)?,
                key_id: KeyId::from_bytes(*key_id),
                version: u32::from_be_bytes(version.try_into().ok()?),
            };
            known.then_some(header)
        };
        read().ok_or(CryptoError::Invalid)
    }

    fn write(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..3].copy_from_slice(&MAGIC);
        out[3] = self.suite.code();
        out[4..20].copy_from_slice(self.key_id.as_bytes());
        out[20..].copy_from_slice(&self.version.to_be_bytes());
        out
    }
}

/// Encrypts under a fresh message key. The blob is [`OVERHEAD`] bytes longer than the plaintext,
/// which may be empty here; the limit of the API is the caller's to keep.
///
/// # Errors
/// [`CryptoError::Unavailable`] when random bytes or the cipher fail.
pub fn seal(
    key: &BlobKey,
    key_id: KeyId,
    version: u32,
    context: &Context,
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    seal_with_salt(key, key_id, version, context, plaintext, &random::salt()?)
}

/// Makes `len` secret bytes and encrypts them as [`seal`] does. Salt and secret come out of one call of the
/// generator, which costs as much for both as for one of them.
///
/// # Errors
/// As [`seal`].
pub fn seal_new(
    key: &BlobKey,
    key_id: KeyId,
    version: u32,
    context: &Context,
    len: usize,
) -> Result<(SecretBytes, Vec<u8>), CryptoError> {
    let drawn = random::secret(SALT + len)?;
    let (salt, secret) = drawn.expose().split_first_chunk::<SALT>().ok_or(CryptoError::Invalid)?;
    let blob = seal_with_salt(key, key_id, version, context, secret, salt)?;
    Ok((SecretBytes::copy_from(secret), blob))
}

/// Opens a blob with the key that its [`Header`] names.
///
/// # Errors
/// [`CryptoError::Invalid`] for every fault of the blob, the key or the context alike.
pub fn open(key: &BlobKey, blob: &[u8], context: &Context) -> Result<SecretBytes, CryptoError> {
    if Header::parse(blob)?.suite != key.suite() {
        return Err(CryptoError::Invalid);
    }
    envelope::open(&key.0, LABEL, HEADER, blob, context.encoded())
}

/// [`seal`] with a given salt, for known answers only: a salt used twice is a nonce used twice.
pub(crate) fn seal_with_salt(
    key: &BlobKey,
    key_id: KeyId,
    version: u32,
    context: &Context,
    plaintext: &[u8],
    salt: &[u8; SALT],
) -> Result<Vec<u8>, CryptoError> {
    let header = Header { suite: key.suite(), key_id, version }.write();
    envelope::seal(&key.0, LABEL, &header, salt, context.encoded(), plaintext)
}
