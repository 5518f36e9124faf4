//! Policies, who has them, and roles, through the whole service.

mod support;

use jadeseal_service::{accounts::NewAccessKey, clock::Clock as _};
use jadeseal_types::{AccountId, AppId, SecretBytes, SecretId};
use serde_json::{Value, json};
use std::time::Duration;
use support::{AES, Kms, Request, User, code};

async fn call(kms: &Kms, user: &User, action: &str, params: Value) -> Value {
    let request = Request::new(user, kms.clock.now(), AES, action, &params);
    kms.send(&request.with_header("x-tc-version", "2019-01-16")).await
}

async fn ok(kms: &Kms, user: &User, action: &str, params: Value) -> Value {
    let answer = call(kms, user, action, params).await;
    assert!(answer.get("Error").is_none(), "{action}: {answer}");
    answer
}

async fn err(kms: &Kms, user: &User, action: &str, params: Value) -> String {
    code(&call(kms, user, action, params).await)
}

/// A sub-user with an access key.
async fn sub_user(kms: &Kms, root: &User, name: &str) -> User {
    let answer = ok(kms, root, "AddUser", json!({ "Name": name, "UseApi": 1 })).await;
    let text = |member: &str| answer[member].as_str().unwrap();
    let key = NewAccessKey {
        account: AccountId(answer["Uin"].as_u64().unwrap()),
        app_id: AppId(root.app_id),
        secret_id: SecretId::parse(text("SecretId")).unwrap(),
        secret_key: SecretBytes::copy_from(text("SecretKey").as_bytes()),
    };
    key.into()
}

async fn group(kms: &Kms, root: &User, name: &str) -> u64 {
    ok(kms, root, "CreateGroup", json!({ "GroupName": name })).await["GroupId"].as_u64().unwrap()
}

fn document(effect: &str, actions: &[&str], resources: &[&str]) -> String {
    json!({ "version": "2.0", "statement": [{ "effect": effect, "action": actions, "resource": resources }] })
        .to_string()
}

async fn policy(kms: &Kms, root: &User, name: &str, document: &str) -> u64 {
    let params = json!({ "PolicyName": name, "PolicyDocument": document });
    ok(kms, root, "CreatePolicy", params).await["PolicyId"].as_u64().unwrap()
}

fn trust(principals: &[String]) -> String {
    let statement = json!({ "effect": "allow", "action": "name/sts:AssumeRole", "principal": { "qcs": principals } });
    json!({ "version": "2.0", "statement": [statement] }).to_string()
}

fn trust_of(account: &User) -> String {
    trust(&[format!("qcs::cam::uin/{}:root", account.uin)])
}

async fn role(kms: &Kms, root: &User, name: &str) -> String {
    let params = json!({ "RoleName": name, "PolicyDocument": trust_of(root) });
    ok(kms, root, "CreateRole", params).await["RoleId"].as_str().unwrap().to_owned()
}

