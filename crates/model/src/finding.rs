//! One deviation of one edge or identity, with its evidence.

use std::collections::BTreeSet;

use crate::edge::Edge;
use crate::id::TraceId;
use crate::observation::IdentitySource;
use crate::time::EventTime;
use serde::{Deserialize, Serialize};

/// How bad. The order is the order of urgency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// For the record; nobody is told.
    #[default]
    Info,
    /// Worth a look some day.
    Low,
    /// A warning.
    Medium,
    /// Wakes somebody.
    High,
    /// Wakes somebody, and hurts now.
    Critical,
}

impl Severity {
    /// All, least urgent first.
    pub const ALL: [Self; 5] = [Self::Info, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// From the lower-case name; Sigma's `informational` is `info`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "informational" {
            return Some(Self::Info);
        }
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }

    /// One step worse, at most critical.
    #[must_use]
    pub fn raised(self) -> Self {
        match self {
            Self::Info => Self::Low,
            Self::Low => Self::Medium,
            Self::Medium => Self::High,
            Self::High | Self::Critical => Self::Critical,
        }
    }

    /// How bad findings of one cause are together: as the worst of them; one step worse when independent families agree
    /// and one of them [corroborates](Family::corroborates). Those for the record only do not count.
    #[must_use]
    pub fn of_all(findings: &[&Finding]) -> Self {
        let told = || findings.iter().filter(|finding| finding.severity > Self::Info);
        let worst = told().map(|finding| finding.severity).max().unwrap_or_default();
        let families: BTreeSet<Family> = told().map(|finding| finding.kind.family()).collect();
        let agree = families.len() >= 2 && families.iter().any(|family| family.corroborates());
        if agree { worst.raised() } else { worst }
    }
}

impl From<FindingKind> for &'static str {
    fn from(kind: FindingKind) -> Self {
        kind.name()
    }
}

impl TryFrom<String> for FindingKind {
    type Error = String;

    /// The kind of that name.
    fn try_from(name: String) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|kind| kind.name() == name);
        found.copied().ok_or_else(|| format!("there is no finding kind `{name}`"))
    }
}

macro_rules! finding_kinds {
    ($($kind:ident = $name:literal, $family:ident;)*) => {
        /// What deviated. A closed list (design section 4) that grows by pull request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        // By name: what is kept outlives a list that grows in the middle.
        #[serde(into = "&'static str", try_from = "String")]
        #[expect(missing_docs, reason = "the snake-case name beside each kind says it; rules/ describes each")]
        pub enum FindingKind { $($kind,)* }

        impl FindingKind {
            /// All kinds, in the design's order.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Snake-case name, as in JSON, SQL and rule files.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Which kind of evidence it is. A quarantine needs two, one of them identity or novelty.
            #[must_use]
            pub fn family(self) -> Family {
                match self { $(Self::$kind => Family::$family,)* }
            }
        }
    };
}

/// A kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// How the connection was protected.
    Transport,
    /// The certificate presented.
    Certificate,
    /// Who somebody claims to be.
    Identity,
    /// Never seen before.
    Novelty,
    /// A boundary that people drew.
    Boundary,
    /// Volume, latency, errors, patterns.
    Behaviour,
    /// The telemetry itself.
    Telemetry,
    /// Log content.
    Logs,
    /// Policy and its effect.
    Policy,
}

impl Family {
    /// Evidence that can make findings worse together than each is: who somebody is, how they connect, what is new.
    #[must_use]
    pub fn corroborates(self) -> bool {
        matches!(self, Self::Identity | Self::Transport | Self::Certificate | Self::Novelty)
    }
}

finding_kinds! {
    MtlsDowngrade = "mtls_downgrade", Transport;
    TlsVersionDowngrade = "tls_version_downgrade", Transport;
    HandshakeRejected = "handshake_rejected", Transport;
    CertificateExpired = "certificate_expired", Certificate;
    CertificateExpiring = "certificate_expiring", Certificate;
    CertificateLifetime = "certificate_lifetime", Certificate;
    CertificateIssuer = "certificate_issuer", Certificate;
    CertificateRevoked = "certificate_revoked", Certificate;
    CertificateShared = "certificate_shared", Certificate;
    ForgedIdentity = "forged_identity", Identity;
    ForeignTrustDomain = "foreign_trust_domain", Identity;
    IdentityMismatch = "identity_mismatch", Identity;
    NewEdge = "new_edge", Novelty;
    NewRoute = "new_route", Novelty;
    NewEgress = "new_egress", Novelty;
    NewPrincipal = "new_principal", Novelty;
    NewCallPath = "new_call_path", Novelty;
    BoundaryViolation = "boundary_violation", Boundary;
    LatencyHigh = "latency_high", Behaviour;
    NetworkDelay = "network_delay", Behaviour;
    ErrorRateHigh = "error_rate_high", Behaviour;
    RequestRateHigh = "request_rate_high", Behaviour;
    RequestRateLow = "request_rate_low", Behaviour;
    EdgeSilent = "edge_silent", Behaviour;
    BytesHigh = "bytes_high", Behaviour;
    PathScan = "path_scan", Behaviour;
    ResourceHigh = "resource_high", Behaviour;
    FanOut = "fan_out", Behaviour;
    Beacon = "beacon", Behaviour;
    DeniedBurst = "denied_burst", Policy;
    OneSidedCall = "one_sided_call", Telemetry;
    TelemetryGap = "telemetry_gap", Telemetry;
    TelemetrySuppressed = "telemetry_suppressed", Telemetry;
    MalformedTelemetry = "malformed_telemetry", Telemetry;
    Cardinality = "cardinality", Telemetry;
    LogTemplateNew = "log_template_new", Logs;
    LogTemplateMissing = "log_template_missing", Logs;
    LogRate = "log_rate", Logs;
    PolicyDrift = "policy_drift", Policy;
    PolicyUnenforced = "policy_unenforced", Policy;
}

