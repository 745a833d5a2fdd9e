//! What is told of stories, and what the record makes of it.

use selvedge_model::{Node, Symbol};

use super::*;

const MINUTE: Duration = Duration::from_mins(1);
const START: EventTime = EventTime(1_699_833_600_000_000_000);
const KNOWN: Caller = Caller { known: true, rationed: true, deployed: false };

fn key(from: u32, to: u32) -> EdgeKey {
    let node = |workload| Node { workload: Symbol(workload), ..Node::default() };
    EdgeKey { source: node(from), destination: node(to), external: false }
}

fn deed(kind: FindingKind, (from, to): (u32, u32), severity: Severity, at: EventTime) -> Finding {
    Finding {
        id: format!("{} {from} {to} {}", kind.name(), at.0),
        kind,
        severity,
        onset: at,
        detected: at,
        edge: selvedge_model::Edge::default(),
        external: false,
        subject: String::new(),
        return_period_seconds: None,
        calibrated: false,
        summary: String::new(),
        evidence: Vec::new(),
        source_identity: selvedge_model::IdentitySource::MtlsCertificate,
        claimed_principal: String::new(),
        exemplars: Vec::new(),
        techniques: Vec::new(),
    }
}

fn tell(stories: &mut Stories, (from, to): (u32, u32), severity: Severity, at: EventTime) -> Vec<Severity> {
    stories.advance(at);
    let told = stories.tell(&key(from, to), deed(FindingKind::NewEdge, (from, to), severity, at), KNOWN);
    told.iter().map(|finding| finding.severity).collect()
}

/// Six weeks in which every third day one service calls another for the first time; and when they are over.
fn with_record(severity: Severity) -> (Stories, EventTime) {
    let mut stories = Stories::new(Budgets::default());
    stories.begin(START);
    let mut now = START;
    for nth in 0..14 {
        now = now.after(DAY * 3);
        tell(&mut stories, (1_000 + nth, 2_000 + nth), severity, now);
    }
    now = now.after(DAY);
    stories.advance(now);
    (stories, now)
}

/// Scenario: a mesh that shows a new edge of severity `medium` every third day; then a service that was deployed, or was not,
/// opens one of severity `high`, and another one.
/// Guarantees: the first, which a deployment brings now and then, wakes nobody after one; the second does.
#[test]
fn the_first_edge_after_a_deployment_counts_half_and_the_second_in_full() {
    let told = |deployed: bool| {
        let (mut stories, now) = with_record(Severity::Medium);
        let caller = Caller { deployed, ..KNOWN };
        let mut of = |to: u32, at: EventTime| {
            let deed = deed(FindingKind::NewEdge, (1, to), Severity::High, at);
            let told = stories.tell(&key(1, to), deed, caller);
            told[0].evidence.iter().find(|fact| fact.name == "story_score").unwrap().observed.clone()
        };
        [of(2, now), of(3, now.after(MINUTE))]
    };
    assert_eq!(told(false), ["2.0", "5.0"]);
    assert_eq!(told(true), ["1.0", "4.0"]);
}

#[test]
fn before_there_is_a_record_the_rules_decide() {
    let mut stories = Stories::new(Budgets::default());
    stories.begin(START);
    for day in 0..20 {
        let at = START.after(DAY * day);
        assert_eq!(tell(&mut stories, (day, 100 + day), Severity::High, at), [Severity::High]);
    }
}

#[test]
fn a_deed_is_told_while_it_goes_on_then_for_the_record_and_anew_after_a_week() {
    let mut stories = Stories::new(Budgets::default());
    for minute in 0..240 {
        let told = tell(&mut stories, (1, 2), Severity::Medium, START.after(MINUTE * minute));
        assert_eq!(told, [Severity::Medium], "{minute}");
    }
    // It is told for four hours at most,
    assert_eq!(tell(&mut stories, (1, 2), Severity::Medium, START.after(MINUTE * 241)), [Severity::Info]);
    // and once it paused, no more;
    tell(&mut stories, (1, 3), Severity::Medium, START);
    for minute in [20, 21, 22] {
        let told = tell(&mut stories, (1, 3), Severity::Medium, START.after(MINUTE * minute));
        assert_eq!(told, [Severity::Info]);
    }
    let later = START.after(DAY * 7);
    assert_eq!(tell(&mut stories, (1, 3), Severity::Medium, later), [Severity::Medium]);
}

