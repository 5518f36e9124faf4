//! `jadeseal rekey`: a new root key under every account's domain key, while the service runs.
//!
//! The steps are each one transaction, and each can be the last before a crash: running it again goes on
//! where it stopped. A root key version is dropped only when the store finds no row under it any more.

use crate::{
    certify,
    clock::SystemClock,
    records::of_command,
    vault::{SLOT, domain_record, domain_row, records, root_row},
};
use jadeseal_crypto::wrap;
use jadeseal_root::{Keyring, Seal, SealSource};
use jadeseal_store::{DomainRow, RootState, Store, StoreError};
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

/// Replaces the root key. `from` opens what is there and seals the new version too, unless `to` names
/// another root of trust for that (a missing key file is made). What an interrupted run has left is
/// finished first; a `to` that it did not know of is served by a run of its own behind it. The new version is sealed,
/// and the domain keys are wrapped, with `suite`, but never with AES-256 after a version that was sealed with SM4.
pub async fn rekey(
    store: &dyn Store,
    from: &SealSource,
    to: Option<&SealSource>,
    suite: Option<Suite>,
) -> Result<Report> {
    let new_seal = to.map(SealSource::create).transpose().map_err(ApiError::internal)?;
    let rows = store.root_rows().await.map_err(ApiError::internal)?;
    let stored = records(&rows);
    let seals = from.open(&stored).map_err(ApiError::internal)?;
    let of_to = to.map(|to| to.open(&stored)).transpose().map_err(ApiError::internal)?.unwrap_or_default();
    let by_to: Vec<&dyn Seal> = of_to.iter().map(AsRef::as_ref).collect();
    let all: Vec<&dyn Seal> = seals.iter().map(AsRef::as_ref).chain(by_to.iter().copied()).collect();
    let suite = suite_of(&stored, suite);
    let keyring = Keyring::unlock(&all, &stored, suite).map_err(ApiError::internal)?;
    let mut report = Report { version: keyring.current(), suite, rewrapped: 0, dropped: Vec::new(), resumed: false };
    if rows.iter().any(|r| r.state == RootState::Retiring) {
        report.resumed = true;
        finish(store, &keyring, &mut report).await?;
    }
    let current: Vec<_> = stored.iter().filter(|r| r.version == keyring.current()).cloned().collect();
    let already_there = to.is_none() || Keyring::unlock(&by_to, &current, suite).is_ok();
    if report.resumed && already_there {
        return Ok(report);
    }
    let record = match &new_seal {
        Some(seal) => keyring.add_version(seal.as_ref(), SLOT),
        // The very seal of the current version: a running service can open what it seals.
        None => keyring.add_version(current_seal(&all, &stored)?, SLOT),
    };
    report.version = keyring.current();
    let row = root_row(&record.map_err(ApiError::internal)?);
    let audit = audit_record(report.version, format!("slot/{}", row.slot));
    store.add_root(vec![row], Some(audit)).await.map_err(ApiError::internal)?;
    finish(store, &keyring, &mut report).await?;
    Ok(report)
}

/// The audit record of a root key version that was made, and of one that was dropped for it.
fn audit_record(version: u32, what: String) -> Vec<u8> {
    of_command(&SystemClock::default(), "Rekey", &[format!("rootversion/{version}"), what], &[], None)
}

/// What a command is to wrap with that knows of the regions by the configuration file alone, if at all.
pub(crate) fn suite_of(stored: &[jadeseal_root::RootRecord], configured: Option<Suite>) -> Suite {
    let newest = stored.iter().max_by_key(|r| r.version);
    // Never from SM4 back to AES: `serve` may have been told of a strict region that the file does not name.
    match newest.and_then(|r| wrap::suite(&r.wrapped).ok()) {
        Some(Suite::Sm4) => Suite::Sm4,
        _ => configured.unwrap_or(Suite::Aes256),
    }
}

/// Brings every domain key under the current root key version and drops the others.
async fn finish(store: &dyn Store, keyring: &Keyring, report: &mut Report) -> Result<()> {
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
        match store.drop_root(old, Some(audit_record(version, format!("droppedversion/{old}")))).await {
            Ok(()) => report.dropped.push(old),
            Err(StoreError::NotFound) => {}
            Err(e) => return Err(ApiError::internal(e)),
        }
        keyring.forget(old).map_err(ApiError::internal)?;
    }
    Ok(())
}

fn current_seal<'a>(seals: &[&'a dyn Seal], records: &[jadeseal_root::RootRecord]) -> Result<&'a dyn Seal> {
    let current = records.iter().max_by_key(|r| r.version);
    let fits = |seal: &&&dyn Seal| current.is_some_and(|r| r.seal_kind == seal.kind() && r.params == seal.params());
    seals.iter().find(fits).copied().ok_or_else(|| ApiError::internal("no seal opens the current root key"))
}
