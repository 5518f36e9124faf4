//! Tags of roles through the tag service, as Terraform sets and reads them.

mod support;

use jadeseal_service::clock::Clock as _;
use serde_json::{Value, json};
use support::{AES, Kms, Request, User, code};

const DESCRIPTION: &str = "InvalidParameterValue.ResourceDescriptionError";

async fn tag(kms: &Kms, user: &User, action: &str, params: Value) -> Value {
    kms.call_version(user, "2018-08-13", action, params).await
}

async fn ok(kms: &Kms, user: &User, action: &str, params: Value) -> Value {
    let answer = tag(kms, user, action, params).await;
    assert!(answer.get("Error").is_none(), "{action}: {answer}");
    answer
}

async fn err(kms: &Kms, user: &User, action: &str, params: Value) -> String {
    code(&tag(kms, user, action, params).await)
}

async fn role(kms: &Kms, root: &User, name: &str) -> String {
    let principal = json!({ "qcs": [format!("qcs::cam::uin/{}:root", root.uin)] });
    let statement = json!([{ "effect": "allow", "action": "name/sts:AssumeRole", "principal": principal }]);
    let document = json!({ "version": "2.0", "statement": statement }).to_string();
    let made = kms.cam(root, "CreateRole", json!({ "RoleName": name, "PolicyDocument": document })).await;
    made["RoleId"].as_str().unwrap().to_owned()
}

/// Tags as `cam` shows them.
async fn tags(kms: &Kms, root: &User, id: &str) -> Value {
    kms.cam(root, "GetRole", json!({ "RoleId": id })).await["RoleInfo"]["Tags"].clone()
}

fn pair(key: &str, value: &str) -> Value {
    json!({ "TagKey": key, "TagValue": value })
}

fn asked(ids: &[&str]) -> Value {
    json!({ "ServiceType": "cam", "ResourcePrefix": "role", "ResourceIds": ids, "ResourceRegion": AES })
}

#[tokio::test]
async fn roles_are_tagged_and_read_as_by_cam() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let id = role(&kms, &root, "ci").await;
    kms.cam(&root, "TagRole", json!({ "RoleId": id, "Tags": [{ "Key": "z", "Value": "by cam" }] })).await;
    // With a region and no account, as the provider writes it.
    let name = format!("qcs::cam:{AES}:uin/:role/{id}");
    let set = json!({ "Resource": name, "ReplaceTags": [pair("env", "test"), pair("a", "")], "DeleteTags": [] });
    let answer = ok(&kms, &root, "ModifyResourceTags", set.clone()).await;
    let request = answer["RequestId"].as_str().unwrap();
    let audit = kms.audit();
    let record = audit.lines().find(|line| line.contains(request)).unwrap();
    assert!(record.contains(&format!(r#""subjects":["role/{id}"]"#)), "{record}");
    let cam = |list: &[(&str, &str)]| -> Value {
        list.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
    };
    assert_eq!(tags(&kms, &root, &id).await, cam(&[("a", ""), ("env", "test"), ("z", "by cam")]));
    ok(&kms, &root, "ModifyResourceTags", set).await;

    let read = ok(&kms, &root, "DescribeResourceTagsByResourceIds", asked(&[&id])).await;
    assert_eq!((&read["TotalCount"], &read["Tags"][1]["TagKey"]), (&json!(3), &json!("env")));
    assert_eq!((&read["Tags"][1]["ResourceId"], &read["Tags"][1]["ServiceType"]), (&json!(id), &json!("cam")));
    let paged = support::hosted::with(&asked(&[&id]), json!({ "Offset": 2, "Limit": 1 }));
    let paged = ok(&kms, &root, "DescribeResourceTagsByResourceIds", paged).await;
    assert_eq!((&paged["TotalCount"], &paged["Tags"]), (&json!(3), &json!([read["Tags"][2]])));
    let padded = format!("0{id}");
    let none = ok(&kms, &root, "DescribeResourceTagsByResourceIds", asked(&["7", "x", &padded])).await;
    assert_eq!(none["TotalCount"], 0);
    for (service, prefix) in [("cam", "key"), ("kms", "role"), ("cam", "uin")] {
        let params = support::hosted::with(&asked(&[&id]), json!({ "ServiceType": service, "ResourcePrefix": prefix }));
        assert_eq!(ok(&kms, &root, "DescribeResourceTagsByResourceIds", params).await["TotalCount"], 0);
    }

    let written = format!("qcs::cam::uin/{}:role/{id}", root.uin);
    let found =
        ok(&kms, &root, "GetResources", json!({ "ResourceList": [name, written, "qcs::cam::uin/:role/7"] })).await;
    let found = found["ResourceTagMappingList"].as_array().unwrap().clone();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|one| one["Resource"] == written && one["Tags"].as_array().unwrap().len() == 3));
    // Lists of everything are of keys.
    assert_eq!(ok(&kms, &root, "GetResources", json!({})).await["ResourceTagMappingList"], json!([]));

    ok(&kms, &root, "UnTagResources", json!({ "ResourceList": [written], "TagKeys": ["a", "z", "none"] })).await;
    assert_eq!(tags(&kms, &root, &id).await, cam(&[("env", "test")]));
    let change = json!({ "Resource": written, "ReplaceTags": [pair("new", "1")], "DeleteTags": [{ "TagKey": "env" }] });
    ok(&kms, &root, "ModifyResourceTags", change).await;
    let kms = kms.restart().await;
    assert_eq!(tags(&kms, &root, &id).await, cam(&[("new", "1")]));
}

