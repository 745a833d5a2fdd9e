//! Records against counters: who is told of, and when it is the common way that loses them.

#[allow(dead_code, reason = "shared with the tests of attacks, which need more of it")]
mod common;

use common::{Mesh, SECOND, told};
use selvedge_detect::Context;
use selvedge_learn::ledger::{Audited, Shortfall};
use selvedge_model::{EdgeKey, EventTime, Finding, Side};

fn short(mesh: &mut Mesh, (source, destination): (&str, &str), side: Side, recorded: u64) -> Shortfall {
    let edge = EdgeKey { source: mesh.node(source), destination: mesh.node(destination), external: false };
    Shortfall { edge, side, since: EventTime(600 * SECOND), counted: 900, recorded }
}

fn judged(mesh: &Mesh, audited: &Audited, learning: bool) -> Vec<Finding> {
    let now = EventTime(mesh.clock * SECOND);
    let cx = Context { symbols: &mesh.symbols, baselines: &mesh.baselines, now, learning };
    mesh.detector.judge_records(&cx, audited)
}

#[test]
fn a_workload_is_told_once_on_the_edge_of_which_most_is_missing() {
    let mut mesh = Mesh::new();
    let shortfalls = vec![
        short(&mut mesh, ("web", "cart"), Side::Client, 300),
        short(&mut mesh, ("web", "ledger"), Side::Client, 90),
        short(&mut mesh, ("web", "cart"), Side::Server, 200),
    ];
    let mut audited = Audited { short: shortfalls, reporters: 40 };
    let findings = judged(&mesh, &audited, false);
    let of = ["telemetry_suppressed medium web -> cart", "telemetry_suppressed medium web -> ledger"];
    assert_eq!(told(&findings), of);
    let callers = &findings.iter().find(|finding| finding.summary.contains("of store/web counted")).unwrap();
    assert_eq!(
        callers.summary,
        "the proxy of store/web counted 900 requests to store/ledger and told of 90; it used to tell of all"
    );
    let facts: Vec<&str> = callers.evidence.iter().map(|fact| &fact.observed[..]).collect();
    assert_eq!(facts, ["to store/ledger: 90 of 900", "to store/cart: 300 of 900", "store/web"]);
    let callees = &findings.iter().find(|finding| finding.summary.contains("of store/cart counted")).unwrap();
    assert!(callees.summary.starts_with("the proxy of store/cart counted 900 requests from store/web"));
    assert_eq!(judged(&mesh, &audited, true), [], "nothing is judged while a baseline is taken");

    // Ten minutes later it is the same finding, of which more is known.
    audited.short.iter_mut().for_each(|short| short.counted += 600);
    mesh.clock += 600;
    let ids =
        |findings: &[Finding]| -> Vec<String> { findings.iter().map(|finding| finding.id.clone()).collect() };
    assert_eq!(ids(&judged(&mesh, &audited, false)), ids(&findings));
}

#[test]
fn records_of_many_workloads_are_lost_on_their_common_way() {
    let mut mesh = Mesh::new();
    let ends = [("web", "cart"), ("cart", "ledger"), ("courier", "ledger")];
    let shortfalls: Vec<Shortfall> =
        ends.iter().map(|ends| short(&mut mesh, *ends, Side::Client, 10)).collect();
    let few = Audited { short: shortfalls, reporters: 6 };
    let findings = judged(&mesh, &few, false);
    assert_eq!(told(&findings).len(), 1, "{findings:#?}");
    assert!(told(&findings)[0].starts_with("telemetry_gap medium"), "{findings:#?}");
    assert!(findings[0].summary.starts_with("3 of 6 workloads count requests"), "{}", findings[0].summary);
    assert_eq!(judged(&mesh, &Audited { reporters: 60, ..few }, false).len(), 3, "three of sixty are three");
}
