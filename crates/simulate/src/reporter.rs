//! What telemetry does to the truth: the proxies of a callee are silent, sample, or have a wrong clock.

use selvedge_model::EventTime;

use crate::config::MeshConfig;
use crate::draw::{Draw, Purpose};
use crate::events::Recurring;
use crate::label::{Cause, Extent, Label, Labels};

/// How one reporter saw one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct View {
    /// It was silent.
    pub(crate) silent: bool,
    /// The share of records that it kept.
    pub(crate) kept: f64,
    /// The share that it says it kept.
    pub(crate) said: f64,
    /// Seconds of the true time that its window covers: its clock may have been set meanwhile.
    pub(crate) seconds: f64,
}

/// The reporter of the edges of one callee.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    gaps: Recurring,
    sampling: Recurring,
    unsaid: Recurring,
    clock: Recurring,
    ahead: f64,
    /// Seconds that windows still lack since the clock was set forward.
    lacking: f64,
}

impl Reporter {
    pub(crate) fn new(config: &MeshConfig, index: u64, from: EventTime) -> Self {
        let draw = |what: u64| Draw::new(config.seed, Purpose::Reporter, index * 8 + what);
        let telemetry = &config.telemetry;
        Self {
            gaps: Recurring::random(telemetry.gaps, draw(0), from),
            sampling: Recurring::random(telemetry.sampling, draw(1), from),
            unsaid: Recurring::random(telemetry.unsaid_sampling, draw(2), from),
            clock: Recurring::random_either_way(telemetry.clock_steps, draw(3), from),
            ahead: 0.0,
            lacking: 0.0,
        }
    }

    /// How it sees the window that starts now and lasts so many seconds.
    pub(crate) fn view(&mut self, now: EventTime, length: f64, reporter: usize, labels: &mut Labels) -> View {
        let mut tell = |cause, told: Option<(EventTime, EventTime)>| {
            if let Some((start, end)) = told {
                labels.add(Label { cause, extent: Extent::Reporter(reporter), start, end });
            }
        };
        let mut view = View { silent: false, kept: 1.0, said: 1.0, seconds: length };
        if let Some((_, told)) = self.gaps.now(now) {
            view.silent = true;
            tell(Cause::Gap, told);
        }
        if let Some((share, told)) = self.sampling.now(now) {
            (view.kept, view.said) = (share, share);
            tell(Cause::Sampling(share), told);
        }
        if let Some((share, told)) = self.unsaid.now(now) {
            view.kept *= share;
            tell(Cause::UnsaidSampling(share), told);
        }
        let ahead = match self.clock.now(now) {
            Some((seconds, told)) => {
                tell(Cause::ClockStep(seconds), told);
                seconds
            }
            None => 0.0,
        };
        view.seconds = self.covered(ahead, length);
        view
    }

    /// A clock set forward by 3 s leaves a hole of 3 s in the windows from then on, set back it fills one window with
    /// 3 s more. Between the two steps counts are only shifted.
    fn covered(&mut self, ahead: f64, length: f64) -> f64 {
        self.lacking += ahead - self.ahead;
        self.ahead = ahead;
        let covered = (length - self.lacking).max(0.0);
        self.lacking -= length - covered;
        covered
    }
}

/// The collector that all reporters send through.
#[derive(Clone, Debug)]
pub(crate) struct Collector(Recurring);

impl Collector {
    pub(crate) fn new(config: &MeshConfig, from: EventTime) -> Self {
        let draw = Draw::new(config.seed, Purpose::Reporter, u64::MAX);
        Self(Recurring::random(config.telemetry.collector_gaps, draw, from))
    }

    /// True when nothing arrives.
    pub(crate) fn silent(&mut self, now: EventTime, labels: &mut Labels) -> bool {
        let Some((_, told)) = self.0.now(now) else { return false };
        if let Some((start, end)) = told {
            labels.add(Label { cause: Cause::Gap, extent: Extent::Mesh, start, end });
        }
        true
    }
}
