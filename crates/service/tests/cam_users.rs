//! Users, groups and access keys through the whole service.

mod support;

use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use support::{Kms, User, code};

fn names(list: &Value, member: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

/// The last record of the audit log that an action left.
fn record(kms: &Kms, answer: &Value) -> Value {
    let request = answer["RequestId"].as_str().unwrap();
    let audit = kms.audit();
    let line = audit.lines().find(|line| line.contains(request)).unwrap();
    // What stands before it and behind it chains the lines.
    let record = &line[line.find('{').unwrap()..=line.rfind('}').unwrap()];
    serde_json::from_str(record).unwrap()
}

#[tokio::test]
async fn users_are_made_changed_and_removed() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let made = json!({ "Name": "alice", "Remark": "r", "ConsoleLogin": 1, "PhoneNum": "1", "CountryCode": "86", "Email": "a@b" });
    let made = kms.cam(&root, "AddUser", made).await;
    let uin = made["Uin"].as_u64().unwrap();
    assert!((200_000_000_000..900_000_000_000).contains(&uin));
    assert_eq!((&made["Uid"], &made["Name"]), (&json!(uin), &json!("alice")));
    for empty in ["Password", "SecretId", "SecretKey"] {
        assert_eq!(made[empty], "", "{empty}");
    }
    assert_eq!(made["PhoneNumVerifyLink"], Value::Null);
    let record = record(&kms, &made);
    assert_eq!((&record["service"], &record["subjects"]), (&json!("cam"), &json!([format!("uin/{uin}")])));

    let user = kms.cam(&root, "GetUser", json!({ "Name": "alice" })).await;
    let expected = json!({ "Uin": uin, "Name": "alice", "Uid": uin, "Remark": "r", "ConsoleLogin": 1, "PhoneNum": "1",
        "CountryCode": "86", "Email": "a@b", "RecentlyLoginIP": "", "RecentlyLoginTime": "",
        "RequestId": user["RequestId"] });
    assert_eq!(user, expected);

    // What is not given stays, what is given as empty goes.
    kms.cam(&root, "UpdateUser", json!({ "Name": "alice", "Remark": "", "ConsoleLogin": 0, "Email": null })).await;
    kms.cam(&root, "UpdateUser", json!({ "Name": "alice" })).await;
    let user = kms.cam(&root, "GetUser", json!({ "Name": "alice" })).await;
    assert_eq!((&user["Remark"], &user["ConsoleLogin"], &user["Email"]), (&json!(""), &json!(0), &json!("a@b")));

    kms.clock.advance(Duration::from_secs(1));
    kms.cam(&root, "AddUser", json!({ "Name": "bob" })).await;
    let list = kms.cam(&root, "ListUsers", json!({})).await["Data"].clone();
    assert_eq!(names(&list, "Name"), ["alice", "bob"]);
    assert_eq!(list[0]["CreateTime"], "2026-11-24 14:00:00", "Beijing time");
    let found = kms.cam(&root, "DescribeSubAccounts", json!({ "FilterSubAccountUin": [uin, root.uin, 7] })).await;
    assert_eq!(names(&found["SubAccounts"], "Name"), ["alice"]);
    assert_eq!(found["SubAccounts"][0]["UserType"], 2);
    let many: Vec<u64> = (0..51).collect();
    let refused = kms.cam_err(&root, "DescribeSubAccounts", json!({ "FilterSubAccountUin": many })).await;
    assert_eq!(refused, "InvalidParameter");

    kms.cam(&root, "DeleteUser", json!({ "Name": "alice" })).await;
    for action in ["GetUser", "UpdateUser", "DeleteUser"] {
        let refused = kms.cam_err(&root, action, json!({ "Name": "alice" })).await;
        assert_eq!(refused, "ResourceNotFound.UserNotExist", "{action}");
    }
    let summary = kms.cam(&root, "GetAccountSummary", json!({})).await;
    assert_eq!((&summary["User"], &summary["Group"], &summary["Idps"]), (&json!(1), &json!(0), &json!(0)));
    let own = kms.cam(&root, "GetUserAppId", json!({})).await;
    assert_eq!((&own["Uin"], &own["OwnerUin"]), (&json!(root.uin.to_string()), &json!(root.uin.to_string())));
    assert_eq!(own["AppId"], root.app_id);
}

#[tokio::test]
async fn what_no_user_can_be() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    for name in ["", "a b", "ä", "a/b", "*", "a\n", &"a".repeat(65)] {
        let refused = kms.cam_err(&root, "AddUser", json!({ "Name": name })).await;
        assert_eq!(refused, "InvalidParameter.UserNameIllegal", "{name:?}");
    }
    kms.cam(&root, "AddUser", json!({ "Name": "a".repeat(64) })).await;
    kms.cam(&root, "AddUser", json!({ "Name": "A+=,.@_-9", "Password": "", "NeedResetPassword": 1 })).await;
    let refused = kms.cam_err(&root, "AddUser", json!({ "Name": "A+=,.@_-9" })).await;
    assert_eq!(refused, "InvalidParameter.SubUserNameInUse");
    kms.cam(&root, "AddUser", json!({ "Name": "a+=,.@_-9" })).await;
    for (name, value) in [
        ("Password", json!("Passw0rd!")),
        ("ConsoleLogin", json!(2)),
        ("UseApi", json!(2)),
        ("NeedResetPassword", json!(2)),
        ("Remark", json!("r".repeat(257))),
        ("PhoneNum", json!("1".repeat(33))),
        ("CountryCode", json!("1".repeat(17))),
        ("Email", json!("e".repeat(129))),
    ] {
        let params = json!({ "Name": "new", name: value });
        assert_eq!(kms.cam_err(&root, "AddUser", params).await, "InvalidParameter", "{name}");
    }
    let refused = kms.cam_err(&root, "UpdateUser", json!({ "Name": "A+=,.@_-9", "Password": "x" })).await;
    assert_eq!(refused, "InvalidParameter");
    assert!(!kms.audit().contains("Passw0rd"));
    assert_eq!(kms.cam_err(&root, "GetUser", json!({})).await, "MissingParameter");
    assert_eq!(kms.cam_err(&root, "GetUser", json!({ "Name": "test" })).await, "ResourceNotFound.UserNotExist");
}

