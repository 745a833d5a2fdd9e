//! What callees, callers and the mesh as a whole are known to do: a route that is new on one edge but known at the
//! callee from other callers surprises far less than one the callee never served.

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{
    CallShape, EdgeKey, EventTime, IdentitySource, Node, Reported, ShapeStats, Symbol, SymbolTable,
};
use serde::{Deserialize, Serialize};

use crate::config::LearnConfig;
use crate::edge::{Moments, RouteKey, add_present, describes_request, lifetime_nanos};
use crate::identity::trust_domain;
use crate::tally::Tally;

/// Trust domains kept: a mesh federates with a few.
const TRUST_DOMAINS_MAX: usize = 256;
/// Pairs of namespaces kept.
const NAMESPACE_PAIRS_MAX: usize = 16_384;
/// Facts kept for one caller or callee, each kind.
const FACTS_MAX: usize = 64;
/// External hosts and callees kept for one caller (`detection.md` 3.2: edges per caller).
const CALLEES_MAX: usize = 4_096;
/// Workloads remembered for one identity: more share a service account only by neglect.
const HOLDERS_MAX: usize = 8;

/// A namespace of a cluster.
pub type Place = (Symbol, Symbol);

/// What a callee is known to do, over all its callers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DestinationBaseline {
    /// Calls.
    pub calls: u64,
    /// Calls of identified callers by [`selvedge_model::Security`], in its order. Probes and scrapers without an
    /// identity do not say how the mesh's own callers are protected.
    pub security: [u64; 4],
    /// TLS versions.
    pub tls_versions: Tally<Symbol>,
    /// Served calls (not 4xx) by route.
    pub routes: Tally<RouteKey>,
    /// Requests per window, over windows with calls.
    pub requests: Moments,
    /// Largest response body.
    pub response_bytes_max: u64,
    /// Largest response total of one window.
    pub response_window_max: u64,
    /// Largest request body.
    pub request_bytes_max: u64,
    /// Largest request total of one window.
    pub request_window_max: u64,
    /// Failed handshakes that a person approved, by their reason.
    pub handshake_failures: Tally<Symbol>,
    open: Totals,
}

/// What a caller is known to do, over all its callees.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceBaseline {
    /// Calls.
    pub calls: u64,
    /// Windows with calls.
    pub windows: u64,
    /// Requests inside the mesh by [`Reported`], in its order.
    pub reported: [u64; 3],
    /// Server names its connections ask for; the absent one counts too.
    pub snis: Tally<Symbol>,
    /// TLS ciphers, as the callees see them.
    pub tls_ciphers: Tally<Symbol>,
    /// Callees inside the mesh, by windows in which they were called.
    pub callees: Tally<Node>,
    /// External hosts, by calls.
    pub hosts: Tally<Symbol>,
    /// Largest request body sent outside.
    pub egress_bytes_max: u64,
    /// Largest total sent outside in one window.
    pub egress_window_max: u64,
    /// Newest end of validity among its certificates.
    pub not_after_max: EventTime,
    open: Totals,
}

/// Totals of the window that is being learned.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Totals {
    calls: u64,
    request_bytes: u64,
    response_bytes: u64,
}

/// What the mesh as a whole is known to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MeshBaseline {
    /// Some of it was approved by a person.
    pub approved: bool,
    /// Windows with calls.
    pub windows: u64,
    /// Time those windows cover.
    pub traffic_time: Duration,
    /// Calls.
    pub calls: u64,
    /// Certificate issuers.
    pub issuers: Tally<Symbol>,
    /// Namespaces of callers.
    pub namespaces: Tally<Place>,
    /// Pairs of caller's and callee's namespace.
    pub namespace_pairs: Tally<(Place, Place)>,
    /// External hosts of any caller, by calls.
    pub hosts: Tally<Symbol>,
    /// Longest certificate lifetime, in nanoseconds.
    pub lifetime_nanos_max: u64,
    trust_domains: BTreeMap<String, u64>,
    #[serde(with = "selvedge_model::hash::listed")]
    holders: FixedMap<Symbol, Vec<Node>>,
    #[serde(with = "selvedge_model::hash::listed")]
    fingerprints: FixedMap<Symbol, Node>,
    #[serde(with = "selvedge_model::hash::listed")]
    destinations: FixedMap<Node, DestinationBaseline>,
    #[serde(with = "selvedge_model::hash::listed")]
    sources: FixedMap<Node, SourceBaseline>,
    #[serde(skip)]
    config: LearnConfig,
    overflowed: u64,
}

