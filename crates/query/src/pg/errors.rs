//! Errors as PostgreSQL's clients show them: SQLSTATE, hint, and the place in the text.

use pgwire::error::{ErrorInfo, PgWireError};

use crate::error::{Position, SqlError};

/// The error for the wire. `sql` is the text that positions count in.
pub(crate) fn wire(error: &SqlError, sql: &str) -> PgWireError {
    let mut info = ErrorInfo::new("ERROR".to_owned(), error.sqlstate().to_owned(), error.to_string());
    info.hint = error.hint();
    info.position = error.position().and_then(|at| offset(sql, at)).map(|offset| offset.to_string());
    PgWireError::UserError(Box::new(info))
}

/// Characters up to a position, counted from 1.
fn offset(sql: &str, at: Position) -> Option<usize> {
    let line = usize::try_from(at.line).ok()?.checked_sub(1)?;
    let before: usize = sql.split_inclusive('\n').take(line).map(|line| line.chars().count()).sum();
    Some(before + usize::try_from(at.column).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_number_of_characters() {
        assert_eq!(offset("SELECT ä,\n  x", Position { line: 2, column: 3 }), Some(13));
        assert_eq!(offset("SELECT x", Position { line: 1, column: 8 }), Some(8));
    }
}
