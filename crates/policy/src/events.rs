//! What the flow says of quarantines, and what enforcement says back.

use selvedge_model::{Action, ActionKind, EventTime, Quarantine, Severity};

use crate::lifecycle::{Change, QuarantineEvent};

/// Something that was decided about an incident, or happened to a quarantine.
#[derive(Clone, Debug)]
pub enum ContainmentEvent {
    /// A quarantine changed; as it is now. Absent when it is no longer remembered.
    Quarantine(QuarantineEvent, Option<Box<Quarantine>>),
    /// An incident gets no quarantine (or not all that it might), and why.
    Refused {
        /// The incident.
        incident_id: String,
        /// What it would have been, for people; empty when nobody could be named.
        subject: String,
        /// All reasons.
        reasons: Vec<String>,
    },
}

impl ContainmentEvent {
    /// What was done about the incident, if this is more than a step on the way.
    #[must_use]
    pub fn action(&self, at: EventTime, severity: Severity) -> Option<Action> {
        let Self::Quarantine(event, Some(quarantine)) = self else { return None };
        let harmed = event.change == Change::RolledBack;
        (event.change.moves_proxies() || event.change == Change::Proposed).then(|| Action {
            kind: ActionKind::Quarantine(quarantine.state),
            incident_id: quarantine.incident_id.clone(),
            severity,
            title: if harmed { quarantine.ended.clone() } else { quarantine.reason.clone() },
            quarantine_id: quarantine.id.clone(),
            at,
        })
    }
}

/// What a push has come to at the proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushReport {
    /// It is stored, and on its way.
    Pushed {
        /// The quarantine.
        id: String,
    },
    /// So many of the connected proxies that should have it do.
    Acknowledged {
        /// The quarantine.
        id: String,
        /// Connected proxies of its workloads.
        nodes: usize,
        /// Those that have taken it.
        acked: usize,
    },
    /// A proxy refused it, or it could not be stored or sent.
    Rejected {
        /// The quarantine.
        id: String,
        /// Who refused.
        by: String,
        /// Why.
        why: String,
    },
}
