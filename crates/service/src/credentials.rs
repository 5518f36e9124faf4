//! The cache of access keys, permanent and temporary.

use crate::{
    principals::{Account, Current, Principals},
    products::Products,
    quotas::Quotas,
    rates::Rates,
    sessions,
    uses::{LastUse, Uses},
    vault::{Vault, access_key_holder, access_key_place},
};
use hashbrown::HashMap;
use jadeseal_auth::{Authority, Credential, SigningSecret};
use jadeseal_store::{AccessKeyRow, Store};
use jadeseal_types::{AccountId, ApiError, SecretId, error::Result};
use parking_lot::RwLock;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Seconds between two looks at all of them for some to forget.
const SWEEP_PERIOD: u64 = 30;
/// Cached access keys.
const CAPACITY: usize = 100_000;
/// Cached sessions, bytes, as far as their number and their own policies make them large.
const SESSION_BYTES: usize = 128 << 20;
/// What a session takes without a policy of its own, and for each byte of its policy, about.
const SESSION_BASE: usize = 2048;
const POLICY_FACTOR: usize = 8;

/// A cached access key with the time it was last used.
pub struct Known {
    /// What signatures are checked against.
    pub credential: Arc<Credential>,
    /// The account's limits, the same for all its access keys; none where nothing is limited.
    pub rates: Option<Arc<Rates>>,
    /// What it was made of: believed as long as all of it is.
    made_of: Vec<Current>,
    /// Digest of the token that goes with a temporary one.
    token: Option<[u8; 32]>,
    /// What it takes of [`SESSION_BYTES`].
    bytes: usize,
    /// None for a temporary one, whose uses nobody keeps.
    used: Option<Arc<LastUse<SecretId>>>,
}

