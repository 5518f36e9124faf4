//! POST of batches to an HTTP endpoint.

use crate::{
    SendError,
    batch::Batch,
    settings::{HttpSettings, read_private},
};
use jadeseal_types::SecretBytes;
use reqwest::{
    Client, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use std::{path::Path, time::Duration};

/// Longest time for a connection to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// Largest file of headers, bytes, and most headers in it.
const MAX_HEADERS_BYTES: u64 = 64 * 1024;
const MAX_HEADERS: usize = 64;
/// Most that is read of an answer, so that its connection can be used again; the rest is not waited for.
const MAX_ANSWER: usize = 64 * 1024;

/// Headers that are ours, or the client's own.
const RESERVED: [&str; 8] =
    ["connection", "content-encoding", "content-length", "content-type", "host", "te", "transfer-encoding", "upgrade"];

pub(crate) struct HttpSink {
    settings: HttpSettings,
    log: String,
    /// Made when first needed and after a failure: it then reads renewed certificates.
    client: Option<Client>,
}

impl HttpSink {
    pub fn new(settings: HttpSettings, log: String) -> Self {
        HttpSink { settings, log, client: None }
    }

    /// Returns when the receiver has said that it has the batch.
    pub async fn send(&mut self, batch: &Batch) -> Result<(), SendError> {
        let sent = self.try_send(batch).await;
        if sent.is_err() {
            self.client = None;
        }
        sent
    }

    async fn try_send(&mut self, batch: &Batch) -> Result<(), SendError> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self.client.insert(client(&self.settings)?).clone(),
        };
        // Read each time: a renewed token needs no restart.
        let mut headers = headers(&self.settings)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        headers.insert("x-jadeseal-first", HeaderValue::from(batch.first()));
        headers.insert("x-jadeseal-last", HeaderValue::from(batch.last()));
        let body = batch.json_lines(&self.log);
        let request = client.post(self.settings.url.clone()).headers(headers).body(body);
        // The error would name the address, which the log line has already.
        let mut answer = request.send().await.map_err(|e| SendError::new(causes(&e.without_url())))?;
        let status = answer.status();
        let mut read = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            read += chunk.len();
            if read > MAX_ANSWER {
                break;
            }
        }
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS => Err(SendError::new("the receiver is busy (429)")),
            status if status.is_server_error() => Err(SendError::new(format!("the receiver failed ({status})"))),
            status => Err(SendError::new(format!(
                "the receiver refuses the records ({status}); they are kept and sent again until it takes them"
            ))),
        }
    }
}

/// Looks at the files that are needed.
pub(crate) fn check(settings: &HttpSettings) -> Result<(), SendError> {
    headers(settings)?;
    client(settings).map(drop)
}

/// A client that goes where it is told and nowhere else: no redirects, no proxies of the environment.
fn client(settings: &HttpSettings) -> Result<Client, SendError> {
    Client::builder()
        .tls_backend_preconfigured(settings.tls.client_config()?)
        .https_only(settings.url.scheme() == "https")
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT.min(settings.timeout))
        .timeout(settings.timeout)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("jadeseal/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| SendError::new(causes(&e)))
}

fn headers(settings: &HttpSettings) -> Result<HeaderMap, SendError> {
    let Some(path) = &settings.headers_file else { return Ok(HeaderMap::new()) };
    read_headers(path).map_err(SendError::new)
}

/// Reads a file of headers ([`parse_headers`]) of 64 KiB at most, which nobody but its owner, root or the user of this process,
/// may reach.
pub fn read_headers(path: &Path) -> Result<HeaderMap, String> {
    let text: SecretBytes = read_private(path, MAX_HEADERS_BYTES)?;
    parse_headers(text.expose()).map_err(|e| format!("{}: {e}", path.display()))
}

/// Reads a file of headers: `Name: value` lines; blank lines and lines that begin with `#` are left out. An error
/// tells the line's number and never what it holds.
pub fn parse_headers(text: &[u8]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (i, line) in text.split(|c| *c == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let bad = |what: &str| format!("line {}: {what}", i + 1);
        let colon = line.iter().position(|c| *c == b':').ok_or_else(|| bad("is not Name: value"))?;
        let (name, value) = line.split_at(colon);
        let name = HeaderName::from_bytes(name).map_err(|_| bad("the name is no name of a header"))?;
        if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("x-jadeseal-") {
            return Err(bad("this header is set by Jadeseal"));
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let mut value = HeaderValue::from_bytes(value).map_err(|_| bad("the value cannot stand in a header"))?;
        // Kept out of debug output, and out of the tables of a compressing protocol.
        value.set_sensitive(true);
        if headers.len() == MAX_HEADERS || headers.insert(name, value).is_some() {
            return Err(bad("this header is there twice, or there are too many"));
        }
    }
    Ok(headers)
}

/// An error with its causes: the outermost says little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        text.push_str(": ");
        text.push_str(&e.to_string());
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_a_file() {
        let headers = parse_headers(b"# token\nAuthorization:  Bearer a:b \r\n\nX-Scope-OrgID: 7\n").unwrap();
        assert_eq!(headers["authorization"], "Bearer a:b");
        assert_eq!(headers["x-scope-orgid"], "7");
        assert!(!format!("{headers:?}").contains("Bearer"));
        for (bad, words) in [
            ("secret", "line 1: is not"),
            ("\nse cret: x", "line 2: the name"),
            ("a: x\x01y", "line 1: the value"),
            ("Host: x", "set by Jadeseal"),
            ("X-Jadeseal-First: 1", "set by Jadeseal"),
            ("a: 1\nA: 2", "line 2: this header is there twice"),
        ] {
            let error = parse_headers(bad.as_bytes()).unwrap_err();
            assert!(error.contains(words) && !error.contains("cret"), "{bad}: {error}");
        }
    }
}
