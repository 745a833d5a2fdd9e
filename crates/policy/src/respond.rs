//! The one call per incident: plan, try, refuse or decide.

use std::collections::BTreeSet;

use selvedge_model::{Endpoint, Finding, Incident};

use crate::candidates::{Candidate, Deeds, Plans, Subject, plans_for};
use crate::config::PolicyConfig;
use crate::guard::{MeshState, Refusal};
use crate::knowledge::{Knowledge, Remembered};
use crate::lease::Now;
use crate::ledger::Ledger;
use crate::lifecycle::{Decision, QuarantineEvent};

/// What was decided about one candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What was tried; `None` when nobody could be named.
    pub candidate: Option<Candidate>,
    /// What came of it.
    pub decision: Decision,
}

/// What was decided about an incident.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// One for each independent candidate, most evidence first; never empty.
    pub answers: Vec<Answer>,
    /// What changed in the ledger.
    pub events: Vec<QuarantineEvent>,
}

/// Decides about an incident with its findings. To be asked whenever it changed, and again when a window has closed:
/// some evidence counts only then. Asked twice it decides once.
pub fn respond(
    ledger: &mut Ledger,
    incident: &Incident,
    findings: &[&Finding],
    knowledge: &dyn Knowledge,
    config: &PolicyConfig,
    mesh: &MeshState,
    now: Now,
) -> Response {
    let knowledge = Remembered::new(knowledge);
    let deeds = Deeds::of(findings, &knowledge);
    let plan = |ledger: &Ledger| {
        plans_for(incident, &deeds, &ledger.standing(), &knowledge, config.blast_radius_max)
    };
    let mut planned = plan(ledger);
    let mut response = Response::default();
    if planned.candidates.is_empty() {
        let decision = Decision::Refuse(vec![Refusal::NobodyProven { doubts: planned.doubts }]);
        response.answers.push(Answer { candidate: None, decision });
        return response;
    }
    let mut answered = BTreeSet::new();
    let next = |planned: &mut Plans, answered: &BTreeSet<_>| {
        let open = |candidate: &Candidate| !answered.contains(&owned(candidate.key()));
        planned.candidates.iter().position(open).map(|at| planned.candidates.remove(at))
    };
    while let Some(candidate) = next(&mut planned, &answered) {
        answered.insert(owned(candidate.key()));
        let (decision, events) = ledger.decide(incident, &candidate, config, mesh, now);
        // What stands now need not be cut twice.
        if matches!(decision, Decision::Propose(_) | Decision::Shadow(_) | Decision::Enforce(_)) {
            planned = plan(ledger);
        }
        response.events.extend(events);
        response.answers.push(Answer { candidate: Some(candidate), decision });
    }
    response
}

fn owned((subject, target): (&Subject, &Endpoint)) -> (Subject, Endpoint) {
    (subject.clone(), target.clone())
}
