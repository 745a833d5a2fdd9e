//! What several tests of this crate need: a quarantine, a change, a moment.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::time::Duration;

use selvedge_enforce::store::{Change, Lease, Moment};
use selvedge_model::{
    Backtest, BacktestCaller, Caller, Cut, Endpoint, ObservedTime, Operation, Place, Progress, Quarantine,
    QuarantineState, SteadyTime,
};

pub(crate) const SECOND: u64 = 1_000_000_000;
/// Where the wall clock of the tests begins.
pub(crate) const EPOCH: u64 = 1_700_000_000;

/// A moment: seconds of the wall clock since the tests' beginning, and of the steady clock.
pub(crate) fn moment(wall_seconds: u64, steady_seconds: u64) -> Moment {
    Moment {
        wall: ObservedTime((EPOCH + wall_seconds) * SECOND),
        steady: SteadyTime(steady_seconds * SECOND),
    }
}

/// The moment `seconds` after the beginning, by both clocks.
pub(crate) fn after(seconds: u64) -> Moment {
    moment(seconds, seconds)
}

/// A quarantine with something in every field.
pub(crate) fn quarantine(id: &str, state: QuarantineState) -> Quarantine {
    let endpoint = |workload: &str| Endpoint {
        cluster: "c1".to_owned(),
        namespace: "shop".to_owned(),
        workload: workload.to_owned(),
        principal: format!("spiffe://mesh/ns/shop/sa/{workload}"),
    };
    let inbound = Cut {
        place: Place::Inbound,
        workload: endpoint("ledger"),
        caller: Caller::Principal("spiffe://mesh/ns/shop/sa/courier".to_owned()),
        hosts: Vec::new(),
        operations: vec![Operation { method: "POST".to_owned(), route: "/entries/{id}".to_owned() }],
    };
    let outbound = Cut {
        place: Place::Outbound,
        workload: endpoint("courier"),
        caller: Caller::Local,
        hosts: vec!["drop.example".to_owned()],
        operations: Vec::new(),
    };
    let plain = Cut { caller: Caller::Unauthenticated, ..inbound.clone() };
    Quarantine {
        id: id.to_owned(),
        incident_id: "incident-1".to_owned(),
        cuts: vec![inbound, outbound, plain],
        state,
        progress: Progress::Ineffective("two calls got through".to_owned()),
        reason: "courier went where it never went: \u{2018}ledger\u{2019}".to_owned(),
        evidence: vec!["finding-1".to_owned(), "finding-2".to_owned()],
        not_stopped: vec!["another certificate of the same identity".to_owned()],
        backtest: Backtest {
            from_seconds: 1,
            until_seconds: 601,
            considered: u64::MAX,
            denied: 3,
            denied_normal: 1,
            undecided: 2,
            callers: vec![BacktestCaller { caller: endpoint("courier"), denied: 3, denied_normal: 1 }],
            routes: vec![("POST /entries/{id}".to_owned(), 3)],
            more: 4,
        },
        owner: "engine".to_owned(),
        created: ObservedTime(EPOCH * SECOND + 7),
        ttl_seconds: 600,
        expires: None,
        renewals: 2,
        ended: String::new(),
    }
}

/// A change decided on a revision.
pub(crate) fn change(quarantine: Quarantine, expected: u64, lease: Lease) -> Change {
    Change { quarantine, expected, lease, who: "engine".to_owned(), what: "tested".to_owned() }
}

/// A lease of so many seconds from now.
pub(crate) fn grant(seconds: u64) -> Lease {
    Lease::Grant(Duration::from_secs(seconds))
}
