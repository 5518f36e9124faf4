//! Lists of CMKs and data keys: filtered, ordered and paged in the database.

use super::{
    Account, MemberAccount,
    metadata::{DataKeyMetadata, KeyMetadata},
};
use crate::{
    action::{Access, Action, Spec, family},
    cx::Cx,
    docs,
    organisations::Name,
    schema::{Doc, answer, object, request},
    values::{Bounded, MaybeKeyId},
};
use jadeseal_store::{AccountRow, DataKeyQuery, KeyQuery, Role, Scope};
use jadeseal_types::{
    AccountId, ApiError, DataKeyId, DataKeyState, ErrorCode as E, KeyId, KeyState, KeyUsage, Origin, Owner,
    error::Result, limits,
};
use std::{collections::BTreeMap, sync::Arc};

family![ListKeys, ListKeyDetail, ListDataKeys, ListDataKeyDetail];

/// Values of tags that one list may ask for. Each is a parameter of the statement, whose text differs with their number.
const MAX_TAG_VALUES: usize = 500;

const ORDER: Doc = Doc("0: newest first (default); 1: oldest first.", "0：按创建时间降序（默认）；1：升序。");
const ORIGIN: Doc = Doc("TENCENT_KMS, EXTERNAL or ALL (default).", "TENCENT_KMS、EXTERNAL 或 ALL（默认）。");
const TAG_FILTERS: Doc = Doc("Tags that must match, all of them.", "须全部匹配的标签条件。");

request! {
    /// Ids of the usable CMKs.
    ListKeys {
        optional offset: u64 = "Offset", docs::OFFSET;
        optional limit: u64 = "Limit", docs::LIMIT;
        optional role: u64 = "Role", docs::ROLE;
        optional hsm_cluster: String = "HsmClusterId", docs::HSM_CLUSTER;
    }
}

answer! {
    /// One id.
    Key as "Key" {
        key_id: KeyId = "KeyId", docs::KEY_ID;
    }
}

answer! {
    /// A page of ids.
    Ids {
        keys: Vec<Key> = "Keys" nullable, Doc("Ids of the keys.", "密钥 ID 列表。");
        total: u64 = "TotalCount", docs::TOTAL;
    }
}

impl Action for ListKeys {
    const SPEC: Spec = Spec {
        name: "ListKeys",
        access: Access::Read,
        errors: &[E::InvalidHsmClusterId],
        doc: Doc(
            "Lists the ids of CMKs that are Enabled, Disabled or PendingImport.",
            "列出启用、禁用和待导入状态的主密钥 ID。",
        ),
    };
    type On = Account;
    type Response = Ids;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<Ids> {
        let Part { role, owner, offset, limit } = part(self.offset, self.limit, self.role, self.hsm_cluster, cx)?;
        let states = vec![KeyState::Enabled, KeyState::Disabled, KeyState::PendingImport];
        let query = KeyQuery { states, role, owner, offset, limit, ..KeyQuery::default() };
        let page = cx.svc.store.list_ids(&cx.scope, query).await.map_err(ApiError::internal)?;
        Ok(Ids { keys: page.items.into_iter().map(|key_id| Key { key_id }).collect(), total: page.total })
    }
}

object! {
    /// A tag key with the values that match.
    TagFilter as "TagFilter" {
        required key: Bounded<127> = "TagKey", Doc("Key of the tag.", "标签键。");
        optional values: Vec<Bounded<255>> = "TagValue", Doc("Values of which one must match.", "匹配其一即可的标签值。");
    }
}

request! {
    /// CMKs with their metadata.
    ListKeyDetail {
        optional offset: u64 = "Offset", docs::OFFSET;
        optional limit: u64 = "Limit", docs::LIMIT;
        optional role: u64 = "Role", docs::ROLE;
        optional order: u64 = "OrderType", ORDER;
        optional state: u64 = "KeyState", Doc("0 all, 1 Enabled, 2 Disabled, 3 PendingDelete, 4 PendingImport, 5 Archived.", "0 全部，1 启用，2 禁用，3 计划删除，4 待导入，5 归档。");
        optional search: Bounded<256> = "SearchKeyAlias", Doc("Part of a key id or alias.", "密钥 ID 或别名的一部分。");
        optional origin: String = "Origin", ORIGIN;
        optional usage: String = "KeyUsage", Doc("A usage, or ALL; empty is ENCRYPT_DECRYPT.", "密钥用途，ALL 表示全部，空为 ENCRYPT_DECRYPT。");
        optional tags: Vec<TagFilter> = "TagFilters", TAG_FILTERS;
        optional hsm_cluster: String = "HsmClusterId", docs::HSM_CLUSTER;
        optional members: Vec<MemberAccount> = "MemberAccounts", docs::MEMBERS;
    }
}

