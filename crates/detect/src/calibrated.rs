//! The calibrated layer of behaviour: what an edge's scores are worth, by the mesh's own record and the user's budgets.
//!
//! In force on an edge that is known for two weeks, in a mesh that has a record; there it takes the place of the checks of
//! the same kinds in `behaviour.rs`. Driven as `soak/` drives what it is measured by: quick scores warn, slow ones warn or
//! page, a page needs a token, and nothing pages while the mesh is ill as a whole. What is held back is told all the same,
//! less urgently, and counted.

mod telling;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_learn::normal::{EdgeNorm, Ended, Norms, Reading, Seen, Teaching};
use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{EdgeKey, EdgeWindow, EventTime, FindingKind, Measure, MeasureClass, Severity, Window};
use serde::{Deserialize, Serialize};

use crate::behaviour::EdgeCase;
use crate::calibration::{Admission, Budgets, Calibration, Level, Pace, Valve};
use crate::case::Context;
use crate::draft::Draft;
use crate::rules::RuleSet;

const CLASSES: usize = MeasureClass::ALL.len();
const MINUTE: u64 = 60_000_000_000;
/// A finding at page level goes on while no more than this passes between two: for so long an incident without news stays
/// open, or is opened again (`correlate`), and is the same to everybody who was told of it.
const GOES_ON: Duration = Duration::from_mins(15);
/// One that comes back within this time extends the one before: it wakes nobody a second time.
const EPISODE: Duration = Duration::from_hours(7 * 24);
/// So long people know about an edge that was told.
const TOLD: Duration = Duration::from_hours(6);
/// Edges remembered for that; past it further pages are held back (as by an empty bucket).
const TOLD_MAX: usize = 4_096;

/// Findings at page level that woke nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// The budget of pages was spent.
    pub over_budget: u64,
    /// The same deviation of the same edge woke somebody within the week.
    pub repeated: u64,
    /// One finding of the whole mesh stood for them: many edges deviated at once.
    pub storm: u64,
    /// One finding of the whole mesh stood for them: the record did not resemble the present.
    pub broken: u64,
}

/// The mesh's record and what was told by it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Calibrated {
    calibration: Calibration,
    valve: Valve,
    ready: bool,
    #[serde(with = "selvedge_model::hash::listed")]
    told: FixedMap<EdgeKey, Told>,
    minute: u64,
    /// Edges at page level since the last minute ended.
    exceeding: usize,
    storm: bool,
    held_back: HeldBack,
}

/// Page-level findings of one edge, by class.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Told {
    last: [EventTime; CLASSES],
    grade: [Option<Grade>; CLASSES],
}

/// What becomes of a finding at page level.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Grade {
    Page,
    OverBudget,
    Repeated,
    Storm,
    Broken,
}

/// A class of measures of one edge past its threshold.
#[derive(Clone, Copy)]
struct Exceeding<'a> {
    reading: &'a Reading,
    class: MeasureClass,
    /// What deviates; nothing for absence.
    measure: Option<Measure>,
    seen: Seen,
    kind: FindingKind,
    level: Level,
    return_period: Option<Duration>,
}

impl Calibrated {
    pub(crate) fn new(budgets: Budgets) -> Self {
        Self {
            calibration: Calibration::new(budgets),
            valve: Valve::new(budgets.pages_a_week),
            ready: false,
            told: FixedMap::with_hasher(fixed_state()),
            minute: 0,
            exceeding: 0,
            storm: false,
            held_back: HeldBack::default(),
        }
    }

    pub(crate) fn configure(&mut self, budgets: Budgets) {
        self.calibration.configure(budgets);
        self.valve.configure(budgets.pages_a_week);
    }

    /// True when it judges an edge, in the place of the defaults.
    pub(crate) fn judges(&self, norms: &Norms, key: &EdgeKey) -> bool {
        self.ready && norms.norm(key).is_some_and(EdgeNorm::mature)
    }

