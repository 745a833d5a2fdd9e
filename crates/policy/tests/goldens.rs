//! Every shape that is rendered, as text that a person has read, and every refusal with its reason.
//! `UPDATE_GOLDEN=1 cargo test -p selvedge-policy` writes the files.

mod rows;

use rows::{COURIER, by, courier, egress, inbound, outbound, quarantine, row};
use selvedge_model::{Caller, Cut, Place, QuarantineState};
use selvedge_policy::{Deployment, RenderContext, Target, TrafficRow, envoy_rbac, render, suggest};

fn context() -> RenderContext {
    RenderContext {
        port: Some(8080),
        trust_domain: "mesh.example".to_owned(),
        expires_at: "2026-11-26T18:00:00Z".to_owned(),
        now: "2026-11-26T17:30:00Z".to_owned(),
        ..RenderContext::default()
    }
}

fn deployed(deployment: Deployment) -> RenderContext {
    RenderContext { deployment, ..context() }
}

fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/goldens/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the folder of goldens");
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{name} has changed (UPDATE_GOLDEN=1 writes it):\n{text}");
}

/// Renders and compares the text with its notes behind it.
fn rendered(name: &str, target: Target, cuts: Vec<Cut>, state: QuarantineState, context: &RenderContext) {
    let text = match render(target, &quarantine(state, cuts), context, &observed()) {
        Ok(rendered) => {
            let notes: String = rendered.notes.iter().map(|note| format!("# note: {note}\n")).collect();
            format!("{}{notes}", rendered.text)
        }
        Err(refusal) => panic!("{name}: {refusal}"),
    };
    golden(name, &text);
}

fn refused(target: Target, cuts: Vec<Cut>, state: QuarantineState, context: &RenderContext, part: &str) {
    match render(target, &quarantine(state, cuts), context, &observed()) {
        Ok(rendered) => panic!("{part}: not refused:\n{}", rendered.text),
        Err(refusal) => assert!(refusal.to_string().contains(part), "`{part}` is not in: {refusal}"),
    }
}

fn observed() -> Vec<TrafficRow> {
    vec![
        row("GET", "/carts/{id}"),
        by("spiffe://mesh.example/ns/books/sa/ledger", row("GET", "/carts/{id}")),
        by("atelier.store.serviceaccount.identity.linkerd.mesh.example", row("POST", "/carts")),
        TrafficRow { normal: false, ..by("spiffe://mesh.example/ns/books/sa/stranger", row("GET", "/")) },
    ]
}

const NARROW: &[(&str, &str)] = &[("GET", "/carts/{id}"), ("", "/admin/{*}"), ("DELETE", "")];

fn both() -> Vec<Cut> {
    vec![inbound(courier(), &[]), inbound(Caller::Unauthenticated, &[])]
}

fn two_workloads() -> Vec<Cut> {
    let mut other = inbound(courier(), &[]);
    other.workload.workload = "ledger".to_owned();
    other.workload.namespace = "books".to_owned();
    vec![inbound(courier(), NARROW), other]
}

