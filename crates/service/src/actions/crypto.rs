//! The data plane: encryption, decryption, data keys, random bytes.

use super::{
    Account, Cmk, Encrypting, MakingDataKeys, OnKey,
    lifecycle::{NewTag, checked_tags},
    on_key,
    recipient::{deliver, recipient},
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
    values::{Base64, Blob, Bounded, MaybeDataKeyName, MaybeKeyId, Plaintext, SecretBase64},
};
use jadeseal_auth::params::Params;
use jadeseal_crypto::{BlobKey, Context, CryptoError, Header, blob};
use jadeseal_types::{ApiError, DataKeyId, ErrorCode as E, KeyId, Origin, SecretBytes, error::Result, limits};
use std::sync::Arc;

family![Encrypt, Decrypt, ReEncrypt, GenerateDataKey, GenerateRandom];

request! {
    /// Encrypts up to 4 KiB.
    Encrypt {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        required plaintext: Plaintext = "Plaintext", Doc("Base64 of 1 to 4096 bytes.", "1 到 4096 字节数据的 base64。");
        optional context: Context = "EncryptionContext", docs::CONTEXT;
    }
}

answer! {
    /// What Encrypt made.
    Encrypted {
        blob: Base64 = "CiphertextBlob", docs::BLOB;
        key_id: KeyId = "KeyId", docs::KEY_ID;
    }
}

on_key!(Encrypt);

impl Action for Encrypt {
    const SPEC: Spec = Spec {
        name: "Encrypt",
        access: Access::Use,
        errors: &[
            E::InvalidKeyId,
            E::InvalidPlaintext,
            E::CmkNotFound,
            E::CmkDisabled,
            E::CmkArchived,
            E::UnsupportedKeyUsageInCurrentRegion,
        ],
        doc: Doc("Encrypts up to 4096 bytes with a CMK.", "使用主密钥加密最多 4096 字节的数据。"),
    };
    type On = Cmk<Encrypting>;
    type Response = Encrypted;

    async fn run(self, cmk: Cmk<Encrypting>, cx: &Cx<'_>) -> Result<Encrypted> {
        let context = self.context.unwrap_or_default();
        let blob = seal(&cmk.entry, &context, self.plaintext.0.expose(), cx).await?;
        cx.used(&cmk.entry);
        Ok(Encrypted { blob: Base64(blob), key_id: cmk.entry.row.key_id })
    }
}

/// The newest version of a key whose state has been checked, with its number.
async fn newest(entry: &KeyEntry, cx: &Cx<'_>) -> Result<(Arc<BlobKey>, u32)> {
    let version = entry.row.current_version;
    let key = cx.svc.keys.symmetric(&cx.scope, entry, version).await?;
    let key = key.ok_or_else(|| ApiError::internal(format!("key {} lacks version {version}", entry.row.key_id)))?;
    Ok((key, version))
}

/// Seals under the newest version of a key whose state has been checked.
async fn seal(entry: &KeyEntry, context: &Context, plaintext: &[u8], cx: &Cx<'_>) -> Result<Vec<u8>> {
    let (key, version) = newest(entry, cx).await?;
    blob::seal(&key, entry.row.key_id, version, context, plaintext).map_err(ApiError::internal)
}

/// Seals a data key that is to be kept: it must never become the only copy if it does not open again.
pub(super) async fn seal_hosted(
    entry: &KeyEntry,
    context: &Context,
    plaintext: &SecretBytes,
    cx: &Cx<'_>,
) -> Result<Vec<u8>> {
    let (key, version) = newest(entry, cx).await?;
    let blob = blob::seal(&key, entry.row.key_id, version, context, plaintext.expose()).map_err(ApiError::internal)?;
    opens_to(&key, &blob, context, plaintext)?;
    Ok(blob)
}

