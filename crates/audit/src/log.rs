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
    io,
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
                zeroed: end.zeroed,
                pending: Vec::new(),
                pending_records: 0,
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
            self.shared.wait_for_flush(&mut state, index)
        };
        outcome(waiting).await
    }

    /// Appends, and waits as far as [`Options::degree`] says. In degree `fsync` the record stays in memory until
    /// the flush that the answer waits for: it is written together with the others of that flush.
    pub async fn append_for_answer(&self, record_json: &[u8]) -> Result<u64, AuditError> {
        if self.shared.options.degree == Degree::Os {
            return self.append(record_json);
        }
        let (index, waiting) = self.shared.append_pending(record_json)?;
        outcome(waiting).await.map(|()| index)
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
    /// End of what is written.
    pub offset: u64,
    /// Up to here the file has been written, from `offset` on with zeros.
    pub zeroed: u64,
    /// Lines that go to `offset` with the next write, whoever makes it.
    pub pending: Vec<u8>,
    /// Their number; the last records before `next`.
    pub pending_records: u64,
    /// Bytes of lines appended since the log was opened.
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
    /// How many waited when the flush before ended, for it or for the next one: so many are likely to come again.
    pub crowd: usize,
    /// Set while a flush waits for the crowd.
    pub gathering: Option<Gathering>,
    /// When the flusher wakes by itself, while it sleeps.
    pub wakes_at: Option<Instant>,
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
    pub done: oneshot::Sender<Result<(), AuditError>>,
}

/// A flush that waits for as many callers as were there when the one before ended. A flush costs the same for one
/// as for many, so a short wait saves more time than it takes; a caller on his own never waits.
pub(crate) struct Gathering {
    pub since: Instant,
    /// When the last caller came.
    pub last: Instant,
}

impl Gathering {
    /// When it is over, whoever is missing.
    pub fn due(&self) -> Instant {
        (self.since + GATHER).min(self.last + GAP)
    }
}

/// Longest time for which a flush waits for callers that keep coming.
const GATHER: Duration = Duration::from_millis(1);
/// How long it waits for the next of them: time for an answer to go out and for the caller's next request.
pub(crate) const GAP: Duration = Duration::from_micros(200);

/// How far a full segment may grow while the flusher is still busy making the next one, bytes.
const OVERSHOOT: u64 = 64 << 20;

impl State {
    /// True when as many wait as are likely to come, or one where none is.
    pub fn crowd_is_here(&self) -> bool {
        self.waiters.len() >= self.crowd.max(1)
    }

    /// Refuses all further work; dropping the waiters tells them.
    pub fn poison(&mut self) {
        self.poisoned = true;
        self.waiters.clear();
    }

    pub fn usable(&self) -> Result<(), AuditError> {
        match (self.poisoned, self.closing) {
            (true, _) => Err(AuditError::Poisoned),
            (_, true) => Err(AuditError::Closed),
            _ => Ok(()),
        }
    }
}

/// Where a line goes.
enum Place {
    Here,
    NextSegment,
}

impl Shared {
    /// Appends a line and, before it, what is pending; the operating system has both when this returns.
    fn append_line(&self, line: &[u8]) -> Result<u64, AuditError> {
        let mut state = self.state.lock();
        match self.place(&state, line.len())? {
            Place::Here => self.write(&mut state, line)?,
            Place::NextSegment => self.write_to_next(&mut state, line)?,
        }
        Ok(self.appended(&mut state, line.len()))
    }

    /// Appends a record that is written when the flush begins that the caller waits for.
    fn append_pending(
        &self,
        record_json: &[u8],
    ) -> Result<(u64, oneshot::Receiver<Result<(), AuditError>>), AuditError> {
        let mut state = self.state.lock();
        let index = match self.place(&state, segment::line_len(record_json))? {
            Place::Here => {
                let before = state.pending.len();
                segment::push_line(&mut state.pending, record_json)?;
                state.pending_records += 1;
                let len = state.pending.len() - before;
                self.appended(&mut state, len)
            }
            Place::NextSegment => {
                let mut line = Vec::new();
                segment::push_line(&mut line, record_json)?;
                self.write_to_next(&mut state, &line)?;
                self.appended(&mut state, line.len())
            }
        };
        Ok((index, self.wait_for_flush(&mut state, index)))
    }

    fn place(&self, state: &State, len: usize) -> Result<Place, AuditError> {
        state.usable()?;
        let end = state.offset + state.pending.len() as u64;
        let room = self.options.segment_bytes.saturating_sub(end) >= len as u64;
        if room || state.next == state.first {
            return Ok(Place::Here);
        }
        match &state.spare {
            Spare::Ready(_) => Ok(Place::NextSegment),
            Spare::Pending if end < self.options.segment_bytes.saturating_add(OVERSHOOT) => Ok(Place::Here),
            Spare::Pending | Spare::Failed(_) => Err(AuditError::Full),
        }
    }

