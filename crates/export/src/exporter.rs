//! The loop of an export: read, send, move the cursor, wait.

use crate::{
    SendError,
    batch::{Batch, Seen, micros},
    cursor::{self, Cursor, leaf_hash},
    file::FileSink,
    http::HttpSink,
    settings::{From, Kind, Settings},
    status::{Status, now_micros},
    syslog::SyslogSink,
};
use jadeseal_audit::{AuditError, FollowError, Follower, Log};
use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{oneshot, watch};

/// How often the log is looked at while there is nothing to send.
const POLL: Duration = Duration::from_millis(200);
/// Bytes of records in one batch; all that an export holds in memory, a few times over.
const BATCH_BYTES: usize = 1 << 20;
/// Least time between two writes of a cursor.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Shortest and longest wait after a failure.
const BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// How often a failure that lasts is logged.
const REMIND: Duration = Duration::from_secs(60);
/// Time for what is left when the process stops, and how much longer a thread is waited for that the system holds up.
const LAST: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_millis(250);
/// As for other threads that do not answer requests (nice value).
const NICENESS: i32 = 5;

/// The running exports.
pub struct Exports {
    running: Vec<Running>,
    stop: watch::Sender<bool>,
}

struct Running {
    status: Arc<Status>,
    ended: oneshot::Receiver<()>,
}

impl Exports {
    /// Starts a thread for each export. What is wrong with one of them stops that one, with a line in the process's log.
    pub fn start(settings: &[Settings], data_dir: &Path, log_dir: &Path, log: &Arc<Log>) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut running = Vec::new();
        for settings in settings {
            let status = Arc::new(Status::new(settings.name.clone(), log.clone()));
            let (ending, ended) = oneshot::channel();
            let exporter = Exporter::new(settings.clone(), data_dir, log_dir, status.clone(), stopped.clone());
            std::thread::Builder::new().name(format!("export-{}", settings.name)).spawn(move || {
                run_thread(exporter);
                // Nobody waits unless the process stops.
                ending.send(()).unwrap_or_default();
            })?;
            running.push(Running { status, ended });
        }
        Ok(Exports { running, stop })
    }

    /// What the metrics read.
    pub fn statuses(&self) -> Vec<Arc<Status>> {
        self.running.iter().map(|r| r.status.clone()).collect()
    }

    /// Lets every export send what is left, for 2 seconds at most, and stops it. To be called when nothing is appended
    /// to the log any more and it is flushed.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let all = async {
            for running in self.running {
                running.ended.await.unwrap_or_default();
            }
        };
        if tokio::time::timeout(LAST + GRACE, all).await.is_err() {
            tracing::warn!("an export does not stop; it goes on from its cursor at the next start");
        }
    }
}

fn run_thread(mut exporter: Exporter) {
    let (status, name) = (exporter.status.clone(), exporter.settings.name.clone());
    // On Linux this acts on the thread alone.
    if let Err(e) = rustix::process::nice(NICENESS) {
        tracing::debug!(error = %e, "the priority of a thread could not be lowered");
    }
    let run = AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
        let runtime = runtime.map_err(|e| Stopped(e.to_string()))?;
        let ended = runtime.block_on(exporter.run_until_stopped());
        // A look-up of a name that hangs must not hold up the end.
        runtime.shutdown_background();
        ended
    });
    match catch_unwind(run) {
        Ok(Ok(())) => {}
        Ok(Err(e)) => {
            status.stopped();
            tracing::error!(export = name, reason = %e, "an export has stopped; records stay in the audit log");
        }
        Err(_) => {
            status.stopped();
            tracing::error!(export = name, "an export has stopped by a panic; records stay in the audit log");
        }
    }
}

/// Why an export gives up: only the operator can help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stopped(pub String);

/// Where records go.
enum Sink {
    File(FileSink),
    Syslog(SyslogSink),
    Http(HttpSink),
}

