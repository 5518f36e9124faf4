//! Access keys of the main account and its users. Those of cloud products are the operator's: for these actions there are
//! none.

use super::{Stamp, given, given_in, users::CREATED};
use crate::{
    accounts::{NewAccessKey, new_access_key},
    action::{Access, Action, CAM, Identity, Spec, family},
    actions::{Account, Empty, OnIdentities, Principals},
    cx::Cx,
    schema::{Doc, answer, request},
    values::{Bounded, SecretText},
};
use jadeseal_auth::{Principal, params::Params};
use jadeseal_root::DomainKey;
use jadeseal_store::{AccessKeyRow, Identities, IdentityChange};
use jadeseal_types::{ApiError, ErrorCode as E, SecretId, Uin, error::Result, limits};

family![in CAM; CreateAccessKey, ListAccessKeys, UpdateAccessKey, DeleteAccessKey, GetSecurityLastUsed];

/// Access keys that one GetSecurityLastUsed may name.
const MAX_NAMED: usize = 10;
/// Characters of a date at the beginning of a time.
const DATE: usize = "2026-11-24".len();

const ACTIVE: &str = "Active";
const INACTIVE: &str = "Inactive";

const TARGET: Doc =
    Doc("Number of whom it belongs to; the caller without, or with 0.", "密钥所属用户的 UIN，不填或为 0 时为调用者。");
const KEY_ID: Doc = Doc("Id of the access key.", "访问密钥 ID。");
const STATUS: Doc = Doc("Active, or Inactive: it cannot be used.", "Active 为启用，Inactive 为禁用。");
const DESCRIPTION: Doc = Doc("Description, at most 256 bytes.", "描述，最多 256 字节。");

/// Makes an access key for the main account or a user, and names it in the audit record.
pub(super) fn make(
    domain: &DomainKey,
    all: &Identities,
    uin: Uin,
    description: &str,
    cx: &Cx<'_>,
) -> Result<(NewAccessKey, IdentityChange)> {
    let (key, row) = new_access_key(domain, &all.account, uin, None, cx.now)?;
    cx.note_subject(format!("accesskey/{}", key.secret_id));
    Ok((key, IdentityChange::AddAccessKey(AccessKeyRow { description: description.to_owned(), ..row })))
}

/// The access keys of the main account or a user, the oldest first.
pub(super) fn of(all: &Identities, uin: Uin) -> impl Iterator<Item = &AccessKeyRow> {
    // What a product signs with bears the number of the account that it acts for.
    all.access_keys.iter().filter(move |key| key.uin == uin && key.product.is_none())
}

/// Whose access keys a request is about. Those of the main account are its own affair, whatever policies say: whoever could
/// make one would be the main account. The audit record names him.
fn target(named: Option<u64>, cx: &Cx<'_>) -> Result<Uin> {
    let principal = cx.caller.principal();
    let uin = match (given(named), principal) {
        (Some(uin), _) => Uin(uin),
        (None, Principal::Root | Principal::User | Principal::Federated) => cx.caller.uin(),
        (None, Principal::Role | Principal::Product) => {
            let (en, zh) = (
                "The caller has no access keys of his own; give a TargetUin.",
                "调用者没有访问密钥，请指定 TargetUin。",
            );
            return Err(ApiError::with_text(E::OperationDeniedSubUin, en, zh));
        }
    };
    if uin.0 == cx.caller.account().0 && principal != Principal::Root {
        return Err(E::OperationDeniedSubUin.into());
    }
    cx.note_subject(format!("uin/{uin}"));
    Ok(uin)
}

/// Refuses who is neither the main account nor one of its users.
fn exists(all: &Identities, uin: Uin) -> Result<()> {
    if uin.0 == all.account.account.0 || all.user(uin).is_some() {
        return Ok(());
    }
    Err(E::UserNotExist.into())
}

/// An access key that is to be changed; the audit record names it.
fn find<'a>(all: &'a Identities, uin: Uin, id: &str, cx: &Cx<'_>) -> Result<&'a AccessKeyRow> {
    exists(all, uin)?;
    let key = all.access_keys.iter().find(|key| key.secret_id.as_str() == id && key.product.is_none());
    let key = key.ok_or(E::SecretNotExist)?;
    if key.uin != uin {
        return Err(E::UinNotMatch.into());
    }
    cx.note_subject(format!("accesskey/{id}"));
    Ok(key)
}

