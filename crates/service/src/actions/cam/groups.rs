//! Groups of users.

use super::{
    Paging, Remark, Stamp, given, given_in, is_hidden, number,
    policies::{PAGE, ROWS},
    users::{self, CREATED, REMARK},
};
use crate::{
    accounts::random_number,
    action::{Access, Action, CAM, Identity, Spec, family},
    actions::{Account, Empty, OnIdentities, Principals},
    cx::Cx,
    docs,
    schema::{Doc, answer, object, request},
    values::Bounded,
};
use jadeseal_auth::params::{Params, Value};
use jadeseal_store::{GroupRow, Identities, IdentityChange, Membership, UserRow};
use jadeseal_types::{ApiError, ErrorCode as E, GroupId, Uin, error::Result, limits};

family![in CAM;
    CreateGroup,
    GetGroup,
    UpdateGroup,
    DeleteGroup,
    ListGroups,
    AddUserToGroup,
    RemoveUserFromGroup,
    ListGroupsForUser,
    ListUsersForGroup,
];

/// Longest name of a group, characters.
const MAX_NAME: usize = 64;
/// Memberships that one call may change.
const MAX_CHANGED: usize = 100;
/// Numbers of groups.
const FIRST_GROUP: u64 = 1_000_000;
const GROUPS: u64 = 8_000_000;

const GROUP_ID: Doc = Doc("Number of the group.", "用户组 ID。");
const GROUP_NAME: Doc = Doc("Name of the group: 1 to 64 characters.", "用户组名，1 到 64 个字符。");
const USERS: Doc = Doc("Users of the group.", "用户组成员。");
const EITHER: Doc = Doc("Number of the user; one of the two must be given.", "子用户 UIN 或 UID，至少填一个。");
const UNVERIFIED: Doc = Doc("Always 0: nothing is verified.", "恒为 0，不做验证。");

/// Who is named under two parameters, for the policy.
fn users_in(params: &Params<'_>, names: [&str; 2]) -> Vec<Identity> {
    names.into_iter().filter_map(|name| given_in(params, name)).map(Identity::User).collect()
}

/// The one user under two parameters.
fn one_of(uid: Option<u64>, uin: Option<u64>) -> Result<Uin> {
    match (given(uid), given(uin)) {
        (Some(uid), Some(uin)) if uid != uin => Err(ApiError::with_text(
            E::ParamError,
            "The Uin and the Uid are of two users.",
            "Uin 与 Uid 不是同一用户。",
        )),
        (Some(one), _) | (None, Some(one)) => Ok(Uin(one)),
        (None, None) => Err(E::UserUinAndUinNotAllNull.into()),
    }
}

/// A group of the caller's account; the audit record names it.
fn group<'a>(all: &'a Identities, id: u64, cx: &Cx<'_>) -> Result<&'a GroupRow> {
    cx.note_subject(format!("groupid/{id}"));
    Ok(all.group(GroupId(id)).ok_or(E::ResourceGroupNotExist)?)
}

/// Users of a group, by number.
fn members(all: &Identities, group: GroupId) -> impl Iterator<Item = &UserRow> {
    let of_group = all.members.iter().filter(move |member| member.group == group);
    of_group.filter_map(|member| all.user(member.uin))
}

/// Refuses a name that no group can have, or that another one has.
fn check_name(all: &Identities, name: &str, own: Option<GroupId>) -> Result<()> {
    if !(1..=MAX_NAME).contains(&name.chars().count()) || name.chars().any(is_hidden) {
        let (en, zh) = ("must be 1 to 64 printable characters", "必须为 1 到 64 个可打印字符");
        return Err(ApiError::about(E::ParamError, "GroupName", en, zh));
    }
    if all.groups.iter().any(|group| group.name == name && Some(group.id) != own) {
        return Err(E::GroupNameInUse.into());
    }
    Ok(())
}

