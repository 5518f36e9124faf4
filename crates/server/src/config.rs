//! The configuration file (TOML) and what it becomes. Flags and environment go before it; the binary
//! applies them with the setters here.

mod audit;
mod observe;
pub mod root;
mod tls;

use crate::{
    forwarded::{Protocol, Proxies},
    http,
    tls::Files,
};
pub use audit::{AuditConf, degree};
use jadeseal_auth::{Organisation, Organisations};
use jadeseal_service::{
    WorkerLimits,
    products::Products,
    quotas::{Figures, Quotas},
    region::{Profile, RegionConf, Regions},
};
use jadeseal_types::{AccountId, Region};
pub use observe::TelemetryConf;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Largest configuration file that is read, bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// What is wrong with a configuration, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// The file is not what it should be.
    #[error("configuration: {0}")]
    Invalid(String),
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Directory of the embedded store, the audit log and the lock file.
    pub data_dir: PathBuf,
    /// Certificate files; none means plain HTTP, which only loopback may have, and others if told so.
    pub tls: Option<Files>,
    /// Plain HTTP on any address.
    pub allow_plain_http: bool,
    /// A log line for each request.
    pub log_requests: bool,
    /// Where traces and metrics are sent to, if anywhere.
    pub telemetry: Option<TelemetryConf>,
    /// Root of trust.
    pub root: RootConf,
    /// Served regions.
    pub regions: Regions,
    /// Cloud products that may act for accounts.
    pub products: Products,
    /// Which accounts may act for which.
    pub organisations: Organisations,
    /// Audit log.
    pub audit: AuditConf,
    /// Where audit records are sent.
    pub exports: Vec<jadeseal_export::Settings>,
    /// Time that the clock must have run steadily before keys are destroyed.
    pub deletion_settle: Duration,
    /// CMKs kept in memory.
    pub cached_keys: usize,
    /// Threads for asymmetric operations.
    pub workers: WorkerLimits,
    /// RSA key pairs made ahead of time.
    pub rsa_pool: usize,
    /// What accounts may have and how often they may call.
    pub quotas: Quotas,
    /// Listener limits.
    pub http: http::Limits,
    /// Whose word is taken about where requests come from; none: nobody's.
    pub proxies: Option<Arc<Proxies>>,
}

