//! Quarantines to push.

use std::sync::Arc;

use selvedge_enforce::xds::PolicyWorld;
use selvedge_model::{
    Backtest, Caller, Cut, Endpoint, ObservedTime, Operation, Place, Progress, Quarantine, QuarantineState,
};

pub(crate) const NAMESPACE: &str = "shop";
pub(crate) const COURIER: &str = "spiffe://mesh.example/ns/shop/sa/courier";

/// A cut at a workload of the namespace.
pub(crate) fn cut(place: Place, workload: &str, caller: Caller) -> Cut {
    let workload =
        Endpoint { namespace: NAMESPACE.to_owned(), workload: workload.to_owned(), ..Endpoint::default() };
    Cut { place, workload, caller, hosts: Vec::new(), operations: Vec::new() }
}

pub(crate) fn courier() -> Caller {
    Caller::Principal(COURIER.to_owned())
}

pub(crate) fn operation(method: &str, route: &str) -> Operation {
    Operation { method: method.to_owned(), route: route.to_owned() }
}

/// An enforced quarantine.
pub(crate) fn quarantine(id: &str, cuts: Vec<Cut>) -> Quarantine {
    Quarantine {
        id: id.to_owned(),
        incident_id: "incident".to_owned(),
        cuts,
        state: QuarantineState::Enforced,
        progress: Progress::Planned,
        reason: "the courier reads accounts".to_owned(),
        evidence: Vec::new(),
        not_stopped: Vec::new(),
        backtest: Backtest::default(),
        owner: "engine".to_owned(),
        created: ObservedTime(1),
        ttl_seconds: 900,
        expires: None,
        renewals: 0,
        ended: String::new(),
    }
}

/// A world in which this is enforced.
pub(crate) fn world(cuts: Vec<Cut>) -> Arc<PolicyWorld> {
    let world = PolicyWorld::of(&[quarantine("selvedge-q-00000000000000a1", cuts)]);
    assert_eq!(world.refused(), []);
    Arc::new(world)
}

/// A world in which this is only reported.
pub(crate) fn shadow(cuts: Vec<Cut>) -> Arc<PolicyWorld> {
    let enforced = quarantine("selvedge-q-00000000000000a1", cuts);
    Arc::new(PolicyWorld::of(&[Quarantine { state: QuarantineState::Shadow, ..enforced }]))
}

/// Nothing is cut.
pub(crate) fn peace() -> Arc<PolicyWorld> {
    Arc::new(PolicyWorld::default())
}