/// Actions on the group under `GroupId`.
macro_rules! on_group {
    ($($request:ty),+ $(,)?) => { $(
        impl OnIdentities for $request {
            const RESOURCES: &'static [&'static str] = &["groupid/"];
            fn identities(params: &Params<'_>) -> Vec<Identity> {
                vec![Identity::Group(number(params, "GroupId"))]
            }
        }
    )+ };
}

on_group!(GetGroup, UpdateGroup, DeleteGroup, ListUsersForGroup);

request! {
    /// Makes a group.
    CreateGroup {
        required name: String = "GroupName", GROUP_NAME;
        optional remark: Remark = "Remark", REMARK;
    }
}

answer! {
    /// A new group.
    NewGroup {
        id: u64 = "GroupId", GROUP_ID;
    }
}

impl Action for CreateGroup {
    const SPEC: Spec = Spec {
        name: "CreateGroup",
        access: Access::Write,
        errors: &[E::GroupNameInUse, E::GroupFull, E::ParamError],
        doc: Doc("Makes a group.", "创建用户组。"),
    };
    type On = Account;
    type Response = NewGroup;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<NewGroup> {
        let remark = self.remark.map(|t| t.0).unwrap_or_default();
        let id = cx
            .change_identities(|all| {
                check_name(all, &self.name, None)?;
                if all.groups.len() >= limits::MAX_GROUPS {
                    return Err(E::GroupFull.into());
                }
                let id = GroupId(random_number(FIRST_GROUP, GROUPS)?);
                cx.note_subject(format!("groupid/{id}"));
                let group = GroupRow { id, name: self.name.clone(), remark: remark.clone(), create_time: cx.now };
                Ok((vec![IdentityChange::AddGroup(group)], id))
            })
            .await?;
        Ok(NewGroup { id: id.0 })
    }
}

request! {
    /// One group.
    GetGroup {
        required id: u64 = "GroupId", GROUP_ID;
    }
}

answer! {
    /// A user of a group.
    Member as "GroupMemberInfo" {
        uid: u64 = "Uid", users::UID;
        uin: u64 = "Uin", users::UIN;
        name: String = "Name", users::USER_NAME;
        phone: String = "PhoneNum", users::PHONE;
        country_code: String = "CountryCode", users::COUNTRY;
        phone_flag: u64 = "PhoneFlag", UNVERIFIED;
        email: String = "Email", users::EMAIL;
        email_flag: u64 = "EmailFlag", UNVERIFIED;
        user_type: u64 = "UserType", Doc("0: none of the kinds of collaborators.", "0：不是协作者。");
        create_time: String = "CreateTime", CREATED;
        is_receiver: u64 = "IsReceiverOwner", Doc("Always 0: no messages are sent.", "恒为 0，不发送消息。");
        remark: Option<String> = "Remark" nullable, REMARK;
    }
}

impl From<&UserRow> for Member {
    fn from(user: &UserRow) -> Self {
        Member {
            uid: user.uin.0,
            uin: user.uin.0,
            name: user.name.clone(),
            phone: user.phone.clone(),
            country_code: user.country_code.clone(),
            phone_flag: 0,
            email: user.email.clone(),
            email_flag: 0,
            user_type: 0,
            create_time: Stamp(user.create_time).to_string(),
            is_receiver: 0,
            remark: Some(user.remark.clone()),
        }
    }
}

answer! {
    /// A group with its users.
    WholeGroup {
        id: u64 = "GroupId", GROUP_ID;
        name: String = "GroupName", GROUP_NAME;
        count: u64 = "GroupNum", Doc("Number of users.", "用户组成员数量。");
        remark: String = "Remark", REMARK;
        create_time: String = "CreateTime", CREATED;
        users: Vec<Member> = "UserInfo", USERS;
    }
}

impl Action for GetGroup {
    const SPEC: Spec = Spec {
        name: "GetGroup",
        access: Access::Read,
        errors: &[E::ResourceGroupNotExist],
        doc: Doc("A group with its users.", "查询用户组详情。"),
    };
    type On = Principals;
    type Response = WholeGroup;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<WholeGroup> {
        let account = cx.account().await?;
        let group = group(&account.identities, self.id, cx)?;
        let users: Vec<_> = members(&account.identities, group.id).map(Member::from).collect();
        Ok(WholeGroup {
            id: group.id.0,
            name: group.name.clone(),
            count: users.len() as u64,
            remark: group.remark.clone(),
            create_time: Stamp(group.create_time).to_string(),
            users,
        })
    }
}

