//! The `Authorization` header of a TC3 request.

use data_encoding::HEXLOWER_PERMISSIVE;
use http::HeaderValue;
use jadeseal_types::{ApiError, ErrorCode};

/// Scheme of the header, also the first line of the string to sign.
pub(crate) const ALGORITHM: &str = "TC3-HMAC-SHA256";
/// Names in `SignedHeaders`.
pub(crate) const MAX_SIGNED_HEADERS: usize = 64;
/// Bytes of the whole header.
const MAX_HEADER: usize = 8 * 1024;
/// Bytes of a SecretId.
const MAX_SECRET_ID: usize = 128;
/// Bytes of the service label in the credential scope.
const MAX_SERVICE: usize = 255;

/// The parts of a well-formed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Authorization<'a> {
    pub secret_id: &'a str,
    pub date: &'a str,
    pub service: &'a str,
    pub signed_headers: &'a str,
    pub signature: [u8; 32],
}

/// True for a value that claims to be a TC3 signature, well-formed or not.
pub(crate) fn claims_tc3(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(ALGORITHM.as_bytes())
}

/// Reads `TC3-HMAC-SHA256 Credential=<SecretId>/<date>/<service>/tc3_request, SignedHeaders=<a;b>,
/// Signature=<hex>`, the three in any order and with any blanks between them. Anything else, `SKIP`
/// included, is `AuthFailure.InvalidAuthorization`.
pub(crate) fn parse(value: &HeaderValue) -> Result<Authorization<'_>, ApiError> {
    value.to_str().ok().filter(|text| text.len() <= MAX_HEADER).and_then(parse_text).ok_or_else(malformed)
}

pub(crate) fn malformed() -> ApiError {
    ApiError::with_text(
        ErrorCode::InvalidAuthorization,
        "The Authorization header is missing or malformed; expected is `TC3-HMAC-SHA256 Credential=…, SignedHeaders=…, \
         Signature=…` with at least `content-type` and `host` signed.",
        "请求头 Authorization 缺失或不符合规范；格式应为 `TC3-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`，\
         且至少对 `content-type` 和 `host` 签名。",
    )
}

fn parse_text(text: &str) -> Option<Authorization<'_>> {
    let rest = text.strip_prefix(ALGORITHM)?;
    if !rest.starts_with([' ', '\t']) {
        return None;
    }
    let (mut credential, mut signed, mut signature) = (None, None, None);
    for piece in rest.split(',') {
        let (name, value) = piece.trim_matches([' ', '\t']).split_once('=')?;
        let slot = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed,
            "Signature" => &mut signature,
            _ => return None,
        };
        if slot.replace(value).is_some() {
            return None;
        }
    }
    let (secret_id, scope) = credential?.split_once('/')?;
    let (date, scope) = scope.split_once('/')?;
    // The label is whatever the client took from its endpoint (`kms`, `127`, `http://127`, …).
    let service = scope.strip_suffix("/tc3_request")?;
    let fits = (1..=MAX_SECRET_ID).contains(&secret_id.len()) && (1..=MAX_SERVICE).contains(&service.len());
    (fits && is_date(date)).then_some(())?;
    Some(Authorization {
        secret_id,
        date,
        service,
        signed_headers: signed.filter(|s| are_signable(s))?,
        signature: signature_bytes(signature?)?,
    })
}

/// `YYYY-MM-DD` in form; that it is the right day is checked against the timestamp.
fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(i, c)| if matches!(i, 4 | 7) { c == b'-' } else { c.is_ascii_digit() })
}

/// Lower-case header names, none twice, `content-type` and `host` among them, at most 64.
fn are_signable(list: &str) -> bool {
    let token = |name: &str| {
        !name.is_empty() && name.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
    };
    let mut names = [""; MAX_SIGNED_HEADERS];
    for (count, name) in list.split(';').enumerate() {
        let Some((earlier, rest)) = names.split_at_mut_checked(count) else { return false };
        let Some(slot) = rest.first_mut() else { return false };
        if !token(name) || earlier.contains(&name) {
            return false;
        }
        *slot = name;
    }
    names.contains(&"content-type") && names.contains(&"host")
}

