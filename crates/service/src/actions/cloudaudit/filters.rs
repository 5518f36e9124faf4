//! `LookupAttributes`: what they may say, and what that means for a record.

use super::{LookupAttribute, names::Names};
use jadeseal_audit::index::{Attribute, Condition};
use jadeseal_store::Identities;
use jadeseal_types::{ApiError, ErrorCode as E, KeyId, error::Result};

/// Conditions of one request, and values of one condition, at most.
const MAX_ATTRIBUTES: usize = 20;
const MAX_VALUES: usize = 50;

/// Actions that take keys out of use or say who may do what.
pub(super) const SENSITIVE: &[&str] = &[
    "ArchiveKey",
    "DeleteImportedKeyMaterial",
    "DisableDataKey",
    "DisableDataKeys",
    "DisableKey",
    "DisableKeys",
    "ScheduleDataKeyDeletion",
    "ScheduleKeyDeletion",
    "AddUser",
    "AddUserToGroup",
    "AttachGroupPolicy",
    "AttachRolePolicy",
    "AttachUserPolicy",
    "CreateAccessKey",
    "CreatePolicy",
    "CreateRole",
    "DeleteAccessKey",
    "DeleteGroup",
    "DeletePolicy",
    "DeleteRole",
    "DeleteUser",
    "DetachGroupPolicy",
    "DetachRolePolicy",
    "DetachUserPolicy",
    "RemoveUserFromGroup",
    "UpdateAccessKey",
    "UpdateAssumeRolePolicy",
    "UpdatePolicy",
];

/// What CAM's own code of a refusal by a policy is, as in version 2 of the API; 0 stands for consent.
pub(super) const CAM_REFUSED: i64 = 4102;
/// Codes of answers that are such refusals. Where a client certificate was missing no policy was asked.
pub(super) const REFUSALS: &[E] = &[E::UnauthorizedOperation];

/// A key that conditions may have.
pub(super) struct Key {
    pub name: &'static str,
    /// It has few values.
    pub select: bool,
    /// In English and Chinese.
    pub label: (&'static str, &'static str),
    pub starter: (&'static str, &'static str),
    read: fn(&str, &Identities, &mut Filters) -> bool,
}

macro_rules! keys {
    ($($name:literal $kind:ident $label:literal $zh:literal => $read:expr;)+) => {
        /// All of them, in the order in which a form shows them.
        pub(super) const KEYS: &[Key] = &[$(Key {
            name: $name,
            select: keys!(@select $kind),
            label: ($label, $zh),
            starter: (keys!(@starter $kind $label), keys!(@starter_zh $kind $zh)),
            read: $read,
        }),+];
    };
    (@select select) => { true };
    (@select text) => { false };
    (@starter select $label:literal) => { concat!("Select: ", $label) };
    (@starter text $label:literal) => { concat!("Enter: ", $label) };
    (@starter_zh select $label:literal) => { concat!("选择", $label) };
    (@starter_zh text $label:literal) => { concat!("输入", $label) };
}

keys! {
    "RequestId" text "Request id" "请求ID" => |value, _, f| f.is(Attribute::RequestId, value);
    "EventName" select "Event name" "事件名称" => |value, _, f| f.event_name(value);
    "ActionType" select "Action type" "操作类型" => |value, _, f| match value {
        "Write" => f.is(Attribute::Access, "write"),
        "Read" => f.reads(),
        _ => false,
    };
    "ReadOnly" select "Read-only" "只读" => |value, _, f| match value {
        "true" | "True" | "1" => f.reads(),
        "false" | "False" | "0" => f.is(Attribute::Access, "write"),
        _ => false,
    };
    "PrincipalId" text "Principal" "子账号" => |value, _, f| f.is(Attribute::Uin, value);
    "Username" text "User name" "用户名称" => |value, all, f| f.user(value, all);
    "ResourceType" select "Resource type" "资源类型" => |value, _, f| f.is(Attribute::Service, value);
    "ResourceId" text "Resource id" "资源ID" => |value, _, f| f.resource(value);
    "ResourceName" text "Resource name" "资源名称" => |value, _, f| f.resource(value);
    "AccessKeyId" text "Access key" "访问密钥" => |value, _, f| f.is(Attribute::SecretId, value);
    "SensitiveAction" select "Sensitive" "是否敏感操作" => |value, _, f| match value {
        "1" | "true" => f.any(SENSITIVE.iter().map(|name| Condition::new(Attribute::Action, name))),
        "0" | "false" => f.never(SENSITIVE.iter().map(|name| Condition::new(Attribute::Action, name))),
        _ => false,
    };
    "ApiErrorCode" text "API error code" "API 错误码" => |value, _, f| {
        f.is(Attribute::Code, if value == "0" { "" } else { value })
    };
    "CamErrorCode" text "CAM error code" "CAM 错误码" => |value, _, f| f.cam(value);
    "SourceIPAddress" text "Source address" "源IP" => |value, _, f| f.source(value);
}

