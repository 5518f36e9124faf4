//! Rotation: a new version of the material under the same key id; old ciphertext stays readable.

use super::{Cmk, Empty, Known, MemberAccount, OnKey, Permitted, on_key};
use crate::{
    action::{Access, Action, Spec, family},
    cx::Cx,
    docs,
    lifecycle::{Step, apply},
    schema::{Doc, answer, request},
    vault::Vault,
};
use jadeseal_root::DomainKey;
use jadeseal_store::Change;
use jadeseal_types::{ApiError, ErrorCode as E, KeyId, error::Result, limits};

family![EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, RotateKey];

request! {
    /// Switches scheduled rotation on.
    EnableKeyRotation {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        optional days: u64 = "RotateDays", docs::ROTATE_DAYS;
        optional _member: MemberAccount = "MemberAccount", docs::MEMBER;
    }
}

impl OnKey for EnableKeyRotation {
    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn early(&self, _: &Cx<'_>) -> Result<()> {
        if self.days.is_some_and(|days| !limits::ROTATE_DAYS.contains(&days)) {
            return Err(ApiError::about(E::InvalidParameterValue, "RotateDays", "must be 7 to 365", "必须为 7 到 365"));
        }
        Ok(())
    }
}

impl Action for EnableKeyRotation {
    const SPEC: Spec = Spec {
        name: "EnableKeyRotation",
        access: Access::Write,
        errors: &[
            E::InvalidParameterValue,
            E::InvalidKeyId,
            E::CmkNotFound,
            E::CmkStateNotSupport,
            E::ExternalCmkCanNotRotate,
            E::RotateNotSupported,
            E::UnsupportedKeyUsageInCurrentRegion,
            E::NotRoleOperation,
        ],
        doc: Doc("Has a CMK rotated every RotateDays days.", "开启主密钥自动轮换。"),
    };
    type On = Cmk<Permitted>;
    type Response = Empty;

    async fn run(self, cmk: Cmk<Permitted>, cx: &Cx<'_>) -> Result<Empty> {
        let days = self.days.unwrap_or(*limits::ROTATE_DAYS.end());
        cx.step(cmk.entry.row.key_id, Step::EnableRotation(days)).await?;
        Ok(Empty {})
    }
}

request! {
    /// Switches scheduled rotation off.
    DisableKeyRotation {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        optional _member: MemberAccount = "MemberAccount", docs::MEMBER;
    }
}

request! {
    /// Asks whether scheduled rotation is on.
    GetKeyRotationStatus {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        optional _member: MemberAccount = "MemberAccount", docs::MEMBER;
    }
}

request! {
    /// Rotates now.
    RotateKey {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        optional _member: MemberAccount = "MemberAccount", docs::MEMBER;
    }
}

on_key!(DisableKeyRotation, GetKeyRotationStatus, RotateKey);

impl Action for DisableKeyRotation {
    const SPEC: Spec = Spec {
        name: "DisableKeyRotation",
        access: Access::Write,
        errors: &[E::InvalidKeyId, E::CmkNotFound, E::NotRoleOperation],
        doc: Doc("Stops the scheduled rotation of a CMK.", "关闭主密钥自动轮换。"),
    };
    type On = Cmk<Known>;
    type Response = Empty;

    async fn run(self, cmk: Cmk<Known>, cx: &Cx<'_>) -> Result<Empty> {
        cx.step(cmk.entry.row.key_id, Step::DisableRotation).await?;
        Ok(Empty {})
    }
}

answer! {
    /// Whether rotation is on.
    RotationStatus {
        enabled: bool = "KeyRotationEnabled", Doc("True when the key rotates.", "是否开启轮换。");
    }
}

impl Action for GetKeyRotationStatus {
    const SPEC: Spec = Spec {
        name: "GetKeyRotationStatus",
        access: Access::Read,
        errors: &[E::InvalidKeyId, E::CmkNotFound, E::NotRoleOperation],
        doc: Doc("Tells whether a CMK rotates on schedule.", "查询主密钥是否开启轮换。"),
    };
    type On = Cmk<Known>;
    type Response = RotationStatus;

    async fn run(self, cmk: Cmk<Known>, _: &Cx<'_>) -> Result<RotationStatus> {
        Ok(RotationStatus { enabled: cmk.entry.row.rotation.enabled })
    }
}

answer! {
    /// The rotation that was done.
    Rotated {
        task_id: String = "TaskId" nullable, Doc("Id of the rotation task; the rotation is done when this arrives.", "轮换任务 ID；返回时轮换已完成。");
    }
}

impl Action for RotateKey {
    const SPEC: Spec = Spec {
        name: "RotateKey",
        access: Access::Write,
        errors: &[
            E::InvalidKeyId,
            E::CmkNotFound,
            E::CmkStateNotSupport,
            E::RotateNotSupported,
            E::UnsupportedKeyUsageInCurrentRegion,
            E::RotateRateLimited,
            E::NotRoleOperation,
        ],
        doc: Doc("Rotates a CMK now; once in 24 hours.", "立即轮换主密钥，24 小时一次。"),
    };
    type On = Cmk<Permitted>;
    type Response = Rotated;

    async fn run(self, cmk: Cmk<Permitted>, cx: &Cx<'_>) -> Result<Rotated> {
        let domain = cx.svc.vault.newest(cx.scope.account()).await?;
        let task_id = cx.svc.new_key_id()?.to_string();
        cx.change_key(cmk.entry.row.key_id, |row| Ok((rotation(&domain, row, Step::RotateOnDemand, cx.now)?, ())))
            .await?;
        Ok(Rotated { task_id })
    }
}

/// The changes that one rotation makes: the row with its new version number, and that version.
pub(crate) fn rotation(domain: &DomainKey, row: &jadeseal_store::Cmk, step: Step, now: u64) -> Result<Vec<Change>> {
    let Some(cmk) = apply(row, step, now)? else { return Ok(Vec::new()) };
    let material = jadeseal_crypto::random::secret(cmk.suite.material_len()).map_err(ApiError::internal)?;
    let version = Vault::seal_material(domain, &cmk, cmk.current_version, &material, now)?;
    Ok(vec![Change::UpdateKey { cmk }, Change::AddVersion(version)])
}
