//! What each workload's telemetry brings, and what cannot be seen for want of what is missing.
//!
//! Pure: counts of the last minutes in, a line for each thing that matters out. `identity.rs` judges who is named,
//! `sides.rs` who speaks of what and what finds each other, `health.rs` refusals and clocks.

mod health;
mod identity;
mod sides;
#[cfg(test)]
mod tests;

use selvedge_act::document::EndpointDocument;
use selvedge_act::reporter_document::{CarriedDocument, ReporterDocument};
use selvedge_model::ObservedTime;

use super::check::{Check, Group};
use super::snippets::{Topic, mending};
use crate::cli::Mesh;

/// Fewer records say nothing.
const RECORDS_MIN: u64 = 20;
/// Below this share something is missing altogether: what remains are exceptions.
const NONE_BELOW: f64 = 0.1;
/// From this share on it is there: what is missing are exceptions.
const ALL_FROM: f64 = 0.9;
/// Names of workloads in one line.
const NAMED_MAX: usize = 5;

/// What is judged, and by whose clock.
pub(super) struct Scene<'a> {
    reporters: &'a [ReporterDocument],
    mesh: Mesh,
    now: ObservedTime,
}

/// A line for each thing that matters.
pub(super) fn judge(reporters: &[ReporterDocument], mesh: Mesh, now: ObservedTime) -> Group {
    let scene = Scene { reporters, mesh, now };
    let heard = reporters.iter().filter(|one| one.heard_unix_nano.is_some() && has_name(one)).count();
    let spanned = reporters.iter().map(|one| one.covers_seconds).fold(0.0, f64::max);
    let title =
        format!("Reporters: {heard} heard, counts of the last {:.0} min", (spanned / 60.0).max(1.0).ceil());
    let checks = if reporters.iter().all(|one| one.heard_unix_nano.is_none()) {
        let text = "nothing was received in the last minutes";
        let check = Check::warn("telemetry", text).advise("point the proxies here; docs/proxies.md says how");
        vec![check.mended_by(mending(Topic::AccessLogs, mesh))]
    } else {
        [health::judge(&scene), sides::judge(&scene), identity::judge(&scene)].concat()
    };
    Group { name: "reporters", title, checks }
}

/// Which mesh it is, as the identities look.
pub(super) fn guess(reporters: &[ReporterDocument]) -> Mesh {
    let of = |mark: &str| reporters.iter().any(|one| one.workload.principal.contains(mark));
    if of(".serviceaccount.identity.") {
        Mesh::Linkerd
    } else if of("spiffe://cluster.local/ns/") {
        Mesh::Istio
    } else {
        Mesh::Envoy
    }
}

/// Short name for people.
pub(super) fn label(workload: &EndpointDocument) -> String {
    match (workload.namespace.as_str(), workload.workload.as_str()) {
        (_, "") => "(no name)".to_owned(),
        ("", workload) => workload.to_owned(),
        (namespace, workload) => format!("{namespace}/{workload}"),
    }
}

fn has_name(one: &ReporterDocument) -> bool {
    !one.workload.workload.is_empty()
}

/// What a workload's records of calls that it answered carry: access logs, else spans.
pub(super) fn inbound(one: &ReporterDocument) -> (&CarriedDocument, Topic) {
    let logs = one.access_logs.server.records > 0;
    if logs { (&one.access_logs.server, Topic::Inbound) } else { (&one.spans.server, Topic::Spans) }
}

/// The same of calls that it made.
pub(super) fn outbound(one: &ReporterDocument) -> (&CarriedDocument, Topic) {
    let logs = one.access_logs.client.records > 0;
    if logs { (&one.access_logs.client, Topic::Outbound) } else { (&one.spans.client, Topic::Spans) }
}

/// A share, or nothing of too few.
fn share(part: u64, of: u64) -> Option<f64> {
    (of >= RECORDS_MIN).then(|| part as f64 / of as f64)
}

/// Some workloads, and how much of theirs is concerned.
#[derive(Default)]
struct Concerned {
    names: Vec<String>,
    part: u64,
    of: u64,
    topic: Option<Topic>,
}

impl Scene<'_> {
    /// Those of which `ask` says how much is concerned, of how much, and what mends it.
    fn concerned(&self, ask: impl Fn(&ReporterDocument) -> Option<(u64, u64, Topic)>) -> Option<Concerned> {
        let mut concerned = Concerned::default();
        for one in self.reporters {
            let Some((part, of, topic)) = ask(one) else { continue };
            concerned.names.push(label(&one.workload));
            concerned.part += part;
            concerned.of += of;
            concerned.topic.get_or_insert(topic);
        }
        (!concerned.names.is_empty()).then_some(concerned)
    }

    /// The same, when it does not matter how much.
    fn those(&self, topic: Topic, who: impl Fn(&ReporterDocument) -> bool) -> Option<Concerned> {
        self.concerned(|one| who(one).then_some((0, 0, topic)))
    }

    fn mend(&self, check: Check, concerned: &Concerned) -> Check {
        let snippets = concerned.topic.map(|topic| mending(topic, self.mesh)).unwrap_or_default();
        check.mended_by(snippets)
    }
}

impl Concerned {
    /// At whom, for people.
    fn whom(&self) -> String {
        let named = self.names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
        match self.names.len().saturating_sub(NAMED_MAX) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }
}
