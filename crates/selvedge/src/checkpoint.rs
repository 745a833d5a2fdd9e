//! Which checkpoint a start goes on from.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use selvedge_checkpoint::{Found, Head, ReadError};
use selvedge_engine::{CheckpointPlan, EngineConfig, Pipeline, RuleSet};
use sha2::{Digest as _, Sha256};

/// What can be made of one checkpoint.
pub(crate) enum Read<T> {
    Whole(T),
    /// It is passed over.
    Damaged(anyhow::Error),
    /// It ends the start: to forget what it knows is not ours to decide.
    Newer(anyhow::Error),
}

/// How a start begins.
pub(crate) enum Beginning<'a, T> {
    /// From here.
    From(&'a Found, T),
    /// With nothing: the whole journal is there, and all of it was asked for.
    Journal,
    /// Not at all: it would have to go on from this one.
    Refused(&'a Found, anyhow::Error),
    /// With nothing, because nothing is there or can be read.
    Nothing,
}

/// Which of all that was found (oldest first) a start goes on from, of a journal that begins at `first`: the first in
/// [order](Found::in_order_of_use) that is whole.
pub(crate) fn beginning<'a, T>(
    found: &'a [Found],
    first: u64,
    replay: Duration,
    mut read: impl FnMut(&'a Found) -> Read<T>,
) -> Beginning<'a, T> {
    for one in Found::in_order_of_use(found, first, replay) {
        let Some(one) = one else { return Beginning::Journal };
        match read(one) {
            Read::Whole(whole) => return Beginning::From(one, whole),
            Read::Newer(error) => return Beginning::Refused(one, error),
            Read::Damaged(_) => {}
        }
    }
    Beginning::Nothing
}

/// The checkpoint to go on from, read. One that cannot be read is passed over, aloud; one of a newer version ends the start.
pub(crate) fn choose(
    plan: &CheckpointPlan,
    config: &EngineConfig,
    rules: &RuleSet,
) -> anyhow::Result<Option<(Head, Pipeline)>> {
    let found = plan.folder.list();
    let found = found.map_err(|(path, error)| anyhow::Error::new(error).context(cannot_go_on(&path)))?;
    let aloud = |one: &Found| {
        let made = read(one, config, rules);
        if let Read::Damaged(error) = &made {
            let error = format!("{error:#}");
            tracing::error!(path = %one.path.display(), error, "a checkpoint is passed over");
        }
        made
    };
    match beginning(&found, plan.first, plan.replay, aloud) {
        Beginning::From(one, pipeline) => {
            let path = one.path.display();
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
        Beginning::Refused(one, error) => return Err(error.context(cannot_go_on(&one.path))),
        Beginning::Nothing if !found.is_empty() => {
            let folder = plan.folder.path().display();
            tracing::error!(%folder, "no checkpoint can be read: everything is learned anew");
        }
        Beginning::Journal | Beginning::Nothing => {}
    }
    Ok(None)
}

/// Reads all of it, as a start does.
pub(crate) fn read(found: &Found, config: &EngineConfig, rules: &RuleSet) -> Read<Pipeline> {
    let (newer, error): (bool, anyhow::Error) = match found.read() {
        Ok(checkpoint) => match Pipeline::resume(config, rules.clone(), &checkpoint) {
            Ok(pipeline) => return Read::Whole(pipeline),
            Err(error) => (error.is_newer(), error.into()),
        },
        Err(error) => (matches!(error, ReadError::Newer { .. }), error.into()),
    };
    if newer { Read::Newer(error) } else { Read::Damaged(error) }
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
