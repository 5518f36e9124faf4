//! Who has which policies.

use super::{
    Paging, Stamp, given, number,
    policies::{
        CREATE_MODE, DEACTIVED, DEACTIVED_DETAIL, DESCRIPTION, KEYWORD, Keyword, Known, NamedPolicy, PAGE, POLICY_ID,
        POLICY_NAME, ROWS, WRITTEN, policy_at, policy_by,
    },
    roles::{NamedRole, ROLE_ID, ROLE_NAME, role_by},
};
use crate::{
    action::{Access, Action, CAM, Identity, Spec, family},
    actions::{Empty, OnIdentities, Principals},
    cx::Cx,
    docs,
    schema::{Doc, answer, request},
};
use jadeseal_auth::params::Params;
use jadeseal_store::{Attached, Attachment, Identities, IdentityChange};
use jadeseal_types::{AccountId, ApiError, ErrorCode as E, GroupId, Uin, error::Result, limits};

family![in CAM;
    AttachUserPolicy,
    DetachUserPolicy,
    ListAttachedUserPolicies,
    ListAttachedUserAllPolicies,
    AttachGroupPolicy,
    DetachGroupPolicy,
    ListAttachedGroupPolicies,
    AttachRolePolicy,
    DetachRolePolicy,
    ListAttachedRolePolicies,
];

const UIN: Doc = Doc("Uin of the user.", "子用户 Uin。");
const GROUP_ID: Doc = Doc("Number of the group.", "用户组 ID。");
const ADD_TIME: Doc = Doc("Since when it is attached.", "关联时间。");
const KIND: Doc = Doc("User: made by the account; QCS: preset.", "User：自定义策略；QCS：预设策略。");
const POLICIES: Doc = Doc("Policies.", "策略列表。");

/// The last segment of what has a policy, as policies and records write it.
fn segment(to: Attached) -> String {
    match to {
        Attached::User(uin) => format!("uin/{uin}"),
        Attached::Group(id) => format!("groupid/{id}"),
        Attached::Role(id) => format!("role/{id}"),
    }
}

/// A sub-user. The main account needs no policies and can have none.
fn user(all: &Identities, uin: u64) -> Result<Attached> {
    Ok(Attached::User(all.user(Uin(uin)).ok_or(E::UserNotExist)?.uin))
}

fn group(all: &Identities, id: u64) -> Result<Attached> {
    Ok(Attached::Group(all.group(GroupId(id)).ok_or(E::ResourceGroupNotExist)?.id))
}

/// Attaches a policy, or detaches it. What is so already stays so.
async fn change(
    attach: bool,
    named: NamedPolicy,
    target: impl Fn(&Identities) -> Result<Attached> + Send + Sync,
    cx: &Cx<'_>,
) -> Result<Empty> {
    cx.change_identities(|all| {
        let to = target(all)?;
        let mut its = all.attachments.iter().filter(|a| a.to == to);
        let policy = match named.find(all) {
            Ok(policy) => policy.id,
            // A preset that the service does not bring along any more can still be detached.
            Err(e) => match named.id {
                Some(id) if !attach && its.clone().any(|a| a.policy == id) => id,
                _ => return Err(e),
            },
        };
        cx.note_subject(segment(to));
        cx.note_subject(format!("policyid/{policy}"));
        let is_attached = its.clone().any(|a| a.policy == policy);
        let changes = match (attach, is_attached) {
            (true, true) | (false, false) => vec![],
            (true, false) if its.nth(limits::MAX_ATTACHED_POLICIES - 1).is_some() => {
                return Err(E::AttachmentFull.into());
            }
            (true, false) => vec![IdentityChange::Attach(Attachment { policy, to, create_time: cx.now })],
            (false, true) => vec![IdentityChange::Detach { policy, from: to }],
        };
        Ok((changes, Empty {}))
    })
    .await
}

