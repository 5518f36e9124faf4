//! A whole service in a temporary directory, a clock that tests move, and signed requests.
#![allow(dead_code)]

pub mod faults;
pub mod hosted;
pub mod keys;

use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderValue};
use jadeseal_audit::{Log, Options};
use jadeseal_auth::{Method, Organisation, Organisations, RequestParts};
use jadeseal_root::SealSource;
use jadeseal_service::{
    KMS_VERSION, Limits, Parts, Service,
    accounts::NewAccessKey,
    clock::{Clock, ManualClock},
    jobs::{ClockWatch, pass},
    products::Products,
    quotas::Quotas,
    region::{Profile, RegionConf, Regions},
    retention::Retiring,
};
use jadeseal_store::{SqliteStore, Store};
use jadeseal_types::{AccountId, Region};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;

/// When tests begin: 2026-11-24.
pub const START: u64 = 1_795_500_000;
/// The default region of the harness, with AES.
pub const AES: &str = "ap-guangzhou";
/// Its second region, with SM4.
pub const SM4: &str = "ap-beijing";
/// A region with nothing but the GM algorithms, in [`Kms::start_strict`].
pub const STRICT: &str = "ap-nanjing";
/// Its third region, without the GM algorithms.
pub const INTL: &str = "ap-singapore";

pub struct Kms {
    pub dir: TempDir,
    pub clock: Arc<ManualClock>,
    pub svc: Arc<Service>,
    pub store: Arc<dyn Store>,
    /// What the service's store does wrong; nothing unless a test says so.
    pub faults: Arc<faults::Faults>,
    pub watch: ClockWatch,
    regions: Vec<(&'static str, Profile)>,
    products: Vec<&'static str>,
    organisations: Organisations,
    quotas: Quotas,
}

const REGIONS: [(&str, Profile); 3] =
    [(AES, Profile::All), (SM4, Profile::Gm { strict: false }), (INTL, Profile::Intl)];

/// The harness's cloud products.
pub const PRODUCTS: [&str; 2] = ["cos", "cbs"];

pub struct User {
    pub uin: u64,
    pub app_id: u64,
    pub secret_id: String,
    secret_key: Vec<u8>,
}

/// Version of the API of principals and policies.
pub const CAM_VERSION: &str = "2019-01-16";
/// Version of the API of sessions.
pub const STS_VERSION: &str = "2018-08-13";

impl User {
    /// Whoever signs with an access key of this user's account: a sub-user, or the main account with another one.
    pub fn with_key(&self, uin: u64, secret_id: &str, secret_key: &str) -> User {
        let (secret_id, secret_key) = (secret_id.to_owned(), secret_key.as_bytes().to_vec());
        User { uin, app_id: self.app_id, secret_id, secret_key }
    }
}

impl From<NewAccessKey> for User {
    fn from(key: NewAccessKey) -> Self {
        User {
            uin: key.account.0,
            app_id: key.app_id.0,
            secret_id: key.secret_id.to_string(),
            secret_key: key.secret_key.expose().to_vec(),
        }
    }
}

impl Kms {
    pub async fn start() -> Self {
        Self::start_with(Quotas::default()).await
    }

