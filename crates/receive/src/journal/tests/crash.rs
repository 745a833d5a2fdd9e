//! What a crash leaves behind: a file that ends anywhere, or holds anything.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use selvedge_model::{ObservedTime, SignalKind, SteadyTime};

use super::super::disk::SystemDisk;
use super::super::log::{Limits, Log, Record};
use super::kit::*;
use crate::handover::Encoding;
use crate::journal::*;

/// Writes these batches and crashes: nothing is closed. Gives where each frame ends in the last segment, and how many
/// frames stand in the segments before it.
fn write_and_crash(folder: &Path, bodies: &[Vec<u8>]) -> (u64, Vec<u64>) {
    let limits = Limits { bytes_max: 1 << 20, segment_bytes: 4 << 10, segment_age: Duration::from_secs(60) };
    let mut log = Log::new(Box::new(SystemDisk), folder.to_owned(), limits, &[], 0, Arc::default());
    for body in bodies {
        let header =
            FrameHeader::of(SignalKind::Traces, Encoding::Json, ObservedTime(9), body).expect("a short body");
        log.append(&[Record { header, payload: body }], SteadyTime(0)).expect("a disk that works");
    }
    // A log that is not closed: its segment keeps the room it had taken ahead.
    drop(log);
    let first = segment::list(folder).unwrap().pop().unwrap().0;
    let last = &bodies[usize::try_from(first).unwrap()..];
    let ends = last.iter().scan(MAGIC.len(), |end, body| {
        *end += HEADER_BYTES + body.len();
        Some(*end as u64)
    });
    (first, ends.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Guarantees: of a file cut at any byte, exactly the frames that are whole are read, and what comes after is
    /// appended behind them.
    #[test]
    fn a_file_cut_anywhere_gives_exactly_the_whole_frames_before_the_cut(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1_200), 1..30),
        at in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (before, ends) = write_and_crash(folder.path(), &bodies);
        let path = segment::path(folder.path(), before);
        let length = fs::metadata(&path).unwrap().len();
        let cut = at.index(usize::try_from(length).unwrap() + 1) as u64;
        File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let whole = usize::try_from(before).unwrap() + ends.iter().filter(|end| **end <= cut).count();
        let looked = Inspection::of(folder.path(), &mut |read, all| assert!(read <= all)).unwrap();
        prop_assert_eq!(fs::metadata(&path).unwrap().len(), cut, "looking changes nothing");
        prop_assert_eq!(looked.next(), Position(whole as u64));
        prop_assert_eq!(looked.behind(Position(0)).0, whole as u64);
        prop_assert_eq!(looked.segments.iter().map(InspectedSegment::lost).sum::<u64>(), 0);
        let last_one = looked.segments.last().unwrap();
        let torn_bytes = last_one.bytes - last_one.whole;
        prop_assert_eq!(last_one.torn.is_some(), torn_bytes > 0);
        let (frames, stats) = stored(folder.path());
        let expected: Vec<(u64, Vec<u8>)> = (0..).zip(bodies[..whole].iter().cloned()).collect();
        prop_assert_eq!(&frames, &expected);
        let last = ends.iter().copied().rfind(|end| *end <= cut).unwrap_or(MAGIC.len() as u64);
        // An empty file was not torn, and of a file without frames the magic goes too.
        let torn = if cut < MAGIC.len() as u64 { cut } else { cut - last };
        prop_assert_eq!(stats.bytes_torn.get(), torn);
        prop_assert_eq!(torn_bytes, torn, "it was seen before");
        prop_assert_eq!(stats.frames_recovered.get(), whole as u64);

        let mut running = Running::start(config(folder.path()), Faulty::default());
        prop_assert_eq!(running.store("after", 9), Ok(Position(whole as u64)));
        running.end();
        prop_assert_eq!(stored(folder.path()).0.len(), whole + 1);
    }

    /// Guarantees: bytes that are not as written cost what stands behind them, and nothing in front of them.
    #[test]
    fn a_damaged_byte_in_the_last_segment_costs_nothing_in_front_of_it(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..1_200), 1..30),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (before, ends) = write_and_crash(folder.path(), &bodies);
        let path = segment::path(folder.path(), before);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        fs::write(&path, &bytes).unwrap();
        let sound = usize::try_from(before).unwrap() + ends.iter().filter(|end| **end <= at as u64).count();
        let (frames, _) = stored(folder.path());
        let read: Vec<Vec<u8>> = frames.into_iter().map(|(_, body)| body).collect();
        // The time of receipt and the kind of signal are under no checksum: damage there is not seen.
        prop_assert!(read.len() >= sound);
        prop_assert!(read.len() == sound || read.len() == bodies.len());
        prop_assert_eq!(&read[..], &bodies[..read.len()]);
    }
}

