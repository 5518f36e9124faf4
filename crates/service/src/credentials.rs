//! The cache of access keys, permanent and temporary.

use crate::{
    principals::{Account, Principals},
    products::Products,
    quotas::Quotas,
    rates::Rates,
    sessions,
    vault::{Vault, access_key_holder, access_key_place},
};
use hashbrown::HashMap;
use jadeseal_auth::{Authority, Credential, SigningSecret};
use jadeseal_store::{AccessKeyRow, Store};
use jadeseal_types::{AccountId, ApiError, SecretId, error::Result};
use parking_lot::{Mutex, RwLock};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Seconds between two writes of one key's last use.
const SAVE_PERIOD: u64 = 60;
/// Cached access keys, and as many sessions.
const CAPACITY: usize = 100_000;

/// A cached access key with the time it was last used.
pub struct Known {
    /// What signatures are checked against.
    pub credential: Arc<Credential>,
    /// The account's limits, the same for all its access keys; none where nothing is limited.
    pub rates: Option<Arc<Rates>>,
    /// What it was made of: believed as long as all of it is.
    accounts: Vec<Arc<Account>>,
    /// The token that goes with a temporary one.
    token: Option<String>,
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

    fn is_current(&self) -> bool {
        self.accounts.iter().all(|account| account.is_current())
    }

    fn unsaved(&self) -> Option<u64> {
        let (used, saved) = (self.last_used.load(Ordering::Relaxed), self.saved.load(Ordering::Relaxed));
        (self.token.is_none() && used != saved).then_some(used)
    }
}

/// What a token was found to be.
pub enum Found {
    /// Of a session that goes on, or sent along with a permanent access key, to which none belongs.
    Known(Arc<Known>),
    /// Of a session that has come to its end: no guess.
    Ended,
    /// Nothing.
    Unknown,
}

type Map = RwLock<HashMap<SecretId, Arc<Known>>>;

/// Access keys by SecretId.
pub struct Credentials {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    principals: Arc<Principals>,
    known: Map,
    sessions: Map,
    products: Products,
    /// Uses of access keys that were cached, not saved yet.
    left: Mutex<Vec<(SecretId, u64)>>,
    quotas: Arc<Quotas>,
    /// Limits by account. They outlive the cached access keys: a limit would be whole again.
    rates: RwLock<HashMap<AccountId, Arc<Rates>>>,
}

