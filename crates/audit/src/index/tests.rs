//! The index against a plain scan of the log, damaged files, crashes, and logs that change under it.

use super::*;
use crate::{Access, Degree, Options, Principal, Record, for_each_record};
use jadeseal_types::{AccountId, ErrorCode, KeyId, SecretId, Uin};
use proptest::prelude::*;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf};
use tempfile::TempDir;

const DAY: u64 = 86_400_000_000;
const START: u64 = 1_795_500_000_000_000;

/// A record out of few values, so that they meet.
#[derive(Clone, Debug)]
struct Sample {
    time: u64,
    account: Option<u64>,
    uin: u64,
    targets: Vec<u64>,
    keys: Vec<u8>,
    subjects: Vec<String>,
    action: u8,
    source: u8,
    code: bool,
    access: u8,
    session: bool,
    request: u16,
}

const ACTIONS: [&str; 3] = ["Encrypt", "Decrypt", "DisableKey"];

fn key(n: u8) -> KeyId {
    KeyId::from_bytes([n; 16])
}

fn request(n: u16) -> String {
    format!("f73b7a61-8ff9-41f0-9c5b-5254000{n:05x}")
}

impl Sample {
    fn json(&self) -> Vec<u8> {
        let id = SecretId::parse(&format!("AKID{}", self.uin)).unwrap();
        let targets: Vec<_> = self.targets.iter().map(|n| AccountId(*n)).collect();
        let keys: Vec<_> = self.keys.iter().map(|n| key(*n)).collect();
        let known = self.account.is_some();
        let mut out = Vec::new();
        Record {
            time_micros: self.time,
            request_id: &request(self.request),
            account: self.account.map(AccountId),
            uin: known.then_some(Uin(self.uin)),
            targets: &targets,
            principal: if known { Principal::User } else { Principal::Anonymous },
            secret_id: known.then_some(&id),
            session: self.session.then_some("se\"ssion"),
            source: Some([10, 0, 0, self.source].into()),
            user_agent: "a\\b",
            service: if self.action == 2 { "cam" } else { "kms" },
            version: "2019-01-18",
            action: ACTIONS[usize::from(self.action)],
            region: "ap-guangzhou",
            resources: &keys,
            subjects: &self.subjects,
            access: [Access::Read, Access::Use, Access::Write][usize::from(self.access)],
            code: self.code.then_some(ErrorCode::InternalError),
        }
        .encode(&mut out);
        out
    }
}