/// Where the secret that seals the root key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootConf {
    /// A key file with mode 0600.
    File(PathBuf),
    /// A passphrase in a file.
    PassphraseFile(PathBuf),
    /// A passphrase in an environment variable.
    PassphraseEnv(String),
    /// A passphrase in a systemd credential.
    PassphraseCredential(String),
    /// A key in a systemd credential.
    Systemd(String),
    /// A key in shares: files, or `fd:NUMBER`; where none of the files exists and this is to be made, how many open it.
    Shamir(Vec<String>, Option<u8>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<String>,
    data_dir: PathBuf,
    #[serde(default)]
    allow_plain_http: bool,
    #[serde(default)]
    log: observe::LogTable,
    telemetry: Option<observe::TelemetryTable>,
    #[serde(default)]
    products: Vec<String>,
    tls: Option<tls::TlsTable>,
    root: RootTable,
    #[serde(default)]
    region: Vec<RegionTable>,
    #[serde(default)]
    organisation: Vec<OrganisationTable>,
    #[serde(default)]
    audit: audit::AuditTable,
    #[serde(default)]
    export: Vec<jadeseal_export::Table>,
    #[serde(default)]
    jobs: JobsTable,
    #[serde(default)]
    cache: CacheTable,
    #[serde(default)]
    asymmetric: AsymmetricTable,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    http: HttpTable,
    proxies: Option<ProxiesTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RootTable {
    kind: String,
    path: Option<PathBuf>,
    env: Option<String>,
    credential: Option<String>,
    #[serde(default)]
    shares: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionTable {
    name: String,
    #[serde(default = "all")]
    profile: String,
    #[serde(default)]
    strict: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrganisationTable {
    name: String,
    admins: Vec<u64>,
    members: Vec<u64>,
}

fn all() -> String {
    "all".to_owned()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct JobsTable {
    deletion_settle_seconds: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CacheTable {
    keys: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AsymmetricTable {
    threads: Option<u64>,
    queue: Option<u64>,
    rsa_pool: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    preset: Option<String>,
    cmks: Option<u64>,
    data_keys: Option<u64>,
    total_rate: Option<u32>,
    nodes: Option<u32>,
    #[serde(default)]
    rates: BTreeMap<String, u32>,
    #[serde(default)]
    account: Vec<AccountTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountTable {
    uin: u64,
    cmks: Option<u64>,
    data_keys: Option<u64>,
    total_rate: Option<u32>,
    #[serde(default)]
    rates: BTreeMap<String, u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpTable {
    connections: Option<usize>,
    header_timeout_seconds: Option<u64>,
    body_timeout_seconds: Option<u64>,
    drain_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProxiesTable {
    trusted: Vec<String>,
    protocol: String,
}

/// The region served when a configuration names none.
pub const DEFAULT_REGION: &str = "ap-guangzhou";
/// Where a configuration that names no address listens.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8443";
/// How long the clock must have run steadily before a key is destroyed.
pub const DEFAULT_SETTLE: Duration = Duration::from_secs(600);

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let config = Self::read_unchecked(path)?;
        config.check()?;
        Ok(config)
    }

    /// Reads a file and checks each setting for itself. [`Config::check`] is up to the caller, when flags are in.
    pub fn read_unchecked(path: &Path) -> Result<Self, ConfigError> {
        let io = |e| ConfigError::Io(path.to_owned(), e);
        if fs::metadata(path).map_err(io)?.len() > MAX_BYTES {
            return Err(ConfigError::Invalid(format!("{} is larger than 1 MiB", path.display())));
        }
        Self::parse_unchecked(&fs::read_to_string(path).map_err(io)?)
    }

    /// Checks a text.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config = Self::parse_unchecked(text)?;
        config.check()?;
        Ok(config)
    }

    fn parse_unchecked(text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|e| ConfigError::Invalid(e.to_string()))?;
        let regions: Result<Vec<_>, _> = match file.region.is_empty() {
            true => vec![region(DEFAULT_REGION)].into_iter().collect(),
            false => file.region.iter().map(RegionTable::check).collect(),
        };
        let defaults = (AuditConf::default(), http::Limits::default());
        let config = Config {
            listen: address(file.listen.as_deref().unwrap_or(DEFAULT_LISTEN))?,
            data_dir: file.data_dir,
            tls: file.tls.map(tls::TlsTable::check).transpose()?,
            allow_plain_http: file.allow_plain_http,
            log_requests: file.log.requests,
            telemetry: file.telemetry.map(observe::TelemetryTable::check).transpose()?,
            root: file.root.check()?,
            regions: regions_of(regions?)?,
            products: products(&file.products)?,
            organisations: organisations(file.organisation)?,
            audit: file.audit.check()?,
            exports: jadeseal_export::Settings::check_all(file.export).map_err(ConfigError::Invalid)?,
            deletion_settle: file.jobs.deletion_settle_seconds.map_or(DEFAULT_SETTLE, Duration::from_secs),
            cached_keys: file.cache.keys.unwrap_or(200_000).clamp(1, 100_000_000),
            workers: file.asymmetric.workers()?,
            rsa_pool: file.asymmetric.rsa_pool()?,
            quotas: file.limits.check()?,
            http: http::Limits {
                connections: file.http.connections.unwrap_or(defaults.1.connections).clamp(1, 1_000_000),
                header_timeout: seconds(file.http.header_timeout_seconds, defaults.1.header_timeout)?,
                body_timeout: seconds(file.http.body_timeout_seconds, defaults.1.body_timeout)?,
                drain: seconds(file.http.drain_seconds, defaults.1.drain)?,
            },
            proxies: file.proxies.map(|t| t.check()).transpose()?,
        };
        Ok(config)
    }

    /// What `quickstart` runs with.
    pub fn quickstart(data_dir: PathBuf, listen: SocketAddr, regions: Regions) -> Result<Self, ConfigError> {
        let config = Config {
            listen,
            root: RootConf::File(data_dir.join("root.key")),
            data_dir,
            tls: None,
            allow_plain_http: false,
            log_requests: false,
            telemetry: None,
            regions,
            products: Products::default(),
            organisations: Organisations::default(),
            audit: AuditConf::default(),
            exports: Vec::new(),
            deletion_settle: DEFAULT_SETTLE,
            cached_keys: 200_000,
            workers: WorkerLimits::default(),
            rsa_pool: jadeseal_service::DEFAULT_RSA_POOL,
            quotas: Quotas::default(),
            http: http::Limits::default(),
            proxies: None,
        };
        config.check()?;
        Ok(config)
    }

    /// Rules that span several settings; to be called again after flags have changed some.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.is_in_clear() && !self.allow_plain_http {
            return Err(ConfigError::Invalid(format!(
                "{} is not a loopback address, so [tls] is needed: requests and plaintexts would cross the network in \
                 clear (allow_plain_http = true accepts that)",
                self.listen
            )));
        }
        Ok(())
    }

    /// Whether requests and answers cross a network in clear.
    pub fn is_in_clear(&self) -> bool {
        self.tls.is_none() && !self.listen.ip().is_loopback()
    }
}

impl RegionTable {
    fn check(&self) -> Result<RegionConf, ConfigError> {
        match (self.profile.as_str(), self.strict) {
            (profile, false) => named_region(&self.name, profile),
            ("gm" | "gm-strict", true) => named_region(&self.name, "gm-strict"),
            _ => Err(ConfigError::Invalid(format!("region {:?}: only a gm region can be strict", self.name))),
        }
    }
}

impl AsymmetricTable {
    fn workers(&self) -> Result<WorkerLimits, ConfigError> {
        let default = WorkerLimits::default();
        let threads = count("asymmetric.threads", self.threads, default.threads, 1, 1024)?;
        let suited = WorkerLimits::with_threads(threads);
        Ok(WorkerLimits { queue: count("asymmetric.queue", self.queue, suited.queue, 1, 1_000_000)?, ..suited })
    }

    fn rsa_pool(&self) -> Result<usize, ConfigError> {
        count("asymmetric.rsa_pool", self.rsa_pool, jadeseal_service::DEFAULT_RSA_POOL, 0, 10_000)
    }
}

impl LimitsTable {
    fn check(self) -> Result<Quotas, ConfigError> {
        let LimitsTable { preset, cmks, data_keys, total_rate, nodes, rates, account } = self;
        let preset = Figures::preset(preset.as_deref().unwrap_or("unlimited"))
            .ok_or_else(|| ConfigError::Invalid("limits.preset must be \"unlimited\" or \"tencent\"".to_owned()))?;
        let general = Figures { cmks, data_keys, total_rate, rates }.over(&preset);
        let accounts = account.into_iter().map(|a| {
            let AccountTable { uin, cmks, data_keys, total_rate, rates } = a;
            (AccountId(uin), Figures { cmks, data_keys, total_rate, rates })
        });
        Quotas::new(general, accounts.collect(), nodes.unwrap_or(1))
            .map_err(|e| ConfigError::Invalid(format!("[limits] {e}")))
    }
}

impl ProxiesTable {
    fn check(self) -> Result<Arc<Proxies>, ConfigError> {
        let protocol = Protocol::from_wire(&self.protocol).ok_or_else(|| {
            ConfigError::Invalid("proxies.protocol must be \"x-forwarded-for\" or \"proxy-v2\"".to_owned())
        })?;
        let proxies = Proxies::new(&self.trusted, protocol);
        proxies.map(Arc::new).map_err(|e| ConfigError::Invalid(format!("proxies.{e}")))
    }
}

impl RootTable {
    fn check(self) -> Result<RootConf, ConfigError> {
        if self.kind == "shamir" || !self.shares.is_empty() {
            return match (self.kind.as_str(), self.path, self.env, self.credential) {
                ("shamir", None, None, None) => root::shares(self.shares, None),
                _ => Err(ConfigError::Invalid("[root] shares go with kind = \"shamir\" alone".to_owned())),
            };
        }
        match (self.kind.as_str(), self.path, self.env, self.credential) {
            ("file", Some(path), None, None) => Ok(RootConf::File(path)),
            ("passphrase", Some(path), None, None) => Ok(RootConf::PassphraseFile(path)),
            ("passphrase", None, Some(name), None) => Ok(RootConf::PassphraseEnv(name)),
            ("passphrase", None, None, Some(name)) => Ok(RootConf::PassphraseCredential(name)),
            ("systemd", None, None, Some(name)) => Ok(RootConf::Systemd(name)),
            _ => Err(ConfigError::Invalid(
                "[root] must be kind = \"file\" with path, kind = \"passphrase\" with one of path, env and credential, \
                 kind = \"shamir\" with shares, or kind = \"systemd\" with credential"
                    .to_owned(),
            )),
        }
    }
}

/// `NAME` or `NAME:PROFILE`.
pub fn region(text: &str) -> Result<RegionConf, ConfigError> {
    let (name, profile) = text.split_once(':').unwrap_or((text, "all"));
    named_region(name, profile)
}

fn named_region(name: &str, profile: &str) -> Result<RegionConf, ConfigError> {
    let bad = |what: &str| ConfigError::Invalid(format!("region {name:?}: {what}"));
    Ok(RegionConf {
        name: Region::parse(name).ok_or_else(|| bad("a name is 1 to 32 of a-z, 0-9 and -"))?,
        profile: Profile::from_wire(profile).ok_or_else(|| bad("the profile must be all, intl, gm or gm-strict"))?,
    })
}

/// Regions of a command line, each `NAME` or `NAME:PROFILE`: at least one, no name twice.
pub fn regions(list: &[String]) -> Result<Regions, ConfigError> {
    regions_of(list.iter().map(|r| region(r)).collect::<Result<_, _>>()?)
}

/// Names of cloud products.
pub fn products(names: &[String]) -> Result<Products, ConfigError> {
    Products::new(names).map_err(ConfigError::Invalid)
}

/// At least one region, no name twice.
pub fn regions_of(list: Vec<RegionConf>) -> Result<Regions, ConfigError> {
    Regions::new(list).ok_or_else(|| ConfigError::Invalid("regions must be named once each".to_owned()))
}

fn organisations(tables: Vec<OrganisationTable>) -> Result<Organisations, ConfigError> {
    let accounts = |list: Vec<u64>| list.into_iter().map(AccountId).collect();
    let of =
        |t: OrganisationTable| Organisation { name: t.name, admins: accounts(t.admins), members: accounts(t.members) };
    Organisations::new(tables.into_iter().map(of).collect()).map_err(|e| ConfigError::Invalid(e.to_string()))
}

fn address(text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| ConfigError::Invalid(format!("listen = {text:?} is not ADDRESS:PORT")))
}

fn within(name: &str, value: u64, min: u64, max: u64) -> Result<u64, ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::Invalid(format!("{name} must be {min} to {max}")))
}

