//! Whether the keys would survive a loss: of the root of trust, of its custodian, of the disk.

use super::{Finding, span};
use crate::{
    bindings,
    config::{Config, RootConf},
    wiring,
};
use jadeseal_service::{
    backup,
    custody::{self, Custodian},
};
use jadeseal_store::RootState;
use jadeseal_types::ApiError;
use std::{os::unix::fs::MetadataExt as _, path::Path};

/// How long a proof of a backup is worth something, seconds.
const PROOF_LASTS: i64 = 30 * 86_400;

pub struct Facts {
    read: Result<Read, String>,
    /// The root key file lies on the same file system as the data.
    beside: bool,
}

struct Read {
    custodians: Vec<Custodian>,
    /// Root keys that something is still wrapped under.
    retiring: usize,
    /// Unix seconds.
    proved: Option<i64>,
    /// Until when nothing is destroyed since a restore, Unix seconds.
    held_until: i64,
    /// Bound to client certificates, and not there.
    strangers: Vec<String>,
}

impl Facts {
    pub async fn gather(config: &Config) -> Self {
        let beside = match &config.root {
            RootConf::File(path) | RootConf::PassphraseFile(path) => same_file_system(path, &config.data_dir),
            _ => false,
        };
        Facts { read: read(config).await, beside }
    }
}

async fn read(config: &Config) -> Result<Read, String> {
    let store = wiring::open_store(&config.data_dir).await.map_err(|e| e.to_string())?;
    let read = async {
        let rows = store.root_rows().await.map_err(ApiError::internal)?;
        let seconds = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
        let mut retiring: Vec<_> =
            rows.iter().filter(|row| row.state != RootState::Current).map(|row| row.version).collect();
        retiring.dedup();
        Ok::<_, ApiError>(Read {
            custodians: custody::list(store.as_ref()).await?,
            retiring: retiring.len(),
            proved: backup::last_proved(store.as_ref()).await?.map(seconds),
            held_until: seconds(backup::held_until(store.as_ref()).await?),
            strangers: bindings::strangers(config, store.as_ref()).await.map_err(ApiError::internal)?,
        })
    };
    let read = read.await.map_err(|e| e.internal_cause().unwrap_or_default().to_owned());
    store.close().await.map_err(|e| e.to_string())?;
    read
}

fn same_file_system(one: &Path, other: &Path) -> bool {
    let device = |path| Some(std::fs::metadata(path).ok()?.dev());
    device(one).is_some_and(|one| Some(one) == device(other))
}

pub fn check(facts: &Facts, now: i64) -> Vec<Finding> {
    let read = match &facts.read {
        Ok(read) => read,
        Err(e) => {
            let remedy = "run doctor as the service's user or as root";
            return vec![Finding::problem("custody.store", format!("the store cannot be read: {e}"), remedy)];
        }
    };
    let mut found = vec![backup(read.proved, now)];
    found.extend(custodians(&read.custodians));
    if read.held_until > now {
        found.push(Finding::info(
            "custody.held",
            format!("since the restore of a backup nothing is destroyed, for another {}", span(read.held_until - now)),
            "repeat what was changed after the backup, and cancel deletions that are not wanted, before that ends (docs/backup.md)",
        ));
    }
    if facts.beside {
        found.push(Finding::warning(
            "custody.place",
            "the secret of the root of trust lies on the same file system as the data: a copy of the disk is a copy of all keys",
            "keep it as a systemd credential (LoadCredentialEncrypted=) or on a volume of its own, and out of backups of the data",
        ));
    }
    if !read.strangers.is_empty() {
        found.push(Finding::problem(
            "tls.bindings",
            format!(
                "[[tls.client]] binds {}, who does not exist: somebody else may be meant and be unbound",
                read.strangers.join(", ")
            ),
            "correct uin or secret_id (`jadeseal account list`, ListUsers, ListRoles), or remove the entry",
        ));
    }
    if read.retiring > 0 {
        found.push(Finding::warning(
            "custody.rekey",
            "a rekey has begun and not come to its end: an older root key is still in use",
            "run `jadeseal rekey --config FILE` again: it goes on where it stopped",
        ));
    }
    found
}

fn custodians(all: &[Custodian]) -> Vec<Finding> {
    let names = |of: &[&Custodian]| of.iter().map(|c| c.slot.as_str()).collect::<Vec<_>>().join(", ");
    let (complete, partial): (Vec<_>, Vec<_>) = all.iter().partition(|custodian| custodian.complete);
    let mut found = vec![match complete.as_slice() {
        _ if all.is_empty() => Finding::problem(
            "custody.custodians",
            "no sealed copy of the root key is in the store",
            "restore a backup into a new data directory (`jadeseal restore FILE --data-dir DIR --root KIND:VALUE`)",
        ),
        [] | [_] => Finding::warning(
            "custody.custodians",
            format!("the root key has {} custodian: if his secret is lost, so is every key", complete.len().max(1)),
            "`jadeseal custody add --config FILE SLOT KIND:VALUE`, and keep what opens it at another place",
        ),
        more => {
            Finding::ok("custody.custodians", format!("{} custodians of the root key: {}", more.len(), names(more)))
        }
    }];
    if !partial.is_empty() {
        found.push(Finding::warning(
            "custody.complete",
            format!("not every root key version is sealed by {}: he could not open everything", names(&partial)),
            "run `jadeseal rekey --config FILE` again where one has not ended; else `jadeseal custody remove --config FILE SLOT` \
             and `jadeseal custody add` him anew",
        ));
    }
    found
}

