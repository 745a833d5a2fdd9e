//! The first benchmark: what a span costs `selvedge run`, against a plain tonic server that decodes and drops it and
//! one that only drops it (the floor); and what keeping calls for SQL, and a query a second, add. The second, of SQL
//! (`--sql`), is a program of its own: `benches/src/bin/sql`. `docs/performance.md` explains both.
//!
//! All get the same payload from the same generator, in turns, on the same machine within minutes. The figure is the
//! server's own CPU time ([`server`]), so that a busy machine disturbs all alike; compare ratios, not seconds.

mod asking;
mod server;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use self::server::{Server, Variant};
use crate::steps;
use crate::workspace::Workspace;

/// Spans before the first round: connections and tables reach their usual size, and so does what is kept of calls
/// within the allowed lateness, which is first touched here and used again afterwards.
const WARM_UP_SPANS: u64 = 3_000_000;

/// The profile of a server that nobody tuned: optimised, crate by crate. What the yardstick is defined by.
const RELEASE: &str = "release";
/// So much dearer is every batch when it is on disk before it is acknowledged, at most.
const JOURNAL_RATIO_MAX: f64 = 1.25;
/// A query a second may make ingestion so much dearer, at most, the query's own threads apart.
const ASKED_RATIO_MAX: f64 = 1.15;
/// What ours may cost at most, as a share of another server's cost, by spans a request. Half of the plain server is the
/// gate; requests of Envoy's default size cost as such, so the floor is what they are compared with.
const GOALS: [(u64, &str, f64); 4] =
    [(100, "plain", 0.5), (5, "plain", 0.65), (5, "floor", 1.3), (512, "plain", 0.4)];

/// What was asked for.
struct Options {
    /// What everything is built with: `release`, or as it is packaged, `dist`.
    profile: String,
    rounds: usize,
    requests: u64,
    spans: u64,
    with_glibc: bool,
    yardstick_only: bool,
}

impl Options {
    fn parse(flags: &[&str]) -> Result<Self> {
        let mut options = Self {
            profile: RELEASE.to_owned(),
            rounds: 3,
            requests: 20_000,
            spans: 100,
            with_glibc: false,
            yardstick_only: false,
        };
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            let mut value = || flags.next().with_context(|| format!("{flag} needs a value"));
            match *flag {
                "--profile" => options.profile = value()?.to_string(),
                "--rounds" => options.rounds = value()?.parse().context("--rounds takes a number")?,
                "--requests" => options.requests = value()?.parse().context("--requests takes a number")?,
                "--spans" => options.spans = value()?.parse().context("--spans takes a number")?,
                "--glibc" => options.with_glibc = true,
                "--yardstick-only" => options.yardstick_only = true,
                _ => bail!("unknown flag {flag}; see `cargo xtask`"),
            }
        }
        ensure!(
            0 < options.rounds && 0 < options.requests && 0 < options.spans,
            "--rounds, --requests and --spans must be above zero"
        );
        Ok(options)
    }
}

/// Builds, runs the rounds and prints the comparison.
///
/// # Errors
/// When something cannot be built or started, or a span was not acknowledged.
pub(crate) fn run(flags: &[&str]) -> Result<()> {
    if let ["--sql", flags @ ..] = flags {
        return sql(flags);
    }
    let options = Options::parse(flags)?;
    let workspace = Workspace::load()?;
    let mut build = workspace.cargo();
    // Only what takes part: optimising across all crates takes minutes a program.
    build.args([
        "build",
        "--profile",
        &options.profile,
        "--package",
        "selvedge-benches",
        "--bin",
        "load",
        "--bin",
        "plain",
        "--bin",
        "floor",
    ]);
    if options.with_glibc {
        build.args(["--bin", "plain-glibc"]);
    }
    if !options.yardstick_only {
        build.args(["--package", "selvedge", "--bin", "selvedge"]);
    }
    steps::run(&mut build)?;
    let programs = workspace.target.join(&options.profile);
    let scratch = workspace.target.join("bench");
    std::fs::create_dir_all(&scratch)?;

    let mut servers = Vec::new();
    if options.yardstick_only {
        servers.push(Server::plain(&programs, &scratch, "plain", "plain again")?);
    } else {
        servers.push(Server::selvedge(&programs, &scratch, "selvedge", Variant::Usual)?);
        servers.push(Server::selvedge(&programs, &scratch, "asked", Variant::Asked)?);
        servers.push(Server::selvedge(&programs, &scratch, "without SQL", Variant::WithoutSql)?);
        servers.push(Server::selvedge(&programs, &scratch, "journal", Variant::Journal)?);
    }
    servers.push(Server::plain(&programs, &scratch, "plain", "plain")?);
    servers.push(Server::plain(&programs, &scratch, "floor", "floor")?);
    if options.with_glibc {
        servers.push(Server::plain(&programs, &scratch, "plain-glibc", "plain, glibc")?);
    }
    let rounds = measure(&options, &programs, &mut servers)?;
    report(&options, &servers, &rounds);
    Ok(())
}

