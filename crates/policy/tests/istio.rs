//! What Istio's `AuthorizationPolicy` means, field by field, against its documentation.

mod rows;

use rows::{COURIER, by, egress, endpoint, row};
use selvedge_policy::{MeshSettings, PolicySet, PolicyVerdict, TrafficRow, Truth};

const LEDGER: &str = "spiffe://mesh.example/ns/books/sa/ledger";

/// A DENY policy at the cart with one rule.
fn deny(rule: &str) -> String {
    policy("DENY", "cut", "store", "cart", rule)
}

fn policy(action: &str, name: &str, namespace: &str, app: &str, rule: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  selector: {{matchLabels: {{app: {app}}}}}\n  action: {action}\n  rules:\n  - {rule}\n---\n"
    )
}

fn set(text: &str) -> PolicySet {
    PolicySet::parse(text, "policy.yaml").unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
}

/// Denied, as a truth.
fn denied(text: &str, row: &TrafficRow) -> Truth {
    match set(text).verdict(row) {
        PolicyVerdict::Allowed => Truth::No,
        PolicyVerdict::Denied { .. } => Truth::Yes,
        PolicyVerdict::Unknown { .. } => Truth::Unknown,
    }
}

fn unproven(row: TrafficRow) -> TrafficRow {
    by("", row)
}

fn unsaid(row: TrafficRow) -> TrafficRow {
    TrafficRow { authenticated: None, source: endpoint("store", "courier", ""), ..row }
}

#[test]
fn every_field_of_a_source_matches_what_its_documentation_says() {
    use Truth::{No, Unknown, Yes};
    let courier = || row("GET", "/carts/7");
    let somebody = || TrafficRow { authenticated: Some(true), ..unsaid(courier()) };
    let ledger = || by(LEDGER, courier());
    for (source, row, expected) in [
        ("principals: [mesh.example/ns/store/sa/courier]", courier(), Yes),
        ("principals: [mesh.example/ns/store/sa/courier]", ledger(), No),
        ("principals: [mesh.example/ns/store/sa/courier]", unproven(courier()), No),
        ("principals: [mesh.example/ns/store/sa/courier]", unsaid(courier()), Unknown),
        ("principals: [mesh.example/ns/store/sa/cour]", courier(), No),
        ("principals: [x, 'mesh.example/ns/store/*']", courier(), Yes),
        ("principals: ['mesh.example/ns/store/*']", ledger(), No),
        ("principals: ['*/sa/ledger']", ledger(), Yes),
        ("principals: ['*']", courier(), Yes),
        ("principals: ['*']", unproven(courier()), No),
        ("principals: ['*']", somebody(), Yes),
        ("principals: ['*/sa/courier']", somebody(), Unknown),
        ("notPrincipals: ['*']", unproven(courier()), Yes),
        ("notPrincipals: ['*']", courier(), No),
        ("notPrincipals: ['*']", somebody(), No),
        ("notPrincipals: ['*']", unsaid(courier()), Unknown),
        ("notPrincipals: [mesh.example/ns/store/sa/courier]", courier(), No),
        ("notPrincipals: [mesh.example/ns/store/sa/courier]", ledger(), Yes),
        ("notPrincipals: [mesh.example/ns/store/sa/courier]", unproven(courier()), Yes),
        ("namespaces: [store]", courier(), Yes),
        ("namespaces: [store]", ledger(), No),
        ("namespaces: [sto]", courier(), No),
        ("namespaces: ['sto*']", courier(), Yes),
        ("namespaces: ['*re']", courier(), Yes),
        ("namespaces: [store]", unproven(courier()), No),
        ("notNamespaces: [store]", courier(), No),
        ("notNamespaces: [store]", ledger(), Yes),
        ("notNamespaces: [store]", unproven(courier()), Yes),
        ("serviceAccounts: [courier]", courier(), Yes),
        ("serviceAccounts: [store/courier]", courier(), Yes),
        ("serviceAccounts: [ledger]", ledger(), No),
        ("serviceAccounts: [books/ledger]", ledger(), Yes),
        ("serviceAccounts: [store/cour]", courier(), No),
        ("notServiceAccounts: [books/ledger]", ledger(), No),
        ("notServiceAccounts: [books/ledger]", courier(), Yes),
        ("ipBlocks: [10.0.0.0/8]", courier(), Unknown),
        ("notIpBlocks: [10.0.0.0/8]", courier(), Unknown),
        ("remoteIpBlocks: [10.0.0.0/8]", courier(), Unknown),
        ("requestPrincipals: ['*']", courier(), Unknown),
        ("notRequestPrincipals: ['*']", courier(), Unknown),
        // Fields are anded: what is certain decides, whatever is missing.
        ("namespaces: [books], ipBlocks: [10.0.0.0/8]", courier(), No),
        ("namespaces: [store], notPrincipals: ['*/sa/courier']", courier(), No),
        ("namespaces: [store], principals: ['*/sa/courier']", courier(), Yes),
    ] {
        let text = deny(&format!("from: [{{source: {{{source}}}}}]"));
        assert_eq!(denied(&text, &row), expected, "{source} for {:?}", row.source);
    }
}

