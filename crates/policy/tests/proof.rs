//! What telemetry says after a push.

mod common;

use common::{SECOND, at, end, finding, incident, principal, refs};
use selvedge_model::{
    CallShape, Caller, Cut, EdgeKey, EdgeWindow, EventTime, Exemplar, FindingKind as K, IdentitySource, Node,
    Operation, Place, Quarantine, QuarantineState, Reported, Security, ShapeStats, Symbol, SymbolTable,
};
use selvedge_policy::{Ledger, PolicyConfig, PolicyMode, Proof, ProofConfig, Verdict, respond};

const PUSHED: u64 = 10_000;

struct Bench {
    symbols: SymbolTable,
    proof: Proof,
    id: String,
    config: ProofConfig,
    usual: (u64, u64),
}

fn quarantine() -> Quarantine {
    let deeds = [
        finding(K::NewEdge, "yard/intruder", "store/ledger"),
        finding(K::BoundaryViolation, "yard/intruder", "store/ledger"),
    ];
    let mut ledger = Ledger::new();
    let config = PolicyConfig { mode: PolicyMode::Enforce, ..PolicyConfig::default() };
    let known = common::Known::mesh();
    respond(&mut ledger, &incident(&deeds), &refs(&deeds), &known, &config, &common::calm(), common::now(0));
    ledger.quarantines().next().expect("it was decided").clone()
}

/// A cut of `paste.example` at a workload's own proxy.
fn way_out(workload: &str) -> Cut {
    Cut {
        place: Place::Outbound,
        workload: end(workload),
        caller: Caller::Local,
        hosts: vec!["paste.example".to_owned()],
        operations: Vec::new(),
    }
}

impl Bench {
    fn new() -> Self {
        Self::of(&quarantine())
    }

    fn of(quarantine: &Quarantine) -> Self {
        Self {
            symbols: SymbolTable::new(1 << 20),
            proof: Proof::new(quarantine, at(PUSHED)),
            id: quarantine.id.clone(),
            config: ProofConfig::default(),
            usual: (1_000, 5),
        }
    }

    fn taken(mut self) -> Self {
        self.proof.acknowledged(at(PUSHED + 1));
        self
    }

    fn node(&mut self, name: &str) -> Node {
        let (namespace, workload) = name.split_once('/').unwrap_or(("", name));
        Node {
            cluster: Symbol::NONE,
            namespace: self.symbols.intern(namespace),
            workload: self.symbols.intern(workload),
        }
    }

    /// Calls of `source` to the ledger that begin at `second`.
    fn calls(&mut self, source: &str, status: u16, denied_by: &str, calls: u64, second: u64) {
        let shape = self.shape(source, status, denied_by);
        self.see(source, "store/ledger", shape, calls, second);
    }

    fn shape(&mut self, source: &str, status: u16, denied_by: &str) -> CallShape {
        let (namespace, account) = source.split_once('/').expect("namespace and name");
        CallShape {
            status,
            method: self.symbols.intern("GET"),
            route: self.symbols.intern("/entries"),
            source_principal: self.symbols.intern(&principal(namespace, account)),
            source_identity: IdentitySource::MtlsCertificate,
            security: Security::MutualTls,
            denied_by: self.symbols.intern(denied_by),
            ..CallShape::default()
        }
    }

    /// Calls of one shape from `source` to `destination`, outside the mesh when that is a bare host.
    fn see(&mut self, source: &str, destination: &str, shape: CallShape, calls: u64, second: u64) {
        let first = EventTime(second * SECOND);
        let kept =
            (0..calls.min(4)).map(|n| Exemplar { start: EventTime(first.0 + n), ..Exemplar::default() });
        let stats = ShapeStats {
            calls,
            first,
            last: EventTime(first.0 + SECOND),
            exemplars: kept.collect(),
            ..ShapeStats::default()
        };
        let mut edge = EdgeWindow::default();
        edge.shapes.insert(shape, stats);
        let key = EdgeKey {
            source: self.node(source),
            destination: self.node(destination),
            external: !destination.contains('/'),
        };
        let usual = self.usual;
        self.proof.observe(&key, &edge, &|_| usual, &self.config, &self.symbols);
    }

    fn denied(&mut self, source: &str, calls: u64, second: u64) {
        let id = self.id.clone();
        self.calls(source, 403, &id, calls, second);
    }

