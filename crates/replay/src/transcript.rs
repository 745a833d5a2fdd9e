//! Everything that happened, in order: one line per finding, incident change and action.

use std::fmt::Write as _;

use selvedge_act::document::format_utc;
use selvedge_engine::Effect;
use selvedge_model::{Action, Finding};

/// What happened, and the lines that say so.
#[derive(Debug, Default)]
pub struct Transcript {
    /// Findings in order of detection.
    pub findings: Vec<Finding>,
    /// Actions in order.
    pub actions: Vec<Action>,
    text: String,
}

impl Transcript {
    /// Adds one effect.
    pub fn record(&mut self, effect: Effect) {
        let line = match &effect {
            Effect::Finding(finding) => format!(
                "{} finding  {} {} {} [{}] {}",
                format_utc(finding.detected),
                finding.id,
                finding.severity.name(),
                finding.kind.name(),
                finding.edge.label(),
                finding.summary
            ),
            Effect::Incident(change, incident) => format!(
                "{} incident {} {} {} {}",
                format_utc(incident.closed.unwrap_or(incident.updated)),
                incident.id,
                incident.severity.name(),
                change.name(),
                incident.title
            ),
            Effect::Action(action, _) => line_of(action),
            Effect::Containment { at, severity, event } => {
                let Some(action) = event.action(*at, *severity) else { return };
                let line = line_of(&action);
                self.actions.push(action);
                line
            }
        };
        // Writing to a string cannot fail.
        writeln!(self.text, "{line}").expect("a string takes any text");
        match effect {
            Effect::Finding(finding) => self.findings.push(*finding),
            Effect::Action(action, _) => self.actions.push(action),
            Effect::Incident(..) | Effect::Containment { .. } => {}
        }
    }

    /// The lines.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn line_of(action: &Action) -> String {
    format!(
        "{} action   {} {} {} {}",
        format_utc(action.at),
        action.incident_id,
        action.severity.name(),
        action.kind.name(),
        action.title
    )
}
