//! `api/actions.json` and its like: the action tables as the service has it. The conformance suite, the console's forms and the
//! documents are made from these files, so they are committed and must not be stale.

use crate::root;
use anyhow::{Context, Result, bail};
use jadeseal_service::{EXPORTS, Export};
use std::{fs, path::PathBuf};

/// `cargo xtask export [--check]`.
pub fn task(args: &[String]) -> Result<()> {
    match args {
        [] => write(),
        [flag] if flag == "--check" => check(),
        _ => bail!("usage: cargo xtask export [--check]"),
    }
}

/// Fails when an exported table is not what the service says.
pub fn check() -> Result<()> {
    for export in EXPORTS {
        let path = path_of(export);
        let written = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        if written != export.json() {
            bail!("{} is stale: run `cargo xtask export`", path.display());
        }
    }
    Ok(())
}

fn write() -> Result<()> {
    for export in EXPORTS {
        let path = path_of(export);
        fs::write(&path, export.json()).with_context(|| format!("writing {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

fn path_of(export: &Export) -> PathBuf {
    root().join("api").join(export.file)
}
