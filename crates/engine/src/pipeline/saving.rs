//! The pipeline as sections of a checkpoint, and back: everything that a result depends on, and nothing else.
//!
//! What is not kept: rows for SQL (the history has them), what the decoder remembers (it changes no result), and
//! quarantines (the lease store has them). Configuration and rules are those of the process that goes on.

use std::collections::BTreeMap;

use selvedge_checkpoint::{Checkpoint, Section};
use selvedge_correlate::Correlator;
use selvedge_detect::{Detector, RuleSet, TelemetryCounts};
use selvedge_learn::Baselines;
use selvedge_model::{Incident, Severity, SymbolTable};
use selvedge_policy::Recent;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Pipeline;
use super::measuring::Measured;
use crate::config::EngineConfig;
use crate::logs::Logs;
use crate::router::SavedStream;
use crate::shards::SavedShards;
use crate::stats::Stats;
use crate::windows::Windows;

/// Names by number: all other sections speak in numbers.
const NAMES: &str = "names";
/// The sequential part: watermark, directory, aliases, reporters, routes, metric series; and counts of what passed.
const STREAM: &str = "stream";
/// Statements of workloads, which calls make them, and those that wait for their calls.
const LOGS: &str = "logs";
/// Open calls and open windows.
const OPEN: &str = "open";
/// What every edge, callee, caller and the mesh are known to do.
const BASELINES: &str = "baselines";
/// The same of edges that only metrics know.
const MEASURED: &str = "measured";
/// What was told, what is frozen, thresholds, budgets.
const DETECTION: &str = "detection";
/// Incidents, and what people were alerted to.
const INCIDENTS: &str = "incidents";
/// What quarantines are tried on.
const TRAFFIC: &str = "traffic";

/// The sections that are knowledge, and no state of a stream: what another Selvedge can begin with. What calls usually log is
/// not among them: it is learned anew within minutes.
pub const KNOWLEDGE: [&str; 4] = [NAMES, BASELINES, MEASURED, DETECTION];

/// The version of all sections. It grows with any change of a type that is in one, and [`read`] then has to translate the
/// versions before it: `tests/checkpoints.rs` has a file of each.
const VERSION: u16 = 1;

/// Why a checkpoint cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A section is not there.
    #[error("it has no section `{0}`")]
    Missing(&'static str),
    /// A newer Selvedge wrote a section.
    #[error(
        "its section `{section}` has version {found}, and this Selvedge reads up to {VERSION}: use the newer one"
    )]
    Newer {
        /// Its name.
        section: &'static str,
        /// Its version.
        found: u16,
    },
    /// A section is not what its name says.
    #[error("its section `{section}` cannot be read")]
    Malformed {
        /// Its name.
        section: &'static str,
        /// Where it stops to make sense.
        #[source]
        source: postcard::Error,
    },
    /// A section goes on behind what its name says.
    #[error("its section `{0}` has more than it should")]
    Surplus(&'static str),
    /// Names that no table gave out.
    #[error("its section `names` has a name twice, or too many of them")]
    Names,
}

impl StateError {
    /// A newer Selvedge wrote it: it is whole, and not for us.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Newer { .. })
    }
}

#[derive(Deserialize)]
struct Names {
    overflowed: u64,
    names: Vec<String>,
}

/// Everything that is known, at one moment. What is large is a copy that costs little, and is written down by who has the
/// time.
pub struct Saved(Vec<Part>);

enum Part {
    Written(Section),
    Copied(Box<dyn FnOnce() -> Section + Send>),
}

impl Saved {
    /// As a checkpoint holds it.
    #[must_use]
    pub fn into_sections(self) -> Vec<Section> {
        let write = |part| match part {
            Part::Written(section) => section,
            Part::Copied(write) => write(),
        };
        self.0.into_iter().map(write).collect()
    }
}

