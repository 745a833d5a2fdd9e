//! Which versions of each workload were seen, and so when one was deployed.
//!
//! What a sender says of its version nobody vouches for, and a deployment excuses: so who says a new one all the time must not
//! be excused all the time. The first version of a workload is no deployment, nor is one that was seen lately: a rolling
//! release of many pods is one deployment, and a rollback none, because what it goes back to is what was normal a while ago.
//! Told in order of arrival, before the shards, so it is the same for any number of them.

use std::collections::VecDeque;
use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{EventTime, Node, Symbol, SymbolTable};
use serde::{Deserialize, Serialize};

const HOUR: u64 = 3_600_000_000_000;
/// Versions of a workload that are remembered; past it the one that was heard longest ago goes.
const VERSIONS_MAX: usize = 8;
/// More versions than that within a day are no releases: builds of many things under one name, or a sender that invents them.
const CROWD_HOURS: u32 = 24;
/// Workloads that are followed; past it new ones are not (policy `keep_known`), unless some were not heard for a week. 10 MB.
const WORKLOADS_MAX: usize = 1 << 16;
const FORGET_HOURS: u32 = 7 * 24;
/// What runs side by side is heard within this time: none of it is new.
const SETTLES_FOR: Duration = Duration::from_mins(10);
/// New versions that belong to one release: as long as the amnesty's generous level and margin last.
const RELEASE: Duration = Duration::from_hours(2);
/// A workload's deployments excuse one in four days, as the trusted level allows (`normal/parameters.rs`), and two at once: a
/// release and its correction. Who deploys more often has edges whose own wander says so.
const EXCUSED_EVERY: Duration = Duration::from_hours(4 * 24);
/// Deployments kept as evidence; past it the oldest goes.
const CHANGES_MAX: usize = 512;

/// A workload runs a version that it was never heard to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Which workload.
    pub node: Node,
    /// Which version, as `<what says it>=<version>`.
    pub version: Symbol,
    /// When it was heard first, in event time.
    pub at: EventTime,
    /// It excuses what changes with it. Otherwise it is evidence, and nothing else.
    pub excuses: bool,
}

/// The versions of all workloads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Versions {
    #[serde(with = "selvedge_model::hash::listed")]
    workloads: FixedMap<Node, Known>,
    changes: VecDeque<Deployment>,
    refused: u64,
    /// The hour in which there was no room, and those that were not heard for long were forgotten.
    swept: u32,
    /// The last record: who, what and in which hour. Whatever repeats it says nothing.
    last: (Node, Symbol, u32),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    since: EventTime,
    versions: Vec<Version>,
    deployed: EventTime,
    /// When the allowance of excuses will be whole again.
    whole_at: EventTime,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Version {
    version: Symbol,
    /// The last hour in which it was heard.
    heard: u32,
}

impl Default for Versions {
    fn default() -> Self {
        Self {
            workloads: FixedMap::with_hasher(fixed_state()),
            changes: VecDeque::new(),
            refused: 0,
            swept: 0,
            last: (Node::default(), Symbol::NONE, 0),
        }
    }
}

impl Versions {
    /// `node` says that it runs `version`, at `at` in event time, which must not be in the future. Absent names say nothing.
    /// Gives the deployment that it is the first sign of.
    pub fn hear(
        &mut self,
        node: Node,
        version: Symbol,
        at: EventTime,
        symbols: &SymbolTable,
    ) -> Option<Deployment> {
        if !version.present() {
            return None;
        }
        let hour = u32::try_from(at.0 / HOUR).unwrap_or(u32::MAX);
        if self.last == (node, version, hour) {
            return None;
        }
        self.last = (node, version, hour);
        let pooled = [node.cluster, node.namespace, node.workload, version].contains(&Symbol::OVERFLOW);
        if pooled || !node.known() || !at.present() {
            return None;
        }
        let Some(known) = self.workloads.get_mut(&node) else {
            self.meet(node, version, at, hour);
            return None;
        };
        if let Some(old) = known.versions.iter_mut().find(|old| old.version == version) {
            old.heard = old.heard.max(hour);
            return None;
        }
        let first_of_its_kind = !known.knows_kind(version, symbols);
        let crowded = known.add(Version { version, heard: hour });
        let news = !first_of_its_kind && !crowded && SETTLES_FOR <= at.since(known.since);
        // Records of a release come in any order: it began when its first one came.
        if !news || (known.deployed.present() && at.since(known.deployed) < RELEASE) {
            return None;
        }
        let excuses = known.excuse(at);
        known.deployed = at;
        let deployment = Deployment { node, version, at, excuses };
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(deployment);
        Some(deployment)
    }

