//! Faults recorded in other systems, against their labels: the table of `cargo xtask soak recorded`.
//!
//! The captures stand beside the checkout and are not shipped; where they are absent, that is said and nothing is tested.
//! Nothing here may be tuned to them: the tests demand only that names do not matter, and floors far below what is found.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

#[path = "../common/mod.rs"]
mod common;
mod labels;
mod outcome;

use std::path::{Path, PathBuf};

use common::{NoPace, write_frames};
use labels::Fault;
use outcome::Outcome;
use selvedge_engine::{EngineConfig, Pipeline, RuleSet};
use selvedge_model::EventTime;
use selvedge_replay::capture::CaptureReader;
use selvedge_replay::judge;
use selvedge_testkit::{RawFrame, Renaming, rename};

/// How label files may be written; the first reader that understands one is taken. Another kind is another line.
const READERS: &[Reader] = &[labels::injected];

/// Reads the text of a label file.
type Reader = fn(&str) -> Option<Vec<Fault>>;

/// One recording of another system.
struct Recording {
    name: String,
    capture: PathBuf,
    faults: Vec<Fault>,
}

/// Every capture beside the checkout that has a label file with faults in it.
fn recordings() -> Vec<Recording> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    let inside = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder)
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default()
    };
    let mut recordings: Vec<Recording> = inside(&folder)
        .iter()
        .flat_map(|system| inside(system))
        .filter_map(|capture| {
            let name = capture.to_str()?.strip_suffix(".otlpcap.zst")?.to_owned();
            let text = std::fs::read_to_string(format!("{name}.labels.json")).ok()?;
            let faults = READERS.iter().find_map(|read| read(&text))?;
            let name = Path::new(&name).strip_prefix(&folder).ok()?.display().to_string();
            Some(Recording { name, capture, faults })
        })
        .collect();
    recordings.sort_by(|left, right| left.name.cmp(&right.name));
    if recordings.is_empty() {
        eprintln!("not tested: no recordings with labels in {}", folder.display());
    }
    recordings
}

/// Judges a capture, and says who was in it.
fn play(path: &Path, faults: &[Fault]) -> (Outcome, Vec<String>) {
    let mut pipeline = Pipeline::new(&EngineConfig::default(), RuleSet::shipped());
    let played = judge(&mut pipeline, &[path.to_owned()], &mut NoPace).unwrap();
    let mut names: Vec<String> = pipeline
        .edges()
        .into_iter()
        .flat_map(|summary| [summary.edge.source, summary.edge.destination])
        .flat_map(|end| [end.workload, end.namespace])
        .chain(faults.iter().map(|fault| fault.service.clone()))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort();
    names.dedup();
    (Outcome::of(&played, faults, received(path)), names)
}

/// When the first and the last batch were received.
fn received(path: &Path) -> (EventTime, EventTime) {
    let times = CaptureReader::open(path).unwrap().map(|frame| EventTime(frame.unwrap().observed.unwrap().0));
    times.fold((EventTime(u64::MAX), EventTime(0)), |(first, last), at| (first.min(at), last.max(at)))
}

/// A word of letters for each number, in another order than the numbers' own.
fn word(number: usize) -> String {
    let letter = |digit: usize| char::from(b'a' + u8::try_from(digit % 26).unwrap());
    let mixed = number * 7_919 % 17_576;
    format!("w{}{}{}", letter(mixed), letter(mixed / 26), letter(mixed / 676))
}

/// The same capture and labels under other names.
fn renamed(to: &Path, path: &Path, faults: &[Fault], names: &[String]) -> (PathBuf, Vec<Fault>) {
    let new: Vec<String> = (1..=names.len()).map(word).collect();
    let renaming = Renaming::new(names.iter().zip(&new));
    let frames: Vec<RawFrame> = CaptureReader::open(path)
        .unwrap()
        .map(|frame| frame.unwrap())
        .map(|frame| RawFrame {
            signal: frame.signal,
            observed: frame.observed.unwrap(),
            payload: frame.body,
        })
        .collect();
    let faults = faults
        .iter()
        .map(|fault| Fault {
            service: String::from_utf8(renaming.apply(fault.service.as_bytes())).unwrap(),
            ..fault.clone()
        })
        .collect();
    (write_frames(to, "renamed", &rename(&frames, &renaming)), faults)
}

/// Prints, for each fault of each recording, whether it was found, how soon, and at which rank the right service stands.
/// Guarantees: under other names the same is found; and of faults in code, where logs were recorded, at least half.
#[test]
fn recorded_faults_are_found_whatever_things_are_called() {
    for Recording { name, capture, faults } in recordings() {
        let (outcome, names) = play(&capture, &faults);
        eprintln!("{}", outcome.table(&name, &faults));
        let room = tempfile::tempdir().unwrap();
        let (other, other_faults) = renamed(room.path(), &capture, &faults, &names);
        let (other, _) = play(&other, &other_faults);
        eprintln!("  under other names: {}", if other == outcome { "the same" } else { "NOT the same" });
        assert_eq!(outcome, other, "{}", other.table(&name, &other_faults));
        // A floor that breaks when something is broken; what is aimed at is in `docs/detection.md`.
        let (found, in_code) = outcome.code_faults_found(&faults, 3);
        assert!(!outcome.has_logs || found * 2 >= in_code, "{name}: {found} of {in_code}");
    }
}
