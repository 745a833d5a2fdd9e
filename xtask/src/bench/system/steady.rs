//! A server under load that goes on: by shards, by what senders wait for, at the end of windows, and over minutes.

use anyhow::Result;

use super::super::contestants::{Variant, selvedge, yardstick};
use super::super::options::Signal;
use super::super::process;
use super::super::results::{Bound, Results, median};
use super::super::server::{Load, Server};
use super::Context;

/// As in the first benchmark.
const RECORDS: u64 = 100;
const REQUESTS_A_ROUND: u64 = 10_000;
/// Of a request, about.
const BYTES: u64 = 84_000;
/// Far more than are ever in flight, so that a slow answer holds up no request that is due.
const IN_FLIGHT_OPEN: u64 = 512;
/// Requests a second.
const MANY_EDGES_RATE: f64 = 4_500.0;

fn closed(requests: u64) -> Load<'static> {
    Load { signal: Signal::Traces, http: false, requests, records: RECORDS, arguments: &[] }
}

fn warm_up(context: &Context<'_>) -> Load<'static> {
    closed((context.options.common.warm_up_megabytes * 1_000_000).div_ceil(BYTES))
}

/// What the generator needs for so many requests a second, whatever becomes of them.
fn open(rate: f64) -> Vec<String> {
    ["--rate".to_owned(), format!("{rate:.3}"), "--in-flight".to_owned(), IN_FLIGHT_OPEN.to_string()].to_vec()
}

/// A count of requests, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some thousands a second, for minutes"
)]
fn whole(value: f64) -> u64 {
    value.max(1.0) as u64
}

/// Whether two shards take more CPU time for a span than one.
pub(super) fn shards(context: &Context<'_>, results: &mut Results) -> Result<()> {
    let two = Variant { name: "two shards", shards: 2, ..Variant::USUAL };
    let one = Variant { name: "one shard", ..Variant::USUAL };
    let mut servers = [selvedge(context.bench, &one)?, selvedge(context.bench, &two)?];
    let mut costs = [Vec::new(), Vec::new()];
    for server in &mut servers {
        server.load(context.bench, &warm_up(context))?;
    }
    for round in 1..=context.options.common.rounds {
        for (server, costs) in servers.iter_mut().zip(&mut costs) {
            let cost = server.load(context.bench, &closed(REQUESTS_A_ROUND))?.cost;
            eprintln!("round {round}: {:<14} {cost:.2} CPU seconds per million spans", server.name);
            costs.push(cost);
        }
    }
    for (server, costs) in servers.iter().zip(costs) {
        results.figure(server.name, "CPU-s/M", costs);
    }
    if let Some(ratio) = results.ratio("two shards", "one shard") {
        results.goal("CPU per span with two shards against one", ratio, Bound::AtMost(1.1), "");
    }
    Ok(())
}

/// How many requests a second are half of what a server takes.
fn half_load(context: &Context<'_>, server: &mut Server) -> Result<f64> {
    server.load(context.bench, &warm_up(context))?;
    let full = server.load(context.bench, &closed(REQUESTS_A_ROUND))?.rate;
    Ok(full / RECORDS as f64 / 2.0)
}

/// What senders wait for at half of the load that ours can take, against the floor at the same load.
pub(super) fn latency(context: &Context<'_>, results: &mut Results) -> Result<()> {
    let mut servers = [
        selvedge(context.bench, &Variant::USUAL)?,
        yardstick(context.bench, "plain", "plain")?,
        yardstick(context.bench, "floor", "floor")?,
    ];
    let rate = half_load(context, &mut servers[0])?;
    results.figure("half load", "req/s", vec![rate]);
    let arguments = open(rate);
    let requests = whole(rate * context.options.seconds as f64);
    let mut waits = vec![[Vec::new(), Vec::new()]; servers.len()];
    for round in 1..=context.options.common.rounds {
        for (server, waits) in servers.iter_mut().zip(&mut waits) {
            let taken = server.load(context.bench, &Load { arguments: &arguments, ..closed(requests) })?;
            let (half, most) = (taken.said("p50_us")? / 1e3, taken.said("p99_us")? / 1e3);
            eprintln!("round {round}: {:<14} p50 {half:.2} ms, p99 {most:.2} ms", server.name);
            waits[0].push(half);
            waits[1].push(most);
        }
    }
    for (server, [half, most]) in servers.iter().zip(waits) {
        results.figure(&format!("{}, half load, p50", server.name), "ms", half);
        results.figure(&format!("{}, half load, p99", server.name), "ms", most);
    }
    if let Some(ratio) = results.ratio("selvedge, half load, p99", "floor, half load, p99") {
        results.goal(
            "p99 acknowledgement at half load, as a share of floor's",
            ratio,
            Bound::AtMost(1.3),
            "",
        );
    }
    Ok(())
}