/// Whether the audit log names a principal or policy before long.
async fn named_in_audit(kms: &Kms, subject: &str) -> bool {
    for _ in 0..100 {
        if kms.audit().contains(subject) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

/// The names under a member of the items of a list.
fn names(list: &Value, member: &str) -> Vec<String> {
    let items = list.as_array().unwrap_or_else(|| panic!("{list}")).iter();
    items.map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

const ENCRYPT: &str = r#"{"version":"2.0","statement":[{"effect":"allow","action":"kms:Encrypt","resource":"*"}]}"#;

#[tokio::test]
async fn policies_are_made_shown_changed_listed_and_deleted() {
    let mut kms = Kms::start().await;
    let root = kms.user().await;
    // As it was sent, down to the blanks.
    let sent = ENCRYPT.replace(',', " , ");
    let params = json!({ "PolicyName": "p1", "PolicyDocument": sent, "Description": "one", "Tags": [] });
    let id = ok(&kms, &root, "CreatePolicy", params).await["PolicyId"].as_u64().unwrap();
    assert!((1_000_000..201_000_000).contains(&id));
    let shown = ok(&kms, &root, "GetPolicy", json!({ "PolicyId": id })).await;
    assert_eq!(shown["PolicyDocument"], sent);
    assert_eq!((&shown["PolicyName"], &shown["Description"], &shown["Type"]), (&json!("p1"), &json!("one"), &json!(1)));
    assert_eq!((&shown["PresetAlias"], &shown["Tags"]), (&json!(""), &json!([])));
    assert_eq!(shown["AddTime"], shown["UpdateTime"]);
    assert!(named_in_audit(&kms, &format!("policyid/{id}")).await);

    // What is not given stays; beside the number, the name is a new one.
    kms.pass_time(Duration::from_secs(60)).await;
    ok(&kms, &root, "UpdatePolicy", json!({ "PolicyId": id, "PolicyDocument": ENCRYPT })).await;
    let changed = ok(&kms, &root, "GetPolicy", json!({ "PolicyId": id })).await;
    assert_eq!((&changed["PolicyDocument"], &changed["Description"]), (&json!(ENCRYPT), &json!("one")));
    assert_eq!(changed["AddTime"], shown["AddTime"]);
    assert_ne!(changed["UpdateTime"], shown["UpdateTime"]);
    let by_name = json!({ "PolicyName": "p1", "Description": "" });
    assert_eq!(ok(&kms, &root, "UpdatePolicy", by_name).await["PolicyId"], id);
    ok(&kms, &root, "UpdatePolicy", json!({ "PolicyId": id, "PolicyName": "p2" })).await;
    let renamed = ok(&kms, &root, "GetPolicy", json!({ "PolicyId": id })).await;
    assert_eq!((&renamed["PolicyName"], &renamed["Description"]), (&json!("p2"), &json!("")));
    assert_eq!(
        err(&kms, &root, "UpdatePolicy", json!({ "PolicyName": "p1" })).await,
        "InvalidParameter.PolicyIdNotExist"
    );
    assert_eq!(err(&kms, &root, "UpdatePolicy", json!({ "Description": "x" })).await, "InvalidParameter.ParamError");
    // An empty document is none, as absent.
    ok(&kms, &root, "UpdatePolicy", json!({ "PolicyId": id, "PolicyDocument": "" })).await;
    assert_eq!(ok(&kms, &root, "GetPolicy", json!({ "PolicyId": id })).await["PolicyDocument"], ENCRYPT);
    assert_eq!(err(&kms, &root, "UpdatePolicy", json!({ "PolicyId": id, "Alias": "x" })).await, "InvalidParameter");

    let other = policy(&kms, &root, "other", ENCRYPT).await;
    let taken = json!({ "PolicyId": other, "PolicyName": "p2" });
    assert_eq!(err(&kms, &root, "UpdatePolicy", taken).await, "FailedOperation.PolicyNameInUse");
    let list = ok(&kms, &root, "ListPolicies", json!({ "Scope": "Local" })).await;
    assert_eq!(names(&list["List"], "PolicyName"), ["p2", "other"]);
    assert_eq!((&list["TotalNum"], &list["ServiceTypeList"]), (&json!(2), &json!([])));
    let presets = ok(&kms, &root, "ListPolicies", json!({ "Scope": "QCS", "Rp": 200 })).await;
    assert!(names(&presets["List"], "PolicyName").contains(&"QcloudKMSReadOnlyAccess".to_owned()));
    let all = ok(&kms, &root, "ListPolicies", json!({ "Rp": 200 })).await;
    assert_eq!(all["TotalNum"].as_u64(), presets["TotalNum"].as_u64().map(|n| n + 2));
    let found = ok(&kms, &root, "ListPolicies", json!({ "Keyword": "the" })).await;
    assert!(names(&found["List"], "PolicyName").contains(&"other".to_owned()));
    let second = ok(&kms, &root, "ListPolicies", json!({ "Scope": "Local", "Rp": 1, "Page": 2 })).await;
    assert_eq!((names(&second["List"], "PolicyName"), &second["TotalNum"]), (vec!["other".to_owned()], &json!(2)));
    let defaults = ok(&kms, &root, "ListPolicies", json!({ "Page": 0, "Rp": "0" })).await;
    assert_eq!(defaults["List"], ok(&kms, &root, "ListPolicies", json!({})).await["List"]);
    for (params, expected) in [
        (json!({ "Scope": "local" }), "InvalidParameter.ScopeError"),
        (json!({ "Keyword": "x".repeat(101) }), "InvalidParameter.SearchKeywordLengthError"),
        (json!({ "Rp": 201 }), "InvalidParameter.ParamError"),
    ] {
        assert_eq!(err(&kms, &root, "ListPolicies", params.clone()).await, expected, "{params}");
    }

    // All or none.
    assert_eq!(err(&kms, &root, "DeletePolicy", json!({ "PolicyId": [] })).await, "InvalidParameter");
    let many: Vec<u64> = (1_000_000..1_000_101).collect();
    assert_eq!(err(&kms, &root, "DeletePolicy", json!({ "PolicyId": many })).await, "InvalidParameter");
    let unknown = json!({ "PolicyId": [id, 999_999_999] });
    assert_eq!(err(&kms, &root, "DeletePolicy", unknown).await, "InvalidParameter.PolicyIdNotExist");
    ok(&kms, &root, "GetPolicy", json!({ "PolicyId": id })).await;
    ok(&kms, &root, "DeletePolicy", json!({ "PolicyId": [id, id, other] })).await;
    // What Terraform takes for gone.
    assert_eq!(err(&kms, &root, "GetPolicy", json!({ "PolicyId": id })).await, "ResourceNotFound.PolicyIdNotFound");
    assert_eq!(ok(&kms, &root, "ListPolicies", json!({ "Scope": "Local" })).await["TotalNum"], 0);
}

#[tokio::test]
async fn names_and_documents_are_checked() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    policy(&kms, &root, "taken", ENCRYPT).await;
    for (name, expected) in [
        ("", "InvalidParameter.PolicyNameError"),
        ("with blank", "InvalidParameter.PolicyNameError"),
        ("a/b", "InvalidParameter.PolicyNameError"),
        (&"x".repeat(129), "InvalidParameter.PolicyNameError"),
        ("taken", "FailedOperation.PolicyNameInUse"),
        ("AdministratorAccess", "FailedOperation.PolicyNameInUse"),
    ] {
        let params = json!({ "PolicyName": name, "PolicyDocument": ENCRYPT });
        assert_eq!(err(&kms, &root, "CreatePolicy", params).await, expected, "{name}");
    }
    policy(&kms, &root, &"x".repeat(128), ENCRYPT).await;
    let described = |text: String| json!({ "PolicyName": "d", "PolicyDocument": ENCRYPT, "Description": text });
    let long = err(&kms, &root, "CreatePolicy", described("描".repeat(301))).await;
    assert_eq!(long, "InvalidParameter.DescriptionLengthOverlimit");
    ok(&kms, &root, "CreatePolicy", described("描".repeat(300))).await;
    let tagged = json!({ "PolicyName": "t", "PolicyDocument": ENCRYPT, "Tags": [{ "Key": "k", "Value": "v" }] });
    let answer = call(&kms, &root, "CreatePolicy", tagged).await;
    assert_eq!(code(&answer), "InvalidParameter");
    assert!(answer["Error"]["Message"].as_str().unwrap().contains("without `Tags`"), "{answer}");

    let cases = [
        ("{", "InvalidParameter.PolicyDocumentError", "PolicyDocument: "),
        (&ENCRYPT.replace("2.0", "1.0"), "InvalidParameter.VersionError", "PolicyDocument, version: "),
        (
            &document("allow", &["kms:Encrypt", "kms:Encrypts"], &["*"]),
            "InvalidParameter.ActionNotExist",
            "PolicyDocument, statement[0].action[1]: ",
        ),
        (
            &document("allow", &["kms:Encrypt"], &["qcs::kms:mars:uin/:key/*"]),
            "InvalidParameter.ResourceRegionError",
            "PolicyDocument, statement[0].resource[0]: ",
        ),
        (
            &document("maybe", &["kms:Encrypt"], &["*"]),
            "InvalidParameter.EffectError",
            "PolicyDocument, statement[0].effect: ",
        ),
        (&" ".repeat(6145), "InvalidParameter.PolicyDocumentLengthOverLimit", "PolicyDocument: "),
    ];
    let id = policy(&kms, &root, "good", ENCRYPT).await;
    for (document, expected, begins) in cases {
        for (action, mut params) in
            [("CreatePolicy", json!({ "PolicyName": "bad" })), ("UpdatePolicy", json!({ "PolicyId": id }))]
        {
            params["PolicyDocument"] = json!(document);
            let answer = call(&kms, &root, action, params).await;
            assert_eq!(code(&answer), expected, "{document}");
            let message = answer["Error"]["Message"].as_str().unwrap();
            assert!(message.starts_with(begins) && message.ends_with('.'), "{message}");
        }
    }
    let shown = ok(&kms, &root, "GetPolicy", json!({ "PolicyId": id })).await;
    assert_eq!(shown["PolicyDocument"], ENCRYPT);
}

#[tokio::test]
async fn presets_are_there_and_stay_as_they_are() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let shown = ok(&kms, &root, "GetPolicy", json!({ "PolicyId": 1 })).await;
    assert_eq!(
        (&shown["PolicyName"], &shown["PresetAlias"]),
        (&json!("AdministratorAccess"), &json!("AdministratorAccess"))
    );
    assert_eq!((&shown["Type"], &shown["IsServiceLinkedRolePolicy"]), (&json!(2), &json!(0)));
    for params in [
        json!({ "PolicyId": 1, "PolicyDocument": ENCRYPT }),
        json!({ "PolicyName": "AdministratorAccess", "Description": "x" }),
        json!({ "PolicyId": 1, "PolicyName": "mine" }),
    ] {
        assert_eq!(err(&kms, &root, "UpdatePolicy", params).await, "FailedOperation.Unmodifiable");
    }
    let own = policy(&kms, &root, "own", ENCRYPT).await;
    let both = json!({ "PolicyId": [own, 101] });
    assert_eq!(err(&kms, &root, "DeletePolicy", both).await, "FailedOperation.Unmodifiable");
    ok(&kms, &root, "GetPolicy", json!({ "PolicyId": own })).await;
    let unknown = json!({ "PolicyId": 77 });
    assert_eq!(err(&kms, &root, "GetPolicy", unknown.clone()).await, "ResourceNotFound.PolicyIdNotFound");
    assert_eq!(err(&kms, &root, "UpdatePolicy", unknown).await, "InvalidParameter.PolicyIdNotExist");
}

#[tokio::test]
async fn policies_take_effect_with_the_next_call_and_end_with_it() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let key = kms.create(&root, "k").await;
    let user = sub_user(&kms, &root, "ann").await;
    let encrypt = || kms.call(&user, "Encrypt", json!({ "KeyId": key, "Plaintext": "YQ==" }));
    let allowed = async || encrypt().await.get("Error").is_none();
    assert_eq!(code(&encrypt().await), "UnauthorizedOperation");
    let id = policy(&kms, &root, "encrypt", ENCRYPT).await;
    let attach = json!({ "PolicyId": id, "AttachUin": user.uin });
    ok(&kms, &root, "AttachUserPolicy", attach.clone()).await;
    assert!(allowed().await);
    assert_eq!(kms.err(&user, "DescribeKey", json!({ "KeyId": key })).await, "UnauthorizedOperation");

    // Attached is attached.
    ok(&kms, &root, "AttachUserPolicy", attach.clone()).await;
    let list = ok(&kms, &root, "ListAttachedUserPolicies", json!({ "TargetUin": user.uin })).await;
    assert_eq!((names(&list["List"], "PolicyName"), &list["TotalNum"]), (vec!["encrypt".to_owned()], &json!(1)));
    assert_eq!(list["List"][0]["PolicyType"], "User");

    // The text of a policy that is changed counts as soon.
    let other = document("allow", &["kms:DescribeKey"], &["*"]);
    ok(&kms, &root, "UpdatePolicy", json!({ "PolicyId": id, "PolicyDocument": other })).await;
    assert!(!allowed().await);
    kms.ok(&user, "DescribeKey", json!({ "KeyId": key })).await;
    ok(&kms, &root, "UpdatePolicy", json!({ "PolicyId": id, "PolicyDocument": ENCRYPT })).await;
    assert!(allowed().await);

    let detach = json!({ "PolicyId": id, "DetachUin": user.uin });
    ok(&kms, &root, "DetachUserPolicy", detach.clone()).await;
    assert!(!allowed().await);
    ok(&kms, &root, "DetachUserPolicy", detach).await;

    // A group's policy is that of its users.
    let team = group(&kms, &root, "team").await;
    let member = json!({ "Info": [{ "GroupId": team, "Uin": user.uin, "Uid": user.uin }] });
    ok(&kms, &root, "AttachGroupPolicy", json!({ "PolicyId": id, "AttachGroupId": team })).await;
    assert!(!allowed().await);
    ok(&kms, &root, "AddUserToGroup", member.clone()).await;
    assert!(allowed().await);
    ok(&kms, &root, "AttachGroupPolicy", json!({ "PolicyId": id, "AttachGroupId": team })).await;
    ok(&kms, &root, "RemoveUserFromGroup", member.clone()).await;
    assert!(!allowed().await);
    ok(&kms, &root, "AddUserToGroup", member).await;
    assert!(allowed().await);

    // One that denies goes before all that allow.
    let deny = policy(&kms, &root, "deny", &document("deny", &["kms:Encrypt"], &["*"])).await;
    ok(&kms, &root, "AttachUserPolicy", json!({ "PolicyId": 1, "AttachUin": user.uin })).await;
    ok(&kms, &root, "AttachUserPolicy", json!({ "PolicyId": deny, "AttachUin": user.uin })).await;
    assert!(!allowed().await);
    ok(&kms, &user, "ListPolicies", json!({})).await;
    ok(&kms, &root, "DeletePolicy", json!({ "PolicyId": [deny] })).await;
    assert!(allowed().await);
    ok(&kms, &root, "DetachUserPolicy", json!({ "PolicyId": 1, "DetachUin": user.uin })).await;
    ok(&kms, &root, "DetachGroupPolicy", json!({ "PolicyId": id, "DetachGroupId": team })).await;
    ok(&kms, &root, "DetachGroupPolicy", json!({ "PolicyId": id, "DetachGroupId": team })).await;
    assert!(!allowed().await);
}