request! {
    /// Changes a group.
    UpdateGroup {
        required id: u64 = "GroupId", GROUP_ID;
        optional name: String = "GroupName", GROUP_NAME;
        optional remark: Remark = "Remark", REMARK;
    }
}

impl Action for UpdateGroup {
    const SPEC: Spec = Spec {
        name: "UpdateGroup",
        access: Access::Write,
        errors: &[E::ResourceGroupNotExist, E::GroupNameInUse, E::ParamError],
        doc: Doc("Changes what is given of a group.", "更新用户组，未填的不变。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let remark = self.remark.map(|t| t.0);
        let name = self.name.filter(|name| !name.is_empty());
        cx.change_identities(|all| {
            let before = group(all, self.id, cx)?;
            let mut group = before.clone();
            if let Some(name) = &name {
                check_name(all, name, Some(group.id))?;
                group.name.clone_from(name);
            }
            if let Some(remark) = &remark {
                group.remark.clone_from(remark);
            }
            let changed = (group != *before).then_some(IdentityChange::UpdateGroup(group));
            Ok((changed.into_iter().collect(), ()))
        })
        .await?;
        Ok(Empty {})
    }
}

request! {
    /// Removes a group.
    DeleteGroup {
        required id: u64 = "GroupId", GROUP_ID;
    }
}

impl Action for DeleteGroup {
    const SPEC: Spec = Spec {
        name: "DeleteGroup",
        access: Access::Write,
        errors: &[E::ResourceGroupNotExist],
        doc: Doc(
            "Removes a group; its users stay, without what it gave them.",
            "删除用户组；成员保留，但失去该组的权限。",
        ),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        cx.change_identities(|all| {
            let id = group(all, self.id, cx)?.id;
            Ok((vec![IdentityChange::DropGroup(id)], ()))
        })
        .await?;
        Ok(Empty {})
    }
}

request! {
    /// A page of groups.
    ListGroups {
        optional page: u64 = "Page", PAGE;
        optional rows: u64 = "Rp", ROWS;
        optional keyword: Bounded<256> = "Keyword", Doc("Part of the name.", "用户组名称中的文字。");
    }
}

answer! {
    /// A group in a list.
    GroupItem as "GroupInfo" {
        id: u64 = "GroupId", GROUP_ID;
        name: String = "GroupName", GROUP_NAME;
        create_time: String = "CreateTime", CREATED;
        remark: String = "Remark", REMARK;
    }
}

answer! {
    /// A page of groups.
    Groups {
        total: u64 = "TotalNum", docs::TOTAL;
        groups: Vec<GroupItem> = "GroupInfo", Doc("Groups, the oldest first.", "用户组列表，按创建时间升序。");
    }
}

impl Groups {
    fn page<'a>(groups: impl Iterator<Item = &'a GroupRow>, paging: &Paging) -> Self {
        let (total, groups) = paging.of(groups.collect());
        let groups = groups.into_iter().map(|group| GroupItem {
            id: group.id.0,
            name: group.name.clone(),
            create_time: Stamp(group.create_time).to_string(),
            remark: group.remark.clone(),
        });
        Groups { total, groups: groups.collect() }
    }
}

impl Action for ListGroups {
    const SPEC: Spec = Spec {
        name: "ListGroups",
        access: Access::Read,
        errors: &[],
        doc: Doc("Groups of the account.", "查询用户组列表。"),
    };
    type On = Account;
    type Response = Groups;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<Groups> {
        let paging = Paging::new(E::InvalidParameter, self.page, self.rows)?;
        let keyword = self.keyword.map(|t| t.0).unwrap_or_default();
        let account = cx.account().await?;
        let found = account.identities.groups.iter().filter(|group| group.name.contains(&keyword));
        Ok(Groups::page(found, &paging))
    }
}