/// What questions cost; the program measures and prints all by itself, both sides being in it.
fn sql(flags: &[&str]) -> Result<()> {
    let workspace = Workspace::load()?;
    let build = ["build", "--profile", RELEASE, "--package", "selvedge-benches", "--bin", "sql"];
    steps::run(workspace.cargo().args(build))?;
    steps::run(Command::new(workspace.target.join(RELEASE).join("sql")).args(flags))
}

/// CPU seconds per million spans, a row a round, a column a server.
fn measure(options: &Options, programs: &Path, servers: &mut [Server]) -> Result<Vec<Vec<f64>>> {
    for server in servers.iter_mut() {
        server.load(programs, WARM_UP_SPANS / options.spans, options.spans)?;
    }
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        let mut costs = Vec::new();
        for server in servers.iter_mut() {
            let cost = server.load(programs, options.requests, options.spans)?;
            eprintln!("round {round}: {:<14} {cost:.2} CPU seconds per million spans", server.name);
            costs.push(cost);
        }
        rounds.push(costs);
    }
    Ok(rounds)
}

#[expect(clippy::print_stdout, reason = "the figures are data")]
fn report(options: &Options, servers: &[Server], rounds: &[Vec<f64>]) {
    let mut text = format!(
        "\nCPU seconds of the server per million spans ({} requests of {} spans a round, gRPC, 8 in flight, profile {})\n\n",
        options.requests, options.spans, options.profile
    );
    let mut row = |label: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>14}")).collect();
        writeln!(text, "{label:<8}{cells}").expect("a string takes any text");
    };
    row("round", servers.iter().map(|server| server.name.to_owned()).collect());
    for (number, costs) in rounds.iter().enumerate() {
        row(&(number + 1).to_string(), costs.iter().map(|cost| format!("{cost:.2}")).collect());
    }
    let column = |place: usize| rounds.iter().map(|costs| costs[place]).collect();
    row("median", (0..servers.len()).map(|place| format!("{:.2}", median(column(place)))).collect());
    println!("{text}");
    let place = |name: &str| servers.iter().position(|server| server.name == name);
    let ours =
        |base| GOALS.iter().find(|(spans, of, _)| (*spans, *of) == (options.spans, base)).map(|goal| goal.2);
    let pairs = [
        ("selvedge", "plain", ours("plain")),
        ("selvedge", "floor", ours("floor")),
        ("without SQL", "plain", None),
        ("asked", "selvedge", Some(ASKED_RATIO_MAX)),
        ("journal", "selvedge", Some(JOURNAL_RATIO_MAX)),
        ("plain again", "plain", None),
        ("plain, glibc", "plain", None),
    ];
    for (name, base, goal) in pairs {
        let (Some(this), Some(that)) = (place(name), place(base)) else { continue };
        let ratios: Vec<f64> = rounds.iter().map(|costs| costs[this] / costs[that]).collect();
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let ratio = median(ratios);
        let goal = goal.map_or(String::new(), |goal| {
            format!("  goal <= {goal:.2}: {}", if ratio <= goal { "met" } else { "MISSED" })
        });
        println!("{name} costs {ratio:.2} of {base} per span (rounds {}){goal}", each.join(" "));
    }
    println!(
        "All spans were acknowledged. `asked` answers a query a second, whose own threads are not counted."
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn unknown_flags_and_missing_values_are_refused() {
        assert!(Options::parse(&["--fast"]).is_err());
        assert!(Options::parse(&["--rounds"]).is_err());
        assert!(Options::parse(&["--rounds", "0"]).is_err());
        assert_eq!(Options::parse(&["--profile", "dist"]).unwrap().profile, "dist");
        assert_eq!(Options::parse(&["--rounds", "5"]).unwrap().rounds, 5);
    }
}
