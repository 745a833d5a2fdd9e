//! Checkpoints as they lie there: what a start would make of them, and which one it goes on from.

use std::path::{Path, PathBuf};

use selvedge_checkpoint::{Examined, Found, Head, ReadError};
use selvedge_model::ObservedTime;
use selvedge_receive::journal::{Inspection, Position};

use super::check::{Check, Group, bytes};
use super::report::age;
use crate::checkpoint::{Beginning, Read, beginning, read};
use crate::config::Config;
use crate::journal::checkpoints_of;
use crate::journal_section::JournalSettings;

/// Characters of the version that wrote one.
const VERSION_CHARS_MAX: usize = 20;

/// A file that is named as a checkpoint.
struct Kept {
    path: PathBuf,
    bytes: u64,
    /// What it is of, if that can be read.
    head: Option<Head>,
    state: State,
}

enum State {
    /// Edges that it knows.
    Whole(u64),
    Damaged(String),
    Newer(String),
}

pub(super) fn look(
    config: &Config,
    settings: &JournalSettings,
    inspection: &Inspection,
    now: ObservedTime,
) -> Group {
    let folder = checkpoints_of(&settings.journal.folder);
    let checks = match folder.examine() {
        Ok(examined) => {
            let kept: Vec<Kept> = examined.into_iter().filter_map(|one| Kept::of(one, config)).collect();
            judge(&kept, inspection, settings, now)
        }
        Err(error) => vec![
            Check::fail("checkpoints", format!("cannot be listed: {error}"))
                .advise("run as the user of the engine, or give this one the right to read them"),
        ],
    };
    Group { name: "checkpoints", title: format!("Checkpoints in {}", folder.path().display()), checks }
}

impl Kept {
    /// Reads all of it as a start would. One that a running engine removed meanwhile is none.
    fn of(one: Examined, config: &Config) -> Option<Self> {
        let Examined { path, bytes, head } = one;
        let (head, state) = match head {
            Err(error) if is_gone(&error) => return None,
            Err(error @ ReadError::Newer { .. }) => (None, State::Newer(error.to_string())),
            Err(error) => (None, State::Damaged(error.to_string())),
            Ok(head) => {
                let found = Found { path: path.clone(), head: head.clone() };
                let state = match read(&found, &config.engine, &config.rules) {
                    Read::Whole(pipeline) => State::Whole(pipeline.stats().edges),
                    Read::Newer(error) => State::Newer(error.to_string()),
                    Read::Damaged(error) if error.downcast_ref().is_some_and(is_gone) => return None,
                    Read::Damaged(error) => State::Damaged(error.to_string()),
                };
                (Some(head), state)
            }
        };
        Some(Self { path, bytes, head, state })
    }

    /// What a start finds: a file whose head can be read.
    fn found(&self) -> Option<Found> {
        Some(Found { path: self.path.clone(), head: self.head.clone()? })
    }

    fn is_newer(&self) -> bool {
        matches!(self.state, State::Newer(_))
    }

    fn read(&self) -> Read<()> {
        match &self.state {
            State::Whole(_) => Read::Whole(()),
            State::Damaged(reason) => Read::Damaged(anyhow::anyhow!("{reason}")),
            State::Newer(reason) => Read::Newer(anyhow::anyhow!("{reason}")),
        }
    }
}

fn is_gone(error: &ReadError) -> bool {
    matches!(error, ReadError::Io(error) if error.kind() == std::io::ErrorKind::NotFound)
}

fn judge(
    kept: &[Kept],
    inspection: &Inspection,
    settings: &JournalSettings,
    now: ObservedTime,
) -> Vec<Check> {
    let mut found: Vec<Found> = kept.iter().filter_map(Kept::found).collect();
    // As `Folder::list` has them: people may have named a file otherwise.
    found.sort_by_key(|one| (one.head.position, one.head.taken_unix_nano));
    let read = |one: &Found| {
        let of = kept.iter().find(|kept| kept.path == one.path);
        of.expect("what was found was found among these").read()
    };
    let begin = beginning(&found, inspection.first().0, settings.replay, read);
    // A file of a newer format ends every start, a newer part only one that comes to it.
    let ends_all = kept.iter().any(|one| one.is_newer() && one.head.is_none());
    let refused = match &begin {
        Beginning::Refused(one, _) => Some(&one.path),
        _ => None,
    };
    let refuses = |one: &Kept| one.is_newer() && (one.head.is_none() || refused == Some(&one.path));
    let mut checks: Vec<Check> = kept.iter().map(|one| judge_one(one, refuses(one), now)).collect();
    if !ends_all {
        checks.extend(start(&begin, !kept.is_empty(), inspection));
    }
    checks
}

