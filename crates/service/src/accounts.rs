//! Accounts and their access keys.

use crate::{Service, vault::access_key_place};
use jadeseal_store::{AccessKeyRow, AccountRow, StoreError};
use jadeseal_types::{AccountId, ApiError, AppId, SecretBytes, SecretId, Uin, error::Result};

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

/// Letters and digits of access keys.
const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Where the access key of `quickstart` is remembered.
const QUICKSTART_KEY: &str = "quickstart.secret_id";

impl Service {
    /// Makes an account with its root user's access key, in one transaction.
    pub async fn create_account(&self, name: &str) -> Result<NewAccessKey> {
        let now = self.clock.now();
        // Twice in a row the root key can hardly be replaced; every try is whole or nothing.
        for _ in 0..4 {
            let account = AccountId(random_number(100_000_000_000, 899_999_999_999)?);
            let app_id = AppId(random_number(1_250_000_000, 149_999_999)?);
            let secret_id = SecretId::parse(&format!("AKID{}", random_text(32)?))
                .ok_or_else(|| ApiError::internal("generated a malformed SecretId"))?;
            let secret_key = SecretBytes::new(random_text(32)?.into_bytes());
            let (domain, row) = self.vault.new_domain(account)?;
            let wrapped_secret = domain
                .seal(&access_key_place(account, secret_id.as_str()), secret_key.expose())
                .map_err(ApiError::internal)?;
            let key = AccessKeyRow {
                secret_id: secret_id.clone(),
                account,
                uin: Uin(account.0),
                wrapped_secret,
                domain_version: domain.version(),
                enabled: true,
                create_time: now,
                last_used: 0,
                revision: 0,
            };
            let row_of_account = AccountRow { account, app_id, name: name.to_owned(), create_time: now };
            match self.store.create_account(row_of_account, row, vec![key]).await {
                Ok(()) => return Ok(NewAccessKey { account, app_id, secret_id, secret_key }),
                // Either the number is taken or the root key was replaced in between.
                Err(StoreError::Conflict) => self.vault.refresh().await?,
                Err(e) => return Err(ApiError::internal(e)),
            }
        }
        Err(ApiError::internal("an account could not be made while the root key is being replaced"))
    }

    /// True when any account exists.
    pub async fn has_account(&self) -> Result<bool> {
        Ok(!self.store.accounts().await.map_err(ApiError::internal)?.is_empty())
    }

    /// The account that `quickstart` works with, made on the first call. True when it is new.
    pub async fn quickstart_account(&self) -> Result<(NewAccessKey, bool)> {
        let known = self.store.meta_get(QUICKSTART_KEY).await.map_err(ApiError::internal)?;
        if let Some(secret_id) = known.and_then(|bytes| SecretId::parse(std::str::from_utf8(&bytes).ok()?)) {
            return Ok((self.read_access_key(secret_id).await?, false));
        }
        let new = self.create_account("quickstart").await?;
        let id = new.secret_id.as_str().as_bytes();
        self.store.meta_put(QUICKSTART_KEY, id).await.map_err(ApiError::internal)?;
        Ok((new, true))
    }

    async fn read_access_key(&self, secret_id: SecretId) -> Result<NewAccessKey> {
        let missing = || ApiError::internal("the quickstart access key is missing from the store");
        let row = self.store.access_key(&secret_id).await.map_err(ApiError::internal)?.ok_or_else(missing)?;
        let account = self.store.account(row.account).await.map_err(ApiError::internal)?.ok_or_else(missing)?;
        let domain = self.vault.domain(row.account, row.domain_version).await?;
        let secret_key = domain
            .open(&access_key_place(row.account, secret_id.as_str()), &row.wrapped_secret)
            .map_err(ApiError::internal)?;
        Ok(NewAccessKey { account: row.account, app_id: account.app_id, secret_id, secret_key })
    }
}

fn random_number(from: u64, count: u64) -> Result<u64> {
    let mut bytes = [0u8; 8];
    jadeseal_crypto::random::fill(&mut bytes).map_err(ApiError::internal)?;
    // Account numbers are public; the bias of the remainder does not matter.
    Ok(from + u64::from_be_bytes(bytes) % count)
}

/// Uniform letters and digits, by rejection.
fn random_text(len: usize) -> Result<String> {
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
