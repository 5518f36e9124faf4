//! Rate limits of accounts, by GCRA: one number for each limit, no lock, no look-up.
//!
//! The time of a limit runs in units of its own, so that a rate that does not divide a second leaves no remainder: `rate` units
//! are a second's worth of requests for this node, each times [`UNIT`] for precision between two of them. A request costs the
//! number of nodes that share the rate. An unused second is saved up, and no more.

use crate::quotas::Figures;
use jadeseal_types::{ApiError, ErrorCode, error::Result};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Precision: parts of a request in which time is counted.
const UNIT: u64 = 1024;

/// One limit.
struct Limit {
    /// Requests per second of all nodes; 0 = no limit.
    rate: u32,
    /// When everything admitted so far would have come at the even pace, in units since the clock's beginning.
    due: AtomicU64,
}

/// A request that a limit has let in.
struct Taken {
    before: u64,
    after: u64,
}

impl Limit {
    fn new(rate: Option<u32>) -> Self {
        Limit { rate: rate.unwrap_or(0), due: AtomicU64::new(0) }
    }

    /// A moment in this limit's units, rounded down. Every moment is converted by itself, so that nothing adds up. At the
    /// largest rate the fraction takes 60 bits, and 500 years fit into the whole.
    fn moment(&self, now: Duration) -> u64 {
        let per_second = u64::from(self.rate) * UNIT;
        now.as_secs() * per_second + u64::from(now.subsec_nanos()) * per_second / 1_000_000_000
    }

    /// What `due` is after one more request, or `None` where that is too many.
    fn next(&self, due: u64, now: u64, nodes: u32) -> Option<u64> {
        let cost = UNIT * u64::from(nodes);
        // One request gets through in any case, or a rate smaller than the number of nodes would admit none.
        let burst = (u64::from(self.rate) * UNIT).max(cost);
        let next = due.max(now) + cost;
        (next - now <= burst).then_some(next)
    }

    /// Whether a request would be let in.
    fn open(&self, now: Duration, nodes: u32) -> bool {
        self.rate == 0 || self.next(self.due.load(Ordering::Relaxed), self.moment(now), nodes).is_some()
    }

