//! Policies: those that an account makes, and the presets that every account has.

use super::{Paging, Stamp, given, given_in, is_name, number, text};
use crate::{
    accounts::random_number,
    action::{Access, Action, CAM, Identity, Spec, family},
    actions::{Account, Empty, OnIdentities, Principals},
    cx::Cx,
    docs,
    presets::{FIRST_OWN_POLICY, PRESETS, Preset, preset},
    principals,
    schema::{Doc, answer, object, request},
};
use jadeseal_auth::{
    params::{Params, Value},
    policy::{Invalid, Policy},
};
use jadeseal_store::{Attached, Identities, IdentityChange, PolicyRow};
use jadeseal_types::{ApiError, ErrorCode as E, PolicyId, error::Result, limits};
use std::collections::{HashMap, HashSet};

family![in CAM;
    CreatePolicy,
    GetPolicy,
    UpdatePolicy,
    DeletePolicy,
    ListPolicies,
    ListEntitiesForPolicy,
];

/// Numbers of own policies: so many from the first one.
const NUMBERS: u64 = 200_000_000;
/// Longest name, characters.
pub(super) const MAX_NAME: usize = 128;
/// Longest description, characters.
const MAX_DESCRIPTION: usize = 300;
/// Longest keyword, characters.
const MAX_KEYWORD: usize = 100;
/// Policies of one DeletePolicy.
const MAX_DELETED: usize = 100;
/// A policy that was written in the policy language, as all are here.
pub(super) const WRITTEN: u64 = 2;

pub(super) const POLICY_ID: Doc = Doc("Number of the policy.", "策略 ID。");
pub(super) const POLICY_NAME: Doc = Doc("Name of the policy.", "策略名。");
pub(super) const KEYWORD: Doc =
    Doc("Part of the name or the description, at most 100 characters.", "名称或描述中的关键字，最多 100 个字符。");
pub(super) const PAGE: Doc = Doc("Page, from 1; the first by default.", "页码，从 1 开始，默认第 1 页。");
pub(super) const ROWS: Doc = Doc("Rows of a page, 200 at most; 20 by default.", "每页数量，最大 200，默认 20。");
pub(super) const CREATE_MODE: Doc = Doc("2: written in the policy language.", "2：通过策略语法创建。");
pub(super) const DEACTIVED: Doc = Doc("0: its products are served.", "0：未下线。");
pub(super) const DEACTIVED_DETAIL: Doc = Doc("Withdrawn products; none.", "已下线的产品列表，恒为空。");
const NAME: Doc = Doc("Name, 1 to 128 of letters, digits and +=,.@_-.", "策略名，1 到 128 个字母、数字或 +=,.@_-。");
const DOCUMENT: Doc = Doc("Text in the policy language.", "策略文档。");
pub(super) const DESCRIPTION: Doc = Doc("Description, at most 300 characters.", "描述，最多 300 个字符。");
const KIND: Doc = Doc("1: made by the account; 2: preset.", "1：自定义策略；2：预设策略。");
const ADD_TIME: Doc = Doc("Time of creation.", "创建时间。");
const UPDATE_TIME: Doc = Doc("Time of the last change.", "最近更新时间。");
const NO_TAGS: Doc = Doc("Tags; policies have none, so empty.", "标签，策略没有标签，须为空。");

/// The codes of documents in the policy language, behind others of an action.
macro_rules! with_documents {
    ($($code:ident),* $(,)?) => { &[
        $(E::$code,)*
        E::ActionError,
        E::ActionNotExist,
        E::ActionServiceNotExist,
        E::ConditionContentError,
        E::ConditionError,
        E::ConditionTypeError,
        E::EffectError,
        E::PolicyDocumentError,
        E::PolicyDocumentLengthOverLimit,
        E::PrincipalError,
        E::ResourceContentError,
        E::ResourceError,
        E::ResourceProjectError,
        E::ResourceQcsError,
        E::ResourceRegionError,
        E::ResourceServiceNotExist,
        E::ResourceUinError,
        E::StatementError,
        E::VersionError,
    ] };
}

