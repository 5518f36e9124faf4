//! Signatures as the official clients make them, recorded and rebuilt, and what must not pass.

mod support;

use jadeseal_auth::{Method, Presented, SigningSecret, Value, check_time, decode, verify_dummy};
use jadeseal_types::{ErrorCode, Lang, SecretBytes};
use support::*;

const VECTOR_BODY: &str = r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;

fn published_tc3(signed: &str, signature: &str) -> Request {
    let authorization = format!(
        "TC3-HMAC-SHA256 Credential={SECRET_ID}/2019-02-25/cvm/tc3_request, SignedHeaders={signed}, Signature={signature}"
    );
    let headers = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/json; charset=utf-8"),
        ("host", "cvm.tencentcloudapi.com"),
        ("x-tc-action", "DescribeInstances"),
        ("x-tc-timestamp", "1551113065"),
        ("x-tc-version", "2017-03-12"),
        ("x-tc-region", "ap-guangzhou"),
    ];
    Request::new(Method::Post, &headers, "", VECTOR_BODY)
}

#[test]
fn published_tc3_vectors() {
    let plain = "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168";
    let v = published_tc3("content-type;host", plain).check().unwrap();
    assert!(!v.target_is_signed && v.payload_is_signed);
    assert_eq!((hex(&v.signature).as_str(), v.timestamp), (plain, 1_551_113_065));
    let with_action = "644be983de9a8a3f00db8eadaba61467c3b429e2215758ba897b738ca469fd26";
    let v = published_tc3("content-type;host;x-tc-action", with_action).check().unwrap();
    assert!(!v.target_is_signed, "the action alone does not say version and region");
    assert!(published_tc3("content-type;host;x-tc-action", plain).check().is_err());
}

#[test]
fn published_v1_vector() {
    let query = format!(
        "Action=DescribeInstances&InstanceIds.0=ins-09dx96dg&Limit=20&Nonce=11886&Offset=0&Region=ap-guangzhou\
         &SecretId={SECRET_ID}&Timestamp=1465185768&Version=2017-03-12&Signature=EliP9YW3pW28FpsEdkXt%2F%2BWcGeI%3D"
    );
    let request = Request::new(Method::Get, &[("host", "cvm.tencentcloudapi.com")], &query, "");
    assert!(request.check().unwrap().target_is_signed);
    let mut other = request.clone();
    other.query = query.replace("Limit=20", "Limit=21");
    assert_eq!(other.check().err(), Some(ErrorCode::SignatureFailure));
}

/// The requests in `fixtures/recorded.json`.
fn recorded() -> Vec<(String, Request)> {
    let file: serde_json::Value = serde_json::from_str(include_str!("fixtures/recorded.json")).unwrap();
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
    let one = |r: &serde_json::Value| {
        let headers: Vec<_> =
            r["headers"].as_array().unwrap().iter().map(|h| (text(&h[0]).to_lowercase(), text(&h[1]))).collect();
        let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let method = if r["method"] == "GET" { Method::Get } else { Method::Post };
        let target = text(&r["target"]);
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut request = Request::new(method, &headers, query, &text(&r["body"]));
        request.path = path.to_owned();
        request.secret_key = text(&file["secret_key"]);
        (text(&r["name"]), request)
    };
    file["requests"].as_array().unwrap().iter().map(one).collect()
}

