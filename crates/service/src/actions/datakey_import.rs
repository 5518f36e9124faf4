//! ImportDataKey: hosting a data key that exists already.

use super::{
    crypto::seal_hosted,
    lifecycle::{NewTag, checked_tags},
    usable,
};
use crate::{
    action::{Access, Action, Named, Spec, Target, family},
    cx::Cx,
    docs,
    hosting::{Kept, NewDataKey},
    keys::KeyEntry,
    lifecycle::Use,
    schema::{Doc, answer, request},
    values::{Blob, Bounded, DataKeyMaterial, DataKeyName, MaybeKeyId},
};
use jadeseal_auth::params::{Params, Value};
use jadeseal_crypto::{Context, CryptoError, Header, blob};
use jadeseal_types::{
    ApiError, DataKeyId, ErrorCode as E, KeyId, KeyUsage, Origin, SecretBytes, error::Result, limits,
};
use std::sync::Arc;

family![ImportDataKey];

request! {
    /// Hosts a data key that exists already.
    ImportDataKey {
        required name: DataKeyName = "DataKeyName", docs::DATA_KEY_NAME;
        required material: DataKeyMaterial = "ImportKeyMaterial", Doc("The data key, base64 of 1 to 1024 bytes, or its ciphertext.", "数据密钥（1 到 1024 字节数据的 base64）或其密文。");
        required kind: u64 = "ImportType", Doc("1: ciphertext of GenerateDataKey without an encryption context; 2: in clear.", "1：GenerateDataKey 生成的密文（无加密上下文）；2：明文。");
        optional description: Bounded<{ limits::MAX_DATA_KEY_DESCRIPTION_BYTES }> = "Description", docs::DATA_KEY_DESCRIPTION;
        optional key_id: MaybeKeyId = "KeyId", Doc("Id of the CMK; for a ciphertext, that which made it (default).", "主密钥 ID；导入密文时须为加密它的主密钥（默认）。");
        optional hsm_cluster: String = "HsmClusterId", docs::HSM_CLUSTER;
        optional tags: Vec<NewTag> = "Tags", docs::TAGS;
    }
}

answer! {
    /// The imported data key.
    ImportedDataKey {
        key_id: KeyId = "KeyId", docs::KEY_ID;
        data_key_id: DataKeyId = "DataKeyId", docs::DATA_KEY_ID;
        tag_code: u64 = "TagCode" nullable, docs::TAG_CODE;
        tag_msg: &'static str = "TagMsg" nullable, docs::TAG_MSG;
    }
}

/// A CMK that may take an imported data key.
pub struct Importing(Arc<KeyEntry>);

impl Target<ImportDataKey> for Importing {
    const ON_KEYS: bool = true;

    fn named(params: &Params<'_>) -> Named {
        let Named::Keys(mut ids) = Named::keys_in(params, "KeyId") else { return Named::Everything };
        // A ciphertext names its CMK too; the same bytes in clear name nothing.
        let is_ciphertext = match params.get("ImportType") {
            Some(Value::Int(kind)) => *kind == 1,
            Some(Value::Str(kind)) => kind.parse() == Ok(1),
            _ => false,
        };
        if is_ciphertext {
            let blob = Blob::peek(params.get("ImportKeyMaterial"));
            ids.extend(blob.and_then(|blob| Header::parse(&blob).ok()).map(|header| header.key_id));
        }
        Named::Keys(ids)
    }

    fn early(request: &ImportDataKey, cx: &Cx<'_>) -> Result<()> {
        if request.hsm_cluster.as_ref().is_some_and(|id| !id.is_empty()) {
            return Err(E::InvalidHsmClusterId.into());
        }
        if request.kind == 2 && request.key().is_none() {
            return Err(ApiError::missing("KeyId"));
        }
        cx.may_name_data_key(&request.name.0)?;
        checked_tags(request.tags.as_deref().unwrap_or_default()).map(drop)
    }

    async fn load(request: &ImportDataKey, cx: &Cx<'_>) -> Result<Self> {
        let entry = match (request.key(), request.header()?) {
            (Some(key_id), _) => cx.get_key(key_id).await?,
            // As with Decrypt: which keys other tenants have is not to be learnt from it, nor anything of a key that
            // cannot have made it.
            (None, Some(header)) => {
                let named = cx.find_key(header.key_id).await?;
                named.filter(|entry| entry.row.usage == KeyUsage::EncryptDecrypt).ok_or(E::InvalidImportKeyMaterial)?
            }
            (None, None) => return Err(ApiError::missing("KeyId")),
        };
        usable(&entry, Use::ImportDataKey, cx)?;
        Ok(Importing(entry))
    }
}

