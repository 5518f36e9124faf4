//! Exports of a real log, with receivers on loopback.

use crate::{
    Exports, Figures, Settings, Table,
    cursor::{self, Cursor, leaf_hash},
    lowest_cursor,
};
use jadeseal_audit::{Log, Options};
use serde::Deserialize as _;
use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

/// Settings from a table that is given as JSON; it comes through the same types.
fn settings(json: serde_json::Value) -> Settings {
    let table = Table::deserialize(json).unwrap();
    Settings::check_all(vec![table]).unwrap().remove(0)
}

fn record(n: u64) -> Vec<u8> {
    format!(
        "{{\"v\":1,\"time\":\"2026-11-24T02:15:22.{:06}Z\",\"request_id\":\"r-{n}\",\"account\":\"1\",\"action\":\"Encrypt\",\"code\":\"\"}}",
        n % 1_000_000
    )
    .into_bytes()
}

struct Place {
    dir: tempfile::TempDir,
    log: Option<Arc<Log>>,
}

impl Place {
    fn new() -> Self {
        let mut place = Place { dir: tempfile::tempdir().unwrap(), log: None };
        place.open();
        place
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn audit(&self) -> std::path::PathBuf {
        self.path().join("audit")
    }

    fn open(&mut self) {
        let options = Options { segment_bytes: 20_000, flush_every: Duration::from_millis(5), ..Options::default() };
        self.log = Some(Arc::new(Log::open(&self.audit(), options).unwrap().0));
    }

    fn log(&self) -> &Arc<Log> {
        self.log.as_ref().unwrap()
    }

    fn append(&self, range: std::ops::Range<u64>) {
        for n in range.clone() {
            let until = Instant::now() + Duration::from_secs(20);
            while let Err(e) = self.log().append(&record(n)) {
                assert!(matches!(e, jadeseal_audit::AuditError::Full) && Instant::now() < until, "{e}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        block_on(self.log().flushed(range.end - 1)).unwrap();
    }

    fn start(&self, settings: &Settings) -> Exports {
        Exports::start(std::slice::from_ref(settings), self.path(), &self.audit(), self.log()).unwrap()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn figures(exports: &Exports) -> Figures {
    exports.statuses()[0].figures()
}

fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(40);
    while !done() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn shipped(exports: &Exports) {
    eventually("no lag", || figures(exports).lag_records == 0);
}

fn file_settings(path: &Path) -> Settings {
    settings(serde_json::json!({"name": "f", "kind": "file", "path": path, "batch_records": 7}))
}

fn line(n: u64) -> String {
    format!("{{\"index\":{n},\"log\":\"jadeseal\",\"record\":{}}}", String::from_utf8(record(n)).unwrap())
}

#[test]
fn a_file_gets_every_record_and_a_restart_goes_on() {
    let mut place = Place::new();
    let path = place.path().join("out.jsonl");
    let settings = file_settings(&path);
    let all = std::slice::from_ref(&settings);
    assert_eq!(lowest_cursor(place.path(), &[]).unwrap(), None);
    assert_eq!(lowest_cursor(place.path(), all).unwrap(), Some(0));
    place.append(0..100);
    let exports = place.start(&settings);
    shipped(&exports);
    place.append(100..300);
    // What was appended just before the end goes out as well.
    block_on(exports.stop());
    assert_eq!(lowest_cursor(place.path(), all).unwrap(), Some(300));
    place.log = None;
    place.open();
    place.append(300..310);
    let exports = place.start(&settings);
    shipped(&exports);
    assert_eq!(figures(&exports).records, 10);
    block_on(exports.stop());
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().collect::<Vec<_>>(), (0..310).map(line).collect::<Vec<_>>());
    let file = cursor::path(place.path(), "f");
    let expected = Cursor { next: 310, leaf: Some(leaf_hash(&record(309))) };
    assert_eq!(Cursor::parse(&fs::read(&file).unwrap()).unwrap(), expected);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn an_export_from_now_leaves_out_what_was_before() {
    let place = Place::new();
    place.append(0..5);
    let path = place.path().join("out.jsonl");
    let settings =
        settings(serde_json::json!({"name": "f", "kind": "file", "path": path, "from": "now", "log": "kms-1"}));
    let exports = place.start(&settings);
    eventually("a cursor", || lowest_cursor(place.path(), std::slice::from_ref(&settings)).unwrap() == Some(5));
    place.append(5..7);
    shipped(&exports);
    block_on(exports.stop());
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().collect::<Vec<_>>(), [line(5), line(6)].map(|l| l.replace("\"jadeseal\"", "\"kms-1\"")));
}

#[test]
fn a_log_that_is_not_the_exported_one_stops_the_export() {
    let place = Place::new();
    place.append(0..10);
    let path = place.path().join("out.jsonl");
    let settings = file_settings(&path);
    for (next, leaf) in [(11, None), (10, Some(leaf_hash(b"another"))), (u64::MAX, Some([0; 32]))] {
        Cursor { next, leaf }.save(place.path(), "f").unwrap();
        let exports = place.start(&settings);
        eventually("stopped", || figures(&exports).stopped);
        block_on(exports.stop());
        assert!(!path.exists());
        // The cursor stays for the operator to look at.
        assert_eq!(Cursor::load(place.path(), "f").unwrap(), Some(Cursor { next, leaf }));
    }
    fs::write(cursor::path(place.path(), "f"), "{}").unwrap();
    assert!(lowest_cursor(place.path(), std::slice::from_ref(&settings)).is_err());
    let exports = place.start(&settings);
    eventually("stopped", || figures(&exports).stopped);
    block_on(exports.stop());
    // The right leaf lets it go on.
    Cursor { next: 9, leaf: Some(leaf_hash(&record(8))) }.save(place.path(), "f").unwrap();
    let exports = place.start(&settings);
    shipped(&exports);
    block_on(exports.stop());
    assert_eq!(fs::read_to_string(&path).unwrap(), line(9) + "\n");
}

#[test]
fn a_gap_is_told_and_damage_stops() {
    let mut place = Place::new();
    for n in 0..400 {
        place.append(n..n + 1);
    }
    place.log = None;
    let mut segments: Vec<_> = fs::read_dir(place.audit()).unwrap().map(|e| e.unwrap().path()).collect();
    segments.retain(|p| p.to_str().unwrap().contains("audit-0"));
    segments.sort();
    assert!(segments.len() > 2, "{segments:?}");
    let first: u64 =
        segments[1].to_str().unwrap().rsplit('-').next().unwrap().strip_suffix(".log").unwrap().parse().unwrap();
    fs::remove_file(&segments[0]).unwrap();
    place.open();
    let path = place.path().join("out.jsonl");
    let exports = place.start(&file_settings(&path));
    shipped(&exports);
    assert_eq!(figures(&exports).records, 400 - first);
    block_on(exports.stop());
    let text = fs::read_to_string(&path).unwrap();
    let gap = format!("{{\"index\":0,\"log\":\"jadeseal\",\"gap\":{{\"from\":0,\"to\":{}}}}}", first - 1);
    assert_eq!(text.lines().collect::<Vec<_>>(), [gap].into_iter().chain((first..400).map(line)).collect::<Vec<_>>());

    let mut bytes = fs::read(&segments[1]).unwrap();
    bytes[200] ^= 1;
    fs::write(&segments[1], bytes).unwrap();
    fs::remove_file(cursor::path(place.path(), "f")).unwrap();
    let exports = place.start(&file_settings(&path));
    eventually("stopped", || figures(&exports).stopped);
    assert!(figures(&exports).lag_records > 0);
    block_on(exports.stop());
}

/// A TCP receiver that hands every connection to `serve`.
fn receiver(mut serve: impl FnMut(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap())));
    port
}

/// One HTTP request: its head and its body.
fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 65_536];
    loop {
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length: usize = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
            if body.len() == length {
                return Some((head, body.to_owned()));
            }
        }
    }
}

