//! Bring your own key: wrapping parameters, import, removal.

use super::{Cmk, Empty, Known, OnKey, on_key};
use crate::{
    action::{Access, Action, Spec, family},
    cx::{CommitError, Cx},
    docs,
    lifecycle::{Step, apply},
    schema::{Doc, answer, request},
    values::{Base64, Encoded},
    vault::{Vault, import_place},
    workers::NotDone,
};
use jadeseal_crypto::{ImportKey, rsa::Padding};
use jadeseal_store::{Change, ImportParams};
use jadeseal_types::{ApiError, ErrorCode as E, KeyId, SecretBytes, error::Result, limits};
use subtle::ConstantTimeEq;

family![GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial];

/// Length of an import token in bytes; opaque random bytes, of which the store keeps a digest.
const TOKEN_BYTES: usize = 96;

request! {
    /// Asks for a wrapping key and a token.
    GetParametersForImport {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        required algorithm: String = "WrappingAlgorithm", Doc("RSAES_PKCS1_V1_5, RSAES_OAEP_SHA_1 or RSAES_OAEP_SHA_256.", "RSAES_PKCS1_V1_5、RSAES_OAEP_SHA_1 或 RSAES_OAEP_SHA_256。");
        required spec: String = "WrappingKeySpec", Doc("RSA_2048.", "RSA_2048。");
    }
}

answer! {
    /// A wrapping key and a token, good for 24 hours.
    ImportParameters {
        key_id: KeyId = "KeyId", docs::KEY_ID;
        token: Base64 = "ImportToken", Doc("Token to give back with the material.", "导入时须提供的令牌。");
        public_key: Base64 = "PublicKey", Doc("RSA public key (SPKI DER), base64.", "RSA 公钥（SPKI DER），base64。");
        valid_to: u64 = "ParametersValidTo", Doc("Expiry of both, Unix seconds.", "两者的过期时间，Unix 秒。");
    }
}

/// The API wraps imported material with RSA only.
fn rsa_is_allowed(cx: &Cx<'_>) -> Result<()> {
    if !cx.region.profile.is_strict() {
        return Ok(());
    }
    Err(ApiError::with_text(
        E::UnsupportedOperation,
        "The region allows no RSA, so key material cannot be wrapped for import.",
        "该地域不允许使用 RSA，无法包装并导入密钥材料。",
    ))
}

impl OnKey for GetParametersForImport {
    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn early(&self, cx: &Cx<'_>) -> Result<()> {
        rsa_is_allowed(cx)?;
        if Padding::from_wire(&self.algorithm).is_none() {
            let names: Vec<_> = Padding::ALL.iter().map(|p| p.wire()).collect();
            let names = names.join(", ");
            let (en, zh) = (format!("must be one of {names}"), format!("必须为以下之一：{names}"));
            return Err(ApiError::invalid("WrappingAlgorithm", &en, &zh));
        }
        if self.spec != "RSA_2048" {
            return Err(ApiError::invalid("WrappingKeySpec", "must be RSA_2048", "必须为 RSA_2048"));
        }
        Ok(())
    }
}

impl Action for GetParametersForImport {
    const SPEC: Spec = Spec {
        name: "GetParametersForImport",
        access: Access::Write,
        errors: &[E::InvalidKeyId, E::CmkNotFound, E::CmkStateNotSupport, E::NotExternalCmk, E::UnsupportedOperation],
        doc: Doc("Returns a wrapping key and a token for ImportKeyMaterial.", "获取导入密钥材料所需的公钥和令牌。"),
    };
    type On = Cmk<Known>;
    type Response = ImportParameters;

