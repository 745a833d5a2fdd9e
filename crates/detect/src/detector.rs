//! Judges sightings and closed windows, tells each deviation once a window, and remembers what must not be learned.

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_learn::gauges::{Bounds, GaugesJudged};
use selvedge_learn::normal::{Ended, Reading, Teaching};
use selvedge_model::finding::Family;
use selvedge_model::hash::{FixedMap, FixedSet, StableHasher, fixed_state};
use selvedge_model::{
    CallShape, EdgeKey, EdgeWindow, EventTime, Finding, FindingKind, Node, Severity, Window,
};
use serde::{Deserialize, Serialize};

use crate::behaviour::{Behaviour, EdgeCase, Judgement};
use crate::calibrated::{Calibrated, HeldBack};
use crate::calibration::Budgets;
use crate::case::{Case, Context, Sighting};
use crate::draft::Draft;
use crate::gauged::Gauged;
use crate::rules::RuleSet;
use crate::scan::Scans;
use crate::stories::{Caller, DEPLOYED_LATELY, Stories, is_about_news, is_deed};
use crate::telemetry::{Telemetry, TelemetryCounts};
use crate::{authorization, certificate, identity, novelty, transport, witness};

/// Open windows with state; more than lateness allows. Past it the oldest state is dropped.
const WINDOWS_MAX: usize = 256;
/// Findings of one window; past it further ones are only counted. A person reads none of them.
const FINDINGS_PER_WINDOW_MAX: usize = 2_000;
/// Exemplar traces of one finding.
const EXEMPLARS_MAX: usize = 8;
/// How long an edge may stay unlearned for its behaviour: then the new behaviour is accepted
/// (`detection.md` 3.3, bounded freeze). Never for bytes.
const FREEZE_MAX: Duration = Duration::from_hours(4);
/// Frozen edges remembered; past it further ones stay frozen without end.
const FROZEN_MAX: usize = 4_096;
/// A freeze ends when an edge behaved for this long.
const THAW_AFTER: Duration = Duration::from_mins(5);

/// Judges. Holds rules, what was told already, and what must not be learned.
#[derive(Clone, Serialize, Deserialize)]
pub struct Detector {
    #[serde(skip)]
    rules: RuleSet,
    windows: BTreeMap<Window, WindowState>,
    judged: Option<Window>,
    learning: bool,
    behaviour: Behaviour,
    calibrated: Calibrated,
    gauged: Gauged,
    #[serde(skip)]
    budgets: Budgets,
    #[serde(with = "selvedge_model::hash::listed")]
    frozen: FixedMap<EdgeKey, Freeze>,
    telemetry: Telemetry,
    overflows: Overflows,
    stories: Stories,
}

