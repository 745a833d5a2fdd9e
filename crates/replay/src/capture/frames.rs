//! Capture format v1: the magic, then frames with their length and checksum (design section 4).

use std::io;

use selvedge_receive::Encoding;
use selvedge_receive::journal::{FrameHeader, HEADER_BYTES, MAGIC};

use super::source::{Source, damaged};
use super::{Frame, FrameEncoding, Next, TornTail};

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
    let Ok(bytes) = <[u8; HEADER_BYTES]>::try_from(bytes.as_slice()) else {
        return Err(Broken::Damage(format!("a frame's header ends after {} bytes", bytes.len())));
    };
    let header = FrameHeader::parse(&bytes).map_err(|fault| Broken::Damage(fault.to_string()))?;
    let body = take(source, header.payload_bytes())?;
    if body.len() < header.payload_bytes() {
        return Err(Broken::Damage(format!("a frame of {} bytes ends after {}", header.length, body.len())));
    }
    header.verify(&body).map_err(|fault| Broken::Damage(fault.to_string()))?;
    let encoding = match header.encoding {
        Encoding::Protobuf => FrameEncoding::Protobuf,
        Encoding::Json => FrameEncoding::Json,
    };
    Ok(Some(Frame { signal: header.signal, encoding, observed: Some(header.observed), body }))
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
