//! What a decision costs: a day of traffic is long, and the same is not asked for twice.

mod common;

use std::cell::RefCell;
use std::collections::BTreeMap;

use common::{Known, ONSET, calm, finding, incident, now, plaintext, refs, row, row_with, unproven, with};
use selvedge_model::{Endpoint, EventTime, Finding, FindingKind as K, Severity};
use selvedge_policy::{
    Answer, Decision, Knowledge, Ledger, PolicyConfig, PolicyMode, Scope, TrafficRow, respond,
};

/// Counts the questions about traffic.
struct Counting {
    known: Known,
    asked: RefCell<BTreeMap<(Scope, EventTime), usize>>,
}

impl Knowledge for Counting {
    fn holders(&self, principal: &str) -> Vec<Endpoint> {
        self.known.holders(principal)
    }

    fn traffic(&self, scope: &Scope, onset: EventTime) -> Vec<TrafficRow> {
        *self.asked.borrow_mut().entry((scope.clone(), onset)).or_default() += 1;
        self.known.traffic(scope, onset)
    }

    fn span(&self) -> Option<(u64, u64)> {
        self.known.span()
    }
}

/// Scenario: an intruder comes with its identity and without one, and a scan of it is found again and again; the first
/// answer changes what stands, so that the rest is planned anew.
/// Guarantees: no question about traffic is asked twice, and findings of one minute ask the same one.
#[test]
fn the_same_traffic_is_asked_for_once_in_a_decision() {
    let scan = |nth: u64| {
        with(finding(K::PathScan, "yard/intruder", "store/ledger"), |finding| {
            finding.id = format!("scan-{nth}");
            finding.onset = EventTime(finding.onset.0 + nth);
        })
    };
    let mut findings: Vec<Finding> = (0..40).map(scan).collect();
    findings.extend([
        finding(K::NewEdge, "yard/intruder", "store/ledger"),
        finding(K::NewEdge, "yard/intruder", "store/cart"),
        unproven(K::MtlsDowngrade, "store/ledger"),
        with(unproven(K::NewRoute, "store/ledger"), |finding| finding.severity = Severity::High),
    ]);
    let mut known = Known::mesh();
    known.rows.push(plaintext("store/cart", "/metrics", 7));
    known.rows.push(row_with(row("yard/intruder", "store/ledger", "GET", "/a", 40), |row| {
        (row.minute_seconds, row.normal) = (ONSET, false);
    }));
    let counting = Counting { known, asked: RefCell::default() };
    let config = PolicyConfig { mode: PolicyMode::Enforce, ..PolicyConfig::default() };
    let mut ledger = Ledger::new();
    let told =
        respond(&mut ledger, &incident(&findings), &refs(&findings), &counting, &config, &calm(), now(0));
    let enforced = told.answers.iter().filter(|answer| matches!(answer.decision, Decision::Enforce(_)));
    assert!(enforced.count() >= 2, "{told:#?}");
    let scanned = |answer: &Answer| {
        answer.candidate.as_ref().is_some_and(|one| one.evidence.contains(&"scan-39".to_owned()))
    };
    assert!(told.answers.iter().any(scanned), "{told:#?}");
    let asked = counting.asked.into_inner();
    assert!(asked.values().all(|times| *times == 1), "{asked:#?}");
    assert!(asked.len() <= 6, "{asked:#?}");
}
