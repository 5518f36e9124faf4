//! Proving that a backup restores: into a scratch directory, with everything opened.

use super::{
    DEPLOYMENT, LAST_PROVED, content,
    content::{Contents, Manifest},
    scratch::Scratch,
    walk,
};
use crate::{
    clock::Clock,
    records::record,
    vault::{Vault, borrowed, records},
};
use jadeseal_backup::{Reader, Unlock};
use jadeseal_root::{Keyring, Seal, SealSource};
use jadeseal_store::{Options, SqliteStore, Store};
use jadeseal_types::{ApiError, Suite, error::Result};
use std::{path::Path, sync::Arc};

/// What a proof found.
#[derive(Debug)]
pub struct Proof {
    /// What the backup says of itself.
    pub manifest: Manifest,
    /// Key versions that opened.
    pub versions: u64,
    /// Access keys that opened.
    pub access_keys: u64,
    /// Canaries that decrypted.
    pub canaries: u64,
    /// Accounts without a canary, having no enabled symmetric CMK.
    pub without_canary: Vec<u64>,
    /// CMKs whose deletion was due at the time of the proof.
    pub due_for_deletion: u64,
    /// What is not as it was or does not open; empty when all is well. At most some thousand are told.
    pub differences: Vec<String>,
}

/// Restores a backup into a private directory within `scratch`, which is removed, and opens everything in it. `open_with` is
/// needed where the backup was made without the root key, and tried first where it is given. `now` in Unix seconds.
pub async fn prove(
    archive: &Path,
    unlock: &Unlock<'_>,
    open_with: Option<&SealSource>,
    scratch: &Path,
    now: u64,
) -> Result<Proof> {
    let scratch = Scratch::make(scratch)?;
    let database = scratch.file("jadeseal.db");
    let reader = Reader::new(content::open(archive)?, unlock).map_err(ApiError::internal)?;
    let contents = content::unpack(reader, &database)?;
    let (store, keyring) = open(&contents, &database, open_with).await?;
    let proof = prove_store(&contents, store.clone(), keyring, now).await;
    store.close().await.map_err(ApiError::internal)?;
    proof
}

/// Checks the file, brings its tables forward where they are older, and opens the root key.
pub(super) async fn open(
    contents: &Contents,
    database: &Path,
    open_with: Option<&SealSource>,
) -> Result<(Arc<dyn Store>, Keyring)> {
    SqliteStore::check(database).map_err(ApiError::internal)?;
    let options = Options { readers: 1, ..Options::default() };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(database, options).map_err(ApiError::internal)?);
    let opened = open_root(contents, store.as_ref(), open_with).await;
    match opened {
        Ok(keyring) => Ok((store, keyring)),
        Err(e) => {
            // The error that matters is the first.
            let _ = store.close().await;
            Err(e)
        }
    }
}

async fn open_root(contents: &Contents, store: &dyn Store, open_with: Option<&SealSource>) -> Result<Keyring> {
    let stored = records(&store.root_rows().await.map_err(ApiError::internal)?);
    let suite = contents.suite;
    let keyring = match (open_with, &contents.root) {
        (Some(source), _) => {
            let seals = source.open(&stored).map_err(ApiError::internal)?;
            Keyring::unlock(&borrowed(&seals), &stored, suite)
        }
        (None, Some((seal, slots))) => Keyring::unlock(&[seal as &dyn Seal], slots, suite),
        (None, None) => {
            return Err(ApiError::internal(
                "the backup was made without the root key: name a custodian who opens it (--open-with KIND:VALUE)",
            ));
        }
    };
    let keyring = keyring.map_err(ApiError::internal)?;
    let missing = stored.iter().find(|record| !keyring.versions().contains(&record.version));
    match missing {
        None => Ok(keyring),
        Some(record) => {
            Err(ApiError::internal(format!("the backup does not open root key version {}", record.version)))
        }
    }
}

pub(super) async fn prove_store(
    contents: &Contents,
    store: Arc<dyn Store>,
    keyring: Keyring,
    now: u64,
) -> Result<Proof> {
    let suite: Suite = contents.suite;
    let vault = Vault::over(store.clone(), keyring);
    let walk = walk::open_all(store.as_ref(), &vault, suite, now).await?;
    let mut differences = walk.faults;
    walk::compare(&contents.digests, &walk.digests, &mut differences);
    let manifest = contents.manifest.clone();
    if (&walk.keys, &walk.data_keys) != (&manifest.keys, &manifest.data_keys) {
        differences.push("the numbers of keys by state are not those of the manifest".to_owned());
    }
    let accounts = store.accounts().await.map_err(ApiError::internal)?;
    let told = manifest.accounts.iter().map(|part| part.account);
    if !accounts.iter().map(|row| row.account.0).eq(told) {
        differences.push("the accounts are not those of the manifest".to_owned());
    }
    let created = manifest.created;
    let canaries = walk::open_canaries(store.as_ref(), &vault, &manifest.accounts, created, &mut differences).await?;
    let without_canary = manifest.accounts.iter().filter(|part| part.canary.is_none()).map(|part| part.account);
    Ok(Proof {
        versions: walk.versions,
        access_keys: walk.access_keys,
        canaries,
        without_canary: without_canary.collect(),
        due_for_deletion: walk.due,
        differences,
        manifest,
    })
}

/// Notes in a deployment's store that one of its backups has just been proved. An error for a backup of another deployment.
pub async fn record_proof(store: &dyn Store, proof: &Proof, clock: &dyn Clock) -> Result<()> {
    let own = store.meta_get(DEPLOYMENT).await.map_err(ApiError::internal)?;
    if own.as_deref() != Some(proof.manifest.deployment.as_bytes()) {
        return Err(ApiError::internal("the backup is of another deployment: the proof is not noted in this one"));
    }
    let subjects = [format!("deployment/{}", proof.manifest.deployment)];
    record(store, clock, "ProveBackup", &subjects, &[], None).await?;
    store.meta_put(LAST_PROVED, clock.now().to_string().as_bytes()).await.map_err(ApiError::internal)
}
