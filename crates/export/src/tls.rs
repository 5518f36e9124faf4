//! The client's side of TLS.

use crate::SendError;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files for connections to a receiver. Read again for each connection, so that renewed ones need no restart.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    /// Who signs the receiver's certificate; none: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Certificate chain and private key that the receiver knows us by.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl TlsFiles {
    /// A configuration that verifies the receiver's certificate; there is none that does not.
    pub fn client_config(&self) -> Result<ClientConfig, SendError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(SendError::new)?;
        let builder = match &self.ca {
            Some(path) => builder.with_root_certificates(roots(path)?),
            None => builder.with_platform_verifier().map_err(SendError::new)?,
        };
        match &self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key_file)) => {
                let key = PrivateKeyDer::from_pem_file(key_file).map_err(|e| named(key_file, e))?;
                builder.with_client_auth_cert(chain(certificate)?, key).map_err(|e| named(certificate, e))
            }
        }
    }
}

/// A configuration for connections to whom the certificates of a PEM file vouch for, and to nobody else.
pub fn trusting(ca: &Path) -> Result<ClientConfig, String> {
    TlsFiles { ca: Some(ca.to_owned()), identity: None }.client_config().map_err(|e| e.to_string())
}

fn roots(path: &Path) -> Result<RootCertStore, SendError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(path)? {
        roots.add(certificate).map_err(|e| named(path, e))?;
    }
    Ok(roots)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, SendError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|e| named(path, e))?;
    if chain.is_empty() {
        return Err(named(path, "holds no certificate"));
    }
    Ok(chain)
}

fn named(path: &Path, what: impl fmt::Display) -> SendError {
    SendError::new(format!("{}: {what}", path.display()))
}
