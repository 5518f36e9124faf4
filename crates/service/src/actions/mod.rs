//! The actions, one file per family, and what they run on.

pub(crate) mod crypto;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod lifecycle;
pub(crate) mod listing;
pub(crate) mod metadata;
pub(crate) mod resources;
pub(crate) mod rotation;

use crate::{
    action::{Entry, Named, Target},
    cx::Cx,
    keys::KeyEntry,
    lifecycle::{Use, allow},
    schema::object,
};
use jadeseal_auth::params::Params;
use jadeseal_types::{ErrorCode, KeyId, error::Result};
use std::{marker::PhantomData, sync::Arc};

/// Every family of actions. What runs is what stands here.
pub const FAMILIES: &[&[Entry]] = &[
    lifecycle::FAMILY,
    listing::FAMILY,
    rotation::FAMILY,
    crypto::FAMILY,
    import::FAMILY,
    resources::FAMILY,
    info::FAMILY,
];

object! {
    /// The member account of an organisation that an administrator acts for.
    MemberAccount as "MemberAccount" {
        optional _app_id: u64 = "MemberAppId", crate::docs::MEMBER;
        optional _uin: u64 = "MemberUin", crate::docs::MEMBER;
    }
}

/// Refuses to act for another account: no organisation is configured (decision 29).
pub(crate) fn own_account_only<T>(member: &Option<T>) -> Result<()> {
    if member.is_some() { Err(ErrorCode::NotRoleOperation.into()) } else { Ok(()) }
}

/// An action that runs on no key of the caller's choice, authorised on `*`.
pub struct Account;

impl<A: Sync> Target<A> for Account {
    const ON_KEYS: bool = false;

    fn named(_: &Params<'_>) -> Named {
        Named::Everything
    }

    async fn load(_: &A, _: &Cx<'_>) -> Result<Self> {
        Ok(Account)
    }
}

/// A request that names one CMK.
pub trait OnKey {
    /// The parameter that names it.
    const PARAMETER: &'static str = "KeyId";
    /// The key.
    fn key_id(&self) -> KeyId;
    /// Refusals that come before the key is looked for: values (`now` in Unix seconds is for those that are
    /// times) and the member account.
    fn early(&self, _now: u64) -> Result<()> {
        Ok(())
    }
}

/// What a loaded key must satisfy before an action sees it.
pub trait Demand: Send {
    /// Refuses a key that does not.
    fn check(entry: &KeyEntry, now: u64) -> Result<(), ErrorCode>;
}

/// No demand: any state.
pub struct Known;
/// Can make ciphertext.
pub struct Encrypting;
/// Can make data keys.
pub struct MakingDataKeys;

impl Demand for Known {
    fn check(_: &KeyEntry, _: u64) -> Result<(), ErrorCode> {
        Ok(())
    }
}

impl Demand for Encrypting {
    fn check(entry: &KeyEntry, now: u64) -> Result<(), ErrorCode> {
        allow(&entry.row, Use::Encrypt, now)
    }
}

impl Demand for MakingDataKeys {
    fn check(entry: &KeyEntry, now: u64) -> Result<(), ErrorCode> {
        allow(&entry.row, Use::MakeDataKey, now)
    }
}

/// A CMK of the caller's scope that satisfies a demand.
pub struct Cmk<D> {
    pub entry: Arc<KeyEntry>,
    demand: PhantomData<D>,
}

impl<A: OnKey + Sync, D: Demand> Target<A> for Cmk<D> {
    const ON_KEYS: bool = true;

    fn named(params: &Params<'_>) -> Named {
        Named::keys_in(params, A::PARAMETER)
    }

    async fn load(request: &A, cx: &Cx<'_>) -> Result<Self> {
        request.early(cx.now)?;
        let entry = cx.svc.keys.get(&cx.scope, request.key_id()).await?;
        D::check(&entry, cx.now)?;
        Ok(Cmk { entry, demand: PhantomData })
    }
}

/// Implements [`OnKey`] for requests with a `key_id`, and optionally a `member` account.
macro_rules! on_key {
    ($($request:ty $(: $member:ident)?),+ $(,)?) => { $(
        impl crate::actions::OnKey for $request {
            fn key_id(&self) -> jadeseal_types::KeyId {
                self.key_id
            }

            $(fn early(&self, _: u64) -> jadeseal_types::error::Result<()> {
                crate::actions::own_account_only(&self.$member)
            })?
        }
    )+ };
}
pub(crate) use on_key;

crate::schema::answer! {
    /// An answer with no member of its own.
    Empty {}
}
