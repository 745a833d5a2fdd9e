//! One edge: judges a window by what is known, then learns it.

use std::time::Duration;

use selvedge_model::{EdgeCounts, EventTime, Measure, MeasureClass, Window};
use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Minutes, Said, silence};
use super::hot::{Hot, OVER_TIME};
use super::maths::narrow;
use super::parameters::{
    self, ABSENCE_PHI_MIN, ALTERNATIVES, AMNESTY_MINUTES, ANCHOR_CREDIT, ANCHOR_FREE_DAYS, BLOCK_MINUTES,
    MINUTE_NATS_MAX, REQUESTS_MIN, SETTLING_MINUTES,
};
use super::quick::Recent;
use super::record::Record;
use super::scores::{ABSENCE, SCORE_MIN, SIGNALS, Scores, signals_of};
use super::season::{self, DAY_HOURS, UNSEEN};
use super::usual::{Allowance, Expected, Usual, credit_after_a_day};

const MINUTE: u64 = 60_000_000_000;
/// After a silence longer than this nothing of it is caught up with.
const SILENCE_MAX: Duration = Duration::from_secs(8 * 86_400);
/// Longest time between two looks at a silent edge.
const LOOK_MAX: Duration = Duration::from_hours(1);
/// Less than this share of the records is taken for this share.
const KEPT_MIN: f64 = 1e-3;
/// Requests a minute from which on an edge is hot, and below which it is cold again.
const HOT_FROM: f64 = 1.0;
const COLD_BELOW: f64 = 0.5;

/// Drift from which on somebody is told, as a logarithm: ln 2.5. A week's base wanders by a few percent, and versions of both ends
/// shift it by a fifth each, several in a row by a factor of two; an attacker must stay below.
pub const DRIFT_MAX: f64 = 0.916_290_731_87;
/// The same as a factor.
pub const DRIFT_MAX_TIMES: f64 = 2.5;

/// What was counted of an edge in one window.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// When.
    pub window: Window,
    /// What.
    pub counts: &'a EdgeCounts,
    /// Somebody who reports this edge was heard in this window. Without that nothing is judged and nothing learned: a
    /// gap in the telemetry looks like an outage.
    pub heartbeat: bool,
    /// A new version of either end was seen for the first time.
    pub deployed: bool,
    /// Share of its records that the reporter kept, as it says: above 0, at most 1. Less of it is less exposure.
    pub kept: f64,
}

/// What may be learned from a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teaching {
    /// Verified telemetry of an edge nobody was told about.
    Quiet,
    /// Somebody was told of a deviation of this edge that goes on: what is accepted by timeout is known to people.
    Told,
    /// The telemetry is not verified, or learning is off (storm): nothing is learned.
    Off,
}

/// What one edge normally does, and the evidence against it: about 1.9 KB, and 2.4 KB more for an edge with a request
/// a minute or more. A pure function of what it was given; see `normal.rs` for the rule.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EdgeNorm {
    pub(super) usual: [Usual; Measure::ALL.len()],
    pub(super) expected: [Expected; Measure::ALL.len()],
    pub(super) evidence: Evidence,
    pub(super) recent: Recent,
    pub(super) slow: Record,
    pub(super) quick: Record,
    /// What this minute had so far, and how long it was seen.
    pub(super) minute_counts: EdgeCounts,
    pub(super) minute_seconds: f32,
    /// The share of its records that was kept in the last window: that of calls that do not come is told by nobody.
    kept: f32,
    pub(super) minute_windows: u32,
    /// A window of this minute must not be learned, and so the minute must not.
    minute_off: bool,
    /// The minute that is open, since the epoch.
    pub(super) minute: u32,
    pub(super) learned_minutes: u32,
    requests: u32,
    pub(super) seen_until: EventTime,
    /// Requests that should have come since the last one, and for how long none came.
    pub(super) silent_expected: f32,
    pub(super) silent_seconds: f32,
    amnesty_until: u32,
    settling_until: u32,
    credit: f32,
    pub(super) days: [[i8; DAY_HOURS]; OVER_TIME],
    pub(super) season_means: [f32; Measure::ALL.len()],
    day_slow: [f32; MeasureClass::ALL.len()],
    hour_quick: [f32; MeasureClass::ALL.len()],
    /// A shift of the bytes sent is never accepted without a person: the edge leaves the mesh or guards something.
    pub(super) sensitive: bool,
    pub(super) hot: Option<Box<Hot>>,
}

