//! The pipeline's part for edges that only metrics know: baselines and gauges of their own, the same detector.
//!
//! Their baselines stand apart from those of calls, because metrics prove no identity: what a sender of metrics invents must
//! not make an edge known to the checks of novelty.

use selvedge_detect::{Context, Detector};
use selvedge_join::MeasuredWindow;
use selvedge_learn::gauges::Gauges;
use selvedge_learn::ledger::Ledger;
use selvedge_learn::normal::{Ended, Norms};
use selvedge_learn::{Baselines, LearnConfig, Provenance};
use selvedge_model::{EdgeKey, EdgeWindow, EventTime, Finding, Node, SymbolTable, Window};
use serde::{Deserialize, Serialize};

use super::Pipeline;
use crate::windows::ClosedWindow;

/// Edges that only metrics know, against those that calls do.
const SHARE: usize = 4;

/// What is known of edges by metrics alone.
#[derive(Serialize, Deserialize)]
pub(super) struct Measured {
    baselines: Baselines,
    gauges: Gauges,
    ledger: Ledger,
}

impl Measured {
    pub(super) fn new(config: &LearnConfig) -> Self {
        Self {
            baselines: Baselines::new(share(config)),
            gauges: Gauges::default(),
            ledger: Ledger::default(),
        }
    }

    /// Takes the limits of `config`, as after a restart with another configuration.
    pub(super) fn configure(&mut self, config: &LearnConfig) {
        self.baselines.configure(share(config));
    }

    pub(super) fn baselines(&self) -> &Baselines {
        &self.baselines
    }

    pub(super) fn norms_mut(&mut self) -> &mut Norms {
        self.baselines.norms_mut()
    }

    /// Windows of edges that found no room.
    pub(super) fn edges_refused(&self) -> u64 {
        self.baselines.overflows().edges
    }

    pub(super) fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    /// Nobody was heard for an unknown time.
    pub(super) fn gap(&mut self) {
        self.baselines.norms_mut().gap();
        self.gauges.gap();
        self.ledger.gap();
    }

    /// Sides whose counts found no room.
    pub(super) fn counts_refused(&self) -> u64 {
        self.ledger.refused()
    }

    /// Lays what was counted beside the calls that were recorded, and tells whose records are missing.
    pub(super) fn audit(
        &mut self,
        detector: &Detector,
        (symbols, now, learning): (&SymbolTable, EventTime, bool),
        (window, calls): (Window, &[(EdgeKey, &EdgeWindow)]),
        metrics: &MeasuredWindow,
    ) -> Vec<Finding> {
        let audited = self.ledger.note(window, &metrics.counts, calls, &detector.ledger_bounds());
        let cx = Context { symbols, baselines: &self.baselines, now, learning };
        detector.judge_records(&cx, &audited)
    }

    /// How far the edges of a window are from normal.
    pub(super) fn judge(&mut self, window: Window, edges: &[(EdgeKey, &EdgeWindow)]) -> Ended {
        self.baselines.norms_mut().judge(window, edges)
    }

    /// Tells what deviates in a window that was judged, then learns it, minus what was flagged.
    pub(super) fn finish(
        &mut self,
        detector: &mut Detector,
        (symbols, now, learning): (&SymbolTable, EventTime, bool),
        window: Window,
        metrics: &MeasuredWindow,
    ) -> Vec<Finding> {
        let edges = metrics.refs();
        let mut findings = Vec::new();
        if self.baselines.norms().edges() > 0 || !edges.is_empty() {
            let cx = Context { symbols, baselines: &self.baselines, now, learning };
            findings = detector.judge_window(&cx, window, &edges);
            let teaching = |reading: &_, calls: Option<&_>| detector.teaching(reading, calls);
            self.baselines.norms_mut().learn(window, &edges, &teaching);
            let provenance = if learning { Provenance::Approved } else { Provenance::Learned };
            for (key, edge) in edges {
                let flagged = |shape: &_| detector.flagged(&key, shape);
                self.baselines.learn(window, key, edge, &flagged, provenance, symbols);
            }
            self.baselines.finish_window(window);
        }
        if !metrics.gauges.is_empty() {
            let bounds = detector.gauge_bounds(self.gauges.judged());
            let judged = self.gauges.take(&metrics.gauges, &bounds, learning);
            let cx = Context { symbols, baselines: &self.baselines, now, learning };
            findings.extend(detector.judge_gauges(&cx, window, &judged));
        }
        findings
    }
}

fn share(config: &LearnConfig) -> LearnConfig {
    LearnConfig {
        edges_max: config.edges_max / SHARE,
        hot_bytes_max: config.hot_bytes_max / SHARE,
        ..config.clone()
    }
}

impl Pipeline {
    /// A proxy that sends metrics is there, even when it has no request to tell of.
    pub(super) fn hear_points(&mut self) {
        let frontier = self.router.frontier();
        for point in &self.router.decoded().points {
            let (node, at) = (Node::of(&point.reporter), point.time.min(frontier));
            self.baselines.norms_mut().hear(&node, at);
            self.measured.norms_mut().hear(&node, at);
        }
    }

    /// Windows that ended by the watermark, oldest first, those too in which only metrics said something.
    pub(super) fn close_windows(&mut self, watermark: EventTime) -> Vec<ClosedWindow> {
        let mut closed = self.windows.close(watermark, self.router.symbols());
        // At the end of all input what metrics counted is placed beyond it: of those windows nothing else is known.
        let last = Window::holding(self.router.frontier(), self.window_length);
        let known = closed.len();
        for window in self.router.measured().due(watermark.min(last.end)) {
            if closed[..known].binary_search_by_key(&window, |closed| closed.window).is_err() {
                closed.push(ClosedWindow { window, edges: Vec::new(), paths: Vec::new() });
            }
        }
        closed.sort_by_key(|closed| closed.window);
        closed
    }
}
