//! `KeyMetadata` and `DataKeyMetadata`: how a CMK and a hosted data key look from outside.

use crate::{
    docs,
    lifecycle::effective_state,
    region::edition,
    schema::{Doc, answer},
};
use jadeseal_store::{AccountRow, Cmk, DataKey};
use jadeseal_types::{Alias, DataKeyId, DataKeyState, KeyId, KeyState, KeyUsage, limits::DAY};

answer! {
    /// Metadata of a CMK.
    KeyMetadata as "KeyMetadata" {
        key_id: KeyId = "KeyId", docs::KEY_ID;
        alias: Alias = "Alias", docs::ALIAS;
        create_time: u64 = "CreateTime", docs::CREATE_TIME;
        description: String = "Description", docs::DESCRIPTION;
        key_state: KeyState = "KeyState", docs::KEY_STATE;
        key_usage: KeyUsage = "KeyUsage", docs::KEY_USAGE;
        edition: i64 = "Type", Doc("2: FIPS edition (AES); 4: SM edition.", "2：FIPS 版（AES）；4：国密版。");
        creator: u64 = "CreatorUin", Doc("Uin of the creator.", "创建者 Uin。");
        rotation_enabled: bool = "KeyRotationEnabled", Doc("True when the key rotates.", "是否开启轮换。");
        owner: String = "Owner", Doc("user, or the cloud product that had the key made.", "user 或创建密钥的云产品。");
        next_rotate_time: u64 = "NextRotateTime", Doc("Next rotation, Unix seconds.", "下次轮换时间，Unix 秒。");
        deletion_date: u64 = "DeletionDate" nullable, docs::DELETION_DATE;
        origin: &'static str = "Origin" nullable, Doc("TENCENT_KMS or EXTERNAL.", "密钥材料来源。");
        valid_to: u64 = "ValidTo" nullable, Doc("Expiry of imported material, Unix seconds; 0 is never.", "导入材料的过期时间，0 表示永不过期。");
        resource_id: String = "ResourceId", Doc("Last segment of the key's CAM resource.", "密钥在 CAM 中的资源 ID。");
        hsm_cluster: String = "HsmClusterId" nullable, docs::HSM_CLUSTER;
        rotate_days: u64 = "RotateDays" nullable, docs::ROTATE_DAYS;
        last_rotate_time: u64 = "LastRotateTime" nullable, Doc("Last rotation, Unix seconds.", "上次轮换时间，Unix 秒。");
        is_sync_replica: i64 = "IsSyncReplica" nullable, docs::SYNC;
        source_region: &'static str = "SourceRegion" nullable, docs::SYNC;
        sync_status: i64 = "SyncStatus" nullable, docs::SYNC;
        sync_messages: &'static str = "SyncMessages" nullable, docs::SYNC;
        sync_start_time: u64 = "SyncStartTime" nullable, docs::SYNC;
        sync_end_time: u64 = "SyncEndTime" nullable, docs::SYNC;
        source_hsm_cluster: &'static str = "SourceHsmClusterId" nullable, docs::SYNC;
        account_app_id: Option<u64> = "AccountAppId" nullable, docs::ACCOUNT;
        account_uin: Option<u64> = "AccountUin" nullable, docs::ACCOUNT;
        account_name: Option<String> = "AccountName" nullable, docs::ACCOUNT;
        creator_text: String = "CreatorUinString" nullable, Doc("CreatorUin as text.", "字符串形式的创建者 Uin。");
    }
}

impl KeyMetadata {
    /// A row as seen at `now` (Unix seconds), with its account where the request named accounts.
    pub fn of(cmk: &Cmk, now: u64, account: Option<&AccountRow>) -> Self {
        let r = &cmk.rotation;
        // Decision 18: with rotation off the next time is still filled, a year after creation.
        let (next, days, last) = match r.enabled {
            true => (r.next, u64::from(r.days), r.last),
            false => (cmk.create_time + 365 * DAY, 0, 0),
        };
        let state = effective_state(cmk, now);
        KeyMetadata {
            key_id: cmk.key_id,
            alias: cmk.alias.clone(),
            create_time: cmk.create_time,
            description: cmk.description.clone(),
            key_state: state,
            key_usage: cmk.usage,
            edition: edition(cmk.suite),
            creator: cmk.creator.0,
            rotation_enabled: r.enabled,
            owner: cmk.owner.wire().to_owned(),
            next_rotate_time: next,
            deletion_date: cmk.deletion_date,
            origin: cmk.origin.wire(),
            valid_to: if state == KeyState::PendingImport { 0 } else { cmk.valid_to },
            resource_id: format!("creatorUin/{}/{}", cmk.creator, cmk.key_id),
            hsm_cluster: cmk.hsm_cluster.clone(),
            rotate_days: days,
            last_rotate_time: last,
            is_sync_replica: 0,
            source_region: "",
            sync_status: 0,
            sync_messages: "",
            sync_start_time: 0,
            sync_end_time: 0,
            source_hsm_cluster: "",
            account_app_id: account.map(|a| a.app_id.0),
            account_uin: account.map(|a| a.account.0),
            account_name: account.map(|a| a.name.clone()),
            creator_text: cmk.creator.to_string(),
        }
    }
}

