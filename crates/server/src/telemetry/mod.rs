//! Traces and metrics by OTLP over HTTP. Off unless configured. Requests hand their spans to a bounded queue and never
//! wait: what does not fit, or does not reach the collector, is counted and gone (`docs/observability.md`).

mod context;
mod openmetrics;
mod proto;

pub use context::{Context, parse as parse_traceparent};

use crate::{config::TelemetryConf, metrics::Metrics};
use context::Sampler;
use jadeseal_export::read_headers;
use jadeseal_service::{Reply, Service};
use jadeseal_types::ErrorCode;
use prometheus_client::metrics::counter::Counter;
use prost::Message;
use proto::{
    KeyValue, MetricsRequest, Resource, ResourceMetrics, ResourceSpans, Scope, ScopeMetrics, ScopeSpans, Span, Status,
    TraceRequest,
};
use reqwest::header::CONTENT_TYPE;
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// Spans that wait to be sent.
const QUEUE: usize = 4096;
/// Spans in one message.
const BATCH: usize = 512;
/// How long a span waits for others to go along with.
const LINGER: Duration = Duration::from_secs(1);
/// How long the collector has for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stop waits for what is still to be sent.
const FLUSH: Duration = Duration::from_secs(2);
/// Failures are told at most so often.
const TELL: Duration = Duration::from_secs(60);

/// Where requests hand over their spans.
pub struct Telemetry {
    sampler: Option<Sampler>,
    spans: mpsc::Sender<Span>,
    dropped: Counter,
}

/// A request that gets a span.
pub struct Traced {
    context: Context,
    begun: SystemTime,
}

/// The tasks that send.
pub struct Sending {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Everything that can be wrong has been looked at; nothing is sent yet.
pub struct Prepared {
    conf: TelemetryConf,
    sender: Sender,
}

/// Looks whether the settings work, as far as that can be told without the collector. What is wrong is told in words.
pub fn check(conf: &TelemetryConf) -> Result<(), String> {
    Sender::new(conf, Counter::default()).map(drop)
}

impl Prepared {
    /// Reads the files that the settings name. What is wrong is told in words.
    pub fn new(conf: &TelemetryConf, metrics: &Metrics) -> Result<Self, String> {
        let sender = Sender::new(conf, metrics.telemetry_dropped().clone())?;
        Ok(Prepared { conf: conf.clone(), sender })
    }

    /// Starts sending.
    pub fn start(self, service: &Arc<Service>, metrics: &Arc<Metrics>) -> (Arc<Telemetry>, Sending) {
        let Prepared { conf, sender } = self;
        let dropped = sender.dropped.clone();
        let (spans, queue) = mpsc::channel(QUEUE);
        let (stop, stopped) = watch::channel(false);
        let mut tasks = vec![tokio::spawn(send_spans(sender.clone(), queue, stopped.clone()))];
        if conf.metrics {
            let period = Duration::from_secs(conf.metrics_seconds);
            tasks.push(tokio::spawn(send_metrics(sender, service.clone(), metrics.clone(), period, stopped)));
        }
        let sampler = conf.traces.then(|| Sampler::new(conf.sample_ratio));
        (Arc::new(Telemetry { sampler, spans, dropped }), Sending { stop, tasks })
    }
}

impl Telemetry {
    /// Whether a request gets a span.
    pub fn begin(&self, headers: &http::HeaderMap) -> Option<Traced> {
        let context = self.sampler.as_ref()?.context(headers)?;
        Some(Traced { context, begun: SystemTime::now() })
    }

    /// The request has been answered.
    pub fn end(&self, traced: Traced, reply: &Reply, source: IpAddr, bytes_in: usize, took: Duration) {
        let Some(span) = span(traced, reply, source, bytes_in, took) else { return };
        if self.spans.try_send(span).is_err() {
            self.dropped.inc();
        }
    }
}

impl Sending {
    /// Sends what is left, for two seconds at most.
    pub async fn finish(self) {
        self.stop.send_replace(true);
        let all = async {
            for task in self.tasks {
                // A task that panicked has nothing left to send.
                let _ = task.await;
            }
        };
        if tokio::time::timeout(FLUSH, all).await.is_err() {
            tracing::warn!("the collector did not take the last spans and metrics in time");
        }
    }
}

fn span(traced: Traced, reply: &Reply, source: IpAddr, bytes_in: usize, took: Duration) -> Option<Span> {
    let mut span_id = [0; 8];
    jadeseal_crypto::random::fill(&mut span_id).ok()?;
    let start_nanos = nanos(traced.begun);
    let mut attributes = vec![
        KeyValue::text("rpc.method", reply.action),
        KeyValue::text("jadeseal.request_id", reply.request_id.as_str()),
        KeyValue::text("client.address", source.to_string()),
        KeyValue::int("http.request.body.size", bytes_in),
        KeyValue::int("http.response.body.size", reply.body.bytes().len()),
    ];
    attributes.extend(reply.code.map(|code| KeyValue::text("error.type", code.wire())));
    // Of a mistake of the caller's, the service's span is none.
    let failed = reply.code.filter(|code| *code == ErrorCode::InternalError);
    Some(Span {
        trace_id: traced.context.trace_id.to_vec(),
        span_id: span_id.to_vec(),
        parent_span_id: traced.context.parent.map(|id| id.to_vec()).unwrap_or_default(),
        name: reply.action.to_owned(),
        kind: proto::SERVER,
        start_nanos,
        end_nanos: start_nanos.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)),
        attributes,
        status: failed.map(|code| Status { message: code.wire().to_owned(), code: proto::ERROR }),
    })
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Batches of spans until told to stop, then what is left.
async fn send_spans(mut sender: Sender, mut queue: mpsc::Receiver<Span>, mut stop: watch::Receiver<bool>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let stopping = tokio::select! {
            n = queue.recv_many(&mut batch, BATCH) => n == 0,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        if stopping {
            queue.close();
            while queue.recv_many(&mut batch, BATCH).await > 0 {
                sender.spans(std::mem::take(&mut batch)).await;
            }
            return;
        }
        // Others may come soon; a stop ends the wait.
        let until = tokio::time::Instant::now() + LINGER;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                n = queue.recv_many(&mut batch, room) => if n == 0 { break },
                () = tokio::time::sleep_until(until) => break,
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        sender.spans(std::mem::take(&mut batch)).await;
    }
}

