//! The opened key hierarchy: domain keys, and the places that wrapped secrets are bound to.
//!
//! Nothing here is on the hot path: a domain key is opened once and kept.

use jadeseal_root::{DomainKey, DomainRecord, Keyring, Place, Purpose, RootRecord, Seal, SealSource};
use jadeseal_store::{Cmk, DataKeyMaterial, DomainRow, KeyVersion, RootRow, Store, StoreError};
use jadeseal_types::{AccountId, Alias, ApiError, DataKeyId, KeyId, SecretBytes, Suite, Uin, error::Result};
use parking_lot::RwLock;
use std::{borrow::Cow, collections::HashMap, sync::Arc};

/// Opens and keeps the domain key of each account.
pub struct Vault {
    store: Arc<dyn Store>,
    /// None for a copy of a store, in which no root key version appears.
    source: Option<SealSource>,
    keyring: Arc<Keyring>,
    domains: RwLock<HashMap<(AccountId, u32), Arc<DomainKey>>>,
    /// The version of each account's domain key that wraps what is new, as the store has it.
    newest: RwLock<HashMap<AccountId, u32>>,
    /// Held while root key versions are learned.
    refreshing: tokio::sync::Mutex<()>,
}

impl Vault {
    /// Unlocks the root key versions that the store holds, or with `create` makes the first one in an empty
    /// store. An empty store is otherwise refused: it is a failed restore more often than a new deployment.
    /// From now on it wraps with `suite`.
    pub async fn unlock(store: Arc<dyn Store>, source: SealSource, create: bool, suite: Suite) -> Result<Self> {
        let rows = store.root_rows().await.map_err(ApiError::internal)?;
        let keyring = if rows.is_empty() && create {
            let seal = source.create().map_err(ApiError::internal)?;
            let (keyring, record) = Keyring::bootstrap(seal.as_ref(), SLOT, suite).map_err(ApiError::internal)?;
            store.add_root(vec![root_row(&record)], &[], None).await.map_err(ApiError::internal)?;
            keyring
        } else {
            unlock(&source, &rows, suite)?
        };
        Ok(Self::of(store, Some(source), keyring))
    }

    /// Over an opened keyring, for a copy of a store that nobody else works on.
    pub(crate) fn over(store: Arc<dyn Store>, keyring: Keyring) -> Self {
        Self::of(store, None, keyring)
    }

    fn of(store: Arc<dyn Store>, source: Option<SealSource>, keyring: Keyring) -> Self {
        Vault {
            store,
            source,
            keyring: Arc::new(keyring),
            domains: RwLock::default(),
            newest: RwLock::default(),
            refreshing: tokio::sync::Mutex::default(),
        }
    }

    /// The opened root keys.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// A domain key for an account that is being made. The store refuses the row if the root key was
    /// replaced in the meantime; [`Vault::refresh`] and a second try then succeed.
    pub fn new_domain(&self, account: AccountId) -> Result<(DomainKey, DomainRow)> {
        let (key, record) = self.keyring.new_domain(account, 1).map_err(ApiError::internal)?;
        Ok((key, domain_row(&record)))
    }

    /// The domain key that wraps what is new in an account: the newest, or one more where that one does not wrap with
    /// SM4 and the deployment now may use nothing else.
    pub async fn newest(&self, account: AccountId) -> Result<Arc<DomainKey>> {
        let known = self.newest.read().get(&account).copied();
        if let Some(version) = known {
            return self.domain(account, version).await;
        }
        // Either the next version is made by somebody else, or the root key is replaced in between.
        for _ in 0..4 {
            let rows = self.store.domains(account).await.map_err(ApiError::internal)?;
            let version = rows.iter().map(|r| r.version).max();
            let version = version.ok_or_else(|| ApiError::internal(format!("account {account} has no domain key")))?;
            let newest = self.domain(account, version).await?;
            if self.keyring.suite() == Suite::Aes256 || newest.suite() == self.keyring.suite() {
                self.newest.write().insert(account, version);
                return Ok(newest);
            }
            let (_, record) = self.keyring.new_domain(account, version + 1).map_err(ApiError::internal)?;
            match self.store.add_domain(domain_row(&record)).await {
                Ok(()) => {}
                Err(StoreError::Conflict) => self.refresh().await?,
                Err(e) => return Err(ApiError::internal(e)),
            }
        }
        Err(ApiError::internal("a domain key could not be made while the root key is being replaced"))
    }

