//! The one place that reads the system's clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use selvedge_model::time::nanos;
use selvedge_model::{ObservedTime, SteadyTime};

/// The system's wall clock, and its monotonic clock since this was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Nanoseconds since the start, by the clock that nobody can set.
    pub(crate) fn run_for(&self) -> SteadyTime {
        SteadyTime(nanos(self.started.elapsed()))
    }

    /// Nanoseconds since the Unix epoch; zero for a clock set before it.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    pub(crate) fn read() -> ObservedTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        ObservedTime(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl selvedge_receive::Clock for SystemClock {
    fn now(&self) -> ObservedTime {
        Self::read()
    }

    fn steady(&self) -> SteadyTime {
        self.run_for()
    }
}

impl selvedge_act::WallClock for SystemClock {
    fn now_unix_nano(&self) -> u64 {
        Self::read().0
    }
}
