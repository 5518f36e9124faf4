//! The examples of GB/T 32918.5-2017, annex A, with their nonces. (Those of parts 2 and 4 are on another
//! curve.)

use super::encrypt::{encrypt_with, raw_to_asn1};
use super::sign::{nonces, sign_with};
use super::*;
use data_encoding::HEXUPPER;

fn hex(text: &str) -> Vec<u8> {
    HEXUPPER.decode(text.replace(' ', "").as_bytes()).unwrap()
}

/// Private key, public key, nonce: the same in both examples.
const D: &str = "3945208F 7B2144B1 3F36E38A C6D39F95 88939369 2860B51A 42FB81EF 4DF7C5B8";
const X: &str = "09F9DF31 1E5421A1 50DD7D16 1E4BC5C6 72179FAD 1833FC07 6BB08FF3 56F35020";
const Y: &str = "CCEA490C E26775A5 2DC6EA71 8CC1AA60 0AED05FB F35E084A 6632F607 2DA9AD13";
const K: &str = "59276E27 D506861A 16680F3A D9C02DCC EF3CC1FA 3CDBE4CE 6D54B80D EAC1BC21";

fn key() -> Sm2Key {
    Sm2Key::from_scalar(&hex(D)).unwrap()
}

fn k() -> Scalar {
    read_scalar(&hex(K)).unwrap()
}

fn scalar(n: u64) -> [u8; 32] {
    Scalar::from(n).to_bytes().into()
}

#[test]
fn signature_of_the_standard() {
    let key = key();
    let message = b"message digest";
    let z = "B2E14C5C 79C6DF5B 85F4FE7E D8DB7A26 2B9DA7E0 7CCB0EA9 F4747B8C CDA8A4F3";
    let e = hex("F0B43E94 BA45ACCA ACE692ED 534382EB 17E6AB5A 19CE7B31 F4486FDF C0D28640");
    let signature = hex("F5A03B06 48D2C463 0EEAC513 E1BB81A1 5944DA38 27D5B741 43AC7EAC EEE720B3\
                         B1B6AA29 DF212FD8 763182BC 0D421CA1 BB9038FD 1F7F42D4 840B69C4 85BBC1AA");
    assert_eq!(key.public.coordinates(), hex(&[X, Y].concat()));
    assert_eq!(key.z[..], hex(z));
    assert_eq!(key.digest(Input::Message(message)).unwrap()[..], e);
    let made = sign_with(&key.secret, e[..].try_into().unwrap(), &k()).unwrap();
    assert_eq!(made.to_raw()[..], signature);
    for form in [signature, made.to_der()] {
        assert_eq!(key.verify(Input::Message(message), &form), Ok(true));
        assert_eq!(key.verify(Input::Digest(&e), &form), Ok(true));
        assert_eq!(key.verify(Input::Message(b"message digesT"), &form), Ok(false));
        assert_eq!(Sm2Key::generate().unwrap().verify(Input::Digest(&e), &form), Ok(false));
    }
}

#[test]
fn ciphertext_of_the_standard() {
    let key = key();
    let message = b"encryption standard";
    let raw = hex("04EBFC71 8E8D1798 62043226 8E77FEB6 415E2EDE 0E073C0F 4F640ECD 2E149A73\
                   E858F9D8 1E5430A5 7B36DAAB 8F950A3C 64E6EE6A 63094D99 283AFF76 7E124DF0\
                   59983C18 F809E262 923C53AE C295D303 83B54E39 D609D160 AFCB1908 D0BD8766\
                   21886CA9 89CA9C7D 58087307 CA93092D 651EFA");
    assert_eq!(encrypt_with(&key.public.point, message, &k()).unwrap(), raw);
    assert!(key.decrypt(&raw_to_asn1(&raw)).unwrap().ct_eq(message));
    assert!(Sm2Key::generate().unwrap().decrypt(&raw_to_asn1(&raw)).is_err());
}

#[test]
fn scalars_go_from_one_to_n_minus_two() {
    let n_minus = |m: u64| <[u8; 32]>::from((-Scalar::from(m)).to_bytes());
    for good in [scalar(1), scalar(2), n_minus(2), n_minus(3)] {
        let key = Sm2Key::from_scalar(&good).unwrap();
        assert!(key.to_scalar().ct_eq(&good));
        let signature = key.sign(Input::Message(b"m")).unwrap().to_der();
        assert_eq!(key.verify(Input::Message(b"m"), &signature), Ok(true));
        assert!(key.decrypt(&key.public.encrypt_asn1(b"m").unwrap()).unwrap().ct_eq(b"m"));
    }
    let mut n = n_minus(1);
    n[31] += 1;
    for wrong in [&[][..], &[1; 31], &[1; 33], &[0; 32], &n_minus(1), &n, &[0xff; 32]] {
        assert!(matches!(Sm2Key::from_scalar(wrong), Err(CryptoError::Invalid)), "{wrong:x?}");
    }
}

