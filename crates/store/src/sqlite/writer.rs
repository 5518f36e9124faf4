//! The one thread that writes. It gathers what waits into one transaction (group commit), each call in a
//! savepoint of its own, so that one that fails does not undo the others, and one flush serves them all.

use crate::error::{Result, StoreError};
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long the log may keep what has been destroyed. One emptying, which costs several flushes, then serves all
/// that is destroyed in that time, such as a job's keys one by one.
const SCRUB_AFTER: Duration = Duration::from_secs(1);
/// How long to wait for readers when emptying the log; meanwhile nothing is written.
const SCRUB_BUSY: Duration = Duration::from_millis(50);

/// A call that writes, on its way to the thread.
pub(super) trait Job: Send {
    /// Does the work inside the savepoint. On an error it is undone.
    fn run(&mut self, conn: &Connection) -> Result<()>;

    /// Whether it removes secrets, so that the log must not keep them.
    fn destroys(&self) -> bool;

    /// Tells the caller, after the commit, or after the error that undid everything.
    fn answer(self: Box<Self>, commit: Result<()>);
}

/// The work of one call, its outcome once it ran, and where the caller waits.
pub(super) struct Call<T, F> {
    destroys: bool,
    work: Option<F>,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Call<T, F> {
    pub(super) fn new(destroys: bool, work: F) -> (Self, oneshot::Receiver<Result<T>>) {
        let (reply, wait) = oneshot::channel();
        (Call { destroys, work: Some(work), outcome: None, reply }, wait)
    }
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T> + Send> Job for Call<T, F> {
    fn run(&mut self, conn: &Connection) -> Result<()> {
        let outcome = self.work.take().map_or_else(|| Err(StoreError::closed()), |work| work(conn));
        let done = outcome.as_ref().map(|_| ()).map_err(StoreError::clone);
        self.outcome = Some(outcome);
        done
    }

    fn destroys(&self) -> bool {
        self.destroys
    }

    fn answer(self: Box<Self>, commit: Result<()>) {
        // A caller whose own work failed gets the commit's error too: what it saw (an alias in use, say) may
        // have been another call's change, which is undone now.
        let Call { outcome, reply, .. } = *self;
        let answer = commit.and_then(|()| outcome.unwrap_or_else(|| Err(StoreError::closed())));
        // A caller that went away does not undo its change.
        let _ = reply.send(answer);
    }
}

pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    pub(super) busy: Duration,
    pub(super) batch: usize,
}

impl Writer {
    /// Works until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, queue: Receiver<Box<dyn Job>>) {
        let mut jobs = Vec::with_capacity(self.batch);
        let mut scrub = None;
        loop {
            let first = match next(&queue, scrub) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    scrub = self.scrub();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            jobs.push(first);
            while jobs.len() < self.batch {
                let Ok(next) = queue.try_recv() else { break };
                jobs.push(next);
            }
            if jobs.iter().any(|j| j.destroys()) {
                scrub.get_or_insert_with(|| Instant::now() + SCRUB_AFTER);
            }
            let done = self.transaction(&mut jobs);
            if let Err(e) = &done {
                tracing::warn!(error = %e, calls = jobs.len(), "a commit of the store failed");
                self.recover();
            }
            for job in jobs.drain(..) {
                job.answer(done.clone());
            }
            if scrub.is_some_and(|at| at <= Instant::now()) {
                scrub = self.scrub();
            }
        }
        if let Err(e) = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(error = %e, "the store's log stays behind; the next start takes it over");
        }
    }

    /// Moves the log into the file and cuts it off: older copies of overwritten pages are gone with it. Tells when
    /// to try again, for instance because a reader still needs the log.
    fn scrub(&self) -> Option<Instant> {
        let emptied = self.conn.busy_timeout(SCRUB_BUSY).and_then(|()| {
            let busy = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get::<_, bool>(0));
            self.conn.busy_timeout(self.busy)?;
            busy.map(|busy| !busy)
        });
        match emptied {
            Ok(true) => None,
            Ok(false) => Some(Instant::now() + SCRUB_AFTER),
            Err(e) => {
                tracing::warn!(error = %e, "the store's log cannot be emptied yet");
                Some(Instant::now() + SCRUB_AFTER)
            }
        }
    }

    fn transaction(&self, jobs: &mut [Box<dyn Job>]) -> Result<()> {
        // IMMEDIATE: waits for another process here, where nothing has been read yet, rather than failing on the
        // way from reading to writing.
        self.exec("BEGIN IMMEDIATE")?;
        for job in jobs {
            self.exec("SAVEPOINT call")?;
            let done = job.run(&self.conn);
            if self.conn.is_autocommit() {
                // SQLite gives up the whole transaction on some errors (no room, input/output). Going on would
                // commit each statement by itself.
                return Err(match done {
                    Err(e @ (StoreError::Full(_) | StoreError::Unavailable(_))) => e,
                    _ => StoreError::Unavailable("the transaction was abandoned".into()),
                });
            }
            if done.is_err() {
                self.exec("ROLLBACK TO call")?;
            }
            self.exec("RELEASE call")?;
        }
        self.exec("COMMIT")
    }

    fn exec(&self, sql: &str) -> Result<()> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// Leaves a connection without a transaction: by rolling back or, failing that, by a new connection.
    fn recover(&mut self) {
        if self.conn.is_autocommit() || (self.exec("ROLLBACK").is_ok() && self.conn.is_autocommit()) {
            return;
        }
        match super::schema::open_writer(&self.path, self.busy, false) {
            Ok(conn) => self.conn = conn,
            Err(e) => tracing::error!(error = %e, "the store cannot be opened again yet"),
        }
    }
}

/// The next call, or `Timeout` at the time to empty the log, if there is one.
fn next(queue: &Receiver<Box<dyn Job>>, scrub: Option<Instant>) -> Result<Box<dyn Job>, RecvTimeoutError> {
    match scrub {
        None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(at) => queue.recv_timeout(at.saturating_duration_since(Instant::now())),
    }
}
