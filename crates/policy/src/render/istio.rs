//! Istio `AuthorizationPolicy` objects, one a workload: for sidecars, for ztunnel (connections only), for
//! waypoints.

use selvedge_model::{Caller, Cut, Operation, Place, QuarantineState};

use super::envoy::check_operation;
use super::object::{check_workload, is_label_value, is_namespace, match_labels, metadata};
use super::{Deployment, Draft, Named, RenderContext};
use crate::dialect::literal_byte;
use crate::template::{Segment, Template};
use crate::yaml::{Yaml, map, text, texts, write_documents};

const DRY_RUN: (&str, &str) = ("istio.io/dry-run", "true");

pub(super) fn render(draft: &mut Draft<'_>, context: &RenderContext) -> String {
    let quarantine = draft.quarantine;
    check_deployment(draft, context);
    let mut workloads: Vec<(&str, &str)> = Vec::new();
    for cut in &quarantine.cuts {
        check(draft, cut, context);
        let workload = (cut.workload.namespace.as_str(), cut.workload.workload.as_str());
        if !workloads.contains(&workload) {
            workloads.push(workload);
        }
    }
    let shadow = quarantine.state == QuarantineState::Shadow;
    let annotations = if shadow { vec![DRY_RUN] } else { Vec::new() };
    let mut documents = Vec::new();
    for (number, (namespace, workload)) in workloads.into_iter().enumerate() {
        let here = |cut: &&Cut| cut.workload.namespace == namespace && cut.workload.workload == workload;
        let rules = quarantine.cuts.iter().filter(here).map(|cut| rule(cut, context)).collect();
        let (scope, value) = scope(context, workload);
        documents.push(map([
            ("apiVersion", text("security.istio.io/v1")),
            ("kind", text("AuthorizationPolicy")),
            ("metadata", metadata(quarantine, context, number, Some(namespace), &annotations)),
            ("spec", map([(scope, value), ("action", text("DENY")), ("rules", Yaml::List(rules))])),
        ]));
    }
    if documents.len() > 1 {
        draft.note("several workloads: the objects after the first have a number behind the quarantine's id");
    }
    write_documents(&documents)
}

/// The part of `spec` that says which workload it is for.
fn scope(context: &RenderContext, workload: &str) -> (&'static str, Yaml) {
    if context.deployment == Deployment::Waypoint {
        let service = map([("kind", text("Service")), ("group", text("")), ("name", text(workload))]);
        return ("targetRefs", Yaml::List(vec![service]));
    }
    ("selector", match_labels(context, workload))
}

fn check_deployment(draft: &mut Draft<'_>, context: &RenderContext) {
    match context.deployment {
        Deployment::Sidecar => {}
        Deployment::Ambient => {
            draft.refuse_shadow("ztunnel knows no dry run");
            draft.note(
                "behind a waypoint ztunnel sees the waypoint as the caller: then render for the waypoint",
            );
        }
        Deployment::Waypoint => {
            draft.note("the service is taken to be named as the workload; what goes around the waypoint is not refused");
        }
    }
}