/// Windows are ten seconds long: two of them, and what lies between the end of one and its close.
pub(super) const WINDOWS_SECONDS: u64 = 35;

/// Small requests of many workloads: 74,000 edges in a window, less than four spans to each.
pub(super) fn many_edges() -> Vec<String> {
    let mut arguments = open(MANY_EDGES_RATE);
    arguments.extend(["--workloads", "25000", "--bodies", "45000"].map(str::to_owned));
    arguments
}

pub(super) fn load_of_many_edges(arguments: &[String], seconds: u64) -> Load<'_> {
    Load { records: 6, arguments, ..closed(whole(MANY_EDGES_RATE * seconds as f64)) }
}

/// How long senders wait in the second in which a window of many edges closes.
pub(super) fn close(context: &Context<'_>, results: &mut Results) -> Result<()> {
    let arguments = many_edges();
    let load = load_of_many_edges(&arguments, context.options.seconds.max(WINDOWS_SECONDS));
    let mut worst = Vec::new();
    for name in ["selvedge", "floor"] {
        let mut server = match name {
            "selvedge" => selvedge(context.bench, &Variant::USUAL)?,
            _ => yardstick(context.bench, "floor", "floor")?,
        };
        let taken = server.load(context.bench, &load)?;
        let millis = taken.said("worst_second_p99_us")? / 1e3;
        results.figure(&format!("{name}, 74,000 edges, p99"), "ms", vec![taken.said("p99_us")? / 1e3]);
        results.figure(&format!("{name}, 74,000 edges, worst second's p99"), "ms", vec![millis]);
        worst.push(millis);
    }
    // What the machine itself delays, it delays the floor, too.
    let delayed = (worst[0] - worst[1]).max(0.0);
    results.goal(
        "window close, 74,000 edges: p99 of the worst second above floor's",
        delayed,
        Bound::AtMost(20.0),
        "ms",
    );
    Ok(())
}

/// Whether a span costs in the last minute what it cost in the first, and memory stays.
pub(super) fn minutes(context: &Context<'_>, results: &mut Results) -> Result<()> {
    const MINUTE: f64 = 60.0;
    let mut server = selvedge(context.bench, &Variant::USUAL)?;
    let rate = half_load(context, &mut server)?;
    let arguments = open(rate);
    let load = Load { arguments: &arguments, ..closed(whole(rate * MINUTE)) };
    let (mut costs, mut memory) = (Vec::new(), Vec::new());
    for minute in 1..=context.options.minutes {
        let cost = server.load(context.bench, &load)?.cost;
        let megabytes = process::resident_bytes(server.process())? as f64 / 1e6;
        eprintln!("minute {minute}: {cost:.2} CPU seconds per million spans, {megabytes:.0} MB resident");
        costs.push(cost);
        memory.push(megabytes);
    }
    let (first, last) = (costs[0], costs[costs.len() - 1]);
    // The join window holds 40 seconds: from the second minute on it is full.
    let (full, now) = (memory[1], memory[memory.len() - 1]);
    results.figure("minutes, median of all", "CPU-s/M", costs);
    results.figure("minutes, resident", "MB", memory.clone());
    let what = format!("CPU per span in minute {} against minute 1", memory.len());
    results.goal(what, last / first, Bound::AtMost(1.05), "");
    let what = format!("memory after minute {} against minute 2", memory.len());
    results.goal(what, now / full, Bound::AtMost(1.05), "");
    eprintln!("half load: {rate:.0} requests a second; memory in the middle {:.0} MB", median(memory));
    Ok(())
}
