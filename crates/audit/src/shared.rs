//! What appenders, the flusher and the notary share: the state of the segment being written, behind one short lock.

use crate::{
    disk::Disk,
    error::{AuditError, is_full},
    log::Options,
    notary::Notary,
    segment::{self, Line},
    tree::Hash,
};
use parking_lot::{Condvar, Mutex};
use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// What appenders and the flusher share.
pub(crate) struct Shared {
    pub dir: PathBuf,
    pub options: Options,
    pub disk: Disk,
    pub notary: Notary,
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
    /// A failed write may have left something from `offset` on that could not be cut yet. Nothing is written until it is.
    pub uncut: bool,
    /// Lines that go to `offset` with the next write, whoever makes it.
    pub pending: Vec<u8>,
    /// Their number; the last records before `next`.
    pub pending_records: u64,
    /// Theirs.
    pub group: Arc<Group>,
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
    /// Hashes of the records from `leaves_from` to the last, until the tree takes them.
    pub leaves: Vec<Hash>,
    pub leaves_from: u64,
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

/// Records that are written together. Whoever appended one learns here whether the write came about.
#[derive(Default)]
pub(crate) struct Group(OnceLock<Option<(io::ErrorKind, Option<i32>)>>);

impl Group {
    fn end(&self, failure: Option<&io::Error>) {
        // Each group ends once: the state lets go of it then.
        self.0.set(failure.map(|e| (e.kind(), e.raw_os_error()))).unwrap_or_default();
    }

    /// The error of the write, if it has been tried.
    fn outcome(&self) -> Option<Result<(), io::Error>> {
        self.0.get().map(|failure| match failure {
            None => Ok(()),
            Some((_, Some(code))) => Err(io::Error::from_raw_os_error(*code)),
            Some((kind, None)) => Err((*kind).into()),
        })
    }
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
    /// Appends a line; the operating system has it, and what was pending before it, when this returns.
    pub fn append_written(&self, line: &Line<'_>) -> Result<u64, AuditError> {
        let mut state = self.state.lock();
        let (index, _) = self.append(&mut state, line)?;
        self.write_pending(&mut state)?;
        Ok(index)
    }

    /// Appends a line that waits in memory, to be written together with others. `None` for the group: it is written.
    pub fn append_pending(&self, line: &Line<'_>) -> Result<(u64, Option<Arc<Group>>), AuditError> {
        let mut state = self.state.lock();
        let (index, written) = self.append(&mut state, line)?;
        Ok((index, (!written).then(|| state.group.clone())))
    }

    /// The same, and waits for the flush.
    pub fn append_flushing(
        &self,
        line: &Line<'_>,
    ) -> Result<(u64, oneshot::Receiver<Result<(), AuditError>>), AuditError> {
        let mut state = self.state.lock();
        let (index, _) = self.append(&mut state, line)?;
        Ok((index, self.wait_for_flush(&mut state, index)))
    }

    /// Finds a line its place; true when it has been written.
    fn append(&self, state: &mut State, line: &Line<'_>) -> Result<(u64, bool), AuditError> {
        let place = self.place(state, line.len())?;
        match place {
            Place::Here => {
                line.push_to(&mut state.pending);
                state.pending_records += 1;
            }
            Place::NextSegment => self.write_to_next(state, line)?,
        }
        Ok((self.appended(state, line), matches!(place, Place::NextSegment)))
    }

