//! What is new, told once, and rationed by the mesh's own record.
//!
//! A new edge is a deed; the deeds of one caller within an hour are its *story*, and a story goes on through a workload
//! that was reached over a new edge: who drove a chain stands at its beginning (Hopper, `detection.md` 1.3). Scores add
//! up over edges: what benign changes bring comes mostly alone, so each further new edge counts more. How often a score comes when nothing is wrong, the stories of the
//! last 28 days say: only what exceeds the ones that the budget allows wakes somebody (ration by rank, 3.6). Before there
//! are 14 days of record, severities are those of the rules.
//!
//! What was told is not told again and again while nobody answers: for as long as it goes on, then for the record only.

use std::collections::VecDeque;
use std::time::Duration;

use selvedge_model::finding::Family;
use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{EdgeKey, EventTime, Evidence, Finding, FindingKind, Node, Severity};
use serde::{Deserialize, Serialize};

use crate::calibration::Budgets;

/// Deeds this far apart, or a deed and what reached its caller, are different stories.
const STORY: Duration = Duration::from_hours(1);
/// A deed that is seen again this soon goes on: longer than an incident needs to be resolved and to be reopened.
const GOES_ON: Duration = Duration::from_mins(15);
/// It is told for so long at most, as an edge's behaviour stays suspicious.
const TOLD_FOR: Duration = Duration::from_hours(4);
/// Unanswered it is told anew after a week, as pages of an edge are.
const REMEMBERED_FOR: Duration = Duration::from_hours(7 * 24);
const DAY: Duration = Duration::from_hours(24);
/// Days of record without which the rules decide, and days that are kept.
const DAYS_MIN: u64 = 14;
const DAYS_MAX: u64 = 28;
/// The first days of a mesh are no record: everything is new in them, and what comes once a week was not there yet.
const SETTLES_FOR: Duration = Duration::from_hours(7 * 24);
/// A new edge counts as many points as steps of severity from `medium` on, and one more when it is not the story's first.
/// What is new on a known edge is one tier lower (`detection.md` 3.6).
const FURTHER: f64 = 1.0;
const ON_KNOWN_EDGE: f64 = 0.5;
/// A version brings what is new with it for so long, and that mostly alone: the first edge of a story of whoever was deployed
/// since counts half. No more than that, because whoever can send telemetry in its name can say so.
pub(crate) const DEPLOYED_LATELY: Duration = DAY;
const BY_DEPLOYMENT: f64 = 0.5;
/// Part of the budgets: of pages (`detection.md` 3.4), and what paces leave of warnings.
const PAGES_SHARE: f64 = 0.3;
const WARNINGS_SHARE: f64 = 0.2;
/// No story below it is a page, however quiet the mesh is: two deeds, or one of severity `high`.
const PAGE_MIN: f64 = 2.0;
/// A story that woke somebody raises the bar by no more than this: nobody can buy silence with one loud story.
const RISE_MAX: f64 = 1.0;
/// Deeds remembered; past it the one that was seen longest ago is forgotten (policy `oldest`).
const DEEDS_MAX: usize = 16_384;
/// Callers with a story, and workloads that were reached; past it the oldest story ends.
const STORIES_MAX: usize = 4_096;
/// Edges of a story; further ones add nothing that a page needs.
const EDGES_MAX: usize = 32;
/// Scores kept of a day, the largest.
const SCORES_MAX: usize = 1_024;

type Deed = (FindingKind, EdgeKey, String);

/// Stories that go on, and the record of those that ended.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Stories {
    #[serde(skip)]
    budgets: Budgets,
    #[serde(with = "selvedge_model::hash::listed")]
    told: FixedMap<Deed, ToldDeed>,
    #[serde(with = "selvedge_model::hash::listed")]
    stories: FixedMap<Node, Story>,
    /// Scores of the stories that ended, by day, newest last.
    days: VecDeque<(u64, Vec<f64>)>,
    since: EventTime,
    bars: Bars,
}

