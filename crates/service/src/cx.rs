//! What a running action may reach: its caller's scope or that of a member account that he was admitted to, and nothing
//! of anybody else's.

use crate::{
    Service,
    action::{Entry, KMS, Named},
    credentials::Known,
    keys::KeyEntry,
    lifecycle::{Step, apply},
    organisations::{Acting, Name},
    region::RegionConf,
};
use jadeseal_audit::{Access, Principal, Record};
use jadeseal_auth::{Caller, policy::ActionId};
use jadeseal_store::{
    AccountRow, Change, Cmk, Commit, Committed, Counted, Identities, IdentityChange, Scope, StoreError,
};
use jadeseal_types::{AccountId, ApiError, ErrorCode, KeyId, Lang, SecretId, Uin, error::Result};
use parking_lot::Mutex;
use std::{
    borrow::Cow,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// The context of one request.
pub struct Cx<'a> {
    /// The service.
    pub svc: &'a Arc<Service>,
    /// Who calls.
    pub caller: &'a Caller,
    /// Account and region that the call acts in: the caller's account, or the member's that he acts for.
    pub scope: Scope,
    /// For whom.
    pub(crate) acting: Acting,
    /// The region's configuration.
    pub region: &'a RegionConf,
    /// Unix time of the request, seconds.
    pub now: u64,
    /// Language of messages.
    pub lang: Lang,
    /// The action that runs.
    pub(crate) entry: &'static Entry,
    /// Its number among those that policies can name.
    pub(crate) action: ActionId,
    /// What the action is authorised on.
    pub(crate) named: Named,
    /// What he signed with, as it was found when the request came.
    pub(crate) known: Arc<Known>,
    /// SecretId and token, to find it again.
    pub(crate) presented: (&'a str, Option<&'a str>),
    /// Tags that the request carries, as `key&value`.
    pub(crate) request_tags: Vec<String>,
    /// The request came over TLS.
    pub(crate) secure: bool,
    /// Only the question is asked whether the caller may do it.
    pub(crate) dry_run: bool,
    pub(crate) draft: &'a Draft,
}

/// The audit record of a request while it is being handled.
pub(crate) struct Draft {
    facts: Facts,
    resources: Mutex<Vec<KeyId>>,
    /// Principals and policies that the request is about, by the end of their six segments.
    subjects: Mutex<Vec<String>>,
    /// Member accounts that are acted for.
    targets: OnceLock<Vec<AccountId>>,
    /// Shared with the task that commits, which may outlive the request.
    phase: Arc<Mutex<Phase>>,
}

/// Principals and policies that one record names.
const MAX_SUBJECTS: usize = 220;

/// Who owes the record of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The pipeline.
    #[default]
    Open,
    /// A commit that is under way, if it succeeds.
    Committing,
    /// The same, and the caller has hung up: the commit's task owes it in any case.
    Abandoned,
    /// Nobody: it went into the log with a committed change.
    Recorded,
}

/// What is known about a request before it runs.
pub(crate) struct Facts {
    pub time_micros: u64,
    pub request_id: String,
    pub account: Option<AccountId>,
    pub uin: Option<Uin>,
    pub principal: Principal,
    pub secret_id: Option<SecretId>,
    /// Name of the caller's session, if he has one.
    pub session: Option<String>,
    pub source: Option<IpAddr>,
    pub user_agent: String,
    pub service: &'static str,
    pub version: Cow<'static, str>,
    pub action: Cow<'static, str>,
    pub region: Cow<'static, str>,
    pub access: Access,
}

impl Facts {
    /// The facts of a request of which nothing has been read yet.
    pub fn unknown(wall: Duration, request_id: String) -> Self {
        Facts {
            time_micros: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
            request_id,
            account: None,
            uin: None,
            principal: Principal::Anonymous,
            secret_id: None,
            session: None,
            source: None,
            user_agent: String::new(),
            // What names no product that is served is the business of the one that all of this is for.
            service: KMS.service,
            version: Cow::Borrowed(""),
            action: Cow::Borrowed(""),
            region: Cow::Borrowed(""),
            access: Access::Read,
        }
    }
}

impl Draft {
    pub fn new(facts: Facts) -> Self {
        Draft {
            facts,
            resources: Mutex::default(),
            subjects: Mutex::default(),
            targets: OnceLock::new(),
            phase: Arc::default(),
        }
    }

    pub fn facts_mut(&mut self) -> &mut Facts {
        &mut self.facts
    }

    pub fn request_id(&self) -> &str {
        &self.facts.request_id
    }

    pub fn recorded(&self) -> bool {
        *self.phase.lock() == Phase::Recorded
    }

