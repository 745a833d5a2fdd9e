//! Who calls whom: layers of services, and edges that only go down, so that calls of calls end.

use std::collections::BTreeSet;

use crate::config::MeshConfig;
use crate::draw::{Draw, Purpose};
use crate::latency::LatencyShape;
use crate::words::words;

/// A mesh has about so many edges for each service.
const EDGES_A_SERVICE: usize = 3;
const LAYERS: usize = 6;
/// A callee is chosen by its callers with this chance, else evenly: some services are called by many.
const POPULAR: f64 = 0.5;
/// So many tries for a pair that is not there yet; then a new service is called.
const TRIES_MAX: usize = 32;

/// What an edge speaks: which of its counts can hold errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Errors are 4xx and 5xx.
    Http,
    /// Errors are a gRPC status; the HTTP status is always 200.
    Grpc,
}

/// How busy an edge usually is: the tiers of `detection.md` section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Under 1.2 requests a minute.
    Rare,
    /// Under 6.
    Sparse,
    /// Under 60.
    Steady,
    /// 60 and more.
    Busy,
}

impl Tier {
    /// The tier of a rate in requests a second.
    #[must_use]
    pub fn of(rate: f64) -> Self {
        match rate * 60.0 {
            minute if minute < 1.2 => Self::Rare,
            minute if minute < 6.0 => Self::Sparse,
            minute if minute < 60.0 => Self::Steady,
            _ => Self::Busy,
        }
    }
}

/// What an edge of the mesh usually is.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeSpec {
    /// Its caller: an index into `Mesh::services`.
    pub caller: usize,
    /// Its callee. Its proxies are the edge's reporter, and `WindowOf::deployed` speaks of its version or the caller's.
    pub callee: usize,
    /// What it speaks.
    pub protocol: Protocol,
    /// Usual requests a second: the mean over a week, without events.
    pub usual_rate: f64,
    /// The tier of that rate.
    pub tier: Tier,
    /// Mean size of what the caller sends with a request, in KiB.
    pub request_kib: f64,
    /// Rates of 4xx, 5xx and failing gRPC statuses; zero where the protocol has none.
    pub error_rates: [f64; 3],
    /// Usual latency.
    pub latency: LatencyShape,
}

/// The services by name and the edges between them.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    pub(crate) services: Vec<String>,
    pub(crate) edges: Vec<EdgeSpec>,
}

impl Topology {
    pub(crate) fn new(config: &MeshConfig) -> Self {
        let mut draw = Draw::new(config.seed, Purpose::Topology, 0);
        let pairs = pairs(&mut draw, config.edges);
        let services = pairs.iter().map(|&(_, callee)| callee + 1).max().unwrap_or(0);
        let spec = |(index, &(caller, callee)): (usize, &(usize, usize))| {
            spec(config, &mut Draw::new(config.seed, Purpose::Edge, index as u64), caller, callee)
        };
        let edges = pairs.iter().enumerate().map(spec).collect();
        Self { services: words(&mut draw, services), edges }
    }
}

/// Different pairs of a caller and a callee with a larger number. Services are numbered from the entry down; the
/// callee is at most a fraction of the mesh away, which makes paths of several hops.
fn pairs(draw: &mut Draw, edges: usize) -> Vec<(usize, usize)> {
    let mut services = (edges / EDGES_A_SERVICE).max(2);
    let reach = (2 * services / LAYERS).max(1);
    let mut taken = BTreeSet::new();
    let mut pairs: Vec<(usize, usize)> = Vec::with_capacity(edges);
    while pairs.len() < edges {
        let free = (0..TRIES_MAX).find_map(|_| {
            let caller = draw.below(services - 1);
            let near = caller + 1 + draw.below(reach.min(services - 1 - caller));
            let popular =
                (!pairs.is_empty() && draw.chance(POPULAR)).then(|| pairs[draw.below(pairs.len())].1);
            let callee = popular.filter(|&callee| caller < callee).unwrap_or(near);
            (!taken.contains(&(caller, callee))).then_some((caller, callee))
        });
        let pair = free.unwrap_or_else(|| {
            services += 1;
            (draw.below(services - 1), services - 1)
        });
        taken.insert(pair);
        pairs.push(pair);
    }
    pairs
}

fn spec(config: &MeshConfig, draw: &mut Draw, caller: usize, callee: usize) -> EdgeSpec {
    let rates = config.rates;
    let usual_rate =
        (rates.median * (rates.sigma * draw.normal()).exp()).clamp(rates.bounds.low, rates.bounds.high);
    let errors = config.errors;
    let protocol = if draw.chance(errors.grpc) { Protocol::Grpc } else { Protocol::Http };
    let mut error_rate = |median: f64| (median * (errors.sigma * draw.normal()).exp()).min(0.1);
    let (client, failed) = (error_rate(errors.client_median), error_rate(errors.median));
    let error_rates = match protocol {
        Protocol::Http => [client, failed, 0.0],
        Protocol::Grpc => [0.0, 0.0, failed],
    };
    let request_kib = config.bytes.median_kib * (config.bytes.sigma * draw.normal()).exp();
    let latency = LatencyShape::drawn(&config.latency, draw);
    EdgeSpec {
        caller,
        callee,
        protocol,
        usual_rate,
        tier: Tier::of(usual_rate),
        request_kib,
        error_rates,
        latency,
    }
}
