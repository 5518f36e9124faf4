//! The HTTP side: connections, bounded bodies, and the few paths beside the API.

use crate::{
    call::Call,
    forwarded::{Origin, Proxies},
    metrics::Metrics,
    proxy,
    telemetry::Telemetry,
    tls::{Accepted, Acceptor},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use jadeseal_auth::{Method, RequestParts, body_limit, presented_language};
use jadeseal_service::{Reply, Service};
use jadeseal_types::{ApiError, ErrorCode};
use rustix::process::{Resource, getrlimit};
use std::{
    convert::Infallible,
    fmt,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore, watch},
    time::Instant,
};

/// How the listener treats its callers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel's queue. [`serve`] lowers it to what the
    /// process may have open.
    pub connections: usize,
    /// Time for the TLS handshake, for the head of a request, and between requests of a kept-alive
    /// HTTP/1 connection. An HTTP/2 connection without requests is closed after twice this time.
    pub header_timeout: Duration,
    /// Time for the whole body.
    pub body_timeout: Duration,
    /// Time that requests in flight have after SIGTERM.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 10_000,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(30),
        }
    }
}

/// What all connections have in common.
pub struct Front {
    /// Who answers.
    pub service: Arc<Service>,
    /// TLS; none for plain HTTP.
    pub acceptor: Option<Acceptor>,
    /// How callers are treated.
    pub limits: Limits,
    /// Who is believed about where requests come from; nobody else is.
    pub proxies: Option<Arc<Proxies>>,
    /// What `/metrics` shows besides the service's own.
    pub metrics: Arc<Metrics>,
    /// A log line for each request.
    pub log_requests: bool,
    /// Where spans go, if anywhere.
    pub telemetry: Option<Arc<Telemetry>>,
}

