//! Ships audit records elsewhere: JSON lines to a file, syslog (RFC 5424), an HTTP endpoint.
//!
//! Every export has a thread of its own, a [`Follower`](jadeseal_audit::Follower) of the log's files and a cursor on
//! disk. It shares nothing with the threads that answer requests but a look at how far the log is flushed, so a
//! receiver that is slow, hangs or is gone costs nothing but lag. What a receiver gets, when the cursor moves and what
//! "at least once" means for each kind is in `docs/audit-export.md`.
//!
//! Invariants: the cursor never moves past a record that its receiver has not taken; records are sent in the order of
//! their indices and none is left out, but for a gap that is told; memory holds one batch; headers are never logged.
#![forbid(unsafe_code)]

mod batch;
pub mod cursor;
mod exporter;
mod file;
mod http;
mod settings;
mod status;
mod syslog;
mod tls;
mod transport;

#[cfg(test)]
mod tests;

pub use cursor::lowest_cursor;
pub use exporter::Exports;
pub use http::{parse_headers, read_headers};
pub use settings::{From, Settings, Table};
pub use status::{Figures, Status};
pub use tls::trusting;

/// Why a receiver has not taken a batch, in words for the operator. Never holds what a header or a record says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SendError(String);

impl SendError {
    pub fn new(what: impl std::fmt::Display) -> Self {
        SendError(what.to_string())
    }

    /// With what was tried.
    pub fn of(what: &str) -> impl Fn(std::io::Error) -> SendError + '_ {
        move |e| SendError(format!("{what}: {e}"))
    }
}
