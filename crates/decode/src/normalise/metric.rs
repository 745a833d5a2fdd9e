//! Metric points: names, series, histograms onto the log grid, and the edge that per-edge metrics speak of.
//!
//! Who counts: Istio's `istio_*` (labels of both ends), Envoy's `cluster.*` (the cluster names the callee), Linkerd's
//! and OpenTelemetry's `http.*` and `rpc.*`. Envoy's clusters for its own telemetry and configuration have names
//! that no mesh gives out, and become nobody's edge (`envoy.md` 3.6, item 8).

use std::borrow::Cow;

use selvedge_model::hash::StableHasher;
use selvedge_model::{
    IdentitySource, LogHistogram, MetricPoint, MetricValue, ObservedTime, Party, Side, SymbolTable,
};

use super::access_log::side_of_word;
use super::host::{Place, is_inbound, place_of_cluster};
use super::reading::{Reading, cut, whole};
use super::times::{instant, scaled};
use super::{ResourceContext, http, meaning, party, version};
use crate::field::Field;
use crate::record::{PointRecord, PointValue};
use crate::rejection::Rejection;

/// Metric names are interned; a longer one is cut.
const METRIC_NAME_MAX: usize = 128;
/// Envoy's per-cluster metrics.
const CLUSTER_PREFIX: &str = "envoy.cluster.";
/// How the part of a cluster metric's name begins that is not a piece of the cluster's name.
const CLUSTER_STATS: [&str; 19] = [
    "upstream_",
    "ssl.",
    "external.",
    "internal.",
    "canary.",
    "circuit_breakers.",
    "outlier_detection.",
    "membership_",
    "lb_",
    "update_",
    "http1.",
    "http2.",
    "http3.",
    "health_check.",
    "bind_errors",
    "assignment_",
    "retry_",
    "max_host_weight",
    "version",
];

pub(crate) fn point(
    cx: &ResourceContext,
    record: &PointRecord<'_, '_>,
    observed: ObservedTime,
    symbols: &mut SymbolTable,
) -> Result<(MetricPoint, u8), Rejection> {
    let raw_name = String::from_utf8_lossy(record.name);
    if raw_name.is_empty() {
        return Err(Rejection::NoName);
    }
    let time = instant(record.time_unix_nano, observed)?;
    let mut reading = Reading::new(record.fields, None);
    if matches!(raw_name, Cow::Owned(_)) {
        reading.count_repair();
    }
    let cluster = reading.text(Field::MetricCluster);
    let (name, host_tail) = split_cluster_name(&raw_name, cluster.as_deref());
    let labels = edge(cx, &mut reading, &name, cluster.as_deref(), host_tail, symbols);
    let unit = std::str::from_utf8(record.unit).unwrap_or("");
    let nanos_per_unit = meaning::nanos_per_unit(&name, unit);
    let said = version::of_record(&cx.reporter, &labels.reporter, &mut reading, labels.side, symbols);
    let version = cx.version_of(&labels.reporter).unwrap_or(said);
    let meaning = meaning::of(&name, record, nanos_per_unit, &reading);
    let value = value(&record.value, nanos_per_unit.unwrap_or(1.0));
    let name = cut(&name, METRIC_NAME_MAX);
    let series = StableHasher::default()
        .field(record.name)
        .field(symbols.resolve(cx.origin).as_bytes())
        .field(&record.attributes_hash.to_le_bytes())
        .value();
    let point = MetricPoint {
        name: symbols.intern(name),
        origin: cx.origin,
        series,
        start: selvedge_model::EventTime(scaled(record.start_unix_nano)),
        time,
        temporality: record.temporality,
        monotonic: record.monotonic,
        value,
        reporter: labels.reporter,
        peer: labels.peer,
        side: labels.side,
        status: status(&reading),
        grpc_status: http::grpc_status(&mut reading),
        meaning,
        version,
    };
    Ok((point, reading.repaired()))
}

/// Envoy cuts cluster names at their first dot and leaves the rest in the metric's name (`envoy.md` 3.6, item 7):
/// `envoy.cluster.front.svc.cluster.local.upstream_rq_total` with cluster `outbound|80||cart`. Gives the clean name
/// and the rest of the cluster's.
fn split_cluster_name<'a>(name: &'a str, cluster: Option<&str>) -> (Cow<'a, str>, &'a str) {
    let Some(rest) = name.strip_prefix(CLUSTER_PREFIX).filter(|_| cluster.is_some()) else {
        return (name.into(), "");
    };
    let starts = std::iter::once(0).chain(rest.match_indices('.').map(|(at, _)| at + 1));
    let stat = starts.into_iter().find(|at| CLUSTER_STATS.iter().any(|stat| rest[*at..].starts_with(stat)));
    match stat {
        Some(at) if at > 0 => (format!("{CLUSTER_PREFIX}{}", &rest[at..]).into(), &rest[..at - 1]),
        _ => (name.into(), ""),
    }
}

/// Whose traffic a point counts.
struct Labels {
    reporter: Party,
    peer: Party,
    side: Side,
}

