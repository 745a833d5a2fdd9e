//! Envoy RBAC filters: one a workload and side, with one policy a quarantine, so that a denial says which it
//! was.

use std::collections::BTreeMap;

use selvedge_model::{Caller, Cut, Endpoint, Operation, Place, Quarantine, QuarantineState};

use super::{Draft, Named, RenderRefusal, Target};
use crate::dialect::{
    HeaderMatch, OTHER_METHOD, Permission, Principal, Rbac, RbacAction, RbacPolicy, TextMatch, TextPattern,
};
use crate::template::{CUT_OFF_BYTES, Segment, Template};
use crate::yaml::{Yaml, map, text, write_documents};

/// What stands before our statistics and metadata keys, enforced and shadow.
pub const ENVOY_STAT_PREFIX: &str = "selvedge_";

/// The HTTP filter of one workload and side: `envoy.extensions.filters.http.rbac.v3.RBAC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvoyRbac {
    /// What is refused. Without policies everything passes: that is how a quarantine is taken back.
    pub rules: Rbac,
    /// What would be refused, and is only reported.
    pub shadow_rules: Rbac,
}

impl Default for EnvoyRbac {
    fn default() -> Self {
        let nothing = || Rbac { action: RbacAction::Deny, policies: BTreeMap::new() };
        Self { rules: nothing(), shadow_rules: nothing() }
    }
}

impl EnvoyRbac {
    /// The JSON form of its protobuf (snake case), with `@type`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.tree().to_json()
    }

    fn tree(&self) -> Yaml {
        let mut entries = vec![
            ("@type", text("type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC")),
            ("rules", rbac(&self.rules)),
            ("rules_stat_prefix", text(ENVOY_STAT_PREFIX)),
        ];
        if !self.shadow_rules.policies.is_empty() {
            entries.push(("shadow_rules", rbac(&self.shadow_rules)));
            entries.push(("shadow_rules_stat_prefix", text(ENVOY_STAT_PREFIX)));
        }
        entries.push(("track_per_rule_stats", Yaml::Bool(true)));
        Yaml::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

/// The filter of one workload and side, out of all quarantines. Only live ones are in it: shadows in the shadow
/// rules. What cannot be written is left out and told.
#[must_use]
pub fn envoy_rbac<'q>(
    quarantines: impl IntoIterator<Item = &'q Quarantine>,
    workload: &Endpoint,
    place: Place,
) -> (EnvoyRbac, Vec<RenderRefusal>) {
    let (mut filter, mut refused) = (EnvoyRbac::default(), Vec::new());
    for quarantine in quarantines.into_iter().filter(|quarantine| quarantine.state.live()) {
        let mut draft = Draft::new(Target::Envoy, quarantine);
        let policy = policy(&mut draft, workload, place);
        if let Some(refusal) = draft.refusal() {
            refused.push(refusal);
        } else if let Some(policy) = policy {
            let shadow = quarantine.state == QuarantineState::Shadow;
            let rules = if shadow { &mut filter.shadow_rules } else { &mut filter.rules };
            rules.policies.insert(quarantine.id.clone(), policy);
        }
    }
    (filter, refused)
}

/// One document a workload and side.
pub(super) fn render(draft: &mut Draft<'_>) -> String {
    let quarantine = draft.quarantine;
    let mut places: Vec<(&Endpoint, Place)> = Vec::new();
    for cut in &quarantine.cuts {
        if !places
            .iter()
            .any(|(workload, place)| *place == cut.place && same_workload(workload, &cut.workload))
        {
            places.push((&cut.workload, cut.place));
        }
    }
    let mut documents = Vec::new();
    for (number, (workload, place)) in places.into_iter().enumerate() {
        let Some(policy) = policy(draft, workload, place) else { continue };
        let mut filter = EnvoyRbac::default();
        let shadow = quarantine.state == QuarantineState::Shadow;
        let rules = if shadow { &mut filter.shadow_rules } else { &mut filter.rules };
        rules.policies.insert(quarantine.id.clone(), policy);
        let (name, side) = match place {
            Place::Inbound => ("selvedge-inbound", "inbound"),
            Place::Outbound => ("selvedge-outbound", "outbound"),
        };
        draft.note(format!("document {} is for the {side} side of {}", number + 1, workload.label()));
        documents.push(map([("name", text(name)), ("typed_config", filter.tree())]));
    }
    if quarantine.cuts.iter().any(|cut| !cut.hosts.is_empty()) {
        draft.note(
            "hosts are compared as the client writes them: the same place by another name is not refused",
        );
    }
    draft.note("requests that are under way and connections that are open are not cut");
    write_documents(&documents)
}

