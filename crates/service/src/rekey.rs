//! `jadeseal rekey`: a new root key under every account's domain key, while the service runs.
//!
//! The steps are each one transaction, and each can be the last before a crash: running it again goes on
//! where it stopped. A root key version is dropped only when the store finds no row under it any more.

use crate::vault::{SLOT, domain_record, domain_row, records, root_row};
use jadeseal_root::{Keyring, Seal, SealSource};
use jadeseal_store::{DomainRow, RootState, Store, StoreError};
use jadeseal_types::{ApiError, error::Result};

/// Domain keys re-wrapped in one go.
const BATCH: u64 = 100;

/// What a rekey has done.
#[derive(Debug, PartialEq, Eq)]
pub struct Report {
    /// Root key version that everything is under now.
    pub version: u32,
    /// Domain keys that were re-wrapped in this run.
    pub rewrapped: u64,
    /// Root key versions that were dropped in this run.
    pub dropped: Vec<u32>,
    /// True when an interrupted earlier run was finished instead of a new one begun.
    pub resumed: bool,
}

/// Replaces the root key. `from` opens what is there and seals the new version too, unless `to` names
/// another root of trust for that.
pub async fn rekey(store: &dyn Store, from: &SealSource, to: Option<&SealSource>) -> Result<Report> {
    let rows = store.root_rows().await.map_err(ApiError::internal)?;
    let records = records(&rows);
    let mut seals = from.open(&records).map_err(ApiError::internal)?;
    if let Some(to) = to {
        // What an interrupted run has sealed already.
        seals.extend(to.open(&records).map_err(ApiError::internal)?);
    }
    let borrowed: Vec<&dyn Seal> = seals.iter().map(AsRef::as_ref).collect();
    let keyring = Keyring::unlock(&borrowed, &records).map_err(ApiError::internal)?;
    let resumed = rows.iter().any(|r| r.state == RootState::Retiring);
    if !resumed {
        let record = match to {
            Some(to) => keyring.add_version(to.create().map_err(ApiError::internal)?.as_ref(), SLOT),
            // The very seal of the current version: a running service can open what it seals.
            None => keyring.add_version(current_seal(&borrowed, &records)?, SLOT),
        };
        let record = record.map_err(ApiError::internal)?;
        store.add_root(vec![root_row(&record)]).await.map_err(ApiError::internal)?;
    }
    let version = keyring.current();
    let mut rewrapped = 0;
    let mut dropped = Vec::new();
    for old in keyring.versions().into_iter().filter(|v| *v != version) {
        loop {
            let batch = store.domains_under_root(old, BATCH).await.map_err(ApiError::internal)?;
            if batch.is_empty() {
                break;
            }
            for row in batch {
                let record = keyring.rewrap_domain(&domain_record(&row)).map_err(ApiError::internal)?;
                match store.rewrap_domain(DomainRow { revision: row.revision, ..domain_row(&record) }).await {
                    Ok(_) => rewrapped += 1,
                    // Another rekey was faster with this row; the next look will not find it.
                    Err(StoreError::Conflict) => {}
                    Err(e) => return Err(ApiError::internal(e)),
                }
            }
        }
        match store.drop_root(old).await {
            Ok(()) => dropped.push(old),
            Err(StoreError::NotFound) => {}
            Err(e) => return Err(ApiError::internal(e)),
        }
    }
    Ok(Report { version, rewrapped, dropped, resumed })
}

fn current_seal<'a>(seals: &[&'a dyn Seal], records: &[jadeseal_root::RootRecord]) -> Result<&'a dyn Seal> {
    let current = records.iter().max_by_key(|r| r.version);
    let fits = |seal: &&&dyn Seal| current.is_some_and(|r| r.seal_kind == seal.kind() && r.params == seal.params());
    seals.iter().find(fits).copied().ok_or_else(|| ApiError::internal("no seal opens the current root key"))
}
