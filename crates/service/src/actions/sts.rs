//! Sessions: temporary access keys of roles and for federated users, and who the caller is.
//!
//! Nothing of a session is kept: its token says all of it ([`crate::sessions`]). GetSessionToken is not served, for it asks
//! for a code of a second factor, and there is none here.

use super::{
    Himself, OnIdentities, Principals,
    cam::{is_name, policies::refused},
};
use crate::{
    accounts::random_text,
    action::{Access, Action, Identity, STS, Spec, family},
    authorise::parse_arn,
    cx::Cx,
    principals::role_at,
    schema::{Doc, answer, object, request},
    sessions,
    values::{Bounded, SecretText},
};
use jadeseal_auth::{
    Origin, Principal, Session,
    params::{Params, Value},
    percent_decoded,
    policy::{Checks, Conditions, Invalid, Policy, Taker},
    refusal,
    session::{Claims, MAX_CHAIN},
};
use jadeseal_types::{AccountId, ApiError, ErrorCode as E, SecretBytes, SecretId, Uin, error::Result, limits};

family![in STS; AssumeRole, GetFederationToken, GetCallerIdentity];

/// Longest life of a session of a role, seconds.
pub(crate) const MAX_ROLE_SECONDS: u64 = 43_200;
/// Life of a session of a role when neither request nor role says, seconds.
pub(crate) const ROLE_SECONDS: u64 = 7200;
/// The same for a federated session, and the longest of the main account and of users.
const FEDERATED_SECONDS: u64 = 1800;
const MAX_FEDERATED_ROOT: u64 = 7200;
const MAX_FEDERATED_USER: u64 = 129_600;
/// Largest policy as it is sent, bytes: every character may be written as `%xx`, and may have four bytes.
const MAX_ENCODED: usize = 12 * limits::MAX_POLICY_CHARS;

const ARN: Doc = Doc(
    "The role: qcs::cam::uin/<uin>:role/<id> or qcs::cam::uin/<uin>:roleName/<name>.",
    "角色资源描述：qcs::cam::uin/<uin>:role/<id> 或 qcs::cam::uin/<uin>:roleName/<name>。",
);
const SESSION_NAME: Doc =
    Doc("Name of the session: 2 to 128 of letters, digits and +=,.@_-.", "会话名称：2 到 128 个字母、数字或 +=,.@_-。");
const DURATION: Doc =
    Doc("Life of the session, seconds; 0 for the usual one.", "临时凭证有效期，单位秒，0 表示默认值。");
const POLICY: Doc = Doc(
    "Policy that narrows what the session may do, as JSON or percent-encoded.",
    "会话策略，JSON 原文或经 urlencode 编码。",
);
const NOT_SERVED: Doc = Doc("Not served: must be absent or empty.", "暂不支持，须为空。");
const CREDENTIALS: Doc = Doc("The temporary access key.", "临时访问凭证。");
const EXPIRED_TIME: Doc = Doc("When it ends, Unix seconds.", "过期时间，Unix 秒。");
const EXPIRATION: Doc = Doc("When it ends, ISO 8601 in UTC.", "过期时间，ISO 8601 UTC 格式。");

answer! {
    /// A temporary access key.
    Credentials as "Credentials" {
        token: String = "Token", Doc("To be sent as X-TC-Token with each request.", "须随每次请求以 X-TC-Token 发送。");
        secret_id: SecretId = "TmpSecretId", Doc("Its public half.", "临时密钥 ID。");
        secret_key: SecretText = "TmpSecretKey", Doc("Its secret half.", "临时密钥 Key。");
    }
}

answer! {
    /// A session that has begun.
    Begun {
        credentials: Credentials = "Credentials", CREDENTIALS;
        expired_time: i64 = "ExpiredTime", EXPIRED_TIME;
        expiration: String = "Expiration", EXPIRATION;
    }
}

object! {
    /// A tag of a session.
    SessionTag as "Tag" {
        required _key: String = "Key", NOT_SERVED;
        required _value: String = "Value", NOT_SERVED;
    }
}

