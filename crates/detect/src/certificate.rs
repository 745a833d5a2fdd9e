//! The certificates that callers present: expired, expiring, lasting too long, of an unknown issuer, shared.

use std::time::Duration;

use selvedge_model::{FindingKind, IdentitySource, Reported};

use crate::case::{Case, human};
use crate::draft::Draft;

const DAY: Duration = Duration::from_hours(24);

/// All checks of an accepted certificate.
pub(crate) fn judge(case: &Case<'_>, drafts: &mut Vec<Draft>) {
    let (source, certificate) = (case.caller(), case.shape.certificate);
    expired(case, &source, drafts);
    expiring(case, &source, drafts);
    lifetime(case, &source, drafts);
    shared(case, &source, drafts);
    let issuer_known = case.mesh().issuers.is_empty() || case.mesh().issuers.knows(certificate.issuer);
    if case.rules.certificate_issuer().is_some()
        && certificate.issuer.present()
        && !issuer_known
        && case.warm()
    {
        let issuer = case.text(certificate.issuer);
        let draft = case
            .draft(FindingKind::CertificateIssuer)
            .subject(issuer)
            .summary(format!(
                "{source} presented a certificate of {issuer}, an issuer this mesh has never shown"
            ))
            .fact("certificate_issuer", issuer, format!("{} other issuers", case.mesh().issuers.len()));
        drafts.push(draft);
    }
}

fn fingerprint<'a>(case: &Case<'a>) -> &'a str {
    case.text(case.shape.certificate.fingerprint)
}

fn expired(case: &Case<'_>, source: &str, drafts: &mut Vec<Draft>) {
    let Some(rule) = case.rules.certificate_expired() else { return };
    let certificate = case.shape.certificate;
    let last = case.stats.last;
    let forgiven = certificate.not_after.after(Duration::from_secs(rule.clock_skew_seconds));
    if !certificate.not_after.present() || last <= forgiven {
        return;
    }
    let since = human(last.since(certificate.not_after));
    let older = case.edge.is_some_and(|edge| edge.fingerprints.knows(certificate.fingerprint));
    let draft = case
        .draft(FindingKind::CertificateExpired)
        .subject(fingerprint(case))
        .summary(format!("{} accepted a certificate of {source} that expired {since} ago", case.callee()))
        .fact("certificate_expired_for", since, "not expired")
        .lower_if(older, 1, "the connection may have been opened before the expiry");
    drafts.push(draft);
}

fn expiring(case: &Case<'_>, source: &str, drafts: &mut Vec<Draft>) {
    let Some(rule) = case.rules.certificate_expiring() else { return };
    let certificate = case.shape.certificate;
    let lifetime = certificate.not_after.since(certificate.not_before);
    let remaining = certificate.not_after.since(case.stats.last);
    let newer = case.source.is_some_and(|known| known.not_after_max > certificate.not_after);
    if !certificate.not_before.present() || remaining.is_zero() || newer {
        return;
    }
    let hours_max = Duration::from_hours(rule.remaining_hours_max.0);
    if remaining > lifetime.mul_f64(rule.remaining_share_max.0) || remaining > hours_max {
        return;
    }
    let draft = case
        .draft(FindingKind::CertificateExpiring)
        .subject(fingerprint(case))
        .summary(format!("the certificate of {source} expires in {} and was not replaced", human(remaining)))
        .fact("certificate_remaining", human(remaining), format!("lifetime {}", human(lifetime)));
    drafts.push(draft);
}

fn lifetime(case: &Case<'_>, source: &str, drafts: &mut Vec<Draft>) {
    let Some(rule) = case.rules.certificate_lifetime() else { return };
    let certificate = case.shape.certificate;
    if !certificate.not_before.present() {
        return;
    }
    let lifetime = certificate.not_after.since(certificate.not_before);
    let longest = Duration::from_nanos(case.mesh().lifetime_nanos_max);
    let known = case.warm() && !longest.is_zero();
    let days = |count: u64| DAY.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
    let limit = if known {
        longest.mul_f64(rule.factor.0).max(days(rule.days_floor.0))
    } else {
        days(rule.days_max.0)
    };
    if lifetime <= limit {
        return;
    }
    let usual = if known { human(longest) } else { String::new() };
    let draft = case
        .draft(FindingKind::CertificateLifetime)
        .subject(fingerprint(case))
        .summary(format!("the certificate of {source} is valid for {}, longer than usual", human(lifetime)))
        .fact("certificate_lifetime", human(lifetime), usual)
        .raise_if(known, "no certificate of this mesh lives as long");
    drafts.push(draft);
}

/// Two witnesses are needed: the caller's own proxy names the caller, the callee's shows the certificate. A name
/// that was looked up by the identity would find the usual holder again.
fn shared(case: &Case<'_>, source: &str, drafts: &mut Vec<Draft>) {
    let named =
        case.shape.reported == Reported::Both && case.shape.source_identity >= IdentitySource::ProxyMetadata;
    if case.rules.certificate_shared().is_none() || !named || !case.key.source.known() {
        return;
    }
    let Some(holder) = case.mesh().certificate_holder(case.shape.certificate.fingerprint) else { return };
    let same = (holder.namespace, holder.workload) == (case.key.source.namespace, case.key.source.workload);
    if same {
        return;
    }
    let holder = holder.endpoint(selvedge_model::Symbol::NONE, case.symbols).label();
    let draft = case
        .draft(FindingKind::CertificateShared)
        .subject(fingerprint(case))
        .summary(format!("{source} presented a certificate that belongs to {holder}"))
        .fact("certificate_presented_by", source, holder);
    drafts.push(draft);
}
