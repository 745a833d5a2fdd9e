//! `selvedge sql`: questions to a running engine, or to captures and files without one.

mod backend;
mod prompt;

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Read as _, Write};
use std::path::Path;

use selvedge_query::output::{BatchWriter, Format, OutputError};

use crate::cli::SqlArgs;
use crate::exit::{Failure, Outcome};
use backend::{Backend, Problem, QueryError};

pub(crate) fn run(args: &SqlArgs) -> Outcome {
    let format = format(args)?;
    let piped = args.query.is_none() && !std::io::stdin().is_terminal();
    let sql = match &args.query {
        Some(query) => Some(query.clone()),
        None if piped => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            Some(text)
        }
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let backend = Backend::open(args)?;
    let Some(sql) = sql else { return prompt::run(&backend, &runtime, format) };
    let answered = match &args.output {
        Some(path) => {
            let file = File::create(path)
                .map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
            runtime.block_on(answer(&backend, &sql, format, BufWriter::new(file)))
        }
        None => runtime.block_on(answer(&backend, &sql, format, BufWriter::new(std::io::stdout()))),
    };
    match answered {
        Ok(_) => Ok(()),
        Err(error) if reader_left(&error) => Ok(()),
        Err(error) => Err(explain(error, &sql)),
    }
}

/// A table, as psql and duckdb give also into a pipe, unless a format or the name of the file says otherwise.
fn format(args: &SqlArgs) -> Result<Format, Failure> {
    let extension = args.output.as_deref().and_then(Path::extension).and_then(|extension| extension.to_str());
    let format = match (args.format, extension) {
        (Some(format), _) => format.into(),
        (None, Some("ndjson")) => Format::JsonLines,
        (None, Some(extension)) => Format::parse(extension).unwrap_or(Format::Table),
        (None, None) => Format::Table,
    };
    let binary = matches!(format, Format::Parquet | Format::Arrow);
    if binary && args.output.is_none() && std::io::stdout().is_terminal() {
        return Err(anyhow::anyhow!("{} is not for a terminal: give --output FILE", format.name()).into());
    }
    Ok(format)
}

/// Writes the answer and returns the number of its rows. Rows up to a limit are whole; the error says that there are
/// more.
async fn answer(
    backend: &Backend,
    sql: &str,
    format: Format,
    out: impl Write + Send,
) -> Result<usize, QueryError> {
    let mut rows = backend.ask(sql).await?;
    let mut writer = BatchWriter::new(format, rows.schema(), out)?;
    let mut count = 0;
    while let Some(batches) = rows.next().await {
        for batch in batches? {
            count += batch.num_rows();
            writer.write(&batch)?;
        }
    }
    writer.finish()?;
    Ok(count)
}

/// Whoever reads our output has read enough. Unlike other commands this one has to know: the rest of an answer is not
/// asked for.
fn reader_left(error: &QueryError) -> bool {
    matches!(error, QueryError::Output(OutputError::Io(io)) if io.kind() == std::io::ErrorKind::BrokenPipe)
        || matches!(error, QueryError::Output(OutputError::Arrow(arrow)) if arrow.to_string().contains("roken pipe"))
}

fn explain(error: QueryError, sql: &str) -> Failure {
    match error {
        QueryError::Problem(problem) => anyhow::anyhow!("{}", shown(&problem, sql)).into(),
        QueryError::Ask(error @ selvedge_act::AskError::Unreachable { .. }) => anyhow::Error::new(error)
            .context("is `selvedge run` running? Ask captures with --capture FILE, another engine with --url")
            .into(),
        other => other.into(),
    }
}

/// The message, the line it is about with a caret, and the hint.
fn shown(problem: &Problem, sql: &str) -> String {
    let mut text = problem.detail.clone();
    let line = problem.position.and_then(|at| Some((at, sql.lines().nth(at.line.checked_sub(1)?)?)));
    if let Some((at, line)) = line {
        let number = at.line.to_string();
        let before: String = line.chars().take(at.column.saturating_sub(1)).map(blank).collect();
        text.push_str(&format!("\n  {number} | {line}\n  {} | {before}^", " ".repeat(number.len())));
    }
    if let Some(hint) = &problem.hint {
        text.push_str(&format!("\n  hint: {hint}"));
    }
    text
}

/// A tab stays one, so that the caret stands below what it means.
fn blank(letter: char) -> char {
    if letter == '\t' { '\t' } else { ' ' }
}

#[cfg(test)]
mod tests {
    use super::backend::Place;
    use super::*;

    #[test]
    fn the_caret_stands_below_what_is_wrong() {
        let problem = Problem {
            detail: "no such column".to_owned(),
            position: Some(Place { line: 2, column: 8 }),
            hint: Some("did you mean status?".to_owned()),
        };
        let told = shown(&problem, "SELECT\n  1 +  staus\nFROM calls");
        assert_eq!(told, "no such column\n  2 |   1 +  staus\n    |        ^\n  hint: did you mean status?");
    }

    #[test]
    fn a_place_outside_the_text_costs_only_the_line() {
        let place = Some(Place { line: 9, column: 1 });
        let problem = Problem { detail: "cut".to_owned(), position: place, hint: None };
        assert_eq!(shown(&problem, "SELECT 1"), "cut");
    }
}
