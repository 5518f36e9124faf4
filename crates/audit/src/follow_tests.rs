//! The follower beside a real writer, behind retention, and before damage.

use crate::{AuditError, Degree, FollowError, Follower, Log, Options, segment};
use std::{
    fs,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

fn json(n: u64) -> Vec<u8> {
    // Lengths differ, so that lines cross the ends of reads everywhere.
    format!("{{\"v\":1,\"n\":{n},\"pad\":\"{}\"}}", "x".repeat((n * 37 % 211) as usize)).into_bytes()
}

fn options(segment_bytes: u64, degree: Degree) -> Options {
    Options { degree, segment_bytes, flush_every: Duration::from_millis(2), ..Options::default() }
}

/// A closed log with this many records.
fn filled(dir: &Path, records: u64, segment_bytes: u64) {
    let (log, _) = Log::open(dir, options(segment_bytes, Degree::Os)).unwrap();
    for n in 0..records {
        append(&log, n);
        settle(&log, n);
    }
    log.close().unwrap();
}

/// Appends; waits where the flusher is behind with the next segment.
fn append(log: &Log, n: u64) {
    let until = Instant::now() + Duration::from_secs(20);
    while let Err(e) = log.append(&json(n)) {
        assert!(matches!(e, AuditError::Full) && Instant::now() < until, "{e}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Lets the flusher make the next segment, into which a full one would otherwise overshoot.
fn settle(log: &Log, n: u64) {
    if n.is_multiple_of(5) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(log.flushed(n)).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn read_all(follower: &mut Follower, up_to: u64, records: usize, bytes: usize) -> Vec<u64> {
    let mut indices = Vec::new();
    loop {
        let batch = follower.next_batch(up_to, records, bytes).unwrap();
        if batch.is_empty() {
            return indices;
        }
        assert!(batch.len() <= records);
        for (index, record) in batch {
            assert_eq!(record, json(index));
            indices.push(index);
        }
    }
}

#[test]
fn every_start_and_every_batch_size_give_the_same_records() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 200, 3_000);
    assert!(segment::list(dir.path()).unwrap().len() > 5);
    for from in 0..=200 {
        let mut follower = Follower::open(dir.path(), from).unwrap();
        let records = 1 + (from % 7) as usize;
        assert_eq!(read_all(&mut follower, 200, records, 700), (from..200).collect::<Vec<_>>());
        assert_eq!(follower.next(), 200);
    }
    // A limit in bytes lets one record through at least, and stops behind the one that reaches it.
    let mut follower = Follower::open(dir.path(), 0).unwrap();
    assert_eq!(follower.next_batch(200, 100, 1).unwrap().len(), 1);
    let batch = follower.next_batch(200, 100, 500).unwrap();
    let sizes: Vec<usize> = batch.iter().map(|(_, r)| r.len()).collect();
    assert!(sizes.iter().sum::<usize>() >= 500 && sizes[..sizes.len() - 1].iter().sum::<usize>() < 500);
}

#[test]
fn records_that_are_not_flushed_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 10, 1 << 20);
    let mut follower = Follower::open(dir.path(), 0).unwrap();
    assert_eq!(read_all(&mut follower, 4, 100, 1 << 20), [0, 1, 2, 3]);
    // What stands behind may change until it is flushed: here the next record is a torn one, then a good one.
    let path = segment::path(dir.path(), 0);
    let good = fs::read(&path).unwrap();
    let fourth = good.iter().enumerate().filter(|(_, c)| **c == b'\n').nth(4).unwrap().0 as u64 + 1;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"torn", fourth).unwrap();
    assert!(follower.next_batch(4, 100, 1 << 20).unwrap().is_empty());
    fs::write(&path, &good).unwrap();
    assert_eq!(read_all(&mut follower, 10, 100, 1 << 20), (4..10).collect::<Vec<_>>());
}

#[test]
fn a_follower_keeps_up_with_a_writer_that_rotates() {
    for degree in [Degree::Os, Degree::Fsync] {
        for segment_bytes in [600, 2_000, 50_000] {
            let dir = tempfile::tempdir().unwrap();
            let (log, _) = Log::open(dir.path(), options(segment_bytes, degree)).unwrap();
            let (log, total) = (&log, if segment_bytes == 600 { 150 } else { 1_500 });
            let done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for n in 0..total {
                        append(log, n);
                        settle(log, n);
                    }
                    done.store(true, Ordering::Release);
                });
                let mut follower = Follower::open(dir.path(), 0).unwrap();
                let mut seen = 0;
                let until = Instant::now() + Duration::from_secs(60);
                while seen < total {
                    assert!(Instant::now() < until, "{seen} of {total}");
                    let up_to = log.flushed_through().map_or(0, |last| last + 1);
                    for (index, record) in follower.next_batch(up_to, 64, 4_000).unwrap() {
                        assert_eq!((index, &record), (seen, &json(seen)));
                        seen += 1;
                    }
                }
            });
            assert!(done.load(Ordering::Acquire));
            log.close().unwrap();
            assert!(segment::list(dir.path()).unwrap().len() > 2);
        }
    }
}

