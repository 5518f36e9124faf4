//! Principals and policies: each change, its errors, tenants, compare-and-swap, moments.

mod rows;

use super::*;
use crate::error::{Result, StoreError};
use IdentityChange::*;
use jadeseal_types::{GroupId, PolicyId, RoleId};
use rows::*;
use std::sync::Arc;

type S = Arc<dyn Store>;

/// The account that most cases change, and the one that must not notice.
const MINE: u64 = 100_000_001;
const THEIRS: u64 = 100_000_002;

async fn two_accounts(store: &S) {
    store.add_root(vec![root(1, "a")], &[], None).await.unwrap();
    for n in [MINE, THEIRS] {
        store.create_account(account(n), domain(n, 1), vec![], None).await.unwrap();
    }
}

async fn of(store: &S, account: u64) -> Identities {
    store.identities(AccountId(account)).await.unwrap().unwrap()
}

/// Changes an account at the revision that it has.
async fn change(store: &S, account: u64, changes: impl Into<Vec<IdentityChange>>) -> Result<()> {
    let revision = of(store, account).await.revision;
    change_at(store, account, revision, changes).await
}

async fn change_at(store: &S, account: u64, revision: u64, changes: impl Into<Vec<IdentityChange>>) -> Result<()> {
    let commit = one(Change::Identities { revision, changes: changes.into() });
    store.commit(&scope(account, "ap-guangzhou"), commit).await.map(drop)
}

/// Each change alone is refused so, and leaves everything as it was, the revision and the moment included.
async fn refused(store: &S, account: u64, error: StoreError, changes: impl IntoIterator<Item = IdentityChange>) {
    let all = async || {
        let both = (of(store, MINE).await, of(store, THEIRS).await);
        (both, store.identities_changed(0).await.unwrap())
    };
    let before = all().await;
    for refused in changes {
        assert_eq!(change(store, account, [refused.clone()]).await, Err(error.clone()), "{refused:?}");
        assert_eq!(all().await, before, "{refused:?}");
    }
}

/// A new account has nobody in it; an unknown one is none.
pub async fn empty_account(store: S) {
    assert_eq!(store.identities_changed(0).await.unwrap(), (0, vec![]), "nothing has happened");
    two_accounts(&store).await;
    let nobody = Identities {
        account: account(MINE),
        revision: 1,
        users: vec![],
        groups: vec![],
        members: vec![],
        policies: vec![],
        attachments: vec![],
        roles: vec![],
        access_keys: vec![],
    };
    assert_eq!(of(&store, MINE).await, nobody);
    assert_eq!(store.identities(AccountId(3)).await.unwrap(), None);
    assert_eq!(change_at(&store, 3, 1, []).await, Err(StoreError::NotFound));
    assert_eq!(change_at(&store, 3, 1, [AddUser(user(1))]).await, Err(StoreError::NotFound));
}

