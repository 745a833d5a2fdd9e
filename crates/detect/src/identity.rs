//! Who somebody is: forged headers, foreign trust domains, names that do not fit their certificate.

use selvedge_learn::{principal_namespace, principal_service_account, trust_domain};
use selvedge_model::{FindingKind, ForwardedIdentity, IdentitySource, Reported, Symbol};

use crate::case::Case;
use crate::draft::Draft;

/// All checks of identity.
pub(crate) fn judge(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    forged_header(case, drafts);
    foreign_trust_domain(case, drafts);
    identity_mismatch(case, drafts);
}

fn forged_header(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    if case.rules.forged_identity().is_none() || case.shape.forwarded != ForwardedIdentity::Contradicts {
        return;
    }
    let claimed = case.text(case.shape.claimed_principal);
    let pretended = if claimed.is_empty() { "somebody else" } else { claimed };
    let verified = case.text(case.shape.source_principal);
    let draft = case
        .draft(FindingKind::ForgedIdentity)
        .subject(claimed)
        .summary(format!(
            "{} told {} by a forged header that it is {pretended}",
            case.caller(),
            case.callee()
        ))
        .fact(
            "forwarded_identity",
            pretended,
            if verified.is_empty() { "no verified identity" } else { verified },
        )
        .note("route", &case.route());
    drafts.push(draft);
}

fn foreign_trust_domain(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let Some(domain) = trust_domain(case.text(case.shape.source_principal)) else { return };
    let mesh = case.mesh();
    let own = trust_domain(case.text(case.shape.destination_principal));
    if case.rules.foreign_trust_domain().is_none() || mesh.knows_trust_domain(domain) || own == Some(domain) {
        return;
    }
    let known: Vec<&str> = mesh.trust_domains().collect();
    if known.is_empty() && own.is_none() {
        return;
    }
    let usual = if known.is_empty() { own.unwrap_or_default().to_owned() } else { known.join(", ") };
    let draft = case
        .draft(FindingKind::ForeignTrustDomain)
        .subject(domain)
        .summary(format!(
            "{} reached {} with an identity of trust domain {domain}",
            case.caller(),
            case.callee()
        ))
        .fact("trust_domain", domain, usual)
        .lower_if(!case.warm(), 2, "the mesh is not known yet");
    drafts.push(draft);
}

/// Name and certificate must come from two witnesses; a name that was looked up by the identity proves nothing.
fn identity_mismatch(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let principal = case.shape.source_principal;
    if case.rules.identity_mismatch().is_none() || !principal.present() || !case.key.source.known() {
        return;
    }
    let known_pair = case.mesh().holders(principal).iter().any(|node| same_workload(node, &case.key.source));
    if known_pair {
        return;
    }
    if case.shape.reported == Reported::Both && case.shape.source_identity >= IdentitySource::ProxyMetadata {
        wrong_certificate(case, drafts);
    } else {
        look_alike(case, drafts);
    }
}

fn wrong_certificate(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let principal = case.text(case.shape.source_principal);
    let named = case.text(case.key.source.namespace);
    let proven = principal_namespace(principal);
    let foreign_namespace = !named.is_empty() && proven.is_some_and(|proven| proven != named);
    let holder = case.mesh().holders(case.shape.source_principal).first();
    let had_own = case.edge.is_some_and(|edge| edge.source_principals.total() > 0);
    let baseline = match holder {
        _ if foreign_namespace => format!("namespace {named}"),
        Some(holder) if case.warm() && had_own => holder.endpoint(Symbol::NONE, case.symbols).label(),
        _ => return,
    };
    let draft = case
        .draft(FindingKind::IdentityMismatch)
        .subject(principal)
        .summary(format!("{} presented the identity {principal}, which is not its own", case.caller()))
        .fact("principal", principal, baseline)
        .raise_if(foreign_namespace, "name and certificate are of different namespaces")
        // Some meshes name namespaces differently in telemetry and certificates: that is learned first.
        .inform_if(!case.warm(), "the mesh is not known yet");
    drafts.push(draft);
}

/// A workload of a namespace that has never called, named like one that has: the same CA signs for both.
fn look_alike(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let principal = case.text(case.shape.source_principal);
    let (Some(namespace), Some(account)) =
        (principal_namespace(principal), principal_service_account(principal))
    else {
        return;
    };
    let place = (case.key.source.cluster, case.key.source.namespace);
    if !case.warm() || case.mesh().namespaces.knows(place) || !case.key.source.namespace.present() {
        return;
    }
    let named_alike = case.mesh().sources_named(case.key.source.workload);
    let Some(usual) = named_alike.map(|node| case.text(node.namespace)).min() else { return };
    let draft = case
        .draft(FindingKind::IdentityMismatch)
        .subject(principal)
        .summary(format!(
            "{account} of namespace {namespace}, which has never called, is named like {usual}/{account}"
        ))
        .fact("namespace", namespace, usual);
    drafts.push(draft);
}

fn same_workload(left: &selvedge_model::Node, right: &selvedge_model::Node) -> bool {
    (left.namespace, left.workload) == (right.namespace, right.workload)
}
