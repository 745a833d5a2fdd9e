//! Whose deed is a finding, as far as it is proven? This is where framing ends.
//!
//! What an attacker can choose: trace and request ids, so that its call is joined with somebody else's record; headers;
//! addresses; the name its own proxy reports under; a certificate that is refused; an absence of identity. What it
//! cannot choose: the identity that the callee's own proxy verified on a call. From that follow the rules:
//!
//! - A principal is named only by a finding about *one shape* of calls whose identity the callee verified. A finding
//!   about all calls of an edge takes its identity from one of them and its number from others: it is evidence only when
//!   every call of the edge since its onset was verified as the same principal.
//! - Nothing counts against a principal unless the caller's name and the principal belong together. Else a liar reports
//!   an innocent's verified call as its own: then that principal does something new for the liar's name, and what the
//!   callee's record leaves open (headers, certificate, TLS version) is filled from the liar's.
//! - A proxy's own word counts against its own workload only, and only for what leaves the mesh: there no record of
//!   another side can be joined in.
//! - A claimed identity, an address, a header, a parent span name nobody. Text that found no room in the table of names
//!   is one name for many.

use selvedge_learn::{principal_namespace, principal_service_account};
use selvedge_model::quarantine::QUARANTINE_ID_PREFIX;
use selvedge_model::symbol::OVERFLOW_TEXT;
use selvedge_model::{Endpoint, EventTime, Finding, FindingKind, IdentitySource, Severity};

use crate::knowledge::{Knowledge, Remembered};
use crate::matching::same_workload;
use crate::recent::began_by;

/// Minutes are the grain of recent traffic: calls since an onset are those of its minute and later ones.
const GRAIN: std::time::Duration = std::time::Duration::from_mins(1);

/// Whose deed a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attested<'a> {
    /// Of whoever holds this principal: the callee's own proxy verified it on the call that deviates.
    Principal(&'a str),
    /// Of this workload, which reports through its own proxy that it left the mesh.
    OwnProxy(&'a Endpoint),
    /// Of somebody who proved no identity to the callee.
    Unproven,
    /// Nobody's, for this purpose.
    Nobody(Doubt),
}

/// Why a finding is nobody's deed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// The destination refused the connection by itself; the identity shown there proves nothing.
    Refused,
    /// The identity was only claimed, or is known by hearsay.
    Hearsay,
    /// The caller's name and its certificate do not belong together: one of the two was borrowed.
    NameDisagrees,
    /// It is about many calls, and not all of them were verified as the same principal (or not yet).
    MixedCalls,
    /// Its kind says nothing about a caller, or it is for the record only.
    NoEvidence,
}

impl Doubt {
    /// Half a sentence for people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Refused => {
                "the destination refused the connection by itself, and what was shown there proves nothing"
            }
            Self::Hearsay => "no proxy verified who called",
            Self::NameDisagrees => "the caller's name and its certificate do not belong together",
            Self::MixedCalls => "not every call of the edge is verified as the same caller",
            Self::NoEvidence => "nothing in it speaks against a caller",
        }
    }
}

/// What a kind of finding is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Basis {
    /// One shape of calls, or calls under one identity proven in one way.
    Shape,
    /// All calls of an edge.
    Edge,
    /// Something that is not the caller's deed, or that others can make it do.
    Nothing,
}

fn basis(kind: FindingKind) -> Basis {
    use FindingKind as K;
    match kind {
        K::ForgedIdentity
        | K::ForeignTrustDomain
        | K::CertificateExpired
        | K::CertificateIssuer
        | K::CertificateRevoked
        | K::CertificateShared
        | K::IdentityMismatch
        | K::OneSidedCall
        | K::MtlsDowngrade
        | K::TlsVersionDowngrade
        | K::NewEdge
        | K::NewRoute
        | K::NewPrincipal
        | K::NewEgress
        | K::BoundaryViolation
        | K::PolicyUnenforced
        // It counts calls of one principal by one proof.
        | K::PathScan => Basis::Shape,
        K::FanOut | K::Beacon | K::BytesHigh | K::RequestRateHigh | K::DeniedBurst => {
            Basis::Edge
        }
        // Text that is not UTF-8 may have been passed on; a certificate that expires soon is no attack; what a callee
        // suffers is not its caller's deed, nor is whom a callee calls on; failed handshakes have no caller.
        _ => Basis::Nothing,
    }
}

/// True when a finding can name whom it is about: it is of one shape of calls.
pub(crate) fn names(kind: FindingKind) -> bool {
    basis(kind) == Basis::Shape
}

/// True when a finding says that an identity is in other hands than its owner's: then also what that identity normally
/// does may be cut. A warning at least: records that were lost look a little alike.
pub(crate) fn compromises(finding: &Finding) -> bool {
    matches!(finding.kind, FindingKind::OneSidedCall | FindingKind::CertificateRevoked)
        && finding.severity >= Severity::Medium
}

/// Whose deed `finding` is.
#[must_use]
pub fn attested<'a>(finding: &'a Finding, knowledge: &dyn Knowledge) -> Attested<'a> {
    whose(finding, &Remembered::new(knowledge))
}