impl Sink {
    fn new(settings: &Settings) -> Self {
        let log = settings.log.clone();
        match settings.kind.clone() {
            Kind::File(file) => Sink::File(FileSink::new(file, log)),
            Kind::Syslog(syslog) => Sink::Syslog(SyslogSink::new(syslog, log)),
            Kind::Http(http) => Sink::Http(HttpSink::new(http, log)),
        }
    }

    /// Sends a batch, behind which the export stands at `after`; returns what is taken for sure by now. Blocks the
    /// thread for a file.
    async fn send(&mut self, batch: &Batch, after: Cursor) -> Result<Option<Cursor>, SendError> {
        match self {
            Sink::File(file) => file.send(batch).map(|()| Some(after)),
            Sink::Http(http) => http.send(batch).await.map(|()| Some(after)),
            Sink::Syslog(syslog) if syslog.is_stream() => syslog.send(batch, after).await.map(|()| None),
            Sink::Syslog(syslog) => syslog.send(batch, after).await.map(|()| Some(after)),
        }
    }

    async fn settled(&mut self) -> Result<Option<Cursor>, SendError> {
        match self {
            Sink::Syslog(syslog) => syslog.settled().await,
            _ => Ok(None),
        }
    }

    async fn finish(&mut self) -> Option<Cursor> {
        match self {
            Sink::Syslog(syslog) => syslog.finish().await,
            _ => None,
        }
    }
}

/// Failures in a row.
#[derive(Default)]
struct Trouble {
    count: u32,
    /// When the log was last told of a failure, and whether it was of these.
    told: Option<Instant>,
    of_these: bool,
}

pub(crate) struct Exporter {
    settings: Settings,
    data_dir: PathBuf,
    log_dir: PathBuf,
    status: Arc<Status>,
    sink: Sink,
    follower: Option<Follower>,
    /// Read and not sent.
    pending: Option<Batch>,
    /// Index of the next record to send.
    next: u64,
    /// What has been taken for sure; never ahead of `next`.
    taken: Cursor,
    saved: Option<(Cursor, Instant)>,
    /// When the log was last told that the cursor cannot be written.
    unsaved: Option<Instant>,
    trouble: Trouble,
    stop: watch::Receiver<bool>,
}

impl Exporter {
    pub fn new(
        settings: Settings,
        data_dir: &Path,
        log_dir: &Path,
        status: Arc<Status>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Exporter {
            sink: Sink::new(&settings),
            settings,
            data_dir: data_dir.into(),
            log_dir: log_dir.into(),
            status,
            follower: None,
            pending: None,
            next: 0,
            taken: Cursor { next: 0, leaf: None },
            saved: None,
            unsaved: None,
            trouble: Trouble::default(),
            stop,
        }
    }

    /// Runs, and ends 2 seconds after it was told to at the latest, unless the system holds the thread up.
    pub async fn run_until_stopped(&mut self) -> Result<(), Stopped> {
        self.prepare()?;
        let mut stop = self.stop.clone();
        let late = async {
            stop.wait_for(|stop| *stop).await.map(drop).unwrap_or_default();
            tokio::time::sleep(LAST).await;
        };
        let ended = tokio::select! {
            ended = self.run() => ended,
            () = late => Ok(()),
        };
        self.save(true);
        let left = self.status.flushed().saturating_sub(self.next);
        if left > 0 && ended.is_ok() {
            tracing::warn!(export = self.settings.name, records = left, "the rest is exported after the next start");
        }
        ended
    }

    /// Finds the place to go on from, and checks that the log is the one that the cursor was made for.
    fn prepare(&mut self) -> Result<(), Stopped> {
        let end = self.status.flushed();
        let name = &self.settings.name;
        let loaded = Cursor::load(&self.data_dir, name).map_err(|e| Stopped(e.to_string()))?;
        self.taken = match (loaded, self.settings.from) {
            (Some(cursor), _) => cursor,
            (None, From::Beginning) => Cursor { next: 0, leaf: None },
            (None, From::Now) => Cursor { next: end, leaf: None },
        };
        self.next = self.taken.next;
        self.status.at(self.next);
        self.check_place(end)?;
        tracing::info!(export = name, next = self.next, behind = end - self.next, "exporting audit records");
        self.save(true);
        Ok(())
    }

