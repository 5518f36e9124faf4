//! A content key of 32 bytes sealed to somebody's public key, who opens it elsewhere: RSA of 2,048 to 8,192 bits (OAEP with
//! SHA-256 and MGF1-SHA-256, RFC 8017 section 7.1) or SM2 (C1C3C2 in ASN.1, GM/T 0009-2012).

use crate::recipient::{Kind, RecipientError, decode, key_kind};
use crate::{CryptoError, Sm2Key, Sm2PublicKey, der, digest, sm2};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jadeseal_types::{SecretBytes, Suite};

/// Length of a content key, bytes.
pub const CONTENT_KEY: usize = 32;
/// Longest PEM text of a private key, bytes.
pub const MAX_PRIVATE: usize = 16 * 1024;
/// Accepted sizes of RSA moduli, bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Longest sealed content key, bytes: that of the longest RSA key.
pub const MAX_SEALED: usize = *RSA_BITS.end() / 8;

/// A public key to seal to.
pub struct PublicSeal {
    key: Public,
    spki: Vec<u8>,
}

enum Public {
    Rsa(PublicEncryptingKey),
    Sm2(Sm2PublicKey),
}

/// The private key that opens.
pub struct PrivateOpener {
    key: Private,
    spki: Vec<u8>,
}

enum Private {
    Rsa(PrivateDecryptingKey),
    Sm2(Sm2Key),
}

impl PublicSeal {
    /// Reads a SubjectPublicKeyInfo (RFC 5280) in PEM.
    ///
    /// # Errors
    /// See [`RecipientError`]; `Mismatch` for anything but RSA and SM2, `KeySize` for RSA outside of 2,048 to 8,192 bits.
    pub fn parse(pem: &str) -> Result<Self, RecipientError> {
        let der = decode(pem)?;
        match key_kind(&der).ok_or(RecipientError::Malformed)? {
            Kind::Rsa => {
                let key = PublicEncryptingKey::from_der(&der).map_err(|_| RecipientError::KeySize)?;
                if !RSA_BITS.contains(&key.key_size_bits()) {
                    return Err(RecipientError::KeySize);
                }
                let spki: PublicKeyX509Der<'_> = key.as_der().map_err(|_| RecipientError::Malformed)?;
                Ok(PublicSeal { spki: spki.as_ref().to_vec(), key: Public::Rsa(key) })
            }
            Kind::Sm2 => {
                let key = Sm2PublicKey::from_spki(&der).map_err(|_| RecipientError::Malformed)?;
                Ok(PublicSeal { spki: key.spki().to_vec(), key: Public::Sm2(key) })
            }
            Kind::Other => Err(RecipientError::Mismatch),
        }
    }

    /// True for SM2.
    pub fn is_gm(&self) -> bool {
        matches!(self.key, Public::Sm2(_))
    }

    /// Digest of the SubjectPublicKeyInfo, by which the right private key is told from others: SHA-256, of SM2 keys SM3.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(self.is_gm(), &self.spki)
    }

    /// Seals a content key.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for a key of another length than [`CONTENT_KEY`], [`CryptoError::Unavailable`] when the
    /// library fails.
    pub fn seal(&self, content_key: &SecretBytes) -> Result<Vec<u8>, CryptoError> {
        if content_key.len() != CONTENT_KEY {
            return Err(CryptoError::Invalid);
        }
        match &self.key {
            Public::Sm2(key) => key.encrypt_asn1(content_key.expose()),
            Public::Rsa(key) => {
                let failed = |_| CryptoError::Unavailable("RSA encryption");
                let mut out = vec![0; key.key_size_bytes()];
                let key = OaepPublicEncryptingKey::new(key.clone()).map_err(failed)?;
                let sealed = key.encrypt(&OAEP_SHA256_MGF1SHA256, content_key.expose(), &mut out, None);
                let len = sealed.map_err(failed)?.len();
                out.truncate(len);
                Ok(out)
            }
        }
    }
}

impl PrivateOpener {
    /// Reads an unencrypted PKCS#8 private key (RFC 5208) in PEM, `PRIVATE KEY`: RSA, or SM2 with the curve by name.
    ///
    /// # Errors
    /// See [`RecipientError`].
    pub fn parse(pem: &SecretBytes) -> Result<Self, RecipientError> {
        let der = private_der(pem)?;
        if let Some(scalar) = sm2_scalar(der.expose()) {
            let key = Sm2Key::from_scalar(scalar).map_err(|_| RecipientError::Malformed)?;
            return Ok(PrivateOpener { spki: key.public_spki().to_vec(), key: Private::Sm2(key) });
        }
        der::whole(der.expose(), der::SEQUENCE).ok_or(RecipientError::Malformed)?;
        let key = PrivateDecryptingKey::from_pkcs8(der.expose()).map_err(|_| RecipientError::Mismatch)?;
        if !RSA_BITS.contains(&key.key_size_bits()) {
            return Err(RecipientError::KeySize);
        }
        // Without its public exponent the library would use a key without blinding; it cannot write the public half then.
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| RecipientError::Malformed)?;
        Ok(PrivateOpener { spki: public.as_ref().to_vec(), key: Private::Rsa(key) })
    }

    /// As [`PublicSeal::fingerprint`].
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(matches!(self.key, Private::Sm2(_)), &self.spki)
    }

    /// Opens what [`PublicSeal::seal`] sealed.
    ///
    /// # Errors
    /// [`CryptoError::Invalid`] for every fault alike.
    pub fn open(&self, sealed: &[u8]) -> Result<SecretBytes, CryptoError> {
        let failed = |_| CryptoError::Invalid;
        let opened = match &self.key {
            Private::Sm2(key) => key.decrypt(sealed)?,
            Private::Rsa(key) => {
                let mut out = SecretBytes::zeroed(key.key_size_bytes());
                let key = OaepPrivateDecryptingKey::new(key.clone()).map_err(failed)?;
                let opened = key.decrypt(&OAEP_SHA256_MGF1SHA256, sealed, out.expose_mut(), None).map_err(failed)?;
                SecretBytes::copy_from(opened)
            }
        };
        if opened.len() == CONTENT_KEY { Ok(opened) } else { Err(CryptoError::Invalid) }
    }
}

