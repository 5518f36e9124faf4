//! Tests that look inside: recovery at every byte, injected faults, flush order.

use crate::{
    AuditError, Degree, Log, Options, Recovery, for_each_record,
    segment::{self, LOCK, NEXT},
    verify,
};
use std::{
    collections::HashSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

fn small(segment_bytes: u64) -> Options {
    Options { segment_bytes, ..Options::default() }
}

pub(crate) fn json(n: u64) -> Vec<u8> {
    format!("{{\"v\":1,\"time\":\"2026-11-24T02:15:22.123456Z\",\"request_id\":\"id-{n:08}\"}}").into_bytes()
}

pub(crate) fn open(dir: &Path, options: Options) -> (Log, Recovery) {
    Log::open(dir, options).unwrap()
}

/// As if the last run's end had not been flushed: the tree knows nothing of it.
fn unflushed(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_str().unwrap().starts_with("tree-") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

fn append_all(log: &Log, numbers: std::ops::Range<u64>) {
    for n in numbers {
        log.append(&json(n)).unwrap();
    }
}

pub(crate) fn records(dir: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for_each_record(dir, |index, json| {
        assert_eq!(index, all.len() as u64);
        all.push(json.to_vec());
    })
    .unwrap();
    all
}

/// Waits for the flusher to have done something.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn appended_records_are_read_back_with_their_indices() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("a/b");
    {
        let (log, recovery) = open(&at, Options::default());
        assert_eq!((recovery, log.next_index(), log.flushed_through()), (Recovery::default(), 0, None));
        for n in 0..10 {
            assert_eq!(log.append(&json(n)).unwrap(), n);
        }
        assert!(matches!(Log::open(&at, Options::default()), Err(AuditError::Locked(_))));
        assert!(matches!(log.append(b"a\nb"), Err(AuditError::BadRecord(_))));
        log.close().unwrap();
        assert_eq!(log.flushed_through(), Some(9));
        assert!(matches!(log.append(&json(10)), Err(AuditError::Closed)));
    }
    assert_eq!(records(&at), (0..10).map(json).collect::<Vec<_>>());
    let (log, recovery) = open(&at, Options::default());
    assert_eq!((recovery.records, recovery.cut_bytes), (10, 0));
    assert_eq!(log.append(&json(10)).unwrap(), 10);
    for (path, mode) in [(at.clone(), 0o700), (segment::path(&at, 0), 0o600), (at.join(LOCK), 0o600)] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
}

#[test]
fn a_file_is_exactly_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), Options::default());
    log.append(b"123456789").unwrap();
    drop(log);
    let text = fs::read_to_string(dir.path().join("audit-0000000000000000.log")).unwrap();
    assert_eq!(text, "#jadeseal-audit v1 first=0\ne3069283 123456789\n");
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let file = segment::path(dir.path(), 0);
    {
        let (log, _) = open(dir.path(), Options::default());
        append_all(&log, 0..3);
    }
    let whole = fs::read(&file).unwrap();
    let start = whole[..whole.len() - 1].iter().rposition(|&c| c == b'\n').unwrap() + 1;
    for cut in start..whole.len() {
        fs::write(&file, &whole[..cut]).unwrap();
        assert!(matches!(
            Log::open(dir.path(), Options::default()),
            Err(AuditError::Corrupt { .. } | AuditError::Shorter { .. })
        ));
        assert_eq!(fs::read(&file).unwrap(), &whole[..cut], "refused means untouched");
        unflushed(dir.path());
        let (log, recovery) = open(dir.path(), Options::default());
        let wanted = Recovery { records: 2, cut_bytes: (cut - start) as u64, ..Recovery::default() };
        assert_eq!(recovery, wanted, "cut at {cut}");
        assert_eq!(log.append(&json(9)).unwrap(), 2);
        drop(log);
        assert_eq!(records(dir.path()), [json(0), json(1), json(9)]);
    }
    // The same with every byte of the last record flipped, and with zeros behind it.
    for flip in start..whole.len() {
        let mut bad = whole.clone();
        bad[flip] ^= 0x01;
        bad.extend([0; 100]);
        fs::write(&file, &bad).unwrap();
        unflushed(dir.path());
        assert_eq!(open(dir.path(), Options::default()).1.records, 2, "flip at {flip}");
        assert_eq!(fs::read(&file).unwrap(), &whole[..start]);
    }
}