    /// The request is being dropped. True when its record is still the pipeline's to write.
    pub fn abandon(&self) -> bool {
        let mut phase = self.phase.lock();
        if *phase == Phase::Committing {
            *phase = Phase::Abandoned;
        }
        *phase == Phase::Open
    }

    pub fn note(&self, id: KeyId) {
        let mut resources = self.resources.lock();
        // A record stays small whatever a caller names; no action names more than a batch of keys.
        if resources.len() < jadeseal_types::limits::MAX_BATCH_KEYS + 1 && !resources.contains(&id) {
            resources.push(id);
        }
    }

    pub fn note_subject(&self, subject: String) {
        let mut subjects = self.subjects.lock();
        if subjects.len() < MAX_SUBJECTS && !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }

    /// How many subjects are named so far.
    fn subjects(&self) -> usize {
        self.subjects.lock().len()
    }

    /// Forgets the subjects that were named since there were so many.
    fn forget_subjects(&self, from: usize) {
        self.subjects.lock().truncate(from);
    }

    /// Hands the record over to a commit.
    pub fn records(&self) -> Recorded {
        *self.phase.lock() = Phase::Committing;
        Recorded {
            success: self.encode(None),
            failure: self.encode(Some(ErrorCode::FailedOperation)),
            phase: self.phase.clone(),
        }
    }

    /// The record with its outcome: none for success, else the error code.
    pub fn encode(&self, code: Option<ErrorCode>) -> Vec<u8> {
        let f = &self.facts;
        let resources = self.resources.lock();
        let subjects = self.subjects.lock();
        let mut out = Vec::new();
        Record {
            time_micros: f.time_micros,
            request_id: &f.request_id,
            account: f.account,
            uin: f.uin,
            targets: self.targets.get().map_or(&[], Vec::as_slice),
            principal: f.principal,
            secret_id: f.secret_id.as_ref(),
            session: f.session.as_deref(),
            source: f.source,
            user_agent: &f.user_agent,
            service: f.service,
            version: &f.version,
            action: &f.action,
            region: &f.region,
            resources: &resources,
            subjects: &subjects,
            access: f.access,
            code,
        }
        .encode(&mut out);
        out
    }
}

