//! How connections were protected: refused handshakes, calls without client certificate, older TLS versions.

use selvedge_learn::{RouteKey, Tally, trust_domain};
use selvedge_model::{FindingKind, Security, Symbol};

use crate::case::Case;
use crate::draft::Draft;

/// A failed handshake: evidence of an attempt against the callee. The claimed identity is told, never blamed.
pub(crate) fn judge_failed_handshake(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let reason = case.text(case.shape.handshake_failure);
    let claimed = case.text(case.shape.claimed_principal);
    let known =
        case.destination.is_some_and(|known| known.handshake_failures.knows(case.shape.handshake_failure));
    if case.rules.handshake_rejected().is_some() {
        let draft = attempt(case, FindingKind::HandshakeRejected)
            .subject(joined(reason, claimed))
            .summary(format!(
                "{} refused a TLS handshake: {}{}",
                case.callee(),
                reason.replace('_', " "),
                claim(claimed)
            ))
            .inform_if(known, "refused for the same reason in the approved baseline")
            .lower_if(reason == "other" && claimed.is_empty(), 1, "the client gave up or sent no TLS");
        drafts.push(draft);
    }
    if known {
        return;
    }
    match reason {
        "unknown_issuer" => unknown_issuer(case, claimed, drafts),
        "certificate_expired" if case.rules.certificate_expired().is_some() => {
            let draft = attempt(case, FindingKind::CertificateExpired)
                .subject(joined("refused", claimed))
                .summary(format!(
                    "somebody presented an expired certificate to {}, which refused it{}",
                    case.callee(),
                    claim(claimed)
                ));
            drafts.push(draft);
        }
        "san_mismatch" => foreign_claim(case, claimed, drafts),
        "no_certificate" | "plaintext_on_tls" if case.rules.mtls_downgrade().is_some() => {
            let how =
                if reason == "no_certificate" { "without a client certificate" } else { "in plaintext" };
            let draft = attempt(case, FindingKind::MtlsDowngrade)
                .subject(reason)
                .summary(format!("somebody tried to reach {} {how}; it was refused", case.callee()))
                .lower_if(true, 1, "the attempt was refused");
            drafts.push(draft);
        }
        _ => {}
    }
}

fn unknown_issuer(case: &Case<'_>, claimed: &str, drafts: &mut Vec<Draft>) {
    let issuer = case.text(case.shape.certificate.issuer);
    if case.rules.certificate_issuer().is_some() {
        let draft =
            attempt(case, FindingKind::CertificateIssuer).subject(joined(issuer, claimed)).summary(format!(
                "{} refused a certificate of an issuer it does not trust{}",
                case.callee(),
                claim(claimed)
            ));
        drafts.push(draft);
    }
    if case.rules.forged_identity().is_some() && claims_mesh_identity(case, claimed) {
        let draft = attempt(case, FindingKind::ForgedIdentity).subject(claimed).summary(format!(
            "somebody without a certificate of this mesh claims to be {claimed} at {}; the handshake was refused",
            case.callee()
        ));
        drafts.push(draft);
    }
}

/// True when a claim names an identity of this mesh: one that is known, or one of its trust domain.
fn claims_mesh_identity(case: &Case<'_>, claimed: &str) -> bool {
    let Some(domain) = trust_domain(claimed) else { return false };
    case.mesh().knows_trust_domain(domain)
        || trust_domain(case.text(case.shape.destination_principal)) == Some(domain)
        || case.mesh().trust_domains().next().is_none()
}

fn foreign_claim(case: &Case<'_>, claimed: &str, drafts: &mut Vec<Draft>) {
    let Some(domain) = trust_domain(claimed) else { return };
    if case.rules.foreign_trust_domain().is_some() && !claims_mesh_identity(case, claimed) {
        let draft = attempt(case, FindingKind::ForeignTrustDomain)
            .subject(domain)
            .summary(format!(
                "somebody of trust domain {domain} tried to reach {}; it was refused",
                case.callee()
            ))
            .lower_if(true, 1, "the attempt was refused");
        drafts.push(draft);
    }
}

fn attempt(case: &Case<'_>, kind: FindingKind) -> Draft {
    case.draft(kind)
        .note("handshake_failure", case.text(case.shape.handshake_failure))
        .note("claimed_principal", case.text(case.shape.claimed_principal))
        .note("certificate_issuer", case.text(case.shape.certificate.issuer))
        .note("certificate_fingerprint", case.text(case.shape.certificate.fingerprint))
}

