//! Lateral movement: from one compromised service to the next, over edges that are new or a path that is.

use std::time::Duration;

use selvedge_model::{EventTime, SpanId};

use super::Signals;
use super::attack::{Cover, Scenario, Step, Trace};
use super::names::{Habit, UNUSED_ROUTES};
use super::window::{Outcome, span_id, trace_id};
use crate::config::{Between, between};
use crate::draw::{Draw, float, whole};
use crate::events::seconds;
use crate::mesh::Mesh;

/// So many services may refuse the attacker before each hop, and so many calls make one.
const PROBES_MAX: usize = 3;
const CALLS_A_HOP: Between = between(3.0, 20.0);
/// Calls of one hop follow each other after so many seconds.
const PAUSE_SECONDS: Between = between(0.5, 60.0);
/// A hop comes so long after the deployment that covers it, in seconds.
const COVERED_SECONDS: Between = between(60.0, 1_800.0);
/// Half of the calls go through a request of the compromised service, and stay in its trace.
const RELAYED: f64 = 0.5;
/// A third of the calls ask for a route that nobody uses.
const ODD_ROUTE: f64 = 0.33;
/// A request along known edges ends so long after it was planned at most; calls that it causes end before it.
const INSIDE: Duration = Duration::from_micros(500);
/// So many tries for a path.
const TRIES: usize = 50;

/// What is asked of a movement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Movement {
    pub(super) hops: usize,
    pub(super) cover: Cover,
    pub(super) length: Duration,
}

impl Movement {
    fn covers(&self, hop: usize) -> bool {
        match self.cover {
            Cover::None => false,
            Cover::Foothold => hop == 0,
            Cover::EveryHop => true,
        }
    }

    /// Seconds for each hop.
    fn each(&self) -> f64 {
        self.length.as_secs_f64() / float(self.hops as u64)
    }

    /// The deployment that covers a hop, and when the hop may begin.
    fn begin(
        &self,
        hop: usize,
        service: usize,
        at: EventTime,
        mesh: &mut Mesh,
        draw: &mut Draw,
    ) -> EventTime {
        if !self.covers(hop) {
            return at;
        }
        mesh.deploy(service, at);
        at.after(seconds(draw.log_within(COVERED_SECONDS).min(self.each())))
    }
}

fn paused(at: EventTime, draw: &mut Draw) -> EventTime {
    at.after(seconds(draw.log_within(PAUSE_SECONDS)))
}

impl Signals {
    pub(super) fn over_new_edges(
        &mut self,
        mut scenario: Scenario,
        plan: Movement,
        mesh: &mut Mesh,
        draw: &mut Draw,
    ) -> Option<Scenario> {
        let path = self.new_path(plan.hops, draw)?;
        scenario.hops.clear();
        let mut free = scenario.start;
        for (hop, pair) in path.windows(2).enumerate() {
            let mut at = plan.begin(hop, pair[0], free, mesh, draw);
            self.cover(&plan, hop, pair[0], free);
            for _ in 0..draw.below(PROBES_MAX + 1) {
                if let Some(probed) = self.unknown_pair(Some(pair[0]), draw) {
                    let status = if draw.chance(0.5) { 403 } else { 404 };
                    let step = self.strange_step(probed, at, draw);
                    self.step(Step { outcome: Outcome { status, grpc_status: -1 }, ..step });
                    at = paused(at, draw);
                }
            }
            scenario.hops.push(at);
            for _ in 0..whole(draw.log_within(CALLS_A_HOP)) {
                let step = self.strange_step((pair[0], pair[1]), at, draw);
                self.step(step);
                scenario.end = scenario.end.max(at.after(INSIDE));
                at = paused(at, draw);
            }
            free = at.max(free.after(seconds(plan.each() * draw.uniform())));
        }
        Some(Scenario { path, ..scenario })
    }