/// The policies of one user, group or role, by time.
fn of(all: &Identities, to: Attached) -> impl Iterator<Item = (&Attachment, Known<'_>)> {
    let its = all.attachments.iter().filter(move |a| a.to == to);
    its.map(|a| (a, Known::attached(all, a.policy)))
}

answer! {
    /// A policy of a user or group.
    PolicyInfo as "AttachPolicyInfo" {
        id: u64 = "PolicyId", POLICY_ID;
        name: String = "PolicyName", POLICY_NAME;
        add_time: String = "AddTime", ADD_TIME;
        create_mode: u64 = "CreateMode", CREATE_MODE;
        kind: &'static str = "PolicyType", KIND;
        remark: String = "Remark", DESCRIPTION;
        operate_owner: String = "OperateOwnerUin", Doc("Account of whoever attached it.", "关联操作者的主账号。");
        operate_uin: &'static str = "OperateUin", Doc("Not kept with the policy, so empty; the audit log knows.", "恒为空，操作者见审计日志。");
        operate_kind: u64 = "OperateUinType", docs::UNUSED;
        deactived: u64 = "Deactived", DEACTIVED;
        deactived_detail: Vec<String> = "DeactivedDetail", DEACTIVED_DETAIL;
    }
}

impl PolicyInfo {
    fn new(account: AccountId, attachment: &Attachment, policy: &Known<'_>) -> Self {
        PolicyInfo {
            id: policy.id.0,
            name: policy.name.to_owned(),
            add_time: Stamp(attachment.create_time).to_string(),
            create_mode: WRITTEN,
            kind: policy.kind_name(),
            remark: policy.description.to_owned(),
            operate_owner: account.to_string(),
            operate_uin: "",
            operate_kind: 0,
            deactived: 0,
            deactived_detail: Vec::new(),
        }
    }
}

answer! {
    /// A page of policies.
    PolicyInfos {
        total: u64 = "TotalNum", docs::TOTAL;
        list: Vec<PolicyInfo> = "List", POLICIES;
    }
}

/// A page of what a user or group has.
fn page(all: &Identities, to: Attached, paging: &Paging, keyword: &Keyword) -> PolicyInfos {
    let (total, rows) = paging.of(of(all, to).filter(|(_, policy)| keyword.finds(policy)).collect());
    let row =
        |(attachment, policy): (&Attachment, Known<'_>)| PolicyInfo::new(all.account.account, attachment, &policy);
    PolicyInfos { total, list: rows.into_iter().map(row).collect() }
}

request! {
    /// Gives a user a policy.
    AttachUserPolicy {
        required id: u64 = "PolicyId", POLICY_ID;
        required uin: u64 = "AttachUin", UIN;
    }
}

request! {
    /// Takes a policy from a user.
    DetachUserPolicy {
        required id: u64 = "PolicyId", POLICY_ID;
        required uin: u64 = "DetachUin", UIN;
    }
}

impl OnIdentities for AttachUserPolicy {
    const RESOURCES: &'static [&'static str] = &["uin/", "policyid/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        vec![Identity::User(number(params, "AttachUin")), policy_at(params, "PolicyId")]
    }
}

impl OnIdentities for DetachUserPolicy {
    const RESOURCES: &'static [&'static str] = &["uin/", "policyid/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        vec![Identity::User(number(params, "DetachUin")), policy_at(params, "PolicyId")]
    }
}

