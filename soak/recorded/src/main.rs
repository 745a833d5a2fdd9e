//! Faults that others recorded: what is found of them, how soon, and whether the right workload is suspected.
//!
//! Reads every capture that has a list of labelled faults beside it, in a folder beside the checkout or the one that is
//! given. Nothing here knows a system: names and times come from the labels, and each capture is played a second time with
//! all its names replaced, which must come to the same table. The program has a package of its own, because it needs the
//! whole engine, and the other soaks need not wait for that to build.

mod labels;
mod names;
mod run;
mod score;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use labels::Fault;
use score::Table;

fn main() -> Result<ExitCode> {
    let given = std::env::args_os().nth(1).map(PathBuf::from);
    let folder =
        given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures"));
    let labelled = labels::beside_captures(&folder)?;
    if labelled.is_empty() {
        say(&format!("NOT RUN: no captures with labelled faults in {}", folder.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut same = true;
    for (capture, faults) in labelled {
        same &= report(&capture, &faults).with_context(|| format!("{}", capture.display()))?;
    }
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the table of a capture; false when other names give another one.
fn report(capture: &Path, faults: &[Fault]) -> Result<bool> {
    let frames = run::frames(capture)?;
    let table = Table::of(&run::play(&frames), faults);
    say(&format!("\n{}", capture.file_name().unwrap_or_default().to_string_lossy()));
    table.lines().iter().for_each(|line| say(line));
    let renaming = names::replacing_all(&frames, faults);
    let renamed = selvedge_testkit::rename(&frames, &renaming);
    let others: Vec<Fault> = faults.iter().map(|fault| fault.under(&renaming)).collect();
    let other = Table::of(&run::play(&renamed), &others);
    let same = other == table;
    say(if same { "with all names replaced: the same" } else { "WITH ALL NAMES REPLACED: NOT THE SAME" });
    let differs = |(was, is): &(&String, &String)| was != is;
    table
        .lines()
        .iter()
        .zip(&other.lines())
        .filter(differs)
        .for_each(|(was, is)| say(&format!("- {was}\n+ {is}")));
    Ok(same)
}

/// A reader that went away is not our business.
fn say(line: &str) {
    let _gone = writeln!(std::io::stdout(), "{line}");
}