/// An access key is of use for nothing without a policy, at once gone when it is disabled, and shown once.
#[tokio::test]
async fn life_of_an_access_key() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let alice = kms.sub_user(&root, "alice").await;
    assert_eq!((alice.secret_id.len(), alice.secret_id.starts_with("AKID")), (36, true));
    let own = kms.cam(&alice, "GetUserAppId", json!({})).await;
    assert_eq!((&own["Uin"], &own["OwnerUin"]), (&json!(alice.uin.to_string()), &json!(root.uin.to_string())));
    assert_eq!(kms.err(&alice, "ListKeys", json!({})).await, "UnauthorizedOperation");
    for action in ["ListUsers", "ListAccessKeys", "GetAccountSummary", "CreateAccessKey"] {
        assert_eq!(kms.cam_err(&alice, action, json!({})).await, "UnauthorizedOperation", "{action}");
    }

    let target = |more: Value| support::hosted::with(&json!({ "TargetUin": alice.uin }), more);
    kms.clock.advance(Duration::from_secs(60));
    let made = kms.cam(&root, "CreateAccessKey", target(json!({ "Description": "second" }))).await;
    let key = &made["AccessKey"];
    let second = key["AccessKeyId"].as_str().unwrap();
    assert_eq!((&key["Status"], &key["Description"]), (&json!("Active"), &json!("second")));
    let alice_2 = root.with_key(alice.uin, second, key["SecretAccessKey"].as_str().unwrap());
    kms.cam(&alice_2, "GetUserAppId", json!({})).await;
    let record = record(&kms, &made);
    assert_eq!(record["subjects"], json!([format!("uin/{}", alice.uin), format!("accesskey/{second}")]));
    assert!(!kms.audit().contains(key["SecretAccessKey"].as_str().unwrap()));
    let refused = kms.cam_err(&root, "CreateAccessKey", target(json!({}))).await;
    assert_eq!(refused, "OperationDenied.AccessKeyOverLimit");
    let list = kms.cam(&root, "ListAccessKeys", target(json!({}))).await["AccessKeys"].clone();
    assert_eq!(names(&list, "AccessKeyId"), [&alice.secret_id, second]);
    let expected = json!({ "AccessKeyId": second, "Status": "Active", "CreateTime": "2026-11-24 14:01:00", "Description": "second" });
    assert_eq!(list[1], expected);

    let set = |status: &str| target(json!({ "AccessKeyId": second, "Status": status }));
    assert_eq!(kms.cam_err(&root, "UpdateAccessKey", set("active")).await, "InvalidParameter.ParamError");
    let delete = target(json!({ "AccessKeyId": second }));
    kms.cam(&root, "UpdateAccessKey", set("Inactive")).await;
    assert_eq!(kms.cam_err(&alice_2, "GetUserAppId", json!({})).await, "AuthFailure.SecretIdNotFound");
    kms.cam(&root, "UpdateAccessKey", set("Inactive")).await;
    kms.cam(&root, "UpdateAccessKey", set("Active")).await;
    kms.cam(&alice_2, "GetUserAppId", json!({})).await;
    kms.cam(&root, "UpdateAccessKey", set("Inactive")).await;
    let list = kms.cam(&root, "ListAccessKeys", target(json!({}))).await["AccessKeys"].clone();
    assert_eq!(names(&list, "Status"), ["Active", "Inactive"]);
    let refused = kms.cam_err(&root, "CreateAccessKey", target(json!({}))).await;
    assert_eq!(refused, "OperationDenied.AccessKeyOverLimit", "a disabled one counts");
    kms.cam(&root, "DeleteAccessKey", delete.clone()).await;
    assert_eq!(kms.cam_err(&root, "DeleteAccessKey", delete).await, "ResourceNotFound.SecretNotExist");
    assert_eq!(kms.cam_err(&alice_2, "GetUserAppId", json!({})).await, "AuthFailure.SecretIdNotFound");
    // An enabled one goes as well.
    let third = kms.cam(&root, "CreateAccessKey", target(json!({}))).await["AccessKey"].clone();
    let id = third["AccessKeyId"].as_str().unwrap();
    let alice_3 = root.with_key(alice.uin, id, third["SecretAccessKey"].as_str().unwrap());
    kms.cam(&alice_3, "GetUserAppId", json!({})).await;
    kms.cam(&root, "DeleteAccessKey", target(json!({ "AccessKeyId": id }))).await;
    assert_eq!(kms.cam_err(&alice_3, "GetUserAppId", json!({})).await, "AuthFailure.SecretIdNotFound");

    // Whose it is has to be said right.
    let params = json!({ "AccessKeyId": alice.secret_id, "Status": "Inactive" });
    assert_eq!(kms.cam_err(&root, "UpdateAccessKey", params).await, "OperationDenied.UinNotMatch");
    let params = target(json!({ "AccessKeyId": root.secret_id, "Status": "Inactive" }));
    assert_eq!(kms.cam_err(&root, "UpdateAccessKey", params).await, "OperationDenied.UinNotMatch");
    for unknown in ["", "AKIDnone", "no id at all"] {
        let params = target(json!({ "AccessKeyId": unknown, "Status": "Active" }));
        assert_eq!(kms.cam_err(&root, "UpdateAccessKey", params).await, "ResourceNotFound.SecretNotExist");
    }
    let refused = kms.cam_err(&root, "CreateAccessKey", json!({ "TargetUin": 7 })).await;
    assert_eq!(refused, "InvalidParameter.UserNotExist");
    let refused = kms.cam_err(&root, "CreateAccessKey", target(json!({ "Description": "d".repeat(257) }))).await;
    assert_eq!(refused, "InvalidParameter");
}

/// With its keys the user goes, and whoever signs with one of them is nobody at once.
#[tokio::test]
async fn a_removed_user_is_gone_with_keys_and_memberships() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let alice = kms.sub_user(&root, "alice").await;
    let group = kms.cam(&root, "CreateGroup", json!({ "GroupName": "g" })).await["GroupId"].clone();
    let pair = json!({ "Info": [{ "GroupId": group, "Uin": alice.uin }] });
    kms.cam(&root, "AddUserToGroup", pair).await;
    assert_eq!(kms.cam_err(&root, "DeleteUser", json!({ "Name": "alice" })).await, "OperationDenied.HaveKeys");
    let refused = kms.cam_err(&root, "DeleteUser", json!({ "Name": "alice", "Force": 0 })).await;
    assert_eq!(refused, "OperationDenied.HaveKeys");
    kms.cam(&alice, "GetUserAppId", json!({})).await;
    let gone = kms.cam(&root, "DeleteUser", json!({ "Name": "alice", "Force": 1 })).await;
    assert_eq!(kms.cam_err(&alice, "GetUserAppId", json!({})).await, "AuthFailure.SecretIdNotFound");
    let subjects = json!([format!("uin/{}", alice.uin), format!("accesskey/{}", alice.secret_id)]);
    assert_eq!(record(&kms, &gone)["subjects"], subjects);
    assert_eq!(kms.cam(&root, "GetGroup", json!({ "GroupId": group })).await["UserInfo"], json!([]));

    // Another one of that name is another one.
    let other = kms.sub_user(&root, "alice").await;
    assert_ne!(other.uin, alice.uin);
    let kms = kms.restart().await;
    kms.cam(&other, "GetUserAppId", json!({})).await;
    assert_eq!(kms.cam_err(&alice, "GetUserAppId", json!({})).await, "AuthFailure.SecretIdNotFound");
}

