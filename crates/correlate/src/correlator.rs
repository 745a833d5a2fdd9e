//! The incidents that are open and those that were: folds findings in, resolves what went quiet.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use selvedge_model::{
    EventTime, Finding, FindingKind, Incident, IncidentStatus, Quarantine, QuarantineRef, Severity,
};
use serde::{Deserialize, Serialize};

use crate::case::{Case, Runbooks};
use crate::change::VersionChange;
use crate::config::CorrelateConfig;
use crate::grouping::{Item, edge_key, group};

/// What became of an incident; the id is the incident's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IncidentChange {
    /// It is new, or came back after it had been resolved.
    Opened(String),
    /// More evidence.
    Updated(String),
    /// More evidence, and it is worse than it was.
    Escalated(String),
    /// Quiet for long enough, or told from now on as part of an earlier incident, or forgotten for want of room.
    Resolved(String),
}

impl IncidentChange {
    /// The incident's id.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Opened(id) | Self::Updated(id) | Self::Escalated(id) | Self::Resolved(id) => id,
        }
    }

    /// Snake-case name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Opened(_) => "opened",
            Self::Updated(_) => "updated",
            Self::Escalated(_) => "escalated",
            Self::Resolved(_) => "resolved",
        }
    }
}

/// Groups findings into incidents. One owner; every answer depends only on the sequence of calls.
#[derive(Clone, Serialize, Deserialize)]
pub struct Correlator {
    #[serde(skip)]
    config: CorrelateConfig,
    /// What was deployed lately: whoever has the versions says it before each fold.
    #[serde(skip)]
    changes: Vec<VersionChange>,
    cases: BTreeMap<String, Case>,
    /// Incidents that left the list in the last fold: still answered for, so that their alerts can be withdrawn.
    departed: BTreeMap<String, Incident>,
    clock: EventTime,
    paused: bool,
    /// When the last gap began.
    gap_from: EventTime,
    forgotten: u64,
}

impl Correlator {
    /// Takes the limits of `config`, as after a restart with another configuration.
    pub fn configure(&mut self, config: CorrelateConfig) {
        self.config = config;
    }

    /// A correlator without incidents.
    #[must_use]
    pub fn new(config: CorrelateConfig) -> Self {
        Self {
            config,
            changes: Vec::new(),
            cases: BTreeMap::new(),
            departed: BTreeMap::new(),
            clock: EventTime::ABSENT,
            paused: false,
            gap_from: EventTime::ABSENT,
            forgotten: 0,
        }
    }

    /// Incidents that left the list for want of room.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// What was deployed lately, in place of what was said of it before. It is evidence in every incident that is told from now
    /// on, and in no checkpoint.
    pub fn know_changes(&mut self, changes: Vec<VersionChange>) {
        self.changes = changes;
    }

    /// Takes the findings of one tick, in any order, and says which incidents changed, by opening time, then id.
    /// `runbooks` gives the line of a kind's rule that says what to do next.
    pub fn fold(
        &mut self,
        findings: &[Finding],
        runbooks: &dyn Fn(FindingKind) -> Option<String>,
        now: EventTime,
    ) -> Vec<IncidentChange> {
        self.resume(now);
        self.departed.clear();
        if findings.is_empty() {
            return Vec::new();
        }
        let fresh = in_order(findings);
        let open: Vec<String> =
            self.cases.iter().filter(|(_, case)| case.is_open()).map(|(id, _)| id.clone()).collect();
        let mut changes = Vec::new();
        for members in self.groups(&open, &fresh) {
            let (cases, found) = members.split_at(members.partition_point(|node| *node < open.len()));
            if found.is_empty() && cases.len() < 2 {
                continue;
            }
            let found: Vec<Finding> = found.iter().map(|node| fresh[node - open.len()].clone()).collect();
            let cases: Vec<&String> = cases.iter().map(|node| &open[*node]).collect();
            self.take(&cases, found, runbooks, now, &mut changes);
        }
        self.make_room(&mut changes);
        self.sorted(changes)
    }

    /// Resolves the incidents that have been quiet for long enough.
    pub fn tick(&mut self, now: EventTime) -> Vec<IncidentChange> {
        self.resume(now);
        let mut changes = Vec::new();
        for (id, case) in &mut self.cases {
            if case.is_open() && now.since(case.quiet_from) >= self.config.quiet {
                case.incident.status = IncidentStatus::Resolved;
                case.incident.closed = Some(now);
                changes.push(IncidentChange::Resolved(id.clone()));
            }
        }
        self.sorted(changes)
    }

