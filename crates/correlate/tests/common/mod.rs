//! Findings in one line, for tests.

use selvedge_correlate::{CorrelateConfig, Correlator, IncidentChange};
use selvedge_model::{
    Edge, Endpoint, EventTime, Evidence, Finding, FindingKind, IdentitySource, Incident, Severity, TraceId,
};

/// The second at which tests begin.
pub(crate) const START: u64 = 1_000;

pub(crate) fn second(at: u64) -> EventTime {
    EventTime((START + at) * 1_000_000_000)
}

pub(crate) fn endpoint(name: &str) -> Endpoint {
    if name.is_empty() {
        return Endpoint::default();
    }
    if name.contains('.') {
        return Endpoint { workload: name.to_owned(), ..Endpoint::default() };
    }
    Endpoint {
        namespace: "store".to_owned(),
        workload: name.to_owned(),
        principal: format!("spiffe://mesh/ns/store/sa/{name}"),
        ..Endpoint::default()
    }
}

/// `kind source -> destination` at a second, severity high, source proven by mutual TLS.
pub(crate) fn finding(kind: FindingKind, source: &str, destination: &str, at: u64) -> Finding {
    Finding {
        id: format!("{}:{source}>{destination}@{at}", kind.name()),
        kind,
        severity: Severity::High,
        edge: Edge { source: endpoint(source), destination: endpoint(destination) },
        external: destination.contains('.'),
        subject: String::new(),
        onset: second(at),
        detected: second(at + 1),
        return_period_seconds: None,
        calibrated: false,
        summary: format!("{} from {source} to {destination}", kind.name()),
        evidence: Vec::new(),
        source_identity: if source.is_empty() {
            IdentitySource::None
        } else {
            IdentitySource::MtlsCertificate
        },
        claimed_principal: String::new(),
        exemplars: Vec::new(),
        techniques: Vec::new(),
    }
}

pub(crate) fn with(mut finding: Finding, change: impl FnOnce(&mut Finding)) -> Finding {
    change(&mut finding);
    finding
}

pub(crate) fn about(finding: Finding, subject: &str) -> Finding {
    with(finding, |finding| {
        finding.subject = subject.to_owned();
        finding.id = format!("{}#{subject}", finding.id);
    })
}

pub(crate) fn info(finding: Finding) -> Finding {
    with(finding, |finding| finding.severity = Severity::Info)
}

pub(crate) fn numbers(finding: Finding, name: &str, observed: &str, baseline: &str) -> Finding {
    with(finding, |finding| {
        finding.evidence = vec![Evidence {
            name: name.to_owned(),
            observed: observed.to_owned(),
            baseline: baseline.to_owned(),
        }];
    })
}

#[allow(dead_code, reason = "not every test file looks at traces")]
pub(crate) fn trace(finding: Finding, id: u8) -> Finding {
    with(finding, |finding| finding.exemplars = vec![TraceId([id; 16])])
}

pub(crate) fn runbook(kind: FindingKind) -> Option<String> {
    Some(format!("look at {}", kind.name()))
}

pub(crate) fn correlator() -> Correlator {
    Correlator::new(CorrelateConfig::default())
}

pub(crate) fn fold(correlator: &mut Correlator, findings: &[Finding], at: u64) -> Vec<IncidentChange> {
    correlator.fold(findings, &runbook, second(at))
}

/// The incidents after one fold.
pub(crate) fn incidents(findings: &[Finding]) -> Vec<Incident> {
    let mut correlator = correlator();
    fold(&mut correlator, findings, 20);
    correlator.incidents().cloned().collect()
}

#[allow(dead_code, reason = "not every test file expects exactly one")]
pub(crate) fn only_incident(findings: &[Finding]) -> Incident {
    let mut incidents = incidents(findings);
    assert_eq!(incidents.len(), 1, "{incidents:#?}");
    incidents.remove(0)
}

#[allow(dead_code, reason = "not every test file looks at suspects")]
pub(crate) fn suspects(incident: &Incident) -> Vec<&str> {
    incident.suspects.iter().map(|suspect| suspect.workload.as_str()).collect()
}
