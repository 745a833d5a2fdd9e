//! The words of a quarantine's life: what can be decided, what can happen, why a command is not carried out.

use selvedge_model::hash::StableHasher;
use selvedge_model::quarantine::QUARANTINE_ID_PREFIX;
use selvedge_model::{Caller, Cut, ObservedTime, Place};
use thiserror::Error;

use crate::guard::Refusal;
use crate::lease::Now;

/// Who decides when no person did.
pub const ENGINE: &str = "engine";
/// What happened to a quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It waits for a person.
    Proposed,
    /// To be pushed as a dry run.
    Shadowed,
    /// To be pushed.
    Enforced,
    /// Its lease begins anew.
    Renewed,
    /// The wall clock was set: the written end of the lease is corrected.
    Rescheduled,
    /// The driver has sent it.
    Pushed,
    /// Every proxy has taken it.
    Acknowledged,
    /// A proxy has refused it.
    Rejected,
    /// Telemetry proves that it works.
    Effective,
    /// Telemetry proves that it does not.
    Ineffective,
    /// Taken back; to be removed from proxies.
    Lifted,
    /// Taken back because it did harm; to be removed from proxies.
    RolledBack,
    /// Its lease ran out, or nobody approved it; to be removed from proxies.
    Expired,
    /// No longer remembered.
    Forgotten,
}

impl Change {
    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Shadowed => "shadowed",
            Self::Enforced => "enforced",
            Self::Renewed => "renewed",
            Self::Rescheduled => "rescheduled",
            Self::Pushed => "pushed",
            Self::Acknowledged => "acknowledged",
            Self::Rejected => "rejected",
            Self::Effective => "effective",
            Self::Ineffective => "ineffective",
            Self::Lifted => "lifted",
            Self::RolledBack => "rolled_back",
            Self::Expired => "expired",
            Self::Forgotten => "forgotten",
        }
    }

    /// True when what proxies should have is another set than before.
    #[must_use]
    pub fn moves_proxies(self) -> bool {
        matches!(self, Self::Shadowed | Self::Enforced | Self::Lifted | Self::RolledBack | Self::Expired)
    }
}

/// One change of one quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineEvent {
    /// Which.
    pub id: String,
    /// What happened.
    pub change: Change,
    /// Who did it: `engine`, or a person.
    pub who: String,
    /// Why, one sentence; may be empty.
    pub why: String,
    /// When, by our wall clock.
    pub at: ObservedTime,
}

/// What was decided about a candidate.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It waits for a person.
    Propose(String),
    /// It is to be pushed as a dry run.
    Shadow(String),
    /// It is to be pushed.
    Enforce(String),
    /// All of it is denied or proposed already, by these; their leases got the evidence.
    Standing(Vec<String>),
    /// It must not be, for all of these reasons.
    Refuse(Vec<Refusal>),
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// No such id.
    #[error("there is no quarantine {id}")]
    Unknown {
        /// The id.
        id: String,
    },
    /// It has ended.
    #[error("quarantine {id} has ended: {ended}")]
    Ended {
        /// The id.
        id: String,
        /// Why.
        ended: String,
    },
    /// The kill switch is on.
    #[error("the kill switch is on")]
    KillSwitch,
    /// Too many are live.
    #[error("{active_max} quarantines are live, and no more may be")]
    ActiveMax {
        /// How many may be.
        active_max: usize,
    },
}

/// The id of a quarantine: the same incident and cuts, in any order, are the same quarantine.
#[must_use]
pub fn quarantine_id(incident_id: &str, cuts: &[Cut]) -> String {
    let mut sorted: Vec<&Cut> = cuts.iter().collect();
    sorted.sort_unstable();
    let mut hasher = StableHasher::default().field(incident_id.as_bytes());
    for cut in sorted {
        let (caller, principal) = match &cut.caller {
            Caller::Principal(principal) => ("principal", principal.as_str()),
            Caller::Unauthenticated => ("unauthenticated", ""),
            Caller::Local => ("local", ""),
        };
        let place = if cut.place == Place::Inbound { "inbound" } else { "outbound" };
        let at = &cut.workload;
        for word in [place, &at.cluster, &at.namespace, &at.workload, caller, principal] {
            hasher = hasher.field(word.as_bytes());
        }
        hasher = hasher.field(&(cut.hosts.len() as u64).to_le_bytes());
        hasher = cut.hosts.iter().fold(hasher, |hasher, host| hasher.field(host.as_bytes()));
        hasher = hasher.field(&(cut.operations.len() as u64).to_le_bytes());
        for operation in &cut.operations {
            hasher = hasher.field(operation.method.as_bytes()).field(operation.route.as_bytes());
        }
    }
    format!("{QUARANTINE_ID_PREFIX}{}", hasher.hex())
}

pub(crate) fn event(id: &str, change: Change, who: &str, why: &str, now: Now) -> QuarantineEvent {
    QuarantineEvent { id: id.to_owned(), change, who: who.to_owned(), why: why.to_owned(), at: now.wall }
}