/// Refuses to take away the last enabled access key of the main account: nobody could make or enable one again. Whoever else
/// has rights may lose them; the main account cannot.
fn check_not_last(all: &Identities, key: &AccessKeyRow) -> Result<()> {
    let of_account = key.uin.0 == all.account.account.0;
    if of_account && key.enabled && of(all, key.uin).filter(|key| key.enabled).count() == 1 {
        let (en, zh) = (
            "The last enabled access key of the main account cannot be disabled or deleted: nobody could enable or make one again.",
            "不能禁用或删除主账号最后一个启用的密钥，否则将无法再启用或创建任何密钥。",
        );
        return Err(ApiError::with_text(E::AccessKeyFailure, en, zh));
    }
    Ok(())
}

fn status(key: &AccessKeyRow) -> &'static str {
    if key.enabled { ACTIVE } else { INACTIVE }
}

/// Actions on the principal under `TargetUin`, or on the caller himself.
macro_rules! on_target {
    ($($request:ty),+ $(,)?) => { $(
        impl OnIdentities for $request {
            const RESOURCES: &'static [&'static str] = &["uin/"];
            fn identities(params: &Params<'_>) -> Vec<Identity> {
                vec![given_in(params, "TargetUin").map_or(Identity::Caller, Identity::User)]
            }
        }
    )+ };
}

on_target!(CreateAccessKey, ListAccessKeys, UpdateAccessKey, DeleteAccessKey);

request! {
    /// Makes an access key.
    CreateAccessKey {
        optional target: u64 = "TargetUin", TARGET;
        optional description: Bounded<256> = "Description", DESCRIPTION;
    }
}

answer! {
    /// A new access key.
    NewKeyItem as "AccessKeyDetail" {
        id: String = "AccessKeyId", KEY_ID;
        secret: SecretText = "SecretAccessKey", Doc("The access key itself, shown this once.", "访问密钥，仅此一次可见。");
        status: &'static str = "Status", STATUS;
        create_time: String = "CreateTime", CREATED;
        description: Option<String> = "Description" nullable, DESCRIPTION;
    }
}

answer! {
    /// A new access key.
    NewKey {
        key: NewKeyItem = "AccessKey", Doc("The access key.", "访问密钥。");
    }
}

impl Action for CreateAccessKey {
    const SPEC: Spec = Spec {
        name: "CreateAccessKey",
        access: Access::Write,
        errors: &[E::AccessKeyOverLimit, E::OperationDeniedSubUin, E::UserNotExist],
        doc: Doc("Makes an access key; each principal may have two.", "创建访问密钥，每个用户最多两个。"),
    };
    type On = Principals;
    type Response = NewKey;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<NewKey> {
        let uin = target(self.target, cx)?;
        let description = self.description.map(|t| t.0).unwrap_or_default();
        let domain = cx.svc.vault.newest(cx.caller.account()).await?;
        let key = cx
            .change_identities(|all| {
                exists(all, uin)?;
                if of(all, uin).count() >= limits::MAX_ACCESS_KEYS {
                    return Err(E::AccessKeyOverLimit.into());
                }
                let (key, added) = make(&domain, all, uin, &description, cx)?;
                Ok((vec![added], key))
            })
            .await?;
        let key = NewKeyItem {
            id: key.secret_id.to_string(),
            secret: SecretText(key.secret_key),
            status: ACTIVE,
            create_time: Stamp(cx.now).to_string(),
            description: Some(description),
        };
        Ok(NewKey { key })
    }
}

request! {
    /// Access keys of a principal.
    ListAccessKeys {
        optional target: u64 = "TargetUin", TARGET;
    }
}

answer! {
    /// An access key.
    KeyItem as "AccessKey" {
        id: String = "AccessKeyId", KEY_ID;
        status: &'static str = "Status", STATUS;
        create_time: String = "CreateTime", CREATED;
        description: Option<String> = "Description" nullable, DESCRIPTION;
    }
}

answer! {
    /// Access keys of a principal.
    Keys {
        keys: Vec<KeyItem> = "AccessKeys", Doc("Access keys, the oldest first.", "访问密钥列表，按创建时间升序。");
    }
}

impl Action for ListAccessKeys {
    const SPEC: Spec = Spec {
        name: "ListAccessKeys",
        access: Access::Read,
        errors: &[E::OperationDeniedSubUin, E::UserNotExist],
        doc: Doc("Access keys of a principal.", "列出访问密钥。"),
    };
    type On = Principals;
    type Response = Keys;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Keys> {
        let uin = target(self.target, cx)?;
        let account = cx.account().await?;
        exists(&account.identities, uin)?;
        let keys = of(&account.identities, uin).map(|key| KeyItem {
            id: key.secret_id.to_string(),
            status: status(key),
            create_time: Stamp(key.create_time).to_string(),
            description: Some(key.description.clone()),
        });
        Ok(Keys { keys: keys.collect() })
    }
}

