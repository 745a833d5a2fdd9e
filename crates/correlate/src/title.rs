//! The one sentence about an incident, by its most telling kind.

use selvedge_model::{Finding, FindingKind, Suspect};

use crate::kinds::telling;

/// Subjects named before "and N more".
const NAMED_MAX: usize = 2;
/// Characters of one name inside a title: the far end chooses paths and host names.
const NAME_CHARS_MAX: usize = 80;

/// The title of an incident made of `findings`.
pub(crate) fn sentence(findings: &[&Finding], suspects: &[Suspect]) -> String {
    let Some(lead) = leading(findings, suspects) else {
        return "Something deviates".to_owned();
    };
    let same = |finding: &&&Finding| {
        finding.kind == lead.kind
            && finding.edge.source.label() == lead.edge.source.label()
            && finding.edge.destination.label() == lead.edge.destination.label()
    };
    let subjects = several(findings.iter().filter(same).map(|finding| finding.subject.clone()));
    let routes = findings.iter().filter(|finding| {
        finding.kind == FindingKind::NewRoute
            && finding.edge.destination.label() == lead.edge.destination.label()
    });
    let told = match lead.kind {
        FindingKind::NewEdge | FindingKind::PathScan => {
            let routes = several(routes.map(|finding| finding.subject.clone()));
            if routes.is_empty() { subjects } else { routes }
        }
        _ => subjects,
    };
    capitalised(&say(lead, &told))
}

/// The finding to tell the incident by: the most telling kind; within it the first suspect's, then the worst, then
/// the first.
fn leading<'a>(findings: &[&'a Finding], suspects: &[Suspect]) -> Option<&'a Finding> {
    let first = suspects.first();
    let is_first = |namespace: &str, workload: &str| {
        first.is_some_and(|suspect| suspect.namespace == namespace && suspect.workload == workload)
    };
    findings.iter().copied().min_by_key(|finding| {
        let (source, destination) = (&finding.edge.source, &finding.edge.destination);
        let from_first = is_first(&source.namespace, &source.workload);
        let to_first = is_first(&destination.namespace, &destination.workload);
        // Load that the first suspect makes explains the slowness and the errors, and stands before them.
        let explains = finding.kind == FindingKind::RequestRateHigh && from_first;
        let place = if explains { telling(FindingKind::ErrorRateHigh) } else { telling(finding.kind) };
        let about_first = match finding.kind {
            FindingKind::LatencyHigh | FindingKind::NetworkDelay | FindingKind::ErrorRateHigh => to_first,
            _ => from_first,
        };
        (
            place,
            !explains,
            !about_first,
            std::cmp::Reverse(finding.severity),
            finding.onset,
            finding.id.clone(),
        )
    })
}

fn say(finding: &Finding, subjects: &str) -> String {
    let source = clipped(&finding.edge.source.label());
    let destination = clipped(&finding.edge.destination.label());
    let bracket = if subjects.is_empty() { String::new() } else { format!(" ({subjects})") };
    let claimed = clipped(&finding.claimed_principal);
    match finding.kind {
        FindingKind::CertificateExpired => {
            format!("{} presents an expired certificate to {destination}", somebody(finding))
        }
        FindingKind::CertificateRevoked => {
            format!("{} presents a revoked certificate to {destination}", somebody(finding))
        }
        FindingKind::CertificateIssuer => {
            format!("{} presents a certificate of an unknown issuer to {destination}", somebody(finding))
        }
        FindingKind::ForgedIdentity | FindingKind::HandshakeRejected => {
            identity(finding, &source, &destination, &claimed)
        }
        FindingKind::ForeignTrustDomain => {
            format!("{} comes to {destination} from a foreign trust domain{bracket}", somebody(finding))
        }
        FindingKind::IdentityMismatch => format!("{source} calls {destination} under another name{bracket}"),
        FindingKind::CertificateShared => {
            format!("A certificate of {source} is used from more than one place")
        }
        FindingKind::MtlsDowngrade => downgrade(finding, &destination),
        FindingKind::TlsVersionDowngrade => {
            format!("{source} reaches {destination} over an outdated TLS version")
        }
        FindingKind::PolicyUnenforced => format!("A policy that protects {destination} is not enforced"),
        FindingKind::PolicyDrift => format!("The policies of {destination} are not what they were"),
        FindingKind::BoundaryViolation => {
            format!("{source} reached {destination} across a boundary{bracket}")
        }
        _ => say_what_is_new_or_wrong(finding, &source, &destination, &bracket),
    }
}