fn samples(count: usize) -> impl Strategy<Value = Vec<Sample>> {
    let subject = prop_oneof![Just("uin/1".to_owned()), Just("role/\"x".to_owned())];
    let one = (
        (0..20u64, proptest::option::weighted(0.9, 1..4u64), 1..4u64, proptest::collection::vec(1..5u64, 0..3)),
        (proptest::collection::vec(0..3u8, 0..3), proptest::collection::vec(subject, 0..2)),
        (0..3u8, 0..2u8, any::<bool>(), 0..3u8, any::<bool>(), 0..300u16),
    );
    proptest::collection::vec(one, 1..count).prop_map(|list| {
        let mut time = START;
        list.into_iter()
            .map(
                |(
                    (step, account, uin, targets),
                    (keys, subjects),
                    (action, source, code, access, session, request),
                )| {
                    // Nearly in order, as arrivals are.
                    time += step * 1000;
                    let time = time - if step == 7 { 15_000 } else { 0 };
                    Sample {
                        time,
                        account,
                        uin,
                        targets,
                        keys,
                        subjects,
                        action,
                        source,
                        code,
                        access,
                        session,
                        request,
                    }
                },
            )
            .collect()
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    let of = |attribute| move |value: &str| Condition::new(attribute, value);
    prop_oneof![
        (0..4u8).prop_map(move |n| of(Attribute::Resource)(&key(n).to_string())),
        prop_oneof![Just("uin/1"), Just("role/\"x")].prop_map(of(Attribute::Resource)),
        prop_oneof![Just("Encrypt"), Just("Decrypt"), Just("Sign")].prop_map(of(Attribute::Action)),
        (0..300u16).prop_map(move |n| of(Attribute::RequestId)(&request(n))),
        (1..5u64).prop_map(move |n| of(Attribute::Uin)(&n.to_string())),
        (1..5u64).prop_map(move |n| of(Attribute::SecretId)(&format!("AKID{n}"))),
        (0..3u8).prop_map(move |n| of(Attribute::Source)(&format!("10.0.0.{n}"))),
        prop_oneof![Just(""), Just("InternalError")].prop_map(of(Attribute::Code)),
        prop_oneof![Just("read"), Just("use"), Just("write")].prop_map(of(Attribute::Access)),
        prop_oneof![Just("kms"), Just("cam"), Just("")].prop_map(of(Attribute::Service)),
        (1..5u64, prop_oneof![Just(""), Just("se\"ssion")]).prop_map(|(uin, session)| Condition::who(
            "user",
            &uin.to_string(),
            session
        )),
    ]
}

fn queries() -> impl Strategy<Value = Vec<Query>> {
    let one = (
        (1..5u64, 0..3000u64, 0..3000u64, 1..20usize),
        proptest::collection::vec(proptest::collection::vec(condition(), 1..3), 0..3),
        proptest::collection::vec(condition(), 0..2),
    );
    let query = one.prop_map(|((account, from, span, limit), all, none)| {
        let from = START + from * 1000;
        let to = if span < 300 { from + span * 1000 } else { from + 10 * DAY };
        Query { all, none, ..Query::of(AccountId(account), from - START % 7, to, limit) }
    });
    proptest::collection::vec(query, 1..8)
}

/// What a condition means, said once more from the record's JSON as its account sees it.
fn says(record: &Value, own: bool, condition: &Condition) -> bool {
    let (attribute, value) = condition.parts();
    let text = |name: &str| record[name].as_str().unwrap_or("").to_owned();
    let is = |name: &str| !text(name).is_empty() && text(name) == value;
    let has = |name: &str| record[name].as_array().is_some_and(|list| list.iter().any(|v| *v == *value));
    match attribute {
        Attribute::Account => value.is_empty(),
        Attribute::Resource if own => has("resources") || has("subjects"),
        Attribute::Resource => {
            record["targets"].as_array().is_some_and(|t| t.len() == 1) && text("code").is_empty() && has("resources")
        }
        Attribute::Action => is("action"),
        Attribute::RequestId => is("request_id"),
        Attribute::Uin => is("uin"),
        Attribute::SecretId => own && is("secret_id"),
        Attribute::Source => is("source"),
        Attribute::Code => text("code") == value,
        Attribute::Access => is("access"),
        Attribute::Service => is("service"),
        Attribute::Who => {
            let session = if own { text("session") } else { String::new() };
            format!("{}/{}/{session}", text("principal"), text("uin")) == value
        }
    }
}

/// The whole answer by reading everything.
fn naive(dir: &std::path::Path, query: &Query) -> Vec<u64> {
    let mut found = Vec::new();
    let account = query.account.to_string();
    for_each_record(dir, |index, json| {
        let record: Value = serde_json::from_slice(json).unwrap();
        let own = record["account"] == account;
        let acted_for = record["targets"].as_array().is_some_and(|t| t.iter().any(|v| *v == account));
        let time = Facts::parse(json).unwrap().time_micros;
        let in_time = query.from_micros <= time && time < query.to_micros;
        let all = query.all.iter().all(|group| group.iter().any(|c| says(&record, own, c)));
        if in_time && (own || acted_for) && all && !query.none.iter().any(|c| says(&record, own, c)) {
            found.push(index);
        }
    })
    .unwrap();
    found.reverse();
    found
}

/// The whole answer, page by page.
fn paged(index: &Index, query: &Query) -> Vec<u64> {
    let mut query = query.clone();
    let mut found = Vec::new();
    loop {
        let page = match index.query(&query) {
            Err(IndexError::Building(_)) => {
                index.tend().unwrap();
                continue;
            }
            page => page.unwrap(),
        };
        assert!(page.records.len() <= query.limit);
        found.extend(page.records.iter().map(|r| r.index));
        match page.next {
            None => return found,
            Some(next) => {
                assert_eq!(page.records.len(), query.limit);
                query.before = Some(next);
            }
        }
    }
}

fn options(degree: Degree) -> Options {
    Options { degree, segment_bytes: 8192, flush_every: std::time::Duration::from_millis(1), ..Options::default() }
}

fn log_in(dir: &TempDir) -> Arc<Log> {
    Arc::new(Log::open(dir.path(), options(Degree::Os)).unwrap().0)
}

fn tend(index: &Index) {
    for _ in 0..10_000 {
        let more = index.tend().unwrap();
        let waits = index.catalog.lock().parts().any(|part| matches!(**part, Part::Memory(_)));
        if !more && !waits {
            return;
        }
        // The log is flushed each millisecond.
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("the index never comes to rest");
}

fn files(dir: &TempDir) -> Vec<PathBuf> {
    let list = fs::read_dir(dir.path().join(DIRECTORY))
        .map_or_else(|_| Vec::new(), |d| d.map(|e| e.unwrap().path()).collect());
    let mut list: Vec<PathBuf> = list;
    list.sort();
    list
}

fn everything(account: u64) -> Query {
    Query::of(AccountId(account), 0, u64::MAX, 7)
}

fn simple(n: u16) -> Sample {
    Sample {
        time: START + u64::from(n) * 1000,
        account: Some(1 + u64::from(n % 2)),
        uin: 1,
        targets: vec![],
        keys: vec![(n % 3) as u8],
        subjects: vec![],
        action: 0,
        source: 0,
        code: false,
        access: 1,
        session: false,
        request: n,
    }
}

/// A log of some segments that is open no more.
fn closed_log(records: u16) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let log = log_in(&dir);
    for n in 0..records {
        let before = log.written().first;
        let index = log.append(&simple(n).json()).unwrap();
        // Lets the next segment be made in time, on a busy disk too.
        if log.written().first != before {
            crate::log_tests::block_on(log.flushed(index)).unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    log.close().unwrap();
    assert!(segment::list(dir.path()).unwrap().len() > usize::from(records / 30));
    dir
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn it_finds_what_a_scan_finds(samples in samples(150), queries in queries(), cuts in proptest::collection::vec(0..150usize, 0..4)) {
        let dir = tempfile::tempdir().unwrap();
        let log = log_in(&dir);
        let index = Index::new(log.clone());
        for (n, sample) in samples.iter().enumerate() {
            log.append(&sample.json()).unwrap();
            if cuts.contains(&n) {
                // It answers at any time, and what has been written is found at once.
                let query = &queries[n % queries.len()];
                match index.query(query) {
                    Ok(_) => prop_assert_eq!(paged(&index, query), naive(dir.path(), query)),
                    Err(e) => prop_assert!(matches!(e, IndexError::Building(_)), "{}", e),
                }
            }
        }
        tend(&index);
        for query in &queries {
            prop_assert_eq!(paged(&index, query), naive(dir.path(), query));
        }
        drop(index);
        log.close().unwrap();
        drop(log);
        // From the files alone, and from none.
        let index = Index::open(dir.path()).unwrap();
        for query in &queries {
            prop_assert_eq!(paged(&index, query), naive(dir.path(), query));
        }
        fs::remove_dir_all(dir.path().join(DIRECTORY)).unwrap_or_default();
        let index = Index::open(dir.path()).unwrap();
        tend(&Index::open(dir.path()).unwrap_or(index));
        let index = Index::open(dir.path()).unwrap();
        for query in &queries {
            prop_assert_eq!(paged(&index, query), naive(dir.path(), query));
        }
    }
}

#[test]
fn damage_anywhere_in_a_file_changes_no_answer() {
    let dir = closed_log(60);
    tend(&Index::open(dir.path()).unwrap());
    let paths = files(&dir);
    assert!(paths.len() >= 2, "{paths:?}");
    let path = &paths[0];
    let good = fs::read(path).unwrap();
    let wanted = naive(dir.path(), &everything(1));
    let by_key = Query { all: vec![vec![Condition::new(Attribute::Resource, &key(1).to_string())]], ..everything(2) };
    let wanted_by_key = naive(dir.path(), &by_key);
    assert!(wanted.len() == 30 && wanted_by_key.len() == 10);
    let spoilt: Vec<Vec<u8>> = (0..good.len())
        .step_by(5)
        .map(|at| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            bytes
        })
        .chain((0..good.len()).step_by(11).map(|len| good[..len].to_vec()))
        .chain([[&good[..], b"more"].concat()])
        .collect();
    for (n, bytes) in spoilt.iter().enumerate() {
        fs::write(path, bytes).unwrap();
        let index = Index::open(dir.path()).unwrap();
        assert_eq!(paged(&index, &everything(1)), wanted, "{n}");
        assert_eq!(paged(&index, &by_key), wanted_by_key, "{n}");
        if n % 10 == 0 {
            // Also when it is spoilt while it is in use.
            tend(&index);
            fs::write(path, bytes).unwrap();
            assert_eq!(paged(&index, &everything(1)), wanted, "{n}");
            assert_eq!(paged(&index, &by_key), wanted_by_key, "{n}");
        }
    }
}

#[test]
fn a_part_of_other_records_is_not_believed() {
    // A log that was put back to an earlier state and went on otherwise, while the index stayed.
    let (dir, other) = (closed_log(60), tempfile::tempdir().unwrap());
    tend(&Index::open(dir.path()).unwrap());
    let log = log_in(&other);
    for n in 0..60 {
        log.append(&Sample { account: Some(1), uin: 2, ..simple(n + 1) }.json()).unwrap();
        std::thread::sleep(std::time::Duration::from_micros(300));
    }
    log.close().unwrap();
    fs::create_dir(other.path().join(DIRECTORY)).unwrap();
    for path in files(&dir) {
        fs::copy(&path, other.path().join(DIRECTORY).join(path.file_name().unwrap())).unwrap();
    }
    let index = Index::open(other.path()).unwrap();
    assert_eq!(paged(&index, &everything(1)), naive(other.path(), &everything(1)));
    assert_eq!(paged(&index, &everything(1)).len(), 60);
}

#[test]
fn a_crash_while_a_part_is_written_leaves_nothing_that_counts() {
    let dir = closed_log(60);
    tend(&Index::open(dir.path()).unwrap());
    let path = files(&dir).remove(0);
    let rest = path.with_extension("123.tmp");
    fs::write(&rest, &fs::read(&path).unwrap()[..500]).unwrap();
    fs::remove_file(&path).unwrap();
    let index = Index::open(dir.path()).unwrap();
    assert_eq!(paged(&index, &everything(1)).len(), 30);
    index.sweep().unwrap();
    assert!(rest.exists(), "somebody may be writing it");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    fs::File::options().write(true).open(&rest).unwrap().set_modified(old).unwrap();
    index.sweep().unwrap();
    assert!(!rest.exists() && path.exists());
}

#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = closed_log(60);
    tend(&Index::open(dir.path()).unwrap());
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join(DIRECTORY)), 0o700);
    assert!(files(&dir).iter().all(|path| mode(path) == 0o600));
}

