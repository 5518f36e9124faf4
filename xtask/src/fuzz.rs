//! Runs the fuzz targets one after the other.

use crate::{
    root,
    run::{cargo, output, run},
    setup,
};
use anyhow::{Context, Result, bail};
use std::{fs, process::Command, time::Duration};

/// `cargo xtask fuzz [--minutes N] [--target NAME]`.
pub fn task(args: &[String]) -> Result<()> {
    let mut minutes = 10;
    let mut only = None;
    let mut args = args.iter();
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--minutes" => minutes = value.parse().context("--minutes takes a whole number")?,
            "--target" => only = Some(value.as_str()),
            _ => bail!("unknown flag {flag}"),
        }
    }
    setup::cargo_fuzz()?;
    let time = Duration::from_secs(60 * minutes);
    match only {
        Some(target) => {
            build()?;
            one(target, time)
        }
        None => all(time),
    }
}

/// Every target for this long each.
pub fn all(time: Duration) -> Result<()> {
    build()?;
    for target in targets()? {
        one(&target, time)?;
    }
    Ok(())
}

fn build() -> Result<()> {
    run(fuzz(&["build", "--sanitizer", "none"]))
}

fn targets() -> Result<Vec<String>> {
    Ok(output(fuzz(&["list"]))?.lines().map(str::to_owned).collect())
}

/// No sanitizer: the targets hold no unsafe code of ours, and so the stable toolchain will do. Seeds that are worth
/// keeping are in `fuzz/seeds`; what a run finds goes to `fuzz/corpus`, which is not committed.
fn one(target: &str, time: Duration) -> Result<()> {
    let (corpus, seeds) = (root().join("fuzz/corpus").join(target), root().join("fuzz/seeds").join(target));
    for folder in [&corpus, &seeds] {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let mut command = fuzz(&["run", "--sanitizer", "none", target]);
    command.arg(&corpus).arg(&seeds);
    command.args(["--", "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048", "-max_len=8192", "-verbosity=0"]);
    command.arg(format!("-max_total_time={}", time.as_secs()));
    run(command).with_context(|| format!("fuzz target {target}; the input is in fuzz/artifacts/{target}"))
}

fn fuzz(args: &[&str]) -> Command {
    let mut command = cargo(&["fuzz"]);
    command.args(args).current_dir(root().join("fuzz"));
    command
}
