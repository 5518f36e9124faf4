//! Puts the parts together: process hardening, lock, store, root of trust, audit log, service, listener.

use crate::{
    bindings,
    config::{Config, RootConf},
    http,
    metrics::Metrics,
    telemetry,
    tls::Acceptor,
    witness,
};
use jadeseal_audit::{Degree, Log, Options};
use jadeseal_export::Exports;
use jadeseal_root::{PassphraseFrom, SealSource, ShareFrom};
use jadeseal_service::{
    ExportFigures, Limits, Parts, Service,
    clock::{Clock as _, SystemClock},
    custody, jobs, pool,
    retention::{NeededFrom, Retiring},
};
use jadeseal_store::{SqliteStore, Store};
use jadeseal_types::ApiError;
use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    mm::MlockAllFlags,
    process::{DumpableBehavior, Resource, Rlimit},
};
use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch};

/// Why the process cannot start, in words for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    fn new(what: &str, cause: impl fmt::Display) -> Self {
        StartError(format!("{what}: {cause}"))
    }
}

impl From<crate::config::ConfigError> for StartError {
    fn from(e: crate::config::ConfigError) -> Self {
        StartError(e.to_string())
    }
}

fn internal(what: &str) -> impl Fn(ApiError) -> StartError + '_ {
    move |e| StartError::new(what, e.internal_cause().unwrap_or(&e.to_string()))
}

/// Seeds the random number generator beside the rest of the start: its first use gathers processor
/// jitter for some tens of milliseconds.
pub fn seed_random_early() {
    std::thread::spawn(|| {
        if jadeseal_crypto::random::salt().is_err() {
            tracing::error!("no randomness is to be had");
        }
    });
}

/// Keeps secrets of this process out of core dumps, debuggers and, where it is allowed, swap. Returns
/// what could not be had, for the log.
pub fn harden() -> Vec<String> {
    let mut missing = Vec::new();
    let mut note = |what: &str, result: rustix::io::Result<()>| {
        if let Err(e) = result {
            missing.push(format!("{what}: {e}"));
        }
    };
    note("no core dumps", rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }));
    // A process that is not dumpable cannot be traced by others of its user either.
    note("not dumpable", rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable));
    // The soft limit is low for the sake of programs that use select(); this one does not.
    let files = rustix::process::getrlimit(Resource::Nofile);
    note("open files", rustix::process::setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }));
    // On fault: the allocator reserves far more address space than it uses.
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    if rustix::process::getrlimit(Resource::Memlock).current.is_none() || rustix::process::geteuid().is_root() {
        note("memory locked", rustix::mm::mlockall(flags));
    } else {
        // With a limit, a locked process would die of it when its caches grow.
        missing.push("memory locked: the limit on locked memory (ulimit -l) is not unlimited".to_owned());
    }
    missing
}

/// The lock that keeps a second server off a data directory. Held while it lives.
pub struct DataDir {
    _lock: OwnedFd,
}

