//! What each format promises, and what happens to damage.

use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use selvedge_model::{ObservedTime, SignalKind};
use selvedge_testkit::{RawFrame, Renaming, Traffic, recut, rename};

use super::*;

fn read(name: &str, bytes: Vec<u8>) -> (Vec<Frame>, CaptureReader) {
    let total = bytes.len() as u64;
    let mut reader = CaptureReader::new(Path::new(name), Box::new(Cursor::new(bytes)), total).unwrap();
    let frames = reader.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
    (frames, reader)
}

fn traffic() -> Vec<RawFrame> {
    let mut traffic = Traffic::seeded(1);
    traffic.repeat(12, "web -> cart -> ledger");
    traffic.frames()
}

fn capture(frames: &[RawFrame], compression: Compression) -> Vec<u8> {
    let mut writer = CaptureWriter::new(Vec::new(), compression).unwrap();
    for frame in frames {
        writer.write(frame.signal, frame.observed, &frame.payload).unwrap();
    }
    writer.finish().unwrap()
}

fn as_read(frames: &[RawFrame]) -> Vec<Frame> {
    let encoding = FrameEncoding::Protobuf;
    let read = |frame: &RawFrame| Frame {
        signal: frame.signal,
        encoding,
        observed: Some(frame.observed),
        body: frame.payload.clone(),
    };
    frames.iter().map(read).collect()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let length = |message: &Vec<u8>| u32::try_from(message.len()).unwrap().to_be_bytes();
    messages.iter().flat_map(|message| length(message).into_iter().chain(message.iter().copied())).collect()
}

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/envoy");
    let mut captures: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "zst"))
        .collect();
    captures.sort();
    captures
}

fn raw(frame: Frame) -> RawFrame {
    RawFrame { signal: frame.signal, observed: frame.observed.unwrap(), payload: frame.body }
}

#[test]
fn what_is_written_reads_back_plain_and_compressed() {
    let frames = traffic();
    for compression in [Compression::None, Compression::Zstd] {
        let bytes = capture(&frames, compression);
        let length = bytes.len() as u64;
        let (read, reader) = read("x.otlpcap", bytes);
        assert_eq!(read, as_read(&frames));
        assert_eq!(reader.tail(), None);
        assert_eq!((reader.bytes_read(), reader.bytes_total()), (length, length));
    }
}

#[test]
fn a_capture_without_frames_and_an_empty_file_are_whole() {
    for bytes in [capture(&[], Compression::None), capture(&[], Compression::Zstd), Vec::new()] {
        let (frames, reader) = read("x", bytes);
        assert_eq!((frames.len(), reader.tail()), (0, None));
    }
}

/// Scenario: the writer is killed at any byte.
/// Guarantees: all frames before it are read; the tail is reported exactly where the last whole frame ends.
#[test]
fn a_capture_cut_at_any_byte_gives_its_whole_frames() {
    let frames = &traffic()[..3];
    let whole = capture(frames, Compression::None);
    let mut ends = vec![MAGIC.len()];
    ends.extend(frames.iter().scan(MAGIC.len(), |end, frame| {
        *end += 17 + frame.payload.len();
        Some(*end)
    }));
    for cut in 1..whole.len() {
        let (read, reader) = read("x.otlpcap", whole[..cut].to_vec());
        let complete = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
        assert_eq!(read, as_read(&frames[..complete]), "cut at {cut}");
        let clean = ends.contains(&cut);
        assert_eq!(reader.tail().is_none(), clean, "cut at {cut}");
        if let Some(tail) = reader.tail() {
            let last_whole = ends.iter().filter(|end| **end <= cut).max().copied().unwrap_or(0);
            assert_eq!(tail.at_byte, last_whole as u64, "cut at {cut}: {tail}");
        }
    }
}

