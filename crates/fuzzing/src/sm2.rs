//! SM2 bytes from outside: public keys, signatures, ciphertexts. None is taken but the ones that were made,
//! and those in one form only.
use arbitrary::{Arbitrary, Unstructured};
use jadeseal_crypto::asymmetric::Input;
use jadeseal_crypto::{Sm2Key, Sm2PublicKey};
use std::sync::LazyLock;

static KEY: LazyLock<Sm2Key> = LazyLock::new(|| Sm2Key::from_scalar(&[5; 32]).expect("a key"));
static SIGNATURE: LazyLock<[u8; 64]> = LazyLock::new(|| KEY.sign(E).expect("signing").to_raw());
static SEALED: LazyLock<Vec<u8>> = LazyLock::new(|| KEY.public().encrypt_asn1(b"text").expect("encryption"));

const E: Input<'static> = Input::Digest(&[7; 32]);

#[derive(Arbitrary, Debug)]
struct Given<'a> {
    raw: &'a [u8],
    at: u16,
    xor: u8,
}

/// One input, read as a description of what to do.
pub fn run(data: &[u8]) {
    let Ok(Given { raw, at, xor }) = Given::arbitrary(&mut Unstructured::new(data)) else { return };
    if let Ok(key) = Sm2PublicKey::from_spki(raw) {
        let again = Sm2PublicKey::from_spki(key.spki()).expect("what was written is read");
        assert_eq!(again, key);
        key.encrypt_raw(b"text").expect("an accepted key encrypts");
    }
    assert_eq!(KEY.verify(E, raw), Ok(false));
    assert!(KEY.decrypt(raw).is_err());

    let mut signature = *SIGNATURE;
    signature[usize::from(at) % 64] ^= xor;
    assert_eq!(KEY.verify(E, &signature), Ok(xor == 0));
    let mut sealed = SEALED.clone();
    let at = usize::from(at) % sealed.len();
    sealed[at] ^= xor;
    assert_eq!(KEY.decrypt(&sealed).is_ok(), xor == 0);
}