impl DataDir {
    /// Makes the directory (mode 0700) if it is missing, and locks it.
    pub fn lock(path: &Path) -> Result<Self, StartError> {
        let named = |e: &dyn fmt::Display| StartError::new(&path.display().to_string(), e);
        let refused = |e: io::Error| match e.kind() {
            io::ErrorKind::ReadOnlyFilesystem => named(
                &"its file system is read-only, perhaps after an error: look at `dmesg`, run fsck, and mount it for writing",
            ),
            _ => named(&e),
        };
        make_dir(path).map_err(refused)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let file =
            rustix::fs::open(path.join("lock"), flags, Mode::RUSR | Mode::WUSR).map_err(|e| refused(e.into()))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| named(&"another Jadeseal process is serving this data directory"))?;
        Ok(DataDir { _lock: file })
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Where the root of trust is, in the root crate's words.
pub fn seal_source(conf: &RootConf) -> SealSource {
    let passphrase = |from| SealSource::Passphrase { from };
    match conf.clone() {
        RootConf::File(path) => SealSource::File { path },
        RootConf::PassphraseFile(path) => passphrase(PassphraseFrom::File(path)),
        RootConf::PassphraseEnv(name) => passphrase(PassphraseFrom::Env(name)),
        RootConf::PassphraseCredential(name) => passphrase(PassphraseFrom::SystemdCredential(name)),
        RootConf::Systemd(name) => SealSource::SystemdCredential { name },
        RootConf::Shamir(shares, threshold) => {
            SealSource::Shamir { shares: shares.iter().map(|share| ShareFrom::parse(share)).collect(), threshold }
        }
    }
}

/// When the first RSA keys are made ahead, after the start.
const POOL_DELAY: Duration = Duration::from_secs(10);

/// File name of the embedded store in its data directory.
pub const DATABASE: &str = "jadeseal.db";

/// Name of the audit log's directory in its data directory.
pub const AUDIT: &str = "audit";

/// Gives the audit log's directory another name, which it returns; none where there is no log.
pub fn set_log_aside(data_dir: &Path) -> Result<Option<PathBuf>, StartError> {
    let path = data_dir.join(AUDIT);
    if !path.exists() {
        return Ok(None);
    }
    let name = |n: u32| data_dir.join(format!("{AUDIT}.{n}"));
    let aside = (1..u32::MAX).map(name).find(|p| !p.exists()).unwrap_or_else(|| name(0));
    std::fs::rename(&path, &aside).map_err(|e| StartError::new(&path.display().to_string(), e))?;
    Ok(Some(aside))
}

fn not_initialised(data_dir: &Path) -> StartError {
    StartError::new(&data_dir.display().to_string(), "not initialised; run `jadeseal init`")
}

/// Opens the store of a data directory for a command that runs beside a service, or that changes nothing. Tables of an
/// older version are refused: an older service may be at work on them.
pub async fn open_store(data_dir: &Path) -> Result<Arc<dyn Store>, StartError> {
    open_store_with(data_dir, jadeseal_store::Options { migrate: false, ..jadeseal_store::Options::default() })
}

fn open_store_with(data_dir: &Path, options: jadeseal_store::Options) -> Result<Arc<dyn Store>, StartError> {
    let path = data_dir.join(DATABASE);
    let store = SqliteStore::open(&path, options);
    Ok(Arc::new(store.map_err(|e| StartError::new(&path.display().to_string(), e))?))
}

/// A service with what belongs to it, open and not yet serving.
pub struct Opened {
    /// The service.
    pub service: Arc<Service>,
    config: Config,
    log: Arc<Log>,
    _lock: DataDir,
}

/// Opens everything that a configuration names. With `create`, what is missing is made; without, a
/// data directory that was never initialised is refused rather than silently started anew.
pub async fn open(config: Config, create: bool) -> Result<Opened, StartError> {
    if !create && !config.data_dir.join(DATABASE).exists() {
        return Err(not_initialised(&config.data_dir));
    }
    let lock = DataDir::lock(&config.data_dir)?;
    let seal = seal_source(&config.root);
    // The lock says that nobody else serves it.
    let path = config.data_dir.join(DATABASE);
    let kept = SqliteStore::keep_before_migration(&path, SystemClock::default().now());
    if let Some(copy) = kept.map_err(|e| StartError::new(&path.display().to_string(), e))? {
        tracing::warn!(copy = %copy.display(), "the store is of an older release; a copy was made before it is brought forward");
    }
    let store = open_store_with(&config.data_dir, jadeseal_store::Options::default())?;
    let options = Options {
        degree: if config.audit.fsync { Degree::Fsync } else { Degree::Os },
        segment_bytes: config.audit.segment_bytes,
        flush_every: config.audit.flush,
        checkpoint_every: config.audit.checkpoint,
    };
    let (log, recovery) =
        Log::open(&config.data_dir.join(AUDIT), options).map_err(|e| StartError::new("audit log", e))?;
    if recovery.cut_records > 0 {
        tracing::error!(
            records = recovery.cut_records,
            kept_in = ?recovery.set_aside,
            "audit records behind a hole that a power cut left were set aside"
        );
    } else if recovery.cut_bytes > 0 {
        tracing::warn!(bytes = recovery.cut_bytes, "an unfinished audit record at the end of the log was cut off");
    }
    let log = Arc::new(log);
    let parts = Parts {
        store: store.clone(),
        seal,
        log: log.clone(),
        witnessing: config.audit.witnesses.keys(),
        retiring: config.audit.keep_days.map(|days| Retiring {
            days,
            archive: config.audit.archive.clone(),
            needed_from: needed_from(&config),
        }),
        regions: config.regions.clone(),
        products: config.products.clone(),
        organisations: config.organisations.clone(),
        clock: Arc::new(SystemClock::default()),
        certificates: bindings::of(&config),
        rsa_pool_file: Some(config.data_dir.join("rsa-pool")),
        limits: Limits {
            cached_keys: config.cached_keys,
            workers: config.workers,
            rsa_pool: config.rsa_pool,
            ..Limits::default()
        },
        quotas: config.quotas.clone(),
        create,
    };
    let store = parts.store.clone();
    let service = Service::open(parts).await.map_err(internal("service"))?;
    match bindings::strangers(&config, store.as_ref()).await {
        Ok(strangers) => {
            for who in strangers {
                tracing::warn!(who, "[[tls.client]] names a principal or an access key that does not exist");
            }
        }
        Err(e) => tracing::error!(error = %e, "whom client certificates are bound to could not be looked up"),
    }
    if !create && custody::list(store.as_ref()).await.map_err(internal("custodians"))?.len() == 1 {
        tracing::warn!(
            "the root key has one custodian: if its secret is lost, so is every key (see `jadeseal custody add`)"
        );
    }
    Ok(Opened { service, config, log, _lock: lock })
}

/// The first record that an export has yet to send. Where its cursor cannot be read, all are needed.
fn needed_from(config: &Config) -> NeededFrom {
    let (data_dir, exports) = (config.data_dir.clone(), config.exports.clone());
    Arc::new(move |end| match jadeseal_export::lowest_cursor(&data_dir, &exports) {
        // A cursor of another log: that export has stopped, and says so.
        Ok(Some(cursor)) if cursor > end => Some(0),
        Ok(cursor) => cursor,
        Err(e) => {
            tracing::warn!(error = %e, "an export's cursor cannot be read, so no audit record is removed");
            Some(0)
        }
    })
}

/// Checks what [`open`] would need, without serving and without changing anything.
pub async fn check(config: &Config) -> Result<(), StartError> {
    if let Some(files) = &config.tls {
        Acceptor::open(files.clone()).map_err(|e| StartError::new("TLS", e))?;
    }
    for export in &config.exports {
        export.check_files().map_err(StartError)?;
    }
    config.audit.witnesses.open().map_err(StartError)?;
    if let Some(conf) = &config.telemetry {
        telemetry::check(conf).map_err(|e| StartError::new("telemetry", e))?;
    }
    if !config.data_dir.join(DATABASE).exists() {
        return Err(not_initialised(&config.data_dir));
    }
    let store = open_store(&config.data_dir).await?;
    let unlocked = jadeseal_service::check_root(store.as_ref(), &seal_source(&config.root)).await;
    store.close().await.map_err(|e| StartError::new("store", e))?;
    unlocked.map_err(internal("root of trust"))
}

/// What serving needs and what can fail, before anything that serves is started.
struct Ready {
    acceptor: Option<Acceptor>,
    metrics: Arc<Metrics>,
    telemetry: Option<telemetry::Prepared>,
    exports: Exports,
}

impl Opened {
    /// Binds the listener. The service answers as soon as [`Opened::serve`] runs; connections made in
    /// between wait.
    pub async fn bind(&self) -> Result<(TcpListener, SocketAddr), StartError> {
        let named = |e: io::Error| StartError::new(&self.config.listen.to_string(), e);
        let listener = http::bind(self.config.listen).await.map_err(named)?;
        let address = listener.local_addr().map_err(named)?;
        Ok((listener, address))
    }

