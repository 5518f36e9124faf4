//! Whether the time of SM2's private operations depends on what is secret: Welch's t-test between two
//! classes of inputs, as in dudect ("Dude, is my code constant time?", Reparaz, Balasch, Verbauwhede 2017).
//!
//! `cargo test --release -p jadeseal-crypto --test timing_sm2 -- --ignored --nocapture`, about two minutes
//! on a machine that is otherwise idle.

use jadeseal_crypto::asymmetric::Input;
use jadeseal_crypto::{Sm2Key, random};
use std::hint::black_box;
use std::time::Instant;

/// Measurements of both classes together.
const SAMPLES: usize = 200_000;
/// The same for decryption, which takes three times as long.
const SAMPLES_DECRYPT: usize = 100_000;
/// Inputs at a time, as many as a byte counts, and measurements with them before new ones are made. With
/// the same inputs throughout, their places in memory and the lengths of their numbers would count as a difference
/// of the classes.
const POOL: usize = 256;
const ROUND: usize = 1024;
/// dudect's bound for "definitely not constant time".
const LIMIT: f64 = 10.0;

fn bytes<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    random::fill(&mut out).unwrap();
    out
}

fn key() -> Sm2Key {
    Sm2Key::generate().unwrap()
}

/// The largest |t| over crops of the slowest measurements, in which interrupts are, between inputs made
/// with false and with true. Chance decides which class an input belongs to, so that neither lies in
/// better places of the memory: places alone make a difference of nanoseconds.
fn largest_t<T>(samples: usize, make: impl Fn(bool) -> T, run: impl Fn(&T)) -> f64 {
    let mut times = [Vec::with_capacity(samples), Vec::with_capacity(samples)];
    for round in 0..=samples / ROUND {
        let pool: [(bool, T); POOL] = std::array::from_fn(|_| {
            let class = bytes::<1>()[0] & 1 == 1;
            (class, make(class))
        });
        for _ in 0..ROUND {
            let (class, input) = &pool[usize::from(bytes::<1>()[0])];
            let start = Instant::now();
            run(black_box(input));
            let time = start.elapsed().as_nanos() as f64;
            // The first round warms up.
            if round > 0 {
                times[usize::from(*class)].push(time);
            }
        }
    }
    let mut all = times.concat();
    all.sort_by(f64::total_cmp);
    let crops = [0.5, 0.75, 0.9, 0.95, 0.99];
    crops.iter().map(|part| welch(&times, all[(all.len() as f64 * part) as usize]).abs()).fold(0.0, f64::max)
}

/// Welch's t of the measurements below the bound.
fn welch(times: &[Vec<f64>; 2], bound: f64) -> f64 {
    let [(mean_a, error_a), (mean_b, error_b)] = times.each_ref().map(|times| {
        let kept: Vec<f64> = times.iter().copied().filter(|t| *t <= bound).collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (mean_a - mean_b) / (error_a + error_b).sqrt()
}

fn sealed(key: &Sm2Key) -> Vec<u8> {
    key.public().encrypt_asn1(&bytes::<32>()).unwrap()
}

/// A ciphertext with one bit changed, counted in bytes from its end: C2 takes 32, before it C3 ends at 34.
fn changed(key: &Sm2Key, from_end: usize) -> Vec<u8> {
    let mut out = sealed(key);
    let at = out.len() - from_end;
    out[at] ^= 0x10;
    out
}

fn decrypt(key: &Sm2Key, ciphertext: &[u8]) {
    // The plaintext is wiped within the measurement, as it is on failure.
    drop(black_box(key.decrypt(black_box(ciphertext))));
}

#[test]
#[ignore = "takes two minutes and an idle machine"]
fn time_does_not_depend_on_secrets() {
    let one = key();
    let scalar = one.to_scalar();
    // Equal work for both classes, so that their memory looks alike.
    let one_or_random = |random| {
        let fresh = random::secret(32).unwrap();
        Sm2Key::from_scalar(if random { fresh.expose() } else { scalar.expose() }).unwrap()
    };
    let mut worst = Vec::new();
    let mut report = |name: &'static str, t: f64| {
        println!("{name:<44} |t| = {t:.2}");
        worst.push((name, t));
    };
    let sign = |(key, e): &(Sm2Key, [u8; 32])| {
        let _ = black_box(key.sign(Input::Digest(e)));
    };

    // The measurement itself: one more block to hash is seen, no difference is none.
    let control = largest_t(
        SAMPLES / 10,
        |longer| (one_or_random(false), vec![1u8; if longer { 80 } else { 16 }]),
        |(key, message)| {
            let _ = black_box(key.sign(Input::Message(message)));
        },
    );
    println!("{:<44} |t| = {control:.2}", "control: a longer message");
    assert!(control > LIMIT);
    report("control: random keys and digests twice", largest_t(SAMPLES, |_| (one_or_random(true), bytes()), sign));

    report(
        "sign: one key and digest, random ones",
        largest_t(SAMPLES, |random| (one_or_random(random), if random { bytes() } else { [7; 32] }), sign),
    );
    report(
        "decrypt: one key, random keys",
        largest_t(
            SAMPLES_DECRYPT,
            |random| {
                let key = one_or_random(random);
                (sealed(&key), key)
            },
            |(text, key)| decrypt(key, text),
        ),
    );
    let mut compare = |name, left: &dyn Fn() -> Vec<u8>, right: &dyn Fn() -> Vec<u8>| {
        let make = |second| if second { right() } else { left() };
        report(name, largest_t(SAMPLES_DECRYPT, make, |text| decrypt(&one, text)));
    };
    compare("decrypt: valid, C2 changed", &|| sealed(&one), &|| changed(&one, 1));
    compare("decrypt: valid, C3 changed in its last byte", &|| sealed(&one), &|| changed(&one, 35));
    compare("decrypt: C3 changed in its first, last byte", &|| changed(&one, 66), &|| changed(&one, 35));
    compare("decrypt: C3 changed, another key's ciphertext", &|| changed(&one, 50), &|| sealed(&key()));

    for (name, t) in worst {
        assert!(t < LIMIT, "{name}: {t}");
    }
}
