//! The listener: TLS with reload, HTTP/2, bounded bodies, PROXY headers, a stop that lets requests finish.

use jadeseal_server::{
    config::{self, Config},
    forwarded::{Protocol, Proxies},
    http, tls, wiring,
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    task::JoinHandle,
};

struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    done: JoinHandle<()>,
    dir: tempfile::TempDir,
}

async fn start(with_tls: bool) -> Server {
    start_with(with_tls, |limits| limits.header_timeout = Duration::from_secs(5)).await
}

async fn start_with(with_tls: bool, change: impl FnOnce(&mut http::Limits)) -> Server {
    start_as(with_tls, |conf| change(&mut conf.http)).await
}

async fn start_as(with_tls: bool, change: impl FnOnce(&mut Config)) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let regions = config::regions_of(vec![config::region("ap-guangzhou").unwrap()]).unwrap();
    let mut conf = Config::quickstart(dir.path().join("data"), "127.0.0.1:0".parse().unwrap(), regions).unwrap();
    change(&mut conf);
    if with_tls {
        write_certificate(dir.path());
        conf.tls = Some(files(dir.path()));
    }
    let opened = wiring::open(conf, true).await.unwrap();
    let (listener, address) = opened.bind().await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let done = tokio::spawn(async move { opened.serve(listener, stopped).await.unwrap() });
    Server { address, stop, done, dir }
}

fn files(dir: &Path) -> tls::Files {
    tls::Files { certificate: dir.join("tls.crt"), key: dir.join("tls.key"), clients: None }
}

/// Writes a fresh self-signed certificate for `localhost`.
fn write_certificate(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(files(dir).certificate, made.cert.pem()).unwrap();
    std::fs::write(files(dir).key, made.signing_key.serialize_pem()).unwrap();
}

type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(server: &Server, alpn: &[u8]) -> std::io::Result<TlsStream> {
    connect_after(server, b"", alpn).await
}

/// Says `words`, then goes on with TLS.
async fn connect_after(server: &Server, words: &[u8], alpn: &[u8]) -> std::io::Result<TlsStream> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(files(server.dir.path()).certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let mut tcp = TcpStream::connect(server.address).await?;
    tcp.write_all(words).await?;
    let name = ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    read_to_end(stream).await
}

