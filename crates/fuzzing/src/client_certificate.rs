//! A client certificate behind its verification: what can be read of it is known by its digest and by no other.
use jadeseal_crypto::sha256;
use jadeseal_server::tls::{Identity, Which};

/// One input: a certificate, DER.
pub fn run(data: &[u8]) {
    let Ok(identity) = Identity::of(data) else { return };
    assert!(identity.is(&Which::Certificate(sha256(data))));
    assert!(!identity.is(&Which::Certificate([0; 32])));
    assert!(!identity.is(&Which::PublicKey(sha256(data))));
}
