//! Which statements the calls of each route usually make, over all workloads: judged first, then learned.

use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{EventTime, LogWindow, Node, RouteCalls, ServedRoute, TraceId, Window};
use serde::{Deserialize, Serialize};

use super::known::{Class, Known, Tally};
use super::{Miner, StatementId};

/// Routes known; past it new ones are not learned (policy `keep_known`).
const ROUTES_MAX: usize = 65_536;
/// Statements known, over all routes (policy `keep_known`): some 25 MB.
const STATEMENTS_MAX: usize = 262_144;
/// Statements of one route (policy `keep_known`).
const ROUTE_STATEMENTS_MAX: usize = 512;
/// Workloads known (policy `keep_known`).
const WORKLOADS_MAX: usize = 16_384;
/// A statement that its workload made first less than this ago is new to it.
const NEW_FOR: Duration = Duration::from_mins(1);
/// So many new statements of one workload within this time are a new version, and not a fault.
const RELEASE_STATEMENTS: u32 = 8;
const RELEASE_WITHIN: Duration = Duration::from_mins(10);
/// Comparisons are counted by the hour, for thresholds.
const HOUR: Duration = Duration::from_hours(1);
/// From then on what was counted says how many an hour has: a few per cent off when a mesh has hundreds of statements.
const MEASURED_MIN: Duration = Duration::from_mins(10);
/// Calls from which on a statement says whether it is one of all calls.
const SETTLED_CALLS: f32 = 20.0;
const SETTLED_SHARE: f32 = 0.98;
/// Exemplar traces of one deviation.
const EXEMPLARS_MAX: usize = 8;
const CLASSES: usize = Class::ALL.len();

/// What is known of the statements of all routes.
#[derive(Serialize, Deserialize)]
pub struct Habits {
    #[serde(with = "selvedge_model::hash::listed")]
    routes: FixedMap<ServedRoute, RouteHabit>,
    #[serde(with = "selvedge_model::hash::listed")]
    workloads: FixedMap<Node, Voice>,
    statements: usize,
    settled: [u32; 2],
    trials: Trials,
    overflows: HabitOverflows,
}

/// What the limits did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HabitOverflows {
    /// Windows of routes and workloads that found no room.
    pub routes: u64,
    /// Statements that found no room.
    pub statements: u64,
}

/// A statement that deviates on a route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deviant {
    /// Its template.
    pub statement: StatementId,
    /// Calls since the change may have begun.
    pub run: Tally,
    /// Calls of the record.
    pub record: Tally,
    /// Evidence in nats.
    pub score: f32,
    /// It is known for a day, or approved.
    pub settled: bool,
    /// Half of the calls of the run or more fail, or log an error that calls of the route hardly ever log.
    pub errs: bool,
    /// Most calls of the run make it: it appears or grows. Else it vanishes.
    pub more: bool,
}

/// What one window says of one route, in one respect.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviation {
    /// Which comparison it is.
    pub class: Class,
    /// The route; of a workload that is silent, only its node.
    pub route: ServedRoute,
    /// What deviates, most evident first.
    pub deviants: Vec<Deviant>,
    /// When the change may have begun.
    pub since: EventTime,
    /// Who called in this window, most calls first.
    pub callers: Vec<Node>,
    /// Calls of this window that show it.
    pub exemplars: Vec<TraceId>,
    /// Many statements of the workload are new: probably a new version.
    pub release: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct RouteHabit {
    calls: f32,
    /// By number.
    known: Vec<Known>,
}

/// What is known of a workload as a whole.
#[derive(Serialize, Deserialize)]
struct Voice {
    /// Calls that made any statement.
    any: Known,
    new_statements: u32,
    new_since: EventTime,
}

/// Windows judged, by class: how many chances for a false alarm an hour has.
#[derive(Default, Serialize, Deserialize)]
struct Trials {
    since: EventTime,
    passed: Duration,
    window: Duration,
    current: [u64; CLASSES],
    last: Option<[u64; CLASSES]>,
    /// Statements that were new to their workload, in this hour and the last.
    new_statements: [usize; 2],
}

impl Default for Habits {
    fn default() -> Self {
        Self::new()
    }
}

