//! The SQL tables, as plain data: names, kinds and what each column means.
//!
//! `query` makes Arrow schemas of them, `docs/tables.md` is generated from them, and the comments reach SQL. The order
//! of columns is the order of `SELECT *`: time first, then who, what, how it went, and ids last.

mod recorded;
mod watched;

pub use recorded::{CALLS, LOG_RECORDS, METRIC_POINTS, SPANS};
pub use watched::{AUDIT, BASELINES, EDGES, FATES, FINDINGS, INCIDENTS, QUARANTINES, ROUTES};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text.
    Text,
    /// A list of texts.
    TextList,
    /// A whole number of 64 bits.
    Integer,
    /// A whole number of 32 bits: codes.
    Code,
    /// A floating-point number.
    Number,
    /// True or false.
    Flag,
    /// A moment, in nanoseconds UTC.
    Time,
}

impl ColumnKind {
    /// The SQL name of the type, as PostgreSQL writes it.
    #[must_use]
    pub fn sql_name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::TextList => "text[]",
            Self::Integer => "bigint",
            Self::Code => "integer",
            Self::Number => "double precision",
            Self::Flag => "boolean",
            Self::Time => "timestamp with time zone",
        }
    }
}

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ColumnDef {
    /// Name in SQL.
    pub name: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
    /// What it means, one sentence.
    pub comment: &'static str,
}

/// One table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableDef {
    /// Name in SQL.
    pub name: &'static str,
    /// What a row is.
    pub comment: &'static str,
    /// Its columns, in order.
    pub columns: &'static [ColumnDef],
}

impl TableDef {
    /// The position of a column.
    #[must_use]
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|known| known.name == column)
    }
}

/// All tables, in the order in which people should meet them.
pub const TABLES: [&TableDef; 12] = [
    &CALLS,
    &SPANS,
    &LOG_RECORDS,
    &METRIC_POINTS,
    &EDGES,
    &ROUTES,
    &BASELINES,
    &FINDINGS,
    &INCIDENTS,
    &QUARANTINES,
    &AUDIT,
    &FATES,
];

/// Writes a table as data: `name: Kind, "comment";` a column.
macro_rules! table {
    ($table:ident, $name:literal, $comment:literal, { $($column:ident: $kind:ident, $what:literal;)* }) => {
        #[doc = $comment]
        pub const $table: $crate::tables::TableDef = $crate::tables::TableDef {
            name: $name,
            comment: $comment,
            columns: &[$($crate::tables::ColumnDef {
                name: stringify!($column),
                kind: $crate::tables::ColumnKind::$kind,
                comment: $what,
            },)*],
        };
    };
}
use table;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_column_says_what_it_means() {
        for (at, table) in TABLES.iter().enumerate() {
            assert!(TABLES[..at].iter().all(|other| other.name != table.name));
            for (position, column) in table.columns.iter().enumerate() {
                assert_eq!(table.position(column.name), Some(position), "{}.{}", table.name, column.name);
                assert!(column.comment.len() > 8, "{}.{}", table.name, column.name);
            }
        }
    }
}
