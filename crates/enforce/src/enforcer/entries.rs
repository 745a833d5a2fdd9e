//! Records of the audit log: what of a quarantine is written down, and how a record is shown.

use std::collections::BTreeMap;

use selvedge_model::{AuditLine, ObservedTime, Quarantine};
use selvedge_policy::{Change as Step, ENGINE, QuarantineEvent};

use crate::audit::{AuditEntry, AuditKind, AuditRecord};

/// Names of cuts in a record; a plan has three.
const CUTS: [&str; 8] = ["cut_1", "cut_2", "cut_3", "cut_4", "cut_5", "cut_6", "cut_7", "cut_8"];

pub(super) fn line_of(record: AuditRecord) -> AuditLine {
    let known: Vec<String> = record.detail.iter().map(|(name, value)| format!("{name}={value}")).collect();
    AuditLine {
        time: record.at,
        sequence: record.seq,
        actor: record.who,
        action: record.kind,
        subject: record.subject,
        detail: format!("{} {}", record.why, known.join(" ")).trim().to_owned(),
        hash: record.hash,
    }
}

pub(super) fn entry_of(event: &QuarantineEvent, quarantine: &Quarantine) -> AuditEntry {
    let kind = match event.change {
        Step::Proposed | Step::Shadowed => AuditKind::Decision,
        Step::Enforced if event.who == ENGINE => AuditKind::Decision,
        Step::Enforced => AuditKind::Approve,
        Step::Renewed | Step::Rescheduled => AuditKind::Renew,
        Step::Pushed => AuditKind::Push,
        Step::Acknowledged => AuditKind::Ack,
        Step::Rejected => AuditKind::Nack,
        Step::Effective | Step::Ineffective => AuditKind::Proof,
        Step::Lifted | Step::RolledBack => AuditKind::Lift,
        Step::Expired | Step::Forgotten => AuditKind::Expire,
    };
    let why = if event.why.is_empty() { event.change.name() } else { &event.why };
    let mut written = entry(kind, &event.id, &event.who, why, event.at);
    written = with(written, "change", event.change.name());
    written = with(written, "state", quarantine.state.name());
    if matches!(event.change, Step::Proposed | Step::Shadowed | Step::Enforced) {
        written = grounds(written, quarantine);
    }
    written
}

/// What a quarantine denies, and what that rests on.
pub(super) fn grounds(entry: AuditEntry, quarantine: &Quarantine) -> AuditEntry {
    let backtest = &quarantine.backtest;
    let entry = with(entry, "incident", &quarantine.incident_id);
    let entry = with(entry, "cuts", quarantine.cuts.len());
    let entry = quarantine.cuts.iter().zip(CUTS).fold(entry, |entry, (cut, name)| with(entry, name, cut));
    let entry = with(entry, "evidence", quarantine.evidence.join(" "));
    let entry = with(entry, "backtest_considered", backtest.considered);
    let entry = with(entry, "backtest_denied", backtest.denied);
    let entry = with(entry, "backtest_denied_normal", backtest.denied_normal);
    with(entry, "ttl_seconds", quarantine.ttl_seconds)
}

pub(super) fn entry(kind: AuditKind, subject: &str, who: &str, why: &str, at: ObservedTime) -> AuditEntry {
    AuditEntry {
        at,
        kind,
        subject: subject.to_owned(),
        who: who.to_owned(),
        why: why.to_owned(),
        detail: BTreeMap::new(),
    }
}

pub(super) fn with(mut entry: AuditEntry, name: &'static str, value: impl ToString) -> AuditEntry {
    entry.detail.insert(name, value.to_string());
    entry
}

/// An error with its causes, for people.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