#[test]
fn envoy() {
    use QuarantineState::{Enforced, Proposed, Shadow};
    let mixed = || vec![inbound(courier(), NARROW), inbound(Caller::Unauthenticated, &[])];
    rendered("envoy_enforced.yaml", Target::Envoy, both(), Enforced, &context());
    rendered("envoy_shadow.yaml", Target::Envoy, vec![inbound(courier(), &[])], Shadow, &context());
    rendered("envoy_operations.yaml", Target::Envoy, vec![inbound(courier(), NARROW)], Proposed, &context());
    rendered("envoy_different_cuts.yaml", Target::Envoy, mixed(), Enforced, &context());
    let sides = vec![inbound(courier(), &[]), outbound(&["paste.example"], &[("POST", "")])];
    rendered("envoy_two_sides.yaml", Target::Envoy, sides, Enforced, &context());
    rendered("envoy_outbound_all.yaml", Target::Envoy, vec![outbound(&[], &[])], Enforced, &context());
    let local = Cut { caller: Caller::Local, ..inbound(courier(), &[]) };
    refused(Target::Envoy, vec![local], Enforced, &context(), "names the workload itself as the caller");
    let named = Cut { caller: courier(), ..outbound(&[], &[]) };
    refused(Target::Envoy, vec![named], Enforced, &context(), "knows only its own workload");
    let hosts = Cut { hosts: vec!["cart".to_owned()], ..inbound(courier(), &[]) };
    refused(Target::Envoy, vec![hosts], Enforced, &context(), "names hosts");
    let connect = inbound(courier(), &[("CONNECT", "{id}")]);
    refused(Target::Envoy, vec![connect], Enforced, &context(), "is no path");
    let long = format!("/{}", "a".repeat(255));
    refused(Target::Envoy, vec![inbound(courier(), &[("GET", &long)])], Enforced, &context(), "cut off");
    let other = inbound(courier(), &[("_OTHER", "/carts")]);
    refused(Target::Envoy, vec![other], Enforced, &context(), "methods without a name");
    refused(Target::Envoy, vec![], Enforced, &context(), "cuts nothing");
    for ended in [QuarantineState::Lifted, QuarantineState::Expired] {
        refused(Target::Envoy, both(), ended, &context(), "has ended");
    }
}

#[test]
fn several_quarantines_at_one_workload_are_policies_of_one_filter() {
    let named = |id: &str, state, cuts| {
        let mut quarantine = quarantine(state, cuts);
        quarantine.id = format!("selvedge-q-{id}");
        quarantine
    };
    let quarantines = [
        named("a", QuarantineState::Enforced, vec![inbound(courier(), &[])]),
        named(
            "b",
            QuarantineState::Shadow,
            vec![inbound(Caller::Unauthenticated, &[("GET", "/carts/{id}")])],
        ),
        named("c", QuarantineState::Enforced, vec![inbound(Caller::Unauthenticated, &[])]),
        named("d", QuarantineState::Proposed, both()),
        named("e", QuarantineState::Lifted, both()),
        named("f", QuarantineState::Enforced, vec![outbound(&["paste.example"], &[])]),
        named("g", QuarantineState::Enforced, vec![inbound(courier(), &[("", "{id}")])]),
    ];
    let cart = rows::endpoint("store", "cart", "");
    let (filter, refusals) = envoy_rbac(&quarantines, &cart, Place::Inbound);
    assert_eq!(refusals.len(), 1, "what cannot be written does not cost the others");
    assert_eq!(refusals[0].quarantine, "selvedge-q-g");
    golden("envoy_merged.json", &format!("{:#}\n", filter.to_json()));
    let (nothing, _) = envoy_rbac(&quarantines, &cart, Place::Outbound);
    assert!(nothing.rules.policies.is_empty());
    golden("envoy_rollback.json", &format!("{:#}\n", nothing.to_json()));
    let (out, _) = envoy_rbac(&quarantines, &rows::endpoint("store", "courier", ""), Place::Outbound);
    assert_eq!(out.rules.policies.keys().collect::<Vec<_>>(), ["selvedge-q-f"]);
}