/// What the detector's limits did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overflows {
    /// Findings that were not told because their window had too many.
    pub findings: u64,
    /// Open windows whose state was dropped.
    pub windows: u64,
    /// Edges that misbehaved and found no room among the frozen ones: they stay unlearned without end.
    pub frozen: u64,
    /// Callers that could not be followed for scans or beacons.
    pub unfollowed: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct WindowState {
    #[serde(with = "selvedge_model::hash::listed_set")]
    told: FixedSet<(FindingKind, EdgeKey, String)>,
    #[serde(with = "selvedge_model::hash::listed_set")]
    shapes: FixedSet<(EdgeKey, CallShape)>,
    #[serde(with = "selvedge_model::hash::listed_set")]
    edges: FixedSet<EdgeKey>,
    /// Edges whose behaviour was told by the defaults, for as long as a freeze lasts.
    #[serde(with = "selvedge_model::hash::listed_set")]
    misbehaving: FixedSet<EdgeKey>,
    #[serde(with = "selvedge_model::hash::listed")]
    refused_routes: FixedMap<EdgeKey, u64>,
    scans: Scans,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Freeze {
    since: EventTime,
    last: EventTime,
}

impl Default for WindowState {
    fn default() -> Self {
        Self {
            told: FixedSet::with_hasher(fixed_state()),
            shapes: FixedSet::with_hasher(fixed_state()),
            edges: FixedSet::with_hasher(fixed_state()),
            misbehaving: FixedSet::with_hasher(fixed_state()),
            refused_routes: FixedMap::with_hasher(fixed_state()),
            scans: Scans::default(),
        }
    }
}

impl Detector {
    /// A detector that has told nothing.
    #[must_use]
    pub fn new(rules: RuleSet, budgets: Budgets) -> Self {
        Self {
            rules,
            windows: BTreeMap::new(),
            judged: None,
            learning: false,
            behaviour: Behaviour::default(),
            calibrated: Calibrated::new(budgets),
            gauged: Gauged::new(budgets),
            budgets,
            frozen: FixedMap::with_hasher(fixed_state()),
            telemetry: Telemetry::default(),
            overflows: Overflows::default(),
            stories: Stories::new(budgets),
        }
    }

    /// Takes rules and budgets, as after a restart with another configuration.
    pub fn configure(&mut self, rules: RuleSet, budgets: Budgets) {
        self.rules = rules;
        self.calibrated.configure(budgets);
        self.stories.configure(budgets);
        self.gauged.configure(budgets);
        self.budgets = budgets;
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// How often people may be told of what is nothing.
    pub(crate) fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// What the limits did. Callers of a window are added when it is done.
    #[must_use]
    pub fn overflows(&self) -> Overflows {
        Overflows { unfollowed: self.overflows.unfollowed + self.behaviour.unfollowed(), ..self.overflows }
    }

    /// Findings that would have woken somebody, and did not.
    #[must_use]
    pub fn held_back(&self) -> HeldBack {
        self.calibrated.held_back()
    }

    /// True while so many edges deviate that nothing may be cut on the word of behaviour.
    #[must_use]
    pub fn mesh_is_ill(&self) -> bool {
        self.calibrated.ill()
    }

    /// Takes in hours and days that ended, before the window after them is judged.
    pub fn end(&mut self, cx: &Context<'_>, ended: &Ended) -> Vec<Finding> {
        let drafts = self.calibrated.end(cx, &self.rules, ended);
        if cx.learning {
            return Vec::new();
        }
        let at = ended.day.unwrap_or(cx.now);
        let window = Window { start: at, end: at };
        sorted(drafts.into_iter().map(|(key, draft)| self.tell(cx, window, key, draft)).collect())
    }

    /// Judges shapes that are new on their edge in their window: deterministic checks and novelty.
    pub fn judge_sightings(&mut self, cx: &Context<'_>, sightings: &[Sighting<'_>]) -> Vec<Finding> {
        let mut findings = Vec::new();
        if cx.learning {
            return findings;
        }
        if cx.baselines.mesh().warm() {
            self.stories.begin(cx.now);
        }
        for sighting in sightings {
            let mut drafts = Vec::new();
            let mut key = sighting.key;
            if sighting.shape.handshake_failure.present() {
                // Nobody proved to be the source, whatever the record says.
                key.source = Node::default();
                let case = Case::new(cx, &self.rules, &Sighting { key, ..*sighting });
                transport::judge_failed_handshake(&case, &mut drafts);
            } else {
                let case = Case::new(cx, &self.rules, sighting);
                let state = window_state(&mut self.windows, sighting.window, &mut self.overflows);
                drafts.extend(state.scans.sight(&case));
                judge_call(&case, &mut drafts);
                drafts.retain(|draft| state.wants(draft, &case));
            }
            // What people wrote down, or what is certain, needs no record.
            let only_new = drafts.iter().all(|draft| is_about_news(draft.kind));
            for draft in drafts {
                let told = self.tell(cx, sighting.window, key, draft);
                let keeps_out = told.severity >= Severity::Medium && told.kind.family() != Family::Policy;
                let state = window_state(&mut self.windows, sighting.window, &mut self.overflows);
                if keeps_out && told.kind != FindingKind::PathScan {
                    state.shapes.insert((sighting.key, *sighting.shape));
                }
                findings.extend(self.tell_news(cx, sighting.window, key, told, only_new));
            }
        }
        sorted(findings)
    }

    /// Judges the behaviour of the edges of a closed window; edges come in the order of their names.
    pub fn judge_window(
        &mut self,
        cx: &Context<'_>,
        window: Window,
        edges: &[(EdgeKey, &EdgeWindow)],
    ) -> Vec<Finding> {
        self.judged = Some(window);
        self.learning = cx.learning;
        let mut findings = Vec::new();
        if cx.learning {
            return findings;
        }
        self.stories.advance(window.end);
        for (key, edge) in edges {
            let case = EdgeCase::new(cx, &self.rules, window, *key, edge);
            let calibrated = self.calibrated.judges(cx.baselines.norms(), key);
            let Judgement { mut drafts, suspicious } = self.behaviour.judge_edge(&case, calibrated);
            drafts.extend(witness::overflowed_shapes(&case));
            let suspicious = suspicious || (calibrated && Calibrated::suspects(cx.baselines.norms(), key));
            self.tell_all(cx, window, *key, drafts, suspicious, &mut findings);
        }
        for (key, draft) in self.calibrated.judge_window(cx, &self.rules, window, edges) {
            self.tell_all(cx, window, key, vec![draft], false, &mut findings);
        }
        sorted(findings)
    }

    /// From which effect and evidence on gauges tell something, when so many series of edges are judged.
    #[must_use]
    pub fn gauge_bounds(&mut self, series: usize) -> Bounds {
        self.gauged.bounds(&self.rules, series)
    }

    /// Judges what gauges came to in a window: edges that only metrics know, and the workloads beside them.
    pub fn judge_gauges(&mut self, cx: &Context<'_>, window: Window, judged: &GaugesJudged) -> Vec<Finding> {
        let drafts = self.gauged.judge(cx, &self.rules, judged);
        let mut findings = Vec::new();
        if cx.learning {
            return findings;
        }
        for (key, draft) in drafts {
            self.tell_all(cx, window, key, vec![draft], false, &mut findings);
        }
        sorted(findings)
    }

    /// Tells what was seen of an edge, and keeps an edge that misbehaves, or is `suspicious`, out of its baseline.
    fn tell_all(
        &mut self,
        cx: &Context<'_>,
        window: Window,
        key: EdgeKey,
        drafts: Vec<Draft>,
        suspicious: bool,
        findings: &mut Vec<Finding>,
    ) {
        let told: Vec<Finding> = drafts.into_iter().map(|draft| self.tell(cx, window, key, draft)).collect();
        let misbehaves = |finding: &&Finding| {
            let bad = finding.severity >= Severity::Low || finding.calibrated;
            finding.kind.family() == Family::Behaviour && bad
        };
        let lasting = told.iter().filter(misbehaves).any(|finding| never_accepted(finding.kind));
        let misbehaving = told.iter().any(|finding| misbehaves(&finding));
        if suspicious || misbehaving {
            let frozen = self.freezes(&key, window);
            let state = window_state(&mut self.windows, window, &mut self.overflows);
            if frozen || lasting {
                state.edges.insert(key);
            }
            // Warnings by the mesh's record are a budget, and most of them are nothing: a job that warns must become known.
            // The normal trims them, and keeps out what it suspects.
            if frozen && told.iter().any(|finding| misbehaves(&finding) && !finding.calibrated) {
                state.misbehaving.insert(key);
            }
        }
        for finding in told {
            findings.extend(self.once(window, key, finding));
        }
    }

    /// Judges telemetry as a whole, by what was counted since the last time.
    pub fn judge_telemetry(&mut self, cx: &Context<'_>, counts: &TelemetryCounts) -> Vec<Finding> {
        if cx.learning {
            return Vec::new();
        }
        let drafts = self.telemetry.judge(cx, &self.rules, counts);
        let window = Window { start: cx.now, end: cx.now };
        sorted(drafts.into_iter().map(|draft| self.tell(cx, window, EdgeKey::default(), draft)).collect())
    }

    /// What learning must skip of the window that was judged last: shapes of deterministic findings and of novelty
    /// from medium on, refused routes of a scan, denied and failed ones, and all of an edge that misbehaves.
    /// Nothing while an approved baseline is taken.
    #[must_use]
    pub fn flagged(&self, key: &EdgeKey, shape: &CallShape) -> bool {
        if self.learning {
            return false;
        }
        let state = self.judged.and_then(|window| self.windows.get(&window));
        shape.handshake_failure.present()
            || shape.denied_by.present()
            || state.is_some_and(|state| {
                state.edges.contains(key)
                    || state.shapes.contains(&(*key, *shape))
                    || state.scans.covers(key, shape)
            })
    }

    /// What the normal of an edge may learn of the window that was judged last, given its calls: nothing of a minute in
    /// which calls of it were flagged, or in which the defaults told of it before the normal itself suspects it; what it
    /// suspects it keeps out by itself, for a bounded time, and for longer what somebody was told of at page level.
    #[must_use]
    pub fn teaching(&self, reading: &Reading, calls: Option<&EdgeWindow>) -> Teaching {
        let state = self.judged.and_then(|window| self.windows.get(&window));
        let now = self.judged.map_or(EventTime::ABSENT, |window| window.end);
        let told = state.is_some_and(|state| state.misbehaving.contains(&reading.key));
        let flagged = state.zip(calls).is_some_and(|(state, calls)| state.flags(&reading.key, calls));
        let (told, flagged) = (told && !self.learning, flagged && !self.learning);
        self.calibrated.teaching(&reading.key, now, reading.scores.suspicious(), told, flagged)
    }

    /// Forgets what was told about a window, and all older ones.
    pub fn window_done(&mut self, window: Window) {
        let open = self.windows.split_off(&window);
        let mut done = std::mem::replace(&mut self.windows, open);
        done.extend(self.windows.remove_entry(&window));
        self.overflows.unfollowed += done.values().map(|state| state.scans.unfollowed()).sum::<u64>();
        self.judged = None;
        self.behaviour.window_done(window);
        self.frozen.retain(|_, freeze| window.start.since(freeze.last) < THAW_AFTER);
    }

    /// True while an edge must not be learned for its behaviour; after the bounded freeze it is learned again.
    fn freezes(&mut self, key: &EdgeKey, window: Window) -> bool {
        if self.frozen.len() >= FROZEN_MAX && !self.frozen.contains_key(key) {
            self.overflows.frozen += 1;
            return true;
        }
        let freeze = self.frozen.entry(*key).or_insert(Freeze { since: window.start, last: window.start });
        freeze.last = window.start;
        window.start.since(freeze.since) < FREEZE_MAX
    }

    /// The finding of a draft, whether or not it was told before.
    pub(crate) fn tell(&self, cx: &Context<'_>, window: Window, key: EdgeKey, draft: Draft) -> Finding {
        let rule = self.rules.rule(draft.kind);
        let mut hasher = StableHasher::default().field(draft.kind.name().as_bytes());
        for name in key.names(cx.symbols) {
            hasher = hasher.field(name.as_bytes());
        }
        let id = hasher.field(draft.subject.as_bytes()).field(&window.start.0.to_le_bytes()).hex();
        let calibrated = draft.calibrated();
        let severity = draft.severity(rule.map_or(Severity::Info, |rule| rule.level()));
        let mut exemplars = Vec::new();
        for exemplar in draft.exemplars.iter().filter(|exemplar| exemplar.trace_id.present()) {
            if !exemplars.contains(&exemplar.trace_id) && exemplars.len() < EXEMPLARS_MAX {
                exemplars.push(exemplar.trace_id);
            }
        }
        Finding {
            id,
            kind: draft.kind,
            severity,
            edge: key.edge(draft.source_principal, draft.destination_principal, cx.symbols),
            external: key.external,
            subject: draft.subject,
            onset: draft.onset,
            detected: cx.now,
            return_period_seconds: draft.return_period_seconds,
            calibrated,
            summary: draft.summary,
            evidence: draft.evidence,
            source_identity: draft.source_identity,
            claimed_principal: cx.symbols.resolve(draft.claimed_principal).to_owned(),
            exemplars,
            techniques: rule.map(|rule| rule.techniques().to_vec()).unwrap_or_default(),
        }
    }

    /// A finding about something that was seen for the first time, once a window, as the caller's story makes of it.
    /// `only_new`: nothing else is wrong with it.
    pub(crate) fn tell_news(
        &mut self,
        cx: &Context<'_>,
        window: Window,
        key: EdgeKey,
        finding: Finding,
        only_new: bool,
    ) -> Vec<Finding> {
        match self.once(window, key, finding) {
            Some(told) if is_deed(&told) => self.stories.tell(&key, told, caller(cx, &key, only_new)),
            told => told.into_iter().collect(),
        }
    }

    /// The finding, when it is the first of its kind, edge and subject in its window and there is room.
    fn once(&mut self, window: Window, key: EdgeKey, finding: Finding) -> Option<Finding> {
        let state = window_state(&mut self.windows, window, &mut self.overflows);
        let seen = (finding.kind, key, finding.subject.clone());
        if state.told.contains(&seen) {
            return None;
        }
        if state.told.len() >= FINDINGS_PER_WINDOW_MAX {
            self.overflows.findings += 1;
            return None;
        }
        state.told.insert(seen);
        Some(finding)
    }
}

impl WindowState {
    /// True when some call of an edge was flagged for what it is, whatever its behaviour.
    fn flags(&self, key: &EdgeKey, calls: &EdgeWindow) -> bool {
        let shape =
            |shape: &CallShape| self.shapes.contains(&(*key, *shape)) || self.scans.covers(key, shape);
        !(self.shapes.is_empty() && self.scans.none()) && calls.shapes.keys().any(shape)
    }

    /// Refused new routes of an edge are told a few times, and not at all once they are known to be a scan.
    fn wants(&mut self, draft: &Draft, case: &Case<'_>) -> bool {
        if draft.kind != FindingKind::NewRoute || !case.shape.refused() {
            return true;
        }
        let told = self.refused_routes.entry(case.key).or_default();
        *told += 1;
        let limit = case.rules.new_route().map_or(0, |rule| rule.refused_findings_max.0);
        *told <= limit && !self.scans.covers(&case.key, case.shape)
    }
}

fn caller(cx: &Context<'_>, key: &EdgeKey, only_new: bool) -> Caller {
    let mesh = cx.baselines.mesh();
    let deployed = cx.baselines.norms().deployed(&key.source);
    Caller {
        known: mesh.source(&key.source).is_some(),
        rationed: only_new && !mesh.approved,
        deployed: deployed.is_some_and(|at| cx.now.since(at) < DEPLOYED_LATELY),
    }
}

/// What leaves the mesh is never accepted by the passing of time.
fn never_accepted(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::BytesHigh | FindingKind::Beacon)
}

fn judge_call(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    transport::mtls_downgrade(case, drafts);
    transport::tls_version_downgrade(case, drafts);
    certificate::judge(case, drafts);
    identity::judge(case, drafts);
    novelty::judge(case, drafts);
    witness::judge(case, drafts);
    authorization::policy_unenforced(case, drafts);
}

fn window_state<'w>(
    windows: &'w mut BTreeMap<Window, WindowState>,
    window: Window,
    overflows: &mut Overflows,
) -> &'w mut WindowState {
    while windows.len() >= WINDOWS_MAX && !windows.contains_key(&window) {
        windows.pop_first();
        overflows.windows += 1;
    }
    windows.entry(window).or_default()
}

/// By time, kind, edge and subject: the order of a transcript.
pub(crate) fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|left, right| {
        let key = |finding: &Finding| (finding.detected, finding.kind);
        key(left)
            .cmp(&key(right))
            .then_with(|| left.edge.cmp(&right.edge))
            .then_with(|| left.subject.cmp(&right.subject))
            .then_with(|| left.onset.cmp(&right.onset))
    });
    findings
}
