//! Member accounts: administrators act for the members of their organisation, and nobody else does for anybody.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use support::{
    Kms, User, code,
    hosted::{UNKNOWN, host, text, with},
};

const ROLE: &str = "UnsupportedOperation.NotRoleOperation";

/// Administrator, two members, and somebody outside.
struct Cast {
    kms: Kms,
    admin: User,
    member: User,
    sibling: User,
    stranger: User,
}

async fn cast() -> Cast {
    let mut kms = Kms::start().await;
    let (admin, member, sibling, stranger) = (kms.user().await, kms.user().await, kms.user().await, kms.user().await);
    kms.organise(&[admin.uin], &[member.uin, sibling.uin]);
    Cast { kms: kms.restart().await, admin, member, sibling, stranger }
}

fn member(user: &User) -> Value {
    json!({ "MemberAccount": { "MemberUin": user.uin, "MemberAppId": user.app_id } })
}

/// Every action that takes a MemberAccount, with parameters for a CMK and a data key.
fn actions(cmk: &str, data_key: &str) -> Vec<(&'static str, Value)> {
    let (one, many) = (json!({ "KeyId": cmk }), json!({ "KeyIds": [cmk] }));
    let (data, datas) = (json!({ "DataKeyId": data_key }), json!({ "DataKeyIds": [data_key] }));
    let days = json!({ "PendingWindowInDays": 7 });
    vec![
        ("DescribeKey", one.clone()),
        ("DescribeKeys", many.clone()),
        ("UpdateAlias", with(&one, json!({ "Alias": "renamed" }))),
        ("UpdateKeyDescription", with(&one, json!({ "Description": "by the admin" }))),
        ("GetKeyRotationStatus", one.clone()),
        ("EnableKeyRotation", one.clone()),
        ("RotateKey", one.clone()),
        ("DisableKeyRotation", one.clone()),
        ("ArchiveKey", one.clone()),
        ("CancelKeyArchive", one.clone()),
        ("DescribeDataKey", data.clone()),
        ("DescribeDataKeys", datas.clone()),
        ("GetDataKeyCiphertextBlob", data.clone()),
        ("UpdateDataKeyName", with(&data, json!({ "DataKeyName": "renamed" }))),
        ("UpdateDataKeyDescription", with(&data, json!({ "Description": "by the admin" }))),
        ("DisableDataKey", data.clone()),
        ("EnableDataKey", data.clone()),
        ("DisableDataKeys", datas.clone()),
        ("EnableDataKeys", datas),
        ("DisableDataKey", data.clone()),
        ("ScheduleDataKeyDeletion", with(&data, days.clone())),
        ("CancelDataKeyDeletion", data),
        ("DisableKey", one.clone()),
        ("EnableKey", one.clone()),
        ("DisableKeys", many.clone()),
        ("EnableKeys", many.clone()),
        ("DisableKey", one.clone()),
        ("ScheduleKeyDeletion", with(&one, days)),
        ("CancelKeyDeletion", one),
    ]
}

#[tokio::test]
async fn the_actions_are_those_of_the_table() {
    let table: Value = serde_json::from_str(&jadeseal_service::EXPORTS[0].json()).unwrap();
    let takes =
        |action: &Value| action["request"].as_array().unwrap().iter().any(|field| field["name"] == "MemberAccount");
    let known: BTreeSet<&str> = actions("", "").iter().map(|(name, _)| *name).collect();
    let exported = table["actions"].as_object().unwrap();
    let taking: BTreeSet<&str> = exported.iter().filter(|(_, a)| takes(a)).map(|(name, _)| name.as_str()).collect();
    assert_eq!(taking, known);
    assert_eq!(taking.len(), 27);
    for name in taking {
        let errors = exported[name]["errors"].as_array().unwrap();
        assert!(errors.contains(&json!(ROLE)), "{name}");
    }
}

