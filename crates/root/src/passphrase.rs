//! A passphrase, stretched by Argon2id (RFC 9106).

use crate::{
    error::RootError,
    seal::{SEAL_KEY_BYTES, SoftSeal, soft_seal},
};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use jadeseal_types::SecretBytes;
use zeroize::Zeroize;

/// Seal with a key derived from a passphrase. The derivation runs once, when the seal is made.
pub struct PassphraseSeal(SoftSeal);

soft_seal!(PassphraseSeal);

const KIND: &str = "passphrase";
/// Shortest passphrase, bytes.
const MIN_PASSPHRASE: usize = 12;
/// Longest passphrase, bytes.
const MAX_PASSPHRASE: usize = 1024;

/// Cost of one derivation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Cost {
    /// Second recommended option of RFC 9106 section 4: 64 MiB, three passes, four lanes.
    pub const DEFAULT: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 4 };
    /// Bounds of what a stored slot may ask for: its row can be edited by whoever can write to the
    /// database, and must neither eat the memory nor stop a start for hours.
    const MEMORY_KIB: std::ops::RangeInclusive<u32> = 8 * 1024..=1024 * 1024;
    const PASSES: std::ops::RangeInclusive<u32> = 1..=16;
    const LANES: std::ops::RangeInclusive<u32> = 1..=16;

    fn check(self) -> Result<Self, RootError> {
        let fits = Self::MEMORY_KIB.contains(&self.memory_kib)
            && Self::PASSES.contains(&self.passes)
            && Self::LANES.contains(&self.lanes);
        if fits { Ok(self) } else { Err(RootError::Params("the Argon2id cost is out of bounds")) }
    }
}

/// Salt length, bytes (RFC 9106 section 4 recommends 128 bits).
const SALT_BYTES: usize = 16;
/// Format number, three costs, salt.
const PARAMS_BYTES: usize = 1 + 3 * 4 + SALT_BYTES;

impl PassphraseSeal {
    /// A new seal: fresh salt, default cost.
    pub fn create(passphrase: &SecretBytes) -> Result<Self, RootError> {
        Self::create_with_cost(passphrase, Cost::DEFAULT)
    }

    /// A new seal with a chosen cost: 8 MiB to 1 GiB, 1 to 16 passes, 1 to 16 lanes.
    pub fn create_with_cost(passphrase: &SecretBytes, cost: Cost) -> Result<Self, RootError> {
        let mut salt = [0; SALT_BYTES];
        jadeseal_crypto::random::fill(&mut salt).map_err(|_| RootError::Crypto("no random bytes for a salt"))?;
        Self::derive(passphrase, cost, salt)
    }

    /// The seal of an existing slot, from its stored parameters.
    pub fn from_params(passphrase: &SecretBytes, params: &[u8]) -> Result<Self, RootError> {
        let (cost, salt) = decode(params)?;
        Self::derive(passphrase, cost, salt)
    }

    fn derive(passphrase: &SecretBytes, cost: Cost, salt: [u8; SALT_BYTES]) -> Result<Self, RootError> {
        let cost = cost.check()?;
        let passphrase = check_passphrase(passphrase)?;
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(SEAL_KEY_BYTES))
            .map_err(|_| RootError::Params("the Argon2id cost is not valid"))?;
        let mut memory = Vec::new();
        let blocks = params.block_count();
        memory
            .try_reserve_exact(blocks)
            .map_err(|_| RootError::Crypto("not enough memory to derive a key from the passphrase"))?;
        memory.resize(blocks, Block::new());
        let mut key = SecretBytes::zeroed(SEAL_KEY_BYTES);
        let derived = Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into_with_memory(
            passphrase,
            &salt,
            key.expose_mut(),
            &mut memory,
        );
        memory.iter_mut().for_each(Zeroize::zeroize);
        derived.map_err(|_| RootError::Crypto("deriving a key from the passphrase failed"))?;
        Ok(PassphraseSeal(SoftSeal::new(KIND, encode(cost, &salt), &key)?))
    }
}

/// The passphrase without a line end, which editors and `echo` add.
fn check_passphrase(passphrase: &SecretBytes) -> Result<&[u8], RootError> {
    let bytes = passphrase.expose();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    match bytes.len() {
        MIN_PASSPHRASE..=MAX_PASSPHRASE => Ok(bytes),
        0..MIN_PASSPHRASE => Err(RootError::malformed("passphrase", "must have at least 12 bytes")),
        _ => Err(RootError::malformed("passphrase", "must have at most 1024 bytes")),
    }
}

