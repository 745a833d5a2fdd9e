//! Rows of plain values, and the record batch they make.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, ListBuilder, RecordBatch,
    RecordBatchOptions, StringArray, StringBuilder, TimestampNanosecondArray,
};
use datafusion::arrow::error::ArrowError;
use selvedge_model::EventTime;
use selvedge_model::tables::{ColumnKind, TableDef};

use crate::schema::{self, UTC};

/// One value of a small table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// NULL.
    Nothing,
    /// Text.
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// A whole number.
    Whole(i64),
    /// A number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

/// Rows, each with a value for every column of its table.
pub(crate) type Rows = Vec<Vec<Value>>;

impl Value {
    /// Text; empty text is "not given".
    pub(crate) fn text(text: &str) -> Self {
        if text.is_empty() { Self::Nothing } else { Self::Text(text.to_owned()) }
    }

    pub(crate) fn whole(number: u64) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }

    pub(crate) fn time(time: EventTime) -> Self {
        if time.present() { Self::whole(time.0) } else { Self::Nothing }
    }

    pub(crate) fn number(number: Option<f64>) -> Self {
        number.map_or(Self::Nothing, Self::Number)
    }

    /// Nanoseconds as milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
    pub(crate) fn milliseconds(nanos: Option<u64>) -> Self {
        Self::number(nanos.map(|nanos| nanos as f64 / 1e6))
    }
}

/// The rows as a batch of the table's schema.
pub(crate) fn batch(table: &TableDef, rows: &Rows) -> Result<RecordBatch, ArrowError> {
    let schema = schema::watched(table);
    let columns = table.columns.iter().enumerate().map(|(at, column)| array(column.kind, rows, at)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

fn array(kind: ColumnKind, rows: &Rows, at: usize) -> ArrayRef {
    let values = || rows.iter().map(|row| row.get(at).unwrap_or(&Value::Nothing));
    let whole = || {
        values().map(|value| match value {
            Value::Whole(number) => Some(*number),
            _ => None,
        })
    };
    match kind {
        ColumnKind::Text => Arc::new(StringArray::from_iter(values().map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        }))),
        ColumnKind::TextList => {
            let mut list = ListBuilder::new(StringBuilder::new());
            for value in values() {
                if let Value::Texts(texts) = value {
                    texts.iter().for_each(|text| list.values().append_value(text));
                    list.append(true);
                } else {
                    list.append(false);
                }
            }
            Arc::new(list.finish())
        }
        ColumnKind::Integer => Arc::new(Int64Array::from_iter(whole())),
        ColumnKind::Code => Arc::new(Int32Array::from_iter(
            whole().map(|number| number.and_then(|code| i32::try_from(code).ok())),
        )),
        ColumnKind::Number => Arc::new(Float64Array::from_iter(values().map(|value| match value {
            Value::Number(number) => Some(*number),
            _ => None,
        }))),
        ColumnKind::Flag => Arc::new(BooleanArray::from_iter(values().map(|value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }))),
        ColumnKind::Time => Arc::new(TimestampNanosecondArray::from_iter(whole()).with_timezone(UTC)),
    }
}
