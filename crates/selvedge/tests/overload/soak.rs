//! For as long as it runs: nothing grows, nothing is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::live::*;
use crate::load::*;

/// Connections of the half load.
const CONNECTIONS: u64 = 4;
/// How long saturation is measured for.
const MEASURED: Duration = Duration::from_secs(3);
/// Windows and what is kept are small, so that a short run, too, is long against them.
const CONFIG: &str =
    "receivers: {otlp: {protocols: {grpc: {endpoint: \"GRPC\"}, http: {endpoint: \"HTTP\"}}}}
serve: {endpoint: \"API\"}
sql:
  endpoint: \"WIRE\"
  bytes_max: 33554432
  memory_max: 67108864
  history: {folder: history, bytes_max: 67108864}
engine: {window: 1s, allowed_lateness: 2s}
alerts: {jsonl: {path: alerts.jsonl}}
quarantine: {mode: propose}
log: {level: warn}
";
/// Event time between the newest record and the closed windows: a window, and what waits for late records.
const LAG_MAX_SECONDS: f64 = 15.0;
/// What may grow from the first half of a run to the second: noise of an allocator.
const GROWTH_MAX_KIB: u64 = 24 << 10;
const SAMPLES: u32 = 40;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    memory_kib: u64,
    threads: u64,
    files: u64,
    tasks: u64,
    lag_seconds: f64,
}

impl Sample {
    fn take(place: &Place, pid: u32) -> Self {
        Self {
            memory_kib: status(pid, "VmRSS"),
            threads: status(pid, "Threads"),
            files: std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64,
            tasks: place.metric("selvedge_tasks", ""),
            lag_seconds: place.metrics("selvedge_watermark_lag_seconds", "")[0].parse().unwrap(),
        }
    }
}

/// A number of a sample.
type Number = fn(&Sample) -> u64;

/// The one in the middle.
fn median(samples: &[Sample], of: Number) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Scenario: half of what it can take, for `SELVEDGE_SOAK_SECONDS` (30), with journal, checkpoints, SQL, history on disk,
/// alerts and quarantines on, and people who ask.
/// Guarantees: memory, threads, files and tasks do not grow; windows close; nothing is refused; what was acknowledged has
/// its fate; checkpoints are written, and the journal stays in its budget.
#[test]
fn half_load_goes_on_without_end_and_nothing_grows() {
    let seconds = asked("SELVEDGE_SOAK_SECONDS", 30);
    let _machine = alone();
    let place = Place::configured(&format!("{CONFIG}{JOURNAL}\n"));
    let mut command = place.command(&[]);
    command.current_dir(place.folder.path());
    let live = place.start(command);
    let pid = live.child.id();
    let most = load(&place, (1, CONNECTIONS), Duration::ZERO, |_| pass(MEASURED)).accepted();
    let every = MEASURED * 2 * u32::try_from(CONNECTIONS).unwrap() / u32::try_from(most.max(1)).unwrap();
    let mut samples = Vec::new();
    let answers = load(&place, (2, CONNECTIONS), every, |_| {
        for _ in 0..SAMPLES {
            pass(seconds / SAMPLES);
            samples.push(Sample::take(&place, pid));
            let rows = place.ask("SELECT destination_workload, count(*) AS n FROM calls GROUP BY 1");
            assert!(!rows.as_array().unwrap().is_empty());
        }
    });
    let accepted = most + answers.accepted();
    stored(&place);
    assert_eq!(answers.refused(), 0);
    until("acknowledged = processed", || {
        place.metric("selvedge_signals_total", "traces") == accepted * SPANS
    });
    assert_eq!(place.metric("selvedge_fates", "traces"), accepted * SPANS, "each has one fate");
    for lost in ["late", "evicted", "rejected", "unmatched"] {
        assert_eq!(place.metric("selvedge_fates", &format!("fate=\"{lost}\"")), 0, "{lost}");
    }
    assert_eq!(place.metric("selvedge_checkpoints_total", "failed"), 0);
    assert!(place.metric("selvedge_checkpoints_total", "written") > 0);
    assert!(place.metric("selvedge_journal_bytes", "") <= 256 << 20);

    // The first quarter fills what is kept.
    let (early, late) = samples[samples.len() / 4..].split_at(samples.len() * 3 / 8);
    let mut held = BTreeMap::new();
    let of: [(&str, Number, u64); 4] = [
        ("KiB of memory", |sample| sample.memory_kib, GROWTH_MAX_KIB),
        ("threads", |sample| sample.threads, 1),
        ("files", |sample| sample.files, 4),
        ("tasks", |sample| sample.tasks, 4),
    ];
    for (what, of, more_max) in of {
        let (before, after) = (median(early, of), median(late, of));
        held.insert(what, (before, after));
        assert!(after <= before + more_max, "{what} grew from {before} to {after}: {samples:?}");
    }
    let lag = samples.iter().map(|sample| sample.lag_seconds).fold(0.0, f64::max);
    assert!(lag <= LAG_MAX_SECONDS, "{lag} s");
    live.end();
    println!(
        "{} s at half of {} requests a second: {accepted} taken, 0 refused; lag at most {lag:.1} s; (early, late) {held:?}",
        seconds.as_secs(),
        most / MEASURED.as_secs()
    );
}

/// Lets so much time pass.
fn pass(time: Duration) {
    Stop::default().within(time);
}