impl ImportDataKey {
    fn key(&self) -> Option<KeyId> {
        self.key_id.as_ref().and_then(|id| id.0)
    }

    /// What the material says about its CMK, where it is a ciphertext; checks its form in any case.
    fn header(&self) -> Result<Option<Header>> {
        let material = self.material.0.as_ref();
        match self.kind {
            1 => {
                let header = material.and_then(|bytes| Header::parse(bytes.expose()).ok());
                header.map(Some).ok_or_else(|| E::InvalidImportKeyMaterial.into())
            }
            2 if material.is_some_and(|bytes| is_data_key(bytes.len())) => Ok(None),
            2 => Err(ApiError::about(
                E::InvalidPlaintext,
                "ImportKeyMaterial",
                "must be base64 of 1 to 1024 bytes",
                "必须是 1 到 1024 字节数据的 base64 编码",
            )),
            _ => Err(ApiError::about(E::InvalidType, "ImportType", "must be 1 or 2", "必须为 1 或 2")),
        }
    }
}

fn is_data_key(len: usize) -> bool {
    (1..=limits::MAX_RANDOM_BYTES).contains(&(len as u64))
}

impl Action for ImportDataKey {
    const SPEC: Spec = Spec {
        name: "ImportDataKey",
        access: Access::Write,
        errors: &[
            E::InvalidDataKeyName,
            E::DataKeyNameAlreadyExists,
            E::InvalidImportKeyMaterial,
            E::InvalidKeyId,
            E::InvalidKeyUsage,
            E::InvalidPlaintext,
            E::InvalidType,
            E::InvalidHsmClusterId,
            E::TagKeysDuplicated,
            E::DataKeyLimitExceeded,
            E::CmkArchived,
            E::CmkDisabled,
            E::CmkNotFound,
            E::CmkStateNotSupport,
            E::KeyPendingDelete,
            E::UnsupportedKeyUsageInCurrentRegion,
        ],
        doc: Doc("Hosts a data key that exists already.", "导入已有的数据密钥并托管。"),
    };
    type On = Importing;
    type Response = ImportedDataKey;

    async fn run(self, on: Importing, cx: &Cx<'_>) -> Result<ImportedDataKey> {
        let cmk = on.0;
        cx.note(cmk.row.key_id);
        let header = self.header()?;
        let material = self.material.0.ok_or(E::InvalidImportKeyMaterial)?;
        let context = Context::default();
        let (blob, bytes) = match header {
            None => {
                let blob = seal_hosted(&cmk, &context, &material, cx).await?;
                (blob, material.len())
            }
            Some(header) => {
                let plaintext = opened(&cmk, header, &material, &context, cx).await?;
                (material.expose().to_vec(), plaintext.len())
            }
        };
        let new = NewDataKey {
            name: self.name.0,
            description: self.description.map(|d| d.0).unwrap_or_default(),
            tags: checked_tags(self.tags.as_deref().unwrap_or_default())?,
            origin: Origin::External,
        };
        let data_key_id = cx.host(new, &cmk, Use::ImportDataKey, bytes, &Kept { context, blob }).await?;
        cx.used(&cmk);
        Ok(ImportedDataKey { key_id: cmk.row.key_id, data_key_id, tag_code: 0, tag_msg: "" })
    }
}

/// The data key inside a ciphertext of a CMK. One error for all that can be wrong with it.
async fn opened(
    cmk: &KeyEntry,
    header: Header,
    blob: &SecretBytes,
    context: &Context,
    cx: &Cx<'_>,
) -> Result<SecretBytes> {
    if header.key_id != cmk.row.key_id || header.suite != cmk.row.suite {
        return Err(E::InvalidImportKeyMaterial.into());
    }
    let key = cx.svc.keys.symmetric(&cx.scope, cmk, header.version).await?.ok_or(E::InvalidImportKeyMaterial)?;
    match blob::open(&key, blob.expose(), context) {
        Ok(plaintext) if is_data_key(plaintext.len()) => Ok(plaintext),
        Ok(_) | Err(CryptoError::Invalid) => Err(E::InvalidImportKeyMaterial.into()),
        Err(e) => Err(ApiError::internal(e)),
    }
}
