//! What a record says, read from its canonical bytes without copying them.
//!
//! The form is canonical ([`crate::Record::encode`]), so a reader walks it once from front to back: every member has its place,
//! and bytes that no encoder would have written are no record.

use std::borrow::Cow;

/// What a record of version 1, 2 or 3 says. Texts are as they stand in the record: printable ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// When the request arrived, microseconds since 1970-01-01 UTC.
    pub time_micros: u64,
    /// `RequestId` of the answer.
    pub request_id: &'a str,
    /// OwnerUin in decimal; empty when the caller was not authenticated.
    pub account: &'a str,
    /// Uin of the principal in decimal; empty as above.
    pub uin: &'a str,
    /// Member accounts that were acted for.
    pub targets: List<'a>,
    /// `root`, `user`, …
    pub principal: &'a str,
    /// SecretId; may be empty.
    pub secret_id: &'a str,
    /// Name of the session, as it is escaped; may be empty.
    pub session: &'a str,
    /// Address of the caller; empty for background jobs.
    pub source: &'a str,
    /// The client's description of itself, as it is escaped.
    pub user_agent: &'a str,
    /// The product.
    pub service: &'a str,
    /// Its API version.
    pub version: &'a str,
    /// The action.
    pub action: &'a str,
    /// The region.
    pub region: &'a str,
    /// Keys.
    pub resources: List<'a>,
    /// Principals, policies, access keys and sessions, as they are escaped.
    pub subjects: List<'a>,
    /// `read`, `use` or `write`.
    pub access: &'a str,
    /// Error code; empty on success.
    pub code: &'a str,
}

/// What a record begins with: that in which any two differ. What is behind it is often the same.
#[derive(Clone, Copy)]
pub(crate) struct Front<'a> {
    /// Version of the record.
    pub version: u8,
    /// As in [`Facts`].
    pub time_micros: u64,
    /// As in [`Facts`].
    pub request_id: &'a str,
    /// What is behind the request id and its quote, as it stands; nobody has looked at it.
    pub rest: &'a [u8],
}

impl<'a> Front<'a> {
    /// Reads it; `None` where [`Facts::parse`] would find no record either.
    pub fn parse(json: &'a [u8]) -> Option<Self> {
        const BEFORE: usize = "{\"v\":1,\"time\":\"0000-00-00T00:00:00.000000Z\",\"request_id\":\"".len();
        let end = BEFORE + json.get(BEFORE..)?.iter().position(|c| *c == b'"')? + 1;
        let (front, behind) = json.split_at(end);
        let mut rest = Cursor::of(front)?;
        rest.expect("{\"v\":")?;
        let version = rest.0.as_bytes().first().copied().filter(|v| (b'1'..=b'3').contains(v))? - b'0';
        rest.0 = &rest.0[1..];
        rest.expect(",\"time\":\"")?;
        let time_micros = rest.time()?;
        rest.expect("\",\"request_id\":\"")?;
        let request_id = rest.name()?;
        Some(Front { version, time_micros, request_id, rest: behind })
    }
}

impl<'a> Facts<'a> {
    /// Reads a record; `None` for bytes that are none, and for a version that is not known here.
    pub fn parse(json: &'a [u8]) -> Option<Self> {
        let Front { version, time_micros, request_id, rest } = Front::parse(json)?;
        let mut rest = Cursor::of(rest)?;
        rest.expect(",\"account\":\"")?;
        let account = rest.name()?;
        rest.expect(",\"uin\":\"")?;
        let uin = rest.name()?;
        let targets = if version == 1 { List("") } else { rest.list(",\"targets\":[")? };
        rest.expect(",\"principal\":\"")?;
        let principal = rest.name()?;
        rest.expect(",\"secret_id\":\"")?;
        let secret_id = rest.name()?;
        let session = if version == 3 {
            rest.expect(",\"session\":\"")?;
            rest.text()?
        } else {
            ""
        };
        rest.expect(",\"source\":\"")?;
        let source = rest.name()?;
        rest.expect(",\"user_agent\":\"")?;
        let user_agent = rest.text()?;
        rest.expect(",\"service\":\"")?;
        let service = rest.name()?;
        rest.expect(",\"version\":\"")?;
        let api_version = rest.name()?;
        rest.expect(",\"action\":\"")?;
        let action = rest.name()?;
        rest.expect(",\"region\":\"")?;
        let region = rest.name()?;
        let resources = rest.list(",\"resources\":[")?;
        let subjects = if version == 3 { rest.list(",\"subjects\":[")? } else { List("") };
        rest.expect(",\"access\":\"")?;
        let access = rest.name()?;
        rest.expect(",\"code\":\"")?;
        let code = rest.name()?;
        (rest.0 == "}").then_some(Facts {
            time_micros,
            request_id,
            account,
            uin,
            targets,
            principal,
            secret_id,
            session,
            source,
            user_agent,
            service,
            version: api_version,
            action,
            region,
            resources,
            subjects,
            access,
            code,
        })
    }
}

