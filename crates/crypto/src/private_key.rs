//! Private keys of asymmetric CMKs, whatever their algorithm, and the names of what can be done with them.

use crate::asymmetric::Input;
use crate::ec::{Curve, EcKey};
use crate::mldsa::MlDsaKey;
use crate::mlkem::MlKemKey;
use crate::rsa::{Padding, RsaKey, RsaScheme};
use crate::sm2::Sm2Key;
use crate::{CryptoError, pq};
use jadeseal_types::{KeyId, KeyUsage, SecretBytes};

/// How a signature is made and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureScheme {
    /// SM2 with SM3 and the user id `1234567812345678` (GB/T 32918.2, GM/T 0009), in DER.
    Sm2,
    /// The same as R ‖ S, 64 bytes.
    Sm2Raw,
    /// ECDSA on P-256 with SHA-256 (FIPS 186-5), in DER.
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384 (FIPS 186-5), in DER.
    EcdsaP384,
    /// RSASSA-PSS with SHA-256, MGF1-SHA-256 and a salt of 32 bytes (RFC 8017 section 8.1).
    RsaPss,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2).
    RsaPkcs1,
}

impl SignatureScheme {
    /// Every value.
    pub const ALL: &'static [Self] =
        &[Self::Sm2, Self::Sm2Raw, Self::EcdsaP256, Self::EcdsaP384, Self::RsaPss, Self::RsaPkcs1];

    /// The API's spelling.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Sm2 => "SM2DSA",
            Self::Sm2Raw => "SM2DSA_RAW",
            Self::EcdsaP256 => "ECC_P256_R1",
            Self::EcdsaP384 => "ECC_P384_R1",
            Self::RsaPss => "RSA_PSS_SHA_256",
            Self::RsaPkcs1 => "RSA_PKCS1_SHA_256",
        }
    }

    /// Reads the API's spelling, case-sensitively. `SM2DSA_ASN1` is another name of `SM2DSA`.
    pub fn from_wire(text: &str) -> Option<Self> {
        let text = if text == "SM2DSA_ASN1" { "SM2DSA" } else { text };
        Self::ALL.iter().copied().find(|scheme| scheme.wire() == text)
    }

    /// The usage of the keys that sign so.
    pub const fn usage(self) -> KeyUsage {
        match self {
            Self::Sm2 | Self::Sm2Raw => KeyUsage::SignSm2,
            Self::EcdsaP256 => KeyUsage::SignP256,
            Self::EcdsaP384 => KeyUsage::SignP384,
            Self::RsaPss | Self::RsaPkcs1 => KeyUsage::SignRsa2048,
        }
    }

    /// Length of a digest, bytes.
    pub const fn digest_len(self) -> usize {
        match self {
            Self::EcdsaP384 => 48,
            _ => 32,
        }
    }
}

/// An opened private key with its public half, for one usage. Everything that a call needs has been worked out when
/// it was opened. A call that belongs to another usage is [`CryptoError::Unavailable`], a mistake of ours; what is
/// wrong with the caller's bytes is [`CryptoError::Invalid`].
pub struct PrivateKey {
    usage: KeyUsage,
    key: Key,
}

enum Key {
    /// Boxed: it is eight times as large as the others.
    Rsa(Box<RsaKey>),
    Ec(EcKey),
    Sm2(Sm2Key),
    MlKem(MlKemKey),
    MlDsa(MlDsaKey),
}

const OTHER_USAGE: CryptoError = CryptoError::Unavailable("a key of another usage");

impl PrivateKey {
    /// Makes a key for a usage. RSA takes about a tenth of a second of processor time, the others well under a
    /// millisecond.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails, and for a symmetric usage.
    pub fn generate(usage: KeyUsage) -> Result<Self, CryptoError> {
        let key = match usage {
            KeyUsage::EncryptDecrypt => return Err(OTHER_USAGE),
            KeyUsage::DecryptRsa2048 | KeyUsage::SignRsa2048 => Key::Rsa(Box::new(RsaKey::generate()?)),
            KeyUsage::DecryptSm2 | KeyUsage::SignSm2 => Key::Sm2(Sm2Key::generate()?),
            KeyUsage::SignP256 => Key::Ec(EcKey::generate(Curve::P256)?),
            KeyUsage::SignP384 => Key::Ec(EcKey::generate(Curve::P384)?),
            KeyUsage::DecryptKyber => Key::MlKem(MlKemKey::generate()?),
            KeyUsage::SignDilithium => Key::MlDsa(MlDsaKey::generate()?),
        };
        Ok(PrivateKey { usage, key })
    }