impl MeshBaseline {
    pub(crate) fn new(config: &LearnConfig) -> Self {
        Self {
            approved: false,
            windows: 0,
            traffic_time: Duration::ZERO,
            calls: 0,
            issuers: Tally::new(TRUST_DOMAINS_MAX),
            namespaces: Tally::new(NAMESPACE_PAIRS_MAX),
            namespace_pairs: Tally::new(NAMESPACE_PAIRS_MAX),
            hosts: Tally::new(config.nodes_max),
            lifetime_nanos_max: 0,
            trust_domains: BTreeMap::new(),
            holders: FixedMap::with_hasher(fixed_state()),
            fingerprints: FixedMap::with_hasher(fixed_state()),
            destinations: FixedMap::with_hasher(fixed_state()),
            sources: FixedMap::with_hasher(fixed_state()),
            config: config.clone(),
            overflowed: 0,
        }
    }

    pub(crate) fn configure(&mut self, config: &LearnConfig) {
        self.config = config.clone();
    }

    /// Sightings of identities, callers and callees that found no room.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// True when the mesh is known well enough to call something new: a person approved a baseline, or enough
    /// traffic was learned. Before, everything is new and novelty says nothing.
    #[must_use]
    pub fn warm(&self) -> bool {
        self.approved || (self.traffic_time >= self.config.warm_after && self.calls >= self.config.warm_calls)
    }

    /// What is known of a callee.
    #[must_use]
    pub fn destination(&self, node: &Node) -> Option<&DestinationBaseline> {
        self.destinations.get(node)
    }

    /// What is known of a caller.
    #[must_use]
    pub fn source(&self, node: &Node) -> Option<&SourceBaseline> {
        self.sources.get(node)
    }

    /// True when a trust domain was seen in verified identities.
    #[must_use]
    pub fn knows_trust_domain(&self, domain: &str) -> bool {
        self.trust_domains.contains_key(domain)
    }

    /// Trust domains seen in verified identities, in order.
    pub fn trust_domains(&self) -> impl Iterator<Item = &str> {
        self.trust_domains.keys().map(String::as_str)
    }

    /// Workloads that presented an identity, in the order they were learned.
    #[must_use]
    pub fn holders(&self, principal: Symbol) -> &[Node] {
        self.holders.get(&principal).map_or(&[], Vec::as_slice)
    }

    /// The workload that presented a certificate first.
    #[must_use]
    pub fn certificate_holder(&self, fingerprint: Symbol) -> Option<Node> {
        self.fingerprints.get(&fingerprint).copied()
    }

    /// Workloads of any namespace with this name that were seen calling, in no particular order.
    pub fn sources_named(&self, workload: Symbol) -> impl Iterator<Item = &Node> {
        self.sources.keys().filter(move |node| node.workload == workload)
    }

    /// A failed handshake of approved traffic.
    pub(crate) fn record_handshake_failure(&mut self, key: &EdgeKey, shape: &CallShape, calls: u64) {
        if let Some(destination) = self.destination_mut(key.destination) {
            destination.handshake_failures.add(shape.handshake_failure, calls);
        }
    }

    pub(crate) fn record(
        &mut self,
        key: &EdgeKey,
        shape: &CallShape,
        stats: &ShapeStats,
        symbols: &SymbolTable,
    ) {
        self.calls += stats.calls;
        self.record_identities(key, shape, stats, symbols);
        if key.external {
            self.hosts.add(key.destination.workload, stats.calls);
        } else if let Some(destination) = self.destination_mut(key.destination) {
            destination.record(key, shape, stats);
        }
        if key.source.known()
            && let Some(source) = self.source_mut(key.source)
        {
            source.record(key, shape, stats);
        }
    }

