//! Checkpoints of every version that was ever written can be gone on from.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::{assert_same_knowledge, checkpoint, config, fresh, take};
use selvedge_checkpoint::Checkpoint;
use selvedge_engine::{KNOWLEDGE, Pipeline, Provenance, RuleSet, StateError};
use selvedge_testkit::{Request, Traffic, check_golden};

fn goldens() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// A stream with an edge that is new, a call that is open, an incident, and an open window in which something was told.
fn known() -> Pipeline {
    let mut pipeline = fresh(1);
    let mut traffic = Traffic::seeded(11);
    traffic.repeat(150, "web -> cart -> ledger");
    traffic.send(Request::along("courier -> ledger").plaintext());
    traffic.repeat(20, "web -> cart -> ledger");
    traffic.wait(Duration::from_secs(30));
    traffic.send(Request::along("courier -> cart").plaintext());
    traffic.wait(Duration::from_secs(3));
    traffic.send(Request::along("web -> cart"));
    take(&mut pipeline, &traffic.frames());
    pipeline
}

/// What a person would see of it.
fn told(pipeline: &Pipeline) -> String {
    let edges = pipeline.edges();
    let edges = edges
        .iter()
        .map(|edge| format!("{} {} {} calls", edge.edge.label(), edge.provenance.name(), edge.calls));
    let incidents =
        pipeline.incidents().map(|incident| format!("{} {}", incident.severity.name(), incident.title));
    let stats = pipeline.stats();
    let counts = format!("{} calls, {} windows, frontier {}", stats.calls, stats.windows, stats.frontier.0);
    edges.chain(incidents).chain([counts]).map(|line| line + "\n").collect()
}

/// Guarantees: what this build writes is what the golden of its version holds, so that a change of any type that is in a
/// checkpoint is noticed; then the version grows, the ones before are translated, and a new golden is kept beside them.
#[test]
fn a_change_of_what_is_written_is_a_new_version() {
    let saved = checkpoint(&mut known());
    let path = goldens().join(format!("checkpoint.v{}.slvckp", saved.sections[0].version));
    if updating() {
        saved.write(&mut std::fs::File::create(&path).unwrap()).unwrap();
    }
    let kept = Checkpoint::read(&mut std::fs::read(&path).unwrap().as_slice(), 1 << 30).unwrap();
    for (now, then) in saved.sections.iter().zip(&kept.sections) {
        assert!(
            now == then,
            "section `{}` is not what version {} writes: raise VERSION in pipeline/saving.rs, translate what was before, and \
             keep its golden",
            now.name,
            then.version
        );
    }
    assert_eq!(saved.sections.len(), kept.sections.len());
}

/// Guarantees: a checkpoint of each version is gone on from, and what it knew is known.
#[test]
fn every_version_that_was_ever_written_can_be_gone_on_from() {
    let mut versions = 0;
    for entry in std::fs::read_dir(goldens()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "slvckp") {
            let kept = Checkpoint::read(&mut std::fs::read(&path).unwrap().as_slice(), 1 << 30).unwrap();
            let pipeline = Pipeline::resume(&config(1), RuleSet::shipped(), &kept).unwrap();
            check_golden(path.with_extension("txt"), &told(&pipeline));
            versions += 1;
        }
    }
    assert!(versions > 0, "there is a golden of each version");
}

/// Guarantees: a section of a newer version, one that is not there, and one that is something else are told by name.
#[test]
fn what_cannot_be_gone_on_from_says_why() {
    let saved = checkpoint(&mut known());
    let refused = |change: &dyn Fn(&mut Checkpoint)| {
        let mut changed = saved.clone();
        change(&mut changed);
        let resumed = Pipeline::resume(&config(1), RuleSet::shipped(), &changed);
        resumed.err().expect("it is refused")
    };
    let at = |name: &str| saved.sections.iter().position(|section| section.name == name).unwrap();
    let newer = refused(&|checkpoint| checkpoint.sections[at("baselines")].version += 1);
    assert!(newer.is_newer() && newer.to_string().contains("`baselines`"), "{newer}");
    let missing = refused(&|checkpoint| checkpoint.sections.retain(|section| section.name != "detection"));
    assert_eq!(missing.to_string(), "it has no section `detection`");
    let surplus = refused(&|checkpoint| checkpoint.sections[at("detection")].bytes.push(0));
    assert_eq!(surplus.to_string(), "its section `detection` has more than it should");
    let malformed = refused(&|checkpoint| checkpoint.sections[at("open")].bytes.truncate(9));
    assert!(matches!(malformed, StateError::Malformed { section: "open", .. }), "{malformed}");
    let twice = refused(&|checkpoint| checkpoint.sections[0].bytes = vec![0, 2, 1, b'a', 1, b'a']);
    assert!(matches!(twice, StateError::Names), "{twice}");
}

/// Guarantees: knowledge without the state of a stream can be begun with; edges can be marked, each once, and forgotten; one
/// that was forgotten is learned again as if it had never been known, and the others are not touched.
#[test]
fn knowledge_alone_can_be_begun_with_and_changed() {
    let mut exported = checkpoint(&mut known());
    exported.sections.retain(|section| KNOWLEDGE.contains(&section.name.as_str()));
    let mut next = Pipeline::resume(&config(2), RuleSet::shipped(), &exported).unwrap();
    let names = |edges: &[selvedge_engine::EdgeSummary]| -> Vec<String> {
        edges.iter().map(|edge| format!("{} {}", edge.edge.label(), edge.provenance.name())).collect()
    };
    assert_eq!(
        names(&next.edges()),
        ["store/cart -> store/ledger learned", "store/web -> store/cart learned"]
    );
    assert!(next.incidents().next().is_none() && next.stats().calls == 0, "the stream is not in it");
    let marked = next.mark_edges(&|_| true, Provenance::Imported);
    assert_eq!((marked.len(), next.mark_edges(&|_| true, Provenance::Imported).len()), (2, 0));
    let forgotten = next.forget_edges(&|edge| edge.edge.destination.workload == "ledger");
    assert_eq!(forgotten.len(), 1);
    assert_eq!(names(&next.edges()), ["store/web -> store/cart imported"]);
    let mut traffic = Traffic::seeded(12);
    traffic.wait(Duration::from_mins(10));
    traffic.repeat(60, "web -> cart -> ledger");
    traffic.wait(Duration::from_mins(1));
    traffic.send(Request::along("web -> cart"));
    take(&mut next, &traffic.frames());
    let calls: Vec<u64> = next.edges().iter().map(|edge| edge.calls).collect();
    assert_eq!(
        names(&next.edges()),
        ["store/cart -> store/ledger learned", "store/web -> store/cart imported"]
    );
    assert_eq!(calls, [60, 170 + 60], "one from the beginning, the other on top of what was known");
    let mut resumed = common::resumed(&mut next, 1);
    assert_same_knowledge(&mut resumed, &mut next, "after a change");
}
