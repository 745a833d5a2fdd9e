//! Ids as hex text, and back.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;

const DIGITS: [u8; 16] = *b"0123456789abcdef";

/// Texts of one column, one after the other. An absent id is NULL.
#[derive(Default)]
pub(crate) struct HexColumn {
    text: Vec<u8>,
    ends: Vec<i32>,
    present: Vec<bool>,
    absent: bool,
}

impl HexColumn {
    pub(crate) fn push<const N: usize>(&mut self, id: [u8; N]) {
        let present = id != [0; N];
        if present {
            for byte in id {
                self.text.push(DIGITS[usize::from(byte >> 4)]);
                self.text.push(DIGITS[usize::from(byte & 0xf)]);
            }
        }
        self.end(present);
    }

    /// A request id: a UUID without the digit in which Envoy keeps its trace decision, or a hash with the top bit set.
    pub(crate) fn push_request(&mut self, id: [u8; 16]) {
        let number = u128::from_be_bytes(id);
        if number == 0 || number >> 127 == 1 {
            return self.push(id);
        }
        let digit = |at: u32| DIGITS[usize::try_from(number >> (4 * (30 - at)) & 0xf).unwrap_or(0)];
        for at in 0..31 {
            if matches!(at, 8 | 12 | 15 | 19) {
                self.text.push(b'-');
            }
            if at == 12 {
                self.text.push(b'x');
            }
            self.text.push(digit(at));
        }
        self.end(true);
    }

    fn end(&mut self, present: bool) {
        self.ends.push(i32::try_from(self.text.len()).unwrap_or(i32::MAX));
        self.present.push(present);
        self.absent |= !present;
    }

    pub(crate) fn finish(self) -> Result<ArrayRef, ArrowError> {
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.extend(self.ends);
        let nulls = self.absent.then(|| NullBuffer::from(self.present));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(self.text), nulls)?))
    }
}

/// The id that reads as `text` in SQL; `None` when no id does (other length, upper case).
pub(crate) fn parse<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit =
        |byte: u8| DIGITS.iter().position(|digit| *digit == byte).and_then(|at| u8::try_from(at).ok());
    if text.len() != 2 * N {
        return None;
    }
    let mut id = [0; N];
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    (id != [0; N]).then_some(id)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use selvedge_model::RequestId;

    use super::*;

    #[test]
    fn ids_read_as_lower_case_hex_and_absent_ones_as_null() {
        let mut column = HexColumn::default();
        column.push([0, 0x1f, 0xa0, 0xff]);
        column.push([0; 4]);
        let array = column.finish().unwrap();
        assert_eq!(array.as_string::<i32>().value(0), "001fa0ff");
        assert!(array.is_null(1));
        assert_eq!(parse::<4>("001fa0ff"), Some([0, 0x1f, 0xa0, 0xff]));
        assert_eq!([parse::<4>("001FA0FF"), parse::<4>("001fa0f"), parse::<4>("00000000")], [None; 3]);
    }

    #[test]
    fn a_request_id_reads_as_the_uuid_it_was_but_for_one_digit() {
        let mut column = HexColumn::default();
        let id = RequestId::from_text(b"7a391762-31bf-9d00-95df-c3e9671236ff");
        column.push_request(id.0.to_be_bytes());
        let array = column.finish().unwrap();
        assert_eq!(array.as_string::<i32>().value(0), "7a391762-31bf-xd00-95df-c3e9671236ff");
    }
}
