//! Whether a change of an incident is worth telling: pure, so that a replay plans what a live run would send.

use selvedge_correlate::IncidentChange;
use selvedge_model::{Action, ActionKind, EventTime, Incident, IncidentStatus, Severity};

/// Below it nobody is told.
const TOLD_MIN: Severity = Severity::Low;

/// The alert that a change calls for, if any.
///
/// `last_sent` is the severity of the last alert about this incident, firing or withdrawn; `None` when there was
/// none. An alert goes out when an incident opens or reopens, and again when it became worse than what people were
/// told; it is withdrawn only when it had gone out.
#[must_use]
pub fn plan(
    change: &IncidentChange,
    incident: &Incident,
    last_sent: Option<Severity>,
    now: EventTime,
) -> Option<Action> {
    let told = TOLD_MIN <= incident.severity && incident.status == IncidentStatus::Open;
    let worse = last_sent.is_none_or(|sent| sent < incident.severity);
    let kind = match change {
        IncidentChange::Opened(_) if told => ActionKind::AlertFiring,
        IncidentChange::Updated(_) | IncidentChange::Escalated(_) if told && worse => ActionKind::AlertFiring,
        IncidentChange::Resolved(_) if last_sent.is_some() => ActionKind::AlertResolved,
        _ => return None,
    };
    Some(Action {
        quarantine_id: String::new(),
        kind,
        incident_id: incident.id.clone(),
        severity: incident.severity,
        title: incident.title.clone(),
        at: now,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    type Change = fn(String) -> IncidentChange;

    #[test]
    fn people_are_told_of_news_and_of_worse_and_of_the_end() {
        use ActionKind::{AlertFiring, AlertResolved};
        use Severity::{Critical, High, Info, Low};
        let table: &[(Change, Severity, Option<Severity>, Option<ActionKind>)] = &[
            (IncidentChange::Opened, Low, None, Some(AlertFiring)),
            (IncidentChange::Opened, Info, None, None),
            (IncidentChange::Opened, High, Some(High), Some(AlertFiring)),
            (IncidentChange::Updated, High, Some(High), None),
            (IncidentChange::Updated, Low, None, Some(AlertFiring)),
            (IncidentChange::Escalated, Critical, Some(High), Some(AlertFiring)),
            (IncidentChange::Escalated, Low, None, Some(AlertFiring)),
            (IncidentChange::Escalated, High, Some(High), None),
            (IncidentChange::Resolved, High, Some(High), Some(AlertResolved)),
            (IncidentChange::Resolved, Info, None, None),
        ];
        for (change, severity, last_sent, expected) in table {
            let mut incident = sample::incident();
            incident.severity = *severity;
            let change = change(incident.id.clone());
            if matches!(change, IncidentChange::Resolved(_)) {
                incident.status = IncidentStatus::Resolved;
            }
            let action = plan(&change, &incident, *last_sent, EventTime(7));
            assert_eq!(
                action.as_ref().map(|action| action.kind),
                *expected,
                "{change:?} {severity:?} {last_sent:?}"
            );
            if let Some(action) = action {
                assert_eq!(
                    (action.incident_id, action.severity, action.at),
                    (incident.id, *severity, EventTime(7))
                );
            }
        }
    }
}