/// Everything comes back, in the order that each list has.
pub async fn round_trip_in_order(store: S) {
    two_accounts(&store).await;
    store.put_access_key(product_key(MINE, "COS"), None).await.unwrap();
    let later = |mut row: UserRow| {
        row.create_time = 9000;
        row
    };
    let at = |policy, to, create_time| Attachment { create_time, ..attached(policy, to) };
    let keys = [key_of(MINE, 2, "B"), AccessKeyRow { create_time: 9, ..key_of(MINE, MINE, "C") }];
    change(
        &store,
        MINE,
        [
            AddUser(later(user(1))),
            AddUser(user(3)),
            AddUser(user(2)),
            AddUser(later(UserRow { console_login: false, ..user(4) })),
            AddGroup(group(6)),
            AddGroup(group(5)),
            AddMember(member(6, 2)),
            AddMember(member(5, 3)),
            AddMember(member(5, 1)),
            AddPolicy(policy(8)),
            AddPolicy(policy(7)),
            AddRole(RoleRow { tags: vec![tag("b", ""), tag("a", "1")], ..role(10) }),
            AddRole(RoleRow { tags: vec![], console_login: true, ..role(9) }),
            Attach(at(8, to_user(1), 5)),
            Attach(at(7, to_role(9), 5)),
            Attach(at(7, to_group(5), 4)),
            Attach(at(999, to_group(5), 3)),
            AddAccessKey(keys[0].clone()),
            AddAccessKey(AccessKeyRow { revision: 5, ..keys[1].clone() }),
        ],
    )
    .await
    .unwrap();
    let stored = |key: AccessKeyRow| AccessKeyRow { revision: 1, ..key };
    let [b, c] = keys.map(stored);
    let expected = Identities {
        account: account(MINE),
        revision: 3,
        users: vec![user(2), user(3), later(user(1)), later(UserRow { console_login: false, ..user(4) })],
        groups: vec![group(5), group(6)],
        members: vec![member(5, 1), member(5, 3), member(6, 2)],
        policies: vec![policy(7), policy(8)],
        attachments: vec![at(999, to_group(5), 3), at(7, to_group(5), 4), at(7, to_role(9), 5), at(8, to_user(1), 5)],
        roles: vec![RoleRow { tags: vec![], console_login: true, ..role(9) }, role(10)],
        access_keys: vec![c, b.clone(), stored(product_key(MINE, "COS"))],
    };
    assert_eq!(of(&store, MINE).await, expected);
    assert_eq!(store.access_key(&secret_id("B")).await.unwrap(), Some(b));
    assert_eq!(of(&store, THEIRS).await.revision, 1);
}

/// Users are made and changed, but not renamed.
pub async fn users(store: S) {
    two_accounts(&store).await;
    change(&store, MINE, [AddUser(user(1)), AddUser(user(2))]).await.unwrap();
    let wanted = UserRow {
        remark: "new".into(),
        console_login: false,
        phone: String::new(),
        country_code: "1".into(),
        email: "b@example.com".into(),
        ..user(1)
    };
    let stray = UserRow { name: "user-2".into(), create_time: 1, ..wanted.clone() };
    change(&store, MINE, [UpdateUser(stray)]).await.unwrap();
    assert_eq!(of(&store, MINE).await.users, [wanted, user(2)]);
    change(&store, MINE, [DropUser(Uin(1))]).await.unwrap();
    assert_eq!(of(&store, MINE).await.users, [user(2)]);
    refused(&store, MINE, StoreError::NotFound, [UpdateUser(user(1)), DropUser(Uin(1))]).await;
    let twins = [UserRow { name: "other".into(), ..user(2) }, UserRow { uin: Uin(5), ..user(2) }];
    refused(&store, MINE, StoreError::Conflict, twins.map(AddUser)).await;
    // Number and name are free again.
    change(&store, MINE, [AddUser(user(1))]).await.unwrap();
}

/// Groups are made, changed and renamed.
pub async fn groups(store: S) {
    two_accounts(&store).await;
    change(&store, MINE, [AddGroup(group(1)), AddGroup(group(2))]).await.unwrap();
    let wanted = GroupRow { name: "renamed".into(), remark: "new".into(), ..group(1) };
    change(&store, MINE, [UpdateGroup(GroupRow { create_time: 1, ..wanted.clone() })]).await.unwrap();
    assert_eq!(of(&store, MINE).await.groups, [wanted.clone(), group(2)]);
    let taken = |change: fn(GroupRow) -> _, row| change(GroupRow { name: "renamed".into(), ..row });
    let conflicts = [
        taken(AddGroup, group(3)),
        taken(UpdateGroup, group(2)),
        AddGroup(GroupRow { name: "other".into(), ..group(2) }),
    ];
    refused(&store, MINE, StoreError::Conflict, conflicts).await;
    change(&store, MINE, [UpdateGroup(wanted), DropGroup(GroupId(2))]).await.unwrap();
    refused(&store, MINE, StoreError::NotFound, [UpdateGroup(group(2)), DropGroup(GroupId(2))]).await;
}

