//! The measurement: classes in random order, cropped at several heights, compared pair by pair.

use jadeseal_crypto::random;
use std::time::Instant;

/// A difference beyond this |t| is a leak: dudect's bound for a test that failed.
pub const LIMIT: f64 = 10.0;

/// Shares of the fastest samples that are compared. The slowest are interruptions; how many of them must
/// go is not known beforehand, so several heights are looked at.
const KEEP: [f64; 5] = [0.5, 0.75, 0.9, 0.99, 1.0];

/// Samples a class; a smaller number may be asked for by the environment variable `TIMING_SAMPLES`.
pub fn samples(default: usize) -> usize {
    std::env::var("TIMING_SAMPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(default).max(100)
}

/// Times of one class, nanoseconds.
pub struct Class {
    pub name: &'static str,
    samples: Vec<f64>,
}

/// Measures `rounds` calls of each class in random order. `prepare(class)` makes the input outside of the
/// measured time, `run` is what is measured.
pub fn measure<I, O>(
    names: &[&'static str],
    rounds: usize,
    mut prepare: impl FnMut(usize) -> I,
    mut run: impl FnMut(&I) -> O,
) -> Vec<Class> {
    let mut classes = names.iter().map(|name| Class { name, samples: Vec::with_capacity(rounds) }).collect::<Vec<_>>();
    let mut order = Order::new();
    let warm_up = rounds / 100 + 10;
    for round in 0..rounds + warm_up {
        for class in order.shuffled(names.len()) {
            let input = prepare(class);
            let start = Instant::now();
            let out = std::hint::black_box(run(std::hint::black_box(&input)));
            let time = start.elapsed();
            drop(out);
            if round >= warm_up {
                classes[class].samples.push(time.as_nanos() as f64);
            }
        }
    }
    classes
}

/// Compares every pair of classes, prints the largest |t| of each and returns the largest of all.
pub fn compare(what: &str, classes: &[Class]) -> f64 {
    let mut all = classes.iter().flat_map(|c| c.samples.iter().copied()).collect::<Vec<_>>();
    all.sort_by(f64::total_cmp);
    let heights = KEEP.map(|share| all[((all.len() - 1) as f64 * share) as usize]);
    println!("{what}: {} samples a class, median {} ns", classes[0].samples.len(), all[all.len() / 2]);
    let mut worst = 0f64;
    for (i, a) in classes.iter().enumerate() {
        for b in &classes[i + 1..] {
            let t = heights.iter().map(|h| welch(&a.samples, &b.samples, *h)).fold(0f64, |x, t| x.max(t.abs()));
            println!("  |t| = {t:6.2}  {} / {}", a.name, b.name);
            worst = worst.max(t);
        }
    }
    worst
}

/// Welch's t of the samples up to a height.
fn welch(a: &[f64], b: &[f64], height: f64) -> f64 {
    let moments = |samples: &[f64]| {
        let kept = samples.iter().filter(|s| **s <= height);
        let (n, sum) = kept.clone().fold((0f64, 0f64), |(n, sum), s| (n + 1.0, sum + s));
        let mean = sum / n;
        let square = kept.fold(0f64, |sum, s| sum + (s - mean).powi(2));
        (n, mean, square / (n - 1.0))
    };
    let ((n, mean_a, var_a), (m, mean_b, var_b)) = (moments(a), moments(b));
    let spread = (var_a / n + var_b / m).sqrt();
    if spread > 0.0 { (mean_a - mean_b) / spread } else { 0.0 }
}

/// Random orders, drawn many at a time so that the generator does not run between two measurements.
struct Order(Vec<u8>);

impl Order {
    fn new() -> Self {
        Order(Vec::new())
    }

    fn below(&mut self, bound: usize) -> usize {
        if self.0.is_empty() {
            self.0 = random::secret(4096).unwrap().expose().to_vec();
        }
        usize::from(self.0.pop().unwrap()) % bound
    }

    fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut all = (0..count).collect::<Vec<_>>();
        for i in (1..count).rev() {
            all.swap(i, self.below(i + 1));
        }
        all
    }
}

/// A measurement that cannot see a leak proves nothing: here is one, of a comparison that stops early.
#[test]
#[ignore = "takes minutes; runs with the soaks"]
fn a_leak_is_seen() {
    let secret = [7u8; 256];
    let early = |guess: &[u8; 256]| guess.iter().zip(&secret).all(|(a, b)| std::hint::black_box(a) == b);
    let input = |class: usize| if class == 0 { [7; 256] } else { [0; 256] };
    let classes = measure(&["equal", "different"], 20_000, input, early);
    assert!(compare("comparison that stops early", &classes) > LIMIT);
}

/// … and one that sees leaks where there are none would prove as little.
#[test]
#[ignore = "takes minutes; runs with the soaks"]
fn no_leak_is_seen_between_equals() {
    let sum = |input: &[u8; 256]| input.iter().fold(0u32, |sum, b| sum + u32::from(std::hint::black_box(*b)));
    let classes = measure(&["one", "other"], 20_000, |_| [7; 256], sum);
    assert!(compare("the same input twice", &classes) < LIMIT);
}
