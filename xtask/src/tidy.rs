//! The checks that Cargo and clippy cannot make: arrows, owners, sizes, headers, names.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;
use crate::{floors, text_rules};

/// Checks the whole tree and reports everything that is wrong at once.
///
/// # Errors
/// When something is wrong, or the tree cannot be read.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut found = floors::violations(&workspace.members);
    let architecture = workspace.root.join("ARCHITECTURE.md");
    let architecture = std::fs::read_to_string(&architecture).context("cannot read ARCHITECTURE.md")?;
    found.extend(floors::map_violations(&architecture));
    let files = workspace.files()?;
    for file in &files {
        let complaints = in_file(workspace, file)?;
        found.extend(complaints.into_iter().map(|complaint| format!("{} {complaint}", file.display())));
    }
    if found.is_empty() {
        eprintln!("{} crates and {} files are tidy", workspace.members.len(), files.len());
        return Ok(());
    }
    for complaint in &found {
        eprintln!("tidy: {complaint}");
    }
    bail!("{} untidy places", found.len())
}

fn in_file(workspace: &Workspace, file: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let path = workspace.root.join(file);
    if file.starts_with("fixtures") {
        if let Some(label) = text_rules::label_of(file).filter(|label| !workspace.root.join(label).is_file())
        {
            found.push(format!("has no label file {}", label.display()));
        }
        return Ok(found);
    }
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if u64::try_from(bytes.len())? > text_rules::FILE_BYTES_MAX {
        found.push(format!("has {} bytes, and is no fixture", bytes.len()));
    }
    let Ok(text) = String::from_utf8(bytes) else { return Ok(found) };
    found.extend(text_rules::machine_paths(&text));
    if file.starts_with("rules") {
        found.extend(text_rules::rule_name(file));
    }
    if ["crates", "rules", "schemas"].iter().any(|folder| file.starts_with(folder)) {
        found.extend(text_rules::data_sets(&text));
    }
    if is_source(file) {
        found.extend(text_rules::in_source(&text));
        if workspace
            .members
            .iter()
            .any(|member| file.starts_with(&member.folder) && floors::pure(&member.name))
        {
            found.extend(text_rules::impure_uses(&text));
        }
    }
    Ok(found)
}

/// Rust that ships or runs, not a test's own file.
fn is_source(file: &Path) -> bool {
    let has_part = |wanted: &str| file.components().any(|part| part.as_os_str() == wanted);
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let test = name == "tests.rs" || name.ends_with("_tests.rs") || has_part("tests");
    name.ends_with(".rs") && has_part("src") && !test
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_from_tests_and_from_everything_else() {
        assert!(is_source(Path::new("crates/model/src/edge.rs")));
        assert!(!is_source(Path::new("crates/model/src/edge/tests.rs")));
        assert!(!is_source(Path::new("crates/model/src/edge_tests.rs")));
        assert!(!is_source(Path::new("crates/model/tests/edge.rs")));
        assert!(!is_source(Path::new("docs/proxies.md")));
    }
}
