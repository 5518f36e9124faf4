//! Hosted data keys: states, names, deletion, and reading them. GenerateDataKey, which makes them, stands with the data
//! plane, the lists with those of CMKs.

use super::{
    Empty, MemberAccount,
    lifecycle::checked_batch,
    metadata::DataKeyMetadata,
    recipient::{deliver, recipient},
    usable,
};
use crate::{
    action::{Access, Action, Named, Spec, Target, family},
    cx::Cx,
    docs,
    hosting::{Step, apply, readable},
    keys::KeyEntry,
    lifecycle::Use,
    schema::{Doc, answer, request},
    values::{Base64, Bounded, DataKeyName, SecretBase64},
};
use jadeseal_auth::params::Params;
use jadeseal_store::DataKey;
use jadeseal_types::{ApiError, DataKeyId, DataKeyState, ErrorCode as E, error::Result, limits};
use std::{marker::PhantomData, sync::Arc};

family![
    DescribeDataKey,
    DescribeDataKeys,
    EnableDataKey,
    EnableDataKeys,
    DisableDataKey,
    DisableDataKeys,
    UpdateDataKeyName,
    UpdateDataKeyDescription,
    ScheduleDataKeyDeletion,
    CancelDataKeyDeletion,
    GetDataKeyPlaintext,
    GetDataKeyCiphertextBlob,
];

/// A request that names one data key.
pub trait OnDataKey {
    fn data_key_id(&self) -> DataKeyId;
    /// Refusals that come before the data key is looked for.
    fn early(&self, _cx: &Cx<'_>) -> Result<()> {
        Ok(())
    }
}

