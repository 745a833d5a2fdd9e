//! Arguments of `simulate`.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::{ArgGroup, Args, ValueEnum};
use selvedge_model::EventTime;
use selvedge_model::time::nanos;
use selvedge_simulate::FaultKind;

const AFTER_HELP: &str = "\
Example: learn from a quiet stretch of a mesh, and look for the attack in the next one.
  selvedge simulate --seed 7 --out quiet.otlpcap
  selvedge simulate --seed 7 --attack lateral-movement --out attacked.otlpcap
  selvedge replay --learn quiet.otlpcap attacked.otlpcap";

/// Edges of a mesh.
pub(crate) const EDGES_DEFAULT: u32 = 200;
/// Calls a second.
pub(crate) const RATE_DEFAULT: u32 = 50;
/// How much is told.
pub(crate) const LENGTH_DEFAULT: Duration = Duration::from_mins(10);

/// Arguments of `simulate`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, group = ArgGroup::new("to").required(true).args(["out", "endpoint"]))]
pub(crate) struct SimulateArgs {
    /// Everything follows from it: the same seed and options give the same bytes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Number of edges; there is a service for every three.
    #[arg(long, value_name = "N", default_value_t = EDGES_DEFAULT, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub(crate) edges: u32,
    /// Calls a second in the whole mesh, on the average of a week; a call is 4 to 5 KB of telemetry.
    #[arg(long, value_name = "N", default_value_t = RATE_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// How long a stretch of the mesh's time is told, such as 10m or 2h.
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pub(crate) length: Duration,
    /// How much of the mesh's time goes by before it [default: none; with an attack or a fault as long as --for, so
    /// that a quiet stretch of the same seed comes before it].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) skip: Option<Duration>,
    /// When the mesh's time begins (RFC 3339) [default: Monday, 2023-11-13T00:00:00Z; with --endpoint so that
    /// telemetry is of now].
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) start: Option<EventTime>,
    /// No noise: no seasons, no bursts, no deployments, no gaps in the telemetry; only chance.
    #[arg(long)]
    pub(crate) calm: bool,
    /// Attack the mesh. May be repeated.
    #[arg(long, value_name = "KIND", value_enum)]
    pub(crate) attack: Vec<AttackName>,
    /// Break an edge. May be repeated.
    #[arg(long, value_name = "KIND", value_enum)]
    pub(crate) fault: Vec<FaultName>,
    /// When attacks and faults begin, counted from the first telemetry; they go on until the last
    /// [default: half of --for].
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(crate) attack_at: Option<Duration>,
    /// Write a capture, which `replay` reads; .otlpcap.zst is compressed, to a tenth.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Send to this OTLP/HTTP endpoint, such as http://127.0.0.1:4318.
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// Bearer token of the endpoint; better in the variable SELVEDGE_TOKEN.
    #[arg(long, value_name = "TOKEN", requires = "endpoint")]
    pub(crate) token: Option<String>,
    /// How fast: max, 1 for real time, 10 for ten times as fast [default: max for --out, 1 for --endpoint].
    #[arg(long, value_name = "SPEED", value_parser = parse_speed)]
    pub(crate) speed: Option<SimulationSpeed>,
    /// Write what is true into this file, as JSON [default: beside the capture; none for --endpoint].
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
}

/// How fast the mesh's time goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SimulationSpeed {
    /// As fast as the machine allows.
    Max,
    /// So many times as fast as the clock.
    Times(f64),
}

/// Attacks by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttackName {
    /// From one compromised service to the next, three hops, each with that service's own identity.
    LateralMovement,
    /// The same over edges that all exist: only the way that the requests take is new.
    KnownEdges,
    /// A caller presents another service's identity, with a certificate of its own making or the genuine one.
    ForgedIdentity,
    /// Requests without TLS over an edge that has it.
    Downgrade,
    /// A client of its own uses the caller's certificate; the caller's sidecar knows nothing of it.
    BypassedSidecar,
    /// A host outside is called by the clock, every 20 seconds.
    Beaconing,
    /// Nine of ten records of an edge never arrive.
    SuppressedTelemetry,
}

/// Faults by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FaultName {
    /// Three times the requests.
    VolumeX3,
    /// Ten times the requests.
    VolumeX10,
    /// A fifth of the requests.
    VolumeFifth,
    /// No requests at all.
    Vanished,
    /// Every request takes twice as long.
    LatencyX2,
    /// Every request takes five times as long.
    LatencyX5,
    /// Slow requests are four times slower.
    SlowerTail,
    /// Slow requests are four times as many.
    LongerTail,
    /// Two more of a hundred requests fail.
    #[value(name = "errors-2")]
    Errors2,
    /// Ten more of a hundred requests fail.
    #[value(name = "errors-10")]
    Errors10,
    /// A MiB a minute leaves with the requests.
    Exfiltration,
}

impl FaultName {
    /// What it does.
    pub(crate) fn kind(self) -> FaultKind {
        match self {
            Self::VolumeX3 => FaultKind::Volume { times: 3.0 },
            Self::VolumeX10 => FaultKind::Volume { times: 10.0 },
            Self::VolumeFifth => FaultKind::Volume { times: 0.2 },
            Self::Vanished => FaultKind::Vanished,
            Self::LatencyX2 => FaultKind::Latency { times: 2.0 },
            Self::LatencyX5 => FaultKind::Latency { times: 5.0 },
            Self::SlowerTail => FaultKind::SlowerTail { times: 4.0 },
            Self::LongerTail => FaultKind::LongerTail { times: 4.0 },
            Self::Errors2 => FaultKind::Errors { points: 2.0 },
            Self::Errors10 => FaultKind::Errors { points: 10.0 },
            Self::Exfiltration => FaultKind::Exfiltration { kib_a_minute: 1_024.0 },
        }
    }
}

/// What is written on the command line for it.
pub(crate) fn name_of(kind: &impl ValueEnum) -> String {
    kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn parse_speed(text: &str) -> Result<SimulationSpeed, String> {
    if text == "max" {
        return Ok(SimulationSpeed::Max);
    }
    match text.trim_end_matches('x').parse::<f64>() {
        Ok(times) if times.is_finite() && times > 0.0 => Ok(SimulationSpeed::Times(times)),
        _ => Err("give max, or a number above 0: 1 is real time, 10 ten times as fast".to_owned()),
    }
}

fn parse_time(text: &str) -> Result<EventTime, String> {
    let example = "give a time such as 2026-11-23T08:00:00Z";
    let time = humantime::parse_rfc3339_weak(text).map_err(|error| format!("{error}; {example}"))?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| "is before 1970".to_owned())?;
    Ok(EventTime(nanos(since)))
}
