//! TC3-HMAC-SHA256 over the raw request.

use crate::{
    authorization::{ALGORITHM, MAX_SIGNED_HEADERS},
    request::{Method, RequestParts, Tc3},
    signature::{SigningSecret, host_forms, path_forms},
};
use aws_lc_rs::{digest, hmac};
use data_encoding::HEXLOWER;
use http::header;
use jadeseal_types::ApiError;
use subtle::ConstantTimeEq as _;

/// True when the signature is right in one of the forms that clients sign. At most 32 forms: four hosts,
/// values as sent or lower-cased, `/` or the path, and (POST with a query) the query or nothing.
pub(crate) fn verify(parts: &RequestParts<'_>, claim: &Tc3<'_>, secret: &SigningSecret) -> Result<bool, ApiError> {
    let Some(date) = utc_date(claim.timestamp).filter(|d| d == claim.date.as_bytes()) else { return Ok(false) };
    let Some(request) = Request::new(parts, claim) else { return Ok(false) };
    secret.with_day_key(&date, claim.service, |key| {
        request.forms(parts).any(|form| request.signature(key, &form).as_ref().ct_eq(&claim.signature).into())
    })
}

/// UTC date as `YYYY-MM-DD`; `None` beyond year 9999.
pub(crate) fn utc_date(unix_seconds: u64) -> Option<[u8; 10]> {
    let time = jiff::Timestamp::from_second(unix_seconds.try_into().ok()?).ok()?;
    let date = jiff::tz::Offset::UTC.to_datetime(time).date();
    let digit = |n: i16| u8::try_from(n % 10).map_or(b'0', |d| b'0' + d);
    let (y, m, d) = (date.year(), i16::from(date.month()), i16::from(date.day()));
    Some([
        digit(y / 1000),
        digit(y / 100),
        digit(y / 10),
        digit(y),
        b'-',
        digit(m / 10),
        digit(m),
        b'-',
        digit(d / 10),
        digit(d),
    ])
}

/// What all forms of one request share.
struct Request<'a> {
    method: &'static str,
    signed_headers: &'a str,
    /// Trimmed values in the order of `signed_headers`; the host's place is filled per form.
    values: [&'a [u8]; MAX_SIGNED_HEADERS],
    payload_hash: [u8; 64],
    /// String to sign up to the hash of the canonical request.
    scope: Vec<u8>,
}

/// One way in which a client may have written the canonical request.
struct Form<'a> {
    host: &'a [u8],
    path: &'a str,
    query: &'a str,
    lower: bool,
}

impl<'a> Request<'a> {
    /// `None` when a signed header is missing or there more than once.
    fn new(parts: &RequestParts<'a>, claim: &Tc3<'a>) -> Option<Self> {
        let mut values = [&b""[..]; MAX_SIGNED_HEADERS];
        for (name, slot) in claim.signed_headers.split(';').zip(&mut values) {
            if name == "host" {
                // Under HTTP/2 there may be none; two would be two meanings.
                if parts.headers.get_all(header::HOST).iter().nth(1).is_some() {
                    return None;
                }
                continue;
            }
            let mut sent = match name {
                "content-type" => parts.headers.get_all(header::CONTENT_TYPE),
                name => parts.headers.get_all(name),
            }
            .iter();
            *slot = sent.next()?.as_bytes().trim_ascii();
            if sent.next().is_some() {
                return None;
            }
        }
        let payload = match (claim.payload_is_signed, parts.method) {
            (false, _) => b"UNSIGNED-PAYLOAD",
            (true, Method::Get) => &b""[..],
            (true, Method::Post) => parts.body,
        };
        // As sent: the client signed its own digits.
        let timestamp = parts.headers.get("x-tc-timestamp")?.as_bytes();
        let mut scope = Vec::with_capacity(192);
        for piece in [ALGORITHM.as_bytes(), b"\n", timestamp, b"\n"] {
            scope.extend_from_slice(piece);
        }
        for piece in [claim.date, "/", claim.service, "/tc3_request\n"] {
            scope.extend_from_slice(piece.as_bytes());
        }
        Some(Request {
            method: parts.method.wire(),
            signed_headers: claim.signed_headers,
            values,
            payload_hash: sha256_hex(payload),
            scope,
        })
    }

    /// The forms to try, the one of the official Python SDK first.
    fn forms<'r>(&'r self, parts: &RequestParts<'a>) -> impl Iterator<Item = Form<'a>> + use<'r, 'a> {
        let (host, path, query) = (parts.host, parts.path, parts.raw_query);
        // The rules call a POST's query empty; some sign it as sent. It carries no parameter either way.
        let no_query = parts.method == Method::Post && !query.is_empty();
        let queries = std::iter::once(query).chain(no_query.then_some(""));
        queries.flat_map(move |query| {
            path_forms(path).flat_map(move |path| {
                let lowered = std::iter::once_with(move || self.has_upper_case(host)).filter(|&upper| upper);
                let cases = std::iter::once(false).chain(lowered);
                cases.flat_map(move |lower| host_forms(host).map(move |host| Form { host, path, query, lower }))
            })
        })
    }

    /// True when lower-casing changes a signed value.
    fn has_upper_case(&self, host: &[u8]) -> bool {
        let upper = |v: &[u8]| v.iter().any(u8::is_ascii_uppercase);
        upper(host) || self.values.iter().any(|v| upper(v))
    }

    fn signature(&self, key: &hmac::Key, form: &Form<'_>) -> hmac::Tag {
        // One buffer hashed at once: cheaper than an incremental hash, which allocates its own state.
        let mut text = Vec::with_capacity(512);
        for piece in [self.method, "\n", form.path, "\n", form.query, "\n"] {
            text.extend_from_slice(piece.as_bytes());
        }
        for (name, value) in self.signed_headers.split(';').zip(&self.values) {
            let value = if name == "host" { form.host } else { value };
            text.extend_from_slice(name.as_bytes());
            text.push(b':');
            let at = text.len();
            text.extend_from_slice(value);
            if form.lower {
                text.get_mut(at..).unwrap_or_default().make_ascii_lowercase();
            }
            text.push(b'\n');
        }
        text.push(b'\n');
        text.extend_from_slice(self.signed_headers.as_bytes());
        text.push(b'\n');
        text.extend_from_slice(&self.payload_hash);
        let hash = sha256_hex(&text);
        text.clear();
        text.extend_from_slice(&self.scope);
        text.extend_from_slice(&hash);
        hmac::sign(key, &text)
    }
}

fn sha256_hex(data: &[u8]) -> [u8; 64] {
    let mut hex = [0; 64];
    HEXLOWER.encode_mut(digest::digest(&digest::SHA256, data).as_ref(), &mut hex);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_utc_and_bounded() {
        let date = |s: u64| utc_date(s).map(|d| String::from_utf8(d.to_vec()).unwrap());
        assert_eq!(date(0).as_deref(), Some("1970-01-01"));
        assert_eq!(date(1_551_113_065).as_deref(), Some("2019-02-25"));
        assert_eq!(date(951_782_399).as_deref(), Some("2000-02-28"));
        assert_eq!(date(951_782_400).as_deref(), Some("2000-02-29"));
        assert_eq!(date(253_402_300_800), None);
        assert_eq!(date(u64::MAX), None);
    }
}
