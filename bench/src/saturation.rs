//! Symmetric calls beside as many signatures as the server takes, and calls that take keys from the RSA pool.
//!
//! The server has all cores. The load is a thread for the signatures and one for the measured calls; both wait in the
//! kernel instead of spinning, because they share the cores with the server. Their own waiting for a core is in the
//! latencies.

use crate::{
    Setup,
    jadeseal::Jadeseal,
    load::{self, Outcome, answer, refused},
    ops::median,
    sign::{Signer, now},
};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::LocalSet, time::MissedTickBehavior};

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    setup: Setup,
    /// Rounds; each measures everything once
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Time for each measurement, seconds
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Numbers of connections that sign
    #[arg(long, value_delimiter = ',', default_values_t = [0, 64, 512, 2000])]
    signers: Vec<usize>,
    /// How long a signer that was refused waits before its next call, milliseconds
    #[arg(long, default_value_t = 100)]
    backoff: u64,
    /// Leaves out the calls that take keys from the RSA pool
    #[arg(long)]
    without_pool: bool,
}

/// Connections that encrypt, and how often each calls.
const PROBES: usize = 8;
const EVERY: Duration = Duration::from_millis(10);
/// Signing begins so long before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Calls that take a key of the RSA pool: how many in a row, how far apart, and how many at once.
const CALLS: usize = 20;
const APART: Duration = Duration::from_millis(300);
const BURST: usize = 32;

pub fn run(options: &Options) -> Result<()> {
    let directory = options.setup.fresh()?;
    let server = Jadeseal::start_on(None, &options.setup, &directory.path().join("data"), "os", None)?;
    let symmetric = server.call("CreateKey", r#"{"Alias":"symmetric"}"#, "KeyId")?;
    let rsa = server.call("CreateKey", r#"{"Alias":"rsa","KeyUsage":"ASYMMETRIC_SIGN_VERIFY_RSA_2048"}"#, "KeyId")?;
    server.process.settle()?;
    let mut rows: Vec<_> = options.signers.iter().map(|&signers| Row { signers, ..Row::default() }).collect();
    for round in 0..options.rounds {
        eprintln!("bench: round {} of {}", round + 1, options.rounds);
        for row in &mut rows {
            measure(options, &server, &symmetric, &rsa, row)?;
        }
    }
    print(&rows);
    if !options.without_pool {
        pool(&server)?;
    }
    server.process.stop()
}

/// One number of signers and what the rounds showed.
#[derive(Default)]
struct Row {
    signers: usize,
    p50: Vec<f64>,
    p99: Vec<f64>,
    max: Vec<f64>,
    rate: Vec<f64>,
    signed: Vec<f64>,
    refused: Vec<f64>,
    signed_p99: Vec<f64>,
}

fn measure(options: &Options, server: &Jadeseal, symmetric: &str, rsa: &str, row: &mut Row) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let time = Duration::from_secs(options.seconds);
    let signing = thread::spawn({
        let (signer, key, stop) = (server.signer.clone(), rsa.to_owned(), stop.clone());
        let (connections, backoff) = (row.signers, Duration::from_millis(options.backoff));
        move || sign(&signer, &key, connections, backoff, &stop)
    });
    thread::sleep(WARM_UP);
    let encrypted = encrypt(&server.signer, symmetric, time);
    stop.store(true, Ordering::Relaxed);
    let (signed, times_refused) = signing.join().map_err(|_| anyhow!("the signing thread panicked"))??;
    let encrypted = encrypted?;
    row.p50.push(encrypted.percentile_us(50.0) / 1e3);
    row.p99.push(encrypted.percentile_us(99.0) / 1e3);
    row.max.push(encrypted.percentile_us(100.0) / 1e3);
    row.rate.push(encrypted.rate());
    row.signed.push(signed.rate());
    row.signed_p99.push(signed.percentile_us(99.0) / 1e3);
    row.refused.push(100.0 * times_refused as f64 / (signed.requests + times_refused).max(1) as f64);
    Ok(())
}

/// Encrypts at a fixed rate over a few connections.
fn encrypt(signer: &Signer, key: &str, time: Duration) -> Result<Outcome> {
    let end = Instant::now() + time;
    let caller = |n: usize| {
        let (signer, key) = (signer.clone(), key.to_owned());
        async move {
            let mut connection = Connection::open(signer).await?;
            // Spread over the interval.
            let first = tokio::time::Instant::now() + EVERY * n as u32 / PROBES as u32;
            let mut ticks = tokio::time::interval_at(first, EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut latencies = Vec::new();
            while Instant::now() < end {
                ticks.tick().await;
                let body = format!(r#"{{"KeyId":"{key}","Plaintext":"{}"}}"#, text());
                let (took, answer) = connection.call("Encrypt", &body).await?;
                ensure!(!refused(answer), "refused: {}", String::from_utf8_lossy(answer));
                latencies.push(took);
            }
            Ok(latencies)
        }
    };
    all((0..PROBES).map(caller))
}

/// Signs over so many connections, each with one call after the other. Whoever is refused waits a little, as a client
/// does. Returns the signatures and how many calls were refused.
fn sign(
    signer: &Signer,
    key: &str,
    connections: usize,
    backoff: Duration,
    stop: &Arc<AtomicBool>,
) -> Result<(Outcome, u64)> {
    let times_refused = Rc::new(Cell::new(0));
    let caller = |_| {
        let (signer, key, times_refused, stop) = (signer.clone(), key.to_owned(), times_refused.clone(), stop.clone());
        async move {
            let mut connection = Connection::open(signer).await?;
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let body = format!(r#"{{"KeyId":"{key}","Algorithm":"RSA_PSS_SHA_256","Message":"{}"}}"#, text());
                let (took, answer) = connection.call("SignByAsymmetricKey", &body).await?;
                if !refused(answer) {
                    latencies.push(took);
                    continue;
                }
                let text = String::from_utf8_lossy(answer);
                ensure!(text.contains("RequestLimitExceeded"), "refused: {text}");
                times_refused.set(times_refused.get() + 1);
                // Half to one and a half times as long, or all would come back together.
                let part = times_refused.get() as u32 * 37 % 101;
                tokio::time::sleep(backoff / 2 + backoff * part / 100).await;
            }
            Ok(latencies)
        }
    };
    let signed = all((0..connections).map(caller))?;
    Ok((signed, times_refused.get()))
}

/// Runs callers on this thread; each returns its latencies in nanoseconds.
fn all<F: Future<Output = Result<Vec<u64>>> + 'static>(callers: impl Iterator<Item = F>) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let begin = Instant::now();
        let callers: Vec<_> = callers.map(tokio::task::spawn_local).collect();
        let mut latencies = Vec::new();
        for caller in callers {
            latencies.extend(caller.await??);
        }
        Ok(Outcome::new(latencies, begin.elapsed()))
    })
}