#[test]
fn segments_that_are_removed_are_no_longer_found() {
    let dir = closed_log(120);
    let index = Index::open(dir.path()).unwrap();
    tend(&index);
    let firsts = segment::list(dir.path()).unwrap();
    assert!(firsts.len() >= 4, "{firsts:?}");
    let before = files(&dir);
    for first in &firsts[..2] {
        fs::remove_file(segment::path(dir.path(), *first)).unwrap();
    }
    let left = naive(dir.path(), &everything(1));
    assert_eq!(paged(&index, &everything(1)), left);
    index.sweep().unwrap();
    let of_the_rest = before.iter().filter(|path| **path >= file::path(&dir.path().join(DIRECTORY), firsts[2])).count();
    assert_eq!(files(&dir).len(), of_the_rest);
    assert!(of_the_rest < before.len() && of_the_rest > 0);
    assert_eq!(paged(&Index::open(dir.path()).unwrap(), &everything(1)), left);
}

#[test]
fn a_torn_end_is_not_indexed_and_what_comes_instead_is() {
    let dir = closed_log(10);
    let path = segment::path(dir.path(), 0);
    let whole = fs::read(&path).unwrap();
    // Of a record that no flush had covered.
    let mut line = Vec::new();
    segment::Line::of(&simple(11).json()).unwrap().push_to(&mut line);
    fs::write(&path, [&whole, &line[..line.len() - 20], &[0; 4096][..]].concat()).unwrap();
    assert_eq!(paged(&Index::open(dir.path()).unwrap(), &everything(2)), [9, 7, 5, 3, 1]);
    let log = log_in(&dir);
    let index = Index::new(log.clone());
    assert_eq!(paged(&index, &everything(2)), [9, 7, 5, 3, 1]);
    log.append(&simple(4).json()).unwrap();
    assert_eq!(paged(&index, &everything(1)), [10, 8, 6, 4, 2, 0]);
}

