//! A log on a slow disk: who waits for what, and what is there after the process or the power is gone. And on one that is
//! read-only for a while.
//!
//! Times are held against the injected delay, which no wait for anything else comes near.

use crate::{
    AuditError, Degree, Log, Options, Recovery,
    log_tests::{eventually, json, open, records},
    segment::{self, NEXT},
};
use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long the disk takes.
const SLOW: Duration = Duration::from_millis(300);
/// Longer than anything takes that does not wait for it; half of it.
const QUICK: Duration = Duration::from_millis(150);

fn slow_log(degree: Degree, segment_bytes: u64, write: Duration, flush: Duration) -> (TempDir, Arc<Log>) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { degree, segment_bytes, flush_every: Duration::from_millis(10), ..Options::default() };
    let (log, _) = open(dir.path(), options);
    eventually("the next segment is made", || dir.path().join(NEXT).exists());
    log.faults().remember_stable();
    log.faults().set_slow(write, flush);
    (dir, Arc::new(log))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// What has been answered, by index.
type Acknowledged = HashMap<u64, u64>;

/// `callers` tasks that ask for answers one after the other until told to stop. Each returns its acknowledged records and
/// the longest time that it waited for one.
struct Callers {
    tasks: Vec<tokio::task::JoinHandle<Vec<(u64, u64, Duration)>>>,
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
}