#[test]
fn damage_before_the_end_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = segment::path(dir.path(), 0);
    {
        let (log, _) = open(dir.path(), Options::default());
        append_all(&log, 0..5);
    }
    let whole = fs::read(&file).unwrap();
    let second = whole.iter().position(|&c| c == b'\n').unwrap() + 1 + json(0).len() + 10;
    let mut bad = whole.clone();
    bad[second + 20] ^= 1;
    fs::write(&file, &bad).unwrap();
    let expect = |line: u64| {
        for error in [Log::open(dir.path(), Options::default()).err(), verify(dir.path()).err()] {
            match error {
                Some(AuditError::Corrupt { file: f, line: l, .. }) => assert_eq!((f, l), (file.clone(), line)),
                other => panic!("{other:?}"),
            }
        }
        // Refused means untouched.
        assert!(fs::metadata(&file).unwrap().len() >= whole.len() as u64 - 1);
    };
    expect(3);
    bad = whole.clone();
    bad.remove(second + 1);
    fs::write(&file, &bad).unwrap();
    expect(3);
    bad = whole.clone();
    bad[26] ^= 0x01;
    fs::write(&file, &bad).unwrap();
    expect(1);
}

#[test]
fn records_behind_a_hole_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let file = segment::path(dir.path(), 0);
    {
        let (log, _) = open(dir.path(), Options::default());
        append_all(&log, 0..5);
    }
    let mut holed = fs::read(&file).unwrap();
    let line = json(0).len() + 10;
    let start = holed.iter().position(|&c| c == b'\n').unwrap() + 1;
    holed[start + 2 * line + 5..start + 3 * line + 5].fill(0);
    fs::write(&file, &holed).unwrap();
    unflushed(dir.path());
    let (log, recovery) = open(dir.path(), Options::default());
    assert_eq!((recovery.records, recovery.cut_records), (2, 1));
    assert_eq!(fs::read(&recovery.set_aside[0]).unwrap(), &holed[start + 2 * line..]);
    assert_eq!(log.append(&json(7)).unwrap(), 2);
}

#[test]
fn full_segments_are_sealed_and_the_next_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), small(1000));
    for n in 0..200 {
        log.append(&json(n)).unwrap();
        if n % 7 == 0 {
            block_on(log.flushed(n)).unwrap();
        }
    }
    drop(log);
    let firsts = segment::list(dir.path()).unwrap();
    assert!(firsts.len() > 5, "{firsts:?}");
    assert_eq!(records(dir.path()), (0..200).map(json).collect::<Vec<_>>());
    let (log, recovery) = open(dir.path(), small(1000));
    assert_eq!((recovery.records, recovery.cut_bytes), (200, 0));
    assert_eq!(log.append(&json(200)).unwrap(), 200);
    drop(log);

    // A sealed segment must be whole and must meet its successor.
    let sealed = segment::path(dir.path(), firsts[firsts.len() - 2]);
    let whole = fs::read(&sealed).unwrap();
    fs::write(&sealed, &whole[..whole.len() - 1]).unwrap();
    assert!(matches!(Log::open(dir.path(), small(1000)), Err(AuditError::Corrupt { file, .. }) if file == sealed));
    let cut = whole.len() - json(0).len() - 10;
    fs::write(&sealed, &whole[..cut]).unwrap();
    assert!(matches!(Log::open(dir.path(), small(1000)), Err(AuditError::Corrupt { file, .. }) if file == sealed));
    fs::write(&sealed, &whole).unwrap();
    fs::remove_file(segment::path(dir.path(), firsts[2])).unwrap();
    assert!(matches!(verify(dir.path()), Err(AuditError::Corrupt { .. })));
}

