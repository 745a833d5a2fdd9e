//! Reading Envoy's RBAC out of the JSON or YAML of its protobuf: a filter's configuration, an HTTP filter
//! around it, or the bare rules.

use std::collections::BTreeMap;

use super::envoy::{HeaderMatch, Permission, Principal, Rbac, RbacAction, RbacPolicy};
use super::reader::{Keys, Reader, nearest};
use super::text_match::{TextMatch, TextPattern};
use crate::yaml::{Kind, Node};

/// How deep rules may be nested.
const DEPTH_MAX: usize = 32;

const RULES_KEYS: [&str; 3] = ["action", "policies", "audit_logging_options"];
const FILTER_KEYS: [&str; 8] = [
    "@type",
    "rules",
    "rules_stat_prefix",
    "matcher",
    "shadow_rules",
    "shadow_rules_stat_prefix",
    "shadow_matcher",
    "track_per_rule_stats",
];

/// True when a document looks like Envoy's.
pub(crate) fn looks_like(node: &Node) -> bool {
    ["rules", "shadow_rules", "shadowRules", "policies", "typed_config", "typedConfig", "@type"]
        .iter()
        .any(|key| node.get(key).is_some())
}

/// Reads a document. `None` when it has no rules that could deny, or something is wrong.
pub(crate) fn rbac(reader: &mut Reader<'_>, node: &Node) -> Option<Rbac> {
    if let Some(inner) = node.get("typed_config").or_else(|| node.get("typedConfig")) {
        reader.entries(
            node,
            "an HTTP filter",
            Keys::Proto,
            &["@type", "name", "typed_config", "is_optional", "disabled"],
        );
        return rbac(reader, inner);
    }
    if node.get("policies").is_some() || node.get("action").is_some() {
        return rules(reader, node);
    }
    let (mut enforced, mut shadow) = (None, None);
    for (key, value) in reader.entries(node, "an RBAC filter", Keys::Proto, &FILTER_KEYS) {
        match key {
            "@type" if !value.text().is_some_and(|text| text.ends_with("filters.http.rbac.v3.RBAC")) => {
                reader.wrong(
                    value.line,
                    "only the HTTP filter envoy.extensions.filters.http.rbac.v3.RBAC is judged",
                );
            }
            "matcher" | "shadow_matcher" => {
                reader
                    .wrong(value.line, format!("`{key}` (the matching API) is not judged here; use `rules`"));
            }
            "rules" => enforced = Some(value),
            "shadow_rules" => shadow = Some(value),
            _ => {}
        }
    }
    match (enforced, shadow) {
        (Some(enforced), Some(shadow)) => {
            let enforced = rules(reader, enforced);
            // A deny without policies is how nothing is enforced.
            if enforced.as_ref().is_some_and(|one| one.action == RbacAction::Deny && one.policies.is_empty())
            {
                reader.note(shadow.line, "only shadow_rules deny: judged as if they were enforced");
                return rules(reader, shadow);
            }
            reader.note(shadow.line, "shadow_rules stand beside rules: ignored, they deny nothing");
            enforced
        }
        (None, Some(shadow)) => {
            reader.note(shadow.line, "only shadow_rules: judged as if they were enforced");
            rules(reader, shadow)
        }
        (Some(enforced), None) => rules(reader, enforced),
        (None, None) => {
            reader.note(node.line, "an RBAC filter without rules denies nothing");
            None
        }
    }
}

fn rules(reader: &mut Reader<'_>, node: &Node) -> Option<Rbac> {
    let before = reader.errors.len();
    let mut rbac = Rbac { action: RbacAction::Allow, policies: BTreeMap::new() };
    for (key, value) in reader.entries(node, "rules", Keys::Proto, &RULES_KEYS) {
        match key {
            "action" => {
                let words =
                    [("ALLOW", RbacAction::Allow), ("DENY", RbacAction::Deny), ("LOG", RbacAction::Log)];
                rbac.action = reader.word(value, "action", &words).unwrap_or_default();
            }
            "policies" => {
                let Kind::Map(entries) = &value.kind else {
                    reader.wrong(value.line, "policies is no mapping");
                    continue;
                };
                for (name, _, policy) in entries {
                    rbac.policies.insert(name.clone(), read_policy(reader, policy));
                }
            }
            _ => {}
        }
    }
    (reader.errors.len() == before).then_some(rbac)
}

