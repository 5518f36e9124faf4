//! Threads for work that takes too long for the threads that answer requests.
//!
//! An RSA signature takes half a millisecond of pure computation and an RSA key a tenth of a second; on a thread
//! of the runtime each would hold up all the requests that the thread has in hand. These threads run at a lower
//! priority, so that symmetric requests go first when processors are short, and only so many calls may wait for
//! them: over that the caller is told at once to come again later.

use jadeseal_types::{ApiError, ErrorCode};
use parking_lot::{Condvar, Mutex};
use std::{collections::VecDeque, io, sync::Arc, thread::JoinHandle};
use tokio::sync::oneshot;

/// How many threads there are and how much may wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Threads; at least 1.
    pub threads: usize,
    /// Calls that may wait; at least 1.
    pub queue: usize,
}

impl Default for WorkerLimits {
    /// A thread for each processor, and a queue that they empty in about a tenth of a second.
    fn default() -> Self {
        Self::with_threads(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

impl WorkerLimits {
    /// Threads with the queue that suits their number.
    pub fn with_threads(threads: usize) -> Self {
        WorkerLimits { threads, queue: 128 * threads }
    }

    /// For work that takes a tenth of a second: half of the threads, so that the rest of the work goes on, and
    /// no more who wait than are served in about three seconds.
    pub(crate) fn lengthy(self) -> Self {
        let threads = (self.threads / 2).max(1);
        WorkerLimits { threads, queue: 32 * threads }
    }
}

/// How much lower than the rest of the process the threads stand (nice value, setpriority(2)): their share is
/// about a third of a processor that others want too.
const NICENESS: i32 = 5;

type Job = Box<dyn FnOnce() + Send>;

/// Why some work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotDone {
    /// It was not begun: too many wait.
    Busy,
    /// It was not begun: the process is stopping.
    Closed,
    /// It was begun, and panicked.
    Panicked,
}

impl From<NotDone> for ApiError {
    fn from(e: NotDone) -> Self {
        match e {
            NotDone::Busy => ApiError::with_text(
                ErrorCode::RequestLimitExceeded,
                "Too many asymmetric operations are waiting; try again later.",
                "等待执行的非对称运算过多，请稍后重试。",
            ),
            NotDone::Closed => ErrorCode::ServiceUnavailable.into(),
            NotDone::Panicked => ApiError::internal("a computation panicked"),
        }
    }
}

/// The threads and their queue.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Workers {
    /// Starts the threads.
    pub fn start(name: &str, limits: WorkerLimits) -> io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), more: Condvar::new(), capacity: limits.queue.max(1) });
        // Dropped on an error, it ends the threads that have been started.
        let mut workers = Workers { shared, threads: Vec::new() };
        for _ in 0..limits.threads.max(1) {
            let shared = workers.shared.clone();
            workers.threads.push(std::thread::Builder::new().name(name.into()).spawn(move || shared.run())?);
        }
        Ok(workers)
    }

    /// Runs some computation on one of the threads. Whoever stops waiting before it has begun spares it.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NotDone> {
        let (reply, done) = oneshot::channel();
        let job: Job = Box::new(move || {
            if !reply.is_closed() {
                // Nobody waits for it any more: nothing is lost.
                let _ = reply.send(work());
            }
        });
        {
            let mut queue = self.shared.queue.lock();
            if queue.closed {
                return Err(NotDone::Closed);
            }
            if queue.jobs.len() >= self.shared.capacity {
                return Err(NotDone::Busy);
            }
            queue.jobs.push_back(job);
        }
        self.shared.more.notify_one();
        // The thread drops the sender only when the work panics: it empties the queue before it ends.
        done.await.map_err(|_| NotDone::Panicked)
    }

    /// Calls that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.shared.queue.lock().jobs.len()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.more.notify_all();
        for thread in self.threads.drain(..) {
            // A panic has been reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        lower_priority(NICENESS);
        loop {
            let job = {
                let mut queue = self.queue.lock();
                loop {
                    match queue.jobs.pop_front() {
                        Some(job) => break job,
                        None if queue.closed => return,
                        None => self.more.wait(&mut queue),
                    }
                }
            };
            // One computation that panics must not take the thread away from all others.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                tracing::error!("a computation panicked");
            }
            // Whoever was woken during the computation need not wait until the kernel's clock ticks. With both of two
            // cores busy signing, the slowest hundredth of Encrypt takes 0.4 ms so, and 1 to 4 ms without.
            std::thread::yield_now();
        }
    }
}

/// Lowers the priority of the calling thread. Without it the threads work as well, with less regard for others.
pub(crate) fn lower_priority(niceness: i32) {
    // On Linux the call without a process id acts on the thread alone.
    if let Err(e) = rustix::process::nice(niceness) {
        tracing::warn!(error = %e, "the priority of a thread could not be lowered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn workers(threads: usize, queue: usize) -> Arc<Workers> {
        Arc::new(Workers::start("test", WorkerLimits { threads, queue }).unwrap())
    }

    /// Occupies a thread until the returned sender is used or dropped.
    async fn occupy(workers: &Arc<Workers>) -> mpsc::Sender<()> {
        let (free, wait) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let workers = workers.clone();
        tokio::spawn(async move {
            workers.run(move || (begun.send(()), wait.recv())).await.unwrap().0.unwrap();
        });
        has_begun.await.unwrap();
        free
    }

    #[tokio::test]
    async fn over_the_bound_callers_are_sent_away_at_once() {
        let workers = workers(1, 2);
        let free = occupy(&workers).await;
        let waiting: Vec<_> = (0..2)
            .map(|n| {
                let workers = workers.clone();
                tokio::spawn(async move { workers.run(move || n).await.unwrap() })
            })
            .collect();
        while workers.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(workers.run(|| ()).await.unwrap_err(), NotDone::Busy);
        assert_eq!(ApiError::from(NotDone::Busy).code(), ErrorCode::RequestLimitExceeded);
        drop(free);
        for (n, task) in waiting.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), n);
        }
        workers.run(|| ()).await.unwrap();
    }

    #[test]
    fn lengthy_work_leaves_threads_to_the_rest() {
        for (threads, some) in [(1, 1), (2, 1), (3, 1), (8, 4)] {
            assert_eq!(WorkerLimits::with_threads(threads).lengthy().threads, some);
        }
    }

    #[tokio::test]
    async fn a_panic_harms_nobody_else() {
        let workers = workers(1, 10);
        assert_eq!(workers.run(|| panic!("on purpose")).await.unwrap_err(), NotDone::Panicked);
        assert_eq!(workers.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_not_begun() {
        let workers = workers(1, 10);
        let free = occupy(&workers).await;
        let (ran, has_run) = mpsc::channel();
        let abandoned = tokio::spawn({
            let workers = workers.clone();
            async move { workers.run(move || ran.send(())).await }
        });
        while workers.waiting() < 1 {
            tokio::task::yield_now().await;
        }
        abandoned.abort();
        abandoned.await.unwrap_err();
        drop(free);
        workers.run(|| ()).await.unwrap();
        assert!(has_run.recv().is_err());
    }
}