#[tokio::test]
async fn the_main_account_manages_its_own_keys() {
    let kms = Kms::start().await;
    let new = kms.svc.create_account("test").await.unwrap();
    let product = jadeseal_types::Alias::parse("cos").unwrap();
    let account = new.account;
    let root: User = new.into();
    let cos: User = kms.svc.accounts().grant(account, &product).await.unwrap().unwrap().into();
    let list = kms.cam(&root, "ListAccessKeys", json!({})).await["AccessKeys"].clone();
    assert_eq!(names(&list, "AccessKeyId"), [root.secret_id.as_str()], "not the product's");
    let second = kms.cam(&root, "CreateAccessKey", json!({})).await["AccessKey"].clone();
    let id = second["AccessKeyId"].as_str().unwrap();
    let root_2 = root.with_key(root.uin, id, second["SecretAccessKey"].as_str().unwrap());
    let refused = kms.cam_err(&root, "CreateAccessKey", json!({ "TargetUin": root.uin })).await;
    assert_eq!(refused, "OperationDenied.AccessKeyOverLimit");

    // Of a product's key these actions know nothing, and a product may none of them.
    let params = json!({ "AccessKeyId": cos.secret_id, "Status": "Inactive" });
    assert_eq!(kms.cam_err(&root, "UpdateAccessKey", params.clone()).await, "ResourceNotFound.SecretNotExist");
    assert_eq!(
        kms.cam_err(&root, "DeleteAccessKey", json!({ "AccessKeyId": cos.secret_id })).await,
        "ResourceNotFound.SecretNotExist"
    );
    let refused = kms.cam_err(&root, "GetSecurityLastUsed", json!({ "SecretIdList": [cos.secret_id] })).await;
    assert_eq!(refused, "ResourceNotFound.SecretNotExist");
    for action in ["CreateAccessKey", "ListAccessKeys", "ListUsers"] {
        assert_eq!(kms.cam_err(&cos, action, json!({})).await, "UnauthorizedOperation", "{action}");
    }

    // One key can disable another, the last one no key, not even itself.
    let set = |id: &str, status: &str| json!({ "AccessKeyId": id, "Status": status });
    kms.cam(&root_2, "UpdateAccessKey", set(&root.secret_id, "Inactive")).await;
    assert_eq!(kms.cam_err(&root, "GetUserAppId", json!({})).await, "AuthFailure.SecretIdNotFound");
    assert_eq!(kms.cam_err(&root_2, "UpdateAccessKey", set(id, "Inactive")).await, "FailedOperation.Accesskey");
    assert_eq!(
        kms.cam_err(&root_2, "DeleteAccessKey", json!({ "AccessKeyId": id })).await,
        "FailedOperation.Accesskey"
    );
    kms.cam(&root_2, "DeleteAccessKey", json!({ "AccessKeyId": root.secret_id })).await;
    kms.cam(&root_2, "ListUsers", json!({})).await;
    // Of two that are enabled one may go, even the one that it is signed with.
    let third = kms.cam(&root_2, "CreateAccessKey", json!({})).await["AccessKey"].clone();
    kms.cam(&root_2, "DeleteAccessKey", json!({ "AccessKeyId": id })).await;
    let id = third["AccessKeyId"].as_str().unwrap();
    let root_3 = root.with_key(root.uin, id, third["SecretAccessKey"].as_str().unwrap());
    let refused =
        kms.call_version(&root_3, support::CAM_VERSION, "DeleteAccessKey", json!({ "AccessKeyId": id })).await;
    assert_eq!(code(&refused), "FailedOperation.Accesskey");
    assert!(refused["Error"]["Message"].as_str().unwrap().contains("last enabled"), "{refused}");
}

/// Both at once: each sees one other key that is enabled, but only one of them can be right.
#[tokio::test]
async fn two_keys_do_not_disable_each_other() {
    let kms = Arc::new(Kms::start().await);
    let root = kms.user().await;
    let second = kms.cam(&root, "CreateAccessKey", json!({})).await["AccessKey"].clone();
    let id = second["AccessKeyId"].as_str().unwrap();
    let root_2 = root.with_key(root.uin, id, second["SecretAccessKey"].as_str().unwrap());
    let first = json!({ "AccessKeyId": root.secret_id, "Status": "Inactive" });
    let other = json!({ "AccessKeyId": id, "Status": "Inactive" });
    tokio::join!(
        kms.call_version(&root_2, support::CAM_VERSION, "UpdateAccessKey", first),
        kms.call_version(&root, support::CAM_VERSION, "UpdateAccessKey", other),
    );
    let mut alive = 0;
    for key in [&root, &root_2] {
        alive += usize::from(
            kms.call_version(key, support::CAM_VERSION, "GetUserAppId", json!({})).await["Error"].is_null(),
        );
    }
    assert_eq!(alive, 1);
}

