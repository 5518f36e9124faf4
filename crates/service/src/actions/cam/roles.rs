//! Roles: who may take them, and for how long.

use super::{
    Paging, Stamp, flag, given_in, is_name,
    policies::{DESCRIPTION, MAX_NAME, PAGE, ROWS, check_description, is_given, refused},
    text,
};
use crate::{
    accounts::random_number,
    action::{Access, Action, CAM, Identity, Spec, family},
    actions::{
        Account, Empty, OnIdentities, Principals,
        sts::{MAX_ROLE_SECONDS, ROLE_SECONDS},
    },
    cx::Cx,
    docs,
    schema::{Doc, FromValue, Type, answer, object, request},
    values::Bounded,
};
use jadeseal_auth::{
    params::{Params, Value},
    policy::{TrustPolicy, Trusted},
};
use jadeseal_store::{Identities, IdentityChange, RoleRow, Tag};
use jadeseal_types::{AccountId, ApiError, ErrorCode as E, RoleId, Uin, error::Result, limits};
use std::collections::HashSet;

family![in CAM;
    CreateRole,
    GetRole,
    UpdateAssumeRolePolicy,
    UpdateRoleDescription,
    UpdateRoleConsoleLogin,
    UpdateRoleSessionDuration,
    DeleteRole,
    DescribeRoleList,
    TagRole,
    UntagRole,
];

/// The smallest number of a role: above those of users and accounts.
const FIRST: u64 = 4_611_686_018_427_387_904;
/// Numbers of roles: so many from the first one.
const NUMBERS: u64 = 100_000_000_000;

pub(super) const ROLE_ID: Doc = Doc("Number of the role.", "角色 ID。");
pub(super) const ROLE_NAME: Doc = Doc("Name of the role.", "角色名。");
const DOCUMENT: Doc = Doc("Who may take the role, in the policy language.", "角色信任策略文档。");
const CONSOLE_LOGIN: Doc = Doc("1 if a console may take it, else 0.", "是否允许登录控制台，1 为允许，0 为不允许。");
const DURATION: Doc = Doc(
    "Longest life of a session, seconds, 43200 at most; 0 is 7200.",
    "会话最长有效期（秒），最大 43200，0 表示 7200。",
);
const TAGS: Doc = Doc("Tags, at most 50.", "标签，最多 50 个。");
const TAG_KEY: Doc = Doc("Key of the tag.", "标签键。");
const TAG_VALUE: Doc = Doc("Value of the tag.", "标签值。");

/// The codes of documents that say who may take a role, behind others of an action.
macro_rules! with_trust {
    ($($code:ident),* $(,)?) => { &[
        $(E::$code,)*
        E::ActionError,
        E::ConditionContentError,
        E::ConditionError,
        E::ConditionTypeError,
        E::EffectError,
        E::PolicyDocumentError,
        E::PolicyDocumentLengthOverLimit,
        E::PrincipalError,
        E::PrincipalQcsError,
        E::PrincipalQcsNotExist,
        E::PrincipalServiceNotExist,
        E::ResourceError,
        E::StatementError,
        E::VersionError,
    ] };
}

/// The role that two parameters may name; by both, it is asked for twice.
pub(super) fn role_by(params: &Params<'_>, id: &str, name: &str) -> Vec<Identity> {
    let by_id = is_given(params, id).then(|| given_in(params, id)).flatten().map(Identity::Role);
    let by_name = is_given(params, name).then(|| Identity::RoleNamed(text(params, name)));
    by_id.into_iter().chain(by_name).collect()
}

/// A role as a request names it: by number, by name, or by both, which must agree.
pub(super) struct NamedRole {
    id: Option<String>,
    name: Option<String>,
}

impl NamedRole {
    /// `parameter` is what the number is called.
    pub(super) fn new(parameter: &str, id: Option<String>, name: Option<String>) -> Result<Self> {
        // An empty number and any way to write 0.
        let id = id.filter(|id| !id.bytes().all(|digit| digit == b'0'));
        let name = name.filter(|name| !name.is_empty());
        if id.is_none() && name.is_none() {
            let (en, zh) = ("or the name of the role must be given", "与角色名须提供其一");
            return Err(ApiError::about(E::ParamError, parameter, en, zh));
        }
        Ok(NamedRole { id, name })
    }

    pub(super) fn find<'a>(&self, all: &'a Identities) -> Result<&'a RoleRow> {
        // As text: the policy was asked about the number, and there is one way to write it.
        let is = |role: &&RoleRow| {
            self.id.as_ref().is_none_or(|id| *id == role.id.to_string())
                && self.name.as_ref().is_none_or(|name| *name == role.name)
        };
        Ok(all.roles.iter().find(is).ok_or(E::RoleNotExist)?)
    }
}

