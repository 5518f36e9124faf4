//! Files of the audit index as a crash, a bad disk or a hand may leave them, and records as no encoder writes them. Whatever
//! the files say, a query's answer is that of reading the log, or an error; what the reader of records takes, a reader of JSON
//! takes too.
use arbitrary::{Arbitrary, Unstructured};
use jadeseal_audit::{
    Facts, for_each_record,
    index::{Attribute, Condition, Index, IndexError, Query},
};
use jadeseal_types::AccountId;
use std::{fs, path::Path};

/// What is done to the file of the first segment.
#[derive(Arbitrary, Debug)]
enum Damage<'a> {
    Whole(&'a [u8]),
    Cut(u16),
    /// Bytes are changed; the sums of the header and of its block are made to fit, or the fuzzer would never get behind them.
    Changed(Vec<(u16, u8)>, bool),
}

#[derive(Arbitrary, Debug)]
struct Given<'a> {
    record: &'a [u8],
    damage: Damage<'a>,
    account: u8,
    action: bool,
    before: Option<u8>,
}

const RECORDS: u64 = 8;

fn record(n: u64) -> String {
    format!(
        concat!(
            r#"{{"v":1,"time":"2026-11-24T02:15:2{}.123456Z","request_id":"r{}","account":"{}","uin":"7","#,
            r#""principal":"user","secret_id":"AKIDx","source":"10.0.0.1","user_agent":"","service":"kms","#,
            r#""version":"2019-01-18","action":"{}","region":"ap-guangzhou","#,
            r#""resources":["11111111-1111-1111-1111-111111111111"],"access":"use","code":""}}"#
        ),
        n % 10,
        n,
        1 + n % 2,
        if n.is_multiple_of(3) { "Encrypt" } else { "Decrypt" }
    )
}

/// Two segments, so that the first has a file.
fn write_log(dir: &Path) {
    for segment in 0..2 {
        let first = segment * RECORDS;
        let mut text = format!("#jadeseal-audit v1 first={first}\n");
        for n in first..first + RECORDS {
            let json = record(n);
            text += &format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes()));
        }
        fs::write(dir.join(format!("audit-{first:016}.log")), text).expect("a segment");
    }
}

/// One input, read as a description of what to do.
pub fn run(data: &[u8]) {
    let Ok(given) = Given::arbitrary(&mut Unstructured::new(data)) else { return };
    if let Some(facts) = Facts::parse(given.record) {
        let value: serde_json::Value = serde_json::from_slice(given.record).expect("what is read is JSON");
        assert_eq!(value["action"], facts.action);
        assert_eq!(value["code"], facts.code);
    }
    let base = if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm").into() } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(base).expect("a directory");
    write_log(dir.path());
    let mut query = Query::of(AccountId(u64::from(given.account % 4)), 0, u64::MAX, 3);
    query.before = given.before.map(u64::from);
    if given.action {
        query.all.push(vec![Condition::new(Attribute::Action, "Encrypt")]);
    }
    // Made on demand.
    Index::open(dir.path()).expect("a log").query(&query).expect("an answer");
    let file = dir.path().join("index/audit-0000000000000000.idx");
    let mut bytes = fs::read(&file).expect("a part");
    let rightly_summed = matches!(given.damage, Damage::Changed(_, true));
    match given.damage {
        Damage::Whole(other) => bytes = other.to_vec(),
        Damage::Cut(len) => bytes.truncate(usize::from(len)),
        Damage::Changed(changes, sums) => {
            for (at, value) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] = value;
            }
            // All of its content is one block.
            if sums {
                let block = crc32c::crc32c(&bytes[116..]);
                bytes[112..116].copy_from_slice(&block.to_le_bytes());
                let header = crc32c::crc32c_append(crc32c::crc32c(&bytes[..108]), &bytes[112..116]);
                bytes[108..112].copy_from_slice(&header.to_le_bytes());
            }
        }
    }
    fs::write(&file, bytes).expect("a file");
    let page = match Index::open(dir.path()).expect("a log").query(&query) {
        Ok(page) => page,
        Err(IndexError::Log(_) | IndexError::Building(_) | IndexError::TooLong) => return,
    };
    let mut wanted = Vec::new();
    for_each_record(dir.path(), |index, json| {
        let facts = Facts::parse(json).expect("a record");
        if query.wants(&facts, &query.account.to_string()) && query.before.is_none_or(|before| index < before) {
            wanted.push(index);
        }
    })
    .expect("a log");
    wanted.reverse();
    let found: Vec<u64> = page.records.iter().map(|r| r.index).collect();
    if rightly_summed {
        // Somebody who can make sums can hide records; he cannot make any up.
        assert!(found.iter().all(|index| wanted.contains(index)));
    } else {
        wanted.truncate(3);
        assert_eq!(found, wanted);
    }
}