#[test]
fn istio() {
    use QuarantineState::{Enforced, Shadow};
    let istio = Target::Istio;
    rendered("istio_sidecar.yaml", istio, both(), Enforced, &context());
    rendered("istio_sidecar_shadow.yaml", istio, vec![inbound(courier(), NARROW)], Shadow, &context());
    let portless = RenderContext { port: None, ..context() };
    rendered("istio_two_workloads.yaml", istio, two_workloads(), Enforced, &portless);
    rendered("istio_ambient.yaml", istio, both(), Enforced, &deployed(Deployment::Ambient));
    rendered(
        "istio_waypoint.yaml",
        istio,
        vec![inbound(courier(), NARROW)],
        Enforced,
        &deployed(Deployment::Waypoint),
    );
    let narrow = || vec![inbound(courier(), NARROW)];
    let ambient = deployed(Deployment::Ambient);
    refused(istio, narrow(), Enforced, &ambient, "ztunnel sees connections only");
    refused(istio, both(), Shadow, &ambient, "ztunnel knows no dry run");
    refused(istio, both(), Enforced, &deployed(Deployment::Waypoint), "do not come by a waypoint");
    refused(istio, vec![outbound(&["paste.example"], &[])], Enforced, &context(), "is for what comes in");
    let principal = |principal: &str| vec![inbound(Caller::Principal(principal.to_owned()), &[])];
    refused(
        istio,
        principal("spiffe://mesh.example/ns/store/*"),
        Enforced,
        &context(),
        "would match others too",
    );
    refused(istio, principal("CN=courier"), Enforced, &context(), "begin with `spiffe://`");
    for (route, why) in [
        ("/carts/{id}/a|b", "cannot stand beside a path template"),
        ("/carts/{id}.json", "braces that are part of a segment"),
        ("/carts/x*", "every path that begins so"),
        ("*", "every path"),
        ("{id}", "is no path"),
    ] {
        refused(istio, vec![inbound(courier(), &[("GET", route)])], Enforced, &context(), why);
    }
    refused(istio, vec![inbound(courier(), &[("GE*", "")])], Enforced, &context(), "`*` in a method");
    let mut nowhere = inbound(courier(), &[]);
    nowhere.workload.namespace = String::new();
    refused(istio, vec![nowhere], Enforced, &context(), "no namespace that Kubernetes could know");
    let mut odd = inbound(courier(), &[]);
    odd.workload.workload = "cart\nspec: {}".to_owned();
    refused(istio, vec![odd], Enforced, &context(), "no workload that a label could name");
}

#[test]
fn cilium_and_kubernetes() {
    use QuarantineState::{Enforced, Shadow};
    rendered("cilium_inbound.yaml", Target::Cilium, vec![inbound(courier(), &[])], Enforced, &context());
    rendered("cilium_outbound.yaml", Target::Cilium, vec![outbound(&[], &[])], Enforced, &context());
    let cluster = Target::ClusterNetworkPolicy;
    rendered(
        "cluster_network_policy_inbound.yaml",
        cluster,
        vec![inbound(courier(), &[])],
        Enforced,
        &context(),
    );
    rendered("cluster_network_policy_outbound.yaml", cluster, vec![outbound(&[], &[])], Enforced, &context());
    for target in [Target::Cilium, cluster] {
        let stranger = Caller::Principal("CN=courier".to_owned());
        refused(target, vec![inbound(courier(), NARROW)], Enforced, &context(), "would refuse everything");
        refused(
            target,
            vec![inbound(Caller::Unauthenticated, &[])],
            Enforced,
            &context(),
            "proved an identity",
        );
        refused(target, vec![outbound(&["paste.example"], &[])], Enforced, &context(), "names");
        refused(target, vec![inbound(courier(), &[])], Shadow, &context(), "it is a shadow");
        refused(target, vec![inbound(stranger, &[])], Enforced, &context(), "identity");
    }
    // The same name in another trust domain is somebody else, and must not be cut for it.
    let foreign = Caller::Principal(COURIER.replace("mesh.example", "evil.example"));
    refused(
        Target::Cilium,
        vec![inbound(foreign.clone(), &[])],
        Enforced,
        &context(),
        "another trust domain",
    );
    refused(cluster, vec![inbound(foreign, &[])], Enforced, &context(), "not seen in the backtest");
    let nowhere = RenderContext { trust_domain: String::new(), ..context() };
    refused(Target::Cilium, vec![inbound(courier(), &[])], Enforced, &nowhere, "whose name it is");
    refused(Target::NetworkPolicy, both(), Enforced, &context(), "additive");
}

