//! Findings that belong together: the thing a person is woken for.

use crate::edge::Edge;
use crate::finding::{FindingKind, Severity};
use crate::id::TraceId;
use crate::quarantine::{Quarantine, QuarantineState};
use crate::time::EventTime;
use serde::{Deserialize, Serialize};

/// Where an incident is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IncidentStatus {
    /// Evidence came in within the quiet time.
    Open,
    /// No new evidence for the quiet time.
    Resolved,
}

impl IncidentStatus {
    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
        }
    }
}

/// A workload that may be the cause, most likely first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// Workload, or external host.
    pub workload: String,
    /// Namespace.
    pub namespace: String,
    /// 1 is the most likely.
    pub rank: u32,
    /// Additive score behind the rank.
    pub score: f64,
    /// Why, one short phrase each.
    pub reasons: Vec<String>,
}

/// A quarantine that an incident led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRef {
    /// Its id.
    pub id: String,
    /// Where it is in its life.
    pub state: QuarantineState,
    /// Who is cut from what, and why.
    pub reason: String,
}

impl QuarantineRef {
    /// Of a quarantine as it is.
    #[must_use]
    pub fn of(quarantine: &Quarantine) -> Self {
        Self { id: quarantine.id.clone(), state: quarantine.state, reason: quarantine.reason.clone() }
    }
}

/// Findings that share calls, identity or neighbouring edges, close in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Content hash of the first finding: stable over restarts, the deduplication key of every alert about it.
    pub id: String,
    /// Open or resolved.
    pub status: IncidentStatus,
    /// The worst of its findings, raised when independent kinds agree.
    pub severity: Severity,
    /// A sentence that a tired person understands.
    pub title: String,
    /// Kinds of its findings, most telling first.
    pub kinds: Vec<FindingKind>,
    /// Earliest onset of its findings.
    pub onset: EventTime,
    /// Event time at which the first alert would have left.
    pub opened: EventTime,
    /// Event time of the last new evidence.
    pub updated: EventTime,
    /// Event time at which it was resolved.
    pub closed: Option<EventTime>,
    /// Longest return period of its findings.
    pub return_period_seconds: Option<f64>,
    /// Edges involved, in the order of their findings' weight.
    pub edges: Vec<Edge>,
    /// Possible causes, most likely first. Never an identity that was only claimed.
    pub suspects: Vec<Suspect>,
    /// Ids of its findings, in order of detection.
    pub finding_ids: Vec<String>,
    /// Traces to look at.
    pub exemplars: Vec<TraceId>,
    /// ATT&CK technique ids.
    pub techniques: Vec<String>,
    /// One line of evidence per finding kind, for alerts.
    pub highlights: Vec<String>,
    /// What to do next: runbook lines of the rules.
    pub runbook: Vec<String>,
    /// Quarantines it led to, oldest first.
    pub quarantines: Vec<QuarantineRef>,
    /// How thresholds were chosen.
    pub calibration: Calibration,
}

/// How thresholds were chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Calibration {
    /// By the rules: until a mesh has history of its own (design section 7).
    #[default]
    Default,
    /// By the mesh's own record, as return periods are.
    Calibrated,
}

impl Calibration {
    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Calibrated => "calibrated",
        }
    }
}