    /// Stage by stage one edge further: in the last, a request goes all the way in one trace.
    pub(super) fn over_known_edges(
        &mut self,
        mut scenario: Scenario,
        plan: Movement,
        mesh: &mut Mesh,
        draw: &mut Draw,
    ) -> Option<Scenario> {
        let way = self.known_path(plan.hops, draw)?;
        scenario.hops.clear();
        let mut free = scenario.start;
        for stage in 0..way.len() {
            let mut at = plan.begin(stage, way[stage].0.caller, free, mesh, draw);
            self.cover(&plan, stage, way[stage].0.caller, free);
            scenario.hops.push(at);
            for _ in 0..whole(draw.log_within(CALLS_A_HOP)) {
                self.chain(&way[..=stage], at, draw);
                scenario.end = scenario.end.max(at.after(INSIDE));
                at = paused(at, draw);
            }
            free = at.max(free.after(seconds(plan.each() * draw.uniform())));
        }
        let reached = way.iter().map(|(habit, _)| habit.callee);
        let path = way.first().map(|(habit, _)| habit.caller).into_iter().chain(reached).collect();
        Some(Scenario { path, ..scenario })
    }

    /// Plans what the covering deployment of a hop brings.
    fn cover(&mut self, plan: &Movement, hop: usize, service: usize, at: EventTime) {
        if plan.covers(hop) {
            self.covers.push((at, service));
        }
    }

    /// One request along edges of the mesh: each call is caused by the one before, and ends before it.
    fn chain(&mut self, way: &[(Habit, usize)], at: EventTime, draw: &mut Draw) {
        let trace = trace_id(draw);
        let mut parent = SpanId::default();
        let mut end = at.after(INSIDE);
        for (habit, route) in way {
            end = end.before(Duration::from_nanos(1 + draw.below(1_000) as u64));
            let span = span_id(draw);
            self.step(Step {
                trace: Trace::Given { trace, span, parent },
                ..self.usual_step(habit, *route, end)
            });
            parent = span;
        }
    }

    /// A call over an edge that is not there.
    fn strange_step(&self, pair: (usize, usize), at: EventTime, draw: &mut Draw) -> Step {
        let used = self.names.used_routes(pair.1);
        let odd = draw.chance(ODD_ROUTE);
        let route = if odd { used + draw.below(UNUSED_ROUTES) } else { draw.below(used) };
        let trace = if draw.chance(RELAYED) { Trace::Relayed } else { Trace::Own };
        Step { trace, ..self.new_step(pair, route, at) }
    }

    /// Services of which none ever called the next; none when there is no such path of that many hops.
    fn new_path(&self, hops: usize, draw: &mut Draw) -> Option<Vec<usize>> {
        let services = self.names.nodes.len();
        if services == 0 || hops == 0 {
            return None;
        }
        (0..TRIES).find_map(|_| {
            let mut path = vec![draw.below(services)];
            while path.len() <= hops {
                let from = *path.last()?;
                let (_, to) = self.unknown_pair(Some(from), draw).filter(|(_, to)| !path.contains(to))?;
                path.push(to);
            }
            Some(path)
        })
    }

    /// Edges one after the other, each with a route that does not make its callee call the next.
    fn known_path(&self, hops: usize, draw: &mut Draw) -> Option<Vec<(Habit, usize)>> {
        if self.habits.is_empty() || hops == 0 {
            return None;
        }
        (0..TRIES).find_map(|_| {
            let mut habit = &self.habits[draw.below(self.habits.len())];
            let mut way = Vec::with_capacity(hops);
            while way.len() + 1 < hops {
                let (route, next) = self.detour(habit, draw)?;
                way.push((habit.clone(), route));
                habit = next;
            }
            way.push((habit.clone(), habit.route(None, draw)));
            Some(way)
        })
    }

    /// A route of an edge and an edge of its callee that this route never asks.
    fn detour(&self, habit: &Habit, draw: &mut Draw) -> Option<(usize, &Habit)> {
        let route = habit.route(None, draw);
        let free: Vec<&Habit> =
            self.habits.iter().filter(|next| next.caller == habit.callee && !next.comes_of(route)).collect();
        if free.is_empty() {
            return None;
        }
        Some((route, free[draw.below(free.len())]))
    }
}