impl Action for AttachUserPolicy {
    const SPEC: Spec = Spec {
        name: "AttachUserPolicy",
        access: Access::Write,
        errors: &[E::AttachmentFull, E::PolicyIdNotExist, E::UserNotExist],
        doc: Doc("Gives a user a policy.", "绑定策略到用户。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        change(true, NamedPolicy::new(Some(self.id), None)?, |all| user(all, self.uin), cx).await
    }
}

impl Action for DetachUserPolicy {
    const SPEC: Spec = Spec {
        name: "DetachUserPolicy",
        access: Access::Write,
        errors: &[E::PolicyIdNotExist, E::UserNotExist],
        doc: Doc("Takes a policy from a user.", "解除绑定到用户的策略。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        change(false, NamedPolicy::new(Some(self.id), None)?, |all| user(all, self.uin), cx).await
    }
}

request! {
    /// Lists the policies of a user himself.
    ListAttachedUserPolicies {
        required uin: u64 = "TargetUin", UIN;
        optional page: u64 = "Page", PAGE;
        optional rows: u64 = "Rp", ROWS;
    }
}

impl OnIdentities for ListAttachedUserPolicies {
    const RESOURCES: &'static [&'static str] = &["uin/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        vec![Identity::User(number(params, "TargetUin"))]
    }
}

impl Action for ListAttachedUserPolicies {
    const SPEC: Spec = Spec {
        name: "ListAttachedUserPolicies",
        access: Access::Read,
        errors: &[E::ParamError, E::UserNotExist],
        doc: Doc("Lists the policies of a user, without those of his groups.", "查询用户直接关联的策略。"),
    };
    type On = Principals;
    type Response = PolicyInfos;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<PolicyInfos> {
        let (paging, everything) = (Paging::new(E::ParamError, self.page, self.rows)?, Keyword::new(None)?);
        let account = cx.account().await?;
        let to = user(&account.identities, self.uin)?;
        cx.note_subject(segment(to));
        Ok(page(&account.identities, to, &paging, &everything))
    }
}

request! {
    /// Lists the policies of a user and his groups.
    ListAttachedUserAllPolicies {
        required uin: u64 = "TargetUin", UIN;
        required rows: u64 = "Rp", ROWS;
        required page: u64 = "Page", PAGE;
        required attach: u64 = "AttachType", Doc("0: all; 1: the user's own; 2: those of his groups.", "0：全部；1：直接关联；2：随组关联。");
        optional kind: u64 = "StrategyType", Doc("1: made by the account; 2: presets; all with 0 or without.", "1：自定义策略；2：预设策略；不填或为 0 时为全部。");
        optional keyword: String = "Keyword", KEYWORD;
    }
}

answer! {
    /// A group that a user has a policy through.
    GroupOf as "AttachedUserPolicyGroupInfo" {
        id: u64 = "GroupId", GROUP_ID;
        name: String = "GroupName", Doc("Name of the group.", "用户组名。");
    }
}

answer! {
    /// A policy of a user or his groups.
    UserPolicy as "AttachedUserPolicy" {
        id: String = "PolicyId", POLICY_ID;
        name: String = "PolicyName", POLICY_NAME;
        description: String = "Description", DESCRIPTION;
        add_time: String = "AddTime", ADD_TIME;
        kind: String = "StrategyType", Doc("1: made by the account; 2: preset.", "1：自定义策略；2：预设策略。");
        create_mode: String = "CreateMode", CREATE_MODE;
        groups: Vec<GroupOf> = "Groups", Doc("Groups that he has it through.", "随组关联信息。");
        deactived: u64 = "Deactived", DEACTIVED;
        deactived_detail: Vec<String> = "DeactivedDetail", DEACTIVED_DETAIL;
    }
}

answer! {
    /// A page of policies of a user and his groups.
    UserPolicies {
        list: Vec<UserPolicy> = "PolicyList", POLICIES;
        total: u64 = "TotalNum", docs::TOTAL;
    }
}

impl OnIdentities for ListAttachedUserAllPolicies {
    const RESOURCES: &'static [&'static str] = &["uin/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        vec![Identity::User(number(params, "TargetUin"))]
    }
}

