//! Metrics of what is around the service: certificate, disk, telemetry. They go behind the service's own.

use crate::tls::Acceptor;
use jadeseal_service::Service;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use std::path::PathBuf;

/// The last line of a text of metrics.
const END: &str = "# EOF\n";

/// What the server itself has to tell.
pub struct Metrics {
    registry: Registry,
    data_dir: PathBuf,
    acceptor: Option<Acceptor>,
    certificate_expiry: Gauge,
    disk_free: Gauge,
    telemetry_dropped: Counter,
}

impl Metrics {
    /// Metrics of a data directory and a listener.
    pub fn new(data_dir: PathBuf, acceptor: Option<Acceptor>) -> Self {
        let mut registry = Registry::with_prefix("jadeseal");
        let (certificate_expiry, disk_free) = (Gauge::default(), Gauge::default());
        let telemetry_dropped = Counter::default();
        registry.register(
            "data_disk_free_bytes",
            "Bytes that the service may still write to the disk of its data directory",
            disk_free.clone(),
        );
        registry.register(
            "telemetry_dropped",
            "Spans and rounds of metrics that did not reach the collector",
            telemetry_dropped.clone(),
        );
        if acceptor.is_some() {
            registry.register(
                "tls_certificate_expiry_seconds",
                "When the certificate in use ends, Unix time",
                certificate_expiry.clone(),
            );
        }
        Metrics { registry, data_dir, acceptor, certificate_expiry, disk_free, telemetry_dropped }
    }

    /// Counts what the collector did not get.
    pub fn telemetry_dropped(&self) -> &Counter {
        &self.telemetry_dropped
    }

    /// All metrics, the service's first, in the OpenMetrics text format.
    pub async fn text(&self, service: &Service) -> String {
        let mut text = service.metrics_text().await;
        self.look();
        if text.ends_with(END) {
            text.truncate(text.len() - END.len());
        }
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }

    fn look(&self) {
        if let Some(acceptor) = &self.acceptor {
            self.certificate_expiry.set(acceptor.not_after());
        }
        // A directory that cannot be asked has no room that anybody could count on.
        let free = free_bytes(&self.data_dir).unwrap_or(0);
        self.disk_free.set(i64::try_from(free).unwrap_or(i64::MAX));
    }
}

/// Bytes that an unprivileged process may still write to the file system of a path.
pub(crate) fn free_bytes(path: &std::path::Path) -> rustix::io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
