//! What a call takes in the join window: sidecars' spans of both sides go through the pipeline, within the allowed lateness,
//! so that nothing has been forgotten yet.

use anyhow::{Result, ensure};
use selvedge_benches::payload::{Shape, templates};
use selvedge_engine::{Encoding, EngineConfig, Pipeline, RawBatch, RuleSet};
use selvedge_model::{ObservedTime, SignalKind, SteadyTime};

const START_UNIX_NANO: u64 = 1_800_000_000_000_000_000;
/// Requests a second, and for how many seconds: less than the allowed lateness.
const RATE: u64 = 100;
const SECONDS: u64 = 20;

/// Bytes that count against the budget of the window, for each call in it.
#[expect(clippy::cast_precision_loss, reason = "some millions")]
pub(crate) fn bytes_per_call() -> Result<f64> {
    let templates = templates(&Shape::default());
    let mut pipeline = Pipeline::new(&EngineConfig::default(), RuleSet::shipped());
    let mut effects = Vec::new();
    for (number, template) in (0..RATE * SECONDS).zip(templates.iter().cycle()) {
        let now = START_UNIX_NANO + number * (1_000_000_000 / RATE);
        let batch = RawBatch {
            signal: SignalKind::Traces,
            encoding: Encoding::Protobuf,
            body: &template.stamp(number, now),
            observed: ObservedTime(now),
            steady: SteadyTime(now),
        };
        pipeline.ingest(batch, &mut effects)?;
        effects.clear();
    }
    let stats = pipeline.stats();
    ensure!(stats.calls > 0, "no call was joined");
    Ok(stats.join_bytes as f64 / stats.calls as f64)
}
