//! `[[export]]` tables of the configuration and what they become.

use crate::{http, tls::TlsFiles, transport::Address};
use reqwest::Url;
use serde::Deserialize;
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Most exports of one configuration: each has a thread.
const MAX_EXPORTS: usize = 16;
/// Longest name of an export or a log, characters.
const MAX_NAME: usize = 32;
const MAX_LOG: usize = 64;

/// Facility "log audit" (RFC 5424 table 1).
const LOG_AUDIT: u8 = 13;
/// The number in the SD-ID, see [`SyslogSettings::enterprise`].
const NO_ENTERPRISE: u32 = 0;
/// Smallest syslog message that always holds header and structured data, bytes.
const MIN_MESSAGE: usize = 1024;

/// One `[[export]]` table as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    name: String,
    kind: String,
    from: Option<String>,
    log: Option<String>,
    batch_records: Option<u32>,
    path: Option<PathBuf>,
    rotate_mib: Option<u64>,
    keep: Option<usize>,
    address: Option<String>,
    facility: Option<u8>,
    enterprise: Option<u32>,
    max_message: Option<usize>,
    url: Option<String>,
    headers_file: Option<PathBuf>,
    timeout_seconds: Option<u64>,
    ca_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_key: Option<PathBuf>,
    allow_plain: Option<bool>,
}

/// One checked export.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, in metrics, log lines and the name of the cursor file.
    pub name: String,
    /// Where a new export begins.
    pub from: From,
    /// What the receiver tells logs of several deployments apart by.
    pub log: String,
    /// Most records of one batch.
    pub(crate) batch_records: usize,
    pub(crate) kind: Kind,
}

/// Where an export without a cursor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the first record of the log.
    Beginning,
    /// With the first record after the start.
    Now,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(FileSettings),
    Syslog(SyslogSettings),
    Http(HttpSettings),
}

#[derive(Clone, Debug)]
pub(crate) struct FileSettings {
    pub path: PathBuf,
    /// Size at which a file is closed, bytes.
    pub rotate: u64,
    /// Closed files that are kept; 0: all.
    pub keep: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct SyslogSettings {
    pub address: Address,
    pub facility: u8,
    /// Private enterprise number in the SD-ID `jadeseal@<number>`. RFC 5424 section 6.3.2 wants one for names that are
    /// not registered; Jadeseal has none, 32473 is for documents alone (RFC 5612), so it is the operator's own, or
    /// else 0, which is reserved in the registry and so nobody's.
    pub enterprise: u32,
    /// Longest message, bytes; what is longer is cut.
    pub max_message: usize,
    pub tls: TlsFiles,
}

#[derive(Clone, Debug)]
pub(crate) struct HttpSettings {
    pub url: Url,
    pub headers_file: Option<PathBuf>,
    pub timeout: Duration,
    pub tls: TlsFiles,
}

impl Settings {
    /// Checks the tables of a configuration.
    pub fn check_all(tables: Vec<Table>) -> Result<Vec<Self>, String> {
        if tables.len() > MAX_EXPORTS {
            return Err(format!("there can be {MAX_EXPORTS} exports at most"));
        }
        let mut checked: Vec<Settings> = Vec::new();
        for table in tables {
            let name = table.name.clone();
            let settings = table.check().map_err(|e| format!("export {name:?}: {e}"))?;
            if checked.iter().any(|s| s.name == settings.name) {
                return Err(format!("export {name:?} is named twice"));
            }
            if let Kind::File(new) = &settings.kind
                && checked.iter().any(|s| matches!(&s.kind, Kind::File(old) if old.path == new.path))
            {
                return Err(format!("export {name:?}: another one writes to {}", new.path.display()));
            }
            checked.push(settings);
        }
        Ok(checked)
    }

