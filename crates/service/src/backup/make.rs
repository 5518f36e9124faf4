//! Making a backup.

use super::{
    DEPLOYMENT, Proof,
    content::{self, AuditHead, BACKUP, DATABASE, DIGESTS, FORMAT, MANIFEST, Manifest, ROOT},
    io, name_file, prove,
    scratch::Scratch,
    walk,
};
use crate::{
    clock::Clock,
    records,
    rekey::suite_of,
    vault::{self, Vault, unlock},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jadeseal_backup::{LockTo, Reader, Unlock, Writer};
use jadeseal_root::{KeySeal, RootRecord, SealSource};
use jadeseal_store::{Options, SqliteStore, Store};
use jadeseal_types::{ApiError, SecretBytes, Suite, error::Result};
use rustix::fs::FlockOperation;
use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest checkpoint file that is taken along, bytes.
const MAX_CHECKPOINT: u64 = 64 * 1024;

/// What to back up, and where to.
pub struct Request<'a> {
    /// The deployment's store, which a service may be using.
    pub store: &'a dyn Store,
    /// Its root of trust.
    pub root: &'a SealSource,
    /// What wraps, as in [`crate::rekey::rekey`]; seals the archive too.
    pub suite: Option<Suite>,
    /// A directory for two copies of the database meanwhile, one after the other.
    pub scratch: &'a Path,
    /// The audit log's directory.
    pub audit: &'a Path,
    /// The file to make.
    pub out: &'a Path,
    /// What closes it.
    pub lock: LockTo<'a>,
    /// Whether the root key goes along.
    pub with_root: bool,
    /// What tells the time.
    pub clock: &'a dyn Clock,
}

/// Makes a backup, reads it back and proves it. The file has its name when this returns without an error, and not before;
/// what the proof found is in its [`Proof::differences`].
pub async fn make(request: Request<'_>) -> Result<Proof> {
    if request.out.symlink_metadata().is_ok() {
        return Err(ApiError::internal(format!("{} exists", request.out.display())));
    }
    let scratch = Scratch::make(request.scratch)?;
    let snapshot = scratch.file("snapshot.db");
    let deployment = deployment(request.store).await?;
    // Before the copy: a change in between is then among the records to look at again, rather than lost.
    let audit = audit_head(request.audit);
    request.store.snapshot(&snapshot).await.map_err(ApiError::internal)?;
    let (mut parts, suite) = survey(&request, &snapshot, deployment, audit).await?;
    parts.manifest.database_bytes = fs::metadata(&snapshot).map_err(io("look at", &snapshot))?.len();

    let partial = Partial::new(request.out)?;
    let key = write(&partial, &parts, &snapshot, suite, &request.lock)?;
    fs::remove_file(&snapshot).map_err(io("remove", &snapshot))?;
    drop(parts);

    let read_back = scratch.file("read-back.db");
    let reader = Reader::new(content::open(&partial.path)?, &Unlock::ContentKey(&key)).map_err(ApiError::internal)?;
    let contents = content::unpack(reader, &read_back)?;
    let open_with = if request.with_root { None } else { Some(request.root) };
    let (store, keyring) = prove::open(&contents, &read_back, open_with).await?;
    let proof = prove::prove_store(&contents, store.clone(), keyring, request.clock.now()).await;
    store.close().await.map_err(ApiError::internal)?;
    let proof = proof?;
    partial.keep(request.out)?;
    let subjects = [format!("deployment/{}", proof.manifest.deployment)];
    let noted = records::record(request.store, request.clock, "CreateBackup", &subjects, &[], None).await;
    if let Err(e) = noted {
        // A store that takes no writes any more needs its backup all the same.
        tracing::warn!(cause = e.internal_cause().unwrap_or(""), "that a backup was made could not be recorded");
    }
    Ok(proof)
}

/// What goes into the archive beside the database.
struct Parts {
    manifest: Manifest,
    digests: Vec<u8>,
    root: Option<SecretBytes>,
}

async fn survey(
    request: &Request<'_>,
    snapshot: &Path,
    deployment: String,
    audit: Option<AuditHead>,
) -> Result<(Parts, Suite)> {
    let options = Options { readers: 1, migrate: false, ..Options::default() };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(snapshot, options).map_err(ApiError::internal)?);
    let rows = store.root_rows().await.map_err(ApiError::internal)?;
    let suite = suite_of(&vault::records(&rows), request.suite);
    let keyring = unlock(request.root, &rows, suite)?;
    let root = if request.with_root {
        let key = jadeseal_crypto::random::secret(32).map_err(ApiError::internal)?;
        let seal = KeySeal::new(BACKUP, &key).map_err(ApiError::internal)?;
        let slots: Result<Vec<RootRecord>, _> =
            keyring.versions().into_iter().map(|version| keyring.add_slot(version, &seal, BACKUP)).collect();
        Some(content::encode_root(&key, &slots.map_err(ApiError::internal)?))
    } else {
        None
    };
    let vault = Vault::over(store.clone(), keyring);
    let walk = walk::survey(store.as_ref(), &vault, suite, request.clock.now()).await?;
    let manifest = Manifest {
        format: FORMAT,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        schema: store.schema_version().await.map_err(ApiError::internal)?,
        created: request.clock.now(),
        deployment,
        root_key: request.with_root,
        accounts: walk.accounts,
        keys: walk.keys,
        data_keys: walk.data_keys,
        database_bytes: 0,
        audit,
    };
    store.close().await.map_err(ApiError::internal)?;
    let digests = walk.digests.iter().flat_map(|(id, digest)| id.iter().chain(digest)).copied().collect();
    Ok((Parts { manifest, digests, root }, suite))
}

