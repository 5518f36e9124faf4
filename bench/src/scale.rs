//! Many keys: time to ready, memory, latency of reads and of pages; and the cold start of an empty store.

use crate::{Setup, jadeseal::Jadeseal, load, ops::median, process::pin_self};
use anyhow::Result;
use clap::Args;
use std::time::Duration;

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    setup: Setup,
    /// Number of keys
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// Starts of which the median is taken
    #[arg(long, default_value_t = 5)]
    starts: usize,
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

const FEW: usize = 100;
const READS: usize = 20_000;
/// Keys per page, the largest that the API knows.
const PAGE: usize = 200;

pub fn run(options: &Options) -> Result<()> {
    pin_self(options.setup.load_core)?;
    println!("\n| measure | value |\n|---|---|");
    println!("| cold start of an empty store, first start, ms (median) | {:.1} |", cold_start(options)?);
    let few = describe_p99(options, FEW)?;
    println!("| DescribeKey p99 with {FEW} keys, 16 connections, µs | {few:.0} |");
    many(options, few)
}

/// From starting the process on an empty directory to the line that says it is ready.
fn cold_start(options: &Options) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..options.starts {
        let directory = options.setup.fresh()?;
        let server = Jadeseal::start(&options.setup, &directory.path().join("data"), "os", None)?;
        times.push(server.process.ready_in.as_secs_f64() * 1e3);
        server.process.stop()?;
    }
    Ok(median(&times))
}

fn describe_p99(options: &Options, count: usize) -> Result<f64> {
    let directory = options.setup.fresh()?;
    let server = Jadeseal::start(&options.setup, &directory.path().join("data"), "os", None)?;
    let (keys, _) = server.create_keys("few", count)?;
    server.rest()?;
    let p99 = describe(&server, &keys)?;
    server.process.stop()?;
    Ok(p99)
}

/// p99 of DescribeKey over all keys in an order that no cache can guess, µs.
fn describe(server: &Jadeseal, keys: &[String]) -> Result<f64> {
    let mut rounds = Vec::new();
    for round in 0..3 {
        // The step has no divisor in common with a round number of keys, so the first pass repeats none.
        let requests = server.requests("DescribeKey", READS, keys.len(), |n| {
            let pick = (n + 1 + round * READS) * 7919 % keys.len();
            format!(r#"{{"KeyId":"{}"}}"#, keys[pick])
        })?;
        let outcome = load::drive(server.address(), requests, 16, Duration::from_secs(30))?;
        rounds.push(outcome.percentile_us(99.0));
    }
    Ok(median(&rounds))
}

fn many(options: &Options, few: f64) -> Result<()> {
    let count = options.keys;
    let directory = options.setup.fresh()?;
    let data = directory.path().join("data");
    let server = Jadeseal::start(&options.setup, &data, "os", None)?;
    let creds = server.creds();
    let (keys, created) = server.create_keys("many", count)?;
    println!("| CreateKey, 32 connections, {count} keys, keys/s | {:.0} |", created.rate());
    println!(
        "| CreateKey p50 / p99, ms | {:.2} / {:.2} |",
        created.percentile_us(50.0) / 1e3,
        created.percentile_us(99.0) / 1e3
    );
    server.process.stop()?;

    let mut ready = Vec::new();
    for _ in 1..options.starts {
        let server = Jadeseal::start(&options.setup, &data, "os", Some(creds.clone()))?;
        ready.push(server.process.ready_in.as_secs_f64() * 1e3);
        server.process.stop()?;
    }
    let server = Jadeseal::start(&options.setup, &data, "os", Some(creds))?;
    ready.push(server.process.ready_in.as_secs_f64() * 1e3);
    println!("| start to ready with {count} keys, ms (median) | {:.0} |", median(&ready));
    println!("| resident when ready, MiB | {} |", server.process.resident_kib()? / 1024);
    server.rest()?;
    let p99 = describe(&server, &keys)?;
    println!(
        "| DescribeKey p99 with {count} keys, 16 connections, µs | {p99:.0} ({:.2} × that with {FEW}) |",
        p99 / few
    );
    encrypt_with_each(&server, &keys)?;
    println!("| resident after one Encrypt with each key, MiB | {} |", server.process.resident_kib()? / 1024);
    for offset in [0, count / 100, count / 10, count / 2, count.saturating_sub(PAGE)] {
        let requests =
            server.requests("ListKeyDetail", 40, 1, |_| format!(r#"{{"Offset":{offset},"Limit":{PAGE}}}"#))?;
        let outcome = load::drive(server.address(), requests, 1, Duration::from_secs(60))?;
        println!(
            "| ListKeyDetail, page of {PAGE} at offset {offset}, ms p50 / worst | {:.2} / {:.2} |",
            outcome.percentile_us(50.0) / 1e3,
            outcome.percentile_us(100.0) / 1e3
        );
    }
    server.process.stop()
}

fn encrypt_with_each(server: &Jadeseal, keys: &[String]) -> Result<()> {
    for part in keys.chunks(20_000) {
        let requests =
            server.own_bodies("Encrypt", part.len(), |n| format!(r#"{{"KeyId":"{}","Plaintext":"eA=="}}"#, part[n]));
        load::drive(server.address(), requests, 16, Duration::from_secs(120))?;
    }
    Ok(())
}
