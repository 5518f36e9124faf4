//! Certificate, chain and key.

use super::{Finding, span};
use crate::tls::{Acceptor, Files, chain};
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
    public_key::PublicKey,
};

/// Seconds before the end at which a certificate is to be renewed.
const RENEW: i64 = 30 * 86_400;

pub struct Facts {
    /// Whether certificate, key and, where asked for, authorities and revocation lists load and fit.
    loads: Result<(), String>,
    chain: Vec<Certificate>,
}

#[derive(Clone)]
struct Certificate {
    subject: String,
    issuer: String,
    not_before: i64,
    not_after: i64,
    /// Names and addresses that it is for.
    names: usize,
    /// Bits of an RSA key.
    rsa_bits: Option<usize>,
    sha1: bool,
}

impl Facts {
    pub fn gather(files: &Files) -> Self {
        let loads = Acceptor::open(files.clone()).map(drop);
        let chain = chain(&files.certificate).unwrap_or_default();
        Facts { loads, chain: chain.iter().filter_map(|der| Certificate::of(der)).collect() }
    }
}

impl Certificate {
    fn of(der: &[u8]) -> Option<Self> {
        let (_, x509) = X509Certificate::from_der(der).ok()?;
        let names = x509.subject_alternative_name().ok().flatten().map_or(0, |names| {
            let of = |n: &&GeneralName<'_>| matches!(n, GeneralName::DNSName(_) | GeneralName::IPAddress(_));
            names.value.general_names.iter().filter(of).count()
        });
        let rsa_bits = match x509.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => Some(key.key_size()),
            _ => None,
        };
        Some(Certificate {
            subject: x509.subject().to_string(),
            issuer: x509.issuer().to_string(),
            not_before: x509.validity().not_before.timestamp(),
            not_after: x509.validity().not_after.timestamp(),
            names,
            rsa_bits,
            // sha1WithRSAEncryption, ecdsa-with-SHA1
            sha1: matches!(
                x509.signature_algorithm.algorithm.to_id_string().as_str(),
                "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1"
            ),
        })
    }

    fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }
}

pub fn check(facts: &Facts, now: i64) -> Vec<Finding> {
    let mut found = vec![match &facts.loads {
        Ok(()) => Finding::ok("tls.files", "certificate and key load and belong together"),
        Err(e) => Finding::problem(
            "tls.files",
            e.clone(),
            "give [tls] certificate (leaf first) and key files that belong together, readable by the service",
        ),
    }];
    let Some(leaf) = facts.chain.first() else { return found };
    found.push(validity(leaf, now));
    found.extend(
        facts.chain[1..]
            .iter()
            .filter(|c| c.not_after < now + RENEW)
            .map(|c| {
                Finding::warning(
                    "tls.chain",
                    format!("the intermediate certificate {} has ended or soon will", c.subject),
                    "get the authority's current intermediate certificate and put it behind the leaf",
                )
            })
            .take(1),
    );
    if leaf.names == 0 {
        found.push(Finding::problem(
            "tls.names",
            "the certificate has no subject alternative name: no current client accepts it",
            "get one with the host names and addresses that clients use, as subjectAltName",
        ));
    }
    found.push(order(&facts.chain));
    if leaf.rsa_bits.is_some_and(|bits| bits < 2048) || leaf.sha1 && !leaf.is_self_signed() {
        found.push(Finding::problem(
            "tls.strength",
            "the certificate has an RSA key under 2048 bits, or a SHA-1 signature",
            "get one with an ECDSA P-256 key, or RSA of 2048 bits or more, signed with SHA-256",
        ));
    }
    found
}

fn validity(leaf: &Certificate, now: i64) -> Finding {
    const REMEDY: &str = "renew it; changed files are picked up within two seconds, without a restart";
    match leaf.not_after - now {
        _ if leaf.not_before > now => Finding::problem(
            "tls.validity",
            format!("the certificate begins in {}", span(leaf.not_before - now)),
            "look at the clock, or get a certificate that is valid now",
        ),
        left if left < 0 => {
            Finding::problem("tls.validity", format!("the certificate ended {} ago", span(left)), REMEDY)
        }
        left if left < RENEW => {
            Finding::warning("tls.validity", format!("the certificate ends in {}", span(left)), REMEDY)
        }
        left => Finding::ok("tls.validity", format!("the certificate ends in {}", span(left))),
    }
}

