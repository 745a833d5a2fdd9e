//! `selvedge quarantine`: see, approve and lift the quarantines of a running engine.

mod engine;
mod page;

use std::io::Write as _;

use selvedge_act::quarantine_document::QuarantineDocument;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::{EngineArgs, Form, QuarantineArgs, QuarantineCommand};
use crate::exit::Outcome;
use crate::output;
use engine::{Answered, Engine};

/// Columns of a page when nobody says otherwise.
const WIDTH: usize = 100;
/// Quarantines asked for at once, and so listed at most: far more than an engine remembers unless it is told to.
const LISTED_MAX: usize = 10_000;

/// What the list route answers.
#[derive(Deserialize)]
struct Listed {
    quarantines: Vec<QuarantineDocument>,
    total: usize,
}

pub(crate) fn run(args: &QuarantineArgs) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = runtime.block_on(answer(&args.command))?;
    Ok(output::stdout().write_all(told.as_bytes())?)
}

async fn answer(command: &QuarantineCommand) -> anyhow::Result<String> {
    match command {
        QuarantineCommand::List { state, incident, engine } => {
            list(state.as_deref(), incident.as_deref(), engine).await
        }
        QuarantineCommand::Preview { id, target, engine } => preview(id, target, engine).await,
        QuarantineCommand::Approve { id, why, engine } => change(id, "approve", why, engine).await,
        QuarantineCommand::Lift { id, why, engine } => {
            anyhow::ensure!(!why.trim().is_empty(), "say with --why why it is lifted");
            change(id, "lift", why, engine).await
        }
    }
}

async fn list(state: Option<&str>, incident: Option<&str>, args: &EngineArgs) -> anyhow::Result<String> {
    let mut path = format!("/quarantines?limit={LISTED_MAX}");
    for (name, value) in [("state", state), ("incident", incident)] {
        if let Some(value) = value {
            plain(value, name)?;
            path.push_str(&format!("&{name}={value}"));
        }
    }
    let answered = Engine::of(args)?.get(&path).await?.found()?;
    if args.format == Form::Json {
        return Ok(pretty(&answered.json()?));
    }
    let Listed { quarantines, total } = answered.read()?;
    if quarantines.is_empty() {
        return Ok("no quarantines\n".to_owned());
    }
    let mut text = page::table(&quarantines, columns());
    if quarantines.len() < total {
        text.push_str(&format!("and {} more\n", total - quarantines.len()));
    }
    Ok(text)
}

async fn preview(id: &str, target: &str, args: &EngineArgs) -> anyhow::Result<String> {
    plain(id, "id")?;
    let engine = Engine::of(args)?;
    let answered = engine.get(&format!("/quarantines/{id}")).await?.found()?;
    let policy = engine.get(&format!("/quarantines/{id}/preview?target={target}")).await?;
    let policy = policy.policy()?;
    if args.format == Form::Json {
        let document: Value = answered.json()?;
        let (text, reasons) = match &policy {
            Ok(text) => (Some(text), None),
            Err(reasons) => (None, Some(reasons)),
        };
        let told =
            json!({ "quarantine": document, "target": target, "policy": text, "not_rendered": reasons });
        return Ok(pretty(&told));
    }
    let document: QuarantineDocument = answered.read()?;
    Ok(page::page(&document, target, &policy, WIDTH))
}

async fn change(id: &str, what: &str, why: &str, args: &EngineArgs) -> anyhow::Result<String> {
    plain(id, "id")?;
    let engine = Engine::of(args)?;
    let body = json!({ "why": why }).to_string();
    let answered: Answered = engine.post(&format!("/quarantines/{id}/{what}"), body).await?.found()?;
    if args.format == Form::Json {
        return Ok(pretty(&answered.json()?));
    }
    Ok(page::outcome(&answered.read()?))
}

/// How wide the terminal is; elsewhere as a page.
fn columns() -> usize {
    terminal_size::terminal_size_of(std::io::stdout()).map_or(WIDTH, |(width, _)| usize::from(width.0))
}

/// An id goes into a path as it is.
fn plain(text: &str, what: &str) -> anyhow::Result<()> {
    let known = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    anyhow::ensure!(!text.is_empty() && text.chars().all(known), "`{}` is no {what}", text.escape_debug());
    Ok(())
}

fn pretty(document: &Value) -> String {
    format!("{document:#}\n")
}
