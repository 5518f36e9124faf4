//! Client certificates: who vouches for them, which are revoked, and whom each is bound to.

use jadeseal_auth::{Bound, ClientCertificate};
use jadeseal_crypto::sha256;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::watch;
use x509_parser::{extensions::GeneralName, prelude::*};

/// Bindings that a configuration may hold.
pub const MAX_BINDINGS: usize = 10_000;
/// Names of one certificate that are looked at.
const MAX_NAMES: usize = 256;

/// How client certificates are checked.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Certificates of the authorities that vouch for clients, PEM.
    pub ca: PathBuf,
    /// Certificate revocation lists of these authorities, PEM.
    pub crl: Option<PathBuf>,
    /// Refuse the handshake of clients without a certificate.
    pub required: bool,
    /// Whom certificates are bound to.
    pub bindings: Arc<[Binding]>,
}

/// One certificate, or all with one name, and whom they are bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Which certificates.
    pub which: Which,
    /// Whom they are for.
    pub bound: Bound,
}

/// Which certificates a binding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one with this SHA-256 of its DER.
    Certificate([u8; 32]),
    /// Those with this SHA-256 of their SubjectPublicKeyInfo: it stays when a certificate is renewed for the same key.
    PublicKey([u8; 32]),
    /// Those with this subject alternative name.
    Name(Name),
}

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// As it stands in the certificate.
    Uri(String),
    /// In lower case.
    Dns(String),
    /// As it stands in the certificate.
    Email(String),
}

impl Which {
    /// `sha256:` and 64 hexadecimal digits, which may have colons between them as OpenSSL prints them.
    pub fn digest(text: &str) -> Option<[u8; 32]> {
        let digits = text.strip_prefix("sha256:")?.replace(':', "").to_ascii_lowercase();
        data_encoding::HEXLOWER.decode(digits.as_bytes()).ok()?.try_into().ok()
    }

    /// `uri:`, `dns:` or `email:` and the name.
    pub fn name(text: &str) -> Option<Name> {
        let (kind, name) = text.split_once(':')?;
        if name.is_empty() || name.len() > 1024 || name.chars().any(|c| c.is_control() || c == ' ') {
            return None;
        }
        match kind {
            "uri" => Some(Name::Uri(name.to_owned())),
            // A certificate for many names is nobody's in particular.
            "dns" if name.contains('*') => None,
            "dns" => Some(Name::Dns(name.to_ascii_lowercase())),
            "email" => Some(Name::Email(name.to_owned())),
            _ => None,
        }
    }
}

/// What is read of a certificate whose chain has been verified.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    certificate: [u8; 32],
    public_key: [u8; 32],
    names: Vec<Name>,
    /// Unix seconds.
    not_after: u64,
}

impl Identity {
    /// Reads a certificate, DER.
    pub fn of(der: &[u8]) -> Result<Self, String> {
        let (rest, x509) = X509Certificate::from_der(der).map_err(|e| e.to_string())?;
        if !rest.is_empty() {
            return Err("bytes behind the certificate".to_owned());
        }
        let names = x509.subject_alternative_name().map_err(|e| e.to_string())?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        if names.len() > MAX_NAMES {
            return Err(format!("more than {MAX_NAMES} names"));
        }
        Ok(Identity {
            certificate: sha256(der),
            public_key: sha256(x509.public_key().raw),
            names: names.iter().filter_map(name_of).collect(),
            not_after: u64::try_from(x509.validity().not_after.timestamp()).unwrap_or(0),
        })
    }

    /// Whether a binding is about it.
    pub fn is(&self, which: &Which) -> bool {
        match which {
            Which::Certificate(digest) => self.certificate == *digest,
            Which::PublicKey(digest) => self.public_key == *digest,
            Which::Name(name) => self.names.contains(name),
        }
    }
}

fn name_of(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::URI(uri) => Some(Name::Uri((*uri).to_owned())),
        GeneralName::DNSName(name) => Some(Name::Dns(name.to_ascii_lowercase())),
        GeneralName::RFC822Name(address) => Some(Name::Email((*address).to_owned())),
        _ => None,
    }
}

/// Authorities and revocation lists as they were read at one moment. What was said under others counts no more.
pub(super) struct Vouching {
    /// Of the bytes of both files.
    digest: [u8; 32],
    bindings: Arc<[Binding]>,
    withdrawn: Arc<AtomicBool>,
    ended: watch::Sender<bool>,
}

