//! Both engines against the standard, against each other and against an independent crate.

use super::*;
use proptest::prelude::*;

const KEY: [u8; 16] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10];

/// GB/T 32907-2016, A.1: one block under itself.
const ONCE: [u8; 16] = [0x68, 0x1e, 0xdf, 0x34, 0xd2, 0x06, 0x96, 0x5e, 0x86, 0xb3, 0xe9, 0x4f, 0x53, 0x6e, 0x42, 0x46];

/// GB/T 32907-2016, A.2: the same 1,000,000 times over.
const MILLION: [u8; 16] =
    [0x59, 0x52, 0x98, 0xc7, 0xc6, 0xfd, 0x27, 0x1f, 0x04, 0x02, 0xf8, 0x04, 0xc3, 0x3d, 0x3f, 0x66];

fn engines() -> Vec<Engine> {
    // The circuit always; the processor's own way where there is one.
    match Engine::best() {
        Engine::Soft => vec![Engine::Soft],
        #[cfg(target_arch = "x86_64")]
        best => vec![Engine::Soft, best],
    }
}

/// The S-box by its definition, the slow way: inversion in the field between two affine maps. It
/// needs none of the tables and circuits under test.
fn reference_s_box(x: u8) -> u8 {
    let affine =
        |v: u8| (0..8).fold(0u8, |out, i| out | (((0xa7u8.rotate_left(i) & v).count_ones() as u8 & 1) << i)) ^ 0xd3;
    let mul = |mut a: u16, b: u16| {
        let mut r = 0;
        for i in 0..8 {
            if b >> i & 1 == 1 {
                r ^= a;
            }
            a <<= 1;
            if a & 0x100 != 0 {
                a ^= 0x1f5;
            }
        }
        r
    };
    let v = u16::from(affine(x));
    affine((0..256).find(|c| mul(v, *c) == 1).unwrap_or(0) as u8)
}

#[test]
fn the_standard_block_both_ways() {
    for engine in engines() {
        let cipher = Sm4::with_engine(&KEY, engine);
        let mut block = KEY.into();
        cipher.encrypt_block(&mut block);
        assert_eq!(<[u8; 16]>::from(block), ONCE);
        cipher.decrypt_block(&mut block);
        assert_eq!(<[u8; 16]>::from(block), KEY);
    }
}

/// The chain is cut in eight parts that run side by side, because a build without optimisation is
/// slow: each part starts where the reference crate says that the one before ends, and has to end
/// where the next one starts.
#[test]
fn the_standard_million() {
    let reference = sm4::Sm4::new(&KEY.into());
    let mut block: Block<Sm4> = KEY.into();
    let mut starts = [[0; 16]; LANES];
    for start in &mut starts {
        *start = block.into();
        (0..1_000_000 / LANES).for_each(|_| BlockCipherEncrypt::encrypt_block(&reference, &mut block));
    }
    let cipher = Sm4::new(&KEY.into());
    let mut ends = starts;
    (0..1_000_000 / LANES).for_each(|_| cipher.engine.crypt(&cipher.encrypt, &mut ends));
    assert_eq!(ends[..LANES - 1], starts[1..]);
    assert_eq!(ends[LANES - 1], MILLION);
}

#[test]
fn every_entry_of_the_s_box() {
    // First, some and last entries of the published table hold the generator to the standard.
    for (x, s) in [(0x00, 0xd6), (0x01, 0x90), (0x10, 0x2b), (0xef, 0x84), (0xff, 0x48)] {
        assert_eq!(reference_s_box(x), s);
    }
    for engine in engines() {
        for x in 0..=255u8 {
            let s = reference_s_box(x);
            let word = u32::from_be_bytes([x, 0, x, 1]);
            assert_eq!(engine.sub_word(word), u32::from_be_bytes([s, 0xd6, s, 0x90]), "{x:02x}");
        }
    }
}

#[test]
fn every_byte_value_agrees_with_the_sm4_crate() {
    for engine in engines() {
        let (ours, theirs) = (Sm4::with_engine(&KEY, engine), sm4::Sm4::new(&KEY.into()));
        for x in 0..=255u8 {
            // Each position, so that each S-box of the first rounds sees each value.
            for at in 0..16 {
                let mut a = Block::<Sm4>::default();
                a[at] = x;
                let mut b = a;
                ours.encrypt_block(&mut a);
                BlockCipherEncrypt::encrypt_block(&theirs, &mut b);
                assert_eq!(a, b, "{x:02x} at {at}");
            }
        }
    }
}

proptest! {
    #[test]
    fn random_blocks_agree_with_the_sm4_crate(
        key: [u8; 16],
        blocks in proptest::collection::vec(any::<[u8; 16]>(), 0..40),
    ) {
        let blocks: Vec<Block<Sm4>> = blocks.into_iter().map(Into::into).collect();
        let mut expected = blocks.clone();
        BlockCipherEncrypt::encrypt_blocks(&sm4::Sm4::new(&key.into()), &mut expected);
        for engine in engines() {
            let cipher = Sm4::with_engine(&key, engine);
            let mut found = blocks.clone();
            // Whole eights, the tail and single blocks are separate code.
            cipher.encrypt_blocks(&mut found);
            prop_assert_eq!(&found, &expected);
            for (one, sealed) in blocks.iter().zip(&expected) {
                let mut one = *one;
                cipher.encrypt_block(&mut one);
                prop_assert_eq!(&one, sealed);
            }
            cipher.decrypt_blocks(&mut found);
            prop_assert_eq!(&found, &blocks);
        }
    }
}
