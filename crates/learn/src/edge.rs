//! What one edge is known to do.

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{CallShape, EventTime, LogHistogram, ShapeStats, Symbol};
use serde::{Deserialize, Serialize};

use crate::Provenance;
use crate::onward::Onward;
use crate::tally::Tally;

/// Identities, certificates, TLS versions and so on kept for one edge, each. Real edges have a handful; replicas and
/// rotation make fingerprints the most numerous.
const FACTS_MAX: usize = 64;

/// Routes of one edge that were only ever refused: behind a public gateway their number has no end, and they must
/// not take the room of routes that are served.
const REFUSED_ROUTES_MAX: usize = 32;

/// A route with its method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteKey {
    /// HTTP method or the RPC word for it.
    pub method: Symbol,
    /// Templated path or RPC method.
    pub route: Symbol,
}

impl RouteKey {
    /// The route of a call.
    #[must_use]
    pub fn of(shape: &CallShape) -> Self {
        Self { method: shape.method, route: shape.route }
    }
}

/// What is known of one route of one edge.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RouteBaseline {
    /// Calls.
    pub calls: u64,
    /// Calls that were refused (4xx). A route that was only ever refused is known as that and no more.
    pub refused: u64,
    /// Calls by [`selvedge_model::Security`], in its order.
    pub security: [u64; 4],
    /// Latency in nanoseconds.
    pub latency: LogHistogram,
}

impl RouteBaseline {
    /// True when the callee answered it at least once with something else than 4xx.
    #[must_use]
    pub fn served(&self) -> bool {
        self.calls > self.refused
    }
}

/// Count, sum and maximum of a number per window, enough for mean and variance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Windows.
    pub windows: u64,
    /// Sum.
    pub sum: u64,
    /// Sum of squares.
    pub squares: f64,
    /// Largest.
    pub max: u64,
}

impl Moments {
    /// Adds one window's number.
    #[expect(clippy::cast_precision_loss, reason = "counts per window stay far below 2^52")]
    pub fn add(&mut self, value: u64) {
        self.windows += 1;
        self.sum = self.sum.saturating_add(value);
        self.squares += (value as f64).powi(2);
        self.max = self.max.max(value);
    }

    /// Mean per window; 0 without windows.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts per window stay far below 2^52")]
    pub fn mean(&self) -> f64 {
        if self.windows == 0 { 0.0 } else { self.sum as f64 / self.windows as f64 }
    }

    /// Unbiased variance over windows; 0 with fewer than two.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts per window stay far below 2^52")]
    pub fn variance(&self) -> f64 {
        if self.windows < 2 {
            return 0.0;
        }
        let windows = self.windows as f64;
        ((self.squares - self.sum as f64 * self.mean()) / (windows - 1.0)).max(0.0)
    }
}

/// Body bytes in one direction.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Volume {
    /// Largest body.
    pub call_max: u64,
    /// Largest total of one window.
    pub window_max: u64,
    /// Totals per window.
    pub windows: LogHistogram,
}

impl Volume {
    /// Adds one window's total and largest body.
    pub fn add(&mut self, total: u64, call_max: u64) {
        self.call_max = self.call_max.max(call_max);
        self.window_max = self.window_max.max(total);
        self.windows.record(total);
    }
}

/// What one edge is known to do. Numbers come from unflagged calls only.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EdgeBaseline {
    /// How it came to be: the most trusted of its windows.
    pub provenance: Provenance,
    /// Start of the first call.
    pub first: EventTime,
    /// End of the last call.
    pub last: EventTime,
    /// Calls; failed handshakes are none.
    pub calls: u64,
    /// Calls the callee failed ([`CallShape::failed`]).
    pub failed: u64,
    /// Calls by status class: none, 1xx to 5xx.
    pub status_classes: [u64; 6],
    /// Requests per window, over windows with calls.
    pub requests: Moments,
    /// Latency of requests in nanoseconds.
    pub latency: LogHistogram,
    /// Request bodies.
    pub request_bytes: Volume,
    /// Response bodies.
    pub response_bytes: Volume,
    /// Calls by [`selvedge_model::Security`], in its order.
    pub security: [u64; 4],
    /// TLS versions.
    pub tls_versions: Tally<Symbol>,
    /// TLS ciphers.
    pub tls_ciphers: Tally<Symbol>,
    /// Server names asked for; the absent name counts too.
    pub snis: Tally<Symbol>,
    /// User agent families; the absent one counts too.
    pub user_agents: Tally<Symbol>,
    /// Verified identities of the caller.
    pub source_principals: Tally<Symbol>,
    /// Verified identities of the callee.
    pub destination_principals: Tally<Symbol>,
    /// Certificate issuers.
    pub issuers: Tally<Symbol>,
    /// Certificate fingerprints.
    pub fingerprints: Tally<Symbol>,
    /// Longest certificate lifetime, in nanoseconds.
    pub lifetime_nanos_max: u64,
    /// Newest end of validity of a certificate.
    pub not_after_max: EventTime,
    /// Requests by [`selvedge_model::Reported`], in its order.
    pub reported: [u64; 3],
    /// Whom the callee calls while it serves this edge's calls.
    pub onward: Onward,
    /// Windows in which calls of this edge were made for somebody, as far as is known.
    pub driven_windows: u64,
    #[serde(with = "selvedge_model::hash::listed")]
    routes: FixedMap<RouteKey, RouteBaseline>,
    routes_max: usize,
    routes_overflowed: u64,
}