/// Begins a session: seals what it says.
async fn begin(account: AccountId, uin: Uin, session: Session, policy: Option<String>, cx: &Cx<'_>) -> Result<Begun> {
    let secret_id = SecretId::parse(&format!("AKID{}", random_text(48)?));
    let secret_id = secret_id.ok_or_else(|| ApiError::internal("generated a malformed SecretId"))?;
    let secret_key = SecretBytes::new(random_text(44)?.into_bytes());
    cx.note_subject(format!("session/{}", session.name));
    cx.note_subject(format!("accesskey/{secret_id}"));
    let expires = session.expires;
    let claims = Claims { account, uin, session, policy, secret_key };
    let token = sessions::seal(&cx.svc.vault, &secret_id, &claims).await?;
    let at = i64::try_from(expires).map_err(ApiError::internal)?;
    let expiration = jiff::Timestamp::from_second(at).map_err(ApiError::internal)?.to_string();
    let credentials = Credentials { token, secret_id, secret_key: SecretText(claims.secret_key) };
    Ok(Begun { credentials, expired_time: at, expiration })
}

/// The permanent access key that whatever the caller begins goes back to.
fn origin(cx: &Cx<'_>) -> Origin {
    match cx.caller.session() {
        Some(session) => session.origin.clone(),
        None => Origin { account: cx.caller.account(), uin: cx.caller.uin(), secret_id: cx.caller.secret_id().clone() },
    }
}

/// Seconds that a session may last.
fn duration(asked: Option<u64>, usual: u64, longest: u64) -> Result<u64> {
    // Clients send 0 for what they leave out.
    let seconds = asked.filter(|seconds| *seconds != 0).unwrap_or(usual.min(longest));
    if (1..=longest).contains(&seconds) {
        return Ok(seconds);
    }
    let (en, zh) = (format!("must be 1 to {longest}"), format!("必须为 1 到 {longest}"));
    Err(ApiError::about(E::OverTimeError, "DurationSeconds", &en, &zh))
}

/// A session policy as it was sent: JSON, or that percent-encoded, as the API asks for. It must be one that can be stored.
fn session_policy(sent: String, checks: &Checks<'_>) -> Result<String> {
    let wrong = |invalid: Invalid| refused("Policy", &Invalid { code: E::StrategyFormatError, ..invalid });
    let document = match sent.trim_start().starts_with('{') {
        true => sent,
        false => percent_decoded(&sent).ok_or_else(|| {
            let (en, zh) = ("is neither JSON nor percent-encoded", "不是 JSON 或 urlencode 编码");
            ApiError::about(E::StrategyFormatError, "Policy", en, zh)
        })?,
    };
    Policy::parse(&document, checks).map_err(wrong)?;
    Ok(document)
}

/// Refuses a parameter that would change what is asked for, and is not served.
fn must_be_absent(name: &str, absent: bool) -> Result<()> {
    if absent { Ok(()) } else { Err(ApiError::invalid(name, "is not served", "暂不支持")) }
}

fn is_session_name(text: &str) -> bool {
    text.len() >= 2 && is_name(text, 128)
}

request! {
    /// Begins a session of a role.
    AssumeRole {
        required arn: Bounded<512> = "RoleArn", ARN;
        required name: Bounded<128> = "RoleSessionName", SESSION_NAME;
        optional duration: u64 = "DurationSeconds", DURATION;
        optional policy: Bounded<MAX_ENCODED> = "Policy", POLICY;
        optional external_id: Bounded<128> = "ExternalId", Doc("External id that the role's policy asks for.", "角色外部 ID。");
        optional tags: Vec<SessionTag> = "Tags", NOT_SERVED;
        optional source_identity: Bounded<128> = "SourceIdentity", NOT_SERVED;
        optional serial_number: Bounded<512> = "SerialNumber", NOT_SERVED;
        optional token_code: Bounded<64> = "TokenCode", NOT_SERVED;
    }
}

impl OnIdentities for AssumeRole {
    const RESOURCES: &'static [&'static str] = &["role/", "roleName/"];

    fn identities(params: &Params<'_>) -> Vec<Identity> {
        match params.get("RoleArn") {
            Some(Value::Str(arn)) => vec![Identity::RoleArn(arn.to_string())],
            _ => vec![Identity::RoleArn(String::new())],
        }
    }
}

