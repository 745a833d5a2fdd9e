//! Nobody can have somebody else quarantined: from OTLP bytes to decided quarantines.
//!
//! The policy crate tests the same with generated findings; here the lies are in the telemetry itself, so that reading,
//! joining, naming and detecting are part of what is tested.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::time::Duration;

use selvedge_engine::{Effect, Encoding, EngineConfig, Mode, Pipeline, RawBatch, RuleSet};
use selvedge_model::{Cut, SteadyTime, TraceId};
use selvedge_policy::{ContainmentEvent, PolicyMode};
use selvedge_testkit::{RawFrame, Refusal, Request, Rng, Traffic};

/// Calls of the ledger every day, and is named by everything that the intruder can choose.
const INNOCENT: &str = "courier";
const INTRUDER: &str = "kiosk";
/// Mixes of lies and deeds.
const MIXES: u64 = 60;

/// Rounds of tricks in a mix, and the one in which the intruder looks for what it came for.
const ROUNDS: u64 = 12;
const SCAN_ROUND: u64 = 4;

/// What the intruder may do or say.
#[derive(Clone, Copy, Debug)]
enum Trick {
    /// A certificate in the innocent's name of another authority, refused.
    ForgedCertificate,
    /// An expired one.
    ExpiredCertificate,
    /// A header in the innocent's name on a call under the intruder's own certificate.
    ForgedHeader,
    /// The same in plaintext.
    ForgedHeaderPlaintext,
    /// A call with the ids of a call of the innocent.
    Joined,
    /// A call without a sidecar with such ids.
    JoinedPlaintext,
    /// The intruder's sidecar says it called as the innocent.
    Posing,
    /// It says so of calls that the innocent made.
    ClaimedCall,
    /// It says so of calls that nobody made.
    Invented,
    /// It says that the innocent sends data out of the mesh.
    PosingEgress,
}

const TRICKS: [Trick; 10] = [
    Trick::ForgedCertificate,
    Trick::ExpiredCertificate,
    Trick::ForgedHeader,
    Trick::ForgedHeaderPlaintext,
    Trick::Joined,
    Trick::JoinedPlaintext,
    Trick::Posing,
    Trick::ClaimedCall,
    Trick::Invented,
    Trick::PosingEgress,
];

/// The mesh as it is every day.
fn ordinary(traffic: &mut Traffic, times: usize) -> Vec<TraceId> {
    let mut innocent = Vec::new();
    for _ in 0..times {
        innocent.push(traffic.send(Request::along(&format!("{INNOCENT} -> ledger")).asking("GET", "/fees")));
        traffic.repeat(1, "web -> cart -> ledger");
        traffic.repeat(1, &format!("{INTRUDER} -> cart"));
    }
    innocent
}

fn play(traffic: &mut Traffic, trick: Trick, trace: TraceId) {
    let verified = || Request::along(&format!("{INTRUDER} -> ledger")).asking("GET", "/vault");
    let plaintext = || Request::along("? -> ledger").asking("GET", "/vault").plaintext();
    let request = match trick {
        Trick::ForgedCertificate => return traffic.refuse("ledger", INNOCENT, Refusal::UnknownIssuer),
        Trick::ExpiredCertificate => return traffic.refuse("ledger", INNOCENT, Refusal::Expired),
        Trick::ForgedHeader => verified().forwarding(INNOCENT),
        Trick::ForgedHeaderPlaintext => plaintext().forwarding(INNOCENT),
        Trick::Joined => verified().joining(trace),
        Trick::JoinedPlaintext => plaintext().joining(trace),
        Trick::Posing => verified().posing_as(INNOCENT),
        Trick::ClaimedCall => verified().posing_as(INNOCENT).joining(trace).invented(),
        Trick::Invented => verified().posing_as(INNOCENT).invented(),
        Trick::PosingEgress => Request::along(&format!("{INTRUDER} -> paste.example"))
            .asking("POST", "/drop")
            .bytes(40_000_000, 10)
            .posing_as(INNOCENT),
    };
    traffic.send(request);
}

