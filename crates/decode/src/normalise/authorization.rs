//! What authorization policies made of a request: which denied it, and which would have, were it enforced.

use std::collections::BTreeMap;

use selvedge_model::quarantine::QUARANTINE_ID_PREFIX;
use selvedge_model::{Symbol, SymbolTable};
use serde_json::Value;

use super::reading::{Reading, cut};
use crate::field::Field;

/// Names of authorization policies: two Kubernetes names and a slash.
const POLICY_MAX: usize = 320;
/// How Envoy's RBAC filter begins its detail when it denied.
const RBAC_DENIED: &str = "rbac_access_denied";
/// Metadata of RBAC filters that is longer is not looked at: a handful of filters has some hundred bytes.
const METADATA_BYTES_MAX: usize = 4 << 10;
const SHADOW_RESULT: &str = "shadow_engine_result";
const SHADOW_POLICY: &str = "shadow_effective_policy_id";
const DENIED: &str = "denied";
/// An allow list in dry run matched nothing: Istio does not say which.
const ISTIO_DRY_RUN: &str = "dry_run";

/// The policy that denied the request: `namespace/name` of Istio's, the name of Envoy's, or the filter's name.
pub(crate) fn denied_by(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Symbol {
    let Some(details) = reading.text(Field::CodeDetails) else { return Symbol::NONE };
    if details.starts_with("ext_authz_denied") {
        return symbols.intern("ext_authz");
    }
    if details.starts_with("jwt_authn_access_denied") {
        return symbols.intern("jwt_authn");
    }
    let Some(rest) = details.strip_prefix(RBAC_DENIED) else { return Symbol::NONE };
    let policy = rest.strip_prefix("_matched_policy[").and_then(|rest| rest.strip_suffix(']'));
    match policy.filter(|policy| !policy.is_empty() && *policy != "none") {
        None => symbols.intern("rbac"),
        Some(policy) => named(policy, symbols),
    }
}

/// The policy in dry run that would have denied the request: ours if there is one, for that is how a shadow quarantine
/// is read back; else the policy's name, or the prefix of the filter's statistics when no policy of an allow list matched.
pub(crate) fn shadow_denied_by(reading: &mut Reading<'_>, symbols: &mut SymbolTable) -> Symbol {
    if reading.has_any(&[Field::RbacMetadata])
        && let Some(text) = reading.text(Field::RbacMetadata)
        && let Some(policy) = shadow_denial(&text)
    {
        return named(&policy, symbols);
    }
    for (result, name) in
        [(Field::DryRunDenyResult, Some(Field::DryRunDenyName)), (Field::DryRunAllowResult, None)]
    {
        if reading.has_any(&[result]) && reading.name(result).is_some_and(|text| text == DENIED) {
            let policy = name.and_then(|name| reading.text(name)).filter(|policy| !policy.is_empty());
            return named(policy.as_deref().unwrap_or(ISTIO_DRY_RUN), symbols);
        }
    }
    Symbol::NONE
}

/// Reads the metadata of Envoy's RBAC filters, `{"<prefix>shadow_engine_result": "denied",
/// "<prefix>shadow_effective_policy_id": "..."}`, of as many filters as there are.
fn shadow_denial(text: &str) -> Option<String> {
    if !text.contains(DENIED) || text.len() > METADATA_BYTES_MAX {
        return None;
    }
    let facts: BTreeMap<String, Value> = serde_json::from_str(text).ok()?;
    let denied = facts.iter().filter_map(|(key, value)| {
        let prefix = key.strip_suffix(SHADOW_RESULT)?;
        (value.as_str()? == DENIED).then_some(prefix)
    });
    let named = denied.map(|prefix| {
        let policy = facts.get(&format!("{prefix}{SHADOW_POLICY}")).and_then(Value::as_str);
        policy.filter(|policy| !policy.is_empty()).unwrap_or(match prefix.trim_end_matches(['_', '.']) {
            "" => "rbac",
            prefix => prefix,
        })
    });
    named.min_by_key(|policy| (!policy.starts_with(QUARANTINE_ID_PREFIX), *policy)).map(str::to_owned)
}

fn named(policy: &str, symbols: &mut SymbolTable) -> Symbol {
    match istio_policy(policy) {
        Some((namespace, name)) => symbols.intern(cut(&format!("{namespace}/{name}"), POLICY_MAX)),
        None => symbols.intern(cut(policy, POLICY_MAX)),
    }
}

/// `ns[NS]-policy[NAME]-rule[0]`.
fn istio_policy(policy: &str) -> Option<(&str, &str)> {
    let (namespace, rest) = policy.strip_prefix("ns[")?.split_once("]-policy[")?;
    let (name, _) = rest.split_once(']')?;
    Some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_in_dry_run_is_found_in_the_metadata_of_rbac_filters() {
        for (text, policy) in [
            (r#"{"a_shadow_engine_result":"denied","b_enforced_engine_result":"allowed"}"#, Some("a")),
            (
                r#"{"shadow_engine_result":"denied","shadow_effective_policy_id":"no-admin"}"#,
                Some("no-admin"),
            ),
            (
                r#"{"a_shadow_engine_result":"denied","s_shadow_engine_result":"denied",
                    "s_shadow_effective_policy_id":"selvedge-q-1"}"#,
                Some("selvedge-q-1"),
            ),
            (r#"{"a_shadow_engine_result":"allowed","a_shadow_effective_policy_id":"denied"}"#, None),
            (r#"{"a_enforced_engine_result":"denied"}"#, None),
            (r#"{"a_shadow_engine_result":["denied"]}"#, None),
            (r#"{"a_shadow_engine_result":"denied""#, None),
        ] {
            assert_eq!(shadow_denial(text).as_deref(), policy, "{text}");
        }
    }

    #[test]
    fn an_istio_policy_is_namespace_and_name() {
        assert_eq!(istio_policy("ns[front]-policy[deny-web]-rule[0]"), Some(("front", "deny-web")));
        assert_eq!(istio_policy("deny-web"), None);
    }
}