impl Callers {
    fn start(runtime: &tokio::runtime::Runtime, log: &Arc<Log>, callers: u64) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let task = |caller: u64| {
            let (log, stop, answers) = (log.clone(), stop.clone(), answers.clone());
            runtime.spawn(async move {
                let mut got = Vec::new();
                for n in 0.. {
                    if stop.load(SeqCst) {
                        break;
                    }
                    let (number, started) = (caller * 1_000_000 + n, Instant::now());
                    let index = log.append_for_answer(&json(number)).await.unwrap();
                    got.push((index, number, started.elapsed()));
                    answers.fetch_add(1, SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                got
            })
        };
        Callers { tasks: (0..callers).map(task).collect(), stop, answers }
    }

    fn answers(&self) -> u64 {
        self.answers.load(SeqCst)
    }

    /// What was acknowledged, and the shortest and the longest wait.
    fn end(self, runtime: &tokio::runtime::Runtime) -> (Acknowledged, Duration, Duration) {
        self.stop.store(true, SeqCst);
        let (mut all, mut shortest, mut longest) = (Acknowledged::new(), Duration::MAX, Duration::ZERO);
        for task in self.tasks {
            for (index, number, took) in runtime.block_on(task).unwrap() {
                assert!(all.insert(index, number).is_none(), "index {index} twice");
                (shortest, longest) = (shortest.min(took), longest.max(took));
            }
        }
        (all, shortest, longest)
    }
}

/// What a kill at this moment leaves, or, with `power`, what a power cut leaves. A file may be renamed meanwhile: by a flush,
/// that is, and then it is copied under its final name or not at all, and the copy is made again.
fn copy(log: &Log, power: bool) -> TempDir {
    loop {
        let to = tempfile::tempdir().unwrap();
        let names = || {
            let entries = fs::read_dir(log.dir()).unwrap().map(|e| e.unwrap());
            let mut all: Vec<_> = entries.filter_map(|e| Some((e.file_name(), e.metadata().ok()?.ino()))).collect();
            all.sort();
            all
        };
        let before = names();
        let copied = before.iter().all(|(name, _)| fs::copy(log.dir().join(name), to.path().join(name)).is_ok());
        if !copied || before != names() {
            continue;
        }
        if power {
            let lines = before.iter().filter(|(name, _)| name.to_str().unwrap().ends_with(".log"));
            log.faults().cut_power(lines.map(|(name, number)| (*number, to.path().join(name))));
        }
        return to;
    }
}

/// Opens what is left: it has every one of these records, in its place.
fn holds(left: &Path, acknowledged: &Acknowledged) -> Recovery {
    let (log, recovery) = open(left, Options::default());
    drop(log);
    let found = records(left);
    for (index, number) in acknowledged {
        assert_eq!(found.get(*index as usize), Some(&json(*number)), "record {index} of {}", found.len());
    }
    recovery
}

/// Degree `os`: answers, and appends of others, wait for no flush; a kill loses nothing that was answered.
#[test]
fn a_slow_flush_holds_up_nobody_in_degree_os() {
    let (_dir, log) = slow_log(Degree::Os, 64 << 20, Duration::ZERO, SLOW);
    let runtime = runtime();
    let callers = Callers::start(&runtime, &log, 8);
    let started = Instant::now();
    let (mut longest, mut behind, mut appended) = (Duration::ZERO, Duration::ZERO, Acknowledged::new());
    for n in 0.. {
        if started.elapsed() > 5 * SLOW {
            break;
        }
        let began = Instant::now();
        let number = 900_000_000 + n;
        appended.insert(log.append(&json(number)).unwrap(), number);
        longest = longest.max(began.elapsed());
        behind = behind.max(log.lag().oldest);
        std::thread::sleep(Duration::from_millis(1));
    }
    let before = callers.answers() + appended.len() as u64;
    let killed = copy(&log, false);
    let flushes = log.faults().flushes();
    let (mut answered, _, slowest) = callers.end(&runtime);
    assert!(answered.len() > 500 && appended.len() > 200, "{} answers, {} appends", answered.len(), appended.len());
    assert!(slowest < QUICK && longest < QUICK, "an answer waited {slowest:?}, an append {longest:?}");
    assert!(behind > QUICK && flushes <= 8, "{behind:?} behind, {flushes} flushes");
    assert!(holds(killed.path(), &appended).records >= before, "of {before} that were answered some are missing");
    // All of it, once what was under way has ended.
    answered.extend(appended);
    assert_eq!(holds(copy(&log, false).path(), &answered).cut_records, 0);
    log.faults().set_slow(Duration::ZERO, Duration::ZERO);
    log.close().unwrap();
    assert_eq!(log.lag(), crate::Lag::default());
}

/// Degree `fsync`: each answer waits for a flush, many share one, and a power cut at any moment loses nothing that was
/// answered before it.
#[test]
fn answers_in_degree_fsync_share_slow_flushes() {
    const CALLERS: u64 = 64;
    let (_dir, log) = slow_log(Degree::Fsync, 64 << 20, Duration::ZERO, SLOW);
    let runtime = runtime();
    let callers = Callers::start(&runtime, &log, CALLERS);
    let mut longest = Duration::ZERO;
    for cut in 1..=5 {
        eventually("answers", || callers.answers() >= cut * CALLERS / 2);
        // Somebody whose record needs no flush of its own, while one is under way.
        let began = Instant::now();
        log.append(&json(900_000_000 + cut)).unwrap();
        longest = longest.max(began.elapsed());
        let answers = callers.answers();
        let left = copy(&log, true);
        let (log, recovery) = open(left.path(), Options::default());
        drop(log);
        assert!(recovery.records >= answers, "{answers} answers, {} records", recovery.records);
    }
    let flushes = log.faults().flushes();
    let (answered, quickest, _) = callers.end(&runtime);
    assert!(quickest >= SLOW, "an answer after {quickest:?}, sooner than any flush");
    assert!(longest < QUICK, "an append waited {longest:?}");
    let answers = answered.len() as u64;
    assert!(answers >= 3 * CALLERS && flushes * 10 < answers, "{flushes} flushes for {answers} answers");
    let left = copy(&log, true);
    holds(left.path(), &answered);
    // The test would notice: what is written and not flushed is gone after a power cut.
    log.faults().hold_flushes(true);
    let index = log.append(&json(999_999_999)).unwrap();
    let cut = holds(copy(&log, true).path(), &answered);
    let killed = holds(copy(&log, false).path(), &answered);
    assert!(cut.records <= index && killed.records == index + 1, "{cut:?} {killed:?}");
    log.faults().set_slow(Duration::ZERO, Duration::ZERO);
    log.faults().hold_flushes(false);
}

/// Only the write is waited for in degree `os`, and many answers share one of those too.
#[test]
fn answers_share_slow_writes() {
    const CALLERS: u64 = 64;
    let (_dir, log) = slow_log(Degree::Os, 64 << 20, SLOW, Duration::ZERO);
    let (runtime, started) = (runtime(), Instant::now());
    let answers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let log = log.clone();
            runtime.spawn(async move { log.append_for_answer(&json(n)).await })
        })
        .collect();
    let mut acknowledged = Acknowledged::new();
    for (number, answer) in (0..).zip(answers) {
        acknowledged.insert(runtime.block_on(answer).unwrap().unwrap(), number);
    }
    let took = started.elapsed();
    assert!(took >= SLOW && took < SLOW * CALLERS as u32 / 4, "{took:?}");
    assert!(log.faults().writes() < CALLERS / 4, "{} writes", log.faults().writes());
    assert_eq!(holds(copy(&log, false).path(), &acknowledged).records, CALLERS);
}

