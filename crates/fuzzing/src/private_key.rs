//! Key material as the store may hold it after an import or a mishap: what opens is stored again as it is and does all
//! that its usage is for.
use crate::keys::USAGES;
use jadeseal_crypto::{PrivateKey, SignatureScheme, Sm2PublicKey, asymmetric::Input, pq, rsa::Padding};
use jadeseal_types::{KeyId, KeyUsage, SecretBytes};

const SCHEMES: [SignatureScheme; 6] = [
    SignatureScheme::Sm2,
    SignatureScheme::Sm2Raw,
    SignatureScheme::EcdsaP256,
    SignatureScheme::EcdsaP384,
    SignatureScheme::RsaPss,
    SignatureScheme::RsaPkcs1,
];
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
    if matches!(key, PrivateKey::Sm2(_) | PrivateKey::MlKem(_) | PrivateKey::MlDsa(_)) {
        assert_eq!(material.expose(), given.expose());
    }
    let again = PrivateKey::open(usage, &material).expect("what was stored opens");
    assert_eq!(again.material().expect("and is stored").expose(), material.expose());
    assert_eq!(again.public_spki(), key.public_spki());
}

fn signs(key: &PrivateKey) {
    for scheme in SCHEMES {
        let fits = match key {
            PrivateKey::Rsa(_) => scheme.usage() == KeyUsage::SignRsa2048,
            PrivateKey::P256(_) => scheme.usage() == KeyUsage::SignP256,
            PrivateKey::P384(_) => scheme.usage() == KeyUsage::SignP384,
            PrivateKey::Sm2(_) => scheme.usage() == KeyUsage::SignSm2,
            PrivateKey::MlKem(_) | PrivateKey::MlDsa(_) => false,
        };
        let Ok(made) = key.sign(scheme, Input::Message(TEXT)) else {
            assert!(!fits, "a key of this usage signs");
            continue;
        };
        assert!(fits, "a key of another usage signed");
        assert_eq!(key.verify(scheme, Input::Message(TEXT), &made), Ok(true));
        assert_eq!(key.verify(scheme, Input::Message(b"other"), &made), Ok(false));
    }
    if let PrivateKey::MlDsa(key) = key {
        let made = key.sign(TEXT).expect("a signature");
        assert_eq!(key.verify(TEXT, &made), Ok(true));
        assert_eq!(key.verify(b"other", &made), Ok(false));
    }
}

fn decrypts(key: &PrivateKey) {
    let opened = match key {
        PrivateKey::Rsa(rsa) => {
            for padding in Padding::ALL {
                let sealed = rsa.public().encrypt(*padding, TEXT).expect("an accepted key encrypts");
                assert_eq!(key.decrypt_rsa(*padding, &sealed).expect("and decrypts").expose(), TEXT);
            }
            return;
        }
        PrivateKey::Sm2(_) => {
            let public = Sm2PublicKey::from_spki(key.public_spki()).expect("its own public key");
            key.decrypt_sm2(&public.encrypt_asn1(TEXT).expect("encryption"))
        }
        PrivateKey::MlKem(kem) => {
            pq::open(kem, &pq::seal(kem, KeyId::from_bytes([9; 16]), 1, TEXT).expect("encryption"))
        }
        PrivateKey::P256(_) | PrivateKey::P384(_) | PrivateKey::MlDsa(_) => return,
    };
    assert_eq!(opened.expect("what was encrypted decrypts").expose(), TEXT);
}
