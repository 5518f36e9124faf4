//! The log under a killed process and on a full disk, through its public face only.

use jadeseal_audit::{AuditError, Degree, Log, Options, for_each_record, verify};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const CHILD_DIR: &str = "JADESEAL_AUDIT_TEST_DIR";
const CHILD_START: &str = "JADESEAL_AUDIT_TEST_START";

fn json(n: u64) -> Vec<u8> {
    format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat((n % 400) as usize)).into_bytes()
}

fn small() -> Options {
    Options { segment_bytes: 8192, flush_every: Duration::from_millis(5), ..Options::default() }
}

/// Not a test of its own: the process that the next test kills. Two threads append for ever and
/// say on standard output what was appended.
#[test]
fn child_that_appends() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let start: u64 = std::env::var(CHILD_START).unwrap().parse().unwrap();
    let (log, recovery) = Log::open(Path::new(&dir), small()).unwrap();
    assert!(recovery.records >= start);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let index = log.append(&json(std::process::id().into())).unwrap();
                    // One write per line, so that a kill cannot tear it in the pipe.
                    std::io::stdout().lock().write_all(format!("appended {index}\n").as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn a_killed_process_loses_nothing_that_append_returned() {
    const ROUNDS: u64 = 25;
    let dir = tempfile::tempdir().unwrap();
    let mut least = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends", "--nocapture", "--test-threads=1"])
            .env(CHILD_DIR, dir.path())
            .env(CHILD_START, least.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = std::thread::spawn(move || {
            let appended = lines.map_while(Result::ok).filter_map(|l| l.strip_prefix("appended ")?.parse::<u64>().ok());
            appended.map(|index| index + 1).max()
        });
        std::thread::sleep(Duration::from_millis(60 + round * 7 % 50));
        child.kill().unwrap();
        child.wait().unwrap();
        least = least.max(reader.join().unwrap().unwrap_or(0));
        let (log, recovery) = Log::open(dir.path(), small()).unwrap();
        assert!(recovery.records >= least, "round {round}: {recovery:?}, told of {least}");
        assert_eq!((recovery.cut_records, recovery.set_aside.len()), (0, 0), "round {round}");
        drop(log);
        assert_eq!(verify(dir.path()).unwrap().records, recovery.records);
    }
    assert!(least > ROUNDS * 100, "the children hardly ran: {least}");
}

/// Unmounts when the test ends, however it ends.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0).status().unwrap();
    }
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(dir.path())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    if !mounted {
        eprintln!("skipped: a tmpfs cannot be mounted here");
        return;
    }
    let _mounted = Mounted(dir.path());
    let at = dir.path().join("audit");
    // What others have on the disk, taken away later to make room. (Not our own segments: where the flusher
    // is slow, the one being written may be the only one, and an open file frees nothing.)
    let others = [dir.path().join("first"), dir.path().join("second")];
    others.iter().for_each(|path| std::fs::write(path, vec![1; 192 * 1024]).unwrap());
    let filler = dir.path().join("filler");
    let options = Options { segment_bytes: 64 * 1024, ..small() };
    let (log, _) = Log::open(&at, options.clone()).unwrap();
    let mut written = 0;
    let mut fill = |log: &Log| {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match log.append(&json(written)) {
                Ok(index) => assert_eq!(index, written),
                Err(AuditError::Full) => return written,
                Err(e) => panic!("{e}"),
            }
            written += 1;
            assert!(Instant::now() < until);
        }
    };
    // Others fill the disk: what was set aside still takes records.
    let before = fill(&log);
    assert!(before > 0);
    std::fs::remove_file(&others[0]).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    let mut after = fill(&log);
    while after == before {
        assert!(Instant::now() < until, "never recovered");
        std::thread::sleep(Duration::from_millis(5));
        after = fill(&log);
    }
    drop(log);

    // A start on a full disk works, and appends go on when there is room.
    std::fs::write(&filler, vec![1; 1 << 20]).unwrap_err();
    let (log, recovery) = Log::open(&at, options).unwrap();
    assert_eq!(recovery.records, after);
    std::fs::remove_file(&filler).unwrap();
    std::fs::remove_file(&others[1]).unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while matches!(log.append(&json(after)), Err(AuditError::Full)) {
        assert!(Instant::now() < until, "never recovered");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(log.next_index(), after + 1);
}

#[test]
fn group_commit_under_many_callers() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { degree: Degree::Fsync, ..Options::default() };
    let log = std::sync::Arc::new(Log::open(dir.path(), options).unwrap().0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let callers: Vec<_> = (0..32)
            .map(|c| {
                let log = log.clone();
                tokio::spawn(async move {
                    for n in 0..20 {
                        let index = log.append_for_answer(&json(c * 20 + n)).await.unwrap();
                        assert!(log.flushed_through() >= Some(index));
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
    });
    drop(log);
    let mut seen = std::collections::HashSet::new();
    for_each_record(dir.path(), |_, json| assert!(seen.insert(json.to_vec()))).unwrap();
    assert_eq!(seen.len(), 640);
}