fn count(name: &str, value: Option<u64>, default: usize, min: u64, max: u64) -> Result<usize, ConfigError> {
    match value {
        None => Ok(default),
        Some(n) => Ok(usize::try_from(within(name, n, min, max)?).unwrap_or(usize::MAX)),
    }
}

fn seconds(value: Option<u64>, default: Duration) -> Result<Duration, ConfigError> {
    match value {
        None => Ok(default),
        Some(n) => within("a timeout in [http]", n, 1, 3600).map(Duration::from_secs),
    }
}

/// A commented configuration to start from.
pub fn sample(data_dir: &Path, listen: SocketAddr) -> String {
    let root = data_dir.join("root.key");
    let tls = if listen.ip().is_loopback() { "# " } else { "" };
    format!(
        "# Jadeseal configuration. Every setting that is left out has the default shown.\n\
         listen = {listen:?}\n\
         data_dir = {data_dir:?}\n\n\
         # Cloud products that may act for accounts; each gets its access keys from `jadeseal product grant`.\n\
         products = []        # such as [\"cos\", \"cbs\"]\n\n\
         # Needed for any address but loopback. Changed files are picked up without a restart.\n\
         {tls}[tls]\n\
         {tls}certificate = \"/etc/jadeseal/tls.crt\"\n\
         {tls}key = \"/etc/jadeseal/tls.key\"\n\
         # client_certificates = \"off\"        # or \"optional\", \"required\", see docs/tls.md\n\
         # client_ca = \"/etc/jadeseal/clients-ca.pem\"\n\n\
         # Root of trust: kind = \"file\" (path), \"passphrase\" (path, env or credential), \"systemd\" (credential),\n\
         # \"shamir\" (shares = [paths, or fd:NUMBER]). More custodians: `jadeseal custody`.\n\
         [root]\n\
         kind = \"file\"\n\
         path = {root:?}\n\n\
         # Regions; the first is the default. Profiles: all, intl (AES, RSA, ECC, post-quantum), gm (SM4, SM2).\n\
         # strict = true makes a gm region refuse RSA, ECC, SHA-1 and AES everywhere.\n\
         [[region]]\n\
         name = \"{DEFAULT_REGION}\"\n\
         profile = \"all\"\n\n\
         # Organisations: accounts (OwnerUin, see `jadeseal account`) whose keys administrators may manage by MemberAccount.\n\
         # [[organisation]]\n\
         # name = \"acme\"\n\
         # admins = [100000000001]\n\
         # members = [100000000002, 100000000003]\n\n\
         [audit]\n\
         degree = \"os\"        # or \"fsync\": each answer waits for the flush that holds its record\n\
         segment_mib = 64\n\
         flush_ms = 100\n\
         checkpoint_seconds = 1\n\
         # keep_days = 3650        # older records are removed, their hashes stay; without this none are\n\
         # archive = \"/srv/jadeseal-audit\"   # they are moved there instead; must be writable for the service\n\
         require_witnesses = 0   # so many of these must sign a checkpoint before it is published\n\
         # [[audit.witness]]\n\
         # key = \"witness.example/w+1234abcd+BA...\"\n\
         # url = \"https://witness.example/jadeseal\"\n\n\
         # Sends audit records elsewhere; kind: \"file\", \"syslog\" or \"http\". More in docs/audit-export.md.\n\
         # [[export]]\n\
         # name = \"siem\"\n\
         # kind = \"http\"\n\
         # url = \"https://siem.example.com/ingest\"\n\
         # headers_file = \"/etc/jadeseal/siem.headers\"\n\n\
         [jobs]\n\
         deletion_settle_seconds = {settle}\n\n\
         [cache]\n\
         keys = 200000\n\n\
         # Asymmetric operations. By default a thread for each processor, and 128 calls that may wait for each.\n\
         [asymmetric]\n\
         # threads = 2\n\
         # queue = 256\n\
         rsa_pool = {pool}        # RSA keys made ahead of time\n\n\
         # Quotas and rates of accounts; preset \"tencent\" has the figures that Tencent Cloud publishes.\n\
         [limits]\n\
         preset = \"unlimited\"\n\
         # cmks = 200            # per account and region\n\
         # data_keys = 1000\n\
         # total_rate = 1000     # requests of an account per second\n\
         nodes = 1               # nodes that share the rates: each admits its share\n\
         # [limits.rates]        # the same by action\n\
         # default = 100\n\
         # Encrypt = 300\n\
         # [[limits.account]]    # for a single account, before the figures above\n\
         # uin = 100000000001\n\
         # cmks = 500\n\
         # rates = {{ Encrypt = 1000 }}\n\n\
         [http]\n\
         connections = 10000\n\
         header_timeout_seconds = 60\n\
         body_timeout_seconds = 30\n\
         drain_seconds = 30\n\n\
         # Reverse proxies and load balancers that tell where requests come from. Without this table the source is the\n\
         # address that a connection comes from. protocol: \"x-forwarded-for\" or \"proxy-v2\".\n\
         # [proxies]\n\
         # trusted = [\"10.0.0.0/8\", \"192.0.2.7\"]\n\
         # protocol = \"x-forwarded-for\"\n\n\
         [log]\n\
         requests = false        # a line for each request, see docs/observability.md\n\n\
         # Traces and metrics by OTLP over HTTP.\n\
         # [telemetry]\n\
         # otlp_endpoint = \"http://127.0.0.1:4318\"\n\
         # sample_ratio = 0.01\n",
        listen = listen.to_string(),
        settle = DEFAULT_SETTLE.as_secs(),
        pool = jadeseal_service::DEFAULT_RSA_POOL,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_parses_to_the_defaults() {
        let listen = DEFAULT_LISTEN.parse().unwrap();
        let config = Config::parse(&sample(Path::new("/var/lib/jadeseal"), listen)).unwrap();
        assert_eq!(config.listen, listen);
        assert_eq!(config.root, RootConf::File("/var/lib/jadeseal/root.key".into()));
        assert_eq!(config.deletion_settle, DEFAULT_SETTLE);
        assert_eq!(config.regions.default_region().name.as_str(), DEFAULT_REGION);
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        let text =
            |listen: &str| format!("listen = {listen:?}\ndata_dir = \"d\"\n[root]\nkind = \"file\"\npath = \"k\"\n");
        assert!(Config::parse(&text("[::1]:1")).is_ok());
        let error = Config::parse(&text("0.0.0.0:443")).unwrap_err().to_string();
        assert!(error.contains("[tls]"), "{error}");
        let allowed = format!("allow_plain_http = true\n{}", text("0.0.0.0:443"));
        assert!(Config::parse(&allowed).unwrap().is_in_clear());
        let with_tls = text("0.0.0.0:443") + "[tls]\ncertificate = \"c\"\nkey = \"k\"\n";
        assert!(Config::parse(&with_tls).unwrap().tls.is_some());
    }

    #[test]
    fn limits_go_over_the_preset_and_those_of_an_account_over_all() {
        let text = "data_dir = \"d\"\n[root]\nkind = \"file\"\npath = \"k\"\n[limits]\npreset = \"tencent\"\ndata_keys = 9\n\
                    nodes = 3\nrates = { Decrypt = 5 }\n[[limits.account]]\nuin = 8\ncmks = 500\nrates = { default = 1 }\n";
        let quotas = Config::parse(text).unwrap().quotas;
        assert_eq!(quotas.nodes(), 3);
        let (all, own) = (quotas.of(AccountId(1)), quotas.of(AccountId(8)));
        assert_eq!((all.cmks, all.data_keys, all.total_rate), (Some(200), Some(9), None));
        assert_eq!((all.rate("Encrypt"), all.rate("Decrypt"), all.rate("ListKeys")), (Some(300), Some(5), Some(100)));
        assert_eq!((own.cmks, own.data_keys), (Some(500), Some(9)));
        assert_eq!((own.rate("Encrypt"), own.rate("Decrypt"), own.rate("ListKeys")), (Some(300), Some(5), Some(1)));
        let sample = Config::parse(&sample(Path::new("d"), DEFAULT_LISTEN.parse().unwrap())).unwrap();
        assert_eq!((sample.quotas.of(AccountId(1)), sample.quotas.nodes()), (&Figures::default(), 1));
    }

    #[test]
    fn proxies_are_trusted_by_name_only() {
        let text = |trusted: &str, protocol: &str| {
            let base = "data_dir = \"d\"\n[root]\nkind = \"file\"\npath = \"k\"\n";
            format!("{base}[proxies]\ntrusted = [{trusted}]\nprotocol = {protocol:?}\n")
        };
        let proxies = |trusted: &str| Config::parse(&text(trusted, "proxy-v2")).map(|c| c.proxies);
        let named = proxies("\"10.0.0.0/8\", \"fd00::/8\", \"192.0.2.7\", \"::1\"").unwrap().unwrap();
        assert!(["10.1.2.3", "fd00::1", "192.0.2.7", "::1"].iter().all(|ip| named.trusts(ip.parse().unwrap())));
        assert!(Config::parse(&text("\"::1\"", "x-forwarded-for")).is_ok());
        for (trusted, words) in [
            ("\"0.0.0.0/0\"", "\"0.0.0.0/0\" would trust everybody"),
            ("\"10.0.0.0/8\", \"::/0\"", "\"::/0\" would trust everybody"),
            ("\"10.0.0.1/8\"", "the network is 10.0.0.0/8"),
            ("\"::ffff:10.0.0.1\"", "write it as IPv4"),
            ("\"::ffff:0:0/96\"", "write it as IPv4"),
            ("\"10.0.0.0/33\"", "\"10.0.0.0/33\" is not an address"),
            ("\"proxy.example\"", "\"proxy.example\" is not an address"),
            ("\"\"", "\"\" is not an address"),
            (&"\"::1\", ".repeat(1_001), "1 to 1000"),
        ] {
            let error = proxies(trusted).unwrap_err().to_string();
            assert!(error.contains("proxies.trusted") && error.contains(words), "{trusted}: {error}");
        }
        assert!(proxies(&"\"::1\", ".repeat(1_000)).is_ok());
        let without = Config::parse(&sample(Path::new("d"), DEFAULT_LISTEN.parse().unwrap())).unwrap();
        assert!(without.proxies.is_none());
    }

    #[test]
    fn mistakes_are_named() {
        let base = "data_dir = \"d\"\n[root]\nkind = \"file\"\npath = \"k\"\n";
        for (extra, words) in [
            ("[[region]]\nname = \"A\"\n", "region \"A\""),
            ("[[region]]\nname = \"a\"\nprofile = \"x\"\n", "profile"),
            ("[[region]]\nname = \"a\"\n[[region]]\nname = \"a\"\n", "once"),
            ("[[region]]\nname = \"a\"\nprofile = \"all\"\nstrict = true\n", "strict"),
            ("[asymmetric]\nthreads = 0\n", "asymmetric.threads"),
            ("[http]\ntimeout = 3\n", "timeout"),
            ("[limits]\npreset = \"free\"\n", "limits.preset"),
            ("[limits.rates]\nEncrypts = 1\n", "\"Encrypts\" is not an action"),
            ("[limits.rates]\nEncrypt = 0\n", "Encrypt must be 1 to 1000000"),
            ("[limits]\ntotal_rate = 0\n", "total_rate must be 1 to 1000000"),
            ("[limits]\nnodes = 0\n", "nodes must be 1 to"),
            ("[limits]\nwhite_box_keys = 50\n", "white_box_keys"),
            ("[[limits.account]]\nuin = 0\n", "uin"),
            ("[[limits.account]]\ncmks = 1\n", "uin"),
            ("[[limits.account]]\nuin = 7\n[[limits.account]]\nuin = 7\n", "account 7 is named twice"),
            ("[[limits.account]]\nuin = 7\nrates = { Decrypt = 0 }\n", "account 7: rates: Decrypt"),
            ("[proxies]\ntrusted = [\"10.0.0.0/8\"]\n", "protocol"),
            ("[proxies]\nprotocol = \"proxy-v2\"\n", "trusted"),
            ("[proxies]\ntrusted = [\"10.0.0.0/8\"]\nprotocol = \"proxy-v1\"\n", "proxies.protocol"),
            ("[proxies]\ntrusted = []\nprotocol = \"proxy-v2\"\n", "proxies.trusted must name 1 to 1000"),
            ("[proxies]\ntrusted = [\"::1\"]\nprotocol = \"proxy-v2\"\nheader = 1\n", "header"),
            ("[[export]]\nname = \"a\"\nkind = \"mail\"\n", "export \"a\": kind"),
            ("[root]\n", "root"),
            ("[[organisation]]\nname = \"a\"\nadmins = []\nmembers = [2]\n", "must not be empty"),
            ("[[organisation]]\nname = \"a\"\nadmins = [1]\nmembers = [2, 2]\n", "account 2"),
            ("[[organisation]]\nname = \"a\"\nadmins = [1]\nmembers = [-2]\n", "-2"),
            ("[[organisation]]\nname = \"a\"\nadmins = [1]\n", "members"),
        ] {
            let error = Config::parse(&format!("{base}{extra}")).unwrap_err().to_string();
            assert!(error.contains(words), "{extra}: {error}");
        }
        assert!(Config::parse("data_dir = \"d\"\n[root]\nkind = \"passphrase\"\n").is_err());
    }
}
