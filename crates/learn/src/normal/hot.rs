//! What only a busy edge has: the hours of a week, and the envelope of comparable times.

use selvedge_model::Measure;
use serde::{Deserialize, Serialize};
use serde_big_array::Array;

use super::envelope::{COARSE, FINE, Side};
use super::season::{DAY_HOURS, UNSEEN, WEEK_HOURS};

/// Measures over time, and ratios behind them.
pub(super) const OVER_TIME: usize = 2;
pub(super) const RATIOS: usize = Measure::ALL.len() - OVER_TIME;
/// Slots of five minutes in one of fifteen.
const FINE_PER_COARSE: usize = FINE / COARSE;

/// State of a busy edge beside what every edge has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hot {
    pub(super) weeks: [Array<i8, WEEK_HOURS>; OVER_TIME],
    pub(super) days: [[i8; DAY_HOURS]; RATIOS],
    up: [Side<FINE>; OVER_TIME],
    down: [Side<FINE>; OVER_TIME],
    ratio_up: [Side<COARSE>; RATIOS],
    slot: u16,
    pub(super) allowed_up: [f32; Measure::ALL.len()],
    pub(super) allowed_down: [f32; OVER_TIME],
}

impl Hot {
    /// Nothing seen yet, at a minute since the epoch.
    pub(super) fn new(minute: u32) -> Self {
        Self {
            weeks: [Array([UNSEEN; WEEK_HOURS]); OVER_TIME],
            days: [[UNSEEN; DAY_HOURS]; RATIOS],
            up: [const { Side::EMPTY }; OVER_TIME],
            down: [const { Side::EMPTY }; OVER_TIME],
            ratio_up: [const { Side::EMPTY }; RATIOS],
            slot: slot_of(minute),
            allowed_up: [0.0; Measure::ALL.len()],
            allowed_down: [0.0; OVER_TIME],
        }
    }

    /// Brings the envelope to a minute.
    pub(super) fn enter(&mut self, minute: u32) {
        let slot = slot_of(minute);
        if slot == self.slot {
            return;
        }
        let (from, to) = (usize::from(self.slot), usize::from(slot));
        for index in 0..OVER_TIME {
            self.allowed_up[index] = super::maths::narrow(self.up[index].enter(from, to));
            self.allowed_down[index] = super::maths::narrow(self.down[index].enter(from, to));
        }
        let (from, to) = (from / FINE_PER_COARSE, to / FINE_PER_COARSE);
        if from != to {
            for index in 0..RATIOS {
                let allowed = self.ratio_up[index].enter(from, to);
                self.allowed_up[OVER_TIME + index] = super::maths::narrow(allowed);
            }
        }
        self.slot = slot;
    }

    /// Notes what a minute did against its season.
    pub(super) fn note(&mut self, measure: Measure, counts: f64, expected: f64) {
        let (slot, index) = (usize::from(self.slot), measure as usize);
        let upper = expected < counts;
        match (index.checked_sub(OVER_TIME), upper) {
            (None, true) => self.up[index].note(slot, counts, expected, true),
            (None, false) => self.down[index].note(slot, counts, expected, false),
            (Some(ratio), true) => self.ratio_up[ratio].note(slot / FINE_PER_COARSE, counts, expected, true),
            (Some(_), false) => {}
        }
    }

    /// Forgets all that a ratio did: what it counts has changed.
    pub(super) fn restart(&mut self, measure: Measure) {
        let Some(ratio) = (measure as usize).checked_sub(OVER_TIME) else { return };
        self.days[ratio] = [UNSEEN; DAY_HOURS];
        self.ratio_up[ratio] = Side::EMPTY;
        self.allowed_up[measure as usize] = 0.0;
    }

    /// Forgets what a measure did since a minute: it was told, and excuses nothing tomorrow.
    pub(super) fn forget(&mut self, measure: Measure, since: u32) {
        let (from, to, index) = (usize::from(slot_of(since)), usize::from(self.slot), measure as usize);
        match index.checked_sub(OVER_TIME) {
            None => {
                self.up[index].forget(from, to);
                self.down[index].forget(from, to);
            }
            Some(ratio) => self.ratio_up[ratio].forget(from / FINE_PER_COARSE, to / FINE_PER_COARSE),
        }
    }
}

fn slot_of(minute: u32) -> u16 {
    u16::try_from(minute % 1_440 / 5).unwrap_or(0)
}