answer! {
    /// A page of CMKs.
    Details {
        total: u64 = "TotalCount", docs::TOTAL;
        keys: Vec<KeyMetadata> = "KeyMetadatas" nullable, docs::METADATAS;
    }
}

impl Action for ListKeyDetail {
    const SPEC: Spec = Spec {
        name: "ListKeyDetail",
        access: Access::Read,
        errors: &[E::InvalidHsmClusterId, E::NotRoleOperation],
        doc: Doc("Lists CMKs with their metadata.", "列出主密钥及其元数据。"),
    };
    type On = Account;
    type Response = Details;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<Details> {
        let ascending = ascending(self.order)?;
        let states = match self.state {
            None | Some(0) => Vec::new(),
            Some(n) => {
                let state = u8::try_from(n).ok().and_then(KeyState::from_code);
                vec![state.ok_or_else(|| ApiError::invalid("KeyState", "must be 0 to 5", "必须为 0 到 5"))?]
            }
        };
        let origin = origin(self.origin.as_deref())?;
        let usage = match self.usage.as_deref() {
            None | Some("") => Some(KeyUsage::EncryptDecrypt),
            Some("ALL") => None,
            Some(text) => {
                Some(KeyUsage::from_wire(text).ok_or_else(|| ApiError::invalid("KeyUsage", "is unknown", "取值未知"))?)
            }
        };
        let Part { role, owner, offset, limit } = part(self.offset, self.limit, self.role, self.hsm_cluster, cx)?;
        let query = KeyQuery {
            states,
            usage,
            origin,
            search: self.search.map(|s| s.0).filter(|s| !s.is_empty()),
            tags: tag_filters(self.tags)?,
            ascending,
            role,
            owner,
            offset,
            limit,
            hsm_cluster: None,
        };
        let of = Accounts::of(self.members, cx).await?;
        let page = cx.svc.store.list(&of.scopes, query).await.map_err(ApiError::internal)?;
        let keys = page.items.iter().map(|row| KeyMetadata::of(row, cx.now, of.named(row.account))).collect();
        Ok(Details { total: page.total, keys })
    }
}

request! {
    /// Ids of the data keys.
    ListDataKeys {
        optional offset: u64 = "Offset", docs::OFFSET;
        optional limit: u64 = "Limit", docs::LIMIT;
        optional role: u64 = "Role", docs::ROLE;
        optional hsm_cluster: String = "HsmClusterId", docs::HSM_CLUSTER;
    }
}

answer! {
    /// One id.
    ListedDataKey as "DataKey" {
        data_key_id: DataKeyId = "DataKeyId", docs::DATA_KEY_ID;
    }
}

answer! {
    /// A page of ids.
    DataKeyIds {
        keys: Vec<ListedDataKey> = "DataKeys" nullable, Doc("Ids of the data keys.", "数据密钥 ID 列表。");
        total: u64 = "TotalCount", docs::TOTAL;
    }
}

impl Action for ListDataKeys {
    const SPEC: Spec = Spec {
        name: "ListDataKeys",
        access: Access::Read,
        errors: &[E::InvalidHsmClusterId],
        doc: Doc(
            "Lists the ids of hosted data keys that are Enabled or Disabled.",
            "列出启用和禁用状态的托管数据密钥 ID。",
        ),
    };
    type On = Account;
    type Response = DataKeyIds;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<DataKeyIds> {
        let Part { role, owner, offset, limit } = part(self.offset, self.limit, self.role, self.hsm_cluster, cx)?;
        let states = vec![DataKeyState::Enabled, DataKeyState::Disabled];
        let query = DataKeyQuery { states, role, owner, offset, limit, ..DataKeyQuery::default() };
        let page = cx.svc.store.list_data_key_ids(&cx.scope, query).await.map_err(ApiError::internal)?;
        let keys = page.items.into_iter().map(|data_key_id| ListedDataKey { data_key_id }).collect();
        Ok(DataKeyIds { keys, total: page.total })
    }
}

