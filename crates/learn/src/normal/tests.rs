//! Scenarios of one edge over days, with a generator of its own; and the formulas against statrs.

use std::time::Duration;

use selvedge_model::{EdgeCounts, EventTime, MeasureClass, Window};
use statrs::distribution::{Binomial, Discrete as _, NegativeBinomial};

use super::maths::{binomial_deviance, binomial_ratio, negative_binomial_deviance, negative_binomial_ratio};
use super::{DRIFT_MAX, EdgeNorm, Sample, Scores, Teaching};

const WINDOW: Duration = Duration::from_secs(10);
const DAY: u64 = 8_640;

/// SplitMix64 and Poisson numbers.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn poisson(&mut self, mean: f64) -> u64 {
        let (mut product, mut count) = (self.unit(), 0);
        while product > (-mean).exp() {
            product *= self.unit();
            count += 1;
        }
        count
    }

    fn share(&mut self, of: u64, p: f64) -> u64 {
        (0..of).filter(|_| self.unit() < p).count() as u64
    }
}

/// An edge, its norm, and the time.
struct Trial {
    norm: EdgeNorm,
    dice: Dice,
    window: u64,
    rate: f64,
    errors: f64,
    heartbeat: bool,
    /// A new version is seen first in the next window.
    deployed: bool,
    teaching: Teaching,
    told: bool,
}

impl Trial {
    fn new(rate: f64) -> Self {
        let (dice, norm) = (Dice(7), EdgeNorm::new(at(0), false));
        Self {
            norm,
            dice,
            window: 0,
            rate,
            errors: 0.002,
            heartbeat: true,
            deployed: false,
            teaching: Teaching::Quiet,
            told: false,
        }
    }

    fn step(&mut self) -> Scores {
        let hour = (self.window % DAY) as f64 / 360.0;
        let season = 1.0 + 0.5 * (hour / 24.0 * std::f64::consts::TAU).sin();
        let requests = self.dice.poisson(self.rate * 10.0 * season);
        let mut counts = EdgeCounts { requests, ..EdgeCounts::default() };
        counts.counts = [requests, requests * 4, 0, 0, 0, 0, 0, 0, 0];
        counts.counts[2] = self.dice.share(requests, 0.5);
        counts.counts[3] = self.dice.share(counts.counts[2], 0.2);
        counts.counts[7] = self.dice.share(requests, self.errors);
        self.give(&counts)
    }

    fn give(&mut self, counts: &EdgeCounts) -> Scores {
        let window = Window { start: at(self.window), end: at(self.window + 1) };
        let deployed = std::mem::take(&mut self.deployed);
        let sample = Sample { window, counts, heartbeat: self.heartbeat, deployed, kept: 1.0 };
        let scores = self.norm.judge(&sample);
        self.told |=
            MeasureClass::ALL.iter().any(|&class| scores.slow_of(class).is_some_and(|of| of.1 > 20.0));
        let teaching = if self.told && scores.suspicious() { Teaching::Told } else { self.teaching };
        self.norm.learn(&sample, &scores, teaching);
        self.window += 1;
        if self.window.is_multiple_of(360) {
            self.norm.close_hour(at(self.window), WINDOW, true);
        }
        if self.window.is_multiple_of(DAY) {
            self.norm.close_day();
        }
        scores
    }

    /// Largest slow and quick score of a class over so many windows.
    fn run(&mut self, windows: u64, class: MeasureClass) -> (f32, f32) {
        let mut largest = (f32::MIN, f32::MIN);
        for _ in 0..windows {
            let scores = self.step();
            largest.0 = largest.0.max(scores.slow_of(class).map_or(f32::MIN, |(_, score)| score));
            largest.1 = largest.1.max(scores.quick_of(class).1);
        }
        largest
    }
}

fn at(window: u64) -> EventTime {
    EventTime((1_700_006_400 + window * 10) * 1_000_000_000)
}