fn opens_to(key: &BlobKey, blob: &[u8], context: &Context, plaintext: &SecretBytes) -> Result<()> {
    let opened = blob::open(key, blob, context).map_err(ApiError::internal)?;
    if opened.ct_eq(plaintext.expose()) {
        Ok(())
    } else {
        Err(ApiError::internal("a data key does not open to itself"))
    }
}

/// A ciphertext whose key has been found in the caller's scope and may decrypt.
pub struct Sealed {
    entry: Arc<KeyEntry>,
    header: Header,
    key: Arc<BlobKey>,
}

/// A request that names its key only inside a ciphertext.
pub trait CarriesBlob {
    fn blob(&self) -> &[u8];
    fn early(&self, _cx: &Cx<'_>) -> Result<()> {
        Ok(())
    }
}

impl<A: CarriesBlob + Sync> Target<A> for Sealed {
    const ON_KEYS: bool = true;

    fn named(params: &Params<'_>) -> Named {
        let header = Blob::peek(params.get("CiphertextBlob")).and_then(|blob| Header::parse(&blob).ok());
        let source = header.map(|h| h.key_id).into_iter();
        let Named::Keys(destination) = Named::keys_in(params, "DestinationKeyId") else { return Named::Everything };
        Named::Keys(source.chain(destination).collect())
    }

    fn early(request: &A, cx: &Cx<'_>) -> Result<()> {
        request.early(cx)
    }

    /// A malformed blob and one of a key that is unknown here give the same answer: which keys other
    /// tenants have is not to be learnt from it.
    async fn load(request: &A, cx: &Cx<'_>) -> Result<Self> {
        let header = Header::parse(request.blob()).map_err(|_| E::InvalidCiphertext)?;
        let entry = cx.find_key(header.key_id).await?.ok_or(E::InvalidCiphertext)?;
        usable(&entry, Use::Decrypt, cx)?;
        if header.suite != entry.row.suite {
            return Err(E::InvalidCiphertext.into());
        }
        let key = cx.svc.keys.symmetric(&cx.scope, &entry, header.version).await?.ok_or(E::InvalidCiphertext)?;
        Ok(Sealed { entry, header, key })
    }
}

impl Sealed {
    fn open(&self, blob: &[u8], context: &Context) -> Result<SecretBytes> {
        blob::open(&self.key, blob, context).map_err(|e| match e {
            CryptoError::Invalid => E::InvalidCiphertext.into(),
            // Not the caller's ciphertext is broken but something of ours.
            CryptoError::Unavailable(_) => ApiError::internal(e),
        })
    }
}

request! {
    /// Decrypts what Encrypt, ReEncrypt or GenerateDataKey made.
    Decrypt {
        required blob: Blob = "CiphertextBlob", docs::BLOB;
        optional context: Context = "EncryptionContext", docs::CONTEXT;
        optional public_key: String = "EncryptionPublicKey", docs::RECIPIENT_KEY;
        optional algorithm: String = "EncryptionAlgorithm", docs::RECIPIENT_ALGORITHM;
    }
}

answer! {
    /// What Decrypt found.
    Decrypted {
        key_id: KeyId = "KeyId", docs::KEY_ID;
        plaintext: SecretBase64 = "Plaintext", docs::PLAINTEXT;
    }
}

impl CarriesBlob for Decrypt {
    fn blob(&self) -> &[u8] {
        &self.blob.0
    }

    fn early(&self, cx: &Cx<'_>) -> Result<()> {
        recipient(self.public_key.as_deref(), self.algorithm.as_deref(), cx).map(drop)
    }
}

impl Action for Decrypt {
    const SPEC: Spec = Spec {
        name: "Decrypt",
        access: Access::Use,
        errors: &[E::InvalidCiphertext, E::CmkDisabled, E::EncryptionError, E::UnsupportedKeyUsageInCurrentRegion],
        doc: Doc("Decrypts a ciphertext blob.", "解密密文。"),
    };
    type On = Sealed;
    type Response = Decrypted;

