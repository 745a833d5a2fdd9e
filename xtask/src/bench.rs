//! The first benchmark: what a span costs `selvedge run`, against a plain tonic server that decodes and drops it. The
//! second, of SQL (`--sql`), is a program of its own: `benches/src/bin/sql`.
//!
//! Both sides get the same payload from the same generator, in turns, on the same machine within minutes. The figure is
//! the server's own CPU time (`/proc/PID/stat`), so that a busy machine disturbs both alike; compare ratios, not seconds.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::steps;
use crate::workspace::Workspace;

const SPANS_PER_REQUEST: u64 = 100;
/// Requests before the first round: connections and tables reach their usual size, and so does what is kept of calls
/// within the allowed lateness, which is first touched here and used again afterwards.
const WARM_UP_REQUESTS: u64 = 30_000;
/// The kernel counts CPU time in these for user space, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;
const READY_SECONDS: u64 = 30;
/// A server that acknowledges early still owes its work: it is waited for, up to this many pauses.
const SETTLE_PAUSES_MAX: u32 = 60;
const SETTLE_PAUSE: Duration = Duration::from_millis(250);

/// What was asked for.
struct Options {
    rounds: usize,
    requests: u64,
    with_glibc: bool,
    yardstick_only: bool,
}

impl Options {
    fn parse(flags: &[&str]) -> Result<Self> {
        let mut options = Self { rounds: 3, requests: 20_000, with_glibc: false, yardstick_only: false };
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            let mut value = || flags.next().with_context(|| format!("{flag} needs a value"));
            match *flag {
                "--rounds" => options.rounds = value()?.parse().context("--rounds takes a number")?,
                "--requests" => options.requests = value()?.parse().context("--requests takes a number")?,
                "--glibc" => options.with_glibc = true,
                "--yardstick-only" => options.yardstick_only = true,
                _ => bail!("unknown flag {flag}; see `cargo xtask`"),
            }
        }
        ensure!(0 < options.rounds && 0 < options.requests, "--rounds and --requests must be above zero");
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
    build.args(["build", "--profile", "dist", "--package", "selvedge-benches"]);
    if !options.yardstick_only {
        build.args(["--package", "selvedge"]);
    }
    steps::run(&mut build)?;
    let programs = workspace.target.join("dist");
    let scratch = workspace.target.join("bench");
    std::fs::create_dir_all(&scratch)?;

    let mut servers = Vec::new();
    if options.yardstick_only {
        servers.push(Server::plain(&programs, &scratch, "plain", "plain again")?);
    } else {
        servers.push(Server::selvedge(&programs, &scratch)?);
    }
    servers.push(Server::plain(&programs, &scratch, "plain", "plain")?);
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
    let build = ["build", "--profile", "dist", "--package", "selvedge-benches", "--bin", "sql"];
    steps::run(workspace.cargo().args(build))?;
    steps::run(Command::new(workspace.target.join("dist").join("sql")).args(flags))
}