    /// Lets a request in and counts it, or does neither. A limit orders nothing but itself, so its accesses are relaxed.
    fn take(&self, now: Duration, nodes: u32) -> Option<Taken> {
        if self.rate == 0 {
            return Some(Taken { before: 0, after: 0 });
        }
        let now = self.moment(now);
        let mut before = self.due.load(Ordering::Relaxed);
        loop {
            let after = self.next(before, now, nodes)?;
            match self.due.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(Taken { before, after }),
                Err(other) => before = other,
            }
        }
    }

    /// Takes a request back, unless another has come in meanwhile: then it stays counted, since what the other found
    /// depended on it.
    fn give_back(&self, taken: &Taken) {
        let _ = self.due.compare_exchange(taken.after, taken.before, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// The limits of one account.
pub struct Rates {
    actions: Box<[Limit]>,
    total: Limit,
    nodes: u32,
}

impl Rates {
    /// The limits of an account with these figures; `None` where nothing is limited. `actions` are the names in the order of
    /// the indexes that [`Rates::admit`] is called with. A node admits its share.
    pub fn new<'a>(figures: &Figures, actions: impl Iterator<Item = &'a str>, nodes: u32) -> Option<Self> {
        figures.any_rate().then(|| Rates {
            actions: actions.map(|name| Limit::new(figures.rate(name))).collect(),
            total: Limit::new(figures.total_rate),
            nodes,
        })
    }

    /// Counts a request of an action at a monotonic time, or refuses it and counts nothing.
    pub fn admit(&self, action: usize, name: &str, now: Duration) -> Result<()> {
        let Some(limit) = self.actions.get(action) else {
            return Err(ApiError::internal(format!("action {name} has no place among the rates")));
        };
        // Looked at first, so that a request which the one refuses takes nothing from the other. Where both would refuse, the
        // action's code it is: some SDKs retry no other.
        if !limit.open(now, self.nodes) {
            return Err(over_action(name, limit.rate));
        }
        if !self.total.open(now, self.nodes) {
            return Err(over_total(self.total.rate));
        }
        let Some(taken) = limit.take(now, self.nodes) else { return Err(over_action(name, limit.rate)) };
        if self.total.take(now, self.nodes).is_none() {
            limit.give_back(&taken);
            return Err(over_total(self.total.rate));
        }
        Ok(())
    }
}

fn over_action(name: &str, rate: u32) -> ApiError {
    ApiError::with_text(
        ErrorCode::RequestLimitExceeded,
        format!("The account may call {name} {rate} times per second; slow down."),
        format!("账号调用 {name} 的频率上限为每秒 {rate} 次，请降低频率。"),
    )
}

fn over_total(rate: u32) -> ApiError {
    ApiError::with_text(
        ErrorCode::UinLimitExceeded,
        format!("The account may make {rate} requests per second; slow down."),
        format!("账号的请求频率上限为每秒 {rate} 次，请降低频率。"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::atomic::AtomicBool, time::Instant};

    const SECOND: Duration = Duration::from_secs(1);

    fn rates(total: Option<u32>, list: &[(&str, u32)], nodes: u32) -> Rates {
        let rates = list.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect();
        let figures = Figures { total_rate: total, rates, ..Figures::default() };
        Rates::new(&figures, ["A", "B"].into_iter(), nodes).unwrap()
    }

    fn code(result: Result<()>) -> Option<ErrorCode> {
        result.err().map(|e| e.code())
    }

    /// How many of `tries` requests are let in at once.
    fn admitted(limit: &Limit, now: Duration, tries: u64, nodes: u32) -> u64 {
        (0..tries).filter(|_| limit.take(now, nodes).is_some()).count() as u64
    }

    /// xorshift64*.
    fn roll(dice: &mut u64, sides: u64) -> u64 {
        *dice ^= *dice >> 12;
        *dice ^= *dice << 25;
        *dice ^= *dice >> 27;
        (dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 20) % sides
    }

    #[test]
    fn a_second_is_saved_up_and_no_more() {
        for rate in [1, 3, 7, 300, 999, 1_000_000] {
            let limit = Limit::new(Some(rate));
            let (rate, start) = (u64::from(rate), Duration::from_secs(1_000));
            assert_eq!(admitted(&limit, start, rate + 5, 1), rate);
            assert_eq!(admitted(&limit, start + SECOND, rate + 5, 1), rate);
            assert_eq!(admitted(&limit, start + 100 * SECOND, rate + 5, 1), rate);
        }
    }

    #[test]
    fn rates_that_do_not_divide_a_second_do_not_drift() {
        // A caller that keeps to the rate for a long time is never refused.
        for rate in [1u64, 3, 7, 11, 300, 999, 999_983, 1_000_000] {
            let limit = Limit::new(Some(rate as u32));
            let start = Duration::from_secs(86_400 * 365);
            for n in 0..3_000_000 {
                let nanos = (u128::from(n as u64) * 1_000_000_000).div_ceil(u128::from(rate));
                let now = start + Duration::from_nanos(nanos as u64);
                assert!(limit.take(now, 1).is_some(), "{rate}: the {n}th");
            }
        }
        // Asked often and at odd moments, each admits its rate to within the burst. (A rate of 1 saves no more than one
        // request up, so that what comes too early for it also comes late for the next.)
        for rate in [3u32, 7, 300, 1_000, 999_983, 1_000_000] {
            let limit = Limit::new(Some(rate));
            let seconds = (4_000_000 / u64::from(rate)).clamp(4, 20_000);
            // Between two tries less than the time of a request, and never a divisor of it.
            let step = (1_000_000_000 / u64::from(rate) / 3 * 2 + 1).max(7);
            let (mut now, mut count) = (Duration::from_secs(86_400 * 365), 0u64);
            let end = now + seconds as u32 * SECOND;
            while now < end {
                count += u64::from(limit.take(now, 1).is_some());
                now += Duration::from_nanos(step);
            }
            let (least, most) = (u64::from(rate) * seconds, u64::from(rate) * (seconds + 1));
            assert!((least..=most).contains(&count), "{rate}: {count} in {seconds} s");
        }
    }

    #[test]
    fn no_schedule_gets_more_than_rate_times_time_and_a_burst() {
        let mut dice = 0x9e37_79b9_7f4a_7c15u64;
        for round in 0..300 {
            let rate = 1 + roll(&mut dice, if round % 3 == 0 { 1_000_000 } else { 500 }) as u32;
            let nodes = 1 + roll(&mut dice, 4) as u32;
            let limit = Limit::new(Some(rate));
            let mut now = Duration::from_nanos(roll(&mut dice, 1 << 50));
            let mut log: Vec<Duration> = Vec::new();
            let even = 1_000_000_000 * u64::from(nodes) / u64::from(rate);
            for _ in 0..2_000 {
                now += match roll(&mut dice, 50) {
                    0 => Duration::from_nanos(roll(&mut dice, 3_000_000_000)),
                    n if n < 20 => Duration::ZERO,
                    _ => Duration::from_nanos(roll(&mut dice, 2 * even + 1)),
                };
                if limit.take(now, nodes).is_some() {
                    log.push(now);
                }
            }
            // Every window between two admitted requests, compared without rounding.
            let burst = u128::from(rate).max(u128::from(nodes));
            for (i, from) in log.iter().enumerate().step_by(37) {
                for (j, to) in log.iter().enumerate().skip(i) {
                    let count = (j - i + 1) as u128 * u128::from(nodes);
                    let flowed = u128::from(rate) * (*to - *from).as_nanos();
                    // One part of a request is the precision.
                    let most = flowed + burst * 1_000_000_000 + 1_000_000_000 / u128::from(UNIT) + 1;
                    assert!(
                        count * 1_000_000_000 <= most,
                        "rate {rate}, {nodes} nodes: {count} from {from:?} to {to:?}"
                    );
                }
            }
            assert!(log.len() > 1);
        }
    }

    #[test]
    fn threads_share_a_limit_exactly() {
        for rate in [1u32, 10, 5_000] {
            let limit = Limit::new(Some(rate));
            let (go, start) = (AtomicBool::new(false), Instant::now());
            let counts: Vec<u64> = std::thread::scope(|scope| {
                let work = || {
                    while !go.load(Ordering::Acquire) {
                        std::hint::spin_loop();
                    }
                    let mut count = 0;
                    while start.elapsed() < Duration::from_millis(400) {
                        count += u64::from(limit.take(start.elapsed(), 1).is_some());
                    }
                    count
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
                go.store(true, Ordering::Release);
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let most = f64::from(rate) * (1.0 + start.elapsed().as_secs_f64()) + 1.0;
            let count: u64 = counts.iter().sum();
            assert!(count >= u64::from(rate) && (count as f64) <= most, "{rate}: {counts:?}");
            // Standing still, with threads that all want the last ones.
            let limit = Limit::new(Some(rate));
            let sum: u64 = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| admitted(&limit, SECOND, 6_000, 1))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            assert_eq!(sum, u64::from(rate));
        }
    }

    #[test]
    fn nodes_share_a_rate() {
        let limits: Vec<_> = (0..4).map(|_| Limit::new(Some(100))).collect();
        let sum = |now| limits.iter().map(|limit| admitted(limit, now, 1_000, 4)).sum::<u64>();
        assert_eq!((sum(SECOND), sum(2 * SECOND)), (100, 100));
        // Fewer than the nodes: each lets one in, then all together keep the rate.
        let limits: Vec<_> = (0..4).map(|_| Limit::new(Some(1))).collect();
        let sum = |now| limits.iter().map(|limit| admitted(limit, now, 10, 4)).sum::<u64>();
        assert_eq!((sum(4 * SECOND), sum(5 * SECOND), sum(7 * SECOND), sum(8 * SECOND)), (4, 0, 0, 4));
    }

    #[test]
    fn what_is_refused_is_not_counted() {
        let rates = rates(Some(5), &[("A", 3), ("B", 4)], 1);
        let all = |at, action: usize, tries: usize| {
            let name = ["A", "B"][action];
            (0..tries).map(|_| code(rates.admit(action, name, Duration::from_secs(at)))).collect::<Vec<_>>()
        };
        let (action, total) = (Some(ErrorCode::RequestLimitExceeded), Some(ErrorCode::UinLimitExceeded));
        assert_eq!(all(10, 0, 6), [None, None, None, action, action, action]);
        // The three refusals took nothing from the total of five.
        assert_eq!(all(10, 1, 4), [None, None, total, total]);
        // Nor did those by the total from the action's four.
        assert_eq!(all(11, 1, 5), [None, None, None, None, action]);
        assert_eq!(all(11, 0, 2), [None, total]);
    }

    #[test]
    fn without_rates_there_is_nothing_to_ask() {
        assert!(Rates::new(&Figures::default(), ["A"].into_iter(), 1).is_none());
        let rates = rates(None, &[("B", 1)], 1);
        assert!((0..1_000).all(|_| rates.admit(0, "A", SECOND).is_ok()), "A has no limit");
        assert_eq!(code(rates.admit(7, "A", SECOND)), Some(ErrorCode::InternalError));
    }

    #[test]
    fn a_refusal_says_the_limit_in_both_languages() {
        use jadeseal_types::Lang;
        for e in [over_action("Encrypt", 321), over_total(321)] {
            assert!(e.message(Lang::En).contains("321") && e.message(Lang::Zh).contains("321"));
        }
    }

    #[test]
    #[ignore = "a measurement"]
    fn cost_of_a_check() {
        let n = 5_000_000u32;
        let time = |what: &str, mut check: Box<dyn FnMut(u32) -> bool>| {
            let start = Instant::now();
            let admitted = (0..n).filter(|i| check(*i)).count();
            println!("{what}: {} ns, {admitted} of {n} let in", start.elapsed().as_nanos() / u128::from(n));
        };
        let fresh = || rates(Some(1_000_000), &[("A", 1_000_000)], 1);
        let (one, other, start) = (fresh(), fresh(), Instant::now());
        time("let in", Box::new(move |i| one.admit(0, "A", SECOND + i * Duration::from_micros(1)).is_ok()));
        time("refused", Box::new(move |_| other.admit(0, "A", SECOND).is_ok()));
        time("reading the clock", Box::new(move |_| start.elapsed() < SECOND));
    }
}
