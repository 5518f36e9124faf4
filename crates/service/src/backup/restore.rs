//! Restoring a backup on a bare host.

use super::{HELD_UNTIL, Proof, Replay, content, io, name_file, prove, replay::changes_since, scratch::Scratch};
use crate::{certify, clock::Clock, custody, records, vault::root_row};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jadeseal_backup::{Reader, Unlock};
use jadeseal_root::{Keyring, Seal, SealSource};
use jadeseal_store::{RootRow, Store};
use jadeseal_types::{ApiError, error::Result};
use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt,
    path::Path,
    sync::Arc,
};

/// What to restore, and where to.
pub struct Restoring<'a> {
    /// The backup.
    pub archive: &'a Path,
    /// What opens it.
    pub unlock: &'a Unlock<'a>,
    /// The data directory: made, or empty but for the key file that `root` names.
    pub data_dir: &'a Path,
    /// Name of the database's file.
    pub database: &'a str,
    /// The custodian that this host opens the root key with; made where it is missing.
    pub root: &'a SealSource,
    /// Name of his slot; none for `restored`, or the next free name.
    pub slot: Option<&'a str>,
    /// A custodian who opens the root key in the backup, where the backup does not by itself.
    pub open_with: Option<&'a SealSource>,
    /// How long nothing is destroyed after the restore, seconds.
    pub hold: u64,
    /// The old audit log will be put beside the database before the first start, to be continued. Otherwise another one
    /// begins.
    pub keep_log: bool,
    /// A copy of the audit log, to tell what was changed after the backup.
    pub audit: Option<&'a Path>,
    /// What tells the time.
    pub clock: &'a dyn Clock,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// What was proved of it, as it now is.
    pub proof: Proof,
    /// Slot of this host's custodian.
    pub slot: String,
    /// Until when nothing is destroyed, Unix seconds.
    pub held_until: u64,
    /// What was changed after the backup; none where no log was given, or why the log does not tell.
    pub replay: Option<Result<Replay, String>>,
}

/// Restores a backup. The database gets its name as the last step, when everything in it has been opened by the custodian
/// of this host; on an error nothing is left but a key file or shares that were made.
///
/// Other custodians keep their slots. What is due for deletion is not destroyed before `hold` has passed.
pub async fn restore(request: Restoring<'_>) -> Result<Restored> {
    bare(&request)?;
    let scratch = Scratch::make(request.data_dir)?;
    let database = scratch.file("restored.db");
    let reader = Reader::new(content::open(request.archive)?, request.unlock).map_err(ApiError::internal)?;
    let contents = content::unpack(reader, &database)?;
    let (store, keyring) = prove::open(&contents, &database, request.open_with).await?;
    let done = settle(&request, &contents, &store, keyring).await;
    let closed = store.close().await;
    let (proof, slot, held_until) = done?;
    closed.map_err(ApiError::internal)?;
    if let Some(first) = proof.differences.first() {
        let more = proof.differences.len() - 1;
        return Err(ApiError::internal(format!("the backup does not restore: {first} (and {more} more)")));
    }
    let replay = request.audit.map(|log| match &contents.manifest.audit {
        None => Err("the backup does not say where the audit log was".to_owned()),
        Some(head) => changes_since(log, head).map_err(|e| e.internal_cause().unwrap_or_default().to_owned()),
    });
    settled(&database)?;
    let named = request.data_dir.join(request.database);
    File::open(&database).and_then(|file| file.sync_all()).map_err(io("flush", &database))?;
    name_file(&database, &named)?;
    Ok(Restored { proof, slot, held_until, replay })
}

/// The file has everything: nothing of it is left in a log beside it, which would not come along.
fn settled(database: &Path) -> Result<()> {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    match fs::metadata(Path::new(&log)) {
        Ok(meta) if meta.len() > 0 => Err(ApiError::internal("the restored database was not closed properly")),
        _ => Ok(()),
    }
}

/// Nothing may be there that a restore could be mistaken for, or spoil.
fn bare(request: &Restoring<'_>) -> Result<()> {
    let dir = request.data_dir;
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io("make", dir))?;
    let own_key = |path: &Path| matches!(request.root, SealSource::File { path: key } if key == path);
    for entry in fs::read_dir(dir).map_err(io("read", dir))? {
        let path = entry.map_err(io("read", dir))?.path();
        if !own_key(&path) {
            return Err(ApiError::internal(format!(
                "{} is not empty ({}): a backup is restored into a new data directory",
                dir.display(),
                path.display()
            )));
        }
    }
    Ok(())
}

/// The host's own slot, the hold, and the proof by the host's custodian.
async fn settle(
    request: &Restoring<'_>,
    contents: &content::Contents,
    store: &Arc<dyn Store>,
    keyring: Keyring,
) -> Result<(Proof, String, u64)> {
    let held_until = request.clock.now().saturating_add(request.hold);
    store.meta_put(HELD_UNTIL, held_until.to_string().as_bytes()).await.map_err(ApiError::internal)?;
    let seal = request.root.create().map_err(ApiError::internal)?;
    let slot = own_slot(request, store.as_ref(), &keyring, seal.as_ref()).await?;
    // By this custodian alone, from what is stored.
    custody::prove(store.as_ref(), &slot, request.root).await?;
    let rows = store.root_rows().await.map_err(ApiError::internal)?;
    let keyring = crate::vault::unlock(request.root, &rows, contents.suite)?;
    let proof = prove::prove_store(contents, store.clone(), keyring, request.clock.now()).await?;
    // One name must never have two histories.
    match (request.keep_log, &contents.manifest.audit) {
        (false, _) => certify::forget_log(store.as_ref()).await?,
        (true, None) => {}
        (true, Some(head)) => {
            let checkpoint = head.checkpoint.as_deref().map(|text| BASE64_STANDARD.decode(text)).transpose();
            let checkpoint = checkpoint.map_err(ApiError::internal)?;
            certify::expect_log(store.as_ref(), head.next_index, checkpoint.as_deref()).await?;
        }
    }
    let subjects =
        [format!("deployment/{}", contents.manifest.deployment), format!("slot/{slot}"), format!("held/{held_until}")];
    records::record(store.as_ref(), request.clock, "RestoreBackup", &subjects, &[], None).await?;
    Ok((proof, slot, held_until))
}

async fn own_slot(request: &Restoring<'_>, store: &dyn Store, keyring: &Keyring, seal: &dyn Seal) -> Result<String> {
    // He may have had a slot when the backup was made.
    if let Ok(slots) = custody::opened_by(store, request.root).await
        && let Some(slot) = slots.into_iter().next()
    {
        return Ok(slot);
    }
    let listed = custody::list(store).await?;
    let taken = |name: &str| listed.iter().any(|custodian| custodian.slot == name);
    let numbered = (2..).map(|n| format!("restored-{n}"));
    let free = std::iter::once("restored".to_owned()).chain(numbered).find(|name| !taken(name));
    let slot = request.slot.map(str::to_owned).or(free).unwrap_or_default();
    if taken(&slot) {
        return Err(ApiError::internal(format!("there is a slot {slot:?} in the backup already: choose another name")));
    }
    let mut rows = Vec::new();
    for version in keyring.versions() {
        let record = keyring.add_slot(version, seal, &slot).map_err(ApiError::internal)?;
        rows.push(RootRow { create_time: request.clock.now(), ..root_row(&record) });
    }
    store.add_root_slot(rows, None).await.map_err(ApiError::internal)?;
    Ok(slot)
}