impl Pipeline {
    /// Everything that what comes next depends on. The engine goes on as if nothing had been asked.
    pub fn save(&mut self) -> Saved {
        let (calls, deltas) = self.shards.save();
        self.take(deltas);
        let (names, overflowed) = self.router.symbols().names();
        let names: Vec<&str> = names.collect();
        Saved(vec![
            written(NAMES, &(overflowed, names)),
            written(STREAM, &(self.router.save(), &self.stats, self.telemetry_judged)),
            written(LOGS, &self.logs),
            copied(OPEN, (calls, self.windows.clone())),
            copied(BASELINES, self.baselines.clone()),
            written(MEASURED, &self.measured),
            copied(DETECTION, self.detector.clone()),
            written(INCIDENTS, &(&self.correlator, &self.alerted)),
            copied(TRAFFIC, self.containment.recent().clone()),
        ])
    }

    /// An engine that goes on from a checkpoint, with the configuration and the rules of now. One that has only
    /// [`KNOWLEDGE`] is taken for what was known before a gap.
    ///
    /// # Errors
    /// A section is missing, newer, or not what it should be.
    pub fn resume(config: &EngineConfig, rules: RuleSet, from: &Checkpoint) -> Result<Self, StateError> {
        let mut pipeline = Self::new(config, RuleSet::default());
        let Names { overflowed, names } = read(from, NAMES)?;
        let names = names.iter().map(String::as_str);
        let symbols =
            SymbolTable::restore(config.symbol_bytes_max, names, overflowed).ok_or(StateError::Names)?;
        pipeline.router.know(symbols);
        let mut baselines: Baselines = read(from, BASELINES)?;
        baselines.configure(config.learn.clone());
        pipeline.baselines = baselines;
        let mut measured: Measured = read(from, MEASURED)?;
        measured.configure(&config.learn);
        pipeline.measured = measured;
        let mut detector: Detector = read(from, DETECTION)?;
        detector.configure(rules, config.budgets);
        pipeline.detector = detector;
        if from.section(STREAM).is_some() {
            pipeline.resume_stream(config, from)?;
        } else {
            pipeline.gap();
        }
        Ok(pipeline)
    }

    fn resume_stream(&mut self, config: &EngineConfig, from: &Checkpoint) -> Result<(), StateError> {
        let (stream, stats, judged): (SavedStream, Stats, TelemetryCounts) = read(from, STREAM)?;
        self.router.load(stream, config);
        (self.stats, self.telemetry_judged) = (stats, judged);
        let mut logs: Logs = read(from, LOGS)?;
        logs.configure(&config.join);
        self.logs = logs;
        let (open, mut windows): (SavedShards, Windows) = read(from, OPEN)?;
        self.shards.load(open);
        windows.configure(config.window_entries_max);
        self.windows = windows;
        let (mut correlator, alerted): (Correlator, BTreeMap<String, Severity>) = read(from, INCIDENTS)?;
        correlator.configure(config.correlate.clone());
        (self.correlator, self.alerted) = (correlator, alerted);
        self.containment.load(read::<Recent>(from, TRAFFIC)?);
        Ok(())
    }

    /// The incidents that people were alerted to, as they are now.
    pub fn alerted(&self) -> impl Iterator<Item = &Incident> {
        self.alerted.keys().filter_map(|id| self.correlator.get(id))
    }
}

fn written<T: Serialize + ?Sized>(name: &str, value: &T) -> Part {
    Part::Written(section(name, value))
}

fn copied<T: Serialize + Send + 'static>(name: &'static str, value: T) -> Part {
    Part::Copied(Box::new(move || section(name, &value)))
}

fn section<T: Serialize + ?Sized>(name: &str, value: &T) -> Section {
    let bytes = postcard::to_stdvec(value).expect("plain data in memory can be written down");
    Section { name: name.to_owned(), version: VERSION, bytes }
}

fn read<T: DeserializeOwned>(from: &Checkpoint, name: &'static str) -> Result<T, StateError> {
    let section = from.section(name).ok_or(StateError::Missing(name))?;
    if VERSION < section.version {
        return Err(StateError::Newer { section: name, found: section.version });
    }
    let read = postcard::take_from_bytes(&section.bytes);
    let (value, rest) = read.map_err(|source| StateError::Malformed { section: name, source })?;
    if rest.is_empty() { Ok(value) } else { Err(StateError::Surplus(name)) }
}
