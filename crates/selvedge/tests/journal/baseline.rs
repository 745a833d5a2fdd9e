//! What was learned, seen and changed by people between two processes.

use std::path::Path;
use std::process::{Command, Output};

use crate::live::*;

fn baseline(place: &Place, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    command.arg("baseline").args(args).current_dir(place.folder.path()).output().unwrap()
}

/// What it says, when it does what it was told.
fn said(place: &Place, args: &[&str]) -> String {
    let output = baseline(place, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// How it fails.
fn refused(place: &Place, args: &[&str]) -> String {
    let output = baseline(place, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/envoy").join(name);
    path.to_str().unwrap().to_owned()
}

/// Edges and how they are known.
fn edges(place: &Place, more: &[&str]) -> Vec<(String, String)> {
    let args = [&["show", "--format", "json", "--config", "selvedge.yaml"], more].concat();
    let shown: serde_json::Value = serde_json::from_str(&said(place, &args)).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let edges = shown["edges"].as_array().unwrap().iter();
    edges.map(|edge| (text(&edge["edge"]), text(&edge["provenance"]))).collect()
}

/// Scenario: an engine learns from live traffic and ends; edges are forgotten and approved; it goes on; what it knows is
/// exported and another one begins with it; the first one goes back to what it knew before.
/// Guarantees: nothing is changed while an engine runs; each change is what the next process knows; each version can be gone
/// back to; what makes no sense is refused with what to do.
#[test]
fn what_was_learned_can_be_seen_forgotten_approved_exported_imported_and_gone_back_to() {
    let config = ["--config", "selvedge.yaml"];
    let with = |args: &[&'static str]| [args, &config].concat();
    let place = Place::new("journal: {path: journal, replay: 0s}\n");
    let told = refused(&place, &with(&["show"]));
    assert!(told.contains("there is no checkpoint in") && told.contains("checkpoint_interval"), "{told}");
    let live = place.start(place.command(&["--learn", &fixture("normal_1.otlpcap.zst")]));
    let told = refused(&place, &with(&["approve", "--all"]));
    assert!(told.contains("the engine must be stopped first") && told.contains("in use"), "{told}");
    live.end();
    let known = edges(&place, &[]);
    assert!(known.len() > 3 && known.iter().all(|(_, how)| how == "approved"), "{known:?}");

    let told = refused(&place, &with(&["forget", "--edge", "no/such -> edge"]));
    assert!(told.contains("no edge is called") && told.contains("baseline show"), "{told}");
    let edge = known[0].0.as_str();
    let told = said(&place, &["forget", "--edge", edge, "--config", "selvedge.yaml"]);
    assert_eq!(told, format!("forgot {edge}\n"));
    assert_eq!(edges(&place, &[]), known[1..]);
    place.start(place.command(&[])).end();
    assert_eq!(edges(&place, &[]), known[1..], "the next process goes on with it");

    let versions = said(&place, &with(&["versions", "--format", "json"]));
    let versions: serde_json::Value = serde_json::from_str(&versions).unwrap();
    let versions = versions["versions"].as_array().unwrap();
    assert!(versions.iter().any(|one| one["head"]["note"] == format!("forgot 1 of {} edges", known.len())));
    let before = versions[0]["path"].as_str().unwrap();
    let told = said(&place, &["import", before, "--config", "selvedge.yaml"]);
    assert!(told.starts_with(&format!("{} edges are known from", known.len())), "{told}");
    assert_eq!(edges(&place, &[]), known, "as it was; who approved it did so");

    said(&place, &with(&["export", "known.slvckp"]));
    let told = refused(&place, &with(&["export", "known.slvckp"]));
    assert!(told.contains("known.slvckp"), "an export overwrites nothing: {told}");
    let other = Place::new("journal: {path: journal}\n");
    let file = place.path("known.slvckp");
    said(&other, &["import", file.to_str().unwrap(), "--config", "selvedge.yaml"]);
    let mut live = other.start(other.command(&[]));
    assert_eq!(other.metric("selvedge_edges", ""), known.len() as u64);
    let mut sender = Sender::connect(other.http).unwrap();
    assert_eq!(sender.send("traces", "application/json", &spans(&[format!("{:032x}", 7)], 1)), Some(200));
    live.kill();
    let _live = other.start(other.command(&[]));
    assert_eq!(other.metric("selvedge_journal_recovered_frames_total", ""), 1, "what came after it is read");
    std::fs::write(other.path("noise"), "hello").unwrap();
    let told = refused(&other, &["show", "--from", "noise", "--config", "selvedge.yaml"]);
    assert!(told.contains("cannot read noise") && told.contains("it is no checkpoint"), "{told}");
}
