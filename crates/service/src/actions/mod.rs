//! The actions, one file per family, and what they run on.

pub(crate) mod asymmetric;
pub(crate) mod cam;
pub(crate) mod cloudaudit;
pub(crate) mod crypto;
pub(crate) mod datakey_import;
pub(crate) mod datakeys;
pub(crate) mod import;
pub(crate) mod info;
pub(crate) mod lifecycle;
pub(crate) mod listing;
pub(crate) mod metadata;
pub(crate) mod postquantum;
pub(crate) mod recipient;
pub(crate) mod resources;
mod role_tags;
pub(crate) mod rotation;
pub(crate) mod sts;
pub(crate) mod tags;

use crate::{
    action::{Entry, Identity, Named, Target},
    cx::Cx,
    keys::KeyEntry,
    lifecycle::{Use, allow},
    schema::object,
};
use jadeseal_auth::params::Params;
use jadeseal_crypto::PrivateKey;
use jadeseal_types::{ApiError, ErrorCode, KeyId, KeyUsage, error::Result};
use std::{marker::PhantomData, sync::Arc};

/// Every family of actions. What runs is what stands here.
pub static FAMILIES: &[&[Entry]] = &[
    lifecycle::FAMILY,
    listing::FAMILY,
    rotation::FAMILY,
    crypto::FAMILY,
    datakeys::FAMILY,
    datakey_import::FAMILY,
    asymmetric::FAMILY,
    postquantum::FAMILY,
    import::FAMILY,
    resources::FAMILY,
    info::FAMILY,
    tags::FAMILY,
    cam::users::FAMILY,
    cam::access_keys::FAMILY,
    cam::groups::FAMILY,
    cam::policies::FAMILY,
    cam::attachments::FAMILY,
    cam::roles::FAMILY,
    sts::FAMILY,
    cloudaudit::FAMILY,
];

object! {
    /// The member account of an organisation that an administrator acts for. Where a request names one, the pipeline
    /// has moved into its scope before the action sees it (`Entry::call`).
    MemberAccount as "MemberAccount" {
        optional app_id: u64 = "MemberAppId", crate::docs::MEMBER;
        optional uin: u64 = "MemberUin", crate::docs::MEMBER;
    }
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

/// An action that is authorised on principals and policies.
pub struct Principals;

/// A request that names principals or policies.
pub trait OnIdentities {
    /// See [`Target::RESOURCES`].
    const RESOURCES: &'static [&'static str];
    /// What it names, read from raw parameters.
    fn identities(params: &Params<'_>) -> Vec<Identity>;
}

impl<A: OnIdentities + Sync> Target<A> for Principals {
    const ON_KEYS: bool = false;
    const RESOURCES: &'static [&'static str] = A::RESOURCES;

    fn named(params: &Params<'_>) -> Named {
        Named::Identities(A::identities(params))
    }

    async fn load(_: &A, _: &Cx<'_>) -> Result<Self> {
        Ok(Principals)
    }
}

/// An action that tells the caller about himself, for which no policy is asked.
pub struct Himself;

impl<A: Sync> Target<A> for Himself {
    const ON_KEYS: bool = false;

    fn named(_: &Params<'_>) -> Named {
        Named::Nothing
    }

    async fn load(_: &A, _: &Cx<'_>) -> Result<Self> {
        Ok(Himself)
    }
}

/// A request that names one CMK.
pub trait OnKey {
    /// The parameter that names it.
    const PARAMETER: &'static str = "KeyId";
    /// The key.
    fn key_id(&self) -> KeyId;
    /// Refusals that come before the key is looked for: values, and what the region does not offer.
    fn early(&self, _cx: &Cx<'_>) -> Result<()> {
        Ok(())
    }
    /// The refusal when there is no such key.
    fn missing(_cx: &Cx<'_>) -> ErrorCode {
        ErrorCode::CmkNotFound
    }
}

