//! What an export tells the metrics.

use jadeseal_audit::Log;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The state of one export, written by its thread and read by whoever asks. Never waits.
pub struct Status {
    name: String,
    log: Arc<Log>,
    next: AtomicU64,
    /// When the oldest record that waits was made, microseconds since 1970; 0 while that is not known.
    oldest: AtomicU64,
    records: AtomicU64,
    failures: AtomicU64,
    stopped: AtomicBool,
}

/// Figures of one export at one moment.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Name of the export.
    pub name: String,
    /// Flushed records that its receiver has not taken.
    pub lag_records: u64,
    /// Age of the oldest of them.
    pub lag: Duration,
    /// Records that were taken since the start, repeated ones too.
    pub records: u64,
    /// Batches that were not taken, and other failures, since the start.
    pub failures: u64,
    /// True when the export has given up and needs the operator.
    pub stopped: bool,
}

impl Status {
    pub(crate) fn new(name: String, log: Arc<Log>) -> Self {
        Status {
            name,
            log,
            next: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            records: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Records below this index may leave.
    pub(crate) fn flushed(&self) -> u64 {
        self.log.flushed_through().map_or(0, |last| last + 1)
    }

    pub(crate) fn at(&self, next: u64) {
        self.next.store(next, Relaxed);
    }

    /// Says since when the next record waits; `None`: none does, or it is not known.
    pub(crate) fn waits_since(&self, micros: Option<u64>) {
        self.oldest.store(micros.unwrap_or(0), Relaxed);
    }

    pub(crate) fn taken(&self, records: u64) {
        self.records.fetch_add(records, Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn stopped(&self) {
        self.stopped.store(true, Relaxed);
        // What is not read has no known age; it waits since now at the latest.
        self.oldest.compare_exchange(0, now_micros(), Relaxed, Relaxed).ok();
    }

    /// What the metrics show.
    pub fn figures(&self) -> Figures {
        let lag_records = self.flushed().saturating_sub(self.next.load(Relaxed));
        let lag = match (lag_records, self.oldest.load(Relaxed)) {
            (0, _) | (_, 0) => Duration::ZERO,
            (_, micros) => Duration::from_micros(now_micros().saturating_sub(micros)),
        };
        Figures {
            name: self.name.clone(),
            lag_records,
            lag,
            records: self.records.load(Relaxed),
            failures: self.failures.load(Relaxed),
            stopped: self.stopped.load(Relaxed),
        }
    }
}

pub(crate) fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