#[test]
fn linkerd() {
    use QuarantineState::{Enforced, Shadow};
    let linkerd = Target::Linkerd;
    rendered("linkerd.yaml", linkerd, vec![inbound(courier(), &[])], Enforced, &context());
    rendered("linkerd_shadow.yaml", linkerd, both(), Shadow, &context());
    refused(linkerd, vec![inbound(courier(), NARROW)], Enforced, &context(), "every method and path");
    refused(linkerd, vec![outbound(&[], &[])], Enforced, &context(), "for what comes in");
    let portless = RenderContext { port: None, ..context() };
    refused(linkerd, vec![inbound(courier(), &[])], Enforced, &portless, "port is not known");
    let mut elsewhere = inbound(courier(), &[]);
    elsewhere.workload.workload = "ledger".to_owned();
    refused(linkerd, vec![elsewhere], Enforced, &context(), "nobody was seen");
    // Someone without an identity calls normally: an allow list would cut it too.
    let cut = quarantine(Enforced, vec![inbound(courier(), &[])]);
    let plain = vec![row("GET", "/carts"), by("", row("GET", "/metrics"))];
    let refusal = render(linkerd, &cut, &context(), &plain).unwrap_err();
    assert!(refusal.to_string().contains("10 normal calls came without an identity"), "{refusal}");
    // Nobody is left to be allowed: the port is closed.
    let alone = render(linkerd, &cut, &context(), &plain[..1]).unwrap();
    assert!(
        !alone.text.contains("identities") && alone.text.contains("accessPolicy: deny"),
        "{}",
        alone.text
    );
}

#[test]
fn consul() {
    use QuarantineState::{Enforced, Shadow};
    let consul = Target::Consul;
    let open = RenderContext { consul_default_allow: true, ..context() };
    rendered("consul.yaml", consul, vec![inbound(courier(), &[])], Enforced, &context());
    rendered("consul_permissions.yaml", consul, vec![inbound(courier(), NARROW)], Enforced, &open);
    let own = Caller::Principal("spiffe://mesh.example/ns/default/dc/dc1/svc/atelier".to_owned());
    rendered("consul_identity.yaml", consul, vec![inbound(own, &[])], Enforced, &context());
    refused(consul, vec![inbound(courier(), NARROW)], Enforced, &context(), "mesh's default");
    refused(consul, both(), Enforced, &context(), "nobody without one");
    refused(consul, vec![outbound(&[], &[])], Enforced, &context(), "callee's proxy");
    refused(consul, vec![inbound(courier(), &[])], Shadow, &context(), "no dry run");
    let foreign = Caller::Principal("spiffe://evil.example/ns/default/dc/dc1/svc/atelier".to_owned());
    refused(consul, vec![inbound(foreign, &[])], Enforced, &context(), "another trust domain");
    let unseen = Caller::Principal("spiffe://mesh.example/ns/store/sa/unseen".to_owned());
    refused(consul, vec![inbound(unseen, &[])], Enforced, &context(), "not seen in the backtest");
}

#[test]
fn suggestions() {
    let rows = vec![
        row("GET", "/carts/{id}"),
        row("POST", "/carts"),
        row("GET", "/files/a/*"),
        by("spiffe://mesh.example/ns/store/sa/atelier", row("GET", "/items/{*}")),
        by("spiffe://mesh.example/ns/books/sa/ledger", row("GET", "/items/{*}")),
        by("", row("GET", "/health")),
        TrafficRow { normal: false, ..by("spiffe://mesh.example/ns/store/sa/atelier", row("GET", "/admin")) },
        egress("paste.example", "POST", "/up"),
        by(COURIER, row("", "")),
    ];
    let suggestion = suggest("store", &rows, &context(), "store.yaml").unwrap();
    golden("suggest_policies.yaml", &suggestion.policies);
    golden("suggest_cases.yaml", &suggestion.cases);
    golden("suggest_outcome.txt", &format!("{:#?}\n{:#?}\n", suggestion.warnings, suggestion.denied_calls));
    // The record without method and path is of a caller that is allowed some, so nobody can say.
    assert_eq!((suggestion.allowed, suggestion.denied, suggestion.undecided), (50, 20, 10));
}
