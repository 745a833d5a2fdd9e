//! The protobuf wire level, just enough to take messages apart and put them together without touching a string.

/// One field as it stands in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// Field number.
    pub(crate) number: u64,
    /// The whole field: tag, length and content.
    pub(crate) raw: &'a [u8],
    /// Content of a length-delimited field; `None` for numbers.
    pub(crate) content: Option<&'a [u8]>,
}

/// The fields of a message in order; `None` when the bytes are not a message.
pub(crate) fn split(message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let start = rest;
        let (tag, after) = varint(rest)?;
        let number = tag >> 3;
        if number == 0 {
            return None;
        }
        let (content, after) = match tag & 7 {
            0 => (None, varint(after)?.1),
            1 => (None, after.get(8..)?),
            5 => (None, after.get(4..)?),
            2 => {
                let (length, after) = varint(after)?;
                let (content, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                (Some(content), after)
            }
            _ => return None,
        };
        fields.push(Field { number, raw: &start[..start.len() - after.len()], content });
        rest = after;
    }
    Some(fields)
}

/// Appends a length-delimited field.
pub(crate) fn put(out: &mut Vec<u8>, number: u64, content: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, content.len() as u64);
    out.extend(content);
}

/// A length-delimited field as it stands in a message: for requests that no library would write.
#[must_use]
pub fn field(number: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, number, content);
    out
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at).min(63);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_splits_into_the_bytes_it_is_made_of() {
        let mut message = vec![0x08, 0x96, 0x01, 0x11, 1, 2, 3, 4, 5, 6, 7, 8, 0x1d, 1, 2, 3, 4];
        put(&mut message, 300, &[0xff; 200]);
        let fields = split(&message).unwrap();
        assert_eq!(fields.iter().map(|field| field.number).collect::<Vec<_>>(), [1, 2, 3, 300]);
        assert_eq!(fields.iter().flat_map(|field| field.raw.to_vec()).collect::<Vec<_>>(), message);
        assert_eq!(fields[3].content, Some(&[0xff; 200][..]));
    }

    #[test]
    fn what_is_not_a_message_is_not_split() {
        for bytes in [&[0x0a_u8][..], &[0x0a, 5, 1], &[0x00, 1], &[0x0b], &[0xff; 11], &[0x09, 1]] {
            assert_eq!(split(bytes), None, "{bytes:?}");
        }
    }
}
