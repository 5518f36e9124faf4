//! The rules of the language a second time, slow and without the code they check: over the JSON text as written.

use super::{Binding, Checks, Conditions, Decision, Resource};
use serde_json::Value;
use std::net::IpAddr;

/// Recursive.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), first) => glob(&pattern[1..], text) || first.is_some_and(|c| glob(pattern, &text[c.len_utf8()..])),
        (Some(p), Some(t)) => p == t && glob(&pattern[p.len_utf8()..], &text[t.len_utf8()..]),
        _ => false,
    }
}

/// Who asks what.
pub(super) struct Question<'a> {
    pub checks: &'a Checks<'a>,
    pub binding: Binding,
    pub service: &'a str,
    pub action: &'a str,
    /// A key has facts.
    pub resource: Resource<'a>,
    pub conditions: Conditions<'a>,
}

/// Decides by documents, each under its name.
pub(super) fn decide(question: &Question<'_>, policies: &[(String, Value)]) -> Decision {
    let mut outcome = Decision::NotAllowed;
    for wanted in ["allow", "deny"] {
        'side: for (name, document) in policies {
            for (i, statement) in member(document, "statement").unwrap().as_array().unwrap().iter().enumerate() {
                let effect = member(statement, "effect").unwrap().as_str().unwrap();
                if effect.to_lowercase() == wanted && question.matches(statement) {
                    let by = super::By { policy: name.as_str().into(), statement: i };
                    outcome = if wanted == "allow" { Decision::Allowed(by) } else { Decision::Denied(by) };
                    break 'side;
                }
            }
        }
    }
    outcome
}

fn member<'v>(object: &'v Value, name: &str) -> Option<&'v Value> {
    object.as_object().unwrap().iter().find(|(n, _)| n.to_lowercase() == name).map(|(_, v)| v)
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_else(|| vec![value.clone()])
}

impl Question<'_> {
    fn matches(&self, statement: &Value) -> bool {
        let strings = |name| list(member(statement, name).unwrap()).into_iter().map(|v| v.as_str().unwrap().to_owned());
        strings("action").any(|a| self.action(&a))
            && strings("resource").any(|r| self.resource(&self.expand(&r)))
            && member(statement, "condition").filter(|c| !c.is_null()).is_none_or(|c| {
                c.as_object().unwrap().iter().all(|(operator, keys)| {
                    keys.as_object().unwrap().iter().all(|(key, values)| self.condition(operator, key, &list(values)))
                })
            })
    }

    fn expand(&self, text: &str) -> String {
        text.replace("${uin}", &self.binding.uin.to_string())
            .replace("${owner_uin}", &self.binding.account.to_string())
            .replace("${app_id}", &self.binding.app_id.to_string())
    }

    fn action(&self, pattern: &str) -> bool {
        let pattern = match pattern.trim_start_matches("name/") {
            "*" => "*:*",
            "kms:ListKey" => "kms:ListKeys",
            "kms:GetKeyAttributes" => "kms:DescribeKey",
            "kms:SetKeyAttributes" => "kms:UpdateKeyDescription",
            other => other,
        };
        let (service, name) = pattern.split_once(':').unwrap();
        glob(service, self.service) && glob(name, self.action)
    }

    fn resource(&self, pattern: &str) -> bool {
        if pattern == "*" {
            return true;
        }
        let segments: Vec<&str> = pattern.splitn(6, ':').collect();
        let (service, region, account, names) = match &self.resource {
            Resource::Everything => return false,
            Resource::Key { region, account, id, facts } => {
                let name = format!("key/creatorUin/{}/{id}", facts.unwrap().creator);
                ("kms", region.as_str(), *account, vec![name])
            }
            Resource::Identity { account, spellings } => ("cam", "", *account, spellings.to_vec()),
        };
        let own = account == self.binding.account;
        let theirs = match segments[4] {
            "" | "uin/" => own,
            "*" | "uin/*" => own || self.checks.members.contains(&account),
            text => text == format!("uin/{account}"),
        };
        theirs
            && ["", "*", service].contains(&segments[2])
            && (segments[3].is_empty() || glob(segments[3], region))
            && names.iter().any(|n| glob(segments[5], n))
    }

    /// The values of a request under a key, as text.
    fn seen(&self, key: &str) -> Vec<String> {
        let facts = match self.resource {
            Resource::Key { facts, .. } => facts,
            _ => None,
        };
        match (key, facts) {
            ("qcs:uin", _) => vec![self.binding.uin.to_string()],
            ("qcs:owner_uin", _) => vec![self.binding.account.to_string()],
            ("qcs:create_uin", facts) => facts.iter().map(|f| f.creator.to_string()).collect(),
            ("qcs:resource_tag" | "qcs:tag", Some(facts)) => facts.tags.to_vec(),
            ("qcs:tag" | "qcs:request_tag", _) => self.conditions.request_tags.to_vec(),
            ("qcs:ip", _) => self.conditions.source.iter().map(IpAddr::to_string).collect(),
            ("kms:secure-transport", _) => vec![self.conditions.secure.to_string()],
            ("qcs:current_time", _) => vec![self.conditions.now.to_string()],
            _ => Vec::new(),
        }
    }

    fn condition(&self, operator: &str, key: &str, values: &[Value]) -> bool {
        let seen = self.seen(key);
        let values: Vec<String> =
            values.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), |text| self.expand(text))).collect();
        if operator == "null_equal" {
            return values.contains(&seen.is_empty().to_string());
        }
        let bare = operator.trim_start_matches("for_any_value:").trim_start_matches("for_all_value:");
        if bare.ends_with("_if_exist") && seen.is_empty() {
            return true;
        }
        let bare = bare.trim_end_matches("_if_exist");
        let positive = bare.replace("_not_", "_");
        let negated = bare.contains("_not_");
        let matches = |seen: &String| values.iter().any(|value| holds(&positive, seen, value));
        if operator.starts_with("for_any_value:") {
            seen.iter().any(|s| matches(s) != negated)
        } else if operator.starts_with("for_all_value:") {
            seen.iter().all(|s| matches(s) != negated)
        } else {
            seen.iter().any(matches) != negated
        }
    }
}

