//! From CreateKey to the end of a key: states, names, deletion, archive.

use super::{Account, Cmk, Empty, Known, MemberAccount, OnKey, on_key};
use crate::{
    action::{Access, Action, Named, Spec, Target, family},
    cx::Cx,
    docs,
    keys::KeyEntry,
    lifecycle::{Step, apply},
    schema::{Doc, answer, object, request},
    values::Bounded,
    vault::Vault,
};
use jadeseal_auth::params::Params;
use jadeseal_crypto::PrivateKey;
use jadeseal_store::{Change, Counted, Rotation, Tag};
use jadeseal_types::{
    Alias, ApiError, ErrorCode as E, KeyId, KeyState, KeyUsage, Lang, Origin, SecretBytes, error::Result, limits,
};
use std::{collections::HashSet, hash::Hash, sync::Arc};

family![
    CreateKey,
    DescribeKey,
    DescribeKeys,
    EnableKey,
    EnableKeys,
    DisableKey,
    DisableKeys,
    UpdateAlias,
    UpdateKeyDescription,
    ScheduleKeyDeletion,
    CancelKeyDeletion,
    ArchiveKey,
    CancelKeyArchive,
];

object! {
    /// A tag of a new key.
    NewTag as "Tag" {
        required key: Bounded<127> = "TagKey", Doc("Key of the tag.", "标签键。");
        required value: Bounded<255> = "TagValue", Doc("Value of the tag.", "标签值。");
    }
}

request! {
    /// Makes a CMK.
    CreateKey {
        required alias: Alias = "Alias", docs::ALIAS;
        optional description: Bounded<{ limits::MAX_DESCRIPTION_BYTES }> = "Description", docs::DESCRIPTION;
        optional usage: String = "KeyUsage", docs::KEY_USAGE;
        optional kind: u64 = "Type", Doc("1: material made by the KMS (default); 2: to be imported.", "1：KMS 生成密钥材料（默认）；2：外部导入。");
        optional tags: Vec<NewTag> = "Tags", docs::TAGS;
        optional hsm_cluster: String = "HsmClusterId", docs::HSM_CLUSTER;
    }
}

answer! {
    /// The new CMK.
    Created {
        key_id: KeyId = "KeyId", docs::KEY_ID;
        alias: Alias = "Alias", docs::ALIAS;
        create_time: u64 = "CreateTime", docs::CREATE_TIME;
        description: String = "Description" nullable, docs::DESCRIPTION;
        key_state: KeyState = "KeyState", docs::KEY_STATE;
        key_usage: KeyUsage = "KeyUsage", docs::KEY_USAGE;
        tag_code: u64 = "TagCode" nullable, docs::TAG_CODE;
        tag_msg: &'static str = "TagMsg" nullable, docs::TAG_MSG;
        hsm_cluster: String = "HsmClusterId" nullable, docs::HSM_CLUSTER;
    }
}