/// CPU seconds per million spans, a row a round, a column a server.
fn measure(options: &Options, programs: &Path, servers: &mut [Server]) -> Result<Vec<Vec<f64>>> {
    for server in servers.iter_mut() {
        server.load(programs, WARM_UP_REQUESTS)?;
    }
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        let mut costs = Vec::new();
        for server in servers.iter_mut() {
            let cost = server.load(programs, options.requests)?;
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
        "\nCPU seconds of the server per million spans ({} requests of {SPANS_PER_REQUEST} spans a round, gRPC, 8 in flight)\n\n",
        options.requests
    );
    let mut row = |label: &str, cells: Vec<String>, ratio: &str| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>14}")).collect();
        writeln!(text, "{label:<8}{cells}{ratio:>10}").expect("a string takes any text");
    };
    row("round", servers.iter().map(|server| server.name.to_owned()).collect(), "ratio");
    for (number, costs) in rounds.iter().enumerate() {
        let cells = costs.iter().map(|cost| format!("{cost:.2}")).collect();
        row(&(number + 1).to_string(), cells, &format!("{:.2}", costs[0] / costs[1]));
    }
    let medians: Vec<f64> =
        (0..servers.len()).map(|column| median(rounds.iter().map(|costs| costs[column]).collect())).collect();
    let ratio = median(rounds.iter().map(|costs| costs[0] / costs[1]).collect());
    row("median", medians.iter().map(|cost| format!("{cost:.2}")).collect(), &format!("{ratio:.2}"));
    println!("{text}");
    println!(
        "{} costs {ratio:.2} of {} per span (all spans acknowledged).",
        servers[0].name, servers[1].name
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// A server under load. Ends with its owner.
struct Server {
    name: &'static str,
    address: SocketAddr,
    child: Child,
    next_sequence: u64,
}

impl Server {
    fn plain(programs: &Path, scratch: &Path, program: &str, name: &'static str) -> Result<Self> {
        let [address] = free_addresses()?;
        let mut command = Command::new(programs.join(program));
        command.arg(address.to_string());
        Self::start(name, address, &mut command, scratch)
    }

    /// Our own program, with its defaults but for the ports.
    fn selvedge(programs: &Path, scratch: &Path) -> Result<Self> {
        let [grpc, http, api, sql] = free_addresses()?;
        let config = scratch.join("selvedge.yaml");
        let text = format!(
            "receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpoint: {grpc}\n      http:\n        \
             endpoint: {http}\nserve:\n  endpoint: {api}\nsql:\n  endpoint: {sql}\n"
        );
        std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let mut command = Command::new(programs.join("selvedge"));
        command.arg("run").arg("--config").arg(&config);
        Self::start("selvedge", grpc, &mut command, scratch)
    }

    fn start(name: &'static str, address: SocketAddr, command: &mut Command, scratch: &Path) -> Result<Self> {
        let log = scratch.join(format!("{}.log", name.replace(", ", "-").replace(' ', "-")));
        let errors = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.current_dir(scratch).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().with_context(|| format!("cannot start `{}`", steps::shown(command)))?;
        let mut server = Self { name, address, child, next_sequence: 0 };
        server.wait_until_ready(&log)?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let began = steps::now();
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}; see {}", self.name, log.display());
            }
            ensure!(
                began.elapsed() < Duration::from_secs(READY_SECONDS),
                "{} does not listen after {READY_SECONDS} s; see {}",
                self.name,
                log.display()
            );
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Sends requests to it; CPU seconds per million spans that it took.
    fn load(&mut self, programs: &Path, requests: u64) -> Result<f64> {
        let before = self.ticks()?;
        let mut load = Command::new(programs.join("load"));
        load.arg(self.address.to_string());
        load.args(["--requests", &requests.to_string(), "--spans", &SPANS_PER_REQUEST.to_string()]);
        load.args(["--first-sequence", &self.next_sequence.to_string()]);
        let outcome: Value = serde_json::from_str(&steps::output(&mut load)?)?;
        self.next_sequence += requests;
        let spans = requests * SPANS_PER_REQUEST;
        ensure!(
            outcome["acked_spans"] == spans && outcome["rejected_spans"] == 0,
            "{} did not take all of {spans} spans: {outcome}",
            self.name
        );
        if outcome["refused_requests"] != 0 {
            eprintln!("{} refused {} requests at first", self.name, outcome["refused_requests"]);
        }
        let ticks = self.settled_ticks()? - before;
        let millions = f64::from(u32::try_from(spans)?) / 1e6;
        Ok(f64::from(u32::try_from(ticks)?) / TICKS_PER_SECOND / millions)
    }

    /// CPU ticks once they have stopped growing.
    fn settled_ticks(&self) -> Result<u64> {
        let mut last = self.ticks()?;
        for _ in 0..SETTLE_PAUSES_MAX {
            pause(SETTLE_PAUSE);
            let now = self.ticks()?;
            if now - last <= 1 {
                return Ok(now);
            }
            last = now;
        }
        Ok(last)
    }

    /// User and system CPU time of all its threads since it started.
    fn ticks(&self) -> Result<u64> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(&path).with_context(|| format!("{} is gone", self.name))?;
        cpu_ticks(&stat).with_context(|| format!("{path} has not the shape that is expected"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().and_then(|()| self.child.wait()).is_err() {
            eprintln!("could not end {} (process {})", self.name, self.child.id());
        }
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`; the program's name, field 2, may hold anything, so count from its end.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Addresses on loopback that were free a moment ago, all different.
fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let mut held = Vec::new();
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}

#[expect(
    clippy::disallowed_methods,
    reason = "there is no runtime here to block, only another process to wait for"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_are_user_plus_system_whatever_the_program_is_called() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("17 (short) S 1"), None);
    }

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
        assert_eq!(Options::parse(&["--rounds", "5"]).unwrap().rounds, 5);
    }
}
