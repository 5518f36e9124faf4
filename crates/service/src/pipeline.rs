//! The life of a request: decode, route, verify, authenticate, count, authorise, run, record, answer.
//!
//! No action repeats any of this, and nothing reaches an action around it.

use crate::{
    Route, Service,
    action::{Entry, KMS, Members, Named},
    credentials::{Found, Known},
    cx::{Cx, Draft, Facts},
    entries,
    guard::{self, LookUp, Verdict, Waited},
    organisations::Acting,
    scope,
};
use jadeseal_audit::Principal;
use jadeseal_auth::{Caller, Decoded, RequestParts, Verified, check_time, decode_routed, verify, verify_dummy};
use jadeseal_store::Scope;
use jadeseal_types::{ApiError, ErrorCode, Lang, error::Result};
use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hasher as _},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

/// An answer: always HTTP 200, `application/json`.
pub struct Reply {
    /// The whole JSON text. It may hold a plaintext, so it wipes itself.
    pub body: Members,
    /// `RequestId` of the answer.
    pub request_id: String,
    /// The connection is to be closed behind it.
    pub close: bool,
    /// The action, `unknown` where there is none of the name.
    pub action: &'static str,
    /// The error code; none for success.
    pub code: Option<ErrorCode>,
}

impl Service {
    /// Handles one raw request to its end. The record of it is in the audit log when this returns.
    pub async fn handle(self: &Arc<Self>, parts: &RequestParts<'_>, source: Option<IpAddr>) -> Reply {
        let pending = Pending::new(self, source);
        let request = scope::Request::new(pending.draft.request_id(), UNKNOWN);
        request.run(self.handle_as(parts, source, pending)).await
    }

    async fn handle_as(
        self: &Arc<Self>,
        parts: &RequestParts<'_>,
        source: Option<IpAddr>,
        mut pending: Pending<'_>,
    ) -> Reply {
        let started = Instant::now();
        let (lang, outcome) = match decode_routed(parts, |version, action| self.route(version, action)) {
            Err((error, lang)) => {
                pending.note_claims(parts);
                (lang, Err(error))
            }
            Ok((decoded, route)) => {
                let lang = decoded.common.language;
                (lang, self.admit(parts, decoded, route, &mut pending).await)
            }
        };
        let mut verdict = Verdict::FREE;
        let outcome = match outcome {
            Ok(members) => self.record(&mut pending, None).await.map(|()| members),
            Err(error) => {
                let code = error.code();
                verdict = self.judge(&pending, code);
                // The caller learns of his mistake only once it is on record.
                self.record_by(verdict, &mut pending, code).await.and(Err(error))
            }
        };
        let code = outcome.as_ref().err().map(ApiError::code);
        self.metrics.observe(pending.action(), code, started.elapsed());
        // Its record is written by now, so nothing but the answer waits.
        let close = self.hold_back(source, verdict).await;
        let request_id = std::mem::take(&mut pending.draft.facts_mut().request_id);
        let body = match outcome {
            Ok(members) => members.close(&request_id),
            Err(error) => {
                if let Some(cause) = error.internal_cause() {
                    tracing::error!(cause, "internal error");
                }
                failure(&error, lang, &request_id).into()
            }
        };
        Reply { body, request_id, close, action: pending.action(), code }
    }

    /// Answers a request that the server could not even read (too large, cut off, wrong method).
    pub async fn refuse(self: &Arc<Self>, error: ApiError, lang: Lang, source: Option<IpAddr>) -> Reply {
        let mut pending = Pending::new(self, source);
        let request_id = pending.draft.request_id().to_owned();
        let verdict = self.count_refusal(source, error.code(), true);
        let error = self.record_by(verdict, &mut pending, error.code()).await.err().unwrap_or(error);
        self.metrics.observe(UNKNOWN, Some(error.code()), std::time::Duration::ZERO);
        let close = self.hold_back(source, verdict).await;
        let code = Some(error.code());
        Reply { body: failure(&error, lang, &request_id).into(), request_id, close, action: UNKNOWN, code }
    }

    /// Stops holding answers back, because the service stops.
    pub fn hurry(&self) {
        self.guard.hurry();
    }

