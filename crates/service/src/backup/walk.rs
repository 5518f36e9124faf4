//! Goes over everything secret of a store: digests, canaries, and whether all of it opens.

use super::content::{AccountPart, Canary};
use crate::vault::{Vault, access_key_holder, access_key_place};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jadeseal_crypto::{BlobKey, Context, PrivateKey, blob, digest};
use jadeseal_store::{AccessKeyRow, Cmk, DataKey, DataKeyMaterial, KeyVersion, Store, Tag};
use jadeseal_types::{AccountId, ApiError, KeyId, KeyState, KeyUsage, Suite, error::Result};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// CMKs read in one go.
const PAGE: u64 = 500;
/// Most differences that are told one by one.
pub(super) const MAX_TOLD: usize = 1000;

/// What was found.
#[derive(Default)]
pub(super) struct Walk {
    /// By id ascending.
    pub digests: Vec<([u8; 16], [u8; 32])>,
    /// Accounts with canaries, where these were asked for.
    pub accounts: Vec<AccountPart>,
    pub keys: BTreeMap<String, u64>,
    pub data_keys: BTreeMap<String, u64>,
    /// Key versions that opened.
    pub versions: u64,
    /// Access keys that opened.
    pub access_keys: u64,
    /// What does not open, for people.
    pub faults: Vec<String>,
    /// PendingDelete with a date that has passed.
    pub due: u64,
}

impl Walk {
    fn fault(&mut self, what: impl FnOnce() -> String) {
        if self.faults.len() < MAX_TOLD {
            self.faults.push(what());
        }
    }
}

/// What a canary's ciphertext says.
pub(super) fn canary_text(account: AccountId, key: KeyId, created: u64) -> String {
    format!("jadeseal canary of account {account}, key {key}, backup of {created}")
}

/// Digests and canaries of a store that nobody writes to. `created` goes into the canaries.
pub(super) async fn survey(store: &dyn Store, vault: &Vault, suite: Suite, created: u64) -> Result<Walk> {
    let mut walk = Walk::default();
    let mut canaries = BTreeMap::new();
    let accounts = store.accounts().await.map_err(ApiError::internal)?;
    each_cmk(store, suite, &mut walk, async |cmk: &Cmk, versions: &[KeyVersion], _: &[_]| {
        let fits = cmk.state == KeyState::Enabled && cmk.usage == KeyUsage::EncryptDecrypt;
        let current = versions.iter().find(|v| fits && v.version == cmk.current_version);
        let Some(current) = current.filter(|_| !canaries.contains_key(&cmk.account)) else { return Ok(Vec::new()) };
        // A key that does not open is told when the backup is read back; another may do for the canary.
        let Ok(material) = vault.open_material(cmk, current).await else { return Ok(Vec::new()) };
        let Ok(key) = BlobKey::new(cmk.suite, &material) else { return Ok(Vec::new()) };
        let text = canary_text(cmk.account, cmk.key_id, created);
        let made = blob::seal(&key, cmk.key_id, current.version, &Context::default(), text.as_bytes());
        let blob = BASE64_STANDARD.encode(made.map_err(ApiError::internal)?);
        canaries.insert(cmk.account, Canary { key_id: cmk.key_id.to_string(), blob });
        Ok(Vec::new())
    })
    .await?;
    let part = |account: AccountId| AccountPart { account: account.0, canary: canaries.remove(&account) };
    walk.accounts = accounts.iter().map(|row| row.account).map(part).collect();
    Ok(walk)
}

/// Opens everything: every version of every key, every data key, every access key; as to `now`, counts what is due for
/// deletion.
pub(super) async fn open_all(store: &dyn Store, vault: &Vault, suite: Suite, now: u64) -> Result<Walk> {
    let mut walk = Walk::default();
    let (mut opened, mut due) = (0, 0);
    each_cmk(store, suite, &mut walk, async |cmk: &Cmk, versions: &[KeyVersion], data_keys: &[_]| {
        due += u64::from(cmk.state == KeyState::PendingDelete && cmk.deletion_date > 0 && cmk.deletion_date <= now);
        let mut faults = Vec::new();
        for version in versions {
            match open_version(vault, cmk, version).await {
                Ok(()) => opened += 1,
                Err(e) => {
                    faults.push(format!("version {} of key {} does not open: {}", version.version, cmk.key_id, why(&e)))
                }
            }
        }
        let material = versions.iter().any(|v| v.version == cmk.current_version);
        if cmk.current_version > 0 && !material {
            faults.push(format!("key {} has no version {}, its current one", cmk.key_id, cmk.current_version));
        }
        for (data_key, material) in data_keys {
            let (data_key, material): (&DataKey, &Option<DataKeyMaterial>) = (data_key, material);
            let opened = match material {
                Some(material) => vault.open_data_key(cmk, material).await.map(drop),
                None => Err(ApiError::internal("it is missing")),
            };
            if let Err(e) = opened {
                faults.push(format!("data key {} does not open: {}", data_key.data_key_id.0, why(&e)));
            }
        }
        Ok(faults)
    })
    .await?;
    (walk.versions, walk.due) = (opened, due);
    for account in store.accounts().await.map_err(ApiError::internal)? {
        for row in store.access_keys(account.account).await.map_err(ApiError::internal)? {
            match open_access_key(vault, &row).await {
                Ok(()) => walk.access_keys += 1,
                Err(e) => walk.fault(|| format!("access key {} does not open: {}", row.secret_id, why(&e))),
            }
        }
    }
    Ok(walk)
}

