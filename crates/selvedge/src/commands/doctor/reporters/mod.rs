//! What each workload's telemetry brings, and what cannot be seen for want of what is missing.
//!
//! Pure: counts of the last minutes in, a line for each thing that matters out. `identity.rs` judges who is named,
//! `sides.rs` who speaks of what and what finds each other, `health.rs` refusals and clocks.

mod health;
mod identity;
mod sides;
#[cfg(test)]
mod tests;

use std::time::Duration;

use selvedge_act::clip;
use selvedge_act::document::EndpointDocument;
use selvedge_act::reporter_document::{CarriedDocument, ReporterDocument};
use selvedge_engine::{CLOCK_AHEAD_MAX, EngineConfig};
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

/// Characters of a name, which others choose.
const NAME_CHARS_MAX: usize = 60;
/// Nobody in a mesh that is used is silent for so long.
const SILENT: Duration = Duration::from_mins(10);

/// What is judged, by whose clock, and within which bounds.
pub(super) struct Scene<'a> {
    pub(super) reporters: &'a [ReporterDocument],
    /// What was counted for none of them, for want of room.
    pub(super) uncounted: u64,
    pub(super) mesh: Mesh,
    pub(super) now: ObservedTime,
    pub(super) bounds: Bounds,
}

/// How far senders' clocks may be off until their records count for less.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Past this a record is taken as of its arrival.
    ahead_max: Duration,
    /// Past this a record is late: its window is closed.
    behind_max: Duration,
}

impl Bounds {
    /// As an engine of this configuration has them.
    pub(super) fn of(config: &EngineConfig) -> Self {
        let join = &config.join;
        Self { ahead_max: CLOCK_AHEAD_MAX, behind_max: join.window_length + join.allowed_lateness }
    }
}

/// A line for each thing that matters.
pub(super) fn judge(scene: &Scene<'_>) -> Group {
    let reporters = scene.reporters;
    let heard = reporters.iter().filter(|one| one.heard_unix_nano.is_some() && has_name(one)).count();
    let spanned = reporters.iter().map(|one| one.covers_seconds).fold(0.0, f64::max);
    let title =
        format!("Reporters: {heard} heard, counts of the last {:.0} min", (spanned / 60.0).max(1.0).ceil());
    let checks = match reporters.iter().filter_map(heard_at).max() {
        None => {
            let text = "nothing was received in the last minutes";
            let check =
                Check::warn("telemetry", text).advise("point the proxies here; docs/proxies.md says how");
            vec![check.mended_by(mending(Topic::AccessLogs, scene.mesh))]
        }
        Some(last) if scene.is_silent(last) => vec![health::all_silent(last, scene.now)],
        Some(_) => [health::judge(scene), sides::judge(scene), identity::judge(scene)].concat(),
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
    let name = match (workload.namespace.as_str(), workload.workload.as_str()) {
        (_, "") => "(no name)".to_owned(),
        ("", workload) => workload.to_owned(),
        (namespace, workload) => format!("{namespace}/{workload}"),
    };
    clip(&name, NAME_CHARS_MAX)
}

/// Some of many, for people.
fn some(names: &[String], separator: &str) -> String {
    let named = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(separator);
    match names.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn has_name(one: &ReporterDocument) -> bool {
    !one.workload.workload.is_empty()
}

fn heard_at(one: &ReporterDocument) -> Option<ObservedTime> {
    one.heard_unix_nano.map(|heard| ObservedTime(heard.0))
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

/// How much there is of what there should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Band {
    Missing,
    Partly,
    There,
}

/// Of a share; nothing of too few records.
fn band(part: u64, of: u64) -> Option<Band> {
    let share = (of >= RECORDS_MIN).then(|| part as f64 / of as f64)?;
    Some(match share {
        share if share < NONE_BELOW => Band::Missing,
        share if share < ALL_FROM => Band::Partly,
        _ => Band::There,
    })
}

/// There is no evidence either way.
fn too_few(subject: &str) -> Check {
    Check::unknown(subject, "too few records to tell").advise("ask again after more traffic")
}

/// Some workloads, and how much of theirs is there.
#[derive(Clone, Default)]
struct Concerned {
    names: Vec<String>,
    part: u64,
    of: u64,
    topic: Option<Topic>,
}

/// All workloads by how much of theirs is there.
#[derive(Default)]
struct Survey {
    bands: [Concerned; 3],
}

impl Survey {
    fn of(&self, band: Band) -> Option<&Concerned> {
        Some(&self.bands[band as usize]).filter(|concerned| !concerned.names.is_empty())
    }

    fn missing(&self) -> Option<&Concerned> {
        self.of(Band::Missing)
    }

    fn partly(&self) -> Option<&Concerned> {
        self.of(Band::Partly)
    }

    /// Of whom not all is there.
    fn lacking(&self) -> Option<Concerned> {
        let mut all = self.missing().cloned().unwrap_or_default();
        all.add(self.partly().cloned().unwrap_or_default());
        (!all.names.is_empty()).then_some(all)
    }

    /// Of somebody it can be told.
    fn known(&self) -> bool {
        self.bands.iter().any(|concerned| !concerned.names.is_empty())
    }

    /// What is said when nothing is lacking.
    fn ok(&self, subject: &str, text: &str) -> Check {
        if self.known() { Check::ok(subject, text) } else { too_few(subject) }
    }
}

impl Scene<'_> {
    fn is_silent(&self, heard: ObservedTime) -> bool {
        heard < self.now.before(SILENT)
    }

    /// Asks each how much there is of how much, and what mends it. Those who bring too little to tell are taken together.
    fn survey(&self, ask: impl Fn(&ReporterDocument) -> Option<(u64, u64, Topic)>) -> Survey {
        self.survey_by(band, ask)
    }

    fn survey_by(
        &self,
        band: impl Fn(u64, u64) -> Option<Band>,
        ask: impl Fn(&ReporterDocument) -> Option<(u64, u64, Topic)>,
    ) -> Survey {
        let (mut survey, mut small) = (Survey::default(), Concerned::default());
        for one in self.reporters {
            let Some((part, of, topic)) = ask(one).filter(|(_, of, _)| *of > 0) else { continue };
            let to = band(part, of).map_or(&mut small, |band| &mut survey.bands[band as usize]);
            to.add(Concerned { names: vec![label(&one.workload)], part, of, topic: Some(topic) });
        }
        if let Some(band) = band(small.part, small.of) {
            survey.bands[band as usize].add(small);
        }
        survey
    }

    fn mend(&self, check: Check, concerned: &Concerned) -> Check {
        let snippets = concerned.topic.map(|topic| mending(topic, self.mesh)).unwrap_or_default();
        check.mended_by(snippets)
    }
}

impl Concerned {
    fn add(&mut self, other: Self) {
        self.names.extend(other.names);
        self.part += other.part;
        self.of += other.of;
        self.topic = self.topic.or(other.topic);
    }

    /// At whom, for people.
    fn whom(&self) -> String {
        some(&self.names, ", ")
    }
}
