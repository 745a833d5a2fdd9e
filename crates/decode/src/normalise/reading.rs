//! What one record says, field by field: text that is certainly UTF-8, numbers, and what counts as absent.
//!
//! Proxies write everything as text, and `-` for nothing (`envoy.md` 3.1). Header bytes are copied verbatim into
//! string fields, so any text may be broken UTF-8: it is repaired and counted, once per string.

use std::borrow::Cow;
use std::cell::Cell;

use selvedge_model::{Symbol, SymbolTable};

use crate::field::Field;
use crate::record::{Fields, Value};

/// Longest name that is interned: a DNS name has 253 bytes.
pub(crate) const NAME_MAX: usize = 253;

/// The fields of one record, and of its text body where the body is an access-log line.
pub(crate) struct Reading<'r> {
    fields: &'r Fields<'r>,
    body: Option<&'r Fields<'r>>,
    /// Fields whose text was found broken already.
    broken: u128,
    repaired: u8,
    /// Fields that were looked at.
    looked_at: Cell<u128>,
}

impl<'r> Reading<'r> {
    pub(crate) fn new(fields: &'r Fields<'r>, body: Option<&'r Fields<'r>>) -> Self {
        Self { fields, body, broken: 0, repaired: 0, looked_at: Cell::new(0) }
    }

    /// Strings repaired so far.
    pub(crate) fn repaired(&self) -> u8 {
        self.repaired
    }

    /// Counts a repair that happened outside of the fields.
    pub(crate) fn count_repair(&mut self) {
        self.repaired = self.repaired.saturating_add(1);
    }

    /// True when the sender has this field at all, even without a value: it would have said so.
    pub(crate) fn sent(&self, field: Field) -> bool {
        self.look_at(field.bit());
        self.sent_bits() & field.bit() != 0
    }

    /// True when the field has a value.
    #[inline]
    pub(crate) fn has(&self, field: Field) -> bool {
        present(self.value(field))
    }

    /// True when one of the fields has a value.
    pub(crate) fn has_any(&self, fields: &[Field]) -> bool {
        let bits = fields.iter().fold(0, |bits, field| bits | field.bit());
        if self.sent_bits() & bits == 0 {
            self.look_at(bits);
            return false;
        }
        fields.iter().any(|field| self.has(*field))
    }

    #[inline]
    fn value(&self, field: Field) -> &'r Value<'r> {
        self.look_at(field.bit());
        let value = self.fields.get(field);
        match self.body {
            Some(body) if !present(value) => body.get(field),
            _ => value,
        }
    }

    #[inline]
    fn look_at(&self, fields: u128) {
        self.looked_at.set(self.looked_at.get() | fields);
    }

    #[inline]
    fn sent_bits(&self) -> u128 {
        self.fields.sent_bits() | self.body.map_or(0, Fields::sent_bits)
    }

    /// The fields that were looked at since [`Self::set_looked_at`].
    pub(crate) fn looked_at(&self) -> u128 {
        self.looked_at.get()
    }

    /// Takes these for the fields that were looked at so far.
    pub(crate) fn set_looked_at(&mut self, fields: u128) {
        self.looked_at.set(fields);
    }

    /// The field's bytes, when it is text.
    #[inline]
    pub(crate) fn bytes(&self, field: Field) -> Option<&'r [u8]> {
        match self.value(field) {
            Value::Text(bytes) if !absent(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The field as text; broken UTF-8 is replaced by U+FFFD and counted.
    #[inline]
    pub(crate) fn text(&mut self, field: Field) -> Option<Cow<'r, str>> {
        if self.has(field) { self.text_of_value(field) } else { None }
    }

    fn text_of_value(&mut self, field: Field) -> Option<Cow<'r, str>> {
        match self.value(field) {
            Value::Text(bytes) if !absent(bytes) => Some(match std::str::from_utf8(bytes) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => {
                    let bit = field.bit();
                    if self.broken & bit == 0 {
                        self.broken |= bit;
                        self.count_repair();
                    }
                    Cow::Owned(String::from_utf8_lossy(bytes).into_owned())
                }
            }),
            Value::Int(number) => Some(Cow::Owned(number.to_string())),
            Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
            Value::Text(_) | Value::Double(_) | Value::Absent => None,
        }
    }

    /// Like [`Self::text`], where Istio's `unknown` also means absent.
    pub(crate) fn name(&mut self, field: Field) -> Option<Cow<'r, str>> {
        self.text(field).filter(|text| text != "unknown")
    }

    /// The first of these fields that names something.
    pub(crate) fn first_name(&mut self, fields: &[Field]) -> Option<Cow<'r, str>> {
        fields.iter().find_map(|field| self.name(*field))
    }

    /// Notices broken text in fields that are perhaps not used otherwise.
    #[inline]
    pub(crate) fn check(&mut self, fields: &[Field]) {
        let sent = self.sent_bits();
        for field in fields.iter().copied().filter(|field| sent & field.bit() != 0) {
            if let Value::Text(bytes) = self.value(field)
                && !bytes.is_ascii()
            {
                self.text(field);
            }
        }
    }

    /// The field's text as a symbol; longer text is cut.
    pub(crate) fn symbol(&mut self, field: Field, length_max: usize, symbols: &mut SymbolTable) -> Symbol {
        self.text(field).map_or(Symbol::NONE, |text| symbols.intern(cut(&text, length_max)))
    }

    /// The first of these names, as a symbol.
    pub(crate) fn name_symbol(&mut self, fields: &[Field], symbols: &mut SymbolTable) -> Symbol {
        self.first_name(fields).map_or(Symbol::NONE, |text| symbols.intern(cut(&text, NAME_MAX)))
    }

    /// The field as a number that is not negative.
    pub(crate) fn number(&self, field: Field) -> Option<u64> {
        match self.value(field) {
            Value::Int(number) => u64::try_from(*number).ok(),
            Value::Double(number) => whole(*number),
            Value::Text(bytes) => {
                digits(bytes).or_else(|| std::str::from_utf8(bytes).ok()?.trim().parse().ok())
            }
            Value::Bool(_) | Value::Absent => None,
        }
    }

    /// The field as text or as the text of a fractional number, for values with a unit.
    pub(crate) fn decimal(&self, field: Field) -> Option<Decimal<'r>> {
        match self.value(field) {
            Value::Int(number) => u64::try_from(*number).ok().map(Decimal::Whole),
            Value::Double(number) => Some(Decimal::Fraction(*number)),
            Value::Text(bytes) if !absent(bytes) => std::str::from_utf8(bytes).ok().map(Decimal::Text),
            Value::Text(_) | Value::Bool(_) | Value::Absent => None,
        }
    }

    /// True when the field says yes.
    pub(crate) fn truth(&self, field: Field) -> bool {
        match self.value(field) {
            Value::Bool(truth) => *truth,
            Value::Text(bytes) => bytes.eq_ignore_ascii_case(b"true") || bytes.as_ref() == b"1",
            Value::Int(number) => *number == 1,
            Value::Double(_) | Value::Absent => false,
        }
    }
}