#[tokio::test]
async fn last_uses() {
    let mut kms = Kms::start().await;
    let root = kms.user().await;
    let alice = kms.sub_user(&root, "alice").await;
    let ask = json!({ "SecretIdList": [alice.secret_id, root.secret_id] });
    let rows = kms.cam(&root, "GetSecurityLastUsed", ask.clone()).await["SecretIdLastUsedRows"].clone();
    let never = json!({ "SecretId": alice.secret_id, "LastUsedDate": "", "LastSecretUsedDate": 0 });
    assert_eq!(rows[0], never);
    assert_eq!(
        (&rows[1]["LastUsedDate"], &rows[1]["LastSecretUsedDate"]),
        (&json!("2026-11-24"), &json!(support::START * 1000))
    );
    // Ten hours later it is the next day in Beijing.
    kms.pass_time(Duration::from_secs(10 * 3600)).await;
    kms.cam(&alice, "GetUserAppId", json!({})).await;
    let used = (support::START + 10 * 3600) * 1000;
    let expected = json!({ "SecretId": alice.secret_id, "LastUsedDate": "2026-11-25", "LastSecretUsedDate": used });
    let rows = kms.cam(&root, "GetSecurityLastUsed", ask.clone()).await["SecretIdLastUsedRows"].clone();
    assert_eq!(rows[0], expected);
    // Saved, it is remembered beyond a restart.
    kms.pass_time(Duration::from_secs(120)).await;
    let kms = kms.restart().await;
    let rows = kms.cam(&root, "GetSecurityLastUsed", ask).await["SecretIdLastUsedRows"].clone();
    assert_eq!(rows[0], expected);
    for (ids, expected) in [
        (json!([]), "InvalidParameter"),
        (json!(vec![&root.secret_id; 11]), "InvalidParameter"),
        (json!([root.secret_id, "AKIDunknown"]), "ResourceNotFound.SecretNotExist"),
    ] {
        let refused = kms.cam_err(&root, "GetSecurityLastUsed", json!({ "SecretIdList": ids })).await;
        assert_eq!(refused, expected, "{ids}");
    }
}

#[tokio::test]
async fn groups_and_who_is_in_them() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let made = kms.cam(&root, "CreateGroup", json!({ "GroupName": "运维 ops", "Remark": "r" })).await;
    let group = made["GroupId"].as_u64().unwrap();
    assert!((1_000_000..9_000_000).contains(&group));
    assert_eq!(record(&kms, &made)["subjects"], json!([format!("groupid/{group}")]));
    kms.clock.advance(Duration::from_secs(1));
    let other = kms.cam(&root, "CreateGroup", json!({ "GroupName": "dev" })).await["GroupId"].as_u64().unwrap();
    for (name, expected) in [
        ("x".repeat(65), "InvalidParameter.ParamError"),
        ("a\tb".into(), "InvalidParameter.ParamError"),
        ("a\0".into(), "InvalidParameter.ParamError"),
        ("a\u{202e}b".into(), "InvalidParameter.ParamError"),
        ("\u{2066}a".into(), "InvalidParameter.ParamError"),
        ("a\u{200f}".into(), "InvalidParameter.ParamError"),
        ("dev".into(), "InvalidParameter.GroupNameInUse"),
    ] {
        let refused = kms.cam_err(&root, "CreateGroup", json!({ "GroupName": name })).await;
        assert_eq!(refused, expected, "{name:?}");
        let refused = kms.cam_err(&root, "UpdateGroup", json!({ "GroupId": group, "GroupName": name })).await;
        assert_eq!(refused, expected, "{name:?}");
    }
    assert_eq!(kms.cam_err(&root, "CreateGroup", json!({ "GroupName": "" })).await, "InvalidParameter.ParamError");
    kms.cam(&root, "UpdateGroup", json!({ "GroupId": group, "GroupName": "" })).await;
    for remark in ["\0", "a\u{7}", "a\u{202a}b", "\u{2069}", "\u{200e}"] {
        let given = json!({ "GroupId": group, "Remark": remark });
        assert_eq!(kms.cam_err(&root, "UpdateGroup", given).await, "InvalidParameter", "{remark:?}");
        let given = json!({ "GroupName": "new", "Remark": remark });
        assert_eq!(kms.cam_err(&root, "CreateGroup", given).await, "InvalidParameter", "{remark:?}");
        let given = json!({ "Name": "new", "Remark": remark });
        assert_eq!(kms.cam_err(&root, "AddUser", given).await, "InvalidParameter", "{remark:?}");
    }
    kms.cam(&root, "UpdateGroup", json!({ "GroupId": other, "Remark": "zwei\r\n\tZeilen" })).await;
    kms.cam(&root, "UpdateGroup", json!({ "GroupId": other, "GroupName": "dev", "Remark": "d" })).await;
    kms.cam(&root, "UpdateGroup", json!({ "GroupId": other })).await;
    kms.cam(&root, "UpdateGroup", json!({ "GroupId": group, "GroupName": "ops" })).await;
    let list = kms.cam(&root, "ListGroups", json!({})).await;
    assert_eq!(
        (&list["TotalNum"], names(&list["GroupInfo"], "GroupName")),
        (&json!(2), vec!["ops".into(), "dev".into()])
    );
    assert_eq!(names(&list["GroupInfo"], "Remark"), ["r", "d"]);
    let list = kms.cam(&root, "ListGroups", json!({ "Page": 2, "Rp": 1 })).await;
    assert_eq!((&list["TotalNum"], names(&list["GroupInfo"], "GroupName")), (&json!(2), vec!["dev".into()]));
    let list = kms.cam(&root, "ListGroups", json!({ "Keyword": "op" })).await;
    assert_eq!((&list["TotalNum"], names(&list["GroupInfo"], "GroupName")), (&json!(1), vec!["ops".into()]));
    assert_eq!(kms.cam_err(&root, "ListGroups", json!({ "Rp": 201 })).await, "InvalidParameter");
    let list = kms.cam(&root, "ListGroups", json!({ "Page": 0, "Rp": 0 })).await;
    assert_eq!(list["GroupInfo"].as_array().unwrap().len(), 2, "as when they are left out");

    let uin = |answer: Value| answer["Uin"].as_u64().unwrap();
    let alice = uin(kms.cam(&root, "AddUser", json!({ "Name": "alice", "Email": "a@b" })).await);
    let bob = uin(kms.cam(&root, "AddUser", json!({ "Name": "bob" })).await);
    let info = json!({ "Info": [
        { "GroupId": group, "Uin": alice }, { "GroupId": group, "Uid": bob }, { "GroupId": group, "Uid": bob, "Uin": bob },
        { "GroupId": other, "Uin": alice },
    ] });
    kms.cam(&root, "AddUserToGroup", info.clone()).await;
    let again = kms.cam(&root, "AddUserToGroup", info).await;
    assert_eq!(record(&kms, &again)["subjects"], Value::Null, "nothing was to be changed");
    let whole = kms.cam(&root, "GetGroup", json!({ "GroupId": group })).await;
    assert_eq!((&whole["GroupNum"], &whole["GroupName"]), (&json!(2), &json!("ops")));
    let of_alice = whole["UserInfo"].as_array().unwrap().iter().find(|user| user["Uin"] == alice).unwrap();
    assert_eq!(
        (&of_alice["Uid"], &of_alice["Name"], &of_alice["Email"]),
        (&json!(alice), &json!("alice"), &json!("a@b"))
    );
    let list = kms.cam(&root, "ListUsersForGroup", json!({ "GroupId": group, "Rp": 1 })).await;
    assert_eq!((&list["TotalNum"], list["UserInfo"].as_array().unwrap().len()), (&json!(2), 1));
    for by in ["Uid", "SubUin"] {
        let list = kms.cam(&root, "ListGroupsForUser", json!({ by: alice })).await;
        assert_eq!(names(&list["GroupInfo"], "GroupName"), ["ops", "dev"]);
    }
    assert_eq!(kms.cam(&root, "GetAccountSummary", json!({})).await["Member"], 3);

    // All or nothing.
    for action in ["AddUserToGroup", "RemoveUserFromGroup"] {
        for (last, expected) in [
            (json!({ "GroupId": 7, "Uin": bob }), "InvalidParameter.GroupNotExist"),
            (json!({ "GroupId": other, "Uin": 7 }), "ResourceNotFound.UserNotExist"),
            (json!({ "GroupId": other, "Uin": root.uin }), "ResourceNotFound.UserNotExist"),
            (json!({ "GroupId": other }), "InvalidParameter.UserUinAndUinNotAllNull"),
            (json!({ "GroupId": other, "Uin": bob, "Uid": alice }), "InvalidParameter.ParamError"),
            (json!({ "Uin": bob }), "MissingParameter"),
        ] {
            let info = json!({ "Info": [{ "GroupId": other, "Uin": bob }, { "GroupId": group, "Uin": alice }, last] });
            assert_eq!(kms.cam_err(&root, action, info).await, expected, "{action} {last}");
        }
        for count in [0, 101] {
            let info = json!({ "Info": vec![json!({ "GroupId": group, "Uin": alice }); count] });
            assert_eq!(kms.cam_err(&root, action, info).await, "InvalidParameter");
        }
    }
    assert_eq!(kms.cam(&root, "GetAccountSummary", json!({})).await["Member"], 3);

    let info = json!({ "Info": [{ "GroupId": group, "Uin": alice }, { "GroupId": other, "Uin": bob }] });
    kms.cam(&root, "RemoveUserFromGroup", info.clone()).await;
    kms.cam(&root, "RemoveUserFromGroup", info).await;
    let whole = kms.cam(&root, "GetGroup", json!({ "GroupId": group })).await;
    assert_eq!(names(&whole["UserInfo"], "Name"), ["bob"]);
    kms.cam(&root, "DeleteGroup", json!({ "GroupId": group })).await;
    for action in ["GetGroup", "UpdateGroup", "DeleteGroup", "ListUsersForGroup"] {
        let refused = kms.cam_err(&root, action, json!({ "GroupId": group })).await;
        assert_eq!(refused, "ResourceNotFound.GroupNotExist", "{action}");
    }
    let list = kms.cam(&root, "ListGroupsForUser", json!({ "Uid": bob })).await;
    assert_eq!(list["GroupInfo"], json!([]));
    let refused = kms.cam_err(&root, "ListGroupsForUser", json!({})).await;
    assert_eq!(refused, "InvalidParameter.UserUinAndUinNotAllNull");
    assert_eq!(kms.cam_err(&root, "ListGroupsForUser", json!({ "Uid": 7 })).await, "ResourceNotFound.UserNotExist");
}

