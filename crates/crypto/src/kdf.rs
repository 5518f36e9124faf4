//! Key derivation: NIST SP 800-108r1 section 4.1, counter mode, 32-bit counter before the fixed
//! input, with the state of the HMAC key computed once.

use crate::CryptoError;
use aws_lc_rs::hmac as sha;
use cipher::zeroize::Zeroizing;
use hmac::{Hmac, KeyInit, Mac};
use jadeseal_types::Suite;
use sm3::Sm3;

/// Bytes of the salt, which is the context of the derivation.
pub(crate) const SALT: usize = 32;
/// Bytes of the key commitment.
pub(crate) const COMMITMENT: usize = 32;
/// Bytes of a label. With this length a salt, a counter and the output length, the input of the
/// inner SHA-256 is 55 bytes, which is one block.
pub(crate) const LABEL: usize = 14;

/// Longest output: AES-256 key and commitment.
const MAX_OUT: usize = 64;

/// A key derivation key with its HMAC state precomputed. Both states wipe themselves on drop.
pub(crate) enum Prf {
    /// HMAC-SHA-256 (FIPS 198-1). Boxed: the state takes about 1.2 KiB.
    Sha256(Box<sha::Key>),
    /// HMAC-SM3 (GB/T 32905 under the construction of FIPS 198-1).
    Sm3(Box<Hmac<Sm3>>),
}

/// A message key and the commitment to it, wiped on drop.
pub(crate) struct Derived {
    bytes: Zeroizing<[u8; MAX_OUT]>,
    key_len: usize,
}

impl Prf {
    pub(crate) fn new(suite: Suite, key: &[u8]) -> Result<Self, CryptoError> {
        Ok(match suite {
            Suite::Aes256 => Prf::Sha256(Box::new(sha::Key::new(sha::HMAC_SHA256, key))),
            Suite::Sm4 => {
                Prf::Sm3(Box::new(Hmac::<Sm3>::new_from_slice(key).map_err(|_| CryptoError::Unavailable("HMAC-SM3"))?))
            }
        })
    }

    pub(crate) fn suite(&self) -> Suite {
        match self {
            Prf::Sha256(_) => Suite::Aes256,
            Prf::Sm3(_) => Suite::Sm4,
        }
    }

    /// Message key and commitment for one salt.
    pub(crate) fn derive(&self, label: &[u8; LABEL], salt: &[u8; SALT]) -> Result<Derived, CryptoError> {
        let key_len = match self.suite() {
            Suite::Aes256 => 32,
            Suite::Sm4 => 16,
        };
        let len = key_len + COMMITMENT;
        let mut input = [0u8; 4 + LABEL + 1 + SALT + 4];
        input[4..4 + LABEL].copy_from_slice(label);
        input[5 + LABEL..5 + LABEL + SALT].copy_from_slice(salt);
        input[5 + LABEL + SALT..].copy_from_slice(&(len as u32 * 8).to_be_bytes());
        let mut bytes = Zeroizing::new([0; MAX_OUT]);
        self.counter_mode(&mut input, &mut bytes[..len])?;
        Ok(Derived { bytes, key_len })
    }

    /// Counter mode over `input`, whose first four bytes are the place of the counter.
    fn counter_mode(&self, input: &mut [u8], out: &mut [u8]) -> Result<(), CryptoError> {
        for (counter, part) in (1u32..).zip(out.chunks_mut(32)) {
            input[..4].copy_from_slice(&counter.to_be_bytes());
            let mut block = Zeroizing::new([0; 32]);
            match self {
                Prf::Sha256(key) => {
                    sha::sign_to_buffer(key, input, &mut block[..])
                        .map_err(|_| CryptoError::Unavailable("HMAC-SHA-256"))?;
                }
                Prf::Sm3(state) => {
                    let mut mac = Hmac::clone(state);
                    mac.update(input);
                    let tag = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
                    block.copy_from_slice(&tag[..]);
                }
            }
            part.copy_from_slice(&block[..part.len()]);
        }
        Ok(())
    }
}

