//! What may be asked: one statement, and only one that reads.

use datafusion::common::Result;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::SqlError;

/// Bytes of a statement. Expressions nest, so that a long text may mean a far larger computation.
pub(crate) const STATEMENT_BYTES_MAX: usize = 64 * 1024;

/// How deep expressions may nest.
const DEPTH_MAX: usize = 50;

/// Tokens, each as often as the parser reads it: a tenth of a second. `sqlparser` 0.62 reads an argument of a function first as
/// the name of one (`name => value`), then again as a value, so what is in `n` functions is read `2^n` times: thirty nested
/// ones, whether they end or not, would keep a core busy for minutes, and nothing can stop a parser (found by fuzzing).
const READINGS_MAX: u64 = 1 << 19;

/// Refuses a text that would take too long to parse.
pub(crate) fn measure(sql: &str) -> Result<(), SqlError> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(SqlError::TooLong { bytes: sql.len(), bytes_max: STATEMENT_BYTES_MAX });
    }
    // What is no sequence of tokens the parser refuses before it reads any of them.
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize() else { return Ok(()) };
    let (mut readings, mut open, mut depth) = (0_u64, Vec::new(), 0_u32);
    let mut after_name = false;
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        match token {
            Token::LParen => {
                open.push(after_name);
                depth += u32::from(after_name);
            }
            Token::RParen => depth -= u32::from(open.pop().unwrap_or(false)),
            _ => {}
        }
        after_name = matches!(token, Token::Word(word) if !BEFORE_PARENTHESES.contains(&word.keyword));
        readings = readings.saturating_add(1_u64.checked_shl(depth).unwrap_or(u64::MAX));
        if readings > READINGS_MAX {
            return Err(SqlError::TooDeep);
        }
    }
    Ok(())
}

/// Words before a parenthesis that are no functions: what is in it is read once.
const BEFORE_PARENTHESES: [Keyword; 24] = [
    Keyword::SELECT,
    Keyword::DISTINCT,
    Keyword::FROM,
    Keyword::JOIN,
    Keyword::LATERAL,
    Keyword::WHERE,
    Keyword::ON,
    Keyword::USING,
    Keyword::AND,
    Keyword::OR,
    Keyword::NOT,
    Keyword::IN,
    Keyword::EXISTS,
    Keyword::AS,
    Keyword::BY,
    Keyword::HAVING,
    Keyword::UNION,
    Keyword::ALL,
    Keyword::VALUES,
    Keyword::WHEN,
    Keyword::THEN,
    Keyword::ELSE,
    Keyword::BETWEEN,
    Keyword::OVER,
];

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
