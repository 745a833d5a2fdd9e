//! The calls of captures, as rows that policies are tried on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use selvedge_engine::{Pipeline, PolicyMode};
use selvedge_policy::{RecentConfig, TrafficRow};

use crate::commands::replay::Pacer;
use crate::exit::Failure;
use crate::{config, paths};

/// Captures are played for one person who waits: far more fits than a live engine keeps.
const BYTES_MAX: usize = 4 << 30;
/// Captures may be of any age, and lie years apart.
const RETENTION: Duration = Duration::from_hours(24 * 365 * 100);

/// What captures hold.
pub(super) struct Recorded {
    /// Calls of the captures that were learned from.
    pub(super) taught: Vec<TrafficRow>,
    /// Calls of the captures that were judged.
    pub(super) judged: Vec<TrafficRow>,
    /// What a person should know of both.
    pub(super) warnings: Vec<String>,
}

/// Plays captures: first those that say what is normal, then the others.
pub(super) fn play(learn: &[PathBuf], judge: &[PathBuf], config: Option<&Path>) -> Result<Recorded, Failure> {
    paths::require_files(learn)?;
    paths::require_files(judge)?;
    let mut config = config::load(config)?;
    config.engine.policy.recent = RecentConfig { retention: RETENTION, bytes_max: BYTES_MAX };
    // Nothing is to be decided here.
    config.engine.policy.mode = PolicyMode::Off;
    let mut pipeline = Pipeline::new(&config.engine, config.rules);
    for capture in learn {
        selvedge_replay::teach(&mut pipeline, capture)?;
    }
    let taught = rows(&pipeline);
    let mut pace = Pacer::unpaced()?;
    let played = selvedge_replay::judge(&mut pipeline, judge, &mut pace)?;
    pace.finish();
    let judged = without(rows(&pipeline), &taught);
    let mut warnings = Vec::new();
    if played.frames_malformed > 0 {
        let first = played.first_malformed.unwrap_or_default();
        warnings.push(format!("{} frames are no OTLP message, first {first}", played.frames_malformed));
    }
    warnings
        .extend(played.torn.iter().map(|torn| format!("the end of {}: {}", torn.path.display(), torn.what)));
    let dropped =
        played.stats.overloads.iter().filter(|overload| overload.limit.starts_with("recent_traffic"));
    warnings.extend(dropped.filter(|overload| overload.count > 0).map(|overload| {
        format!(
            "not all calls found room: {} ({}) struck {} times",
            overload.limit, overload.policy, overload.count
        )
    }));
    Ok(Recorded { taught, judged, warnings })
}

fn rows(pipeline: &Pipeline) -> Vec<TrafficRow> {
    let mut rows = Vec::new();
    pipeline.traffic(&mut |row| rows.push(row.clone()));
    rows
}

/// The rows that came after `taught`. Calls that are alike within a minute are one row, also across captures.
fn without(all: Vec<TrafficRow>, taught: &[TrafficRow]) -> Vec<TrafficRow> {
    let mut known: BTreeMap<String, u64> = BTreeMap::new();
    for row in taught {
        *known.entry(kind(row)).or_default() += row.calls;
    }
    let mut rest = Vec::with_capacity(all.len());
    for mut row in all {
        if let Some(calls) = known.get_mut(&kind(&row)) {
            let taken = row.calls.min(*calls);
            row.calls -= taken;
            *calls -= taken;
        }
        if row.calls > 0 {
            rest.push(row);
        }
    }
    rest
}

/// Everything about a row but how many calls it is.
fn kind(row: &TrafficRow) -> String {
    format!("{:?}", TrafficRow { calls: 0, ..row.clone() })
}

#[cfg(test)]
mod tests {
    use selvedge_model::{Endpoint, IdentitySource};

    use super::*;

    fn row(workload: &str, calls: u64) -> TrafficRow {
        TrafficRow {
            minute_seconds: 60,
            source: Endpoint { workload: workload.to_owned(), ..Endpoint::default() },
            source_identity: IdentitySource::None,
            authenticated: None,
            destination: Endpoint::default(),
            external: false,
            method: String::new(),
            route: String::new(),
            status: 200,
            denied_by: String::new(),
            normal: true,
            calls,
        }
    }

    #[test]
    fn what_was_learned_from_is_not_judged_even_in_the_same_minute() {
        let taught = [row("cart", 5), row("courier", 2)];
        let all = vec![row("cart", 5), row("courier", 9), row("ledger", 1)];
        assert_eq!(without(all, &taught), [row("courier", 7), row("ledger", 1)]);
    }
}
