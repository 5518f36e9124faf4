//! The audit index at the size of a busy year: what it costs to build, and what a query takes.
//!
//! The log is synthetic and lies in a directory of its own: records of one account and of others, over thirty days, in the
//! segments that the server would have made.

use crate::Setup;
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use jadeseal_audit::{
    Access, Principal, Record,
    index::{Attribute, Condition, Index, IndexError, Query},
};
use jadeseal_types::{AccountId, KeyId, SecretId, Uin};
use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    setup: Setup,
    /// Records in the log
    #[arg(long, default_value_t = 10_000_000)]
    records: u64,
    /// Keys that they are about, evenly
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// Days that they are spread over
    #[arg(long, default_value_t = 30)]
    days: u64,
    /// Queries of each kind
    #[arg(long, default_value_t = 200)]
    queries: usize,
}

const START: u64 = 1_793_000_000_000_000;
const DAY: u64 = 86_400_000_000;
const SEGMENT: u64 = 64 << 20;
const ACCOUNT: u64 = 100_000_000_001;
/// One of so many records is of another account.
const OTHERS: u64 = 10;

/// A number that looks random and is the same each time (SplitMix64).
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn key(n: u64) -> KeyId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mixed(n).to_be_bytes());
    bytes[8..].copy_from_slice(&mixed(!n).to_be_bytes());
    KeyId::from_bytes(bytes)
}

fn request(n: u64) -> String {
    let (a, b) = (mixed(n), mixed(n ^ 0xffff_0000_0000));
    format!(
        "{:08x}-{:04x}-4{:03x}-9{:03x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}

/// The bytes of a record.
fn encode(options: &Options, n: u64, out: &mut Vec<u8>) -> Result<()> {
    const ACTIONS: [(&str, Access); 5] = [
        ("Encrypt", Access::Use),
        ("Decrypt", Access::Use),
        ("GenerateDataKey", Access::Use),
        ("DescribeKey", Access::Read),
        ("UpdateKeyDescription", Access::Write),
    ];
    let random = mixed(n);
    let account = ACCOUNT + if n.is_multiple_of(OTHERS) { 1 + random % 50 } else { 0 };
    let user = random >> 8 & 31;
    let (action, access) = ACTIONS[(random >> 16) as usize % ACTIONS.len()];
    let id = SecretId::parse(&format!("AKID{account}u{user:02}aaaaaaaaaaaaaaaaaa")).context("a SecretId")?;
    Record {
        time_micros: START + n * (options.days * DAY / options.records) + random % 5_000,
        request_id: &request(n),
        account: Some(AccountId(account)),
        uin: Some(Uin(account + 1000 + user)),
        targets: &[],
        principal: Principal::User,
        secret_id: Some(&id),
        session: None,
        source: Some([10, 1, (random >> 40) as u8, (random >> 48) as u8].into()),
        user_agent: "SDK_PYTHON_3.0.1478",
        service: "kms",
        version: "2019-01-18",
        action,
        region: "ap-guangzhou",
        resources: &[key(mixed(n ^ 0xabcd) % options.keys)],
        subjects: &[],
        access,
        code: None,
    }
    .encode(out);
    Ok(())
}

/// Writes the log; its size in bytes.
fn write(dir: &Path, options: &Options) -> Result<u64> {
    let mut total = 0;
    let mut file: Option<BufWriter<File>> = None;
    let mut size = 0;
    let mut json = Vec::new();
    for n in 0..options.records {
        json.clear();
        encode(options, n, &mut json)?;
        let line = json.len() as u64 + 10;
        if file.is_none() || size + line > SEGMENT {
            if let Some(full) = file.take() {
                full.into_inner()?.sync_all()?;
            }
            let mut next = BufWriter::with_capacity(1 << 20, File::create(dir.join(format!("audit-{n:016}.log")))?);
            let header = format!("#jadeseal-audit v1 first={n}\n");
            next.write_all(header.as_bytes())?;
            total += size;
            size = header.len() as u64;
            file = Some(next);
        }
        if let Some(file) = &mut file {
            write!(file, "{:08x} ", crc32c::crc32c(&json))?;
            file.write_all(&json)?;
            file.write_all(b"\n")?;
        }
        size += line;
    }
    if let Some(last) = file {
        last.into_inner()?.sync_all()?;
    }
    Ok(total + size)
}

/// Drops what the system remembers of the files; how many there are, and their bytes.
fn forget(dir: &Path) -> Result<(usize, u64)> {
    let (mut count, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_file() {
            let file = File::open(&path)?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
            (count, bytes) = (count + 1, bytes + file.metadata()?.len());
        }
    }
    Ok((count, bytes))
}

/// Time that the process has computed.
fn processor() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), now.tv_nsec as u32)
}