impl Action for AssumeRole {
    const SPEC: Spec = Spec {
        name: "AssumeRole",
        access: Access::Write,
        errors: &[E::ParamError, E::OverTimeError, E::StrategyFormatError, E::RoleNotFound, E::TempKeyNotAllowed],
        doc: Doc("Begins a session of a role.", "申请扮演角色的临时访问凭证。"),
    };
    type On = Principals;
    type Response = Begun;

    async fn run(self, _: Principals, cx: &Cx<'_>) -> Result<Begun> {
        let empty = |text: &Option<Bounded<128>>| text.as_ref().is_none_or(|t| t.0.is_empty());
        must_be_absent("Tags", self.tags.is_none_or(|tags| tags.is_empty()))?;
        must_be_absent("SourceIdentity", empty(&self.source_identity))?;
        must_be_absent("SerialNumber", self.serial_number.is_none_or(|t| t.0.is_empty()))?;
        must_be_absent("TokenCode", self.token_code.is_none_or(|t| t.0.is_empty()))?;
        if !is_session_name(&self.name.0) {
            let (en, zh) = ("must be 2 to 128 of letters, digits and +=,.@_-", "须为 2 到 128 个字母、数字或 +=,.@_-");
            return Err(ApiError::about(E::ParamError, "RoleSessionName", en, zh));
        }
        let external_id = self.external_id.map(|id| id.0).filter(|id| !id.is_empty());
        if cx.caller.principal() == Principal::Federated {
            return Err(E::TempKeyNotAllowed.into());
        }
        let (number, last) = parse_arn(&self.arn.0, cx.caller.account()).ok_or_else(|| {
            let (en, zh) = ("must name a role by its six segments", "须为角色的六段式描述");
            ApiError::about(E::ParamError, "RoleArn", en, zh)
        })?;
        let own = number == cx.caller.account();
        // Whether another account has the role is told to those alone whom it trusts.
        let missing = || match own {
            true => E::RoleNotFound.into(),
            false => refusal(STS.service, Self::SPEC.name, Some(&self.arn.0), None),
        };
        let account = cx.svc.principals.of(number).await?.ok_or_else(missing)?;
        let role = role_at(&account.identities, last).ok_or_else(missing)?;
        let refused = || refusal(STS.service, Self::SPEC.name, Some(&self.arn.0), None);
        let trust = cx.svc.principals.trust(number, role).ok_or_else(refused)?;
        let session = cx.caller.session();
        let taker = Taker {
            account: cx.caller.account(),
            uin: cx.caller.uin(),
            role_name: session.map(|session| session.role_name.as_str()),
        };
        let conditions = Conditions {
            source: cx.caller.source(),
            now: cx.now,
            secure: cx.secure,
            request_tags: &[],
            external_id: external_id.as_deref(),
        };
        // The policy has been asked about the one spelling in the request; a denial may be of the other.
        if !trust.admits(&taker, &conditions) || !cx.may_take(number, role) {
            return Err(refused());
        }
        cx.note_subject(format!("role/{}", role.id));
        let longest = if role.session_duration == 0 { ROLE_SECONDS } else { role.session_duration };
        let mut expires = cx.now + duration(self.duration, ROLE_SECONDS, longest.min(MAX_ROLE_SECONDS))?;
        let mut roles = Vec::new();
        if let Some(session) = session {
            // A session outlives nothing that led to it.
            expires = expires.min(session.expires);
            roles.clone_from(&session.roles);
        }
        if roles.len() >= MAX_CHAIN {
            let (en, zh) = ("Too many roles lead to this session.", "角色扮演链过长。");
            return Err(ApiError::with_text(E::TempKeyNotAllowed, en, zh));
        }
        roles.push((number, role.id.0));
        let policy = match self.policy.map(|p| p.0).filter(|p| !p.is_empty()) {
            Some(sent) => Some(session_policy(sent, &cx.svc.principals.checks(number, true))?),
            None => None,
        };
        let session = Session {
            name: self.name.0,
            of_role: true,
            role_name: role.name.clone(),
            origin: origin(cx),
            roles,
            expires,
        };
        begin(number, Uin(role.id.0), session, policy, cx).await
    }
}

