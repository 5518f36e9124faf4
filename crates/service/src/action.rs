//! What an action is, and the table of all of them.

use crate::{
    cx::Cx,
    organisations::{Acting, Name, PARAMETER},
    schema::{self, Doc, Field, Request, Response},
    values::Wire,
};
pub use jadeseal_audit::Access;
use jadeseal_auth::{
    Principal,
    params::{Params, Value},
};
use jadeseal_types::{ApiError, ErrorCode, KeyId, error::Result};
use serde::Serialize as _;
use std::{future::Future, pin::Pin};
use zeroize::Zeroize as _;

/// A product whose actions are served. Requests name it by its version alone, so products may share one as long as
/// no two of their actions share a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Api {
    /// Its name in permissions and audit records.
    pub service: &'static str,
    /// The version of its API.
    pub version: &'static str,
}

/// Key management.
pub static KMS: Api = Api { service: "kms", version: crate::KMS_VERSION };

/// Tags. Its actions are about the keys that are here.
pub static TAG: Api = Api { service: "tag", version: "2018-08-13" };

/// Principals and their policies.
pub static CAM: Api = Api { service: "cam", version: "2019-01-16" };

/// Sessions. It shares its version with tags.
pub static STS: Api = Api { service: "sts", version: "2018-08-13" };

/// The audit log.
pub static CLOUDAUDIT: Api = Api { service: "cloudaudit", version: "2019-03-19" };

/// The fixed facts of an action.
#[derive(Debug)]
pub struct Spec {
    /// Name in the API; the permission is `<service>:<name>`.
    pub name: &'static str,
    /// What it does to the world; also what its audit record says.
    pub access: Access,
    /// Errors of its own, besides the common ones.
    pub errors: &'static [ErrorCode],
    /// Short description.
    pub doc: Doc,
}

/// What an action runs on: authorised by name first, then loaded and narrowed before `run` is entered.
pub trait Target<A>: Sized + Send {
    /// True when the action is authorised on keys rather than on `*`.
    const ON_KEYS: bool;

    /// What the last segment of the resources begins with that the action is authorised on; none for `*` alone.
    const RESOURCES: &'static [&'static str] = if Self::ON_KEYS { &["key/"] } else { &[] };

    /// Resources named in the request, for the policy, before any of them is known to exist. Reads raw
    /// parameters, because the policy is asked before they are checked.
    fn named(params: &Params<'_>) -> Named;

    /// Refusals by the values of the request, before anything is looked for.
    fn early(_request: &A, _cx: &Cx<'_>) -> Result<()> {
        Ok(())
    }

    /// Loads and narrows.
    fn load(request: &A, cx: &Cx<'_>) -> impl Future<Output = Result<Self>> + Send;
}

/// Resources that a request names.
pub enum Named {
    /// The action is authorised on `*`.
    Everything,
    /// On single keys. An id that is not even well-formed is left out; the parser refuses it later.
    Keys(Vec<KeyId>),
    /// On six-segment resources as the caller wrote them.
    Resources(Vec<String>),
    /// On principals and policies of the caller's account.
    Identities(Vec<Identity>),
    /// No policy is asked: the action tells the caller about himself.
    Nothing,
}

/// A principal or a policy as a request names it. What is ill-typed or absent names none that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The caller himself.
    Caller,
    /// A user, or the main account, by Uin.
    User(u64),
    /// A user by name.
    UserNamed(String),
    /// A group.
    Group(u64),
    /// A policy.
    Policy(u64),
    /// A policy by name.
    PolicyNamed(String),
    /// A role by id.
    Role(u64),
    /// A role by name.
    RoleNamed(String),
    /// A role of any account, by its six segments.
    RoleArn(String),
}

impl Named {
    /// True when single resources would have to be named, and none are: the action is then authorised on `*`.
    pub fn is_none(&self) -> bool {
        match self {
            Named::Everything | Named::Nothing => false,
            Named::Keys(ids) => ids.is_empty(),
            Named::Resources(texts) => texts.is_empty(),
            Named::Identities(identities) => identities.is_empty(),
        }
    }

    /// The ids under a parameter that holds one id or a list of them.
    pub fn keys_in(params: &Params<'_>, name: &str) -> Named {
        Named::Keys(texts_in(params, name).filter_map(KeyId::parse).collect())
    }