#[tokio::test]
async fn who_has_what_is_listed() {
    let mut kms = Kms::start().await;
    let root = kms.user().await;
    let user = sub_user(&kms, &root, "ann").await;
    let team = group(&kms, &root, "team").await;
    let role_id = role(&kms, &root, "ci").await;
    let own = policy(&kms, &root, "own", ENCRYPT).await;
    ok(&kms, &root, "AddUserToGroup", json!({ "Info": [{ "GroupId": team, "Uin": user.uin, "Uid": user.uin }] })).await;
    ok(&kms, &root, "AttachUserPolicy", json!({ "PolicyId": own, "AttachUin": user.uin })).await;
    kms.pass_time(Duration::from_secs(1)).await;
    ok(&kms, &root, "AttachGroupPolicy", json!({ "PolicyId": own, "AttachGroupId": team })).await;
    ok(&kms, &root, "AttachGroupPolicy", json!({ "PolicyId": 101, "AttachGroupId": team })).await;
    ok(&kms, &root, "AttachRolePolicy", json!({ "PolicyName": "own", "AttachRoleName": "ci" })).await;
    ok(&kms, &root, "AttachRolePolicy", json!({ "PolicyId": 101, "AttachRoleId": role_id })).await;

    let list = async |filter: &str| {
        let answer = ok(&kms, &root, "ListEntitiesForPolicy", json!({ "PolicyId": own, "EntityFilter": filter })).await;
        names(&answer["List"], "Name")
    };
    let everyone = list("All").await;
    assert_eq!(everyone.len(), 3);
    assert_eq!(
        (list("User").await, list("Group").await, list("Role").await),
        (vec!["ann".into()], vec!["team".into()], vec!["ci".into()])
    );
    let bad = json!({ "PolicyId": own, "EntityFilter": "Users" });
    assert_eq!(err(&kms, &root, "ListEntitiesForPolicy", bad).await, "InvalidParameter.EntityFilterError");
    let entities = ok(&kms, &root, "ListEntitiesForPolicy", json!({ "PolicyId": own, "EntityFilter": "User" })).await;
    let entity = &entities["List"][0];
    assert_eq!(
        (&entity["Id"], &entity["Uin"], &entity["RelatedType"]),
        (&json!(user.uin.to_string()), &json!(user.uin), &json!(1))
    );
    let found = ok(&kms, &root, "ListPolicies", json!({ "Keyword": "own" })).await;
    let info = found["List"].as_array().unwrap().iter().find(|p| p["PolicyId"] == own).unwrap();
    assert_eq!((&info["Attachments"], &info["IsAttached"], &info["CreateMode"]), (&json!(3), &json!(1), &json!(2)));

    let all = async |attach: u64, more: Value| {
        let mut params = json!({ "TargetUin": user.uin, "Rp": 20, "Page": 1, "AttachType": attach });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ok(&kms, &root, "ListAttachedUserAllPolicies", params).await
    };
    let both = all(0, json!({})).await;
    assert_eq!(names(&both["PolicyList"], "PolicyName"), ["own", "QcloudKMSFullAccess"]);
    assert_eq!(both["PolicyList"][0]["Groups"], json!([{ "GroupId": team, "GroupName": "team" }]));
    assert_eq!(both["PolicyList"][0]["PolicyId"], own.to_string());
    let direct = all(1, json!({})).await;
    assert_eq!(
        (names(&direct["PolicyList"], "StrategyType"), &direct["PolicyList"][0]["Groups"]),
        (vec!["1".to_owned()], &json!([]))
    );
    assert_eq!(all(2, json!({})).await["TotalNum"], 2);
    assert_eq!(names(&all(0, json!({ "StrategyType": 2 })).await["PolicyList"], "StrategyType"), ["2"]);
    for (any, page) in [(json!(0), json!(0)), (json!("0"), json!("0")), (json!(null), json!(1))] {
        let everything = all(0, json!({ "StrategyType": any, "Page": page, "Rp": 0 })).await;
        assert_eq!(everything["PolicyList"], both["PolicyList"]);
    }
    let bad = json!({ "TargetUin": user.uin, "Rp": 20, "Page": 1, "AttachType": 0, "StrategyType": 3 });
    assert_eq!(err(&kms, &root, "ListAttachedUserAllPolicies", bad).await, "InvalidParameter.ParamError");
    assert_eq!(all(0, json!({ "Keyword": "own" })).await["TotalNum"], 1);
    let bad = json!({ "TargetUin": user.uin, "Rp": 20, "Page": 1, "AttachType": 3 });
    assert_eq!(err(&kms, &root, "ListAttachedUserAllPolicies", bad).await, "InvalidParameter.ParamError");

    let of_group =
        ok(&kms, &root, "ListAttachedGroupPolicies", json!({ "TargetGroupId": team, "Keyword": "KMS" })).await;
    assert_eq!(
        (names(&of_group["List"], "PolicyType"), &of_group["List"][0]["PolicyId"]),
        (vec!["QCS".to_owned()], &json!(101))
    );
    let of_role = json!({ "RoleId": role_id, "Page": 1, "Rp": 20 });
    let of_role = ok(&kms, &root, "ListAttachedRolePolicies", of_role).await;
    assert_eq!(of_role["TotalNum"], 2);
    let users = json!({ "RoleName": "ci", "Page": 1, "Rp": 20, "PolicyType": "User" });
    assert_eq!(names(&ok(&kms, &root, "ListAttachedRolePolicies", users).await["List"], "PolicyName"), ["own"]);

    // With a policy go its attachments, and with a role its own.
    ok(&kms, &root, "DetachRolePolicy", json!({ "PolicyName": "own", "DetachRoleId": role_id })).await;
    assert_eq!(list("Role").await, [""; 0]);
    ok(&kms, &root, "DeletePolicy", json!({ "PolicyId": [own] })).await;
    assert_eq!(all(0, json!({})).await["TotalNum"], 1);
    ok(&kms, &root, "DeleteRole", json!({ "RoleName": "ci" })).await;
    let entities = ok(&kms, &root, "ListEntitiesForPolicy", json!({ "PolicyId": 101 })).await;
    assert_eq!(names(&entities["List"], "Name"), ["team"]);
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let user = sub_user(&kms, &root, "ann").await;
    let team = group(&kms, &root, "team").await;
    let role_id = role(&kms, &root, "ci").await;
    let unknown = 123_456_789;
    for (action, params, expected) in [
        ("AttachUserPolicy", json!({ "PolicyId": 1, "AttachUin": unknown }), "InvalidParameter.UserNotExist"),
        ("AttachUserPolicy", json!({ "PolicyId": 1, "AttachUin": root.uin }), "InvalidParameter.UserNotExist"),
        ("DetachUserPolicy", json!({ "PolicyId": 1, "DetachUin": unknown }), "InvalidParameter.UserNotExist"),
        ("ListAttachedUserPolicies", json!({ "TargetUin": root.uin }), "InvalidParameter.UserNotExist"),
        (
            "AttachUserPolicy",
            json!({ "PolicyId": unknown, "AttachUin": user.uin }),
            "InvalidParameter.PolicyIdNotExist",
        ),
        (
            "DetachUserPolicy",
            json!({ "PolicyId": unknown, "DetachUin": user.uin }),
            "InvalidParameter.PolicyIdNotExist",
        ),
        ("AttachGroupPolicy", json!({ "PolicyId": 1, "AttachGroupId": unknown }), "ResourceNotFound.GroupNotExist"),
        ("DetachGroupPolicy", json!({ "PolicyId": 77, "DetachGroupId": team }), "InvalidParameter.PolicyIdNotExist"),
        ("ListAttachedGroupPolicies", json!({ "TargetGroupId": unknown }), "ResourceNotFound.GroupNotExist"),
        ("AttachRolePolicy", json!({ "PolicyId": 1, "AttachRoleId": "17" }), "InvalidParameter.RoleNotExist"),
        ("AttachRolePolicy", json!({ "PolicyId": 1, "AttachRoleName": "cd" }), "InvalidParameter.RoleNotExist"),
        ("AttachRolePolicy", json!({ "PolicyId": 1 }), "InvalidParameter.ParamError"),
        ("AttachRolePolicy", json!({ "AttachRoleId": role_id }), "InvalidParameter.ParamError"),
        (
            "AttachRolePolicy",
            json!({ "PolicyName": "none", "AttachRoleId": role_id }),
            "InvalidParameter.PolicyIdNotExist",
        ),
        (
            "AttachRolePolicy",
            json!({ "PolicyId": 1, "PolicyName": "QcloudKMSFullAccess", "AttachRoleId": role_id }),
            "InvalidParameter.PolicyIdNotExist",
        ),
        (
            "DetachRolePolicy",
            json!({ "PolicyId": 1, "DetachRoleId": role_id, "DetachRoleName": "cd" }),
            "InvalidParameter.RoleNotExist",
        ),
        ("GetRole", json!({}), "InvalidParameter.ParamError"),
        ("ListAttachedRolePolicies", json!({ "Page": 1, "Rp": 20 }), "InvalidParameter.ParamError"),
        (
            "ListAttachedRolePolicies",
            json!({ "Page": 1, "Rp": 20, "RoleName": "ci", "PolicyType": "x" }),
            "InvalidParameter.ParamError",
        ),
    ] {
        assert_eq!(err(&kms, &root, action, params.clone()).await, expected, "{action} {params}");
    }
    for n in 0..50 {
        let id = policy(&kms, &root, &format!("p{n}"), ENCRYPT).await;
        ok(&kms, &root, "AttachUserPolicy", json!({ "PolicyId": id, "AttachUin": user.uin })).await;
    }
    let one_more = json!({ "PolicyId": 1, "AttachUin": user.uin });
    assert_eq!(err(&kms, &root, "AttachUserPolicy", one_more).await, "InvalidParameter.AttachmentFull");
    ok(&kms, &root, "AttachGroupPolicy", json!({ "PolicyId": 1, "AttachGroupId": team })).await;
}

