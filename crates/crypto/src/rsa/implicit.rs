//! RSAES-PKCS1-v1_5 decryption (RFC 8017 section 7.2.2) with implicit rejection as in
//! draft-irtf-cfrg-rsa-guidance section 7: a ciphertext with wrong padding decrypts to a message that
//! depends on the key and the ciphertext alone and looks random, so nothing tells good padding from
//! bad. OpenSSL since 3.2 gives the same bytes.

use super::BYTES;
use super::raw::RawKey;
use crate::{CryptoError, digest};
use aws_lc_rs::hmac;
use jadeseal_types::SecretBytes;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater, ConstantTimeLess};
use zeroize::Zeroizing;

/// The shortest padding: two fixed bytes, eight of padding and the separator.
const OVERHEAD: u16 = 11;
/// Longest message, bytes.
const MAX_MESSAGE: u16 = BYTES as u16 - OVERHEAD;
/// Candidates for the length of a synthetic message.
const CANDIDATES: usize = 128;

/// A decryption key with all that does not depend on the ciphertext.
pub(super) struct Decryptor {
    key: RawKey,
    modulus: [u8; BYTES],
    /// HMAC-SHA-256 under the SHA-256 of the private exponent.
    kdf: hmac::Key,
}

impl Decryptor {
    /// `None` for anything but an RSA private key of 2,048 bits in PKCS#8.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let key = RawKey::from_pkcs8(der)?;
        let hash = Zeroizing::new(digest::sha256(key.exponent()?.expose()));
        Some(Decryptor { modulus: key.modulus()?, kdf: hmac::Key::new(hmac::HMAC_SHA256, &hash[..]), key })
    }

    /// [`CryptoError::Invalid`] for a ciphertext that is not a number below the modulus, which anybody
    /// can see; never for its padding.
    pub(super) fn decrypt(&self, ciphertext: &[u8]) -> Result<SecretBytes, CryptoError> {
        let ciphertext: &[u8; BYTES] = ciphertext.try_into().map_err(|_| CryptoError::Invalid)?;
        if *ciphertext >= self.modulus {
            return Err(CryptoError::Invalid);
        }
        let mut block = Zeroizing::new([0; BYTES]);
        if self.is_fixed(ciphertext) {
            *block = *ciphertext;
        } else if !self.key.decrypt(ciphertext, &mut block) {
            return Err(CryptoError::Unavailable("RSA decryption"));
        }
        let mut kdk = Zeroizing::new([0; 32]);
        hmac::sign_to_buffer(&self.kdf, ciphertext, &mut kdk[..])
            .map_err(|_| CryptoError::Unavailable("HMAC-SHA-256"))?;
        message(&kdk, &block)
    }

    /// True for 0, 1 and n − 1. Under any key they are powers of themselves (exponents are odd), and the
    /// library does not take them.
    fn is_fixed(&self, ciphertext: &[u8; BYTES]) -> bool {
        let (head, [last]) = ciphertext.split_at(BYTES - 1) else { return false };
        let (n_head, [n_last]) = self.modulus.split_at(BYTES - 1) else { return false };
        // The modulus is odd, so n − 1 differs from it in the last byte alone.
        (*last <= 1 && head.iter().all(|b| *b == 0)) || (head == n_head && *last == *n_last - 1)
    }
}

/// What follows the raw operation: the message in the encoded block, or the synthetic one. Time and
/// memory accesses do not depend on the block, but for the length of the result, which does not tell
/// from which of the two it comes.
pub(super) fn message(kdk: &[u8; 32], block: &[u8; BYTES]) -> Result<SecretBytes, CryptoError> {
    let prf = hmac::Key::new(hmac::HMAC_SHA256, kdk);
    let mut lengths = Zeroizing::new([0; 2 * CANDIDATES]);
    expand(&prf, b"length", &mut lengths)?;
    let mut out = Zeroizing::new([0; BYTES]);
    expand(&prf, b"message", &mut out)?;

    let (good, real) = real_length(block);
    let len = u16::conditional_select(&synthetic_length(&lengths), &real, good);
    for (o, b) in out.iter_mut().zip(block) {
        o.conditional_assign(b, good);
    }
    // Both messages stand at the end of their block.
    shift_left(&mut out, BYTES as u16 - len);
    Ok(SecretBytes::copy_from(&out[..usize::from(len)]))
}

