//! The one place that reads the system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use selvedge_model::ObservedTime;

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemClock;

impl SystemClock {
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
}

impl selvedge_act::WallClock for SystemClock {
    fn now_unix_nano(&self) -> u64 {
        Self::read().0
    }
}
