//! Rows of what was done: quarantines and the audit log.

use selvedge_model::{AuditLine, Quarantine};

use super::rows::{Rows, Value};

/// In the order of `QUARANTINES`.
pub(crate) fn quarantines(quarantines: &[Quarantine]) -> Rows {
    let row = |one: &Quarantine| {
        vec![
            Value::whole(one.created.0),
            one.expires.map_or(Value::Nothing, |at| Value::whole(at.0)),
            Value::text(&one.id),
            Value::text(one.state.name()),
            Value::text(one.progress.name()),
            Value::text(&one.incident_id),
            Value::Texts(one.cuts.iter().map(ToString::to_string).collect()),
            Value::Texts(one.evidence.clone()),
            Value::Texts(one.not_stopped.clone()),
            Value::whole(one.backtest.considered),
            Value::whole(one.backtest.denied),
            Value::whole(one.backtest.denied_normal),
            Value::whole(u64::from(one.renewals)),
            Value::text(&one.owner),
            Value::text(&one.reason),
            Value::text(&one.ended),
        ]
    };
    quarantines.iter().map(row).collect()
}

/// In the order of `AUDIT`.
pub(crate) fn audit(lines: &[AuditLine]) -> Rows {
    let row = |line: &AuditLine| {
        vec![
            Value::whole(line.time.0),
            Value::whole(line.sequence),
            Value::text(&line.actor),
            Value::text(&line.action),
            Value::text(&line.subject),
            Value::text(&line.detail),
            Value::text(&line.hash),
        ]
    };
    lines.iter().map(row).collect()
}
