//! Random bytes from the deterministic generator of the audited core (CTR-DRBG, SP 800-90A, seeded
//! and reseeded from the operating system).

use crate::CryptoError;
use jadeseal_types::SecretBytes;
use std::cell::RefCell;
use zeroize::Zeroize;

/// Fills the slice. For keys and anything else that is secret: nothing is kept.
///
/// # Errors
/// [`CryptoError::Unavailable`] when the generator fails.
pub fn fill(out: &mut [u8]) -> Result<(), CryptoError> {
    aws_lc_rs::rand::fill(out).map_err(|_| CryptoError::Unavailable("random generator"))
}

/// `len` fresh secret bytes.
///
/// # Errors
/// As [`fill`].
pub fn secret(len: usize) -> Result<SecretBytes, CryptoError> {
    let mut out = SecretBytes::zeroed(len);
    fill(out.expose_mut())?;
    Ok(out)
}

/// 32 bytes for the salt of one message. Straight from the generator, which takes in fresh randomness
/// of the operating system on each call: two copies of one virtual machine must not draw the same
/// salt, because the message key follows from it.
///
/// # Errors
/// As [`fill`].
pub fn salt() -> Result<[u8; 32], CryptoError> {
    let mut out = [0; 32];
    fill(&mut out)?;
    Ok(out)
}

/// 32 bytes for public identifiers, of which nothing but uniqueness is asked. Drawn in blocks of 4 KiB
/// per thread; each part is handed out once. Never for a salt or a key.
///
/// # Errors
/// As [`fill`].
pub fn identifier() -> Result<[u8; 32], CryptoError> {
    let mut out = [0; 32];
    // While a thread is being torn down its block may be gone already.
    match BLOCK.try_with(|block| block.borrow_mut().take(&mut out)) {
        Ok(done) => done?,
        Err(_) => fill(&mut out)?,
    }
    Ok(out)
}

const BLOCK_BYTES: usize = 4096;

thread_local! {
    static BLOCK: RefCell<Block> = RefCell::new(Block { bytes: Box::new([0; BLOCK_BYTES]), used: BLOCK_BYTES });
}

struct Block {
    bytes: Box<[u8; BLOCK_BYTES]>,
    used: usize,
}

impl Block {
    fn take(&mut self, out: &mut [u8; 32]) -> Result<(), CryptoError> {
        if self.used + out.len() > BLOCK_BYTES {
            fill(&mut self.bytes[..])?;
            self.used = 0;
        }
        let part = &mut self.bytes[self.used..self.used + out.len()];
        out.copy_from_slice(part);
        part.zeroize();
        self.used += out.len();
        Ok(())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn identifiers_differ_within_and_across_blocks_and_threads() {
        let draw = || (0..300).map(|_| identifier().unwrap()).collect::<Vec<_>>();
        let mut all = draw();
        for t in (0..3).map(|_| std::thread::spawn(draw)).collect::<Vec<_>>() {
            all.extend(t.join().unwrap());
        }
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 1200);
        assert!(!all.contains(&[0; 32]));
    }

    #[test]
    fn parts_are_wiped_once_handed_out() {
        let mut block = Block { bytes: Box::new([0; BLOCK_BYTES]), used: BLOCK_BYTES };
        let mut out = [0; 32];
        block.take(&mut out).unwrap();
        assert_ne!(out, [0; 32]);
        assert_eq!(block.bytes[..32], [0; 32]);
        assert_ne!(block.bytes[32..64], [0; 32]);
    }

    #[test]
    fn secrets_have_their_length_and_differ() {
        let (a, b) = (secret(32).unwrap(), secret(32).unwrap());
        assert_eq!(a.len(), 32);
        assert!(!a.ct_eq(b.expose()));
    }
}
