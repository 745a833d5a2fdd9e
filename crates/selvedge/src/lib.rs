//! The `selvedge` program: command line and configuration in, exit code out.
//!
//! Owns the command line, the configuration file, the environment, the system clock and the terminal. A library only so
//! that what reads the configuration can be fuzzed. Start reading at `commands/run.rs` for the live engine and
//! `commands/replay.rs` for captures.

mod checkpoint;
mod cli;
mod clock;
mod commands;
mod config;
mod detection_section;
mod effects;
mod enforcement;
mod exit;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod journal;
mod journal_section;
#[cfg_attr(not(feature = "kafka"), path = "kafka_off.rs")]
mod kafka;
mod logging;
mod output;
mod paths;
mod quarantine_section;
mod sql_doors;
mod sql_section;
mod tls_files;
mod usage;
mod yaml;

use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::exit::Exit;

/// Runs the command that the arguments of the process name.
#[must_use]
pub fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Run(args) => commands::run::run(&args),
        Command::Replay(args) => commands::replay::run(&args),
        Command::Sql(args) => commands::sql::run(&args),
        Command::Baseline(args) => commands::baseline::run(&args),
        Command::Quarantine(args) => commands::quarantine::run(&args),
        Command::Policy(args) => commands::policy::run(&args),
        Command::Audit(args) => commands::audit::run(&args),
        Command::Simulate(args) => commands::simulate::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Rules(args) => commands::rules::run(&args),
        Command::Alerts(args) => commands::alerts::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
    };
    exit::report(outcome).into()
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
