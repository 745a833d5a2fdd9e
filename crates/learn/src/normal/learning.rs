//! What one minute, and one hour, teach an edge: trimmed, and nothing under suspicion, for a bounded time.

use selvedge_model::Measure;

use super::edge::{EdgeNorm, Teaching};
use super::hot::OVER_TIME;
use super::maths::{exp, narrow};
use super::parameters::{
    self, AMNESTY_MINUTES, BASE_MINUTES, BLOCK_MINUTES, DISPERSION_MINUTES, FREEZE_MINUTES, LEVEL_COUNTS,
    LEVEL_MINUTES, LEVEL_MINUTES_MAX, REBASE_MAX, SUSPICION, TRIM_AFTER_MINUTES, WANDER_MINUTES,
};
use super::scores::Scores;
use super::season;
use super::usual::Usual;

/// Minutes of a fault before it looks like one.
const UNNOTICED_MINUTES: u32 = 5;

/// How long the minute that teaches was, in what windows.
#[derive(Clone, Copy)]
struct Lesson {
    /// Minutes; more than one only without a count.
    times: f64,
    window_seconds: f64,
    teaching: Teaching,
}

impl EdgeNorm {
    /// Learns the open minute, or `times` minutes like it without a count.
    pub(super) fn learn_minutes(
        &mut self,
        times: f64,
        window_seconds: f64,
        scores: &Scores,
        teaching: Teaching,
    ) {
        let lesson = Lesson { times, window_seconds, teaching };
        for measure in Measure::ALL {
            if self.exposure(measure) <= 0.0 {
                continue;
            }
            let raw = f64::from(scores.slow_raw[measure as usize]);
            if teaching == Teaching::Quiet {
                self.learn_block(measure, times);
            }
            if SUSPICION <= raw {
                self.stay_frozen(measure, lesson);
            } else {
                self.learn_measure(measure, lesson, scores);
            }
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "minutes of at most a week"
        )]
        let minutes = times as u32;
        self.learned_minutes = self.learned_minutes.saturating_add(minutes);
    }

    /// The wander of half hours is learned under suspicion too, unless somebody was told: an edge that wanders is not
    /// suspicious because of it.
    fn learn_block(&mut self, measure: Measure, times: f64) {
        let expected = &self.expected[measure as usize];
        let rate = f64::from(expected.mean) * f64::from(expected.level);
        let mean = self.exposure(measure) * rate;
        let variance = if measure.over_time() { mean } else { mean * (1.0 - rate).max(0.0) };
        let counts = self.minute_counts.count(measure) as f64;
        let counts = Usual::trimmed(counts, mean, f64::from(expected.phi));
        let usual = &mut self.usual[measure as usize];
        usual.learn_block(times * counts, times * mean, times * variance);
    }

    /// Under suspicion: only counts, so that after hours what goes on can be accepted as it is.
    fn stay_frozen(&mut self, measure: Measure, lesson: Lesson) {
        let (index, exposure) = (measure as usize, self.exposure(measure));
        let counts = self.minute_counts.count(measure) as f64;
        let usual = &mut self.usual[index];
        if usual.frozen_since == 0 {
            usual.frozen_since = self.minute.max(1);
            (usual.hour_counts, usual.hour_expected) = (0.0, 0.0);
        }
        let expected = lesson.times * exposure * f64::from(self.expected[index].mean);
        usual.hour_counts += narrow(lesson.times * counts);
        usual.hour_expected += narrow(expected);
        // A job that is long enough to look like a fault must be known the next time; a fault that was told need not.
        let since = usual.frozen_since;
        let accepted = FREEZE_MINUTES <= self.minute.saturating_sub(since);
        if let Some(hot) = self.hot.as_mut().filter(|_| lesson.teaching == Teaching::Told) {
            hot.forget(
                measure,
                since.saturating_sub(UNNOTICED_MINUTES).max(self.minute.saturating_sub(1_200)),
            );
        }
        if self.sensitive && measure == Measure::SentKib {
            return;
        }
        if let Some(hot) = self.hot.as_mut().filter(|_| lesson.teaching == Teaching::Quiet) {
            hot.note(measure, counts, exposure * f64::from(self.expected[index].mean));
        }
        if !accepted {
            return;
        }
        let usual = &mut self.usual[index];
        usual.rebase(REBASE_MAX, lesson.teaching == Teaching::Told);
        usual.frozen_since = 0;
        (usual.hour_counts, usual.hour_expected) = (0.0, 0.0);
        self.evidence.clear(parameters::of(measure));
        if measure == Measure::Requests {
            self.silent_expected = 0.0;
        }
    }

    fn learn_measure(&mut self, measure: Measure, lesson: Lesson, scores: &Scores) {
        let (index, parameters) = (measure as usize, parameters::of(measure));
        let (times, exposure) = (lesson.times, self.exposure(measure));
        let counts = self.minute_counts.count(measure) as f64;
        let settling = self.settles(measure);
        let expected = self.expected[index];
        let usual = &mut self.usual[index];
        if usual.frozen_since != 0 {
            usual.frozen_since = 0;
            (usual.hour_counts, usual.hour_expected) = (0.0, 0.0);
        }
        self.evidence.learn(parameters, &scores.said, times);
        let rate = f64::from(expected.mean) * f64::from(expected.level);
        let mean = exposure * rate;
        let young = self.learned_minutes < TRIM_AFTER_MINUTES;
        let trimmed = if young { counts } else { Usual::trimmed(counts, mean, f64::from(expected.phi)) };
        if rate > 0.0 {
            let variance = if measure.over_time() { mean } else { mean * (1.0 - rate).max(0.0) };
            let kept = kept(times, DISPERSION_MINUTES);
            usual.learn_minute_spread(trimmed, mean, variance, times, kept);
            self.learn_windows(measure, rate, lesson, kept);
        }
        let memory = if settling {
            f64::from(AMNESTY_MINUTES)
        } else {
            (LEVEL_COUNTS / mean.max(1e-9)).clamp(LEVEL_MINUTES, LEVEL_MINUTES_MAX)
        };
        let (kept_base, kept_level) = (kept(times, BASE_MINUTES), kept(times, memory));
        self.usual[index].learn(trimmed, exposure * times, &expected, kept_base, kept_level);
        if let Some(hot) = self.hot.as_mut().filter(|_| lesson.teaching == Teaching::Quiet && rate > 0.0) {
            hot.note(measure, counts, exposure * f64::from(expected.mean));
        }
    }

    fn learn_windows(&mut self, measure: Measure, rate: f64, lesson: Lesson, kept: f64) {
        let usual = &mut self.usual[measure as usize];
        let seconds = lesson.window_seconds.max(1e-3);
        if lesson.times > 1.0 {
            let (mean, windows) = (rate * seconds, lesson.times * 60.0 / seconds);
            usual.learn_window_spread(mean * mean * windows, mean, mean, windows, kept);
            return;
        }
        let windows = self.minute_windows as usize;
        let phi = f64::from(self.expected[measure as usize].phi_window);
        let [squares, means, variances, seen] = self.recent.squares(measure, windows, rate, phi, seconds);
        if seen > 0.0 {
            usual.learn_window_spread(squares, means / seen, variances / seen, seen, kept);
        }
    }

    /// Half an hour is over.
    pub(super) fn close_blocks(&mut self) {
        for usual in &mut self.usual {
            usual.close_block(kept(f64::from(BLOCK_MINUTES), WANDER_MINUTES));
        }
    }

    /// The hour of the open minute is over: what it saw goes into the season.
    pub(super) fn learn_hour(&mut self) {
        let (hour, minute) = (self.minute / 60, self.minute / 60 * 60 + 30);
        for measure in Measure::ALL {
            let index = measure as usize;
            let usual = &mut self.usual[index];
            let (counts, expected) = (f64::from(usual.hour_counts), f64::from(usual.hour_expected));
            if usual.frozen_since != 0 {
                continue;
            }
            (usual.hour_counts, usual.hour_expected) = (0.0, 0.0);
            let (seen, gain) = ((counts, expected), parameters::of(measure).season_gain);
            match (index.checked_sub(OVER_TIME), &mut self.hot) {
                (None, hot) => {
                    let day = &mut self.days[index];
                    let of_day = season::at(&[], day, minute);
                    if let Some(hot) = hot {
                        season::learn(&mut hot.weeks[index].0, of_day, hour, seen, gain);
                    }
                    season::learn(day, 0.0, hour, seen, gain);
                }
                (Some(ratio), Some(hot)) => {
                    season::learn(&mut hot.days[ratio], 0.0, hour, seen, gain);
                }
                (Some(_), None) => {}
            }
            let cells: &[i8] = match (index.checked_sub(OVER_TIME), &self.hot) {
                (None, Some(hot)) => &hot.weeks[index].0,
                (None, None) => &self.days[index],
                (Some(ratio), Some(hot)) => &hot.days[ratio],
                (Some(_), None) => &[],
            };
            self.season_means[index] = narrow(season::mean(cells));
        }
    }
}

/// What is left of a sum with a memory of `memory` minutes after `times` of them.
fn kept(times: f64, memory: f64) -> f64 {
    if times <= 1.0 { 1.0 - times / memory } else { exp(-times / memory) }
}