    /// True when an edge that it judges is suspected: not told, and not to be learned either.
    pub(crate) fn suspects(norms: &Norms, key: &EdgeKey) -> bool {
        norms.reading(key).is_some_and(|reading| reading.scores.suspicious())
    }

    /// What was held back.
    pub(crate) fn held_back(&self) -> HeldBack {
        self.held_back
    }

    /// True while the mesh is ill as a whole, or its record does not resemble it: nothing is cut on such evidence.
    pub(crate) fn ill(&self) -> bool {
        self.storm || self.valve.broken()
    }

    /// What the window that was just judged came to, by the names of edges; findings about the mesh have no edge.
    pub(crate) fn judge_window(
        &mut self,
        cx: &Context<'_>,
        rules: &RuleSet,
        window: Window,
        edges: &[(EdgeKey, &EdgeWindow)],
    ) -> Vec<(EdgeKey, Draft)> {
        if !self.ready {
            return Vec::new();
        }
        let norms = cx.baselines.norms();
        let mut exceeding: Vec<Exceeding<'_>> = Vec::new();
        for reading in norms.readings() {
            let before = exceeding.len();
            self.exceeding_of(norms, rules, reading, &mut exceeding);
            let paging = |one: &Exceeding<'_>| one.level == Level::Page;
            self.exceeding += usize::from(exceeding[before..].iter().any(paging));
        }
        let mut drafts = Vec::new();
        self.watch(window, norms.edges(), &exceeding, &mut drafts);
        exceeding.sort_by_cached_key(|one| (one.reading.key.names(cx.symbols).map(str::to_owned), one.class));
        let nothing = EdgeWindow::default();
        for one in exceeding {
            let calls = one.reading.place.and_then(|place| edges.get(place)).map_or(&nothing, |of| of.1);
            let case = EdgeCase::new(cx, rules, window, one.reading.key, calls);
            let mut draft = telling::of_edge(&case, &one);
            let broken = self.valve.broken();
            let (severity, why) = self.grade(&one, window.end);
            draft = draft.grade(severity, why, one.return_period);
            drafts.push((one.reading.key, draft));
            if self.valve.broken() && !broken {
                drafts.push((EdgeKey::default(), telling::of_broken(one.kind, window)));
            }
        }
        drafts
    }

    /// What may be learned of an edge that its normal suspects or not, that the defaults told of in this window
    /// (`was_told`) or not, with `flagged` calls or without.
    pub(crate) fn teaching(
        &self,
        key: &EdgeKey,
        now: EventTime,
        suspected: bool,
        was_told: bool,
        flagged: bool,
    ) -> Teaching {
        let recent = |told: &Told| told.last.iter().any(|last| last.present() && now.since(*last) < TOLD);
        let known = was_told || self.told.get(key).is_some_and(recent);
        match suspected {
            _ if self.storm || flagged => Teaching::Off,
            true if known => Teaching::Told,
            false if was_told => Teaching::Off,
            _ => Teaching::Quiet,
        }
    }

    /// Takes in hours and days that ended; what has drifted from its trusted level is told, at the end of the day.
    pub(crate) fn end(&mut self, cx: &Context<'_>, rules: &RuleSet, ended: &Ended) -> Vec<(EdgeKey, Draft)> {
        ended.hours.iter().for_each(|largest| self.calibration.observe(Pace::Quick, largest));
        ended.days.iter().for_each(|largest| self.calibration.observe(Pace::Slow, largest));
        let Some(now) = ended.day else { return Vec::new() };
        let drafts = self.drifts(cx, rules, ended, now);
        // Nobody says yet which pages were false: the controller stays at rest.
        self.calibration.end_of_day(&[0; CLASSES]);
        self.valve.recalibrated();
        let ready = |pace, class| self.calibration.ready(pace, class);
        self.ready =
            MeasureClass::ALL.into_iter().all(|class| ready(Pace::Quick, class) && ready(Pace::Slow, class));
        drafts
    }

