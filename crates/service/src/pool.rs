//! RSA key pairs made ahead of time, because making one takes a tenth of a second.
//!
//! A pair must never serve two keys, not even when somebody restores a backup or puts a row back. So pairs live in
//! memory, sealed under the root key, and only from one run to the next in a file: an orderly stop writes it, the next
//! start reads it and removes it before any pair of it is offered. A process that is killed loses its pairs, which
//! nobody has seen; the next one makes others.

use crate::{
    Service,
    cx::Cx,
    vault::Vault,
    workers::{Workers, lower_priority},
};
use jadeseal_crypto::{CryptoError, ImportKey};
use jadeseal_store::Change;
use jadeseal_types::{ApiError, KeyId, SecretBytes, error::Result};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// Nice value of the thread that fills the pool: it must not be felt.
const NICENESS: i32 = 19;
/// How long to wait after a failure before trying again.
const RETRY: Duration = Duration::from_secs(1);
/// Longest file that is read, bytes: more than the largest pool writes.
const MAX_FILE_BYTES: u64 = 32 << 20;
/// First line of the file. Each pair follows as `id 16 | length u32 | sealed private key`, integers big-endian.
const MAGIC: &[u8] = b"jadeseal-rsa-pool-v1\n";

/// The pool of one process.
pub(crate) struct RsaPool {
    waiting: Mutex<VecDeque<Kept>>,
    target: usize,
    taken: Notify,
    file: Option<PathBuf>,
}

/// A pair that waits, sealed.
struct Kept {
    id: KeyId,
    sealed: Vec<u8>,
    spki: Vec<u8>,
}

impl Kept {
    fn seal(id: KeyId, pair: &RsaPair, vault: &Vault) -> Result<Self> {
        Ok(Kept { id, sealed: vault.seal_pooled(id, &pair.pkcs8)?, spki: pair.spki.clone() })
    }

    fn open(&self, vault: &Vault) -> Result<RsaPair> {
        Ok(RsaPair { pkcs8: vault.open_pooled(self.id, &self.sealed)?, spki: self.spki.clone() })
    }
}

/// An RSA-2048 key pair.
pub(crate) struct RsaPair {
    /// The private key as PKCS#8.
    pub pkcs8: SecretBytes,
    /// The public key as SubjectPublicKeyInfo.
    pub spki: Vec<u8>,
}

impl RsaPair {
    fn make() -> Result<Self, CryptoError> {
        let key = ImportKey::generate()?;
        Ok(RsaPair { pkcs8: key.to_pkcs8()?, spki: key.public_spki() })
    }
}

impl RsaPool {
    /// A pool of `target` pairs, beginning with what an earlier run has left in `file`. 0 makes none ahead.
    pub fn open(vault: &Vault, target: usize, file: Option<PathBuf>) -> Self {
        let left = file.as_deref().map(|path| take_file(path, vault)).transpose();
        let left = left.unwrap_or_else(|e| {
            tracing::warn!(error = %e, "the RSA keys of the last run cannot be used; others are made");
            None
        });
        RsaPool { waiting: Mutex::new(left.unwrap_or_default()), target, taken: Notify::new(), file }
    }

