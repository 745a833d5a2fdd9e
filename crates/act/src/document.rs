//! Incidents, findings, edges, actions and alerts as JSON: the shapes that tools outside may rely on.
//!
//! `model` knows no JSON; here is the one place that gives its types a wire shape (design section 4). The order of
//! keys is the order of the fields. 64-bit integers are strings, because JSON numbers lose them in half of the
//! world's parsers. `schemas/*.v1.schema.json` are generated from these types.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use selvedge_model::{
    Action, Edge, Endpoint, EventTime, Evidence, Finding, Incident, IncidentStatus, Severity, Suspect,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::alert::{Alert, AlertStatus};
use crate::quarantine_document::QuarantineRefDocument;
pub use crate::utc::{Utc, format_utc};

/// Nanoseconds since the Unix epoch, as a string of digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixNano(pub u64);

impl Serialize for UnixNano {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UnixNano {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        digits.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for UnixNano {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UnixNano".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Nanoseconds since the Unix epoch, as a string of digits.",
            "type": "string",
            "pattern": "^[0-9]{1,20}$",
        })
    }
}

impl From<EventTime> for UnixNano {
    fn from(at: EventTime) -> Self {
        Self(at.0)
    }
}

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words of the model's severity, which explains them")]
pub enum SeverityWord {
    Info,
    Low,
    Medium,
    High,
    Critical,
}

impl From<Severity> for SeverityWord {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Info,
            Severity::Low => Self::Low,
            Severity::Medium => Self::Medium,
            Severity::High => Self::High,
            Severity::Critical => Self::Critical,
        }
    }
}

/// Where an incident is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StatusWord {
    /// Evidence came in within the quiet time.
    Open,
    /// No new evidence for the quiet time.
    Resolved,
}

impl From<IncidentStatus> for StatusWord {
    fn from(status: IncidentStatus) -> Self {
        match status {
            IncidentStatus::Open => Self::Open,
            IncidentStatus::Resolved => Self::Resolved,
        }
    }
}

/// One end of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointDocument {
    /// Cluster name; empty when it was not given.
    pub cluster: String,
    /// Namespace; empty when it was not given.
    pub namespace: String,
    /// Workload or external host; empty when nobody could be identified.
    pub workload: String,
    /// Verified identity; empty when there is none.
    pub principal: String,
}

impl From<&Endpoint> for EndpointDocument {
    fn from(endpoint: &Endpoint) -> Self {
        Self {
            cluster: endpoint.cluster.clone(),
            namespace: endpoint.namespace.clone(),
            workload: endpoint.workload.clone(),
            principal: endpoint.principal.clone(),
        }
    }
}

/// Who calls whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EdgeDocument {
    /// Caller.
    pub source: EndpointDocument,
    /// Callee.
    pub destination: EndpointDocument,
}

impl From<&Edge> for EdgeDocument {
    fn from(edge: &Edge) -> Self {
        Self { source: (&edge.source).into(), destination: (&edge.destination).into() }
    }
}

/// A workload that may be the cause.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SuspectDocument {
    /// Workload, or external host.
    pub workload: String,
    /// Namespace.
    pub namespace: String,
    /// 1 is the most likely.
    pub rank: u32,
    /// Additive score behind the rank, to three decimals.
    pub score: f64,
    /// Why, one short phrase each.
    pub reasons: Vec<String>,
}

impl From<&Suspect> for SuspectDocument {
    fn from(suspect: &Suspect) -> Self {
        Self {
            workload: suspect.workload.clone(),
            namespace: suspect.namespace.clone(),
            rank: suspect.rank,
            score: thousandths(suspect.score),
            reasons: suspect.reasons.clone(),
        }
    }
}

