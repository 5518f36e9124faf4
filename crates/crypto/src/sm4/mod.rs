//! The SM4 block cipher (GB/T 32907-2016) in constant time: no table is indexed by a secret byte,
//! and no branch depends on one.
//!
//! Two ways to compute the same: on x86-64 with AES instructions the S-box goes through the AES
//! S-box of the processor (`ni`); elsewhere it is a boolean circuit over bit planes (`soft`).

use cipher::consts::{U8, U16};
use cipher::inout::{InOut, InOutBuf};
use cipher::{
    Block, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, Key, KeyInit, KeySizeUser, ParBlocks, ParBlocksSizeUser,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

#[cfg(target_arch = "x86_64")]
mod ni;
mod soft;

/// Round keys in the order of their use.
type RoundKeys = [u32; 32];
/// Four words of one block, first word first.
type Words = [u32; 4];

/// SM4 under one key, for the modes of the `cipher` and `aes-gcm` crates. Wiped on drop.
pub struct Sm4 {
    encrypt: RoundKeys,
    engine: Engine,
}

#[derive(Clone, Copy)]
enum Engine {
    #[cfg(target_arch = "x86_64")]
    Ni(ni::Ni),
    Soft,
}

impl Engine {
    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(ni) = ni::Ni::detect() {
            return Engine::Ni(ni);
        }
        Engine::Soft
    }

    fn sub_word(self, word: u32) -> u32 {
        match self {
            #[cfg(target_arch = "x86_64")]
            Engine::Ni(ni) => ni.sub_word(word),
            Engine::Soft => soft::sub_word(word),
        }
    }

    /// Up to [`LANES`] blocks at once.
    fn crypt(self, keys: &RoundKeys, blocks: &mut [[u8; 16]; LANES]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Engine::Ni(ni) => ni.crypt8(keys, blocks),
            Engine::Soft => soft::crypt8(keys, blocks),
        }
    }

    fn crypt_one(self, keys: &RoundKeys, block: &mut [u8; 16]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Engine::Ni(ni) => ni.crypt1(keys, block),
            Engine::Soft => {
                let mut blocks = [[0; 16]; LANES];
                blocks[0] = *block;
                soft::crypt8(keys, &mut blocks);
                *block = blocks[0];
            }
        }
    }
}

/// Blocks that are computed side by side.
const LANES: usize = 8;

const FK: Words = [0xa3b1_bac6, 0x56aa_3350, 0x677d_9197, 0xb270_22dc];

/// Key schedule constant: byte `j` of word `i` is `(4i + j) * 7`, by the standard.
const CK: RoundKeys = {
    let mut out = [0u32; 32];
    let mut i = 0;
    while i < 32 {
        let b = 4 * i as u32;
        out[i] =
            ((b * 7) & 255) << 24 | (((b + 1) * 7) & 255) << 16 | (((b + 2) * 7) & 255) << 8 | (((b + 3) * 7) & 255);
        i += 1;
    }
    out
};

impl Sm4 {
    fn with_engine(key: &[u8; 16], engine: Engine) -> Self {
        let mut k = words(key);
        for (word, fk) in k.iter_mut().zip(FK) {
            *word ^= fk;
        }
        let mut encrypt = [0; 32];
        for (rk, ck) in encrypt.iter_mut().zip(CK) {
            let s = engine.sub_word(k[1] ^ k[2] ^ k[3] ^ ck);
            *rk = k[0] ^ s ^ s.rotate_left(13) ^ s.rotate_left(23);
            k = [k[1], k[2], k[3], *rk];
        }
        k.zeroize();
        Sm4 { encrypt, engine }
    }

    fn decrypt_keys(&self) -> RoundKeys {
        let mut keys = self.encrypt;
        keys.reverse();
        keys
    }
}

impl KeySizeUser for Sm4 {
    type KeySize = U16;
}

impl KeyInit for Sm4 {
    fn new(key: &Key<Self>) -> Self {
        Self::with_engine(key.as_ref(), Engine::best())
    }
}

impl BlockSizeUser for Sm4 {
    type BlockSize = U16;
}

impl BlockCipherEncrypt for Sm4 {
    fn encrypt_with_backend(&self, f: impl BlockCipherEncClosure<BlockSize = U16>) {
        f.call(&Keyed { keys: &self.encrypt, engine: self.engine });
    }
}

impl BlockCipherDecrypt for Sm4 {
    fn decrypt_with_backend(&self, f: impl BlockCipherDecClosure<BlockSize = U16>) {
        let mut keys = self.decrypt_keys();
        f.call(&Keyed { keys: &keys, engine: self.engine });
        keys.zeroize();
    }
}

impl Drop for Sm4 {
    fn drop(&mut self) {
        self.encrypt.zeroize();
    }
}

impl ZeroizeOnDrop for Sm4 {}

/// Round keys in one direction, as the modes want them.
struct Keyed<'a> {
    keys: &'a RoundKeys,
    engine: Engine,
}

impl Keyed<'_> {
    fn one(&self, mut block: InOut<'_, '_, Block<Self>>) {
        let mut bytes = (*block.get_in()).into();
        self.engine.crypt_one(self.keys, &mut bytes);
        *block.get_out() = bytes.into();
    }

    fn all(&self, mut blocks: InOut<'_, '_, ParBlocks<Self>>) {
        let mut bytes = [[0; 16]; LANES];
        for (to, from) in bytes.iter_mut().zip(blocks.get_in()) {
            *to = (*from).into();
        }
        self.engine.crypt(self.keys, &mut bytes);
        for (to, from) in blocks.get_out().iter_mut().zip(bytes) {
            *to = from.into();
        }
    }

    fn tail(&self, mut blocks: InOutBuf<'_, '_, Block<Self>>) {
        let mut bytes = [[0; 16]; LANES];
        for (to, from) in bytes.iter_mut().zip(blocks.get_in()) {
            *to = (*from).into();
        }
        self.engine.crypt(self.keys, &mut bytes);
        for (to, from) in blocks.get_out().iter_mut().zip(bytes) {
            *to = from.into();
        }
    }
}

impl BlockSizeUser for Keyed<'_> {
    type BlockSize = U16;
}

impl ParBlocksSizeUser for Keyed<'_> {
    type ParBlocksSize = U8;
}

impl BlockCipherEncBackend for Keyed<'_> {
    fn encrypt_block(&self, block: InOut<'_, '_, Block<Self>>) {
        self.one(block);
    }

    fn encrypt_par_blocks(&self, blocks: InOut<'_, '_, ParBlocks<Self>>) {
        self.all(blocks);
    }

    fn encrypt_tail_blocks(&self, blocks: InOutBuf<'_, '_, Block<Self>>) {
        self.tail(blocks);
    }
}

impl BlockCipherDecBackend for Keyed<'_> {
    fn decrypt_block(&self, block: InOut<'_, '_, Block<Self>>) {
        self.one(block);
    }

    fn decrypt_par_blocks(&self, blocks: InOut<'_, '_, ParBlocks<Self>>) {
        self.all(blocks);
    }

    fn decrypt_tail_blocks(&self, blocks: InOutBuf<'_, '_, Block<Self>>) {
        self.tail(blocks);
    }
}

fn words(block: &[u8; 16]) -> Words {
    let (quads, _) = block.as_chunks::<4>();
    std::array::from_fn(|i| u32::from_be_bytes(quads[i]))
}

#[cfg(test)]
mod tests;
