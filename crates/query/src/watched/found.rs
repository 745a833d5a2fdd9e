//! Rows of findings, incidents and fates.

use std::collections::HashMap;

use selvedge_model::{Edge, EventTime, Evidence, Fate, FateLedger, Finding, Incident, SignalKind, TraceId};

use crate::watched::rows::{Rows, Value};

pub(crate) fn findings(findings: &[Finding], incidents: &[Incident]) -> Rows {
    let mut incident_of: HashMap<&str, &str> = HashMap::new();
    for incident in incidents {
        incident_of.extend(incident.finding_ids.iter().map(|id| (id.as_str(), incident.id.as_str())));
    }
    findings.iter().map(|found| finding(found, incident_of.get(found.id.as_str()).copied())).collect()
}

fn finding(found: &Finding, incident: Option<&str>) -> Vec<Value> {
    let (source, destination) = (&found.edge.source, &found.edge.destination);
    vec![
        Value::time(found.detected),
        Value::time(found.onset),
        Value::text(&found.id),
        Value::text(found.kind.name()),
        Value::text(found.severity.name()),
        Value::text(&found.summary),
        Value::text(&found.subject),
        Value::text(&source.cluster),
        Value::text(&source.namespace),
        Value::text(&source.workload),
        Value::text(&source.principal),
        Value::text(found.source_identity.name()),
        Value::text(&destination.cluster),
        Value::text(&destination.namespace),
        Value::text(&destination.workload),
        Value::text(&destination.principal),
        Value::Flag(found.external),
        Value::text(&found.claimed_principal),
        Value::number(found.return_period_seconds),
        Value::Texts(found.evidence.iter().map(evidence).collect()),
        trace_ids(&found.exemplars),
        Value::Texts(found.techniques.clone()),
        Value::text(incident.unwrap_or("")),
    ]
}

fn evidence(evidence: &Evidence) -> String {
    let Evidence { name, observed, baseline } = evidence;
    if baseline.is_empty() { format!("{name}={observed}") } else { format!("{name}={observed} ({baseline})") }
}

fn trace_ids(traces: &[TraceId]) -> Value {
    Value::Texts(traces.iter().map(ToString::to_string).collect())
}

pub(crate) fn incidents(incidents: &[Incident]) -> Rows {
    incidents.iter().map(incident).collect()
}

fn incident(incident: &Incident) -> Vec<Value> {
    let suspect = |namespace: &str, workload: &str| match namespace {
        "" => workload.to_owned(),
        namespace => format!("{namespace}/{workload}"),
    };
    let suspects = incident.suspects.iter();
    vec![
        Value::time(incident.opened),
        Value::time(incident.onset),
        Value::time(incident.updated),
        Value::time(incident.closed.unwrap_or(EventTime::ABSENT)),
        Value::text(&incident.id),
        Value::text(incident.status.name()),
        Value::text(incident.severity.name()),
        Value::text(&incident.title),
        Value::Texts(incident.kinds.iter().map(|kind| kind.name().to_owned()).collect()),
        Value::Texts(incident.edges.iter().map(Edge::label).collect()),
        Value::Texts(suspects.map(|found| suspect(&found.namespace, &found.workload)).collect()),
        Value::number(incident.return_period_seconds),
        Value::Texts(incident.finding_ids.clone()),
        trace_ids(&incident.exemplars),
        Value::Texts(incident.techniques.clone()),
        Value::text(incident.calibration.name()),
    ]
}

pub(crate) fn fates(ledger: &FateLedger) -> Rows {
    let row = |signal: SignalKind, fate: Fate| {
        vec![Value::text(signal.name()), Value::text(fate.name()), Value::whole(ledger.count(signal, fate))]
    };
    SignalKind::ALL
        .into_iter()
        .flat_map(|signal| Fate::ALL.into_iter().map(move |fate| row(signal, fate)))
        .collect()
}
