//! The pipeline over built traffic: what is detected from which signals, and what clocks may do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::time::Duration;

use selvedge_engine::{Effect, Encoding, EngineConfig, Mode, Pipeline, RawBatch, RuleSet};
use selvedge_model::{
    Fate, Finding, FindingKind, Incident, IncidentStatus, ObservedTime, SignalKind, SteadyTime,
};
use selvedge_testkit::{RawFrame, Refusal, Request, Traffic, recut};

/// What came out of a run.
struct Run {
    pipeline: Pipeline,
    effects: Vec<Effect>,
}

impl Run {
    fn new() -> Self {
        Self { pipeline: Pipeline::new(&EngineConfig::default(), RuleSet::shipped()), effects: Vec::new() }
    }

    fn feed(&mut self, frames: &[RawFrame]) -> &mut Self {
        self.feed_by(frames, |observed| observed)
    }

    /// As the live loop does, with a wall clock of its own beside the clock that nobody can set.
    fn feed_by(&mut self, frames: &[RawFrame], wall: impl Fn(ObservedTime) -> ObservedTime) -> &mut Self {
        for frame in frames {
            let steady = SteadyTime::recorded(frame.observed);
            self.pipeline.advance_clock(steady, &mut self.effects);
            let batch = RawBatch {
                signal: frame.signal,
                encoding: Encoding::Protobuf,
                body: &frame.payload,
                observed: wall(frame.observed),
                steady,
            };
            self.pipeline.ingest(batch, &mut self.effects).unwrap();
        }
        self
    }

    fn finish(&mut self) -> &mut Self {
        self.pipeline.finish(&mut self.effects);
        self
    }

    fn findings(&self) -> Vec<&Finding> {
        let findings = self.effects.iter().filter_map(|effect| match effect {
            Effect::Finding(finding) => Some(finding.as_ref()),
            Effect::Incident(..) | Effect::Action(..) | Effect::Containment { .. } => None,
        });
        findings.collect()
    }