    /// With quotas and rates.
    pub async fn start_with(quotas: Quotas) -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::new(START)));
        let (regions, products) = (REGIONS.to_vec(), PRODUCTS.to_vec());
        Self::open(dir, clock, regions, products, Organisations::default(), quotas).await
    }

    /// From the next start on there are other quotas and rates.
    pub fn limit(&mut self, quotas: Quotas) {
        self.quotas = quotas;
    }

    /// With a strict region too.
    pub async fn start_strict() -> Self {
        let mut kms = Self::start().await;
        kms.become_strict();
        kms.restart().await
    }

    /// From the next start on there is a strict region.
    pub fn become_strict(&mut self) {
        self.regions.push((STRICT, Profile::Gm { strict: true }));
    }

    /// From the next start on a region is strict.
    pub fn turn_strict(&mut self, region: &str) {
        for (name, profile) in &mut self.regions {
            if *name == region {
                *profile = Profile::Gm { strict: true };
            }
        }
    }

    /// From the next start on there is this organisation.
    pub fn organise(&mut self, admins: &[u64], members: &[u64]) {
        let accounts = |list: &[u64]| list.iter().map(|n| AccountId(*n)).collect();
        let one = Organisation { name: "one".into(), admins: accounts(admins), members: accounts(members) };
        self.organisations = Organisations::new(vec![one]).unwrap();
    }

    async fn open(
        dir: TempDir,
        clock: Arc<ManualClock>,
        regions: Vec<(&'static str, Profile)>,
        products: Vec<&'static str>,
        organisations: Organisations,
        quotas: Quotas,
    ) -> Self {
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::open(dir.path().join("jadeseal.db"), jadeseal_store::Options::default()).unwrap());
        let options = Options { segment_bytes: 1 << 20, flush_every: Duration::from_millis(20), ..Options::default() };
        let (log, _) = Log::open(&dir.path().join("audit"), options).unwrap();
        let conf = regions.iter().map(|(name, profile)| {
            let name = Region::parse(name).unwrap();
            RegionConf { name, profile: *profile }
        });
        let faults = Arc::new(faults::Faults::default());
        let parts = Parts {
            store: Arc::new(faults::FaultyStore::new(store.clone(), faults.clone())),
            seal: SealSource::File { path: dir.path().join("root.key") },
            log: Arc::new(log),
            witnessing: Default::default(),
            // Does nothing unless a test says so.
            retiring: Some(Retiring { days: 3650, archive: None, needed_from: Arc::new(|_| None) }),
            regions: Regions::new(conf.collect()).unwrap(),
            products: Products::new(&products).unwrap(),
            organisations: organisations.clone(),
            clock: clock.clone(),
            certificates: Default::default(),
            rsa_pool_file: Some(dir.path().join("rsa-pool")),
            limits: Limits { cached_keys: 1_000, replay_entries: 100_000, rsa_pool: 2, ..Limits::default() },
            quotas: quotas.clone(),
            create: true,
        };
        let svc = Service::open(parts).await.unwrap();
        let watch = ClockWatch::new(Duration::from_secs(600));
        Kms { dir, clock, svc, store, faults, watch, regions, products, organisations, quotas }
    }

    /// Stops and starts again on the same data.
    pub async fn restart(self) -> Self {
        self.restart_after(|| ()).await
    }

    /// Stops and starts again with other cloud products.
    pub async fn restart_with_products(mut self, products: &[&'static str]) -> Self {
        self.products = products.to_vec();
        self.restart().await
    }

    /// Stops, lets something happen, and starts again.
    pub async fn restart_after(self, between: impl FnOnce()) -> Self {
        let Kms { dir, clock, svc, store, regions, products, organisations, quotas, .. } = self;
        svc.close().await.unwrap();
        drop((svc, store));
        between();
        Self::open(dir, clock, regions, products, organisations, quotas).await
    }

    pub async fn user(&self) -> User {
        self.svc.create_account("test").await.unwrap().into()
    }

    /// Lets time pass in steps small enough for the clock to look steady, with the jobs running.
    pub async fn pass_time(&mut self, by: Duration) {
        let end = self.clock.wall() + by;
        while self.clock.wall() < end {
            let step = Duration::from_secs(86_400).min(end - self.clock.wall());
            self.clock.advance(step);
            self.run_jobs().await;
        }
    }

    pub async fn run_jobs(&mut self) {
        while pass(&self.svc, &mut self.watch).await {}
    }

    /// Calls an action in the default region; the answer's `Response`.
    pub async fn call(&self, user: &User, action: &str, params: Value) -> Value {
        self.call_in(user, AES, action, params).await
    }

    pub async fn call_in(&self, user: &User, region: &str, action: &str, params: Value) -> Value {
        let request = Request::new(user, self.clock.now(), region, action, &params);
        self.send(&request).await
    }

    pub async fn send(&self, request: &Request) -> Value {
        self.send_from(request, [127, 0, 0, 1].into()).await
    }

    pub async fn send_from(&self, request: &Request, source: std::net::IpAddr) -> Value {
        let parts = RequestParts {
            method: Method::Post,
            path: "/",
            raw_query: "",
            headers: &request.headers,
            host: HOST.as_bytes(),
            body: request.body.as_bytes(),
            secure: false,
            certificate: None,
        };
        let reply = self.svc.handle(&parts, Some(source)).await;
        let mut answer: Value = serde_json::from_slice(reply.body.bytes()).unwrap();
        let response = answer["Response"].take();
        assert_eq!(response["RequestId"].as_str(), Some(reply.request_id.as_str()));
        response
    }

    /// The answer of a call that must succeed.
    pub async fn ok(&self, user: &User, action: &str, params: Value) -> Value {
        let answer = self.call(user, action, params).await;
        assert!(answer.get("Error").is_none(), "{action}: {answer}");
        answer
    }

    /// Calls an action of another version of the API in the default region.
    pub async fn call_version(&self, user: &User, version: &str, action: &str, params: Value) -> Value {
        let request = Request::new(user, self.clock.now(), AES, action, &params);
        self.send(&request.with_header("x-tc-version", version)).await
    }

    /// The answer of a call of `cam` that must succeed.
    pub async fn cam(&self, user: &User, action: &str, params: Value) -> Value {
        let answer = self.call_version(user, CAM_VERSION, action, params).await;
        assert!(answer.get("Error").is_none(), "{action}: {answer}");
        answer
    }

    /// The error code of a call of `cam` that must fail.
    pub async fn cam_err(&self, user: &User, action: &str, params: Value) -> String {
        code(&self.call_version(user, CAM_VERSION, action, params).await)
    }

    /// The answer of a call of `sts` that must succeed.
    pub async fn sts(&self, user: &User, action: &str, params: Value) -> Value {
        let answer = self.call_version(user, STS_VERSION, action, params).await;
        assert!(answer.get("Error").is_none(), "{action}: {answer}");
        answer
    }

    /// A user of the account with an access key.
    pub async fn sub_user(&self, root: &User, name: &str) -> User {
        let answer = self.cam(root, "AddUser", json!({ "Name": name, "UseApi": 1 })).await;
        let text = |member: &str| answer[member].as_str().unwrap().to_owned();
        root.with_key(answer["Uin"].as_u64().unwrap(), &text("SecretId"), &text("SecretKey"))
    }

    /// The error code of a call that must fail.
    pub async fn err(&self, user: &User, action: &str, params: Value) -> String {
        code(&self.call(user, action, params).await)
    }

    pub async fn create(&self, user: &User, alias: &str) -> String {
        let answer = self.ok(user, "CreateKey", json!({ "Alias": alias })).await;
        answer["KeyId"].as_str().unwrap().to_owned()
    }

    pub async fn state(&self, user: &User, key: &str) -> String {
        let answer = self.ok(user, "DescribeKey", json!({ "KeyId": key })).await;
        answer["KeyMetadata"]["KeyState"].as_str().unwrap().to_owned()
    }

    pub async fn encrypt(&self, user: &User, key: &str, plaintext: &str) -> String {
        let answer = self.ok(user, "Encrypt", json!({ "KeyId": key, "Plaintext": plaintext })).await;
        answer["CiphertextBlob"].as_str().unwrap().to_owned()
    }

    /// Everything in the audit log so far, one string.
    pub fn audit(&self) -> String {
        let mut out = String::new();
        for entry in std::fs::read_dir(self.dir.path().join("audit")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "log") {
                out += &std::fs::read_to_string(path).unwrap();
            }
        }
        out
    }
}

