//! A server under load, and what it takes: the CPU time that the kernel counted for its threads.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::asking::Asking;
use crate::steps;

/// The name of the threads that run queries (`crates/query/src/service.rs`).
const QUERY_THREAD: &str = "sql";
/// The kernel counts CPU time in these for user space, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;
const READY_SECONDS: u64 = 30;
/// A server that acknowledges early still owes its work: it is waited for, up to this many pauses.
const SETTLE_PAUSES_MAX: u32 = 60;
const SETTLE_PAUSE: Duration = Duration::from_millis(250);

/// What is kept for SQL: little enough that it is full after the warm-up. Memory that is touched for the first time costs
/// the kernel more than filling it costs us, and a server that runs for a day has done that long ago.
const SQL_BYTES: usize = 192 << 20;

/// Room for what open windows need while millions of spans come in seconds; it has to be on a disk.
const JOURNAL_BYTES: u64 = 12 << 30;

/// What a server of ours has to do beside its work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// Keeps calls for SQL, and nobody asks. Without a journal, as what it is compared with has none.
    Usual,
    /// A query a second comes.
    Asked,
    /// Keeps nothing for SQL.
    WithoutSql,
    /// Stores every batch before it acknowledges it.
    Journal,
}

/// A server under load. Ends with its owner.
pub(super) struct Server {
    pub(super) name: &'static str,
    address: SocketAddr,
    child: Child,
    next_sequence: u64,
    /// Asks while it is under load, when somebody is to.
    asking: Option<Asking>,
}

impl Server {
    pub(super) fn plain(programs: &Path, scratch: &Path, program: &str, name: &'static str) -> Result<Self> {
        let [address] = free_addresses()?;
        let mut command = Command::new(programs.join(program));
        command.arg(address.to_string());
        Self::start(name, address, &mut command, scratch)
    }

    /// Our own program, with its defaults but for the ports, the room for SQL and the journal.
    pub(super) fn selvedge(
        programs: &Path,
        scratch: &Path,
        name: &'static str,
        variant: Variant,
    ) -> Result<Self> {
        let [grpc, http, api, sql] = free_addresses()?;
        let config = scratch.join(format!("{}.yaml", name.replace(' ', "-")));
        let journal = match variant {
            Variant::Journal => {
                let folder = fresh_folder(scratch, "journal")?;
                format!("{{path: {}, bytes_max: {JOURNAL_BYTES}, replay: 1m}}", folder.display())
            }
            Variant::Usual | Variant::Asked | Variant::WithoutSql => "off".to_owned(),
        };
        let text = format!(
            "receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpoint: {grpc}\n      http:\n        \
             endpoint: {http}\nserve:\n  endpoint: {api}\nsql:\n  endpoint: {sql}\n  enabled: {}\n  bytes_max: {SQL_BYTES}\njournal: {journal}\n",
            variant != Variant::WithoutSql
        );
        std::fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let mut command = Command::new(programs.join("selvedge"));
        command.arg("run").arg("--config").arg(&config);
        let mut server = Self::start(name, grpc, &mut command, scratch)?;
        server.asking = (variant == Variant::Asked).then(|| Asking::of(api));
        Ok(server)
    }

    fn start(name: &'static str, address: SocketAddr, command: &mut Command, scratch: &Path) -> Result<Self> {
        let log = scratch.join(format!("{}.log", name.replace(", ", "-").replace(' ', "-")));
        let errors = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.current_dir(scratch).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        let child = command.spawn().with_context(|| format!("cannot start `{}`", steps::shown(command)))?;
        let mut server = Self { name, address, child, next_sequence: 0, asking: None };
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
    pub(super) fn load(&mut self, programs: &Path, requests: u64, spans: u64) -> Result<f64> {
        let before = self.ticks()?;
        let mut load = Command::new(programs.join("load"));
        load.arg(self.address.to_string());
        load.args(["--requests", &requests.to_string(), "--spans", &spans.to_string()]);
        load.args(["--first-sequence", &self.next_sequence.to_string()]);
        let answers = self.asking.as_ref().map(Asking::start);
        let outcome: Value = serde_json::from_str(&steps::output(&mut load)?)?;
        if let Some(answers) = answers {
            let answered = answers.stop()?;
            eprintln!("{}: {answered}", self.name);
        }
        self.next_sequence += requests;
        let spans = requests * spans;
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

    /// User and system CPU time of all its threads since it started, but for those that run queries.
    fn ticks(&self) -> Result<u64> {
        let process = Path::new("/proc").join(self.child.id().to_string());
        let mut ticks = read_ticks(&process.join("stat"))?;
        for thread in std::fs::read_dir(process.join("task"))? {
            let thread = thread?.path();
            if std::fs::read_to_string(thread.join("comm"))?.trim_end() == QUERY_THREAD {
                ticks = ticks.saturating_sub(read_ticks(&thread.join("stat"))?);
            }
        }
        Ok(ticks)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().and_then(|()| self.child.wait()).is_err() {
            eprintln!("could not end {} (process {})", self.name, self.child.id());
        }
    }
}

fn read_ticks(path: &Path) -> Result<u64> {
    let stat = std::fs::read_to_string(path).with_context(|| format!("{} is gone", path.display()))?;
    cpu_ticks(&stat).with_context(|| format!("{} has not the shape that is expected", path.display()))
}

/// Fields 14 and 15 of `/proc/PID/stat`; the program's name, field 2, may hold anything, so count from its end.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// A folder with nothing in it: what a run before left would be read again.
fn fresh_folder(scratch: &Path, name: &str) -> Result<PathBuf> {
    let folder = scratch.join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    Ok(folder)
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
pub(super) fn pause(duration: Duration) {
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
}
