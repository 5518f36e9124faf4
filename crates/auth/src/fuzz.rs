//! Bodies of the fuzz targets, with what must hold for any input. The fuzzer and a short test of this
//! crate call the same functions.

use crate::{
    authorization,
    form::{MAX_PAIRS, parse_form, unflatten},
    params::{MAX_DEPTH, MAX_VALUES, Params, Value, parse_json},
    request::{Method, Presented, RequestParts, decode, max_body, presented_kind},
    signature::{SigningSecret, check_time, verify, verify_dummy},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use jadeseal_types::{ErrorCode, Lang, SecretBytes};
use std::{borrow::Cow, sync::LazyLock};

pub use crate::policy::fuzzing::policy;

/// A JSON body: bounds hold, names are unique, strings are found in the body as serde_json alone reads it.
pub fn json(data: &[u8]) {
    match parse_json(data) {
        Err(e) => assert_eq!(e.code(), ErrorCode::InvalidParameter),
        Ok(params) => {
            let mut values = 0;
            measure(&params, 1, &mut values, false);
            assert!(values < MAX_VALUES, "the object itself counts too");
            if !data.is_empty() {
                let reference: serde_json::Value = serde_json::from_slice(data).expect("both readers agree");
                assert!(same(&Value::Map(params), &reference));
            }
        }
    }
}

/// Form text: bounds hold; writing the pairs again and reading them gives the same pairs; the tree of
/// flattened names holds every value.
pub fn form(data: &[u8]) {
    let pairs = match parse_form(data) {
        Ok(pairs) => pairs,
        Err(e) => return assert_eq!(e.code(), ErrorCode::InvalidParameter),
    };
    assert!(pairs.len() <= MAX_PAIRS);
    let escape = |text: &str| text.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
    let text: Vec<_> = pairs.iter().map(|(n, v)| format!("{}={}", escape(n), escape(v))).collect();
    let text = text.join("&");
    assert_eq!(parse_form(text.as_bytes()).expect("what was written can be read"), pairs);
    match unflatten(pairs.clone()) {
        Err(e) => assert_eq!(e.code(), ErrorCode::InvalidParameter),
        Ok(params) => {
            let mut values = 0;
            measure(&params, 1, &mut values, true);
            let mut back = Vec::new();
            params.iter().for_each(|(n, v)| leaves(n, v, &mut back));
            let mut sent = pairs;
            back.sort();
            sent.sort();
            assert_eq!(back, sent);
        }
    }
}

/// An `Authorization` header: what is accepted is well-formed and can be written again.
pub fn authorization(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    match authorization::parse(&value) {
        Err(e) => assert_eq!(e.code(), ErrorCode::InvalidAuthorization),
        Ok(a) => {
            assert!(authorization::claims_tc3(&value));
            assert!((1..=128).contains(&a.secret_id.len()) && (1..=255).contains(&a.service.len()));
            assert!(a.signed_headers.split(';').count() <= authorization::MAX_SIGNED_HEADERS);
            assert!(a.signed_headers.split(';').all(|n| n.parse::<HeaderName>().is_ok()));
            let again = format!(
                "TC3-HMAC-SHA256 Credential={}/{}/{}/tc3_request, SignedHeaders={}, Signature={}",
                a.secret_id,
                a.date,
                a.service,
                a.signed_headers,
                data_encoding::HEXLOWER.encode(&a.signature)
            );
            let again = HeaderValue::from_str(&again).expect("visible ASCII");
            assert_eq!(authorization::parse(&again).expect("what was written can be read"), a);
        }
    }
}

/// A whole request: a method letter, a path and query line, header lines, an empty line, a body. It is
/// decoded and verified without a panic, and no signature that was not made with the key is accepted.
pub fn http_request(data: &[u8]) {
    static SECRET: LazyLock<SigningSecret> =
        LazyLock::new(|| SigningSecret::new(SecretBytes::copy_from(b"a key that the fuzzer does not use")));
    let mut lines = data.splitn(2, |&c| c == b'\n');
    let Ok(target) = std::str::from_utf8(lines.next().unwrap_or_default()) else { return };
    let method = if target.starts_with('G') { Method::Get } else { Method::Post };
    let target = target.get(1..).unwrap_or_default();
    let (path, raw_query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    let mut rest = lines.next().unwrap_or_default();
    while let Some(end) = rest.iter().position(|&c| c == b'\n') {
        let (line, tail) = rest.split_at(end);
        rest = tail.get(1..).unwrap_or_default();
        let Some(colon) = line.iter().position(|&c| c == b':') else { break };
        let (name, value) = line.split_at(colon);
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value)
            && headers.try_append(name, value).is_err()
        {
            return;
        }
    }
    let host = headers.get("host").map_or(&b""[..], |h| h.as_bytes()).to_vec();
    let parts = RequestParts {
        method,
        path,
        raw_query,
        headers: &headers,
        host: &host,
        body: rest,
        secure: false,
        certificate: None,
    };
    match decode(&parts) {
        Err((e, _)) => assert!(!e.message(Lang::En).is_empty() && !e.message(Lang::Zh).is_empty()),
        Ok(d) => {
            assert!(parts.body.len() <= max_body(method, presented_kind(method, &headers)) || method == Method::Get);
            assert!(!d.common.action.is_empty() && !d.common.version.is_empty());
            assert!(d.common.region.as_deref().is_none_or(|r| !r.is_empty()));
            assert_eq!(
                matches!(d.presented, Presented::V1(_)),
                d.params.is_form() && !headers.contains_key("x-tc-action")
            );
            let mut values = 0;
            measure(&d.params, 1, &mut values, d.params.is_form());
            let timely = check_time(&d.presented, 1_790_000_000).is_ok();
            assert_eq!(timely, (1_789_999_700..=1_790_000_300).contains(&d.common.timestamp));
            assert!(verify(&parts, &d, &SECRET).is_err());
            verify_dummy(&parts, &d);
        }
    }
}

/// Counts values and checks depth, unique names and the kind of leaves.
fn measure(params: &Params<'_>, depth: usize, values: &mut u32, form: bool) {
    assert!(depth <= MAX_DEPTH);
    let mut names: Vec<&str> = params.iter().map(|(n, _)| n).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|w| w[0] != w[1]));
    for (_, value) in params.iter() {
        measure_value(value, depth, values, form);
    }
}