impl Vouching {
    /// Reads the files; keeps `current` where nothing in them is new.
    pub fn read(
        clients: &Clients,
        current: Option<&Arc<Vouching>>,
    ) -> Result<(Arc<Vouching>, Arc<dyn ClientCertVerifier>), String> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        let ca = read(&clients.ca)?;
        let crl = clients.crl.as_ref().map(read).transpose()?;
        let digest = sha256(&[sha256(&ca), sha256(crl.as_deref().unwrap_or_default())].concat());
        let verifier = verifier(clients, &ca, crl.as_deref())?;
        let vouching = match current.filter(|current| current.digest == digest) {
            Some(current) => current.clone(),
            None => Arc::new(Vouching {
                digest,
                bindings: clients.bindings.clone(),
                withdrawn: Arc::default(),
                ended: watch::channel(false).0,
            }),
        };
        Ok((vouching, verifier))
    }

    /// What a certificate that was verified under these is good for.
    pub fn identify(&self, der: &CertificateDer<'_>) -> Option<ClientCertificate> {
        let identity = Identity::of(der)
            .inspect_err(|e| tracing::warn!(error = e, "a verified client certificate cannot be read"))
            .ok()?;
        let bound = self.bindings.iter().filter(|b| identity.is(&b.which)).map(|b| b.bound.clone()).collect();
        Some(ClientCertificate::new(bound, identity.not_after, self.withdrawn.clone()))
    }

    /// Turns true when they count no more.
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    /// Others count from now on.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
        self.ended.send_replace(true);
    }
}

fn verifier(clients: &Clients, ca: &[u8], crl: Option<&[u8]>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}", clients.ca.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        roots.add(certificate.map_err(|e| named(&e))?).map_err(|e| named(&e))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    if let (Some(crl), Some(path)) = (crl, &clients.crl) {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(crl).collect();
        let lists = lists.map_err(|e| format!("{}: {e}", path.display()))?;
        if lists.is_empty() {
            return Err(format!("{}: holds no revocation list", path.display()));
        }
        // The list says who is revoked among those whom its authority made; an authority's own revocation is a matter
        // of the file with the authorities.
        builder = builder.with_crls(lists).only_check_end_entity_revocation().enforce_revocation_expiration();
    }
    if !clients.required {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|e| named(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn made() -> (KeyPair, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["Billing.Example".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://acme/Billing".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("Ops@acme.example".try_into().unwrap()));
        let certificate = params.self_signed(&key).unwrap();
        (key, certificate.der().to_vec())
    }

    #[test]
    fn a_certificate_is_known_by_digest_key_and_names() {
        let (key, der) = made();
        let identity = Identity::of(&der).unwrap();
        let spki = {
            use rcgen::PublicKeyData as _;
            sha256(&key.subject_public_key_info())
        };
        for which in [
            Which::Certificate(sha256(&der)),
            Which::PublicKey(spki),
            Which::Name(Which::name("uri:spiffe://acme/Billing").unwrap()),
            Which::Name(Which::name("dns:BILLING.example").unwrap()),
            Which::Name(Which::name("email:Ops@acme.example").unwrap()),
        ] {
            assert!(identity.is(&which), "{which:?}");
        }
        for which in [
            Which::Certificate(spki),
            Which::PublicKey(sha256(&der)),
            Which::Name(Which::name("uri:spiffe://acme/billing").unwrap()),
            Which::Name(Which::name("uri:spiffe://acme/Billing/x").unwrap()),
            Which::Name(Which::name("dns:spiffe://acme/Billing").unwrap()),
            Which::Name(Which::name("email:billing.example").unwrap()),
        ] {
            assert!(!identity.is(&which), "{which:?}");
        }
    }

    #[test]
    fn what_a_binding_may_say() {
        let hex = "ab".repeat(32);
        assert_eq!(Which::digest(&format!("sha256:{hex}")), Some([0xab; 32]));
        let colons = ["AB"; 32].join(":");
        assert_eq!(Which::digest(&format!("sha256:{colons}")), Some([0xab; 32]));
        for wrong in [&hex, "", "sha256:", "sha256:abcd", &format!("sha1:{hex}"), &format!("sha256:{hex}00")] {
            assert_eq!(Which::digest(wrong), None, "{wrong:?}");
        }
        for wrong in ["", "uri:", "dns:*.example", "ip:192.0.2.1", "billing.example", "dns:a b", "uri:a\0b"] {
            assert_eq!(Which::name(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn damaged_certificates_are_errors() {
        let (_, der) = made();
        for end in 0..der.len() {
            assert!(Identity::of(&der[..end]).is_err(), "{end}");
        }
        assert!(Identity::of(&[&der[..], b"x"].concat()).is_err());
        for at in 0..der.len() {
            for bit in 0..8 {
                let mut changed = der.clone();
                changed[at] ^= 1 << bit;
                // Not a panic, and never the same certificate.
                if let Ok(identity) = Identity::of(&changed) {
                    assert_ne!(identity.certificate, sha256(&der));
                }
            }
        }
    }
}