impl EdgeBaseline {
    pub(crate) fn new(routes_max: usize) -> Self {
        let facts = || Tally::new(FACTS_MAX);
        Self {
            provenance: Provenance::Learned,
            first: EventTime::ABSENT,
            last: EventTime::ABSENT,
            calls: 0,
            failed: 0,
            status_classes: [0; 6],
            requests: Moments::default(),
            latency: LogHistogram::default(),
            request_bytes: Volume::default(),
            response_bytes: Volume::default(),
            security: [0; 4],
            tls_versions: facts(),
            tls_ciphers: facts(),
            snis: facts(),
            user_agents: facts(),
            source_principals: facts(),
            destination_principals: facts(),
            issuers: facts(),
            fingerprints: facts(),
            lifetime_nanos_max: 0,
            not_after_max: EventTime::ABSENT,
            reported: [0; 3],
            onward: Onward::default(),
            driven_windows: 0,
            routes: FixedMap::with_hasher(fixed_state()),
            routes_max,
            routes_overflowed: 0,
        }
    }

    /// What is known of a route.
    #[must_use]
    pub fn route(&self, key: RouteKey) -> Option<&RouteBaseline> {
        self.routes.get(&key)
    }

    /// All routes, in no particular order: sort by names before it reaches an output.
    pub fn routes(&self) -> impl Iterator<Item = (&RouteKey, &RouteBaseline)> {
        self.routes.iter()
    }

    /// Number of routes.
    #[must_use]
    pub fn route_count(&self) -> usize {
        self.routes.len()
    }

    /// Calls whose route found no room.
    #[must_use]
    pub fn routes_overflowed(&self) -> u64 {
        self.routes_overflowed
    }

    /// Share of requests that both sides reported, 0 to 1; `None` without requests.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn both_share(&self) -> Option<f64> {
        let total: u64 = self.reported.iter().sum();
        (total > 0).then(|| self.reported[0] as f64 / total as f64)
    }

    pub(crate) fn record(&mut self, shape: &CallShape, stats: &ShapeStats) {
        self.calls += stats.calls;
        self.failed += if shape.failed() { stats.calls } else { 0 };
        self.status_classes[usize::from(shape.status / 100).min(5)] += stats.calls;
        self.first = if self.first.present() { self.first.min(stats.first) } else { stats.first };
        self.last = self.last.max(stats.last);
        self.security[shape.security as usize] += stats.calls;
        if describes_request(shape) {
            self.latency.merge(&stats.latency);
            self.reported[shape.reported as usize] += stats.calls;
            self.snis.add(shape.sni, stats.calls);
            self.user_agents.add(shape.user_agent, stats.calls);
        }
        add_present(&mut self.tls_versions, shape.tls_version, stats.calls);
        add_present(&mut self.tls_ciphers, shape.tls_cipher, stats.calls);
        add_present(&mut self.source_principals, shape.source_principal, stats.calls);
        add_present(&mut self.destination_principals, shape.destination_principal, stats.calls);
        add_present(&mut self.issuers, shape.certificate.issuer, stats.calls);
        add_present(&mut self.fingerprints, shape.certificate.fingerprint, stats.calls);
        self.lifetime_nanos_max = self.lifetime_nanos_max.max(lifetime_nanos(shape));
        self.not_after_max = self.not_after_max.max(shape.certificate.not_after);
        self.record_route(shape, stats);
    }

    fn record_route(&mut self, shape: &CallShape, stats: &ShapeStats) {
        let key = RouteKey::of(shape);
        if !key.route.present() {
            return;
        }
        let known = self.routes.contains_key(&key);
        let only_refused = || self.routes.values().filter(|route| !route.served()).count();
        let no_room =
            self.routes.len() >= self.routes_max || (shape.refused() && only_refused() >= REFUSED_ROUTES_MAX);
        if !known && no_room {
            self.routes_overflowed += stats.calls;
            return;
        }
        let route = self.routes.entry(key).or_default();
        route.calls += stats.calls;
        route.refused += if shape.refused() { stats.calls } else { 0 };
        route.security[shape.security as usize] += stats.calls;
        route.latency.merge(&stats.latency);
    }
}

/// True for shapes of requests; false for those of bare connections, whose duration is not a latency and of which
/// only one side may keep a record.
#[must_use]
pub fn describes_request(shape: &CallShape) -> bool {
    shape.status != 0 || shape.grpc_status >= 0 || shape.method.present() || shape.route.present()
}

/// How long the caller's certificate is valid, in nanoseconds; 0 when it is not known.
pub(crate) fn lifetime_nanos(shape: &CallShape) -> u64 {
    let certificate = &shape.certificate;
    if certificate.not_before.present() {
        certificate.not_after.0.saturating_sub(certificate.not_before.0)
    } else {
        0
    }
}

pub(crate) fn add_present(tally: &mut Tally<Symbol>, symbol: Symbol, count: u64) {
    if symbol.present() {
        tally.add(symbol, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_nothing_of_a_constant_and_of_two_values() {
        let mut moments = Moments::default();
        assert!(moments.mean().abs() < 1e-12 && moments.variance().abs() < 1e-12);
        moments.add(4);
        moments.add(4);
        assert!((moments.mean() - 4.0).abs() < 1e-12 && moments.variance().abs() < 1e-12);
        moments.add(10);
        assert!((moments.mean() - 6.0).abs() < 1e-12);
        assert!((moments.variance() - 12.0).abs() < 1e-9);
        assert_eq!(moments.max, 10);
    }
}
