//! ML-KEM and ML-DSA against NIST's ACVP samples and against independent implementations.

use crate::hex;
use jadeseal_crypto::{MlDsaKey, MlKemKey, random};
use ml_dsa::{KeyExport as _, Keypair as _, MlDsa87, SigningKey, VerifyingKey};
use ml_dsa::{Signer as _, Verifier as _};
use ml_kem::kem::Decapsulate as _;
use ml_kem::{FromSeed, MlKem1024};
use serde_json::Value;

/// SubjectPublicKeyInfo up to the raw key.
const SPKI_HEAD: usize = 22;

fn acvp(list: &str) -> Value {
    let mut all: Value = serde_json::from_str(include_str!("../vectors/acvp_pq.json")).unwrap();
    all[list].take()
}

#[allow(deprecated)] // the other crate would keep seeds alone
fn expand(seed: &[u8]) -> (ml_kem::DecapsulationKey1024, Vec<u8>) {
    use ml_kem::ExpandedKeyEncoding as _;
    let (private, _) = MlKem1024::from_seed(&seed.try_into().unwrap());
    let stored = private.to_expanded_bytes().to_vec();
    (private, stored)
}

#[test]
fn acvp_ml_kem_1024() {
    let keys = acvp("ml_kem_key_gen");
    for t in keys.as_array().unwrap() {
        let stored = hex(&t["dk"]);
        assert_eq!(expand(&[hex(&t["d"]), hex(&t["z"])].concat()).1, stored);
        let key = MlKemKey::from_bytes(&stored).unwrap();
        assert_eq!(key.public_spki()[SPKI_HEAD..], stored[1536..3104]);
    }
    let encapsulated = acvp("ml_kem_encapsulation");
    for t in encapsulated.as_array().unwrap() {
        let key = MlKemKey::from_bytes(&hex(&t["dk"])).unwrap();
        assert_eq!(key.decapsulate(&hex(&t["c"])).unwrap().expose()[..], hex(&t["k"]));
    }
    let group = acvp("ml_kem_decapsulation");
    let key = MlKemKey::from_bytes(&hex(&group["dk"])).unwrap();
    let tests = group["tests"].as_array().unwrap();
    for t in tests {
        assert_eq!(key.decapsulate(&hex(&t["c"])).unwrap().expose()[..], hex(&t["k"]), "{}", t["reason"]);
    }
    assert_eq!((keys.as_array().unwrap().len(), encapsulated.as_array().unwrap().len(), tests.len()), (5, 3, 10));
}

#[test]
fn acvp_ml_dsa_87() {
    let keys = acvp("ml_dsa_key_gen");
    for t in keys.as_array().unwrap() {
        let key = MlDsaKey::from_seed(&hex(&t["seed"])).unwrap();
        assert_eq!(key.public_spki()[SPKI_HEAD..], hex(&t["pk"]));
    }
    assert_eq!(keys.as_array().unwrap().len(), 8);
}

#[test]
fn ml_kem_agrees_with_another_implementation() {
    for _ in 0..10 {
        let (theirs, stored) = expand(random::secret(64).unwrap().expose());
        let ours = MlKemKey::from_bytes(&stored).unwrap();
        assert_eq!(ours.public_spki()[SPKI_HEAD..], theirs.encapsulation_key().to_bytes()[..]);
        // Ours to theirs, and a ciphertext that is none.
        let (text, secret) = ours.public().encapsulate().unwrap();
        assert_eq!(theirs.decapsulate(&text[..].try_into().unwrap())[..], secret.expose()[..]);
        let noise = random::secret(text.len()).unwrap();
        let rejected = theirs.decapsulate(&noise.expose().try_into().unwrap());
        assert_eq!(ours.decapsulate(noise.expose()).unwrap().expose()[..], rejected[..]);
        // Theirs to ours.
        let random: [u8; 32] = random::secret(32).unwrap().expose().try_into().unwrap();
        let (text, secret) = theirs.encapsulation_key().encapsulate_deterministic(&random.into());
        assert_eq!(ours.decapsulate(&text).unwrap().expose()[..], secret[..]);
    }
}

#[test]
fn ml_dsa_agrees_with_another_implementation() {
    for i in 0..10 {
        let ours = MlDsaKey::generate().unwrap();
        let theirs = SigningKey::<MlDsa87>::from_seed(&(*ours.seed().expose()).into());
        let public = theirs.verifying_key();
        assert_eq!(ours.public_spki()[SPKI_HEAD..], public.to_bytes()[..]);
        let message = random::secret(i * 50).unwrap();
        let made = ours.sign(message.expose()).unwrap();
        let decoded = made[..].try_into().unwrap();
        assert!(VerifyingKey::<MlDsa87>::decode(&public.encode()).verify(message.expose(), &decoded).is_ok());
        let made = theirs.sign(message.expose()).encode();
        assert!(ours.verify(message.expose(), &made).unwrap());
        assert!(!ours.verify(b"another message", &made).unwrap());
    }
}