    /// Serves until `stop` turns true, then drains, flushes and closes.
    pub async fn serve(self, listener: TcpListener, stop: watch::Receiver<bool>) -> Result<(), StartError> {
        if self.config.is_in_clear() {
            tracing::warn!(
                address = %self.config.listen,
                "PLAIN HTTP OFF LOOPBACK: requests, plaintexts and data keys cross the network in clear (allow_plain_http)"
            );
        }
        let Ready { acceptor, metrics, telemetry, exports } = match self.ready() {
            Ok(ready) => ready,
            Err(e) => {
                // What was opened is closed in order all the same: the log is flushed, its outbox settled.
                if let Err(closing) = self.service.close().await {
                    tracing::error!(
                        cause = closing.internal_cause().unwrap_or(""),
                        "the service did not close cleanly"
                    );
                }
                return Err(e);
            }
        };
        let (jobs_stop, jobs_stopped) = watch::channel(false);
        let filling = tokio::spawn(pool::fill(self.service.clone(), POOL_DELAY, jobs_stopped.clone()));
        let jobs = tokio::spawn(jobs::run(self.service.clone(), self.config.deletion_settle, jobs_stopped));
        let warming = tokio::spawn({
            let service = self.service.clone();
            async move {
                match service.warm().await {
                    Ok(keys) => tracing::info!(keys, "key cache warm"),
                    Err(e) => tracing::error!(cause = e.internal_cause().unwrap_or(""), "warming the key cache failed"),
                }
            }
        });
        let witnesses = &self.config.audit.witnesses;
        let panel = witnesses.open().map_err(StartError)?;
        let witnessing =
            (!witnesses.is_empty()).then(|| tokio::spawn(witness::run(self.service.clone(), panel, stop.clone())));
        let watching = acceptor.clone().map(|a| tokio::spawn(a.watch(stop.clone())));
        // A log that has failed for good does not come back in this process: end it, so that a supervisor
        // starts the next one, which recovers.
        let (halt, halted) = watch::channel(false);
        let watchdog = tokio::spawn({
            let (service, mut stop) = (self.service.clone(), stop);
            async move {
                loop {
                    tokio::select! {
                        _ = stop.changed() => break,
                        () = tokio::time::sleep(Duration::from_millis(250)) => if !service.alive() { break },
                    }
                }
                halt.send_replace(true);
            }
        });
        let (telemetry, sending) = telemetry.map(|prepared| prepared.start(&self.service, &metrics)).unzip();
        let front = http::Front {
            service: self.service.clone(),
            acceptor,
            limits: self.config.http,
            proxies: self.config.proxies.clone(),
            metrics,
            log_requests: self.config.log_requests,
            telemetry,
        };
        http::serve(listener, Arc::new(front), halted).await;
        watchdog.abort();
        if let Some(sending) = sending {
            sending.finish().await;
        }
        warming.abort();
        if let Some(witnessing) = witnessing {
            witnessing.abort();
        }
        jobs_stop.send_replace(true);
        for task in [jobs, filling] {
            if let Err(e) = task.await {
                tracing::error!(error = %e, "background jobs ended badly");
            }
        }
        if let Some(watching) = watching {
            watching.abort();
        }
        let failed = !self.service.alive();
        let closed = self.service.close().await;
        // The log is flushed: what is left of it can go out.
        exports.stop().await;
        closed.map_err(internal("shutdown"))?;
        if failed {
            return Err(StartError("the audit log failed; the process has to be started again".to_owned()));
        }
        Ok(())
    }

