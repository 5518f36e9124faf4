//! Asymmetric keys through their public functions: known answers, stored forms, malformed inputs.

mod post_quantum;
mod wycheproof_sets;

use data_encoding::HEXLOWER;
use jadeseal_crypto::asymmetric::Input;
use jadeseal_crypto::ec::EcPublicKey;
use jadeseal_crypto::mldsa::{self, MlDsaPublicKey};
use jadeseal_crypto::mlkem::{self, MlKemPublicKey};
use jadeseal_crypto::rsa::{Padding, RsaPublicKey};
use jadeseal_crypto::{CryptoError, Curve, EcKey, Header, ImportKey, MlDsaKey, MlKemKey, RsaKey, RsaScheme};
use jadeseal_crypto::{pq, random, sha256};
use jadeseal_types::KeyId;
use proptest::prelude::*;
use serde_json::Value;
use std::sync::LazyLock;

static RSA: LazyLock<RsaKey> = LazyLock::new(|| RsaKey::generate().unwrap());
static P256: LazyLock<EcKey> = LazyLock::new(|| EcKey::generate(Curve::P256).unwrap());
static P384: LazyLock<EcKey> = LazyLock::new(|| EcKey::generate(Curve::P384).unwrap());
static ML_KEM: LazyLock<MlKemKey> = LazyLock::new(|| MlKemKey::generate().unwrap());
static ML_DSA: LazyLock<MlDsaKey> = LazyLock::new(|| MlDsaKey::generate().unwrap());

fn hex(v: &Value) -> Vec<u8> {
    HEXLOWER.decode(v.as_str().unwrap().as_bytes()).unwrap()
}

fn invalid<T>(result: Result<T, CryptoError>) -> bool {
    matches!(result, Err(CryptoError::Invalid))
}

#[test]
fn implicit_rejection_gives_the_bytes_of_openssl() {
    let all: Value = serde_json::from_str(include_str!("../vectors/rsa_implicit_rejection.json")).unwrap();
    let (mut good, mut bad) = (0, 0);
    for k in all["keys"].as_array().unwrap() {
        let der = hex(&k["pkcs8"]);
        let (key, import) = (RsaKey::from_pkcs8(&der).unwrap(), ImportKey::from_pkcs8(&der).unwrap());
        assert_eq!(key.to_pkcs8().unwrap().expose(), der);
        for t in k["tests"].as_array().unwrap() {
            let (text, answer) = (hex(&t["ciphertext"]), hex(&t["plaintext"]));
            let ours = key.decrypt(Padding::Pkcs1, &text).unwrap();
            assert_eq!(HEXLOWER.encode(ours.expose()), HEXLOWER.encode(&answer), "{}", t["what"]);
            // An import takes well padded material alone.
            let unwrapped = import.unwrap(Padding::Pkcs1, &text);
            if t["good"].as_bool().unwrap() {
                good += 1;
                assert!(unwrapped.unwrap().ct_eq(&answer), "{}", t["what"]);
            } else {
                bad += 1;
                assert!(invalid(unwrapped), "{}", t["what"]);
            }
        }
        let modulus = hex(&k["modulus"]);
        let mut above = modulus.clone();
        above[255] += 1;
        for text in [&modulus[..], &above, &[0xff; 256], &[], &[1; 255], &[0; 257]] {
            assert!(invalid(key.decrypt(Padding::Pkcs1, text)));
        }
    }
    assert_eq!((good, bad), (96, 116));
}

