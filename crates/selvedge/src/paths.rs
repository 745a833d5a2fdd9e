//! Checks of paths given on the command line, before any long work begins.

use std::path::{Path, PathBuf};

use crate::logging::env;

/// Where this program keeps its state by convention: what systemd says (`StateDirectory=`), else below
/// `$XDG_STATE_HOME`, else below `~/.local/state`. `None` where there is no such place.
pub(crate) fn state_folder() -> Option<PathBuf> {
    let given = |name| env(name).filter(|path: &String| !path.is_empty());
    if let Some(folders) = given("STATE_DIRECTORY") {
        return folders.split(':').next().map(PathBuf::from);
    }
    let state = given("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(given("HOME")?).join(".local/state")))?;
    Some(state.join("selvedge"))
}

/// The first of these that is not a readable file, as an error that names it.
pub(crate) fn require_files(paths: &[PathBuf]) -> anyhow::Result<()> {
    for path in paths {
        require_file(path)?;
    }
    Ok(())
}

fn require_file(path: &Path) -> anyhow::Result<()> {
    let metadata = std::fs::metadata(path)
        .map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))?;
    anyhow::ensure!(metadata.is_file(), "{} is not a file", path.display());
    Ok(())
}
