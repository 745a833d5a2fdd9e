//! The command line.

mod baseline;
mod containment;
mod doctor;
mod simulate;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use baseline::*;
pub(crate) use containment::*;
pub(crate) use doctor::*;
pub(crate) use simulate::*;

const AFTER_HELP: &str = "\
Exit codes: 0 ok, 1 runtime failure, 2 usage, 3 configuration or rules invalid, 4 expectation not met.
Data goes to standard output, logs and progress to standard error.";

/// Watches the telemetry of a service mesh, and tells when an edge of it unravels.
#[derive(Debug, Parser)]
#[command(name = "selvedge", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Listen for OTLP, learn, detect and alert. Needs no configuration.
    Run(RunArgs),
    /// Play captures through the engine by a virtual clock.
    Replay(ReplayArgs),
    /// Ask SQL of a running engine, or of captures and history files without one.
    Sql(SqlArgs),
    /// See, approve, forget, export and import what was learned.
    Baseline(BaselineArgs),
    /// See, approve and lift the quarantines of a running engine.
    Quarantine(QuarantineArgs),
    /// Try policies on recorded traffic, write them from it, and test them.
    Policy(PolicyArgs),
    /// Check the audit log.
    Audit(AuditArgs),
    /// Simulate a mesh, quiet or under attack, and write or send its telemetry.
    Simulate(SimulateArgs),
    /// Check a configuration file and its rules.
    Check(CheckArgs),
    /// Inspect machine, journal, checkpoints and what proxies send, and say what to do about what is wrong.
    Doctor(DoctorArgs),
    /// Look at the rules.
    Rules(RulesArgs),
    /// Work with alert sinks.
    Alerts(AlertsArgs),
    /// Print a completion script for a shell.
    Completions(CompletionsArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Captures to take as an approved baseline before listening. May be repeated.
    #[arg(long, value_name = "CAPTURE")]
    pub(crate) learn: Vec<PathBuf>,
    /// Number of shards; each beyond the first is a thread. Overrides the configuration.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) shards: Option<u16>,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Captures to judge, in order: capture v1 (.otlpcap, .otlpcap.zst), the Collector file exporter's JSON lines
    /// (plain, zstd, gzip) or its length-framed protobuf.
    #[arg(required_unless_present = "learn", value_name = "CAPTURE")]
    pub(crate) captures: Vec<PathBuf>,
    /// Captures to take as an approved baseline first. May be repeated.
    #[arg(long, value_name = "CAPTURE")]
    pub(crate) learn: Vec<PathBuf>,
    /// Configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Write incidents.jsonl, findings.jsonl, actions.jsonl, transcript.txt and summary.json into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Number of shards; the result is the same for any. Overrides the configuration.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) shards: Option<u16>,
    /// How fast the virtual clock runs; the result is the same for any.
    #[arg(long, value_enum, default_value_t = Speed::Max)]
    pub(crate) speed: Speed,
    /// Compare the incidents with this file (YAML: `incidents`, `incidents_max`); exit with 4 when they differ.
    #[arg(long, value_name = "FILE")]
    pub(crate) expect: Option<PathBuf>,
}

/// Speed of the virtual clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speed {
    /// As fast as the machine allows.
    #[value(name = "max")]
    Max,
    /// As recorded.
    #[value(name = "1x")]
    Recorded,
    /// Ten times as fast as recorded.
    #[value(name = "10x")]
    TenTimes,
}

/// Arguments of `sql`.
#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The statement. Without it: from standard input, or a prompt when that is a terminal.
    #[arg(value_name = "SQL")]
    pub(crate) query: Option<String>,
    /// Address of the running engine's API [default: http://127.0.0.1:4319].
    #[arg(long, value_name = "URL", conflicts_with_all = ["capture", "history"])]
    pub(crate) url: Option<String>,
    /// Bearer token, for a proxy in front of the API; better in the variable SELVEDGE_TOKEN.
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["capture", "history"])]
    pub(crate) token: Option<String>,
    /// Captures to play and ask, without a running engine. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub(crate) capture: Vec<PathBuf>,
    /// Captures to take as an approved baseline first; their calls are not in the tables. May be repeated.
    #[arg(long, value_name = "FILE", requires = "capture")]
    pub(crate) learn: Vec<PathBuf>,
    /// Folder of history files, or one such file, to ask without a running engine.
    #[arg(long, value_name = "PATH", num_args = 1)]
    pub(crate) history: Option<PathBuf>,
    /// Configuration file, for captures.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How the answer is written [default: by the extension of --output, else table].
    #[arg(short, long, value_enum)]
    pub(crate) format: Option<SqlFormat>,
    /// Write the answer to this file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Formats of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SqlFormat {
    /// For people.
    Table,
    /// Comma-separated, with a header.
    Csv,
    /// One array of objects.
    Json,
    /// One object a line.
    Jsonl,
    /// A Parquet file.
    Parquet,
    /// Arrow's IPC stream.
    Arrow,
}

impl From<SqlFormat> for selvedge_query::output::Format {
    fn from(format: SqlFormat) -> Self {
        match format {
            SqlFormat::Table => Self::Table,
            SqlFormat::Csv => Self::Csv,
            SqlFormat::Json => Self::Json,
            SqlFormat::Jsonl => Self::JsonLines,
            SqlFormat::Parquet => Self::Parquet,
            SqlFormat::Arrow => Self::Arrow,
        }
    }
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

/// Arguments of `rules`.
#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    pub(crate) command: RulesCommand,
}

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// List every rule with its level and whether it is on.
    List {
        /// Configuration file whose rules folder overrides the shipped rules.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Arguments of `alerts`.
#[derive(Debug, Args)]
pub(crate) struct AlertsArgs {
    #[command(subcommand)]
    pub(crate) command: AlertsCommand,
}

/// What to do with alert sinks.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// Fire and resolve a test alert through every configured sink.
    Test {
        /// Configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell.
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}