#[test]
fn rsa_round_trips() {
    let public = RsaPublicKey::from_spki(RSA.public_spki()).unwrap();
    let again = RsaKey::from_pkcs8(RSA.to_pkcs8().unwrap().expose()).unwrap();
    assert_eq!(again.public_spki(), RSA.public_spki());
    for &padding in Padding::ALL {
        for len in [0, 1, 32, padding.max_message()] {
            let message = random::secret(len).unwrap();
            let text = public.encrypt(padding, message.expose()).unwrap();
            assert!(again.decrypt(padding, &text).unwrap().ct_eq(message.expose()), "{padding:?} {len}");
        }
        assert!(invalid(public.encrypt(padding, &vec![0; padding.max_message() + 1])));
    }
    for &scheme in RsaScheme::ALL {
        let digest = sha256(b"message");
        for input in [Input::Message(b"message"), Input::Digest(&digest)] {
            let made = again.sign(scheme, input).unwrap();
            assert_eq!(made.len(), 256);
            for seen in [Input::Message(b"message"), Input::Digest(&digest)] {
                assert!(public.verify(scheme, seen, &made).unwrap());
                for &other in RsaScheme::ALL {
                    assert_eq!(RSA.verify(other, seen, &made).unwrap(), other == scheme);
                }
            }
            assert!(!public.verify(scheme, Input::Message(b"massage"), &made).unwrap());
        }
        for len in [0, 20, 31, 33, 48, 64] {
            let digest = vec![1; len];
            assert!(invalid(RSA.sign(scheme, Input::Digest(&digest))));
            assert!(invalid(RSA.verify(scheme, Input::Digest(&digest), &[0; 256])));
        }
    }
    let digest = sha256(b"");
    let twice = |s| RSA.sign(s, Input::Digest(&digest)).unwrap() == RSA.sign(s, Input::Digest(&digest)).unwrap();
    assert!(twice(RsaScheme::Pkcs1Sha256) && !twice(RsaScheme::PssSha256));
}

#[test]
fn ecdsa_round_trips() {
    for (key, curve, other, len) in [(&*P256, Curve::P256, Curve::P384, 32), (&*P384, Curve::P384, Curve::P256, 48)] {
        let der = key.to_pkcs8().unwrap();
        let again = EcKey::from_pkcs8(curve, der.expose()).unwrap();
        assert_eq!(again.public_spki(), key.public_spki());
        assert_eq!(again.to_pkcs8().unwrap().expose(), der.expose());
        assert!(invalid(EcKey::from_pkcs8(other, der.expose())));
        let public = EcPublicKey::from_spki(curve, key.public_spki()).unwrap();
        assert!(invalid(EcPublicKey::from_spki(other, key.public_spki())));
        let digest = random::secret(len).unwrap();
        for (input, wrong) in [
            (Input::Message(b"message"), Input::Message(b"massage")),
            (Input::Digest(digest.expose()), Input::Digest(&[7; 64][..len])),
        ] {
            let made = again.sign(input).unwrap();
            assert_ne!(made, again.sign(input).unwrap());
            assert!(public.verify(input, &made).unwrap());
            assert!(!public.verify(wrong, &made).unwrap());
            let fixed = fixed(&made, len);
            assert!(public.verify(input, &fixed).unwrap());
            assert!(!public.verify(wrong, &fixed).unwrap());
            assert!(!public.verify(input, &fixed[1..]).unwrap());
            assert!(!public.verify(input, &[&[0], &fixed[..]].concat()).unwrap());
        }
        for bad in [0, 20, len - 1, len + 1, 64] {
            assert!(invalid(key.sign(Input::Digest(&vec![1; bad]))));
            assert!(invalid(key.verify(Input::Digest(&vec![1; bad]), &[])));
        }
    }
}

/// R ‖ S of a signature in DER.
fn fixed(der: &[u8], len: usize) -> Vec<u8> {
    let mut at = 2;
    let mut out = Vec::new();
    for _ in 0..2 {
        let n = usize::from(der[at + 1]);
        let number = &der[at + 2..at + 2 + n];
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        out.extend(std::iter::repeat_n(0, len - number.len()));
        out.extend_from_slice(number);
        at += 2 + n;
    }
    out
}

