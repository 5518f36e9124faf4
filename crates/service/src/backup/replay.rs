//! What was changed after a backup, as a copy of the audit log tells it.

use super::content::AuditHead;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jadeseal_audit::{Note, Trust, checkpoint, verify_log};
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

/// Records of what changed no key, principal or custodian.
const NO_CHANGES: [&str; 3] = ["CreateBackup", "ProveBackup", "AuditGap"];

/// The successful changes in a log behind the moment of a backup: all of them, or an error that says why the copy cannot tell.
/// Some of the first may be in the backup already.
///
/// The copy must be one of the log that the backup names: whole from the backup on by its tree, and with the tree of the
/// checkpoint in the backup, which lies under the backup's seal, signed by a key that the copy names too.
pub fn changes_since(log: &Path, head: &AuditHead) -> Result<Replay> {
    let note = head.checkpoint.as_ref().map(|text| {
        let bytes = BASE64_STANDARD.decode(text).ok();
        bytes
            .and_then(|bytes| Note::parse(&bytes).ok())
            .ok_or_else(|| untellable("the checkpoint in the backup is malformed"))
    });
    let notes: Vec<Note> = note.transpose()?.into_iter().collect();
    let trust = Trust { keys: checkpoint::keys(log).map_err(untellable)?, ..Trust::default() };
    let mut replay = Replay::default();
    let proved = verify_log(log, &trust, &notes, |index, json| {
        let outcome = serde_json::from_slice::<Outcome<'_>>(json);
        if index < head.next_index || !outcome.is_ok_and(|o| o.access == "write" && o.code.is_empty()) {
            return;
        }
        match serde_json::from_slice::<Changed>(json) {
            // Nothing that could be repeated.
            Ok(changed) if NO_CHANGES.contains(&changed.action.as_str()) => {}
            Ok(changed) if replay.changes.len() < MAX_TOLD => replay.changes.push(Changed { index, ..changed }),
            _ => replay.untold += 1,
        }
    });
    let proved = proved.map_err(untellable)?;
    let there = head.next_index;
    if proved.end < there {
        return Err(ApiError::internal(format!(
            "the copy of the audit log ends at record {} of {there} that there were when the backup was made: it tells nothing of \
             what came later",
            proved.end
        )));
    }
    if proved.first > there {
        return Err(untellable(format!(
            "it begins with record {}, the first since the backup was made is {there}: bring the archived segments back beside it",
            proved.first
        )));
    }
    Ok(replay)
}

fn untellable(why: impl std::fmt::Display) -> ApiError {
    ApiError::internal(format!("the copy of the audit log cannot tell every change since the backup: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jadeseal_audit::{Certifier, Log, Options, RETIRED, Retention, Signer};
    use jadeseal_crypto::Ed25519Key;
    use std::time::Duration;

    const EVERY: Duration = Duration::from_millis(5);

    fn append(log: &Log, action: &str, subject: &str) {
        let record = crate::records::of_service(Duration::from_secs(1_795_500_000), action, &[subject.to_owned()]);
        log.append(&record).unwrap();
    }

    /// A log of that name with so many records, and all of them under its checkpoint.
    fn log(dir: &Path, name: &str, records: u64) -> Log {
        let options =
            Options { segment_bytes: 8192, flush_every: EVERY, checkpoint_every: EVERY, ..Options::default() };
        let log = Log::open(dir, options).unwrap().0;
        let signer = Signer::ed25519(name, Ed25519Key::generate().unwrap()).unwrap();
        log.certify(Certifier { signer, witnesses: vec![], required: 0 }).unwrap();
        for n in 0..records {
            append(&log, "DisableKey", &format!("{name}/{n}"));
            // Lets the next segment be made in time.
            std::thread::sleep(Duration::from_millis(1));
        }
        covered(&log);
        log
    }

    fn covered(log: &Log) {
        for _ in 0..2_000 {
            if log.published().is_some_and(|p| p.checkpoint.size == log.next_index()) {
                return;
            }
            std::thread::sleep(EVERY);
        }
        panic!("no checkpoint");
    }

    fn head_of(log: &Log) -> AuditHead {
        let note = std::fs::read(log.dir().join("checkpoint")).unwrap();
        AuditHead { next_index: log.next_index(), checkpoint: Some(BASE64_STANDARD.encode(note)) }
    }

    fn why(log: &Log, head: &AuditHead) -> String {
        changes_since(log.dir(), head).unwrap_err().internal_cause().unwrap().to_owned()
    }

    #[test]
    fn only_the_log_of_the_backup_tells() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = log(dir.path(), "own", 5);
        let head = head_of(&own);
        append(&own, "DisableKey", "own/later");
        covered(&own);
        assert_eq!(changes_since(dir.path(), &head).unwrap().changes[0].subjects, ["own/later"]);
        // Of another name; of this name by another key; and with the key, but of other records.
        let stranger = log(other.path(), "stranger", 20);
        assert!(why(&stranger, &head).contains("not signed by a key of this log"), "{}", why(&stranger, &head));
        let namesake = tempfile::tempdir().unwrap();
        let namesake = log(namesake.path(), "own", 20);
        assert!(why(&namesake, &head).contains("not signed by a key of this log"));
        let mut keys = std::fs::read(namesake.dir().join("keys")).unwrap();
        keys.extend(std::fs::read(dir.path().join("keys")).unwrap());
        std::fs::write(namesake.dir().join("keys"), keys).unwrap();
        assert!(why(&namesake, &head).contains("cannot tell"), "{}", why(&namesake, &head));
        let malformed = AuditHead { checkpoint: Some("AAAA".to_owned()), ..head };
        assert!(why(&own, &malformed).contains("malformed"));
    }

    #[test]
    fn a_log_whose_beginning_is_gone_does_not_tell_every_change() {
        let dir = tempfile::tempdir().unwrap();
        let own = log(dir.path(), "own", 200);
        let (early, late) = (AuditHead { next_index: 1, checkpoint: None }, head_of(&own));
        assert_eq!(changes_since(dir.path(), &early).unwrap().changes.len(), 199);
        // With the stop its hashes are on stable storage.
        drop(own);
        let own = log(dir.path(), "own", 0);
        // As the service retires segments, so that the log verifies without them.
        let retention = Retention { before_micros: u64::MAX, needed_from: None, archive: None };
        let retiring = own.to_retire(&retention).unwrap().unwrap();
        append(&own, RETIRED, &format!("first/{}", retiring.keep_from));
        covered(&own);
        own.retire(&retiring).unwrap();
        let why_early = why(&own, &early);
        assert!(why_early.contains(&format!("begins with record {}", retiring.keep_from)), "{why_early}");
        assert_eq!(changes_since(dir.path(), &late).unwrap().changes.len(), 1, "all that is asked for is there");
        // And as somebody removes one by hand.
        let first = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path());
        let mut segments: Vec<_> = first.filter(|p| p.to_string_lossy().contains("/audit-0")).collect();
        segments.sort();
        std::fs::remove_file(&segments[0]).unwrap();
        assert!(why(&own, &late).contains("cannot tell"));
    }
}
