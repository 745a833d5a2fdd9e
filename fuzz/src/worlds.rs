//! What is published over xDS while a proxy speaks: nothing, one cut, the same as a dry run, another one.

use std::sync::Arc;

use selvedge_enforce::xds::PolicyWorld;
use selvedge_model::{
    Backtest, Caller, Cut, Endpoint, ObservedTime, Operation, Place, Progress, Quarantine, QuarantineState,
};

pub(crate) fn all() -> [Arc<PolicyWorld>; 4] {
    let courier = Caller::Principal("spiffe://mesh.example/ns/store/sa/courier".to_owned());
    let inbound = cut(Place::Inbound, "cart", courier);
    let outbound = cut(Place::Outbound, "courier", Caller::Local);
    let enforced = quarantine(vec![inbound.clone(), outbound]);
    let shadow = Quarantine { state: QuarantineState::Shadow, ..enforced.clone() };
    let other = quarantine(vec![inbound]);
    [vec![], vec![enforced], vec![shadow], vec![other]]
        .map(|quarantines| Arc::new(PolicyWorld::of(&quarantines)))
}

fn cut(place: Place, workload: &str, caller: Caller) -> Cut {
    let (namespace, workload) = ("store".to_owned(), workload.to_owned());
    let operations = vec![Operation { method: "GET".to_owned(), route: "/carts/{id}".to_owned() }];
    let workload = Endpoint { namespace, workload, ..Endpoint::default() };
    Cut { place, workload, caller, hosts: Vec::new(), operations }
}

fn quarantine(cuts: Vec<Cut>) -> Quarantine {
    Quarantine {
        id: "selvedge-q-00000000000000a1".to_owned(),
        incident_id: "incident".to_owned(),
        cuts,
        state: QuarantineState::Enforced,
        progress: Progress::Planned,
        reason: "the courier reads carts".to_owned(),
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
