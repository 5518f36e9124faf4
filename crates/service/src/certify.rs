//! The key that signs checkpoints of the audit log: made once, wrapped under the root key, kept in the store. And the
//! newest checkpoint, which the store remembers too, so that a log that was cut together with its own files is noticed.

use crate::Service;
use jadeseal_audit::{AuditError, Certifier, Checkpoint, Log, Note, Signer, Verifier};
use jadeseal_crypto::{Ed25519Key, Sm2Key, parent_version, random};
use jadeseal_root::Keyring;
use jadeseal_store::{RootState, Store};
use jadeseal_types::{ApiError, SecretBytes, Suite, error::Result};

/// What the checkpoints of a deployment's audit log need.
#[derive(Clone, Debug, Default)]
pub struct Witnessing {
    /// Keys of the witnesses.
    pub witnesses: Vec<Verifier>,
    /// How many of them must have signed a checkpoint before it is published.
    pub required: usize,
}

/// Name of the log.
const ORIGIN: &str = "audit_origin";
/// The newest checkpoint, as a note.
const CHECKPOINT: &str = "audit_checkpoint";

/// Which of the two algorithms.
#[derive(Clone, Copy)]
enum Kind {
    Ed25519,
    Sm2,
}

impl Kind {
    /// A deployment that wraps with SM4 uses nothing that is not of the Chinese standards.
    fn of(suite: Suite) -> Self {
        if suite == Suite::Sm4 { Kind::Sm2 } else { Kind::Ed25519 }
    }

    const fn meta(self) -> &'static str {
        match self {
            Kind::Ed25519 => "audit_key_ed25519",
            Kind::Sm2 => "audit_key_sm2",
        }
    }

    fn generate(self) -> Result<SecretBytes> {
        let made = match self {
            Kind::Ed25519 => random::secret(jadeseal_crypto::ed25519::SEED),
            Kind::Sm2 => Sm2Key::generate().map(|key| key.to_scalar()),
        };
        made.map_err(ApiError::internal)
    }

    fn signer(self, origin: &str, secret: &SecretBytes) -> Result<Signer> {
        let key = match self {
            Kind::Ed25519 => Ed25519Key::from_seed(secret.expose()).map(|key| Signer::ed25519(origin, key)),
            Kind::Sm2 => Sm2Key::from_scalar(secret.expose()).map(|key| Signer::sm2(origin, key)),
        };
        key.map_err(ApiError::internal)?.map_err(ApiError::internal)
    }
}

/// A small value of the store; an empty one counts as none.
async fn meta(store: &dyn Store, key: &str) -> Result<Option<Vec<u8>>> {
    Ok(store.meta_get(key).await.map_err(ApiError::internal)?.filter(|value| !value.is_empty()))
}

/// Lets the log sign its checkpoints, with a key that is made at the first start. Refuses a log that is not the one that the
/// store remembers.
pub(crate) async fn begin(store: &dyn Store, keyring: &Keyring, log: &Log, witnessing: Witnessing) -> Result<()> {
    let origin = match meta(store, ORIGIN).await? {
        Some(origin) => String::from_utf8(origin).map_err(ApiError::internal)?,
        None => {
            let random = random::identifier().map_err(ApiError::internal)?;
            let origin: String = random.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            let origin = format!("jadeseal.invalid/{origin}");
            store.meta_put(ORIGIN, origin.as_bytes()).await.map_err(ApiError::internal)?;
            origin
        }
    };
    let kind = Kind::of(keyring.suite());
    let signer = kind.signer(&origin, &key(store, keyring, kind, &origin).await?)?;
    if let Some(note) = meta(store, CHECKPOINT).await? {
        remembered(log, &note)?;
    }
    let Witnessing { witnesses, required } = witnessing;
    log.certify(Certifier { signer, witnesses, required }).map_err(ApiError::internal)
}