#[test]
fn records_of_later_versions_are_counted_and_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let log = log_in(&dir);
    let index = Index::new(log.clone());
    for n in 0..6 {
        let json = String::from_utf8(simple(n).json()).unwrap();
        let json = if n == 3 { json.replace("{\"v\":1", "{\"v\":9") } else { json };
        log.append(json.as_bytes()).unwrap();
    }
    let page = index.query(&everything(2)).unwrap();
    assert_eq!(page.records.iter().map(|r| r.index).collect::<Vec<_>>(), [5, 1]);
    assert_eq!(page.unknown, 1);
}

#[test]
fn a_damaged_log_is_said_to_be() {
    let dir = closed_log(60);
    let path = segment::path(dir.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let index = Index::open(dir.path()).unwrap();
    // It does not keep the others from being indexed.
    while index.tend().is_ok_and(|more| more) {}
    let failed = index.query(&everything(1)).err();
    assert!(matches!(failed, Some(IndexError::Log(AuditError::Corrupt { .. }))), "{failed:?}");
}

#[test]
fn whoever_asks_too_early_is_told_so() {
    let dir = closed_log(200);
    assert!(segment::list(dir.path()).unwrap().len() > ON_DEMAND + 2);
    let index = Arc::new(Index::open(dir.path()).unwrap());
    assert!(matches!(index.query(&everything(1)), Err(IndexError::Building(n)) if n > ON_DEMAND));
    index.start().unwrap();
    for _ in 0..1000 {
        match index.query(&everything(1)) {
            Err(IndexError::Building(_)) => std::thread::sleep(std::time::Duration::from_millis(10)),
            answer => {
                assert_eq!(answer.unwrap().records.len(), 7);
                index.stop();
                return;
            }
        }
    }
    panic!("it is never built");
}

#[test]
fn pages_over_a_growing_log_neither_repeat_nor_lose() {
    for degree in [Degree::Os, Degree::Fsync] {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::open(dir.path(), options(degree)).unwrap().0);
        let index = Arc::new(Index::new(log.clone()));
        index.start().unwrap();
        let append = |n: u16| loop {
            // The next segment may not be made yet.
            match log.append(&simple(n).json()) {
                Err(AuditError::Full) => std::thread::sleep(std::time::Duration::from_millis(1)),
                other => return other.unwrap(),
            }
        };
        for n in 0..100 {
            append(n);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| (100..400).map(append).for_each(|_| {}));
            for _ in 0..20 {
                let mut query = everything(1);
                let mut found = Vec::new();
                loop {
                    let page = match index.query(&query) {
                        Ok(page) => page,
                        Err(IndexError::Building(_)) => {
                            std::thread::sleep(std::time::Duration::from_millis(2));
                            continue;
                        }
                        Err(e) => panic!("{e}"),
                    };
                    found.extend(page.records.iter().map(|r| r.index));
                    let Some(next) = page.next else { break };
                    query.before = Some(next);
                }
                // Every second record, from the newest that there was on the first page down to the first.
                let newest = found.first().copied().unwrap();
                assert!(newest >= 98);
                assert_eq!(found, (0..=newest / 2).rev().map(|n| 2 * n).collect::<Vec<_>>());
                assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len());
            }
        });
        index.stop();
        log.close().unwrap();
    }
}

