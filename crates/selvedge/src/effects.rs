//! What is done about what the engine says: alerts to the dispatcher, decisions to the enforcer.

use selvedge_act::{Alert, AlertStatus, Dispatcher};
use selvedge_enforce::Order;
use selvedge_engine::Effect;
use selvedge_model::{Action, ActionKind, Incident, IncidentStatus};
use tokio::sync::mpsc::Sender;

use crate::enforcement;

/// Whether people were told of an effect by a process before us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Before,
    NotYet,
}

/// Hands over what happened.
pub(crate) fn notify(dispatcher: &Dispatcher, decisions: Option<&Sender<Order>>, effect: Effect) {
    match effect {
        Effect::Action(action, incident) => {
            if let Some(alert) = alert(&action, *incident) {
                dispatcher.notify(alert);
            }
        }
        Effect::Containment { event, .. } => {
            if let Some(decisions) = decisions {
                enforcement::decided(decisions, event);
            }
        }
        Effect::Finding(_) | Effect::Incident(..) => {}
    }
}

/// Hands over what happened again while the journal was read. There is nothing about quarantines in it: those decisions wait.
pub(crate) fn recovered(dispatcher: &Dispatcher, effect: Effect, told: Told) {
    if let Effect::Action(action, incident) = effect
        && let Some(alert) = alert(&action, *incident)
    {
        tell(dispatcher, alert, told);
    }
}

/// Hands over an incident of a checkpoint that people were alerted to.
pub(crate) fn alerted(dispatcher: &Dispatcher, incident: Incident, told: Told) {
    let status = match incident.status {
        IncidentStatus::Open => AlertStatus::Firing,
        IncidentStatus::Resolved => AlertStatus::Resolved,
    };
    let at = incident.closed.unwrap_or(incident.updated);
    tell(dispatcher, Alert { status, incident, at }, told);
}

fn tell(dispatcher: &Dispatcher, alert: Alert, told: Told) {
    match told {
        Told::Before => dispatcher.recall(alert),
        Told::NotYet => dispatcher.notify(alert),
    }
}

fn alert(action: &Action, incident: Incident) -> Option<Alert> {
    let status = match action.kind {
        ActionKind::AlertFiring => AlertStatus::Firing,
        ActionKind::AlertResolved => AlertStatus::Resolved,
        ActionKind::Quarantine(_) => return None,
    };
    Some(Alert { status, incident, at: action.at })
}