impl Habits {
    /// Knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            routes: FixedMap::with_hasher(fixed_state()),
            workloads: FixedMap::with_hasher(fixed_state()),
            statements: 0,
            settled: [0; 2],
            trials: Trials::default(),
            overflows: HabitOverflows::default(),
        }
    }

    /// What the limits did.
    #[must_use]
    pub fn overflows(&self) -> HabitOverflows {
        self.overflows
    }

    /// Statements known, over all routes.
    #[must_use]
    pub fn statements(&self) -> usize {
        self.statements
    }

    /// Comparisons of a class in an hour: as many as in the last one, or in this one as it goes on. Before ten minutes were counted,
    /// as many as if everything known were compared in each window.
    #[must_use]
    pub fn trials_an_hour(&self, class: Class) -> f64 {
        let known = match class {
            Class::Missing | Class::Rate => self.statements,
            Class::New => self.trials.new_statements.iter().sum::<usize>(),
            Class::Silent => self.workloads.len(),
        };
        self.trials.an_hour(class, known)
    }

    /// Judges a window by what earlier ones taught, then learns what is not suspicious. Of what deviates, everything that
    /// has `least` nats of its class or more is told; nothing while an approved baseline is taken (`teaching`).
    pub fn take(
        &mut self,
        window: Window,
        counts: &LogWindow,
        miner: &Miner,
        teaching: bool,
        least: &dyn Fn(Class, &Self) -> f64,
    ) -> Vec<Deviation> {
        self.trials.pass(window);
        for node in &counts.late {
            self.forget_runs(*node);
        }
        let least = Class::ALL.map(|class| least(class, self));
        let mut deviations = Vec::new();
        let routes: Vec<(&ServedRoute, &RouteCalls)> = counts.routes.iter().collect();
        for of_node in routes.chunk_by(|left, right| left.0.node == right.0.node) {
            let hears = self.hear(window, of_node, teaching, least[Class::Silent as usize], &mut deviations);
            if hears {
                for (route, calls) in of_node {
                    self.take_route(window, route, calls, miner, teaching, &least, &mut deviations);
                }
            }
        }
        deviations
    }

    /// Whether the workload speaks at all. In a window in which none of its calls made any statement, although they
    /// usually do, its telemetry is missing rather than single statements.
    fn hear(
        &mut self,
        window: Window,
        routes: &[(&ServedRoute, &RouteCalls)],
        teaching: bool,
        least: f64,
        deviations: &mut Vec<Deviation>,
    ) -> bool {
        let Some(node) = routes.first().map(|(route, _)| route.node) else { return false };
        if self.workloads.len() >= WORKLOADS_MAX && !self.workloads.contains_key(&node) {
            self.overflows.routes += 1;
            return false;
        }
        let always = self.always();
        let voice = self.workloads.entry(node).or_insert_with(|| Voice {
            any: Known::unknown(0, 0.0, false, window.start),
            new_statements: 0,
            new_since: window.start,
        });
        let calls = routes.iter().map(|(_, calls)| calls.calls).sum();
        let speaking: u32 = routes.iter().map(|(_, calls)| calls.speaking).sum();
        let (usual, record) = (voice.any.usual(), voice.any.record);
        let step = if teaching { None } else { voice.any.judge(window, (speaking, calls), 0, always) };
        let Some(step) = step else {
            voice.any.learn(speaking, calls);
            return speaking > 0 || !usual;
        };
        self.trials.current[Class::Silent as usize] += 1;
        let bar = voice.any.bar(window);
        let any = &voice.any;
        // Some calls still speak: then single statements are what is missing, and they are told.
        let told =
            step.score.is_some_and(|score| f64::from(score) >= least + bar) && any.run.stops && speaking == 0;
        if told {
            let mut callers: Vec<(Node, u32)> = Vec::new();
            let mut exemplars = Vec::new();
            for (_, calls) in routes {
                callers.extend(&calls.callers);
                exemplars.extend(calls.samples.iter().map(|sample| sample.trace_id));
            }
            exemplars.truncate(EXEMPLARS_MAX);
            let deviant = Deviant {
                statement: StatementId(0),
                run: any.run.all,
                record,
                score: any.run.score,
                settled: true,
                errs: false,
                more: false,
            };
            deviations.push(Deviation {
                class: Class::Silent,
                route: ServedRoute { node, ..ServedRoute::default() },
                deviants: vec![deviant],
                since: any.run.since,
                callers: ranked(callers),
                exemplars,
                release: false,
            });
        }
        speaking > 0 || !usual
    }

    #[expect(clippy::too_many_arguments, reason = "one window of one route, and what it is judged by")]
    fn take_route(
        &mut self,
        window: Window,
        route: &ServedRoute,
        calls: &RouteCalls,
        miner: &Miner,
        teaching: bool,
        least: &[f64; CLASSES],
        deviations: &mut Vec<Deviation>,
    ) {
        if self.routes.len() >= ROUTES_MAX && !self.routes.contains_key(route) {
            self.overflows.routes += 1;
            return;
        }
        let always = self.always();
        let erring = self.erring(route, calls, miner);
        let habit = self.routes.entry(*route).or_default();
        let mut found: [Vec<(Deviant, EventTime)>; CLASSES] = Default::default();
        for known in &mut habit.known {
            let with = calls.with(known.statement);
            let record = known.record;
            let step = if teaching { None } else { known.judge(window, (with, calls.calls), erring, always) };
            if step.is_none() {
                known.learn(with, calls.calls);
            }
            if record.calls < SETTLED_CALLS && known.record.calls >= SETTLED_CALLS {
                self.settled[usize::from(known.record.with >= SETTLED_SHARE * known.record.calls)] += 1;
            }
            let Some(step) = step else { continue };
            self.trials.current[step.class as usize] += 1;
            // A branch that comes and goes is known by that; one that comes with errors is told each time.
            let bar = if known.errs() { 0.0 } else { known.bar(window) };
            let threshold = least[step.class as usize] + bar - odds(step.class, known.statement, miner);
            if let Some(score) = step.score.filter(|score| f64::from(*score) >= threshold) {
                let deviant = Deviant {
                    statement: StatementId(known.statement),
                    run: known.run.all,
                    record,
                    score,
                    settled: known.settled(window),
                    errs: known.errs(),
                    more: known.run.all.with * record.calls > record.with * known.run.all.calls,
                };
                found[step.class as usize].push((deviant, known.run.since));
            }
        }
        self.meet(window, route, calls, miner, teaching);
        let release = self.workloads.get(&route.node).is_some_and(|voice| voice.released(window));
        for (class, deviants) in Class::ALL.into_iter().zip(found) {
            deviations.extend(deviation(class, route, calls, deviants, release));
        }
    }

    /// Calls that fail, or log an error that is unusual on their route: at least so many.
    fn erring(&self, route: &ServedRoute, calls: &RouteCalls, miner: &Miner) -> u32 {
        let known = self.routes.get(route).map_or(&[][..], |habit| &habit.known);
        let unusual_error = |known: &&Known| known.unusual() && miner.is_error(StatementId(known.statement));
        let logged = known.iter().filter(unusual_error).map(|known| calls.with(known.statement)).max();
        logged.unwrap_or(0).max(calls.failed)
    }

    /// Statements that the route never made. Their first window is no evidence against them: something is always new.
    fn meet(
        &mut self,
        window: Window,
        route: &ServedRoute,
        calls: &RouteCalls,
        miner: &Miner,
        teaching: bool,
    ) {
        let Some(habit) = self.routes.get_mut(route) else { return };
        for (statement, with) in &calls.statements {
            let place = habit.known.binary_search_by_key(statement, |known| known.statement);
            let Err(place) = place else { continue };
            if self.statements >= STATEMENTS_MAX || habit.known.len() >= ROUTE_STATEMENTS_MAX {
                self.overflows.statements += 1;
                continue;
            }
            self.statements += 1;
            let first = miner.first(StatementId(*statement));
            let new = habit.calls > 0.0 && window.end.since(first) <= NEW_FOR;
            let mut known = Known::unknown(
                *statement,
                habit.calls,
                new,
                if teaching { EventTime::ABSENT } else { window.start },
            );
            if habit.calls == 0.0 {
                known.learn(*with, calls.calls);
            }
            habit.known.insert(place, known);
            self.trials.new_statements[0] += usize::from(new);
            if new && let Some(voice) = self.workloads.get_mut(&route.node) {
                voice.meet(window);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "calls of one window")]
        let served = calls.calls as f32;
        habit.calls += served;
        let before = habit.known.len();
        habit.known.retain(|known| !known.forgotten());
        self.statements -= before - habit.known.len();
    }

    /// The share of statements that every call of their route makes, over the mesh (a uniform prior of two).
    fn always(&self) -> f64 {
        let [depends, always] = self.settled.map(f64::from);
        ((always + 1.0) / (always + depends + 2.0)).clamp(0.05, 0.95)
    }

    /// Statements of this workload came too late to be seen: what looked as if it had vanished has not.
    fn forget_runs(&mut self, node: Node) {
        for (route, habit) in &mut self.routes {
            if route.node == node {
                habit.known.iter_mut().for_each(Known::forget_run);
            }
        }
        if let Some(voice) = self.workloads.get_mut(&node) {
            voice.any.forget_run();
        }
    }
}

