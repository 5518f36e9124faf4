//! From the raw request to common parameters, the claimed signature and the business parameters.

use crate::{
    authorization::{self, claims_tc3},
    certificate::ClientCertificate,
    form::{Pair, parse_form, unflatten},
    params::{Params, parse_json},
};
use http::{HeaderMap, HeaderValue, header};
use jadeseal_types::{ApiError, ErrorCode, Lang, limits};
use std::borrow::Cow;

/// Bytes kept of text that goes nowhere but into records (client name, trace id).
const MAX_NOTE: usize = 256;
/// Parameters of a v1 request that are not the action's own.
const V1_COMMON: [&str; 10] = [
    "Action",
    "Language",
    "Nonce",
    "Region",
    "RequestClient",
    "SecretId",
    "SignatureMethod",
    "Timestamp",
    "Token",
    "Version",
];

/// The two methods of the API; any other is refused before this crate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Parameters in the query.
    Get,
    /// Parameters in the body.
    Post,
}

impl Method {
    /// As it stands in a canonical request.
    pub const fn wire(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
}

/// A request as it came over the wire. Nothing in it has been decoded: signatures are checked over these
/// bytes.
#[derive(Clone, Copy)]
pub struct RequestParts<'a> {
    /// GET or POST.
    pub method: Method,
    /// Path of the request target, as sent.
    pub path: &'a str,
    /// What follows `?` in the request target, as sent; empty when absent.
    pub raw_query: &'a str,
    /// Every header.
    pub headers: &'a HeaderMap,
    /// Bytes of the `Host` header, or of `:authority` under HTTP/2.
    pub host: &'a [u8],
    /// The whole body.
    pub body: &'a [u8],
    /// Whether it came over TLS.
    pub secure: bool,
    /// The client certificate of its connection, where one was asked for and given.
    pub certificate: Option<&'a ClientCertificate>,
}

/// The two signature schemes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureKind {
    /// TC3-HMAC-SHA256, in the `Authorization` header.
    Tc3,
    /// HmacSHA1 or HmacSHA256, among the parameters.
    V1,
}

/// Common parameters, whichever way they travelled. Has no `Debug`: the token is secret.
pub struct Common<'a> {
    /// Name of the action; not empty, not known to exist.
    pub action: Cow<'a, str>,
    /// Version of the API; not empty, not known to exist.
    pub version: Cow<'a, str>,
    /// Region, never empty, not known to exist.
    pub region: Option<Cow<'a, str>>,
    /// Unix seconds at which the caller says to have signed.
    pub timestamp: u64,
    /// Language of error messages.
    pub language: Lang,
    /// Session token of temporary credentials; may be empty.
    pub token: Option<Cow<'a, str>>,
    /// The client's own name, cut to 256 bytes.
    pub request_client: Option<Cow<'a, str>>,
    /// `X-TC-TraceId`, cut to 256 bytes.
    pub trace_id: Option<Cow<'a, str>>,
}

/// What the caller claims to be signed by; nothing of it is verified.
pub enum Presented<'a> {
    /// Signature v3.
    Tc3(Tc3<'a>),
    /// Signature v1.
    V1(V1<'a>),
}

/// A well-formed TC3 claim.
pub struct Tc3<'a> {
    /// SecretId, 1 to 128 bytes.
    pub secret_id: &'a str,
    /// Value of `X-TC-Timestamp`.
    pub timestamp: u64,
    /// Date of the credential scope, `YYYY-MM-DD` in form.
    pub date: &'a str,
    /// Service label of the credential scope, 1 to 255 bytes of any kind.
    pub service: &'a str,
    /// `SignedHeaders` as sent: lower-case names, at most 64, none twice, `content-type` and `host` among
    /// them.
    pub signed_headers: &'a str,
    /// The claimed signature.
    pub signature: [u8; 32],
    /// False under `X-TC-Content-SHA256: UNSIGNED-PAYLOAD`.
    pub payload_is_signed: bool,
}

/// Hash behind a v1 signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V1Hash {
    /// HmacSHA1, the default.
    Sha1,
    /// HmacSHA256.
    Sha256,
}

/// A v1 claim.
pub struct V1<'a> {
    /// SecretId, not empty.
    pub secret_id: Cow<'a, str>,
    /// Value of `Timestamp`.
    pub timestamp: u64,
    /// From `SignatureMethod`.
    pub hash: V1Hash,
    /// `Signature` as decoded from the form: base64 with blanks that do not belong.
    pub signature: Cow<'a, str>,
    /// Every other parameter, sorted by name.
    pub(crate) signed: Vec<Pair<'a>>,
}