#[test]
fn every_field_of_an_operation_matches_what_its_documentation_says() {
    use Truth::{No, Unknown, Yes};
    for (operation, method, route, expected) in [
        ("methods: [GET]", "GET", "/carts/7", Yes),
        ("methods: [POST, GET]", "GET", "/carts/7", Yes),
        ("methods: [POST]", "GET", "/carts/7", No),
        ("methods: [GET]", "", "/carts/7", Unknown),
        ("methods: [GET]", "_OTHER", "/carts/7", Unknown),
        ("methods: ['*']", "GET", "/carts/7", Yes),
        ("methods: ['P*']", "PATCH", "/carts/7", Yes),
        ("notMethods: [GET]", "GET", "/carts/7", No),
        ("notMethods: [GET]", "POST", "/carts/7", Yes),
        ("paths: [/carts]", "GET", "/carts", Yes),
        ("paths: [/carts]", "GET", "/carts/7", No),
        ("paths: ['/carts*']", "GET", "/carts/7", Yes),
        ("paths: ['/carts/*']", "GET", "/carts", No),
        ("paths: ['*/items']", "GET", "/carts/7/items", Yes),
        ("paths: ['*/items']", "GET", "/carts/7", No),
        ("paths: ['*']", "GET", "/carts", Yes),
        ("paths: ['/carts/*']", "GET", "/carts/{id}", Yes),
        ("paths: ['/carts/7*']", "GET", "/carts/{id}", Unknown),
        ("paths: [/carts/7]", "GET", "/carts/{id}", Unknown),
        ("paths: [/carts/7]", "GET", "/carts/{id}/items", No),
        ("paths: ['/carts/{*}']", "GET", "/carts/7", Yes),
        ("paths: ['/carts/{*}']", "GET", "/carts/{id}", Yes),
        ("paths: ['/carts/{*}']", "GET", "/carts/7/items", No),
        ("paths: ['/carts/{*}/items']", "GET", "/carts/{*}/items", Yes),
        ("paths: ['/carts/{**}']", "GET", "/carts/7/items", Yes),
        ("paths: ['/carts/{**}']", "GET", "/cart/7/items", No),
        ("notPaths: ['/carts/*']", "GET", "/carts/{id}", No),
        ("notPaths: ['/carts/*']", "GET", "/health", Yes),
        ("notPaths: [/carts/7]", "GET", "/carts/{id}", Unknown),
        ("paths: [/carts]", "GET", "", Unknown),
        ("ports: ['8080']", "GET", "/carts", Unknown),
        ("notPorts: ['8080']", "GET", "/carts", Unknown),
        ("hosts: [cart.example]", "GET", "/carts", Unknown),
        ("methods: [POST], ports: ['8080']", "GET", "/carts", No),
        ("methods: [GET], paths: [/carts], notMethods: [POST]", "GET", "/carts", Yes),
    ] {
        let text = deny(&format!("to: [{{operation: {{{operation}}}}}]"));
        assert_eq!(denied(&text, &row(method, route)), expected, "{operation} for {method} {route}");
    }
}

#[test]
fn conditions_are_anded_and_alternatives_ored() {
    use Truth::{No, Unknown, Yes};
    let call = row("GET", "/carts/7");
    for (rule, expected) in [
        ("when: [{key: source.principal, values: [mesh.example/ns/store/sa/courier]}]", Yes),
        ("when: [{key: source.principal, notValues: ['*/sa/courier']}]", No),
        ("when: [{key: source.namespace, values: [store]}]", Yes),
        ("when: [{key: source.namespace, values: [books]}]", No),
        ("when: [{key: source.serviceAccount, values: [store/courier]}]", Yes),
        ("when: [{key: destination.port, values: ['8080']}]", Unknown),
        ("when: [{key: 'request.headers[x-debug]', values: ['1']}]", Unknown),
        ("when: [{key: 'request.auth.claims[iss]', values: ['x']}]", Unknown),
        ("when: [{key: source.namespace, values: [books]}, {key: source.ip, values: [10.0.0.1]}]", No),
        ("from: [{source: {namespaces: [books]}}, {source: {namespaces: [store]}}]", Yes),
        ("from: [{source: {namespaces: [store]}}]\n    to: [{operation: {methods: [POST]}}]", No),
        ("to: [{operation: {methods: [POST]}}, {operation: {paths: ['/carts*']}}]", Yes),
        ("from: [{source: {namespaces: [store]}}]\n    when: [{key: source.namespace, values: [books]}]", No),
        ("{}", Yes),
    ] {
        assert_eq!(denied(&deny(rule), &call), expected, "{rule}");
    }
}

