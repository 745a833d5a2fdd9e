//! How a policy compares one text: Envoy's `StringMatcher`, which Istio's patterns become too.

use regex::{Regex, RegexBuilder};

use crate::pattern::Texts;
use crate::traffic::Truth;

/// Bytes a regular expression may take when compiled.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextPattern {
    /// This text.
    Exact(String),
    /// Begins with it.
    Prefix(String),
    /// Ends with it.
    Suffix(String),
    /// Holds it.
    Contains(String),
    /// A regular expression (RE2) that must match the whole text.
    Regex(String),
    /// An Envoy URI template: `*` is one path segment, a last `**` the rest.
    UriTemplate(String),
}

/// A comparison, ready to be used.
#[derive(Clone, Debug)]
pub struct TextMatch {
    pattern: TextPattern,
    ignore_case: bool,
    /// The texts that match; absent for a regular expression that is more than a pattern.
    texts: Option<Texts>,
    regex: Option<Regex>,
}

impl PartialEq for TextMatch {
    fn eq(&self, other: &Self) -> bool {
        (&self.pattern, self.ignore_case) == (&other.pattern, other.ignore_case)
    }
}

impl Eq for TextMatch {}

impl TextMatch {
    /// Compiles a comparison. Case is the difference of ASCII letters, and never ignored by a regular
    /// expression.
    ///
    /// # Errors
    /// What is wrong with a regular expression.
    pub fn new(pattern: TextPattern, ignore_case: bool) -> Result<Self, String> {
        let (texts, regex) = match &pattern {
            TextPattern::Exact(text) => (Some(Texts::exact(text)), None),
            TextPattern::Prefix(text) => (Some(Texts::prefix(text)), None),
            TextPattern::Suffix(text) => (Some(Texts::suffix(text)), None),
            TextPattern::Contains(text) => (Some(Texts::containing(text)), None),
            TextPattern::UriTemplate(text) => (Some(Texts::of_uri_template(text)), None),
            TextPattern::Regex(regex) if regex == ".+" => (Some(Texts::present()), None),
            TextPattern::Regex(regex) => (Texts::of_regex(regex), Some(whole(regex)?)),
        };
        let lower = ignore_case && regex.is_none();
        let texts = if lower { texts.map(|texts| texts.lower()) } else { texts };
        Ok(Self { pattern, ignore_case: lower, texts, regex })
    }

    /// Equality.
    #[must_use]
    pub fn exact(text: &str) -> Self {
        let pattern = TextPattern::Exact(text.to_owned());
        Self { pattern, ignore_case: false, texts: Some(Texts::exact(text)), regex: None }
    }

    /// What it compares with.
    #[must_use]
    pub fn pattern(&self) -> &TextPattern {
        &self.pattern
    }

    /// Letters in upper and lower case are the same.
    #[must_use]
    pub fn ignore_case(&self) -> bool {
        self.ignore_case
    }

    /// Whether it matches a text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let lower;
        let text = if self.ignore_case {
            lower = text.to_ascii_lowercase();
            &lower
        } else {
            text
        };
        let same = |own: &String| if self.ignore_case { own.to_ascii_lowercase() } else { own.clone() };
        match (&self.pattern, &self.regex, &self.texts) {
            (TextPattern::Exact(own), _, _) => *text == same(own),
            (TextPattern::Prefix(own), _, _) => text.starts_with(&same(own)),
            (TextPattern::Suffix(own), _, _) => text.ends_with(&same(own)),
            (TextPattern::Contains(own), _, _) => text.contains(&same(own)),
            (_, Some(regex), _) => regex.is_match(text),
            (_, None, Some(texts)) => Texts::exact(text).within(texts) == Truth::Yes,
            (_, None, None) => false,
        }
    }

    /// Whether it matches all texts of a set, none, or some.
    pub(crate) fn matches_all(&self, set: &Texts) -> Truth {
        match (&self.texts, self.ignore_case) {
            (Some(texts), true) => set.lower().within(texts),
            (Some(texts), false) => set.within(texts),
            // A regular expression of any shape cannot be compared with a set.
            (None, _) => Truth::Unknown,
        }
    }
}

fn whole(regex: &str) -> Result<Regex, String> {
    let build = RegexBuilder::new(&format!("^(?:{regex})$")).size_limit(REGEX_BYTES_MAX).build();
    // The library draws the place over several lines; its last line says what is wrong.
    build.map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        format!("`{regex}` is no regular expression: {}", last.trim_start_matches("error: "))
    })
}