/// Every state of the two files around a rotation that was not named yet.
#[test]
fn a_rotation_cut_short_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    let (current, next) = (segment::path(dir.path(), 0), dir.path().join(NEXT));
    let line = |n: u64| {
        let mut out = Vec::new();
        segment::Line::of(&json(n)).unwrap().push_to(&mut out);
        out
    };
    let old = [segment::header(0).into_bytes(), line(0), line(1)].concat();
    let new = [segment::header(2).into_bytes(), line(2), line(3)].concat();
    let start = |old: &[u8], new: &[u8]| {
        fs::remove_dir_all(dir.path()).unwrap();
        fs::create_dir(dir.path()).unwrap();
        fs::write(&current, old).unwrap();
        fs::write(&next, new).unwrap();
        assert!(verify(dir.path()).is_ok());
        let (log, recovery) = open(dir.path(), Options::default());
        assert_eq!(log.append(&json(8)).unwrap(), recovery.records);
        drop(log);
        let mut wanted: Vec<_> = (0..recovery.records).map(json).collect();
        wanted.push(json(8));
        assert_eq!(records(dir.path()), wanted);
        recovery
    };
    // Killed after the swap: everything is there, even behind the trace of a failed write.
    assert_eq!(start(&old, &new), Recovery { records: 4, ..Recovery::default() });
    assert!(segment::path(dir.path(), 2).exists());
    let traced = [&old[..], b"0123abcd {\"torn"].concat();
    assert_eq!(start(&traced, &new), Recovery { records: 4, cut_bytes: 15, ..Recovery::default() });
    // Killed during the first write to the new segment, at every byte.
    let one = segment::header(2).len() + line(2).len();
    for cut in 0..one {
        assert_eq!(start(&old, &new[..cut]).records, 2, "cut at {cut}");
    }
    // Power cut: the new segment's pages came through, the old one's tail did not.
    let recovery = start(&old[..old.len() - 3], &new);
    assert_eq!((recovery.records, recovery.cut_records, recovery.set_aside.len()), (1, 2, 1));
    assert_eq!(fs::read(&recovery.set_aside[0]).unwrap(), new);
}

#[test]
fn concurrent_appenders_get_distinct_contiguous_indices() {
    const THREADS: u64 = 8;
    const EACH: u64 = 500;
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), small(20_000));
    let log = Arc::new(log);
    let threads: Vec<_> = (0..THREADS)
        .map(|t| {
            let log = log.clone();
            std::thread::spawn(move || {
                (0..EACH).map(|n| (log.append(&json(t * EACH + n)).unwrap(), t * EACH + n)).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut all: Vec<_> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    all.sort_unstable();
    drop(log);
    let read = records(dir.path());
    assert_eq!(read.len() as u64, THREADS * EACH);
    for (place, (index, n)) in all.into_iter().enumerate() {
        assert_eq!(index, place as u64);
        assert_eq!(read[place], json(n));
    }
}

#[test]
fn the_answer_waits_for_a_flush_that_began_after_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { degree: Degree::Fsync, flush_every: Duration::from_secs(3600), ..Options::default() };
    let (log, _) = open(dir.path(), options);
    let log = Arc::new(log);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    log.faults().hold_flushes(true);
    let answer = |n: u64| {
        let log = log.clone();
        runtime.spawn(async move { log.append_for_answer(&json(n)).await })
    };
    let first = answer(0);
    eventually("the first flush begins", || log.faults().flushes() == 1);
    // These are written while the first flush is under way, so it does not count for them.
    let others: Vec<_> = (1..50).map(answer).collect();
    eventually("all are written", || log.next_index() == 50);
    std::thread::sleep(Duration::from_millis(20));
    assert!(!first.is_finished() && others.iter().all(|o| !o.is_finished()));
    assert_eq!((log.flushed_through(), log.lag().records), (None, 50));
    assert!(log.lag().oldest > Duration::ZERO && log.lag().bytes > 50 * 80);
    log.faults().hold_flushes(false);
    runtime.block_on(async {
        assert_eq!(first.await.unwrap().unwrap(), 0);
        let mut indices = HashSet::new();
        for other in others {
            indices.insert(other.await.unwrap().unwrap());
        }
        assert_eq!(indices, (1..50).collect());
    });
    assert_eq!(log.faults().flushes(), 2, "49 waiters shared one flush");
    assert_eq!((log.flushed_through(), log.lag()), (Some(49), crate::Lag::default()));
    assert!(matches!(runtime.block_on(log.flushed(50)), Err(AuditError::NoSuchRecord(50))));
}

#[test]
fn the_os_degree_flushes_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), Options { flush_every: Duration::from_millis(30), ..Options::default() });
    for n in 0..3 {
        let before = log.faults().flushes();
        assert_eq!(block_on(log.append_for_answer(&json(n))).unwrap(), n);
        eventually("the flush", || log.flushed_through() == Some(n));
        assert_eq!(log.faults().flushes(), before + 1);
    }
    // A clean log is left alone.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(log.faults().flushes(), 3);
}

