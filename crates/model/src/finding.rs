//! One deviation of one edge or identity, with its evidence.

use crate::edge::Edge;
use crate::id::TraceId;
use crate::observation::IdentitySource;
use crate::time::EventTime;

/// How bad. The order is the order of urgency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
}

macro_rules! finding_kinds {
    ($($kind:ident = $name:literal, $family:ident;)*) => {
        /// What deviated. A closed list (design section 4) that grows by pull request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    ErrorRateHigh = "error_rate_high", Behaviour;
    RequestRateHigh = "request_rate_high", Behaviour;
    RequestRateLow = "request_rate_low", Behaviour;
    EdgeSilent = "edge_silent", Behaviour;
    BytesHigh = "bytes_high", Behaviour;
    PathScan = "path_scan", Behaviour;
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What was looked at, snake case with its unit last (`latency_ms_p99`).
    pub name: String,
    /// What was seen.
    pub observed: String,
    /// What was known or expected; empty when there is no baseline for it.
    pub baseline: String,
}

/// One deviation of one edge or identity.
#[derive(Clone, Debug, PartialEq)]
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
