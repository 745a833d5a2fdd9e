//! Ways of requests over known edges: told when their absence meant something.

#[allow(dead_code, reason = "shared with the tests of attacks, which need more of it")]
mod common;

use std::time::Duration;

use common::{Mesh, SECOND, told};
use selvedge_detect::{Context, PathSighting};
use selvedge_learn::Provenance;
use selvedge_model::{
    CallPath, EdgeKey, EventTime, Finding, FindingKind, FirstOnPath, IdentitySource, PathStats, TraceId,
    Window,
};

/// Ways of the usual traffic.
const USUAL: [[&str; 3]; 2] = [["gate", "web", "cart"], ["web", "cart", "ledger"]];
/// The cart never calls the ledger for the courier, though the courier calls the cart, and the cart the ledger.
const NEW: [&str; 3] = ["courier", "cart", "ledger"];
/// Windows after which so many of the courier's calls have passed that some would have gone on.
const ENOUGH: u64 = 250;

fn route_of(source: &str) -> &'static str {
    match source {
        "gate" => "/",
        "courier" => "/carts/export",
        _ => "/carts/{id}",
    }
}

/// Judges ways in a window of their own after the last one, and learns them.
fn pass(mesh: &mut Mesh, ways: &[[&str; 3]], provenance: Provenance) -> Vec<Finding> {
    let window = Window::holding(EventTime(mesh.clock * SECOND), Duration::from_secs(10));
    let paths: Vec<(CallPath, PathStats)> = ways
        .iter()
        .map(|[source, via, onward]| {
            let edge = EdgeKey { source: mesh.node(source), destination: mesh.node(via), external: false };
            let (method, route) = (mesh.name("GET"), mesh.name(route_of(source)));
            let path = CallPath { edge, method, route, onward: mesh.node(onward) };
            let first = FirstOnPath {
                start: EventTime(window.start.0 + SECOND),
                trace_id: TraceId([9; 16]),
                principal: mesh.principal(source),
                identity: IdentitySource::MtlsCertificate,
            };
            (path, PathStats { calls: 3, first })
        })
        .collect();
    let sightings: Vec<PathSighting<'_>> =
        paths.iter().map(|(path, stats)| PathSighting { path: *path, window, stats }).collect();
    let learning = provenance == Provenance::Approved;
    let cx = Context { symbols: &mesh.symbols, baselines: &mesh.baselines, now: window.end, learning };
    let findings = mesh.detector.judge_paths(&cx, sightings.iter().copied());
    assert!(
        mesh.detector.judge_paths(&cx, sightings.iter().copied()).is_empty(),
        "a second look tells nothing twice"
    );
    mesh.baselines.learn_paths(window, &paths, provenance);
    findings
}

fn taught(windows: u64, ways: &[[&str; 3]]) -> Mesh {
    let mut mesh = Mesh::new();
    for turn in 0..windows {
        let traffic = mesh.normal(turn);
        pass(&mut mesh, ways, Provenance::Approved);
        mesh.window(&traffic, true);
    }
    mesh
}

#[test]
fn a_way_over_known_edges_that_nobody_took_is_told_of_its_caller() {
    let mut mesh = taught(ENOUGH, &USUAL);
    assert_eq!(told(&pass(&mut mesh, &USUAL, Provenance::Learned)), Vec::<String>::new());
    let findings = pass(&mut mesh, &[NEW], Provenance::Learned);
    assert_eq!(told(&findings), ["new_call_path medium courier -> cart"]);
    let finding = &findings[0];
    assert_eq!((finding.kind, finding.subject.as_str()), (FindingKind::NewCallPath, "store/ledger"));
    assert_eq!(
        finding.summary,
        "A request of store/courier went on from store/cart to store/ledger, where such requests never went"
    );
    let route = finding.evidence.iter().find(|fact| fact.name == "route").map(|fact| fact.observed.as_str());
    assert_eq!(route, Some("GET /carts/export"));
    assert!(
        finding.edge.source.principal.ends_with("/sa/courier") && finding.exemplars == [TraceId([9; 16])]
    );
}

#[test]
fn absence_that_meant_nothing_makes_no_news() {
    // So few calls of the courier that none need have gone on.
    assert!(pass(&mut taught(40, &USUAL), &[NEW], Provenance::Learned).is_empty());
    // Nobody tells for whom the cart calls.
    assert!(pass(&mut taught(ENOUGH, &[]), &[NEW], Provenance::Learned).is_empty());
    // An edge that is not known is news by itself.
    assert!(pass(&mut taught(ENOUGH, &USUAL), &[["ledger", "cart", "web"]], Provenance::Learned).is_empty());
}

#[test]
fn what_goes_on_for_four_hours_is_accepted_as_behaviour_is() {
    let mut mesh = taught(ENOUGH, &USUAL);
    for minutes in 0..5 * 60 {
        let findings = pass(&mut mesh, &[NEW], Provenance::Learned);
        assert_eq!(findings.is_empty(), minutes >= 4 * 60, "after {minutes} minutes: {findings:?}");
        mesh.clock += 60;
    }
}
