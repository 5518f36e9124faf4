//! Which cloud resources use a key.

use super::{Cmk, Empty, Known, OnKey};
use crate::{
    action::{Access, Action, Spec, family},
    cx::{CommitError, Cx},
    docs,
    lifecycle::{Step, apply},
    schema::{Doc, request},
    values::Bounded,
};
use jadeseal_store::{Binding, Change};
use jadeseal_types::{ApiError, ErrorCode as E, KeyId, error::Result, limits::MAX_RESOURCE_NAME_BYTES};

family![BindCloudResource, UnbindCloudResource];

request! {
    /// Binds a cloud resource to a CMK.
    BindCloudResource {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        required product: Bounded<MAX_RESOURCE_NAME_BYTES> = "ProductId", docs::PRODUCT;
        required resource: Bounded<MAX_RESOURCE_NAME_BYTES> = "ResourceId", docs::RESOURCE;
    }
}

request! {
    /// Takes such a binding away.
    UnbindCloudResource {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        required product: Bounded<MAX_RESOURCE_NAME_BYTES> = "ProductId", docs::PRODUCT;
        required resource: Bounded<MAX_RESOURCE_NAME_BYTES> = "ResourceId", docs::RESOURCE;
    }
}

macro_rules! names_a_resource {
    ($($request:ty),+) => { $(
        impl OnKey for $request {
            fn key_id(&self) -> KeyId {
                self.key_id
            }

            fn early(&self, cx: &Cx<'_>) -> Result<()> {
                not_empty(&self.product.0, &self.resource.0)?;
                cx.may_bind(&self.product.0)
            }
        }
    )+ };
}

names_a_resource!(BindCloudResource, UnbindCloudResource);

fn not_empty(product: &str, resource: &str) -> Result<()> {
    for (name, text) in [("ProductId", product), ("ResourceId", resource)] {
        if text.is_empty() {
            return Err(ApiError::invalid(name, "must not be empty", "不能为空"));
        }
    }
    Ok(())
}

impl Action for BindCloudResource {
    const SPEC: Spec = Spec {
        name: "BindCloudResource",
        access: Access::Write,
        errors: &[E::InvalidKeyId, E::CmkNotFound, E::CmkStateNotSupport, E::CmkUsedByCloudProduct],
        doc: Doc(
            "Records that a cloud resource uses a CMK; it can then not be disabled or deleted.",
            "绑定云资源；绑定后密钥不可禁用或删除。",
        ),
    };
    type On = Cmk<Known>;
    type Response = Empty;

    async fn run(self, cmk: Cmk<Known>, cx: &Cx<'_>) -> Result<Empty> {
        cx.change_key(cmk.entry.row.key_id, |row| {
            // The row is written even when it does not change, so that a DisableKey at the same moment
            // and this binding cannot both succeed.
            let next = apply(row, Step::Bind, cx.now)?.unwrap_or_else(|| row.clone());
            let binding = Binding {
                key_id: row.key_id,
                product_id: self.product.0.clone(),
                resource_id: self.resource.0.clone(),
                consent: cx.consents_to(&self.product.0),
                create_time: cx.now,
            };
            Ok((vec![Change::UpdateKey { cmk: next }, Change::Bind(binding)], Empty {}))
        })
        .await
    }
}

impl Action for UnbindCloudResource {
    const SPEC: Spec = Spec {
        name: "UnbindCloudResource",
        access: Access::Write,
        errors: &[E::InvalidKeyId, E::CmkNotFound, E::CloudResourceBindingNotFound],
        doc: Doc("Removes the binding of a cloud resource.", "解除云资源绑定。"),
    };
    type On = Cmk<Known>;
    type Response = Empty;

    async fn run(self, cmk: Cmk<Known>, cx: &Cx<'_>) -> Result<Empty> {
        let key_id = cmk.entry.row.key_id;
        let change = Change::Unbind { key_id, product_id: self.product.0, resource_id: self.resource.0 };
        match cx.commit(vec![change]).await {
            Ok(_) => Ok(Empty {}),
            // The key has just been found, so what is missing is the binding.
            Err(CommitError::Api(e)) if e.code() == E::CmkNotFound => Err(E::CloudResourceBindingNotFound.into()),
            Err(e) => Err(e.into()),
        }
    }
}