/// Findings that belong together: the thing a person is woken for.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "Selvedge incident v1")]
pub struct IncidentDocument {
    /// Stable over restarts: the deduplication key of every alert about it.
    pub id: String,
    /// Open or resolved.
    pub status: StatusWord,
    /// How bad.
    pub severity: SeverityWord,
    /// One sentence.
    pub title: String,
    /// Kinds of its findings, most telling first.
    pub kinds: Vec<String>,
    /// Event time at which the deviation began.
    pub onset_unix_nano: UnixNano,
    /// Event time at which the first alert would have left.
    pub opened_unix_nano: UnixNano,
    /// Event time at which it was resolved; null while it is open.
    pub closed_unix_nano: Option<UnixNano>,
    /// How often one this extreme is expected when nothing is wrong; null for deterministic checks.
    pub return_period_seconds: Option<f64>,
    /// Edges involved, weightiest first.
    pub edges: Vec<EdgeDocument>,
    /// Possible causes, most likely first.
    pub suspects: Vec<SuspectDocument>,
    /// Ids of its findings, in order of detection.
    pub finding_ids: Vec<String>,
    /// Trace ids to look at, in lower-case hex.
    pub exemplar_trace_ids: Vec<String>,
    /// ATT&CK technique ids.
    pub techniques: Vec<String>,
    /// Quarantines it led to.
    pub quarantines: Vec<QuarantineRefDocument>,
    /// One line of evidence per kind.
    pub highlights: Vec<String>,
    /// What to do next, one line each.
    pub runbook: Vec<String>,
    /// How the thresholds were chosen.
    pub calibration: String,
}

impl From<&Incident> for IncidentDocument {
    fn from(incident: &Incident) -> Self {
        Self {
            id: incident.id.clone(),
            status: incident.status.into(),
            severity: incident.severity.into(),
            title: incident.title.clone(),
            kinds: incident.kinds.iter().map(|kind| kind.name().to_owned()).collect(),
            onset_unix_nano: incident.onset.into(),
            opened_unix_nano: incident.opened.into(),
            closed_unix_nano: incident.closed.map(UnixNano::from),
            return_period_seconds: incident.return_period_seconds.map(thousandths),
            edges: incident.edges.iter().map(EdgeDocument::from).collect(),
            suspects: incident.suspects.iter().map(SuspectDocument::from).collect(),
            finding_ids: incident.finding_ids.clone(),
            exemplar_trace_ids: incident.exemplars.iter().map(ToString::to_string).collect(),
            techniques: incident.techniques.clone(),
            quarantines: incident.quarantines.iter().map(QuarantineRefDocument::from).collect(),
            highlights: incident.highlights.clone(),
            runbook: incident.runbook.clone(),
            calibration: incident.calibration.name().to_owned(),
        }
    }
}

/// One number or fact that supports a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EvidenceDocument {
    /// What was looked at, with its unit last.
    pub name: String,
    /// What was seen.
    pub observed: String,
    /// What was known or expected; empty when there is no baseline for it.
    pub baseline: String,
}

impl From<&Evidence> for EvidenceDocument {
    fn from(evidence: &Evidence) -> Self {
        Self {
            name: evidence.name.clone(),
            observed: evidence.observed.clone(),
            baseline: evidence.baseline.clone(),
        }
    }
}

/// One deviation of one edge or identity, with its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "Selvedge finding v1")]
pub struct FindingDocument {
    /// Content hash: the same deviation always has the same id.
    pub id: String,
    /// What deviated.
    pub kind: String,
    /// How bad, by the rule's level.
    pub severity: SeverityWord,
    /// The edge it is about. The source is all empty when nobody could be identified.
    pub edge: EdgeDocument,
    /// The destination is outside the mesh.
    pub external: bool,
    /// What exactly: a route, a fingerprint, a claimed identity.
    pub subject: String,
    /// Event time of the first call that deviates.
    pub onset_unix_nano: UnixNano,
    /// Event time at which it was known.
    pub detected_unix_nano: UnixNano,
    /// How often one this extreme is expected when nothing is wrong; null for deterministic checks.
    pub return_period_seconds: Option<f64>,
    /// One sentence for a person.
    pub summary: String,
    /// Numbers and facts, observed against baseline.
    pub evidence: Vec<EvidenceDocument>,
    /// How the source's name is known: `mtls_certificate`, `proxy_metadata`, `parent_span`, `address`, `header` or
    /// `none`.
    pub source_identity: String,
    /// An identity claimed without proof; empty when none was.
    pub claimed_principal: String,
    /// Trace ids to look at, in lower-case hex.
    pub exemplar_trace_ids: Vec<String>,
    /// ATT&CK technique ids.
    pub techniques: Vec<String>,
}

