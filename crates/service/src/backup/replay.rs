//! What was changed after a backup, as a copy of the audit log tells it.

use super::content::AuditHead;
use jadeseal_types::{ApiError, error::Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Most changes that are told.
const MAX_TOLD: usize = 10_000;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Index of its record.
    #[serde(default)]
    pub index: u64,
    /// When, as in the record.
    pub time: String,
    /// The account.
    pub account: String,
    /// Whoever did it.
    pub uin: String,
    /// What was done.
    pub action: String,
    /// Where.
    pub region: String,
    /// Keys.
    pub resources: Vec<String>,
    /// Principals and policies.
    #[serde(default)]
    pub subjects: Vec<String>,
}

/// Everything that was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// In their order; the first ten thousand.
    pub changes: Vec<Changed>,
    /// How many more there are.
    pub untold: u64,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    access: &'a str,
    code: &'a str,
}

/// The successful changes in a log behind the moment of a backup. Some of the first may be in the backup already.
pub fn changes_since(log: &Path, head: &AuditHead) -> Result<Replay> {
    let mut replay = Replay::default();
    let read = jadeseal_audit::for_each_record(log, |index, json| {
        let outcome = serde_json::from_slice::<Outcome<'_>>(json);
        if index < head.next_index || !outcome.is_ok_and(|o| o.access == "write" && o.code.is_empty()) {
            return;
        }
        match serde_json::from_slice::<Changed>(json) {
            Ok(changed) if replay.changes.len() < MAX_TOLD => replay.changes.push(Changed { index, ..changed }),
            _ => replay.untold += 1,
        }
    });
    let read = read.map_err(ApiError::internal)?;
    let end = jadeseal_audit::next_index(log).map_err(ApiError::internal)?;
    if end < head.next_index {
        return Err(ApiError::internal(format!(
            "the copy of the audit log ends at record {end} of {} that there were when the backup was made: it tells nothing of \
             what came later ({} records read)",
            head.next_index, read.records
        )));
    }
    Ok(replay)
}
