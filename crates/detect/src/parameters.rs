//! The typed parameters of each kind: what a rule file may set, and what each number means.
//!
//! Defaults live in `rules/*.yml` alone; a key that is missing or unknown there is an error.

use selvedge_model::FindingKind;
use serde::Deserialize;

use crate::rule_file::{Header, RuleFile};
use crate::rules::RuleSet;

/// A share of something, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Share(pub f64);

/// A probability, above 0 and below 1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Probability(pub f64);

/// A factor of at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Factor(pub f64);

/// A number of things, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Count(pub u64);

/// A TLS version by name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TlsVersion(pub String);

impl TryFrom<f64> for Share {
    type Error = String;
    fn try_from(value: f64) -> Result<Self, Self::Error> {
        (0.0..=1.0)
            .contains(&value)
            .then_some(Self(value))
            .ok_or_else(|| format!("{value} is not between 0 and 1"))
    }
}

impl TryFrom<f64> for Probability {
    type Error = String;
    fn try_from(value: f64) -> Result<Self, Self::Error> {
        let inside = value > 0.0 && value < 1.0;
        inside.then_some(Self(value)).ok_or_else(|| format!("{value} is not above 0 and below 1"))
    }
}

impl TryFrom<f64> for Factor {
    type Error = String;
    fn try_from(value: f64) -> Result<Self, Self::Error> {
        let fits = value.is_finite() && value >= 1.0;
        fits.then_some(Self(value)).ok_or_else(|| format!("{value} is not a factor of at least 1"))
    }
}

impl TryFrom<u64> for Count {
    type Error = String;
    fn try_from(value: u64) -> Result<Self, Self::Error> {
        (value >= 1).then_some(Self(value)).ok_or_else(|| "must be at least 1".to_owned())
    }
}

impl TryFrom<String> for TlsVersion {
    type Error = String;
    fn try_from(value: String) -> Result<Self, Self::Error> {
        match crate::transport::tls_rank(&value) {
            Some(_) => Ok(Self(value)),
            None => Err(format!("`{value}` is not a TLS version such as TLSv1.2")),
        }
    }
}

