//! Operations of Jadeseal beside the bare server and OpenBao, interleaved.

use crate::{
    Setup,
    jadeseal::Jadeseal,
    load,
    openbao::{self, OpenBao},
    process::{Process, pin_self},
};
use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    setup: Setup,
    /// Rounds; each measures everything once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests per operation, round and number of connections
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Longest time for one of them, seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Numbers of connections
    #[arg(long, value_delimiter = ',', default_values_t = [16, 64])]
    connections: Vec<usize>,
    /// Operations of Jadeseal to measure
    #[arg(long, value_delimiter = ',', default_values_t = OPERATIONS.map(str::to_owned))]
    operations: Vec<String>,
    /// OpenBao's server (default: `bao` on the path or in .venv/bin)
    #[arg(long)]
    openbao: Option<PathBuf>,
    /// Leaves OpenBao out
    #[arg(long)]
    without_openbao: bool,
}

impl Options {
    /// The defaults, for a run without a subcommand.
    pub fn parse_from(args: [&str; 1]) -> Self {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            options: Options,
        }
        <Alone as clap::Parser>::parse_from(args).options
    }
}

/// What can be measured.
const OPERATIONS: [&str; 6] = ["Encrypt", "Decrypt", "GenerateDataKey", "DescribeKey", "ListKeyDetail", "CreateKey"];
/// Keys that the operations spread over.
const KEYS: usize = 100;
/// Length of the plaintexts, bytes.
const PLAINTEXT: usize = 32;
/// Length of the bare server's answer: that of an Encrypt answer.
const ANSWER: &str = "300";

pub fn run(options: &Options) -> Result<()> {
    pin_self(options.setup.load_core)?;
    let mut peers = Peers::start(options)?;
    let mut table = Table::default();
    for round in 0..options.rounds {
        eprintln!("bench: round {} of {}", round + 1, options.rounds);
        for &connections in &options.connections {
            peers.measure(options, round, connections, &mut table)?;
        }
    }
    table.print();
    println!("\nResident at the end: {}", peers.memory()?);
    Ok(())
}

/// The servers that are compared.
struct Peers {
    bare: Process,
    jadeseal: Vec<Store>,
    openbao: Vec<(&'static str, OpenBao)>,
    /// Keeps the stores until the end.
    _directories: Vec<tempfile::TempDir>,
}

/// One Jadeseal with its keys.
struct Store {
    degree: &'static str,
    server: Jadeseal,
    keys: Vec<String>,
}

impl Peers {
    fn start(options: &Options) -> Result<Self> {
        let setup = &options.setup;
        let own = std::env::current_exe()?;
        let bare = Process::start(&own, &["bare", "--size", ANSWER], Some(setup.server_core))?;
        let mut directories = Vec::new();
        let mut jadeseal = Vec::new();
        for degree in ["os", "fsync"] {
            let directory = setup.fresh()?;
            let server = Jadeseal::start(setup, &directory.path().join("data"), degree, None)?;
            let (keys, _) = server.create_keys("bench", KEYS)?;
            jadeseal.push(Store { degree, server, keys });
            directories.push(directory);
        }
        let mut openbao = Vec::new();
        if !options.without_openbao {
            let binary = openbao::find(options.openbao.as_deref())?;
            openbao.push(("OpenBao dev", OpenBao::dev(setup, &binary)?));
            let directory = setup.fresh()?;
            openbao.push(("OpenBao raft + audit", OpenBao::raft(setup, &binary, directory.path())?));
            directories.push(directory);
        }
        Ok(Peers { bare, jadeseal, openbao, _directories: directories })
    }

