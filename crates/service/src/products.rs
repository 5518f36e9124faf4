//! Cloud products as service principals: which may act, on which keys, and the key that each gets by itself.
//!
//! A product acts for an account with an access key that the account's operator granted it, the service role of other
//! clouds. It may do anything with the keys that it has made, and use a key of the account's user as long as one of its
//! resources is bound to it. All other keys do not exist for it. The user, for his part, sees the keys of products, may
//! rotate them, and can neither use nor change them.

use crate::{
    Service,
    action::Access,
    cx::Cx,
    keys::KeyEntry,
    schema::{self, Field},
    vault::Vault,
};
use hashbrown::HashMap;
use jadeseal_auth::params::{Params, Value};
use jadeseal_store::{Change, Cmk, DataKey, Rotation, Scope};
use jadeseal_types::{
    AccountId, Alias, ApiError, ErrorCode as E, KeyId, KeyState, KeyUsage, Origin, Owner, Region, error::Result,
};
use parking_lot::RwLock;
use std::sync::Arc;

/// What the alias of a product's key begins with.
const PREFIX: &str = "kms-";
/// Longest name of a product, characters.
const MAX_NAME: usize = 32;
/// Products that a deployment can have.
const MAX_PRODUCTS: usize = 100;
/// Default keys that are remembered.
const REMEMBERED: usize = 100_000;
/// Bindings that a refusal names.
const NAMED_BINDINGS: u64 = 5;

/// The configured cloud products.
#[derive(Clone, Debug, Default)]
pub struct Products(Vec<Alias>);

impl Products {
    /// Checks the names: 1 to 32 of `a-z`, `0-9` and `-`, the first a letter, none `user`, none twice, and none the
    /// beginning of another up to a `-`, since `kms-cos-…` is all of `cos`. An error says what is wrong.
    pub fn new<T: AsRef<str>>(names: &[T]) -> Result<Self, String> {
        if names.len() > MAX_PRODUCTS {
            return Err(format!("at most {MAX_PRODUCTS} products can be named"));
        }
        let mut list: Vec<Alias> = Vec::with_capacity(names.len());
        for name in names.iter().map(AsRef::as_ref) {
            let form = name.len() <= MAX_NAME
                && name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
            let alias = Alias::parse(name).filter(|alias| form && !alias.is_reserved() && name != "user");
            let alias = alias.ok_or_else(|| {
                format!("product {name:?}: a name is 1 to {MAX_NAME} of a-z, 0-9 and -, begins with a letter, is not \"user\" and does not begin with kms-")
            })?;
            if let Some(other) =
                list.iter().find(|other| overlap(other.as_str(), name) || overlap(name, other.as_str()))
            {
                return Err(format!("products {:?} and {name:?} would share aliases", other.as_str()));
            }
            list.push(alias);
        }
        Ok(Products(list))
    }

    /// The configured product of this name.
    pub fn find(&self, name: &str) -> Option<&Alias> {
        self.0.iter().find(|product| product.as_str() == name)
    }
}

