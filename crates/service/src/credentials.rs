//! The cache of access keys.

use crate::{
    products::Products,
    quotas::Quotas,
    rates::Rates,
    vault::{Vault, access_key_place},
};
use hashbrown::HashMap;
use jadeseal_auth::{Credential, SigningSecret};
use jadeseal_store::Store;
use jadeseal_types::{AccountId, ApiError, SecretId, error::Result};
use parking_lot::{Mutex, RwLock};
use std::{
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// Look-ups of unknown SecretIds that may be in the database at once: a flood of them must not hold
/// up the readers that known callers need.
const MISSES_AT_ONCE: usize = 16;
/// Seconds between two writes of one key's last use.
const SAVE_PERIOD: u64 = 60;
/// How long after a change to a product's access key that another process made it may still be taken for what it was.
pub const FRESH: Duration = Duration::from_millis(500);
/// Times that an access key is read anew because another has been changed meanwhile.
const MAX_TRIES: usize = 8;
/// Cached access keys.
const CAPACITY: usize = 100_000;

/// A cached access key with the time it was last used.
pub struct Known {
    /// What signatures are checked against.
    pub credential: Credential,
    /// The account's limits, the same for all its access keys; none where nothing is limited.
    pub rates: Option<Arc<Rates>>,
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

/// What a look into the store found.
enum Read {
    Is(Option<Arc<Known>>),
    /// Something was changed meanwhile.
    Outdated,
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
    /// When the epoch was last looked at, milliseconds since `opened`, taken before the look.
    looked: AtomicU64,
    opened: Instant,
    /// Uses of access keys that were cached, not saved yet.
    left: Mutex<Vec<(SecretId, u64)>>,
    quotas: Arc<Quotas>,
    /// Limits by account. They outlive the cached access keys: a limit would be whole again.
    rates: RwLock<HashMap<AccountId, Arc<Rates>>>,
}

impl Credentials {
    /// An empty cache.
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>, products: Products, quotas: Arc<Quotas>) -> Self {
        Credentials {
            store,
            vault,
            known: RwLock::default(),
            misses: Semaphore::new(MISSES_AT_ONCE),
            products,
            epoch: AtomicU64::new(u64::MAX),
            looked: AtomicU64::new(0),
            opened: Instant::now(),
            left: Mutex::default(),
            quotas,
            rates: RwLock::default(),
        }
    }

    fn rates_of(&self, account: AccountId) -> Option<Arc<Rates>> {
        if let Some(rates) = self.rates.read().get(&account) {
            return Some(rates.clone());
        }
        let actions = crate::entries().map(|entry| entry.spec.name);
        let rates = Arc::new(Rates::new(self.quotas.of(account), actions, self.quotas.nodes())?);
        // Somebody else may have been faster: there is one for each account.
        Some(self.rates.write().entry(account).or_insert(rates).clone())
    }

    /// The products whose access keys count.
    pub fn products(&self) -> &Products {
        &self.products
    }

    /// Empties the cache when an access key has been changed since it was last emptied.
    pub async fn refresh(&self) -> Result<()> {
        let before = self.millis();
        let epoch = self.store.access_keys_epoch().await.map_err(ApiError::internal)?;
        if epoch != self.epoch.load(Ordering::Acquire) {
            let mut map = self.known.write();
            self.epoch.store(epoch, Ordering::Release);
            let uses = map.drain().filter_map(|(id, known)| {
                let used = known.last_used.load(Ordering::Relaxed);
                (used != known.saved.load(Ordering::Relaxed)).then_some((id, used))
            });
            self.left.lock().extend(uses);
        }
        self.looked.fetch_max(before, Ordering::AcqRel);
        Ok(())
    }

    fn millis(&self) -> u64 {
        // Never 0, which is never.
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Whether the epoch has been looked at so lately that a product's cached access key may be taken.
    fn is_fresh(&self) -> bool {
        let looked = self.looked.load(Ordering::Acquire);
        looked != 0 && u128::from(self.millis().saturating_sub(looked)) < FRESH.as_millis()
    }

    /// The access key with this SecretId, if it exists; enabled or not. That of a product which is not configured (any
    /// more) does not.
    pub async fn find(&self, secret_id: &str) -> Result<Option<Arc<Known>>> {
        let cached = self.known.read().get(secret_id).cloned();
        match cached {
            // A product's can be taken back by another process: it is not believed for longer than was promised, however
            // busy the store is.
            Some(known) if known.credential.product.is_none() || self.is_fresh() => return Ok(Some(known)),
            Some(_) => {
                self.refresh().await?;
                if let Some(known) = self.known.read().get(secret_id) {
                    return Ok(Some(known.clone()));
                }
            }
            None => {}
        }
        let Some(id) = SecretId::parse(secret_id) else { return Ok(None) };
        for _ in 0..MAX_TRIES {
            match self.read(&id).await? {
                Read::Is(found) => return Ok(found),
                Read::Outdated => {}
            }
        }
        Err(ApiError::internal("access keys kept changing"))
    }

    async fn read(&self, id: &SecretId) -> Result<Read> {
        let _permit = self.misses.acquire().await.map_err(ApiError::internal)?;
        let epoch = self.epoch.load(Ordering::Acquire);
        let Some(row) = self.store.access_key(id).await.map_err(ApiError::internal)? else {
            return Ok(Read::Is(None));
        };
        if row.product.as_ref().is_some_and(|product| self.products.find(product.as_str()).is_none()) {
            return Ok(Read::Is(None));
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
            rates: self.rates_of(row.account),
            last_used: AtomicU64::new(row.last_used),
            saved: AtomicU64::new(row.last_used),
        });
        let mut map = self.known.write();
        if self.epoch.load(Ordering::Acquire) != epoch {
            // It may be what was there before a change of which the cache has been told.
            return Ok(Read::Outdated);
        }
        if map.len() >= CAPACITY {
            let victim = map.keys().next().cloned();
            victim.and_then(|id| map.remove(&id));
        }
        Ok(Read::Is(Some(map.entry(id.clone()).or_insert(known).clone())))
    }

    /// Access keys whose last use has moved by a minute or more since it was saved.
    pub fn unsaved_uses(&self, now: u64) -> Vec<(SecretId, u64)> {
        let mut uses = std::mem::take(&mut *self.left.lock());
        let map = self.known.read();
        uses.extend(map.iter().filter_map(|(id, known)| {
            let (used, saved) = (known.last_used.load(Ordering::Relaxed), known.saved.load(Ordering::Relaxed));
            if used == saved || now < saved + SAVE_PERIOD {
                return None;
            }
            known.saved.store(used, Ordering::Relaxed);
            Some((id.clone(), used))
        }));
        uses
    }
}
