//! SM2 through the public interface: round trips, forms, and bytes from outside.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jadeseal_crypto::asymmetric::Input;
use jadeseal_crypto::rsa::Padding;
use jadeseal_crypto::{CryptoError, Recipient, RecipientAlgorithm, RecipientError, Sm2Key, Sm2PublicKey, random, sm2};
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::LazyLock;

static KEY: LazyLock<Sm2Key> = LazyLock::new(|| Sm2Key::generate().unwrap());

/// What the mutated inputs of the last tests number, each.
const MUTATIONS: usize = 10_000;

fn decrypt(ciphertext: &[u8]) -> Result<Vec<u8>, CryptoError> {
    KEY.decrypt(ciphertext).map(|text| text.expose().to_vec())
}

fn verify(signature: &[u8]) -> bool {
    KEY.verify(Input::Message(b"message"), signature).unwrap()
}

/// One element in DER of less than 128 bytes.
fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    assert!(contents.len() < 128);
    [&[tag, contents.len() as u8], &contents[..]].concat()
}

/// An INTEGER as short as it goes.
fn integer(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|b| *b != 0).unwrap();
    let sign: &[u8] = if number[start] < 0x80 { &[] } else { &[0] };
    element(2, &[sign, &number[start..]])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_signed_verifies(message in proptest::collection::vec(any::<u8>(), 0..200), e: [u8; 32]) {
        let key = Sm2Key::generate().unwrap();
        let again = Sm2Key::from_scalar(key.to_scalar().expose()).unwrap();
        prop_assert_eq!(again.public_spki(), key.public_spki());
        for input in [Input::Message(&message), Input::Digest(&e)] {
            let signature = key.sign(input).unwrap();
            let (der, raw) = (signature.to_der(), signature.to_raw());
            prop_assert_eq!(&der, &element(0x30, &[&integer(&raw[..32]), &integer(&raw[32..])]));
            for form in [&der[..], &raw] {
                prop_assert_eq!(again.verify(input, form), Ok(true));
                prop_assert_eq!(KEY.verify(input, form), Ok(false));
            }
        }
        let signature = key.sign(Input::Digest(&e)).unwrap();
        prop_assert_eq!(key.verify(Input::Message(&e), &signature.to_raw()), Ok(false));
    }

    #[test]
    fn what_is_encrypted_decrypts(message in proptest::collection::vec(any::<u8>(), 1..147)) {
        let key = Sm2Key::generate().unwrap();
        let public = Sm2PublicKey::from_spki(key.public_spki()).unwrap();
        prop_assert_eq!(public.spki(), key.public_spki());
        let sealed = public.encrypt_asn1(&message).unwrap();
        prop_assert!(key.decrypt(&sealed).unwrap().ct_eq(&message));
        prop_assert!(matches!(KEY.decrypt(&sealed), Err(CryptoError::Invalid)));
        prop_assert_eq!(public.encrypt_raw(&message).unwrap().len(), 96 + message.len());
    }
}

#[test]
fn both_forms_of_a_ciphertext_hold_the_same() {
    for len in [1, 31, 32, 33, 64, 100] {
        let message = vec![0x5a; len];
        let raw = KEY.public().encrypt_raw(&message).unwrap();
        let (point, rest) = raw.split_at(64);
        let parts =
            [integer(&point[..32]), integer(&point[32..]), element(4, &[&rest[..32]]), element(4, &[&rest[32..]])];
        let parts = parts.concat();
        let head = if parts.len() < 128 { vec![0x30, parts.len() as u8] } else { vec![0x30, 0x81, parts.len() as u8] };
        assert_eq!(decrypt(&[head, parts].concat()), Ok(message));
    }
}

#[test]
fn lengths_are_bounded() {
    assert_eq!(KEY.public().encrypt_raw(&[]), Err(CryptoError::Invalid));
    assert_eq!(KEY.public().encrypt_asn1(&[0; 4097]), Err(CryptoError::Invalid));
    assert_eq!(KEY.public().encrypt_raw(&[7; 4096]).unwrap().len(), 4096 + 96);
    // The longest message whose ciphertext fits depends on the leading bits of the coordinates.
    let fits =
        |len: usize| (0..64).filter(move |_| decrypt(&KEY.public().encrypt_asn1(&vec![1; len]).unwrap()).is_ok());
    assert_eq!(fits(146).count(), 64);
    assert_eq!(fits(155).count(), 0);
    let sealed = KEY.public().encrypt_asn1(&[1; 200]).unwrap();
    assert!(sealed.len() > sm2::MAX_CIPHERTEXT);
    assert_eq!(decrypt(&sealed), Err(CryptoError::Invalid));
    for len in [0, 31, 33, 64] {
        let e = vec![1; len];
        assert_eq!(KEY.sign(Input::Digest(&e)), Err(CryptoError::Invalid));
        assert_eq!(KEY.verify(Input::Digest(&e), &[0; 64]), Err(CryptoError::Invalid));
    }
}

