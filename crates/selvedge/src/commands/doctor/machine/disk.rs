//! Folders that a start writes to: whether it can, whether there is room, and what a sync costs there.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::check::{Check, Level, bytes};
use crate::clock::SystemClock;
use crate::config::Config;

/// Syncs that are timed.
const ROUNDS: usize = 9;
/// What is written before each: one frame of a small batch.
const ROUND_BYTES: usize = 4_096;
/// A device that answers faster than this, or a file system that keeps files in memory, does not wait for a medium.
const SYNC_MIN: Duration = Duration::from_micros(20);
/// From here on senders with short time limits suffer: Envoy's exporters give up after seconds, and each batch may wait for two.
const SYNC_SLOW: Duration = Duration::from_millis(100);

/// File systems by the number that `statfs` gives (linux/magic.h), and what is to be said of them.
const KINDS: &[(i64, &str, Kind)] = &[
    (0x0102_1994, "tmpfs", Kind::Memory),
    (0x8584_58f6, "ramfs", Kind::Memory),
    (0x794c_7630, "overlay", Kind::Layer),
    (0x0000_6969, "nfs", Kind::Network),
    (0xff53_4d42, "cifs", Kind::Network),
    (0xfe53_4d42, "smb2", Kind::Network),
    (0x6573_5546, "fuse", Kind::Network),
    (0x0102_1997, "9p", Kind::Network),
    (0x0000_ef53, "ext4", Kind::Disk),
    (0x5846_5342, "xfs", Kind::Disk),
    (0x9123_683e, "btrfs", Kind::Disk),
    (0x2fc1_2fc1, "zfs", Kind::Disk),
    (0xf2f5_2010, "f2fs", Kind::Disk),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    Layer,
    Network,
    Disk,
}

/// A folder that a start writes to.
struct Place {
    what: &'static str,
    key: &'static str,
    path: PathBuf,
    /// Bytes that it may come to hold.
    bytes_max: u64,
    /// What is acknowledged must be on the device.
    durable: bool,
    /// A start does without it, aloud, when it cannot be had.
    optional: bool,
}

/// What is there.
#[derive(Debug)]
struct Facts {
    /// The folder, or the nearest one above it that is there.
    found: PathBuf,
    exists: bool,
    /// Whose folder it is, and who we are.
    owner: (u32, u32),
    /// Why nothing can be written.
    unwritable: Option<Unwritable>,
    bytes_free: Option<u64>,
    /// Bytes of the files that are in it.
    bytes_used: u64,
    kind: Option<(&'static str, Kind)>,
    /// Times of syncs, in order of length.
    syncs: Vec<Duration>,
}

#[derive(Debug)]
struct Unwritable {
    reason: String,
    /// There is no room, or no more of it for this user.
    full: bool,
}

impl From<&io::Error> for Unwritable {
    fn from(error: &io::Error) -> Self {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        Self { reason: error.to_string(), full }
    }
}

pub(super) fn look(config: &Config, clock: &SystemClock) -> Vec<Check> {
    let mut checks = Vec::new();
    if config.journal.is_none() {
        let text = "off, or nowhere to be: what is acknowledged does not outlive the process";
        checks.push(Check::warn("journal", text).advise("set `journal.path` to a folder on a disk"));
    }
    for place in places(config) {
        match facts(&place, clock) {
            Ok(facts) => checks.extend(judge(&place, &facts)),
            Err(error) => checks.push(
                Check::fail(place.what, format!("{}: {error}", place.path.display()))
                    .advise(format!("set `{}` to a folder that can be used", place.key)),
            ),
        }
    }
    checks
}

fn places(config: &Config) -> Vec<Place> {
    let place = |what, key, path: &Path, bytes_max, durable| Place {
        what,
        key,
        path: path.to_owned(),
        bytes_max,
        durable,
        optional: false,
    };
    let journal = config.journal.as_ref().map(|settings| {
        let one = &settings.journal;
        let journal = place("journal", "journal.path", &one.folder, one.bytes_max, true);
        Place { optional: settings.by_convention, ..journal }
    });
    let leases = config.enforcement.as_ref();
    let leases = leases.map(|one| place("leases and audit log", "quarantine.folder", &one.folder, 0, true));
    let history = config.sql.as_ref().and_then(|sql| sql.history.as_ref());
    let history =
        history.map(|one| place("SQL history", "sql.history.folder", &one.folder, one.bytes_max, false));
    [journal, leases, history].into_iter().flatten().collect()
}

fn facts(place: &Place, clock: &SystemClock) -> io::Result<Facts> {
    let absolute = std::path::absolute(&place.path)?;
    let found = absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned();
    let metadata = fs::metadata(&found)?;
    if !metadata.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            format!("{} is no folder", found.display()),
        ));
    }
    let system = rustix::fs::statfs(&found).ok();
    let room = rustix::fs::statvfs(&found).ok();
    let kind = system.and_then(|system| {
        let of_type = |(known, ..): &&(i64, _, _)| *known == system.f_type & 0xffff_ffff;
        KINDS.iter().find(of_type).map(|(_, name, kind)| (*name, *kind))
    });
    let (syncs, unwritable) = match time_syncs(&found, clock) {
        Ok(syncs) => (syncs, None),
        Err(error) => (Vec::new(), Some(Unwritable::from(&error))),
    };
    Ok(Facts {
        exists: found == absolute,
        owner: (metadata.uid(), fs::metadata("/proc/self")?.uid()),
        unwritable,
        bytes_free: room.map(|room| room.f_bavail.saturating_mul(room.f_frsize)),
        bytes_used: if found == absolute { used(&found) } else { 0 },
        kind,
        syncs,
        found,
    })
}

