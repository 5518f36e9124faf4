//! Counters and histograms in the Prometheus text format.

use crate::{Service, export_figures::Exports};
use hashbrown::HashMap;
use jadeseal_types::{DataKeyState, ErrorCode, KeyState};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::time::{Duration, Instant};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByCode {
    action: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByError {
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

/// The label is not `job`: Prometheus has that name for the job that scrapes.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByTask {
    task: &'static str,
    outcome: &'static str,
}

/// Latency buckets, seconds: 50 µs to about 1.6 s.
const BUCKETS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_6, 0.003_2, 0.006_4, 0.012_8, 0.025_6, 0.051_2, 0.102_4,
    0.204_8, 0.409_6, 0.819_2, 1.638_4,
];

/// Resolved once, so that the hot path looks nothing up by label.
struct PerAction {
    ok: Counter,
    latency: Histogram,
}

/// The service's metrics.
pub struct Metrics {
    registry: Registry,
    ready: Gauge,
    requests: Family<ByCode, Counter>,
    actions: HashMap<&'static str, PerAction>,
    latency: Family<ByAction, Histogram, fn() -> Histogram>,
    keys: Family<ByState, Gauge>,
    data_keys: Family<ByState, Gauge>,
    jobs: Family<ByTask, Counter>,
    wrong_credentials: Family<ByError, Counter>,
    refused_unauthenticated: Family<ByError, Counter>,
    slowed: Counter,
    unrecorded: Counter,
    wrong_sources: Gauge,
    cached: Gauge,
    cached_accounts: Gauge,
    cached_access_keys: Gauge,
    cached_sessions: Gauge,
    unreadable_policies: Gauge,
    audit_lag: Gauge,
    audit_index: Gauge,
    checkpoint_age: Gauge,
    checkpoint_size: Gauge,
    witness_failures: Counter,
    replay_overflow: Gauge,
    rsa_pool: Gauge,
    workers_waiting: Gauge,
    backup_proved: Gauge,
    counted: Mutex<Option<Instant>>,
    pub(crate) exports: Exports,
}

