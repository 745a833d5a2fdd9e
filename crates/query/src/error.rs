//! What can go wrong with a query, where in its text, and what to do about it.

use std::fmt;
use std::time::Duration;

use datafusion::common::{Column, Diagnostic, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// A place in the SQL text; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
}

/// Why there is no answer, or no more of it. [`Self::code`] is stable, the words are for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// Not SQL.
    #[error("{message}")]
    Syntax {
        /// What the parser expected.
        message: String,
        /// Where.
        at: Option<Position>,
    },
    /// SQL, but it does not fit the tables: an unknown name, a wrong type.
    #[error("{message}")]
    Invalid {
        /// What does not fit.
        message: String,
        /// Where.
        at: Option<Position>,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// It would do more than read.
    #[error("{statement} is not allowed: SQL here only reads")]
    NotReadOnly {
        /// The statement's kind.
        statement: String,
    },
    /// The text is longer than allowed.
    #[error("the statement has {bytes} bytes, more than the {bytes_max} allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Reading or planning it would take too long, or too much.
    #[error("the statement is too complex: {why}")]
    TooComplex {
        /// What of it.
        why: &'static str,
    },
    /// The rows up to the limit were given; there are more.
    #[error("the result has more than {rows_max} rows; the first {rows_max} were given")]
    TooManyRows {
        /// The limit.
        rows_max: usize,
    },
    /// It needs more memory than queries may have.
    #[error("the query needs more memory than the {bytes_max} bytes that queries may use")]
    OutOfMemory {
        /// The limit of all queries together.
        bytes_max: usize,
    },
    /// It took too long.
    #[error("the query was stopped after {}", humantime::format_duration(*after))]
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// Others are running and waiting.
    #[error("{running} queries are running and {waiting} are waiting; try again later")]
    Busy {
        /// How many may run.
        running: usize,
        /// How many wait.
        waiting: usize,
    },
    /// The engine is stopping.
    #[error("the engine is stopping")]
    Stopping,
    /// A value could not be computed: a division by zero, a text that is no number.
    #[error("{message}")]
    Failed {
        /// What failed.
        message: String,
    },
}

impl SqlError {
    /// A stable word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "syntax_error",
            Self::Invalid { .. } => "invalid_query",
            Self::NotReadOnly { .. } => "not_read_only",
            Self::TooLong { .. } => "statement_too_long",
            Self::TooComplex { .. } => "statement_too_complex",
            Self::TooManyRows { .. } => "too_many_rows",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::TimedOut { .. } => "timed_out",
            Self::Busy { .. } => "busy",
            Self::Stopping => "stopping",
            Self::Failed { .. } => "execution_failed",
        }
    }

    /// PostgreSQL's code for the same.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "42601",
            Self::Invalid { .. } => "42000",
            Self::NotReadOnly { .. } => "25006",
            Self::TooLong { .. } | Self::TooManyRows { .. } => "54000",
            Self::TooComplex { .. } => "54001",
            Self::OutOfMemory { .. } => "53200",
            Self::TimedOut { .. } => "57014",
            Self::Busy { .. } => "53300",
            Self::Stopping => "57P01",
            Self::Failed { .. } => "22000",
        }
    }

    /// Where in the text, when that is known.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Syntax { at, .. } | Self::Invalid { at, .. } => *at,
            _ => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid { hint, .. } => hint.clone(),
            Self::NotReadOnly { .. } => Some("use SELECT, EXPLAIN, SHOW TABLES or DESCRIBE".to_owned()),
            Self::TooManyRows { .. } => Some("add LIMIT, or group the rows".to_owned()),
            Self::OutOfMemory { .. } => {
                Some("narrow the time range, group by fewer columns, or select fewer".to_owned())
            }
            Self::TimedOut { .. } => Some("narrow the time range with end_time".to_owned()),
            _ => None,
        }
    }

    /// True when the same query may succeed later.
    #[must_use]
    pub fn retry(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Stopping)
    }

    /// Of an error while parsing or planning.
    pub(crate) fn planning(error: &DataFusionError, bytes_max: usize) -> Self {
        let at = error.diagnostic().and_then(position);
        match error.find_root() {
            DataFusionError::SQL(error, _) => {
                let message = error.to_string();
                let message = message.trim_start_matches("sql parser error: ");
                let (message, at) = cut_position(message);
                Self::Syntax { message: message.to_owned(), at }
            }
            DataFusionError::SchemaError(error, _) => {
                let hint = match error.as_ref() {
                    SchemaError::FieldNotFound { field, valid_fields } => similar(field, valid_fields),
                    _ => None,
                };
                Self::Invalid { message: short(&error.to_string()), at, hint }
            }
            DataFusionError::ResourcesExhausted(_) => Self::OutOfMemory { bytes_max },
            root => {
                let message = root.strip_backtrace();
                let meant = message.split_once("Did you mean ").map(|(_, meant)| meant.trim_end_matches('?'));
                let no_table = message.contains("table '") && message.ends_with("not found");
                let hint = meant.map(|meant| format!("did you mean {}?", meant.trim_matches('\'')));
                let hint = hint.or_else(|| no_table.then(|| "SHOW TABLES lists all tables".to_owned()));
                Self::Invalid { message: short(&message), at, hint }
            }
        }
    }

    /// The same, of a text: what DataFusion gives no place has one where its name stands, when it stands there once.
    pub(crate) fn planning_of(error: &DataFusionError, bytes_max: usize, sql: &str) -> Self {
        match Self::planning(error, bytes_max) {
            Self::Invalid { message, at: None, hint } => {
                let at = culprit(error).and_then(|name| only_place(sql, &name));
                Self::Invalid { message, at, hint }
            }
            told => told,
        }
    }

    /// Of an error while running.
    pub(crate) fn running(error: &DataFusionError, bytes_max: usize) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => Self::OutOfMemory { bytes_max },
            DataFusionError::Plan(message) => Self::Invalid { message: short(message), at: None, hint: None },
            root => Self::Failed { message: short(&root.strip_backtrace()) },
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