    /// Looks at the files that an export needs, without changing anything; for `serve --check`.
    pub fn check_files(&self) -> Result<(), String> {
        let named = |e: String| format!("export {:?}: {e}", self.name);
        match &self.kind {
            Kind::File(file) => crate::file::check(file).map_err(named),
            Kind::Syslog(syslog) => match syslog.address {
                Address::Tls(..) => syslog.tls.client_config().map(drop).map_err(|e| named(e.to_string())),
                _ => Ok(()),
            },
            Kind::Http(http) => http::check(http).map_err(|e| named(e.to_string())),
        }
    }
}

impl Table {
    fn check(self) -> Result<Settings, String> {
        if !is_name(&self.name, MAX_NAME, |c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-')) {
            return Err(format!("a name is 1 to {MAX_NAME} of a-z, 0-9 and -"));
        }
        let log = self.log.clone().unwrap_or_else(|| "jadeseal".to_owned());
        if !is_name(&log, MAX_LOG, |c| c.is_ascii_alphanumeric() || b"._:/+-".contains(&c)) {
            return Err(format!("log is 1 to {MAX_LOG} letters, digits and . _ : / + -"));
        }
        let from = match self.from.as_deref() {
            None | Some("beginning") => From::Beginning,
            Some("now") => From::Now,
            Some(_) => return Err("from must be \"beginning\" or \"now\"".to_owned()),
        };
        let batch_records = within("batch_records", self.batch_records.unwrap_or(500).into(), 1, 10_000)?;
        self.no_strays()?;
        let kind = match self.kind.as_str() {
            "file" => Kind::File(self.file()?),
            "syslog" => Kind::Syslog(self.syslog()?),
            _ => Kind::Http(self.http()?),
        };
        let batch_records = usize::try_from(batch_records).unwrap_or(usize::MAX);
        Ok(Settings { name: self.name, from, log, batch_records, kind })
    }

    /// A setting of another kind is a mistake that must not pass in silence.
    fn no_strays(&self) -> Result<(), String> {
        let (file, syslog, http) = match self.kind.as_str() {
            "file" => (true, false, false),
            "syslog" => (false, true, false),
            "http" => (false, false, true),
            _ => return Err("kind must be \"file\", \"syslog\" or \"http\"".to_owned()),
        };
        let network = syslog || http;
        let given = [
            ("path", self.path.is_some(), file),
            ("rotate_mib", self.rotate_mib.is_some(), file),
            ("keep", self.keep.is_some(), file),
            ("address", self.address.is_some(), syslog),
            ("facility", self.facility.is_some(), syslog),
            ("enterprise", self.enterprise.is_some(), syslog),
            ("max_message", self.max_message.is_some(), syslog),
            ("url", self.url.is_some(), http),
            ("headers_file", self.headers_file.is_some(), http),
            ("timeout_seconds", self.timeout_seconds.is_some(), http),
            ("ca_file", self.ca_file.is_some(), network),
            ("client_certificate", self.client_certificate.is_some(), network),
            ("client_key", self.client_key.is_some(), network),
            ("allow_plain", self.allow_plain.is_some(), network),
        ];
        match given.iter().find(|(_, given, fits)| *given && !fits) {
            Some((name, ..)) => Err(format!("{name} is no setting of kind {:?}", self.kind)),
            None => Ok(()),
        }
    }

    fn file(&self) -> Result<FileSettings, String> {
        let path = self.path.clone().ok_or("path is missing")?;
        if !path.is_absolute() || path.file_name().is_none() {
            return Err("path must be absolute and name a file".to_owned());
        }
        Ok(FileSettings {
            path,
            rotate: within("rotate_mib", self.rotate_mib.unwrap_or(64), 1, 65_536)? << 20,
            keep: self.keep.unwrap_or(16),
        })
    }

