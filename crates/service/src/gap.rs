//! What the audit log could not take: how many requests were refused for it, and since when.
//!
//! A refusal costs a short lock that nobody holds while he waits for anything; a success costs one relaxed load.

use crate::records;
use jadeseal_audit::AuditError;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Whose record could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// That of a request, which was refused for it: it has had no effect.
    Refused,
    /// That of a request without effect whose caller had hung up.
    Unanswered,
    /// The copy of one that the outbox keeps: nothing is lost, but it has to come later.
    Copy,
}

/// Requests without a record, at least so many (a caller who hangs up while his record waits in memory with others is not
/// counted when that write fails), from the first append that failed to the next one that did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    refused: u64,
    unanswered: u64,
    /// Wall clock times of the first and the last failure.
    from: Duration,
    to: Duration,
    reason: &'static str,
}

impl Gap {
    /// True when nothing is missing from the log for good.
    pub fn is_empty(&self) -> bool {
        self.refused == 0 && self.unanswered == 0
    }

    /// The record of the gap itself.
    pub fn record(&self, wall: Duration) -> Vec<u8> {
        let mut subjects = vec![format!("refused/{}", self.refused)];
        if self.unanswered > 0 {
            subjects.push(format!("unanswered/{}", self.unanswered));
        }
        subjects.push(format!("from/{}", moment(self.from)));
        subjects.push(format!("to/{}", moment(self.to)));
        records::of_service(wall, "AuditGap", &subjects)
    }

    fn join(&mut self, other: &Gap) {
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
    }

    /// Tells the operator how it ended.
    pub fn tell(&self, how: &str) {
        let (from, to) = (moment(self.from), moment(self.to));
        tracing::warn!(self.refused, self.unanswered, from, to, "{how}");
    }
}

/// RFC 3339 in UTC with microseconds, as the records have it.
fn moment(wall: Duration) -> String {
    let at = i64::try_from(wall.as_micros()).ok().and_then(|us| jiff::Timestamp::from_microsecond(us).ok());
    at.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// The gap that is open, if one is.
#[derive(Default)]
pub(crate) struct Gaps {
    open: AtomicBool,
    gap: Mutex<Option<Gap>>,
    refused: Counter,
}

impl Gaps {
    /// Whether the last append failed, as far as is known.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether a gap is open in which records went missing for good.
    pub fn is_missing_records(&self) -> bool {
        self.is_open() && self.gap.lock().as_ref().is_some_and(|gap| !gap.is_empty())
    }

    /// Why the log takes no records, in words that anybody may read; none while it does.
    pub fn reason(&self) -> Option<&'static str> {
        self.gap.lock().as_ref().map(|gap| gap.reason)
    }

    /// How many requests have been refused since the start.
    pub fn refused(&self) -> Counter {
        self.refused.clone()
    }

    /// Notes a failed append.
    pub fn note(&self, lost: Lost, wall: Duration, error: &AuditError) {
        if matches!(error, AuditError::BadRecord(_)) {
            // The record was bad, not the log.
            return;
        }
        if lost == Lost::Refused {
            self.refused.inc();
        }
        let reason = reason_of(error);
        let mut gap = self.gap.lock();
        if gap.is_none() {
            tracing::error!(%error, "the audit log takes no records: requests are refused until it does");
        }
        let gap = gap.get_or_insert(Gap { refused: 0, unanswered: 0, from: wall, to: wall, reason });
        gap.refused += u64::from(lost == Lost::Refused);
        gap.unanswered += u64::from(lost == Lost::Unanswered);
        gap.from = gap.from.min(wall);
        gap.to = gap.to.max(wall);
        gap.reason = reason;
        self.open.store(true, Ordering::Relaxed);
    }

    /// Takes the gap, to write its record: whoever gets it is the only one.
    pub fn take(&self) -> Option<Gap> {
        let mut gap = self.gap.lock();
        self.open.store(false, Ordering::Relaxed);
        gap.take()
    }

    /// The record of a gap could not be written: it goes on.
    pub fn put_back(&self, taken: Gap) {
        let mut gap = self.gap.lock();
        match &mut *gap {
            Some(newer) => newer.join(&taken),
            None => *gap = Some(taken),
        }
        self.open.store(true, Ordering::Relaxed);
    }
}

fn reason_of(error: &AuditError) -> &'static str {
    match error {
        AuditError::Full => "audit log: no space left on its disk",
        AuditError::Poisoned => "audit log: a flush failed; the process ends and has to be started again",
        AuditError::Closed => "audit log: closed",
        AuditError::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            "audit log: its file system is read-only"
        }
        _ => "audit log: a write failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(1_795_500_000);

    #[test]
    fn a_gap_is_taken_once_and_counts_on_when_put_back() {
        let gaps = Gaps::default();
        assert!(!gaps.is_open() && gaps.take().is_none() && gaps.reason().is_none());
        gaps.note(Lost::Refused, AT, &AuditError::Full);
        gaps.note(Lost::Unanswered, AT + Duration::from_micros(5), &AuditError::Full);
        assert!(gaps.is_open());
        assert_eq!(gaps.reason(), Some("audit log: no space left on its disk"));
        let taken = gaps.take().unwrap();
        assert!(!gaps.is_open() && gaps.take().is_none(), "somebody has it");
        gaps.note(Lost::Refused, AT + Duration::from_secs(2), &AuditError::Closed);
        gaps.put_back(taken);
        let gap = gaps.take().unwrap();
        assert_eq!((gap.refused, gap.unanswered, gap.from, gap.to), (2, 1, AT, AT + Duration::from_secs(2)));
        assert_eq!(gaps.refused().get(), 2);
        let record = String::from_utf8(gap.record(AT)).unwrap();
        let subjects = r#""subjects":["refused/2","unanswered/1","from/2026-11-24T06:00:00.000000Z","to/2026-11-24T06:00:02.000000Z"]"#;
        assert!(record.contains(subjects) && record.contains(r#""principal":"service""#), "{record}");
    }

    #[test]
    fn what_loses_no_record_is_no_gap_in_the_log() {
        let gaps = Gaps::default();
        gaps.note(Lost::Refused, AT, &AuditError::BadRecord("empty"));
        assert!(!gaps.is_open());
        gaps.note(Lost::Copy, AT, &AuditError::Full);
        assert!(gaps.is_open() && gaps.take().unwrap().is_empty());
        assert_eq!(gaps.refused().get(), 0);
    }
}
