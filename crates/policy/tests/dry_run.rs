//! Dry runs that become enforced by themselves.

mod common;

use std::time::Duration;

use common::{Known, calm, finding, incident, now, refs};
use selvedge_model::{FindingKind as K, Progress, QuarantineState as S};
use selvedge_policy::{Change, Ledger, PolicyConfig, PolicyMode, Proof, ProofConfig, Verdict, respond};

/// A ledger with one dry run, granted at second 0, and its id.
fn begun(config: &PolicyConfig) -> (Ledger, String) {
    let mut ledger = Ledger::new();
    let deeds = [K::NewEdge, K::BoundaryViolation].map(|kind| finding(kind, "yard/intruder", "store/ledger"));
    respond(&mut ledger, &incident(&deeds), &refs(&deeds), &Known::mesh(), config, &calm(), now(0));
    let one = ledger.quarantines().next().expect("it was decided").clone();
    assert_eq!(one.state, S::Shadow);
    (ledger, one.id)
}

fn for_five_minutes() -> PolicyConfig {
    let shadow_for = Duration::from_mins(5);
    PolicyConfig { mode: PolicyMode::Enforce, shadow_for, ..PolicyConfig::default() }
}

fn changes(ledger: &mut Ledger, config: &PolicyConfig, second: u64) -> Vec<Change> {
    ledger.advance(config, now(second)).iter().map(|event| event.change).collect()
}

#[test]
fn a_dry_run_as_long_as_its_lease_becomes_enforced_and_does_not_end() {
    let config = PolicyConfig { ttl: Duration::from_mins(5), ..for_five_minutes() };
    let (mut ledger, id) = begun(&config);
    assert_eq!(changes(&mut ledger, &config, 299), []);
    assert_eq!(changes(&mut ledger, &config, 300), [Change::Enforced]);
    assert_eq!(ledger.get(&id).unwrap().state, S::Enforced);
    assert_eq!(changes(&mut ledger, &config, 600), [Change::Expired]);
}

#[test]
fn under_the_kill_switch_a_dry_run_is_not_enforced_and_ends_with_its_lease() {
    let config = PolicyConfig { ttl: Duration::from_mins(5), kill_switch: true, ..for_five_minutes() };
    let (mut ledger, _) = begun(&PolicyConfig { kill_switch: false, ..config.clone() });
    assert_eq!(changes(&mut ledger, &config, 300), [Change::Expired]);
}

type Fail = fn(&mut Ledger, &str);

fn late(ledger: &mut Ledger, id: &str, why: &str) {
    ledger.judged(id, Progress::Ineffective(why.to_owned()), now(40));
}

/// Scenario: a proxy refuses the dry run, or is late, and later all have taken it.
/// Guarantees: then it may become enforced; what telemetry says against it no acknowledgement takes back.
#[test]
fn a_refusal_that_is_taken_back_does_not_keep_a_dry_run_from_being_enforced() {
    let config = for_five_minutes();
    let ineffective: [(Fail, bool); 4] = [
        (|ledger, id| drop(ledger.rejected(id, "sidecar-1", "no such field", now(10))), true),
        (|ledger, id| late(ledger, id, &not_taken()), true),
        (|ledger, id| late(ledger, id, "calls got through"), false),
        (
            |ledger, id| {
                ledger.rejected(id, "sidecar-1", "no such field", now(10));
                late(ledger, id, "calls got through");
            },
            false,
        ),
    ];
    for (number, (fail, enforced)) in ineffective.iter().enumerate() {
        let (mut ledger, id) = begun(&config);
        ledger.pushed(&id, now(1));
        fail(&mut ledger, &id);
        assert_eq!(ledger.acknowledged(&id, 2, 1, now(50)), [], "one is missing");
        assert_eq!(changes(&mut ledger, &config, 60), []);
        let told = ledger.acknowledged(&id, 2, 2, now(70));
        assert_eq!(told.iter().any(|event| event.change == Change::Acknowledged), *enforced, "{number}");
        assert_eq!(changes(&mut ledger, &config, 300) == [Change::Enforced], *enforced, "{number}");
    }
}

/// What the proof says of a push that nobody acknowledged.
fn not_taken() -> String {
    let (ledger, id) = begun(&for_five_minutes());
    let proof = Proof::new(ledger.get(&id).expect("it stands"), common::at(0));
    let Verdict::Ineffective(why) = proof.judge(common::at(60), &ProofConfig::default()) else {
        panic!("nobody has taken it")
    };
    why
}
