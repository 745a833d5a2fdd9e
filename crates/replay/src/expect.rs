//! What a replay is expected to give: a test of one's own detection, in a file.
//!
//! A YAML (or JSON) document: `incidents` lists what must be there, `incidents_max` what may be there at most.

use selvedge_model::{FindingKind, Incident, Severity};
use serde::Deserialize;

/// The file cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ExpectError(String);

/// Expectations of one replay.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectations {
    /// Incidents that must be there, each a different one.
    #[serde(default)]
    incidents: Vec<ExpectedIncident>,
    /// At most so many incidents of at least `low`; `null` for any number.
    #[serde(default)]
    incidents_max: Option<usize>,
}

/// One incident that must be there. What is not given is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedIncident {
    /// Kinds that its findings must have, all of them.
    #[serde(default)]
    kinds: Vec<String>,
    /// Workload of the caller on one of its edges; empty for "nobody could be identified".
    source: Option<String>,
    /// Workload or host of the callee on the same edge.
    destination: Option<String>,
    /// Workload that must be the first suspect.
    suspect: Option<String>,
    /// Least severity.
    severity: Option<String>,
}

impl Expectations {
    /// Reads a document.
    ///
    /// # Errors
    /// It is not YAML of this shape, or names a kind or severity that does not exist.
    pub fn parse(text: &str) -> Result<Self, ExpectError> {
        let expectations: Self =
            serde_saphyr::from_str(text).map_err(|error| ExpectError(error.to_string()))?;
        for expected in &expectations.incidents {
            if let Some(kind) = expected.kinds.iter().find(|kind| FindingKind::parse(kind).is_none()) {
                return Err(ExpectError(format!("`{kind}` is not a finding kind")));
            }
            if let Some(name) = expected.severity.as_ref().filter(|name| Severity::parse(name).is_none()) {
                return Err(ExpectError(format!(
                    "`{name}` is not a severity (info, low, medium, high, critical)"
                )));
            }
        }
        Ok(expectations)
    }

    /// True when no incident has to be there.
    #[must_use]
    pub fn expects_nothing(&self) -> bool {
        self.incidents.is_empty()
    }

    /// The incidents that are as one of those that must be there.
    pub fn matching<'a>(&'a self, incidents: &'a [Incident]) -> impl Iterator<Item = &'a Incident> {
        incidents.iter().filter(|incident| self.incidents.iter().any(|expected| expected.matches(incident)))
    }

    /// What is missing or too much, one line each; empty when all is as expected.
    #[must_use]
    pub fn unmet(&self, incidents: &[Incident]) -> Vec<String> {
        let mut free: Vec<&Incident> = incidents.iter().collect();
        let mut unmet = Vec::new();
        for expected in &self.incidents {
            match free.iter().position(|incident| expected.matches(incident)) {
                Some(at) => {
                    free.remove(at);
                }
                None => unmet.push(format!("no incident with {}", expected.describe())),
            }
        }
        let told = incidents.iter().filter(|incident| incident.severity > Severity::Info).count();
        if let Some(max) = self.incidents_max.filter(|max| told > *max) {
            unmet.push(format!("{told} incidents above info, at most {max} expected"));
        }
        unmet
    }
}

impl ExpectedIncident {
    fn matches(&self, incident: &Incident) -> bool {
        let kinds = self.kinds.iter().all(|name| incident.kinds.iter().any(|kind| kind.name() == name));
        let edge = incident.edges.iter().any(|edge| {
            self.source.as_ref().is_none_or(|source| edge.source.workload == *source)
                && self
                    .destination
                    .as_ref()
                    .is_none_or(|destination| edge.destination.workload == *destination)
        });
        let suspect = self
            .suspect
            .as_ref()
            .is_none_or(|name| incident.suspects.first().is_some_and(|suspect| suspect.workload == *name));
        let severity = self.severity.as_deref().and_then(Severity::parse).unwrap_or_default();
        kinds
            && (edge || (self.source.is_none() && self.destination.is_none()))
            && suspect
            && incident.severity >= severity
    }

    fn describe(&self) -> String {
        let mut parts = Vec::new();
        if !self.kinds.is_empty() {
            parts.push(format!("kinds {}", self.kinds.join(", ")));
        }
        let named = [
            ("source", &self.source),
            ("destination", &self.destination),
            ("first suspect", &self.suspect),
            ("severity at least", &self.severity),
        ];
        parts.extend(
            named.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name} {value}"))),
        );
        parts.join("; ")
    }
}
