//! The record of one request, and its canonical bytes (formats v1 to v3, `docs/audit-format.md`).

use jadeseal_types::{AccountId, ErrorCode, KeyId, SecretId, Uin};
use std::net::IpAddr;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The main account itself.
    Root,
    /// A sub-user.
    User,
    /// A session of a role.
    Role,
    /// A session that a user or the main account made for somebody.
    Federated,
    /// A cloud product that acts for the account.
    Product,
    /// A background job of the KMS.
    Service,
    /// Nobody: the request was refused before its caller was known.
    Anonymous,
}

/// What kind of access was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads metadata.
    Read,
    /// Uses a key: encrypts, decrypts, signs.
    Use,
    /// Changes state.
    Write,
}

/// One request, as the log remembers it.
///
/// Free text of the caller (action, version, region, user agent) is cut and cleaned by
/// [`Record::encode`]; everything else is typed, so a plaintext, a secret or a blob has no way in.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// When the request arrived, microseconds since 1970-01-01 UTC.
    pub time_micros: u64,
    /// The request id of the answer.
    pub request_id: &'a str,
    /// The account, when the caller was authenticated.
    pub account: Option<AccountId>,
    /// The principal's number, when authenticated.
    pub uin: Option<Uin>,
    /// Member accounts of an organisation that its administrator acted for, at most 64 are kept (the API allows 50).
    /// With any, the record is one of version 2.
    pub targets: &'a [AccountId],
    /// The principal's kind.
    pub principal: Principal,
    /// The access key that signed. Only an id that exists: an unknown one may be a secret key that
    /// was pasted into the wrong field.
    pub secret_id: Option<&'a SecretId>,
    /// Name of the caller's session, at most 128 characters are kept. With one, or with subjects, the record is one of
    /// version 3.
    pub session: Option<&'a str>,
    /// The peer's address; none for background jobs.
    pub source: Option<IpAddr>,
    /// The client's own description, at most 128 characters are kept.
    pub user_agent: &'a str,
    /// The service, `kms`.
    pub service: &'a str,
    /// The API version, at most 32 characters are kept.
    pub version: &'a str,
    /// The action, at most 64 characters are kept.
    pub action: &'a str,
    /// The region, at most 32 characters are kept.
    pub region: &'a str,
    /// The keys that the request was about, at most 128 are kept (the API allows 100).
    pub resources: &'a [KeyId],
    /// Principals and policies that the request was about, such as `uin/100000000002` or `policyid/1000007`, at most 220 are
    /// kept.
    pub subjects: &'a [String],
    /// The kind of access.
    pub access: Access,
    /// The error code of the answer; none when the request succeeded.
    pub code: Option<ErrorCode>,
}

/// Longest free texts, characters.
const MAX_USER_AGENT: usize = 128;
const MAX_NAME: usize = 64;
const MAX_SHORT_NAME: usize = 32;
/// Most key ids in one record.
const MAX_RESOURCES: usize = 128;
/// Most member accounts in one record.
const MAX_TARGETS: usize = 64;
/// Most principals and policies in one record, and the longest name of one, characters.
const MAX_SUBJECTS: usize = 220;
const MAX_SUBJECT: usize = 100;
/// Longest name of a session, characters.
const MAX_SESSION: usize = 128;

