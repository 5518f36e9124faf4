//! The key cache: what the hot path reads instead of the database.
//!
//! An entry is one CMK row as it was committed, with the key versions that have been opened since. It
//! is replaced, never changed, when a commit changes the row, and the caller of the change gets its
//! answer only after that. So a call that begins after DisableKey has returned finds the new row.
//!
//! Every look-up names the caller's scope. A key of another account or region is treated as not
//! cached, and the database then does not know it either: same answer, same path.

use crate::{
    uses::{LastUse, Uses},
    vault::Vault,
    workers::Workers,
};
use hashbrown::HashMap;
use jadeseal_crypto::{BlobKey, PrivateKey};
use jadeseal_store::{Cmk, Scope, Store, Tag};
use jadeseal_types::{Alias, ApiError, KeyId, KeyUsage, error::Result};
use parking_lot::{Mutex, RwLock};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

const SHARDS: usize = 64;

/// One cached CMK.
pub struct KeyEntry {
    /// The row as committed.
    pub row: Cmk,
    /// Opened versions, newest first in practice: a handful at most.
    opened: Mutex<Vec<(u32, Opened)>>,
    /// Products that have asked, and whether a resource of theirs is bound to the key. A binding changes the row, and so
    /// replaces the entry.
    bound: Mutex<Vec<(Alias, bool)>>,
    /// The tags, as policies see them, once somebody has asked. They do not stand in the row, so a change of them replaces
    /// the entry by itself ([`Keys::retagged`]).
    tags: Mutex<Option<Arc<[String]>>>,
    /// True once the row has been changed or dropped, or the entry is not in the cache, where it would be told: what
    /// was decided by it must be decided anew.
    replaced: AtomicBool,
    /// Shared with the entries that replace this one.
    used: Arc<LastUse<KeyId>>,
}

/// One version of a key's material, ready for use.
#[derive(Clone)]
pub enum Opened {
    /// Of a symmetric key.
    Symmetric(Arc<BlobKey>),
    /// Of any other.
    Asymmetric(Arc<PrivateKey>),
}

impl KeyEntry {
    fn new(row: Cmk) -> Self {
        let used = LastUse::new(row.key_id, 0);
        Self::used_until(row, used)
    }

    fn used_until(row: Cmk, used: Arc<LastUse<KeyId>>) -> Self {
        KeyEntry {
            row,
            used,
            opened: Mutex::default(),
            bound: Mutex::default(),
            tags: Mutex::default(),
            replaced: AtomicBool::new(false),
        }
    }

    /// True when the entry is not the key's any more. To be asked immediately before a use that had to wait.
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    fn opened(&self, version: u32) -> Option<Opened> {
        self.opened.lock().iter().find(|(v, _)| *v == version).map(|(_, key)| key.clone())
    }
}

/// A tag as policies see it.
pub fn pair(tag: &Tag) -> String {
    format!("{}&{}", tag.key, tag.value)
}

#[derive(Default)]
struct Shard {
    entries: RwLock<HashMap<KeyId, Arc<KeyEntry>>>,
    /// Counts the commits that touched the shard. A row read from the database before a commit must
    /// not be cached after it.
    changes: AtomicU64,
    /// Held while an asymmetric key is opened, so that many who want the same one after a start open it once.
    opening: tokio::sync::Mutex<()>,
}

fn shard_index(id: KeyId) -> usize {
    // The low bytes of our ids are random node and clock sequence bits, the first ones the time.
    let b = id.as_bytes();
    (b[0] ^ b[3] ^ b[9] ^ b[15]) as usize % SHARDS
}

/// The cache of CMKs.
pub struct Keys {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    workers: Arc<Workers>,
    shards: Vec<Shard>,
    per_shard: usize,
    /// Uses of keys that have not been saved.
    pub(crate) uses: Uses<KeyId>,
}