    /// Reads what [`PrivateKey::material`] wrote.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for anything that is not a private key for this usage.
    pub fn open(usage: KeyUsage, material: &SecretBytes) -> Result<Self, CryptoError> {
        let bytes = material.expose();
        let key = match usage {
            KeyUsage::EncryptDecrypt => return Err(OTHER_USAGE),
            KeyUsage::DecryptRsa2048 | KeyUsage::SignRsa2048 => Key::Rsa(Box::new(RsaKey::from_pkcs8(bytes)?)),
            KeyUsage::DecryptSm2 | KeyUsage::SignSm2 => Key::Sm2(Sm2Key::from_scalar(bytes)?),
            KeyUsage::SignP256 => Key::Ec(EcKey::from_pkcs8(Curve::P256, bytes)?),
            KeyUsage::SignP384 => Key::Ec(EcKey::from_pkcs8(Curve::P384, bytes)?),
            KeyUsage::DecryptKyber => Key::MlKem(MlKemKey::from_bytes(bytes)?),
            KeyUsage::SignDilithium => Key::MlDsa(MlDsaKey::from_seed(bytes)?),
        };
        Ok(PrivateKey { usage, key })
    }

    /// What the key is for.
    pub fn usage(&self) -> KeyUsage {
        self.usage
    }

