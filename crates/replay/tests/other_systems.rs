//! Recordings of other systems, when they are beside the checkout: other dialects, other sizes, no proxies.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use std::path::{Path, PathBuf};

use common::play_paths;
use selvedge_model::finding::Family;
use selvedge_model::{Fate, SignalKind};

/// Every capture in a folder beside the checkout that is not shipped with the project.
fn captures_beside_the_checkout() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    let shipped = common::folder();
    let inside = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder)
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default()
    };
    let mut captures: Vec<PathBuf> = inside(&folder)
        .iter()
        .flat_map(|system| inside(system))
        .filter(|path| path.to_string_lossy().ends_with(".otlpcap.zst"))
        .filter(|path| !shipped.join(path.file_name().unwrap()).is_file())
        .collect();
    captures.sort();
    if captures.is_empty() {
        eprintln!("not tested: no captures of other systems in {}", folder.display());
    }
    captures
}

/// Guarantees: every signal is read and has exactly one fate; calls inside a system are joined from both sides, so
/// what only the callee reports is what comes in from outside; and without an approved baseline calls tell nothing but what
/// logs say (`recorded` looks at that).
#[test]
fn other_systems_are_read_whole_and_join_completely() {
    for path in captures_beside_the_checkout() {
        let played = play_paths(&[], std::slice::from_ref(&path), 1);
        let (stats, ledger) = (&played.stats, &played.stats.ledger);
        let name = path.display();
        assert!(ledger.balanced(), "{name}: {ledger:?}");
        assert_eq!(played.frames_malformed, 0, "{name}");
        for kind in [SignalKind::Traces, SignalKind::Logs] {
            for fate in [Fate::Open, Fate::Rejected, Fate::Evicted, Fate::Late] {
                assert_eq!(ledger.count(kind, fate), 0, "{name}: {} {}", kind.name(), fate.name());
            }
        }
        assert_eq!(stats.calls_client_only, 0, "{name}");
        assert!(stats.calls_server_only * 10 <= stats.calls_both, "{name}: {stats:?}");
        // Hours of metrics alone teach what is normal by themselves; minutes of calls do not.
        if stats.calls > 0 {
            let other =
                played.transcript.findings.iter().find(|finding| finding.kind.family() != Family::Logs);
            assert!(other.is_none(), "{name}: {other:?}");
        }
    }
}
