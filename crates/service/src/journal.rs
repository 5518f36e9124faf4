//! The audit log as the service uses it.
//!
//! The record of a state change is stored in the change's own transaction (the outbox) and copied to
//! the log behind it; its outbox row goes once the log has been flushed past the copy. So a crash at
//! any moment leaves either neither the change nor the record, or both. What other processes on the store
//! put there is copied just as well.
//!
//! A request whose record cannot be written is refused. How many there were is itself recorded, once the log takes records
//! again ([`crate::gap`]).

use crate::{
    clock::Clock,
    gap::{Gaps, Lost},
};
use jadeseal_audit::{AuditError, Log};
use jadeseal_store::Store;
use jadeseal_types::{ApiError, error::Result};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The log and what the outbox still owes it.
pub struct Journal {
    log: Arc<Log>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    owed: Mutex<Owed>,
    gaps: Gaps,
    /// Monotonic time, milliseconds, of the next look for rows of other processes.
    look_at: AtomicU64,
}

/// Time between two looks for rows of other processes, which nobody waits for.
const LOOK_PERIOD: Duration = Duration::from_secs(2);

/// Rows of the outbox that are read at once.
const BATCH: u64 = 500;

/// How far back the clock may have been set while a record was in the outbox, for a start to be sure that it is not in the
/// log: see [`Journal::open`].
const CLOCK_SLACK: Duration = Duration::from_secs(3600);

/// Outbox rows on their way into the log.
#[derive(Default)]
struct Owed {
    rows: HashMap<u64, Owing>,
    /// Rows that were found in the outbox, and have been done with, without having been announced: those of other
    /// processes, and perhaps one of ours that was found before its commit had returned here.
    unannounced: VecDeque<u64>,
}

/// So many of them are remembered. A commit of ours whose return took longer than that would be copied twice.
const REMEMBERED: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Owing {
    copy: Copied,
    /// A commit of this process has said that it is there.
    announced: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// Not yet; the last try failed.
    No,
    /// Somebody is at it.
    UnderWay,
    /// At this index of the log.
    At(u64),
    /// The log takes no such record, now or ever. Its row stays, for people to look at.
    Never,
}

impl Owed {
    /// A row is to be copied by whoever asks; false when it has been or somebody else is at it.
    fn claim(&mut self, id: u64, announced: bool) -> bool {
        if self.unannounced.contains(&id) {
            return false;
        }
        let new = Owing { copy: Copied::No, announced: false };
        let row = self.rows.entry(id).or_insert(new);
        row.announced |= announced;
        let free = row.copy == Copied::No;
        if free {
            row.copy = Copied::UnderWay;
        }
        free
    }

    fn settle(&mut self, id: u64, copy: Copied) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.copy = copy;
        }
    }

    fn any_failed(&self) -> bool {
        self.rows.values().any(|row| row.copy == Copied::No)
    }

    /// Rows whose copies are on stable storage.
    fn flushed(&self, through: Option<u64>) -> Vec<u64> {
        let is_flushed = |row: &Owing| matches!(row.copy, Copied::At(index) if Some(index) <= through);
        self.rows.iter().filter(|(_, row)| is_flushed(row)).map(|(id, _)| *id).collect()
    }

    fn forget(&mut self, done: &[u64]) {
        for id in done {
            if self.rows.remove(id).is_some_and(|row| !row.announced) {
                self.unannounced.push_back(*id);
            }
        }
        self.unannounced.drain(..self.unannounced.len().saturating_sub(REMEMBERED));
    }
}