#[test]
fn http_takes_each_batch_once_it_says_so() {
    let place = Place::new();
    let headers = place.path().join("headers");
    fs::write(&headers, "Authorization: Bearer t0ken\n").unwrap();
    fs::set_permissions(&headers, fs::Permissions::from_mode(0o600)).unwrap();
    let (taken, batches) = mpsc::channel();
    let mut turn = 0;
    let port = receiver(move |mut stream| {
        while let Some((head, body)) = read_request(&mut stream) {
            turn += 1;
            let status = match turn % 5 {
                0 => "503 Busy",
                1 => "400 Bad",
                2 => return,
                3 => "302 Found\r\nLocation: http://127.0.0.1:1/",
                _ => "204 Taken",
            };
            if status.starts_with("204") {
                taken.send((head, body)).unwrap();
            }
            if stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).is_err() {
                return;
            }
        }
    });
    let url = format!("http://127.0.0.1:{port}/in?x=1");
    let settings = settings(
        serde_json::json!({"name": "h", "kind": "http", "url": url, "headers_file": headers, "batch_records": 40}),
    );
    settings.check_files().unwrap();
    place.append(0..100);
    let exports = place.start(&settings);
    shipped(&exports);
    let after = figures(&exports);
    assert_eq!((after.records, after.lag), (100, Duration::ZERO));
    assert!(after.failures >= 8, "{after:?}");
    block_on(exports.stop());
    let mut next = 0;
    for (head, body) in batches.try_iter() {
        let last = (next + 39).min(99);
        for wanted in [
            "post /in?x=1 http/1.1".to_owned(),
            "content-type: application/x-ndjson".to_owned(),
            "authorization: bearer t0ken".to_owned(),
            format!("x-jadeseal-first: {next}\r\n"),
            format!("x-jadeseal-last: {last}\r\n"),
        ] {
            assert!(format!("{head}\r\n").contains(&wanted), "{wanted}: {head}");
        }
        assert_eq!(body.lines().collect::<Vec<_>>(), (next..=last).map(line).collect::<Vec<_>>());
        next = last + 1;
    }
    assert_eq!(next, 100);
    // Others must not read the token.
    fs::set_permissions(&headers, fs::Permissions::from_mode(0o640)).unwrap();
    let error = settings.check_files().unwrap_err();
    assert!(error.contains("chmod 600") && !error.contains("t0ken"), "{error}");
}