#[test]
fn a_quiet_week_scores_low_and_a_flood_scores_within_windows_and_lasts_over_minutes() {
    let mut trial = Trial::new(2.0);
    trial.run(2 * DAY, MeasureClass::Volume);
    let (slow, quick) = trial.run(6 * DAY, MeasureClass::Volume);
    assert!(slow < 8.0 && quick < 12.0, "slow {slow}, quick {quick}");
    trial.rate *= 10.0;
    assert!(trial.run(3, MeasureClass::Volume).1 > 20.0);
    assert!(trial.run(6 * 12, MeasureClass::Volume).0 > 10.0);
}

#[test]
fn errors_and_silence_are_told_apart() {
    let mut trial = Trial::new(2.0);
    trial.run(8 * DAY, MeasureClass::Errors);
    trial.errors = 0.12;
    let scores: Vec<Scores> = (0..72).map(|_| trial.step()).collect();
    let last = scores.last().unwrap();
    assert!(last.slow_of(MeasureClass::Errors).unwrap().1 > 10.0);
    assert!(last.slow_of(MeasureClass::Volume).unwrap().1 < 5.0);
    trial.errors = 0.002;
    trial.run(DAY, MeasureClass::Errors);
    trial.rate = 0.0;
    assert!(trial.run(90, MeasureClass::Absence).0 > 8.0);
}

/// Scenario: an edge of a week gets twice the requests from a moment on, or ten times, and a new version is seen at that moment,
/// or half an hour later, or never.
/// Guarantees: twice is excused by the version that came with it, and not by one that came later; ten times is not.
#[test]
fn a_deployment_excuses_a_shift_that_comes_with_it_and_neither_a_flood_nor_what_was_there_before() {
    let score = |times: f64, deployed_after: Option<u64>| {
        let mut trial = Trial::new(2.0);
        trial.run(7 * DAY, MeasureClass::Volume);
        trial.rate *= times;
        let before = deployed_after.unwrap_or(0);
        trial.run(before, MeasureClass::Volume);
        trial.deployed = deployed_after.is_some();
        trial.run(1_080 - before, MeasureClass::Volume)
    };
    let (slow, quick) = score(2.0, Some(0));
    assert!(slow < 8.0 && quick < 12.0, "slow {slow}, quick {quick}");
    assert!(score(2.0, None).0 > 10.0 && score(2.0, Some(180)).0 > 10.0);
    let (slow, quick) = score(10.0, Some(0));
    assert!(slow > 10.0 && quick > 20.0, "slow {slow}, quick {quick}");
}

#[test]
fn without_a_heartbeat_silence_means_nothing_and_teaches_nothing() {
    let mut trial = Trial::new(2.0);
    trial.run(2 * DAY, MeasureClass::Volume);
    let before = trial.norm.expects(selvedge_model::Measure::Requests, 10.0, 0);
    trial.heartbeat = false;
    trial.rate = 0.0;
    assert!(trial.run(600, MeasureClass::Absence).0 < 0.0);
    let after = trial.norm.expects(selvedge_model::Measure::Requests, 10.0, 0);
    assert!((after / before - 1.0).abs() < 0.3, "the season went on, the level stayed: {before} {after}");
}

#[test]
fn a_window_without_a_count_may_be_left_out_until_it_is_due() {
    let (mut told, mut left_out) = (Trial::new(0.01), Trial::new(0.01));
    let empty = EdgeCounts::default();
    let mut skipped = 0;
    for _ in 0..3 * DAY {
        let requests = told.dice.poisson(0.1);
        let mut counts = EdgeCounts { requests, ..empty };
        counts.counts[0] = requests;
        let every = told.give(&counts);
        if counts == empty && at(left_out.window + 1) < left_out.norm.due() {
            left_out.window += 1;
            skipped += 1;
            if left_out.window.is_multiple_of(360) {
                left_out.norm.close_hour(at(left_out.window), WINDOW, true);
            }
            if left_out.window.is_multiple_of(DAY) {
                left_out.norm.close_day();
            }
            continue;
        }
        let some = left_out.give(&counts);
        for class in MeasureClass::ALL {
            let (every, some) = (every.quick_of(class).1, some.quick_of(class).1);
            assert!((every - some).abs() < 0.3, "{class:?} {every} {some} {}", told.window);
        }
    }
    assert!(skipped > 2 * DAY, "{skipped}");
}