/// Users join groups and leave them.
pub async fn members(store: S) {
    two_accounts(&store).await;
    change(&store, MINE, [AddUser(user(1)), AddUser(user(2)), AddGroup(group(3)), AddMember(member(3, 1))])
        .await
        .unwrap();
    let again = Membership { create_time: 5, ..member(3, 1) };
    refused(&store, MINE, StoreError::Conflict, [AddMember(again)]).await;
    let absent = [AddMember(member(9, 1)), AddMember(member(3, 9)), AddMember(member(3, MINE)), leave(3, 2)];
    refused(&store, MINE, StoreError::NotFound, absent).await;
    change(&store, MINE, [AddMember(member(3, 2)), leave(3, 1)]).await.unwrap();
    assert_eq!(of(&store, MINE).await.members, [member(3, 2)]);
    refused(&store, MINE, StoreError::NotFound, [leave(3, 1), leave(9, 2)]).await;
}

/// Policies are made, changed and renamed.
pub async fn policies(store: S) {
    two_accounts(&store).await;
    change(&store, MINE, [AddPolicy(policy(1)), AddPolicy(policy(2))]).await.unwrap();
    let wanted = PolicyRow {
        name: "renamed".into(),
        description: "new".into(),
        document: "{}".into(),
        update_time: 9000,
        ..policy(1)
    };
    change(&store, MINE, [UpdatePolicy(PolicyRow { create_time: 1, ..wanted.clone() })]).await.unwrap();
    assert_eq!(of(&store, MINE).await.policies, [wanted, policy(2)]);
    let taken = |change: fn(PolicyRow) -> _, row| change(PolicyRow { name: "renamed".into(), ..row });
    let conflicts = [
        taken(AddPolicy, policy(3)),
        taken(UpdatePolicy, policy(2)),
        AddPolicy(PolicyRow { name: "other".into(), ..policy(2) }),
    ];
    refused(&store, MINE, StoreError::Conflict, conflicts).await;
    change(&store, MINE, [DropPolicy(PolicyId(1))]).await.unwrap();
    refused(&store, MINE, StoreError::NotFound, [UpdatePolicy(policy(1)), DropPolicy(PolicyId(1))]).await;
}