#[tokio::test]
async fn accounts_do_not_meet() {
    let kms = Kms::start().await;
    let (one, two) = (kms.user().await, kms.user().await);
    let (p1, p2) = (policy(&kms, &one, "same", ENCRYPT).await, policy(&kms, &two, "same", ENCRYPT).await);
    let (r1, _) = (role(&kms, &one, "same").await, role(&kms, &two, "same").await);
    let user = sub_user(&kms, &one, "ann").await;
    let team = group(&kms, &one, "team").await;
    let mine = sub_user(&kms, &two, "bob").await;
    // One knows all the numbers of the other.
    for (action, params, expected) in [
        ("GetPolicy", json!({ "PolicyId": p1 }), "ResourceNotFound.PolicyIdNotFound"),
        ("UpdatePolicy", json!({ "PolicyId": p1, "Description": "x" }), "InvalidParameter.PolicyIdNotExist"),
        ("DeletePolicy", json!({ "PolicyId": [p2, p1] }), "InvalidParameter.PolicyIdNotExist"),
        ("ListEntitiesForPolicy", json!({ "PolicyId": p1 }), "InvalidParameter.PolicyIdNotExist"),
        ("AttachUserPolicy", json!({ "PolicyId": p1, "AttachUin": mine.uin }), "InvalidParameter.PolicyIdNotExist"),
        ("AttachUserPolicy", json!({ "PolicyId": p2, "AttachUin": user.uin }), "InvalidParameter.UserNotExist"),
        ("AttachUserPolicy", json!({ "PolicyId": p2, "AttachUin": one.uin }), "InvalidParameter.UserNotExist"),
        ("ListAttachedUserPolicies", json!({ "TargetUin": user.uin }), "InvalidParameter.UserNotExist"),
        ("AttachGroupPolicy", json!({ "PolicyId": p2, "AttachGroupId": team }), "ResourceNotFound.GroupNotExist"),
        ("AttachRolePolicy", json!({ "PolicyId": p2, "AttachRoleId": r1 }), "InvalidParameter.RoleNotExist"),
        (
            "AttachRolePolicy",
            json!({ "PolicyId": p2, "AttachRoleId": r1, "AttachRoleName": "same" }),
            "InvalidParameter.RoleNotExist",
        ),
        ("GetRole", json!({ "RoleId": r1 }), "InvalidParameter.RoleNotExist"),
        ("UpdateRoleDescription", json!({ "RoleId": r1, "Description": "x" }), "InvalidParameter.RoleNotExist"),
        (
            "UpdateRoleConsoleLogin",
            json!({ "RoleId": r1.parse::<u64>().unwrap(), "ConsoleLogin": 1 }),
            "InvalidParameter.RoleNotExist",
        ),
        ("TagRole", json!({ "RoleId": r1, "Tags": [] }), "InvalidParameter.RoleNotExist"),
        ("DeleteRole", json!({ "RoleId": r1 }), "InvalidParameter.RoleNotExist"),
    ] {
        assert_eq!(err(&kms, &two, action, params.clone()).await, expected, "{action} {params}");
    }
    ok(&kms, &two, "DeletePolicy", json!({ "PolicyId": [p2] })).await;
    ok(&kms, &two, "DeleteRole", json!({ "RoleName": "same" })).await;
    ok(&kms, &one, "GetPolicy", json!({ "PolicyId": p1 })).await;
    ok(&kms, &one, "GetRole", json!({ "RoleName": "same", "RoleId": r1 })).await;
}