#[tokio::test]
async fn a_user_is_in_ten_groups_at_most() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let alice = kms.cam(&root, "AddUser", json!({ "Name": "alice" })).await["Uin"].clone();
    let mut pairs = Vec::new();
    for n in 0..11 {
        let group = kms.cam(&root, "CreateGroup", json!({ "GroupName": format!("g{n}") })).await["GroupId"].clone();
        pairs.push(json!({ "GroupId": group, "Uin": alice }));
    }
    let refused = kms.cam_err(&root, "AddUserToGroup", json!({ "Info": pairs })).await;
    assert_eq!(refused, "InvalidParameter.UserGroupFull");
    assert_eq!(kms.cam(&root, "GetAccountSummary", json!({})).await["Member"], 0);
    kms.cam(&root, "AddUserToGroup", json!({ "Info": pairs[..10] })).await;
    let refused = kms.cam_err(&root, "AddUserToGroup", json!({ "Info": [pairs[10]] })).await;
    assert_eq!(refused, "InvalidParameter.UserGroupFull");
    kms.cam(&root, "AddUserToGroup", json!({ "Info": [pairs[3]] })).await;
}

#[tokio::test]
async fn an_account_has_so_many_groups_and_users() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    for n in 0..300 {
        kms.cam(&root, "CreateGroup", json!({ "GroupName": format!("g{n}") })).await;
    }
    let refused = kms.cam_err(&root, "CreateGroup", json!({ "GroupName": "more" })).await;
    assert_eq!(refused, "InvalidParameter.GroupFull");
    for n in 0..1000 {
        kms.cam(&root, "AddUser", json!({ "Name": format!("u{n}") })).await;
    }
    let refused = kms.cam_err(&root, "AddUser", json!({ "Name": "more" })).await;
    assert_eq!(refused, "InvalidParameter.SubUserFull");
    assert_eq!(kms.cam(&root, "ListUsers", json!({})).await["Data"].as_array().unwrap().len(), 1000);
    kms.cam(&root, "DeleteUser", json!({ "Name": "u7" })).await;
    kms.cam(&root, "AddUser", json!({ "Name": "more" })).await;
}

