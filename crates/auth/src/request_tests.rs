use super::*;
use crate::params::Value;

const AUTH: &str = "TC3-HMAC-SHA256 Credential=AKIDx/2026-09-21/kms/tc3_request, SignedHeaders=content-type;host, \
                    Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168";
const TC3: [(&str, &str); 5] = [
    ("content-type", "application/json"),
    ("authorization", AUTH),
    ("x-tc-action", "Encrypt"),
    ("x-tc-version", "2019-01-18"),
    ("x-tc-timestamp", "1790000000"),
];
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const V1: &str = "Action=Encrypt&Version=2019-01-18&SecretId=AKIDx&Timestamp=1790000000&Nonce=1&Signature=c2ln";

struct Case {
    method: Method,
    headers: HeaderMap,
    query: String,
    body: Vec<u8>,
}

fn case(method: Method, headers: &[(&str, &str)], query: &str, body: &str) -> Case {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(name.parse::<header::HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Case { method, headers: map, query: query.to_owned(), body: body.into() }
}

impl Case {
    fn parts(&self) -> RequestParts<'_> {
        let Case { method, headers, query, body } = self;
        RequestParts {
            method: *method,
            path: "/",
            raw_query: query,
            headers,
            host: b"kms",
            body,
            secure: false,
            certificate: None,
        }
    }

    fn error(&self) -> (ErrorCode, String, Lang) {
        match decode(&self.parts()) {
            Ok(_) => panic!("decoded"),
            Err((e, lang)) => (e.code(), e.message(Lang::En), lang),
        }
    }
}

fn tc3_without(name: &str) -> Vec<(&'static str, &'static str)> {
    TC3.into_iter().filter(|(n, _)| *n != name).collect()
}

fn tc3_with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    tc3_without(name).into_iter().chain([(name, value)]).collect()
}

#[track_caller]
fn refused(case: &Case, code: ErrorCode, text: &str) {
    let (got, message, _) = case.error();
    assert_eq!(got, code, "{message}");
    assert!(message.contains(text), "{message}");
}

#[test]
fn a_tc3_request_is_taken_apart() {
    let mut headers = TC3.to_vec();
    headers.extend([
        ("x-tc-region", "ap-guangzhou"),
        ("x-tc-token", "tok"),
        ("x-tc-language", "en-US"),
        ("x-tc-requestclient", "SDK_X"),
        ("x-tc-traceid", "t"),
        ("x-tc-canary", "ignored"),
        ("accept-encoding", "gzip"),
    ]);
    let case = case(Method::Post, &headers, "", r#"{"KeyId":"a"}"#);
    let parts = case.parts();
    let Ok((d, found)) = decode_routed(&parts, |version, action| Ok(format!("{version} {action}"))) else { panic!() };
    assert_eq!(found, "2019-01-18 Encrypt");
    let c = &d.common;
    assert_eq!((&*c.action, &*c.version, c.timestamp, c.language), ("Encrypt", "2019-01-18", 1_790_000_000, Lang::En));
    assert_eq!((c.region.as_deref(), c.token.as_deref()), (Some("ap-guangzhou"), Some("tok")));
    assert_eq!((c.request_client.as_deref(), c.trace_id.as_deref()), (Some("SDK_X"), Some("t")));
    assert_eq!((d.presented.secret_id(), d.presented.timestamp()), ("AKIDx", 1_790_000_000));
    assert_eq!(d.params.get("KeyId"), Some(&Value::Str("a".into())));
    assert!(!d.params.is_form());
}

#[test]
fn a_v1_request_is_taken_apart() {
    let text = format!("{V1}&Language=en-US&Token=tok&RequestClient=SDK_X&SignatureMethod=HmacSHA256&KeyIds.0=a");
    for case in [case(Method::Get, &[], &text, ""), case(Method::Post, &[FORM], "", &text)] {
        let parts = case.parts();
        let Ok(d) = decode(&parts) else { panic!() };
        assert_eq!((&*d.common.action, d.common.language, d.common.region.as_deref()), ("Encrypt", Lang::En, None));
        assert_eq!((d.common.token.as_deref(), d.common.request_client.as_deref()), (Some("tok"), Some("SDK_X")));
        let Presented::V1(claim) = &d.presented else { panic!() };
        assert_eq!((&*claim.secret_id, claim.hash, &*claim.signature), ("AKIDx", V1Hash::Sha256, "c2ln"));
        assert!(claim.signed.iter().all(|(n, _)| n != "Signature") && claim.signed.is_sorted());
        assert_eq!(d.params.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["KeyIds"]);
        assert!(d.params.is_form());
    }
}

#[test]
fn content_types() {
    let with = |value| case(Method::Post, &tc3_with("content-type", value), "", "{}");
    for good in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        assert!(decode(&with(good).parts()).is_ok(), "{good}");
    }
    refused(&with("multipart/form-data; boundary=x"), ErrorCode::InvalidRequest, "multipart");
    for bad in ["text/plain", "application/jsonx", "application/octet-stream", ""] {
        refused(&with(bad), ErrorCode::UnsupportedProtocol, "");
    }
    refused(&case(Method::Post, &tc3_without("content-type"), "", "{}"), ErrorCode::UnsupportedProtocol, "");
    refused(&case(Method::Post, &[], "", V1), ErrorCode::UnsupportedProtocol, "");
    for any in [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/json")]] {
        assert!(decode(&case(Method::Get, any, V1, "").parts()).is_ok(), "GET has no body to type");
    }
}