fn overlap(shorter: &str, longer: &str) -> bool {
    longer.strip_prefix(shorter).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Alias of the key that a product gets by itself.
fn default_alias(product: &Alias) -> Result<Alias> {
    let alias = Alias::parse(&format!("{PREFIX}{product}"));
    alias.ok_or_else(|| ApiError::internal(format!("product {product} has too long a name")))
}

/// The key that each product works with in an account and region where it names none.
#[derive(Default)]
pub(crate) struct DefaultKeys(RwLock<HashMap<(AccountId, Region, Alias), KeyId>>);

impl DefaultKeys {
    fn get(&self, scope: &Scope, product: &Alias) -> Option<KeyId> {
        self.0.read().get(&(scope.account(), scope.region().clone(), product.clone())).copied()
    }

    fn put(&self, scope: &Scope, product: &Alias, id: KeyId) {
        let mut known = self.0.write();
        if known.len() >= REMEMBERED {
            let victim = known.keys().next().cloned();
            victim.and_then(|which| known.remove(&which));
        }
        known.insert((scope.account(), scope.region().clone(), product.clone()), id);
    }
}

/// Actions that work on the product's own default key when their `KeyId` is absent or empty.
fn has_default(action: &str) -> bool {
    matches!(action, "Encrypt" | "GenerateDataKey" | "BindCloudResource")
}

impl Cx<'_> {
    /// The owner of what the caller makes.
    pub fn owner(&self) -> Owner {
        self.caller.product().map_or(Owner::User, |product| Owner::Product(product.clone()))
    }

    /// A key of the scope on which the caller may call the action. One that does not exist for him is none.
    pub async fn find_key(&self, id: KeyId) -> Result<Option<Arc<KeyEntry>>> {
        self.find_key_in(&self.scope, id).await
    }

    /// As [`Cx::find_key`], in a scope of another account that the caller was admitted to.
    pub async fn find_key_in(&self, scope: &Scope, id: KeyId) -> Result<Option<Arc<KeyEntry>>> {
        let Some(entry) = self.svc.keys.find(scope, id).await? else { return Ok(None) };
        match (self.caller.product(), &entry.row.owner) {
            (None, Owner::User) => Ok(Some(entry)),
            (None, Owner::Product(owner)) => {
                self.user_may_touch(owner)?;
                Ok(Some(entry))
            }
            (Some(product), Owner::Product(owner)) => Ok((product == owner).then_some(entry)),
            (Some(product), Owner::User) => {
                let allowed = match self.entry.spec.access {
                    Access::Read | Access::Use => true,
                    // What is written to data keys is no change of the key, and they are the product's own.
                    Access::Write => {
                        matches!(self.entry.spec.name, "BindCloudResource" | "UnbindCloudResource")
                            || self.entry.spec.name.contains("DataKey")
                    }
                };
                let bound = self.svc.keys.is_bound(scope, &entry, product).await?;
                match (bound, allowed) {
                    (false, _) => Ok(None),
                    (true, true) => Ok(Some(entry)),
                    (true, false) => Err(unauthorised(
                        self.entry.spec.name,
                        "the key belongs to the account's user",
                        "密钥属于账号用户",
                    )),
                }
            }
        }
    }

    /// As [`Cx::find_key`], with `CmkNotFound` for none.
    pub async fn get_key(&self, id: KeyId) -> Result<Arc<KeyEntry>> {
        self.find_key(id).await?.ok_or_else(|| E::CmkNotFound.into())
    }

    /// What the account's own principals may do with a key of a product: look at it and rotate it.
    fn user_may_touch(&self, owner: &Alias) -> Result<()> {
        let configured = self.svc.products().find(owner.as_str()).is_some();
        let (en, zh) = (format!("the key belongs to the cloud product {owner}"), format!("密钥属于云产品 {owner}"));
        match (self.entry.spec.name, self.entry.spec.access) {
            ("EnableKeyRotation" | "DisableKeyRotation" | "RotateKey", _) | (_, Access::Read) => Ok(()),
            // Nobody else is left who could.
            ("DisableKey" | "DisableKeys" | "ScheduleKeyDeletion" | "CancelKeyDeletion", _) if !configured => Ok(()),
            (
                "DisableKey"
                | "DisableKeys"
                | "ScheduleKeyDeletion"
                | "DeleteImportedKeyMaterial"
                | "BindCloudResource",
                _,
            ) => Err(ApiError::with_text(
                E::CmkUsedByCloudProduct,
                format!("The key is in use by a cloud product: {en}."),
                format!("密钥已被云产品使用：{zh}。"),
            )),
            // No product has such a key, and the pages of these list no other refusal.
            ("GetParametersForImport" | "ImportKeyMaterial", _) => Err(E::NotExternalCmk.into()),
            ("ArchiveKey" | "CancelKeyArchive", _) => Err(E::NotUserCreatedCmk.into()),
            _ => Err(unauthorised(self.entry.spec.name, &en, &zh)),
        }
    }

    /// A data key that has been found, if the caller may call the action on it: a product only on its own; the user on a
    /// product's to look at it, or to end it, as he may end what is under his own CMK. Whose CMK it is, is asked next.
    pub fn may_touch(&self, key: DataKey) -> Result<DataKey> {
        match (self.caller.product(), &key.owner) {
            (None, Owner::User) => Ok(key),
            (None, Owner::Product(_)) if self.entry.spec.access == Access::Read => Ok(key),
            (None, Owner::Product(_))
                if matches!(
                    self.entry.spec.name,
                    "DisableDataKey" | "DisableDataKeys" | "ScheduleDataKeyDeletion" | "CancelDataKeyDeletion"
                ) =>
            {
                Ok(key)
            }
            (None, Owner::Product(owner)) => Err(unauthorised(
                self.entry.spec.name,
                &format!("the data key belongs to the cloud product {owner}"),
                &format!("数据密钥属于云产品 {owner}"),
            )),
            (Some(product), Owner::Product(owner)) if product == owner => Ok(key),
            (Some(_), _) => Err(E::DataKeyNotFound.into()),
        }
    }

    /// Refuses an alias that the caller's keys may not have.
    pub fn may_name(&self, alias: &Alias) -> Result<()> {
        if self.is_callers(alias) { Ok(()) } else { Err(E::InvalidAlias.into()) }
    }

    /// Refuses a name that the caller's data keys may not have.
    pub fn may_name_data_key(&self, name: &Alias) -> Result<()> {
        if self.is_callers(name) { Ok(()) } else { Err(E::InvalidDataKeyName.into()) }
    }

    /// `kms-<product>-…` is for what a product makes, so that no two can be in each other's way; `kms-<product>` alone is
    /// made by the service.
    fn is_callers(&self, name: &Alias) -> bool {
        match self.caller.product() {
            None => !name.is_reserved(),
            Some(product) => {
                let rest = name.as_str().strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix(product.as_str()));
                rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with('-'))
            }
        }
    }

    /// Whether a binding that the caller makes lets the product use the key.
    pub fn consents_to(&self, product_id: &str) -> bool {
        self.caller.product().is_none() && self.svc.products().find(product_id).is_some()
    }

    /// Refuses a product that would bind or unbind in another one's name.
    pub fn may_bind(&self, product_id: &str) -> Result<()> {
        match self.caller.product() {
            Some(product) if product.as_str() != product_id => Err(unauthorised(
                self.entry.spec.name,
                "a cloud product binds its own resources only",
                "云产品只能绑定自己的资源",
            )),
            _ => Ok(()),
        }
    }

    /// Where a product names no key, its default key is put in the place, and made if it is not there.
    /// Not where the request is refused anyway for a parameter that is unknown, missing or ill-typed.
    pub(crate) async fn name_default_key(
        &self,
        product: &Alias,
        fields: &'static [Field],
        params: &mut Params<'_>,
    ) -> Result<()> {
        let none = match params.get("KeyId") {
            None | Some(Value::Null) => true,
            Some(Value::Str(text)) => text.is_empty(),
            Some(_) => false,
        };
        if none && has_default(self.entry.spec.name) {
            params.set("KeyId", Value::Str("".into()));
            if schema::check(params, fields, "").is_err() {
                return Ok(());
            }
            let id = self.svc.default_key(&self.scope, self.region.profile.suite(), product, self.now).await?;
            params.set("KeyId", Value::Str(id.to_string().into()));
        }
        Ok(())
    }

    /// Adds to `CmkUsedByCloudProduct` which resources use the key.
    pub(crate) async fn name_consumers(&self, error: ApiError, entries: &[Arc<KeyEntry>]) -> ApiError {
        if error.code() != E::CmkUsedByCloudProduct {
            return error;
        }
        let Some(row) = entries.iter().map(|entry| &entry.row).find(|row| row.bindings > 0) else { return error };
        let Ok(bindings) = self.svc.store.bindings(&self.scope, row.key_id, NAMED_BINDINGS).await else { return error };
        let names: Vec<String> = bindings.iter().map(|b| format!("{} {}", b.product_id, b.resource_id)).collect();
        let (key, names) = (row.key_id, names.join(", "));
        let (en, zh) = match u64::from(row.bindings).saturating_sub(bindings.len() as u64) {
            0 => (String::new(), String::new()),
            more => (format!(" and {more} more"), format!(" 等，另有 {more} 个")),
        };
        ApiError::with_text(
            E::CmkUsedByCloudProduct,
            format!("The key {key} is in use by a cloud product: {names}{en}."),
            format!("密钥 {key} 已被云产品使用：{names}{zh}。"),
        )
    }
}

