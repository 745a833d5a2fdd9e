//! One cut as Envoy's RBAC says it: never wider, and not at all where Envoy would ignore it.
//!
//! A policy is named after its quarantine and denies when one of its principals matches; each cut is one principal, the
//! conjunction of its caller, hosts and operations. (A principal may look at headers and path as a permission may, so
//! that several cuts of a quarantine at one proxy stay one policy without widening each other.)

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::rbac::v3 as rbac;
use envoy_types::pb::envoy::config::rbac::v3::permission::Rule;
use envoy_types::pb::envoy::config::rbac::v3::principal::{Authenticated, Identifier, Set};
use envoy_types::pb::envoy::config::rbac::v3::rbac::Action;
use envoy_types::pb::envoy::config::rbac::v3::{Permission, Policy, Principal};
use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as RbacFilter;
use envoy_types::pb::envoy::r#type::matcher::v3::path_matcher::Rule as PathRule;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{PathMatcher, StringMatcher};
use selvedge_model::{Caller, Cut, Operation, Place};

use super::route::{self, exact, regex};

/// What tells our statistics and metadata from those of other RBAC filters.
const STAT_PREFIX: &str = "selvedge_";
/// A verified certificate has a name in it. `authenticated` without a name would hold for TLS without a certificate.
const ANY_NAME: &str = "(?s).+";
/// Policies of one filter: principals by quarantine.
pub(crate) type Policies = BTreeMap<String, Vec<Principal>>;

/// Says a cut as a principal.
///
/// # Errors
/// Why Envoy would ignore it, or could only say something wider.
pub(crate) fn principal(cut: &Cut) -> Result<Principal, &'static str> {
    let mut all = Vec::new();
    match (cut.place, &cut.caller) {
        (Place::Inbound, Caller::Principal(name)) if name.is_empty() => {
            return Err("the caller's identity is empty");
        }
        (Place::Inbound, Caller::Principal(name)) => all.push(authenticated(exact(name))),
        (Place::Inbound, Caller::Unauthenticated) => {
            let named = authenticated(regex(ANY_NAME.to_owned()));
            all.push(is(Identifier::NotId(Box::new(named))));
        }
        (Place::Outbound, Caller::Local) => {}
        (Place::Inbound, Caller::Local) => return Err("only an outbound proxy knows its own workload"),
        (Place::Outbound, Caller::Principal(_) | Caller::Unauthenticated) => {
            return Err("an outbound proxy has no certificate of its caller");
        }
    }
    if cut.hosts.iter().any(String::is_empty) {
        return Err("a host is empty");
    }
    if !cut.hosts.is_empty() {
        all.push(any_of(cut.hosts.iter().flat_map(|host| same_host(host)).collect()));
    }
    let operations = cut.operations.iter().map(operation).collect::<Result<Vec<_>, _>>()?;
    if !operations.is_empty() {
        all.push(any_of(operations));
    }
    Ok(all_of(all))
}

/// The filter of both sets. A set that is empty is left out: an RBAC filter without rules allows everything.
pub(crate) fn filter(enforced: &Policies, shadow: &Policies) -> RbacFilter {
    RbacFilter {
        rules: rules(enforced),
        rules_stat_prefix: STAT_PREFIX.to_owned(),
        shadow_rules: rules(shadow),
        shadow_rules_stat_prefix: STAT_PREFIX.to_owned(),
        track_per_rule_stats: true,
        ..RbacFilter::default()
    }
}

/// The policy of one quarantine.
pub(crate) fn policy(principals: &[Principal]) -> Policy {
    let any = Permission { rule: Some(Rule::Any(true)) };
    Policy { permissions: vec![any], principals: principals.to_vec(), ..Policy::default() }
}

fn rules(policies: &Policies) -> Option<rbac::Rbac> {
    if policies.is_empty() {
        return None;
    }
    let policies = policies.iter().map(|(name, principals)| (name.clone(), policy(principals))).collect();
    Some(rbac::Rbac { action: Action::Deny as i32, policies, ..rbac::Rbac::default() })
}

/// Authority without case, without the root's dot, with a port or none.
fn same_host(host: &str) -> [Principal; 4] {
    let authority = |pattern| {
        let pattern = StringMatcher { ignore_case: true, match_pattern: Some(pattern) };
        header(":authority", pattern)
    };
    [
        authority(MatchPattern::Exact(host.to_owned())),
        authority(MatchPattern::Prefix(format!("{host}:"))),
        authority(MatchPattern::Exact(format!("{host}."))),
        authority(MatchPattern::Prefix(format!("{host}.:"))),
    ]
}

fn operation(operation: &Operation) -> Result<Principal, &'static str> {
    let mut all = Vec::new();
    if !operation.method.is_empty() {
        all.push(header(":method", exact(&operation.method)));
    }
    if !operation.route.is_empty() {
        for path in route::matchers(&operation.route)? {
            all.push(is(Identifier::UrlPath(PathMatcher { rule: Some(PathRule::Path(path)) })));
        }
    }
    Ok(all_of(all))
}

fn authenticated(name: StringMatcher) -> Principal {
    is(Identifier::Authenticated(Authenticated { principal_name: Some(name) }))
}

fn header(name: &str, value: StringMatcher) -> Principal {
    is(Identifier::Header(HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(value)),
        ..HeaderMatcher::default()
    }))
}

fn is(identifier: Identifier) -> Principal {
    Principal { identifier: Some(identifier) }
}

/// All must hold; nothing holds always.
fn all_of(mut ids: Vec<Principal>) -> Principal {
    match ids.len() {
        0 => is(Identifier::Any(true)),
        1 => ids.remove(0),
        _ => is(Identifier::AndIds(Set { ids })),
    }
}

/// One must hold; there is one at least.
fn any_of(mut ids: Vec<Principal>) -> Principal {
    if ids.len() == 1 { ids.remove(0) } else { is(Identifier::OrIds(Set { ids })) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_envoy_would_ignore_or_widen_is_refused() {
        let cut = |place, caller, hosts: &[&str]| Cut {
            place,
            workload: selvedge_model::Endpoint::default(),
            caller,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            operations: Vec::new(),
        };
        let id = || Caller::Principal("spiffe://mesh/ns/shop/sa/courier".to_owned());
        let refused = [
            cut(Place::Inbound, Caller::Local, &[]),
            cut(Place::Inbound, Caller::Principal(String::new()), &[]),
            cut(Place::Outbound, id(), &[]),
            cut(Place::Outbound, Caller::Unauthenticated, &[]),
            cut(Place::Outbound, Caller::Local, &[""]),
        ];
        for cut in refused {
            assert!(principal(&cut).is_err(), "{cut:?}");
        }
        principal(&cut(Place::Inbound, id(), &[])).unwrap();
        assert_eq!(principal(&cut(Place::Outbound, Caller::Local, &[])), Ok(is(Identifier::Any(true))));
    }

    #[test]
    fn filters_without_rules_allow_everything_and_shadow_rules_are_never_enforced() {
        let none = Policies::new();
        let one = Policies::from([("selvedge-q-1".to_owned(), vec![is(Identifier::Any(true))])]);
        let empty = filter(&none, &none);
        assert!(empty.rules.is_none() && empty.shadow_rules.is_none());
        let shadow = filter(&none, &one);
        assert!(shadow.rules.is_none());
        let rules = shadow.shadow_rules.unwrap();
        assert_eq!((rules.action, rules.policies.len()), (Action::Deny as i32, 1));
    }
}
