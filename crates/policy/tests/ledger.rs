//! The life of quarantines: modes, commands, leases under clocks that are set, restarts, and proposals.

mod common;

use std::time::Duration;

use common::{Known, calm, end, finding, incident, leaving, refs, with};
use proptest::prelude::*;
use selvedge_model::{
    Caller, Finding, FindingKind as K, Incident, ObservedTime, Progress, Quarantine, QuarantineState as S,
    Severity, SteadyTime,
};
use selvedge_policy::{
    Change, CommandError, Decision, Ledger, MeshState, Now, PolicyConfig, PolicyMode, QuarantineEvent,
    Refusal, Response, quarantine_id, respond,
};

const INTRUDER: &str = "yard/intruder";
const TTL: u64 = 1_800;

fn config(mode: PolicyMode) -> PolicyConfig {
    PolicyConfig { mode, ..PolicyConfig::default() }
}

/// Both clocks, in seconds.
fn clocks(steady: u64, wall: u64) -> Now {
    Now { steady: SteadyTime(steady * common::SECOND), wall: ObservedTime(wall * common::SECOND) }
}

fn now(second: u64) -> Now {
    clocks(second, 1_000_000 + second)
}

fn deeds() -> Vec<Finding> {
    vec![
        finding(K::NewEdge, INTRUDER, "store/ledger"),
        finding(K::BoundaryViolation, INTRUDER, "store/ledger"),
    ]
}

fn answer(
    ledger: &mut Ledger,
    findings: &[Finding],
    incident: &Incident,
    config: &PolicyConfig,
    now: Now,
) -> Response {
    respond(ledger, incident, &refs(findings), &Known::mesh(), config, &calm(), now)
}

/// A ledger with one quarantine, and its id.
fn with_one(config: &PolicyConfig, at: Now) -> (Ledger, String) {
    let mut ledger = Ledger::new();
    let deeds = deeds();
    answer(&mut ledger, &deeds, &incident(&deeds), config, at);
    let id = ledger.quarantines().next().expect("it was decided").id.clone();
    (ledger, id)
}

fn changes(events: &[QuarantineEvent]) -> Vec<Change> {
    events.iter().map(|event| event.change).collect()
}

#[test]
fn each_mode_goes_as_far_as_it_says() {
    for (mode, state, change) in [
        (PolicyMode::Propose, S::Proposed, Change::Proposed),
        (PolicyMode::Shadow, S::Shadow, Change::Shadowed),
        (PolicyMode::Enforce, S::Enforced, Change::Enforced),
    ] {
        let (mut ledger, deeds) = (Ledger::new(), deeds());
        let told = answer(&mut ledger, &deeds, &incident(&deeds), &config(mode), now(0));
        assert_eq!(changes(&told.events), [change]);
        let kept = ledger.quarantines().next().unwrap();
        assert_eq!((kept.state, kept.expires.is_some()), (state, state.live()));
        assert_eq!(kept.evidence.len(), 2);
        assert!(kept.backtest.considered > 0 && !kept.not_stopped.is_empty() && !kept.reason.is_empty());
    }
    let (mut ledger, deeds) = (Ledger::new(), deeds());
    let told = answer(&mut ledger, &deeds, &incident(&deeds), &config(PolicyMode::Off), now(0));
    assert!(
        matches!(&told.answers[0].decision, Decision::Refuse(why) if matches!(why[0], Refusal::Off { .. }))
    );
    assert_eq!(ledger.quarantines().count(), 0);
}

#[test]
fn the_same_decision_twice_is_one_quarantine_and_says_nothing_the_second_time() {
    let config = config(PolicyMode::Enforce);
    let (mut ledger, id) = with_one(&config, now(0));
    let deeds = deeds();
    let again = answer(&mut ledger, &deeds, &incident(&deeds), &config, now(1));
    assert_eq!(again.answers[0].decision, Decision::Standing(vec![id.clone()]));
    assert_eq!((again.events.len(), ledger.quarantines().count()), (0, 1));
    let kept = ledger.get(&id).unwrap();
    assert_eq!(quarantine_id(&kept.incident_id, &kept.cuts), id);
    let mut turned = kept.cuts.clone();
    turned.reverse();
    assert_eq!(quarantine_id(&kept.incident_id, &turned), id);
    assert_ne!(quarantine_id("incident-2", &kept.cuts), id);
    assert_eq!(id.len(), "selvedge-q-".len() + 16);
}