impl Keys {
    /// A cache for at most `capacity` keys.
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>, workers: Arc<Workers>, capacity: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        let per_shard = capacity.div_ceil(SHARDS).max(1);
        Keys { store, vault, workers, shards, per_shard, uses: Uses::default() }
    }

    fn shard(&self, id: KeyId) -> &Shard {
        &self.shards[shard_index(id)]
    }

    /// A key of the scope, from the cache or the database.
    pub async fn find(&self, scope: &Scope, id: KeyId) -> Result<Option<Arc<KeyEntry>>> {
        let shard = self.shard(id);
        if let Some(entry) = shard.entries.read().get(&id)
            && entry.row.account == scope.account()
            && entry.row.region == *scope.region()
        {
            return Ok(Some(entry.clone()));
        }
        let before = shard.changes.load(Ordering::Acquire);
        let Some(row) = self.store.key(scope, id).await.map_err(ApiError::internal)? else { return Ok(None) };
        let entry = Arc::new(KeyEntry::new(row));
        let mut entries = shard.entries.write();
        if shard.changes.load(Ordering::Acquire) == before {
            self.make_room(&mut entries);
            // Somebody else may have loaded the same row and opened versions: keep theirs.
            return Ok(Some(entries.entry(id).or_insert(entry).clone()));
        }
        entry.replaced.store(true, Ordering::Release);
        Ok(Some(entry))
    }

    /// Notes that a key has been used.
    pub fn touch(&self, entry: &KeyEntry, now: u64) {
        self.uses.touch(&entry.used, now);
    }

    /// When a key was last used, Unix seconds; 0 when no use of it is known.
    pub async fn last_used(&self, scope: &Scope, entry: &KeyEntry) -> Result<u64> {
        let id = entry.row.key_id;
        // The store learns of uses with a delay, and a cached entry only knows of its own.
        let saved = self.store.last_used(scope, id).await.map_err(ApiError::internal)?;
        Ok(saved.max(entry.used.at()).max(self.uses.waiting(&id)))
    }

    /// Whether any resource of a product is bound to a key with the user's consent.
    pub async fn is_bound(&self, scope: &Scope, entry: &KeyEntry, product: &Alias) -> Result<bool> {
        if entry.row.bindings == 0 {
            return Ok(false);
        }
        let known = entry.bound.lock().iter().find(|(name, _)| name == product).map(|(_, bound)| *bound);
        if let Some(bound) = known {
            return Ok(bound);
        }
        let bound = self.store.is_bound(scope, entry.row.key_id, product.as_str()).await.map_err(ApiError::internal)?;
        let mut all = entry.bound.lock();
        if all.iter().all(|(name, _)| name != product) {
            all.push((product.clone(), bound));
        }
        Ok(bound)
    }

    /// The tags of a key, as `key&value`.
    pub async fn tags(&self, scope: &Scope, entry: &KeyEntry) -> Result<Arc<[String]>> {
        if let Some(known) = &*entry.tags.lock() {
            return Ok(known.clone());
        }
        let tags = self.store.tags(scope, entry.row.key_id).await.map_err(ApiError::internal)?;
        let tags: Arc<[String]> = tags.iter().map(pair).collect();
        // If they have changed since, the entry has been replaced, and serves none but the requests that were under way.
        *entry.tags.lock() = Some(tags.clone());
        Ok(tags)
    }

    /// The tags of a key or data key have changed. Called before the caller of the change gets its answer.
    pub fn retagged(&self, id: KeyId) {
        let shard = self.shard(id);
        let mut entries = shard.entries.write();
        shard.changes.fetch_add(1, Ordering::AcqRel);
        let Some(old) = entries.get(&id) else { return };
        let entry = KeyEntry::used_until(old.row.clone(), old.used.clone());
        *entry.opened.lock() = old.opened.lock().clone();
        old.replaced.store(true, Ordering::Release);
        entries.insert(id, Arc::new(entry));
    }

    /// Forgets a key after a lost compare-and-swap, where the cache may be behind.
    pub fn forget(&self, id: KeyId) {
        self.apply(&[], &[id]);
    }

    /// One version of a symmetric key, ready for use.
    pub async fn symmetric(&self, scope: &Scope, entry: &KeyEntry, version: u32) -> Result<Option<Arc<BlobKey>>> {
        match self.version(scope, entry, version).await? {
            None => Ok(None),
            Some(Opened::Symmetric(key)) => Ok(Some(key)),
            Some(Opened::Asymmetric(_)) => Err(ApiError::internal("an asymmetric key where a symmetric one belongs")),
        }
    }

    /// The private key of an asymmetric key, ready for use.
    pub async fn asymmetric(&self, scope: &Scope, entry: &KeyEntry, version: u32) -> Result<Option<Arc<PrivateKey>>> {
        match self.version(scope, entry, version).await? {
            None => Ok(None),
            Some(Opened::Asymmetric(key)) => Ok(Some(key)),
            Some(Opened::Symmetric(_)) => Err(ApiError::internal("a symmetric key where an asymmetric one belongs")),
        }
    }

    async fn version(&self, scope: &Scope, entry: &KeyEntry, version: u32) -> Result<Option<Opened>> {
        if let Some(key) = entry.opened(version) {
            return Ok(Some(key));
        }
        let mut _one = None;
        if entry.row.usage != KeyUsage::EncryptDecrypt {
            _one = Some(self.shard(entry.row.key_id).opening.lock().await);
            if let Some(key) = entry.opened(version) {
                return Ok(Some(key));
            }
        }
        let row = self.store.version(scope, entry.row.key_id, version).await.map_err(ApiError::internal)?;
        let Some(row) = row else { return Ok(None) };
        let material = self.vault.open_material(&entry.row, &row).await?;
        let key = match entry.row.usage {
            KeyUsage::EncryptDecrypt => {
                let key = BlobKey::new(entry.row.suite, &material).map_err(ApiError::internal)?;
                Opened::Symmetric(Arc::new(key))
            }
            usage => {
                // The library checks an RSA key when it reads it, which takes as long as a signature.
                let read = self.workers.run(move || PrivateKey::open(usage, &material)).await?;
                Opened::Asymmetric(Arc::new(read.map_err(ApiError::internal)?))
            }
        };
        let mut opened = entry.opened.lock();
        if opened.iter().all(|(v, _)| *v != version) {
            opened.push((version, key.clone()));
        }
        Ok(Some(key))
    }

    /// Brings the cache up to a commit. Called before the caller of the change gets its answer.
    pub fn apply(&self, rows: &[Cmk], destroyed: &[KeyId]) {
        for row in rows {
            let shard = self.shard(row.key_id);
            let mut entries = shard.entries.write();
            shard.changes.fetch_add(1, Ordering::AcqRel);
            // Only what is cached is replaced. Commits may arrive here out of order, and an entry may have
            // been evicted in between: a row that is not cached is read afresh when it is next used.
            let Some(old) = entries.get(&row.key_id).filter(|old| old.row.revision < row.revision) else { continue };
            let entry = KeyEntry::used_until(row.clone(), old.used.clone());
            // Material stays opened only while the key still has it.
            if row.current_version != 0 {
                *entry.opened.lock() = old.opened.lock().clone();
            }
            old.replaced.store(true, Ordering::Release);
            entries.insert(row.key_id, Arc::new(entry));
        }
        for id in destroyed {
            let shard = self.shard(*id);
            let mut entries = shard.entries.write();
            shard.changes.fetch_add(1, Ordering::AcqRel);
            if let Some(old) = entries.remove(id) {
                old.replaced.store(true, Ordering::Release);
            }
        }
    }

    /// Fills the cache with rows read at start, so that the first call on a key reads no row.
    pub async fn warm(&self) -> Result<usize> {
        let mut after = None;
        let mut count = 0;
        while count < self.per_shard * SHARDS {
            let before: Vec<u64> = self.shards.iter().map(|s| s.changes.load(Ordering::Acquire)).collect();
            let rows = self.store.all_keys_meta(after, 5_000).await.map_err(ApiError::internal)?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key_id);
            count += rows.len();
            for row in rows {
                let at = shard_index(row.key_id);
                let shard = &self.shards[at];
                let mut entries = shard.entries.write();
                if shard.changes.load(Ordering::Acquire) == before[at] && entries.len() < self.per_shard {
                    entries.entry(row.key_id).or_insert_with(|| Arc::new(KeyEntry::new(row)));
                }
            }
        }
        Ok(count)
    }

    /// Number of cached keys.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.entries.read().len()).sum()
    }

    /// Drops a few entries of a full shard; iteration order of the map is as good as random.
    fn make_room(&self, entries: &mut HashMap<KeyId, Arc<KeyEntry>>) {
        if entries.len() >= self.per_shard {
            let victims: Vec<KeyId> = entries.keys().take(1 + self.per_shard / 64).copied().collect();
            for id in victims {
                // Nobody tells an entry of a change any more that is not in the cache.
                entries.remove(&id).inspect(|old| old.replaced.store(true, Ordering::Release));
            }
        }
    }
}
