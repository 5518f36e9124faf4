//! Accounts and their access keys.

use crate::{
    Service,
    clock::{Clock, SystemClock},
    products::Products,
    records::of_command,
    rekey::suite_of,
    vault::{Vault, access_key_holder, access_key_place, records},
};
use jadeseal_root::{DomainKey, SealSource};
use jadeseal_store::{AccessKeyRow, AccountRow, Store, StoreError};
use jadeseal_types::{AccountId, Alias, ApiError, AppId, SecretBytes, SecretId, Suite, Uin, error::Result};
use std::sync::Arc;

/// A new access key; the only moment at which its SecretKey is shown.
pub struct NewAccessKey {
    /// The account it belongs to.
    pub account: AccountId,
    /// The account's second number.
    pub app_id: AppId,
    /// Public half.
    pub secret_id: SecretId,
    /// Secret half, 32 ASCII characters.
    pub secret_key: SecretBytes,
}

impl NewAccessKey {
    /// The secret half as text.
    pub fn secret_text(&self) -> &str {
        std::str::from_utf8(self.secret_key.expose()).unwrap_or_default()
    }
}

/// Letters and digits of access keys.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Longest name of an account, characters.
const MAX_NAME: usize = 64;
/// Where the access key of `quickstart` is remembered.
const QUICKSTART_KEY: &str = "quickstart.secret_id";

/// The accounts of a store, with what seals their secrets: of a running service, or beside one.
pub struct Accounts {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    clock: Arc<dyn Clock>,
}

impl Accounts {
    /// Unlocks the key hierarchy of a store, which a service may be using at the same time. `suite` wraps what is made, as
    /// in [`crate::rekey::rekey`].
    pub async fn open(store: Arc<dyn Store>, seal: SealSource, suite: Option<Suite>) -> Result<Self> {
        let rows = store.root_rows().await.map_err(ApiError::internal)?;
        let suite = suite_of(&records(&rows), suite);
        let vault = Vault::unlock(store.clone(), seal, false, suite).await?;
        Ok(Accounts { store, vault: Arc::new(vault), clock: Arc::new(SystemClock::default()) })
    }

    /// Makes an account with its root user's access key, in one transaction.
    /// A service that runs on the store finds the access key when it is first used.
    pub async fn create(&self, name: &str) -> Result<NewAccessKey> {
        let now = self.clock.now();
        if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(ApiError::invalid(
                "name",
                "must be 0 to 64 printable characters",
                "必须为 0 到 64 个可打印字符",
            ));
        }
        // Twice in a row the root key can hardly be replaced; every try is whole or nothing.
        for _ in 0..4 {
            let account = AccountId(random_number(100_000_000_000, 899_999_999_999)?);
            let app_id = AppId(random_number(1_250_000_000, 149_999_999)?);
            let (domain, row) = self.vault.new_domain(account)?;
            let account = AccountRow { account, app_id, name: name.to_owned(), create_time: now };
            let (new, key) = new_access_key(&domain, &account, Uin(account.account.0), None, now)?;
            let subjects = [format!("account/{}", new.account), subject(&new.secret_id)];
            let record = of_command(self.clock.as_ref(), "CreateAccount", &subjects, &[], Some(new.account));
            match self.store.create_account(account, row, vec![key], Some(record)).await {
                Ok(()) => return Ok(new),
                // Either the number is taken or the root key was replaced in between.
                Err(StoreError::Conflict) => self.vault.refresh().await?,
                Err(e) => return Err(ApiError::internal(e)),
            }
        }
        Err(ApiError::internal("an account could not be made while the root key is being replaced"))
    }

    /// All accounts, the oldest first.
    pub async fn list(&self) -> Result<Vec<AccountRow>> {
        self.store.accounts().await.map_err(ApiError::internal)
    }

    /// The access keys of an account.
    pub async fn access_keys(&self, account: AccountId) -> Result<Vec<AccessKeyRow>> {
        self.store.access_keys(account).await.map_err(ApiError::internal)
    }

    /// Gives a cloud product an access key with which it acts for an account. None when there is no such account.
    pub async fn grant(&self, account: AccountId, product: &Alias) -> Result<Option<NewAccessKey>> {
        self.add_access_key(account, Some(product)).await
    }

    /// Gives an account's root user one more access key, however many he has: for an operator who has to let him in again.
    /// None when there is no such account.
    pub async fn recover(&self, account: AccountId) -> Result<Option<NewAccessKey>> {
        self.add_access_key(account, None).await
    }

    async fn add_access_key(&self, account: AccountId, product: Option<&Alias>) -> Result<Option<NewAccessKey>> {
        let Some(row) = self.store.account(account).await.map_err(ApiError::internal)? else { return Ok(None) };
        let domain = self.vault.newest(account).await?;
        let (new, key) = new_access_key(&domain, &row, Uin(account.0), product, self.clock.now())?;
        let (action, mut subjects) = match product {
            Some(product) => ("GrantProduct", vec![format!("product/{product}")]),
            None => ("CreateAccountAccessKey", Vec::new()),
        };
        subjects.push(subject(&new.secret_id));
        let record = of_command(self.clock.as_ref(), action, &subjects, &[], Some(account));
        self.store.put_access_key(key, Some(record)).await.map_err(ApiError::internal)?;
        Ok(Some(new))
    }

    async fn read(&self, secret_id: SecretId) -> Result<Option<NewAccessKey>> {
        let Some(row) = self.store.access_key(&secret_id).await.map_err(ApiError::internal)? else { return Ok(None) };
        let Some(account) = self.store.account(row.account).await.map_err(ApiError::internal)? else { return Ok(None) };
        let domain = self.vault.domain(row.account, row.domain_version).await?;
        let holder = access_key_holder(row.account, row.uin, row.product.as_ref());
        let place = access_key_place(row.account, secret_id.as_str(), &holder);
        let secret_key = domain.open(&place, &row.wrapped_secret).map_err(ApiError::internal)?;
        Ok(Some(NewAccessKey { account: row.account, app_id: account.app_id, secret_id, secret_key }))
    }
}