#[test]
fn an_incident_without_a_proven_caller_is_refused_with_the_doubt() {
    let hearsay = with(finding(K::NewEdge, INTRUDER, "store/ledger"), |finding| {
        finding.source_identity = selvedge_model::IdentitySource::Header;
    });
    let mut ledger = Ledger::new();
    let told = answer(
        &mut ledger,
        std::slice::from_ref(&hearsay),
        &incident(&[]),
        &config(PolicyMode::Enforce),
        now(0),
    );
    let Decision::Refuse(why) = &told.answers[0].decision else { panic!("{told:#?}") };
    assert!(why[0].to_string().starts_with("nobody can be cut"), "{}", why[0]);
}

#[test]
fn a_person_approves_and_lifts_and_saying_it_twice_changes_nothing() {
    let config = config(PolicyMode::Propose);
    let (mut ledger, id) = with_one(&config, now(0));
    let events = ledger.approve(&id, "ada", "seen by hand", &config, now(10)).unwrap();
    assert_eq!(events[0].why, "seen by hand");
    assert_eq!((events[0].change, events[0].who.as_str()), (Change::Enforced, "ada"));
    let kept = ledger.get(&id).unwrap();
    assert_eq!((kept.owner.as_str(), kept.expires), ("ada", Some(now(10 + TTL).wall)));
    assert_eq!(ledger.approve(&id, "ben", "", &config, now(11)).unwrap(), []);
    assert_eq!(ledger.get(&id).unwrap().owner, "ada");
    assert_eq!(changes(&ledger.lift(&id, "ben", "it was a drill", now(12)).unwrap()), [Change::Lifted]);
    assert_eq!(ledger.lift(&id, "cyd", "me too", now(13)).unwrap(), []);
    assert_eq!(ledger.get(&id).unwrap().ended, "lifted by ben: it was a drill");
    let error = ledger.approve(&id, "ada", "", &config, now(14)).unwrap_err();
    assert!(matches!(error, CommandError::Ended { .. }));
    assert!(matches!(ledger.lift("x", "ada", "", now(15)), Err(CommandError::Unknown { .. })));
}

/// Scenario: approve and lift come at the same moment, in either order.
/// Guarantees: it is lifted, once.
#[test]
fn of_two_commands_at_once_lifting_wins_in_either_order() {
    let config = config(PolicyMode::Propose);
    for lift_first in [true, false] {
        let (mut ledger, id) = with_one(&config, now(0));
        let mut events = Vec::new();
        if lift_first {
            events.extend(ledger.lift(&id, "ada", "no", now(5)).unwrap());
            assert!(ledger.approve(&id, "ben", "", &config, now(5)).is_err());
        } else {
            events.extend(ledger.approve(&id, "ben", "", &config, now(5)).unwrap());
            events.extend(ledger.lift(&id, "ada", "no", now(5)).unwrap());
        }
        assert_eq!(ledger.get(&id).unwrap().state, S::Lifted);
        assert_eq!(changes(&events).iter().filter(|change| **change == Change::Lifted).count(), 1);
    }
}

#[test]
fn no_person_passes_the_kill_switch_or_the_active_maximum() {
    let propose = config(PolicyMode::Propose);
    let (mut ledger, id) = with_one(&propose, now(0));
    let killed = PolicyConfig { kill_switch: true, ..propose.clone() };
    assert_eq!(ledger.approve(&id, "ada", "", &killed, now(1)), Err(CommandError::KillSwitch));
    let full = PolicyConfig { active_max: 0, ..propose };
    assert_eq!(ledger.approve(&id, "ada", "", &full, now(1)), Err(CommandError::ActiveMax { active_max: 0 }));
}

