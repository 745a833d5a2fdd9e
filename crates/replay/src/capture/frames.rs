//! Capture format v1: the magic, then frames with their length and checksum (design section 4).

use std::io;

use selvedge_model::{ObservedTime, SignalKind};

use super::source::{Source, damaged};
use super::{FRAME_BYTES_MAX, Frame, FrameEncoding, MAGIC, Next, TornTail};

/// `[u8 signal][u64 LE observed][u32 LE length][u32 LE CRC-32]`.
pub(super) const HEADER_BYTES: usize = 17;

/// The number of a signal in a frame's header.
pub(super) fn signal_number(signal: SignalKind) -> u8 {
    match signal {
        SignalKind::Traces => 1,
        SignalKind::Metrics => 2,
        SignalKind::Logs => 3,
    }
}

/// Reads frames until the end or the first one that is not whole.
#[derive(Default)]
pub(super) struct Frames {
    begun: bool,
}

/// Why there is no whole frame.
enum Broken {
    Damage(String),
    Device(io::Error),
}

struct Header {
    signal: SignalKind,
    observed: ObservedTime,
    length: usize,
    checksum: u32,
}

impl Frames {
    pub(super) fn next(&mut self, source: &mut Source) -> Next {
        if !std::mem::replace(&mut self.begun, true) {
            match take(source, MAGIC.len()) {
                Ok(magic) if magic == MAGIC => {}
                Ok(_) => return torn(0, "the capture ends inside its first eight bytes".to_owned()),
                Err(broken) => return stop(broken, 0),
            }
        }
        let start = source.at_byte();
        match frame(source) {
            Ok(Some(frame)) => Next::Frame(frame),
            Ok(None) => Next::End,
            Err(broken) => stop(broken, start),
        }
    }
}

fn frame(source: &mut Source) -> Result<Option<Frame>, Broken> {
    let bytes = take(source, HEADER_BYTES)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let header = header(&bytes)?;
    let body = take(source, header.length)?;
    if body.len() < header.length {
        return Err(Broken::Damage(format!("a frame of {} bytes ends after {}", header.length, body.len())));
    }
    let found = crc32fast::hash(&body);
    if found != header.checksum {
        return Err(Broken::Damage(format!(
            "a frame's checksum is {found:08x}, not {:08x}",
            header.checksum
        )));
    }
    let encoding = FrameEncoding::Protobuf;
    Ok(Some(Frame { signal: header.signal, encoding, observed: Some(header.observed), body }))
}

fn header(bytes: &[u8]) -> Result<Header, Broken> {
    let (Some((number, rest)), HEADER_BYTES) = (bytes.split_first(), bytes.len()) else {
        return Err(Broken::Damage(format!("a frame's header ends after {} bytes", bytes.len())));
    };
    let signal = SignalKind::ALL
        .into_iter()
        .find(|signal| signal_number(*signal) == *number)
        .ok_or_else(|| Broken::Damage(format!("a frame's signal is {number}, not 1, 2 or 3")))?;
    let announced = little_endian(&rest[8..12]);
    let length = usize::try_from(announced).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(Broken::Damage(format!("a frame announces {length} bytes, more than {FRAME_BYTES_MAX}")));
    }
    let checksum = u32::try_from(little_endian(&rest[12..16])).unwrap_or(0);
    Ok(Header { signal, observed: ObservedTime(little_endian(&rest[..8])), length, checksum })
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn take(source: &mut Source, count: usize) -> Result<Vec<u8>, Broken> {
    source.take(count).map_err(|error| {
        if source.device_failed() { Broken::Device(error) } else { Broken::Damage(damaged(&error)) }
    })
}

fn stop(broken: Broken, at_byte: u64) -> Next {
    match broken {
        Broken::Damage(reason) => torn(at_byte, reason),
        Broken::Device(error) => Next::Failed(error),
    }
}

fn torn(at_byte: u64, reason: String) -> Next {
    Next::Torn(TornTail { at_byte, reason })
}
