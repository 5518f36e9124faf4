//! CloudAudit: every account finds its own records, by each condition, page by page, and nobody else's.

mod support;

use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use support::{Kms, START, User, code};

const VERSION: &str = "2019-03-19";

fn day() -> Value {
    json!({ "StartTime": START - 43_200, "EndTime": START + 43_200, "MaxResults": 50 })
}

fn only(conditions: &[(&str, &str)]) -> Value {
    let list: Vec<_> =
        conditions.iter().map(|(key, value)| json!({ "AttributeKey": key, "AttributeValue": value })).collect();
    with(day(), "LookupAttributes", json!(list))
}

fn with(mut params: Value, name: &str, value: Value) -> Value {
    params[name] = value;
    params
}

async fn ask(kms: &Kms, user: &User, action: &str, params: Value) -> Value {
    kms.call_version(user, VERSION, action, params).await
}

/// The events of an answer that must succeed, newest first.
async fn events(kms: &Kms, user: &User, params: Value) -> Vec<Value> {
    let answer = ask(kms, user, "LookUpEvents", params).await;
    assert!(answer.get("Error").is_none(), "{answer}");
    assert_eq!(answer["TotalCount"].as_u64().unwrap() as usize, answer["Events"].as_array().unwrap().len());
    answer["Events"].as_array().unwrap().clone()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|e| e["EventName"].as_str().unwrap()).collect()
}