    /// Counts a refusal where it is of a kind that slows its source down.
    fn judge(&self, pending: &Pending<'_>, code: ErrorCode) -> Verdict {
        if pending.ended || !(guard::is_wrong(code) || (!pending.authenticated && guard::is_early(code))) {
            return Verdict::FREE;
        }
        self.count_refusal(pending.source, code, !pending.authenticated)
    }

    /// Counts a refusal; only one of somebody unknown is `mergeable` with others in one record.
    fn count_refusal(&self, source: Option<IpAddr>, code: ErrorCode, mergeable: bool) -> Verdict {
        if guard::is_wrong(code) {
            self.metrics.wrong_credentials(code);
        } else {
            self.metrics.refused_unauthenticated(code);
        }
        let now = self.clock.monotonic();
        let verdict = source.map_or(Verdict::FREE, |source| self.guard.refused(source, mergeable, now));
        if !verdict.record {
            self.metrics.unrecorded_refusal();
            self.guard.tell(now);
        }
        verdict
    }

    async fn record_by(&self, verdict: Verdict, pending: &mut Pending<'_>, code: ErrorCode) -> Result<()> {
        if verdict.record {
            return self.record(pending, Some(code)).await;
        }
        pending.done = true;
        Ok(())
    }

    /// Lets the answer to a refusal wait as long as it has to. True when its connection is to be closed.
    async fn hold_back(&self, source: Option<IpAddr>, verdict: Verdict) -> bool {
        let Some(source) = source else { return false };
        let waited = self.guard.wait(source, verdict.wait).await;
        if waited == Waited::Yes {
            self.metrics.slowed();
        }
        waited == Waited::NoPlace
    }

