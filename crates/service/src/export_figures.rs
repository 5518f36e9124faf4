//! Figures of audit exports among the metrics. Exports run beside the service, which knows of them no more than this.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// One audit export at one moment.
#[derive(Clone, Debug)]
pub struct ExportFigures {
    /// Its name.
    pub name: String,
    /// Flushed records that its receiver has not taken.
    pub lag_records: u64,
    /// Age of the oldest of them.
    pub lag: Duration,
    /// Records that were taken since the start.
    pub records: u64,
    /// Failures since the start.
    pub failures: u64,
    /// True when it has given up and needs the operator.
    pub stopped: bool,
}

/// Tells the figures of all exports; must not wait for anything.
pub type TellExports = Box<dyn Fn() -> Vec<ExportFigures> + Send + Sync>;

/// Asks for the figures when the metrics are read.
#[derive(Clone, Default)]
pub(crate) struct Exports(Arc<OnceLock<TellExports>>);

impl Exports {
    /// Takes over who tells. The first call counts.
    pub fn show(&self, tell: TellExports) {
        self.0.set(tell).unwrap_or_default();
    }
}

impl fmt::Debug for Exports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exports")
    }
}

impl Collector for Exports {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(tell) = self.0.get() else { return Ok(()) };
        let all = tell();
        if all.is_empty() {
            return Ok(());
        }
        let mut gauge = |name: &str, help: &str, value: fn(&ExportFigures) -> f64| {
            let kind = ConstGauge::new(0.0).metric_type();
            let name = format!("audit_export_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
            for figures in &all {
                let labels = [("export", figures.name.as_str())];
                ConstGauge::new(value(figures)).encode(family.encode_family(&labels)?)?;
            }
            fmt::Result::Ok(())
        };
        gauge("lag_records", "Flushed audit records that a receiver has not taken", |f| f.lag_records as f64)?;
        gauge("lag_seconds", "Age of the oldest of them", |f| f.lag.as_secs_f64())?;
        gauge("stopped", "1: the export has given up and needs the operator", |f| f64::from(u8::from(f.stopped)))?;
        let mut counter = |name: &str, help: &str, value: fn(&ExportFigures) -> u64| {
            let kind = ConstCounter::new(0_u64).metric_type();
            let name = format!("audit_export_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, kind)?;
            for figures in &all {
                let labels = [("export", figures.name.as_str())];
                ConstCounter::new(value(figures)).encode(family.encode_family(&labels)?)?;
            }
            fmt::Result::Ok(())
        };
        counter("records", "Audit records that a receiver has taken, repeated ones too", |f| f.records)?;
        counter("failures", "Failures of an audit export, each tried again", |f| f.failures)
    }
}
