//! Signature v1: HmacSHA1 or HmacSHA256 over the sorted, decoded parameters.

use crate::{
    request::{RequestParts, V1},
    signature::{SigningSecret, host_forms, path_forms},
};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq as _;

/// The signature, padded with zeros, when it is right in one of the forms that clients sign: four hosts,
/// `/` or the path, names as sent or with `.` for `_` (Python, Java). The first is the plain one.
pub(crate) fn verify(parts: &RequestParts<'_>, claim: &V1<'_>, secret: &SigningSecret) -> Option<[u8; 32]> {
    let claimed = signature_bytes(&claim.signature)?;
    let key = secret.v1_key(claim.hash);
    let renamed = claim.signed.iter().any(|(n, _)| n.contains('_'));
    for query in std::iter::once(false).chain(renamed.then_some(true)).map(|dots| plain_query(claim, dots)) {
        for path in path_forms(parts.path) {
            for host in host_forms(parts.host) {
                let mut mac = hmac::Context::with_key(&key);
                for piece in [parts.method.wire().as_bytes(), host, path.as_bytes(), b"?", &query] {
                    mac.update(piece);
                }
                let tag = mac.sign();
                if tag.as_ref().ct_eq(&claimed).into() {
                    let mut out = [0; 32];
                    out.iter_mut().zip(tag.as_ref()).for_each(|(o, t)| *o = *t);
                    return Some(out);
                }
            }
        }
    }
    None
}

/// `k=v&k=v`, sorted by name, values not escaped.
fn plain_query(claim: &V1<'_>, dots_for_underscores: bool) -> Vec<u8> {
    let mut pairs: Vec<(String, &str)>;
    let mut out = Vec::with_capacity(claim.signed.iter().map(|(n, v)| n.len() + v.len() + 2).sum());
    let mut push = |name: &str, value: &str| {
        if !out.is_empty() {
            out.push(b'&');
        }
        for piece in [name, "=", value] {
            out.extend_from_slice(piece.as_bytes());
        }
    };
    if dots_for_underscores {
        pairs = claim.signed.iter().map(|(n, v)| (n.replace('_', "."), v.as_ref())).collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs.iter().for_each(|(n, v)| push(n, v));
    } else {
        claim.signed.iter().for_each(|(n, v)| push(n, v));
    }
    out
}

/// The claimed MAC. Line ends around it are dropped (Ruby sends one). A blank is a `+` that the client
/// did not escape, or does not belong there either.
fn signature_bytes(text: &str) -> Option<Vec<u8>> {
    let line: String = text.chars().filter(|c| !matches!(c, '\r' | '\n' | '\t')).collect();
    STANDARD.decode(line.replace(' ', "+")).or_else(|_| STANDARD.decode(line.replace(' ', ""))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read_through_stray_blanks() {
        let bytes = STANDARD.decode("EliP9YW3pW28FpsEdkXt/+WcGeI=").unwrap();
        for text in [
            "EliP9YW3pW28FpsEdkXt/+WcGeI=",
            "EliP9YW3pW28FpsEdkXt/+WcGeI=\n",
            "EliP9YW3pW28FpsEdkXt/ WcGeI=",
            "EliP9YW3pW28FpsEdkXt/\r\n+WcGeI=",
            " EliP9YW3pW28FpsEdkXt/+WcGeI= ",
        ] {
            assert_eq!(signature_bytes(text).as_ref(), Some(&bytes), "{text:?}");
        }
        for bad in ["EliP9YW3pW28", "*", "EliP9YW3pW28FpsEdkXt/+WcGeI", "é"] {
            assert_ne!(signature_bytes(bad).as_ref(), Some(&bytes), "{bad:?}");
        }
    }
}