    /// A turn at looking for the caller; none is needed for one who is in memory, nor where nobody floods.
    fn look_up(&self, decoded: &Decoded<'_>, source: Option<IpAddr>) -> Result<Option<LookUp<'_>>> {
        let Some(source) = source.filter(|_| self.guard.is_busy(|| self.clock.monotonic())) else { return Ok(None) };
        let token = decoded.common.token.as_deref().filter(|token| !token.is_empty());
        if self.credentials.is_known(decoded.presented.secret_id(), token) {
            return Ok(None);
        }
        match self.guard.look_up(source, self.clock.monotonic()) {
            Some(turn) => Ok(Some(turn)),
            None => Err(ApiError::with_text(
                ErrorCode::RequestLimitExceeded,
                "Too many requests from this address were refused; try again.",
                "来自该地址的请求有过多被拒绝，请稍后重试。",
            )),
        }
    }

    async fn admit(
        self: &Arc<Self>,
        parts: &RequestParts<'_>,
        decoded: Decoded<'_>,
        Route { entry, index, action }: Route,
        pending: &mut Pending<'_>,
    ) -> Result<Members> {
        let common = &decoded.common;
        {
            let facts = pending.draft.facts_mut();
            facts.service = entry.api.service;
            facts.version = Cow::Borrowed(entry.api.version);
            facts.action = Cow::Borrowed(entry.spec.name);
            facts.region = Cow::Owned(common.region.as_deref().unwrap_or_default().to_owned());
            facts.user_agent = common.request_client.as_deref().unwrap_or_default().to_owned();
        }
        pending.entry = Some(entry);
        scope::action(entry.spec.name);
        pending.draft.facts_mut().access = entry.spec.access;
        // One moment for all of a request, its record included.
        let now = pending.draft.facts_mut().time_micros / 1_000_000;
        let turn = self.look_up(&decoded, pending.source)?;
        let (caller, known, verified) =
            self.authenticate(parts, &decoded, now, pending.source, &mut pending.ended).await?;
        drop(turn);
        pending.authenticated = true;
        {
            let facts = pending.draft.facts_mut();
            facts.account = Some(caller.account());
            facts.uin = Some(caller.uin());
            facts.secret_id = Some(caller.secret_id().clone());
            facts.principal = match caller.principal() {
                jadeseal_auth::Principal::Root => Principal::Root,
                jadeseal_auth::Principal::User => Principal::User,
                jadeseal_auth::Principal::Product => Principal::Product,
                jadeseal_auth::Principal::Role => Principal::Role,
                jadeseal_auth::Principal::Federated => Principal::Federated,
            };
            facts.session = caller.session().map(|session| session.name.clone());
        }
        // Before the rates: who has stolen a secret alone must not use up what its owner may call.
        if !self.certificates.allow(&caller, parts.certificate, now) {
            return Err(ApiError::with_text(
                ErrorCode::AuthUnauthorizedOperation,
                "These credentials are served only over a connection with their client certificate.",
                "该凭证仅可通过出示其客户端证书的连接使用。",
            ));
        }
        if let Some(rates) = &known.rates {
            rates.admit(index, entry.spec.name, self.clock.monotonic())?;
        }
        let named = decoded.common.region.as_deref();
        let region = match named.map(|name| self.regions.find(name)) {
            None => self.regions.default_region(),
            Some(Some(region)) => region,
            // Principals, sessions and the log are of no region, and some clients cannot be told which to name.
            Some(None) if matches!(entry.api.service, "cam" | "sts" | "cloudaudit") => self.regions.default_region(),
            Some(None) => return Err(ErrorCode::UnsupportedRegion.into()),
        };
        // The tag service changes keys of every region, whichever the request names.
        let strict = match *entry.api == KMS {
            true => region.profile.is_strict(),
            false => self.regions.iter().any(|r| r.profile.is_strict()),
        };
        if strict && decoded.presented.is_sha1() {
            return Err(ApiError::with_text(
                ErrorCode::SignatureFailure,
                "The region allows no HmacSHA1; sign with TC3-HMAC-SHA256 or HmacSHA256.",
                "该地域不允许 HmacSHA1，请使用 TC3-HMAC-SHA256 或 HmacSHA256 签名。",
            ));
        }
        // Behind the rates, which bound how much room in the guard an account takes.
        // Same source, same second, same body: an honest client's DescribeKey and DisableKey (ADR 0006).
        self.replay.bind_from(
            &verified,
            target_of(parts, &decoded, verified.payload_is_signed),
            pending.source,
            now,
        )?;
        if decoded.common.region.is_none() {
            pending.draft.facts_mut().region = Cow::Owned(region.name.as_str().to_owned());
        }
        let cx = Cx {
            svc: self,
            caller: &caller,
            scope: Scope::of(&caller, region.name.clone()),
            acting: Acting::Own,
            region,
            now,
            entry,
            action,
            named: Named::Nothing,
            known,
            presented: (decoded.presented.secret_id(), decoded.common.token.as_deref().filter(|t| !t.is_empty())),
            request_tags: Vec::new(),
            secure: parts.secure,
            dry_run: false,
            lang: decoded.common.language,
            draft: &pending.draft,
        };
        entry.call(decoded.params, cx).await
    }

    fn route(&self, version: &str, action: &str) -> Result<Route> {
        self.actions.get(&(version, action)).copied().ok_or_else(|| {
            if entries().all(|e| e.api.version != version) {
                return ErrorCode::NoSuchVersion.into();
            }
            ApiError::with_text(
                ErrorCode::InvalidAction,
                "The action does not exist or is not served by this release.",
                "接口不存在，或此版本尚未提供。",
            )
        })
    }

    /// SecretId, timestamp, signature, token: in this order. Of a temporary access key the token comes first, for the secret
    /// is in it.
    async fn authenticate(
        &self,
        parts: &RequestParts<'_>,
        decoded: &Decoded<'_>,
        now: u64,
        source: Option<IpAddr>,
        ended: &mut bool,
    ) -> Result<(Caller, Arc<Known>, Verified)> {
        let secret_id = decoded.presented.secret_id();
        let token = decoded.common.token.as_deref().filter(|token| !token.is_empty());
        let known = match token {
            None => self.credentials.find(secret_id).await?.ok_or(ErrorCode::SecretIdNotFound),
            Some(token) => match self.credentials.find_session(secret_id, token, now).await? {
                Found::Known(known) => Ok(known),
                Found::Ended => {
                    *ended = true;
                    Err(ErrorCode::TokenFailure)
                }
                Found::Unknown => Err(ErrorCode::TokenFailure),
            },
        };
        let known = match known {
            Ok(known) => known,
            Err(refused) => {
                // The same work as for a known SecretId, so that time does not tell them apart.
                verify_dummy(parts, decoded);
                return Err(refused.into());
            }
        };
        check_time(&decoded.presented, now)?;
        let verified = verify(parts, decoded, &known.credential.secret)?;
        if token.is_some() != known.credential.session.is_some() {
            // Tokens belong to temporary access keys; this one is permanent.
            return Err(ErrorCode::TokenFailure.into());
        }
        self.credentials.touch(&known, now);
        let caller = Caller::authenticated(&verified, &known.credential, source)?;
        Ok((caller, known, verified))
    }

    async fn record(&self, pending: &mut Pending<'_>, code: Option<ErrorCode>) -> Result<()> {
        pending.done = true;
        if pending.draft.recorded() || cfg!(feature = "unaudited") {
            return Ok(());
        }
        self.journal.answer(&pending.draft.encode(code)).await
    }
}

/// What a signature that does not cover its target was used for: version, action, region, and the body where
/// that is not signed either.
fn target_of(parts: &RequestParts<'_>, decoded: &Decoded<'_>, payload_is_signed: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in [&*decoded.common.version, &*decoded.common.action, decoded.common.region.as_deref().unwrap_or("")] {
        hasher.write(part.as_bytes());
        hasher.write_u8(0xff);
    }
    if !payload_is_signed {
        // A hash that nobody can find a second body for.
        hasher.write(&jadeseal_crypto::sha256(parts.body));
    }
    hasher.finish()
}

const UNKNOWN: &str = "unknown";

/// A request whose record has not been written yet. If its future is dropped because the caller hung
/// up, the record is written then.
struct Pending<'a> {
    svc: &'a Service,
    draft: Draft,
    entry: Option<&'static Entry>,
    source: Option<IpAddr>,
    /// The caller's session has come to its end: his credentials are no guess.
    ended: bool,
    /// It is known who the caller is.
    authenticated: bool,
    done: bool,
}