answer! {
    /// Metadata of a hosted data key.
    DataKeyMetadata as "DataKeyMetadata" {
        data_key_id: DataKeyId = "DataKeyId", docs::DATA_KEY_ID;
        key_id: KeyId = "KeyId", docs::KEY_ID;
        key_name: Alias = "KeyName" nullable, Doc("Alias of the CMK.", "主密钥别名。");
        name: Alias = "DataKeyName", docs::DATA_KEY_NAME;
        bytes: u64 = "NumberOfBytes", Doc("Length of the data key in bytes.", "数据密钥长度，字节。");
        create_time: u64 = "CreateTime", docs::CREATE_TIME;
        description: String = "Description", docs::DATA_KEY_DESCRIPTION;
        state: DataKeyState = "KeyState", Doc("State of the data key.", "数据密钥状态。");
        creator: u64 = "CreatorUin", Doc("Uin of the creator.", "创建者 Uin。");
        owner: String = "Owner", Doc("user, or the cloud product that had it made.", "user 或创建它的云产品。");
        deletion_date: u64 = "DeletionDate" nullable, docs::DELETION_DATE;
        origin: &'static str = "Origin" nullable, Doc("TENCENT_KMS, or EXTERNAL for an imported one.", "TENCENT_KMS，导入的为 EXTERNAL。");
        hsm_cluster: String = "HsmClusterId" nullable, docs::HSM_CLUSTER;
        resource_id: String = "ResourceId" nullable, Doc("Last segment of the data key's CAM resource.", "数据密钥在 CAM 中的资源 ID。");
        is_sync_replica: i64 = "IsSyncReplica" nullable, docs::SYNC;
        source_region: &'static str = "SourceRegion" nullable, docs::SYNC;
        sync_status: i64 = "SyncStatus" nullable, docs::SYNC;
        sync_messages: &'static str = "SyncMessages" nullable, docs::SYNC;
        sync_start_time: u64 = "SyncStartTime" nullable, docs::SYNC;
        sync_end_time: u64 = "SyncEndTime" nullable, docs::SYNC;
        source_hsm_cluster: &'static str = "SourceHsmClusterId" nullable, docs::SYNC;
        account_app_id: Option<u64> = "AccountAppId" nullable, docs::ACCOUNT;
        account_uin: Option<u64> = "AccountUin" nullable, docs::ACCOUNT;
        account_name: Option<String> = "AccountName" nullable, docs::ACCOUNT;
        creator_text: String = "CreatorUinString" nullable, Doc("CreatorUin as text.", "字符串形式的创建者 Uin。");
    }
}

impl DataKeyMetadata {
    /// A row as it is seen, with its account where the request named accounts.
    pub fn of(key: &DataKey, account: Option<&AccountRow>) -> Self {
        DataKeyMetadata {
            data_key_id: key.data_key_id,
            key_id: key.cmk,
            key_name: key.cmk_alias.clone(),
            name: key.name.clone(),
            bytes: u64::from(key.bytes),
            create_time: key.create_time,
            description: key.description.clone(),
            state: key.state,
            creator: key.creator.0,
            owner: key.owner.wire().to_owned(),
            deletion_date: key.deletion_date,
            origin: key.origin.wire(),
            hsm_cluster: key.hsm_cluster.clone(),
            resource_id: format!("creatorUin/{}/{}", key.creator, key.data_key_id),
            is_sync_replica: 0,
            source_region: "",
            sync_status: 0,
            sync_messages: "",
            sync_start_time: 0,
            sync_end_time: 0,
            source_hsm_cluster: "",
            account_app_id: account.map(|a| a.app_id.0),
            account_uin: account.map(|a| a.account.0),
            account_name: account.map(|a| a.name.clone()),
            creator_text: key.creator.to_string(),
        }
    }
}
