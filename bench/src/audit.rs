//! What the audit log costs Encrypt: the binary against one that was built without the log (feature `unaudited`), and
//! against other binaries, in turns.

use crate::{Setup, jadeseal::Jadeseal, load, ops::median, process::pin_self, sign::now};
use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use serde_json::json;
use std::{path::PathBuf, time::Duration};

#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    setup: Setup,
    /// A binary to compare with: the first one is the measure of all. May be repeated
    #[arg(long, required = true)]
    against: Vec<PathBuf>,
    /// Degree of the audit log: os or fsync
    #[arg(long, default_value = "os")]
    degree: String,
    /// Rounds; each measures every binary once
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Requests to each binary in a round
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Connections
    #[arg(long, default_value_t = 16)]
    connections: usize,
}

const KEYS: usize = 100;

pub fn run(options: &Options) -> Result<()> {
    pin_self(options.setup.load_core)?;
    let mut servers = Vec::new();
    for binary in options.against.iter().chain([&options.setup.binary]) {
        let setup = Setup { binary: binary.clone(), ..options.setup.clone() };
        let directory = setup.fresh()?;
        let server = Jadeseal::start(&setup, &directory.path().join("data"), &options.degree, None)?;
        let made = server.own_bodies("CreateKey", KEYS, |n| json!({ "Alias": format!("a-{n}") }).to_string());
        let (keys, _) = server.members(made, 8, "KeyId")?;
        server.rest()?;
        servers.push((binary.display().to_string(), server, keys, directory, Vec::new(), Vec::new()));
    }
    for round in 0..options.rounds {
        for (name, server, keys, _, cpus, p99) in &mut servers {
            let at = now();
            let body = |n: usize| {
                let text = STANDARD.encode(format!("{round:08}-{n:08}-0123456789abcdef"));
                format!(r#"{{"KeyId":"{}","Plaintext":"{text}"}}"#, keys[n % KEYS])
            };
            let requests = (0..options.requests).map(|n| server.signer.request("Encrypt", &body(n), at)).collect();
            let before = server.process.cpu()?;
            let limit = Duration::from_secs(60);
            let outcome = load::drive(server.address(), requests, options.connections, limit);
            let outcome = outcome.with_context(|| name.clone())?;
            // What threads beside the requests do later for them belongs to them.
            std::thread::sleep(Duration::from_millis(1200));
            let cpu = server.process.cpu()? - before;
            cpus.push(cpu.as_secs_f64() * 1e6 / outcome.requests.max(1) as f64);
            p99.push(outcome.percentile_us(99.0));
        }
    }
    let first = servers.first().map_or(f64::NAN, |server| median(&server.4));
    println!("| Encrypt, {} | CPU µs/request | × the first | p99 µs |\n|---|---|---|---|", options.degree);
    for (name, .., cpus, p99) in &servers {
        let cpu = median(cpus);
        println!("| {name} | {cpu:.2} | {:.3} | {:.0} |", cpu / first, median(p99));
    }
    Ok(())
}