#[test]
fn a_failed_flush_poisons_the_log_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), Options { flush_every: Duration::from_secs(3600), ..Options::default() });
    log.append(&json(0)).unwrap();
    block_on(log.flushed(0)).unwrap();
    log.append(&json(1)).unwrap();
    log.faults().fail_next_flush();
    assert!(matches!(block_on(log.flushed(1)), Err(AuditError::Poisoned)));
    assert!(matches!(log.append(&json(2)), Err(AuditError::Poisoned)));
    assert!(matches!(block_on(log.flushed(1)), Err(AuditError::Poisoned)));
    assert!(matches!(block_on(log.append_for_answer(&json(2))), Err(AuditError::Poisoned)));
    block_on(log.flushed(0)).unwrap();
    assert!(!log.healthy() && matches!(log.close(), Err(AuditError::Poisoned)));
    assert_eq!(log.faults().flushes(), 2, "a failed flush is never tried again");
    drop(log);
    let (log, recovery) = open(dir.path(), Options::default());
    assert_eq!((recovery.records, log.append(&json(2)).unwrap()), (2, 2));
}

#[test]
fn a_short_write_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (log, _) = open(dir.path(), Options::default());
        log.append(&json(0)).unwrap();
        log.faults().short_write(80);
        assert!(matches!(log.append(&json(1)), Err(AuditError::Full)));
        assert_eq!(log.next_index(), 1);
        // Shorter than what the failed write left.
        assert_eq!(log.append(b"{}").unwrap(), 1);
        log.faults().short_write(5);
        assert!(matches!(log.append(&json(1)), Err(AuditError::Full)));
    }
    let (_log, recovery) = open(dir.path(), Options::default());
    assert_eq!((recovery.records, recovery.cut_bytes), (2, 0));
    assert_eq!(records(dir.path()), [json(0), b"{}".to_vec()]);
}

#[test]
fn without_room_for_the_next_segment_the_log_is_full_until_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), small(2000));
    // The second reservation is the spare's.
    eventually("the spare is made", || log.faults().reservations() == 2);
    log.faults().set_full(true);
    let mut written = 0;
    while log.append(&json(written)).is_ok() {
        written += 1;
        block_on(log.flushed(written - 1)).unwrap();
        assert!(written < 1000);
    }
    // The rest of the first segment and the whole spare were used.
    assert!(written as usize >= 2 * (2000 - 100) / 100, "{written}");
    assert!(matches!(log.append(&json(written)), Err(AuditError::Full)));
    assert!(!log.healthy());
    log.faults().set_full(false);
    eventually("there is room again", || log.append(&json(written)).is_ok());
    eventually("healthy again", || log.healthy());
    drop(log);
    assert_eq!(records(dir.path()), (0..=written).map(json).collect::<Vec<_>>());
}