impl Presented<'_> {
    /// The claimed SecretId.
    pub fn secret_id(&self) -> &str {
        match self {
            Presented::Tc3(p) => p.secret_id,
            Presented::V1(p) => &p.secret_id,
        }
    }

    /// True for HmacSHA1.
    pub fn is_sha1(&self) -> bool {
        matches!(self, Presented::V1(V1 { hash: V1Hash::Sha1, .. }))
    }

    /// The claimed time of signing, Unix seconds.
    pub fn timestamp(&self) -> u64 {
        match self {
            Presented::Tc3(p) => p.timestamp,
            Presented::V1(p) => p.timestamp,
        }
    }
}

/// A decoded request.
pub struct Decoded<'a> {
    /// Common parameters.
    pub common: Common<'a>,
    /// The claimed signature.
    pub presented: Presented<'a>,
    /// The action's own parameters.
    pub params: Params<'a>,
}

/// Largest body of a POST, and largest request target of a GET, in bytes.
pub const fn max_body(method: Method, kind: SignatureKind) -> usize {
    match (method, kind) {
        (Method::Get, _) => limits::MAX_GET_BYTES,
        (Method::Post, SignatureKind::Tc3) => limits::MAX_POST_TC3_BYTES,
        (Method::Post, SignatureKind::V1) => limits::MAX_POST_V1_BYTES,
    }
}

/// How much of a POST's body to read.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit {
    /// Bytes allowed.
    pub bytes: usize,
    kind: SignatureKind,
}

impl BodyLimit {
    /// The answer to a larger body. Under v1 the real service answers `AuthFailure.SignatureFailure` and
    /// recommends TC3.
    pub fn refusal(&self) -> ApiError {
        match self.kind {
            SignatureKind::Tc3 => ErrorCode::RequestSizeLimitExceeded.into(),
            SignatureKind::V1 => ApiError::with_text(
                ErrorCode::SignatureFailure,
                "The request is larger than 1 MB, the limit of HmacSHA1 and HmacSHA256; use TC3-HMAC-SHA256.",
                "请求大于 1 MB，超过 HmacSHA1 和 HmacSHA256 的限制；请使用 TC3-HMAC-SHA256。",
            ),
        }
    }
}

/// The limit for the body behind these headers.
pub fn body_limit(headers: &HeaderMap) -> BodyLimit {
    let kind = presented_kind(Method::Post, headers);
    BodyLimit { bytes: max_body(Method::Post, kind), kind }
}

/// The scheme that a request claims: TC3 when `Authorization` begins with its name or `X-TC-Action` is
/// there. A JSON body can only be signed by TC3.
pub fn presented_kind(method: Method, headers: &HeaderMap) -> SignatureKind {
    let json = || headers.get(header::CONTENT_TYPE).is_some_and(|v| media_type(v) == Media::Json);
    let tc3 = headers.get(header::AUTHORIZATION).is_some_and(claims_tc3)
        || headers.contains_key("x-tc-action")
        || (method == Method::Post && json());
    if tc3 { SignatureKind::Tc3 } else { SignatureKind::V1 }
}

/// The language that the headers ask for, for errors before the request could be decoded.
pub fn presented_language(headers: &HeaderMap) -> Lang {
    language(headers.get("x-tc-language"))
}

fn language(value: Option<&HeaderValue>) -> Lang {
    value.and_then(|v| v.to_str().ok()).map(Lang::from_wire).unwrap_or_default()
}

/// Decodes a request: size, content type, body or query, presence of Action and Version, then SecretId,
/// timestamp and signature, each for presence and form. Errors come with the language to tell them in.
/// Whether version and action exist is not asked; see [`decode_routed`].
pub fn decode<'a>(parts: &RequestParts<'a>) -> Result<Decoded<'a>, (ApiError, Lang)> {
    decode_routed(parts, |_, _| Ok(())).map(|(decoded, ())| decoded)
}

/// As [`decode`], with the caller's look-up of `(version, action)` at its place in the order of checks:
/// after both are known to be present, before credentials are looked at.
pub fn decode_routed<'a, R>(
    parts: &RequestParts<'a>,
    route: impl FnOnce(&str, &str) -> Result<R, ApiError>,
) -> Result<(Decoded<'a>, R), (ApiError, Lang)> {
    let kind = presented_kind(parts.method, parts.headers);
    let lang = match (parts.headers.get("x-tc-language"), kind) {
        (None, SignatureKind::V1) => v1_language(parts),
        (value, _) => language(value),
    };
    let decoded = check_size(parts, kind).and_then(|()| Headers::read(parts.headers)).and_then(|headers| {
        let media = headers.content_type.map_or(Media::Other, media_type);
        if parts.method == Method::Post {
            check_media(media)?;
        }
        match kind {
            SignatureKind::Tc3 => tc3(parts, &headers, media, lang, route),
            SignatureKind::V1 => v1(parts, &headers, lang, route),
        }
    });
    decoded.map_err(|e| (e, lang))
}

