//! Captures and segments of the journal, from any bytes.

use std::cell::RefCell;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use selvedge_receive::journal::{Journal, JournalConfig, JournalError, Position, Recovered};
use selvedge_replay::capture::{CaptureReader, CaptureWriter, Compression, Frame, FrameEncoding};

/// Bytes of frames read of one capture: a few bytes of zstd may stand for gigabytes.
const BODY_BYTES_MAX: usize = 4 << 20;

/// A capture of any format, compressed or not. What is read of it can be written, and is read again.
pub fn captures(input: &[u8]) {
    let frames = read(input);
    let written =
        frames.iter().all(|frame| frame.encoding == FrameEncoding::Protobuf && frame.observed.is_some());
    if !written || frames.is_empty() {
        return;
    }
    let mut writer = CaptureWriter::new(Vec::new(), Compression::None).expect("memory takes everything");
    for frame in &frames {
        let observed = frame.observed.expect("all have one");
        writer.write(frame.signal, observed, &frame.body).expect("memory takes everything");
    }
    let capture = writer.finish().expect("memory takes everything");
    assert_eq!(read(&capture), frames, "what was read is written and read again");
    let torn = &capture[..capture.len() - 1];
    assert_eq!(read(torn), frames[..frames.len() - 1], "a torn tail costs the last frame");
}

fn read(bytes: &[u8]) -> Vec<Frame> {
    let device = Box::new(Cursor::new(bytes.to_vec()));
    let mut frames = Vec::new();
    let Ok(mut reader) = CaptureReader::new(Path::new("capture"), device, bytes.len() as u64) else {
        return frames;
    };
    let mut total = 0;
    while let Some(Ok(frame)) = reader.next() {
        total += frame.body.len();
        if total > BODY_BYTES_MAX {
            return Vec::new();
        }
        frames.push(frame);
    }
    assert!(reader.bytes_read() <= bytes.len() as u64, "no more is read than there is");
    frames
}

thread_local! {
    static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

/// Two bytes for the length of the first segment, one for the name of the second, then both segments.
///
/// Opening it repairs it: opened again, it holds the same frames, in order, and nothing is torn any more.
pub fn journals(input: &[u8]) {
    let Some((&[low, high, second], segments)) = input.split_first_chunk() else { return };
    let length = usize::from(u16::from_le_bytes([low, high])).min(segments.len());
    let (first_bytes, second_bytes) = segments.split_at(length);
    FOLDER.with_borrow_mut(|folder| {
        let folder = folder.get_or_insert_with(|| tempfile::tempdir().expect("a folder for segments"));
        for entry in fs::read_dir(folder.path()).expect("a folder").flatten() {
            fs::remove_file(entry.path()).expect("our file");
        }
        let path = |first: u64| folder.path().join(format!("{first:020}.otlpcap"));
        fs::write(path(0), first_bytes).expect("room for a segment");
        if !second_bytes.is_empty() {
            fs::write(path(u64::from(second) + 1), second_bytes).expect("room for a segment");
        }
        let (once, _) = open(folder.path());
        // Where the last segment held nothing whole and is gone, the one before it is the last, and may hold more than the
        // lost one's name said.
        let (again, _) = open(folder.path());
        let (thrice, torn) = open(folder.path());
        assert!(again.starts_with(&once) && again == thrice, "what was recovered once is recovered again");
        assert_eq!(torn, 0, "a torn tail is cut once");
        assert!(once.is_sorted_by(|a, b| a.position < b.position), "in the order received");
        if second_bytes.is_empty() && first_bytes.starts_with(selvedge_receive::journal::MAGIC) {
            let frames = read(first_bytes);
            let bodies: Vec<&[u8]> = once.iter().map(|frame| &frame.body[..]).collect();
            assert_eq!(bodies, frames.iter().map(|frame| &frame.body[..]).collect::<Vec<_>>(), "a capture");
        }
    });
}

fn open(folder: &Path) -> (Vec<Recovered>, u64) {
    let config = JournalConfig {
        folder: folder.to_owned(),
        bytes_max: 1 << 20,
        segment_bytes: 4 << 10,
        segment_age: Duration::from_secs(60),
        commit_interval: Duration::ZERO,
        retry_after: Duration::from_secs(1),
    };
    let journal = match Journal::open(config) {
        // What a newer one wrote is left as it is.
        Err(JournalError::Newer { .. }) => return (Vec::new(), 0),
        opened => opened.expect("a folder of ours can be opened, whatever is in it"),
    };
    let frames =
        journal.recovery(Position(0)).map(|frame| frame.expect("a file of ours can be read")).collect();
    (frames, journal.stats().bytes_torn.get())
}
