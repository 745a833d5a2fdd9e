//! What is told to a sink: an incident, and whether the alert fires or is withdrawn.

use selvedge_model::{EventTime, Incident};

/// Whether an alert is raised or withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertStatus {
    /// The incident is open.
    Firing,
    /// No new evidence for the quiet time.
    Resolved,
}

impl AlertStatus {
    /// Lower-case name, as Alertmanager has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// Something to tell people.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Raised or withdrawn.
    pub status: AlertStatus,
    /// The incident as it was when that was decided.
    pub incident: Incident,
    /// Event time of the decision.
    pub at: EventTime,
}
