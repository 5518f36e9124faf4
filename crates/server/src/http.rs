//! The HTTP side: connections, bounded bodies, and the few paths beside the API.

use crate::tls::Acceptor;
use bytes::Bytes;
use http::{HeaderValue, Method as HttpMethod, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use jadeseal_auth::{Method, RequestParts, body_limit, presented_language};
use jadeseal_service::{Reply, Service};
use jadeseal_types::{ApiError, ErrorCode, SecretBytes};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

/// How the listener treats its callers.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Time for the head of a request, and between requests of a kept-alive connection.
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

/// Serves until `stop` turns true, then lets requests in flight finish.
pub async fn serve(
    listener: TcpListener,
    acceptor: Option<Acceptor>,
    service: Arc<Service>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { break };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    // Out of file descriptors, mostly: wait for some connection to end.
                    tracing::warn!(error = %e, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = stop.changed() => break,
        };
        let (service, acceptor, watcher) = (service.clone(), acceptor.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(e) = stream.set_nodelay(true) {
                tracing::debug!(error = %e, "TCP_NODELAY refused");
            }
            match acceptor {
                None => connection(stream, peer, service, limits, watcher).await,
                Some(acceptor) => match tokio::time::timeout(limits.header_timeout, acceptor.accept(stream)).await {
                    Ok(Ok(tls)) => connection(tls, peer, service, limits, watcher).await,
                    Ok(Err(e)) => tracing::debug!(%peer, error = %e, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
                },
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

async fn connection<S>(
    stream: S,
    peer: SocketAddr,
    service: Arc<Service>,
    limits: Limits,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
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
    let handler = hyper::service::service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(route(request, peer, service, limits).await) }
    });
    let conn = builder.serve_connection(TokioIo::new(stream), handler).into_owned();
    if let Err(e) = watcher.watch(conn).await {
        tracing::debug!(%peer, error = %e, "connection ended");
    }
}

async fn route(
    request: Request<Incoming>,
    peer: SocketAddr,
    service: Arc<Service>,
    limits: Limits,
) -> Response<Full<Bytes>> {
    if request.method() == HttpMethod::GET {
        match request.uri().path() {
            "/healthz" => return plain(StatusCode::OK, "ok\n"),
            "/readyz" => {
                return match service.ready().await {
                    Ok(()) => plain(StatusCode::OK, "ready\n"),
                    Err(e) => {
                        tracing::warn!(cause = e.internal_cause().unwrap_or(""), "not ready");
                        plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
                    }
                };
            }
            "/metrics" => {
                let text = service.metrics_text().await;
                let mut response = Response::new(Full::new(Bytes::from(text)));
                let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                return response;
            }
            _ => {}
        }
    }
    let (head, body) = request.into_parts();
    let method = match head.method {
        HttpMethod::GET => Method::Get,
        HttpMethod::POST => Method::Post,
        _ => {
            return api(service
                .refuse(ErrorCode::UnsupportedProtocol.into(), presented_language(&head.headers), Some(peer.ip()))
                .await);
        }
    };
    let body = match read_body(&head.headers, body, limits.body_timeout).await {
        Ok(body) => body,
        Err(error) => return api(service.refuse(error, presented_language(&head.headers), Some(peer.ip())).await),
    };
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
    };
    api(service.handle(&parts, Some(peer.ip())).await)
}

/// Reads a body up to the largest size that its kind may have. What is too large is read to a bounded
/// extent and thrown away, so that the caller gets an answer and not a broken pipe.
async fn read_body(headers: &http::HeaderMap, body: Incoming, timeout: Duration) -> Result<Bytes, ApiError> {
    let limit = body_limit(headers);
    if body.size_hint().lower() > (limit.bytes + DRAIN) as u64 {
        return Err(limit.refusal());
    }
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
        Err(_) => Err(ApiError::with_text(
            ErrorCode::InvalidRequest,
            "The request body did not arrive in time.",
            "请求体接收超时。",
        )),
    }
}

/// How much of an oversized body is still read, bytes.
const DRAIN: usize = 4 * 1024 * 1024;

struct Wiped(SecretBytes);

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

/// HTTP 200 and exactly `application/json`, errors too: the official SDKs compare it for equality.
fn api(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_owner(Wiped(reply.body))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
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