#[test]
fn a_receiver_that_hangs_delays_neither_appends_nor_the_end() {
    let place = Place::new();
    let port = receiver(std::mem::forget);
    let url = format!("http://127.0.0.1:{port}/");
    let exports =
        place.start(&settings(serde_json::json!({"name": "h", "kind": "http", "url": url, "timeout_seconds": 300})));
    place.append(0..50);
    eventually("lag", || figures(&exports).lag_records == 50 && figures(&exports).lag > Duration::ZERO);
    let started = Instant::now();
    block_on(exports.stop());
    assert!(started.elapsed() < Duration::from_millis(2_600), "{:?}", started.elapsed());
    assert_eq!(Cursor::load(place.path(), "h").unwrap(), Some(Cursor { next: 0, leaf: None }));
}

#[test]
fn a_slow_receiver_delays_no_append_and_its_lag_comes_and_goes() {
    const SLOW: Duration = Duration::from_millis(100);
    let place = Place::new();
    let delay = Arc::new(AtomicU64::new(100));
    let slow = delay.clone();
    let port = receiver(move |mut stream| {
        while read_request(&mut stream).is_some() {
            std::thread::sleep(Duration::from_millis(slow.load(Ordering::Relaxed)));
            if stream.write_all(b"HTTP/1.1 204 Taken\r\nContent-Length: 0\r\n\r\n").is_err() {
                return;
            }
        }
    });
    let url = format!("http://127.0.0.1:{port}/");
    let table = serde_json::json!({"name": "h", "kind": "http", "url": url, "batch_records": 1});
    let exports = place.start(&settings(table));
    let (mut lags, started) = (vec![], Instant::now());
    for round in 0..4 {
        for n in 100 * round..100 * (round + 1) {
            place.append(n..n + 1);
        }
        let now = figures(&exports);
        lags.push((now.lag_records, now.lag));
    }
    // If an append waited for the receiver, they would take 40 s.
    let took = started.elapsed();
    assert!(lags.is_sorted() && lags[0].0 > 50 && lags[3].0 > 200, "{lags:?}");
    assert!(lags[3].1 > Duration::ZERO && took < 400 * SLOW / 2, "{lags:?} {took:?}");
    delay.store(0, Ordering::Relaxed);
    let mut last = u64::MAX;
    eventually("no lag", || {
        let now = figures(&exports).lag_records;
        assert!(now <= last, "it grows again: {now} after {last}");
        last = now;
        now == 0
    });
    let now = figures(&exports);
    assert_eq!((now.lag, now.records, now.failures), (Duration::ZERO, 400, 0));
    block_on(exports.stop());
}

/// Reads frames until the stream ends; the indices in them.
fn read_frames(stream: &mut impl std::io::Read, mut each: impl FnMut(u64) -> bool) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1000];
    loop {
        let n = match stream.read(&mut chunk) {
            Ok(n) if n > 0 => n,
            _ => return,
        };
        bytes.extend_from_slice(&chunk[..n]);
        while let Some(space) = bytes.iter().position(|c| *c == b' ') {
            let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().unwrap();
            if bytes.len() < space + 1 + length {
                break;
            }
            let frame: Vec<u8> = bytes.drain(..space + 1 + length).skip(space + 1).collect();
            let text = String::from_utf8(frame).unwrap();
            let index = text.split("index=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
            assert!(
                text.starts_with("<110>1 ") && text.ends_with(std::str::from_utf8(&record(index)).unwrap()),
                "{text}"
            );
            if !each(index) {
                return;
            }
        }
    }
}