    async fn run(self, sealed: Sealed, cx: &Cx<'_>) -> Result<Decrypted> {
        let recipient = recipient(self.public_key.as_deref(), self.algorithm.as_deref(), cx)?;
        cx.note(sealed.entry.row.key_id);
        let plaintext = sealed.open(&self.blob.0, &self.context.unwrap_or_default())?;
        let plaintext = deliver(plaintext, recipient, cx).await?;
        cx.used(&sealed.entry);
        Ok(Decrypted { key_id: sealed.entry.row.key_id, plaintext })
    }
}

request! {
    /// Moves a ciphertext to another key, version or context without showing its plaintext.
    ReEncrypt {
        required blob: Blob = "CiphertextBlob", docs::BLOB;
        optional destination: MaybeKeyId = "DestinationKeyId", Doc("CMK to encrypt to; the same one by default.", "目标主密钥，默认为原主密钥。");
        optional source_context: Context = "SourceEncryptionContext", docs::CONTEXT;
        optional destination_context: Context = "DestinationEncryptionContext", docs::CONTEXT;
    }
}

answer! {
    /// What ReEncrypt made.
    ReEncrypted {
        blob: Base64 = "CiphertextBlob", docs::BLOB;
        key_id: KeyId = "KeyId", docs::KEY_ID;
        source_key_id: KeyId = "SourceKeyId", Doc("CMK that the ciphertext came from.", "原主密钥 ID。");
        changed: bool = "ReEncrypted", Doc("False when nothing was to be done.", "是否重新加密。");
    }
}

impl CarriesBlob for ReEncrypt {
    fn blob(&self) -> &[u8] {
        &self.blob.0
    }
}

impl Action for ReEncrypt {
    const SPEC: Spec = Spec {
        name: "ReEncrypt",
        access: Access::Use,
        errors: &[
            E::InvalidCiphertext,
            E::InvalidKeyId,
            E::CmkNotFound,
            E::CmkDisabled,
            E::CmkArchived,
            E::UnsupportedKeyUsageInCurrentRegion,
        ],
        doc: Doc(
            "Encrypts a ciphertext anew, under another CMK, version or context.",
            "使用其他主密钥、版本或上下文重新加密密文。",
        ),
    };
    type On = Sealed;
    type Response = ReEncrypted;

    async fn run(self, source: Sealed, cx: &Cx<'_>) -> Result<ReEncrypted> {
        let source_key_id = source.entry.row.key_id;
        cx.note(source_key_id);
        let destination = match self.destination.and_then(|d| d.0) {
            Some(id) if id != source_key_id => cx.get_key(id).await?,
            _ => source.entry.clone(),
        };
        let key_id = destination.row.key_id;
        cx.note(key_id);
        usable(&destination, Use::Encrypt, cx)?;
        let from = self.source_context.unwrap_or_default();
        let to = self.destination_context.unwrap_or_default();
        let plaintext = source.open(&self.blob.0, &from)?;
        let same = key_id == source_key_id
            && source.header.version == destination.row.current_version
            && from.encoded() == to.encoded();
        if same {
            cx.used(&source.entry);
            return Ok(ReEncrypted { blob: Base64(self.blob.0), key_id, source_key_id, changed: false });
        }
        let blob = seal(&destination, &to, plaintext.expose(), cx).await?;
        cx.used(&source.entry);
        cx.used(&destination);
        Ok(ReEncrypted { blob: Base64(blob), key_id, source_key_id, changed: true })
    }
}

