//! Where the journal is, and what its section may say.

use std::process::Command;

use crate::live::*;

fn check(text: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("selvedge.yaml");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    let output = command.args(["check", "--config", path.to_str().unwrap()]).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn the_journal_section_is_checked() {
    let good = [
        "journal: off\n",
        "journal: on\n",
        "journal: {}\n",
        "journal: {path: here, bytes_max: 1073741824, segment_bytes: 8388608, commit_interval: 5ms, replay: 30m, checkpoint_interval: 5m}\n",
    ];
    for text in good {
        assert_eq!(check(text).0, Some(0), "{text}{}", check(text).1);
    }
    let bad = [
        ("journal: sometimes\n", "`off`, or the keys"),
        ("journal:\n  byte_max: 5\n", ":2:3: "),
        ("journal:\n  byte_max: 5\n", "did you mean `bytes_max`?"),
        ("journal: {bytes_max: 5}\n", "journal.bytes_max: 5 is too little, the least is 268435456"),
        ("journal: {segment_bytes: 5}\n", "journal.segment_bytes: 5 is too little"),
        ("journal: {commit_interval: 2s}\n", "journal.commit_interval: 2s is longer"),
        ("journal: {replay: 25h}\n", "journal.replay: 90000s is longer than 24h"),
        ("journal: {checkpoint_interval: 5ms}\n", "journal.checkpoint_interval: 5ms is outside 1s to 24h"),
    ];
    for (text, part) in bad {
        let (code, told) = check(text);
        assert_eq!(code, Some(3), "{text}");
        assert!(told.contains(part), "`{part}` is missing in:\n{told}");
    }
}

/// Guarantees: on by default, in the conventional place; `off` means that nothing is written and is said aloud.
#[test]
fn the_journal_is_on_unless_it_is_turned_off() {
    let place = Place::new("");
    drop(place.start(place.command(&[])));
    assert!(place.path("state/selvedge/journal/lock").exists(), "{}", place.errors());
    let place = Place::new("journal: off\n");
    drop(place.start(place.command(&[])));
    assert!(!place.path("state").exists());
    assert!(place.errors().contains("there is no journal"), "{}", place.errors());
    assert_eq!(place.get("/metrics").0, 0, "it has ended");
}

/// Guarantees: two processes never write to one journal; the second says whose fault it is and how to go on.
#[test]
fn a_second_process_is_told_that_the_journal_is_in_use() {
    let place = Place::new("");
    let _live = place.start(place.command(&[]));
    let other =
        Place::new(&format!("journal: {{path: \"{}\"}}\n", place.path("state/selvedge/journal").display()));
    let status = other.command(&[]).status().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(other.errors().contains("in use by another process") && other.errors().contains("journal.path"));
}
