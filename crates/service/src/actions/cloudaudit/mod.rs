//! CloudAudit: the records of the caller's account, found by time and by what they say.
//!
//! Both actions answer from the same index and differ in how a page is named and how long a time may be asked for. Events
//! come newest first, in the order in which their records were written. A page begins behind the index of the last event of the
//! page before, so that records which are written in between move nothing.

mod event;
mod filters;
mod names;

use super::Account;
use crate::{
    action::{Access, Action, CLOUDAUDIT, Spec, family},
    cx::Cx,
    events::Wanted,
    schema::{Doc, FromValue, Type, answer, object, request},
    values::Bounded,
};
use event::Event;
use filters::Filters;
use jadeseal_auth::params::Value;
use jadeseal_types::{ApiError, ErrorCode as E, error::Result};
use names::Names;

family![in CLOUDAUDIT; LookUpEvents, DescribeEvents, GetAttributeKey];

/// Events of a page, when a request does not say, and at most.
const DEFAULT_RESULTS: u64 = 10;
const MAX_RESULTS: u64 = 50;
/// Longest time that may be asked for, seconds.
const MAX_LOOK_UP: u64 = 7 * 86_400;
const MAX_DESCRIBE: u64 = 30 * 86_400;

const START_TIME: Doc = Doc("First second, Unix time.", "开始时间，Unix 秒。");
const END_TIME: Doc = Doc("Last second, Unix time.", "结束时间，Unix 秒。");
const ATTRIBUTES: Doc = Doc(
    "Conditions, all of which hold: RequestId, EventName (any of several), ActionType (Read or Write), PrincipalId, ResourceType, ResourceId, ResourceName, AccessKeyId, SensitiveAction (0 or 1), ApiErrorCode (0 for success), CamErrorCode, SourceIPAddress, Username, ReadOnly.",
    "检索条件，各条件间为与的关系：RequestId、EventName（多个值为或的关系）、ActionType（Read 或 Write）、PrincipalId、ResourceType、ResourceId、ResourceName、AccessKeyId、SensitiveAction（0 或 1）、ApiErrorCode（0 表示成功）、CamErrorCode、SourceIPAddress、Username、ReadOnly。",
);
const NEXT_TOKEN: Doc = Doc("Where the page begins; from the page before.", "查看更多日志的凭证。");
const MAX: Doc = Doc(
    "Events of a page, 50 at most; 10 by default and for 0.",
    "返回日志的最大条数，最大 50，默认（及取 0 时）为 10。",
);
const EVENTS: Doc = Doc("Events, the newest first.", "日志集合，最新的在前。");
const LIST_OVER: Doc = Doc("True on the last page.", "日志集合是否结束，true 表示无需翻页。");
const COUNT: Doc =
    Doc("Events in this answer; whether there are more, ListOver says.", "本次返回的日志数量，翻页请使用 ListOver。");

const ERRORS: &[E] = &[
    E::EventTimeMissing,
    E::EventTimeOrder,
    E::EventMaxResult,
    E::EventAttributeKey,
    E::EventOverTime,
    E::InvalidParameterValue,
    E::FailedOperation,
];

/// A number of either action: the one calls them signed and the other unsigned, and both say the same of those that are out of
/// reach. None for these.
pub struct Number<const SIGNED: bool>(Option<u64>);

impl<const SIGNED: bool> FromValue for Number<SIGNED> {
    const TYPE: Type = if SIGNED { Type::Int64 } else { Type::AnyUint64 };
    fn from_value(value: Value<'_>, _: &str) -> Result<Self> {
        Ok(Number(match value {
            Value::Int(n) => u64::try_from(n).ok(),
            Value::Str(text) => text.parse().ok(),
            _ => None,
        }))
    }
}

object! {
    /// A condition.
    LookupAttribute as "LookupAttribute" {
        required key: Bounded<64> = "AttributeKey", Doc("What it is about.", "检索条件的键。");
        optional value: Bounded<1024> = "AttributeValue", Doc("What it has to be; empty for no condition.", "检索条件的值，空表示不限。");
    }
}

