//! What Envoy's RBAC means, rule by rule.

mod rows;

use rows::{COURIER, by, egress, row};
use selvedge_policy::{PolicySet, PolicyVerdict, TrafficRow, Truth};

fn filter(action: &str, permission: &str, principal: &str) -> String {
    format!(
        "{{\"rules\": {{\"action\": \"{action}\", \"policies\": {{\"p\": {{\
         \"permissions\": [{permission}], \"principals\": [{principal}]}}}}}}}}"
    )
}

fn denied(text: &str, row: &TrafficRow) -> Truth {
    let set = PolicySet::parse(text, "rbac.json").unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"));
    match set.verdict(row) {
        PolicyVerdict::Allowed => Truth::No,
        PolicyVerdict::Denied { .. } => Truth::Yes,
        PolicyVerdict::Unknown { .. } => Truth::Unknown,
    }
}

#[test]
fn every_permission_matches_what_it_says() {
    use Truth::{No, Unknown, Yes};
    let get = row("GET", "/carts/{id}");
    let concrete = row("GET", "/carts/7");
    let out = egress("paste.example", "POST", "/up/{id}");
    for (permission, row, expected) in [
        ("{any: true}", &get, Yes),
        ("{url_path: {path: {exact: /carts/7}}}", &concrete, Yes),
        ("{url_path: {path: {exact: /CARTS/7, ignore_case: true}}}", &concrete, Yes),
        ("{url_path: {path: {exact: /CARTS/7}}}", &concrete, No),
        ("{url_path: {path: {exact: /carts/7}}}", &get, Unknown),
        ("{urlPath: {path: {prefix: /carts/}}}", &get, Yes),
        ("{url_path: {path: {suffix: /7}}}", &get, Unknown),
        ("{url_path: {path: {contains: art}}}", &get, Yes),
        ("{url_path: {path: {safeRegex: {regex: '/carts/[^/]+'}}}}", &get, Yes),
        ("{url_path: {path: {safe_regex: {regex: '/carts/[0-9]+'}}}}", &get, Unknown),
        ("{url_path: {path: {safe_regex: {regex: '/carts/[0-9]+'}}}}", &concrete, Yes),
        ("{url_path: {path: {safe_regex: {regex: 'carts'}}}}", &concrete, No),
        ("{uri_template: {name: t, typed_config: {path_template: '/carts/*'}}}", &get, Yes),
        ("{header: {name: ':method', string_match: {exact: GET}}}", &get, Yes),
        ("{header: {name: ':method', exact_match: POST}}", &get, No),
        ("{header: {name: ':method', exact_match: POST, invert_match: true}}", &get, Yes),
        ("{header: {name: ':method', present_match: true}}", &get, Yes),
        ("{header: {name: ':path', prefix_match: /carts/}}", &get, Yes),
        ("{header: {name: ':path', exact_match: /carts/7}}", &concrete, Unknown),
        ("{header: {name: x-debug, present_match: true}}", &get, Unknown),
        ("{header: {name: ':authority', string_match: {exact: paste.example}}}", &out, Yes),
        ("{header: {name: ':authority', string_match: {exact: 'paste.example:8443'}}}", &out, Unknown),
        ("{header: {name: ':authority', string_match: {exact: other.example}}}", &out, No),
        ("{header: {name: ':authority', string_match: {suffix: .EXAMPLE, ignore_case: true}}}", &out, Yes),
        ("{header: {name: ':authority', string_match: {exact: cart}}}", &get, Unknown),
        ("{destination_port: 8080}", &get, Unknown),
        ("{destination_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}", &get, Unknown),
        ("{not_rule: {any: true}}", &get, No),
        ("{not_rule: {destination_port: 8080}}", &get, Unknown),
        ("{and_rules: {rules: [{any: true}, {destination_port: 8080}]}}", &get, Unknown),
        ("{and_rules: {rules: [{not_rule: {any: true}}, {destination_port: 8080}]}}", &get, No),
        ("{or_rules: {rules: [{any: true}, {destination_port: 8080}]}}", &get, Yes),
        ("{orRules: {rules: [{not_rule: {any: true}}]}}", &get, No),
    ] {
        assert_eq!(denied(&filter("DENY", permission, "{any: true}"), row), expected, "{permission}");
    }
}

