//! Form and query text, and the flattened names (`Tags.0.TagKey`) that it carries.

use crate::params::{MAX_DEPTH, Params, Value};
use jadeseal_types::{ApiError, ErrorCode};
use std::{borrow::Cow, mem};

/// Pairs in one form or query.
pub const MAX_PAIRS: usize = 5_000;
/// Items of one flattened list.
const MAX_ITEMS: usize = 1_000;
/// Bytes of one name, so that comparing names costs little whatever is sent.
const MAX_NAME: usize = 512;

/// A decoded name and value.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Reads `application/x-www-form-urlencoded` text: percent and `+` decoding, strict UTF-8 afterwards, at
/// most [`MAX_PAIRS`] pairs, in the order of the text. Empty pieces (`a=1&&b=2`) are skipped; a piece
/// without `=`, a broken escape, a name over 512 bytes or a repeated name is `InvalidParameter`.
pub fn parse_form(text: &[u8]) -> Result<Vec<Pair<'_>>, ApiError> {
    let mut pairs = Vec::new();
    for piece in text.split(|&c| c == b'&').filter(|p| !p.is_empty()) {
        if pairs.len() == MAX_PAIRS {
            return Err(wrong("The request has too many parameters.", "请求参数过多。"));
        }
        let Some(eq) = piece.iter().position(|&c| c == b'=') else {
            return Err(wrong(
                "The query string is malformed: key and value must be separated by `=`.",
                "请求参数格式错误：键和值必须以 `=` 分隔。",
            ));
        };
        let (name, value) = piece.split_at(eq);
        // A character takes at most three to escape; the rule is about the name that is meant.
        let long = || wrong("A parameter name is too long.", "参数名过长。");
        if name.len() > 3 * MAX_NAME {
            return Err(long());
        }
        let name = unescape(name)?;
        if name.len() > MAX_NAME {
            return Err(long());
        }
        pairs.push((name, unescape(value.get(1..).unwrap_or_default())?));
    }
    let mut names: Vec<&str> = pairs.iter().map(|(n, _)| n.as_ref()).collect();
    names.sort_unstable();
    if names.windows(2).any(|w| w[0] == w[1]) {
        return Err(wrong("The request repeats a parameter.", "请求参数重复。"));
    }
    Ok(pairs)
}

/// Builds the tree behind flattened names: `KeyIds.0`, `Tags.0.TagKey`, `TagFilters.0.TagValue.0`,
/// `MemberAccount.MemberUin`. A level whose names are all numbers is a list; its indices must be
/// 0, 1, 2, … without a gap, below 1,000. Every leaf is a string. At most [`MAX_DEPTH`] levels;
/// whatever contradicts itself is `InvalidParameter`.
pub fn unflatten(mut pairs: Vec<Pair<'_>>) -> Result<Params<'_>, ApiError> {
    // Ordered by segments, not by bytes: a character below `.` would part siblings otherwise.
    pairs.sort_by(|(a, _), (b, _)| a.split('.').cmp(b.split('.')));
    Ok(Params::from_unique(level(&mut pairs, 0, 1)?, true))
}

/// The children of one node: `pairs` share the first `at` bytes of their names.
fn level<'a>(mut pairs: &mut [Pair<'a>], at: usize, depth: usize) -> Result<Vec<(Cow<'a, str>, Value<'a>)>, ApiError> {
    if depth > MAX_DEPTH {
        return Err(wrong("A parameter name has too many levels.", "参数名层级过多。"));
    }
    let mut children = Vec::new();
    while let Some((first, _)) = pairs.first() {
        let segment = segment(first, at);
        let size = pairs.iter().take_while(|(n, _)| self::segment(n, at) == segment).count();
        if segment.is_empty() {
            return Err(wrong("A parameter name has an empty segment.", "参数名中存在空的层级。"));
        }
        let (start, end) = (at, at + segment.len());
        let (group, rest) = mem::take(&mut pairs).split_at_mut(size);
        pairs = rest;
        children.push(child(group, start, end, depth)?);
    }
    Ok(children)
}

fn child<'a>(
    group: &mut [Pair<'a>],
    start: usize,
    end: usize,
    depth: usize,
) -> Result<(Cow<'a, str>, Value<'a>), ApiError> {
    let name = match group.first().map(|(n, _)| n) {
        Some(Cow::Borrowed(n)) => Cow::Borrowed(n.get(start..end).unwrap_or_default()),
        Some(Cow::Owned(n)) => Cow::Owned(n.get(start..end).unwrap_or_default().to_owned()),
        None => Cow::Borrowed(""),
    };
    let value = match group {
        [(name, value)] if name.len() == end => Value::Str(mem::take(value)),
        _ if group.iter().any(|(n, _)| n.len() == end) => {
            return Err(wrong(
                "A parameter name stands for both a value and a structure.",
                "同一参数名既是值又是结构。",
            ));
        }
        _ => structure(level(group, end + 1, depth + 1)?)?,
    };
    Ok((name, value))
}