#[tokio::test]
async fn administrators_are_held_to_what_they_may_give() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let (admin, user, other) =
        (sub_user(&kms, &root, "adm").await, sub_user(&kms, &root, "ann").await, sub_user(&kms, &root, "bob").await);
    let mine = policy(&kms, &root, "mine", ENCRYPT).await;
    let role_id = role(&kms, &root, "ci").await;
    role(&kms, &root, "cd").await;
    let account = root.uin;
    let text = document(
        "allow",
        &[
            "cam:AttachUserPolicy",
            "cam:AttachRolePolicy",
            "cam:UpdatePolicy",
            "cam:GetRole",
            "cam:UpdateRoleConsoleLogin",
        ],
        &[
            &format!("qcs::cam::uin/{account}:policyid/{mine}"),
            &format!("qcs::cam::uin/{account}:uin/{}", user.uin),
            &format!("qcs::cam::uin/{account}:roleName/ci"),
        ],
    );
    let delegated = policy(&kms, &root, "delegated", &text).await;
    ok(&kms, &root, "AttachUserPolicy", json!({ "PolicyId": delegated, "AttachUin": admin.uin })).await;
    ok(&kms, &admin, "AttachUserPolicy", json!({ "PolicyId": mine, "AttachUin": user.uin })).await;
    ok(&kms, &admin, "AttachRolePolicy", json!({ "PolicyName": "mine", "AttachRoleId": role_id })).await;
    ok(&kms, &admin, "UpdatePolicy", json!({ "PolicyName": "mine", "Description": "x" })).await;
    ok(&kms, &admin, "GetRole", json!({ "RoleName": "ci" })).await;
    let number = role_id.parse::<u64>().unwrap();
    for (action, params) in [
        ("AttachUserPolicy", json!({ "PolicyId": 1, "AttachUin": user.uin })),
        ("AttachUserPolicy", json!({ "PolicyId": mine, "AttachUin": other.uin })),
        ("AttachUserPolicy", json!({ "PolicyId": mine, "AttachUin": admin.uin })),
        ("AttachRolePolicy", json!({ "PolicyName": "AdministratorAccess", "AttachRoleName": "ci" })),
        ("AttachRolePolicy", json!({ "PolicyId": mine, "PolicyName": "AdministratorAccess", "AttachRoleName": "ci" })),
        ("AttachRolePolicy", json!({ "PolicyId": mine, "AttachRoleId": role_id, "AttachRoleName": "cd" })),
        ("AttachRolePolicy", json!({ "PolicyId": mine, "AttachRoleId": format!("+{role_id}") })),
        ("UpdatePolicy", json!({ "PolicyName": "delegated", "PolicyDocument": ENCRYPT })),
        ("UpdatePolicy", json!({ "PolicyName": "none" })),
        ("UpdatePolicy", json!({ "Description": "x" })),
        ("GetRole", json!({ "RoleName": "cd" })),
        ("UpdateRoleConsoleLogin", json!({ "RoleId": format!("+{number}"), "ConsoleLogin": 1 })),
        ("ListPolicies", json!({})),
    ] {
        assert_eq!(err(&kms, &admin, action, params.clone()).await, "UnauthorizedOperation", "{action} {params}");
    }
    // Another way to write the number is another number to him and to the service.
    let padded = json!({ "PolicyId": mine, "AttachRoleId": format!("0{role_id}") });
    assert_eq!(err(&kms, &admin, "AttachRolePolicy", padded).await, "InvalidParameter.RoleNotExist");
    ok(&kms, &admin, "UpdateRoleConsoleLogin", json!({ "RoleId": number, "ConsoleLogin": 1 })).await;
}

