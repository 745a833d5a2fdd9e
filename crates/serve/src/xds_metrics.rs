//! The metrics of the proxies that enforce quarantines.

use std::fmt::Error;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use selvedge_enforce::xds::XdsView;

use crate::metrics::family;

pub(crate) fn encode(encoder: &mut DescriptorEncoder<'_>, xds: &XdsView) -> Result<(), Error> {
    let standing = xds.standing();
    let states = [
        ("in_sync", standing.in_sync),
        ("behind", standing.behind),
        ("refusing", standing.refusing),
        ("stuck", standing.stuck),
    ]
    .map(|(state, count)| (vec![("state", state)], count));
    let help =
        "Connected proxies; a stuck one leaves an answer unacknowledged, a refusing one keeps what it had";
    family(encoder, "xds_proxies", help, MetricType::Gauge, states.into())?;
    let stats = xds.stats();
    let reasons = [
        ("too_many", &stats.refused),
        ("unauthenticated", &stats.unauthenticated),
        ("handshake_failed", &stats.handshakes_failed),
        ("foreign_type", &stats.foreign),
    ]
    .map(|(reason, count)| (vec![("reason", reason)], count.load(Ordering::Relaxed)));
    family(
        encoder,
        "xds_refusals",
        "Streams and requests of proxies that were refused",
        MetricType::Counter,
        reasons.into(),
    )?;
    let lost = vec![(Vec::new(), stats.events_lost.load(Ordering::Relaxed))];
    let help = "Events of proxies that the enforcer did not read in time";
    family(encoder, "xds_events_lost", help, MetricType::Counter, lost)
}
