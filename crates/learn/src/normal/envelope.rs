//! What an edge did at the comparable time: the largest and smallest ratio to its season in the same minutes of
//! yesterday, and of both the last hour and the one before. Sharp jobs (a report every hour, a backup at two) are not in
//! the hours of a week. One hour alone excuses nothing: a fault would excuse itself an hour after it began. And what is
//! there all day is no job: then nothing is allowed, or an attacker could climb a step a day.

use super::maths::ln;
use serde::{Deserialize, Serialize};
use serde_big_array::BigArray;

/// Largest logarithm that is kept: nine times the season.
const LN_MAX: f64 = 2.197_224_577_3;
const STEP: f64 = LN_MAX / 255.0;
/// Slots of a day for measures over time (5 min) and for ratios (15 min).
pub(super) const FINE: usize = 288;
pub(super) const COARSE: usize = 96;
/// A job takes at most this part of a day.
const BUSY_PART: usize = 8;
/// From here on (ln 1.6) a slot counts as busy.
const BUSY_CODE: u8 = 54;

/// One side of one measure over the slots of a day; written in place, so that a day later it is yesterday.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Side<const SLOTS: usize> {
    #[serde(with = "BigArray")]
    slots: [u8; SLOTS],
    /// Yesterday's values of the slots written last: this day's own must not excuse it minutes later.
    kept: [u8; 2],
    /// Slots of the day that are busy.
    busy: u16,
}

impl<const SLOTS: usize> Side<SLOTS> {
    pub(super) const EMPTY: Self = Self { slots: [0; SLOTS], kept: [0; 2], busy: 0 };

    /// Enters a slot, coming from `from`: gives the logarithm that its comparable times allow, and starts it anew.
    pub(super) fn enter(&mut self, from: usize, to: usize) -> f64 {
        let passed = (to + SLOTS - from % SLOTS) % SLOTS;
        for back in (0..passed).rev() {
            let slot = (to + SLOTS - back) % SLOTS;
            if back == 0 {
                break;
            }
            // Passed in silence: nothing was allowed in it.
            self.leave_behind(slot);
        }
        let allowed = self.allowed(to);
        self.leave_behind(to);
        allowed
    }

    /// Notes the ratio of one minute: `counts` (more than `expected` on the upper side, fewer on the lower one), less
    /// two standard errors, so that chance does not widen what is allowed.
    pub(super) fn note(&mut self, slot: usize, counts: f64, expected: f64, upper: bool) {
        let ratio = if upper { ln(counts / expected.max(1e-9)) } else { ln(expected / counts.max(0.5)) };
        let less = if upper { counts } else { counts.max(0.5) };
        let sure = (ratio - 2.0 / less.max(1e-9).sqrt()).clamp(0.0, LN_MAX);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
        let code = (sure / STEP) as u8;
        if let Some(kept) = self.slots.get_mut(slot) {
            self.busy += u16::from(*kept < BUSY_CODE && BUSY_CODE <= code);
            *kept = code.max(*kept);
        }
    }

    /// Forgets the slots from one to another, both included: what was in them was told to somebody.
    pub(super) fn forget(&mut self, from: usize, to: usize) {
        for ahead in 0..=(to + SLOTS - from % SLOTS) % SLOTS {
            let old = std::mem::take(&mut self.slots[(from + ahead) % SLOTS]);
            self.busy -= u16::from(BUSY_CODE <= old);
        }
    }

    /// Yesterday within ten minutes (a slot, where slots are long), and the same minutes of the last two hours.
    fn allowed(&self, slot: usize) -> f64 {
        let reach = if SLOTS == FINE { 2 } else { 1 };
        let hour = SLOTS / 24;
        let at = |slot: usize| self.slots[slot % SLOTS];
        let after = (0..=reach).map(|ahead| at(slot + ahead)).max().unwrap_or(0);
        let before = self.kept.iter().take(reach).copied().max().unwrap_or(0);
        let ago = |hours: usize| {
            let around = hours * hour - 1..=hours * hour + 1;
            around.map(|back| at(slot + SLOTS - back)).max().unwrap_or(0)
        };
        let allowed = f64::from(after.max(before).max(ago(1).min(ago(2)))) * STEP;
        if SLOTS / BUSY_PART < usize::from(self.busy) { 0.0 } else { allowed }
    }

    fn leave_behind(&mut self, slot: usize) {
        let old = std::mem::take(&mut self.slots[slot]);
        self.busy -= u16::from(BUSY_CODE <= old);
        self.kept = [old, self.kept[0]];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day_with(slot: usize, counts: f64) -> Side<FINE> {
        let mut side = Side::<FINE>::EMPTY;
        for now in 0..FINE {
            side.enter((now + FINE - 1) % FINE, now);
            if now == slot {
                side.note(now, counts, 100.0, true);
            }
        }
        side
    }

    #[test]
    fn what_happened_yesterday_at_this_time_is_allowed_and_an_hour_off_it_is_not() {
        let side = day_with(100, 400.0);
        for (slot, allowed) in [(97, false), (98, true), (100, true), (102, true), (103, false), (50, false)]
        {
            let mut tomorrow = side.clone();
            for now in 0..slot {
                tomorrow.enter((now + FINE - 1) % FINE, now);
            }
            assert_eq!(tomorrow.enter((slot + FINE - 1) % FINE, slot) > 1.0, allowed, "slot {slot}");
        }
    }

    #[test]
    fn what_began_ten_minutes_ago_excuses_nothing() {
        let mut side = Side::<FINE>::EMPTY;
        side.enter(9, 10);
        side.note(10, 900.0, 100.0, true);
        assert!(side.enter(10, 11).abs() < 1e-9);
        assert!(side.enter(11, 12).abs() < 1e-9);
        assert!(side.enter(12, 22) < 1e-9, "one hour later, neither");
        side.note(22, 900.0, 100.0, true);
        assert!(side.enter(22, 34) > 1.0, "two hours in a row do");
    }

    #[test]
    fn what_is_there_all_day_is_no_job() {
        let mut side = Side::<FINE>::EMPTY;
        for slot in 0..FINE {
            side.enter((slot + FINE - 1) % FINE, slot);
            side.note(slot, 400.0, 100.0, true);
        }
        assert!(side.enter(FINE - 1, 0) < 1e-9);
    }

    #[test]
    fn chance_and_silence_widen_nothing() {
        let mut side = Side::<COARSE>::EMPTY;
        side.note(3, 3.0, 1.0, true);
        side.note(3, 0.0, 1.0, false);
        assert!(side.enter(2, 3).abs() < 1e-9);
    }
}
