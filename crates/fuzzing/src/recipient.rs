//! The caller's public key, as text and as a PEM frame around fuzzed DER.
use base64::{Engine, engine::general_purpose::STANDARD};
use jadeseal_crypto::{Recipient, RecipientAlgorithm};

const NAMES: [&str; 5] = ["SM2", "SM2_C1C3C2_ASN1", "RSAES_PKCS1_V1_5", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"];

/// One input.
pub fn run(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    let Some(algorithm) = RecipientAlgorithm::from_wire(NAMES[usize::from(*which) % NAMES.len()]) else { return };
    if let Ok(text) = std::str::from_utf8(rest) {
        try_one(text, algorithm);
    }
    let body = STANDARD.encode(rest);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).expect("ASCII")).collect();
    try_one(&format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")), algorithm);
}

fn try_one(pem: &str, algorithm: RecipientAlgorithm) {
    let Ok(recipient) = Recipient::parse(pem, algorithm) else { return };
    let longest = recipient.max_len();
    // A key that is accepted must be fit for use, up to its limit and not over it.
    recipient.encrypt(&vec![1; longest.min(32)]).expect("an accepted key encrypts");
    assert!(recipient.encrypt(&vec![1; longest + 1]).is_err());
}
