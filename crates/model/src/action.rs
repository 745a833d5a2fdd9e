//! What we do about an incident.

use crate::finding::Severity;
use crate::quarantine::QuarantineState;
use crate::time::EventTime;

/// Which action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionKind {
    /// An alert goes out, or goes out again because the incident became worse.
    AlertFiring,
    /// The alert is withdrawn.
    AlertResolved,
    /// A quarantine came into this state.
    Quarantine(QuarantineState),
}

impl ActionKind {
    /// Snake-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AlertFiring => "alert_firing",
            Self::AlertResolved => "alert_resolved",
            Self::Quarantine(QuarantineState::Proposed) => "quarantine_proposed",
            Self::Quarantine(QuarantineState::Shadow) => "quarantine_shadow",
            Self::Quarantine(QuarantineState::Enforced) => "quarantine_enforced",
            Self::Quarantine(QuarantineState::Lifted) => "quarantine_lifted",
            Self::Quarantine(QuarantineState::Expired) => "quarantine_expired",
        }
    }
}

/// One decision to act. What a sink made of it stands in the delivery ledger, not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Which.
    pub kind: ActionKind,
    /// The incident, and the deduplication key.
    pub incident_id: String,
    /// How bad, when it was decided.
    pub severity: Severity,
    /// The incident's title at that moment; of a quarantine, who is cut from what, and why.
    pub title: String,
    /// The quarantine; empty for an alert.
    pub quarantine_id: String,
    /// Event time of the decision.
    pub at: EventTime,
}