/// Policies, presets among them, are attached once to each target and detached.
pub async fn attachments(store: S) {
    const PRESET: u64 = 16313162;
    two_accounts(&store).await;
    // One number for all, so that a target of another kind would be found.
    change(&store, MINE, [AddUser(user(1)), AddGroup(group(1)), AddRole(role(1)), AddPolicy(policy(1))]).await.unwrap();
    let all = [1, PRESET].iter().flat_map(|p| [to_user(1), to_group(1), to_role(1)].map(|to| attached(*p, to)));
    let all: Vec<_> = all.collect();
    change(&store, MINE, all.iter().copied().map(Attach).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(of(&store, MINE).await.attachments, all);
    let again = all.iter().map(|a| Attach(Attachment { create_time: 5, ..*a }));
    refused(&store, MINE, StoreError::Conflict, again).await;
    let absent = [to_user(2), to_group(2), to_role(2), to_user(MINE)];
    refused(&store, MINE, StoreError::NotFound, absent.map(|to| Attach(attached(1, to)))).await;
    change(&store, MINE, [detach(1, to_group(1)), detach(PRESET, to_role(1))]).await.unwrap();
    assert_eq!(of(&store, MINE).await.attachments, [all[0], all[2], all[3], all[4]]);
    let gone = [detach(1, to_group(1)), detach(PRESET, to_role(1)), detach(2, to_user(1)), detach(1, to_user(2))];
    refused(&store, MINE, StoreError::NotFound, gone).await;
}

/// Roles are made and changed with their tags, but not renamed.
pub async fn roles(store: S) {
    two_accounts(&store).await;
    change(&store, MINE, [AddRole(role(1)), AddRole(role(2))]).await.unwrap();
    let wanted = RoleRow {
        description: "new".into(),
        document: "[]".into(),
        console_login: true,
        session_duration: 43200,
        tags: vec![tag("b", "2"), tag("c", "3")],
        update_time: 9000,
        ..role(1)
    };
    let stray = RoleRow { name: "role-2".into(), create_time: 1, ..wanted.clone() };
    change(&store, MINE, [UpdateRole(stray)]).await.unwrap();
    assert_eq!(of(&store, MINE).await.roles, [wanted, role(2)]);
    let twice = vec![tag("k", "1"), tag("k", "2")];
    let conflicts = [
        AddRole(RoleRow { name: "other".into(), ..role(2) }),
        AddRole(RoleRow { id: RoleId(3), ..role(2) }),
        AddRole(RoleRow { tags: twice.clone(), ..role(3) }),
        UpdateRole(RoleRow { tags: twice, ..role(2) }),
    ];
    refused(&store, MINE, StoreError::Conflict, conflicts).await;
    change(&store, MINE, [UpdateRole(RoleRow { tags: vec![], ..role(2) }), DropRole(RoleId(1))]).await.unwrap();
    assert_eq!(of(&store, MINE).await.roles, [RoleRow { tags: vec![], ..role(2) }]);
    refused(&store, MINE, StoreError::NotFound, [UpdateRole(role(1)), DropRole(RoleId(1))]).await;
    // Tags of the one that is gone do not come back with the number.
    change(&store, MINE, [AddRole(RoleRow { tags: vec![], ..role(1) })]).await.unwrap();
    assert_eq!(of(&store, MINE).await.roles[0].tags, []);
}

/// Access keys of the account and its users are made, switched and removed; those of products are out of reach.
pub async fn access_keys(store: S) {
    two_accounts(&store).await;
    store.put_access_key(product_key(MINE, "COS"), None).await.unwrap();
    store.put_access_key(access_key(THEIRS, "THEIRS"), None).await.unwrap();
    change(&store, MINE, [AddUser(user(1)), AddAccessKey(key_of(MINE, 1, "A")), AddAccessKey(key_of(MINE, MINE, "B"))])
        .await
        .unwrap();
    change(&store, MINE, [switch("A", false)]).await.unwrap();
    let read = async |name| store.access_key(&secret_id(name)).await.unwrap();
    assert_eq!(read("A").await, Some(AccessKeyRow { enabled: false, revision: 2, ..key_of(MINE, 1, "A") }));
    change(&store, MINE, [switch("A", true), DropAccessKey(secret_id("B"))]).await.unwrap();
    assert_eq!(read("A").await, Some(AccessKeyRow { revision: 3, ..key_of(MINE, 1, "A") }));
    assert_eq!(read("B").await, None);

    let taken = [key_of(MINE, 1, "A"), key_of(MINE, 1, "COS"), key_of(MINE, 1, "THEIRS"), product_key(MINE, "NEW")];
    refused(&store, MINE, StoreError::Conflict, taken.map(AddAccessKey)).await;
    let strange = [key_of(MINE, 2, "N"), key_of(MINE, THEIRS, "N"), key_of(THEIRS, THEIRS, "N")];
    refused(&store, MINE, StoreError::NotFound, strange.map(AddAccessKey)).await;
    for name in ["COS", "THEIRS", "B"] {
        let reach = [switch(name, false), switch(name, true), DropAccessKey(secret_id(name))];
        refused(&store, MINE, StoreError::NotFound, reach).await;
    }
}

/// Who goes takes along what belongs to them, and nothing else.
pub async fn dropped_with_what_belongs_to_them(store: S) {
    two_accounts(&store).await;
    change(&store, MINE, one_of_each(MINE, 1, "A")).await.unwrap();
    change(&store, MINE, one_of_each(MINE, 2, "B")).await.unwrap();
    let more = [
        AddMember(member(1, 2)),
        AddMember(member(2, 1)),
        Attach(attached(1, to_user(2))),
        Attach(attached(2, to_user(1))),
        AddAccessKey(key_of(MINE, MINE, "OWN")),
    ];
    change(&store, MINE, more).await.unwrap();
    // Of a product, for a user: it stays.
    store.put_access_key(AccessKeyRow { uin: Uin(1), ..product_key(MINE, "COS") }, None).await.unwrap();
    let all = of(&store, MINE).await;

    change(&store, MINE, [DropUser(Uin(1))]).await.unwrap();
    let mut left = all.clone();
    left.revision += 1;
    left.users.retain(|u| u.uin != Uin(1));
    left.members.retain(|m| m.uin != Uin(1));
    left.attachments.retain(|a| a.to != to_user(1));
    left.access_keys.retain(|k| k.secret_id.as_str() != "A");
    assert_eq!(left.access_keys.len(), 3);
    assert_eq!(of(&store, MINE).await, left);

    change(&store, MINE, [DropGroup(GroupId(1))]).await.unwrap();
    left.revision += 1;
    left.groups.retain(|g| g.id != GroupId(1));
    left.members.retain(|m| m.group != GroupId(1));
    left.attachments.retain(|a| a.to != to_group(1));
    assert_eq!(of(&store, MINE).await, left);

    change(&store, MINE, [DropRole(RoleId(1))]).await.unwrap();
    left.revision += 1;
    left.roles.retain(|r| r.id != RoleId(1));
    left.attachments.retain(|a| a.to != to_role(1));
    assert_eq!(of(&store, MINE).await, left);

    change(&store, MINE, [DropPolicy(PolicyId(2))]).await.unwrap();
    left.revision += 1;
    left.policies.retain(|p| p.id != PolicyId(2));
    left.attachments.retain(|a| a.policy != PolicyId(2));
    assert_eq!(left.attachments, [attached(1, to_user(2))]);
    assert_eq!(of(&store, MINE).await, left);

    // Nothing of them comes back with their numbers.
    change(&store, MINE, [AddUser(user(1)), AddGroup(group(1)), AddRole(role(1)), AddPolicy(policy(2))]).await.unwrap();
    let back = of(&store, MINE).await;
    assert_eq!((back.members, back.attachments), (left.members, left.attachments));
}

/// Numbers are unique in the store, names in the account.
pub async fn numbers_and_names_are_unique(store: S) {
    two_accounts(&store).await;
    let first = [AddUser(user(1)), AddGroup(group(1)), AddPolicy(policy(1)), AddRole(role(1))];
    change(&store, MINE, first.clone()).await.unwrap();
    let other = String::from("other");
    let numbers = [
        AddUser(UserRow { name: other.clone(), ..user(1) }),
        AddGroup(GroupRow { name: other.clone(), ..group(1) }),
        AddPolicy(PolicyRow { name: other.clone(), ..policy(1) }),
        AddRole(RoleRow { name: other, ..role(1) }),
    ];
    for account in [MINE, THEIRS] {
        refused(&store, account, StoreError::Conflict, numbers.clone()).await;
    }
    let names = [
        AddUser(UserRow { uin: Uin(2), ..user(1) }),
        AddGroup(GroupRow { id: GroupId(2), ..group(1) }),
        AddPolicy(PolicyRow { id: PolicyId(2), ..policy(1) }),
        AddRole(RoleRow { id: RoleId(2), ..role(1) }),
    ];
    refused(&store, MINE, StoreError::Conflict, names.clone()).await;
    change(&store, THEIRS, names).await.unwrap();
    assert_eq!(of(&store, THEIRS).await.users[0].name, of(&store, MINE).await.users[0].name);
}

/// A user never has an account's number, whichever comes first.
pub async fn users_and_accounts_share_numbers(store: S) {
    two_accounts(&store).await;
    refused(&store, MINE, StoreError::Conflict, [AddUser(user(MINE)), AddUser(user(THEIRS))]).await;
    change(&store, MINE, [AddUser(user(3))]).await.unwrap();
    let moment = store.identities_changed(0).await.unwrap().0;
    let taken = store.create_account(account(3), domain(3, 1), vec![access_key(3, "A")], None).await;
    assert_eq!(taken, Err(StoreError::Conflict));
    assert_eq!(store.account(AccountId(3)).await.unwrap(), None);
    assert_eq!(store.access_key(&secret_id("A")).await.unwrap(), None);
    assert_eq!(store.identities_changed(moment).await.unwrap(), (moment, vec![]));
    change(&store, MINE, [DropUser(Uin(3))]).await.unwrap();
    store.create_account(account(3), domain(3, 1), vec![access_key(3, "A")], None).await.unwrap();
    assert_eq!(of(&store, 3).await.access_keys.len(), 1);
}

/// Whoever guesses another tenant's numbers finds and changes nothing.
pub async fn accounts_do_not_see_each_other(store: S) {
    two_accounts(&store).await;
    change(&store, THEIRS, one_of_each(THEIRS, 1, "THEIRS")).await.unwrap();
    change(&store, MINE, one_of_each(MINE, 2, "MINE")).await.unwrap();
    let guessed = vec![
        UpdateUser(user(1)),
        DropUser(Uin(1)),
        DropUser(Uin(THEIRS)),
        UpdateGroup(group(1)),
        DropGroup(GroupId(1)),
        AddMember(member(1, 1)),
        AddMember(member(1, 2)),
        AddMember(member(2, 1)),
        leave(1, 1),
        leave(1, 2),
        leave(2, 1),
        UpdatePolicy(policy(1)),
        DropPolicy(PolicyId(1)),
        Attach(attached(1, to_user(2))),
        Attach(attached(1, to_user(1))),
        Attach(attached(2, to_user(1))),
        Attach(attached(2, to_group(1))),
        Attach(attached(2, to_role(1))),
        Attach(attached(2, to_user(THEIRS))),
        detach(1, to_user(1)),
        detach(1, to_group(1)),
        detach(1, to_role(1)),
        detach(1, to_user(2)),
        UpdateRole(role(1)),
        DropRole(RoleId(1)),
        AddAccessKey(key_of(MINE, 1, "NEW")),
        AddAccessKey(key_of(THEIRS, 1, "NEW")),
        switch("THEIRS", false),
        DropAccessKey(secret_id("THEIRS")),
    ];
    refused(&store, MINE, StoreError::NotFound, guessed).await;
    // What there is of one is all of it.
    let mine = of(&store, MINE).await;
    assert_eq!((&mine.users[..], &mine.groups[..]), (&[user(2)][..], &[group(2)][..]));
    assert_eq!((&mine.policies[..], &mine.roles[..]), (&[policy(2)][..], &[role(2)][..]));
    assert_eq!(mine.members, [member(2, 2)]);
    assert_eq!(mine.attachments.len(), 3);
    assert_eq!(mine.access_keys, [AccessKeyRow { revision: 1, ..key_of(MINE, 2, "MINE") }]);
    // And a preset that both have is detached from one of them.
    change(&store, THEIRS, [Attach(attached(900, to_user(1)))]).await.unwrap();
    change(&store, MINE, [Attach(attached(900, to_user(2)))]).await.unwrap();
    change(&store, MINE, [detach(900, to_user(2))]).await.unwrap();
    assert_eq!(of(&store, THEIRS).await.attachments.len(), 4);
}

/// Numbers of 64 bits come back as they are, and in their order.
pub async fn large_numbers(store: S) {
    two_accounts(&store).await;
    let numbers = [(1 << 53) + 1, 4_611_686_018_427_387_905, i64::MAX as u64, u64::MAX];
    for (i, n) in numbers.into_iter().enumerate() {
        let same_time = |change: IdentityChange| match change {
            AddUser(user) => AddUser(UserRow { create_time: 5, ..user }),
            AddGroup(group) => AddGroup(GroupRow { create_time: 5, ..group }),
            AddPolicy(policy) => AddPolicy(PolicyRow { create_time: 5, update_time: 5, ..policy }),
            AddRole(role) => AddRole(RoleRow { create_time: 5, update_time: 5, ..role }),
            other => other,
        };
        // The rows of the tests reckon their times from the number.
        let small = one_of_each(MINE, i as u64, &format!("K{i}"));
        let changes: Vec<_> = small.into_iter().map(|change| renumbered(change, n)).map(same_time).collect();
        change(&store, MINE, changes).await.unwrap();
    }
    let all = of(&store, MINE).await;
    assert_eq!(all.users.iter().map(|u| u.uin.0).collect::<Vec<_>>(), numbers);
    assert_eq!(all.groups.iter().map(|g| g.id.0).collect::<Vec<_>>(), numbers);
    assert_eq!(all.members.iter().map(|m| m.group.0).collect::<Vec<_>>(), numbers);
    assert_eq!(all.policies.iter().map(|p| p.id.0).collect::<Vec<_>>(), numbers);
    assert_eq!(all.roles.iter().map(|r| (r.id.0, r.tags.len())).collect::<Vec<_>>(), numbers.map(|n| (n, 2)));
    let each = numbers.map(|n| [to_user(n), to_group(n), to_role(n)].map(|to| attached(n, to)));
    assert_eq!(all.attachments, each.concat());
    assert_eq!(all.access_keys.iter().map(|k| k.uin.0).collect::<Vec<_>>(), numbers);
    for n in numbers {
        let drop = [DropUser(Uin(n)), DropGroup(GroupId(n)), DropRole(RoleId(n)), DropPolicy(PolicyId(n))];
        change(&store, MINE, drop).await.unwrap();
    }
    let left = of(&store, MINE).await;
    assert!(left.users.is_empty() && left.attachments.is_empty() && left.access_keys.is_empty());
}

/// Changes apply at the revision that was read only; each commit counts up by one.
pub async fn compare_and_swap(store: S) {
    two_accounts(&store).await;
    change_at(&store, MINE, 1, [AddUser(user(1)), AddUser(user(2))]).await.unwrap();
    assert_eq!(of(&store, MINE).await.revision, 2);
    let before = of(&store, MINE).await;
    for other in [0, 1, 3, u64::MAX] {
        assert_eq!(change_at(&store, MINE, other, [AddUser(user(3))]).await, Err(StoreError::Conflict), "{other}");
    }
    // A stale revision tells nothing of what would have been found.
    assert_eq!(change_at(&store, MINE, 1, [DropUser(Uin(9))]).await, Err(StoreError::Conflict));
    assert_eq!(of(&store, MINE).await, before);
    // An access key that is put besides is a change too; another account's is not.
    store.put_access_key(access_key(THEIRS, "THEIRS"), None).await.unwrap();
    change_at(&store, MINE, 2, []).await.unwrap();
    store.put_access_key(access_key(MINE, "MINE"), None).await.unwrap();
    assert_eq!(of(&store, MINE).await.revision, 4);
    assert_eq!(change_at(&store, MINE, 3, [AddUser(user(3))]).await, Err(StoreError::Conflict));
    // Twice in one commit: the second sees the first.
    let twice = [(4, AddUser(user(3))), (5, DropUser(Uin(3)))];
    let changes = twice.map(|(revision, change)| Change::Identities { revision, changes: vec![change] });
    store.commit(&home(), Commit { changes: changes.to_vec(), outbox: None }).await.unwrap();
    assert_eq!(of(&store, MINE).await.revision, 6);
}

/// Of those who read the same revision one gets through.
pub async fn racing_writers(store: S) {
    two_accounts(&store).await;
    let tasks: Vec<_> = (1..=16)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { change_at(&store, MINE, 1, [AddUser(user(n))]).await })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => won += 1,
            Err(e) => assert_eq!(e, StoreError::Conflict),
        }
    }
    assert_eq!(won, 1);
    let left = of(&store, MINE).await;
    assert_eq!((left.revision, left.users.len()), (2, 1));
}

