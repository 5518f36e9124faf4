//! What the fuzz targets assert, one module each, in an ordinary crate: `cargo xtask fuzz` runs them under
//! libFuzzer, and `tests/smoke.rs` runs each in small on every test run.
#![forbid(unsafe_code)]
#![allow(clippy::expect_used)]

pub mod asymmetric_ciphertext;
pub mod audit_follow;
pub mod audit_index;
pub mod audit_proof;
pub mod audit_recovery;
pub mod backup_archive;
pub mod blob;
pub mod client_certificate;
pub mod config;
pub mod context;
pub mod export_cursor;
pub mod export_headers;
pub mod forwarded;
pub mod key_material;
mod keys;
pub mod private_key;
pub mod proxy_header;
pub mod recipient;
pub mod root_share;
pub mod signature;
pub mod sm2;
pub mod traceparent;
pub mod wrap;

/// A target's body: takes any bytes, panics when an assertion fails.
pub type Body = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Body)] = &[
    ("asymmetric_ciphertext", asymmetric_ciphertext::run),
    ("audit_follow", audit_follow::run),
    ("audit_index", audit_index::run),
    ("audit_proof", audit_proof::run),
    ("audit_recovery", audit_recovery::run),
    ("authorization", jadeseal_auth::fuzz::authorization),
    ("backup_archive", backup_archive::run),
    ("blob", blob::run),
    ("client_certificate", client_certificate::run),
    ("config", config::run),
    ("context", context::run),
    ("export_cursor", export_cursor::run),
    ("export_headers", export_headers::run),
    ("form", jadeseal_auth::fuzz::form),
    ("forwarded", forwarded::run),
    ("http_request", jadeseal_auth::fuzz::http_request),
    ("json", jadeseal_auth::fuzz::json),
    ("key_material", key_material::run),
    ("policy", jadeseal_auth::fuzz::policy),
    ("private_key", private_key::run),
    ("proxy_header", proxy_header::run),
    ("recipient", recipient::run),
    ("root_share", root_share::run),
    ("signature", signature::run),
    ("sm2", sm2::run),
    ("traceparent", traceparent::run),
    ("wrap", wrap::run),
];
