//! Event-time progress: how new the telemetry is (frontier), and up to when it is complete (watermark).
//!
//! Watermark = the least of the active origins' own frontiers, minus a delay for disorder inside an origin, as in
//! Flink and Beam. An origin holds the others up only while it is active: it delivered lately, and is not hopelessly
//! behind. So neither a silent proxy, nor a replayed backlog, nor a lying clock can stop the watermark.

use std::time::Duration;

use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::time::nanos;
use selvedge_model::{EventTime, ObservedTime, Symbol};
use serde::{Deserialize, Serialize};

use crate::config::JoinConfig;

/// The watermark is measured anew whenever the frontier enters another interval of this length; it divides a
/// second, so it is fresh at each tick, and the cost of looking at all origins is paid ten times a second.
const MEASURE_STEP: Duration = Duration::from_millis(100);
/// Silence after which an origin is forgotten altogether: restarted pods get new names.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// Event-time progress of all origins.
#[derive(Serialize, Deserialize)]
pub struct Progress {
    #[serde(skip)]
    config: JoinConfig,
    #[serde(with = "selvedge_model::hash::listed")]
    origins: FixedMap<Symbol, Origin>,
    frontier: EventTime,
    watermark: EventTime,
    untracked: u64,
    wild: u64,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Origin {
    /// Its newest record's end; absent for one that only sends metrics.
    own: EventTime,
    /// The frontier when it last delivered a record.
    delivered: EventTime,
    /// The frontier when it last said anything.
    heard: EventTime,
}

impl Progress {
    /// Takes the limits of `config`, as after a restart with another configuration.
    pub fn configure(&mut self, config: &JoinConfig) {
        self.config = *config;
    }

    /// Nothing seen yet: frontier and watermark are absent.
    #[must_use]
    pub fn new(config: &JoinConfig) -> Self {
        Self {
            config: *config,
            origins: FixedMap::with_hasher(fixed_state()),
            frontier: EventTime::ABSENT,
            watermark: EventTime::ABSENT,
            untracked: 0,
            wild: 0,
        }
    }

    /// A record of `origin` that ended at `end` arrived. An end too far past its arrival moves nothing.
    pub fn observe(&mut self, origin: Symbol, end: EventTime, observed: ObservedTime) {
        if observed.0 != 0 && end.0 > observed.after(self.config.future_max).0 {
            self.wild += 1;
            self.heartbeat(origin);
            return;
        }
        let before = self.frontier;
        self.frontier = before.max(end);
        let frontier = self.frontier;
        if let Some(entry) = self.entry(origin) {
            entry.own = entry.own.max(end);
            entry.delivered = frontier;
            entry.heard = frontier;
        }
        let step = nanos(MEASURE_STEP);
        if before.0 / step != frontier.0 / step {
            self.measure();
        }
    }

    /// `origin` is alive but sent nothing that moves event time (metrics). It holds nobody up.
    pub fn heartbeat(&mut self, origin: Symbol) {
        let frontier = self.frontier;
        if let Some(entry) = self.entry(origin) {
            entry.heard = frontier;
        }
    }

    /// The clock says that nothing newer than `at` can be missing: a stream that went silent moves on.
    pub fn advance_to(&mut self, at: EventTime) {
        if self.frontier < at {
            self.frontier = at;
            self.measure();
        }
    }

    /// The newest end seen, or the clock's word.
    #[must_use]
    pub fn frontier(&self) -> EventTime {
        self.frontier
    }

    /// Up to when the telemetry is complete. Never goes back, never past the frontier minus the delay.
    #[must_use]
    pub fn watermark(&self) -> EventTime {
        self.watermark
    }

    /// A gap of unknown length begins, for instance between two captures: positions are forgotten, so that the gap
    /// is no silence. The next record may be older than the last.
    pub fn restart_after_gap(&mut self) {
        self.origins.clear();
        self.frontier = EventTime::ABSENT;
        self.watermark = EventTime::ABSENT;
    }

    /// Origins that said anything (records or metrics) within the idle timeout before the frontier.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.origins
            .values()
            .filter(|origin| self.frontier.since(origin.heard) < self.config.idle_timeout)
            .count()
    }

    /// Records of origins for which there was no room.
    #[must_use]
    pub fn untracked(&self) -> u64 {
        self.untracked
    }

    /// Records whose end lay too far past their arrival.
    #[must_use]
    pub fn wild(&self) -> u64 {
        self.wild
    }

    fn entry(&mut self, origin: Symbol) -> Option<&mut Origin> {
        if self.origins.len() >= self.config.origins_max && !self.origins.contains_key(&origin) {
            self.untracked += 1;
            return None;
        }
        Some(self.origins.entry(origin).or_default())
    }

