//! The principals of accounts and what they may do, kept in memory.
//!
//! All of an account is read at one moment and forgotten whole when any of it changes, before whoever changed it gets his
//! answer. What was made of it (access keys, sessions) holds the account's entry and is believed only as long as that is.

use crate::{presets, presets::VOCABULARY, region::Regions};
use hashbrown::{HashMap, HashSet};
use jadeseal_auth::{
    Authority, Organisations,
    policy::{Binding, Checks, Invalid, Policy, PolicySet, TrustPolicy},
};
use jadeseal_store::{Attached, Identities, RoleRow, Store};
use jadeseal_types::{AccountId, ApiError, ErrorCode, PolicyId, Region, RoleId, Uin, error::Result};
use parking_lot::{Mutex, RwLock};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// How long after a change that another process made what was known before may still be believed.
pub const FRESH: Duration = Duration::from_millis(500);
/// Look-ups of SecretIds and tokens that may be in the database at once: a flood of unknown ones must not hold up the readers
/// that known callers need.
const MISSES_AT_ONCE: usize = 16;
/// Accounts that are kept.
const CAPACITY: usize = 10_000;
/// Accounts of which it is known whether they are being read or changed, before those that are not are forgotten.
const SLOTS: usize = 2 * CAPACITY;
/// Changes of one principal that may wait for their turn, the main account's and anybody else's.
const WAITING_OF_MAIN: usize = 256;
const WAITING: usize = 8;
/// Unreadable policies that have been told of in the log.
const TOLD: usize = 10_000;
/// Name of the policy that a session brings along.
const SESSION_POLICY: &str = "session policy";

/// Whether what was made of an account may still be believed. It outlives the account's entry, and keeps nothing else of it.
#[derive(Clone, Default)]
pub struct Current(Arc<AtomicBool>);

impl Current {
    /// False once anything of the account has changed.
    pub fn holds(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }

    fn end(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// An account as it was at some moment.
pub struct Account {
    /// Its principals and policies.
    pub identities: Identities,
    /// Whether it is so still.
    pub current: Current,
    /// Policies that have been read; none for one that cannot be.
    policies: Mutex<HashMap<PolicyId, Option<Arc<Policy>>>>,
    /// What has been compiled of them for users and roles, by their numbers, which differ; none where one cannot be read.
    compiled: Mutex<HashMap<Uin, Option<Arc<PolicySet>>>>,
}

impl Account {
    fn new(identities: Identities) -> Self {
        Account { identities, current: Current::default(), policies: Mutex::default(), compiled: Mutex::default() }
    }

    /// A principal's number and that of the account, for policies.
    fn binding(&self, uin: Uin) -> Binding {
        let row = &self.identities.account;
        Binding { uin, account: row.account, app_id: row.app_id }
    }
}

/// What goes on with an account, whether it is in memory or not.
#[derive(Default)]
struct Slot {
    /// Counts the changes: what was read before a change must not be kept after it.
    changes: AtomicU64,
    /// Held while it is being read, so that many who want it after a change read it once.
    reading: tokio::sync::Mutex<()>,
    /// Held while it is being changed.
    writing: tokio::sync::Mutex<()>,
    /// How many changes of each principal wait or are under way.
    waiting: Mutex<HashMap<Uin, usize>>,
}

/// A turn at changing an account.
pub struct Turn {
    slot: Arc<Slot>,
    uin: Uin,
}

impl Turn {
    /// Waits until it comes.
    pub async fn come(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.slot.writing.lock().await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut waiting = self.slot.waiting.lock();
        if let Some(count) = waiting.get_mut(&self.uin) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.uin);
            }
        }
    }
}

