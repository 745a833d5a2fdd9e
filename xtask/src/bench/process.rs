//! What the kernel says of a process: its CPU time and its memory.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The kernel counts CPU time in these for user space, on every architecture.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;

/// Where the fields begin, after the name: user and system time of the process itself, or of its children that have ended.
const OWN_TIME: usize = 11;
const CHILDREN_TIME: usize = 13;

/// User and system CPU time of a process since it started, in ticks, but for the threads of that name.
pub(super) fn ticks_without(process: u32, thread_name: &str) -> Result<u64> {
    let process = Path::new("/proc").join(process.to_string());
    let mut ticks = read_ticks(&process.join("stat"), OWN_TIME)?;
    for thread in std::fs::read_dir(process.join("task"))? {
        let thread = thread?.path();
        // A thread may end while we look.
        let name = std::fs::read_to_string(thread.join("comm")).unwrap_or_default();
        if name.trim_end() == thread_name {
            ticks = ticks.saturating_sub(read_ticks(&thread.join("stat"), OWN_TIME).unwrap_or(0));
        }
    }
    Ok(ticks)
}

/// CPU seconds of all children of ours that have ended and were waited for.
pub(super) fn ended_children_cpu_seconds() -> Result<f64> {
    Ok(seconds(read_ticks(Path::new("/proc/self/stat"), CHILDREN_TIME)?))
}

/// Ticks as seconds.
pub(super) fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}

/// CPU time of all threads that a process has now, to the nanosecond: for the little that an idle one takes.
pub(super) fn fine_cpu_time(process: u32) -> Result<Duration> {
    let mut nanos = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end while we look.
        let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanos += first_number(&text).context("a schedstat without a number")?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Memory that a process has resident, in bytes.
pub(super) fn resident_bytes(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    resident(&status).context("no VmRSS in its status")
}

fn resident(status: &str) -> Option<u64> {
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(first_number(kilobytes)? * 1024)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn read_ticks(path: &Path, field: usize) -> Result<u64> {
    let stat = std::fs::read_to_string(path).with_context(|| format!("{} is gone", path.display()))?;
    cpu_ticks(&stat, field).with_context(|| format!("{} has not the shape that is expected", path.display()))
}

/// Two neighbouring fields of `/proc/PID/stat`; the program's name, field 2, may hold anything, so count from its end.
fn cpu_ticks(stat: &str, field: usize) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(field);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_are_user_plus_system_whatever_the_program_is_called() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194304 100 0 0 0 250 50 7 4 20 0 1 0";
        assert_eq!(cpu_ticks(stat, OWN_TIME), Some(300));
        assert_eq!(cpu_ticks(stat, CHILDREN_TIME), Some(11));
        assert_eq!(cpu_ticks("17 (short) S 1", OWN_TIME), None);
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(resident("VmPeak:\t  9 kB\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(resident("Name: zombie\n"), None);
    }

    #[test]
    fn we_ourselves_have_cpu_time_and_memory() {
        let own = std::process::id();
        assert!(resident_bytes(own).unwrap() > 1 << 16);
        assert!(fine_cpu_time(own).unwrap() > Duration::ZERO);
        assert!(ticks_without(own, "nobody").is_ok());
    }
}
