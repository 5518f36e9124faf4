//! The parameter tree that actions parse from, and its JSON form.

use jadeseal_types::{ApiError, ErrorCode};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::{borrow::Cow, cell::Cell, fmt};

pub use crate::form::{parse_form, unflatten};

/// Levels of objects and lists in a request, the outermost object included.
pub const MAX_DEPTH: usize = 16;
/// Values in one JSON request, objects and lists included.
pub const MAX_VALUES: u32 = 20_000;

/// One parameter value. `Debug` tells shapes and lengths only: a value may be a plaintext.
#[derive(Clone, PartialEq)]
pub enum Value<'a> {
    /// JSON `null`.
    Null,
    /// JSON `true` or `false`. Forms carry booleans as text.
    Bool(bool),
    /// A JSON integer within `i64::MIN..=u64::MAX`.
    Int(i128),
    /// Any other JSON number.
    Float(f64),
    /// A string; borrowed from the request where nothing in it was escaped.
    Str(Cow<'a, str>),
    /// A list.
    List(Vec<Value<'a>>),
    /// An object.
    Map(Params<'a>),
}

impl Value<'_> {
    /// True for JSON `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(_) => f.write_str("bool"),
            Value::Int(_) => f.write_str("int"),
            Value::Float(_) => f.write_str("float"),
            Value::Str(s) => write!(f, "string({} bytes)", s.len()),
            Value::List(items) => f.debug_list().entries(items).finish(),
            Value::Map(map) => map.fmt(f),
        }
    }
}

/// Named values in the order of the request (forms: in the order of the names); names are unique.
#[derive(Clone, Default, PartialEq)]
pub struct Params<'a> {
    entries: Vec<(Cow<'a, str>, Value<'a>)>,
    form: bool,
}

impl<'a> Params<'a> {
    /// From entries whose names are known to differ.
    pub(crate) fn from_unique(entries: Vec<(Cow<'a, str>, Value<'a>)>, form: bool) -> Self {
        Params { entries, form }
    }

    /// True when the values came as form or query text, so that every scalar is a string and booleans
    /// are spelled `true`, `True` or `1`.
    pub fn is_form(&self) -> bool {
        self.form
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.entries.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Removes and returns the value of this name; the order of the others stays.
    pub fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let at = self.entries.iter().position(|(n, _)| n == name)?;
        Some(self.entries.remove(at).1)
    }

    /// Puts a value under a name, in the place of the one that is there.
    pub fn set(&mut self, name: &'a str, value: Value<'a>) {
        match self.entries.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.entries.push((Cow::Borrowed(name), value)),
        }
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.entries.iter().map(|(n, v)| (n.as_ref(), v))
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there is no name.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Reads a JSON body (RFC 8259). The outermost value must be an object; an empty body is the empty
/// object. At most [`MAX_DEPTH`] levels and [`MAX_VALUES`] values; a repeated name, invalid UTF-8 or a
/// syntax error is `InvalidParameter`.
pub fn parse_json(body: &[u8]) -> Result<Params<'_>, ApiError> {
    if body.is_empty() {
        return Ok(Params::default());
    }
    Ok(read_json(body)?)
}

/// Reads JSON text as [`parse_json`] does and tells what is wrong with it, for whom it is no request body.
pub(crate) fn read_json(body: &[u8]) -> Result<Params<'_>, Fault> {
    let state = State { values_left: Cell::new(MAX_VALUES), fault: Cell::new(Fault::Syntax) };
    let mut de = serde_json::Deserializer::from_slice(body);
    let parsed = Node { state: &state, depth: 0 }.deserialize(&mut de).and_then(|v| de.end().map(|()| v));
    match parsed {
        Ok(Value::Map(params)) => Ok(params),
        Ok(_) => Err(Fault::NotObject),
        Err(_) => Err(state.fault.get()),
    }
}

/// What is wrong with a JSON body; never its text, which may be secret.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// No JSON, or not in UTF-8.
    Syntax,
    /// The outermost value is no object.
    NotObject,
    /// More than [`MAX_DEPTH`] levels.
    TooDeep,
    /// More than [`MAX_VALUES`] values.
    TooMany,
    /// Two members of one name.
    Repeated,
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        let (en, zh) = match fault {
            Fault::Syntax => ("The request body is not valid JSON in UTF-8.", "请求体不是合法的 UTF-8 编码 JSON。"),
            Fault::NotObject => ("The request body must be a JSON object.", "请求体必须是 JSON 对象。"),
            Fault::TooDeep => ("The request body is nested too deeply.", "请求体嵌套层数过多。"),
            Fault::TooMany => ("The request body holds too many values.", "请求体包含的值过多。"),
            Fault::Repeated => ("An object in the request body repeats a name.", "请求体中的对象存在重复的名称。"),
        };
        ApiError::with_text(ErrorCode::InvalidParameter, en, zh)
    }
}

struct State {
    values_left: Cell<u32>,
    fault: Cell<Fault>,
}

impl State {
    fn refuse<E: serde::de::Error>(&self, fault: Fault) -> E {
        self.fault.set(fault);
        E::custom("")
    }
}

/// Reads one value that lies `depth` containers deep.
#[derive(Clone, Copy)]
struct Node<'s> {
    state: &'s State,
    depth: usize,
}