    fn drifts(
        &mut self,
        cx: &Context<'_>,
        rules: &RuleSet,
        ended: &Ended,
        now: EventTime,
    ) -> Vec<(EdgeKey, Draft)> {
        let mut drifts: Vec<_> =
            ended.drifts.iter().filter(|drift| self.judges(cx.baselines.norms(), &drift.key)).collect();
        drifts.sort_by_cached_key(|drift| (drift.key.names(cx.symbols).map(str::to_owned), drift.measure));
        let (bar, mut drafts) = (self.calibration.drift_bar(), Vec::new());
        self.calibration.observe_drifts(now, drifts.iter().map(|drift| drift.times));
        for drift in drifts {
            let draft = telling::of_drift(cx, drift, now);
            if rules.enabled(draft.kind).is_none() {
                continue;
            }
            let (severity, why) = if drift.times > bar {
                let grade = self.page(&drift.key, drift.measure.class(), now);
                self.count(grade)
            } else {
                (Severity::Medium, "edges of this mesh drift as far when nothing is wrong")
            };
            drafts.push((drift.key, draft.grade(severity, why, None)));
        }
        drafts
    }

    /// The classes of an edge that are past a threshold, each by the more telling of its scores.
    fn exceeding_of<'a>(
        &self,
        norms: &Norms,
        rules: &RuleSet,
        reading: &'a Reading,
        found: &mut Vec<Exceeding<'a>>,
    ) {
        let (scores, before) = (&reading.scores, found.len());
        for class in MeasureClass::ALL {
            let quick = Some((Pace::Quick, scores.quick_of(class)));
            let slow = scores.slow_of(class).map(|slow| (Pace::Slow, slow));
            let rated = quick.into_iter().chain(slow).filter_map(|(pace, (signal, score))| {
                let least = self.calibration.threshold(pace, class, Level::Warning);
                let page = self.calibration.threshold(pace, class, Level::Page);
                if score < least.min(page) {
                    return None;
                }
                let rating = self.calibration.rate(pace, class, score);
                // Younger ones may be told, and wake nobody.
                let level = rating.level.filter(|_| scores.known).unwrap_or(Level::Warning);
                Some((level, rating.return_period, pace, signal))
            });
            let Some((level, return_period, pace, signal)) = rated.max() else { continue };
            let Some(norm) = norms.norm(&reading.key).filter(|norm| norm.mature()) else { return };
            // Absence is no measure, and stands behind all of them.
            let measure = Measure::ALL.get(signal).copied();
            let seen = measure.map_or_else(Seen::default, |measure| match pace {
                Pace::Quick => norm.seen_quickly(measure, norms.window_length()),
                Pace::Slow => norm.seen(measure, norms.window_length()),
            });
            let kind = measure.map_or(Some(FindingKind::EdgeSilent), |of| kind_of(norm, pace, of, &seen));
            let Some(kind) = kind else { continue };
            if rules.enabled(kind).is_some() {
                found.push(Exceeding { reading, class, measure, seen, kind, level, return_period });
            }
        }
        // No requests at all are few requests, too: told once.
        if found[before..].iter().any(|one| one.kind == FindingKind::EdgeSilent) {
            let few = |one: &Exceeding<'_>| one.kind == FindingKind::RequestRateLow;
            let kept: Vec<_> = found.drain(before..).filter(|one| !few(one)).collect();
            found.extend(kept);
        }
    }

    /// At the end of a minute: whether so many edges deviate that it is the mesh.
    fn watch(
        &mut self,
        window: Window,
        edges: usize,
        exceeding: &[Exceeding<'_>],
        drafts: &mut Vec<(EdgeKey, Draft)>,
    ) {
        if window.end.0 / MINUTE == self.minute {
            return;
        }
        self.minute = window.end.0 / MINUTE;
        let deviating = std::mem::take(&mut self.exceeding);
        let storm = self.valve.watch(window.end, deviating, edges);
        if storm && !self.storm {
            let mut kinds: BTreeMap<FindingKind, usize> = BTreeMap::new();
            exceeding.iter().for_each(|one| *kinds.entry(one.kind).or_default() += 1);
            if let Some((&kind, _)) = kinds.iter().max_by_key(|(_, count)| **count) {
                drafts.push((EdgeKey::default(), telling::of_storm(kind, window, deviating, edges)));
            }
        }
        self.storm = storm;
    }

    /// How bad it is, and why it is no worse.
    fn grade(&mut self, one: &Exceeding<'_>, now: EventTime) -> (Severity, &'static str) {
        match one.level {
            Level::Warning if self.storm => (Severity::Info, Grade::Storm.why()),
            Level::Warning => (Severity::Medium, ""),
            Level::Page => {
                let grade = self.page(&one.reading.key, one.class, now);
                self.count(grade)
            }
        }
    }

    /// What becomes of a finding at page level, and whether it is a new one.
    fn page(&mut self, key: &EdgeKey, class: MeasureClass, now: EventTime) -> (Grade, bool) {
        if self.told.len() >= TOLD_MAX && !self.told.contains_key(key) {
            self.told.retain(|_, told| told.last.iter().any(|last| now.since(*last) < EPISODE));
            if self.told.len() >= TOLD_MAX {
                return (Grade::OverBudget, true);
            }
        }
        let told = self.told.entry(*key).or_default();
        let within =
            |class: usize, time: Duration| told.last[class].present() && now.since(told.last[class]) <= time;
        let paging =
            (0..CLASSES).any(|other| within(other, GOES_ON) && told.grade[other] == Some(Grade::Page));
        let index = class as usize;
        let known = told.grade[index].filter(|_| within(index, GOES_ON));
        let grade = match known {
            Some(grade) => grade,
            // It is the same page, whichever measure of the edge says so.
            None if paging => Grade::Page,
            None if within(index, EPISODE) => Grade::Repeated,
            None => match self.valve.admit(now) {
                Admission::Page => Grade::Page,
                Admission::OverBudget => Grade::OverBudget,
                Admission::Storm => Grade::Storm,
                Admission::Broken => Grade::Broken,
            },
        };
        told.last[index] = now;
        told.grade[index] = Some(grade);
        (grade, known.is_none())
    }

    fn count(&mut self, (grade, new): (Grade, bool)) -> (Severity, &'static str) {
        let held = &mut self.held_back;
        let (severity, counter) = match grade {
            Grade::Page => return (Severity::High, ""),
            Grade::OverBudget => (Severity::Medium, &mut held.over_budget),
            Grade::Repeated => (Severity::Medium, &mut held.repeated),
            Grade::Storm => (Severity::Info, &mut held.storm),
            Grade::Broken => (Severity::Info, &mut held.broken),
        };
        *counter += u64::from(new);
        (severity, grade.why())
    }
}