/// Writes the archive and flushes it; answers with its content key.
fn write(to: &Partial, parts: &Parts, database: &Path, suite: Suite, lock: &LockTo<'_>) -> Result<SecretBytes> {
    let failed = io("write", &to.path);
    let out = BufWriter::with_capacity(256 * 1024, &to.file);
    let mut out = Writer::new(out, suite, lock).map_err(ApiError::internal)?;
    let manifest = serde_json::to_vec(&parts.manifest).map_err(ApiError::internal)?;
    let mut put = |tag, bytes: &[u8]| {
        content::section(&mut out, tag, bytes.len() as u64).and_then(|()| out.write_all(bytes)).map_err(&failed)
    };
    put(MANIFEST, &manifest)?;
    put(DIGESTS, &parts.digests)?;
    if let Some(root) = &parts.root {
        put(ROOT, root.expose())?;
    }
    content::section(&mut out, DATABASE, parts.manifest.database_bytes).map_err(&failed)?;
    let mut database = File::open(database).map_err(io("open", database))?;
    std::io::copy(&mut database, &mut out).map_err(&failed)?;
    let (out, opened) = out.finish().map_err(ApiError::internal)?;
    let file = out.into_inner().map_err(|e| failed(e.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(SecretBytes::copy_from(opened.content_key().expose()))
}

/// The deployment's name, made where it has none.
async fn deployment(store: &dyn Store) -> Result<String> {
    if let Some(known) = store.meta_get(DEPLOYMENT).await.map_err(ApiError::internal)? {
        return String::from_utf8(known).map_err(|_| ApiError::internal("the name of the deployment is malformed"));
    }
    let fresh = jadeseal_crypto::random::identifier().map_err(ApiError::internal)?;
    let name: String = fresh.iter().take(16).map(|b| format!("{b:02x}")).collect();
    store.meta_put(DEPLOYMENT, name.as_bytes()).await.map_err(ApiError::internal)?;
    Ok(name)
}

/// Where the log is now. A log that cannot be read does not keep a backup from being made.
fn audit_head(dir: &Path) -> Option<AuditHead> {
    if !dir.is_dir() {
        return None;
    }
    let next_index = jadeseal_audit::next_index(dir)
        .inspect_err(
            |e| tracing::error!(error = %e, "the backup does not say where the audit log was: it cannot be read"),
        )
        .ok()?;
    let path = dir.join("checkpoint");
    let small = fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_CHECKPOINT);
    let checkpoint = small.then(|| fs::read(&path).ok()).flatten().map(|bytes| BASE64_STANDARD.encode(bytes));
    Some(AuditHead { next_index, checkpoint })
}

/// The file under another name until it is whole; removed unless it is kept.
struct Partial {
    path: PathBuf,
    /// Locked: another run for the same name leaves it alone.
    file: File,
    kept: bool,
}

impl Partial {
    fn new(out: &Path) -> Result<Self> {
        let mut name = out.file_name().ok_or_else(|| ApiError::internal("the backup needs a file name"))?.to_owned();
        name.push(".partial");
        let path = out.with_file_name(name);
        let make = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = make().or_else(|e| match e.kind() {
            // Of a run that was killed, or of one that is at work.
            std::io::ErrorKind::AlreadyExists => {
                let old = File::open(&path)?;
                claim(&old, &path)?;
                // Its lock is held until it is gone, so nobody else takes the next one for it.
                fs::remove_file(&path)?;
                make()
            }
            _ => Err(e),
        });
        let file = file.map_err(io("make", &path))?;
        claim(&file, &path).map_err(io("lock", &path))?;
        Ok(Partial { path, file, kept: false })
    }

    fn keep(mut self, out: &Path) -> Result<()> {
        name_file(&self.path, out)?;
        self.kept = true;
        Ok(())
    }
}

/// Locks a file that was opened by this path. Another run may have removed it before the lock was had, and begun a file of its
/// own: then that one is not ours.
fn claim(file: &File, path: &Path) -> std::io::Result<()> {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)?;
    let (own, named) = (file.metadata()?, fs::symlink_metadata(path)?);
    if (own.dev(), own.ino()) != (named.dev(), named.ino()) {
        return Err(std::io::Error::new(std::io::ErrorKind::WouldBlock, "another run is at work on it"));
    }
    Ok(())
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept
            && let Err(e) = fs::remove_file(&self.path)
        {
            tracing::error!(error = %e, path = %self.path.display(), "an unfinished backup could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("b.backup");
        let first = Partial::new(&out).unwrap();
        assert!(Partial::new(&out).is_err(), "the first is at work");
        assert!(first.path.exists());
        drop(first);
        // What a killed run has left is replaced.
        let path = dir.path().join("b.backup.partial");
        fs::write(&path, "rest").unwrap();
        let next = Partial::new(&out).unwrap();
        assert_eq!(next.file.metadata().unwrap().len(), 0);
        assert_eq!(fs::metadata(&path).unwrap().ino(), next.file.metadata().unwrap().ino());
    }

    #[test]
    fn a_file_that_was_removed_before_its_lock_was_had_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        let ours = File::create(&path).unwrap();
        // Another run took it for a rest of a killed one.
        fs::remove_file(&path).unwrap();
        assert!(claim(&ours, &path).is_err());
        let theirs = File::create(&path).unwrap();
        assert!(claim(&ours, &path).is_err());
        claim(&theirs, &path).unwrap();
    }
}