/// Keys that clients send with a value that changes nothing.
const WITHOUT_EFFECT: &[&str] = &["EventPlatform", "OnlyRecordNotSeen"];

/// What the conditions of a request come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filters {
    /// Of each group one holds.
    pub all: Vec<Vec<Condition>>,
    /// None of these holds.
    pub none: Vec<Condition>,
    /// EventNames, any of which holds.
    names: Vec<Condition>,
}

impl Filters {
    pub fn new(attributes: Vec<LookupAttribute>, all: &Identities) -> Result<Self> {
        if attributes.len() > MAX_ATTRIBUTES {
            let (en, zh) = ("has more than 20 conditions", "最多 20 个条件");
            return Err(ApiError::about(E::InvalidParameterValue, "LookupAttributes", en, zh));
        }
        let mut filters = Filters::default();
        for (i, LookupAttribute { key, value }) in attributes.into_iter().enumerate() {
            let value = value.map(|v| v.0).unwrap_or_default();
            let is_read = match KEYS.iter().find(|known| known.name == key.0) {
                // Forms send the empty value for no condition.
                _ if value.is_empty() && is_known(&key.0) => true,
                Some(known) => (known.read)(&value, all, &mut filters),
                None if WITHOUT_EFFECT.contains(&key.0.as_str()) => value == "0",
                // Events have no tags here, and saying that none has them would be no answer to the question.
                None => return Err(E::EventAttributeKey.into()),
            };
            if !is_read {
                let name = format!("LookupAttributes.{i}.AttributeValue");
                return Err(ApiError::about(E::InvalidParameterValue, &name, "cannot be looked up", "不支持该检索值"));
            }
        }
        let names = std::mem::take(&mut filters.names);
        if names.len() > MAX_VALUES {
            let (en, zh) = ("has more than 50 event names", "最多 50 个事件名称");
            return Err(ApiError::about(E::InvalidParameterValue, "LookupAttributes", en, zh));
        }
        if !names.is_empty() {
            filters.all.push(names);
        }
        Ok(filters)
    }

    fn is(&mut self, attribute: Attribute, value: &str) -> bool {
        self.any([Condition::new(attribute, value)])
    }

    fn any(&mut self, conditions: impl IntoIterator<Item = Condition>) -> bool {
        self.all.push(conditions.into_iter().collect());
        true
    }

    fn never(&mut self, conditions: impl IntoIterator<Item = Condition>) -> bool {
        self.none.extend(conditions);
        true
    }

    /// Several may be named, in one value or in several.
    fn event_name(&mut self, value: &str) -> bool {
        let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
        let before = self.names.len();
        self.names.extend(names.map(|name| Condition::new(Attribute::Action, name)).take(MAX_VALUES + 1));
        // Commas alone name none, which is not the same as naming all.
        self.names.len() > before
    }

    /// Using a key changes nothing, so it is reading.
    fn reads(&mut self) -> bool {
        self.any(["read", "use"].map(|access| Condition::new(Attribute::Access, access)))
    }

    /// By the name that events show.
    fn user(&mut self, name: &str, all: &Identities) -> bool {
        self.any(Names::new(all).called(name))
    }

    /// Ids of keys have one spelling in records, and other resources are spelt as they are.
    fn resource(&mut self, value: &str) -> bool {
        match KeyId::parse(value) {
            Some(id) => self.is(Attribute::Resource, &id.to_string()),
            None => self.is(Attribute::Resource, value),
        }
    }

    /// Addresses have one spelling in records.
    fn source(&mut self, value: &str) -> bool {
        match value.parse::<std::net::IpAddr>() {
            Ok(address) => self.is(Attribute::Source, &address.to_canonical().to_string()),
            Err(_) => self.is(Attribute::Source, value),
        }
    }

    fn cam(&mut self, value: &str) -> bool {
        let refusals = || REFUSALS.iter().map(|code| Condition::new(Attribute::Code, code.wire()));
        match value.parse::<i64>() {
            Ok(0) => self.never(refusals()),
            Ok(CAM_REFUSED) => self.any(refusals()),
            // No record has another one.
            Ok(_) => self.any([]),
            Err(_) => false,
        }
    }
}

fn is_known(key: &str) -> bool {
    KEYS.iter().any(|known| known.name == key) || WITHOUT_EFFECT.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entries;

    #[test]
    fn sensitive_actions_are_served_and_change_something() {
        for name in SENSITIVE {
            let entry = entries().find(|e| e.spec.name == *name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(entry.spec.access, jadeseal_audit::Access::Write, "{name}");
        }
    }
}