/// Bytes of the files of a folder, not of those below it.
fn used(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).filter(fs::Metadata::is_file).map(|file| file.len()).sum()
}

/// How long it takes until what was written is on the device, in a file of our own that is gone afterwards.
fn time_syncs(folder: &Path, clock: &SystemClock) -> io::Result<Vec<Duration>> {
    let path = folder.join(format!(".selvedge-doctor-{}", std::process::id()));
    let mut file = File::options().write(true).create_new(true).open(&path)?;
    let mut timed = || -> io::Result<Vec<Duration>> {
        let mut syncs = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            file.write_all(&[0x5a; ROUND_BYTES])?;
            let began = clock.run_for();
            file.sync_data()?;
            syncs.push(clock.run_for().since(began));
        }
        syncs.sort_unstable();
        Ok(syncs)
    };
    let timed = timed();
    fs::remove_file(&path)?;
    timed
}

fn judge(place: &Place, facts: &Facts) -> Vec<Check> {
    let path = place.path.display();
    if let Some(unwritable) = &facts.unwritable {
        let unwritable = judge_unwritable(place, facts, unwritable);
        return [unwritable].into_iter().chain(room(place, facts)).collect();
    }
    let there = if facts.exists {
        "writable".to_owned()
    } else {
        format!("will be made in {}", facts.found.display())
    };
    let mut checks = vec![Check::ok(place.what, format!("{path}: {there}"))];
    checks.extend(room(place, facts));
    checks.extend(kind(place, facts));
    if place.durable {
        checks.extend(syncs(place, facts));
    }
    checks
}

fn judge_unwritable(place: &Place, facts: &Facts, Unwritable { reason, full }: &Unwritable) -> Check {
    let ((owner, user), found) = (facts.owner, facts.found.display());
    let level = if place.optional { Level::Warn } else { Level::Fail };
    if *full {
        let text = format!("{found} cannot be written to: {reason}");
        return Check::new(level, place.what, text).advise(make_room(place));
    }
    let text = format!("{found} cannot be written to: {reason} (owner: user {owner}, we are user {user})");
    let advice = format!("run as its owner, `chown` it, mount it writable, or set `{}`", place.key);
    Check::new(level, place.what, text).advise(advice)
}

fn make_room(place: &Place) -> String {
    let on_full = "on a full disk batches are refused, however old what is kept";
    match place.key.rsplit_once('.') {
        Some((section, _)) if place.bytes_max > 0 => {
            format!("make room, or lower its budget (`{section}.bytes_max`): {on_full}")
        }
        _ => format!("make room, or set `{}`", place.key),
    }
}

fn room(place: &Place, facts: &Facts) -> Option<Check> {
    let (free, wanted) = (facts.bytes_free?, place.bytes_max.saturating_sub(facts.bytes_used));
    let subject = format!("{}, room", place.what);
    let text = format!("{} free", bytes(free));
    if place.bytes_max == 0 {
        return Some(Check::ok(subject, text));
    }
    let more = format!("it may grow by {} (its budget: {})", bytes(wanted), bytes(place.bytes_max));
    if free >= wanted {
        return Some(Check::ok(subject, format!("{text}, and {more}")));
    }
    Some(Check::warn(subject, format!("{text}, but {more}")).advise(make_room(place)))
}

fn kind(place: &Place, facts: &Facts) -> Option<Check> {
    let (name, kind) = facts.kind?;
    let subject = format!("{}, file system", place.what);
    let advice = format!("set `{}` to a folder on a disk (in a container: a volume)", place.key);
    Some(match kind {
        Kind::Disk => Check::ok(subject, name),
        Kind::Memory => {
            Check::warn(subject, format!("{name} is memory: gone with the machine, counted as memory"))
                .advise(advice)
        }
        Kind::Layer => {
            Check::warn(subject, format!("{name} is a container's own layer: gone with the container"))
                .advise(advice)
        }
        Kind::Network => Check::warn(
            subject,
            format!("{name}: locks and syncs are worth what the other end makes of them"),
        )
        .advise(advice),
    })
}

