//! Operators and keys of conditions, and which of them go together.

/// What an operator compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Texts.
    Text(TextTest),
    /// Whole numbers.
    Number(Order),
    /// Moments.
    Date(Order),
    /// Addresses with networks.
    Ip,
    /// Whether there is a value at all.
    Null,
    /// Truth values.
    Bool,
}

/// How texts are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextTest {
    Equal,
    EqualIgnoreCase,
    Like,
}

/// How numbers and moments are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

impl Order {
    /// Compares what the request has with a value of the condition.
    pub fn holds<T: Ord>(self, seen: T, value: T) -> bool {
        match self {
            Order::Equal => seen == value,
            Order::Greater => seen > value,
            Order::GreaterEqual => seen >= value,
            Order::Less => seen < value,
            Order::LessEqual => seen <= value,
        }
    }
}

/// How many of the request's values must fulfil an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantifier {
    Any,
    All,
}

/// An operator with what stands before and behind its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    /// What it compares, and how.
    pub family: Family,
    /// True for `not`: a value of the request fulfils it when it matches none of the condition's.
    pub negated: bool,
    /// `for_any_value:` or `for_all_value:`; without either, any for a positive operator and all for a negated one.
    pub quantifier: Quantifier,
    /// `_if_exist`: fulfilled by a request that has no value.
    pub if_exist: bool,
}

impl Operator {
    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        let (named, rest) = match text.split_once(':') {
            None => (None, text),
            Some(("for_any_value", rest)) => (Some(Quantifier::Any), rest),
            Some(("for_all_value", rest)) => (Some(Quantifier::All), rest),
            Some(_) => return None,
        };
        let (rest, if_exist) = rest.strip_suffix("_if_exist").map_or((rest, false), |rest| (rest, true));
        let (family, negated) = family(rest)?;
        if family == Family::Null && (if_exist || named.is_some()) {
            return None; // It asks for the value's absence itself.
        }
        let quantifier = named.unwrap_or(if negated { Quantifier::All } else { Quantifier::Any });
        Some(Operator { family, negated, quantifier, if_exist })
    }
}

/// The bare name of an operator, and whether it is negated.
fn family(name: &str) -> Option<(Family, bool)> {
    use {Family::*, Order::*};
    Some(match name {
        "string_equal" => (Text(TextTest::Equal), false),
        "string_not_equal" => (Text(TextTest::Equal), true),
        "string_equal_ignore_case" => (Text(TextTest::EqualIgnoreCase), false),
        "string_not_equal_ignore_case" => (Text(TextTest::EqualIgnoreCase), true),
        "string_like" => (Text(TextTest::Like), false),
        "string_not_like" => (Text(TextTest::Like), true),
        "numeric_equal" => (Number(Equal), false),
        "numeric_not_equal" => (Number(Equal), true),
        "numeric_greater_than" => (Number(Greater), false),
        "numeric_greater_than_equal" => (Number(GreaterEqual), false),
        "numeric_less_than" => (Number(Less), false),
        "numeric_less_than_equal" => (Number(LessEqual), false),
        "date_equal" => (Date(Equal), false),
        "date_not_equal" => (Date(Equal), true),
        "date_greater_than" => (Date(Greater), false),
        "date_greater_than_equal" => (Date(GreaterEqual), false),
        "date_less_than" => (Date(Less), false),
        "date_less_than_equal" => (Date(LessEqual), false),
        "bool_equal" => (Bool, false),
        "ip_equal" => (Ip, false),
        "ip_not_equal" => (Ip, true),
        "null_equal" => (Null, false),
        _ => return None,
    })
}

/// What a condition asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Ip,
    CurrentTime,
    Uin,
    OwnerUin,
    CreateUin,
    Tag,
    ResourceTag,
    RequestTag,
    ExternalId,
    SecureTransport,
}

impl Key {
    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "qcs:ip" => Key::Ip,
            "qcs:current_time" => Key::CurrentTime,
            "qcs:uin" => Key::Uin,
            "qcs:owner_uin" => Key::OwnerUin,
            "qcs:create_uin" => Key::CreateUin,
            "qcs:tag" => Key::Tag,
            "qcs:resource_tag" => Key::ResourceTag,
            "qcs:request_tag" => Key::RequestTag,
            "sts:external_id" => Key::ExternalId,
            "kms:secure-transport" => Key::SecureTransport,
            _ => return None,
        })
    }

    /// True for what is asked about who takes a role, and for what is asked about who does anything else.
    pub fn serves(self, trust: bool) -> bool {
        match self {
            Key::Ip | Key::CurrentTime | Key::Uin | Key::OwnerUin | Key::SecureTransport => true,
            Key::CreateUin | Key::Tag | Key::ResourceTag | Key::RequestTag => !trust,
            Key::ExternalId => trust,
        }
    }

    /// True for sets of tags.
    pub fn is_tags(self) -> bool {
        matches!(self, Key::Tag | Key::ResourceTag | Key::RequestTag)
    }

    /// True when values of this key are of the kind that the operator compares. Numbers are also compared as text.
    pub fn suits(self, family: Family) -> bool {
        match family {
            Family::Text(_) => !matches!(self, Key::Ip | Key::CurrentTime | Key::SecureTransport),
            Family::Number(_) => matches!(self, Key::Uin | Key::OwnerUin | Key::CreateUin),
            Family::Date(_) => self == Key::CurrentTime,
            Family::Ip => self == Key::Ip,
            Family::Null => true,
            Family::Bool => self == Key::SecureTransport,
        }
    }
}