    /// Deployments of the last time, in the order in which they were heard of.
    pub fn deployments(&self) -> impl Iterator<Item = &Deployment> {
        self.changes.iter()
    }

    /// Records that named the version of a workload for which there was no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// A workload says for the first time which version it runs: that is no deployment.
    fn meet(&mut self, node: Node, version: Symbol, at: EventTime, hour: u32) {
        if WORKLOADS_MAX <= self.workloads.len() && self.swept < hour {
            self.swept = hour;
            let heard = |known: &Known| known.versions.iter().map(|version| version.heard).max();
            self.workloads
                .retain(|_, known| heard(known).is_some_and(|last| hour.saturating_sub(last) < FORGET_HOURS));
        }
        if WORKLOADS_MAX <= self.workloads.len() {
            self.refused += 1;
            return;
        }
        let known = Known {
            since: at,
            versions: vec![Version { version, heard: hour }],
            deployed: EventTime::ABSENT,
            whole_at: EventTime::ABSENT,
        };
        self.workloads.insert(node, known);
    }
}

impl Known {
    /// Spans, logs and metrics of one workload may each say it in their own way: the first word of each is no news.
    fn knows_kind(&self, version: Symbol, symbols: &SymbolTable) -> bool {
        let kind = |version: Symbol| symbols.resolve(version).split_once('=').map(|(kind, _)| kind);
        self.versions.iter().any(|old| kind(old.version) == kind(version))
    }

    /// Remembers a version; true when one had to make room that is still heard.
    fn add(&mut self, version: Version) -> bool {
        if self.versions.len() < VERSIONS_MAX {
            self.versions.push(version);
            return false;
        }
        let Some(oldest) = self.versions.iter_mut().min_by_key(|old| old.heard) else { return false };
        let crowded = version.heard.saturating_sub(oldest.heard) < CROWD_HOURS;
        *oldest = version;
        crowded
    }