#[test]
fn entries_of_accounts_do_not_meet_across_parts() {
    // Keys of the hash differ, so nobody can prepare keys whose entries meet.
    let dir = closed_log(60);
    let index = Index::open(dir.path()).unwrap();
    tend(&index);
    let keys: BTreeSet<[u64; 2]> = files(&dir)
        .iter()
        .map(|path| {
            let bytes = fs::read(path).unwrap();
            [16, 24].map(|at| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap()))
        })
        .collect();
    assert_eq!(keys.len(), files(&dir).len());
}

#[test]
fn an_administrators_record_shows_a_member_what_is_his() {
    let two = Sample { account: Some(1), targets: vec![2, 3], subjects: vec!["uin/1".into()], ..simple(0) };
    let one = Sample { targets: vec![2], subjects: vec![], ..two.clone() };
    let json = two.json();
    let facts = Facts::parse(&json).unwrap();
    assert_eq!(facts.seen_by("1"), Some(facts));
    assert_eq!((facts.seen_by("4"), facts.seen_by("")), (None, None));
    let seen = facts.seen_by("2").unwrap();
    assert_eq!(seen.targets.iter().collect::<Vec<_>>(), ["2"]);
    assert!(seen.resources.is_empty() && seen.subjects.is_empty());
    assert_eq!((seen.secret_id, seen.session, seen.user_agent), ("", "", ""));
    assert_eq!((seen.account, seen.uin, seen.action, seen.source), ("1", "1", "Encrypt", "10.0.0.0"));
    let json = one.json();
    let seen = Facts::parse(&json).unwrap().seen_by("2").unwrap();
    assert_eq!(seen.resources.iter().collect::<Vec<_>>(), [key(0).to_string()]);
}