impl Action for CreateKey {
    const SPEC: Spec = Spec {
        name: "CreateKey",
        access: Access::Write,
        errors: &[
            E::InvalidAlias,
            E::AliasAlreadyExists,
            E::InvalidKeyUsage,
            E::InvalidType,
            E::InvalidHsmClusterId,
            E::TagKeysDuplicated,
            E::CmkLimitExceeded,
            E::UnsupportedKeyUsageInCurrentRegion,
        ],
        doc: Doc("Makes a CMK.", "创建主密钥。"),
    };
    type On = Account;
    type Response = Created;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<Created> {
        cx.may_name(&self.alias)?;
        let usage = match self.usage.as_deref() {
            None | Some("") => KeyUsage::EncryptDecrypt,
            Some(text) => KeyUsage::from_wire(text).ok_or(E::InvalidKeyUsage)?,
        };
        let origin = match self.kind {
            None | Some(1) => Origin::Kms,
            // Nobody could import for it.
            Some(2) if cx.caller.product().is_none() => Origin::External,
            Some(_) => return Err(E::InvalidType.into()),
        };
        if self.hsm_cluster.is_some_and(|id| !id.is_empty()) {
            return Err(E::InvalidHsmClusterId.into());
        }
        let tags = checked_tags(self.tags.as_deref().unwrap_or_default())?;
        if !cx.region.profile.offers(usage) {
            return Err(E::UnsupportedKeyUsageInCurrentRegion.into());
        }
        let external = origin == Origin::External;
        if external && usage != KeyUsage::EncryptDecrypt {
            return Err(ApiError::about(
                E::InvalidType,
                "Type",
                "can be 2 only for ENCRYPT_DECRYPT keys",
                "仅 ENCRYPT_DECRYPT 密钥可为 2",
            ));
        }
        if external && cx.region.profile.is_strict() {
            return Err(ApiError::about(
                E::InvalidType,
                "Type",
                "cannot be 2 in this region, which allows no RSA to wrap the material",
                "在该地域不可为 2：不允许使用 RSA 包装密钥材料",
            ));
        }
        let cmk = jadeseal_store::Cmk {
            key_id: cx.svc.new_key_id()?,
            account: cx.scope.account(),
            region: cx.scope.region().clone(),
            alias: self.alias,
            description: self.description.map(|d| d.0).unwrap_or_default(),
            usage,
            suite: cx.region.profile.suite(),
            origin,
            state: if external { KeyState::PendingImport } else { KeyState::Enabled },
            owner: cx.owner(),
            creator: cx.caller.uin(),
            create_time: cx.now,
            deletion_date: 0,
            valid_to: 0,
            rotation: Rotation::default(),
            current_version: u32::from(!external),
            hsm_cluster: String::new(),
            bindings: 0,
            material_digest: None,
            revision: 0,
        };
        cx.note(cmk.key_id);
        let answer = Created {
            key_id: cmk.key_id,
            alias: cmk.alias.clone(),
            create_time: cmk.create_time,
            description: cmk.description.clone(),
            key_state: cmk.state,
            key_usage: cmk.usage,
            tag_code: 0,
            tag_msg: "",
            hsm_cluster: String::new(),
        };
        let within = |create: Change| cx.room(Counted::Keys).into_iter().chain([create]).collect();
        if external {
            cx.commit(within(Change::CreateKey { cmk, version: None, tags })).await?;
            return Ok(answer);
        }
        let domain = cx.svc.vault.newest(cmk.account).await?;
        let create = |material: &SecretBytes| -> Result<Vec<Change>> {
            let version = Some(Vault::seal_material(&domain, &cmk, 1, material, cx.now)?);
            Ok(within(Change::CreateKey { cmk: cmk.clone(), version, tags: tags.clone() }))
        };
        match usage {
            KeyUsage::DecryptRsa2048 | KeyUsage::SignRsa2048 => {
                // What the commit will refuse must not cost a key pair first. It decides all the same.
                cx.has_room(Counted::Keys).await?;
                cx.commit_with_rsa_pair(|pair| Ok((create(&pair.pkcs8)?, ()))).await?;
            }
            KeyUsage::EncryptDecrypt => {
                let material = jadeseal_crypto::random::secret(cmk.suite.material_len()).map_err(ApiError::internal)?;
                cx.commit(create(&material)?).await?;
            }
            _ => {
                let made = cx.svc.workers.run(move || PrivateKey::generate(usage)?.material()).await?;
                cx.commit(create(&made.map_err(ApiError::internal)?)?).await?;
            }
        }
        Ok(answer)
    }
}

pub(super) fn checked_tags(tags: &[NewTag]) -> Result<Vec<Tag>> {
    if tags.len() > limits::MAX_TAGS {
        return Err(ApiError::invalid("Tags", "must name at most 50 tags", "最多 50 个标签"));
    }
    let mut seen = HashSet::new();
    for tag in tags {
        if tag.key.0.is_empty() {
            return Err(ApiError::invalid("Tags.TagKey", "must not be empty", "不能为空"));
        }
        if !seen.insert(tag.key.0.as_str()) {
            return Err(E::TagKeysDuplicated.into());
        }
    }
    Ok(tags.iter().map(|t| Tag { key: t.key.0.clone(), value: t.value.0.clone() }).collect())
}