impl Action for ListAttachedUserAllPolicies {
    const SPEC: Spec = Spec {
        name: "ListAttachedUserAllPolicies",
        access: Access::Read,
        errors: &[E::ParamError, E::UserNotExist, E::SearchKeywordLengthError],
        doc: Doc("Lists the policies of a user and his groups.", "查询用户关联的策略（包括随组关联）。"),
    };
    type On = Principals;
    type Response = UserPolicies;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<UserPolicies> {
        let (paging, keyword) =
            (Paging::new(E::ParamError, Some(self.page), Some(self.rows))?, Keyword::new(self.keyword)?);
        if self.attach > 2 {
            return Err(ApiError::about(E::ParamError, "AttachType", "must be 0, 1 or 2", "必须为 0、1 或 2"));
        }
        let kind = given(self.kind);
        if !matches!(kind, None | Some(1 | 2)) {
            return Err(ApiError::about(E::ParamError, "StrategyType", "must be 0, 1 or 2", "必须为 0、1 或 2"));
        }
        let account = cx.account().await?;
        let all = &account.identities;
        let himself = user(all, self.uin)?;
        cx.note_subject(segment(himself));
        let groups: Vec<GroupId> = all.members.iter().filter(|m| m.uin == Uin(self.uin)).map(|m| m.group).collect();
        // Each once, at the time of the first, with the groups that it comes through.
        let mut found: Vec<(&Attachment, Vec<GroupId>)> = Vec::new();
        for attachment in &all.attachments {
            let through = match attachment.to {
                to if to == himself && self.attach != 2 => None,
                Attached::Group(group) if groups.contains(&group) && self.attach != 1 => Some(group),
                _ => continue,
            };
            match found.iter_mut().find(|(known, _)| known.policy == attachment.policy) {
                Some((_, groups)) => groups.extend(through),
                None => found.push((attachment, through.into_iter().collect())),
            }
        }
        let mut rows: Vec<_> =
            found.into_iter().map(|(a, groups)| (a, Known::attached(all, a.policy), groups)).collect();
        rows.retain(|(_, policy, _)| kind.is_none_or(|kind| kind == policy.kind()) && keyword.finds(policy));
        let (total, rows) = paging.of(rows);
        let name = |id: GroupId| all.group(id).map(|g| g.name.clone()).unwrap_or_default();
        let row = |(attachment, policy, groups): (&Attachment, Known<'_>, Vec<GroupId>)| UserPolicy {
            id: policy.id.to_string(),
            name: policy.name.to_owned(),
            description: policy.description.to_owned(),
            add_time: Stamp(attachment.create_time).to_string(),
            kind: policy.kind().to_string(),
            create_mode: WRITTEN.to_string(),
            groups: groups.into_iter().map(|id| GroupOf { id: id.0, name: name(id) }).collect(),
            deactived: 0,
            deactived_detail: Vec::new(),
        };
        Ok(UserPolicies { list: rows.into_iter().map(row).collect(), total })
    }
}

request! {
    /// Gives a group a policy.
    AttachGroupPolicy {
        required id: u64 = "PolicyId", POLICY_ID;
        required group: u64 = "AttachGroupId", GROUP_ID;
    }
}

request! {
    /// Takes a policy from a group.
    DetachGroupPolicy {
        required id: u64 = "PolicyId", POLICY_ID;
        required group: u64 = "DetachGroupId", GROUP_ID;
    }
}

impl OnIdentities for AttachGroupPolicy {
    const RESOURCES: &'static [&'static str] = &["groupid/", "policyid/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        vec![Identity::Group(number(params, "AttachGroupId")), policy_at(params, "PolicyId")]
    }
}

impl OnIdentities for DetachGroupPolicy {
    const RESOURCES: &'static [&'static str] = &["groupid/", "policyid/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        vec![Identity::Group(number(params, "DetachGroupId")), policy_at(params, "PolicyId")]
    }
}