    /// Closes one window's totals: an edge had calls in it.
    pub(crate) fn close_edge(&mut self, key: &EdgeKey) {
        if !key.external
            && let Some(source) = self.sources.get_mut(&key.source)
        {
            source.callees.add(key.destination, 1);
        }
    }

    /// Closes the window of all callers and callees; it counts when anything was learned in it.
    pub(crate) fn close_window(&mut self, length: Duration) {
        let mut calls = 0;
        for destination in self.destinations.values_mut() {
            calls += destination.open.calls;
            destination.close_window();
        }
        for source in self.sources.values_mut() {
            calls += source.open.calls;
            source.close_window();
        }
        if calls > 0 {
            self.windows += 1;
            self.traffic_time += length;
        }
    }

    fn record_identities(
        &mut self,
        key: &EdgeKey,
        shape: &CallShape,
        stats: &ShapeStats,
        symbols: &SymbolTable,
    ) {
        // Only what the other end's handshake proved teaches who is who: a caller's own word alone would let it claim
        // somebody else's identity until that looks normal.
        let proven = shape.source_identity == IdentitySource::MtlsCertificate
            && shape.reported != Reported::ClientOnly;
        let source_principal = if proven { shape.source_principal } else { Symbol::NONE };
        let met = shape.reported == Reported::Both;
        let destination_principal = if met { shape.destination_principal } else { Symbol::NONE };
        for principal in [source_principal, destination_principal] {
            if let Some(domain) = trust_domain(symbols.resolve(principal)) {
                if let Some(count) = self.trust_domains.get_mut(domain) {
                    *count += stats.calls;
                } else if self.trust_domains.len() < TRUST_DOMAINS_MAX {
                    self.trust_domains.insert(domain.to_owned(), stats.calls);
                } else {
                    self.overflowed += 1;
                }
            }
        }
        self.hold(source_principal, key.source);
        self.hold(destination_principal, key.destination);
        add_present(&mut self.issuers, shape.certificate.issuer, stats.calls);
        self.lifetime_nanos_max = self.lifetime_nanos_max.max(lifetime_nanos(shape));
        if both_named(shape) && shape.certificate.fingerprint.present() && key.source.known() {
            self.keep_fingerprint(shape.certificate.fingerprint, key.source);
        }
        if key.source.namespace.present() {
            let source = (key.source.cluster, key.source.namespace);
            self.namespaces.add(source, stats.calls);
            if !key.external && key.destination.namespace.present() {
                let destination = (key.destination.cluster, key.destination.namespace);
                self.namespace_pairs.add((source, destination), stats.calls);
            }
        }
    }

    fn hold(&mut self, principal: Symbol, node: Node) {
        if !principal.present() || !node.known() {
            return;
        }
        if self.holders.len() >= self.config.identities_max && !self.holders.contains_key(&principal) {
            self.overflowed += 1;
            return;
        }
        let holders = self.holders.entry(principal).or_default();
        if holders.len() < HOLDERS_MAX && !holders.contains(&node) {
            holders.push(node);
        }
    }

    fn keep_fingerprint(&mut self, fingerprint: Symbol, node: Node) {
        if self.fingerprints.len() < self.config.identities_max {
            self.fingerprints.entry(fingerprint).or_insert(node);
        } else if !self.fingerprints.contains_key(&fingerprint) {
            self.overflowed += 1;
        }
    }

    fn destination_mut(&mut self, node: Node) -> Option<&mut DestinationBaseline> {
        if self.destinations.len() >= self.config.nodes_max && !self.destinations.contains_key(&node) {
            self.overflowed += 1;
            return None;
        }
        let routes_max = self.config.callee_routes_max;
        Some(self.destinations.entry(node).or_insert_with(|| DestinationBaseline::new(routes_max)))
    }

    fn source_mut(&mut self, node: Node) -> Option<&mut SourceBaseline> {
        if self.sources.len() >= self.config.nodes_max && !self.sources.contains_key(&node) {
            self.overflowed += 1;
            return None;
        }
        Some(self.sources.entry(node).or_insert_with(SourceBaseline::new))
    }
}