/// n of the curve.
const N: [u8; 32] = *b"\xff\xff\xff\xfe\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
    \x72\x03\xdf\x6b\x21\xc6\x05\x2b\x53\xbb\xf4\x09\x39\xd5\x41\x23";
/// p of the curve.
const P: [u8; 32] = *b"\xff\xff\xff\xfe\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
    \xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff";

#[test]
fn malformed_signatures_are_false() {
    let raw = KEY.sign(Input::Message(b"message")).unwrap().to_raw();
    let (r, s) = (integer(&raw[..32]), integer(&raw[32..]));
    assert!(verify(&element(0x30, &[&r, &s])));
    let padded = element(2, &[&[0], &r[2..]]);
    let longer = [&[0x30, 0x81, (r.len() + s.len()) as u8], &r[..], &s].concat();
    let wrong = [
        vec![],
        element(0x30, &[&r, &s, &[5, 0]]),
        [&element(0x30, &[&r, &s])[..], &[0]].concat(),
        element(0x30, &[&padded, &s]),
        longer,
        element(0x30, &[&r]),
        element(0x31, &[&r, &s]),
        element(0x30, &[&element(2, &[&[0]]), &s]),
        element(0x30, &[&r, &element(2, &[&[0]])]),
        element(0x30, &[&s, &r]),
        raw[..63].to_vec(),
        [&raw[..], &[0]].concat(),
        [&[0; 32], &raw[32..]].concat(),
        [&raw[..32], &[0; 32]].concat(),
        [&N, &raw[32..]].concat(),
        [&raw[..32], &N].concat(),
        [0xff; 64].to_vec(),
        [&raw[32..], &raw[..32]].concat(),
    ];
    for signature in wrong {
        assert!(!verify(&signature), "{signature:x?}");
    }
    // r + s = n, for which t is zero.
    let mut minus_one = N;
    minus_one[31] -= 1;
    assert!(!verify(&[&[0; 31], &[1][..], &minus_one].concat()));
}

#[test]
fn malformed_ciphertexts_are_invalid() {
    let raw = KEY.public().encrypt_raw(b"message").unwrap();
    let (x, y) = (integer(&raw[..32]), integer(&raw[32..64]));
    let (c3, c2) = (element(4, &[&raw[64..96]]), element(4, &[&raw[96..]]));
    assert_eq!(decrypt(&element(0x30, &[&x, &y, &c3, &c2])), Ok(b"message".to_vec()));
    let zero = element(2, &[&[0]]);
    let wrong = [
        vec![],
        raw.clone(),
        [&[4], &raw[..]].concat(),
        element(0x30, &[&x, &y, &c2, &c3]),
        element(0x30, &[&x, &y, &c3]),
        element(0x30, &[&x, &y, &c3, &element(4, &[])]),
        element(0x30, &[&x, &y, &c3, &c2, &[5, 0]]),
        [&element(0x30, &[&x, &y, &c3, &c2])[..], &[0]].concat(),
        element(0x30, &[&y, &x, &c3, &c2]),
        element(0x30, &[&zero, &zero, &c3, &c2]),
        element(0x30, &[&integer(&P), &y, &c3, &c2]),
        element(0x30, &[&element(2, &[&[0], &x[2..]]), &y, &c3, &c2]),
        element(0x30, &[&x, &y, &element(4, &[&raw[64..95]]), &element(4, &[&raw[95..]])]),
        element(0x30, &[&x, &y, &element(4, &[&raw[64..97]]), &element(4, &[&raw[97..]])]),
    ];
    for ciphertext in wrong {
        assert_eq!(decrypt(&ciphertext), Err(CryptoError::Invalid), "{ciphertext:x?}");
    }
}

fn compressed(spki: &[u8]) -> Vec<u8> {
    let form = 2 | (spki[90] & 1);
    element(0x30, &[&spki[2..23], &element(3, &[&[0, form], &spki[27..59]])])
}