#[test]
fn request_ids_of_the_last_segments_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), small(1000));
    for n in 0..50 {
        let mut record = json(n);
        record.pop();
        // Of the last ones, one has failed.
        record.extend_from_slice(if n == 47 { br#","code":"InternalError"}"# } else { br#","code":""}"# });
        log.append(&record).unwrap();
        block_on(log.flushed(n)).unwrap();
    }
    let id = |n: u64| format!("id-{n:08}");
    let asked: HashSet<_> = [id(0), id(47), id(48), id(49), id(50), String::new()].into();
    assert_eq!(log.contains_request_ids(&asked, u64::MAX).unwrap(), [id(48), id(49)].into());
    assert_eq!(log.contains_request_ids(&HashSet::new(), u64::MAX).unwrap(), HashSet::new());
}

/// A record whose outbox row could not be removed for long is found however many segments have been filled since.
#[test]
fn request_ids_of_older_segments_are_found_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), small(1000));
    let (second, key) = (1_000_000, [jadeseal_types::KeyId::from_bytes([7; 16])]);
    for n in 0..50 {
        let record = crate::Record {
            time_micros: n * second,
            request_id: &format!("id-{n:08}"),
            account: None,
            uin: None,
            targets: &[],
            principal: crate::Principal::Service,
            secret_id: None,
            session: None,
            source: None,
            user_agent: "",
            service: "kms",
            version: "",
            action: "Rekey",
            region: "",
            resources: &key,
            subjects: &[],
            access: crate::Access::Write,
            code: None,
        };
        let mut json = Vec::new();
        record.encode(&mut json);
        log.append(&json).unwrap();
        block_on(log.flushed(n)).unwrap();
    }
    let asked: HashSet<_> = [5, 20].map(|n: u64| format!("id-{n:08}")).into();
    let found = |since: u64| {
        let mut found: Vec<_> = log.contains_request_ids(&asked, since * second).unwrap().into_iter().collect();
        found.sort();
        found
    };
    assert!(found(49).is_empty(), "the last two segments alone");
    assert_eq!(found(20), ["id-00000020"]);
    assert_eq!(found(5), ["id-00000005", "id-00000020"]);
}

fn fsync() -> Options {
    Options { degree: Degree::Fsync, flush_every: Duration::from_secs(3600), ..Options::default() }
}

/// A log in degree `fsync` in which nothing is flushed until `hold_flushes(false)`, because a first flush is under
/// way, and a runtime for those who wait.
fn held(dir: &Path, options: Options) -> (Arc<Log>, tokio::runtime::Runtime, Answer) {
    let (log, _) = open(dir, options);
    let log = Arc::new(log);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    log.faults().hold_flushes(true);
    let first = answer(&log, &runtime, 0);
    eventually("the first flush begins", || log.faults().flushes() == 1);
    (log, runtime, first)
}

type Answer = tokio::task::JoinHandle<Result<u64, AuditError>>;

/// Asks for an answer and returns once its record has its index.
fn answer(log: &Arc<Log>, runtime: &tokio::runtime::Runtime, n: u64) -> Answer {
    let (index, waiter) = (log.next_index(), log.clone());
    let answer = runtime.spawn(async move { waiter.append_for_answer(&json(n)).await });
    eventually("the record has its index", || log.next_index() > index);
    answer
}

/// What a kill at this moment would leave.
fn on_disk(dir: &Path) -> Vec<Vec<u8>> {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let (log, recovery) = open(copy.path(), Options::default());
    assert_eq!((recovery.cut_bytes, recovery.cut_records), (0, 0));
    drop(log);
    records(copy.path())
}