#[test]
fn ml_dsa_round_trips() {
    let again = MlDsaKey::from_seed(ML_DSA.seed().expose()).unwrap();
    assert_eq!(again.public_spki(), ML_DSA.public_spki());
    let public = MlDsaPublicKey::from_spki(ML_DSA.public_spki()).unwrap();
    for message in [&b""[..], b"message", &[7; 4096]] {
        let made = again.sign(message).unwrap();
        assert_eq!(made.len(), mldsa::SIGNATURE);
        assert_ne!(made, again.sign(message).unwrap());
        assert!(public.verify(message, &made).unwrap());
        assert!(!public.verify(b"massage", &made).unwrap());
    }
    for len in [0, 31, 33, 64] {
        assert!(invalid(MlDsaKey::from_seed(&vec![1; len])));
    }
}

#[test]
fn a_mangled_ml_kem_key_is_refused() {
    let stored = ML_KEM.to_bytes().unwrap();
    assert_eq!(stored.len(), mlkem::PRIVATE);
    let again = MlKemKey::from_bytes(stored.expose()).unwrap();
    assert_eq!(again.public_spki(), ML_KEM.public_spki());
    assert_eq!(again.to_bytes().unwrap().expose(), stored.expose());
    // Both halves and the hash; z, the last 32 bytes, belongs to nothing that could be checked.
    for at in (0..3136).step_by(97).chain([1535, 1536, 3103, 3104, 3135]) {
        let mut changed = stored.expose().to_vec();
        changed[at] ^= 1;
        assert!(invalid(MlKemKey::from_bytes(&changed)), "{at}");
    }
    for len in [0, 1, 1568, 3167] {
        assert!(invalid(MlKemKey::from_bytes(&stored.expose()[..len])));
    }
    let mut spki = ML_KEM.public_spki().to_vec();
    spki[22..25].fill(0xff);
    assert!(invalid(MlKemPublicKey::from_spki(&spki)));
}

