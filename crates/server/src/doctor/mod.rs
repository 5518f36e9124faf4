//! `jadeseal doctor`: looks at everything around a deployment that can go wrong, and says what to do about it. Nothing
//! is changed, no secret but the TLS key is read, and it may run beside a service (`docs/doctor.md`).
//!
//! Each file gathers the facts of one group and judges them in a function of its own, which tests feed.

mod audit;
mod clients;
mod clock;
mod custody;
mod disk;
mod entropy;
mod files;
mod process;
mod running;
mod settings;
mod store;
mod tls;

use crate::config::Config;
use std::path::Path;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Info,
    /// It will hurt one day.
    Warning,
    /// It hurts, or it endangers keys or data now.
    Problem,
}

impl Level {
    /// In lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: group and name, such as `disk.space`.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to do: a command or a setting. Empty for what is in order.
    pub remedy: String,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Finding { check, level: Level::Ok, what: what.into(), remedy: String::new() }
    }

    fn info(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { check, level: Level::Info, what: what.into(), remedy: remedy.into() }
    }

    fn warning(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { check, level: Level::Warning, what: what.into(), remedy: remedy.into() }
    }

    fn problem(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { check, level: Level::Problem, what: what.into(), remedy: remedy.into() }
    }
}

/// Looks at everything that a configuration file names. Findings come in the order of the groups.
pub async fn examine(path: &Path, data_dir: Option<&Path>) -> Vec<Finding> {
    let mut config = match Config::read_unchecked(path) {
        Ok(config) => config,
        Err(e) => {
            let remedy = format!("correct {}; `jadeseal init` writes a sample where there is none", path.display());
            return vec![Finding::problem("settings.file", e.to_string(), remedy)];
        }
    };
    if let Some(data_dir) = data_dir {
        config.data_dir = data_dir.to_owned();
    }
    let now = now();
    let running = running::look(&config).await;
    let last_record = audit::last_record(&config.data_dir.join("audit"));
    let mut all = settings::check(&config);
    all.extend(clock::check(&clock::Facts::gather(
        now,
        &config.data_dir,
        last_record.as_ref().ok().copied().flatten(),
    )));
    all.extend(files::check(&files::Facts::gather(path, &config)));
    all.extend(process::check(&process::Facts::gather(running.pid)));
    all.extend(entropy::check(&entropy::Facts::gather()));
    if let Some(files) = &config.tls {
        all.extend(tls::check(&tls::Facts::gather(files), now));
        all.extend(clients::check(&clients::Facts::gather(files, &config)));
    }
    all.extend(disk::check(&disk::Facts::gather(&config), config.audit.segment_bytes));
    let store = store::Facts::gather(&config.data_dir);
    all.extend(store::check(&store));
    if store.is_usable() {
        all.extend(custody::check(&custody::Facts::gather(&config).await, now));
    }
    all.extend(audit::check(&audit::Facts::gather(&config.data_dir, last_record, &running), now));
    all.extend(running::check(&running));
    all
}

/// Unix seconds.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Lines of a file of `/proc` or `/sys`, or of another that is small; none when it cannot be read.
fn small_file(path: impl AsRef<Path>) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(1024 * 1024).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Days, hours or minutes, whichever fits.
fn span(seconds: i64) -> String {
    match seconds.unsigned_abs() {
        s if s >= 2 * 86_400 => format!("{} days", s / 86_400),
        s if s >= 2 * 3600 => format!("{} hours", s / 3600),
        s if s >= 120 => format!("{} minutes", s / 60),
        s => format!("{s} seconds"),
    }
}

/// Bytes in a unit that fits.
fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 10 << 30 => format!("{} GiB", b >> 30),
        b if b >= 10 << 20 => format!("{} MiB", b >> 20),
        b => format!("{} KiB", b >> 10),
    }
}

#[cfg(test)]
mod testing {
    use super::{Finding, Level};

    /// The level of a check that must be among findings once, with its text.
    pub fn level(findings: &[Finding], check: &str) -> (Level, String) {
        let mut of = findings.iter().filter(|f| f.check == check);
        let found = of.next().unwrap_or_else(|| panic!("no {check} among {findings:#?}"));
        assert!(of.next().is_none(), "{check} twice");
        assert_eq!(
            found.level == Level::Ok,
            found.remedy.is_empty(),
            "a remedy for whatever is not in order: {found:?}"
        );
        (found.level, format!("{} {}", found.what, found.remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(
            (span(59).as_str(), span(-7200).as_str(), span(86_400 * 40).as_str()),
            ("59 seconds", "2 hours", "40 days")
        );
        assert_eq!(
            (size(5 << 20).as_str(), size(64 << 20).as_str(), size(20 << 30).as_str()),
            ("5120 KiB", "64 MiB", "20 GiB")
        );
    }

    #[tokio::test]
    async fn a_configuration_that_cannot_be_read_is_one_finding() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, "listen = 1").unwrap();
        for path in [path, dir.path().join("none")] {
            let found = examine(&path, None).await;
            assert_eq!(testing::level(&found, "settings.file").0, Level::Problem);
            assert_eq!(found.len(), 1);
        }
    }
}
