//! What this process has used so far, from `/proc`; zeros where there is none.

use selvedge_replay::Usage;

use crate::clock::SystemClock;

/// Clock ticks in a second on every Linux that Rust supports (`getconf CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;

/// A measurement that began.
pub(crate) struct Measure {
    clock: SystemClock,
}

impl Measure {
    pub(crate) fn start() -> Self {
        Self { clock: SystemClock::start() }
    }

    /// Wall time since the start, CPU time and peak memory of the process.
    pub(crate) fn read(&self) -> Usage {
        let wall = std::time::Duration::from_nanos(self.clock.run_for().0);
        Usage {
            wall_seconds: wall.as_secs_f64(),
            cpu_seconds: cpu_seconds().unwrap_or(0.0),
            peak_rss_bytes: peak_rss_bytes().unwrap_or(0),
        }
    }
}

/// User and system time: fields 14 and 15 of `/proc/self/stat`, counted after the name in parentheses.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
}