    /// Counts a record that has found its place; returns its index.
    fn appended(&self, state: &mut State, len: usize) -> u64 {
        let index = state.next;
        state.next += 1;
        state.bytes += len as u64;
        if state.dirty_since.is_none() {
            let now = Instant::now();
            state.dirty_since = Some(now);
            self.wake_by(state, now + self.options.flush_every);
        }
        index
    }

    fn wait_for_flush(&self, state: &mut State, index: u64) -> oneshot::Receiver<Result<(), AuditError>> {
        let (done, waiting) = oneshot::channel();
        state.waiters.push(Waiter { index, done });
        if state.crowd_is_here() {
            state.flush_now = true;
            self.wake.notify_one();
        } else {
            let now = Instant::now();
            match &mut state.gathering {
                Some(gathering) => gathering.last = now,
                None => {
                    let gathering = Gathering { since: now, last: now };
                    self.wake_by(state, gathering.due());
                    state.gathering = Some(gathering);
                }
            }
        }
        waiting
    }

    /// Wakes the flusher unless it wakes early enough by itself.
    fn wake_by(&self, state: &State, due: Instant) {
        if state.wakes_at.is_none_or(|at| at > due) {
            self.wake.notify_one();
        }
    }

    /// Writes what is pending.
    pub fn write_pending(&self, state: &mut State) -> Result<(), AuditError> {
        if state.pending.is_empty() { Ok(()) } else { self.write(state, b"") }
    }

    /// Writes what is pending and `line` behind it, in one write. When it fails, nobody of them has been
    /// written, and those who wait for what was pending are told.
    fn write(&self, state: &mut State, line: &[u8]) -> Result<(), AuditError> {
        let wrote = if state.pending.is_empty() {
            self.disk.write_at(&state.file, line, state.offset)
        } else {
            state.pending.extend_from_slice(line);
            self.disk.write_at(&state.file, &state.pending, state.offset)
        };
        let pending = state.pending.len() - if state.pending.is_empty() { 0 } else { line.len() };
        if let Err(e) = wrote {
            self.take_back(state, pending as u64, &e);
            return Err(self.write_failed(state.first, e));
        }
        state.offset += (pending + line.len()) as u64;
        state.pending.clear();
        state.pending_records = 0;
        Ok(())
    }

    /// After a failed write: refuses those whose records it held, and cuts what it left, lest a whole line of a
    /// refused group be found behind lines that are written over it.
    fn take_back(&self, state: &mut State, pending: u64, error: &io::Error) {
        state.next -= state.pending_records;
        state.bytes -= pending;
        state.pending.clear();
        state.pending_records = 0;
        let written = state.next;
        for waiter in state.waiters.extract_if(.., |w| w.index >= written) {
            let same = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            // A caller that has gone away does not mind.
            waiter.done.send(Err(self.write_failed(state.first, same))).unwrap_or_default();
        }
        match self.disk.cut(&state.file, state.offset) {
            Ok(()) => state.zeroed = state.offset,
            Err(e) => {
                tracing::error!(error = %e, "what a failed write left in the audit log cannot be cut");
                state.poison();
                self.wake.notify_one();
            }
        }
    }

    /// Goes on in the spare segment, once all before is written: its header and first record are one write, so
    /// that a file without records means nothing was lost.
    fn write_to_next(&self, state: &mut State, line: &[u8]) -> Result<(), AuditError> {
        self.write_pending(state)?;
        let Spare::Ready(file) = &state.spare else { return Err(AuditError::Full) };
        let mut start = segment::header(state.next).into_bytes();
        start.extend_from_slice(line);
        self.disk.write_at(file, &start, 0).map_err(|e| self.write_failed(state.next, e))?;
        if let Spare::Ready(file) = std::mem::replace(&mut state.spare, Spare::Pending) {
            let full = std::mem::replace(&mut state.file, Arc::new(file));
            state.sealing = Some(Sealing { file: full, len: state.offset, next_first: state.next });
            state.first = state.next;
            state.offset = start.len() as u64;
            state.zeroed = state.offset;
            state.flush_now = true;
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Writes the next of `zeros` into the room behind the end, when little of it is left. A flush of bytes that
    /// lie in blocks written before changes neither the file's length nor its map of blocks, and so needs no
    /// commit of the file system's journal: half the price. That it fails is no harm.
    pub fn zero_ahead(&self, state: &mut State, zeros: &[u8]) {
        let start = state.zeroed.max(state.offset);
        let end = (start + zeros.len() as u64).min(self.options.segment_bytes);
        if state.zeroed < state.offset + zeros.len() as u64 / 4
            && let Some(zeros) = end.checked_sub(start).and_then(|len| zeros.get(..usize::try_from(len).ok()?))
            && self.disk.write_at(&state.file, zeros, start).is_ok()
        {
            state.zeroed = end;
        }
    }

    fn write_failed(&self, first: u64, error: io::Error) -> AuditError {
        if is_full(&error) {
            return AuditError::Full;
        }
        AuditError::io("write", segment::path(&self.dir, first), error)
    }
}
