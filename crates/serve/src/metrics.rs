//! Our own metrics, in OpenMetrics text.
//!
//! Values come from the engine's latest view at each scrape, so a scrape never waits for the engine.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use selvedge_engine::Snapshot;
use selvedge_model::{Fate, IncidentStatus, QuarantineState, Severity, SignalKind};
use selvedge_receive::Transport;

use crate::Sources;
use crate::{checkpoint_metrics, journal_metrics, kafka_metrics, xds_metrics};

/// Reads all sources at each scrape.
struct View(Sources);

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

/// The text of one scrape.
///
/// # Errors
/// Never in practice: writing to a string cannot fail, but the library's signature says it may.
pub(crate) fn render(sources: &Sources) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("selvedge");
    registry.register_collector(Box::new(View(sources.clone())));
    let mut text = String::with_capacity(8_192);
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for View {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Self(sources) = self;
        let view = sources.view.load();
        signals(&mut encoder, &view)?;
        totals(&mut encoder, &view)?;
        clock_steps(&mut encoder, &view)?;
        overloads(&mut encoder, &view)?;
        incidents(&mut encoder, &view)?;
        quarantines(&mut encoder, &view)?;
        deliveries(&mut encoder, sources)?;
        requests(&mut encoder, sources)?;
        connections(&mut encoder, sources)?;
        tasks(&mut encoder, sources)?;
        if let Some(stats) = &sources.journal {
            journal_metrics::encode(&mut encoder, stats)?;
        }
        if let Some(stats) = &sources.checkpoints {
            checkpoint_metrics::encode(&mut encoder, stats)?;
        }
        if let Some(xds) = &sources.xds {
            xds_metrics::encode(&mut encoder, xds)?;
        }
        if let Some(stats) = &sources.kafka {
            kafka_metrics::encode(&mut encoder, stats)?;
        }
        Ok(())
    }
}

/// Counts by label set.
pub(crate) type Rows<'a> = Vec<(Vec<(&'a str, &'a str)>, u64)>;

pub(crate) fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    rows: Rows<'_>,
) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in rows {
        let row = metric.encode_family(&labels)?;
        match kind {
            MetricType::Counter => ConstCounter::new(value).encode(row)?,
            _ => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(row)?,
        }
    }
    Ok(())
}

fn signals(encoder: &mut DescriptorEncoder<'_>, view: &Snapshot) -> Result<(), Error> {
    let ledger = &view.stats.ledger;
    let received = SignalKind::ALL.map(|kind| (vec![("signal", kind.name())], ledger.received(kind)));
    family(encoder, "signals", "Signals received, by kind", MetricType::Counter, received.into())?;
    let fates = SignalKind::ALL.iter().flat_map(|kind| {
        Fate::ALL
            .map(|fate| (vec![("signal", kind.name()), ("fate", fate.name())], ledger.count(*kind, fate)))
    });
    let help = "What became of signals; the fates of a kind add up to its signals";
    family(encoder, "fates", help, MetricType::Gauge, fates.collect())?;
    let calls = [
        ("both", view.stats.calls_both),
        ("client_only", view.stats.calls_client_only),
        ("external", view.stats.calls_external),
        ("server_only", view.stats.calls_server_only),
    ];
    let calls = calls.map(|(side, count)| (vec![("reported", side)], count));
    family(
        encoder,
        "calls",
        "Joined calls, by the sides that reported them",
        MetricType::Counter,
        calls.into(),
    )
}

fn totals(encoder: &mut DescriptorEncoder<'_>, view: &Snapshot) -> Result<(), Error> {
    let stats = &view.stats;
    let counters = [
        ("batches", "Batches taken", stats.batches),
        ("batch_bytes", "Bytes of uncompressed batches", stats.bytes),
        ("windows", "Windows closed and judged", stats.windows),
        ("repaired_strings", "Strings that were not UTF-8 and were repaired", stats.repaired_strings),
        (
            "symbols_overflowed",
            "Records whose name or series found no room, and windows of edges that there is no room to learn",
            stats.symbols_overflowed,
        ),
    ];
    for (name, help, value) in counters {
        let counter = ConstCounter::new(value);
        counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
    }
    let lag = ConstGauge::new(stats.frontier.since(stats.watermark).as_secs_f64());
    let help = "Event time between the newest record and the closed windows";
    lag.encode(encoder.encode_descriptor("watermark_lag_seconds", help, None, MetricType::Gauge)?)?;
    let join = ConstGauge::new(i64::try_from(stats.join_bytes).unwrap_or(i64::MAX));
    let help = "Bytes of the join window";
    join.encode(encoder.encode_descriptor("join_bytes", help, None, MetricType::Gauge)?)?;
    let edges = ConstGauge::new(i64::try_from(view.edges.len()).unwrap_or(i64::MAX));
    edges.encode(encoder.encode_descriptor("edges", "Edges with a baseline", None, MetricType::Gauge)?)
}

fn clock_steps(encoder: &mut DescriptorEncoder<'_>, view: &Snapshot) -> Result<(), Error> {
    let steps = view.stats.clock_steps;
    let rows = [("forward", steps.forward), ("back", steps.back)];
    let rows = rows.map(|(direction, count)| (vec![("direction", direction)], count));
    let help = "Times our wall clock was set by more than a second; event time goes on by the other clock";
    family(encoder, "clock_steps", help, MetricType::Counter, rows.into())
}