fn encode(cost: Cost, salt: &[u8; SALT_BYTES]) -> Vec<u8> {
    let mut out = Vec::with_capacity(PARAMS_BYTES);
    out.push(1);
    for n in [cost.memory_kib, cost.passes, cost.lanes] {
        out.extend_from_slice(&n.to_be_bytes());
    }
    out.extend_from_slice(salt);
    out
}

fn decode(params: &[u8]) -> Result<(Cost, [u8; SALT_BYTES]), RootError> {
    let malformed = RootError::Params("not Argon2id parameters, or of a newer version");
    let Ok(&[1, ref rest @ ..]) = <&[u8; PARAMS_BYTES]>::try_from(params) else { return Err(malformed) };
    let (numbers, salt) = rest.split_at(3 * 4);
    let number = |i: usize| {
        let bytes = numbers.get(4 * i..4 * i + 4).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    };
    let cost = Cost { memory_kib: number(0), passes: number(1), lanes: number(2) }.check()?;
    Ok((cost, salt.try_into().map_err(|_| malformed)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Seal;
    use jadeseal_types::Suite;

    const CHEAP: Cost = Cost { memory_kib: 8 * 1024, passes: 1, lanes: 1 };

    fn secret(text: &str) -> SecretBytes {
        SecretBytes::copy_from(text.as_bytes())
    }

    #[test]
    fn the_same_passphrase_and_parameters_give_the_same_seal() {
        let seal = PassphraseSeal::create_with_cost(&secret("correct horse"), CHEAP).unwrap();
        let sealed = seal.seal(Suite::Aes256, b"place", &secret("hello")).unwrap();
        let again = PassphraseSeal::from_params(&secret("correct horse\n"), &seal.params()).unwrap();
        assert!(again.open(b"place", &sealed).unwrap().ct_eq(b"hello"));
        assert_eq!((again.kind(), again.params()), ("passphrase", seal.params()));
        let wrong = PassphraseSeal::from_params(&secret("correct Horse"), &seal.params()).unwrap();
        assert!(matches!(wrong.open(b"place", &sealed), Err(RootError::DoesNotOpen)));
        let salted = PassphraseSeal::create_with_cost(&secret("correct horse"), CHEAP).unwrap();
        assert_ne!(salted.params(), seal.params());
        assert!(matches!(salted.open(b"place", &sealed), Err(RootError::DoesNotOpen)));
    }

    #[test]
    fn the_default_is_the_second_recommended_option() {
        let seal = PassphraseSeal::create(&secret("correct horse")).unwrap();
        assert_eq!(seal.params()[..13], [1, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4]);
        assert_eq!(seal.params().len(), PARAMS_BYTES);
    }

    #[test]
    fn short_and_endless_passphrases_are_refused() {
        for bad in ["", "\n", "12345678901", "12345678901\n", "12345678901\r\n", &"x".repeat(1025)] {
            let made = PassphraseSeal::create_with_cost(&secret(bad), CHEAP);
            assert!(matches!(made, Err(RootError::Malformed { .. })), "{}", bad.len());
        }
        PassphraseSeal::create_with_cost(&secret("123456789012"), CHEAP).unwrap();
    }

    #[test]
    fn hostile_parameters_cost_nothing() {
        let good = encode(CHEAP, &[7; SALT_BYTES]);
        let hostile = |cost: Cost| encode(cost, &[7; SALT_BYTES]);
        let mut bad = vec![
            Vec::new(),
            good[..good.len() - 1].to_vec(),
            [&good[..], &[0]].concat(),
            [&[2], &good[1..]].concat(),
            hostile(Cost { memory_kib: u32::MAX, ..CHEAP }),
            hostile(Cost { memory_kib: 1024 * 1024 + 1, ..CHEAP }),
            hostile(Cost { memory_kib: 8, ..CHEAP }),
            hostile(Cost { passes: u32::MAX, ..CHEAP }),
            hostile(Cost { passes: 0, ..CHEAP }),
            hostile(Cost { lanes: u32::MAX, ..CHEAP }),
            hostile(Cost { lanes: 0, ..CHEAP }),
        ];
        bad.push(vec![0xff; PARAMS_BYTES]);
        let start = std::time::Instant::now();
        for params in bad {
            let made = PassphraseSeal::from_params(&secret("correct horse"), &params);
            assert!(matches!(made, Err(RootError::Params(_))), "{params:?}");
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(1));
        assert!(PassphraseSeal::create_with_cost(&secret("correct horse"), Cost { passes: 17, ..CHEAP }).is_err());
    }
}