#[test]
fn what_comes_every_third_day_wakes_nobody_and_a_second_edge_within_the_hour_does() {
    let (mut stories, now) = with_record(Severity::High);
    assert_eq!(tell(&mut stories, (1, 2), Severity::High, now), [Severity::Medium]);
    // The first deed is told again, as a page.
    let second = tell(&mut stories, (1, 3), Severity::Medium, now.after(MINUTE * 30));
    assert_eq!(second, [Severity::High, Severity::High]);
    // Hours later it would be another story.
    let (mut stories, now) = with_record(Severity::High);
    tell(&mut stories, (1, 2), Severity::High, now);
    let second = tell(&mut stories, (1, 3), Severity::Medium, now.after(MINUTE * 90));
    assert_eq!(second, [Severity::Medium]);
}

/// Scenario: one service reaches another over a new edge, and from there a third is reached.
/// Guarantees: the second hop is a page, and the first is told again as one: who drove the chain is named.
#[test]
fn a_chain_is_the_story_of_who_drove_it() {
    let (mut stories, now) = with_record(Severity::High);
    tell(&mut stories, (1, 2), Severity::High, now);
    let at = now.after(MINUTE * 20);
    stories.advance(at);
    let told = stories.tell(&key(2, 3), deed(FindingKind::NewEdge, (2, 3), Severity::Medium, at), KNOWN);
    let ids: Vec<&str> = told.iter().map(|finding| finding.id.as_str()).collect();
    let first = deed(FindingKind::NewEdge, (1, 2), Severity::High, now);
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[1], first.id);
    assert!(told.iter().all(|finding| finding.severity == Severity::High && finding.detected == at));
}

#[test]
fn all_that_a_new_workload_does_is_one_deed_and_no_chain() {
    let (mut stories, now) = with_record(Severity::High);
    let unknown = Caller { known: false, rationed: true, deployed: false };
    tell(&mut stories, (1, 2), Severity::High, now);
    for callee in 3..20 {
        let told = stories.tell(
            &key(2, callee),
            deed(FindingKind::NewEdge, (2, callee), Severity::High, now),
            unknown,
        );
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].severity, Severity::Medium);
    }
}

#[test]
fn in_an_approved_baseline_everything_new_is_news() {
    let (mut stories, now) = with_record(Severity::High);
    let approved = Caller { known: true, rationed: false, deployed: false };
    let told = stories.tell(&key(1, 2), deed(FindingKind::NewEdge, (1, 2), Severity::High, now), approved);
    assert_eq!(told[0].severity, Severity::High);
}

/// Scenario: an attacker makes one loud story and waits until it is in the record.
/// Guarantees: the next story needs one point more than the loudest benign one, not more than the loud one.
#[test]
fn a_loud_story_does_not_buy_silence() {
    let (mut stories, now) = with_record(Severity::High);
    for callee in 0..20 {
        tell(&mut stories, (1, 100 + callee), Severity::High, now);
    }
    let later = now.after(DAY);
    tell(&mut stories, (5, 6), Severity::High, later);
    let second = tell(&mut stories, (5, 7), Severity::High, later.after(MINUTE));
    assert_eq!(second.iter().max(), Some(&Severity::High));
}

#[test]
fn memory_is_bounded_under_a_flood_of_names() {
    let mut stories = Stories::new(Budgets::default());
    let flood = u32::try_from(DEEDS_MAX).unwrap() + 500;
    for nth in 0..flood {
        let told = stories.tell(
            &key(nth, nth + 1),
            deed(FindingKind::NewEdge, (nth, nth + 1), Severity::Medium, START),
            KNOWN,
        );
        assert_eq!(told.len(), 1);
    }
    assert!(stories.told.len() <= DEEDS_MAX && stories.stories.len() <= STORIES_MAX + 1);
}
