//! Request decoding, request signatures and caller identity.
//!
//! Everything here works on the raw bytes of one request: the parameter tree is read from them and the
//! signature is checked over them. The crate does no I/O, never touches the store and knows no clock:
//! `now` is an argument, in Unix seconds. Only this crate can build a [`Caller`] or a [`Member`].
#![forbid(unsafe_code)]

mod authorization;
pub mod caller;
pub mod certificate;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod organisations;
pub mod params;
pub mod policy;
pub mod replay;
pub mod request;
pub mod session;
pub mod signature;
mod tc3;
mod v1;

pub use caller::{Authority, Caller, Credential, Layer, Origin, Outcome, PRODUCT_ACTIONS, Principal, Session, refusal};
pub use certificate::{Bindings, Bound, ClientCertificate};
pub use form::{MAX_PAIRS, Pair, parse_form, percent_decoded, unflatten};
pub use organisations::{Member, Misconfigured, Organisation, Organisations};
pub use params::{MAX_DEPTH, MAX_VALUES, Params, Value, parse_json};
pub use replay::ReplayGuard;
pub use request::{
    BodyLimit, Common, Decoded, Method, Presented, RequestParts, SignatureKind, Tc3, V1, V1Hash, body_limit, decode,
    decode_routed, max_body, presented_kind, presented_language,
};
pub use signature::{SigningSecret, Verified, check_time, verify, verify_dummy};