request! {
    /// Looks events up.
    LookUpEvents {
        required start: Number<true> = "StartTime", START_TIME;
        required end: Number<true> = "EndTime", END_TIME;
        optional attributes: Vec<LookupAttribute> = "LookupAttributes", ATTRIBUTES;
        optional next: Bounded<64> = "NextToken", NEXT_TOKEN;
        optional max: Number<true> = "MaxResults", MAX;
        optional mode: Bounded<32> = "Mode", Doc("standard or quick; makes no difference here.", "操作审计模式：standard 或 quick，此处无区别。");
    }
}

answer! {
    /// A page.
    LookedUp {
        next: String = "NextToken", NEXT_TOKEN;
        events: Vec<Event> = "Events", EVENTS;
        over: bool = "ListOver", LIST_OVER;
        count: u64 = "TotalCount", COUNT;
    }
}

request! {
    /// Looks events up, with another form of pages.
    DescribeEvents {
        required start: Number<false> = "StartTime", START_TIME;
        required end: Number<false> = "EndTime", END_TIME;
        optional next: Number<false> = "NextToken", NEXT_TOKEN;
        optional max: Number<false> = "MaxResults", MAX;
        optional attributes: Vec<LookupAttribute> = "LookupAttributes", ATTRIBUTES;
        optional location: u64 = "IsReturnLocation", Doc("0 or 1; where an address lies is not known here.", "是否返回 IP 归属地（0 或 1）；此处没有归属地信息。");
    }
}

answer! {
    /// A page.
    Described {
        over: bool = "ListOver", LIST_OVER;
        next: u64 = "NextToken", NEXT_TOKEN;
        events: Vec<Event> = "Events", EVENTS;
        count: u64 = "TotalCount", COUNT;
    }
}

/// The time that is asked for: in order, and not too long.
fn time(start: Option<u64>, end: Option<u64>, longest: u64) -> Result<(u64, u64)> {
    // The last moment that the log can write; what is later is none that anybody means.
    const LAST: u64 = 253_402_300_799;
    let (Some(start), Some(end)) = (start, end) else { return Err(E::EventTimeMissing.into()) };
    if start > LAST || end > LAST {
        return Err(E::EventTimeMissing.into());
    }
    if start > end {
        return Err(E::EventTimeOrder.into());
    }
    if end - start > longest {
        let days = longest / 86_400;
        let (en, zh) = (format!("At most {days} days can be looked at."), format!("检索的时间范围最长为 {days} 天。"));
        return Err(ApiError::with_text(E::EventOverTime, en, zh));
    }
    Ok((start, end))
}

/// Events of a page. Clients send 0 for what they leave out.
fn results<const SIGNED: bool>(max: Option<Number<SIGNED>>) -> Result<usize> {
    let max = max.map_or(Some(0), |max| max.0).ok_or(E::EventMaxResult)?;
    match max {
        0 => Ok(DEFAULT_RESULTS as usize),
        1..=MAX_RESULTS => Ok(max as usize),
        _ => Err(E::EventMaxResult.into()),
    }
}

fn no_such_page() -> ApiError {
    let (en, zh) = ("is not one that a page ended with", "不是合法的分页凭证");
    ApiError::about(E::InvalidParameterValue, "NextToken", en, zh)
}

/// A page of events, and where the next one begins.
async fn page(
    (from, to): (u64, u64),
    limit: usize,
    before: Option<u64>,
    attributes: Option<Vec<LookupAttribute>>,
    cx: &Cx<'_>,
) -> Result<(Vec<Event>, Option<u64>)> {
    let account = cx.account().await?;
    let Filters { all, none, .. } = Filters::new(attributes.unwrap_or_default(), &account.identities)?;
    let seen = cx.svc.events.of(cx.caller, Wanted { from, to, all, none, before, limit }).await?;
    let names = Names::new(&account.identities);
    let events = seen.records().map(|(index, facts)| Event::new(index, &facts, &names)).collect();
    Ok((events, seen.next))
}