    fn check_place(&self, end: u64) -> Result<(), Stopped> {
        let Cursor { next, leaf } = self.taken;
        let advice = || {
            let path = cursor::path(&self.data_dir, &self.settings.name);
            format!(
                "the log seems to be an older copy that was put back. Remove {} to export the log that is there \
                 anew from where `from` says, and tell the receiver that records repeat or differ",
                path.display()
            )
        };
        if next > end {
            return Err(Stopped(format!(
                "its cursor is at record {next}, but the log ends before {end}; {}",
                advice()
            )));
        }
        let (Some(last), Some(leaf)) = (next.checked_sub(1), leaf) else { return Ok(()) };
        let read = Follower::open(&self.log_dir, last).and_then(|mut f| f.next_batch(end, 1, 1));
        match read {
            Ok(records) if records.first().is_some_and(|(_, record)| leaf_hash(record) == leaf) => Ok(()),
            Ok(_) => Err(Stopped(format!("record {last} is not the one that was exported; {}", advice()))),
            // It has been removed with its segment, so there is nothing to compare.
            Err(FollowError::Gap { .. }) => Ok(()),
            Err(e) => Err(Stopped(e.to_string())),
        }
    }

    async fn run(&mut self) -> Result<(), Stopped> {
        loop {
            // Nobody who could still say so means the same.
            let stopping = *self.stop.borrow() || self.stop.has_changed().is_err();
            let turn = self.turn(stopping).await;
            match turn {
                Ok(true) => {}
                Ok(false) if stopping => return Ok(()),
                Ok(false) => self.wait(POLL).await,
                Err(Failed::ForGood(stopped)) => return Err(stopped),
                Err(Failed::ForNow(e)) => {
                    self.failed(&e);
                    if stopping {
                        return Ok(());
                    }
                    let wait = backoff(self.trouble.count);
                    self.wait(wait).await;
                }
            }
        }
    }

    /// Sends a batch, if there is one; false when there is nothing to do.
    async fn turn(&mut self, stopping: bool) -> Result<bool, Failed> {
        if self.pending.is_none() {
            self.pending = self.read()?;
        }
        let Some(batch) = &self.pending else {
            self.status.waits_since(None);
            let settled = self.sink.settled().await;
            self.settle(settled)?;
            if stopping {
                // The receiver may not be able to say so: then the last seconds are sent again.
                let finished = self.sink.finish().await;
                self.settle(Ok(finished))?;
            }
            self.save(stopping);
            return Ok(false);
        };
        let after = after(batch);
        let records = batch.records();
        let sent = self.sink.send(batch, after).await;
        let sent = self.settle(sent).map(|()| records)?;
        self.pending = None;
        self.next = after.next;
        self.status.at(self.next);
        self.status.taken(sent);
        self.recovered();
        let settled = self.sink.settled().await;
        self.settle(settled)?;
        self.save(stopping);
        Ok(true)
    }

    /// Takes over what a sink says about what its receiver has. Where something must be sent again, the next turn
    /// reads it again.
    fn settle(&mut self, said: Result<Option<Cursor>, SendError>) -> Result<(), Failed> {
        match said {
            Ok(Some(cursor)) => self.taken = cursor,
            Ok(None) => {}
            Err(e) => {
                if self.taken.next < self.next {
                    self.next = self.taken.next;
                    (self.follower, self.pending) = (None, None);
                    self.status.at(self.next);
                }
                return Err(Failed::ForNow(e.to_string()));
            }
        }
        Ok(())
    }

