//! The thread that flushes, seals full segments and makes the next one ahead of time.

use crate::{
    disk,
    error::AuditError,
    log::{GATHER, Sealing, Shared, Spare, Waiter},
    segment::{self, NEXT},
};
use std::{fs, io, time::Instant};

/// Runs until the log is closed or a flush fails.
pub(crate) fn run(shared: &Shared) {
    make_spare(shared);
    loop {
        let closing = wait_for_work(shared);
        if let Err(e) = flush(shared) {
            tracing::error!(error = %e, "a flush of the audit log failed; no request is served any more");
            poison(shared);
            return;
        }
        if closing {
            // Nothing can have been appended since the flush: closing refuses appends.
            return;
        }
        make_spare(shared);
    }
}

/// Sleeps until there is something to flush or make; true when the log is being closed.
fn wait_for_work(shared: &Shared) -> bool {
    let every = shared.options.flush_every;
    let mut state = shared.state.lock();
    while !state.closing && !state.flush_now {
        let retry = match state.spare {
            Spare::Failed(at) => Some(at + every),
            _ => None,
        };
        let due = state.dirty_since.map(|t| t + every).into_iter().chain(retry).chain(state.gather_until).min();
        match due {
            None => shared.wake.wait(&mut state),
            Some(due) if due <= Instant::now() => break,
            Some(due) => {
                shared.wake.wait_until(&mut state, due);
            }
        }
    }
    state.closing
}

/// Flushes everything appended before this call, then tells those who wait for it.
fn flush(shared: &Shared) -> Result<(), AuditError> {
    let (file, first, target, target_bytes, sealing) = {
        let mut state = shared.state.lock();
        state.flush_now = false;
        state.gather_until = None;
        if state.flushed == state.next {
            return Ok(());
        }
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
        state.crowd = done.len();
        if state.crowd_is_here() {
            state.flush_now = true;
        } else if !state.waiters.is_empty() {
            state.gather_until = Some(Instant::now() + GATHER);
        }
        done
    };
    for waiter in done {
        // A caller that has gone away does not mind.
        waiter.done.send(()).unwrap_or_default();
    }
    Ok(())
}

/// Cuts a full segment to its records (freeing what was set aside, and the trace of a failed write)
/// and flushes it.
fn seal(shared: &Shared, sealing: &Sealing) -> Result<(), AuditError> {
    let failed = |e| AuditError::io("seal the segment before", segment::path(&shared.dir, sealing.next_first), e);
    sealing.file.set_len(sealing.len).map_err(failed)?;
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

/// Refuses all further work; dropping the waiters tells them.
fn poison(shared: &Shared) {
    let mut state = shared.state.lock();
    state.poisoned = true;
    state.waiters.clear();
}