/// Segments fill while the flush that would seal them is under way: nobody is refused and nobody waits.
#[test]
fn segments_fill_during_slow_flushes() {
    for degree in [Degree::Os, Degree::Fsync] {
        let (dir, log) = slow_log(degree, 4096, Duration::ZERO, SLOW);
        let runtime = runtime();
        let callers = Callers::start(&runtime, &log, 4);
        let (mut longest, started) = (Duration::ZERO, Instant::now());
        let mut appended = Acknowledged::new();
        while started.elapsed() < 4 * SLOW {
            let (began, number) = (Instant::now(), 900_000_000 + appended.len() as u64);
            appended.insert(log.append(&json(number)).unwrap(), number);
            longest = longest.max(began.elapsed());
            std::thread::sleep(Duration::from_millis(1));
        }
        let (answered, _, slowest) = callers.end(&runtime);
        assert!(longest < QUICK && (degree == Degree::Fsync || slowest < QUICK), "{longest:?} {slowest:?}");
        // Power: what was answered in degree fsync. A kill: everything.
        let cut = copy(&log, true);
        if degree == Degree::Fsync {
            holds(cut.path(), &answered);
        } else {
            open(cut.path(), Options::default());
        }
        appended.extend(answered);
        holds(copy(&log, false).path(), &appended);
        log.close().unwrap();
        assert!(segment::list(dir.path()).unwrap().len() > 2, "{degree:?}");
        assert!(matches!(log.append(b"{}"), Err(AuditError::Closed)));
    }
}

/// While the file system is read-only nothing is taken and nothing is lost; afterwards the log goes on. The write that found
/// out may have left a piece, or whole lines, which cannot be cut until then.
#[test]
fn a_read_only_disk_refuses_until_it_is_writable() {
    for (degree, left) in
        [Degree::Os, Degree::Fsync].into_iter().flat_map(|d| [None, Some(40), Some(300)].map(|l| (d, l)))
    {
        let (dir, log) = slow_log(degree, 64 << 20, Duration::ZERO, Duration::ZERO);
        let runtime = runtime();
        let ask = |n: u64| runtime.block_on(log.append_for_answer(&json(n)));
        let mut kept = Acknowledged::new();
        for n in 0..20 {
            kept.insert(ask(n).unwrap(), n);
        }
        log.faults().set_read_only(true);
        if let Some(bytes) = left {
            log.faults().short_write(bytes);
        }
        let group: Vec<_> = (100..104)
            .map(|n| {
                let log = log.clone();
                runtime.spawn(async move { log.append_for_answer(&json(n)).await })
            })
            .collect();
        let is_read_only = |e: &AuditError| matches!(e, AuditError::Io { source, .. } if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem);
        for refused in group {
            assert!(is_read_only(&runtime.block_on(refused).unwrap().unwrap_err()));
        }
        for n in 200..205 {
            assert!(is_read_only(&log.append(&json(n)).unwrap_err()) && is_read_only(&ask(n).unwrap_err()));
        }
        assert_eq!(log.next_index(), 20);
        assert!(!log.poisoned());
        log.faults().set_read_only(false);
        // Shorter than what is left: it may not show behind it.
        assert_eq!(log.append(b"{}").unwrap(), 20);
        for n in 300..310 {
            kept.insert(ask(n).unwrap(), n);
        }
        assert_eq!(holds(copy(&log, false).path(), &kept).records, 31, "{degree:?}, {left:?}");
        log.close().unwrap();
        drop(log);
        assert_eq!(holds(dir.path(), &kept).records, 31);
    }
}
