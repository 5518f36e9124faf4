//! The policy simulator says what the service does.

mod support;

use jadeseal_auth::Organisations;
use jadeseal_service::{
    explain::{Answer, Question, Simulator, Who},
    region::{Profile, RegionConf, Regions},
};
use jadeseal_types::{AccountId, Region};
use serde_json::json;
use support::{AES, Kms, User};

struct Cast {
    kms: Kms,
    root: User,
    user: User,
    key: String,
}

/// A user who may encrypt with red keys, and delete none.
async fn cast() -> Cast {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let user = kms.sub_user(&root, "user").await;
    let document = json!({ "version": "2.0", "statement": [
        { "effect": "allow", "action": "kms:*", "resource": "*",
          "condition": { "for_any_value:string_equal": { "qcs:resource_tag": "colour&red" } } },
        { "effect": "deny", "action": "kms:ScheduleKeyDeletion", "resource": "*" } ] });
    let body = json!({ "PolicyName": "red", "PolicyDocument": document.to_string() });
    let policy = kms.cam(&root, "CreatePolicy", body).await["PolicyId"].clone();
    let group = kms.cam(&root, "CreateGroup", json!({ "GroupName": "painters" })).await["GroupId"].clone();
    kms.cam(&root, "AttachGroupPolicy", json!({ "PolicyId": policy, "AttachGroupId": group })).await;
    kms.cam(&root, "AddUserToGroup", json!({ "Info": [{ "GroupId": group, "Uin": user.uin }] })).await;
    let tags = json!([{ "TagKey": "colour", "TagValue": "red" }]);
    let key = kms.ok(&root, "CreateKey", json!({ "Alias": "red", "Tags": tags })).await["KeyId"].clone();
    let key = key.as_str().unwrap().to_owned();
    Cast { kms, root, user, key }
}

impl Cast {
    fn simulator(&self) -> Simulator {
        let name = Region::parse(AES).unwrap();
        let regions = Regions::new(vec![RegionConf { name, profile: Profile::All }]).unwrap();
        Simulator::new(self.kms.store.clone(), &regions, Organisations::default())
    }

    fn question(&self, who: Who, action: &str, resource: &str) -> Question {
        Question {
            account: AccountId(self.root.uin),
            who,
            action: action.to_owned(),
            resource: resource.to_owned(),
            source: None,
            now: support::START,
            secure: true,
            tags: None,
            request_tags: Vec::new(),
            session_policy: None,
        }
    }

    fn of_key(&self) -> String {
        format!("qcs::kms:{AES}:uin/{0}:key/creatorUin/{0}/{1}", self.root.uin, self.key)
    }

    async fn asked(&self, action: &str, resource: &str) -> Answer {
        let who = Who::User("user".to_owned());
        self.simulator().explain(&self.question(who, action, resource)).await.unwrap()
    }
}

#[tokio::test]
async fn it_says_which_statement_decides() {
    let cast = cast().await;
    let key = cast.of_key();
    let answer = cast.asked("name/kms:Encrypt", &key).await;
    assert!(answer.allowed && answer.why == "allowed by statement 0 of policy red", "{answer:?}");
    assert_eq!(answer.policies, [("red".to_owned(), "group painters".to_owned())]);
    cast.kms.encrypt(&cast.user, &cast.key, "eA==").await;
    let answer = cast.asked("kms:ScheduleKeyDeletion", &key).await;
    assert!(!answer.allowed && answer.why == "denied by statement 1 of policy red", "{answer:?}");
    let answer = cast.asked("kms:ListKeys", "*").await;
    assert!(!answer.allowed && answer.why == "no policy of the principal allows it", "{answer:?}");
    let unknown = key.replace(&cast.key, "00000000-0000-11f0-8000-000000000001");
    let answer = cast.asked("kms:Encrypt", &unknown).await;
    assert!(!answer.allowed && answer.why.contains("there is no such key"), "{answer:?}");
    let who = Who::User(cast.user.uin.to_string());
    let mut question = cast.question(who, "kms:Encrypt", &unknown);
    question.tags = Some(vec!["colour&red".to_owned()]);
    assert!(cast.simulator().explain(&question).await.unwrap().allowed);
    question.session_policy = Some(
        json!({ "version": "2.0", "statement": [{ "effect": "allow", "action": "kms:Decrypt", "resource": "*" }] })
            .to_string(),
    );
    let answer = cast.simulator().explain(&question).await.unwrap();
    assert!(!answer.allowed && answer.why == "the session policy does not allow it", "{answer:?}");
    let root = cast.question(Who::Root, "kms:Encrypt", &unknown);
    assert!(cast.simulator().explain(&root).await.unwrap().allowed);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_said() {
    let cast = cast().await;
    let user = || Who::User("user".to_owned());
    for (who, action, resource, words) in [
        (Who::User("nobody".to_owned()), "kms:Encrypt", "*", "no user"),
        (Who::Role("none".to_owned()), "kms:Encrypt", "*", "no role"),
        (user(), "Encrypt", "*", "SERVICE:ACTION"),
        (user(), "kms:Encode", "*", "no action"),
        (user(), "kms:Encrypt", "qcs::kms", "six segments"),
        (user(), "kms:Encrypt", "qcs::kms:ap-guangzhou:uin/1:key/5", "six segments"),
    ] {
        let e = cast.simulator().explain(&cast.question(who, action, resource)).await.unwrap_err();
        let cause = e.internal_cause().unwrap_or_default();
        assert!(cause.contains(words), "{cause}");
    }
    let e = cast.simulator().check(AccountId(cast.root.uin), "{}", false).unwrap_err();
    assert!(e.contains("version"), "{e}");
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_is_named() {
    let cast = cast().await;
    rusqlite::Connection::open(cast.kms.dir.path().join("jadeseal.db"))
        .unwrap()
        .execute("UPDATE policy SET document = '{' WHERE name = 'red'", [])
        .unwrap();
    let answer = cast.asked("kms:Encrypt", &cast.of_key()).await;
    assert!(!answer.allowed && answer.why.contains("policy red cannot be read"), "{answer:?}");
}
