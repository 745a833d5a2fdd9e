//! Three times that are never mixed: when it happened (sender), when we received it (us), and how long we have run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When something happened, by the sender's clock: nanoseconds since the Unix epoch. Zero means "not given".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventTime(pub u64);

/// When we received something, by our clock: nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObservedTime(pub u64);

/// How far a clock of ours that nobody can set has run: nanoseconds since an arbitrary start, the same for the life of
/// the process. Only differences mean anything; they do not change when the wall clock is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SteadyTime(pub u64);

impl EventTime {
    /// The sender gave no time.
    pub const ABSENT: Self = Self(0);

    /// True when the sender gave a time.
    #[must_use]
    pub fn present(self) -> bool {
        self.0 != 0
    }

    /// This time moved later; stops at the end of the representable range.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// This time moved earlier; stops at the epoch.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }

    /// Time since `earlier`; zero when `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl ObservedTime {
    /// This time moved earlier; stops at the epoch.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }

    /// This time moved later; stops at the end of the representable range.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }
}

impl SteadyTime {
    /// In a recording the receipt times are the only clock there is: they play both parts.
    #[must_use]
    pub fn recorded(observed: ObservedTime) -> Self {
        Self(observed.0)
    }

    /// This time moved later; stops at the end of the representable range.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// Time since `earlier`; zero when `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A tumbling event-time interval `[start, start + length)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Inclusive start.
    pub start: EventTime,
    /// Exclusive end.
    pub end: EventTime,
}

impl Window {
    /// The window of `length` that holds `at`. A zero `length` is treated as one nanosecond.
    #[must_use]
    pub fn holding(at: EventTime, length: Duration) -> Self {
        let length_ns = nanos(length).max(1);
        let start = at.0 - at.0 % length_ns;
        Self { start: EventTime(start), end: EventTime(start.saturating_add(length_ns)) }
    }
}

/// A duration in whole nanoseconds, saturating after 584 years.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_its_start_and_not_its_end() {
        let window = Window::holding(EventTime(25), Duration::from_nanos(10));
        assert_eq!(window, Window { start: EventTime(20), end: EventTime(30) });
        assert_eq!(Window::holding(window.end, Duration::from_nanos(10)).start, window.end);
    }
}
