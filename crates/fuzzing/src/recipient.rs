//! The caller's public key, as text and as a PEM frame around fuzzed DER; and the public keys that Jadeseal itself
//! makes and reads.
use base64::{Engine, engine::general_purpose::STANDARD};
use jadeseal_crypto::{
    Curve, Recipient, RecipientAlgorithm, Sm2PublicKey,
    asymmetric::Input,
    ec::EcPublicKey,
    mldsa::MlDsaPublicKey,
    mlkem::MlKemPublicKey,
    rsa::{Padding, RsaPublicKey, RsaScheme},
};

/// One input.
pub fn run(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    let algorithm = RecipientAlgorithm::ALL[usize::from(*which) % RecipientAlgorithm::ALL.len()];
    if let Ok(text) = std::str::from_utf8(rest) {
        try_one(text, algorithm);
    }
    let body = STANDARD.encode(rest);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).expect("ASCII")).collect();
    keys(rest);
    try_one(&format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")), algorithm);
}

fn try_one(pem: &str, algorithm: RecipientAlgorithm) {
    let Ok(recipient) = Recipient::parse(pem, algorithm) else { return };
    let longest = recipient.max_len();
    // A key that is accepted must be fit for use, up to its limit and not over it.
    recipient.encrypt(&vec![1; longest.min(32)]).expect("an accepted key encrypts");
    recipient.encrypt(&vec![1; longest]).expect("up to its limit");
    assert!(recipient.encrypt(&vec![1; longest + 1]).is_err());
}

/// What is read does what it is for.
fn keys(spki: &[u8]) {
    let text = Input::Message(b"fuzzed");
    if let Ok(key) = RsaPublicKey::from_spki(spki) {
        for padding in Padding::ALL {
            assert_eq!(key.encrypt(*padding, b"fuzzed").expect("encryption").len(), 256);
        }
        for scheme in RsaScheme::ALL {
            assert_eq!(key.verify(*scheme, text, &[1; 256]), Ok(false));
        }
    }
    for curve in Curve::ALL {
        if let Ok(key) = EcPublicKey::from_spki(*curve, spki) {
            assert_eq!(key.verify(text, &[1; 64]), Ok(false));
        }
    }
    if let Ok(key) = Sm2PublicKey::from_spki(spki) {
        // A compressed point comes out uncompressed.
        assert_eq!(Sm2PublicKey::from_spki(key.spki()), Ok(key.clone()));
        assert_eq!(key.encrypt_raw(b"fuzzed").expect("encryption").len(), 96 + 6);
    }
    if let Ok(key) = MlKemPublicKey::from_spki(spki) {
        key.encapsulate().expect("encapsulation");
    }
    if let Ok(key) = MlDsaPublicKey::from_spki(spki) {
        assert_eq!(key.verify(b"fuzzed", &[1; 4627]), Ok(false));
    }
}
