//! `api/actions.json`: the action table as the service has it. The conformance suite, the console's forms and the
//! documents are made from this file, so it is committed and must not be stale.

use crate::root;
use anyhow::{Context, Result, bail};
use std::fs;

/// `cargo xtask export [--check]`.
pub fn task(args: &[String]) -> Result<()> {
    match args {
        [] => write(),
        [flag] if flag == "--check" => check(),
        _ => bail!("usage: cargo xtask export [--check]"),
    }
}

/// Fails when the exported table is not what the service says.
pub fn check() -> Result<()> {
    let path = root().join("api/actions.json");
    let written = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    if written != current() {
        bail!("{} is stale: run `cargo xtask export`", path.display());
    }
    Ok(())
}

fn write() -> Result<()> {
    let path = root().join("api/actions.json");
    fs::write(&path, current()).with_context(|| format!("writing {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

fn current() -> String {
    jadeseal_service::export_actions_json()
}