/// A list when the names are numbers, an object when none is.
fn structure<'a>(mut children: Vec<(Cow<'a, str>, Value<'a>)>) -> Result<Value<'a>, ApiError> {
    let numbers = children.iter().filter(|(n, _)| n.bytes().all(|c| c.is_ascii_digit())).count();
    if numbers == 0 {
        return Ok(Value::Map(Params::from_unique(children, true)));
    }
    let broken =
        || wrong("The indices of a list parameter must be 0, 1, 2 and so on.", "列表参数的下标必须从 0 开始连续。");
    if numbers != children.len() || numbers > MAX_ITEMS {
        return Err(broken());
    }
    // The length settles the order of numbers without leading zeros; with them, the check below fails.
    children.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    if !children.iter().enumerate().all(|(i, (n, _))| n.parse() == Ok(i) && (n.len() == 1 || !n.starts_with('0'))) {
        return Err(broken());
    }
    Ok(Value::List(children.into_iter().map(|(_, v)| v).collect()))
}

fn segment(name: &str, at: usize) -> &str {
    let rest = name.get(at..).unwrap_or_default();
    rest.split_once('.').map_or(rest, |(segment, _)| segment)
}

/// Text behind percent-encoding, in which `+` is a blank; none where an escape is broken or the bytes are not UTF-8.
pub fn percent_decoded(text: &str) -> Option<String> {
    unescape(text.as_bytes()).ok().map(Cow::into_owned)
}

fn unescape(text: &[u8]) -> Result<Cow<'_, str>, ApiError> {
    let utf8 = || wrong("The request parameters are not UTF-8.", "请求参数不是 UTF-8 编码。");
    if !text.iter().any(|c| matches!(c, b'%' | b'+')) {
        return std::str::from_utf8(text).map(Cow::Borrowed).map_err(|_| utf8());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&c, tail)) = rest.split_first() {
        rest = tail;
        match c {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = tail.first_chunk::<2>().and_then(|[a, b]| Some((digit(*a)?, digit(*b)?)));
                let Some((high, low)) = digits else {
                    return Err(wrong(
                        "The request parameters have a broken percent escape.",
                        "请求参数的百分号编码错误。",
                    ));
                };
                out.push(high << 4 | low);
                rest = tail.get(2..).unwrap_or_default();
            }
            c => out.push(c),
        }
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| utf8())
}

fn digit(c: u8) -> Option<u8> {
    char::from(c).to_digit(16).and_then(|d| d.try_into().ok())
}

