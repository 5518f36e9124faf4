//! The store's file.

use super::{Finding, size};
use crate::wiring::DATABASE;
use jadeseal_store::Inspection;
use std::path::Path;

/// A log of the store beyond this was not emptied for long.
const LARGE_WAL: u64 = 512 << 20;

pub struct Facts {
    exists: bool,
    inspected: Result<Inspection, String>,
    wal_bytes: u64,
}

impl Facts {
    pub fn gather(data_dir: &Path) -> Self {
        let path = data_dir.join(DATABASE);
        Facts {
            exists: path.exists(),
            inspected: jadeseal_store::inspect(&path).map_err(|e| e.to_string()),
            wal_bytes: std::fs::metadata(data_dir.join(format!("{DATABASE}-wal"))).map_or(0, |m| m.len()),
        }
    }

    /// Whether the other checks may ask it.
    pub fn is_usable(&self) -> bool {
        self.inspected.as_ref().is_ok_and(|i| i.schema == Some(i.known) && i.damage.is_empty())
    }
}

pub fn check(facts: &Facts) -> Vec<Finding> {
    if !facts.exists {
        return vec![Finding::problem(
            "store.file",
            "there is no store in the data directory",
            "`jadeseal init --config FILE` for a new deployment; else restore the backup",
        )];
    }
    let inspection = match &facts.inspected {
        Ok(inspection) => inspection,
        Err(e) => {
            let remedy = "run doctor as the service's user or as root; if the file is damaged, restore the backup";
            return vec![Finding::problem("store.file", format!("the store cannot be read: {e}"), remedy)];
        }
    };
    let mut found = vec![match inspection.damage.as_slice() {
        [] => Finding::ok("store.file", "the store's pages are sound"),
        [first, rest @ ..] => Finding::problem(
            "store.file",
            format!("the store is damaged: {first} ({} more)", rest.len()),
            "stop the service, keep a copy of the data directory, restore the backup",
        ),
    }];
    let known = inspection.known;
    found.push(match inspection.schema {
        Some(schema) if schema == known => Finding::ok("store.schema", format!("schema version {schema}")),
        Some(schema) if schema > known => Finding::problem(
            "store.schema",
            format!("the store has schema version {schema}, this program knows {known}"),
            "use the version of Jadeseal that has served it, or the backup from before",
        ),
        Some(schema) => Finding::warning(
            "store.schema",
            format!("the store has schema version {schema}, older than this program's {known}"),
            "back up, then start `jadeseal serve` of this version: it brings the store forward",
        ),
        None => Finding::problem("store.schema", "the file holds no store", "restore the backup"),
    });
    if facts.wal_bytes > LARGE_WAL {
        found.push(Finding::warning(
            "store.wal",
            format!("the store's log has grown to {}", size(facts.wal_bytes)),
            "end programs that keep the file open for reading (`fuser jadeseal.db`), or restart the service",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, testing::level},
        *,
    };

    fn facts(schema: Option<u32>, damage: &[&str]) -> Facts {
        let damage = damage.iter().map(|d| (*d).to_owned()).collect();
        Facts { exists: true, inspected: Ok(Inspection { schema, known: 5, damage }), wal_bytes: 0 }
    }

    #[test]
    fn versions_and_damage() {
        for (schema, expected, usable) in [
            (Some(5), Level::Ok, true),
            (Some(4), Level::Warning, false),
            (Some(6), Level::Problem, false),
            (None, Level::Problem, false),
        ] {
            let facts = facts(schema, &[]);
            assert_eq!((level(&check(&facts), "store.schema").0, facts.is_usable()), (expected, usable), "{schema:?}");
        }
        let damaged = facts(Some(5), &["row 3 missing from index", "more"]);
        assert_eq!(level(&check(&damaged), "store.file").0, Level::Problem);
        assert!(!damaged.is_usable());
        let large = Facts { wal_bytes: 1 << 30, ..facts(Some(5), &[]) };
        assert_eq!(level(&check(&large), "store.wal").0, Level::Warning);
    }

    #[test]
    fn a_file_that_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(level(&check(&Facts::gather(dir.path())), "store.file").1.contains("no store"));
        std::fs::write(dir.path().join(DATABASE), "not a database, and longer than its header would be").unwrap();
        let facts = Facts::gather(dir.path());
        assert_eq!(level(&check(&facts), "store.file").0, Level::Problem);
        assert!(!facts.is_usable());
    }
}
