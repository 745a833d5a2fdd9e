//! A finding in the making: a check says what it saw, the detector adds the rule, the edge and the time.

use std::time::Duration;

use selvedge_model::{EventTime, Evidence, Exemplar, FindingKind, IdentitySource, Severity, Symbol};

use crate::statistics::RETURN_PERIOD_SECONDS_MAX;

/// More steps than there are severities: lowers anything to `info`.
const TO_INFO: i32 = -8;

/// What a check saw.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) kind: FindingKind,
    pub(crate) subject: String,
    pub(crate) summary: String,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) onset: EventTime,
    pub(crate) exemplars: Vec<Exemplar>,
    pub(crate) source_principal: Symbol,
    pub(crate) destination_principal: Symbol,
    pub(crate) source_identity: IdentitySource,
    pub(crate) claimed_principal: Symbol,
    pub(crate) return_period_seconds: Option<f64>,
    steps: i32,
    /// Its severity follows from the mesh's record, and not from the rule's level.
    graded: Option<Severity>,
}

impl Draft {
    pub(crate) fn new(kind: FindingKind, onset: EventTime) -> Self {
        Self {
            kind,
            subject: String::new(),
            summary: String::new(),
            evidence: Vec::new(),
            onset,
            exemplars: Vec::new(),
            source_principal: Symbol::NONE,
            destination_principal: Symbol::NONE,
            source_identity: IdentitySource::None,
            claimed_principal: Symbol::NONE,
            return_period_seconds: None,
            steps: 0,
            graded: None,
        }
    }

    pub(crate) fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    pub(crate) fn summary(mut self, summary: String) -> Self {
        self.summary = summary;
        self
    }

    /// Adds a fact: what was seen, and what was known or expected.
    pub(crate) fn fact(mut self, name: &str, observed: impl ToString, baseline: impl ToString) -> Self {
        let (observed, baseline) = (observed.to_string(), baseline.to_string());
        self.evidence.push(Evidence { name: name.to_owned(), observed, baseline });
        self
    }

    /// Adds a fact without baseline, when there is something to tell.
    pub(crate) fn note(self, name: &str, observed: &str) -> Self {
        if observed.is_empty() { self } else { self.fact(name, observed, "") }
    }

    /// Makes it a step more severe than the rule's level when `so`, and says why.
    pub(crate) fn raise_if(mut self, so: bool, why: &str) -> Self {
        if so {
            self.steps += 1;
            self = self.note("raised_because", why);
        }
        self
    }

    /// Makes it `steps` less severe than the rule's level when `so`, and says why.
    pub(crate) fn lower_if(mut self, so: bool, steps: i32, why: &str) -> Self {
        if so {
            self.steps -= steps;
            self = self.note("lowered_because", why);
        }
        self
    }

    /// Makes it informational when `so`, and says why.
    pub(crate) fn inform_if(mut self, so: bool, why: &str) -> Self {
        if so {
            self.steps = TO_INFO;
            self = self.note("lowered_because", why);
        }
        self
    }

    /// Gives it the severity that the mesh's own record says, and why it is no worse, when something held it back.
    pub(crate) fn grade(mut self, severity: Severity, why: &str, return_period: Option<Duration>) -> Self {
        self.graded = Some(severity);
        self.return_period_seconds =
            return_period.map(|period| period.as_secs_f64().min(RETURN_PERIOD_SECONDS_MAX));
        self.note("lowered_because", why)
    }

    /// True when its severity and return period come from the mesh's own record.
    pub(crate) fn calibrated(&self) -> bool {
        self.graded.is_some()
    }

    /// The rule's level, moved by what raised and lowered it; or what the mesh's record says.
    pub(crate) fn severity(&self, level: Severity) -> Severity {
        if let Some(graded) = self.graded {
            return graded;
        }
        let at = Severity::ALL.iter().position(|severity| *severity == level).unwrap_or(0);
        let steps = usize::try_from(self.steps.unsigned_abs()).unwrap_or(usize::MAX);
        let moved = if self.steps < 0 { at.saturating_sub(steps) } else { at.saturating_add(steps) };
        Severity::ALL[moved.min(Severity::ALL.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_moves_by_steps_and_stops_at_both_ends() {
        let draft = |raise: usize, lower| {
            let base = Draft::new(FindingKind::NewEdge, EventTime(1));
            (0..raise).fold(base, |draft, _| draft.raise_if(true, "x")).lower_if(true, lower, "y")
        };
        assert_eq!(draft(1, 0).severity(Severity::Medium), Severity::High);
        assert_eq!(draft(9, 0).severity(Severity::Medium), Severity::Critical);
        assert_eq!(draft(0, 9).severity(Severity::High), Severity::Info);
        assert_eq!(draft(1, 2).severity(Severity::Medium), Severity::Low);
        assert_eq!(draft(1, 0).inform_if(true, "z").severity(Severity::Critical), Severity::Info);
    }
}
