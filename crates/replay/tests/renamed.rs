//! Detection is of families, not of recordings: under other names the same captures give the same result.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use std::path::{Path, PathBuf};

use common::{JUDGED, NORMAL, frames, play_paths, play_shipped, write_frames};
use selvedge_model::{Endpoint, Severity};
use selvedge_replay::Played;
use selvedge_testkit::{Renaming, rename};

/// Every workload, namespace, host, client and certificate authority of the captures, and another name for it. The
/// new names sort in another order than the old ones.
const NAMES: [(&str, &str); 12] = [
    ("gateway", "web2"),
    ("frontend", "basket"),
    ("orders", "archive"),
    ("payments", "journal"),
    ("batch", "zeta"),
    ("shop", "mall"),
    ("paste.evil.example", "inbox.other.test"),
    ("shop.example", "mall.test"),
    ("meshbed", "weave"),
    ("curl", "probe"),
    ("cluster.local", "fabric.internal"),
    ("mesh root", "fabric root"),
];

/// What must be the same, with the names taken back and without the order among equals.
fn essence(played: &Played, back: &Renaming) -> Vec<String> {
    let name = |text: &str| String::from_utf8(back.apply(text.as_bytes())).unwrap();
    let end =
        |end: &Endpoint| format!("{}/{}/{}", name(&end.namespace), name(&end.workload), name(&end.principal));
    let incidents =
        played.incidents.iter().filter(|incident| incident.severity > Severity::Info).map(|incident| {
            let mut kinds: Vec<&str> = incident.kinds.iter().map(|kind| kind.name()).collect();
            kinds.sort_unstable();
            let mut edges: Vec<String> = incident
                .edges
                .iter()
                .map(|edge| format!("{} -> {}", end(&edge.source), end(&edge.destination)))
                .collect();
            edges.sort();
            let suspect = incident.suspects.first().map(|suspect| name(&suspect.workload));
            format!(
                "{} {kinds:?} {edges:?} {suspect:?} onset {} opened {} findings {}",
                incident.severity.name(),
                incident.onset.0,
                incident.opened.0,
                incident.finding_ids.len()
            )
        });
    let mut incidents: Vec<String> = incidents.collect();
    incidents.sort();
    incidents
}

fn renamed(folder: &Path, name: &str, names: &Renaming) -> PathBuf {
    write_frames(folder, name, &rename(&frames(name), names))
}

/// Guarantees: no name of a workload, namespace or host decides anything.
#[test]
fn other_names_give_the_same_incidents() {
    let folder = tempfile::tempdir().unwrap();
    let names = Renaming::new(NAMES);
    let back = Renaming::new(NAMES.map(|(old, new)| (new, old)));
    let nothing = Renaming::new::<&str, &str>([]);
    let learn: Vec<PathBuf> = NORMAL.iter().map(|name| renamed(folder.path(), name, &names)).collect();
    for name in JUDGED {
        let original = essence(&play_shipped(&NORMAL, &[name], 1), &nothing);
        let other = essence(&play_paths(&learn, &[renamed(folder.path(), name, &names)], 1), &back);
        assert_eq!(original, other, "{name}");
    }
}