    /// A call of a workload that goes by the cut principal.
    fn survivor(&mut self, source: &str, second: u64) {
        let shape = self.shape("yard/intruder", 200, "");
        self.see(source, "store/ledger", shape, 1, second);
    }

    fn judge(&self, second: u64) -> Verdict {
        self.proof.judge(at(second), &self.config)
    }
}

#[test]
fn denials_under_its_name_prove_it_once_every_proxy_has_it() {
    let mut bench = Bench::new();
    bench.denied("yard/intruder", 3, PUSHED + 1);
    assert_eq!(bench.judge(PUSHED + 5), Verdict::Open);
    bench.proof.acknowledged(at(PUSHED + 6));
    assert_eq!(bench.judge(PUSHED + 7), Verdict::Effective);
    assert_eq!((bench.proof.denied(), bench.proof.survivors()), (3, 0));
}

#[test]
fn a_policy_name_with_its_namespace_is_the_same_name() {
    let mut bench = Bench::new().taken();
    let name = format!("store/{}", bench.id);
    bench.calls("yard/intruder", 403, &name, 2, PUSHED + 4);
    assert_eq!(bench.judge(PUSHED + 5), Verdict::Effective);
}

#[test]
fn without_an_attempt_nothing_is_proven_and_nothing_is_wrong() {
    assert_eq!(Bench::new().taken().judge(PUSHED + 3_600), Verdict::Open);
}

#[test]
fn a_push_that_is_not_taken_in_time_is_ineffective() {
    let bench = Bench::new();
    assert_eq!(bench.judge(PUSHED + 30), Verdict::Open);
    assert!(matches!(bench.judge(PUSHED + 31), Verdict::Ineffective(why) if why.contains("within 30 s")));
    assert_eq!(bench.taken().judge(PUSHED + 31), Verdict::Open);
}

#[test]
fn a_request_under_way_is_no_survivor_and_a_later_one_is() {
    let mut bench = Bench::new().taken();
    bench.denied("yard/intruder", 1, PUSHED + 4);
    bench.calls("yard/intruder", 200, "", 1, PUSHED - 5);
    bench.calls("yard/intruder", 200, "", 1, PUSHED + 2);
    assert_eq!(bench.judge(PUSHED + 10), Verdict::Effective);
    bench.calls("yard/intruder", 200, "", 2, PUSHED + 9);
    let Verdict::Ineffective(why) = bench.judge(PUSHED + 10) else {
        panic!("{:?}", bench.judge(PUSHED + 10))
    };
    assert_eq!(why, "calls got through, the first yard/intruder -> store/ledger GET /entries");
    assert_eq!(bench.judge(PUSHED + 80), Verdict::Effective, "none for a minute");
}

/// Guarantees: however many calls get through and in whatever order they are seen, the same is said, so that nothing is
/// stored and told again.
#[test]
fn of_many_survivors_and_of_many_wronged_the_first_is_named() {
    let said = |order: [&str; 3], wronged: bool| {
        let mut bench = Bench::new().taken();
        for name in order {
            if wronged {
                bench.denied(name, 3, PUSHED + 9);
            } else {
                bench.survivor(name, PUSHED + 9);
            }
        }
        let first = bench.judge(PUSHED + 10);
        bench.survivor("yard/aardvark", PUSHED + 12);
        assert!(wronged || bench.judge(PUSHED + 13) == first, "one more survivor says nothing new");
        first
    };
    for wronged in [false, true] {
        let first = said(["yard/courier", "store/scribe", "yard/zebra"], wronged);
        assert_eq!(first, said(["yard/zebra", "store/scribe", "yard/courier"], wronged));
        let (Verdict::Ineffective(why) | Verdict::Harm(why)) = first else { panic!("{first:?}") };
        assert!(why.contains("store/scribe"), "{why}");
    }
}

#[test]
fn what_another_policy_or_the_network_stopped_did_not_get_through() {
    let mut bench = Bench::new().taken();
    bench.calls("yard/intruder", 403, "store/deny-all", 5, PUSHED + 9);
    bench.calls("yard/intruder", 503, "", 5, PUSHED + 9);
    bench.calls("yard/intruder", 401, "", 5, PUSHED + 9);
    assert_eq!(bench.judge(PUSHED + 10), Verdict::Open);
    bench.calls("yard/intruder", 404, "", 1, PUSHED + 9);
    assert!(matches!(bench.judge(PUSHED + 10), Verdict::Ineffective(_)), "the workload itself answered");
}