fn wrong(en: &str, zh: &str) -> ApiError {
    ApiError::with_text(ErrorCode::InvalidParameter, en, zh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jadeseal_types::Lang;
    use proptest::prelude::*;

    fn tree(text: &str) -> Result<Params<'_>, ApiError> {
        unflatten(parse_form(text.as_bytes())?)
    }

    fn message(text: &[u8]) -> String {
        let e = parse_form(text).and_then(unflatten).unwrap_err();
        assert_eq!(e.code(), ErrorCode::InvalidParameter);
        e.message(Lang::En)
    }

    fn s(text: &str) -> Value<'static> {
        Value::Str(text.to_owned().into())
    }

    #[test]
    fn escapes_and_blanks_are_decoded_once() {
        let pairs = parse_form(b"a=x+y%20z%2B%252B&%E9%94%AE=&c=1=2&&plain=ok").unwrap();
        let expected = [("a", "x y z+%2B"), ("键", ""), ("c", "1=2"), ("plain", "ok")];
        assert_eq!(pairs, expected.map(|(n, v)| (n.into(), v.into())));
        assert!(matches!(pairs[3], (Cow::Borrowed(_), Cow::Borrowed(_))));
    }

    #[test]
    fn malformed_text_is_refused() {
        assert!(message(b"abc").contains("separated by `=`"));
        assert!(message(b"a=1&b").contains("separated by `=`"));
        for bad in [&b"a=%"[..], b"a=%4", b"a=%zz", b"%g1=a"] {
            assert!(message(bad).contains("escape"));
        }
        assert!(message(format!("{}=1", "n".repeat(MAX_NAME + 1)).as_bytes()).contains("too long"));
        assert!(message(format!("{}=1", "%6e".repeat(MAX_NAME + 1)).as_bytes()).contains("too long"));
        assert!(parse_form(format!("{}=1", "%6e".repeat(MAX_NAME)).as_bytes()).is_ok());
        assert!(message(b"a=%ff").contains("UTF-8"));
        assert!(message(b"a=\xff").contains("UTF-8"));
        assert!(message(b"a=1&b=2&%61=3").contains("repeats"));
    }

    #[test]
    fn the_number_of_pairs_is_bounded() {
        let text = |n: usize| (0..n).map(|i| format!("k{i}=")).collect::<Vec<_>>().join("&");
        assert_eq!(parse_form(text(MAX_PAIRS).as_bytes()).unwrap().len(), MAX_PAIRS);
        assert!(message(text(MAX_PAIRS + 1).as_bytes()).contains("too many"));
    }

    #[test]
    fn flattened_names_become_a_tree() {
        let p = tree(
            "KeyIds.1=b&KeyIds.0=a&Tags.0.TagKey=k&Tags.0.TagValue=v&TagFilters.0.TagValue.0=x\
             &TagFilters.0.TagKey=t&MemberAccount.MemberUin=100&Limit=5&KeyIds-x=1",
        )
        .unwrap();
        assert!(p.is_form());
        assert_eq!(p.len(), 6);
        assert_eq!(p.get("KeyIds"), Some(&Value::List(vec![s("a"), s("b")])));
        assert_eq!(p.get("Limit"), Some(&s("5")));
        let Some(Value::List(filters)) = p.get("TagFilters") else { panic!() };
        let [Value::Map(filter)] = &filters[..] else { panic!() };
        assert!(filter.is_form());
        assert_eq!(filter.get("TagValue"), Some(&Value::List(vec![s("x")])));
        let Some(Value::Map(member)) = p.get("MemberAccount") else { panic!() };
        assert_eq!(member.get("MemberUin"), Some(&s("100")));
    }

    #[test]
    fn lists_of_more_than_ten_are_ordered_by_number() {
        let text = (0..25).rev().map(|i| format!("L.{i}=v{i}")).collect::<Vec<_>>().join("&");
        let expected = (0..25).map(|i| s(&format!("v{i}"))).collect();
        assert_eq!(tree(&text).unwrap().get("L"), Some(&Value::List(expected)));
    }

    #[test]
    fn contradictions_are_refused() {
        for gap in ["A.1=x", "A.0=x&A.2=y", "A.00=x", "A.0=x&A.01=y", "A.0=x&A.b=y", "A.99999999999999999999=x"] {
            assert!(message(gap.as_bytes()).contains("indices"), "{gap}");
        }
        for both in ["A=x&A.0=y", "A.0=x&A.0.b=y", "A.b.c=1&A.b=2"] {
            assert!(message(both.as_bytes()).contains("both"), "{both}");
        }
        for empty in ["=x", ".=x", "A.=x", "A..b=x", ".A=x"] {
            assert!(message(empty.as_bytes()).contains("empty segment"), "{empty}");
        }
        let name = |levels: usize| format!("{}=x", vec!["a"; levels].join("."));
        assert!(tree(&name(MAX_DEPTH)).is_ok());
        assert!(message(name(MAX_DEPTH + 1).as_bytes()).contains("levels"));
        let long = (0..=MAX_ITEMS).map(|i| format!("A.{i}=")).collect::<Vec<_>>().join("&");
        assert!(message(long.as_bytes()).contains("indices"));
    }

    /// Flattens a tree the way the SDKs do.
    fn flatten(prefix: &str, value: &Value<'_>, out: &mut Vec<Pair<'static>>) {
        match value {
            Value::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    flatten(&format!("{prefix}.{i}"), item, out);
                }
            }
            Value::Map(map) => map.iter().for_each(|(n, v)| flatten(&format!("{prefix}.{n}"), v, out)),
            Value::Str(text) => out.push((prefix.to_owned().into(), text.clone().into_owned().into())),
            _ => unreachable!("forms carry text alone"),
        }
    }

    fn value() -> impl Strategy<Value = Value<'static>> {
        let leaf = any::<String>().prop_map(|t| Value::Str(t.into()));
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..12).prop_map(Value::List),
                prop::collection::btree_map("[A-Za-z][^.]{0,4}", inner, 1..4).prop_map(map),
            ]
        })
    }

    fn map(entries: std::collections::BTreeMap<String, Value<'static>>) -> Value<'static> {
        Value::Map(Params::from_unique(entries.into_iter().map(|(n, v)| (n.into(), v)).collect(), true))
    }

    proptest! {
        #[test]
        fn flattening_round_trips(tree in prop::collection::btree_map("[A-Za-z][^.]{0,6}", value(), 0..5)) {
            let Value::Map(expected) = map(tree) else { unreachable!() };
            let mut pairs = Vec::new();
            expected.iter().for_each(|(n, v)| flatten(n, v, &mut pairs));
            pairs.reverse();
            prop_assert_eq!(unflatten(pairs).unwrap(), expected);
        }
    }

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(percent_decoded("%7B%22a%22%3A+1%7D").as_deref(), Some("{\"a\": 1}"));
        for bad in ["%", "%7", "%zz", "%ff", "%+1"] {
            assert_eq!(percent_decoded(bad), None, "{bad}");
        }
    }
}