#[test]
fn a_file_that_cannot_be_read_again_is_not_written_again_at_once() {
    let dir = closed_log(10);
    let index = Index::open(dir.path()).unwrap();
    {
        let mut catalog = index.catalog.lock();
        catalog.follow(0).unwrap();
        // No file of it is ever taken: it is about no record.
        let start = segment::header(0).len() as u64;
        catalog.add(Part::Memory(memory::Memory::new(Extent::empty(0, 0, start))));
        assert!(catalog.unwritten().is_some());
    }
    for _ in 0..3 {
        assert!(!index.tend().unwrap(), "the thread must pause");
        assert_eq!(files(&dir).len(), 1, "it was written");
    }
}

#[test]
fn the_time_of_a_query_is_bounded_where_nothing_is_found_too() {
    let dir = closed_log(200);
    let index = Index::open(dir.path()).unwrap();
    tend(&index);
    let nothing =
        Query { all: vec![vec![Condition::new(Attribute::Action, "Sign")]], ..Query::of(AccountId(1), 0, u64::MAX, 7) };
    assert!(index.query(&nothing).unwrap().records.is_empty());
    let late = index.search(&nothing, Instant::now() - Duration::from_secs(1));
    assert!(matches!(late, Err(Failed::Index(IndexError::TooLong))));
}

#[test]
fn what_is_said_twice_is_asked_once() {
    let of = |action: &str| Condition::new(Attribute::Action, action);
    let query = Query {
        all: vec![vec![of("a"), of("b"), of("a")], vec![of("b")], vec![of("a"), of("b")]],
        none: vec![of("c"), of("d"), of("c")],
        ..everything(1)
    };
    let simplified = query.simplified();
    assert_eq!(simplified.all, [vec![of("a"), of("b")], vec![of("b")]]);
    assert_eq!(simplified.none, [of("c"), of("d")]);
}
