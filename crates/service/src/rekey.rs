//! `jadeseal rekey`: a new root key under every account's domain key, while the service runs.
//!
//! The steps are each one transaction, and each can be the last before a crash: running it again goes on
//! where it stopped. A root key version is dropped only when the store finds no row under it any more.

use crate::{
    certify,
    clock::Clock,
    records::of_command,
    vault::{borrowed, domain_record, domain_row, records, root_row},
};
use jadeseal_crypto::wrap;
use jadeseal_root::{Keyring, RootRecord, Seal, SealSource};
use jadeseal_store::{DomainRow, RootRow, RootState, Store, StoreError};
use jadeseal_types::{ApiError, Suite, error::Result};

/// Domain keys re-wrapped in one go.
const BATCH: u64 = 100;

/// What a rekey has done.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Root key version that everything is under now.
    pub version: u32,
    /// What wraps the domain keys from now on.
    pub suite: Suite,
    /// Domain keys that were re-wrapped in this run.
    pub rewrapped: u64,
    /// Root key versions that were dropped in this run.
    pub dropped: Vec<u32>,
    /// True when an interrupted earlier run was finished instead of a new one begun.
    pub resumed: bool,
}

/// Custodians beside the one that the configuration names.
#[derive(Clone, Copy, Default)]
pub struct Others<'a> {
    /// Those that take the new version over.
    pub custodians: &'a [SealSource],
    /// Slots that the new version does not get.
    pub dropped: &'a [String],
}

/// [`rekey_with`] where there are no other custodians.
pub async fn rekey(
    store: &dyn Store,
    from: &SealSource,
    to: Option<&SealSource>,
    suite: Option<Suite>,
    clock: &dyn Clock,
) -> Result<Report> {
    rekey_with(store, from, to, Others::default(), suite, clock).await
}

/// Replaces the root key. `from` opens what is there and seals the new version too, unless `to` names
/// another root of trust for that (a missing key file is made). What an interrupted run has left is
/// finished first; a `to` that it did not know of is served by a run of its own behind it. The new version is sealed,
/// and the domain keys are wrapped, with `suite`, but never with AES-256 after a version that was sealed with SM4.
///
/// The new version is sealed by every custodian of the current one: sealing takes his secret, so whoever is not among
/// `others` has to be dropped by name, or nothing is begun. Nobody loses his key by an oversight.
pub async fn rekey_with(
    store: &dyn Store,
    from: &SealSource,
    to: Option<&SealSource>,
    others: Others<'_>,
    suite: Option<Suite>,
    clock: &dyn Clock,
) -> Result<Report> {
    let audit_record = |version, what| audit_record(clock, version, what);
    let rows = store.root_rows().await.map_err(ApiError::internal)?;
    let stored = records(&rows);
    let seals = from.open(&stored).map_err(ApiError::internal)?;
    let mut of_others = Vec::new();
    for custodian in others.custodians {
        of_others.extend(custodian.open(&stored).map_err(ApiError::internal)?);
    }
    let plain: Vec<&dyn Seal> = seals.iter().chain(&of_others).map(AsRef::as_ref).collect();
    // What is missing is told before a key file is made. A `to` that has to be made opens nothing yet.
    let of_to = to.map(|to| to.open(&stored).unwrap_or_default()).unwrap_or_default();
    let known: Vec<&dyn Seal> = plain.iter().copied().chain(of_to.iter().map(AsRef::as_ref)).collect();
    let suite = suite_of(&stored, suite);
    let keyring = Keyring::unlock(&known, &stored, suite).map_err(ApiError::internal)?;
    let current: Vec<RootRecord> = stored.iter().filter(|r| r.version == keyring.current()).cloned().collect();
    heirs(&keyring, &current, &borrowed(&seals), &known, to.is_some(), others.dropped)?;
    two_slots(&keyring, &current, &borrowed(&seals), &borrowed(&of_to))?;
    let new_seal = to.map(SealSource::create).transpose().map_err(ApiError::internal)?;

    let mut report = Report { version: keyring.current(), suite, rewrapped: 0, dropped: Vec::new(), resumed: false };
    if rows.iter().any(|r| r.state == RootState::Retiring) {
        report.resumed = true;
        finish(store, &keyring, &mut report, clock).await?;
    }
    let by_to: Vec<&dyn Seal> = of_to.iter().map(AsRef::as_ref).collect();
    let already_there = to.is_none() || Keyring::unlock(&by_to, &current, suite).is_ok();
    if report.resumed && already_there {
        return Ok(report);
    }
    let heirs = heirs(&keyring, &current, &borrowed(&seals), &known, to.is_some(), others.dropped)?;
    let mut made = Vec::with_capacity(heirs.len());
    for (slot, seal) in heirs {
        let seal = match (seal, &new_seal) {
            (Some(seal), _) => seal,
            (None, Some(new)) => new.as_ref(),
            (None, None) => return Err(ApiError::internal(format!("nothing seals the slot {slot}"))),
        };
        let record = match made.first() {
            None => keyring.add_version(seal, slot),
            Some(_) => keyring.add_slot(keyring.current(), seal, slot),
        };
        let create_time = clock.now();
        made.push(RootRow { create_time, ..root_row(&record.map_err(ApiError::internal)?) });
    }
    let beside: Vec<String> = current.iter().map(|r| r.slot.clone()).collect();
    let slots = made.iter().map(|row| format!("slot/{}", row.slot)).collect();
    let audit = audit_record(keyring.current(), slots);
    store.add_root(made, &beside, Some(audit)).await.map_err(|e| match e {
        StoreError::Conflict => {
            ApiError::internal("the custodians or the root key were changed meanwhile; run it again")
        }
        e => ApiError::internal(e),
    })?;
    report.version = keyring.current();
    finish(store, &keyring, &mut report, clock).await?;
    Ok(report)
}

