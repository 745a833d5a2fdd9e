//! The mesh: window after window of all its edges.

use std::time::Duration;

use selvedge_model::{EdgeCounts, EventTime, Window};

use crate::config::{Control, MeshConfig};
use crate::draw::{Draw, Purpose};
use crate::edge::MeshEdge;
use crate::events::seconds;
use crate::fault::Fault;
use crate::label::{Cause, Extent, Label, Labels};
use crate::reporter::{Collector, Reporter, View};
use crate::topology::{EdgeSpec, Topology};
use crate::weather::SharedWeather;

const MINUTE: u64 = 60_000_000_000;

/// What is reported of one edge in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowOf {
    /// What was counted, of the records that were kept.
    pub counts: EdgeCounts,
    /// Its reporter was heard of; without it there are no counts, whatever the edge did.
    pub heartbeat: bool,
    /// A new version of either end was first seen in this window: there was a request.
    pub deployed: bool,
    /// The share of records that the reporter says it kept: 1 unless it samples and says so. Expected counts over
    /// time shrink by it; counts out of requests keep their share. Sampling that nobody speaks of
    /// (`TelemetryNoise::unsaid_sampling`) leaves it at 1.
    pub kept: f64,
}

/// A simulated mesh. The same configuration gives the same windows; a fault changes only the edge it is injected into.
#[derive(Clone, Debug)]
pub struct Mesh {
    config: MeshConfig,
    topology: Topology,
    edges: Vec<MeshEdge>,
    edges_of: Vec<Vec<usize>>,
    releases: Vec<Release>,
    versions: Vec<u32>,
    ordered: Vec<(EventTime, usize)>,
    reporters: Vec<Reporter>,
    collector: Collector,
    views: Vec<View>,
    shared: SharedWeather,
    minute: u64,
    next: Window,
    labels: Labels,
}

/// When a service is deployed next.
#[derive(Clone, Debug)]
struct Release {
    draw: Draw,
    next: EventTime,
}