fn detail(event: &Value) -> Value {
    serde_json::from_str(event["CloudAuditEvent"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn an_event_says_what_the_record_says() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let user = kms.sub_user(&root, "alice").await;
    let key = kms.create(&root, "k").await;
    let refused = kms.call(&user, "Encrypt", json!({ "KeyId": key, "Plaintext": "eA==" })).await;
    let found = events(&kms, &root, only(&[("ResourceName", &key.to_uppercase())])).await;
    assert_eq!(names(&found), ["Encrypt", "CreateKey"]);
    let event = &found[0];
    let id = refused["RequestId"].as_str().unwrap();
    let line = kms.audit().lines().position(|l| l.contains(id)).unwrap();
    assert_eq!(event["EventId"], format!("{}-{id}", line - 1), "index and request");
    assert_eq!((&event["RequestID"], &event["Username"]), (&json!(id), &json!("alice")));
    assert_eq!((&event["EventTime"], &event["ErrorCode"]), (&json!(START.to_string()), &json!(4102)));
    assert_eq!((&event["SecretId"], &event["AccountID"]), (&json!(user.secret_id), &json!(root.uin)));
    assert_eq!(event["Resources"], json!({ "ResourceType": "kms", "ResourceName": key }));
    assert_eq!(
        (&event["EventSource"], &event["EventRegion"]),
        (&json!("kms.tencentcloudapi.com"), &json!(support::AES))
    );
    assert_eq!((&event["SourceIPAddress"], &event["ResourceTypeCn"]), (&json!("127.0.0.1"), &json!("密钥管理系统")));
    assert!(!event["EventNameCn"].as_str().unwrap().is_empty());
    let detail = detail(event);
    assert_eq!(detail["userIdentity"]["principalId"], user.uin.to_string());
    assert_eq!(detail["userIdentity"]["accountId"], root.uin.to_string());
    assert_eq!(
        (&detail["userIdentity"]["type"], &detail["apiErrorCode"]),
        (&json!("CAMUser"), &json!("UnauthorizedOperation"))
    );
    assert_eq!((&detail["actionType"], &detail["requestParameters"]), (&json!("Read"), &json!("")));
    assert_eq!((&detail["eventID"], &detail["apiVersion"]), (&event["EventId"], &json!("3.0")));
}

#[tokio::test]
async fn every_condition_picks_what_it_says() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let user = kms.sub_user(&root, "bob").await;
    let key = kms.create(&root, "k").await;
    kms.encrypt(&root, &key, "eA==").await;
    let disabled = kms.ok(&root, "DisableKey", json!({ "KeyId": key })).await;
    kms.call(&root, "Encrypt", json!({ "KeyId": key, "Plaintext": "eA==" })).await;
    kms.call(&user, "ListKeys", json!({})).await;
    let find = |conditions: Vec<(&'static str, String)>| {
        let (kms, root) = (&kms, &root);
        async move {
            let conditions: Vec<_> = conditions.iter().map(|(k, v)| (*k, v.as_str())).collect();
            // Without the questions themselves.
            let found = events(kms, root, only(&conditions)).await;
            found
                .iter()
                .map(|e| e["EventName"].as_str().unwrap().to_owned())
                .filter(|n| n != "LookUpEvents")
                .collect::<Vec<_>>()
        }
    };
    let all = ["ListKeys", "Encrypt", "DisableKey", "Encrypt", "CreateKey", "AddUser"];
    let own = |s: &str| s.to_owned();
    assert_eq!(find(vec![]).await, all);
    for (key, value, wanted) in [
        ("RequestId", disabled["RequestId"].as_str().unwrap().to_owned(), vec!["DisableKey"]),
        ("EventName", own("Encrypt"), vec!["Encrypt", "Encrypt"]),
        ("EventName", own("DisableKey,CreateKey"), vec!["DisableKey", "CreateKey"]),
        ("ActionType", own("Write"), vec!["DisableKey", "CreateKey", "AddUser"]),
        ("ActionType", own("Read"), vec!["ListKeys", "Encrypt", "Encrypt"]),
        ("ReadOnly", own("false"), vec!["DisableKey", "CreateKey", "AddUser"]),
        ("PrincipalId", user.uin.to_string(), vec!["ListKeys"]),
        ("Username", own("bob"), vec!["ListKeys"]),
        ("Username", own("root"), all[1..].to_vec()),
        ("Username", own("nobody"), vec![]),
        ("ResourceType", own("cam"), vec!["AddUser"]),
        ("ResourceId", key.clone(), vec!["Encrypt", "DisableKey", "Encrypt", "CreateKey"]),
        ("ResourceName", format!("uin/{}", user.uin), vec!["AddUser"]),
        ("AccessKeyId", user.secret_id.clone(), vec!["ListKeys"]),
        ("SensitiveAction", own("1"), vec!["DisableKey", "AddUser"]),
        ("SensitiveAction", own("0"), vec!["ListKeys", "Encrypt", "Encrypt", "CreateKey"]),
        ("ApiErrorCode", own("ResourceUnavailable.CmkDisabled"), vec!["Encrypt"]),
        ("ApiErrorCode", own("0"), vec!["DisableKey", "Encrypt", "CreateKey", "AddUser"]),
        ("CamErrorCode", own("4102"), vec!["ListKeys"]),
        ("CamErrorCode", own("0"), all[1..].to_vec()),
        ("CamErrorCode", own("7"), vec![]),
        ("SourceIPAddress", own("::ffff:127.0.0.1"), all.to_vec()),
        ("SourceIPAddress", own("10.0.0.1"), vec![]),
        ("EventPlatform", own("0"), all.to_vec()),
        ("ResourceType", own(""), all.to_vec()),
    ] {
        assert_eq!(find(vec![(key, value.clone())]).await, wanted, "{key} {value}");
    }
    let both = vec![("EventName", own("Encrypt")), ("ApiErrorCode", own("0"))];
    assert_eq!(find(both).await, ["Encrypt"]);
    let any_name = vec![("EventName", own("CreateKey")), ("EventName", own("DisableKey"))];
    assert_eq!(find(any_name).await, ["DisableKey", "CreateKey"]);
    assert!(!find(vec![("ResourceType", own("cloudaudit"))]).await.contains(&own("Encrypt")));
}

#[tokio::test]
async fn accounts_see_their_own() {
    let kms = Kms::start().await;
    let (one, two) = (kms.user().await, kms.user().await);
    let key = kms.create(&one, "k").await;
    // The other one names the key, which is not his: the record of that is his.
    assert_eq!(kms.err(&two, "DescribeKey", json!({ "KeyId": key })).await, "ResourceUnavailable.CmkNotFound");
    let by_key = || only(&[("ResourceId", key.as_str())]);
    assert_eq!(names(&events(&kms, &one, by_key()).await), ["CreateKey"]);
    assert_eq!(names(&events(&kms, &two, by_key()).await), ["DescribeKey"]);
    for (user, other) in [(&one, &two), (&two, &one)] {
        let found = events(&kms, user, day()).await;
        assert!(found.iter().all(|e| e["AccountID"] == user.uin), "{found:?}");
        for attribute in [("PrincipalId", other.uin.to_string()), ("AccessKeyId", other.secret_id.clone())] {
            assert!(events(&kms, user, only(&[(attribute.0, &attribute.1)])).await.is_empty());
        }
    }
    // A page of somebody else's is no way in.
    let token = with(day(), "NextToken", json!("1000"));
    assert!(events(&kms, &two, token).await.iter().all(|e| e["AccountID"] == two.uin));
}

#[tokio::test]
async fn members_see_what_administrators_do_for_them() {
    let mut kms = Kms::start().await;
    let (admin, member, sibling, stranger) = (kms.user().await, kms.user().await, kms.user().await, kms.user().await);
    kms.organise(&[admin.uin], &[member.uin, sibling.uin]);
    let kms = kms.restart().await;
    let key = kms.create(&member, "k").await;
    let of = |user: &User| json!({ "MemberUin": user.uin });
    kms.ok(&admin, "DisableKey", json!({ "KeyId": key, "MemberAccount": of(&member) })).await;
    let both = json!({ "MemberAccounts": [of(&member), of(&sibling)] });
    let listed = kms.call(&admin, "ListKeyDetail", both).await;
    let of_admin = admin.uin.to_string();
    let found = events(&kms, &member, only(&[("PrincipalId", &of_admin)])).await;
    let disabled = found.iter().find(|e| e["EventName"] == "DisableKey").unwrap();
    assert_eq!((&disabled["AccountID"], &disabled["Resources"]["ResourceName"]), (&json!(admin.uin), &json!(key)));
    assert_eq!((&disabled["SecretId"], detail(disabled)["userAgent"].as_str()), (&json!(""), Some("")));
    assert_eq!(detail(disabled)["memberAccounts"], json!([member.uin.to_string()]));
    if listed.get("Error").is_none() {
        let list = found.iter().find(|e| e["EventName"] == "ListKeyDetail").unwrap();
        assert_eq!(detail(list)["memberAccounts"], json!([member.uin.to_string()]), "not those of the sibling");
        assert!(!list["CloudAuditEvent"].as_str().unwrap().contains(&sibling.uin.to_string()));
    }
    // Not by what it is not shown.
    assert!(events(&kms, &member, only(&[("AccessKeyId", &admin.secret_id)])).await.is_empty());
    assert!(events(&kms, &sibling, only(&[("EventName", "DisableKey")])).await.is_empty());
    assert!(events(&kms, &stranger, only(&[("PrincipalId", &of_admin)])).await.is_empty());
    let own = events(&kms, &admin, only(&[("EventName", "DisableKey")])).await;
    assert_eq!(own[0]["SecretId"], admin.secret_id);
}

#[tokio::test]
async fn a_refusal_by_the_policy_is_nothing_to_the_member() {
    let mut kms = Kms::start().await;
    let (admin, member) = (kms.user().await, kms.user().await);
    kms.organise(&[admin.uin], &[member.uin]);
    let kms = kms.restart().await;
    let app_id = kms.cam(&member, "GetUserAppId", json!({})).await["AppId"].as_u64().unwrap();
    let key = kms.create(&member, "k").await;
    let user = kms.sub_user(&admin, "nobody").await;
    // Who may look at events and do nothing with keys.
    let statement = json!([{ "effect": "allow", "action": "cloudaudit:*", "resource": "*" }]);
    let document = json!({ "version": "2.0", "statement": statement }).to_string();
    let policy = kms.cam(&admin, "CreatePolicy", json!({ "PolicyName": "look", "PolicyDocument": document })).await;
    kms.cam(&admin, "AttachUserPolicy", json!({ "PolicyId": policy["PolicyId"], "AttachUin": user.uin })).await;
    let of = json!({ "MemberAppId": app_id });
    let refused = json!({ "KeyId": key, "MemberAccount": of });
    assert_eq!(kms.err(&user, "DisableKey", refused.clone()).await, "UnauthorizedOperation");
    let asked = with(refused.clone(), "DryRun", json!(true));
    assert_eq!(kms.err(&user, "DisableKey", asked).await, "UnauthorizedOperation");
    let lists = json!({ "MemberAccounts": [of] });
    assert_eq!(kms.err(&user, "ListDataKeyDetail", lists.clone()).await, "UnauthorizedOperation");
    let found = events(&kms, &user, only(&[("Username", "nobody")])).await;
    assert_eq!(names(&found), ["ListDataKeyDetail", "DisableKey", "DisableKey"]);
    for event in &found {
        assert!(!event.to_string().contains(&member.uin.to_string()), "{event}");
        assert_eq!(detail(event)["memberAccounts"], json!([]));
    }
    assert!(events(&kms, &member, only(&[("PrincipalId", &user.uin.to_string())])).await.is_empty());
    // Whoever may do it and fails later is told of, and so is the member.
    kms.ok(&admin, "DisableKey", refused.clone()).await;
    let wrong = with(refused, "PendingWindowInDays", json!(1));
    assert!(kms.err(&admin, "ScheduleKeyDeletion", wrong).await.starts_with("InvalidParameter"));
    let found = events(&kms, &member, only(&[("PrincipalId", &admin.uin.to_string())])).await;
    assert_eq!(names(&found), ["ScheduleKeyDeletion", "DisableKey"]);
}

#[tokio::test]
async fn a_member_learns_no_keys_of_others() {
    let mut kms = Kms::start().await;
    let (admin, member, sibling) = (kms.user().await, kms.user().await, kms.user().await);
    kms.organise(&[admin.uin], &[member.uin, sibling.uin]);
    let kms = kms.restart().await;
    let own = kms.create(&member, "k").await;
    let foreign = kms.create(&sibling, "k").await;
    let of = json!({ "MemberUin": member.uin });
    for (action, params, wanted) in [
        ("DescribeKey", json!({ "KeyId": foreign }), "ResourceUnavailable.CmkNotFound"),
        ("DescribeKeys", json!({ "KeyIds": [own, foreign] }), "ResourceUnavailable.CmkNotFound"),
        ("DisableKeys", json!({ "KeyIds": [own, foreign], "DryRun": true }), "DryRunOperation"),
        ("DisableKeys", json!({ "KeyIds": [own, foreign], "Nonsense": 1 }), "UnknownParameter"),
    ] {
        assert_eq!(kms.err(&admin, action, with(params, "MemberAccount", of.clone())).await, wanted, "{action}");
    }
    kms.ok(&admin, "DescribeKeys", json!({ "KeyIds": [own], "MemberAccount": of })).await;
    let found = events(&kms, &member, only(&[("PrincipalId", &admin.uin.to_string())])).await;
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|event| !event.to_string().contains(&foreign)), "{found:?}");
    assert_eq!(names(&events(&kms, &member, only(&[("ResourceId", &foreign)])).await), Vec::<&str>::new());
    let by_own = events(&kms, &member, only(&[("ResourceId", &own)])).await;
    assert_eq!(names(&by_own), ["DescribeKeys", "CreateKey"]);
    // The administrator sees what he named.
    assert_eq!(events(&kms, &admin, only(&[("ResourceId", &foreign)])).await.len(), 4);
}

