//! The audit log: one canonical record per request, in append-only segment files.
//!
//! * [`Record`] says who did what to which key, from where, and how it ended. It has no field that
//!   could hold a plaintext, a secret or a blob.
//! * [`Log`] appends records. An append has handed the record to the operating system when it
//!   returns; [`Log::flushed`] waits for stable storage, and many waiters share one flush.
//! * [`verify`] and [`for_each_record`] read a log without writing to it; a [`Follower`] reads it beside its writer.
//! * [`index::Index`] finds the records of an account by what they say.
//!
//! The format is fixed in `docs/audit-format.md`. Invariants: a segment that carries its final name
//! has a durable header and only durable predecessors; a failed flush is never tried again; the
//! bytes of a record never change once appended.
#![forbid(unsafe_code)]

pub mod checkpoint;
mod disk;
mod error;
mod facts;
mod flusher;
mod follow;
mod head;
pub mod index;
mod levels;
mod log;
mod notary;
pub mod note;
mod open;
mod proof;
mod publish;
mod read;
mod record;
mod recover;
mod retire;
mod segment;
mod shared;
pub mod tree;
mod verify;

#[cfg(test)]
mod follow_tests;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod slow_tests;

pub use checkpoint::Checkpoint;
pub use error::AuditError;
pub use facts::{Facts, List, escaped, unescaped};
pub use follow::{FollowError, Follower};
pub use head::next_index;
pub use log::{Degree, Lag, Log, Options, Written};
pub use notary::{Certifier, Published};
pub use note::{Note, Signer, Verifier};
pub use proof::{MAX_PROOF_BYTES, Proof};
pub use publish::{PublishedTiles, publish};
pub use read::{Verified, contains_request_ids, for_each_record, verify};
pub use record::{Access, Fields, Principal, RETIRED, Record};
pub use recover::Recovery;
pub use retire::{Retention, Retiring};
pub use segment::MAX_RECORD_BYTES;
pub use verify::{Proved, Trust, verify_log};