fn signature_bytes(hex: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if hex.len() != 64 {
        return None;
    }
    HEXLOWER_PERMISSIVE.decode_mut(hex.as_bytes(), &mut out).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168";

    fn read(text: &str) -> Option<Authorization<'_>> {
        parse_text(text)
    }

    #[test]
    fn spacing_and_order_do_not_matter() {
        let expected = read(&format!(
            "TC3-HMAC-SHA256 Credential=AKIDx/2019-02-25/cvm/tc3_request, SignedHeaders=content-type;host, Signature={HEX}"
        ))
        .map(|a| (a.secret_id.to_owned(), a.date.to_owned(), a.service.to_owned(), a.signature));
        assert_eq!(expected.as_ref().map(|e| e.3[0]), Some(0x72));
        for other in [
            format!(
                "TC3-HMAC-SHA256 Credential=AKIDx/2019-02-25/cvm/tc3_request,SignedHeaders=content-type;host,Signature={HEX}"
            ),
            format!(
                "TC3-HMAC-SHA256  Signature={HEX} ,\tSignedHeaders=host;content-type,  Credential=AKIDx/2019-02-25/cvm/tc3_request"
            ),
        ] {
            let got =
                read(&other).map(|a| (a.secret_id.to_owned(), a.date.to_owned(), a.service.to_owned(), a.signature));
            assert_eq!(got, expected, "{other}");
        }
    }

    #[test]
    fn any_service_label_is_taken() {
        for label in ["kms", "127", "localhost:18480", "http://127", "a/b", "10"] {
            let text = format!(
                "TC3-HMAC-SHA256 Credential=AKIDx/2019-02-25/{label}/tc3_request, SignedHeaders=content-type;host, Signature={HEX}"
            );
            assert_eq!(read(&text).unwrap().service, label);
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        let good = format!(
            "TC3-HMAC-SHA256 Credential=AKIDx/2019-02-25/kms/tc3_request, SignedHeaders=content-type;host, Signature={HEX}"
        );
        assert!(read(&good).is_some());
        let many = |n: usize| {
            let extra: String = (0..n).map(|i| format!(";x-{i}")).collect();
            good.replace("content-type;host", &format!("content-type;host{extra}"))
        };
        assert!(read(&many(62)).is_some());
        for bad in [
            "SKIP".to_owned(),
            String::new(),
            "Bearer x".to_owned(),
            "TC3-HMAC-SHA256".to_owned(),
            "TC3-HMAC-SHA256 ".to_owned(),
            good.replace("SHA256 ", "SHA256"),
            good.replace("SHA256 ", "SHA512 "),
            good.replace("Credential", "credential"),
            good.replace("AKIDx", ""),
            good.replace("AKIDx", &"a".repeat(129)),
            good.replace("/kms", "/"),
            good.replace("/kms", ""),
            good.replace("kms", &"k".repeat(256)),
            good.replace("tc3_request", "tc4_request"),
            good.replace("2019-02-25", "20190225"),
            good.replace("2019-02-25", "2019-02-2x"),
            good.replace("content-type;", ""),
            good.replace(";host", ""),
            good.replace(";host", ";host;host"),
            good.replace(";host", ";;host"),
            good.replace("host", "Host"),
            good.replace(HEX, &HEX[..62]),
            good.replace(HEX, &HEX.replace('7', "g")),
            format!("{good}, Signature={HEX}"),
            format!("{good}, Extra=1"),
            format!("{good},"),
            many(63),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
        let e = parse(&HeaderValue::from_bytes(b"TC3-HMAC-SHA256 \xff").unwrap()).unwrap_err();
        assert_eq!(e.code(), ErrorCode::InvalidAuthorization);
    }
}
