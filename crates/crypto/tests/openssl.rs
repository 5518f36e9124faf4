//! RSA and ECDSA against the `openssl` command, in both directions, over random keys and messages.

use jadeseal_crypto::asymmetric::Input;
use jadeseal_crypto::ec::EcPublicKey;
use jadeseal_crypto::rsa::{Padding, RsaPublicKey};
use jadeseal_crypto::{Curve, EcKey, MlDsaKey, MlKemKey, RsaKey, RsaScheme, random};
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Rounds per algorithm; each starts the command some twenty times.
const ROUNDS: usize = 3;

/// A folder for what goes to the command and comes from it.
struct OpenSsl(TempDir);

impl OpenSsl {
    fn new() -> Self {
        OpenSsl(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn output(&self, args: &[&str]) -> Output {
        Command::new("openssl").args(args).output().expect("these tests need the command `openssl`")
    }

    /// What the command writes to its standard output.
    fn run(&self, args: &[&str]) -> Vec<u8> {
        let out = self.output(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }
}

fn message(max: usize) -> Vec<u8> {
    let len = random::secret(2).unwrap();
    let len = usize::from(u16::from_be_bytes(len.expose().try_into().unwrap())) % (max + 1);
    random::secret(len).unwrap().expose().to_vec()
}

fn padding_options(padding: Padding) -> &'static [&'static str] {
    match padding {
        Padding::Pkcs1 => &["-pkeyopt", "rsa_padding_mode:pkcs1"],
        Padding::OaepSha1 => &["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha1"],
        Padding::OaepSha256 => {
            &["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256"]
        }
    }
}

fn scheme_options(scheme: RsaScheme) -> &'static [&'static str] {
    match scheme {
        RsaScheme::PssSha256 => &["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"],
        RsaScheme::Pkcs1Sha256 => &["-sigopt", "rsa_padding_mode:pkcs1"],
    }
}

/// The command verifies our signature and refuses it for another message.
fn verifies(ssl: &OpenSsl, hash: &str, options: &[&str], public: &str, text: &[u8], made: &[u8]) {
    let made = ssl.put("made", made);
    let check = |text: &[u8]| {
        let text = ssl.put("text", text);
        let args = ["dgst", hash, "-keyform", "DER", "-verify", public, "-signature", &made];
        ssl.output(&[&args, options, &[&text]].concat()).status.success()
    };
    assert!(check(text));
    assert!(!check(&[text, b"x"].concat()));
}

fn signs(ssl: &OpenSsl, hash: &str, options: &[&str], private: &str, text: &[u8]) -> Vec<u8> {
    let text = ssl.put("text", text);
    ssl.run(&[&["dgst", hash, "-keyform", "DER", "-sign", private], options, &[&text]].concat())
}

fn digest(ssl: &OpenSsl, hash: &str, text: &[u8]) -> Vec<u8> {
    let text = ssl.put("text", text);
    ssl.run(&["dgst", hash, "-binary", &text])
}

/// Our keys as the command reads them, and the command's as we do.
fn keys<K>(
    ssl: &OpenSsl,
    generate: &[&str],
    ours: &K,
    parts: impl Fn(&K) -> (Vec<u8>, Vec<u8>),
    read: impl Fn(&[u8]) -> K,
) -> [(K, String, String); 2] {
    let (private, public) = parts(ours);
    let theirs = ssl.put("theirs.der", &ssl.run(&[&["genpkey", "-outform", "DER"], generate].concat()));
    // genpkey writes PKCS#1 or SEC 1 in DER; the stored form is PKCS#8.
    let theirs = ssl.run(&["pkcs8", "-topk8", "-nocrypt", "-inform", "DER", "-outform", "DER", "-in", &theirs]);
    [(private, Some(public)), (theirs, None)].map(|(private, public)| {
        let name = if public.is_some() { "a" } else { "b" };
        let path = ssl.put(&format!("{name}.private"), &private);
        let spki = ssl.run(&["pkey", "-inform", "DER", "-in", &path, "-pubout", "-outform", "DER"]);
        let key = read(&private);
        assert_eq!(parts(&key).1, spki);
        assert!(public.is_none_or(|p| p == spki));
        (key, path, ssl.put(&format!("{name}.public"), &spki))
    })
}

#[test]
fn rsa() {
    let ssl = OpenSsl::new();
    for _ in 0..ROUNDS {
        let all = keys(
            &ssl,
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            &RsaKey::generate().unwrap(),
            |k| (k.to_pkcs8().unwrap().expose().to_vec(), k.public_spki().to_vec()),
            |der| RsaKey::from_pkcs8(der).unwrap(),
        );
        for (key, private, public) in &all {
            let ours = RsaPublicKey::from_spki(key.public_spki()).unwrap();
            for &padding in Padding::ALL {
                let text = message(padding.max_message());
                let plain = ssl.put("plain", &text);
                let encrypt = ["pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", public, "-in", &plain];
                let sealed = ssl.run(&[&encrypt, padding_options(padding)].concat());
                assert!(key.decrypt(padding, &sealed).unwrap().ct_eq(&text), "{padding:?}");

                let sealed = ssl.put("sealed", &ours.encrypt(padding, &text).unwrap());
                let decrypt = ["pkeyutl", "-decrypt", "-keyform", "DER", "-inkey", private, "-in", &sealed];
                assert_eq!(ssl.run(&[&decrypt, padding_options(padding)].concat()), text, "{padding:?}");
            }
            for &scheme in RsaScheme::ALL {
                let (text, options) = (message(4096), scheme_options(scheme));
                let made = signs(&ssl, "-sha256", options, private, &text);
                let digest = digest(&ssl, "-sha256", &text);
                for input in [Input::Message(&text), Input::Digest(&digest)] {
                    assert!(key.verify(scheme, input, &made).unwrap(), "{scheme:?}");
                    let made = key.sign(scheme, input).unwrap();
                    verifies(&ssl, "-sha256", options, public, &text, &made);
                }
            }
        }
    }
}

#[test]
fn ecdsa() {
    let ssl = OpenSsl::new();
    for (curve, name, hash) in [(Curve::P256, "P-256", "-sha256"), (Curve::P384, "P-384", "-sha384")] {
        for _ in 0..ROUNDS {
            let all = keys(
                &ssl,
                &["-algorithm", "EC", "-pkeyopt", &format!("ec_paramgen_curve:{name}")],
                &EcKey::generate(curve).unwrap(),
                |k| (k.to_pkcs8().unwrap().expose().to_vec(), k.public_spki().to_vec()),
                |der| EcKey::from_pkcs8(curve, der).unwrap(),
            );
            for (key, private, public) in &all {
                let ours = EcPublicKey::from_spki(curve, key.public_spki()).unwrap();
                let text = message(4096);
                let made = signs(&ssl, hash, &[], private, &text);
                let digest = digest(&ssl, hash, &text);
                for input in [Input::Message(&text), Input::Digest(&digest)] {
                    assert!(ours.verify(input, &made).unwrap());
                    verifies(&ssl, hash, &[], public, &text, &key.sign(input).unwrap());
                }
            }
        }
    }
}

/// These algorithms are younger than the command; it still reads the form of their public keys, whose
/// heads are constants here.
#[test]
fn post_quantum_public_keys_have_their_names() {
    let ssl = OpenSsl::new();
    let (kem, dsa) = (MlKemKey::generate().unwrap(), MlDsaKey::generate().unwrap());
    for (spki, names, raw) in [
        (kem.public_spki(), ["2.16.840.1.101.3.4.4.3", "ML-KEM-1024"], 1568),
        (dsa.public_spki(), ["2.16.840.1.101.3.4.3.19", "ML-DSA-87"], 2592),
    ] {
        let path = ssl.put("spki", spki);
        let text = String::from_utf8(ssl.run(&["asn1parse", "-inform", "DER", "-in", &path])).unwrap();
        assert!(names.iter().any(|n| text.contains(n)), "{text}");
        assert!(text.contains(&format!("l={}", raw + 1)), "{text}");
    }
}
