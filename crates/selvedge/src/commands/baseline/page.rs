//! Edges and versions, for people and for programs.

use std::fmt::Write as _;

use selvedge_act::document::format_utc;
use selvedge_act::visible;
use selvedge_checkpoint::Found;
use selvedge_engine::EdgeSummary;
use selvedge_model::EventTime;
use serde_json::{Value, json};

/// A line an edge.
pub(super) fn edges(edges: &[EdgeSummary]) -> String {
    let head = ["EDGE", "KNOWN", "CALLS", "ROUTES", "WINDOWS", "P50", "P99"].map(str::to_owned);
    let row = |edge: &EdgeSummary| {
        [
            visible(&edge.edge.label()),
            edge.provenance.name().to_owned(),
            edge.calls.to_string(),
            edge.routes.to_string(),
            edge.windows.to_string(),
            millis(edge.latency_nanos[0]),
            millis(edge.latency_nanos[1]),
        ]
    };
    columns(std::iter::once(head).chain(edges.iter().map(row)).collect())
}

/// A line a checkpoint.
pub(super) fn versions(found: &[Found]) -> String {
    let head = ["TAKEN", "BY", "NOTE", "FILE"].map(str::to_owned);
    let row = |one: &Found| {
        [
            format_utc(EventTime(one.head.taken_unix_nano)).for_people(),
            format!("selvedge {}", visible(&one.head.written_by)),
            if one.head.note.is_empty() { "-".to_owned() } else { visible(&one.head.note) },
            one.path.display().to_string(),
        ]
    };
    columns(std::iter::once(head).chain(found.iter().map(row)).collect())
}

pub(super) fn edge_json(edge: &EdgeSummary) -> Value {
    json!({
        "edge": edge.edge.label(), "external": edge.external, "provenance": edge.provenance.name(),
        "calls": edge.calls, "routes": edge.routes, "windows": edge.windows,
        "latency_nanos_p50": edge.latency_nanos[0], "latency_nanos_p99": edge.latency_nanos[1],
    })
}

pub(super) fn version_json(one: &Found) -> Value {
    json!({ "path": one.path, "head": one.head })
}

fn millis(nanos: Option<u64>) -> String {
    nanos.map_or_else(
        || "-".to_owned(),
        |nanos| format!("{:.1} ms", std::time::Duration::from_nanos(nanos).as_secs_f64() * 1e3),
    )
}

fn columns<const N: usize>(rows: Vec<[String; N]>) -> String {
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(widest).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:width$}  ").expect("writing to a string cannot fail");
        }
        writeln!(text, "{}", line.trim_end()).expect("writing to a string cannot fail");
    }
    text
}
