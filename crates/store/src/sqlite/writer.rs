//! The one thread that writes. It gathers what waits into one transaction (group commit), each call in a
//! savepoint of its own, so that one that fails does not undo the others, and one flush serves them all.

use crate::error::{Result, StoreError};
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::sync::oneshot;

/// A call that writes, on its way to the thread.
pub(super) trait Job: Send {
    /// Does the work inside the savepoint. On an error it is undone.
    fn run(&mut self, conn: &Connection) -> Result<()>;

    /// Tells the caller, after the commit, or after the error that undid everything.
    fn answer(self: Box<Self>, commit: Result<()>);
}

/// The work of one call, its outcome once it ran, and where the caller waits.
pub(super) struct Call<T, F> {
    work: Option<F>,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Call<T, F> {
    pub(super) fn new(work: F) -> (Self, oneshot::Receiver<Result<T>>) {
        let (reply, wait) = oneshot::channel();
        (Call { work: Some(work), outcome: None, reply }, wait)
    }
}

impl<T: Send, F: FnOnce(&Connection) -> Result<T> + Send> Job for Call<T, F> {
    fn run(&mut self, conn: &Connection) -> Result<()> {
        let outcome = self.work.take().map_or_else(|| Err(StoreError::closed()), |work| work(conn));
        let done = outcome.as_ref().map(|_| ()).map_err(StoreError::clone);
        self.outcome = Some(outcome);
        done
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
        while let Ok(first) = queue.recv() {
            jobs.push(first);
            while jobs.len() < self.batch {
                let Ok(next) = queue.try_recv() else { break };
                jobs.push(next);
            }
            let done = self.transaction(&mut jobs);
            if let Err(e) = &done {
                tracing::warn!(error = %e, calls = jobs.len(), "a commit of the store failed");
                self.recover();
            }
            for job in jobs.drain(..) {
                job.answer(done.clone());
            }
        }
        if let Err(e) = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::warn!(error = %e, "the store's log stays behind; the next start takes it over");
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
        match super::schema::open_writer(&self.path, self.busy) {
            Ok(conn) => self.conn = conn,
            Err(e) => tracing::error!(error = %e, "the store cannot be opened again yet"),
        }
    }
}
