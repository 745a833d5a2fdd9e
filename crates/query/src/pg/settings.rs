//! Statements about the connection, not about data: settings, transactions, leftovers.

use std::time::Duration;

use datafusion::sql::sqlparser::ast::{Set, Statement};
use pgwire::api::ClientInfo;

use crate::error::SqlError;

/// Settings that clients make when they connect. They change how a client is spoken to, never the engine.
const ALLOWED: [&str; 17] = [
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "search_path",
    "standard_conforming_strings",
    "statement_timeout",
    "row_security",
    "timezone",
];

/// What to do with a statement.
pub(crate) enum Kind {
    /// A setting, transaction or `SHOW` that `datafusion-postgres` answers.
    Hook,
    /// Nothing to do; the client wants to hear this word.
    Done(&'static str),
    /// A query.
    Query,
}

/// Sorts out what is about the connection.
///
/// # Errors
/// A setting that is not one of the allowed.
pub(crate) fn kind(statement: &Statement) -> Result<Kind, SqlError> {
    Ok(match statement {
        Statement::Set(set) => return setting(set),
        Statement::ShowVariable { .. } | Statement::ShowStatus { .. } => Kind::Hook,
        Statement::StartTransaction { .. } | Statement::Commit { .. } | Statement::Rollback { .. } => {
            Kind::Hook
        }
        Statement::Discard { .. } => Kind::Done("DISCARD ALL"),
        Statement::Deallocate { .. } => Kind::Done("DEALLOCATE"),
        _ => Kind::Query,
    })
}

fn setting(set: &Set) -> Result<Kind, SqlError> {
    let refused = |name: &str| Err(SqlError::NotReadOnly { statement: format!("SET {name}") });
    match set {
        Set::SingleAssignment { variable, .. } => {
            let name = variable.to_string().to_lowercase();
            match ALLOWED.contains(&name.as_str()) {
                true if answered(&name) => Ok(Kind::Hook),
                true => Ok(Kind::Done("SET")),
                false => refused(&name),
            }
        }
        Set::SetTimeZone { .. } => Ok(Kind::Hook),
        Set::SetNames { .. } | Set::SetNamesDefault { .. } | Set::SetTransaction { .. } => {
            Ok(Kind::Done("SET"))
        }
        other => refused(&other.to_string()),
    }
}

/// Settings that `datafusion-postgres` keeps for the connection.
fn answered(name: &str) -> bool {
    let kept = [
        "application_name",
        "bytea_output",
        "datestyle",
        "extra_float_digits",
        "intervalstyle",
        "search_path",
        "statement_timeout",
    ];
    kept.contains(&name)
}

/// The time that the client gives its statements.
pub(crate) fn statement_timeout<C: ClientInfo + ?Sized>(client: &C) -> Option<Duration> {
    client
        .metadata()
        .get("statement_timeout_ms")
        .and_then(|text| text.parse().ok())
        .map(Duration::from_millis)
}