#[test]
fn an_unsuitable_nonce_is_refused() {
    let key = key();
    let k = k();
    // r = e + x1, so these digests make r zero, and r + k zero.
    let x = reduce_x(&k);
    for e in [-x, -x - k] {
        assert!(sign_with(&key.secret, &e.to_bytes().into(), &k).is_none());
    }
    // s = 0 when (r + k)/(1 + d) = r, that is r d = k.
    let e = k * key.secret.d.invert().unwrap() - x;
    assert!(sign_with(&key.secret, &e.to_bytes().into(), &k).is_none());
    assert!(sign_with(&key.secret, &(e + Scalar::ONE).to_bytes().into(), &k).is_some());
}

fn reduce_x(k: &Scalar) -> Scalar {
    use ::sm2::elliptic_curve::ops::Reduce;
    Scalar::reduce(&ProjectivePoint::mul_by_generator(k).to_affine().x())
}

#[test]
fn nonces_are_not_repeated() {
    let key = key();
    let sign = || key.sign(Input::Digest(&[7; 32])).unwrap().to_raw();
    assert_ne!(sign()[..32], sign()[..32]);
}

#[test]
fn a_key_stream_of_zeros_is_refused_both_ways() {
    let key = key();
    // One byte of stream is zero for one nonce in 256.
    let bad = (1u64..4000).map(Scalar::from).find(|k| encrypt_with(&key.public.point, b"m", k).is_none()).unwrap();
    // The same nonce serves for a longer message, whose first byte comes out in the clear.
    let raw = encrypt_with(&key.public.point, b"mm", &bad).unwrap();
    assert_eq!(raw[96], b'm');
    assert!(key.decrypt(&raw_to_asn1(&raw)).unwrap().ct_eq(b"mm"));
    // A sender that does not care: C3 is right, the stream is not.
    let product = (ProjectivePoint::from(key.public.point) * bad).to_affine();
    let c3 = Sm3::new_with_prefix(product.x()).chain_update(b"m").chain_update(product.y()).finalize();
    let forged = [&raw[..64], &c3[..], b"m"].concat();
    assert!(matches!(key.decrypt(&raw_to_asn1(&forged)), Err(CryptoError::Invalid)));
    // All nonces taken together: encryption of one byte always succeeds.
    for _ in 0..300 {
        assert!(key.decrypt(&key.public.encrypt_asn1(b"m").unwrap()).unwrap().ct_eq(b"m"));
    }
}

#[test]
fn what_gmssl_made() {
    let file: serde_json::Value = serde_json::from_str(include_str!("../../tests/vectors/sm2_gmssl.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 48);
    for v in vectors {
        let field = |name: &str| data_encoding::HEXLOWER.decode(v[name].as_str().unwrap().as_bytes()).unwrap();
        let key = Sm2Key::from_scalar(&field("private")).unwrap();
        let (message, e, signature) = (field("message"), field("e"), field("signature"));
        assert_eq!(key.public.coordinates(), field("public"));
        assert_eq!(key.digest(Input::Message(&message)).unwrap()[..], e);
        assert_eq!(key.verify(Input::Digest(&e), &signature), Ok(true));
        assert_eq!(key.verify(Input::Message(&message), &signature), Ok(true));
        assert!(key.decrypt(&raw_to_asn1(&field("c1c3c2"))).unwrap().ct_eq(&message));
    }
}

#[test]
fn nonces_are_those_of_rfc_6979_with_added_randomness() {
    use hmac::{Hmac, KeyInit, Mac};
    let first = |d: &[u8], e: &[u8; 32], added: &[u8]| {
        let mut k = [0; 32];
        nonces(&Sm2Key::from_scalar(d).unwrap().secret, e, added).fill_next_k(&mut k);
        k
    };
    // RFC 6979 section 3.2 with k' of section 3.6, written down anew over HMAC-SM3.
    let mac = |key: &[u8], parts: &[&[u8]]| -> [u8; 32] {
        let mut mac = Hmac::<Sm3>::new_from_slice(key).unwrap();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let (d, e, added) = (hex(D), [0x11; 32], [0x22; 32]);
    let (mut key, mut v) = ([0; 32], [1; 32]);
    for round in [0, 1] {
        key = mac(&key, &[&v, &[round], &d, &e, &added]);
        v = mac(&key, &[&v]);
    }
    v = mac(&key, &[&v]);
    assert_eq!(first(&d, &e, &added), v);
    // Even with a generator that always gives the same, another digest or key gets another nonce.
    assert_ne!(first(&d, &[0x12; 32], &added), v);
    assert_ne!(first(&hex(K), &e, &added), v);
    assert_ne!(first(&d, &e, &[0x23; 32]), v);
}