object! {
    /// A user and a group.
    Pair as "GroupIdOfUidInfo" {
        required group: u64 = "GroupId", GROUP_ID;
        optional uid: u64 = "Uid", EITHER;
        optional uin: u64 = "Uin", EITHER;
    }
}

request! {
    /// Puts users into groups.
    AddUserToGroup {
        required pairs: Vec<Pair> = "Info", Doc("1 to 100 users, each with a group.", "1 到 100 个子用户与用户组的对应。");
    }
}

request! {
    /// Takes users out of groups.
    RemoveUserFromGroup {
        required pairs: Vec<Pair> = "Info", Doc("1 to 100 users, each with a group.", "1 到 100 个子用户与用户组的对应。");
    }
}

/// Actions on the groups and users under `Info`.
macro_rules! on_pairs {
    ($($request:ty),+ $(,)?) => { $(
        impl OnIdentities for $request {
            const RESOURCES: &'static [&'static str] = &["groupid/", "uin/"];
            fn identities(params: &Params<'_>) -> Vec<Identity> {
                named_pairs(params)
            }
        }
    )+ };
}

on_pairs!(AddUserToGroup, RemoveUserFromGroup);

fn named_pairs(params: &Params<'_>) -> Vec<Identity> {
    let items = match params.get("Info") {
        Some(Value::List(items)) => items.as_slice(),
        _ => &[],
    };
    let mut named = Vec::new();
    // With more than that nothing is done for any of them.
    for item in items.iter().take(MAX_CHANGED) {
        let Value::Map(pair) = item else { continue };
        named.push(Identity::Group(number(pair, "GroupId")));
        named.extend(users_in(pair, ["Uid", "Uin"]));
    }
    named
}

