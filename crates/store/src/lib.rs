//! Account-scoped rows with revisions: the [`Store`] trait, whose doc comments are the contract, and
//! its embedded implementation over SQLite.
//!
//! Invariants of this crate:
//! - it never sees a plaintext key: what it is given is wrapped already;
//! - there is no query for a key without a [`Scope`], except the few for background jobs, which
//!   hand out whole rows and change nothing;
//! - it knows no clock: "now" is always an argument;
//! - a change that has been answered is on disk.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod error;
pub mod model;
pub mod sqlite;
pub mod store;

pub use error::{Result, StoreError};
pub use model::{
    AccessKeyRow, AccountRow, Attached, Attachment, Binding, Change, Cmk, Commit, Committed, Counted, DataKey,
    DataKeyMaterial, DataKeyQuery, DomainRow, GroupRow, Identities, IdentityChange, ImportParams, KeyOverview,
    KeyQuery, KeyVersion, Membership, Page, PolicyRow, Role, RoleRow, RootRow, RootState, Rotation, Scope, Tag,
    Taggable, UserRow,
};
pub use sqlite::{Inspection, Options, SqliteStore, inspect};
pub use store::Store;
