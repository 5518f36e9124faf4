//! The load: keep-alive HTTP/1.1 connections that send ready-made requests one after the other.

use anyhow::{Context, Result, bail, ensure};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};

/// What a run of requests showed.
#[derive(Debug, Default)]
pub struct Outcome {
    pub requests: u64,
    pub elapsed: Duration,
    /// Nanoseconds from the first byte sent to the last received, sorted.
    latencies: Vec<u64>,
}

impl Outcome {
    /// Of latencies in nanoseconds, in any order.
    pub fn new(mut latencies: Vec<u64>, elapsed: Duration) -> Self {
        latencies.sort_unstable();
        Outcome { requests: latencies.len() as u64, elapsed, latencies }
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// A percentile of the latency, microseconds.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        let Some(last) = self.latencies.len().checked_sub(1) else { return f64::NAN };
        let at = (last as f64 * percent / 100.0).round() as usize;
        self.latencies[at.min(last)] as f64 / 1000.0
    }
}

/// Sends the requests over so many connections until the time or the requests run out. An answer that is not a
/// success fails the run: a figure of errors is no figure.
pub fn drive(address: &str, requests: Vec<Vec<u8>>, connections: usize, at_most: Duration) -> Result<Outcome> {
    run(address, requests, connections, Some(at_most), |_, _| {})
}

/// Sends all requests and hands every answer's body, with the number of its request, to `visit`.
pub fn collect(
    address: &str,
    requests: Vec<Vec<u8>>,
    connections: usize,
    visit: impl FnMut(usize, &[u8]) + 'static,
) -> Result<Outcome> {
    run(address, requests, connections, None, visit)
}

fn run(
    address: &str,
    requests: Vec<Vec<u8>>,
    connections: usize,
    at_most: Option<Duration>,
    visit: impl FnMut(usize, &[u8]) + 'static,
) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = Rc::new(Shared { requests: requests.into(), next: Cell::new(0), visit: RefCell::new(visit) });
    LocalSet::new().block_on(&runtime, async {
        let mut streams = Vec::with_capacity(connections);
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        // The generator never sleeps: the server would be charged for waking it, and a slow server more
        // often than a quick one.
        let awake = tokio::task::spawn_local(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        let begin = Instant::now();
        let end = at_most.map(|d| begin + d);
        let work: Vec<_> = streams
            .into_iter()
            .map(|stream| tokio::task::spawn_local(connection(stream, end, shared.clone())))
            .collect();
        let mut latencies = Vec::with_capacity(shared.requests.len());
        for task in work {
            latencies.extend(task.await??);
        }
        let elapsed = begin.elapsed();
        awake.abort();
        Ok(Outcome::new(latencies, elapsed))
    })
}

/// What the connections share. One thread does it all.
struct Shared<F> {
    requests: Rc<[Vec<u8>]>,
    next: Cell<usize>,
    visit: RefCell<F>,
}

async fn connection<F: FnMut(usize, &[u8])>(
    mut stream: TcpStream,
    end: Option<Instant>,
    shared: Rc<Shared<F>>,
) -> Result<Vec<u64>> {
    let mut latencies = Vec::new();
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        let number = shared.next.get();
        let Some(request) = shared.requests.get(number) else { return Ok(latencies) };
        let begin = Instant::now();
        if end.is_some_and(|end| begin >= end) {
            return Ok(latencies);
        }
        shared.next.set(number + 1);
        stream.write_all(request).await?;
        let body = answer(&mut stream, &mut buffer).await?;
        latencies.push(begin.elapsed().as_nanos() as u64);
        if refused(body) {
            bail!("refused: {}", String::from_utf8_lossy(body));
        }
        (shared.visit.borrow_mut())(number, body);
    }
}

/// Reads one answer and returns its body.
pub async fn answer<'a>(stream: &mut TcpStream, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
    buffer.clear();
    let (start, length) = loop {
        if let Some(found) = head(buffer)? {
            break found;
        }
        ensure!(stream.read_buf(buffer).await? > 0, "the server closed the connection");
    };
    while buffer.len() < start + length {
        ensure!(stream.read_buf(buffer).await? > 0, "the server closed the connection");
    }
    Ok(&buffer[start..start + length])
}

/// Whether an answer's body is that of an error.
pub fn refused(body: &[u8]) -> bool {
    body.starts_with(br#"{"Response":{"Error""#)
}

/// Where the body begins and how long it is, once the head is complete.
pub fn head(buffer: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&buffer[..end]).context("a head that is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).unwrap_or_default();
    ensure!(status == "200" || status == "204", "HTTP status {status}: {}", String::from_utf8_lossy(buffer));
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse::<usize>());
    match length {
        Some(length) => Ok(Some((end + 4, length.context("a Content-Length that is no number")?))),
        None if status == "204" => Ok(Some((end + 4, 0))),
        None => bail!("an answer without Content-Length"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    #[test]
    fn heads_are_read_once_they_are_whole() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\ncontent-le").unwrap(), None);
        let whole = b"HTTP/1.1 200 OK\r\ncOntent-lEngth: 5\r\n\r\nhello";
        assert_eq!(head(whole).unwrap(), Some((whole.len() - 5, 5)));
        assert_eq!(head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap(), Some((27, 0)));
        assert!(head(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    /// Answers every line of ten bytes, in pieces, with its own text.
    fn echo(listener: TcpListener) {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut request = [0; 10];
                while stream.read_exact(&mut request).is_ok() {
                    for part in
                        [&b"HTTP/1.1 200 OK\r\nConte"[..], b"nt-Length: 10\r\n\r\n", &request[..4], &request[4..]]
                    {
                        stream.write_all(part).unwrap();
                        stream.flush().unwrap();
                    }
                }
            });
        }
    }

    #[test]
    fn every_request_gets_its_own_answer_and_is_sent_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || echo(listener));
        let requests: Vec<_> = (0..500).map(|n| format!("{n:010}").into_bytes()).collect();
        let seen = Rc::new(RefCell::new(vec![0; requests.len()]));
        let sink = seen.clone();
        let outcome = collect(&address, requests, 7, move |n, body| {
            assert_eq!(body, format!("{n:010}").as_bytes());
            sink.borrow_mut()[n] += 1;
        })
        .unwrap();
        assert_eq!(outcome.requests, 500);
        assert!(seen.borrow().iter().all(|&n| n == 1));
        assert!(outcome.percentile_us(50.0) <= outcome.percentile_us(99.0));
    }

    #[test]
    fn an_error_answer_fails_the_run() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
            let body = r#"{"Response":{"Error":{"Code":"InternalError"}}}"#;
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        });
        let error = drive(&address, vec![b"x".to_vec()], 1, Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("InternalError"), "{error}");
    }
}