fn check_size(parts: &RequestParts<'_>, kind: SignatureKind) -> Result<(), ApiError> {
    let size = parts.path.len() + parts.raw_query.len() + parts.body.len();
    let limit = max_body(parts.method, kind);
    match parts.method {
        Method::Get if size > limit => Err(ErrorCode::RequestSizeLimitExceeded.into()),
        Method::Post if size > limit + limits::MAX_GET_BYTES || parts.body.len() > limit => {
            Err(BodyLimit { bytes: limit, kind }.refusal())
        }
        _ => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Media {
    Json,
    Form,
    Multipart,
    Other,
}

fn media_type(value: &HeaderValue) -> Media {
    let bytes = value.as_bytes();
    let essence = bytes.split(|&c| c == b';').next().unwrap_or(bytes).trim_ascii();
    for (name, media) in [
        (&b"application/json"[..], Media::Json),
        (b"application/x-www-form-urlencoded", Media::Form),
        (b"multipart/form-data", Media::Multipart),
    ] {
        if essence.eq_ignore_ascii_case(name) {
            return media;
        }
    }
    Media::Other
}

fn check_media(media: Media) -> Result<(), ApiError> {
    match media {
        Media::Json | Media::Form => Ok(()),
        Media::Multipart => Err(ApiError::with_text(
            ErrorCode::InvalidRequest,
            "No action of this product takes multipart/form-data.",
            "本产品的接口均不支持 multipart/form-data。",
        )),
        Media::Other => Err(ErrorCode::UnsupportedProtocol.into()),
    }
}

/// The headers that mean something here; others, `X-TC-*` among them, are sent freely and ignored.
#[derive(Default)]
struct Headers<'a> {
    authorization: Option<&'a HeaderValue>,
    content_type: Option<&'a HeaderValue>,
    action: Option<&'a HeaderValue>,
    version: Option<&'a HeaderValue>,
    region: Option<&'a HeaderValue>,
    timestamp: Option<&'a HeaderValue>,
    token: Option<&'a HeaderValue>,
    request_client: Option<&'a HeaderValue>,
    trace_id: Option<&'a HeaderValue>,
    content_sha256: Option<&'a HeaderValue>,
}

impl<'a> Headers<'a> {
    /// One pass over all headers; one that decides anything must not be there twice.
    fn read(headers: &'a HeaderMap) -> Result<Self, ApiError> {
        let mut out = Headers::default();
        for (name, value) in headers {
            let slot = match name.as_str() {
                "authorization" => &mut out.authorization,
                "content-type" => &mut out.content_type,
                "x-tc-action" => &mut out.action,
                "x-tc-version" => &mut out.version,
                "x-tc-region" => &mut out.region,
                "x-tc-timestamp" => &mut out.timestamp,
                "x-tc-token" => &mut out.token,
                "x-tc-requestclient" => &mut out.request_client,
                "x-tc-traceid" => &mut out.trace_id,
                "x-tc-content-sha256" => &mut out.content_sha256,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(ApiError::invalid(name.as_str(), "is sent twice", "重复出现"));
            }
        }
        Ok(out)
    }

    fn note(value: Option<&'a HeaderValue>) -> Option<Cow<'a, str>> {
        value.and_then(|v| v.to_str().ok()).map(|v| cut(v.into()))
    }
}

fn tc3<'a, R>(
    parts: &RequestParts<'a>,
    headers: &Headers<'a>,
    media: Media,
    language: Lang,
    route: impl FnOnce(&str, &str) -> Result<R, ApiError>,
) -> Result<(Decoded<'a>, R), ApiError> {
    let params = match (parts.method, media) {
        (Method::Get, _) => unflatten(parse_form(parts.raw_query.as_bytes())?)?,
        (Method::Post, Media::Json) => parse_json(parts.body)?,
        (Method::Post, _) => unflatten(parse_form(parts.body)?)?,
    };
    let action = required(text(headers.action, "X-TC-Action")?, "X-TC-Action")?;
    let version = required(text(headers.version, "X-TC-Version")?, "X-TC-Version")?;
    let routed = route(version, action)?;
    let claim = authorization::parse(headers.authorization.ok_or_else(authorization::malformed)?)?;
    let timestamp = text(headers.timestamp, "X-TC-Timestamp")?;
    let timestamp = unix_seconds(required(timestamp, "X-TC-Timestamp")?, "X-TC-Timestamp")?;
    let common = Common {
        action: action.into(),
        version: version.into(),
        region: region(text(headers.region, "X-TC-Region")?.map(Cow::Borrowed))?,
        timestamp,
        language,
        token: text(headers.token, "X-TC-Token")?.map(Cow::Borrowed),
        request_client: Headers::note(headers.request_client),
        trace_id: Headers::note(headers.trace_id),
    };
    let presented = Presented::Tc3(Tc3 {
        secret_id: claim.secret_id,
        timestamp,
        date: claim.date,
        service: claim.service,
        signed_headers: claim.signed_headers,
        signature: claim.signature,
        payload_is_signed: headers.content_sha256.is_none_or(|v| v.as_bytes() != b"UNSIGNED-PAYLOAD"),
    });
    Ok((Decoded { common, presented, params }, routed))
}

fn v1<'a, R>(
    parts: &RequestParts<'a>,
    headers: &Headers<'a>,
    language: Lang,
    route: impl FnOnce(&str, &str) -> Result<R, ApiError>,
) -> Result<(Decoded<'a>, R), ApiError> {
    // The signature covers every parameter wherever it stands, so a POST may carry some in its query.
    let mut signed = parse_form(parts.raw_query.as_bytes())?;
    if parts.method == Method::Post {
        signed.append(&mut parse_form(parts.body)?);
    }
    signed.sort_by(|(a, _), (b, _)| a.cmp(b));
    if signed.windows(2).any(|w| w[0].0 == w[1].0) {
        return Err(ApiError::with_text(
            ErrorCode::InvalidParameter,
            "The request repeats a parameter.",
            "请求参数重复。",
        ));
    }
    let signature = signed.iter().position(|(n, _)| n == "Signature").map(|at| signed.remove(at).1);
    let own = signed.iter().filter(|(n, _)| !V1_COMMON.contains(&n.as_ref()));
    let params = unflatten(own.cloned().collect())?;
    let get = |name: &str| signed.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let need = |name: &'static str| get(name).filter(|v| !v.is_empty()).ok_or_else(|| ApiError::missing(name));

    let (action, version) = (need("Action")?, need("Version")?);
    let routed = route(&version, &action)?;
    let secret_id = need("SecretId")?;
    let timestamp = unix_seconds(&need("Timestamp")?, "Timestamp")?;
    unix_seconds(&need("Nonce")?, "Nonce")?;
    let signature = signature.filter(|s| !s.is_empty()).ok_or_else(|| ApiError::missing("Signature"))?;
    let common = Common {
        action,
        version,
        // The Go SDK sends an empty one where no region was chosen; only the header is refused for it.
        region: get("Region").filter(|r| !r.is_empty()),
        timestamp,
        language: get("Language").map_or(language, |l| Lang::from_wire(&l)),
        token: get("Token"),
        request_client: get("RequestClient").map(cut).or_else(|| Headers::note(headers.request_client)),
        trace_id: Headers::note(headers.trace_id),
    };
    let hash = match get("SignatureMethod").as_deref() {
        Some("HmacSHA256") => V1Hash::Sha256,
        _ => V1Hash::Sha1,
    };
    let presented = Presented::V1(V1 { secret_id, timestamp, hash, signature, signed });
    Ok((Decoded { common, presented, params }, routed))
}