    fn ready(&self) -> Result<Ready, StartError> {
        let acceptor = match self.config.tls.clone() {
            None => None,
            Some(files) => Some(Acceptor::open(files).map_err(|e| StartError::new("TLS", e))?),
        };
        let metrics = Arc::new(Metrics::new(self.config.data_dir.clone(), acceptor.clone()));
        let prepared = self.config.telemetry.as_ref().map(|conf| telemetry::Prepared::new(conf, &metrics));
        let telemetry = prepared.transpose().map_err(|e| StartError::new("telemetry", e))?;
        // Last, for they start at once. What is wrong with one of them stops that one and not the service.
        let exports = self.start_exports()?;
        Ok(Ready { acceptor, metrics, telemetry, exports })
    }

    fn start_exports(&self) -> Result<Exports, StartError> {
        let data_dir = &self.config.data_dir;
        let exports = Exports::start(&self.config.exports, data_dir, &data_dir.join(AUDIT), &self.log)
            .map_err(|e| StartError::new("audit export", e))?;
        let statuses = exports.statuses();
        let figures = move || {
            let figures = statuses.iter().map(|status| status.figures());
            let shown = figures.map(|f| ExportFigures {
                name: f.name,
                lag_records: f.lag_records,
                lag: f.lag,
                records: f.records,
                failures: f.failures,
                stopped: f.stopped,
            });
            shown.collect()
        };
        self.service.show_exports(Box::new(figures));
        Ok(exports)
    }

    /// What was configured.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