impl Grade {
    fn why(self) -> &'static str {
        match self {
            Self::Page => "",
            Self::OverBudget => "the budget of pages is spent",
            Self::Repeated => "it was told within the last seven days",
            Self::Storm => "many edges deviate at once, which is told once for the mesh",
            Self::Broken => {
                "the mesh's record does not resemble the present, which is told once for the mesh"
            }
        }
    }
}

/// The kind of a deviation, when it is still there: evidence of minutes outlasts what it is of. Fewer bytes than usual have
/// no kind: they come with fewer requests, or hurt nobody.
fn kind_of(norm: &EdgeNorm, pace: Pace, measure: Measure, seen: &Seen) -> Option<FindingKind> {
    let more = seen.usual < seen.counted;
    if pace == Pace::Slow && norm.rising(measure) != more {
        return None;
    }
    match measure.class() {
        MeasureClass::Volume if more => Some(FindingKind::RequestRateHigh),
        MeasureClass::Volume => Some(FindingKind::RequestRateLow),
        MeasureClass::Bytes => more.then_some(FindingKind::BytesHigh),
        MeasureClass::Latency => more.then_some(FindingKind::LatencyHigh),
        MeasureClass::Errors => more.then_some(FindingKind::ErrorRateHigh),
        MeasureClass::Absence => Some(FindingKind::EdgeSilent),
    }
}