/// What the intruder came for, under its own name: without it nothing would be bad enough for anybody to be cut.
fn scan(traffic: &mut Traffic) {
    for word in [
        "admin", "backup", "config", "debug", "env", "git", "keys", "login", "old", "private", "shell",
        "users",
    ] {
        let request =
            Request::along(&format!("{INTRUDER} -> ledger")).asking("GET", &format!("/{word}")).status(404);
        traffic.send(request);
    }
}

/// A minute of ordinary calls, in which the intruder plays a few tricks, each several times, and does what it came for.
fn mix(seed: u64, start: Duration) -> (Traffic, Vec<Trick>) {
    let mut rng = Rng::seeded(seed);
    let pick = |rng: &mut Rng, end: usize| usize::try_from(rng.below(end as u64)).unwrap();
    let tricks: Vec<Trick> = (0..=pick(&mut rng, 4)).map(|_| TRICKS[pick(&mut rng, TRICKS.len())]).collect();
    let mut traffic = Traffic::seeded(seed);
    traffic.wait(start);
    let mut seen = ordinary(&mut traffic, 5);
    for round in 0..ROUNDS {
        for trick in &tricks {
            let trace = seen[pick(&mut rng, seen.len())];
            play(&mut traffic, *trick, trace);
        }
        if round == SCAN_ROUND {
            scan(&mut traffic);
        }
        traffic.wait(Duration::from_millis(200));
        seen.extend(ordinary(&mut traffic, 1));
    }
    traffic.wait(Duration::from_secs(5));
    ordinary(&mut traffic, 3);
    (traffic, tricks)
}

fn feed(pipeline: &mut Pipeline, frames: &[RawFrame], effects: &mut Vec<Effect>) {
    for frame in frames {
        let steady = SteadyTime::recorded(frame.observed);
        pipeline.advance_clock(steady, effects);
        let batch = RawBatch {
            signal: frame.signal,
            encoding: Encoding::Protobuf,
            body: &frame.payload,
            observed: frame.observed,
            steady,
        };
        pipeline.ingest(batch, effects).unwrap();
    }
    pipeline.finish(effects);
}

/// Everything that was proposed or enforced against anybody.
fn cuts(effects: &[Effect]) -> Vec<&Cut> {
    let quarantines = effects.iter().filter_map(|effect| match effect {
        Effect::Containment { event: ContainmentEvent::Quarantine(_, Some(quarantine)), .. } => {
            Some(quarantine)
        }
        _ => None,
    });
    quarantines.flat_map(|quarantine| &quarantine.cuts).collect()
}

/// Scenario: an intruder with a workload and a sidecar of its own mixes its deeds with certificates, headers, records and
/// ids that name an innocent workload, in telemetry of a mesh that enforces by itself.
/// Guarantees: the intruder is cut in every mix; nothing that would stop the innocent is ever proposed or enforced.
#[test]
fn no_telemetry_of_an_intruder_quarantines_somebody_else() {
    let mut quiet = Traffic::seeded(3);
    ordinary(&mut quiet, 60);
    let start = quiet.now().since(Traffic::seeded(3).now()) + Duration::from_secs(30);
    let quiet = quiet.frames();
    let mut caught = 0;
    for seed in 1..=MIXES {
        let mut config = EngineConfig::default();
        config.policy.mode = PolicyMode::Enforce;
        config.policy.shadow_for = Duration::ZERO;
        let mut pipeline = Pipeline::new(&config, RuleSet::shipped());
        let mut effects = Vec::new();
        pipeline.set_mode(Mode::Learning);
        feed(&mut pipeline, &quiet, &mut effects);
        pipeline.set_mode(Mode::Judging);
        let (traffic, tricks) = mix(seed, start);
        feed(&mut pipeline, &traffic.frames(), &mut effects);
        let cuts = cuts(&effects);
        for cut in &cuts {
            let text = format!("{cut:?}");
            assert!(!text.contains(INNOCENT), "seed {seed}, {tricks:?}: {cut}");
        }
        caught += u64::from(cuts.iter().any(|cut| format!("{cut:?}").contains(INTRUDER)));
    }
    assert_eq!(caught, MIXES, "the intruder's lies did not keep itself from being cut");
}