impl Journal {
    /// Opens the journal and copies what a crash left in the outbox, or other processes put there.
    ///
    /// A row may be there although its copy is in the log: where the store took no writes, for long before the crash. So the
    /// log is searched back to where the oldest of the rows was made.
    pub async fn open(log: Arc<Log>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self> {
        let owed = Mutex::default();
        let journal = Journal { log, store, clock, owed, gaps: Gaps::default(), look_at: AtomicU64::new(0) };
        journal.take_over().await?;
        Ok(journal)
    }

    /// Copies the rows whose copies are not in the log. What cannot be copied or removed now is left to
    /// [`Journal::sweep`]: on a full disk a start must still be possible.
    async fn take_over(&self) -> Result<()> {
        let (mut ids, mut oldest, mut end) = (HashSet::new(), u64::MAX, 0);
        loop {
            let rows = self.pending(end).await?;
            let Some((last, _)) = rows.last() else { break };
            end = *last;
            for (id, micros) in rows.iter().filter_map(|(_, record)| request_of(record)) {
                oldest = oldest.min(micros);
                ids.insert(id);
            }
        }
        if end == 0 {
            return Ok(());
        }
        let oldest = if ids.is_empty() { 0 } else { oldest };
        let since = oldest.saturating_sub(u64::try_from(CLOCK_SLACK.as_micros()).unwrap_or_default());
        let there = self.log.contains_request_ids(&ids, since).map_err(ApiError::internal)?;
        let (mut after, mut records, mut failed) = (0, 0, 0);
        // What has come meanwhile was not looked for: the next sweep copies it.
        while after < end {
            let rows = self.pending(after).await?;
            let Some((last, _)) = rows.last() else { break };
            after = *last;
            for (id, record) in rows.iter().filter(|(id, _)| *id <= end) {
                if !self.owed.lock().claim(*id, true) {
                    continue;
                }
                if request_of(record).is_some_and(|(request, _)| there.contains(&request)) {
                    // It was in the log when this was opened.
                    self.owed.lock().settle(*id, Copied::At(0));
                } else if let Err(e) = self.copy(*id, record) {
                    tracing::error!(error = %e, "an audit record could not be copied from the outbox");
                    failed += 1;
                    continue;
                }
                records += 1;
            }
        }
        if let Some(last) = self.log.next_index().checked_sub(1) {
            self.log.flushed(last).await.map_err(ApiError::internal)?;
        }
        tracing::info!(records, failed, "audit records copied from the outbox");
        if let Err(e) = self.remove_flushed().await {
            tracing::error!(cause = e.internal_cause().unwrap_or(""), "the audit outbox could not be emptied");
        }
        Ok(())
    }

    /// Writes the record of a request that changed nothing; returns when it has reached the configured
    /// degree.
    pub async fn answer(&self, record: &[u8]) -> Result<()> {
        let written = self.log.append_for_answer(record).await;
        self.noted(Lost::Refused, written).map(drop).map_err(ApiError::internal)
    }

    /// Writes a record and waits until it is on stable storage, whatever the degree. Returns its index.
    pub async fn note_flushed(&self, record: &[u8]) -> Result<u64> {
        let index = self.log.append(record).map_err(ApiError::internal)?;
        self.log.flushed(index).await.map_err(ApiError::internal)?;
        Ok(index)
    }

    /// Writes a record without waiting, where nobody waits for the answer any more.
    pub fn note_or_log(&self, record: &[u8]) {
        if let Err(e) = self.noted(Lost::Unanswered, self.log.append(record)) {
            tracing::error!(error = %e, "the record of an abandoned request could not be written");
        }
    }

    /// Copies the record of a committed change to the log. If the log refuses it now, the outbox keeps
    /// it and [`Journal::sweep`] tries again.
    pub fn change_committed(&self, outbox_id: u64, record: &[u8]) {
        if self.owed.lock().claim(outbox_id, true)
            && let Err(e) = self.copy(outbox_id, record)
        {
            tracing::error!(error = %e, "audit append failed");
        }
    }

    /// Copies a row that has been claimed.
    fn copy(&self, outbox_id: u64, record: &[u8]) -> Result<(), AuditError> {
        let copied = self.noted(Lost::Copy, self.log.append(record));
        let copy = match &copied {
            Ok(index) => Copied::At(*index),
            Err(AuditError::BadRecord(why)) => {
                tracing::error!(
                    outbox_id,
                    why,
                    "AN AUDIT RECORD CAN NEVER BE WRITTEN: it stays in the outbox of the store"
                );
                Copied::Never
            }
            Err(_) => Copied::No,
        };
        self.owed.lock().settle(outbox_id, copy);
        copied.map(drop)
    }

    /// Counts a record that could not be written; behind one that could, ends the gap that was.
    fn noted(&self, lost: Lost, appended: Result<u64, AuditError>) -> Result<u64, AuditError> {
        match &appended {
            Err(e) => self.gaps.note(lost, self.clock.wall(), e),
            Ok(_) if self.gaps.is_open() => self.end_gap(),
            Ok(_) => {}
        }
        appended
    }

    /// Writes the record of the gap that is open, if the log takes it. Once for each: whoever has taken the gap is the only
    /// one.
    fn end_gap(&self) {
        let Some(gap) = self.gaps.take() else { return };
        let ended = if gap.is_empty() { Ok(()) } else { self.log.append(&gap.record(self.clock.wall())).map(drop) };
        match ended {
            Ok(()) => gap.tell("the audit log takes records again"),
            Err(_) => self.gaps.put_back(gap),
        }
    }

    /// Forgets outbox rows whose copies have been flushed, retries failed copies, copies what other processes have put into
    /// the outbox, and sees whether the log takes records again.
    pub async fn sweep(&self) -> Result<()> {
        let now = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        let look = now >= self.look_at.load(Ordering::Relaxed);
        if look {
            self.look_at.store(now + LOOK_PERIOD.as_millis() as u64, Ordering::Relaxed);
        }
        self.settle(look).await
    }

    async fn settle(&self, look: bool) -> Result<()> {
        // Where nobody calls, nobody else would find out that there is room again. A gap without a record of its own ends with
        // the copy that failed, which is tried next.
        if self.gaps.is_missing_records() {
            self.end_gap();
        }
        let copied = if look || self.owed.lock().any_failed() { self.copy_pending().await } else { Ok(()) };
        // Whatever became of those: what is on the disk has no more business in the outbox.
        let removed = self.remove_flushed().await;
        copied.and(removed)
    }

    /// Copies what is in the outbox and nobody is at. The first record that the log refuses ends it, since it refuses the others
    /// as well, except for one that it can never take.
    async fn copy_pending(&self) -> Result<()> {
        let mut after = 0;
        loop {
            let rows = self.pending(after).await?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = *last;
            for (id, record) in &rows {
                if !self.owed.lock().claim(*id, false) {
                    continue;
                }
                match self.copy(*id, record) {
                    Err(AuditError::BadRecord(_)) | Ok(()) => {}
                    Err(e) => return Err(ApiError::internal(e)),
                }
            }
        }
    }

    async fn pending(&self, after: u64) -> Result<Vec<(u64, Vec<u8>)>> {
        self.store.outbox_pending(after, BATCH).await.map_err(ApiError::internal)
    }

    /// Removes the rows whose copies are on stable storage.
    async fn remove_flushed(&self) -> Result<()> {
        let through = self.log.flushed_through();
        let done = self.owed.lock().flushed(through);
        if done.is_empty() {
            return Ok(());
        }
        self.store.outbox_done(&done).await.map_err(ApiError::internal)?;
        self.owed.lock().forget(&done);
        Ok(())
    }

    /// Flushes the log, settles the outbox and stops the log. A gap that is still open goes into the outbox, for the next
    /// start to record.
    pub async fn close(&self) {
        // Before the flush, so that what is copied now goes with it.
        for _ in 0..2 {
            if let Err(e) = self.settle(true).await {
                tracing::error!(
                    cause = e.internal_cause().unwrap_or(""),
                    "audit outbox could not be settled at shutdown"
                );
            }
            if let Some(last) = self.log.next_index().checked_sub(1)
                && let Err(e) = self.log.flushed(last).await
            {
                tracing::error!(error = %e, "audit log could not be flushed at shutdown");
            }
        }
        if let Some(gap) = self.gaps.take().filter(|gap| !gap.is_empty()) {
            match self.store.add_outbox(gap.record(self.clock.wall())).await {
                Ok(_) => gap.tell("the audit log takes no records; the next start records how many are missing"),
                Err(e) => {
                    tracing::error!(error = %e, "nor does the store");
                    gap.tell("the audit log takes no records, and will not say how many are missing");
                }
            }
        }
        if let Err(e) = self.log.close() {
            tracing::error!(error = %e, "audit log did not close cleanly");
        }
    }

    /// Why the log takes no records, as far as is known, in words that anybody may read.
    pub fn trouble(&self) -> Option<&'static str> {
        match self.gaps.reason() {
            Some(reason) => Some(reason),
            None if self.log.healthy() => None,
            None if self.log.poisoned() => {
                Some("audit log: a flush failed; the process ends and has to be started again")
            }
            None => Some("audit log: no space left for its next file, or it cannot be made"),
        }
    }