/// A positive operator on one value of the request and one of the condition.
fn holds(operator: &str, seen: &str, value: &str) -> bool {
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
    match operator {
        "string_equal" | "bool_equal" => seen == value,
        "string_equal_ignore_case" => lower(seen) == lower(value),
        "string_like" => glob(value, seen),
        "ip_equal" => within(seen.parse().unwrap(), value),
        _ => {
            let (kind, order) = operator.split_once('_').unwrap();
            let value = if kind == "date" { seconds(value) } else { value.parse().unwrap() };
            let seen: i128 = seen.parse().unwrap();
            match order {
                "equal" => seen == value,
                "greater_than" => seen > value,
                "greater_than_equal" => seen >= value,
                "less_than" => seen < value,
                "less_than_equal" => seen <= value,
                other => panic!("{other}"),
            }
        }
    }
}

/// Bits of an address, written as text of ones and zeroes.
fn bits(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.octets().iter().map(|o| format!("{o:08b}")).collect(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => bits(IpAddr::V4(v4)),
            None => v6.octets().iter().map(|o| format!("{o:08b}")).collect(),
        },
    }
}

fn within(ip: IpAddr, net: &str) -> bool {
    let (address, length) = net.split_once('/').unwrap_or((net, "128"));
    let (ip, address): (String, IpAddr) = (bits(ip), address.parse().unwrap());
    let mapped = address.is_ipv6() && bits(address).len() == 32;
    let (length, net): (usize, String) = (length.parse().unwrap(), bits(address));
    let length = if mapped { length - 96 } else { length }.min(net.len());
    ip.len() == net.len() && ip[..length] == net[..length]
}

/// Unix seconds of `2022-05-31T00:00:00`, with `Z`, an offset or nothing behind it; counted day by day.
pub(super) fn seconds(text: &str) -> i128 {
    let n = |from: usize, to: usize| text[from..to].parse::<i128>().unwrap();
    let (year, month, day) = (n(0, 4), n(5, 7), n(8, 10));
    let leap = |y: i128| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let february = if leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days = (1970..year).map(|y| if leap(y) { 366 } else { 365 }).sum::<i128>()
        + months.iter().take(usize::try_from(month - 1).unwrap()).sum::<i128>()
        + day
        - 1;
    let offset = match text.get(19..20) {
        Some("+") => n(20, 22) * 3600 + n(23, 25) * 60,
        Some("-") => -(n(20, 22) * 3600 + n(23, 25) * 60),
        _ => 0,
    };
    days * 86_400 + n(11, 13) * 3600 + n(14, 16) * 60 + n(17, 19) - offset
}
