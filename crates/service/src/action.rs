//! What an action is, and the table of all of them.

use crate::{
    cx::Cx,
    schema::{Doc, Field, Request, Response},
};
pub use jadeseal_audit::Access;
use jadeseal_auth::params::{Params, Value};
use jadeseal_types::{ApiError, ErrorCode, KeyId, error::Result};
use std::{future::Future, pin::Pin};
use zeroize::Zeroize as _;

/// The fixed facts of an action.
#[derive(Debug)]
pub struct Spec {
    /// Name in the API; the permission is `kms:<name>`.
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

    /// Resources named in the request, for the policy, before any of them is known to exist. Reads raw
    /// parameters, because the policy is asked before they are checked.
    fn named(params: &Params<'_>) -> Named;

    /// Loads and narrows.
    fn load(request: &A, cx: &Cx<'_>) -> impl Future<Output = Result<Self>> + Send;
}

/// Resources that a request names.
pub enum Named {
    /// The action is authorised on `*`.
    Everything,
    /// On single keys. An id that is not even well-formed is left out; the parser refuses it later.
    Keys(Vec<KeyId>),
}

impl Named {
    /// The ids under a parameter that holds one id or a list of them.
    pub fn keys_in(params: &Params<'_>, name: &str) -> Named {
        let one = |v: &Value<'_>| match v {
            Value::Str(s) => KeyId::parse(s),
            _ => None,
        };
        Named::Keys(match params.get(name) {
            Some(Value::List(items)) => items.iter().filter_map(one).collect(),
            Some(value) => one(value).into_iter().collect(),
            None => Vec::new(),
        })
    }
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

type Boxed<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>>> + Send + 'a>>;

/// An action as a row of the table.
pub struct Entry {
    /// Its fixed facts.
    pub spec: &'static Spec,
    /// Its parameters.
    pub request: &'static [Field],
    /// The members of its answer, without `RequestId`.
    pub response: &'static [Field],
    /// True when it is authorised on keys rather than on `*`.
    pub on_keys: bool,
    run: for<'a> fn(Params<'a>, &'a Cx<'a>) -> Boxed<'a>,
    named: fn(&Params<'_>) -> Named,
}

impl Entry {
    /// The row of an action.
    pub const fn of<A: Action>() -> Self {
        Entry {
            spec: &A::SPEC,
            request: A::FIELDS,
            response: <A::Response as Response>::FIELDS,
            on_keys: <A::On as Target<A>>::ON_KEYS,
            run: |params, cx| Box::pin(run::<A>(params, cx)),
            named: <A::On as Target<A>>::named,
        }
    }

    /// Authorises, parses, loads, runs and serialises: the part of a request behind authentication.
    /// The result is the JSON of the answer's members, an object.
    pub async fn call<'a>(&self, params: Params<'a>, cx: &'a Cx<'a>) -> Result<Vec<u8>> {
        match (self.named)(&params) {
            Named::Everything => cx.authorise(None)?,
            Named::Keys(ids) => {
                for id in &ids {
                    cx.note(*id);
                    cx.authorise(Some(*id))?;
                }
                if ids.is_empty() {
                    cx.authorise(None)?;
                }
            }
        }
        (self.run)(params, cx).await
    }
}

async fn run<A: Action>(params: Params<'_>, cx: &Cx<'_>) -> Result<Vec<u8>> {
    let request = A::parse(params)?;
    let on = A::On::load(&request, cx).await?;
    let response = request.run(on, cx).await?;
    let mut out = Wiping(Vec::with_capacity(512));
    out.0.extend_from_slice(ENVELOPE);
    serde_json::to_writer(&mut out, &response).map_err(ApiError::internal)?;
    // The pipeline closes the envelope; what it appends must not move the bytes either.
    out.reserve(128);
    Ok(out.0)
}

/// A buffer that wipes what it leaves behind when it grows: an answer may hold a plaintext.
struct Wiping(Vec<u8>);

impl Wiping {
    fn reserve(&mut self, more: usize) {
        if self.0.capacity() - self.0.len() < more {
            let mut larger = Vec::with_capacity((2 * self.0.capacity()).max(self.0.len() + more));
            larger.extend_from_slice(&self.0);
            self.0.zeroize();
            self.0 = larger;
        }
    }
}

impl std::io::Write for Wiping {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.reserve(bytes.len());
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What every answer begins with; the pipeline closes it behind the members.
pub const ENVELOPE: &[u8] = b"{\"Response\":";

/// Declares the table of a family's actions.
macro_rules! family {
    ($($action:ty),+ $(,)?) => {
        pub(crate) const FAMILY: &[crate::action::Entry] = &[$(crate::action::Entry::of::<$action>()),+];
    };
}
pub(crate) use family;
