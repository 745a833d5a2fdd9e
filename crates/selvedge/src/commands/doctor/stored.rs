//! The journal as it lies there: what a start would make of it. Nothing is locked, nothing is mended.

use std::fs::{self, File};
use std::io::IsTerminal as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use selvedge_model::ObservedTime;
use selvedge_receive::journal::{InspectedSegment, Inspection, Mark};

use super::check::{Check, Group, bytes, share};
use super::checkpoints;
use super::report::age;
use crate::config::Config;
use crate::journal_section::JournalSettings;

/// Below the folder: who has it.
const LOCK: &str = "lock";
/// From this share of its budget on the journal is as good as full.
const FULL_FROM: (u64, u64) = (9, 10);
const BAR_TEMPLATE: &str = "reading the journal [{bar:30}] {bytes}/{total_bytes}";

/// Journal and checkpoints; nothing when there is no journal.
pub(super) fn look(config: &Config, now: ObservedTime) -> Vec<Group> {
    let Some(settings) = &config.journal else { return Vec::new() };
    let folder = &settings.journal.folder;
    let holder = holder(folder);
    let bar = bar();
    let looked = Inspection::of(folder, &mut |read, all| {
        bar.set_length(all);
        bar.set_position(read);
    });
    bar.finish_and_clear();
    let group = |name, title: &str, checks| Group { name, title: title.to_owned(), checks };
    let title = format!("Journal in {}", folder.display());
    let inspection = match looked {
        Ok(inspection) => inspection,
        Err((path, error)) => {
            let check = Check::fail("segments", format!("{} cannot be read: {error}", path.display()))
                .advise("run as the user of the engine, or give this one the right to read it");
            return vec![group("journal", &title, vec![check])];
        }
    };
    let journal = group("journal", &title, judge_journal(&inspection, settings, holder, now));
    vec![journal, checkpoints::look(config, settings, &inspection, now)]
}

/// The process that holds the folder's lock, by the kernel's list of locks: to try the lock would be to take it.
fn holder(folder: &Path) -> Option<u32> {
    let path = folder.join(LOCK);
    let inode = fs::metadata(&path).ok()?.ino();
    let device = device(&path);
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| lock_of(line, inode, device.as_deref()))
}

/// The file's device as the kernel's lists name it, `major:minor`. What `stat` says is another one on btrfs.
fn device(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim();
    device_of(&fs::read_to_string("/proc/self/mountinfo").ok()?, mount)
}

/// The third column of the line that begins with this mount.
fn device_of(mounts: &str, mount: &str) -> Option<String> {
    let mut columns = mounts.lines().map(str::split_whitespace);
    columns.find_map(|mut columns| (columns.next()? == mount).then(|| columns.nth(1).map(str::to_owned))?)
}

/// The process of a line like `1: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF`, when it is about this file. Here the device is
/// in hex; one that is not known is taken for the same.
fn lock_of(line: &str, inode: u64, device: Option<&str>) -> Option<u32> {
    let mut columns = line.split_whitespace().skip_while(|column| *column != "WRITE").skip(1);
    let (pid, file) = (columns.next()?, columns.next()?);
    let (listed, number) = file.rsplit_once(':')?;
    let numbers = |text: &str, radix| {
        let (major, minor) = text.split_once(':')?;
        Some((u32::from_str_radix(major, radix).ok()?, u32::from_str_radix(minor, radix).ok()?))
    };
    let same = device.is_none_or(|device| numbers(device, 10) == numbers(listed, 16));
    (same && number.parse() == Ok(inode)).then(|| pid.parse().ok())?
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(BAR_TEMPLATE).expect("the template is valid");
    ProgressBar::new(0).with_style(style)
}

fn judge_journal(
    inspection: &Inspection,
    settings: &JournalSettings,
    holder: Option<u32>,
    now: ObservedTime,
) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(pid) = holder {
        checks.push(Check::ok("in use", format!("by process {pid}: what follows is a moment of it")));
    }
    let segments = &inspection.segments;
    let Some(last) = segments.last() else {
        checks.push(Check::ok("segments", "none yet"));
        return checks;
    };
    checks.push(amount(inspection, settings, now));
    for segment in segments.iter().filter(|segment| segment.newer) {
        let text = format!("{} is of a newer format than this Selvedge reads", segment.path.display());
        checks.push(
            Check::fail("format", text).advise("use the Selvedge that wrote it; do not start this one here"),
        );
    }
    checks.extend(segments.iter().filter(|segment| segment.lost() > 0).map(lost));
    if let (Some(reason), None, false) = (&last.torn, holder, last.newer) {
        let torn = bytes(last.bytes.saturating_sub(last.whole));
        let text = format!("the last segment ends in {torn} that are no whole batch ({reason})");
        checks.push(Check::warn("end", text).advise(
            "nothing to do after a crash: a start cuts them off, and nobody was told that they are stored; \
             else the disk is to be looked at",
        ));
    }
    checks.push(match inspection.mark {
        Mark::At(position) if position < inspection.next() && holder.is_none() => {
            let behind = inspection.next().0 - position.0;
            Check::ok(
                "alerts",
                format!("delivered but for those of the last {behind} batches, which a start tells"),
            )
        }
        Mark::At(_) => Check::ok("alerts", "delivered, as far as the journal goes"),
        Mark::Absent => {
            Check::ok("alerts", "no mark of delivered ones yet: a start tells all that the journal holds")
        }
        Mark::Damaged => Check::warn("alerts", "the mark of delivered ones cannot be read")
            .advise("nothing to do: a start may tell people something twice, under the same key"),
    });
    checks
}