impl<'a> Pending<'a> {
    fn new(svc: &'a Service, source: Option<IpAddr>) -> Self {
        let facts = Facts { source, ..Facts::unknown(svc.clock.wall(), request_id()) };
        Pending { svc, draft: Draft::new(facts), entry: None, source, ended: false, authenticated: false, done: false }
    }

    /// What a request that could not be decoded says it is, for the record.
    fn note_claims(&mut self, parts: &RequestParts<'_>) {
        let header = |name| parts.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let facts = self.draft.facts_mut();
        facts.action = header("x-tc-action").into();
        facts.version = header("x-tc-version").into();
        facts.region = header("x-tc-region").into();
        facts.user_agent = header("x-tc-requestclient");
    }

    fn action(&self) -> &'static str {
        self.entry.map_or(UNKNOWN, |e| e.spec.name)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.done && self.draft.abandon() {
            let code = ErrorCode::FailedOperation;
            // Who hangs up before he is known counts like one who is refused.
            if !self.authenticated && !self.svc.count_refusal(self.source, code, true).record {
                return;
            }
            self.svc.journal.note_or_log(&self.draft.encode(Some(code)));
        }
    }
}

/// A version-4 UUID as text.
pub(crate) fn request_id() -> String {
    let mut bytes = [0u8; 16];
    match jadeseal_crypto::random::identifier() {
        Ok(random) => bytes.copy_from_slice(&random[..16]),
        // Without randomness no key call will succeed; the id then only has to be well-formed.
        Err(_) => bytes[8..].copy_from_slice(&std::process::id().to_be_bytes().repeat(2)),
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().to_string()
}

fn failure(error: &ApiError, lang: Lang, request_id: &str) -> Vec<u8> {
    let body = serde_json::json!({
        "Response": {
            "Error": { "Code": error.code().wire(), "Message": error.message(lang) },
            "RequestId": request_id,
        }
    });
    body.to_string().into_bytes()
}