#[test]
fn an_append_takes_what_is_pending_with_it_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (log, runtime, first) = held(dir.path(), fsync());
    let pending: Vec<_> = (1..4).map(|n| answer(&log, &runtime, n)).collect();
    assert_eq!(on_disk(dir.path()), [json(0)], "pending records are in memory only");
    assert_eq!(log.append(&json(4)).unwrap(), 4);
    assert_eq!(on_disk(dir.path()), (0..5).map(json).collect::<Vec<_>>());
    assert!(pending.iter().all(|p| !p.is_finished()), "written is not flushed");
    let last = answer(&log, &runtime, 5);
    log.faults().hold_flushes(false);
    for (n, answer) in [first].into_iter().chain(pending).zip(0..) {
        assert_eq!(runtime.block_on(n).unwrap().unwrap(), answer);
    }
    assert_eq!(runtime.block_on(last).unwrap().unwrap(), 5);
    drop(log);
    assert_eq!(records(dir.path()), (0..6).map(json).collect::<Vec<_>>());
}

/// Whichever write it is that fails half way: all whose records it held are refused, and the log goes on.
#[test]
fn a_group_write_that_fails_refuses_the_whole_group_and_no_other() {
    for by_append in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (log, runtime, first) = held(dir.path(), fsync());
        let group: Vec<_> = (1..5).map(|n| answer(&log, &runtime, n)).collect();
        // Two whole lines and a piece of the third come through.
        log.faults().short_write(2 * (json(0).len() + 10) + 30);
        if by_append {
            assert!(matches!(log.append(&json(5)), Err(AuditError::Full)));
        }
        log.faults().hold_flushes(false);
        assert_eq!(runtime.block_on(first).unwrap().unwrap(), 0);
        for refused in group {
            assert!(matches!(runtime.block_on(refused).unwrap(), Err(AuditError::Full)));
        }
        assert_eq!((log.next_index(), log.flushed_through(), log.lag().bytes), (1, Some(0), 0));
        assert_eq!(on_disk(dir.path()), [json(0)], "nothing of a refused group is found");
        assert!(log.healthy());
        // Shorter than what was cut.
        assert_eq!(log.append(b"{}").unwrap(), 1);
        assert_eq!(runtime.block_on(answer(&log, &runtime, 6)).unwrap().unwrap(), 2);
        drop(log);
        assert_eq!(records(dir.path()), [json(0), b"{}".to_vec(), json(6)]);
    }
}

#[test]
fn pending_records_stay_before_the_roll_over() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 600, ..fsync() };
    let (log, runtime, first) = held(dir.path(), options.clone());
    eventually("the spare is made", || dir.path().join(NEXT).exists());
    let mut answers = vec![first];
    // More than the rest of the first segment; the second cannot be named while the flush is held.
    answers.extend((1..8).map(|n| answer(&log, &runtime, n)));
    assert!(fs::metadata(dir.path().join(NEXT)).unwrap().len() > 0);
    log.faults().hold_flushes(false);
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(runtime.block_on(answer).unwrap().unwrap(), n as u64);
    }
    for n in 8..100 {
        assert_eq!(runtime.block_on(answer(&log, &runtime, n)).unwrap().unwrap(), n);
    }
    assert_eq!(on_disk(dir.path()), (0..100).map(json).collect::<Vec<_>>());
    drop(log);
    assert!(segment::list(dir.path()).unwrap().len() > 5);
    assert_eq!(records(dir.path()), (0..100).map(json).collect::<Vec<_>>());
    assert_eq!(open(dir.path(), options).1.records, 100);
}