    /// The texts under a parameter that holds one resource or a list of them.
    pub fn resources_in(params: &Params<'_>, name: &str) -> Named {
        Named::Resources(texts_in(params, name).map(str::to_owned).collect())
    }
}

/// The texts under a parameter that holds one or a list of them.
fn texts_in<'a>(params: &'a Params<'_>, name: &str) -> impl Iterator<Item = &'a str> {
    let values = match params.get(name) {
        Some(Value::List(items)) => items.as_slice(),
        Some(value) => std::slice::from_ref(value),
        None => &[],
    };
    values.iter().filter_map(|value| match value {
        Value::Str(text) => Some(text.as_ref()),
        _ => None,
    })
}

/// One action of the API. The request is the implementing type itself.
pub trait Action: Request + Send + Sync + 'static {
    /// Name, access, errors, description.
    const SPEC: Spec;
    /// What it runs on.
    type On: Target<Self>;
    /// What it answers.
    type Response: Response;

    /// Runs it. Everything that all actions share has been done before.
    fn run(self, on: Self::On, cx: &Cx<'_>) -> impl Future<Output = Result<Self::Response>> + Send;
}

type Boxed<'a> = Pin<Box<dyn Future<Output = Result<Members>> + Send + 'a>>;

/// An action as a row of the table.
pub struct Entry {
    /// The product that it belongs to.
    pub api: &'static Api,
    /// Its fixed facts.
    pub spec: &'static Spec,
    /// Its parameters.
    pub request: &'static [Field],
    /// The members of its answer, without `RequestId`.
    pub response: &'static [Field],
    /// See [`Target::RESOURCES`].
    pub resources: &'static [&'static str],
    /// True when it may act for a member account.
    pub for_members: bool,
    run: for<'a> fn(Params<'a>, &'a Cx<'a>) -> Boxed<'a>,
    named: fn(&Params<'_>) -> Named,
}

impl Entry {
    /// The row of an action of a product.
    pub const fn of<A: Action>(api: &'static Api) -> Self {
        Entry {
            api,
            spec: &A::SPEC,
            request: A::FIELDS,
            response: <A::Response as Response>::FIELDS,
            resources: <A::On as Target<A>>::RESOURCES,
            for_members: has_member(A::FIELDS),
            run: |params, cx| Box::pin(run::<A>(params, cx)),
            named: <A::On as Target<A>>::named,
        }
    }

    /// Finds out for whom, authorises, parses, loads, runs and serialises: the part of a request behind authentication.
    /// The result is the JSON of the answer's members, an object.
    pub async fn call(&self, mut params: Params<'_>, mut cx: Cx<'_>) -> Result<Members> {
        cx.dry_run = take_dry_run(&mut params)?;
        if let Some(product) = cx.caller.product() {
            cx.name_default_key(product, self.request, &mut params).await?;
        }
        // Before the policy is asked, for it is asked about the resources of the account that is acted for.
        if self.for_members
            && let Some(name) = Name::peek(&params)
        {
            cx.act_for(name).await?;
        }
        cx.note_request_tags(&params);
        cx.named = (self.named)(&params);
        // A permanent access key or a policy would outlive the session and what narrows it.
        if cx.caller.principal() == Principal::Federated && *self.api == CAM && !matches!(cx.named, Named::Nothing) {
            return Err(ErrorCode::TempKeyNotAllowed.into());
        }
        if let Named::Keys(ids) = &cx.named {
            ids.iter().for_each(|id| cx.note(*id));
        }
        cx.authorise().await?;
        // Not earlier: who is behind an AppId, and what he is shown as his events, is nothing to whom no policy lets act for him.
        if let Acting::For(admitted) = &cx.acting {
            cx.note_targets(vec![admitted.row.account]);
        }
        if cx.dry_run {
            let refused = matches!(cx.acting, Acting::Refused);
            return Err(if refused { ErrorCode::NotRoleOperation } else { ErrorCode::DryRunOperation }.into());
        }
        (self.run)(params, &cx).await
    }
}