#[test]
fn denying_what_it_does_not_match_is_harm() {
    let mut bench = Bench::new().taken();
    bench.denied("yard/intruder", 9, PUSHED + 4);
    bench.denied("store/scribe", 2, PUSHED + 5);
    assert_eq!(bench.judge(PUSHED + 6), Verdict::Effective);
    bench.denied("store/scribe", 1, PUSHED + 6);
    let Verdict::Harm(why) = bench.judge(PUSHED + 7) else { panic!("no harm") };
    assert!(why.contains("3 calls") && why.contains("store/scribe"), "{why}");
}

/// Scenario: callers report by themselves that the quarantine denied them, at its workload and elsewhere.
/// Guarantees: only the word of the proxy that has the quarantine counts, for harm and for effect.
#[test]
fn denials_by_the_callers_own_word_prove_nothing() {
    let mut bench = Bench::new().taken();
    let id = bench.id.clone();
    for name in ["yard/accomplice", "yard/intruder"] {
        let claimed = CallShape { reported: Reported::ClientOnly, ..bench.shape(name, 403, &id) };
        bench.see(name, "store/ledger", claimed, 9, PUSHED + 4);
        let elsewhere = bench.shape(name, 403, &id);
        bench.see(name, "store/cart", elsewhere, 9, PUSHED + 4);
        bench.see("store/ledger", "store/cart", elsewhere, 9, PUSHED + 4);
    }
    assert_eq!((bench.judge(PUSHED + 5), bench.proof.denied()), (Verdict::Open, 0));
}

#[test]
fn what_a_workload_says_of_its_own_way_out_proves_effect_and_never_harm() {
    let quarantine = Quarantine { cuts: vec![way_out("yard/queue")], ..quarantine() };
    let mut bench = Bench::of(&quarantine).taken();
    let id = bench.id.clone();
    let own = |reported, bench: &mut Bench| CallShape { reported, ..bench.shape("yard/queue", 403, &id) };
    let (by_caller, by_callee) =
        (own(Reported::ClientOnly, &mut bench), own(Reported::ServerOnly, &mut bench));
    bench.see("yard/queue", "other.example", by_caller, 9, PUSHED + 4);
    bench.see("yard/queue", "paste.example", by_callee, 9, PUSHED + 4);
    bench.see("yard/courier", "paste.example", by_caller, 9, PUSHED + 4);
    assert_eq!(bench.judge(PUSHED + 5), Verdict::Open);
    bench.see("yard/queue", "paste.example", by_caller, 2, PUSHED + 4);
    assert_eq!((bench.judge(PUSHED + 5), bench.proof.denied()), (Verdict::Effective, 2));
}

#[test]
fn errors_of_untouched_callers_are_harm_when_chance_does_not_explain_them() {
    let mut bench = Bench::new().taken();
    bench.denied("yard/intruder", 1, PUSHED + 4);
    bench.calls("store/scribe", 200, "", 97, PUSHED + 5);
    bench.calls("store/scribe", 500, "", 3, PUSHED + 5);
    assert_eq!(bench.judge(PUSHED + 6), Verdict::Effective, "three of a hundred");
    bench.calls("store/scribe", 500, "", 40, PUSHED + 6);
    bench.calls("yard/courier", 500, "", 30, PUSHED + 6);
    let Verdict::Harm(why) = bench.judge(PUSHED + 7) else { panic!("no harm") };
    assert!(why.contains("store/scribe -> store/ledger 43 of 140"), "{why}");
}

/// Guarantees: an accomplice that fails its own calls cannot have the quarantine lifted while others are well.
#[test]
fn one_failing_caller_among_several_is_no_harm() {
    let mut bench = Bench::new().taken();
    bench.denied("yard/intruder", 1, PUSHED + 4);
    bench.calls("store/scribe", 200, "", 100, PUSHED + 5);
    bench.calls("yard/accomplice", 500, "", 100, PUSHED + 5);
    assert_eq!(bench.judge(PUSHED + 6), Verdict::Effective);
    bench.calls("yard/courier", 500, "", 100, PUSHED + 5);
    assert!(matches!(bench.judge(PUSHED + 6), Verdict::Harm(why) if why.starts_with("2 of 3 callers")));
}

