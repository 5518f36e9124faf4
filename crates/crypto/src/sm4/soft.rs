//! SM4 without special instructions: the S-box as a boolean circuit over bit planes, so that the
//! time depends on nothing but the number of blocks.
//!
//! The S-box of SM4 is an affine map, inversion in GF(2^8) modulo x^8+x^7+x^6+x^5+x^4+x^2+1, and the
//! affine map again. Inversion is easy in the tower GF(((2^2)^2)^2); the change of field is linear
//! and merged into the affine maps, so what remains is [`PRE`], [`invert`], [`POST`].

use super::{LANES, RoundKeys, words};

/// One bit of each of the bytes that are substituted together.
type Plane = u32;
/// GF(2^2) = GF(2)[w]/(w^2+w+1): coefficients of 1 and w.
type F4 = [Plane; 2];
/// GF(2^4) = GF(2^2)[x]/(x^2+x+w): coefficients of 1 and x.
type F16 = [F4; 2];

/// Row `i` says which input bits make up output bit `i`: the affine map of the standard, then into
/// the tower field with y^2+y+wx.
const PRE: [u8; 8] = [0x11, 0x42, 0x08, 0xdc, 0xd3, 0x3f, 0x84, 0x7f];
const PRE_CONSTANT: u8 = 0xda;
/// Back from the tower field, then the affine map of the standard.
const POST: [u8; 8] = [0xa1, 0x65, 0x1e, 0xb5, 0x52, 0x72, 0x1f, 0xc3];
const POST_CONSTANT: u8 = 0xd3;

/// Runs the 32 rounds over eight blocks in place.
pub(super) fn crypt8(keys: &RoundKeys, blocks: &mut [[u8; 16]; LANES]) {
    let mut x = [[0u32; LANES]; 4];
    for (lane, block) in blocks.iter().enumerate() {
        for (row, word) in x.iter_mut().zip(words(block)) {
            row[lane] = word;
        }
    }
    for key in keys {
        let mut t: [u32; LANES] = std::array::from_fn(|i| x[1][i] ^ x[2][i] ^ x[3][i] ^ key);
        sub_words(&mut t);
        let new = std::array::from_fn(|i| {
            let s = t[i];
            x[0][i] ^ s ^ s.rotate_left(2) ^ s.rotate_left(10) ^ s.rotate_left(18) ^ s.rotate_left(24)
        });
        x = [x[1], x[2], x[3], new];
    }
    for (lane, block) in blocks.iter_mut().enumerate() {
        for (bytes, row) in block.as_chunks_mut::<4>().0.iter_mut().zip(x.iter().rev()) {
            *bytes = row[lane].to_be_bytes();
        }
    }
}

/// The S-box on each byte of one word, for the key schedule.
pub(super) fn sub_word(word: u32) -> u32 {
    let mut t = [word; LANES];
    sub_words(&mut t);
    t[0]
}

/// The S-box on each byte of eight words.
fn sub_words(t: &mut [u32; LANES]) {
    let mut p: [Plane; 8] = *t;
    transpose(&mut p);
    p = affine(&PRE, PRE_CONSTANT, &p);
    p = invert(&p);
    p = affine(&POST, POST_CONSTANT, &p);
    transpose(&mut p);
    *t = p;
}

/// Exchanges word number and bit number within each byte: eight words become eight bit planes, and
/// back.
fn transpose(p: &mut [Plane; 8]) {
    for (distance, mask) in [(1, 0x5555_5555), (2, 0x3333_3333), (4, 0x0f0f_0f0f)] {
        for low in (0..8).filter(|i| i & distance == 0) {
            let swap = ((p[low] >> distance) ^ p[low | distance]) & mask;
            p[low | distance] ^= swap;
            p[low] ^= swap << distance;
        }
    }
}

/// The rows and the constant are public, so the branches do not depend on secrets.
#[inline(always)]
fn affine(rows: &[u8; 8], constant: u8, p: &[Plane; 8]) -> [Plane; 8] {
    std::array::from_fn(|i| {
        let start = if constant >> i & 1 == 1 { Plane::MAX } else { 0 };
        (0..8).filter(|j| rows[i] >> j & 1 == 1).fold(start, |sum, j| sum ^ p[j])
    })
}

/// Inversion in GF(2^8) = GF(2^4)[y]/(y^2+y+wx), zero to zero: with a = h y + l and
/// d = h^2 wx + l (h + l), the inverse is (h y + h + l) / d.
fn invert(p: &[Plane; 8]) -> [Plane; 8] {
    let low: F16 = [[p[0], p[1]], [p[2], p[3]]];
    let high: F16 = [[p[4], p[5]], [p[6], p[7]]];
    let wx: F16 = [[0, 0], [0, Plane::MAX]];
    let sum = add16(low, high);
    let d = invert16(add16(mul16(mul16(high, high), wx), mul16(low, sum)));
    let [[b4, b5], [b6, b7]] = mul16(high, d);
    let [[b0, b1], [b2, b3]] = mul16(sum, d);
    [b0, b1, b2, b3, b4, b5, b6, b7]
}

/// The same one step down, over x^2+x+w. In GF(2^2) the inverse is the square.
fn invert16([low, high]: F16) -> F16 {
    let w: F4 = [0, Plane::MAX];
    let sum = add4(low, high);
    let d = add4(mul4(mul4(high, high), w), mul4(low, sum));
    let d = mul4(d, d);
    [mul4(sum, d), mul4(high, d)]
}

#[inline(always)]
fn mul16(a: F16, b: F16) -> F16 {
    let w: F4 = [0, Plane::MAX];
    let high = mul4(a[1], b[1]);
    let cross = add4(mul4(a[0], b[1]), mul4(a[1], b[0]));
    [add4(mul4(a[0], b[0]), mul4(high, w)), add4(cross, high)]
}

#[inline(always)]
fn mul4(a: F4, b: F4) -> F4 {
    let high = a[1] & b[1];
    [a[0] & b[0] ^ high, a[0] & b[1] ^ a[1] & b[0] ^ high]
}

#[inline(always)]
fn add16(a: F16, b: F16) -> F16 {
    [add4(a[0], b[0]), add4(a[1], b[1])]
}

#[inline(always)]
fn add4(a: F4, b: F4) -> F4 {
    [a[0] ^ b[0], a[1] ^ b[1]]
}
