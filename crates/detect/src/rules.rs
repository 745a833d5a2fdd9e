//! What each finding kind means, as data: the rules that are shipped, and those that replace them.

use std::collections::BTreeMap;

use selvedge_model::{FindingKind, Severity};

use crate::parameters::Parameters;
use crate::rule_file::{Header, KindOnly, techniques};
use crate::rule_problems;

/// A rule file longer than this is refused: ours have 2 KB.
const RULE_BYTES_MAX: usize = 256 << 10;

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    header: Header,
    parameters: Parameters,
    techniques: Vec<String>,
}

/// All rules, one a kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    rules: BTreeMap<FindingKind, Rule>,
}

/// What is wrong with a rule file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}{}", suggestion.as_ref().map(|word| format!("; did you mean `{word}`?")).unwrap_or_default())]
pub struct RuleError {
    /// File name as given.
    pub file: String,
    /// Line, from 1; 0 when it is about the whole file.
    pub line: u64,
    /// Column, from 1; 0 when it is about the whole file.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// The known word nearest to an unknown one.
    pub suggestion: Option<String>,
}

macro_rules! shipped {
    ($($name:literal,)*) => {
        /// The shipped rule files, by name.
        const SHIPPED: &[(&str, &str)] = &[
            $(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../rules/", $name))),)*
        ];
    };
}

shipped! {
    "mtls_downgrade.yml",
    "tls_version_downgrade.yml",
    "handshake_rejected.yml",
    "certificate_expired.yml",
    "certificate_expiring.yml",
    "certificate_lifetime.yml",
    "certificate_issuer.yml",
    "certificate_shared.yml",
    "forged_identity.yml",
    "foreign_trust_domain.yml",
    "identity_mismatch.yml",
    "new_edge.yml",
    "new_route.yml",
    "new_egress.yml",
    "new_principal.yml",
    "new_call_path.yml",
    "boundary_violation.yml",
    "latency_high.yml",
    "network_delay.yml",
    "resource_high.yml",
    "error_rate_high.yml",
    "request_rate_high.yml",
    "request_rate_low.yml",
    "edge_silent.yml",
    "bytes_high.yml",
    "path_scan.yml",
    "beacon.yml",
    "denied_burst.yml",
    "policy_unenforced.yml",
    "one_sided_call.yml",
    "telemetry_gap.yml",
    "telemetry_suppressed.yml",
    "malformed_telemetry.yml",
    "cardinality.yml",
    "log_template_new.yml",
    "log_template_missing.yml",
    "log_rate.yml",
}

impl Rule {
    /// What it is called.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.header.title
    }

    /// UUID of the rule.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.header.id
    }

    /// What it means.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.header.description
    }

    /// Severity of a finding before factors raise or lower it.
    #[must_use]
    pub fn level(&self) -> Severity {
        self.header.level
    }

    /// Sigma tags.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.header.tags
    }

    /// ATT&CK technique ids of the tags.
    #[must_use]
    pub fn techniques(&self) -> &[String] {
        &self.techniques
    }

    /// What else looks like this.
    #[must_use]
    pub fn false_positives(&self) -> &[String] {
        &self.header.false_positives
    }

    /// False when the kind is switched off.
    #[must_use]
    pub fn enabled(&self) -> bool {
        self.header.enabled
    }

    /// What to do next.
    #[must_use]
    pub fn runbook(&self) -> &str {
        &self.header.runbook
    }
}

impl RuleSet {
    /// The rules that are part of the program.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the embedded files are constants that tests read")]
    pub fn shipped() -> Self {
        static READ: std::sync::OnceLock<RuleSet> = std::sync::OnceLock::new();
        let read_all = || {
            let rules =
                SHIPPED.iter().map(|(name, text)| read(name, text)).collect::<Result<BTreeMap<_, _>, _>>();
            Self { rules: rules.expect("shipped rules are read by the tests of this crate") }
        };
        READ.get_or_init(read_all).clone()
    }