/// As with users: a number that may be left out may be sent as 0, and the policy is asked about what the call is then about.
#[tokio::test]
async fn zero_names_no_other_policy_or_role() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let admin = sub_user(&kms, &root, "adm").await;
    let mine = policy(&kms, &root, "mine", ENCRYPT).await;
    policy(&kms, &root, "other", ENCRYPT).await;
    let id = role(&kms, &root, "ci").await;
    role(&kms, &root, "cd").await;
    let on = |last: &str| format!("qcs::cam::uin/{}:{last}", root.uin);
    let text = document("allow", &["cam:*"], &[&on(&format!("policyid/{mine}")), &on("roleName/ci")]);
    let delegated = policy(&kms, &root, "delegated", &text).await;
    ok(&kms, &root, "AttachUserPolicy", json!({ "PolicyId": delegated, "AttachUin": admin.uin })).await;
    let with = |mut params: Value, name: &str, value: Option<&Value>| {
        if let Some(value) = value {
            params[name] = value.clone();
        }
        params
    };
    // (action, number that may be left out, the name beside it, what the user may, what he may not, the rest)
    let calls = [
        ("AttachRolePolicy", "PolicyId", "PolicyName", "mine", "other", json!({ "AttachRoleName": "ci" })),
        ("DetachRolePolicy", "PolicyId", "PolicyName", "mine", "other", json!({ "DetachRoleName": "ci" })),
        ("AttachRolePolicy", "AttachRoleId", "AttachRoleName", "ci", "cd", json!({ "PolicyName": "mine" })),
        ("DetachRolePolicy", "DetachRoleId", "DetachRoleName", "ci", "cd", json!({ "PolicyId": mine })),
        ("UpdatePolicy", "PolicyId", "PolicyName", "mine", "other", json!({ "Description": "d" })),
        ("GetRole", "RoleId", "RoleName", "ci", "cd", json!({})),
        ("UpdateRoleDescription", "RoleId", "RoleName", "ci", "cd", json!({ "Description": "d" })),
        ("UpdateRoleConsoleLogin", "RoleId", "RoleName", "ci", "cd", json!({ "ConsoleLogin": 1 })),
        ("UpdateRoleSessionDuration", "RoleId", "RoleName", "ci", "cd", json!({ "SessionDuration": 60 })),
        ("TagRole", "RoleId", "RoleName", "ci", "cd", json!({ "Tags": [] })),
        ("ListAttachedRolePolicies", "RoleId", "RoleName", "ci", "cd", json!({ "Page": 0, "Rp": 0 })),
    ];
    let nothing = [None, Some(json!(null)), Some(json!(0)), Some(json!("0")), Some(json!("000")), Some(json!(""))];
    for (action, number, name, good, bad, rest) in &calls {
        for value in nothing.iter().map(Option::as_ref) {
            let params = |named: &str| with(with(rest.clone(), number, value), name, Some(&json!(named)));
            // The other type is refused once it is known who asks; that it must not do is get past the policy.
            let answer = call(&kms, &admin, action, params(good)).await;
            let is_text = !matches!(
                (*number, *action),
                ("PolicyId", _) | (_, "UpdateRoleConsoleLogin" | "UpdateRoleSessionDuration")
            );
            let is_its_type = match value {
                Some(Value::Number(_)) => !is_text,
                Some(Value::String(text)) if text.is_empty() => is_text,
                _ => true,
            };
            assert_eq!(answer.get("Error").is_none(), is_its_type, "{action} {value:?} {answer}");
            assert_eq!(err(&kms, &admin, action, params(bad)).await, "UnauthorizedOperation", "{action} {value:?}");
            let neither = with(rest.clone(), number, value);
            let code = err(&kms, &root, action, neither.clone()).await;
            assert!(code.starts_with("InvalidParameter"), "{action} {value:?} {code}");
            if *action != "AttachRolePolicy" && *action != "DetachRolePolicy" {
                let refused = err(&kms, &admin, action, neither).await;
                assert_eq!(refused, "UnauthorizedOperation", "{action} {value:?}");
            }
        }
        for odd in [json!("x"), json!("+0"), json!(-1), json!(false), json!([]), json!({})] {
            let params = |named: &str| with(with(rest.clone(), number, Some(&odd)), name, Some(&json!(named)));
            assert_eq!(err(&kms, &admin, action, params(good)).await, "UnauthorizedOperation", "{action} {odd}");
            assert!(err(&kms, &root, action, params(good)).await.starts_with("InvalidParameter"), "{action} {odd}");
        }
    }
    let shown = ok(&kms, &root, "GetRole", json!({ "RoleName": "cd" })).await["RoleInfo"].clone();
    assert_eq!(
        (&shown["Description"], &shown["ConsoleLogin"], &shown["SessionDuration"]),
        (&json!(""), &json!(0), &json!(7200))
    );
    let shown = ok(&kms, &root, "GetRole", json!({ "RoleId": id })).await["RoleInfo"].clone();
    assert_eq!(
        (&shown["Description"], &shown["ConsoleLogin"], &shown["SessionDuration"]),
        (&json!("d"), &json!(1), &json!(60))
    );
}