    /// One version of an account's domain key.
    pub async fn domain(&self, account: AccountId, version: u32) -> Result<Arc<DomainKey>> {
        let found = self.find_domain(account, version).await?;
        found.ok_or_else(|| ApiError::internal(format!("domain key {account}/{version} is missing")))
    }

    /// One version of an account's domain key, if there is one.
    pub async fn find_domain(&self, account: AccountId, version: u32) -> Result<Option<Arc<DomainKey>>> {
        if let Some(key) = self.domains.read().get(&(account, version)) {
            return Ok(Some(key.clone()));
        }
        let rows = self.store.domains(account).await.map_err(ApiError::internal)?;
        let Some(row) = rows.iter().find(|r| r.version == version) else { return Ok(None) };
        if !self.keyring.versions().contains(&row.root_version) {
            self.refresh().await?;
        }
        let record = domain_record(row);
        let key = Arc::new(self.keyring.open_domain(&record).map_err(ApiError::internal)?);
        self.domains.write().insert((account, version), key.clone());
        Ok(Some(key))
    }

    /// Learns root key versions that `jadeseal rekey` has added since. One caller does it, the others wait for him: a
    /// passphrase takes 64 MiB to stretch.
    pub async fn refresh(&self) -> Result<()> {
        let _one = self.refreshing.lock().await;
        let records = records(&self.store.root_rows().await.map_err(ApiError::internal)?);
        let known = self.keyring.versions();
        if records.iter().all(|r| known.contains(&r.version)) {
            return Ok(());
        }
        let Some(source) = self.source.clone() else {
            return Err(ApiError::internal("a root key version is missing"));
        };
        let keyring = self.keyring.clone();
        // A passphrase is stretched anew, which takes a good part of a second.
        let learning = tokio::task::spawn_blocking(move || {
            let seals = source.open(&records)?;
            keyring.learn(&borrowed(&seals), &records)
        });
        learning.await.map_err(ApiError::internal)?.map(drop).map_err(ApiError::internal)
    }

    /// Seals a key pair that belongs to no account yet, under the current root key.
    pub fn seal_pooled(&self, id: KeyId, material: &SecretBytes) -> Result<Vec<u8>> {
        self.keyring.seal_pooled(id, material).map_err(ApiError::internal)
    }

    /// Opens what [`Vault::seal_pooled`] sealed, while that root key is there.
    pub fn open_pooled(&self, id: KeyId, wrapped: &[u8]) -> Result<SecretBytes> {
        self.keyring.open_pooled(id, wrapped).map_err(ApiError::internal)
    }

    /// Opens one version of a CMK's material.
    pub async fn open_material(&self, cmk: &Cmk, version: &KeyVersion) -> Result<SecretBytes> {
        let domain = self.domain(cmk.account, version.domain_version).await?;
        domain.open(&material_place(cmk, version.version), &version.wrapped).map_err(ApiError::internal)
    }

    /// Seals new material as a version of a CMK under the account's newest domain key.
    pub fn seal_material(
        domain: &DomainKey,
        cmk: &Cmk,
        version: u32,
        material: &SecretBytes,
        now: u64,
    ) -> Result<KeyVersion> {
        let place = material_place(cmk, version);
        let wrapped = domain.seal(&place, material.expose()).map_err(ApiError::internal)?;
        // A version that does not open again must never become the only copy of a key.
        let opened = domain.open(&place, &wrapped).map_err(ApiError::internal)?;
        if !opened.ct_eq(material.expose()) {
            return Err(ApiError::internal("wrapped key material does not open to itself"));
        }
        Ok(KeyVersion { key_id: cmk.key_id, version, create_time: now, domain_version: domain.version(), wrapped })
    }

    /// Seals what is kept of a data key under the account's newest domain key.
    pub fn seal_data_key(domain: &DomainKey, cmk: &Cmk, id: DataKeyId, kept: &[u8]) -> Result<DataKeyMaterial> {
        let place = data_key_place(cmk, &id);
        let wrapped = domain.seal(&place, kept).map_err(ApiError::internal)?;
        // As with key material: it must never become the only copy if it does not open again.
        if !domain.open(&place, &wrapped).map_err(ApiError::internal)?.ct_eq(kept) {
            return Err(ApiError::internal("a wrapped data key does not open to itself"));
        }
        Ok(DataKeyMaterial { data_key_id: id, domain_version: domain.version(), wrapped })
    }