#[test]
fn recorded_requests_verify_and_decode_alike() {
    let requests = recorded();
    assert_eq!(requests.len(), 16);
    let mut lists = 0;
    for (name, request) in &requests {
        let secret = SigningSecret::new(SecretBytes::copy_from(request.secret_key.as_bytes()));
        let look = |d: &jadeseal_auth::Decoded<'_>| {
            assert_eq!(d.presented.secret_id(), "AKIDfixtureSecretIdForTests0123456789", "{name}");
            assert_eq!(
                (&*d.common.version, d.common.region.as_deref()),
                ("2019-01-18", Some("ap-guangzhou")),
                "{name}"
            );
            assert_eq!(matches!(d.presented, Presented::Tc3(_)), !name.contains("Hmac"), "{name}");
            assert!(d.common.request_client.as_deref().unwrap().starts_with("SDK_"), "{name}");
            assert_eq!(d.common.trace_id.as_deref().map(str::len), Some(36), "{name}");
            let english = d.common.language == Lang::En;
            assert_eq!(english, !name.contains("tccli") && !name.contains("literal"), "{name}");
            if let Some(Value::Str(alias)) = d.params.get("Alias") {
                lists += 1;
                assert_eq!(alias, "键 name & more=1", "{name}");
                let Some(Value::List(ids)) = d.params.get("KeyIds") else { panic!("{name}") };
                assert_eq!(ids[1], Value::Str("a+b/c==".into()), "{name}");
                let Some(Value::List(tags)) = d.params.get("Tags") else { panic!("{name}") };
                let [Value::Map(tag)] = &tags[..] else { panic!("{name}") };
                assert_eq!(tag.get("TagValue"), Some(&Value::Str("v ~*".into())), "{name}");
            }
        };
        let verified = request.check_with(&secret, look).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(verified.target_is_signed, name.contains("Hmac"), "{name}");
        assert_eq!(verified.payload_is_signed, !name.contains("unsigned"), "{name}");
    }
    assert_eq!(lists, 14);
}

#[test]
fn one_changed_byte_anywhere_fails() {
    for (name, request) in recorded() {
        let refused = |r: &Request, what: &str| assert!(r.check().is_err(), "{name}: {what}");
        let flips = |text: &str, i: usize| {
            let mut bytes = text.as_bytes().to_vec();
            bytes[i] = if bytes[i] == b'x' { b'y' } else { b'x' };
            String::from_utf8_lossy(&bytes).into_owned()
        };
        if !name.contains("unsigned") {
            for i in 0..request.body.len() {
                let mut other = request.clone();
                other.body[i] ^= 1;
                refused(&other, "body");
            }
        }
        for i in 0..request.query.len() {
            let mut other = request.clone();
            other.query = flips(&request.query, i);
            // Another digit case or `%20` for `+` is the same v1 parameter; an `x` never is.
            refused(&other, "query");
        }
        let mut other = request.clone();
        other.set("host", "other.example:18480");
        refused(&other, "host");
        let mut other = request.clone();
        other.secret_key = "another".to_owned();
        refused(&other, "key");
        if let Some(value) = request.headers.get("authorization").map(|v| v.to_str().unwrap().to_owned()) {
            // The SecretId is the last thing to look at: it selects the key and is not itself signed.
            for i in (0..value.len()).filter(|&i| !value[..=i].ends_with(' ')) {
                let id = value.find("AKID").unwrap();
                if (id..id + 37).contains(&i) {
                    continue;
                }
                let mut other = request.clone();
                other.set("authorization", &flips(&value, i));
                refused(&other, "authorization");
            }
            let mut other = request.clone();
            other.set("content-type", "application/json; charset=x");
            refused(&other, "content type");
            let later = request.header("x-tc-timestamp").parse::<u64>().unwrap() + 1;
            other = request.clone();
            other.set("x-tc-timestamp", &later.to_string());
            refused(&other, "timestamp");
        }
    }
}

