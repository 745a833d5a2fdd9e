//! A small invented mesh: the courier calls the ledger and the cart, the scribe reads the ledger, an intruder comes by.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;

use selvedge_model::{
    Edge, Endpoint, EventTime, Evidence, Finding, FindingKind, IdentitySource, Incident, IncidentStatus,
    ObservedTime, Severity, SteadyTime,
};
use selvedge_policy::{Knowledge, MeshState, Now, Scope, TrafficRow, began_by, same_workload};

/// The onset of everything: after an hour of quiet.
pub const ONSET: u64 = 3_600;
pub const SECOND: u64 = 1_000_000_000;

pub fn at(second: u64) -> EventTime {
    EventTime(second * SECOND)
}

pub fn now(second: u64) -> Now {
    Now { steady: SteadyTime(second * SECOND), wall: ObservedTime((1_000_000 + second) * SECOND) }
}

pub fn principal(namespace: &str, workload: &str) -> String {
    format!("spiffe://mesh.example/ns/{namespace}/sa/{workload}")
}

/// `namespace/workload` with its own principal.
pub fn end(name: &str) -> Endpoint {
    let (namespace, workload) = name.split_once('/').unwrap_or(("", name));
    let principal = if namespace.is_empty() { String::new() } else { principal(namespace, workload) };
    Endpoint {
        cluster: String::new(),
        namespace: namespace.to_owned(),
        workload: workload.to_owned(),
        principal,
    }
}

pub fn bare(name: &str) -> Endpoint {
    Endpoint { principal: String::new(), ..end(name) }
}

/// A verified finding of severity medium about the caller's own doing.
pub fn finding(kind: FindingKind, source: &str, destination: &str) -> Finding {
    Finding {
        id: format!("{}-{source}-{destination}", kind.name()),
        kind,
        severity: Severity::Medium,
        edge: Edge { source: end(source), destination: end(destination) },
        external: false,
        subject: String::new(),
        onset: at(ONSET),
        detected: at(ONSET + 1),
        return_period_seconds: None,
        calibrated: false,
        summary: format!("{source} did {} to {destination}", kind.name()),
        evidence: Vec::new(),
        source_identity: IdentitySource::MtlsCertificate,
        claimed_principal: String::new(),
        exemplars: Vec::new(),
        techniques: Vec::new(),
    }
}

pub fn fact(name: &str, observed: &str) -> Evidence {
    Evidence { name: name.to_owned(), observed: observed.to_owned(), baseline: String::new() }
}

pub fn with(mut finding: Finding, change: impl FnOnce(&mut Finding)) -> Finding {
    change(&mut finding);
    finding
}

/// A call to a host outside the mesh, by the source's own proxy's word.
pub fn leaving(kind: FindingKind, source: &str, host: &str) -> Finding {
    with(finding(kind, source, host), |finding| {
        finding.external = true;
        finding.source_identity = IdentitySource::ProxyMetadata;
        finding.edge.destination = bare(host);
    })
}

/// A call without an identity.
pub fn unproven(kind: FindingKind, destination: &str) -> Finding {
    with(finding(kind, "nobody", destination), |finding| {
        finding.edge.source = Endpoint::default();
        finding.source_identity = IdentitySource::None;
        finding.subject = "plaintext".to_owned();
    })
}

pub fn incident(findings: &[Finding]) -> Incident {
    Incident {
        id: "incident-1".to_owned(),
        status: IncidentStatus::Open,
        severity: Severity::Critical,
        title: String::new(),
        kinds: findings.iter().map(|finding| finding.kind).collect(),
        onset: at(ONSET),
        opened: at(ONSET + 1),
        updated: at(ONSET + 1),
        closed: None,
        return_period_seconds: None,
        edges: findings.iter().map(|finding| finding.edge.clone()).collect(),
        suspects: Vec::new(),
        finding_ids: findings.iter().map(|finding| finding.id.clone()).collect(),
        exemplars: Vec::new(),
        techniques: Vec::new(),
        highlights: Vec::new(),
        quarantines: Vec::new(),
        runbook: Vec::new(),
        calibration: selvedge_model::Calibration::Default,
    }
}

/// Normal verified calls before the onset.
pub fn row(source: &str, destination: &str, method: &str, route: &str, calls: u64) -> TrafficRow {
    TrafficRow {
        minute_seconds: 60,
        source: end(source),
        source_identity: IdentitySource::MtlsCertificate,
        authenticated: Some(true),
        destination: end(destination),
        external: false,
        method: method.to_owned(),
        route: route.to_owned(),
        status: 200,
        denied_by: String::new(),
        normal: true,
        calls,
    }
}

pub fn row_with(mut row: TrafficRow, change: impl FnOnce(&mut TrafficRow)) -> TrafficRow {
    change(&mut row);
    row
}

/// Calls that prove no identity.
pub fn plaintext(destination: &str, route: &str, calls: u64) -> TrafficRow {
    row_with(row("nobody", destination, "GET", route, calls), |row| {
        row.source = Endpoint::default();
        row.source_identity = IdentitySource::None;
        row.authenticated = Some(false);
    })
}

/// What is known, as lists.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub rows: Vec<TrafficRow>,
    pub holders: BTreeMap<String, Vec<Endpoint>>,
}

impl Known {
    /// The invented mesh before anything happened.
    pub fn mesh() -> Self {
        let mut known = Self {
            rows: vec![
                row("yard/courier", "store/cart", "GET", "/carts/{id}", 5_000),
                row("yard/courier", "store/ledger", "GET", "/entries", 40),
                row("store/scribe", "store/ledger", "GET", "/entries", 6_000),
                row("store/scribe", "store/ledger", "POST", "/entries", 4_000),
            ],
            holders: BTreeMap::new(),
        };
        for name in ["yard/courier", "store/cart", "store/ledger", "store/scribe", "yard/intruder"] {
            known.holders.insert(end(name).principal, vec![bare(name)]);
        }
        known
    }
}

impl Knowledge for Known {
    fn holders(&self, principal: &str) -> Vec<Endpoint> {
        self.holders.get(principal).cloned().unwrap_or_default()
    }

    fn traffic(&self, scope: &Scope, _onset: EventTime) -> Vec<TrafficRow> {
        let wanted = |row: &&TrafficRow| {
            scope.callees.iter().any(|callee| same_workload(callee, &row.destination))
                || scope.callers.iter().any(|caller| same_workload(caller, &row.source))
        };
        self.rows.iter().filter(wanted).cloned().collect()
    }

    fn span(&self) -> Option<(u64, u64)> {
        let first = self.rows.iter().map(|row| row.minute_seconds).min()?;
        let last = self.rows.iter().map(|row| row.minute_seconds).max()?;
        assert!(began_by(first, at(ONSET)));
        Some((first, last + 60))
    }
}

pub fn calm() -> MeshState {
    MeshState { warm: true, open_incidents: 1, edges_deviating: 1, edges: 100 }
}

pub fn refs(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().collect()
}