fn fingerprint(gm: bool, spki: &[u8]) -> [u8; 32] {
    digest::digest(if gm { Suite::Sm4 } else { Suite::Aes256 }, spki)
}

/// The one `PRIVATE KEY` block of a text.
fn private_der(pem: &SecretBytes) -> Result<SecretBytes, RecipientError> {
    if pem.len() > MAX_PRIVATE {
        return Err(RecipientError::TooLong);
    }
    let text = std::str::from_utf8(pem.expose()).map_err(|_| RecipientError::Malformed)?;
    let (_, rest) = text.split_once("-----BEGIN PRIVATE KEY-----").ok_or(RecipientError::Malformed)?;
    let (body, _) = rest.split_once("-----END PRIVATE KEY-----").ok_or(RecipientError::Malformed)?;
    let mut packed = SecretBytes::zeroed(body.len());
    let mut len = 0;
    for (to, from) in packed.expose_mut().iter_mut().zip(body.bytes().filter(|c| !c.is_ascii_whitespace())) {
        *to = from;
        len += 1;
    }
    let mut der = SecretBytes::zeroed(body.len());
    let packed = packed.expose().get(..len).unwrap_or_default();
    let len = STANDARD.decode_slice(packed, der.expose_mut()).map_err(|_| RecipientError::Malformed)?;
    Ok(SecretBytes::copy_from(der.expose().get(..len).unwrap_or_default()))
}

/// The private scalar of a PKCS#8 key (RFC 5208) around an ECPrivateKey (RFC 5915) on the curve of SM2.
fn sm2_scalar(pkcs8: &[u8]) -> Option<&[u8]> {
    let ([0], rest) = der::unsigned::<1>(der::whole(pkcs8, der::SEQUENCE)?)? else { return None };
    let (algorithm, rest) = der::element(rest, der::SEQUENCE)?;
    let (name, parameters) = der::element(algorithm, der::OBJECT_ID)?;
    if name != sm2::EC || der::whole(parameters, der::OBJECT_ID)? != sm2::CURVE {
        return None;
    }
    let key = der::whole(der::whole(rest, der::OCTET_STRING)?, der::SEQUENCE)?;
    let ([1], rest) = der::unsigned::<1>(key)? else { return None };
    Some(der::element(rest, der::OCTET_STRING)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Key pairs as OpenSSL makes them: public and private PEM.
    fn openssl(args: &[&str]) -> Option<(String, SecretBytes)> {
        let dir = tempfile::tempdir().unwrap();
        let (private, public) = (dir.path().join("k"), dir.path().join("p"));
        let made = Command::new("openssl").arg("genpkey").args(args).arg("-out").arg(&private).output().ok()?;
        assert!(made.status.success(), "{made:?}");
        let out =
            Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public).status();
        assert!(out.unwrap().success());
        Some((std::fs::read_to_string(public).unwrap(), SecretBytes::new(std::fs::read(private).unwrap())))
    }

    #[test]
    fn openssl_s_keys_seal_and_open() {
        for args in [
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..],
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:SM2"],
        ] {
            let Some((public, private)) = openssl(args) else {
                eprintln!("skipped: no openssl");
                return;
            };
            let seal = PublicSeal::parse(&public).unwrap();
            let opener = PrivateOpener::parse(&private).unwrap();
            assert_eq!(seal.fingerprint(), opener.fingerprint(), "{args:?}");
            let key = crate::random::secret(CONTENT_KEY).unwrap();
            let sealed = seal.seal(&key).unwrap();
            assert!(sealed.len() <= MAX_SEALED);
            assert!(opener.open(&sealed).unwrap().ct_eq(key.expose()));
            for i in [0, 8, sealed.len() - 1] {
                let mut bad = sealed.clone();
                bad[i] ^= 1;
                assert!(opener.open(&bad).is_err());
            }
            assert!(opener.open(&[]).is_err() && seal.seal(&SecretBytes::zeroed(31)).is_err());
        }
    }

    #[test]
    fn other_keys_are_refused() {
        for args in [&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..], &["-algorithm", "ED25519"]] {
            let Some((public, private)) = openssl(args) else { return };
            assert!(matches!(PublicSeal::parse(&public), Err(RecipientError::Mismatch)));
            assert!(PrivateOpener::parse(&private).is_err());
            assert!(PrivateOpener::parse(&SecretBytes::new(public.into_bytes())).is_err());
        }
        let Some((public, _)) = openssl(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]) else { return };
        assert!(matches!(PublicSeal::parse(&public), Err(RecipientError::KeySize)));
    }
}