/// A whole number from 0 where the API says that it is a signed one. It is read as the policy was asked about it.
pub struct Unsigned(u64);

impl FromValue for Unsigned {
    const TYPE: Type = Type::Int64;

    fn from_value(value: Value<'_>, name: &str) -> Result<Self> {
        let number = crate::schema::uint(&value);
        Ok(Unsigned(number.ok_or_else(|| ApiError::invalid(name, "must be a whole number from 0", "必须为非负整数"))?))
    }
}

fn duration(seconds: u64) -> Result<u64> {
    match seconds {
        0 => Ok(ROLE_SECONDS),
        1..=MAX_ROLE_SECONDS => Ok(seconds),
        _ => Err(ApiError::invalid("SessionDuration", "must be 0 to 43200", "必须为 0 到 43200")),
    }
}

fn trust(document: &str, cx: &Cx<'_>) -> Result<TrustPolicy> {
    let checks = cx.svc.principals.checks(cx.caller.account(), true);
    TrustPolicy::parse(document, &checks).map_err(|invalid| refused("PolicyDocument", &invalid))
}

/// Refuses principals of the account that there are not. Who is there in other accounts, nobody is told.
fn check_principals(all: &Identities, trust: &TrustPolicy) -> Result<()> {
    let own = all.account.account;
    for named in trust.named() {
        let missing = match named {
            Trusted::User(account, uin) if account == own => {
                let is_there = uin == Uin(own.0) || all.user(uin).is_some();
                (!is_there).then(|| format!("uin/{uin}"))
            }
            Trusted::Role(account, id) if account == own => {
                let is_there = all.role(RoleId(id)).is_some();
                (!is_there).then(|| format!("role/{id}"))
            }
            Trusted::RoleName(account, name) if account == own => {
                let is_there = all.role_named(&name).is_some();
                (!is_there).then(|| format!("roleName/{name}"))
            }
            _ => None,
        };
        if let Some(last) = missing {
            return Err(ApiError::with_text(
                E::PrincipalQcsNotExist,
                format!("PolicyDocument: the principal qcs::cam::uin/{own}:{last} does not exist."),
                format!("PolicyDocument：principal qcs::cam::uin/{own}:{last} 不存在。"),
            ));
        }
    }
    Ok(())
}

object! {
    /// A tag of a role.
    TagParam as "RoleTags" {
        required key: Bounded<127> = "Key", TAG_KEY;
        required value: Bounded<255> = "Value", TAG_VALUE;
    }
}

answer! {
    /// A tag of a role.
    TagItem as "RoleTags" {
        key: String = "Key", TAG_KEY;
        value: String = "Value", TAG_VALUE;
    }
}

/// Tags as they are kept: by key, each key once.
fn tags(params: Vec<TagParam>) -> Result<Vec<Tag>> {
    if params.len() > limits::MAX_TAGS {
        return Err(E::TagLimitExceeded.into());
    }
    check_keys(params.iter().map(|tag| tag.key.0.as_str()))?;
    let mut tags: Vec<_> = params.into_iter().map(|tag| Tag { key: tag.key.0, value: tag.value.0 }).collect();
    tags.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(tags)
}

/// Refuses an empty tag key, and one that is named twice.
fn check_keys<'a>(keys: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = HashSet::new();
    let mut keys = keys;
    if keys.all(|key| !key.is_empty() && seen.insert(key)) { Ok(()) } else { Err(E::TagParamError.into()) }
}

request! {
    /// Makes a role.
    CreateRole {
        required name: String = "RoleName", Doc("Name, 1 to 128 of letters, digits and +=,.@_-.", "角色名，1 到 128 个字母、数字或 +=,.@_-。");
        required document: String = "PolicyDocument", DOCUMENT;
        optional description: String = "Description", DESCRIPTION;
        optional console_login: u64 = "ConsoleLogin", CONSOLE_LOGIN;
        optional duration: u64 = "SessionDuration", DURATION;
        optional tags: Vec<TagParam> = "Tags", TAGS;
    }
}

answer! {
    /// The number of a role.
    RoleNumber {
        id: String = "RoleId", ROLE_ID;
    }
}

