//! Slows down whoever keeps sending what is refused before it is known who sent it: wrong credentials above all, expired
//! signatures, actions that do not exist, requests that cannot be read.
//!
//! Guessing a signature is hopeless anyway; this keeps those who try from filling the audit log and from trying long lists of
//! stolen access keys in a hurry. Each refusal raises the level of its source, and time lowers it. Past [`FREE`] refusals
//! answers wait, longer and longer. At [`TOP`] they wait as long as they ever do, and two more things hold:
//!
//! * One record a second stands for all refusals of the source. The others are counted, and told in a line of the log.
//! * SecretIds and tokens that are not in memory are looked for only [`LOOK_UPS`] at a time; who comes in between is refused
//!   before that, without a look at his signature.
//!
//! A source can be many: callers behind one address. A right request whose access key is in memory is answered as ever,
//! whatever others behind its address do. One whose access key is not (of a caller who is new, or of whose account something
//! has just changed) has to come when no other look-up of its source goes on: while a flood from there lasts it may be told
//! `RequestLimitExceeded` and have to try again. That is the price for a flood that costs the store next to nothing. And a wrong
//! signature of an access key that is in memory is always checked: that takes no store, and it must be told from a right one.
//!
//! An answer that waits holds a connection, so only so many of one source do ([`PLACES`]). Who sends more is answered at once and
//! loses his connection: each further attempt costs him a new one. A caller who hangs up has been counted before.

use hashbrown::HashMap;
use jadeseal_types::ErrorCode;
use parking_lot::Mutex;
use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};
use tokio::sync::watch;

/// Refusals that are answered at once.
const FREE: f64 = 20.0;
/// Refusals that are forgotten in a second.
const FORGOTTEN: f64 = 0.5;
/// How much longer each further refusal waits.
const STEP: Duration = Duration::from_millis(50);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(2);
/// The level from which on all answers wait the longest: [`FREE`] and as many steps as [`LONGEST`] has.
const TOP: f64 = 60.0;
/// What is over this counts no further: who stops is forgiven within two or three minutes. It lies over [`TOP`] so that a
/// source does not leave the top between two refusals.
const HIGHEST: f64 = TOP + 10.0;
/// Sources that are remembered.
const SOURCES: usize = 65_536;
/// Answers that wait at the same time, of one source and of all.
const PLACES: u32 = 16;
const WAITING: usize = 2_000;
/// Look-ups at the same time of a source at the top.
const LOOK_UPS: u32 = 2;
/// Time between two records of a source at the top.
const RECORD_PERIOD: Duration = Duration::from_secs(1);
/// Time between two lines of the log about refusals without a record.
const LINE_PERIOD: Duration = Duration::from_secs(10);
/// Sources looked at for one to forget, when there are too many.
const SAMPLE: usize = 8;

/// What is remembered of a source.
#[derive(Clone, Copy)]
struct Level {
    refusals: f64,
    at: Duration,
    /// Answers that wait.
    waiting: u32,
    /// Look-ups that were let through at the top and go on.
    looking: u32,
    /// When a refusal at the top last got its record.
    recorded: Option<Duration>,
}

impl Level {
    fn now(&self, now: Duration) -> f64 {
        (self.refusals - now.saturating_sub(self.at).as_secs_f64() * FORGOTTEN).max(0.0)
    }
}

/// Refusals without a record that no line of the log has told yet.
#[derive(Default)]
struct LeftOut {
    refusals: u64,
    /// Of the last of them.
    source: Option<IpAddr>,
    told: Option<Duration>,
}

/// What is to become of a refusal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// How long its answer is to wait.
    pub wait: Duration,
    /// Whether it gets a record of its own.
    pub record: bool,
}

impl Verdict {
    /// As if there was no guard.
    pub const FREE: Verdict = Verdict { wait: Duration::ZERO, record: true };
}

/// What became of an answer that was to wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Waited {
    /// It did not have to.
    No,
    /// It has, or would have if the service did not stop.
    Yes,
    /// There was no place: its connection is to be closed.
    NoPlace,
}