request! {
    /// Begins a session for somebody whom the caller knows.
    GetFederationToken {
        required name: Bounded<128> = "Name", Doc("Name of whoever it is for: 1 to 128 of letters, digits and +=,.@_-.", "调用方名称：1 到 128 个字母、数字或 +=,.@_-。");
        required policy: Bounded<MAX_ENCODED> = "Policy", POLICY;
        optional duration: u64 = "DurationSeconds", DURATION;
    }
}

impl Action for GetFederationToken {
    const SPEC: Spec = Spec {
        name: "GetFederationToken",
        access: Access::Write,
        errors: &[E::ParamError, E::OverTimeError, E::StrategyFormatError, E::TempKeyNotAllowed],
        doc: Doc("Begins a session for somebody whom the caller knows.", "获取联合身份临时访问凭证。"),
    };
    type On = super::Account;
    type Response = Begun;

    async fn run(self, _: super::Account, cx: &Cx<'_>) -> Result<Begun> {
        let longest = match cx.caller.principal() {
            Principal::Root => MAX_FEDERATED_ROOT,
            Principal::User => MAX_FEDERATED_USER,
            Principal::Role | Principal::Federated | Principal::Product => return Err(E::TempKeyNotAllowed.into()),
        };
        if self.name.0.len() != 1 && !is_session_name(&self.name.0) {
            let (en, zh) = ("must be 1 to 128 of letters, digits and +=,.@_-", "须为 1 到 128 个字母、数字或 +=,.@_-");
            return Err(ApiError::about(E::ParamError, "Name", en, zh));
        }
        let expires = cx.now + duration(self.duration, FEDERATED_SECONDS, longest)?;
        let account = cx.caller.account();
        let policy = session_policy(self.policy.0, &cx.svc.principals.checks(account, true))?;
        let session = Session {
            name: self.name.0,
            of_role: false,
            role_name: String::new(),
            origin: origin(cx),
            roles: Vec::new(),
            expires,
        };
        begin(account, cx.caller.uin(), session, Some(policy), cx).await
    }
}

request! {
    /// Who the caller is.
    GetCallerIdentity {}
}

answer! {
    /// Who the caller is.
    CallerIdentity {
        arn: String = "Arn", Doc("The caller as a resource.", "当前调用者 ARN。");
        account: String = "AccountId", Doc("Uin of the main account.", "所属主账号 Uin。");
        user: String = "UserId", Doc("Uin; <role id>:<session> for a role; <uin>:<name> for a federated session.", "账号 Uin；角色为 <角色 ID>:<会话名>；联合身份为 <uin>:<名称>。");
        principal: String = "PrincipalId", Doc("Uin of the principal whose permanent access key is behind it.", "密钥所属账号 Uin。");
        kind: &'static str = "Type", Doc("CAMUser or CAMRole.", "CAMUser 或 CAMRole。");
    }
}

impl Action for GetCallerIdentity {
    const SPEC: Spec = Spec {
        name: "GetCallerIdentity",
        access: Access::Read,
        errors: &[],
        doc: Doc("Tells who the caller is.", "获取当前调用者的身份信息。"),
    };
    type On = Himself;
    type Response = CallerIdentity;

    async fn run(self, _: Himself, cx: &Cx<'_>) -> Result<CallerIdentity> {
        let (account, uin) = (cx.caller.account(), cx.caller.uin());
        let principal = origin(cx).uin.to_string();
        let (arn, user, kind) = match cx.caller.session() {
            Some(s) if s.of_role => {
                (format!("qcs::sts:{account}:assumed-role/{uin}"), format!("{uin}:{}", s.name), "CAMRole")
            }
            Some(s) => (format!("qcs::sts:{account}:federated-user/{uin}"), format!("{uin}:{}", s.name), "CAMUser"),
            None => (format!("qcs::cam:{account}:uin/{uin}"), uin.to_string(), "CAMUser"),
        };
        Ok(CallerIdentity { arn, account: account.to_string(), user, principal, kind })
    }
}
