//! Conditions of a statement: read, compiled for a principal, decided.

use super::{
    Binding, Invalid,
    glob::Glob,
    invalid::{echo, refuse},
    operators::{Family, Key, Operator, Order, Quantifier, TextTest},
    parse::{Reading, elements},
    variables::{self, Variable},
};
use crate::params::{Params, Value};
use ipnet::{IpNet, Ipv4Net};
use jadeseal_types::ErrorCode;
use std::net::{IpAddr, Ipv4Addr};

/// Yes, no, or not to be told from what is known. The order is that of `and`: the least of several wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    Maybe,
    Yes,
}

impl From<bool> for Truth {
    fn from(yes: bool) -> Self {
        if yes { Truth::Yes } else { Truth::No }
    }
}

/// One key under one operator, as written.
#[derive(Debug)]
pub(super) struct Condition {
    operator: Operator,
    key: Key,
    values: Values,
}

/// What a key is compared with, and how.
#[derive(Debug)]
enum Values {
    /// May hold variables.
    Texts(TextTest, Vec<Box<str>>),
    Numbers(Order, Vec<Number>),
    Dates(Order, Vec<i128>),
    Nets(Vec<IpNet>),
    Absent(Vec<bool>),
    Flags(Vec<bool>),
}

/// A number as written.
#[derive(Clone, Copy, Debug)]
enum Number {
    Given(u64),
    Of(Variable),
}

/// Reads the member `condition` of a statement.
pub(super) fn parse(map: &Value<'_>, place: &str, reading: Reading<'_>) -> Result<Vec<Condition>, Invalid> {
    let mut out = Vec::new();
    for (name, keys) in object(map, place)?.iter() {
        let place = format!("{place}.{}", echo(name));
        let Some(operator) = Operator::parse(name) else {
            let (en, zh) = ("there is no such operator", "没有该条件操作符");
            return Err(refuse(ErrorCode::ConditionTypeError, place, en, zh));
        };
        let keys = object(keys, &place)?;
        if keys.is_empty() {
            return Err(refuse(ErrorCode::ConditionError, place, "names no key", "未指定条件键"));
        }
        for (name, values) in keys.iter() {
            let place = format!("{place}.{}", echo(name));
            let key = key(name, operator.family, &place, reading.trust)?;
            out.push(Condition { operator, key, values: self::values(operator, key, values, &place, reading)? });
        }
    }
    Ok(out)
}

pub(super) fn object<'v, 'p>(value: &'v Value<'p>, place: &str) -> Result<&'v Params<'p>, Invalid> {
    match value {
        Value::Map(map) => Ok(map),
        _ => Err(refuse(ErrorCode::ConditionError, place, "must be an object", "必须是对象")),
    }
}

/// Reads a key that an operator of this family can take.
fn key(name: &str, family: Family, place: &str, trust: bool) -> Result<Key, Invalid> {
    let wrong = |en: &str, zh: &str| Err(refuse(ErrorCode::ConditionError, place, en, zh));
    match Key::parse(name) {
        None => wrong("there is no such key", "没有该条件键"),
        Some(key) if !key.serves(trust) && trust => {
            wrong("the key is not known when a role is taken", "扮演角色时没有该条件键")
        }
        Some(key) if !key.serves(trust) => {
            wrong("the key is for trust policies of roles only", "该条件键仅用于角色的信任策略")
        }
        Some(key) if !key.suits(family) => wrong(
            "values of the key are not of the operator's type, so this would never match",
            "条件键的值与操作符的类型不符，该条件永远不会成立",
        ),
        Some(key) => Ok(key),
    }
}

/// Reads the values of a key.
fn values(
    operator: Operator,
    key: Key,
    value: &Value<'_>,
    place: &str,
    reading: Reading<'_>,
) -> Result<Values, Invalid> {
    let wrong = |place: &str, (en, zh): (&str, &str)| refuse(ErrorCode::ConditionContentError, place, en, zh);
    let items = elements(value, place).ok_or_else(|| wrong(place, ("must not be empty", "不能为空")))?;
    let mut out = match operator.family {
        Family::Text(how) => Values::Texts(how, Vec::new()),
        Family::Number(order) => Values::Numbers(order, Vec::new()),
        Family::Date(order) => Values::Dates(order, Vec::new()),
        Family::Ip => Values::Nets(Vec::new()),
        Family::Null => Values::Absent(Vec::new()),
        Family::Bool => Values::Flags(Vec::new()),
    };
    for (place, item) in items {
        let found = match (&mut out, item) {
            (Values::Texts(how, all), Value::Str(text)) => {
                let words = variables(text, reading).or_else(|| tag(*how, key, text, reading));
                words.map_or(Ok(()), |words| Err(wrong(&place, words)))?;
                all.push(text.as_ref().into());
                Some(())
            }
            (Values::Numbers(_, all), Value::Str(text)) => {
                variables(text, reading).map_or(Ok(()), |words| Err(wrong(&place, words)))?;
                number(text).map(|n| all.push(n))
            }
            (Values::Numbers(_, all), Value::Int(n)) => u64::try_from(*n).ok().map(|n| all.push(Number::Given(n))),
            (Values::Dates(_, all), Value::Str(text)) => date(text).map(|t| all.push(t)),
            (Values::Nets(all), Value::Str(text)) => match net(text) {
                Some(net) if reading.checks.strict && is_wide(&net) => return Err(wrong(&place, WIDE)),
                net => net.map(|net| all.push(net)),
            },
            (Values::Absent(all) | Values::Flags(all), Value::Bool(flag)) => {
                all.push(*flag);
                Some(())
            }
            (Values::Absent(all) | Values::Flags(all), Value::Str(text)) => {
                text.parse().ok().map(|flag| all.push(flag))
            }
            _ => None,
        };
        found.ok_or_else(|| wrong(&place, expected(operator.family)))?;
    }
    Ok(out)
}