/// The sources of refusals.
pub struct Guard {
    sources: Mutex<HashMap<IpAddr, Level>>,
    waiting: AtomicUsize,
    /// Until when some source may be at the top, milliseconds; 0 for never. Spares everybody else a look at the sources.
    top_until: AtomicU64,
    left_out: Mutex<LeftOut>,
    stopping: watch::Sender<bool>,
}

impl Default for Guard {
    fn default() -> Self {
        Guard {
            sources: Mutex::default(),
            waiting: AtomicUsize::new(0),
            top_until: AtomicU64::new(0),
            left_out: Mutex::default(),
            stopping: watch::Sender::new(false),
        }
    }
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

/// Whether an answer to somebody who is not known yet is counted beside those of [`is_wrong`].
pub fn is_early(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::SignatureExpire
            | ErrorCode::InvalidAction
            | ErrorCode::NoSuchVersion
            | ErrorCode::RequestLimitExceeded
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
    /// Counts a refusal of a source at a monotonic time, and says what is to become of it. One that is not to be `mergeable` with
    /// others keeps its record.
    pub fn refused(&self, source: IpAddr, mergeable: bool, now: Duration) -> Verdict {
        let mut sources = self.sources.lock();
        let key = network(source);
        if sources.len() >= SOURCES && !sources.contains_key(&key) {
            // The map's order is as good as random: of a few, the one that has done least.
            let victim = sources.iter().take(SAMPLE).min_by(|a, b| a.1.now(now).total_cmp(&b.1.now(now)));
            let victim = victim.map(|(source, _)| *source);
            victim.and_then(|source| sources.remove(&source));
        }
        let fresh = Level { refusals: 0.0, at: now, waiting: 0, looking: 0, recorded: None };
        let level = sources.entry(key).or_insert(fresh);
        let refusals = (level.now(now) + 1.0).min(HIGHEST);
        (level.refusals, level.at) = (refusals, now);
        let wait = STEP.mul_f64((refusals - FREE).max(0.0)).min(LONGEST);
        if refusals < TOP {
            return Verdict { wait, record: true };
        }
        let until = now + Duration::from_secs_f64((refusals - TOP) / FORGOTTEN);
        self.top_until.fetch_max(millis(until) + 1, Ordering::Release);
        if !mergeable {
            return Verdict { wait, record: true };
        }
        let record = level.recorded.is_none_or(|at| now.saturating_sub(at) >= RECORD_PERIOD);
        if record {
            level.recorded = Some(now);
        } else {
            let mut left_out = self.left_out.lock();
            left_out.refusals += 1;
            left_out.source = Some(source);
        }
        Verdict { wait, record }
    }

    /// A turn for a source to have something looked for that is not in memory. None when it has to go without, because it
    /// is at the top and has as many as it may have.
    pub fn look_up(&self, source: IpAddr, now: Duration) -> Option<LookUp<'_>> {
        let source = network(source);
        let mut sources = self.sources.lock();
        match sources.get_mut(&source).filter(|level| level.now(now) >= TOP) {
            None => Some(LookUp { guard: self, source: None }),
            Some(level) if level.looking >= LOOK_UPS => None,
            Some(level) => {
                level.looking += 1;
                Some(LookUp { guard: self, source: Some(source) })
            }
        }
    }

    /// Whether any source may be at the top. False costs next to nothing.
    pub fn is_busy(&self, now: impl FnOnce() -> Duration) -> bool {
        match self.top_until.load(Ordering::Acquire) {
            0 => false,
            until => millis(now()) <= until,
        }
    }

    /// Waits, unless there is no place or the service stops.
    pub async fn wait(&self, source: IpAddr, time: Duration) -> Waited {
        if time.is_zero() {
            return Waited::No;
        }
        let Some(_place) = self.place(source) else { return Waited::NoPlace };
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        Waited::Yes
    }

