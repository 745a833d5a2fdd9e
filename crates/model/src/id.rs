//! The ids by which observations of one request find each other.

use std::fmt;

/// W3C trace id; all zero means absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// W3C span id; all zero means absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

/// `x-request-id` as a joinable number; zero means absent.
///
/// A UUID is taken with its character 14 (counted from 0) masked: Envoy writes its trace decision there and
/// may change it at every hop (`envoy.md` 3.6, item 14). Anything else is a 127-bit hash with the top bit set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Text positions of the hex digits of `8-4-4-4-12`, without 14, where Envoy writes its trace decision.
const UUID_DIGITS: [u8; 31] = [
    0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 15, 16, 17, 19, 20, 21, 22, 24, 25, 26, 27, 28, 29, 30, 31, 32,
    33, 34, 35,
];

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
    let (high, first) = digits(text, &UUID_DIGITS[..15]);
    let (low, second) = digits(text, &UUID_DIGITS[15..]);
    (first && second).then_some(u128::from(high) << 64 | u128::from(low))
}

/// The digits at these positions as a number, and whether all of them are digits.
fn digits(text: &[u8; 36], positions: &[u8]) -> (u64, bool) {
    let (mut value, mut seen) = (0_u64, 0_u8);
    for position in positions {
        let digit = HEX_DIGITS[usize::from(text[usize::from(*position)])];
        seen |= digit;
        value = value << 4 | u64::from(digit & 0xf);
    }
    (value, seen <= 0xf)
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
        assert!(!RequestId::from_text(b"-").present());
        assert_ne!(RequestId::from_text(b"x"), RequestId::from_text(b"y"));
    }
}