/// Whether two name the same workload. A cluster that is not known is any.
fn same_workload(left: &Endpoint, right: &Endpoint) -> bool {
    let cluster = left.cluster == right.cluster || left.cluster.is_empty() || right.cluster.is_empty();
    cluster && left.namespace == right.namespace && left.workload == right.workload
}

/// The policy of a quarantine at one workload and side; `None` when none of its cuts is there.
fn policy(draft: &mut Draft<'_>, workload: &Endpoint, place: Place) -> Option<RbacPolicy> {
    let here = |cut: &&Cut| cut.place == place && same_workload(&cut.workload, workload);
    let cuts: Vec<&Cut> = draft.quarantine.cuts.iter().filter(here).collect();
    let first = *cuts.first()?;
    for cut in &cuts {
        check(draft, cut);
    }
    let asked = |cut: &Cut| (cut.hosts.clone(), cut.operations.clone());
    if cuts.iter().all(|cut| asked(cut) == asked(first)) {
        let principals = cuts.iter().map(|cut| caller(&cut.caller)).collect();
        return Some(RbacPolicy { permissions: permissions(first), principals });
    }
    // Permissions and principals of a policy are paired each with each. Cuts that ask for different things say
    // what they ask for among their principals, or one caller would be refused what another one is.
    let one = |cut: &&Cut| {
        let mut all = vec![caller(&cut.caller)];
        all.extend(asked_as_principal(cut));
        if all.len() == 1 { all.remove(0) } else { Principal::And(all) }
    };
    Some(RbacPolicy { permissions: vec![Permission::Any], principals: cuts.iter().map(one).collect() })
}

/// Refuses what Envoy would ignore.
fn check(draft: &mut Draft<'_>, cut: &Cut) {
    match (cut.place, &cut.caller) {
        (Place::Inbound, Caller::Local) => {
            draft.refuse(format!("{} names the workload itself as the caller", Named(cut)));
        }
        (Place::Outbound, Caller::Principal(_) | Caller::Unauthenticated) => {
            draft.refuse(format!(
                "{} names a caller, and a proxy knows only its own workload there",
                Named(cut)
            ));
        }
        (Place::Inbound, Caller::Principal(principal)) if principal.is_empty() => {
            draft.refuse(format!("{} names an empty principal, which nobody has", Named(cut)));
        }
        _ => {}
    }
    if cut.place == Place::Inbound && !cut.hosts.is_empty() {
        draft.refuse(format!("{} names hosts", Named(cut)));
    }
    for operation in &cut.operations {
        check_operation(draft, cut, operation);
    }
}

/// Refuses methods and routes that no request has.
pub(super) fn check_operation(draft: &mut Draft<'_>, cut: &Cut, operation: &Operation) {
    let route = &operation.route;
    if operation.method == OTHER_METHOD {
        draft.refuse(format!(
            "{}: `{OTHER_METHOD}` stands for methods without a name, and is none",
            Named(cut)
        ));
    }
    if !route.is_empty() && Template::of_cut(route).is_none() && route != "*" {
        draft.refuse(format!("{}: the route `{}` is no path", Named(cut), route.escape_debug()));
    }
    let cut_off = route.len() >= CUT_OFF_BYTES;
    let rest =
        Template::of_cut(route).is_some_and(|template| template.segments.last() == Some(&Segment::Rest));
    if cut_off && !rest {
        draft.refuse(format!(
            "{}: a route of {} bytes was cut off when it was recorded",
            Named(cut),
            route.len()
        ));
    }
}