/// The wrapped key of the store, or a new one.
async fn key(store: &dyn Store, keyring: &Keyring, kind: Kind, origin: &str) -> Result<SecretBytes> {
    // A rekey may replace the root key while the key is being made.
    for _ in 0..4 {
        if let Some(wrapped) = meta(store, kind.meta()).await? {
            return keyring.open_audit_key(origin.as_bytes(), &wrapped).map_err(ApiError::internal);
        }
        let rows = store.root_rows().await.map_err(ApiError::internal)?;
        let current = rows.iter().find(|row| row.state == RootState::Current).map(|row| row.version);
        if current != Some(keyring.current()) {
            return Err(ApiError::internal("the root key was replaced during the start; start again"));
        }
        let secret = kind.generate()?;
        let wrapped = keyring.seal_audit_key(origin.as_bytes(), &secret).map_err(ApiError::internal)?;
        store.meta_put(kind.meta(), &wrapped).await.map_err(ApiError::internal)?;
    }
    Err(ApiError::internal("the audit log's signing key does not stay in the store"))
}

/// Wraps the audit log's keys anew where a root key that is about to go wraps them.
pub(crate) async fn rewrap(store: &dyn Store, keyring: &Keyring, old: u32) -> Result<()> {
    let Some(origin) = meta(store, ORIGIN).await? else { return Ok(()) };
    for kind in [Kind::Ed25519, Kind::Sm2] {
        let Some(wrapped) = meta(store, kind.meta()).await? else { continue };
        if parent_version(&wrapped).map_err(ApiError::internal)? != old {
            continue;
        }
        let secret = keyring.open_audit_key(&origin, &wrapped).map_err(ApiError::internal)?;
        let wrapped = keyring.seal_audit_key(&origin, &secret).map_err(ApiError::internal)?;
        if !keyring.open_audit_key(&origin, &wrapped).map_err(ApiError::internal)?.ct_eq(secret.expose()) {
            return Err(ApiError::internal("the re-wrapped key of the audit log did not read back"));
        }
        store.meta_put(kind.meta(), &wrapped).await.map_err(ApiError::internal)?;
    }
    Ok(())
}

/// Refuses a log that is not what the store remembers of it.
fn remembered(log: &Log, note: &[u8]) -> Result<()> {
    let note = Note::parse(note).map_err(ApiError::internal)?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(ApiError::internal)?;
    let (records, promised) = (log.next_index(), checkpoint.size);
    if records < promised {
        let cause = AuditError::Shorter { records, promised };
        return Err(ApiError::internal(format!(
            "{cause} (the store remembers it; see docs/audit-log.md, \"A log that is refused\")"
        )));
    }
    match log.root_at(promised) {
        Ok(root) if root == checkpoint.root => Ok(()),
        Ok(_) => Err(ApiError::internal(AuditError::Forked(promised))),
        // On a full disk the tree is behind the records; what is there was checked when the log was opened.
        Err(e) => {
            tracing::warn!(error = %e, "the audit log could not be compared with what the store remembers of it");
            Ok(())
        }
    }
}

/// Tells the store the newest published checkpoint, if it has grown.
pub(crate) async fn remember(svc: &Service, last: &mut u64) -> Result<()> {
    let Some(published) = svc.journal.log().published().filter(|p| p.checkpoint.size > *last) else { return Ok(()) };
    svc.store.meta_put(CHECKPOINT, published.note.to_string().as_bytes()).await.map_err(ApiError::internal)?;
    *last = published.checkpoint.size;
    Ok(())
}

/// Gives the log a new name and forgets its last checkpoint, so that a service starts with an empty log: after a restore
/// without the old log, or when the operator has decided that the old one is lost. Tells the checkpoint that was forgotten.
pub async fn forget_log(store: &dyn Store) -> Result<Option<String>> {
    let old = meta(store, CHECKPOINT).await?.map(|note| String::from_utf8_lossy(&note).into_owned());
    // The signing keys are bound to the name of the log.
    for key in [CHECKPOINT, ORIGIN, Kind::Ed25519.meta(), Kind::Sm2.meta()] {
        store.meta_put(key, b"").await.map_err(ApiError::internal)?;
    }
    Ok(old)
}