impl Cx<'_> {
    /// Moves into the scope of a member account, if the caller is admitted to it. The audit record does not name it yet: that has
    /// to wait for the policy.
    pub(crate) async fn act_for(&mut self, name: Name) -> Result<()> {
        let Some(admitted) = self.svc.directory.admit(self.caller, name).await? else {
            self.acting = Acting::Refused;
            return Ok(());
        };
        self.scope = Scope::of_member(&admitted.member, self.region.name.clone());
        self.acting = Acting::For(admitted);
        Ok(())
    }

    /// The account that the request named; none if it named none.
    pub(crate) fn named_account(&self) -> Option<&AccountRow> {
        match &self.acting {
            Acting::For(admitted) => Some(&admitted.row),
            Acting::Own | Acting::Refused => None,
        }
    }

    /// Names the accounts that are acted for in the audit record. Once in a request: behind the policy, before its first change.
    pub(crate) fn note_targets(&self, accounts: Vec<AccountId>) {
        // A second set would be a mistake of ours, and the first one is on its way into records.
        self.draft.targets.get_or_init(|| accounts);
    }

    /// A key has been used: it has computed something for the caller. To be said once nothing of that can fail any more but
    /// the record of it.
    pub fn used(&self, entry: &KeyEntry) {
        self.svc.keys.touch(entry, self.now);
    }

    /// Names a key in the audit record.
    pub fn note(&self, id: KeyId) {
        self.draft.note(id);
    }

    /// Names a principal or policy in the audit record, as `uin/100000000002` or `policyid/1000007`.
    pub fn note_subject(&self, subject: String) {
        self.draft.note_subject(subject);
    }

    /// Refuses where the quota is exhausted already; no promise where it is not.
    pub async fn has_room(&self, of: Counted) -> Result<()> {
        let Some(Change::RequireRoom { quota, .. }) = self.room(of) else { return Ok(()) };
        let used = match of {
            Counted::Keys => self.svc.store.count_own(&self.scope).await,
            Counted::DataKeys => self.svc.store.count_data_keys(&self.scope).await,
        };
        if used.map_err(ApiError::internal)? < quota { Ok(()) } else { Err(exhausted(of).into()) }
    }

    /// The condition that a commit which adds one of them begins with, where the account has a quota.
    pub fn room(&self, of: Counted) -> Option<Change> {
        // What products make is outside the quotas.
        let quotas = self.svc.quotas.of(self.scope.account());
        self.caller.product().is_none().then(|| quotas.room(of)).flatten()
    }

    /// Commits a change together with the request's audit record, and brings the caches up to it. Once
    /// begun it runs to its end, even if the caller hangs up in between. A handler commits once, last.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<Committed, CommitError> {
        commit(self.svc, self.scope.clone(), changes, Some(self.draft.records())).await
    }

    /// Commits something that belongs to a failing request, whose record is written with its error.
    pub async fn commit_unrecorded(&self, changes: Vec<Change>) -> Result<Committed, CommitError> {
        commit(self.svc, self.scope.clone(), changes, None).await
    }

    /// Reads the principals of the caller's account, lets `step` make changes of them, commits these by compare-and-swap in one
    /// transaction, and starts over when somebody else was faster or a number that `step` made up is taken. No changes mean
    /// that nothing is to be committed.
    pub async fn change_identities<T: Send>(
        &self,
        mut step: impl FnMut(&Identities) -> Result<(Vec<IdentityChange>, T)> + Send,
    ) -> Result<T> {
        let turn = self.svc.principals.turn_to_change(self.caller.account(), self.caller.uin())?;
        let _come = turn.come().await;
        let named = self.draft.subjects();
        for _ in 0..MAX_TRIES {
            let account = self.account().await?;
            if !self.known.is_current() {
                // While he waited, what he may do can have been taken away. If it is after this, the commit finds it.
                self.authorise_anew().await?;
            }
            // What an earlier try would have made is not there.
            self.draft.forget_subjects(named);
            let (changes, value) = step(&account.identities)?;
            if changes.is_empty() {
                return Ok(value);
            }
            match self.commit(vec![Change::Identities { revision: account.identities.revision, changes }]).await {
                Ok(_) => return Ok(value),
                Err(CommitError::Conflict) => self.svc.principals.changed(self.caller.account()),
                Err(e) => return Err(e.into()),
            }
        }
        Err(ApiError::internal("the principals kept changing under a compare-and-swap"))
    }

    /// One step of one key's life cycle.
    pub async fn step(&self, id: KeyId, step: Step) -> Result<()> {
        self.change_key(id, |row| {
            let next = apply(row, step, self.now)?;
            Ok((next.map(|cmk| Change::UpdateKey { cmk }).into_iter().collect(), ()))
        })
        .await
    }

    /// As [`Cx::change_keys`], for one key.
    pub async fn change_key<T: Send>(
        &self,
        id: KeyId,
        mut step: impl FnMut(&Cmk) -> Result<(Vec<Change>, T)> + Send,
    ) -> Result<T> {
        self.change_keys(&[id], |entries| match entries {
            [entry] => step(&entry.row),
            _ => Err(ApiError::internal("one key was asked for")),
        })
        .await
    }

    /// Reads keys, lets `step` make changes of them, commits these by compare-and-swap in one transaction,
    /// and starts over when somebody else was faster. No changes mean that nothing is to be committed.
    pub async fn change_keys<T: Send>(
        &self,
        ids: &[KeyId],
        mut step: impl FnMut(&[Arc<KeyEntry>]) -> Result<(Vec<Change>, T)> + Send,
    ) -> Result<T> {
        for _ in 0..MAX_TRIES {
            let mut entries = Vec::with_capacity(ids.len());
            for id in ids {
                // Asked anew each time: what let the caller have the key may have been taken back since.
                entries.push(self.get_key(*id).await?);
            }
            let (changes, value) = match step(&entries) {
                Ok(done) => done,
                Err(e) => return Err(self.name_consumers(e, &entries).await),
            };
            if changes.is_empty() {
                return Ok(value);
            }
            match self.commit(changes).await {
                Ok(_) => return Ok(value),
                Err(CommitError::Conflict) => ids.iter().for_each(|id| self.svc.keys.forget(*id)),
                Err(e) => return Err(e.into()),
            }
        }
        Err(ApiError::internal(format!("keys {ids:?} kept changing under a compare-and-swap")))
    }
}

/// The refusal where a quota is exhausted.
fn exhausted(of: Counted) -> ErrorCode {
    match of {
        Counted::Keys => ErrorCode::CmkLimitExceeded,
        Counted::DataKeys => ErrorCode::DataKeyLimitExceeded,
    }
}

/// How often a compare-and-swap is tried.
pub(crate) const MAX_TRIES: usize = 16;

/// Why a commit did not happen.
#[derive(Debug)]
pub enum CommitError {
    /// Another change came first; read again and retry.
    Conflict,
    /// Anything else, as the answer that it becomes.
    Api(ApiError),
}

