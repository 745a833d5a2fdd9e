//! Capture format v1, frame by frame (design section 4): what captures and the journal's segments are made of.
//!
//! `[u8 signal][u64 LE observed][u32 LE length][u32 LE CRC-32 (IEEE) of the payload][payload]` after eight bytes of
//! magic. The signal is 1 for traces, 2 for metrics, 3 for logs when the payload is one protobuf
//! `Export*ServiceRequest`, and 16 more when it is the same as OTLP/JSON: what came as JSON is kept as it came.

use selvedge_model::{ObservedTime, SignalKind};

use crate::handover::Encoding;

/// What a capture of format v1 begins with.
pub const MAGIC: &[u8; 8] = b"SLVCAP01";
/// Bytes in front of each payload.
pub const HEADER_BYTES: usize = 17;
/// A longer frame is taken for damage. OTLP receivers refuse bodies above 20 MiB, so that a whole frame is far below
/// it even after decompression.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Added to the number of the signal when the payload is OTLP/JSON.
const JSON: u8 = 16;

/// What stands in front of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Which of the three signals.
    pub signal: SignalKind,
    /// How the payload is written.
    pub encoding: Encoding,
    /// When it was received.
    pub observed: ObservedTime,
    /// Bytes of the payload.
    pub length: u32,
    /// CRC-32 (IEEE) of the payload.
    pub checksum: u32,
}

/// Bytes that are no header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// No such signal.
    #[error("a frame's signal is {0}, not 1, 2 or 3 (17, 18 or 19 for JSON)")]
    Signal(u8),
    /// Longer than any frame.
    #[error("a frame announces {0} bytes, more than {FRAME_BYTES_MAX}")]
    Length(u32),
    /// Damaged.
    #[error("a frame's checksum is {found:08x}, not {expected:08x}")]
    Checksum {
        /// Of the payload as it is.
        found: u32,
        /// As the header says.
        expected: u32,
    },
}

impl FrameHeader {
    /// The header of a payload; `None` for one that is longer than [`FRAME_BYTES_MAX`].
    #[must_use]
    pub fn of(
        signal: SignalKind,
        encoding: Encoding,
        observed: ObservedTime,
        payload: &[u8],
    ) -> Option<Self> {
        let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= FRAME_BYTES_MAX)?;
        Some(Self { signal, encoding, observed, length, checksum: crc32fast::hash(payload) })
    }

    /// As it is written.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let number = match self.signal {
            SignalKind::Traces => 1,
            SignalKind::Metrics => 2,
            SignalKind::Logs => 3,
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = number + if self.encoding == Encoding::Json { JSON } else { 0 };
        bytes[1..9].copy_from_slice(&self.observed.0.to_le_bytes());
        bytes[9..13].copy_from_slice(&self.length.to_le_bytes());
        bytes[13..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// The bytes are no header, or announce more than a frame may hold.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, FrameFault> {
        let (signal, encoding) = match bytes[0] {
            number @ 1..=3 => (number, Encoding::Protobuf),
            number @ 17..=19 => (number - JSON, Encoding::Json),
            number => return Err(FrameFault::Signal(number)),
        };
        let signal = match signal {
            1 => SignalKind::Traces,
            2 => SignalKind::Metrics,
            _ => SignalKind::Logs,
        };
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let observed = ObservedTime(u64::from(four(1)) | u64::from(four(5)) << 32);
        let header = Self { signal, encoding, observed, length: four(9), checksum: four(13) };
        if header.payload_bytes() > FRAME_BYTES_MAX {
            return Err(FrameFault::Length(header.length));
        }
        Ok(header)
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    /// Whether this is the payload that was written.
    ///
    /// # Errors
    /// It is another one.
    pub fn verify(&self, payload: &[u8]) -> Result<(), FrameFault> {
        let found = crc32fast::hash(payload);
        if found == self.checksum {
            Ok(())
        } else {
            Err(FrameFault::Checksum { found, expected: self.checksum })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written_and_other_bytes_are_none() {
        for signal in SignalKind::ALL {
            for encoding in [Encoding::Protobuf, Encoding::Json] {
                let observed = ObservedTime(0x0102_0304_0506_0708);
                let header = FrameHeader::of(signal, encoding, observed, b"123456789").unwrap();
                assert_eq!(header.checksum, 0xcbf4_3926, "the check value of CRC-32 (IEEE)");
                assert_eq!(FrameHeader::parse(&header.to_bytes()), Ok(header));
                assert!(header.verify(b"123456788").is_err());
            }
        }
        assert_eq!(FrameHeader::parse(&[0; HEADER_BYTES]), Err(FrameFault::Signal(0)));
        let mut long = FrameHeader::of(SignalKind::Logs, Encoding::Json, ObservedTime(1), b"").unwrap();
        long.length = u32::MAX;
        assert_eq!(FrameHeader::parse(&long.to_bytes()), Err(FrameFault::Length(u32::MAX)));
    }
}