    fn syslog(&self) -> Result<SyslogSettings, String> {
        let address = Address::parse(self.address.as_deref().ok_or("address is missing")?)?;
        let (host, default) = match &address {
            // What every receiver should take (RFC 5426 section 3.2), what common local receivers take.
            Address::Udp(host, _) => (Some(host), 2048),
            Address::Unix(_) => (None, 8192),
            Address::Tcp(host, _) => (Some(host), 1 << 20),
            Address::Tls(..) => (None, 1 << 20),
        };
        if let Some(host) = host.filter(|host| !is_loopback(host)) {
            self.plain_allowed(host)?;
        }
        let max = self.max_message.unwrap_or(default) as u64;
        let tls = self.tls_files(matches!(address, Address::Tls(..)))?;
        Ok(SyslogSettings {
            facility: u8::try_from(within("facility", self.facility.unwrap_or(LOG_AUDIT).into(), 0, 23)?).unwrap_or(0),
            enterprise: self.enterprise.unwrap_or(NO_ENTERPRISE),
            max_message: usize::try_from(within("max_message", max, MIN_MESSAGE as u64, 1 << 20)?)
                .unwrap_or(MIN_MESSAGE),
            address,
            tls,
        })
    }

    fn http(&self) -> Result<HttpSettings, String> {
        // The text is not repeated in messages: it may hold a password, though it must not.
        let url = Url::parse(self.url.as_deref().ok_or("url is missing")?).map_err(|e| format!("url: {e}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "url must hold no user name or password; put an Authorization header into headers_file".to_owned()
            );
        }
        if url.fragment().is_some() {
            return Err("url must have no fragment".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(host) => {}
            "http" => self.plain_allowed(host)?,
            _ => return Err("url must begin with https:// or http://".to_owned()),
        }
        let tls = self.tls_files(url.scheme() == "https")?;
        let timeout = within("timeout_seconds", self.timeout_seconds.unwrap_or(10), 1, 300)?;
        Ok(HttpSettings { url, headers_file: self.headers_file.clone(), timeout: Duration::from_secs(timeout), tls })
    }

    fn plain_allowed(&self, host: &str) -> Result<(), String> {
        if self.allow_plain == Some(true) {
            return Ok(());
        }
        Err(format!(
            "records would cross the network to {host} in clear, and nobody would know who takes them; \
             use TLS, or set allow_plain = true"
        ))
    }

    fn tls_files(&self, used: bool) -> Result<TlsFiles, String> {
        let files = TlsFiles {
            ca: self.ca_file.clone(),
            identity: match (self.client_certificate.clone(), self.client_key.clone()) {
                (None, None) => None,
                (Some(certificate), Some(key)) => Some((certificate, key)),
                _ => return Err("client_certificate and client_key belong together".to_owned()),
            },
        };
        if !used && (files.ca.is_some() || files.identity.is_some()) {
            return Err("certificates are set, but the connection would not use TLS".to_owned());
        }
        Ok(files)
    }
}

fn is_name(text: &str, max: usize, good: impl Fn(u8) -> bool) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(good)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn within(name: &str, value: u64, min: u64, max: u64) -> Result<u64, String> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(format!("{name} must be {min} to {max}")) }
}

