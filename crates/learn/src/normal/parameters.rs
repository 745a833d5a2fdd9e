//! The numbers of the detector, each with its reason. They come from reasoning and from the prototype of the research,
//! never from the run that they are judged by.

use selvedge_model::Measure;

/// Alternatives of volume: 1.6 times, sixfold, 0.4 and nearly nothing.
const VOLUME: &[Alternative] =
    &[up(1.6, 0.470_003_629_25), up(6.0, 1.791_759_469_23), down(0.4), down_to(0.02)];
/// Alternatives of a latency cell: odds 1.6 and 4 times the usual.
const SLOW: &[Alternative] = &[up(1.6, 0.470_003_629_25), up(4.0, 1.386_294_361_12)];
/// Alternatives of errors: odds 3 and 15 times the usual.
const ERRORS: &[Alternative] = &[up(3.0, 1.098_612_288_67), up(15.0, 2.708_050_201_1)];

/// Alternatives of all measures together.
pub(super) const ALTERNATIVES: usize = 2 * VOLUME.len() + 4 * SLOW.len() + 3 * ERRORS.len();

/// One thing that may have happened: the mean (or the odds) times `factor`.
#[derive(Clone, Copy)]
pub(super) struct Alternative {
    pub(super) factor: f64,
    pub(super) ln_factor: f64,
}

/// What is fixed for a measure.
pub(super) struct Parameters {
    /// Smallest effect that counts: the mean (or the odds) must move by this part before it is evidence at all.
    pub(super) margin: f64,
    pub(super) alternatives: &'static [Alternative],
    /// Where its alternatives stand among all of them.
    pub(super) first: usize,
    /// Smallest probability that is believed; for volume the smallest rate a second.
    pub(super) floor: f64,
    /// How far the level of half an hour may stand from the base, as a factor either way.
    pub(super) level: f64,
    /// Most that the own wander may widen the null (logarithm): of volume less, because an attacker could buy it.
    pub(super) wander_max: f64,
    /// Part of the way an hour of the season moves to what was seen in it: less where the hours of a day differ less
    /// than the days.
    pub(super) season_gain: f64,
    /// Probability (or rate a second) assumed before anything was seen, and over-dispersion.
    pub(super) prior: f64,
    pub(super) phi: f64,
}

const fn up(factor: f64, ln_factor: f64) -> Alternative {
    Alternative { factor, ln_factor }
}

const fn down(factor: f64) -> Alternative {
    Alternative { factor, ln_factor: -0.916_290_731_87 }
}

const fn down_to(factor: f64) -> Alternative {
    Alternative { factor, ln_factor: -3.912_023_005_43 }
}

const fn volume(first: usize) -> Parameters {
    // One a day is the smallest rate; spread of half the mean from minute to minute until the edge shows its own.
    Parameters {
        margin: 0.25,
        alternatives: VOLUME,
        first,
        floor: 1.0 / 86_400.0,
        level: 2.5,
        wander_max: 0.8,
        season_gain: 0.35,
        prior: 0.0,
        phi: 0.25,
    }
}

const fn slow(first: usize, prior: f64, phi: f64) -> Parameters {
    // The share beyond a quantile goes up tenfold when a narrow distribution moves by its own spread.
    Parameters {
        margin: 0.25,
        alternatives: SLOW,
        first,
        floor: prior * 0.1,
        level: 8.0,
        wander_max: 2.0,
        season_gain: 0.08,
        prior,
        phi,
    }
}

const fn errors(first: usize) -> Parameters {
    // An error rate below 0.03 % is not told from it: three in ten thousand are an accident, not a level.
    Parameters {
        margin: 0.5,
        alternatives: ERRORS,
        first,
        floor: 3e-4,
        level: 2.0,
        wander_max: 1.2,
        season_gain: 0.08,
        prior: 1e-3,
        phi: 1.0,
    }
}

const TABLE: [Parameters; Measure::ALL.len()] = [
    volume(0),
    volume(4),
    slow(8, 0.5, 0.05),
    slow(10, 0.1, 0.15),
    slow(12, 0.01, 0.3),
    slow(14, 0.002, 0.5),
    errors(16),
    errors(18),
    errors(20),
];