#[tokio::test]
async fn roles_are_made_shown_changed_and_deleted() {
    let mut kms = Kms::start().await;
    let root = kms.user().await;
    let params = json!({ "RoleName": "ci", "PolicyDocument": trust_of(&root), "Description": "d", "ConsoleLogin": 1,
        "SessionDuration": 3600, "Tags": [{ "Key": "b", "Value": "2" }, { "Key": "a", "Value": "1" }] });
    let id = ok(&kms, &root, "CreateRole", params).await["RoleId"].as_str().unwrap().to_owned();
    assert!(id.parse::<u64>().unwrap() >= 4_611_686_018_427_387_904);
    let get = async |kms: &Kms| ok(kms, &root, "GetRole", json!({ "RoleName": "ci" })).await["RoleInfo"].clone();
    let shown = get(&kms).await;
    assert_eq!(
        (&shown["RoleId"], &shown["RoleType"], &shown["DeletionTaskId"]),
        (&json!(id), &json!("user"), &json!(""))
    );
    assert_eq!((&shown["ConsoleLogin"], &shown["SessionDuration"]), (&json!(1), &json!(3600)));
    assert_eq!(shown["PolicyDocument"], trust_of(&root));
    assert_eq!(shown["RoleArn"], format!("qcs::cam::uin/{}:roleName/ci", root.uin));
    assert_eq!(shown["Tags"], json!([{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "2" }]));
    assert!(named_in_audit(&kms, &format!("role/{id}")).await);

    kms.pass_time(Duration::from_secs(60)).await;
    let user = sub_user(&kms, &root, "ann").await;
    let narrow = trust(&[format!("qcs::cam::uin/{}:uin/{}", root.uin, user.uin)]);
    ok(&kms, &root, "UpdateAssumeRolePolicy", json!({ "RoleId": id, "PolicyDocument": narrow })).await;
    let changed = get(&kms).await;
    assert_eq!(changed["PolicyDocument"], narrow);
    assert_ne!(changed["UpdateTime"], shown["UpdateTime"]);
    ok(&kms, &root, "UpdateRoleDescription", json!({ "RoleName": "ci", "Description": "" })).await;
    ok(&kms, &root, "UpdateRoleConsoleLogin", json!({ "RoleId": id.parse::<u64>().unwrap(), "ConsoleLogin": 0 })).await;
    ok(&kms, &root, "UpdateRoleSessionDuration", json!({ "RoleName": "ci", "SessionDuration": 43_200 })).await;
    let changed = get(&kms).await;
    assert_eq!(
        (&changed["Description"], &changed["ConsoleLogin"], &changed["SessionDuration"]),
        (&json!(""), &json!(0), &json!(43_200))
    );
    ok(&kms, &root, "UpdateRoleSessionDuration", json!({ "RoleName": "ci", "SessionDuration": 0 })).await;
    assert_eq!(get(&kms).await["SessionDuration"], 7200);
    ok(
        &kms,
        &root,
        "TagRole",
        json!({ "RoleId": id, "Tags": [{ "Key": "b", "Value": "3" }, { "Key": "c", "Value": "" }] }),
    )
    .await;
    ok(&kms, &root, "UntagRole", json!({ "RoleName": "ci", "TagKeys": ["a", "z"] })).await;
    assert_eq!(get(&kms).await["Tags"], json!([{ "Key": "b", "Value": "3" }, { "Key": "c", "Value": "" }]));

    role(&kms, &root, "cd").await;
    let list = async |tags: Value| {
        let answer = ok(&kms, &root, "DescribeRoleList", json!({ "Page": 1, "Rp": 20, "Tags": tags })).await;
        names(&answer["List"], "RoleName")
    };
    assert_eq!(list(json!([])).await, ["ci", "cd"]);
    assert_eq!(list(json!([{ "Key": "b", "Value": "3" }, { "Key": "c", "Value": "" }])).await, ["ci"]);
    assert_eq!(list(json!([{ "Key": "b", "Value": "3" }, { "Key": "c", "Value": "x" }])).await, [""; 0]);
    assert_eq!(err(&kms, &root, "DescribeRoleList", json!({ "Page": 1 })).await, "MissingParameter");

    assert_eq!(err(&kms, &root, "DeleteRole", json!({})).await, "InvalidParameter.ParamError");
    assert_eq!(
        err(&kms, &root, "DeleteRole", json!({ "RoleId": id, "RoleName": "cd" })).await,
        "InvalidParameter.RoleNotExist"
    );
    ok(&kms, &root, "DeleteRole", json!({ "RoleId": id })).await;
    assert_eq!(err(&kms, &root, "GetRole", json!({ "RoleId": id })).await, "InvalidParameter.RoleNotExist");
    assert_eq!(list(json!([])).await, ["cd"]);
}

