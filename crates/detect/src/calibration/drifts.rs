//! How far edges drift from their trusted level when nothing is wrong, by the mesh's own record.
//!
//! A fixed bar is passed the more often the more edges there are: of 1,000 edges two a week pass it in quiet weeks. What is
//! further than all that the last 28 days have brought comes once in 28 days, whatever the mesh: each of the drifts of
//! that time, and the one at hand, is as likely to be the largest.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Days that are remembered.
const DAYS: u64 = 28;
/// Part of the budget of pages.
const SHARE: f64 = 0.25;
/// The largest of a day that are remembered.
const KEPT: usize = 8;
/// The bar is never higher, whatever the record says: who owns one loud edge must not buy silence for another. Poisoning is to
/// be told before a factor of 6.5, and the trusted level itself may have grown by 0.6 % a day for four weeks.
const BAR_MAX: f64 = 5.0;

/// The largest drifts of the last days, as factors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Drifts {
    /// By day, oldest first; largest first.
    days: VecDeque<(u64, Vec<f64>)>,
}

impl Drifts {
    /// What a drift must exceed to wake somebody, `least` where the record says nothing.
    pub(crate) fn bar(&self, pages_a_week: f64, least: f64) -> f64 {
        let wanted = SHARE * pages_a_week * f64::from(u32::try_from(DAYS / 7).unwrap_or(4));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
        let rank = (wanted as usize).clamp(1, KEPT) - 1;
        let mut largest: Vec<f64> = self.days.iter().flat_map(|(_, largest)| largest).copied().collect();
        largest.sort_unstable_by(|left, right| right.total_cmp(left));
        largest.get(rank).copied().unwrap_or(least).max(least)
    }

    /// Takes in the drifts of a day that ended, and forgets the oldest day.
    pub(crate) fn observe(&mut self, day: u64, drifts: impl Iterator<Item = f64>) {
        let mut largest: Vec<f64> = drifts.map(|times| times.min(BAR_MAX)).collect();
        largest.sort_unstable_by(|left, right| right.total_cmp(left));
        largest.truncate(KEPT);
        self.days.retain(|(other, _)| day < other + DAYS && *other != day);
        if !largest.is_empty() {
            self.days.push_back((day, largest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: f64 = 2.5;

    /// Scenario: meshes of several sizes, whose edges drift by factors from the same law (one in a thousand of those that are told
    /// is more than fivefold), for two years.
    /// Guarantees: what exceeds the bar comes some once in four weeks, though large meshes have ten times as many drifts.
    #[test]
    fn the_bar_is_passed_as_seldom_in_a_large_mesh_as_in_a_small_one() {
        for a_day in [1_u64, 3, 10] {
            let (mut drifts, mut seed, mut passed) = (Drifts::default(), 7_u64, 0);
            for day in 0..728 {
                let today: Vec<f64> = (0..a_day)
                    .map(|_| {
                        seed = seed
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1_442_695_040_888_963_407);
                        LEAST
                            / (1.0 - f64::from(u32::try_from(seed >> 33).unwrap()) / 2_f64.powi(31)).powf(0.1)
                    })
                    .collect();
                let bar = drifts.bar(1.0, LEAST);
                passed += usize::from(day >= 28 && today.iter().any(|times| *times > bar));
                drifts.observe(day, today.into_iter());
            }
            assert!((4..=45).contains(&passed), "{passed} in 700 days with {a_day} drifts a day");
        }
    }

    /// Scenario: an edge that has drifted a hundredfold stays there for ten days, and is told at the end of each.
    /// Guarantees: it does not hide that another drifts more than fivefold, and is forgotten after 28 days.
    #[test]
    fn a_loud_drift_raises_the_bar_no_higher_than_it_may_be_and_is_forgotten() {
        let mut drifts = Drifts::default();
        assert!((drifts.bar(1.0, LEAST) - LEAST).abs() < 1e-9);
        for day in 0..10 {
            drifts.observe(day, [3.0, 100.0].into_iter());
            assert!(drifts.bar(1.0, LEAST) < 5.1);
        }
        drifts.observe(36, [2.6].into_iter());
        assert!((drifts.bar(1.0, LEAST) - BAR_MAX).abs() < 1e-9);
        drifts.observe(37, std::iter::empty());
        assert!((drifts.bar(1.0, LEAST) - 2.6).abs() < 1e-9);
    }

    #[test]
    fn a_larger_budget_lowers_the_bar() {
        let mut drifts = Drifts::default();
        drifts.observe(1, [3.0, 2.9, 2.8, 2.7].into_iter());
        assert!((drifts.bar(4.0, LEAST) - 2.7).abs() < 1e-9);
    }
}