/// One change that fails undoes those before it, here and in the rest of the commit, with the audit record.
pub async fn changes_are_all_or_nothing(store: S) {
    two_accounts(&store).await;
    change(&store, MINE, one_of_each(MINE, 1, "A")).await.unwrap();
    let before = (of(&store, MINE).await, store.identities_changed(0).await.unwrap());
    assert_eq!(store.identities_revision(AccountId(MINE)).await.unwrap(), Some(before.0.revision));
    assert_eq!(store.identities_revision(AccountId(12345)).await.unwrap(), None);
    let mut changes = one_of_each(MINE, 2, "B");
    changes.extend([DropUser(Uin(1)), DropGroup(GroupId(1)), DropPolicy(PolicyId(1)), DropRole(RoleId(1))]);
    for (failing, error) in [(DropUser(Uin(9)), StoreError::NotFound), (AddPolicy(policy(2)), StoreError::Conflict)] {
        let mut changes = changes.clone();
        changes.push(failing);
        changes.push(AddUser(user(3)));
        let identities = Change::Identities { revision: 2, changes };
        let create = Change::CreateKey { cmk: key(&home(), 1), version: None, tags: vec![] };
        let commit = Commit { changes: vec![create, identities], outbox: Some(vec![1]) };
        assert_eq!(store.commit(&home(), commit).await, Err(error));
        assert_eq!((of(&store, MINE).await, store.identities_changed(0).await.unwrap()), before);
    }
    // And one that fails behind them.
    let identities = Change::Identities { revision: 2, changes };
    let commit = Commit { changes: vec![identities, Change::DropImport(id(9))], outbox: Some(vec![1]) };
    assert_eq!(store.commit(&home(), commit).await, Err(StoreError::NotFound));
    assert_eq!((of(&store, MINE).await, store.identities_changed(0).await.unwrap()), before);
    assert_eq!(store.key(&home(), id(1)).await.unwrap(), None);
    assert!(store.outbox_pending(0, 1_000).await.unwrap().is_empty());
}

