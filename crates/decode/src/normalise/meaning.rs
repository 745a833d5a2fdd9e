//! What a metric says of requests: which names count them, which time them, and in what unit.
//!
//! Sources: Istio's standard metrics (`istio_requests_total`, `istio_request_duration_milliseconds`, and the same with
//! dots where an OpenTelemetry exporter wrote them), Envoy's `cluster.*` (`envoy.md` 4), Linkerd's `response_*`, and the
//! semantic conventions of OpenTelemetry (`http.*.request.duration`, `rpc.*.duration`). Only one name of each dialect
//! counts: Envoy's `upstream_rq_total` would count again what `upstream_rq_xx` counts by class.

use selvedge_model::{Meaning, Temporality};

use super::reading::{Decimal, Reading};
use crate::field::Field;
use crate::record::{PointRecord, PointValue};

/// Counters of requests by their answer, with dots as underscores.
const COUNTERS: [&str; 4] =
    ["istio_requests_total", "istio_requests", "envoy_cluster_upstream_rq_xx", "response_total"];

/// Histograms of how long requests took, with dots as underscores and without the unit.
const DURATIONS: [&str; 10] = [
    "istio_request_duration",
    "envoy_cluster_upstream_rq_time",
    "response_latency",
    "http_client_request_duration",
    "http_server_request_duration",
    "http_client_duration",
    "http_server_duration",
    "rpc_client_duration",
    "rpc_server_duration",
    "rpc_server_call_duration",
];

/// Units at the end of a name.
const UNITS: [&str; 3] = ["_milliseconds", "_seconds", "_ms"];

/// What the point says. A gauge of a duration is known by its unit, whatever its name.
pub(super) fn of(
    name: &str,
    record: &PointRecord<'_, '_>,
    nanos_per_unit: Option<f64>,
    reading: &Reading<'_>,
) -> Meaning {
    let gauge = record.temporality == Temporality::Gauge;
    match (&record.value, nanos_per_unit) {
        (PointValue::Number(_), Some(nanos_per_unit)) if gauge => {
            Meaning::Durations { nanos_per_unit, quantile: quantile(reading) }
        }
        (PointValue::Number(_), _) if !gauge && record.monotonic && listed(name, &COUNTERS) => {
            Meaning::Requests
        }
        (PointValue::Explicit { .. } | PointValue::Exponential { .. }, _) if listed(name, &DURATIONS) => {
            Meaning::Durations { nanos_per_unit: nanos_per_unit.unwrap_or(1.0), quantile: None }
        }
        _ => Meaning::Other,
    }
}

/// The quantile label of a gauge: `0.5`, or a number.
fn quantile(reading: &Reading<'_>) -> Option<f64> {
    let quantile = match reading.decimal(Field::Quantile)? {
        Decimal::Whole(number) => f64::from(u8::try_from(number).ok()?),
        Decimal::Fraction(number) => number,
        Decimal::Text(text) => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&quantile).then_some(quantile)
}

fn listed(name: &str, list: &[&str]) -> bool {
    let stem = UNITS.iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name);
    let same = |known: &&str| {
        known.len() == stem.len()
            && known
                .bytes()
                .zip(stem.bytes())
                .all(|(known, byte)| known == byte || (known, byte) == (b'_', b'.'))
    };
    list.iter().any(same)
}

/// Nanoseconds in one unit of a duration metric; `None` for anything that is not a duration. Envoy gives no units: its
/// times are in milliseconds.
pub(super) fn nanos_per_unit(name: &str, unit: &str) -> Option<f64> {
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    match unit {
        "ns" => Some(1.0),
        "ms" => Some(1e6),
        "s" => Some(1e9),
        "us" | "µs" | "μs" => Some(1e3),
        "" if ends(&["_milliseconds", "_ms"]) => Some(1e6),
        "" if ends(&["_seconds"]) => Some(1e9),
        "" if name.starts_with("envoy.") && ends(&["_time", "_duration"]) => Some(1e6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_with_dots_or_underscores_and_with_its_unit_or_without() {
        for name in
            ["istio.request.duration", "istio_request_duration_milliseconds", "istio.request.duration_ms"]
        {
            assert!(listed(name, &DURATIONS), "{name}");
        }
        assert!(!listed("istio_request_duration_milliseconds_total", &DURATIONS));
        assert!(!listed("envoy.cluster.upstream_rq_total", &COUNTERS));
        assert!(listed("envoy.cluster.upstream_rq_xx", &COUNTERS));
    }
}