fn overloads(encoder: &mut DescriptorEncoder<'_>, view: &Snapshot) -> Result<(), Error> {
    let rows = view
        .stats
        .overloads
        .iter()
        .map(|overload| (vec![("limit", overload.limit), ("policy", overload.policy)], overload.count));
    let help = "How often a limit of the engine struck, and what happened then";
    family(encoder, "overloads", help, MetricType::Counter, rows.collect())
}

fn quarantines(encoder: &mut DescriptorEncoder<'_>, view: &Snapshot) -> Result<(), Error> {
    let progress = ["planned", "pushed", "acknowledged", "effective", "ineffective"];
    let rows = QuarantineState::ALL.iter().flat_map(|state| {
        progress.map(|progress| {
            let alike =
                view.quarantines.iter().filter(|one| one.state == *state && one.progress.name() == progress);
            (vec![("state", state.name()), ("progress", progress)], alike.count() as u64)
        })
    });
    let help = "Quarantines remembered, by state and by how far they have come";
    family(encoder, "quarantines", help, MetricType::Gauge, rows.collect())
}

fn incidents(encoder: &mut DescriptorEncoder<'_>, view: &Snapshot) -> Result<(), Error> {
    let statuses = [IncidentStatus::Open, IncidentStatus::Resolved];
    let rows = statuses.iter().flat_map(|status| {
        Severity::ALL.map(|severity| {
            let alike =
                view.incidents.iter().filter(|other| other.status == *status && other.severity == severity);
            (vec![("status", status.name()), ("severity", severity.name())], alike.count() as u64)
        })
    });
    family(encoder, "incidents", "Incidents kept, by status and severity", MetricType::Gauge, rows.collect())
}

fn deliveries(encoder: &mut DescriptorEncoder<'_>, sources: &Sources) -> Result<(), Error> {
    let counts = sources.deliveries.counts();
    let rows = counts
        .iter()
        .map(|((sink, status), count)| (vec![("sink", sink.as_str()), ("status", *status)], *count));
    family(
        encoder,
        "alert_deliveries",
        "Recent alert deliveries, by sink and status",
        MetricType::Gauge,
        rows.collect(),
    )
}

fn requests(encoder: &mut DescriptorEncoder<'_>, sources: &Sources) -> Result<(), Error> {
    let mut rows = Vec::new();
    for (transport, signal) in Transport::ALL.iter().flat_map(|t| SignalKind::ALL.map(|signal| (*t, signal)))
    {
        let lane = sources.received.lane(transport, signal);
        let outcomes = [
            ("accepted", &lane.requests_accepted),
            ("refused", &lane.requests_refused),
            ("failed", &lane.requests_failed),
            ("abandoned", &lane.requests_abandoned),
        ];
        rows.extend(outcomes.map(|(outcome, count)| {
            (
                vec![("transport", transport.name()), ("signal", signal.name()), ("outcome", outcome)],
                count.get(),
            )
        }));
    }
    let help = "Export requests, by transport, signal and outcome";
    family(encoder, "receiver_requests", help, MetricType::Counter, rows)?;
    let in_flight =
        ConstGauge::new(i64::try_from(sources.received.admission().bytes_in_flight()).unwrap_or(i64::MAX));
    let help = "Bytes admitted and not yet acknowledged";
    in_flight.encode(encoder.encode_descriptor("receiver_bytes_in_flight", help, None, MetricType::Gauge)?)
}

fn connections(encoder: &mut DescriptorEncoder<'_>, sources: &Sources) -> Result<(), Error> {
    let received = &sources.received;
    let outcomes = [
        ("accepted", &received.connections_accepted),
        ("refused", &received.connections_refused),
        ("handshake_failed", &received.handshakes_failed),
    ];
    let rows = outcomes.map(|(outcome, count)| (vec![("outcome", outcome)], count.get()));
    let help = "Connections of senders; refused ones found as many open as there may be";
    family(encoder, "receiver_connections", help, MetricType::Counter, rows.into())?;
    let strangers =
        [("unrouted", &received.requests_unrouted), ("unauthenticated", &received.requests_unauthenticated)];
    let rows = strangers.map(|(reason, count)| (vec![("reason", reason)], count.get()));
    let help = "Requests for no path of ours, or without a valid token";
    family(encoder, "receiver_strangers", help, MetricType::Counter, rows.into())?;
    let reloads = [("taken", &received.reloads), ("broken", &received.reload_failures)];
    let rows = reloads.map(|(outcome, count)| (vec![("outcome", outcome)], count.get()));
    let help = "Changed certificate and token files, taken over or too broken for it";
    family(encoder, "receiver_reloads", help, MetricType::Counter, rows.into())
}

fn tasks(encoder: &mut DescriptorEncoder<'_>, sources: &Sources) -> Result<(), Error> {
    let alive = sources
        .runtimes
        .iter()
        .map(|(name, runtime)| (vec![("runtime", *name)], runtime.num_alive_tasks() as u64));
    family(
        encoder,
        "tasks",
        "Tasks that are alive: connections, and what the process itself does",
        MetricType::Gauge,
        alive.collect(),
    )
}