/// The audit record of a root key version that was made, and of one that was dropped for it.
fn audit_record(clock: &dyn Clock, version: u32, what: Vec<String>) -> Vec<u8> {
    let subjects: Vec<String> = std::iter::once(format!("rootversion/{version}")).chain(what).collect();
    of_command(clock, "Rekey", &subjects, &[], None)
}

/// Whoever is a custodian already would get a second slot, and seem to be two.
fn two_slots(keyring: &Keyring, current: &[RootRecord], from: &[&dyn Seal], to: &[&dyn Seal]) -> Result<()> {
    let (mut by_from, mut by_to) = (false, None);
    for record in current {
        let from = keyring.is_opened_by(from, record).map_err(ApiError::internal)?;
        by_from |= from;
        if !from && keyring.is_opened_by(to, record).map_err(ApiError::internal)? {
            by_to = Some(&record.slot);
        }
    }
    match by_to {
        Some(slot) if by_from => Err(ApiError::internal(format!(
            "the root of trust to move to has the slot {slot:?} already: name it in [root], and remove the old one with \
             `jadeseal custody remove`"
        ))),
        _ => Ok(()),
    }
}

/// The slots of the next version, each with what seals it; none stands for the root of trust that is moved to.
fn heirs<'a>(
    keyring: &Keyring,
    current: &'a [RootRecord],
    from: &[&dyn Seal],
    known: &[&'a dyn Seal],
    moves: bool,
    dropped: &[String],
) -> Result<Vec<(&'a str, Option<&'a dyn Seal>)>> {
    if let Some(unknown) = dropped.iter().find(|name| current.iter().all(|r| r.slot != **name)) {
        return Err(ApiError::internal(format!("there is no slot {unknown:?} to be dropped")));
    }
    let mut heirs = Vec::new();
    let mut missing = Vec::new();
    let mut moved = false;
    for record in current.iter().filter(|r| !dropped.contains(&r.slot)) {
        if moves && !moved && keyring.is_opened_by(from, record).map_err(ApiError::internal)? {
            moved = true;
            heirs.push((record.slot.as_str(), None));
            continue;
        }
        let mut opener = None;
        for seal in known {
            if opener.is_none() && keyring.is_opened_by(&[*seal], record).map_err(ApiError::internal)? {
                opener = Some(*seal);
            }
        }
        match opener {
            Some(seal) => heirs.push((record.slot.as_str(), Some(seal))),
            None => missing.push(format!("{} ({})", record.slot, record.seal_kind)),
        }
    }
    if !missing.is_empty() {
        return Err(ApiError::internal(format!(
            "custodians of the root key that are not at hand: {}; name each with --custodian KIND:VALUE, or drop its slot with \
             --drop-slot NAME: sealing a new root key takes the custodian's secret",
            missing.join(", ")
        )));
    }
    let mut opens = moves && moved;
    for (slot, _) in &heirs {
        let record = current.iter().find(|r| r.slot == *slot);
        opens |= record.is_some_and(|r| keyring.is_opened_by(from, r).unwrap_or(false));
    }
    // Where `from` opens nothing of the current version, the root of trust has been moved before.
    let had = current.iter().any(|r| keyring.is_opened_by(from, r).unwrap_or(false));
    if heirs.is_empty() || (had && !opens) {
        return Err(ApiError::internal("the slot that this configuration opens with cannot be dropped"));
    }
    Ok(heirs)
}

/// What a command is to wrap with that knows of the regions by the configuration file alone, if at all.
pub(crate) fn suite_of(stored: &[RootRecord], configured: Option<Suite>) -> Suite {
    let newest = stored.iter().max_by_key(|r| r.version);
    // Never from SM4 back to AES: `serve` may have been told of a strict region that the file does not name.
    match newest.and_then(|r| wrap::suite(&r.wrapped).ok()) {
        Some(Suite::Sm4) => Suite::Sm4,
        _ => configured.unwrap_or(Suite::Aes256),
    }
}

/// Brings every domain key under the current root key version and drops the others.
async fn finish(store: &dyn Store, keyring: &Keyring, report: &mut Report, clock: &dyn Clock) -> Result<()> {
    let audit_record = |version, what| audit_record(clock, version, what);
    let version = keyring.current();
    for old in keyring.versions().into_iter().filter(|v| *v != version) {
        loop {
            let batch = store.domains_under_root(old, BATCH).await.map_err(ApiError::internal)?;
            if batch.is_empty() {
                break;
            }
            for row in batch {
                let record = keyring.rewrap_domain(&domain_record(&row)).map_err(ApiError::internal)?;
                match store.rewrap_domain(DomainRow { revision: row.revision, ..domain_row(&record) }).await {
                    Ok(()) => report.rewrapped += 1,
                    // Another rekey was faster with this row; the next look will not find it.
                    Err(StoreError::Conflict) => {}
                    Err(e) => return Err(ApiError::internal(e)),
                }
            }
        }
        certify::rewrap(store, keyring, old).await?;
        match store.drop_root(old, Some(audit_record(version, vec![format!("droppedversion/{old}")]))).await {
            Ok(()) => report.dropped.push(old),
            Err(StoreError::NotFound) => {}
            Err(e) => return Err(ApiError::internal(e)),
        }
        keyring.forget(old).map_err(ApiError::internal)?;
    }
    Ok(())
}
