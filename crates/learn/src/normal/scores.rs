//! What a window of an edge came to: how far it is from normal, in numbers that only a calibration can turn into chances.

use selvedge_model::{Measure, MeasureClass};

/// All measures, and absence behind them.
pub const SIGNALS: usize = Measure::ALL.len() + 1;
/// Where absence stands among the signals.
pub(super) const ABSENCE: usize = Measure::ALL.len();
/// The score of what says nothing: below that of the noisiest edge's quietest day.
pub const SCORE_MIN: f32 = -8.0;

/// Scores of one edge at the end of one window. What is not counted or not known yet has [`SCORE_MIN`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// The last 1, 3 and 6 windows against the composite null (nats, standardised by the edge's own record), for short
    /// strong effects: by signal, measures in their order and absence behind them.
    pub quick: [f32; SIGNALS],
    /// Accumulated evidence of whole minutes, for what lasts; present when the window ends a minute.
    pub slow: Option<[f32; SIGNALS]>,
    /// The same before standardisation (nats).
    pub(super) slow_raw: [f32; SIGNALS],
    /// What the minute said about every alternative.
    pub(super) said: super::evidence::Said,
    /// The edge is known for a day and two hundred requests: younger ones may be told, and wake nobody.
    pub known: bool,
    /// False when the reporter was not heard: nothing was judged, and nothing will be learned.
    pub heard: bool,
}

impl Scores {
    pub(super) const NOTHING: Self = Self {
        quick: [SCORE_MIN; SIGNALS],
        slow: None,
        slow_raw: [0.0; SIGNALS],
        said: [0.0; super::parameters::ALTERNATIVES],
        known: false,
        heard: false,
    };

    /// The largest quick score of a class, and where it stands.
    #[must_use]
    pub fn quick_of(&self, class: MeasureClass) -> (usize, f32) {
        largest(&self.quick, class)
    }

    /// The largest slow score of a class, and where it stands; nothing inside a minute.
    #[must_use]
    pub fn slow_of(&self, class: MeasureClass) -> Option<(usize, f32)> {
        self.slow.as_ref().map(|slow| largest(slow, class))
    }

    /// A slow score before it is put in relation to the edge's own record (nats).
    #[must_use]
    pub fn raw(&self, signal: usize) -> f32 {
        self.slow_raw[signal]
    }

    /// True when some signal is far enough from normal not to be learned from.
    #[must_use]
    pub fn suspicious(&self) -> bool {
        self.slow_raw.iter().any(|&raw| super::parameters::SUSPICION <= f64::from(raw))
    }
}

/// The signals of a class.
#[must_use]
pub fn signals_of(class: MeasureClass) -> std::ops::Range<usize> {
    match class {
        MeasureClass::Volume => 0..1,
        MeasureClass::Bytes => 1..2,
        MeasureClass::Latency => 2..6,
        MeasureClass::Errors => 6..9,
        MeasureClass::Absence => ABSENCE..SIGNALS,
    }
}

fn largest(scores: &[f32; SIGNALS], class: MeasureClass) -> (usize, f32) {
    let first = signals_of(class).start;
    signals_of(class).fold((first, SCORE_MIN), |best, signal| {
        if best.1 < scores[signal] { (signal, scores[signal]) } else { best }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_is_a_signal_of_its_class() {
        for measure in Measure::ALL {
            for class in MeasureClass::ALL {
                assert_eq!(signals_of(class).contains(&(measure as usize)), measure.class() == class);
            }
        }
    }
}
