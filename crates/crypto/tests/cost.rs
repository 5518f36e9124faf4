//! What a call costs above the raw call of the library, printed:
//! `cargo test --release -p jadeseal-crypto --test cost -- --ignored --nocapture`.

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, Pkcs1PrivateDecryptingKey, PrivateDecryptingKey,
};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, ML_DSA_87_SIGNING, PqdsaKeyPair,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use jadeseal_crypto::asymmetric::Input;
use jadeseal_crypto::rsa::Padding;
use jadeseal_crypto::{Curve, EcKey, MlDsaKey, MlKemKey, RsaKey, RsaScheme, pq, random};
use jadeseal_types::KeyId;
use std::time::{Duration, Instant};

/// Runs both in turn, many times; prints the medians and what ours takes more.
fn compare(what: &str, mut ours: impl FnMut(), mut raw: impl FnMut()) {
    let time = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed()
    };
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        a.push(time(&mut ours));
        b.push(time(&mut raw));
    }
    let [a, b] = [a, b].map(|mut samples| {
        samples.sort();
        samples[samples.len() / 2].as_nanos() as f64 / 1000.0
    });
    println!("{what:28} ours {a:8.1} µs  raw {b:8.1} µs  {:+.1} %", (a / b - 1.0) * 100.0);
}

fn alone(what: &str, mut ours: impl FnMut()) {
    let mut samples = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(1) {
        let start = Instant::now();
        ours();
        samples.push(start.elapsed());
    }
    samples.sort();
    println!("{what:28} ours {:8.1} µs", samples[samples.len() / 2].as_nanos() as f64 / 1000.0);
}

#[test]
#[ignore = "a measurement; it asserts nothing"]
fn calls_against_the_library() {
    let message = [0x61; 1024];
    let rng = SystemRandom::new();

    let rsa = RsaKey::generate().unwrap();
    let stored = rsa.to_pkcs8().unwrap();
    let (raw, private) =
        (KeyPair::from_pkcs8(stored.expose()).unwrap(), PrivateDecryptingKey::from_pkcs8(stored.expose()).unwrap());
    let mut out = vec![0; 256];
    for (scheme, encoding) in [(RsaScheme::PssSha256, &RSA_PSS_SHA256), (RsaScheme::Pkcs1Sha256, &RSA_PKCS1_SHA256)] {
        let sha = digest(&SHA256, &message);
        compare(
            &format!("{scheme:?}"),
            || drop(rsa.sign(scheme, Input::Message(&message)).unwrap()),
            || raw.sign(encoding, &rng, &message, &mut out).unwrap(),
        );
        compare(
            &format!("{scheme:?} digest"),
            || drop(rsa.sign(scheme, Input::Digest(sha.as_ref())).unwrap()),
            || raw.sign_digest(encoding, &sha, &mut out).unwrap(),
        );
    }
    let pkcs1 = Pkcs1PrivateDecryptingKey::new(private.clone()).unwrap();
    let text = rsa.public().encrypt(Padding::Pkcs1, &message[..32]).unwrap();
    compare(
        Padding::Pkcs1.wire(),
        || drop(rsa.decrypt(Padding::Pkcs1, &text).unwrap()),
        || _ = pkcs1.decrypt(&text, &mut out).unwrap(),
    );
    let oaep = OaepPrivateDecryptingKey::new(private).unwrap();
    let text = rsa.public().encrypt(Padding::OaepSha256, &message[..32]).unwrap();
    compare(
        Padding::OaepSha256.wire(),
        || drop(rsa.decrypt(Padding::OaepSha256, &text).unwrap()),
        || _ = oaep.decrypt(&OAEP_SHA256_MGF1SHA256, &text, &mut out, None).unwrap(),
    );
    compare(
        "open an RSA key",
        || drop(RsaKey::from_pkcs8(stored.expose()).unwrap()),
        || drop(KeyPair::from_pkcs8(stored.expose()).unwrap()),
    );

    for (curve, alg, hash) in [
        (Curve::P256, &ECDSA_P256_SHA256_ASN1_SIGNING, &SHA256),
        (Curve::P384, &ECDSA_P384_SHA384_ASN1_SIGNING, &SHA384),
    ] {
        let key = EcKey::generate(curve).unwrap();
        let raw = EcdsaKeyPair::from_pkcs8(alg, key.to_pkcs8().unwrap().expose()).unwrap();
        let sha = digest(hash, &message);
        compare(
            &format!("{curve:?}"),
            || drop(key.sign(Input::Message(&message)).unwrap()),
            || _ = raw.sign(&rng, &message).unwrap(),
        );
        compare(
            &format!("{curve:?} digest"),
            || drop(key.sign(Input::Digest(sha.as_ref())).unwrap()),
            || _ = raw.sign_digest(&sha).unwrap(),
        );
    }

    let key = MlDsaKey::generate().unwrap();
    let raw = PqdsaKeyPair::from_seed(&ML_DSA_87_SIGNING, key.seed().expose()).unwrap();
    let mut out = vec![0; 4627];
    compare("ML-DSA-87", || drop(key.sign(&message).unwrap()), || _ = raw.sign(&message, &mut out).unwrap());

    let key = MlKemKey::generate().unwrap();
    let (stored, id) = (key.to_bytes().unwrap(), KeyId::from_bytes([1; 16]));
    let blob = pq::seal(&key, id, 1, random::secret(1024).unwrap().expose()).unwrap();
    alone("open an ML-KEM key", || drop(MlKemKey::from_bytes(stored.expose()).unwrap()));
    alone("seal 1 KiB to ML-KEM", || drop(pq::seal(&key, id, 1, &message).unwrap()));
    alone("open 1 KiB from ML-KEM", || drop(pq::open(&key, &blob).unwrap()));
}
