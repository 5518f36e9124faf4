//! Who is asking, and whether he may.

use crate::{
    policy::{ActionId, Binding, By, Conditions, Decision, PolicySet, Resource},
    signature::{SigningSecret, Verified},
};
use jadeseal_types::{AccountId, Alias, ApiError, AppId, ErrorCode, SecretId, Uin};
use std::{fmt, net::IpAddr, sync::Arc};

/// The kinds of principals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// The main account itself.
    Root,
    /// A sub-user of it.
    User,
    /// A cloud product that acts for it.
    Product,
    /// A session of a role.
    Role,
    /// A session that a user or the main account made for somebody whom it knows by a name.
    Federated,
}

impl Principal {
    /// As it stands in audit records.
    pub const fn wire(self) -> &'static str {
        match self {
            Principal::Root => "root",
            Principal::User => "user",
            Principal::Product => "product",
            Principal::Role => "role",
            Principal::Federated => "federated",
        }
    }
}

/// What makes a credential temporary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The name that whoever asked for the session gave it.
    pub name: String,
    /// True for a session of a role, false for a federated one.
    pub of_role: bool,
    /// Name of the role, for one of a role.
    pub role_name: String,
    /// The access key that it goes back to: it ends with it.
    pub origin: Origin,
    /// The roles that led to it, the newest last; the role of the session itself among them. It ends with each of them.
    pub roles: Vec<(AccountId, u64)>,
    /// When it ends, Unix seconds.
    pub expires: u64,
}

/// A permanent access key as the beginning of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its account.
    pub account: AccountId,
    /// Its principal.
    pub uin: Uin,
    /// Its public half.
    pub secret_id: SecretId,
}

/// What is known of an access key that may be used.
pub struct Credential {
    /// The main account that it belongs to.
    pub account: AccountId,
    /// Its second number.
    pub app_id: AppId,
    /// The principal: equal to the account's number for the main account itself, for a session of a role the number of the
    /// role.
    pub uin: Uin,
    /// The cloud product that signs with it, acting for the account.
    pub product: Option<Alias>,
    /// What makes it temporary.
    pub session: Option<Session>,
    /// The public half.
    pub secret_id: SecretId,
    /// The secret half.
    pub secret: SigningSecret,
    /// What its principal may do.
    pub authority: Authority,
}

/// What a principal may do: all of what its kind or its policies allow, as far as a session policy does not narrow it.
#[derive(Debug)]
pub struct Authority {
    base: Base,
    within: Option<PolicySet>,
}

#[derive(Debug)]
enum Base {
    Everything,
    Product,
    Policies(Arc<PolicySet>),
    Nothing,
}

impl Authority {
    /// That of the main account.
    pub fn everything() -> Self {
        Authority { base: Base::Everything, within: None }
    }

    /// That of a cloud product: [`PRODUCT_ACTIONS`]. On which keys, the service says.
    pub fn of_product() -> Self {
        Authority { base: Base::Product, within: None }
    }

    /// That of a principal with policies.
    pub fn of_policies(set: Arc<PolicySet>) -> Self {
        Authority { base: Base::Policies(set), within: None }
    }

    /// None at all: that of a principal whose policies cannot be read, since the one that denies may be among them.
    pub fn nothing() -> Self {
        Authority { base: Base::Nothing, within: None }
    }

    /// No more than a session policy allows, too.
    pub fn within(self, session: PolicySet) -> Self {
        Authority { within: Some(session), ..self }
    }

    /// True when everything is allowed, whatever a request is about: nothing needs to be found out for a decision.
    pub fn is_unlimited(&self) -> bool {
        matches!((&self.base, &self.within), (Base::Everything, None))
    }

