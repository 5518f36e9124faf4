//! The header: which suite, and how the content key is had.

use crate::error::ArchiveError;
use jadeseal_crypto::{PrivateOpener, PublicSeal, public_seal, random, wrap::WrapKey};
use jadeseal_root::{PassphraseSeal, RootError, Seal};
use jadeseal_types::{SecretBytes, Suite};
use std::io::Read;

const MAGIC: &[u8; 8] = b"JSBACKUP";
const FORMAT: u8 = 1;
/// Magic, format, suite, kind of lock, length of the lock.
const FIXED: usize = 8 + 1 + 1 + 1 + 4;
const PASSPHRASE: u8 = 1;
const PUBLIC_KEY: u8 = 2;
const FINGERPRINT: usize = 32;
/// Longest lock, bytes.
const MAX_LOCK: usize = 4096;
/// What a passphrase seals the content key for.
const KEY_PLACE: &[u8] = b"jadeseal backup content key";

/// What closes an archive.
pub enum LockTo<'a> {
    /// A passphrase of at least 12 bytes, stretched with Argon2id.
    Passphrase(&'a SecretBytes),
    /// A public key. A suite of SM4 takes none but SM2.
    PublicKey(&'a PublicSeal),
}

/// What opens it.
pub enum Unlock<'a> {
    /// The passphrase.
    Passphrase(&'a SecretBytes),
    /// The private key.
    PrivateKey(&'a PrivateOpener),
    /// The content key itself, by whoever has just written the archive to a public key.
    ContentKey(&'a SecretBytes),
}

/// A header, opened.
pub struct Opened {
    /// The content key.
    pub(crate) key: SecretBytes,
    /// The suite.
    pub(crate) suite: Suite,
    /// The header's bytes, which every chunk is bound to.
    pub(crate) bytes: Vec<u8>,
}

impl Opened {
    /// Makes a header with a fresh content key.
    pub(crate) fn make(suite: Suite, to: &LockTo<'_>) -> Result<Self, ArchiveError> {
        let key = random::secret(public_seal::CONTENT_KEY)?;
        let (kind, lock) = match to {
            LockTo::Passphrase(passphrase) => {
                let seal = PassphraseSeal::create(passphrase).map_err(ArchiveError::Passphrase)?;
                let wrapped = seal.seal(suite, KEY_PLACE, &key).map_err(ArchiveError::Passphrase)?;
                let params = seal.params();
                let length = u16::try_from(params.len()).map_err(|_| ArchiveError::Header("long parameters"))?;
                (PASSPHRASE, [&length.to_be_bytes()[..], &params, &wrapped].concat())
            }
            LockTo::PublicKey(public) => {
                if suite == Suite::Sm4 && !public.is_gm() {
                    return Err(ArchiveError::Locked(
                        "this deployment has a strict GM region: the public key must be one of SM2",
                    ));
                }
                (PUBLIC_KEY, [&public.fingerprint()[..], &public.seal(&key)?].concat())
            }
        };
        let mut bytes = Vec::with_capacity(FIXED + lock.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[FORMAT, suite.code(), kind]);
        let length = u32::try_from(lock.len()).map_err(|_| ArchiveError::Header("a long lock"))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&lock);
        Ok(Opened { key, suite, bytes })
    }

    /// The content key, to read back what has just been written to a public key.
    pub fn content_key(&self) -> &SecretBytes {
        &self.key
    }

    pub(crate) fn wrap_key(&self) -> Result<WrapKey, ArchiveError> {
        Ok(WrapKey::new(self.suite, &self.key)?)
    }
}

/// A header, read and not yet opened.
pub(crate) struct Header {
    pub suite: Suite,
    kind: u8,
    pub bytes: Vec<u8>,
}

impl Header {
    pub fn read(input: &mut impl Read) -> Result<Self, ArchiveError> {
        let mut fixed = [0; FIXED];
        input.read_exact(&mut fixed).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => ArchiveError::NotAnArchive,
            _ => ArchiveError::Io(e),
        })?;
        let Some(&[format, suite, kind, ref length @ ..]) = fixed.strip_prefix(MAGIC) else {
            return Err(ArchiveError::NotAnArchive);
        };
        if format != FORMAT {
            return Err(ArchiveError::Newer(format));
        }
        let suite = Suite::from_code(suite).ok_or(ArchiveError::Header("an unknown suite"))?;
        let length = <[u8; 4]>::try_from(length).map_or(usize::MAX, |l| u32::from_be_bytes(l) as usize);
        if length > MAX_LOCK {
            return Err(ArchiveError::Header("a lock that is too long"));
        }
        let mut bytes = vec![0; FIXED + length];
        let (start, lock) = bytes.split_at_mut(FIXED);
        start.copy_from_slice(&fixed);
        input.read_exact(lock).map_err(|_| ArchiveError::Header("it is cut off"))?;
        Ok(Header { suite, kind, bytes })
    }

    pub fn open(self, with: &Unlock<'_>) -> Result<Opened, ArchiveError> {
        let lock = self.bytes.get(FIXED..).unwrap_or_default();
        let key = match (self.kind, with) {
            (PASSPHRASE | PUBLIC_KEY, Unlock::ContentKey(key)) => SecretBytes::copy_from(key.expose()),
            (PASSPHRASE, Unlock::Passphrase(passphrase)) => {
                let (length, rest) = lock.split_first_chunk::<2>().ok_or(ArchiveError::Header("a short lock"))?;
                let parts = rest.split_at_checked(u16::from_be_bytes(*length).into());
                let (params, wrapped) = parts.ok_or(ArchiveError::Header("a short lock"))?;
                let seal = PassphraseSeal::from_params(passphrase, params).map_err(ArchiveError::Passphrase)?;
                seal.open(KEY_PLACE, wrapped).map_err(|e| match e {
                    RootError::DoesNotOpen => {
                        ArchiveError::Locked("the passphrase is not the one of this backup, or its header was altered")
                    }
                    e => ArchiveError::Passphrase(e),
                })?
            }
            (PUBLIC_KEY, Unlock::PrivateKey(private)) => {
                let parts = lock.split_at_checked(FINGERPRINT).ok_or(ArchiveError::Header("a short lock"))?;
                if parts.0 != private.fingerprint() {
                    return Err(ArchiveError::Locked(
                        "the private key does not belong to the public key of this backup",
                    ));
                }
                let failed = ArchiveError::Locked("the private key does not open this backup: its header was altered");
                private.open(parts.1).map_err(|_| failed)?
            }
            (PASSPHRASE, Unlock::PrivateKey(_)) => return Err(ArchiveError::Locked("this backup takes a passphrase")),
            (PUBLIC_KEY, Unlock::Passphrase(_)) => return Err(ArchiveError::Locked("this backup takes a private key")),
            _ => return Err(ArchiveError::Header("an unknown kind of lock")),
        };
        if key.len() != public_seal::CONTENT_KEY {
            return Err(ArchiveError::Header("a content key of another length"));
        }
        Ok(Opened { key, suite: self.suite, bytes: self.bytes })
    }
}
