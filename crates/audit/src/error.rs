//! What can go wrong with the log.

use std::{io, path::PathBuf};

/// Failure of the audit log. Whoever gets one while answering a request must refuse the request.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Another process has the directory open.
    #[error("the audit log in {0} is in use by another process")]
    Locked(PathBuf),
    /// No room on the disk. Appends succeed again as soon as there is room.
    #[error("no space is left for the audit log")]
    Full,
    /// A flush failed: what the disk holds is unknown, so nothing more is written. The process must
    /// exit; the next start recovers what is readable.
    #[error("a flush of the audit log failed; the process must be restarted")]
    Poisoned,
    /// The log was closed.
    #[error("the audit log is closed")]
    Closed,
    /// Not a record: empty, over [`MAX_RECORD_BYTES`](crate::MAX_RECORD_BYTES) or holding control
    /// characters.
    #[error("not an audit record: {0}")]
    BadRecord(&'static str),
    /// No record has this index yet.
    #[error("the audit log has no record {0}")]
    NoSuchRecord(u64),
    /// A file was damaged or edited.
    #[error("{}, line {line}: {what}", file.display())]
    Corrupt {
        /// The damaged segment.
        file: PathBuf,
        /// Line of the first damage, from 1 (the header).
        line: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A file beside the segments is not what it should be.
    #[error("{}: {what}", file.display())]
    Note {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// Records are missing at the end: more of them were on stable storage once.
    #[error(
        "the audit log has {records} records, but its tree or a checkpoint says {promised}: records are missing at its end"
    )]
    Shorter {
        /// Records that are there.
        records: u64,
        /// Records that there were.
        promised: u64,
    },
    /// The records are not those that a checkpoint was made of.
    #[error("the records of the audit log are not those that its checkpoint of size {0} was made of")]
    Forked(u64),
    /// A record is damaged.
    #[error("record {index} ({}, line {line}) is damaged: it does not match its checksum", file.display())]
    BadAt {
        /// Its index.
        index: u64,
        /// Its segment.
        file: PathBuf,
        /// Its line, from 1 (the header).
        line: u64,
    },
    /// A record is whole, but another one was logged in its place.
    #[error("record {index} ({}, line {line}) is not the one that was logged: the tree has another hash", file.display())]
    Altered {
        /// Its index.
        index: u64,
        /// Its segment.
        file: PathBuf,
        /// Its line, from 1 (the header).
        line: u64,
    },
    /// Records are not there, and no record says that they were retired.
    #[error("records {from} to {} are missing", to - 1)]
    Missing {
        /// The first of them.
        from: u64,
        /// The first that is there again.
        to: u64,
    },
    /// A file of the tree above its records is damaged.
    #[error("the file tree-{level} does not fit the records up to {record}")]
    Hash {
        /// Its level.
        level: usize,
        /// The last record that was looked at.
        record: u64,
    },
    /// Records and tree were written anew after a checkpoint was signed.
    #[error("the checkpoint of size {size} was made of other records: one of {from} to {} is not the one that was logged", size - 1)]
    Rewritten {
        /// The first record that may be another one.
        from: u64,
        /// Size of the checkpoint.
        size: u64,
    },
    /// A proof cannot be made or does not hold.
    #[error("{0}")]
    Proof(&'static str),
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
}

impl AuditError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        AuditError::Io { what, path: path.into(), source }
    }

    pub(crate) fn corrupt(file: impl Into<PathBuf>, line: u64, what: &'static str) -> Self {
        AuditError::Corrupt { file: file.into(), line, what }
    }
}

/// True for the errors that mean "no room": a full disk, a quota, a file size limit.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
