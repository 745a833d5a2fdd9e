//! Nobody can have somebody else quarantined.
//!
//! The innocent is the courier: it calls the ledger under its own verified identity, has one honest novelty, and is named
//! by everything that an intruder can choose: forged certificates (refused), forged headers, trace ids that join the
//! intruder's calls with the courier's records and the courier's calls with the intruder's, parent spans, addresses.

mod common;

use common::{
    Known, ONSET, bare, calm, end, fact, finding, incident, leaving, now, refs, row, row_with, unproven, with,
};
use proptest::prelude::*;
use selvedge_model::{
    Caller, Cut, Endpoint, Finding, FindingKind as K, IdentitySource as I, Place, Severity,
};
use selvedge_policy::{Ledger, PolicyConfig, PolicyMode, respond, same_workload};

const INNOCENT: &str = "yard/courier";
const INTRUDER: &str = "yard/intruder";
const CALLEES: [&str; 3] = ["store/ledger", "store/cart", "store/vault"];

/// What an intruder can make telemetry say.
#[derive(Clone, Copy, Debug)]
enum Trick {
    /// A certificate of another CA with the innocent's name, refused by the callee.
    ForgedCertificate,
    /// The same by a detector that forgot to blank the names.
    ForgedCertificateNamed,
    /// A forwarded-identity header under the intruder's own verified identity.
    ForgedHeader,
    /// The same without any identity; the name comes from the header.
    ForgedHeaderPlaintext,
    /// A plaintext call with the trace ids of a call of the innocent: joined with the innocent's own record.
    JoinedPlaintext,
    /// A verified call with such ids: the innocent's name, the intruder's certificate.
    JoinedVerified,
    /// The intruder's proxy claims a verified call of the innocent: the intruder's name, the innocent's certificate.
    ClaimedCall,
    /// Many calls on the innocent's edge, of which some were joined in, and the identity of the genuine ones.
    Flooded,
    /// A name by a parent span, an address or a header.
    Hearsay,
    /// A call out of the mesh under the innocent's name by hearsay, or joined with a record of another side.
    HearsayEgress,
    /// Bytes on the innocent's usual way out, some of them by hearsay.
    FloodedEgress,
    /// The callee presents an identity that the innocent never met.
    RogueCallee,
    /// A verified call of the innocent, joined with a record of the intruder's proxy under the innocent's name.
    CallersWord,
    /// Text that the innocent passed on.
    PassedOn,
    /// What the intruder does under its own identity.
    OwnDeed,
    /// What the intruder does without an identity.
    OwnPlaintextDeed,
    /// What the intruder sends out of the mesh.
    OwnEgress,
}

const TRICKS: [Trick; 17] = [
    Trick::ForgedCertificate,
    Trick::ForgedCertificateNamed,
    Trick::ForgedHeader,
    Trick::ForgedHeaderPlaintext,
    Trick::JoinedPlaintext,
    Trick::JoinedVerified,
    Trick::ClaimedCall,
    Trick::Flooded,
    Trick::Hearsay,
    Trick::HearsayEgress,
    Trick::FloodedEgress,
    Trick::RogueCallee,
    Trick::CallersWord,
    Trick::PassedOn,
    Trick::OwnDeed,
    Trick::OwnPlaintextDeed,
    Trick::OwnEgress,
];

/// Kinds about one shape of calls.
const SHAPES: [K; 15] = [
    K::PathScan,
    K::NewEdge,
    K::NewRoute,
    K::BoundaryViolation,
    K::IdentityMismatch,
    K::CertificateShared,
    K::CertificateExpired,
    K::CertificateIssuer,
    K::CertificateRevoked,
    K::ForgedIdentity,
    K::ForeignTrustDomain,
    K::OneSidedCall,
    K::MtlsDowngrade,
    K::TlsVersionDowngrade,
    K::NewCallPath,
];
/// Kinds about all calls of an edge.
const EDGES: [K; 5] = [K::BytesHigh, K::RequestRateHigh, K::DeniedBurst, K::FanOut, K::ErrorRateHigh];
/// Things that the innocent may honestly do.
const HONEST: usize = 5;
/// Identities by hearsay.
const HEARSAY: [I; 5] = [I::None, I::Header, I::Address, I::ParentSpan, I::ProxyMetadata];

/// One trick with the choices that are left.
#[derive(Clone, Copy, Debug)]
struct Event {
    trick: Trick,
    kind: usize,
    callee: usize,
    identity: usize,
    severity: Severity,
}

