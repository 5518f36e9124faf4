//! Recipients and import keys against each other: what one encrypts the other opens.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jadeseal_crypto::{CryptoError, ImportKey, Recipient, RecipientAlgorithm, RecipientError, rsa::Padding};
use std::sync::LazyLock;

static KEY: LazyLock<ImportKey> = LazyLock::new(|| ImportKey::generate().unwrap());

const PAIRS: [(RecipientAlgorithm, Padding, usize); 3] = [
    (RecipientAlgorithm::Rsa(Padding::Pkcs1), Padding::Pkcs1, 245),
    (RecipientAlgorithm::Rsa(Padding::OaepSha1), Padding::OaepSha1, 214),
    (RecipientAlgorithm::Rsa(Padding::OaepSha256), Padding::OaepSha256, 190),
];

fn pem(der: &[u8], width: usize, end: &str) -> String {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(width).map(|l| std::str::from_utf8(l).unwrap()).collect::<Vec<_>>();
    format!("-----BEGIN PUBLIC KEY-----{end}{}{end}-----END PUBLIC KEY-----{end}", lines.join(end))
}

#[test]
fn what_a_recipient_encrypts_its_key_opens() {
    let text = pem(&KEY.public_spki(), 64, "\n");
    for (alg, wrapping, max) in PAIRS {
        assert_eq!(alg.wire(), wrapping.wire());
        let recipient = Recipient::parse(&text, alg).unwrap();
        assert_eq!(recipient.max_len(), max);
        for len in [0, 1, 16, 32, max] {
            let secret = vec![0x5a; len];
            let sealed = recipient.encrypt(&secret).unwrap();
            assert_eq!(sealed.len(), 256);
            assert!(KEY.unwrap(wrapping, &sealed).unwrap().ct_eq(&secret), "{alg:?} {len}");
        }
        assert_eq!(recipient.encrypt(&vec![0; max + 1]), Err(CryptoError::Invalid));
        assert_ne!(recipient.encrypt(b"x").unwrap(), recipient.encrypt(b"x").unwrap());
    }
}

#[test]
fn keys_are_read_in_all_usual_dresses() {
    let der = KEY.public_spki();
    let full = pem(&der, 64, "\n");
    let dresses = [
        pem(&der, 64, "\r\n"),
        pem(&der, 76, "\n"),
        full.trim_end().to_owned(),
        format!("\n  {full}\n"),
        STANDARD.encode(&der),
    ];
    for text in &dresses {
        assert!(Recipient::parse(text, RecipientAlgorithm::Rsa(Padding::OaepSha256)).is_ok(), "{text}");
    }
}

/// An SM2 key's SubjectPublicKeyInfo up to the point.
const SM2_HEAD: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x81\x1c\xcf\x55\x01\x82\x2d\x03\x42\0";

#[test]
fn a_wrong_pair_is_told_from_a_broken_key() {
    let rsa = pem(&KEY.public_spki(), 64, "\n");
    // Of kind SM2, and broken: the point is not on the curve.
    let sm2 = pem(&[SM2_HEAD, &[4; 65]].concat(), 64, "\n");
    let parse = |text: &str, alg| Recipient::parse(text, alg).err();
    for alg in [RecipientAlgorithm::Sm2, RecipientAlgorithm::Sm2Asn1] {
        assert_eq!(parse(&rsa, alg), Some(RecipientError::Mismatch));
        assert_eq!(parse(&sm2, alg), Some(RecipientError::Malformed));
    }
    assert_eq!(parse(&sm2, RecipientAlgorithm::Rsa(Padding::Pkcs1)), Some(RecipientError::Mismatch));
    let der = KEY.public_spki();
    let broken = [
        String::new(),
        "x".into(),
        "-----BEGIN PUBLIC KEY-----".into(),
        rsa.replace("PUBLIC", "PRIVATE"),
        rsa.replace("-----END PUBLIC KEY-----", ""),
        STANDARD.encode(&der[..der.len() - 1]),
        STANDARD.encode([&der[..], &[0]].concat()),
        STANDARD.encode(&der[24..]),
        "键".into(),
    ];
    for text in &broken {
        assert_eq!(parse(text, RecipientAlgorithm::Rsa(Padding::Pkcs1)), Some(RecipientError::Malformed), "{text}");
    }
    assert_eq!(parse(&"A".repeat(4097), RecipientAlgorithm::Rsa(Padding::Pkcs1)), Some(RecipientError::TooLong));
}

#[test]
fn only_2048_bits_are_taken() {
    let long = PrivateDecryptingKey::generate(KeySize::Rsa3072).unwrap();
    let der: PublicKeyX509Der<'_> = long.public_key().as_der().unwrap();
    let text = pem(der.as_ref(), 64, "\n");
    assert_eq!(Recipient::parse(&text, RecipientAlgorithm::Rsa(Padding::Pkcs1)).err(), Some(RecipientError::KeySize));
    let pkcs8: aws_lc_rs::encoding::Pkcs8V1Der<'_> = long.as_der().unwrap();
    assert_eq!(ImportKey::from_pkcs8(pkcs8.as_ref()).err(), Some(CryptoError::Invalid));
}

#[test]
fn import_keys_survive_storage_and_refuse_everything_else() {
    let stored = KEY.to_pkcs8().unwrap();
    let again = ImportKey::from_pkcs8(stored.expose()).unwrap();
    assert_eq!(again.public_spki(), KEY.public_spki());
    for cut in [0, 1, 100, stored.len() - 1] {
        assert_eq!(ImportKey::from_pkcs8(&stored.expose()[..cut]).err(), Some(CryptoError::Invalid));
    }
    let recipient =
        Recipient::parse(&pem(&KEY.public_spki(), 64, "\n"), RecipientAlgorithm::Rsa(Padding::OaepSha1)).unwrap();
    let sealed = recipient.encrypt(&[1; 32]).unwrap();
    assert!(again.unwrap(Padding::OaepSha1, &sealed).unwrap().ct_eq(&[1; 32]));
    let fails = |alg, text: &[u8]| matches!(again.unwrap(alg, text), Err(CryptoError::Invalid));
    assert!(fails(Padding::OaepSha256, &sealed));
    assert!(fails(Padding::OaepSha1, &sealed[1..]));
    assert!(fails(Padding::OaepSha1, &[&[0], &sealed[..]].concat()));
    assert!(fails(Padding::OaepSha1, &[]));
    assert!(fails(Padding::OaepSha1, &[0xff; 256]));
    let mut changed = sealed;
    changed[255] ^= 1;
    assert!(fails(Padding::OaepSha1, &changed));
}

#[test]
fn names_round_trip() {
    for alg in RecipientAlgorithm::ALL {
        assert_eq!(RecipientAlgorithm::from_wire(alg.wire()), Some(*alg));
    }
    for alg in Padding::ALL {
        assert_eq!(Padding::from_wire(alg.wire()), Some(*alg));
    }
    assert_eq!(RecipientAlgorithm::from_wire("sm2"), None);
    assert_eq!(Padding::from_wire("SM2"), None);
}
