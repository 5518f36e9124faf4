//! Who is asking, and whether he may.

use crate::signature::{SigningSecret, Verified};
use jadeseal_types::{AccountId, Alias, ApiError, AppId, ErrorCode, SecretId, Uin};
use std::{fmt, net::IpAddr};

/// The kinds of principals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// The main account itself.
    Root,
    /// A sub-user of it.
    User,
    /// A cloud product that acts for it.
    Product,
}

impl Principal {
    /// As it stands in audit records.
    pub const fn wire(self) -> &'static str {
        match self {
            Principal::Root => "root",
            Principal::User => "user",
            Principal::Product => "product",
        }
    }
}

/// What is known of an access key.
pub struct Credential {
    /// The main account that it belongs to.
    pub account: AccountId,
    /// Its second number.
    pub app_id: AppId,
    /// The principal; equal to the account's number for the main account itself.
    pub uin: Uin,
    /// The cloud product that signs with it, acting for the account.
    pub product: Option<Alias>,
    /// The public half.
    pub secret_id: SecretId,
    /// False while it is switched off.
    pub enabled: bool,
    /// The secret half.
    pub secret: SigningSecret,
}

/// An authenticated principal. Only this crate makes one.
#[derive(Clone, Debug)]
pub struct Caller {
    account: AccountId,
    app_id: AppId,
    uin: Uin,
    principal: Principal,
    product: Option<Alias>,
    secret_id: Option<SecretId>,
    source: Option<IpAddr>,
}

impl Caller {
    /// The principal behind a verified request. `AuthFailure.SecretIdNotFound` when the access key is
    /// switched off; `InternalError` when the request was verified with another access key's secret.
    pub fn authenticated(
        verified: &Verified,
        credential: &Credential,
        source: Option<IpAddr>,
    ) -> Result<Self, ApiError> {
        if verified.secret != credential.secret.id() {
            return Err(ApiError::internal("a signature was paired with an access key that did not make it"));
        }
        if !credential.enabled {
            return Err(ErrorCode::SecretIdNotFound.into());
        }
        let principal = match &credential.product {
            Some(_) => Principal::Product,
            None if credential.uin.0 == credential.account.0 => Principal::Root,
            None => Principal::User,
        };
        Ok(Caller {
            account: credential.account,
            app_id: credential.app_id,
            uin: credential.uin,
            principal,
            product: credential.product.clone(),
            secret_id: Some(credential.secret_id.clone()),
            source,
        })
    }

    /// The tenant.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The tenant's second number.
    pub fn app_id(&self) -> AppId {
        self.app_id
    }

    /// The principal's number.
    pub fn uin(&self) -> Uin {
        self.uin
    }

    /// Its kind.
    pub fn principal(&self) -> Principal {
        self.principal
    }

    /// The cloud product that acts for the account, where it is one.
    pub fn product(&self) -> Option<&Alias> {
        self.product.as_ref()
    }

    /// The access key used, if any.
    pub fn secret_id(&self) -> Option<&SecretId> {
        self.secret_id.as_ref()
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

/// Asks whether a caller may call an action of a service (such as `Encrypt` of `kms`) on a six-segment resource or `*`. Denied by
/// default: the main account passes; a cloud product may what its service role allows; a sub-user has no policy yet
/// and gets `UnauthorizedOperation`. The resource is written out only then.
pub fn authorise(caller: &Caller, service: &str, action: &str, resource: impl fmt::Display) -> Result<(), ApiError> {
    match caller.principal {
        Principal::Root => Ok(()),
        Principal::Product if service == "kms" && PRODUCT_ACTIONS.binary_search(&action).is_ok() => Ok(()),
        Principal::Product | Principal::User => Err(ApiError::with_text(
            ErrorCode::UnauthorizedOperation,
            format!(
                "You are not authorised to perform this operation; check your CAM policies. [({service}:{action})\n{resource}]"
            ),
            format!("您没有执行该操作的权限，请检查 CAM 策略。[({service}:{action})\n{resource}]"),
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use jadeseal_types::{Lang, SecretBytes};

    fn credential(uin: u64, enabled: bool) -> Credential {
        Credential {
            account: AccountId(100),
            app_id: AppId(125),
            uin: Uin(uin),
            product: None,
            secret_id: SecretId::parse("AKIDx").unwrap(),
            enabled,
            secret: SigningSecret::new(SecretBytes::copy_from(b"k")),
        }
    }

    fn verified(credential: &Credential) -> Verified {
        let secret = credential.secret.id();
        Verified { target_is_signed: true, payload_is_signed: true, signature: [0; 32], timestamp: 0, secret }
    }

    /// The main user of an account.
    pub(crate) fn root(account: u64) -> Caller {
        let key = Credential { account: AccountId(account), ..credential(account, true) };
        Caller::authenticated(&verified(&key), &key, None).unwrap()
    }

    /// Fails the test when it is written out.
    struct Untouched;

    impl fmt::Display for Untouched {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("an allowed call needs no resource text")
        }
    }

    #[test]
    fn root_passes_without_writing_the_resource() {
        let root = credential(100, true);
        let caller = Caller::authenticated(&verified(&root), &root, None).unwrap();
        assert_eq!(caller.principal(), Principal::Root);
        authorise(&caller, "kms", "Encrypt", Untouched).unwrap();
    }

    #[test]
    fn a_sub_user_is_denied_and_told_what() {
        let user = credential(101, true);
        let source = Some(IpAddr::from([192, 0, 2, 1]));
        let caller = Caller::authenticated(&verified(&user), &user, source).unwrap();
        assert_eq!((caller.principal(), caller.uin(), caller.source()), (Principal::User, Uin(101), source));
        let e = authorise(&caller, "kms", "Encrypt", "qcs::kms:ap-x:uin/100:key/creatorUin/101/id").unwrap_err();
        assert_eq!(e.code(), ErrorCode::UnauthorizedOperation);
        for lang in [Lang::En, Lang::Zh] {
            let m = e.message(lang);
            assert!(m.contains("(kms:Encrypt)\nqcs::kms:ap-x:uin/100:key/creatorUin/101/id"), "{m}");
        }
    }

    #[test]
    fn a_product_may_what_its_role_allows() {
        assert!(PRODUCT_ACTIONS.is_sorted(), "it is searched by halves");
        let product = Credential { product: Alias::parse("cos"), ..credential(100, true) };
        let caller = Caller::authenticated(&verified(&product), &product, None).unwrap();
        assert_eq!((caller.principal(), caller.product()), (Principal::Product, Alias::parse("cos").as_ref()));
        authorise(&caller, "kms", "Encrypt", Untouched).unwrap();
        for action in ["ImportKeyMaterial", "GetParametersForImport", "TagResources", "CreateAccessKey", "AAA", "zzz"] {
            assert_eq!(authorise(&caller, "kms", action, "*").unwrap_err().code(), ErrorCode::UnauthorizedOperation);
        }
        assert!(authorise(&caller, "cam", "Encrypt", "*").is_err(), "of the KMS alone");
    }

    #[test]
    fn a_signature_makes_a_caller_only_of_its_own_enabled_key() {
        let (a, b, off) = (credential(100, true), credential(100, true), credential(100, false));
        let code = |v: &Credential, c: &Credential| Caller::authenticated(&verified(v), c, None).unwrap_err().code();
        assert_eq!(code(&a, &b), ErrorCode::InternalError);
        assert_eq!(code(&off, &off), ErrorCode::SecretIdNotFound);
    }
}