    fn place(&self, source: IpAddr) -> Option<Place<'_>> {
        let source = network(source);
        if let Some(level) = self.sources.lock().get_mut(&source) {
            if level.waiting >= PLACES {
                return None;
            }
            level.waiting += 1;
        }
        let place = Place { guard: self, source };
        (self.waiting.fetch_add(1, Ordering::AcqRel) < WAITING).then_some(place)
    }

    /// The service stops: nothing waits from now on.
    pub fn hurry(&self) {
        self.stopping.send_replace(true);
    }

    /// Tells in the log about refusals without a record, from time to time.
    pub fn tell(&self, now: Duration) {
        let mut left_out = self.left_out.lock();
        if left_out.refusals == 0 || left_out.told.is_some_and(|at| now.saturating_sub(at) < LINE_PERIOD) {
            return;
        }
        let source = left_out.source.map(|source| source.to_string()).unwrap_or_default();
        tracing::warn!(
            source,
            refusals = left_out.refusals,
            "too many refusals to record each; the last came from this source"
        );
        *left_out = LeftOut { told: Some(now), ..LeftOut::default() };
    }

    /// Number of remembered sources.
    pub fn sources(&self) -> usize {
        self.sources.lock().len()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX - 1)
}

/// Gives its place back, also when the caller hangs up.
struct Place<'a> {
    guard: &'a Guard,
    source: IpAddr,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.guard.waiting.fetch_sub(1, Ordering::AcqRel);
        // It may have been forgotten meanwhile, and be there anew.
        if let Some(level) = self.guard.sources.lock().get_mut(&self.source) {
            level.waiting = level.waiting.saturating_sub(1);
        }
    }
}

/// A turn at a look-up, until dropped.
pub struct LookUp<'a> {
    guard: &'a Guard,
    /// None where turns are not counted.
    source: Option<IpAddr>,
}

