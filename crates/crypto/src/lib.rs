//! Algorithms, envelope and ciphertext formats, key generation, import unwrapping.
//!
//! This crate does no I/O, reads no clock and knows no account policy: it is given keys and bytes
//! and gives bytes back. What it writes is described for other implementations in
//! `docs/formats.md`; the known answers in `tests/vectors` come from a second implementation.
//!
//! | module | what it holds |
//! |---|---|
//! | [`asymmetric`] | what all asymmetric algorithms share |
//! | [`blob`] | the ciphertext blob of Encrypt and Decrypt |
//! | [`context`] | the encryption context and its canonical encoding |
//! | [`wrap`] | how each level of the key hierarchy seals the next one |
//! | [`recipient`] | results encrypted to a caller's public key |
//! | [`rsa`], [`ec`], [`mldsa`] | decryption and signing keys |
//! | [`ed25519`] | signatures of our own audit log |
//! | [`mlkem`], [`pq`] | post-quantum encryption keys and their ciphertext blob |
//! | [`import`] | wrapping keys for imported key material |
//! | [`public_seal`] | a content key sealed to a public key |
//! | [`random`] | random bytes |
//! | [`sm2`] | SM2 signatures and encryption |
//! | [`sm4`] | the SM4 block cipher in constant time |

mod aead;
pub mod asymmetric;
pub mod blob;
pub mod context;
mod der;
mod digest;
pub mod ec;
pub mod ed25519;
mod envelope;
mod error;
pub mod import;
mod kdf;
pub mod mldsa;
pub mod mlkem;
pub mod pq;
mod private_key;
pub mod public_seal;
pub mod random;
pub mod recipient;
pub mod rsa;
pub mod sm2;
pub mod sm4;
pub mod wrap;

#[cfg(test)]
mod known_answers;
#[cfg(test)]
mod wycheproof_tests;

pub use blob::{BlobKey, Header};
pub use context::{Context, ContextError};
pub use digest::{digest, hmac_sha256, sha256};
pub use ec::{Curve, EcKey};
pub use ed25519::Ed25519Key;
pub use error::CryptoError;
pub use import::ImportKey;
pub use mldsa::MlDsaKey;
pub use mlkem::MlKemKey;
pub use private_key::{PrivateKey, SignatureScheme};
pub use public_seal::{PrivateOpener, PublicSeal};
pub use recipient::{Recipient, RecipientAlgorithm, RecipientError};
pub use rsa::{RsaKey, RsaScheme};
pub use sm2::{Sm2Key, Sm2PublicKey, Sm2Signature};
pub use wrap::{WrapKey, parent_version, place};
