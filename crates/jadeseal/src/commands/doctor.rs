//! `jadeseal doctor`.

use super::runtime;
use crate::Output;
use anyhow::Result;
use jadeseal_server::doctor::{Finding, Level, examine};
use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

#[derive(clap::Args)]
pub struct Args {
    /// Configuration file.
    #[arg(long, env = "JADESEAL_CONFIG")]
    config: PathBuf,
    /// Data directory; goes before the file's.
    #[arg(long, env = "JADESEAL_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Print what is in order, too.
    #[arg(long)]
    all: bool,
    /// How to print the findings; JSON always has all of them.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

pub fn run(args: Args) -> Result<ExitCode> {
    let findings = runtime()?.block_on(examine(&args.config, args.data_dir.as_deref()));
    match args.output {
        Output::Json => print_json(&findings)?,
        Output::Table => print_table(&findings, args.all)?,
    }
    let problem = findings.iter().any(|f| f.level == Level::Problem);
    Ok(if problem { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print_json(findings: &[Finding]) -> Result<()> {
    let of = |f: &Finding| serde_json::json!({ "check": f.check, "level": f.level.name(), "what": f.what, "remedy": f.remedy });
    let worst = findings.iter().map(|f| f.level).max().unwrap_or(Level::Ok);
    let all: Vec<_> = findings.iter().map(of).collect();
    writeln!(std::io::stdout().lock(), "{}", serde_json::json!({ "worst": worst.name(), "findings": all }))?;
    Ok(())
}

fn print_table(findings: &[Finding], all: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let colour = std::io::stdout().is_terminal();
    let mut sorted: Vec<_> = findings.iter().filter(|f| all || f.level > Level::Ok).collect();
    sorted.sort_by_key(|f| std::cmp::Reverse(f.level));
    for f in sorted {
        let code = match f.level {
            Level::Ok => "32",
            Level::Info => "36",
            Level::Warning => "33",
            Level::Problem => "31",
        };
        let level =
            if colour { format!("\x1b[{code}m{:<8}\x1b[0m", f.level.name()) } else { format!("{:<8}", f.level.name()) };
        writeln!(out, "{level} {:<20} {}", f.check, f.what)?;
        if !f.remedy.is_empty() {
            writeln!(out, "{:29} -> {}", "", f.remedy)?;
        }
    }
    let count = |level| findings.iter().filter(|f| f.level == level).count();
    writeln!(
        out,
        "{} problems, {} warnings, {} hints, {} in order",
        count(Level::Problem),
        count(Level::Warning),
        count(Level::Info),
        count(Level::Ok)
    )?;
    Ok(())
}
