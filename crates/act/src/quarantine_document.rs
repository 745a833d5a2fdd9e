//! A quarantine as JSON: what the API answers, webhooks carry and `actions.jsonl` holds.

use schemars::JsonSchema;
use selvedge_model::{
    Backtest, BacktestCaller, Caller, Cut, Operation, Place, Progress, Quarantine, QuarantineRef,
};
use serde::{Deserialize, Serialize};

use crate::document::{EndpointDocument, UnixNano};

/// A quarantine that an incident led to, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuarantineRefDocument {
    /// Id of the quarantine.
    pub id: String,
    /// `proposed`, `shadow`, `enforced`, `lifted` or `expired`.
    pub state: String,
    /// Who is cut from what, and why.
    pub reason: String,
}

impl From<&QuarantineRef> for QuarantineRefDocument {
    fn from(known: &QuarantineRef) -> Self {
        Self { id: known.id.clone(), state: known.state.name().to_owned(), reason: known.reason.clone() }
    }
}

/// Which requests of a cut; an empty field matches any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperationDocument {
    /// HTTP method.
    pub method: String,
    /// Route template.
    pub route: String,
}

impl From<&Operation> for OperationDocument {
    fn from(operation: &Operation) -> Self {
        Self { method: operation.method.clone(), route: operation.route.clone() }
    }
}

/// One deny rule at one workload's proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CutDocument {
    /// `inbound`: the destination's proxy. `outbound`: the source's own.
    pub place: String,
    /// At whose proxies.
    pub workload: EndpointDocument,
    /// `principal`, `unauthenticated` or `local`.
    pub caller: String,
    /// The identity that is refused; empty unless `caller` is `principal`.
    pub principal: String,
    /// Hosts that are refused, outbound; empty refuses every one.
    pub hosts: Vec<String>,
    /// Requests that are refused; empty refuses every one.
    pub operations: Vec<OperationDocument>,
}

impl From<&Cut> for CutDocument {
    fn from(cut: &Cut) -> Self {
        let (caller, principal) = match &cut.caller {
            Caller::Principal(principal) => ("principal", principal.as_str()),
            Caller::Unauthenticated => ("unauthenticated", ""),
            Caller::Local => ("local", ""),
        };
        let place = match cut.place {
            Place::Inbound => "inbound",
            Place::Outbound => "outbound",
        };
        Self {
            place: place.to_owned(),
            workload: (&cut.workload).into(),
            caller: caller.to_owned(),
            principal: principal.to_owned(),
            hosts: cut.hosts.clone(),
            operations: cut.operations.iter().map(OperationDocument::from).collect(),
        }
    }
}

/// Calls of one caller in a backtest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BacktestCallerDocument {
    /// Who.
    pub caller: EndpointDocument,
    /// Calls that would have been denied.
    pub denied: u64,
    /// Of those, normal ones before the onset.
    pub denied_normal: u64,
}

impl From<&BacktestCaller> for BacktestCallerDocument {
    fn from(caller: &BacktestCaller) -> Self {
        Self { caller: (&caller.caller).into(), denied: caller.denied, denied_normal: caller.denied_normal }
    }
}

/// Calls of one route in a backtest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BacktestRouteDocument {
    /// Method and route template.
    pub route: String,
    /// Calls that would have been denied.
    pub denied: u64,
}

/// What the recent traffic says a quarantine would have done. Counts are calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BacktestDocument {
    /// First second looked at, Unix time.
    pub from_unix_seconds: u64,
    /// First second that was not.
    pub until_unix_seconds: u64,
    /// Calls to or from the workloads of the cuts.
    pub considered: u64,
    /// Calls that would have been denied.
    pub denied: u64,
    /// Of those, normal ones before the onset: the harm.
    pub denied_normal: u64,
    /// Calls of which the record does not say enough.
    pub undecided: u64,
    /// Whose, most first.
    pub callers: Vec<BacktestCallerDocument>,
    /// What, most first.
    pub routes: Vec<BacktestRouteDocument>,
    /// Callers and routes that found no room in the lists.
    pub more: u64,
}

impl From<&Backtest> for BacktestDocument {
    fn from(backtest: &Backtest) -> Self {
        let route =
            |(route, denied): &(String, u64)| BacktestRouteDocument { route: route.clone(), denied: *denied };
        Self {
            from_unix_seconds: backtest.from_seconds,
            until_unix_seconds: backtest.until_seconds,
            considered: backtest.considered,
            denied: backtest.denied,
            denied_normal: backtest.denied_normal,
            undecided: backtest.undecided,
            callers: backtest.callers.iter().map(BacktestCallerDocument::from).collect(),
            routes: backtest.routes.iter().map(route).collect(),
            more: backtest.more,
        }
    }
}

/// A leased deny with everything that led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Selvedge quarantine v1")]
pub struct QuarantineDocument {
    /// Its name at the enforcement point as well.
    pub id: String,
    /// The incident it answers.
    pub incident_id: String,
    /// `proposed`, `shadow`, `enforced`, `lifted` or `expired`.
    pub state: String,
    /// `planned`, `pushed`, `acknowledged`, `effective` or `ineffective`.
    pub progress: String,
    /// Why it is ineffective; empty when it is not.
    pub progress_reason: String,
    /// Who is cut from what, and why.
    pub reason: String,
    /// What is denied.
    pub cuts: Vec<CutDocument>,
    /// Ids of the findings it rests on.
    pub evidence: Vec<String>,
    /// What it does not stop, one sentence each.
    pub not_stopped: Vec<String>,
    /// What the recent traffic says of it.
    pub backtest: BacktestDocument,
    /// Who decided.
    pub owner: String,
    /// When it was decided.
    pub created_unix_nano: UnixNano,
    /// How long a lease lasts.
    pub ttl_seconds: u64,
    /// When the lease runs out; null while nothing is leased.
    pub expires_unix_nano: Option<UnixNano>,
    /// How often it was renewed.
    pub renewals: u32,
    /// Why it ended; empty until then.
    pub ended: String,
}

impl From<&Quarantine> for QuarantineDocument {
    fn from(quarantine: &Quarantine) -> Self {
        let progress_reason = match &quarantine.progress {
            Progress::Ineffective(why) => why.clone(),
            _ => String::new(),
        };
        Self {
            id: quarantine.id.clone(),
            incident_id: quarantine.incident_id.clone(),
            state: quarantine.state.name().to_owned(),
            progress: quarantine.progress.name().to_owned(),
            progress_reason,
            reason: quarantine.reason.clone(),
            cuts: quarantine.cuts.iter().map(CutDocument::from).collect(),
            evidence: quarantine.evidence.clone(),
            not_stopped: quarantine.not_stopped.clone(),
            backtest: (&quarantine.backtest).into(),
            owner: quarantine.owner.clone(),
            created_unix_nano: UnixNano(quarantine.created.0),
            ttl_seconds: quarantine.ttl_seconds,
            expires_unix_nano: quarantine.expires.map(|at| UnixNano(at.0)),
            renewals: quarantine.renewals,
            ended: quarantine.ended.clone(),
        }
    }
}
