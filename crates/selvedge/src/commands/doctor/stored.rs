//! Journal and checkpoints as they lie there: what a start would make of them. Nothing is locked, nothing is mended.

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use selvedge_checkpoint::{Found, Head, ReadError};
use selvedge_engine::Pipeline;
use selvedge_model::ObservedTime;
use selvedge_receive::journal::{InspectedSegment, Inspection, Mark, Position};

use super::check::{Check, Group, bytes, share};
use super::report::age;
use crate::config::Config;
use crate::journal::checkpoints_of;
use crate::journal_section::JournalSettings;

/// Below the folder: who has it.
const LOCK: &str = "lock";
/// From this share of its budget on the journal is as good as full.
const FULL_FROM: (u64, u64) = (9, 10);
const BAR_TEMPLATE: &str = "reading the journal [{bar:30}] {bytes}/{total_bytes}";

/// A file that is named as a checkpoint.
struct Kept {
    path: PathBuf,
    bytes: u64,
    state: State,
}

enum State {
    /// Edges that it knows.
    Whole(Head, u64),
    Damaged(String),
    Newer(String),
}

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
    let checkpoints = match kept(config, folder) {
        Ok(kept) => judge_checkpoints(&kept, &inspection, settings, now),
        Err(error) => vec![
            Check::fail("checkpoints", format!("cannot be listed: {error}"))
                .advise("run as the user of the engine, or give this one the right to read them"),
        ],
    };
    vec![
        group("journal", &title, judge_journal(&inspection, settings, holder, now)),
        group("checkpoints", "Checkpoints", checkpoints),
    ]
}

/// The process that holds the folder's lock, by the kernel's list of locks: to try the lock would be to take it.
fn holder(folder: &Path) -> Option<u32> {
    let inode = std::fs::metadata(folder.join(LOCK)).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| lock_of(line, inode))
}

/// The process of a line like `1: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF`, when it is about this file.
fn lock_of(line: &str, inode: u64) -> Option<u32> {
    let mut columns = line.split_whitespace().skip_while(|column| *column != "WRITE").skip(1);
    let (pid, file) = (columns.next()?, columns.next()?);
    (file.rsplit(':').next()?.parse() == Ok(inode)).then(|| pid.parse().ok())?
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(BAR_TEMPLATE).expect("the template is valid");
    ProgressBar::new(0).with_style(style)
}

