//! The key management service: actions, pipeline, life cycle, caches and background jobs.
//!
//! It speaks no HTTP: the server hands it a raw request and gets the bytes of an answer.
#![forbid(unsafe_code)]

pub mod accounts;
mod action;
mod actions;
mod authorise;
pub mod backup;
pub mod certify;
pub mod clock;
mod credentials;
pub mod custody;
mod cx;
mod docs;
mod events;
pub mod explain;
mod export;
mod export_figures;
mod gap;
mod guard;
pub mod hosting;
pub mod jobs;
mod journal;
mod keys;
pub mod lifecycle;
pub mod looks;
mod metrics;
mod organisations;
mod pipeline;
pub mod pool;
mod presets;
mod principals;
pub mod products;
pub mod quotas;
mod rates;
pub mod records;
pub mod region;
pub mod rekey;
pub mod retention;
mod schema;
pub mod scope;
mod sessions;
mod uses;
mod values;
mod vault;
mod workers;

pub use action::Members;
pub use export::{EXPORTS, Export};
pub use export_figures::{ExportFigures, TellExports};
pub use pipeline::Reply;
pub use workers::WorkerLimits;

use action::Entry;
use certify::Witnessing;
use clock::Clock;
use credentials::Credentials;
use events::Events;
use guard::Guard;
use hashbrown::HashMap;
use jadeseal_audit::Log;
use jadeseal_auth::{Bindings, Organisations, ReplayGuard, policy::ActionId};
use jadeseal_root::SealSource;
use jadeseal_store::Store;
use jadeseal_types::{ApiError, KeyId, Suite, error::Result};
use journal::Journal;
use keys::Keys;
use metrics::Metrics;
use organisations::Directory;
use pool::RsaPool;
use principals::Principals;
use products::{DefaultKeys, Products};
use quotas::Quotas;
use region::Regions;
use retention::Retiring;
use std::{path::PathBuf, sync::Arc};
use uuid::Uuid;
use vault::Vault;
use workers::Workers;

/// Version of the key management API.
pub const KMS_VERSION: &str = "2019-01-18";

/// RSA key pairs made ahead of time: as many as a burst of CreateKey may take before it waits.
pub const DEFAULT_RSA_POOL: usize = 32;

/// Sizes of caches, pools and queues.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Cached CMKs.
    pub cached_keys: usize,
    /// Remembered TC3 signatures that do not cover their action.
    pub replay_entries: usize,
    /// Threads for asymmetric operations.
    pub workers: WorkerLimits,
    /// RSA key pairs made ahead of time.
    pub rsa_pool: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            cached_keys: 200_000,
            replay_entries: 4_000_000,
            workers: WorkerLimits::default(),
            rsa_pool: DEFAULT_RSA_POOL,
        }
    }
}

/// What a service is made of.
pub struct Parts {
    /// Where rows live.
    pub store: Arc<dyn Store>,
    /// Root of trust.
    pub seal: SealSource,
    /// Audit log.
    pub log: Arc<Log>,
    /// Who else signs its checkpoints.
    pub witnessing: Witnessing,
    /// Which of its records go; none: all stay.
    pub retiring: Option<Retiring>,
    /// Served regions.
    pub regions: Regions,
    /// Cloud products that may act for accounts.
    pub products: Products,
    /// Which accounts may act for which.
    pub organisations: Organisations,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Sizes.
    pub limits: Limits,
    /// What accounts may have and how often they may call.
    pub quotas: Quotas,
    /// Who is served with a client certificate only.
    pub certificates: Bindings,
    /// Where an orderly stop leaves RSA key pairs for the next start.
    pub rsa_pool_file: Option<PathBuf>,
    /// Make the first root key of an empty store; otherwise an empty store is refused.
    pub create: bool,
}

/// The running service.
pub struct Service {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) keys: Keys,
    pub(crate) principals: Arc<Principals>,
    pub(crate) credentials: Credentials,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) regions: Regions,
    pub(crate) product_keys: DefaultKeys,
    pub(crate) directory: Directory,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Journal,
    pub(crate) retiring: Option<Retiring>,
    pub(crate) events: Events,
    pub(crate) replay: ReplayGuard,
    pub(crate) guard: Guard,
    pub(crate) workers: Arc<Workers>,
    /// Threads that make RSA keys for callers who wait for one.
    pub(crate) makers: Workers,
    pub(crate) pool: RsaPool,
    pub(crate) metrics: Metrics,
    pub(crate) certificates: Bindings,
    /// By version and name.
    actions: HashMap<(&'static str, &'static str), Route>,
    id_context: uuid::ContextV1,
    id_node: [u8; 6],
}

