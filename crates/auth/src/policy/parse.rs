//! Reads policy documents: members, statements, lists, and what must be reachable.

use super::{
    Checks, Invalid, Policy,
    actions::{self, Bits},
    conditions::{self, Condition},
    invalid::{echo, refuse},
    reach::Reach,
    resources::{self, Pattern},
};
use crate::params::{Fault, Params, Value, read_json};
use jadeseal_types::{ErrorCode, limits::MAX_POLICY_CHARS};

/// What a document is read as.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    /// What it is checked against.
    pub checks: &'a Checks<'a>,
    /// True for a trust policy.
    pub trust: bool,
}

/// One statement of a [`Policy`].
#[derive(Debug)]
pub(super) struct Statement {
    /// True when it denies, false when it allows.
    pub denies: bool,
    /// Which actions.
    pub actions: Bits,
    /// On which resources: one of them.
    pub resources: Vec<Pattern>,
    /// Under which conditions: all of them.
    pub conditions: Vec<Condition>,
}

impl Policy {
    /// Reads a document of at most [`jadeseal_types::limits::MAX_POLICY_CHARS`] characters.
    pub fn parse(document: &str, checks: &Checks<'_>) -> Result<Self, Invalid> {
        let reading = Reading { checks, trust: false };
        let reach = Reach::new(checks);
        let read = read(document, |members, place| statement(members, place, reading, &reach))?;
        if let Some((_, first)) = read.first().filter(|_| checks.strict && read.iter().all(|(s, _)| s.is_inert())) {
            let (en, zh) = ("nothing that the policy names is served", "策略中的产品均不存在");
            return Err(refuse(ErrorCode::ActionServiceNotExist, first.as_str(), en, zh));
        }
        Ok(Policy { statements: read.into_iter().map(|(statement, _)| statement).collect() })
    }
}

impl Statement {
    /// True when it is about other products alone, or about what there is no more: it is never asked.
    pub fn is_inert(&self) -> bool {
        self.actions.is_empty()
    }
}

/// Members of a statement, each by its name.
pub(super) struct Members<'v> {
    /// Who, in trust policies.
    pub principal: Option<&'v Value<'v>>,
    effect: Option<&'v Value<'v>>,
    /// What is done.
    pub action: Option<&'v Value<'v>>,
    /// To what.
    pub resource: Option<&'v Value<'v>>,
    condition: Option<&'v Value<'v>>,
}

impl Members<'_> {
    /// True for `deny`.
    pub fn denies(&self, place: &str) -> Result<bool, Invalid> {
        match self.effect {
            Some(Value::Str(effect)) if effect.eq_ignore_ascii_case("allow") => Ok(false),
            Some(Value::Str(effect)) if effect.eq_ignore_ascii_case("deny") => Ok(true),
            _ => {
                let (en, zh) = ("must be allow or deny", "必须为 allow 或 deny");
                Err(refuse(ErrorCode::EffectError, format!("{place}.effect"), en, zh))
            }
        }
    }

    /// The conditions.
    pub fn conditions(&self, place: &str, reading: Reading<'_>) -> Result<Vec<Condition>, Invalid> {
        match self.condition {
            Some(Value::Null) | None => Ok(Vec::new()),
            Some(map) => conditions::parse(map, &format!("{place}.condition"), reading),
        }
    }

    /// Passes over the conditions of a statement that is never asked: those of other products are not known here.
    fn pass_over_conditions(&self, place: &str) -> Result<(), Invalid> {
        match self.condition {
            Some(Value::Null) | None => Ok(()),
            Some(map) => conditions::object(map, &format!("{place}.condition")).map(drop),
        }
    }
}

