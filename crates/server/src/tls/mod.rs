//! TLS with files that are read again when they change.

mod clients;

pub use clients::{Binding, Clients, Identity, MAX_BINDINGS, Name, Which};

use arc_swap::ArcSwap;
use clients::Vouching;
use jadeseal_auth::ClientCertificate;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// How often the files are looked at.
const RELOAD_PERIOD: Duration = Duration::from_secs(2);

/// The files that TLS needs, all PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// Chain, leaf first.
    pub certificate: PathBuf,
    /// Private key (PKCS#8, PKCS#1 or SEC 1).
    pub key: PathBuf,
    /// Clients are asked for certificates.
    pub clients: Option<Clients>,
}

impl Files {
    fn all(&self) -> impl Iterator<Item = &Path> {
        let clients = self.clients.iter().flat_map(|c| [Some(&c.ca), c.crl.as_ref()]).flatten();
        [&self.certificate, &self.key].into_iter().chain(clients).map(PathBuf::as_path)
    }
}

/// Accepts TLS with whatever certificate is current.
#[derive(Clone)]
pub struct Acceptor {
    current: Arc<ArcSwap<Loaded>>,
    files: Files,
}

/// The files as they were read at one moment.
struct Loaded {
    config: Arc<ServerConfig>,
    vouching: Option<Arc<Vouching>>,
    not_after: i64,
}

/// A connection behind its handshake.
pub struct Accepted {
    /// The connection.
    pub stream: TlsStream<crate::http::Stream>,
    /// The client's certificate, where it was asked for and gave one.
    pub certificate: Option<ClientCertificate>,
    /// Turns true when those who vouched for the certificate have changed: the client has to show it again.
    pub ending: Option<watch::Receiver<bool>>,
}

impl Acceptor {
    /// Reads the files for the first time.
    pub fn open(files: Files) -> Result<Self, String> {
        let loaded = load(&files, None)?;
        Ok(Acceptor { current: Arc::new(ArcSwap::from_pointee(loaded)), files })
    }

    /// The server's side of the handshake.
    pub async fn accept(&self, stream: crate::http::Stream) -> io::Result<Accepted> {
        let current = self.current.load_full();
        let stream = TlsAcceptor::from(current.config.clone()).accept(stream).await?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let (certificate, ending) = match (&current.vouching, leaf) {
            (Some(vouching), Some(leaf)) => (vouching.identify(leaf), Some(vouching.ending())),
            _ => (None, None),
        };
        Ok(Accepted { stream, certificate, ending })
    }

    /// When the certificate in use ends, Unix seconds.
    pub fn not_after(&self) -> i64 {
        self.current.load().not_after
    }

    /// Reads the files again when one of them has changed. Files that do not load are logged and what is in use stays.
    pub async fn watch(self, mut stop: watch::Receiver<bool>) {
        let mut seen = stamps(&self.files);
        let mut told = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(RELOAD_PERIOD) => {}
                _ = stop.changed() => return,
            }
            let now = stamps(&self.files);
            if now == seen {
                continue;
            }
            match load(&self.files, self.current.load().vouching.as_ref()) {
                Ok(loaded) => {
                    let vouching = loaded.vouching.clone();
                    let old = self.current.swap(Arc::new(loaded));
                    seen = now;
                    told = None;
                    tracing::info!(not_after = self.not_after(), "TLS files reloaded");
                    // Behind the swap, so that whoever connects again meets the new ones.
                    if let (Some(old), Some(new)) = (&old.vouching, &vouching)
                        && !Arc::ptr_eq(old, new)
                    {
                        old.withdraw();
                        tracing::info!("authorities or revocations of client certificates have changed");
                    }
                }
                // Perhaps only one of the files has been written so far: look again soon, and tell once.
                Err(e) if told.as_ref() != Some(&now) => {
                    tracing::error!(error = e, "changed TLS files do not load; what is in use stays");
                    told = Some(now);
                }
                Err(_) => {}
            }
        }
    }
}

/// Inode, length, times of last change of content and of anything. None where there is no such file.
type Stamp = Option<(u64, u64, i64, i64, i64, i64)>;

fn stamps(files: &Files) -> Vec<Stamp> {
    let of = |path| {
        let m = std::fs::metadata(path).ok()?;
        Some((m.ino(), m.len(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
    };
    files.all().map(of).collect()
}

fn load(files: &Files, current: Option<&Arc<Vouching>>) -> Result<Loaded, String> {
    let named = |path: &Path, e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let chain = chain(&files.certificate)?;
    let not_after = X509Certificate::from_der(&chain[0]).map_err(|e| named(&files.certificate, &e))?.1;
    let not_after = not_after.validity().not_after.timestamp();
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| named(&files.key, &e))?;
    let (vouching, verifier) = match &files.clients {
        Some(clients) => Vouching::read(clients, current).map(|(vouching, verifier)| (Some(vouching), verifier))?,
        None => (None, WebPkiClientVerifier::no_client_auth()),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|e| named(&files.certificate, &e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if vouching.is_some() {
        // A resumed session would bring a certificate along that nobody looks at again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Loaded { config: Arc::new(config), vouching, not_after })
}

/// The certificates of a file, at least one.
pub(crate) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let chain: Vec<_> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|e| named(&e))?;
    if chain.is_empty() {
        return Err(named(&"holds no certificate"));
    }
    Ok(chain)
}