impl Service {
    /// The accounts that the service serves.
    pub fn accounts(&self) -> Accounts {
        Accounts { store: self.store.clone(), vault: self.vault.clone(), clock: self.clock.clone() }
    }

    /// Makes an account with its root user's access key, in one transaction.
    pub async fn create_account(&self, name: &str) -> Result<NewAccessKey> {
        self.accounts().create(name).await
    }

    /// True when any account exists.
    pub async fn has_account(&self) -> Result<bool> {
        Ok(!self.accounts().list().await?.is_empty())
    }

    /// The account that `quickstart` works with, made on the first call. True when it is new.
    pub async fn quickstart_account(&self) -> Result<(NewAccessKey, bool)> {
        let known = self.store.meta_get(QUICKSTART_KEY).await.map_err(ApiError::internal)?;
        if let Some(secret_id) = known.and_then(|bytes| SecretId::parse(std::str::from_utf8(&bytes).ok()?)) {
            let missing = || ApiError::internal("the quickstart access key is missing from the store");
            return Ok((self.accounts().read(secret_id).await?.ok_or_else(missing)?, false));
        }
        let new = self.create_account("quickstart").await?;
        let id = new.secret_id.as_str().as_bytes();
        self.store.meta_put(QUICKSTART_KEY, id).await.map_err(ApiError::internal)?;
        Ok((new, true))
    }

    /// An access key with which a product acts for an account: the one that is there, or a new one.
    pub async fn quickstart_product(&self, account: AccountId, product: &Alias) -> Result<NewAccessKey> {
        let accounts = self.accounts();
        let keys = accounts.access_keys(account).await?;
        let missing = || ApiError::internal("the quickstart account is missing from the store");
        match keys.into_iter().find(|key| key.enabled && key.product.as_ref() == Some(product)) {
            Some(key) => accounts.read(key.secret_id).await?.ok_or_else(missing),
            None => accounts.grant(account, product).await?.ok_or_else(missing),
        }
    }

    /// The products that may act for accounts.
    pub fn products(&self) -> &Products {
        self.credentials.products()
    }
}

