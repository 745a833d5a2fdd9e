//! What is rendered, read back by our own readers, denies exactly what the cuts say; and no name breaks out of
//! its place.

mod rows;

use proptest::prelude::*;
use rows::{COURIER, endpoint, quarantine};
use selvedge_model::{Caller, Cut, IdentitySource, Operation, Place, Quarantine, QuarantineState};
use selvedge_policy::{
    PolicySet, PolicyVerdict, RenderContext, Target, TrafficRow, Truth, envoy_rbac, render,
};

const LEDGER: &str = "spiffe://mesh.example/ns/books/sa/ledger";

// What a cut says, worked out apart from the code under test.

fn matched(cut: &Cut, row: &TrafficRow) -> Truth {
    let at = if cut.place == Place::Inbound { &row.destination } else { &row.source };
    let here = at.namespace == cut.workload.namespace && at.workload == cut.workload.workload;
    if !here || (cut.place == Place::Inbound && row.external) {
        return Truth::No;
    }
    let caller = match (&cut.caller, row.authenticated, row.source.principal.as_str()) {
        (Caller::Local, _, _) | (Caller::Unauthenticated, Some(false), _) => Truth::Yes,
        (Caller::Principal(_), Some(false), _) | (Caller::Unauthenticated, Some(true), _) => Truth::No,
        (Caller::Principal(_) | Caller::Unauthenticated, _, "") => Truth::Unknown,
        (Caller::Unauthenticated, None, _) => Truth::No,
        (Caller::Principal(wanted), _, principal) => truth(wanted == principal),
    };
    let host = match (cut.hosts.is_empty(), row.external) {
        (true, _) => Truth::Yes,
        (false, true) => truth(cut.hosts.contains(&row.destination.workload)),
        (false, false) => Truth::Unknown,
    };
    let asked = cut.operations.iter().map(|operation| asked(operation, row)).max().unwrap_or(Truth::Yes);
    caller.min(host).min(asked)
}

fn truth(holds: bool) -> Truth {
    if holds { Truth::Yes } else { Truth::No }
}

fn asked(operation: &Operation, row: &TrafficRow) -> Truth {
    let method = match (operation.method.as_str(), row.method.as_str()) {
        ("", _) => Truth::Yes,
        (_, "") => Truth::Unknown,
        (wanted, method) => truth(wanted == method),
    };
    let route = match (operation.route.as_str(), row.route.as_str()) {
        ("", _) => Truth::Yes,
        (_, "") => Truth::Unknown,
        (wanted, route) => {
            let wanted: Vec<&str> = wanted[1..].split('/').collect();
            same_path(&wanted, &route[1..].split('/').collect::<Vec<_>>())
        }
    };
    method.min(route)
}

/// Segment by segment: `{..}` is one, a last `{*}` of a cut and a last `*` of a record is the rest.
fn same_path(wanted: &[&str], known: &[&str]) -> Truth {
    match (wanted, known) {
        ([], []) => Truth::Yes,
        ([], _) | (_, []) => Truth::No,
        (["{*}"], _) => Truth::Yes,
        (_, ["*"]) => Truth::Unknown,
        ([first, wanted @ ..], [segment, known @ ..]) => {
            let varies = |text: &str| text.starts_with('{');
            let here = match (varies(first), varies(segment)) {
                (true, _) => Truth::Yes,
                (false, true) => Truth::Unknown,
                (false, false) => truth(first == segment),
            };
            here.min(same_path(wanted, known))
        }
    }
}

// Cuts and records out of few words, so that they meet often.

fn routes(rest: &'static str) -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "a.b", "{id}", "{uuid}"]);
    let last = prop::sample::select(vec!["a", "b", "{id}", rest]);
    let path = (prop::collection::vec(segment, 0..3), last)
        .prop_map(|(inner, last)| inner.into_iter().chain([last]).map(|part| format!("/{part}")).collect());
    prop_oneof![1 => Just(String::new()), 6 => path]
}

fn methods() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "GET", "POST"]).prop_map(str::to_owned)
}

fn cuts(place: Place) -> impl Strategy<Value = Cut> {
    let caller = match place {
        Place::Inbound => prop::sample::select(vec![
            Caller::Principal(COURIER.to_owned()),
            Caller::Principal(LEDGER.to_owned()),
            Caller::Unauthenticated,
        ])
        .boxed(),
        Place::Outbound => Just(Caller::Local).boxed(),
    };
    let host = prop::sample::select(vec!["paste.example", "cdn.example"]).prop_map(str::to_owned);
    let hosts = prop::collection::vec(host, if place == Place::Outbound { 0..3 } else { 0..1 });
    let operation = (methods(), routes("{*}")).prop_map(|(method, route)| Operation { method, route });
    let workload = prop::sample::select(vec!["cart", "courier"]);
    (caller, hosts, prop::collection::vec(operation, 0..3), workload).prop_map(
        move |(caller, hosts, operations, workload)| Cut {
            place,
            workload: endpoint("store", workload, ""),
            caller,
            hosts,
            operations,
        },
    )
}

fn records() -> impl Strategy<Value = TrafficRow> {
    let principal = prop::sample::select(vec!["", COURIER, LEDGER]);
    let authenticated = prop::sample::select(vec![Some(true), Some(false), None]);
    let source = prop::sample::select(vec!["cart", "courier", "ledger"]);
    let destination = prop::sample::select(vec!["cart", "courier", "paste.example", "cdn.example"]);
    (principal, authenticated, source, destination, methods(), routes("*")).prop_map(
        |(principal, authenticated, source, destination, method, route)| {
            let external = destination.contains('.');
            TrafficRow {
                minute_seconds: 0,
                source: endpoint("store", source, principal),
                source_identity: IdentitySource::MtlsCertificate,
                authenticated,
                destination: endpoint(if external { "" } else { "store" }, destination, ""),
                external,
                method,
                route,
                status: 200,
                denied_by: String::new(),
                normal: true,
                calls: 1,
            }
        },
    )
}