    /// The shipped rules, with those of `files` (name and text) in the place of the same kinds.
    ///
    /// # Errors
    /// Every error of every file that is wrong.
    pub fn load<N: AsRef<str>, T: AsRef<str>>(files: &[(N, T)]) -> Result<Self, Vec<RuleError>> {
        let mut set = Self::shipped();
        let mut from: BTreeMap<FindingKind, &str> = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, text) in files {
            let name = name.as_ref();
            match read(name, text.as_ref()) {
                Ok((kind, _)) if from.contains_key(&kind) => {
                    let message = format!("kind `{}` has a rule in {} already", kind.name(), from[&kind]);
                    errors.push(whole_file(name, message));
                }
                Ok((kind, rule)) => {
                    from.insert(kind, name);
                    set.rules.insert(kind, rule);
                }
                Err(problems) => errors.extend(problems),
            }
        }
        if errors.is_empty() { Ok(set) } else { Err(errors) }
    }

    /// The rule of a kind.
    #[must_use]
    pub fn rule(&self, kind: FindingKind) -> Option<&Rule> {
        self.rules.get(&kind)
    }

    /// All rules, in the design's order of kinds.
    pub fn iter(&self) -> impl Iterator<Item = (FindingKind, &Rule)> {
        self.rules.iter().map(|(kind, rule)| (*kind, rule))
    }

    /// What to do about findings of a kind; empty when no rule says.
    #[must_use]
    pub fn runbook(&self, kind: FindingKind) -> &str {
        self.rules.get(&kind).map_or("", Rule::runbook)
    }

    pub(crate) fn enabled(&self, kind: FindingKind) -> Option<&Parameters> {
        self.rules.get(&kind).filter(|rule| rule.enabled()).map(|rule| &rule.parameters)
    }
}

fn read(name: &str, text: &str) -> Result<(FindingKind, Rule), Vec<RuleError>> {
    if text.len() > RULE_BYTES_MAX {
        return Err(vec![whole_file(name, format!("larger than {RULE_BYTES_MAX} bytes"))]);
    }
    let found: KindOnly = serde_saphyr::from_str(text).map_err(|error| vec![explain(name, &error)])?;
    let word = found.kind.value.as_str();
    let kind = FindingKind::parse(word);
    let Some((kind, parsed)) = kind.and_then(|kind| Some((kind, Parameters::read(kind, text)?))) else {
        let place = found.kind.referenced;
        let known = Parameters::KINDS.iter().map(|kind| kind.name());
        return Err(vec![RuleError {
            file: name.to_owned(),
            line: place.line(),
            column: place.column(),
            message: format!("unknown kind `{word}`"),
            suggestion: nearest(word, known),
        }]);
    };
    let (header, parameters) = parsed.map_err(|error| all_problems(name, text, kind, error))?;
    let techniques = techniques(&header.tags);
    Ok((kind, Rule { header, parameters, techniques }))
}

/// Everything that is wrong with the file of a known kind.
fn all_problems(name: &str, text: &str, kind: FindingKind, first: serde_saphyr::Error) -> Vec<RuleError> {
    let file = format!("{}.yml", kind.name());
    let shipped = SHIPPED.iter().find(|(shipped, _)| *shipped == file).map_or("", |(_, text)| text);
    let read = |text: &str| Parameters::read(kind, text).and_then(Result::err);
    let problems = rule_problems::all(text, shipped, first, read);
    let placed = problems.iter().map(|(error, line, column)| RuleError {
        line: *line,
        column: *column,
        ..explain(name, error)
    });
    placed.collect()
}

fn whole_file(name: &str, message: String) -> RuleError {
    RuleError { file: name.to_owned(), line: 0, column: 0, message, suggestion: None }
}

fn explain(name: &str, error: &serde_saphyr::Error) -> RuleError {
    use serde_saphyr::Error;
    let error = error.without_snippet();
    let place = error.location();
    let (message, suggestion) = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown key `{field}`"), nearest(field, expected.iter().copied()))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("unknown value `{variant}`"), nearest(variant, expected.iter().copied()))
        }
        Error::SerdeMissingField { field, .. } => (format!("key `{field}` is missing"), None),
        Error::Message { msg, .. } => (msg.clone(), None),
        other => (other.to_string(), None),
    };
    RuleError {
        file: name.to_owned(),
        line: place.map_or(0, |place| place.line()),
        column: place.map_or(0, |place| place.column()),
        message,
        suggestion,
    }
}

/// The known word at the smallest edit distance, when it is near enough to be meant.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let near = known.map(|candidate| (edit_distance(word, candidate), candidate)).min()?;
    (near.0 <= word.len().max(3) / 3 + 1).then(|| near.1.to_owned())
}

