//! Rows and changes of principals for the tests.

use super::*;

pub(super) fn user(n: u64) -> UserRow {
    UserRow {
        uin: Uin(n),
        name: format!("user-{n}"),
        remark: "备注".into(),
        console_login: true,
        phone: "13800000000".into(),
        country_code: "86".into(),
        email: "a@example.com".into(),
        create_time: 1000 + n,
    }
}

pub(super) fn group(n: u64) -> GroupRow {
    GroupRow { id: GroupId(n), name: format!("group-{n}"), remark: "r".into(), create_time: 1000 + n }
}

pub(super) fn member(group: u64, uin: u64) -> Membership {
    Membership { group: GroupId(group), uin: Uin(uin), create_time: 77 }
}

pub(super) fn policy(n: u64) -> PolicyRow {
    PolicyRow {
        id: PolicyId(n),
        name: format!("policy-{n}"),
        description: "d".into(),
        document: r#"{"version":"2.0"}"#.into(),
        create_time: 1000 + n,
        update_time: 2000 + n,
    }
}

pub(super) fn attached(policy: u64, to: Attached) -> Attachment {
    Attachment { policy: PolicyId(policy), to, create_time: 88 }
}

pub(super) fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.into(), value: value.into() }
}

pub(super) fn role(n: u64) -> RoleRow {
    RoleRow {
        id: RoleId(n),
        name: format!("role-{n}"),
        description: "d".into(),
        document: "{}".into(),
        console_login: false,
        session_duration: 7200,
        tags: vec![tag("a", "1"), tag("b", "")],
        create_time: 1000 + n,
        update_time: 2000 + n,
    }
}

pub(super) fn to_user(n: u64) -> Attached {
    Attached::User(Uin(n))
}

pub(super) fn to_group(n: u64) -> Attached {
    Attached::Group(GroupId(n))
}

pub(super) fn to_role(n: u64) -> Attached {
    Attached::Role(RoleId(n))
}

pub(super) fn detach(policy: u64, from: Attached) -> IdentityChange {
    Detach { policy: PolicyId(policy), from }
}

pub(super) fn leave(group: u64, uin: u64) -> IdentityChange {
    DropMember { group: GroupId(group), uin: Uin(uin) }
}

pub(super) fn secret_id(name: &str) -> SecretId {
    SecretId::parse(name).unwrap()
}

pub(super) fn switch(name: &str, enabled: bool) -> IdentityChange {
    SetAccessKey { secret_id: secret_id(name), enabled }
}

pub(super) fn key_of(account: u64, uin: u64, name: &str) -> AccessKeyRow {
    AccessKeyRow { uin: Uin(uin), description: "for tests".into(), ..access_key(account, name) }
}

pub(super) fn product_key(account: u64, name: &str) -> AccessKeyRow {
    AccessKeyRow { product: Alias::parse("cos"), ..access_key(account, name) }
}

/// A user, group, policy and role, joined and attached in each way, with an access key of the user.
pub(super) fn one_of_each(account: u64, n: u64, key: &str) -> Vec<IdentityChange> {
    vec![
        AddUser(user(n)),
        AddGroup(group(n)),
        AddMember(member(n, n)),
        AddPolicy(policy(n)),
        AddRole(role(n)),
        Attach(attached(n, to_user(n))),
        Attach(attached(n, to_group(n))),
        Attach(attached(n, to_role(n))),
        AddAccessKey(key_of(account, n, key)),
    ]
}

/// The same with another number.
pub(super) fn renumbered(change: IdentityChange, n: u64) -> IdentityChange {
    match change {
        AddUser(user) => AddUser(UserRow { uin: Uin(n), ..user }),
        AddGroup(group) => AddGroup(GroupRow { id: GroupId(n), ..group }),
        AddMember(_) => AddMember(member(n, n)),
        AddPolicy(policy) => AddPolicy(PolicyRow { id: PolicyId(n), ..policy }),
        AddRole(role) => AddRole(RoleRow { id: RoleId(n), ..role }),
        Attach(Attachment { to: Attached::User(_), .. }) => Attach(attached(n, to_user(n))),
        Attach(Attachment { to: Attached::Group(_), .. }) => Attach(attached(n, to_group(n))),
        Attach(Attachment { to: Attached::Role(_), .. }) => Attach(attached(n, to_role(n))),
        AddAccessKey(key) => AddAccessKey(AccessKeyRow { uin: Uin(n), ..key }),
        other => other,
    }
}
