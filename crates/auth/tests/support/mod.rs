//! A request builder and an independent signer. Nothing of the signing code under test is used.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use jadeseal_auth::{Decoded, Method, RequestParts, SigningSecret, Verified, check_time, decode, verify};
use jadeseal_types::{ErrorCode, SecretBytes};
use sha2::{Digest as _, Sha256};

pub const SECRET_ID: &str = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE";
pub const SECRET_KEY: &str = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE";

/// A request on the wire, owned.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub secret_key: String,
}

impl Request {
    pub fn new(method: Method, headers: &[(&str, &str)], query: &str, body: &str) -> Self {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        Request {
            method,
            path: "/".to_owned(),
            query: query.to_owned(),
            headers: map,
            body: body.into(),
            secret_key: SECRET_KEY.to_owned(),
        }
    }

    pub fn set(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub fn parts(&self) -> RequestParts<'_> {
        RequestParts {
            method: self.method,
            path: &self.path,
            raw_query: &self.query,
            headers: &self.headers,
            host: self.headers.get("host").map_or(&b""[..], |h| h.as_bytes()),
            body: &self.body,
            secure: false,
            certificate: None,
        }
    }

    /// Decodes, checks the time against the request's own, verifies.
    pub fn check(&self) -> Result<Verified, ErrorCode> {
        self.check_with(&SigningSecret::new(SecretBytes::copy_from(self.secret_key.as_bytes())), |_| ())
    }

    pub fn check_with(&self, secret: &SigningSecret, look: impl FnOnce(&Decoded<'_>)) -> Result<Verified, ErrorCode> {
        let parts = self.parts();
        let decoded = decode(&parts).map_err(|(e, _)| e.code())?;
        check_time(&decoded.presented, decoded.common.timestamp).map_err(|e| e.code())?;
        look(&decoded);
        verify(&parts, &decoded, secret).map_err(|e| e.code())
    }
}

/// How a client writes a TC3 signature.
#[derive(Clone)]
pub struct Tc3Style {
    pub service: &'static str,
    /// Host as signed.
    pub host: &'static str,
    pub path: &'static str,
    /// Headers signed besides the host, with a function over their values.
    pub signed: &'static [&'static str],
    pub lower: bool,
    /// Query as signed; `None` = as sent.
    pub query: Option<&'static str>,
    /// `Authorization` with `{c}`, `{h}` and `{s}` to be filled.
    pub authorization: &'static str,
}

pub const PLAIN: &str = "TC3-HMAC-SHA256 Credential={c}, SignedHeaders={h}, Signature={s}";

impl Default for Tc3Style {
    fn default() -> Self {
        Tc3Style {
            service: "kms",
            host: "kms.tencentcloudapi.com",
            path: "/",
            signed: &["content-type"],
            lower: false,
            query: None,
            authorization: PLAIN,
        }
    }
}

/// Adds the `Authorization` that a client of this style sends.
pub fn sign_tc3(request: &mut Request, style: &Tc3Style) {
    let timestamp = request.header("x-tc-timestamp").to_owned();
    let date = jiff::Timestamp::from_second(timestamp.parse().unwrap()).unwrap().strftime("%Y-%m-%d").to_string();
    let mut names: Vec<&str> = style.signed.iter().copied().chain(["host"]).collect();
    names.sort_unstable();
    let mut canonical_headers = String::new();
    for name in &names {
        let value = if *name == "host" { style.host } else { request.header(name).trim() };
        let value = if style.lower { value.to_lowercase() } else { value.to_owned() };
        canonical_headers += &format!("{name}:{value}\n");
    }
    let payload: &[u8] = match request.method {
        _ if request.header("x-tc-content-sha256") == "UNSIGNED-PAYLOAD" => b"UNSIGNED-PAYLOAD",
        Method::Get => b"",
        Method::Post => &request.body,
    };
    let canonical = format!(
        "{}\n{}\n{}\n{canonical_headers}\n{}\n{}",
        request.method.wire(),
        style.path,
        style.query.unwrap_or(&request.query),
        names.join(";"),
        hex(&Sha256::digest(payload))
    );
    let scope = format!("{date}/{}/tc3_request", style.service);
    let text = format!("TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut key = format!("TC3{}", request.secret_key).into_bytes();
    for step in [date.as_str(), style.service, "tc3_request", &text] {
        key = hmac_sha256(&key, step.as_bytes());
    }
    let authorization = style
        .authorization
        .replace("{c}", &format!("{SECRET_ID}/{scope}"))
        .replace("{h}", &names.join(";"))
        .replace("{s}", &hex(&key));
    request.set("authorization", &authorization);
}

/// The `Signature` of a v1 request over these pairs.
pub fn sign_v1(method: Method, host: &str, path: &str, pairs: &[(&str, &str)], sha256: bool) -> String {
    let mut sorted = pairs.to_vec();
    sorted.sort_unstable();
    let list: Vec<_> = sorted.iter().map(|(n, v)| format!("{n}={v}")).collect();
    let text = format!("{}{host}{path}?{}", method.wire(), list.join("&"));
    let key = SECRET_KEY.as_bytes();
    if sha256 {
        return STANDARD.encode(hmac_sha256(key, text.as_bytes()));
    }
    use aws_lc_rs::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
    STANDARD.encode(sign(&Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, key), text.as_bytes()))
}

pub fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `encodeURIComponent`-like escaping.
pub fn escape(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
