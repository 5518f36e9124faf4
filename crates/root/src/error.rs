//! What can go wrong with the root of trust.

use jadeseal_crypto::CryptoError;
use jadeseal_types::ApiError;
use std::{io, path::PathBuf};

/// Failure of the root of trust or of the key hierarchy. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The operating system refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file with a secret is not protected as it must be.
    #[error("{}: {what}", path.display())]
    Unprotected {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is wanted.
        what: &'static str,
    },
    /// A secret is not in the expected form.
    #[error("{from}: {what}")]
    Malformed {
        /// Where it came from.
        from: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Fewer shares of a key are at hand than open it.
    #[error("{there} of the {threshold} shares that are needed are at hand")]
    FewShares {
        /// Shares that could be read.
        there: usize,
        /// Shares that are needed.
        threshold: u8,
    },
    /// Stored parameters of a seal are malformed or out of bounds.
    #[error("stored seal parameters: {0}")]
    Params(&'static str),
    /// Opening failed: another key, another place, or altered bytes. They cannot be told apart.
    #[error("does not open: the key is another one or the data was altered")]
    DoesNotOpen,
    /// Root key versions that no seal opens.
    #[error("no seal opens root key version(s) {0:?}")]
    Sealed(Vec<u32>),
    /// Two slots of one version hold different keys.
    #[error("the slots of root key version {0} hold different keys")]
    Conflict(u32),
    /// There is no root key to open.
    #[error("there is no root key record")]
    Empty,
    /// A root key version that is not in memory.
    #[error("root key version {0} is not open")]
    NoVersion(u32),
    /// The current version cannot be forgotten.
    #[error("root key version {0} is the current one")]
    Current(u32),
    /// A secret was to be wrapped for, or opened at, a place of another account.
    #[error("the place belongs to another account")]
    ForeignPlace,
    /// A cryptographic operation failed for a reason that is not the data.
    #[error("{0}")]
    Crypto(&'static str),
}

impl RootError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        RootError::Io { what, path: path.into(), source }
    }

    pub(crate) fn malformed(from: impl Into<String>, what: &'static str) -> Self {
        RootError::Malformed { from: from.into(), what }
    }
}

/// Why something did not open: a failure of the machinery must not look like a wrong key.
pub(crate) fn not_opened(error: CryptoError) -> RootError {
    match error {
        CryptoError::Invalid => RootError::DoesNotOpen,
        CryptoError::Unavailable(what) => RootError::Crypto(what),
    }
}

/// A caller of the API learns nothing of these; the operator's log does.
impl From<RootError> for ApiError {
    fn from(error: RootError) -> Self {
        ApiError::internal(error)
    }
}
