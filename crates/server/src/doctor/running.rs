//! The service beside which doctor runs, if there is one: its process, and what its `/metrics` says.

use super::{Finding, small_file};
use crate::config::Config;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

/// Largest answer that is read, bytes.
const MAX_ANSWER: u64 = 8 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is known of the running service.
pub struct Running {
    /// Somebody holds the lock of the data directory.
    locked: bool,
    /// The process, where /proc tells.
    pub pid: Option<u32>,
    metrics: Result<String, String>,
}

impl Running {
    /// The value of a metric without labels.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let text = self.metrics.as_ref().ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

/// Looks for a service on the data directory and asks it.
pub async fn look(config: &Config) -> Running {
    let lock = config.data_dir.join("lock");
    let locked = is_locked(&lock);
    let metrics = match locked {
        true => match tokio::time::timeout(TIMEOUT, ask(config)).await {
            Ok(asked) => asked,
            Err(_) => Err("it does not answer in time".to_owned()),
        },
        false => Err("it does not run".to_owned()),
    };
    Running { locked, pid: if locked { holder(&lock) } else { None }, metrics }
}

fn is_locked(lock: &Path) -> bool {
    let Ok(file) = rustix::fs::open(lock, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return false };
    // Shared, and given back at once: a service that starts in this very moment would be refused otherwise.
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}

/// The process that holds a lock, by the inode in `/proc/locks`.
fn holder(lock: &Path) -> Option<u32> {
    let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(lock).ok()?).to_string();
    // 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
    small_file("/proc/locks")?.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid, place) = (words.next()?, words.nth(2)?, words.next()?);
        (kind == "FLOCK" && place.rsplit(':').next() == Some(&inode)).then(|| pid.parse().ok())?
    })
}

async fn ask(config: &Config) -> Result<String, String> {
    let mut address = config.listen;
    if address.ip().is_unspecified() {
        let here: SocketAddr =
            if address.is_ipv4() { ([127, 0, 0, 1], 0).into() } else { ([0, 0, 0, 0, 0, 0, 0, 1], 0).into() };
        address.set_ip(here.ip());
    }
    let stream = TcpStream::connect(address).await.map_err(|e| format!("{address}: {e}"))?;
    let Some(files) = &config.tls else { return get(stream).await };
    if files.clients.as_ref().is_some_and(|c| c.required) {
        return Err("it wants client certificates".to_owned());
    }
    let leaf = crate::tls::chain(&files.certificate)?.swap_remove(0).into_owned();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let known = Known { leaf, algorithms: provider.signature_verification_algorithms };
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(known))
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = connector.connect(ServerName::from(address.ip()), stream).await.map_err(|e| e.to_string())?;
    get(stream).await
}

async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<String, String> {
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.map_err(|e| e.to_string())?;
    let mut answer = Vec::new();
    // Whoever closes without saying so has still said everything.
    let _ = stream.take(MAX_ANSWER).read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).map_err(|_| "its answer is no text".to_owned())?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err("its answer is no metrics".to_owned()),
    }
}

/// Believes in the certificate of the configuration and in no other. Its names are not looked at: it is asked at an
/// address of this machine.
#[derive(Debug)]
struct Known {
    leaf: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *leaf != self.leaf {
            return Err(rustls::Error::General("it serves another certificate than the file has".to_owned()));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

pub fn check(running: &Running) -> Vec<Finding> {
    if !running.locked {
        return vec![Finding::info(
            "service.running",
            "no service runs on this data directory: limits and lag are not those of a service",
            "`jadeseal serve --config FILE`, then run doctor again",
        )];
    }
    let mut found = vec![match &running.metrics {
        Ok(_) => Finding::ok("service.running", "a service runs and answers"),
        Err(e) => Finding::warning(
            "service.running",
            format!("a service runs, and its /metrics cannot be read: {e}"),
            "look at its log; run doctor where its address is reached",
        ),
    }];
    if running.metric("jadeseal_unreadable_policies").is_some_and(|n| n > 0) {
        found.push(Finding::problem(
            "service.policies",
            "there are policies that cannot be read: their principals may nothing",
            "look for `a stored policy cannot be read` in the log; repair or detach it",
        ));
    }
    if running.metric("jadeseal_telemetry_dropped_total").is_some_and(|n| n > 0) {
        found.push(Finding::info(
            "service.telemetry",
            "the collector did not get all spans and metrics",
            "look at [telemetry] otlp_endpoint and at the collector",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, testing::level},
        *,
    };

    #[test]
    fn a_lock_tells_of_a_service() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        assert!(!is_locked(&lock));
        let held = crate::wiring::DataDir::lock(dir.path()).unwrap();
        assert!(is_locked(&lock));
        if std::path::Path::new("/proc/locks").exists() {
            assert!(holder(&lock).is_none_or(|pid| pid == std::process::id()));
        }
        drop(held);
        assert!(!is_locked(&lock));
    }

    #[test]
    fn metrics_are_read() {
        let text = "# HELP jadeseal_a x\njadeseal_ab 3\njadeseal_a 7\njadeseal_unreadable_policies 1\n".to_owned();
        let running = Running { locked: true, pid: None, metrics: Ok(text) };
        assert_eq!((running.metric("jadeseal_a"), running.metric("jadeseal_b")), (Some(7), None));
        let found = check(&running);
        assert_eq!(level(&found, "service.running").0, Level::Ok);
        assert_eq!(level(&found, "service.policies").0, Level::Problem);
        let silent = Running { metrics: Err("x".to_owned()), ..running };
        assert_eq!(level(&check(&silent), "service.running").0, Level::Warning);
        assert_eq!(level(&check(&Running { locked: false, ..silent }), "service.running").0, Level::Info);
    }
}
