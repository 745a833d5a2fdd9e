//! What proxies get of a set of quarantines: the same set gives the same version, another one another.

use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use selvedge_model::{Backtest, Caller, Cut, Endpoint, ObservedTime, Operation, Place, Progress};

use super::*;

fn cut(place: Place, cluster: &str, workload: &str, caller: Caller) -> Cut {
    let endpoint = Endpoint {
        cluster: cluster.to_owned(),
        namespace: "shop".to_owned(),
        workload: workload.to_owned(),
        principal: String::new(),
    };
    Cut { place, workload: endpoint, caller, hosts: Vec::new(), operations: Vec::new() }
}

fn courier() -> Caller {
    Caller::Principal("spiffe://mesh/ns/shop/sa/courier".to_owned())
}

fn quarantine(id: &str, state: QuarantineState, cuts: Vec<Cut>) -> Quarantine {
    Quarantine {
        id: id.to_owned(),
        incident_id: "incident".to_owned(),
        cuts,
        state,
        progress: Progress::Planned,
        reason: String::new(),
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

fn workload(cluster: &str, name: &str) -> Workload {
    Workload { cluster: cluster.to_owned(), namespace: "shop".to_owned(), workload: name.to_owned() }
}

fn filter(world: &PolicyWorld, workload: &Workload, name: &str) -> (String, Rbac) {
    let view = world.view(workload, &ResourceNames::default());
    let resource = &view.resources[name];
    assert_eq!(resource.config.type_url, TypedExtensionConfig::type_url());
    let config = TypedExtensionConfig::decode(resource.config.value.as_slice()).unwrap();
    assert_eq!(config.name, name);
    let any = config.typed_config.unwrap();
    assert_eq!(any.type_url, Rbac::type_url());
    (resource.version.clone(), Rbac::decode(any.value.as_slice()).unwrap())
}

const IN: &str = "selvedge-inbound";
const OUT: &str = "selvedge-outbound";

#[test]
fn a_cut_is_seen_by_its_own_workload_on_its_own_side_and_cluster_only() {
    let cuts = vec![cut(Place::Inbound, "east", "ledger", courier())];
    let world = PolicyWorld::of(&[quarantine("selvedge-q-1", QuarantineState::Enforced, cuts)]);
    let denies = |place: &str, at: &Workload| filter(&world, at, place).1.rules.is_some();
    assert!(denies(IN, &workload("east", "ledger")));
    assert!(denies(IN, &workload("", "ledger")), "a proxy that does not say its cluster");
    assert!(!denies(IN, &workload("west", "ledger")));
    assert!(!denies(OUT, &workload("east", "ledger")));
    assert!(!denies(IN, &workload("east", "cart")));
    assert!(!denies(IN, &Workload::default()));
    assert_eq!(world.quarantines(&workload("east", "ledger")), BTreeSet::from(["selvedge-q-1"]));
}

#[test]
fn only_live_quarantines_are_pushed_and_shadow_ones_as_shadow_rules() {
    for state in QuarantineState::ALL {
        let cuts = vec![cut(Place::Inbound, "", "ledger", courier())];
        let world = PolicyWorld::of(&[quarantine("selvedge-q-1", state, cuts)]);
        let (_, rbac) = filter(&world, &workload("", "ledger"), IN);
        assert_eq!(rbac.rules.is_some(), state == QuarantineState::Enforced, "{state:?}");
        assert_eq!(rbac.shadow_rules.is_some(), state == QuarantineState::Shadow, "{state:?}");
        assert_eq!(rbac.rules_stat_prefix, "selvedge_");
        assert_eq!(rbac.shadow_rules_stat_prefix, "selvedge_");
        assert!(rbac.track_per_rule_stats);
    }
}

#[test]
fn the_policy_is_named_after_its_quarantine_and_holds_all_its_cuts() {
    let narrow = Cut {
        operations: vec![Operation { method: "GET".to_owned(), route: "/accounts/{id}".to_owned() }],
        ..cut(Place::Inbound, "", "ledger", courier())
    };
    let plain = cut(Place::Inbound, "", "ledger", Caller::Unauthenticated);
    let twice = vec![narrow.clone(), plain.clone(), plain];
    let world = PolicyWorld::of(&[quarantine("selvedge-q-1", QuarantineState::Enforced, twice)]);
    let (_, rbac) = filter(&world, &workload("", "ledger"), IN);
    let policies = rbac.rules.unwrap().policies;
    assert_eq!(policies.keys().collect::<Vec<_>>(), ["selvedge-q-1"]);
    assert_eq!(policies["selvedge-q-1"].principals.len(), 2);
}

#[test]
fn the_version_is_that_of_the_content_whatever_the_order_and_whatever_else_is_there() {
    let one = quarantine(
        "selvedge-q-1",
        QuarantineState::Enforced,
        vec![cut(Place::Inbound, "", "ledger", courier())],
    );
    let two = quarantine(
        "selvedge-q-2",
        QuarantineState::Shadow,
        vec![cut(Place::Inbound, "", "ledger", courier())],
    );
    let elsewhere = quarantine(
        "selvedge-q-3",
        QuarantineState::Enforced,
        vec![cut(Place::Inbound, "", "cart", courier())],
    );
    let version = |set: &[Quarantine]| filter(&PolicyWorld::of(set), &workload("", "ledger"), IN).0;
    let both = version(&[one.clone(), two.clone()]);
    assert_eq!(both, version(&[two.clone(), elsewhere, one.clone()]));
    assert_ne!(both, version(std::slice::from_ref(&one)));
    let enforced = Quarantine { state: QuarantineState::Enforced, ..two };
    assert_ne!(both, version(&[one, enforced]), "a shadow rule that is enforced is news");
    assert_ne!(version(&[]), filter(&PolicyWorld::default(), &workload("", "ledger"), OUT).0);
}

#[test]
fn a_cut_that_cannot_be_enforced_is_named_and_the_others_stand() {
    let cuts = vec![
        cut(Place::Outbound, "", "courier", courier()),
        cut(Place::Outbound, "", "courier", Caller::Local),
    ];
    let nobody = cut(Place::Outbound, "", "", Caller::Local);
    let world = PolicyWorld::of(&[
        quarantine("selvedge-q-1", QuarantineState::Enforced, cuts),
        quarantine("selvedge-q-2", QuarantineState::Enforced, vec![nobody]),
    ]);
    let refused: Vec<&str> = world.refused().iter().map(|refused| refused.quarantine.as_str()).collect();
    assert_eq!(refused, ["selvedge-q-1", "selvedge-q-2"]);
    assert!(filter(&world, &workload("", "courier"), OUT).1.rules.is_some());
}

#[test]
fn cuts_past_the_bound_are_refused_and_counted() {
    let cuts = vec![cut(Place::Inbound, "", "ledger", courier()); CUTS_MAX + 1];
    let world = PolicyWorld::of(&[quarantine("selvedge-q-1", QuarantineState::Enforced, cuts)]);
    assert_eq!(world.refused().len(), 1);
}