/// A list of texts inside a record: what stands between its brackets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct List<'a>(&'a str);

impl<'a> List<'a> {
    /// No items.
    pub const EMPTY: List<'static> = List("");

    /// The items, as they are escaped.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let mut rest = Cursor(self.0);
        std::iter::from_fn(move || {
            rest.0 = rest.0.strip_prefix(',').unwrap_or(rest.0);
            rest.0 = rest.0.strip_prefix('"')?;
            rest.text()
        })
    }

    /// The list of one item alone, if it is among them. For items without escapes.
    pub(crate) fn only(self, item: &str) -> Option<Self> {
        let is = |quoted: &&str| quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"')) == Some(item);
        self.0.split(',').find(is).map(List)
    }

    /// True without items.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// A text of a record as it was meant: without its escapes.
pub fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    Cow::Owned(out)
}

/// A text as it stands in a record; the reverse of [`unescaped`].
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['"', '\\']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What has not been read yet. All of it is ASCII, so it may be cut anywhere.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    /// At the beginning of bytes, all of which must be printable ASCII.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        // Without a way out in between, the compiler looks at many bytes at once.
        if bytes.iter().fold(false, |bad, c| bad | !(0x20..0x7f).contains(c)) {
            return None;
        }
        std::str::from_utf8(bytes).ok().map(Cursor)
    }

    fn expect(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// A text without escapes, and the quote behind it.
    fn name(&mut self) -> Option<&'a str> {
        let end = self.0.bytes().position(|c| matches!(c, b'"' | b'\\'))?;
        let (name, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix('"')?;
        Some(name)
    }

    /// A text that may have escapes, and the quote behind it.
    fn text(&mut self) -> Option<&'a str> {
        let bytes = self.0.as_bytes();
        let mut at = 0;
        loop {
            match bytes.get(at)? {
                b'"' => break,
                b'\\' if matches!(bytes.get(at + 1)?, b'"' | b'\\') => at += 2,
                b'\\' => return None,
                _ => at += 1,
            }
        }
        let (text, rest) = self.0.split_at(at);
        self.0 = &rest[1..];
        Some(text)
    }

    /// A list of texts behind its name, and the bracket behind it.
    fn list(&mut self, name: &str) -> Option<List<'a>> {
        self.expect(name)?;
        let whole = self.0;
        if self.0.starts_with(']') {
            self.0 = &self.0[1..];
            return Some(List(""));
        }
        loop {
            self.expect("\"")?;
            self.text()?;
            if self.0.starts_with(']') {
                break;
            }
            self.expect(",")?;
        }
        let items = &whole[..whole.len() - self.0.len()];
        self.0 = &self.0[1..];
        Some(List(items))
    }

    /// `2026-11-24T02:15:22.123456Z` in microseconds.
    fn time(&mut self) -> Option<u64> {
        const FORM: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";
        let (text, rest) = self.0.split_at_checked(FORM.len())?;
        self.0 = rest;
        let text = text.as_bytes();
        let fits = text.iter().zip(FORM).all(|(c, f)| if *f == b'0' { c.is_ascii_digit() } else { c == f });
        if !fits {
            return None;
        }
        let number = |from: usize, to: usize| text[from..to].iter().fold(0, |n, c| n * 10 + u64::from(c - b'0'));
        let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
        let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
        if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        Some(seconds * 1_000_000 + number(20, 26))
    }
}