fn unauthorised(action: &str, en: &str, zh: &str) -> ApiError {
    ApiError::with_text(
        E::UnauthorizedOperation,
        format!("You are not authorised to perform this operation: {en}. [(kms:{action})]"),
        format!("您没有执行该操作的权限：{zh}。[(kms:{action})]"),
    )
}

impl Service {
    /// The key of a product in a scope, made on first use.
    async fn default_key(
        self: &Arc<Self>,
        scope: &Scope,
        suite: jadeseal_types::Suite,
        product: &Alias,
        now: u64,
    ) -> Result<KeyId> {
        let alias = default_alias(product)?;
        let is_it = |row: &Cmk| row.alias == alias && row.owner == Owner::Product(product.clone());
        if let Some(id) = self.product_keys.get(scope, product)
            && self.keys.find(scope, id).await?.is_some_and(|entry| is_it(&entry.row))
        {
            return Ok(id);
        }
        // Somebody can hardly make the key between our look and our commit, and take it away again, that often in a row.
        for _ in 0..4 {
            if let Some(row) = self.store.key_by_alias(scope, &alias).await.map_err(ApiError::internal)? {
                if !is_it(&row) {
                    return Err(ApiError::internal(format!("alias {alias} is that of a key of another owner")));
                }
                self.product_keys.put(scope, product, row.key_id);
                return Ok(row.key_id);
            }
            let cmk = Cmk {
                key_id: self.new_key_id()?,
                account: scope.account(),
                region: scope.region().clone(),
                alias: alias.clone(),
                description: String::new(),
                usage: KeyUsage::EncryptDecrypt,
                suite,
                origin: Origin::Kms,
                state: KeyState::Enabled,
                owner: Owner::Product(product.clone()),
                creator: jadeseal_types::Uin(scope.account().0),
                create_time: now,
                deletion_date: 0,
                valid_to: 0,
                rotation: Rotation::default(),
                current_version: 1,
                hsm_cluster: String::new(),
                bindings: 0,
                material_digest: None,
                revision: 0,
            };
            let key_id = cmk.key_id;
            let domain = self.vault.newest(cmk.account).await?;
            let material = jadeseal_crypto::random::secret(suite.material_len()).map_err(ApiError::internal)?;
            let version = Some(Vault::seal_material(&domain, &cmk, 1, &material, now)?);
            let change = Change::CreateKey { cmk, version, tags: Vec::new() };
            match crate::jobs::record_change(self, scope.clone(), [key_id], "CreateProductKey", vec![change]).await {
                Ok(false) => {}
                Ok(true) => tracing::info!(key = %key_id, account = %scope.account(), %product, "product key made"),
                Err(e) if e.code() == E::AliasAlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Err(ApiError::internal(format!("the key of product {product} kept disappearing")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_products_are_checked() {
        let products = Products::new(&["cos", "cbs", "tdsql-c"]).unwrap();
        assert!(products.find("cos").is_some() && products.find("co").is_none());
        let bad: [&[&str]; 10] = [
            &[""],
            &["user"],
            &["COS"],
            &["1cos"],
            &["kms-cos"],
            &["c os"],
            &["键"],
            &["cos", "cos"],
            &["cos", "cos-x"],
            &["cos-x", "cos"],
        ];
        for names in bad {
            assert!(Products::new(names).is_err(), "{names:?}");
        }
        assert!(Products::new(&["cos", "cosx"]).is_ok());
        assert!(Products::new(&["x".repeat(33)]).is_err());
        assert!(Products::new(&(0..101).map(|n| format!("p{n}")).collect::<Vec<_>>()).is_err());
    }
}