/// A batch of keys of the request's scope, in the order of the request.
pub struct Batch(Vec<Arc<KeyEntry>>);

/// Refuses a batch with the wrong number of ids, or with one twice.
pub(super) fn checked_batch<T: Eq + Hash>(ids: &[T], wrong_number: impl FnOnce() -> ApiError, twice: E) -> Result<()> {
    if ids.is_empty() || ids.len() > limits::MAX_BATCH_KEYS {
        return Err(wrong_number());
    }
    let mut seen = HashSet::new();
    if !ids.iter().all(|id| seen.insert(id)) {
        return Err(twice.into());
    }
    Ok(())
}

/// A request that names several CMKs.
pub trait OnKeys {
    fn key_ids(&self) -> &[KeyId];
}

impl<A: OnKeys + Sync> Target<A> for Batch {
    const ON_KEYS: bool = true;

    fn named(params: &Params<'_>) -> Named {
        Named::keys_in(params, "KeyIds")
    }

    fn early(request: &A, _: &Cx<'_>) -> Result<()> {
        let wrong_number = || ApiError::invalid("KeyIds", "must name 1 to 100 keys", "必须包含 1 到 100 个密钥");
        checked_batch(request.key_ids(), wrong_number, E::DuplicatedKeyId)
    }

    async fn load(request: &A, cx: &Cx<'_>) -> Result<Self> {
        let ids = request.key_ids();
        let mut entries = Vec::with_capacity(ids.len());
        for id in ids {
            entries.push(cx.get_key(*id).await?);
        }
        Ok(Batch(entries))
    }
}

/// Runs one step on every key of a batch in one transaction: all or nothing (decision 10).
async fn step_all(batch: Batch, step: Step, cx: &Cx<'_>) -> Result<Empty> {
    let ids: Vec<KeyId> = batch.0.iter().map(|entry| entry.row.key_id).collect();
    cx.change_keys(&ids, |entries| {
        let mut changes = Vec::new();
        for entry in entries {
            if let Some(cmk) = apply(&entry.row, step, cx.now)? {
                changes.push(Change::UpdateKey { cmk });
            }
        }
        Ok((changes, Empty {}))
    })
    .await
}