#[test]
fn a_single_caller_that_can_be_judged_proves_no_harm() {
    let mut bench = Bench::new().taken();
    bench.calls("store/scribe", 500, "", 100, PUSHED + 5);
    assert_eq!(bench.judge(PUSHED + 6), Verdict::Open);
    bench.calls("yard/courier", 500, "", 100, PUSHED + 5);
    assert!(matches!(bench.judge(PUSHED + 6), Verdict::Harm(_)));
}

/// Scenario: the caller is cut from one request only, and provokes errors of others; so does one accomplice.
/// Guarantees: what the cut caller does is no harm to those that are not cut.
#[test]
fn whom_it_cuts_is_no_untouched_caller() {
    let mut narrow = quarantine();
    for cut in &mut narrow.cuts {
        cut.operations = vec![Operation { method: "GET".to_owned(), route: "/export".to_owned() }];
    }
    let mut bench = Bench::of(&narrow).taken();
    bench.calls("store/scribe", 200, "", 100, PUSHED + 5);
    bench.calls("yard/intruder", 500, "", 100, PUSHED + 5);
    bench.calls("yard/accomplice", 500, "", 100, PUSHED + 5);
    assert_eq!(bench.judge(PUSHED + 6), Verdict::Open);

    // The same at the caller's own way out.
    let mut leaving = quarantine();
    leaving.cuts.push(way_out("yard/queue"));
    let mut bench = Bench::of(&leaving).taken();
    bench.calls("store/scribe", 200, "", 100, PUSHED + 5);
    bench.calls("yard/queue", 500, "", 100, PUSHED + 5);
    bench.calls("yard/accomplice", 500, "", 100, PUSHED + 5);
    assert_eq!(bench.judge(PUSHED + 6), Verdict::Open);
}

/// Scenario: a dry run, under whose name proxies report what they would deny; the calls themselves get through.
/// Guarantees: it is open, however many it would deny and let through, until it would deny what it does not match.
#[test]
fn a_dry_run_is_judged_by_what_it_would_deny() {
    let mut bench = Bench::of(&Quarantine { state: QuarantineState::Shadow, ..quarantine() }).taken();
    let (id, would) = (bench.id.clone(), format!("store/{}", bench.id));
    let would_be = |bench: &mut Bench, source: &str, calls, second| {
        let shadow_denied_by = bench.symbols.intern(&would);
        let shape = CallShape { shadow_denied_by, ..bench.shape(source, 200, "") };
        bench.see(source, "store/ledger", shape, calls, second);
    };
    would_be(&mut bench, "yard/intruder", 9, PUSHED + 9);
    bench.calls("yard/intruder", 200, "", 9, PUSHED + 9);
    assert_eq!(bench.judge(PUSHED + 10), Verdict::Open);
    assert_eq!((bench.proof.denied(), bench.proof.survivors()), (9, 0));
    bench.calls("store/scribe", 403, &id, 9, PUSHED + 10);
    would_be(&mut bench, "store/scribe", 2, PUSHED + 10);
    assert_eq!(bench.judge(PUSHED + 11), Verdict::Open);
    would_be(&mut bench, "store/scribe", 1, PUSHED + 11);
    assert!(
        matches!(bench.judge(PUSHED + 12), Verdict::Harm(why) if why.contains("would have denied 3 calls"))
    );
}

#[test]
fn callers_without_a_past_or_long_after_the_push_say_nothing() {
    let mut stranger = Bench { usual: (3, 0), ..Bench::new().taken() };
    stranger.calls("store/scribe", 500, "", 100, PUSHED + 5);
    stranger.calls("yard/courier", 500, "", 100, PUSHED + 5);
    assert_eq!(stranger.judge(PUSHED + 6), Verdict::Open);
    let mut late = Bench::new().taken();
    for name in ["store/scribe", "yard/courier"] {
        late.calls(name, 500, "", 100, PUSHED + 301);
        late.calls(name, 500, "", 100, PUSHED - 1);
    }
    assert_eq!(late.judge(PUSHED + 302), Verdict::Open);
    let mut always = Bench { usual: (1_000, 400), ..Bench::new().taken() };
    for name in ["store/scribe", "yard/courier"] {
        always.calls(name, 500, "", 45, PUSHED + 5);
        always.calls(name, 200, "", 55, PUSHED + 5);
    }
    assert_eq!(always.judge(PUSHED + 6), Verdict::Open, "it failed as much before");
    assert_eq!(end("store/scribe").workload, "scribe");
}