/// What a story must exceed to be told, as of the last window: a flood of deeds costs no look at the record each.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Bars {
    page: f64,
    warning: f64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct ToldDeed {
    first: EventTime,
    last: EventTime,
    severity: Severity,
    over: bool,
}

/// What one caller did that was new, within an hour from deed to deed.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Story {
    last: EventTime,
    /// The worth of each edge on which something was new, and whether the edge was.
    edges: Vec<(EdgeKey, f64, bool)>,
    /// Who reached the caller over a new edge, and when.
    reached: Option<(EventTime, Node)>,
    /// The score of who reached it.
    inherited: f64,
    /// Its first deed, and whether the mesh was woken by it.
    first: Option<Finding>,
    paged: bool,
}

impl Default for Stories {
    fn default() -> Self {
        Self {
            budgets: Budgets::default(),
            told: FixedMap::with_hasher(fixed_state()),
            stories: FixedMap::with_hasher(fixed_state()),
            days: VecDeque::new(),
            since: EventTime::ABSENT,
            bars: Bars::default(),
        }
    }
}

/// Who did it.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    /// Something is known of it. Whatever a new workload does is new: that is one deed, and no link of a chain.
    pub(crate) known: bool,
    /// Its deeds are rationed. In an approved baseline everything new is news, and what a policy forbids, or comes with a
    /// false identity, is not only new.
    pub(crate) rationed: bool,
    /// It runs a new version since less than a day, within what its deployments may excuse.
    pub(crate) deployed: bool,
}

/// True for what stories are made of.
pub(crate) fn is_deed(finding: &Finding) -> bool {
    is_about_news(finding.kind) && finding.severity >= Severity::Medium
}

/// True for kinds that say no more than that something is new.
pub(crate) fn is_about_news(kind: FindingKind) -> bool {
    matches!(kind.family(), Family::Novelty | Family::Boundary)
}

impl Stories {
    pub(crate) fn new(budgets: Budgets) -> Self {
        Self { budgets, ..Self::default() }
    }

    pub(crate) fn configure(&mut self, budgets: Budgets) {
        self.budgets = budgets;
    }

    /// The mesh is known from now on, if it was not before: its record begins.
    pub(crate) fn begin(&mut self, now: EventTime) {
        if !self.since.present() {
            self.since = now;
        }
    }

    /// Time passed: stories without a further deed end, and go to the record.
    pub(crate) fn advance(&mut self, now: EventTime) {
        let over = |story: &Story| {
            let reached = story.reached.map_or(EventTime::ABSENT, |(at, _)| at);
            now.since(story.last.max(reached)) > STORY
        };
        let ended: Vec<(EventTime, f64, bool)> = self
            .stories
            .values()
            .filter(|story| over(story) && !story.edges.is_empty())
            .map(|story| (story.last, story.score(), story.paged))
            .collect();
        self.stories.retain(|_, story| !over(story));
        let highest = self.bars.page.max(PAGE_MIN) + RISE_MAX;
        for (at, score, paged) in ended {
            self.record(at, if paged { score.min(highest) } else { score });
        }
        let today = day_of(now);
        self.days.retain(|(day, _)| today - day.min(&today) <= DAYS_MAX);
        self.bars = self.bars_at(now);
    }

