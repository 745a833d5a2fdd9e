//! Consul service intentions: one object a destination, with the caller denied, or what it may not ask for.

use selvedge_model::{Caller, Cut, Endpoint, Operation, Place, Quarantine};

use super::envoy::check_operation;
use super::kubernetes::callers;
use super::object::{check_trust_domain, check_workload, is_label_value, metadata};
use super::{Draft, Named, RenderContext};
use crate::template::Template;
use crate::yaml::{Yaml, map, text, texts, write_documents};

pub(super) fn render(draft: &mut Draft<'_>, context: &RenderContext) -> String {
    let quarantine = draft.quarantine;
    draft.refuse_shadow("intentions have no dry run");
    let mut workloads: Vec<&Endpoint> = Vec::new();
    for cut in &quarantine.cuts {
        check(draft, cut, context);
        let workload = &cut.workload;
        if !workloads
            .iter()
            .any(|one| one.namespace == workload.namespace && one.workload == workload.workload)
        {
            workloads.push(workload);
        }
    }
    let mut documents = Vec::new();
    for (number, workload) in workloads.into_iter().enumerate() {
        let here = |cut: &&Cut| {
            cut.workload.namespace == workload.namespace && cut.workload.workload == workload.workload
        };
        let cuts: Vec<&Cut> = quarantine.cuts.iter().filter(here).collect();
        let sources = sources(draft, quarantine, &cuts);
        documents.push(map([
            ("apiVersion", text("consul.hashicorp.com/v1alpha1")),
            ("kind", text("ServiceIntentions")),
            ("metadata", metadata(quarantine, context, number, Some(&workload.namespace), &[])),
            (
                "spec",
                map([
                    ("destination", map([("name", text(workload.workload.as_str()))])),
                    ("sources", Yaml::List(sources)),
                ]),
            ),
        ]));
    }
    draft.note(
        "Consul keeps one object a destination: add these sources to the one that exists, do not replace it",
    );
    write_documents(&documents)
}

/// One entry a caller. What is asked for decides between a plain deny and permissions.
fn sources(draft: &mut Draft<'_>, quarantine: &Quarantine, cuts: &[&Cut]) -> Vec<Yaml> {
    let (mut names, mut sources): (Vec<String>, _) = (Vec::new(), Vec::new());
    for cut in cuts {
        for name in services(quarantine, cut) {
            if names.contains(&name) {
                draft.refuse(format!("two cuts name {}, which can have one entry", name.escape_debug()));
                continue;
            }
            names.push(name.clone());
            let decision = if cut.operations.is_empty() {
                ("action", text("deny"))
            } else {
                ("permissions", Yaml::List(cut.operations.iter().map(permission).collect()))
            };
            sources.push(map([("name", text(name)), decision]));
        }
    }
    sources
}

/// The services behind a principal: what a Consul identity says (`/svc/NAME`), else what the backtest saw.
fn services(quarantine: &Quarantine, cut: &Cut) -> Vec<String> {
    let Caller::Principal(principal) = &cut.caller else { return Vec::new() };
    match service(principal) {
        Some(name) => vec![name.to_owned()],
        None => callers(quarantine, cut).into_iter().map(|caller| caller.workload.clone()).collect(),
    }
}

/// The service that a Consul identity names.
fn service(principal: &str) -> Option<&str> {
    principal.strip_prefix("spiffe://")?.rsplit_once("/svc/").map(|(_, name)| name)
}

fn check(draft: &mut Draft<'_>, cut: &Cut, context: &RenderContext) {
    check_workload(draft, cut);
    if cut.place == Place::Outbound {
        draft.refuse(format!("{}: intentions are enforced by the callee's proxy", Named(cut)));
    }
    match &cut.caller {
        Caller::Principal(principal) => {
            if service(principal).is_some() {
                check_trust_domain(draft, cut, principal, context);
            }
            let services = services(draft.quarantine, cut);
            if services.is_empty() {
                draft.refuse(format!(
                    "{}: which service has the identity was not seen in the backtest",
                    Named(cut)
                ));
            }
            if services.iter().any(|name| !is_label_value(name)) {
                draft.refuse(format!("{}: a caller has a name that no service could have", Named(cut)));
            }
        }
        Caller::Unauthenticated => {
            draft.refuse(format!("{}: an intention names a service, and nobody without one", Named(cut)));
        }
        Caller::Local => draft.refuse(format!("{}: the workload itself is no caller of its own", Named(cut))),
    }
    if !cut.operations.is_empty() && !context.consul_default_allow {
        let reason =
            "what no permission matches falls to the mesh's default, to deny: everything would be refused";
        draft.refuse(format!("{}: {reason}", Named(cut)));
    }
    if !cut.operations.is_empty() {
        draft.note("permissions need the destination's protocol to be http, http2 or grpc");
        draft.note("they take the place of an intention that allowed the caller: merge the two");
    }
    for operation in &cut.operations {
        check_operation(draft, cut, operation);
        if operation.route == "*" {
            draft.refuse(format!("{}: the route `*` is no path that a permission could name", Named(cut)));
        }
    }
}

fn permission(operation: &Operation) -> Yaml {
    let mut http = Vec::new();
    match Template::of_cut(&operation.route) {
        Some(template) if template.concrete() => http.push(("pathExact", text(operation.route.as_str()))),
        Some(template) => http.push(("pathRegex", text(template.regex()))),
        None => http.push(("pathPrefix", text("/"))),
    }
    if !operation.method.is_empty() {
        http.push(("methods", texts([operation.method.as_str()])));
    }
    let http = http.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    map([("action", text("deny")), ("http", Yaml::Map(http))])
}