impl Drop for LookUp<'_> {
    fn drop(&mut self) {
        let Some(source) = self.source else { return };
        if let Some(level) = self.guard.sources.lock().get_mut(&source) {
            level.looking = level.looking.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn wait_of(guard: &Guard, source: IpAddr, now: Duration) -> Duration {
        guard.refused(source, true, now).wait
    }

    #[test]
    fn a_source_is_slowed_and_forgiven() {
        let (guard, source) = (Guard::default(), IpAddr::from([192, 0, 2, 1]));
        let waits: Vec<Duration> = (0..100).map(|_| wait_of(&guard, source, at(1))).collect();
        assert!(waits[..20].iter().all(Duration::is_zero));
        assert!(waits.is_sorted() && waits[20] > Duration::ZERO && waits[58] < LONGEST && waits[59] == LONGEST);
        assert!(wait_of(&guard, [192, 0, 2, 2].into(), at(1)).is_zero(), "another source");
        assert!(wait_of(&guard, source, at(31)) < LONGEST);
        assert!(wait_of(&guard, source, at(200)).is_zero());
    }

    #[test]
    fn at_the_top_one_record_a_second_stands_for_all() {
        let (guard, source) = (Guard::default(), IpAddr::from([192, 0, 2, 1]));
        let records = |count: u64, now| (0..count).filter(|_| guard.refused(source, true, now).record).count();
        assert!(!guard.is_busy(|| unreachable!("nobody has to ask for the time")));
        assert_eq!(records(59, at(1)), 59);
        assert!(!guard.is_busy(|| at(1)));
        assert_eq!(records(10_000, at(1)), 1, "who comes to the top is recorded");
        assert!(guard.is_busy(|| at(1)));
        assert_eq!(records(10_000, at(2)), 1);
        assert!(guard.refused(source, false, at(2)).record, "one that must have its record");
        assert!(guard.refused([192, 0, 2, 2].into(), true, at(2)).record, "another source");
        assert_eq!(guard.left_out.lock().refusals, 2 * 9_999);
        assert!(!guard.is_busy(|| at(30)));
        assert_eq!(records(2, at(40)), 2, "no longer at the top");
    }

    #[test]
    fn what_was_left_out_is_told_from_time_to_time() {
        let (guard, source) = (Guard::default(), IpAddr::from([192, 0, 2, 1]));
        (0..100).for_each(|_| _ = guard.refused(source, true, at(1)));
        guard.tell(at(1));
        assert_eq!(guard.left_out.lock().refusals, 0);
        (0..100).for_each(|_| _ = guard.refused(source, true, at(2)));
        guard.tell(at(10));
        assert_eq!(guard.left_out.lock().refusals, 99, "too early");
        guard.tell(at(11));
        assert_eq!(guard.left_out.lock().refusals, 0);
    }

    #[test]
    fn at_the_top_look_ups_take_turns() {
        let (guard, source) = (Guard::default(), IpAddr::from([192, 0, 2, 1]));
        let many = |now| (0..10).map(|_| guard.look_up(source, now)).collect::<Vec<_>>();
        let of = |turns: &[Option<LookUp<'_>>]| turns.iter().flatten().count();
        assert_eq!(of(&many(at(1))), 10);
        assert_eq!(guard.sources(), 0, "nobody is remembered for it");
        (0..100).for_each(|_| _ = guard.refused(source, true, at(1)));
        let turns = many(at(1));
        assert_eq!(of(&turns), LOOK_UPS as usize);
        assert!(guard.look_up([192, 0, 2, 2].into(), at(1)).is_some(), "another source");
        drop(turns);
        assert_eq!(of(&many(at(1))), LOOK_UPS as usize, "turns come back");
        assert_eq!(of(&many(at(60))), 10, "no longer at the top");
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let guard = Guard::default();
        for n in 0..30u16 {
            wait_of(&guard, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, n, n, n, n).into(), at(1));
        }
        assert_eq!(guard.sources(), 1);
        wait_of(&guard, "::ffff:192.0.2.1".parse().unwrap(), at(1));
        wait_of(&guard, "192.0.2.1".parse().unwrap(), at(1));
        assert_eq!(guard.sources(), 2);
    }

    #[test]
    fn no_more_sources_are_remembered_than_there_is_room_for() {
        let guard = Guard::default();
        let worst = IpAddr::from([198, 51, 100, 1]);
        for n in 0..(SOURCES as u32 + 1000) {
            if n % 500 == 0 {
                (0..100).for_each(|_| _ = wait_of(&guard, worst, at(1)));
            }
            wait_of(&guard, std::net::Ipv4Addr::from(n).into(), at(1));
        }
        assert_eq!(guard.sources(), SOURCES);
        assert!(!wait_of(&guard, worst, at(1)).is_zero(), "who does most is not forgotten for the others");
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let (guard, one, other) = (Guard::default(), IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        for source in [one, other] {
            guard.refused(source, true, at(1));
        }
        assert_eq!(guard.wait(one, Duration::ZERO).await, Waited::No);
        assert_eq!(guard.wait(one, MOMENT).await, Waited::Yes);
        let places: Vec<_> = (0..PLACES).map(|_| guard.place(one).unwrap()).collect();
        assert_eq!(guard.wait(one, at(1)).await, Waited::NoPlace);
        assert_eq!(guard.wait(other, MOMENT).await, Waited::Yes, "another source");
        drop(places);
        assert_eq!(guard.wait(one, MOMENT).await, Waited::Yes, "places come back");
        guard.waiting.store(WAITING, Ordering::Release);
        assert_eq!(guard.wait(one, at(1)).await, Waited::NoPlace);
        assert_eq!(guard.waiting.load(Ordering::Acquire), WAITING);
        assert_eq!(guard.sources.lock()[&one].waiting, 0);
    }

    #[tokio::test]
    async fn a_stop_ends_every_wait() {
        let guard = Guard::default();
        let source = IpAddr::from([192, 0, 2, 1]);
        let began = tokio::time::Instant::now();
        let (waited, ()) = tokio::join!(guard.wait(source, at(100)), async {
            tokio::time::sleep(MOMENT).await;
            guard.hurry();
        });
        assert_eq!(waited, Waited::Yes);
        guard.wait(source, at(100)).await;
        assert!(began.elapsed() < at(10));
    }
}
