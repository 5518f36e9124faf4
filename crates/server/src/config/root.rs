//! Roots of trust as commands name them.

use super::{ConfigError, RootConf};

/// Most shares of a key.
const MAX_SHARES: usize = jadeseal_root::shamir::MAX_SHARES;

/// What [`parse`] reads, for help texts.
pub const SYNTAX: &str = "file:PATH, passphrase-file:PATH, passphrase-env:NAME, passphrase-credential:NAME, systemd:NAME, \
                          shamir:PATH,PATH,… (shares that exist; fd:NUMBER is a descriptor) or shamir:M:PATH,PATH,… (new shares \
                          are written, of which M open)";

/// `KIND:VALUE`. Names where secrets are; none is on the command line.
pub fn parse(text: &str) -> Result<RootConf, ConfigError> {
    let wrong = || ConfigError::Invalid(format!("{text:?} is not one of {SYNTAX}"));
    let (kind, value) = text.split_once(':').filter(|(_, value)| !value.is_empty()).ok_or_else(wrong)?;
    Ok(match kind {
        "file" => RootConf::File(value.into()),
        "passphrase-file" => RootConf::PassphraseFile(value.into()),
        "passphrase-env" => RootConf::PassphraseEnv(value.to_owned()),
        "passphrase-credential" => RootConf::PassphraseCredential(value.to_owned()),
        "systemd" => RootConf::Systemd(value.to_owned()),
        "shamir" => {
            let threshold = value.split_once(':').and_then(|(m, rest)| Some((m.parse::<u8>().ok()?, rest)));
            let (threshold, list) = match threshold {
                Some((m, rest)) => (Some(m), rest),
                None => (None, value),
            };
            shares(list.split(',').map(str::to_owned).collect(), threshold)?
        }
        _ => return Err(wrong()),
    })
}

/// Shares in files or descriptors.
pub(super) fn shares(list: Vec<String>, threshold: Option<u8>) -> Result<RootConf, ConfigError> {
    if !(2..=MAX_SHARES).contains(&list.len()) || list.iter().any(String::is_empty) {
        return Err(ConfigError::Invalid("shares must name 2 to 16 files".to_owned()));
    }
    Ok(RootConf::Shamir(list, threshold))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn roots_of_commands() {
        assert_eq!(parse("file:/a:b").unwrap(), RootConf::File("/a:b".into()));
        assert_eq!(parse("systemd:x").unwrap(), RootConf::Systemd("x".into()));
        let shares = |threshold| RootConf::Shamir(vec!["/a".into(), "fd:3".into(), "c".into()], threshold);
        assert_eq!(parse("shamir:/a,fd:3,c").unwrap(), shares(None));
        assert_eq!(parse("shamir:2:/a,fd:3,c").unwrap(), shares(Some(2)));
        let many = format!("shamir:{}", ["a"; 17].join(","));
        for wrong in ["", "file", "file:", "passphrase:x", "shamir:", "shamir:a", "shamir:2:a", "shamir:a,,b", &many] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_in_the_configuration() {
        let text = |root: &str| format!("data_dir = \"d\"\n[root]\n{root}\n");
        let root = Config::parse(&text("kind = \"shamir\"\nshares = [\"/a\", \"/b\"]")).unwrap().root;
        assert_eq!(root, RootConf::Shamir(vec!["/a".into(), "/b".into()], None));
        for wrong in [
            "kind = \"shamir\"",
            "kind = \"shamir\"\nshares = [\"/a\"]",
            "kind = \"shamir\"\nshares = [\"/a\", \"/b\"]\npath = \"/c\"",
            "kind = \"file\"\nshares = [\"/a\", \"/b\"]\npath = \"/c\"",
        ] {
            let error = Config::parse(&text(wrong)).unwrap_err().to_string();
            assert!(error.contains("shares"), "{wrong}: {error}");
        }
    }
}
