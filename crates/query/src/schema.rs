//! Arrow schemas of the tables.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use selvedge_model::tables::{ColumnDef, ColumnKind, TableDef};

/// The time zone of all times: the one that `now()` has, so that comparing the two needs no cast.
pub(crate) const UTC: &str = "+00:00";

/// Columns whose text is as various as the rows: no dictionary.
const PLAIN_TEXT: [&str; 5] = ["trace_id", "span_id", "parent_span_id", "request_id", "series"];

/// The schema of a table whose rows are in segments.
pub(crate) fn recorded(table: &TableDef) -> SchemaRef {
    schema(table, |column| match column.kind {
        ColumnKind::Text if !PLAIN_TEXT.contains(&column.name) => dictionary(),
        _ => plain(column.kind),
    })
}

/// The schema of a table whose rows are few.
pub(crate) fn watched(table: &TableDef) -> SchemaRef {
    schema(table, |column| plain(column.kind))
}

fn schema(table: &TableDef, kind: impl Fn(&ColumnDef) -> DataType) -> SchemaRef {
    let field = |column: &ColumnDef| {
        let comment = HashMap::from([("comment".to_owned(), column.comment.to_owned())]);
        Field::new(column.name, kind(column), true).with_metadata(comment)
    };
    Arc::new(Schema::new(table.columns.iter().map(field).collect::<Vec<_>>()))
}

/// Text with few distinct values.
pub(crate) fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8))
}

/// A moment.
pub(crate) fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into()))
}

fn plain(kind: ColumnKind) -> DataType {
    match kind {
        ColumnKind::Text => DataType::Utf8,
        ColumnKind::TextList => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        ColumnKind::Integer => DataType::Int64,
        ColumnKind::Code => DataType::Int32,
        ColumnKind::Number => DataType::Float64,
        ColumnKind::Flag => DataType::Boolean,
        ColumnKind::Time => time(),
    }
}