#[tokio::test]
async fn pages_go_to_the_end_while_records_are_written() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    for n in 0..25 {
        kms.create(&user, &format!("k{n}")).await;
    }
    for action in ["LookUpEvents", "DescribeEvents"] {
        let mut seen = Vec::new();
        let mut params = with(only(&[("EventName", "CreateKey")]), "MaxResults", json!(4));
        loop {
            let page = ask(&kms, &user, action, params.clone()).await;
            seen.extend(page["Events"].as_array().unwrap().iter().map(|e| e["EventId"].as_str().unwrap().to_owned()));
            kms.create(&user, &format!("{action}{}", seen.len())).await;
            if page["ListOver"] == true {
                assert!(page["NextToken"] == "" || page["NextToken"] == 0);
                break;
            }
            params["NextToken"] = page["NextToken"].clone();
        }
        let before = if action == "LookUpEvents" { 25 } else { 25 + 7 };
        assert_eq!(seen.len(), before, "{action}");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), before);
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let kms = Kms::start().await;
    let user = kms.user().await;
    let at = |from: u64, to: u64| json!({ "StartTime": from, "EndTime": to });
    let week = 7 * 86_400;
    let attribute = |key: &str, value: &str| only(&[(key, value)]);
    let both = ["LookUpEvents", "DescribeEvents"];
    for (actions, params, wanted) in [
        (&both[..], json!({ "StartTime": START }), "MissingParameter"),
        (&both[..], at(START, START - 1), "InvalidParameterValue.Time"),
        (&both[..], at(START, u64::MAX / 4), "InvalidParameter.Time"),
        (&both[..], json!({ "StartTime": -1, "EndTime": START }), "InvalidParameter.Time"),
        (&both[..], json!({ "StartTime": START, "EndTime": "-1" }), "InvalidParameter.Time"),
        (&both[..], json!({ "StartTime": START, "EndTime": u64::MAX }), "InvalidParameter.Time"),
        (&both[..], json!({ "StartTime": START, "EndTime": true }), "InvalidParameter"),
        (&both[..], json!({ "StartTime": START, "EndTime": "soon" }), "InvalidParameter"),
        (&both[..1], at(START, START + week + 1), "LimitExceeded.OverTime"),
        (&both[1..], at(START, START + 30 * 86_400 + 1), "LimitExceeded.OverTime"),
        (&both[..], with(day(), "MaxResults", json!(51)), "InvalidParameterValue.MaxResult"),
        (&both[..], with(day(), "MaxResults", json!(-1)), "InvalidParameterValue.MaxResult"),
        (&both[1..], with(day(), "NextToken", json!(-1)), "InvalidParameterValue"),
        (&both[..1], with(day(), "NextToken", json!("x")), "InvalidParameterValue"),
        (&both[..1], with(day(), "Mode", json!("slow")), "InvalidParameterValue"),
        (&both[1..], with(day(), "IsReturnLocation", json!(2)), "InvalidParameterValue"),
        (&both[..], attribute("Tags", r#"[{"key":"a","value":"b"}]"#), "InvalidParameterValue.attributeKey"),
        (&both[..], attribute("eventname", "Encrypt"), "InvalidParameterValue.attributeKey"),
        (&both[..], attribute("ActionType", "Use"), "InvalidParameterValue"),
        (&both[..], attribute("SensitiveAction", "2"), "InvalidParameterValue"),
        (&both[..], attribute("OnlyRecordNotSeen", "1"), "InvalidParameterValue"),
        (&both[..], only(&[("RequestId", "x"); 21]), "InvalidParameterValue"),
        (&both[..], attribute("EventName", &"a,".repeat(51)), "InvalidParameterValue"),
        (&both[..], attribute("EventName", " , "), "InvalidParameterValue"),
        (&both[..], with(day(), "Nonsense", json!(1)), "UnknownParameter"),
        (&both[..], with(day(), "DryRun", json!(true)), "DryRunOperation"),
    ] {
        for action in actions {
            let answer = ask(&kms, &user, action, params.clone()).await;
            assert_eq!(code(&answer), wanted, "{action} {params}");
        }
    }
    let longest = ask(&kms, &user, "LookUpEvents", at(START - week, START)).await;
    assert_eq!(longest["Events"].as_array().unwrap().len(), 10, "the default");
}

#[tokio::test]
async fn policies_say_who_may_look() {
    let kms = Kms::start().await;
    let root = kms.user().await;
    let user = kms.sub_user(&root, "carol").await;
    let look = || ask(&kms, &user, "LookUpEvents", day());
    assert_eq!(code(&look().await), "UnauthorizedOperation");
    assert_eq!(code(&ask(&kms, &user, "GetAttributeKey", json!({})).await), "UnauthorizedOperation");
    kms.cam(&root, "AttachUserPolicy", json!({ "PolicyId": 203, "AttachUin": user.uin })).await;
    let found = look().await;
    assert!(found["Events"].as_array().unwrap().iter().any(|e| e["EventName"] == "AttachUserPolicy"), "{found}");
    let keys = ask(&kms, &user, "GetAttributeKey", json!({ "WebsiteType": "en" })).await;
    let details = keys["AttributeKeyDetails"].as_array().unwrap();
    assert!(details.iter().any(|d| d["Value"] == "EventName" && d["Label"] == "Event name"), "{keys}");
    for detail in details {
        let params = only(&[(detail["Value"].as_str().unwrap(), "")]);
        assert!(ask(&kms, &user, "DescribeEvents", params).await.get("Error").is_none());
    }
}

#[tokio::test]
async fn jobs_and_earlier_runs_are_found() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "k").await;
    kms.ok(&user, "DisableKey", json!({ "KeyId": key })).await;
    kms.ok(&user, "ScheduleKeyDeletion", json!({ "KeyId": key, "PendingWindowInDays": 7 })).await;
    kms.pass_time(Duration::from_secs(8 * 86_400)).await;
    let kms = kms.restart().await;
    let params = with(only(&[("ResourceId", &key)]), "EndTime", json!(START + 10 * 86_400));
    let answer = ask(&kms, &user, "DescribeEvents", params).await;
    let found = answer["Events"].as_array().unwrap();
    assert_eq!(names(found).last(), Some(&"CreateKey"));
    assert!(names(found).contains(&"ScheduleKeyDeletion"), "{answer}");
    let job = found.iter().find(|e| e["Username"] == "jadeseal").expect("the deletion itself");
    assert_eq!((&job["EventSource"], &detail(job)["eventSource"]), (&json!("jadeseal"), &json!("jadeseal")));
    assert_eq!((&job["SourceIPAddress"], detail(job)["userIdentity"]["type"].as_str()), (&json!(""), Some("Service")));
}