    /// What is stored of the key, to be wrapped: `docs/formats.md` has the form of each algorithm.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn material(&self) -> Result<SecretBytes, CryptoError> {
        match &self.key {
            Key::Rsa(key) => key.to_pkcs8(),
            Key::Ec(key) => key.to_pkcs8(),
            Key::Sm2(key) => Ok(key.to_scalar()),
            Key::MlKem(key) => key.to_bytes(),
            Key::MlDsa(key) => Ok(SecretBytes::copy_from(key.seed().expose())),
        }
    }

    /// The public key as SubjectPublicKeyInfo (RFC 5280) in DER.
    pub fn public_spki(&self) -> &[u8] {
        match &self.key {
            Key::Rsa(key) => key.public_spki(),
            Key::Ec(key) => key.public_spki(),
            Key::Sm2(key) => key.public_spki(),
            Key::MlKem(key) => key.public_spki(),
            Key::MlDsa(key) => key.public_spki(),
        }
    }

    /// Signs with a scheme of the key's usage.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a digest of another length than the scheme's;
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn sign(&self, scheme: SignatureScheme, input: Input<'_>) -> Result<Vec<u8>, CryptoError> {
        self.only(scheme.usage())?;
        match (&self.key, scheme) {
            (Key::Rsa(key), SignatureScheme::RsaPkcs1) => key.sign(RsaScheme::Pkcs1Sha256, input),
            (Key::Rsa(key), _) => key.sign(RsaScheme::PssSha256, input),
            (Key::Ec(key), _) => key.sign(input),
            (Key::Sm2(key), SignatureScheme::Sm2Raw) => Ok(key.sign(input)?.to_raw().to_vec()),
            (Key::Sm2(key), _) => Ok(key.sign(input)?.to_der()),
            (Key::MlKem(_) | Key::MlDsa(_), _) => Err(OTHER_USAGE),
        }
    }

    /// Verifies with a scheme of the key's usage. Elliptic curve signatures may be in DER or R ‖ S, whatever the
    /// scheme says. A signature that is wrong or malformed is false.
    ///
    /// # Errors
    /// As [`PrivateKey::sign`].
    pub fn verify(&self, scheme: SignatureScheme, input: Input<'_>, signature: &[u8]) -> Result<bool, CryptoError> {
        self.only(scheme.usage())?;
        match (&self.key, scheme) {
            (Key::Rsa(key), SignatureScheme::RsaPkcs1) => key.verify(RsaScheme::Pkcs1Sha256, input, signature),
            (Key::Rsa(key), _) => key.verify(RsaScheme::PssSha256, input, signature),
            (Key::Ec(key), _) => key.verify(input, signature),
            (Key::Sm2(key), _) => key.verify(input, signature),
            (Key::MlKem(_) | Key::MlDsa(_), _) => Err(OTHER_USAGE),
        }
    }

    /// Decrypts with RSA. Wrong PKCS#1 v1.5 padding gives a pseudo-random plaintext, not an error.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for every fault of the ciphertext alike.
    pub fn decrypt_rsa(&self, padding: Padding, ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        match (self.usage, &self.key) {
            (KeyUsage::DecryptRsa2048, Key::Rsa(key)) => key.decrypt(padding, ciphertext),
            _ => Err(OTHER_USAGE),
        }
    }

    /// Decrypts SM2 ciphertext, C1C3C2 in ASN.1 (GM/T 0009).
    ///
    /// # Errors
    /// As [`PrivateKey::decrypt_rsa`].
    pub fn decrypt_sm2(&self, ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        match (self.usage, &self.key) {
            (KeyUsage::DecryptSm2, Key::Sm2(key)) => key.decrypt(ciphertext),
            _ => Err(OTHER_USAGE),
        }
    }

    /// Encrypts with ML-KEM and AES-256-GCM to a [post-quantum blob](crate::pq).
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn seal_post_quantum(&self, key_id: KeyId, version: u32, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match &self.key {
            Key::MlKem(key) => pq::seal(key, key_id, version, plaintext),
            _ => Err(OTHER_USAGE),
        }
    }

    /// Decrypts a [post-quantum blob](crate::pq).
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for every fault of the blob alike.
    pub fn open_post_quantum(&self, blob: &[u8]) -> Result<SecretBytes, CryptoError> {
        match &self.key {
            Key::MlKem(key) => pq::open(key, blob),
            _ => Err(OTHER_USAGE),
        }
    }

    /// Signs with ML-DSA.
    ///
    /// # Errors
    /// [`CryptoError::Unavailable`] when the library fails.
    pub fn sign_post_quantum(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        match &self.key {
            Key::MlDsa(key) => key.sign(message),
            _ => Err(OTHER_USAGE),
        }
    }

    /// Verifies with ML-DSA. A signature that is wrong or malformed is false.
    ///
    /// # Errors
    /// As [`PrivateKey::sign_post_quantum`].
    pub fn verify_post_quantum(&self, message: &[u8], signature: &[u8]) -> Result<bool, CryptoError> {
        match &self.key {
            Key::MlDsa(key) => key.verify(message, signature),
            _ => Err(OTHER_USAGE),
        }
    }

    fn only(&self, usage: KeyUsage) -> Result<(), CryptoError> {
        if self.usage == usage { Ok(()) } else { Err(OTHER_USAGE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASYMMETRIC: [KeyUsage; 6] = [
        KeyUsage::DecryptSm2,
        KeyUsage::SignSm2,
        KeyUsage::SignP256,
        KeyUsage::SignP384,
        KeyUsage::DecryptKyber,
        KeyUsage::SignDilithium,
    ];

    #[test]
    fn a_key_does_what_its_usage_says_and_nothing_else() {
        for usage in ASYMMETRIC {
            let key = PrivateKey::generate(usage).unwrap();
            let again = PrivateKey::open(usage, &key.material().unwrap()).unwrap();
            assert_eq!(again.public_spki(), key.public_spki());
            for scheme in SignatureScheme::ALL {
                let digest = vec![7; scheme.digest_len()];
                let signed = key.sign(*scheme, Input::Digest(&digest));
                if scheme.usage() == usage {
                    assert!(again.verify(*scheme, Input::Digest(&digest), &signed.unwrap()).unwrap());
                    assert_eq!(key.sign(*scheme, Input::Digest(&[1])), Err(CryptoError::Invalid));
                } else {
                    assert_eq!(signed, Err(OTHER_USAGE), "{usage} {scheme:?}");
                    assert_eq!(key.verify(*scheme, Input::Digest(&digest), &[]), Err(OTHER_USAGE));
                }
            }
            let refused = |done: Result<SecretBytes, CryptoError>| done.err() == Some(OTHER_USAGE);
            assert!(refused(key.decrypt_rsa(Padding::Pkcs1, &[1; 256])));
            assert_eq!(refused(key.decrypt_sm2(&[1; 200])), usage != KeyUsage::DecryptSm2);
            assert_eq!(refused(key.open_post_quantum(&[1; 2000])), usage != KeyUsage::DecryptKyber);
            assert_eq!(key.sign_post_quantum(b"x").is_ok(), usage == KeyUsage::SignDilithium);
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for scheme in SignatureScheme::ALL {
            assert_eq!(SignatureScheme::from_wire(scheme.wire()), Some(*scheme));
        }
        assert_eq!(SignatureScheme::from_wire("SM2DSA_ASN1"), Some(SignatureScheme::Sm2));
        assert_eq!(SignatureScheme::from_wire("sm2dsa"), None);
    }
}
