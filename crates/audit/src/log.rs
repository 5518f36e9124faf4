//! Appending.

use crate::{
    checkpoint::Checkpoint,
    disk::{self, Disk},
    error::AuditError,
    flusher,
    levels::Levels,
    notary::{self, Certifier, Notary, Published, Work},
    note::Note,
    open::{catch_up, check_checkpoints, checkpoints},
    read,
    recover::{Recovery, recover},
    segment::{self, LOCK, Line},
    shared::{Shared, Spare, State},
    tree::Hash,
};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::HashSet,
    fs::File,
    path::Path,
    sync::Arc,
    task::Poll,
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How far a record must have come before the answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Degree {
    /// In the operating system's hands: survives the end of the process, not a power cut within
    /// [`Options::flush_every`].
    #[default]
    Os,
    /// On stable storage.
    Fsync,
}

/// How a log is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// What [`Log::append_for_answer`] waits for.
    pub degree: Degree,
    /// Size at which a segment is full, bytes. Default 64 MiB.
    pub segment_bytes: u64,
    /// Longest time that a record stays unflushed when nobody waits for it. Default 100 ms.
    pub flush_every: Duration,
    /// Time between two checkpoints. Default 1 s.
    pub checkpoint_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            degree: Degree::Os,
            segment_bytes: 64 << 20,
            flush_every: Duration::from_millis(100),
            checkpoint_every: Duration::from_secs(1),
        }
    }
}

/// What is written but not flushed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Lag {
    /// Records.
    pub records: u64,
    /// Bytes of their lines.
    pub bytes: u64,
    /// Age of the oldest of them.
    pub oldest: Duration,
}

/// How far a log has been written. What is before it does not change any more as long as the log is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Index of the first record of the segment that is being written.
    pub first: u64,
    /// Index of the first record that is not written yet.
    pub next: u64,
    /// Where that one will begin in its segment, bytes.
    pub offset: u64,
}

/// An open audit log. Shared by `Arc`; one process at a time.
pub struct Log {
    shared: Arc<Shared>,
    flusher: Mutex<Option<JoinHandle<()>>>,
    notary: Mutex<Option<JoinHandle<()>>>,
    opened: Instant,
    /// Held for as long as the log is open; released by the system when the process ends.
    _lock: File,
}

impl Log {
    /// Opens or creates the log in `dir` and cuts what a crash left behind the last good record.
    /// Reads the last two segments and makes some files and flushes: not for an async thread. Records that the files of the
    /// tree do not cover yet are read too: of a log that has none, all.
    pub fn open(dir: &Path, options: Options) -> Result<(Log, Recovery), AuditError> {
        let lock = disk::lock_dir(dir, &dir.join(LOCK))?;
        let checkpoints = checkpoints(dir)?;
        let promised = checkpoints.iter().map(|c| c.size).fold(Levels::promised(dir)?, u64::max);
        let (end, recovery) = recover(dir, promised)?;
        let (levels, mut tree) = Levels::open(dir, segment::list(dir)?.first().copied().unwrap_or(0), end.next)?;
        let backlog = catch_up(dir, &levels, &mut tree)?;
        check_checkpoints(&levels, &tree, &backlog, &checkpoints)?;
        let disk = Disk::default();
        // Best effort here: on a full disk a start must still be possible, appends will say so.
        disk.reserve(&end.file, options.segment_bytes).unwrap_or_default();
        let shared = Arc::new(Shared {
            dir: dir.into(),
            disk,
            wake: Condvar::new(),
            notary: Notary::new(levels, options.checkpoint_every),
            state: Mutex::new(State {
                file: Arc::new(end.file),
                first: end.first,
                next: end.next,
                offset: end.offset,
                zeroed: end.zeroed,
                uncut: false,
                pending: Vec::new(),
                pending_records: 0,
                group: Arc::default(),
                bytes: 0,
                flushed: end.next,
                flushed_bytes: 0,
                dirty_since: None,
                flushing_since: None,
                flush_now: false,
                crowd: 0,
                gathering: None,
                wakes_at: None,
                spare: Spare::Pending,
                sealing: None,
                waiters: Vec::new(),
                leaves: Vec::new(),
                leaves_from: end.next,
                closing: false,
                poisoned: false,
            }),
            options,
        });
        let flusher = std::thread::Builder::new()
            .name("audit-flush".into())
            .spawn({
                let shared = shared.clone();
                move || flusher::run(&shared)
            })
            .map_err(|e| AuditError::io("start a thread for", dir, e))?;
        let mut log = Log {
            shared: shared.clone(),
            flusher: Mutex::new(Some(flusher)),
            notary: Mutex::new(None),
            opened: Instant::now(),
            _lock: lock,
        };
        let notary = std::thread::Builder::new().name("audit-tree".into());
        let notary = notary.spawn(move || notary::run(&shared, Work::new(tree, backlog)));
        *log.notary.get_mut() = Some(notary.map_err(|e| AuditError::io("start a thread for", dir, e))?);
        Ok((log, recovery))
    }

    /// Appends one record and returns its index. When this returns, the record is in the operating
    /// system's hands: the end of the process loses nothing. One short write, no flush, no wait.
    pub fn append(&self, record_json: &[u8]) -> Result<u64, AuditError> {
        self.shared.append_written(&Line::of(record_json)?)
    }

    /// Waits until a flush that began after the record was written has ended.
    pub async fn flushed(&self, index: u64) -> Result<(), AuditError> {
        let waiting = {
            let mut state = self.shared.state.lock();
            if index < state.flushed {
                return Ok(());
            }
            state.usable()?;
            if index >= state.next {
                return Err(AuditError::NoSuchRecord(index));
            }
            self.shared.wait_for_flush(&mut state, index)
        };
        outcome(waiting).await
    }