/// What a value has to be.
fn expected(family: Family) -> (&'static str, &'static str) {
    match family {
        Family::Text(_) => ("must be a string", "必须是字符串"),
        Family::Number(_) => ("must be a whole number from 0 to 2^64 - 1", "必须是 0 到 2^64 - 1 的整数"),
        Family::Date(_) => ("must be a time such as 2022-05-31T00:00:00Z", "必须是形如 2022-05-31T00:00:00Z 的时间"),
        Family::Ip => ("must be an address or a network such as 10.0.0.0/8", "必须是 IP 地址或形如 10.0.0.0/8 的网段"),
        Family::Null | Family::Bool => ("must be true or false", "必须是 true 或 false"),
    }
}

/// What is wrong with the variables of a value.
fn variables(text: &str, reading: Reading<'_>) -> Option<(&'static str, &'static str)> {
    if reading.trust && variables::any(text) {
        return Some(("a trust policy has no variables", "信任策略不支持变量"));
    }
    let words = ("the variables are ${uin}, ${owner_uin} and ${app_id}", "变量只有 ${uin}、${owner_uin} 和 ${app_id}");
    (!variables::known(text)).then_some(words)
}

/// What is wrong with the value of a key, if that is for tags.
fn tag(how: TextTest, key: Key, text: &str, reading: Reading<'_>) -> Option<(&'static str, &'static str)> {
    let any = text.contains('&') || how == TextTest::Like && text.contains('*');
    let wrong = reading.checks.strict && key.is_tags() && !any;
    wrong.then_some(("a tag is written <key>&<value>", "标签须写作 <键>&<值>"))
}

/// A number in digits, or a variable alone.
fn number(text: &str) -> Option<Number> {
    if let Some(variable) = Variable::alone(text) {
        return Some(Number::Of(variable));
    }
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    digits.then(|| text.parse().ok().map(Number::Given)).flatten()
}

/// A moment, in nanoseconds of Unix time: RFC 3339, or without an offset for UTC.
fn date(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    // jiff would also take, and pass over, the name of a time zone; and an offset behind a time without seconds.
    let plain = |c: u8| c.is_ascii_digit() || matches!(c, b'-' | b'+' | b':' | b'.' | b'T' | b't' | b'Z' | b'z' | b' ');
    if !(19..=40).contains(&bytes.len()) || !bytes.iter().all(|&c| plain(c)) {
        return None;
    }
    if [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')].iter().any(|&(at, c)| bytes.get(at) != Some(&c)) {
        return None;
    }
    let time = if bytes.len() == 19 {
        jiff::tz::Offset::UTC.to_timestamp(text.parse().ok()?).ok()?
    } else {
        text.parse::<jiff::Timestamp>().ok()?
    };
    Some(time.as_nanosecond())
}

/// A network, or an address as a network of one. One of IPv4 that is written as IPv6 is one of IPv4.
fn net(text: &str) -> Option<IpNet> {
    let net = if text.contains('/') { text.parse().ok()? } else { IpNet::from(text.parse::<IpAddr>().ok()?) };
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => Some(match v6.addr().to_ipv4_mapped() {
            Some(v4) => IpNet::V4(Ipv4Net::new(v4, v6.prefix_len() - 96).ok()?),
            None => net,
        }),
        _ => Some(net),
    }
}

/// True for a network of IPv6 that seems to have all addresses of IPv4 in it. Those are compared as what they are, so none
/// of them ever is in it: a statement that denies it would let them through.
fn is_wide(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(v6) if v6.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()))
}

const WIDE: (&str, &str) = (
    "no IPv4 address is in a network of IPv6: write 0.0.0.0/0 for these, and beside it one such as 2000::/3",
    "IPv4 地址不属于任何 IPv6 网段：请以 0.0.0.0/0 表示 IPv4，并另写如 2000::/3 的 IPv6 网段",
);

