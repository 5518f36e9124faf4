//! `[audit]` (`docs/audit-log.md`).

use super::{ConfigError, count, within};
use crate::witness::{WitnessTable, Witnesses};
use serde::Deserialize;
use std::{path::PathBuf, time::Duration};

/// When an audit record counts as written.
#[derive(Clone, Debug)]
pub struct AuditConf {
    /// True: an answer waits for the flush that holds its record. False: the record is with the
    /// operating system, and flushed within `flush`.
    pub fsync: bool,
    /// Size of a segment file, bytes.
    pub segment_bytes: u64,
    /// Longest time between flushes.
    pub flush: Duration,
    /// Time between checkpoints.
    pub checkpoint: Duration,
    /// Who else signs them.
    pub witnesses: Witnesses,
    /// Days after which the records of a segment are removed; none: never.
    pub keep_days: Option<u64>,
    /// Where removed segments go.
    pub archive: Option<PathBuf>,
}

impl Default for AuditConf {
    fn default() -> Self {
        AuditConf {
            fsync: false,
            segment_bytes: 64 * 1024 * 1024,
            flush: Duration::from_millis(100),
            checkpoint: Duration::from_secs(1),
            witnesses: Witnesses::default(),
            keep_days: None,
            archive: None,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditTable {
    degree: Option<String>,
    segment_mib: Option<u64>,
    flush_ms: Option<u64>,
    checkpoint_seconds: Option<u64>,
    keep_days: Option<u64>,
    archive: Option<PathBuf>,
    require_witnesses: Option<u64>,
    witness_seconds: Option<u64>,
    #[serde(default)]
    witness: Vec<WitnessTable>,
}

impl AuditTable {
    pub(super) fn check(self) -> Result<AuditConf, ConfigError> {
        let seconds = |name: &str, value: Option<u64>, default| {
            within(name, value.unwrap_or(default), 1, 3600).map(Duration::from_secs)
        };
        let every = seconds("audit.witness_seconds", self.witness_seconds, 10)?;
        let required = count("audit.require_witnesses", self.require_witnesses, 0, 0, 64)?;
        if self.archive.is_some() && self.keep_days.is_none() {
            return Err(ConfigError::Invalid("audit.archive needs audit.keep_days".to_owned()));
        }
        Ok(AuditConf {
            fsync: degree(self.degree.as_deref().unwrap_or("os"))?,
            segment_bytes: within("audit.segment_mib", self.segment_mib.unwrap_or(64), 16, 4096)? << 20,
            flush: Duration::from_millis(within("audit.flush_ms", self.flush_ms.unwrap_or(100), 1, 100)?),
            checkpoint: seconds("audit.checkpoint_seconds", self.checkpoint_seconds, 1)?,
            witnesses: Witnesses::check(self.witness, required, every).map_err(ConfigError::Invalid)?,
            keep_days: self.keep_days.map(|days| within("audit.keep_days", days, 1, 36_500)).transpose()?,
            archive: self.archive,
        })
    }
}

/// `os` or `fsync`.
pub fn degree(text: &str) -> Result<bool, ConfigError> {
    match text {
        "os" => Ok(false),
        "fsync" => Ok(true),
        _ => Err(ConfigError::Invalid("the audit degree must be \"os\" or \"fsync\"".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DEFAULT_LISTEN, sample};
    use std::path::Path;

    #[test]
    fn the_sample_has_the_defaults() {
        let sample = Config::parse(&sample(Path::new("d"), DEFAULT_LISTEN.parse().unwrap())).unwrap();
        assert_eq!(format!("{:?}", sample.audit), format!("{:?}", AuditConf::default()));
    }

    #[test]
    fn mistakes_are_named() {
        let base = "data_dir = \"d\"\n[root]\nkind = \"file\"\npath = \"k\"\n[audit]\n";
        for (extra, words) in [
            ("degree = \"never\"\n", "fsync"),
            ("flush_ms = 0\n", "audit.flush_ms"),
            ("archive = \"/a\"\n", "audit.archive needs"),
            ("keep_days = 0\n", "audit.keep_days"),
        ] {
            let error = Config::parse(&format!("{base}{extra}")).unwrap_err().to_string();
            assert!(error.contains(words), "{extra}: {error}");
        }
    }
}