request! {
    /// Switches an access key on or off.
    UpdateAccessKey {
        required id: String = "AccessKeyId", KEY_ID;
        required status: String = "Status", STATUS;
        optional target: u64 = "TargetUin", TARGET;
    }
}

impl Action for UpdateAccessKey {
    const SPEC: Spec = Spec {
        name: "UpdateAccessKey",
        access: Access::Write,
        errors: &[
            E::AccessKeyFailure,
            E::OperationDeniedSubUin,
            E::ParamError,
            E::SecretNotExist,
            E::UinNotMatch,
            E::UserNotExist,
        ],
        doc: Doc("Switches an access key on or off.", "启用或禁用访问密钥。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let enabled = match self.status.as_str() {
            ACTIVE => true,
            INACTIVE => false,
            _ => {
                let (en, zh) = ("must be Active or Inactive", "必须为 Active 或 Inactive");
                return Err(ApiError::about(E::ParamError, "Status", en, zh));
            }
        };
        let uin = target(self.target, cx)?;
        cx.change_identities(|all| {
            let key = find(all, uin, &self.id, cx)?;
            if key.enabled == enabled {
                return Ok((Vec::new(), ()));
            }
            if !enabled {
                check_not_last(all, key)?;
            }
            Ok((vec![IdentityChange::SetAccessKey { secret_id: key.secret_id.clone(), enabled }], ()))
        })
        .await?;
        Ok(Empty {})
    }
}

request! {
    /// Removes an access key.
    DeleteAccessKey {
        required id: String = "AccessKeyId", KEY_ID;
        optional target: u64 = "TargetUin", TARGET;
    }
}

impl Action for DeleteAccessKey {
    const SPEC: Spec = Spec {
        name: "DeleteAccessKey",
        access: Access::Write,
        errors: &[E::AccessKeyFailure, E::OperationDeniedSubUin, E::SecretNotExist, E::UinNotMatch, E::UserNotExist],
        doc: Doc("Removes an access key, whether it is enabled or not.", "删除访问密钥，无论是否启用。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let uin = target(self.target, cx)?;
        cx.change_identities(|all| {
            let key = find(all, uin, &self.id, cx)?;
            check_not_last(all, key)?;
            Ok((vec![IdentityChange::DropAccessKey(key.secret_id.clone())], ()))
        })
        .await?;
        Ok(Empty {})
    }
}

request! {
    /// When access keys were last used.
    GetSecurityLastUsed {
        required ids: Vec<Bounded<128>> = "SecretIdList", Doc("Ids of 1 to 10 access keys.", "1 到 10 个密钥 ID。");
    }
}

answer! {
    /// When an access key was last used.
    LastUsed as "SecretIdLastUsed" {
        id: String = "SecretId", KEY_ID;
        date: String = "LastUsedDate", Doc("Day of the last use, Beijing time; empty for never.", "最后使用日期，北京时间，从未使用则为空。");
        time: u64 = "LastSecretUsedDate", Doc("Time of the last use, Unix milliseconds; 0 for never.", "最后使用时间，Unix 毫秒，从未使用则为 0。");
    }
}

answer! {
    /// When access keys were last used.
    LastUses {
        rows: Vec<LastUsed> = "SecretIdLastUsedRows", Doc("In the order of the request.", "按请求中的顺序。");
    }
}

impl Action for GetSecurityLastUsed {
    const SPEC: Spec = Spec {
        name: "GetSecurityLastUsed",
        access: Access::Read,
        errors: &[E::SecretNotExist],
        doc: Doc("When access keys were last used.", "查询密钥最近使用时间。"),
    };
    type On = Account;
    type Response = LastUses;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<LastUses> {
        if !(1..=MAX_NAMED).contains(&self.ids.len()) {
            return Err(ApiError::invalid("SecretIdList", "must have 1 to 10 items", "须有 1 到 10 项"));
        }
        let mut rows = Vec::with_capacity(self.ids.len());
        for Bounded(id) in self.ids {
            let id = SecretId::parse(&id).ok_or(E::SecretNotExist)?;
            // Not what is in memory of the account: a use is no change of it.
            let row = cx.svc.store.access_key(&id).await.map_err(ApiError::internal)?;
            let row = row.filter(|row| row.account == cx.caller.account() && row.product.is_none());
            let row = row.ok_or(E::SecretNotExist)?;
            cx.note_subject(format!("accesskey/{id}"));
            // The store learns of uses with a delay.
            let time = row.last_used.max(cx.svc.credentials.last_used(&id));
            let date = Stamp(time).to_string().chars().take(DATE).collect();
            rows.push(LastUsed { id: id.to_string(), date, time: time * 1000 });
        }
        Ok(LastUses { rows })
    }
}
