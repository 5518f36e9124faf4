//! Whether the keys would survive a loss: of the root of trust, of its custodian, of the disk.

use super::{Finding, span};
use crate::{
    bindings,
    config::{Config, RootConf},
    metrics::unix_seconds,
    wiring,
};
use jadeseal_store::RootState;
use std::{os::unix::fs::MetadataExt as _, path::Path};

/// How long a proof of a backup is worth something, seconds.
const PROOF_LASTS: i64 = 30 * 86_400;

pub struct Facts {
    read: Result<Read, String>,
    /// The root key file lies on the same file system as the data.
    beside: bool,
}

struct Read {
    /// Names of the copies of the current root key.
    slots: Vec<String>,
    /// Root keys that something is still wrapped under.
    retiring: usize,
    proved: Option<i64>,
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
        let rows = store.root_rows().await?;
        let proved = store.meta_get(jadeseal_service::backup::LAST_PROVED).await?;
        let current = rows.iter().filter(|row| row.state == RootState::Current);
        let mut retiring: Vec<_> =
            rows.iter().filter(|row| row.state != RootState::Current).map(|row| row.version).collect();
        retiring.dedup();
        Ok::<_, jadeseal_store::StoreError>(Read {
            slots: current.map(|row| row.slot.clone()).collect(),
            retiring: retiring.len(),
            proved: unix_seconds(proved.as_deref()),
            strangers: bindings::strangers(config, store.as_ref()).await?,
        })
    };
    let read = read.await.map_err(|e| e.to_string());
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
    found.push(match read.slots.as_slice() {
        [] => Finding::problem(
            "custody.custodians",
            "no sealed copy of the root key is in the store",
            "restore the backup",
        ),
        [one] => Finding::warning(
            "custody.custodians",
            format!("the root key has a single sealed copy ({one}): who loses what opens it has lost every key"),
            "give a second custodian a copy of his own, and keep what opens it at another place",
        ),
        slots => Finding::ok("custody.custodians", format!("{} sealed copies of the root key", slots.len())),
    });
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

fn backup(proved: Option<i64>, now: i64) -> Finding {
    const REMEDY: &str = "make a backup and prove it by `jadeseal backup verify`, away from this machine and regularly";
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

    fn facts(slots: &[&str], retiring: usize, proved: Option<i64>, beside: bool) -> Facts {
        let slots = slots.iter().map(|s| (*s).to_owned()).collect();
        Facts { read: Ok(Read { slots, retiring, proved, strangers: Vec::new() }), beside }
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
        assert_eq!(level(&check(&facts(&[], 0, None, false), now), "custody.custodians").0, Level::Problem);
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