/// Reads every checkpoint as a start would, one after the other.
fn kept(config: &Config, folder: &Path) -> std::io::Result<Vec<Kept>> {
    let examined = checkpoints_of(folder).examine()?;
    let read = |path: &Path, head: Head| {
        let found = Found { path: path.to_owned(), head: head.clone() };
        let checkpoint = match found.read() {
            Ok(checkpoint) => checkpoint,
            Err(error @ ReadError::Newer { .. }) => return State::Newer(error.to_string()),
            Err(error) => return State::Damaged(error.to_string()),
        };
        match Pipeline::resume(&config.engine, config.rules.clone(), &checkpoint) {
            Ok(pipeline) => State::Whole(head, pipeline.stats().edges),
            Err(error) if error.is_newer() => State::Newer(error.to_string()),
            Err(error) => State::Damaged(error.to_string()),
        }
    };
    let kept = examined.into_iter().map(|one| {
        let state = match one.head {
            Ok(head) => read(&one.path, head),
            Err(error @ ReadError::Newer { .. }) => State::Newer(error.to_string()),
            Err(error) => State::Damaged(error.to_string()),
        };
        Kept { path: one.path, bytes: one.bytes, state }
    });
    Ok(kept.collect())
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
        let torn = bytes(last.bytes - last.whole);
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

fn judge_checkpoints(
    kept: &[Kept],
    inspection: &Inspection,
    settings: &JournalSettings,
    now: ObservedTime,
) -> Vec<Check> {
    let mut checks: Vec<Check> = kept.iter().map(|one| judge_one(one, now)).collect();
    if kept.iter().any(|one| matches!(one.state, State::Newer(_))) {
        return checks;
    }
    let whole: Vec<Found> = kept.iter().filter_map(found).collect();
    let first = inspection.first();
    let order = Found::in_order_of_use(&whole, first.0, settings.replay);
    let begin = order.first().copied().flatten();
    let from = begin.map_or(Position(0), |one| Position(one.head.position));
    let (frames, size) = inspection.behind(from);
    let again = format!("reads {frames} batches again ({})", bytes(size));
    let missed = first.0.saturating_sub(from.0);
    checks.push(match begin {
        None if !kept.is_empty() && whole.is_empty() => Check::fail(
            "start",
            format!("no checkpoint can be read: a start learns everything anew, and {again}"),
        )
        .advise("`selvedge baseline import` an export of it, when there is one"),
        None => Check::ok("start", format!("goes on from no checkpoint, and {again}")),
        Some(one) if missed > 0 => Check::warn(
            "start",
            format!(
                "goes on from {}, but the journal begins {missed} batches behind it; {again}",
                one.path.display()
            ),
        )
        .advise("what those batches taught is lost; give the journal more room (`journal.bytes_max`)"),
        Some(one) => Check::ok("start", format!("goes on from {}, and {again}", one.path.display())),
    });
    checks
}

fn found(kept: &Kept) -> Option<Found> {
    match &kept.state {
        State::Whole(head, _) => Some(Found { path: kept.path.clone(), head: head.clone() }),
        State::Damaged(_) | State::Newer(_) => None,
    }
}

fn judge_one(kept: &Kept, now: ObservedTime) -> Check {
    let name = kept.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let size = bytes(kept.bytes);
    match &kept.state {
        State::Whole(head, edges) => {
            let old = age(ObservedTime(head.taken_unix_nano), now);
            let by = selvedge_act::visible(&head.written_by);
            Check::ok(
                name,
                format!("whole, {size}, {edges} edges, {old} old, at position {}, by {by}", head.position),
            )
        }
        State::Damaged(reason) => Check::warn(name, format!("{size}: {reason}"))
            .advise("a start passes it over; look at the disk, and remove it"),
        State::Newer(reason) => Check::fail(name, reason.clone())
            .advise("a start refuses: use the Selvedge that wrote it, or move the folder away to begin anew"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Level;
    use super::*;

    #[test]
    fn who_holds_the_lock_stands_in_the_kernels_list() {
        let line = "1: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF";
        assert_eq!(lock_of(line, 131), Some(4242));
        assert_eq!(lock_of(line, 31), None);
        assert_eq!(lock_of("1: POSIX  ADVISORY  READ 7 08:01:131 0 EOF", 131), None);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()), None);
    }

    fn segment(first: u64, frames: u64, frames_due: Option<u64>) -> InspectedSegment {
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

    fn settings() -> JournalSettings {
        let mut problems = Vec::new();
        let section = crate::journal_section::JournalSection::default();
        let settings = section.check(Path::new("/"), Some(Path::new("/state")), &mut problems).unwrap();
        JournalSettings { replay: std::time::Duration::ZERO, ..settings }
    }

    fn worst(checks: &[Check]) -> (Level, String) {
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

    #[test]
    fn the_checkpoint_that_a_start_begins_with_is_named_with_what_it_reads_again() {
        let at = |position, state: fn(Head) -> State| {
            let head = Head { position, taken_unix_nano: position, ..Head::default() };
            Kept { path: format!("c{position}").into(), bytes: 9, state: state(head) }
        };
        let whole = |position| at(position, |head| State::Whole(head, 3));
        let damaged = |position| at(position, |_| State::Damaged("it was cut".to_owned()));
        let mark = Mark::Absent;
        let journal = Inspection { segments: vec![segment(10, 10, Some(10)), segment(20, 10, None)], mark };
        let judged = |kept: &[Kept]| judge_checkpoints(kept, &journal, &settings(), ObservedTime(99));
        let checks = judged(&[whole(15), whole(25)]);
        assert_eq!(worst(&checks).0, Level::Ok);
        let start = &checks.last().unwrap().text;
        assert!(start.contains("c25") && start.contains("reads 5 batches"), "{start}");
        let checks = judged(&[whole(15), damaged(25)]);
        assert_eq!((checks[1].level, worst(&checks).0), (Level::Warn, Level::Warn));
        assert!(checks[2].text.contains("c15") && checks[2].text.contains("15 batches"), "{checks:?}");
        assert_eq!(worst(&judged(&[damaged(25)])).0, Level::Fail, "everything is learned anew");
        let (level, text) = worst(&judged(&[whole(5)]));
        assert!(level == Level::Warn && text.contains("5 batches behind"), "{text}");
        let newer = judged(&[whole(15), at(25, |_| State::Newer("version 9".to_owned()))]);
        assert_eq!((worst(&newer).0, newer.len()), (Level::Fail, 2), "a start refuses");
        assert_eq!(worst(&judged(&[])).0, Level::Ok);
    }
}