/// The accounts by number.
pub struct Principals {
    store: Arc<dyn Store>,
    regions: Vec<Region>,
    organisations: Organisations,
    accounts: RwLock<HashMap<AccountId, Arc<Account>>>,
    slots: Mutex<HashMap<AccountId, Arc<Slot>>>,
    /// Moment of the store up to which changes by other processes are known.
    moment: AtomicU64,
    /// When that was last looked at, milliseconds since `opened`, taken before the look.
    looked: AtomicU64,
    opened: Instant,
    misses: Semaphore,
    /// Policies, by number, and trust policies, by that of their role, that cannot be read, as the log has been told; with the
    /// time of their last change.
    told: Mutex<HashSet<(u64, u64)>>,
}

impl Principals {
    /// None yet.
    pub fn new(store: Arc<dyn Store>, regions: &Regions, organisations: Organisations) -> Self {
        Principals {
            store,
            regions: regions.iter().map(|r| r.name.clone()).collect(),
            organisations,
            accounts: RwLock::default(),
            slots: Mutex::default(),
            moment: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            opened: Instant::now(),
            misses: Semaphore::new(MISSES_AT_ONCE),
            told: Mutex::default(),
        }
    }

    fn slot(&self, account: AccountId) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if slots.len() >= SLOTS {
            // Whoever is at work with one has it.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        slots.entry(account).or_default().clone()
    }

    /// A turn at changing an account, in the name of a principal. Changes are by compare-and-swap on the whole of it, so those
    /// that come at once would mostly refuse each other; as it is, only other processes are in the way. No principal has so
    /// many in the queue that he keeps others from theirs.
    pub fn turn_to_change(&self, account: AccountId, uin: Uin) -> Result<Turn> {
        let slot = self.slot(account);
        let most = if uin.0 == account.0 { WAITING_OF_MAIN } else { WAITING };
        {
            let mut waiting = slot.waiting.lock();
            let count = waiting.entry(uin).or_default();
            if *count >= most {
                return Err(ErrorCode::RequestLimitExceeded.into());
            }
            *count += 1;
        }
        Ok(Turn { slot, uin })
    }

    /// A turn at looking for something in the database that may well not be there.
    pub async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>> {
        self.misses.acquire().await.map_err(ApiError::internal)
    }

    fn known(&self, account: AccountId) -> Option<Arc<Account>> {
        self.accounts.read().get(&account).filter(|known| known.current.holds()).cloned()
    }

    /// An account; none if there is no such.
    pub async fn of(&self, account: AccountId) -> Result<Option<Arc<Account>>> {
        if let Some(known) = self.known(account) {
            return Ok(Some(known));
        }
        let slot = self.slot(account);
        let _one = slot.reading.lock().await;
        if let Some(known) = self.known(account) {
            return Ok(Some(known));
        }
        let before = slot.changes.load(Ordering::Acquire);
        let Some(identities) = self.store.identities(account).await.map_err(ApiError::internal)? else {
            return Ok(None);
        };
        let fresh = Arc::new(Account::new(identities));
        let mut accounts = self.accounts.write();
        if slot.changes.load(Ordering::Acquire) != before {
            // It was being changed. This caller began before the change was answered and may see it either way, but nobody
            // after him.
            fresh.current.end();
            return Ok(Some(fresh));
        }
        if accounts.len() >= CAPACITY
            && let Some(victim) = accounts.keys().next().copied()
        {
            // What was made of it is told of no change any more.
            accounts.remove(&victim).inspect(|old| old.current.end());
        }
        accounts.insert(account, fresh.clone());
        Ok(Some(fresh))
    }

    /// Anything of an account has changed. When this has returned, nothing is done by what was known before.
    pub fn changed(&self, account: AccountId) {
        let slot = self.slot(account);
        let mut accounts = self.accounts.write();
        slot.changes.fetch_add(1, Ordering::AcqRel);
        accounts.remove(&account).inspect(|old| old.current.end());
    }