#[test]
fn pq_blobs_round_trip_and_are_no_blobs_of_encrypt() {
    let id = KeyId::from_bytes([9; 16]);
    for len in [0, 1, 32, 4096] {
        let text = random::secret(len).unwrap();
        let sealed = pq::seal(&ML_KEM, id, 7, text.expose()).unwrap();
        assert_eq!(sealed.len(), len + pq::OVERHEAD);
        assert_eq!(pq::header(&sealed).unwrap(), (id, 7));
        assert!(pq::open(&ML_KEM, &sealed).unwrap().ct_eq(text.expose()));
        assert!(invalid(pq::open(&MlKemKey::generate().unwrap(), &sealed)));
        assert!(invalid(Header::parse(&sealed)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_changed_pq_blob_opens(
        text in proptest::collection::vec(any::<u8>(), 0..100),
        flip: proptest::sample::Index,
        cut: proptest::sample::Index,
        extra: u8,
    ) {
        let sealed = pq::seal(&ML_KEM, KeyId::from_bytes([9; 16]), 1, &text).unwrap();
        let mut changed = sealed.clone();
        let bit = flip.index(changed.len() * 8);
        changed[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(invalid(pq::open(&ML_KEM, &changed)), "bit {}", bit);
        prop_assert!(invalid(pq::open(&ML_KEM, &sealed[..cut.index(sealed.len())])));
        prop_assert!(invalid(pq::open(&ML_KEM, &[&sealed[..], &[extra]].concat())));
    }

    #[test]
    fn random_bytes_are_no_key_and_no_signature(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        refuse_everything(&bytes);
    }

    #[test]
    fn mutated_encodings_never_panic(
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut: proptest::sample::Index,
        extra: u8,
    ) {
        let keys = [RSA.to_pkcs8().unwrap(), P256.to_pkcs8().unwrap(), P384.to_pkcs8().unwrap()];
        let publics = [RSA.public_spki(), P256.public_spki(), P384.public_spki(), ML_KEM.public_spki(), ML_DSA.public_spki()];
        for der in keys.iter().map(|k| k.expose()).chain(publics) {
            let mut changed = der.to_vec();
            for (at, with) in &flips {
                changed[at.index(der.len())] ^= with;
            }
            read_everything(&changed);
            refuse_everything(&der[..cut.index(der.len())]);
            refuse_everything(&[der, &[extra]].concat());
        }
    }

    #[test]
    fn no_changed_signature_verifies(flip: proptest::sample::Index, cut: proptest::sample::Index, extra: u8) {
        let input = Input::Message(b"message");
        let rsa = |s: RsaScheme| (RSA.sign(s, input).unwrap(), Box::new(move |sig: &[u8]| RSA.verify(s, input, sig).unwrap()) as Box<dyn Fn(&[u8]) -> bool>);
        let all = [
            rsa(RsaScheme::PssSha256),
            rsa(RsaScheme::Pkcs1Sha256),
            (P256.sign(input).unwrap(), Box::new(|sig| P256.verify(input, sig).unwrap())),
            (P384.sign(input).unwrap(), Box::new(|sig| P384.verify(input, sig).unwrap())),
            (fixed(&P256.sign(input).unwrap(), 32), Box::new(|sig| P256.verify(input, sig).unwrap())),
            (fixed(&P384.sign(input).unwrap(), 48), Box::new(|sig| P384.verify(input, sig).unwrap())),
            (ML_DSA.sign(b"message").unwrap(), Box::new(|sig| ML_DSA.verify(b"message", sig).unwrap())),
        ];
        for (made, verify) in &all {
            prop_assert!(verify(made));
            let mut changed = made.clone();
            let bit = flip.index(changed.len() * 8);
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verify(&changed));
            prop_assert!(!verify(&made[..cut.index(made.len())]));
            prop_assert!(!verify(&[&made[..], &[extra]].concat()));
        }
    }

    #[test]
    fn ciphertexts_of_any_form_never_panic(bytes in proptest::collection::vec(any::<u8>(), 250..260), at: proptest::sample::Index) {
        let public = RSA.public();
        for &padding in Padding::ALL {
            let mut text = public.encrypt(padding, b"text").unwrap();
            text[at.index(256)] ^= 1;
            for text in [&text[..], &bytes] {
                match RSA.decrypt(padding, text) {
                    Ok(message) => prop_assert!(padding == Padding::Pkcs1 && !message.ct_eq(b"text")),
                    Err(e) => prop_assert_eq!(e, CryptoError::Invalid),
                }
            }
        }
    }
}

/// Changed bytes may still be a key; what is asked is that nothing breaks.
fn read_everything(bytes: &[u8]) {
    let _ = RsaKey::from_pkcs8(bytes);
    let _ = RsaPublicKey::from_spki(bytes);
    for &curve in Curve::ALL {
        let _ = EcKey::from_pkcs8(curve, bytes);
        let _ = EcPublicKey::from_spki(curve, bytes);
    }
    let _ = MlKemPublicKey::from_spki(bytes);
    let _ = MlDsaPublicKey::from_spki(bytes);
}

fn refuse_everything(bytes: &[u8]) {
    assert!(invalid(RsaKey::from_pkcs8(bytes)) && invalid(RsaPublicKey::from_spki(bytes)));
    for &curve in Curve::ALL {
        assert!(invalid(EcKey::from_pkcs8(curve, bytes)) && invalid(EcPublicKey::from_spki(curve, bytes)));
    }
    assert!(invalid(MlKemPublicKey::from_spki(bytes)) && invalid(MlDsaPublicKey::from_spki(bytes)));
    assert!(invalid(MlKemKey::from_bytes(bytes)));
    let input = Input::Message(b"message");
    assert!(!P256.verify(input, bytes).unwrap() && !P384.verify(input, bytes).unwrap());
    assert!(RsaScheme::ALL.iter().all(|s| !RSA.verify(*s, input, bytes).unwrap()));
    assert!(!ML_DSA.verify(b"message", bytes).unwrap());
    assert!(invalid(pq::open(&ML_KEM, bytes)));
}

#[test]
fn names_round_trip() {
    for p in Padding::ALL {
        assert_eq!(Padding::from_wire(p.wire()), Some(*p));
    }
}