fn check(draft: &mut Draft<'_>, cut: &Cut, context: &RenderContext) {
    check_workload(draft, cut);
    if cut.place == Place::Outbound {
        draft.refuse(format!(
            "{}: an AuthorizationPolicy is for what comes in, and would be ignored",
            Named(cut)
        ));
    }
    match &cut.caller {
        Caller::Principal(principal) => {
            let bare = principal.strip_prefix("spiffe://").unwrap_or_default();
            if bare.is_empty() {
                draft.refuse(format!(
                    "{}: Istio matches only identities that begin with `spiffe://`",
                    Named(cut)
                ));
            }
            if bare.contains('*') {
                draft.refuse(format!("{}: `*` in a principal would match others too", Named(cut)));
            }
        }
        Caller::Unauthenticated if context.deployment == Deployment::Waypoint => {
            draft.refuse(format!("{}: callers without an identity do not come by a waypoint", Named(cut)));
        }
        Caller::Unauthenticated => {}
        Caller::Local => {
            draft.refuse(format!("{}: the workload itself is no caller of its own", Named(cut)));
        }
    }
    if context.deployment == Deployment::Ambient && !cut.operations.is_empty() {
        let reason = "ztunnel sees connections only: methods and paths would be ignored, or deny everything";
        draft.refuse(format!("{}: {reason}", Named(cut)));
    }
    for operation in &cut.operations {
        check_operation(draft, cut, operation);
        if operation.method.contains('*') {
            draft.refuse(format!("{}: `*` in a method would match others too", Named(cut)));
        }
        if operation.route.is_empty() {
            continue;
        }
        match path(&operation.route) {
            Ok(path) if path.contains("{*}") || path.contains("{**}") => {
                draft.note("path templates need Istio 1.22, and match only what RFC 3986 allows in a path");
            }
            Ok(_) => {}
            Err(why) => draft.refuse(format!("{}: {why}", Named(cut))),
        }
    }
    if !cut.operations.is_empty() && context.port.is_none() {
        draft.note(
            "on ports that are not HTTP a rule with methods or paths refuses every connection of the caller",
        );
    }
}

fn rule(cut: &Cut, context: &RenderContext) -> Yaml {
    let source = match &cut.caller {
        Caller::Principal(principal) => {
            ("principals", texts([principal.strip_prefix("spiffe://").unwrap_or_default()]))
        }
        Caller::Unauthenticated | Caller::Local => ("notPrincipals", texts(["*"])),
    };
    let from = Yaml::List(vec![map([("source", map([source]))])]);
    if cut.operations.iter().any(|operation| *operation == Operation::default()) || cut.operations.is_empty()
    {
        return map([("from", from)]);
    }
    let to = cut.operations.iter();
    let to = to.map(|operation| map([("operation", operation_tree(operation, context))]));
    map([("from", from), ("to", Yaml::List(to.collect()))])
}

fn operation_tree(operation: &Operation, context: &RenderContext) -> Yaml {
    // On a port that is not HTTP a DENY ignores what it cannot see, and refuses everything.
    let ports = context.port.map(|port| ("ports".to_owned(), texts([port.to_string()])));
    let mut entries: Vec<(String, Yaml)> = ports.into_iter().collect();
    if !operation.method.is_empty() {
        entries.push(("methods".to_owned(), texts([operation.method.as_str()])));
    }
    if let Ok(path) = path(&operation.route) {
        entries.push(("paths".to_owned(), texts([path])));
    }
    Yaml::Map(entries)
}

/// A route in Istio's syntax, when that says the same.
pub(crate) fn path(route: &str) -> Result<String, String> {
    let shown = route.escape_debug();
    if route == "*" {
        // Alone it is the presence of any path.
        return Err("the route `*` would match every path".to_owned());
    }
    let Some(template) = Template::of_cut(route) else { return Err(format!("`{shown}` is no path")) };
    let literals = || {
        template.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(text) => Some(text.as_str()),
            Segment::One | Segment::Rest => None,
        })
    };
    if literals().any(|literal| literal.contains(['{', '}'])) {
        return Err(format!("`{shown}` has braces that are part of a segment, which Istio refuses"));
    }
    if !template.segments.contains(&Segment::One) {
        let path = template.write(str::to_owned, "", "*");
        // What ends in `*` is a prefix to Istio, wherever the star comes from.
        if template.concrete() && path.ends_with('*') {
            return Err(format!("`{shown}` ends in `*`, and would match every path that begins so"));
        }
        return Ok(path);
    }
    if literals().any(|literal| literal.is_empty() || !literal.bytes().all(literal_byte)) {
        return Err(format!("`{shown}` has a segment that cannot stand beside a path template"));
    }
    Ok(template.write(str::to_owned, "{*}", "{**}"))
}

/// True for a namespace and workload that an object can be made for.
pub(crate) fn metadata_name_ok(namespace: &str, workload: &str) -> bool {
    is_namespace(namespace) && is_label_value(workload)
}
