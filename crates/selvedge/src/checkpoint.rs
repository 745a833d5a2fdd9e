//! Which checkpoint a start goes on from.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use selvedge_checkpoint::{Found, Head, ReadError};
use selvedge_engine::{CheckpointPlan, EngineConfig, Pipeline, RuleSet};
use sha2::{Digest as _, Sha256};

/// The checkpoint to go on from: see [`Found::in_order_of_use`] for which. One that cannot be read is passed over, aloud; one
/// of a newer version ends the start, because to forget what it knows is not ours to decide.
pub(crate) fn choose(
    plan: &CheckpointPlan,
    config: &EngineConfig,
    rules: &RuleSet,
) -> anyhow::Result<Option<(Head, Pipeline)>> {
    let found = plan.folder.list();
    let found = found.map_err(|(path, error)| anyhow::Error::new(error).context(cannot_go_on(&path)))?;
    for one in Found::in_order_of_use(&found, plan.first, plan.replay) {
        // The whole journal is there, and all of it was asked for.
        let Some(one) = one else { return Ok(None) };
        let path = one.path.display();
        let Some(pipeline) = read(one, config, rules)? else { continue };
        let missed = plan.first.saturating_sub(one.head.position);
        if missed > 0 {
            tracing::warn!(
                %path, missed,
                "the journal begins behind the checkpoint: what these batches taught is lost, what was learned before is not"
            );
        }
        tracing::info!(%path, edges = pipeline.stats().edges, "going on from a checkpoint");
        return Ok(Some((one.head.clone(), pipeline)));
    }
    if !found.is_empty() {
        tracing::error!(folder = %plan.folder.path().display(), "no checkpoint can be read: everything is learned anew");
    }
    Ok(None)
}

/// `None` when it cannot be read.
fn read(found: &Found, config: &EngineConfig, rules: &RuleSet) -> anyhow::Result<Option<Pipeline>> {
    let (newer, error): (bool, anyhow::Error) = match found.read() {
        Ok(checkpoint) => match Pipeline::resume(config, rules.clone(), &checkpoint) {
            Ok(pipeline) => return Ok(Some(pipeline)),
            Err(error) => (error.is_newer(), error.into()),
        },
        Err(error) => (matches!(error, ReadError::Newer { .. }), error.into()),
    };
    if newer {
        return Err(error.context(cannot_go_on(&found.path)));
    }
    tracing::error!(path = %found.path.display(), error = format!("{error:#}"), "a checkpoint is passed over");
    Ok(None)
}

fn cannot_go_on(path: &Path) -> String {
    format!("cannot go on from {}", path.display())
}

/// SHA-256 of a file, in hex.
pub(crate) fn digest(path: &Path) -> anyhow::Result<String> {
    let what = || format!("cannot read {}", path.display());
    let mut file = std::fs::File::open(path).with_context(what)?;
    let (mut hasher, mut part) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut part).with_context(what)? {
            0 => break,
            bytes => hasher.update(&part[..bytes]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