/// How old the numbers of keys by state may be: counting them reads an index of the whole store.
const COUNT_PERIOD: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByAction {
    action: &'static str,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    /// Metrics for a set of actions, and what the journal counts.
    pub fn new(actions: impl Iterator<Item = &'static str>, audit_refused: Counter) -> Self {
        let mut registry = Registry::with_prefix("jadeseal");
        let requests = Family::<ByCode, Counter>::default();
        let latency = Family::<ByAction, Histogram, fn() -> Histogram>::new_with_constructor(histogram);
        let keys = Family::<ByState, Gauge>::default();
        let data_keys = Family::<ByState, Gauge>::default();
        let jobs = Family::<ByTask, Counter>::default();
        let (cached, audit_lag, audit_index, replay_overflow) =
            (Gauge::default(), Gauge::default(), Gauge::default(), Gauge::default());
        let wrong_credentials = Family::<ByError, Counter>::default();
        let refused_unauthenticated = Family::<ByError, Counter>::default();
        let (slowed, unrecorded, wrong_sources) = (Counter::default(), Counter::default(), Gauge::default());
        let (cached_accounts, cached_access_keys, cached_sessions, unreadable_policies) =
            (Gauge::default(), Gauge::default(), Gauge::default(), Gauge::default());
        let (rsa_pool, workers_waiting, backup_proved) = (Gauge::default(), Gauge::default(), Gauge::default());
        let ready = Gauge::default();
        registry.register("ready", "1 while /readyz answers 200, otherwise 0", ready.clone());
        registry.register("requests", "Requests by action and error code (empty: success)", requests.clone());
        registry.register_with_unit("request_duration", "Time to the answer", Unit::Seconds, latency.clone());
        registry.register("keys", "CMKs by state", keys.clone());
        registry.register("data_keys", "Hosted data keys by state", data_keys.clone());
        registry.register("job_runs", "Background jobs by outcome", jobs.clone());
        registry.register(
            "wrong_credentials",
            "Requests whose credentials were wrong, by error code",
            wrong_credentials.clone(),
        );
        registry.register(
            "refused_unauthenticated",
            "Other requests refused before it was known whose they were, by error code",
            refused_unauthenticated.clone(),
        );
        registry.register("slowed_refusals", "Refusals of unknown callers that were held back", slowed.clone());
        registry.register(
            "unrecorded_refusals",
            "Refusals of unknown callers for which the record of another one stands",
            unrecorded.clone(),
        );
        registry.register("wrong_sources", "Sources of such refusals that are remembered", wrong_sources.clone());
        registry.register("cached_accounts", "Accounts in the cache", cached_accounts.clone());
        registry.register("cached_access_keys", "Permanent access keys in the cache", cached_access_keys.clone());
        registry.register("cached_sessions", "Sessions in the cache", cached_sessions.clone());
        registry.register(
            "unreadable_policies",
            "Policies of cached accounts that are needed and cannot be read",
            unreadable_policies.clone(),
        );
        registry.register("cached_keys", "CMKs in the cache", cached.clone());
        registry.register("audit_unflushed_records", "Audit records not yet flushed to disk", audit_lag.clone());
        registry.register(
            "audit_refused",
            "Requests refused because their audit record could not be written",
            audit_refused,
        );
        registry.register("audit_next_index", "Index of the next audit record", audit_index.clone());
        let (checkpoint_age, checkpoint_size, witness_failures) =
            (Gauge::default(), Gauge::default(), Counter::default());
        registry.register(
            "audit_checkpoint_age_seconds",
            "Age of the newest published checkpoint, while there are records that it does not cover",
            checkpoint_age.clone(),
        );
        registry.register(
            "audit_checkpoint_size",
            "Records that the newest published checkpoint covers",
            checkpoint_size.clone(),
        );
        registry.register(
            "audit_witness_failures",
            "Checkpoints that a witness was asked to sign and did not",
            witness_failures.clone(),
        );
        registry.register("replay_overflow", "Signature bindings dropped before their time", replay_overflow.clone());
        registry.register("rsa_pool_keys", "RSA keys made ahead of time", rsa_pool.clone());
        registry.register("workers_waiting", "Asymmetric operations that wait for a thread", workers_waiting.clone());
        registry.register_with_unit(
            "backup_last_proved",
            "When a backup was last proved by a restore, Unix time; 0: never",
            Unit::Seconds,
            backup_proved.clone(),
        );
        let exports = Exports::default();
        registry.register_collector(Box::new(exports.clone()));
        let actions = actions
            .map(|action| {
                let ok = requests.get_or_create(&ByCode { action, code: "" }).clone();
                let latency = latency.get_or_create(&ByAction { action }).clone();
                (action, PerAction { ok, latency })
            })
            .collect();
        Metrics {
            registry,
            ready,
            requests,
            actions,
            latency,
            keys,
            data_keys,
            jobs,
            wrong_credentials,
            refused_unauthenticated,
            slowed,
            unrecorded,
            wrong_sources,
            cached,
            cached_accounts,
            cached_access_keys,
            cached_sessions,
            unreadable_policies,
            audit_lag,
            audit_index,
            checkpoint_age,
            checkpoint_size,
            witness_failures,
            replay_overflow,
            rsa_pool,
            workers_waiting,
            backup_proved,
            counted: Mutex::default(),
            exports,
        }
    }

    /// Counts one request.
    pub fn observe(&self, action: &'static str, error: Option<ErrorCode>, took: Duration) {
        match (self.actions.get(action), error) {
            (Some(known), None) => {
                known.ok.inc();
                known.latency.observe(took.as_secs_f64());
            }
            (Some(known), Some(code)) => {
                self.requests.get_or_create(&ByCode { action, code: code.wire() }).inc();
                known.latency.observe(took.as_secs_f64());
            }
            (None, code) => {
                let code = code.map_or("", ErrorCode::wire);
                self.requests.get_or_create(&ByCode { action, code }).inc();
                self.latency.get_or_create(&ByAction { action }).observe(took.as_secs_f64());
            }
        }
    }

    /// True when the numbers of keys by state are due to be counted anew; they are then taken as counted.
    fn counted_long_ago(&self) -> bool {
        let mut counted = self.counted.lock();
        let due = counted.is_none_or(|at| at.elapsed() >= COUNT_PERIOD);
        if due {
            *counted = Some(Instant::now());
        }
        due
    }

    /// Counts a request whose credentials were wrong.
    pub fn wrong_credentials(&self, code: ErrorCode) {
        self.wrong_credentials.get_or_create(&ByError { code: code.wire() }).inc();
    }

    /// Counts another refusal of somebody unknown.
    pub fn refused_unauthenticated(&self, code: ErrorCode) {
        self.refused_unauthenticated.get_or_create(&ByError { code: code.wire() }).inc();
    }

    /// Counts a refusal that gets no record of its own.
    pub fn unrecorded_refusal(&self) {
        self.unrecorded.inc();
    }

    /// Counts a refusal that was held back.
    pub fn slowed(&self) {
        self.slowed.inc();
    }

    /// Counts a checkpoint that a witness has not signed.
    pub fn witness_failed(&self) {
        self.witness_failures.inc();
    }

    /// Counts one run of a background job.
    pub fn job(&self, task: &'static str, outcome: &'static str, count: u64) {
        self.jobs.get_or_create(&ByTask { task, outcome }).inc_by(count);
    }
}