fn backup(proved: Option<i64>, now: i64) -> Finding {
    const REMEDY: &str = "make a backup (`jadeseal backup --config FILE --out FILE`), keep it away from this machine, and prove it \
                          regularly (`jadeseal restore FILE --prove --config FILE`)";
    match proved.map(|proved| now - proved) {
        None => Finding::warning(
            "custody.backup",
            "no backup was ever proved: none is known from which the keys could be restored",
            REMEDY,
        ),
        Some(age) if age > PROOF_LASTS => {
            Finding::warning("custody.backup", format!("the last backup that was proved is {} old", span(age)), REMEDY)
        }
        Some(age) if age < -86_400 => Finding::warning(
            "custody.backup",
            "the last proof of a backup lies in the future: a clock was wrong",
            REMEDY,
        ),
        Some(age) => Finding::ok("custody.backup", format!("a backup was proved {} ago", span(age.max(0)))),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, testing::level},
        *,
    };

    fn custodian(slot: &str, complete: bool) -> Custodian {
        Custodian {
            slot: slot.to_owned(),
            kind: "file".to_owned(),
            about: String::new(),
            versions: vec![1],
            since: 0,
            complete,
        }
    }

    fn facts(slots: &[&str], retiring: usize, proved: Option<i64>, beside: bool) -> Facts {
        let custodians = slots.iter().map(|slot| custodian(slot, true)).collect();
        Facts { read: Ok(Read { custodians, retiring, proved, held_until: 0, strangers: Vec::new() }), beside }
    }

    #[test]
    fn who_could_still_open_the_keys() {
        let now = 100 * 86_400;
        let good = check(&facts(&["a", "b"], 0, Some(now - 3600), false), now);
        assert!(good.len() == 2 && good.iter().all(|f| f.level == Level::Ok), "{good:#?}");
        let bad = check(&facts(&["main"], 1, None, true), now);
        for name in ["custody.backup", "custody.custodians", "custody.place", "custody.rekey"] {
            assert_eq!(level(&bad, name).0, Level::Warning, "{name}");
        }
        assert!(level(&bad, "custody.backup").1.contains("no backup was ever proved"));
        assert!(level(&bad, "custody.custodians").1.contains("jadeseal custody add"));
        assert_eq!(level(&check(&facts(&[], 0, None, false), now), "custody.custodians").0, Level::Problem);
    }

    #[test]
    fn a_custodian_who_does_not_hold_everything_is_none() {
        let found = custodians(&[custodian("a", true), custodian("b", false)]);
        assert_eq!(level(&found, "custody.custodians").0, Level::Warning);
        let (is, text) = level(&found, "custody.complete");
        assert!(is == Level::Warning && text.contains("sealed by b"), "{text}");
        let found = custodians(&[custodian("a", true), custodian("b", true), custodian("c", false)]);
        assert_eq!(level(&found, "custody.custodians").0, Level::Ok);
        assert_eq!(level(&found, "custody.complete").0, Level::Warning);
    }

    #[test]
    fn a_hold_after_a_restore_is_told_until_it_ends() {
        let mut facts = facts(&["a", "b"], 0, Some(5), false);
        facts.read.as_mut().unwrap().held_until = 1000;
        let (is, text) = level(&check(&facts, 700), "custody.held");
        assert!(is == Level::Info && text.contains("5 minutes"), "{text}");
        assert!(check(&facts, 1000).iter().all(|f| f.check != "custody.held"));
    }

    #[test]
    fn a_slip_in_a_binding_is_a_problem() {
        let mut facts = facts(&["a", "b"], 0, Some(5), false);
        facts.read.as_mut().unwrap().strangers = vec!["17".to_owned()];
        assert_eq!(level(&check(&facts, 6), "tls.bindings").0, Level::Problem);
    }

    #[test]
    fn a_proof_grows_old() {
        let now = 100 * 86_400;
        for (proved, expected) in [
            (now, Level::Ok),
            (now + 60, Level::Ok),
            (now - 29 * 86_400, Level::Ok),
            (now - 31 * 86_400, Level::Warning),
            (now + 2 * 86_400, Level::Warning),
        ] {
            assert_eq!(backup(Some(proved), now).level, expected, "{proved}");
        }
    }
}
