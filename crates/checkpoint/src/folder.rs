//! The folder of checkpoints: one file each, named by its position and time, put there as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::format::{Checkpoint, Head, ReadError, SECTION_BYTES_MAX, read_head};

const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".slvckp";
/// For so many days the last checkpoint of a day is kept.
const DAYS_KEPT: u64 = 7;
const DAY: u64 = 86_400_000_000_000;
const FRESH: &str = "checkpoint.new";
/// The owner alone: what a mesh does is nobody else's business.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;

/// A folder of checkpoints. One process at a time: the caller holds a lock.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// A checkpoint in the folder whose head could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its file.
    pub path: PathBuf,
    /// What it is of.
    pub head: Head,
}

/// A file that is named as a checkpoint, whatever it holds.
#[derive(Debug)]
pub struct Examined {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// What it is of, or why that cannot be read.
    pub head: Result<Head, ReadError>,
}

impl Folder {
    /// The folder; it is made when the first checkpoint is written.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a checkpoint there, and says where. It is on the device when this returns; until then there is none. Blocks.
    ///
    /// # Errors
    /// The disk fails. What was there before is untouched.
    pub fn write(&self, checkpoint: &Checkpoint) -> io::Result<PathBuf> {
        fs::DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(&self.path)?;
        let (fresh, path) = (self.path.join(FRESH), self.path.join(name(&checkpoint.head)));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(&fresh)?;
        let mut to = BufWriter::new(file);
        checkpoint.write(&mut to)?;
        to.flush()?;
        to.get_ref().sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(&self.path)?.sync_all()?;
        Ok(path)
    }

    /// What is there, oldest position first. Files whose head cannot be read are left out, with a warning; a file of a newer
    /// format is an error: an older state in its place would be a silent loss.
    ///
    /// # Errors
    /// The folder cannot be listed, or has a file that a newer Selvedge wrote: its path, and why.
    pub fn list(&self) -> Result<Vec<Found>, (PathBuf, ReadError)> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| (self.path.clone(), ReadError::Io(error)))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| (self.path.clone(), ReadError::Io(error)))?.path();
            let ours = path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours);
            if !ours {
                continue;
            }
            let head = File::open(&path).map_err(ReadError::Io).and_then(|mut file| read_head(&mut file));
            match head {
                Ok(head) => found.push(Found { path, head }),
                Err(error @ ReadError::Newer { .. }) => return Err((path, error)),
                Err(error) => tracing::warn!(path = %path.display(), %error, "a checkpoint is left out"),
            }
        }
        found.sort_by_key(|one| (one.head.position, one.head.taken_unix_nano));
        Ok(found)
    }

    /// All files that are named as checkpoints, by name, so oldest position first: what [`Self::list`] leaves out as well.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn examine(&self) -> io::Result<Vec<Examined>> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut examined = Vec::new();
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(is_ours) {
                continue;
            }
            let path = entry.path();
            let head = File::open(&path).map_err(ReadError::Io).and_then(|mut file| read_head(&mut file));
            let bytes = entry.metadata().map_or(0, |metadata| metadata.len());
            examined.push(Examined { path, bytes, head });
        }
        examined.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(examined)
    }

    /// Removes what a restart cannot want any more: all that is older than the one before `start`, the checkpoint that a
    /// restart would begin with; but the last one of each of the latest days stays for people to go back to. Failing to remove
    /// one costs its bytes, so it is only said.
    pub fn prune(&self, start: u64) {
        let Ok(found) = self.list() else { return };
        let before = found.iter().filter(|one| one.head.position < start).count();
        let day = |one: &Found| one.head.taken_unix_nano / DAY;
        let today = found.iter().map(day).max().unwrap_or(0);
        for (at, old) in found.iter().enumerate().take(before.saturating_sub(1)) {
            let last_of_day = found.get(at + 1).is_none_or(|next| day(next) != day(old));
            if last_of_day && today < day(old) + DAYS_KEPT {
                continue;
            }
            if let Err(error) = fs::remove_file(&old.path) {
                tracing::warn!(path = %old.path.display(), %error, "an old checkpoint cannot be removed");
            }
        }
    }
}

impl Found {
    /// Reads all of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&self) -> Result<Checkpoint, ReadError> {
        let file = File::open(&self.path).map_err(ReadError::Io)?;
        Checkpoint::read(&mut BufReader::new(file), SECTION_BYTES_MAX)
    }

    /// In which order to begin with one of `found` (oldest first), or with nothing (`None`), so that what is read again
    /// reaches back `replay` from the newest one, and nothing between the beginning and the journal, which begins at `first`,
    /// is missed. After those the newest older one: what came between it and the journal is lost, what was learned before it
    /// is not. What is older than one that [begins](Head::begins) comes last: better than to know nothing.
    #[must_use]
    pub fn in_order_of_use(found: &[Self], first: u64, replay: Duration) -> Vec<Option<&Self>> {
        let Some(newest) = found.last() else { return Vec::new() };
        let replay = u64::try_from(replay.as_nanos()).unwrap_or(u64::MAX);
        let reach = newest.head.taken_unix_nano.saturating_sub(replay);
        let begins = found.iter().rposition(|one| one.head.begins);
        let (before, found) = found.split_at(begins.unwrap_or(0));
        let whole = found.partition_point(|one| one.head.position < first);
        let (gapped, whole) = found.split_at(whole);
        // A journal that was never cut is all there ever was: as good as a checkpoint of an engine that knew nothing.
        let whole: Vec<Option<&Self>> = (first == 0 && begins.is_none())
            .then_some(None)
            .into_iter()
            .chain(whole.iter().map(Some))
            .collect();
        let old = |one: &Option<&Self>| one.is_none_or(|one| one.head.taken_unix_nano <= reach);
        let (farther, near) = whole.split_at(whole.iter().rposition(old).unwrap_or(0));
        near.iter()
            .chain(farther.iter().rev())
            .copied()
            .chain(gapped.iter().rev().map(Some))
            .chain(before.iter().rev().map(Some))
            .collect()
    }
}