/// What any action can be asked instead of being done: whether the caller may do it. A parameter, so that it is signed like the
/// others, whatever carries the request.
const DRY_RUN: &str = "DryRun";

/// Takes the parameter out, before the action's own are looked at.
fn take_dry_run(params: &mut Params<'_>) -> Result<bool> {
    match params.take(DRY_RUN) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(dry)) => Ok(dry),
        Some(Value::Str(text)) if params.is_form() && schema::boolean(&text).is_some() => {
            Ok(schema::boolean(&text).unwrap_or_default())
        }
        Some(_) => Err(ApiError::invalid(DRY_RUN, "must be of type bool", "类型必须为 bool")),
    }
}

const fn has_member(fields: &[Field]) -> bool {
    let mut i = 0;
    while i < fields.len() {
        if is(fields[i].name.as_bytes(), PARAMETER.as_bytes()) {
            return true;
        }
        i += 1;
    }
    false
}

const fn is(a: &[u8], b: &[u8]) -> bool {
    let mut i = 0;
    while i < a.len() && i < b.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len() && i == b.len()
}

async fn run<A: Action>(params: Params<'_>, cx: &Cx<'_>) -> Result<Members> {
    let request = A::parse(params)?;
    A::On::early(&request, cx)?;
    if matches!(cx.acting, Acting::Refused) {
        return Err(ErrorCode::NotRoleOperation.into());
    }
    let on = A::On::load(&request, cx).await?;
    let response = request.run(on, cx).await?;
    let mut out = Members(Vec::with_capacity(768));
    out.0.extend_from_slice(ENVELOPE);
    response.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Wire)).map_err(ApiError::internal)?;
    // The pipeline closes the envelope; what it appends must not move the bytes either.
    out.reserve(128);
    Ok(out)
}

/// The beginning of an answer, up to the end of its members. It may hold a plaintext, so it wipes what it
/// leaves behind when it grows, and itself.
pub struct Members(Vec<u8>);

impl Members {
    /// Closes the envelope behind the members.
    pub fn close(mut self, request_id: &str) -> Self {
        self.0.pop();
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.0.extend_from_slice(b"\"RequestId\":\"");
        self.0.extend_from_slice(request_id.as_bytes());
        self.0.extend_from_slice(b"\"}}");
        self
    }

    /// The bytes so far; after [`Members::close`], the whole answer.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn reserve(&mut self, more: usize) {
        if self.0.capacity() - self.0.len() < more {
            let mut larger = Vec::with_capacity((2 * self.0.capacity()).max(self.0.len() + more));
            larger.extend_from_slice(&self.0);
            self.0.zeroize();
            self.0 = larger;
        }
    }
}

impl From<Vec<u8>> for Members {
    fn from(whole: Vec<u8>) -> Self {
        Members(whole)
    }
}

impl AsRef<[u8]> for Members {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::io::Write for Members {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.reserve(bytes.len());
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What every answer begins with.
const ENVELOPE: &[u8] = b"{\"Response\":";

/// Declares the table of a family's actions: `family![A, B]` of the key management service, `family![in API; A, B]` of
/// another product.
macro_rules! family {
    (in $api:expr; $($action:ty),+ $(,)?) => {
        pub(crate) static FAMILY: &[crate::action::Entry] = &[$(crate::action::Entry::of::<$action>(&$api)),+];
    };
    ($($action:ty),+ $(,)?) => {
        crate::action::family![in crate::action::KMS; $($action),+];
    };
}
pub(crate) use family;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn of(members: &str) -> String {
        let mut out = Members(Vec::new());
        out.write_all(ENVELOPE).unwrap();
        out.write_all(members.as_bytes()).unwrap();
        String::from_utf8(out.close("id").bytes().to_vec()).unwrap()
    }

    #[test]
    fn the_request_id_is_the_last_member() {
        assert_eq!(of("{}"), r#"{"Response":{"RequestId":"id"}}"#);
        assert_eq!(of(r#"{"KeyId":"k"}"#), r#"{"Response":{"KeyId":"k","RequestId":"id"}}"#);
        let long = format!(r#"{{"A":"{}"}}"#, "x".repeat(5000));
        assert!(of(&long).ends_with(r#"x","RequestId":"id"}}"#), "growing keeps every byte");
    }
}