/// The refusal of a document in the policy language: it says where in the parameter and what is wrong.
pub(crate) fn refused(parameter: &str, invalid: &Invalid) -> ApiError {
    let Invalid { code, place, en, zh } = invalid;
    match place.is_empty() {
        true => ApiError::with_text(*code, format!("{parameter}: {en}."), format!("{parameter}：{zh}。")),
        false => {
            ApiError::with_text(*code, format!("{parameter}, {place}: {en}."), format!("{parameter}，{place}：{zh}。"))
        }
    }
}

/// Whether a raw parameter says something. An empty text is as good as none.
pub(super) fn is_given(params: &Params<'_>, name: &str) -> bool {
    match params.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Str(text)) => !text.is_empty(),
        Some(_) => true,
    }
}

/// The policy under a parameter.
pub(super) fn policy_at(params: &Params<'_>, name: &str) -> Identity {
    Identity::Policy(number(params, name))
}

/// The policy that two parameters may name.
pub(super) fn policy_by(params: &Params<'_>, id: &str, name: &str) -> Vec<Identity> {
    let by_id = given_in(params, id).map(Identity::Policy);
    let by_name = is_given(params, name).then(|| Identity::PolicyNamed(text(params, name)));
    by_id.into_iter().chain(by_name).collect()
}

/// Refuses a description that is too long.
pub(super) fn check_description(text: &str) -> Result<()> {
    if text.chars().count() <= MAX_DESCRIPTION { Ok(()) } else { Err(E::DescriptionLengthOverlimit.into()) }
}

/// A text to be found in names and descriptions; none finds everything.
pub(super) struct Keyword(String);

impl Keyword {
    pub(super) fn new(text: Option<String>) -> Result<Self> {
        let text = text.unwrap_or_default();
        if text.chars().count() > MAX_KEYWORD { Err(E::SearchKeywordLengthError.into()) } else { Ok(Keyword(text)) }
    }

    pub(super) fn finds(&self, policy: &Known<'_>) -> bool {
        policy.name.contains(&self.0) || policy.description.contains(&self.0)
    }
}

/// A policy that an account has or that everyone has.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub id: PolicyId,
    pub name: &'a str,
    pub description: &'a str,
    document: &'a str,
    /// Made by the account.
    pub own: bool,
    create_time: u64,
    update_time: u64,
}

impl<'a> Known<'a> {
    fn of_preset(preset: &'static Preset, all: &Identities) -> Self {
        // It is there as long as the account.
        let since = all.account.create_time;
        let Preset { id, name, description, document } = *preset;
        Known { id, name, description, document, own: false, create_time: since, update_time: since }
    }

    fn of_own(row: &'a PolicyRow) -> Self {
        Known {
            id: row.id,
            name: &row.name,
            description: &row.description,
            document: &row.document,
            own: true,
            create_time: row.create_time,
            update_time: row.update_time,
        }
    }

    /// All, the presets first.
    fn all(all: &'a Identities) -> impl Iterator<Item = Self> {
        PRESETS.iter().map(|p| Known::of_preset(p, all)).chain(all.policies.iter().map(Known::of_own))
    }

    /// By number.
    pub(super) fn find(all: &'a Identities, id: PolicyId) -> Option<Self> {
        match preset(id) {
            Some(preset) => Some(Known::of_preset(preset, all)),
            None => all.policy(id).map(Known::of_own),
        }
    }

    /// What is attached. A preset that the service does not bring along any more has no name.
    pub(super) fn attached(all: &'a Identities, id: PolicyId) -> Self {
        let gone = Known { id, name: "", description: "", document: "", own: false, create_time: 0, update_time: 0 };
        Known::find(all, id).unwrap_or(gone)
    }

    /// As numbers say whose it is.
    pub(super) fn kind(&self) -> u64 {
        if self.own { 1 } else { 2 }
    }