fn position(diagnostic: &Diagnostic) -> Option<Position> {
    let start = diagnostic.span?.start;
    Some(Position { line: start.line, column: start.column })
}

/// The name that an error is about: a column, or a function.
fn culprit(error: &DataFusionError) -> Option<String> {
    match error.find_root() {
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::FieldNotFound { field, .. } => Some(field.name.clone()),
            _ => None,
        },
        root => {
            let message = root.strip_backtrace();
            let about_a_function = message.contains("unction");
            message.split('\'').nth(1).filter(|_| about_a_function).map(str::to_owned)
        }
    }
}

/// Where a name stands in a text, when it stands there once.
fn only_place(sql: &str, name: &str) -> Option<Position> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().ok()?;
    let mut places = tokens.iter().filter_map(|token| match &token.token {
        Token::Word(word) if word.value.eq_ignore_ascii_case(name) => Some(token.span.start),
        _ => None,
    });
    let start = places.next().filter(|_| places.next().is_none())?;
    Some(Position { line: start.line, column: start.column })
}

/// The parser writes the position into its message.
fn cut_position(message: &str) -> (&str, Option<Position>) {
    let found = message.rsplit_once(" at Line: ").and_then(|(before, at)| {
        let (line, column) = at.split_once(", Column: ")?;
        Some((before, Position { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? }))
    });
    found.map_or((message, None), |(before, at)| (before, Some(at)))
}

/// Without the words that DataFusion puts before every message, and without the list of all columns.
fn short(message: &str) -> String {
    let kinds = [
        "Error during planning: ",
        "Schema error: ",
        "Execution error: ",
        "Arrow error: ",
        "This feature is not implemented: ",
    ];
    let message = kinds.iter().fold(message, |message, kind| message.strip_prefix(kind).unwrap_or(message));
    let message = message.split("Valid fields are").next().unwrap_or(message);
    let message = message.split(" No function matches").next().unwrap_or(message);
    message.split("Did you mean").next().unwrap_or(message).trim_end().to_owned()
}

/// The column that was most likely meant.
fn similar(field: &Column, valid: &[Column]) -> Option<String> {
    let distance = |column: &&Column| edits(&column.name, &field.name);
    let nearest = valid.iter().min_by_key(distance)?;
    let near = edits(&nearest.name, &field.name) <= field.name.len().div_ceil(3);
    let contains = || valid.iter().find(|column| column.name.ends_with(&format!("_{}", field.name)));
    let meant = if near { Some(nearest) } else { contains() }?;
    Some(format!("did you mean {}?", meant.name))
}

/// Edit distance of two short names.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parsers_position_is_cut_out_of_its_message() {
        let (message, at) = cut_position("Expected: end, found: x at Line: 2, Column: 17");
        assert_eq!(message, "Expected: end, found: x");
        assert_eq!(at, Some(Position { line: 2, column: 17 }));
        assert_eq!(cut_position("no position"), ("no position", None));
    }

    #[test]
    fn a_name_that_stands_once_has_a_place_and_one_that_stands_twice_has_none() {
        assert_eq!(
            only_place("SELECT 'nope'\n ORDER BY nope", "nope"),
            Some(Position { line: 2, column: 11 })
        );
        assert_eq!(only_place("SELECT nope ORDER BY Nope", "nope"), None);
        assert_eq!(only_place("SELECT 1", "nope"), None);
    }

    #[test]
    fn a_misspelt_column_finds_the_one_that_was_meant() {
        let valid: Vec<Column> =
            ["status", "source_workload", "duration"].into_iter().map(Column::from_name).collect();
        let meant = |name: &str| similar(&Column::from_name(name), &valid);
        assert_eq!(meant("staus").as_deref(), Some("did you mean status?"));
        assert_eq!(meant("workload").as_deref(), Some("did you mean source_workload?"));
        assert_eq!(meant("certificate"), None);
    }
}