fn base(host_sent: &str) -> Request {
    let headers = [
        ("content-type", "application/json"),
        ("host", host_sent),
        ("x-tc-action", "DescribeKey"),
        ("x-tc-version", "2019-01-18"),
        ("x-tc-timestamp", "1790000000"),
        ("x-tc-region", "ap-guangzhou"),
        ("x-tc-traceid", "5c88b7af-e1fb-4a21-811d-5120610da452"),
    ];
    Request::new(Method::Post, &headers, "", r#"{"KeyId":"23e80852-1e38-11e9-b129-5cb9019b4b01"}"#)
}

/// (what it stands for, Host as sent, style)
fn styles() -> Vec<(&'static str, &'static str, Tc3Style)> {
    let d = Tc3Style::default;
    vec![
        ("Python, Go, Vault", "kms.tencentcloudapi.com", d()),
        ("ChainMaker", "kms.tencentcloudapi.com", Tc3Style { service: "cvm", ..d() }),
        ("Java, PHP, .NET, C++", "127.0.0.1:8080", Tc3Style { service: "127", host: "127.0.0.1:8080", ..d() }),
        ("Node", "127.0.0.1:8080", Tc3Style { service: "127", host: "127.0.0.1", ..d() }),
        ("Node by name", "localhost:8080", Tc3Style { service: "localhost:8080", host: "localhost", ..d() }),
        ("tccli over http", "http://127.0.0.1:8080", Tc3Style { host: "http://127.0.0.1:8080", ..d() }),
        ("literal host, scheme not signed", "http://127.0.0.1:8080", Tc3Style { host: "127.0.0.1:8080", ..d() }),
        ("literal host, bare name signed", "https://10.0.0.1:8080", Tc3Style { host: "10.0.0.1", ..d() }),
        ("literal host, port not signed", "http://10.0.0.1:80", Tc3Style { host: "http://10.0.0.1", ..d() }),
        ("Ruby", "kms.example", Tc3Style { host: "kms.example", ..d() }),
        ("host lower-cased", "KMS.Example:8080", Tc3Style { host: "KMS.Example:8080", lower: true, ..d() }),
        (
            "newer documents",
            "kms.tencentcloudapi.com",
            Tc3Style { signed: &["content-type", "x-tc-action"], lower: true, ..d() },
        ),
        (
            "crate that signs x-tc-action as sent",
            "kms.tencentcloudapi.com",
            Tc3Style { signed: &["content-type", "x-tc-action"], ..d() },
        ),
        (
            "every header signed",
            "kms.tencentcloudapi.com",
            Tc3Style {
                signed: &[
                    "content-type",
                    "x-tc-action",
                    "x-tc-region",
                    "x-tc-timestamp",
                    "x-tc-traceid",
                    "x-tc-version",
                ],
                ..d()
            },
        ),
        (
            "no blanks in Authorization",
            "kms.tencentcloudapi.com",
            Tc3Style { authorization: "TC3-HMAC-SHA256 Credential={c},SignedHeaders={h},Signature={s}", ..d() },
        ),
        (
            "another order in Authorization",
            "kms.tencentcloudapi.com",
            Tc3Style { authorization: "TC3-HMAC-SHA256 Signature={s},  SignedHeaders={h} , Credential={c}", ..d() },
        ),
    ]
}

#[test]
fn every_known_style_of_tc3_verifies() {
    for (name, host, style) in styles() {
        let mut request = base(host);
        sign_tc3(&mut request, &style);
        let verified = request.check().unwrap_or_else(|e| panic!("{name}: {e}"));
        let all = ["x-tc-action", "x-tc-version", "x-tc-region"].iter().all(|h| style.signed.contains(h));
        assert_eq!(verified.target_is_signed, all && verified.payload_is_signed, "{name}");
        request.body.push(b' ');
        assert_eq!(request.check().err(), Some(ErrorCode::SignatureFailure), "{name}");
    }
}

#[test]
fn endpoints_with_a_path_sign_slash_or_the_path() {
    for signed_path in ["/", "/api/kms"] {
        let mut request = base("kms.example");
        request.path = "/api/kms".to_owned();
        sign_tc3(&mut request, &Tc3Style { host: "kms.example", path: signed_path, ..Tc3Style::default() });
        request.check().unwrap();
        request.path = "/other".to_owned();
        assert_eq!(request.check().is_ok(), signed_path == "/");
    }
}

#[test]
fn a_get_signs_its_query_as_sent() {
    for query in ["KeyId=b&Zeta=1&Alpha=2+3", "Zeta=1&KeyId=b%20c", ""] {
        let mut request = base("kms.tencentcloudapi.com");
        (request.method, request.query) = (Method::Get, query.to_owned());
        request.body.clear();
        request.set("content-type", "application/x-www-form-urlencoded");
        sign_tc3(&mut request, &Tc3Style::default());
        request.check().unwrap();
        request.query = "Alpha=2+3&KeyId=b&Zeta=1".to_owned();
        assert!(request.check().is_err(), "the same parameters in another order are another query");
    }
}

#[test]
fn a_post_may_carry_a_form_or_a_stray_query() {
    let mut request = base("kms.tencentcloudapi.com");
    request.set("content-type", "application/x-www-form-urlencoded");
    request.body = b"KeyId=a+b".to_vec();
    sign_tc3(&mut request, &Tc3Style::default());
    let secret = SigningSecret::new(SecretBytes::copy_from(SECRET_KEY.as_bytes()));
    request.check_with(&secret, |d| assert_eq!(d.params.get("KeyId"), Some(&Value::Str("a b".into())))).unwrap();
    for signed in [None, Some("")] {
        let mut request = base("kms.tencentcloudapi.com");
        request.query = "from=proxy".to_owned();
        sign_tc3(&mut request, &Tc3Style { query: signed, ..Tc3Style::default() });
        request.check_with(&secret, |d| assert!(d.params.get("from").is_none())).unwrap();
    }
}

#[test]
fn unsigned_payload_needs_its_header() {
    let mut request = base("kms.tencentcloudapi.com");
    request.set("x-tc-content-sha256", "UNSIGNED-PAYLOAD");
    sign_tc3(&mut request, &Tc3Style::default());
    assert!(!request.check().unwrap().payload_is_signed);
    request.body = b"{}".to_vec();
    request.check().unwrap();
    request.headers.remove("x-tc-content-sha256");
    assert_eq!(request.check().err(), Some(ErrorCode::SignatureFailure));
}

#[test]
fn signed_headers_must_be_there_exactly_once() {
    let mut request = base("kms.tencentcloudapi.com");
    sign_tc3(&mut request, &Tc3Style { signed: &["content-type", "x-custom"], ..Tc3Style::default() });
    assert_eq!(request.check().err(), Some(ErrorCode::SignatureFailure), "absent");
    request.set("x-custom", "  padded ");
    sign_tc3(&mut request, &Tc3Style { signed: &["content-type", "x-custom"], ..Tc3Style::default() });
    request.check().unwrap();
    request.headers.append("x-custom", "padded".parse().unwrap());
    assert_eq!(request.check().err(), Some(ErrorCode::SignatureFailure), "twice");
    let mut request = base("kms.tencentcloudapi.com");
    sign_tc3(&mut request, &Tc3Style::default());
    request.headers.append("host", "kms.tencentcloudapi.com".parse().unwrap());
    assert_eq!(request.check().err(), Some(ErrorCode::SignatureFailure), "two hosts");
}

#[test]
fn the_scope_date_is_the_utc_date_of_the_timestamp() {
    // One second before and after midnight, UTC.
    for (timestamp, date) in [("1789948799", "2026-09-20"), ("1789948800", "2026-09-21")] {
        let mut request = base("kms.tencentcloudapi.com");
        request.set("x-tc-timestamp", timestamp);
        sign_tc3(&mut request, &Tc3Style::default());
        assert!(request.header("authorization").contains(date));
        request.check().unwrap();
        let other = request.header("authorization").replace(date, "2026-09-19");
        request.set("authorization", &other);
        assert_eq!(request.check().err(), Some(ErrorCode::SignatureFailure));
    }
    for absurd in ["0", "18446744073709551615", "253402300800"] {
        let mut request = base("kms.tencentcloudapi.com");
        sign_tc3(&mut request, &Tc3Style::default());
        request.set("x-tc-timestamp", absurd);
        assert_eq!(request.check().err(), Some(ErrorCode::SignatureFailure), "{absurd}");
    }
}

#[test]
fn the_window_is_five_minutes_either_way() {
    let mut request = base("kms.tencentcloudapi.com");
    sign_tc3(&mut request, &Tc3Style::default());
    let parts = request.parts();
    let Ok(decoded) = decode(&parts) else { panic!("decodes") };
    let code = |now| check_time(&decoded.presented, now).err().map(|e| e.code());
    for now in [1_789_999_700, 1_790_000_000, 1_790_000_300] {
        assert_eq!(code(now), None, "{now}");
    }
    for now in [0, 1_789_999_699, 1_790_000_301, u64::MAX] {
        assert_eq!(code(now), Some(ErrorCode::SignatureExpire), "{now}");
    }
    verify_dummy(&parts, &decoded);
}

#[test]
fn one_secret_verifies_many_days_and_labels() {
    let secret = SigningSecret::new(SecretBytes::copy_from(SECRET_KEY.as_bytes()));
    for day in 0..20 {
        for service in ["kms", "127", "sts"] {
            let mut request = base("kms.tencentcloudapi.com");
            request.set("x-tc-timestamp", &(1_790_000_000 + day % 5 * 86_400).to_string());
            sign_tc3(&mut request, &Tc3Style { service, ..Tc3Style::default() });
            request.check_with(&secret, |_| ()).unwrap();
            request.set("x-tc-timestamp", "1790000001");
            assert!(request.check_with(&secret, |_| ()).is_err());
        }
    }
}

const V1_PAIRS: [(&str, &str); 11] = [
    ("Action", "DescribeKeys"),
    ("KeyIds.0", "a+b/c=="),
    ("KeyIds.10_x", "under_score"),
    ("Alias", "键 & = %"),
    ("Language", "en-US"),
    ("Nonce", "11886"),
    ("Region", "ap-guangzhou"),
    ("SecretId", SECRET_ID),
    ("Timestamp", "1790000000"),
    ("Version", "2019-01-18"),
    ("RequestClient", "SDK_TEST_1"),
];

/// A v1 request that sends `signature` as it is, already escaped or not.
fn v1(method: Method, host: &str, pairs: &[(&str, &str)], signature: &str) -> Request {
    let list: Vec<_> = pairs.iter().map(|(n, v)| format!("{n}={}", escape(v))).collect();
    let text = format!("{}&Signature={signature}", list.join("&"));
    let headers = [("host", host), ("content-type", "application/x-www-form-urlencoded")];
    match method {
        Method::Get => Request::new(method, &headers[..1], &text, ""),
        Method::Post => Request::new(method, &headers, "", &text),
    }
}

#[test]
fn every_known_style_of_v1_verifies() {
    let pairs: Vec<_> = V1_PAIRS.into_iter().filter(|(n, _)| *n != "KeyIds.10_x").collect();
    for method in [Method::Get, Method::Post] {
        for sha256 in [false, true] {
            let mut pairs = pairs.clone();
            pairs.push(("SignatureMethod", if sha256 { "HmacSHA256" } else { "HmacSHA1" }));
            for (sent, signed) in [
                ("kms.example", "kms.example"),
                ("127.0.0.1:8080", "127.0.0.1:8080"),
                ("127.0.0.1:8080", "127.0.0.1"),
                ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
                ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ] {
                let signature = sign_v1(method, signed, "/", &pairs, sha256);
                // Escaped, with Ruby's line end, and with a bare `+` that a form turns into a blank.
                let bare = escape(&signature).replace("%2B", "+");
                for spelled in [escape(&signature), format!("{}%0A", escape(&signature)), bare] {
                    let request = v1(method, sent, &pairs, &spelled);
                    assert!(request.check().unwrap().target_is_signed, "{sent} {signed} {spelled}");
                    let mut other = v1(method, "elsewhere", &pairs, &spelled);
                    assert_eq!(other.check().err(), Some(ErrorCode::SignatureFailure));
                    other = v1(method, sent, &pairs[1..], &spelled);
                    assert_eq!(other.check().err(), Some(ErrorCode::MissingParameter));
                }
            }
        }
    }
}

#[test]
fn v1_names_may_be_signed_with_dots_and_paths_as_sent() {
    // The second is what Python and Java sign for a name with an underscore.
    for name in ["Under_score", "Under.score"] {
        let rename = |n| if n == "KeyIds.10_x" { name } else { n };
        let signed: Vec<_> = V1_PAIRS.iter().map(|(n, v)| (rename(*n), *v)).collect();
        let sent: Vec<_> =
            V1_PAIRS.iter().map(|(n, v)| (if *n == "KeyIds.10_x" { "Under_score" } else { n }, *v)).collect();
        for path in ["/", "/api"] {
            let signature = sign_v1(Method::Post, "kms.example", path, &signed, false);
            let mut request = v1(Method::Post, "kms.example", &sent, &escape(&signature));
            request.path = "/api".to_owned();
            request.check().unwrap();
        }
    }
}

#[test]
fn a_v1_post_may_be_split_between_query_and_body() {
    let pairs: Vec<_> = V1_PAIRS.into_iter().filter(|(n, _)| *n != "KeyIds.10_x").collect();
    let signature = sign_v1(Method::Post, "kms.example", "/", &pairs, false);
    let mut request = v1(Method::Post, "kms.example", &pairs, &escape(&signature));
    let body = String::from_utf8(std::mem::take(&mut request.body)).unwrap();
    let (query, rest) = body.split_once('&').unwrap();
    (request.query, request.body) = (query.to_owned(), rest.into());
    request.check().unwrap();
    request.query += "&Nonce=11886";
    assert_eq!(request.check().err(), Some(ErrorCode::InvalidParameter), "named in both");
}
