//! Lists of many CMKs and data keys with each filter, while others make keys and change their states.
//!
//! Every total is checked: it must be one that some order of the calls explains. What makes keys only adds, and what
//! changes states has one key out of its state at a time, so the total of a list lies between what had been acknowledged
//! when the list was asked for and what had been begun when it answered.

use crate::{
    Setup,
    jadeseal::Jadeseal,
    load::{self, Outcome},
    process::pin_self,
    sign::{Signer, now},
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    setup: Setup,
    /// Number of CMKs, and of data keys
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Calls for each filter, offset and page size
    #[arg(long, default_value_t = 100)]
    calls: usize,
    /// Pause of each connection that makes or changes keys between two of its calls, ms
    #[arg(long, default_value_t = 50)]
    pause_ms: u64,
}

/// CMKs that have data keys.
const PARENTS: u64 = 10;
/// One key in so many has the odd property that a filter asks for.
const ODD: u64 = 10;
/// The tag of a key is one of so many values.
const TAGS: u64 = 20;
const LENGTHS: [u64; 3] = [16, 32, 64];

/// A blocking connection that signs as it goes.
struct Session {
    stream: TcpStream,
    signer: Signer,
    buffer: Vec<u8>,
}

impl Session {
    fn open(signer: &Signer) -> Result<Self> {
        let stream = TcpStream::connect(&signer.host).with_context(|| format!("connecting to {}", signer.host))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Session { stream, signer: signer.clone(), buffer: Vec::new() })
    }

    /// One call; an error answer is an error.
    fn call(&mut self, action: &str, params: &Value) -> Result<Value> {
        self.timed(action, params).map(|(answer, _)| answer)
    }

    /// One call, and how long it took from the first byte sent to the last received.
    fn timed(&mut self, action: &str, params: &Value) -> Result<(Value, Duration)> {
        let request = self.signer.request(action, &params.to_string(), now());
        let begin = Instant::now();
        self.stream.write_all(&request)?;
        self.buffer.clear();
        let (start, length) = loop {
            if let Some((start, length)) = load::head(&self.buffer)?
                && self.buffer.len() >= start + length
            {
                break (start, length);
            }
            let mut part = [0; 64 * 1024];
            let read = self.stream.read(&mut part)?;
            ensure!(read > 0, "the server closed the connection");
            self.buffer.extend_from_slice(&part[..read]);
        };
        let took = begin.elapsed();
        let mut answer: Value = serde_json::from_slice(&self.buffer[start..start + length])?;
        let response = answer["Response"].take();
        ensure!(response.get("Error").is_none(), "{action} {params}: {response}");
        Ok((response, took))
    }
}

/// How many keys a connection has begun and finished making.
#[derive(Default)]
struct Made {
    begun: AtomicU64,
    done: AtomicU64,
}

/// How keys that come and change while a filter is asked for move its total.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moves {
    /// Not at all.
    Never,
    /// New keys are among them; the one that changes too, in every state.
    New,
    /// New keys are among them; the one that changes is so only while it is enabled.
    NewEnabled,
    /// Only the one that changes, while it is disabled.
    Disabled,
}

struct Case {
    action: &'static str,
    name: &'static str,
    filter: Value,
    moves: Moves,
}