#[test]
fn what_was_lifted_is_not_put_back_for_the_same_incident_and_after_harm_for_none() {
    let config = config(PolicyMode::Enforce);
    let deeds = deeds();
    let mut other = incident(&deeds);
    other.id = "incident-2".to_owned();
    for harm in [false, true] {
        let (mut ledger, id) = with_one(&config, now(0));
        if harm {
            ledger.roll_back(&id, "neighbours fail", now(5)).unwrap();
        } else {
            ledger.lift(&id, "ada", "we know them", now(5)).unwrap();
        }
        let same = answer(&mut ledger, &deeds, &incident(&deeds), &config, now(6));
        assert!(
            matches!(&same.answers[0].decision, Decision::Refuse(why) if matches!(why[..], [Refusal::Ended { .. }]))
        );
        let new = answer(&mut ledger, &deeds, &other, &config, now(7));
        assert_eq!(matches!(new.answers[0].decision, Decision::Enforce(_)), !harm);
    }
}

#[test]
fn a_lease_runs_out_and_a_proposal_waits_only_so_long() {
    let enforce = config(PolicyMode::Enforce);
    let (mut ledger, id) = with_one(&enforce, now(0));
    assert_eq!(ledger.advance(&enforce, now(TTL - 1)), []);
    assert_eq!(changes(&ledger.advance(&enforce, now(TTL))), [Change::Expired]);
    assert_eq!(ledger.advance(&enforce, now(TTL + 1)), []);
    assert_eq!(ledger.get(&id).unwrap().state, S::Expired);

    let propose = config(PolicyMode::Propose);
    let (mut ledger, id) = with_one(&propose, now(0));
    assert_eq!(ledger.advance(&propose, now(TTL)), []);
    assert_eq!(changes(&ledger.advance(&propose, now(86_400))), [Change::Expired]);
    assert_eq!(ledger.get(&id).unwrap().ended, "nobody approved it");
}

#[test]
fn a_lease_is_renewed_by_new_evidence_in_its_second_half_and_only_so_often() {
    let config = PolicyConfig { renewals_max: 2, ..config(PolicyMode::Enforce) };
    let (mut ledger, id) = with_one(&config, now(0));
    let fresh = |name: &str| vec![name.to_owned()];
    assert_eq!(ledger.renew(&id, &fresh("f1"), &config, now(10)).unwrap(), [], "the lease is young");
    assert_eq!(ledger.renew(&id, &fresh("f1"), &config, now(1_000)).unwrap(), [], "it is known");
    assert_eq!(changes(&ledger.renew(&id, &fresh("f2"), &config, now(1_000)).unwrap()), [Change::Renewed]);
    assert_eq!(ledger.get(&id).unwrap().expires, Some(now(1_000 + TTL).wall));
    assert_eq!(ledger.advance(&config, now(TTL)), []);
    assert_eq!(ledger.renew(&id, &fresh("f3"), &config, now(2_500)).unwrap().len(), 1);
    assert_eq!(ledger.renew(&id, &fresh("f4"), &config, now(4_000)).unwrap(), [], "often enough");
    assert_eq!(changes(&ledger.advance(&config, now(4_300))), [Change::Expired]);
    assert!(ledger.renew(&id, &fresh("f5"), &config, now(4_301)).is_err());
}

#[test]
fn evidence_that_comes_with_the_incident_renews() {
    let config = config(PolicyMode::Enforce);
    let (mut ledger, id) = with_one(&config, now(0));
    let mut findings = deeds();
    for at in 0..200_u64 {
        findings.push(with(finding(K::NewRoute, INTRUDER, "store/ledger"), |finding| {
            finding.id = format!("f{at:03}")
        }));
        let told = answer(&mut ledger, &findings, &incident(&findings), &config, now(at * 10));
        assert!(matches!(told.answers[0].decision, Decision::Standing(_)));
    }
    let kept = ledger.get(&id).unwrap();
    assert_eq!((kept.renewals, kept.evidence.len()), (2, 202));
}

