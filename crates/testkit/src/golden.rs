//! Goldens: what a test printed last time, in a file that people review.

use std::fmt;
use std::path::{Path, PathBuf};

/// Lines of context shown around the first difference.
const CONTEXT_LINES: usize = 2;

/// A golden that does not hold, with the first line that differs.
#[derive(Debug)]
pub struct Difference {
    path: PathBuf,
    what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        write!(f, "{path}: {}\nIf the change is wanted: UPDATE_GOLDEN=1, then review the diff.", self.what)
    }
}

/// Panics unless `actual` is what `path` holds. With `UPDATE_GOLDEN=1` in the environment the file is rewritten
/// instead.
///
/// # Panics
/// The golden differs, is absent, or cannot be written.
#[expect(
    clippy::disallowed_methods,
    reason = "rewriting goldens must be asked for; the environment is how tests are told"
)]
pub fn check(path: impl AsRef<Path>, actual: &str) {
    let update = std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1");
    if let Err(difference) = compare(path.as_ref(), actual, update) {
        panic!("{difference}");
    }
}

/// Compares `actual` with the file, or rewrites the file when `update` is set and they differ.
///
/// # Errors
/// They differ, or the file cannot be read or written.
pub fn compare(path: &Path, actual: &str, update: bool) -> Result<(), Difference> {
    let refuse = |what: String| Difference { path: path.to_owned(), what };
    let golden = std::fs::read_to_string(path);
    if golden.as_ref().is_ok_and(|golden| golden == actual) {
        return Ok(());
    }
    if update {
        let folder = path.parent().unwrap_or(Path::new("."));
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, actual));
        return written.map_err(|error| refuse(format!("cannot be written: {error}")));
    }
    match golden {
        Ok(golden) => Err(refuse(first_difference(&golden, actual))),
        Err(error) => Err(refuse(format!("cannot be read: {error}"))),
    }
}

fn first_difference(golden: &str, actual: &str) -> String {
    let (golden_lines, actual_lines): (Vec<&str>, Vec<&str>) =
        (golden.lines().collect(), actual.lines().collect());
    let same = golden_lines.iter().zip(&actual_lines).take_while(|(left, right)| left == right).count();
    let mut told =
        format!("line {} differs ({} lines, now {})", same + 1, golden_lines.len(), actual_lines.len());
    for line in &actual_lines[same.saturating_sub(CONTEXT_LINES)..same] {
        told.push_str(&format!("\n    {line}"));
    }
    for (mark, lines) in [('-', &golden_lines), ('+', &actual_lines)] {
        match lines.get(same) {
            Some(line) => told.push_str(&format!("\n  {mark} {line}")),
            None => told.push_str(&format!("\n  {mark} (end of text)")),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_golden_holds_until_it_changes_and_is_rewritten_only_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/golden.txt");
        let absent = compare(&path, "one\n", false).unwrap_err();
        assert!(absent.to_string().contains("cannot be read"), "{absent}");
        compare(&path, "one\ntwo\n", true).unwrap();
        compare(&path, "one\ntwo\n", false).unwrap();
        let changed = compare(&path, "one\n2\n", false).unwrap_err().to_string();
        assert!(
            changed.contains("line 2 differs") && changed.contains("- two") && changed.contains("+ 2"),
            "{changed}"
        );
        assert!(changed.contains("UPDATE_GOLDEN=1"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let longer = compare(&path, "one\ntwo\nthree\n", false).unwrap_err().to_string();
        assert!(longer.contains("- (end of text)"), "{longer}");
    }

    #[test]
    #[should_panic(expected = "cannot be read")]
    fn an_absent_golden_fails_the_test() {
        check("/nowhere/at/all.txt", "text");
    }
}
