//! What policies in dry run say of a call.

use selvedge_model::FindingKind;
use selvedge_model::quarantine::QUARANTINE_ID_PREFIX;

use crate::case::Case;
use crate::draft::Draft;
use crate::novelty;

/// A policy that people have in dry run would have denied the call, and nothing did. That is the word of somebody who
/// knows what may call what, and independent of what we learned. Calls that the callee gets every day only say that the
/// policy is not ready. What our own quarantines in dry run say is the proof of them, and no finding.
pub(crate) fn policy_unenforced(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let policy = case.text(case.shape.shadow_denied_by);
    if case.rules.policy_unenforced().is_none()
        || policy.is_empty()
        || policy.starts_with(QUARANTINE_ID_PREFIX)
        || case.shape.denied_by.present()
    {
        return;
    }
    let draft = case
        .draft(FindingKind::PolicyUnenforced)
        .subject(format!("{policy} {}", case.route()))
        .summary(format!(
            "policy {policy} is in dry run and would have denied {} to {}",
            case.caller(),
            case.callee()
        ))
        .note("route", &case.route())
        .inform_if(novelty::ordinary(case), "the callee gets such calls every day: the policy is too narrow");
    drafts.push(draft);
}
