//! Judges telemetry as a whole: signals that could not be understood, names that found no room.

use std::time::Duration;

use selvedge_model::{EventTime, FindingKind, Node, Symbol};
use serde::{Deserialize, Serialize};

use crate::case::Context;
use crate::draft::Draft;
use crate::rules::RuleSet;

/// The same complaint about telemetry as a whole is told at most this often.
const TELEMETRY_REPEAT: Duration = Duration::from_mins(5);

/// What happened to telemetry as a whole since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelemetryCounts {
    /// Signals received.
    pub received: u64,
    /// Signals that could not be understood.
    pub rejected: u64,
    /// Records with a name that found no room in the symbol table, or of a series that found none; and windows of edges for
    /// which there is none among what is learned.
    pub symbols_overflowed: u64,
    /// Who sent most of those so far, and of how many at least.
    pub inventor: Option<(Node, u64)>,
}

/// When which complaint was told last.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Telemetry {
    rejected: EventTime,
    overflowed: EventTime,
}

impl Telemetry {
    /// The complaints that are due.
    pub(crate) fn judge(
        &mut self,
        cx: &Context<'_>,
        rules: &RuleSet,
        counts: &TelemetryCounts,
    ) -> Vec<Draft> {
        let rejected = rejected(cx, rules, counts).filter(|_| due(&mut self.rejected, cx.now));
        let overflowed = overflowed(cx, rules, counts).filter(|_| due(&mut self.overflowed, cx.now));
        rejected.into_iter().chain(overflowed).collect()
    }
}

/// True when something was not told for a while; from then on it was.
fn due(told: &mut EventTime, now: EventTime) -> bool {
    let due = !told.present() || now.since(*told) >= TELEMETRY_REPEAT;
    if due {
        *told = now;
    }
    due
}

fn rejected(cx: &Context<'_>, rules: &RuleSet, counts: &TelemetryCounts) -> Option<Draft> {
    rules.malformed_telemetry().filter(|_| counts.rejected > 0)?;
    let some = counts.rejected.saturating_mul(100) >= counts.received;
    let summary = format!("{} of {} signals could not be understood", counts.rejected, counts.received);
    let draft = Draft::new(FindingKind::MalformedTelemetry, cx.now)
        .subject("rejected")
        .summary(summary)
        .fact("rejected_signals", counts.rejected, counts.received)
        .lower_if(!some, 2, "less than one in a hundred");
    Some(draft)
}

fn overflowed(cx: &Context<'_>, rules: &RuleSet, counts: &TelemetryCounts) -> Option<Draft> {
    rules.cardinality().filter(|_| counts.symbols_overflowed > 0)?;
    let sender = inventor(cx, counts);
    let most = if sender.is_empty() { String::new() } else { format!(", most of them from {sender}") };
    let draft = Draft::new(FindingKind::Cardinality, cx.now)
        .subject("names")
        .summary(format!("there is no room for more names or edges{most}; new ones are not told apart"))
        .fact("records_with_pooled_names", counts.symbols_overflowed, 0)
        .note("most_sent_by", &sender);
    Some(draft)
}

/// Who invents names, for people; empty when nobody can be named.
fn inventor(cx: &Context<'_>, counts: &TelemetryCounts) -> String {
    match counts.inventor {
        Some((sender, _)) if sender.workload == Symbol::OVERFLOW => {
            "senders that invent their own names, too".to_owned()
        }
        Some((sender, _)) if sender.known() => sender.endpoint(Symbol::NONE, cx.symbols).label(),
        _ => String::new(),
    }
}