#[test]
fn a_compressed_capture_cut_or_damaged_anywhere_is_no_error() {
    let whole = capture(&traffic(), Compression::Zstd);
    let sent: Vec<Vec<u8>> = traffic().into_iter().map(|frame| frame.payload).collect();
    // Below four bytes nothing tells that it was zstd: such a file is refused.
    for cut in 4..whole.len() {
        let (_, reader) = read("x.otlpcap.zst", whole[..cut].to_vec());
        assert!(reader.tail().is_some(), "cut at {cut}");
        if cut + 64 < whole.len() {
            let mut damaged = whole.clone();
            damaged[cut] ^= 0x55;
            match CaptureReader::new(Path::new("x"), Box::new(Cursor::new(damaged)), 0) {
                // A frame's checksum covers its body only.
                Ok(mut reader) => {
                    assert!(reader.all(|frame| frame.is_ok_and(|frame| sent.contains(&frame.body))));
                }
                // The damage hit the very first bytes.
                Err(error) => assert!(matches!(error, CaptureError::Unrecognised { .. }), "{error}"),
            }
        }
    }
}

#[test]
fn a_flipped_bit_a_wild_length_and_a_wild_signal_cut_the_tail() {
    let frames = &traffic()[..2];
    let whole = capture(frames, Compression::None);
    let second = MAGIC.len() + 17 + frames[0].payload.len();
    for (at, what) in [(second + 17, "checksum"), (second, "signal"), (second + 12, "announces")] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x80;
        let (read, reader) = read("x.otlpcap", bytes);
        assert_eq!(read, as_read(&frames[..1]));
        let tail = reader.tail().unwrap();
        assert_eq!(tail.at_byte, second as u64);
        assert!(tail.reason.contains(what), "{tail}");
    }
}

#[test]
fn a_device_that_fails_is_an_error_with_its_place_and_then_the_end() {
    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer) {
                Ok(0) => Err(io::Error::other("the disk is on fire")),
                read => read,
            }
        }
    }
    let frames = &traffic()[..2];
    for compression in [Compression::None, Compression::Zstd] {
        let mut bytes = capture(frames, compression);
        bytes.truncate(bytes.len() - 3);
        let device = Box::new(Failing(Cursor::new(bytes)));
        let mut reader = CaptureReader::new(Path::new("far/x.otlpcap"), device, 0).unwrap();
        let error = reader.find_map(Result::err).unwrap();
        assert!(matches!(error, CaptureError::Read { .. }), "{error}");
        assert!(error.to_string().contains("far/x.otlpcap"), "{error}");
        assert!(reader.next().is_none());
        assert_eq!(reader.tail(), None);
    }
}

#[test]
fn what_is_no_capture_is_refused_by_name_and_first_bytes() {
    for bytes in
        [b"PAR1 is another format".to_vec(), b"\x28\xb5".to_vec(), zstd(b"hello, world"), gzip(b"hello")]
    {
        let made = CaptureReader::new(Path::new("some/file"), Box::new(Cursor::new(bytes.clone())), 0);
        let error = made.err().unwrap_or_else(|| panic!("{bytes:?} was taken for a capture"));
        assert!(error.to_string().contains("some/file is not a capture"), "{error}");
    }
    // Its first bytes could be a length; its first message shows that it is none.
    let mut reader =
        CaptureReader::new(Path::new("x"), Box::new(Cursor::new(b"\0\0\0\x05hello".to_vec())), 0).unwrap();
    assert!(matches!(reader.next(), Some(Err(CaptureError::Unrecognised { .. }))));
    assert!(matches!(CaptureReader::open(Path::new("/nowhere/x")), Err(CaptureError::Open { .. })));
}

const LINES: &str = concat!(
    r#"{"resourceSpans":[{"scopeSpans":[]}]}"#,
    "\n\n",
    r#"{"x-received-unix-nano":"1700000000000000123","resourceLogs":[]}"#,
    "\r\n",
    r#"{"resourceMetrics":[],"resourceLogs":[],"x-received-unix-nano":7}"#,
    "\n",
    r#"{"somethingElse":1}"#,
    "\n{broken\n",
    r#"{"resourceLogs":[{"resource":{}}]}"#,
);