    /// Learns of changes that other processes on the same store have made.
    pub async fn refresh(&self) -> Result<()> {
        let before = self.millis();
        let since = self.moment.load(Ordering::Acquire);
        let (moment, changed) = self.store.identities_changed(since).await.map_err(ApiError::internal)?;
        if moment < since {
            // The store is an older one than before: a copy that was put back.
            let known: Vec<AccountId> = self.accounts.read().keys().copied().collect();
            known.into_iter().for_each(|account| self.changed(account));
            self.moment.store(moment, Ordering::Release);
        }
        for account in changed {
            let Some(known) = self.known(account) else {
                self.changed(account);
                continue;
            };
            // Most are changes of this process, which knows already.
            let revision = self.store.identities_revision(account).await.map_err(ApiError::internal)?;
            if revision.is_none_or(|revision| revision > known.identities.revision) {
                self.changed(account);
            }
        }
        self.moment.fetch_max(moment, Ordering::AcqRel);
        self.looked.fetch_max(before, Ordering::AcqRel);
        Ok(())
    }

    fn millis(&self) -> u64 {
        // Never 0, which is never.
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Whether changes by other processes have been looked for so lately that what they may have taken back can be believed.
    pub fn is_fresh(&self) -> bool {
        let looked = self.looked.load(Ordering::Acquire);
        looked != 0 && u128::from(self.millis().saturating_sub(looked)) < FRESH.as_millis()
    }

    /// What policies of an account are checked against; `strict` when they are being written.
    pub fn checks(&self, account: AccountId, strict: bool) -> Checks<'_> {
        let members = self.organisations.members_of_account(account);
        Checks { vocabulary: &VOCABULARY, account, members, regions: &self.regions, strict }
    }

    /// Who may take a role; none when its policy cannot be read, and then nobody may.
    pub fn trust(&self, account: AccountId, role: &RoleRow) -> Option<TrustPolicy> {
        match TrustPolicy::parse(&role.document, &self.checks(account, false)) {
            Ok(trust) => Some(trust),
            Err(Invalid { place, en, .. }) => {
                if self.tells((role.id.0, role.update_time)) {
                    tracing::error!(%account, role = role.id.0, place, "a role's policy cannot be read: {en}");
                }
                None
            }
        }
    }

    /// Whether the log has not been told of something yet.
    fn tells(&self, what: (u64, u64)) -> bool {
        let mut told = self.told.lock();
        told.len() < TOLD && told.insert(what)
    }

    /// The first policy of a principal that cannot be read, by name.
    pub fn unreadable(&self, account: &Account, has: impl Fn(&Attached) -> bool) -> Option<String> {
        let attached = account.identities.attachments.iter().filter(|a| has(&a.to));
        let broken = attached.map(|a| a.policy).find(|id| self.policy(account, *id).is_none())?;
        Some(name(&account.identities, broken).to_owned())
    }

    fn policy(&self, account: &Account, id: PolicyId) -> Option<Arc<Policy>> {
        if let Some(known) = account.policies.lock().get(&id) {
            return known.clone();
        }
        let number = account.identities.account.account;
        let document = document(&account.identities, id)?;
        let policy = match Policy::parse(document, &self.checks(number, false)) {
            Ok(policy) => Some(Arc::new(policy)),
            Err(invalid) => {
                let name = name(&account.identities, id);
                let row = account.identities.policy(id);
                if self.tells((id.0, row.map_or(0, |row| row.update_time))) {
                    let Invalid { place, en, .. } = invalid;
                    tracing::error!(
                        account = %number, policy = id.0, name, place,
                        "a stored policy cannot be read, and whoever has it is refused everything: {en}"
                    );
                }
                None
            }
        };
        account.policies.lock().insert(id, policy.clone());
        policy
    }