    /// Nobody reports from now until the next [`Self::fold`] or [`Self::tick`]: that time is not quiet. What is seen
    /// after it belongs to what was seen before only on the same edge or trace: nobody saw how one led to the other.
    pub fn gap(&mut self) {
        self.paused = true;
    }

    /// An incident by id, also one that left the list in the last fold.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Incident> {
        self.cases.get(id).map(|case| &case.incident).or_else(|| self.departed.get(id))
    }

    /// The findings of an incident that is kept, in order of detection.
    pub fn findings(&self, id: &str) -> impl Iterator<Item = &Finding> {
        self.cases.get(id).into_iter().flat_map(Case::findings)
    }

    /// The incident that a quarantine answers, or the one that has taken that over.
    #[must_use]
    pub fn answered_by(&self, quarantine: &Quarantine) -> Option<&Incident> {
        self.get(&self.home_of(quarantine)?)
    }

    /// Notes what became of a quarantine, with the incident it answers.
    pub fn note_quarantine(&mut self, quarantine: &Quarantine) {
        if let Some(home) = self.home_of(quarantine)
            && let Some(case) = self.cases.get_mut(&home)
        {
            case.note(QuarantineRef::of(quarantine));
        }
    }

    fn home_of(&self, quarantine: &Quarantine) -> Option<String> {
        if self.cases.contains_key(&quarantine.incident_id) {
            return Some(quarantine.incident_id.clone());
        }
        let holds = |case: &Case| case.incident.quarantines.iter().any(|known| known.id == quarantine.id);
        self.cases.iter().find(|(_, case)| holds(case)).map(|(id, _)| id.clone())
    }

    /// All incidents kept, by opening time, then id.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        let mut incidents: Vec<&Incident> = self.cases.values().map(|case| &case.incident).collect();
        incidents.sort_by(|left, right| (left.opened, &left.id).cmp(&(right.opened, &right.id)));
        incidents.into_iter()
    }

    /// Moves every open incident's quiet time past a gap that ends now.
    fn resume(&mut self, now: EventTime) {
        if std::mem::take(&mut self.paused) {
            let away = now.since(self.clock);
            self.gap_from = self.clock;
            for case in self.cases.values_mut().filter(|case| case.is_open()) {
                case.quiet_from = case.quiet_from.after(away);
            }
        }
        self.clock = self.clock.max(now);
    }

    /// Groups of nodes: the open incidents first, then the fresh findings.
    fn groups(&self, open: &[String], fresh: &[Finding]) -> Vec<Vec<usize>> {
        let mut items = Vec::new();
        let mut places: Vec<(EventTime, String)> = Vec::new();
        for (node, id) in open.iter().enumerate() {
            let case = &self.cases[id];
            let spreads = self.clock.since(case.incident.opened) <= self.config.spread_within;
            items.extend(case.findings().map(|finding| {
                let near = spreads && finding.detected > self.gap_from;
                Item::kept(node, finding, near, &self.config)
            }));
            places.push((case.incident.opened, id.clone()));
        }
        for (at, finding) in fresh.iter().enumerate() {
            items.push(Item::fresh(open.len() + at, finding));
            // After all that is open: detected now.
            places.push((finding.detected.max(self.clock), finding.id.clone()));
        }
        // The same deviation, detected again, goes where it was.
        let homes: BTreeMap<&str, usize> = open
            .iter()
            .enumerate()
            .flat_map(|(node, id)| self.cases[id].findings().map(move |finding| (finding.id.as_str(), node)))
            .collect();
        let returning: Vec<(usize, usize)> = fresh
            .iter()
            .enumerate()
            .filter_map(|(at, finding)| Some((*homes.get(finding.id.as_str())?, open.len() + at)))
            .collect();
        group(places.len(), &items, &returning, &|node| places[node].clone(), &self.config)
    }

    /// Makes one incident of what belongs together.
    fn take(
        &mut self,
        cases: &[&String],
        found: Vec<Finding>,
        runbooks: Runbooks<'_>,
        now: EventTime,
        changes: &mut Vec<IncidentChange>,
    ) {
        let worst = found.iter().map(|finding| finding.severity).max().unwrap_or_default();
        let mut members: Vec<Case> = cases.iter().filter_map(|id| self.cases.remove(*id)).collect();
        members.sort_by_key(Case::order);
        let mut members = members.into_iter();
        let survivor = members.next();
        let came_back = if survivor.is_none() { self.reopened(&found, now) } else { None };
        let known = survivor.is_some();
        let mut case = survivor.or(came_back).unwrap_or_else(|| Case::open(&found, now));
        let before = case.incident.severity;
        for other in members {
            case.absorb(&other);
            self.depart(other, now, changes);
        }
        case.add(found);
        case.retell(runbooks, &self.changes, &self.config, now);
        // Context does not keep an incident alive.
        if worst > Severity::Info || case.incident.severity == Severity::Info {
            case.incident.updated = case.incident.updated.max(now);
            case.quiet_from = case.quiet_from.max(now);
        }
        let id = case.incident.id.clone();
        changes.push(match (known, case.incident.severity > before) {
            (false, _) => IncidentChange::Opened(id.clone()),
            (true, true) => IncidentChange::Escalated(id.clone()),
            (true, false) => IncidentChange::Updated(id.clone()),
        });
        self.cases.insert(id, case);
    }

    /// The incident that was resolved last, not long ago, and knew one of these kinds on the same edge.
    fn reopened(&mut self, found: &[Finding], now: EventTime) -> Option<Case> {
        let signs = |finding: &Finding| edge_key(finding).map(|edge| (finding.kind, edge));
        let wanted: Vec<_> =
            found.iter().filter(|finding| finding.severity > Severity::Info).filter_map(signs).collect();
        let recent = |case: &&Case| {
            let closed = case.incident.closed.unwrap_or(EventTime::ABSENT);
            closed.present() && now.since(closed) <= self.config.reopen_within
        };
        let knows = |case: &&Case| case.findings().filter_map(signs).any(|sign| wanted.contains(&sign));
        let id = self
            .cases
            .values()
            .filter(recent)
            .filter(knows)
            .max_by_key(|case| (case.incident.closed, Reverse(case.incident.id.clone())))
            .map(|case| case.incident.id.clone());
        let mut case = self.cases.remove(&id?)?;
        case.incident.status = IncidentStatus::Open;
        case.incident.closed = None;
        Some(case)
    }

    /// Takes an incident off the list; its alert, if there was one, is withdrawn.
    fn depart(&mut self, mut case: Case, now: EventTime, changes: &mut Vec<IncidentChange>) {
        let id = case.incident.id.clone();
        if case.is_open() && case.incident.severity > Severity::Info {
            changes.push(IncidentChange::Resolved(id.clone()));
        }
        if case.is_open() {
            case.incident.status = IncidentStatus::Resolved;
            case.incident.closed = Some(now);
        }
        self.departed.insert(id, case.incident);
    }

    /// Policy `oldest`: forgets the incident that was resolved first, then the one that is quiet for longest.
    fn make_room(&mut self, changes: &mut Vec<IncidentChange>) {
        while self.cases.len() > self.config.incidents_max.max(1) {
            let place = |case: &Case| {
                let incident = &case.incident;
                (case.is_open(), incident.closed.unwrap_or(incident.updated), incident.id.clone())
            };
            let Some(id) =
                self.cases.values().min_by_key(|case| place(case)).map(|case| case.incident.id.clone())
            else {
                return;
            };
            let Some(case) = self.cases.remove(&id) else { return };
            self.forgotten += 1;
            let now = self.clock;
            changes.retain(|change| change.id() != id);
            self.depart(case, now, changes);
        }
    }

    /// By opening time, then id; an incident that ends stands before one that begins at the same time.
    fn sorted(&self, mut changes: Vec<IncidentChange>) -> Vec<IncidentChange> {
        changes.sort_by_key(|change| {
            let ends = matches!(change, IncidentChange::Resolved(_));
            (self.get(change.id()).map(|incident| incident.opened), !ends, change.id().to_owned())
        });
        changes
    }
}

/// The findings by age, one for each id: the same set in any order gives the same list.
fn in_order(findings: &[Finding]) -> Vec<Finding> {
    let mut fresh: Vec<&Finding> = findings.iter().collect();
    fresh.sort_by(|left, right| {
        let newest_first =
            right.detected.cmp(&left.detected).then_with(|| right.severity.cmp(&left.severity));
        left.id.cmp(&right.id).then(newest_first).then_with(|| left.summary.cmp(&right.summary))
    });
    fresh.dedup_by(|later, kept| later.id == kept.id);
    fresh.sort_by(|left, right| (left.onset, &left.id).cmp(&(right.onset, &right.id)));
    fresh.into_iter().cloned().collect()
}
