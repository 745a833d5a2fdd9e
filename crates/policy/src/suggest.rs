//! Deny by default, from what is observed: for a namespace the ALLOW policies under which everything that
//! normally happens goes on, with the trial of themselves and a file of cases that keeps them honest.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_model::IdentitySource;

use crate::dialect::{MeshSettings, OTHER_METHOD, PolicyError, PolicySet, PolicyVerdict};
use crate::render::{Deployment, RenderContext, istio_path, metadata_name_ok};
use crate::template::Template;
use crate::traffic::TrafficRow;
use crate::yaml::{Yaml, map, text, texts, write_documents};

/// Cases in the file of cases; what is observed beyond them is counted.
const CASES_MAX: usize = 2_000;
/// Denied and undecided kinds of calls that are listed; the rest is counted.
const LISTED_MAX: usize = 200;

/// Policies for a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suggestion {
    /// The policies as YAML documents, the one that allows nothing first.
    pub policies: String,
    /// Cases for `policy test`: every observed kind of call is allowed, a stranger is not. Names
    /// `policies_file`.
    pub cases: String,
    /// What a person must look at before applying them.
    pub warnings: Vec<String>,
    /// Of the observed calls, those that the policies allow.
    pub allowed: u64,
    /// Those that they would deny.
    pub denied: u64,
    /// Those of which the record does not say enough.
    pub undecided: u64,
    /// What would be denied, most calls first: caller, callee, `METHOD route`, calls.
    pub denied_calls: Vec<DeniedCalls>,
}

/// Calls that suggested policies would deny.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedCalls {
    /// Who calls, as people say it.
    pub caller: String,
    /// Whom.
    pub callee: String,
    /// `METHOD route`.
    pub operation: String,
    /// They were normal.
    pub normal: bool,
    /// How many.
    pub calls: u64,
}

/// What a workload is normally asked for, by whom: principals by the operations they use, methods with their
/// paths.
type Operations = BTreeMap<String, BTreeSet<String>>;
type Callers<'r> = BTreeMap<&'r str, Operations>;

/// Writes deny-by-default policies for a namespace from its normal traffic, and tries them on all of it.
/// `policies_file` is the name under which the file of cases will find the policies.
///
/// # Errors
/// When the namespace has no name that an object could have, or no workload in it is called by anyone proven.
pub fn suggest(
    namespace: &str,
    rows: &[TrafficRow],
    context: &RenderContext,
    policies_file: &str,
) -> Result<Suggestion, String> {
    if !metadata_name_ok(namespace, "any") {
        return Err(format!("`{}` is no name of a namespace", namespace.escape_debug()));
    }
    let rows: Vec<&TrafficRow> =
        rows.iter().filter(|row| !row.external && row.destination.namespace == namespace).collect();
    let mut warnings = BTreeSet::new();
    let learned = learn(&rows, context, &mut warnings);
    if learned.is_empty() {
        return Err(format!(
            "no workload of {namespace} is called normally by a caller with a proven identity"
        ));
    }
    let mut documents = vec![object(namespace, "selvedge-deny-by-default", map([]))];
    for (workload, callers) in &learned {
        documents.push(policy(namespace, workload, callers, context));
    }
    if documents.len() > 2 && context.deployment == Deployment::Waypoint {
        warnings.insert("each service is taken to be named as its workload".to_owned());
    }
    let mut suggestion = Suggestion { policies: write_documents(&documents), ..Suggestion::default() };
    suggestion.cases = cases(&rows, &learned, policies_file, &mut warnings);
    suggestion.warnings = warnings.into_iter().collect();
    let settings = MeshSettings {
        root_namespace: context.root_namespace.clone(),
        trust_domain: context.trust_domain.clone(),
        selector_label: context.selector_label.clone(),
    };
    let set = PolicySet::parse_in(&suggestion.policies, policies_file, &settings).map_err(|errors| {
        let errors: Vec<String> = errors.iter().map(PolicyError::to_string).collect();
        format!("the suggested policies cannot be read back: {}", errors.join("; "))
    })?;
    suggestion.try_on(&rows, &set);
    Ok(suggestion)
}

