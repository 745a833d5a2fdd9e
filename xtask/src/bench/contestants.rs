//! Who takes part: our own program in its variants, the yardsticks, and a peer.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::asking::Asking;
use super::server::{Addresses, Bench, Server, free_addresses};

/// What is kept for SQL: little enough that it is full after the warm-up. Memory that is touched for the first time costs
/// the kernel more than filling it costs us, and a server that runs for a day has done that long ago.
const SQL_BYTES: usize = 192 << 20;
/// Room for what open windows need while millions of records come in seconds; it has to be on a disk.
const JOURNAL_BYTES: u64 = 12 << 30;

/// What a server of ours has to do beside its work.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    pub(super) name: &'static str,
    /// A query a second comes.
    pub(super) asked: bool,
    /// Keeps calls and signals for SQL.
    pub(super) sql: bool,
    /// Stores every batch before it acknowledges it, in a folder of that name.
    pub(super) journal: Option<&'static str>,
    /// How far back a restart begins.
    pub(super) replay: &'static str,
    pub(super) shards: u16,
    /// Whom it tells of incidents.
    pub(super) webhook: Option<SocketAddr>,
}

impl Variant {
    /// Keeps calls for SQL, and nobody asks. Without a journal, as what it is compared with has none.
    pub(super) const USUAL: Self = Self {
        name: "selvedge",
        asked: false,
        sql: true,
        journal: None,
        replay: "1m",
        shards: 1,
        webhook: None,
    };

    fn config(&self, at: Addresses, api: SocketAddr, sql: SocketAddr) -> String {
        let Addresses { grpc, http } = at;
        let journal = self.journal.map_or("off".to_owned(), |folder| {
            format!("{{path: {folder}, bytes_max: {JOURNAL_BYTES}, replay: {}}}", self.replay)
        });
        let alerts = self.webhook.map_or(String::new(), |to| {
            format!("alerts: {{webhook: {{url: \"http://{to}/\", min_severity: low}}}}\n")
        });
        format!(
            "receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpoint: {grpc}\n      http:\n        \
             endpoint: {http}\nserve:\n  endpoint: {api}\nsql:\n  endpoint: {sql}\n  enabled: {}\n  bytes_max: \
             {SQL_BYTES}\nengine:\n  shards: {}\njournal: {journal}\n{alerts}",
            self.sql, self.shards
        )
    }
}

/// Our own program: how it is started, and where it will listen.
pub(super) struct Installed {
    pub(super) command: Command,
    pub(super) addresses: Addresses,
    pub(super) api: SocketAddr,
}

/// Writes the configuration of a variant. What a run before left in its journal stays.
pub(super) fn installed(bench: &Bench, variant: &Variant) -> Result<Installed> {
    let [grpc, http, api, sql] = free_addresses()?;
    let addresses = Addresses { grpc, http };
    let config = bench.scratch.join(format!("{}.yaml", variant.name.replace(' ', "-")));
    std::fs::write(&config, variant.config(addresses, api, sql))
        .with_context(|| format!("cannot write {}", config.display()))?;
    let mut command = bench.program("selvedge");
    command.arg("run").arg("--config").arg(&config);
    Ok(Installed { command, addresses, api })
}

/// Our own program, with its defaults but for the ports, the room for SQL and the journal, and nothing learned.
pub(super) fn selvedge(bench: &Bench, variant: &Variant) -> Result<Server> {
    if let Some(folder) = variant.journal {
        bench.remove(folder)?;
    }
    let Installed { mut command, addresses, api } = installed(bench, variant)?;
    let mut server = Server::start(bench, variant.name, addresses, &mut command)?;
    server.asking = variant.asked.then(|| Asking::of(api));
    Ok(server)
}

/// One of the yardsticks.
pub(super) fn yardstick(bench: &Bench, program: &str, name: &'static str) -> Result<Server> {
    let [grpc, http] = free_addresses()?;
    let mut command = bench.program(program);
    command.args([grpc.to_string(), http.to_string()]);
    Server::start(bench, name, Addresses { grpc, http }, &mut command)
}

/// The peer: receives, decodes, batches and drops.
pub(super) fn rotel(bench: &Bench, program: &Path) -> Result<Server> {
    let [grpc, http] = free_addresses()?;
    let mut command = Command::new(program);
    command.args(["start", "--exporter", "blackhole"]);
    command.args(["--otlp-grpc-endpoint", &grpc.to_string(), "--otlp-http-endpoint", &http.to_string()]);
    Server::start(bench, "rotel", Addresses { grpc, http }, &mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_says_what_the_variant_differs_in() {
        let any = SocketAddr::from(([127, 0, 0, 1], 4317));
        let at = Addresses { grpc: any, http: any };
        let usual = Variant::USUAL.config(at, any, any);
        assert!(
            usual.contains("journal: off\n") && usual.contains("enabled: true") && !usual.contains("alerts")
        );
        let variant =
            Variant { sql: false, journal: Some("j"), shards: 2, webhook: Some(any), ..Variant::USUAL };
        let config = variant.config(at, any, any);
        for part in ["journal: {path: j,", "enabled: false", "shards: 2", "url: \"http://127.0.0.1:4317/\""] {
            assert!(config.contains(part), "{part} in {config}");
        }
    }
}
