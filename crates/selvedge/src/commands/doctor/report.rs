//! The report, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use schemars::JsonSchema;
use selvedge_act::reporter_document::ReporterDocument;
use selvedge_act::visible;
use selvedge_model::ObservedTime;
use serde::Serialize;

use super::check::{Check, Group, Level, share};
use super::reporters::{inbound, label, outbound};
use super::snippets::Snippet;

/// Workloads in the table for people; JSON has all.
const SHOWN_MAX: usize = 20;
/// Columns of a subject; a longer one moves its text to the right.
const SUBJECT_MAX: usize = 34;
/// Columns of a level, and of what is before a text that belongs to a check.
const LEVEL: usize = 6;
/// Columns of a text on the narrowest terminal.
const TEXT_MIN: usize = 40;

/// Everything that was found.
pub(super) struct Report {
    pub(super) groups: Vec<Group>,
    pub(super) reporters: Vec<ReporterDocument>,
    pub(super) url: String,
    pub(super) version: &'static str,
}

/// What `--json` prints.
#[derive(Serialize, JsonSchema)]
pub(super) struct DoctorDocument<'a> {
    /// Version of the program that looked.
    version: &'a str,
    /// Address at which an engine was looked for.
    url: &'a str,
    /// The worst level of all checks.
    level: Level,
    groups: Vec<GroupDocument<'a>>,
    /// What each workload's telemetry brought in the last minutes; empty when no engine answers.
    reporters: &'a [ReporterDocument],
    /// Each snippet that a check names, once.
    snippets: Vec<SnippetDocument>,
}

/// Checks that belong together.
#[derive(Serialize, JsonSchema)]
struct GroupDocument<'a> {
    /// `engine`, `ports`, `clock`, `disk`, `limits`, `files`, `journal`, `checkpoints` or `reporters`.
    name: &'a str,
    /// For people.
    title: &'a str,
    checks: Vec<CheckDocument<'a>>,
}

/// What one check found.
#[derive(Serialize, JsonSchema)]
struct CheckDocument<'a> {
    level: Level,
    /// What was looked at.
    subject: &'a str,
    /// What was found.
    text: &'a str,
    /// What to do; empty when nothing.
    advice: &'a str,
    /// Kinds of findings that cannot be seen as it is.
    unseen: &'a [&'a str],
    /// Names of snippets that mend it, in the order in which to apply them.
    snippets: Vec<&'a str>,
}

/// A piece of configuration.
#[derive(Serialize, JsonSchema)]
struct SnippetDocument {
    /// `mesh/what`.
    name: &'static str,
    yaml: &'static str,
}

impl<'a> From<&'a Group> for GroupDocument<'a> {
    fn from(group: &'a Group) -> Self {
        let checks = group.checks.iter().map(CheckDocument::from).collect();
        Self { name: group.name, title: &group.title, checks }
    }
}

impl<'a> From<&'a Check> for CheckDocument<'a> {
    fn from(check: &'a Check) -> Self {
        Self {
            level: check.level,
            subject: &check.subject,
            text: &check.text,
            advice: &check.advice,
            unseen: check.unseen,
            snippets: check.snippets.iter().map(|snippet| snippet.name).collect(),
        }
    }
}

impl Report {
    fn checks(&self) -> impl Iterator<Item = &Check> {
        self.groups.iter().flat_map(|group| &group.checks)
    }

    pub(super) fn level(&self) -> Level {
        self.checks().map(|check| check.level).max().unwrap_or(Level::Ok)
    }

    pub(super) fn count(&self, level: Level) -> usize {
        self.checks().filter(|check| check.level == level).count()
    }

    /// Each once, in the order in which they are named.
    fn snippets(&self) -> Vec<Snippet> {
        let mut snippets: Vec<Snippet> = Vec::new();
        for snippet in self.checks().flat_map(|check| &check.snippets) {
            if !snippets.contains(snippet) {
                snippets.push(*snippet);
            }
        }
        snippets
    }