/// Whether the block is well padded, and the length of its message if so.
fn real_length(block: &[u8; BYTES]) -> (Choice, u16) {
    let mut separator = 0u16;
    let mut found = Choice::from(0);
    for (at, byte) in (0u16..).zip(block).skip(2) {
        let zero = byte.ct_eq(&0);
        separator.conditional_assign(&at, zero & !found);
        found |= zero;
    }
    // Without a separator its place is 0, which is too early.
    let good = block[0].ct_eq(&0) & block[1].ct_eq(&2) & separator.ct_gt(&(OVERHEAD - 2));
    (good, BYTES as u16 - 1 - separator)
}

/// The last candidate that a message can have; zero when none can.
fn synthetic_length(candidates: &[u8; 2 * CANDIDATES]) -> u16 {
    const MASK: u16 = MAX_MESSAGE.next_power_of_two() - 1;
    let mut len = 0u16;
    for [high, low] in candidates.as_chunks::<2>().0 {
        let candidate = u16::from_be_bytes([*high, *low]) & MASK;
        len.conditional_assign(&candidate, candidate.ct_lt(&(MAX_MESSAGE + 1)));
    }
    len
}

/// Moves the bytes `by` places to the front, without a trace of how far. `by` is at most `BYTES`; what
/// a move by `BYTES` leaves is of no meaning.
fn shift_left(bytes: &mut [u8; BYTES], by: u16) {
    for bit in 0..BYTES.ilog2() {
        let (step, take) = (1 << bit, Choice::from((by >> bit & 1) as u8));
        for i in 0..BYTES - step {
            bytes[i] = u8::conditional_select(&bytes[i], &bytes[i + step], take);
        }
    }
}

/// The draft's IRPRF with an output of 256 bytes: HMAC-SHA-256 over a 16-bit counter from zero, the
/// label and the output's length in bits (16 bits).
fn expand(prf: &hmac::Key, label: &[u8], out: &mut [u8; 256]) -> Result<(), CryptoError> {
    let mut input = [&[0; 2], label, &(out.len() as u16 * 8).to_be_bytes()].concat();
    for (counter, part) in (0u16..).zip(out.as_chunks_mut::<32>().0) {
        input[..2].copy_from_slice(&counter.to_be_bytes());
        hmac::sign_to_buffer(prf, &input, part).map_err(|_| CryptoError::Unavailable("HMAC-SHA-256"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block whose message is `message`.
    fn padded(message: &[u8]) -> [u8; BYTES] {
        let mut block = [0x5a; BYTES];
        let start = BYTES - message.len();
        block[..2].copy_from_slice(&[0, 2]);
        block[start - 1] = 0;
        block[start..].copy_from_slice(message);
        block
    }

    #[test]
    fn messages_of_every_length_come_out() {
        for len in 0..=usize::from(MAX_MESSAGE) {
            let text = (0..len).map(|i| i as u8).collect::<Vec<_>>();
            assert!(message(&[7; 32], &padded(&text)).unwrap().ct_eq(&text), "{len}");
        }
    }

    #[test]
    fn every_bad_block_gives_the_synthetic_message() {
        let synthetic = message(&[7; 32], &[0xff; BYTES]).unwrap();
        assert!(!message(&[8; 32], &[0xff; BYTES]).unwrap().ct_eq(synthetic.expose()));
        let good = padded(b"secret");
        for first in 1..=255 {
            let mut block = good;
            block[0] = first;
            assert!(message(&[7; 32], &block).unwrap().ct_eq(synthetic.expose()));
        }
        for kind in (0..=255).filter(|k| *k != 2) {
            let mut block = good;
            block[1] = kind;
            assert!(message(&[7; 32], &block).unwrap().ct_eq(synthetic.expose()));
        }
        for early in 2..10 {
            let mut block = good;
            block[early] = 0;
            assert!(message(&[7; 32], &block).unwrap().ct_eq(synthetic.expose()), "{early}");
        }
        let mut none = good;
        none[BYTES - 7] = 1;
        assert!(message(&[7; 32], &none).unwrap().ct_eq(synthetic.expose()));
        // The tenth byte is the first that may be the separator.
        let mut first = good;
        first[10] = 0;
        assert_eq!(message(&[7; 32], &first).unwrap().len(), 245);
    }

    #[test]
    fn candidates_that_are_too_long_do_not_count() {
        let with = |pairs: &[[u8; 2]]| {
            let mut all = [0xff; 2 * CANDIDATES];
            all[..2 * pairs.len()].copy_from_slice(pairs.as_flattened());
            synthetic_length(&all)
        };
        assert_eq!(with(&[]), 0);
        assert_eq!(with(&[[0, 245]]), 245);
        assert_eq!(with(&[[0, 246]]), 0);
        assert_eq!(with(&[[0xab, 17], [0, 246]]), 17);
        assert_eq!(with(&[[0, 17], [1, 3]]), 3);
    }
}