/// Each change has a later moment than all before, of whichever account: what was changed since is told.
pub async fn moments_grow(store: S) {
    store.add_root(vec![root(1, "a")], &[], None).await.unwrap();
    let mut last = store.identities_changed(0).await.unwrap().0;
    assert_eq!(last, 0);
    for n in [MINE, THEIRS] {
        store.create_account(account(n), domain(n, 1), vec![access_key(n, &format!("A{n}"))], None).await.unwrap();
        let (moment, changed) = store.identities_changed(last).await.unwrap();
        assert!(moment > last);
        assert_eq!(changed, [AccountId(n)]);
        last = moment;
    }
    let start = last;
    for (n, name) in [(THEIRS, "x"), (MINE, "y"), (MINE, "z")] {
        change(&store, n, [AddAccessKey(key_of(n, n, name))]).await.unwrap();
        let (moment, changed) = store.identities_changed(last).await.unwrap();
        assert!(moment > last);
        assert_eq!(changed, [AccountId(n)]);
        last = moment;
    }
    let (moment, mut changed) = store.identities_changed(start).await.unwrap();
    changed.sort_unstable();
    assert_eq!((moment, changed), (last, vec![AccountId(MINE), AccountId(THEIRS)]));
    for since in [last, last + 1, u64::MAX] {
        assert_eq!(store.identities_changed(since).await.unwrap(), (last, vec![]));
    }
    // What touches no principal.
    create(&*store, &home(), [key(&home(), 1)]).await;
    assert_eq!(store.identities_changed(last).await.unwrap(), (last, vec![]));
}

