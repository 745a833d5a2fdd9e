//! From counts to calls: the same mesh, told call by call, with traces, identities and routes, and with attacks that
//! counts do not show.
//!
//! The calls of a window are exactly those that its counts speak of: counted again they give the same numbers.

mod attack;
mod movement;
mod names;
mod window;

use std::collections::BTreeSet;

use selvedge_model::{Call, EventTime, Node, SpanId, SymbolTable, Window};

use crate::config::Between;
use crate::config::between;
use crate::draw::{Draw, Purpose};
use crate::label::{Cause, Extent};
use crate::mesh::{Mesh, WindowOf};
use crate::topology::Protocol;
use attack::Step;
pub use attack::{Attack, Cover, Ground, Scenario};
pub(crate) use names::TRUST_DOMAIN;
use names::{Habit, Names, UNUSED_ROUTES};

/// One call, with what `Call` leaves out: both sides' view, the trace's tree and the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimulatedCall {
    /// The call as it would be joined. Its times are the callee's.
    pub call: Call,
    /// The call that the caller was serving; absent for the root of a trace.
    pub parent_span_id: SpanId,
    /// Latency as the caller saw it: with the network.
    pub caller_nanos: u64,
    /// Index into `Mesh::edges`; none for an edge that the mesh did not have at first.
    pub edge: Option<usize>,
    /// Index into `Signals::scenarios`, when an attacker made it.
    pub scenario: Option<usize>,
}

/// How much is told, and what is new now and then without any attack. The research simulated no novelty: figures ours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignalConfig {
    /// At most so many calls of an edge are told of one window, a fair sample; the others are only counted
    /// ([`Signals::untold`]).
    pub calls_of_edge_max: usize,
    /// Limit of the symbol table.
    pub symbol_bytes_max: usize,
    /// Chance of a deployment to bring a new edge to a service that was never called from there.
    pub new_edge: f64,
    /// Chance of a deployment to bring a new route on an edge to the deployed service.
    pub new_route: f64,
    /// New edges without any deployment, by the week, in the whole mesh.
    pub unexplained_a_week: f64,
    /// Edges that are used hardly ever, as a share of all edges.
    pub dormant: f64,
    /// Mean days between two uses of such an edge.
    pub dormant_days: Between,
    /// Requests a second of an edge that a deployment brought, uniform in the logarithm.
    pub new_edge_rate: Between,
}

impl Default for SignalConfig {
    fn default() -> Self {
        Self {
            calls_of_edge_max: 100_000,
            symbol_bytes_max: 64 << 20,
            new_edge: 0.05,
            new_route: 0.2,
            unexplained_a_week: 1.0,
            dormant: 0.05,
            dormant_days: between(1.0, 7.0),
            new_edge_rate: between(0.002, 0.5),
        }
    }
}

/// The calls of a mesh, window after window.
#[derive(Clone)]
pub struct Signals {
    config: SignalConfig,
    names: Names,
    draw: Draw,
    /// For plans of attacks, and for telling them: without an attack all other calls are the same.
    attack_draw: Draw,
    step_draw: Draw,
    /// Of the mesh's edges, in its order.
    habits: Vec<Habit>,
    /// Edges by their caller: a call is told before those that it causes.
    order: Vec<usize>,
    extra: Vec<Extra>,
    pairs: BTreeSet<(usize, usize)>,
    labels_seen: usize,
    steps: Vec<Step>,
    suppressed: Vec<SimulatedCall>,
    scenarios: Vec<Scenario>,
    /// By service and route: places in the window's calls.
    arrived: Vec<Vec<Vec<u32>>>,
    untold: u64,
    /// Deployments that cover an attack: when, and of which service.
    covers: Vec<(EventTime, usize)>,
}

/// A benign edge that the mesh's topology does not have.
#[derive(Clone, Debug)]
struct Extra {
    habit: Habit,
    rate: f64,
}

impl Signals {
    /// The calls of a mesh that stands before its first window.
    #[must_use]
    pub fn new(mesh: &Mesh, config: SignalConfig) -> Self {
        let seed = mesh.config().seed;
        let names = Names::new(mesh.config(), mesh.services(), config.symbol_bytes_max);
        let mut habits = Vec::with_capacity(mesh.edges().len());
        for (spec, index) in mesh.edges().iter().zip(0..) {
            let mut draw = Draw::new(seed, Purpose::Routes, index);
            habits.push(Habit::drawn(&mut draw, &names, (spec.caller, spec.callee), spec.protocol));
        }
        let mut order: Vec<usize> = (0..habits.len()).collect();
        order.sort_by_key(|&index| (habits[index].caller, index));
        let arrived = names.routes.iter().map(|routes| vec![Vec::new(); routes.len()]).collect();
        let mut signals = Self {
            config,
            draw: Draw::new(seed, Purpose::Calls, 0),
            attack_draw: Draw::new(seed, Purpose::Attack, 0),
            step_draw: Draw::new(seed, Purpose::Attack, 1),
            pairs: habits.iter().map(|habit| (habit.caller, habit.callee)).collect(),
            habits,
            order,
            extra: Vec::new(),
            labels_seen: 0,
            steps: Vec::new(),
            suppressed: Vec::new(),
            scenarios: Vec::new(),
            arrived,
            untold: 0,
            covers: Vec::new(),
            names,
        };
        signals.dormant();
        signals
    }