fn denied(set: &PolicySet, row: &TrafficRow) -> Truth {
    match set.verdict(row) {
        PolicyVerdict::Allowed => Truth::No,
        PolicyVerdict::Denied { .. } => Truth::Yes,
        PolicyVerdict::Unknown { .. } => Truth::Unknown,
    }
}

fn parse(text: &str) -> PolicySet {
    PolicySet::parse(text, "rendered").unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
}

fn expected(quarantine: &Quarantine, place: Place, row: &TrafficRow) -> Truth {
    let cuts = quarantine.cuts.iter().filter(|cut| cut.place == place);
    cuts.map(|cut| matched(cut, row)).max().unwrap_or(Truth::No)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn istio_denies_exactly_what_the_cuts_say(
        cuts in prop::collection::vec(cuts(Place::Inbound), 1..4),
        rows in prop::collection::vec(records(), 1..12),
    ) {
        let quarantine = quarantine(QuarantineState::Enforced, cuts);
        let rendered = render(Target::Istio, &quarantine, &RenderContext::default(), &[]);
        let rendered = rendered.map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
        let set = parse(&rendered.text);
        for row in &rows {
            let expected = expected(&quarantine, Place::Inbound, row);
            prop_assert_eq!(denied(&set, row), expected, "{:?}\n{}", row, rendered.text);
        }
    }

    #[test]
    fn envoy_denies_exactly_what_the_cuts_say(
        inbound in prop::collection::vec(cuts(Place::Inbound), 1..3),
        outbound in prop::collection::vec(cuts(Place::Outbound), 0..3),
        rows in prop::collection::vec(records(), 1..12),
    ) {
        let cuts = inbound.into_iter().chain(outbound).collect();
        let quarantine = quarantine(QuarantineState::Enforced, cuts);
        for row in &rows {
            for (place, workload) in [(Place::Inbound, &row.destination), (Place::Outbound, &row.source)] {
                if place == Place::Inbound && row.external {
                    continue;
                }
                let (filter, refusals) = envoy_rbac([&quarantine], workload, place);
                prop_assert!(refusals.is_empty(), "{:?}", refusals);
                let json = filter.to_json().to_string();
                let expected = expected(&quarantine, place, row);
                prop_assert_eq!(denied(&parse(&json), row), expected, "{:?}\n{}", row, json);
            }
        }
    }
}

// Hostile names.

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[-:#{}\\[\\],&*!|>'\"%@`?\\\\ \n\r\t\u{85}\u{2028}a/.]{0,16}",
        Just("cart\"\nspec: {}\n---\nkind: Secret".to_owned()),
        Just("/a\n---\n/b".to_owned()),
    ]
}

/// All texts of a tree.
fn leaves(value: &serde_json::Value, into: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => into.push(text.clone()),
        serde_json::Value::Array(items) => items.iter().for_each(|item| leaves(item, into)),
        serde_json::Value::Object(entries) => entries.values().for_each(|item| leaves(item, into)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_name_breaks_out_of_its_place(
        reason in hostile(),
        evidence in prop::collection::vec(hostile(), 0..3),
        incident in hostile(),
        principal in prop_oneof![hostile(), Just("mesh.example/ns/store/sa/courier".to_owned())],
        method in hostile(),
        path in hostile(),
        workload in hostile(),
        host in hostile(),
        odd_workload in any::<bool>(),
    ) {
        let mut inbound = rows::inbound(
            Caller::Principal(format!("spiffe://{principal}")),
            &[(method.as_str(), &format!("/{path}"))],
        );
        if odd_workload {
            inbound.workload.workload = workload;
        }
        let outbound = rows::outbound(&[host.as_str()], &[]);
        for cuts in [vec![inbound.clone()], vec![inbound, outbound]] {
            let mut quarantine = quarantine(QuarantineState::Enforced, cuts);
            quarantine.reason.clone_from(&reason);
            quarantine.evidence.clone_from(&evidence);
            quarantine.incident_id.clone_from(&incident);
            let trust_domain = "mesh.example".to_owned();
            let open = RenderContext { consul_default_allow: true, trust_domain, ..RenderContext::default() };
            for target in Target::ALL {
                // A refusal is an answer too; what is written must be what was meant.
                let Ok(rendered) = render(target, &quarantine, &open, &[]) else { continue };
                let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&rendered.text)
                    .map_err(|error| TestCaseError::fail(format!("{error}\n{}", rendered.text)))?;
                let sides = if target == Target::Envoy { quarantine.cuts.len() } else { 1 };
                prop_assert_eq!(documents.len(), sides, "{}", rendered.text);
                let mut texts = Vec::new();
                documents.iter().for_each(|document| leaves(document, &mut texts));
                if target != Target::Envoy {
                    let kinds = documents.iter().filter_map(|document| document.get("kind"));
                    prop_assert!(kinds.filter_map(|kind| kind.as_str()).all(|kind| kind != "Secret"));
                    prop_assert!(reason.is_empty() || texts.contains(&reason), "{}", rendered.text);
                }
                if target == Target::Envoy || target == Target::Istio {
                    let prefix = if target == Target::Envoy { "spiffe://" } else { "" };
                    prop_assert!(texts.contains(&format!("{prefix}{principal}")), "{}", rendered.text);
                    prop_assert!(method.is_empty() || texts.contains(&method), "{}", rendered.text);
                }
            }
        }
    }
}