    fn record(&mut self, at: EventTime, score: f64) {
        if !self.since.present() || at.since(self.since) < SETTLES_FOR {
            return;
        }
        let day = day_of(at);
        match self.days.iter_mut().find(|(other, _)| *other == day) {
            Some((_, scores)) => {
                scores.push(score);
                if scores.len() > SCORES_MAX {
                    scores.sort_by(|left, right| right.total_cmp(left));
                    scores.truncate(SCORES_MAX);
                }
            }
            None => self.days.push_back((day, vec![score])),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a few days")]
    fn bars_at(&self, now: EventTime) -> Bars {
        let days = now.since(self.since.after(SETTLES_FOR)).as_secs_f64() / DAY.as_secs_f64();
        let days = days.min(DAYS_MAX as f64);
        let mut scores: Vec<f64> = self.days.iter().flat_map(|(_, scores)| scores).copied().collect();
        Bars {
            page: exceeded(&mut scores, PAGES_SHARE * self.budgets.pages_a_week * days / 7.0),
            warning: exceeded(&mut scores, WARNINGS_SHARE * self.budgets.warnings_an_hour * 24.0 * days),
        }
    }

    fn ready(&self, now: EventTime) -> bool {
        let settled = self.since.after(SETTLES_FOR);
        self.since.present() && now.since(settled) >= DAY * u32::try_from(DAYS_MIN).unwrap_or(u32::MAX)
    }

    /// A deed, as it is to be told; and the first ones of its story, told again when it has become a page: they are what
    /// it is about.
    pub(crate) fn tell(&mut self, key: &EdgeKey, mut finding: Finding, caller: Caller) -> Vec<Finding> {
        let now = finding.detected;
        let deed = (finding.kind, *key, finding.subject.clone());
        if let Some(told) = self.told.get_mut(&deed).filter(|told| now.since(told.first) < REMEMBERED_FOR) {
            told.over |= now.since(told.last) > GOES_ON || now.since(told.first) > TOLD_FOR;
            told.last = now;
            let severity = if told.over { Severity::Info } else { told.severity };
            if told.over {
                note(&mut finding, "lowered_because", "it was told before, and nobody has answered");
            }
            finding.severity = severity;
            return vec![finding];
        }
        let told = self.add(key, finding, caller);
        if let Some(finding) = told.first() {
            let told = ToldDeed { first: now, last: now, severity: finding.severity, over: false };
            self.remember(deed, told);
        }
        told
    }

    fn remember(&mut self, deed: Deed, told: ToldDeed) {
        if self.told.len() >= DEEDS_MAX && !self.told.contains_key(&deed) {
            self.told.retain(|_, other| told.first.since(other.first) < REMEMBERED_FOR);
            let oldest = self.told.iter().min_by_key(|(deed, other)| (other.last, deed.1, deed.0));
            if let Some(oldest) =
                oldest.map(|(deed, _)| deed.clone()).filter(|_| self.told.len() >= DEEDS_MAX)
            {
                self.told.remove(&oldest);
            }
        }
        self.told.insert(deed, told);
    }

    fn add(&mut self, key: &EdgeKey, mut finding: Finding, caller: Caller) -> Vec<Finding> {
        let Caller { known, rationed, .. } = caller;
        let now = finding.detected;
        let ready = self.ready(now);
        let inherited = self.story(key.source, now).reached.filter(|(at, _)| now.since(*at) <= STORY);
        let inherited =
            inherited.filter(|_| known).and_then(|(_, by)| self.stories.get(&by)).map_or(0.0, Story::score);
        let story = self.story(key.source, now);
        story.add(*key, &finding, caller);
        (story.last, story.inherited) = (now, inherited.max(story.inherited));
        let score = story.score();
        let first = story.first.get_or_insert_with(|| finding.clone()).id == finding.id;
        let reaches = matches!(finding.kind, FindingKind::NewEdge | FindingKind::NewCallPath);
        if reaches && !key.external {
            let reached = self.story(key.destination, now);
            if reached.reached.is_none_or(|(at, _)| now.since(at) > STORY) && key.destination != key.source {
                reached.reached = Some((now, key.source));
            }
        }
        if !(ready && rationed) {
            return vec![finding];
        }
        let page_bar = self.bars.page.max(PAGE_MIN - 0.5);
        finding.evidence.push(Evidence {
            name: "story_score".to_owned(),
            observed: format!("{score:.1}"),
            baseline: format!("{page_bar:.1}"),
        });
        if score > page_bar {
            finding.severity = finding.severity.max(Severity::High);
            let mut told = vec![finding];
            told.extend(self.woken(key.source, now, first));
            return told;
        }
        let highest = if score > self.bars.warning { Severity::Medium } else { Severity::Low };
        if finding.severity > highest {
            finding.severity = highest;
            note(&mut finding, "lowered_because", "something like it comes as often as the budget allows");
        }
        vec![finding]
    }

    /// A story woke somebody: its first deeds, and those of who drove it, as pages.
    fn woken(&mut self, caller: Node, now: EventTime, only_deed: bool) -> Vec<Finding> {
        let (mut told, mut next, mut skip) = (Vec::new(), Some(caller), only_deed);
        // Each story is woken once, so this ends.
        while let Some(story) = next.and_then(|node| self.stories.get_mut(&node)) {
            let before = std::mem::replace(&mut story.paged, true);
            let inherits = story.inherited > 0.0;
            if let Some(first) = story.first.as_mut().filter(|_| !before && !skip) {
                (first.severity, first.detected) = (first.severity.max(Severity::High), now);
                told.push(first.clone());
            }
            next = story.reached.map(|(_, by)| by).filter(|_| !before && inherits);
            skip = false;
        }
        told
    }

    /// The story of a workload; one that is over ends first.
    fn story(&mut self, node: Node, now: EventTime) -> &mut Story {
        if self.stories.len() >= STORIES_MAX && !self.stories.contains_key(&node) {
            let oldest =
                self.stories.iter().min_by_key(|(node, story)| (story.last, **node)).map(|(node, _)| *node);
            if let Some(story) =
                oldest.and_then(|oldest| self.stories.remove(&oldest)).filter(|story| !story.edges.is_empty())
            {
                self.record(now, story.score());
            }
        }
        self.stories.entry(node).or_default()
    }
}

impl Story {
    /// One entry an edge: the worst of what is new on it. A caller of which nothing is known has one in all.
    fn add(&mut self, key: EdgeKey, finding: &Finding, Caller { known, deployed, .. }: Caller) {
        let steps = match finding.severity {
            Severity::Info | Severity::Low => 0.0,
            Severity::Medium => 1.0,
            Severity::High => 2.0,
            Severity::Critical => 3.0,
        };
        let on_known_edge = matches!(
            finding.kind,
            FindingKind::NewRoute | FindingKind::NewPrincipal | FindingKind::NewCallPath
        );
        let worth = if on_known_edge { steps * ON_KNOWN_EDGE } else { steps };
        let at = self.edges.iter().position(|(edge, ..)| *edge == key || !known);
        let excused = deployed && at.unwrap_or(self.edges.len()) == 0;
        let worth = if excused { worth * BY_DEPLOYMENT } else { worth };
        match at {
            Some(at) => {
                let (_, most, new) = &mut self.edges[at];
                (*most, *new) = (most.max(worth), *new || !on_known_edge);
            }
            None if self.edges.len() < EDGES_MAX => self.edges.push((key, worth, !on_known_edge)),
            None => {}
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a few edges")]
    fn score(&self) -> f64 {
        let worth: f64 = self.edges.iter().map(|(_, worth, _)| worth).sum();
        let new = self.edges.iter().filter(|(.., new)| *new).count();
        let further = if self.inherited > 0.0 { new } else { new.saturating_sub(1) };
        worth + FURTHER * further as f64 + self.inherited
    }
}

/// The score that so many reach or exceed; the largest when less than one is wanted, 0 when there are not so many.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
fn exceeded(scores: &mut [f64], wanted: f64) -> f64 {
    let rank = (wanted as usize).max(1) - 1;
    if rank >= scores.len() {
        return 0.0;
    }
    *scores.select_nth_unstable_by(rank, |left, right| right.total_cmp(left)).1
}

fn day_of(at: EventTime) -> u64 {
    at.0 / u64::try_from(DAY.as_nanos()).unwrap_or(u64::MAX)
}

fn note(finding: &mut Finding, name: &str, text: &str) {
    let (name, observed) = (name.to_owned(), text.to_owned());
    finding.evidence.push(Evidence { name, observed, baseline: String::new() });
}

#[cfg(test)]
#[path = "stories/tests.rs"]
mod tests;