/// The same names in two accounts are two things, and a number of the one leads nowhere in the other.
#[tokio::test]
async fn accounts_do_not_reach_each_other() {
    let kms = Kms::start().await;
    let (one, two) = (kms.user().await, kms.user().await);
    let (alice, other) = (kms.sub_user(&one, "alice").await, kms.sub_user(&two, "alice").await);
    let g1 = kms.cam(&one, "CreateGroup", json!({ "GroupName": "g" })).await["GroupId"].clone();
    let g2 = kms.cam(&two, "CreateGroup", json!({ "GroupName": "g" })).await["GroupId"].clone();
    assert_ne!(g1, g2);
    kms.cam(&one, "AddUserToGroup", json!({ "Info": [{ "GroupId": g1, "Uin": alice.uin }] })).await;
    let found = kms.cam(&two, "GetUser", json!({ "Name": "alice" })).await;
    assert_eq!(found["Uin"], other.uin);
    for (action, params, expected) in [
        ("GetGroup", json!({ "GroupId": g1 }), "ResourceNotFound.GroupNotExist"),
        ("UpdateGroup", json!({ "GroupId": g1, "Remark": "x" }), "ResourceNotFound.GroupNotExist"),
        ("DeleteGroup", json!({ "GroupId": g1 }), "ResourceNotFound.GroupNotExist"),
        ("ListUsersForGroup", json!({ "GroupId": g1 }), "ResourceNotFound.GroupNotExist"),
        ("ListGroupsForUser", json!({ "Uid": alice.uin }), "ResourceNotFound.UserNotExist"),
        ("AddUserToGroup", json!({ "Info": [{ "GroupId": g2, "Uin": alice.uin }] }), "ResourceNotFound.UserNotExist"),
        ("AddUserToGroup", json!({ "Info": [{ "GroupId": g1, "Uin": other.uin }] }), "InvalidParameter.GroupNotExist"),
        (
            "RemoveUserFromGroup",
            json!({ "Info": [{ "GroupId": g1, "Uin": alice.uin }] }),
            "InvalidParameter.GroupNotExist",
        ),
        ("CreateAccessKey", json!({ "TargetUin": alice.uin }), "InvalidParameter.UserNotExist"),
        ("CreateAccessKey", json!({ "TargetUin": one.uin }), "InvalidParameter.UserNotExist"),
        ("ListAccessKeys", json!({ "TargetUin": alice.uin }), "InvalidParameter.UserNotExist"),
        ("ListAccessKeys", json!({ "TargetUin": one.uin }), "InvalidParameter.UserNotExist"),
        (
            "UpdateAccessKey",
            json!({ "AccessKeyId": alice.secret_id, "Status": "Inactive" }),
            "ResourceNotFound.SecretNotExist",
        ),
        (
            "UpdateAccessKey",
            json!({ "AccessKeyId": alice.secret_id, "Status": "Inactive", "TargetUin": alice.uin }),
            "InvalidParameter.UserNotExist",
        ),
        ("DeleteAccessKey", json!({ "AccessKeyId": one.secret_id }), "ResourceNotFound.SecretNotExist"),
        ("GetSecurityLastUsed", json!({ "SecretIdList": [alice.secret_id] }), "ResourceNotFound.SecretNotExist"),
    ] {
        assert_eq!(kms.cam_err(&two, action, params.clone()).await, expected, "{action} {params}");
    }
    let found = kms.cam(&two, "DescribeSubAccounts", json!({ "FilterSubAccountUin": [alice.uin] })).await;
    assert_eq!(found["SubAccounts"], json!([]));
    kms.cam(&two, "DeleteUser", json!({ "Name": "alice", "Force": 1 })).await;
    kms.cam(&two, "DeleteGroup", json!({ "GroupId": g2 })).await;
    kms.cam(&alice, "GetUserAppId", json!({})).await;
    let whole = kms.cam(&one, "GetGroup", json!({ "GroupId": g1 })).await;
    assert_eq!((names(&whole["UserInfo"], "Name"), &whole["Remark"]), (vec!["alice".to_owned()], &json!("")));
}

/// Many at once: two access keys and no more, and no user is lost or refused because others are made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_once() {
    let kms = Arc::new(Kms::start().await);
    let root = Arc::new(kms.user().await);
    let uin = kms.cam(&root, "AddUser", json!({ "Name": "alice" })).await["Uin"].clone();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let (kms, root, params) = (kms.clone(), root.clone(), json!({ "TargetUin": uin }));
        tasks.spawn(async move { kms.call_version(&root, support::CAM_VERSION, "CreateAccessKey", params).await });
    }
    let answers = tasks.join_all().await;
    let made = answers.iter().filter(|answer| answer["Error"].is_null()).count();
    let refused = answers.iter().filter(|a| !a["Error"].is_null()).map(code);
    assert!(refused.collect::<Vec<_>>().iter().all(|code| code == "OperationDenied.AccessKeyOverLimit"), "{answers:?}");
    assert_eq!(made, 2);
    let list = kms.cam(&root, "ListAccessKeys", json!({ "TargetUin": uin })).await;
    assert_eq!(list["AccessKeys"].as_array().unwrap().len(), 2);

    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..120 {
        let (kms, root) = (kms.clone(), root.clone());
        let params = json!({ "Name": format!("u{}", n / 2) });
        tasks.spawn(async move { kms.call_version(&root, support::CAM_VERSION, "AddUser", params).await });
    }
    let answers = tasks.join_all().await;
    let refused: Vec<_> = answers.iter().filter(|a| !a["Error"].is_null()).map(code).collect();
    assert_eq!(refused, vec!["InvalidParameter.SubUserNameInUse"; 60]);
    for answer in answers.iter().filter(|a| a["Error"].is_null()) {
        // A record names what was made, not what was tried.
        assert_eq!(record(&kms, answer)["subjects"], json!([format!("uin/{}", answer["Uin"])]));
    }
}

/// Makes a policy and attaches it to a user.
async fn permit(kms: &Kms, root: &User, user: &User, statements: Value) {
    let document = json!({ "version": "2.0", "statement": statements }).to_string();
    let name = format!("of-{}", user.secret_id);
    let policy = kms.cam(root, "CreatePolicy", json!({ "PolicyName": name, "PolicyDocument": document })).await;
    let attach = json!({ "AttachUin": user.uin, "PolicyId": policy["PolicyId"] });
    kms.cam(root, "AttachUserPolicy", attach).await;
}