impl Service {
    /// Unlocks the key hierarchy, copies what a crash left in the outbox, and is ready to answer.
    pub async fn open(parts: Parts) -> Result<Arc<Self>> {
        let Parts { store, seal, log, witnessing, retiring, regions, products, organisations, .. } = parts;
        let Parts { clock, limits, quotas, certificates, rsa_pool_file, create, .. } = parts;
        let quotas = Arc::new(quotas);
        let principals = Arc::new(Principals::new(store.clone(), &regions, organisations.clone()));
        let vault = Arc::new(Vault::unlock(store.clone(), seal, create, regions.hierarchy_suite()).await?);
        certify::begin(store.as_ref(), vault.keyring(), &log, witnessing).await?;
        let journal = Journal::open(log.clone(), store.clone(), clock.clone()).await?;
        let events = Events::start(log)?;
        let mut seed = [0u8; 8];
        jadeseal_crypto::random::fill(&mut seed).map_err(ApiError::internal)?;
        let [a, b, mut node @ ..] = seed;
        // RFC 9562 section 6.10: a random node id has the multicast bit set.
        node[0] |= 1;
        let workers = Arc::new(Workers::start("asymmetric", limits.workers).map_err(ApiError::internal)?);
        let makers = Workers::start("rsa-keys", limits.workers.lengthy()).map_err(ApiError::internal)?;
        // Where no region makes RSA keys or wraps imports with them, none are made ahead.
        let wanted = if regions.iter().any(|r| !r.profile.is_strict()) { limits.rsa_pool } else { 0 };
        let pool = RsaPool::open(&vault, wanted, rsa_pool_file);
        let routes = entries().enumerate();
        let mut actions = HashMap::new();
        for (index, entry) in routes {
            let action = presets::VOCABULARY.find(entry.api.service, entry.spec.name);
            let action = action.ok_or_else(|| ApiError::internal(format!("no policy can name {}", entry.spec.name)))?;
            actions.insert((entry.api.version, entry.spec.name), Route { entry, index, action });
        }
        Ok(Arc::new(Service {
            keys: Keys::new(store.clone(), vault.clone(), workers.clone(), limits.cached_keys),
            credentials: Credentials::new(store.clone(), vault.clone(), principals.clone(), products, quotas.clone()),
            principals,
            product_keys: DefaultKeys::default(),
            directory: Directory::new(organisations, store.clone()),
            quotas,
            metrics: Metrics::new(entries().map(|e| e.spec.name), journal.refused()),
            replay: ReplayGuard::new(limits.replay_entries),
            guard: Guard::default(),
            id_context: uuid::ContextV1::new(u16::from_be_bytes([a, b])),
            id_node: node,
            store,
            vault,
            regions,
            clock,
            journal,
            retiring,
            events,
            workers,
            makers,
            pool,
            certificates,
            actions,
        }))
    }

    /// A fresh key or task id: a version-1 UUID, as the real API's.
    pub(crate) fn new_key_id(&self) -> Result<KeyId> {
        let t = self.clock.wall();
        let stamp = uuid::Timestamp::from_unix(&self.id_context, t.as_secs(), t.subsec_nanos());
        Ok(KeyId::from_bytes(*Uuid::new_v1(stamp, &self.id_node).as_bytes()))
    }

    /// Fills the key cache; to be run beside serving.
    pub async fn warm(&self) -> Result<usize> {
        self.keys.warm().await
    }

    /// Forgets principals and access keys that another process on the same store has changed.
    pub async fn refresh_principals(&self) -> Result<()> {
        self.principals.refresh().await
    }

    /// Whether store and audit log take work.
    pub async fn ready(&self) -> Result<(), NotReady> {
        self.store.ping().await.map_err(|e| NotReady { reason: "store: no answer", cause: e.to_string() })?;
        match self.journal.trouble() {
            None => Ok(()),
            Some(reason) => Err(NotReady { reason, cause: String::new() }),
        }
    }

    /// False once the audit log has failed for good: the process must end, and recover at its next start.
    pub fn alive(&self) -> bool {
        !self.journal.log().poisoned()
    }

    /// RSA key pairs that are ready.
    pub fn pooled_rsa_keys(&self) -> usize {
        self.pool.ready()
    }

    /// Shows figures of audit exports among the metrics. The first call counts.
    pub fn show_exports(&self, tell: TellExports) {
        self.metrics.exports.show(tell);
    }

    /// Number of cached CMKs.
    pub fn cached_keys(&self) -> usize {
        self.keys.len()
    }

    /// Counts a checkpoint of the audit log that a witness has not signed.
    pub fn witness_failed(&self) {
        self.metrics.witness_failed();
    }

    /// The audit log.
    pub fn audit_log(&self) -> &Log {
        self.journal.log()
    }

    /// Saves what is known of last uses, flushes the audit log and closes the store. No request may be running.
    pub async fn close(&self) -> Result<()> {
        self.pool.leave();
        if let Err(e) = jobs::save_uses(self, None).await {
            tracing::error!(cause = e.internal_cause().unwrap_or(""), "last uses could not be saved at shutdown");
        }
        self.events.close();
        self.journal.close().await;
        if let Err(e) = certify::remember(self, &mut 0).await {
            tracing::error!(cause = e.internal_cause().unwrap_or(""), "the store was not told the last checkpoint");
        }
        self.store.close().await.map_err(ApiError::internal)
    }
}

/// Why the service takes no work.
#[derive(Debug)]
pub struct NotReady {
    /// In words that anybody may read.
    pub reason: &'static str,
    /// For the operator's log.
    pub cause: String,
}

/// Checks that a root of trust opens every root key version of a store, and changes nothing.
pub async fn check_root(store: &dyn Store, seal: &SealSource) -> Result<()> {
    let rows = store.root_rows().await.map_err(ApiError::internal)?;
    vault::unlock(seal, &rows, Suite::Aes256).map(drop)
}

/// An action with its place among [`entries`] and its number in policies.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub entry: &'static Entry,
    pub index: usize,
    pub action: ActionId,
}

/// Every action, in the order of the families.
pub(crate) fn entries() -> impl Iterator<Item = &'static Entry> {
    actions::FAMILIES.iter().flat_map(|family| family.iter())
}