#[test]
fn missing_parts_are_named_in_order() {
    for (name, code, text) in [
        ("x-tc-action", ErrorCode::MissingParameter, "`X-TC-Action`"),
        ("x-tc-version", ErrorCode::MissingParameter, "`X-TC-Version`"),
        ("authorization", ErrorCode::InvalidAuthorization, "Authorization"),
        ("x-tc-timestamp", ErrorCode::MissingParameter, "`X-TC-Timestamp`"),
    ] {
        refused(&case(Method::Post, &tc3_without(name), "", "{}"), code, text);
        refused(&case(Method::Post, &tc3_with(name, ""), "", "{}"), code, text);
    }
    refused(&case(Method::Post, &[TC3[0]], "", "{}"), ErrorCode::MissingParameter, "`X-TC-Action`");
    for name in ["Action", "Version", "SecretId", "Timestamp", "Nonce", "Signature"] {
        let without: Vec<_> = V1.split('&').filter(|p| !p.starts_with(&format!("{name}="))).collect();
        let empty = format!("{}&{name}=", without.join("&"));
        for query in [&without.join("&"), &empty] {
            refused(&case(Method::Get, &[], query, ""), ErrorCode::MissingParameter, &format!("`{name}`"));
        }
    }
    refused(&case(Method::Get, &[], "", ""), ErrorCode::MissingParameter, "`Action`");
    for skip in ["SKIP", "Bearer x", "TC3-HMAC-SHA256 nonsense"] {
        refused(&case(Method::Post, &tc3_with("authorization", skip), "", "{}"), ErrorCode::InvalidAuthorization, "");
    }
}

#[test]
fn an_unknown_action_is_told_before_missing_credentials() {
    let case = case(Method::Post, &tc3_without("authorization"), "", "{}");
    let Err((e, _)) = decode_routed(&case.parts(), |_, _| Err::<(), _>(ErrorCode::InvalidAction.into())) else {
        panic!()
    };
    assert_eq!(e.code(), ErrorCode::InvalidAction);
    let broken = self::case(Method::Post, &TC3, "", "{");
    let Err((e, _)) = decode_routed(&broken.parts(), |_, _| Err::<(), _>(ErrorCode::InvalidAction.into())) else {
        panic!()
    };
    assert_eq!(e.code(), ErrorCode::InvalidParameter, "the body is decoded before");
}