async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    // A peer that closes without a TLS close_notify has still said everything.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_reloaded_without_a_restart() {
    let server = start(true).await;
    let health = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut stream = connect(&server, b"http/1.1").await.unwrap();
    assert!(exchange(&mut stream, health).await.starts_with("HTTP/1.1 200"));
    // Files that do not fit each other change nothing.
    let good = std::fs::read(files(server.dir.path()).certificate).unwrap();
    std::fs::write(files(server.dir.path()).key, "nonsense").unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(std::fs::read(files(server.dir.path()).certificate).unwrap(), good);
    connect(&server, b"http/1.1").await.expect("the old certificate stays");
    write_certificate(server.dir.path());
    let mut reloaded = false;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if connect(&server, b"h2").await.is_ok() {
            reloaded = true;
            break;
        }
    }
    assert!(reloaded, "the new certificate is served within ten seconds");
    let h2 = connect(&server, b"h2").await.unwrap();
    assert_eq!(h2.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    server.stop.send_replace(true);
    server.done.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_finishes_when_the_service_stops() {
    let server = start(false).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-TC-Action: ListKeys\r\n\
                X-TC-Version: 2019-01-18\r\nContent-Length: 2\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.stop.send_replace(true);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(TcpStream::connect(server.address).await.is_err(), "no new connections");
    let answer = exchange(&mut stream, b"}").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("AuthFailure.InvalidAuthorization"), "{answer}");
    tokio::time::timeout(Duration::from_secs(10), server.done).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_and_cut_bodies_get_an_answer() {
    let server = start(false).await;
    let head = |length: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Authorization: TC3-HMAC-SHA256 x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let size = (10 << 20) + 1;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut request = head(size).into_bytes();
    request.resize(request.len() + size, b' ');
    let answer = exchange(&mut stream, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("RequestSizeLimitExceeded"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("content-type: application/json\r\n"), "{answer}");
    // A body that ends early: the peer half-closes, and there is nobody to sign for it.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(head(100).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 "), "{answer}");
    // The service is still there.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let ready = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(exchange(&mut stream, ready).await.starts_with("HTTP/1.1 200"));
    server.stop.send_replace(true);
    server.done.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_data_is_refused() {
    let server = start(false).await;
    let error = wiring::DataDir::lock(&server.dir.path().join("data")).err().unwrap().to_string();
    assert!(error.contains("another Jadeseal process"), "{error}");
    server.stop.send_replace(true);
    server.done.await.unwrap();
    wiring::DataDir::lock(&server.dir.path().join("data")).unwrap();
}

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Sends the requests of a kept-alive connection and reads what is there of the answer.
async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(HEALTH).await.unwrap();
    let mut answer = vec![0; 1024];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// Says `words`, then nothing, and waits for the other side to close.
async fn closed_after(mut stream: impl AsyncRead + AsyncWrite + Unpin, words: &[u8]) {
    stream.write_all(words).await.unwrap();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(6), stream.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "still open after {:?}", String::from_utf8_lossy(words));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ask_for_nothing_are_closed() {
    let server = start_with(false, |limits| limits.header_timeout = Duration::from_secs(1)).await;
    let tcp = async || TcpStream::connect(server.address).await.unwrap();
    // The preface of HTTP/2, and an empty SETTINGS frame.
    let h2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let used = async {
        let mut stream = tcp().await;
        for _ in 0..8 {
            assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
    };
    let uploading = async {
        let mut stream = tcp().await;
        let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
                     Content-Length: 2\r\n\r\n{";
        stream.write_all(head).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(exchange(&mut stream, b"}").await.starts_with("HTTP/1.1 200"), "a request in flight is left alone");
    };
    tokio::join!(
        closed_after(tcp().await, b""),
        closed_after(tcp().await, b"PRI * H"),
        closed_after(tcp().await, &h2[..24]),
        closed_after(tcp().await, h2),
        closed_after(tcp().await, b"POST / HT"),
        closed_after(tcp().await, HEALTH),
        used,
        uploading,
    );
    server.stop.send_replace(true);
    server.done.await.unwrap();
    let server = start_with(true, |limits| limits.header_timeout = Duration::from_secs(1)).await;
    tokio::join!(
        closed_after(TcpStream::connect(server.address).await.unwrap(), b""),
        closed_after(connect(&server, b"http/1.1").await.unwrap(), b""),
        closed_after(connect(&server, b"h2").await.unwrap(), b""),
        closed_after(connect(&server, b"h2").await.unwrap(), b"PRI * H"),
        closed_after(connect(&server, b"h2").await.unwrap(), h2),
    );
    server.stop.send_replace(true);
    server.done.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heard_while_every_connection_is_taken() {
    let server = start_with(false, |limits| limits.connections = 1).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    assert!(ask(&mut first).await.starts_with("HTTP/1.1 200"));
    // In the kernel's queue, without an answer.
    let mut second = TcpStream::connect(server.address).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), ask(&mut second)).await.is_err());
    server.stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(10), server.done).await.expect("stops within its drain").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_do_not_hold_up_a_stop() {
    for with_tls in [false, true] {
        let server = start_with(with_tls, |_| {}).await;
        let _silent = TcpStream::connect(server.address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(10), server.done).await.expect("stops within its drain").unwrap();
    }
}

/// A header that names 192.0.2.1 as the source.
const PROXY_HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x0a\0\0\x01\x0f\xa0\x01\xbb";

async fn start_behind_a_proxy(with_tls: bool) -> Server {
    start_as(with_tls, |conf| {
        conf.http.header_timeout = Duration::from_secs(1);
        conf.proxies = Some(Arc::new(Proxies::new(&["127.0.0.1".to_owned()], Protocol::ProxyV2).unwrap()));
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_comes_before_tls() {
    let server = start_behind_a_proxy(true).await;
    let refused = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
                    X-Forwarded-For: 203.0.113.5\r\nConnection: close\r\n\r\n{}";
    let mut stream = connect_after(&server, PROXY_HEADER, b"http/1.1").await.unwrap();
    let answer = exchange(&mut stream, refused).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(connect(&server, b"http/1.1").await.is_err(), "TLS without the header");
    server.stop.send_replace(true);
    server.done.await.unwrap();
    let segments = std::fs::read_dir(server.dir.path().join("data/audit")).unwrap();
    let log: Vec<_> = segments.flat_map(|f| std::fs::read(f.unwrap().path()).unwrap()).collect();
    let log = String::from_utf8_lossy(&log);
    assert!(log.contains("\"source\":\"192.0.2.1\""), "{log}");
    assert!(!log.contains("203.0.113.5"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_that_does_not_come_is_not_waited_for() {
    let server = start_behind_a_proxy(false).await;
    let tcp = async || TcpStream::connect(server.address).await.unwrap();
    tokio::join!(
        closed_after(tcp().await, b""),
        closed_after(tcp().await, &PROXY_HEADER[..7]),
        closed_after(tcp().await, &PROXY_HEADER[..20]),
        closed_after(tcp().await, PROXY_HEADER),
    );
    let mut stream = tcp().await;
    // In pieces, and together with what follows.
    stream.write_all(&PROXY_HEADER[..20]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.write_all(&PROXY_HEADER[20..]).await.unwrap();
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
    let mut stream = tcp().await;
    stream.write_all(&[PROXY_HEADER, HEALTH].concat()).await.unwrap();
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
    let mut silent = tcp().await;
    silent.write_all(&PROXY_HEADER[..20]).await.unwrap();
    server.stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(10), server.done).await.expect("stops within its drain").unwrap();
}

/// A request that is refused before anything is looked for.
const REFUSED: &[u8] =
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-TC-Action: ListKeys\r\n\
                         X-TC-Version: 2019-01-18\r\nAuthorization: TC3-HMAC-SHA256 x\r\nContent-Length: 2\r\n\r\n{}";

/// Sends refused requests on connections of their own, until their source is at the longest wait.
async fn flood(server: &Server) -> Vec<TcpStream> {
    let mut all = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(REFUSED).await.unwrap();
        all.push(stream);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn who_floods_loses_his_connections() {
    let server = start_with(false, |_| {}).await;
    let mut reading = tokio::task::JoinSet::new();
    for mut stream in flood(&server).await {
        reading.spawn(async move {
            let mut answer = Vec::new();
            let end = tokio::time::timeout(Duration::from_secs(3), stream.read_to_end(&mut answer)).await;
            (end.is_ok(), String::from_utf8(answer).unwrap().to_ascii_lowercase())
        });
    }
    let answers = reading.join_all().await;
    for (ended, answer) in &answers {
        assert!(answer.contains("authfailure.invalidauthorization"), "{answer}");
        assert_eq!(*ended, answer.contains("connection: close\r\n"), "{answer}");
    }
    let closed = answers.iter().filter(|(ended, _)| *ended).count();
    assert!((40..=64).contains(&closed), "{closed}");
    // HTTP/2 has no header for it: GOAWAY, and the end.
    let _waiting = flood(&server).await;
    let mut h2 = TcpStream::connect(server.address).await.unwrap();
    let mut words = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // HEADERS of stream 1, END_STREAM and END_HEADERS: PUT, http, /.
    words.extend(b"\0\0\x07\x01\x05\0\0\0\x01\x02\x03PUT\x86\x84");
    h2.write_all(&words).await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), h2.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "still open");
    server.stop.send_replace(true);
    server.done.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_wait_do_not_hold_up_a_stop() {
    let server = start_with(false, |_| {}).await;
    drop(flood(&server).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut streams = flood(&server).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.stop.send_replace(true);
    let began = std::time::Instant::now();
    tokio::time::timeout(Duration::from_secs(10), server.done).await.expect("stops within its drain").unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    for stream in &mut streams {
        assert!(read_to_end(stream).await.contains("AuthFailure.InvalidAuthorization"), "everybody has his answer");
    }
}

/// What is wrong with the settings is told before anything is started, and what was opened is closed.
#[tokio::test]
async fn a_start_that_fails_closes_what_it_has_opened() {
    let dir = tempfile::tempdir().unwrap();
    let regions = config::regions_of(vec![config::region("ap-guangzhou").unwrap()]).unwrap();
    let mut conf = Config::quickstart(dir.path().join("data"), "127.0.0.1:0".parse().unwrap(), regions).unwrap();
    conf.telemetry = Some(config::TelemetryConf {
        endpoint: "http://127.0.0.1:9".to_owned(),
        traces: true,
        metrics: true,
        sample_ratio: 1.0,
        metrics_seconds: 1,
        headers_file: Some(dir.path().join("none")),
        ca_file: None,
    });
    let opened = wiring::open(conf.clone(), true).await.unwrap();
    let service = opened.service.clone();
    let (listener, _) = opened.bind().await.unwrap();
    let (_stop, stopped) = watch::channel(false);
    let error = opened.serve(listener, stopped).await.unwrap_err().to_string();
    assert!(error.contains("telemetry") && error.contains("none"), "{error}");
    assert!(service.ready().await.is_err(), "it is closed");
    let checked = wiring::check(&conf).await.unwrap_err().to_string();
    assert!(checked.contains("telemetry") && checked.contains("none"), "{checked}");
}
