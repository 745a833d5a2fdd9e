//! A server under load, and what it takes: the CPU time that the kernel counted for its threads.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::asking::Asking;
use super::machine::{Cores, on_core};
use super::options;
use super::process;
use crate::steps;

/// The name of the threads that run queries (`crates/query/src/service.rs`).
const QUERY_THREAD: &str = "sql";
const READY_SECONDS: u64 = 30;
const END_WITHIN: Duration = Duration::from_secs(60);
/// A server that acknowledges early still owes its work: it is waited for, up to this many pauses.
const SETTLE_PAUSES_MAX: u32 = 60;
const SETTLE_PAUSE: Duration = Duration::from_millis(250);

/// Where things are, and who runs where.
pub(super) struct Bench {
    /// Folder of the built programs.
    pub(super) programs: PathBuf,
    /// Folder for configurations, logs, journals and results.
    pub(super) scratch: PathBuf,
    pub(super) cores: Option<Cores>,
}

impl Bench {
    /// Runs a program on the generator's core; what it printed, which is JSON.
    pub(super) fn generator(&self, command: &mut Command) -> Result<Value> {
        let core = self.cores.map(|cores| cores.generator);
        Ok(serde_json::from_str(&on_core(core, || steps::output(command))?)?)
    }

    /// One of the built programs.
    pub(super) fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }

    /// Removes files that grow large.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let path = self.scratch.join(name);
        let removed = match () {
            () if path.is_dir() => std::fs::remove_dir_all(&path),
            () if path.is_file() => std::fs::remove_file(&path),
            () => Ok(()),
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))
    }
}

/// Where a server listens.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) grpc: SocketAddr,
    pub(super) http: SocketAddr,
}

/// A server under load. Ends with its owner.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) addresses: Addresses,
    child: Child,
    log: PathBuf,
    next_sequence: u64,
    /// Asks while it is under load, when somebody is to.
    pub(super) asking: Option<Asking>,
}

/// A piece of load.
#[derive(Clone, Copy)]
pub(super) struct Load<'a> {
    pub(super) signal: options::Signal,
    pub(super) http: bool,
    pub(super) requests: u64,
    pub(super) records: u64,
    /// More for the generator.
    pub(super) arguments: &'a [String],
}

/// What a piece of load took.
pub(super) struct Taken {
    /// CPU seconds of the server per million records.
    pub(super) cost: f64,
    /// Acknowledged records a second, by the wall clock.
    pub(super) rate: f64,
    /// What the generator said.
    pub(super) outcome: Value,
}

impl Server {
    /// Starts it; it need not listen yet.
    pub(super) fn spawn(
        bench: &Bench,
        name: &'static str,
        addresses: Addresses,
        command: &mut Command,
    ) -> Result<Self> {
        let log = bench.scratch.join(format!("{}.log", name.replace(", ", "-").replace(' ', "-")));
        let errors = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let output = errors.try_clone()?;
        command.current_dir(&bench.scratch).stdin(Stdio::null()).stdout(output).stderr(errors);
        let start = || command.spawn().with_context(|| format!("cannot start `{}`", steps::shown(command)));
        let child = on_core(bench.cores.map(|cores| cores.server), start)?;
        Ok(Self { name, addresses, child, log, next_sequence: 0, asking: None })
    }

    /// Starts it, and waits until it listens.
    pub(super) fn start(
        bench: &Bench,
        name: &'static str,
        addresses: Addresses,
        command: &mut Command,
    ) -> Result<Self> {
        let mut server = Self::spawn(bench, name, addresses, command)?;
        let began = steps::now();
        while TcpStream::connect(addresses.grpc).is_err() {
            server.still_running()?;
            ensure!(
                began.elapsed() < Duration::from_secs(READY_SECONDS),
                "{name} does not listen after {READY_SECONDS} s; see {}",
                server.log.display()
            );
            pause(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// # Errors
    /// When it has ended.
    pub(super) fn still_running(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}; see {}", self.name, self.log.display());
        }
        Ok(())
    }

    /// Tells it to end in order, and waits for it.
    pub(super) fn terminate(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = steps::now();
        while self.child.try_wait()?.is_none() {
            ensure!(began.elapsed() < END_WITHIN, "{} does not end; see {}", self.name, self.log.display());
            pause(Duration::from_millis(20));
        }
        Ok(())
    }

    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends requests to it, and waits until it has done what it put off.
    pub(super) fn load(&mut self, bench: &Bench, load: &Load<'_>) -> Result<Taken> {
        let before = self.ticks()?;
        let mut generator = bench.program("load");
        let address = if load.http { self.addresses.http } else { self.addresses.grpc };
        generator.arg(address.to_string()).args(load.http.then_some("--http"));
        generator.args(["--signal", load.signal.name(), "--records", &load.records.to_string()]);
        generator.args(["--requests", &load.requests.to_string()]);
        generator.args(["--first-sequence", &self.next_sequence.to_string()]).args(load.arguments);
        let answers = self.asking.as_ref().map(Asking::start);
        let outcome = bench.generator(&mut generator)?;
        if let Some(answers) = answers {
            let answered = answers.stop()?;
            eprintln!("{}: {answered}", self.name);
        }
        self.next_sequence += load.requests;
        let records = load.requests * load.records;
        ensure!(
            outcome["acked"] == records && outcome["rejected"] == 0,
            "{} did not take all of {records} records: {outcome}; see {}",
            self.name,
            self.log.display()
        );
        if outcome["refused_requests"] != 0 {
            eprintln!("{} refused {} requests at first", self.name, outcome["refused_requests"]);
        }
        let cpu_seconds = process::seconds(self.settled_ticks()? - before);
        let took = outcome["seconds"].as_f64().context("the generator did not say how long it took")?;
        Ok(Taken { cost: cpu_seconds * 1e6 / records as f64, rate: records as f64 / took, outcome })
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

    /// User and system CPU time of all its threads since it started, but for those that run queries.
    fn ticks(&self) -> Result<u64> {
        process::ticks_without(self.process(), QUERY_THREAD)
    }
}

impl Taken {
    /// A number that the generator said.
    pub(super) fn said(&self, what: &str) -> Result<f64> {
        self.outcome[what].as_f64().with_context(|| format!("the generator did not say {what}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().and_then(|()| self.child.wait()).is_err() {
            eprintln!("could not end {} (process {})", self.name, self.child.id());
        }
    }
}

/// Addresses on loopback that were free a moment ago, all different.
pub(super) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
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
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
