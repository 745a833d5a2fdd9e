//! The wall clock: whether something keeps it right, and whether it was set while we looked.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::super::check::Check;
use crate::clock::SystemClock;

/// What systemd-timesyncd leaves when it has set the clock.
const TIMESYNCD: &str = "/run/systemd/timesync/synchronized";
/// Seconds that a command may take.
const PATIENCE: &str = "2";
/// A clock that is older than this program is wrong: 2026-01-01, in nanoseconds since 1970.
const EARLIEST: u64 = 1_767_225_600_000_000_000;
/// The two clocks may differ by this much over the moment of a look.
const STEP_MIN: Duration = Duration::from_millis(50);

/// Whether the clock is kept right, and who says so.
type Kept = Option<(bool, &'static str)>;

pub(super) fn look() -> Check {
    judge(SystemClock::read().0, kept())
}

fn judge(now: u64, kept: Kept) -> Check {
    let advice =
        "run chrony or systemd-timesyncd on this machine: windows, leases and certificates go by its clock";
    match kept {
        _ if now < EARLIEST => {
            Check::fail("wall clock", "it is set to a time before this program was made").advise(advice)
        }
        Some((true, by)) => Check::ok("wall clock", format!("kept right, says {by}")),
        Some((false, by)) => Check::warn("wall clock", format!("not synchronised, says {by}")).advise(advice),
        None => Check::unknown("wall clock", "nothing here tells whether it is kept right")
            .advise("in a container the node's clock counts: look there (`timedatectl`, `chronyc tracking`)"),
    }
}

fn kept() -> Kept {
    if Path::new(TIMESYNCD).exists() {
        return Some((true, "systemd-timesyncd"));
    }
    let chrony = told("chronyc", &["-c", "tracking"]).and_then(|text| chrony_says(&text));
    let systemd = || told("timedatectl", &["show", "--property=NTPSynchronized", "--value"]);
    chrony.map(|kept| (kept, "chrony")).or_else(|| match systemd()?.trim() {
        "yes" => Some((true, "systemd")),
        "no" => Some((false, "systemd")),
        _ => None,
    })
}

/// The last column of `chronyc -c tracking` is the leap status.
fn chrony_says(text: &str) -> Option<bool> {
    let (_, leap) = text.trim().rsplit_once(',')?;
    Some(leap != "Not synchronised")
}

/// What a command says, when it is there and succeeds within its time.
fn told(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new("timeout").arg(PATIENCE).arg(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).ok())?
}

/// Watches whether the wall clock is set while everything else is looked at.
pub(crate) struct Drift {
    clock: SystemClock,
    began: (u64, u64),
}

impl Drift {
    pub(crate) fn begin(clock: SystemClock) -> Self {
        Self { clock, began: (SystemClock::read().0, clock.run_for().0) }
    }

    /// Nothing, unless the wall clock was set meanwhile.
    pub(crate) fn end(&self) -> Option<Check> {
        stepped(self.began, (SystemClock::read().0, self.clock.run_for().0))
    }
}

fn stepped((wall, steady): (u64, u64), (wall_after, steady_after): (u64, u64)) -> Option<Check> {
    let elapsed = Duration::from_nanos(steady_after.saturating_sub(steady));
    let expected = wall.saturating_add(elapsed.as_nanos().try_into().unwrap_or(u64::MAX));
    let step = Duration::from_nanos(expected.abs_diff(wall_after));
    let direction = if wall_after < expected { "back" } else { "ahead" };
    (step > STEP_MIN).then(|| {
        let text = format!("it was set {direction} by {step:.1?} within the {elapsed:.1?} of this look");
        Check::warn("wall clock", text).advise(
            "find out what sets it: two programs that keep the time, or a virtual machine that was paused",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::check::Level;
    use super::*;

    #[test]
    fn a_clock_is_judged_by_who_keeps_it_and_by_what_it_shows() {
        let level = |now, kept| judge(now, kept).level;
        assert_eq!(level(0, Some((true, "chrony"))), Level::Fail);
        assert_eq!(level(EARLIEST, Some((true, "chrony"))), Level::Ok);
        assert_eq!(level(EARLIEST, Some((false, "chrony"))), Level::Warn);
        assert_eq!(level(EARLIEST, None), Level::Unknown);
        let line = "A9FEA97B,169.254.169.123,4,1700000000.1,0.00001,0.00002,0.00003,-1.2,0.0,0.01,0.0004,0.0001,16.2,";
        assert_eq!(chrony_says(&format!("{line}Normal\n")), Some(true));
        assert_eq!(chrony_says(&format!("{line}Not synchronised\n")), Some(false));
        assert_eq!(chrony_says("506 Cannot talk to daemon"), None);
    }

    #[test]
    fn a_wall_clock_that_leaves_the_steady_one_was_set() {
        let second = 1_000_000_000;
        assert_eq!(stepped((EARLIEST, 0), (EARLIEST + second, second)), None);
        assert_eq!(
            stepped((EARLIEST, 0), (EARLIEST + second + second / 100, second)),
            None,
            "clocks are slewed"
        );
        let back = stepped((EARLIEST, 0), (EARLIEST, second)).unwrap();
        assert!(back.text.contains("back by 1.0s"), "{back:?}");
        let ahead = stepped((EARLIEST, 0), (EARLIEST + 3 * second, second)).unwrap();
        assert!(ahead.text.contains("ahead by 2.0s"), "{ahead:?}");
    }
}
