//! How noisy an edge has shown itself: the largest scores of its last days, and scores put in relation to them.

use super::scores::SIGNALS;
use serde::{Deserialize, Serialize};

/// Days that are remembered.
const DAYS: usize = 14;
/// One step of a remembered score.
const STEP: f32 = 0.4;
/// Largest offset: an edge cannot buy more tolerance with bursts below the threshold.
const OFFSET_MAX: f32 = 16.0;
/// Smallest offset: what three bad minutes come to is a transient, which any edge may have, and says nothing about it.
const OFFSET_MIN: f32 = 8.0;
/// Offset of an edge that is not known for two weeks: that of a noisy one.
const OFFSET_YOUNG: f32 = 12.0;
/// Days after which an edge has shown two of each hour of the week, and its own noise.
const DAYS_MATURE: u8 = 14;

/// Largest scores of one kind (slow or quick), by signal and day.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    days: [[u8; DAYS]; SIGNALS],
    today: [u8; SIGNALS],
    offsets: [u8; SIGNALS],
    known: u8,
    next: u8,
}

impl Default for Record {
    fn default() -> Self {
        let mut record = Self {
            days: [[0; DAYS]; SIGNALS],
            today: [0; SIGNALS],
            offsets: [0; SIGNALS],
            known: 0,
            next: 0,
        };
        record.offsets = [code(OFFSET_YOUNG); SIGNALS];
        record
    }
}

impl Record {
    /// `(T - loc) / (1 + 0.1 loc)`, `loc` the mean of the two largest of the last days: a noisy edge earns a higher bar.
    pub(super) fn standardised(&self, signal: usize, raw: f32) -> f32 {
        let offset = f32::from(self.offsets[signal]) * STEP;
        (raw - offset) / (1.0 + 0.1 * offset)
    }

    /// Notes a score of today.
    pub(super) fn note(&mut self, signal: usize, raw: f32) {
        self.today[signal] = self.today[signal].max(code(raw));
    }

    /// The day is over.
    pub(super) fn close_day(&mut self) {
        self.known = self.known.saturating_add(1);
        let mature = DAYS_MATURE <= self.known;
        for signal in 0..SIGNALS {
            self.days[signal][usize::from(self.next)] = std::mem::take(&mut self.today[signal]);
            let (mut first, mut second) = (0_u8, 0_u8);
            for &day in &self.days[signal] {
                second = second.max(day.min(first));
                first = first.max(day);
            }
            let own = u8::midpoint(first, second).clamp(code(OFFSET_MIN), code(OFFSET_MAX));
            self.offsets[signal] = if mature { own } else { own.max(code(OFFSET_YOUNG)) };
        }
        self.next = (self.next + 1) % 14;
    }

    /// True when the edge is known long enough for its scores to say something about others.
    pub(super) fn mature(&self) -> bool {
        DAYS_MATURE <= self.known
    }

    /// Whole days it is known.
    pub(super) fn days(&self) -> u8 {
        self.known
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
fn code(raw: f32) -> u8 {
    (raw / STEP).round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_edge_has_a_higher_bar_up_to_a_limit_and_forgets_after_two_weeks() {
        let mut record = Record::default();
        for _ in 0..DAYS {
            record.note(0, 14.0);
            record.note(1, 90.0);
            record.close_day();
        }
        assert!((record.standardised(0, 14.0)).abs() < 0.05);
        assert!((record.standardised(1, 42.0) - 10.0).abs() < 0.15, "16 and not 90");
        assert!((record.standardised(2, 26.0) - 10.0).abs() < 1e-5, "never noisy");
        for _ in 0..DAYS {
            record.close_day();
        }
        assert!((record.standardised(1, 26.0) - 10.0).abs() < 1e-4);
    }

    #[test]
    fn one_bad_day_is_half_of_an_offset_and_a_young_edge_is_taken_for_noisy() {
        let mut record = Record::default();
        record.close_day();
        assert!(!record.mature() && (record.standardised(0, 12.0)).abs() < 1e-5);
        for day in 0..DAYS {
            record.note(0, if day == 3 { 28.0 } else { 0.0 });
            record.close_day();
        }
        assert!(record.mature() && (record.standardised(0, 14.0)).abs() < 0.2);
    }
}