    async fn run(self, cmk: Cmk<Known>, cx: &Cx<'_>) -> Result<ImportParameters> {
        let row = &cmk.entry.row;
        apply(row, Step::PrepareImport, cx.now)?;
        let domain = cx.svc.vault.newest(cx.scope.account()).await?;
        let expires = cx.now + limits::IMPORT_TOKEN_SECONDS;
        cx.commit_with_rsa_pair(|pair| {
            let mut token = vec![0; TOKEN_BYTES];
            jadeseal_crypto::random::fill(&mut token).map_err(ApiError::internal)?;
            let params = ImportParams {
                key_id: row.key_id,
                token_digest: jadeseal_crypto::sha256(&token),
                algorithm: self.algorithm.clone(),
                wrapped_private: domain.seal(&import_place(row), pair.pkcs8.expose()).map_err(ApiError::internal)?,
                domain_version: domain.version(),
                expires,
                failures: 0,
            };
            let answer = ImportParameters {
                key_id: row.key_id,
                token: Base64(token),
                public_key: Base64(pair.spki.clone()),
                valid_to: expires,
            };
            Ok((vec![Change::PutImport(params)], answer))
        })
        .await
    }
}

request! {
    /// Imports wrapped material.
    ImportKeyMaterial {
        required material: Encoded<4096> = "EncryptedKeyMaterial", Doc("Key material encrypted to the wrapping key, base64.", "用导入公钥加密的密钥材料，base64。");
        required token: Encoded<1024> = "ImportToken", Doc("Token of GetParametersForImport.", "GetParametersForImport 返回的令牌。");
        required key_id: KeyId = "KeyId", docs::KEY_ID;
        optional valid_to: u64 = "ValidTo", Doc("Expiry, Unix seconds; 0 is never.", "过期时间，Unix 秒，0 表示永不过期。");
    }
}

impl OnKey for ImportKeyMaterial {
    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn early(&self, cx: &Cx<'_>) -> Result<()> {
        rsa_is_allowed(cx)?;
        let valid_to = self.valid_to.unwrap_or(0);
        if valid_to != 0 && (valid_to <= cx.now || valid_to > limits::MAX_VALID_TO) {
            return Err(ApiError::invalid(
                "ValidTo",
                "must be 0 or in the future, at most 2147443200",
                "必须为 0 或将来的时间，最大 2147443200",
            ));
        }
        Ok(())
    }
}

impl Action for ImportKeyMaterial {
    const SPEC: Spec = Spec {
        name: "ImportKeyMaterial",
        access: Access::Write,
        errors: &[
            E::DecryptMaterialError,
            E::InvalidKeyId,
            E::MaterialNotMatch,
            E::CmkNotFound,
            E::CmkStateNotSupport,
            E::TokenExpired,
            E::NotExternalCmk,
            E::UnsupportedOperation,
        ],
        doc: Doc("Imports key material into an EXTERNAL CMK.", "导入密钥材料。"),
    };
    type On = Cmk<Known>;
    type Response = Empty;

    async fn run(self, cmk: Cmk<Known>, cx: &Cx<'_>) -> Result<Empty> {
        let valid_to = self.valid_to.unwrap_or(0);
        let row = &cmk.entry.row;
        apply(row, Step::Import(valid_to), cx.now)?;
        let (material, token_digest) = self.unwrap(row, cx).await?;
        let domain = cx.svc.vault.newest(cx.scope.account()).await?;
        // Keyed, so that a copy of the database does not allow testing guesses of the material. Always by the
        // first version of the domain key: digests must stay comparable when there are newer ones.
        let first = cx.svc.vault.domain(cx.scope.account(), 1).await?;
        let digest = first.digest("imported material", material.expose());
        cx.change_key(row.key_id, |row| {
            let mut next = apply(row, Step::Import(valid_to), cx.now)?
                .ok_or_else(|| ApiError::internal("an import changed nothing"))?;
            if row.material_digest.is_some_and(|known| !bool::from(known.ct_eq(&digest))) {
                return Err(E::MaterialNotMatch.into());
            }
            next.material_digest = Some(digest);
            let fresh = row.current_version == 0;
            let version = Vault::seal_material(&domain, &next, 1, &material, cx.now)?;
            let back = Change::ReturnImportAttempt { key_id: row.key_id, token_digest };
            let mut changes = vec![Change::UpdateKey { cmk: next }, back];
            if fresh {
                changes.push(Change::AddVersion(version));
            }
            Ok((changes, Empty {}))
        })
        .await
    }
}