fn amount(inspection: &Inspection, settings: &JournalSettings, now: ObservedTime) -> Check {
    let (held, most) = (inspection.bytes(), settings.journal.bytes_max);
    let received: Vec<_> = inspection.segments.iter().filter_map(|segment| segment.received).collect();
    let (oldest, newest) =
        (received.iter().map(|(first, _)| *first).min(), received.iter().map(|(_, last)| *last).max());
    let ages = match (oldest, newest) {
        (Some(oldest), Some(newest)) => {
            format!(", received {} to {} ago", age(oldest, now), age(newest, now))
        }
        _ => String::new(),
    };
    let (count, frames) =
        (inspection.segments.len(), inspection.segments.iter().map(|one| one.frames).sum::<u64>());
    let text = format!(
        "{count} with {frames} batches{ages}; {} of at most {} ({})",
        bytes(held),
        bytes(most),
        share(held, most)
    );
    let (part, of) = FULL_FROM;
    if held / part * of < most {
        return Check::ok("segments", text);
    }
    Check::warn("segments", text).advise(
        "raise `journal.bytes_max`: at the bound a restart reads less of the past again, and when open windows need \
         all of it batches are refused",
    )
}

fn lost(segment: &InspectedSegment) -> Check {
    let reason = segment.torn.as_deref().unwrap_or("the segment is too short");
    let text = format!(
        "{}: {} batches that were acknowledged cannot be read behind byte {} ({reason})",
        segment.path.display(),
        segment.lost(),
        segment.whole
    );
    Check::fail("lost", text)
        .advise("look at the disk (`dmesg`, SMART); a start goes on without them and counts them")
}

#[cfg(test)]
pub(crate) mod tests {
    use selvedge_receive::journal::Position;

    use super::super::check::Level;
    use super::*;

    #[test]
    fn who_holds_the_lock_stands_in_the_kernels_list() {
        let line = "1: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF";
        assert_eq!(lock_of(line, 131, Some("8:1")), Some(4242));
        assert_eq!(lock_of(line, 31, Some("8:1")), None);
        assert_eq!(lock_of(line, 131, Some("8:17")), None, "a file of the same number on another device");
        assert_eq!(
            lock_of("2: FLOCK  ADVISORY  WRITE 7 fd:10:9 0 EOF", 9, Some("253:16")),
            Some(7),
            "in hex"
        );
        assert_eq!(lock_of(line, 131, None), Some(4242));
        assert_eq!(lock_of("1: POSIX  ADVISORY  READ 7 08:01:131 0 EOF", 131, Some("8:1")), None);
        let mounts = "36 25 8:1 / / rw - ext4 /dev/sda1 rw\n361 36 0:45 / /state rw - btrfs /dev/sdb rw\n";
        assert_eq!(device_of(mounts, "361").as_deref(), Some("0:45"));
        assert_eq!(device_of(mounts, "3"), None);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()), None);
        let lock = File::create(folder.path().join(LOCK)).unwrap();
        lock.lock().unwrap();
        assert_eq!(holder(folder.path()), Some(std::process::id()));
    }

    pub(crate) fn segment(first: u64, frames: u64, frames_due: Option<u64>) -> InspectedSegment {
        InspectedSegment {
            path: format!("{first:020}.otlpcap").into(),
            first: Position(first),
            frames,
            frames_due,
            bytes: 1_000,
            whole: 1_000,
            received: Some((ObservedTime(1), ObservedTime(2))),
            torn: None,
            newer: false,
        }
    }

    pub(crate) fn settings() -> JournalSettings {
        let mut problems = Vec::new();
        let section = crate::journal_section::JournalSection::default();
        let settings = section.check(Path::new("/"), Some(Path::new("/state")), &mut problems).unwrap();
        JournalSettings { replay: std::time::Duration::ZERO, ..settings }
    }

    pub(crate) fn worst(checks: &[Check]) -> (Level, String) {
        let worst = checks.iter().max_by_key(|check| check.level).unwrap();
        (worst.level, worst.text.clone())
    }

    #[test]
    fn a_journal_is_whole_or_says_what_a_start_will_do() {
        let mark = Mark::At(Position(30));
        let good = Inspection { segments: vec![segment(10, 10, Some(10)), segment(20, 10, None)], mark };
        let judged =
            |one: &Inspection, holder| worst(&judge_journal(one, &settings(), holder, ObservedTime(9)));
        assert_eq!(judged(&good, None).0, Level::Ok);
        let mut torn = good.clone();
        torn.segments[1].torn = Some("a frame of 9 bytes ends after 3".to_owned());
        torn.segments[1].bytes = 1_003;
        let (level, text) = judged(&torn, None);
        assert!(level == Level::Warn && text.contains("3 B") && text.contains("ends after 3"), "{text}");
        assert_eq!(judged(&torn, Some(7)).0, Level::Ok, "it is being written");
        torn.segments[1].whole = 1_009;
        assert!(judged(&torn, None).1.contains("0 B"), "it grew since");
        let mut lost = good.clone();
        lost.segments[0].frames = 4;
        let (level, text) = judged(&lost, None);
        assert!(level == Level::Fail && text.contains("6 batches"), "{text}");
        let mut newer = good.clone();
        newer.segments[1].newer = true;
        assert_eq!(judged(&newer, None).0, Level::Fail);
        assert_eq!(judged(&Inspection { mark: Mark::Damaged, ..good.clone() }, None).0, Level::Warn);
        assert_eq!(judged(&Inspection { segments: Vec::new(), mark: Mark::Absent }, None).0, Level::Ok);
        let mut full = good;
        full.segments[0].bytes = 4 << 30;
        assert_eq!(judged(&full, None).0, Level::Warn);
    }
}