fn claim(claimed: &str) -> String {
    if claimed.is_empty() { String::new() } else { format!(" (it claims, without proof, to be {claimed})") }
}

fn joined(left: &str, right: &str) -> String {
    [left, right].iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ")
}

/// A call without client certificate on a route where callers prove who they are.
pub(crate) fn mtls_downgrade(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let (Some(rule), Some(destination)) = (case.rules.mtls_downgrade(), case.destination) else { return };
    let bare = matches!(case.shape.security, Security::Plaintext | Security::Tls);
    if !bare || case.key.external {
        return;
    }
    let known_here = case
        .edge
        .and_then(|edge| edge.route(RouteKey::of(case.shape)))
        .is_some_and(|route| route.security[case.shape.security as usize] > 0);
    let mutual = destination.security[Security::MutualTls as usize];
    let with_security: u64 = destination.security[Security::Plaintext as usize..].iter().sum();
    let share = share(mutual, with_security);
    if known_here || with_security < rule.mutual_calls_min.0 || share < rule.mutual_share_min.0 {
        return;
    }
    let how = if case.shape.security == Security::Plaintext {
        "plaintext"
    } else {
        "TLS without a client certificate"
    };
    let verb = if case.shape.security == Security::Plaintext {
        "sent plaintext to"
    } else {
        "showed no certificate to"
    };
    let draft = case
        .draft(FindingKind::MtlsDowngrade)
        .subject(how)
        .summary(format!("{} {verb} {}, which normally requires mutual TLS", case.caller(), case.callee()))
        .fact(
            "transport_security",
            how,
            format!("mutual TLS for {:.1} % of {with_security} calls", share * 100.0),
        )
        .note("route", &case.route())
        .note("user_agent", case.text(case.shape.user_agent))
        .lower_if(!case.warm(), 1, "the mesh is not known yet");
    drafts.push(draft);
}

/// A TLS version below the floor, or older than all that are known.
pub(crate) fn tls_version_downgrade(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let Some(rule) = case.rules.tls_version_downgrade() else { return };
    let version = case.text(case.shape.tls_version);
    let Some(rank) = tls_rank(version) else { return };
    let oldest = |tally: &Tally<Symbol>| {
        let known = tally.total() >= rule.calls_min.0;
        known.then(|| tally.iter().filter_map(|(known, _)| tls_rank(case.text(known))).min()).flatten()
    };
    let on_edge = case.edge.and_then(|edge| oldest(&edge.tls_versions));
    let at_callee = case.destination.and_then(|destination| oldest(&destination.tls_versions));
    let expected = on_edge.or(at_callee);
    let approved = case.edge.is_some_and(|edge| edge.tls_versions.knows(case.shape.tls_version));
    let below_floor = tls_rank(&rule.version_floor.0).is_some_and(|floor| rank < floor) && !approved;
    if !below_floor && expected.is_none_or(|expected| expected <= rank) {
        return;
    }
    let baseline = expected.map_or(rule.version_floor.0.clone(), tls_name);
    let draft = case
        .draft(FindingKind::TlsVersionDowngrade)
        .subject(version)
        .summary(format!(
            "{} reached {} over {version}, where {baseline} is the rule",
            case.caller(),
            case.callee()
        ))
        .fact("tls_version", version, baseline)
        .note("tls_cipher", case.text(case.shape.tls_cipher))
        .raise_if(below_floor, "the version is below the floor")
        .lower_if(on_edge.is_none() && !below_floor, 1, "the edge itself has no history");
    drafts.push(draft);
}

/// Order of TLS versions; `None` for text that is none.
pub(crate) fn tls_rank(version: &str) -> Option<u8> {
    match version {
        "SSLv2" => Some(2),
        "SSLv3" => Some(3),
        "TLSv1" | "TLSv1.0" => Some(10),
        "TLSv1.1" => Some(11),
        "TLSv1.2" => Some(12),
        "TLSv1.3" => Some(13),
        _ => None,
    }
}

fn tls_name(rank: u8) -> String {
    if rank < 10 { format!("SSLv{rank}") } else { format!("TLSv1.{}", rank - 10) }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
