//! Whether somebody who reports an edge was listening: silence of an edge means something only then.
//!
//! Telemetry has no heartbeat of its own: a proxy without requests says nothing, like one whose telemetry is lost. So how
//! often an edge's reporters are usually heard is learned, and a stretch without them is told from its length when they
//! are heard again: one that chance explains was quiet, any other is a gap, in which nothing was silent.

use super::maths::{exp, ln, narrow};
use serde::{Deserialize, Serialize};

/// Memory, in windows: two days of windows of ten seconds.
const MEMORY: f64 = 17_280.0;
/// A stretch without a word that is rarer than this was a gap.
const CHANCE_MIN: f64 = 1e-3;
/// A gap teaches no more than so many windows beyond the longest stretch that would have been quiet: who is heard once an
/// hour is known for it after some hours, and an outage of a busy reporter is no habit.
const GAP_TEACHES: f64 = 8.0;

/// How often somebody who reports an edge is heard.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Presence {
    heard: f32,
    windows: f32,
}

impl Presence {
    /// Notes that it was heard in a window.
    pub(super) fn hear(&mut self) {
        self.note(1.0, 1.0);
    }

    /// Notes a stretch of windows without a word before one in which it was heard; true when it was quiet, false when it
    /// was a gap.
    pub(super) fn resume(&mut self, windows: u64) -> bool {
        let windows = windows as f64;
        // With one of two pseudo-counts for each: even who was always heard may miss a window some day.
        let share = (f64::from(self.heard) + 1.0) / (f64::from(self.windows) + 2.0);
        let longest = ln(CHANCE_MIN) / ln(1.0 - share);
        self.note(0.0, windows.min(longest + GAP_TEACHES));
        windows <= longest
    }

    fn note(&mut self, heard: f64, windows: f64) {
        let kept = exp(-windows / MEMORY);
        self.heard = narrow(f64::from(self.heard) * kept + heard);
        self.windows = narrow(f64::from(self.windows) * kept + windows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_always_heard_was_gone_when_it_is_not_and_who_is_seldom_heard_was_quiet() {
        let (mut always, mut seldom) = (Presence::default(), Presence::default());
        for _ in 0..5_000 {
            always.hear();
        }
        for _ in 0..500 {
            seldom.resume(9);
            seldom.hear();
        }
        assert!(!always.resume(1) && !always.resume(60));
        assert!(seldom.resume(9) && seldom.resume(40));
        assert!(!seldom.resume(400), "more than an hour of somebody who speaks every hundred seconds");
    }

    #[test]
    fn who_is_heard_once_an_hour_is_known_for_it_after_some_hours() {
        let mut hourly = Presence::default();
        let quiet = (0..10).map(|_| {
            hourly.hear();
            hourly.resume(359)
        });
        let quiet: Vec<bool> = quiet.collect();
        assert!(!quiet[0] && quiet[9], "{quiet:?}");
    }

    #[test]
    fn of_a_stranger_a_minute_is_quiet_and_an_hour_is_a_gap() {
        let mut stranger = Presence::default();
        stranger.hear();
        assert!(stranger.resume(6));
        assert!(!stranger.resume(360));
    }
}
