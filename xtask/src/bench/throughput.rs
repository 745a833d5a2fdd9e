//! What a record costs `selvedge run`, against servers that do nothing with it; and what keeping calls for SQL, a query a
//! second and the journal add.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::contestants::{self, Variant};
use super::machine::{self, Cores};
use super::options::{Signal, Throughput};
use super::record::Run;
use super::results::{Bound, Results};
use super::server::{Bench, Load, Server};
use super::{build, rotel};
use crate::workspace::Workspace;

/// The peer has no tables to fill, and takes minutes for what others do in seconds.
const WARM_UP_MEGABYTES_OF_PEER: u64 = 100;

/// A share of what another server costs that ours may cost at most.
struct Share {
    signal: Signal,
    http: bool,
    /// In requests of so many records; of any size without.
    records: Option<u64>,
    of: &'static str,
    to: &'static str,
    limit: f64,
}

const fn share(records: u64, to: &'static str, limit: f64) -> Share {
    Share { signal: Signal::Traces, http: false, records: Some(records), of: "selvedge", to, limit }
}

/// So much dearer is every batch when it is on disk before it is acknowledged, at most.
const JOURNAL: Share =
    Share { signal: Signal::Traces, http: false, records: None, of: "journal", to: "selvedge", limit: 1.25 };

/// The goals of the project. Requests of Envoy's default size cost as such, so the floor is what they are compared with.
const GOALS: [Share; 12] = [
    share(100, "plain", 0.35),
    share(100, "rotel", 1.0 / 7.0),
    share(512, "plain", 0.4),
    share(5, "floor", 1.3),
    share(5, "plain", 0.65),
    Share { http: true, ..share(100, "plain", 0.4) },
    Share { http: true, ..share(100, "rotel", 1.0 / 6.0) },
    Share { signal: Signal::Logs, records: None, ..share(0, "plain", 0.4) },
    JOURNAL,
    Share { signal: Signal::Logs, ..JOURNAL },
    // The query's own threads apart.
    Share { of: "asked", limit: 1.15, ..JOURNAL },
    Share { http: true, ..JOURNAL },
];

/// Comparisons that are printed, with or without a goal.
const RATIOS: [(&str, &str); 9] = [
    ("selvedge", "plain"),
    ("selvedge", "floor"),
    ("selvedge", "rotel"),
    ("without SQL", "plain"),
    ("asked", "selvedge"),
    ("journal", "selvedge"),
    ("rotel", "plain"),
    ("plain again", "plain"),
    ("plain, glibc", "plain"),
];

/// Builds, runs the rounds and reports the comparison.
///
/// # Errors
/// When something cannot be built or started, or a record was not acknowledged.
pub(super) fn run(flags: &[&str]) -> Result<()> {
    let options = Throughput::parse(flags)?;
    let workspace = Workspace::load()?;
    let glibc = options.with_glibc.then_some("plain-glibc");
    let ours = (!options.yardstick_only).then_some("selvedge");
    let bins: Vec<&str> = ["load", "plain", "floor"].into_iter().chain(glibc).chain(ours).collect();
    let cores = Cores::choose(options.common.pin);
    let bench = build(&workspace, &options.common.profile, &bins, cores)?;
    let peer = if options.with_rotel { Some(rotel::install(&workspace)?) } else { None };
    let machine = machine::described(&workspace, cores)?;
    eprintln!("{}", machine::pinned(cores));

    let mut servers = started(&options, &bench)?;
    if let Some(program) = peer {
        servers.push(contestants::rotel(&bench, &program)?);
    }
    let results = measure(&options, &bench, &mut servers)?;
    drop(servers);
    bench.remove("journal")?;
    let settings = json!({
        "profile": options.common.profile, "rounds": options.common.rounds, "requests": options.requests,
        "records_a_request": options.records, "warm_up_megabytes": options.common.warm_up_megabytes, "signal": options.signal.name(),
        "transport": if options.http { "OTLP/HTTP, protobuf" } else { "OTLP/gRPC" }, "in_flight": 8,
    });
    let form = options.form();
    Run { form: &form, settings, machine, results: &results }.report(
        &workspace,
        &bench.scratch,
        options.common.record,
    )
}

fn started(options: &Throughput, bench: &Bench) -> Result<Vec<Server>> {
    let mut servers = Vec::new();
    if options.yardstick_only {
        servers.push(contestants::yardstick(bench, "plain", "plain again")?);
    } else {
        servers.push(contestants::selvedge(bench, &Variant::USUAL)?);
        if options.signal == Signal::Traces {
            servers.push(contestants::selvedge(
                bench,
                &Variant { name: "asked", asked: true, ..Variant::USUAL },
            )?);
        }
        let without = Variant { name: "without SQL", sql: false, ..Variant::USUAL };
        servers.push(contestants::selvedge(bench, &without)?);
        let journal = Variant { name: "journal", journal: Some("journal"), ..Variant::USUAL };
        servers.push(contestants::selvedge(bench, &journal)?);
    }
    servers.push(contestants::yardstick(bench, "plain", "plain")?);
    servers.push(contestants::yardstick(bench, "floor", "floor")?);
    if options.with_glibc {
        servers.push(contestants::yardstick(bench, "plain-glibc", "plain, glibc")?);
    }
    Ok(servers)
}