/// Levenshtein distance: insertions, deletions and substitutions of bytes.
fn edit_distance(left: &str, right: &str) -> usize {
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, from) in left.bytes().enumerate() {
        let mut current = vec![row + 1];
        for (column, to) in right.bytes().enumerate() {
            let substituted = previous[column] + usize::from(from != to);
            current.push(substituted.min(previous[column + 1] + 1).min(current[column] + 1));
        }
        previous = current;
    }
    previous[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped_text(kind: &str) -> String {
        let name = format!("{kind}.yml");
        SHIPPED.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_owned()).expect("shipped")
    }

    fn error_of(text: &str) -> RuleError {
        RuleSet::load(&[("mine.yml", text)]).expect_err("a wrong file").remove(0)
    }

    #[test]
    fn every_shipped_rule_is_read_and_its_file_is_named_after_its_kind() {
        let set = RuleSet::shipped();
        let mut ids: Vec<&str> = set.iter().map(|(_, rule)| rule.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Parameters::KINDS.len(), "one rule a kind, each with its own id");
        for (name, text) in SHIPPED {
            let (kind, rule) = read(name, text).expect("readable");
            assert_eq!(*name, format!("{}.yml", kind.name()));
            assert!(rule.enabled() && !rule.runbook().is_empty() && !rule.title().is_empty(), "{name}");
        }
    }

    #[test]
    fn every_parameter_of_a_shipped_rule_has_a_comment() {
        for (name, text) in SHIPPED {
            let parameters =
                text.split("\nparameters:").nth(1).expect("parameters").split("\nrunbook:").next();
            let lines: Vec<&str> = parameters.expect("a block").lines().skip(1).collect();
            for (at, line) in lines.iter().enumerate() {
                let is_key = line.starts_with("  ") && !line.trim_start().starts_with('#');
                assert!(
                    !is_key || lines[at - 1].trim_start().starts_with('#'),
                    "{name}: no comment above `{line}`"
                );
            }
        }
    }

    #[test]
    fn a_rule_of_ours_is_replaced_by_kind() {
        let text = shipped_text("new_route").replace("enabled: true", "enabled: false");
        let set = RuleSet::load(&[("mine.yml", &text)]).expect("valid");
        assert!(set.new_route().is_none() && set.new_edge().is_some());
    }

    #[test]
    fn an_unknown_key_is_an_error_with_place_and_suggestion() {
        let text = shipped_text("path_scan").replace("  routes_min:", "  route_min:");
        let error = error_of(&text);
        assert_eq!(error.message, "unknown key `route_min`");
        assert_eq!(error.suggestion.as_deref(), Some("routes_min"));
        let line = text.lines().position(|line| line.starts_with("  route_min:")).expect("there") + 1;
        assert_eq!((error.line, error.column), (line as u64, 3));
        assert!(error.to_string().contains("did you mean `routes_min`?"), "{error}");
    }

    #[test]
    fn all_that_is_wrong_with_a_file_is_told_at_once_with_its_place() {
        let text = shipped_text("path_scan")
            .replace("  routes_min:", "  route_min:")
            .replace("level: ", "level: very_")
            .replace("id: ", "id: x")
            .replace("enabled: true", "enabled: perhaps\nowner: me");
        let text = text.replace("tags:\n", "tags:\n  - Nothing\n");
        let errors = RuleSet::load(&[("mine.yml", &text)]).expect_err("a wrong file");
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let line = |start: &str| {
            text.lines().position(|line| line.trim_start().starts_with(start)).expect("there") as u64 + 1
        };
        for (start, part) in [
            ("id:", "is not a UUID"),
            ("level:", "is none of"),
            ("- Nothing", "is not a tag"),
            ("enabled:", "enabled"),
            ("owner:", "unknown key `owner`"),
            ("route_min:", "did you mean `routes_min`?"),
        ] {
            let place = format!("mine.yml:{}:", line(start));
            let here = told.iter().any(|error| error.starts_with(&place));
            assert!(here, "nothing at {place} ({part}) in {told:#?}");
        }
        assert!(told.iter().any(|error| error.contains("key `routes_min` is missing")), "{told:#?}");
        assert_eq!(told.len(), 7, "{told:#?}");
    }

    #[test]
    fn missing_keys_bad_values_unknown_kinds_and_duplicates_are_errors() {
        let text = shipped_text("path_scan");
        let missing =
            text.lines().filter(|line| !line.starts_with("  routes_min:")).collect::<Vec<_>>().join("\n");
        assert!(error_of(&missing).message.contains("routes_min"), "{}", error_of(&missing));
        let bad = error_of(&text.replace("level: ", "level: very_"));
        assert!(bad.message.contains("is none of") && bad.line > 0, "{bad}");
        let share =
            error_of(&shipped_text("mtls_downgrade").replace("mutual_share_min: 0", "mutual_share_min: 7"));
        assert!(share.message.contains("between 0 and 1") && share.line > 0, "{share}");
        let kind = error_of(&text.replace("kind: path_scan", "kind: path_scam"));
        assert_eq!(kind.suggestion.as_deref(), Some("path_scan"));
        let twice = RuleSet::load(&[("a.yml", &text), ("b.yml", &text)]).expect_err("twice");
        assert!(twice[0].message.contains("a.yml"), "{}", twice[0]);
        assert!(!RuleSet::load(&[("x.yml", "{"), ("y.yml", "kind: [")]).expect_err("both").is_empty());
    }
}
