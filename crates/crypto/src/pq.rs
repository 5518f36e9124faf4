//! Post-quantum ciphertext blob, format 1: what PostQuantumCryptoEncrypt returns (base64 at the edge).
//!
//! `"JS" | format 1 | suite u8 = 3 | key id 16 | key version u32 | KEM ciphertext 1568 | salt 32 |
//! commitment 32 | ciphertext | tag 16`, integers big-endian. Suite 3 is ML-KEM-1024, then AES-256-GCM as
//! in suite 1: the shared secret takes the place of the CMK's material (label `jadeseal/kem01`). The
//! associated data is all that stands before the ciphertext; there is no encryption context.

use crate::envelope::{self, EXTRA};
use crate::kdf::{Prf, SALT};
use crate::mlkem::{self, MlKemKey};
use crate::{CryptoError, random};
use jadeseal_types::{KeyId, SecretArray, SecretBytes, Suite};

/// Bytes that a blob adds to its plaintext.
pub const OVERHEAD: usize = HEADER + EXTRA;

/// Magic, suite, key id, version.
const NAME: usize = 24;
const HEADER: usize = NAME + mlkem::CIPHERTEXT;
/// `Kyber_AES`. The ciphertext blob of Encrypt does not know this suite, so neither reads the other's.
const MAGIC: [u8; 4] = [b'J', b'S', 1, 3];
const LABEL: &[u8; 14] = b"jadeseal/kem01";

/// Encrypts under a fresh shared secret and message key. The blob is [`OVERHEAD`] bytes longer than the
/// plaintext, which may be empty here.
///
/// # Errors
/// [`CryptoError::Unavailable`] when random bytes or an algorithm fail.
pub fn seal(key: &MlKemKey, key_id: KeyId, version: u32, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let (text, secret) = key.public().encapsulate()?;
    seal_with(&secret, &text, key_id, version, &random::salt()?, plaintext)
}

/// Opens a blob with the key that its [`header`] names.
///
/// # Errors
/// [`CryptoError::Invalid`] for every fault of the blob or the key alike.
pub fn open(key: &MlKemKey, blob: &[u8]) -> Result<SecretBytes, CryptoError> {
    header(blob)?;
    let secret = key.decapsulate(&blob[NAME..HEADER])?;
    envelope::open(&prf(&secret)?, LABEL, HEADER, blob, &[])
}

/// Key and version that open the blob. Not authenticated before [`open`].
///
/// # Errors
/// [`CryptoError::Invalid`] for anything that is not a blob of this format.
pub fn header(blob: &[u8]) -> Result<(KeyId, u32), CryptoError> {
    let read = || {
        let (id, rest) = blob.strip_prefix(&MAGIC)?.split_first_chunk::<16>()?;
        let (version, _) = rest.split_first_chunk::<4>()?;
        (blob.len() >= OVERHEAD).then_some((KeyId::from_bytes(*id), u32::from_be_bytes(*version)))
    };
    read().ok_or(CryptoError::Invalid)
}

/// [`seal`] with a given encapsulation and salt, for known answers only.
pub(crate) fn seal_with(
    secret: &SecretArray<{ mlkem::SHARED }>,
    text: &[u8],
    key_id: KeyId,
    version: u32,
    salt: &[u8; SALT],
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let header = [&MAGIC[..], key_id.as_bytes(), &version.to_be_bytes(), text].concat();
    envelope::seal(&prf(secret)?, LABEL, &header, salt, &[], plaintext)
}

fn prf(secret: &SecretArray<{ mlkem::SHARED }>) -> Result<Prf, CryptoError> {
    Prf::new(Suite::Aes256, secret.expose())
}
