//! Events: records in the form that CloudAudit gives them.
//!
//! What the log does not keep is an empty value of the right type: above all the parameters of requests and the members of
//! answers, which may hold plaintexts.

use super::{
    filters::{CAM_REFUSED, REFUSALS, SENSITIVE},
    names::Names,
};
use crate::{
    entries,
    schema::{Doc, answer},
};
use jadeseal_audit::{Facts, unescaped};
use jadeseal_types::ErrorCode;
use serde_json::json;

answer! {
    /// What an event is about.
    Resource as "Resource" {
        kind: String = "ResourceType" nullable, Doc("The product.", "资源类型。");
        name: String = "ResourceName" nullable, Doc("Ids of keys, and principals, separated by commas.", "资源名称，多个以逗号分隔。");
    }
}

answer! {
    /// An event.
    Event as "Event" {
        id: String = "EventId", Doc("Index of the record in the log, a hyphen, id of the request.", "日志 ID：记录序号-请求 ID。");
        username: String = "Username", Doc("Name of the principal.", "用户名。");
        time: String = "EventTime", Doc("When the request arrived, Unix seconds.", "事件时间，Unix 秒。");
        detail: String = "CloudAuditEvent", Doc("The whole event as JSON.", "日志详情，JSON。");
        kind_cn: &'static str = "ResourceTypeCn", Doc("The product in Chinese.", "资源类型中文描述。");
        error: i64 = "ErrorCode", Doc("Code of CAM: 0, or 4102 when a policy refused.", "鉴权错误码：0，被策略拒绝时为 4102。");
        name: String = "EventName", Doc("The action.", "事件名称。");
        secret_id: String = "SecretId", Doc("The access key.", "密钥 ID。");
        event_source: String = "EventSource", Doc("Domain of the product; jadeseal for what no request asked for.", "请求来源；非请求触发的事件为 jadeseal。");
        request_id: String = "RequestID", Doc("Id of the request.", "请求 ID。");
        resource_region: String = "ResourceRegion", Doc("Region of the request.", "资源地域。");
        account: i64 = "AccountID", Doc("Main account of the principal.", "主账号 ID。");
        address: String = "SourceIPAddress", Doc("Address of the caller.", "源 IP。");
        name_cn: String = "EventNameCn", Doc("The action in Chinese.", "事件名称中文描述。");
        resources: Resource = "Resources", Doc("What it is about.", "资源对。");
        region: String = "EventRegion", Doc("Region of the request.", "事件地域。");
        location: String = "Location", Doc("Where the address lies; not known here.", "IP 归属地，此处恒为空。");
    }
}

/// Source of events that no request asked for.
const OWN_SOURCE: &str = "jadeseal";
/// Version of the form of events.
const EVENT_VERSION: u64 = 2;

/// What kind of principal it is, in the words of events.
fn kind(principal: &str) -> &'static str {
    match principal {
        "root" => "Root",
        "user" => "CAMUser",
        "role" => "AssumedRole",
        "federated" => "FederatedUser",
        _ => "Service",
    }
}

fn product_cn(service: &str) -> &'static str {
    match service {
        "kms" => "密钥管理系统",
        "cam" => "访问管理",
        "sts" => "安全凭证服务",
        "tag" => "标签",
        "cloudaudit" => "操作审计",
        _ => "",
    }
}

impl Event {
    /// A record, as its account sees it.
    pub fn new(index: u64, facts: &Facts<'_>, names: &Names<'_>) -> Self {
        let username = names.of(facts);
        let id = format!("{index}-{}", facts.request_id);
        let seconds = facts.time_micros / 1_000_000;
        let refused = REFUSALS.iter().any(|code| code.wire() == facts.code);
        let error = if refused { CAM_REFUSED } else { 0 };
        let code = ErrorCode::ALL.iter().find(|code| code.wire() == facts.code);
        let message = code.map(|code| code.text().en.into_owned()).unwrap_or_default();
        let about: Vec<String> =
            facts.resources.iter().chain(facts.subjects.iter()).map(|text| unescaped(text).into_owned()).collect();
        // What the service does by itself, and what its command line does, came through no API.
        let event_source = match facts.principal {
            "service" => OWN_SOURCE.to_owned(),
            _ => format!("{}.tencentcloudapi.com", facts.service),
        };
        let session = match facts.session {
            "" => String::new(),
            name => json!({ "sessionName": unescaped(name) }).to_string(),
        };
        let detail = json!({
            "userIdentity": {
                "principalId": facts.uin,
                "accountId": facts.account,
                "secretId": facts.secret_id,
                "sessionContext": session,
                "type": kind(facts.principal),
                "userName": username,
            },
            "eventRegion": facts.region,
            "eventVersion": EVENT_VERSION,
            "errorCode": error.to_string(),
            "errorMessage": if refused { message.as_str() } else { "" },
            "requestID": facts.request_id,
            "eventID": id,
            "apiVersion": "3.0",
            "eventType": "ApiCall",
            "actionType": if facts.access == "write" { "Write" } else { "Read" },
            "apiErrorCode": if facts.code.is_empty() { "0" } else { facts.code },
            "apiErrorMessage": message,
            "userAgent": unescaped(facts.user_agent),
            "eventTime": seconds,
            "sensitiveAction": if SENSITIVE.contains(&facts.action) { "1" } else { "0" },
            "eventPlatform": 0,
            "sourceIPAddress": facts.source,
            "resourceType": facts.service,
            "eventName": facts.action,
            "eventSource": event_source,
            "requestParameters": "",
            "requestElements": "",
            "responseElements": "",
            "resources": json!(about).to_string(),
            "resourceName": about.join(","),
            "resourceSet": [],
            "tags": [],
            "memberAccounts": facts.targets.iter().collect::<Vec<_>>(),
        });
        let entry = entries().find(|e| e.api.service == facts.service && e.spec.name == facts.action);
        Event {
            id,
            username,
            time: seconds.to_string(),
            detail: detail.to_string(),
            kind_cn: product_cn(facts.service),
            error,
            name: facts.action.to_owned(),
            secret_id: facts.secret_id.to_owned(),
            event_source,
            request_id: facts.request_id.to_owned(),
            resource_region: facts.region.to_owned(),
            account: facts.account.parse().unwrap_or(0),
            address: facts.source.to_owned(),
            name_cn: entry.map(|e| e.spec.doc.1.trim_end_matches('。').to_owned()).unwrap_or_default(),
            resources: Resource { kind: facts.service.to_owned(), name: about.join(",") },
            region: facts.region.to_owned(),
            location: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_certificate_is_no_refusal_by_a_policy() {
        let all = super::super::names::tests::identities();
        for (code, error) in [("UnauthorizedOperation", 4102), ("AuthFailure.UnauthorizedOperation", 0), ("", 0)] {
            let json = format!(
                concat!(
                    r#"{{"v":1,"time":"2026-11-24T02:15:22.123456Z","request_id":"r","account":"1","uin":"1","#,
                    r#""principal":"root","secret_id":"","source":"","user_agent":"","service":"kms","version":"","#,
                    r#""action":"Encrypt","region":"","resources":[],"access":"use","code":"{}"}}"#
                ),
                code
            );
            let event = Event::new(0, &Facts::parse(json.as_bytes()).unwrap(), &Names::new(&all));
            assert_eq!(event.error, error, "{code}");
            let detail: serde_json::Value = serde_json::from_str(&event.detail).unwrap();
            assert_eq!(detail["apiErrorCode"], if code.is_empty() { "0" } else { code });
        }
    }
}
