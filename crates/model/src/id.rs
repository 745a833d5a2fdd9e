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

/// The digits of `8-4-4-4-12` as a number, without the one at text position 14.
fn uuid_without_trace_digit(text: &[u8]) -> Option<u128> {
    if text.len() != 36 {
        return None;
    }
    let mut value = 0_u128;
    for (position, byte) in text.iter().enumerate() {
        if matches!(position, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        // Position 14 of the text is the 13th hex digit (the version); Envoy uses it for its trace decision.
        let digit = if position == 14 { 0 } else { hex_digit(*byte)? };
        value = value << 4 | u128::from(digit);
    }
    Some(value & !(1 << 127))
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0_u8; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
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