macro_rules! one_key_request {
    ($($(#[$doc:meta])* $name:ident),+) => { $(
        request! {
            $(#[$doc])*
            $name {
                required key_id: KeyId = "KeyId", docs::KEY_ID;
                optional _member: MemberAccount = "MemberAccount", docs::MEMBER;
            }
        }
        on_key!($name);
    )+ };
}

macro_rules! batch_request {
    ($($(#[$doc:meta])* $name:ident),+) => { $(
        request! {
            $(#[$doc])*
            $name {
                required key_ids: Vec<KeyId> = "KeyIds", docs::KEY_IDS;
                optional _member: MemberAccount = "MemberAccount", docs::MEMBER;
            }
        }

        impl OnKeys for $name {
            fn key_ids(&self) -> &[KeyId] {
                &self.key_ids
            }
        }
    )+ };
}

/// Actions that are one step of the life cycle and answer nothing.
macro_rules! simple_steps {
    ($($name:ident on $on:ty as $wire:literal => $step:expr, $run:ident, [$($error:ident),*], $en:literal, $zh:literal;)+) => { $(
        impl Action for $name {
            const SPEC: Spec = Spec {
                name: $wire,
                access: Access::Write,
                errors: &[E::InvalidKeyId, E::CmkNotFound, E::NotRoleOperation, $(E::$error),*],
                doc: Doc($en, $zh),
            };
            type On = $on;
            type Response = Empty;

            async fn run(self, on: $on, cx: &Cx<'_>) -> Result<Empty> {
                $run(on, $step, cx).await
            }
        }
    )+ };
}

async fn step_loaded(cmk: Cmk<Known>, step: Step, cx: &Cx<'_>) -> Result<Empty> {
    cx.step(cmk.entry.row.key_id, step).await?;
    Ok(Empty {})
}

one_key_request! {
    /// Metadata of one CMK.
    DescribeKey,
    /// Disabled to Enabled.
    EnableKey,
    /// Enabled to Disabled.
    DisableKey,
    /// Back from PendingDelete.
    CancelKeyDeletion,
    /// To Archived.
    ArchiveKey,
    /// Archived to Enabled.
    CancelKeyArchive
}

batch_request! {
    /// Metadata of several CMKs.
    DescribeKeys,
    /// EnableKey for several keys, all or nothing.
    EnableKeys,
    /// DisableKey for several keys, all or nothing.
    DisableKeys
}

simple_steps! {
    EnableKey on Cmk<Known> as "EnableKey" => Step::Enable, step_loaded, [CmkStateNotSupport],
        "Enables a CMK.", "启用主密钥。";
    DisableKey on Cmk<Known> as "DisableKey" => Step::Disable, step_loaded, [CmkStateNotSupport, CmkUsedByCloudProduct],
        "Disables a CMK.", "禁用主密钥。";
    EnableKeys on Batch as "EnableKeys" => Step::Enable, step_all, [DuplicatedKeyId, CmkStateNotSupport],
        "Enables several CMKs, all or none.", "批量启用主密钥，全部成功或全部不变。";
    DisableKeys on Batch as "DisableKeys" => Step::Disable, step_all, [DuplicatedKeyId, CmkStateNotSupport, CmkUsedByCloudProduct],
        "Disables several CMKs, all or none.", "批量禁用主密钥，全部成功或全部不变。";
    ArchiveKey on Cmk<Known> as "ArchiveKey" => Step::Archive, step_loaded,
        [CmkStateNotSupport, CmkUsedByCloudProduct, NotUserCreatedCmk],
        "Archives a CMK: it decrypts but makes nothing new.", "归档主密钥：仅可解密。";
    CancelKeyArchive on Cmk<Known> as "CancelKeyArchive" => Step::Unarchive, step_loaded,
        [CmkStateNotSupport, NotUserCreatedCmk],
        "Takes a CMK out of the archive; it becomes Enabled.", "取消归档，密钥恢复启用。";
}

answer! {
    /// One key's metadata.
    Described {
        metadata: super::metadata::KeyMetadata = "KeyMetadata", docs::METADATA;
    }
}

impl Action for DescribeKey {
    const SPEC: Spec = Spec {
        name: "DescribeKey",
        access: Access::Read,
        errors: &[E::InvalidKeyId, E::CmkNotFound, E::NotRoleOperation],
        doc: Doc("Returns the metadata of a CMK.", "查询主密钥元数据。"),
    };
    type On = Cmk<Known>;
    type Response = Described;

    async fn run(self, cmk: Cmk<Known>, cx: &Cx<'_>) -> Result<Described> {
        Ok(Described { metadata: super::metadata::KeyMetadata::of(&cmk.entry.row, cx.now, cx.named_account()) })
    }
}

answer! {
    /// Several keys' metadata.
    DescribedAll {
        metadatas: Vec<super::metadata::KeyMetadata> = "KeyMetadatas", docs::METADATAS;
    }
}

impl Action for DescribeKeys {
    const SPEC: Spec = Spec {
        name: "DescribeKeys",
        access: Access::Read,
        errors: &[E::DuplicatedKeyId, E::InvalidKeyId, E::CmkNotFound, E::NotRoleOperation],
        doc: Doc(
            "Returns the metadata of several CMKs, in the order asked for.",
            "批量查询主密钥元数据，按请求顺序返回。",
        ),
    };
    type On = Batch;
    type Response = DescribedAll;

    async fn run(self, batch: Batch, cx: &Cx<'_>) -> Result<DescribedAll> {
        let of = |e: &Arc<KeyEntry>| super::metadata::KeyMetadata::of(&e.row, cx.now, cx.named_account());
        Ok(DescribedAll { metadatas: batch.0.iter().map(of).collect() })
    }
}

request! {
    /// Renames a CMK.
    UpdateAlias {
        required alias: Alias = "Alias", docs::ALIAS;
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        optional _member: MemberAccount = "MemberAccount", docs::MEMBER;
    }
}

request! {
    /// Describes a CMK anew.
    UpdateKeyDescription {
        required description: Bounded<{ limits::MAX_DESCRIPTION_BYTES }> = "Description", docs::DESCRIPTION;
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        optional _member: MemberAccount = "MemberAccount", docs::MEMBER;
    }
}

on_key!(UpdateKeyDescription);

impl OnKey for UpdateAlias {
    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn early(&self, cx: &Cx<'_>) -> Result<()> {
        cx.may_name(&self.alias)
    }
}

impl Action for UpdateAlias {
    const SPEC: Spec = Spec {
        name: "UpdateAlias",
        access: Access::Write,
        errors: &[
            E::InvalidAlias,
            E::AliasAlreadyExists,
            E::InvalidKeyId,
            E::CmkNotFound,
            E::CmkStateNotSupport,
            E::NotRoleOperation,
        ],
        doc: Doc("Changes the alias of a CMK.", "修改主密钥别名。"),
    };
    type On = Cmk<Known>;
    type Response = Empty;

    async fn run(self, cmk: Cmk<Known>, cx: &Cx<'_>) -> Result<Empty> {
        cx.change_key(cmk.entry.row.key_id, |row| {
            apply(row, Step::Edit, cx.now)?;
            if row.alias == self.alias {
                return Ok((Vec::new(), Empty {}));
            }
            let cmk = jadeseal_store::Cmk { alias: self.alias.clone(), ..row.clone() };
            Ok((vec![Change::UpdateKey { cmk }], Empty {}))
        })
        .await
    }
}

impl Action for UpdateKeyDescription {
    const SPEC: Spec = Spec {
        name: "UpdateKeyDescription",
        access: Access::Write,
        errors: &[E::InvalidKeyId, E::CmkNotFound, E::CmkStateNotSupport, E::NotRoleOperation],
        doc: Doc("Changes the description of a CMK.", "修改主密钥描述。"),
    };
    type On = Cmk<Known>;
    type Response = Empty;

    async fn run(self, cmk: Cmk<Known>, cx: &Cx<'_>) -> Result<Empty> {
        cx.change_key(cmk.entry.row.key_id, |row| {
            apply(row, Step::Edit, cx.now)?;
            if row.description == self.description.0 {
                return Ok((Vec::new(), Empty {}));
            }
            let cmk = jadeseal_store::Cmk { description: self.description.0.clone(), ..row.clone() };
            Ok((vec![Change::UpdateKey { cmk }], Empty {}))
        })
        .await
    }
}

request! {
    /// Schedules the end of a CMK.
    ScheduleKeyDeletion {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        required days: u64 = "PendingWindowInDays", Doc("Days until deletion, 7 to 30.", "计划删除天数，7 到 30。");
        optional _member: MemberAccount = "MemberAccount", docs::MEMBER;
    }
}

impl OnKey for ScheduleKeyDeletion {
    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn early(&self, _: &Cx<'_>) -> Result<()> {
        if !limits::PENDING_WINDOW_DAYS.contains(&self.days) {
            return Err(E::InvalidPendingWindowInDays.into());
        }
        Ok(())
    }
}

answer! {
    /// When the key goes.
    Scheduled {
        deletion_date: u64 = "DeletionDate", docs::DELETION_DATE;
        key_id: KeyId = "KeyId", docs::KEY_ID;
    }
}

impl Action for ScheduleKeyDeletion {
    const SPEC: Spec = Spec {
        name: "ScheduleKeyDeletion",
        access: Access::Write,
        errors: &[
            E::InvalidPendingWindowInDays,
            E::InvalidKeyId,
            E::CmkNotFound,
            E::CmkShouldBeDisabled,
            E::CmkStateNotSupport,
            E::CmkUsedByCloudProduct,
            E::NotRoleOperation,
        ],
        doc: Doc("Schedules the deletion of a disabled CMK.", "计划删除已禁用的主密钥。"),
    };
    type On = Cmk<Known>;
    type Response = Scheduled;

    async fn run(self, cmk: Cmk<Known>, cx: &Cx<'_>) -> Result<Scheduled> {
        let key_id = cmk.entry.row.key_id;
        let scheduled = cx.change_key(key_id, |row| {
            let next = apply(row, Step::ScheduleDeletion(self.days), cx.now)?;
            let cmk = next.ok_or_else(|| ApiError::internal("scheduling changed nothing"))?;
            let deletion_date = cmk.deletion_date;
            Ok((vec![Change::UpdateKey { cmk }], Scheduled { deletion_date, key_id }))
        });
        let scheduled = scheduled.await;
        // Whatever becomes of the deletion, it does not hang on when the key was last used.
        let Ok(last) = cx.svc.keys.last_used(&cx.scope, &cmk.entry).await else { return scheduled };
        if let Ok(Scheduled { deletion_date, .. }) = scheduled
            && last + USED_LATELY > cx.now
        {
            let (account, last_used) = (cx.scope.account(), minute(last));
            tracing::warn!(key = %key_id, %account, last_used, deletion_date, "the deletion of a key is scheduled that is in use");
        }
        scheduled.map_err(|refused| with_last_use(refused, last))
    }
}

/// A key that was used not longer ago than this, seconds, is taken to be in use.
const USED_LATELY: u64 = 7 * limits::DAY;

/// The refusal of a deletion by the key's state, which says when the key was last used: whoever disables it next should know.
fn with_last_use(refused: ApiError, last: u64) -> ApiError {
    if !matches!(refused.code(), E::CmkShouldBeDisabled | E::CmkStateNotSupport | E::CmkUsedByCloudProduct) {
        return refused;
    }
    let (en, zh) = match last {
        0 => ("No use of it is on record.".to_owned(), "没有该密钥的使用记录。".to_owned()),
        last => (format!("It was last used {}.", minute(last)), format!("密钥最近一次使用于 {}。", minute(last))),
    };
    let text = |lang, more| format!("{}{more}", refused.message(lang));
    ApiError::with_text(refused.code(), text(Lang::En, format!(" {en}")), text(Lang::Zh, zh))
}

/// A time as people read it, in UTC.
fn minute(at: u64) -> String {
    let at = i64::try_from(at).ok().and_then(|s| jiff::Timestamp::from_second(s).ok()).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%MZ").to_string()
}

answer! {
    /// The key that stays.
    Kept {
        key_id: KeyId = "KeyId", docs::KEY_ID;
    }
}

impl Action for CancelKeyDeletion {
    const SPEC: Spec = Spec {
        name: "CancelKeyDeletion",
        access: Access::Write,
        errors: &[E::InvalidKeyId, E::CmkNotFound, E::CmkNotPendingDelete, E::NotRoleOperation],
        doc: Doc("Cancels the deletion of a CMK; it becomes Disabled.", "取消计划删除，密钥变为禁用。"),
    };
    type On = Cmk<Known>;
    type Response = Kept;

    async fn run(self, cmk: Cmk<Known>, cx: &Cx<'_>) -> Result<Kept> {
        let key_id = cmk.entry.row.key_id;
        cx.step(key_id, Step::CancelDeletion).await?;
        Ok(Kept { key_id })
    }
}
