//! The tag service through the whole service.

mod support;

use jadeseal_service::clock::Clock as _;

use serde_json::{Value, json};
use support::{AES, Kms, Request, User, code, hosted::host};

async fn tag(kms: &Kms, user: &User, action: &str, params: Value) -> Value {
    let request = Request::new(user, kms.clock.now(), AES, action, &params);
    kms.send(&request.with_header("x-tc-version", "2018-08-13")).await
}

#[tokio::test]
async fn keys_and_data_keys_are_tagged_and_found() {
    let kms = Kms::start().await;
    let (user, other) = (kms.user().await, kms.user().await);
    let cmk = kms.create(&user, "cmk").await;
    let data = host(&kms, &user, &cmk, "data").await.0;
    let metadata = kms.ok(&user, "DescribeKey", json!({ "KeyId": cmk })).await["KeyMetadata"].clone();
    let creator = metadata["CreatorUin"].to_string();
    let name = |id: &str| format!("qcs::kms:{AES}:uin/:key/creatorUin/{creator}/{id}");
    let set = json!({ "Resource": name(&cmk), "ReplaceTags": [{ "TagKey": "env", "TagValue": "prod" }] });
    let answer = tag(&kms, &user, "ModifyResourceTags", set.clone()).await;
    assert!(answer.get("Error").is_none(), "{answer}");
    let unknown = name("11111111-1111-1111-1111-111111111111");
    let tags = json!([{ "TagKey": "env", "TagValue": "test" }]);
    let list = json!([name(&data), unknown, "qcs::cvm:x:uin/:y"]);
    let answer = tag(&kms, &user, "TagResources", json!({ "ResourceList": list, "Tags": tags })).await;
    let failed: Vec<_> = answer["FailedResources"].as_array().unwrap().iter().map(|f| f["Code"].clone()).collect();
    assert_eq!(failed, ["ResourceNotFound", "InvalidParameterValue.ResourceDescriptionError"]);

    let page = kms.ok(&user, "ListDataKeyDetail", json!({ "TagFilters": [{ "TagKey": "env" }] })).await;
    assert_eq!(page["TotalCount"], 1);
    let first = tag(&kms, &user, "GetResources", json!({ "MaxResults": 1 })).await;
    let more = json!({ "MaxResults": 1, "PaginationToken": first["PaginationToken"] });
    let second = tag(&kms, &user, "GetResources", more).await;
    assert_eq!(second["PaginationToken"], "");
    assert_ne!(first["ResourceTagMappingList"], second["ResourceTagMappingList"]);
    let bad = tag(&kms, &user, "GetResources", json!({ "PaginationToken": "x" })).await;
    assert_eq!(code(&bad), "InvalidParameter.PaginationTokenInvalid");
    let values = tag(&kms, &user, "GetTagValues", json!({ "TagKeys": ["env"] })).await;
    let values: Vec<_> = values["Tags"].as_array().unwrap().iter().map(|t| t["TagValue"].clone()).collect();
    assert_eq!(values, ["prod", "test"]);

    let ask = json!({ "ServiceType": "kms", "ResourcePrefix": "key", "ResourceRegion": AES,
        "ResourceIds": [format!("creatorUin/{creator}/{cmk}")], "Offset": 0, "Limit": 20 });
    let answer = tag(&kms, &user, "DescribeResourceTagsByResourceIds", ask.clone()).await;
    assert_eq!((&answer["TotalCount"], &answer["Tags"][0]["TagValue"]), (&json!(1), &json!("prod")));
    assert_eq!(answer["Tags"][0]["TagKeyMd5"], "ff035a1dd7655da15295fa5fa89362a7");

    // Another account neither sees nor changes them.
    assert_eq!(tag(&kms, &other, "DescribeResourceTagsByResourceIds", ask).await["TotalCount"], 0);
    assert_eq!(code(&tag(&kms, &other, "ModifyResourceTags", set).await), "ResourceNotFound");
    assert_eq!(tag(&kms, &other, "GetTagKeys", json!({})).await["TagKeys"], json!([]));

    let remove = json!({ "ResourceList": [name(&cmk), name(&data)], "TagKeys": ["env"] });
    assert_eq!(tag(&kms, &user, "UnTagResources", remove).await["FailedResources"], json!([]));
    assert_eq!(tag(&kms, &user, "GetTagKeys", json!({})).await["TagKeys"], json!([]));
    assert_eq!(code(&tag(&kms, &user, "Encrypt", json!({})).await), "InvalidAction");
    assert!(kms.audit().contains(r#""service":"tag","version":"2018-08-13","action":"UnTagResources""#));
}

/// A key can be tagged as long as it is there, and its tags go with it.
#[tokio::test]
async fn tags_in_every_state_and_after_the_end() {
    let mut kms = Kms::start().await;
    let user = kms.user().await;
    let key = kms.create(&user, "cmk").await;
    let metadata = kms.ok(&user, "DescribeKey", json!({ "KeyId": key })).await["KeyMetadata"].clone();
    let name = format!("qcs::kms:{AES}:uin/:key/{}", metadata["ResourceId"].as_str().unwrap());
    let set = |value: &str| json!({ "Resource": name, "ReplaceTags": [{ "TagKey": "state", "TagValue": value }] });
    for (action, more) in [
        ("ArchiveKey", json!({})),
        ("CancelKeyArchive", json!({})),
        ("DisableKey", json!({})),
        ("ScheduleKeyDeletion", json!({ "PendingWindowInDays": 7 })),
    ] {
        kms.ok(&user, action, support::hosted::with(&json!({ "KeyId": key }), more)).await;
        let answer = tag(&kms, &user, "ModifyResourceTags", set(action)).await;
        assert!(answer.get("Error").is_none(), "{action}: {answer}");
        let seen = tag(&kms, &user, "GetTagValues", json!({ "TagKeys": ["state"] })).await;
        assert_eq!(seen["Tags"][0]["TagValue"], action);
    }
    kms.pass_time(std::time::Duration::from_secs(8 * 86_400)).await;
    assert_eq!(code(&tag(&kms, &user, "ModifyResourceTags", set("gone")).await), "ResourceNotFound");
    assert_eq!(tag(&kms, &user, "GetTagKeys", json!({})).await["TagKeys"], json!([]));
    assert_eq!(tag(&kms, &user, "GetResources", json!({})).await["ResourceTagMappingList"], json!([]));
}

/// A product's key is tagged by nobody, a resource has one spelling, and a record names what was changed and no more.
#[tokio::test]
async fn what_may_not_be_tagged() {
    let kms = Kms::start().await;
    let new = kms.svc.create_account("test").await.unwrap();
    let (account, product) = (new.account, jadeseal_types::Alias::parse("cos").unwrap());
    let user: User = new.into();
    let cos: User = kms.svc.accounts().grant(account, &product).await.unwrap().unwrap().into();
    let theirs = kms.ok(&cos, "Encrypt", json!({ "Plaintext": "AA==" })).await["KeyId"].as_str().unwrap().to_owned();
    let mine = kms.create(&user, "mine").await;
    let name = |creator: &str, id: &str| format!("qcs::kms:{AES}:uin/:key/creatorUin/{creator}/{id}");
    let own = account.to_string();
    let tags = json!([{ "TagKey": "a", "TagValue": "b" }]);
    let list = json!([name(&own, &theirs), name(&own, &mine)]);
    let answer = tag(&kms, &user, "TagResources", json!({ "ResourceList": list, "Tags": tags })).await;
    assert_eq!(answer["FailedResources"][0]["Code"], "UnauthorizedOperation");
    assert_eq!(answer["FailedResources"].as_array().unwrap().len(), 1);
    let request = answer["RequestId"].as_str().unwrap();
    let audit = kms.audit();
    let record = audit.lines().find(|line| line.contains(request)).unwrap();
    assert!(record.contains(&mine) && !record.contains(&theirs), "{record}");
    let answer = tag(&kms, &cos, "TagResources", json!({ "ResourceList": list, "Tags": tags })).await;
    assert_eq!(code(&answer), "UnauthorizedOperation");
    for odd in [
        name(&format!("+{own}"), &mine),
        name(&format!("0{own}"), &mine),
        name(&own, &mine.to_uppercase()),
        name(&own, &mine).replace("qcs::", "qcs:x:"),
    ] {
        let one = json!({ "Resource": odd, "ReplaceTags": tags });
        let refused = code(&tag(&kms, &user, "ModifyResourceTags", one).await);
        assert_eq!(refused, "InvalidParameterValue.ResourceDescriptionError", "{odd}");
    }
}