/// As [`attested`], for many findings.
pub(crate) fn whose<'a>(finding: &'a Finding, knowledge: &Remembered<'_>) -> Attested<'a> {
    let basis = basis(finding.kind);
    let ours = finding.kind == FindingKind::DeniedBurst && finding.subject.contains(QUARANTINE_ID_PREFIX);
    if finding.evidence.iter().any(|fact| fact.name == "handshake_failure" && !fact.observed.is_empty()) {
        return Attested::Nobody(Doubt::Refused);
    }
    // Warnings by the mesh's own record are a budget: one an hour comes when nothing is wrong, and proves nothing.
    let rationed = finding.calibrated && finding.severity < Severity::High;
    let slight = finding.severity < Severity::Low || rationed;
    if basis == Basis::Nothing || ours || slight || !told(&finding.edge.destination) {
        return Attested::Nobody(Doubt::NoEvidence);
    }
    if finding.external { leaving(finding, basis, knowledge) } else { inside(finding, basis, knowledge) }
}

/// A deed outside the mesh: only the caller's own proxy speaks of it.
fn leaving<'a>(finding: &'a Finding, basis: Basis, knowledge: &Remembered<'_>) -> Attested<'a> {
    let source = &finding.edge.source;
    // Verified by a callee's proxy, outside the mesh? Then records of two calls were joined.
    if finding.source_identity != IdentitySource::ProxyMetadata || !told(source) {
        return Attested::Nobody(Doubt::Hearsay);
    }
    match (finding.kind, basis) {
        (FindingKind::NewEgress, _) => Attested::OwnProxy(source),
        (_, Basis::Edge) => {
            let own = |row: &crate::TrafficRow| row.source_identity == IdentitySource::ProxyMetadata;
            if every_call(finding, knowledge, &own) {
                Attested::OwnProxy(source)
            } else {
                Attested::Nobody(Doubt::MixedCalls)
            }
        }
        _ => Attested::Nobody(Doubt::NoEvidence),
    }
}

fn inside<'a>(finding: &'a Finding, basis: Basis, knowledge: &Remembered<'_>) -> Attested<'a> {
    let source = &finding.edge.source;
    let principal = source.principal.as_str();
    let verified = finding.source_identity == IdentitySource::MtlsCertificate && !principal.is_empty();
    if !verified {
        // Probes that no callee verified may be a sidecar's inventions: many of them are no more than one.
        let of_one_call = basis == Basis::Shape && finding.kind != FindingKind::PathScan;
        return if of_one_call { Attested::Unproven } else { Attested::Nobody(Doubt::Hearsay) };
    }
    if principal == finding.claimed_principal || principal == OVERFLOW_TEXT {
        return Attested::Nobody(Doubt::Hearsay);
    }
    if !belong_together(source, knowledge) {
        return Attested::Nobody(Doubt::NameDisagrees);
    }
    match finding.kind {
        // It may be the callee's identity that is new.
        FindingKind::NewPrincipal if finding.subject != principal => Attested::Nobody(Doubt::NoEvidence),
        // Verified, and without a certificate? Then the caller's record says what the callee's does not.
        FindingKind::MtlsDowngrade => Attested::Nobody(Doubt::NameDisagrees),
        _ if basis == Basis::Edge
            && !every_call(finding, knowledge, &|row| row.source.principal == principal) =>
        {
            Attested::Nobody(Doubt::MixedCalls)
        }
        _ => Attested::Principal(principal),
    }
}

/// True when the named workload is known to hold the principal that goes with it, or has the very name that the
/// certificate gives. Of a principal that nobody is known to hold, the namespace must be that of the name.
fn belong_together(source: &Endpoint, knowledge: &Remembered<'_>) -> bool {
    let namespace = principal_namespace(&source.principal) == Some(source.namespace.as_str());
    let account = principal_service_account(&source.principal) == Some(source.workload.as_str());
    let holders = knowledge.holders(&source.principal);
    let held = holders.iter().any(|holder| same_workload(holder, source));
    held || (namespace && (account || holders.is_empty()))
}

/// True when there were calls of the finding's edge since its onset, and `all` holds for each.
fn every_call(
    finding: &Finding,
    knowledge: &Remembered<'_>,
    all: &dyn Fn(&crate::TrafficRow) -> bool,
) -> bool {
    let until = minute_of(finding.onset.before(GRAIN));
    let callee = Endpoint { principal: String::new(), ..finding.edge.destination.clone() };
    let scope = crate::Scope { callees: vec![callee], callers: Vec::new() };
    let rows = knowledge.rows(scope, until);
    let mut since = rows
        .iter()
        .filter(|row| same_workload(&row.source, &finding.edge.source) && row.external == finding.external)
        .filter(|row| !began_by(row.minute_seconds, until))
        .peekable();
    since.peek().is_some() && since.all(all)
}

/// The first moment of the minute: findings of one minute ask for the same traffic.
fn minute_of(at: EventTime) -> EventTime {
    EventTime(at.0 - at.0 % u64::try_from(GRAIN.as_nanos()).expect("a minute"))
}

fn told(end: &Endpoint) -> bool {
    !end.workload.is_empty() && end.workload != OVERFLOW_TEXT
}
