//! Running other programs.

use crate::root;
use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    process::{Command, Stdio},
};

/// A command in the repository's root.
pub fn command(program: impl AsRef<OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// Cargo, the same that runs us.
pub fn cargo(args: &[&str]) -> Command {
    command(std::env::var_os("CARGO").unwrap_or("cargo".into()), args)
}

/// Runs with our own standard output and error; anything but success is an error.
pub fn run(mut command: Command) -> Result<()> {
    eprintln!("xtask: {}", shown(&command));
    let status = command.status().with_context(|| format!("starting {}", shown(&command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(&command));
    }
    Ok(())
}

/// Runs and gives back standard output; anything but success is an error.
pub fn output(mut command: Command) -> Result<String> {
    let done = command.output().with_context(|| format!("starting {}", shown(&command)))?;
    if !done.status.success() {
        bail!("{} ended with {}: {}", shown(&command), done.status, String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// True when a program starts and answers with success.
pub fn works(mut command: Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn shown(command: &Command) -> String {
    let parts = std::iter::once(command.get_program()).chain(command.get_args());
    parts.map(|p| p.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