/// CPU seconds per million records, in turns.
fn measure(options: &Throughput, bench: &Bench, servers: &mut [Server]) -> Result<Results> {
    let Throughput { signal, http, records, requests, .. } = *options;
    let load = |requests| Load { signal, http, requests, records, arguments: &[] };
    let mut bytes = 1;
    for server in servers.iter_mut() {
        // Twice: how large a record is, the generator says.
        let said = server.load(bench, &load(requests.min(100)))?.outcome["bytes_per_record"].as_u64();
        bytes = said.context("the generator did not say how large a record is")?.max(1);
        let most = if server.name == "rotel" { WARM_UP_MEGABYTES_OF_PEER } else { u64::MAX };
        let megabytes = options.common.warm_up_megabytes.min(most);
        server.load(bench, &load((megabytes * 1_000_000).div_ceil(records * bytes)))?;
    }
    let mut costs = vec![Vec::new(); servers.len()];
    let mut rates = vec![Vec::new(); servers.len()];
    for round in 1..=options.common.rounds {
        for (place, server) in servers.iter_mut().enumerate() {
            let taken = server.load(bench, &load(requests))?;
            // The kernel counts in hundredths of a second.
            ensure!(taken.cost > 0.0, "a round is too short to be measured: take more --requests");
            let record = signal.record();
            eprintln!(
                "round {round}: {:<14} {:.2} CPU seconds per million {record}s",
                server.name, taken.cost
            );
            costs[place].push(taken.cost);
            rates[place].push(taken.rate / 1e6);
        }
    }
    let mut results = Results::default();
    for (server, costs) in servers.iter().zip(costs) {
        results.figure(server.name, "CPU-s/M", costs);
    }
    for (server, rates) in servers.iter().zip(rates) {
        results.figure(&format!("{}, by the wall clock", server.name), "M/s", rates);
    }
    results.figure("payload", "B/record", vec![bytes as f64]);
    compare(options, &mut results);
    Ok(results)
}

fn compare(options: &Throughput, results: &mut Results) {
    for (of, to) in RATIOS {
        let Some(ratio) = results.ratio(of, to) else { continue };
        let goal = GOALS.iter().find(|goal| {
            (goal.signal, goal.http, goal.of, goal.to) == (options.signal, options.http, of, to)
                && goal.records.is_none_or(|records| records == options.records)
        });
        if let Some(goal) = goal {
            let what =
                format!("{of}: CPU per {} as a share of {to}, {}", options.signal.record(), options.form());
            results.goal(what, ratio, Bound::AtMost(goal.limit), "");
        }
    }
}

/// What questions cost; the program measures and prints all by itself, both sides being in it.
pub(super) fn sql(flags: &[&str]) -> Result<()> {
    let workspace = Workspace::load()?;
    let bench = build(&workspace, super::options::RELEASE, &["sql"], None)?;
    crate::steps::run(Command::new(bench.programs.join("sql")).args(flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goals(flags: &[&str]) -> Vec<String> {
        let options = Throughput::parse(flags).unwrap();
        let mut results = Results::default();
        for name in ["selvedge", "plain", "floor", "rotel", "journal", "asked"] {
            results.figure(name, "CPU-s/M", vec![1.0]);
        }
        compare(&options, &mut results);
        let limit = |bound| match bound {
            Bound::AtMost(limit) | Bound::AtLeast(limit) => limit,
        };
        results.goals.iter().map(|goal| format!("{:.2} {}", limit(goal.bound), goal.what)).collect()
    }

    #[test]
    fn each_form_has_the_goals_that_were_set_for_it() {
        let of = |flags: &[&str]| -> Vec<String> {
            let short = |goal: &String| {
                let (limit, what) = goal.split_once(' ').unwrap();
                let to = what.split("share of ").nth(1).unwrap().split(',').next().unwrap();
                format!("{limit} {} {to}", what.split(':').next().unwrap())
            };
            goals(flags).iter().map(short).collect()
        };
        let beside = ["1.15 asked selvedge", "1.25 journal selvedge"];
        assert_eq!(of(&[]), [&["0.35 selvedge plain", "0.14 selvedge rotel"][..], &beside].concat());
        assert_eq!(
            of(&["--spans", "5"]),
            [&["0.65 selvedge plain", "1.30 selvedge floor"][..], &beside].concat()
        );
        assert_eq!(of(&["--spans", "512"]), [&["0.40 selvedge plain"][..], &beside].concat());
        assert_eq!(of(&["--http"]), ["0.40 selvedge plain", "0.17 selvedge rotel", "1.25 journal selvedge"]);
        assert_eq!(
            of(&["--signal", "logs", "--records", "7"]),
            ["0.40 selvedge plain", "1.25 journal selvedge"]
        );
        assert_eq!(of(&["--signal", "metrics"]), [""; 0]);
    }
}