impl EdgeNorm {
    /// An edge that is seen for the first time. On a `sensitive` one (egress, crown jewels) a shift of the bytes sent is
    /// never accepted by timeout.
    #[must_use]
    pub fn new(first: EventTime, sensitive: bool) -> Self {
        Self {
            usual: Default::default(),
            expected: Default::default(),
            evidence: Evidence::default(),
            recent: Recent::default(),
            slow: Record::default(),
            quick: Record::default(),
            minute_counts: EdgeCounts::default(),
            minute_seconds: 0.0,
            kept: 1.0,
            minute_windows: 0,
            minute_off: false,
            minute: minute_of(first),
            learned_minutes: 0,
            requests: 0,
            seen_until: first,
            silent_expected: 0.0,
            silent_seconds: 0.0,
            amnesty_until: 0,
            settling_until: 0,
            credit: 0.0,
            days: [[UNSEEN; DAY_HOURS]; OVER_TIME],
            season_means: [1.0; Measure::ALL.len()],
            day_slow: [SCORE_MIN; MeasureClass::ALL.len()],
            hour_quick: [SCORE_MIN; MeasureClass::ALL.len()],
            sensitive,
            hot: None,
        }
    }

    /// Judges a window by all that was learned before it. Windows come in order; those without any count may be left
    /// out until [`Self::due`], and count as seen and empty.
    pub fn judge(&mut self, sample: &Sample<'_>) -> Scores {
        let seconds = sample.window.end.since(sample.window.start);
        self.catch_up(sample.window.start, seconds);
        if sample.deployed {
            self.deployed();
        }
        if !sample.heartbeat {
            self.recent.push(None);
            return Scores::NOTHING;
        }
        let seconds = seconds.as_secs_f64();
        let kept = sample.kept.clamp(KEPT_MIN, 1.0);
        self.kept = narrow(kept);
        self.recent.push(Some((sample.counts, kept)));
        self.minute_counts.merge(sample.counts);
        self.minute_seconds += narrow(seconds * kept);
        self.minute_windows += 1;
        if sample.counts.count(Measure::Requests) == 0 {
            self.count_silence(seconds * kept);
        } else {
            (self.silent_expected, self.silent_seconds) = (0.0, 0.0);
        }
        let mut scores = Scores { heard: true, known: self.known(), ..Scores::NOTHING };
        self.judge_quickly(seconds, &mut scores);
        if self.minute < minute_of(sample.window.end) {
            self.judge_minutes(1.0, &mut scores);
        }
        scores
    }

    /// Learns a window that was just judged. One of [`Teaching::Off`] keeps its whole minute from being learned.
    pub fn learn(&mut self, sample: &Sample<'_>, scores: &Scores, teaching: Teaching) {
        let ends = self.minute < minute_of(sample.window.end);
        self.seen_until = self.seen_until.max(sample.window.end);
        let more = u32::try_from(sample.counts.count(Measure::Requests)).unwrap_or(u32::MAX);
        self.requests = self.requests.saturating_add(if scores.heard { more } else { 0 });
        self.minute_off |= teaching == Teaching::Off;
        if !ends {
            return;
        }
        if scores.heard && !self.minute_off {
            let seconds = sample.window.end.since(sample.window.start).as_secs_f64();
            self.learn_minutes(1.0, seconds, scores, teaching);
        }
        self.open(minute_of(sample.window.end));
    }

    /// The next time at which a window without a count has to be judged all the same: the open minute must end, or the
    /// silence begins to mean something.
    #[must_use]
    pub fn due(&self) -> EventTime {
        let minute_end = (u64::from(self.minute) + 1) * MINUTE;
        let restless = self.usual.iter().any(|usual| usual.frozen_since != 0)
            || self.evidence.sums.iter().any(|&sum| sum > 1.0);
        if restless || self.minute_counts != EdgeCounts::default() {
            return EventTime(minute_end);
        }
        let wait = 1.0 / f64::from(self.expected[0].down).max(1e-6);
        let later = self.seen_until.after(Duration::from_secs_f64(wait).min(LOOK_MAX));
        EventTime(later.0.next_multiple_of(MINUTE).max(minute_end))
    }