request! {
    /// Makes a data key.
    GenerateDataKey {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        optional spec: String = "KeySpec", Doc("AES_128 or AES_256.", "AES_128 或 AES_256。");
        optional bytes: u64 = "NumberOfBytes", Doc("Length, 1 to 1024; goes before KeySpec.", "长度，1 到 1024，优先于 KeySpec。");
        optional context: Context = "EncryptionContext", docs::CONTEXT;
        optional public_key: String = "EncryptionPublicKey", docs::RECIPIENT_KEY;
        optional algorithm: String = "EncryptionAlgorithm", docs::RECIPIENT_ALGORITHM;
        optional hosted: u64 = "IsHostedByKms", Doc("1 to keep the data key in the KMS too.", "1 表示由 KMS 托管。");
        optional name: MaybeDataKeyName = "DataKeyName", Doc("Name, which a hosted data key needs; else it has no effect.", "托管数据密钥的名称，托管时必填；否则无效。");
        optional description: Bounded<{ limits::MAX_DATA_KEY_DESCRIPTION_BYTES }> = "Description", Doc("Description of a hosted data key, at most 100 bytes.", "托管数据密钥的描述，最多 100 字节。");
        optional hsm_cluster: String = "HsmClusterId", docs::HSM_CLUSTER;
        optional tags: Vec<NewTag> = "Tags", Doc("Tags of a hosted data key.", "托管数据密钥标签。");
    }
}

answer! {
    /// A new data key.
    DataKey {
        key_id: KeyId = "KeyId", docs::KEY_ID;
        plaintext: SecretBase64 = "Plaintext", docs::PLAINTEXT;
        blob: Base64 = "CiphertextBlob", docs::BLOB;
        data_key_id: Option<DataKeyId> = "DataKeyId" nullable, Doc("Id of a hosted data key.", "托管数据密钥 ID。");
        tag_code: Option<u64> = "TagCode" nullable, docs::TAG_CODE;
        tag_msg: Option<&'static str> = "TagMsg" nullable, docs::TAG_MSG;
    }
}

impl Action for GenerateDataKey {
    const SPEC: Spec = Spec {
        name: "GenerateDataKey",
        access: Access::Use,
        errors: &[
            E::InvalidKeyId,
            E::InvalidKeyUsage,
            E::InvalidHsmClusterId,
            E::CmkNotFound,
            E::CmkDisabled,
            E::CmkArchived,
            E::KeyPendingDelete,
            E::EncryptionError,
            E::InvalidDataKeyName,
            E::DataKeyNameAlreadyExists,
            E::TagKeysDuplicated,
            E::DataKeyLimitExceeded,
            E::UnsupportedKeyUsageInCurrentRegion,
        ],
        doc: Doc(
            "Makes a data key, returns it in clear and encrypted, and on demand keeps it.",
            "生成数据密钥，返回明文和密文，并可托管。",
        ),
    };
    type On = Cmk<MakingDataKeys>;
    type Response = DataKey;

    async fn run(self, cmk: Cmk<MakingDataKeys>, cx: &Cx<'_>) -> Result<DataKey> {
        let len = self.length()?;
        let recipient = recipient(self.public_key.as_deref(), self.algorithm.as_deref(), cx)?;
        let hosting = self.hosting()?;
        let (key, version) = newest(&cmk.entry, cx).await?;
        let context = self.context.unwrap_or_default();
        let (data_key, blob) =
            blob::seal_new(&key, cmk.entry.row.key_id, version, &context, len).map_err(ApiError::internal)?;
        if hosting.is_some() {
            opens_to(&key, &blob, &context, &data_key)?;
        }
        // Before anything is committed: it may be too long for the caller's public key.
        let plaintext = deliver(data_key, recipient, cx).await?;
        let (blob, data_key_id) = match hosting {
            None => (blob, None),
            Some(new) => {
                let kept = Kept { context, blob };
                let id = cx.host(new, &cmk.entry, Use::MakeDataKey, len, &kept).await?;
                (kept.blob, Some(id))
            }
        };
        cx.used(&cmk.entry);
        Ok(DataKey {
            key_id: cmk.entry.row.key_id,
            plaintext,
            blob: Base64(blob),
            data_key_id,
            tag_code: data_key_id.map(|_| 0),
            tag_msg: data_key_id.map(|_| ""),
        })
    }
}

