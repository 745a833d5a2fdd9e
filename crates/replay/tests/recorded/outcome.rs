//! What came of a recording: each fault found or not, and what was told without one.

use std::fmt::Write as _;
use std::time::Duration;

use selvedge_model::{EventTime, Finding, Incident, Severity, SignalKind};
use selvedge_replay::Played;

use crate::labels::Fault;

/// What comes so soon after the last fault may still be of it.
const AFTERMATH: Duration = Duration::from_mins(1);

/// What was found of one fault.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// From the noted time to the first finding about the right service in the fault's span; negative when it is before.
    delay_seconds: f64,
    /// Place of the right service among the suspects.
    rank: Option<u32>,
    severity: Severity,
    /// The incident was open before the fault's span began: an earlier fault, or its aftermath, went on.
    was_open: bool,
}

/// What came of a recording.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    found: Vec<Option<Found>>,
    /// Incidents that people are told of, in whose time is no fault of a service that they suspect: when (seconds), how
    /// bad.
    false_told: Vec<(u64, &'static str)>,
    /// Incidents for the record (info, low) without a fault.
    false_noted: usize,
    /// Hours until [`AFTERMATH`] past the last fault, and after that.
    hours: [f64; 2],
    /// Which of `false_told` came in the first of them.
    early: usize,
    /// Log records came with it.
    pub(crate) has_logs: bool,
}

impl Outcome {
    /// Matches incidents with faults: an incident may be about a fault when one of its findings was detected in the
    /// fault's span; it is false when it is about none whose service it suspects.
    pub(crate) fn of(played: &Played, faults: &[Fault], (start, end): (EventTime, EventTime)) -> Self {
        let told_at = |incident: &Incident, span: (EventTime, EventTime), service: Option<&str>| {
            let about =
                |finding: &&Finding| service.is_none_or(|name| finding.edge.destination.workload == name);
            let findings = played.transcript.findings.iter();
            findings
                .filter(|finding| incident.finding_ids.contains(&finding.id))
                .filter(about)
                .map(|finding| finding.detected)
                .filter(|at| span.0 <= *at && *at <= span.1)
                .min()
        };
        let told: Vec<&Incident> =
            played.incidents.iter().filter(|incident| incident.severity >= Severity::Medium).collect();
        let found = faults.iter().map(|fault| {
            let candidates = told.iter().filter_map(|incident| {
                let any = told_at(incident, fault.span, None)?;
                let at = told_at(incident, fault.span, Some(&fault.service)).unwrap_or(any);
                Some((rank(incident, &fault.service), at, *incident))
            });
            let best = candidates.min_by_key(|(rank, at, _)| (rank.unwrap_or(u32::MAX), *at));
            best.map(|(rank, at, incident)| Found {
                delay_seconds: seconds(at) - seconds(fault.injected),
                rank,
                severity: incident.severity,
                was_open: incident.opened < fault.span.0,
            })
        });
        let of_no_fault = |incident: &&Incident| {
            let explains = |fault: &Fault| {
                rank(incident, &fault.service).is_some() && told_at(incident, fault.span, None).is_some()
            };
            !faults.iter().any(explains)
        };
        let quiet = faults.last().map_or(start, |fault| fault.span.1.after(AFTERMATH)).min(end);
        let hours = |from: EventTime, to: EventTime| to.since(from).as_secs_f64() / 3_600.0;
        let mut false_told: Vec<&Incident> = told.iter().copied().filter(of_no_fault).collect();
        // Incidents come by their ids, which follow from names.
        false_told.sort_by_key(|incident| incident.opened);
        let since_start = |at: EventTime| at.since(start).as_secs();
        let noted = played.incidents.iter().filter(|incident| incident.severity < Severity::Medium);
        Self {
            found: found.collect(),
            early: false_told.iter().filter(|incident| incident.opened <= quiet).count(),
            false_told: false_told
                .iter()
                .map(|incident| (since_start(incident.opened), incident.severity.name()))
                .collect(),
            false_noted: noted.filter(of_no_fault).count(),
            has_logs: played.stats.ledger.received(SignalKind::Logs) > 0,
            hours: [hours(start, quiet), hours(quiet, end)],
        }
    }

    /// Faults found with the right service among the first `ranks` suspects.
    pub(crate) fn found_among_first(&self, ranks: u32) -> usize {
        self.found.iter().flatten().filter(|found| found.rank.is_some_and(|rank| rank <= ranks)).count()
    }

    /// Faults in code that were found with the right service among the first `ranks` suspects, and all of them.
    pub(crate) fn code_faults_found(&self, faults: &[Fault], ranks: u32) -> (usize, usize) {
        let in_code = faults.iter().zip(&self.found).filter(|(fault, _)| fault.in_code());
        let right = |found: &Found| found.rank.is_some_and(|rank| rank <= ranks);
        let found = in_code.clone().filter(|(_, found)| found.as_ref().is_some_and(right)).count();
        (found, in_code.count())
    }

    /// As text.
    pub(crate) fn table(&self, name: &str, faults: &[Fault]) -> String {
        let mut text =
            format!("\n{name}: {} faults in {:.2} h\n", faults.len(), self.hours[0] + self.hours[1]);
        let mut row = |cells: [&str; 6]| {
            let [fault, service, found, delay, rank, severity] = cells;
            writeln!(text, "  {fault:<16} {service:<28} {found:<10} {delay:>7} {rank:>5}  {severity}")
                .unwrap();
        };
        row(["fault", "service", "found", "delay s", "rank", "severity"]);
        for (fault, found) in faults.iter().zip(&self.found) {
            let Some(found) = found else {
                row([&fault.what, &fault.service, "no", "-", "-", "-"]);
                continue;
            };
            let rank = found.rank.map_or_else(|| "-".to_owned(), |rank| rank.to_string());
            let how = if found.was_open { "goes on" } else { "yes" };
            let delay = format!("{:.0}", found.delay_seconds);
            row([&fault.what, &fault.service, how, &delay, &rank, found.severity.name()]);
        }
        writeln!(
            text,
            "  found with the right service first: {}, among three: {}; of {}",
            self.found_among_first(1),
            self.found_among_first(3),
            faults.len()
        )
        .unwrap();
        let (early, late) = self.false_told.split_at(self.early);
        for (part, hours, told) in [("with", self.hours[0], early), ("after the", self.hours[1], late)] {
            let count = told.len();
            writeln!(text, "  incidents without a fault in the {hours:.2} h {part} faults: {count} {told:?}")
                .unwrap();
        }
        writeln!(text, "  for the record, without a fault: {}", self.false_noted).unwrap();
        text
    }
}

fn rank(incident: &Incident, service: &str) -> Option<u32> {
    incident.suspects.iter().find(|suspect| suspect.workload == service).map(|suspect| suspect.rank)
}

fn seconds(at: EventTime) -> f64 {
    at.since(EventTime::ABSENT).as_secs_f64()
}