impl Record<'_> {
    /// Appends the canonical bytes: one JSON object, fixed member order, no white space, printable
    /// ASCII only, no line end.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(512 + 39 * self.resources.len().min(MAX_RESOURCES) + 23 * self.targets.len().min(MAX_TARGETS));
        let of_version_3 = self.session.is_some() || !self.subjects.is_empty();
        member(
            out,
            match (of_version_3, self.targets.is_empty()) {
                (true, _) => BEGIN_V3,
                (false, false) => BEGIN_V2,
                (false, true) => BEGIN_V1,
            },
        );
        push_time(out, self.time_micros);
        member(out, b"\",\"request_id\":\"");
        push_name(out, self.request_id, MAX_NAME);
        member(out, b"\",\"account\":\"");
        if let Some(account) = self.account {
            push_number(out, account.0);
        }
        member(out, b"\",\"uin\":\"");
        if let Some(uin) = self.uin {
            push_number(out, uin.0);
        }
        if of_version_3 || !self.targets.is_empty() {
            member(out, b"\",\"targets\":[");
            for (i, account) in self.targets.iter().take(MAX_TARGETS).enumerate() {
                member(out, if i == 0 { b"\"" } else { b",\"" });
                push_number(out, account.0);
                out.push(b'"');
            }
            member(out, b"],\"principal\":\"");
        } else {
            member(out, b"\",\"principal\":\"");
        }
        member(out, self.principal.wire());
        member(out, b"\",\"secret_id\":\"");
        if let Some(id) = self.secret_id {
            member(out, id.as_str().as_bytes());
        }
        if of_version_3 {
            member(out, b"\",\"session\":\"");
            push_text(out, self.session.unwrap_or_default(), MAX_SESSION);
        }
        member(out, b"\",\"source\":\"");
        if let Some(source) = self.source {
            push_source(out, source);
        }
        member(out, b"\",\"user_agent\":\"");
        push_text(out, self.user_agent, MAX_USER_AGENT);
        member(out, b"\",\"service\":\"");
        push_name(out, self.service, MAX_SHORT_NAME);
        member(out, b"\",\"version\":\"");
        push_name(out, self.version, MAX_SHORT_NAME);
        member(out, b"\",\"action\":\"");
        push_name(out, self.action, MAX_NAME);
        member(out, b"\",\"region\":\"");
        push_name(out, self.region, MAX_SHORT_NAME);
        member(out, b"\",\"resources\":[");
        for (i, key) in self.resources.iter().take(MAX_RESOURCES).enumerate() {
            member(out, if i == 0 { b"\"" } else { b",\"" });
            let mut text = [0; 36];
            key.write_text(&mut text);
            member(out, &text);
            out.push(b'"');
        }
        if of_version_3 {
            member(out, b"],\"subjects\":[");
            for (i, subject) in self.subjects.iter().take(MAX_SUBJECTS).enumerate() {
                member(out, if i == 0 { b"\"" } else { b",\"" });
                push_text(out, subject, MAX_SUBJECT);
                out.push(b'"');
            }
        }
        member(out, b"],\"access\":\"");
        member(out, self.access.wire());
        member(out, b"\",\"code\":\"");
        if let Some(code) = self.code {
            member(out, code.wire().as_bytes());
        }
        member(out, b"\"}");
    }
}

impl Principal {
    const fn wire(self) -> &'static [u8] {
        match self {
            Principal::Root => b"root",
            Principal::User => b"user",
            Principal::Role => b"role",
            Principal::Federated => b"federated",
            Principal::Product => b"product",
            Principal::Service => b"service",
            Principal::Anonymous => b"anonymous",
        }
    }
}

impl Access {
    const fn wire(self) -> &'static [u8] {
        match self {
            Access::Read => b"read",
            Access::Use => b"use",
            Access::Write => b"write",
        }
    }
}

/// What records of each version begin with.
const BEGIN_V1: &[u8] = b"{\"v\":1,\"time\":\"";
const BEGIN_V2: &[u8] = b"{\"v\":2,\"time\":\"";
const BEGIN_V3: &[u8] = b"{\"v\":3,\"time\":\"";

