//! Attributes: protobuf `KeyValue` and `AnyValue` into the fields we have a use for.
//!
//! The key is looked up first; the value of a key that means nothing to us is never decoded.

use std::borrow::Cow;

use selvedge_model::hash::quick;

use crate::fault::Fault;
use crate::field::field_of;
use crate::record::{Fields, Value};
use crate::wire::{Reader, Tag};

/// Tag of `AnyValue.string_value`, a length-delimited field 1.
const STRING_TAG: u8 = 0x0a;
/// Tag of `KeyValue.key`, a length-delimited field 1.
const KEY_TAG: u8 = 0x0a;
/// Tag of `KeyValue.value`, a length-delimited field 2.
const VALUE_TAG: u8 = 0x12;

/// Takes the attributes of a record, one by one.
pub(crate) trait Attributes<'a> {
    /// Bytes at the beginning of `rest`, which begins with an attribute, that need not be read: whole attributes.
    #[inline]
    fn known(&mut self, _rest: &[u8]) -> usize {
        0
    }

    /// Takes the next attribute; false when the rest of the record is of no interest.
    fn take(&mut self, attribute: Reader<'a>) -> Result<bool, Fault>;
}

impl<'a, F: FnMut(Reader<'a>) -> Result<bool, Fault> + ?Sized> Attributes<'a> for F {
    #[inline]
    fn take(&mut self, attribute: Reader<'a>) -> Result<bool, Fault> {
        self(attribute)
    }
}

/// Reads one `KeyValue` and sets the field that its key fills, if any.
pub(crate) fn read<'a>(entry: Reader<'a>, fields: &mut Fields<'a>) -> Result<(), Fault> {
    let (key, value) = split(entry)?;
    if let Some(field) = field_of(key) {
        fields.set(field, any_value(value)?);
    }
    Ok(())
}

/// The attribute up to and with the tag of its value, when it is written the way every encoder writes it.
pub(crate) fn head_of<'a>(attribute: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let length = name.len() + 3;
    let head = attribute.get(..length)?;
    let usual = head[0] == KEY_TAG
        && usize::from(head[1]) == name.len()
        && name.len() < 0x80
        && &head[2..length - 1] == name
        && head[length - 1] == VALUE_TAG;
    usual.then_some(head)
}

/// As [`read`], and the attribute's part of the series identity.
pub(crate) fn read_and_hash<'a>(entry: Reader<'a>, fields: &mut Fields<'a>) -> Result<u64, Fault> {
    let (key, encoded) = split(entry)?;
    let value = any_value(encoded)?;
    let part = hash(key, &value, encoded.rest());
    if let Some(field) = field_of(key) {
        fields.set(field, value);
    }
    Ok(part)
}

/// An attribute's part of the series identity; the parts of a point are added up (wrapping), so their order
/// does not matter. Arrays and maps, which are rare on metrics, count as the bytes they were sent as.
pub(crate) fn hash(key: &[u8], value: &Value<'_>, encoded: &[u8]) -> u64 {
    let (kind, value) = match value {
        Value::Absent => (1, quick(encoded)),
        Value::Text(text) => (2, quick(text)),
        Value::Int(number) => (3, quick(&number.to_le_bytes())),
        Value::Double(number) => (4, quick(&number.to_bits().to_le_bytes())),
        Value::Bool(truth) => (5, u64::from(*truth)),
    };
    let mut both = [0_u8; 17];
    both[..8].copy_from_slice(&quick(key).to_le_bytes());
    both[8..16].copy_from_slice(&value.to_le_bytes());
    both[16] = kind;
    quick(&both)
}

/// Key and encoded value of one `KeyValue`. Of several values the last counts.
#[inline]
pub(crate) fn split<'a>(mut entry: Reader<'a>) -> Result<(&'a [u8], Reader<'a>), Fault> {
    let mut key: &[u8] = &[];
    let mut value = Reader::new(&[]);
    while let Some(tag) = entry.field()? {
        match tag.field {
            1 => key = entry.bytes(tag)?,
            2 => value = entry.message(tag)?,
            _ => entry.skip(tag)?,
        }
    }
    Ok((key, value))
}