impl From<CommitError> for ApiError {
    fn from(e: CommitError) -> Self {
        match e {
            CommitError::Conflict => ApiError::internal("unexpected conflict"),
            CommitError::Api(e) => e,
        }
    }
}

/// The records that a commit may leave, and who else knows of it.
pub(crate) struct Recorded {
    /// Goes into the change's own transaction.
    pub success: Vec<u8>,
    /// Is written when the commit fails and nobody waits for its outcome any more.
    pub failure: Vec<u8>,
    pub phase: Arc<Mutex<Phase>>,
}

/// Commits in a task of its own, so that a caller who hangs up can leave neither the caches behind the
/// store nor a record that says otherwise than the store.
pub(crate) async fn commit(
    svc: &Arc<Service>,
    scope: Scope,
    changes: Vec<Change>,
    recorded: Option<Recorded>,
) -> Result<Committed, CommitError> {
    let svc = svc.clone();
    let task = tokio::spawn(crate::scope::carried(async move {
        let outcome = commit_now(&svc, &scope, changes, recorded.as_ref().map(|r| r.success.as_slice())).await;
        if let Some(recorded) = recorded {
            let mut phase = recorded.phase.lock();
            match (&outcome, *phase) {
                (Ok(_), _) => *phase = Phase::Recorded,
                (Err(_), Phase::Abandoned) => svc.journal.note_or_log(&recorded.failure),
                (Err(_), _) => *phase = Phase::Open,
            }
        }
        outcome
    }));
    task.await.map_err(|e| CommitError::Api(ApiError::internal(e)))?
}

async fn commit_now(
    svc: &Arc<Service>,
    scope: &Scope,
    changes: Vec<Change>,
    record: Option<&[u8]>,
) -> Result<Committed, CommitError> {
    if !svc.alive() {
        return Err(CommitError::Api(ApiError::internal("the audit log has failed, so nothing may change")));
    }
    let destroyed: Vec<KeyId> = changes
        .iter()
        .filter_map(|c| match c {
            Change::DestroyKey { key_id, .. } => Some(*key_id),
            _ => None,
        })
        .collect();
    let of_data_keys =
        changes.iter().any(|c| matches!(c, Change::UpdateDataKey { .. } | Change::DestroyDataKey { .. }));
    let tagged: Vec<KeyId> = changes
        .iter()
        .filter_map(|c| match c {
            Change::ModifyTags { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    let of_tags = !tagged.is_empty();
    let of_identities = changes.iter().any(|c| matches!(c, Change::Identities { .. }));
    let named: Vec<KeyId> = changes.iter().filter_map(Change::key_id).collect();
    let committed = match svc.store.commit(scope, Commit { changes, outbox: record.map(<[u8]>::to_vec) }).await {
        Ok(committed) => committed,
        Err(StoreError::Conflict) => return Err(CommitError::Conflict),
        Err(StoreError::AliasTaken) => return Err(CommitError::Api(ErrorCode::AliasAlreadyExists.into())),
        Err(StoreError::NameTaken) => return Err(CommitError::Api(ErrorCode::DataKeyNameAlreadyExists.into())),
        Err(StoreError::NoRoom(of)) => return Err(CommitError::Api(exhausted(of).into())),
        Err(StoreError::TooManyTags) => return Err(CommitError::Api(ErrorCode::ResourceAttachedTags.into())),
        // Whoever wants to change principals has seen that they are there.
        Err(StoreError::NotFound) if of_identities => return Err(CommitError::Conflict),
        Err(StoreError::NotFound) if of_tags => return Err(CommitError::Api(ErrorCode::ResourceNotFound.into())),
        Err(StoreError::NotFound) if of_data_keys => return Err(CommitError::Api(ErrorCode::DataKeyNotFound.into())),
        Err(StoreError::NotFound) => return Err(CommitError::Api(ErrorCode::CmkNotFound.into())),
        Err(e) => {
            // It may have happened all the same, where only the store's answer was lost: look again.
            named.iter().for_each(|id| svc.keys.forget(*id));
            tagged.iter().for_each(|id| svc.keys.retagged(*id));
            if of_identities {
                svc.principals.changed(scope.account());
            }
            return Err(CommitError::Api(ApiError::internal(e)));
        }
    };
    svc.keys.apply(&committed.keys, &destroyed);
    tagged.iter().for_each(|id| svc.keys.retagged(*id));
    if of_identities {
        svc.principals.changed(scope.account());
    }
    if let (Some(id), Some(record)) = (committed.outbox_id, record) {
        svc.journal.change_committed(id, record);
    }
    Ok(committed)
}
