//! What one measure of an edge usually does, and what follows from it for one minute.

use selvedge_model::Measure;
use serde::{Deserialize, Serialize};

use super::maths::{exp, ln, narrow, times_odds};
use super::parameters;
use super::parameters::{
    AMNESTY_MARGIN, ANCHOR_CREDIT_KEPT, ANCHOR_FREE_DAYS, ANCHOR_STEP, LEVEL_PRIOR, Parameters,
    SETTLING_MARGIN, TRIM_DEVIATIONS, WANDER_DEVIATIONS,
};

/// Requests that the prior of a probability is worth.
const PRIOR_REQUESTS: f64 = 20.0;
/// Weight of the prior of over-dispersion: as a minute with four expected counts.
const PRIOR_DISPERSION: f64 = 4.0;
/// Expected counts from which on a minute says no more about over-dispersion: the spread itself is the noise then.
const DISPERSION_SATURATION: f64 = 0.05;
/// No probability is larger: the odds would run away.
const PROBABILITY_MAX: f64 = 0.98;

/// What is learned of one measure.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Usual {
    /// Counts and exposure (each less the season), with a week's memory: the base is their ratio.
    base_counts: f32,
    base_exposure: f32,
    /// Counts and expected counts of the last half hour, for the level.
    level_counts: f32,
    level_expected: f32,
    /// Sums for the over-dispersion of minutes and of single windows.
    minute_excess: f32,
    minute_weight: f32,
    window_excess: f32,
    window_weight: f32,
    /// The block of half an hour that is open, and the sums for the wander of such blocks.
    block_counts: f32,
    block_mean: f32,
    block_variance: f32,
    wander_excess: f32,
    wander_weight: f32,
    /// Counts and expected counts of this hour, or since learning was frozen.
    pub(super) hour_counts: f32,
    pub(super) hour_expected: f32,
    /// Logarithm of the trusted level: of base times the season's mean.
    anchor: f32,
    /// Minute in which learning was frozen; 0 when it is not.
    pub(super) frozen_since: u32,
}

/// What one measure is expected to do in a minute, per unit of exposure; all zero while nothing is known.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Expected {
    pub(super) season: f32,
    /// Base times season.
    pub(super) mean: f32,
    pub(super) level: f32,
    /// The composite null: what is still normal upwards and downwards.
    pub(super) up: f32,
    pub(super) down: f32,
    pub(super) phi: f32,
    pub(super) phi_window: f32,
    /// Variance of the means of half hours, relative to the square of the mean.
    pub(super) wander: f32,
}

/// What widens the null of an edge for a while.
#[derive(Clone, Copy)]
pub(super) struct Allowance {
    /// Logarithms that comparable times allow.
    pub(super) up: f64,
    pub(super) down: f64,
    /// A new version is settling in.
    pub(super) settling: bool,
    /// It came a moment ago.
    pub(super) amnesty: bool,
}

impl Usual {
    /// Base: counts out of an exposure.
    fn base(&self, parameters: &Parameters, ratio: bool) -> f64 {
        let worth = if ratio { PRIOR_REQUESTS } else { 0.0 };
        let exposure = f64::from(self.base_exposure) + worth;
        let base = (f64::from(self.base_counts) + worth * parameters.prior) / exposure.max(1e-9);
        base.max(parameters.floor)
    }

