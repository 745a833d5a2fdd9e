//! The ids by which observations of one request find each other.

use std::fmt;

use serde::{Deserialize, Serialize};

/// W3C trace id; all zero means absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TraceId(pub [u8; 16]);

/// W3C span id; all zero means absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpanId(pub [u8; 8]);

/// `x-request-id` as a joinable number; zero means absent.
///
/// A UUID is taken with its character 14 (counted from 0) masked: Envoy writes its trace decision there and
/// may change it at every hop (`envoy.md` 3.6, item 14). Anything else is a 127-bit hash with the top bit set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u128);

impl TraceId {
    /// From the wire: ids of another length, and all zeros, are absent.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Self {
        Self(bytes.try_into().unwrap_or([0; 16]))
    }

    /// From 32 hex digits of either case.
    #[must_use]
    pub fn from_hex(text: &[u8]) -> Self {
        Self(from_hex(text).unwrap_or([0; 16]))
    }

    /// True when the sender gave an id.
    #[must_use]
    pub fn present(self) -> bool {
        self.0 != [0; 16]
    }

    /// The id as a number, for partitioning.
    #[must_use]
    pub fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

impl SpanId {
    /// From the wire: ids of another length, and all zeros, are absent.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Self {
        Self(bytes.try_into().unwrap_or([0; 8]))
    }

    /// From 16 hex digits of either case.
    #[must_use]
    pub fn from_hex(text: &[u8]) -> Self {
        Self(from_hex(text).unwrap_or([0; 8]))
    }

    /// True when the sender gave an id.
    #[must_use]
    pub fn present(self) -> bool {
        self.0 != [0; 8]
    }
}

impl RequestId {
    /// From the header's text; empty and `-` are absent.
    #[must_use]
    pub fn from_text(text: &[u8]) -> Self {
        if text.is_empty() || text == b"-" {
            return Self(0);
        }
        if let Some(uuid) = uuid_without_trace_digit(text) {
            return Self(uuid.max(1));
        }
        let low = crate::hash::StableHasher::default().field(text).value();
        let high = crate::hash::StableHasher::default().field(b"high").field(text).value();
        Self((u128::from(high) << 64 | u128::from(low)) | 1 << 127)
    }

    /// True when the sender gave an id.
    #[must_use]
    pub fn present(self) -> bool {
        self.0 != 0
    }
}

/// What [`HEX_DIGITS`] holds for a byte that is no hex digit.
const NO_DIGIT: u8 = 0xff;

/// The value of every byte as a hex digit: request ids are read for every record.
const HEX_DIGITS: [u8; 256] = {
    let mut table = [NO_DIGIT; 256];
    let mut digit = 0_u8;
    while digit < 16 {
        table[b"0123456789abcdef"[digit as usize] as usize] = digit;
        table[b"0123456789ABCDEF"[digit as usize] as usize] = digit;
        digit += 1;
    }
    table
};

/// The digits of `8-4-4-4-12` as a number, without the one at text position 14.
fn uuid_without_trace_digit(text: &[u8]) -> Option<u128> {
    let text: &[u8; 36] = text.try_into().ok()?;
    if [text[8], text[13], text[18], text[23]] != [b'-'; 4] {
        return None;
    }
    let mut digits = [b'0'; 32];
    digits[1..9].copy_from_slice(&text[..8]);
    digits[9..13].copy_from_slice(&text[9..13]);
    digits[13..16].copy_from_slice(&text[15..18]);
    digits[16..20].copy_from_slice(&text[19..23]);
    digits[20..].copy_from_slice(&text[24..]);
    let mut number = 0;
    for eight in digits.as_chunks::<8>().0 {
        number = number << 32 | u128::from(eight_digits(*eight)?);
    }
    Some(number)
}

/// Eight hex digits as a number, all at once: request ids are read for every record.
fn eight_digits(text: [u8; 8]) -> Option<u32> {
    let valid = text.iter().fold(0, |seen, byte| seen | HEX_DIGITS[usize::from(*byte)]) != NO_DIGIT;
    // A digit's value is its low four bits, and nine more for a letter, which has bit 6 set.
    let text = u64::from_be_bytes(text);
    let values = (text & 0x0f0f_0f0f_0f0f_0f0f) + 9 * (text >> 6 & 0x0101_0101_0101_0101);
    let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    let number = (fours | fours >> 16) & 0xffff_ffff;
    u32::try_from(number).ok().filter(|_| valid)
}

fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0_u8; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (HEX_DIGITS[usize::from(pair[0])], HEX_DIGITS[usize::from(pair[1])]);
        if high == NO_DIGIT || low == NO_DIGIT {
            return None;
        }
        *byte = high << 4 | low;
    }
    Some(bytes)
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_wrong_length_are_absent() {
        assert!(!TraceId::from_wire(&[1; 15]).present());
        assert!(!SpanId::from_wire(&[]).present());
        assert!(!TraceId::from_hex(b"zz").present());
        assert_eq!(
            TraceId::from_hex(b"000000000000000000000000000000FF").to_string(),
            "000000000000000000000000000000ff"
        );
    }

    #[test]
    fn a_request_id_survives_the_trace_decision_digit() {
        let sampled = RequestId::from_text(b"7a391762-31bf-9d00-95df-c3e9671236ff");
        let forced = RequestId::from_text(b"7a391762-31bf-ad00-95df-c3e9671236ff");
        let other = RequestId::from_text(b"7a391762-31bf-9d00-95df-c3e9671236fe");
        assert_eq!(sampled, forced);
        assert_ne!(sampled, other);
        assert_eq!(sampled, RequestId(0x7a3_9176_231b_fd00_95df_c3e9_6712_36ff));
        assert_eq!(RequestId::from_text(b"7A391762-31BF-9D00-95DF-C3E9671236FF"), sampled);
        assert!(!RequestId::from_text(b"-").present());
        let not_hex = RequestId::from_text(b"7a391762-31bf-9d00-95df-c3e9671236fg");
        assert!(not_hex.0 >> 127 == 1, "hashed");
        assert_ne!(RequestId::from_text(b"x"), RequestId::from_text(b"y"));
    }
}
