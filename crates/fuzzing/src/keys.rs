//! Fixed keys, so that a finding can be repeated: the seeds of the target `private_key`, which nobody uses.
use jadeseal_crypto::PrivateKey;
use jadeseal_types::{KeyUsage, SecretBytes};
use std::sync::LazyLock;

/// The usages that a first byte of an input stands for.
pub const USAGES: [KeyUsage; 8] = [
    KeyUsage::DecryptRsa2048,
    KeyUsage::SignP256,
    KeyUsage::SignP384,
    KeyUsage::SignSm2,
    KeyUsage::DecryptKyber,
    KeyUsage::SignDilithium,
    KeyUsage::SignRsa2048,
    KeyUsage::DecryptSm2,
];

macro_rules! seeds {
    ($($name:literal),+) => { [$(include_bytes!(concat!("../../../fuzz/seeds/private_key/", $name)).as_slice()),+] };
}

/// Each a byte for a usage and the key's material, in the order of the usages.
const SEEDS: [&[u8]; USAGES.len()] = seeds!["rsa", "p256", "p384", "sm2", "mlkem", "mldsa", "rsa", "sm2"];

static KEYS: LazyLock<[PrivateKey; USAGES.len()]> = LazyLock::new(|| {
    std::array::from_fn(|n| {
        PrivateKey::open(USAGES[n], &SecretBytes::copy_from(&SEEDS[n][1..])).expect("a seed is a key")
    })
});

/// The key of a usage.
pub fn key(usage: KeyUsage) -> &'static PrivateKey {
    KEYS.iter().find(|key| key.usage() == usage).expect("a key of each usage")
}
