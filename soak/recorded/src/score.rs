//! Faults against what was told: found or not, how soon, at which place the right workload is suspected; and what was
//! told of nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use selvedge_model::{EventTime, Incident};

use crate::labels::Fault;
use crate::run::Run;

/// Effects begin within a minute of the injection and last for three; what is seen of them may be a minute old.
const FAULT: Duration = Duration::from_mins(5);

/// The table of one capture.
#[derive(Debug, PartialEq)]
pub(crate) struct Table {
    rows: Vec<Row>,
    with_faults: Quiet,
    without_faults: Quiet,
}

/// One fault.
#[derive(Debug, PartialEq)]
struct Row {
    kind: String,
    /// Seconds from the injection to the first finding that an incident has.
    delay: Option<u64>,
    /// Place among the suspects at the end of the fault.
    rank: Option<u32>,
    number: usize,
}

/// Incidents that belong to no labelled fault.
#[derive(Debug, Default, PartialEq)]
struct Quiet {
    false_incidents: usize,
    /// When they were told, in seconds since the capture began.
    at: Vec<u64>,
    seconds: u64,
}

impl Table {
    pub(crate) fn of(run: &Run, faults: &[Fault]) -> Self {
        let rows = faults.iter().enumerate().map(|(number, fault)| Row::of(number, fault, run)).collect();
        let last = faults.last().map_or(run.start, |fault| fault.injected.after(FAULT));
        let mut table = Self { rows, with_faults: Quiet::default(), without_faults: Quiet::default() };
        let seconds = |from: EventTime, to: EventTime| to.since(from).as_secs();
        table.with_faults.seconds = seconds(run.start, last.min(run.end));
        table.without_faults.seconds = seconds(last, run.end);
        for incident in last_states(run).values() {
            let during = |fault: &Fault| findings_of(incident, run, fault).next().is_some();
            if !faults.iter().any(during) {
                let part =
                    if incident.opened <= last { &mut table.with_faults } else { &mut table.without_faults };
                part.false_incidents += 1;
                part.at.push(seconds(run.start, incident.opened));
            }
        }
        // Incidents come by their ids, which follow from names.
        table.with_faults.at.sort_unstable();
        table.without_faults.at.sort_unstable();
        table
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec!["| fault | found | delay | rank of the right suspect |".to_owned()];
        lines.push("|---|---|---|---|".to_owned());
        for row in &self.rows {
            let told = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            let found = if row.delay.is_some() { "yes" } else { "no" };
            let delay = told(row.delay.map(|delay| format!("{delay} s")));
            lines.push(format!(
                "| {} {} | {found} | {delay} | {} |",
                row.number + 1,
                row.kind,
                told(row.rank.map(|rank| rank.to_string()))
            ));
        }
        let kinds: BTreeSet<&str> = self.rows.iter().map(|row| row.kind.as_str()).collect();
        for kind in kinds {
            let of_kind: Vec<&Row> = self.rows.iter().filter(|row| row.kind == kind).collect();
            let found = of_kind.iter().filter(|row| row.delay.is_some()).count();
            let among = of_kind.iter().filter(|row| row.rank.is_some_and(|rank| rank <= 3)).count();
            let mut delays: Vec<u64> = of_kind.iter().filter_map(|row| row.delay).collect();
            delays.sort_unstable();
            let median =
                delays.get(delays.len() / 2).map_or_else(|| "-".to_owned(), |delay| format!("{delay} s"));
            let all = of_kind.len();
            lines.push(format!(
                "{kind}: {found} of {all} found, median delay {median}, right suspect among the first three {among}"
            ));
        }
        for (when, quiet) in [("with faults", &self.with_faults), ("without", &self.without_faults)] {
            let hours = quiet.seconds as f64 / 3_600.0;
            let rate = if hours > 0.0 { quiet.false_incidents as f64 / hours } else { 0.0 };
            let many = quiet.false_incidents;
            lines.push(format!(
                "{hours:.1} h {when}: {many} false incidents, {rate:.2} an hour, at {:?} s",
                quiet.at
            ));
        }
        lines
    }
}

impl Row {
    fn of(number: usize, fault: &Fault, run: &Run) -> Self {
        let until = fault.injected.after(FAULT);
        let in_time = run.states.iter().filter(|state| state.updated <= until);
        let telling: Vec<&Incident> =
            in_time.filter(|state| findings_of(state, run, fault).next().is_some()).collect();
        let detected = telling.iter().flat_map(|state| findings_of(state, run, fault)).min();
        let delay = detected.map(|detected| detected.since(fault.injected).as_secs());
        let mut at_the_end: BTreeMap<&str, &Incident> = BTreeMap::new();
        for state in telling {
            at_the_end.insert(&state.id, state);
        }
        let suspected = at_the_end.values().flat_map(|state| &state.suspects);
        let rank =
            suspected.filter(|suspect| suspect.workload == fault.workload).map(|suspect| suspect.rank).min();
        Self { kind: fault.kind.clone(), delay, rank, number }
    }
}

/// When findings of an incident were detected that began, and were told, during a fault.
fn findings_of<'a>(
    incident: &'a Incident,
    run: &'a Run,
    fault: &'a Fault,
) -> impl Iterator<Item = EventTime> + 'a {
    let until = fault.injected.after(FAULT);
    let findings = incident.finding_ids.iter().filter_map(|id| run.findings.get(id));
    findings
        .filter(move |finding| fault.injected <= finding.onset && finding.detected <= until)
        .map(|finding| finding.detected)
}

/// The last state of each incident.
fn last_states(run: &Run) -> BTreeMap<&str, &Incident> {
    run.states.iter().map(|state| (state.id.as_str(), state)).collect()
}