/// Scenario: the wall clock is set forward by years, then back by years, while the process lives.
/// Guarantees: the lease neither ends early nor late, and the written end follows the clock.
#[test]
fn a_wall_clock_that_jumps_neither_lifts_early_nor_prolongs() {
    const YEARS: u64 = 100_000_000;
    let config = config(PolicyMode::Enforce);
    for jumped in [1_000_000 + YEARS, 1_000_000 - 999_000] {
        let (mut ledger, id) = with_one(&config, clocks(0, 1_000_000));
        let events = ledger.advance(&config, clocks(100, jumped));
        assert_eq!(changes(&events), [Change::Rescheduled]);
        let expires = ledger.get(&id).unwrap().expires;
        assert_eq!(expires, Some(clocks(0, jumped + TTL - 100).wall));
        assert_eq!(ledger.advance(&config, clocks(TTL - 1, jumped + TTL - 101)), []);
        assert_eq!(changes(&ledger.advance(&config, clocks(TTL, jumped + TTL - 100))), [Change::Expired]);
    }
}

fn stored(ledger: &Ledger) -> Vec<Quarantine> {
    ledger.quarantines().cloned().collect()
}

#[test]
fn a_restart_keeps_what_was_there_and_what_is_left_of_it() {
    let config = config(PolicyMode::Enforce);
    let (mut ledger, id) = with_one(&config, clocks(0, 1_000_000));
    ledger.pushed(&id, now(1));
    // The clock that nobody can set begins anew.
    let mut ledger = Ledger::restore(stored(&ledger), &config, clocks(5, 1_000_600));
    let kept = ledger.get(&id).unwrap();
    assert_eq!((kept.state, &kept.progress), (S::Enforced, &Progress::Planned), "it has to be sent again");
    assert_eq!(ledger.load(clocks(6, 1_000_601)).granted, 1, "the rate limit survives");
    assert_eq!(ledger.advance(&config, clocks(5 + 1_199, 1_001_799)), []);
    assert_eq!(changes(&ledger.advance(&config, clocks(5 + 1_200, 1_001_800))), [Change::Expired]);
    let again = Ledger::restore(stored(&ledger), &config, clocks(0, 1_002_000));
    assert_eq!(again.get(&id).unwrap().state, S::Expired, "what has ended stays ended");
}

#[test]
fn a_clock_set_between_two_processes_prolongs_by_one_lease_and_never_lifts_at_once() {
    let config = config(PolicyMode::Enforce);
    let (ledger, id) = with_one(&config, clocks(0, 1_000_000));
    let mut back = Ledger::restore(stored(&ledger), &config, clocks(0, 5));
    assert_eq!(back.advance(&config, clocks(TTL - 1, 5 + TTL - 1)), []);
    assert_eq!(changes(&back.advance(&config, clocks(TTL, 5 + TTL))), [Change::Expired]);
    let mut forward = Ledger::restore(stored(&ledger), &config, clocks(0, 900_000_000));
    assert_eq!(forward.advance(&config, clocks(1, 900_000_001)), []);
    assert_eq!(forward.get(&id).unwrap().state, S::Enforced, "new evidence may still renew it");
    let renewed = forward.renew(&id, &["new".to_owned()], &config, clocks(2, 900_000_002)).unwrap();
    assert_eq!(changes(&renewed), [Change::Renewed]);
    assert_eq!(forward.advance(&config, clocks(31, 900_000_031)), []);
}

#[test]
fn a_dry_run_becomes_enforced_after_its_time_unless_it_fails() {
    let config = PolicyConfig { shadow_for: Duration::from_mins(5), ..config(PolicyMode::Enforce) };
    let (mut ledger, id) = with_one(&config, now(0));
    assert_eq!(ledger.get(&id).unwrap().state, S::Shadow);
    assert_eq!(ledger.advance(&config, now(299)), []);
    assert_eq!(changes(&ledger.advance(&config, now(300))), [Change::Enforced]);
    let kept = ledger.get(&id).unwrap();
    assert_eq!((kept.state, kept.expires), (S::Enforced, Some(now(300 + TTL).wall)));

    let (mut ledger, id) = with_one(&config, now(0));
    ledger.rejected(&id, "sidecar-1", "no such field", now(10));
    assert_eq!(ledger.advance(&config, now(300)), []);
    assert_eq!(ledger.get(&id).unwrap().state, S::Shadow);
}