impl Action for LookUpEvents {
    const SPEC: Spec = Spec {
        name: "LookUpEvents",
        access: Access::Read,
        errors: ERRORS,
        doc: Doc("Looks events of the account up.", "检索日志。"),
    };
    type On = Account;
    type Response = LookedUp;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<LookedUp> {
        let time = time(self.start.0, self.end.0, MAX_LOOK_UP)?;
        let limit = results(self.max)?;
        if self.mode.is_some_and(|mode| !matches!(mode.0.as_str(), "" | "standard" | "quick")) {
            return Err(ApiError::about(
                E::InvalidParameterValue,
                "Mode",
                "must be standard or quick",
                "必须为 standard 或 quick",
            ));
        }
        let before = match self.next.map(|token| token.0).filter(|token| !token.is_empty()) {
            None => None,
            Some(token) => Some(token.parse().ok().filter(|n: &u64| n.to_string() == token).ok_or_else(no_such_page)?),
        };
        let (events, next) = page(time, limit, before, self.attributes, cx).await?;
        Ok(LookedUp {
            next: next.map(|n| n.to_string()).unwrap_or_default(),
            count: events.len() as u64,
            events,
            over: next.is_none(),
        })
    }
}

impl Action for DescribeEvents {
    const SPEC: Spec = Spec {
        name: "DescribeEvents",
        access: Access::Read,
        errors: ERRORS,
        doc: Doc("Queries events of the account.", "查询操作审计日志。"),
    };
    type On = Account;
    type Response = Described;

    async fn run(self, _: Account, cx: &Cx<'_>) -> Result<Described> {
        let time = time(self.start.0, self.end.0, MAX_DESCRIBE)?;
        let limit = results(self.max)?;
        if self.location.is_some_and(|location| location > 1) {
            return Err(ApiError::about(
                E::InvalidParameterValue,
                "IsReturnLocation",
                "must be 0 or 1",
                "必须为 0 或 1",
            ));
        }
        // Nothing is before the first record of all, so clients may send 0 for what they leave out.
        let before = match self.next {
            None => None,
            Some(next) => Some(next.0.ok_or_else(no_such_page)?).filter(|next| *next != 0),
        };
        let (events, next) = page(time, limit, before, self.attributes, cx).await?;
        // A page that ended with the first record of all is the last one.
        let next = next.filter(|next| *next != 0);
        Ok(Described { over: next.is_none(), next: next.unwrap_or(0), count: events.len() as u64, events })
    }
}

request! {
    /// What events can be looked up by.
    GetAttributeKey {
        optional website: Bounded<32> = "WebsiteType", Doc("zh (default) or en.", "网站类型：zh（默认）或 en。");
    }
}

answer! {
    /// A key of a condition, for a form.
    AttributeKeyDetail as "AttributeKeyDetail" {
        kind: &'static str = "LabelType" nullable, Doc("text or select.", "输入框类型：text 或 select。");
        starter: &'static str = "Starter" nullable, Doc("What an empty field shows.", "初始化展示。");
        order: i64 = "Order" nullable, Doc("Place among the others.", "展示排序。");
        value: &'static str = "Value" nullable, Doc("The AttributeKey.", "AttributeKey 值。");
        label: &'static str = "Label" nullable, Doc("Its name.", "标签。");
    }
}

answer! {
    /// All of them.
    AttributeKeys {
        details: Vec<AttributeKeyDetail> = "AttributeKeyDetails", Doc("What events can be looked up by.", "AttributeKey 的有效取值范围。");
    }
}

impl Action for GetAttributeKey {
    const SPEC: Spec = Spec {
        name: "GetAttributeKey",
        access: Access::Read,
        errors: &[E::InvalidParameterValue],
        doc: Doc("Tells what events can be looked up by.", "查询 AttributeKey 的有效取值范围。"),
    };
    type On = Account;
    type Response = AttributeKeys;

    async fn run(self, _: Account, _: &Cx<'_>) -> Result<AttributeKeys> {
        let zh = match self.website.as_ref().map_or("", |w| w.0.as_str()) {
            "" | "zh" => true,
            "en" => false,
            _ => {
                return Err(ApiError::about(
                    E::InvalidParameterValue,
                    "WebsiteType",
                    "must be zh or en",
                    "必须为 zh 或 en",
                ));
            }
        };
        let details = filters::KEYS.iter().zip(1..).map(|(key, order)| AttributeKeyDetail {
            kind: if key.select { "select" } else { "text" },
            starter: if zh { key.starter.1 } else { key.starter.0 },
            order,
            value: key.name,
            label: if zh { key.label.1 } else { key.label.0 },
        });
        Ok(AttributeKeys { details: details.collect() })
    }
}
