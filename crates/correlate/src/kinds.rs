//! What a kind of finding means to an incident: how telling it is, whether it leads, whom it points at.

use selvedge_model::finding::Family;
use selvedge_model::{Finding, FindingKind, Severity};

/// How a finding takes part in grouping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Says what somebody does. Leads that touch are one incident.
    Lead,
    /// Says what it does to the mesh. A symptom joins one group of leads; it never welds two of them together,
    /// because load and slowness spread to places where other things happen.
    Symptom,
    /// Context for people; never a reason to join anything.
    Info,
}

/// Whom a kind points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The caller did it.
    Source,
    /// The callee, or something below it, is ill.
    Destination,
    /// It points at nobody.
    Nobody,
}

/// Most telling first: what is certain and explains the rest stands before what merely accompanies it.
const TELLING: &[FindingKind] = &[
    FindingKind::CertificateRevoked,
    FindingKind::CertificateExpired,
    FindingKind::ForgedIdentity,
    FindingKind::ForeignTrustDomain,
    FindingKind::IdentityMismatch,
    FindingKind::CertificateIssuer,
    FindingKind::CertificateShared,
    FindingKind::HandshakeRejected,
    FindingKind::MtlsDowngrade,
    FindingKind::TlsVersionDowngrade,
    FindingKind::BoundaryViolation,
    FindingKind::NewEgress,
    FindingKind::PathScan,
    FindingKind::FanOut,
    FindingKind::NewEdge,
    FindingKind::TelemetrySuppressed,
    FindingKind::NewPrincipal,
    FindingKind::Beacon,
    FindingKind::NewRoute,
    FindingKind::NewCallPath,
    FindingKind::PolicyUnenforced,
    FindingKind::PolicyDrift,
    FindingKind::DeniedBurst,
    FindingKind::BytesHigh,
    FindingKind::ErrorRateHigh,
    FindingKind::NetworkDelay,
    FindingKind::LatencyHigh,
    FindingKind::RequestRateHigh,
    FindingKind::EdgeSilent,
    FindingKind::RequestRateLow,
    FindingKind::ResourceHigh,
    FindingKind::CertificateLifetime,
    FindingKind::CertificateExpiring,
    FindingKind::LogTemplateNew,
    FindingKind::LogTemplateMissing,
    FindingKind::LogRate,
    FindingKind::MalformedTelemetry,
    FindingKind::OneSidedCall,
    FindingKind::TelemetryGap,
    FindingKind::Cardinality,
];

/// Place in the order of telling; smaller is more telling. A kind that is not in the table comes last.
pub(crate) fn telling(kind: FindingKind) -> usize {
    TELLING.iter().position(|other| *other == kind).unwrap_or(TELLING.len())
}

/// How a finding takes part in grouping.
pub(crate) fn class(finding: &Finding) -> Class {
    if finding.severity == Severity::Info {
        return Class::Info;
    }
    match finding.kind {
        FindingKind::PathScan | FindingKind::FanOut | FindingKind::Beacon => Class::Lead,
        kind => match kind.family() {
            Family::Transport
            | Family::Certificate
            | Family::Identity
            | Family::Novelty
            | Family::Boundary
            | Family::Policy => Class::Lead,
            Family::Behaviour | Family::Telemetry | Family::Logs => Class::Symptom,
        },
    }
}

/// Whom a kind points at.
pub(crate) fn blame(kind: FindingKind) -> Blame {
    match kind {
        FindingKind::LatencyHigh
        | FindingKind::NetworkDelay
        | FindingKind::ResourceHigh
        | FindingKind::ErrorRateHigh
        | FindingKind::EdgeSilent
        | FindingKind::RequestRateLow
        | FindingKind::LogTemplateNew
        | FindingKind::LogTemplateMissing
        | FindingKind::LogRate => Blame::Destination,
        FindingKind::OneSidedCall
        | FindingKind::TelemetryGap
        | FindingKind::TelemetrySuppressed
        | FindingKind::Cardinality
        | FindingKind::PolicyDrift
        | FindingKind::PolicyUnenforced => Blame::Nobody,
        _ => Blame::Source,
    }
}

/// Weight of a finding in sums: each step of severity counts double, so that many small ones do not outvote a bad one.
pub(crate) fn weight(severity: Severity) -> f64 {
    match severity {
        Severity::Info => 0.125,
        Severity::Low => 1.0,
        Severity::Medium => 2.0,
        Severity::High => 4.0,
        Severity::Critical => 8.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place_in_the_order_of_telling() {
        let unplaced: Vec<_> =
            FindingKind::ALL.iter().filter(|kind| !TELLING.contains(kind)).map(|kind| kind.name()).collect();
        assert!(unplaced.is_empty(), "{unplaced:?}");
        assert_eq!(TELLING.len(), FindingKind::ALL.len());
    }
}