    /// Makes sure that a group is written, by writing it where nobody has.
    pub fn written(&self, group: &Group) -> Result<(), AuditError> {
        let ended = group.outcome().or_else(|| {
            let mut state = self.state.lock();
            // Somebody may have been faster.
            group.outcome().or_else(|| {
                let _ = self.write_pending(&mut state);
                group.outcome()
            })
        });
        let failed = |e| self.write_failed(self.state.lock().first, e);
        // A group ends with the write of what is pending.
        ended.unwrap_or_else(|| Err(io::ErrorKind::Other.into())).map_err(failed)
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
    fn appended(&self, state: &mut State, line: &Line<'_>) -> u64 {
        let index = state.next;
        state.next += 1;
        state.leaves.push(line.leaf);
        state.bytes += line.len() as u64;
        if state.dirty_since.is_none() {
            let now = Instant::now();
            state.dirty_since = Some(now);
            self.wake_by(state, now + self.options.flush_every);
        }
        index
    }

    pub fn wait_for_flush(&self, state: &mut State, index: u64) -> oneshot::Receiver<Result<(), AuditError>> {
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

    /// The hashes of flushed records that have not been taken yet, in their order.
    pub fn take_flushed_leaves(&self) -> Vec<Hash> {
        let mut state = self.state.lock();
        let count = usize::try_from(state.flushed.saturating_sub(state.leaves_from)).unwrap_or(usize::MAX);
        let count = count.min(state.leaves.len());
        let behind = state.leaves.split_off(count);
        let taken = std::mem::replace(&mut state.leaves, behind);
        state.leaves_from += taken.len() as u64;
        taken
    }

    /// Writes what is pending, in one write. When it fails, nothing of it has been written, and those who wait for it are
    /// told.
    pub fn write_pending(&self, state: &mut State) -> Result<(), AuditError> {
        if state.pending.is_empty() {
            return Ok(());
        }
        let wrote =
            self.cut_leftovers(state).and_then(|()| self.disk.write_at(&state.file, &state.pending, state.offset));
        if let Err(e) = wrote {
            self.take_back(state, &e);
            return Err(self.write_failed(state.first, e));
        }
        state.offset += state.pending.len() as u64;
        self.end_group(state, None);
        Ok(())
    }

    /// Tells those who wait for the write of what was pending how it ended.
    fn end_group(&self, state: &mut State, failure: Option<&io::Error>) {
        if state.pending_records > 0 {
            std::mem::take(&mut state.group).end(failure);
        }
        state.pending.clear();
        state.pending_records = 0;
    }

    /// After a failed write: refuses those whose records it held, and cuts what it left, lest a whole line of a
    /// refused group be found behind lines that are written over it.
    fn take_back(&self, state: &mut State, error: &io::Error) {
        state.next -= state.pending_records;
        state.leaves.truncate(usize::try_from(state.next - state.leaves_from).unwrap_or(usize::MAX));
        state.bytes -= state.pending.len() as u64;
        self.end_group(state, Some(error));
        let written = state.next;
        for waiter in state.waiters.extract_if(.., |w| w.index >= written) {
            let same = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            // A caller that has gone away does not mind.
            waiter.done.send(Err(self.write_failed(state.first, same))).unwrap_or_default();
        }
        if !std::mem::replace(&mut state.uncut, true)
            && let Err(e) = self.cut_leftovers(state)
        {
            tracing::error!(error = %e, "what a failed write left in the audit log cannot be cut yet");
        }
    }

    /// Cuts what a failed write has left. On a file system that has become read-only that fails like the write: then the next
    /// write tries it again before anything else.
    fn cut_leftovers(&self, state: &mut State) -> io::Result<()> {
        if state.uncut {
            self.disk.cut(&state.file, state.offset)?;
            (state.uncut, state.zeroed) = (false, state.offset);
        }
        Ok(())
    }

    /// Goes on in the spare segment, once all before is written: its header and first record are one write, so
    /// that a file without records means nothing was lost.
    fn write_to_next(&self, state: &mut State, line: &Line<'_>) -> Result<(), AuditError> {
        self.write_pending(state)?;
        self.cut_leftovers(state).map_err(|e| self.write_failed(state.first, e))?;
        let Spare::Ready(file) = &state.spare else { return Err(AuditError::Full) };
        let mut start = segment::header(state.next).into_bytes();
        line.push_to(&mut start);
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
        if !state.uncut
            && state.zeroed < state.offset + zeros.len() as u64 / 4
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
