//! JSON attributes: `KeyValue` and `AnyValue` into the fields we have a use for.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::validate::validate;
use crate::attribute;
use crate::fault::Fault;
use crate::field::field_of;
use crate::record::{Fields, Value};

/// A list of `KeyValue`s, or `null`.
pub(super) fn attributes<'a>(list: &mut Cursor<'a>, fields: &mut Fields<'a>) -> Result<(), Fault> {
    if !list.array()? {
        return Ok(());
    }
    while list.element() {
        let (key, mut encoded) = split(list)?;
        if let Some(field) = field_of(&key) {
            fields.set(field, any_value(&mut encoded)?);
        }
    }
    Ok(())
}

/// As [`attributes`], and the attributes' sum for the series identity.
pub(super) fn attributes_and_hash<'a>(list: &mut Cursor<'a>, fields: &mut Fields<'a>) -> Result<u64, Fault> {
    let mut sum = 0_u64;
    if !list.array()? {
        return Ok(sum);
    }
    while list.element() {
        let (key, mut encoded) = split(list)?;
        let text = if encoded.peek() == 0 { &[] } else { encoded.clone().skip() };
        let value = any_value(&mut encoded)?;
        sum = sum.wrapping_add(attribute::hash(&key, &value, text));
        if let Some(field) = field_of(&key) {
            fields.set(field, value);
        }
    }
    Ok(sum)
}

/// Key and place of the value of one `KeyValue`; without a value, the place is the end of an empty text.
fn split<'a>(entry: &mut Cursor<'a>) -> Result<(Cow<'a, [u8]>, Cursor<'a>), Fault> {
    let mut key = Cow::Borrowed(&[][..]);
    let mut value = Cursor::new(&[]);
    if !entry.object()? {
        return Err(entry.expected("an object"));
    }
    while let Some(member) = entry.key() {
        match &member[..] {
            b"key" => key = entry.string()?,
            b"value" => {
                value = *entry;
                entry.skip();
            }
            _ => {
                entry.skip();
            }
        }
    }
    Ok((key, value))
}

/// One `AnyValue`; nothing and `null` are absent. As in protobuf, an array of exactly one plain value is that
/// value, other arrays and maps are absent.
pub(super) fn any_value<'a>(value: &mut Cursor<'a>) -> Result<Value<'a>, Fault> {
    let mut read = Value::Absent;
    if value.peek() == 0 || !value.object()? {
        return Ok(read);
    }
    while let Some(key) = value.key() {
        if let Some(plain) = plain(&key, value)? {
            read = plain;
        } else if *key == *b"arrayValue" {
            read = single(value)?;
        } else {
            value.skip();
        }
    }
    Ok(read)
}

/// A member of `AnyValue` that is a plain value; `None`, and nothing read, when it is another.
fn plain<'a>(key: &[u8], value: &mut Cursor<'a>) -> Result<Option<Value<'a>>, Fault> {
    let is_plain =
        matches!(key, b"stringValue" | b"boolValue" | b"intValue" | b"doubleValue" | b"bytesValue");
    if is_plain && value.null() {
        return Ok(Some(Value::Absent));
    }
    Ok(Some(match key {
        b"stringValue" => Value::Text(value.string()?),
        b"boolValue" => Value::Bool(value.boolean()?),
        b"intValue" => Value::Int(value.integer()?),
        b"doubleValue" => value.double()?.map_or(Value::Absent, Value::Double),
        b"bytesValue" => Value::Text(Cow::Owned(value.base64()?)),
        _ => return Ok(None),
    }))
}

/// The value of an `ArrayValue` that holds one plain value. `{}`, `{"values":null}` and `null` are empty arrays.
fn single<'a>(array: &mut Cursor<'a>) -> Result<Value<'a>, Fault> {
    let mut only = Value::Absent;
    let mut count = 0_u32;
    if !array.object()? {
        return Ok(only);
    }
    while let Some(key) = array.key() {
        if *key != *b"values" {
            array.skip();
        } else if array.array()? {
            while array.element() {
                count += 1;
                let mut element = *array;
                array.skip();
                if count > 1 {
                    only = Value::Absent;
                } else if element.object()? {
                    only = plain_element(&mut element)?;
                }
            }
        }
    }
    Ok(only)
}

/// The members of an `AnyValue` inside an array, where only plain values count.
fn plain_element<'a>(element: &mut Cursor<'a>) -> Result<Value<'a>, Fault> {
    let mut only = Value::Absent;
    while let Some(key) = element.key() {
        if let Some(plain) = plain(&key, element)? {
            only = plain;
        } else {
            element.skip();
        }
    }
    Ok(only)
}

/// The entries of a log body that is a map (`kvlistValue`), read like attributes; any other body has none.
pub(super) fn map_entries<'a>(mut body: Cursor<'a>, fields: &mut Fields<'a>) -> Result<(), Fault> {
    if body.peek() == 0 || !body.object()? {
        return Ok(());
    }
    while let Some(key) = body.key() {
        if *key != *b"kvlistValue" {
            body.skip();
        } else if body.object()? {
            while let Some(key) = body.key() {
                if *key == *b"values" {
                    attributes(&mut body, fields)?;
                } else {
                    body.skip();
                }
            }
        }
    }
    Ok(())
}

/// The members of a log body that is text and that text a JSON object: how a log agent forwards a proxy's JSON
/// access log. Read like attributes; text that is no JSON object has none, whatever else it is.
pub(crate) fn text_entries<'a>(body: &Value<'a>, nesting: &mut Vec<u64>, fields: &mut Fields<'a>) {
    match body {
        Value::Text(Cow::Borrowed(text)) => {
            object_members(text, nesting, |key, value| set(key, value, fields))
        }
        Value::Text(Cow::Owned(text)) => {
            object_members(text, nesting, |key, value| set(key, value.into_owned(), fields));
        }
        _ => {}
    }
}

fn set<'a>(key: &[u8], value: Value<'a>, fields: &mut Fields<'a>) {
    if let Some(field) = field_of(key) {
        fields.set(field, value);
    }
}

fn object_members<'t>(text: &'t [u8], nesting: &mut Vec<u64>, mut set: impl FnMut(&[u8], Value<'t>)) {
    if Cursor::new(text).peek() != b'{' {
        return;
    }
    let Ok(mut object) = validate(text, nesting) else { return };
    if object.object() != Ok(true) {
        return;
    }
    while let Some(key) = object.key() {
        let value = match object.peek() {
            b'"' => object.string().map(Value::Text),
            b't' | b'f' => object.boolean().map(Value::Bool),
            b'-' | b'0'..=b'9' => number(&mut object),
            _ => {
                object.skip();
                continue;
            }
        };
        let Ok(value) = value else { return };
        set(&key, value);
    }
}

fn number<'t>(object: &mut Cursor<'t>) -> Result<Value<'t>, Fault> {
    let start = *object;
    if let Ok(number) = object.integer() {
        return Ok(Value::Int(number));
    }
    *object = start;
    object.double().map(|number| number.map_or(Value::Absent, Value::Double))
}
