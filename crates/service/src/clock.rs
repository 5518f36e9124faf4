//! Time as an argument: the service reads it here and nowhere else, so that tests can drive it.

use parking_lot::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock with a wall and a monotonic face.
pub trait Clock: Send + Sync {
    /// Time since the Unix epoch. It may jump, forwards and backwards.
    fn wall(&self) -> Duration;
    /// Time since some fixed moment of this process. It never goes back.
    fn monotonic(&self) -> Duration;

    /// Whole seconds since the Unix epoch, the unit of the API.
    fn now(&self) -> u64 {
        self.wall().as_secs()
    }
}

/// The machine's clock.
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock that stands still until it is told to move.
pub struct ManualClock(Mutex<(Duration, Duration)>);

impl ManualClock {
    /// Starts at a Unix time in seconds.
    pub fn new(unix_seconds: u64) -> Self {
        ManualClock(Mutex::new((Duration::from_secs(unix_seconds), Duration::ZERO)))
    }

    /// Time passes: both faces move.
    pub fn advance(&self, by: Duration) {
        let mut t = self.0.lock();
        t.0 += by;
        t.1 += by;
    }

    /// Somebody sets the wall clock: it jumps, the monotonic face does not move.
    pub fn jump_to(&self, unix_seconds: u64) {
        self.0.lock().0 = Duration::from_secs(unix_seconds);
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Duration {
        self.0.lock().0
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().1
    }
}
