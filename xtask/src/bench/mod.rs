//! The benchmarks. The first: what a record costs `selvedge run`, against servers that do nothing with it ([`throughput`]).
//! The second, of SQL (`--sql`), is a program of its own: `benches/src/bin/sql`. The third (`--system`): what else the
//! product promises ([`system`]). The fourth (`--micro`): single stages (`benches/micro`). `docs/performance.md` explains them.
//!
//! All servers get the same payload from the same generator, in turns, on the same machine within minutes. The figure is
//! the server's own CPU time ([`process`]), so that a busy machine disturbs all alike; compare ratios, not seconds. Each run
//! is written down ([`record`]) beside the last recorded one.

mod asking;
mod contestants;
mod http;
mod machine;
mod options;
mod process;
mod record;
mod results;
mod rotel;
mod server;
mod system;
mod throughput;

use anyhow::Result;

use self::machine::Cores;
use self::server::Bench;
use crate::steps;
use crate::workspace::Workspace;

/// Runs the benchmark that is asked for.
///
/// # Errors
/// When something cannot be built or started, or does not do what it must before it can be measured.
pub(crate) fn run(flags: &[&str]) -> Result<()> {
    match flags {
        ["--sql", flags @ ..] => throughput::sql(flags),
        ["--system", flags @ ..] => system::run(flags),
        ["--micro", flags @ ..] => micro(flags),
        flags => throughput::run(flags),
    }
}

/// Single stages. They need no database, so they are a package of their own that is built in a minute.
fn micro(flags: &[&str]) -> Result<()> {
    let workspace = Workspace::load()?;
    steps::run(workspace.cargo().args(["bench", "--package", "selvedge-microbenches", "--"]).args(flags))
}

/// Builds what takes part, and nothing else: optimising across all crates takes minutes a program.
fn build(workspace: &Workspace, profile: &str, bins: &[&str], cores: Option<Cores>) -> Result<Bench> {
    let mut build = workspace.cargo();
    build.args(["build", "--profile", profile, "--package", "selvedge-benches"]);
    if bins.contains(&"selvedge") {
        build.args(["--package", "selvedge"]);
    }
    for bin in bins {
        build.args(["--bin", bin]);
    }
    steps::run(&mut build)?;
    let scratch = workspace.target.join("bench");
    std::fs::create_dir_all(&scratch)?;
    Ok(Bench { programs: workspace.target.join(profile), scratch, cores })
}