impl Action for CreateRole {
    const SPEC: Spec = Spec {
        name: "CreateRole",
        access: Access::Write,
        errors: with_trust![
            RoleNameError,
            RoleNameInUse,
            RoleFull,
            DescriptionLengthOverlimit,
            TagLimitExceeded,
            TagParamError,
        ],
        doc: Doc("Makes a role.", "创建角色。"),
    };
    type On = Account;
    type Response = RoleNumber;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<RoleNumber> {
        if !is_name(&self.name, MAX_NAME) {
            return Err(E::RoleNameError.into());
        }
        let description = self.description.unwrap_or_default();
        check_description(&description)?;
        let mut row = RoleRow {
            id: RoleId(0),
            name: self.name,
            description,
            document: self.document,
            console_login: flag("ConsoleLogin", self.console_login)?.unwrap_or_default(),
            session_duration: duration(self.duration.unwrap_or(0))?,
            tags: tags(self.tags.unwrap_or_default())?,
            create_time: cx.now,
            update_time: cx.now,
        };
        let trust = trust(&row.document, cx)?;
        cx.change_identities(|all| {
            if all.role_named(&row.name).is_some() {
                return Err(E::RoleNameInUse.into());
            }
            if all.roles.len() >= limits::MAX_ROLES {
                return Err(E::RoleFull.into());
            }
            check_principals(all, &trust)?;
            row.id = RoleId(random_number(FIRST, NUMBERS)?);
            cx.note_subject(format!("role/{}", row.id));
            Ok((vec![IdentityChange::AddRole(row.clone())], RoleNumber { id: row.id.to_string() }))
        })
        .await
    }
}

answer! {
    /// A role.
    RoleInfo as "RoleInfo" {
        id: String = "RoleId", ROLE_ID;
        name: String = "RoleName", ROLE_NAME;
        document: String = "PolicyDocument", DOCUMENT;
        description: String = "Description", DESCRIPTION;
        add_time: String = "AddTime", Doc("Time of creation.", "创建时间。");
        update_time: String = "UpdateTime", Doc("Time of the last change.", "最近更新时间。");
        console_login: u64 = "ConsoleLogin", CONSOLE_LOGIN;
        kind: &'static str = "RoleType", Doc("user: made by the account.", "user：用户创建的角色。");
        duration: u64 = "SessionDuration", DURATION;
        deletion: &'static str = "DeletionTaskId", docs::UNUSED;
        tags: Vec<TagItem> = "Tags", TAGS;
        arn: String = "RoleArn" nullable, Doc("The role as AssumeRole names it.", "角色资源描述，用于 AssumeRole。");
    }
}

impl RoleInfo {
    fn new(account: AccountId, role: &RoleRow) -> Self {
        let tag = |tag: &Tag| TagItem { key: tag.key.clone(), value: tag.value.clone() };
        RoleInfo {
            id: role.id.to_string(),
            name: role.name.clone(),
            document: role.document.clone(),
            description: role.description.clone(),
            add_time: Stamp(role.create_time).to_string(),
            update_time: Stamp(role.update_time).to_string(),
            console_login: role.console_login.into(),
            kind: "user",
            duration: role.session_duration,
            deletion: "",
            tags: role.tags.iter().map(tag).collect(),
            arn: format!("qcs::cam::uin/{account}:roleName/{}", role.name),
        }
    }
}

/// Declares that requests are authorised on the role under `RoleId` and `RoleName`.
macro_rules! on_role {
    ($($request:ty),+ $(,)?) => { $(
        impl OnIdentities for $request {
            const RESOURCES: &'static [&'static str] = &["role/", "roleName/"];

            fn identities(params: &Params<'_>) -> Vec<Identity> {
                role_by(params, "RoleId", "RoleName")
            }
        }
    )+ };
}

on_role![
    GetRole,
    UpdateAssumeRolePolicy,
    UpdateRoleDescription,
    UpdateRoleConsoleLogin,
    UpdateRoleSessionDuration,
    DeleteRole,
    TagRole,
    UntagRole,
];

request! {
    /// Shows a role.
    GetRole {
        optional id: String = "RoleId", ROLE_ID;
        optional name: String = "RoleName", ROLE_NAME;
    }
}

answer! {
    /// A role.
    RoleAnswer {
        role: RoleInfo = "RoleInfo", Doc("The role.", "角色详情。");
    }
}

impl Action for GetRole {
    const SPEC: Spec = Spec {
        name: "GetRole",
        access: Access::Read,
        errors: &[E::ParamError, E::RoleNotExist],
        doc: Doc("Shows a role.", "获取角色详情。"),
    };
    type On = Principals;
    type Response = RoleAnswer;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<RoleAnswer> {
        let named = NamedRole::new("RoleId", self.id, self.name)?;
        let account = cx.account().await?;
        let role = named.find(&account.identities)?;
        cx.note_subject(format!("role/{}", role.id));
        Ok(RoleAnswer { role: RoleInfo::new(cx.caller.account(), role) })
    }
}

