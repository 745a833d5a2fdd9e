//! Reading YAML so that one run tells everything that is wrong with a file: each problem with its line, column and,
//! for a misspelt key, the key that was probably meant.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::logging::env;

/// Problems told at most; a file with more is not the file that was meant.
const PROBLEMS_MAX: usize = 50;
/// Edits between a misspelt key and the one that is offered instead.
const EDITS_MAX: usize = 3;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Line and column, counted from one; absent when the problem is with a value as a whole.
    pub(crate) at: Option<(u64, u64)>,
    /// What is wrong, and what to do.
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{line}:{column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Reads a document. Every unknown key and every value of a wrong type is reported, not only the first.
///
/// A problem is taken out of the text (its line, and what is indented below it, become blank), and the rest is read
/// again, until nothing is wrong any more.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Vec<Problem>> {
    let (text, mut problems) = substitute(text);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    loop {
        let error = match serde_saphyr::from_str::<T>(&lines.join("\n")) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => return Err(problems),
            Err(error) => error,
        };
        let problem = problem(&error);
        let line = problem
            .at
            .and_then(|(line, _)| usize::try_from(line).ok())
            .filter(|line| (1..=lines.len()).contains(line));
        let known = problems.iter().any(|other| other.at == problem.at);
        if !known {
            problems.push(problem);
        }
        match line {
            Some(line) if !known && problems.len() < PROBLEMS_MAX => blank(&mut lines, line - 1),
            _ => return Err(problems),
        }
    }
}

/// Blanks a line and everything indented below it; a parent that is left without children goes too.
fn blank(lines: &mut [String], at: usize) {
    let depth = indent(&lines[at]);
    lines[at].clear();
    for line in lines.iter_mut().skip(at + 1) {
        if !line.trim().is_empty() && indent(line) <= depth {
            break;
        }
        line.clear();
    }
    let Some(parent) =
        lines[..at].iter().rposition(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    else {
        return;
    };
    let orphaned = indent(&lines[parent]) < depth && lines[parent].trim_end().ends_with(':');
    let next = lines[at..].iter().find(|line| !line.trim().is_empty());
    if orphaned && next.is_none_or(|next| indent(next) <= indent(&lines[parent])) {
        blank(lines, parent);
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn problem(error: &serde_saphyr::Error) -> Problem {
    let at = error.location().map(|location| (location.line(), location.column()));
    let message = match error.without_snippet() {
        serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
            let hint = match nearest(field, expected) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known here: {}", expected.join(", ")),
            };
            format!("unknown key `{field}`; {hint}")
        }
        other => {
            let text = other.to_string();
            // The library ends its message with the place, which stands in front here.
            text.split(" at line ").next().unwrap_or(&text).to_owned()
        }
    };
    Problem { at, message }
}

/// The known key closest to what was written, if any is close.
pub(crate) fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let closest = known.iter().map(|key| (edits(written, key), *key)).min()?;
    (closest.0 <= EDITS_MAX.min(written.len().max(1) - 1).max(1)).then_some(closest.1)
}

/// Levenshtein distance by bytes: insertions, deletions and replacements.
fn edits(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}

/// Replaces `${env:NAME}` and `${env:NAME:-default}`; a name that is not set and has no default is a problem.
fn substitute(text: &str) -> (String, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        let mut rest = line;
        let commented = line.trim_start().starts_with('#');
        while let Some(start) = rest.find("${env:").filter(|_| !commented) {
            let Some(length) = rest[start..].find('}') else { break };
            let (name, default) = match rest[start + 6..start + length].split_once(":-") {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (&rest[start + 6..start + length], None),
            };
            out.push_str(&rest[..start]);
            match env(name).or(default) {
                Some(value) => out.push_str(&value),
                None => {
                    let column = (line.len() - rest.len() + start + 1) as u64;
                    let message = format!(
                        "environment variable {name} is not set; set it, or give a default: ${{env:{name}:-value}}"
                    );
                    problems.push(Problem { at: Some((number as u64 + 1, column)), message });
                }
            }
            rest = &rest[start + length + 1..];
        }
        out.push_str(rest);
        out.push('\n');
    }
    (out, problems)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Outer {
        inner: Inner,
        count: Option<u32>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        endpoint: Option<String>,
    }

    #[test]
    fn all_problems_of_a_file_are_told_at_once_with_place_and_suggestion() {
        let problems = read::<Outer>("inner:\n  endpont: here\ncuont: 3\ncount: many\n").unwrap_err();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].starts_with("2:3: unknown key `endpont`; did you mean `endpoint`?"), "{told:?}");
        assert!(told[1].starts_with("3:1: unknown key `cuont`; did you mean `count`?"), "{told:?}");
        assert!(told[2].starts_with("4:8: "), "{told:?}");
    }

    #[test]
    fn a_default_stands_in_for_an_unset_variable_and_its_absence_is_a_problem() {
        let outer: Outer = read("inner: {endpoint: \"${env:SELVEDGE_TEST_UNSET:-127.0.0.1:1}\"}\n").unwrap();
        assert_eq!(outer.inner.endpoint.as_deref(), Some("127.0.0.1:1"));
        assert_eq!(outer.count, None);
        let problems = read::<Outer>("count: ${env:SELVEDGE_TEST_UNSET}\n").unwrap_err();
        assert!(
            problems[0].to_string().starts_with("1:8: environment variable SELVEDGE_TEST_UNSET is not set")
        );
    }

    #[test]
    fn nothing_is_offered_for_a_key_that_resembles_none() {
        assert_eq!(nearest("zzzzzzzz", &["endpoint", "tls"]), None);
        assert_eq!(nearest("endpont", &["endpoint", "tls"]), Some("endpoint"));
    }
}
