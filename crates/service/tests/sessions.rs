//! Sessions and policies under change: what was taken away is gone for every call that begins later.

mod support;

use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use support::{AES, Kms, Request, User, code};

fn policy(action: &str) -> String {
    let statement = json!([{ "effect": "allow", "action": action, "resource": "*" }]);
    json!({ "version": "2.0", "statement": statement }).to_string()
}

fn trust(principal: &str) -> String {
    let statement =
        json!([{ "effect": "allow", "action": "name/sts:AssumeRole", "principal": { "qcs": [principal] } }]);
    json!({ "version": "2.0", "statement": statement }).to_string()
}

async fn attach(kms: &Kms, root: &User, user: &User, name: &str, action: &str) -> u64 {
    let body = json!({ "PolicyName": name, "PolicyDocument": policy(action) });
    let id = kms.cam(root, "CreatePolicy", body).await["PolicyId"].as_u64().unwrap();
    kms.cam(root, "AttachUserPolicy", json!({ "PolicyId": id, "AttachUin": user.uin })).await;
    id
}

/// A temporary access key as an answer has it.
struct Temporary {
    user: User,
    token: String,
}

impl Temporary {
    fn of(root: &User, answer: &Value) -> Self {
        let text = |name: &str| answer["Credentials"][name].as_str().unwrap().to_owned();
        Temporary { user: root.with_key(0, &text("TmpSecretId"), &text("TmpSecretKey")), token: text("Token") }
    }

    async fn call(&self, kms: &Kms, action: &str, params: Value) -> Value {
        use jadeseal_service::clock::Clock as _;
        let request = Request::new(&self.user, kms.clock.now(), AES, action, &params);
        kms.send(&request.with_header("x-tc-token", &self.token)).await
    }

    async fn works(&self, kms: &Kms) -> bool {
        let answer = self.call(kms, "GetRegions", json!({})).await;
        if answer.get("Error").is_none() {
            return true;
        }
        assert_eq!(code(&answer), "AuthFailure.TokenFailure");
        false
    }
}

struct Cast {
    kms: Kms,
    root: User,
    user: User,
    arn: String,
}

/// A user who may take a role that may everything with keys.
async fn cast() -> Cast {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let user = kms.sub_user(&root, "user").await;
    attach(&kms, &root, &user, "take", "sts:AssumeRole").await;
    let document = trust(&format!("qcs::cam::uin/{}:uin/{}", root.uin, user.uin));
    kms.cam(&root, "CreateRole", json!({ "RoleName": "keys", "PolicyDocument": document })).await;
    kms.cam(&root, "AttachRolePolicy", json!({ "AttachRoleName": "keys", "PolicyName": "QcloudKMSFullAccess" })).await;
    let arn = format!("qcs::cam::uin/{}:roleName/keys", root.uin);
    Cast { kms, root, user, arn }
}

async fn assume(cast: &Cast, seconds: u64) -> Temporary {
    let body = json!({ "RoleArn": cast.arn, "RoleSessionName": "test", "DurationSeconds": seconds });
    Temporary::of(&cast.root, &cast.kms.sts(&cast.user, "AssumeRole", body).await)
}

#[tokio::test]
async fn a_session_ends_with_its_time() {
    let cast = cast().await;
    let session = assume(&cast, 3600).await;
    assert!(session.works(&cast.kms).await);
    cast.kms.clock.advance(Duration::from_secs(3599));
    assert!(session.works(&cast.kms).await);
    cast.kms.clock.advance(Duration::from_secs(1));
    assert!(!session.works(&cast.kms).await);
}

#[tokio::test]
async fn a_session_ends_with_what_it_goes_back_to_and_survives_a_restart() {
    let mut cast = cast().await;
    let (one, two, three) = (assume(&cast, 3600).await, assume(&cast, 3600).await, assume(&cast, 3600).await);
    cast.kms = cast.kms.restart().await;
    assert!(one.works(&cast.kms).await);
    let of_key = json!({ "AccessKeyId": cast.user.secret_id, "TargetUin": cast.user.uin, "Status": "Inactive" });
    cast.kms.cam(&cast.root, "UpdateAccessKey", of_key.clone()).await;
    assert!(!one.works(&cast.kms).await && !two.works(&cast.kms).await, "also one that was not in memory");
    let mut again = of_key;
    again["Status"] = json!("Active");
    cast.kms.cam(&cast.root, "UpdateAccessKey", again).await;
    assert!(one.works(&cast.kms).await, "the key is there again");
    cast.kms.cam(&cast.root, "DeleteRole", json!({ "RoleName": "keys" })).await;
    assert!(!one.works(&cast.kms).await && !three.works(&cast.kms).await);
    // One of the same name is another role.
    let document = trust(&format!("qcs::cam::uin/{}:root", cast.root.uin));
    cast.kms.cam(&cast.root, "CreateRole", json!({ "RoleName": "keys", "PolicyDocument": document })).await;
    assert!(!one.works(&cast.kms).await);
    let new = assume(&cast, 3600).await;
    let answer = new.call(&cast.kms, "GetRegions", json!({})).await;
    assert_eq!(code(&answer), "UnauthorizedOperation", "and has no policy");
    cast.kms.cam(&cast.root, "DeleteUser", json!({ "Name": "user", "Force": 1 })).await;
    assert!(!new.works(&cast.kms).await);
}

