//! The root key versions of a deployment, opened.

use crate::{
    domain::DomainKey,
    error::{RootError, not_opened},
    place::{Place, Purpose},
    seal::Seal,
};
use jadeseal_crypto::{
    random,
    wrap::{EitherWrapKey, KEY_LEN, parent_version},
};
use jadeseal_types::{AccountId, KeyId, SecretBytes, Suite};
use parking_lot::RwLock;
use std::{collections::BTreeMap, sync::Arc};

/// One root key version in one slot: the same key may be sealed in several slots, by several
/// custodians. Plain data, safe to store and to back up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootRecord {
    /// The version, from 1.
    pub version: u32,
    /// Name of the slot, chosen by the operator.
    pub slot: String,
    /// Kind of the seal ([`Seal::kind`]).
    pub seal_kind: String,
    /// Parameters of the seal ([`Seal::params`]).
    pub params: Vec<u8>,
    /// The root key, sealed.
    pub wrapped: Vec<u8>,
}

/// One domain key version of an account. Plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainRecord {
    /// The account.
    pub account: AccountId,
    /// Version of the domain key, from 1.
    pub version: u32,
    /// Version of the root key that wraps it.
    pub root_version: u32,
    /// The domain key, wrapped.
    pub wrapped: Vec<u8>,
}

/// Opened root key versions. Shared by `Arc`: a serving process learns new versions while it serves.
pub struct Keyring {
    /// By version; never empty. The highest is the current one.
    roots: RwLock<BTreeMap<u32, Arc<RootKey>>>,
    /// What is wrapped from now on is wrapped with this suite; what is there opens whatever it is.
    suite: Suite,
}

/// Root keys belong to the deployment, not to an account.
const NO_ACCOUNT: AccountId = AccountId(0);

impl Keyring {
    /// Makes root key version 1 and its first slot. Store the record before anything is wrapped.
    pub fn bootstrap(seal: &dyn Seal, slot: &str, suite: Suite) -> Result<(Keyring, RootRecord), RootError> {
        let root = RootKey::random()?;
        let record = root.record(1, seal, slot, suite)?;
        Ok((Keyring { roots: RwLock::new(BTreeMap::from([(1, Arc::new(root))])), suite }, record))
    }

    /// Opens every version. Each must open by at least one slot; the error names those that do not.
    pub fn unlock(seals: &[&dyn Seal], records: &[RootRecord], suite: Suite) -> Result<Keyring, RootError> {
        if records.is_empty() {
            return Err(RootError::Empty);
        }
        let keyring = Keyring { roots: RwLock::new(BTreeMap::new()), suite };
        keyring.learn(seals, records)?;
        Ok(keyring)
    }

    /// Opens versions that this keyring does not hold yet and returns them, ascending. A version
    /// that no seal opens is an error that names it; the others are learned nevertheless.
    pub fn learn(&self, seals: &[&dyn Seal], records: &[RootRecord]) -> Result<Vec<u32>, RootError> {
        let mut learned = BTreeMap::new();
        let mut sealed = Vec::new();
        {
            // Opening can take long (a token), so not under the lock.
            let known = self.versions();
            let mut unknown: Vec<u32> = records.iter().map(|r| r.version).filter(|v| !known.contains(v)).collect();
            unknown.sort_unstable();
            unknown.dedup();
            for version in unknown {
                match open_version(seals, records, version)? {
                    Some(root) => drop(learned.insert(version, Arc::new(root))),
                    None => sealed.push(version),
                }
            }
        }
        let versions = learned.keys().copied().collect();
        self.roots.write().extend(learned);
        if sealed.is_empty() { Ok(versions) } else { Err(RootError::Sealed(sealed)) }
    }

    /// Makes the next root key version and its first slot; it is current at once. Store the record
    /// before a domain key is made or re-wrapped: a version that only memory knows must wrap nothing.
    pub fn add_version(&self, seal: &dyn Seal, slot: &str) -> Result<RootRecord, RootError> {
        let root = RootKey::random()?;
        let mut roots = self.roots.write();
        let last = roots.keys().next_back().copied().unwrap_or(0);
        let version = last.checked_add(1).ok_or(RootError::Crypto("root key versions are used up"))?;
        let record = root.record(version, seal, slot, self.suite)?;
        roots.insert(version, Arc::new(root));
        Ok(record)
    }