/// Serves until `stop` turns true, then lets requests in flight finish.
pub async fn serve(listener: TcpListener, front: Arc<Front>, mut stop: watch::Receiver<bool>) {
    let limits = front.limits;
    let connections = affordable(limits.connections, getrlimit(Resource::Nofile).current);
    if connections < limits.connections {
        tracing::warn!(
            configured = limits.connections,
            connections,
            "the limit on open files (ulimit -n) allows fewer connections than configured"
        );
    }
    let slots = Arc::new(Semaphore::new(connections));
    let mut failures = Failures::default();
    loop {
        let next = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            next = next => next,
            () = told(&mut stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of file descriptors, mostly: wait for some connection to end.
                if let Some(unsaid) = failures.next(Instant::now()) {
                    tracing::warn!(error = %e, unsaid, "accept failed");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (front, stop) = (front.clone(), stop.clone());
        tokio::spawn(async move {
            let _slot = slot;
            begin(stream, peer, front, stop).await;
        });
    }
    drop(listener);
    front.service.hurry();
    // Each connection holds a slot until its end.
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    if tokio::time::timeout(limits.drain, slots.acquire_many(all)).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

/// File descriptors left to everything but connections: store, audit log, runtime, certificates.
const RESERVED_FILES: u64 = 64;

/// The connections that a limit on open files leaves room for, at least one.
fn affordable(wanted: usize, open_files: Option<u64>) -> usize {
    let room = open_files.map_or(u64::MAX, |n| n.saturating_sub(RESERVED_FILES).max(1));
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

/// Returns once `stop` is true, or can no longer become it.
async fn told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// As [`told`]; never without anything to be told by.
async fn told_if_any(ending: Option<watch::Receiver<bool>>) {
    match ending {
        Some(mut ending) => {
            // Those that are gone have not changed.
            if ending.wait_for(|ending| *ending).await.is_err() {
                std::future::pending().await
            }
        }
        None => std::future::pending().await,
    }
}

/// How often the same failure is worth a line.
const FAILURE_PERIOD: Duration = Duration::from_secs(10);

/// Keeps what fails again and again, such as a process that has run out of file descriptors, from filling the log, too.
#[derive(Default)]
struct Failures {
    told: Option<Instant>,
    unsaid: u64,
}

impl Failures {
    const NONE: Failures = Failures { told: None, unsaid: 0 };

    /// How many went untold since the last that was told, when this one is worth a line.
    fn next(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|at| now.duration_since(at) < FAILURE_PERIOD) {
            self.unsaid += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// Connections of trusted proxies that do not begin as they must.
static HEADERLESS: Mutex<Failures> = Mutex::new(Failures::NONE);

fn warn_of_proxy(peer: SocketAddr, error: &dyn fmt::Display) {
    let told = HEADERLESS.lock().unwrap_or_else(PoisonError::into_inner).next(Instant::now());
    match told {
        Some(unsaid) => {
            tracing::warn!(%peer, %error, unsaid, "a connection of a trusted proxy without its PROXY header")
        }
        None => tracing::debug!(%peer, %error, "a connection of a trusted proxy without its PROXY header"),
    }
}

/// What comes before HTTP: the PROXY header, where one is due, and the TLS handshake.
async fn begin(mut stream: TcpStream, peer: SocketAddr, front: Arc<Front>, mut stop: watch::Receiver<bool>) {
    let header_timeout = front.limits.header_timeout;
    let proxies = front.proxies.as_ref();
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!(error = %e, "TCP_NODELAY refused");
    }
    let mut origin = Origin::new(peer.ip(), proxies);
    if Origin::begins_with_header(peer.ip(), proxies) {
        let header = tokio::time::timeout(header_timeout, proxy::read(&mut stream));
        let read = tokio::select! {
            read = header => read,
            () = told(&mut stop) => return,
        };
        match read {
            Ok(Ok(Some(source))) => origin = origin.named(source),
            Ok(Ok(None)) => {}
            Ok(Err(e)) => return warn_of_proxy(peer, &e),
            Err(_) => return warn_of_proxy(peer, &"it did not arrive in time"),
        }
    }
    let Some(acceptor) = front.acceptor.clone() else {
        return connection(stream, peer, origin, front, None, stop).await;
    };
    let handshake = tokio::time::timeout(header_timeout, acceptor.accept(stream));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = told(&mut stop) => return,
    };
    match shaken {
        Ok(Ok(Accepted { stream, certificate, ending })) => {
            connection(stream, peer, origin.secured(certificate), front, ending, stop).await
        }
        Ok(Err(e)) => tracing::debug!(%peer, error = %e, "TLS handshake failed"),
        Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
    }
}

async fn connection<S>(
    stream: S,
    peer: SocketAddr,
    origin: Origin,
    front: Arc<Front>,
    ending: Option<watch::Receiver<bool>>,
    mut stop: watch::Receiver<bool>,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let limits = front.limits;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        // The watchdog below bounds the time for a head, without a timer armed anew for each request.
        .header_read_timeout(None)
        .max_buf_size(64 * 1024)
        .pipeline_flush(true)
        // A client that has said everything may close its half and still wants the answer.
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(64 * 1024)
        .keep_alive_interval(Some(Duration::from_secs(30)));
    let activity = Arc::new(Activity::new());
    let handler = hyper::service::service_fn({
        let activity = activity.clone();
        move |request| {
            let (front, origin, activity) = (front.clone(), origin.clone(), activity.clone());
            let busy = Busy::new(activity.clone());
            async move {
                let answer = route(request, origin, &front).await;
                if answer.close {
                    activity.close.notify_one();
                }
                drop(busy);
                let response = answer.response;
                Ok::<_, Infallible>(response)
            }
        }
    });
    let mut conn = pin!(builder.serve_connection(TokioIo::new(stream), handler).into_owned());
    // The library's own timers start with the first byte that tells HTTP/1 from HTTP/2, and HTTP/2 has
    // none for a connection that answers pings and asks for nothing.
    let over = async {
        tokio::select! {
            () = told(&mut stop) => {}
            // The client shows its certificate to those who vouch for it now.
            () = told_if_any(ending) => {}
            () = activity.close.notified() => {}
            () = activity.quiet(activity.opened, limits.header_timeout, 2 * limits.header_timeout) => {}
        }
    };
    // Looked at only when one of them has happened, not with each step of a request.
    let mut over = FuturesUnordered::from_iter([over]);
    let ended = tokio::select! {
        biased;
        ended = conn.as_mut() => Some(ended),
        _ = over.next() => None,
    };
    drop(over);
    let ended = match ended {
        Some(ended) => ended,
        None => {
            conn.as_mut().graceful_shutdown();
            let grace = limits.header_timeout.min(CLOSING_GRACE);
            tokio::select! {
                biased;
                ended = conn.as_mut() => ended,
                () = activity.quiet(Instant::now(), grace, grace) => {
                    tracing::debug!(%peer, "connection dropped: its peer does not close it");
                    return;
                }
            }
        }
    };
    if let Err(e) = ended {
        tracing::debug!(%peer, error = %e, "connection ended");
    }
}

/// How long a connection without requests in flight may last after it was told to close.
const CLOSING_GRACE: Duration = Duration::from_secs(5);

/// The requests of one connection, as far as its watchdog has to know.
struct Activity {
    opened: Instant,
    in_flight: AtomicUsize,
    /// When a request last went, milliseconds since `opened`; 0 before the first one. While one is in flight nobody
    /// asks.
    last: AtomicU64,
    /// No further request is wanted.
    close: Notify,
}

impl Activity {
    fn new() -> Self {
        Activity {
            opened: Instant::now(),
            in_flight: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            close: Notify::new(),
        }
    }

    fn touch(&self) {
        let millis = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis.max(1), Ordering::Relaxed);
    }

    /// Returns when no request has been in flight for a time: `first`, counted from `since`, when there
    /// never was one, else `later`, counted from the last request or `since`, whichever came later.
    async fn quiet(&self, since: Instant, first: Duration, later: Duration) {
        loop {
            let now = Instant::now();
            let due = match (self.in_flight.load(Ordering::Acquire), self.last.load(Ordering::Relaxed)) {
                (0, 0) => since + first,
                (0, last) => since.max(self.opened + Duration::from_millis(last)) + later,
                _ => now + later,
            };
            if due <= now {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }
}

/// A request in flight, until dropped.
struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: Arc<Activity>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::AcqRel);
        Busy(activity)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // In this order: whoever sees no request in flight sees when the last one went.
        self.0.touch();
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What is answered, and whether the connection is to be closed behind it.
struct Answer {
    response: Response<Full<Bytes>>,
    close: bool,
}

impl From<Response<Full<Bytes>>> for Answer {
    fn from(response: Response<Full<Bytes>>) -> Self {
        Answer { response, close: false }
    }
}

async fn route(request: Request<Incoming>, origin: Origin, front: &Front) -> Answer {
    let Front { service, limits, metrics, .. } = front;
    if request.method() == HttpMethod::GET {
        match request.uri().path() {
            "/healthz" => return plain(StatusCode::OK, "ok\n").into(),
            "/readyz" => {
                let answer = match service.ready().await {
                    Ok(()) => plain(StatusCode::OK, "ready\n"),
                    Err(e) => {
                        tracing::warn!(reason = e.reason, cause = e.cause, "not ready");
                        plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", e.reason))
                    }
                };
                return answer.into();
            }
            "/metrics" => {
                let text = metrics.text(service).await;
                let mut response = Response::new(Full::new(Bytes::from(text)));
                let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                return response.into();
            }
            _ => {}
        }
    }
    let (head, body) = request.into_parts();
    let source = origin.of(&head.headers);
    let mut call = Call::begin(source, &head.headers, front);
    let answer = |reply: Reply, call: Call| {
        call.end(&reply, front);
        api(reply, head.version)
    };
    let source = Some(source);
    let method = match head.method {
        HttpMethod::GET => Method::Get,
        HttpMethod::POST => Method::Post,
        _ => {
            let lang = presented_language(&head.headers);
            return answer(service.refuse(ErrorCode::UnsupportedProtocol.into(), lang, source).await, call);
        }
    };
    let body = match read_body(&head.headers, body, limits.body_timeout).await {
        Ok(body) => body,
        Err(error) => return answer(service.refuse(error, presented_language(&head.headers), source).await, call),
    };
    call.bytes_in = body.len();
    let host = match head.headers.get(header::HOST) {
        Some(host) => host.as_bytes(),
        // HTTP/2 carries it as :authority.
        None => head.uri.authority().map_or(&b""[..], |a| a.as_str().as_bytes()),
    };
    let parts = RequestParts {
        method,
        path: head.uri.path(),
        raw_query: head.uri.query().unwrap_or(""),
        headers: &head.headers,
        host,
        body: &body,
        secure: origin.is_secure(),
        certificate: origin.certificate(),
    };
    answer(service.handle(&parts, source).await, call)
}

/// Reads a body up to the largest size that its kind may have. What is too large is read to a bounded
/// extent and thrown away, so that the caller gets an answer and not a broken pipe.
async fn read_body(headers: &HeaderMap, body: Incoming, timeout: Duration) -> Result<Bytes, ApiError> {
    let limit = body_limit(headers);
    if body.size_hint().lower() > (limit.bytes + DRAIN) as u64 {
        return Err(limit.refusal());
    }
    // Before a caller is known he may make the process keep only so much.
    let _large = match body.size_hint().upper() {
        Some(size) if size <= SMALL => None,
        _ => Some(tokio::time::timeout(timeout, LARGE_BODIES.acquire()).await.map_err(|_| late())?),
    };
    let collected = tokio::time::timeout(timeout, Limited::new(body, limit.bytes + DRAIN).collect()).await;
    match collected {
        Ok(Ok(collected)) => {
            let bytes = collected.to_bytes();
            if bytes.len() > limit.bytes { Err(limit.refusal()) } else { Ok(bytes) }
        }
        Ok(Err(e)) if e.is::<http_body_util::LengthLimitError>() => Err(limit.refusal()),
        Ok(Err(_)) => {
            Err(ApiError::with_text(ErrorCode::InvalidRequest, "The request body ended early.", "请求体不完整。"))
        }
        Err(_) => Err(late()),
    }
}

fn late() -> ApiError {
    ApiError::with_text(ErrorCode::InvalidRequest, "The request body did not arrive in time.", "请求体接收超时。")
}

/// A body that needs no place among the large ones, bytes. No honest KMS call is larger.
const SMALL: u64 = 64 * 1024;
/// Larger bodies, or of unknown length, that are read at the same time.
static LARGE_BODIES: Semaphore = Semaphore::const_new(32);

/// How much of an oversized body is still read, bytes.
const DRAIN: usize = 4 * 1024 * 1024;

/// HTTP 200 and exactly `application/json`, errors too: the official SDKs compare it for equality.
fn api(reply: Reply, version: Version) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from_owner(reply.body)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // HTTP/2 has no such header; its connection is told in a frame.
    if reply.close && version < Version::HTTP_2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Answer { response, close: reply.close }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Accepts connections on a listener address.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// A raw TCP stream; named here so that the TLS module needs no import of its own.
pub type Stream = TcpStream;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_other_files() {
        assert_eq!(affordable(10_000, None), 10_000);
        assert_eq!(affordable(10_000, Some(1024)), 960);
        assert_eq!(affordable(100, Some(1024)), 100);
        assert_eq!(affordable(100, Some(10)), 1);
    }

    #[test]
    fn what_fails_again_and_again_is_told_now_and_then() {
        let (mut failures, begin) = (Failures::default(), Instant::now());
        let told: Vec<_> = (0..100).filter_map(|n| failures.next(begin + Duration::from_millis(250 * n))).collect();
        assert_eq!(told, [0, 39, 39]);
    }

    #[tokio::test]
    async fn quiet_counts_from_the_last_request() {
        let activity = Arc::new(Activity::new());
        let (first, later) = (Duration::from_millis(50), Duration::from_millis(100));
        activity.quiet(activity.opened, first, later).await;
        let busy = Busy::new(activity.clone());
        let still = activity.quiet(activity.opened, first, later);
        assert!(tokio::time::timeout(Duration::from_millis(300), still).await.is_err(), "a request is in flight");
        drop(busy);
        let ended = Instant::now();
        activity.quiet(activity.opened, first, later).await;
        assert!(ended.elapsed() >= later - Duration::from_millis(1), "{:?}", ended.elapsed());
    }
}