    /// As words say whose it is.
    pub(super) fn kind_name(&self) -> &'static str {
        if self.own { "User" } else { "QCS" }
    }
}

/// A policy as a request names it: by number, by name, or by both, which must agree.
pub(super) struct NamedPolicy {
    pub id: Option<PolicyId>,
    name: Option<String>,
}

impl NamedPolicy {
    pub(super) fn new(id: Option<u64>, name: Option<String>) -> Result<Self> {
        let (id, name) = (given(id).map(PolicyId), name.filter(|name| !name.is_empty()));
        if id.is_none() && name.is_none() {
            let (en, zh) = ("or PolicyName must be given", "与 PolicyName 须提供其一");
            return Err(ApiError::about(E::ParamError, "PolicyId", en, zh));
        }
        Ok(NamedPolicy { id, name })
    }

    pub(super) fn find<'a>(&self, all: &'a Identities) -> Result<Known<'a>> {
        let by_name = self.name.as_ref().map(|name| principals::policy_named(all, name).ok_or(E::PolicyIdNotExist));
        let by_name = by_name.transpose()?;
        let id = match (self.id, by_name) {
            (Some(id), Some(other)) if id != other => None,
            (id, other) => id.or(other),
        };
        Ok(id.and_then(|id| Known::find(all, id)).ok_or(E::PolicyIdNotExist)?)
    }
}

/// The row of a policy that the account made. Presets cannot be changed.
fn own(all: &Identities, id: PolicyId) -> Result<&PolicyRow> {
    if id.0 < FIRST_OWN_POLICY {
        let known = Known::find(all, id).is_some();
        return Err(if known { E::Unmodifiable.into() } else { E::PolicyIdNotExist.into() });
    }
    Ok(all.policy(id).ok_or(E::PolicyIdNotExist)?)
}

fn check_name(name: &str) -> Result<()> {
    if is_name(name, MAX_NAME) { Ok(()) } else { Err(E::PolicyNameError.into()) }
}

fn check_free(all: &Identities, name: &str) -> Result<()> {
    if principals::policy_named(all, name).is_none() { Ok(()) } else { Err(E::PolicyNameInUse.into()) }
}

fn check_document(document: &str, cx: &Cx<'_>) -> Result<()> {
    let checks = cx.svc.principals.checks(cx.caller.account(), true);
    Policy::parse(document, &checks).map(drop).map_err(|invalid| refused("PolicyDocument", &invalid))
}

object! {
    /// A tag.
    TagParam as "Tag" {
        required _key: String = "Key", Doc("Key of the tag.", "标签键。");
        required _value: String = "Value", Doc("Value of the tag.", "标签值。");
    }
}

answer! {
    /// A tag.
    TagItem as "Tag" {
        key: String = "Key", Doc("Key of the tag.", "标签键。");
        value: String = "Value", Doc("Value of the tag.", "标签值。");
    }
}

request! {
    /// Makes a policy.
    CreatePolicy {
        required name: String = "PolicyName", NAME;
        required document: String = "PolicyDocument", DOCUMENT;
        optional description: String = "Description", DESCRIPTION;
        optional tags: Vec<TagParam> = "Tags", NO_TAGS;
    }
}

answer! {
    /// The number of a policy.
    PolicyNumber {
        id: u64 = "PolicyId", POLICY_ID;
    }
}

