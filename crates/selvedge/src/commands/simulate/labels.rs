//! What is true about a simulated mesh, for programs.

use selvedge_model::EventTime;
use selvedge_simulate::{Cause, Extent, Label};
use serde_json::{Value, json};

use super::Written;
use super::plan::{Plan, World};
use crate::cli::name_of;

/// Attacks, faults and what happened without harm, with times and names. Integers of 64 bits are text.
pub(super) fn document(plan: &Plan, world: &World, written: &Written) -> Value {
    let told = &written.told;
    json!({
        "seed": plan.config.seed.to_string(),
        "services": world.mesh.services().len(),
        "edges": world.mesh.edges().len(),
        "start_unix_nano": nano(plan.from),
        "end_unix_nano": nano(plan.until),
        "calls": told.calls,
        "handshakes_refused": told.refused,
        "records": told.records,
        "attacks": attacks(plan, world),
        "faults": faults(world),
        "benign": benign(plan, world),
    })
}

fn attacks(plan: &Plan, world: &World) -> Vec<Value> {
    let scenarios = world.signals.scenarios().iter().zip(&world.attacks);
    scenarios
        .map(|(scenario, name)| {
            json!({
                "kind": name_of(name),
                "start_unix_nano": nano(scenario.start),
                "end_unix_nano": nano(scenario.end.min(plan.until)),
                "hops_unix_nano": scenario.hops.iter().filter(|at| **at < plan.until).map(|at| nano(*at)).collect::<Vec<_>>(),
                "path": scenario.path.iter().map(|service| world.service(*service)).collect::<Vec<_>>(),
            })
        })
        .collect()
}

fn faults(world: &World) -> Vec<Value> {
    let faults = world.faults.iter();
    faults
        .map(|(name, fault)| {
            json!({
                "kind": name_of(name),
                "edge": world.edge(fault.edge),
                "start_unix_nano": nano(fault.start),
                "end_unix_nano": nano(fault.end),
            })
        })
        .collect()
}

/// What happened in the stretch that was told, or before and until into it.
fn benign(plan: &Plan, world: &World) -> Vec<Value> {
    let labels = world.mesh.labels().iter();
    labels
        .filter(|label| !matches!(label.cause, Cause::Fault(_)) && inside(plan, label))
        .map(|label| {
            let (kind, strength) = told(label.cause);
            json!({
                "kind": kind,
                "strength": strength,
                "of": extent(world, label.extent),
                "start_unix_nano": nano(label.start),
                "end_unix_nano": nano(label.end),
            })
        })
        .collect()
}

/// True for what touches the stretch that is told.
pub(super) fn inside(plan: &Plan, label: &Label) -> bool {
    label.start < plan.until && (label.end > plan.from || label.start >= plan.from)
}

/// A word for it, and how strong it is.
pub(super) fn told(cause: Cause) -> (&'static str, f64) {
    match cause {
        Cause::Fault(_) => ("fault", 1.0),
        Cause::Cron(times) => ("cron", times),
        Cause::Burst(times) => ("burst", times),
        Cause::Slow(share) => ("slow", share),
        Cause::Failing(times) => ("failing", times),
        Cause::Upload(times) => ("upload", times),
        Cause::Deployment { rate, .. } => ("deployment", rate),
        Cause::Gap => ("gap", 1.0),
        Cause::Sampling(share) => ("sampling", share),
        Cause::UnsaidSampling(share) => ("unsaid-sampling", share),
        Cause::ClockStep(seconds) => ("clock-step", seconds),
    }
}

fn extent(world: &World, extent: Extent) -> Value {
    match extent {
        Extent::Edge(edge) => json!({ "edge": world.edge(edge) }),
        Extent::Service(service) => json!({ "service": world.service(service) }),
        Extent::Reporter(service) => json!({ "reporter": world.service(service) }),
        Extent::Mesh => json!("mesh"),
    }
}

impl World {
    /// Names of a service.
    fn service(&self, service: usize) -> Value {
        let (namespace, workload) = self.names(service);
        json!({ "namespace": namespace, "workload": workload })
    }

    /// Names of the ends of an edge.
    fn edge(&self, edge: usize) -> Value {
        let spec = &self.mesh.edges()[edge];
        json!({ "source": self.service(spec.caller), "destination": self.service(spec.callee) })
    }

    /// Namespace and name of a service.
    pub(super) fn names(&self, service: usize) -> (&str, &str) {
        let (node, symbols) = (self.signals.nodes()[service], self.signals.symbols());
        (symbols.resolve(node.namespace), symbols.resolve(node.workload))
    }
}

fn nano(at: EventTime) -> String {
    at.0.to_string()
}