    pub(super) fn document(&self) -> DoctorDocument<'_> {
        let snippet = |snippet: Snippet| SnippetDocument { name: snippet.name, yaml: snippet.yaml };
        DoctorDocument {
            version: self.version,
            url: &self.url,
            level: self.level(),
            groups: self.groups.iter().map(GroupDocument::from).collect(),
            reporters: &self.reporters,
            snippets: self.snippets().into_iter().map(snippet).collect(),
        }
    }

    /// For people: a line a check, what to do below it, snippets at the end.
    pub(super) fn text(&self, width: usize, colour: bool, now: ObservedTime) -> String {
        let mut text = String::new();
        for group in &self.groups {
            line(&mut text, &visible(&group.title));
            if group.name == "reporters" {
                table(&mut text, &self.reporters, now);
            }
            let subjects = group.checks.iter().map(|check| check.subject.chars().count());
            let column = subjects.max().unwrap_or(0).min(SUBJECT_MAX);
            for check in &group.checks {
                lines(&mut text, check, column, width, colour);
            }
            line(&mut text, "");
        }
        let snippets = self.snippets();
        if !snippets.is_empty() {
            line(
                &mut text,
                "Snippets (`ledger` and `bank` stand for the workload and its namespace; --mesh has others)\n",
            );
        }
        for Snippet { name, yaml } in snippets {
            line(&mut text, &format!("--- {name} ---"));
            line(&mut text, yaml);
        }
        let counts = [Level::Ok, Level::Warn, Level::Fail, Level::Unknown].map(|level| self.count(level));
        let [ok, warn, fail, unknown] = counts;
        let many = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let (warn, fail) = (many(warn, "warning"), many(fail, "failure"));
        line(&mut text, &format!("{ok} ok, {warn}, {fail}, {unknown} that cannot be told from here"));
        text
    }
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a string cannot fail");
}

fn lines(text: &mut String, check: &Check, column: usize, width: usize, colour: bool) {
    let (level, subject) = (check.level.name(), visible(&check.subject));
    let indent = LEVEL + column + 2;
    let room = width.saturating_sub(indent).max(TEXT_MIN);
    let mut told = wrap(&visible(&check.text), room).into_iter();
    let painted = paint(check.level, &format!("{level:LEVEL$}"), colour);
    line(text, &format!("{painted}{subject:column$}  {}", told.next().unwrap_or_default()));
    told.for_each(|more| line(text, &format!("{:indent$}{more}", "")));
    if check.level == Level::Ok {
        return;
    }
    let names: Vec<&str> = check.snippets.iter().map(|snippet| snippet.name).collect();
    for (what, said) in [
        ("do: ", check.advice.clone()),
        ("unseen: ", check.unseen.join(", ")),
        ("snippets: ", names.join(", ")),
    ] {
        if said.is_empty() {
            continue;
        }
        let below = indent + what.len();
        let mut said = wrap(&visible(&said), width.saturating_sub(below).max(TEXT_MIN)).into_iter();
        line(text, &format!("{:indent$}{what}{}", "", said.next().unwrap_or_default()));
        said.for_each(|more| line(text, &format!("{:below$}{more}", "")));
    }
}

/// Broken between words alone: what is longer than a line is a path, which people copy.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let has_room = |line: &&mut String| line.chars().count() + 1 + word.chars().count() <= width;
        match lines.last_mut().filter(has_room) {
            Some(line) => line.extend([" ", word]),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn paint(level: Level, word: &str, colour: bool) -> String {
    if !colour {
        return word.to_owned();
    }
    let code = match level {
        Level::Ok => "32",
        Level::Unknown => "36",
        Level::Warn => "33",
        Level::Fail => "1;31",
    };
    format!("\u{1b}[{code}m{word}\u{1b}[0m")
}

/// What each workload brings: the fullest first.
fn table(text: &mut String, reporters: &[ReporterDocument], now: ObservedTime) {
    if reporters.is_empty() {
        return;
    }
    let head = ["WORKLOAD", "SPANS", "LOGS", "METRICS", "SIDES", "CALLER ID", "BOTH SIDES", "HEARD"]
        .map(str::to_owned);
    let rows: Vec<[String; 8]> =
        std::iter::once(head).chain(reporters.iter().take(SHOWN_MAX).map(|one| row(one, now))).collect();
    let widths: Vec<usize> =
        (0..8).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(text, &format!("{:LEVEL$}{}", "", cells.join("  ").trim_end()));
    }
    if reporters.len() > SHOWN_MAX {
        line(text, &format!("{:LEVEL$}and {} more: --json has all", "", reporters.len() - SHOWN_MAX));
    }
}