#[test]
fn every_principal_matches_what_it_says() {
    use Truth::{No, Unknown, Yes};
    let courier = row("GET", "/carts");
    let plain = by("", courier.clone());
    let unsaid = TrafficRow { authenticated: None, ..plain.clone() };
    for (principal, row, expected) in [
        ("{any: true}", &plain, Yes),
        (
            "{authenticated: {principal_name: {exact: 'spiffe://mesh.example/ns/store/sa/courier'}}}",
            &courier,
            Yes,
        ),
        ("{authenticated: {principal_name: {exact: 'mesh.example/ns/store/sa/courier'}}}", &courier, No),
        ("{authenticated: {principalName: {prefix: 'spiffe://mesh.example/ns/store/'}}}", &courier, Yes),
        ("{authenticated: {principal_name: {suffix: /sa/ledger}}}", &courier, No),
        ("{authenticated: {principal_name: {contains: /ns/store/}}}", &courier, Yes),
        ("{authenticated: {principal_name: {safe_regex: {regex: '.*/ns/(store|books)/.*'}}}}", &courier, Yes),
        ("{authenticated: {principal_name: {suffix: /sa/courier}}}", &plain, No),
        ("{authenticated: {principal_name: {suffix: /sa/courier}}}", &unsaid, Unknown),
        ("{not_id: {authenticated: {principal_name: {safe_regex: {regex: '.+'}}}}}", &plain, Yes),
        ("{not_id: {authenticated: {principal_name: {safe_regex: {regex: '.+'}}}}}", &courier, No),
        // Any TLS is authenticated here, and whether there was TLS without a client's name is not recorded.
        ("{authenticated: {}}", &courier, Yes),
        ("{authenticated: {}}", &plain, Unknown),
        ("{and_ids: {ids: [{any: true}, {url_path: {path: {exact: /carts}}}]}}", &courier, Yes),
        ("{or_ids: {ids: [{source_ip: {address_prefix: 10.0.0.1}}, {any: true}]}}", &courier, Yes),
        ("{not_id: {any: true}}", &courier, No),
        ("{direct_remote_ip: {address_prefix: 10.0.0.1}}", &courier, Unknown),
        ("{header: {name: ':method', exact_match: GET}}", &courier, Yes),
    ] {
        assert_eq!(denied(&filter("DENY", "{any: true}", principal), row), expected, "{principal}");
    }
}

#[test]
fn actions_decide_what_a_match_means() {
    let call = row("GET", "/carts");
    let (yes, no) = ("{any: true}", "{not_rule: {any: true}}");
    for (action, permission, expected) in [
        ("DENY", yes, Truth::Yes),
        ("DENY", no, Truth::No),
        ("ALLOW", yes, Truth::No),
        ("ALLOW", no, Truth::Yes),
        ("LOG", yes, Truth::No),
        ("LOG", no, Truth::No),
        ("ALLOW", "{destination_port: 1}", Truth::Unknown),
    ] {
        assert_eq!(
            denied(&filter(action, permission, "{any: true}"), &call),
            expected,
            "{action} {permission}"
        );
    }
    for (text, expected) in [
        // Nothing to enforce, and nothing allowed, are two things.
        ("{rules: {action: DENY, policies: {}}}", Truth::No),
        ("{rules: {policies: {}}}", Truth::Yes),
        ("{rules: {}}", Truth::Yes),
        ("'@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC", Truth::No),
        ("{action: ALLOW, policies: {}}", Truth::Yes),
        (
            "{name: q, typed_config: {rules: {action: DENY, policies: {}}, track_per_rule_stats: true}}",
            Truth::No,
        ),
        // A deny of nothing is how a filter in dry run says that it enforces nothing.
        ("{rules: {action: DENY}, shadow_rules: {action: ALLOW}}", Truth::Yes),
        ("{rules: {action: LOG}, shadow_rules: {action: ALLOW}}", Truth::No),
        ("{shadow_rules: {action: ALLOW}}", Truth::Yes),
        (
            "{action: DENY, policies: {p: {permissions: [{any: true}], principals: [{any: true}], condition: {}}}}",
            Truth::Unknown,
        ),
    ] {
        assert_eq!(denied(text, &call), expected, "{text}");
    }
}

#[test]
fn the_policy_that_denies_is_named_in_the_order_of_names() {
    let text = "rules:\n  action: DENY\n  policies:\n\
                \x20   b: {permissions: [{any: true}], principals: [{any: true}]}\n\
                \x20   a: {permissions: [{any: true}], principals: [{any: true}]}\n";
    let set = PolicySet::parse(text, "rbac.yaml").unwrap();
    assert_eq!(set.verdict(&by(COURIER, row("GET", "/"))), PolicyVerdict::Denied { policy: "a".to_owned() });
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_line_and_suggestion() {
    let text = "rules:\n  action: DENNY\n  polices: {}\n  policies:\n    a:\n      permissions: []\n\
                \x20     principals: [{authenticated: {principal_name: {exakt: x}}}]\n\
                \x20   b:\n      permissions: [{any: false}, {any: true, header: {name: x}}]\n\
                \x20     principals: [{url_path: {path: {safe_regex: {regex: '('}}}}, {and_ids: {}}]\n\
                matcher: {}\n";
    let errors = PolicySet::parse(text, "r.yaml").expect_err("wrong");
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    for part in [
        "r.yaml:2: unknown action `DENNY`; did you mean `DENY`?",
        "r.yaml:3: unknown key `polices` in rules; did you mean `policies`?",
        "r.yaml:7: unknown key `exakt` in a text match; did you mean `exact`?",
        "r.yaml:9: `any` is true, or is not there",
        "r.yaml:9: a permission has exactly one key",
        "r.yaml:10: `(` is no regular expression",
        "r.yaml:10: `ids` is missing",
        "r.yaml:11: `matcher` (the matching API) is not judged here; use `rules`",
        "a policy has at least one permission and one principal",
    ] {
        assert!(told.iter().any(|error| error.contains(part)), "{part} is not in {told:#?}");
    }
    let deep = format!("{}{{any: true}}{}", "{not_rule: ".repeat(36), "}".repeat(36));
    let errors = PolicySet::parse(&filter("DENY", &deep, "{any: true}"), "deep.json").expect_err("too deep");
    assert!(errors[0].message.contains("nested"), "{errors:?}");
}