impl OnKey for GenerateDataKey {
    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn early(&self, cx: &Cx<'_>) -> Result<()> {
        let hosting = self.hosting();
        // What is missing is said before what has a wrong value (decision 1).
        if hosting.as_ref().is_err_and(|e| e.code() == E::MissingParameter) {
            return hosting.map(drop);
        }
        if let Some(name) = self.name.as_ref().and_then(|name| name.0.as_ref()) {
            cx.may_name_data_key(name)?;
        }
        self.length()?;
        // The number goes before the name, as always.
        let by_name = self.bytes.is_none_or(|n| n == 0) && self.spec.as_deref().is_some_and(|s| !s.is_empty());
        if by_name && cx.region.profile.is_strict() {
            return Err(ApiError::invalid(
                "KeySpec",
                "names AES, which the region does not allow; give NumberOfBytes instead",
                "指定了该地域不允许的 AES，请改用 NumberOfBytes",
            ));
        }
        recipient(self.public_key.as_deref(), self.algorithm.as_deref(), cx)?;
        if self.hsm_cluster.as_ref().is_some_and(|id| !id.is_empty()) {
            return Err(E::InvalidHsmClusterId.into());
        }
        hosting.map(drop)
    }
}

impl GenerateDataKey {
    /// The data key to be hosted, if it is to be.
    fn hosting(&self) -> Result<Option<NewDataKey>> {
        match self.hosted {
            None | Some(0) => return Ok(None),
            Some(1) => {}
            Some(_) => return Err(ApiError::invalid("IsHostedByKms", "must be 0 or 1", "必须为 0 或 1")),
        }
        Ok(Some(NewDataKey {
            name: self.name.as_ref().and_then(|n| n.0.clone()).ok_or_else(|| ApiError::missing("DataKeyName"))?,
            description: self.description.as_ref().map(|d| d.0.clone()).unwrap_or_default(),
            tags: checked_tags(self.tags.as_deref().unwrap_or_default())?,
            origin: Origin::Kms,
        }))
    }

    /// Length in bytes; `NumberOfBytes` wins over `KeySpec`.
    fn length(&self) -> Result<usize> {
        match (self.bytes, self.spec.as_deref()) {
            (Some(n), _) if n != 0 => random_length(n),
            (_, Some("AES_256")) => Ok(32),
            (_, Some("AES_128")) => Ok(16),
            (_, Some(text)) if !text.is_empty() => {
                Err(ApiError::invalid("KeySpec", "must be AES_128 or AES_256", "必须为 AES_128 或 AES_256"))
            }
            (Some(n), _) => random_length(n),
            _ => Err(ApiError::with_text(
                E::InvalidParameter,
                "One of `KeySpec` and `NumberOfBytes` is needed.",
                "`KeySpec` 和 `NumberOfBytes` 必须提供其一。",
            )),
        }
    }
}

fn random_length(n: u64) -> Result<usize> {
    if !(1..=limits::MAX_RANDOM_BYTES).contains(&n) {
        return Err(ApiError::invalid("NumberOfBytes", "must be 1 to 1024", "必须为 1 到 1024"));
    }
    usize::try_from(n).map_err(ApiError::internal)
}

request! {
    /// Makes random bytes.
    GenerateRandom {
        required bytes: u64 = "NumberOfBytes", Doc("Length, 1 to 1024.", "长度，1 到 1024。");
    }
}

answer! {
    /// Random bytes.
    Random {
        plaintext: SecretBase64 = "Plaintext", Doc("Random bytes, base64.", "随机数，base64。");
    }
}

impl Action for GenerateRandom {
    const SPEC: Spec = Spec {
        name: "GenerateRandom",
        access: Access::Use,
        errors: &[],
        doc: Doc("Returns random bytes.", "生成随机数。"),
    };
    type On = Account;
    type Response = Random;

    async fn run(self, _: Account, _: &Cx<'_>) -> Result<Random> {
        let bytes = jadeseal_crypto::random::secret(random_length(self.bytes)?).map_err(ApiError::internal)?;
        Ok(Random { plaintext: SecretBase64(bytes) })
    }
}