macro_rules! parameters {
    ($($(#[$about:meta])* $accessor:ident: $kind:ident { $($(#[$doc:meta])* $name:ident: $type:ty,)* })*) => {
        $(
            $(#[$about])*
            #[derive(Clone, Debug, PartialEq, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $kind { $($(#[$doc])* pub $name: $type,)* }
        )*

        /// The parameters of one rule.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) enum Parameters { $($kind($kind),)* }

        impl Parameters {
            /// Kinds that have a rule.
            pub(crate) const KINDS: &'static [FindingKind] = &[$(FindingKind::$kind,)*];

            /// Reads a rule file of a kind; `None` when no rule of that kind exists.
            pub(crate) fn read(kind: FindingKind, text: &str) -> Option<Result<(Header, Self), serde_saphyr::Error>> {
                match kind {
                    $(FindingKind::$kind => Some(
                        RuleFile::<$kind>::read(text)
                            .map(|(header, parameters)| (header, Self::$kind(parameters))),
                    ),)*
                    _ => None,
                }
            }
        }

        impl RuleSet {
            $(
                /// The kind's parameters; `None` when its rule is switched off.
                #[must_use]
                pub fn $accessor(&self) -> Option<&$kind> {
                    match self.enabled(FindingKind::$kind)? {
                        Parameters::$kind(parameters) => Some(parameters),
                        _ => None,
                    }
                }
            )*
        }
    };
}

parameters! {
    /// A call without client certificate where mutual TLS is the rule.
    mtls_downgrade: MtlsDowngrade {
        /// Calls of identified callers that must be known before "normally mutual TLS" means anything.
        mutual_calls_min: Count,
        /// Share of them that used mutual TLS.
        mutual_share_min: Share,
    }
    /// An older TLS version than this edge or callee is known for.
    tls_version_downgrade: TlsVersionDowngrade {
        /// Anything older is reported, known or not.
        version_floor: TlsVersion,
        /// Calls with a known version before an older one is a downgrade.
        calls_min: Count,
    }
    /// A TLS handshake that failed.
    handshake_rejected: HandshakeRejected {}
    /// A certificate past its validity, accepted or refused.
    certificate_expired: CertificateExpired {
        /// Difference of clocks that is forgiven.
        clock_skew_seconds: u64,
    }
    /// A certificate that should have been replaced by now.
    certificate_expiring: CertificateExpiring {
        /// Remaining share of its lifetime.
        remaining_share_max: Share,
        /// Remaining hours; both must hold.
        remaining_hours_max: Count,
    }
    /// A certificate that is valid for much longer than usual.
    certificate_lifetime: CertificateLifetime {
        /// Times the longest lifetime known in the mesh.
        factor: Factor,
        /// Shorter lifetimes are never reported.
        days_floor: Count,
        /// Longer lifetimes are reported where nothing is known of the mesh.
        days_max: Count,
    }
    /// An issuer that the mesh has never shown.
    certificate_issuer: CertificateIssuer {}
    /// One certificate presented by two workloads.
    certificate_shared: CertificateShared {}
    /// Somebody claims an identity that is not theirs.
    forged_identity: ForgedIdentity {}
    /// An identity of a trust domain that is not the mesh's.
    foreign_trust_domain: ForeignTrustDomain {}
    /// A workload's name and its certificate disagree.
    identity_mismatch: IdentityMismatch {}
    /// A caller calls a callee for the first time.
    new_edge: NewEdge {
        /// Estimated chance that this caller's next window brings a new callee, above which a new one is no surprise.
        unseen_share_max: Share,
    }
    /// A caller uses a route for the first time.
    new_route: NewRoute {
        /// Estimated chance that this callee's next call brings a new route, above which a new one is no surprise.
        unseen_share_max: Share,
        /// Refused new routes reported for one edge in one window.
        refused_findings_max: Count,
    }
    /// A caller reaches a host outside the mesh for the first time.
    new_egress: NewEgress {
        /// Estimated chance that this caller's next call goes to a new host, above which a new one is no surprise.
        unseen_share_max: Share,
    }
    /// A known edge shows an identity it never showed.
    new_principal: NewPrincipal {
        /// Calls with a known identity before another one is new.
        calls_min: Count,
    }
    /// Requests take a way over known edges that they never took.
    new_call_path: NewCallPath {
        /// Windows in which the second edge was used for somebody.
        windows_min: Count,
        /// Share of the second edge's windows in which it was used for somebody.
        driven_share_min: Share,
        /// Calls that would have been seen on the way if the workload in between treated all callers alike.
        expected_calls_min: Count,
    }
    /// A call between namespaces or clusters that were never connected.
    boundary_violation: BoundaryViolation {}
    /// Calls are much slower than they were.
    latency_high: LatencyHigh {
        /// Slow calls that must be seen.
        slow_calls_min: Count,
        /// Share of the calls of the edge, or of one route, that are slow.
        slow_share_min: Share,
        /// Calls the baseline must have.
        baseline_calls_min: Count,
        /// A call is slow when it takes this many times the baseline's 99th percentile,
        factor: Factor,
        /// and at least this long.
        floor_ms: Count,
        /// Chance of so many slow calls when nothing is wrong.
        tail_probability_max: Probability,
        /// Where only gauges are known: times the usual value that are no evidence at all,
        gauge_factor: Factor,
        /// and how many milliseconds a median must have grown by.
        gauge_floor_ms: Count,
    }
    /// The caller waits for longer than the callee works.
    network_delay: NetworkDelay {
        /// Times the usual ratio of the caller's time to the callee's that are no evidence at all.
        factor: Factor,
        /// Milliseconds that the network must take more than usual.
        floor_ms: Count,
    }
    /// A gauge of an ill workload is far above its usual value.
    resource_high: ResourceHigh {
        /// Times the usual value that are no evidence at all.
        factor: Factor,
    }
    /// Calls fail much more often than they did.
    error_rate_high: ErrorRateHigh {
        /// Failed calls that must be seen.
        failed_min: Count,
        /// How far the error rate is above the baseline's, as a share of calls.
        rise_min: Share,
        /// Calls the baseline must have.
        baseline_calls_min: Count,
        /// Chance of so many failures when nothing is wrong.
        tail_probability_max: Probability,
    }
    /// Many more requests than ever before.
    request_rate_high: RequestRateHigh {
        /// Times the busiest window of the baseline.
        factor: Factor,
        /// Requests in a window that must be exceeded in any case.
        requests_floor: Count,
        /// Chance of so many requests when nothing is wrong.
        tail_probability_max: Probability,
    }
    /// Fewer requests than usual at this time.
    request_rate_low: RequestRateLow {}
    /// No requests any more.
    edge_silent: EdgeSilent {}
    /// Many more bytes than ever before.
    bytes_high: BytesHigh {
        /// Times the baseline's largest body or window total.
        factor: Factor,
        /// Times the baseline from which on it is a step worse.
        grave_factor: Factor,
        /// Bytes that must be exceeded in any case.
        bytes_floor: Count,
    }
    /// One caller tries many paths that the callee does not serve.
    path_scan: PathScan {
        /// Distinct refused routes in one window that the callee has never served.
        routes_min: Count,
        /// Share of the caller's unknown routes that were refused.
        refused_share_min: Share,
    }
    /// Calls to an outside host in a regular beat.
    beacon: Beacon {
        /// Beats in a row.
        beats_min: Count,
        /// Shortest interval.
        interval_seconds_min: Count,
        /// Longest interval.
        interval_seconds_max: Count,
        /// Spread of the intervals (median absolute deviation over median).
        jitter_max: Share,
    }
    /// An authorization policy denied calls.
    denied_burst: DeniedBurst {
        /// Denied calls in a window.
        calls_min: Count,
    }
    /// A policy in dry run would have denied a call.
    policy_unenforced: PolicyUnenforced {}
    /// A call that only the callee's proxy reported although the caller's proxy always reports.
    one_sided_call: OneSidedCall {
        /// Requests of the caller that must be known.
        calls_min: Count,
        /// Share of them that both sides reported.
        both_share_min: Share,
    }
    /// A workload serves calls and logs nothing any more.
    telemetry_gap: TelemetryGap {
        /// Part of the warning budget that false findings of this kind may take.
        budget_share: Share,
    }
    /// A proxy counts requests and no longer tells of them.
    telemetry_suppressed: TelemetrySuppressed {
        /// Requests counted in five minutes.
        requests_min: Count,
        /// Share of them with a record, below which records are missing.
        share_max: Share,
        /// Share of all workloads whose records are missing at once, above which it is told as one.
        common_share_min: Share,
    }
    /// Telemetry that a strict receiver would have thrown away.
    malformed_telemetry: MalformedTelemetry {}
    /// Somebody invents names faster than they can be kept.
    cardinality: Cardinality {}
    /// Calls of a route make a log statement that their workload never made.
    log_template_new: LogTemplateNew {
        /// Part of the warning budget that false findings of this kind may take.
        budget_share: Share,
    }
    /// Calls of a route no longer make a log statement that they made.
    log_template_missing: LogTemplateMissing {
        /// Part of the warning budget that false findings of this kind may take.
        budget_share: Share,
    }
    /// More, or fewer, calls of a route make a log statement.
    log_rate: LogRate {
        /// Part of the warning budget that false findings of this kind may take.
        budget_share: Share,
    }
}