impl Credentials {
    /// An empty cache.
    pub fn new(
        store: Arc<dyn Store>,
        vault: Arc<Vault>,
        principals: Arc<Principals>,
        products: Products,
        quotas: Arc<Quotas>,
    ) -> Self {
        Credentials {
            store,
            vault,
            principals,
            known: RwLock::default(),
            sessions: RwLock::default(),
            products,
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

    /// The permanent access key with this SecretId, if there is one that may be used. That of a product which is not
    /// configured (any more) is none.
    ///
    /// One that does not exist and one that is switched off take the same way, with one look into the store: neither its time
    /// nor the answer tells them apart.
    pub async fn find(&self, secret_id: &str) -> Result<Option<Arc<Known>>> {
        let cached = self.known.read().get(secret_id).cloned();
        if let Some(known) = cached.filter(|known| known.is_current()) {
            // A product's can be taken back by another process: it is not believed for longer than was promised, however
            // busy the store is.
            if known.credential.product.is_none() || self.principals.is_fresh() {
                return Ok(Some(known));
            }
            self.principals.refresh().await?;
            if known.is_current() {
                return Ok(Some(known));
            }
        }
        let Some(id) = SecretId::parse(secret_id) else { return Ok(None) };
        let _turn = self.principals.turn().await?;
        let row = self.store.access_key(&id).await.map_err(ApiError::internal)?;
        let Some(row) = row.filter(|row| row.enabled) else { return Ok(None) };
        // What counts is the account as it was at one moment; the row only said which.
        let has = |account: &Account| account.identities.access_keys.iter().any(|row| row.secret_id == id);
        let Some(mut account) = self.principals.of(row.account).await? else { return Ok(None) };
        if !has(&account) {
            // Another process has made it since.
            self.principals.refresh().await?;
            let Some(fresh) = self.principals.of(row.account).await? else { return Ok(None) };
            account = fresh;
        }
        let row = account.identities.access_keys.iter().find(|row| row.secret_id == id && row.enabled);
        match row.and_then(|row| self.authority(&account, row).map(|authority| (row, authority))) {
            None => Ok(None),
            Some((row, authority)) => self.open(&account, row, authority).await.map(Some),
        }
    }

    /// What the principal of an access key may do; none if there is no such principal.
    fn authority(&self, account: &Account, row: &AccessKeyRow) -> Option<Authority> {
        match &row.product {
            Some(product) => self.products.find(product.as_str()).map(|_| Authority::of_product()),
            None if row.uin.0 == row.account.0 => Some(Authority::everything()),
            None if account.identities.users.iter().any(|u| u.uin == row.uin) => {
                Some(self.principals.authority_of_user(account, row.uin))
            }
            None => None,
        }
    }

    async fn open(&self, account: &Arc<Account>, row: &AccessKeyRow, authority: Authority) -> Result<Arc<Known>> {
        let domain = self.vault.domain(row.account, row.domain_version).await?;
        let holder = access_key_holder(row.account, row.uin, row.product.as_ref());
        let secret = domain
            .open(&access_key_place(row.account, row.secret_id.as_str(), &holder), &row.wrapped_secret)
            .map_err(ApiError::internal)?;
        let known = Known {
            credential: Arc::new(Credential {
                account: row.account,
                app_id: account.identities.account.app_id,
                uin: row.uin,
                product: row.product.clone(),
                session: None,
                secret_id: row.secret_id.clone(),
                secret: SigningSecret::new(secret),
                authority,
            }),
            rates: self.rates_of(row.account),
            accounts: vec![account.clone()],
            token: None,
            last_used: AtomicU64::new(row.last_used),
            saved: AtomicU64::new(row.last_used),
        };
        Ok(self.keep(&self.known, known))
    }

    fn keep(&self, map: &Map, known: Known) -> Arc<Known> {
        let id = known.credential.secret_id.clone();
        let mut map = map.write();
        let displaced = match map.get(&id) {
            // Somebody else has opened the same: its signing keys are kept once.
            Some(other) if other.is_current() && other.token == known.token => return other.clone(),
            Some(_) => map.remove(&id),
            None if map.len() >= CAPACITY => {
                let victim = map.keys().next().cloned();
                victim.and_then(|id| map.remove(&id))
            }
            None => None,
        };
        if let Some((old, used)) = displaced.and_then(|old| old.unsaved().map(|used| (old, used))) {
            self.left.lock().push((old.credential.secret_id.clone(), used));
        }
        let known = Arc::new(known);
        map.insert(id, known.clone());
        known
    }

    /// The temporary access key that goes with a token, if the session has neither ended nor lost what it goes back to. A
    /// permanent access key is found too: its signature is looked at before it is told that no token belongs to it.
    pub async fn find_session(&self, secret_id: &str, token: &str, now: u64) -> Result<Found> {
        let in_time =
            |known: &Arc<Known>| known.credential.session.as_ref().is_some_and(|session| now < session.expires);
        let cached = self.sessions.read().get(secret_id).cloned();
        // The token is no secret by itself: it needs the key that the signature is checked with.
        if let Some(known) = cached.filter(|known| known.token.as_deref() == Some(token) && known.is_current()) {
            return Ok(if in_time(&known) { Found::Known(known) } else { Found::Ended });
        }
        let Some(id) = SecretId::parse(secret_id) else { return Ok(Found::Unknown) };
        let turn = self.principals.turn().await?;
        let Some(claims) = sessions::open(&self.vault, &id, token).await? else {
            drop(turn);
            return Ok(self.find(secret_id).await?.map_or(Found::Unknown, Found::Known));
        };
        if now >= claims.session.expires {
            return Ok(Found::Ended);
        }
        let Some(alive) = sessions::alive(&self.principals, &claims).await? else { return Ok(Found::Ended) };
        let known = Known {
            rates: self.rates_of(claims.account),
            credential: Arc::new(Credential {
                account: claims.account,
                app_id: alive.app_id,
                uin: claims.uin,
                product: None,
                session: Some(claims.session),
                secret_id: id,
                secret: SigningSecret::new(claims.secret_key),
                authority: alive.authority,
            }),
            accounts: alive.accounts,
            token: Some(token.to_owned()),
            last_used: AtomicU64::new(0),
            saved: AtomicU64::new(0),
        };
        Ok(Found::Known(self.keep(&self.sessions, known)))
    }

    /// When an access key was last used, if that is later than the store knows.
    pub fn last_used(&self, secret_id: &SecretId) -> u64 {
        self.known.read().get(secret_id).map_or(0, |known| known.last_used.load(Ordering::Relaxed))
    }

    /// Access keys whose last use has moved by a minute or more since it was saved.
    pub fn unsaved_uses(&self, now: u64) -> Vec<(SecretId, u64)> {
        let mut uses = std::mem::take(&mut *self.left.lock());
        let map = self.known.read();
        uses.extend(map.iter().filter_map(|(id, known)| {
            let used = known.unsaved()?;
            if now < known.saved.load(Ordering::Relaxed) + SAVE_PERIOD {
                return None;
            }
            known.saved.store(used, Ordering::Relaxed);
            Some((id.clone(), used))
        }));
        uses
    }
}