fn read_policy(reader: &mut Reader<'_>, node: &Node) -> RbacPolicy {
    let mut policy = RbacPolicy { permissions: Vec::new(), principals: Vec::new() };
    let keys = ["permissions", "principals", "condition", "checked_condition", "cel_config"];
    let mut conditional = false;
    for (key, value) in reader.entries(node, "a policy", Keys::Proto, &keys) {
        match key {
            "permissions" => policy.permissions = permissions(reader, value, 0),
            "principals" => policy.principals = principals(reader, value, 0),
            _ => conditional = true,
        }
    }
    if policy.permissions.is_empty() || policy.principals.is_empty() {
        reader.wrong(node.line, "a policy has at least one permission and one principal");
    }
    if conditional {
        reader.note(node.line, "conditions (CEL) are not judged: undecided where the rest matches");
        let all = Permission::Or(std::mem::take(&mut policy.permissions));
        policy.permissions = vec![Permission::And(vec![all, Permission::NotRecorded("a condition (CEL)")])];
    }
    policy
}

fn permissions(reader: &mut Reader<'_>, node: &Node, depth: usize) -> Vec<Permission> {
    reader.items(node, "permissions").iter().filter_map(|item| permission(reader, item, depth)).collect()
}

fn principals(reader: &mut Reader<'_>, node: &Node, depth: usize) -> Vec<Principal> {
    reader.items(node, "principals").iter().filter_map(|item| principal(reader, item, depth)).collect()
}

const PERMISSION_KEYS: [&str; 13] = [
    "any",
    "and_rules",
    "or_rules",
    "not_rule",
    "header",
    "url_path",
    "uri_template",
    "destination_port",
    "destination_ip",
    "destination_port_range",
    "metadata",
    "requested_server_name",
    "matcher",
];

fn permission(reader: &mut Reader<'_>, node: &Node, depth: usize) -> Option<Permission> {
    let (key, value) = only(reader, node, "a permission", &PERMISSION_KEYS, depth)?;
    Some(match key {
        "any" => any_of(reader, value).map(|()| Permission::Any)?,
        "and_rules" => Permission::And(
            wrapped(reader, value, "rules").map(|inner| permissions(reader, inner, depth + 1))?,
        ),
        "or_rules" => Permission::Or(
            wrapped(reader, value, "rules").map(|inner| permissions(reader, inner, depth + 1))?,
        ),
        "not_rule" => Permission::Not(Box::new(permission(reader, value, depth + 1)?)),
        "header" => {
            let (name, wanted, inverted) = header(reader, value)?;
            let permission = Permission::Header(name, wanted);
            if inverted { Permission::Not(Box::new(permission)) } else { permission }
        }
        "url_path" => Permission::UrlPath(path(reader, value)?),
        "uri_template" => Permission::UrlPath(uri_template(reader, value)?),
        "destination_port" => Permission::DestinationPort(reader.port(value, key)?),
        "destination_ip" => Permission::NotRecorded("the callee's address"),
        "destination_port_range" => Permission::NotRecorded("the port"),
        "requested_server_name" => Permission::NotRecorded("the server name asked for"),
        _ => Permission::NotRecorded("metadata of Envoy's filters"),
    })
}

const PRINCIPAL_KEYS: [&str; 13] = [
    "any",
    "and_ids",
    "or_ids",
    "not_id",
    "authenticated",
    "header",
    "url_path",
    "source_ip",
    "direct_remote_ip",
    "remote_ip",
    "metadata",
    "filter_state",
    "custom",
];

