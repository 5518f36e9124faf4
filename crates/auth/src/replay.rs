//! Binding of a signature that does not cover its action to the action it was first seen with.

use crate::signature::Verified;
use hashbrown::HashMap;
use jadeseal_types::{ApiError, ErrorCode, limits};
use parking_lot::Mutex;
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    mem,
    net::IpAddr,
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
};

const SHARDS: usize = 64;
/// Life of a generation, seconds. A signature may be dated one window ahead and is good for another, so
/// an entry is needed for two; it lives through all of the generation after its own.
const GENERATION: u64 = 2 * limits::SIGNATURE_WINDOW_SECONDS;

/// Remembers what signatures were first used for, until they expire. Most clients sign neither
/// `X-TC-Action` nor version and region, so a captured request could be re-aimed (DescribeKey →
/// DisableKey) within its window.
///
/// Memory is bounded: a full shard forgets its older half early, which [`ReplayGuard::overflows`] counts.
pub struct ReplayGuard {
    shards: Box<[Mutex<Shard>]>,
    /// Entries of one generation of one shard.
    capacity: usize,
    overflows: AtomicU64,
}

#[derive(Default)]
struct Shard {
    young: HashMap<Id, First>,
    old: HashMap<Id, First>,
    /// When `young` was begun.
    begun: u64,
}

/// Half of a MAC, enough to tell signatures apart. Not one number of 128 bits, whose alignment would make an
/// entry half as large again.
type Id = [u64; 2];

/// The first use of a signature.
#[derive(Clone, Copy)]
struct First {
    target: u64,
    source: Option<NonZeroU64>,
}

impl ReplayGuard {
    /// Keeps at most `max_entries` signatures (at least 128), about 70 bytes each. Nothing is allocated
    /// beforehand.
    pub fn new(max_entries: usize) -> Self {
        ReplayGuard {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            capacity: (max_entries / SHARDS / 2).max(1),
            overflows: AtomicU64::new(0),
        }
    }

    /// Binds a signature to `target`, a hash of version, action and region. A signature that covers its
    /// target passes; so does one that is new, or known with the same target (a retry). Known with
    /// another target, it is `AuthFailure.SignatureFailure`. `now` is in Unix seconds.
    ///
    /// Signatures are dated in whole seconds, so a client that sends one body to two actions within one
    /// second makes one signature for both, and the second is refused here; see
    /// [`ReplayGuard::bind_from`].
    pub fn bind(&self, verified: &Verified, target: u64, now: u64) -> Result<(), ApiError> {
        self.bind_first(verified, First { target, source: None }, now)
    }

    /// As [`ReplayGuard::bind`], but lets the address that first used a signature use it for other
    /// targets too. An official SDK that calls DescribeKey and DisableKey with the same body in the same
    /// second sends the same signature twice, rightly; one who captured it elsewhere comes from another
    /// address and is held to the first target.
    pub fn bind_from(
        &self,
        verified: &Verified,
        target: u64,
        source: Option<IpAddr>,
        now: u64,
    ) -> Result<(), ApiError> {
        let hash = |ip: IpAddr| {
            let mut hasher = DefaultHasher::new();
            ip.to_canonical().hash(&mut hasher);
            NonZeroU64::MIN | hasher.finish()
        };
        self.bind_first(verified, First { target, source: source.map(hash) }, now)
    }

    /// How often a full shard has forgotten entries that might still have mattered.
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Ordering::Relaxed)
    }

    fn bind_first(&self, verified: &Verified, this: First, now: u64) -> Result<(), ApiError> {
        if verified.target_is_signed {
            return Ok(());
        }
        // The secret's number keeps accounts apart.
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = verified.signature;
        let id = [
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            u64::from_be_bytes([i, j, k, l, m, n, o, p]) ^ verified.secret,
        ];
        let Some(shard) = self.shards.get(verified.signature[16] as usize % SHARDS) else { return Ok(()) };
        let mut shard = shard.lock();
        shard.age(now);
        if let Some(first) = shard.young.get(&id).or_else(|| shard.old.get(&id)) {
            let same_source = first.source.is_some() && first.source == this.source;
            return if first.target == this.target || same_source {
                Ok(())
            } else {
                Err(ApiError::with_text(
                    ErrorCode::SignatureFailure,
                    "The same signature was used for another call from another address; sign x-tc-action, \
                     x-tc-version and x-tc-region too.",
                    "相同的签名已从其他地址用于另一请求；请将 x-tc-action、x-tc-version、x-tc-region 一并签名。",
                ))
            };
        }
        if shard.young.len() >= self.capacity && shard.rotate(now) {
            self.overflows.fetch_add(1, Ordering::Relaxed);
        }
        shard.young.insert(id, this);
        Ok(())
    }
}

