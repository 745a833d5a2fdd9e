//! The usual course of a day and of a week, one byte an hour: steps of 3 % from the edge's base.

use super::maths::{exp, ln};

/// Hours of a week; the first one begins at the epoch's weekday, which is as good as any.
pub(super) const WEEK_HOURS: usize = 168;
pub(super) const DAY_HOURS: usize = 24;
const WEEK_MINUTES: u32 = 10_080;
/// Logarithm of one step; a byte reaches from a 45th to 45 times the base.
const STEP: f64 = 0.03;
/// This hour has not been seen yet.
pub(super) const UNSEEN: i8 = i8::MIN;
/// Gain from which on the first sight is believed.
const ALL_THE_WAY: f64 = 0.2;
/// Counts that the value of before is worth against those of one hour.
const PRIOR_COUNTS: f64 = 8.0;

/// Logarithm of the season at `minute` (since the epoch): between the middles of two hours on a straight line. An hour
/// of the week that was not seen is that of the day; one of the day that was not seen is the base.
pub(super) fn at(week: &[i8], day: &[i8], minute: u32) -> f64 {
    // Half an hour back, so that whole numbers are the middles.
    let shifted = minute + WEEK_MINUTES - 30;
    let (hour, part) = (shifted / 60, f64::from(shifted % 60) / 60.0);
    let before = cell(week, day, hour);
    let after = cell(week, day, hour + 1);
    STEP * (before + (after - before) * part)
}

/// Moves the cell of one hour a part (`gain`) of the way to what it saw: `counts` where the base alone had expected
/// `expected`. An hour that was not seen starts at `fallback`, and moves all the way where hours differ more than days.
pub(super) fn learn(cells: &mut [i8], fallback: f64, hour: u32, (counts, expected): (f64, f64), gain: f64) {
    let index = hour as usize % cells.len().max(1);
    let Some(cell) = cells.get_mut(index) else { return };
    let old = if *cell == UNSEEN { fallback } else { f64::from(*cell) * STEP };
    // Factors are averaged and not their logarithms: the mean logarithm of what fluctuates is below that of its mean, and
    // season and base would drift apart for ever.
    let old = exp(old);
    let seen = (counts + PRIOR_COUNTS * old) / (expected + PRIOR_COUNTS);
    let all = *cell == UNSEEN && ALL_THE_WAY < gain;
    let moved = ln(if all { seen } else { old + gain * (seen - old) });
    #[expect(clippy::cast_possible_truncation, reason = "clamped to a byte")]
    let code = (moved / STEP).round().clamp(-127.0, 127.0) as i8;
    *cell = code;
}

/// Mean factor of the hours that were seen; 1 without any.
pub(super) fn mean(cells: &[i8]) -> f64 {
    let seen = cells.iter().filter(|&&code| code != UNSEEN);
    let (sum, count) =
        seen.fold((0.0, 0.0), |(sum, count), &code| (sum + exp(f64::from(code) * STEP), count + 1.0));
    if count > 0.0 { sum / count } else { 1.0 }
}

fn cell(week: &[i8], day: &[i8], hour: u32) -> f64 {
    let known = |cells: &[i8]| {
        let code = *cells.get(hour as usize % cells.len().max(1))?;
        (code != UNSEEN).then_some(f64::from(code))
    };
    known(week).or_else(|| known(day)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unseen_week_is_the_day_and_an_unseen_day_is_the_base() {
        let (week, mut day) = ([UNSEEN; WEEK_HOURS], [UNSEEN; DAY_HOURS]);
        assert!(at(&week, &day, 90).abs() < 1e-12);
        day = [10; DAY_HOURS];
        assert!((at(&week, &day, 90) - 0.3).abs() < 1e-12);
    }

    #[test]
    fn hours_are_joined_by_straight_lines_between_their_middles() {
        let mut day = [0; DAY_HOURS];
        day[1] = 10;
        assert!((at(&[], &day, 90) - 0.3).abs() < 1e-12);
        assert!((at(&[], &day, 60) - 0.15).abs() < 1e-12);
        assert!((at(&[], &day, 30)).abs() < 1e-12);
        // The last hour of a day is joined to the first of the next one.
        day[0] = 20;
        assert!((at(&[], &day, 24 * 60) - 0.3).abs() < 1e-12);
    }

    #[test]
    fn a_busy_hour_is_learned_from_its_counts_and_an_empty_one_stays() {
        let mut day = [UNSEEN; DAY_HOURS];
        learn(&mut day, 0.0, 5, (2_000.0, 1_000.0), 0.3);
        assert!((22..=24).contains(&day[5]), "ln 2 is 23 steps");
        learn(&mut day, 0.0, 5, (0.0, 0.0), 0.3);
        assert!((22..=24).contains(&day[5]), "without exposure nothing is learned");
    }
}
