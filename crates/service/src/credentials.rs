//! The cache of access keys.

use crate::{
    products::Products,
    vault::{Vault, access_key_place},
};
use hashbrown::HashMap;
use jadeseal_auth::{Credential, SigningSecret};
use jadeseal_store::Store;
use jadeseal_types::{ApiError, SecretId, error::Result};
use parking_lot::RwLock;
use std::{
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::sync::Semaphore;

/// Look-ups of unknown SecretIds that may be in the database at once: a flood of them must not hold
/// up the readers that known callers need.
const MISSES_AT_ONCE: usize = 16;
/// Seconds between two writes of one key's last use.
const SAVE_PERIOD: u64 = 60;
/// Cached access keys.
const CAPACITY: usize = 100_000;

/// A cached access key with the time it was last used.
pub struct Known {
    /// What signatures are checked against.
    pub credential: Credential,
    last_used: AtomicU64,
    saved: AtomicU64,
}

impl Known {
    /// Notes a use; written to the store by a job, not by the request.
    pub fn touch(&self, now: u64) {
        if self.last_used.load(Ordering::Relaxed) < now {
            self.last_used.store(now, Ordering::Relaxed);
        }
    }
}

/// Access keys by SecretId.
pub struct Credentials {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    known: RwLock<HashMap<SecretId, Arc<Known>>>,
    misses: Semaphore,
    products: Products,
    /// [`Store::access_keys_epoch`] of the time when the cache was last emptied. A row that was read before is not kept.
    epoch: AtomicU64,
}

impl Credentials {
    /// An empty cache.
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>, products: Products) -> Self {
        Credentials {
            store,
            vault,
            known: RwLock::default(),
            misses: Semaphore::new(MISSES_AT_ONCE),
            products,
            epoch: AtomicU64::new(u64::MAX),
        }
    }

    /// The products whose access keys count.
    pub fn products(&self) -> &Products {
        &self.products
    }

    /// Empties the cache when an access key has been changed since it was last emptied.
    pub async fn refresh(&self) -> Result<()> {
        let epoch = self.store.access_keys_epoch().await.map_err(ApiError::internal)?;
        if epoch != self.epoch.load(Ordering::Acquire) {
            let mut map = self.known.write();
            self.epoch.store(epoch, Ordering::Release);
            map.clear();
        }
        Ok(())
    }

    /// The access key with this SecretId, if it exists; enabled or not. That of a product which is not configured (any
    /// more) does not.
    pub async fn find(&self, secret_id: &str) -> Result<Option<Arc<Known>>> {
        if let Some(known) = self.known.read().get(secret_id) {
            return Ok(Some(known.clone()));
        }
        let Some(id) = SecretId::parse(secret_id) else { return Ok(None) };
        let _permit = self.misses.acquire().await.map_err(ApiError::internal)?;
        let epoch = self.epoch.load(Ordering::Acquire);
        let Some(row) = self.store.access_key(&id).await.map_err(ApiError::internal)? else { return Ok(None) };
        if row.product.as_ref().is_some_and(|product| self.products.find(product.as_str()).is_none()) {
            return Ok(None);
        }
        let account = self.store.account(row.account).await.map_err(ApiError::internal)?;
        let account = account.ok_or_else(|| ApiError::internal(format!("access key {id} has no account")))?;
        let domain = self.vault.domain(row.account, row.domain_version).await?;
        let secret = domain
            .open(&access_key_place(row.account, id.as_str(), row.product.as_ref()), &row.wrapped_secret)
            .map_err(ApiError::internal)?;
        let known = Arc::new(Known {
            credential: Credential {
                account: row.account,
                app_id: account.app_id,
                uin: row.uin,
                product: row.product,
                secret_id: id.clone(),
                enabled: row.enabled,
                secret: SigningSecret::new(secret),
            },
            last_used: AtomicU64::new(row.last_used),
            saved: AtomicU64::new(row.last_used),
        });
        let mut map = self.known.write();
        if self.epoch.load(Ordering::Acquire) != epoch {
            // It may be what was there before a change of which the cache has been told. This one call goes on with it;
            // it began before the change was known.
            return Ok(Some(known));
        }
        if map.len() >= CAPACITY {
            let victim = map.keys().next().cloned();
            victim.and_then(|id| map.remove(&id));
        }
        Ok(Some(map.entry(id).or_insert(known).clone()))
    }

    /// Access keys whose last use has moved by a minute or more since it was saved.
    pub fn unsaved_uses(&self, now: u64) -> Vec<(SecretId, u64)> {
        let map = self.known.read();
        map.iter()
            .filter_map(|(id, known)| {
                let (used, saved) = (known.last_used.load(Ordering::Relaxed), known.saved.load(Ordering::Relaxed));
                if used == saved || now < saved + SAVE_PERIOD {
                    return None;
                }
                known.saved.store(used, Ordering::Relaxed);
                Some((id.clone(), used))
            })
            .collect()
    }
}