#[tokio::test]
async fn roles_are_checked() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let stranger = kms.user().await;
    let user = sub_user(&kms, &root, "ann").await;
    let role_id = role(&kms, &root, "taken").await;
    let own = root.uin;
    let principals = |list: &[String]| json!({ "RoleName": "r", "PolicyDocument": trust(list) });
    let of = |last: &str| format!("qcs::cam::uin/{own}:{last}");
    for (params, expected) in [
        (json!({ "RoleName": "", "PolicyDocument": trust_of(&root) }), "InvalidParameter.RoleNameError"),
        (json!({ "RoleName": "x".repeat(129), "PolicyDocument": trust_of(&root) }), "InvalidParameter.RoleNameError"),
        (json!({ "RoleName": "taken", "PolicyDocument": trust_of(&root) }), "InvalidParameter.RoleNameInUse"),
        (json!({ "RoleName": "r", "PolicyDocument": ENCRYPT }), "InvalidParameter.PrincipalError"),
        (principals(&["*".into()]), "InvalidParameter.PrincipalQcsError"),
        (principals(&[of("uin/123456789012")]), "InvalidParameter.PrincipalQcsNotExist"),
        (principals(&[of("root"), of("role/17")]), "InvalidParameter.PrincipalQcsNotExist"),
        (principals(&[of("roleName/r")]), "InvalidParameter.PrincipalQcsNotExist"),
        (principals(&[of(&format!("uin/{}", stranger.uin))]), "InvalidParameter.PrincipalQcsNotExist"),
        (json!({ "RoleName": "r", "PolicyDocument": trust_of(&root), "SessionDuration": 43_201 }), "InvalidParameter"),
        (json!({ "RoleName": "r", "PolicyDocument": trust_of(&root), "ConsoleLogin": 2 }), "InvalidParameter"),
        (
            json!({ "RoleName": "r", "PolicyDocument": trust_of(&root), "Description": "x".repeat(301) }),
            "InvalidParameter.DescriptionLengthOverlimit",
        ),
        (
            json!({ "RoleName": "r", "PolicyDocument": trust_of(&root), "Tags": [{ "Key": "", "Value": "" }] }),
            "InvalidParameter.TagParamError",
        ),
        (
            json!({ "RoleName": "r", "PolicyDocument": trust_of(&root),
                "Tags": [{ "Key": "k", "Value": "1" }, { "Key": "k", "Value": "2" }] }),
            "InvalidParameter.TagParamError",
        ),
    ] {
        assert_eq!(err(&kms, &root, "CreateRole", params.clone()).await, expected, "{params}");
    }
    let service = r#"{"version":"2.0","statement":[{"effect":"allow","action":"sts:AssumeRole","principal":{"service":"cvm.qcloud.com"}}]}"#;
    let answer = call(&kms, &root, "CreateRole", json!({ "RoleName": "r", "PolicyDocument": service })).await;
    assert_eq!(code(&answer), "InvalidParameter.PrincipalServiceNotExist");
    let message = answer["Error"]["Message"].as_str().unwrap();
    assert!(message.starts_with("PolicyDocument, statement[0].principal.service: "), "{message}");

    // Of its own account everybody must be there; of others nobody learns who is.
    let good = [
        of("root"),
        of(&format!("uin/{own}")),
        of(&format!("uin/{}", user.uin)),
        of(&format!("role/{role_id}")),
        of("roleName/taken"),
        format!("qcs::cam::uin/{}:uin/17", stranger.uin),
        "qcs::cam::uin/100000000077:roleName/nobody".to_owned(),
    ];
    ok(&kms, &root, "CreateRole", principals(&good)).await;
    let gone = json!({ "RoleName": "taken", "PolicyDocument": trust(&[of("roleName/none")]) });
    assert_eq!(err(&kms, &root, "UpdateAssumeRolePolicy", gone).await, "InvalidParameter.PrincipalQcsNotExist");

    let tags = |from: usize, to: usize| -> Vec<Value> {
        (from..to).map(|n| json!({ "Key": format!("k{n}"), "Value": "v" })).collect()
    };
    ok(&kms, &root, "TagRole", json!({ "RoleName": "taken", "Tags": tags(0, 50) })).await;
    ok(&kms, &root, "TagRole", json!({ "RoleName": "taken", "Tags": tags(10, 50) })).await;
    let more = json!({ "RoleName": "taken", "Tags": tags(50, 51) });
    assert_eq!(err(&kms, &root, "TagRole", more).await, "InvalidParameter.TagLimitExceeded");
    let more = json!({ "RoleName": "taken", "Tags": tags(0, 51) });
    assert_eq!(err(&kms, &root, "TagRole", more).await, "InvalidParameter.TagLimitExceeded");
}

#[tokio::test]
async fn accounts_have_so_many_policies_and_roles() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    for n in 0..500 {
        policy(&kms, &root, &format!("p{n}"), ENCRYPT).await;
        role(&kms, &root, &format!("r{n}")).await;
    }
    let params = json!({ "PolicyName": "more", "PolicyDocument": ENCRYPT });
    assert_eq!(err(&kms, &root, "CreatePolicy", params).await, "FailedOperation.PolicyFull");
    let params = json!({ "RoleName": "more", "PolicyDocument": trust_of(&root) });
    assert_eq!(err(&kms, &root, "CreateRole", params).await, "InvalidParameter.RoleFull");
    let page = ok(&kms, &root, "DescribeRoleList", json!({ "Page": 3, "Rp": 200 })).await;
    assert_eq!((&page["TotalNum"], page["List"].as_array().map(Vec::len)), (&json!(500), Some(100)));
}
