//! SM2 against the `openssl` command (3.0 or newer), both ways. Fails where there is none.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jadeseal_crypto::asymmetric::Input;
use jadeseal_crypto::{Sm2Key, Sm2PublicKey, random};
use std::path::Path;
use std::process::{Command, Stdio};

const ROUNDS: usize = 24;

/// Runs `openssl` in the directory; true when it says so by its exit code.
fn openssl(dir: &Path, arguments: &[&str]) -> bool {
    Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the openssl command is needed")
        .success()
}

/// The private key as PKCS#8 (RFC 5208) with an ECPrivateKey (RFC 5915) that holds the scalar alone.
fn pkcs8(key: &Sm2Key) -> String {
    let mut der = b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\
        \x06\x08\x2a\x81\x1c\xcf\x55\x01\x82\x2d\x04\x27\x30\x25\x02\x01\x01\x04\x20"
        .to_vec();
    der.extend_from_slice(key.to_scalar().expose());
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

/// A key that `openssl` made, in `theirs.pem`, read from the ECPrivateKey in its PKCS#8.
fn theirs(dir: &Path) -> Sm2Key {
    assert!(openssl(dir, &["genpkey", "-algorithm", "SM2", "-out", "theirs.pem"]));
    assert!(openssl(dir, &["pkey", "-in", "theirs.pem", "-outform", "DER", "-out", "theirs.der"]));
    assert!(openssl(dir, &["pkey", "-in", "theirs.pem", "-pubout", "-outform", "DER", "-out", "theirs.pub"]));
    let der = std::fs::read(dir.join("theirs.der")).unwrap();
    let head = [0x02, 0x01, 0x01, 0x04, 0x20];
    let at = der.windows(head.len()).position(|w| w == head).unwrap() + head.len();
    let key = Sm2Key::from_scalar(&der[at..at + 32]).unwrap();
    assert_eq!(key.public_spki(), std::fs::read(dir.join("theirs.pub")).unwrap());
    key
}

const ID: &str = "distid:1234567812345678";

#[test]
fn both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();

    for round in 0..ROUNDS {
        let key = if round % 2 == 0 { Sm2Key::generate().unwrap() } else { theirs(dir) };
        write("key.pem", pkcs8(&key).as_bytes());
        write("public.der", key.public_spki());
        let public = ["-pubin", "-inkey", "public.der", "-keyform", "DER"];
        // From one byte to what fits into a ciphertext of 256 bytes.
        let mut message = vec![0; 1 + round * 6];
        random::fill(&mut message).unwrap();
        write("message", &message);

        let sign = ["pkeyutl", "-sign", "-rawin", "-digest", "sm3", "-pkeyopt", ID, "-inkey", "key.pem"];
        assert!(openssl(dir, &[&sign[..], &["-in", "message", "-out", "signature"]].concat()));
        assert_eq!(key.verify(Input::Message(&message), &read("signature")), Ok(true));

        let verify = [&["pkeyutl", "-verify", "-rawin", "-digest", "sm3", "-pkeyopt", ID], &public[..]].concat();
        let verify = [&verify[..], &["-in", "message", "-sigfile", "signature"]].concat();
        write("signature", &key.sign(Input::Message(&message)).unwrap().to_der());
        assert!(openssl(dir, &verify));
        let other = Sm2Key::generate().unwrap().sign(Input::Message(&message)).unwrap();
        write("signature", &other.to_der());
        assert!(!openssl(dir, &verify));

        assert!(openssl(dir, &[&["pkeyutl", "-encrypt"], &public[..], &["-in", "message", "-out", "sealed"]].concat()));
        assert!(key.decrypt(&read("sealed")).unwrap().ct_eq(&message));

        write("sealed", &Sm2PublicKey::from_spki(key.public_spki()).unwrap().encrypt_asn1(&message).unwrap());
        assert!(openssl(dir, &["pkeyutl", "-decrypt", "-inkey", "key.pem", "-in", "sealed", "-out", "opened"]));
        assert_eq!(read("opened"), message);
    }
}