fn measure(
    what: &str,
    index: &Index,
    queries: impl Iterator<Item = Query>,
    before_each: impl Fn() -> Result<()>,
) -> Result<()> {
    let (mut times, mut found) = (Vec::new(), 0);
    for query in queries {
        before_each()?;
        let start = Instant::now();
        found += index.query(&query)?.records.len();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "{what:<44} p50 {:>7.2} ms  p99 {:>7.2} ms  max {:>7.2} ms  ({} queries, {:.1} records each)",
        at(50),
        at(99),
        at(100),
        times.len(),
        found as f64 / times.len() as f64
    );
    Ok(())
}

pub fn run(options: &Options) -> Result<()> {
    ensure!(options.records > 0 && options.keys > 0 && options.days > 0 && options.queries > 0, "counts must not be 0");
    let dir = options.setup.fresh()?;
    let space = rustix::fs::statvfs(dir.path())?;
    let needed = options.records * 600;
    ensure!(space.f_bavail * space.f_frsize > needed, "{} GB of free space are needed", needed / 1_000_000_000 + 1);
    let start = Instant::now();
    let bytes = write(dir.path(), options)?;
    println!(
        "{} records, {:.2} GB, written in {:.1} s",
        options.records,
        bytes as f64 / 1e9,
        start.elapsed().as_secs_f64()
    );

    let index = Arc::new(Index::open(dir.path())?);
    let (start, cpu) = (Instant::now(), processor());
    index.start()?;
    let any = Query::of(AccountId(ACCOUNT), START, START + DAY, 1);
    loop {
        match index.query(&any) {
            Err(IndexError::Building(_)) => std::thread::sleep(Duration::from_millis(20)),
            answer => break drop(answer?),
        }
    }
    let (took, cpu) = (start.elapsed(), processor() - cpu);
    let files = dir.path().join("index");
    let (count, size) = forget(&files)?;
    println!(
        "index: {count} files, {:.0} MB ({:.1} % of the log), built in {:.1} s, {:.2} µs of a processor per record",
        size as f64 / 1e6,
        100.0 * size as f64 / bytes as f64,
        took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / options.records as f64
    );
    index.stop();

    let one_key = |n: usize, days: u64| {
        let from = START + mixed(n as u64) % (options.days.saturating_sub(days) + 1) * DAY;
        let by_key = Condition::new(Attribute::Resource, &key(mixed(n as u64 + 7) % options.keys).to_string());
        Query { all: vec![vec![by_key]], ..Query::of(AccountId(ACCOUNT), from, from + days * DAY, 50) }
    };
    let by_request = |n: usize| {
        let record = mixed(n as u64) % options.records;
        let of = AccountId(ACCOUNT);
        let condition = Condition::new(Attribute::RequestId, &request(record - record % OTHERS + 1));
        Query { all: vec![vec![condition]], ..Query::of(of, START, START + options.days * DAY, 50) }
    };
    let denied = |n: usize| {
        let mut query = one_key(n, options.days);
        query
            .all
            .push(vec![Condition::new(Attribute::Action, "Decrypt"), Condition::new(Attribute::Action, "Encrypt")]);
        query.none.push(Condition::new(Attribute::Source, "10.1.0.0"));
        query
    };
    let all = 0..options.queries;
    let cold = || {
        forget(&files)?;
        forget(dir.path()).map(drop)
    };
    let few = 0..options.queries.min(50);
    measure("one key, one day, cold", &index, few.clone().map(|n| one_key(n, 1)), cold)?;
    measure("one key, one day, warm", &index, all.clone().map(|n| one_key(n, 1)), || Ok(()))?;
    measure("one key, all days, cold", &index, few.map(|n| one_key(n, options.days)), cold)?;
    measure("one key, all days, warm", &index, all.clone().map(|n| one_key(n, options.days)), || Ok(()))?;
    measure("one key, two actions, not one address", &index, all.clone().map(denied), || Ok(()))?;
    measure("one request id, all days", &index, all.clone().map(by_request), || Ok(()))?;
    let everything = |n: usize| Query { all: vec![], ..one_key(n, 1) };
    measure("all of an account, one day", &index, all.map(everything), || Ok(()))?;
    let start = Instant::now();
    let again = Index::open(dir.path())?;
    again.query(&any)?;
    println!("first query of a new process: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
