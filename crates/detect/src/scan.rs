//! Path scans: one caller, many routes that its callees never served, mostly refused.

use selvedge_learn::RouteKey;
use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{CallShape, EdgeKey, FindingKind, IdentitySource, Node, Symbol};
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::draft::Draft;
use crate::novelty::served_by_callee;

/// Callers followed in one window.
const SCANNERS_MAX: usize = 4_096;
/// Unknown routes remembered for one caller and window.
const ROUTES_MAX: usize = 256;
/// Routes told as evidence.
const ROUTES_TOLD: usize = 8;

/// Callers with unknown routes in one window.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Scans {
    #[serde(with = "selvedge_model::hash::listed")]
    scanners: FixedMap<Scanner, Scan>,
    /// How many of them were reported: nearly always none, and every shape of every edge asks.
    reported: u64,
    unfollowed: u64,
}

/// Who scans: a workload wherever it calls, or, when nobody knows it, whoever calls one callee.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Place {
    Workload(Node),
    Unknown(EdgeKey),
}

/// A place and what was proven there: what a sidecar invents or says under another name is nobody else's scan, and does
/// not make a proven one doubtful.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Scanner {
    place: Place,
    principal: Symbol,
    proof: IdentitySource,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Scan {
    refused: Vec<(EdgeKey, RouteKey, CallShape)>,
    served: u64,
    reported: bool,
}

impl Default for Scans {
    fn default() -> Self {
        Self { scanners: FixedMap::with_hasher(fixed_state()), reported: 0, unfollowed: 0 }
    }
}

impl Scans {
    /// Counts a sighting of an unknown route; gives a finding when its caller has become a scanner by it.
    pub(crate) fn sight(&mut self, case: &Case<'_>) -> Option<Draft> {
        let rule = case.rules.path_scan()?;
        let unknown = case.shape.route.present() && served_by_callee(case) != Some(true);
        if !unknown || case.key.external || case.shape.denied_by.present() {
            return None;
        }
        let scanner = scanner(&case.key, case.shape);
        if self.scanners.len() >= SCANNERS_MAX && !self.scanners.contains_key(&scanner) {
            self.unfollowed += 1;
            return None;
        }
        let scan = self.scanners.entry(scanner).or_default();
        let (key, route) = (case.key, RouteKey::of(case.shape));
        if !probe_failed(case.shape) {
            scan.served += 1;
            return None;
        }
        if scan.refused.len() < ROUTES_MAX {
            scan.refused.push((key, route, *case.shape));
        }
        if scan.reported {
            return None;
        }
        let distinct = scan.distinct();
        if distinct < rule.routes_min.0 || !mostly(distinct, scan.served, rule.refused_share_min.0) {
            return None;
        }
        scan.reported = true;
        self.reported += 1;
        Some(report(case, scan, distinct))
    }

    /// Sightings of callers that found no room.
    pub(crate) fn unfollowed(&self) -> u64 {
        self.unfollowed
    }

    /// True when nobody was reported.
    pub(crate) fn none(&self) -> bool {
        self.reported == 0
    }

    /// True when a refused unknown route is part of a scan that was reported.
    pub(crate) fn covers(&self, key: &EdgeKey, shape: &CallShape) -> bool {
        if self.none() {
            return false;
        }
        let scan = self.scanners.get(&scanner(key, shape)).filter(|scan| scan.reported);
        scan.is_some_and(|scan| {
            let full = scan.refused.len() >= ROUTES_MAX && probe_failed(shape);
            full || scan.refused.iter().any(|(edge, _, probe)| edge == key && probe == shape)
        })
    }
}

impl Scan {
    fn distinct(&self) -> u64 {
        let distinct = |at: usize| {
            let (edge, route, _) = &self.refused[at];
            !self.refused[..at].iter().any(|(other, known, _)| other == edge && known == route)
        };
        (0..self.refused.len()).filter(|at| distinct(*at)).count() as u64
    }
}

fn scanner(key: &EdgeKey, shape: &CallShape) -> Scanner {
    let place = if key.source.known() { Place::Workload(key.source) } else { Place::Unknown(*key) };
    Scanner { place, principal: shape.source_principal, proof: shape.source_identity }
}

/// 4xx, and gRPC's "no such method" and "not found".
fn probe_failed(shape: &CallShape) -> bool {
    shape.refused() || matches!(shape.grpc_status, 5 | 12)
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn mostly(refused: u64, served: u64, share_min: f64) -> bool {
    refused as f64 >= (refused + served) as f64 * share_min
}

fn report(case: &Case<'_>, scan: &Scan, distinct: u64) -> Draft {
    let rule_routes = case.rules.path_scan().map_or(0, |rule| rule.routes_min.0);
    let known_noise =
        case.edge.map_or(0, |edge| edge.routes().filter(|(_, route)| !route.served()).count() as u64);
    let text = |key: &RouteKey| format!("{} {}", case.text(key.method), case.text(key.route));
    let mut routes: Vec<String> = scan.refused.iter().map(|(_, route, _)| text(route)).collect();
    routes.sort_unstable();
    routes.dedup();
    routes.truncate(ROUTES_TOLD);
    let callees: std::collections::BTreeSet<String> = scan
        .refused
        .iter()
        .map(|(key, ..)| key.destination.endpoint(Symbol::NONE, case.symbols).label())
        .collect();
    case.draft(FindingKind::PathScan)
        .summary(format!(
            "{} was refused on {distinct} routes that {} never served",
            case.caller(),
            callees.iter().cloned().collect::<Vec<_>>().join(", ")
        ))
        .fact("refused_unknown_routes", distinct, known_noise)
        .note("routes", &routes.join(", "))
        .lower_if(known_noise >= rule_routes, 2, "the edge is known to carry such noise")
        .lower_if(!case.warm(), 1, "the mesh is not known yet")
}