pub fn run(options: &Options) -> Result<()> {
    pin_self(options.setup.load_core)?;
    let directory = options.setup.fresh()?;
    let data = directory.path().join("data");
    let server = Jadeseal::start(&options.setup, &data, "os", None)?;
    let (cmks, data_keys) = fill(options, &server)?;
    let creds = server.creds();
    server.process.stop()?;

    let server = Jadeseal::start(&options.setup, &data, "os", Some(creds))?;
    // As long as a person needs to open a page, and no list before: what is read ahead has been.
    std::thread::sleep(Duration::from_secs(2));
    let mut session = Session::open(&server.signer)?;
    println!("\n| first list after a start, page of 200, ms |\n|---|");
    for action in ["ListKeyDetail", "ListDataKeyDetail", "ListKeyDetail", "ListDataKeyDetail"] {
        let (_, took) = session.timed(action, &json!({ "Limit": 200 }))?;
        println!("| {action}: {:.1} |", took.as_secs_f64() * 1e3);
    }

    let mut asked = Vec::new();
    for case in cases(&cmks, &data_keys) {
        let (base, ..) = page(&mut session, &case, 0, 1)?;
        ensure!(base > 0, "{} {}: nothing matches", case.action, case.name);
        asked.push((case, Totals { base, last: base }));
    }
    let quiet = Arc::new(AtomicBool::new(false));
    let counts = [Arc::new(Made::default()), Arc::new(Made::default())];
    let pause = Duration::from_millis(options.pause_ms);
    let writers = vec![
        making(&server.signer, quiet.clone(), counts[0].clone(), pause, |n| {
            ("CreateKey", json!({ "Alias": format!("new-{n}") }))
        }),
        making(&server.signer, quiet.clone(), counts[1].clone(), pause, {
            let cmk = cmks[0].clone();
            move |n| {
                let name = format!("new-{n}");
                (
                    "GenerateDataKey",
                    json!({ "KeyId": cmk, "NumberOfBytes": 32, "IsHostedByKms": 1, "DataKeyName": name }),
                )
            }
        }),
        changing(&server.signer, quiet.clone(), pause, "Key", "KeyId", cmks[cmks.len() - 2].clone()),
        changing(&server.signer, quiet.clone(), pause, "DataKey", "DataKeyId", data_keys[data_keys.len() - 2].clone()),
    ];
    let outcome = ask_all(options, &mut session, asked, &counts);
    quiet.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
    }
    outcome?;

    for (action, filter, made) in
        [("ListKeyDetail", json!({ "KeyUsage": "ALL" }), &counts[0]), ("ListDataKeyDetail", json!({}), &counts[1])]
    {
        let total = session.call(action, &filter)?["TotalCount"].as_u64();
        let made = made.done.load(Ordering::SeqCst);
        ensure!(total == Some(options.keys + made), "{action}: {total:?} in the end, {made} were made beside");
        println!("| {action}: {made} keys made beside the lists; final total | exact |");
    }
    server.process.stop()
}

/// Makes the keys; ids of CMKs and of data keys in the order of their numbers.
fn fill(options: &Options, server: &Jadeseal) -> Result<(Vec<String>, Vec<String>)> {
    let (mut cmks, mut data_keys) = (Vec::new(), Vec::new());
    let parts = |n: u64| (0..n).step_by(20_000).map(move |from| from..(from + 20_000).min(n));
    for part in parts(options.keys) {
        let from = part.start;
        let requests = server.own_bodies("CreateKey", (part.end - part.start) as usize, |i| {
            let n = from + i as u64;
            let kind = if n >= PARENTS && n.is_multiple_of(ODD) { 2 } else { 1 };
            let tags = json!([{ "TagKey": "team", "TagValue": format!("t{}", n % TAGS) }]);
            json!({ "Alias": format!("many-{n}"), "Type": kind, "Tags": tags }).to_string()
        });
        cmks.extend(server.members(requests, 32, "KeyId")?.0);
    }
    for part in parts(options.keys) {
        let from = part.start;
        let requests = server.own_bodies("GenerateDataKey", (part.end - part.start) as usize, |i| {
            let n = from + i as u64;
            let tags = json!([{ "TagKey": "team", "TagValue": format!("t{}", n % TAGS) }]);
            let (key, length) = (&cmks[(n % PARENTS) as usize], LENGTHS[(n % 3) as usize]);
            json!({
                "KeyId": key, "NumberOfBytes": length, "IsHostedByKms": 1, "DataKeyName": format!("many-{n}"), "Tags": tags,
            })
            .to_string()
        });
        data_keys.extend(server.members(requests, 32, "DataKeyId")?.0);
    }
    let mut session = Session::open(&server.signer)?;
    let disabled = |ids: &[String]| -> Vec<String> { ids.iter().skip(1).step_by(ODD as usize).cloned().collect() };
    for ids in disabled(&cmks[PARENTS as usize..]).chunks(100) {
        session.call("DisableKeys", &json!({ "KeyIds": ids }))?;
    }
    for ids in disabled(&data_keys).chunks(100) {
        session.call("DisableDataKeys", &json!({ "DataKeyIds": ids }))?;
    }
    Ok((cmks, data_keys))
}