fn caller(caller: &Caller) -> Principal {
    match caller {
        Caller::Principal(principal) => Principal::Authenticated(Some(TextMatch::exact(principal))),
        // TLS without a client certificate is "authenticated" to Envoy too; having a name is not.
        Caller::Unauthenticated => {
            let named = TextMatch::new(TextPattern::Regex(".+".to_owned()), false).ok();
            Principal::Not(Box::new(Principal::Authenticated(named)))
        }
        Caller::Local => Principal::Any,
    }
}

/// What the requests of a cut have in common, as lists of alternatives that must all hold one: hosts, then
/// operations.
fn permissions(cut: &Cut) -> Vec<Permission> {
    let hosts: Vec<Permission> = cut
        .hosts
        .iter()
        .flat_map(|host| authorities(host))
        .map(|matcher| Permission::Header(":authority".to_owned(), HeaderMatch::Value(matcher)))
        .collect();
    let operations: Vec<Permission> = cut.operations.iter().map(operation).collect();
    match (hosts.is_empty(), operations.is_empty()) {
        (true, true) => vec![Permission::Any],
        (false, true) => hosts,
        (true, false) => operations,
        (false, false) => vec![Permission::And(vec![Permission::Or(hosts), Permission::Or(operations)])],
    }
}

/// A host with and without a port.
fn authorities(host: &str) -> impl Iterator<Item = TextMatch> {
    let patterns = [TextPattern::Exact(host.to_owned()), TextPattern::Prefix(format!("{host}:"))];
    patterns.into_iter().filter_map(|pattern| TextMatch::new(pattern, true).ok())
}

fn operation(operation: &Operation) -> Permission {
    let mut all = Vec::new();
    if !operation.method.is_empty() {
        let method = HeaderMatch::Value(TextMatch::exact(&operation.method));
        all.push(Permission::Header(":method".to_owned(), method));
    }
    all.extend(path(&operation.route).map(Permission::UrlPath));
    match all.len() {
        0 => Permission::Any,
        1 => all.remove(0),
        _ => Permission::And(all),
    }
}

/// The paths of a route: one is compared as it is, a template by a regular expression.
fn path(route: &str) -> Option<TextMatch> {
    if route.is_empty() {
        return None;
    }
    match Template::of_cut(route) {
        Some(template) if !template.concrete() => {
            TextMatch::new(TextPattern::Regex(template.regex()), false).ok()
        }
        _ => Some(TextMatch::exact(route)),
    }
}

/// The same as [`permissions`], among the principals.
fn asked_as_principal(cut: &Cut) -> Option<Principal> {
    fn turned(permission: Permission) -> Principal {
        let all = |inner: Vec<Permission>| inner.into_iter().map(turned).collect();
        match permission {
            Permission::And(inner) => Principal::And(all(inner)),
            Permission::Or(inner) => Principal::Or(all(inner)),
            Permission::Not(inner) => Principal::Not(Box::new(turned(*inner))),
            Permission::Header(name, wanted) => Principal::Header(name, wanted),
            Permission::UrlPath(matcher) => Principal::UrlPath(matcher),
            // A cut asks for nothing else.
            Permission::Any | Permission::DestinationPort(_) | Permission::NotRecorded(_) => Principal::Any,
        }
    }
    let mut asked = permissions(cut);
    if asked == [Permission::Any] {
        return None;
    }
    Some(if asked.len() == 1 { turned(asked.remove(0)) } else { turned(Permission::Or(asked)) })
}

