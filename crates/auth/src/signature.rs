//! Verification of request signatures, and the secrets that they are checked with.

use crate::{
    request::{Decoded, Presented, RequestParts, V1Hash},
    tc3, v1,
};
use arc_swap::ArcSwap;
use aws_lc_rs::{hmac, rand};
use jadeseal_types::{ApiError, ErrorCode, SecretBytes, limits};
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering},
};
use zeroize::Zeroizing;

/// Derived keys kept per secret: today's and yesterday's under a few service labels.
const MAX_DAY_KEYS: usize = 8;

/// The secret half of an access key, ready to verify with. Owns the SecretKey and a small cache of the
/// signing keys derived from it for one date and service label each. No `Debug`, no `Clone`.
pub struct SigningSecret {
    /// Tells secrets apart within this process, so that a [`Verified`] cannot be used with another.
    id: u64,
    secret_key: SecretBytes,
    /// Keyed by `"TC3" + SecretKey`.
    tc3: hmac::Key,
    /// Read without a lock by every request; replaced as a whole, newest first.
    days: ArcSwap<Vec<Arc<DayKey>>>,
}

struct DayKey {
    date: [u8; 10],
    service: Box<str>,
    key: hmac::Key,
}

impl SigningSecret {
    /// Takes the SecretKey over.
    pub fn new(secret_key: SecretBytes) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut prefixed = SecretBytes::zeroed(3 + secret_key.len());
        let (prefix, rest) = prefixed.expose_mut().split_at_mut(3);
        prefix.copy_from_slice(b"TC3");
        rest.copy_from_slice(secret_key.expose());
        SigningSecret {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            tc3: hmac::Key::new(hmac::HMAC_SHA256, prefixed.expose()),
            secret_key,
            days: ArcSwap::default(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Runs `f` with the signing key of a date and service label, from the cache if it is there. Misses
    /// are cached whether or not the signature will prove right: otherwise the time of a second try
    /// would tell whether a secret has been in use that day. Someone who tries many labels costs other
    /// callers a derivation (three HMACs), no more.
    pub(crate) fn with_day_key<R>(
        &self,
        date: &[u8; 10],
        service: &str,
        f: impl FnOnce(&hmac::Key) -> R,
    ) -> Result<R, ApiError> {
        let fits = |day: &DayKey| day.date == *date && *day.service == *service;
        {
            let days = self.days.load();
            if let Some(day) = days.iter().find(|d| fits(d)) {
                return Ok(f(&day.key));
            }
        }
        let key = self.derive(date, service)?;
        let day = Arc::new(DayKey { date: *date, service: service.into(), key });
        self.days.rcu(|days| {
            let others = days.iter().filter(|d| !fits(d)).take(MAX_DAY_KEYS - 1);
            std::iter::once(&day).chain(others).cloned().collect::<Vec<_>>()
        });
        Ok(f(&day.key))
    }

    fn derive(&self, date: &[u8; 10], service: &str) -> Result<hmac::Key, ApiError> {
        let by_date = hmac::Key::new(hmac::HMAC_SHA256, &*mac(&self.tc3, date)?);
        let by_service = hmac::Key::new(hmac::HMAC_SHA256, &*mac(&by_date, service.as_bytes())?);
        Ok(hmac::Key::new(hmac::HMAC_SHA256, &*mac(&by_service, b"tc3_request")?))
    }

    pub(crate) fn v1_key(&self, hash: V1Hash) -> hmac::Key {
        let algorithm = match hash {
            V1Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            V1Hash::Sha256 => hmac::HMAC_SHA256,
        };
        hmac::Key::new(algorithm, self.secret_key.expose())
    }
}

/// An HMAC-SHA-256 that is a key itself.
fn mac(key: &hmac::Key, data: &[u8]) -> Result<Zeroizing<[u8; 32]>, ApiError> {
    let mut out = Zeroizing::new([0; 32]);
    hmac::sign_to_buffer(key, data, &mut *out).map_err(ApiError::internal)?;
    Ok(out)
}

/// Proof that a request was signed with one [`SigningSecret`]. Only [`verify`] makes it.
pub struct Verified {
    /// False when action, version, region or body could be changed without breaking the signature; such a
    /// request goes through [`crate::ReplayGuard::bind`].
    pub target_is_signed: bool,
    /// False under `UNSIGNED-PAYLOAD`.
    pub payload_is_signed: bool,
    /// The signature itself (HmacSHA1: padded with zeros).
    pub signature: [u8; 32],
    /// When it was made, by the caller's clock, Unix seconds.
    pub timestamp: u64,
    pub(crate) secret: u64,
}

/// Refuses a signature made more than five minutes before or after `now` (Unix seconds) with
/// `AuthFailure.SignatureExpire`.
pub fn check_time(presented: &Presented<'_>, now: u64) -> Result<(), ApiError> {
    if presented.timestamp().abs_diff(now) > limits::SIGNATURE_WINDOW_SECONDS {
        return Err(ErrorCode::SignatureExpire.into());
    }
    Ok(())
}

/// Checks the signature over the raw request, in every form that the official clients are known to sign
/// (a bounded number; the commonest first). A wrong one is `AuthFailure.SignatureFailure`. The time of
/// signing is not checked: see [`check_time`].
pub fn verify(parts: &RequestParts<'_>, decoded: &Decoded<'_>, secret: &SigningSecret) -> Result<Verified, ApiError> {
    match &decoded.presented {
        Presented::Tc3(claim) if tc3::verify(parts, claim, secret)? => Ok(Verified {
            target_is_signed: claim.payload_is_signed
                && TARGET_HEADERS.iter().all(|h| claim.signed_headers.split(';').any(|n| n == *h)),
            payload_is_signed: claim.payload_is_signed,
            signature: claim.signature,
            timestamp: claim.timestamp,
            secret: secret.id(),
        }),
        Presented::V1(claim) => {
            let signature = v1::verify(parts, claim, secret).ok_or(ErrorCode::SignatureFailure)?;
            Ok(Verified {
                target_is_signed: true,
                payload_is_signed: true,
                signature,
                timestamp: claim.timestamp,
                secret: secret.id(),
            })
        }
        Presented::Tc3(_) => Err(ErrorCode::SignatureFailure.into()),
    }
}

/// What a TC3 signature must cover, besides the body, to say by itself what it is for.
const TARGET_HEADERS: [&str; 3] = ["x-tc-action", "x-tc-version", "x-tc-region"];

/// Does the work of [`verify`] against a secret that nobody knows, so that the time of the answer does
/// not tell whether a SecretId exists.
pub fn verify_dummy(parts: &RequestParts<'_>, decoded: &Decoded<'_>) {
    static NOBODY: LazyLock<SigningSecret> = LazyLock::new(|| {
        let mut key = SecretBytes::zeroed(32);
        // Without randomness the key is known, which does no harm: the outcome is thrown away.
        let _ = rand::fill(key.expose_mut());
        SigningSecret::new(key)
    });
    let _ = std::hint::black_box(verify(parts, decoded, &NOBODY));
}

/// The spellings of the host that clients sign, commonest first: as sent, without the port (Node), and
/// both without a scheme (an endpoint given as `http://…` is sent as the literal host).
pub(crate) fn host_forms(host: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bare = without_scheme(host);
    let forms = [host, without_port(host), bare, without_port(bare)];
    (0..forms.len()).filter(move |&i| !forms.iter().take(i).any(|f| *f == forms[i])).map(move |i| forms[i])
}

fn without_scheme(host: &[u8]) -> &[u8] {
    host.strip_prefix(b"http://").or_else(|| host.strip_prefix(b"https://")).unwrap_or(host)
}

fn without_port(host: &[u8]) -> &[u8] {
    let Some(colon) = host.iter().rposition(|&c| c == b':') else { return host };
    let (name, port) = host.split_at(colon);
    let digits = port.get(1..).unwrap_or_default();
    if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) { name } else { host }
}

/// The paths that clients sign: `/` whatever was sent, or what was sent.
pub(crate) fn path_forms(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once("/").chain((path != "/").then_some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_tried_raw_first_and_once_each() {
        let forms =
            |h: &'static str| host_forms(h.as_bytes()).map(|f| std::str::from_utf8(f).unwrap()).collect::<Vec<_>>();
        assert_eq!(forms("kms.tencentcloudapi.com"), ["kms.tencentcloudapi.com"]);
        assert_eq!(forms("127.0.0.1:8080"), ["127.0.0.1:8080", "127.0.0.1"]);
        assert_eq!(
            forms("http://127.0.0.1:8080"),
            ["http://127.0.0.1:8080", "http://127.0.0.1", "127.0.0.1:8080", "127.0.0.1"]
        );
        assert_eq!(forms("https://kms"), ["https://kms", "kms"]);
        assert_eq!(forms("[::1]:8443"), ["[::1]:8443", "[::1]"]);
        assert_eq!(forms("[::1]"), ["[::1]"]);
        assert_eq!(forms("kms:"), ["kms:"]);
        assert_eq!(forms(""), [""]);
    }

    #[test]
    fn derived_keys_are_cached_and_bounded() {
        let secret = SigningSecret::new(SecretBytes::copy_from(b"k"));
        let sign = |date: &[u8; 10], service: &str| {
            secret.with_day_key(date, service, |k| hmac::sign(k, b"x").as_ref().to_vec()).unwrap()
        };
        let first = sign(b"2026-01-01", "kms");
        assert_ne!(first, sign(b"2026-01-02", "kms"));
        assert_ne!(first, sign(b"2026-01-01", "127"));
        assert_eq!(secret.days.load().len(), 3);
        assert_eq!(first, sign(b"2026-01-01", "kms"));
        assert_eq!(secret.days.load().len(), 3, "a hit adds nothing");
        for i in 0..100 {
            sign(b"2026-01-01", &format!("label{i}"));
        }
        assert_eq!(secret.days.load().len(), MAX_DAY_KEYS);
        assert_eq!(first, sign(b"2026-01-01", "kms"), "an evicted key is derived again");
    }
}
