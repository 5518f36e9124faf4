//! The cache of access keys.

use crate::vault::{Vault, access_key_place};
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
}

impl Credentials {
    /// An empty cache.
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>) -> Self {
        Credentials { store, vault, known: RwLock::default(), misses: Semaphore::new(MISSES_AT_ONCE) }
    }

    /// The access key with this SecretId, if it exists; enabled or not.
    pub async fn find(&self, secret_id: &str) -> Result<Option<Arc<Known>>> {
        if let Some(known) = self.known.read().get(secret_id) {
            return Ok(Some(known.clone()));
        }
        let Some(id) = SecretId::parse(secret_id) else { return Ok(None) };
        let _permit = self.misses.acquire().await.map_err(ApiError::internal)?;
        let Some(row) = self.store.access_key(&id).await.map_err(ApiError::internal)? else { return Ok(None) };
        let account = self.store.account(row.account).await.map_err(ApiError::internal)?;
        let account = account.ok_or_else(|| ApiError::internal(format!("access key {id} has no account")))?;
        let domain = self.vault.domain(row.account, row.domain_version).await?;
        let secret = domain
            .open(&access_key_place(row.account, id.as_str()), &row.wrapped_secret)
            .map_err(ApiError::internal)?;
        let known = Arc::new(Known {
            credential: Credential {
                account: row.account,
                app_id: account.app_id,
                uin: row.uin,
                secret_id: id.clone(),
                enabled: row.enabled,
                secret: SigningSecret::new(secret),
            },
            last_used: AtomicU64::new(row.last_used),
            saved: AtomicU64::new(row.last_used),
        });
        let mut map = self.known.write();
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