fn principal(reader: &mut Reader<'_>, node: &Node, depth: usize) -> Option<Principal> {
    let (key, value) = only(reader, node, "a principal", &PRINCIPAL_KEYS, depth)?;
    Some(match key {
        "any" => any_of(reader, value).map(|()| Principal::Any)?,
        "and_ids" => {
            Principal::And(wrapped(reader, value, "ids").map(|inner| principals(reader, inner, depth + 1))?)
        }
        "or_ids" => {
            Principal::Or(wrapped(reader, value, "ids").map(|inner| principals(reader, inner, depth + 1))?)
        }
        "not_id" => Principal::Not(Box::new(principal(reader, value, depth + 1)?)),
        "authenticated" => {
            let entries = reader.entries(value, "authenticated", Keys::Proto, &["principal_name"]);
            match entries.into_iter().next() {
                Some((_, name)) => Principal::Authenticated(Some(text_match(reader, name)?)),
                None => Principal::Authenticated(None),
            }
        }
        "header" => {
            let (name, wanted, inverted) = header(reader, value)?;
            let principal = Principal::Header(name, wanted);
            if inverted { Principal::Not(Box::new(principal)) } else { principal }
        }
        "url_path" => Principal::UrlPath(path(reader, value)?),
        "source_ip" | "direct_remote_ip" => Principal::NotRecorded("the caller's address"),
        "remote_ip" => Principal::NotRecorded("the original client's address"),
        _ => Principal::NotRecorded("metadata of Envoy's filters"),
    })
}

/// The one key that a `oneof` has.
fn only<'n>(
    reader: &mut Reader<'_>,
    node: &'n Node,
    what: &str,
    keys: &[&'static str],
    depth: usize,
) -> Option<(&'static str, &'n Node)> {
    if depth > DEPTH_MAX {
        reader.wrong(node.line, format!("nested more than {DEPTH_MAX} deep"));
        return None;
    }
    let before = reader.errors.len();
    let entries = reader.entries(node, what, Keys::Proto, keys);
    if entries.len() != 1 && reader.errors.len() == before {
        reader.wrong(node.line, format!("{what} has exactly one key"));
    }
    entries.into_iter().next()
}

/// `any` is only ever true.
fn any_of(reader: &mut Reader<'_>, node: &Node) -> Option<()> {
    if reader.truth(node, "any")? {
        return Some(());
    }
    reader.wrong(node.line, "`any` is true, or is not there");
    None
}

fn wrapped<'n>(reader: &mut Reader<'_>, node: &'n Node, key: &'static str) -> Option<&'n Node> {
    let inner = reader.entries(node, "a list of rules", Keys::Proto, &[key]).into_iter().next();
    if inner.is_none() {
        reader.wrong(node.line, format!("`{key}` is missing"));
    }
    inner.map(|(_, value)| value)
}

fn path(reader: &mut Reader<'_>, node: &Node) -> Option<TextMatch> {
    let inner = reader.entries(node, "url_path", Keys::Proto, &["path"]).into_iter().next();
    if inner.is_none() {
        reader.wrong(node.line, "`path` is missing");
    }
    text_match(reader, inner?.1)
}

fn uri_template(reader: &mut Reader<'_>, node: &Node) -> Option<TextMatch> {
    let template = node.get("typed_config").or_else(|| node.get("typedConfig"));
    let template =
        template.and_then(|inner| inner.get("path_template").or_else(|| inner.get("pathTemplate")));
    let Some(template) = template.and_then(Node::text) else {
        reader.wrong(node.line, "`typed_config.path_template` is missing");
        return None;
    };
    if template.contains(['{', '}']) {
        reader.wrong(node.line, "named variables in a path template are not judged here; use `*` and `**`");
        return None;
    }
    TextMatch::new(TextPattern::UriTemplate(template.to_owned()), false).ok()
}