#[test]
fn a_lasting_shift_is_accepted_after_hours_and_not_for_the_bytes_of_a_sensitive_edge() {
    for sensitive in [false, true] {
        let mut trial = Trial::new(2.0);
        trial.norm = EdgeNorm::new(at(0), sensitive);
        trial.run(8 * DAY, MeasureClass::Bytes);
        trial.rate *= 2.8;
        trial.run(DAY, MeasureClass::Bytes);
        let later = trial.run(DAY / 4, MeasureClass::Bytes).0;
        assert_eq!(later > 8.0, sensitive, "{later}");
    }
}

#[test]
fn unverified_telemetry_teaches_nothing() {
    let mut trial = Trial::new(2.0);
    trial.teaching = Teaching::Off;
    trial.run(DAY, MeasureClass::Volume);
    assert!(trial.norm.expects(selvedge_model::Measure::Requests, 10.0, 0) <= 0.0);
}

#[test]
fn an_edge_stays_within_its_bytes() {
    let mut trial = Trial::new(2.0);
    assert!(trial.norm.size() < 2_000, "{}", trial.norm.size());
    trial.run(361, MeasureClass::Volume);
    assert!(trial.norm.size() < 5_000, "{}", trial.norm.size());
}

#[test]
fn likelihood_ratios_are_those_of_statrs() {
    for (mean, phi, count) in [(3.0, 0.1, 9_u64), (400.0, 0.02, 700), (0.01, 0.5, 2), (50.0, 0.3, 0)] {
        let size = 1.0 / phi;
        let law = |mean: f64| NegativeBinomial::new(size, size / (size + mean)).unwrap();
        let truth = law(2.5 * mean).ln_pmf(count) - law(mean).ln_pmf(count);
        let ours = negative_binomial_ratio(count as f64, mean, 2.5, 2.5_f64.ln(), phi);
        assert!((truth - ours).abs() < 1e-6 * (1.0 + truth.abs()), "{truth} {ours}");
        if count > 0 {
            let best = law(count as f64).ln_pmf(count) - law(mean).ln_pmf(count);
            assert!((best - negative_binomial_deviance(count as f64, mean, phi)).abs() < 1e-6 * (1.0 + best));
        }
    }
    let (trials, p, count) = (40, 0.5, 31);
    let law = |p: f64| Binomial::new(p, trials).unwrap();
    let truth = law(0.8).ln_pmf(count) - law(p).ln_pmf(count);
    assert!((truth - binomial_ratio(31.0, 40.0, p, 4.0, 4.0_f64.ln(), 0.0)).abs() < 1e-6);
    let best = law(31.0 / 40.0).ln_pmf(count) - law(p).ln_pmf(count);
    assert!((best - binomial_deviance(31.0, 40.0, p, 0.0)).abs() < 1e-6);
}

#[test]
fn a_slow_ramp_is_followed_by_the_base_and_shows_as_drift() {
    let mut trial = Trial::new(0.3);
    trial.run(16 * DAY, MeasureClass::Volume);
    assert!(trial.norm.drift(selvedge_model::Measure::Requests).abs() < 0.2);
    for _ in 0..24 {
        trial.rate *= 1.08;
        trial.run(DAY, MeasureClass::Volume);
    }
    assert!(trial.norm.drift(selvedge_model::Measure::Requests) > DRIFT_MAX, "before it was 6.5 times");
}