impl Action for CreatePolicy {
    const SPEC: Spec = Spec {
        name: "CreatePolicy",
        access: Access::Write,
        errors: with_documents![PolicyNameError, PolicyNameInUse, PolicyFull, DescriptionLengthOverlimit],
        doc: Doc("Makes a policy.", "创建策略。"),
    };
    type On = Account;
    type Response = PolicyNumber;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<PolicyNumber> {
        let (name, document, description) = (self.name, self.document, self.description.unwrap_or_default());
        check_name(&name)?;
        check_description(&description)?;
        if self.tags.is_some_and(|tags| !tags.is_empty()) {
            return Err(ApiError::with_text(
                E::InvalidParameter,
                "Tags: policies have no tags here; create the policy without `Tags`.",
                "Tags：不支持策略的标签，请不带 Tags 创建策略。",
            ));
        }
        check_document(&document, cx)?;
        cx.change_identities(|all| {
            check_free(all, &name)?;
            if all.policies.len() >= limits::MAX_POLICIES {
                return Err(E::PolicyFull.into());
            }
            let id = PolicyId(random_number(FIRST_OWN_POLICY, NUMBERS)?);
            cx.note_subject(format!("policyid/{id}"));
            let row = PolicyRow {
                id,
                name: name.clone(),
                description: description.clone(),
                document: document.clone(),
                create_time: cx.now,
                update_time: cx.now,
            };
            Ok((vec![IdentityChange::AddPolicy(row)], PolicyNumber { id: id.0 }))
        })
        .await
    }
}

request! {
    /// Shows a policy.
    GetPolicy {
        required id: u64 = "PolicyId", POLICY_ID;
    }
}

answer! {
    /// A policy.
    PolicyAnswer {
        name: String = "PolicyName", POLICY_NAME;
        description: String = "Description", DESCRIPTION;
        kind: u64 = "Type", KIND;
        add_time: String = "AddTime", ADD_TIME;
        update_time: String = "UpdateTime", UPDATE_TIME;
        document: String = "PolicyDocument", DOCUMENT;
        alias: String = "PresetAlias", Doc("Name of a preset; else empty.", "预设策略的名称，否则为空。");
        is_service_linked: u64 = "IsServiceLinkedRolePolicy", Doc("0: no product depends on it.", "0：不是服务相关策略。");
        tags: Vec<TagItem> = "Tags" nullable, NO_TAGS;
    }
}

impl OnIdentities for GetPolicy {
    const RESOURCES: &'static [&'static str] = &["policyid/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        vec![policy_at(params, "PolicyId")]
    }
}

impl Action for GetPolicy {
    const SPEC: Spec = Spec {
        name: "GetPolicy",
        access: Access::Read,
        errors: &[E::PolicyIdNotFound],
        doc: Doc("Shows a policy.", "查看策略详情。"),
    };
    type On = Principals;
    type Response = PolicyAnswer;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<PolicyAnswer> {
        let account = cx.account().await?;
        let policy = Known::find(&account.identities, PolicyId(self.id)).ok_or(E::PolicyIdNotFound)?;
        cx.note_subject(format!("policyid/{}", policy.id));
        Ok(PolicyAnswer {
            name: policy.name.to_owned(),
            description: policy.description.to_owned(),
            kind: policy.kind(),
            add_time: Stamp(policy.create_time).to_string(),
            update_time: Stamp(policy.update_time).to_string(),
            document: policy.document.to_owned(),
            alias: if policy.own { String::new() } else { policy.name.to_owned() },
            is_service_linked: 0,
            tags: Vec::new(),
        })
    }
}

request! {
    /// Changes a policy.
    UpdatePolicy {
        optional id: u64 = "PolicyId", Doc("Number of the policy; with 0 or without, PolicyName names it.", "策略 ID，不填或为 0 时由 PolicyName 指定策略。");
        optional name: String = "PolicyName", Doc("Name of the policy; beside PolicyId, its new name.", "策略名；与 PolicyId 同时提供时为新名称。");
        optional description: String = "Description", DESCRIPTION;
        optional document: String = "PolicyDocument", DOCUMENT;
        optional alias: String = "Alias", Doc("Remark on a preset; presets cannot be changed.", "预设策略备注，不支持。");
    }
}

impl OnIdentities for UpdatePolicy {
    const RESOURCES: &'static [&'static str] = &["policyid/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        // Where there is a number, the name is a new one.
        policy_by(params, "PolicyId", "PolicyName").into_iter().take(1).collect()
    }
}

