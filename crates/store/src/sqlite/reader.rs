//! The threads that read, each with a connection of its own.

use parking_lot::Mutex;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// A call that reads. It answers its caller itself.
pub(super) type Job = Box<dyn FnOnce(&Connection) + Send>;

/// How long nothing must have been asked for before a new connection reads ahead.
const IDLE: Duration = Duration::from_millis(100);

/// Reads what lists scan, up to the size of the page cache: the first list after a start would otherwise wait for the
/// memory of the cache to be had from the system.
const WARM: &str = "SELECT count(*) FROM (SELECT 1 FROM cmk INDEXED BY cmk_list LIMIT 100000)";

/// Works until every sender is gone and the queue is empty.
pub(super) fn run(conn: Connection, queue: Arc<Mutex<Receiver<Job>>>) {
    let mut cold = true;
    loop {
        // The lock is held while waiting: the others wait for the lock instead, and one is woken per job.
        let job = match cold {
            true => queue.lock().recv_timeout(IDLE),
            false => queue.lock().recv().map_err(RecvTimeoutError::from),
        };
        match job {
            Ok(job) => job(&conn),
            Err(RecvTimeoutError::Timeout) => {
                cold = false;
                // Nothing depends on it: whoever asks next meets the same error.
                let _ = conn.query_row(WARM, [], |_| Ok(()));
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_read_and_no_row() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let conn = super::super::schema::open_writer(&path, IDLE, true).unwrap();
        conn.query_row(WARM, [], |_| Ok(())).unwrap();
        let plan = format!("EXPLAIN QUERY PLAN {WARM}");
        let mut plan = conn.prepare(&plan).unwrap();
        let steps: Vec<String> = plan.query_map([], |r| r.get(3)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        assert!(steps.join("\n").contains("SCAN cmk USING COVERING INDEX cmk_list"), "{steps:?}");
    }
}
