//! From the text that `/metrics` shows to OTLP: both ways out tell the same.

use super::proto::{CUMULATIVE, Data, Distribution, Gauge, Histogram, KeyValue, Metric, Number, Sum};

/// Labels of a sample, in their order.
type Labels = Vec<(String, String)>;

/// The metrics in a text of ours, as they are at `nanos`, counted since `start` (both Unix nanoseconds). What it does not
/// understand it leaves out.
pub fn convert(text: &str, start: u64, nanos: u64) -> Vec<Metric> {
    let mut all: Vec<Metric> = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            describe(&mut all, comment);
            continue;
        }
        let Some((name, labels, value)) = sample(line) else { continue };
        // Samples follow what describes them.
        let Some(metric) = all.last_mut() else { continue };
        let Some(suffix) = name.strip_prefix(metric.name.as_str()) else { continue };
        match &mut metric.data {
            Some(Data::Gauge(gauge)) if suffix.is_empty() => gauge.points.push(number(labels, value, start, nanos)),
            Some(Data::Sum(sum)) if suffix == "_total" => sum.points.push(number(labels, value, start, nanos)),
            Some(Data::Histogram(histogram)) => distribute(histogram, suffix, labels, value, start, nanos),
            _ => {}
        }
    }
    all.iter_mut().for_each(settle);
    all.retain(|metric| match &metric.data {
        Some(Data::Gauge(gauge)) => !gauge.points.is_empty(),
        Some(Data::Sum(sum)) => !sum.points.is_empty(),
        Some(Data::Histogram(histogram)) => !histogram.points.is_empty(),
        None => false,
    });
    all
}

/// `HELP`, `TYPE` or `UNIT`, a name and more.
fn describe(all: &mut Vec<Metric>, comment: &str) {
    let mut words = comment.splitn(3, ' ');
    let (Some(kind), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else { return };
    if all.last().is_none_or(|metric| metric.name != name) {
        all.push(Metric { name: name.to_owned(), ..Metric::default() });
    }
    let Some(metric) = all.last_mut() else { return };
    match (kind, rest) {
        ("HELP", text) => metric.description = text.to_owned(),
        ("UNIT", "seconds") => metric.unit = "s".to_owned(),
        ("TYPE", "counter") => {
            metric.data = Some(Data::Sum(Sum { points: Vec::new(), temporality: CUMULATIVE, monotonic: true }));
        }
        ("TYPE", "gauge") => metric.data = Some(Data::Gauge(Gauge::default())),
        ("TYPE", "histogram") => {
            metric.data = Some(Data::Histogram(Histogram { points: Vec::new(), temporality: CUMULATIVE }));
        }
        _ => {}
    }
}

/// `name value` or `name{a="b",c="d"} value`. Labels of ours have neither quotes nor escapes in them.
fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else { return Some((series, Labels::new(), value)) };
    let labels = labels.strip_suffix('}')?.split("\",").map(|label| {
        let (name, value) = label.split_once("=\"")?;
        Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    Some((name, labels.collect::<Option<_>>()?, value))
}

fn attributes(labels: Labels) -> Vec<KeyValue> {
    labels.into_iter().map(|(name, value)| KeyValue::text(&name, value)).collect()
}

fn number(labels: Labels, value: f64, start_nanos: u64, nanos: u64) -> Number {
    Number { start_nanos, nanos, value: Some(value), attributes: attributes(labels) }
}

fn distribute(histogram: &mut Histogram, suffix: &str, mut labels: Labels, value: f64, start_nanos: u64, nanos: u64) {
    let bound = labels.iter().position(|(name, _)| name == "le").map(|at| labels.remove(at).1);
    let attributes = attributes(labels);
    if histogram.points.last().is_none_or(|point| point.attributes != attributes) {
        histogram.points.push(Distribution { start_nanos, nanos, attributes, ..Distribution::default() });
    }
    let Some(point) = histogram.points.last_mut() else { return };
    match (suffix, bound.as_deref()) {
        ("_sum", None) => point.sum = Some(value),
        ("_count", None) => point.count = value as u64,
        ("_bucket", Some(bound)) => {
            point.buckets.push(value as u64);
            // The last one has no bound.
            point.bounds.extend(bound.parse::<f64>().ok().filter(|bound| bound.is_finite()));
        }
        _ => {}
    }
}

/// Buckets of the text hold what the smaller ones hold, too.
fn settle(metric: &mut Metric) {
    let Some(Data::Histogram(histogram)) = &mut metric.data else { return };
    for point in &mut histogram.points {
        for at in (1..point.buckets.len()).rev() {
            point.buckets[at] = point.buckets[at].saturating_sub(point.buckets[at - 1]);
        }
    }
    histogram.points.retain(|point| point.buckets.len() == point.bounds.len() + 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::{
        encoding::text::encode,
        metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
        registry::{Registry, Unit},
    };

    fn text() -> String {
        let mut registry = Registry::with_prefix("jadeseal");
        let requests = Family::<Vec<(String, String)>, Counter>::default();
        registry.register("requests", "Requests by action", requests.clone());
        let duration = Histogram::new([0.1, 1.0]);
        registry.register_with_unit("request_duration", "Time", Unit::Seconds, duration.clone());
        let keys = Gauge::<i64>::default();
        registry.register("keys", "Keys", keys.clone());
        let label = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        requests.get_or_create(&vec![label("action", "Encrypt"), label("code", "")]).inc_by(7);
        requests.get_or_create(&vec![label("action", "Decrypt"), label("code", "InvalidParameter")]).inc();
        keys.set(-3);
        for seconds in [0.05, 0.5, 0.5, 7.0] {
            duration.observe(seconds);
        }
        let mut out = String::new();
        encode(&mut out, &registry).unwrap();
        out
    }

    #[test]
    fn what_is_shown_is_sent() {
        let all = convert(&text(), 5, 9);
        assert_eq!(
            all.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
            ["jadeseal_requests", "jadeseal_request_duration_seconds", "jadeseal_keys"]
        );
        let Some(Data::Sum(sum)) = &all[0].data else { panic!("{all:?}") };
        assert!(sum.monotonic && sum.temporality == CUMULATIVE);
        let mut values: Vec<_> = sum.points.iter().map(|p| (p.value.unwrap(), p.attributes.clone())).collect();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!(values[0].1, [KeyValue::text("action", "Decrypt"), KeyValue::text("code", "InvalidParameter")]);
        assert_eq!((values[1].0, &values[1].1[1]), (7.0, &KeyValue::text("code", "")));
        let Some(Data::Histogram(histogram)) = &all[1].data else { panic!("{all:?}") };
        let [point] = &histogram.points[..] else { panic!("{histogram:?}") };
        assert_eq!(
            (point.count, point.sum, &point.buckets[..], &point.bounds[..]),
            (4, Some(8.05), &[1, 2, 1][..], &[0.1, 1.0][..])
        );
        assert_eq!((point.start_nanos, point.nanos), (5, 9));
        assert_eq!(all[1].unit, "s");
        let Some(Data::Gauge(gauge)) = &all[2].data else { panic!("{all:?}") };
        assert_eq!(gauge.points[0].value, Some(-3.0));
    }

    #[test]
    fn damaged_text_is_left_out() {
        let text = text();
        for end in 0..text.len() {
            convert(&text[..end], 0, 0);
            convert(&text[end..], 0, 0);
        }
        for line in
            ["x", "x 1", "# TYPE", "# TYPE a gauge\na{ 1", "# TYPE a gauge\na{b} 1", "# TYPE a histogram\na_sum x"]
        {
            assert_eq!(convert(line, 0, 0), [], "{line}");
        }
    }
}