/// Keys and roles of one call change in one transaction, with one record.
#[tokio::test]
async fn keys_and_roles_in_one_call() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let (id, full) = (role(&kms, &root, "ci").await, role(&kms, &root, "full").await);
    let many: Vec<_> = (0..50).map(|n| json!({ "Key": format!("k{n}"), "Value": "v" })).collect();
    kms.cam(&root, "TagRole", json!({ "RoleId": full, "Tags": many })).await;
    let key = kms.create(&root, "k").await;
    let of_key = format!("qcs::kms:{AES}:uin/:key/creatorUin/{}/{key}", root.uin);
    let of = |id: &str| format!("qcs::cam::uin/:role/{id}");
    let list = json!([of(&id), of_key, of(&full), of("7"), "qcs::cam::uin/:uin/7", of(&id)]);
    let set = json!({ "ResourceList": list, "Tags": [pair("env", "x")] });
    // Whoever changes the account at the same time does not hurt.
    kms.faults.next_commit(support::faults::Fault::Conflict);
    let answer = ok(&kms, &root, "TagResources", set).await;
    let codes: Vec<_> = answer["FailedResources"].as_array().unwrap().iter().map(|f| f["Code"].clone()).collect();
    assert_eq!(codes, ["LimitExceeded.ResourceAttachedTags", "ResourceNotFound", DESCRIPTION]);
    assert_eq!(tags(&kms, &root, &id).await, json!([{ "Key": "env", "Value": "x" }]));
    assert_eq!(tags(&kms, &root, &full).await.as_array().unwrap().len(), 50);
    let found = ok(&kms, &root, "GetResources", json!({ "ResourceList": [of(&id), of_key] })).await;
    let found = &found["ResourceTagMappingList"];
    assert_eq!((&found[0]["Tags"], found[1]["Tags"][0]["TagValue"].as_str()), (&found[1]["Tags"], Some("x")));
    let request = answer["RequestId"].as_str().unwrap();
    let audit = kms.audit();
    let records: Vec<_> = audit.lines().filter(|line| line.contains(request)).collect();
    assert_eq!(records.len(), 1);
    assert!(records[0].contains(&key) && records[0].contains(&format!(r#""subjects":["role/{id}"]"#)), "{records:?}");
    // Nothing of it happens when the commit does not.
    kms.faults.next_commit(support::faults::Fault::Refused);
    let remove = json!({ "ResourceList": [of(&id), of_key], "TagKeys": ["env"] });
    assert_eq!(err(&kms, &root, "UnTagResources", remove.clone()).await, "InternalError");
    assert_eq!(tags(&kms, &root, &id).await.as_array().unwrap().len(), 1);
    ok(&kms, &root, "UnTagResources", remove).await;
    assert_eq!(tags(&kms, &root, &id).await, json!([]));
}

#[tokio::test]
async fn what_is_no_role_of_the_callers_account() {
    let kms = Kms::start().await;
    let (root, other) = (kms.user().await, kms.user().await);
    let id = role(&kms, &root, "ci").await;
    let user = kms.sub_user(&root, "ann").await;
    let set = |name: String| json!({ "Resource": name, "ReplaceTags": [pair("a", "b")] });
    for (name, expected) in [
        (format!("qcs::cam::uin/:uin/{}", user.uin), DESCRIPTION),
        ("qcs::cam::uin/:roleName/ci".to_owned(), DESCRIPTION),
        (format!("qcs::cam::uin/:role/0{id}"), DESCRIPTION),
        (format!("qcs::cam::uin/:role/+{id}"), DESCRIPTION),
        (format!("qcs::cam::uin/:role/{id}:x"), DESCRIPTION),
        (format!("qcs::cam::uin/{}:role/{id}", other.uin), DESCRIPTION),
        (format!("qcs::cam:::role/{id}"), DESCRIPTION),
        (format!("qcs::sts::uin/:role/{id}"), DESCRIPTION),
        (format!("qcs:1:cam::uin/:role/{id}"), DESCRIPTION),
        (format!("qcs::cam:a b:uin/:role/{id}"), "InvalidParameterValue.RegionInvalid"),
        ("qcs::cam::uin/:role/7".to_owned(), "ResourceNotFound"),
    ] {
        assert_eq!(err(&kms, &root, "ModifyResourceTags", set(name.clone())).await, expected, "{name}");
    }
    // The other account has no such role, whatever it says.
    let name = format!("qcs::cam::uin/:role/{id}");
    assert_eq!(err(&kms, &other, "ModifyResourceTags", set(name.clone())).await, "ResourceNotFound");
    assert_eq!(ok(&kms, &other, "DescribeResourceTagsByResourceIds", asked(&[&id])).await["TotalCount"], 0);
    let list = json!({ "ResourceList": [name] });
    assert_eq!(ok(&kms, &other, "GetResources", list.clone()).await["ResourceTagMappingList"], json!([]));

    // Who has no policy, and who has one for keys only, does not reach roles.
    assert_eq!(err(&kms, &user, "ModifyResourceTags", set(name.clone())).await, "UnauthorizedOperation");
    let statement = json!([{ "effect": "allow", "action": "tag:*", "resource": "qcs::kms::uin/:key/*" }]);
    let document = json!({ "version": "2.0", "statement": statement }).to_string();
    let policy = kms.cam(&root, "CreatePolicy", json!({ "PolicyName": "keys", "PolicyDocument": document })).await;
    kms.cam(&root, "AttachUserPolicy", json!({ "PolicyId": policy["PolicyId"], "AttachUin": user.uin })).await;
    assert_eq!(err(&kms, &user, "ModifyResourceTags", set(name.clone())).await, "UnauthorizedOperation");
    kms.cam(&root, "AttachUserPolicy", json!({ "PolicyId": 111, "AttachUin": user.uin })).await;
    ok(&kms, &user, "ModifyResourceTags", set(name.clone())).await;

    // A federated session reaches no principals, here as little as in `cam`.
    let all = r#"{"version":"2.0","statement":[{"effect":"allow","action":"*","resource":"*"}]}"#;
    let begun = kms.sts(&root, "GetFederationToken", json!({ "Name": "guest", "Policy": all })).await;
    let text = |member: &str| begun["Credentials"][member].as_str().unwrap().to_owned();
    let guest = root.with_key(0, &text("TmpSecretId"), &text("TmpSecretKey"));
    for (action, params) in [
        ("ModifyResourceTags", set(name.clone())),
        ("GetResources", list),
        ("DescribeResourceTagsByResourceIds", asked(&[&id])),
    ] {
        let request = Request::new(&guest, kms.clock.now(), AES, action, &params);
        let request = request.with_header("x-tc-version", "2018-08-13").with_header("x-tc-token", &text("Token"));
        assert_eq!(code(&kms.send(&request).await), "FailedOperation.TempKeyNotAllowed", "{action}");
    }
    assert_eq!(tags(&kms, &root, &id).await, json!([{ "Key": "a", "Value": "b" }]));
}
