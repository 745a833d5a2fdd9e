//! What one check found.

use schemars::JsonSchema;
use serde::Serialize;

use super::snippets::Snippet;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It cannot be told from here.
    Unknown,
    /// It works, and something is missing or will go wrong.
    Warn,
    /// It does not work.
    Fail,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "?",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    pub(crate) level: Level,
    /// What was looked at.
    pub(crate) subject: String,
    /// What was found.
    pub(crate) text: String,
    /// What to do; empty when nothing.
    pub(crate) advice: String,
    /// Kinds of findings that cannot be seen as it is.
    pub(crate) unseen: &'static [&'static str],
    /// What mends it, in the order in which to apply it.
    pub(crate) snippets: Vec<Snippet>,
}

impl Check {
    pub(crate) fn new(level: Level, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            level,
            subject: subject.into(),
            text: text.into(),
            advice: String::new(),
            unseen: &[],
            snippets: Vec::new(),
        }
    }

    pub(crate) fn ok(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Level::Ok, subject, text)
    }

    pub(crate) fn unknown(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Level::Unknown, subject, text)
    }

    pub(crate) fn warn(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Level::Warn, subject, text)
    }

    pub(crate) fn fail(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(Level::Fail, subject, text)
    }

    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    pub(crate) fn blind_to(mut self, unseen: &'static [&'static str]) -> Self {
        self.unseen = unseen;
        self
    }

    pub(crate) fn mended_by(mut self, snippets: Vec<Snippet>) -> Self {
        self.snippets = snippets;
        self
    }
}

/// Checks that belong together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// For programs.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: String,
    pub(crate) checks: Vec<Check>,
}

/// Bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

/// A share for people; never rounded to all or nothing when it is neither.
pub(crate) fn share(part: u64, of: u64) -> String {
    if part == 0 || of == 0 {
        return "0 %".to_owned();
    }
    let percent = part as f64 / of as f64 * 100.0;
    match part {
        part if part >= of => "100 %".to_owned(),
        _ => format!("{:.0} %", percent.clamp(1.0, 99.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_all_or_nothing_only_when_it_is() {
        let shares = [(0, 0), (0, 9), (1, 1_000), (500, 1_000), (999, 1_000), (7, 7)];
        assert_eq!(shares.map(|(part, of)| share(part, of)), ["0 %", "0 %", "1 %", "50 %", "99 %", "100 %"]);
    }
}