impl From<&Finding> for FindingDocument {
    fn from(finding: &Finding) -> Self {
        Self {
            id: finding.id.clone(),
            kind: finding.kind.name().to_owned(),
            severity: finding.severity.into(),
            edge: (&finding.edge).into(),
            external: finding.external,
            subject: finding.subject.clone(),
            onset_unix_nano: finding.onset.into(),
            detected_unix_nano: finding.detected.into(),
            return_period_seconds: finding.return_period_seconds.map(thousandths),
            summary: finding.summary.clone(),
            evidence: finding.evidence.iter().map(EvidenceDocument::from).collect(),
            source_identity: finding.source_identity.name().to_owned(),
            claimed_principal: finding.claimed_principal.clone(),
            exemplar_trace_ids: finding.exemplars.iter().map(ToString::to_string).collect(),
            techniques: finding.techniques.clone(),
        }
    }
}

/// One decision to act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ActionDocument {
    /// `alert_firing`, `alert_resolved`, or `quarantine_` and its new state.
    pub kind: String,
    /// The incident, and the deduplication key.
    pub incident_id: String,
    /// How bad, when it was decided.
    pub severity: SeverityWord,
    /// The incident's title at that moment.
    pub title: String,
    /// Event time of the decision.
    pub at_unix_nano: UnixNano,
    /// The quarantine; not there for an alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quarantine_id: Option<String>,
}

impl From<&Action> for ActionDocument {
    fn from(action: &Action) -> Self {
        Self {
            kind: action.kind.name().to_owned(),
            incident_id: action.incident_id.clone(),
            severity: action.severity.into(),
            title: action.title.clone(),
            at_unix_nano: action.at.into(),
            quarantine_id: Some(action.quarantine_id.clone()).filter(|id| !id.is_empty()),
        }
    }
}

/// What an alert is: its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum AlertType {
    /// The incident is open.
    #[serde(rename = "alert.firing")]
    Firing,
    /// The alert is withdrawn: no new evidence for the quiet time.
    #[serde(rename = "alert.resolved")]
    Resolved,
}

/// An alert, as a webhook's body and as a line of the alert file: the envelope of Standard Webhooks.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[schemars(title = "Selvedge alert v1")]
pub struct AlertMessage {
    /// Firing or resolved.
    #[serde(rename = "type")]
    pub kind: AlertType,
    /// Event time of the decision, RFC 3339 in UTC.
    #[schemars(extend("format" = "date-time"))]
    pub timestamp: String,
    /// What it is about.
    pub data: AlertDocument,
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AlertDocument {
    /// The same for every alert about this incident, over restarts.
    pub deduplication_key: String,
    /// Event time of the decision.
    pub at_unix_nano: UnixNano,
    /// Where to read on; null when no external address is configured.
    pub url: Option<String>,
    /// The incident as it is now.
    pub incident: IncidentDocument,
}

impl AlertDocument {
    /// The document of an alert; `url` is where people can read on.
    #[must_use]
    pub fn new(alert: &Alert, url: Option<String>) -> Self {
        Self {
            deduplication_key: alert.incident.id.clone(),
            at_unix_nano: alert.at.into(),
            url,
            incident: (&alert.incident).into(),
        }
    }
}

impl AlertMessage {
    /// The message of an alert; `url` is where people can read on.
    #[must_use]
    pub fn new(alert: &Alert, url: Option<String>) -> Self {
        let kind = match alert.status {
            AlertStatus::Firing => AlertType::Firing,
            AlertStatus::Resolved => AlertType::Resolved,
        };
        Self { kind, timestamp: format_utc(alert.at).to_string(), data: AlertDocument::new(alert, url) }
    }
}

/// To three decimals: enough for a person, and noise in the last bits never reaches a file that is compared.
fn thousandths(value: f64) -> f64 {
    let rounded = (value * 1e3).round() / 1e3;
    if rounded.is_finite() { rounded } else { value }
}