/// `Error.Code` of an answer, or what it was instead.
pub fn code(answer: &Value) -> String {
    answer["Error"]["Code"].as_str().map_or_else(|| format!("no error: {answer}"), str::to_owned)
}

const HOST: &str = "kms.example";

/// A signed request that tests may spoil before it is sent.
pub struct Request {
    pub headers: HeaderMap,
    pub body: String,
}

impl Request {
    pub fn new(user: &User, timestamp: u64, region: &str, action: &str, params: &Value) -> Self {
        Self::signed_for(user, timestamp, region, action, &params.to_string())
    }

    pub fn signed_for(user: &User, timestamp: u64, region: &str, action: &str, body: &str) -> Self {
        let date = utc_date(timestamp);
        let scope = format!("{date}/kms/tc3_request");
        let canonical = format!(
            "POST\n/\n\ncontent-type:application/json\nhost:{HOST}\n\ncontent-type;host\n{}",
            HEXLOWER.encode(&jadeseal_crypto::sha256(body.as_bytes()))
        );
        let to_sign = format!(
            "TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{}",
            HEXLOWER.encode(&jadeseal_crypto::sha256(canonical.as_bytes()))
        );
        let mac = jadeseal_crypto::hmac_sha256;
        let seed = [b"TC3".as_slice(), &user.secret_key].concat();
        let key = mac(&mac(&mac(&seed, date.as_bytes()), b"kms"), b"tc3_request");
        let authorization = format!(
            "TC3-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=content-type;host, Signature={}",
            user.secret_id,
            HEXLOWER.encode(&mac(&key, to_sign.as_bytes()))
        );
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: &str| headers.insert(name, HeaderValue::from_str(value).unwrap());
        set("content-type", "application/json");
        set("host", HOST);
        set("authorization", &authorization);
        set("x-tc-action", action);
        set("x-tc-version", KMS_VERSION);
        set("x-tc-region", region);
        set("x-tc-timestamp", &timestamp.to_string());
        set("x-tc-language", "en-US");
        Request { headers, body: body.to_owned() }
    }

    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }
}

/// UTC date of a Unix time, by the civil-from-days rule of the proleptic Gregorian calendar.
fn utc_date(timestamp: u64) -> String {
    let z = i64::try_from(timestamp / 86_400).unwrap() + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