impl FindingKind {
    /// From the snake-case name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// One number or fact that supports a finding: OCSF's "observed against baseline".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was looked at, snake case with its unit last (`latency_ms_p99`).
    pub name: String,
    /// What was seen.
    pub observed: String,
    /// What was known or expected; empty when there is no baseline for it.
    pub baseline: String,
}

/// One deviation of one edge or identity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Content hash of kind, edge, subject and onset: the same deviation always has the same id.
    pub id: String,
    /// What deviated.
    pub kind: FindingKind,
    /// How bad, by the rule's level.
    pub severity: Severity,
    /// The edge it is about. `source` is all empty when nobody could be identified.
    pub edge: Edge,
    /// The destination is outside the mesh.
    pub external: bool,
    /// What exactly (a route, a fingerprint, a claimed identity); with kind and edge it tells findings apart.
    pub subject: String,
    /// Event time of the first call that deviates.
    pub onset: EventTime,
    /// Event time at which we knew: the tick that judged it.
    pub detected: EventTime,
    /// How often a finding this extreme is expected when nothing is wrong; `None` for deterministic checks.
    pub return_period_seconds: Option<f64>,
    /// The return period comes from the mesh's own record; else from the rules' defaults.
    pub calibrated: bool,
    /// One sentence for a person.
    pub summary: String,
    /// Numbers and facts.
    pub evidence: Vec<Evidence>,
    /// How the source's name is known. Below `ProxyMetadata` it must not lead to a quarantine.
    pub source_identity: IdentitySource,
    /// An identity claimed without proof. Never to be blamed.
    pub claimed_principal: String,
    /// Traces to look at.
    pub exemplars: Vec<TraceId>,
    /// ATT&CK technique ids of the rule.
    pub techniques: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: FindingKind, severity: Severity) -> Finding {
        Finding {
            id: kind.name().to_owned(),
            kind,
            severity,
            edge: Edge::default(),
            external: false,
            subject: String::new(),
            onset: EventTime(1),
            detected: EventTime(1),
            return_period_seconds: None,
            calibrated: false,
            summary: String::new(),
            evidence: Vec::new(),
            source_identity: IdentitySource::None,
            claimed_principal: String::new(),
            exemplars: Vec::new(),
            techniques: Vec::new(),
        }
    }

    #[test]
    fn one_step_worse_is_the_next_severity_and_critical_stays() {
        let raised: Vec<Severity> = Severity::ALL.into_iter().map(Severity::raised).collect();
        assert_eq!(raised[..4], Severity::ALL[1..]);
        assert_eq!(raised[4], Severity::Critical);
    }

    #[test]
    fn findings_are_worse_together_when_families_agree_of_which_one_corroborates() {
        use FindingKind as K;
        use Severity::{Critical, High, Info, Low, Medium};
        let cases: &[(&[(FindingKind, Severity)], Severity)] = &[
            (&[], Info),
            (&[(K::NewEdge, Medium), (K::NewRoute, Low)], Medium),
            (&[(K::NewEdge, Low), (K::BytesHigh, Medium)], High),
            (&[(K::MtlsDowngrade, Medium), (K::CertificateIssuer, Medium)], High),
            (&[(K::BytesHigh, Medium), (K::BoundaryViolation, Medium), (K::TelemetryGap, Low)], Medium),
            (&[(K::NewEdge, Medium), (K::BytesHigh, Info)], Medium),
            (&[(K::NewEdge, Info), (K::BytesHigh, Info)], Info),
            (&[(K::ForgedIdentity, Critical), (K::NewEdge, Critical)], Critical),
        ];
        for (findings, together) in cases {
            let findings: Vec<Finding> =
                findings.iter().map(|(kind, level)| finding(*kind, *level)).collect();
            let mut seen: Vec<&Finding> = findings.iter().collect();
            assert_eq!(Severity::of_all(&seen), *together, "{seen:#?}");
            seen.reverse();
            assert_eq!(Severity::of_all(&seen), *together, "in any order: {seen:#?}");
        }
    }
}