/// Reads a document down to its statements, and each of these with `statement`.
pub(super) fn read<T>(
    document: &str,
    statement: impl Fn(&Members<'_>, &str) -> Result<T, Invalid>,
) -> Result<Vec<T>, Invalid> {
    if document.len() > MAX_POLICY_CHARS && document.chars().count() > MAX_POLICY_CHARS {
        return Err(refuse(
            ErrorCode::PolicyDocumentLengthOverLimit,
            "",
            format!("the document is longer than {MAX_POLICY_CHARS} characters"),
            format!("策略文档超过 {MAX_POLICY_CHARS} 个字符"),
        ));
    }
    let document = read_json(document.as_bytes()).map_err(|fault| {
        let (en, zh) = match fault {
            Fault::Syntax => ("the document is not valid JSON", "策略文档不是合法的 JSON"),
            Fault::NotObject => ("the document must be a JSON object", "策略文档必须是 JSON 对象"),
            Fault::TooDeep => ("the document is nested too deeply", "策略文档嵌套层数过多"),
            Fault::TooMany => ("the document holds too many values", "策略文档包含的值过多"),
            Fault::Repeated => ("an object in the document repeats a name", "策略文档中的对象存在重复的名称"),
        };
        refuse(ErrorCode::PolicyDocumentError, "", en, zh)
    })?;
    let [version, statements] = members(&document, ["version", "statement"], "", ErrorCode::PolicyDocumentError)?;
    if !matches!(version, Some(Value::Str(v)) if v == "2.0") {
        return Err(refuse(ErrorCode::VersionError, "version", "must be \"2.0\"", "必须为 \"2.0\""));
    }
    let Some(Value::List(statements)) = statements.filter(|s| !matches!(s, Value::List(list) if list.is_empty()))
    else {
        let (en, zh) = ("must be a list of at least one statement", "必须是非空的列表");
        return Err(refuse(ErrorCode::StatementError, "statement", en, zh));
    };
    let mut out = Vec::with_capacity(statements.len());
    for (i, value) in statements.iter().enumerate() {
        let place = format!("statement[{i}]");
        let Value::Map(map) = value else {
            return Err(refuse(ErrorCode::StatementError, place, "must be an object", "必须是对象"));
        };
        let names = ["principal", "effect", "action", "resource", "condition"];
        let [principal, effect, action, resource, condition] = members(map, names, &place, ErrorCode::StatementError)?;
        out.push(statement(&Members { principal, effect, action, resource, condition }, &place)?);
    }
    Ok(out)
}

/// The members of these names, whatever the case of their letters; no other may be there.
fn members<'v, 'p, const N: usize>(
    map: &'v Params<'p>,
    names: [&str; N],
    place: &str,
    code: ErrorCode,
) -> Result<[Option<&'v Value<'p>>; N], Invalid> {
    let mut found = [None; N];
    for (name, value) in map.iter() {
        let slot = names.iter().zip(&mut found).find(|(known, _)| name.eq_ignore_ascii_case(known));
        let place = || format!("{place}{}{}", if place.is_empty() { "" } else { "." }, echo(name));
        match slot {
            None => return Err(refuse(code, place(), "there is no such member", "没有该成员")),
            Some((_, Some(_))) => {
                let (en, zh) = ("stands twice, in letters of different case", "重复出现，仅大小写不同");
                return Err(refuse(code, place(), en, zh));
            }
            Some((_, slot)) => *slot = Some(value),
        }
    }
    Ok(found)
}

/// The elements of a list with the place of each, or the one value that stands for a list of it; none of an empty list.
pub(super) fn elements<'v, 'p>(value: &'v Value<'p>, place: &str) -> Option<Vec<(String, &'v Value<'p>)>> {
    match value {
        Value::List(items) if items.is_empty() => None,
        Value::List(items) => Some(items.iter().enumerate().map(|(i, v)| (format!("{place}[{i}]"), v)).collect()),
        value => Some(vec![(place.to_owned(), value)]),
    }
}

/// The strings of a member that must be there: one, or a list of at least one.
pub(super) fn strings<'v>(
    value: Option<&'v Value<'_>>,
    place: &str,
    code: ErrorCode,
) -> Result<Vec<(String, &'v str)>, Invalid> {
    let wrong = |place: &str, en, zh| refuse(code, place, en, zh);
    let value = value.ok_or_else(|| wrong(place, "is missing", "缺失"))?;
    let items = elements(value, place).ok_or_else(|| wrong(place, "must not be empty", "不能为空"))?;
    let text = |(place, value): (String, &'v Value<'_>)| match value {
        Value::Str(text) => Ok((place, text.as_ref())),
        _ => Err(wrong(&place, "must be a string", "必须是字符串")),
    };
    items.into_iter().map(text).collect()
}

/// Reads a statement; with it the place of its first action.
fn statement(
    members: &Members<'_>,
    place: &str,
    reading: Reading<'_>,
    reach: &Reach<'_>,
) -> Result<(Statement, String), Invalid> {
    let checks = reading.checks;
    if members.principal.is_some() {
        let (en, zh) = ("only a trust policy of a role names principals", "仅角色的信任策略可指定 principal");
        return Err(refuse(ErrorCode::PrincipalError, format!("{place}.principal"), en, zh));
    }
    let denies = members.denies(place)?;
    let mut named = Vec::new();
    let mut all = Bits::default();
    for (place, text) in strings(members.action, &format!("{place}.action"), ErrorCode::ActionError)? {
        let bits = actions::parse(text, &place, checks)?;
        all.extend(&bits);
        named.push((place, text, bits));
    }
    let first = named.first().map(|(place, ..)| place.clone()).unwrap_or_default();
    let resources = strings(members.resource, &format!("{place}.resource"), ErrorCode::ResourceError)?;
    if all.is_empty() {
        members.pass_over_conditions(place)?;
        return Ok((Statement { denies, actions: all, resources: Vec::new(), conditions: Vec::new() }, first));
    }
    let (mut patterns, mut usable) = (Vec::new(), Bits::default());
    for (place, text) in resources {
        let Some(pattern) = resources::parse(text, &place, checks, &all, reach)? else { continue };
        if checks.strict {
            let bits = reach.usable(&pattern);
            if !bits.meets(&all) {
                return Err(reach.refuse_resource(&pattern, &place));
            }
            usable.extend(&bits);
        }
        patterns.push(pattern);
    }
    if checks.strict
        && let Some((place, text, bits)) = named.iter().find(|(_, _, bits)| !bits.is_empty() && !bits.meets(&usable))
    {
        return Err(reach.refuse_action(text, bits, place));
    }
    let conditions = members.conditions(place, reading)?;
    Ok((Statement { denies, actions: all, resources: patterns, conditions }, first))
}