/// Whoever may everything may not be the main account.
#[tokio::test]
async fn keys_of_the_main_account_are_its_own() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let admin = kms.sub_user(&root, "admin").await;
    kms.cam(&root, "AttachUserPolicy", json!({ "AttachUin": admin.uin, "PolicyId": 1 })).await;
    kms.create(&admin, "by-admin").await;
    for (action, params) in [
        ("CreateAccessKey", json!({ "TargetUin": root.uin })),
        ("ListAccessKeys", json!({ "TargetUin": root.uin })),
        ("UpdateAccessKey", json!({ "TargetUin": root.uin, "AccessKeyId": root.secret_id, "Status": "Inactive" })),
        ("DeleteAccessKey", json!({ "TargetUin": root.uin, "AccessKeyId": root.secret_id })),
    ] {
        assert_eq!(kms.cam_err(&admin, action, params).await, "OperationDenied.SubUin", "{action}");
    }
    for target in [json!({}), json!({ "TargetUin": admin.uin })] {
        let disable = json!({ "AccessKeyId": root.secret_id, "Status": "Inactive" });
        let disable = support::hosted::with(&disable, target);
        assert_eq!(kms.cam_err(&admin, "UpdateAccessKey", disable).await, "OperationDenied.UinNotMatch");
    }
    kms.cam(&root, "GetUserAppId", json!({})).await;

    // His own are those of nobody named, and he may disable the one that he signs with.
    let made = kms.cam(&admin, "CreateAccessKey", json!({})).await["AccessKey"].clone();
    let list = kms.cam(&admin, "ListAccessKeys", json!({ "TargetUin": null })).await["AccessKeys"].clone();
    for nobody in [json!(0), json!("0"), json!("00")] {
        let again = kms.cam(&admin, "ListAccessKeys", json!({ "TargetUin": nobody })).await["AccessKeys"].clone();
        assert_eq!(again, list, "{nobody}");
    }
    let mut expected = vec![admin.secret_id.clone(), made["AccessKeyId"].as_str().unwrap().to_owned()];
    expected.sort();
    assert_eq!(names(&list, "AccessKeyId"), expected, "of one second, so by id");
    let disable = json!({ "AccessKeyId": admin.secret_id, "Status": "Inactive" });
    kms.cam(&admin, "UpdateAccessKey", disable).await;
    assert_eq!(kms.err(&admin, "ListKeys", json!({})).await, "AuthFailure.SecretIdNotFound");
    // He may remove himself, too.
    let second = root.with_key(admin.uin, &expected[usize::from(expected[0] == admin.secret_id)], "");
    let second = root.with_key(admin.uin, &second.secret_id, made["SecretAccessKey"].as_str().unwrap());
    kms.cam(&second, "DeleteUser", json!({ "Name": "admin", "Force": 1 })).await;
    assert_eq!(kms.err(&second, "ListKeys", json!({})).await, "AuthFailure.SecretIdNotFound");
}

/// Each action is asked about the very users and groups that it names.
#[tokio::test]
async fn policies_say_about_whom() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let (alice, bob) = (kms.sub_user(&root, "alice").await, kms.sub_user(&root, "bob").await);
    let group = async |name: &str| kms.cam(&root, "CreateGroup", json!({ "GroupName": name })).await["GroupId"].clone();
    let (dev, ops) = (group("dev").await, group("ops").await);
    let on = |last: String| format!("qcs::cam::uin/{}:{last}", root.uin);
    let statement = json!([{ "effect": "allow", "action": "cam:*",
        "resource": [on(format!("uin/{}", bob.uin)), on(format!("groupid/{dev}"))] }]);
    permit(&kms, &root, &alice, statement).await;
    let pair = |group: &Value, uin: u64| json!({ "GroupId": group, "Uin": uin });
    for (action, params) in [
        ("GetUser", json!({ "Name": "bob" })),
        ("UpdateUser", json!({ "Name": "bob", "Remark": "x" })),
        ("GetGroup", json!({ "GroupId": dev })),
        ("UpdateGroup", json!({ "GroupId": dev, "Remark": "x" })),
        ("ListUsersForGroup", json!({ "GroupId": dev })),
        ("ListGroupsForUser", json!({ "Uid": bob.uin })),
        ("ListAccessKeys", json!({ "TargetUin": bob.uin })),
        ("AddUserToGroup", json!({ "Info": [pair(&dev, bob.uin)] })),
    ] {
        kms.cam(&alice, action, params).await;
    }
    for (action, params) in [
        ("GetUser", json!({ "Name": "alice" })),
        ("GetUser", json!({ "Name": "nobody" })),
        ("GetUser", json!({})),
        ("DeleteUser", json!({ "Name": "alice", "Force": 1 })),
        ("GetGroup", json!({ "GroupId": ops })),
        ("GetGroup", json!({ "GroupId": 7 })),
        ("DeleteGroup", json!({ "GroupId": ops })),
        ("ListGroupsForUser", json!({ "SubUin": alice.uin })),
        ("ListGroupsForUser", json!({ "Uid": bob.uin, "SubUin": alice.uin })),
        ("ListGroupsForUser", json!({})),
        ("ListAccessKeys", json!({})),
        ("ListAccessKeys", json!({ "TargetUin": "x" })),
        ("CreateAccessKey", json!({ "TargetUin": root.uin })),
        ("AddUserToGroup", json!({ "Info": [pair(&dev, bob.uin), pair(&ops, bob.uin)] })),
        ("AddUserToGroup", json!({ "Info": [pair(&dev, bob.uin), pair(&dev, alice.uin)] })),
        ("AddUserToGroup", json!({ "Info": [{ "GroupId": dev, "Uin": bob.uin, "Uid": alice.uin }] })),
        ("AddUserToGroup", json!({ "Info": [] })),
        ("RemoveUserFromGroup", json!({ "Info": [pair(&ops, bob.uin)] })),
        ("AddUser", json!({ "Name": "new" })),
        ("ListUsers", json!({})),
        ("CreateGroup", json!({ "GroupName": "new" })),
        ("ListGroups", json!({})),
        ("GetAccountSummary", json!({})),
        ("DescribeSubAccounts", json!({ "FilterSubAccountUin": [bob.uin] })),
        ("GetSecurityLastUsed", json!({ "SecretIdList": [bob.secret_id] })),
    ] {
        assert_eq!(kms.cam_err(&alice, action, params.clone()).await, "UnauthorizedOperation", "{action} {params}");
    }
    let whole = kms.cam(&root, "GetGroup", json!({ "GroupId": dev })).await;
    assert_eq!(names(&whole["UserInfo"], "Name"), ["bob"]);

    // A key whose policy is taken away can do nothing at once; a group gives and takes as well.
    permit(&kms, &root, &bob, json!([{ "effect": "allow", "action": "kms:ListKeys", "resource": "*" }])).await;
    kms.ok(&bob, "ListKeys", json!({})).await;
    kms.cam(&root, "AttachGroupPolicy", json!({ "AttachGroupId": ops, "PolicyId": 101 })).await;
    kms.cam(&root, "AddUserToGroup", json!({ "Info": [pair(&ops, bob.uin)] })).await;
    kms.create(&bob, "by-bob").await;
    kms.cam(&root, "RemoveUserFromGroup", json!({ "Info": [pair(&ops, bob.uin)] })).await;
    assert_eq!(kms.err(&bob, "CreateKey", json!({ "Alias": "more" })).await, "UnauthorizedOperation");
    kms.cam(&root, "AddUserToGroup", json!({ "Info": [pair(&ops, bob.uin)] })).await;
    kms.create(&bob, "more").await;
    kms.cam(&root, "DeleteGroup", json!({ "GroupId": ops })).await;
    assert_eq!(kms.err(&bob, "CreateKey", json!({ "Alias": "again" })).await, "UnauthorizedOperation");
}

