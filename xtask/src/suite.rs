//! The test command, the soak and the benchmark.

use crate::{
    export, fuzz, root,
    run::{cargo, command, run},
    setup,
};
use anyhow::{Result, bail};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// Everything but the soaks. Every step runs even when one before it failed, so one run shows all that is wrong; the
/// exit code is a success only when all were.
pub fn test() -> Result<()> {
    let mut report = Report::default();
    report.step("format", || run(cargo(&["fmt", "--all", "--check"])));
    report
        .step("clippy", || run(cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])));
    report.step("action table is exported", export::check);
    report.step("install openssl", setup::openssl);
    report.step("Rust tests", rust_tests);
    report.step("build", || run(cargo(&["build", "--quiet", "-p", "jadeseal"])));
    report.step("install conformance tools", || {
        setup::python()?;
        setup::node()?;
        setup::packaging()
    });
    report.step("conformance (Python SDK, Node SDK, tccli, HTTP, faults)", || run(pytest(20, 8, &[])));
    report.close()
}

/// The long version of the tests of faults and parsers, and what needs a quiet machine.
pub fn soak() -> Result<()> {
    let mut report = Report::default();
    report.step("build", || run(cargo(&["build", "--quiet", "-p", "jadeseal"])));
    report.step("install", || {
        setup::python()?;
        setup::cargo_fuzz()
    });
    report.step("100 kills, 50 killed rekeys", || run(pytest(100, 50, &["test_faults.py"])));
    report.step("timing of private-key operations", || {
        let test = ["test", "--release", "--quiet", "-p", "jadeseal-crypto", "--test", "timing"];
        run(cargo(&[&test[..], &["--", "--ignored", "--nocapture", "--test-threads", "1"]].concat()))
    });
    report.step("fuzz, 10 minutes per target", || fuzz::all(Duration::from_secs(600)));
    report.close()
}

/// Builds for release and hands over to the load generator.
pub fn bench(args: &[String]) -> Result<()> {
    if !args.iter().any(|a| a == "--without-openbao") {
        setup::openbao()?;
    }
    run(cargo(&["build", "--release", "--quiet", "-p", "jadeseal", "-p", "bench"]))?;
    let mut bench = command(root().join("target/release/bench"), &[]);
    bench.args(args);
    run(bench)
}

fn rust_tests() -> Result<()> {
    if !setup::has_nextest() {
        return run(cargo(&["test", "--workspace", "--quiet"]));
    }
    run(cargo(&["nextest", "run", "--workspace"]))?;
    run(cargo(&["test", "--workspace", "--quiet", "--doc"]))
}

fn pytest(kill_rounds: u32, rekey_rounds: u32, args: &[&str]) -> Command {
    let mut pytest = command(setup::venv("python"), &["-m", "pytest", "-rs", "-p", "no:cacheprovider"]);
    pytest
        .args(args)
        .current_dir(root().join("conformance"))
        .env("JADESEAL_BIN", root().join("target/debug/jadeseal"))
        .env("KILL_ROUNDS", kill_rounds.to_string())
        .env("REKEY_ROUNDS", rekey_rounds.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    pytest
}

/// What ran, how long it took, how it ended.
#[derive(Default)]
struct Report(Vec<(&'static str, Duration, Result<()>)>);

impl Report {
    fn step(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        eprintln!("\nxtask: == {name}");
        let begin = Instant::now();
        let result = work();
        if let Err(error) = &result {
            eprintln!("xtask: {name} failed: {error:#}");
        }
        self.0.push((name, begin.elapsed(), result));
    }

    fn close(self) -> Result<()> {
        println!();
        let mut failed = Vec::new();
        for (name, took, result) in &self.0 {
            let word = if result.is_ok() { "ok" } else { "FAILED" };
            println!("{word:>6}  {:>7.1} s  {name}", took.as_secs_f64());
            if result.is_err() {
                failed.push(*name);
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", failed.join(", "))
    }
}
