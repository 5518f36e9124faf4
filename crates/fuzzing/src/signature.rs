//! Signatures that nobody made, and real ones with something changed: false under every scheme.
use crate::{asymmetric_ciphertext::element, keys::key};
use arbitrary::{Arbitrary, Unstructured};
use jadeseal_crypto::{PrivateKey, SignatureScheme, asymmetric::Input};
use jadeseal_types::KeyUsage;
use std::sync::LazyLock;

/// None is ML-DSA, which has no other scheme.
const SCHEMES: [Option<SignatureScheme>; 7] = [
    Some(SignatureScheme::Sm2),
    Some(SignatureScheme::Sm2Raw),
    Some(SignatureScheme::EcdsaP256),
    Some(SignatureScheme::EcdsaP384),
    Some(SignatureScheme::RsaPss),
    Some(SignatureScheme::RsaPkcs1),
    None,
];
const TEXT: &[u8] = b"fuzzed";

/// A signature of each scheme.
static MADE: LazyLock<[Vec<u8>; SCHEMES.len()]> = LazyLock::new(|| {
    SCHEMES.map(|scheme| {
        match scheme {
            None => signer(scheme).sign_post_quantum(TEXT),
            Some(made) => signer(scheme).sign(made, Input::Message(TEXT)),
        }
        .expect("a signature")
    })
});

#[derive(Arbitrary, Debug)]
enum Given<'a> {
    /// As it comes, under a message.
    Raw { which: u8, message: &'a [u8], signature: &'a [u8] },
    /// The same under a digest of any length.
    Digest { which: u8, digest: &'a [u8], signature: &'a [u8] },
    /// As long as a true one: a few bytes over and over.
    Long { which: u8, piece: [u8; 8] },
    /// Two numbers in DER.
    Numbers { which: u8, r: &'a [u8], s: &'a [u8] },
    /// A real one, changed or not.
    Changed { which: u8, at: u16, xor: u8, cut: u8, more: &'a [u8], other_message: bool },
}

/// One input, read as a description of what to do.
pub fn run(data: &[u8]) {
    let Ok(given) = Given::arbitrary(&mut Unstructured::new(data)) else { return };
    match given {
        Given::Raw { which, message, signature } => assert!(!verify(at(which), message, signature)),
        Given::Digest { which, digest, signature } => {
            let Some(scheme) = SCHEMES[at(which)] else { return };
            let verified = signer(Some(scheme)).verify(scheme, Input::Digest(digest), signature);
            assert_eq!(verified.ok(), (digest.len() == scheme.digest_len()).then_some(false));
        }
        Given::Long { which, piece } => {
            let len = MADE[at(which)].len();
            let signature: Vec<u8> = piece.iter().copied().cycle().take(len).collect();
            assert!(!verify(at(which), TEXT, &signature));
        }
        Given::Numbers { which, r, s } => {
            let signature = element(0x30, &[element(2, r), element(2, s)].concat());
            assert!(!verify(at(which), TEXT, &signature));
        }
        Given::Changed { which, at: place, xor, cut, more, other_message } => {
            let made = &MADE[at(which)];
            let mut signature = made.clone();
            signature[usize::from(place) % made.len()] ^= xor;
            signature.truncate(made.len() - usize::from(cut).min(made.len()));
            signature.extend_from_slice(more);
            let message = if other_message { b"other" } else { TEXT };
            assert_eq!(verify(at(which), message, &signature), signature == *made && !other_message);
        }
    }
}

fn at(which: u8) -> usize {
    usize::from(which) % SCHEMES.len()
}

fn verify(which: usize, message: &[u8], signature: &[u8]) -> bool {
    let key = signer(SCHEMES[which]);
    match SCHEMES[which] {
        None => key.verify_post_quantum(message, signature),
        Some(scheme) => key.verify(scheme, Input::Message(message), signature),
    }
    .expect("a signature is right or wrong")
}

fn signer(scheme: Option<SignatureScheme>) -> &'static PrivateKey {
    key(scheme.map_or(KeyUsage::SignDilithium, SignatureScheme::usage))
}
