//! Each fuzz target in small: its seeds, and bytes grown from them by a fixed pseudo-random sequence, for a
//! few seconds. A failure prints the input.

use jadeseal_fuzzing::{Body, TARGETS};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

/// Time for one target.
const TIME: Duration = Duration::from_secs(3);

/// SplitMix64: enough to spread changes over an input, the same on every run.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let files = fs::read_dir(dir).into_iter().flatten();
    let mut seeds: Vec<_> = files.map(|f| fs::read(f.unwrap().path()).unwrap()).collect();
    seeds.push(Vec::new());
    seeds.push(vec![0; 64]);
    seeds
}

/// Flips, cuts, repeats or inserts.
fn change(input: &mut Vec<u8>, random: &mut Sequence) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(input.len() + 1);
        match random.below(5) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.next() as u8,
            2 => input.truncate(at),
            3 if input.len() < 4096 => {
                let piece = input[at..].to_vec();
                input.extend(piece);
            }
            _ => input.insert(at, random.next() as u8),
        }
    }
}

fn smoke(target: &str, body: Body) {
    let seeds = seeds(target);
    let mut random = Sequence(1);
    let end = Instant::now() + TIME;
    let mut runs = 0u64;
    while runs < seeds.len() as u64 || Instant::now() < end {
        let mut input = seeds[usize::try_from(runs).unwrap() % seeds.len()].clone();
        if runs >= seeds.len() as u64 {
            for _ in 0..random.below(8) {
                change(&mut input, &mut random);
            }
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| body(&input)));
        assert!(outcome.is_ok(), "{target} failed on {input:?}");
        runs += 1;
    }
    println!("{target}: {runs} inputs");
}

macro_rules! targets {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            let (name, body) = TARGETS.iter().find(|(name, _)| *name == stringify!($name)).unwrap();
            smoke(name, *body);
        })+

        #[test]
        fn every_target_is_here() {
            let here = [$(stringify!($name)),+];
            assert_eq!(TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), here);
            let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
            assert_eq!(fs::read_dir(files).unwrap().count(), here.len());
        }
    };
}

targets!(
    asymmetric_ciphertext,
    audit_follow,
    audit_index,
    audit_proof,
    audit_recovery,
    authorization,
    backup_archive,
    blob,
    client_certificate,
    config,
    context,
    export_cursor,
    export_headers,
    form,
    forwarded,
    http_request,
    json,
    key_material,
    policy,
    private_key,
    proxy_header,
    recipient,
    root_share,
    signature,
    sm2,
    traceparent,
    wrap,
);
