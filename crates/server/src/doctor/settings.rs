//! The configuration itself.

use super::Finding;
use crate::config::{Config, RootConf};
use jadeseal_types::AccountId;

pub fn check(config: &Config) -> Vec<Finding> {
    let mut found = vec![match config.check() {
        Ok(()) if config.is_in_clear() => Finding::problem(
            "settings.listen",
            format!(
                "{} is served over plain HTTP: requests, plaintexts and data keys cross the network in clear",
                config.listen
            ),
            "set [tls] certificate and key and remove allow_plain_http, or listen on 127.0.0.1 behind a proxy on this machine",
        ),
        Ok(()) => Finding::ok(
            "settings.listen",
            format!("{}, {}", config.listen, if config.tls.is_some() { "TLS" } else { "plain HTTP on loopback" }),
        ),
        Err(e) => {
            Finding::problem("settings.listen", e.to_string(), "set [tls] certificate and key, or listen on 127.0.0.1")
        }
    }];
    let network = !config.listen.ip().is_loopback();
    found.push(match config.audit.fsync {
        true => Finding::ok("settings.audit", "an answer waits until its record is on the disk"),
        false => Finding::info(
            "settings.audit",
            format!(
                "degree os: a power cut can lose the records of the last {} ms of reads and uses",
                config.audit.flush.as_millis()
            ),
            "set [audit] degree = \"fsync\" where not one record may be lost",
        ),
    });
    // Account 0 does not exist: what it would have is what all have.
    if network && config.quotas.of(AccountId(0)).total_rate.is_none() && config.quotas.of(AccountId(0)).rates.is_empty()
    {
        found.push(Finding::info(
            "settings.limits",
            "no limit on how often an account may call, on a network",
            "set [limits] total_rate, or preset = \"tencent\"",
        ));
    }
    if matches!(config.root, RootConf::PassphraseEnv(_)) {
        found.push(Finding::warning(
            "settings.root",
            "the passphrase of the root of trust is in an environment variable, which /proc and crash reports show",
            "use [root] credential (systemd LoadCredentialEncrypted=) or a file with mode 0600",
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

    fn config(listen: &str, extra: &str) -> Config {
        let text =
            format!("listen = {listen:?}\ndata_dir = \"d\"\n{extra}\n[root]\nkind = \"passphrase\"\nenv = \"X\"\n");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("c"), text).unwrap();
        Config::read_unchecked(&dir.path().join("c")).unwrap()
    }

    #[test]
    fn plain_http_off_loopback_is_a_problem_allowed_or_not() {
        for (listen, extra, expected) in [
            ("127.0.0.1:1", "", Level::Ok),
            ("192.0.2.1:1", "", Level::Problem),
            ("192.0.2.1:1", "allow_plain_http = true", Level::Problem),
            ("[::]:1", "tls = { certificate = \"c\", key = \"k\" }", Level::Ok),
        ] {
            assert_eq!(level(&check(&config(listen, extra)), "settings.listen").0, expected, "{listen} {extra}");
        }
    }

    #[test]
    fn hints() {
        let found = check(&config("192.0.2.1:1", "limits = { total_rate = 5 }\naudit = { degree = \"fsync\" }"));
        assert!(found.iter().all(|f| f.check != "settings.limits"));
        assert_eq!(level(&found, "settings.audit").0, Level::Ok);
        assert_eq!(level(&found, "settings.root").0, Level::Warning);
        let found = check(&config("192.0.2.1:1", ""));
        assert_eq!(level(&found, "settings.limits").0, Level::Info);
        assert_eq!(level(&found, "settings.audit").0, Level::Info);
    }
}
