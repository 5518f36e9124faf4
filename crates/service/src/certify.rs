//! The key that signs checkpoints of the audit log: made once, wrapped under the root key, kept in the store. And the
//! newest checkpoint, which the store remembers too, so that a log that was cut together with its own files is noticed.

use crate::{Service, clock::SystemClock, records};
use jadeseal_audit::{AuditError, Certifier, Checkpoint, Log, Note, Signer, Verifier};
use jadeseal_crypto::{Ed25519Key, Sm2Key, random};
use jadeseal_root::Keyring;
use jadeseal_store::{RootState, Store, StoreError};
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

/// Records that the log must have, decimal.
const RECORDS: &str = "audit_records";

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
            Kind::Ed25519 => "under_root/audit_key_ed25519",
            Kind::Sm2 => "under_root/audit_key_sm2",
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
    let remembered_note = meta(store, CHECKPOINT).await?;
    let promised = promised(store).await?;
    if log.next_index() == 0 && remembered_note.is_none() && promised == 0 && meta(store, ORIGIN).await?.is_some() {
        // An empty log of which nothing is known: one that was lost in its first minute, or that has never had a record.
        // Another name costs nothing, and one name must never have two histories.
        forget_log(store).await?;
    }
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
    if log.next_index() < promised {
        return Err(too_short(log.next_index(), promised));
    }
    if let Some(note) = remembered_note {
        remembered(log, &note)?;
    }
    let Witnessing { witnesses, required } = witnessing;
    log.certify(Certifier { signer, witnesses, required }).map_err(ApiError::internal)
}

/// The wrapped key of the store, or a new one.
async fn key(store: &dyn Store, keyring: &Keyring, kind: Kind, origin: &str) -> Result<SecretBytes> {
    // A rekey may replace the root key while the key is being made.
    for _ in 0..4 {
        if let Some(value) = meta(store, kind.meta()).await? {
            let (_, wrapped) = from_under_root(&value)?;
            return keyring.open_audit_key(origin.as_bytes(), wrapped).map_err(ApiError::internal);
        }
        let rows = store.root_rows().await.map_err(ApiError::internal)?;
        let current = rows.iter().find(|row| row.state == RootState::Current).map(|row| row.version);
        if current != Some(keyring.current()) {
            return Err(ApiError::internal("the root key was replaced during the start; start again"));
        }
        let secret = kind.generate()?;
        let wrapped = keyring.seal_audit_key(origin.as_bytes(), &secret).map_err(ApiError::internal)?;
        match store.meta_put(kind.meta(), &under_root(keyring.current(), &wrapped)).await {
            // A rekey was faster; it is not known here.
            Ok(()) | Err(StoreError::Conflict) => {}
            Err(e) => return Err(ApiError::internal(e)),
        }
    }
    Err(ApiError::internal("the audit log's signing key does not stay in the store"))
}

/// Wraps the audit log's keys anew where a root key that is about to go wraps them.
pub(crate) async fn rewrap(store: &dyn Store, keyring: &Keyring, old: u32) -> Result<()> {
    let Some(origin) = meta(store, ORIGIN).await? else { return Ok(()) };
    for kind in [Kind::Ed25519, Kind::Sm2] {
        let Some(value) = meta(store, kind.meta()).await? else { continue };
        let (version, wrapped) = from_under_root(&value)?;
        if version != old {
            continue;
        }
        let secret = keyring.open_audit_key(&origin, wrapped).map_err(ApiError::internal)?;
        let wrapped = keyring.seal_audit_key(&origin, &secret).map_err(ApiError::internal)?;
        if !keyring.open_audit_key(&origin, &wrapped).map_err(ApiError::internal)?.ct_eq(secret.expose()) {
            return Err(ApiError::internal("the re-wrapped key of the audit log did not read back"));
        }
        let value = under_root(keyring.current(), &wrapped);
        store.meta_put(kind.meta(), &value).await.map_err(ApiError::internal)?;
    }
    Ok(())
}

/// A value of the store that lies under a root key, as [`Store::meta_put`] asks for it.
fn under_root(version: u32, wrapped: &[u8]) -> Vec<u8> {
    [&version.to_be_bytes()[..], wrapped].concat()
}

fn from_under_root(value: &[u8]) -> Result<(u32, &[u8])> {
    let (version, wrapped) =
        value.split_first_chunk().ok_or_else(|| ApiError::internal("the audit log's key in the store is cut"))?;
    Ok((u32::from_be_bytes(*version), wrapped))
}

fn too_short(records: u64, promised: u64) -> ApiError {
    let cause = AuditError::Shorter { records, promised };
    ApiError::internal(format!("{cause} (the store remembers it; see docs/audit-log.md, \"A log that is refused\")"))
}

/// Records that the log must have at least, as a restore has noted it.
async fn promised(store: &dyn Store) -> Result<u64> {
    let Some(value) = meta(store, RECORDS).await? else { return Ok(0) };
    let number = String::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| ApiError::internal("the store's number of audit records is none"))
}

/// Notes what a backup knew of the log that is to go on: so many records, and perhaps a checkpoint, which counts where it is
/// newer than the store's own.
pub(crate) async fn expect_log(store: &dyn Store, records: u64, checkpoint: Option<&[u8]>) -> Result<()> {
    let size = |note: &[u8]| Some(Checkpoint::parse(Note::parse(note).ok()?.text()).ok()?.size);
    let own = meta(store, CHECKPOINT).await?.as_deref().and_then(size).unwrap_or(0);
    if let Some(note) = checkpoint.filter(|note| size(note) > Some(own)) {
        store.meta_put(CHECKPOINT, note).await.map_err(ApiError::internal)?;
    }
    store.meta_put(RECORDS, records.to_string().as_bytes()).await.map_err(ApiError::internal)
}

/// Refuses a log that is not what the store remembers of it.
fn remembered(log: &Log, note: &[u8]) -> Result<()> {
    let note = Note::parse(note).map_err(ApiError::internal)?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(ApiError::internal)?;
    let (records, promised) = (log.next_index(), checkpoint.size);
    if records < promised {
        return Err(too_short(records, promised));
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

/// The last checkpoint that the store knows of, as a note.
pub async fn last_known(store: &dyn Store) -> Result<Option<String>> {
    Ok(meta(store, CHECKPOINT).await?.map(|note| String::from_utf8_lossy(&note).into_owned()))
}

/// Gives the log a new name and forgets its last checkpoint, so that a service starts with an empty log: after a restore
/// without the old log, or when the operator has decided that the old one is lost.
pub async fn forget_log(store: &dyn Store) -> Result<()> {
    // The signing keys are bound to the name of the log, which therefore goes last: whatever a crash leaves opens.
    for key in [Kind::Ed25519.meta(), Kind::Sm2.meta(), CHECKPOINT, RECORDS, ORIGIN] {
        store.meta_put(key, b"").await.map_err(ApiError::internal)?;
    }
    Ok(())
}

/// The same for an operator, with a record of it for the log that begins.
pub async fn give_up_log(store: &dyn Store) -> Result<()> {
    let mut subjects = Vec::new();
    if let Some(note) = last_known(store).await?
        && let Ok(checkpoint) = Note::parse(note.as_bytes()).and_then(|note| Checkpoint::parse(note.text()))
    {
        subjects = vec![format!("log/{}", checkpoint.origin), format!("records/{}", checkpoint.size)];
    }
    records::record(store, &SystemClock::default(), "BeginAuditLogAnew", &subjects, &[], None).await?;
    forget_log(store).await
}