/// The audit record is stored with the changes.
pub async fn audit_record(store: S) {
    two_accounts(&store).await;
    let add = Change::Identities { revision: 1, changes: vec![AddUser(user(1))] };
    let commit = Commit { changes: vec![add], outbox: Some(vec![1, 2, 3]) };
    let done = store.commit(&home(), commit.clone()).await.unwrap();
    assert!(done.keys.is_empty());
    assert_eq!(store.outbox_pending(0, 1_000).await.unwrap(), [(done.outbox_id.unwrap(), vec![1, 2, 3])]);
    assert_eq!(store.commit(&home(), commit).await, Err(StoreError::Conflict));
    assert_eq!(store.outbox_pending(0, 1_000).await.unwrap().len(), 1, "what did not happen leaves no record");
    assert_eq!(of(&store, MINE).await.users, [user(1)]);
}

/// Principals are the account's in every region.
pub async fn region_does_not_matter(store: S) {
    two_accounts(&store).await;
    for (n, region) in [(1, "ap-guangzhou"), (2, "ap-beijing")] {
        let add = one(Change::Identities { revision: n, changes: vec![AddUser(user(n))] });
        store.commit(&scope(MINE, region), add).await.unwrap();
    }
    assert_eq!(of(&store, MINE).await.users, [user(1), user(2)]);
}