#[test]
fn a_stream_that_breaks_is_sent_again_from_what_is_sure() {
    let mut place = Place::new();
    let (saw, seen) = mpsc::channel();
    let mut connection = 0;
    let calm = Arc::new(AtomicBool::new(false));
    let calm_now = calm.clone();
    let port = receiver(move |mut stream| {
        connection += 1;
        // The first ones are dropped with bytes unread in them, which resets them: those records are lost.
        let mut left = if calm_now.load(Ordering::Acquire) { u64::MAX } else { 10 * connection };
        read_frames(&mut stream, |index| {
            saw.send(index).unwrap();
            left -= 1;
            left > 0
        });
    });
    let settings = settings(
        serde_json::json!({"name": "s", "kind": "syslog", "address": format!("tcp://127.0.0.1:{port}"), "batch_records": 5}),
    );
    place.append(0..40);
    let exports = place.start(&settings);
    let mut all = BTreeSet::new();
    let mut order = Vec::new();
    for n in 40..100 {
        place.append(n..n + 1);
        std::thread::sleep(Duration::from_millis(5));
    }
    calm.store(true, Ordering::Release);
    eventually("all there", || {
        for index in seen.try_iter() {
            all.insert(index);
            order.push(index);
        }
        all.len() == 100
    });
    // Within a connection the order holds, and a new one never begins behind a record that is missing.
    let mut next = 0;
    for index in order {
        assert!(index <= next, "{index} before {next}");
        next = next.max(index + 1);
    }
    shipped(&exports);
    assert!(figures(&exports).failures > 0);
    // An end in order, in which the receiver closes too, makes all of it sure.
    block_on(exports.stop());
    assert_eq!(Cursor::load(place.path(), "s").unwrap().unwrap().next, 100);
    place.log = None;
    place.open();
    let exports = place.start(&settings);
    place.append(100..101);
    shipped(&exports);
    block_on(exports.stop());
    eventually("the last", || seen.try_iter().collect::<Vec<_>>() == [100]);
}

#[test]
fn tls_needs_the_right_receiver_and_shows_the_certificate() {
    let place = Place::new();
    let file = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&params, &ca_key);
    let leaf = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (leaf, key)
    };
    let ca_file = file("ca.pem", &ca.pem());
    let (client, client_key) = leaf("client.example");
    let (certificate, key) = (file("c.pem", &client.pem()), file("k.pem", &client_key.serialize_pem()));

    let (server, server_key) = leaf("localhost");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![server.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let (saw, seen) = mpsc::channel();
    let port = receiver(move |stream| {
        let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(config.clone()).unwrap(), stream);
        read_frames(&mut stream, |index| saw.send(index).is_ok());
        // As RFC 5425 section 4.4 wants it; without, whoever cuts the connection could have the rest forgotten.
        stream.conn.send_close_notify();
        stream.flush().ok();
    });
    place.append(0..20);
    let of = |name: &str, host: &str, extra: serde_json::Value| {
        let mut table = serde_json::json!({"name": name, "kind": "syslog", "address": format!("tls://{host}:{port}")});
        table.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        settings(table)
    };
    let identity = serde_json::json!({"ca_file": ca_file, "client_certificate": certificate, "client_key": key});
    // Another name, a signer that the system does not know, no certificate of our own: nothing is sent.
    let wrong_name = of("a", "127.0.0.1", identity.clone());
    let unknown = of("b", "localhost", serde_json::json!({"client_certificate": certificate, "client_key": key}));
    let nobody = of("c", "localhost", serde_json::json!({"ca_file": ca_file}));
    for settings in [wrong_name, unknown, nobody] {
        let exports = place.start(&settings);
        eventually("failures", || figures(&exports).failures > 1);
        block_on(exports.stop());
        assert_eq!(Cursor::load(place.path(), &settings.name).unwrap().unwrap().next, 0);
        assert_eq!(seen.try_iter().count(), 0);
    }
    let right = of("d", "localhost", identity);
    right.check_files().unwrap();
    let exports = place.start(&right);
    shipped(&exports);
    block_on(exports.stop());
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    assert_eq!(Cursor::load(place.path(), "d").unwrap().unwrap().next, 20);
}