/// What a loaded key must satisfy before an action sees it.
pub trait Demand: Send {
    /// Refuses a key that does not.
    fn check(entry: &KeyEntry, cx: &Cx<'_>) -> Result<()>;
}

/// No demand: any state.
pub struct Known;

impl Demand for Known {
    fn check(_: &KeyEntry, _: &Cx<'_>) -> Result<()> {
        Ok(())
    }
}

/// Any state, but not a key that the region has ceased to permit: for what gives a key new material.
pub struct Permitted;

impl Demand for Permitted {
    fn check(entry: &KeyEntry, cx: &Cx<'_>) -> Result<()> {
        permitted(entry, cx)
    }
}

/// Declares demands: what the key is to be used for.
macro_rules! demands {
    ($($(#[$doc:meta])* $name:ident = $purpose:expr;)+) => { $(
        $(#[$doc])*
        pub struct $name;

        impl Demand for $name {
            fn check(entry: &KeyEntry, cx: &Cx<'_>) -> Result<()> {
                usable(entry, $purpose, cx)
            }
        }
    )+ };
}

demands! {
    /// Can make ciphertext.
    Encrypting = Use::Encrypt;
    /// Can make data keys.
    MakingDataKeys = Use::MakeDataKey;
    /// Has a public key to show.
    ShowingPublicKey = Use::ShowPublicKey;
    /// Can decrypt with RSA.
    DecryptingRsa = Use::DecryptRsa;
    /// Can decrypt with SM2.
    DecryptingSm2 = Use::DecryptSm2;
    /// Can sign.
    Signing = Use::Sign;
    /// Can verify.
    Verifying = Use::Verify;
    /// Can make post-quantum ciphertext.
    EncryptingPostQuantum = Use::EncryptPostQuantum;
    /// Can make post-quantum signatures.
    SigningPostQuantum = Use::SignPostQuantum;
    /// Can verify post-quantum signatures.
    VerifyingPostQuantum = Use::VerifyPostQuantum;
}

/// Refuses a key that its usage, its state or the region does not let be used.
pub(crate) fn usable(entry: &KeyEntry, purpose: Use, cx: &Cx<'_>) -> Result<()> {
    allow(&entry.row, purpose, cx.now)?;
    permitted(entry, cx)
}

/// Refuses a key that was made before its region became strict.
fn permitted(entry: &KeyEntry, cx: &Cx<'_>) -> Result<()> {
    let permits = cx.region.profile.permits(entry.row.usage, entry.row.suite);
    if permits { Ok(()) } else { Err(ErrorCode::UnsupportedKeyUsageInCurrentRegion.into()) }
}

/// A CMK of the request's scope that satisfies a demand.
pub struct Cmk<D> {
    pub entry: Arc<KeyEntry>,
    demand: PhantomData<D>,
}

/// Computes something with the private key of an asymmetric CMK, on a thread for such work. The key and the caller's rights are
/// checked when the call arrives and once more when its turn comes: after DisableKey or a change of a policy has returned,
/// nothing begins with the key that it does not allow.
pub(crate) async fn compute<T: Send + 'static>(
    mut entry: Arc<KeyEntry>,
    version: u32,
    check: impl Fn(&KeyEntry) -> Result<()>,
    cx: &Cx<'_>,
    work: impl Fn(&PrivateKey) -> T + Send + Sync + 'static,
) -> Result<T> {
    let work = Arc::new(work);
    let mut caller_now = cx.known.clone();
    for _ in 0..MAX_TRIES {
        let key_id = entry.row.key_id;
        let key = cx.svc.keys.asymmetric(&cx.scope, &entry, version).await?;
        let key = key.ok_or_else(|| ApiError::internal(format!("key {key_id} lacks version {version}")))?;
        if is_quick(key.usage()) {
            return Ok(work(&key));
        }
        let (at_its_turn, work, caller) = (entry.clone(), work.clone(), caller_now.clone());
        let is_so = move || !at_its_turn.is_replaced() && caller.is_current();
        let done = cx.svc.workers.run(move || is_so().then(|| work(&key))).await?;
        if let Some(done) = done {
            return Ok(done);
        }
        caller_now = cx.authorise_anew().await?;
        entry = cx.get_key(key_id).await?;
        check(&entry)?;
    }
    Err(ApiError::internal(format!("key {} kept changing", entry.row.key_id)))
}

/// Whether what a key is for takes about as long as the rest of a request. P-256 signs in 16 µs and verifies in 50,
/// ML-KEM takes 20 to 25; handing a computation over to another thread and back costs the processor 10 to 20. Done at
/// once, a request to sign took 35 µs in all instead of 50, one to verify 77 instead of 97. And it does not stand in
/// line behind RSA.
fn is_quick(usage: KeyUsage) -> bool {
    matches!(usage, KeyUsage::SignP256 | KeyUsage::DecryptKyber)
}

/// Each try waits for its turn, in which a key hardly changes once.
const MAX_TRIES: usize = 16;

impl<D> Cmk<D> {
    /// The private key of an asymmetric CMK.
    async fn private_key(&self, cx: &Cx<'_>) -> Result<Arc<PrivateKey>> {
        let (key_id, version) = (self.entry.row.key_id, self.entry.row.current_version);
        let key = cx.svc.keys.asymmetric(&cx.scope, &self.entry, version).await?;
        key.ok_or_else(|| ApiError::internal(format!("key {key_id} lacks version {version}")))
    }
}

impl<D: Demand> Cmk<D> {
    /// See [`compute`].
    async fn compute<T: Send + 'static>(
        &self,
        cx: &Cx<'_>,
        work: impl Fn(&PrivateKey) -> T + Send + Sync + 'static,
    ) -> Result<T> {
        compute(self.entry.clone(), self.entry.row.current_version, |entry| D::check(entry, cx), cx, work).await
    }
}

impl<A: OnKey + Sync, D: Demand> Target<A> for Cmk<D> {
    const ON_KEYS: bool = true;

    fn named(params: &Params<'_>) -> Named {
        Named::keys_in(params, A::PARAMETER)
    }

    fn early(request: &A, cx: &Cx<'_>) -> Result<()> {
        request.early(cx)
    }

    async fn load(request: &A, cx: &Cx<'_>) -> Result<Self> {
        let entry = cx.find_key(request.key_id()).await?.ok_or_else(|| A::missing(cx))?;
        D::check(&entry, cx)?;
        Ok(Cmk { entry, demand: PhantomData })
    }
}

/// Implements [`OnKey`] for requests with a `key_id`.
macro_rules! on_key {
    ($($request:ty),+ $(,)?) => { $(
        impl crate::actions::OnKey for $request {
            fn key_id(&self) -> jadeseal_types::KeyId {
                self.key_id
            }
        }
    )+ };
}
pub(crate) use on_key;

crate::schema::answer! {
    /// An answer with no member of its own.
    Empty {}
}
