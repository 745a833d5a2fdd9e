//! `selvedge baseline`: what was learned, for people to see and to change.
//!
//! Works on the checkpoints of an engine. Looking needs nothing; changing needs the engine to be stopped, and makes a new
//! checkpoint that the next start begins with.

mod page;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use selvedge_checkpoint::format::SECTION_BYTES_MAX;
use selvedge_checkpoint::{Checkpoint, Folder, Found};
use selvedge_engine::{EdgeSummary, KNOWLEDGE, Pipeline, Provenance};
use selvedge_receive::Clock as _;
use selvedge_receive::journal::{Journal, JournalConfig};
use serde_json::json;

use crate::cli::{BaselineArgs, BaselineCommand, EdgesArgs, Form, StateArgs};
use crate::clock::SystemClock;
use crate::config::{self, Config};
use crate::exit::{Failure, Outcome};
use crate::journal::checkpoints_of;
use crate::output;

pub(crate) fn run(args: &BaselineArgs) -> Outcome {
    match &args.command {
        BaselineCommand::Show { from, format, state } => {
            let config = load(state)?;
            let pipeline = resumed(&config, &source(from.as_deref(), &config)?)?;
            let edges = pipeline.edges();
            match format {
                Form::Text => output::stdout().write_all(page::edges(&edges).as_bytes())?,
                Form::Json => {
                    let edges: Vec<_> = edges.iter().map(page::edge_json).collect();
                    writeln!(output::stdout(), "{}", json!({ "edges": edges }))?;
                }
            }
        }
        BaselineCommand::Versions { format, state } => {
            let found = list(&folder_of(&load(state)?)?)?;
            match format {
                Form::Text => output::stdout().write_all(page::versions(&found).as_bytes())?,
                Form::Json => {
                    let versions: Vec<_> = found.iter().map(page::version_json).collect();
                    writeln!(output::stdout(), "{}", json!({ "versions": versions }))?;
                }
            }
        }
        BaselineCommand::Approve { edges, state } => {
            change(state, "approved", edges, |pipeline, pick| {
                pipeline.mark_edges(pick, Provenance::Approved)
            })?;
        }
        BaselineCommand::Forget { edges, state } => change(state, "forgot", edges, Pipeline::forget_edges)?,
        BaselineCommand::Export { out, from, state } => {
            let config = load(state)?;
            export(&source(from.as_deref(), &config)?, &config, out)?;
        }
        BaselineCommand::Import { file, state } => import(file, state)?,
    }
    Ok(())
}

fn load(state: &StateArgs) -> Result<Config, Failure> {
    config::load(state.config.as_deref())
}

fn journal_of(config: &Config) -> anyhow::Result<&JournalConfig> {
    let settings = config.journal.as_ref().context(
        "there is no journal, and without one nothing that is learned outlives the process: see `journal` in \
         docs/configuration.md, and name the file with --config",
    )?;
    Ok(&settings.journal)
}

fn folder_of(config: &Config) -> anyhow::Result<Folder> {
    Ok(checkpoints_of(&journal_of(config)?.folder))
}

fn list(folder: &Folder) -> anyhow::Result<Vec<Found>> {
    let found = folder.list();
    found.map_err(|(path, error)| anyhow::Error::new(error).context(path.display().to_string()))
}

/// The checkpoint of a file, or the newest one.
fn source(from: Option<&Path>, config: &Config) -> anyhow::Result<(PathBuf, Checkpoint)> {
    let path = if let Some(path) = from {
        path.to_owned()
    } else {
        let folder = folder_of(config)?;
        let newest = list(&folder)?.pop().with_context(|| {
            format!(
                "there is no checkpoint in {} yet: an engine writes one every `journal.checkpoint_interval` and when it ends",
                folder.path().display()
            )
        })?;
        newest.path
    };
    let what = || format!("cannot read {}", path.display());
    let mut file = std::io::BufReader::new(File::open(&path).with_context(what)?);
    let checkpoint = Checkpoint::read(&mut file, SECTION_BYTES_MAX).with_context(what)?;
    Ok((path, checkpoint))
}

fn resumed(config: &Config, (path, checkpoint): &(PathBuf, Checkpoint)) -> anyhow::Result<Pipeline> {
    Pipeline::resume(&config.engine, config.rules.clone(), checkpoint)
        .with_context(|| format!("cannot read {}", path.display()))
}