#[test]
fn json_lines_of_any_signal_read_plain_zstd_and_gzip() {
    for bytes in [LINES.as_bytes().to_vec(), zstd(LINES.as_bytes()), gzip(LINES.as_bytes())] {
        let (frames, reader) = read("data.jsonl", bytes);
        let seen: Vec<_> = frames.iter().map(|frame| (frame.signal, frame.observed.map(|at| at.0))).collect();
        assert_eq!(
            seen,
            [
                (SignalKind::Traces, None),
                (SignalKind::Logs, Some(1_700_000_000_000_000_123)),
                (SignalKind::Metrics, Some(7)),
                (SignalKind::Logs, Some(7)),
                (SignalKind::Logs, None),
            ]
        );
        assert!(frames.iter().all(|frame| frame.encoding == FrameEncoding::Json));
        assert_eq!(frames[0].body, br#"{"resourceSpans":[{"scopeSpans":[]}]}"#);
        assert_eq!(reader.tail(), None);
        assert_eq!(reader.unreadable().frames, 2);
        let strange = LINES.find(r#"{"somethingElse"#).map(|at| at as u64);
        assert_eq!(reader.unreadable().first.as_ref().map(|first| first.at_byte), strange);
    }
}

#[test]
fn a_last_line_that_ends_in_the_middle_is_a_torn_tail() {
    let cut = LINES.len() - 5;
    for bytes in
        [LINES.as_bytes()[..cut].to_vec(), zstd(&LINES.as_bytes()[..cut]), gzip(&LINES.as_bytes()[..cut])]
    {
        let (frames, reader) = read("data.jsonl", bytes);
        assert_eq!(frames.len(), 4);
        assert_eq!(reader.tail().map(|tail| tail.at_byte), LINES.rfind('\n').map(|end| end as u64 + 1));
    }
}

#[test]
fn length_framed_messages_tell_their_signal_by_their_structure() {
    let frames: Vec<RawFrame> = fixtures()
        .iter()
        .take(2)
        .flat_map(|path| CaptureReader::open(path).unwrap().map(|frame| raw(frame.unwrap())))
        .collect();
    assert!(SignalKind::ALL.iter().all(|signal| frames.iter().any(|frame| frame.signal == *signal)));
    let plain: Vec<Vec<u8>> = frames.iter().map(|frame| frame.payload.clone()).collect();
    let packed: Vec<Vec<u8>> = plain.iter().map(|message| zstd(message)).collect();
    for bytes in [framed(&plain), framed(&packed), gzip(&framed(&plain))] {
        let (read, reader) = read("data", bytes);
        let got: Vec<_> = read.into_iter().map(|frame| (frame.signal, frame.body)).collect();
        let sent: Vec<_> = frames.iter().map(|frame| (frame.signal, frame.payload.clone())).collect();
        assert!(got == sent);
        assert_eq!(reader.unreadable().frames, 0);
    }
}

#[test]
fn a_message_that_does_not_tell_takes_its_signal_from_the_name_or_the_neighbour() {
    // resource_x { resource {} } without a record.
    let bare = b"\x0a\x02\x0a\x00".to_vec();
    let signal = |name: &str, messages: &[Vec<u8>]| {
        let mut reader =
            CaptureReader::new(Path::new(name), Box::new(Cursor::new(framed(messages))), 0).unwrap();
        reader.by_ref().filter_map(Result::ok).map(|frame| frame.signal).last()
    };
    assert_eq!(signal("metrics-2026.proto", std::slice::from_ref(&bare)), Some(SignalKind::Metrics));
    assert_eq!(signal("logs_and_traces", std::slice::from_ref(&bare)), None);
    let logs = traffic().into_iter().find(|frame| frame.signal == SignalKind::Logs).unwrap().payload;
    assert_eq!(signal("data", &[logs, bare]), Some(SignalKind::Logs));
}

#[test]
fn framed_json_damaged_messages_and_a_torn_end_are_told_apart() {
    let good = zstd(br#"{"resourceSpans":[]}"#);
    let mut bad = good.clone();
    bad.truncate(bad.len() - 3);
    let mut bytes = framed(&[good.clone(), bad, Vec::new(), good]);
    let whole = bytes.len() as u64;
    bytes.extend(b"\0\0\0\x20abc");
    let (frames, reader) = read("data", bytes);
    assert_eq!(frames.len(), 2);
    assert_eq!(reader.unreadable().frames, 1);
    assert_eq!(reader.tail().map(|tail| tail.at_byte), Some(whole));
}

#[test]
fn a_frame_too_long_to_be_one_is_not_written() {
    let mut writer = CaptureWriter::new(io::sink(), Compression::None).unwrap();
    let long = vec![0; FRAME_BYTES_MAX + 1];
    let refused = writer.write(SignalKind::Logs, ObservedTime(1), &long).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn every_fixture_reads_to_its_end_and_writes_back_the_same() {
    let captures = fixtures();
    assert!(captures.len() >= 15);
    let folder = tempfile::tempdir().unwrap();
    for path in captures {
        let mut reader = CaptureReader::open(&path).unwrap();
        let frames: Vec<Frame> = reader.by_ref().collect::<Result<_, _>>().unwrap();
        assert!(frames.len() > 10 && reader.tail().is_none(), "{}", path.display());
        assert_eq!(reader.bytes_read(), reader.bytes_total());
        let copy = folder.path().join("copy.otlpcap.zst");
        let mut writer = CaptureWriter::create(&copy).unwrap();
        for frame in &frames {
            writer.write(frame.signal, frame.observed.unwrap(), &frame.body).unwrap();
        }
        writer.finish().unwrap();
        let again: Vec<Frame> = CaptureReader::open(&copy).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(again == frames);
    }
}

/// Namespaces and workloads that the labels speak of: no name of a capture stands in our source.
fn names_in_labels() -> Vec<String> {
    let mut names = std::collections::BTreeSet::new();
    for path in fixtures() {
        let label = path.to_string_lossy().replace(".otlpcap.zst", ".label.json");
        let label: serde_json::Value = serde_json::from_slice(&std::fs::read(label).unwrap()).unwrap();
        for end in ["source", "destination"] {
            let spiffe = label[end].as_str().unwrap_or_default();
            let parts: Vec<&str> = spiffe.split('/').collect();
            if let [_, _, _, "ns", namespace, "sa", workload] = parts.as_slice() {
                names.extend([(*namespace).to_owned(), (*workload).to_owned()]);
            }
        }
    }
    names.into_iter().collect()
}

/// The tools of `testkit`, on real frames: whatever is cut and renamed, the records are all there.
#[test]
fn fixtures_recut_and_renamed_keep_their_records() {
    let names = names_in_labels();
    assert!(names.len() >= 4);
    let pairs = || names.iter().enumerate().map(|(at, name)| (name.clone(), format!("renamed{at}x")));
    let there = Renaming::new(pairs());
    let back = Renaming::new(pairs().map(|(old, new)| (new, old)));
    let records = |frames: &[RawFrame]| -> Vec<(SignalKind, Vec<u8>)> {
        let of = |frame: &RawFrame| -> Vec<_> {
            frame.records().into_iter().map(|record| (frame.signal, record.to_vec())).collect()
        };
        frames.iter().flat_map(of).collect()
    };
    for path in fixtures() {
        let frames: Vec<RawFrame> =
            CaptureReader::open(&path).unwrap().map(|frame| raw(frame.unwrap())).collect();
        let recut_frames = recut(&frames, 7);
        assert!(records(&frames) == records(&recut_frames), "{}", path.display());
        assert_ne!(frames.len(), recut_frames.len());

        let renamed = rename(&frames, &there);
        assert!(frames != renamed);
        let identity = |name: &str| format!("/sa/{name}").into_bytes();
        for name in &names {
            let old = identity(name);
            let word = |bytes: &[u8]| bytes.windows(old.len()).any(|window| window == old);
            assert!(!renamed.iter().any(|frame| word(&frame.payload)), "{name} in {}", path.display());
        }
        assert!(rename(&renamed, &back) == frames, "{}", path.display());
    }
}
