//! Runs as JSON: each in a file of its own below the target folder, and the last recorded one of each form in the repository.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::results::Results;
use crate::workspace::Workspace;

/// Recorded runs, by form; relative to the root.
const RECORDED: &str = "benches/recorded.json";
/// Grows when the meaning of something in it changes.
const SCHEMA: u64 = 1;

/// One run that is over.
pub(super) struct Run<'a> {
    /// What it measured, and how: runs of the same form are comparable.
    pub(super) form: &'a str,
    /// Profile, rounds, requests.
    pub(super) settings: Value,
    /// Where and when.
    pub(super) machine: Value,
    pub(super) results: &'a Results,
}

impl Run<'_> {
    /// Prints it beside the recorded one, writes it down, and makes it the recorded one if that is wanted.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    #[expect(clippy::print_stdout, reason = "the figures are data")]
    pub(super) fn report(&self, workspace: &Workspace, scratch: &Path, record: bool) -> Result<()> {
        let path = workspace.root.join(RECORDED);
        let mut recorded = read(&path)?;
        let run = self.json();
        let before = recorded["forms"].get(self.form);
        println!("\n{}\n{}", self.form, about("this run:", &run));
        match before {
            Some(before) => println!("{}", about("recorded:", before)),
            None => println!("recorded: nothing of this form (`--record` does)"),
        }
        println!("\n{}", self.results.text(before));
        let file = scratch.join(file_name(self.form, &run));
        std::fs::write(&file, pretty(&run)?).with_context(|| format!("cannot write {}", file.display()))?;
        println!("written to {}", file.display());
        if record {
            recorded["forms"][self.form] = run;
            std::fs::write(&path, pretty(&recorded)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
            println!("recorded in {RECORDED}");
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let mut run = Map::new();
        run.insert("form".to_owned(), json!(self.form));
        run.insert("machine".to_owned(), self.machine.clone());
        run.insert("settings".to_owned(), self.settings.clone());
        run.append(&mut self.results.json());
        Value::Object(run)
    }
}

/// The recorded runs; none when there is no such file.
fn read(path: &Path) -> Result<Value> {
    if !path.is_file() {
        return Ok(json!({"schema": SCHEMA, "forms": {}}));
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let recorded: Value = serde_json::from_str(&text).with_context(|| format!("{RECORDED} is not JSON"))?;
    anyhow::ensure!(
        recorded["schema"] == SCHEMA,
        "{RECORDED} has schema {}, not {SCHEMA}",
        recorded["schema"]
    );
    Ok(recorded)
}

fn pretty(value: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn about(which: &str, run: &Value) -> String {
    let machine = &run["machine"];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let commit = text(&machine["commit"]);
    let changed = if machine["uncommitted_changes"] == true { " and changes" } else { "" };
    format!(
        "{which} {}, commit {}{changed}, profile {}, {} cores of {}, Linux {}, load average {}, {}",
        text(&machine["date"]),
        commit.get(..10).unwrap_or(&commit),
        text(&run["settings"]["profile"]),
        text(&machine["cores"]),
        text(&machine["cpu"]),
        text(&machine["kernel"]),
        text(&machine["load_average_at_start"]),
        text(&machine["pinned"]),
    )
}

/// `traces-grpc-100-2026-11-27T15-45-07Z.json`
fn file_name(form: &str, run: &Value) -> PathBuf {
    let date = run["machine"]["date"].as_str().unwrap_or_default();
    PathBuf::from(format!("{form}-{date}.json").replace([' ', ':'], "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(results: &Results) -> Value {
        let machine = json!({"date": "2026-11-27T15:45:07Z", "commit": "0123456789abcdef", "cores": 2,
            "uncommitted_changes": true, "cpu": "Some CPU", "kernel": "6.1", "load_average_at_start": "0.10",
            "pinned": "not pinned"});
        let settings = json!({"profile": "release", "rounds": 3});
        Run { form: "traces grpc 100", settings, machine, results }.json()
    }

    #[test]
    fn a_run_tells_where_when_and_of_what_it_was() {
        let mut results = Results::default();
        results.figure("selvedge", "s", vec![1.0]);
        let run = run(&results);
        assert_eq!(run["settings"]["rounds"], 3);
        assert_eq!(run["figures"]["selvedge"]["median"], 1.0);
        assert_eq!(
            file_name("traces grpc 100", &run),
            Path::new("traces-grpc-100-2026-11-27T15-45-07Z.json")
        );
        assert_eq!(
            about("this run:", &run),
            "this run: 2026-11-27T15:45:07Z, commit 0123456789 and changes, profile release, 2 cores of Some CPU, \
             Linux 6.1, load average 0.10, not pinned"
        );
    }

    #[test]
    fn what_is_recorded_is_read_again_and_other_schemas_are_refused() {
        let folder = std::env::temp_dir().join(format!("selvedge-bench-record-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("recorded.json");
        let mut recorded = read(&path).unwrap();
        assert_eq!(recorded["forms"], json!({}));
        recorded["forms"]["traces grpc 100"] = run(&Results::default());
        std::fs::write(&path, pretty(&recorded).unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), recorded);
        std::fs::write(&path, "{\"schema\": 0}").unwrap();
        assert!(read(&path).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