    fn kinds(&self) -> Vec<FindingKind> {
        let mut kinds: Vec<FindingKind> = self.findings().iter().map(|finding| finding.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    fn incidents(&self) -> Vec<&Incident> {
        self.pipeline.incidents().collect()
    }
}

/// A quiet minute, then an attack: a workload that takes a new path, one in plaintext, one with a forged certificate.
fn quiet_minute_then_attack() -> (Traffic, Traffic) {
    let mut quiet = Traffic::seeded(7);
    quiet.repeat(120, "web -> cart -> ledger");
    let mut attack = Traffic::seeded(8);
    attack.wait(quiet.now().since(attack.now()) + Duration::from_secs(60));
    attack.repeat(10, "web -> cart -> ledger");
    for _ in 0..3 {
        attack.send(Request::along("web -> ledger").asking("GET", "/vault/keys"));
        attack.send(Request::along("? -> ledger").plaintext());
        attack.refuse("ledger", "spiffe://cluster.local/ns/default/sa/cart", Refusal::UnknownIssuer);
    }
    attack.repeat(10, "web -> cart -> ledger");
    (quiet, attack)
}

fn learned(frames: &[RawFrame]) -> Run {
    let mut run = Run::new();
    run.pipeline.set_mode(Mode::Learning);
    run.feed(frames).finish();
    run.pipeline.set_mode(Mode::Judging);
    assert!(run.effects.is_empty(), "nothing is judged while learning");
    run
}

/// Guarantees: access logs alone show the new path, the plaintext and the forged certificate.
#[test]
fn logs_alone_are_enough() {
    let (quiet, attack) = quiet_minute_then_attack();
    let mut run = learned(&quiet.frames_of(SignalKind::Logs));
    run.feed(&attack.frames_of(SignalKind::Logs)).finish();
    for kind in [FindingKind::NewEdge, FindingKind::MtlsDowngrade, FindingKind::HandshakeRejected] {
        assert!(run.kinds().contains(&kind), "{kind:?} is missing in {:?}", run.kinds());
    }
}

/// Guarantees: spans alone show the new path. Refused handshakes have no span, so nothing can be said of them.
#[test]
fn spans_alone_show_the_new_path() {
    let (quiet, attack) = quiet_minute_then_attack();
    let mut run = learned(&quiet.frames_of(SignalKind::Traces));
    run.feed(&attack.frames_of(SignalKind::Traces)).finish();
    assert!(run.kinds().contains(&FindingKind::NewEdge), "{:?}", run.kinds());
    assert!(!run.kinds().contains(&FindingKind::HandshakeRejected));
}

/// Guarantees: a claim in a refused handshake is evidence, and neither a source nor a suspect.
#[test]
fn a_claim_blames_nobody() {
    let (quiet, attack) = quiet_minute_then_attack();
    let mut run = learned(&quiet.frames());
    run.feed(&attack.frames()).finish();
    let refused =
        run.findings().into_iter().find(|finding| finding.kind == FindingKind::HandshakeRejected).unwrap();
    assert!(refused.claimed_principal.ends_with("/sa/cart"));
    assert!(refused.edge.source.principal.is_empty() && refused.edge.source.workload.is_empty());
    assert!(run.incidents().iter().all(|i| i.suspects.iter().all(|suspect| suspect.workload != "cart")));
}

/// Scenario: our clock is an hour ahead of the senders'.
/// Guarantees: the same findings; nothing is late.
#[test]
fn a_clock_that_is_ahead_of_the_senders_changes_nothing() {
    let (quiet, attack) = quiet_minute_then_attack();
    let ahead = |frames: Vec<RawFrame>| -> Vec<RawFrame> {
        let later = |observed: ObservedTime| observed.after(Duration::from_secs(3_600));
        frames.into_iter().map(|frame| RawFrame { observed: later(frame.observed), ..frame }).collect()
    };
    let mut run = learned(&quiet.frames());
    run.feed(&attack.frames()).finish();
    let mut skewed = learned(&ahead(quiet.frames()));
    skewed.feed(&ahead(attack.frames())).finish();
    let told = |run: &Run| {
        run.findings().iter().map(|finding| (finding.id.clone(), finding.detected)).collect::<Vec<_>>()
    };
    assert_eq!(told(&run), told(&skewed));
    assert_eq!(skewed.pipeline.stats().ledger.count(SignalKind::Logs, Fate::Late), 0);
}

/// Scenario: an attack, then no record at all for ten minutes, while the clock goes on.
/// Guarantees: open calls and windows close, and the incident is resolved, without any record.
#[test]
fn a_silent_stream_closes_its_windows_and_resolves_its_incidents() {
    let (quiet, attack) = quiet_minute_then_attack();
    let mut run = learned(&quiet.frames());
    let frames = attack.frames();
    run.feed(&frames);
    let mut now = SteadyTime::recorded(frames.last().unwrap().observed);
    for _ in 0..600 {
        now = now.after(Duration::from_secs(1));
        run.pipeline.advance_clock(now, &mut run.effects);
    }
    assert!(!run.incidents().is_empty());
    assert!(run.incidents().iter().all(|incident| incident.status == IncidentStatus::Resolved));
    assert_eq!(run.pipeline.stats().ledger.count(SignalKind::Logs, Fate::Open), 0);
}

/// Scenario: the mesh is quiet for twenty seconds, in which our wall clock is set an hour forward, or an hour back.
/// Guarantees: what comes after is not late, is joined, and is judged within seconds; that the clock was set is counted.
#[test]
fn setting_our_wall_clock_while_the_mesh_is_quiet_makes_nothing_late() {
    let hour = Duration::from_secs(3_600);
    let (quiet, attack) = quiet_minute_then_attack();
    let frames = attack.frames();
    let mut before = Traffic::seeded(9);
    before.wait(quiet.now().since(before.now()) + Duration::from_secs(20));
    before.repeat(40, "web -> cart -> ledger");
    let forward = |at: ObservedTime| at.after(hour);
    let back = |at: ObservedTime| at.before(hour);
    let sets: [(&dyn Fn(ObservedTime) -> ObservedTime, _); 2] = [(&forward, [1, 0]), (&back, [0, 1])];
    for (set, steps) in sets {
        let mut run = learned(&quiet.frames());
        run.feed(&before.frames()).feed_by(&frames, set);
        let late_after = Duration::from_secs(15);
        run.pipeline.advance_clock(
            SteadyTime::recorded(frames.last().unwrap().observed).after(late_after),
            &mut run.effects,
        );
        let stats = run.pipeline.stats();
        assert_eq!(stats.ledger.count(SignalKind::Logs, Fate::Late), 0);
        assert_eq!([stats.clock_steps.forward, stats.clock_steps.back], steps, "it was set, once");
        assert_eq!(stats.calls_client_only + stats.calls_external, 0);
        assert!(run.kinds().contains(&FindingKind::NewEdge), "{:?}", run.kinds());
        let delays = run.findings().into_iter().map(|finding| finding.detected.since(finding.onset));
        assert!(delays.max().unwrap() < Duration::from_secs(20));
    }
}

/// Scenario: a minute of traffic is judged, then an hour passes between two captures.
/// Guarantees: the gap is no silence: nothing is found, nothing is late, and the fates add up.
#[test]
fn a_gap_between_captures_is_not_silence() {
    let mut quiet = Traffic::seeded(7);
    quiet.repeat(120, "web -> cart -> ledger");
    let mut later = Traffic::seeded(9);
    later.wait(quiet.now().since(later.now()) + Duration::from_secs(3_600));
    later.repeat(120, "web -> cart -> ledger");
    let mut run = learned(&quiet.frames());
    run.feed(&later.frames()).finish();
    assert!(run.findings().is_empty(), "{:?}", run.kinds());
    let stats = run.pipeline.stats();
    assert!(stats.ledger.balanced());
    assert_eq!(stats.ledger.count(SignalKind::Logs, Fate::Late), 0);
    assert_eq!(stats.calls_server_only + stats.calls_client_only, 0);
}

/// Scenario: a burst of calls that fills the join many times over, and more edges than a tick counts apart.
/// Guarantees: the same records are evicted, and the same is found, for any number of shards.
#[test]
fn what_overload_costs_does_not_depend_on_the_number_of_shards() {
    let mut burst = Traffic::seeded(11);
    burst.repeat(20, "web -> cart -> ledger");
    for number in 0..3_000 {
        burst.send(Request::along(&format!("web -> cart{} -> ledger", number % 40)));
        burst.send(Request::along(&format!("web -> host{}.example", number % 300)).asking("POST", "/drop"));
        burst.wait(Duration::from_millis(1));
    }
    burst.send(Request::along("? -> ledger").plaintext());
    burst.wait(Duration::from_secs(20));
    burst.repeat(20, "web -> cart -> ledger");
    let frames = burst.frames();
    let run = |shards| {
        let mut config = EngineConfig { shards, window_entries_max: 150, ..EngineConfig::default() };
        (config.join.open_bytes_max, config.join.tick_edges_max) = (256 << 10, 100);
        let pipeline = Pipeline::new(&config, RuleSet::shipped());
        let mut run = Run { pipeline, effects: Vec::new() };
        run.feed(&frames).finish();
        run
    };
    let told = |run: &Run| format!("{:?} {:?}", run.effects, run.pipeline.stats());
    let alone = run(1);
    let stats = alone.pipeline.stats();
    assert!(stats.ledger.balanced());
    assert!(stats.ledger.count(SignalKind::Logs, Fate::Evicted) > 1_000, "{stats:?}");
    assert!(stats.calls_pooled > 100, "{stats:?}");
    assert!(alone.kinds().contains(&FindingKind::Cardinality) || !alone.findings().is_empty());
    for shards in [2, 3, 8] {
        assert!(told(&run(shards)) == told(&alone), "{shards} shards");
    }
}

/// Scenario: names flood the symbol table, in the same records cut into other batches.
/// Guarantees: it is told at the same tick with the same count.
#[test]
fn when_names_find_no_room_does_not_depend_on_where_batches_are_cut() {
    let mut flood = Traffic::seeded(12);
    flood.repeat(20, "web -> cart");
    for number in 0..1_000 {
        flood.send(Request::along(&format!("web -> host{number}.example")));
        flood.wait(Duration::from_millis(7));
    }
    let run = |frames: &[RawFrame]| {
        let config = EngineConfig { symbol_bytes_max: 12 << 10, ..EngineConfig::default() };
        let pipeline = Pipeline::new(&config, RuleSet::shipped());
        let mut run = Run { pipeline, effects: Vec::new() };
        run.feed(frames).finish();
        (format!("{:?}", run.findings()), run.pipeline.stats().symbols_overflowed)
    };
    let frames = flood.frames();
    let (told, pooled) = run(&frames);
    assert!(told.contains("records_with_pooled_names") && pooled > 500, "{pooled} {told}");
    for seed in [1, 17, 4_711] {
        assert!(run(&recut(&frames, seed)) == (told.clone(), pooled), "recut with seed {seed}");
    }
}