#[test]
fn values_that_cannot_be_read_are_refused() {
    for bad in ["abc", "-1", "1.5", "18446744073709551616", "0x10"] {
        refused(
            &case(Method::Post, &tc3_with("x-tc-timestamp", bad), "", "{}"),
            ErrorCode::InvalidParameter,
            "`X-TC-Timestamp`",
        );
        let query = V1.replace("1790000000", bad);
        refused(&case(Method::Get, &[], &query, ""), ErrorCode::InvalidParameter, "`Timestamp`");
    }
    refused(
        &case(Method::Post, &tc3_with("x-tc-region", ""), "", "{}"),
        ErrorCode::InvalidParameterValue,
        "`X-TC-Region`",
    );
    // As a v1 parameter it is none: the Go SDK sends it where no region was chosen.
    let none = case(Method::Get, &[], &format!("{V1}&Region="), "");
    assert_eq!(decode(&none.parts()).unwrap().common.region, None);
    refused(&case(Method::Post, &TC3, "", "[]"), ErrorCode::InvalidParameter, "object");
    refused(&case(Method::Get, &[], &format!("{V1}&x"), ""), ErrorCode::InvalidParameter, "separated by `=`");
    for name in ["x-tc-action", "x-tc-timestamp", "authorization", "content-type"] {
        let mut twice = TC3.to_vec();
        twice.extend(TC3.iter().filter(|(n, _)| *n == name));
        refused(&case(Method::Post, &twice, "", "{}"), ErrorCode::InvalidParameter, name);
    }
    let mut latin = case(Method::Post, &TC3, "", "{}");
    latin.headers.insert("x-tc-action", HeaderValue::from_bytes(b"Encr\xfft").unwrap());
    refused(&latin, ErrorCode::InvalidParameter, "`X-TC-Action`");
}

#[test]
fn sizes_are_limited_by_method_and_scheme() {
    let long = |n: usize| "a".repeat(n);
    let get = |n: usize| case(Method::Get, &[], &format!("{V1}&x={}", long(n)), "");
    refused(&get(limits::MAX_GET_BYTES), ErrorCode::RequestSizeLimitExceeded, "");
    assert!(decode(&get(limits::MAX_GET_BYTES - V1.len() - 4).parts()).is_ok());
    let post = |n: usize| case(Method::Post, &[FORM], "", &format!("{V1}&x={}", long(n)));
    refused(&post(limits::MAX_POST_V1_BYTES), ErrorCode::SignatureFailure, "TC3-HMAC-SHA256");
    assert!(decode(&post(limits::MAX_POST_V1_BYTES - V1.len() - 3).parts()).is_ok());
    let json = |n: usize| case(Method::Post, &TC3, "", &format!("{{\"x\":\"{}\"}}", long(n)));
    refused(&json(limits::MAX_POST_TC3_BYTES), ErrorCode::RequestSizeLimitExceeded, "");
    assert!(decode(&json(limits::MAX_POST_TC3_BYTES - 8).parts()).is_ok());

    assert_eq!(body_limit(&json(0).headers).bytes, limits::MAX_POST_TC3_BYTES);
    assert_eq!(body_limit(&case(Method::Post, &[TC3[0]], "", "").headers).bytes, limits::MAX_POST_TC3_BYTES);
    let v1 = body_limit(&post(0).headers);
    assert_eq!((v1.bytes, v1.refusal().code()), (limits::MAX_POST_V1_BYTES, ErrorCode::SignatureFailure));
}

#[test]
fn the_language_is_known_even_when_decoding_fails() {
    let lang = |c: &Case| c.error().2;
    assert_eq!(lang(&case(Method::Post, &tc3_with("x-tc-language", "en-US"), "", "{")), Lang::En);
    assert_eq!(lang(&case(Method::Post, &TC3, "", "{")), Lang::Zh);
    assert_eq!(lang(&case(Method::Get, &[], "Action=x&Language=en-US&broken", "")), Lang::En);
    assert_eq!(lang(&case(Method::Post, &[FORM], "", "Language=en-US")), Lang::En);
    assert_eq!(lang(&case(Method::Get, &[], "Action=x", "")), Lang::Zh);
    let english = case(Method::Get, &[("x-tc-language", "en-US")], "Action=x", "");
    assert_eq!((lang(&english), presented_language(&english.headers)), (Lang::En, Lang::En));
}

#[test]
fn notes_are_cut_at_a_character() {
    assert_eq!(cut("é".repeat(200).into()).len(), 256);
    assert_eq!(cut(format!("a{}", "é".repeat(200)).into()).len(), 255);
    assert_eq!(cut("short".into()), "short");
}
