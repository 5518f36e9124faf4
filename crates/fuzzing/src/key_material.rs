//! Imported key material: any ciphertext for any of the paddings, and any bytes as a stored wrapping key.
use arbitrary::{Arbitrary, Unstructured};
use jadeseal_crypto::{ImportKey, Recipient, RecipientAlgorithm, rsa::Padding};
use std::sync::LazyLock;

static KEY: LazyLock<ImportKey> = LazyLock::new(|| ImportKey::generate().expect("a key"));

#[derive(Arbitrary, Debug)]
enum Given<'a> {
    /// A ciphertext as it comes.
    Raw(u8, &'a [u8]),
    /// One of the right length, so that the padding is looked at.
    Long(u8, [u8; 32]),
    /// A real one.
    Real(u8, &'a [u8]),
    /// A stored key.
    Pkcs8(&'a [u8]),
}

const NAMES: [&str; 3] = ["RSAES_PKCS1_V1_5", "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"];

/// One input, read as a description of what to do.
pub fn run(data: &[u8]) {
    let Ok(given) = Given::arbitrary(&mut Unstructured::new(data)) else { return };
    let algorithm = |n: u8| {
        let name = NAMES[usize::from(n) % NAMES.len()];
        (name, Padding::from_wire(name).expect("a published name"))
    };
    match given {
        Given::Raw(n, bytes) => {
            KEY.unwrap(algorithm(n).1, bytes).ok();
        }
        Given::Long(n, seed) => {
            let bytes: Vec<u8> = seed.iter().copied().cycle().take(256).collect();
            KEY.unwrap(algorithm(n).1, &bytes).ok();
        }
        Given::Real(n, material) => {
            let (name, algorithm) = algorithm(n);
            let recipient = recipient(name);
            if material.len() <= recipient.max_len() {
                let sealed = recipient.encrypt(material).expect("encryption");
                assert_eq!(KEY.unwrap(algorithm, &sealed).expect("what was sealed").expose(), material);
            }
        }
        Given::Pkcs8(der) => {
            ImportKey::from_pkcs8(der).ok();
        }
    }
}

fn recipient(name: &str) -> Recipient {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let body = STANDARD.encode(KEY.public_spki());
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).expect("ASCII")).collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
    let algorithm = RecipientAlgorithm::from_wire(name).expect("a published name");
    Recipient::parse(&pem, algorithm).expect("our own public key")
}
