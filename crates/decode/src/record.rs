//! A record as the wire carried it, borrowed: what `proto` and `json` read and `normalise` understands.

use std::borrow::Cow;

use crate::field::{FIELD_COUNT, Field};

/// An attribute's value. Text is bytes: a sender may put anything into a string field.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Value<'a> {
    /// No value, or one that we do not use (arrays, maps).
    #[default]
    Absent,
    /// A string (or bytes) as sent.
    Text(Cow<'a, [u8]>),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// A boolean.
    Bool(bool),
}

impl Value<'_> {
    /// The same value, independent of the bytes it was read from.
    pub(crate) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Absent => Value::Absent,
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Int(number) => Value::Int(number),
            Self::Double(number) => Value::Double(number),
            Self::Bool(truth) => Value::Bool(truth),
        }
    }
}

/// The attributes of one record that we have a use for, by field. The first value of a field wins.
pub(crate) struct Fields<'a> {
    /// Position in `values` plus one; zero when the field is not there.
    index: [u8; FIELD_COUNT],
    /// Bit per field that was sent.
    sent: u128,
    values: Vec<Value<'a>>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new() -> Self {
        Self { index: [0; FIELD_COUNT], sent: 0, values: Vec::new() }
    }

    /// Forgets all values and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.index = [0; FIELD_COUNT];
        self.sent = 0;
        self.values.clear();
    }

    /// The same memory, empty, for values of another lifetime.
    pub(crate) fn recycled<'b>(mut self) -> Fields<'b> {
        self.values.clear();
        // Collecting an empty vector into one of the same layout keeps its allocation.
        Fields {
            index: [0; FIELD_COUNT],
            sent: 0,
            values: self.values.into_iter().map(Value::into_owned).collect(),
        }
    }

    /// Sets a field, unless it has a value already.
    #[inline]
    pub(crate) fn set(&mut self, field: Field, value: Value<'a>) {
        let slot = &mut self.index[field as usize];
        if *slot == 0 && self.values.len() < usize::from(u8::MAX) {
            self.values.push(value);
            *slot = u8::try_from(self.values.len()).unwrap_or(0);
            self.sent |= field.bit();
        }
    }

    /// True when the field was sent at all, even as `-` or empty.
    pub(crate) fn sent(&self, field: Field) -> bool {
        self.sent & field.bit() != 0
    }

    /// Bit per field that was sent at all.
    #[inline]
    pub(crate) fn sent_bits(&self) -> u128 {
        self.sent
    }

    /// The value of a field; `Absent` when it was not sent.
    #[inline]
    pub(crate) fn get(&self, field: Field) -> &Value<'a> {
        match self.index[field as usize] {
            0 => &Value::Absent,
            at => &self.values[usize::from(at) - 1],
        }
    }
}

/// What a span says outside of its attributes.
#[derive(Clone, Copy, Default)]
pub(crate) struct SpanHead<'r> {
    pub(crate) trace_id: &'r [u8],
    pub(crate) span_id: &'r [u8],
    pub(crate) parent_span_id: &'r [u8],
    pub(crate) name: &'r [u8],
    /// OTLP SpanKind: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub(crate) kind: i32,
    pub(crate) start_unix_nano: u64,
    pub(crate) end_unix_nano: u64,
    /// OTLP StatusCode: 2 is error.
    pub(crate) status_code: i32,
    /// W3C `tracestate`.
    pub(crate) trace_state: &'r [u8],
}

/// One span.
pub(crate) struct SpanRecord<'r, 'a> {
    pub(crate) head: SpanHead<'r>,
    pub(crate) fields: &'r Fields<'a>,
}

/// One log record.
pub(crate) struct LogRecord<'r, 'a> {
    pub(crate) time_unix_nano: u64,
    pub(crate) observed_unix_nano: u64,
    pub(crate) severity_number: i32,
    pub(crate) trace_id: &'r [u8],
    pub(crate) span_id: &'r [u8],
    /// The body when it is text; a structured (map) body's entries are in `fields`, read like attributes.
    pub(crate) body: &'r Value<'a>,
    pub(crate) fields: &'r Fields<'a>,
}

/// The number or distribution of one metric point, before it goes onto our grid.
pub(crate) enum PointValue<'r> {
    /// Gauge or sum.
    Number(f64),
    /// Explicit bounds: `counts` has one more entry than `bounds`.
    Explicit { count: u64, sum: f64, bounds: &'r [f64], counts: &'r [u64] },
    /// OpenTelemetry exponential histogram.
    Exponential {
        count: u64,
        sum: f64,
        scale: i32,
        zero_count: u64,
        positive_offset: i32,
        positive: &'r [u64],
    },
}

/// One metric point with the metric it belongs to.
pub(crate) struct PointRecord<'r, 'a> {
    pub(crate) name: &'r [u8],
    pub(crate) unit: &'r [u8],
    pub(crate) start_unix_nano: u64,
    pub(crate) time_unix_nano: u64,
    pub(crate) temporality: selvedge_model::Temporality,
    pub(crate) monotonic: bool,
    pub(crate) value: PointValue<'r>,
    /// Order-independent hash over all attributes (known or not), computed by the reader: series identity.
    pub(crate) attributes_hash: u64,
    pub(crate) fields: &'r Fields<'a>,
}