/// True for a caller that policies can be written for: its certificate was verified by the callee's side.
fn proven(row: &TrafficRow) -> bool {
    row.authenticated == Some(true)
        && row.source_identity == IdentitySource::MtlsCertificate
        && row
            .source
            .principal
            .strip_prefix("spiffe://")
            .is_some_and(|bare| !bare.is_empty() && !bare.contains('*'))
}

fn learn<'r>(
    rows: &[&'r TrafficRow],
    context: &RenderContext,
    warnings: &mut BTreeSet<String>,
) -> BTreeMap<&'r str, Callers<'r>> {
    let mut learned: BTreeMap<&str, Callers<'_>> = BTreeMap::new();
    let mut unproven: BTreeMap<(&str, String), u64> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.normal) {
        let workload = row.destination.workload.as_str();
        if !metadata_name_ok(workload, workload) {
            warnings.insert(format!(
                "{} has no name that an object could have: no policy",
                row.destination.label()
            ));
            continue;
        }
        if !proven(row) {
            *unproven.entry((workload, row.source.label())).or_default() += row.calls;
            continue;
        }
        let callers = learned.entry(workload).or_default();
        let operations = callers.entry(row.source.principal.as_str()).or_default();
        if row.route.is_empty() || context.deployment == Deployment::Ambient {
            continue;
        }
        match exact_route(&row.route) {
            Ok(path) if !row.method.contains('*') && row.method != OTHER_METHOD => {
                operations.entry(row.method.clone()).or_default().insert(path);
            }
            Ok(_) => {
                warnings.insert(format!("method `{}` cannot be allowed by name", row.method.escape_debug()));
            }
            Err(why) => {
                warnings.insert(format!("calls to {} cannot be allowed: {why}", row.destination.label()));
            }
        }
    }
    for ((workload, caller), calls) in unproven {
        warnings.insert(format!(
            "{calls} normal calls of {caller} to {workload} came without a proven identity, and would be denied"
        ));
    }
    if context.deployment == Deployment::Ambient {
        warnings.insert(
            "ztunnel sees connections only: callers are allowed without methods and paths".to_owned(),
        );
    }
    learned
}

/// A learned template in Istio's syntax. Every placeholder is one segment, also a last `{*}`.
fn exact_route(route: &str) -> Result<String, String> {
    istio_path(
        &route.strip_suffix("{*}").map_or_else(|| route.to_owned(), |before| format!("{before}{{id}}")),
    )
}

fn object(namespace: &str, name: &str, spec: Yaml) -> Yaml {
    let metadata = map([
        ("name", text(name)),
        ("namespace", text(namespace)),
        ("labels", map([("app.kubernetes.io/managed-by", text("selvedge"))])),
    ]);
    map([
        ("apiVersion", text("security.istio.io/v1")),
        ("kind", text("AuthorizationPolicy")),
        ("metadata", metadata),
        ("spec", spec),
    ])
}

fn policy(namespace: &str, workload: &str, callers: &Callers<'_>, context: &RenderContext) -> Yaml {
    // Callers that do the same stand in one rule.
    let mut by_operations: BTreeMap<&Operations, Vec<&str>> = BTreeMap::new();
    for (principal, operations) in callers {
        by_operations.entry(operations).or_default().push(principal);
    }
    let rules = by_operations.into_iter().map(|(operations, principals)| {
        let bare =
            principals.into_iter().map(|principal| principal.strip_prefix("spiffe://").unwrap_or(principal));
        let from = Yaml::List(vec![map([("source", map([("principals", texts(bare))]))])]);
        if operations.is_empty() {
            return map([("from", from)]);
        }
        let to = operations.iter().map(|(method, paths)| {
            let mut entries = Vec::new();
            if !method.is_empty() {
                entries.push(("methods".to_owned(), texts([method.as_str()])));
            }
            entries.push(("paths".to_owned(), texts(paths)));
            map([("operation", Yaml::Map(entries))])
        });
        map([("from", from), ("to", Yaml::List(to.collect()))])
    });
    let (scope, value) = if context.deployment == Deployment::Waypoint {
        let service = map([("kind", text("Service")), ("group", text("")), ("name", text(workload))]);
        ("targetRefs", Yaml::List(vec![service]))
    } else {
        ("selector", map([("matchLabels", map([(context.selector_label.as_str(), text(workload))]))]))
    };
    let spec = map([(scope, value), ("action", text("ALLOW")), ("rules", Yaml::List(rules.collect()))]);
    object(namespace, &format!("selvedge-allow-{workload}"), spec)
}