fn edge(
    cx: &ResourceContext,
    reading: &mut Reading<'_>,
    name: &str,
    cluster: Option<&str>,
    host_tail: &str,
    symbols: &mut SymbolTable,
) -> Labels {
    if let Some(cluster) = cluster {
        return cluster_edge(cx, cluster, host_tail, symbols);
    }
    let side = side(reading, name);
    if side == Side::Internal {
        return Labels { reporter: cx.reporter, peer: Party::default(), side };
    }
    // What the labels say of their own end goes before the resource: scrapers speak for everybody.
    let reporter = party::reporter_of_record(&cx.reporter, reading, side, false, symbols);
    let verified = match side {
        Side::Server => party::caller_by_principal(reading, symbols),
        _ => party::callee_by_principal(reading, true, symbols),
    };
    let labelled = match side {
        Side::Server => party::source_labels(reading, symbols),
        _ => party::callee(reading, symbols),
    };
    let peer = match (labelled.workload.present(), verified.principal.present()) {
        // Istio names workload and principal together; the workload is the finer name.
        (true, true) => {
            Party { principal: verified.principal, source: IdentitySource::MtlsCertificate, ..labelled }
        }
        (false, true) => verified,
        _ => labelled,
    };
    Labels { reporter, peer, side }
}

fn cluster_edge(cx: &ResourceContext, cluster: &str, host_tail: &str, symbols: &mut SymbolTable) -> Labels {
    let nobody = |side| Labels { reporter: cx.reporter, peer: Party::default(), side };
    if is_inbound(cluster) {
        return nobody(Side::Server);
    }
    let whole_name: Cow<'_, str> =
        if host_tail.is_empty() { cluster.into() } else { format!("{cluster}.{host_tail}").into() };
    let of_the_mesh = whole_name.starts_with("outbound|") || whole_name.ends_with(".consul");
    match place_of_cluster(&whole_name) {
        Place::Unrouted => {
            let peer = Party { external: true, ..Party::default() };
            Labels { reporter: cx.reporter, peer, side: Side::Client }
        }
        place if of_the_mesh => {
            let peer = party::party_of_place(place, IdentitySource::ProxyMetadata, symbols);
            Labels { reporter: cx.reporter, peer, side: Side::Client }
        }
        _ => nobody(Side::Internal),
    }
}

fn side(reading: &mut Reading<'_>, name: &str) -> Side {
    for field in [Field::Reporter, Field::Direction, Field::ConnectionManager] {
        if let Some(side) = reading.text(field).and_then(|word| side_of_word(&word)) {
            return side;
        }
    }
    if name.starts_with("http.server.") || name.starts_with("rpc.server.") || name.starts_with("inbound_") {
        return Side::Server;
    }
    if name.starts_with("http.client.") || name.starts_with("rpc.client.") || name.starts_with("outbound_") {
        return Side::Client;
    }
    Side::Internal
}

/// The status label; a class (`2`, `2xx`) is its first code (200).
fn status(reading: &Reading<'_>) -> u16 {
    let exact = http::status(reading);
    if exact != 0 {
        return exact;
    }
    let class = reading.bytes(Field::StatusClass).and_then(|class| class.first());
    class.filter(|digit| (b'1'..=b'5').contains(*digit)).map_or(0, |digit| u16::from(digit - b'0') * 100)
}

fn value(value: &PointValue<'_>, scale: f64) -> MetricValue {
    match value {
        PointValue::Number(number) => MetricValue::Number(*number),
        PointValue::Explicit { count, sum, bounds, counts } => MetricValue::Histogram {
            count: *count,
            sum: *sum,
            grid: explicit_grid(*count, *sum, bounds, counts, scale),
        },
        PointValue::Exponential { count, sum, scale: exponent, zero_count, positive_offset, positive } => {
            let mut grid = LogHistogram::default();
            add(&mut grid, 0.0, *zero_count);
            // Bucket i covers (base^i, base^(i+1)] with base = 2^(2^-scale): its middle on the log scale.
            let width = (-f64::from(*exponent)).exp2();
            let mut index = f64::from(*positive_offset);
            for bucket in *positive {
                add(&mut grid, ((index + 0.5) * width).exp2() * scale, *bucket);
                index += 1.0;
            }
            MetricValue::Histogram { count: *count, sum: *sum, grid }
        }
    }
}

/// Each bucket's count at its upper bound, so that quantiles never come out too low; what overflows the last bound
/// at twice that bound. Without any bounds, all of it at the mean.
fn explicit_grid(count: u64, sum: f64, bounds: &[f64], counts: &[u64], scale: f64) -> LogHistogram {
    let mut grid = LogHistogram::default();
    let Some(last) = bounds.last() else {
        let mean = if count == 0 { 0.0 } else { sum / as_float(count) };
        add(&mut grid, mean * scale, count);
        return grid;
    };
    for (bound, bucket) in bounds.iter().chain(std::iter::once(&(last * 2.0))).zip(counts) {
        add(&mut grid, bound * scale, *bucket);
    }
    grid
}

/// Adds `count` values; below zero and NaN count as zero, beyond 2^53 as that.
fn add(grid: &mut LogHistogram, value: f64, count: u64) {
    if count > 0 {
        let value = whole(value).unwrap_or(if value > 0.0 { 1 << 53 } else { 0 });
        grid.add(LogHistogram::cell_of(value), u32::try_from(count).unwrap_or(u32::MAX));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a mean needs no more than 53 bits of its count")]
fn as_float(count: u64) -> f64 {
    count as f64
}