impl<'s> Node<'s> {
    fn child<E: serde::de::Error>(self) -> Result<Node<'s>, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.state.refuse(Fault::TooDeep));
        }
        Ok(Node { state: self.state, depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<Value<'de>, D::Error> {
        let Some(left) = self.state.values_left.get().checked_sub(1) else {
            return Err(self.state.refuse(Fault::TooMany));
        };
        self.state.values_left.set(left);
        de.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value<'de>, E> {
        Ok(Value::Int(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value<'de>, E> {
        Ok(Value::Int(v.into()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(v))
    }

    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Str(Cow::Borrowed(v)))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value<'de>, E> {
        Ok(Value::Str(Cow::Owned(v.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let child = self.child()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(child)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let child = self.child()?;
        let mut entries: Vec<(Cow<'de, str>, Value<'de>)> = Vec::new();
        while let Some(name) = map.next_key_seed(Name)? {
            entries.push((name, map.next_value_seed(child)?));
        }
        if repeats(&entries) {
            return Err(self.state.refuse(Fault::Repeated));
        }
        Ok(Value::Map(Params::from_unique(entries, false)))
    }
}

/// Entries among which pairwise comparison is cheaper than sorting.
const FEW: usize = 16;

/// True when two entries bear one name. Never quadratic in the caller's numbers.
fn repeats(entries: &[(Cow<'_, str>, Value<'_>)]) -> bool {
    if entries.len() <= FEW {
        return entries.iter().enumerate().any(|(i, (name, _))| entries.iter().take(i).any(|(n, _)| n == name));
    }
    let mut names: Vec<&str> = entries.iter().map(|(n, _)| n.as_ref()).collect();
    names.sort_unstable();
    names.windows(2).any(|w| w[0] == w[1])
}

/// A member name, borrowed where nothing in it is escaped.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<Self::Value, D::Error> {
        de.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(v.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jadeseal_types::Lang;

    fn refused(body: &[u8]) -> String {
        let e = parse_json(body).unwrap_err();
        assert_eq!(e.code(), ErrorCode::InvalidParameter);
        e.message(Lang::En)
    }

    #[test]
    fn values_keep_their_types_and_order() {
        let body = r#"{"b":"text","a":18446744073709551615,"n":-9223372036854775808,"f":1.5,"z":null,
            "t":true,"l":["x",{"y":"\u00e9\n"}],"big":18446744073709551616}"#;
        let p = parse_json(body.as_bytes()).unwrap();
        let names: Vec<_> = p.iter().map(|(n, _)| n).collect();
        assert_eq!(names, ["b", "a", "n", "f", "z", "t", "l", "big"]);
        assert!(matches!(p.get("b"), Some(Value::Str(Cow::Borrowed("text")))));
        assert_eq!(p.get("a"), Some(&Value::Int(u64::MAX.into())));
        assert_eq!(p.get("n"), Some(&Value::Int(i64::MIN.into())));
        assert_eq!(p.get("f"), Some(&Value::Float(1.5)));
        assert!(p.get("z").is_some_and(Value::is_null));
        assert_eq!(p.get("t"), Some(&Value::Bool(true)));
        assert!(matches!(p.get("big"), Some(Value::Float(_))));
        let Some(Value::List(l)) = p.get("l") else { panic!("no list") };
        let Some(Value::Map(m)) = l.get(1) else { panic!("no object") };
        assert_eq!(m.get("y"), Some(&Value::Str("é\n".into())));
        assert!(!p.is_form());
    }

    #[test]
    fn take_removes_and_keeps_the_order() {
        let mut p = parse_json(br#"{"a":1,"b":2,"c":3}"#).unwrap();
        assert_eq!(p.take("b"), Some(Value::Int(2)));
        assert_eq!(p.take("b"), None);
        assert_eq!(p.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(p.len(), 2);
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert!(parse_json(b"").unwrap().is_empty());
        assert!(parse_json(b" {} ").unwrap().is_empty());
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for bad in ["null", "[]", "1", "\"s\""] {
            assert!(refused(bad.as_bytes()).contains("object"), "{bad}");
        }
        for bad in ["{", "{}{}", "{\"a\":}", "{a:1}", "nul", "{\"a\":\"\\ud800\"}", " ", "{\"a\":01}"] {
            assert!(refused(bad.as_bytes()).contains("valid JSON"), "{bad}");
        }
        assert!(refused(b"{\"a\":\"\xff\"}").contains("UTF-8"));
        assert!(refused(b"{\"\xc3\":1}").contains("UTF-8"));
    }

    #[test]
    fn repeated_names_are_refused_at_every_level_and_size() {
        assert!(refused(br#"{"a":1,"a":1}"#).contains("repeats"));
        assert!(refused(br#"{"x":[{"a":1,"\u0061":1}]}"#).contains("repeats"));
        let many = |last: &str| {
            let list: Vec<_> = (0..1000).map(|i| format!("\"k{i}\":0")).collect();
            format!("{{{},\"{last}\":0}}", list.join(","))
        };
        assert!(refused(many("k500").as_bytes()).contains("repeats"));
        assert_eq!(parse_json(many("k1000").as_bytes()).unwrap().len(), 1001);
    }

    #[test]
    fn depth_and_count_are_bounded() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(parse_json(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(refused(nested(MAX_DEPTH + 1).as_bytes()).contains("deep"));
        assert!(refused(nested(100_000).as_bytes()).contains("deep"));
        let list = |n: u32| format!("{{\"a\":[{}]}}", vec!["0"; n as usize].join(","));
        // The object, the list and the numbers count.
        assert!(parse_json(list(MAX_VALUES - 2).as_bytes()).is_ok());
        assert!(refused(list(MAX_VALUES - 1).as_bytes()).contains("many"));
    }

    #[test]
    fn debug_shows_no_value() {
        let p = parse_json(br#"{"Plaintext":"c2VjcmV0","N":[424242,true]}"#).unwrap();
        let text = format!("{p:?}");
        assert!(text.contains("Plaintext") && text.contains("8 bytes"));
        assert!(!text.contains("c2Vj") && !text.contains("424242"), "{text}");
    }
}
