//! The protobuf wire format: fields of one message after the other, over borrowed bytes, nothing copied.
//!
//! Strict where the format is (lengths, varints, wire types of the fields we read), indifferent to what we do
//! not read: an unknown field of any wire type is stepped over, a known one that we have no use for is never
//! looked into. Source: protobuf.dev/programming-guides/encoding.

use crate::fault::{Fault, FaultKind};

/// How deep unknown groups (deprecated, never part of OTLP) may nest; their open field numbers are kept on the
/// stack, so the bound is the memory.
const GROUP_DEPTH_MAX: usize = 32;
/// Bytes of the longest varint: 64 bits, seven per byte.
const VARINT_BYTES_MAX: usize = 10;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH: u8 = 2;
const GROUP_START: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

/// The rest of one message. A copy is a bookmark.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Where the message ends in the body; offsets are counted back from it.
    end: usize,
}

/// A field's number and wire type, read but not yet its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) field: u32,
    wire: u8,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self { rest: body, end: body.len() }
    }

    /// Where the next byte is in the body.
    pub(crate) fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    /// What is left of the message, as it is on the wire.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Steps over bytes that are known to be whole fields, if the message begins with `tag`.
    #[inline]
    pub(crate) fn step_over(&mut self, tag: u8, known: impl FnOnce(&[u8]) -> usize) -> bool {
        if self.rest.first() != Some(&tag) {
            return false;
        }
        let length = known(self.rest);
        self.rest = self.rest.get(length..).unwrap_or(&[]);
        length > 0
    }

    /// The length-delimited value that begins after the next `skipped` bytes and a tag in them, when it runs to the
    /// end of this message and so is its last field.
    #[inline]
    pub(crate) fn last_value(mut self, skipped: usize) -> Option<Self> {
        self.rest = self.rest.get(skipped..)?;
        let value = self.raw_bytes().ok()?;
        self.rest.is_empty().then_some(Self { rest: value, end: self.end })
    }

    /// The next field's tag; `None` at the end of the message. Its value must be read or skipped next.
    #[inline]
    pub(crate) fn field(&mut self) -> Result<Option<Tag>, Fault> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let offset = self.offset();
        let key = self.raw_varint()?;
        let field = u32::try_from(key >> 3).unwrap_or(u32::MAX);
        if field == 0 || key > u64::from(u32::MAX) {
            return Err(Fault::new(FaultKind::FieldNumber, offset, key));
        }
        let wire = (key & 7).to_le_bytes()[0];
        Ok(Some(Tag { field, wire }))
    }

    /// A string, bytes or message field, as bytes.
    #[inline]
    pub(crate) fn bytes(&mut self, tag: Tag) -> Result<&'a [u8], Fault> {
        self.expect(tag, LENGTH)?;
        self.raw_bytes()
    }

    /// A message field.
    #[inline]
    pub(crate) fn message(&mut self, tag: Tag) -> Result<Reader<'a>, Fault> {
        let rest = self.bytes(tag)?;
        Ok(Reader { rest, end: self.offset() })
    }

    /// An int64, uint64 or bool field, or an enum before its truncation.
    #[inline]
    pub(crate) fn varint(&mut self, tag: Tag) -> Result<u64, Fault> {
        self.expect(tag, VARINT)?;
        self.raw_varint()
    }

    /// An enum or int32 field: the low 32 bits, as every protobuf reader takes them.
    #[inline]
    pub(crate) fn int32(&mut self, tag: Tag) -> Result<i32, Fault> {
        Ok(low32(self.varint(tag)?).cast_signed())
    }

    /// An sint32 field (zigzag).
    pub(crate) fn sint32(&mut self, tag: Tag) -> Result<i32, Fault> {
        let raw = low32(self.varint(tag)?);
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A fixed64 field.
    #[inline]
    pub(crate) fn fixed64(&mut self, tag: Tag) -> Result<u64, Fault> {
        self.expect(tag, FIXED64)?;
        self.raw_fixed().map(u64::from_le_bytes)
    }

    /// A double field.
    #[inline]
    pub(crate) fn double(&mut self, tag: Tag) -> Result<f64, Fault> {
        self.fixed64(tag).map(f64::from_bits)
    }

    /// One occurrence of a repeated fixed64 or double field, packed or not; `push` takes the 64 bits.
    pub(crate) fn fixed64s(&mut self, tag: Tag, mut push: impl FnMut(u64)) -> Result<(), Fault> {
        if tag.wire == FIXED64 {
            push(self.fixed64(tag)?);
            return Ok(());
        }
        let offset = self.offset();
        let (values, torn) = self.bytes(tag)?.as_chunks::<8>();
        if !torn.is_empty() {
            let length = values.len() * 8 + torn.len();
            return Err(Fault::new(FaultKind::PackedLength, offset, length as u64));
        }
        values.iter().for_each(|value| push(u64::from_le_bytes(*value)));
        Ok(())
    }

    /// One occurrence of a repeated uint64 field, packed or not.
    pub(crate) fn varints(&mut self, tag: Tag, out: &mut Vec<u64>) -> Result<(), Fault> {
        if tag.wire == VARINT {
            out.push(self.raw_varint()?);
            return Ok(());
        }
        let mut packed = self.message(tag)?;
        while !packed.rest.is_empty() {
            out.push(packed.raw_varint()?);
        }
        Ok(())
    }

    /// Steps over a field, whatever it is.
    #[inline]
    pub(crate) fn skip(&mut self, tag: Tag) -> Result<(), Fault> {
        match tag.wire {
            VARINT => self.raw_varint().map(|_| ()),
            FIXED64 => self.raw_fixed::<8>().map(|_| ()),
            LENGTH => self.raw_bytes().map(|_| ()),
            GROUP_START => self.skip_group(tag.field),
            FIXED32 => self.raw_fixed::<4>().map(|_| ()),
            GROUP_END => Err(Fault::new(FaultKind::Group, self.offset(), tag.field.into())),
            _ => Err(Fault::new(FaultKind::WireType, self.offset(), tag.field.into())),
        }
    }

    /// Steps over a group that has just opened, by a stack of its own instead of the thread's.
    fn skip_group(&mut self, field: u32) -> Result<(), Fault> {
        let mut open = [0_u32; GROUP_DEPTH_MAX];
        open[0] = field;
        let mut depth = 1;
        while depth > 0 {
            let offset = self.offset();
            let fault = |field: u32| Fault::new(FaultKind::Group, offset, field.into());
            let Some(tag) = self.field()? else { return Err(fault(open[depth - 1])) };
            match tag.wire {
                GROUP_START if depth == GROUP_DEPTH_MAX => return Err(fault(tag.field)),
                GROUP_START => {
                    open[depth] = tag.field;
                    depth += 1;
                }
                GROUP_END if open[depth - 1] != tag.field => return Err(fault(tag.field)),
                GROUP_END => depth -= 1,
                _ => self.skip(tag)?,
            }
        }
        Ok(())
    }

    #[inline]
    fn expect(&self, tag: Tag, wire: u8) -> Result<(), Fault> {
        if tag.wire == wire {
            return Ok(());
        }
        Err(Fault::new(FaultKind::WireType, self.offset(), tag.field.into()))
    }

    #[inline]
    fn raw_varint(&mut self) -> Result<u64, Fault> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            // The tenth byte has room for one bit only.
            if index == VARINT_BYTES_MAX - 1 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        let whole = self.rest.len() >= VARINT_BYTES_MAX;
        let kind = if whole { FaultKind::VarintOverlong } else { FaultKind::Truncated };
        Err(Fault::new(kind, self.offset(), 0))
    }

    #[inline]
    fn raw_bytes(&mut self) -> Result<&'a [u8], Fault> {
        let offset = self.offset();
        let length = self.raw_varint()?;
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((bytes, rest)) = split else {
            return Err(Fault::new(FaultKind::LengthPastEnd, offset, length));
        };
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn raw_fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let Some((value, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(Fault::new(FaultKind::Truncated, self.offset(), 0));
        };
        self.rest = rest;
        Ok(*value)
    }
}