    /// Seals an existing version into one more slot, for another custodian.
    pub fn add_slot(&self, version: u32, seal: &dyn Seal, slot: &str) -> Result<RootRecord, RootError> {
        self.root(version)?.record(version, seal, slot, self.suite)
    }

    /// Whether any of the seals opens a record, and to this very key.
    pub fn is_opened_by(&self, seals: &[&dyn Seal], record: &RootRecord) -> Result<bool, RootError> {
        let opened = open_version(seals, std::slice::from_ref(record), record.version)?;
        match opened {
            None => Ok(false),
            Some(root) if root.secret.ct_eq(self.root(record.version)?.secret.expose()) => Ok(true),
            Some(_) => Err(RootError::Conflict(record.version)),
        }
    }

    /// Wipes a version from memory once nothing is wrapped by it. The current one stays.
    pub fn forget(&self, version: u32) -> Result<(), RootError> {
        let mut roots = self.roots.write();
        if roots.keys().next_back() == Some(&version) {
            return Err(RootError::Current(version));
        }
        roots.remove(&version).map(drop).ok_or(RootError::NoVersion(version))
    }

    /// The version that wraps new domain keys: the highest.
    pub fn current(&self) -> u32 {
        self.roots.read().keys().next_back().copied().unwrap_or(0)
    }

    /// Every version in memory, ascending.
    pub fn versions(&self) -> Vec<u32> {
        self.roots.read().keys().copied().collect()
    }

    /// The suite of everything that is wrapped from now on: AES-256, or SM4 where nothing else is allowed.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Makes a domain key for an account, which wraps with this keyring's suite. `version` counts from 1.
    pub fn new_domain(&self, account: AccountId, version: u32) -> Result<(DomainKey, DomainRecord), RootError> {
        let (key, secret) = DomainKey::random(account, version, self.suite)?;
        let record = self.wrap_domain(account, version, &secret)?;
        Ok((key, record))
    }

    /// Opens a domain key.
    pub fn open_domain(&self, record: &DomainRecord) -> Result<DomainKey, RootError> {
        DomainKey::from_secret(record.account, record.version, &self.unwrap_domain(record)?)
    }

    /// The same domain key under the current root key version. Reads back what it wrote before it
    /// returns: the caller is about to replace the only copy.
    pub fn rewrap_domain(&self, record: &DomainRecord) -> Result<DomainRecord, RootError> {
        let secret = self.unwrap_domain(record)?;
        let rewrapped = self.wrap_domain(record.account, record.version, &secret)?;
        if !self.unwrap_domain(&rewrapped)?.ct_eq(secret.expose()) {
            return Err(RootError::Crypto("a re-wrapped domain key did not read back"));
        }
        Ok(rewrapped)
    }

    /// Wraps a key pair that belongs to no account yet, under the current root key.
    pub fn seal_pooled(&self, id: KeyId, secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        let version = self.current();
        let wrap = self.root(version)?;
        let wrapped = wrap.wrap.of(self.suite).seal(version, &pooled_place(id, version), secret.expose());
        wrapped.map_err(|_| RootError::Crypto("wrapping a pooled key failed"))
    }

    /// Opens what [`Keyring::seal_pooled`] wrapped.
    pub fn open_pooled(&self, id: KeyId, wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        let version = parent_version(wrapped).map_err(not_opened)?;
        self.root(version)?.wrap.open(wrapped, &pooled_place(id, version)).map_err(not_opened)
    }

    /// Wraps a key that signs the audit log of this name, under the current root key.
    pub fn seal_audit_key(&self, origin: &[u8], secret: &SecretBytes) -> Result<Vec<u8>, RootError> {
        let version = self.current();
        let wrap = self.root(version)?;
        let wrapped = wrap.wrap.of(self.suite).seal(version, &audit_place(origin, version), secret.expose());
        wrapped.map_err(|_| RootError::Crypto("wrapping the audit log's key failed"))
    }

    /// Opens what [`Keyring::seal_audit_key`] wrapped.
    pub fn open_audit_key(&self, origin: &[u8], wrapped: &[u8]) -> Result<SecretBytes, RootError> {
        let version = parent_version(wrapped).map_err(not_opened)?;
        self.root(version)?.wrap.open(wrapped, &audit_place(origin, version)).map_err(not_opened)
    }

