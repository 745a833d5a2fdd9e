//! What a span costs the engine itself when there are many edges.

use anyhow::{Context as _, Result};

use super::super::machine::on_core;
use super::super::results::{Bound, Results};
use super::Context;
use crate::steps;

/// Some mesh, and the same load on 200 edges. Goals were set for 10,000 and 100,000.
struct Mesh {
    edges: &'static str,
    load: &'static [&'static str],
    many: &'static [&'static str],
    limit: f64,
}

const MESHES: [Mesh; 2] = [
    Mesh {
        edges: "7,000",
        load: &["--rate", "500"],
        many: &["--workloads", "2500", "--bodies", "4000"],
        limit: 1.3,
    },
    Mesh {
        edges: "74,000",
        load: &["--rate", "4500", "--spans", "6", "--warm-up", "450000", "--requests", "90000"],
        many: &["--workloads", "25000", "--bodies", "45000"],
        limit: 1.7,
    },
];

/// Without a network: requests are handed to the pipeline.
pub(super) fn edges(context: &Context<'_>, results: &mut Results) -> Result<()> {
    for mesh in &MESHES {
        let name = format!("{} edges", mesh.edges);
        let base = format!("200 edges, load of {name}");
        let (mut few, mut many) = (Vec::new(), Vec::new());
        // One process a round and side, which takes a minute: of these, less rounds do.
        for _ in 0..context.options.common.rounds.min(3) {
            few.push(engine(context, mesh.load)?);
            many.push(engine(context, &[mesh.load, mesh.many].concat())?);
        }
        results.figure(&base, "ns/span", few);
        results.figure(&name, "ns/span", many);
        if let Some(ratio) = results.ratio(&name, &base) {
            results.goal(format!("{name} against 200"), ratio, Bound::AtMost(mesh.limit), "");
        }
    }
    Ok(())
}

fn engine(context: &Context<'_>, arguments: &[&str]) -> Result<f64> {
    let mut ingest = context.bench.program("ingest");
    ingest.args(arguments);
    let core = context.bench.cores.map(|cores| cores.server);
    let said: serde_json::Value = serde_json::from_str(&on_core(core, || steps::output(&mut ingest))?)?;
    let nanos = said["cpu_nanoseconds_per_span"].as_f64().context("ingest did not say what a span costs")?;
    eprintln!("{nanos:.0} ns a span: ingest {}", arguments.join(" "));
    Ok(nanos)
}
