//! The files of a replay (design section 4), and its `summary.json`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use selvedge_act::document::{ActionDocument, FindingDocument, IncidentDocument};
use selvedge_engine::Stats;
use selvedge_model::{EventTime, Fate, SignalKind};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::player::Played;

/// What the replay cost, measured by the caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Wall-clock seconds.
    pub wall_seconds: f64,
    /// User and system CPU seconds.
    pub cpu_seconds: f64,
    /// Largest resident set.
    pub peak_rss_bytes: u64,
}

/// Writes all files into `folder`, which is made when it is not there.
///
/// # Errors
/// The folder or a file cannot be written.
pub fn write_outputs(folder: &Path, played: &Played, usage: Usage) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    write_lines(&folder.join("incidents.jsonl"), played.incidents.iter().map(IncidentDocument::from))?;
    write_lines(
        &folder.join("findings.jsonl"),
        played.transcript.findings.iter().map(FindingDocument::from),
    )?;
    write_lines(&folder.join("actions.jsonl"), played.transcript.actions.iter().map(ActionDocument::from))?;
    std::fs::write(folder.join("transcript.txt"), played.transcript.text())?;
    let summary = serde_json::to_string_pretty(&summary(played, usage)).map_err(std::io::Error::other)?;
    std::fs::write(folder.join("summary.json"), summary + "\n")
}

fn write_lines<T: Serialize>(path: &Path, documents: impl Iterator<Item = T>) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for document in documents {
        serde_json::to_writer(&mut file, &document)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

fn summary(played: &Played, usage: Usage) -> Value {
    let stats = &played.stats;
    let time = |at: Option<EventTime>| at.map(|at| at.0.to_string());
    json!({
        "frames": played.frames,
        "frames_malformed": played.frames_malformed,
        "bytes": stats.bytes,
        "signals": signals(stats),
        "calls": stats.calls,
        "calls_by_side": {
            "both": stats.calls_both,
            "client_only": stats.calls_client_only,
            "external": stats.calls_external,
            "server_only": stats.calls_server_only,
        },
        "fates": fates(stats),
        "edges": stats.edges,
        "windows": stats.windows,
        "findings": played.transcript.findings.len(),
        "incidents": played.incidents.len(),
        "actions": played.transcript.actions.len(),
        "repaired_strings": stats.repaired_strings,
        "event_time_start_unix_nano": time(stats.event_time_start),
        "event_time_end_unix_nano": time(stats.event_time_end),
        "torn_captures": played.torn.iter().map(|torn| format!("{}: {}", torn.path.display(), torn.what)).collect::<Vec<_>>(),
        "wall_seconds": usage.wall_seconds,
        "cpu_seconds": usage.cpu_seconds,
        "peak_rss_bytes": usage.peak_rss_bytes,
    })
}

fn signals(stats: &Stats) -> Value {
    SignalKind::ALL
        .iter()
        .map(|kind| (kind.name().to_owned(), json!(stats.ledger.received(*kind))))
        .collect::<Map<_, _>>()
        .into()
}

/// Every fate, over all signals and by kind: the sums equal `signals`.
fn fates(stats: &Stats) -> Value {
    let by_fate = |fate: Fate| {
        let mut counts: Map<String, Value> = SignalKind::ALL
            .iter()
            .map(|kind| (kind.name().to_owned(), json!(stats.ledger.count(*kind, fate))))
            .collect();
        let total: u64 = SignalKind::ALL.iter().map(|kind| stats.ledger.count(*kind, fate)).sum();
        counts.insert("total".to_owned(), json!(total));
        counts
    };
    Fate::ALL
        .iter()
        .map(|fate| (fate.name().to_owned(), Value::from(by_fate(*fate))))
        .collect::<Map<_, _>>()
        .into()
}
