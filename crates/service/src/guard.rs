//! Slows down whoever keeps presenting credentials that are wrong.
//!
//! Guessing a signature is hopeless anyway; this keeps those who try from filling the audit log and from trying long lists of
//! stolen access keys in a hurry. Only answers that are refusals wait, so others behind the same address lose nothing.

use hashbrown::HashMap;
use jadeseal_types::ErrorCode;
use parking_lot::Mutex;
use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// Failures that are answered at once.
const FREE: f64 = 20.0;
/// Failures that are forgotten in a second.
const FORGOTTEN: f64 = 0.5;
/// How much longer each further failure waits.
const STEP: Duration = Duration::from_millis(50);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(2);
/// Sources that are remembered.
const SOURCES: usize = 65_536;
/// Answers that wait at the same time. Further ones are sent at once: a wait holds a connection.
const WAITING: usize = 2_000;
/// Sources looked at for one to forget, when there are too many.
const SAMPLE: usize = 8;

/// What is remembered of a source.
#[derive(Clone, Copy)]
struct Level {
    failures: f64,
    at: Duration,
}

impl Level {
    fn now(self, now: Duration) -> f64 {
        (self.failures - now.saturating_sub(self.at).as_secs_f64() * FORGOTTEN).max(0.0)
    }
}

/// The sources of wrong credentials.
#[derive(Default)]
pub struct Guard {
    sources: Mutex<HashMap<IpAddr, Level>>,
    waiting: AtomicUsize,
}

/// Whether an answer says that the credentials were wrong.
pub fn is_wrong(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::SecretIdNotFound
            | ErrorCode::SignatureFailure
            | ErrorCode::TokenFailure
            | ErrorCode::InvalidAuthorization
            | ErrorCode::InvalidSecretId
    )
}

/// An address as one who can choose among many has it: an IPv6 network of 64 bits is one source.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

impl Guard {
    /// Counts a failure of a source at a monotonic time; how long its answer is to wait.
    pub fn failed(&self, source: IpAddr, now: Duration) -> Duration {
        let source = network(source);
        let mut sources = self.sources.lock();
        let failures = sources.get(&source).map_or(0.0, |level| level.now(now)) + 1.0;
        // What is over the longest wait counts no further: who stops is forgiven within a minute or two.
        let failures = failures.min(FREE + LONGEST.as_secs_f64() / STEP.as_secs_f64());
        if sources.len() >= SOURCES && !sources.contains_key(&source) {
            // The map's order is as good as random: of a few, the one that has done least.
            let victim = sources.iter().take(SAMPLE).min_by(|a, b| a.1.now(now).total_cmp(&b.1.now(now)));
            let victim = victim.map(|(source, _)| *source);
            victim.and_then(|source| sources.remove(&source));
        }
        sources.insert(source, Level { failures, at: now });
        STEP.mul_f64((failures - FREE).max(0.0)).min(LONGEST)
    }

    /// Waits, unless too many do. True when it has.
    pub async fn wait(&self, time: Duration) -> bool {
        if time.is_zero() {
            return false;
        }
        let _place = Place(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= WAITING {
            return false;
        }
        tokio::time::sleep(time).await;
        true
    }

    /// Number of remembered sources.
    pub fn sources(&self) -> usize {
        self.sources.lock().len()
    }
}

/// Gives its place back, also when the caller hangs up.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_source_is_slowed_and_forgiven() {
        let (guard, source) = (Guard::default(), IpAddr::from([192, 0, 2, 1]));
        let waits: Vec<Duration> = (0..100).map(|_| guard.failed(source, at(1))).collect();
        assert!(waits[..20].iter().all(Duration::is_zero));
        assert!(waits.is_sorted() && waits[20] > Duration::ZERO && waits[99] == LONGEST);
        assert!(guard.failed([192, 0, 2, 2].into(), at(1)).is_zero(), "another source");
        assert!(guard.failed(source, at(11)) < LONGEST);
        assert!(guard.failed(source, at(200)).is_zero());
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let guard = Guard::default();
        for n in 0..30u16 {
            guard.failed(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, n, n, n, n).into(), at(1));
        }
        assert_eq!(guard.sources(), 1);
        guard.failed("::ffff:192.0.2.1".parse().unwrap(), at(1));
        guard.failed("192.0.2.1".parse().unwrap(), at(1));
        assert_eq!(guard.sources(), 2);
    }

    #[test]
    fn no_more_sources_are_remembered_than_there_is_room_for() {
        let guard = Guard::default();
        let worst = IpAddr::from([198, 51, 100, 1]);
        for n in 0..(SOURCES as u32 + 1000) {
            if n % 500 == 0 {
                (0..100).for_each(|_| _ = guard.failed(worst, at(1)));
            }
            guard.failed(std::net::Ipv4Addr::from(n).into(), at(1));
        }
        assert_eq!(guard.sources(), SOURCES);
        assert!(!guard.failed(worst, at(1)).is_zero(), "who does most is not forgotten for the others");
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let guard = Guard::default();
        assert!(!guard.wait(Duration::ZERO).await);
        assert!(guard.wait(Duration::from_millis(1)).await);
        guard.waiting.store(WAITING, Ordering::Release);
        assert!(!guard.wait(at(1)).await);
        assert_eq!(guard.waiting.load(Ordering::Acquire), WAITING);
    }
}
