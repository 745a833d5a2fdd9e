//! A quarantine: a leased deny. Who, to whom, until when, on what evidence, in which state.
//!
//! All in words, not symbols: a quarantine outlives the process and its symbol table, and people read it.

use std::fmt;

use crate::edge::Endpoint;
use crate::time::ObservedTime;
use serde::{Deserialize, Serialize};

/// What the id of every quarantine starts with: it is the policy's name at the enforcement point, so telemetry tells ours
/// from other people's.
pub const QUARANTINE_ID_PREFIX: &str = "selvedge-q-";

/// Which side's proxy refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The destination's proxy, before the request reaches its workload.
    Inbound,
    /// The source's own proxy, before the request leaves. It stops only what goes through that proxy.
    Outbound,
}

/// Who is refused, as the enforcing proxy can prove it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// A peer whose certificate was verified and carries exactly this identity (`spiffe://...`).
    Principal(String),
    /// A peer that proved no identity: plaintext, or TLS without a client certificate.
    Unauthenticated,
    /// Whoever uses this proxy to go out. Only for [`Place::Outbound`].
    Local,
}

/// Which requests. An empty field matches any; both must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Operation {
    /// HTTP method, upper case.
    pub method: String,
    /// Route template (`/orders/{id}`), as learned: `{...}` stands for one path segment, `{*}` for the rest.
    pub route: String,
}

/// One deny rule at one workload's proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cut {
    /// Which side.
    pub place: Place,
    /// The workload at whose proxies it is enforced. Its principal says whom it belongs to and matches nothing.
    pub workload: Endpoint,
    /// Who is refused.
    pub caller: Caller,
    /// For [`Place::Outbound`]: hosts (authority without port) that are refused; empty refuses every one.
    pub hosts: Vec<String>,
    /// Which requests; empty refuses every one.
    pub operations: Vec<Operation>,
}

/// One line for people: `inbound at store/ledger: spiffe://... GET /entries/{id}`.
impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            Place::Inbound => "inbound",
            Place::Outbound => "outbound",
        };
        let caller = match &self.caller {
            Caller::Principal(principal) => principal.as_str(),
            Caller::Unauthenticated => "whoever proves no identity",
            Caller::Local => "itself",
        };
        write!(f, "{place} at {}: {caller}", self.workload.label())?;
        let operation = |one: &Operation| format!("{} {}", one.method, one.route).trim().to_owned();
        let what: Vec<String> =
            self.hosts.iter().cloned().chain(self.operations.iter().map(operation)).collect();
        if what.is_empty() { Ok(()) } else { write!(f, " {}", what.join(", ")) }
    }
}

/// What the recent traffic says a quarantine would have done. Counts are calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backtest {
    /// First second of the traffic that was looked at, Unix time.
    pub from_seconds: u64,
    /// First second that was not.
    pub until_seconds: u64,
    /// Calls looked at: those to (inbound) or from (outbound) the workloads of the cuts.
    pub considered: u64,
    /// Of those, calls that would have been denied.
    pub denied: u64,
    /// Of those, calls before the onset of the incident that were normal for their edge: the harm.
    pub denied_normal: u64,
    /// Calls of which the record does not say enough to decide.
    pub undecided: u64,
    /// Who would have been denied, most calls first.
    pub callers: Vec<BacktestCaller>,
    /// What would have been denied, most calls first: `METHOD route`.
    pub routes: Vec<(String, u64)>,
    /// Entries that found no room in the two lists.
    pub more: u64,
}

/// One caller in a backtest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BacktestCaller {
    /// Who, with the verified principal; all empty when nobody could be identified.
    pub caller: Endpoint,
    /// Calls denied.
    pub denied: u64,
    /// Of those, normal ones before the onset.
    pub denied_normal: u64,
}

impl Backtest {
    /// Denied calls as a share of those looked at, 0 to 1; 0 when there were none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people; 2^53 calls are enough")]
    pub fn denied_share(&self) -> f64 {
        if self.considered == 0 { 0.0 } else { self.denied as f64 / self.considered as f64 }
    }
}

/// Where a quarantine is in its life (design section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum QuarantineState {
    /// A plan that waits for a person or for the mode to change. Enforces nothing.
    Proposed,
    /// Pushed as a dry run: proxies report what they would deny.
    Shadow,
    /// Pushed: proxies deny.
    Enforced,
    /// Taken back by command, by API, or because it did harm.
    Lifted,
    /// Its lease ran out.
    Expired,
}

impl QuarantineState {
    /// All, in the order of a life.
    pub const ALL: [Self; 5] = [Self::Proposed, Self::Shadow, Self::Enforced, Self::Lifted, Self::Expired];

    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Shadow => "shadow",
            Self::Enforced => "enforced",
            Self::Lifted => "lifted",
            Self::Expired => "expired",
        }
    }

    /// From the lower-case name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// True while proxies should have it.
    #[must_use]
    pub fn live(self) -> bool {
        matches!(self, Self::Shadow | Self::Enforced)
    }

    /// True when nothing can happen to it any more.
    #[must_use]
    pub fn ended(self) -> bool {
        matches!(self, Self::Lifted | Self::Expired)
    }
}

/// How far a live quarantine has come, and what telemetry says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Progress {
    /// Nothing was sent.
    #[default]
    Planned,
    /// Sent to the proxies; not all have taken it.
    Pushed,
    /// Every connected proxy of the cut workloads has taken it.
    Acknowledged,
    /// Telemetry shows denials under its name, and nothing it matches got through since.
    Effective,
    /// It does not do what it should, and why.
    Ineffective(String),
}

impl Progress {
    /// Lower-case name, without the reason.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Pushed => "pushed",
            Self::Acknowledged => "acknowledged",
            Self::Effective => "effective",
            Self::Ineffective(_) => "ineffective",
        }
    }
}

/// A leased deny with everything that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// [`QUARANTINE_ID_PREFIX`] and 16 hex digits: a hash of incident and cuts, so that the same decision twice is one quarantine.
    /// It is the policy's name at the enforcement point, and comes back in telemetry.
    pub id: String,
    /// The incident it answers.
    pub incident_id: String,
    /// What is denied. Never empty.
    pub cuts: Vec<Cut>,
    /// Where it is in its life.
    pub state: QuarantineState,
    /// How far it has come.
    pub progress: Progress,
    /// One sentence for people: who is cut from what, and why.
    pub reason: String,
    /// Ids of the findings it rests on.
    pub evidence: Vec<String>,
    /// What it does not stop, one sentence each.
    pub not_stopped: Vec<String>,
    /// What the recent traffic says of it.
    pub backtest: Backtest,
    /// Who decided: `engine`, or the person whose token approved it.
    pub owner: String,
    /// When it was decided, by our wall clock.
    pub created: ObservedTime,
    /// How long a lease lasts from its grant or renewal, in seconds.
    pub ttl_seconds: u64,
    /// When the lease runs out, by our wall clock; `None` while nothing is leased.
    pub expires: Option<ObservedTime>,
    /// How often the lease was renewed.
    pub renewals: u32,
    /// Why it ended; empty until then.
    pub ended: String,
}
