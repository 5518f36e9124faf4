//! The thread that makes parts of the index before anybody asks for them.

use super::Index;
use parking_lot::{Condvar, Mutex};
use std::{
    io,
    sync::{Arc, Weak},
    thread::JoinHandle,
    time::Duration,
};

/// How often it looks whether the log has grown.
const EVERY: Duration = Duration::from_secs(1);
/// How often it goes on after something failed.
const RETRY: Duration = Duration::from_secs(30);
/// In how many of its looks it removes files that are about nothing any more.
const SWEEP: u32 = 60;
/// How much lower than the rest of the process it stands (nice value).
const NICENESS: i32 = 10;

/// The thread; ends when this is dropped.
pub(super) struct Background {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    pub fn start(index: &Arc<Index>) -> io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (weak, end) = (Arc::downgrade(index), stop.clone());
        let thread = std::thread::Builder::new().name("audit-index".into()).spawn(move || run(&weak, &end))?;
        Ok(Background { stop, thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        // The last owner of the index may be the thread itself.
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != std::thread::current().id()) {
            // A panic has been reported where it happened.
            let _ = thread.join();
        }
    }
}

fn run(index: &Weak<Index>, stop: &(Mutex<bool>, Condvar)) {
    if let Err(e) = rustix::process::nice(NICENESS) {
        tracing::warn!(error = %e, "the priority of the audit index could not be lowered");
    }
    let mut looks = 0u32;
    loop {
        let wait = {
            let Some(index) = index.upgrade() else { return };
            match index.tend() {
                Ok(true) => Duration::ZERO,
                Ok(false) => {
                    if looks.is_multiple_of(SWEEP)
                        && let Err(e) = index.sweep()
                    {
                        tracing::warn!(error = %e, "old files of the audit index could not be removed");
                    }
                    looks = looks.wrapping_add(1);
                    EVERY
                }
                Err(e) => {
                    tracing::warn!(error = %e, "the audit index cannot be brought up to date");
                    RETRY
                }
            }
        };
        let mut stopped = stop.0.lock();
        if !*stopped && !wait.is_zero() {
            stop.1.wait_for(&mut stopped, wait);
        }
        if *stopped {
            return;
        }
    }
}