impl Action for UpdatePolicy {
    const SPEC: Spec = Spec {
        name: "UpdatePolicy",
        access: Access::Write,
        errors: with_documents![
            ParamError,
            PolicyIdNotExist,
            Unmodifiable,
            PolicyNameError,
            PolicyNameInUse,
            DescriptionLengthOverlimit,
        ],
        doc: Doc("Changes a policy; what is not given stays.", "修改策略，未提供的内容保持不变。"),
    };
    type On = Principals;
    type Response = PolicyNumber;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<PolicyNumber> {
        let name = self.name.filter(|name| !name.is_empty());
        let (named, rename) = match given(self.id) {
            Some(id) => (NamedPolicy::new(Some(id), None)?, name),
            None => (NamedPolicy::new(None, name)?, None),
        };
        let document = self.document.filter(|document| !document.is_empty());
        if let Some(name) = &rename {
            check_name(name)?;
        }
        if let Some(text) = &self.description {
            check_description(text)?;
        }
        if self.alias.is_some_and(|alias| !alias.is_empty()) {
            return Err(ApiError::invalid("Alias", "is not served", "不支持"));
        }
        if let Some(document) = &document {
            check_document(document, cx)?;
        }
        cx.change_identities(|all| {
            let id = named.find(all)?.id;
            let row = own(all, id)?;
            cx.note_subject(format!("policyid/{id}"));
            let mut next = row.clone();
            if let Some(name) = &rename
                && *name != row.name
            {
                check_free(all, name)?;
                next.name.clone_from(name);
            }
            if let Some(text) = &self.description {
                next.description.clone_from(text);
            }
            if let Some(document) = &document {
                next.document.clone_from(document);
            }
            let mut changes = Vec::new();
            if next != *row {
                next.update_time = cx.now;
                changes.push(IdentityChange::UpdatePolicy(next));
            }
            Ok((changes, PolicyNumber { id: id.0 }))
        })
        .await
    }
}

request! {
    /// Deletes policies.
    DeletePolicy {
        required ids: Vec<u64> = "PolicyId", Doc("Numbers of 1 to 100 policies.", "1 到 100 个策略 ID。");
    }
}

impl OnIdentities for DeletePolicy {
    const RESOURCES: &'static [&'static str] = &["policyid/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        let items = match params.get("PolicyId") {
            Some(Value::List(items)) => items.as_slice(),
            _ => &[],
        };
        // A longer list is refused.
        let numbers = items.iter().take(MAX_DELETED + 1).map(|item| crate::schema::uint(item).unwrap_or(0));
        numbers.map(Identity::Policy).collect()
    }
}

impl Action for DeletePolicy {
    const SPEC: Spec = Spec {
        name: "DeletePolicy",
        access: Access::Write,
        errors: &[E::PolicyIdNotExist, E::Unmodifiable],
        doc: Doc(
            "Deletes policies with their attachments, all or none.",
            "批量删除策略及其关联关系，全部成功或全部失败。",
        ),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        if !(1..=MAX_DELETED).contains(&self.ids.len()) {
            return Err(ApiError::invalid("PolicyId", "must have 1 to 100 items", "须有 1 到 100 项"));
        }
        cx.change_identities(|all| {
            let mut seen = HashSet::new();
            let mut changes = Vec::new();
            for id in self.ids.iter().map(|id| PolicyId(*id)).filter(|id| seen.insert(*id)) {
                own(all, id)?;
                cx.note_subject(format!("policyid/{id}"));
                changes.push(IdentityChange::DropPolicy(id));
            }
            Ok((changes, Empty {}))
        })
        .await
    }
}

request! {
    /// Lists policies.
    ListPolicies {
        optional rows: u64 = "Rp", ROWS;
        optional page: u64 = "Page", PAGE;
        optional scope: String = "Scope", Doc("All (default), QCS: presets, or Local: the account's own.", "All（默认）、QCS（预设策略）或 Local（自定义策略）。");
        optional keyword: String = "Keyword", KEYWORD;
    }
}