fn making(
    signer: &Signer,
    quiet: Arc<AtomicBool>,
    made: Arc<Made>,
    pause: Duration,
    call: impl Fn(u64) -> (&'static str, Value) + Send + 'static,
) -> std::thread::JoinHandle<Result<()>> {
    let signer = signer.clone();
    std::thread::spawn(move || {
        let mut session = Session::open(&signer)?;
        while !quiet.load(Ordering::Relaxed) {
            let (action, params) = call(made.begun.fetch_add(1, Ordering::SeqCst));
            session.call(action, &params)?;
            made.done.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(pause);
        }
        Ok(())
    })
}

/// Takes one key through its states and back, again and again.
fn changing(
    signer: &Signer,
    quiet: Arc<AtomicBool>,
    pause: Duration,
    kind: &'static str,
    name: &'static str,
    id: String,
) -> std::thread::JoinHandle<Result<()>> {
    let signer = signer.clone();
    std::thread::spawn(move || {
        let mut session = Session::open(&signer)?;
        let one = json!({ name: id });
        let scheduled = json!({ name: id, "PendingWindowInDays": 7 });
        while !quiet.load(Ordering::Relaxed) {
            for (step, params) in [
                (format!("Disable{kind}"), &one),
                (format!("Schedule{kind}Deletion"), &scheduled),
                (format!("Cancel{kind}Deletion"), &one),
                (format!("Enable{kind}"), &one),
            ] {
                session.call(&step, params)?;
                std::thread::sleep(pause);
            }
        }
        Ok(())
    })
}

fn cases(cmks: &[String], data_keys: &[String]) -> Vec<Case> {
    let case = |action, name, filter, moves| Case { action, name, filter, moves };
    let tag = json!([{ "TagKey": "team", "TagValue": ["t3", "t4"] }]);
    let middle = |ids: &[String]| ids[ids.len() / 2][2..20].to_owned();
    let (key, data) = ("ListKeyDetail", "ListDataKeyDetail");
    vec![
        case(key, "none", json!({ "KeyUsage": "ALL" }), Moves::New),
        case(key, "usage", json!({}), Moves::New),
        case(key, "enabled", json!({ "KeyState": 1 }), Moves::NewEnabled),
        case(key, "disabled", json!({ "KeyState": 2 }), Moves::Disabled),
        case(key, "origin", json!({ "Origin": "EXTERNAL" }), Moves::Never),
        case(key, "part of alias", json!({ "SearchKeyAlias": "any-9" }), Moves::Never),
        case(key, "part of id", json!({ "SearchKeyAlias": middle(cmks) }), Moves::Never),
        case(key, "tag", json!({ "TagFilters": tag }), Moves::Never),
        case(
            key,
            "all",
            json!({ "KeyState": 1, "Origin": "TENCENT_KMS", "SearchKeyAlias": "1", "TagFilters": tag }),
            Moves::Never,
        ),
        case(data, "none", json!({}), Moves::New),
        case(data, "enabled", json!({ "KeyState": 1 }), Moves::NewEnabled),
        case(data, "disabled", json!({ "KeyState": 2 }), Moves::Disabled),
        case(data, "origin", json!({ "Origin": "TENCENT_KMS" }), Moves::New),
        case(data, "part of name", json!({ "SearchKeyAlias": "any-9" }), Moves::Never),
        case(data, "part of id", json!({ "SearchKeyAlias": middle(data_keys) }), Moves::Never),
        case(data, "tag", json!({ "TagFilters": tag }), Moves::Never),
        case(data, "DataKeyLen", json!({ "DataKeyLen": 64 }), Moves::Never),
        case(data, "KeyId", json!({ "KeyId": cmks[1] }), Moves::Never),
        case(
            data,
            "all",
            json!({
                "KeyState": 1, "Origin": "TENCENT_KMS", "SearchKeyAlias": "1", "TagFilters": tag, "DataKeyLen": 16, "KeyId": cmks[3],
            }),
            Moves::Never,
        ),
    ]
}

fn ask_all(
    options: &Options,
    session: &mut Session,
    cases: Vec<(Case, Totals)>,
    counts: &[Arc<Made>; 2],
) -> Result<()> {
    println!("\n| list | filter | total | offset | page | p50, ms | p99, ms |\n|---|---|---|---|---|---|---|");
    let mut worst: f64 = 0.0;
    for (case, mut check) in cases {
        let made = &counts[usize::from(case.action == "ListDataKeyDetail")];
        let total = check.base;
        for offset in [0, total / 2, total.saturating_sub(200)] {
            for limit in [10, 200] {
                let begin = Instant::now();
                let mut latencies = Vec::with_capacity(options.calls);
                for _ in 0..options.calls {
                    let (total, rows, took) = check.ask(session, &case, made, offset, limit)?;
                    // A total of one moment with the rows of another would show here.
                    ensure!(rows == limit.min(total - offset.min(total)), "{} {}: {rows} rows", case.action, case.name);
                    latencies.push(took.as_nanos() as u64);
                }
                let outcome = Outcome::new(latencies, begin.elapsed());
                let p99 = outcome.percentile_us(99.0) / 1e3;
                worst = worst.max(p99);
                println!(
                    "| {} | {} | {total} | {offset} | {limit} | {:.1} | {p99:.1} |",
                    case.action,
                    case.name,
                    outcome.percentile_us(50.0) / 1e3
                );
            }
        }
    }
    println!("| worst p99, ms | {worst:.1} |");
    Ok(())
}

/// What the totals of one filter may be.
struct Totals {
    /// The total when nothing else was going on.
    base: u64,
    last: u64,
}

impl Totals {
    /// Asks for a page; its total, which is checked, its number of rows, and how long it took.
    fn ask(
        &mut self,
        session: &mut Session,
        case: &Case,
        made: &Made,
        offset: u64,
        limit: u64,
    ) -> Result<(u64, u64, Duration)> {
        let before = made.done.load(Ordering::SeqCst);
        let (total, rows, took) = page(session, case, offset, limit)?;
        let after = made.begun.load(Ordering::SeqCst);
        let base = self.base;
        let (least, most) = match case.moves {
            Moves::Never => (base, base),
            Moves::New => ((base + before).max(self.last), base + after),
            Moves::NewEnabled => (base + before - 1, base + after),
            Moves::Disabled => (base, base + 1),
        };
        ensure!(
            (least..=most).contains(&total),
            "{} {}: a total of {total}, which must be {least} to {most}",
            case.action,
            case.name
        );
        self.last = total;
        Ok((total, rows, took))
    }
}

/// Total, number of rows and latency of one page.
fn page(session: &mut Session, case: &Case, offset: u64, limit: u64) -> Result<(u64, u64, Duration)> {
    let mut params = case.filter.clone();
    params["Offset"] = offset.into();
    params["Limit"] = limit.into();
    let (answer, took) = session.timed(case.action, &params)?;
    let total = answer["TotalCount"].as_u64().context("no total")?;
    let rows = answer.get("KeyMetadatas").or_else(|| answer.get("DataKeyMetadatas"));
    Ok((total, rows.and_then(Value::as_array).map_or(0, Vec::len) as u64, took))
}