impl ImportKeyMaterial {
    /// Checks the token, takes one of its ten attempts and unwraps the material; returns it with the token's
    /// digest. Whatever is wrong with the wrapped bytes gives one error, and only a successful import gives the
    /// attempt back (not one of material that differs from the first), so that this is no padding oracle.
    async fn unwrap(&self, row: &jadeseal_store::Cmk, cx: &Cx<'_>) -> Result<(SecretBytes, [u8; 32])> {
        let params = cx.svc.store.import_params(&cx.scope, row.key_id).await.map_err(ApiError::internal)?;
        let params = params.ok_or(E::TokenExpired)?;
        let given = jadeseal_crypto::sha256(&self.token.0);
        if !bool::from(given.ct_eq(&params.token_digest)) || params.expires <= cx.now {
            return Err(E::TokenExpired.into());
        }
        let sealed_by = cx.svc.vault.domain(cx.scope.account(), params.domain_version).await?;
        let private = sealed_by.open(&import_place(row), &params.wrapped_private).map_err(ApiError::internal)?;
        let algorithm = Padding::from_wire(&params.algorithm)
            .ok_or_else(|| ApiError::internal("unknown wrapping algorithm in a row"))?;
        // Before decrypting, or callers that come at once would get more attempts than there are.
        let limit = limits::IMPORT_TOKEN_FAILURES;
        let take = Change::TakeImportAttempt { key_id: row.key_id, token_digest: params.token_digest, limit };
        match cx.commit_unrecorded(vec![take]).await {
            Ok(_) => {}
            Err(CommitError::Conflict) => return Err(E::TokenExpired.into()),
            Err(e) => return Err(e.into()),
        }
        let wrapped = self.material.0.clone();
        let computed = cx.svc.workers.run(move || {
            let pair = ImportKey::from_pkcs8(private.expose()).map_err(ApiError::internal)?;
            Ok(pair.unwrap(algorithm, &wrapped).ok())
        });
        let unwrapped: Result<_> = match computed.await {
            Err(e @ (NotDone::Busy | NotDone::Closed)) => {
                // Nothing has been decrypted.
                let back = Change::ReturnImportAttempt { key_id: row.key_id, token_digest: params.token_digest };
                cx.commit_unrecorded(vec![back]).await?;
                return Err(e.into());
            }
            Err(e @ NotDone::Panicked) => return Err(e.into()),
            Ok(done) => done,
        };
        let unwrapped = unwrapped?.filter(|m| m.len() == row.suite.material_len());
        Ok((unwrapped.ok_or(E::DecryptMaterialError)?, params.token_digest))
    }
}

request! {
    /// Removes imported material.
    DeleteImportedKeyMaterial {
        required key_id: KeyId = "KeyId", docs::KEY_ID;
    }
}

on_key!(DeleteImportedKeyMaterial);

impl Action for DeleteImportedKeyMaterial {
    const SPEC: Spec = Spec {
        name: "DeleteImportedKeyMaterial",
        access: Access::Write,
        errors: &[E::InvalidKeyId, E::CmkNotFound, E::CmkStateNotSupport, E::NotExternalCmk, E::CmkUsedByCloudProduct],
        doc: Doc(
            "Removes imported key material; the key becomes PendingImport.",
            "删除导入的密钥材料，密钥变为待导入。",
        ),
    };
    type On = Cmk<Known>;
    type Response = Empty;

    async fn run(self, cmk: Cmk<Known>, cx: &Cx<'_>) -> Result<Empty> {
        cx.change_key(cmk.entry.row.key_id, |row| Ok((dropping(row, Step::DropMaterial, cx.now)?, Empty {}))).await
    }
}

/// The changes that take a key's imported material away. Its token stays: it is good for its 24 hours,
/// for the import that may follow.
pub(crate) fn dropping(row: &jadeseal_store::Cmk, step: Step, now: u64) -> Result<Vec<Change>> {
    let Some(cmk) = apply(row, step, now)? else { return Ok(Vec::new()) };
    let key_id = cmk.key_id;
    Ok(vec![Change::UpdateKey { cmk }, Change::DropVersions(key_id)])
}