    /// Appends, and waits as far as [`Options::degree`] says. The record first waits in memory: in degree `os` until the
    /// other tasks that are ready have had their turn, in degree `fsync` until the flush. So one write serves many answers.
    pub async fn append_for_answer(&self, record_json: &[u8]) -> Result<u64, AuditError> {
        let line = Line::of(record_json)?;
        if self.shared.options.degree == Degree::Fsync {
            let (index, waiting) = self.shared.append_flushing(&line)?;
            return outcome(waiting).await.map(|()| index);
        }
        let (index, group) = self.shared.append_pending(&line)?;
        if let Some(group) = group {
            others_first().await;
            self.shared.written(&group)?;
        }
        Ok(index)
    }

    /// Index of the last record on stable storage.
    pub fn flushed_through(&self) -> Option<u64> {
        self.shared.state.lock().flushed.checked_sub(1)
    }

    /// Index that the next record will get.
    pub fn next_index(&self) -> u64 {
        self.shared.state.lock().next
    }

    /// How far the log has been written, for readers beside it.
    pub fn written(&self) -> Written {
        let state = self.shared.state.lock();
        Written { first: state.first, next: state.next - state.pending_records, offset: state.offset }
    }

    /// When it was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// The directory that the log is in.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// What is written but not flushed.
    pub fn lag(&self) -> Lag {
        let state = self.shared.state.lock();
        Lag {
            records: state.next - state.flushed,
            bytes: state.bytes - state.flushed_bytes,
            oldest: state.flushing_since.or(state.dirty_since).map_or(Duration::ZERO, |t| t.elapsed()),
        }
    }

    /// True once a flush has failed: the log takes nothing any more and the process must end.
    pub fn poisoned(&self) -> bool {
        self.shared.state.lock().poisoned
    }

    /// True when the log can take records as far as is known; false once it is poisoned or closed,
    /// or while there is no room for the next segment.
    pub fn healthy(&self) -> bool {
        let state = self.shared.state.lock();
        state.usable().is_ok() && !matches!(state.spare, Spare::Failed(_))
    }

    /// See [`contains_request_ids`](crate::contains_request_ids).
    pub fn contains_request_ids(&self, ids: &HashSet<String>, since: u64) -> Result<HashSet<String>, AuditError> {
        read::contains_request_ids(&self.shared.dir, ids, since)
    }

    /// Begins to sign checkpoints of what is flushed; until then the tree grows without. Refused when the directory cannot
    /// take the public key.
    pub fn certify(&self, certifier: Certifier) -> Result<(), AuditError> {
        self.shared.notary.certify(&self.shared, certifier)
    }

    /// The newest checkpoint that we have signed, published or not: what witnesses are to sign.
    pub fn candidate(&self) -> Option<(Checkpoint, Note)> {
        self.shared.notary.candidate()
    }

    /// The newest published checkpoint.
    pub fn published(&self) -> Option<Published> {
        self.shared.notary.published()
    }

    /// Takes a checkpoint of ours that witnesses have signed too, and publishes it.
    pub fn cosigned(&self, note: Note) -> Result<(), AuditError> {
        self.shared.notary.cosigned(&self.shared, note)
    }

    /// Proof that the tree of size `new` begins with that of size `old`, both at most that of the newest checkpoint.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, AuditError> {
        self.shared.notary.levels.consistency(old, new)
    }

    /// Root of the tree over the first `size` records, at most as many as the newest checkpoint has.
    pub fn root_at(&self, size: u64) -> Result<Hash, AuditError> {
        self.shared.notary.levels.tree_at(size).map(|tree| tree.root())
    }

    /// Records whose hashes are on stable storage.
    pub(crate) fn synced(&self) -> u64 {
        self.shared.notary.levels.synced()
    }

    /// Name of the log, once it signs checkpoints.
    pub(crate) fn origin(&self) -> Result<String, AuditError> {
        self.shared.notary.origin()
    }

    /// Signs up to where records were retired.
    pub(crate) fn sign_retired(&self, first: u64) -> Result<(), AuditError> {
        self.shared.notary.sign_retired(&self.shared, first)
    }

    /// Hashes of records that the newest checkpoint covers.
    pub(crate) fn hashes(&self, first: u64, count: usize) -> Result<Vec<Hash>, AuditError> {
        self.shared.notary.levels.hashes(0, first, count)
    }

    /// Flushes and stops. Blocks for that flush; later appends fail with [`AuditError::Closed`].
    /// Fails when what was appended could not be flushed.
    pub fn close(&self) -> Result<(), AuditError> {
        self.shared.state.lock().closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.flusher.lock().take()
            && thread.join().is_err()
        {
            self.shared.state.lock().poisoned = true;
        }
        self.shared.notary.close();
        if let Some(thread) = self.notary.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the audit log's tree has panicked");
        }
        if self.shared.state.lock().poisoned { Err(AuditError::Poisoned) } else { Ok(()) }
    }

    #[cfg(test)]
    pub(crate) fn faults(&self) -> &disk::faults::Faults {
        &self.shared.disk.faults
    }
}

/// Lets the tasks that are ready go first, without a look at sockets and timers as `yield_now` takes it.
async fn others_first() {
    let mut gone = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut gone, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// How a flush ended for somebody who waited for it.
async fn outcome(waiting: oneshot::Receiver<Result<(), AuditError>>) -> Result<(), AuditError> {
    // The flusher drops the waiters only when it gives up.
    waiting.await.map_err(|_| AuditError::Poisoned)?
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            tracing::error!(error = %e, "the audit log was not flushed at its end");
        }
    }
}