    /// Attacks that are planned from now on are others than those of any other number: copies of a mesh can be attacked
    /// in different ways.
    pub fn vary_attacks(&mut self, number: u64) {
        let seed = crate::draw::mixed(number);
        self.attack_draw = Draw::new(seed, Purpose::Attack, 0);
        self.step_draw = Draw::new(seed, Purpose::Attack, 1);
    }

    /// Calls of the last window whose records somebody keeps back.
    #[must_use]
    pub fn suppressed(&self) -> &[SimulatedCall] {
        &self.suppressed
    }

    /// The names behind the symbols of the calls.
    #[must_use]
    pub fn symbols(&self) -> &SymbolTable {
        &self.names.table
    }

    /// Where the services of `Mesh::services` run, in that order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.names.nodes
    }

    /// What the attackers did, and will do.
    #[must_use]
    pub fn scenarios(&self) -> &[Scenario] {
        &self.scenarios
    }

    /// How many calls were counted and not told (`SignalConfig::calls_of_edge_max`).
    #[must_use]
    pub fn untold(&self) -> u64 {
        self.untold
    }

    /// The calls of the window that `mesh` gave last, by their end, in `out`, whose earlier content is dropped.
    pub fn calls(&mut self, mesh: &Mesh, window: Window, of: &[WindowOf], out: &mut Vec<SimulatedCall>) {
        out.clear();
        self.arrived.iter_mut().flatten().for_each(Vec::clear);
        self.news(mesh, window);
        for place in 0..self.order.len() {
            let index = self.order[place];
            self.edge_calls(index, &mesh.edges()[index], window, &of[index].counts, out);
        }
        self.extra_calls(window, out);
        self.attack_calls(window, out);
        out.sort_by_key(|simulated| (simulated.call.end, simulated.call.span_id));
    }

    /// Deployments bring edges and routes; some edges come without any.
    fn news(&mut self, mesh: &Mesh, window: Window) {
        let labels = &mesh.labels()[self.labels_seen.min(mesh.labels().len())..];
        self.labels_seen += labels.len();
        for label in labels {
            let (Cause::Deployment { .. }, Extent::Service(service)) = (label.cause, label.extent) else {
                continue;
            };
            if self.draw.chance(self.config.new_edge) {
                let rate = self.draw.log_within(self.config.new_edge_rate);
                self.new_edge(Some(service), rate);
            }
            if self.draw.chance(self.config.new_route) {
                self.new_route(service);
            }
        }
        self.covering(window);
        let weeks = window.end.since(window.start).as_secs_f64() / (7.0 * 86_400.0);
        if self.draw.chance(self.config.unexplained_a_week * weeks) {
            let rate = self.draw.log_within(self.config.new_edge_rate);
            self.new_edge(None, rate);
        }
    }

    /// A deployment that covers an attack brings what deployments bring now and then: one legitimate new edge from the
    /// service, and one new route of it.
    fn covering(&mut self, window: Window) {
        let (due, later) = self.covers.iter().copied().partition(|(at, _)| *at < window.end);
        self.covers = later;
        let due: Vec<(EventTime, usize)> = due;
        if due.is_empty() {
            return;
        }
        // With draws of its own: without the attack all other calls are the same.
        std::mem::swap(&mut self.draw, &mut self.step_draw);
        for (_, service) in due {
            let rate = self.draw.log_within(self.config.new_edge_rate);
            self.new_edge(Some(service), rate);
            self.new_route(service);
        }
        std::mem::swap(&mut self.draw, &mut self.step_draw);
    }

    fn dormant(&mut self) {
        let edges = crate::draw::float(self.habits.len() as u64) * self.config.dormant;
        for _ in 0..crate::draw::whole(edges) {
            let days = self.draw.log_within(self.config.dormant_days);
            self.new_edge(None, 1.0 / (86_400.0 * days));
        }
    }

    fn new_edge(&mut self, caller: Option<usize>, rate: f64) {
        let mut draw = self.draw.clone();
        if let Some(pair) = self.unknown_pair(caller, &mut draw) {
            let habit = Habit::drawn(&mut draw, &self.names, pair, Protocol::Http);
            self.pairs.insert(pair);
            self.extra.push(Extra { habit, rate });
        }
        self.draw = draw;
    }

    /// A pair of services of which the first never called the second; none when a few tries find none.
    fn unknown_pair(&self, caller: Option<usize>, draw: &mut Draw) -> Option<(usize, usize)> {
        const TRIES: usize = 50;
        let services = self.names.nodes.len();
        (0..TRIES).find_map(|_| {
            let caller = caller.unwrap_or_else(|| draw.below(services.max(1)));
            // Half of the tries go to services that others call often.
            let popular = !self.habits.is_empty() && draw.chance(0.5);
            let callee = if popular {
                self.habits[draw.below(self.habits.len())].callee
            } else {
                draw.below(services.max(1))
            };
            let free = callee < services && caller != callee && !self.pairs.contains(&(caller, callee));
            free.then_some((caller, callee))
        })
    }

    /// One of the edges to a service asks for a route that was there and unused.
    fn new_route(&mut self, service: usize) {
        let edges: Vec<usize> =
            (0..self.habits.len()).filter(|&index| self.habits[index].callee == service).collect();
        if edges.is_empty() {
            return;
        }
        let index = edges[self.draw.below(edges.len())];
        let route = self.names.used_routes(service) + self.draw.below(UNUSED_ROUTES);
        let habit = &mut self.habits[index];
        if !habit.added.contains(&route) {
            habit.added.push(route);
        }
    }
}