/// One `AnyValue`. An array of exactly one plain value is that value (semantic conventions write header values
/// as arrays); other arrays and maps are absent, and are not looked into.
#[inline]
pub(crate) fn any_value(value: Reader<'_>) -> Result<Value<'_>, Fault> {
    match value.rest() {
        // A string, shorter than 128 bytes and nothing else: nearly every value of a proxy.
        [STRING_TAG, length, text @ ..] if usize::from(*length) == text.len() && *length < 0x80 => {
            Ok(Value::Text(Cow::Borrowed(text)))
        }
        _ => any_value_of_any_shape(value),
    }
}

fn any_value_of_any_shape(mut value: Reader<'_>) -> Result<Value<'_>, Fault> {
    let mut read = Value::Absent;
    while let Some(tag) = value.field()? {
        read = match tag.field {
            5 => single(value.message(tag)?)?,
            6 => {
                value.message(tag)?;
                Value::Absent
            }
            1..=4 | 7 => plain(tag, &mut value)?,
            _ => {
                value.skip(tag)?;
                continue;
            }
        };
    }
    Ok(read)
}

/// The string, bool, int, double or bytes of an `AnyValue`.
#[inline]
fn plain<'a>(tag: Tag, value: &mut Reader<'a>) -> Result<Value<'a>, Fault> {
    Ok(match tag.field {
        2 => Value::Bool(value.varint(tag)? != 0),
        3 => Value::Int(value.varint(tag)?.cast_signed()),
        4 => Value::Double(value.double(tag)?),
        _ => Value::Text(Cow::Borrowed(value.bytes(tag)?)),
    })
}

/// The value of an `ArrayValue` that holds one plain value.
fn single(mut array: Reader<'_>) -> Result<Value<'_>, Fault> {
    let mut only = Value::Absent;
    let mut count = 0_u32;
    while let Some(tag) = array.field()? {
        if tag.field != 1 {
            array.skip(tag)?;
            continue;
        }
        let mut element = array.message(tag)?;
        count += 1;
        if count > 1 {
            return Ok(Value::Absent);
        }
        while let Some(tag) = element.field()? {
            match tag.field {
                1..=4 | 7 => only = plain(tag, &mut element)?,
                _ => {
                    element.skip(tag)?;
                    only = Value::Absent;
                }
            }
        }
    }
    Ok(only)
}

/// The entries of a log body that is a map, read like attributes; nested maps are not looked into.
pub(crate) fn map_entries<'a>(mut map: Reader<'a>, fields: &mut Fields<'a>) -> Result<(), Fault> {
    while let Some(tag) = map.field()? {
        if tag.field == 1 {
            read(map.message(tag)?, fields)?;
        } else {
            map.skip(tag)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Wire;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValueList};
    use prost::Message;

    use super::*;

    fn any(value: Wire) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn decoded(value: &AnyValue) -> Value<'static> {
        let bytes = value.encode_to_vec();
        any_value(Reader::new(&bytes)).expect("valid").into_owned()
    }

    #[test]
    fn plain_values_read_as_what_they_are() {
        assert_eq!(decoded(&any(Wire::StringValue("ü".into()))), Value::Text("ü".as_bytes().into()));
        assert_eq!(decoded(&any(Wire::BytesValue(vec![0xff]))), Value::Text(vec![0xff].into()));
        assert_eq!(decoded(&any(Wire::IntValue(-7))), Value::Int(-7));
        assert_eq!(decoded(&any(Wire::DoubleValue(0.5))), Value::Double(0.5));
        assert_eq!(decoded(&any(Wire::BoolValue(false))), Value::Bool(false));
        assert_eq!(decoded(&AnyValue { value: None }), Value::Absent);
    }

    #[test]
    fn an_array_of_one_plain_value_is_that_value_and_everything_deeper_is_absent() {
        let array = |values: Vec<AnyValue>| any(Wire::ArrayValue(ArrayValue { values }));
        let text = || any(Wire::StringValue("one".into()));
        assert_eq!(decoded(&array(vec![text()])), Value::Text(b"one".into()));
        assert_eq!(decoded(&array(vec![])), Value::Absent);
        assert_eq!(decoded(&array(vec![text(), text()])), Value::Absent);
        assert_eq!(decoded(&array(vec![array(vec![text()])])), Value::Absent);
        assert_eq!(decoded(&any(Wire::KvlistValue(KeyValueList { values: vec![] }))), Value::Absent);
    }

    #[test]
    fn the_series_hash_tells_keys_types_and_values_apart() {
        let one = hash(b"a", &Value::Int(1), b"");
        assert_eq!(one, hash(b"a", &Value::Int(1), b"other encoding"));
        let others = [
            hash(b"b", &Value::Int(1), b""),
            hash(b"a", &Value::Int(2), b""),
            hash(b"a", &Value::Bool(true), b""),
            hash(b"a", &Value::Absent, b"x"),
            hash(b"a", &Value::Absent, b"y"),
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(one, *other);
            assert!(!others[..at].contains(other));
        }
    }
}