/// A quantity as it was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Decimal<'r> {
    Whole(u64),
    Fraction(f64),
    Text(&'r str),
}

/// A number of plain digits, few enough that it cannot overflow: nearly every number that is sent as text.
fn digits(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 19 {
        return None;
    }
    bytes.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u64::from(digit))
    })
}

/// A float that stands for a count; `None` below zero, above 2^53 and for NaN.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in 0..=2^53")]
pub(crate) fn whole(number: f64) -> Option<u64> {
    (0.0..=9_007_199_254_740_992.0).contains(&number).then_some(number as u64)
}

/// The text, cut at a character boundary to at most `length_max` bytes.
pub(crate) fn cut(text: &str, length_max: usize) -> &str {
    &text[..text.floor_char_boundary(length_max)]
}

#[inline]
fn absent(bytes: &[u8]) -> bool {
    matches!(bytes, [] | [b'-'])
}

#[inline]
fn present(value: &Value<'_>) -> bool {
    match value {
        Value::Absent => false,
        Value::Text(bytes) => !absent(bytes),
        Value::Int(_) | Value::Double(_) | Value::Bool(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(Field, Value<'static>)]) -> Fields<'static> {
        let mut fields = Fields::new();
        for (field, value) in pairs {
            fields.set(*field, value.clone());
        }
        fields
    }

    fn text(bytes: &'static [u8]) -> Value<'static> {
        Value::Text(Cow::Borrowed(bytes))
    }

    #[test]
    fn broken_text_is_repaired_and_counted_once_however_often_it_is_read() {
        let fields = fields(&[(Field::UserAgent, text(b"\xff\xfe"))]);
        let mut reading = Reading::new(&fields, None);
        assert_eq!(reading.text(Field::UserAgent).as_deref(), Some("\u{fffd}\u{fffd}"));
        reading.check(&[Field::UserAgent]);
        assert_eq!(reading.repaired(), 1);
    }

    #[test]
    fn a_dash_is_sent_and_absent_and_gives_way_to_the_body() {
        let record = fields(&[(Field::Method, text(b"-")), (Field::Status, text(b"204"))]);
        let body = fields(&[(Field::Method, text(b"GET")), (Field::Status, text(b"500"))]);
        let mut reading = Reading::new(&record, None);
        assert!(reading.sent(Field::Method) && !reading.has(Field::Method));
        assert_eq!(reading.text(Field::Method), None);
        let mut reading = Reading::new(&record, Some(&body));
        assert_eq!(reading.text(Field::Method).as_deref(), Some("GET"));
        assert_eq!(reading.number(Field::Status), Some(204));
    }

    #[test]
    fn numbers_come_as_text_integer_and_float() {
        let fields = fields(&[
            (Field::Status, text(b"200")),
            (Field::RequestBytes, Value::Int(7)),
            (Field::ResponseBytes, Value::Double(8.0)),
            (Field::GrpcStatus, Value::Int(-1)),
        ]);
        let reading = Reading::new(&fields, None);
        assert_eq!(reading.number(Field::Status), Some(200));
        assert_eq!(reading.number(Field::RequestBytes), Some(7));
        assert_eq!(reading.number(Field::ResponseBytes), Some(8));
        assert_eq!(reading.number(Field::GrpcStatus), None);
    }
}