impl Shard {
    /// Rotates by time. A clock set back by more than a generation starts a new one, so that entries
    /// do not stay until it has caught up.
    fn age(&mut self, now: u64) {
        if now >= self.begun.saturating_add(2 * GENERATION) {
            self.young = HashMap::new();
            self.rotate(now);
        } else if self.begun.abs_diff(now) >= GENERATION {
            self.rotate(now);
        }
    }

    /// Begins a generation; true when entries were forgotten.
    fn rotate(&mut self, now: u64) -> bool {
        let dropped = mem::replace(&mut self.old, mem::take(&mut self.young));
        self.begun = now;
        !dropped.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(n: u64, target_is_signed: bool) -> Verified {
        let mut signature = [0; 32];
        signature[..8].copy_from_slice(&n.to_be_bytes());
        signature[16] = (n % 256) as u8;
        Verified { target_is_signed, payload_is_signed: true, signature, timestamp: 0, secret: 0 }
    }

    fn entries(guard: &ReplayGuard) -> usize {
        guard.shards.iter().map(|s| s.lock()).map(|s| s.young.len() + s.old.len()).sum()
    }

    #[test]
    fn retries_pass_and_other_targets_do_not() {
        let guard = ReplayGuard::new(1000);
        let now = 1_000_000;
        guard.bind(&seen(1, false), 7, now).unwrap();
        guard.bind(&seen(1, false), 7, now + 1).unwrap();
        let e = guard.bind(&seen(1, false), 8, now + 2).unwrap_err();
        assert_eq!(e.code(), ErrorCode::SignatureFailure);
        guard.bind(&seen(2, false), 8, now).unwrap();
        guard.bind(&seen(1, false), 7, now + 3).unwrap();
    }

    #[test]
    fn signed_actions_are_not_remembered() {
        let guard = ReplayGuard::new(1000);
        guard.bind(&seen(1, true), 7, 0).unwrap();
        guard.bind(&seen(1, true), 8, 0).unwrap();
        assert_eq!(entries(&guard), 0);
    }

    #[test]
    fn the_first_source_may_change_its_target_and_others_may_not() {
        let guard = ReplayGuard::new(1000);
        let (here, there) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let bind = |target, source| guard.bind_from(&seen(1, false), target, source, 5).is_ok();
        assert!(bind(7, here));
        assert!(bind(8, here), "one body to two actions within one second");
        assert!(bind(7, there), "a plain retry from elsewhere");
        assert!(!bind(8, there), "the first target holds for others");
        assert!(!bind(8, None));
        let guard = ReplayGuard::new(1000);
        guard.bind_from(&seen(1, false), 7, None, 5).unwrap();
        assert!(guard.bind_from(&seen(1, false), 8, None, 5).is_err(), "no address is not one address");
    }

    #[test]
    fn entries_live_as_long_as_a_signature_dated_ahead() {
        for begun in [0, 1, 299, 599] {
            let guard = ReplayGuard::new(1_000_000);
            guard.bind(&seen(0, false), 1, 10_000).unwrap();
            let first = 10_000 + begun;
            guard.bind(&seen(64, false), 1, first).unwrap();
            // Traffic on the same shard in every second turns generations as early as they can be.
            for now in first..=first + 600 {
                guard.bind(&seen(128 + 64 * now, false), 1, now).unwrap();
                assert!(guard.bind(&seen(64, false), 2, now).is_err(), "{begun} {now}");
            }
            guard.bind(&seen(64, false), 2, first + 1201).unwrap();
        }
    }

    #[test]
    fn expired_entries_are_dropped_and_memory_is_bounded() {
        let guard = ReplayGuard::new(64 * 2 * 10);
        for n in 0..100_000 {
            guard.bind(&seen(n, false), 1, 50).unwrap();
        }
        assert!(entries(&guard) <= 64 * 2 * 10);
        assert!(guard.overflows() > 100);
        let before = guard.overflows();
        for n in 0..64 {
            guard.bind(&seen(200_000 + n, false), 1, 5_000).unwrap();
        }
        assert_eq!(entries(&guard), 64);
        assert_eq!(guard.overflows(), before, "dropping what has expired is no overflow");
    }

    #[test]
    fn a_clock_set_back_does_not_keep_entries_for_good() {
        let guard = ReplayGuard::new(1000);
        guard.bind(&seen(1, false), 1, 1_000_000).unwrap();
        guard.bind(&seen(65, false), 1, 10).unwrap();
        guard.bind(&seen(129, false), 1, 10 + 2 * GENERATION).unwrap();
        assert_eq!(entries(&guard), 1);
    }
}