impl Mesh {
    /// The mesh of a configuration, before its first window.
    #[must_use]
    pub fn new(config: MeshConfig) -> Self {
        let window = config.window.max(Duration::from_secs(1));
        let next = Window::holding(config.start, window);
        let from = next.start;
        let topology = Topology::new(&config);
        let shared = SharedWeather::new(&config);
        let indexed = topology.edges.iter().zip(0..);
        let edges = indexed.map(|(spec, index)| MeshEdge::new(&config, index, spec, &shared, from)).collect();
        let services = topology.services.len() as u64;
        let mut edges_of = vec![Vec::new(); topology.services.len()];
        for (index, spec) in topology.edges.iter().enumerate() {
            edges_of[spec.caller].push(index);
            edges_of[spec.callee].push(index);
        }
        Self {
            edges,
            edges_of,
            releases: (0..services).map(|service| Release::new(&config, service, from)).collect(),
            versions: vec![0; topology.services.len()],
            ordered: Vec::new(),
            reporters: (0..services).map(|service| Reporter::new(&config, service, from)).collect(),
            collector: Collector::new(&config, from),
            views: Vec::new(),
            shared,
            minute: minute_of(from),
            next,
            labels: Labels::new(config.labels_max),
            topology,
            config: MeshConfig { window, ..config },
        }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &MeshConfig {
        &self.config
    }

    /// Names of the services: invented words.
    #[must_use]
    pub fn services(&self) -> &[String] {
        &self.topology.services
    }

    /// What the edges usually are.
    #[must_use]
    pub fn edges(&self) -> &[EdgeSpec] {
        &self.topology.edges
    }

    /// When the next window starts.
    #[must_use]
    pub fn now(&self) -> EventTime {
        self.next.start
    }

    /// Adds a fault, with its label. What of it is in the past has no effect.
    ///
    /// # Panics
    /// There is no such edge.
    pub fn inject(&mut self, fault: Fault) {
        assert!(fault.edge < self.edges.len(), "edge {} of {}", fault.edge, self.edges.len());
        self.edges[fault.edge].inject(fault);
        let (cause, extent) = (Cause::Fault(fault.kind), Extent::Edge(fault.edge));
        self.labels.add(Label { cause, extent, start: fault.start, end: fault.end });
    }

    /// Orders a deployment of a service, which shifts nothing: the cover of an attack, or a test.
    ///
    /// # Panics
    /// There is no such service.
    pub fn deploy(&mut self, service: usize, at: EventTime) {
        assert!(service < self.releases.len(), "service {service} of {}", self.releases.len());
        self.ordered.push((at, service));
    }

    /// How often each service was deployed by the last window: its version.
    #[must_use]
    pub fn versions(&self) -> &[u32] {
        &self.versions
    }

    /// What happened so far, and the faults to come, in the order in which they became known.
    #[must_use]
    pub fn labels(&self) -> &[Label] {
        &self.labels.kept
    }

    /// How many labels found no room (`MeshConfig::labels_max`).
    #[must_use]
    pub fn labels_lost(&self) -> u64 {
        self.labels.lost
    }

    /// The next window, with one entry for each edge in `out`, whose earlier content is dropped.
    pub fn next_window(&mut self, out: &mut Vec<WindowOf>) -> Window {
        let window = self.next;
        self.next = Window { start: window.end, end: window.end.after(self.config.window) };
        self.deployments(window.start);
        self.weather(minute_of(window.start));
        self.views(window.start);
        out.clear();
        for (index, (edge, spec)) in self.edges.iter_mut().zip(&self.topology.edges).enumerate() {
            out.push(edge.window(window.start, (index, spec), &self.views[spec.callee], &mut self.labels));
        }
        window
    }

    /// The negative control, when it is in force.
    fn control(&self, now: EventTime) -> Option<Control> {
        self.config.control.filter(|control| control.from <= now)
    }

    /// Minute by minute, so that it is the same for every length of a window.
    fn weather(&mut self, minute: u64) {
        while self.minute < minute {
            self.minute += 1;
            let start = EventTime(self.minute * MINUTE);
            self.shared.noise = self.control(start).map_or(1.0, |control| control.noise);
            self.shared.step();
            for (edge, spec) in self.edges.iter_mut().zip(&self.topology.edges) {
                edge.step(self.minute, &self.shared, spec);
            }
        }
    }

    fn deployments(&mut self, now: EventTime) {
        let Self { releases, ordered, config, .. } = self;
        let mut due: Vec<(EventTime, usize, (f64, f64))> = Vec::new();
        for (service, release) in releases.iter_mut().enumerate() {
            while release.next <= now {
                due.push((release.next, service, release.deploy(config)));
            }
        }
        ordered.retain(|&(at, service)| {
            if at <= now {
                due.push((at, service, (0.0, 0.0)));
            }
            now < at
        });
        for (at, service, (rate, latency)) in due {
            self.versions[service] += 1;
            for &edge in &self.edges_of[service] {
                self.edges[edge].deploy(rate, latency);
            }
            let cause = Cause::Deployment { rate, latency };
            self.labels.add(Label { cause, extent: Extent::Service(service), start: at, end: at });
        }
    }

    fn views(&mut self, now: EventTime) {
        let length = self.config.window.as_secs_f64();
        let silent = self.collector.silent(now, &mut self.labels);
        let kept = self.control(now).map_or(1.0, |control| control.kept);
        self.views.clear();
        for (index, reporter) in self.reporters.iter_mut().enumerate() {
            let mut view = reporter.view(now, length, index, &mut self.labels);
            view.silent |= silent;
            view.kept *= kept;
            self.views.push(view);
        }
    }
}

impl Release {
    fn new(config: &MeshConfig, service: u64, from: EventTime) -> Self {
        let mut release = Self { draw: Draw::new(config.seed, Purpose::Service, service), next: from };
        release.plan(config);
        release
    }

    /// How it shifts the rate and the latency, as logarithms.
    fn deploy(&mut self, config: &MeshConfig) -> (f64, f64) {
        let events = &config.events;
        let mut shift = || {
            let happens = self.draw.chance(events.deployment_shifts);
            let shift = events.deployment_sigma * self.draw.normal();
            if happens { shift } else { 0.0 }
        };
        let shifts = (shift(), shift());
        self.plan(config);
        shifts
    }

    fn plan(&mut self, config: &MeshConfig) {
        let a_day = config.events.deployments_a_day;
        self.next = if a_day > 0.0 {
            self.next.after(seconds(self.draw.exponential(86_400.0 / a_day)).max(Duration::from_secs(1)))
        } else {
            EventTime(u64::MAX)
        };
    }
}

/// Minutes since the epoch.
pub(crate) fn minute_of(at: EventTime) -> u64 {
    at.0 / MINUTE
}