#[test]
fn progress_goes_forward_and_each_step_is_told_once() {
    let config = config(PolicyMode::Enforce);
    let (mut ledger, id) = with_one(&config, now(0));
    assert_eq!(changes(&ledger.pushed(&id, now(1))), [Change::Pushed]);
    assert_eq!(ledger.pushed(&id, now(1)), []);
    assert_eq!(ledger.acknowledged(&id, 3, 2, now(2)), []);
    assert_eq!(ledger.acknowledged(&id, 0, 0, now(2)), [], "without a proxy nothing is enforced");
    assert_eq!(changes(&ledger.acknowledged(&id, 3, 3, now(2))), [Change::Acknowledged]);
    assert_eq!(ledger.acknowledged(&id, 3, 3, now(2)), []);
    assert_eq!(changes(&ledger.judged(&id, Progress::Effective, now(3))), [Change::Effective]);
    assert_eq!(ledger.judged(&id, Progress::Effective, now(4)), []);
    assert_eq!(ledger.acknowledged(&id, 4, 4, now(4)), [], "it is proven already");
    assert_eq!(changes(&ledger.rejected(&id, "sidecar-4", "bad", now(5))), [Change::Rejected]);
    assert_eq!(ledger.rejected(&id, "sidecar-4", "bad", now(5)), []);
    assert_eq!(changes(&ledger.roll_back(&id, "x", now(6)).unwrap()), [Change::RolledBack]);
    assert_eq!(ledger.judged(&id, Progress::Effective, now(7)), []);
}

#[test]
fn limits_of_live_ones_and_of_leases_an_hour_hold() {
    let config = PolicyConfig { mode: PolicyMode::Enforce, protected: Vec::new(), ..PolicyConfig::default() };
    let (mut ledger, mut granted) = (Ledger::new(), 0);
    for number in 0..12_u64 {
        let deeds = deeds();
        let mut incident = incident(&deeds);
        incident.id = format!("incident-{number}");
        let name = format!("yard/intruder{number}");
        let deeds: Vec<Finding> =
            deeds.into_iter().map(|deed| with(deed, |deed| deed.edge.source = end(&name))).collect();
        let told = answer(&mut ledger, &deeds, &incident, &config, now(number * 600));
        granted += usize::from(matches!(told.answers[0].decision, Decision::Enforce(_)));
        ledger.advance(&config, now(number * 600));
        assert!(ledger.load(now(number * 600)).active <= 5 && ledger.load(now(number * 600)).granted <= 3);
    }
    assert!((5..=7).contains(&granted), "{granted} in two hours");
}

#[test]
fn ended_ones_are_forgotten_oldest_first() {
    let config = PolicyConfig { ended_max: 0, ..config(PolicyMode::Enforce) };
    let (mut ledger, id) = with_one(&config, now(0));
    ledger.lift(&id, "ada", "x", now(1)).unwrap();
    assert_eq!(changes(&ledger.advance(&config, now(2))), [Change::Forgotten]);
    assert!(ledger.get(&id).is_none());
}

#[test]
fn a_mesh_that_is_not_known_gets_no_quarantine() {
    let (mut ledger, deeds) = (Ledger::new(), deeds());
    let cold = MeshState { warm: false, ..calm() };
    let enforce = config(PolicyMode::Enforce);
    let told =
        respond(&mut ledger, &incident(&deeds), &refs(&deeds), &Known::mesh(), &enforce, &cold, now(0));
    assert_eq!(told.answers[0].decision, Decision::Refuse(vec![Refusal::Learning]));
}

#[test]
fn an_egress_that_comes_later_is_a_second_quarantine_of_only_that() {
    let config = config(PolicyMode::Enforce);
    let (mut ledger, first) = with_one(&config, now(0));
    let mut findings = deeds();
    findings.push(leaving(K::NewEgress, INTRUDER, "paste.example"));
    // Its own traffic, so that there is something to try the cut on.
    let mut known = Known::mesh();
    known.rows.push(common::row(INTRUDER, "yard/queue", "GET", "/jobs", 50));
    let told = respond(&mut ledger, &incident(&findings), &refs(&findings), &known, &config, &calm(), now(5));
    let Decision::Enforce(second) = &told.answers[0].decision else { panic!("{told:#?}") };
    assert_ne!(*second, first);
    assert_eq!(ledger.get(second).unwrap().cuts.len(), 1);
}