/// Reads a small file that only its owner, the user that runs Jadeseal or root, may reach.
pub(crate) fn read_private(path: &Path, max: u64) -> Result<jadeseal_types::SecretBytes, String> {
    use std::{io::Read as _, os::unix::fs::MetadataExt as _, os::unix::fs::OpenOptionsExt as _};
    let named = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    // NONBLOCK: opening a pipe must not hang.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|e| named(&e))?;
    let meta = file.metadata().map_err(|e| named(&e))?;
    if !meta.is_file() {
        return Err(named(&"must be a regular file"));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(named(&"must not be accessible by group or others (chmod 600)"));
    }
    if meta.uid() != 0 && meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(named(&"must be owned by the user that runs Jadeseal"));
    }
    // Room for all of it from the start: a vector that grows leaves copies behind.
    let mut bytes = Vec::with_capacity(usize::try_from(max).unwrap_or(0) + 1);
    let read = file.take(max + 1).read_to_end(&mut bytes);
    let bytes = jadeseal_types::SecretBytes::new(bytes);
    read.map_err(|e| named(&e))?;
    if bytes.len() as u64 > max {
        return Err(named(&"is too large"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(json: serde_json::Value) -> Result<Settings, String> {
        let table = Table::deserialize(json).map_err(|e| e.to_string())?;
        Settings::check_all(vec![table]).map(|mut all| all.remove(0))
    }

    #[test]
    fn mistakes_in_settings_are_named() {
        let good = serde_json::json!({"name": "a", "kind": "http", "url": "https://u/"});
        assert!(checked(good.clone()).is_ok());
        for (change, words) in [
            (serde_json::json!({"name": "A"}), "a name is"),
            (serde_json::json!({"name": "../x"}), "a name is"),
            (serde_json::json!({"kind": "mail"}), "kind must be"),
            (serde_json::json!({"from": "end"}), "from must be"),
            (serde_json::json!({"log": "a\"b"}), "log is"),
            (serde_json::json!({"batch_records": 0}), "batch_records must be"),
            (serde_json::json!({"path": "/x"}), "path is no setting of kind \"http\""),
            (serde_json::json!({"token": "x"}), "unknown field"),
            (serde_json::json!({"url": "https://u:secret@h/"}), "no user name or password"),
            (serde_json::json!({"url": "http://10.0.0.1/"}), "in clear"),
            (serde_json::json!({"url": "http://localhost.example/"}), "in clear"),
            (serde_json::json!({"url": "file:///etc/passwd"}), "must begin with https"),
            (serde_json::json!({"url": "https://h/#x"}), "no fragment"),
            (serde_json::json!({"url": "http://[::1]/", "ca_file": "/x"}), "would not use TLS"),
            (serde_json::json!({"client_key": "/x"}), "belong together"),
            (serde_json::json!({"timeout_seconds": 0}), "timeout_seconds must be"),
            (serde_json::json!({"kind": "file", "url": null, "path": "x"}), "path must be absolute"),
            (serde_json::json!({"kind": "file"}), "url is no setting"),
            (serde_json::json!({"kind": "syslog", "url": null, "address": "udp://10.0.0.1:514"}), "in clear"),
            (serde_json::json!({"kind": "syslog", "url": null, "address": "tcp://h:514"}), "in clear"),
            (
                serde_json::json!({"kind": "syslog", "url": null, "address": "unix:/dev/log", "facility": 24}),
                "facility must be",
            ),
            (
                serde_json::json!({"kind": "syslog", "url": null, "address": "unix:/dev/log", "max_message": 480}),
                "max_message",
            ),
        ] {
            let mut table = good.clone();
            table.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let error = checked(table).unwrap_err();
            assert!(error.contains(words) && !error.contains("secret"), "{change}: {error}");
        }
        for fine in [
            serde_json::json!({"name": "a", "kind": "http", "url": "http://127.0.0.1:8/x"}),
            serde_json::json!({"name": "a", "kind": "http", "url": "http://10.0.0.1/", "allow_plain": true}),
            serde_json::json!({"name": "a", "kind": "syslog", "address": "udp://10.0.0.1:514", "allow_plain": true}),
            serde_json::json!({"name": "a", "kind": "syslog", "address": "tls://h:6514", "enterprise": 1234}),
        ] {
            checked(fine).unwrap();
        }
        let two = |a: serde_json::Value, b: serde_json::Value| {
            Settings::check_all([a, b].map(|t| Table::deserialize(t).unwrap()).into()).unwrap_err()
        };
        assert!(two(good.clone(), good.clone()).contains("twice"));
        let file = |name: &str| serde_json::json!({"name": name, "kind": "file", "path": "/x/y"});
        assert!(two(file("a"), file("b")).contains("another one writes"));
    }
}