    /// What a user may do by the policies of himself and his groups. Nothing at all when one of them cannot be read: it may be
    /// the one that denies.
    pub fn authority_of_user(&self, account: &Account, uin: Uin) -> Authority {
        let all = &account.identities;
        let groups: Vec<_> = all.members.iter().filter(|m| m.uin == uin).map(|m| m.group).collect();
        let has = |to: &Attached| match to {
            Attached::User(user) => *user == uin,
            Attached::Group(group) => groups.contains(group),
            Attached::Role(_) => false,
        };
        self.authority(account, uin, has)
    }

    /// What a session of a role may do.
    pub fn authority_of_role(&self, account: &Account, role: RoleId) -> Authority {
        self.authority(account, Uin(role.0), |to| *to == Attached::Role(role))
    }

    fn authority(&self, account: &Account, uin: Uin, has: impl Fn(&Attached) -> bool) -> Authority {
        let known = account.compiled.lock().get(&uin).cloned();
        let set = known.unwrap_or_else(|| {
            let set = self.compile(account, uin, has);
            account.compiled.lock().insert(uin, set.clone());
            set
        });
        set.map_or_else(Authority::nothing, Authority::of_policies)
    }

    fn compile(&self, account: &Account, uin: Uin, has: impl Fn(&Attached) -> bool) -> Option<Arc<PolicySet>> {
        let mut ids: Vec<PolicyId> = Vec::new();
        for attachment in account.identities.attachments.iter().filter(|a| has(&a.to)) {
            if !ids.contains(&attachment.policy) {
                ids.push(attachment.policy);
            }
        }
        let mut policies = Vec::with_capacity(ids.len());
        for id in ids {
            policies.push((name(&account.identities, id), self.policy(account, id)?));
        }
        let policies = policies.iter().map(|(name, policy)| (*name, policy.as_ref()));
        Some(Arc::new(PolicySet::new(account.binding(uin), policies)))
    }

    /// Narrows what a principal may do by the policy that his session brought along.
    pub fn narrowed(&self, authority: Authority, account: &Account, uin: Uin, document: &str) -> Authority {
        match Policy::parse(document, &self.checks(account.identities.account.account, false)) {
            Ok(policy) => authority.within(PolicySet::new(account.binding(uin), [(SESSION_POLICY, &policy)])),
            Err(_) => Authority::nothing(),
        }
    }

    /// Number of accounts in memory, and of policies among theirs that cannot be read.
    pub fn cached(&self) -> (usize, usize) {
        let accounts: Vec<Arc<Account>> = self.accounts.read().values().cloned().collect();
        let unreadable = accounts.iter().map(|a| a.policies.lock().values().filter(|p| p.is_none()).count());
        (accounts.len(), unreadable.sum())
    }
}

/// A role by the last segment of its resource, `role/<id>` or `roleName/<name>`. The number is compared as text: there is one
/// way to write it.
pub fn role_at<'a>(identities: &'a Identities, last: &str) -> Option<&'a RoleRow> {
    identities.roles.iter().find(|role| match last.split_once('/') {
        Some(("role", id)) => id == role.id.to_string(),
        Some(("roleName", name)) => name == role.name,
        _ => false,
    })
}

/// Text of a policy that an account has or that everyone has.
pub fn document(identities: &Identities, id: PolicyId) -> Option<&str> {
    match presets::preset(id) {
        Some(preset) => Some(preset.document),
        None => identities.policy(id).map(|p| p.document.as_str()),
    }
}

/// Name of a policy that an account has or that everyone has.
pub fn name(identities: &Identities, id: PolicyId) -> &str {
    match presets::preset(id) {
        Some(preset) => preset.name,
        None => identities.policy(id).map_or("", |p| p.name.as_str()),
    }
}

/// The policy that an account has, or that everyone has, under a name.
pub fn policy_named(identities: &Identities, name: &str) -> Option<PolicyId> {
    let presets = presets::PRESETS.iter().map(|p| (p.id, p.name));
    let own = identities.policies.iter().map(|p| (p.id, p.name.as_str()));
    presets.chain(own).find(|(_, known)| *known == name).map(|(id, _)| id)
}