    /// An hour is over: the largest quick score of each class in it, for the calibration; nothing while the edge is not
    /// known for two weeks. `room` says whether a busy edge may take the memory of a hot one.
    pub fn close_hour(&mut self, now: EventTime, window: Duration, room: bool) -> Option<[f32; 5]> {
        self.catch_up(now, window);
        if room && self.hot.is_none() && self.busy() {
            self.hot = Some(Box::new(Hot::new(self.minute)));
        } else if self.requests_a_minute() < COLD_BELOW && 1 < self.slow.days() {
            self.hot = None;
        }
        let largest = std::mem::replace(&mut self.hour_quick, [SCORE_MIN; MeasureClass::ALL.len()]);
        self.quick.mature().then_some(largest)
    }

    /// A day is over: the largest slow score of each class in it, likewise. Moves the trusted level.
    pub fn close_day(&mut self) -> Option<[f32; 5]> {
        let largest = std::mem::replace(&mut self.day_slow, [SCORE_MIN; MeasureClass::ALL.len()]);
        let mature = self.slow.mature();
        self.slow.close_day();
        self.quick.close_day();
        let mut used = 0.0_f64;
        for measure in Measure::ALL {
            let usual = &mut self.usual[measure as usize];
            if usual.frozen_since == 0 {
                let days = u32::from(self.slow.days());
                let season = f64::from(self.season_means[measure as usize]);
                used = used.max(usual.move_anchor(measure, days, f64::from(self.credit), season));
            }
        }
        self.credit = narrow(credit_after_a_day(f64::from(self.credit), used));
        mature.then_some(largest)
    }

    /// How far a measure has drifted from its trusted level, as a logarithm: what it is now over what it may have become
    /// at 0.6 % a day and a little more after deployments. Slow poisoning shows here and nowhere else: a base that follows
    /// an attacker finds nothing unusual. Zero while the mesh is in learn mode. To be looked at once a day, against
    /// [`DRIFT_MAX`].
    #[must_use]
    pub fn drift(&self, measure: Measure) -> f64 {
        if u32::from(self.slow.days()) <= ANCHOR_FREE_DAYS {
            return 0.0;
        }
        let index = measure as usize;
        self.usual[index].drift(measure, f64::from(self.season_means[index]))
    }

    /// The share of its records that was kept in the last window, as whoever sampled them said.
    #[must_use]
    pub fn kept(&self) -> f64 {
        f64::from(self.kept)
    }

    /// What a measure is expected to count in a window of `seconds` with `requests` requests, season and level included.
    #[must_use]
    pub fn expects(&self, measure: Measure, seconds: f64, requests: u64) -> f64 {
        let expected = &self.expected[measure as usize];
        let exposure = if measure.over_time() { seconds } else { requests as f64 };
        exposure * f64::from(expected.mean) * f64::from(expected.level)
    }