fn measure_value(value: &Value<'_>, depth: usize, values: &mut u32, form: bool) {
    *values += 1;
    match value {
        Value::List(items) => {
            assert!(depth < MAX_DEPTH);
            items.iter().for_each(|v| measure_value(v, depth + 1, values, form));
        }
        Value::Map(map) => {
            assert_eq!(map.is_form(), form);
            measure(map, depth + 1, values, form);
        }
        Value::Str(_) => {}
        _ => assert!(!form, "forms carry text alone"),
    }
}

fn same(ours: &Value<'_>, reference: &serde_json::Value) -> bool {
    use serde_json::Value as Json;
    match (ours, reference) {
        (Value::Null, Json::Null) => true,
        (Value::Bool(a), Json::Bool(b)) => a == b,
        (Value::Int(a), Json::Number(b)) => {
            b.as_i64().map(i128::from).or_else(|| b.as_u64().map(i128::from)) == Some(*a)
        }
        (Value::Float(a), Json::Number(b)) => b.as_f64() == Some(*a),
        (Value::Str(a), Json::String(b)) => a == b,
        (Value::List(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(n, v)| b.get(n).is_some_and(|r| same(v, r)))
        }
        _ => false,
    }
}

fn leaves<'a>(name: &str, value: &Value<'a>, out: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>) {
    match value {
        Value::Str(text) => out.push((name.to_owned().into(), text.clone())),
        Value::List(items) => items.iter().enumerate().for_each(|(i, v)| leaves(&format!("{name}.{i}"), v, out)),
        Value::Map(map) => map.iter().for_each(|(n, v)| leaves(&format!("{name}.{n}"), v, out)),
        _ => unreachable!("forms carry text alone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AUTH: &str = "TC3-HMAC-SHA256 Credential=AKIDx/2026-09-21/kms/tc3_request, SignedHeaders=content-type;host, \
                        Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168";

    const POLICY: &str = r#"{"version":"2.0","statement":[{"effect":"allow","action":["name/kms:Encrypt","kms:D*"],
        "resource":"qcs::kms:ap-*:uin/${owner_uin}:key/creatorUin/${uin}/*","condition":{"for_any_value:string_like":
        {"qcs:tag":["env&*"]},"ip_equal_if_exist":{"qcs:ip":"10.217.182.3/24"},"date_less_than":
        {"qcs:current_time":"2027-05-31T00:00:00+08:00"}}},{"effect":"deny","action":"*","resource":["*"],
        "condition":{"numeric_not_equal":{"qcs:create_uin":[101]},"null_equal":{"qcs:request_tag":true}}}]}"#;
    const TRUST: &str = r#"{"version":"2.0","statement":[{"effect":"allow","action":"sts:AssumeRole","principal":
        {"qcs":["qcs::cam::uin/100:root","qcs::cam::uin/100:roleName/ci"]},"condition":
        {"string_equal":{"sts:external_id":"x"}}}]}"#;

    type Target = fn(&[u8]);

    /// Good inputs, to be damaged.
    fn seeds() -> Vec<(Target, Vec<u8>)> {
        let tc3 = format!(
            "P/\nHost: kms:80\nContent-Type: application/json\nX-TC-Action: Encrypt\nX-TC-Version: 2019-01-18\n\
             X-TC-Timestamp: 1790000000\nAuthorization: {AUTH}\n\n{{\"KeyId\":\"a\",\"L\":[1,-2,3.5,null,true,{{}}]}}"
        );
        let get = format!(
            "G/?KeyIds.0=a&KeyIds.1=b+c%20d&Tags.0.TagKey=k\nHost: kms\nContent-Type: application/x-www-form-urlencoded\n\
             X-TC-Action: Encrypt\nX-TC-Version: 2019-01-18\nX-TC-Timestamp: 1790000000\nAuthorization: {AUTH}\n\n"
        );
        let v1 = "P/api?x=1\nHost: http://kms:80\nContent-Type: application/x-www-form-urlencoded\n\n\
                  Action=Encrypt&Version=2019-01-18&SecretId=A&Timestamp=1790000000&Nonce=1&Signature=c2ln&A_b=1";
        vec![
            (json, br#"{"a":[1,2.5,-3,"x\u00e9\n",null,true,{"b":{"c":[]}}],"d":18446744073709551615}"#.to_vec()),
            (form, b"KeyIds.1=b&KeyIds.0=a+%2B&Tags.0.TagKey=%E9%94%AE&Tags.0.TagValue=&M.N=1&Limit=3".to_vec()),
            (authorization, AUTH.into()),
            (http_request, tc3.into()),
            (http_request, get.into()),
            (http_request, v1.into()),
            (policy, POLICY.into()),
            (policy, TRUST.into()),
        ]
    }

    #[test]
    fn seeds_and_their_prefixes_pass() {
        for (target, seed) in seeds() {
            (0..=seed.len()).for_each(|n| target(&seed[..n]));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn arbitrary_bytes_pass(data in prop::collection::vec(any::<u8>(), 0..300)) {
            for target in [json, form, authorization, http_request, policy] {
                target(&data);
            }
        }

        #[test]
        fn damaged_seeds_pass(
            which in 0..8usize,
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
        ) {
            let (target, mut data) = seeds().swap_remove(which);
            for (at, byte, kind) in edits {
                if data.is_empty() {
                    break;
                }
                let at = at.index(data.len());
                match kind {
                    0 => data[at] = byte,
                    1 => data.insert(at, byte),
                    2 => drop(data.remove(at)),
                    _ => {
                        let copy = data[at..].to_vec();
                        data.extend(copy);
                    }
                }
            }
            target(&data);
        }
    }
}
