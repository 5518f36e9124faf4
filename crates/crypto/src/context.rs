//! The encryption context: string pairs that must be the same on Decrypt as on Encrypt.
//!
//! Contexts are compared by meaning, not by text: the JSON is parsed, sorted by the UTF-8 bytes of
//! the names and encoded as `length u32 | name | length u32 | value` for each pair (big-endian).

use jadeseal_types::limits::MAX_CONTEXT_CHARS;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::fmt;

/// A checked encryption context in its canonical encoding. Absent, `""` and `{}` are all equal to
/// the default.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Context(Box<[u8]>);

/// Why a text is no encryption context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// More than [`MAX_CONTEXT_CHARS`] characters.
    #[error("the encryption context has more than {MAX_CONTEXT_CHARS} characters")]
    TooLong,
    /// Not JSON, or not an object whose values are all strings.
    #[error("the encryption context is not a JSON object of strings")]
    NotAnObjectOfStrings,
    /// A name stands twice.
    #[error("the encryption context names a member twice")]
    DuplicateName,
}

impl Context {
    /// Parses the JSON text of a request.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn parse(json: &str) -> Result<Context, ContextError> {
        if json.is_empty() {
            return Ok(Context::default());
        }
        if json.chars().nth(MAX_CONTEXT_CHARS).is_some() {
            return Err(ContextError::TooLong);
        }
        let Pairs(mut pairs) = serde_json::from_str(json).map_err(|_| ContextError::NotAnObjectOfStrings)?;
        pairs.sort_unstable();
        if pairs.windows(2).any(|w| matches!(w, [a, b] if a.0 == b.0)) {
            return Err(ContextError::DuplicateName);
        }
        let mut out = Vec::with_capacity(pairs.iter().map(|(n, v)| 8 + n.len() + v.len()).sum());
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            // At most 1,024 characters, so the length fits.
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        Ok(Context(out.into_boxed_slice()))
    }

    /// Reads the canonical encoding back, as it was kept. Anything else gives none.
    pub fn from_encoded(encoded: &[u8]) -> Option<Context> {
        let mut rest = encoded;
        let mut text = || {
            let (len, after) = rest.split_first_chunk()?;
            let (text, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            rest = after;
            std::str::from_utf8(text).ok().map(|text| (text, after.is_empty()))
        };
        let mut last: Option<&str> = None;
        let mut done = encoded.is_empty();
        while !done {
            let (name, _) = text()?;
            if last.is_some_and(|last| last >= name) {
                return None;
            }
            last = Some(name);
            (_, done) = text()?;
        }
        Some(Context(encoded.into()))
    }

    /// True when there is no pair.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The canonical encoding, which enters the associated data.
    pub fn encoded(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Context {
    /// The length alone: a caller's context has no place in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({} bytes)", self.0.len())
    }
}

/// The members in the order of the text, duplicates kept: a map type would silently drop them.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, String>()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_empty_and_no_members_are_equal() {
        assert_eq!(Context::parse("").unwrap(), Context::default());
        assert_eq!(Context::parse(" { } ").unwrap(), Context::default());
        assert!(Context::default().is_empty());
    }

    #[test]
    fn order_space_and_escapes_do_not_matter() {
        let a = Context::parse(r#"{"b":"2","a":"1"}"#).unwrap();
        let b = Context::parse("{ \"\\u0061\" : \"1\", \"b\":\"2\" }").unwrap();
        assert_eq!(a, b);
        assert_eq!(a.encoded(), b"\0\0\0\x01a\0\0\0\x011\0\0\0\x01b\0\0\0\x012");
        assert_ne!(a, Context::parse(r#"{"b":"1","a":"2"}"#).unwrap());
    }

    #[test]
    fn the_encoding_is_read_back_and_nothing_else() {
        for json in ["", r#"{"a":""}"#, r#"{"b":"2","a":"1","键":"值"}"#] {
            let context = Context::parse(json).unwrap();
            assert_eq!(Context::from_encoded(context.encoded()), Some(context));
        }
        let whole = Context::parse(r#"{"a":"1","b":"2"}"#).unwrap();
        for cut in 1..whole.encoded().len() {
            // Between the pairs it is an encoding too.
            assert_eq!(Context::from_encoded(&whole.encoded()[..cut]).is_some(), cut == 10, "{cut}");
        }
        let pair = |name: &[u8]| [&[0, 0, 0, 1], name, &[0, 0, 0, 0]].concat();
        for bad in [
            [pair(b"b"), pair(b"a")].concat(),
            [pair(b"a"), pair(b"a")].concat(),
            pair(b"\xff"),
            vec![0; 9],
            vec![0xff; 8],
        ] {
            assert_eq!(Context::from_encoded(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn names_sort_by_bytes_not_by_utf16() {
        // U+FF21 sorts after U+10000 in UTF-16 and before it in UTF-8.
        let c = Context::parse("{\"\u{10000}\":\"\",\"\u{ff21}\":\"\"}").unwrap();
        assert_eq!(&c.encoded()[..7], b"\0\0\0\x03\xef\xbc\xa1");
    }

    #[test]
    fn other_shapes_are_refused() {
        for bad in [
            " ",
            "x",
            "[]",
            "null",
            "\"a\"",
            "{\"a\":1}",
            "{\"a\":null}",
            "{\"a\":{}}",
            "{\"a\":[\"b\"]}",
            "{\"a\":\"b\"} x",
            "{\"a\":\"b\",}",
            "{\"a\":\"\\ud800\"}",
            "{1:\"a\"}",
            &"[".repeat(1024),
            &"{\"a\":".repeat(200),
        ] {
            assert_eq!(Context::parse(bad), Err(ContextError::NotAnObjectOfStrings), "{bad}");
        }
        for twice in [r#"{"a":"1","a":"1"}"#, r#"{"a":"1","b":"","\u0061":"2"}"#] {
            assert_eq!(Context::parse(twice), Err(ContextError::DuplicateName));
        }
    }

    #[test]
    fn the_limit_counts_characters() {
        let text = |n: usize| format!("{{\"a\":\"{}\"}}", "键".repeat(n));
        assert!(Context::parse(&text(MAX_CONTEXT_CHARS - 8)).is_ok());
        assert_eq!(Context::parse(&text(MAX_CONTEXT_CHARS - 7)), Err(ContextError::TooLong));
    }
}
