//! What may be asked: one statement, and only one that reads.

use datafusion::common::Result;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

use crate::error::SqlError;
use crate::measure::measure;

/// How deep expressions may nest.
const DEPTH_MAX: usize = 50;

/// The one statement of a text, when it only reads.
pub(crate) fn parse(sql: &str) -> Result<Statement, SqlError> {
    measure(sql)?;
    let dialect = PostgreSqlDialect {};
    let parsed = DFParserBuilder::new(sql)
        .with_dialect(&dialect)
        .with_recursion_limit(DEPTH_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(|error| SqlError::planning(&error, 0))?;
    let Some(statement) = statements.pop_front() else {
        return Err(SqlError::Syntax { message: "there is no statement".to_owned(), at: None });
    };
    if !statements.is_empty() {
        return Err(SqlError::Syntax { message: "one statement at a time".to_owned(), at: None });
    }
    check(&statement)?;
    Ok(statement)
}

/// Refuses every statement that is not known to read only.
pub(crate) fn check(statement: &Statement) -> Result<(), SqlError> {
    match statement {
        Statement::Statement(statement) => check_ast(statement),
        Statement::Explain(explain) => check(&explain.statement),
        Statement::CopyTo(_) => refuse("COPY"),
        Statement::CreateExternalTable(_) => refuse("CREATE EXTERNAL TABLE"),
        Statement::Reset(_) => refuse("RESET"),
    }
}

/// The same for the parser's own tree.
pub(crate) fn check_ast(statement: &ast::Statement) -> Result<(), SqlError> {
    use ast::Statement as Sql;
    match statement {
        Sql::Query(_)
        | Sql::ShowTables { .. }
        | Sql::ShowColumns { .. }
        | Sql::ShowVariable { .. }
        | Sql::ShowFunctions { .. }
        | Sql::ExplainTable { .. } => Ok(()),
        Sql::Explain { statement, .. } => check_ast(statement),
        // The statement's first words name it well enough.
        other => {
            let text = other.to_string();
            let words: Vec<&str> = text.split_whitespace().take(2).collect();
            let known = ["CREATE", "DROP", "ALTER"].contains(words.first().unwrap_or(&""));
            refuse(&words[..words.len().min(if known { 2 } else { 1 })].join(" "))
        }
    }
}

fn refuse(statement: &str) -> Result<(), SqlError> {
    Err(SqlError::NotReadOnly { statement: statement.to_owned() })
}

/// Refuses a plan that would do more than read, wherever in it: the second lock on the same door.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<(), SqlError> {
    let reading = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reading.verify_plan(plan).map_err(|_| SqlError::NotReadOnly { statement: plan_name(plan).to_owned() })
}

fn plan_name(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::Ddl(_) => "a change of tables",
        LogicalPlan::Dml(_) | LogicalPlan::Copy(_) => "writing",
        _ => "the statement",
    }
}