    /// Pairs that are ready.
    pub fn ready(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Leaves the pairs for the next run. They are offered no more in this one.
    pub fn leave(&self) {
        let pairs = std::mem::take(&mut *self.waiting.lock());
        let Some(path) = self.file.as_deref().filter(|_| !pairs.is_empty()) else { return };
        let write = || -> io::Result<()> {
            let mut bytes = MAGIC.to_vec();
            for Kept { id, sealed, .. } in &pairs {
                let len = u32::try_from(sealed.len()).map_err(|_| io::ErrorKind::InvalidData)?;
                bytes.extend_from_slice(id.as_bytes());
                bytes.extend_from_slice(&len.to_be_bytes());
                bytes.extend_from_slice(sealed);
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(&bytes).and_then(|()| file.sync_all())
        };
        if let Err(e) = write() {
            tracing::warn!(error = %e, "RSA keys made ahead are lost with this run");
            // Half a file is none.
            let _ = fs::remove_file(path);
        }
    }

    fn take(&self) -> Option<Kept> {
        let kept = self.waiting.lock().pop_front();
        self.taken.notify_one();
        kept
    }
}

/// Reads the file and removes it for good before anything of it is used.
fn take_file(path: &Path, vault: &Vault) -> io::Result<VecDeque<Kept>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    fs::remove_file(path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    let mut pairs = VecDeque::new();
    for (id, sealed) in entries(&bytes).ok_or(io::ErrorKind::InvalidData)? {
        // It may have been sealed under a root key that has been replaced since: nothing depends on it.
        let Ok(pkcs8) = vault.open_pooled(id, sealed) else { continue };
        let Ok(key) = ImportKey::from_pkcs8(pkcs8.expose()) else { continue };
        pairs.push_back(Kept { id, sealed: sealed.to_vec(), spki: key.public_spki() });
    }
    Ok(pairs)
}

/// The pairs of a file; none when it is not one.
fn entries(bytes: &[u8]) -> Option<Vec<(KeyId, &[u8])>> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (id, after) = rest.split_first_chunk::<16>()?;
        let (len, after) = after.split_first_chunk::<4>()?;
        let (sealed, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
        found.push((KeyId::from_bytes(*id), sealed));
        rest = after;
    }
    Some(found)
}

/// Keeps the pool full until `stop` turns true. It begins after `delay`, or as soon as a pair is asked for: a
/// start has better things to do, and many a process ends before anybody wants an RSA key.
pub async fn fill(svc: Arc<Service>, delay: Duration, mut stop: watch::Receiver<bool>) {
    let pool = &svc.pool;
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = pool.taken.notified() => {}
        changed = stop.changed() => if changed.is_err() || *stop.borrow() { return },
    }
    loop {
        let step = async {
            if pool.ready() >= pool.target {
                pool.taken.notified().await;
                return;
            }
            let made = async { Kept::seal(svc.new_key_id()?, &make_one().await?, &svc.vault) };
            match made.await {
                Ok(kept) => {
                    pool.waiting.lock().push_back(kept);
                    svc.metrics.job("rsa_pool", "done", 1);
                }
                Err(e) => {
                    svc.metrics.job("rsa_pool", "failed", 1);
                    tracing::error!(
                        cause = e.internal_cause().unwrap_or_default(),
                        "filling the pool of RSA keys failed"
                    );
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        tokio::select! {
            () = step => {}
            changed = stop.changed() => if changed.is_err() || *stop.borrow() { return },
        }
    }
}

/// Makes one pair on a thread of its own, which nobody notices.
async fn make_one() -> Result<RsaPair> {
    let (reply, made) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("rsa-pool".into())
        .spawn(move || {
            lower_priority(NICENESS);
            // The process may be stopping; the pair is lost then, and nobody has seen it.
            let _ = reply.send(RsaPair::make());
        })
        .map_err(ApiError::internal)?;
    made.await.map_err(ApiError::internal)?.map_err(ApiError::internal)
}

/// A key pair on its way to a use. Dropped before anybody can have seen it, it goes back to the pool.
struct Held<'a> {
    pool: &'a RsaPool,
    kept: Option<Kept>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.pool.waiting.lock().extend(self.kept.take());
    }
}

impl Cx<'_> {
    /// Lets `use_it` make changes and an answer of an RSA key pair, of the pool or made now when that is empty, and
    /// commits them.
    pub(crate) async fn commit_with_rsa_pair<T: Send>(
        &self,
        use_it: impl FnOnce(&RsaPair) -> Result<(Vec<Change>, T)> + Send,
    ) -> Result<T> {
        let pool = &self.svc.pool;
        let mut held = Held { pool, kept: None };
        let pair = loop {
            held.kept = pool.take();
            match held.kept.as_ref().map(|kept| kept.open(&self.svc.vault)) {
                Some(Ok(pair)) => break pair,
                // Its root key has been replaced: it is thrown away.
                Some(Err(_)) => held.kept = None,
                None => break make_now(&self.svc.makers).await?,
            }
        };
        let (changes, answer) = use_it(&pair)?;
        // From here on it may be in the store, whatever becomes of this call.
        held.kept = None;
        self.commit(changes).await?;
        Ok(answer)
    }
}

async fn make_now(makers: &Workers) -> Result<RsaPair> {
    makers.run(RsaPair::make).await?.map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_to_its_end_or_not_at_all() {
        let entry = |id: u8, sealed: &[u8]| [&[id; 16][..], &(sealed.len() as u32).to_be_bytes(), sealed].concat();
        let whole = [MAGIC, &entry(1, b"one"), &entry(2, b"")].concat();
        let found = entries(&whole).unwrap();
        assert_eq!(found, [(KeyId::from_bytes([1; 16]), &b"one"[..]), (KeyId::from_bytes([2; 16]), &b""[..])]);
        assert_eq!(entries(MAGIC), Some(Vec::new()));
        let ends = [MAGIC.len(), MAGIC.len() + 23, whole.len()];
        for len in (0..whole.len()).filter(|len| !ends.contains(len)) {
            assert_eq!(entries(&whole[..len]), None, "{len}");
        }
        assert_eq!(entries(&[MAGIC, &[0xff; 40]].concat()), None);
    }
}
