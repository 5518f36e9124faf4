//! Authenticated encryption under a key that is used once: AES-256-GCM or SM4-GCM (RFC 8998) with
//! a nonce of zeros. Private to the crate, because a zero nonce is right only for a fresh key.

use crate::{CryptoError, sm4::Sm4};
use aes_gcm::{AeadInOut, AesGcm, KeyInit, aead::inout::InOutBuf, aes::cipher::consts::U12};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use jadeseal_types::{SecretBytes, Suite};

/// Bytes of the authentication tag.
pub(crate) const TAG: usize = 16;

const ZERO: [u8; 12] = [0; 12];

/// Encrypts `text` in place and returns the tag.
pub(crate) fn seal(suite: Suite, key: &[u8], aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG], CryptoError> {
    seal_with_nonce(suite, key, ZERO, aad, text)
}

/// Decrypts into a new buffer. On failure the buffer is wiped and no byte of it comes out.
pub(crate) fn open(
    suite: Suite,
    key: &[u8],
    aad: &[u8],
    text: &[u8],
    tag: &[u8; TAG],
) -> Result<SecretBytes, CryptoError> {
    open_with_nonce(suite, key, ZERO, aad, text, tag)
}

pub(crate) fn seal_with_nonce(
    suite: Suite,
    key: &[u8],
    nonce: [u8; 12],
    aad: &[u8],
    text: &mut [u8],
) -> Result<[u8; TAG], CryptoError> {
    let failed = CryptoError::Unavailable("encryption");
    match suite {
        Suite::Aes256 => {
            let tag = aes(key)?
                .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)
                .map_err(|_| failed)?;
            tag.as_ref().try_into().map_err(|_| failed)
        }
        Suite::Sm4 => sm4(key)?
            .encrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(text))
            .map(Into::into)
            .map_err(|_| failed),
    }
}

pub(crate) fn open_with_nonce(
    suite: Suite,
    key: &[u8],
    nonce: [u8; 12],
    aad: &[u8],
    text: &[u8],
    tag: &[u8; TAG],
) -> Result<SecretBytes, CryptoError> {
    let mut out = SecretBytes::zeroed(text.len());
    match suite {
        Suite::Aes256 => aes(key)?
            .open_separate_gather(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text, tag, out.expose_mut())
            .map_err(|_| CryptoError::Invalid)?,
        Suite::Sm4 => {
            out.expose_mut().copy_from_slice(text);
            sm4(key)?
                .decrypt_inout_detached(&nonce.into(), aad, InOutBuf::from(out.expose_mut()), tag.into())
                .map_err(|_| CryptoError::Invalid)?;
        }
    }
    Ok(out)
}

fn aes(key: &[u8]) -> Result<LessSafeKey, CryptoError> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| CryptoError::Unavailable("AES-256-GCM"))?;
    Ok(LessSafeKey::new(key))
}

fn sm4(key: &[u8]) -> Result<AesGcm<Sm4, U12>, CryptoError> {
    AesGcm::new_from_slice(key).map_err(|_| CryptoError::Unavailable("SM4-GCM"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    #[test]
    fn rfc_8998_sm4_gcm() {
        // RFC 8998, appendix A.1.
        let hex = |t: &str| HEXLOWER.decode(t.as_bytes()).unwrap();
        let key = hex("0123456789abcdeffedcba9876543210");
        let nonce: [u8; 12] = hex("00001234567800000000abcd").try_into().unwrap();
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plain = [0xaau8, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0xee, 0xaa].iter().flat_map(|b| [*b; 8]).collect::<Vec<_>>();
        let mut text = plain.clone();
        let tag = seal_with_nonce(Suite::Sm4, &key, nonce, &aad, &mut text).unwrap();
        assert_eq!(
            HEXLOWER.encode(&text),
            "17f399f08c67d5ee19d0dc9969c4bb7d5fd46fd3756489069157b282bb200735\
             d82710ca5c22f0ccfa7cbf93d496ac15a56834cbcf98c397b4024a2691233b8d"
        );
        assert_eq!(HEXLOWER.encode(&tag), "83de3541e4c2b58177e065a9bf7b62ec");
        assert!(open_with_nonce(Suite::Sm4, &key, nonce, &aad, &text, &tag).unwrap().ct_eq(&plain));
    }
}