#[test]
fn zeros_that_the_writer_prepares_are_not_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), options(1 << 20, Degree::Fsync)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut follower = Follower::open(dir.path(), 0).unwrap();
    for n in 0..20 {
        runtime.block_on(log.append_for_answer(&json(n))).unwrap();
        assert!(fs::read(segment::path(dir.path(), 0)).unwrap().ends_with(&[0]));
        assert_eq!(follower.next_batch(n + 1, 100, 1 << 20).unwrap(), [(n, json(n))]);
    }
}

#[test]
fn what_retention_removed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 100, 2_000);
    let firsts = segment::list(dir.path()).unwrap();
    let mut reading = Follower::open(dir.path(), 0).unwrap();
    assert_eq!(reading.next_batch(100, 1, 1).unwrap().len(), 1);
    for first in &firsts[..3] {
        fs::remove_file(segment::path(dir.path(), *first)).unwrap();
    }
    let gap = |from| match Follower::open(dir.path(), from).map(drop) {
        Err(FollowError::Gap { from, first }) => Some((from, first)),
        _ => None,
    };
    assert_eq!(gap(0), Some((0, firsts[3])));
    assert_eq!(gap(firsts[3] - 1), Some((firsts[3] - 1, firsts[3])));
    assert_eq!(gap(firsts[3]), None);
    // One that has the removed file open reads it to its end, and only then comes to the gap.
    let rest = reading.next_batch(100, 1_000, 1 << 20).unwrap();
    assert_eq!(rest.last().unwrap().0 + 1, firsts[1]);
    let error = reading.next_batch(100, 1_000, 1 << 20).unwrap_err();
    assert!(matches!(error, FollowError::Gap { from, first } if from == firsts[1] && first == firsts[3]), "{error}");
    assert_eq!(error.to_string(), format!("records {} to {} are no longer in the audit log", firsts[1], firsts[3] - 1));
    assert_eq!(reading.next(), firsts[1]);
}

#[test]
fn damage_is_an_error_with_its_place_and_nothing_behind_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 100, 2_000);
    let firsts = segment::list(dir.path()).unwrap();
    let path = segment::path(dir.path(), firsts[1]);
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(13) {
        let mut bad = good.clone();
        bad[at] ^= 0x15;
        fs::write(&path, &bad).unwrap();
        let damaged = good[..at].iter().filter(|c| **c == b'\n').count() as u64;
        let sound = firsts[1] + damaged.saturating_sub(1);
        let mut follower = Follower::open(dir.path(), 0).unwrap();
        let mut read = Vec::new();
        let error = loop {
            match follower.next_batch(100, 1_000, 1 << 20) {
                Ok(batch) => read.extend(batch.into_iter().map(|(index, _)| index)),
                Err(e) => break e,
            }
        };
        assert_eq!(read, (0..sound).collect::<Vec<_>>(), "byte {at}");
        assert_eq!(follower.next(), sound);
        match error {
            FollowError::Audit(AuditError::Corrupt { file, line, .. }) => {
                assert_eq!((file, line), (path.clone(), damaged + 1))
            }
            other => panic!("byte {at}: {other}"),
        }
        // The same again, and not behind it.
        assert!(follower.next_batch(100, 1_000, 1 << 20).is_err());
    }
    // A hole in the middle of the log is damage, not retention.
    fs::remove_file(&path).unwrap();
    let mut follower = Follower::open(dir.path(), 0).unwrap();
    assert_eq!(follower.next_batch(100, 1_000, 1 << 20).unwrap().len() as u64, firsts[1]);
    let error = follower.next_batch(100, 1_000, 1 << 20).unwrap_err();
    assert!(error.to_string().contains("records are missing"), "{error}");
}

#[test]
fn a_record_as_long_as_can_be_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(dir.path(), options(1 << 20, Degree::Os)).unwrap();
    let long = vec![b'a'; crate::MAX_RECORD_BYTES];
    for record in [&b"{}"[..], &long, &long, b"{}"] {
        log.append(record).unwrap();
    }
    log.close().unwrap();
    let mut follower = Follower::open(dir.path(), 1).unwrap();
    let lengths = |batch: Vec<(u64, Vec<u8>)>| batch.iter().map(|(_, r)| r.len()).collect::<Vec<_>>();
    assert_eq!(lengths(follower.next_batch(4, 10, 1).unwrap()), [65_536]);
    assert_eq!(lengths(follower.next_batch(4, 10, 1 << 20).unwrap()), [65_536, 2]);
}

#[test]
fn a_segment_without_the_record_it_is_named_after_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(segment::path(dir.path(), 0), segment::header(0)).unwrap();
    for rest in ["", "\0\0\0"] {
        fs::write(segment::path(dir.path(), 0), segment::header(0) + rest).unwrap();
        let error = Follower::open(dir.path(), 0).unwrap().next_batch(1, 1, 1).unwrap_err();
        assert!(error.to_string().contains("line 2: a flushed record is not there"), "{error}");
    }
}
