//! Hosted data keys: their life cycle as a pure function, what is kept of them, and how they change.
//!
//! A data key is kept as the ciphertext that GenerateDataKey answered with, under its CMK, whose material is
//! needed to read it. That, and the encryption context which opens it, is wrapped by the account's domain key for the
//! data key's own place, so that rows cannot be exchanged.

use crate::{
    actions::usable,
    cx::{CommitError, Cx, MAX_TRIES},
    keys::KeyEntry,
    lifecycle::{Use, effective_state},
};
use jadeseal_crypto::{Context, Header, blob};
use jadeseal_store::{Change, Counted, DataKey, Tag};
use jadeseal_types::{
    Alias, ApiError, DataKeyId, DataKeyState, ErrorCode, KeyState, Origin, SecretBytes, error::Result, limits::DAY,
};

/// What is to happen to a data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// EnableDataKey.
    Enable,
    /// DisableDataKey.
    Disable,
    /// ScheduleDataKeyDeletion with a window in days.
    ScheduleDeletion(u64),
    /// CancelDataKeyDeletion.
    CancelDeletion,
    /// UpdateDataKeyName, UpdateDataKeyDescription: nothing changes here but the state is checked.
    Edit,
}

/// The next row, or `None` when the step changes nothing. `cmk` is the state of the data key's CMK. Everything that
/// changes a state goes through here; decisions 9 and 23.
pub fn apply(key: &DataKey, cmk: KeyState, step: Step, now: u64) -> Result<Option<DataKey>, ErrorCode> {
    use DataKeyState as S;
    use ErrorCode as E;
    let usable = if cmk == KeyState::Enabled { Ok(()) } else { Err(E::CmkStateNotSupport) };
    let mut next = key.clone();
    match (step, key.state) {
        // Enabled means usable: also where it is so already, the answer promises that.
        (Step::Enable, S::Enabled) => return usable.map(|()| None),
        (Step::Enable, S::Disabled) => {
            usable?;
            next.state = S::Enabled;
        }
        (Step::Disable, S::Enabled) => next.state = S::Disabled,
        (Step::Disable, S::Disabled) => return Ok(None),
        (Step::ScheduleDeletion(days), S::Disabled) => {
            next.state = S::PendingDelete;
            next.deletion_date = now + days * DAY;
        }
        (Step::CancelDeletion, S::PendingDelete) => {
            usable?;
            next.state = S::Disabled;
            next.deletion_date = 0;
        }
        (Step::CancelDeletion, S::Enabled | S::Disabled) => return Err(E::DataKeyNotPendingDelete),
        (Step::Edit, S::Enabled | S::Disabled) => return Ok(None),
        (Step::ScheduleDeletion(_), S::Enabled | S::PendingDelete)
        | (Step::Enable | Step::Disable | Step::Edit, S::PendingDelete) => return Err(E::DataKeyStateNotSupport),
    }
    Ok(Some(next))
}

/// Refuses to read a data key that is not enabled. Its CMK is looked at after this.
pub fn readable(key: &DataKey) -> Result<(), ErrorCode> {
    match key.state {
        DataKeyState::Enabled => Ok(()),
        DataKeyState::Disabled => Err(ErrorCode::DataKeyDisabled),
        DataKeyState::PendingDelete => Err(ErrorCode::DataKeyPendingDelete),
    }
}

/// Number of the form in which a data key is kept.
const FORMAT: u8 = 1;

/// A data key as it is kept: its ciphertext and the context that opens it.
pub struct Kept {
    /// Encryption context of the ciphertext.
    pub context: Context,
    /// Ciphertext blob under the CMK.
    pub blob: Vec<u8>,
}

impl Kept {
    /// `1 | length of the encoded context u32 | encoded context | blob`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let context = self.context.encoded();
        // A context has at most 1,024 characters and as many pairs as fit in them.
        let len = u32::try_from(context.len()).unwrap_or(u32::MAX);
        [&[FORMAT], &len.to_be_bytes()[..], context, &self.blob].concat()
    }

    /// Reads it back. The bytes are authentic, so another form can only come from a newer release.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let read = || {
            let (&[FORMAT, ref len @ ..], rest) = bytes.split_first_chunk::<5>()? else { return None };
            let (context, blob) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            Some(Kept { context: Context::from_encoded(context)?, blob: blob.to_vec() })
        };
        read().ok_or_else(|| ApiError::internal("a data key is kept in an unknown form; is this an older release?"))
    }
}

