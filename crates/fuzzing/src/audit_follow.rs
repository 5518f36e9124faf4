//! Audit segments of any content, read as the exports read them: what comes out is what a scan of the same files finds
//! good, in order, and whatever is wrong is an error.
use arbitrary::{Arbitrary, Unstructured};
use jadeseal_audit::{Follower, for_each_record};
use std::{io::Write, path::Path};

#[derive(Arbitrary, Debug)]
enum Piece<'a> {
    Raw(&'a [u8]),
    Line(&'a [u8]),
    Header(u8),
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    first: Vec<Piece<'a>>,
    second: Option<(u8, Vec<Piece<'a>>)>,
    from: u8,
    up_to: u8,
    records: u8,
    bytes: u16,
}

/// One input, read as a description of what to do.
pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else { return };
    let base = if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm").into() } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(base).expect("a directory");
    write(&dir.path().join("audit-0000000000000000.log"), &input.first);
    if let Some((first, pieces)) = &input.second {
        write(&dir.path().join(format!("audit-{first:016}.log")), pieces);
    }
    // An error of this one may come behind good records; those that it has seen are good.
    let mut good = std::collections::BTreeMap::new();
    let sound = for_each_record(dir.path(), |index, record| {
        good.insert(index, record.to_vec());
    })
    .is_ok();
    let (from, up_to) = (u64::from(input.from), u64::from(input.up_to));
    let Ok(mut follower) = Follower::open(dir.path(), from) else { return };
    let mut next = from;
    let (records, bytes) = (usize::from(input.records).max(1), usize::from(input.bytes).max(1));
    while let Ok(batch) = follower.next_batch(up_to, records, bytes) {
        assert!(batch.len() <= records);
        if batch.is_empty() {
            break;
        }
        for (index, record) in batch {
            assert!(index == next && index < up_to);
            if sound {
                assert_eq!(good.get(&index), Some(&record));
            }
            next += 1;
        }
    }
    assert_eq!(follower.next(), next);
}

fn write(path: &Path, pieces: &[Piece]) {
    let mut file = std::fs::File::create(path).expect("a file");
    for piece in pieces {
        match piece {
            Piece::Raw(bytes) => file.write_all(bytes),
            Piece::Line(json) => write!(file, "{:08x} ", crc32c::crc32c(json))
                .and_then(|()| file.write_all(json))
                .and_then(|()| file.write_all(b"\n")),
            Piece::Header(first) => writeln!(file, "#jadeseal-audit v1 first={first}"),
        }
        .expect("a write");
    }
}
