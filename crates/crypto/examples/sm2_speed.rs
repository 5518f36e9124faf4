//! How long SM2 takes here and in the crate `sm2` alone, on one core:
//! `cargo run --release -p jadeseal-crypto --example sm2_speed`.
//!
//! Both are measured in turns, and the fastest turn counts: what else runs on the machine only ever
//! makes a turn slower.

use jadeseal_crypto::asymmetric::Input;
use jadeseal_crypto::{Sm2Key, random};
use sm2::dsa::signature::hazmat::{PrehashVerifier, RandomizedPrehashSigner};
use sm2::dsa::{Signature, SigningKey};
use sm2::elliptic_curve::rand_core::{TryCryptoRng, TryRng};
use sm2::pke::DecryptingKey;
use std::hint::black_box;
use std::time::Instant;

const TURNS: usize = 1000;
const CALLS: usize = 4;
const DISTID: &str = "1234567812345678";

/// The generator that our own calls use.
struct Rng;

impl TryRng for Rng {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        self.try_next_u64().map(|n| n as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes).map(|()| u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        random::fill(out).expect("random bytes");
        Ok(())
    }
}

impl TryCryptoRng for Rng {}

fn turn(call: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    (0..CALLS).for_each(|_| call());
    start.elapsed().as_secs_f64() * 1e6 / CALLS as f64
}

fn compare(name: &str, mut ours: impl FnMut(), mut raw: impl FnMut()) {
    let (mut best_ours, mut best_raw) = (f64::MAX, f64::MAX);
    for _ in 0..TURNS {
        best_ours = best_ours.min(turn(&mut ours));
        best_raw = best_raw.min(turn(&mut raw));
    }
    println!("{name:<16} {best_ours:8.1} µs   raw {best_raw:8.1} µs   rate {:5.2}", best_raw / best_ours);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = Sm2Key::generate()?;
    let scalar = key.to_scalar();
    let signer = SigningKey::from_slice(DISTID, scalar.expose())?;
    let decrypter = DecryptingKey::from_slice(scalar.expose()).map_err(|_| "key")?;
    let (e, message) = ([7u8; 32], [9u8; 32]);
    let signature = key.sign(Input::Digest(&e))?;
    let (der, raw) = (signature.to_der(), Signature::from_slice(&signature.to_raw())?);
    let sealed = key.public().encrypt_asn1(&message)?;

    compare(
        "key generation",
        || drop(black_box(Sm2Key::generate())),
        || {
            let mut scalar = [0; 32];
            random::fill(&mut scalar).expect("random bytes");
            let _ = black_box(SigningKey::from_slice(DISTID, &scalar));
        },
    );
    compare(
        "sign a digest",
        || {
            let _ = black_box(key.sign(Input::Digest(black_box(&e))));
        },
        || {
            let made: Result<Signature, _> = signer.sign_prehash_with_rng(&mut Rng, black_box(&e));
            let _ = black_box(made);
        },
    );
    compare(
        "verify a digest",
        || assert_eq!(key.verify(Input::Digest(&e), black_box(&der)), Ok(true)),
        || assert!(signer.verifying_key().verify_prehash(&e, black_box(&raw)).is_ok()),
    );
    compare(
        "encrypt 32 bytes",
        || drop(black_box(key.public().encrypt_asn1(black_box(&message)))),
        || drop(black_box(decrypter.encrypting_key().encrypt_der(&mut Rng, black_box(&message)))),
    );
    compare(
        "decrypt 32 bytes",
        || drop(black_box(key.decrypt(black_box(&sealed)))),
        || drop(black_box(decrypter.decrypt_der(black_box(&sealed)))),
    );
    Ok(())
}