/// The parameters of a measure.
pub(super) fn of(measure: Measure) -> &'static Parameters {
    &TABLE[measure as usize]
}

/// Most that one minute may say (nats): a page needs six bad minutes or more, whatever happened in one of them.
pub(super) const MINUTE_NATS_MAX: f64 = 3.0;
/// Most that is accumulated: past it nothing is decided, and an edge must find back to normal in hours, not days.
pub(super) const EVIDENCE_MAX: f64 = 100.0;
/// Memory of evidence, in minutes: what takes hours to add up is the model's error, not the edge's. Where chance is more
/// than the wander (few counts), it takes longer to add up, and the memory is longer, up to the second figure.
pub(super) const EVIDENCE_MINUTES: f64 = 60.0;
pub(super) const EVIDENCE_MINUTES_MAX: f64 = 480.0;
/// The null reaches so many standard deviations of the edge's own half-hour wander.
pub(super) const WANDER_DEVIATIONS: f64 = 2.0;
/// Minutes of a block whose mean shows the wander, and the memory for it: four days.
pub(super) const BLOCK_MINUTES: u32 = 30;
pub(super) const WANDER_MINUTES: f64 = 5_760.0;
/// Counts beyond so many standard deviations teach no more than that many.
pub(super) const TRIM_DEVIATIONS: f64 = 6.0;
/// From here on a minute is not learned from.
pub(super) const SUSPICION: f64 = 8.0;
/// Longest freeze: after four hours what goes on is the new normal of a reliability measure.
pub(super) const FREEZE_MINUTES: u32 = 240;
/// Largest step of such an acceptance.
pub(super) const REBASE_MAX: f64 = 3.0;
/// Part that the trusted level may move in a day by itself, and more after a deployment: with one in four days, no more
/// than as much again, or who waits for deployments climbs with them.
pub(super) const ANCHOR_STEP: f64 = 0.006;
pub(super) const ANCHOR_CREDIT: f64 = 0.03;
/// What is left of the credit a day later.
pub(super) const ANCHOR_CREDIT_KEPT: f64 = 0.93;
/// Days in which the trusted level follows freely: a mesh starts in learn mode.
pub(super) const ANCHOR_FREE_DAYS: u32 = 14;
/// After a new version: how long it may do nearly as it likes, how long level and margin are generous (minutes), by how much. At
/// first more than twice as much is no effect, and how slow it is counts only beyond twice the usual 0.99 quantile: a version
/// shifts latency by tens of percent. One that is five times as slow, or fails, is what people want to know of.
pub(super) const AMNESTY_MINUTES: u32 = 10;
pub(super) const AMNESTY_MARGIN: f64 = 1.0;
pub(super) const SETTLING_MINUTES: u32 = 120;
pub(super) const SETTLING_MARGIN: f64 = 0.3;
/// Memories, in minutes: base a week, dispersion two days, level half an hour or thirty expected counts.
pub(super) const BASE_MINUTES: f64 = 10_080.0;
pub(super) const DISPERSION_MINUTES: f64 = 2_880.0;
pub(super) const LEVEL_MINUTES: f64 = 30.0;
pub(super) const LEVEL_COUNTS: f64 = 30.0;
pub(super) const LEVEL_MINUTES_MAX: f64 = 1_440.0;
pub(super) const LEVEL_PRIOR: f64 = 8.0;
/// Minutes of learning from which on a minute's count is trimmed before it teaches.
pub(super) const TRIM_AFTER_MINUTES: u32 = 10;
/// Over-dispersion below which an absence is never reckoned: arrivals come in flocks.
pub(super) const ABSENCE_PHI_MIN: f64 = 0.15;
/// Requests an edge must have shown before its scores count.
pub(super) const REQUESTS_MIN: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alternatives_of_all_measures_lie_side_by_side_and_know_their_logarithms() {
        let mut next = 0;
        for measure in Measure::ALL {
            let parameters = of(measure);
            assert_eq!(parameters.first, next);
            next += parameters.alternatives.len();
            for alternative in parameters.alternatives {
                assert!((alternative.factor.ln() - alternative.ln_factor).abs() < 1e-9);
            }
        }
        assert_eq!(next, ALTERNATIVES);
    }
}
