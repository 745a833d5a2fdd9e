//! Dry runs that become enforced by themselves.

mod common;

use std::time::Duration;

use common::{Known, calm, finding, incident, now, refs};
use selvedge_model::{FindingKind as K, QuarantineState as S};
use selvedge_policy::{Change, Ledger, PolicyConfig, PolicyMode, respond};

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