fn why(e: &ApiError) -> String {
    e.internal_cause().map_or_else(|| e.to_string(), str::to_owned)
}

async fn open_version(vault: &Vault, cmk: &Cmk, version: &KeyVersion) -> Result<()> {
    let material = vault.open_material(cmk, version).await?;
    match cmk.usage {
        KeyUsage::EncryptDecrypt => BlobKey::new(cmk.suite, &material).map(drop),
        usage => PrivateKey::open(usage, &material).map(drop),
    }
    .map_err(ApiError::internal)
}

async fn open_access_key(vault: &Vault, row: &AccessKeyRow) -> Result<()> {
    let domain = vault.domain(row.account, row.domain_version).await?;
    let holder = access_key_holder(row.account, row.uin, row.product.as_ref());
    let place = access_key_place(row.account, row.secret_id.as_str(), &holder);
    domain.open(&place, &row.wrapped_secret).map(drop).map_err(ApiError::internal)
}

/// Decrypts every canary of a manifest, each with its key as it is in the store. Counts those that do; the rest are faults.
pub(super) async fn open_canaries(
    store: &dyn Store,
    vault: &Vault,
    accounts: &[AccountPart],
    created: u64,
    faults: &mut Vec<String>,
) -> Result<u64> {
    let wanted: HashSet<KeyId> =
        accounts.iter().filter_map(|part| KeyId::parse(&part.canary.as_ref()?.key_id)).collect();
    let mut rows = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.all_keys_meta(after, PAGE).await.map_err(ApiError::internal)?;
        let Some(last) = page.last() else { break };
        after = Some(last.key_id);
        rows.extend(
            page.into_iter().filter(|cmk| wanted.contains(&cmk.key_id)).map(|cmk| (*cmk.key_id.as_bytes(), cmk)),
        );
    }
    let mut opened = 0;
    for part in accounts {
        let Some(canary) = &part.canary else { continue };
        let cmk = KeyId::parse(&canary.key_id).and_then(|id| rows.get(id.as_bytes()));
        let outcome = match cmk.filter(|cmk| cmk.account.0 == part.account) {
            Some(cmk) => open_canary(store, vault, cmk, canary, created).await,
            None => Err(ApiError::internal("its key is missing")),
        };
        match outcome {
            Ok(()) => opened += 1,
            Err(e) => faults.push(format!("the canary of account {} does not decrypt: {}", part.account, why(&e))),
        }
    }
    Ok(opened)
}

async fn open_canary(store: &dyn Store, vault: &Vault, cmk: &Cmk, canary: &Canary, created: u64) -> Result<()> {
    let bytes = BASE64_STANDARD.decode(&canary.blob).map_err(ApiError::internal)?;
    let header = blob::Header::parse(&bytes).map_err(ApiError::internal)?;
    let version = store.version(&cmk.scope(), cmk.key_id, header.version).await.map_err(ApiError::internal)?;
    let version = version.ok_or_else(|| ApiError::internal("the version of its key is missing"))?;
    let key = BlobKey::new(cmk.suite, &vault.open_material(cmk, &version).await?).map_err(ApiError::internal)?;
    let text = blob::open(&key, &bytes, &Context::default()).map_err(ApiError::internal)?;
    let expected = canary_text(cmk.account, cmk.key_id, created);
    if text.ct_eq(expected.as_bytes()) { Ok(()) } else { Err(ApiError::internal("it says something else")) }
}

/// Visits every CMK with its versions and data keys, and keeps digests and counts. The visitor answers with what is wrong.
async fn each_cmk(
    store: &dyn Store,
    suite: Suite,
    walk: &mut Walk,
    mut visit: impl AsyncFnMut(&Cmk, &[KeyVersion], &[(DataKey, Option<DataKeyMaterial>)]) -> Result<Vec<String>>,
) -> Result<()> {
    let mut after = None;
    loop {
        let page = store.all_keys_meta(after, PAGE).await.map_err(ApiError::internal)?;
        let Some(last) = page.last() else { break };
        after = Some(last.key_id);
        for cmk in &page {
            let scope = cmk.scope();
            let versions = store.versions(&scope, cmk.key_id).await.map_err(ApiError::internal)?;
            let tags = store.tags(&scope, cmk.key_id).await.map_err(ApiError::internal)?;
            let found = store.data_keys_of(&scope, cmk.key_id, u64::MAX).await.map_err(ApiError::internal)?;
            let mut data_keys = Vec::with_capacity(found.len());
            for row in found {
                let material = store.data_key_material(&scope, row.data_key_id).await.map_err(ApiError::internal)?;
                let tags = store.data_key_tags(&scope, row.data_key_id).await.map_err(ApiError::internal)?;
                let digest = data_key_digest(suite, &row, material.as_ref(), &tags);
                walk.digests.push((*row.data_key_id.0.as_bytes(), digest));
                *walk.data_keys.entry(row.state.wire().to_owned()).or_default() += 1;
                data_keys.push((row, material));
            }
            walk.digests.push((*cmk.key_id.as_bytes(), cmk_digest(suite, cmk, &versions, &tags)));
            *walk.keys.entry(cmk.state.wire().to_owned()).or_default() += 1;
            for fault in visit(cmk, &versions, &data_keys).await? {
                walk.fault(|| fault);
            }
        }
    }
    walk.digests.sort_unstable();
    Ok(())
}