fn event() -> impl Strategy<Value = Event> {
    let severity = prop::sample::select(&Severity::ALL[1..]);
    (prop::sample::select(&TRICKS[..]), 0..64_usize, 0..CALLEES.len(), 0..HEARSAY.len(), severity).prop_map(
        |(trick, kind, callee, identity, severity)| Event { trick, kind, callee, identity, severity },
    )
}

/// A handshake with a forged certificate, which the callee refused.
fn refused(event: Event, named: bool) -> Finding {
    let (callee, innocent) = (CALLEES[event.callee], end(INNOCENT));
    let kinds = [K::HandshakeRejected, K::ForgedIdentity, K::CertificateIssuer, K::CertificateExpired];
    with(unproven(kinds[event.kind % kinds.len()], callee), |finding| {
        // Of the two marks of a refused handshake one is enough.
        if !named || event.identity != 0 {
            finding.claimed_principal.clone_from(&innocent.principal);
        }
        if !named || event.identity != 1 {
            finding.evidence.push(fact("handshake_failure", "unknown_issuer"));
        }
        if named {
            finding.edge.source = innocent;
            finding.source_identity = I::MtlsCertificate;
        }
    })
}

/// What the detector would say of an event, and what recent traffic then has.
fn tell(event: Event, known: &mut Known) -> Finding {
    let (callee, innocent) = (CALLEES[event.callee], end(INNOCENT));
    let (shape, edge) = (SHAPES[event.kind % SHAPES.len()], EDGES[event.kind % EDGES.len()]);
    let hearsay = HEARSAY[event.identity];
    let joined = |known: &mut Known| {
        let call = row_with(row(INNOCENT, callee, "GET", "/x", 3), |row| {
            row.minute_seconds = ONSET;
            row.source.principal.clear();
            (row.source_identity, row.authenticated, row.normal) = (I::ProxyMetadata, Some(false), false);
        });
        known.rows.push(call);
    };
    match event.trick {
        Trick::ForgedCertificate => refused(event, false),
        Trick::ForgedCertificateNamed => refused(event, true),
        Trick::ForgedHeader => with(finding(K::ForgedIdentity, INTRUDER, callee), |finding| {
            finding.claimed_principal = innocent.principal;
        }),
        Trick::ForgedHeaderPlaintext => with(finding(shape, INNOCENT, callee), |finding| {
            finding.source_identity = I::Header;
            finding.claimed_principal = innocent.principal;
            finding.subject = "plaintext".to_owned();
        }),
        Trick::JoinedPlaintext => {
            joined(known);
            with(finding(shape, INNOCENT, callee), |finding| finding.source_identity = I::ProxyMetadata)
        }
        Trick::JoinedVerified => with(finding(shape, INNOCENT, callee), |finding| {
            finding.edge.source.principal = end(INTRUDER).principal;
        }),
        Trick::ClaimedCall => with(finding(shape, INTRUDER, callee), |finding| {
            finding.edge.source.principal = innocent.principal;
        }),
        Trick::Flooded => {
            joined(known);
            finding(edge, INNOCENT, callee)
        }
        Trick::Hearsay => with(finding(shape, INNOCENT, callee), |finding| finding.source_identity = hearsay),
        Trick::HearsayEgress => with(leaving(K::NewEgress, INNOCENT, "paste.example"), |finding| {
            finding.source_identity = if hearsay == I::ProxyMetadata { I::MtlsCertificate } else { hearsay };
        }),
        Trick::FloodedEgress => {
            let sent = row_with(row(INNOCENT, "api.example", "POST", "/x", 3), |row| {
                (row.minute_seconds, row.external, row.normal) = (ONSET, true, false);
                (row.destination, row.source_identity) = (bare("api.example"), I::ParentSpan);
            });
            known.rows.push(sent);
            leaving(
                if event.kind.is_multiple_of(2) { K::BytesHigh } else { K::Beacon },
                INNOCENT,
                "api.example",
            )
        }
        Trick::RogueCallee => with(finding(K::NewPrincipal, INNOCENT, callee), |finding| {
            finding.subject = "spiffe://mesh.example/ns/yard/sa/rogue".to_owned();
            finding.edge.destination.principal = finding.subject.clone();
        }),
        Trick::CallersWord => finding(K::MtlsDowngrade, INNOCENT, callee),
        Trick::PassedOn => finding(K::MalformedTelemetry, INNOCENT, callee),
        Trick::OwnDeed => finding(shape, INTRUDER, callee),
        Trick::OwnPlaintextDeed => unproven(shape, callee),
        Trick::OwnEgress => leaving(K::NewEgress, INTRUDER, "paste.example"),
    }
}

