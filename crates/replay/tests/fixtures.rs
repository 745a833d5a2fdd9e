//! Every shipped capture gives the incidents it should, soon enough, and the same transcript as last time.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use common::{JUDGED, NORMAL, folder, label, play_shipped};
use selvedge_model::{Fate, Severity, SignalKind};
use selvedge_replay::{Expectations, Played};

/// Event time after the start of an attack by which its incident must be open.
fn deadline_seconds(name: &str) -> u64 {
    match name {
        "flood" => 15,
        "latency_spike" | "error_burst" => 20,
        _ => 5,
    }
}

fn expectations(name: &str) -> Expectations {
    Expectations::parse(&std::fs::read_to_string(folder().join(format!("{name}.expect.yml"))).unwrap())
        .unwrap()
}

fn told(played: &Played) -> String {
    let lines = played.incidents.iter().map(|i| {
        let kinds: Vec<&str> = i.kinds.iter().map(|kind| kind.name()).collect();
        let edges: Vec<String> = i.edges.iter().map(selvedge_model::Edge::label).collect();
        let suspects: Vec<&str> = i.suspects.iter().map(|s| s.workload.as_str()).collect();
        format!("{} {} {kinds:?} {edges:?} suspects {suspects:?}", i.severity.name(), i.title)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Scenario: each recorded attack is judged against 90 seconds of normal traffic.
/// Guarantees: the right kinds, source, destination and first suspect, at most two incidents, nothing for a
/// quarantine that works as it should.
#[test]
fn every_capture_gives_the_incidents_of_its_expect_file() {
    let mut wrong = Vec::new();
    for name in JUDGED {
        let played = play_shipped(&NORMAL, &[name], 1);
        let unmet = expectations(name).unmet(&played.incidents);
        if !unmet.is_empty() {
            wrong.push(format!("{name}: {unmet:?}\n{}\n{}", told(&played), played.transcript.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Guarantees: the incident that explains an attack is open within seconds of event time after the attack began.
#[test]
fn every_attack_is_told_in_time() {
    let mut late = Vec::new();
    for name in JUDGED {
        let label = label(name);
        if expectations(name).expects_nothing() {
            continue;
        }
        let start: u64 = label["attack_start_unix_nano"].as_str().unwrap().parse().unwrap();
        let played = play_shipped(&NORMAL, &[name], 1);
        let opened = expectations(name).matching(&played.incidents).map(|incident| incident.opened.0).min();
        let after = opened.map(|at| (at.saturating_sub(start)) as f64 / 1e9);
        if after.is_none_or(|after| after > deadline_seconds(name) as f64) {
            late.push(format!("{name}: {after:?} s"));
        }
        let early =
            played.incidents.iter().filter(|i| i.severity > Severity::Info && i.opened.0 < start).count();
        assert_eq!(early, 0, "{name}: an incident before its attack\n{}", told(&played));
    }
    assert!(late.is_empty(), "{late:?}");
}

/// Guarantees: normal traffic gives no incident, whichever half of it was learned.
#[test]
fn normal_traffic_gives_no_incident() {
    for (learn, judge) in [("normal_1", "normal_2"), ("normal_2", "normal_1")] {
        let played = play_shipped(&[learn], &[judge], 1);
        assert!(played.incidents.is_empty(), "{}\n{}", told(&played), played.transcript.text());
    }
}

/// Guarantees: an identity that was only claimed in a failed handshake is in no edge and no suspect.
#[test]
fn a_claimed_identity_is_never_blamed() {
    for name in ["forged_ca", "cert_expired"] {
        let label = label(name);
        let claimed = label["source"].as_str().unwrap();
        let workload = claimed.rsplit('/').next().unwrap();
        let played = play_shipped(&NORMAL, &[name], 1);
        assert!(!played.incidents.is_empty());
        for incident in &played.incidents {
            assert!(
                incident.suspects.iter().all(|suspect| suspect.workload != workload),
                "{}",
                told(&played)
            );
            assert!(incident.edges.iter().all(|edge| edge.source.principal != claimed), "{}", told(&played));
        }
        assert!(played.transcript.findings.iter().any(|finding| finding.claimed_principal == claimed));
    }
}

/// Guarantees: every signal of every capture has exactly one fate, and nothing stays open.
#[test]
fn the_fates_of_every_capture_add_up() {
    for name in NORMAL.iter().chain(&JUDGED) {
        let played = play_shipped(&[], &[name], 1);
        let ledger = &played.stats.ledger;
        assert!(ledger.balanced(), "{name}: {ledger:?}");
        for kind in SignalKind::ALL {
            assert!(ledger.received(kind) > 0, "{name} has no {}", kind.name());
            assert_eq!(ledger.count(kind, Fate::Open), 0, "{name}");
            assert_eq!(ledger.count(kind, Fate::Rejected), 0, "{name}");
        }
    }
}

/// Guarantees: on normal traffic every inbound access-log record finds its own span and its caller's outbound
/// record. Measured on the raw data: 514 records with a span, of which 257 are inbound, all with a caller.
#[test]
fn normal_traffic_joins_completely() {
    let played = play_shipped(&[], &["normal_1"], 1);
    let ledger = &played.stats.ledger;
    assert_eq!(ledger.count(SignalKind::Logs, Fate::Joined), 514);
    assert_eq!(ledger.count(SignalKind::Traces, Fate::Joined), 514);
    assert_eq!(played.stats.calls_both, 257);
    assert_eq!((played.stats.calls_client_only, played.stats.calls_server_only), (0, 0));
}

/// Guarantees: what people saw last time is what they see now, unless a commit says why it changed.
#[test]
fn every_transcript_is_the_golden_one() {
    for name in JUDGED {
        let played = play_shipped(&NORMAL, &[name], 1);
        selvedge_testkit::check_golden(
            folder().join(format!("{name}.transcript.txt")),
            played.transcript.text(),
        );
    }
}