#[test]
fn deny_comes_first_and_allow_policies_deny_what_none_of_them_matches() {
    let get = row("GET", "/carts/7");
    let post = row("POST", "/carts/7");
    let allow_get = policy("ALLOW", "reads", "store", "cart", "to: [{operation: {methods: [GET]}}]");
    let allow_post = policy("ALLOW", "writes", "store", "cart", "to: [{operation: {methods: [POST]}}]");
    let none = PolicyVerdict::Denied { policy: "none".to_owned() };
    assert_eq!(set(&allow_get).verdict(&get), PolicyVerdict::Allowed);
    assert_eq!(set(&allow_get).verdict(&post), none);
    assert_eq!(set(&(allow_get.clone() + &allow_post)).verdict(&post), PolicyVerdict::Allowed);
    let deny_courier = deny("from: [{source: {principals: ['*/sa/courier']}}]");
    let both = set(&(allow_get.clone() + &deny_courier));
    assert_eq!(both.verdict(&get), PolicyVerdict::Denied { policy: "store/cut".to_owned() });
    assert_eq!(both.verdict(&by(LEDGER, get.clone())), PolicyVerdict::Allowed);
    // An ALLOW policy of another workload says nothing.
    let other = policy("ALLOW", "other", "store", "ledger", "to: [{operation: {methods: [GET]}}]");
    assert_eq!(set(&other).verdict(&post), PolicyVerdict::Allowed);
    // A certain denial is one, whatever else is not known.
    let undecided = deny("to: [{operation: {ports: ['8080']}}]");
    assert_eq!(set(&(undecided.clone() + &allow_get)).verdict(&post), none);
    assert!(matches!(set(&(undecided + &allow_get)).verdict(&get), PolicyVerdict::Unknown { .. }));
}

#[test]
fn absent_rules_match_nothing_and_an_empty_rule_everything() {
    let call = row("GET", "/carts/7");
    let bare = |spec: &str| {
        let head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n";
        format!("{head}metadata: {{name: bare, namespace: store}}\n{spec}")
    };
    for (spec, expected) in [
        ("spec: {}", Truth::Yes),
        ("", Truth::Yes),
        ("spec: {rules: [{}]}", Truth::No),
        ("spec: {action: ALLOW, rules: []}", Truth::Yes),
        ("spec: {action: DENY}", Truth::No),
        ("spec: {action: DENY, rules: [{}]}", Truth::Yes),
        ("spec: {action: AUDIT, rules: [{}]}", Truth::No),
        ("spec: {action: CUSTOM, provider: {name: x}, rules: [{}]}", Truth::Unknown),
        (
            "spec: {action: CUSTOM, provider: {name: x}, rules: [{to: [{operation: {methods: [POST]}}]}]}",
            Truth::No,
        ),
    ] {
        assert_eq!(denied(&bare(spec), &call), expected, "{spec}");
    }
}

#[test]
fn a_policy_is_for_its_namespace_and_one_in_the_root_namespace_for_all() {
    let head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n";
    let at = |namespace: &str, scope: &str| {
        format!(
            "{head}metadata: {{name: p, namespace: {namespace}}}\nspec: {{action: DENY, {scope} rules: [{{}}]}}"
        )
    };
    let here = row("GET", "/carts");
    let nameless = TrafficRow { destination: endpoint("", "cart", ""), ..here.clone() };
    for (namespace, scope, row, expected) in [
        ("store", "", &here, Truth::Yes),
        ("books", "", &here, Truth::No),
        ("istio-system", "", &here, Truth::Yes),
        ("istio-system", "selector: {matchLabels: {app: cart}},", &here, Truth::Yes),
        ("istio-system", "selector: {matchLabels: {app: ledger}},", &here, Truth::No),
        ("store", "", &nameless, Truth::Unknown),
        ("store", "selector: {matchLabels: {app: ledger}},", &nameless, Truth::No),
        ("store", "selector: {matchLabels: {version: v1}},", &here, Truth::Unknown),
        ("store", "selector: {matchLabels: {version: v1, app: ledger}},", &here, Truth::No),
        ("store", "targetRefs: [{kind: Service, group: '', name: cart}],", &here, Truth::Yes),
        ("store", "targetRefs: [{kind: Service, group: '', name: ledger}],", &here, Truth::No),
        (
            "store",
            "targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: waypoint}],",
            &here,
            Truth::Unknown,
        ),
        ("istio-system", "", &egress("paste.example", "GET", "/"), Truth::No),
    ] {
        assert_eq!(denied(&at(namespace, scope), row), expected, "{namespace} {scope}");
    }
    let settings = MeshSettings { root_namespace: "books".to_owned(), ..MeshSettings::default() };
    let set = PolicySet::parse_in(&at("books", ""), "p.yaml", &settings).unwrap();
    assert!(matches!(set.verdict(&here), PolicyVerdict::Denied { .. }));
}