fn rbac(rbac: &Rbac) -> Yaml {
    let action = match rbac.action {
        RbacAction::Allow => "ALLOW",
        RbacAction::Deny => "DENY",
        RbacAction::Log => "LOG",
    };
    let policy = |policy: &RbacPolicy| {
        map([
            ("permissions", Yaml::List(policy.permissions.iter().map(permission_tree).collect())),
            ("principals", Yaml::List(policy.principals.iter().map(principal_tree).collect())),
        ])
    };
    let policies = rbac.policies.iter().map(|(name, one)| (name.clone(), policy(one))).collect();
    map([("action", text(action)), ("policies", Yaml::Map(policies))])
}

fn permission_tree(permission: &Permission) -> Yaml {
    let rules =
        |inner: &[Permission]| map([("rules", Yaml::List(inner.iter().map(permission_tree).collect()))]);
    match permission {
        // A thing that no record has is only read from people's files, and matches nothing when written.
        Permission::NotRecorded(_) => map([("not_rule", map([("any", Yaml::Bool(true))]))]),
        Permission::Any => map([("any", Yaml::Bool(true))]),
        Permission::And(inner) => map([("and_rules", rules(inner))]),
        Permission::Or(inner) => map([("or_rules", rules(inner))]),
        Permission::Not(inner) => map([("not_rule", permission_tree(inner))]),
        Permission::Header(name, wanted) => header_tree(name, wanted),
        Permission::UrlPath(matcher) => map([("url_path", map([("path", text_match(matcher))]))]),
        Permission::DestinationPort(port) => map([("destination_port", Yaml::Number(u64::from(*port)))]),
    }
}

fn principal_tree(principal: &Principal) -> Yaml {
    let ids = |inner: &[Principal]| map([("ids", Yaml::List(inner.iter().map(principal_tree).collect()))]);
    match principal {
        Principal::NotRecorded(_) => map([("not_id", map([("any", Yaml::Bool(true))]))]),
        Principal::Any => map([("any", Yaml::Bool(true))]),
        Principal::And(inner) => map([("and_ids", ids(inner))]),
        Principal::Or(inner) => map([("or_ids", ids(inner))]),
        Principal::Not(inner) => map([("not_id", principal_tree(inner))]),
        Principal::Authenticated(None) => map([("authenticated", map([]))]),
        Principal::Authenticated(Some(matcher)) => {
            map([("authenticated", map([("principal_name", text_match(matcher))]))])
        }
        Principal::Header(name, wanted) => header_tree(name, wanted),
        Principal::UrlPath(matcher) => map([("url_path", map([("path", text_match(matcher))]))]),
    }
}

fn header_tree(name: &str, wanted: &HeaderMatch) -> Yaml {
    let (key, value) = match wanted {
        HeaderMatch::Value(matcher) => ("string_match", text_match(matcher)),
        HeaderMatch::Present => ("present_match", Yaml::Bool(true)),
        HeaderMatch::Absent => ("present_match", Yaml::Bool(false)),
    };
    map([("header", map([("name", text(name)), (key, value)]))])
}

fn text_match(matcher: &TextMatch) -> Yaml {
    let (key, value) = match matcher.pattern() {
        TextPattern::Exact(value) => ("exact", text(value)),
        TextPattern::Prefix(value) => ("prefix", text(value)),
        TextPattern::Suffix(value) => ("suffix", text(value)),
        TextPattern::Contains(value) => ("contains", text(value)),
        TextPattern::Regex(regex) => ("safe_regex", map([("regex", text(regex))])),
        TextPattern::UriTemplate(template) => {
            ("safe_regex", map([("regex", text(uri_template_regex(template)))]))
        }
    };
    if matcher.ignore_case() {
        map([(key, value), ("ignore_case", Yaml::Bool(true))])
    } else {
        map([(key, value)])
    }
}

/// An Envoy URI template as the regular expression that it stands for.
fn uri_template_regex(template: &str) -> String {
    let escaped = regex::escape(template);
    escaped.replace("\\*\\*", ".*").replace("\\*", "[^/]+")
}