    /// `mu = base * season`, widened: up to `max(level, envelope) * (1 + margin)`, down to
    /// `min(level, 1 / envelope) / (1 + margin)`.
    pub(super) fn expected(&self, measure: Measure, ln_season: f64, allowance: Allowance) -> Expected {
        let parameters = parameters::of(measure);
        let ratio = !measure.over_time();
        if !ratio && self.base_exposure <= 0.0 {
            return Expected::default();
        }
        let season = exp(ln_season);
        let base = self.base(parameters, ratio);
        let level = ((f64::from(self.level_counts) + LEVEL_PRIOR)
            / (f64::from(self.level_expected) + LEVEL_PRIOR))
            .clamp(1.0 / parameters.level, parameters.level);
        let settling = if allowance.settling { SETTLING_MARGIN } else { 0.0 };
        let amnesty = if allowance.amnesty { AMNESTY_MARGIN } else { 0.0 };
        let margin = 1.0 + parameters.margin + settling + amnesty;
        // A wandering edge says by itself what is no effect.
        let wander = spread(self.wander_excess, self.wander_weight, 0.0);
        // In the odds of a ratio, the same wander is more.
        let to_odds = if ratio { 1.0 / (1.0 - season * base * level).max(0.1) } else { 1.0 };
        let own = (WANDER_DEVIATIONS * to_odds * ln(1.0 + wander).sqrt()).min(parameters.wander_max);
        let margin = margin.max(exp(own));
        let high = (base * level).max(base * exp(allowance.up)).max(parameters.floor);
        let low = (base * level).min(base * exp(-allowance.down));
        // An estimate from few counts is uncertain itself: its relative variance adds to that of the counts.
        let unsure = 1.0 / (f64::from(self.base_counts) + 1.0);
        let phi = unsure + spread(self.minute_excess, self.minute_weight, parameters.phi);
        let phi_window = unsure + spread(self.window_excess, self.window_weight, parameters.phi);
        let (up, down) = if ratio {
            (times_odds((season * high).min(PROBABILITY_MAX), margin), season * low)
        } else {
            (season * high * margin, season * low / margin)
        };
        Expected {
            season: narrow(season),
            mean: narrow(season * base),
            level: narrow(level),
            up: narrow(up),
            down: narrow(down),
            phi: narrow(phi),
            phi_window: narrow(phi_window.max(phi)),
            wander: narrow(wander),
        }
    }

    /// Takes in one minute, or several without a count: `counts` trimmed, out of `exposure`; `kept` is what is left of
    /// the old base, `level_kept` of the old level, after that time.
    pub(super) fn learn(
        &mut self,
        counts: f64,
        exposure: f64,
        expected: &Expected,
        kept: f64,
        level_kept: f64,
    ) {
        let mean = exposure * f64::from(expected.mean);
        let season = f64::from(expected.season).max(1e-9);
        let add = |sum: &mut f32, kept: f64, more: f64| *sum = narrow(f64::from(*sum) * kept + more);
        add(&mut self.base_counts, kept, counts);
        add(&mut self.base_exposure, kept, exposure * if expected.season > 0.0 { season } else { 1.0 });
        add(&mut self.level_counts, level_kept, counts);
        add(&mut self.level_expected, level_kept, mean);
        add(&mut self.hour_counts, 1.0, counts);
        add(&mut self.hour_expected, 1.0, mean / season);
    }

    /// Takes in how far `minutes` minutes were from their mean: their squared distance beyond `variance`, the part that
    /// counting explains.
    pub(super) fn learn_minute_spread(
        &mut self,
        counts: f64,
        mean: f64,
        variance: f64,
        minutes: f64,
        kept: f64,
    ) {
        let sums = (&mut self.minute_excess, &mut self.minute_weight);
        add_spread(sums, ((counts - mean).powi(2) - variance) * minutes, mean, minutes, kept);
    }

    /// The same of single windows: `squares` is the sum of their squared distances.
    pub(super) fn learn_window_spread(
        &mut self,
        squares: f64,
        mean: f64,
        variance: f64,
        windows: f64,
        kept: f64,
    ) {
        let sums = (&mut self.window_excess, &mut self.window_weight);
        add_spread(sums, squares - variance * windows, mean, windows, kept);
    }

    /// Takes in a minute of the open block.
    pub(super) fn learn_block(&mut self, counts: f64, mean: f64, variance: f64) {
        self.block_counts += narrow(counts);
        self.block_mean += narrow(mean);
        self.block_variance += narrow(variance);
    }

