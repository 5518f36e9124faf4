//! The asymmetric operations as calls in this process: of the library, and of our crate around it.

use anyhow::{Context, Result};
use aws_lc_rs::{
    kem, rand,
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, Pkcs1PrivateDecryptingKey, PrivateDecryptingKey},
    signature::{self, EcdsaKeyPair, KeyPair as _, ParsedPublicKey, PqdsaKeyPair, RsaKeyPair},
};
use jadeseal_crypto::{
    PrivateKey, SignatureScheme as Scheme, Sm2PublicKey,
    asymmetric::Input,
    mldsa,
    rsa::{Padding, RsaPublicKey},
};
use jadeseal_types::{KeyId, KeyUsage};
use sm2::dsa::signature::{Signer as _, Verifier as _};
use std::hint::black_box;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Sign(Scheme),
    Verify(Scheme),
    DecryptRsa(Padding),
    DecryptSm2,
    EncryptPq,
    DecryptPq,
    SignPq,
    VerifyPq,
}

/// One call, ready to be repeated. What it makes is thrown away.
pub type Call = Box<dyn Fn() -> Result<()>>;

/// Length of the messages that are signed and of the plaintexts, bytes.
pub const MESSAGE: usize = 32;
const TEXT: [u8; MESSAGE] = [7; MESSAGE];
/// The user id that SM2 signatures have by default (GM/T 0009).
const USER: &str = "1234567812345678";

impl Operation {
    pub fn usage(self) -> KeyUsage {
        match self {
            Self::Sign(scheme) | Self::Verify(scheme) => scheme.usage(),
            Self::DecryptRsa(_) => KeyUsage::DecryptRsa2048,
            Self::DecryptSm2 => KeyUsage::DecryptSm2,
            Self::EncryptPq | Self::DecryptPq => KeyUsage::DecryptKyber,
            Self::SignPq | Self::VerifyPq => KeyUsage::SignDilithium,
        }
    }
}

/// The library's call and ours, under one new key. The post-quantum encryption of the library is the KEM alone.
pub fn pair(operation: Operation) -> Result<(Call, Call)> {
    let key = PrivateKey::generate(operation.usage())?;
    Ok((library(operation, &key)?, own(operation, key)?))
}

fn own(operation: Operation, key: PrivateKey) -> Result<Call> {
    let message = || Input::Message(&TEXT);
    let id = KeyId::from_bytes([9; 16]);
    Ok(match operation {
        Operation::Sign(scheme) => call(move || key.sign(scheme, message())),
        Operation::Verify(scheme) => {
            let made = key.sign(scheme, message())?;
            call(move || key.verify(scheme, message(), &made))
        }
        Operation::DecryptRsa(padding) => {
            let text = RsaPublicKey::from_spki(key.public_spki())?.encrypt(padding, &TEXT)?;
            call(move || key.decrypt_rsa(padding, &text))
        }
        Operation::DecryptSm2 => {
            let text = Sm2PublicKey::from_spki(key.public_spki())?.encrypt_asn1(&TEXT)?;
            call(move || key.decrypt_sm2(&text))
        }
        Operation::EncryptPq => call(move || key.seal_post_quantum(id, 1, &TEXT)),
        Operation::DecryptPq => {
            let blob = key.seal_post_quantum(id, 1, &TEXT)?;
            call(move || key.open_post_quantum(&blob))
        }
        Operation::SignPq => call(move || key.sign_post_quantum(&TEXT)),
        Operation::VerifyPq => {
            let made = key.sign_post_quantum(&TEXT)?;
            call(move || key.verify_post_quantum(&TEXT, &made))
        }
    })
}