fn order(chain: &[Certificate]) -> Finding {
    const REMEDY: &str =
        "put leaf, then each issuer's certificate into the file: `cat leaf.pem intermediate.pem > tls.crt`";
    if let Some(pair) = chain.windows(2).find(|pair| pair[0].issuer != pair[1].subject) {
        return Finding::problem(
            "tls.order",
            format!("behind {} should come its issuer {}, not {}", pair[0].subject, pair[0].issuer, pair[1].subject),
            REMEDY,
        );
    }
    match chain {
        [one] if one.is_self_signed() => Finding::warning(
            "tls.order",
            "the certificate is self-signed: each client has to trust it by itself",
            "get one from an authority that clients know, or your own; see clients.trust for what to set",
        ),
        [one] => Finding::info(
            "tls.order",
            format!("the file holds the leaf alone; clients need its issuer {} otherwise", one.issuer),
            REMEDY,
        ),
        [.., last] if last.is_self_signed() => Finding::info(
            "tls.order",
            "the root certificate is in the file; clients have it or do not believe it",
            "leave it out: it costs each handshake a kilobyte",
        ),
        _ => Finding::ok("tls.order", format!("{} certificates, each behind what it has signed", chain.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Level, testing::level},
        *,
    };

    const NOW: i64 = 1_000_000_000;

    fn certificate(subject: &str, issuer: &str) -> Certificate {
        Certificate {
            subject: subject.to_owned(),
            issuer: issuer.to_owned(),
            not_before: NOW - 5,
            not_after: NOW + 90 * 86_400,
            names: 1,
            rsa_bits: None,
            sha1: false,
        }
    }

    fn checked(chain: &[Certificate]) -> Vec<Finding> {
        check(&Facts { loads: Ok(()), chain: chain.to_vec() }, NOW)
    }

    #[test]
    fn a_chain_in_order() {
        let [leaf, middle, root] = [("l", "i"), ("i", "r"), ("r", "r")].map(|(s, i)| certificate(s, i));
        assert!(checked(&[leaf.clone(), middle.clone()]).iter().all(|f| f.level == Level::Ok));
        for (chain, expected) in [
            (&[leaf.clone(), root.clone()][..], Level::Problem),
            (&[middle.clone(), leaf.clone()], Level::Problem),
            (&[leaf.clone(), middle, root.clone()], Level::Info),
            (&[leaf], Level::Info),
            (&[root], Level::Warning),
        ] {
            assert_eq!(level(&checked(chain), "tls.order").0, expected);
        }
    }

    #[test]
    fn dates_names_strength() {
        let leaf = certificate("l", "i");
        for (not_before, not_after, expected) in
            [(NOW + 10, NOW + 20, Level::Problem), (0, NOW - 1, Level::Problem), (0, NOW + 86_400, Level::Warning)]
        {
            let leaf = Certificate { not_before, not_after, ..leaf.clone() };
            assert_eq!(level(&checked(&[leaf]), "tls.validity").0, expected);
        }
        assert_eq!(level(&checked(&[Certificate { names: 0, ..leaf.clone() }]), "tls.names").0, Level::Problem);
        assert_eq!(
            level(&checked(&[Certificate { rsa_bits: Some(1024), ..leaf.clone() }]), "tls.strength").0,
            Level::Problem
        );
        assert_eq!(level(&checked(&[Certificate { sha1: true, ..leaf.clone() }]), "tls.strength").0, Level::Problem);
        let old = Certificate { not_after: NOW, ..certificate("i", "r") };
        assert_eq!(level(&checked(&[leaf, old]), "tls.chain").0, Level::Warning);
    }

    #[test]
    fn real_files() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { certificate: dir.path().join("c"), key: dir.path().join("k"), clients: None };
        assert_eq!(level(&check(&Facts::gather(&files), NOW), "tls.files").0, Level::Problem);
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        let found = check(&Facts::gather(&files), super::super::now());
        assert_eq!(level(&found, "tls.files").0, Level::Ok);
        assert_eq!(level(&found, "tls.order").0, Level::Warning, "self-signed");
        let other = rcgen::KeyPair::generate().unwrap();
        std::fs::write(&files.key, other.serialize_pem()).unwrap();
        assert_eq!(level(&check(&Facts::gather(&files), NOW), "tls.files").0, Level::Problem);
    }
}
