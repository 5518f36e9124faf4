//! `[tls]`: files, and what client certificates are asked for and are good for (`docs/tls.md`).

use super::ConfigError;
use crate::tls::{Binding, Clients, Files, MAX_BINDINGS, Which};
use jadeseal_auth::Bound;
use jadeseal_types::{SecretId, Uin};
use serde::Deserialize;
use std::{path::PathBuf, sync::Arc};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsTable {
    certificate: PathBuf,
    key: PathBuf,
    client_certificates: Option<String>,
    client_ca: Option<PathBuf>,
    client_crl: Option<PathBuf>,
    #[serde(default)]
    client: Vec<ClientTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientTable {
    uin: Option<u64>,
    secret_id: Option<String>,
    certificate: Option<String>,
    public_key: Option<String>,
    san: Option<String>,
}

fn invalid(text: impl Into<String>) -> ConfigError {
    ConfigError::Invalid(text.into())
}

impl TlsTable {
    pub(super) fn check(self) -> Result<Files, ConfigError> {
        let TlsTable { certificate, key, client_certificates, client_ca, client_crl, client } = self;
        let required = match client_certificates.as_deref() {
            None | Some("off") => None,
            Some("optional") => Some(false),
            Some("required") => Some(true),
            Some(_) => {
                return Err(invalid("tls.client_certificates must be \"off\", \"optional\" or \"required\""));
            }
        };
        let clients = match (required, client_ca) {
            (None, None) if client_crl.is_none() && client.is_empty() => None,
            // Whoever has bound somebody to a certificate must not find him unbound.
            (None, _) => {
                return Err(invalid(
                    "tls.client_ca, tls.client_crl and [[tls.client]] need tls.client_certificates = \"optional\" or \"required\"",
                ));
            }
            (Some(_), None) => return Err(invalid("tls.client_certificates needs tls.client_ca")),
            (Some(required), Some(ca)) => {
                if client.len() > MAX_BINDINGS {
                    return Err(invalid(format!("[[tls.client]]: at most {MAX_BINDINGS}")));
                }
                let bindings: Arc<[Binding]> = client.into_iter().map(ClientTable::check).collect::<Result<_, _>>()?;
                Some(Clients { ca, crl: client_crl, required, bindings })
            }
        };
        Ok(Files { certificate, key, clients })
    }
}

impl ClientTable {
    fn check(self) -> Result<Binding, ConfigError> {
        let bound = match (self.uin, self.secret_id) {
            (Some(uin), None) if uin > 0 => Bound::Principal(Uin(uin)),
            (None, Some(id)) => Bound::AccessKey(
                SecretId::parse(&id).ok_or_else(|| invalid(format!("tls.client: {id:?} is no SecretId")))?,
            ),
            _ => return Err(invalid("[[tls.client]] needs one of uin and secret_id")),
        };
        let which = match (self.certificate, self.public_key, self.san) {
            (Some(text), None, None) => digest(&text).map(Which::Certificate)?,
            (None, Some(text), None) => digest(&text).map(Which::PublicKey)?,
            (None, None, Some(text)) => Which::name(&text).map(Which::Name).ok_or_else(|| {
                invalid(format!("tls.client.san = {text:?} must be uri:, dns: or email: and a name without wildcard"))
            })?,
            _ => return Err(invalid("[[tls.client]] needs one of certificate, public_key and san")),
        };
        Ok(Binding { which, bound })
    }
}

fn digest(text: &str) -> Result<[u8; 32], ConfigError> {
    Which::digest(text)
        .ok_or_else(|| invalid(format!("tls.client: {text:?} must be sha256: and 64 hexadecimal digits")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const BASE: &str =
        "data_dir = \"d\"\n[root]\nkind = \"file\"\npath = \"k\"\n[tls]\ncertificate = \"c\"\nkey = \"k\"\n";

    fn clients(text: &str) -> Result<Option<Clients>, String> {
        let config = Config::parse(&format!("{BASE}{text}")).map_err(|e| e.to_string())?;
        Ok(config.tls.unwrap().clients)
    }

    #[test]
    fn client_certificates_are_off_by_default() {
        assert!(clients("").unwrap().is_none());
        assert!(clients("client_certificates = \"off\"\n").unwrap().is_none());
    }

    #[test]
    fn bindings_name_who_and_which() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let text = format!(
            "client_certificates = \"optional\"\nclient_ca = \"ca\"\nclient_crl = \"crl\"\n\
             [[tls.client]]\nuin = 7\nsan = \"uri:spiffe://acme/billing\"\n\
             [[tls.client]]\nsecret_id = \"AKIDx\"\npublic_key = {digest:?}\n\
             [[tls.client]]\nuin = 8\ncertificate = {digest:?}\n"
        );
        let clients = clients(&text).unwrap().unwrap();
        assert_eq!((clients.required, clients.crl), (false, Some("crl".into())));
        let [a, b, c] = &*clients.bindings else { panic!("three") };
        assert_eq!(
            (&a.bound, &a.which),
            (&Bound::Principal(Uin(7)), &Which::Name(Which::name("uri:spiffe://acme/billing").unwrap()))
        );
        assert_eq!(
            (&b.bound, &b.which),
            (&Bound::AccessKey(SecretId::parse("AKIDx").unwrap()), &Which::PublicKey([0xab; 32]))
        );
        assert_eq!((&c.bound, &c.which), (&Bound::Principal(Uin(8)), &Which::Certificate([0xab; 32])));
    }

    #[test]
    fn mistakes_are_named() {
        let on = "client_certificates = \"required\"\nclient_ca = \"ca\"\n";
        for (text, words) in [
            ("client_certificates = \"yes\"\n".to_owned(), "\"off\", \"optional\" or \"required\""),
            ("client_certificates = \"optional\"\n".to_owned(), "needs tls.client_ca"),
            ("client_ca = \"ca\"\n".to_owned(), "need tls.client_certificates"),
            ("client_crl = \"crl\"\n".to_owned(), "need tls.client_certificates"),
            ("[[tls.client]]\nuin = 7\nsan = \"dns:a\"\n".to_owned(), "need tls.client_certificates"),
            (format!("{on}[[tls.client]]\nsan = \"dns:a\"\n"), "one of uin and secret_id"),
            (format!("{on}[[tls.client]]\nuin = 0\nsan = \"dns:a\"\n"), "one of uin and secret_id"),
            (format!("{on}[[tls.client]]\nuin = 1\nsecret_id = \"a\"\nsan = \"dns:a\"\n"), "one of uin and secret_id"),
            (format!("{on}[[tls.client]]\nsecret_id = \"a b\"\nsan = \"dns:a\"\n"), "no SecretId"),
            (format!("{on}[[tls.client]]\nuin = 1\n"), "one of certificate, public_key and san"),
            (format!("{on}[[tls.client]]\nuin = 1\nsan = \"dns:*.a\"\n"), "without wildcard"),
            (format!("{on}[[tls.client]]\nuin = 1\nsan = \"ip:1\"\n"), "uri:, dns: or email:"),
            (format!("{on}[[tls.client]]\nuin = 1\ncertificate = \"abcd\"\n"), "64 hexadecimal digits"),
            (format!("{on}[[tls.client]]\nuin = 1\nsubject = \"CN=a\"\n"), "subject"),
        ] {
            let error = clients(&text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
