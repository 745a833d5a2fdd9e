//! How long a deny lasts, by which clock.
//!
//! A wall clock can be set: forward, and a lease measured by it ends early; back, and it lasts for years. So while the
//! process lives a lease is a number of seconds on the clock that nobody can set, and the wall-clock time of its end is
//! only written down for people and for the next process. When the two drift apart by more than a minute, the written
//! time is corrected, so that the next process reads what is true.
//!
//! After a restart the wall clock is all there is. What it says is left is taken, but never more than a whole lease: a
//! clock that was set back in between prolongs by one lease at most. One that was set forward in between looks like a
//! long absence and cannot be told from it; so a lease that seems to have run out while nobody watched is kept for a
//! short grace, in which new evidence may still renew it.

use std::time::Duration;

use selvedge_model::{ObservedTime, SteadyTime};

/// Distance of the two clocks from which on the written end is corrected.
const DRIFT_MAX: Duration = Duration::from_mins(1);
/// What is left, at least, of a lease that seems to have run out while the process was down.
const RESTART_GRACE: Duration = Duration::from_secs(30);

/// One moment on both of our clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The clock that nobody can set.
    pub steady: SteadyTime,
    /// The clock that people read.
    pub wall: ObservedTime,
}

/// A span of time that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    since: SteadyTime,
    lasts: Duration,
}

impl Lease {
    pub(crate) fn granted(now: Now, lasts: Duration) -> Self {
        Self { since: now.steady, lasts }
    }

    /// What is left of a lease that another process granted, by the end that it wrote down.
    pub(crate) fn restored(now: Now, expires: ObservedTime, ttl: Duration) -> Self {
        let left = Duration::from_nanos(expires.0.saturating_sub(now.wall.0));
        Self { since: now.steady, lasts: left.min(ttl).max(RESTART_GRACE.min(ttl)) }
    }

    pub(crate) fn left(&self, now: Now) -> Duration {
        self.lasts.saturating_sub(now.steady.since(self.since))
    }

    pub(crate) fn over(&self, now: Now) -> bool {
        self.left(now).is_zero()
    }

    /// Its end by the wall clock, as that is set now.
    pub(crate) fn expires(&self, now: Now) -> ObservedTime {
        now.wall.after(self.left(now))
    }

    /// The end to write down instead of `written`, when that is no longer true.
    pub(crate) fn corrected(&self, now: Now, written: ObservedTime) -> Option<ObservedTime> {
        let expires = self.expires(now);
        (Duration::from_nanos(expires.0.abs_diff(written.0)) > DRIFT_MAX).then_some(expires)
    }
}
