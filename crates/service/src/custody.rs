//! The custodians of the root key: who can open it, each in a slot of his own. Added and removed while the service runs,
//! which needs no more than the one slot that it opened with.

use crate::{
    clock::Clock,
    records::of_command,
    rekey::suite_of,
    vault::{borrowed, domain_record, records, root_row, unlock},
};
use jadeseal_root::{Keyring, RootRecord, Seal, SealSource, shamir};
use jadeseal_store::{RootRow, RootState, Store, StoreError};
use jadeseal_types::{ApiError, Suite, error::Result};

/// Longest name of a slot, characters.
const MAX_NAME: usize = 64;

/// One custodian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custodian {
    /// Name of his slot.
    pub slot: String,
    /// Kind of his seal.
    pub kind: String,
    /// What is public of it, for people; of shares how many open and the name of the set.
    pub about: String,
    /// Root key versions that he opens, ascending.
    pub versions: Vec<u32>,
    /// When he sealed the newest of them, Unix seconds; 0: the time was not kept.
    pub since: u64,
    /// Whether he seals every version that there is.
    pub complete: bool,
}

/// Every custodian, by slot. Opens nothing.
pub async fn list(store: &dyn Store) -> Result<Vec<Custodian>> {
    let rows = store.root_rows().await.map_err(ApiError::internal)?;
    let mut versions: Vec<u32> = rows.iter().map(|row| row.version).collect();
    versions.dedup();
    let mut slots: Vec<&str> = rows.iter().map(|row| row.slot.as_str()).collect();
    slots.sort_unstable();
    slots.dedup();
    let custodian = |slot: &str| {
        let own: Vec<&RootRow> = rows.iter().filter(|row| row.slot == slot).collect();
        let newest = own.last()?;
        let about = if newest.seal_kind == "shamir" { shamir::describe_shares(&newest.params) } else { None };
        Some(Custodian {
            slot: slot.to_owned(),
            kind: newest.seal_kind.clone(),
            about: about.unwrap_or_default(),
            versions: own.iter().map(|row| row.version).collect(),
            since: newest.create_time,
            complete: own.len() == versions.len(),
        })
    };
    Ok(slots.into_iter().filter_map(custodian).collect())
}

/// The slots that a root of trust opens.
pub async fn opened_by(store: &dyn Store, source: &SealSource) -> Result<Vec<String>> {
    let stored = records(&store.root_rows().await.map_err(ApiError::internal)?);
    let seals = source.open(&stored).map_err(ApiError::internal)?;
    let keyring = Keyring::unlock(&borrowed(&seals), &stored, Suite::Aes256).map_err(ApiError::internal)?;
    slots_of(&keyring, &borrowed(&seals), &stored)
}

fn slots_of(keyring: &Keyring, seals: &[&dyn Seal], stored: &[RootRecord]) -> Result<Vec<String>> {
    let mut slots = Vec::new();
    for record in stored {
        if keyring.is_opened_by(seals, record).map_err(ApiError::internal)? {
            slots.push(record.slot.clone());
        }
    }
    slots.sort_unstable();
    slots.dedup();
    Ok(slots)
}