#[tokio::test]
async fn a_federated_session_is_as_narrow_as_its_policy_and_makes_no_principals() {
    let cast = cast().await;
    let body = json!({ "Name": "bob", "Policy": policy("*") });
    let session = Temporary::of(&cast.root, &cast.kms.sts(&cast.root, "GetFederationToken", body).await);
    let answer = session.call(&cast.kms, "CreateKey", json!({ "Alias": "bobs" })).await;
    assert!(answer.get("Error").is_none(), "{answer}");
    let body = json!({ "Name": "eve", "UseApi": 1 });
    let request = Request::new(&session.user, support::START, AES, "AddUser", &body);
    let request = request.with_header("x-tc-token", &session.token).with_header("x-tc-version", "2019-01-16");
    assert_eq!(code(&cast.kms.send(&request).await), "FailedOperation.TempKeyNotAllowed");
    let body = json!({ "Name": "bob", "Policy": policy("kms:Describe*") });
    let session = Temporary::of(&cast.root, &cast.kms.sts(&cast.root, "GetFederationToken", body).await);
    let answer = session.call(&cast.kms, "CreateKey", json!({ "Alias": "more" })).await;
    assert_eq!(code(&answer), "UnauthorizedOperation");
}

/// Callers do what they may without a pause, while the policy that lets them is taken away and given back, a key's tag is
/// changed, and the role is removed. No call that begins after a change has been answered is decided by what was before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_taken_away_is_gone_for_every_later_call() {
    let cast = Arc::new(cast().await);
    let (kms, root) = (&cast.kms, &cast.root);
    let worker = kms.sub_user(root, "worker").await;
    let key = kms.create(root, "hot").await;
    let by_tag = json!({ "version": "2.0", "statement": [{ "effect": "allow", "action": "kms:Encrypt", "resource": "*",
        "condition": { "for_any_value:string_equal": { "qcs:resource_tag": ["open&yes"] } } }] });
    let body = json!({ "PolicyName": "tag", "PolicyDocument": by_tag.to_string() });
    let policy = kms.cam(root, "CreatePolicy", body).await["PolicyId"].clone();
    let resource = format!("qcs::kms:{AES}:uin/{}:key/creatorUin/{}/{key}", root.uin, root.uin);
    let set = json!({ "Resource": resource, "ReplaceTags": [{ "TagKey": "open", "TagValue": "yes" }] });
    let unset = json!({ "Resource": resource, "DeleteTags": [{ "TagKey": "open" }] });
    let detach = json!({ "PolicyId": policy, "DetachUin": worker.uin });
    let attach = json!({ "PolicyId": policy, "AttachUin": worker.uin });

    // Odd while it is allowed: a call that begins and ends within one even period must be refused, within one odd one allowed.
    let period = Arc::new(AtomicU64::new(0));
    let (stop, decided) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let worker = Arc::new(worker);
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (cast, period, stop, worker) = (cast.clone(), period.clone(), stop.clone(), worker.clone());
            let (key, decided) = (key.clone(), decided.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let before = period.load(Ordering::SeqCst);
                    let body = json!({ "KeyId": key, "Plaintext": "eA==" });
                    let answer = cast.kms.call(&worker, "Encrypt", body).await;
                    if period.load(Ordering::SeqCst) == before && before % 3 != 2 {
                        let allowed = answer.get("Error").is_none();
                        assert_eq!(allowed, before % 3 == 1, "{answer}");
                        assert!(allowed || code(&answer) == "UnauthorizedOperation", "{answer}");
                        decided.fetch_add(1, Ordering::SeqCst);
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    // Periods in threes: 0 refused, 1 allowed, 2 under change.
    for round in 0..30u64 {
        let by_policy = round % 2 == 0;
        let rest = || tokio::time::sleep(Duration::from_millis(2));
        rest().await;
        period.store(3 * round + 2, Ordering::SeqCst);
        kms.call_version(root, "2018-08-13", "ModifyResourceTags", set.clone()).await;
        kms.cam(root, "AttachUserPolicy", attach.clone()).await;
        period.store(3 * round + 1, Ordering::SeqCst);
        rest().await;
        period.store(3 * round + 2, Ordering::SeqCst);
        if by_policy {
            kms.cam(root, "DetachUserPolicy", detach.clone()).await;
        } else {
            let answer = kms.call_version(root, "2018-08-13", "ModifyResourceTags", unset.clone()).await;
            assert!(answer.get("Error").is_none(), "{answer}");
        }
        period.store(3 * (round + 1), Ordering::SeqCst);
    }
    stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(decided.load(Ordering::SeqCst) > 0, "{decided:?}");
}

/// Changes that an administrator has in the queue when his rights are taken away do not give them back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_waits_for_its_turn_is_decided_when_it_comes() {
    let cast = Arc::new(cast().await);
    let (kms, root) = (&cast.kms, &cast.root);
    let admin = Arc::new(kms.sub_user(root, "admin").await);
    let body = json!({ "PolicyId": 1, "AttachUin": admin.uin });
    for _ in 0..20 {
        kms.cam(root, "AttachUserPolicy", body.clone()).await;
        let stop = Arc::new(AtomicBool::new(false));
        let tasks: Vec<_> = (0..6)
            .map(|n| {
                let (cast, admin, stop, body) = (cast.clone(), admin.clone(), stop.clone(), body.clone());
                tokio::spawn(async move {
                    for m in 0.. {
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        // Something that is a change, and what he wants back.
                        let name = json!({ "GroupName": format!("g-{n}-{m}") });
                        cast.kms.call_version(&admin, "2019-01-16", "CreateGroup", name).await;
                        cast.kms.call_version(&admin, "2019-01-16", "AttachUserPolicy", body.clone()).await;
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(5)).await;
        kms.cam(root, "DetachUserPolicy", json!({ "PolicyId": 1, "DetachUin": admin.uin })).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        stop.store(true, Ordering::SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
        let left = kms.cam(root, "ListAttachedUserPolicies", json!({ "TargetUin": admin.uin })).await;
        assert_eq!(left["TotalNum"], 0, "{left}");
        let groups = kms.cam(root, "ListGroups", json!({ "Rp": 200 })).await;
        for group in groups["GroupInfo"].as_array().unwrap() {
            kms.cam(root, "DeleteGroup", json!({ "GroupId": group["GroupId"] })).await;
        }
    }
}

/// No principal fills the queue of changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_user_has_few_changes_in_the_queue() {
    let cast = Arc::new(cast().await);
    let (kms, root) = (&cast.kms, &cast.root);
    let admin = Arc::new(kms.sub_user(root, "admin").await);
    kms.cam(root, "AttachUserPolicy", json!({ "PolicyId": 1, "AttachUin": admin.uin })).await;
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let (cast, admin) = (cast.clone(), admin.clone());
            tokio::spawn(async move {
                let body = json!({ "GroupName": format!("g-{n}") });
                let answer = cast.kms.call_version(&admin, "2019-01-16", "CreateGroup", body).await;
                if answer.get("Error").is_some() { code(&answer) } else { String::new() }
            })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        let code = task.await.unwrap();
        assert!(code.is_empty() || code == "RequestLimitExceeded", "{code}");
        refused += u64::from(!code.is_empty());
    }
    let groups = kms.cam(root, "ListGroups", json!({})).await;
    assert_eq!(groups["TotalNum"], 100 - refused);
    kms.cam(&admin, "CreateGroup", json!({ "GroupName": "later" })).await;
}

/// A role of another account is told of to nobody whom it does not let in.
#[tokio::test]
async fn roles_of_other_accounts_are_not_told() {
    let cast = cast().await;
    let (kms, user) = (&cast.kms, &cast.user);
    let other = kms.user().await;
    let document = trust(&format!("qcs::cam::uin/{}:root", other.uin));
    kms.cam(&other, "CreateRole", json!({ "RoleName": "admin", "PolicyDocument": document })).await;
    let by_number = json!({ "version": "2.0", "statement": [{ "effect": "allow", "action": "sts:AssumeRole",
        "resource": format!("qcs::cam::uin/{}:role/*", other.uin) }] });
    let body = json!({ "PolicyName": "by-number", "PolicyDocument": by_number.to_string() });
    let policy = kms.cam(&cast.root, "CreatePolicy", body).await["PolicyId"].clone();
    let take = kms.cam(&cast.root, "ListPolicies", json!({ "Keyword": "take" })).await["List"][0]["PolicyId"].clone();
    kms.cam(&cast.root, "DetachUserPolicy", json!({ "PolicyId": take, "DetachUin": user.uin })).await;
    kms.cam(&cast.root, "AttachUserPolicy", json!({ "PolicyId": policy, "AttachUin": user.uin })).await;
    let mut answers = Vec::new();
    for name in ["admin", "nobody"] {
        for extra in [json!({}), json!({ "DryRun": true }), json!({ "Nonsense": 1 })] {
            let arn = format!("qcs::cam::uin/{}:roleName/{name}", other.uin);
            let mut body = json!({ "RoleArn": arn, "RoleSessionName": "test" });
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let answer = kms.call_version(user, "2018-08-13", "AssumeRole", body).await;
            answers.push(answer["Error"].to_string().replace(name, "NAME"));
        }
    }
    assert_eq!(answers[..3], answers[3..]);
}

/// What is his own has a spelling more, so that a policy can keep him from it.
#[tokio::test]
async fn a_policy_can_keep_a_principal_from_his_own_rights() {
    let Cast { kms, root, .. } = cast().await;
    let (admin, other) = (kms.sub_user(&root, "admin").await, kms.sub_user(&root, "other").await);
    let own = format!("qcs::cam::uin/{}:own/*", root.uin);
    let document = json!({ "version": "2.0", "statement": [
        { "effect": "allow", "action": "cam:*", "resource": "*" },
        { "effect": "deny", "action": "cam:*", "resource": own } ] });
    let body = json!({ "PolicyName": "not-own", "PolicyDocument": document.to_string() });
    let policy = kms.cam(&root, "CreatePolicy", body).await["PolicyId"].clone();
    kms.cam(&root, "AttachUserPolicy", json!({ "PolicyId": policy, "AttachUin": admin.uin })).await;
    let group = kms.cam(&admin, "CreateGroup", json!({ "GroupName": "g" })).await["GroupId"].clone();
    let attach = json!({ "PolicyId": 1, "AttachGroupId": group });
    kms.cam(&admin, "AttachGroupPolicy", attach.clone()).await;
    let join = |uin: u64| json!({ "Info": [{ "GroupId": group, "Uin": uin }] });
    kms.cam(&admin, "AddUserToGroup", join(other.uin)).await;
    assert_eq!(kms.cam_err(&admin, "AddUserToGroup", join(admin.uin)).await, "UnauthorizedOperation");
    kms.cam(&root, "AddUserToGroup", join(admin.uin)).await;
    assert_eq!(
        kms.cam_err(&admin, "DetachGroupPolicy", json!({ "PolicyId": 1, "DetachGroupId": group })).await,
        "UnauthorizedOperation"
    );
    assert_eq!(kms.cam_err(&admin, "DeleteGroup", json!({ "GroupId": group })).await, "UnauthorizedOperation");
    let update = json!({ "PolicyId": policy, "PolicyDocument": self::policy("*") });
    assert_eq!(kms.cam_err(&admin, "UpdatePolicy", update).await, "UnauthorizedOperation");
    let update = json!({ "PolicyName": "not-own", "PolicyDocument": self::policy("*") });
    assert_eq!(kms.cam_err(&admin, "UpdatePolicy", update).await, "UnauthorizedOperation");
    kms.cam(&admin, "AttachUserPolicy", json!({ "PolicyId": 101, "AttachUin": other.uin })).await;
    let himself = json!({ "PolicyId": 101, "AttachUin": admin.uin });
    assert_eq!(kms.cam_err(&admin, "AttachUserPolicy", himself).await, "UnauthorizedOperation");
}

/// A policy that cannot be read may be the one that denies: its holder is refused everything, and nobody else is.
#[tokio::test]
async fn a_policy_that_cannot_be_read_allows_nothing() {
    let cast = cast().await;
    let reader = cast.kms.sub_user(&cast.root, "reader").await;
    attach(&cast.kms, &cast.root, &reader, "broken", "kms:Describe*").await;
    attach(&cast.kms, &cast.root, &reader, "whole", "kms:GetRegions").await;
    cast.kms.ok(&reader, "GetRegions", json!({})).await;
    let file = cast.kms.dir.path().join("jadeseal.db");
    let kms = cast
        .kms
        .restart_after(move || {
            let conn = rusqlite::Connection::open(file).unwrap();
            conn.execute("UPDATE policy SET document = '{' WHERE name = 'broken'", []).unwrap();
        })
        .await;
    assert_eq!(kms.err(&reader, "GetRegions", json!({})).await, "UnauthorizedOperation");
    kms.ok(&cast.root, "GetRegions", json!({})).await;
    kms.cam(&cast.root, "ListPolicies", json!({})).await;
}