    /// Requests refused for want of a record.
    pub fn refused(&self) -> Counter {
        self.gaps.refused()
    }

    /// The log itself, for metrics.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

/// The request id inside an encoded record, and its time, microseconds since 1970.
fn request_of(record: &[u8]) -> Option<(String, u64)> {
    let value: serde_json::Value = serde_json::from_slice(record).ok()?;
    let time: jiff::Timestamp = value.get("time")?.as_str()?.parse().ok()?;
    let id = value.get("request_id")?.as_str()?.to_owned();
    Some((id, u64::try_from(time.as_microsecond()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_copied_once_whoever_finds_it_first() {
        let mut owed = Owed::default();
        assert!(owed.claim(1, true) && !owed.claim(1, false), "under way");
        owed.settle(1, Copied::No);
        assert!(owed.any_failed() && owed.claim(1, false), "the copy failed, and is tried again");
        owed.settle(1, Copied::At(10));
        assert!(!owed.claim(1, true));
        // Found in the outbox before its commit has returned.
        assert!(owed.claim(2, false));
        owed.settle(2, Copied::At(11));
        assert_eq!(owed.flushed(Some(10)), [1]);
        let mut done = owed.flushed(Some(11));
        done.sort_unstable();
        assert_eq!(done, [1, 2]);
        owed.forget(&done);
        assert!(owed.rows.is_empty() && !owed.claim(2, true), "it has been copied");
        assert_eq!(owed.unannounced, [2], "ids that were announced never come again");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut owed = Owed::default();
        let ids: Vec<u64> = (0..3 * REMEMBERED as u64).collect();
        ids.iter().for_each(|id| assert!(owed.claim(*id, false)));
        owed.forget(&ids);
        assert_eq!(owed.unannounced.len(), REMEMBERED);
        assert_eq!(owed.unannounced.back(), ids.last());
    }

    #[test]
    fn request_id_and_time_of_a_record() {
        let record = crate::records::of_service(Duration::from_micros(1_795_500_000_000_001), "AuditGap", &[]);
        let (id, micros) = request_of(&record).unwrap();
        assert_eq!((id.len(), micros), (36, 1_795_500_000_000_001));
        assert_eq!(request_of(b"{}"), None);
    }
}