    /// The next batch; blocks for reads of files.
    fn read(&mut self) -> Result<Option<Batch>, Failed> {
        let up_to = self.status.flushed();
        if self.next >= up_to {
            return Ok(None);
        }
        let opened = match self.follower.take() {
            Some(follower) if follower.next() == self.next => Ok(follower),
            _ => Follower::open(&self.log_dir, self.next),
        };
        let read = opened.and_then(|mut follower| {
            let records = follower.next_batch(up_to, self.settings.batch_records, BATCH_BYTES);
            self.follower = Some(follower);
            records
        });
        match read {
            Ok(records) => {
                let waits = records.first().and_then(|(_, record)| micros(&Seen::of(record).time));
                self.status.waits_since(waits.or(Some(now_micros())));
                Ok((!records.is_empty()).then_some(Batch::Records(records)))
            }
            Err(FollowError::Gap { from, first }) if first > from => {
                let (export, to) = (&self.settings.name, first - 1);
                tracing::error!(export, from, to, "records were removed from the audit log before they were exported");
                self.status.failed();
                self.follower = None;
                Ok(Some(Batch::Gap { from, to }))
            }
            Err(FollowError::Audit(e @ AuditError::Io { .. })) => Err(Failed::ForNow(e.to_string())),
            Err(e) => Err(Failed::ForGood(Stopped(e.to_string()))),
        }
    }

    fn failed(&mut self, what: &str) {
        self.status.failed();
        self.trouble.count = self.trouble.count.saturating_add(1);
        if self.trouble.told.is_none_or(|at| at.elapsed() >= REMIND) {
            (self.trouble.told, self.trouble.of_these) = (Some(Instant::now()), true);
            let lag = self.status.flushed().saturating_sub(self.next);
            let (export, failures) = (&self.settings.name, self.trouble.count);
            tracing::error!(export, error = what, failures, lag, "audit records could not be exported; trying again");
        }
    }

    fn recovered(&mut self) {
        if self.trouble.of_these {
            let failures = self.trouble.count;
            tracing::info!(export = self.settings.name, failures, "audit records are exported again");
        }
        (self.trouble.count, self.trouble.of_these) = (0, false);
    }

    /// Writes the cursor, if it has moved and was not written just now. That it fails costs repeated records only.
    fn save(&mut self, at_once: bool) {
        if self.saved.is_some_and(|(cursor, at)| cursor == self.taken || (!at_once && at.elapsed() < SAVE_EVERY)) {
            return;
        }
        match self.taken.save(&self.data_dir, &self.settings.name) {
            Ok(()) => self.saved = Some((self.taken, Instant::now())),
            Err(e) => {
                self.status.failed();
                if self.unsaved.is_none_or(|at| at.elapsed() >= REMIND) {
                    self.unsaved = Some(Instant::now());
                    tracing::error!(export = self.settings.name, error = %e, "the cursor of an export cannot be written");
                }
            }
        }
    }

    /// Waits, or not if the process stops.
    async fn wait(&mut self, time: Duration) {
        let stopped = async { self.stop.wait_for(|stop| *stop).await.map(drop).unwrap_or_default() };
        tokio::time::timeout(time, stopped).await.unwrap_or_default();
    }
}

/// How a turn fails.
enum Failed {
    ForNow(String),
    ForGood(Stopped),
}

/// Where an export stands behind a batch.
fn after(batch: &Batch) -> Cursor {
    let leaf = match batch {
        Batch::Records(records) => records.last().map(|(_, record)| leaf_hash(record)),
        Batch::Gap { .. } => None,
    };
    Cursor { next: batch.last() + 1, leaf }
}

/// Doubles with each failure; between half and all of it, so that many do not come back at once.
fn backoff(failures: u32) -> Duration {
    let full = BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(MAX_BACKOFF);
    let random = RandomState::new().build_hasher().finish() % 1024;
    full / 2 + full * u32::try_from(random).unwrap_or(0) / 2048
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        for (failures, full) in [(0, 500), (1, 500), (2, 1_000), (4, 4_000), (7, 30_000), (u32::MAX, 30_000)] {
            for _ in 0..100 {
                let wait = backoff(failures).as_millis();
                assert!((full / 2..=full).contains(&wait), "{failures}: {wait}");
            }
        }
    }
}