impl Action for AttachGroupPolicy {
    const SPEC: Spec = Spec {
        name: "AttachGroupPolicy",
        access: Access::Write,
        errors: &[E::AttachmentFull, E::PolicyIdNotExist, E::ResourceGroupNotExist],
        doc: Doc("Gives the users of a group a policy.", "绑定策略到用户组。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        change(true, NamedPolicy::new(Some(self.id), None)?, |all| group(all, self.group), cx).await
    }
}

impl Action for DetachGroupPolicy {
    const SPEC: Spec = Spec {
        name: "DetachGroupPolicy",
        access: Access::Write,
        errors: &[E::PolicyIdNotExist, E::ResourceGroupNotExist],
        doc: Doc("Takes a policy from a group.", "解除绑定到用户组的策略。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        change(false, NamedPolicy::new(Some(self.id), None)?, |all| group(all, self.group), cx).await
    }
}

request! {
    /// Lists the policies of a group.
    ListAttachedGroupPolicies {
        required group: u64 = "TargetGroupId", GROUP_ID;
        optional page: u64 = "Page", PAGE;
        optional rows: u64 = "Rp", ROWS;
        optional keyword: String = "Keyword", KEYWORD;
    }
}

impl OnIdentities for ListAttachedGroupPolicies {
    const RESOURCES: &'static [&'static str] = &["groupid/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        vec![Identity::Group(number(params, "TargetGroupId"))]
    }
}

impl Action for ListAttachedGroupPolicies {
    const SPEC: Spec = Spec {
        name: "ListAttachedGroupPolicies",
        access: Access::Read,
        errors: &[E::ParamError, E::ResourceGroupNotExist, E::SearchKeywordLengthError],
        doc: Doc("Lists the policies of a group.", "查询用户组关联的策略。"),
    };
    type On = Principals;
    type Response = PolicyInfos;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<PolicyInfos> {
        let (paging, keyword) = (Paging::new(E::ParamError, self.page, self.rows)?, Keyword::new(self.keyword)?);
        let account = cx.account().await?;
        let to = group(&account.identities, self.group)?;
        cx.note_subject(segment(to));
        Ok(page(&account.identities, to, &paging, &keyword))
    }
}

request! {
    /// Gives a role a policy.
    AttachRolePolicy {
        optional id: u64 = "PolicyId", POLICY_ID;
        optional role_id: String = "AttachRoleId", ROLE_ID;
        optional role_name: String = "AttachRoleName", ROLE_NAME;
        optional name: String = "PolicyName", POLICY_NAME;
    }
}

request! {
    /// Takes a policy from a role.
    DetachRolePolicy {
        optional id: u64 = "PolicyId", POLICY_ID;
        optional role_id: String = "DetachRoleId", ROLE_ID;
        optional role_name: String = "DetachRoleName", ROLE_NAME;
        optional name: String = "PolicyName", POLICY_NAME;
    }
}

impl OnIdentities for AttachRolePolicy {
    const RESOURCES: &'static [&'static str] = &["role/", "roleName/", "policyid/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        let role = role_by(params, "AttachRoleId", "AttachRoleName");
        role.into_iter().chain(policy_by(params, "PolicyId", "PolicyName")).collect()
    }
}

impl OnIdentities for DetachRolePolicy {
    const RESOURCES: &'static [&'static str] = &["role/", "roleName/", "policyid/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        let role = role_by(params, "DetachRoleId", "DetachRoleName");
        role.into_iter().chain(policy_by(params, "PolicyId", "PolicyName")).collect()
    }
}

