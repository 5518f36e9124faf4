//! Words that every other crate shares: identifiers, states, error codes, secret wrappers, limits.
//!
//! This crate does no I/O and knows no clock. A value of one of its types has been checked when it
//! was made, so the code behind the edge can trust it.
#![forbid(unsafe_code)]

pub mod error;
pub mod ids;
pub mod limits;
pub mod secret;
pub mod state;
pub mod text;

pub use error::{ApiError, ErrorCode};
pub use ids::{AccountId, Alias, AppId, DataKeyId, GroupId, KeyId, PolicyId, Region, RoleId, SecretId, Uin};
pub use secret::{SecretArray, SecretBytes};
pub use state::{DataKeyState, KeyState, KeyUsage, Origin, Owner, Suite};
pub use text::{Lang, Text};
