//! What the replay tests share: the shipped captures, their labels, and one way to play them.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use selvedge_engine::{EngineConfig, RuleSet};
use selvedge_replay::capture::{CaptureReader, CaptureWriter};
use selvedge_replay::{Pace, Played, play};
use selvedge_testkit::RawFrame;

/// The captures of normal traffic that every attack is judged against.
pub const NORMAL: [&str; 2] = ["normal_1", "normal_2"];

/// Every other capture.
pub const JUDGED: [&str; 13] = [
    "cert_expired",
    "error_burst",
    "evasion_utf8",
    "exfiltration",
    "flood",
    "forged_ca",
    "forged_xfcc",
    "latency_spike",
    "lateral_sidecar",
    "plaintext_permissive",
    "quarantine",
    "quarantine_shadow",
    "scan",
];

/// As fast as it goes.
pub struct NoPace;

impl Pace for NoPace {
    fn frame(&mut self, _capture: &Path, _since_previous: Duration, _bytes_read: u64, _bytes_total: u64) {}
}

/// The folder of the shipped captures.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/envoy")
}

/// Path of a shipped capture.
pub fn capture(name: &str) -> PathBuf {
    folder().join(format!("{name}.otlpcap.zst"))
}

/// Plays shipped captures.
pub fn play_shipped(learn: &[&str], judge: &[&str], shards: usize) -> Played {
    let paths = |names: &[&str]| names.iter().map(|name| capture(name)).collect::<Vec<_>>();
    play_paths(&paths(learn), &paths(judge), shards)
}

/// Plays any captures.
pub fn play_paths(learn: &[PathBuf], judge: &[PathBuf], shards: usize) -> Played {
    let config = EngineConfig { shards, ..EngineConfig::default() };
    play(&config, RuleSet::shipped(), learn, judge, &mut NoPace).unwrap()
}

/// The four files that must not depend on shards, speed or batch cuts, as one text.
pub fn outputs(played: &Played) -> String {
    let folder = tempfile::tempdir().unwrap();
    selvedge_replay::write_outputs(folder.path(), played, selvedge_replay::Usage::default()).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    ["transcript.txt", "incidents.jsonl", "findings.jsonl", "actions.jsonl"].map(read).join("\n")
}

/// The label file of a capture.
pub fn label(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(folder().join(format!("{name}.label.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// All frames of a shipped capture.
pub fn frames(name: &str) -> Vec<RawFrame> {
    let reader = CaptureReader::open(&capture(name)).unwrap();
    reader
        .map(|frame| {
            let frame = frame.unwrap();
            RawFrame { signal: frame.signal, observed: frame.observed.unwrap(), payload: frame.body }
        })
        .collect()
}

/// Writes frames as a capture into `folder`.
pub fn write_frames(folder: &Path, name: &str, frames: &[RawFrame]) -> PathBuf {
    let path = folder.join(format!("{name}.otlpcap"));
    let mut writer = CaptureWriter::create(&path).unwrap();
    for frame in frames {
        writer.write(frame.signal, frame.observed, &frame.payload).unwrap();
    }
    writer.finish().unwrap();
    path
}