/// A round of metrics in each period, and a last one.
async fn send_metrics(
    mut sender: Sender,
    service: Arc<Service>,
    metrics: Arc<Metrics>,
    period: Duration,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let stopping = tokio::select! {
            () = tokio::time::sleep(period) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        let text = metrics.text(&service).await;
        sender.metrics(&text).await;
        if stopping {
            return;
        }
    }
}

/// Speaks to the collector.
#[derive(Clone)]
struct Sender {
    client: reqwest::Client,
    endpoint: String,
    resource: Resource,
    start: u64,
    dropped: Counter,
    told: Option<tokio::time::Instant>,
}

impl Sender {
    fn new(conf: &TelemetryConf, dropped: Counter) -> Result<Self, String> {
        let headers = conf.headers_file.as_deref().map(read_headers).transpose()?.unwrap_or_default();
        let mut client = reqwest::Client::builder();
        if let Some(ca) = &conf.ca_file {
            client = client.tls_backend_preconfigured(jadeseal_export::trusting(ca)?);
        }
        let client = client
            .timeout(TIMEOUT)
            // Headers may be secret: they go to the configured host and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .default_headers(headers)
            .build()
            .map_err(|e| e.to_string())?;
        let mut instance = [0; 16];
        jadeseal_crypto::random::fill(&mut instance).map_err(|e| e.to_string())?;
        let resource = Resource {
            attributes: vec![
                KeyValue::text("service.name", "jadeseal"),
                KeyValue::text("service.version", env!("CARGO_PKG_VERSION")),
                KeyValue::text("service.instance.id", data_encoding::HEXLOWER.encode(&instance)),
            ],
        };
        let start = nanos(SystemTime::now());
        Ok(Sender { client, endpoint: conf.endpoint.clone(), resource, start, dropped, told: None })
    }

    async fn spans(&mut self, spans: Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        let count = spans.len() as u64;
        let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans }];
        let resource = Some(self.resource.clone());
        let request = TraceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] };
        self.post("traces", request.encode_to_vec(), count).await;
    }

    async fn metrics(&mut self, text: &str) {
        let metrics = openmetrics::convert(text, self.start, nanos(SystemTime::now()));
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics }];
        let resource = Some(self.resource.clone());
        let request = MetricsRequest { resource_metrics: vec![ResourceMetrics { resource, scope_metrics }] };
        self.post("metrics", request.encode_to_vec(), 1).await;
    }

    async fn post(&mut self, signal: &str, body: Vec<u8>, count: u64) {
        let url = format!("{}/v1/{signal}", self.endpoint);
        let request = self.client.post(url).header(CONTENT_TYPE, "application/x-protobuf").body(body);
        let answer = request.send().await.and_then(reqwest::Response::error_for_status);
        let Err(e) = answer else { return };
        self.dropped.inc_by(count);
        if self.told.is_none_or(|told| told.elapsed() >= TELL) {
            self.told = Some(tokio::time::Instant::now());
            tracing::warn!(signal, error = %e.without_url(), "the collector did not take telemetry");
        }
    }
}

fn scope() -> Scope {
    Scope { name: "jadeseal".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn files_are_looked_at_before_anything_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let (headers_file, ca_file) = (dir.path().join("headers"), dir.path().join("ca"));
        let conf = TelemetryConf {
            endpoint: "https://collector".to_owned(),
            traces: true,
            metrics: true,
            sample_ratio: 1.0,
            metrics_seconds: 1,
            headers_file: Some(headers_file.clone()),
            ca_file: None,
        };
        assert!(check(&conf).unwrap_err().contains("headers"), "it is not there");
        let write = |text: &str, mode: u32| {
            std::fs::write(&headers_file, text).unwrap();
            std::fs::set_permissions(&headers_file, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write("Authorization: Bearer s3cret\n", 0o600);
        check(&conf).unwrap();
        for (text, mode, words) in [
            ("Authorization: Bearer s3cret\n", 0o640, "chmod 600"),
            ("Content-Type: s3cret\n", 0o600, "set by Jadeseal"),
            ("s3cret\n", 0o600, "line 1"),
            (&"#".repeat(70_000), 0o600, "too large"),
        ] {
            write(text, mode);
            let error = check(&conf).unwrap_err();
            assert!(error.contains(words) && !error.contains("s3cret"), "{error}");
        }
        let conf = TelemetryConf { headers_file: None, ca_file: Some(ca_file.clone()), ..conf };
        std::fs::write(&ca_file, "none").unwrap();
        assert!(check(&conf).unwrap_err().contains("holds no certificate"));
        let made = rcgen::generate_simple_self_signed(vec!["collector".to_owned()]).unwrap();
        std::fs::write(&ca_file, made.cert.pem()).unwrap();
        check(&conf).unwrap();
    }
}