    /// Everything once, in one order, with so many connections.
    fn measure(&mut self, options: &Options, round: usize, connections: usize, table: &mut Table) -> Result<()> {
        let limit = Duration::from_secs(options.seconds);
        let count = options.requests;
        let mut run = |who: &str, what: &str, process: &Process, address: &str, requests: Vec<Vec<u8>>, at: usize| {
            let before = process.cpu()?;
            let outcome = load::drive(address, requests, at, limit).with_context(|| format!("{who}: {what}"))?;
            let cpu = process.cpu()? - before;
            table.add(who, what, at, &outcome, cpu);
            anyhow::Ok(())
        };
        let Some(first) = self.jadeseal.first() else { return Ok(()) };
        // The bare server gets the very requests that Encrypt gets.
        let same = first.server.own_bodies("Encrypt", count, |n| encrypt_body(&first.keys, &plaintext(round, n)));
        run("bare hyper", "fixed answer", &self.bare, self.bare.hello.trim(), same, connections)?;
        for store in &self.jadeseal {
            let who = format!("Jadeseal, audit {}", store.degree);
            let server = &store.server;
            let wanted = |what: &str| options.operations.iter().any(|o| o == what);
            for what in OPERATIONS.into_iter().filter(|what| *what != "CreateKey" && wanted(what)) {
                let requests = store.requests(what, count, round)?;
                run(&who, what, &server.process, server.address(), requests, connections)?;
            }
            if connections == options.connections[0] && wanted("CreateKey") {
                let stem = format!("r{round}");
                let body = |n: usize| format!(r#"{{"Alias":"{stem}-{n}"}}"#);
                let requests = server.own_bodies("CreateKey", count.min(10_000), body);
                run(&who, "CreateKey", &server.process, server.address(), requests, 32)?;
            }
        }
        for (who, bao) in &self.openbao {
            // A tenth of the requests: it is more than ten times slower.
            let count = count / 10;
            let texts = || (0..count).map(|n| plaintext(round, n));
            let sealed = bao.sealed(texts())?;
            run(who, "Encrypt", &bao.process, &bao.address, bao.encrypt(texts()), connections)?;
            run(who, "Decrypt", &bao.process, &bao.address, bao.decrypt(sealed.into_iter()), connections)?;
            run(who, "GenerateDataKey", &bao.process, &bao.address, bao.data_keys(count), connections)?;
        }
        Ok(())
    }

    fn memory(&self) -> Result<String> {
        let mut parts = vec![("bare hyper".to_owned(), self.bare.resident_kib()?)];
        for store in &self.jadeseal {
            parts.push((format!("Jadeseal, audit {}", store.degree), store.server.process.resident_kib()?));
        }
        for (who, bao) in &self.openbao {
            parts.push(((*who).to_owned(), bao.process.resident_kib()?));
        }
        Ok(parts.iter().map(|(who, kib)| format!("{who} {} MiB", kib / 1024)).collect::<Vec<_>>().join(", "))
    }
}

impl Store {
    fn requests(&self, what: &str, count: usize, round: usize) -> Result<Vec<Vec<u8>>> {
        let key = |n: usize| &self.keys[n % self.keys.len()];
        let server = &self.server;
        match what {
            "Encrypt" => Ok(server.own_bodies(what, count, |n| encrypt_body(&self.keys, &plaintext(round, n)))),
            "Decrypt" => {
                // A ciphertext of its own for every request.
                let seal = server.own_bodies("Encrypt", count, |n| encrypt_body(&self.keys, &plaintext(round, n)));
                let (blobs, _) = server.members(seal, 16, "CiphertextBlob")?;
                Ok(server.own_bodies(what, count, |n| format!(r#"{{"CiphertextBlob":"{}"}}"#, blobs[n])))
            }
            "GenerateDataKey" => {
                server.requests(what, count, KEYS, |n| format!(r#"{{"KeyId":"{}","KeySpec":"AES_256"}}"#, key(n)))
            }
            "DescribeKey" => server.requests(what, count, KEYS, |n| format!(r#"{{"KeyId":"{}"}}"#, key(n))),
            // A page of ten, the default.
            _ => server.requests(what, count / 4, KEYS, |n| format!(r#"{{"Offset":{n}}}"#)),
        }
    }
}

fn plaintext(round: usize, n: usize) -> String {
    let mut bytes = [0u8; PLAINTEXT];
    for (at, b) in bytes.iter_mut().zip(round.to_le_bytes().into_iter().chain(n.to_le_bytes())) {
        *at = b;
    }
    STANDARD.encode(bytes)
}

fn encrypt_body(keys: &[String], plaintext: &str) -> String {
    let pick = plaintext.bytes().map(usize::from).sum::<usize>() % keys.len();
    format!(r#"{{"KeyId":"{}","Plaintext":"{plaintext}"}}"#, keys[pick])
}

/// The measurements, by server, operation and connections.
#[derive(Default)]
struct Table(BTreeMap<(usize, String, String), Row>);

/// One value of each kind per round.
#[derive(Default)]
struct Row {
    cpu_us: Vec<f64>,
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Table {
    fn add(&mut self, who: &str, what: &str, connections: usize, outcome: &load::Outcome, cpu: Duration) {
        let row = self.0.entry((connections, what.to_owned(), who.to_owned())).or_default();
        row.cpu_us.push(cpu.as_secs_f64() * 1e6 / outcome.requests.max(1) as f64);
        row.rate.push(outcome.rate());
        row.p50.push(outcome.percentile_us(50.0));
        row.p99.push(outcome.percentile_us(99.0));
    }

    /// Medians over the rounds, and each one's CPU against the bare server's of the same number of connections.
    fn print(&self) {
        println!(
            "| operation | server | connections | CPU µs/request, best / median | × bare | requests/s | p50 µs | p99 µs |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for ((connections, what, who), row) in &self.0 {
            let (low, cpu) = (row.cpu_us.iter().copied().fold(f64::INFINITY, f64::min), median(&row.cpu_us));
            let ratio = match self.bare(*connections) {
                Some(bare) => format!("{:.2}", cpu / bare),
                None => "–".to_owned(),
            };
            println!(
                "| {what} | {who} | {connections} | {low:.1} / {cpu:.1} | {ratio} | {:.0} | {:.0} | {:.0} |",
                median(&row.rate),
                median(&row.p50),
                median(&row.p99)
            );
        }
    }

    fn bare(&self, connections: usize) -> Option<f64> {
        let row = self.0.get(&(connections, "fixed answer".to_owned(), "bare hyper".to_owned()))?;
        Some(median(&row.cpu_us))
    }
}

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}