request! {
    /// Data keys with their metadata.
    ListDataKeyDetail {
        optional offset: u64 = "Offset", docs::OFFSET;
        optional limit: u64 = "Limit", docs::LIMIT;
        optional role: u64 = "Role", docs::ROLE;
        optional order: u64 = "OrderType", ORDER;
        optional state: u64 = "KeyState", Doc("0 all, 1 Enabled, 2 Disabled, 3 PendingDelete.", "0 全部，1 启用，2 禁用，3 计划删除。");
        optional search: Bounded<256> = "SearchKeyAlias", Doc("Part of a data key id or name.", "数据密钥 ID 或名称的一部分。");
        optional origin: String = "Origin", ORIGIN;
        optional hsm_cluster: String = "HsmClusterId", docs::HSM_CLUSTER;
        optional key_id: MaybeKeyId = "KeyId", Doc("CMK of the data keys.", "数据密钥所属的主密钥 ID。");
        optional bytes: u64 = "DataKeyLen", Doc("Length in bytes; 0 is any.", "长度，字节，0 表示不限。");
        optional tags: Vec<TagFilter> = "TagFilters", TAG_FILTERS;
        optional members: Vec<MemberAccount> = "MemberAccounts", docs::MEMBERS;
    }
}

answer! {
    /// A page of data keys.
    DataKeyDetails {
        keys: Vec<DataKeyMetadata> = "DataKeyMetadatas" nullable, docs::DATA_KEY_METADATAS;
        total: u64 = "TotalCount", docs::TOTAL;
    }
}

impl Action for ListDataKeyDetail {
    const SPEC: Spec = Spec {
        name: "ListDataKeyDetail",
        access: Access::Read,
        errors: &[E::InvalidHsmClusterId, E::InvalidKeyId, E::CmkNotFound, E::NotRoleOperation],
        doc: Doc("Lists hosted data keys with their metadata.", "列出托管数据密钥及其元数据。"),
    };
    type On = Account;
    type Response = DataKeyDetails;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<DataKeyDetails> {
        let Part { role, owner, offset, limit } = part(self.offset, self.limit, self.role, self.hsm_cluster, cx)?;
        let states = match self.state {
            None | Some(0) => Vec::new(),
            Some(n) => {
                let state = u8::try_from(n).ok().and_then(DataKeyState::from_code);
                vec![state.ok_or_else(|| ApiError::invalid("KeyState", "must be 0 to 3", "必须为 0 到 3"))?]
            }
        };
        let bytes = match self.bytes {
            None | Some(0) => None,
            Some(n) if n <= limits::MAX_RANDOM_BYTES => u32::try_from(n).ok(),
            Some(_) => return Err(ApiError::invalid("DataKeyLen", "must be at most 1024", "最大为 1024")),
        };
        let query = DataKeyQuery {
            states,
            origin: origin(self.origin.as_deref())?,
            cmk: self.key_id.and_then(|id| id.0),
            bytes,
            search: self.search.map(|s| s.0).filter(|s| !s.is_empty()),
            tags: tag_filters(self.tags)?,
            ascending: ascending(self.order)?,
            role,
            owner,
            offset,
            limit,
            hsm_cluster: None,
        };
        let of = Accounts::of(self.members, cx).await?;
        if let Some(key_id) = query.cmk {
            cx.note(key_id);
            of.require_key(key_id, cx).await?;
        }
        let page = cx.svc.store.list_data_keys(&of.scopes, query).await.map_err(ApiError::internal)?;
        let keys = page.items.iter().map(|row| DataKeyMetadata::of(row, of.named(row.account))).collect();
        Ok(DataKeyDetails { keys, total: page.total })
    }
}

/// The accounts of whose keys a list is.
struct Accounts {
    scopes: Vec<Scope>,
    /// Their rows, where the request named any.
    rows: Vec<Arc<AccountRow>>,
}

impl Accounts {
    /// The named accounts, to each of which the caller must be admitted; his own where none is named, and for an item that
    /// is empty.
    async fn of(members: Option<Vec<MemberAccount>>, cx: &Cx<'_>) -> Result<Accounts> {
        let members = members.unwrap_or_default();
        if members.len() > limits::MAX_LISTED_MEMBERS {
            return Err(ApiError::invalid("MemberAccounts", "must name at most 50 accounts", "最多 50 个账号"));
        }
        let names: Vec<Name> = members.iter().map(|m| Name { uin: m.uin, app_id: m.app_id }).collect();
        if names.iter().all(|name| name.is_empty()) {
            return Ok(Accounts { scopes: vec![cx.scope.clone()], rows: Vec::new() });
        }
        let (mut scopes, mut rows) = (Vec::new(), Vec::<Arc<AccountRow>>::new());
        for name in names {
            let (scope, row) = if name.is_empty() {
                (cx.scope.clone(), cx.svc.directory.own(cx.caller).await?)
            } else {
                let admitted = cx.svc.directory.admit(cx.caller, name).await?.ok_or(E::NotRoleOperation)?;
                (Scope::of_member(&admitted.member, cx.region.name.clone()), admitted.row)
            };
            if scopes.contains(&scope) {
                return Err(ApiError::invalid("MemberAccounts", "names an account twice", "账号重复"));
            }
            scopes.push(scope);
            rows.push(row);
        }
        cx.note_targets(rows.iter().map(|row| row.account).collect());
        Ok(Accounts { scopes, rows })
    }

