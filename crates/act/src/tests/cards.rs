//! The incident card, to the letter.

use selvedge_model::{IncidentStatus, Severity};

use crate::card::{render, resolved};
use crate::sample;

#[test]
fn a_card_says_what_when_who_why_and_what_next() {
    let card = render(&sample::incident(), false, 80);
    let expected = "\
┃ HIGH      Web calls ledger in plaintext, which it never did
┃ when      2026-11-23 20:00:00 UTC · 2 min 10 s so far · noticed after 3 s
┃ edge      shop/web -> bank/ledger
┃           shop/cart -> bank/ledger
┃ why       mtls_downgrade: plaintext where 812 calls used mutual TLS
┃           new_edge: cart has never called ledger before
┃ suspect   1. shop/web: source of 2 findings; no certificate
┃ next      Check PeerAuthentication of bank, and whether web lost its sidecar.
┃ traces    4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b4b
┃ ATT&CK    T1021, T1562.001
┃ incident  1f2e3d4c5b6a7988 · 1 finding · calibration: default
";
    assert_eq!(card, expected);
}

#[test]
fn an_incident_that_ended_is_two_facts() {
    let mut incident = sample::incident();
    incident.status = IncidentStatus::Resolved;
    incident.closed = Some(sample::ONSET.after(std::time::Duration::from_secs(400)));
    let expected = "\
┃ RESOLVED  Web calls ledger in plaintext, which it never did
┃ when      2026-11-23 20:00:00 UTC · resolved after 6 min 40 s · noticed after 3 s
┃ incident  1f2e3d4c5b6a7988
";
    assert_eq!(resolved(&incident, false, 100), expected);
}

#[test]
fn a_card_keeps_its_width_and_cannot_steer_the_terminal() {
    let mut incident = sample::incident();
    incident.title = "\u{1b}]0;owned\u{7}".repeat(30);
    incident.highlights = vec!["x".repeat(1_000), "a b\u{1b}[2J\n c".repeat(200)];
    incident.edges = (0..20).map(|_| incident.edges[0].clone()).collect();
    for width in [0, 40, 80, 133] {
        let card = render(&incident, false, width);
        assert!(
            card.lines().all(|line| line.chars().count() <= width.max(40) && line.starts_with('┃')),
            "{card}"
        );
        assert!(!card.contains('\u{1b}'));
        assert!(card.lines().count() < 40);
    }
}

#[test]
fn colour_comes_only_when_asked_for_and_says_how_bad_it_is() {
    let paint = |severity| {
        let mut incident = sample::incident();
        incident.severity = severity;
        render(&incident, true, 80)
    };
    assert!(paint(Severity::High).contains("\u{1b}[31m"));
    assert!(paint(Severity::Medium).contains("\u{1b}[33m"));
    let plain: String = render(&sample::incident(), false, 80);
    assert!(!plain.contains('\u{1b}'));
}

#[test]
fn an_empty_incident_has_a_card_too() {
    let mut incident = sample::incident();
    incident.title.clear();
    incident.edges.clear();
    incident.suspects.clear();
    incident.highlights.clear();
    incident.runbook.clear();
    incident.exemplars.clear();
    incident.techniques.clear();
    let card = render(&incident, false, 80);
    assert_eq!(card.lines().count(), 3, "{card}");
}
