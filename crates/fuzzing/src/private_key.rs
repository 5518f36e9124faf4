//! Key material as the store may hold it after an import or a mishap: what opens is stored again as it is and does all
//! that its usage is for.
use crate::keys::USAGES;
use jadeseal_crypto::{
    PrivateKey, SignatureScheme, Sm2PublicKey,
    asymmetric::Input,
    rsa::{Padding, RsaPublicKey},
};
use jadeseal_types::{KeyId, KeyUsage, SecretBytes};

const TEXT: &[u8] = b"fuzzed";

/// One input: a byte for the usage, then the material.
pub fn run(data: &[u8]) {
    let Some((which, material)) = data.split_first() else { return };
    let usage = USAGES[usize::from(*which) % USAGES.len()];
    let material = SecretBytes::copy_from(material);
    let Ok(key) = PrivateKey::open(usage, &material) else { return };
    stored(usage, &key, &material);
    signs(&key);
    decrypts(&key);
}

/// The stored form is the same when it is read and written again; where it is no DER, it is what was given.
fn stored(usage: KeyUsage, key: &PrivateKey, given: &SecretBytes) {
    let material = key.material().expect("what was opened is stored");
    use KeyUsage as U;
    if matches!(usage, U::DecryptSm2 | U::SignSm2 | U::DecryptKyber | U::SignDilithium) {
        assert_eq!(material.expose(), given.expose());
    }
    let again = PrivateKey::open(usage, &material).expect("what was stored opens");
    assert_eq!(again.material().expect("and is stored").expose(), material.expose());
    assert_eq!(again.public_spki(), key.public_spki());
}

fn signs(key: &PrivateKey) {
    for scheme in SignatureScheme::ALL {
        let fits = scheme.usage() == key.usage();
        let Ok(made) = key.sign(*scheme, Input::Message(TEXT)) else {
            assert!(!fits, "a key of this usage signs");
            continue;
        };
        assert!(fits, "a key of another usage signed");
        assert_eq!(key.verify(*scheme, Input::Message(TEXT), &made), Ok(true));
        assert_eq!(key.verify(*scheme, Input::Message(b"other"), &made), Ok(false));
    }
    if key.usage() == KeyUsage::SignDilithium {
        let made = key.sign_post_quantum(TEXT).expect("a signature");
        assert_eq!(key.verify_post_quantum(TEXT, &made), Ok(true));
        assert_eq!(key.verify_post_quantum(b"other", &made), Ok(false));
    }
}

fn decrypts(key: &PrivateKey) {
    let opened = match key.usage() {
        KeyUsage::DecryptRsa2048 => {
            let public = RsaPublicKey::from_spki(key.public_spki()).expect("its own public key");
            for padding in Padding::ALL {
                let sealed = public.encrypt(*padding, TEXT).expect("an accepted key encrypts");
                assert_eq!(key.decrypt_rsa(*padding, &sealed).expect("and decrypts").expose(), TEXT);
            }
            return;
        }
        KeyUsage::DecryptSm2 => {
            let public = Sm2PublicKey::from_spki(key.public_spki()).expect("its own public key");
            key.decrypt_sm2(&public.encrypt_asn1(TEXT).expect("encryption"))
        }
        KeyUsage::DecryptKyber => {
            let sealed = key.seal_post_quantum(KeyId::from_bytes([9; 16]), 1, TEXT);
            key.open_post_quantum(&sealed.expect("encryption"))
        }
        _ => return,
    };
    assert_eq!(opened.expect("what was encrypted decrypts").expose(), TEXT);
}