    /// Takes one excuse of what there is, if there is one.
    fn excuse(&mut self, at: EventTime) -> bool {
        let excuses = self.whole_at <= at.after(EXCUSED_EVERY);
        if excuses {
            self.whole_at = self.whole_at.max(at).after(EXCUSED_EVERY);
        }
        excuses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const DAY: Duration = Duration::from_hours(24);
    const START: EventTime = EventTime(1_800_000_000_000_000_000);

    /// One workload, its versions by name.
    struct Bench {
        versions: Versions,
        symbols: SymbolTable,
        node: Node,
    }

    impl Bench {
        /// It runs `template=a` for an hour.
        fn settled() -> Self {
            let mut symbols = SymbolTable::new(1 << 20);
            let node = Node { workload: symbols.intern("web"), ..Node::default() };
            let mut bench = Self { versions: Versions::default(), symbols, node };
            assert_eq!(bench.hear("template=a", START), None, "the first is no deployment");
            bench.hear("template=a", START.after(60 * MINUTE));
            bench
        }

        fn hear(&mut self, version: &str, at: EventTime) -> Option<bool> {
            let version = self.symbols.intern(version);
            let heard = self.versions.hear(self.node, version, at, &self.symbols);
            heard.map(|deployment| deployment.excuses)
        }
    }

    #[test]
    fn a_rolling_release_is_one_deployment_however_many_pods_and_ways_of_saying_it() {
        let mut bench = Bench::settled();
        let at = START.after(DAY);
        bench.hear("service.version=1", at);
        assert_eq!(bench.hear("template=b", at.after(MINUTE)), Some(true));
        for minute in 2..60 {
            let at = at.after(MINUTE * minute);
            for version in ["template=a", "template=b", "service.version=1", "service.version=2"] {
                assert_eq!(bench.hear(version, at), None);
            }
        }
        assert_eq!(bench.versions.deployments().count(), 1);
    }

    #[test]
    fn what_runs_side_by_side_from_the_beginning_was_not_deployed() {
        let mut bench = Bench::settled();
        bench.node.workload = bench.symbols.intern("cart");
        assert_eq!(bench.hear("template=a", START), None);
        assert_eq!(bench.hear("template=b", START.after(9 * MINUTE)), None);
        assert_eq!(bench.hear("template=c", START.after(10 * MINUTE)), Some(true));
    }

    #[test]
    fn going_back_to_a_version_that_was_seen_lately_is_no_deployment() {
        let mut bench = Bench::settled();
        assert_eq!(bench.hear("template=b", START.after(DAY)), Some(true));
        assert_eq!(bench.hear("template=a", START.after(9 * DAY)), None);
        assert_eq!(bench.hear("template=b", START.after(18 * DAY)), None);
    }

    #[test]
    fn two_deployments_excuse_at_once_and_then_one_in_four_days() {
        let mut bench = Bench::settled();
        let excuses = |day: u32, bench: &mut Bench| {
            bench.hear(&format!("template=of-day-{day}"), START.after(DAY * day))
        };
        let told: Vec<_> = (1..=13).map(|day| excuses(day, &mut bench)).collect();
        let excused: Vec<_> =
            (1..=13).zip(&told).filter(|(_, told)| **told == Some(true)).map(|(day, _)| day).collect();
        assert_eq!(excused, [1, 2, 5, 9, 13]);
        assert!(told.iter().all(Option::is_some), "all are evidence");
    }

    /// Scenario: a sender says another version with each record, for three weeks.
    /// Guarantees: that is no deployment once there were more than eight a day; the few before it are within the allowance.
    #[test]
    fn whoever_says_a_new_version_all_the_time_is_not_excused_all_the_time() {
        let mut bench = Bench::settled();
        let mut told = Vec::new();
        for number in 0..(21 * 24 * 12) {
            let at = START.after(DAY + 5 * MINUTE * number);
            told.extend(bench.hear(&format!("template={number}"), at).map(|excuses| (number, excuses)));
        }
        assert!(told.len() <= 2, "{told:?}");
    }

    #[test]
    fn a_name_that_found_no_room_is_nobodys_version() {
        let mut bench = Bench::settled();
        let at = START.after(DAY);
        for (node, version) in [
            (bench.node, Symbol::OVERFLOW),
            (Node { workload: Symbol::OVERFLOW, ..bench.node }, Symbol(3)),
            (Node::default(), Symbol(3)),
        ] {
            assert_eq!(bench.versions.hear(node, version, at, &bench.symbols), None);
        }
    }

    #[test]
    fn past_the_limit_new_workloads_are_counted_until_old_ones_are_forgotten() {
        let mut bench = Bench::settled();
        let version = bench.symbols.intern("template=a");
        let many = u32::try_from(WORKLOADS_MAX).unwrap() + 10;
        for number in 0..many {
            let node = Node { workload: Symbol(1_000 + number), ..Node::default() };
            bench.versions.hear(node, version, START, &bench.symbols);
        }
        assert_eq!(bench.versions.workloads.len(), WORKLOADS_MAX);
        assert_eq!(bench.versions.refused(), 11);
        let node = Node { workload: Symbol(999), ..Node::default() };
        bench.versions.hear(node, version, START.after(8 * DAY), &bench.symbols);
        assert_eq!((bench.versions.workloads.len(), bench.versions.refused()), (1, 11));
    }
}
