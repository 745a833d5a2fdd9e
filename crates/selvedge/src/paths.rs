//! Checks of paths given on the command line, before any long work begins.

use std::path::{Path, PathBuf};

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
