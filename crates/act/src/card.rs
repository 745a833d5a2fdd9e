//! The incident card: what a person who was just woken needs, on one screen, in the order in which they need it.

use selvedge_model::{Edge, Endpoint, EventTime, Incident, IncidentStatus, Severity, Suspect};

use crate::text::{clip, visible, wrap};
use crate::utc::{format_duration, format_utc};

/// Columns of the names of rows.
const NAME_WIDTH: usize = 10;
/// Narrower than this a card cannot be read anyway.
const WIDTH_MIN: usize = 40;
/// What a card shows of each list; the API has the rest.
const EDGES_MAX: usize = 4;
const HIGHLIGHTS_MAX: usize = 8;
const SUSPECTS_MAX: usize = 3;
const RUNBOOK_MAX: usize = 4;
const TRACES_MAX: usize = 3;
/// Lines of one entry of a list.
const ENTRY_LINES_MAX: usize = 3;

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";

/// The card of an incident as it is now. Lines end with a line feed and are at most `width` characters wide (40 at
/// least); with `colour` they hold ANSI sequences, without it only what an editor shows.
#[must_use]
pub fn render(incident: &Incident, colour: bool, width: usize) -> String {
    let mut card = Card::new(incident.severity, colour, width);
    card.title(&badge(incident), &incident.title);
    card.row("when", &[when(incident)]);
    card.row("edge", &edges(&incident.edges));
    card.row("why", &several(&incident.highlights, HIGHLIGHTS_MAX));
    card.row("suspect", &several(&suspects(&incident.suspects), SUSPECTS_MAX));
    card.row("next", &several(&incident.runbook, RUNBOOK_MAX));
    let traces: Vec<String> = incident.exemplars.iter().take(TRACES_MAX).map(ToString::to_string).collect();
    card.row("traces", &joined(&traces, "  "));
    card.row("ATT&CK", &joined(&incident.techniques, ", "));
    card.row("incident", &[identity(incident)]);
    card.text
}

/// One line for an incident that ended.
#[must_use]
pub fn resolved(incident: &Incident, colour: bool, width: usize) -> String {
    let mut card = Card::new(incident.severity, colour, width);
    card.bar = GREEN;
    card.title("RESOLVED", &incident.title);
    card.row("when", &[when(incident)]);
    card.row("incident", std::slice::from_ref(&incident.id));
    card.text
}

/// `namespace/workload` of a suspect.
pub(crate) fn suspect_name(suspect: &Suspect) -> String {
    let name = Endpoint {
        namespace: suspect.namespace.clone(),
        workload: suspect.workload.clone(),
        ..Endpoint::default()
    };
    name.label()
}

fn badge(incident: &Incident) -> String {
    incident.severity.name().to_uppercase()
}

/// Since when, for how long, and how soon it was noticed.
fn when(incident: &Incident) -> String {
    let lasted = |end: EventTime| format_duration(end.since(incident.onset));
    let life = match (incident.status, incident.closed) {
        (IncidentStatus::Resolved, Some(closed)) => format!("resolved after {}", lasted(closed)),
        (IncidentStatus::Resolved, None) => format!("resolved, last seen after {}", lasted(incident.updated)),
        (IncidentStatus::Open, _) => format!("{} so far", lasted(incident.updated)),
    };
    let onset = format_utc(incident.onset).for_people();
    format!("{onset} · {life} · noticed after {}", lasted(incident.opened))
}

fn edges(edges: &[Edge]) -> Vec<String> {
    let labels: Vec<String> = edges.iter().map(Edge::label).collect();
    several(&labels, EDGES_MAX)
}

fn suspects(suspects: &[Suspect]) -> Vec<String> {
    suspects
        .iter()
        .map(|suspect| format!("{}. {}: {}", suspect.rank, suspect_name(suspect), suspect.reasons.join("; ")))
        .collect()
}

fn identity(incident: &Incident) -> String {
    let findings = incident.finding_ids.len();
    let noun = if findings == 1 { "finding" } else { "findings" };
    let period = incident.return_period_seconds.map_or_else(String::new, |seconds| {
        // Beyond a century it is "never" to anybody.
        let seconds = seconds.clamp(0.0, 3.15e9);
        format!(" · once in {}", format_duration(std::time::Duration::from_secs_f64(seconds)))
    });
    format!("{} · {findings} {noun}{period} · calibration: {}", incident.id, incident.calibration.name())
}

/// The first of a list, and how many more there are.
fn several(lines: &[String], lines_max: usize) -> Vec<String> {
    let mut shown: Vec<String> = lines.iter().take(lines_max).cloned().collect();
    if lines_max < lines.len() {
        shown.push(format!("and {} more", lines.len() - lines_max));
    }
    shown
}

fn joined(words: &[String], between: &str) -> Vec<String> {
    if words.is_empty() { Vec::new() } else { vec![words.join(between)] }
}

/// A card being written.
struct Card {
    text: String,
    colour: bool,
    width: usize,
    bar: &'static str,
}

impl Card {
    fn new(severity: Severity, colour: bool, width: usize) -> Self {
        let bar = match severity {
            Severity::Critical => "\x1b[1;35m",
            Severity::High => "\x1b[31m",
            Severity::Medium => "\x1b[33m",
            Severity::Low => "\x1b[36m",
            Severity::Info => "\x1b[34m",
        };
        Self { text: String::new(), colour, width: width.max(WIDTH_MIN), bar }
    }

    fn painted(&self, text: &str, paint: &str) -> String {
        if self.colour { format!("{paint}{text}{RESET}") } else { text.to_owned() }
    }

    fn line(&mut self, text: &str) {
        let bar = self.painted("┃", self.bar);
        self.text += &format!("{bar} {}\n", text.trim_end());
    }

    fn title(&mut self, badge: &str, title: &str) {
        let lines = wrap(&visible(title), self.room());
        for (index, line) in lines.iter().take(ENTRY_LINES_MAX).enumerate() {
            let name = format!("{:<NAME_WIDTH$}", if index == 0 { badge } else { "" });
            let (name, line) = (self.painted(&name, self.bar), self.painted(line, BOLD));
            self.line(&format!("{name}{line}"));
        }
    }

    /// A named row with a line or more for each entry; nothing for no entries.
    fn row(&mut self, name: &str, entries: &[String]) {
        let mut name = name;
        for entry in entries {
            let mut lines = broken(&visible(entry), self.room());
            if lines.len() > ENTRY_LINES_MAX {
                let rest = lines.split_off(ENTRY_LINES_MAX - 1).join(" ");
                lines.push(clip(&rest, self.room() - 2));
            }
            for (index, line) in lines.iter().enumerate() {
                let named = self.painted(&format!("{name:<NAME_WIDTH$}"), DIM);
                let indent = if index == 0 { "" } else { "  " };
                self.line(&format!("{named}{indent}{line}"));
                name = "";
            }
        }
    }

    /// Characters beside the bar and the name of the row.
    fn room(&self) -> usize {
        self.width - NAME_WIDTH - 2
    }
}

/// As it is when it fits; else broken between words, with room for an indent.
fn broken(entry: &str, room: usize) -> Vec<String> {
    if entry.chars().count() <= room { vec![entry.to_owned()] } else { wrap(entry, room - 2) }
}
