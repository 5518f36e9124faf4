//! SM2's private operations.

use crate::dudect::{LIMIT, compare, measure, samples};
use jadeseal_crypto::asymmetric::Input;
use jadeseal_crypto::{Sm2Key, random};

fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    random::fill(&mut out).unwrap();
    out
}

fn sealed(key: &Sm2Key) -> Vec<u8> {
    key.public().encrypt_asn1(&bytes::<32>()).unwrap()
}

/// A ciphertext with one bit changed, counted in bytes from its end: C2 takes 32, before it C3 ends at 34.
fn changed(key: &Sm2Key, from_end: usize) -> Vec<u8> {
    let mut out = sealed(key);
    let at = out.len() - from_end;
    out[at] ^= 0x10;
    out
}

/// A private key that is always the same, or a random one; made with the same work, in new memory each time, because
/// places alone make a difference of nanoseconds.
struct Keys(Sm2Key);

impl Keys {
    fn new() -> Self {
        Keys(Sm2Key::generate().unwrap())
    }

    fn pick(&self, random: bool) -> Sm2Key {
        let (one, fresh) = (self.0.to_scalar(), random::secret(32).unwrap());
        Sm2Key::from_scalar(if random { fresh.expose() } else { one.expose() }).unwrap()
    }
}

#[test]
#[ignore = "takes minutes; runs with the soaks"]
fn signing_does_not_show_key_or_digest() {
    let keys = Keys::new();
    let classes = measure(
        &["one key and digest", "random ones"],
        samples(100_000),
        |class| (keys.pick(class == 1), if class == 1 { bytes() } else { [7; 32] }),
        |(key, e)| key.sign(Input::Digest(e)),
    );
    assert!(compare("SM2 sign", &classes) < LIMIT);
}

#[test]
#[ignore = "takes minutes; runs with the soaks"]
fn decryption_does_not_show_the_key() {
    let keys = Keys::new();
    let classes = measure(
        &["one key", "random keys"],
        samples(100_000),
        |class| {
            let key = keys.pick(class == 1);
            (sealed(&key), key)
        },
        |(text, key)| key.decrypt(text).is_ok(),
    );
    assert!(compare("SM2 decrypt, keys", &classes) < LIMIT);
}

#[test]
#[ignore = "takes minutes; runs with the soaks"]
fn decryption_does_not_show_what_is_wrong() {
    let (one, other) = (Sm2Key::generate().unwrap(), Sm2Key::generate().unwrap());
    let classes = measure(
        &["valid", "C2 changed", "C3 changed, first byte", "C3 changed, last byte", "of another key"],
        samples(100_000),
        |class| match class {
            0 => sealed(&one),
            1 => changed(&one, 1),
            2 => changed(&one, 66),
            3 => changed(&one, 35),
            _ => sealed(&other),
        },
        // The plaintext is wiped within the measurement, as it is on failure.
        |text| one.decrypt(text).is_ok(),
    );
    assert!(compare("SM2 decrypt, faults", &classes) < LIMIT);
}