    /// The row of an account, where the request named any.
    fn named(&self, account: AccountId) -> Option<&AccountRow> {
        self.rows.iter().find(|row| row.account == account).map(Arc::as_ref)
    }

    /// Refuses a key that is in none of them.
    async fn require_key(&self, key_id: KeyId, cx: &Cx<'_>) -> Result<()> {
        for scope in &self.scopes {
            if cx.find_key_in(scope, key_id).await?.is_some() {
                return Ok(());
            }
        }
        Err(E::CmkNotFound.into())
    }
}

fn ascending(order: Option<u64>) -> Result<bool> {
    match order {
        None | Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(ApiError::invalid("OrderType", "must be 0 or 1", "必须为 0 或 1")),
    }
}

fn origin(text: Option<&str>) -> Result<Option<Origin>> {
    match text {
        None | Some("" | "ALL") => Ok(None),
        Some(text) => Origin::from_wire(text).map(Some).ok_or_else(|| {
            ApiError::invalid("Origin", "must be TENCENT_KMS, EXTERNAL or ALL", "必须为 TENCENT_KMS、EXTERNAL 或 ALL")
        }),
    }
}

/// Values of one key are alternatives, also where the key is named twice; one without values takes any (decision 25).
pub(super) fn tag_filters(filters: Option<Vec<TagFilter>>) -> Result<Vec<(String, Vec<String>)>> {
    let filters = filters.unwrap_or_default();
    if filters.len() > limits::MAX_TAGS {
        return Err(ApiError::invalid("TagFilters", "must name at most 50 tags", "最多 50 个标签"));
    }
    if filters.iter().map(|f| f.values.as_ref().map_or(0, Vec::len)).sum::<usize>() > MAX_TAG_VALUES {
        return Err(ApiError::invalid("TagFilters", "must have at most 500 values", "最多 500 个标签值"));
    }
    let mut merged: BTreeMap<String, Option<Vec<String>>> = BTreeMap::new();
    for TagFilter { key, values } in filters {
        let values: Vec<String> = values.unwrap_or_default().into_iter().map(|v| v.0).collect();
        let any = values.is_empty();
        let of_key = merged.entry(key.0).or_insert_with(|| Some(Vec::new()));
        match of_key {
            Some(known) if !any => known.extend(values),
            known => *known = None,
        }
    }
    Ok(merged.into_iter().map(|(key, values)| (key, values.unwrap_or_default())).collect())
}

/// Which part of a list.
struct Part {
    role: Role,
    owner: Option<Owner>,
    offset: u64,
    limit: u64,
}

/// The parameters that all lists share. A cloud product sees what it has made, whichever role it names.
fn part(
    offset: Option<u64>,
    limit: Option<u64>,
    role: Option<u64>,
    cluster: Option<String>,
    cx: &Cx<'_>,
) -> Result<Part> {
    let limit = limit.unwrap_or(limits::DEFAULT_PAGE);
    if limit > limits::MAX_PAGE {
        return Err(ApiError::invalid("Limit", "must be at most 200", "最大为 200"));
    }
    let offset = offset.unwrap_or(0);
    if i64::try_from(offset).is_err() {
        return Err(ApiError::invalid("Offset", "is too large", "过大"));
    }
    let role = match role {
        None | Some(0) => Role::Own,
        Some(1) => Role::Product,
        Some(_) => return Err(ApiError::invalid("Role", "must be 0 or 1", "必须为 0 或 1")),
    };
    // No cluster is configured, so `default` (keys outside any cluster) means every key.
    match cluster.as_deref() {
        None | Some("" | "default") => {}
        Some(_) => return Err(E::InvalidHsmClusterId.into()),
    }
    let owner = cx.caller.product().map(|_| cx.owner());
    let role = if owner.is_some() { Role::Product } else { role };
    Ok(Part { role, owner, offset, limit })
}
