//! Quarantines for people: a table of many, a page of one.

use std::fmt::Write as _;

use selvedge_act::document::{EndpointDocument, UnixNano, format_utc};
use selvedge_act::quarantine_document::{BacktestDocument, CutDocument, QuarantineDocument};
use selvedge_act::{visible, wrap};
use selvedge_model::EventTime;

/// Columns of the labels at the left of a page.
const LABEL: usize = 12;
/// Columns before what stands below the line it belongs to.
const INDENT: usize = 2;
/// Columns of such a text on the narrowest terminal.
const WHAT_MIN: usize = 20;

/// A line of columns each, and below it what it is about, as wide as `width` allows.
pub(super) fn table(quarantines: &[QuarantineDocument], width: usize) -> String {
    let head = (["ID", "STATE", "PROGRESS", "DENIES", "NORMAL", "UNTIL"].map(str::to_owned), "WHAT");
    let rows: Vec<([String; 6], &str)> = std::iter::once(head).chain(quarantines.iter().map(row)).collect();
    let widest = |column: usize| rows.iter().map(|(row, _)| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..6).filter_map(widest).collect();
    let mut text = String::new();
    for (row, what) in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            pad(&mut line, cell, *width);
            line.push_str("  ");
        }
        writeln!(text, "{}", line.trim_end()).expect("writing to a string cannot fail");
        for line in wrap(&visible(what), width.saturating_sub(INDENT).max(WHAT_MIN)) {
            writeln!(text, "{:INDENT$}{line}", "").expect("writing to a string cannot fail");
        }
    }
    text
}

fn row(document: &QuarantineDocument) -> ([String; 6], &str) {
    let backtest = &document.backtest;
    let columns = [
        visible(&document.id),
        visible(&document.state),
        if document.ended.is_empty() { visible(&document.progress) } else { "-".to_owned() },
        backtest.denied.to_string(),
        backtest.denied_normal.to_string(),
        document.expires_unix_nano.map_or_else(|| "-".to_owned(), time),
    ];
    (columns, &document.reason)
}

fn pad(line: &mut String, cell: &str, width: usize) {
    line.push_str(cell);
    line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
}

fn time(at: UnixNano) -> String {
    format_utc(EventTime(at.0)).for_people()
}

/// What became of a change.
pub(super) fn outcome(document: &QuarantineDocument) -> String {
    let mut text = format!("{} is {}", visible(&document.id), standing(document));
    if !document.ended.is_empty() {
        text.push_str(&format!(": {}", visible(&document.ended)));
    } else if let Some(until) = document.expires_unix_nano {
        text.push_str(&format!(", until {}", time(until)));
    }
    text.push('\n');
    text
}

/// State and progress; of what has ended the progress says nothing any more.
fn standing(document: &QuarantineDocument) -> String {
    if !document.ended.is_empty() {
        return visible(&document.state);
    }
    let mut text = format!("{}, {}", visible(&document.state), visible(&document.progress));
    if !document.progress_reason.is_empty() {
        text.push_str(&format!(" ({})", visible(&document.progress_reason)));
    }
    text
}

/// Everything about one: what a person should know before approving it.
pub(super) fn page(
    document: &QuarantineDocument,
    target: &str,
    policy: &Result<String, Vec<String>>,
    width: usize,
) -> String {
    let mut page = Page { text: String::new(), width };
    page.entry("quarantine", &format!("{} · {}", document.id, standing(document)));
    page.entry("what", &document.reason);
    page.entry("incident", &document.incident_id);
    page.list("cuts", document.cuts.iter().map(cut));
    let count = document.evidence.len();
    page.entry("evidence", &format!("{count} findings: {}", document.evidence.join(" ")));
    page.backtest(&document.backtest);
    page.list("not stopped", document.not_stopped.iter().cloned());
    page.entry("lease", &lease(document));
    match policy {
        Ok(text) => {
            page.entry("policy", &format!("for {target}"));
            page.text.push('\n');
            for line in text.lines() {
                page.text.push_str(&visible(line));
                page.text.push('\n');
            }
        }
        Err(reasons) => {
            page.entry("policy", &format!("for {target} there is none:"));
            page.list("", reasons.iter().cloned());
        }
    }
    page.text
}