    /// The block is over: how far its mean was from what was expected is the edge's wander.
    pub(super) fn close_block(&mut self, kept: f64) {
        let (counts, mean) = (f64::from(self.block_counts), f64::from(self.block_mean));
        let excess = (counts - mean).powi(2) - f64::from(self.block_variance);
        if mean > 0.0 {
            add_spread((&mut self.wander_excess, &mut self.wander_weight), excess, mean, 1.0, kept);
        }
        (self.block_counts, self.block_mean, self.block_variance) = (0.0, 0.0, 0.0);
    }

    /// Most that a minute may teach: six standard deviations over its mean, by what is known of the spread.
    pub(super) fn trimmed(counts: f64, mean: f64, phi: f64) -> f64 {
        counts.min(mean + TRIM_DEVIATIONS * (mean + phi * mean * mean).sqrt() + 1.0)
    }

    /// Accepts what went on while frozen: the base moves by the observed ratio, within `largest`; the anchor with it
    /// when somebody was told.
    pub(super) fn rebase(&mut self, largest: f64, told: bool) {
        let ratio = (f64::from(self.hour_counts) + 1.0) / (f64::from(self.hour_expected) + 1.0);
        let ratio = ratio.clamp(1.0 / largest, largest);
        self.base_counts = narrow(f64::from(self.base_counts) * ratio);
        self.level_counts = 0.0;
        self.level_expected = 0.0;
        if told {
            self.anchor = narrow(f64::from(self.anchor) + ln(ratio));
        }
    }

    /// Makes the base as quick as if it were known for one day only: a new version may do as it likes.
    pub(super) fn forget_to_a_day(&mut self) {
        self.base_counts /= 7.0;
        self.base_exposure /= 7.0;
    }

    /// Logarithm of base times the season's mean over the trusted level.
    pub(super) fn drift(&self, measure: Measure, season_mean: f64) -> f64 {
        ln(self.base(parameters::of(measure), !measure.over_time()) * season_mean) - f64::from(self.anchor)
    }

    /// Moves the trusted level after the base, by a day's step and what `credit` allows; what it used of the credit.
    pub(super) fn move_anchor(&mut self, measure: Measure, days: u32, credit: f64, season_mean: f64) -> f64 {
        let base = ln(self.base(parameters::of(measure), !measure.over_time()) * season_mean);
        if days < ANCHOR_FREE_DAYS {
            self.anchor = narrow(base);
            return 0.0;
        }
        let wanted = base - f64::from(self.anchor);
        let step = wanted.clamp(-(ANCHOR_STEP + credit), ANCHOR_STEP + credit);
        self.anchor = narrow(f64::from(self.anchor) + step);
        (step.abs() - ANCHOR_STEP).max(0.0)
    }
}

/// What is left of a credit after a day.
pub(super) fn credit_after_a_day(credit: f64, used: f64) -> f64 {
    (credit - used).max(0.0) * ANCHOR_CREDIT_KEPT
}

/// Over-dispersion `phi` of `Var = v0 + phi mean^2`: a ratio of sums, drawn to the prior.
fn spread(excess: f32, weight: f32, prior: f64) -> f64 {
    let own = f64::from(excess) + PRIOR_DISPERSION * prior;
    (own / (f64::from(weight) + PRIOR_DISPERSION)).clamp(1e-4, 25.0)
}

/// One observation of `phi` is `excess / mean^2`; its weight is near the inverse of its variance.
fn add_spread(sums: (&mut f32, &mut f32), excess: f64, mean: f64, times: f64, kept: f64) {
    let weight = 1.0 / (1.0 + DISPERSION_SATURATION * mean).powi(2);
    *sums.0 = narrow(f64::from(*sums.0) * kept + excess * weight);
    *sums.1 = narrow(f64::from(*sums.1) * kept + mean * mean * weight * times);
}