/// What a request has under a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen<'a> {
    /// Not to be told yet.
    Unknown,
    /// Nothing.
    Absent,
    /// A set of texts.
    Texts(&'a [String]),
    /// One value.
    One(Item<'a>),
}

/// One value of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'a> {
    Text(&'a str),
    Number(u64),
    /// Nanoseconds of Unix time.
    Date(i128),
    /// Never an IPv4 address written as one of IPv6.
    Ip(IpAddr),
    Flag(bool),
}

/// A condition compiled for a principal.
#[derive(Debug)]
pub(super) struct Test {
    operator: Operator,
    /// What to ask the request about.
    pub key: Key,
    against: Against,
}

#[derive(Debug)]
enum Against {
    Equal(Vec<Box<str>>),
    EqualIgnoreCase(Vec<Box<str>>),
    Like(Vec<Glob>),
    Numbers(Order, Vec<u64>),
    Dates(Order, Vec<i128>),
    Nets(Vec<IpNet>),
    Absent(Vec<bool>),
    Flags(Vec<bool>),
}

impl Condition {
    /// Of a strict reading.
    #[cfg(test)]
    pub fn of(operator: Operator, key: Key, value: &Value<'_>, checks: &super::Checks<'_>) -> Self {
        let reading = Reading { checks, trust: false };
        Condition { operator, key, values: values(operator, key, value, "", reading).expect("values that are taken") }
    }

    /// Puts in what variables stand for.
    pub fn compile(&self, binding: &Binding) -> Test {
        let expanded = |texts: &[Box<str>]| -> Vec<Box<str>> {
            texts.iter().map(|t| variables::expand(t, binding).into()).collect()
        };
        let against = match &self.values {
            Values::Texts(TextTest::Equal, t) => Against::Equal(expanded(t)),
            Values::Texts(TextTest::EqualIgnoreCase, t) => Against::EqualIgnoreCase(expanded(t)),
            Values::Texts(TextTest::Like, t) => Against::Like(expanded(t).iter().map(|t| Glob::new(t)).collect()),
            Values::Numbers(order, n) => Against::Numbers(*order, n.iter().map(|n| n.value(binding)).collect()),
            Values::Dates(order, d) => Against::Dates(*order, d.clone()),
            Values::Nets(n) => Against::Nets(n.clone()),
            Values::Absent(f) => Against::Absent(f.clone()),
            Values::Flags(f) => Against::Flags(f.clone()),
        };
        Test { operator: self.operator, key: self.key, against }
    }
}

impl Number {
    fn value(self, binding: &Binding) -> u64 {
        match self {
            Number::Given(n) => n,
            Number::Of(variable) => variable.value(binding),
        }
    }
}

impl Test {
    /// Decides for what the request has under the key.
    pub fn holds(&self, seen: Seen<'_>) -> Truth {
        let (texts, one): (&[String], _) = match seen {
            Seen::Unknown => return Truth::Maybe,
            Seen::Absent => (&[], None),
            Seen::Texts(texts) => (texts, None),
            Seen::One(item) => (&[], Some(item)),
        };
        let absent = texts.is_empty() && one.is_none();
        if let Against::Absent(flags) = &self.against {
            return flags.contains(&absent).into();
        }
        if absent && self.operator.if_exist {
            return Truth::Yes;
        }
        // What cannot be compared decides nothing: whether the statement allows or denies, it must let nothing through.
        let fulfils = |item: Item<'_>| {
            self.matches(item).map_or(Truth::Maybe, |matches| (matches != self.operator.negated).into())
        };
        // Of no values none fulfils it, and all do.
        let items = texts.iter().map(|t| Item::Text(t)).chain(one).map(fulfils);
        match self.operator.quantifier {
            Quantifier::Any => items.max().unwrap_or(Truth::No),
            Quantifier::All => items.min().unwrap_or(Truth::Yes),
        }
    }

    /// True when one of the condition's values matches; none when they are of another kind, which [`Key::suits`] does not
    /// let happen.
    fn matches(&self, item: Item<'_>) -> Option<bool> {
        let mut digits = [0u8; 20];
        let text = match item {
            Item::Text(text) => Some(text),
            Item::Number(n) => decimal(n, &mut digits),
            Item::Date(_) | Item::Ip(_) | Item::Flag(_) => None,
        };
        Some(match (&self.against, item) {
            (Against::Equal(values), _) => {
                let text = text?;
                values.iter().any(|v| **v == *text)
            }
            (Against::EqualIgnoreCase(values), _) => {
                let text = text?;
                values.iter().any(|v| same_letters(v, text))
            }
            (Against::Like(globs), _) => {
                let text = text?;
                globs.iter().any(|g| g.matches(text))
            }
            (Against::Numbers(order, values), Item::Number(n)) => values.iter().any(|v| order.holds(n, *v)),
            (Against::Dates(order, values), Item::Date(t)) => values.iter().any(|v| order.holds(t, *v)),
            (Against::Flags(values), Item::Flag(flag)) => values.contains(&flag),
            (Against::Nets(nets), Item::Ip(ip)) => nets.iter().any(|net| net.contains(&ip)),
            _ => return None,
        })
    }
}

/// Equal but for the case of letters, compared one by one.
fn same_letters(a: &str, b: &str) -> bool {
    a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
}

/// The decimal digits of a number; always some.
pub(super) fn decimal(mut n: u64, out: &mut [u8; 20]) -> Option<&str> {
    let mut at = out.len();
    loop {
        at -= 1;
        out[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    std::str::from_utf8(&out[at..]).ok()
}