/// Switches an access key of a cloud product off for good; fine when it is. False when no product has it. A service that
/// runs on the store believes it for no longer than [`crate::jobs::ACCESS_KEY_PERIOD`] after this has returned.
pub async fn revoke(store: &dyn Store, secret_id: &SecretId) -> Result<bool> {
    switch(store, secret_id, false, "RevokeProduct", |row| row.product.is_some()).await
}

/// Whether an access key is one of an account's root user.
pub fn is_of_root(row: &AccessKeyRow) -> bool {
    row.product.is_none() && row.uin.0 == row.account.0
}

/// Switches an access key of an account's root user on or off, the last one too; fine when it is. False when he has no such.
/// As to a running service, see [`revoke`].
pub async fn switch_root_key(
    store: &dyn Store,
    account: AccountId,
    secret_id: &SecretId,
    enabled: bool,
) -> Result<bool> {
    let action = if enabled { "EnableAccountAccessKey" } else { "DisableAccountAccessKey" };
    switch(store, secret_id, enabled, action, |row| row.account == account && is_of_root(row)).await
}

/// An access key as audit records name it.
fn subject(secret_id: &SecretId) -> String {
    format!("accesskey/{secret_id}")
}

async fn switch(
    store: &dyn Store,
    secret_id: &SecretId,
    enabled: bool,
    action: &str,
    is_meant: impl Fn(&AccessKeyRow) -> bool,
) -> Result<bool> {
    for _ in 0..4 {
        let row = store.access_key(secret_id).await.map_err(ApiError::internal)?;
        let Some(row) = row.filter(|row| is_meant(row)) else { return Ok(false) };
        if row.enabled == enabled {
            return Ok(true);
        }
        let product = row.product.as_ref().map(|product| format!("product/{product}"));
        let subjects: Vec<String> = product.into_iter().chain([subject(secret_id)]).collect();
        let record = of_command(&SystemClock::default(), action, &subjects, &[], Some(row.account));
        match store.put_access_key(AccessKeyRow { enabled, ..row }, Some(record)).await {
            Ok(()) => return Ok(true),
            Err(StoreError::Conflict) => {}
            Err(e) => return Err(ApiError::internal(e)),
        }
    }
    Err(ApiError::internal("the access key kept changing"))
}

/// Makes an access key of one of an account's principals or, with `product`, of a cloud product.
pub(crate) fn new_access_key(
    domain: &DomainKey,
    account: &AccountRow,
    uin: Uin,
    product: Option<&Alias>,
    now: u64,
) -> Result<(NewAccessKey, AccessKeyRow)> {
    let secret_id = SecretId::parse(&format!("AKID{}", random_text(32)?))
        .ok_or_else(|| ApiError::internal("generated a malformed SecretId"))?;
    let secret_key = SecretBytes::new(random_text(32)?.into_bytes());
    let holder = access_key_holder(account.account, uin, product);
    let place = access_key_place(account.account, secret_id.as_str(), &holder);
    let row = AccessKeyRow {
        secret_id: secret_id.clone(),
        account: account.account,
        uin,
        product: product.cloned(),
        description: String::new(),
        wrapped_secret: domain.seal(&place, secret_key.expose()).map_err(ApiError::internal)?,
        domain_version: domain.version(),
        enabled: true,
        create_time: now,
        last_used: 0,
        revision: 0,
    };
    Ok((NewAccessKey { account: account.account, app_id: account.app_id, secret_id, secret_key }, row))
}

/// A number that nobody has, as good as surely: the store refuses one that somebody has.
pub(crate) fn random_number(from: u64, count: u64) -> Result<u64> {
    let mut bytes = [0u8; 8];
    jadeseal_crypto::random::fill(&mut bytes).map_err(ApiError::internal)?;
    // Account numbers are public; the bias of the remainder does not matter.
    Ok(from + u64::from_be_bytes(bytes) % count)
}

/// Uniform letters and digits, by rejection.
pub(crate) fn random_text(len: usize) -> Result<String> {
    let mut out = String::with_capacity(len);
    while out.len() < len {
        let block = jadeseal_crypto::random::secret(64).map_err(ApiError::internal)?;
        for b in block.expose() {
            if let Some(c) = ALPHABET.get(usize::from(b & 63))
                && out.len() < len
            {
                out.push(char::from(*c));
            }
        }
    }
    Ok(out)
}