impl Action for AttachRolePolicy {
    const SPEC: Spec = Spec {
        name: "AttachRolePolicy",
        access: Access::Write,
        errors: &[E::AttachmentFull, E::ParamError, E::PolicyIdNotExist, E::RoleNotExist],
        doc: Doc("Gives a role a policy.", "绑定策略到角色。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let role = NamedRole::new("AttachRoleId", self.role_id, self.role_name)?;
        let policy = NamedPolicy::new(self.id, self.name)?;
        change(true, policy, |all| Ok(Attached::Role(role.find(all)?.id)), cx).await
    }
}

impl Action for DetachRolePolicy {
    const SPEC: Spec = Spec {
        name: "DetachRolePolicy",
        access: Access::Write,
        errors: &[E::ParamError, E::PolicyIdNotExist, E::RoleNotExist],
        doc: Doc("Takes a policy from a role.", "解除绑定到角色的策略。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let role = NamedRole::new("DetachRoleId", self.role_id, self.role_name)?;
        let policy = NamedPolicy::new(self.id, self.name)?;
        change(false, policy, |all| Ok(Attached::Role(role.find(all)?.id)), cx).await
    }
}

request! {
    /// Lists the policies of a role.
    ListAttachedRolePolicies {
        required page: u64 = "Page", PAGE;
        required rows: u64 = "Rp", ROWS;
        optional role_id: String = "RoleId", ROLE_ID;
        optional role_name: String = "RoleName", ROLE_NAME;
        optional kind: String = "PolicyType", Doc("User: made by the account; QCS: presets; all without.", "User：自定义策略；QCS：预设策略；不填为全部。");
        optional keyword: String = "Keyword", KEYWORD;
    }
}

answer! {
    /// A policy of a role.
    RolePolicy as "AttachedPolicyOfRole" {
        id: u64 = "PolicyId", POLICY_ID;
        name: String = "PolicyName", POLICY_NAME;
        add_time: String = "AddTime", ADD_TIME;
        kind: &'static str = "PolicyType", KIND;
        create_mode: u64 = "CreateMode", CREATE_MODE;
        deactived: u64 = "Deactived", DEACTIVED;
        deactived_detail: Vec<String> = "DeactivedDetail", DEACTIVED_DETAIL;
        description: String = "Description", DESCRIPTION;
    }
}

answer! {
    /// A page of policies of a role.
    RolePolicies {
        list: Vec<RolePolicy> = "List", POLICIES;
        total: u64 = "TotalNum", docs::TOTAL;
    }
}

impl OnIdentities for ListAttachedRolePolicies {
    const RESOURCES: &'static [&'static str] = &["role/", "roleName/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        role_by(params, "RoleId", "RoleName")
    }
}

impl Action for ListAttachedRolePolicies {
    const SPEC: Spec = Spec {
        name: "ListAttachedRolePolicies",
        access: Access::Read,
        errors: &[E::ParamError, E::RoleNotExist, E::SearchKeywordLengthError],
        doc: Doc("Lists the policies of a role.", "查询角色关联的策略。"),
    };
    type On = Principals;
    type Response = RolePolicies;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<RolePolicies> {
        let role = NamedRole::new("RoleId", self.role_id, self.role_name)?;
        let (paging, keyword) =
            (Paging::new(E::ParamError, Some(self.page), Some(self.rows))?, Keyword::new(self.keyword)?);
        let kind = self.kind.filter(|kind| !kind.is_empty());
        if !matches!(kind.as_deref(), None | Some("User" | "QCS")) {
            return Err(ApiError::about(E::ParamError, "PolicyType", "must be User or QCS", "必须为 User 或 QCS"));
        }
        let account = cx.account().await?;
        let all = &account.identities;
        let to = Attached::Role(role.find(all)?.id);
        cx.note_subject(segment(to));
        let shown = |policy: &Known<'_>| kind.as_deref().is_none_or(|kind| kind == policy.kind_name());
        let found = of(all, to).filter(|(_, policy)| shown(policy) && keyword.finds(policy));
        let (total, rows) = paging.of(found.collect());
        let row = |(attachment, policy): (&Attachment, Known<'_>)| RolePolicy {
            id: policy.id.0,
            name: policy.name.to_owned(),
            add_time: Stamp(attachment.create_time).to_string(),
            kind: policy.kind_name(),
            create_mode: WRITTEN,
            deactived: 0,
            deactived_detail: Vec::new(),
            description: policy.description.to_owned(),
        };
        Ok(RolePolicies { list: rows.into_iter().map(row).collect(), total })
    }
}
