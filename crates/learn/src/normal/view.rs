//! What people and the mesh ask an edge's normal: how it is now against what is usual, how old and how large it is; and
//! what is done to it from outside: a gap in the telemetry, and latency that is cut anew.

use std::time::Duration;

use selvedge_model::{EventTime, Measure, MeasureClass};

use super::edge::{EdgeNorm, minute_of};
use super::hot::Hot;
use super::parameters;
use super::quick::WINDOWS;
use super::usual::Usual;

/// A measure in the last windows, beside what is usual at this time: for people, and for the direction of a deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// What was counted.
    pub counted: f64,
    /// Out of so many seconds or requests.
    pub exposure: f64,
    /// What is usual out of that exposure, season and level included; zero while nothing is known.
    pub usual: f64,
}

impl EdgeNorm {
    /// Bytes that an edge with a request a minute or more takes beside those of every edge.
    pub const HOT_BYTES: usize = size_of::<Hot>();

    /// Bytes it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.hot.as_ref().map_or(0, |_| Self::HOT_BYTES)
    }

    /// Whole days in which it was heard, up to 255.
    #[must_use]
    pub fn days(&self) -> u8 {
        self.slow.days()
    }

    /// True when it is known for two weeks: long enough for its scores to be compared with those of others.
    #[must_use]
    pub fn mature(&self) -> bool {
        self.slow.mature()
    }

    /// True while nothing of a class is suspected.
    #[must_use]
    pub fn calm(&self, class: MeasureClass) -> bool {
        let mut of_class = Measure::ALL.into_iter().filter(|measure| measure.class() == class);
        of_class.all(|measure| self.usual[measure as usize].frozen_since == 0)
    }

    /// A measure in the last six windows, the one that was just judged included.
    #[must_use]
    pub fn seen(&self, measure: Measure, window: Duration) -> Seen {
        self.beside_usual(measure, self.recent.sums(window.as_secs_f64()).all(measure))
    }

    /// The same in the last 1, 3 or 6 windows: those that the quick score is from.
    #[must_use]
    pub fn seen_quickly(&self, measure: Measure, window: Duration) -> Seen {
        let sums = self.recent.sums(window.as_secs_f64());
        self.beside_usual(measure, sums.telling(measure, &self.expected[measure as usize]))
    }

    fn beside_usual(&self, measure: Measure, [counted, exposure]: [f64; 2]) -> Seen {
        let expected = &self.expected[measure as usize];
        Seen { counted, exposure, usual: exposure * f64::from(expected.mean) * f64::from(expected.level) }
    }

    /// Whether the evidence that minutes have left speaks for more of a measure than usual, or for less.
    #[must_use]
    pub fn rising(&self, measure: Measure) -> bool {
        self.evidence.upward(parameters::of(measure))
    }

    /// For how long no request came, and how many should have come meanwhile at the least.
    #[must_use]
    pub fn silent(&self) -> (Duration, f64) {
        (Duration::from_secs_f64(f64::from(self.silent_seconds).max(0.0)), f64::from(self.silent_expected))
    }

    /// Nobody who reports this edge was heard until `until`: what was not seen is neither judged nor learned, and the
    /// silence before it says nothing any more.
    pub fn gap(&mut self, until: EventTime) {
        if until <= self.seen_until {
            return;
        }
        for _ in 0..WINDOWS {
            self.recent.push(None);
        }
        self.seen_until = until;
        (self.silent_expected, self.silent_seconds) = (0.0, 0.0);
        if self.minute < minute_of(until) {
            self.open(minute_of(until));
        }
    }

    /// Latency is cut at other quantiles from now on: what was known of shares beyond the old ones is void.
    pub fn recut(&mut self) {
        for measure in Measure::ALL.into_iter().filter(|measure| measure.class() == MeasureClass::Latency) {
            self.usual[measure as usize] = Usual::default();
            self.season_means[measure as usize] = 1.0;
            self.evidence.restart(parameters::of(measure));
            self.recent.forget(measure);
            self.minute_counts.counts[measure as usize] = 0;
            if let Some(hot) = &mut self.hot {
                hot.restart(measure);
            }
        }
        self.prepare();
    }
}
