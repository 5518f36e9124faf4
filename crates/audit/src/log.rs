//! Appending.

use crate::{
    disk::{self, Disk},
    error::{AuditError, is_full},
    flusher, read,
    recover::{Recovery, recover},
    segment::{self, LOCK},
};
use parking_lot::{Condvar, Mutex};
use std::{
    cell::RefCell,
    collections::HashSet,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
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
}

impl Default for Options {
    fn default() -> Self {
        Options { degree: Degree::Os, segment_bytes: 64 << 20, flush_every: Duration::from_millis(100) }
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

/// An open audit log. Shared by `Arc`; one process at a time.
pub struct Log {
    shared: Arc<Shared>,
    flusher: Mutex<Option<JoinHandle<()>>>,
    /// Held for as long as the log is open; released by the system when the process ends.
    _lock: File,
}

impl Log {
    /// Opens or creates the log in `dir` and cuts what a crash left behind the last good record.
    /// Reads the last two segments and makes some files and flushes: not for an async thread.
    pub fn open(dir: &Path, options: Options) -> Result<(Log, Recovery), AuditError> {
        let lock = disk::lock_dir(dir, &dir.join(LOCK))?;
        let (end, recovery) = recover(dir)?;
        let disk = Disk::default();
        // Best effort here: on a full disk a start must still be possible, appends will say so.
        disk.reserve(&end.file, options.segment_bytes).unwrap_or_default();
        let shared = Arc::new(Shared {
            dir: dir.into(),
            options,
            disk,
            wake: Condvar::new(),
            state: Mutex::new(State {
                file: Arc::new(end.file),
                first: end.first,
                next: end.next,
                offset: end.offset,
                bytes: 0,
                flushed: end.next,
                flushed_bytes: 0,
                dirty_since: None,
                flushing_since: None,
                flush_now: false,
                crowd: 0,
                gather_until: None,
                spare: Spare::Pending,
                sealing: None,
                waiters: Vec::new(),
                closing: false,
                poisoned: false,
            }),
        });
        let flusher = std::thread::Builder::new()
            .name("audit-flush".into())
            .spawn({
                let shared = shared.clone();
                move || flusher::run(&shared)
            })
            .map_err(|e| AuditError::io("start a thread for", dir, e))?;
        Ok((Log { shared, flusher: Mutex::new(Some(flusher)), _lock: lock }, recovery))
    }

    /// Appends one record and returns its index. When this returns, the record is in the operating
    /// system's hands: the end of the process loses nothing. One short write, no flush, no wait.
    pub fn append(&self, record_json: &[u8]) -> Result<u64, AuditError> {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            segment::push_line(line, record_json)?;
            self.shared.append_line(line)
        })
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
            let (done, waiting) = oneshot::channel();
            state.waiters.push(Waiter { index, done });
            if state.crowd_is_here() {
                state.flush_now = true;
                self.shared.wake.notify_one();
            } else if state.gather_until.is_none() {
                state.gather_until = Some(Instant::now() + GATHER);
                self.shared.wake.notify_one();
            }
            waiting
        };
        // The flusher drops the waiters only when it gives up.
        waiting.await.map_err(|_| AuditError::Poisoned)
    }

    /// Appends, and waits as far as [`Options::degree`] says.
    pub async fn append_for_answer(&self, record_json: &[u8]) -> Result<u64, AuditError> {
        let index = self.append(record_json)?;
        if self.shared.options.degree == Degree::Fsync {
            self.flushed(index).await?;
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
    pub fn contains_request_ids(&self, ids: &HashSet<String>) -> Result<HashSet<String>, AuditError> {
        read::contains_request_ids(&self.shared.dir, ids)
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
        if self.shared.state.lock().poisoned { Err(AuditError::Poisoned) } else { Ok(()) }
    }

    #[cfg(test)]
    pub(crate) fn faults(&self) -> &disk::faults::Faults {
        &self.shared.disk.faults
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(e) = self.close() {
            tracing::error!(error = %e, "the audit log was not flushed at its end");
        }
    }
}

/// What appenders and the flusher share.
pub(crate) struct Shared {
    pub dir: PathBuf,
    pub options: Options,
    pub disk: Disk,
    /// Wakes the flusher.
    pub wake: Condvar,
    pub state: Mutex<State>,
}

pub(crate) struct State {
    /// The segment being written.
    pub file: Arc<File>,
    /// Index of its first record.
    pub first: u64,
    /// Index of the next record.
    pub next: u64,
    /// Where it goes.
    pub offset: u64,
    /// Bytes of lines written since the log was opened.
    pub bytes: u64,
    /// Records below this index are on stable storage.
    pub flushed: u64,
    pub flushed_bytes: u64,
    /// When the first record behind the flush under way was written.
    pub dirty_since: Option<Instant>,
    /// The same for the flush under way.
    pub flushing_since: Option<Instant>,
    /// Enough wait.
    pub flush_now: bool,
    /// How many waited for the flush before: so many are likely to come again.
    pub crowd: usize,
    /// Until when a flush waits for the crowd.
    pub gather_until: Option<Instant>,
    pub spare: Spare,
    /// The segment before, until it is flushed and the current one has its final name.
    pub sealing: Option<Sealing>,
    pub waiters: Vec<Waiter>,
    pub closing: bool,
    pub poisoned: bool,
}

/// The segment that follows the current one.
pub(crate) enum Spare {
    /// The flusher has yet to make it.
    Pending,
    /// Made, with its blocks set aside.
    Ready(File),
    /// Could not be made at this time; the flusher tries again.
    Failed(Instant),
}

/// A full segment.
pub(crate) struct Sealing {
    pub file: Arc<File>,
    /// End of its last record.
    pub len: u64,
    /// First index of its successor.
    pub next_first: u64,
}

pub(crate) struct Waiter {
    pub index: u64,
    pub done: oneshot::Sender<()>,
}

/// How long a flush waits for as many callers as the one before had. A flush costs the same for one as
/// for many, so a short wait saves more time than it takes; a caller on his own never waits.
pub(crate) const GATHER: Duration = Duration::from_micros(500);

/// How far a full segment may grow while the flusher is still busy making the next one, bytes.
const OVERSHOOT: u64 = 64 << 20;

impl State {
    /// True when as many wait as the flush before had, or one where it had none.
    pub fn crowd_is_here(&self) -> bool {
        self.waiters.len() >= self.crowd.max(1)
    }

    pub fn usable(&self) -> Result<(), AuditError> {
        match (self.poisoned, self.closing) {
            (true, _) => Err(AuditError::Poisoned),
            (_, true) => Err(AuditError::Closed),
            _ => Ok(()),
        }
    }
}

impl Shared {
    fn append_line(&self, line: &[u8]) -> Result<u64, AuditError> {
        let mut state = self.state.lock();
        state.usable()?;
        let room = self.options.segment_bytes.saturating_sub(state.offset) >= line.len() as u64;
        if room || state.next == state.first {
            self.write(&mut state, line)?;
        } else {
            match &state.spare {
                Spare::Ready(_) => self.write_to_next(&mut state, line)?,
                Spare::Pending if state.offset < self.options.segment_bytes.saturating_add(OVERSHOOT) => {
                    self.write(&mut state, line)?;
                }
                Spare::Pending | Spare::Failed(_) => return Err(AuditError::Full),
            }
        }
        let index = state.next;
        state.next += 1;
        state.bytes += line.len() as u64;
        if state.dirty_since.is_none() {
            state.dirty_since = Some(Instant::now());
            self.wake.notify_one();
        }
        Ok(index)
    }

    /// Writes at the end. A failed write leaves the end where it was: the next one overwrites what
    /// this one left, and what still sticks out is cut when the segment is sealed or recovered.
    fn write(&self, state: &mut State, line: &[u8]) -> Result<(), AuditError> {
        let wrote = self.disk.write_at(&state.file, line, state.offset);
        wrote.map_err(|e| self.write_failed(state.first, e))?;
        state.offset += line.len() as u64;
        Ok(())
    }

    /// Goes on in the spare segment: its header and first record are one write, so that a file
    /// without records means nothing was lost.
    fn write_to_next(&self, state: &mut State, line: &[u8]) -> Result<(), AuditError> {
        let Spare::Ready(file) = &state.spare else { return Err(AuditError::Full) };
        let mut start = segment::header(state.next).into_bytes();
        start.extend_from_slice(line);
        self.disk.write_at(file, &start, 0).map_err(|e| self.write_failed(state.next, e))?;
        if let Spare::Ready(file) = std::mem::replace(&mut state.spare, Spare::Pending) {
            let full = std::mem::replace(&mut state.file, Arc::new(file));
            state.sealing = Some(Sealing { file: full, len: state.offset, next_first: state.next });
            state.first = state.next;
            state.offset = start.len() as u64;
            state.flush_now = true;
            self.wake.notify_one();
        }
        Ok(())
    }

    fn write_failed(&self, first: u64, error: std::io::Error) -> AuditError {
        if is_full(&error) {
            return AuditError::Full;
        }
        AuditError::io("write", segment::path(&self.dir, first), error)
    }
}