/// Days since 1970-01-01 (proleptic Gregorian calendar), years counted from March.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Access, Principal, Record};
    use jadeseal_types::{AccountId, ErrorCode, KeyId, SecretId, Uin};
    use proptest::prelude::*;

    fn record<'a>(
        (micros, text): (u64, &'a str),
        id: &'a SecretId,
        targets: &'a [AccountId],
        keys: &'a [KeyId],
        subjects: &'a [String],
        session: Option<&'a str>,
    ) -> Record<'a> {
        Record {
            time_micros: micros,
            request_id: "f73b7a61-8ff9-11f0-9c5b-525400b3a4a6",
            account: Some(AccountId(100_000_000_001)),
            uin: Some(Uin(100_000_000_002)),
            targets,
            principal: Principal::User,
            secret_id: Some(id),
            session,
            source: Some("10.1.2.3".parse().unwrap()),
            user_agent: text,
            service: "kms",
            version: "2019-01-18",
            action: "Encrypt",
            region: "ap-guangzhou",
            resources: keys,
            subjects,
            access: Access::Use,
            code: Some(ErrorCode::InternalError),
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(
            micros in 0u64..253_402_300_800_000_000,
            text in "\\PC{0,40}",
            targets in proptest::collection::vec(any::<u64>(), 0..4),
            keys in proptest::collection::vec(any::<[u8; 16]>(), 0..4),
            subjects in proptest::collection::vec("[ -~]{0,20}", 0..4),
            session in proptest::option::of("[ -~]{0,20}"),
        ) {
            let id = SecretId::parse("AKIDexample").unwrap();
            let targets: Vec<_> = targets.into_iter().map(AccountId).collect();
            let keys: Vec<_> = keys.into_iter().map(KeyId::from_bytes).collect();
            let record = record((micros, &text), &id, &targets, &keys, &subjects, session.as_deref());
            let mut json = Vec::new();
            record.encode(&mut json);
            let facts = Facts::parse(&json).expect("a record");
            let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(facts.time_micros, micros);
            for (name, read) in [
                ("request_id", facts.request_id), ("account", facts.account), ("uin", facts.uin),
                ("principal", facts.principal), ("secret_id", facts.secret_id), ("source", facts.source),
                ("service", facts.service), ("version", facts.version), ("action", facts.action),
                ("region", facts.region), ("access", facts.access), ("code", facts.code),
            ] {
                prop_assert_eq!(value[name].as_str(), Some(read), "{}", name);
            }
            prop_assert_eq!(value["user_agent"].as_str().unwrap(), &*unescaped(facts.user_agent));
            prop_assert_eq!(value["session"].as_str().unwrap_or(""), &*unescaped(facts.session));
            let list = |name: &str| -> Vec<String> {
                let items = value[name].as_array().cloned().unwrap_or_default();
                items.iter().map(|v| v.as_str().unwrap().to_owned()).collect()
            };
            let read = |list: List<'_>| list.iter().map(|item| unescaped(item).into_owned()).collect::<Vec<_>>();
            prop_assert_eq!(list("targets"), read(facts.targets));
            prop_assert_eq!(list("resources"), read(facts.resources));
            prop_assert_eq!(list("subjects"), read(facts.subjects));
            for item in facts.subjects.iter() {
                let meant = unescaped(item);
                prop_assert_eq!(item, &*escaped(&meant));
            }
            // Cut anywhere, and with any byte changed to a quote, it is read as a whole record or not at all.
            for end in 0..json.len() {
                prop_assert!(Facts::parse(&json[..end]).is_none());
            }
        }
    }

    #[test]
    fn other_versions_and_other_forms_are_no_records() {
        let id = SecretId::parse("AKIDexample").unwrap();
        let mut json = Vec::new();
        record((1, "a"), &id, &[], &[], &[], None).encode(&mut json);
        let text = String::from_utf8(json).unwrap();
        assert!(Facts::parse(text.as_bytes()).is_some());
        for (from, to) in [
            (r#"{"v":1"#, r#"{"v":4"#),
            (r#"{"v":1"#, r#"{"v":0"#),
            (r#"{"v":1"#, r#"{"v": 1"#),
            (r#"{"v":1"#, r#"{"v":2"#),
            ("1970-01-01", "1969-01-01"),
            ("1970-01-01", "1970-13-01"),
            ("T00:", "T24:"),
            ("10.1.2.3", "10\\\"1"),
            ("\"code\"", "\"kode\""),
            ("\"user_agent\":\"a", "\"user_agent\":\"\\n"),
            ("\"user_agent\":\"a", "\"user_agent\":\"\u{e9}"),
            ("[]", "[,]"),
            ("[]", "[\"a\",]"),
            ("[]", "[\"a\"\"b\"]"),
        ] {
            assert!(text.contains(from));
            assert_eq!(Facts::parse(text.replacen(from, to, 1).as_bytes()), None, "{from} {to}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (date, micros) in [
            ("1970-01-01T00:00:00.000000Z", 0),
            ("2000-02-29T00:00:00.000000Z", 951_782_400_000_000),
            ("2100-03-01T00:00:00.000001Z", 4_107_542_400_000_001),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        ] {
            assert_eq!(Cursor(date).time(), Some(micros), "{date}");
        }
    }
}