fn library(operation: Operation, key: &PrivateKey) -> Result<Call> {
    let material = key.material()?;
    let material = material.expose();
    let rsa_pair = || RsaKeyPair::from_pkcs8(material);
    Ok(match operation {
        Operation::Sign(scheme @ (Scheme::RsaPss | Scheme::RsaPkcs1)) => {
            let (pair, rng) = (rsa_pair()?, rand::SystemRandom::new());
            let encoding: &'static dyn signature::RsaEncoding = match scheme {
                Scheme::RsaPss => &signature::RSA_PSS_SHA256,
                _ => &signature::RSA_PKCS1_SHA256,
            };
            call(move || {
                let mut out = [0; 256];
                pair.sign(encoding, &rng, &TEXT, &mut out).map(|()| out)
            })
        }
        Operation::Sign(scheme @ (Scheme::EcdsaP256 | Scheme::EcdsaP384)) => {
            let (pair, rng) = (ecdsa(scheme, material)?, rand::SystemRandom::new());
            call(move || pair.sign(&rng, &TEXT))
        }
        Operation::Sign(Scheme::Sm2 | Scheme::Sm2Raw) => {
            let key = sm2::dsa::SigningKey::from_slice(USER, material)?;
            call(move || key.try_sign(&TEXT))
        }
        Operation::Verify(scheme @ (Scheme::EcdsaP256 | Scheme::EcdsaP384)) => {
            let pair = ecdsa(scheme, material)?;
            let algorithm = match scheme {
                Scheme::EcdsaP256 => &signature::ECDSA_P256_SHA256_ASN1,
                _ => &signature::ECDSA_P384_SHA384_ASN1,
            };
            let made = pair.sign(&rand::SystemRandom::new(), &TEXT)?;
            let public = ParsedPublicKey::new(algorithm, pair.public_key().as_ref())?;
            call(move || public.verify_sig(&TEXT, made.as_ref()))
        }
        Operation::Verify(Scheme::Sm2 | Scheme::Sm2Raw) => {
            let key = sm2::dsa::SigningKey::from_slice(USER, material)?;
            let made = key.try_sign(&TEXT)?;
            call(move || key.verifying_key().verify(&TEXT, &made))
        }
        Operation::Verify(scheme @ (Scheme::RsaPss | Scheme::RsaPkcs1)) => {
            let algorithm = match scheme {
                Scheme::RsaPss => &signature::RSA_PSS_2048_8192_SHA256,
                _ => &signature::RSA_PKCS1_2048_8192_SHA256,
            };
            let made = key.sign(scheme, Input::Message(&TEXT))?;
            let public = ParsedPublicKey::new(algorithm, rsa_pair()?.public_key().as_ref())?;
            call(move || public.verify_sig(&TEXT, &made))
        }
        Operation::DecryptRsa(padding) => {
            let text = RsaPublicKey::from_spki(key.public_spki())?.encrypt(padding, &TEXT)?;
            let private = PrivateDecryptingKey::from_pkcs8(material)?;
            match padding {
                Padding::Pkcs1 => {
                    let key = Pkcs1PrivateDecryptingKey::new(private)?;
                    call(move || key.decrypt(&text, &mut [0; 256]).map(|text| text.len()))
                }
                _ => {
                    let key = OaepPrivateDecryptingKey::new(private)?;
                    call(move || {
                        key.decrypt(&OAEP_SHA256_MGF1SHA256, &text, &mut [0; 256], None).map(|text| text.len())
                    })
                }
            }
        }
        Operation::DecryptSm2 => {
            let text = Sm2PublicKey::from_spki(key.public_spki())?.encrypt_raw(&TEXT)?;
            // The crate's form has the prefix of an uncompressed point.
            let text = [&[4], &text[..]].concat();
            let key = sm2::pke::DecryptingKey::from_slice(material)?;
            call(move || key.decrypt(&text))
        }
        Operation::EncryptPq | Operation::DecryptPq => {
            let private = kem::DecapsulationKey::new(&kem::ML_KEM_1024, material)?;
            // The encapsulation key stands in the middle of the decapsulation key (FIPS 203 algorithm 16).
            let public = kem::EncapsulationKey::new(&kem::ML_KEM_1024, &material[1536..1536 + 1568])?;
            if matches!(operation, Operation::EncryptPq) {
                return Ok(call(move || public.encapsulate()));
            }
            let (text, _) = public.encapsulate()?;
            call(move || private.decapsulate(kem::Ciphertext::from(text.as_ref())))
        }
        Operation::SignPq => {
            let pair = PqdsaKeyPair::from_seed(&signature::ML_DSA_87_SIGNING, material)?;
            call(move || {
                let mut out = [0; mldsa::SIGNATURE];
                pair.sign(&TEXT, &mut out).map(|_| out)
            })
        }
        Operation::VerifyPq => {
            let pair = PqdsaKeyPair::from_seed(&signature::ML_DSA_87_SIGNING, material)?;
            let mut made = [0; mldsa::SIGNATURE];
            pair.sign(&TEXT, &mut made)?;
            let public = ParsedPublicKey::new(&signature::ML_DSA_87, pair.public_key().as_ref())?;
            call(move || public.verify_sig(&TEXT, &made))
        }
    })
}

fn ecdsa(scheme: Scheme, pkcs8: &[u8]) -> Result<EcdsaKeyPair> {
    let algorithm = match scheme {
        Scheme::EcdsaP256 => &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
        _ => &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
    };
    Ok(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8)?)
}

/// Keeps the compiler from leaving out what nobody looks at; a call that fails ends the run.
fn call<T, E: std::error::Error + Send + Sync + 'static>(work: impl Fn() -> Result<T, E> + 'static) -> Call {
    Box::new(move || work().map(|made| drop(black_box(made))).context("a call failed"))
}
