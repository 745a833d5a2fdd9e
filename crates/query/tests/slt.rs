//! Runs the `.slt` files: statements with the rows or the error they must give.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use selvedge_query::{QueryOptions, SqlConfig, SqlError, SqlService};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

struct Door(SqlService);

/// An error as the files expect it: code, words, place, hint.
#[derive(Debug)]
struct Told(SqlError);

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.0.code(), self.0)?;
        self.0.position().map_or(Ok(()), |at| write!(f, " at {at}"))?;
        self.0.hint().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl std::error::Error for Told {}

#[async_trait::async_trait]
impl AsyncDB for Door {
    type Error = Told;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Self::ColumnType>, Told> {
        let result = self.0.query(sql, QueryOptions::default()).await.map_err(Told)?;
        let types = result.schema().fields().iter().map(|_| DefaultColumnType::Any).collect();
        let batches = result.collect().await.map_err(Told)?;
        Ok(DBOutput::Rows { types, rows: batches.iter().flat_map(rows).collect() })
    }

    async fn shutdown(&mut self) {}
}

fn rows(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let cell = |column: &dyn Array, row: usize| {
        let text =
            ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string().trim_end().to_owned();
        if text.is_empty() { "(empty)".to_owned() } else { text }
    };
    let row = |row| batch.columns().iter().map(|column| cell(column.as_ref(), row)).collect::<Vec<_>>();
    // A plan has many lines in one cell; a file has one line a row.
    let lines = |row: Vec<String>| match row.iter().any(|cell| cell.contains('\n')) {
        true => row.join(" ").lines().map(|line| vec![line.trim_start().to_owned()]).collect(),
        false => vec![row],
    };
    (0..batch.num_rows()).map(row).flat_map(lines).collect()
}

fn run(name: &str) {
    let path = format!("{}/tests/slt/{name}.slt", env!("CARGO_MANIFEST_DIR"));
    let service = support::service(SqlConfig::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut runner = Runner::new(|| async { Ok(Door(service.clone())) });
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            runner
                .update_test_file(
                    &path,
                    " ",
                    sqllogictest::default_validator,
                    sqllogictest::default_normalizer,
                    sqllogictest::default_column_validator,
                )
                .await
                .unwrap();
        } else {
            runner.run_file_async(&path).await.unwrap();
        }
    });
}

#[test]
fn recorded_tables_answer_as_written() {
    run("recorded");
}

#[test]
fn small_tables_and_views_answer_as_written() {
    run("watched");
}

#[test]
fn functions_answer_as_written() {
    run("functions");
}

#[test]
fn guard_rails_refuse_as_written() {
    run("guard");
}

#[test]
fn plans_show_what_was_pruned() {
    run("explain");
}
