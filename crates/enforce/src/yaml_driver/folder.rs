//! The folder itself: what is there, what is ours, what has to change.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use super::{Failure, MARKER, NAME_PREFIX, Refusal, Refused, RenderedFile, Report, YamlError};

/// Files of the folder that are looked at.
const ENTRIES_MAX: usize = 100_000;
/// Bytes of one file. A longer one of ours is not read to its end, and rewritten.
const FILE_BYTES_MAX: usize = 1 << 20;
/// Files on their way to their name: `.NAME.selvedge-tmp`.
const TEMPORARY_SUFFIX: &str = ".selvedge-tmp";

/// What stands under a name of ours.
enum Found {
    Ours(Vec<u8>),
    Foreign,
}

/// Makes the folder equal to the wanted set.
pub(super) fn reconcile(folder: &Path, wanted: &[RenderedFile]) -> Result<Report, YamlError> {
    let mut report = Report::default();
    let mut found = look(folder, &mut report)?;
    for (name, content) in contents(wanted, &mut report) {
        match found.remove(&name) {
            Some(Found::Foreign) => report.refused.push(Refused { name, reason: Refusal::Foreign }),
            Some(Found::Ours(old)) if old == content => report.unchanged += 1,
            old => match write(folder, &name, &content) {
                Ok(()) if old.is_some() => report.rewritten.push(name),
                Ok(()) => report.written.push(name),
                Err(source) => report.failed.push(Failure { name, doing: "write", source }),
            },
        }
    }
    for (name, old) in found {
        if matches!(old, Found::Foreign) {
            report.refused.push(Refused { name, reason: Refusal::Foreign });
            continue;
        }
        match fs::remove_file(folder.join(&name)) {
            Ok(()) => report.removed.push(name),
            Err(source) => report.failed.push(Failure { name, doing: "remove", source }),
        }
    }
    if report.written.len() + report.rewritten.len() + report.removed.len() > 0 {
        sync(folder, &mut report);
    }
    Ok(report)
}

/// What the wanted files hold, by name. A name that is wanted twice is written as neither.
fn contents(wanted: &[RenderedFile], report: &mut Report) -> BTreeMap<String, Vec<u8>> {
    let mut contents = BTreeMap::new();
    for file in wanted {
        let RenderedFile { name, expires, text } = file;
        let expires = expires.lines().next().unwrap_or_default();
        let ending = if text.ends_with('\n') { "" } else { "\n" };
        let content = format!("{MARKER}\n# expires: {expires}\n{text}{ending}");
        let once = wanted.iter().filter(|other| other.name == *name).count() == 1;
        let reason = match content.len() {
            _ if !is_own_name(name) || !once => Refusal::Name,
            length if length > FILE_BYTES_MAX => Refusal::TooLong,
            _ => {
                contents.insert(name.clone(), content.into_bytes());
                continue;
            }
        };
        report.refused.push(Refused { name: name.clone(), reason });
    }
    contents
}

fn is_own_name(name: &str) -> bool {
    let stem = name.strip_prefix(NAME_PREFIX).and_then(|rest| rest.strip_suffix(".yaml"));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    stem.is_some_and(|stem| !stem.is_empty() && stem.len() <= 200 && stem.bytes().all(plain))
}

/// Everything under names of ours. Leftovers of a write that was cut off are cleared away.
fn look(folder: &Path, report: &mut Report) -> Result<BTreeMap<String, Found>, YamlError> {
    let unreadable = |source| YamlError::Folder { folder: folder.to_owned(), source };
    let mut found = BTreeMap::new();
    for (count, entry) in fs::read_dir(folder).map_err(unreadable)?.enumerate() {
        if count == ENTRIES_MAX {
            return Err(YamlError::TooManyFiles { folder: folder.to_owned(), entries_max: ENTRIES_MAX });
        }
        let Ok(name) = entry.map_err(unreadable)?.file_name().into_string() else { continue };
        let temporary = name.strip_prefix('.').and_then(|name| name.strip_suffix(TEMPORARY_SUFFIX));
        if !is_own_name(temporary.unwrap_or(&name)) {
            continue;
        }
        match read(&folder.join(&name), temporary.is_some()) {
            Ok(Found::Ours(_)) if temporary.is_some() => {
                if let Err(source) = fs::remove_file(folder.join(&name)) {
                    report.failed.push(Failure { name, doing: "remove", source });
                }
            }
            Ok(_) if temporary.is_some() => {}
            Ok(content) => {
                found.insert(name, content);
            }
            Err(source) => {
                // Unread it may be anybody's: it is left alone, and known to be in the way.
                report.failed.push(Failure { name: name.clone(), doing: "read", source });
                found.insert(name, Found::Foreign);
            }
        }
    }
    Ok(found)
}

fn read(path: &Path, torn_allowed: bool) -> io::Result<Found> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(Found::Foreign);
    }
    let mut content = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
    let first = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let torn = torn_allowed && MARKER.as_bytes().starts_with(first);
    Ok(if first == MARKER.as_bytes() || torn { Found::Ours(content) } else { Found::Foreign })
}

/// Beside its place, to the disk, then into its place.
fn write(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!(".{name}{TEMPORARY_SUFFIX}"));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
    let moved = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, folder.join(name)));
    if moved.is_err()
        && let Err(error) = fs::remove_file(&temporary)
    {
        tracing::warn!(%error, file = %temporary.display(), "an unfinished file is left; the next run clears it");
    }
    moved
}

/// Renames and removals reach the disk with their folder.
fn sync(folder: &Path, report: &mut Report) {
    if let Err(source) = File::open(folder).and_then(|folder| folder.sync_all()) {
        report.failed.push(Failure { name: ".".to_owned(), doing: "sync", source });
    }
}