/// What the innocent honestly does that is out of the ordinary, told once: of one kind, which alone is not enough.
fn honest(kind: usize, known: &mut Known) -> Finding {
    match kind % HONEST {
        0 => finding(K::NewEdge, INNOCENT, "store/vault"),
        1 => leaving(K::NewEgress, INNOCENT, "weather.example"),
        2 => finding(K::BoundaryViolation, INNOCENT, "store/vault"),
        3 => {
            let sent = row_with(row(INNOCENT, "mail.example", "POST", "/x", 3), |row| {
                (row.minute_seconds, row.external) = (ONSET, true);
                (row.destination, row.source_identity) = (bare("mail.example"), I::ProxyMetadata);
            });
            known.rows.push(sent);
            leaving(K::BytesHigh, INNOCENT, "mail.example")
        }
        _ => with(finding(K::NewRoute, INNOCENT, "store/ledger"), |finding| {
            "GET /totals".clone_into(&mut finding.subject);
        }),
    }
}

/// A configuration whose limits hide nothing.
fn bold(mode: PolicyMode) -> PolicyConfig {
    PolicyConfig {
        mode,
        protected: Vec::new(),
        active_max: 1_000,
        proposed_max: 1_000,
        per_hour_max: 1_000,
        blast_radius_max: 1.0,
        callers_harmed_max: 1_000,
        backtest_calls_min: 0,
        ..PolicyConfig::default()
    }
}

fn hits_innocent(cut: &Cut) -> bool {
    let at_its_proxy = cut.place == Place::Outbound && same_workload(&cut.workload, &end(INNOCENT));
    cut.caller == Caller::Principal(end(INNOCENT).principal) || at_its_proxy
}

/// All cuts that come of the events, told one after the other, in every round with what is known by then.
fn cuts(events: &[Event], honest_kind: usize, mode: PolicyMode) -> Vec<Cut> {
    let mut known = Known::mesh();
    known.rows.push(row("store/scribe", "store/vault", "GET", "/keys", 500));
    let mut findings =
        vec![with(honest(honest_kind, &mut known), |finding| finding.severity = Severity::High)];
    let mut ledger = Ledger::new();
    for (at, event) in events.iter().enumerate() {
        let told = with(tell(*event, &mut known), |finding| {
            finding.id = format!("{}-{at}", finding.id);
            finding.severity = event.severity;
        });
        findings.push(told);
        let second = ONSET + at as u64;
        let incident = incident(&findings);
        respond(&mut ledger, &incident, &refs(&findings), &known, &bold(mode), &calm(), now(second));
    }
    ledger.quarantines().flat_map(|quarantine| quarantine.cuts.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_innocent_is_never_quarantined_proposed_or_enforced(
        events in prop::collection::vec(event(), 1..14),
        honest in 0..HONEST,
        mode in prop::sample::select(&PolicyMode::ALL[1..]),
    ) {
        let framed: Vec<Cut> = cuts(&events, honest, mode).into_iter().filter(hits_innocent).collect();
        prop_assert!(framed.is_empty(), "{framed:#?}");
    }
}

/// Guarantees that the property above is about something: of the same tricks the intruder's own deeds get it cut.
#[test]
fn the_intruder_is_quarantined_for_its_own_deeds_among_the_same_tricks() {
    let own = |kind| Event { trick: Trick::OwnDeed, kind, callee: 0, identity: 0, severity: Severity::High };
    for trick in TRICKS {
        let other = Event { trick, kind: 1, callee: 1, identity: 1, severity: Severity::High };
        let cuts = cuts(&[other, own(0), own(2)], 0, PolicyMode::Enforce);
        let intruder = Caller::Principal(end(INTRUDER).principal);
        assert!(cuts.iter().any(|cut| cut.caller == intruder), "{trick:?}: {cuts:#?}");
    }
}

/// Guarantees that the innocent is safe for no other reason than what is proven: with the same findings verified and
/// under its own name it would be cut.
#[test]
fn verified_deeds_under_the_own_name_are_not_excused() {
    let findings = [
        finding(K::NewEdge, INNOCENT, "store/vault"),
        finding(K::BoundaryViolation, INNOCENT, "store/vault"),
    ];
    let mut known = Known::mesh();
    known.rows.push(row("store/scribe", "store/vault", "GET", "/keys", 500));
    let mut ledger = Ledger::new();
    let bold = bold(PolicyMode::Propose);
    respond(&mut ledger, &incident(&findings), &refs(&findings), &known, &bold, &calm(), now(ONSET));
    let cuts: Vec<Cut> = ledger.quarantines().flat_map(|quarantine| quarantine.cuts.clone()).collect();
    assert!(cuts.iter().any(hits_innocent), "{cuts:#?}");
    assert_ne!(end(INNOCENT), Endpoint::default());
}