    /// Decides about an action, which is given by its number and by the names of its service and itself.
    pub fn decide(
        &self,
        action: ActionId,
        (service, name): (&str, &str),
        resource: &Resource<'_>,
        conditions: &Conditions<'_>,
    ) -> Outcome {
        let base = match &self.base {
            Base::Everything => Outcome::Allowed(None),
            Base::Product if service == "kms" && PRODUCT_ACTIONS.binary_search(&name).is_ok() => Outcome::Allowed(None),
            Base::Product | Base::Nothing => Outcome::NotAllowed(Layer::Principal),
            Base::Policies(set) => Outcome::of(set.evaluate(action, resource, conditions), Layer::Principal),
        };
        let Some(within) = &self.within else { return base };
        let session = Outcome::of(within.evaluate(action, resource, conditions), Layer::Session);
        // Whichever says no says it for both; what depends is asked again.
        match (base, session) {
            (no @ Outcome::Denied(_), _) | (_, no @ Outcome::Denied(_)) => no,
            (no @ Outcome::NotAllowed(_), _) | (_, no @ Outcome::NotAllowed(_)) => no,
            (Outcome::Depends, _) | (_, Outcome::Depends) => Outcome::Depends,
            (Outcome::Allowed(_), yes @ Outcome::Allowed(_)) => yes,
        }
    }
}

/// Which policies did not allow something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Those of the principal.
    Principal,
    /// That of the session.
    Session,
}

/// What [`Authority::decide`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Allowed, by a statement or because of what the principal is.
    Allowed(Option<By>),
    /// Nothing allows it.
    NotAllowed(Layer),
    /// A statement denies it.
    Denied(By),
    /// See [`Decision::Depends`].
    Depends,
}

impl Outcome {
    fn of(decision: Decision, layer: Layer) -> Self {
        match decision {
            Decision::Allowed(by) => Outcome::Allowed(Some(by)),
            Decision::NotAllowed => Outcome::NotAllowed(layer),
            Decision::Denied(by) => Outcome::Denied(by),
            Decision::Depends => Outcome::Depends,
        }
    }
}

/// For people who ask why.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Allowed(None) => f.write_str("allowed: the principal needs no policy for it"),
            Outcome::Allowed(Some(by)) => write!(f, "allowed by statement {} of policy {}", by.statement, by.policy),
            Outcome::NotAllowed(Layer::Principal) => f.write_str("no policy of the principal allows it"),
            Outcome::NotAllowed(Layer::Session) => f.write_str("the session policy does not allow it"),
            Outcome::Denied(by) => write!(f, "denied by statement {} of policy {}", by.statement, by.policy),
            Outcome::Depends => f.write_str("it depends on the key's creator and tags"),
        }
    }
}

/// An authenticated principal. Only this crate makes one.
#[derive(Clone)]
pub struct Caller {
    credential: Arc<Credential>,
    principal: Principal,
    source: Option<IpAddr>,
}

impl Caller {
    /// The principal behind a verified request. `InternalError` when the request was verified with another access key's
    /// secret.
    pub fn authenticated(
        verified: &Verified,
        credential: &Arc<Credential>,
        source: Option<IpAddr>,
    ) -> Result<Self, ApiError> {
        if verified.secret != credential.secret.id() {
            return Err(ApiError::internal("a signature was paired with an access key that did not make it"));
        }
        let principal = match (&credential.product, &credential.session) {
            (Some(_), None) => Principal::Product,
            (None, Some(session)) if session.of_role => Principal::Role,
            (None, Some(_)) => Principal::Federated,
            (None, None) if credential.uin.0 == credential.account.0 => Principal::Root,
            (None, None) => Principal::User,
            (Some(_), Some(_)) => return Err(ApiError::internal("a cloud product has no sessions")),
        };
        let is_main = credential.uin.0 == credential.account.0;
        let fits = match (&credential.authority.base, &credential.authority.within) {
            (Base::Everything, None) => principal == Principal::Root,
            (Base::Everything, Some(_)) => principal == Principal::Federated && is_main,
            (Base::Product, None) => principal == Principal::Product,
            (Base::Product, Some(_)) => false,
            // A federated session always has a policy of its own.
            (Base::Policies(set), within) => {
                let own = |set: &PolicySet| {
                    let Binding { uin, account, .. } = *set.binding();
                    uin == credential.uin && account == credential.account
                };
                own(set)
                    && within.as_ref().is_none_or(own)
                    && match principal {
                        Principal::User => within.is_none(),
                        Principal::Federated => within.is_some() && !is_main,
                        Principal::Role => true,
                        Principal::Root | Principal::Product => false,
                    }
            }
            (Base::Nothing, _) => true,
        };
        if !fits {
            return Err(ApiError::internal("an access key has an authority that is not its principal's"));
        }
        Ok(Caller { credential: credential.clone(), principal, source })
    }