/// A number that may be left out may be sent as 0, too. The policy is asked about whom the call is then about: a user who may
/// something to one of them reaches nobody else by any way to write it.
#[tokio::test]
async fn zero_names_nobody_else() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let (alice, bob, eve) =
        (kms.sub_user(&root, "alice").await, kms.sub_user(&root, "bob").await, kms.sub_user(&root, "eve").await);
    let group = kms.cam(&root, "CreateGroup", json!({ "GroupName": "dev" })).await["GroupId"].clone();
    let on = |last: String| format!("qcs::cam::uin/{}:{last}", root.uin);
    let resources = [on(format!("uin/{}", bob.uin)), on(format!("groupid/{group}"))];
    permit(&kms, &root, &alice, json!([{ "effect": "allow", "action": "cam:*", "resource": resources }])).await;
    let with = |mut params: Value, name: &str, value: Option<&Value>| {
        if let Some(value) = value {
            params[name] = value.clone();
        }
        params
    };
    let refused = "UnauthorizedOperation";
    let nothing = [None, Some(json!(null)), Some(json!(0)), Some(json!("0")), Some(json!("000"))];
    for value in nothing.iter().map(Option::as_ref) {
        let groups = |user: &User| with(json!({ "SubUin": user.uin }), "Uid", value);
        kms.cam(&alice, "ListGroupsForUser", groups(&bob)).await;
        assert_eq!(kms.cam_err(&alice, "ListGroupsForUser", groups(&eve)).await, refused, "{value:?}");
        let neither = with(with(json!({}), "Uid", value), "SubUin", value);
        assert_eq!(kms.cam_err(&alice, "ListGroupsForUser", neither.clone()).await, refused, "{value:?}");
        let code = kms.cam_err(&root, "ListGroupsForUser", neither).await;
        assert_eq!(code, "InvalidParameter.UserUinAndUinNotAllNull", "{value:?}");
        for (one, other) in [("Uin", "Uid"), ("Uid", "Uin")] {
            let pair = |user: &User| with(json!({ "GroupId": group, one: user.uin }), other, value);
            kms.cam(&alice, "AddUserToGroup", json!({ "Info": [pair(&bob)] })).await;
            kms.cam(&alice, "RemoveUserFromGroup", json!({ "Info": [pair(&bob)] })).await;
            for action in ["AddUserToGroup", "RemoveUserFromGroup"] {
                let info = json!({ "Info": [pair(&bob), pair(&eve)] });
                assert_eq!(kms.cam_err(&alice, action, info).await, refused, "{value:?}");
            }
        }
        // Without a target it is himself, who is none of those he may it to.
        let keys = with(json!({}), "TargetUin", value);
        let key =
            |user: &User| with(json!({ "AccessKeyId": user.secret_id, "Status": "Inactive" }), "TargetUin", value);
        for (action, params) in [
            ("ListAccessKeys", keys.clone()),
            ("CreateAccessKey", keys.clone()),
            ("UpdateAccessKey", key(&alice)),
            ("UpdateAccessKey", key(&bob)),
            ("DeleteAccessKey", with(json!({ "AccessKeyId": alice.secret_id }), "TargetUin", value)),
        ] {
            assert_eq!(kms.cam_err(&alice, action, params).await, refused, "{action} {value:?}");
        }
        assert_eq!(kms.cam_err(&root, "UpdateAccessKey", key(&bob)).await, "OperationDenied.UinNotMatch");
        let own = kms.cam(&root, "ListAccessKeys", keys).await["AccessKeys"].clone();
        assert_eq!(names(&own, "AccessKeyId"), [root.secret_id.as_str()], "{value:?}");
    }
    for odd in [json!(""), json!("x"), json!("+0"), json!("-0"), json!(-1), json!(false), json!([]), json!({})] {
        for (action, params) in [
            ("ListGroupsForUser", json!({ "SubUin": bob.uin, "Uid": odd })),
            ("AddUserToGroup", json!({ "Info": [{ "GroupId": group, "Uin": bob.uin, "Uid": odd }] })),
            ("ListAccessKeys", json!({ "TargetUin": odd })),
        ] {
            assert_eq!(kms.cam_err(&alice, action, params.clone()).await, refused, "{action} {odd}");
            assert_eq!(kms.cam_err(&root, action, params).await, "InvalidParameter", "{action} {odd}");
        }
    }
    let bobs = kms.cam(&alice, "ListAccessKeys", json!({ "TargetUin": bob.uin })).await["AccessKeys"].clone();
    assert_eq!(names(&bobs, "AccessKeyId"), [bob.secret_id.as_str()]);
}

/// Whoever may make users may make their first access key as well, unless a policy says that he may not.
#[tokio::test]
async fn a_policy_that_denies_access_keys_counts_for_new_users_too() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let (maker, held) = (kms.sub_user(&root, "maker").await, kms.sub_user(&root, "held").await);
    let make = json!({ "effect": "allow", "action": ["cam:AddUser", "cam:GetUser"], "resource": "*" });
    let deny = json!({ "effect": "deny", "action": "cam:CreateAccessKey", "resource": "*" });
    permit(&kms, &root, &maker, json!([make])).await;
    permit(&kms, &root, &held, json!([make, deny])).await;
    let made = kms.cam(&maker, "AddUser", json!({ "Name": "a", "UseApi": 1 })).await;
    assert!(made["SecretId"].as_str().unwrap().starts_with("AKID"));
    let refused = kms.call_version(&held, support::CAM_VERSION, "AddUser", json!({ "Name": "b", "UseApi": 1 })).await;
    assert_eq!(code(&refused), "UnauthorizedOperation");
    assert!(refused["Error"]["Message"].as_str().unwrap().contains("cam:CreateAccessKey"), "{refused}");
    assert_eq!(kms.cam_err(&held, "GetUser", json!({ "Name": "b" })).await, "ResourceNotFound.UserNotExist");
    let made = kms.cam(&held, "AddUser", json!({ "Name": "b", "UseApi": 0 })).await;
    assert_eq!(made["SecretId"], "");
}
