//! The telemetry itself as a witness: calls only one side reported, text that blinds other receivers.

use selvedge_model::{FindingKind, IdentitySource, Reported, Symbol};

use crate::behaviour::EdgeCase;
use crate::case::Case;
use crate::draft::Draft;

/// All checks of who reported, and how.
pub(crate) fn judge(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    one_sided_call(case, drafts);
    malformed(case, drafts);
}

/// A call under a verified identity whose own proxy, which always reports, did not report it.
fn one_sided_call(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let (Some(rule), Some(source)) = (case.rules.one_sided_call(), case.source) else { return };
    let proven = case.shape.source_identity == IdentitySource::MtlsCertificate;
    if case.shape.reported != Reported::ServerOnly || !proven || case.key.external {
        return;
    }
    let [both, client_only, server_only] = source.reported;
    let requests = both + client_only + server_only;
    if requests < rule.calls_min.0 || !mostly(both + 1, requests, rule.both_share_min.0) {
        return;
    }
    let odd = oddities(case);
    let draft = case
        .draft(FindingKind::OneSidedCall)
        .summary(format!(
            "{} was called under the identity of {}, whose own proxy did not report it",
            case.callee(),
            case.caller()
        ))
        .fact("reported_by", "callee only", format!("both sides for {both} of {requests} requests"))
        .note("connection_unlike_its_proxy", &odd.join(", "))
        .note("route", &case.route())
        .inform_if(odd.is_empty(), "the connection looks as usual: the caller's telemetry may be late");
    drafts.push(draft);
}

/// What of the connection its proxy never showed.
fn oddities(case: &Case<'_>) -> Vec<&'static str> {
    let Some(source) = case.source else { return Vec::new() };
    let mut odd = Vec::new();
    let never_without_name = !source.snis.is_empty() && !source.snis.knows(Symbol::NONE);
    let other_name = case.edge.is_some_and(|edge| !edge.snis.is_empty() && !edge.snis.knows(case.shape.sni));
    if (never_without_name && !case.shape.sni.present()) || other_name {
        odd.push("server name");
    }
    if !source.tls_ciphers.is_empty() && !source.tls_ciphers.knows(case.shape.tls_cipher) {
        odd.push("cipher");
    }
    if case
        .edge
        .is_some_and(|edge| !edge.user_agents.is_empty() && !edge.user_agents.knows(case.shape.user_agent))
    {
        odd.push("user agent");
    }
    odd
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn mostly(part: u64, whole: u64, share_min: f64) -> bool {
    part as f64 >= whole as f64 * share_min
}

fn malformed(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    if case.rules.malformed_telemetry().is_none() || !case.shape.repaired {
        return;
    }
    let draft = case
        .draft(FindingKind::MalformedTelemetry)
        .summary(format!(
            "{} sent {} text that is not UTF-8; strict telemetry receivers lose whole batches by it",
            case.caller(),
            case.callee()
        ))
        .note("route", &case.route())
        .note("user_agent", case.text(case.shape.user_agent));
    drafts.push(draft);
}

/// More distinct calls in one window than are kept: somebody invents names.
pub(crate) fn overflowed_shapes(case: &EdgeCase<'_>) -> Option<Draft> {
    let overflowed = case.edge.shapes_overflowed;
    case.rules.cardinality()?;
    (overflowed > 0).then(|| {
        case.draft(FindingKind::Cardinality, &|_, _| true)
            .subject("shapes")
            .summary(format!(
                "{} shows {} more distinct calls than can be kept",
                case.caller(),
                case.callee()
            ))
            .fact("calls_pooled", overflowed, 0)
            .fact("distinct_calls_kept", case.edge.shapes.len(), "")
    })
}
