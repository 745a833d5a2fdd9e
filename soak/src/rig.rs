//! Simulator and detector together, window by window: what the engine will do, at window level.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use selvedge_detect::calibration::{Admission, Budgets, Calibration, Level, Pace, Valve};
use selvedge_learn::normal::{DRIFT_MAX, EdgeNorm, Sample, Teaching};
use selvedge_model::{EdgeCounts, EventTime, Measure, MeasureClass, Window};
use selvedge_simulate::{Mesh, MeshConfig, WindowOf};

use crate::causes::{Largest, day_of};

const CLASSES: usize = MeasureClass::ALL.len();
/// A page-level finding of an edge and class extends one of the last week.
const EPISODE: Duration = Duration::from_hours(7 * 24);
/// A warning extends one of the last hour.
const WARNING_EPISODE: Duration = Duration::from_hours(1);
/// So long an edge is one that people know about.
const TOLD: Duration = Duration::from_hours(6);
pub(crate) const DAY: Duration = Duration::from_hours(24);

/// A new page-level finding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) at: EventTime,
    pub(crate) edge: usize,
    pub(crate) class: MeasureClass,
    pub(crate) score: f32,
    pub(crate) admission: Admission,
}

/// What is done to counts between simulator and detector.
#[derive(Clone, Debug, Default)]
pub(crate) enum Tamper {
    #[default]
    Nothing,
    /// A log-normal factor of this spread on every edge and minute: on requests, slow requests and errors.
    Noise(f64),
    /// Every reporter keeps this part and says nothing.
    Thin(f64),
    /// A factor by edge on requests and bytes: an attacker who sees everything.
    Factor(Vec<f64>),
}

/// Time spent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) simulate: Duration,
    pub(crate) detect: Duration,
    pub(crate) edge_windows: u64,
}

/// A mesh, what is known of its edges, and what was found.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) mesh: Mesh,
    pub(crate) norms: Vec<EdgeNorm>,
    pub(crate) calibration: Calibration,
    valve: Valve,
    windows: Vec<WindowOf>,
    pub(crate) tamper: Tamper,
    /// Thresholds are frozen while it is false.
    pub(crate) calibrating: bool,
    /// Edges whose scores are no part of the record: each stands for the only one that is attacked.
    pub(crate) excluded: Vec<bool>,
    last: Vec<[[EventTime; CLASSES]; 2]>,
    told_until: Vec<EventTime>,
    storm: bool,
    exceeding: usize,
    pub(crate) storms: u32,
    pub(crate) pages: Vec<Page>,
    pub(crate) warnings: [[u32; CLASSES]; 2],
    /// First warning and first page of each edge in its interval.
    pub(crate) firsts: Vec<[Option<EventTime>; 2]>,
    pub(crate) intervals: Vec<(EventTime, EventTime)>,
    /// Largest slow score of volume and bytes of each edge in the last window that had one.
    pub(crate) volume_now: Vec<f32>,
    pub(crate) cost: Cost,
    /// Largest slow score by edge, class and day, when somebody asks.
    pub(crate) largest: Option<BTreeMap<(usize, usize, u64), Largest>>,
    noise: Vec<f64>,
    dice: Dice,
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The sum of twelve uniform numbers, less six: normal enough for noise.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// A whole number with this mean.
    fn round(&mut self, x: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
        let whole = (x + self.unit()).floor().max(0.0) as u64;
        whole
    }
}

impl Rig {
    pub(crate) fn new(config: MeshConfig, budgets: Budgets) -> Self {
        let (edges, mesh) = (config.edges, Mesh::new(config));
        let start = mesh.now();
        Self {
            norms: vec![EdgeNorm::new(start, false); edges],
            mesh,
            calibration: Calibration::new(budgets),
            valve: Valve::new(budgets.pages_a_week),
            windows: Vec::new(),
            tamper: Tamper::Nothing,
            calibrating: true,
            excluded: vec![false; edges],
            last: vec![[[EventTime::ABSENT; CLASSES]; 2]; edges],
            told_until: vec![EventTime::ABSENT; edges],
            storm: false,
            exceeding: 0,
            storms: 0,
            pages: Vec::new(),
            warnings: [[0; CLASSES]; 2],
            firsts: vec![[None; 2]; edges],
            intervals: vec![(EventTime(0), EventTime(u64::MAX)); edges],
            volume_now: vec![0.0; edges],
            cost: Cost::default(),
            largest: None,
            noise: Vec::new(),
            dice: Dice(config.seed ^ 0x50a4),
        }
    }

