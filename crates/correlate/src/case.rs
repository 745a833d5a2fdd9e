//! An incident together with the findings it is made of; what people see is always told anew from them.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_model::hash::StableHasher;
use selvedge_model::{
    Calibration, Edge, Endpoint, EventTime, Finding, FindingKind, Incident, IncidentStatus, QuarantineRef,
    Severity, Suspect,
};
use serde::{Deserialize, Serialize};

use crate::change::VersionChange;
use crate::config::CorrelateConfig;
use crate::grouping::TRACES_MAX;
use crate::kinds::{telling, weight};
use crate::{suspects, title};

/// Edges shown; an attack that touches more is told by its heaviest.
const EDGES_MAX: usize = 16;
/// Quarantines shown.
const QUARANTINES_MAX: usize = 16;

/// The lines of the rules that say what to do next.
pub(crate) type Runbooks<'a> = &'a dyn Fn(FindingKind) -> Option<String>;

/// A finding of an incident, with the time of its first detection: a finding that is detected again keeps its place.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    finding: Finding,
    first_detected: EventTime,
}

/// An incident and what it is made of.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Case {
    /// As people see it.
    pub(crate) incident: Incident,
    /// From here the quiet time counts: the last evidence, moved on by every gap.
    pub(crate) quiet_from: EventTime,
    kept: Vec<Kept>,
}

impl Case {
    /// An incident that is known by the first of `findings` (in time, then by id; context last).
    pub(crate) fn open(findings: &[Finding], now: EventTime) -> Self {
        let first = findings
            .iter()
            .min_by(|left, right| age_key(left).cmp(&age_key(right)))
            .map_or("", |finding| finding.id.as_str());
        let incident = Incident {
            id: StableHasher::default().field(b"incident").field(first.as_bytes()).hex(),
            status: IncidentStatus::Open,
            severity: Severity::Info,
            title: String::new(),
            kinds: Vec::new(),
            onset: now,
            opened: now,
            updated: now,
            closed: None,
            return_period_seconds: None,
            edges: Vec::new(),
            suspects: Vec::new(),
            finding_ids: Vec::new(),
            exemplars: Vec::new(),
            techniques: Vec::new(),
            highlights: Vec::new(),
            quarantines: Vec::new(),
            runbook: Vec::new(),
            calibration: Calibration::Default,
        };
        Self { incident, quiet_from: now, kept: Vec::new() }
    }

    /// Its findings, in order of detection.
    pub(crate) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.kept.iter().map(|kept| &kept.finding)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.incident.status == IncidentStatus::Open
    }

    /// By this order "the earliest incident" is meant: those that people were told of before mere context.
    pub(crate) fn order(&self) -> (bool, EventTime, String) {
        (self.incident.severity == Severity::Info, self.incident.opened, self.incident.id.clone())
    }

    /// Takes the findings of another incident.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.kept.extend(other.kept.iter().cloned());
        other.incident.quarantines.iter().for_each(|quarantine| self.note(quarantine.clone()));
    }

    /// Keeps the latest word on a quarantine. The oldest make room: the store of quarantines keeps them all.
    pub(crate) fn note(&mut self, quarantine: QuarantineRef) {
        let known = &mut self.incident.quarantines;
        match known.iter_mut().find(|known| known.id == quarantine.id) {
            Some(known) => *known = quarantine,
            None => known.push(quarantine),
        }
        if known.len() > QUARANTINES_MAX {
            known.remove(0);
        }
    }

    /// Takes findings. One that is known already is replaced by its newer form.
    pub(crate) fn add(&mut self, findings: Vec<Finding>) {
        self.kept
            .extend(findings.into_iter().map(|finding| Kept { first_detected: finding.detected, finding }));
    }

    /// Tells the incident anew from its findings.
    pub(crate) fn retell(
        &mut self,
        runbooks: Runbooks<'_>,
        changes: &[VersionChange],
        config: &CorrelateConfig,
        now: EventTime,
    ) {
        self.settle(config.findings_max);
        let findings: Vec<&Finding> = self.kept.iter().map(|kept| &kept.finding).collect();
        let evidence: Vec<&Finding> =
            findings.iter().copied().filter(|finding| finding.severity > Severity::Info).collect();
        let told = if evidence.is_empty() { &findings } else { &evidence };
        let incident = &mut self.incident;
        let was = incident.severity;
        incident.severity = Severity::of_all(told).max(was);
        if was == Severity::Info && incident.severity > was {
            // Nobody is told of context: the first alert leaves now.
            incident.opened = now;
        }
        incident.kinds = kinds(&findings);
        incident.onset = told.iter().map(|finding| finding.onset).min().unwrap_or(now);
        incident.return_period_seconds =
            findings.iter().filter_map(|finding| finding.return_period_seconds).max_by(f64::total_cmp);
        incident.calibration = calibration(&findings);
        incident.suspects = suspects::rank(told, &findings, changes);
        incident.edges = edges(&findings, incident.suspects.first());
        incident.title = title::sentence(told, &incident.suspects);
        incident.finding_ids = findings.iter().map(|finding| finding.id.clone()).collect();
        incident.exemplars = exemplars(told);
        let techniques: BTreeSet<&String> = findings.iter().flat_map(|finding| &finding.techniques).collect();
        incident.techniques = techniques.into_iter().cloned().collect();
        incident.highlights = highlights(&incident.kinds, &findings, incident.suspects.first());
        incident.runbook.clear();
        for line in incident.kinds.iter().filter_map(|kind| runbooks(*kind)) {
            if !incident.runbook.contains(&line) {
                incident.runbook.push(line);
            }
        }
    }

    /// One entry a finding, at most `findings_max`, in order of detection.
    fn settle(&mut self, findings_max: usize) {
        let mut by_id: BTreeMap<String, Kept> = BTreeMap::new();
        for kept in self.kept.drain(..) {
            match by_id.get_mut(&kept.finding.id) {
                Some(known) => {
                    known.first_detected = known.first_detected.min(kept.first_detected);
                    if known.finding.detected < kept.finding.detected {
                        known.finding = kept.finding;
                    }
                }
                None => {
                    by_id.insert(kept.finding.id.clone(), kept);
                }
            }
        }
        self.kept = by_id.into_values().collect();
        if self.kept.len() > findings_max {
            // The worst stay; among equals those that were here first.
            self.kept.sort_by(|left, right| {
                let worse = right.finding.severity.cmp(&left.finding.severity);
                worse
                    .then_with(|| left.first_detected.cmp(&right.first_detected))
                    .then_with(|| by_age(left, right))
            });
            self.kept.truncate(findings_max);
        }
        self.kept.sort_by(|left, right| {
            left.first_detected.cmp(&right.first_detected).then_with(|| by_age(left, right))
        });
    }
}

