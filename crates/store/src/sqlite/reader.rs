//! The threads that read, each with a connection of its own.

use parking_lot::Mutex;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// A call that reads. It answers its caller itself.
pub(super) type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Works until every sender is gone and the queue is empty.
pub(super) fn run(conn: Connection, queue: Arc<Mutex<Receiver<Job>>>) {
    loop {
        // The lock is held while waiting: the others wait for the lock instead, and one is woken per job.
        let job = queue.lock().recv();
        match job {
            Ok(job) => job(&conn),
            Err(_) => return,
        }
    }
}
