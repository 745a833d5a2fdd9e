//! How fast a recording runs again.

use anyhow::{Context as _, Result, ensure};

use super::super::machine::on_core;
use super::super::process;
use super::super::results::{Bound, Results};
use super::Context;
use crate::steps;

const CAPTURE: &str = "replayed.otlpcap";
/// Some 800 MB of payload.
const REQUESTS: &str = "10000";

/// Payload bytes of a capture by CPU second of `selvedge replay`, from its start to its end; and whether two shards find what one
/// finds.
pub(super) fn replay(context: &Context<'_>, results: &mut Results) -> Result<()> {
    let bench = context.bench;
    let mut write = bench.program("capture");
    write.arg(bench.scratch.join(CAPTURE)).args(["--requests", REQUESTS]);
    let written = bench.generator(&mut write)?;
    let gigabytes =
        written["payload_bytes"].as_f64().context("the generator did not say how much it wrote")? / 1e9;
    let mut speeds = Vec::new();
    let mut transcripts = Vec::new();
    for round in 0..context.options.common.rounds {
        let shards = if round == 0 { "2" } else { "1" };
        let (seconds, transcript) = replayed(context, shards)?;
        eprintln!("{shards} shards: {seconds:.2} CPU seconds for {gigabytes:.2} GB");
        if shards == "1" {
            speeds.push(gigabytes / seconds);
        }
        transcripts.push(transcript);
    }
    if speeds.is_empty() {
        let (seconds, transcript) = replayed(context, "1")?;
        speeds.push(gigabytes / seconds);
        transcripts.push(transcript);
    }
    let same = transcripts.iter().all(|transcript| *transcript == transcripts[0]);
    ensure!(same, "replays of one capture have different transcripts");
    bench.remove(CAPTURE)?;
    let speed = results.figure("replay, payload by CPU second", "GB/s", speeds);
    results.goal(
        "replay, payload by CPU second; the transcript is the same",
        speed,
        Bound::AtLeast(1.0),
        "GB",
    );
    Ok(())
}

fn replayed(context: &Context<'_>, shards: &str) -> Result<(f64, Vec<u8>)> {
    let bench = context.bench;
    bench.remove("replayed")?;
    let mut replay = bench.program("selvedge");
    replay.current_dir(&bench.scratch);
    replay.args(["replay", CAPTURE, "--shards", shards, "--out", "replayed"]);
    let before = process::ended_children_cpu_seconds()?;
    let server_core = bench.cores.map(|cores| cores.server);
    let said = on_core(server_core, || steps::output(&mut replay))?;
    let seconds = process::ended_children_cpu_seconds()? - before;
    let transcript = std::fs::read(bench.scratch.join("replayed").join("transcript.txt"))
        .with_context(|| format!("no transcript; replay said: {said}"))?;
    bench.remove("replayed")?;
    ensure!(seconds > 0.0, "the replay took no CPU time that the kernel counted");
    Ok((seconds, transcript))
}