/// What a data key must satisfy before an action sees it.
pub trait DataKeyDemand: Send {
    /// Refuses a data key that does not.
    fn check(row: &DataKey, cmk: &KeyEntry, cx: &Cx<'_>) -> Result<()>;
}

macro_rules! data_key_demands {
    ($($(#[$doc:meta])* $name:ident = |$row:ident, $cmk:ident, $cx:ident| $check:expr;)+) => { $(
        $(#[$doc])*
        pub struct $name;

        impl DataKeyDemand for $name {
            fn check($row: &DataKey, $cmk: &KeyEntry, $cx: &Cx<'_>) -> Result<()> {
                $check
            }
        }
    )+ };
}

data_key_demands! {
    /// No demand: any state.
    Any = |_row, _cmk, _cx| Ok(());
    /// Can be read: enabled, and so is its CMK (or archived: nothing new is made).
    Readable = |row, cmk, cx| {
        readable(row)?;
        usable(cmk, Use::ReadDataKey, cx)
    };
    /// Can be handed out in its encrypted form.
    Enabled = |row, _cmk, _cx| match row.state {
        DataKeyState::Enabled => Ok(()),
        DataKeyState::Disabled | DataKeyState::PendingDelete => Err(E::DataKeyStateNotSupport.into()),
    };
}

/// A data key of the request's scope that satisfies a demand, with its CMK.
pub struct Hosted<D> {
    row: DataKey,
    cmk: Arc<KeyEntry>,
    demand: PhantomData<D>,
}

impl<A: OnDataKey + Sync, D: DataKeyDemand> Target<A> for Hosted<D> {
    const ON_KEYS: bool = true;

    fn named(params: &Params<'_>) -> Named {
        Named::keys_in(params, "DataKeyId")
    }

    fn early(request: &A, cx: &Cx<'_>) -> Result<()> {
        request.early(cx)
    }

    async fn load(request: &A, cx: &Cx<'_>) -> Result<Self> {
        let row = cx.svc.store.data_key(&cx.scope, request.data_key_id()).await.map_err(ApiError::internal)?;
        let row = cx.may_touch(row.ok_or(E::DataKeyNotFound)?)?;
        // A CMK that is gone by now has taken the data key with it.
        let cmk = cx.find_key(row.cmk).await?.ok_or(E::DataKeyNotFound)?;
        cx.note(cmk.row.key_id);
        D::check(&row, &cmk, cx)?;
        Ok(Hosted { row, cmk, demand: PhantomData })
    }
}

/// A request that names several data keys.
pub trait OnDataKeys {
    fn data_key_ids(&self) -> &[DataKeyId];
}

/// A batch of data keys of the request's scope, in the order of the request.
pub struct HostedBatch(Vec<DataKey>);

impl<A: OnDataKeys + Sync> Target<A> for HostedBatch {
    const ON_KEYS: bool = true;

    fn named(params: &Params<'_>) -> Named {
        Named::keys_in(params, "DataKeyIds")
    }

    fn early(request: &A, _: &Cx<'_>) -> Result<()> {
        let wrong_number = || {
            let (en, zh) = ("must name 1 to 100 data keys", "必须包含 1 到 100 个数据密钥");
            ApiError::about(E::InvalidParameterValue, "DataKeyIds", en, zh)
        };
        checked_batch(request.data_key_ids(), wrong_number, E::DuplicatedDataKeyId)
    }

    async fn load(request: &A, cx: &Cx<'_>) -> Result<Self> {
        let rows = cx.svc.store.data_keys(&cx.scope, request.data_key_ids()).await.map_err(ApiError::internal)?;
        let mut batch = Vec::with_capacity(rows.len());
        for row in rows {
            let row = cx.may_touch(row.ok_or(E::DataKeyNotFound)?)?;
            cx.find_key(row.cmk).await?.ok_or(E::DataKeyNotFound)?;
            batch.push(row);
        }
        Ok(HostedBatch(batch))
    }
}

macro_rules! one_data_key_request {
    ($($(#[$doc:meta])* $name:ident { $($body:tt)* })+) => { $(
        request! {
            $(#[$doc])*
            $name {
                required data_key_id: DataKeyId = "DataKeyId", docs::DATA_KEY_ID;
                $($body)*
                optional _member: MemberAccount = "MemberAccount", docs::MEMBER;
            }
        }
    )+ };
}

macro_rules! on_data_key {
    ($($name:ident),+) => { $(
        impl OnDataKey for $name {
            fn data_key_id(&self) -> DataKeyId {
                self.data_key_id
            }
        }
    )+ };
}

macro_rules! data_key_batch_request {
    ($($(#[$doc:meta])* $name:ident),+) => { $(
        request! {
            $(#[$doc])*
            $name {
                required ids: Vec<DataKeyId> = "DataKeyIds", docs::DATA_KEY_IDS;
                optional _member: MemberAccount = "MemberAccount", docs::MEMBER;
            }
        }

        impl OnDataKeys for $name {
            fn data_key_ids(&self) -> &[DataKeyId] {
                &self.ids
            }
        }
    )+ };
}

one_data_key_request! {
    /// Metadata of one data key.
    DescribeDataKey {}
    /// Disabled to Enabled.
    EnableDataKey {}
    /// Enabled to Disabled.
    DisableDataKey {}
    /// Back from PendingDelete.
    CancelDataKeyDeletion {}
    /// The data key under its CMK.
    GetDataKeyCiphertextBlob {}
    /// Renames a data key.
    UpdateDataKeyName {
        required name: DataKeyName = "DataKeyName", docs::DATA_KEY_NAME;
    }
    /// Describes a data key anew.
    UpdateDataKeyDescription {
        required description: Bounded<{ limits::MAX_DATA_KEY_DESCRIPTION_BYTES }> = "Description", docs::DATA_KEY_DESCRIPTION;
    }
    /// Schedules the end of a data key.
    ScheduleDataKeyDeletion {
        required days: u64 = "PendingWindowInDays", Doc("Days until deletion, 7 to 30.", "计划删除天数，7 到 30。");
    }
}

on_data_key!(
    DescribeDataKey,
    EnableDataKey,
    DisableDataKey,
    CancelDataKeyDeletion,
    GetDataKeyCiphertextBlob,
    UpdateDataKeyDescription
);

impl OnDataKey for UpdateDataKeyName {
    fn data_key_id(&self) -> DataKeyId {
        self.data_key_id
    }

    fn early(&self, cx: &Cx<'_>) -> Result<()> {
        cx.may_name_data_key(&self.name.0)
    }
}

data_key_batch_request! {
    /// Metadata of several data keys.
    DescribeDataKeys,
    /// EnableDataKey for several data keys, all or nothing.
    EnableDataKeys,
    /// DisableDataKey for several data keys, all or nothing.
    DisableDataKeys
}

impl OnDataKey for ScheduleDataKeyDeletion {
    fn data_key_id(&self) -> DataKeyId {
        self.data_key_id
    }

    fn early(&self, _: &Cx<'_>) -> Result<()> {
        if !limits::PENDING_WINDOW_DAYS.contains(&self.days) {
            return Err(E::InvalidPendingWindowInDays.into());
        }
        Ok(())
    }
}

async fn step_one(on: Hosted<Any>, step: Step, cx: &Cx<'_>) -> Result<Empty> {
    step_ids(&[on.row.data_key_id], step, cx).await
}

/// All or nothing (decision 10).
async fn step_all(on: HostedBatch, step: Step, cx: &Cx<'_>) -> Result<Empty> {
    let ids: Vec<DataKeyId> = on.0.iter().map(|row| row.data_key_id).collect();
    step_ids(&ids, step, cx).await
}

async fn step_ids(ids: &[DataKeyId], step: Step, cx: &Cx<'_>) -> Result<Empty> {
    cx.change_data_keys(ids, |row, cmk| Ok(apply(row, cmk, step, cx.now)?)).await?;
    Ok(Empty {})
}

/// Actions that are one step of the life cycle and answer nothing.
macro_rules! data_key_steps {
    ($($name:ident on $on:ty as $wire:literal => $step:expr, $run:ident, [$($error:ident),*], $en:literal, $zh:literal;)+) => { $(
        impl Action for $name {
            const SPEC: Spec = Spec {
                name: $wire,
                access: Access::Write,
                errors: &[E::InvalidDataKeyId, E::DataKeyNotFound, E::DataKeyStateNotSupport, E::NotRoleOperation, $(E::$error),*],
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

data_key_steps! {
    EnableDataKey on Hosted<Any> as "EnableDataKey" => Step::Enable, step_one, [CmkStateNotSupport],
        "Enables a hosted data key whose CMK is enabled.", "启用托管数据密钥，其主密钥须已启用。";
    DisableDataKey on Hosted<Any> as "DisableDataKey" => Step::Disable, step_one, [],
        "Disables a hosted data key.", "禁用托管数据密钥。";
    EnableDataKeys on HostedBatch as "EnableDataKeys" => Step::Enable, step_all,
        [CmkStateNotSupport, DuplicatedDataKeyId, InvalidParameterValue],
        "Enables several hosted data keys, all or none.", "批量启用托管数据密钥，全部成功或全部不变。";
    DisableDataKeys on HostedBatch as "DisableDataKeys" => Step::Disable, step_all,
        [DuplicatedDataKeyId, InvalidParameterValue],
        "Disables several hosted data keys, all or none.", "批量禁用托管数据密钥，全部成功或全部不变。";
}

answer! {
    /// One data key's metadata.
    DescribedDataKey {
        metadata: DataKeyMetadata = "DataKeyMetadata", docs::DATA_KEY_METADATA;
    }
}

impl Action for DescribeDataKey {
    const SPEC: Spec = Spec {
        name: "DescribeDataKey",
        access: Access::Read,
        errors: &[E::InvalidDataKeyId, E::DataKeyNotFound, E::NotRoleOperation],
        doc: Doc("Returns the metadata of a hosted data key.", "查询托管数据密钥的元数据。"),
    };
    type On = Hosted<Any>;
    type Response = DescribedDataKey;

    async fn run(self, on: Hosted<Any>, cx: &Cx<'_>) -> Result<DescribedDataKey> {
        Ok(DescribedDataKey { metadata: DataKeyMetadata::of(&on.row, cx.named_account()) })
    }
}

answer! {
    /// Several data keys' metadata.
    DescribedDataKeys {
        metadatas: Vec<DataKeyMetadata> = "DataKeyMetadatas", docs::DATA_KEY_METADATAS;
    }
}

impl Action for DescribeDataKeys {
    const SPEC: Spec = Spec {
        name: "DescribeDataKeys",
        access: Access::Read,
        errors: &[
            E::InvalidParameterValue,
            E::DuplicatedDataKeyId,
            E::InvalidDataKeyId,
            E::DataKeyNotFound,
            E::NotRoleOperation,
        ],
        doc: Doc(
            "Returns the metadata of several hosted data keys, in the order asked for.",
            "批量查询托管数据密钥的元数据，按请求顺序返回。",
        ),
    };
    type On = HostedBatch;
    type Response = DescribedDataKeys;

    async fn run(self, on: HostedBatch, cx: &Cx<'_>) -> Result<DescribedDataKeys> {
        let of = |row| DataKeyMetadata::of(row, cx.named_account());
        Ok(DescribedDataKeys { metadatas: on.0.iter().map(of).collect() })
    }
}

impl Action for UpdateDataKeyName {
    const SPEC: Spec = Spec {
        name: "UpdateDataKeyName",
        access: Access::Write,
        errors: &[
            E::InvalidDataKeyName,
            E::DataKeyNameAlreadyExists,
            E::InvalidDataKeyId,
            E::DataKeyNotFound,
            E::DataKeyStateNotSupport,
            E::NotRoleOperation,
        ],
        doc: Doc("Changes the name of a hosted data key.", "修改托管数据密钥的名称。"),
    };
    type On = Hosted<Any>;
    type Response = Empty;

    async fn run(self, on: Hosted<Any>, cx: &Cx<'_>) -> Result<Empty> {
        let name = self.name.0;
        cx.change_data_keys(&[on.row.data_key_id], |row, cmk| {
            apply(row, cmk, Step::Edit, cx.now)?;
            Ok((row.name != name).then(|| DataKey { name: name.clone(), ..row.clone() }))
        })
        .await?;
        Ok(Empty {})
    }
}

impl Action for UpdateDataKeyDescription {
    const SPEC: Spec = Spec {
        name: "UpdateDataKeyDescription",
        access: Access::Write,
        errors: &[E::InvalidDataKeyId, E::DataKeyNotFound, E::DataKeyStateNotSupport, E::NotRoleOperation],
        doc: Doc("Changes the description of a hosted data key.", "修改托管数据密钥的描述。"),
    };
    type On = Hosted<Any>;
    type Response = Empty;

    async fn run(self, on: Hosted<Any>, cx: &Cx<'_>) -> Result<Empty> {
        let description = self.description.0;
        cx.change_data_keys(&[on.row.data_key_id], |row, cmk| {
            apply(row, cmk, Step::Edit, cx.now)?;
            Ok((row.description != description).then(|| DataKey { description: description.clone(), ..row.clone() }))
        })
        .await?;
        Ok(Empty {})
    }
}

answer! {
    /// When the data key goes.
    ScheduledDataKey {
        deletion_date: u64 = "DeletionDate", docs::DELETION_DATE;
        data_key_id: DataKeyId = "DataKeyId", docs::DATA_KEY_ID;
    }
}

impl Action for ScheduleDataKeyDeletion {
    const SPEC: Spec = Spec {
        name: "ScheduleDataKeyDeletion",
        access: Access::Write,
        errors: &[
            E::InvalidPendingWindowInDays,
            E::InvalidDataKeyId,
            E::DataKeyNotFound,
            E::DataKeyStateNotSupport,
            E::NotRoleOperation,
        ],
        doc: Doc("Schedules the deletion of a disabled hosted data key.", "计划删除已禁用的托管数据密钥。"),
    };
    type On = Hosted<Any>;
    type Response = ScheduledDataKey;

    async fn run(self, on: Hosted<Any>, cx: &Cx<'_>) -> Result<ScheduledDataKey> {
        let data_key_id = on.row.data_key_id;
        let mut deletion_date = 0;
        cx.change_data_keys(&[data_key_id], |row, cmk| {
            let next = apply(row, cmk, Step::ScheduleDeletion(self.days), cx.now)?;
            deletion_date = next.as_ref().map_or(0, |next| next.deletion_date);
            Ok(next)
        })
        .await?;
        Ok(ScheduledDataKey { deletion_date, data_key_id })
    }
}

answer! {
    /// The data key that stays.
    KeptDataKey {
        data_key_id: DataKeyId = "DataKeyId" nullable, docs::DATA_KEY_ID;
    }
}

impl Action for CancelDataKeyDeletion {
    const SPEC: Spec = Spec {
        name: "CancelDataKeyDeletion",
        access: Access::Write,
        errors: &[
            E::InvalidDataKeyId,
            E::DataKeyNotFound,
            E::DataKeyNotPendingDelete,
            E::CmkStateNotSupport,
            E::DataKeyLimitExceeded,
            E::NotRoleOperation,
        ],
        doc: Doc(
            "Cancels the deletion of a hosted data key, whose CMK must be enabled; it becomes Disabled.",
            "取消计划删除托管数据密钥，其主密钥须已启用；该数据密钥变为禁用。",
        ),
    };
    type On = Hosted<Any>;
    type Response = KeptDataKey;

    async fn run(self, on: Hosted<Any>, cx: &Cx<'_>) -> Result<KeptDataKey> {
        let data_key_id = on.row.data_key_id;
        step_one(on, Step::CancelDeletion, cx).await?;
        Ok(KeptDataKey { data_key_id })
    }
}

request! {
    /// Asks for a data key in clear.
    GetDataKeyPlaintext {
        required data_key_id: DataKeyId = "DataKeyId", docs::DATA_KEY_ID;
        optional public_key: String = "EncryptionPublicKey", docs::RECIPIENT_KEY;
        optional algorithm: String = "EncryptionAlgorithm", docs::RECIPIENT_ALGORITHM;
    }
}

impl OnDataKey for GetDataKeyPlaintext {
    fn data_key_id(&self) -> DataKeyId {
        self.data_key_id
    }

    fn early(&self, cx: &Cx<'_>) -> Result<()> {
        recipient(self.public_key.as_deref(), self.algorithm.as_deref(), cx).map(drop)
    }
}

answer! {
    /// A data key.
    DataKeyPlaintext {
        plaintext: SecretBase64 = "Plaintext", docs::PLAINTEXT;
    }
}

impl Action for GetDataKeyPlaintext {
    const SPEC: Spec = Spec {
        name: "GetDataKeyPlaintext",
        access: Access::Use,
        errors: &[
            E::InvalidDataKeyId,
            E::DataKeyNotFound,
            E::DataKeyDisabled,
            E::DataKeyPendingDelete,
            E::CmkDisabled,
            E::CmkStateNotSupport,
            E::EncryptionError,
            E::UnsupportedKeyUsageInCurrentRegion,
        ],
        doc: Doc("Returns a hosted data key in clear.", "获取托管数据密钥的明文。"),
    };
    type On = Hosted<Readable>;
    type Response = DataKeyPlaintext;

    async fn run(self, on: Hosted<Readable>, cx: &Cx<'_>) -> Result<DataKeyPlaintext> {
        let recipient = recipient(self.public_key.as_deref(), self.algorithm.as_deref(), cx)?;
        let plaintext = cx.open_data_key(&on.row, &on.cmk).await?;
        let plaintext = deliver(plaintext, recipient, cx).await?;
        cx.used(&on.cmk);
        Ok(DataKeyPlaintext { plaintext })
    }
}

answer! {
    /// A data key under its CMK.
    DataKeyBlob {
        blob: Base64 = "CiphertextBlob", docs::BLOB;
    }
}

impl Action for GetDataKeyCiphertextBlob {
    const SPEC: Spec = Spec {
        name: "GetDataKeyCiphertextBlob",
        access: Access::Use,
        errors: &[E::InvalidDataKeyId, E::DataKeyNotFound, E::DataKeyStateNotSupport, E::NotRoleOperation],
        doc: Doc(
            "Returns a hosted data key encrypted by its CMK, for Decrypt.",
            "获取由主密钥加密的托管数据密钥，可用 Decrypt 解密。",
        ),
    };
    type On = Hosted<Enabled>;
    type Response = DataKeyBlob;

    async fn run(self, on: Hosted<Enabled>, cx: &Cx<'_>) -> Result<DataKeyBlob> {
        let (kept, _) = cx.kept(&on.row, &on.cmk).await?;
        cx.used(&on.cmk);
        Ok(DataKeyBlob { blob: Base64(kept.blob) })
    }
}