/// Differences between two lists of digests, for people.
pub(super) fn compare(told: &[([u8; 16], [u8; 32])], found: &[([u8; 16], [u8; 32])], faults: &mut Vec<String>) {
    let found: BTreeMap<_, _> = found.iter().copied().collect();
    let mut seen = BTreeSet::new();
    let mut say = |id: &[u8; 16], what: &str| {
        if faults.len() < MAX_TOLD {
            faults.push(format!("key {} {what}", KeyId::from_bytes(*id)));
        }
    };
    for (id, digest) in told {
        seen.insert(*id);
        match found.get(id) {
            None => say(id, "is missing"),
            Some(other) if other != digest => say(id, "has other metadata than when the backup was made"),
            Some(_) => {}
        }
    }
    for id in found.keys().filter(|id| !seen.contains(*id)) {
        say(id, "was not there when the backup was made");
    }
}

/// Fields one behind the other, each behind its length, so that no two rows encode alike.
struct Fields(Vec<u8>);

impl Fields {
    fn new(kind: &str) -> Self {
        Fields(Vec::with_capacity(512)).bytes(kind.as_bytes())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    fn numbers<const N: usize>(mut self, numbers: [u64; N]) -> Self {
        numbers.iter().for_each(|n| self.0.extend_from_slice(&n.to_be_bytes()));
        self
    }

    fn tags(self, tags: &[Tag]) -> Self {
        let this = self.numbers([tags.len() as u64]);
        tags.iter().fold(this, |this, tag| this.bytes(tag.key.as_bytes()).bytes(tag.value.as_bytes()))
    }
}

fn cmk_digest(suite: Suite, cmk: &Cmk, versions: &[KeyVersion], tags: &[Tag]) -> [u8; 32] {
    let codes = [cmk.usage.code(), cmk.suite.code(), cmk.origin.code(), cmk.state.code()];
    let rotation = cmk.rotation;
    let fields = Fields::new("cmk 1")
        .bytes(cmk.key_id.as_bytes())
        .numbers([cmk.account.0])
        .bytes(cmk.region.as_str().as_bytes())
        .bytes(cmk.alias.as_str().as_bytes())
        .bytes(cmk.description.as_bytes())
        .bytes(&codes)
        .bytes(cmk.owner.wire().as_bytes())
        .numbers([cmk.creator.0, cmk.create_time, cmk.deletion_date, cmk.valid_to, cmk.revision])
        .numbers([rotation.enabled.into(), rotation.days.into(), rotation.last, rotation.next, rotation.last_on_demand])
        .numbers([cmk.current_version.into(), cmk.bindings.into()])
        .bytes(cmk.hsm_cluster.as_bytes())
        .bytes(cmk.material_digest.as_ref().map_or(&[], |d| d.as_slice()))
        .numbers([versions.len() as u64]);
    let fields = versions.iter().fold(fields, |fields, v| {
        fields.numbers([v.version.into(), v.create_time, v.domain_version.into()]).bytes(&v.wrapped)
    });
    digest(suite, &fields.tags(tags).0)
}

fn data_key_digest(suite: Suite, row: &DataKey, material: Option<&DataKeyMaterial>, tags: &[Tag]) -> [u8; 32] {
    let fields = Fields::new("data key 1")
        .bytes(row.data_key_id.0.as_bytes())
        .bytes(row.cmk.as_bytes())
        .numbers([row.account.0])
        .bytes(row.region.as_str().as_bytes())
        .bytes(row.name.as_str().as_bytes())
        .bytes(row.description.as_bytes())
        .bytes(&[row.origin.code(), row.state.code()])
        .bytes(row.owner.wire().as_bytes())
        .numbers([row.creator.0, row.create_time, row.deletion_date, row.revision, row.bytes.into()])
        .bytes(row.hsm_cluster.as_bytes())
        .numbers([material.map_or(0, |m| m.domain_version.into())])
        .bytes(material.map_or(&[], |m| m.wrapped.as_slice()));
    digest(suite, &fields.tags(tags).0)
}
