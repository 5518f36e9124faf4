//! TLS with certificate files that are read again when they change.

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How often the files are looked at.
const RELOAD_PERIOD: Duration = Duration::from_secs(2);

/// Certificate chain and private key, PEM files.
#[derive(Clone, Debug)]
pub struct Files {
    /// Chain, leaf first.
    pub certificate: PathBuf,
    /// Private key (PKCS#8, PKCS#1 or SEC 1).
    pub key: PathBuf,
}

/// Accepts TLS with whatever certificate is current.
#[derive(Clone)]
pub struct Acceptor {
    current: Arc<ArcSwap<ServerConfig>>,
    files: Files,
}

impl Acceptor {
    /// Reads the files for the first time.
    pub fn open(files: Files) -> Result<Self, String> {
        let config = load(&files)?;
        Ok(Acceptor { current: Arc::new(ArcSwap::from(config)), files })
    }

    /// The server's side of the handshake.
    pub async fn accept(&self, stream: crate::http::Stream) -> io::Result<TlsStream<crate::http::Stream>> {
        TlsAcceptor::from(self.current.load_full()).accept(stream).await
    }

    /// Reads the files again when one of them has changed. Files that do not load are logged and the
    /// certificate in use stays.
    pub async fn watch(self, mut stop: watch::Receiver<bool>) {
        let mut seen = stamp(&self.files);
        loop {
            tokio::select! {
                () = tokio::time::sleep(RELOAD_PERIOD) => {}
                _ = stop.changed() => return,
            }
            let now = stamp(&self.files);
            if now == seen {
                continue;
            }
            match load(&self.files) {
                Ok(config) => {
                    self.current.store(config);
                    seen = now;
                    tracing::info!("TLS certificate reloaded");
                }
                // Perhaps only one of the two files has been written so far: look again soon.
                Err(e) => tracing::error!(error = e, "changed TLS files do not load; the old certificate stays"),
            }
        }
    }
}

type Stamp = [Option<(SystemTime, u64)>; 2];

fn stamp(files: &Files) -> Stamp {
    let of = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    };
    [of(&files.certificate), of(&files.key)]
}

fn load(files: &Files) -> Result<Arc<ServerConfig>, String> {
    let named = |path: &Path, e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|e| named(&files.certificate, &e))?;
    if chain.is_empty() {
        return Err(named(&files.certificate, &"holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| named(&files.key, &e))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| named(&files.certificate, &e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