impl Derived {
    /// The one-time key of the AEAD.
    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len]
    }

    /// The public commitment to the key.
    pub(crate) fn commitment(&self) -> &[u8] {
        &self.bytes[self.key_len..self.key_len + COMMITMENT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    fn counter_mode(suite: Suite, key: &[u8], fixed: &[u8], len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        let mut input = [&[0; 4], fixed].concat();
        Prf::new(suite, key).unwrap().counter_mode(&mut input, &mut out).unwrap();
        out
    }

    /// NIST CAVP, KDF in counter mode, `KDFCTR_gen.rsp` (CAVS 14.4), PRF=HMAC_SHA256,
    /// CTRLOCATION=BEFORE_FIXED, RLEN=32_BITS, COUNT 0, 10, 20 and 30: key, fixed input, output.
    const NIST: &[[&str; 3]] = &[
        [
            "dd1d91b7d90b2bd3138533ce92b272fbf8a369316aefe242e659cc0ae238afe0",
            "01322b96b30acd197979444e468e1c5c6859bf1b1cf951b7e725303e237e\
             46b864a145fab25e517b08f8683d0315bb2911d80a0e8aba17f3b413faac",
            "10621342bfb0fd40046c0e29f2cfdbf0",
        ],
        [
            "e204d6d466aad507ffaf6d6dab0a5b26152c9e21e764370464e360c8fbc765c6",
            "7b03b98d9f94b899e591f3ef264b71b193fba7043c7e953cde23bc5384bc\
             1a6293580115fae3495fd845dadbd02bd6455cf48d0f62b33e62364a3a80",
            "770dfab6a6a4a4bee0257ff335213f78d8287b4fd537d5c1fffa956910e7c779",
        ],
        [
            "dc60338d884eecb72975c603c27b360605011756c697c4fc388f5176ef81efb1",
            "44d7aa08feba26093c14979c122c2437c3117b63b78841cd10a4bc5ed55c\
             56586ad8986d55307dca1d198edcffbc516a8fbe6152aa428cdd800c062d",
            "29ac07dccf1f28d506cd623e6e3fc2fa255bd60b",
        ],
        [
            "c4bedbddb66493e7c7259a3bbbc25f8c7e0ca7fe284d92d431d9cd99a0d214ac",
            "1c69c54766791e315c2cc5c47ecd3ffab87d0d273dd920e70955814c220e\
             acace6a5946542da3dfe24ff626b4897898cafb7db83bdff3c14fa46fd4b",
            "1da47638d6c9c4d04d74d4640bbd42ab814d9e8cc22f4326695239f96b0693f12d0dd1152cf44430",
        ],
    ];

    #[test]
    fn nist_counter_mode_vectors() {
        for [key, fixed, out] in NIST {
            let out = hex(out);
            assert_eq!(counter_mode(Suite::Aes256, &hex(key), &hex(fixed), out.len()), out);
        }
    }

    #[test]
    fn hmac_sm3_counter_mode_is_hmac_of_counter_and_input() {
        // Counter mode over HMAC-SM3 is two plain HMACs of counter and input.
        let (key, fixed) = (b"key of sixteen b", b"fixed input");
        let mac = |n: u8| {
            let mut m = Hmac::<Sm3>::new_from_slice(key).unwrap();
            m.update(&[0, 0, 0, n]);
            m.update(fixed);
            m.finalize().into_bytes().to_vec()
        };
        assert_eq!(counter_mode(Suite::Sm4, key, fixed, 48), [&mac(1)[..], &mac(2)[..16]].concat());
    }

    #[test]
    fn sm3_standard_examples() {
        // GB/T 32905-2016, A.1 and A.2.
        use sm3::Digest;
        assert_eq!(
            HEXLOWER.encode(&Sm3::digest(b"abc")),
            "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
        );
        assert_eq!(
            HEXLOWER.encode(&Sm3::digest(b"abcd".repeat(16))),
            "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"
        );
    }

    #[test]
    fn the_inner_hash_takes_one_block() {
        // 55 bytes and nine of padding.
        assert_eq!(4 + LABEL + 1 + SALT + 4 + 9, 64);
    }
}