    /// Opens what is kept of a data key of a CMK.
    pub async fn open_data_key(&self, cmk: &Cmk, material: &DataKeyMaterial) -> Result<SecretBytes> {
        let domain = self.domain(cmk.account, material.domain_version).await?;
        domain.open(&data_key_place(cmk, &material.data_key_id), &material.wrapped).map_err(ApiError::internal)
    }
}

fn material_place(cmk: &Cmk, version: u32) -> Place<'_> {
    Place {
        purpose: Purpose::CmkMaterial,
        account: cmk.account,
        region: cmk.region.as_str(),
        key_id: cmk.key_id.as_bytes(),
        version,
        usage: cmk.usage.code(),
        suite: cmk.suite.code(),
    }
}

/// Where the private half of an import key pair is bound to.
pub fn import_place(cmk: &Cmk) -> Place<'_> {
    Place { purpose: Purpose::ImportKey, ..material_place(cmk, 0) }
}

/// Where a hosted data key is bound to. Its CMK is named inside, in the header of its ciphertext.
fn data_key_place<'a>(cmk: &'a Cmk, id: &'a DataKeyId) -> Place<'a> {
    Place { purpose: Purpose::DataKey, key_id: id.0.as_bytes(), ..material_place(cmk, 0) }
}

/// Whose an access key is, as its secret's place says it where a CMK has its region: nothing for the main account, `cos` for
/// a cloud product, `uin/100000000002` for a user. So a row that was made another's does not open.
pub fn access_key_holder(account: AccountId, uin: Uin, product: Option<&Alias>) -> Cow<'_, str> {
    match product {
        Some(product) => product.as_str().into(),
        None if uin.0 == account.0 => "".into(),
        None => format!("uin/{uin}").into(),
    }
}

/// Where the SecretKey of an access key is bound to, by its [`access_key_holder`].
pub fn access_key_place<'a>(account: AccountId, secret_id: &'a str, holder: &'a str) -> Place<'a> {
    Place {
        purpose: Purpose::AccessKey,
        account,
        region: holder,
        key_id: secret_id.as_bytes(),
        version: 0,
        usage: 0,
        suite: 0,
    }
}

/// Where what a session token says is bound to: to the temporary access key that it goes with.
pub fn session_place(account: AccountId, secret_id: &str) -> Place<'_> {
    Place { purpose: Purpose::SessionToken, ..access_key_place(account, secret_id, "") }
}

/// The slot of the first custodian.
pub const SLOT: &str = "primary";

/// Opens every root key version of a store.
pub fn unlock(source: &SealSource, rows: &[RootRow], suite: Suite) -> Result<Keyring> {
    let records = records(rows);
    let seals = source.open(&records).map_err(ApiError::internal)?;
    Keyring::unlock(&borrowed(&seals), &records, suite).map_err(ApiError::internal)
}

/// Seals in the form that a keyring takes.
pub(crate) fn borrowed(seals: &[Box<dyn Seal>]) -> Vec<&dyn Seal> {
    seals.iter().map(AsRef::as_ref).collect()
}

/// The store's rows as the root crate's records.
pub fn records(rows: &[RootRow]) -> Vec<RootRecord> {
    rows.iter()
        .map(|r| RootRecord {
            version: r.version,
            slot: r.slot.clone(),
            seal_kind: r.seal_kind.clone(),
            params: r.params.clone(),
            wrapped: r.wrapped.clone(),
        })
        .collect()
}

/// A record as the store's row, to become current.
pub fn root_row(record: &RootRecord) -> RootRow {
    RootRow {
        version: record.version,
        slot: record.slot.clone(),
        seal_kind: record.seal_kind.clone(),
        params: record.params.clone(),
        wrapped: record.wrapped.clone(),
        state: jadeseal_store::RootState::Current,
        create_time: 0,
    }
}

/// A domain row as the root crate's record.
pub fn domain_record(row: &DomainRow) -> DomainRecord {
    DomainRecord {
        account: row.account,
        version: row.version,
        root_version: row.root_version,
        wrapped: row.wrapped.clone(),
    }
}

/// A record as the store's row.
pub fn domain_row(record: &DomainRecord) -> DomainRow {
    DomainRow {
        account: record.account,
        version: record.version,
        root_version: record.root_version,
        wrapped: record.wrapped.clone(),
        revision: 0,
    }
}