/// Guarantees: a frame that the disk lost in the middle is reported with all behind it, and the segments after it are
/// read.
#[test]
fn what_the_disk_lost_in_an_older_segment_is_counted_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let bodies: Vec<Vec<u8>> = (0..12).map(|n| vec![n; 1_000]).collect();
    write_and_crash(folder.path(), &bodies);
    let oldest = segment::path(folder.path(), 0);
    let mut bytes = fs::read(&oldest).unwrap();
    bytes[1_500] ^= 1;
    fs::write(&oldest, &bytes).unwrap();
    let (frames, stats) = stored(folder.path());
    let positions: Vec<u64> = frames.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, [0, 4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!((stats.frames_lost.get(), stats.bytes_torn.get()), (3, 0));
}

/// Guarantees: the room that a segment had taken ahead is given back by the next process; else every crash would cost
/// the disk a whole segment.
#[test]
fn a_crash_costs_no_room_on_the_disk() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes_max: 1 << 30, segment_bytes: 8 << 20, segment_age: Duration::from_secs(60) };
    let mut log = Log::new(Box::new(SystemDisk), folder.path().to_owned(), limits, &[], 0, Arc::default());
    let header = FrameHeader::of(SignalKind::Traces, Encoding::Json, ObservedTime(9), b"x").unwrap();
    log.append(&[Record { header, payload: b"x" }], SteadyTime(0)).unwrap();
    drop(log);
    let blocks = || fs::metadata(segment::path(folder.path(), 0)).unwrap().blocks() * 512;
    let taken_ahead = blocks();
    assert_eq!(stored(folder.path()).0.len(), 1);
    assert!(blocks() <= 64 << 10, "{} of {taken_ahead} bytes are still taken", blocks());
}

/// Guarantees: positions never begin anew, not even when somebody removes the segments: the mark of what people were
/// told would cover what comes next.
#[test]
fn positions_go_on_behind_the_mark_when_the_segments_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    write_and_crash(folder.path(), &[vec![1; 10], vec![2; 10]]);
    Journal::open(config(folder.path())).unwrap().delivered().write(Position(2)).unwrap();
    fs::remove_file(segment::path(folder.path(), 0)).unwrap();
    let mut running = Running::start(config(folder.path()), Faulty::default());
    assert_eq!(running.store("after", 1), Ok(Position(2)));
    running.end();
    assert_eq!(stored(folder.path()).0, [(2, b"after".to_vec())]);
}

/// Guarantees: a crash between the making of a segment and its first frame, time and again, leaves nothing behind.
#[test]
fn an_empty_segment_is_removed_and_its_position_used() {
    let folder = tempfile::tempdir().unwrap();
    write_and_crash(folder.path(), &[vec![1; 10]]);
    for begun in [&b""[..], b"SLV", MAGIC] {
        fs::write(segment::path(folder.path(), 1), begun).unwrap();
        let (frames, _) = stored(folder.path());
        assert_eq!(frames.len(), 1);
        assert_eq!(segment::list(folder.path()).unwrap().len(), 1);
    }
    let mut running = Running::start(config(folder.path()), Faulty::default());
    assert_eq!(running.store("second", 1), Ok(Position(1)));
    running.end();
}

/// Guarantees: a segment of a newer format ends the start, and is there afterwards.
#[test]
fn what_a_newer_version_wrote_is_not_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    write_and_crash(folder.path(), &[b"one".to_vec()]);
    let path = segment::path(folder.path(), 1);
    fs::write(&path, b"SLVCAP02what it holds").unwrap();
    let looked = Inspection::of(folder.path(), &mut |_, _| ()).unwrap();
    assert_eq!(looked.segments.iter().map(|segment| segment.newer).collect::<Vec<_>>(), [false, true]);
    assert!(
        matches!(Journal::open(config(folder.path())), Err(JournalError::Newer { path: told }) if told == path)
    );
    assert_eq!(fs::read(&path).unwrap(), b"SLVCAP02what it holds");
    for other in [&b"SLVCAP01"[..], b"SLVCAP00", b"SLVCAP", b"SLVCAPxx", b""] {
        fs::write(&path, other).unwrap();
        assert!(!Inspection::of(folder.path(), &mut |_, _| ()).unwrap().segments[1].newer, "{other:?}");
    }
    assert!(Journal::open(config(folder.path())).is_ok());
}

/// Guarantees: a segment that grows while it is looked at is never shorter than what was read of it.
#[test]
fn a_segment_that_grows_under_the_look_is_as_long_as_what_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let (_, ends) = write_and_crash(folder.path(), &[b"one".to_vec(), b"two".to_vec()]);
    let path = segment::path(folder.path(), 0);
    let (first, last) = (usize::try_from(ends[0]).unwrap(), ends[1]);
    let frame = fs::read(&path).unwrap()[MAGIC.len()..first].to_vec();
    File::options().write(true).open(&path).unwrap().set_len(last).unwrap();
    let mut grow = |read: u64, _| {
        if read < last {
            File::options().append(true).open(&path).unwrap().write_all(&frame).unwrap();
        }
    };
    let looked = Inspection::of(folder.path(), &mut grow).unwrap();
    let segment = &looked.segments[0];
    assert!(segment.frames == 3 && segment.whole > last && segment.bytes >= segment.whole, "{segment:?}");
}
