//! What else the product promises, as far as a program can measure it: how soon it starts, what it takes when nothing happens,
//! how long senders wait, how soon people are told, how fast a recording runs again, whether it stays as it began.

mod alerts;
mod edges;
mod footprint;
mod replay;
mod steady;

use anyhow::{Result, ensure};
use serde_json::json;

use super::machine::{self, Cores};
use super::options::System;
use super::record::Run;
use super::results::Results;
use super::server::Bench;
use crate::workspace::Workspace;

/// What a measure works with.
struct Context<'a> {
    bench: &'a Bench,
    options: &'a System,
}

type Measure = fn(&Context<'_>, &mut Results) -> Result<()>;

/// By the name that `--only` takes.
const MEASURES: [(&str, Measure); 11] = [
    ("size", footprint::size),
    ("start", footprint::start),
    ("idle", footprint::idle),
    ("restart", footprint::restart),
    ("replay", replay::replay),
    ("shards", steady::shards),
    ("latency", steady::latency),
    ("alerts", alerts::alerts),
    ("close", steady::close),
    ("edges", edges::edges),
    ("minutes", steady::minutes),
];

const PROGRAMS: [&str; 7] = ["selvedge", "load", "plain", "floor", "capture", "ingest", "alerts"];

/// Builds, measures one after the other, and reports.
///
/// # Errors
/// When something cannot be built or started, or does not do what it must before it can be measured.
pub(super) fn run(flags: &[&str]) -> Result<()> {
    let options = System::parse(flags)?;
    let wanted = chosen(&options)?;
    let workspace = Workspace::load()?;
    let cores = Cores::choose(options.common.pin);
    let bench = super::build(&workspace, &options.common.profile, &PROGRAMS, cores)?;
    let machine = machine::described(&workspace, cores)?;
    eprintln!("{}", machine::pinned(cores));
    let context = Context { bench: &bench, options: &options };
    let mut results = Results::default();
    for (name, measure) in wanted {
        eprintln!("\n==> {name}");
        measure(&context, &mut results)?;
    }
    let settings = json!({
        "profile": options.common.profile, "rounds": options.common.rounds, "minutes": options.minutes,
        "seconds": options.seconds, "alerts": options.alerts, "only": options.only,
        "warm_up_megabytes": options.common.warm_up_megabytes,
    });
    let form = form(&options);
    Run { form: &form, settings, machine, results: &results }.report(
        &workspace,
        &bench.scratch,
        options.common.record,
    )
}

/// A run of some measures does not replace the record of all.
fn form(options: &System) -> String {
    let mut only = options.only.clone();
    only.sort();
    let mut parts = vec!["system".to_owned()];
    parts.extend(only);
    if options.common.profile != super::options::RELEASE {
        parts.push(options.common.profile.clone());
    }
    parts.join(" ")
}

fn chosen(options: &System) -> Result<Vec<(&'static str, Measure)>> {
    let known = |name: &String| MEASURES.iter().any(|(measure, _)| measure == name);
    let names: Vec<&str> = MEASURES.iter().map(|(name, _)| *name).collect();
    ensure!(options.only.iter().all(known), "--only takes some of {}", names.join(","));
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    Ok(MEASURES.into_iter().filter(|(name, _)| wanted(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(flags: &[&str]) -> Vec<&'static str> {
        chosen(&System::parse(flags).unwrap()).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn all_is_measured_unless_some_is_asked_for() {
        assert_eq!(names(&[]).len(), MEASURES.len());
        assert_eq!(names(&["--only", "idle,size"]), ["size", "idle"]);
        assert!(chosen(&System::parse(&["--only", "idel"]).unwrap()).is_err());
    }

    #[test]
    fn some_measures_are_another_form_than_all() {
        assert_eq!(form(&System::parse(&[]).unwrap()), "system");
        assert_eq!(
            form(&System::parse(&["--only", "start,idle", "--profile", "dist"]).unwrap()),
            "system idle start dist"
        );
    }
}
