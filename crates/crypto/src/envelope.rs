//! What the ciphertext blob and the wrapped secret have in common: a public header, a salt, a key
//! commitment, the ciphertext and its tag.
//!
//! `header | salt 32 | commitment 32 | ciphertext | tag 16`; all that stands before the ciphertext
//! is authenticated, together with bytes that are not written (`outside`).

use crate::CryptoError;
use crate::aead::{self, TAG};
use crate::kdf::{COMMITMENT, LABEL, Prf, SALT};
use jadeseal_types::SecretBytes;
use std::borrow::Cow;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// Bytes that an envelope adds to its header and its plaintext.
pub(crate) const EXTRA: usize = SALT + COMMITMENT + TAG;

/// Writes one envelope in one allocation.
pub(crate) fn seal(
    prf: &Prf,
    label: &[u8; LABEL],
    header: &[u8],
    salt: &[u8; SALT],
    outside: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let derived = prf.derive(label, salt)?;
    let mut out = Vec::with_capacity(header.len() + EXTRA + plaintext.len());
    out.extend_from_slice(header);
    out.extend_from_slice(salt);
    out.extend_from_slice(derived.commitment());
    let start = out.len();
    out.extend_from_slice(plaintext);
    let (public, text) = out.split_at_mut(start);
    match aead::seal(prf.suite(), derived.key(), &associated(public, outside), text) {
        Ok(tag) => out.extend_from_slice(&tag),
        Err(e) => {
            out.zeroize();
            return Err(e);
        }
    }
    Ok(out)
}

/// Reads one envelope whose header, of `header_len` bytes, the caller has checked. The commitment
/// is compared before anything is decrypted, so one blob never opens under two keys.
pub(crate) fn open(
    prf: &Prf,
    label: &[u8; LABEL],
    header_len: usize,
    sealed: &[u8],
    outside: &[u8],
) -> Result<SecretBytes, CryptoError> {
    let parts = || {
        let (public, rest) = sealed.split_at_checked(header_len + SALT + COMMITMENT)?;
        let (text, tag) = rest.split_last_chunk::<TAG>()?;
        let (salt, commitment) = public.get(header_len..)?.split_first_chunk::<SALT>()?;
        Some((public, salt, commitment, text, tag))
    };
    let (public, salt, commitment, text, tag) = parts().ok_or(CryptoError::Invalid)?;
    let derived = prf.derive(label, salt)?;
    if !bool::from(derived.commitment().ct_eq(commitment)) {
        return Err(CryptoError::Invalid);
    }
    aead::open(prf.suite(), derived.key(), &associated(public, outside), text, tag)
}

fn associated<'a>(public: &'a [u8], outside: &[u8]) -> Cow<'a, [u8]> {
    if outside.is_empty() { Cow::Borrowed(public) } else { Cow::Owned([public, outside].concat()) }
}
