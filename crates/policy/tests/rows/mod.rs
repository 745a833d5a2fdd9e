//! Rows and quarantines that tests start from.
#![allow(dead_code, reason = "each test file uses some of it")]

use selvedge_model::{
    Backtest, BacktestCaller, Caller, Cut, Endpoint, IdentitySource, ObservedTime, Operation, Place,
    Progress, Quarantine, QuarantineState,
};
use selvedge_policy::TrafficRow;

pub(crate) const COURIER: &str = "spiffe://mesh.example/ns/store/sa/courier";

pub(crate) fn endpoint(namespace: &str, workload: &str, principal: &str) -> Endpoint {
    Endpoint {
        cluster: String::new(),
        namespace: namespace.to_owned(),
        workload: workload.to_owned(),
        principal: principal.to_owned(),
    }
}

/// Courier reads a cart, with a verified identity.
pub(crate) fn row(method: &str, route: &str) -> TrafficRow {
    TrafficRow {
        minute_seconds: 1_764_000_000,
        source: endpoint("store", "courier", COURIER),
        source_identity: IdentitySource::MtlsCertificate,
        authenticated: Some(true),
        destination: endpoint("store", "cart", "spiffe://mesh.example/ns/store/sa/cart"),
        external: false,
        method: method.to_owned(),
        route: route.to_owned(),
        status: 200,
        denied_by: String::new(),
        normal: true,
        calls: 10,
    }
}

/// The same by another caller; the empty principal proved nothing.
pub(crate) fn by(principal: &str, row: TrafficRow) -> TrafficRow {
    let authenticated = Some(!principal.is_empty());
    let workload = principal.rsplit('/').next().unwrap_or_default();
    TrafficRow { source: endpoint("store", workload, principal), authenticated, ..row }
}

/// A call that leaves the mesh.
pub(crate) fn egress(host: &str, method: &str, route: &str) -> TrafficRow {
    let destination = endpoint("", host, "");
    TrafficRow { destination, external: true, authenticated: None, ..row(method, route) }
}

pub(crate) fn operation(method: &str, route: &str) -> Operation {
    Operation { method: method.to_owned(), route: route.to_owned() }
}

/// A cut at the cart.
pub(crate) fn inbound(caller: Caller, operations: &[(&str, &str)]) -> Cut {
    let operations = operations.iter().map(|(method, route)| operation(method, route)).collect();
    Cut { place: Place::Inbound, workload: endpoint("store", "cart", ""), caller, hosts: vec![], operations }
}

/// A cut of what the courier sends out.
pub(crate) fn outbound(hosts: &[&str], operations: &[(&str, &str)]) -> Cut {
    let operations = operations.iter().map(|(method, route)| operation(method, route)).collect();
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    Cut {
        place: Place::Outbound,
        workload: endpoint("store", "courier", ""),
        caller: Caller::Local,
        hosts,
        operations,
    }
}

pub(crate) fn courier() -> Caller {
    Caller::Principal(COURIER.to_owned())
}

pub(crate) fn quarantine(state: QuarantineState, cuts: Vec<Cut>) -> Quarantine {
    Quarantine {
        id: "selvedge-q-00c0ffee00c0ffee".to_owned(),
        incident_id: "inc-7f3a".to_owned(),
        cuts,
        state,
        progress: Progress::Planned,
        reason: "courier reads carts it never read: \"lateral movement\"".to_owned(),
        evidence: vec!["f-1".to_owned(), "f-2".to_owned()],
        not_stopped: vec![],
        backtest: Backtest {
            callers: vec![BacktestCaller {
                caller: endpoint("store", "courier", COURIER),
                denied: 4,
                denied_normal: 0,
            }],
            ..Backtest::default()
        },
        owner: "engine".to_owned(),
        created: ObservedTime(0),
        ttl_seconds: 1_800,
        expires: None,
        renewals: 0,
        ended: String::new(),
    }
}