#[test]
fn public_keys_are_points_of_this_curve() {
    let spki = KEY.public_spki();
    assert_eq!(spki.len(), 91);
    assert_eq!(Sm2PublicKey::from_spki(&compressed(spki)).unwrap().spki(), spki);
    let with_point = |point: &[u8]| element(0x30, &[&spki[2..23], &element(3, &[&[0], point])]);
    assert!(Sm2PublicKey::from_spki(&with_point(&spki[26..])).is_ok());
    let point = &spki[26..];
    let mut off = spki.to_vec();
    off[90] ^= 1;
    let mut other_curve = spki.to_vec();
    other_curve[22] ^= 1;
    let p256 =
        element(0x30, &[&element(0x30, &[&spki[4..13], b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"]), &spki[23..]]);
    let mut unused_bits = spki.to_vec();
    unused_bits[25] = 1;
    let wrong = [
        vec![],
        off,
        other_curve,
        p256,
        unused_bits,
        [spki, &[0]].concat(),
        spki[..90].to_vec(),
        [&[0x30, 0x81], &spki[1..]].concat(),
        with_point(&[0]),
        with_point(&[&[4], &[0; 64][..]].concat()),
        with_point(&[&[4], &P[..], &point[33..]].concat()),
        with_point(&[&[5], &point[1..33]].concat()),
        with_point(&[&[6], &point[1..]].concat()),
        with_point(&[&[2], &point[1..]].concat()),
        with_point(&[&[2], &P[..]].concat()),
        with_point(&[point, &[0]].concat()),
        with_point(&point[1..]),
        element(0x30, &[&element(0x30, &[&spki[4..23], &[5, 0]]), &spki[23..]]),
        element(0x30, &[&spki[2..], &[5, 0]]),
    ];
    for spki in wrong {
        assert_eq!(Sm2PublicKey::from_spki(&spki), Err(CryptoError::Invalid), "{spki:x?}");
    }
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

#[test]
fn recipients() {
    let text = pem(KEY.public_spki());
    let plain = Recipient::parse(&text, RecipientAlgorithm::Sm2).unwrap();
    let asn1 = Recipient::parse(&text, RecipientAlgorithm::Sm2Asn1).unwrap();
    for recipient in [&plain, &asn1] {
        assert_eq!(recipient.max_len(), 4096);
        assert_eq!(recipient.encrypt(&[]), Err(CryptoError::Invalid));
        assert_eq!(recipient.encrypt(&[0; 4097]), Err(CryptoError::Invalid));
        assert!(recipient.encrypt(&[0; 4096]).unwrap().len() <= 4096 + 112);
    }
    assert_eq!(plain.encrypt(&[7; 32]).unwrap().len(), 128);
    assert_eq!(decrypt(&asn1.encrypt(&[7; 32]).unwrap()), Ok(vec![7; 32]));
}

#[test]
fn keys_that_cannot_receive_with_sm2() {
    // A sound key on P-256, made with OpenSSL.
    let p256 = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECZqXQa09wVx4pEHR9t3h2u8hUilIobe8Bqk85dogx2AJ0jkNe5i+\
                pV4HSgME5/+G6gLLxIxMWkgjA+83//OATw==";
    let mut off = KEY.public_spki().to_vec();
    off[90] ^= 1;
    for alg in [RecipientAlgorithm::Sm2, RecipientAlgorithm::Sm2Asn1] {
        assert_eq!(Recipient::parse(p256, alg).err(), Some(RecipientError::Mismatch));
        assert_eq!(Recipient::parse(&pem(&off), alg).err(), Some(RecipientError::Malformed));
    }
    for alg in [
        RecipientAlgorithm::Rsa(Padding::Pkcs1),
        RecipientAlgorithm::Rsa(Padding::OaepSha1),
        RecipientAlgorithm::Rsa(Padding::OaepSha256),
    ] {
        assert_eq!(Recipient::parse(&pem(KEY.public_spki()), alg).err(), Some(RecipientError::Mismatch));
    }
}

/// The bytes with one to three changes: a bit flipped, a byte set, removed or put in, or the end cut off.
fn mutate(bytes: &[u8]) -> Vec<u8> {
    let random: [u8; 16] = random::salt().unwrap()[..16].try_into().unwrap();
    let mut out = bytes.to_vec();
    for change in random[1..].chunks_exact(5).take(1 + usize::from(random[0] % 3)) {
        let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % out.len().max(1);
        match change[2] % 8 {
            0 if !out.is_empty() => drop(out.remove(at)),
            1 => out.insert(at, change[3]),
            2 if change[4] < 64 => out.truncate(at),
            3 | 4 if !out.is_empty() => out[at] = change[3],
            _ if !out.is_empty() => out[at] ^= 1 << (change[3] % 8),
            _ => {}
        }
    }
    out
}

#[test]
fn no_changed_input_is_taken() {
    let sealed = KEY.public().encrypt_asn1(b"sixteen bytes, n").unwrap();
    let signature = KEY.sign(Input::Message(b"message")).unwrap();
    let (der, raw, spki) = (signature.to_der(), signature.to_raw(), KEY.public_spki());
    let known = HashSet::from([spki.to_vec(), compressed(spki)]);
    let mut changed = 0;
    for _ in 0..MUTATIONS {
        let candidate = mutate(&sealed);
        changed += usize::from(candidate != sealed);
        assert!(candidate == sealed || decrypt(&candidate).is_err(), "{candidate:x?}");
        for form in [&der[..], &raw] {
            let candidate = mutate(form);
            assert!(candidate == form || !verify(&candidate), "{candidate:x?}");
        }
        // Another point of the curve would be a good key, but no point is hit by chance.
        let candidate = mutate(spki);
        assert!(known.contains(&candidate) || Sm2PublicKey::from_spki(&candidate).is_err(), "{candidate:x?}");
        let _ = Sm2PublicKey::from_spki(&mutate(&compressed(spki)));
    }
    assert!(changed > MUTATIONS * 9 / 10);
}