impl Voice {
    fn meet(&mut self, window: Window) {
        if window.start.since(self.new_since) > RELEASE_WITHIN {
            (self.new_since, self.new_statements) = (window.start, 0);
        }
        self.new_statements += 1;
    }

    fn released(&self, window: Window) -> bool {
        self.new_statements >= RELEASE_STATEMENTS && window.start.since(self.new_since) <= RELEASE_WITHIN
    }
}

impl Trials {
    fn pass(&mut self, window: Window) {
        if !self.since.present() {
            self.since = window.start;
        }
        if window.start.since(self.since) >= HOUR {
            (self.since, self.last) = (window.start, Some(std::mem::take(&mut self.current)));
            self.new_statements = [0, self.new_statements[0]];
        }
        self.window = window.end.since(window.start);
        self.passed = window.end.since(self.since);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of an hour")]
    fn an_hour(&self, class: Class, known: usize) -> f64 {
        let windows = HOUR.as_secs_f64() / self.window.as_secs_f64().max(1.0);
        let current = self.current[class as usize] as f64;
        let before = match self.last {
            Some(last) => last[class as usize] as f64,
            None if self.passed < MEASURED_MIN => known as f64 * windows,
            None => current * HOUR.as_secs_f64() / self.passed.as_secs_f64(),
        };
        before.max(current).max(windows)
    }
}

/// What speaks for or against a new statement being a fault, before how often it comes: weights as those of novelty
/// (`detection.md` 3.6).
pub(super) fn odds(class: Class, statement: u32, miner: &Miner) -> f64 {
    if class == Class::New {
        miner.odds(StatementId(statement)).iter().map(|(_, odds)| odds).sum()
    } else {
        0.0
    }
}

fn deviation(
    class: Class,
    route: &ServedRoute,
    calls: &RouteCalls,
    mut found: Vec<(Deviant, EventTime)>,
    release: bool,
) -> Option<Deviation> {
    let since = found.iter().map(|(_, since)| *since).min()?;
    found.sort_by(|left, right| {
        right.0.score.total_cmp(&left.0.score).then_with(|| left.0.statement.cmp(&right.0.statement))
    });
    let deviants: Vec<Deviant> = found.into_iter().map(|(deviant, _)| deviant).collect();
    let first = deviants[0];
    let shows = |statements: &[u32]| statements.binary_search(&first.statement.0).is_ok() == first.more;
    let exemplars = calls.samples.iter().filter(|sample| shows(&sample.statements));
    Some(Deviation {
        class,
        route: *route,
        since,
        callers: ranked(calls.callers.clone()),
        exemplars: exemplars.map(|sample| sample.trace_id).take(EXEMPLARS_MAX).collect(),
        deviants,
        release,
    })
}

/// Callers by calls, each once; those that nobody named are left out.
fn ranked(mut callers: Vec<(Node, u32)>) -> Vec<Node> {
    callers.retain(|(node, _)| node.known());
    callers.sort_by_key(|(node, calls)| (std::cmp::Reverse(*calls), *node));
    let mut ranked: Vec<Node> = Vec::new();
    for (node, _) in callers {
        if !ranked.contains(&node) {
            ranked.push(node);
        }
    }
    ranked
}