/// The observed kinds of calls as cases, and one stranger a workload.
fn cases(
    rows: &[&TrafficRow],
    learned: &BTreeMap<&str, Callers<'_>>,
    policies_file: &str,
    warnings: &mut BTreeSet<String>,
) -> String {
    let mut kinds = BTreeSet::new();
    for row in rows.iter().filter(|row| row.normal && proven(row) && exact_route(&row.route).is_ok()) {
        if let Some(template) = Template::of_calls(&row.route) {
            let path = template.write(str::to_owned, "sample", "sample");
            kinds.insert((&row.destination, row.source.principal.as_str(), row.method.as_str(), path));
        }
    }
    if kinds.len() > CASES_MAX {
        warnings.insert(format!("{} kinds of calls found no room among the cases", kinds.len() - CASES_MAX));
    }
    let case = |name: String, source: Yaml, to: (&str, &str), method: &str, path: &str, expect: &str| {
        let destination = map([("namespace", text(to.0)), ("workload", text(to.1))]);
        let mut given = vec![("source", source), ("destination", destination)];
        given.extend((!method.is_empty()).then(|| ("method", text(method))));
        given.push(("path", text(path)));
        let given = given.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        map([("name", text(name)), ("given", Yaml::Map(given)), ("expect", text(expect))])
    };
    let mut list = Vec::new();
    for (destination, principal, method, path) in kinds.into_iter().take(CASES_MAX) {
        let name = format!("{principal} may {method} {path} at {}", destination.workload);
        let to = (destination.namespace.as_str(), destination.workload.as_str());
        list.push(case(name, map([("principal", text(principal))]), to, method, &path, "allow"));
    }
    let namespace = rows.first().map_or("", |row| row.destination.namespace.as_str());
    for workload in learned.keys() {
        let name = format!("a stranger may not call {workload}");
        list.push(case(name, map([]), (namespace, workload), "GET", "/", "deny"));
    }
    write_documents(&[map([("policies", texts([policies_file])), ("cases", Yaml::List(list))])])
}

impl Suggestion {
    fn try_on(&mut self, rows: &[&TrafficRow], set: &PolicySet) {
        let mut denied: BTreeMap<(String, String, String, bool), u64> = BTreeMap::new();
        for row in rows {
            match set.verdict(row) {
                PolicyVerdict::Allowed => self.allowed += row.calls,
                PolicyVerdict::Unknown { .. } => self.undecided += row.calls,
                PolicyVerdict::Denied { .. } => {
                    self.denied += row.calls;
                    let operation = format!("{} {}", row.method, row.route).trim().to_owned();
                    let kind = (row.source.label(), row.destination.label(), operation, row.normal);
                    *denied.entry(kind).or_default() += row.calls;
                }
            }
        }
        let calls = |((caller, callee, operation, normal), calls)| DeniedCalls {
            caller,
            callee,
            operation,
            normal,
            calls,
        };
        self.denied_calls = denied.into_iter().map(calls).collect();
        // The sort is stable: kinds with as many calls keep the order of their names.
        self.denied_calls.sort_by_key(|kind| std::cmp::Reverse(kind.calls));
        if self.denied_calls.len() > LISTED_MAX {
            let more = self.denied_calls.len() - LISTED_MAX;
            self.warnings.push(format!("{more} more kinds of calls would be denied"));
            self.denied_calls.truncate(LISTED_MAX);
        }
    }
}
