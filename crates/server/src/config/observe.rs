//! `[log]` and `[telemetry]` (`docs/observability.md`).

use super::ConfigError;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogTable {
    #[serde(default)]
    pub requests: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TelemetryTable {
    otlp_endpoint: String,
    traces: Option<bool>,
    metrics: Option<bool>,
    sample_ratio: Option<f64>,
    metrics_seconds: Option<u64>,
    headers_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

/// Where traces and metrics go.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetryConf {
    /// `http://` or `https://`, host, port and perhaps a path; `/v1/traces` and `/v1/metrics` go behind it.
    pub endpoint: String,
    /// Send spans.
    pub traces: bool,
    /// Send metrics.
    pub metrics: bool,
    /// Share of requests that get a span, 0 to 1; those that a caller traces and samples get one in any case.
    pub sample_ratio: f64,
    /// Seconds between two rounds of metrics.
    pub metrics_seconds: u64,
    /// A file with a header in each line, `name: value`. They may be secret, so they are not in the configuration, and nobody
    /// but the owner may read the file.
    pub headers_file: Option<PathBuf>,
    /// Certificates (PEM) that vouch for the collector; none: those that the system trusts.
    pub ca_file: Option<PathBuf>,
}

impl TelemetryTable {
    pub(super) fn check(self) -> Result<TelemetryConf, ConfigError> {
        let invalid = |text: &str| Err(ConfigError::Invalid(text.to_owned()));
        let uri: Option<http::Uri> = self.otlp_endpoint.parse().ok();
        let fits = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|a| !a.as_str().contains('@'))
                && uri.query().is_none()
        });
        if !fits {
            return invalid("telemetry.otlp_endpoint must be http:// or https:// with a host, without user and query");
        }
        if self.ca_file.is_some() && !self.otlp_endpoint.starts_with("https://") {
            return invalid("telemetry.ca_file is set, but the connection would not use TLS");
        }
        let sample_ratio = self.sample_ratio.unwrap_or(0.01);
        if !(0.0..=1.0).contains(&sample_ratio) {
            return invalid("telemetry.sample_ratio must be 0 to 1");
        }
        let metrics_seconds = self.metrics_seconds.unwrap_or(60);
        if !(1..=3600).contains(&metrics_seconds) {
            return invalid("telemetry.metrics_seconds must be 1 to 3600");
        }
        Ok(TelemetryConf {
            endpoint: self.otlp_endpoint.trim_end_matches('/').to_owned(),
            traces: self.traces.unwrap_or(true),
            metrics: self.metrics.unwrap_or(true),
            sample_ratio,
            metrics_seconds,
            headers_file: self.headers_file,
            ca_file: self.ca_file,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn parse(text: &str) -> Result<Config, String> {
        let base = "data_dir = \"d\"\n[root]\nkind = \"file\"\npath = \"k\"\n";
        Config::parse(&format!("{base}{text}")).map_err(|e| e.to_string())
    }

    #[test]
    fn nothing_is_logged_or_sent_by_default() {
        let config = parse("").unwrap();
        assert!(!config.log_requests && config.telemetry.is_none());
        assert!(parse("[log]\nrequests = true\n").unwrap().log_requests);
    }

    #[test]
    fn an_endpoint_is_enough() {
        let conf = parse("[telemetry]\notlp_endpoint = \"http://[::1]:4318/\"\n").unwrap().telemetry.unwrap();
        assert_eq!((conf.endpoint.as_str(), conf.traces, conf.metrics), ("http://[::1]:4318", true, true));
        assert_eq!((conf.sample_ratio, conf.metrics_seconds), (0.01, 60));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("[log]\nrequest = true\n", "request"),
            ("[telemetry]\n", "otlp_endpoint"),
            ("[telemetry]\notlp_endpoint = \"collector:4318\"\n", "otlp_endpoint"),
            ("[telemetry]\notlp_endpoint = \"grpc://collector\"\n", "otlp_endpoint"),
            ("[telemetry]\notlp_endpoint = \"http://u:p@collector\"\n", "without user"),
            ("[telemetry]\notlp_endpoint = \"http://c\"\nsample_ratio = 1.5\n", "sample_ratio"),
            ("[telemetry]\notlp_endpoint = \"http://c\"\nsample_ratio = nan\n", "sample_ratio"),
            ("[telemetry]\notlp_endpoint = \"http://c\"\nmetrics_seconds = 0\n", "metrics_seconds"),
            ("[telemetry]\notlp_endpoint = \"http://c\"\nca_file = \"/c\"\n", "telemetry.ca_file"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