/// What a start does that is not refused.
fn start(begin: &Beginning<'_, ()>, any: bool, inspection: &Inspection) -> Option<Check> {
    const SUBJECT: &str = "start";
    let from = match begin {
        Beginning::Refused(..) => return None,
        Beginning::From(one, ()) => Some(*one),
        Beginning::Journal | Beginning::Nothing => None,
    };
    let position = from.map_or(Position(0), |one| Position(one.head.position));
    let (frames, size) = inspection.behind(position);
    let again = format!("reads {frames} batches again ({})", bytes(size));
    let Some(one) = from else {
        if any && matches!(begin, Beginning::Nothing) {
            let text = format!("no checkpoint can be read: a start learns everything anew, and {again}");
            let advice = "`selvedge baseline import` an export of it, when there is one";
            return Some(Check::fail(SUBJECT, text).advise(advice));
        }
        return Some(Check::ok(SUBJECT, format!("goes on from no checkpoint, and {again}")));
    };
    let (name, missed) = (name(&one.path), inspection.first().0.saturating_sub(position.0));
    Some(if missed > 0 {
        let text = format!("goes on from {name}, but the journal begins {missed} batches behind it; {again}");
        Check::warn(SUBJECT, text)
            .advise("what those batches taught is lost; give the journal more room (`journal.bytes_max`)")
    } else {
        Check::ok(SUBJECT, format!("goes on from {name}, and {again}"))
    })
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn judge_one(kept: &Kept, refuses: bool, now: ObservedTime) -> Check {
    let (name, size) = (name(&kept.path), bytes(kept.bytes));
    let subject = kept
        .head
        .as_ref()
        .map_or_else(|| "no position".to_owned(), |head| format!("position {}", head.position));
    match &kept.state {
        State::Whole(edges) => {
            let of = kept.head.as_ref().map_or_else(String::new, |head| {
                let by = selvedge_act::clip(&selvedge_act::visible(&head.written_by), VERSION_CHARS_MAX);
                format!("{} old, by {by}", age(ObservedTime(head.taken_unix_nano), now))
            });
            Check::ok(subject, format!("whole, {size}, {edges} edges, {of}: {name}"))
        }
        State::Damaged(reason) => Check::warn(subject, format!("{reason} ({size}): {name}"))
            .advise("a start passes it over; look at the disk, and remove it"),
        State::Newer(reason) if refuses => Check::fail(subject, format!("{reason}: {name}"))
            .advise("a start refuses: use the Selvedge that wrote it, or move the folder away to begin anew"),
        State::Newer(reason) => Check::warn(subject, format!("{reason}: {name}")).advise(
            "a start does not come to it now, and refuses once it does: use the Selvedge that wrote it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use selvedge_receive::journal::Mark;

    use super::super::check::Level;
    use super::super::stored::tests::{segment, settings, worst};
    use super::*;

    fn at(position: u64, state: State) -> Kept {
        let head = Head { position, taken_unix_nano: position, ..Head::default() };
        Kept { path: format!("c{position}").into(), bytes: 9, head: Some(head), state }
    }

    fn whole(position: u64) -> Kept {
        at(position, State::Whole(3))
    }

    fn damaged(position: u64) -> Kept {
        at(position, State::Damaged("it was cut".to_owned()))
    }

    fn newer(position: u64) -> Kept {
        at(position, State::Newer("version 9".to_owned()))
    }

    #[test]
    fn the_checkpoint_that_a_start_begins_with_is_named_with_what_it_reads_again() {
        let mark = Mark::Absent;
        let journal = Inspection { segments: vec![segment(10, 10, Some(10)), segment(20, 10, None)], mark };
        let judged = |kept: &[Kept]| judge(kept, &journal, &settings(), ObservedTime(99));
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
        let refused = judged(&[whole(15), newer(25)]);
        assert_eq!((worst(&refused).0, refused.len()), (Level::Fail, 2), "a start refuses");
        assert_eq!(worst(&judged(&[])).0, Level::Ok);
    }

    /// Guarantees: what a start is said to go on from is in its own order, in which the newest one counts also when it is damaged.
    #[test]
    fn a_damaged_newest_one_still_says_how_far_back_a_start_reads() {
        let mark = Mark::Absent;
        let journal = Inspection { segments: vec![segment(10, 30, None)], mark };
        let settings = JournalSettings { replay: Duration::from_nanos(12), ..settings() };
        let judged = |kept: &[Kept]| judge(kept, &journal, &settings, ObservedTime(99));
        let start = |kept: &[Kept]| judged(kept).last().unwrap().text.clone();
        // Back from 35 is 23: a start goes on from 20, whether or not the newest one can be read. Back from 30 were 18.
        assert!(start(&[whole(15), whole(20), whole(30), damaged(35)]).contains("c20"));
        assert!(
            start(&[damaged(35), whole(15), whole(20), whole(30)]).contains("c20"),
            "whatever they are named"
        );
        // One of a newer part ends a start that comes to it, and no other.
        let checks = judged(&[whole(15), whole(20), whole(30), newer(35)]);
        assert_eq!((checks[3].level, checks.len()), (Level::Warn, 5), "{checks:?}");
        let checks = judged(&[whole(15), newer(20), whole(30), whole(35)]);
        assert_eq!((checks[1].level, checks.len()), (Level::Fail, 4), "{checks:?}");
        let headless = Kept { head: None, ..newer(20) };
        let checks = judged(&[headless, whole(30), whole(35)]);
        assert_eq!((checks[0].level, checks.len()), (Level::Fail, 3), "a newer format ends every start");
    }

    #[test]
    fn one_that_is_removed_under_the_look_is_left_out() {
        let config = crate::config::load(None).unwrap();
        let path = PathBuf::from("/nowhere/checkpoint-1-1.slvckp");
        let removed = || ReadError::Io(std::io::ErrorKind::NotFound.into());
        let before = Examined { path: path.clone(), bytes: 9, head: Err(removed()) };
        assert!(Kept::of(before, &config).is_none());
        let after = Examined { path, bytes: 9, head: Ok(Head::default()) };
        assert!(Kept::of(after, &config).is_none());
        let other = Examined { path: "p".into(), bytes: 9, head: Err(ReadError::Foreign) };
        assert!(Kept::of(other, &config).is_some());
    }

    #[test]
    fn a_file_is_told_by_its_position() {
        let check = judge_one(&whole(15), false, ObservedTime(99));
        assert_eq!(check.subject, "position 15");
        assert!(check.text.ends_with(": c15"), "{check:?}");
    }
}
