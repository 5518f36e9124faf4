//! Whether clients would trust the certificate as they are, and what to set where not.

use super::Finding;
use crate::{config::Config, tls};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use std::{path::Path, sync::Arc};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

/// Where systems keep the authorities that they trust.
const STORES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub struct Facts {
    trust: Trust,
    /// Path of the certificate file, for the remedies.
    certificate: String,
    /// A name that it is for.
    name: Option<String>,
    client_certificates: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Trust {
    Yes,
    No(String),
    /// No trusted authorities were found here.
    Unknown,
}

impl Facts {
    pub fn gather(files: &tls::Files, config: &Config) -> Self {
        let chain = tls::chain(&files.certificate).unwrap_or_default();
        let name = chain.first().and_then(|leaf| name_of(leaf));
        let trust = match (chain.split_first(), &name, roots(STORES.iter().map(Path::new))) {
            (_, _, None) => Trust::Unknown,
            (Some((leaf, rest)), Some(name), Some(roots)) => trusted(leaf, rest, name, roots),
            _ => Trust::No("it names no host".to_owned()),
        };
        let client_certificates =
            config.tls.as_ref().is_some_and(|tls| tls.clients.as_ref().is_some_and(|c| c.required));
        Facts { trust, certificate: files.certificate.display().to_string(), name, client_certificates }
    }
}

/// A host name or address that a certificate is for.
fn name_of(der: &[u8]) -> Option<String> {
    let (_, x509) = X509Certificate::from_der(der).ok()?;
    let names = x509.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.replacen('*', "a", 1)),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(std::net::IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            16 => Some(std::net::IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    })
}

fn roots<'a>(mut stores: impl Iterator<Item = &'a Path>) -> Option<RootCertStore> {
    stores.find_map(|path| {
        let mut roots = RootCertStore::empty();
        // One that does not parse is none; the others count.
        roots.add_parsable_certificates(CertificateDer::pem_file_iter(path).ok()?.flatten());
        (!roots.is_empty()).then_some(roots)
    })
}

fn trusted(leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>], name: &str, roots: RootCertStore) -> Trust {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verify = || {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| e.to_string())?;
        let name = ServerName::try_from(name).map_err(|e| e.to_string())?;
        verifier.verify_server_cert(leaf, rest, &name, &[], UnixTime::now()).map_err(|e| e.to_string())
    };
    verify().map_or_else(Trust::No, |_| Trust::Yes)
}

pub fn check(facts: &Facts) -> Vec<Finding> {
    let name = facts.name.as_deref().unwrap_or("HOST");
    let mut found = vec![match &facts.trust {
        Trust::Yes => Finding::ok(
            "clients.trust",
            format!(
                "this machine's trust store accepts the certificate for {name}; clients with the usual authorities do"
            ),
        ),
        Trust::No(why) => Finding::info(
            "clients.trust",
            format!("clients with the usual authorities do not trust the certificate ({why})"),
            remedy(&facts.certificate),
        ),
        Trust::Unknown => Finding::info(
            "clients.trust",
            "this machine has no trust store to compare with",
            format!("try `curl https://{name}/healthz` from a client; where it fails: {}", remedy(&facts.certificate)),
        ),
    }];
    if facts.client_certificates {
        found.push(Finding::info(
            "clients.certificates",
            "every client needs a certificate, health checks and the collector of /metrics too",
            "give them one, or set tls.client_certificates = \"optional\": bound principals need theirs in any case",
        ));
    }
    found
}

/// What each kind of client reads, with the authority's certificate. The Python SDK hands a path to its HTTP library,
/// which then reads no environment.
fn remedy(certificate: &str) -> String {
    format!(
        "give clients the certificate of the authority that signed {certificate} (a self-signed one itself) as CA.pem. \
         Python SDK: HttpProfile(certification=\"CA.pem\") (REQUESTS_CA_BUNDLE has no effect on it); tccli: append it to the \
         file that `python3 -m certifi` of its installation prints; Node: NODE_EXTRA_CA_CERTS=CA.pem; Go: \
         SSL_CERT_FILE=CA.pem, or `update-ca-certificates`; Java: `keytool -importcert -cacerts -alias jadeseal -file CA.pem`; \
         .NET and curl: the system's store by `update-ca-certificates`"
    )
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, testing::level},
        *,
    };

    #[test]
    fn trust_is_looked_up() {
        let made = rcgen::generate_simple_self_signed(vec!["kms.example".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let pem = dir.path().join("ca.pem");
        std::fs::write(&pem, made.cert.pem()).unwrap();
        let leaf = made.cert.der().clone();
        let name = name_of(&leaf).unwrap();
        assert_eq!(name, "kms.example");
        let own = || roots([dir.path().join("none").as_path(), &pem].into_iter()).unwrap();
        assert_eq!(trusted(&leaf, &[], &name, own()), Trust::Yes);
        assert!(matches!(trusted(&leaf, &[], "other.example", own()), Trust::No(_)));
        let other = rcgen::generate_simple_self_signed(vec!["kms.example".to_owned()]).unwrap();
        assert!(matches!(trusted(&other.cert.der().clone(), &[], &name, own()), Trust::No(_)));
        assert!(roots([dir.path()].into_iter()).is_none());
    }

    #[test]
    fn each_client_has_its_setting() {
        let facts = |trust| Facts { trust, certificate: "/c".to_owned(), name: None, client_certificates: true };
        assert_eq!(level(&check(&facts(Trust::Yes)), "clients.trust").0, Level::Ok);
        for trust in [Trust::No("x".to_owned()), Trust::Unknown] {
            let found = check(&facts(trust));
            let (found, text) = level(&found, "clients.trust");
            assert_eq!(found, Level::Info);
            for client in ["certification=", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "keytool", "certifi"] {
                assert!(text.contains(client), "{client}");
            }
        }
        assert_eq!(level(&check(&facts(Trust::Yes)), "clients.certificates").0, Level::Info);
    }
}