    /// The tenant.
    pub fn account(&self) -> AccountId {
        self.credential.account
    }

    /// The tenant's second number.
    pub fn app_id(&self) -> AppId {
        self.credential.app_id
    }

    /// The principal's number.
    pub fn uin(&self) -> Uin {
        self.credential.uin
    }

    /// Its kind.
    pub fn principal(&self) -> Principal {
        self.principal
    }

    /// The cloud product that acts for the account, where it is one.
    pub fn product(&self) -> Option<&Alias> {
        self.credential.product.as_ref()
    }

    /// The session, for a temporary access key.
    pub fn session(&self) -> Option<&Session> {
        self.credential.session.as_ref()
    }

    /// The access key used.
    pub fn secret_id(&self) -> &SecretId {
        &self.credential.secret_id
    }

    /// What he may do.
    pub fn authority(&self) -> &Authority {
        &self.credential.authority
    }

    /// Address of the peer, if there is one.
    pub fn source(&self) -> Option<IpAddr> {
        self.source
    }
}

/// What a cloud product's service role allows. On which keys, their owners and bindings say: that is the service's to
/// check when it has loaded one. No import of key material, and no other service.
pub const PRODUCT_ACTIONS: &[&str] = &[
    "ArchiveKey",
    "AsymmetricRsaDecrypt",
    "AsymmetricSm2Decrypt",
    "BindCloudResource",
    "CancelDataKeyDeletion",
    "CancelKeyArchive",
    "CancelKeyDeletion",
    "CreateKey",
    "Decrypt",
    "DescribeDataKey",
    "DescribeDataKeys",
    "DescribeKey",
    "DescribeKeys",
    "DisableDataKey",
    "DisableDataKeys",
    "DisableKey",
    "DisableKeyRotation",
    "DisableKeys",
    "EnableDataKey",
    "EnableDataKeys",
    "EnableKey",
    "EnableKeyRotation",
    "EnableKeys",
    "Encrypt",
    "GenerateDataKey",
    "GenerateRandom",
    "GetDataKeyCiphertextBlob",
    "GetDataKeyPlaintext",
    "GetKeyRotationStatus",
    "GetPublicKey",
    "GetRegions",
    "GetServiceStatus",
    "ImportDataKey",
    "ListAlgorithms",
    "ListDataKeyDetail",
    "ListDataKeys",
    "ListKeyDetail",
    "ListKeys",
    "PostQuantumCryptoDecrypt",
    "PostQuantumCryptoEncrypt",
    "PostQuantumCryptoSign",
    "PostQuantumCryptoVerify",
    "ReEncrypt",
    "RotateKey",
    "ScheduleDataKeyDeletion",
    "ScheduleKeyDeletion",
    "SignByAsymmetricKey",
    "UnbindCloudResource",
    "UpdateAlias",
    "UpdateDataKeyDescription",
    "UpdateDataKeyName",
    "UpdateKeyDescription",
    "VerifyByAsymmetricKey",
];

