//! `selvedge replay`: captures through the engine by a virtual clock.

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use selvedge_act::card;
use selvedge_model::{Fate, Severity, SignalKind};
use selvedge_replay::{Expectations, Pace, Played, Usage, play, write_outputs};

use crate::cli::{ReplayArgs, Speed};
use crate::config;
use crate::exit::{Failure, Outcome};
use crate::usage::Measure;
use crate::{logging, output, paths};

/// Columns of an incident card when standard output is not a terminal that says otherwise.
const WIDTH: usize = 100;
/// Steps of the progress bar, in bytes.
const BAR_TEMPLATE: &str = "{msg} [{bar:30}] {bytes}/{total_bytes}";

pub(crate) fn run(args: &ReplayArgs) -> Outcome {
    let measure = Measure::start();
    paths::require_files(&args.learn)?;
    paths::require_files(&args.captures)?;
    let expectations = args.expect.as_deref().map(read_expectations).transpose()?;
    let mut config = config::load(args.config.as_deref())?;
    logging::start(&config.log_level)?;
    if let Some(shards) = args.shards {
        config.engine.shards = usize::from(shards);
    }
    let mut pace = Pacer::new(args.speed)?;
    let played = play(&config.engine, config.rules, &args.learn, &args.captures, &mut pace)?;
    pace.finish();
    let usage = measure.read();
    if let Some(folder) = &args.out {
        write_outputs(folder, &played, usage).map_err(|error| {
            anyhow::Error::new(error).context(format!("cannot write to {}", folder.display()))
        })?;
    }
    tell(&played, usage, args)?;
    match expectations.map(|expectations| expectations.unmet(&played.incidents)) {
        Some(unmet) if !unmet.is_empty() => {
            Err(Failure::expectation(anyhow::anyhow!("not as expected:\n  {}", unmet.join("\n  "))))
        }
        _ => Ok(()),
    }
}

fn read_expectations(path: &Path) -> Result<Expectations, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| anyhow::Error::new(error).context(format!("cannot read {}", path.display())))?;
    Expectations::parse(&text)
        .map_err(|error| Failure::config(anyhow::anyhow!("{}: {error}", path.display())))
}

/// Progress for people, and the recording's own pace when asked for.
pub(crate) struct Pacer {
    speed: Speed,
    runtime: tokio::runtime::Runtime,
    bar: ProgressBar,
    capture: PathBuf,
}

impl Pacer {
    /// Progress alone.
    pub(crate) fn unpaced() -> std::io::Result<Self> {
        Self::new(Speed::Max)
    }

    fn new(speed: Speed) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        // Drawn on standard error, and only when that is a terminal.
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        bar.set_style(
            ProgressStyle::with_template(BAR_TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Ok(Self { speed, runtime, bar, capture: PathBuf::new() })
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Pace for Pacer {
    fn frame(&mut self, capture: &Path, since_previous: Duration, bytes_read: u64, bytes_total: u64) {
        if self.capture != capture {
            capture.clone_into(&mut self.capture);
            let name = capture.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.bar.set_message(name);
            self.bar.set_length(bytes_total);
        }
        self.bar.set_position(bytes_read);
        let wait = match self.speed {
            Speed::Max => return,
            Speed::Recorded => since_previous,
            Speed::TenTimes => since_previous / 10,
        };
        self.runtime.block_on(async { tokio::time::sleep(wait).await });
    }
}

/// The human summary: incident cards, what was judged, what could not be seen.
fn tell(played: &Played, usage: Usage, args: &ReplayArgs) -> std::io::Result<()> {
    let mut out = output::stdout();
    let colour = std::io::stdout().is_terminal() && logging::colour_allowed();
    let (told, quiet): (Vec<_>, Vec<_>) =
        played.incidents.iter().partition(|incident| incident.severity > Severity::Info);
    for incident in &told {
        writeln!(out, "{}", card::render(incident, colour, WIDTH))?;
    }
    let stats = &played.stats;
    let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    let notes =
        if quiet.is_empty() { String::new() } else { format!(" (and {} for the record only)", quiet.len()) };
    writeln!(
        out,
        "{}{notes} in {} calls over {} edges",
        count(told.len(), "incident"),
        stats.calls,
        stats.edges
    )?;
    let signals: Vec<String> = SignalKind::ALL
        .iter()
        .map(|kind| format!("{} {}", stats.ledger.received(*kind), kind.name()))
        .collect();
    writeln!(
        out,
        "judged    {} windows from {} ({})",
        stats.windows,
        count(args.captures.len(), "capture"),
        signals.join(", ")
    )?;
    if args.learn.is_empty() {
        writeln!(
            out,
            "baseline  none: novelty is not judged until enough was learned; give normal traffic with --learn"
        )?;
    } else {
        writeln!(out, "baseline  {}, approved", count(args.learn.len(), "capture"))?;
    }
    blind_spots(&mut out, played)?;
    writeln!(out, "took      {:.2} s, {:.0} MiB", usage.wall_seconds, mib(usage.peak_rss_bytes))?;
    if let Some(folder) = &args.out {
        writeln!(out, "written   {}", folder.display())?;
    }
    Ok(())
}

/// What the replay could not see, so that silence is not taken for safety.
fn blind_spots(out: &mut impl Write, played: &Played) -> std::io::Result<()> {
    let stats = &played.stats;
    let mut blind = Vec::new();
    if stats.calls_server_only > 0 {
        blind.push(format!("{} calls that only the callee's proxy reported", stats.calls_server_only));
    }
    if stats.calls_client_only > 0 {
        blind.push(format!("{} calls that only the caller's proxy reported", stats.calls_client_only));
    }
    for fate in [Fate::Rejected, Fate::Late, Fate::Evicted] {
        let signals: u64 = SignalKind::ALL.iter().map(|kind| stats.ledger.count(*kind, fate)).sum();
        if signals > 0 {
            blind.push(format!("{signals} signals {}", fate.name()));
        }
    }
    if stats.ledger.received(SignalKind::Logs) == 0 {
        blind.push("no logs at all: identity and transport security are known from access logs".to_owned());
    }
    if played.frames_malformed > 0 {
        let first = played.first_malformed.as_deref().unwrap_or_default();
        blind.push(format!("{} frames that are no OTLP message, first {first}", played.frames_malformed));
    }
    blind.extend(played.torn.iter().map(|torn| format!("the end of {}: {}", torn.path.display(), torn.what)));
    if blind.is_empty() {
        return writeln!(out, "unseen    nothing: every call was reported by both sides");
    }
    for (at, line) in blind.iter().enumerate() {
        writeln!(out, "{:<9} {line}", if at == 0 { "unseen" } else { "" })?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