/// The pairs of a request, each once.
fn pairs(given: Vec<Pair>) -> Result<Vec<(GroupId, Uin)>> {
    if !(1..=MAX_CHANGED).contains(&given.len()) {
        return Err(ApiError::invalid("Info", "must have 1 to 100 items", "须有 1 到 100 项"));
    }
    let mut pairs = Vec::with_capacity(given.len());
    for Pair { group, uid, uin } in given {
        let pair = (GroupId(group), one_of(uid, uin)?);
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    Ok(pairs)
}

/// The pairs without those that are memberships already, or for `there` those that are. All groups and users must be of the
/// caller's account; the audit record names those that are to be changed.
fn to_change(all: &Identities, pairs: &[(GroupId, Uin)], there: bool, cx: &Cx<'_>) -> Result<Vec<(GroupId, Uin)>> {
    let mut out = Vec::with_capacity(pairs.len());
    for &(group, uin) in pairs {
        if all.groups.iter().all(|known| known.id != group) {
            return Err(E::GroupNotExist.into());
        }
        all.user(uin).ok_or(E::ResourceUserNotExist)?;
        if all.members.iter().any(|member| (member.group, member.uin) == (group, uin)) == there {
            out.push((group, uin));
        }
    }
    for (group, uin) in &out {
        cx.note_subject(format!("groupid/{group}"));
        cx.note_subject(format!("uin/{uin}"));
    }
    Ok(out)
}

impl Action for AddUserToGroup {
    const SPEC: Spec = Spec {
        name: "AddUserToGroup",
        access: Access::Write,
        errors: &[
            E::GroupNotExist,
            E::GroupUserFull,
            E::ParamError,
            E::ResourceUserNotExist,
            E::UserGroupFull,
            E::UserUinAndUinNotAllNull,
        ],
        doc: Doc("Puts users into groups, all or none.", "将子用户加入用户组，全部成功或全部失败。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let pairs = pairs(self.pairs)?;
        cx.change_identities(|all| {
            let new = to_change(all, &pairs, false, cx)?;
            for (group, uin) in &new {
                let in_group = all.members.iter().filter(|m| m.group == *group).count();
                if in_group + new.iter().filter(|(other, _)| other == group).count() > limits::MAX_GROUP_USERS {
                    return Err(E::GroupUserFull.into());
                }
                let of_user = all.members.iter().filter(|m| m.uin == *uin).count();
                if of_user + new.iter().filter(|(_, other)| other == uin).count() > limits::MAX_USER_GROUPS {
                    return Err(E::UserGroupFull.into());
                }
            }
            let add = |(group, uin)| IdentityChange::AddMember(Membership { group, uin, create_time: cx.now });
            Ok((new.into_iter().map(add).collect(), ()))
        })
        .await?;
        Ok(Empty {})
    }
}

impl Action for RemoveUserFromGroup {
    const SPEC: Spec = Spec {
        name: "RemoveUserFromGroup",
        access: Access::Write,
        errors: &[E::GroupNotExist, E::ParamError, E::ResourceUserNotExist, E::UserUinAndUinNotAllNull],
        doc: Doc("Takes users out of groups, all or none.", "将子用户从用户组移除，全部成功或全部失败。"),
    };
    type On = Principals;
    type Response = Empty;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Empty> {
        let pairs = pairs(self.pairs)?;
        cx.change_identities(|all| {
            let old = to_change(all, &pairs, true, cx)?;
            let drop = |(group, uin)| IdentityChange::DropMember { group, uin };
            Ok((old.into_iter().map(drop).collect(), ()))
        })
        .await?;
        Ok(Empty {})
    }
}

request! {
    /// Groups of a user.
    ListGroupsForUser {
        optional uid: u64 = "Uid", EITHER;
        optional rows: u64 = "Rp", ROWS;
        optional page: u64 = "Page", PAGE;
        optional uin: u64 = "SubUin", EITHER;
    }
}

impl OnIdentities for ListGroupsForUser {
    const RESOURCES: &'static [&'static str] = &["uin/"];
    fn identities(params: &Params<'_>) -> Vec<Identity> {
        users_in(params, ["Uid", "SubUin"])
    }
}

impl Action for ListGroupsForUser {
    const SPEC: Spec = Spec {
        name: "ListGroupsForUser",
        access: Access::Read,
        errors: &[E::ParamError, E::ResourceUserNotExist, E::UserUinAndUinNotAllNull],
        doc: Doc("Groups that a user is in.", "列出子用户加入的用户组。"),
    };
    type On = Principals;
    type Response = Groups;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Groups> {
        let paging = Paging::new(E::InvalidParameter, self.page, self.rows)?;
        let uin = one_of(self.uid, self.uin)?;
        cx.note_subject(format!("uin/{uin}"));
        let account = cx.account().await?;
        let all = &account.identities;
        all.user(uin).ok_or(E::ResourceUserNotExist)?;
        let is_in = |group: &&GroupRow| all.members.iter().any(|m| m.uin == uin && m.group == group.id);
        Ok(Groups::page(all.groups.iter().filter(is_in), &paging))
    }
}

request! {
    /// A page of the users of a group.
    ListUsersForGroup {
        required id: u64 = "GroupId", GROUP_ID;
        optional page: u64 = "Page", PAGE;
        optional rows: u64 = "Rp", ROWS;
    }
}

answer! {
    /// A page of users.
    Members {
        total: u64 = "TotalNum", docs::TOTAL;
        users: Vec<Member> = "UserInfo", USERS;
    }
}

impl Action for ListUsersForGroup {
    const SPEC: Spec = Spec {
        name: "ListUsersForGroup",
        access: Access::Read,
        errors: &[E::ResourceGroupNotExist],
        doc: Doc("Users of a group.", "查询用户组中的子用户。"),
    };
    type On = Principals;
    type Response = Members;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Members> {
        let paging = Paging::new(E::InvalidParameter, self.page, self.rows)?;
        let account = cx.account().await?;
        let id = group(&account.identities, self.id, cx)?.id;
        let (total, users) = paging.of(members(&account.identities, id).collect());
        Ok(Members { total, users: users.into_iter().map(Member::from).collect() })
    }
}
