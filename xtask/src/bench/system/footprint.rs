//! The program by itself: its size, its start, and what it takes when nothing comes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::super::contestants::{Installed, Variant, installed, selvedge};
use super::super::http;
use super::super::process;
use super::super::results::{Bound, Results};
use super::super::server::{Server, pause};
use super::{Context, steady};
use crate::steps;

const MEGABYTE: f64 = 1e6;
const START_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_micros(200);
/// After its start it has done what it had to do once.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// With its defaults, but for the ports: with a journal.
const AS_INSTALLED: Variant = Variant { name: "as installed", journal: Some(JOURNAL), ..Variant::USUAL };
const JOURNAL: &str = "journal-of-a-start";

/// How large the program is without its symbols.
pub(super) fn size(context: &Context<'_>, results: &mut Results) -> Result<()> {
    let stripped = context.bench.scratch.join("selvedge-stripped");
    let mut strip = std::process::Command::new("strip");
    steps::run(strip.arg("-o").arg(&stripped).arg(context.bench.programs.join("selvedge")))?;
    let bytes = std::fs::metadata(&stripped)?.len();
    context.bench.remove("selvedge-stripped")?;
    let megabytes = results.figure("binary, stripped", "MB", vec![bytes as f64 / MEGABYTE]);
    results.goal("binary, stripped, everything in", megabytes, Bound::AtMost(60.0), "MB");
    Ok(())
}

/// From the start of the process to the first request that it accepted.
pub(super) fn start(context: &Context<'_>, results: &mut Results) -> Result<()> {
    let started = || {
        context.bench.remove(JOURNAL)?;
        started(context, &AS_INSTALLED)
    };
    // The first one reads the program from disk.
    started()?;
    let millis: Result<Vec<f64>> = (0..rounds(context)).map(|_| started()).collect();
    let millis = results.figure("start to first accepted request", "ms", millis?);
    results.goal("start to first accepted request, nothing learned", millis, Bound::AtMost(25.0), "ms");
    context.bench.remove(JOURNAL)
}

/// The same, going on from the checkpoint of a process that had learned many edges.
pub(super) fn restart(context: &Context<'_>, results: &mut Results) -> Result<()> {
    let variant = Variant { name: "restarted", replay: "0s", ..AS_INSTALLED };
    context.bench.remove(JOURNAL)?;
    let Installed { mut command, addresses, api } = installed(context.bench, &variant)?;
    let mut server = Server::start(context.bench, variant.name, addresses, &mut command)?;
    let arguments = steady::many_edges();
    server.load(context.bench, &steady::load_of_many_edges(&arguments, steady::WINDOWS_SECONDS))?;
    let metrics = http::ask(api, "GET /metrics", &[], "")?.context("nobody tells metrics")?;
    let edges = http::gauge(&metrics, "selvedge_edges").context("selvedge_edges is not told")?;
    server.terminate()?;
    started(context, &variant)?;
    let millis: Result<Vec<f64>> = (0..rounds(context)).map(|_| started(context, &variant)).collect();
    results.figure("restored, learned edges", "", vec![edges]);
    let millis = results.figure("start to first accepted request, restored", "ms", millis?);
    let what = format!("start to first accepted request, {edges:.0} learned edges restored");
    results.goal(what, millis, Bound::AtMost(1_000.0), "ms");
    context.bench.remove(JOURNAL)
}

fn rounds(context: &Context<'_>) -> usize {
    context.options.common.rounds.max(5)
}

fn started(context: &Context<'_>, variant: &Variant) -> Result<f64> {
    let Installed { mut command, addresses, .. } = installed(context.bench, variant)?;
    let began = steps::now();
    let mut server = Server::spawn(context.bench, variant.name, addresses, &mut command)?;
    let empty =
        || http::ask(addresses.http, "POST /v1/traces", &["content-type: application/x-protobuf"], "");
    while !empty()?.is_some_and(|answer| http::accepted(&answer)) {
        server.still_running()?;
        ensure!(began.elapsed() < START_WITHIN, "nothing is accepted {START_WITHIN:?} after the start");
        pause(LOOK_AGAIN);
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// Memory, and CPU time as a share of a core, of a program to which nothing is sent.
pub(super) fn idle(context: &Context<'_>, results: &mut Results) -> Result<()> {
    let server = selvedge(context.bench, &AS_INSTALLED)?;
    pause(SETTLED_AFTER);
    let (before, began) = (process::fine_cpu_time(server.process())?, steps::now());
    pause(Duration::from_secs(context.options.seconds));
    let busy = process::fine_cpu_time(server.process())?.saturating_sub(before);
    let percent = 100.0 * busy.as_secs_f64() / began.elapsed().as_secs_f64();
    let megabytes = process::resident_bytes(server.process())? as f64 / MEGABYTE;
    drop(server);
    context.bench.remove(JOURNAL)?;
    let percent = results.figure("idle, of a core", "%", vec![percent]);
    let megabytes = results.figure("idle, resident", "MB", vec![megabytes]);
    results.goal("idle, of a core", percent, Bound::AtMost(0.2), "%");
    results.goal("idle, memory", megabytes, Bound::AtMost(30.0), "MB");
    Ok(())
}
