//! Policy tests: given, expected; and that what is suggested passes its own.

mod rows;

use proptest::prelude::*;
use rows::{COURIER, by, row};
use selvedge_model::IdentitySource;
use selvedge_policy::{
    CaseFile, Deployment, MeshSettings, PolicySet, PolicyVerdict, RenderContext, TrafficRow, suggest,
};

const FILE: &str = r#"
policies:
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata: {name: reads, namespace: store}
  spec:
    selector: {matchLabels: {app: cart}}
    rules:
    - from: [{source: {principals: [mesh.example/ns/store/sa/courier]}}]
      to: [{operation: {methods: [GET], paths: ["/carts/{*}"], ports: ["8080"]}}]
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata: {name: no-admin, namespace: store}
  spec: {action: DENY, rules: [{to: [{operation: {paths: ["/admin*"]}}]}]}
- extra.yaml
cases:
- name: courier reads
  given: &read
    source: {principal: mesh.example/ns/store/sa/courier}
    destination: {namespace: store, workload: cart}
    method: GET
    path: /carts/7
    port: 8080
  expect: allow
- name: admin is closed
  given: {source: {principal: spiffe://mesh.example/ns/store/sa/courier}, destination: {namespace: store, workload: cart}, method: GET, path: /admin/x}
  expect: deny
  policy: no-admin
- name: strangers are refused
  given: {destination: {namespace: store, workload: cart}, method: GET, path: /carts/7, port: 8080}
  expect: deny
  policy: none
- name: a template is a path like others
  given: {source: {principal: mesh.example/ns/store/sa/courier}, destination: {namespace: store, workload: cart}, method: GET, path: "/carts/{id}", port: 8080}
  expect: deny
- name: wrongly expected to pass
  given: {destination: {namespace: store, workload: cart}, method: POST, path: /carts, authenticated: true}
  expect: allow
- name: wrong policy
  given: {destination: {namespace: store, workload: cart}, method: POST, path: /carts}
  expect: deny
  policy: no-admin
- name: nothing denies it
  given: {destination: {namespace: books, workload: ledger}, method: POST, path: /entries}
  expect: deny
- name: says too little
  given: {source: {principal: mesh.example/ns/store/sa/courier}, destination: {namespace: store, workload: cart}, method: GET, path: /carts/7}
  expect: allow
"#;

#[test]
fn cases_are_judged_and_told_apart() {
    let file = CaseFile::parse(FILE, "cart.test.yaml", &MeshSettings::default()).expect("valid");
    assert_eq!(file.policy_files(), ["extra.yaml"]);
    let results = file.run(PolicySet::default());
    let told: Vec<(bool, &str)> =
        results.iter().map(|result| (result.passed, result.message.as_str())).collect();
    assert_eq!(
        told,
        [
            (true, "allowed"),
            (true, "denied by store/no-admin"),
            (true, "denied: no ALLOW policy matches"),
            (true, "denied: no ALLOW policy matches"),
            // The caller is authenticated and has no name: no policy can be sure, and the method is refused
            // anyway.
            (false, "expected allow, but it is denied: no ALLOW policy matches"),
            (false, "expected deny by no-admin, but it is denied: no ALLOW policy matches"),
            (false, "expected deny, but nothing denies it"),
            (false, "the case does not say enough: store/reads asks for the port, which is not recorded"),
        ]
    );
    assert_eq!((results[1].name.as_str(), results[1].line), ("admin is closed", 25));
    // Policies of other files act together with those of the file.
    let extra = PolicySet::parse(
        "{rules: {action: DENY, policies: {all: {permissions: [{any: true}], principals: [{any: true}]}}}}",
        "extra.yaml",
    );
    let results = file.run(extra.expect("valid"));
    assert_eq!(results[0].message, "expected allow, but it is denied by all");
}

#[test]
fn what_is_wrong_with_a_file_of_cases_is_told_at_once() {
    let text = "policies: []\ncases:\n- name: a\n  given:\n    source: {principle: x}\n\
                \x20   path: carts\n  expect: denied\n\
                - given: {destination: {namespace: a, workload: b}, path: '/a?b', port: http}\n\
                \x20 policy: p\n  expect: allow\nextra: 1\n";
    let errors = CaseFile::parse(text, "c.yaml", &MeshSettings::default()).expect_err("wrong");
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    for part in [
        "c.yaml:5: unknown key `principle` in source; did you mean `principal`?",
        "c.yaml:6: a path begins with `/`",
        "`destination` has a namespace and a workload",
        "c.yaml:7: unknown expect `denied`; did you mean `deny`?",
        "c.yaml:8: policies compare a path without its query",
        "c.yaml:8: port is no port number",
        "`policy` says by which policy a call is denied",
        "c.yaml:11: unknown key `extra` in a file of cases",
    ] {
        assert!(told.iter().any(|error| error.contains(part)), "{part} is not in {told:#?}");
    }
    for (text, part) in [
        ("cases: []", "`policies` is missing"),
        ("policies: [a.yaml]\ncases: []", "there are no cases"),
        ("", "one document"),
        ("policies: [{kind: AuthorizationPolicy}]\ncases: []", "apiVersion"),
    ] {
        let errors = CaseFile::parse(text, "c.yaml", &MeshSettings::default()).expect_err(text);
        assert!(errors.iter().any(|error| error.to_string().contains(part)), "{text}: {errors:?}");
    }
}

#[test]
fn nobody_unknown_is_learned_as_a_peer() {
    let known = row("GET", "/carts/{id}");
    let unproven = [
        by("", known.clone()),
        TrafficRow {
            source_identity: IdentitySource::Header,
            ..by("spiffe://mesh.example/ns/a/sa/forged", known.clone())
        },
        TrafficRow { authenticated: None, ..by("spiffe://mesh.example/ns/a/sa/unsaid", known.clone()) },
        TrafficRow {
            authenticated: Some(false),
            ..by("spiffe://mesh.example/ns/a/sa/refuted", known.clone())
        },
        by("unknown", known.clone()),
        by("spiffe://mesh.example/ns/a/sa/*", known.clone()),
        TrafficRow { normal: false, ..by("spiffe://mesh.example/ns/a/sa/flagged", known.clone()) },
    ];
    let context = RenderContext::default();
    assert!(suggest("store", &unproven, &context, "p.yaml").is_err(), "nobody is left to allow");
    let rows: Vec<TrafficRow> = unproven.into_iter().chain([known]).collect();
    let suggestion = suggest("store", &rows, &context, "p.yaml").expect("courier is left");
    assert_eq!(suggestion.policies.matches("/sa/").count(), 1, "{}", suggestion.policies);
    // The one of whom no record of the callee says whether it was authenticated cannot be told apart by its
    // name.
    assert!(suggestion.policies.contains("mesh.example/ns/store/sa/courier"));
    assert!(suggestion.warnings.iter().any(|warning| warning.contains("without a proven identity")));
    assert_eq!(suggestion.allowed, 10);
    assert!(suggest("no/namespace", &rows, &context, "p.yaml").is_err());
    assert!(suggest("books", &rows, &context, "p.yaml").is_err());
}

#[test]
fn where_only_connections_are_seen_callers_are_allowed_without_paths() {
    let context = RenderContext { deployment: Deployment::Ambient, ..RenderContext::default() };
    let suggestion = suggest("store", &[row("GET", "/carts/{id}")], &context, "p.yaml").expect("a policy");
    assert!(!suggestion.policies.contains("paths") && suggestion.policies.contains("principals"));
    assert!(
        suggestion.warnings.iter().any(|warning| warning.contains("ztunnel")),
        "{:?}",
        suggestion.warnings
    );
}

fn observed() -> impl Strategy<Value = TrafficRow> {
    let segment = prop::sample::select(vec!["carts", "{id}", "{*}", "v1.0", "items", "a b"]);
    let path = prop::collection::vec(segment, 1..4);
    let caller = prop::sample::select(vec![COURIER, "spiffe://mesh.example/ns/books/sa/ledger", ""]);
    let workload = prop::sample::select(vec!["cart", "ledger"]);
    let method = prop::sample::select(vec!["GET", "POST"]);
    (path, caller, workload, method, any::<bool>()).prop_map(|(path, caller, workload, method, normal)| {
        let mut row = by(caller, row(method, &format!("/{}", path.join("/"))));
        row.destination.workload = workload.to_owned();
        row.normal = normal;
        row
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_suggested_passes_its_own_cases_and_denies_only_what_it_says(
        rows in prop::collection::vec(observed(), 1..20),
    ) {
        let suggestion = suggest("store", &rows, &RenderContext::default(), "p.yaml");
        let Ok(suggestion) = suggestion else { return Ok(()) };
        let set = PolicySet::parse(&suggestion.policies, "p.yaml").expect("our own text");
        let file = CaseFile::parse(&suggestion.cases, "c.yaml", &MeshSettings::default());
        let file = file.map_err(|errors| TestCaseError::fail(format!("{errors:?}\n{}", suggestion.cases)))?;
        for result in file.run(set.clone()) {
            prop_assert!(result.passed, "{}: {}\n{}", result.name, result.message, suggestion.policies);
        }
        let total: u64 = rows.iter().map(|row| row.calls).sum();
        prop_assert_eq!(suggestion.allowed + suggestion.denied + suggestion.undecided, total);
        for row in rows.iter().filter(|row| row.normal && row.authenticated == Some(true)) {
            let sayable = !(row.route.contains(' ') && row.route.contains('{'));
            let allowed = set.verdict(row) == PolicyVerdict::Allowed;
            prop_assert!(!sayable || allowed, "{:?}\n{}", row, suggestion.policies);
        }
    }
}