/// A header's name, what it must be, and whether the answer is turned round.
fn header(reader: &mut Reader<'_>, node: &Node) -> Option<(String, HeaderMatch, bool)> {
    const KEYS: [&str; 11] = [
        "name",
        "string_match",
        "exact_match",
        "prefix_match",
        "suffix_match",
        "contains_match",
        "safe_regex_match",
        "present_match",
        "range_match",
        "invert_match",
        "treat_missing_header_as_empty",
    ];
    let (mut name, mut wanted, mut inverted) = (None, None, false);
    for (key, value) in reader.entries(node, "header", Keys::Proto, &KEYS) {
        let simple = |pattern: fn(String) -> TextPattern, reader: &mut Reader<'_>| {
            let text = reader.text(value, key)?.to_owned();
            TextMatch::new(pattern(text), false).ok().map(HeaderMatch::Value)
        };
        match key {
            "name" => name = reader.text(value, key),
            "string_match" => wanted = text_match(reader, value).map(HeaderMatch::Value),
            "exact_match" => wanted = simple(TextPattern::Exact, reader),
            "prefix_match" => wanted = simple(TextPattern::Prefix, reader),
            "suffix_match" => wanted = simple(TextPattern::Suffix, reader),
            "contains_match" => wanted = simple(TextPattern::Contains, reader),
            "safe_regex_match" => wanted = regex(reader, value).map(HeaderMatch::Value),
            "present_match" => {
                let present = reader.truth(value, key)?;
                wanted = Some(if present { HeaderMatch::Present } else { HeaderMatch::Absent });
            }
            "invert_match" => inverted = reader.truth(value, key)?,
            _ => reader.wrong(value.line, format!("`{key}` is not judged here")),
        }
    }
    if name.is_none() {
        reader.wrong(node.line, "a header has a `name`");
    }
    // A header with nothing but its name must be there.
    Some((name?.to_ascii_lowercase(), wanted.unwrap_or(HeaderMatch::Present), inverted))
}

fn text_match(reader: &mut Reader<'_>, node: &Node) -> Option<TextMatch> {
    const KEYS: [&str; 7] = ["exact", "prefix", "suffix", "contains", "safe_regex", "ignore_case", "custom"];
    let (mut pattern, mut ignore_case) = (None, false);
    let before = reader.errors.len();
    for (key, value) in reader.entries(node, "a text match", Keys::Proto, &KEYS) {
        let text = |reader: &mut Reader<'_>| reader.text(value, key).map(str::to_owned);
        match key {
            "exact" => pattern = text(reader).map(TextPattern::Exact),
            "prefix" => pattern = text(reader).map(TextPattern::Prefix),
            "suffix" => pattern = text(reader).map(TextPattern::Suffix),
            "contains" => pattern = text(reader).map(TextPattern::Contains),
            "safe_regex" => pattern = regex(reader, value).map(|matcher| matcher.pattern().clone()),
            "ignore_case" => ignore_case = reader.truth(value, key)?,
            _ => reader.wrong(value.line, "custom matchers are not judged here"),
        }
    }
    if pattern.is_none() && reader.errors.len() == before {
        reader.wrong(node.line, "a text match has exact, prefix, suffix, contains or safe_regex");
    }
    TextMatch::new(pattern?, ignore_case).ok()
}

fn regex(reader: &mut Reader<'_>, node: &Node) -> Option<TextMatch> {
    let entries = reader.entries(node, "safe_regex", Keys::Proto, &["regex", "google_re2"]);
    let text = entries.iter().find(|(key, _)| *key == "regex").and_then(|(_, value)| value.text());
    let Some(text) = text else {
        reader.wrong(node.line, "`regex` is missing");
        return None;
    };
    match TextMatch::new(TextPattern::Regex(text.to_owned()), false) {
        Ok(matcher) => Some(matcher),
        Err(problem) => {
            reader.wrong(node.line, problem);
            None
        }
    }
}

/// A hint for a document that is neither dialect.
pub(crate) fn hint(node: &Node) -> String {
    let Kind::Map(entries) = &node.kind else { return String::new() };
    let mut known: Vec<&str> = FILTER_KEYS.to_vec();
    known.extend(["apiVersion", "kind", "policies", "action"]);
    let misspelt = |(key, _, _): &(String, u64, Node)| {
        nearest(key, &known)
            .filter(|meant| meant != key)
            .map(|meant| format!("; `{key}`: did you mean `{meant}`?"))
    };
    entries.iter().find_map(misspelt).unwrap_or_default()
}