#[tokio::test]
async fn nobody_passes_for_the_main_account() {
    use jadeseal_service::clock::Clock as _;
    let kms = Kms::start().await;
    let root = kms.user().await;
    let user = kms.sub_user(&root, "root").await;
    kms.cam(&root, "AttachUserPolicy", json!({ "PolicyId": 1, "AttachUin": user.uin })).await;
    let policy = json!({ "version": "2.0", "statement": [{ "effect": "allow", "action": "*", "resource": "*" }] });
    let session = json!({ "Name": "root", "Policy": policy.to_string() });
    let session = kms.sts(&user, "GetFederationToken", session).await;
    let text = |name: &str| session["Credentials"][name].as_str().unwrap().to_owned();
    let federated = user.with_key(0, &text("TmpSecretId"), &text("TmpSecretKey"));
    let request = support::Request::new(&federated, kms.clock.now(), support::AES, "GetRegions", &json!({}));
    kms.send(&request.with_header("x-tc-token", &text("Token"))).await;
    kms.call(&user, "ListKeys", json!({})).await;
    let found = events(&kms, &root, only(&[("EventName", "GetRegions,ListKeys")])).await;
    let shown: Vec<_> = found.iter().map(|e| e["Username"].as_str().unwrap().to_owned()).collect();
    assert_eq!(shown, [user.uin.to_string(), format!("{}:root", user.uin)]);
    for (name, wanted) in shown.iter().zip([vec!["ListKeys", "GetFederationToken"], vec!["GetRegions"]]) {
        assert_eq!(names(&events(&kms, &root, only(&[("Username", name)])).await), wanted, "{name}");
    }
    let by_root = events(&kms, &root, only(&[("Username", "root")])).await;
    assert!(by_root.iter().all(|e| detail(e)["userIdentity"]["type"] == "Root"), "{by_root:?}");
    assert_eq!(names(&by_root).last(), Some(&"AddUser"));
}