    fn wrap_domain(&self, account: AccountId, version: u32, secret: &SecretBytes) -> Result<DomainRecord, RootError> {
        let root_version = self.current();
        let place = domain_place(account, version, root_version);
        let wrapped = self.root(root_version)?.wrap.of(self.suite).seal(root_version, &place, secret.expose());
        let wrapped = wrapped.map_err(|_| RootError::Crypto("wrapping a domain key failed"))?;
        Ok(DomainRecord { account, version, root_version, wrapped })
    }

    fn unwrap_domain(&self, record: &DomainRecord) -> Result<SecretBytes, RootError> {
        let root = self.root(record.root_version)?;
        let place = domain_place(record.account, record.version, record.root_version);
        root.wrap.open(&record.wrapped, &place).map_err(not_opened)
    }

    fn root(&self, version: u32) -> Result<Arc<RootKey>, RootError> {
        self.roots.read().get(&version).cloned().ok_or(RootError::NoVersion(version))
    }
}

/// A root key, ready to wrap. The bytes are kept too: another slot may be added at any time.
struct RootKey {
    secret: SecretBytes,
    wrap: EitherWrapKey,
}

impl RootKey {
    fn random() -> Result<Self, RootError> {
        let secret = random::secret(KEY_LEN).map_err(|_| RootError::Crypto("no random bytes for a root key"))?;
        Self::new(secret)
    }

    fn new(secret: SecretBytes) -> Result<Self, RootError> {
        let wrap = EitherWrapKey::new(&secret).map_err(|_| RootError::Crypto("a root key is unusable"))?;
        Ok(RootKey { secret, wrap })
    }

    /// Seals this key into a slot, and reads it back: a slot that does not open must never be stored.
    fn record(&self, version: u32, seal: &dyn Seal, slot: &str, suite: Suite) -> Result<RootRecord, RootError> {
        let place = root_place(version, slot);
        let wrapped = seal.seal(suite, &place, &self.secret)?;
        if !seal.open(&place, &wrapped)?.ct_eq(self.secret.expose()) {
            return Err(RootError::Crypto("a sealed root key did not read back"));
        }
        Ok(RootRecord { version, slot: slot.into(), seal_kind: seal.kind().into(), params: seal.params(), wrapped })
    }
}

/// Opens one version by whichever slots open. Slots that hold different keys are an error: one of
/// them was replaced, and going on with the wrong one would wrap new secrets for somebody else.
fn open_version(seals: &[&dyn Seal], records: &[RootRecord], version: u32) -> Result<Option<RootKey>, RootError> {
    let mut found: Option<SecretBytes> = None;
    for record in records.iter().filter(|r| r.version == version) {
        let fitting = seals.iter().filter(|s| s.kind() == record.seal_kind && s.params() == record.params);
        for seal in fitting {
            match seal.open(&root_place(version, &record.slot), &record.wrapped) {
                Ok(secret) if secret.len() != KEY_LEN => return Err(RootError::Conflict(version)),
                Ok(secret) => match &found {
                    Some(first) if !first.ct_eq(secret.expose()) => return Err(RootError::Conflict(version)),
                    _ => found = Some(secret),
                },
                Err(RootError::DoesNotOpen) => {}
                Err(other) => return Err(other),
            }
        }
    }
    found.map(RootKey::new).transpose()
}

fn root_place(version: u32, slot: &str) -> Vec<u8> {
    let key_id = slot.as_bytes();
    Place { purpose: Purpose::RootKey, account: NO_ACCOUNT, region: "", key_id, version, usage: 0, suite: 0 }.encode()
}

fn domain_place(account: AccountId, version: u32, root_version: u32) -> Vec<u8> {
    let key_id = &root_version.to_be_bytes();
    Place { purpose: Purpose::DomainKey, account, region: "", key_id, version, usage: 0, suite: 0 }.encode()
}

fn pooled_place(id: KeyId, version: u32) -> Vec<u8> {
    let key_id = id.as_bytes();
    Place { purpose: Purpose::PooledKey, account: NO_ACCOUNT, region: "", key_id, version, usage: 0, suite: 0 }.encode()
}

fn audit_place(origin: &[u8], version: u32) -> Vec<u8> {
    Place { purpose: Purpose::AuditKey, account: NO_ACCOUNT, region: "", key_id: origin, version, usage: 0, suite: 0 }
        .encode()
}