    /// True when it has, or would have with room, the memory of a hot edge.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.hot.is_some() || HOT_FROM <= self.requests_a_minute()
    }

    fn requests_a_minute(&self) -> f64 {
        60.0 * f64::from(self.expected[0].mean) / f64::from(self.expected[0].season).max(1e-9)
    }

    fn known(&self) -> bool {
        1 <= self.slow.days() && REQUESTS_MIN <= self.requests
    }

    fn settling(&self) -> bool {
        self.minute < self.settling_until
    }

    /// True while a new version may do with a measure what it likes, within bounds.
    pub(super) fn settles(&self, measure: Measure) -> bool {
        self.settling() && excusable(measure)
    }

    fn amnesty(&self) -> bool {
        self.minute < self.amnesty_until
    }

    /// A new version of an end, which may do as it likes for a while. What was suspected before it came is not its doing, and
    /// would be the cheapest way to be forgotten.
    fn deployed(&mut self) {
        if self.usual.iter().any(|usual| usual.frozen_since != 0) {
            return;
        }
        self.amnesty_until = self.minute + AMNESTY_MINUTES;
        if !self.settling() {
            for measure in Measure::ALL.into_iter().filter(|measure| excusable(*measure)) {
                self.usual[measure as usize].forget_to_a_day();
            }
            self.credit += narrow(ANCHOR_CREDIT);
        }
        self.settling_until = self.minute + SETTLING_MINUTES;
        self.prepare();
    }

    fn count_silence(&mut self, seconds: f64) {
        self.silent_expected += narrow(f64::from(self.expected[0].down) * seconds);
        self.silent_seconds += narrow(seconds);
    }

    fn silence(&self) -> f64 {
        let expected = f64::from(self.silent_expected);
        if expected < 1.0 {
            return 0.0;
        }
        silence(expected, f64::from(self.expected[0].phi).max(ABSENCE_PHI_MIN))
    }

    fn judge_quickly(&mut self, seconds: f64, scores: &mut Scores) {
        let sums = self.recent.sums(seconds);
        let amnesty = self.amnesty();
        for measure in Measure::ALL {
            let signal = measure as usize;
            let raw =
                if amnesty && shifts(measure) { 0.0 } else { sums.score(measure, &self.expected[signal]) };
            self.note_quick(signal, narrow(raw), scores);
        }
        let silence = if amnesty { 0.0 } else { self.silence() };
        self.note_quick(ABSENCE, narrow(silence), scores);
        for (largest, class) in self.hour_quick.iter_mut().zip(MeasureClass::ALL) {
            *largest = largest.max(scores.quick_of(class).1);
        }
    }

    fn note_quick(&mut self, signal: usize, raw: f32, scores: &mut Scores) {
        if raw > 0.0 {
            scores.quick[signal] = self.quick.standardised(signal, raw);
            self.quick.note(signal, raw);
        }
    }

    /// Adds the open minute, or `times` empty ones, to the evidence.
    pub(super) fn judge_minutes(&mut self, times: f64, scores: &mut Scores) {
        let amnesty = self.amnesty();
        let mut slow = [SCORE_MIN; SIGNALS];
        let mut said: Said = [0.0; ALTERNATIVES];
        for measure in Measure::ALL {
            let (signal, parameters) = (measure as usize, parameters::of(measure));
            let exposure = self.exposure(measure);
            let expected = self.expected[signal];
            let counts = self.minute_counts.count(measure) as f64;
            let ratio = !measure.over_time();
            let raw = if amnesty && shifts(measure) {
                self.evidence.clear(parameters);
                0.0
            } else if exposure > 0.0 && expected.up > 0.0 {
                let minutes = Minutes { counts, exposure, times, ratio };
                self.evidence.add(parameters, &expected, minutes, &mut said)
            } else {
                f64::from(scores.slow_raw[signal])
            };
            scores.slow_raw[signal] = narrow(raw);
        }
        let lasting = MINUTE_NATS_MAX * f64::from(self.silent_seconds) / 60.0;
        scores.slow_raw[ABSENCE] = if amnesty { 0.0 } else { narrow(self.silence().min(lasting)) };
        for (signal, &raw) in scores.slow_raw.iter().enumerate() {
            if raw > 0.0 {
                slow[signal] = self.slow.standardised(signal, raw);
                self.slow.note(signal, raw);
            }
        }
        for (largest, class) in self.day_slow.iter_mut().zip(MeasureClass::ALL) {
            let of_class = signals_of(class).map(|signal| slow[signal]);
            *largest = of_class.fold(*largest, f32::max);
        }
        scores.said = said;
        scores.slow = Some(slow);
    }

    /// Exposure of a measure in the open minute.
    pub(super) fn exposure(&self, measure: Measure) -> f64 {
        if measure.over_time() { f64::from(self.minute_seconds) } else { self.minute_counts.requests as f64 }
    }

    /// Makes up for windows that were left out because nothing was counted in them.
    fn catch_up(&mut self, until: EventTime, window: Duration) {
        if until <= self.seen_until {
            return;
        }
        let missed = until.since(self.seen_until);
        if SILENCE_MAX < missed {
            self.seen_until = until;
            self.open(minute_of(until));
            return;
        }
        let windows = missed.as_nanos().checked_div(window.as_nanos()).unwrap_or(0);
        let kept = self.kept();
        self.recent.push_empty(u64::try_from(windows).unwrap_or(u64::MAX), kept);
        while self.seen_until < until {
            let minute_end = (u64::from(self.minute) + 1) * MINUTE;
            let fresh = self.minute_seconds <= 0.0 && self.minute_counts == EdgeCounts::default();
            let to = if fresh {
                let hour_end = (u64::from(self.minute) / 60 + 1) * 60 * MINUTE;
                hour_end.min(until.0 / MINUTE * MINUTE).max(minute_end)
            } else {
                minute_end
            };
            let to = EventTime(to.min(until.0));
            let seconds = to.since(self.seen_until).as_secs_f64();
            self.count_silence(seconds * kept);
            self.seen_until = to;
            let times = f64::from(minute_of(to) - self.minute);
            let windows = seconds / window.as_secs_f64().max(1e-3);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "windows of one minute"
            )]
            let windows = (windows / times.max(1.0)).round() as u32;
            self.minute_windows += windows;
            if times < 1.0 {
                self.minute_seconds += narrow(seconds * kept);
                break;
            }
            self.minute_seconds = narrow((f64::from(self.minute_seconds) + seconds * kept) / times);
            let mut scores = Scores { heard: true, ..Scores::NOTHING };
            self.judge_minutes(times, &mut scores);
            if !self.minute_off {
                self.learn_minutes(times, window.as_secs_f64(), &scores, Teaching::Quiet);
            }
            self.open(minute_of(to));
        }
    }

    /// Opens a minute: what is normal in it follows from all that was learned.
    pub(super) fn open(&mut self, minute: u32) {
        if self.minute / BLOCK_MINUTES != minute / BLOCK_MINUTES {
            self.close_blocks();
        }
        let hour_over = self.minute / 60 != minute / 60;
        if hour_over {
            self.learn_hour();
        }
        self.minute = minute;
        self.minute_counts = EdgeCounts::default();
        self.minute_seconds = 0.0;
        self.minute_windows = 0;
        self.minute_off = false;
        self.prepare();
    }

    pub(super) fn prepare(&mut self) {
        if let Some(hot) = &mut self.hot {
            hot.enter(self.minute);
        }
        for measure in Measure::ALL {
            let index = measure as usize;
            let up = self.hot.as_ref().map_or(0.0, |hot| f64::from(hot.allowed_up[index]));
            let down = self.hot.as_ref().and_then(|hot| hot.allowed_down.get(index).copied());
            let down = f64::from(down.unwrap_or(0.0));
            let settling = self.settles(measure);
            let allowance = Allowance { up, down, settling, amnesty: settling && self.amnesty() };
            let season = self.ln_season(measure);
            self.expected[index] = self.usual[index].expected(measure, season, allowance);
        }
    }

    fn ln_season(&self, measure: Measure) -> f64 {
        let index = measure as usize;
        let hot = self.hot.as_ref();
        match index.checked_sub(OVER_TIME) {
            None => {
                let week = hot.map_or(&[][..], |hot| &hot.weeks[index].0);
                season::at(week, &self.days[index], self.minute)
            }
            Some(ratio) => hot.map_or(0.0, |hot| season::at(&[], &hot.days[ratio], self.minute)),
        }
    }
}

/// What a new version may shift. One that fails more than the one before is told as whatever fails is.
fn excusable(measure: Measure) -> bool {
    measure.class() != MeasureClass::Errors
}

/// What any new version may shift as it likes: latency, but for its far tail.
fn shifts(measure: Measure) -> bool {
    matches!(measure, Measure::OverMedian | Measure::OverQ90 | Measure::OverQ99)
}

/// Minutes since the epoch.
pub(super) fn minute_of(at: EventTime) -> u32 {
    u32::try_from(at.0 / MINUTE).unwrap_or(u32::MAX)
}