/// Scenario: an intruder comes with its identity and without one.
/// Guarantees: two answers, and what the first one denies the second does not deny again.
#[test]
fn answers_to_one_incident_do_not_overlap() {
    let config = config(PolicyMode::Enforce);
    let mut findings = deeds();
    findings.extend([
        common::unproven(K::MtlsDowngrade, "store/ledger"),
        with(common::unproven(K::NewRoute, "store/ledger"), |finding| finding.severity = Severity::High),
    ]);
    let mut ledger = Ledger::new();
    let told = answer(&mut ledger, &findings, &incident(&findings), &config, now(0));
    assert_eq!(told.answers.len(), 2, "{told:#?}");
    let cuts = ledger.standing();
    let unidentified = cuts.iter().filter(|cut| cut.caller == Caller::Unauthenticated).count();
    assert_eq!((cuts.len(), unidentified), (2, 1), "{cuts:#?}");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Respond(u8),
    Approve(u8),
    Lift(u8),
    Advance(u16),
    SetWall(u32),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8).prop_map(Step::Respond),
        any::<u8>().prop_map(Step::Approve),
        any::<u8>().prop_map(Step::Lift),
        (1..2_000_u16).prop_map(Step::Advance),
        any::<u32>().prop_map(Step::SetWall),
        Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Guarantees for any order of commands, clock settings and restarts: what has ended stays ended, nothing is
    /// doubled, limits hold, and a lease never outlives its length by the clock that nobody can set, except that each
    /// restart may begin it anew.
    #[test]
    fn no_order_of_events_loses_doubles_or_revives_a_quarantine(
        steps in prop::collection::vec(step(), 1..60),
        mode in prop::sample::select(&PolicyMode::ALL[1..]),
    ) {
        let config = PolicyConfig { mode, renewals_max: 0, ..PolicyConfig::default() };
        let (mut ledger, mut steady, mut wall) = (Ledger::new(), 0_u64, 1_000_000_u64);
        let mut ended: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
        let mut live_since: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
        for step in steps {
            let moment = clocks(steady, wall);
            let pick = |number: u8, ledger: &Ledger| {
                let ids: Vec<String> = ledger.quarantines().map(|one| one.id.clone()).collect();
                (!ids.is_empty()).then(|| ids[usize::from(number) % ids.len()].clone())
            };
            let before = ledger.quarantines().count();
            match step {
                Step::Respond(number) => {
                    let deeds = deeds();
                    let mut incident = incident(&deeds);
                    incident.id = format!("incident-{number}");
                    answer(&mut ledger, &deeds, &incident, &config, moment);
                }
                Step::Approve(number) => if let Some(id) = pick(number, &ledger) {
                    drop(ledger.approve(&id, "ada", "", &config, moment));
                },
                Step::Lift(number) => if let Some(id) = pick(number, &ledger) {
                    drop(ledger.lift(&id, "ada", "x", moment));
                },
                Step::Advance(seconds) => {
                    (steady, wall) = (steady + u64::from(seconds), wall + u64::from(seconds));
                    ledger.advance(&config, clocks(steady, wall));
                }
                Step::SetWall(second) => wall = u64::from(second),
                Step::Restart => {
                    ledger = Ledger::restore(stored(&ledger), &config, clocks(0, wall));
                    (steady, live_since) = (0, std::collections::BTreeMap::new());
                }
            }
            prop_assert!(ledger.quarantines().count() >= before, "nothing is lost");
            let moment = clocks(steady, wall);
            ledger.advance(&config, moment);
            let mut standing = std::collections::BTreeSet::new();
            for one in ledger.quarantines() {
                prop_assert!(!ended.contains(&one.id) || one.state.ended(), "{} came back", one.id);
                if one.state.ended() {
                    ended.insert(one.id.clone());
                    live_since.remove(&one.id);
                    continue;
                }
                prop_assert!(standing.insert(one.cuts.clone()), "the same cuts stand twice");
                if one.state.live() {
                    let since = *live_since.entry(one.id.clone()).or_insert(steady);
                    // A dry run that is approved begins a lease anew.
                    prop_assert!(steady - since < 2 * TTL, "live for {} s", steady - since);
                }
            }
            prop_assert!(ledger.load(moment).active <= config.active_max);
        }
    }
}