/// The language parameter of a v1 request, readable even where the rest is not.
fn v1_language(parts: &RequestParts<'_>) -> Lang {
    let find = |text: &[u8]| text.split(|&c| c == b'&').any(|p| p.eq_ignore_ascii_case(b"Language=en-US"));
    let body = parts.method == Method::Post && parts.body.len() <= limits::MAX_POST_V1_BYTES && find(parts.body);
    if body || find(parts.raw_query.as_bytes()) { Lang::En } else { Lang::default() }
}

fn text<'a>(value: Option<&'a HeaderValue>, name: &str) -> Result<Option<&'a str>, ApiError> {
    let read =
        |v: &'a HeaderValue| v.to_str().map_err(|_| ApiError::invalid(name, "must be ASCII", "必须为 ASCII 字符"));
    value.map(read).transpose()
}

fn required<'a>(value: Option<&'a str>, name: &str) -> Result<&'a str, ApiError> {
    value.filter(|v| !v.is_empty()).ok_or_else(|| ApiError::missing(name))
}

/// A decimal number that fits 64 bits.
fn unix_seconds(text: &str, name: &str) -> Result<u64, ApiError> {
    let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| ApiError::invalid(name, "must be a positive integer", "必须为正整数"))
}

fn region(value: Option<Cow<'_, str>>) -> Result<Option<Cow<'_, str>>, ApiError> {
    match value {
        Some(r) if r.is_empty() => {
            Err(ApiError::about(ErrorCode::InvalidParameterValue, "X-TC-Region", "must not be empty", "不能为空"))
        }
        region => Ok(region),
    }
}

fn cut(text: Cow<'_, str>) -> Cow<'_, str> {
    let end = (0..=MAX_NOTE.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    match text {
        Cow::Borrowed(t) => Cow::Borrowed(t.get(..end).unwrap_or(t)),
        Cow::Owned(mut t) => {
            t.truncate(end);
            Cow::Owned(t)
        }
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