    /// So many days, with a progress line every day.
    pub(crate) fn days(&mut self, days: u64, what: &str) {
        let end = self.mesh.now().after(DAY * u32::try_from(days).unwrap_or(u32::MAX));
        while self.mesh.now() < end {
            self.step();
            if self.mesh.now().0.is_multiple_of(7 * 86_400_000_000_000) {
                let left = end.since(self.mesh.now()).as_secs() / 86_400;
                crate::table::progress(&format!("{what}: {left} days to go, {} pages", self.pages.len()));
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "what it costs is measured in real time")]
    pub(crate) fn step(&mut self) -> Window {
        let mut windows = std::mem::take(&mut self.windows);
        let started = Instant::now();
        let window = self.mesh.next_window(&mut windows);
        self.tamper(&mut windows, window);
        let simulated = Instant::now();
        for (edge, of) in windows.iter().enumerate() {
            self.edge(edge, of, window);
        }
        self.clock(window);
        self.cost.simulate += simulated.duration_since(started);
        self.cost.detect += simulated.elapsed();
        self.cost.edge_windows += windows.len() as u64;
        self.windows = windows;
        window
    }

    fn edge(&mut self, edge: usize, of: &WindowOf, window: Window) {
        let norm = &mut self.norms[edge];
        let empty = of.heartbeat && of.counts == EdgeCounts::default() && of.kept >= 1.0;
        if empty && window.end < norm.due() {
            return;
        }
        let (heartbeat, deployed, kept) = (of.heartbeat, of.deployed, of.kept);
        let sample = Sample { window, counts: &of.counts, heartbeat, deployed, kept };
        let scores = norm.judge(&sample);
        let mut page_level = false;
        for class in MeasureClass::ALL {
            let quick = scores.quick_of(class).1;
            if self.calibration.threshold(Pace::Quick, class, Level::Warning) <= quick {
                self.found(edge, class, Pace::Quick, window.end);
            }
            let Some((signal, slow)) = scores.slow_of(class) else { continue };
            if let Some(largest) = &mut self.largest {
                let new = Largest { score: slow, raw: scores.raw(signal), signal, at: window.end };
                let kept = largest.entry((edge, class as usize, day_of(window.start))).or_insert(new);
                if kept.score < slow {
                    *kept = new;
                }
            }
            if self.calibration.threshold(Pace::Slow, class, Level::Warning) <= slow {
                self.found(edge, class, Pace::Slow, window.end);
            }
            if scores.known && self.calibration.threshold(Pace::Slow, class, Level::Page) <= slow {
                page_level = true;
                self.page(edge, class, slow, window.end);
            }
        }
        if scores.slow.is_some() {
            let of_class = |class| scores.slow_of(class).map_or(f32::MIN, |of| of.1);
            self.volume_now[edge] = of_class(MeasureClass::Volume).max(of_class(MeasureClass::Bytes));
        }
        self.exceeding += usize::from(page_level);
        let teaching = if self.storm {
            Teaching::Off
        } else if window.end < self.told_until[edge] && scores.suspicious() {
            Teaching::Told
        } else {
            Teaching::Quiet
        };
        self.norms[edge].learn(&sample, &scores, teaching);
    }

    /// A warning-level finding.
    fn found(&mut self, edge: usize, class: MeasureClass, pace: Pace, now: EventTime) {
        let last = &mut self.last[edge][0][class as usize];
        if !last.present() || WARNING_EPISODE < now.since(*last) {
            self.warnings[pace as usize][class as usize] += 1;
        }
        *last = now;
        self.first(edge, 0, now);
    }

    fn page(&mut self, edge: usize, class: MeasureClass, score: f32, now: EventTime) {
        let last = &mut self.last[edge][1][class as usize];
        if !last.present() || EPISODE < now.since(*last) {
            let admission = self.valve.admit(now);
            self.pages.push(Page { at: now, edge, class, score, admission });
        }
        *last = now;
        self.told_until[edge] = now.after(TOLD);
        self.first(edge, 1, now);
    }

    fn first(&mut self, edge: usize, level: usize, now: EventTime) {
        let (start, end) = self.intervals[edge];
        let first = &mut self.firsts[edge][level];
        if first.is_none() && start < now && now <= end {
            *first = Some(now);
        }
    }

    /// What is due at the end of a minute, an hour, a day.
    fn clock(&mut self, window: Window) {
        let ends = |seconds: u64| window.end.0.is_multiple_of(seconds * 1_000_000_000);
        if ends(60) && self.calibrating {
            let storm = self.valve.watch(window.end, std::mem::take(&mut self.exceeding), self.norms.len());
            self.storms += u32::from(storm && !self.storm);
            self.storm = storm;
        }
        if !ends(3_600) {
            return;
        }
        let length = window.end.since(window.start);
        for (norm, excluded) in self.norms.iter_mut().zip(&self.excluded) {
            let largest = norm.close_hour(window.end, length, true);
            if let Some(largest) = largest.filter(|_| self.calibrating && !excluded) {
                self.calibration.observe(Pace::Quick, &largest);
            }
        }
        if !ends(86_400) {
            return;
        }
        for (norm, excluded) in self.norms.iter_mut().zip(&self.excluded) {
            let largest = norm.close_day();
            if let Some(largest) = largest.filter(|_| self.calibrating && !excluded) {
                self.calibration.observe(Pace::Slow, &largest);
            }
        }
        self.drifts(window.end);
        if self.calibrating {
            let mut false_pages = [0; CLASSES];
            let today = self.pages.iter().rev().take_while(|page| window.end.since(page.at) < DAY);
            today
                .filter(|page| page.admission == Admission::Page && !self.excluded[page.edge])
                .for_each(|page| false_pages[page.class as usize] += 1);
            self.calibration.end_of_day(&false_pages);
            self.valve.recalibrated();
        }
    }

    /// Once a day: who has left the trusted level.
    fn drifts(&mut self, now: EventTime) {
        let (bar, mut ordinary) = (self.calibration.drift_bar(), Vec::new());
        for edge in 0..self.norms.len() {
            for (measure, class) in
                [(Measure::Requests, MeasureClass::Volume), (Measure::SentKib, MeasureClass::Bytes)]
            {
                let drift = self.norms[edge].drift(measure);
                if drift < DRIFT_MAX {
                    continue;
                }
                if drift.exp() > bar {
                    #[expect(clippy::cast_possible_truncation, reason = "a logarithm")]
                    self.page(edge, class, -(drift as f32), now);
                }
                if !self.excluded[edge] {
                    ordinary.push(drift.exp());
                }
            }
        }
        if self.calibrating {
            self.calibration.observe_drifts(now, ordinary.into_iter());
        }
    }

    fn tamper(&mut self, windows: &mut [WindowOf], window: Window) {
        match &self.tamper {
            Tamper::Nothing => {}
            Tamper::Noise(sigma) => {
                if window.start.0.is_multiple_of(60_000_000_000) || self.noise.is_empty() {
                    let factors = windows.iter().map(|_| (sigma * self.dice.normal()).exp());
                    self.noise = factors.collect();
                }
                for (of, factor) in windows.iter_mut().zip(&self.noise) {
                    scale(&mut of.counts, &mut self.dice, *factor, *factor);
                }
            }
            Tamper::Thin(part) => {
                let part = *part;
                for of in windows {
                    scale(&mut of.counts, &mut self.dice, part, 1.0);
                }
            }
            Tamper::Factor(factors) => {
                for (of, factor) in windows.iter_mut().zip(factors).filter(|(_, factor)| **factor > 1.0) {
                    scale(&mut of.counts, &mut self.dice, *factor, 1.0);
                }
            }
        }
    }
}

/// Scales requests, and by `shares` the part of them that is slow or fails.
fn scale(counts: &mut EdgeCounts, dice: &mut Dice, requests: f64, shares: f64) {
    counts.requests = dice.round(counts.requests as f64 * requests);
    for measure in Measure::ALL {
        let factor = if measure.over_time() { requests } else { requests * shares };
        let count = dice.round(counts.count(measure) as f64 * factor);
        let most = if measure == Measure::SentKib { u64::MAX } else { counts.requests };
        counts.counts[measure as usize] = count.min(most);
    }
}
