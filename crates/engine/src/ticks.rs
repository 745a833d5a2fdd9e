//! When what came in is judged: a function of the records in their order, never of a clock.

use std::time::Duration;

use selvedge_model::EventTime;
use selvedge_model::time::nanos;
use serde::{Deserialize, Serialize};

/// Event time between two ticks: how long a deviation waits for its judgement, at most, once event time has gone on. People
/// are to be told within 50 ms; a tick costs what its calls' shapes cost, not what there is.
const TICK: Duration = Duration::from_millis(25);

/// Event time over which it is measured how many records come in a tick.
const MEASURED_OVER: Duration = Duration::from_secs(1);
/// So many records wait for event time, though fewer may be usual: when a quiet stream is one no longer, a tick for each
/// record would be dear.
const WAITING_MIN: u64 = 8;

/// Ticks by event time, and by records while event time stands still: one sender whose clock is ahead takes it along, and
/// until the others have come that far nothing they say would be judged.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Ticks {
    /// The last multiple of [`TICK`] that event time has passed.
    passed: EventTime,
    /// Records since the last tick.
    waiting: u64,
    /// Records in a tick, as measured the last time; absent before the first time.
    usual: Option<u64>,
    /// Records since then.
    counted: u64,
    since: EventTime,
}

impl Ticks {
    /// One more record came.
    pub(crate) fn count(&mut self) {
        self.waiting += 1;
        self.counted += 1;
    }

    /// True when a tick is due at `frontier`, the newest event time; it is taken to happen.
    pub(crate) fn due(&mut self, frontier: EventTime) -> bool {
        if self.passed.after(TICK) <= frontier {
            self.passed = EventTime(frontier.0 - frontier.0 % nanos(TICK));
            self.measure(frontier);
        } else if self.usual.is_none_or(|usual| self.waiting < WAITING_MIN.max(usual + usual / 2)) {
            return false;
        }
        self.waiting = 0;
        true
    }

    fn measure(&mut self, frontier: EventTime) {
        let over = frontier.since(self.since);
        if over < MEASURED_OVER {
            return;
        }
        if self.since.present() {
            self.usual = Some(self.counted / (nanos(over) / nanos(TICK)));
        }
        (self.counted, self.since) = (0, frontier);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: EventTime = EventTime(1_700_000_000_000_000_000);

    fn at(millis: u64) -> EventTime {
        START.after(Duration::from_millis(millis))
    }

    /// A record every `every` microseconds for three seconds, which takes event time along; the ticks they cause.
    fn steady(ticks: &mut Ticks, every: usize) -> usize {
        let records = (0..3_000_000).step_by(every);
        records
            .filter(|micros| {
                ticks.count();
                ticks.due(START.after(Duration::from_micros(*micros)))
            })
            .count()
    }

    #[test]
    fn event_time_that_goes_on_ticks_by_itself() {
        for every in [100, 5_000, 24_000] {
            assert_eq!(steady(&mut Ticks::default(), every), 120, "a record every {every} microseconds");
        }
    }

    /// Guarantees: while event time stands still ticks go on, at two thirds of the usual pace at the least.
    #[test]
    fn a_clock_that_is_ahead_keeps_nothing_from_being_judged() {
        let mut ticks = Ticks::default();
        steady(&mut ticks, 100);
        ticks.count();
        assert!(ticks.due(at(10_000)), "somebody's clock is seven seconds ahead");
        let due = (0..10_000).filter(|_| {
            ticks.count();
            ticks.due(at(10_000))
        });
        let due = due.count();
        assert!((26..=250).contains(&due), "{due} ticks of a second's records");
    }

    #[test]
    fn a_quiet_stream_that_is_one_no_longer_has_no_tick_for_each_record() {
        let mut ticks = Ticks::default();
        ticks.count();
        assert!(ticks.due(at(0)));
        ticks.count();
        assert!(ticks.due(at(3_600_000)));
        let due = (0..10_000).filter(|_| {
            ticks.count();
            ticks.due(at(3_600_001))
        });
        assert_eq!(due.count(), 10_000 / 8);
    }
}