/// Changes a role. One that stays as it is does not count as changed.
async fn change(
    named: NamedRole,
    edit: impl Fn(&Identities, &mut RoleRow) -> Result<()> + Send + Sync,
    cx: &Cx<'_>,
) -> Result<Empty> {
    cx.change_identities(|all| {
        let role = named.find(all)?;
        cx.note_subject(format!("role/{}", role.id));
        let mut next = role.clone();
        edit(all, &mut next)?;
        let mut changes = Vec::new();
        if next != *role {
            next.update_time = cx.now;
            changes.push(IdentityChange::UpdateRole(next));
        }
        Ok((changes, Empty {}))
    })
    .await
}

request! {
    /// Changes who may take a role.
    UpdateAssumeRolePolicy {
        required document: String = "PolicyDocument", DOCUMENT;
        optional id: String = "RoleId", ROLE_ID;
        optional name: String = "RoleName", ROLE_NAME;
    }
}

impl Action for UpdateAssumeRolePolicy {
    const SPEC: Spec = Spec {
        name: "UpdateAssumeRolePolicy",
        access: Access::Write,
        errors: with_trust![ParamError, RoleNotExist],
        doc: Doc("Changes who may take a role.", "修改角色信任策略。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let named = NamedRole::new("RoleId", self.id, self.name)?;
        let trust = trust(&self.document, cx)?;
        let edit = |all: &Identities, role: &mut RoleRow| {
            check_principals(all, &trust)?;
            role.document.clone_from(&self.document);
            Ok(())
        };
        change(named, edit, cx).await
    }
}

request! {
    /// Changes the description of a role.
    UpdateRoleDescription {
        required description: String = "Description", DESCRIPTION;
        optional id: String = "RoleId", ROLE_ID;
        optional name: String = "RoleName", ROLE_NAME;
    }
}

impl Action for UpdateRoleDescription {
    const SPEC: Spec = Spec {
        name: "UpdateRoleDescription",
        access: Access::Write,
        errors: &[E::ParamError, E::RoleNotExist, E::DescriptionLengthOverlimit],
        doc: Doc("Changes the description of a role.", "修改角色描述。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let named = NamedRole::new("RoleId", self.id, self.name)?;
        check_description(&self.description)?;
        let edit = |_: &Identities, role: &mut RoleRow| {
            role.description.clone_from(&self.description);
            Ok(())
        };
        change(named, edit, cx).await
    }
}

request! {
    /// Says whether a console may take a role.
    UpdateRoleConsoleLogin {
        required console_login: Unsigned = "ConsoleLogin", CONSOLE_LOGIN;
        optional id: Unsigned = "RoleId", ROLE_ID;
        optional name: String = "RoleName", ROLE_NAME;
    }
}

impl Action for UpdateRoleConsoleLogin {
    const SPEC: Spec = Spec {
        name: "UpdateRoleConsoleLogin",
        access: Access::Write,
        errors: &[E::ParamError, E::RoleNotExist],
        doc: Doc("Says whether a console may take a role.", "修改角色是否可登录。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let named = NamedRole::new("RoleId", self.id.map(|id| id.0.to_string()), self.name)?;
        let console_login = flag("ConsoleLogin", Some(self.console_login.0))?.unwrap_or_default();
        let edit = |_: &Identities, role: &mut RoleRow| {
            role.console_login = console_login;
            Ok(())
        };
        change(named, edit, cx).await
    }
}

request! {
    /// Says how long sessions of a role may live.
    UpdateRoleSessionDuration {
        required duration: u64 = "SessionDuration", DURATION;
        optional name: String = "RoleName", ROLE_NAME;
        optional id: u64 = "RoleId", ROLE_ID;
    }
}

impl Action for UpdateRoleSessionDuration {
    const SPEC: Spec = Spec {
        name: "UpdateRoleSessionDuration",
        access: Access::Write,
        errors: &[E::ParamError, E::RoleNotExist],
        doc: Doc("Says how long sessions of a role may live.", "修改角色会话最长有效期。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let named = NamedRole::new("RoleId", self.id.map(|id| id.to_string()), self.name)?;
        let session_duration = duration(self.duration)?;
        let edit = |_: &Identities, role: &mut RoleRow| {
            role.session_duration = session_duration;
            Ok(())
        };
        change(named, edit, cx).await
    }
}

request! {
    /// Deletes a role.
    DeleteRole {
        optional id: String = "RoleId", ROLE_ID;
        optional name: String = "RoleName", ROLE_NAME;
    }
}

impl Action for DeleteRole {
    const SPEC: Spec = Spec {
        name: "DeleteRole",
        access: Access::Write,
        errors: &[E::ParamError, E::RoleNotExist],
        doc: Doc("Deletes a role with its attachments; its sessions end.", "删除角色及其关联关系，其会话立即失效。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let named = NamedRole::new("RoleId", self.id, self.name)?;
        cx.change_identities(|all| {
            let id = named.find(all)?.id;
            cx.note_subject(format!("role/{id}"));
            Ok((vec![IdentityChange::DropRole(id)], Empty {}))
        })
        .await
    }
}

request! {
    /// Lists roles.
    DescribeRoleList {
        required page: u64 = "Page", PAGE;
        required rows: u64 = "Rp", ROWS;
        optional tags: Vec<TagParam> = "Tags", Doc("Only roles with all of these tags.", "仅返回具有全部所列标签的角色。");
    }
}

answer! {
    /// A page of roles.
    Roles {
        list: Vec<RoleInfo> = "List", Doc("Roles.", "角色列表。");
        total: u64 = "TotalNum", docs::TOTAL;
    }
}

impl Action for DescribeRoleList {
    const SPEC: Spec = Spec {
        name: "DescribeRoleList",
        access: Access::Read,
        errors: &[E::ParamError],
        doc: Doc("Lists roles.", "查询角色列表。"),
    };
    type On = Account;
    type Response = Roles;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<Roles> {
        let paging = Paging::new(E::ParamError, Some(self.page), Some(self.rows))?;
        let wanted = self.tags.unwrap_or_default();
        let account = cx.account().await?;
        let shown = |role: &&RoleRow| {
            wanted.iter().all(|w| role.tags.iter().any(|tag| tag.key == w.key.0 && tag.value == w.value.0))
        };
        let (total, rows) = paging.of(account.identities.roles.iter().filter(shown).collect());
        let own = cx.caller.account();
        Ok(Roles { list: rows.into_iter().map(|role| RoleInfo::new(own, role)).collect(), total })
    }
}

request! {
    /// Sets tags of a role.
    TagRole {
        required tags: Vec<TagParam> = "Tags", TAGS;
        optional name: String = "RoleName", ROLE_NAME;
        optional id: String = "RoleId", ROLE_ID;
    }
}

impl Action for TagRole {
    const SPEC: Spec = Spec {
        name: "TagRole",
        access: Access::Write,
        errors: &[E::ParamError, E::RoleNotExist, E::TagLimitExceeded, E::TagParamError],
        doc: Doc("Sets tags of a role.", "角色绑定标签。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let named = NamedRole::new("RoleId", self.id, self.name)?;
        let set = tags(self.tags)?;
        let edit = |_: &Identities, role: &mut RoleRow| {
            role.tags.retain(|tag| set.iter().all(|new| new.key != tag.key));
            role.tags.extend_from_slice(&set);
            role.tags.sort_by(|a, b| a.key.cmp(&b.key));
            if role.tags.len() <= limits::MAX_TAGS { Ok(()) } else { Err(E::TagLimitExceeded.into()) }
        };
        change(named, edit, cx).await
    }
}

request! {
    /// Removes tags of a role.
    UntagRole {
        required keys: Vec<Bounded<127>> = "TagKeys", Doc("Keys of tags, at most 50.", "标签键，最多 50 个。");
        optional name: String = "RoleName", ROLE_NAME;
        optional id: String = "RoleId", ROLE_ID;
    }
}

impl Action for UntagRole {
    const SPEC: Spec = Spec {
        name: "UntagRole",
        access: Access::Write,
        errors: &[E::ParamError, E::RoleNotExist, E::TagLimitExceeded, E::TagParamError],
        doc: Doc("Removes tags of a role.", "角色解绑标签。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let named = NamedRole::new("RoleId", self.id, self.name)?;
        if self.keys.len() > limits::MAX_TAGS {
            return Err(E::TagLimitExceeded.into());
        }
        check_keys(self.keys.iter().map(|key| key.0.as_str()))?;
        let edit = |_: &Identities, role: &mut RoleRow| {
            role.tags.retain(|tag| self.keys.iter().all(|key| key.0 != tag.key));
            Ok(())
        };
        change(named, edit, cx).await
    }
}
