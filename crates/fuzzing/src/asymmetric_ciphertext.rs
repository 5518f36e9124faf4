//! Ciphertexts for asymmetric keys: as they come, and real ones with something changed. Only what was encrypted
//! decrypts, but with PKCS#1 v1.5, where every number below the modulus does.
use crate::keys::key;
use arbitrary::{Arbitrary, Unstructured};
use jadeseal_crypto::{
    CryptoError, Sm2PublicKey,
    rsa::{Padding, RsaPublicKey},
    sm2,
};
use jadeseal_types::{KeyId, KeyUsage, SecretBytes};

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Algorithm {
    RsaPkcs1,
    RsaOaepSha1,
    RsaOaepSha256,
    Sm2,
    MlKem,
}

#[derive(Arbitrary, Debug)]
enum Given<'a> {
    /// As it comes.
    Raw(Algorithm, &'a [u8]),
    /// Of the length of an RSA modulus: a few bytes, then the same ones over and over.
    Long(Algorithm, [u8; 4], [u8; 16]),
    /// C1, C3 and C2 of SM2, in DER.
    Sm2(&'a [u8], &'a [u8], &'a [u8], &'a [u8]),
    /// A post-quantum blob whose header is right.
    Blob(&'a [u8]),
    /// A real one, changed or not.
    Changed { algorithm: Algorithm, plaintext: &'a [u8], at: u16, xor: u8, cut: u8, more: &'a [u8] },
}

/// One input, read as a description of what to do.
pub fn run(data: &[u8]) {
    let Ok(given) = Given::arbitrary(&mut Unstructured::new(data)) else { return };
    match given {
        Given::Raw(algorithm, bytes) => refused(algorithm, bytes),
        Given::Long(algorithm, head, tail) => {
            let bytes: Vec<u8> = head.iter().chain(tail.iter().cycle()).copied().take(256).collect();
            refused(algorithm, &bytes);
        }
        Given::Sm2(x, y, c3, c2) => {
            let parts = [element(2, x), element(2, y), element(4, c3), element(4, c2)].concat();
            refused(Algorithm::Sm2, &element(0x30, &parts));
        }
        Given::Blob(rest) => refused(Algorithm::MlKem, &[b"JS\x01\x03", rest].concat()),
        Given::Changed { algorithm, plaintext, at, xor, cut, more } => {
            let Some(sealed) = encrypt(algorithm, plaintext) else { return };
            let mut bytes = sealed.clone();
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= xor;
            bytes.truncate(bytes.len() - usize::from(cut).min(bytes.len()));
            bytes.extend_from_slice(more);
            if bytes != sealed {
                return refused(algorithm, &bytes);
            }
            match decrypt(algorithm, &bytes) {
                Ok(opened) => assert_eq!(opened.expose(), plaintext),
                // The longest plaintexts make more ciphertext than the API decrypts.
                Err(_) => assert!(matches!(algorithm, Algorithm::Sm2) && bytes.len() > sm2::MAX_CIPHERTEXT),
            }
        }
    }
}

/// What nobody encrypted: `Invalid`, or some text that is the same every time.
fn refused(algorithm: Algorithm, bytes: &[u8]) {
    let opened = decrypt(algorithm, bytes);
    if !matches!(algorithm, Algorithm::RsaPkcs1) {
        return assert!(matches!(opened, Err(CryptoError::Invalid)), "what nobody encrypted was decrypted");
    }
    assert_eq!(opened.is_ok(), bytes.len() == 256 && bytes < modulus());
    match opened {
        Ok(text) => {
            assert!(text.len() <= Padding::Pkcs1.max_message());
            assert_eq!(decrypt(algorithm, bytes).expect("the same again").expose(), text.expose());
        }
        Err(e) => assert_eq!(e, CryptoError::Invalid),
    }
}

fn decrypt(algorithm: Algorithm, bytes: &[u8]) -> Result<SecretBytes, CryptoError> {
    let rsa = key(KeyUsage::DecryptRsa2048);
    match algorithm {
        Algorithm::RsaPkcs1 => rsa.decrypt_rsa(Padding::Pkcs1, bytes),
        Algorithm::RsaOaepSha1 => rsa.decrypt_rsa(Padding::OaepSha1, bytes),
        Algorithm::RsaOaepSha256 => rsa.decrypt_rsa(Padding::OaepSha256, bytes),
        Algorithm::Sm2 => key(KeyUsage::DecryptSm2).decrypt_sm2(bytes),
        Algorithm::MlKem => key(KeyUsage::DecryptKyber).open_post_quantum(bytes),
    }
}

/// None when the plaintext has a length that the algorithm does not take.
fn encrypt(algorithm: Algorithm, plaintext: &[u8]) -> Option<Vec<u8>> {
    let rsa = |padding: Padding| {
        let public = RsaPublicKey::from_spki(key(KeyUsage::DecryptRsa2048).public_spki()).expect("its own public key");
        public.encrypt(padding, plaintext)
    };
    let sealed = match algorithm {
        Algorithm::RsaPkcs1 => rsa(Padding::Pkcs1),
        Algorithm::RsaOaepSha1 => rsa(Padding::OaepSha1),
        Algorithm::RsaOaepSha256 => rsa(Padding::OaepSha256),
        Algorithm::Sm2 => {
            let public = Sm2PublicKey::from_spki(key(KeyUsage::DecryptSm2).public_spki()).expect("its own public key");
            public.encrypt_asn1(plaintext)
        }
        Algorithm::MlKem => key(KeyUsage::DecryptKyber).seal_post_quantum(KeyId::from_bytes([9; 16]), 1, plaintext),
    };
    sealed.ok()
}

/// The modulus of the RSA key; it stands before the exponent 65537 at the end of the SubjectPublicKeyInfo.
fn modulus() -> &'static [u8] {
    let spki = key(KeyUsage::DecryptRsa2048).public_spki();
    &spki[spki.len() - 5 - 256..spki.len() - 5]
}

/// A DER element of less than 64 KiB.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).expect("a short input");
    let head: &[u8] = match len {
        0..=0x7f => &[tag, len as u8],
        0x80..=0xff => &[tag, 0x81, len as u8],
        _ => &[tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [head, content].concat()
}