/// Makes a checkpoint of the newest one with a change to some edges.
fn change(
    state: &StateArgs,
    verb: &str,
    edges: &EdgesArgs,
    apply: impl FnOnce(&mut Pipeline, selvedge_engine::Pick<'_>) -> Vec<EdgeSummary>,
) -> Outcome {
    let config = load(state)?;
    let _stopped = Journal::open(journal_of(&config)?.clone()).context("the engine must be stopped first")?;
    let newest = source(None, &config)?;
    let mut pipeline = resumed(&config, &newest)?;
    let known: Vec<String> = pipeline.edges().iter().map(|edge| edge.edge.label()).collect();
    let unknown = edges.edges.iter().find(|pattern| !known.iter().any(|edge| matches(pattern, edge)));
    if let Some(pattern) = unknown {
        return Err(anyhow!("no edge is called {pattern:?}; `selvedge baseline show` lists all").into());
    }
    let pick = |edge: &EdgeSummary| {
        edges.all || edges.edges.iter().any(|pattern| matches(pattern, &edge.edge.label()))
    };
    let changed = apply(&mut pipeline, &pick);
    for edge in &changed {
        writeln!(output::stdout(), "{verb} {}", edge.edge.label())?;
    }
    if changed.is_empty() {
        writeln!(output::stderr(), "nothing to do: all of them are known so already")?;
        return Ok(());
    }
    let note = format!("{verb} {} of {} edges", changed.len(), known.len());
    let mut head = newest.1.head;
    (head.begins, head.note, head.taken_unix_nano) = (true, note, now());
    let made = Checkpoint { head, sections: pipeline.save().into_sections() };
    put(&folder_of(&config)?, &made)?;
    Ok(())
}

fn export(from: &(PathBuf, Checkpoint), config: &Config, out: &Path) -> anyhow::Result<()> {
    // Read, so that what is exported can be imported.
    let edges = resumed(config, from)?.edges().len();
    let mut exported = from.1.clone();
    exported.sections.retain(|section| KNOWLEDGE.contains(&section.name.as_str()));
    (exported.head.position, exported.head.note) = (0, format!("exported, {edges} edges"));
    let what = || format!("cannot write {}", out.display());
    let mut file = File::create_new(out).with_context(what)?;
    exported.write(&mut file).and_then(|()| file.sync_all()).with_context(what)?;
    writeln!(output::stdout(), "{edges} edges of {} are in {}", from.0.display(), out.display())?;
    Ok(())
}

fn import(file: &Path, state: &StateArgs) -> Outcome {
    let config = load(state)?;
    let journal = Journal::open(journal_of(&config)?.clone()).context("the engine must be stopped first")?;
    let mut from = source(Some(file), &config)?;
    from.1.sections.retain(|section| KNOWLEDGE.contains(&section.name.as_str()));
    let mut pipeline = resumed(&config, &from)?;
    pipeline.mark_edges(&|edge| edge.provenance == Provenance::Learned, Provenance::Imported);
    let edges = pipeline.edges().len();
    let mut head = from.1.head;
    let folder = folder_of(&config)?;
    let newest = list(&folder)?.last().map_or(0, |one| one.head.position);
    (head.position, head.begins) = (journal.next().0.max(newest), true);
    (head.note, head.taken_unix_nano) = (format!("imported {}", file.display()), now());
    let mut sections = pipeline.save().into_sections();
    sections.retain(|section| KNOWLEDGE.contains(&section.name.as_str()));
    put(&folder, &Checkpoint { head, sections })?;
    writeln!(output::stdout(), "{edges} edges are known from {}", file.display())?;
    Ok(())
}

fn put(folder: &Folder, checkpoint: &Checkpoint) -> anyhow::Result<()> {
    let path =
        folder.write(checkpoint).with_context(|| format!("cannot write to {}", folder.path().display()))?;
    writeln!(output::stderr(), "the next start goes on from {}", path.display())?;
    Ok(())
}

fn now() -> u64 {
    SystemClock::start().now().0
}

/// Whether a name fits a pattern, whose `*` stand for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    match last {
        None => rest.is_empty(),
        Some(part) => name.len() >= first.len() + part.len() && name.ends_with(part),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_text_and_all_else_for_itself() {
        let edge = "shop/web -> shop/cart";
        for pattern in [edge, "shop/web -> *", "* -> shop/cart", "*", "shop/*cart", "*web*"] {
            assert!(matches(pattern, edge), "{pattern}");
        }
        for pattern in ["shop/web", "shop/web -> shop/car", "* -> shop/ledger", "", "web*", "*web"] {
            assert!(!matches(pattern, edge), "{pattern}");
        }
    }
}