fn by_age(left: &Kept, right: &Kept) -> std::cmp::Ordering {
    age_key(&left.finding).cmp(&age_key(&right.finding))
}

fn age_key(finding: &Finding) -> (bool, EventTime, &str) {
    (finding.severity == Severity::Info, finding.onset, &finding.id)
}

/// What the return period of an incident rests on: the mesh's record only when nothing of it rests on defaults.
fn calibration(findings: &[&Finding]) -> Calibration {
    let mut rated = findings
        .iter()
        .filter(|finding| finding.return_period_seconds.is_some() || finding.calibrated)
        .peekable();
    if rated.peek().is_some() && rated.all(|finding| finding.calibrated) {
        Calibration::Calibrated
    } else {
        Calibration::Default
    }
}

/// Kinds, most telling first; what is only context comes last.
fn kinds(findings: &[&Finding]) -> Vec<FindingKind> {
    let mut worst: BTreeMap<FindingKind, Severity> = BTreeMap::new();
    for finding in findings {
        let known = worst.entry(finding.kind).or_default();
        *known = (*known).max(finding.severity);
    }
    let mut kinds: Vec<FindingKind> = worst.keys().copied().collect();
    kinds.sort_by_key(|kind| (worst[kind] == Severity::Info, telling(*kind)));
    kinds
}

/// True when the edge begins or ends at the workload that is suspected first.
fn touches(edge: &Edge, first: Option<&Suspect>) -> bool {
    let is = |end: &Endpoint| {
        first.is_some_and(|first| first.workload == end.workload && first.namespace == end.namespace)
    };
    is(&edge.source) || is(&edge.destination)
}

/// Edges by the weight of their findings, among equals those of the first suspect first. The principals are those of
/// the first finding that has them.
fn edges(findings: &[&Finding], first: Option<&Suspect>) -> Vec<Edge> {
    let mut weights: BTreeMap<[&str; 6], (f64, Edge)> = BTreeMap::new();
    for finding in findings {
        let (source, destination) = (&finding.edge.source, &finding.edge.destination);
        // A gauge of a workload is of no edge.
        let of_workload = finding.kind == FindingKind::ResourceHigh;
        if of_workload || (source.workload.is_empty() && destination.workload.is_empty()) {
            continue;
        }
        let key = [
            source.cluster.as_str(),
            source.namespace.as_str(),
            source.workload.as_str(),
            destination.cluster.as_str(),
            destination.namespace.as_str(),
            destination.workload.as_str(),
        ];
        let (total, edge) = weights.entry(key).or_insert_with(|| (0.0, finding.edge.clone()));
        *total += weight(finding.severity);
        fill(&mut edge.source.principal, &source.principal);
        fill(&mut edge.destination.principal, &destination.principal);
    }
    let mut edges: Vec<(f64, Edge)> = weights.into_values().collect();
    edges.sort_by(|left, right| {
        let suspected_first = touches(&right.1, first).cmp(&touches(&left.1, first));
        right.0.total_cmp(&left.0).then(suspected_first).then_with(|| left.1.cmp(&right.1))
    });
    edges.into_iter().map(|(_, edge)| edge).take(EDGES_MAX).collect()
}

fn fill(slot: &mut String, value: &str) {
    if slot.is_empty() {
        value.clone_into(slot);
    }
}

/// Traces of the worst findings first, one of each finding before a second of any.
fn exemplars(told: &[&Finding]) -> Vec<selvedge_model::TraceId> {
    let mut order: Vec<&Finding> = told.to_vec();
    order.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), telling(finding.kind)));
    let mut exemplars = Vec::new();
    for place in 0..TRACES_MAX {
        for trace in order.iter().filter_map(|finding| finding.exemplars.get(place)) {
            if exemplars.len() < TRACES_MAX && trace.present() && !exemplars.contains(trace) {
                exemplars.push(*trace);
            }
        }
    }
    exemplars
}

/// One line a kind: the summary of its worst finding (among equals one about the first suspect), and how many more
/// there are.
fn highlights(kinds: &[FindingKind], findings: &[&Finding], first: Option<&Suspect>) -> Vec<String> {
    kinds
        .iter()
        .filter_map(|kind| {
            let of_kind: Vec<&&Finding> = findings.iter().filter(|finding| finding.kind == *kind).collect();
            let worst = of_kind.iter().min_by_key(|finding| {
                (std::cmp::Reverse(finding.severity), !touches(&finding.edge, first))
            })?;
            Some(match of_kind.len() - 1 {
                0 => format!("{}: {}", kind.name(), worst.summary),
                more => format!("{}: {} (and {more} more)", kind.name(), worst.summary),
            })
        })
        .collect()
}
