//! When batches come in: a wall clock that may be set, and one that nobody can set.

use std::time::Duration;

use selvedge_model::{ObservedTime, SteadyTime};
use serde::{Deserialize, Serialize};

use crate::pipeline::RawBatch;

/// A wall clock that is this far from where the time that passed would have taken it was set: no clock runs that wrong
/// between two batches, and a clock that is slewed (500 ppm at most, RFC 5905) needs half an hour for it.
const STEP: Duration = Duration::from_secs(1);

/// How often our wall clock was set while telemetry came in, by more than a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSteps {
    /// Times it was set forward, the sleep of a whole machine included.
    pub forward: u64,
    /// Times it was set back.
    pub back: u64,
}

/// When the batch in hand came in, by both clocks.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Arrival {
    pub(crate) observed: ObservedTime,
    pub(crate) steady: SteadyTime,
    /// What the wall clock said, whether or not it is believed.
    wall: ObservedTime,
    pub(crate) steps: ClockSteps,
}

impl Arrival {
    /// The arrival of the next batch. A wall clock that is set back does not take the present with it: all records
    /// would look as if they came from far ahead of us, and be given an arrival that is long past. The price: a clock
    /// that was ahead, and is put right, leaves more room for senders that are ahead until the next start.
    pub(crate) fn next(self, batch: &RawBatch<'_>) -> Self {
        let steady = batch.steady.max(self.steady);
        let mut next = Self { observed: batch.observed, steady, wall: batch.observed, ..self };
        if self.wall != ObservedTime::default() {
            let passed = batch.steady.since(self.steady);
            next.observed = self.observed.after(passed).max(batch.observed);
            let expected = self.wall.after(passed);
            next.steps.forward += u64::from(batch.observed > expected.after(STEP));
            next.steps.back += u64::from(batch.observed.after(STEP) < expected);
        }
        next
    }

    /// What comes next is read from a recording, whose only clock is when things came in.
    pub(crate) fn recorded(self) -> Self {
        Self { steady: SteadyTime::recorded(self.observed), wall: self.observed, ..self }
    }

    /// What comes next comes by other clocks.
    pub(crate) fn elsewhere(self) -> Self {
        Self { steps: self.steps, ..Self::default() }
    }
}
