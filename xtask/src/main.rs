//! Development tasks, run as `cargo xtask <task>`.
//!
//! | task | what it does |
//! |---|---|
//! | `test` | installs what is missing, then runs everything but the soaks |
//! | `soak` | 100 rounds of `kill -9`, 50 killed rekeys, 10 minutes of fuzzing per target |
//! | `fuzz [--minutes N] [--target NAME]` | fuzzes each target for N minutes (default 10) |
//! | `bench [ARGS]` | builds for release and runs the load generator; ARGS go to it |
//! | `export [--check]` | writes `api/actions.json`, or fails when it is stale |

mod export;
mod fuzz;
mod run;
mod setup;
mod suite;

use anyhow::{Result, bail};
use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((task, rest)) = args.split_first() else { bail!("{USAGE}") };
    match task.as_str() {
        "test" => suite::test(),
        "soak" => suite::soak(),
        "fuzz" => fuzz::task(rest),
        "bench" => suite::bench(rest),
        "export" => export::task(rest),
        _ => bail!("{USAGE}"),
    }
}

const USAGE: &str =
    "usage: cargo xtask test | soak | fuzz [--minutes N] [--target NAME] | bench [ARGS] | export [--check]";

/// The repository's root: the tasks work from anywhere in it.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}