/// By position, and by time: people may make another one of the same position.
fn name(head: &Head) -> String {
    format!("{PREFIX}{:020}-{:020}{SUFFIX}", head.position, head.taken_unix_nano)
}

fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Section;

    const MINUTE: u64 = 60_000_000_000;

    fn at(position: u64, minute: u64) -> Checkpoint {
        let head = Head { position, taken_unix_nano: minute * MINUTE, ..Head::default() };
        let bytes = position.to_le_bytes().to_vec();
        Checkpoint { head, sections: vec![Section { name: "all".to_owned(), version: 1, bytes }] }
    }

    fn filled(positions: &[(u64, u64)]) -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path().join("checkpoints"));
        assert_eq!(folder.list().unwrap(), []);
        for (position, minute) in positions {
            folder.write(&at(*position, *minute)).unwrap();
        }
        (place, folder)
    }

    fn order(folder: &Folder, first: u64, minutes: u64) -> Vec<u64> {
        let found = folder.list().unwrap();
        let order = Found::in_order_of_use(&found, first, Duration::from_secs(60 * minutes));
        order.iter().map(|one| one.map_or(0, |one| one.head.position)).collect()
    }

    #[test]
    fn a_restart_begins_as_far_back_as_was_asked_for_and_misses_nothing_if_it_can() {
        let (_place, folder) = filled(&[(100, 10), (200, 20), (300, 30), (400, 40)]);
        assert_eq!(folder.list().unwrap()[2].read().unwrap(), at(300, 30));
        assert_eq!(order(&folder, 50, 15), [200, 300, 400, 100]);
        assert_eq!(order(&folder, 50, 0), [400, 300, 200, 100]);
        assert_eq!(order(&folder, 250, 15), [300, 400, 200, 100], "nothing is missed");
        assert_eq!(order(&folder, 500, 15), [400, 300, 200, 100], "the journal begins behind all of them");
        assert_eq!(order(&folder, 50, 90), [100, 200, 300, 400]);
        assert_eq!(order(&folder, 0, 15), [200, 300, 400, 100, 0], "a whole journal is the last resort");
        assert_eq!(order(&folder, 0, 90), [0, 100, 200, 300, 400], "it is all that was asked for");
    }

    #[test]
    fn one_older_than_the_start_is_kept_and_the_rest_goes() {
        let (_place, folder) = filled(&[(100, 10), (200, 20), (300, 30), (400, 40)]);
        folder.prune(300);
        assert_eq!(order(&folder, 50, 90), [200, 300, 400]);
        folder.prune(0);
        assert_eq!(order(&folder, 50, 90), [200, 300, 400]);
    }

    #[test]
    fn the_last_of_each_day_is_kept_for_a_week() {
        let days: Vec<(u64, u64)> = (1..=40).map(|half| (half, half * 720)).collect();
        let (_place, folder) = filled(&days);
        folder.prune(40);
        let kept: Vec<u64> = folder.list().unwrap().iter().map(|one| one.head.position).collect();
        assert_eq!(
            kept,
            [29, 31, 33, 35, 37, 39, 40],
            "40 is the first of its day, and so it is that day's last, too"
        );
    }

    #[test]
    fn what_a_person_made_is_where_a_restart_begins() {
        let (_place, folder) = filled(&[(100, 10), (200, 20), (300, 30)]);
        let mut made = at(300, 31);
        made.head.begins = true;
        folder.write(&made).unwrap();
        assert_eq!(folder.list().unwrap().len(), 4, "beside the one of the same position");
        assert_eq!(order(&folder, 0, 15), [300, 300, 200, 100], "the others only when it cannot be read");
        folder.write(&at(400, 40)).unwrap();
        assert_eq!(order(&folder, 0, 90), [300, 400, 300, 200, 100]);
        assert_eq!(order(&folder, 0, 0), [400, 300, 300, 200, 100]);
    }

    #[test]
    fn a_damaged_head_is_left_out_and_a_newer_format_is_refused() {
        let (_place, folder) = filled(&[(100, 10), (200, 20)]);
        let found = folder.list().unwrap();
        let mut bytes = fs::read(&found[1].path).unwrap();
        bytes[20] ^= 1;
        fs::write(&found[1].path, &bytes).unwrap();
        assert_eq!(order(&folder, 50, 15), [100]);
        let examined = folder.examine().unwrap();
        assert!(matches!(examined[1].head, Err(ReadError::Damaged(_))) && examined[0].head.is_ok());
        assert_eq!(examined[1].bytes, bytes.len() as u64);
        bytes[7] = b'9';
        fs::write(&found[1].path, &bytes).unwrap();
        let (path, error) = folder.list().unwrap_err();
        assert_eq!(path, found[1].path);
        assert!(matches!(error, ReadError::Newer { found: 9 }), "{error}");
    }
}
