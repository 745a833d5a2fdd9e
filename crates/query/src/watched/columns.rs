//! The table of all columns, with what each means: `SELECT * FROM columns WHERE table_name = 'calls'`.

use selvedge_model::tables::{ColumnDef, ColumnKind, TABLES, TableDef};

use crate::watched::rows::{Rows, Value};

/// Columns of all tables.
pub(crate) const COLUMNS: TableDef = TableDef {
    name: "columns",
    comment: "One row per column of every table, with what it means.",
    columns: &[
        ColumnDef { name: "table_name", kind: ColumnKind::Text, comment: "Name of the table." },
        ColumnDef { name: "position", kind: ColumnKind::Integer, comment: "Its place, from 1." },
        ColumnDef { name: "column_name", kind: ColumnKind::Text, comment: "Name of the column." },
        ColumnDef { name: "type", kind: ColumnKind::Text, comment: "What it holds." },
        ColumnDef { name: "comment", kind: ColumnKind::Text, comment: "What it means." },
    ],
};

pub(crate) fn rows() -> Rows {
    let row = |table: &TableDef, at: usize, column: &ColumnDef| {
        vec![
            Value::text(table.name),
            Value::whole(at as u64 + 1),
            Value::text(column.name),
            Value::text(column.kind.sql_name()),
            Value::text(column.comment),
        ]
    };
    let tables = TABLES.into_iter().chain([&COLUMNS]);
    tables
        .flat_map(|table| table.columns.iter().enumerate().map(move |(at, column)| row(table, at, column)))
        .collect()
}