impl Known {
    /// False once anything has changed of what it was made of.
    pub fn is_current(&self) -> bool {
        self.made_of.iter().all(Current::holds)
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

/// Cached access keys of one kind.
#[derive(Default)]
struct Map {
    known: HashMap<SecretId, Arc<Known>>,
    /// Sum of theirs.
    bytes: usize,
}

impl Map {
    fn remove(&mut self, id: &SecretId) {
        if let Some(old) = self.known.remove(id) {
            self.bytes -= old.bytes;
        }
    }

    /// Puts one in, in the place of others where there are too many.
    fn insert(&mut self, known: Arc<Known>) {
        self.remove(&known.credential.secret_id);
        while self.known.len() >= CAPACITY || (self.bytes + known.bytes > SESSION_BYTES && !self.known.is_empty()) {
            // The map's order is as good as random.
            let Some(victim) = self.known.keys().next().cloned() else { break };
            self.remove(&victim);
        }
        self.bytes += known.bytes;
        self.known.insert(known.credential.secret_id.clone(), known);
    }
}

/// Access keys by SecretId.
pub struct Credentials {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    principals: Arc<Principals>,
    known: RwLock<Map>,
    sessions: RwLock<Map>,
    products: Products,
    /// Uses of permanent access keys that have not been saved.
    pub(crate) uses: Uses<SecretId>,
    quotas: Arc<Quotas>,
    /// Limits by account. They outlive the cached access keys: a limit would be whole again.
    rates: RwLock<HashMap<AccountId, Arc<Rates>>>,
    /// When [`Credentials::sweep`] last ran.
    swept: AtomicU64,
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
            uses: Uses::default(),
            quotas,
            rates: RwLock::default(),
            swept: AtomicU64::new(0),
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
        let cached = self.known.read().known.get(secret_id).cloned();
        if let Some(known) = &cached
            && known.is_current()
            && self.is_believed(known).await?
        {
            return Ok(cached);
        }
        let Some(id) = SecretId::parse(secret_id) else { return Ok(None) };
        // Whose it is never changes, so one that was known takes no turn from those that were not.
        let number = match cached {
            Some(known) => known.credential.account,
            None => {
                let _turn = self.principals.turn().await?;
                let row = self.store.access_key(&id).await.map_err(ApiError::internal)?;
                let Some(row) = row.filter(|row| row.enabled) else { return Ok(None) };
                row.account
            }
        };
        // What counts is the account as it was at one moment.
        let has =
            |account: &Account| account.identities.access_keys.iter().any(|row| row.secret_id == id && row.enabled);
        let Some(mut account) = self.principals.of(number).await? else { return Ok(None) };
        if !has(&account) {
            // Another process may have made it since, or switched it on.
            self.principals.refresh().await?;
            let Some(fresh) = self.principals.of(number).await? else { return Ok(None) };
            account = fresh;
        }
        let row = account.identities.access_keys.iter().find(|row| row.secret_id == id && row.enabled);
        match row.and_then(|row| self.authority(&account, row).map(|authority| (row, authority))) {
            None => Ok(None),
            Some((row, authority)) => self.open(&account, row, authority).await.map(Some),
        }
    }

    /// Whether what is known of an access key may be believed, as far as other processes can have changed it. That of the main
    /// account always is: however the store is, somebody must come in. Others not for longer than was promised, however busy
    /// the store is.
    async fn is_believed(&self, known: &Known) -> Result<bool> {
        if known.credential.authority.is_unlimited() || self.principals.is_fresh() {
            return Ok(true);
        }
        self.principals.refresh().await?;
        Ok(known.is_current())
    }

    /// What the principal of an access key may do; none if there is no such principal.
    fn authority(&self, account: &Account, row: &AccessKeyRow) -> Option<Authority> {
        match &row.product {
            Some(product) => self.products.find(product.as_str()).map(|_| Authority::of_product()),
            None if row.uin.0 == row.account.0 => Some(Authority::everything()),
            None if account.identities.user(row.uin).is_some() => {
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
            made_of: vec![account.current.clone()],
            token: None,
            bytes: 0,
            used: Some(LastUse::new(row.secret_id.clone(), row.last_used)),
        };
        Ok(self.keep(&self.known, known))
    }

    fn keep(&self, map: &RwLock<Map>, known: Known) -> Arc<Known> {
        let mut map = map.write();
        let other = map.known.get(&known.credential.secret_id);
        if let Some(other) = other.filter(|other| other.is_current() && other.token == known.token) {
            // Somebody else has opened the same: its signing keys are kept once.
            return other.clone();
        }
        let known = Arc::new(known);
        map.insert(known.clone());
        known
    }

    /// Forgets what nobody believes any more: sessions that have ended, and what was made of an account as it was before.
    pub fn sweep(&self, now: u64) {
        if now.abs_diff(self.swept.load(Ordering::Relaxed)) < SWEEP_PERIOD {
            return;
        }
        self.swept.store(now, Ordering::Relaxed);
        for map in [&self.known, &self.sessions] {
            let gone = |known: &Known| {
                !known.is_current() || known.credential.session.as_ref().is_some_and(|s| s.expires <= now)
            };
            let ended: Vec<SecretId> =
                map.read().known.values().filter(|k| gone(k)).map(|k| k.credential.secret_id.clone()).collect();
            for id in ended {
                let mut map = map.write();
                // It may be a new one by now.
                if map.known.get(&id).is_some_and(|known| gone(known)) {
                    map.remove(&id);
                }
            }
        }
    }

    /// The temporary access key that goes with a token, if the session has neither ended nor lost what it goes back to. A
    /// permanent access key is found too: its signature is looked at before it is told that no token belongs to it.
    pub async fn find_session(&self, secret_id: &str, token: &str, now: u64) -> Result<Found> {
        let in_time =
            |known: &Arc<Known>| known.credential.session.as_ref().is_some_and(|session| now < session.expires);
        let cached = self.sessions.read().known.get(secret_id).cloned();
        let digest = jadeseal_crypto::sha256(token.as_bytes());
        if let Some(known) = cached
            && known.token == Some(digest)
            && known.is_current()
            && self.is_believed(&known).await?
        {
            return Ok(if in_time(&known) { Found::Known(known) } else { Found::Ended });
        }
        let Some(id) = SecretId::parse(secret_id) else { return Ok(Found::Unknown) };
        let opened = {
            let _turn = self.principals.turn().await?;
            sessions::open(&self.vault, &id, token).await?
        };
        let Some(claims) = opened else {
            return Ok(self.find(secret_id).await?.map_or(Found::Unknown, Found::Known));
        };
        if now >= claims.session.expires {
            return Ok(Found::Ended);
        }
        let Some(alive) = sessions::alive(&self.principals, &claims).await? else { return Ok(Found::Ended) };
        let own = claims.policy.as_ref().map_or(0, String::len);
        let known = Known {
            bytes: SESSION_BASE + POLICY_FACTOR * own,
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
            made_of: alive.made_of,
            token: Some(digest),
            used: None,
        };
        Ok(Found::Known(self.keep(&self.sessions, known)))
    }

    /// Notes a use of an access key; written to the store by a job, not by the request.
    pub fn touch(&self, known: &Known, now: u64) {
        if let Some(used) = &known.used {
            self.uses.touch(used, now);
        }
    }

    /// When an access key was last used, if that is later than the store knows.
    pub fn last_used(&self, secret_id: &SecretId) -> u64 {
        let cached = |known: &Arc<Known>| known.used.as_ref().map_or(0, |used| used.at());
        let cached = self.known.read().known.get(secret_id).map_or(0, cached);
        cached.max(self.uses.waiting(secret_id))
    }

    /// Whether an access key, with the token that came along, is in memory: looking for it takes neither the store nor much
    /// else.
    pub fn is_known(&self, secret_id: &str, token: Option<&str>) -> bool {
        let Some(token) = token else { return self.known.read().known.contains_key(secret_id) };
        let Some(known) = self.sessions.read().known.get(secret_id).cloned() else { return false };
        known.token == Some(jadeseal_crypto::sha256(token.as_bytes()))
    }

    /// Numbers of permanent and of temporary access keys in memory.
    pub fn cached(&self) -> (usize, usize) {
        (self.known.read().known.len(), self.sessions.read().known.len())
    }
}