fn row(one: &ReporterDocument, now: ObservedTime) -> [String; 8] {
    let ((answered, _), (made, _)) = (inbound(one), outbound(one));
    let sides = match (made.records > 0, answered.records > 0) {
        (true, true) => "both",
        (true, false) => "caller",
        (false, true) => "callee",
        (false, false) => "-",
    };
    let calls = [one.calls_made, one.calls_answered];
    let (both, all) =
        calls.iter().fold((0, 0), |(both, all), sides| (both + sides.both, all + sides.total()));
    let of = |part, of| if of == 0 { "-".to_owned() } else { share(part, of) };
    [
        visible(&label(&one.workload)),
        one.spans.records().to_string(),
        (one.access_logs.records() + one.connection_logs).to_string(),
        one.metric_points.to_string(),
        sides.to_owned(),
        of(answered.peer_principal, answered.identity_due),
        of(both, all),
        one.heard_unix_nano
            .map_or_else(|| "never".to_owned(), |heard| format!("{} ago", age(ObservedTime(heard.0), now))),
    ]
}

/// How long ago, for people.
pub(super) fn age(at: ObservedTime, now: ObservedTime) -> String {
    let seconds = Duration::from_nanos(now.0.saturating_sub(at.0)).as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use schemars::generate::SchemaSettings;
    use serde_json::{Value, json};

    use super::super::snippets::{Topic, mending};
    use super::*;
    use crate::cli::Mesh;

    fn report() -> Report {
        let fail = Check::fail("callers' identities", "missing at bank/ledger\u{1b}[2J")
            .advise("send them")
            .blind_to(&["forged_identity"])
            .mended_by(mending(Topic::Inbound, Mesh::Envoy));
        let groups = vec![
            Group {
                name: "clock",
                title: "Clock".to_owned(),
                checks: vec![Check::ok("wall clock", "kept right")],
            },
            Group { name: "reporters", title: "Reporters".to_owned(), checks: vec![fail.clone(), fail] },
        ];
        Report { groups, reporters: Vec::new(), url: "http://127.0.0.1:4319".to_owned(), version: "1.0.0" }
    }

    #[test]
    fn people_read_a_line_a_check_with_what_to_do_and_each_snippet_once() {
        let text = report().text(90, false, ObservedTime(0));
        assert!(text.contains("ok    wall clock  kept right"), "{text}");
        assert!(text.contains("FAIL  callers' identities  missing at bank/ledger\u{fffd}[2J"), "{text}");
        assert!(text.contains("do: send them") && text.contains("unseen: forged_identity"), "{text}");
        assert_eq!(text.matches("--- envoy/access_log_inbound ---").count(), 1);
        assert!(text.ends_with("1 ok, 0 warnings, 2 failures, 0 that cannot be told from here\n"), "{text}");
        assert!(
            !text.contains('\u{1b}') && report().text(90, true, ObservedTime(0)).contains("\u{1b}[1;31mFAIL")
        );
    }

    #[test]
    fn a_path_that_is_longer_than_a_line_is_not_broken() {
        let path = format!("/state/{}.slvckp", "0123456789".repeat(12));
        let check = Check::warn("position 7", format!("it is damaged (9 B): {path}")).advise("remove it");
        let groups =
            vec![Group { name: "checkpoints", title: "Checkpoints".to_owned(), checks: vec![check] }];
        let text = Report { groups, ..report() }.text(80, false, ObservedTime(0));
        let mut lines = text.lines().filter(|line| line.ends_with(&path));
        assert!(lines.next().is_some_and(|line| line.trim() == path), "{text}");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
    }

    #[test]
    fn an_age_is_told_in_the_unit_that_it_has() {
        let ago = |seconds: u64| age(ObservedTime(0), ObservedTime(seconds * 1_000_000_000));
        assert_eq!([0, 119, 120, 7_200, 172_800].map(ago), ["0 s", "119 s", "2 min", "2 h", "2 days"]);
        assert_eq!(age(ObservedTime(9), ObservedTime(0)), "0 s", "a clock that is ahead");
    }

    /// The schema is that of the type; with `UPDATE_GOLDEN` set it is written.
    #[test]
    fn the_schema_in_the_repository_is_that_of_the_document_and_holds_it() {
        let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
        let mut schema = generator.into_root_schema_for::<DoctorDocument<'_>>();
        schema.insert("$id".to_owned(), json!("urn:selvedge:schema:doctor:v1"));
        let schema: Value = schema.to_value();
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas/doctor.v1.schema.json");
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if crate::logging::env("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == text,
            "run the tests with UPDATE_GOLDEN=1"
        );
        let document = serde_json::to_value(report().document()).unwrap();
        assert_eq!(
            (&document["level"], &document["snippets"][0]["name"]),
            (&json!("fail"), &json!("envoy/access_log_inbound"))
        );
        jsonschema::validate(&schema, &document).unwrap();
    }
}
