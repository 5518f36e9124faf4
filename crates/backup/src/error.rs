//! What can be wrong with an archive.

use jadeseal_crypto::CryptoError;
use jadeseal_root::RootError;
use std::io;

/// Why an archive could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is something else.
    #[error("this is not a backup of Jadeseal")]
    NotAnArchive,
    /// A newer release wrote it.
    #[error(
        "the backup has format {0}, which this release does not know: use the release that made it, or a newer one"
    )]
    Newer(u8),
    /// The header is malformed.
    #[error("the header of the backup is damaged: {0}")]
    Header(&'static str),
    /// The secret is not the one.
    #[error("{0}")]
    Locked(&'static str),
    /// A chunk does not open: altered, moved, or of another archive.
    #[error("the backup is damaged or was altered at chunk {0}")]
    Damaged(u64),
    /// The end is missing.
    #[error("the backup is cut off: it ends inside or before chunk {0}")]
    CutOff(u64),
    /// Something follows the last chunk, or what was read ends before it.
    #[error("the backup does not end where it should")]
    End,
    /// Random bytes or the cipher failed.
    #[error("{0}")]
    Crypto(&'static str),
    /// The passphrase cannot be used.
    #[error("{0}")]
    Passphrase(RootError),
}

impl From<CryptoError> for ArchiveError {
    fn from(e: CryptoError) -> Self {
        match e {
            CryptoError::Unavailable(what) => ArchiveError::Crypto(what),
            CryptoError::Invalid => ArchiveError::Crypto("sealing failed"),
        }
    }
}

impl From<ArchiveError> for io::Error {
    fn from(e: ArchiveError) -> Self {
        match e {
            ArchiveError::Io(e) => e,
            other => io::Error::other(other),
        }
    }
}