/// The low 32 bits.
#[inline]
fn low32(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first<'a, T>(
        bytes: &'a [u8],
        read: impl Fn(&mut Reader<'a>, Tag) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut reader = Reader::new(bytes);
        let tag = reader.field()?.expect("a field");
        read(&mut reader, tag)
    }

    fn kind_of(bytes: &[u8]) -> FaultKind {
        first(bytes, Reader::skip).expect_err("must be refused").kind
    }

    #[test]
    fn varints_read_to_64_bits_and_not_beyond() {
        let most = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(first(&most, Reader::varint), Ok(u64::MAX));
        assert_eq!(first(&most, Reader::int32), Ok(-1));
        assert_eq!(first(&[0x08, 0x80, 0x00], Reader::varint), Ok(0), "padding is legal");
        assert_eq!(first(&[0x08, 0x03], Reader::sint32), Ok(-2));
        let mut over = most;
        over[10] = 0x02;
        assert_eq!(kind_of(&over), FaultKind::VarintOverlong);
        assert_eq!(kind_of(&[0x08, 0x80]), FaultKind::Truncated);
        assert_eq!(kind_of(&[0x80]), FaultKind::Truncated);
    }

    #[test]
    fn a_length_past_the_end_names_itself_and_its_place() {
        let mut reader = Reader::new(&[0x0a, 0x04, 0x12, 0x80, 0x01, 0x00]);
        let tag = reader.field().unwrap().unwrap();
        let mut inner = reader.message(tag).unwrap();
        let tag = inner.field().unwrap().unwrap();
        let fault = inner.bytes(tag).unwrap_err();
        assert_eq!(fault, Fault { offset: 3, kind: FaultKind::LengthPastEnd, detail: 128 });
        assert_eq!(fault.to_string(), "length 128 runs past the end of its message at byte 3");
        let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(kind_of(&huge), FaultKind::LengthPastEnd);
    }

    #[test]
    fn fields_that_cannot_be_are_refused() {
        assert_eq!(kind_of(&[0x00]), FaultKind::FieldNumber);
        assert_eq!(kind_of(&[0x80, 0x80, 0x80, 0x80, 0x10]), FaultKind::FieldNumber);
        assert_eq!(kind_of(&[0x0e]), FaultKind::WireType);
        assert_eq!(kind_of(&[0x0c]), FaultKind::Group, "a group ends that never began");
        assert_eq!(first(&[0x08, 0x01], Reader::fixed64).unwrap_err().kind, FaultKind::WireType);
    }

    #[test]
    fn unknown_fields_of_every_wire_type_are_stepped_over() {
        let bytes = [
            0x08, 0x01, // varint
            0x11, 1, 2, 3, 4, 5, 6, 7, 8, // fixed64
            0x1a, 0x02, 9, 9, // bytes
            0x23, 0x2b, 0x30, 0x05, 0x2c, 0x24, // group 4 holding group 5 holding varint 6
            0x3d, 1, 2, 3, 4, // fixed32
        ];
        let mut reader = Reader::new(&bytes);
        let mut fields = Vec::new();
        while let Some(tag) = reader.field().unwrap() {
            fields.push(tag.field);
            reader.skip(tag).unwrap();
        }
        assert_eq!(fields, [1, 2, 3, 4, 7]);
    }

    #[test]
    fn groups_are_bounded_and_must_match() {
        assert_eq!(kind_of(&[0x0b, 0x14]), FaultKind::Group);
        assert_eq!(kind_of(&[0x0b]), FaultKind::Group);
        let nested = |depth: usize| [vec![0x0b; depth], vec![0x0c; depth]].concat();
        assert_eq!(first(&nested(GROUP_DEPTH_MAX), Reader::skip), Ok(()));
        assert_eq!(kind_of(&nested(GROUP_DEPTH_MAX + 1)), FaultKind::Group);
        assert_eq!(kind_of(&vec![0x0b; 1_000_000]), FaultKind::Group);
    }

    #[test]
    fn repeated_numbers_come_packed_or_one_by_one() {
        let mut values = Vec::new();
        let mut packed = vec![0x0a, 16];
        packed.extend(7_u64.to_le_bytes());
        packed.extend(8_u64.to_le_bytes());
        packed.push(0x09);
        packed.extend(9_u64.to_le_bytes());
        let mut reader = Reader::new(&packed);
        while let Some(tag) = reader.field().unwrap() {
            reader.fixed64s(tag, |value| values.push(value)).unwrap();
        }
        assert_eq!(values, [7, 8, 9]);
        values.clear();
        let mut reader = Reader::new(&[0x0a, 0x03, 0x01, 0x80, 0x01, 0x08, 0x05]);
        while let Some(tag) = reader.field().unwrap() {
            reader.varints(tag, &mut values).unwrap();
        }
        assert_eq!(values, [1, 128, 5]);
        let torn = first(&[0x0a, 0x01, 0x00], |reader, tag| reader.fixed64s(tag, |_| ()));
        assert_eq!(torn.unwrap_err().kind, FaultKind::PackedLength);
    }
}