#[tokio::test]
async fn an_administrator_does_everything_with_a_members_keys() {
    let Cast { kms, admin, member: owner, .. } = cast().await;
    let cmk = kms.create(&owner, "cmk").await;
    let (data_key, _) = host(&kms, &owner, &cmk, "d").await;
    for (action, params) in actions(&cmk, &data_key) {
        // Without naming the member, his key does not exist for the administrator.
        let refused = kms.err(&admin, action, params.clone()).await;
        assert!(refused.ends_with("NotFound"), "{action}: {refused}");
        let answer = kms.ok(&admin, action, with(&params, member(&owner))).await;
        let line = kms.audit().lines().find(|l| l.contains(answer["RequestId"].as_str().unwrap())).unwrap().to_owned();
        assert!(line.contains(r#"{"v":2,"#), "{line}");
        assert!(line.contains(&format!(r#""account":"{}""#, admin.uin)), "{line}");
        assert!(line.contains(&format!(r#""targets":["{}"]"#, owner.uin)), "{line}");
        assert!(line.contains(&cmk) || line.contains(&data_key), "{line}");
    }
    let meta = kms.ok(&owner, "DescribeKey", json!({ "KeyId": cmk })).await["KeyMetadata"].clone();
    assert_eq!(
        (&meta["Alias"], &meta["Description"], &meta["KeyState"]),
        (&json!("renamed"), &json!("by the admin"), &json!("Disabled"))
    );
    assert_eq!(meta["CreatorUin"], owner.uin);
    // The owner sees at once what was done, and his calls make records of version 1.
    let encrypt = json!({ "KeyId": cmk, "Plaintext": "eA==" });
    assert_eq!(kms.err(&owner, "Encrypt", encrypt.clone()).await, "ResourceUnavailable.CmkDisabled");
    kms.ok(&admin, "EnableKey", with(&json!({ "KeyId": cmk }), member(&owner))).await;
    let sealed = kms.ok(&owner, "Encrypt", encrypt.clone()).await;
    assert!(kms.audit().lines().last().unwrap().contains(r#"{"v":1,"#));
    // The data plane knows no member accounts.
    assert_eq!(kms.err(&admin, "Encrypt", with(&encrypt, member(&owner))).await, "UnknownParameter");
    let open = json!({ "CiphertextBlob": sealed["CiphertextBlob"] });
    assert_eq!(kms.err(&admin, "Decrypt", open).await, "InvalidParameterValue.InvalidCiphertext");
}

#[tokio::test]
async fn nobody_else_acts_for_anybody() {
    let Cast { kms, admin, member: owner, sibling, stranger } = cast().await;
    for (by, to) in [
        (&owner, &admin),
        (&owner, &sibling),
        (&owner, &owner),
        (&owner, &stranger),
        (&stranger, &owner),
        (&stranger, &admin),
        (&stranger, &stranger),
        (&admin, &stranger),
    ] {
        let cmk = kms.create(to, &format!("cmk-of-{}-for-{}", to.uin, by.uin)).await;
        let (data_key, _) = host(&kms, to, &cmk, &format!("d-{}-{}", to.uin, by.uin)).await;
        let before = kms.ok(to, "DescribeKey", json!({ "KeyId": cmk })).await["KeyMetadata"].clone();
        for named in
            [json!({ "MemberUin": to.uin }), json!({ "MemberAppId": to.app_id }), member(to)["MemberAccount"].clone()]
        {
            let named = json!({ "MemberAccount": named });
            for (action, params) in actions(&cmk, &data_key) {
                let answer = kms.call(by, action, with(&params, named.clone())).await;
                assert_eq!(code(&answer), ROLE, "{action}");
                let id = answer["RequestId"].as_str().unwrap();
                let line = kms.audit().lines().find(|l| l.contains(id)).unwrap().to_owned();
                assert!(line.contains(r#"{"v":1,"#), "nothing was acted for: {line}");
            }
        }
        assert_eq!(kms.ok(to, "DescribeKey", json!({ "KeyId": cmk })).await["KeyMetadata"], before);
    }
    // The same answer whether a key exists or not, and for an account that does not.
    for (by, named) in [(&stranger, owner.uin), (&admin, 1), (&admin, stranger.uin), (&stranger, 1)] {
        let params = json!({ "KeyId": UNKNOWN, "MemberAccount": { "MemberUin": named } });
        assert_eq!(kms.err(by, "DescribeKey", params).await, ROLE);
    }
}

#[tokio::test]
async fn how_an_account_is_named() {
    let Cast { mut kms, admin, member: owner, sibling, .. } = cast().await;
    let (mine, his) = (kms.create(&admin, "mine").await, kms.create(&owner, "his").await);
    let describe = async |kms: &Kms, key: &str, named: Value| {
        kms.call(&admin, "DescribeKey", json!({ "KeyId": key, "MemberAccount": named })).await
    };
    for named in [
        json!({ "MemberUin": owner.uin }),
        json!({ "MemberUin": owner.uin.to_string() }),
        json!({ "MemberAppId": owner.app_id }),
        json!({ "MemberAppId": owner.app_id, "MemberUin": owner.uin }),
        json!({ "MemberAppId": null, "MemberUin": owner.uin }),
    ] {
        let meta = describe(&kms, &his, named.clone()).await["KeyMetadata"].clone();
        assert_eq!((&meta["AccountUin"], &meta["AccountAppId"]), (&json!(owner.uin), &json!(owner.app_id)), "{named}");
        assert_eq!(meta["AccountName"], "test");
        let other = describe(&kms, &mine, named).await;
        assert_eq!(code(&other), "ResourceUnavailable.CmkNotFound", "the administrator's own key is not his");
    }
    // Nobody named: his own account, as if the parameter were absent.
    for named in [json!(null), json!({}), json!({ "MemberUin": null, "MemberAppId": null })] {
        let meta = describe(&kms, &mine, named.clone()).await["KeyMetadata"].clone();
        assert_eq!(
            (&meta["AccountUin"], &meta["AccountAppId"], &meta["AccountName"]),
            (&json!(null), &json!(null), &json!(null)),
            "{named}"
        );
    }
    // His own number: his own account, named.
    assert_eq!(describe(&kms, &mine, json!({ "MemberUin": admin.uin })).await["KeyMetadata"]["AccountUin"], admin.uin);
    assert_eq!(
        describe(&kms, &mine, json!({ "MemberAppId": admin.app_id })).await["KeyMetadata"]["AccountUin"],
        admin.uin
    );
    for named in [
        json!({ "MemberAppId": sibling.app_id, "MemberUin": owner.uin }),
        json!({ "MemberAppId": 1, "MemberUin": owner.uin }),
        json!({ "MemberAppId": 0, "MemberUin": 0 }),
        json!({ "MemberUin": u64::MAX }),
        json!({ "MemberAppId": 1 }),
    ] {
        assert_eq!(code(&describe(&kms, &his, named.clone()).await), ROLE, "{named}");
    }
    for (named, expected) in [
        (json!(owner.uin), "InvalidParameter"),
        (json!([owner.uin]), "InvalidParameter"),
        (json!({ "MemberUin": -1 }), "InvalidParameter"),
        (json!({ "MemberUin": "x" }), "InvalidParameter"),
        (json!({ "MemberUin": owner.uin, "Name": "x" }), "UnknownParameter"),
    ] {
        assert_eq!(code(&describe(&kms, &his, named.clone()).await), expected, "{named}");
    }
    // Wrong values are told before the role, the role before what exists.
    let odd = json!({ "KeyId": UNKNOWN, "PendingWindowInDays": 6, "MemberAccount": { "MemberUin": 1 } });
    assert_eq!(
        kms.err(&admin, "ScheduleKeyDeletion", odd.clone()).await,
        "InvalidParameter.InvalidPendingWindowInDays"
    );
    assert_eq!(kms.err(&admin, "ScheduleKeyDeletion", with(&odd, json!({ "PendingWindowInDays": 7 }))).await, ROLE);
    let twice = json!({ "KeyIds": [his, his], "MemberAccount": { "MemberUin": 1 } });
    assert_eq!(kms.err(&admin, "DescribeKeys", twice).await, "InvalidParameterValue.DuplicatedKeyId");
    // An account that is configured before it exists.
    kms.organise(&[admin.uin], &[owner.uin, 42]);
    let kms = kms.restart().await;
    assert_eq!(code(&describe(&kms, &his, json!({ "MemberUin": 42 })).await), ROLE);
    assert_eq!(code(&describe(&kms, &his, json!({ "MemberUin": sibling.uin })).await), ROLE, "a member no more");
}

#[tokio::test]
async fn lists_over_accounts() {
    let Cast { kms, admin, member: owner, sibling, stranger } = cast().await;
    let mut keys = Vec::new();
    for n in 0..9 {
        let user = [&admin, &owner, &sibling][n % 3];
        let cmk = kms.create(user, &format!("k-{n}")).await;
        let (data_key, _) = host(&kms, user, &cmk, &format!("d-{n}")).await;
        keys.push((user, cmk, data_key));
        kms.clock.advance(std::time::Duration::from_secs(1));
    }
    kms.create(&stranger, "other").await;
    let ask = |users: &[&User]| json!({ "MemberAccounts": users.iter().map(|u| json!({ "MemberUin": u.uin })).collect::<Vec<_>>() });
    for some in [vec![&owner], vec![&owner, &sibling], vec![&sibling, &admin], vec![&admin, &owner, &sibling]] {
        let of: Vec<_> = keys.iter().rev().filter(|(u, ..)| some.iter().any(|s| s.uin == u.uin)).collect();
        for (action, list, id, at) in
            [("ListKeyDetail", "KeyMetadatas", "KeyId", 1), ("ListDataKeyDetail", "DataKeyMetadatas", "DataKeyId", 2)]
        {
            let mut seen = Vec::new();
            while seen.len() < of.len() {
                let params = with(&ask(&some), json!({ "Offset": seen.len(), "Limit": 2 }));
                let page = kms.ok(&admin, action, params).await;
                assert_eq!(page["TotalCount"], of.len());
                let rows = page[list].as_array().unwrap();
                assert!(!rows.is_empty());
                seen.extend(rows.iter().map(|m| {
                    assert_eq!(m["AccountName"], "test");
                    (m["AccountUin"].as_u64().unwrap(), m["AccountAppId"].as_u64().unwrap(), text(&m[id]))
                }));
            }
            let expected = of.iter().map(|(u, c, d)| (u.uin, u.app_id, [c, d][at - 1].clone())).collect::<Vec<_>>();
            assert_eq!(seen, expected);
        }
    }
    let page = kms.ok(&admin, "ListKeyDetail", ask(&[&owner, &sibling])).await;
    let record = kms.audit().lines().find(|l| l.contains(page["RequestId"].as_str().unwrap())).unwrap().to_owned();
    assert!(record.contains(&format!(r#""targets":["{}","{}"]"#, owner.uin, sibling.uin)), "{record}");
    for action in ["ListKeyDetail", "ListDataKeyDetail"] {
        // His own account where nobody is named.
        for nobody in [json!({}), json!({ "MemberAccounts": [] }), json!({ "MemberAccounts": [{}] })] {
            let page = kms.ok(&admin, action, nobody.clone()).await;
            assert_eq!(page["TotalCount"], 3, "{nobody}");
            let row = page.get("KeyMetadatas").or_else(|| page.get("DataKeyMetadatas")).unwrap()[0].clone();
            assert_eq!(row["AccountUin"], Value::Null);
            assert_eq!(kms.ok(&owner, action, nobody).await["TotalCount"], 3);
        }
        let mixed = json!({ "MemberAccounts": [{}, { "MemberAppId": owner.app_id }] });
        assert_eq!(kms.ok(&admin, action, mixed).await["TotalCount"], 6);
        for (by, members, expected) in [
            (&owner, json!([{ "MemberUin": owner.uin }]), ROLE),
            (&owner, json!([{ "MemberUin": sibling.uin }]), ROLE),
            (&stranger, json!([{ "MemberUin": owner.uin }]), ROLE),
            (&admin, json!([{ "MemberUin": owner.uin }, { "MemberUin": stranger.uin }]), ROLE),
            (&admin, json!([{ "MemberUin": owner.uin }, { "MemberUin": owner.uin }]), "InvalidParameter"),
            (&admin, json!([{ "MemberUin": owner.uin }, { "MemberAppId": owner.app_id }]), "InvalidParameter"),
            (&admin, json!([{}, { "MemberUin": admin.uin }]), "InvalidParameter"),
            (&admin, json!(vec![json!({ "MemberUin": owner.uin }); 51]), "InvalidParameter"),
        ] {
            let params = json!({ "MemberAccounts": members });
            assert_eq!(kms.err(by, action, params.clone()).await, expected, "{action} {params}");
        }
        assert_eq!(
            kms.err(&owner, action, json!({ "MemberAccounts": [{ "MemberUin": 1 }], "OrderType": 9 })).await,
            "InvalidParameter"
        );
    }
    // Data keys of a CMK: it must be in one of the accounts.
    let (_, his, data_key) = keys.iter().find(|(u, ..)| u.uin == owner.uin).unwrap();
    let of_key = |users: &[&User]| with(&ask(users), json!({ "KeyId": his }));
    let page = kms.ok(&admin, "ListDataKeyDetail", of_key(&[&sibling, &owner])).await;
    assert_eq!((&page["TotalCount"], text(&page["DataKeyMetadatas"][0]["DataKeyId"])), (&json!(1), data_key.clone()));
    assert_eq!(kms.err(&admin, "ListDataKeyDetail", of_key(&[&sibling])).await, "ResourceUnavailable.CmkNotFound");
}

#[tokio::test]
async fn the_service_status_counts_members() {
    let Cast { kms, admin, member: owner, stranger, .. } = cast().await;
    for (user, used) in [(&admin, 2), (&owner, 0), (&stranger, 0)] {
        let status = kms.ok(user, "GetServiceStatus", json!({})).await;
        assert_eq!((&status["MultiAccountLimit"], &status["MultiAccountUsedCount"]), (&json!(1000), &json!(used)));
    }
}

/// A sub-user without a policy is refused, and told the resource that the policy was asked about: not that of a member's
/// account, whose number he may not know.
#[tokio::test]
async fn a_refusal_names_no_resource_of_a_member() {
    let Cast { kms, admin, member: owner, stranger, .. } = cast().await;
    let user = kms.sub_user(&admin, "user").await;
    let own = format!("\nqcs::kms:ap-guangzhou:uin/{}:key/creatorUin/{}/{UNKNOWN}]", admin.uin, user.uin);
    for (named, resource) in [(json!({}), own.as_str()), (member(&owner), "]"), (member(&stranger), "]")] {
        let answer = kms.call(&user, "DisableKey", with(&json!({ "KeyId": UNKNOWN }), named)).await;
        assert_eq!(code(&answer), "UnauthorizedOperation");
        let message = answer["Error"]["Message"].as_str().unwrap();
        assert!(message.ends_with(&format!("(kms:DisableKey){resource}")), "{message}");
    }
}

/// The policy of the caller is asked about the member's resource.
#[tokio::test]
async fn a_policy_can_be_about_the_keys_of_a_member() {
    let Cast { kms, admin, member: owner, sibling, .. } = cast().await;
    let user = kms.sub_user(&admin, "user").await;
    let document = json!({ "version": "2.0", "statement": [{ "effect": "allow", "action": "kms:Describe*",
        "resource": format!("qcs::kms::uin/{}:key/*", owner.uin) }] });
    let body = json!({ "PolicyName": "member", "PolicyDocument": document.to_string() });
    let policy = kms.cam(&admin, "CreatePolicy", body).await["PolicyId"].clone();
    kms.cam(&admin, "AttachUserPolicy", json!({ "PolicyId": policy, "AttachUin": user.uin })).await;
    let key = kms.create(&owner, "of-member").await;
    let of = |account| with(&json!({ "KeyId": key }), member(account));
    kms.ok(&user, "DescribeKey", of(&owner)).await;
    assert_eq!(kms.err(&user, "DisableKey", of(&owner)).await, "UnauthorizedOperation");
    assert_eq!(kms.err(&user, "DescribeKey", of(&sibling)).await, "UnauthorizedOperation");
    assert_eq!(kms.err(&user, "DescribeKey", json!({ "KeyId": key })).await, "UnauthorizedOperation");
    let stranger = json!({ "version": "2.0", "statement": [{ "effect": "allow", "action": "kms:Describe*",
        "resource": "qcs::kms::uin/1:key/*" }] });
    let body = json!({ "PolicyName": "stranger", "PolicyDocument": stranger.to_string() });
    assert_eq!(kms.cam_err(&admin, "CreatePolicy", body).await, "InvalidParameter.ResourceUinError");
}
