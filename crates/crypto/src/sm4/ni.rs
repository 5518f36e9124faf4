//! SM4 by the AES instructions of x86-64.
//!
//! The S-boxes of SM4 and AES are both inversion in GF(2^8) between affine maps, in two
//! representations of the field. So the S-box of SM4 is an affine map ([`PRE`]), the S-box of AES
//! ([`_mm_aesenclast_si128`] with a zero key), and an affine map again ([`POST`]). An affine map on
//! bytes is two look-ups of half bytes inside a register ([`_mm_shuffle_epi8`]), which touch no
//! memory. `AESENCLAST` also rotates the rows of its state; the byte rotations of the linear layer
//! undo that on their way.
#![allow(unsafe_code)]

use super::{LANES, RoundKeys};
use std::arch::x86_64::*;

/// Proof that the processor has AES, SSSE3 and SSE4.1: made by [`Ni::detect`] alone.
#[derive(Clone, Copy)]
pub(super) struct Ni(());

/// Images of the low and the high half byte.
type Halves = [[u8; 16]; 2];

/// The affine map of the standard, then into the field of AES.
const PRE: Halves = [
    [0x3e, 0xb2, 0x0e, 0x82, 0xbb, 0x37, 0x8b, 0x07, 0xa1, 0x2d, 0x91, 0x1d, 0x24, 0xa8, 0x14, 0x98],
    [0x00, 0xdc, 0x2e, 0xf2, 0xc5, 0x19, 0xeb, 0x37, 0x08, 0xd4, 0x26, 0xfa, 0xcd, 0x11, 0xe3, 0x3f],
];
/// The affine map of AES undone, back to the field of SM4, then the affine map of the standard.
const POST: Halves = [
    [0x6c, 0xd4, 0xa6, 0x1e, 0x52, 0xea, 0x98, 0x20, 0x0b, 0xb3, 0xc1, 0x79, 0x35, 0x8d, 0xff, 0x47],
    [0x00, 0xe0, 0x50, 0xb0, 0x9d, 0x7d, 0xcd, 0x2d, 0xc0, 0x20, 0x90, 0x70, 0x5d, 0xbd, 0x0d, 0xed],
];

/// Byte orders that undo the row rotation of `AESENCLAST` and rotate each word left by 0, 8, 16 and
/// 24 bits.
const ROTATE: [[u8; 16]; 4] = {
    let mut out = [[0; 16]; 4];
    let mut i = 0;
    while i < 64 {
        let (rotation, column, row) = (i / 16, i / 4 % 4, i % 4);
        let from = (row + 4 - rotation) % 4;
        out[rotation][4 * column + row] = (from + 4 * ((column + 4 - from) % 4)) as u8;
        i += 1;
    }
    out
};

/// Reverses the bytes of each word: words are big-endian in a block.
const SWAP: [u8; 16] = [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12];

impl Ni {
    pub(super) fn detect() -> Option<Self> {
        let all =
            is_x86_feature_detected!("aes") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1");
        all.then_some(Ni(()))
    }

    pub(super) fn sub_word(self, word: u32) -> u32 {
        // SAFETY: `self` proves that the processor has the instructions.
        unsafe { sub_word(word) }
    }

    pub(super) fn crypt8(self, keys: &RoundKeys, blocks: &mut [[u8; 16]; LANES]) {
        // SAFETY: `self` proves that the processor has the instructions.
        unsafe { crypt8(keys, blocks) }
    }

    pub(super) fn crypt1(self, keys: &RoundKeys, block: &mut [u8; 16]) {
        // SAFETY: `self` proves that the processor has the instructions.
        unsafe { crypt1(keys, block) }
    }
}

#[target_feature(enable = "aes,ssse3,sse4.1")]
fn sub_word(word: u32) -> u32 {
    // All four columns hold the same word, so the row rotation changes nothing.
    _mm_cvtsi128_si32(substitute(_mm_set1_epi32(word as i32))) as u32
}

#[target_feature(enable = "aes,ssse3,sse4.1")]
fn crypt8(keys: &RoundKeys, blocks: &mut [[u8; 16]; LANES]) {
    let (quads, _) = blocks.as_chunks_mut::<4>();
    let mut x: [[__m128i; 4]; 2] = [gather(&quads[0]), gather(&quads[1])];
    // Two independent chains hide the latency of each other's instructions.
    for four in keys.as_chunks::<4>().0 {
        let [[a0, a1, a2, a3], [b0, b1, b2, b3]] = &mut x;
        for (i, key) in four.iter().enumerate() {
            let key = _mm_set1_epi32(*key as i32);
            // The four words take turns, which saves moving them.
            match i {
                0 => (*a0, *b0) = (round(*a0, *a1, *a2, *a3, key), round(*b0, *b1, *b2, *b3, key)),
                1 => (*a1, *b1) = (round(*a1, *a2, *a3, *a0, key), round(*b1, *b2, *b3, *b0, key)),
                2 => (*a2, *b2) = (round(*a2, *a3, *a0, *a1, key), round(*b2, *b3, *b0, *b1, key)),
                _ => (*a3, *b3) = (round(*a3, *a0, *a1, *a2, key), round(*b3, *b0, *b1, *b2, key)),
            }
        }
    }
    scatter(x[0], &mut quads[0]);
    scatter(x[1], &mut quads[1]);
}

