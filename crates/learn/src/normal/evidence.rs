//! Evidence that accumulates over minutes: one CUSUM of log-likelihood ratios for each alternative (an e-detector in
//! logarithms; Shin, Ramdas, Rinaldo), and absence.

use super::maths::{binomial_ratio, exp, ln, log_mean_exp, narrow, negative_binomial_ratio};
use super::parameters::{
    ALTERNATIVES, BASE_MINUTES, EVIDENCE_MAX, EVIDENCE_MINUTES, EVIDENCE_MINUTES_MAX, MINUTE_NATS_MAX,
    Parameters,
};
use super::usual::Expected;
use serde::{Deserialize, Serialize};

/// Minutes of a block of the wander.
const BLOCK: f64 = 30.0;
/// Probability from which on counts are binomial and not negative binomial.
pub(super) const BINOMIAL_FROM: f64 = 0.25;

/// `ln M` and the normaliser of every alternative.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Evidence {
    pub(super) sums: [f32; ALTERNATIVES],
    /// A week's mean of `e^l`: one that is above 1 under normal says that the model is too narrow.
    means: [f32; ALTERNATIVES],
}

/// One minute of one measure, or several of the same kind.
#[derive(Clone, Copy)]
pub(super) struct Minutes {
    pub(super) counts: f64,
    pub(super) exposure: f64,
    /// How many; more than one only without a count.
    pub(super) times: f64,
    pub(super) ratio: bool,
}

/// What a minute said about every alternative, for the normaliser.
pub(super) type Said = [f32; ALTERNATIVES];

impl Default for Evidence {
    fn default() -> Self {
        Self { sums: [0.0; ALTERNATIVES], means: [1.0; ALTERNATIVES] }
    }
}

impl Evidence {
    /// `M = (1 - 1/memory) max(0, M) + l`, `l = min(ln LR, 3) - ln max(1, mean_S)`; the score is `T = ln mean_t e^(M_t)`.
    pub(super) fn add(
        &mut self,
        parameters: &Parameters,
        expected: &Expected,
        minutes: Minutes,
        said: &mut Said,
    ) -> f64 {
        let range = parameters.first..parameters.first + parameters.alternatives.len();
        // Of half an hour's variance, chance is one part and the wander this many: without it, nothing is forgotten.
        let wander = BLOCK * minutes.exposure * f64::from(expected.mean) * f64::from(expected.wander);
        let memory = (EVIDENCE_MINUTES * (1.0 + 1.0 / wander.max(1e-9))).min(EVIDENCE_MINUTES_MAX);
        let one = 1.0 - 1.0 / memory;
        let kept = if minutes.times > 1.0 { exp(minutes.times * ln(one)) } else { one };
        let steps = if minutes.times > 1.0 { memory * (1.0 - kept) } else { 1.0 };
        for (index, alternative) in range.clone().zip(parameters.alternatives) {
            let null = f64::from(if alternative.factor > 1.0 { expected.up } else { expected.down });
            let (factor, ln_factor, phi) =
                (alternative.factor, alternative.ln_factor, f64::from(expected.phi));
            let (x, m) = (minutes.counts, minutes.exposure);
            let ratio = if minutes.ratio && BINOMIAL_FROM < null {
                binomial_ratio(x, m, null, factor, ln_factor, phi)
            } else {
                negative_binomial_ratio(x, m * null, factor, ln_factor, phi)
            };
            let capped = ratio.min(MINUTE_NATS_MAX);
            said[index] = narrow(capped);
            let mean = f64::from(self.means[index]);
            let step = if mean > 1.0 { capped - ln(mean) } else { capped };
            // The same step several times: upwards all of them count, downwards only what is above zero.
            let start = f64::from(self.sums[index]).max(0.0);
            let end = (start * kept + steps * step).max(step);
            self.sums[index] = narrow(end.min(EVIDENCE_MAX));
        }
        log_mean_exp(&self.sums[range])
    }

    /// Learns what this minute would have done to a wealth of one.
    pub(super) fn learn(&mut self, parameters: &Parameters, said: &Said, times: f64) {
        let gain = (times / BASE_MINUTES).min(1.0);
        let range = parameters.first..parameters.first + parameters.alternatives.len();
        for (mean, &said) in self.means[range.clone()].iter_mut().zip(&said[range]) {
            *mean = narrow(f64::from(*mean) + gain * (exp(f64::from(said)) - f64::from(*mean)));
        }
    }

