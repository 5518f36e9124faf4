//! Load generator of Jadeseal.
//!
//! It measures **CPU microseconds per request of the server process**, beside rates and latencies, next to a bare
//! hyper server and to OpenBao in the same run, interleaved, because absolute times drift with a machine's neighbours.
//! Every request is signed beforehand and used once, so that no cache looks better than it is.
//!
//! `bench ops` compares the operations, `bench asymmetric` those of asymmetric keys with the raw calls, `bench
//! saturation` looks at symmetric calls beside as many signatures as fit, `bench scale` at 100,000 keys, `bench lists` at lists of them
//! with every filter, `bench policies` at callers that need policies, `bench audit` at the price of the audit log, `bench
//! audit-query` at its index; `bench bare` is the bare server.

mod asymmetric;
mod audit;
mod audit_query;
mod bare;
mod calls;
mod jadeseal;
mod lists;
mod load;
mod openbao;
mod ops;
mod policies;
mod process;
mod saturation;
mod scale;
mod sign;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Load generator of Jadeseal")]
struct Cli {
    #[command(subcommand)]
    mode: Option<Mode>,
}

#[derive(Subcommand)]
enum Mode {
    /// Operations against the bare server and OpenBao (default)
    Ops(ops::Options),
    /// Asymmetric operations against the raw library calls
    Asymmetric(asymmetric::Options),
    /// Latency of symmetric calls beside saturating signatures; of calls that take keys from the RSA pool
    Saturation(saturation::Options),
    /// Start, memory and latency with many keys
    Scale(scale::Options),
    /// Lists of many keys with each filter, beside others that make and change keys; checks every total
    Lists(lists::Options),
    /// What policies and sessions cost a call
    Policies(policies::Options),
    /// What the audit log costs, against a binary without it
    Audit(audit::Options),
    /// Queries of a large audit log: builds its index, and asks
    AuditQuery(audit_query::Options),
    /// The bare server: a fixed JSON answer to everything
    Bare(bare::Options),
}

/// Where the programs are and how they are pinned.
#[derive(Args, Clone, Debug)]
struct Setup {
    /// The binary to measure
    #[arg(long, default_value = "target/release/jadeseal")]
    binary: PathBuf,
    /// Core of the server (`saturation` lets it have all)
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of the load
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Where the stores lie (default: the system's temporary directory)
    #[arg(long)]
    directory: Option<PathBuf>,
}

impl Setup {
    /// A fresh directory for a store.
    fn fresh(&self) -> Result<tempfile::TempDir> {
        let base = self.directory.clone().unwrap_or_else(std::env::temp_dir);
        Ok(tempfile::Builder::new().prefix("jadeseal-bench-").tempdir_in(base)?)
    }
}

fn main() -> Result<()> {
    match Cli::parse().mode {
        Some(Mode::Bare(options)) => bare::run(&options),
        Some(Mode::AuditQuery(options)) => audit_query::run(&options),
        Some(Mode::Asymmetric(options)) => asymmetric::run(&options),
        Some(Mode::Saturation(options)) => saturation::run(&options),
        Some(Mode::Scale(options)) => scale::run(&options),
        Some(Mode::Policies(options)) => policies::run(&options),
        Some(Mode::Audit(options)) => audit::run(&options),
        Some(Mode::Lists(options)) => lists::run(&options),
        Some(Mode::Ops(options)) => ops::run(&options),
        None => {
            ops::run(&ops::Options::parse_from(["ops"]))?;
            scale::run(&scale::Options::parse_from(["scale"]))
        }
    }
}