fn say_what_is_new_or_wrong(finding: &Finding, source: &str, destination: &str, bracket: &str) -> String {
    if finding.subject == "mesh" && !names_somebody(finding) {
        return finding.summary.clone();
    }
    match finding.kind {
        FindingKind::NewEgress => format!("{source} sends data to {destination}, a host never seen before"),
        FindingKind::PathScan => format!("{source} probes many paths on {destination}{bracket}"),
        FindingKind::FanOut => format!("{source} suddenly calls many services, {destination} among them"),
        FindingKind::NewEdge => format!("{source} reached {destination} on a path never seen{bracket}"),
        FindingKind::NewRoute => {
            format!("{source} asks {destination} for what it never asked before{bracket}")
        }
        FindingKind::NewPrincipal => {
            format!("{source} calls {destination} with an identity never seen{bracket}")
        }
        FindingKind::NewCallPath => {
            format!("Requests of {source} go on from {destination} where they never went{bracket}")
        }
        FindingKind::Beacon => format!("{source} calls {destination} at regular intervals, like a beacon"),
        FindingKind::DeniedBurst => format!("{destination} denies many calls of {source}"),
        FindingKind::BytesHigh => {
            with_numbers(format!("{source} and {destination} move unusually many bytes"), finding)
        }
        FindingKind::ErrorRateHigh if finding.subject == "refused" => {
            with_numbers(format!("{destination} refuses many calls of {source}"), finding)
        }
        FindingKind::ErrorRateHigh => with_numbers(format!("{destination} is failing"), finding),
        FindingKind::LatencyHigh => with_numbers(format!("{destination} is slow"), finding),
        FindingKind::NetworkDelay => {
            with_numbers(format!("The network between {source} and {destination} is slow"), finding)
        }
        FindingKind::RequestRateHigh => with_numbers(format!("{source} floods {destination}"), finding),
        FindingKind::RequestRateLow => {
            with_numbers(format!("{source} calls {destination} less than usual"), finding)
        }
        FindingKind::EdgeSilent => format!("{source} no longer calls {destination}"),
        FindingKind::TelemetrySuppressed => {
            format!("Telemetry of {} is being suppressed", first_known(finding))
        }
        FindingKind::MalformedTelemetry if !names_somebody(finding) => {
            "Telemetry arrives that cannot be understood".to_owned()
        }
        FindingKind::MalformedTelemetry => {
            format!("{source} sends {destination} requests that break telemetry")
        }
        FindingKind::TelemetryGap => format!("{} reports no telemetry", first_known(finding)),
        FindingKind::CertificateExpiring => {
            format!("A certificate of {} is about to expire", first_known(finding))
        }
        FindingKind::CertificateLifetime => {
            format!("A certificate of {} lives longer than it should", first_known(finding))
        }
        _ if finding.summary.is_empty() => {
            format!("{} between {source} and {destination}", finding.kind.name())
        }
        _ => finding.summary.clone(),
    }
}

/// A claim is told as a claim: nobody is named by it.
fn identity(finding: &Finding, source: &str, destination: &str, claimed: &str) -> String {
    let known = !finding.edge.source.workload.is_empty();
    match (known, claimed.is_empty()) {
        (true, true) if finding.kind == FindingKind::HandshakeRejected => {
            format!("{destination} refuses the TLS handshakes of {source}")
        }
        (true, true) => format!("{source} forges an identity at {destination}"),
        (true, false) => format!("{source} claims to be {claimed} at {destination}"),
        (false, true) => format!("{destination} refuses somebody without a valid certificate"),
        (false, false) => {
            format!("Somebody without a valid certificate claims to be {claimed} at {destination}")
        }
    }
}

/// `detect` says by the subject how the calls came, or in the words of a failed handshake that they were refused.
fn downgrade(finding: &Finding, destination: &str) -> String {
    let from = from(finding);
    match finding.subject.as_str() {
        "plaintext_on_tls" => format!("somebody tries to reach {destination} in plaintext and is refused"),
        "no_certificate" => {
            format!("somebody tries to reach {destination} without a certificate and is refused")
        }
        "" | "plaintext" => {
            format!("Plaintext calls reach {destination}, which normally requires mutual TLS{from}")
        }
        _ => format!(
            "Calls without a certificate reach {destination}, which normally requires mutual TLS{from}"
        ),
    }
}

