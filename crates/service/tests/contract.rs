//! The action table against the real API's: names, types, required flags.

use serde_json::Value;
use std::collections::BTreeSet;

/// Actions that are not served yet. This list may only shrink.
const MISSING: &[&str] = &[
    "CreateWhiteBoxKey",
    "DeleteWhiteBoxKey",
    "DescribeWhiteBoxDecryptKey",
    "DescribeWhiteBoxDeviceFingerprints",
    "DescribeWhiteBoxKey",
    "DescribeWhiteBoxKeyDetails",
    "DescribeWhiteBoxServiceStatus",
    "DisableWhiteBoxKey",
    "DisableWhiteBoxKeys",
    "EnableWhiteBoxKey",
    "EnableWhiteBoxKeys",
    "EncryptByWhiteBox",
    "OverwriteWhiteBoxDeviceFingerprints",
];

fn real() -> Value {
    serde_json::from_str(include_str!("../../../api/kms-2019-01-18.json")).unwrap()
}

fn export() -> &'static jadeseal_service::Export {
    jadeseal_service::EXPORTS.iter().find(|e| e.file == "actions.json").unwrap()
}

fn ours() -> Value {
    serde_json::from_str(&export().json()).unwrap()
}

/// (name, type, required) of a list of fields; `GenerateRandom` marks a member of its answer as required,
/// which means nothing there.
fn shape(fields: &Value, request: bool) -> BTreeSet<(String, String, bool)> {
    let text = |f: &Value, name: &str| f[name].as_str().unwrap().to_owned();
    let required = |f: &Value| request && f.get("required").and_then(Value::as_bool).unwrap_or(false);
    fields.as_array().unwrap().iter().map(|f| (text(f, "name"), text(f, "type"), required(f))).collect()
}