answer! {
    /// A policy of a list.
    StrategyInfo as "StrategyInfo" {
        id: u64 = "PolicyId", POLICY_ID;
        name: String = "PolicyName", POLICY_NAME;
        add_time: String = "AddTime", ADD_TIME;
        kind: u64 = "Type", KIND;
        description: String = "Description", DESCRIPTION;
        create_mode: u64 = "CreateMode", CREATE_MODE;
        attachments: u64 = "Attachments", Doc("Users, groups and roles that have it.", "关联的用户、用户组和角色数。");
        service_type: &'static str = "ServiceType", docs::UNUSED;
        is_attached: u64 = "IsAttached", Doc("1 if anybody has it, else 0.", "1：已关联；0：未关联。");
        deactived: u64 = "Deactived", DEACTIVED;
        deactived_detail: Vec<String> = "DeactivedDetail", DEACTIVED_DETAIL;
        is_service_linked: u64 = "IsServiceLinkedPolicy", Doc("0: no product depends on it.", "0：不是服务相关策略。");
        entities: i64 = "AttachEntityCount", Doc("Users, groups and roles that have it.", "关联的用户、用户组和角色数。");
        boundaries: i64 = "AttachEntityBoundaryCount", Doc("Permission boundaries; none.", "关联权限边界的实体数，恒为 0。");
        update_time: String = "UpdateTime", UPDATE_TIME;
        tags: Vec<TagItem> = "Tags" nullable, NO_TAGS;
        level: Option<&'static str> = "PermissionLevel" nullable, docs::UNUSED;
    }
}

answer! {
    /// A page of policies.
    Strategies {
        total: u64 = "TotalNum", docs::TOTAL;
        list: Vec<StrategyInfo> = "List", Doc("Policies.", "策略列表。");
        services: Vec<String> = "ServiceTypeList", docs::UNUSED;
    }
}

/// Which policies a list shows.
fn scope(text: Option<&str>) -> Result<fn(&Known<'_>) -> bool> {
    match text {
        None | Some("" | "All") => Ok(|_| true),
        Some("QCS") => Ok(|policy| !policy.own),
        Some("Local") => Ok(|policy| policy.own),
        Some(_) => Err(E::ScopeError.into()),
    }
}

impl Action for ListPolicies {
    const SPEC: Spec = Spec {
        name: "ListPolicies",
        access: Access::Read,
        errors: &[E::ParamError, E::ScopeError, E::SearchKeywordLengthError],
        doc: Doc("Lists the presets and the account's policies.", "查询预设策略和自定义策略。"),
    };
    type On = Account;
    type Response = Strategies;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<Strategies> {
        let paging = Paging::new(E::ParamError, self.page, self.rows)?;
        let (shown, keyword) = (scope(self.scope.as_deref())?, Keyword::new(self.keyword)?);
        let account = cx.account().await?;
        let all = &account.identities;
        let mut counts: HashMap<PolicyId, u32> = HashMap::new();
        for attachment in &all.attachments {
            *counts.entry(attachment.policy).or_default() += 1;
        }
        let found = Known::all(all).filter(|policy| shown(policy) && keyword.finds(policy));
        let (total, rows) = paging.of(found.collect());
        let row = |policy: Known<'_>| {
            let attached = counts.get(&policy.id).copied().unwrap_or(0);
            StrategyInfo {
                id: policy.id.0,
                name: policy.name.to_owned(),
                add_time: Stamp(policy.create_time).to_string(),
                kind: policy.kind(),
                description: policy.description.to_owned(),
                create_mode: WRITTEN,
                attachments: attached.into(),
                service_type: "",
                is_attached: u64::from(attached > 0),
                deactived: 0,
                deactived_detail: Vec::new(),
                is_service_linked: 0,
                entities: attached.into(),
                boundaries: 0,
                update_time: Stamp(policy.update_time).to_string(),
                tags: Vec::new(),
                level: None,
            }
        };
        Ok(Strategies { total, list: rows.into_iter().map(row).collect(), services: Vec::new() })
    }
}

