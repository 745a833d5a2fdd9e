//! What renews a lease: evidence that was never seen before, however much there is.

mod common;

use common::{Known, calm, finding, incident, now, refs, with};
use selvedge_model::{Finding, FindingKind as K};
use selvedge_policy::{Change, Ledger, PolicyConfig, PolicyMode, respond};

/// In the second half of a lease.
const LATE: u64 = 1_000;

fn deeds(count: usize) -> Vec<Finding> {
    let kinds = [K::NewEdge, K::BoundaryViolation];
    let deed = |at: usize| {
        with(finding(kinds[at % 2], "yard/intruder", "store/ledger"), |finding| {
            finding.id = format!("f{at:05}");
        })
    };
    (0..count).map(deed).collect()
}

/// What becomes of a lease that was granted on so many findings when `later` ones are there in its second half.
fn renewed(first: usize, later: usize) -> bool {
    let config = PolicyConfig { mode: PolicyMode::Enforce, ..PolicyConfig::default() };
    let mut ledger = Ledger::new();
    let mut told = |findings: &[Finding], second| {
        let (incident, findings) = (incident(findings), refs(findings));
        respond(&mut ledger, &incident, &findings, &Known::mesh(), &config, &calm(), now(second)).events
    };
    assert_eq!(told(&deeds(first), 0)[0].change, Change::Enforced);
    // Early evidence is kept and renews nothing.
    assert!(told(&deeds(first), 10).is_empty());
    told(&deeds(later), LATE).iter().any(|event| event.change == Change::Renewed)
}

#[test]
fn known_evidence_renews_nothing_and_new_evidence_does_however_much_is_known() {
    for known in [10, 100, 128, 600] {
        assert!(!renewed(known, known), "{known} that are known");
        assert!(renewed(known, known + 1), "one more than {known}");
    }
}

#[test]
fn past_its_bound_no_evidence_counts_as_new() {
    assert!(renewed(1_023, 1_024));
    assert!(!renewed(1_024, 2_000));
}
