//! Root of trust and key hierarchy.
//!
//! ```text
//! seal (key file, passphrase, systemd credential, shares; later a PKCS#11 token)
//!   └─ root key, versioned, in memory only      one per deployment
//!        └─ domain key, one per account
//!             └─ key material of CMKs, access keys, import keys
//! ```
//!
//! * [`Seal`] is the root of trust: it seals and opens, and never hands its own secret out.
//! * [`Keyring`] holds the opened root key versions and makes, opens and re-wraps domain keys.
//! * [`DomainKey`] wraps an account's secrets, each bound to its [`Place`]: a row that is copied
//!   elsewhere does not open.
//!
//! This crate knows no store: records are plain data, and whoever calls keeps them.
//! Why it is built so: `docs/adr/0005-key-hierarchy.md`.
#![forbid(unsafe_code)]

mod domain;
mod error;
mod keyfile;
mod keyring;
mod passphrase;
mod place;
mod private;
mod seal;
pub mod shamir;
mod source;
mod systemd;

#[cfg(test)]
mod keyring_tests;

pub use domain::DomainKey;
pub use error::RootError;
pub use keyfile::FileSeal;
pub use keyring::{DomainRecord, Keyring, RootRecord};
pub use passphrase::{Cost, PassphraseSeal};
pub use place::{Place, Purpose};
pub use private::read_private_file;
pub use seal::{KeySeal, Seal};
pub use shamir::{ShamirSeal, ShareFrom};
pub use source::{PassphraseFrom, SealSource};
pub use systemd::SystemdSeal;
