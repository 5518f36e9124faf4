//! Whatever is done to a copied log is noticed, and the first record that is not what was logged is named.

use jadeseal_audit::{
    AuditError, Certifier, Log, Note, Options, Proof, Proved, Retention, Signer, Trust, Verifier, checkpoint, publish,
    tree, verify_log,
};
use jadeseal_crypto::{Ed25519Key, Sm2Key};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const PER_RUN: u64 = 120;
const RUNS: u64 = 3;
const RECORDS: u64 = PER_RUN * RUNS;

fn json(n: u64) -> Vec<u8> {
    format!(
        "{{\"v\":1,\"time\":\"2026-11-24T02:15:{:02}.123456Z\",\"request_id\":\"id-{n:08}\",\"principal\":\"root\",\"action\":\"Encrypt\",\
         \"resources\":[],\"code\":\"\"}}",
        n / PER_RUN
    )
    .into_bytes()
}

fn options() -> Options {
    Options { segment_bytes: 8192, checkpoint_every: Duration::from_millis(10), ..Options::default() }
}

fn signer() -> Signer {
    Signer::ed25519("log.example/a", Ed25519Key::from_seed(&[5; 32]).unwrap()).unwrap()
}

fn certifier(signer: Signer) -> Certifier {
    Certifier { signer, witnesses: Vec::new(), required: 0 }
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn append(log: &Log, numbers: std::ops::Range<u64>) {
    for n in numbers {
        while log.append(&json(n)).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Time for the flusher to make the next segment.
        if n % 15 == 0 {
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

/// A log of several segments and checkpoints.
fn make(dir: &Path) -> Trust {
    for run in 0..RUNS {
        let (log, _) = Log::open(dir, options()).unwrap();
        log.certify(certifier(signer())).unwrap();
        append(&log, run * PER_RUN..(run + 1) * PER_RUN);
        log.close().unwrap();
    }
    Trust { keys: vec![signer().verifier().clone()], ..Trust::default() }
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    all.retain(|p| {
        let name = p.file_name().unwrap().to_str().unwrap();
        name.starts_with("audit-0") && name.ends_with(".log")
    });
    all.sort();
    all
}

fn verify(dir: &Path, trust: &Trust) -> Result<Proved, AuditError> {
    verify_log(dir, trust, &[], |_, _| {})
}

/// The line of a record, with a right checksum.
fn line(json: &[u8]) -> Vec<u8> {
    [format!("{:08x} ", crc32c::crc32c(json)).as_bytes(), json, b"\n"].concat()
}

/// The segment with a record, its lines (the header first), and the number of its line.
fn find(dir: &Path, index: u64) -> (PathBuf, Vec<Vec<u8>>, usize) {
    let mut first = 0;
    for path in segments(dir) {
        let lines: Vec<Vec<u8>> =
            fs::read(&path).unwrap().split_inclusive(|&c| c == b'\n').map(<[u8]>::to_vec).collect();
        let records = lines.len() as u64 - 1;
        if index < first + records {
            return (path, lines, usize::try_from(index - first).unwrap() + 1);
        }
        first += records;
    }
    panic!("no record {index}")
}

/// What somebody does who knows the format: the files of the tree are made anew from the records.
fn rebuild_tree(dir: &Path) {
    let mut levels = vec![Vec::new(); 8];
    let mut tree = tree::Tree::default();
    jadeseal_audit::for_each_record(dir, |_, json| {
        tree.push(tree::leaf(json), |level, hash| levels[level].extend_from_slice(hash))
    })
    .unwrap();
    for (level, bytes) in levels.iter().enumerate().filter(|(_, bytes)| !bytes.is_empty()) {
        fs::write(dir.join(format!("tree-{level}")), bytes).unwrap();
    }
}

#[test]
fn a_sound_log_is_proved() {
    let dir = tempfile::tempdir().unwrap();
    let trust = make(dir.path());
    let mut seen = 0;
    let proved = verify_log(dir.path(), &trust, &[], |index, record| {
        assert_eq!((index, record), (seen, &json(seen)[..]));
        seen += 1;
    })
    .unwrap();
    assert_eq!((seen, proved.end, proved.uncovered(), proved.hashed), (RECORDS, RECORDS, 0, RECORDS));
    assert!(proved.segments > 3 && proved.checkpoints > RUNS, "{proved:?}");
    assert_eq!(checkpoint::keys(dir.path()).unwrap(), trust.keys);
    let other = Trust {
        keys: vec![Signer::ed25519("log.example/a", Ed25519Key::generate().unwrap()).unwrap().verifier().clone()],
        ..trust
    };
    assert!(matches!(verify(dir.path(), &other), Err(AuditError::Note { .. })));
}

#[test]
fn every_flipped_record_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let trust = make(dir.path());
    let work = copy(dir.path());
    for index in 0..RECORDS {
        let (path, lines, at) = find(work.path(), index);
        let mut bad = lines.clone();
        let position = 9 + usize::try_from(index * 7).unwrap() % (bad[at].len() - 10);
        bad[at][position] ^= 1;
        fs::write(&path, bad.concat()).unwrap();
        match verify(work.path(), &trust) {
            Err(AuditError::BadAt { index: named, line, .. }) => assert_eq!((named, line), (index, at as u64 + 1)),
            other => panic!("{index}: {other:?}"),
        }
        // With the checksum made right, the tree tells.
        let mut json = lines[at][9..lines[at].len() - 1].to_vec();
        json[position - 9] ^= 1;
        bad[at] = line(&json);
        fs::write(&path, bad.concat()).unwrap();
        match verify(work.path(), &trust) {
            Err(AuditError::Altered { index: named, line, .. }) => assert_eq!((named, line), (index, at as u64 + 1)),
            // Some bytes cannot be in a line.
            Err(AuditError::BadAt { index: named, .. }) => assert_eq!(named, index),
            other => panic!("{index}: {other:?}"),
        }
        fs::write(&path, lines.concat()).unwrap();
    }
    verify(work.path(), &trust).unwrap();
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// Does something to the lines of a segment, at one of them.
type Edit = fn(&mut Vec<Vec<u8>>, usize);

#[test]
fn dropped_doubled_reordered_and_forged_records_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let trust = make(dir.path());
    for index in [0, 1, 17, 118, 119, 120, 255, RECORDS - 2, RECORDS - 1] {
        let edits: [Edit; 4] = [
            |lines, at| drop(lines.remove(at)),
            |lines, at| lines.insert(at, lines[at].clone()),
            |lines, at| if at + 1 < lines.len() { lines.swap(at, at + 1) } else { drop(lines.remove(at)) },
            |lines, at| lines.insert(at, line(&json(99_999))),
        ];
        for (n, edit) in edits.iter().enumerate() {
            if n == 1 && index == RECORDS - 1 {
                // Behind the last checkpoint anything may stand.
                continue;
            }
            let work = copy(dir.path());
            let (path, mut lines, at) = find(work.path(), index);
            edit(&mut lines, at);
            fs::write(&path, lines.concat()).unwrap();
            let error = verify(work.path(), &trust).unwrap_err();
            let named = match error {
                // A doubled record stands behind itself.
                AuditError::Altered { index, .. } => index - u64::from(n == 1),
                AuditError::Missing { from, .. } => from,
                AuditError::Shorter { records, .. } => records,
                // One too many at the end of a segment, or behind the last checkpoint.
                ref other => panic!("{index} {n}: {other:?}"),
            };
            assert_eq!(named, index, "{n}: {error:?}");
        }
    }
}

#[test]
fn whole_segments_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    let trust = make(dir.path());
    let all = segments(dir.path());
    for (n, path) in all.iter().enumerate() {
        let work = copy(dir.path());
        fs::remove_file(work.path().join(path.file_name().unwrap())).unwrap();
        let first: u64 = path.file_name().unwrap().to_str().unwrap()[6..22].parse().unwrap();
        match verify(work.path(), &trust).unwrap_err() {
            AuditError::Missing { from, .. } => assert_eq!(from, first),
            AuditError::Shorter { records, promised } if n + 1 == all.len() => {
                assert_eq!((records, promised), (first, RECORDS))
            }
            other => panic!("{n}: {other:?}"),
        }
    }
}

#[test]
fn a_rewritten_history_does_not_fit_its_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let trust = make(dir.path());
    for index in [0, 60, PER_RUN - 1, PER_RUN, 2 * PER_RUN + 5, RECORDS - 1] {
        let work = copy(dir.path());
        let (path, mut lines, at) = find(work.path(), index);
        lines[at] = line(&json(77_777));
        fs::write(&path, lines.concat()).unwrap();
        rebuild_tree(work.path());
        match verify(work.path(), &trust).unwrap_err() {
            AuditError::Rewritten { from, size } => assert!((from..size).contains(&index), "{index}: {from} {size}"),
            other => panic!("{index}: {other:?}"),
        }
    }
    // The end cut off, the tree and the checkpoints made to fit: only a checkpoint that was kept elsewhere tells.
    let kept = checkpoint::newest(dir.path()).unwrap().unwrap();
    let work = copy(dir.path());
    let (path, lines, at) = find(work.path(), RECORDS - 1);
    fs::write(&path, lines[..at].concat()).unwrap();
    rebuild_tree(work.path());
    fs::remove_file(work.path().join("checkpoint")).unwrap();
    let history = fs::read_to_string(work.path().join("checkpoints")).unwrap();
    let cut = history.rfind("#checkpoint").unwrap();
    fs::write(work.path().join("checkpoints"), &history[..cut]).unwrap();
    let all_of_it = checkpoint::history(work.path()).unwrap();
    assert!(!all_of_it.is_empty());
    match verify_log(work.path(), &trust, &[kept], |_, _| {}).unwrap_err() {
        AuditError::Shorter { records, promised } => assert_eq!((records, promised), (RECORDS - 1, RECORDS)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn checkpoints_and_tree_files_cannot_be_touched() {
    let dir = tempfile::tempdir().unwrap();
    let trust = make(dir.path());
    for name in ["checkpoint", "checkpoints", "tree-0", "tree-1"] {
        let whole = fs::read(dir.path().join(name)).unwrap();
        for position in (0..whole.len()).step_by(whole.len() / 97 + 1) {
            let work = copy(dir.path());
            let mut bad = whole.clone();
            bad[position] ^= 2;
            fs::write(work.path().join(name), bad).unwrap();
            let error = verify(work.path(), &trust).expect_err(name);
            if name == "tree-0" {
                let index = (position / 32) as u64;
                assert!(matches!(error, AuditError::Altered { index: named, .. } if named == index), "{error:?}");
            }
        }
    }
}

#[test]
fn a_fork_is_found_with_the_checkpoint_of_the_other_side() {
    let dir = tempfile::tempdir().unwrap();
    let trust = make(dir.path());
    let fork = copy(dir.path());
    for (path, number) in [(dir.path(), 1_000), (fork.path(), 2_000)] {
        let (log, _) = Log::open(path, options()).unwrap();
        log.certify(certifier(signer())).unwrap();
        append(&log, number..number + 10);
        log.close().unwrap();
        verify(path, &trust).unwrap();
    }
    let theirs = checkpoint::newest(fork.path()).unwrap().unwrap();
    match verify_log(dir.path(), &trust, &[theirs], |_, _| {}).unwrap_err() {
        AuditError::Rewritten { from, size } => assert_eq!((from, size), (RECORDS, RECORDS + 10)),
        other => panic!("{other:?}"),
    }
}

/// The newest checkpoint may be half written after a power cut; the history has an older one.
#[test]
fn a_torn_newest_checkpoint_stops_no_start() {
    let dir = tempfile::tempdir().unwrap();
    let trust = make(dir.path());
    for torn in [&b""[..], &[0; 200], b"log.example/a\n36"] {
        fs::write(dir.path().join("checkpoint"), torn).unwrap();
        let (log, _) = Log::open(dir.path(), options()).unwrap();
        log.certify(certifier(signer())).unwrap();
        eventually("a new one", || log.published().is_some_and(|p| p.checkpoint.size == RECORDS));
        drop(log);
        verify(dir.path(), &trust).unwrap();
    }
}

/// A publication that fails is tried again, and the last of each run is in the history.
#[test]
fn what_could_not_be_published_is_published_later() {
    let dir = tempfile::tempdir().unwrap();
    let trust = make(dir.path());
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    // A directory in its place cannot be renamed over.
    fs::remove_file(dir.path().join("checkpoint")).unwrap();
    fs::create_dir(dir.path().join("checkpoint")).unwrap();
    log.certify(certifier(signer())).unwrap();
    append(&log, RECORDS..RECORDS + 5);
    eventually("a candidate", || log.candidate().is_some_and(|(c, _)| c.size == RECORDS + 5));
    std::thread::sleep(Duration::from_millis(50));
    assert!(log.published().is_none());
    fs::remove_dir(dir.path().join("checkpoint")).unwrap();
    eventually("published", || log.published().is_some_and(|p| p.checkpoint.size == RECORDS + 5));
    log.close().unwrap();
    let history = checkpoint::history(dir.path()).unwrap();
    assert!(history.last().unwrap().text().contains(&format!("\n{}\n", RECORDS + 5)));
    assert_eq!(verify(dir.path(), &trust).unwrap().uncovered(), 0);
}

#[test]
fn a_start_refuses_a_log_that_is_not_its_own() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    // A record replaced, everything made to fit but the checkpoints.
    let work = copy(dir.path());
    let (path, mut lines, at) = find(work.path(), RECORDS - 1);
    lines[at] = line(&json(1));
    fs::write(&path, lines.concat()).unwrap();
    rebuild_tree(work.path());
    fs::remove_file(work.path().join("tree-head")).unwrap();
    assert!(matches!(Log::open(work.path(), options()), Err(AuditError::Forked(RECORDS))));
    // The end gone.
    let work = copy(dir.path());
    let (path, lines, at) = find(work.path(), RECORDS - 1);
    fs::write(&path, lines[..at].concat()).unwrap();
    assert!(
        matches!(Log::open(work.path(), options()), Err(AuditError::Shorter { records, .. }) if records == RECORDS - 1)
    );
}

#[test]
fn proofs_stand_on_their_own_with_either_algorithm() {
    let sm2 = || Signer::sm2("log.example/gm", Sm2Key::from_scalar(&[9; 32]).unwrap()).unwrap();
    for make_signer in [signer as fn() -> Signer, sm2] {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(dir.path(), options()).unwrap();
        log.certify(certifier(make_signer())).unwrap();
        append(&log, 0..300);
        log.close().unwrap();
        let trust = Trust { keys: vec![make_signer().verifier().clone()], ..Trust::default() };
        let proved = verify(dir.path(), &trust).unwrap();
        for index in [0, 1, 255, 256, 299] {
            let proof = Proof::make(dir.path(), &proved, index, &json(index)).unwrap();
            let text = proof.to_string();
            let read = Proof::parse(text.as_bytes()).unwrap();
            assert_eq!((&read, read.check(&trust).unwrap().size), (&proof, 300));
            assert!(read.check(&Trust::default()).is_err());
            for (from, to) in [
                (format!("index {index}"), format!("index {}", index + 1)),
                ("log.example".into(), "log.examplf".into()),
            ] {
                let forged = Proof::parse(text.replace(&from, &to).as_bytes());
                assert!(forged.is_err() || forged.unwrap().check(&trust).is_err());
            }
            for end in 0..text.len() {
                assert!(Proof::parse(&text.as_bytes()[..end]).and_then(|p| p.check(&trust)).is_err(), "{end}");
            }
        }
        let other = Proof::make(dir.path(), &proved, 7, &json(8)).unwrap();
        assert!(other.check(&trust).is_err());
        assert!(Proof::make(dir.path(), &proved, 300, &json(300)).is_err());
    }
}

#[test]
fn witnesses_must_sign_where_they_are_required() {
    let dir = tempfile::tempdir().unwrap();
    let witness = Signer::witness("w.example/1", Ed25519Key::generate().unwrap()).unwrap();
    let witnesses: Vec<Verifier> = vec![witness.verifier().clone()];
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    log.certify(Certifier { signer: signer(), witnesses: witnesses.clone(), required: 1 }).unwrap();
    append(&log, 0..10);
    eventually("a candidate", || log.candidate().is_some_and(|(c, _)| c.size == 10));
    std::thread::sleep(Duration::from_millis(50));
    assert!(log.published().is_none() && checkpoint::newest(dir.path()).unwrap().is_none());
    let (_, mut note) = log.candidate().unwrap();
    assert!(log.cosigned(note.clone()).is_err());
    let forged = Signer::witness("w.example/1", Ed25519Key::generate().unwrap()).unwrap();
    let mut bad = note.clone();
    bad.add(&forged.sign(note.text(), 1).unwrap()).unwrap();
    assert!(log.cosigned(bad).is_err());
    note.add(&witness.sign(note.text(), 1_795_486_522).unwrap()).unwrap();
    log.cosigned(note.clone()).unwrap();
    assert_eq!(checkpoint::newest(dir.path()).unwrap(), Some(note));
    append(&log, 10..20);
    log.close().unwrap();
    let trust = Trust { keys: vec![signer().verifier().clone()], witnesses, required: 1 };
    let proved = verify(dir.path(), &trust).unwrap();
    assert_eq!((proved.end, proved.uncovered()), (20, 10));
    // A witness counts once, and the log is none of its own.
    let twice = vec![trust.witnesses[0].clone(), trust.witnesses[0].clone()];
    assert!(Trust::new(trust.keys.clone(), twice, 2).is_err());
    assert!(Trust::new(trust.keys.clone(), trust.keys.clone(), 1).is_err());
    let stranger = Trust { witnesses: vec![forged.verifier().clone()], ..trust };
    assert!(verify(dir.path(), &stranger).is_err());
}

#[test]
fn retired_records_leave_their_hashes_and_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let archive = tempfile::tempdir().unwrap();
    let trust = make(dir.path());
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    log.certify(certifier(signer())).unwrap();
    eventually("the old checkpoint", || log.published().is_some_and(|p| p.checkpoint.size == RECORDS));
    // What was logged in the first run only.
    let retention =
        Retention { before_micros: 1_795_486_501_000_000, needed_from: None, archive: Some(archive.path().to_owned()) };
    let needed = Retention { needed_from: Some(0), ..retention.clone() };
    assert!(log.to_retire(&needed).unwrap().is_none());
    let retiring = log.to_retire(&retention).unwrap().unwrap();
    assert!(retiring.keep_from > 0 && retiring.keep_from <= PER_RUN);
    let (path, lines, at) = find(dir.path(), 3);
    let mut bad = lines.clone();
    bad[at] = line(&json(4));
    fs::write(&path, bad.concat()).unwrap();
    assert!(matches!(log.to_retire(&retention), Err(AuditError::Note { .. })), "evidence stays");
    fs::write(&path, lines.concat()).unwrap();
    // A line that is damaged is evidence too.
    for bad in [lines[..lines.len() - 1].concat(), flipped(&lines.concat(), 60)] {
        fs::write(&path, bad).unwrap();
        assert!(matches!(log.to_retire(&retention), Err(AuditError::Note { .. })), "evidence stays");
    }
    fs::write(&path, lines.concat()).unwrap();
    let into_itself = Retention { archive: Some(dir.path().join(".")), ..retention.clone() };
    assert!(log.to_retire(&into_itself).is_err());
    let record = format!(
        "{{\"v\":3,\"time\":\"2026-11-25T00:00:00.000000Z\",\"request_id\":\"r\",\"principal\":\"service\",\"action\":\"RetireAuditRecords\",\
         \"resources\":[],\"subjects\":[\"first/{}\"],\"code\":\"\"}}",
        retiring.keep_from
    );
    log.append(record.as_bytes()).unwrap();
    eventually("a checkpoint of it", || log.published().is_some_and(|p| p.checkpoint.size == RECORDS + 1));
    // Removed by somebody who has not the key: missing, whatever the log says, and no start makes it good.
    let silent = copy(dir.path());
    fs::remove_file(silent.path().join(path.file_name().unwrap())).unwrap();
    assert!(matches!(verify(silent.path(), &trust), Err(AuditError::Missing { from: 0, .. })));
    let (begun, _) = Log::open(silent.path(), options()).unwrap();
    assert!(matches!(begun.certify(certifier(signer())), Err(AuditError::Missing { from: 0, .. })));
    drop(begun);
    log.archive(&retiring, &retention).unwrap();
    log.archive(&retiring, &retention).expect("the same file again");
    let archived = archive.path().join("log.example_a");
    let first = archived.join(path.file_name().unwrap());
    let kept = fs::read(&first).unwrap();
    fs::write(&first, b"another log").unwrap();
    assert!(matches!(log.archive(&retiring, &retention), Err(AuditError::Note { .. })));
    fs::write(&first, kept).unwrap();
    log.retire(&retiring).unwrap();
    drop(log);
    let mut seen = Vec::new();
    let proved = verify_log(dir.path(), &trust, &[], |index, _| seen.push(index)).unwrap();
    assert_eq!((proved.first, proved.end), (retiring.keep_from, RECORDS + 1));
    assert_eq!(seen.first(), Some(&retiring.keep_from));
    assert!(!segments(&archived).is_empty());
    // Without the hashes of what was retired the tree cannot be made again: a start touches nothing.
    let hashes = fs::read(dir.path().join("tree-0")).unwrap();
    for name in ["tree-0", "tree-head"] {
        let bare = copy(dir.path());
        fs::remove_file(bare.path().join(name)).unwrap();
        assert!(Log::open(bare.path(), options()).is_err(), "{name}");
        assert!(name == "tree-0" || fs::read(bare.path().join("tree-0")).unwrap() == hashes);
    }
    // Back from the archive, it is whole again.
    for segment in segments(&archived) {
        fs::copy(&segment, dir.path().join(segment.file_name().unwrap())).unwrap();
    }
    assert_eq!(verify(dir.path(), &trust).unwrap().first, 0);
    let (log, _) = Log::open(dir.path(), options()).unwrap();
    assert_eq!(log.next_index(), RECORDS + 1);
}

#[test]
fn the_static_files_are_those_of_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let trust = make(dir.path());
    let proved = verify(dir.path(), &trust).unwrap();
    let first = publish(dir.path(), &proved, out.path()).unwrap();
    assert_eq!((first.tiles, first.bundles), (3, 2));
    let rest = RECORDS - 256;
    for path in [
        "tile/0/000",
        &format!("tile/0/001.p/{rest}"),
        "tile/1/000.p/1",
        "tile/entries/000",
        &format!("tile/entries/001.p/{rest}"),
        "checkpoint",
    ] {
        assert!(out.path().join(path).is_file(), "{path}");
    }
    let tile = fs::read(out.path().join("tile/0/000")).unwrap();
    assert_eq!((tile.len(), &tile[32 * 200..32 * 201]), (8192, &tree::leaf(&json(200))[..]));
    let bundle = fs::read(out.path().join("tile/entries/000")).unwrap();
    assert_eq!(&bundle[..2], &u16::try_from(json(0).len()).unwrap().to_be_bytes());
    assert_eq!(&bundle[2..2 + json(0).len()], json(0));
    // Again: only what is not full is written anew.
    let again = publish(dir.path(), &proved, out.path()).unwrap();
    assert_eq!((again.tiles, again.bundles), (2, 1));
    // Not over the tiles of another log.
    let other = tempfile::tempdir().unwrap();
    let (log, _) = Log::open(other.path(), options()).unwrap();
    let key = Signer::ed25519("other.example", Ed25519Key::generate().unwrap()).unwrap();
    let others = Trust { keys: vec![key.verifier().clone()], ..Trust::default() };
    log.certify(certifier(key)).unwrap();
    append(&log, 0..3);
    drop(log);
    let proved = verify(other.path(), &others).unwrap();
    assert!(matches!(publish(other.path(), &proved, out.path()), Err(AuditError::Note { .. })));
    let note = Note::parse(&fs::read(out.path().join("checkpoint")).unwrap()).unwrap();
    assert_eq!(Some(note), checkpoint::newest(dir.path()).unwrap());
}