#[test]
fn cluster_local_stands_for_the_trust_domain_of_the_mesh() {
    let text = deny("from: [{source: {principals: [cluster.local/ns/store/sa/courier]}}]");
    let call = row("GET", "/");
    assert_eq!(set(&text).verdict(&call), PolicyVerdict::Allowed);
    let settings = MeshSettings { trust_domain: "mesh.example".to_owned(), ..MeshSettings::default() };
    let set = PolicySet::parse_in(&text, "p.yaml", &settings).unwrap();
    assert!(matches!(set.verdict(&call), PolicyVerdict::Denied { .. }));
}

#[test]
fn an_undecided_verdict_says_which_policy_asks_for_what() {
    let text = deny("to: [{operation: {paths: [/carts/7], ports: ['8080']}}]");
    let PolicyVerdict::Unknown { why } = set(&text).verdict(&row("GET", "/carts/{id}")) else {
        panic!("undecided")
    };
    assert_eq!(why, "store/cut asks for the port, the whole path, which is not recorded");
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_line_and_suggestion() {
    let text = "apiVersion: security.istio.io/v1\n\
                kind: AuthorizationPolicy\n\
                metadata: {name: p, namespace: store}\n\
                spec:\n\
                \x20 selecter: {matchLabels: {app: cart}}\n\
                \x20 action: DENIED\n\
                \x20 rules:\n\
                \x20 - from:\n\
                \x20   - source:\n\
                \x20       principal: [x]\n\
                \x20       namespaces: [store, '']\n\
                \x20   - source: {principals: ['spiffe://mesh.example/ns/a/sa/b']}\n\
                \x20   to:\n\
                \x20   - operation: {ports: [8080], paths: ['/a/{id}', '/a/{**}/{*}']}\n\
                \x20   - operation: {}\n\
                \x20   when: [{key: source.princpal, values: [x]}]\n\
                ---\n\
                kind: AuthorizationPolcy\n\
                ---\n\
                shadow_rule: {}\n";
    let errors = PolicySet::parse(text, "wrong.yaml").expect_err("wrong in many ways");
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let expected = [
        "wrong.yaml:5: unknown key `selecter` in spec; did you mean `selector`?",
        "wrong.yaml:6: unknown action `DENIED`; did you mean `DENY`?",
        "wrong.yaml:10: unknown key `principal` in source; did you mean `principals`?",
        "wrong.yaml:11: namespaces holds an empty text",
        "wrong.yaml:12: principals are written without `spiffe://`: `mesh.example/ns/a/sa/b`",
        "wrong.yaml:14: ports is a number, where text is expected; write \"8080\"",
        "wrong.yaml:14: `/a/{id}`: only `{*}` and `{**}` may stand in braces, as whole segments",
        "wrong.yaml:14: `/a/{**}/{*}`: nothing variable may follow `{**}`",
        "wrong.yaml:15: `operation` is empty, and would match everything",
        "wrong.yaml:16: unknown attribute `source.princpal`",
        "wrong.yaml:18: unknown kind `AuthorizationPolcy`; did you mean `AuthorizationPolicy`?",
        "wrong.yaml:20: neither an Istio AuthorizationPolicy nor an Envoy RBAC filter; `shadow_rule`: did you mean `shadow_rules`?",
    ];
    assert_eq!(told, expected, "{told:#?}");
    for (text, part) in [
        ("", "holds no policy"),
        ("a: [", "a.yaml:"),
        ("kind: AuthorizationPolicy\nmetadata: {name: a, namespace: b}", "apiVersion"),
        (
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}",
            "metadata.namespace",
        ),
    ] {
        let errors = PolicySet::parse(text, "a.yaml").expect_err(text);
        assert!(errors.iter().any(|error| error.to_string().contains(part)), "{text}: {errors:?}");
    }
}

#[test]
fn what_is_right_but_may_surprise_is_noted() {
    let text = format!(
        "{}apiVersion: v1\nkind: Service\nmetadata: {{name: cart}}\n",
        deny("{}").replace("namespace: store}", "namespace: store, annotations: {istio.io/dry-run: 'true'}}")
    );
    let set = set(&text);
    assert_eq!(set.len(), 1);
    let notes = set.notes().join("\n");
    assert!(notes.contains("dry run") && notes.contains("kind Service is not judged here"), "{notes}");
    assert!(matches!(set.verdict(&by(COURIER, row("GET", "/"))), PolicyVerdict::Denied { .. }));
}