    /// True when what there is of evidence speaks for more, and not for less.
    pub(super) fn upward(&self, parameters: &Parameters) -> bool {
        let alternatives = parameters.alternatives.iter().zip(&self.sums[parameters.first..]);
        let largest = |up: bool| {
            let of = alternatives.clone().filter(|(alternative, _)| up == (alternative.factor > 1.0));
            of.map(|(_, &sum)| sum).fold(0.0, f32::max)
        };
        largest(false) <= largest(true)
    }

    /// Forgets a measure altogether.
    pub(super) fn restart(&mut self, parameters: &Parameters) {
        self.clear(parameters);
        self.means[parameters.first..parameters.first + parameters.alternatives.len()].fill(1.0);
    }

    /// Starts anew.
    pub(super) fn clear(&mut self, parameters: &Parameters) {
        self.sums[parameters.first..parameters.first + parameters.alternatives.len()].fill(0.0);
    }
}

/// Nats that silence is worth when `expected` requests should have come: `-ln P(0) = ln(1 + phi L) / phi`.
pub(super) fn silence(expected: f64, phi: f64) -> f64 {
    ln(1.0 + phi * expected) / phi
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normal::parameters;
    use selvedge_model::Measure;

    fn null() -> Expected {
        Expected {
            season: 1.0,
            mean: 0.9,
            level: 1.0,
            up: 1.0,
            down: 0.8,
            phi: 0.05,
            phi_window: 0.05,
            wander: 0.01,
        }
    }

    fn minute(counts: f64) -> Minutes {
        Minutes { counts, exposure: 60.0, times: 1.0, ratio: false }
    }

    #[test]
    fn six_minutes_of_flood_are_needed_for_sixteen_nats_and_normal_minutes_leave_nothing() {
        let parameters = parameters::of(Measure::Requests);
        let mut evidence = Evidence::default();
        let mut said = [0.0; ALTERNATIVES];
        let scores: Vec<f64> =
            (0..6).map(|_| evidence.add(parameters, &null(), minute(900.0), &mut said)).collect();
        assert!(scores[4] < 14.0 && 16.0 < scores[5], "{scores:?}");
        for _ in 0..20 {
            evidence.add(parameters, &null(), minute(55.0), &mut said);
        }
        assert!(evidence.add(parameters, &null(), minute(55.0), &mut said) < 1.0);
    }

    #[test]
    fn silent_minutes_together_are_silent_minutes_one_by_one() {
        let parameters = parameters::of(Measure::Requests);
        let (mut together, mut apart) = (Evidence::default(), Evidence::default());
        let mut said = [0.0; ALTERNATIVES];
        let rare = Expected { up: 0.001, down: 0.0008, ..null() };
        let five = Minutes { times: 5.0, ..minute(0.0) };
        together.add(parameters, &rare, five, &mut said);
        for _ in 0..5 {
            apart.add(parameters, &rare, minute(0.0), &mut said);
        }
        for (one, other) in together.sums.iter().zip(apart.sums) {
            assert!((one - other).abs() < 1e-5);
        }
    }

    #[test]
    fn a_model_that_is_too_narrow_is_held_back_by_its_own_record() {
        let parameters = parameters::of(Measure::Requests);
        let mut evidence = Evidence::default();
        let mut said = [0.0; ALTERNATIVES];
        for _ in 0..20_000 {
            evidence.add(parameters, &null(), minute(85.0), &mut said);
            evidence.learn(parameters, &said, 1.0);
            evidence.clear(parameters);
        }
        let first = evidence.add(parameters, &null(), minute(85.0), &mut said);
        assert!(said[0] > 0.0 && first < 1.0);
    }

    #[test]
    fn silence_of_a_steady_edge_is_the_poisson_chance_and_less_for_one_that_comes_in_flocks() {
        assert!((silence(10.0, 1e-4) - 10.0).abs() < 0.01);
        assert!(silence(10.0, 0.5) < 4.0);
    }
}
