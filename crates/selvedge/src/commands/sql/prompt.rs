//! The interactive prompt.

use std::io::Write as _;
use std::path::PathBuf;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use selvedge_query::documentation::table_definitions;
use selvedge_query::output::Format;

use super::backend::Backend;
use super::{answer, explain};
use crate::clock::SystemClock;
use crate::exit::{Outcome, report};
use crate::logging::env;

/// Statements kept.
const HISTORY_MAX: usize = 1_000;
const HELP: &str = "\
A statement ends with `;` and may take several lines. Tab completes, the arrows bring back.
  \\d          all tables        \\d TABLE    columns of a table
  \\timing     time on and off   \\q          leave
  \\?          this";
const KEYWORDS: [&str; 32] = [
    "SELECT", "FROM", "WHERE", "GROUP", "BY", "ORDER", "LIMIT", "HAVING", "JOIN", "LEFT", "ON", "AND", "OR",
    "NOT", "IN", "IS", "NULL", "LIKE", "BETWEEN", "CASE", "WHEN", "THEN", "ELSE", "END", "AS", "DISTINCT",
    "DESC", "INTERVAL", "WITH", "UNION", "EXPLAIN", "OFFSET",
];

pub(crate) fn run(backend: &Backend, runtime: &tokio::runtime::Runtime, format: Format) -> Outcome {
    let config = Config::builder().history_ignore_space(true).max_history_size(HISTORY_MAX)?.build();
    let mut editor: Editor<Words, FileHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Words::all(backend)));
    let history = history_file();
    if let Some(path) = &history {
        // There is none the first time.
        drop(editor.load_history(path));
    }
    let clock = SystemClock::start();
    let (mut statement, mut timing) = (String::new(), false);
    writeln!(std::io::stderr(), "selvedge SQL. \\? for help, \\q to leave.")?;
    loop {
        let line = match editor.readline(if statement.is_empty() { "selvedge=> " } else { "selvedge-> " }) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                statement.clear();
                continue;
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        };
        let sql = if statement.is_empty() && line.trim_start().starts_with('\\') {
            editor.add_history_entry(line.as_str())?;
            match command(line.trim(), &mut timing)? {
                Next::Ask(sql) => sql,
                Next::Read => continue,
                Next::Leave => break,
            }
        } else {
            if !(statement.is_empty() && line.trim().is_empty()) {
                statement.push_str(&line);
                statement.push('\n');
            }
            if !statement.trim_end().ends_with(';') {
                continue;
            }
            editor.add_history_entry(statement.trim())?;
            std::mem::take(&mut statement)
        };
        let started = clock.run_for();
        if let Err(error) = runtime.block_on(answer(backend, &sql, format, std::io::stdout())) {
            report(Err(explain(error, &sql)));
        }
        if timing {
            writeln!(std::io::stderr(), "Time: {:.3} s", clock.run_for().since(started).as_secs_f64())?;
        }
    }
    if let Some(path) = &history {
        path.parent().map(std::fs::create_dir_all).transpose()?;
        editor.save_history(path)?;
    }
    Ok(())
}

enum Next {
    Ask(String),
    Read,
    Leave,
}

fn command(line: &str, timing: &mut bool) -> std::io::Result<Next> {
    let mut words = line.trim_end_matches(';').split_whitespace();
    let mut told = std::io::stderr();
    match (words.next().unwrap_or(""), words.next()) {
        ("\\q", _) => return Ok(Next::Leave),
        ("\\d", None) => {
            return Ok(Next::Ask(
                "SELECT table_name, count(*) AS columns FROM columns GROUP BY table_name ORDER BY table_name"
                    .to_owned(),
            ));
        }
        ("\\d", Some(table)) => {
            let table = table.replace('\'', "''");
            return Ok(Next::Ask(format!(
                "SELECT column_name, type, comment FROM columns WHERE table_name = '{table}' ORDER BY position"
            )));
        }
        ("\\timing", _) => {
            *timing = !*timing;
            writeln!(told, "Timing is {}.", if *timing { "on" } else { "off" })?;
        }
        ("\\?", _) => writeln!(told, "{HELP}")?,
        (other, _) => writeln!(told, "unknown command {other}; \\? lists all")?,
    }
    Ok(Next::Read)
}

/// `$XDG_STATE_HOME/selvedge/sql_history`, below `~/.local/state` unless set.
fn history_file() -> Option<PathBuf> {
    let state = env("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(env("HOME")?).join(".local/state")))?;
    Some(state.join("selvedge").join("sql_history"))
}

/// What can be completed, sorted.
struct Words(Vec<String>);

impl Words {
    fn all(backend: &Backend) -> Self {
        let mut words: Vec<String> = KEYWORDS.map(str::to_owned).into();
        words.extend(backend.functions());
        for table in table_definitions() {
            words.push(table.name.to_owned());
            words.extend(table.columns.iter().map(|column| column.name.to_owned()));
        }
        words.sort();
        words.dedup();
        Self(words)
    }

    /// Where the word before `at` begins, and what it may become.
    fn candidates(&self, line: &str, at: usize) -> (usize, Vec<String>) {
        let before = &line[..at];
        let start = before
            .rfind(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .map_or(0, |end| end + before[end..].chars().next().map_or(1, char::len_utf8));
        let begun = before[start..].to_lowercase();
        if begun.is_empty() {
            return (start, Vec::new());
        }
        let fits = |word: &&String| word.to_lowercase().starts_with(&begun);
        (start, self.0.iter().filter(fits).cloned().collect())
    }
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.candidates(line, at))
    }
}

impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begun_word_is_completed_to_tables_columns_and_keywords() {
        let words = Words(["calls", "SELECT", "source_workload", "status"].map(str::to_owned).into());
        assert_eq!(words.candidates("sel", 3), (0, vec!["SELECT".to_owned()]));
        assert_eq!(words.candidates("SELECT count(stat", 17), (13, vec!["status".to_owned()]));
        assert_eq!(words.candidates("SELECT ", 7), (7, vec![]));
        assert_eq!(words.candidates("é", 2).1.len(), 0);
    }
}