request! {
    /// Lists who has a policy.
    ListEntitiesForPolicy {
        required id: u64 = "PolicyId", POLICY_ID;
        optional page: u64 = "Page", PAGE;
        optional rows: u64 = "Rp", ROWS;
        optional filter: String = "EntityFilter", Doc("All (default), User, Group or Role.", "All（默认）、User、Group 或 Role。");
    }
}

answer! {
    /// A user, group or role that has a policy.
    Entity as "AttachEntityOfPolicy" {
        id: String = "Id", Doc("Number of the user, group or role.", "用户、用户组或角色的 ID。");
        name: String = "Name", Doc("Its name.", "名称。");
        uin: u64 = "Uin", Doc("Uin of the user; 0 for groups and roles.", "用户的 Uin，用户组和角色为 0。");
        kind: u64 = "RelatedType", Doc("1: user; 2: group; 3: role.", "1：用户；2：用户组；3：角色。");
        time: String = "AttachmentTime", Doc("Since when.", "关联时间。");
    }
}

answer! {
    /// A page of those that have a policy.
    Entities {
        total: u64 = "TotalNum", docs::TOTAL;
        list: Vec<Entity> = "List", Doc("Users, groups and roles.", "实体列表。");
    }
}

impl OnIdentities for ListEntitiesForPolicy {
    const RESOURCES: &'static [&'static str] = &["policyid/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        vec![policy_at(params, "PolicyId")]
    }
}

/// Number, name, Uin and kind of what has a policy.
fn entity(all: &Identities, to: Attached) -> (String, String, u64, u64) {
    match to {
        Attached::User(uin) => {
            let name = all.user(uin).map(|u| u.name.clone());
            (uin.to_string(), name.unwrap_or_default(), uin.0, 1)
        }
        Attached::Group(id) => {
            let name = all.group(id).map(|g| g.name.clone());
            (id.to_string(), name.unwrap_or_default(), 0, 2)
        }
        Attached::Role(id) => {
            let name = all.role(id).map(|r| r.name.clone());
            (id.to_string(), name.unwrap_or_default(), 0, 3)
        }
    }
}

impl Action for ListEntitiesForPolicy {
    const SPEC: Spec = Spec {
        name: "ListEntitiesForPolicy",
        access: Access::Read,
        errors: &[E::ParamError, E::PolicyIdNotExist, E::EntityFilterError],
        doc: Doc("Lists the users, groups and roles that have a policy.", "查询策略关联的用户、用户组和角色。"),
    };
    type On = Principals;
    type Response = Entities;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Entities> {
        let paging = Paging::new(E::ParamError, self.page, self.rows)?;
        let shown: fn(&Attached) -> bool = match self.filter.as_deref() {
            None | Some("" | "All") => |_| true,
            Some("User") => |to| matches!(to, Attached::User(_)),
            Some("Group") => |to| matches!(to, Attached::Group(_)),
            Some("Role") => |to| matches!(to, Attached::Role(_)),
            Some(_) => return Err(E::EntityFilterError.into()),
        };
        let account = cx.account().await?;
        let all = &account.identities;
        let policy = Known::find(all, PolicyId(self.id)).ok_or(E::PolicyIdNotExist)?;
        cx.note_subject(format!("policyid/{}", policy.id));
        let found = all.attachments.iter().filter(|a| a.policy == policy.id && shown(&a.to));
        let (total, rows) = paging.of(found.collect());
        let row = |attachment: &jadeseal_store::Attachment| {
            let (id, name, uin, kind) = entity(all, attachment.to);
            Entity { id, name, uin, kind, time: Stamp(attachment.create_time).to_string() }
        };
        Ok(Entities { total, list: rows.into_iter().map(row).collect() })
    }
}