fn nullable(fields: &Value) -> BTreeSet<String> {
    let is = |f: &&Value| f.get("nullable").and_then(Value::as_bool).unwrap_or(false);
    fields.as_array().unwrap().iter().filter(is).map(|f| f["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn served_and_missing_actions_are_the_whole_api() {
    let (real, ours) = (real(), ours());
    let all: BTreeSet<_> = real["actions"].as_object().unwrap().keys().cloned().collect();
    let served: BTreeSet<_> = ours["actions"].as_object().unwrap().keys().cloned().collect();
    let missing: BTreeSet<_> = MISSING.iter().map(|s| (*s).to_owned()).collect();
    assert_eq!(served.intersection(&missing).count(), 0, "served actions must leave the list");
    assert_eq!(served.union(&missing).cloned().collect::<BTreeSet<_>>(), all);
    assert_eq!((all.len(), missing.len()), (69, 13));
}

#[test]
fn names_types_and_flags_are_equal() {
    let (real, ours) = (real(), ours());
    for (action, entry) in ours["actions"].as_object().unwrap() {
        let theirs = &real["actions"][action];
        assert_eq!(shape(&entry["request"], true), shape(&theirs["request"], true), "{action} request");
        assert_eq!(shape(&entry["response"], false), shape(&theirs["response"], false), "{action} response");
        assert_eq!(nullable(&entry["response"]), nullable(&theirs["response"]), "{action} nullable");
    }
    for (name, fields) in ours["types"].as_object().unwrap() {
        assert_eq!(shape(fields, true), shape(&real["types"][name], true), "type {name}");
    }
}

#[test]
fn every_entry_is_described_and_its_codes_are_known() {
    let codes: BTreeSet<_> = jadeseal_types::ErrorCode::ALL.iter().map(|c| c.wire()).collect();
    for (action, entry) in ours()["actions"].as_object().unwrap() {
        for lang in ["en", "zh"] {
            assert!(!entry["doc"][lang].as_str().unwrap().is_empty(), "{action}");
            for field in entry["request"].as_array().unwrap().iter().chain(entry["response"].as_array().unwrap()) {
                assert!(!field["doc"][lang].as_str().unwrap().is_empty(), "{action} {field}");
            }
        }
        assert_eq!(entry["permission"].as_str().unwrap(), format!("kms:{action}"));
        assert!(entry["errors"].as_array().unwrap().iter().all(|c| codes.contains(c.as_str().unwrap())), "{action}");
    }
}

#[test]
fn the_committed_export_is_fresh() {
    let committed = include_str!("../../../api/actions.json");
    assert!(committed == export().json(), "run `cargo xtask export`");
}

fn tag_tables() -> (Value, Value) {
    let export = jadeseal_service::EXPORTS.iter().find(|e| e.file == "tag-actions.json").unwrap();
    let real = serde_json::from_str(include_str!("../../../api/tag-2018-08-13.json")).unwrap();
    (real, serde_json::from_str(&export.json()).unwrap())
}

/// Actions of the tag service that are not served: those about more than the tags of resources. This list may only
/// shrink.
const MISSING_OF_TAG: &[&str] = &[
    "AddProject",
    "AddResourceTag",
    "AttachResourcesTag",
    "CreateTag",
    "CreateTags",
    "DeleteResourceTag",
    "DeleteTag",
    "DeleteTags",
    "DescribeProjects",
    "DescribeResourceTags",
    "DescribeResourceTagsByResourceIdsSeq",
    "DescribeResourceTagsByTagKeys",
    "DescribeResourcesByTags",
    "DescribeResourcesByTagsUnion",
    "DescribeTagKeys",
    "DescribeTagValues",
    "DescribeTagValuesSeq",
    "DescribeTags",
    "DescribeTagsSeq",
    "DetachResourcesTag",
    "GetTags",
    "ModifyResourcesTagValue",
    "UpdateProject",
    "UpdateResourceTagValue",
];

#[test]
fn tag_actions_are_as_in_the_real_api() {
    let (real, ours) = tag_tables();
    let names = |table: &Value| table["actions"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let missing: BTreeSet<_> = MISSING_OF_TAG.iter().map(|s| (*s).to_owned()).collect();
    assert_eq!(names(&ours).intersection(&missing).count(), 0, "served actions must leave the list");
    assert_eq!(names(&ours).union(&missing).cloned().collect::<BTreeSet<_>>(), names(&real));
    for (action, entry) in ours["actions"].as_object().unwrap() {
        let theirs = &real["actions"][action];
        assert_eq!(shape(&entry["request"], true), shape(&theirs["request"], true), "{action} request");
        assert_eq!(shape(&entry["response"], false), shape(&theirs["response"], false), "{action} response");
        assert!(nullable(&entry["response"]).is_subset(&nullable(&theirs["response"])), "{action} nullable");
        assert_eq!(entry["permission"], format!("tag:{action}"));
    }
    for (name, fields) in ours["types"].as_object().unwrap() {
        // Members of answers are marked as required in the real table, which means nothing.
        assert_eq!(shape(fields, false), shape(&real["types"][name], false), "type {name}");
        assert!(nullable(fields).is_subset(&nullable(&real["types"][name])), "type {name}");
    }
    let committed = include_str!("../../../api/tag-actions.json");
    assert!(serde_json::from_str::<Value>(committed).unwrap() == ours, "run `cargo xtask export`");
}

fn cam_tables() -> (Value, Value) {
    let export = jadeseal_service::EXPORTS.iter().find(|e| e.file == "cam-actions.json").unwrap();
    // What the real table calls a time or a date is text as everything else.
    let real = include_str!("../../../api/cam-2019-01-16.json");
    let real = real.replace("\"datetime\"", "\"string\"").replace("\"date\"", "\"string\"");
    (serde_json::from_str(&real).unwrap(), serde_json::from_str(&export.json()).unwrap())
}

/// Actions of access management that are not served: console passwords, multi-factor authentication, identity providers,
/// versions of policies, permission boundaries, service-linked roles and message receivers. This list may only shrink.
const MISSING_OF_CAM: &[&str] = &[
    "BuildDataFlowAuthToken",
    "ConsumeCustomMFAToken",
    "CreateMessageReceiver",
    "CreateOIDCConfig",
    "CreatePolicyVersion",
    "CreateSAMLProvider",
    "CreateServiceLinkedRole",
    "CreateSubAccountLoginIpPolicy",
    "CreateUserOIDCConfig",
    "CreateUserSAMLConfig",
    "DeleteMessageReceiver",
    "DeleteOIDCConfig",
    "DeletePolicyVersion",
    "DeleteRolePermissionsBoundary",
    "DeleteSAMLProvider",
    "DeleteServiceLinkedRole",
    "DeleteUserPermissionsBoundary",
    "DescribeOIDCConfig",
    "DescribeSafeAuthFlag",
    "DescribeSafeAuthFlagColl",
    "DescribeSafeAuthFlagIntl",
    "DescribeUserOIDCConfig",
    "DescribeUserSAMLConfig",
    "DisableUserSSO",
    "GetCustomMFATokenInfo",
    "GetPasswordRules",
    "GetPolicyVersion",
    "GetRolePermissionBoundary",
    "GetSAMLProvider",
    "GetServiceLinkedRoleDeletionStatus",
    "GetUserPermissionBoundary",
    "ListAccounts",
    "ListCollaborators",
    "ListPoliciesGrantingServiceAccess",
    "ListPolicyVersions",
    "ListReceiver",
    "ListSAMLProviders",
    "ListWeChatWorkSubAccounts",
    "PutRolePermissionsBoundary",
    "PutUserPermissionsBoundary",
    "SetDefaultPolicyVersion",
    "SetMfaFlag",
    "UpdateOIDCConfig",
    "UpdatePasswordRules",
    "UpdateSAMLProvider",
    "UpdateUserOIDCConfig",
    "UpdateUserSAMLConfig",
];

#[test]
fn cam_actions_are_as_in_the_real_api() {
    let (real, ours) = cam_tables();
    let names = |table: &Value| table["actions"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let missing: BTreeSet<_> = MISSING_OF_CAM.iter().map(|s| (*s).to_owned()).collect();
    assert_eq!(names(&ours).intersection(&missing).count(), 0, "served actions must leave the list");
    assert_eq!(names(&ours).union(&missing).cloned().collect::<BTreeSet<_>>(), names(&real));
    for (action, entry) in ours["actions"].as_object().unwrap() {
        let theirs = &real["actions"][action];
        assert!(theirs.is_object(), "{action} is none of the real API's");
        assert_eq!(shape(&entry["request"], true), shape(&theirs["request"], true), "{action} request");
        assert_eq!(shape(&entry["response"], false), shape(&theirs["response"], false), "{action} response");
        assert!(nullable(&entry["response"]).is_subset(&nullable(&theirs["response"])), "{action} nullable");
        assert_eq!(entry["permission"], format!("cam:{action}"));
        assert_ne!(entry["resource"], "key", "{action}");
    }
    for (name, fields) in ours["types"].as_object().unwrap() {
        // As with tags: what is required of an answer means nothing.
        let is_asked = name == "GroupIdOfUidInfo";
        assert_eq!(shape(fields, is_asked), shape(&real["types"][name], is_asked), "type {name}");
        assert!(nullable(fields).is_subset(&nullable(&real["types"][name])), "type {name}");
    }
    let committed = include_str!("../../../api/cam-actions.json");
    assert!(serde_json::from_str::<Value>(committed).unwrap() == ours, "run `cargo xtask export`");
}

#[test]
fn sts_actions_are_as_in_the_real_api() {
    let export = jadeseal_service::EXPORTS.iter().find(|e| e.file == "sts-actions.json").unwrap();
    let real: Value = serde_json::from_str(include_str!("../../../api/sts-2018-08-13.json")).unwrap();
    let ours: Value = serde_json::from_str(&export.json()).unwrap();
    let served: Vec<_> = ours["actions"].as_object().unwrap().keys().collect();
    // The others ask for a second factor or an identity provider, or are about keys of the root user of old.
    assert_eq!(served, ["AssumeRole", "GetCallerIdentity", "GetFederationToken"]);
    for (action, entry) in ours["actions"].as_object().unwrap() {
        let theirs = &real["actions"][action];
        assert_eq!(shape(&entry["request"], true), shape(&theirs["request"], true), "{action} request");
        let answer = shape(&entry["response"], false);
        assert!(answer == shape(&theirs["response"], false) || action == "GetFederationToken", "{action} response");
        assert_eq!(entry["permission"], format!("sts:{action}"));
    }
    for (name, fields) in ours["types"].as_object().unwrap() {
        assert_eq!(shape(fields, name == "Tag"), shape(&real["types"][name], name == "Tag"), "type {name}");
    }
    let committed = include_str!("../../../api/sts-actions.json");
    assert!(serde_json::from_str::<Value>(committed).unwrap() == ours, "run `cargo xtask export`");
}

#[test]
fn cloudaudit_actions_are_as_in_the_real_api() {
    let export = jadeseal_service::EXPORTS.iter().find(|e| e.file == "cloudaudit-actions.json").unwrap();
    let real: Value = serde_json::from_str(include_str!("../../../api/cloudaudit-2019-03-19.json")).unwrap();
    let ours: Value = serde_json::from_str(&export.json()).unwrap();
    let served: Vec<_> = ours["actions"].as_object().unwrap().keys().collect();
    // The others are about shipping events to the cloud's object storage and queues.
    assert_eq!(served, ["DescribeEvents", "GetAttributeKey", "LookUpEvents"]);
    for (action, entry) in ours["actions"].as_object().unwrap() {
        let theirs = &real["actions"][action];
        assert_eq!(shape(&entry["request"], true), shape(&theirs["request"], true), "{action} request");
        assert_eq!(shape(&entry["response"], false), shape(&theirs["response"], false), "{action} response");
        assert_eq!(nullable(&entry["response"]), nullable(&theirs["response"]), "{action} nullable");
        assert_eq!((&entry["permission"], &entry["resource"]), (&format!("cloudaudit:{action}").into(), &"*".into()));
    }
    for (name, fields) in ours["types"].as_object().unwrap() {
        let is_asked = name == "LookupAttribute";
        assert_eq!(shape(fields, is_asked), shape(&real["types"][name], is_asked), "type {name}");
        assert_eq!(nullable(fields), nullable(&real["types"][name]), "type {name}");
    }
    let committed = include_str!("../../../api/cloudaudit-actions.json");
    assert!(serde_json::from_str::<Value>(committed).unwrap() == ours, "run `cargo xtask export`");
}

/// Conditions on the tags that a request carries look for them under two names.
#[test]
fn tags_that_are_set_are_under_the_names_that_policies_look_at() {
    for export in jadeseal_service::EXPORTS {
        let table: Value = serde_json::from_str(&export.json()).unwrap();
        let tags: BTreeSet<&String> = table["types"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, fields)| {
                let has = |name: &str| fields.as_array().unwrap().iter().any(|f| f["name"] == name);
                (has("TagKey") && has("TagValue") || has("Key") && has("Value"))
                    && fields.as_array().unwrap().len() <= 3
            })
            .map(|(name, _)| name)
            .collect();
        for (action, entry) in table["actions"].as_object().unwrap().iter().filter(|(_, e)| e["access"] != "read") {
            for field in entry["request"].as_array().unwrap() {
                let ty = field["type"].as_str().unwrap().trim_matches(['[', ']']);
                let set = tags.iter().any(|name| *name == ty);
                let looked_at = ["Tags", "ReplaceTags"].contains(&field["name"].as_str().unwrap());
                assert!(!set || looked_at, "{action} sets tags under {}", field["name"]);
            }
        }
    }
}