/// 32 characters of base64 that no other call of this process has had.
fn text() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:032}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A connection that signs each request when it is sent.
struct Connection {
    signer: Signer,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(signer: Signer) -> Result<Self> {
        let stream =
            TcpStream::connect(&signer.host).await.with_context(|| format!("connecting to {}", signer.host))?;
        stream.set_nodelay(true)?;
        Ok(Connection { signer, stream, buffer: Vec::with_capacity(4096) })
    }

    /// The time from the first byte sent to the last received, nanoseconds, and the answer's body.
    async fn call(&mut self, action: &str, body: &str) -> Result<(u64, &[u8])> {
        let request = self.signer.request(action, body, now());
        let begin = Instant::now();
        self.stream.write_all(&request).await?;
        let answer = answer(&mut self.stream, &mut self.buffer).await?;
        Ok((begin.elapsed().as_nanos() as u64, answer))
    }
}

fn print(rows: &[Row]) {
    println!(
        "| signers | Encrypt/s | p50, ms | p99, ms (each round) | longest, ms | RSA signatures/s | their p99, ms | refused |\n\
         |---|---|---|---|---|---|---|---|"
    );
    for row in rows {
        let rounds: Vec<_> = row.p99.iter().map(|p99| format!("{p99:.2}")).collect();
        println!(
            "| {} | {:.0} | {:.2} | {:.2} ({}) | {:.1} | {:.0} | {:.0} | {:.1} % |",
            row.signers,
            median(&row.rate),
            median(&row.p50),
            median(&row.p99),
            rounds.join(", "),
            row.max.iter().copied().fold(0.0, f64::max),
            median(&row.signed),
            median(&row.signed_p99),
            median(&row.refused),
        );
    }
}

/// Calls that take a key of the RSA pool: one by one, the pool being full, and as many at once as it holds.
fn pool(server: &Jadeseal) -> Result<()> {
    let external = server.call("CreateKey", r#"{"Alias":"external","Type":2}"#, "KeyId")?;
    let create = |n: usize| format!(r#"{{"Alias":"pool-{n}","KeyUsage":"ASYMMETRIC_SIGN_VERIFY_RSA_2048"}}"#);
    let import = |n: usize| {
        // White space tells the calls of one second apart.
        let algorithm = r#""WrappingAlgorithm":"RSAES_OAEP_SHA_256","WrappingKeySpec":"RSA_2048""#;
        format!(r#"{{"KeyId":"{external}",{algorithm}}}{}"#, " ".repeat(n))
    };
    let kinds: [(&str, &dyn Fn(usize) -> String); 2] = [("CreateKey", &create), ("GetParametersForImport", &import)];
    println!("\n| call | p50, ms | p99, ms | longest, ms |\n|---|---|---|---|");
    for (action, body) in kinds {
        server.process.settle()?;
        let mut latencies = Vec::new();
        for n in 0..CALLS {
            thread::sleep(APART);
            let outcome = load::drive(server.address(), server.own_bodies(action, 1, |_| body(n)), 1, APART)?;
            latencies.push((outcome.percentile_us(100.0) * 1e3) as u64);
        }
        print_latencies(&format!("{action}, one every {} ms", APART.as_millis()), &Outcome::new(latencies, APART));
        server.process.settle()?;
        let requests = server.own_bodies(action, BURST, |n| body(CALLS + n));
        let outcome = load::drive(server.address(), requests, BURST, Duration::from_secs(60))?;
        print_latencies(&format!("{action}, {BURST} at once"), &outcome);
    }
    Ok(())
}

fn print_latencies(name: &str, outcome: &Outcome) {
    let ms = |percent| outcome.percentile_us(percent) / 1e3;
    println!("| {name} | {:.1} | {:.1} | {:.1} |", ms(50.0), ms(99.0), ms(100.0));
}