/// A data key that is to be hosted.
pub struct NewDataKey {
    /// Its name.
    pub name: Alias,
    /// Its description.
    pub description: String,
    /// Its tags.
    pub tags: Vec<Tag>,
    /// Where it comes from.
    pub origin: Origin,
}

impl Cx<'_> {
    /// Commits a new data key of `bytes` bytes, with the request's audit record, provided that its CMK is still the one
    /// whose usability for `purpose` has been checked. Where the CMK has changed, it is checked again.
    pub async fn host(
        &self,
        new: NewDataKey,
        entry: &KeyEntry,
        purpose: Use,
        bytes: usize,
        kept: &Kept,
    ) -> Result<DataKeyId> {
        let cmk = &entry.row;
        let data_key_id = DataKeyId(self.svc.new_key_id()?);
        self.note(data_key_id.0);
        self.note(cmk.key_id);
        let domain = self.svc.vault.newest(self.scope.account()).await?;
        let material = crate::vault::Vault::seal_data_key(&domain, cmk, data_key_id, &kept.to_bytes())?;
        let key = DataKey {
            data_key_id,
            cmk: cmk.key_id,
            cmk_alias: cmk.alias.clone(),
            account: self.scope.account(),
            region: self.scope.region().clone(),
            name: new.name,
            description: new.description,
            bytes: u32::try_from(bytes).map_err(ApiError::internal)?,
            origin: new.origin,
            state: DataKeyState::Enabled,
            owner: self.owner(),
            creator: self.caller.uin(),
            create_time: self.now,
            deletion_date: 0,
            hsm_cluster: cmk.hsm_cluster.clone(),
            revision: 0,
        };
        let key_id = cmk.key_id;
        let mut revision = cmk.revision;
        for _ in 0..MAX_TRIES {
            let create = Change::CreateDataKey { key: key.clone(), material: material.clone(), tags: new.tags.clone() };
            let conditions = self.room(Counted::DataKeys).into_iter().chain([Change::RequireKey { key_id, revision }]);
            match self.commit(conditions.chain([create]).collect()).await {
                Ok(_) => return Ok(data_key_id),
                Err(CommitError::Conflict) => {
                    self.svc.keys.forget(key_id);
                    let entry = self.get_key(key_id).await?;
                    usable(&entry, purpose, self)?;
                    revision = entry.row.revision;
                }
                Err(CommitError::Api(e)) => return Err(e),
            }
        }
        Err(ApiError::internal(format!("key {key_id} kept changing while a data key was to be hosted")))
    }

    /// What is kept of a data key, checked to be of its CMK.
    pub async fn kept(&self, key: &DataKey, cmk: &KeyEntry) -> Result<(Kept, Header)> {
        let material = self.svc.store.data_key_material(&self.scope, key.data_key_id).await;
        let material = material.map_err(ApiError::internal)?.ok_or(ErrorCode::DataKeyNotFound)?;
        let kept = Kept::from_bytes(self.svc.vault.open_data_key(&cmk.row, &material).await?.expose())?;
        let header = Header::parse(&kept.blob).map_err(ApiError::internal)?;
        if header.key_id != cmk.row.key_id {
            return Err(ApiError::internal(format!("data key {} is not of its CMK", key.data_key_id)));
        }
        Ok((kept, header))
    }

    /// A data key in clear, of a CMK whose state has been checked.
    pub async fn open_data_key(&self, key: &DataKey, cmk: &KeyEntry) -> Result<SecretBytes> {
        let (kept, header) = self.kept(key, cmk).await?;
        let of_version = self.svc.keys.symmetric(&self.scope, cmk, header.version).await?;
        let of_version = of_version
            .ok_or_else(|| ApiError::internal(format!("key {} lacks version {}", header.key_id, header.version)))?;
        // Not the caller's ciphertext is broken but something of ours.
        let plaintext = blob::open(&of_version, &kept.blob, &kept.context).map_err(ApiError::internal)?;
        if u32::try_from(plaintext.len()) != Ok(key.bytes) {
            return Err(ApiError::internal(format!("data key {} has another length", key.data_key_id)));
        }
        Ok(plaintext)
    }

    /// Reads data keys, lets `step` change each by its row and the state of its CMK, commits all of them by
    /// compare-and-swap in one transaction, and starts over when somebody else was faster. A data key that becomes
    /// usable or comes back needs its CMK as it was when `step` saw it, and room where it counts again.
    pub async fn change_data_keys(
        &self,
        ids: &[DataKeyId],
        mut step: impl FnMut(&DataKey, KeyState) -> Result<Option<DataKey>> + Send,
    ) -> Result<()> {
        for _ in 0..MAX_TRIES {
            let rows = self.svc.store.data_keys(&self.scope, ids).await.map_err(ApiError::internal)?;
            let (mut changes, mut required) = (Vec::new(), Vec::new());
            for row in rows {
                let row = row.ok_or(ErrorCode::DataKeyNotFound)?;
                let cmk = self.find_key(row.cmk).await?.ok_or(ErrorCode::DataKeyNotFound)?;
                let Some(key) = step(&row, effective_state(&cmk.row, self.now))? else { continue };
                let returns = row.state == DataKeyState::PendingDelete && key.state != row.state;
                if returns && row.owner.is_user() {
                    changes.extend(self.room(Counted::DataKeys));
                }
                if returns || (key.state == DataKeyState::Enabled && key.state != row.state) {
                    let (key_id, revision) = (cmk.row.key_id, cmk.row.revision);
                    changes.push(Change::RequireKey { key_id, revision });
                    required.push(key_id);
                }
                changes.push(Change::UpdateDataKey { key });
            }
            if changes.is_empty() {
                return Ok(());
            }
            match self.commit(changes).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict) => required.iter().for_each(|id| self.svc.keys.forget(*id)),
                Err(CommitError::Api(e)) => return Err(e),
            }
        }
        Err(ApiError::internal(format!("data keys {ids:?} kept changing under a compare-and-swap")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jadeseal_types::{AccountId, KeyId, Owner, Region, Uin};

    fn key(state: DataKeyState) -> DataKey {
        let name = Alias::parse("name").unwrap();
        DataKey {
            data_key_id: DataKeyId(KeyId::from_bytes([1; 16])),
            cmk: KeyId::from_bytes([2; 16]),
            cmk_alias: name.clone(),
            account: AccountId(1),
            region: Region::parse("here").unwrap(),
            name,
            description: String::new(),
            bytes: 32,
            origin: Origin::Kms,
            state,
            owner: Owner::User,
            creator: Uin(1),
            create_time: 5,
            deletion_date: if state == DataKeyState::PendingDelete { 99 } else { 0 },
            hsm_cluster: String::new(),
            revision: 3,
        }
    }

    #[test]
    fn every_step_in_every_state() {
        use DataKeyState::{Disabled, Enabled, PendingDelete};
        use ErrorCode::{
            CmkStateNotSupport as Cmk, DataKeyNotPendingDelete as NotPending, DataKeyStateNotSupport as State,
        };
        let same = Ok(None);
        // Step; whether the CMK must be enabled where the step is possible; outcome from each state.
        let table = [
            (Step::Enable, true, [same, Ok(Some(Enabled)), Err(State)]),
            (Step::Disable, false, [Ok(Some(Disabled)), same, Err(State)]),
            (Step::ScheduleDeletion(7), false, [Err(State), Ok(Some(PendingDelete)), Err(State)]),
            (Step::CancelDeletion, true, [Err(NotPending), Err(NotPending), Ok(Some(Disabled))]),
            (Step::Edit, false, [same, same, Err(State)]),
        ];
        for (step, needs_cmk, outcomes) in table {
            for (state, outcome) in [Enabled, Disabled, PendingDelete].into_iter().zip(outcomes) {
                for cmk in KeyState::ALL {
                    let refused = needs_cmk && *cmk != KeyState::Enabled && outcome.is_ok();
                    let wanted = if refused { Err(Cmk) } else { outcome };
                    let got = apply(&key(state), *cmk, step, 1_000);
                    assert_eq!(got.clone().map(|n| n.map(|n| n.state)), wanted, "{step:?} {state} {cmk}");
                    if let Ok(Some(next)) = got {
                        let date = if next.state == PendingDelete { 1_000 + 7 * DAY } else { 0 };
                        assert_eq!(next, DataKey { state: next.state, deletion_date: date, ..key(state) });
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_kept_is_read_back_and_nothing_else() {
        for json in ["", r#"{"a":"1","键":"值"}"#] {
            let kept = Kept { context: Context::parse(json).unwrap(), blob: vec![7; 120] };
            let bytes = kept.to_bytes();
            let read = Kept::from_bytes(&bytes).unwrap();
            assert_eq!((read.context, read.blob), (kept.context, kept.blob));
            for bad in [&bytes[1..], &bytes[..4], &[&[2], &bytes[1..]].concat(), &[1, 0, 0, 1, 0, 5], &[]] {
                assert!(Kept::from_bytes(bad).is_err());
            }
        }
    }
}