impl Service {
    /// The metrics as text for Prometheus. Reads the numbers of keys and data keys by state from the store.
    pub async fn metrics_text(&self) -> String {
        let m = &self.metrics;
        m.ready.set(i64::from(self.ready().await.is_ok()));
        if m.counted_long_ago() {
            if let Ok(proved) = crate::backup::last_proved(self.store.as_ref()).await {
                m.backup_proved.set(i64::try_from(proved.unwrap_or(0)).unwrap_or(i64::MAX));
            }
            if let Ok(counts) = self.store.counts_by_state().await {
                let counts = counts.into_iter().map(|(state, count)| (state.wire(), count));
                set_counts(&m.keys, KeyState::ALL.iter().map(|state| state.wire()), counts);
            }
            if let Ok(counts) = self.store.data_key_counts_by_state().await {
                let counts = counts.into_iter().map(|(state, count)| (state.wire(), count));
                set_counts(&m.data_keys, DataKeyState::ALL.iter().map(|state| state.wire()), counts);
            }
        }
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        m.wrong_sources.set(whole(self.guard.sources() as u64));
        m.cached.set(whole(self.keys.len() as u64));
        let (accounts, unreadable) = self.principals.cached();
        m.cached_accounts.set(whole(accounts as u64));
        m.unreadable_policies.set(whole(unreadable as u64));
        let (access_keys, sessions) = self.credentials.cached();
        m.cached_access_keys.set(whole(access_keys as u64));
        m.cached_sessions.set(whole(sessions as u64));
        m.audit_lag.set(whole(self.journal.log().lag().records));
        m.audit_index.set(whole(self.journal.log().next_index()));
        let log = self.journal.log();
        // Where none was ever published, it is as old as the log's opening.
        let (size, at) = log.published().map_or((0, log.opened()), |p| (p.checkpoint.size, p.at));
        m.checkpoint_size.set(whole(size));
        m.checkpoint_age.set(whole(if size < log.next_index() { at.elapsed().as_secs() } else { 0 }));
        m.replay_overflow.set(whole(self.replay.overflows()));
        m.rsa_pool.set(whole(self.pool.ready() as u64));
        m.workers_waiting.set(whole(self.workers.waiting() as u64));
        let mut out = String::with_capacity(16 * 1024);
        if encode(&mut out, &m.registry).is_err() {
            out.clear();
        }
        out
    }
}

/// Shows the counts, and zero for each state that has none.
fn set_counts(
    family: &Family<ByState, Gauge>,
    states: impl Iterator<Item = &'static str>,
    counts: impl Iterator<Item = (&'static str, u64)>,
) {
    for state in states {
        family.get_or_create(&ByState { state }).set(0);
    }
    for (state, count) in counts {
        family.get_or_create(&ByState { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