fn somebody(finding: &Finding) -> String {
    match (finding.edge.source.workload.is_empty(), finding.claimed_principal.is_empty()) {
        (false, _) => clipped(&finding.edge.source.label()),
        (true, true) => "somebody".to_owned(),
        (true, false) => format!("somebody who claims to be {}", clipped(&finding.claimed_principal)),
    }
}

fn from(finding: &Finding) -> String {
    if finding.edge.source.workload.is_empty() {
        return String::new();
    }
    format!(", from {}", clipped(&finding.edge.source.label()))
}

fn first_known(finding: &Finding) -> String {
    let (source, destination) = (&finding.edge.source, &finding.edge.destination);
    clipped(&if source.workload.is_empty() { destination } else { source }.label())
}

/// "... : 900 ms against 12 ms", when the finding has such numbers.
fn with_numbers(said: String, finding: &Finding) -> String {
    match finding
        .evidence
        .iter()
        .find(|evidence| !evidence.baseline.is_empty() && !evidence.observed.is_empty())
    {
        Some(evidence) => {
            let unit = unit(&evidence.name);
            format!(
                "{said}: {} against {}",
                in_unit(&clipped(&evidence.observed), unit),
                in_unit(&clipped(&evidence.baseline), unit)
            )
        }
        None => said,
    }
}

/// The unit that the name of a piece of evidence carries (`latency_ms_p99`, `request_bytes`).
fn unit(name: &str) -> &'static str {
    let has = |word: &str| name.split('_').any(|part| part == word);
    if has("ms") {
        " ms"
    } else if name.ends_with("per_second") {
        " a second"
    } else if has("bytes") {
        " bytes"
    } else if has("percent") {
        " %"
    } else if has("seconds") {
        " s"
    } else {
        ""
    }
}

fn in_unit(value: &str, unit: &str) -> String {
    if value.parse::<f64>().is_ok() { format!("{value}{unit}") } else { value.to_owned() }
}

/// Observed against baseline of the first evidence that has both as numbers.
pub(crate) fn ratio(finding: &Finding) -> Option<f64> {
    let positive = |pair: &(f64, f64)| pair.1 > 0.0;
    pairs(finding).find(positive).map(|(observed, baseline)| observed / baseline)
}

/// Observed and baseline of the first evidence that has both as numbers.
pub(crate) fn value_pair(finding: &Finding) -> Option<(f64, f64)> {
    pairs(finding).next()
}

fn pairs(finding: &Finding) -> impl Iterator<Item = (f64, f64)> {
    let pair = |evidence: &selvedge_model::Evidence| {
        Some((leading_number(&evidence.observed)?, leading_number(&evidence.baseline)?))
    };
    finding.evidence.iter().filter_map(pair)
}

fn leading_number(text: &str) -> Option<f64> {
    let digits = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    text[..digits].parse().ok()
}

/// The distinct names in order, the first few by name.
pub(crate) fn several(names: impl Iterator<Item = String>) -> String {
    let names: std::collections::BTreeSet<String> = names.filter(|name| !name.is_empty()).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    let named: Vec<String> = names.iter().take(NAMED_MAX).map(|name| clipped(name)).collect();
    match more {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// A name short enough for a title, without characters that would break a line.
pub(crate) fn clipped(name: &str) -> String {
    let shown = |char: char| if char.is_control() { '\u{fffd}' } else { char };
    let mut clipped: String = name.chars().take(NAME_CHARS_MAX).map(shown).collect();
    if clipped.len() < name.len() && name.chars().nth(NAME_CHARS_MAX).is_some() {
        clipped.push('…');
    }
    clipped
}

/// Sentences begin with a capital, names of workloads stay as they are.
fn capitalised(said: &str) -> String {
    for word in ["somebody ", "an unidentified client "] {
        if said.starts_with(word) {
            let mut chars = said.chars();
            return chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect();
        }
    }
    said.to_owned()
}
/// False for what is about telemetry as a whole.
fn names_somebody(finding: &Finding) -> bool {
    !finding.edge.source.workload.is_empty() || !finding.edge.destination.workload.is_empty()
}