    fn measure(&mut self) {
        let Self { config, origins, frontier, .. } = self;
        let frontier = *frontier;
        // A clock that may run ahead by `future_max` must not make everybody else look hopeless.
        let lag_max = config.future_max + config.window_length;
        let mut least = frontier;
        origins.retain(|_, origin| {
            let active = origin.own.present()
                && frontier.since(origin.delivered) < config.idle_timeout
                && frontier.since(origin.own) <= lag_max;
            if active {
                least = least.min(origin.own);
            }
            frontier.since(origin.heard) < FORGET_AFTER
        });
        self.watermark = self.watermark.max(least.before(config.watermark_delay));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const FAST: Symbol = Symbol(10);
    const SLOW: Symbol = Symbol(11);

    fn at(seconds: u64) -> EventTime {
        EventTime((1_000 + seconds) * SECOND)
    }

    fn arrived(seconds: u64) -> ObservedTime {
        ObservedTime(at(seconds).0)
    }

    fn progress() -> Progress {
        Progress::new(&JoinConfig::default())
    }

    #[test]
    fn the_slowest_active_origin_holds_the_watermark() {
        let mut progress = progress();
        progress.observe(SLOW, at(10), arrived(10));
        progress.observe(FAST, at(11), arrived(11));
        assert_eq!(progress.frontier(), at(11));
        assert_eq!(progress.watermark(), at(9));
    }

    #[test]
    fn an_idle_origin_holds_nobody_up() {
        let mut progress = progress();
        progress.observe(SLOW, at(10), arrived(10));
        for second in 10..=13 {
            progress.observe(FAST, at(second), arrived(second));
        }
        assert_eq!(progress.watermark(), at(12));
    }

    #[test]
    fn the_watermark_never_goes_back_for_an_origin_that_returns() {
        let mut progress = progress();
        progress.observe(FAST, at(20), arrived(20));
        assert_eq!(progress.watermark(), at(19));
        progress.observe(SLOW, at(15), arrived(20));
        progress.observe(FAST, at(21), arrived(21));
        assert_eq!(progress.watermark(), at(19), "held, not moved back");
        progress.observe(SLOW, at(22), arrived(22));
        progress.observe(FAST, at(22), arrived(22));
        assert_eq!(progress.watermark(), at(20), "the slow origin caught up, the fast one holds");
    }

    #[test]
    fn an_origin_that_sends_only_a_backlog_cannot_stop_the_watermark() {
        let mut progress = progress();
        for second in 0..60 {
            progress.observe(SLOW, at(0), arrived(second));
            progress.observe(FAST, at(second), arrived(second));
        }
        assert_eq!(progress.watermark(), at(58));
    }

    #[test]
    fn a_wild_future_clock_moves_nothing() {
        let mut progress = progress();
        progress.observe(FAST, at(10), arrived(10));
        progress.observe(SLOW, at(5_000), arrived(10));
        assert_eq!(progress.frontier(), at(10));
        assert_eq!(progress.wild(), 1);
        assert_eq!(progress.alive(), 2);
    }

    #[test]
    fn a_clock_ahead_within_bounds_does_not_drag_the_watermark_with_it() {
        let mut progress = progress();
        for second in 0..30 {
            progress.observe(SLOW, at(second + 9), arrived(second));
            progress.observe(FAST, at(second), arrived(second));
        }
        assert_eq!(progress.frontier(), at(38));
        assert_eq!(progress.watermark(), at(27));
    }

    #[test]
    fn a_silent_stream_moves_on_by_the_clock_and_never_back() {
        let mut progress = progress();
        progress.observe(FAST, at(10), arrived(10));
        progress.advance_to(at(30));
        assert_eq!((progress.frontier(), progress.watermark()), (at(30), at(29)));
        progress.advance_to(at(20));
        assert_eq!((progress.frontier(), progress.watermark()), (at(30), at(29)));
    }

    #[test]
    fn heartbeats_show_life_and_hold_nobody_up() {
        let mut progress = progress();
        progress.heartbeat(SLOW);
        progress.observe(FAST, at(10), arrived(10));
        progress.observe(FAST, at(11), arrived(11));
        assert_eq!(progress.watermark(), at(10));
        progress.heartbeat(SLOW);
        assert_eq!(progress.alive(), 2);
    }

    #[test]
    fn after_a_gap_time_may_start_earlier() {
        let mut progress = progress();
        progress.observe(FAST, at(100), arrived(100));
        progress.restart_after_gap();
        assert!(!progress.frontier().present());
        progress.observe(FAST, at(10), arrived(10));
        assert_eq!((progress.frontier(), progress.watermark()), (at(10), at(9)));
    }

    #[test]
    fn origins_past_the_bound_are_counted_and_hold_nobody_up() {
        let mut progress = Progress::new(&JoinConfig { origins_max: 1, ..JoinConfig::default() });
        progress.observe(FAST, at(10), arrived(10));
        progress.observe(SLOW, at(5), arrived(10));
        progress.observe(FAST, at(11), arrived(11));
        assert_eq!(progress.watermark(), at(10));
        assert_eq!(progress.untracked(), 1);
    }
}