fn syncs(place: &Place, facts: &Facts) -> Option<Check> {
    let (median, longest) = (*facts.syncs.get(facts.syncs.len() / 2)?, *facts.syncs.last()?);
    let subject = format!("{}, fdatasync", place.what);
    let text = format!("{median:.1?} in the middle, {longest:.1?} at most of {}", facts.syncs.len());
    if median < SYNC_MIN {
        return Some(
            Check::warn(subject, format!("{text}: faster than any medium, so it does not wait for one"))
                .advise(
                    "a power cut may take what was acknowledged; use a disk whose cache is written on a sync",
                ),
        );
    }
    let meaning = format!("{text}; an acknowledgement waits for two of them at most");
    if longest < SYNC_SLOW {
        return Some(Check::ok(subject, meaning));
    }
    let advice = "put it on a faster disk, or give senders time: Envoy's `grpc_service.timeout`, the Collector's `timeout`";
    Some(Check::warn(subject, meaning).advise(advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            what: "journal",
            key: "journal.path",
            path: "/state/journal".into(),
            bytes_max: 4 << 30,
            durable: true,
            optional: false,
        }
    }

    fn good() -> Facts {
        Facts {
            found: "/state/journal".into(),
            exists: true,
            owner: (1000, 1000),
            unwritable: None,
            bytes_free: Some(8 << 30),
            bytes_used: 1 << 30,
            kind: Some(("ext4", Kind::Disk)),
            syncs: vec![Duration::from_millis(2); ROUNDS],
        }
    }

    fn because(kind: io::ErrorKind) -> Unwritable {
        Unwritable::from(&io::Error::from(kind))
    }

    fn worst(facts: &Facts) -> (Level, String) {
        let checks = judge(&place(), facts);
        let worst = checks.into_iter().max_by_key(|check| check.level).unwrap();
        assert_eq!(worst.advice.is_empty(), worst.level == Level::Ok, "{worst:?}");
        (worst.level, format!("{} {}", worst.text, worst.advice))
    }

    #[test]
    fn a_disk_is_good_or_says_what_is_wrong_with_it() {
        assert_eq!(worst(&good()).0, Level::Ok);
        let ms = |count| Duration::from_millis(count);
        let cases = [
            (
                Facts { unwritable: Some(because(io::ErrorKind::ReadOnlyFilesystem)), ..good() },
                Level::Fail,
                "read-only",
            ),
            (Facts { bytes_free: Some(2 << 30), ..good() }, Level::Warn, "journal.bytes_max"),
            (Facts { kind: Some(("tmpfs", Kind::Memory)), ..good() }, Level::Warn, "is memory"),
            (Facts { kind: Some(("overlay", Kind::Layer)), ..good() }, Level::Warn, "a volume"),
            (Facts { kind: Some(("nfs", Kind::Network)), ..good() }, Level::Warn, "nfs"),
            (Facts { syncs: vec![Duration::from_micros(3); ROUNDS], ..good() }, Level::Warn, "power cut"),
            (Facts { syncs: vec![ms(2), ms(3), ms(400)], ..good() }, Level::Warn, "faster disk"),
        ];
        for (facts, level, part) in cases {
            let (found, text) = worst(&facts);
            assert!(found == level && text.contains(part), "{facts:?}: {found:?} {text}");
        }
        let unwritable = Facts { unwritable: Some(because(io::ErrorKind::PermissionDenied)), ..good() };
        let by_convention = Place { optional: true, ..place() };
        assert_eq!(judge(&by_convention, &unwritable)[0].level, Level::Warn, "a start does without it");
        assert_eq!(
            worst(&Facts { bytes_free: Some(3 << 30), ..good() }).0,
            Level::Ok,
            "a part of the budget is used"
        );
    }

    #[test]
    fn a_full_disk_is_told_as_full_with_its_room() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let full = Facts { unwritable: Some(because(kind)), bytes_free: Some(0), ..good() };
            let [cannot, room] = &judge(&place(), &full)[..] else { panic!("{full:?}") };
            assert!(cannot.level == Level::Fail && cannot.advice.contains("make room"), "{cannot:?}");
            assert!(!cannot.text.contains("owner"), "{cannot:?}");
            assert!(room.level == Level::Warn && room.text.contains("0 B free"), "{room:?}");
        }
    }

    #[test]
    fn a_look_leaves_nothing_behind_and_makes_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/journal");
        let facts = facts(&Place { path: path.clone(), ..place() }, &SystemClock::start()).unwrap();
        assert!(!facts.exists && facts.unwritable.is_none() && facts.syncs.len() == ROUNDS);
        assert!(!path.exists() && fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