/// Seals every root key version for one more custodian, which `open` opens for that, and reads it back from the store.
/// What `new` names is made where it is missing (a key file, shares). `suite` as in [`crate::rekey::rekey`].
pub async fn add(
    store: &dyn Store,
    open: &SealSource,
    slot: &str,
    new: &SealSource,
    suite: Option<Suite>,
    clock: &dyn Clock,
) -> Result<()> {
    let named = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if slot.is_empty() || slot.len() > MAX_NAME || !slot.chars().all(named) {
        return Err(ApiError::internal("the name of a slot is 1 to 64 letters, digits, dots, underscores and hyphens"));
    }
    let rows = store.root_rows().await.map_err(ApiError::internal)?;
    if rows.iter().any(|row| row.slot == slot) {
        return Err(ApiError::internal(format!("there is a slot {slot:?} already")));
    }
    let stored = records(&rows);
    let keyring = unlock(open, &rows, suite_of(&stored, suite))?;
    let seal = new.create().map_err(ApiError::internal)?;
    // Two slots of one secret are one custodian, who would seem to be two.
    let known = new.open(&stored).map_err(ApiError::internal)?;
    if let Some(slot) = slots_of(&keyring, &borrowed(&known), &stored)?.first() {
        return Err(ApiError::internal(format!("this custodian has the slot {slot:?} already")));
    }
    // Rekey may replace the root key in between: then all is sealed anew.
    for _ in 0..4 {
        let rows = store.root_rows().await.map_err(ApiError::internal)?;
        let keyring = unlock(open, &rows, suite_of(&records(&rows), suite))?;
        let mut sealed = Vec::new();
        for version in keyring.versions() {
            let record = keyring.add_slot(version, seal.as_ref(), slot).map_err(ApiError::internal)?;
            sealed.push(RootRow { state: RootState::Current, create_time: clock.now(), ..root_row(&record) });
        }
        let subjects = [format!("slot/{slot}"), format!("kind/{}", new.kind())];
        let record = of_command(clock, "AddCustodian", &subjects, &[], None);
        match store.add_root_slot(sealed, Some(record)).await {
            Ok(()) => return prove(store, slot, new).await.map(drop),
            Err(StoreError::Conflict) => {}
            Err(e) => return Err(ApiError::internal(e)),
        }
    }
    Err(ApiError::internal("the slot could not be added while the root key is being replaced"))
}

/// Removes a custodian: what he has sealed is forgotten. Never the last one; and the last one that `own`, the root of trust
/// of the configuration, opens only with `force`, since the service could not start again. Where `own` cannot be opened at
/// all, `force` is needed too. False when there is no such slot.
///
/// A custodian who has a copy of the store (a backup) and his secret still opens that copy; [`crate::rekey`] ends that for
/// what is made from then on.
pub async fn remove(store: &dyn Store, own: &SealSource, slot: &str, force: bool, clock: &dyn Clock) -> Result<bool> {
    if !force {
        let slots = opened_by(store, own).await?;
        if slots.iter().all(|opened| opened == slot) {
            return Err(ApiError::internal(format!(
                "the service opens the root key with the slot {slot:?}, and with no other; change [root] in its configuration \
                 to another custodian first, or force it"
            )));
        }
    }
    let record = of_command(clock, "RemoveCustodian", &[format!("slot/{slot}")], &[], None);
    match store.drop_root_slot(slot, Some(record)).await {
        Ok(()) => Ok(true),
        Err(StoreError::NotFound) => Ok(false),
        Err(StoreError::Conflict) => Err(ApiError::internal(format!(
            "{slot:?} is the last slot of a root key version: nothing could open it any more"
        ))),
        Err(e) => Err(ApiError::internal(e)),
    }
}

/// What a proof has opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Root key versions, ascending.
    pub versions: Vec<u32>,
    /// Domain keys under them.
    pub domains: u64,
}

/// Opens every root key version by one slot and one custodian alone, and with it every domain key: so it is the key that
/// everything lies under.
pub async fn prove(store: &dyn Store, slot: &str, custodian: &SealSource) -> Result<Proof> {
    let rows = store.root_rows().await.map_err(ApiError::internal)?;
    let stored = records(&rows);
    let own: Vec<RootRecord> = stored.iter().filter(|record| record.slot == slot).cloned().collect();
    if own.is_empty() {
        return Err(ApiError::internal(format!("there is no slot {slot:?}")));
    }
    let seals = custodian.open(&own).map_err(ApiError::internal)?;
    let keyring = Keyring::unlock(&borrowed(&seals), &own, Suite::Aes256).map_err(ApiError::internal)?;
    let mut versions: Vec<u32> = stored.iter().map(|record| record.version).collect();
    versions.dedup();
    if keyring.versions() != versions {
        return Err(ApiError::internal(format!("the slot {slot:?} does not hold every root key version")));
    }
    let mut domains = 0;
    for account in store.accounts().await.map_err(ApiError::internal)? {
        for row in store.domains(account.account).await.map_err(ApiError::internal)? {
            // A rekey may be moving it at this moment.
            if keyring.versions().contains(&row.root_version) {
                keyring.open_domain(&domain_record(&row)).map_err(ApiError::internal)?;
                domains += 1;
            }
        }
    }
    Ok(Proof { versions, domains })
}
