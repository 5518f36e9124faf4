//! RSA decryption with PKCS#1 v1.5: good padding and the ways of being bad. The private operation takes
//! most of the time and hides what follows it, so that is also measured alone.

use crate::dudect::{LIMIT, compare, measure, samples};
use jadeseal_crypto::rsa::{Padding, implicit_rejection};
use jadeseal_crypto::{ImportKey, RsaKey, random};
use std::cell::RefCell;

const NAMES: [&str; 4] = ["good padding", "bad first byte", "no separator", "short padding"];
const SIZE: usize = 256;

/// Random bytes without a zero.
fn nonzero(len: usize) -> Vec<u8> {
    let mut out = random::secret(len).unwrap().expose().to_vec();
    for b in &mut out {
        *b = *b % 255 + 1;
    }
    out
}

/// A block of one class. The message of a good block is of any length, evenly, as the synthetic message of
/// a bad one is: the length of the answer is no secret, and copying a longer one takes longer.
fn block(class: usize) -> [u8; SIZE] {
    let mut block: [u8; SIZE] = nonzero(SIZE).try_into().unwrap();
    block[..2].copy_from_slice(&[0, 2]);
    let separator = SIZE - 1 - below(246);
    match class {
        0 => block[separator] = 0,
        1 => (block[0], block[separator]) = (1, 0),
        2 => (),
        _ => block[5] = 0,
    }
    block
}

/// A number, evenly, below a bound of at most 256.
fn below(bound: usize) -> usize {
    loop {
        let drawn = usize::from(random::secret(1).unwrap().expose()[0]);
        if drawn < bound {
            return drawn;
        }
    }
}

/// A ring of inputs made beforehand, each used again and again, so that making them costs nothing.
struct Ring<T>(Vec<Vec<T>>, RefCell<Vec<usize>>);

impl<T: Clone> Ring<T> {
    fn new(len: usize, make: impl Fn(usize) -> T) -> Self {
        let all = (0..NAMES.len()).map(|class| (0..len).map(|_| make(class)).collect()).collect();
        Ring(all, RefCell::new(vec![0; NAMES.len()]))
    }

    fn next(&self, class: usize) -> T {
        let at = &mut self.1.borrow_mut()[class];
        *at = (*at + 1) % self.0[class].len();
        self.0[class][*at].clone()
    }
}

#[test]
#[ignore = "takes minutes; runs with the soaks"]
fn after_the_private_operation() {
    // One key derivation key per block, as each ciphertext has its own.
    let ring =
        Ring::new(2048, |class| (<[u8; 32]>::try_from(random::secret(32).unwrap().expose()).unwrap(), block(class)));
    let classes = measure(
        &NAMES,
        samples(100_000),
        |class| ring.next(class),
        |(kdk, block)| implicit_rejection(kdk, block).unwrap(),
    );
    assert!(compare("PKCS#1 v1.5 after the private operation", &classes) < LIMIT);
}

#[test]
#[ignore = "takes minutes; runs with the soaks"]
fn the_whole_decryption() {
    let key = RsaKey::generate().unwrap();
    let import = ImportKey::from_pkcs8(key.to_pkcs8().unwrap().expose()).unwrap();
    let public = Public::of(&key);
    let ring = Ring::new(512, |class| public.raise(&block(class)));
    // The blocks are what they are meant to be.
    for class in 0..NAMES.len() {
        let text = ring.next(class);
        let unwrapped = import.unwrap(Padding::Pkcs1, &text);
        assert_eq!(unwrapped.is_ok_and(|m| m.ct_eq(key.decrypt(Padding::Pkcs1, &text).unwrap().expose())), class == 0);
    }
    let classes =
        measure(&NAMES, samples(100_000), |class| ring.next(class), |text| key.decrypt(Padding::Pkcs1, text).unwrap());
    assert!(compare("PKCS#1 v1.5 decryption", &classes) < LIMIT);
}

/// The raw public operation, which no library here offers: blocks of any form become ciphertexts. Only
/// has to be right.
struct Public([u64; LIMBS]);

/// One limb more than the modulus has.
const LIMBS: usize = 33;

impl Public {
    /// The modulus stands at the end of the SubjectPublicKeyInfo, before the exponent 65537.
    fn of(key: &RsaKey) -> Self {
        let body = key.public_spki().strip_suffix(&[2, 3, 1, 0, 1]).unwrap();
        Public(limbs(body.last_chunk().unwrap()))
    }

    /// `block`^65537 mod n.
    fn raise(&self, block: &[u8; SIZE]) -> [u8; SIZE] {
        let base = limbs(block);
        let mut power = base;
        for _ in 0..16 {
            power = self.multiply(&power, &power);
        }
        let mut out = [0; SIZE];
        for (bytes, limb) in out.rchunks_mut(8).zip(self.multiply(&power, &base)) {
            bytes.copy_from_slice(&limb.to_be_bytes());
        }
        out
    }

    fn multiply(&self, a: &[u64; LIMBS], b: &[u64; LIMBS]) -> [u64; LIMBS] {
        let mut out = [0; LIMBS];
        for bit in (0..8 * SIZE).rev() {
            out = self.add(&out, &out);
            if a[bit / 64] >> (bit % 64) & 1 == 1 {
                out = self.add(&out, b);
            }
        }
        out
    }

    fn add(&self, a: &[u64; LIMBS], b: &[u64; LIMBS]) -> [u64; LIMBS] {
        let (mut sum, mut reduced) = ([0; LIMBS], [0; LIMBS]);
        let (mut carry, mut borrow) = (false, false);
        for i in 0..LIMBS {
            let (x, c1) = a[i].overflowing_add(b[i]);
            let (x, c2) = x.overflowing_add(u64::from(carry));
            let (y, b1) = x.overflowing_sub(self.0[i]);
            let (y, b2) = y.overflowing_sub(u64::from(borrow));
            (sum[i], reduced[i], carry, borrow) = (x, y, c1 || c2, b1 || b2);
        }
        if borrow { sum } else { reduced }
    }
}

fn limbs(bytes: &[u8; SIZE]) -> [u64; LIMBS] {
    let mut out = [0; LIMBS];
    for (limb, bytes) in out.iter_mut().zip(bytes.rchunks(8)) {
        *limb = u64::from_be_bytes(bytes.try_into().unwrap());
    }
    out
}
