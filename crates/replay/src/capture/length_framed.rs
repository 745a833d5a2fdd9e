//! The Collector file exporter's binary form: `[u32 BE length][message]`, each message possibly compressed on its own.
//!
//! A message is protobuf or (legacy, compressed) JSON. Nothing says which signal a protobuf message holds: its
//! structure does, else the file's name, else the messages before it.

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;

use selvedge_model::SignalKind;

use super::source::{Source, ZSTD_MAGIC, damaged};
use super::{FRAME_BYTES_MAX, Frame, FrameEncoding, Next, TornTail, Unreadable, json_lines, signal};

const LENGTH_BYTES: usize = 4;
/// First bytes shown of a file that turns out not to be a capture.
const SHOWN_BYTES: usize = 8;

/// Reads messages until the end or the first that is not whole.
pub(super) struct LengthFramed {
    pending: VecDeque<Frame>,
    known: Option<SignalKind>,
    understood: bool,
}

/// Could these first bytes be the length of a message and its beginning?
pub(super) fn plausible(head: &[u8]) -> bool {
    head.first_chunk::<LENGTH_BYTES>().is_some_and(|length| length_of(*length) <= FRAME_BYTES_MAX)
}

fn length_of(bytes: [u8; LENGTH_BYTES]) -> usize {
    usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX)
}

impl LengthFramed {
    pub(super) fn new(path: &Path) -> Self {
        Self { pending: VecDeque::new(), known: signal::of_name(path), understood: false }
    }

    pub(super) fn next(&mut self, source: &mut Source, unreadable: &mut Unreadable) -> Next {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                self.known = Some(frame.signal);
                return Next::Frame(frame);
            }
            let start = source.at_byte();
            let message = match message(source) {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(reason))) => return Next::Torn(TornTail { at_byte: start, reason }),
                Ok(None) => return Next::End,
                Err(error) if source.device_failed() => return Next::Failed(error),
                Err(error) => return Next::Torn(TornTail { at_byte: start, reason: damaged(&error) }),
            };
            if message.is_empty() {
                continue;
            }
            match self.frames(&message) {
                Ok(frames) => {
                    self.understood = true;
                    self.pending.extend(frames);
                }
                // Any file whose first bytes look like a length gets here: only a first message shows that it is ours.
                Err(_) if !self.understood => {
                    let mut head = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
                    head.extend(message.iter().take(SHOWN_BYTES - LENGTH_BYTES));
                    return Next::Unrecognised(head);
                }
                Err(reason) => unreadable.count(start, reason),
            }
        }
    }

    fn frames(&self, message: &[u8]) -> Result<Vec<Frame>, String> {
        let plain = if message.starts_with(&ZSTD_MAGIC) { decompressed(message)? } else { message.to_vec() };
        if plain.first() == Some(&b'{') {
            return json_lines::frames(&plain);
        }
        if !signal::is_request(&plain) {
            return Err("not an OTLP message".to_owned());
        }
        let signal = signal::of_request(&plain)
            .or(self.known)
            .ok_or_else(|| "nothing tells which signal the message holds".to_owned())?;
        Ok(vec![Frame { signal, encoding: FrameEncoding::Protobuf, observed: None, body: plain }])
    }
}

/// The next message; `Some(Err)` says why it is not whole.
fn message(source: &mut Source) -> std::io::Result<Option<Result<Vec<u8>, String>>> {
    let head = source.take(LENGTH_BYTES)?;
    if head.is_empty() {
        return Ok(None);
    }
    let Some(length) = head.first_chunk::<LENGTH_BYTES>().map(|bytes| length_of(*bytes)) else {
        return Ok(Some(Err(format!("a message's length ends after {} bytes", head.len()))));
    };
    if length > FRAME_BYTES_MAX {
        return Ok(Some(Err(format!("a message announces {length} bytes, more than {FRAME_BYTES_MAX}"))));
    }
    let message = source.take(length)?;
    if message.len() < length {
        return Ok(Some(Err(format!("a message of {length} bytes ends after {}", message.len()))));
    }
    Ok(Some(Ok(message)))
}

fn decompressed(message: &[u8]) -> Result<Vec<u8>, String> {
    let refused = |error: std::io::Error| format!("a message does not decompress: {error}");
    let mut plain = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(message).map_err(refused)?;
    decoder.take(FRAME_BYTES_MAX as u64 + 1).read_to_end(&mut plain).map_err(refused)?;
    if plain.len() > FRAME_BYTES_MAX {
        return Err(format!("a message decompresses to more than {FRAME_BYTES_MAX} bytes"));
    }
    Ok(plain)
}