/// The refusal of a call of an action of a service on a resource, where one can be told. `why` goes behind it.
pub fn refusal(service: &str, action: &str, resource: Option<&str>, why: Option<&Outcome>) -> ApiError {
    let on = resource.map(|r| format!("\n{r}")).unwrap_or_default();
    let why = why.map(|w| format!(" {w}.")).unwrap_or_default();
    ApiError::with_text(
        ErrorCode::UnauthorizedOperation,
        format!(
            "You are not authorised to perform this operation; check your CAM policies. [({service}:{action}){on}]{why}"
        ),
        format!("您没有执行该操作的权限，请检查 CAM 策略。[({service}:{action}){on}]{why}"),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use jadeseal_types::{Lang, SecretBytes};

    fn credential(uin: u64, authority: Authority) -> Credential {
        Credential {
            account: AccountId(100),
            app_id: AppId(125),
            uin: Uin(uin),
            product: None,
            session: None,
            secret_id: SecretId::parse("AKIDx").unwrap(),
            secret: SigningSecret::new(SecretBytes::copy_from(b"k")),
            authority,
        }
    }

    fn verified(credential: &Credential) -> Verified {
        let secret = credential.secret.id();
        Verified { target_is_signed: true, payload_is_signed: true, signature: [0; 32], timestamp: 0, secret }
    }

    fn caller(credential: Credential, source: Option<IpAddr>) -> Result<Caller, ApiError> {
        Caller::authenticated(&verified(&credential), &Arc::new(credential), source)
    }

    /// The main user of an account.
    pub(crate) fn root(account: u64) -> Caller {
        let key = Credential { account: AccountId(account), ..credential(account, Authority::everything()) };
        caller(key, None).unwrap()
    }

    /// A cloud product that acts for an account.
    pub(crate) fn product(account: u64) -> Caller {
        let product = Alias::parse("cos");
        let key = credential(account, Authority::of_product());
        caller(Credential { account: AccountId(account), product, ..key }, None).unwrap()
    }

    const NOWHERE: Conditions<'_> =
        Conditions { source: None, now: 0, secure: false, request_tags: &[], external_id: None };

    fn asked(caller: &Caller, service: &str, action: &str) -> Outcome {
        caller.authority().decide(ActionId(0), (service, action), &Resource::Everything, &NOWHERE)
    }

    #[test]
    fn the_main_account_may_everything() {
        let root = root(100);
        assert_eq!(root.principal(), Principal::Root);
        assert!(root.authority().is_unlimited());
        assert_eq!(asked(&root, "kms", "Encrypt"), Outcome::Allowed(None));
    }

    #[test]
    fn whose_policies_cannot_be_read_may_nothing() {
        let source = Some(IpAddr::from([192, 0, 2, 1]));
        let user = caller(credential(101, Authority::nothing()), source).unwrap();
        assert_eq!((user.principal(), user.uin(), user.source()), (Principal::User, Uin(101), source));
        assert_eq!(asked(&user, "kms", "Encrypt"), Outcome::NotAllowed(Layer::Principal));
    }

    #[test]
    fn only_the_main_account_needs_no_policy() {
        let e = caller(credential(101, Authority::everything()), None).err().unwrap();
        assert_eq!(e.code(), ErrorCode::InternalError);
    }

    #[test]
    fn a_refusal_names_action_and_resource() {
        let e = refusal("kms", "Encrypt", Some("qcs::kms:ap-x:uin/100:key/creatorUin/101/id"), None);
        assert_eq!(e.code(), ErrorCode::UnauthorizedOperation);
        for lang in [Lang::En, Lang::Zh] {
            let m = e.message(lang);
            assert!(m.ends_with("(kms:Encrypt)\nqcs::kms:ap-x:uin/100:key/creatorUin/101/id]"), "{m}");
        }
    }

    #[test]
    fn a_product_may_what_its_role_allows() {
        assert!(PRODUCT_ACTIONS.is_sorted(), "it is searched by halves");
        let product = Credential { product: Alias::parse("cos"), ..credential(100, Authority::of_product()) };
        let caller = caller(product, None).unwrap();
        assert_eq!((caller.principal(), caller.product()), (Principal::Product, Alias::parse("cos").as_ref()));
        assert_eq!(asked(&caller, "kms", "Encrypt"), Outcome::Allowed(None));
        for action in ["ImportKeyMaterial", "GetParametersForImport", "TagResources", "CreateAccessKey", "AAA", "zzz"] {
            assert_eq!(asked(&caller, "kms", action), Outcome::NotAllowed(Layer::Principal));
        }
        assert_eq!(asked(&caller, "cam", "Encrypt"), Outcome::NotAllowed(Layer::Principal), "of the KMS alone");
    }

    #[test]
    fn a_signature_makes_a_caller_only_of_its_own_key() {
        let (a, b) = (credential(100, Authority::everything()), credential(100, Authority::everything()));
        let e = Caller::authenticated(&verified(&a), &Arc::new(b), None).err().unwrap();
        assert_eq!(e.code(), ErrorCode::InternalError);
    }
}
