//! The planner over what the engine really keeps: baselines, recent traffic and symbols.

mod common;

use std::time::Duration;

use common::{ONSET, at, calm, end, finding, incident, now, principal, refs};
use selvedge_learn::{Baselines, LearnConfig, Provenance};
use selvedge_model::{
    CallShape, EdgeKey, EdgeWindow, FindingKind as K, IdentitySource, Node, Security, ShapeStats, Symbol,
    SymbolTable, Window,
};
use selvedge_policy::{
    Decision, Knowledge, Learned, Ledger, PolicyConfig, PolicyMode, Recent, RecentConfig, Scope, known,
    respond,
};

fn node(symbols: &mut SymbolTable, name: &str) -> Node {
    let (namespace, workload) = name.split_once('/').expect("namespace and name");
    Node { cluster: Symbol::NONE, namespace: symbols.intern(namespace), workload: symbols.intern(workload) }
}

/// An hour in which the courier and the scribe call the ledger, window by window, as the engine learns it.
fn hour(symbols: &mut SymbolTable) -> (Baselines, Recent) {
    let mut baselines =
        Baselines::new(LearnConfig { warm_after: Duration::from_mins(5), ..LearnConfig::default() });
    let mut recent = Recent::new(RecentConfig::default());
    let ledger = node(symbols, "store/ledger");
    for second in (0..ONSET).step_by(10) {
        let window = Window { start: at(second), end: at(second + 10) };
        for (name, calls) in [("yard/courier", 1), ("store/scribe", 40)] {
            let (namespace, account) = name.split_once('/').expect("namespace and name");
            let shape = CallShape {
                status: 200,
                method: symbols.intern("GET"),
                route: symbols.intern("/entries"),
                source_principal: symbols.intern(&principal(namespace, account)),
                source_identity: IdentitySource::MtlsCertificate,
                security: Security::MutualTls,
                ..CallShape::default()
            };
            let mut edge = EdgeWindow::default();
            let stats =
                ShapeStats { calls, first: at(second + 1), last: at(second + 2), ..ShapeStats::default() };
            edge.shapes.insert(shape, stats);
            let key = EdgeKey { source: node(symbols, name), destination: ledger, external: false };
            recent.learn(window, &key, &edge, &|shape| known(&baselines, &key, shape));
            baselines.learn(window, key, &edge, &|_| false, Provenance::Learned, symbols);
        }
        baselines.finish_window(window);
    }
    (baselines, recent)
}

#[test]
fn what_was_learned_answers_every_question_of_the_planner() {
    let mut symbols = SymbolTable::new(1 << 20);
    let (baselines, recent) = hour(&mut symbols);
    let learned = Learned { symbols: &symbols, baselines: &baselines, recent: &recent };
    assert!(baselines.mesh().warm());
    let holders = learned.holders(&principal("yard", "courier"));
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0].label(), "yard/courier");
    assert!(learned.holders("spiffe://never.seen/x").is_empty() && learned.holders("").is_empty());
    let rows = learned.traffic(&Scope { callees: vec![end("store/ledger")], callers: Vec::new() }, at(ONSET));
    let normal: u64 = rows.iter().filter(|row| row.normal).map(|row| row.calls).sum();
    assert_eq!(normal, 41 * 359, "all but those of the very first window");
    assert_eq!(learned.span(), Some((0, ONSET)));
}

/// Scenario: after an hour of learning an intruder comes to the ledger.
/// Guarantees: it is cut, the backtest covers the hour, and nobody normal is hurt; the courier, who is normal there, is
/// not cut on the same evidence.
#[test]
fn an_intruder_is_cut_on_what_the_engine_keeps_and_a_normal_caller_is_not() {
    let mut symbols = SymbolTable::new(1 << 20);
    let (baselines, recent) = hour(&mut symbols);
    let learned = Learned { symbols: &symbols, baselines: &baselines, recent: &recent };
    let config = PolicyConfig { mode: PolicyMode::Enforce, ..PolicyConfig::default() };
    for (who, cut) in [("yard/intruder", true), ("yard/courier", false)] {
        let deeds =
            [finding(K::NewEdge, who, "store/ledger"), finding(K::BoundaryViolation, who, "store/ledger")];
        let mut ledger = Ledger::new();
        let told =
            respond(&mut ledger, &incident(&deeds), &refs(&deeds), &learned, &config, &calm(), now(ONSET));
        assert_eq!(matches!(told.answers[0].decision, Decision::Enforce(_)), cut, "{told:#?}");
        let trial = &told.answers[0].candidate.as_ref().unwrap().trial;
        assert_eq!(trial.backtest.considered, 41 * 360);
        assert_eq!((trial.backtest.from_seconds, trial.backtest.until_seconds), (0, ONSET));
        assert_eq!(trial.backtest.denied_normal, if cut { 0 } else { 359 });
    }
}
