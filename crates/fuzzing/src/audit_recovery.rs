//! A directory of audit segments as a crash, a bad disk or a hand may leave it. Opening it ends in an error or in a
//! log that takes a record, and what was opened once opens again with that record in it.
use arbitrary::{Arbitrary, Unstructured};
use jadeseal_audit::{Degree, Log, Options, for_each_record};
use std::{io::Write, path::Path, time::Duration};

/// Part of a file. `Line` carries a right checksum, or the fuzzer would never get behind it.
#[derive(Arbitrary, Debug)]
enum Piece<'a> {
    Raw(&'a [u8]),
    Line(&'a [u8]),
    Header(u8),
    Record,
    /// What a writer in degree `fsync` has prepared ahead of itself.
    Zeros(u8),
}

#[derive(Arbitrary, Debug)]
struct Directory<'a> {
    first: Vec<Piece<'a>>,
    second: Option<(u8, Vec<Piece<'a>>)>,
    next: Option<Vec<Piece<'a>>>,
    fsync: bool,
}

const RECORD: &[u8] = br#"{"v":1,"request_id":"f73b7a61-8ff9-41f0-9c5b-525400b3a4a6"}"#;

/// One input, read as a description of what to do.
pub fn run(data: &[u8]) {
    let Ok(given) = Directory::arbitrary(&mut Unstructured::new(data)) else { return };
    let base = if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm").into() } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(base).expect("a directory");
    write(&dir.path().join("audit-0000000000000000.log"), &given.first);
    if let Some((first, pieces)) = &given.second {
        write(&dir.path().join(format!("audit-{first:016}.log")), pieces);
    }
    if let Some(pieces) = &given.next {
        write(&dir.path().join("audit-next.log"), pieces);
    }
    let degree = if given.fsync { Degree::Fsync } else { Degree::Os };
    let options =
        || Options { degree, segment_bytes: 4096, flush_every: Duration::from_secs(60), ..Options::default() };
    let Ok((log, recovery)) = Log::open(dir.path(), options()) else { return };
    assert_eq!(log.next_index(), recovery.records);
    let index = log.append(RECORD).expect("an open log takes a record");
    assert_eq!(index, recovery.records);
    log.close().expect("close");
    drop(log);
    let (log, again) = Log::open(dir.path(), options()).expect("a log opens again");
    assert_eq!(again.records, recovery.records + 1);
    assert_eq!(again.cut_bytes, 0);
    log.close().expect("close");
    drop(log);
    let mut last = Vec::new();
    let all = for_each_record(dir.path(), |_, json| last = json.to_vec()).expect("a recovered log reads");
    assert!(all.records > 0);
    assert_eq!(last, RECORD);
}

fn write(path: &Path, pieces: &[Piece]) {
    let mut file = std::fs::File::create(path).expect("a file");
    for piece in pieces {
        match piece {
            Piece::Raw(bytes) => file.write_all(bytes),
            Piece::Line(json) => line(&mut file, json),
            Piece::Header(first) => writeln!(file, "#jadeseal-audit v1 first={first}"),
            Piece::Record => line(&mut file, RECORD),
            Piece::Zeros(pages) => file.write_all(&vec![0; 4096 * usize::from(*pages % 40)]),
        }
        .expect("a write");
    }
}

fn line(file: &mut std::fs::File, json: &[u8]) -> std::io::Result<()> {
    write!(file, "{:08x} ", crc32c::crc32c(json))?;
    file.write_all(json)?;
    file.write_all(b"\n")
}