#[test]
fn a_failed_flush_of_a_group_poisons_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (log, runtime, first) = held(dir.path(), fsync());
    let group: Vec<_> = (1..5).map(|n| answer(&log, &runtime, n)).collect();
    log.faults().fail_next_flush();
    log.faults().hold_flushes(false);
    for refused in [first].into_iter().chain(group) {
        assert!(matches!(runtime.block_on(refused).unwrap(), Err(AuditError::Poisoned)));
    }
    assert!(log.poisoned() && matches!(log.append(&json(9)), Err(AuditError::Poisoned)));
}

/// Degree `fsync` keeps zeros behind the end; degree `os` does not.
#[test]
fn the_room_behind_the_end_is_zeros_until_the_log_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let file = segment::path(dir.path(), 0);
    let (log, _) = open(dir.path(), fsync());
    block_on(log.append_for_answer(&json(0))).unwrap();
    let whole = segment::header(0).len() + json(0).len() + 10;
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.len() > whole + 100_000 && bytes[whole..].iter().all(|&c| c == 0));
    assert_eq!(verify(dir.path()).unwrap(), crate::Verified { segments: 1, records: 1, torn_bytes: 0 });
    // Closed: its lines. Killed: the zeros stay and count for nothing, whatever the degree of the next start.
    drop(log);
    assert_eq!(fs::read(&file).unwrap(), &bytes[..whole]);
    for options in [Options::default(), fsync(), Options::default()] {
        fs::write(&file, &bytes).unwrap();
        unflushed(dir.path());
        let (log, recovery) = open(dir.path(), options);
        assert_eq!(recovery, Recovery { records: 1, ..Recovery::default() });
        assert_eq!(log.append(&json(1)).unwrap(), 1);
        drop(log);
        assert_eq!(records(dir.path()), [json(0), json(1)]);
    }
    // A torn line before the zeros is cut, and with it they are; a whole one behind them lies behind a hole.
    let mut torn = bytes.clone();
    torn[whole..whole + 15].copy_from_slice(b"0123abcd {\"torn");
    fs::write(&file, &torn).unwrap();
    unflushed(dir.path());
    let wanted = Recovery { records: 1, cut_bytes: 15, ..Recovery::default() };
    assert_eq!(verify(dir.path()).unwrap().torn_bytes, 15);
    assert_eq!(open(dir.path(), fsync()).1, wanted);
    let mut holed = bytes;
    holed.truncate(whole + 70_000);
    holed.push(b'\n');
    segment::Line::of(&json(2)).unwrap().push_to(&mut holed);
    fs::write(&file, &holed).unwrap();
    unflushed(dir.path());
    let (_log, recovery) = open(dir.path(), fsync());
    assert_eq!((recovery.records, recovery.cut_records, recovery.set_aside.len()), (1, 1, 1));
}

/// In degree `os`, answers that are ready together share a write, and its failure.
#[test]
fn answers_share_a_write_and_its_failure() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = open(dir.path(), Options::default());
    log.faults().short_write(30);
    let (first, second, third) = block_on(async {
        let (one, two, three) = (json(1), json(2), json(3));
        tokio::join!(log.append_for_answer(&one), log.append_for_answer(&two), log.append_for_answer(&three))
    });
    for refused in [first, second, third] {
        assert!(matches!(refused, Err(AuditError::Full)));
    }
    assert_eq!(log.next_index(), 0);
    let (first, second) = block_on(async {
        let (one, two) = (json(4), json(5));
        tokio::join!(log.append_for_answer(&one), log.append_for_answer(&two))
    });
    assert_eq!((first.unwrap(), second.unwrap()), (0, 1));
    // With the operating system before the answer.
    assert_eq!(records(dir.path()), [json(4), json(5)]);
    // Whoever hangs up in between leaves his record.
    let given_up = json(6);
    block_on(async {
        let mut waiting = std::pin::pin!(log.append_for_answer(&given_up));
        let once = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
        assert!(once.await);
    });
    eventually("the flusher writes it", || records(dir.path()).len() == 3);
    log.close().unwrap();
    assert_eq!(log.flushed_through(), Some(2));
}