/// The request id inside a record's canonical bytes, or `None` for other bytes.
pub(crate) fn request_id_of(json: &[u8]) -> Option<&str> {
    const BEFORE: usize = BEGIN_V1.len() + TIME_CHARS;
    const NAME: &[u8] = b"\",\"request_id\":\"";
    let rest = json.get(BEFORE..)?.strip_prefix(NAME)?;
    let end = rest.iter().position(|&c| c == b'"')?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

/// Action of the records that say that older ones were removed. Their subject `first/<index>` is the first that stayed.
pub const RETIRED: &str = "RetireAuditRecords";

/// What a reader of records looks at. Unknown members are skipped, so that later versions can be read as far as they agree.
#[derive(Debug, serde::Deserialize)]
pub struct Fields {
    /// When it arrived.
    pub time: String,
    /// Id of the request.
    pub request_id: String,
    /// Who asked.
    pub principal: String,
    /// What was asked.
    pub action: String,
    /// Keys concerned.
    pub resources: Vec<String>,
    /// Others concerned.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// Error code; empty on success.
    pub code: String,
}

impl Fields {
    /// Reads a record.
    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

/// The time inside a record's canonical bytes.
pub(crate) fn time_of(json: &[u8]) -> Option<&[u8]> {
    json.get(BEGIN_V1.len()..BEGIN_V1.len() + TIME_CHARS)
}

/// A time, microseconds since 1970, as records have it.
pub(crate) fn time_text(micros: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(TIME_CHARS);
    push_time(&mut out, micros);
    out
}

/// True for the record of a request that succeeded.
pub(crate) fn is_success(json: &[u8]) -> bool {
    json.ends_with(br#""code":""}"#)
}

fn member(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

/// A name: letters, digits and `._:-`; anything else becomes `?`.
fn push_name(out: &mut Vec<u8>, text: &str, max: usize) {
    let is_name = |c: u8| c.is_ascii_alphanumeric() | matches!(c, b'.' | b'_' | b':' | b'-');
    match text.as_bytes() {
        // Nearly always. Without a way out in between, the compiler looks at many bytes at once.
        name if name.len() <= max && name.iter().fold(true, |good, &c| good & is_name(c)) => {
            out.extend_from_slice(name)
        }
        _ => out.extend(text.chars().take(max).map(|c| u8::try_from(c).ok().filter(|c| is_name(*c)).unwrap_or(b'?'))),
    }
}

/// Free text: printable ASCII, with `"` and `\` escaped; anything else becomes `?`, so that a
/// record can neither break a line nor play tricks on a terminal.
fn push_text(out: &mut Vec<u8>, text: &str, max: usize) {
    let is_plain = |c: u8| (0x20..0x7f).contains(&c) & (c != b'"') & (c != b'\\');
    let bytes = text.as_bytes();
    if bytes.len() <= max && bytes.iter().fold(true, |good, &c| good & is_plain(c)) {
        return out.extend_from_slice(bytes);
    }
    for c in text.chars().take(max) {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            ' '..='~' => out.push(c as u8),
            _ => out.push(b'?'),
        }
    }
}

fn push_number(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn push_source(out: &mut Vec<u8>, source: IpAddr) {
    use std::io::Write;
    match source.to_canonical() {
        IpAddr::V4(v4) => {
            for (i, part) in v4.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                push_number(out, part.into());
            }
        }
        // Writing to a vector cannot fail.
        IpAddr::V6(v6) => write!(out, "{v6}").unwrap_or_default(),
    }
}

/// Length of `2026-11-24T02:15:22.123456Z`.
const TIME_CHARS: usize = 27;

/// RFC 3339 in UTC with microseconds. Times after the year 9999 are written as its last
/// microsecond, so that the length never changes.
fn push_time(out: &mut Vec<u8>, micros: u64) {
    const LAST: u64 = 253_402_300_799_999_999;
    let micros = micros.min(LAST);
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |at: usize, width: usize, mut n: u64| {
        for slot in text[at..at + width].iter_mut().rev() {
            *slot = b'0' + (n % 10) as u8;
            n /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, second / 3600);
    put(14, 2, second / 60 % 60);
    put(17, 2, second % 60);
    put(20, 6, fraction);
    out.extend_from_slice(&text);
}

/// Year, month and day of a count of days since 1970-01-01 (proleptic Gregorian calendar). Counts
/// in eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample<'a>(keys: &'a [KeyId], id: &'a SecretId) -> Record<'a> {
        Record {
            time_micros: 1_795_486_522_123_456,
            request_id: "f73b7a61-8ff9-11f0-9c5b-525400b3a4a6",
            account: Some(AccountId(100_000_000_001)),
            uin: Some(Uin(100_000_000_002)),
            targets: &[],
            principal: Principal::User,
            secret_id: Some(id),
            session: None,
            source: Some("10.1.2.3".parse().unwrap()),
            user_agent: "SDK_PYTHON_3.0.1",
            service: "kms",
            version: "2019-01-18",
            action: "Encrypt",
            region: "ap-guangzhou",
            resources: keys,
            subjects: &[],
            access: Access::Use,
            code: None,
        }
    }

    fn encoded(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        record.encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_canonical_bytes_are_these() {
        let keys = [KeyId::from_bytes([0x11; 16]), KeyId::from_bytes([0x22; 16])];
        let id = SecretId::parse("AKIDexample").unwrap();
        let mut record = sample(&keys, &id);
        assert_eq!(
            encoded(&record),
            concat!(
                r#"{"v":1,"time":"2026-11-24T02:15:22.123456Z","request_id":"f73b7a61-8ff9-11f0-9c5b-525400b3a4a6","#,
                r#""account":"100000000001","uin":"100000000002","principal":"user","secret_id":"AKIDexample","#,
                r#""source":"10.1.2.3","user_agent":"SDK_PYTHON_3.0.1","service":"kms","version":"2019-01-18","#,
                r#""action":"Encrypt","region":"ap-guangzhou","#,
                r#""resources":["11111111-1111-1111-1111-111111111111","22222222-2222-2222-2222-222222222222"],"#,
                r#""access":"use","code":""}"#
            )
        );
        record.code = Some(ErrorCode::InternalError);
        record.access = Access::Write;
        record.principal = Principal::Anonymous;
        (record.account, record.uin, record.secret_id, record.source) = (None, None, None, None);
        record.resources = &[];
        assert_eq!(
            encoded(&record),
            concat!(
                r#"{"v":1,"time":"2026-11-24T02:15:22.123456Z","request_id":"f73b7a61-8ff9-11f0-9c5b-525400b3a4a6","#,
                r#""account":"","uin":"","principal":"anonymous","secret_id":"","source":"","#,
                r#""user_agent":"SDK_PYTHON_3.0.1","service":"kms","version":"2019-01-18","action":"Encrypt","#,
                r#""region":"ap-guangzhou","resources":[],"access":"write","code":"InternalError"}"#
            )
        );
    }

    #[test]
    fn member_accounts_make_a_record_of_version_2() {
        let id = SecretId::parse("AKIDexample").unwrap();
        let plain = encoded(&sample(&[], &id));
        let targets = [AccountId(100_000_000_003), AccountId(4)];
        let record = Record { targets: &targets, ..sample(&[], &id) };
        let line = encoded(&record);
        let expected = plain
            .replace(r#"{"v":1,"#, r#"{"v":2,"#)
            .replace(r#""uin":"100000000002","#, r#""uin":"100000000002","targets":["100000000003","4"],"#);
        assert_eq!(line, expected);
        assert_eq!(request_id_of(line.as_bytes()), request_id_of(plain.as_bytes()));
        assert!(is_success(line.as_bytes()));
        let many = vec![AccountId(u64::MAX); 1000];
        let line = encoded(&Record { targets: &many, ..record });
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["targets"].as_array().unwrap().len(), MAX_TARGETS);
    }

    #[test]
    fn sessions_and_subjects_make_a_record_of_version_3() {
        let id = SecretId::parse("AKIDexample").unwrap();
        let plain = encoded(&sample(&[], &id));
        let subjects = ["uin/100000000002".to_owned(), "roleName/a\"b".to_owned()];
        let record =
            Record { session: Some("ci"), principal: Principal::Role, subjects: &subjects, ..sample(&[], &id) };
        let expected = plain
            .replace(r#"{"v":1,"#, r#"{"v":3,"#)
            .replace(r#""principal":"user""#, r#""targets":[],"principal":"role""#)
            .replace(r#""source""#, r#""session":"ci","source""#)
            .replace(r#""resources":[],"#, r#""resources":[],"subjects":["uin/100000000002","roleName/a\"b"],"#);
        assert_eq!(encoded(&record), expected);
        let subjects = vec!["\n".repeat(1000); 1000];
        let line = encoded(&Record { session: Some(&"é".repeat(1000)), subjects: &subjects, ..sample(&[], &id) });
        assert!(line.is_ascii() && line.len() < crate::MAX_RECORD_BYTES, "{}", line.len());
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["subjects"].as_array().unwrap().len(), MAX_SUBJECTS);
        assert_eq!(request_id_of(line.as_bytes()), request_id_of(plain.as_bytes()));
    }

    #[test]
    fn hostile_text_is_cut_and_cleaned() {
        let id = SecretId::parse("AKIDexample").unwrap();
        let long = "é\u{202e}\u{0}\n\r\t\"\\</script>{}[],:".repeat(1000);
        for text in ["", "\n", "\"", "\\", "\u{7f}", "\u{10ffff}", "a\",\"code\":\"", long.as_str()] {
            let mut record = sample(&[], &id);
            record.user_agent = text;
            record.action = text;
            record.region = text;
            record.version = text;
            record.service = text;
            record.request_id = text;
            let line = encoded(&record);
            assert!(line.bytes().all(|c| (0x20..0x7f).contains(&c)), "{line}");
            assert!(line.len() < 1200, "{}", line.len());
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value.as_object().unwrap().len(), 16, "{line}");
            assert_eq!(value["code"], "");
            assert!(value["user_agent"].as_str().unwrap().chars().count() <= MAX_USER_AGENT);
            assert!(value["action"].as_str().unwrap().chars().count() <= MAX_NAME);
        }
    }

    #[test]
    fn too_many_keys_are_cut() {
        let id = SecretId::parse("a").unwrap();
        let keys = vec![KeyId::from_bytes([7; 16]); 1000];
        let line = encoded(&sample(&keys, &id));
        assert!(line.len() < crate::MAX_RECORD_BYTES);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["resources"].as_array().unwrap().len(), MAX_RESOURCES);
    }

    #[test]
    fn times_are_utc_dates() {
        let at = |seconds: u64| {
            let mut out = Vec::new();
            push_time(&mut out, seconds * 1_000_000);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(at(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00.000000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000000Z");
        assert_eq!(at(u64::MAX / 1_000_000), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn addresses_and_numbers() {
        let id = SecretId::parse("a").unwrap();
        let mut record = sample(&[], &id);
        for (address, text) in [("::1", "::1"), ("::ffff:192.0.2.255", "192.0.2.255"), ("2001:db8::a", "2001:db8::a")] {
            record.source = Some(address.parse().unwrap());
            assert!(encoded(&record).contains(&format!("\"source\":\"{text}\"")), "{address}");
        }
        record.account = Some(AccountId(u64::MAX));
        assert!(encoded(&record).contains("\"account\":\"18446744073709551615\""));
    }

    #[test]
    fn the_request_id_is_found_again() {
        let id = SecretId::parse("a").unwrap();
        let line = encoded(&sample(&[], &id));
        assert_eq!(request_id_of(line.as_bytes()), Some("f73b7a61-8ff9-11f0-9c5b-525400b3a4a6"));
        assert!(is_success(line.as_bytes()));
        for end in 0..line.len().min(90) {
            request_id_of(&line.as_bytes()[..end]);
        }
        assert_eq!(request_id_of(b"{\"v\":1}"), None);
        assert_eq!(request_id_of(&[0xff; 200]), None);
    }

    /// Every field of the type, spelled out: a new field that could carry bytes of a caller breaks
    /// this test's compilation and must be argued for here.
    #[test]
    fn no_field_can_hold_a_plaintext_a_secret_or_a_blob() {
        let id = SecretId::parse("a").unwrap();
        let Record {
            time_micros: _,
            request_id: _,
            account: _,
            uin: _,
            targets: _,
            principal: _,
            secret_id,
            // Cut and cleaned as all text: what a caller named his session, and the names of principals.
            session: _,
            source: _,
            user_agent: _,
            service: _,
            version: _,
            action: _,
            region: _,
            resources,
            subjects: _,
            access: _,
            code,
        } = sample(&[], &id);
        let _: (Option<&SecretId>, &[KeyId], Option<ErrorCode>) = (secret_id, resources, code);
        // A blob in a text field does not survive: at most 128 characters of it are kept.
        let blob = "QkxPQg".repeat(500);
        let mut record = sample(&[], &id);
        (record.user_agent, record.action, record.region) = (&blob, &blob, &blob);
        assert!(!encoded(&record).contains(&blob[..=MAX_USER_AGENT]));
    }
}