#[target_feature(enable = "aes,ssse3,sse4.1")]
fn crypt1(keys: &RoundKeys, block: &mut [u8; 16]) {
    let mut x = super::words(block).map(|w| _mm_set1_epi32(w as i32));
    for key in keys {
        let new = round(x[0], x[1], x[2], x[3], _mm_set1_epi32(*key as i32));
        x = [x[1], x[2], x[3], new];
    }
    for (bytes, word) in block.as_chunks_mut::<4>().0.iter_mut().zip(x.iter().rev()) {
        *bytes = (_mm_cvtsi128_si32(*word) as u32).to_be_bytes();
    }
}

/// One round on one word of four blocks.
#[inline]
#[target_feature(enable = "aes,ssse3,sse4.1")]
fn round(x0: __m128i, x1: __m128i, x2: __m128i, x3: __m128i, key: __m128i) -> __m128i {
    let s = substitute(_mm_xor_si128(_mm_xor_si128(x1, x2), _mm_xor_si128(x3, key)));
    let [s0, s8, s16, s24] = ROTATE.map(|order| _mm_shuffle_epi8(s, load(&order)));
    // s <<< 2, 10 and 18 are one rotation by two of s <<< 0, 8 and 16.
    let t = _mm_xor_si128(_mm_xor_si128(s0, s8), s16);
    let t = _mm_or_si128(_mm_slli_epi32::<2>(t), _mm_srli_epi32::<30>(t));
    _mm_xor_si128(_mm_xor_si128(x0, t), _mm_xor_si128(s0, s24))
}

/// The S-box of SM4 on all bytes; the rows come out rotated as `AESENCLAST` leaves them.
#[inline]
#[target_feature(enable = "aes,ssse3,sse4.1")]
fn substitute(x: __m128i) -> __m128i {
    affine(&POST, _mm_aesenclast_si128(affine(&PRE, x), _mm_setzero_si128()))
}

#[inline]
#[target_feature(enable = "aes,ssse3,sse4.1")]
fn affine(map: &Halves, x: __m128i) -> __m128i {
    let half = _mm_set1_epi8(0x0f);
    let low = _mm_shuffle_epi8(load(&map[0]), _mm_and_si128(x, half));
    let high = _mm_shuffle_epi8(load(&map[1]), _mm_and_si128(_mm_srli_epi32::<4>(x), half));
    _mm_xor_si128(low, high)
}

/// Four blocks to four registers, register `i` holding word `i` of each block.
#[inline]
#[target_feature(enable = "aes,ssse3,sse4.1")]
fn gather(blocks: &[[u8; 16]; 4]) -> [__m128i; 4] {
    let swap = load(&SWAP);
    transpose([
        _mm_shuffle_epi8(load(&blocks[0]), swap),
        _mm_shuffle_epi8(load(&blocks[1]), swap),
        _mm_shuffle_epi8(load(&blocks[2]), swap),
        _mm_shuffle_epi8(load(&blocks[3]), swap),
    ])
}

/// Back to blocks, in the reverse order of words that the standard ends with.
#[inline]
#[target_feature(enable = "aes,ssse3,sse4.1")]
fn scatter([x0, x1, x2, x3]: [__m128i; 4], blocks: &mut [[u8; 16]; 4]) {
    let swap = load(&SWAP);
    for (block, x) in blocks.iter_mut().zip(transpose([x3, x2, x1, x0])) {
        // SAFETY: the block is 16 writable bytes, and the store needs no alignment.
        unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), _mm_shuffle_epi8(x, swap)) };
    }
}

#[inline]
#[target_feature(enable = "aes,ssse3,sse4.1")]
fn transpose([a, b, c, d]: [__m128i; 4]) -> [__m128i; 4] {
    let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
    let (ab2, cd2) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
    [_mm_unpacklo_epi64(ab, cd), _mm_unpackhi_epi64(ab, cd), _mm_unpacklo_epi64(ab2, cd2), _mm_unpackhi_epi64(ab2, cd2)]
}

#[inline]
#[target_feature(enable = "aes,ssse3,sse4.1")]
fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the array is 16 readable bytes, and the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}