fn lease(document: &QuarantineDocument) -> String {
    let minutes = document.ttl_seconds / 60;
    let until = match document.expires_unix_nano {
        Some(until) => format!("until {}", time(until)),
        None => "not granted yet".to_owned(),
    };
    let mut text = format!(
        "{minutes} min, {until}, renewed {} times; proposed at {}; owner {}",
        document.renewals,
        time(document.created_unix_nano),
        document.owner
    );
    if !document.ended.is_empty() {
        text.push_str(&format!("; ended: {}", document.ended));
    }
    text
}

fn cut(cut: &CutDocument) -> String {
    let whom = match cut.caller.as_str() {
        "principal" => format!("refuses {}", cut.principal),
        "unauthenticated" => "refuses who proves no identity".to_owned(),
        _ => "keeps the workload itself".to_owned(),
    };
    let mut text = format!("{} at {}: {whom}", cut.place, label(&cut.workload));
    if !cut.hosts.is_empty() {
        text.push_str(&format!(" from {}", cut.hosts.join(", ")));
    } else if cut.place == "outbound" {
        text.push_str(" from every host");
    }
    let any = |text: &str| if text.is_empty() { "*".to_owned() } else { text.to_owned() };
    let operations: Vec<String> =
        cut.operations.iter().map(|one| format!("{} {}", any(&one.method), any(&one.route))).collect();
    if operations.is_empty() {
        text.push_str(", whatever is asked for");
    } else {
        text.push_str(&format!(", for {}", operations.join(", ")));
    }
    text
}

fn label(endpoint: &EndpointDocument) -> String {
    match (endpoint.namespace.as_str(), endpoint.workload.as_str()) {
        ("", "") if endpoint.principal.is_empty() => "nobody that could be identified".to_owned(),
        ("", "") => endpoint.principal.clone(),
        ("", workload) => workload.to_owned(),
        (namespace, workload) => format!("{namespace}/{workload}"),
    }
}

/// A page while it is written.
struct Page {
    text: String,
    width: usize,
}

impl Page {
    /// A label and its text, broken into lines below each other.
    fn entry(&mut self, label: &str, text: &str) {
        for (at, line) in wrap(&visible(text), self.width.saturating_sub(LABEL)).iter().enumerate() {
            let label = if at == 0 { label } else { "" };
            writeln!(self.text, "{label:<LABEL$}{line}").expect("writing to a string cannot fail");
        }
    }

    fn list(&mut self, label: &str, texts: impl Iterator<Item = String>) {
        for (at, text) in texts.enumerate() {
            self.entry(if at == 0 { label } else { "" }, &format!("- {text}"));
        }
    }

    fn backtest(&mut self, backtest: &BacktestDocument) {
        let second = |seconds: u64| time(UnixNano(seconds.saturating_mul(1_000_000_000)));
        if backtest.considered == 0 {
            self.entry("backtest", "no recent call passes where it cuts");
            return;
        }
        self.entry(
            "backtest",
            &format!(
                "{} of {} calls would have been denied ({}), {} of them normal before the onset; {} undecided",
                backtest.denied,
                backtest.considered,
                share(backtest.denied, backtest.considered),
                backtest.denied_normal,
                backtest.undecided
            ),
        );
        let (from, until) = (second(backtest.from_unix_seconds), second(backtest.until_unix_seconds));
        self.entry("", &format!("made when it was proposed, of the traffic from {from} to {until}"));
        let callers = backtest.callers.iter().map(|caller| {
            let (who, denied, normal) = (label(&caller.caller), caller.denied, caller.denied_normal);
            format!("{who}: {denied} denied, {normal} of them normal")
        });
        self.list("whose", callers);
        let routes = backtest.routes.iter().map(|route| format!("{}: {}", route.route, route.denied));
        self.list("routes", routes);
        if backtest.more > 0 {
            self.entry("", &format!("and {} more callers and routes", backtest.more));
        }
    }
}

/// A part of a whole, in per cent.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn share(part: u64, whole: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}