/// True when the caller's own proxy names the caller and the callee's proxy shows its certificate: two witnesses.
fn both_named(shape: &CallShape) -> bool {
    shape.reported == Reported::Both && shape.source_identity >= IdentitySource::ProxyMetadata
}

impl DestinationBaseline {
    fn new(routes_max: usize) -> Self {
        Self {
            calls: 0,
            security: [0; 4],
            tls_versions: Tally::new(FACTS_MAX),
            routes: Tally::new(routes_max),
            requests: Moments::default(),
            response_bytes_max: 0,
            response_window_max: 0,
            request_bytes_max: 0,
            request_window_max: 0,
            handshake_failures: Tally::new(FACTS_MAX),
            open: Totals::default(),
        }
    }

    fn record(&mut self, key: &EdgeKey, shape: &CallShape, stats: &ShapeStats) {
        self.calls += stats.calls;
        self.open.add(shape, stats);
        self.response_bytes_max = self.response_bytes_max.max(stats.response_bytes_max);
        self.request_bytes_max = self.request_bytes_max.max(stats.request_bytes_max);
        if key.source.known() {
            self.security[shape.security as usize] += stats.calls;
        }
        add_present(&mut self.tls_versions, shape.tls_version, stats.calls);
        if shape.route.present() && !shape.refused() {
            self.routes.add(RouteKey::of(shape), stats.calls);
        }
    }

    fn close_window(&mut self) {
        let open = std::mem::take(&mut self.open);
        if open.calls > 0 {
            self.requests.add(open.calls);
            self.response_window_max = self.response_window_max.max(open.response_bytes);
            self.request_window_max = self.request_window_max.max(open.request_bytes);
        }
    }
}

impl SourceBaseline {
    fn new() -> Self {
        Self {
            calls: 0,
            windows: 0,
            reported: [0; 3],
            snis: Tally::new(FACTS_MAX),
            tls_ciphers: Tally::new(FACTS_MAX),
            callees: Tally::new(CALLEES_MAX),
            hosts: Tally::new(CALLEES_MAX),
            egress_bytes_max: 0,
            egress_window_max: 0,
            not_after_max: EventTime::ABSENT,
            open: Totals::default(),
        }
    }

    /// Share of its requests inside the mesh that both sides reported, 0 to 1; `None` without requests.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn both_share(&self) -> Option<f64> {
        let total: u64 = self.reported.iter().sum();
        (total > 0).then(|| self.reported[0] as f64 / total as f64)
    }

    fn record(&mut self, key: &EdgeKey, shape: &CallShape, stats: &ShapeStats) {
        self.calls += stats.calls;
        self.not_after_max = self.not_after_max.max(shape.certificate.not_after);
        if key.external {
            self.hosts.add(key.destination.workload, stats.calls);
            self.egress_bytes_max = self.egress_bytes_max.max(stats.request_bytes_max);
            self.open.add(shape, stats);
            return;
        }
        self.open.calls += stats.calls;
        if describes_request(shape) {
            self.reported[shape.reported as usize] += stats.calls;
        }
        if shape.reported != Reported::ClientOnly && shape.tls_version.present() {
            self.snis.add(shape.sni, stats.calls);
            self.tls_ciphers.add(shape.tls_cipher, stats.calls);
        }
    }

    fn close_window(&mut self) {
        let open = std::mem::take(&mut self.open);
        if open.calls > 0 {
            self.windows += 1;
            self.egress_window_max = self.egress_window_max.max(open.request_bytes);
        }
    }
}

impl Totals {
    fn add(&mut self, shape: &CallShape, stats: &ShapeStats) {
        let all = |told| shape.sampling.stands_for(told);
        self.calls = self.calls.saturating_add(all(stats.calls));
        self.request_bytes = self.request_bytes.saturating_add(all(stats.request_bytes));
        self.response_bytes = self.response_bytes.saturating_add(all(stats.response_bytes));
    }
}
