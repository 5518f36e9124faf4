//! The thread that flushes, seals full segments and makes the next one ahead of time.

use crate::{
    disk,
    error::AuditError,
    log::Degree,
    segment::{self, NEXT},
    shared::{GAP, Gathering, Sealing, Shared, Spare, Waiter},
};
use std::{fs, io, time::Instant};

/// How much room is written with zeros at once, bytes. The lock is held meanwhile: about 0.1 ms for 256 KiB.
const ZERO_STEP: usize = 256 << 10;

/// Runs until the log is closed or a flush fails.
pub(crate) fn run(shared: &Shared) {
    // Only where somebody waits for every flush.
    let zeros = vec![0; if shared.options.degree == Degree::Fsync { ZERO_STEP } else { 0 }];
    make_spare(shared);
    loop {
        let closing = wait_for_work(shared);
        if let Err(e) = flush(shared, &zeros) {
            tracing::error!(error = %e, "a flush of the audit log failed; no request is served any more");
            shared.state.lock().poison();
            return;
        }
        if closing {
            // Nothing can have been appended since the flush: closing refuses appends.
            give_back(shared);
            return;
        }
        make_spare(shared);
    }
}

/// Sleeps until there is something to flush or make; true when the log is being closed.
fn wait_for_work(shared: &Shared) -> bool {
    let every = shared.options.flush_every;
    let mut state = shared.state.lock();
    // Where many waited, many come again soon: who wakes by himself then need not be woken for the first of them.
    let mut linger = (state.crowd > 1).then(|| Instant::now() + GAP);
    while !state.closing && !state.flush_now && !state.poisoned {
        let retry = match state.spare {
            Spare::Failed(at) => Some(at + every),
            _ => None,
        };
        let due = state
            .dirty_since
            .map(|t| t + every)
            .into_iter()
            .chain(retry)
            .chain(state.gathering.as_ref().map(Gathering::due))
            .min();
        let now = Instant::now();
        if due.is_some_and(|due| due <= now) {
            break;
        }
        linger = linger.filter(|until| *until > now);
        match due.into_iter().chain(linger).min() {
            None => shared.wake.wait(&mut state),
            Some(until) => {
                state.wakes_at = Some(until);
                shared.wake.wait_until(&mut state, until);
                state.wakes_at = None;
            }
        }
    }
    state.closing
}

/// Flushes everything appended before this call, then tells those who wait for it.
fn flush(shared: &Shared, zeros: &[u8]) -> Result<(), AuditError> {
    let (file, first, target, target_bytes, sealing) = {
        let mut state = shared.state.lock();
        if state.poisoned {
            return Err(AuditError::Poisoned);
        }
        state.flush_now = false;
        state.gathering = None;
        if let Err(e) = shared.write_pending(&mut state) {
            // Those who waited for it have been told.
            tracing::error!(error = %e, "audit records could not be written; their requests were refused");
        }
        if state.flushed == state.next {
            state.dirty_since = None;
            return Ok(());
        }
        shared.zero_ahead(&mut state, zeros);
        state.flushing_since = state.dirty_since.take();
        (state.file.clone(), state.first, state.next, state.bytes, state.sealing.take())
    };
    // The order is the promise of recovery: a segment has its final name only when every earlier
    // record, and its own header, are on stable storage.
    if let Some(sealing) = &sealing {
        seal(shared, sealing)?;
    }
    shared.disk.flush(&file).map_err(|e| AuditError::io("flush", segment::path(&shared.dir, first), e))?;
    if let Some(sealing) = &sealing {
        name(shared, sealing.next_first)
            .map_err(|e| AuditError::io("rename", segment::path(&shared.dir, sealing.next_first), e))?;
    }
    let done = {
        let mut state = shared.state.lock();
        state.flushed = target;
        state.flushed_bytes = target_bytes;
        state.flushing_since = None;
        let done = state.waiters.extract_if(.., |w| w.index < target).collect::<Vec<Waiter>>();
        // Those who are answered now, and those who came meanwhile: counted apart, they would never meet.
        state.crowd = done.len() + state.waiters.len();
        if state.crowd_is_here() {
            state.flush_now = true;
        } else if !state.waiters.is_empty() {
            let now = Instant::now();
            state.gathering = Some(Gathering { since: now, last: now });
        }
        done
    };
    for waiter in done {
        // A caller that has gone away does not mind.
        waiter.done.send(Ok(())).unwrap_or_default();
    }
    Ok(())
}

/// Cuts the zeros behind the end, so that a closed log is its lines. A start cuts or keeps them just as well.
fn give_back(shared: &Shared) {
    let state = shared.state.lock();
    if (state.uncut || state.zeroed > state.offset)
        && let Err(e) = shared.disk.cut(&state.file, state.offset)
    {
        tracing::debug!(error = %e, "the unused rest of the audit log was not cut");
    }
}

/// Cuts a full segment to its records (freeing what was set aside, and the trace of a failed write)
/// and flushes it.
fn seal(shared: &Shared, sealing: &Sealing) -> Result<(), AuditError> {
    let failed = |e| AuditError::io("seal the segment before", segment::path(&shared.dir, sealing.next_first), e);
    shared.disk.cut(&sealing.file, sealing.len).map_err(failed)?;
    shared.disk.flush(&sealing.file).map_err(failed)
}

fn name(shared: &Shared, first: u64) -> io::Result<()> {
    fs::rename(shared.dir.join(NEXT), segment::path(&shared.dir, first))?;
    disk::flush_dir(&shared.dir)
}

/// Makes the next segment with its blocks set aside, unless there is one: the log then has at least
/// one segment's worth of room on a disk that others fill.
fn make_spare(shared: &Shared) {
    {
        let state = shared.state.lock();
        // Until a full segment is sealed, the current one still carries the spare's name.
        if matches!(state.spare, Spare::Ready(_)) || state.sealing.is_some() {
            return;
        }
    }
    let path = shared.dir.join(NEXT);
    let made = disk::create(&path).and_then(|file| {
        shared.disk.reserve(&file, shared.options.segment_bytes)?;
        Ok(file)
    });
    let mut state = shared.state.lock();
    match made {
        Ok(file) => state.spare = Spare::Ready(file),
        Err(e) => {
            if matches!(state.spare, Spare::Pending) {
                tracing::error!(error = %e, "the next segment of the audit log cannot be made");
            }
            state.spare = Spare::Failed(Instant::now());
        }
    }
}
