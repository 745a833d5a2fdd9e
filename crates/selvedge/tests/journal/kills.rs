//! kill -9 at random points under load, and a disk that fills: what was acknowledged is there afterwards.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::live::*;

const JSON: &str = "application/json";
/// Rounds unless `SELVEDGE_KILLS` says otherwise.
const ROUNDS: u64 = 20;
const SENDERS: u64 = 4;
const SPANS: u64 = 5;
/// Acknowledgements in a round before it is killed, at most.
const ACKNOWLEDGED_MAX: u64 = 150;

#[expect(clippy::disallowed_methods, reason = "a test is told by its caller how long to go on")]
fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What the senders remember of a round.
#[derive(Default)]
struct Memory {
    sent: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

/// A number that looks random, the same for the same seed.
fn scrambled(seed: u64) -> u64 {
    let mixed = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 29).wrapping_mul(0x94d0_49bb_1331_11eb) ^ mixed >> 32
}

fn prefix(round: u64) -> String {
    format!("{:06x}", round + 1)
}

/// Sends until the connection breaks or `stop`, and remembers.
fn sender(
    place: &Place,
    round: u64,
    number: u64,
    memory: &Mutex<Memory>,
    acks: &AtomicUsize,
    stop: &AtomicBool,
) {
    let Some(mut sender) = Sender::connect(place.http) else { return };
    for batch in 0.. {
        let traces: Vec<String> = (0..SPANS)
            .map(|span| format!("{}{number:02x}{:024x}", prefix(round), batch * SPANS + span + 1))
            .collect();
        memory.lock().unwrap().sent.extend(traces.iter().cloned());
        // Batches of very different sizes, so that a kill finds writes in the middle.
        let padding = usize::try_from(scrambled(round << 32 | number << 24 | batch) % 20_000).unwrap();
        match sender.send("traces", JSON, &spans(&traces, padding)) {
            Some(200) => {
                memory.lock().unwrap().acknowledged.extend(traces);
                acks.fetch_add(1, Ordering::Relaxed);
            }
            Some(503) => {}
            Some(status) => panic!("{status}"),
            None => return,
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Four senders; the process is killed when `first` has happened and so many batches more were acknowledged. What they
/// remember.
fn killed(place: &Place, live: &mut Live, round: u64, goal: usize, first: impl FnOnce()) -> Memory {
    let (memory, acks, stop) = (Mutex::default(), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for number in 0..SENDERS {
            let (memory, acks, stop) = (&memory, &acks, &stop);
            scope.spawn(move || sender(place, round, number, memory, acks, stop));
        }
        first();
        let then = acks.load(Ordering::Relaxed);
        until("acknowledged", || acks.load(Ordering::Relaxed) >= then + goal);
        live.kill();
    });
    memory.into_inner().unwrap()
}

/// Scenario: four senders; the process is killed after a random number of acknowledgements, and started again.
/// Guarantees: after each start every span that was ever acknowledged is there and has its fate, none that was not
/// sent, and each once.
#[test]
fn no_acknowledged_record_is_lost_when_the_process_is_killed() {
    let (rounds, seed) = (asked("SELVEDGE_KILLS", ROUNDS), asked("SELVEDGE_SEED", 1));
    let place = Place::new("journal: {path: journal, replay: 24h}\nlog: {level: warn}\n");
    let (mut acknowledged, mut sent, mut torn) = (0, 0, 0);
    let mut live = place.start(place.command(&[]));
    for round in 0..rounds {
        let goal = usize::try_from(1 + scrambled(seed << 32 | round) % ACKNOWLEDGED_MAX).unwrap();
        let Memory { sent: ours, acknowledged: told } = killed(&place, &mut live, round, goal, || ());
        acknowledged += told.len();
        sent += ours.len();
        live = place.start(place.command(&[]));
        let there = place.traces(&prefix(round));
        let lost: Vec<&String> = told.difference(&there).collect();
        assert!(lost.is_empty(), "seed {seed}, round {round}: {} lost, first {:?}", lost.len(), lost[0]);
        assert!(there.is_subset(&ours), "seed {seed}, round {round}: spans that nobody sent");
        let signals = place.metric("selvedge_signals_total", "traces");
        let fates = place.metric("selvedge_fates", "traces");
        assert_eq!(signals, fates, "seed {seed}, round {round}: every span has one fate");
        assert!(
            signals >= acknowledged as u64 && signals <= sent as u64,
            "seed {seed}, round {round}: {signals}"
        );
        assert_eq!(place.metric("selvedge_journal_lost_frames_total", ""), 0);
        torn += u64::from(place.metric("selvedge_journal_torn_bytes_total", "") > 0);
    }
    let spans = place.ask("SELECT count(*) AS n, count(DISTINCT trace_id) AS ids FROM spans");
    assert_eq!(spans[0]["n"], spans[0]["ids"], "each once");
    assert!(spans[0]["n"].as_u64().unwrap() >= acknowledged as u64);
    println!(
        "{rounds} kills, {acknowledged} spans acknowledged of {sent} sent, 0 lost, {torn} torn tails (seed {seed})"
    );
}

/// Scenario: the same, with a checkpoint a second and a restart that begins with the newest one.
/// Guarantees: what was acknowledged before a checkpoint is known without being read again, what came after it is read from
/// the journal: each span is counted once, over all processes.
#[test]
fn each_record_is_counted_once_when_restarts_begin_with_checkpoints() {
    let (rounds, seed) = (asked("SELVEDGE_KILLS", ROUNDS / 2), asked("SELVEDGE_SEED", 1));
    let place =
        Place::new("journal: {path: journal, replay: 0s, checkpoint_interval: 1s}\nlog: {level: info}\n");
    let (mut acknowledged, mut sent) = (0, 0);
    let mut live = place.start(place.command(&[]));
    for round in 0..rounds {
        let goal = usize::try_from(1 + scrambled(seed << 32 | round) % ACKNOWLEDGED_MAX).unwrap();
        let written = || until("written", || place.metric("selvedge_checkpoints_total", "written") > 0);
        let Memory { sent: ours, acknowledged: told } = killed(&place, &mut live, round, goal, written);
        acknowledged += told.len() as u64;
        sent += ours.len() as u64;
        live = place.start(place.command(&[]));
        let signals = place.metric("selvedge_signals_total", "traces");
        let fates = place.metric("selvedge_fates", "traces");
        assert_eq!(signals, fates, "seed {seed}, round {round}: every span has one fate");
        assert!(
            (acknowledged..=sent).contains(&signals),
            "seed {seed}, round {round}: {acknowledged} acknowledged, {signals} counted, {sent} sent"
        );
        assert_eq!(place.metric("selvedge_journal_lost_frames_total", ""), 0);
        // Whether the span in flight was stored is known by now: it counts from here on.
        (acknowledged, sent) = (signals, signals);
    }
    let begun = place.errors().matches("going on from a checkpoint").count() as u64;
    assert!(begun >= rounds, "{begun} of {rounds} starts began with a checkpoint");
    println!(
        "{rounds} kills, {acknowledged} spans counted once, {begun} starts from a checkpoint (seed {seed})"
    );
}

/// Scenario: two checkpoints; the newest one is damaged, then all are, then one is of a newer version.
/// Guarantees: a damaged one is passed over aloud and the one before it is gone on from; when there is none the journal is
/// read and the process runs all the same; a newer version ends the start, with the file's name and what to do.
#[test]
fn a_damaged_checkpoint_is_passed_over_and_a_newer_one_ends_the_start() {
    let place = Place::new(
        "journal: {path: journal, replay: 0s, checkpoint_interval: 1s}
",
    );
    let mut live = place.start(place.command(&[]));
    let mut sender = Sender::connect(place.http).unwrap();
    let mut batch = 0_u64;
    until("two checkpoints", || {
        batch += 1;
        assert_eq!(sender.send("traces", JSON, &spans(&[format!("{batch:032x}")], 10)), Some(200));
        place.metric("selvedge_checkpoints_total", "written") >= 2
    });
    live.kill();
    let mut files: Vec<_> = std::fs::read_dir(place.path("journal/checkpoints"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slvckp"));
    files.sort();
    let [.., older, newest] = files.as_slice() else { panic!("{files:?}") };
    damage(newest, 600);
    let mut live = place.start(place.command(&[]));
    assert_eq!(place.metric("selvedge_signals_total", "traces"), batch);
    let (told, name) = (place.errors(), |path: &std::path::Path| path.file_name().unwrap().to_owned());
    let passed = told.lines().find(|line| line.contains("a checkpoint is passed over")).unwrap();
    assert!(passed.contains(name(newest).to_str().unwrap()) && passed.contains("damaged"), "{passed}");
    assert!(told.lines().any(|line| {
        line.contains("going on from a checkpoint") && line.contains(name(older).to_str().unwrap())
    }));
    live.kill();
    damage(older, 600);
    let mut live = place.start(place.command(&[]));
    assert!(place.metric("selvedge_signals_total", "traces") <= batch);
    live.kill();
    damage(newest, 7);
    let mut command = place.command(&[]);
    assert_eq!(command.status().unwrap().code(), Some(1));
    let told = place.errors();
    assert!(told.contains("use the newer one") && told.contains(name(newest).to_str().unwrap()), "{told}");
}

/// Changes the byte at this place; the seventh is the format's version.
fn damage(path: &std::path::Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= if at == 7 { 8 } else { 0xff };
    std::fs::write(path, bytes).unwrap();
}

/// Scenario: no file may grow past four mebibytes, as on a disk that is full and then is not.
/// Guarantees: senders are refused retryably and the reason is counted, then accepted again without anybody's help;
/// nothing that was acknowledged is lost by it.
#[test]
fn a_disk_that_takes_no_more_refuses_and_recovers_by_itself() {
    let place = Place::new("journal: {path: journal}\n");
    let mut live = place.start(place.limited(4 << 10));
    let mut sender = Sender::connect(place.http).unwrap();
    let (mut told, mut refused, mut batch) = (BTreeSet::new(), 0, 1_u64);
    let mut send = |told: &mut BTreeSet<String>| {
        let trace = format!("{:032x}", u128::from(batch) + (1 << 80));
        batch += 1;
        let status = sender.send("traces", JSON, &spans(std::slice::from_ref(&trace), 300_000)).unwrap();
        if status == 200 {
            told.insert(trace);
        } else {
            assert_eq!(status, 503);
        }
        status
    };
    for _ in 0..2 {
        until("refused", || send(&mut told) == 503);
        refused += 1;
        until("accepted again", || {
            let accepted = send(&mut told) == 200;
            refused += u64::from(!accepted);
            accepted
        });
    }
    assert_eq!(place.metric("selvedge_journal_refusals_total", "disk_full"), refused);
    assert!(told.len() > 20, "{} accepted", told.len());
    live.kill();
    let _live = place.start(place.command(&[]));
    let there = place.traces("");
    assert!(told.is_subset(&there), "{} of {} are there", there.len(), told.len());
}

/// Scenario: ended by SIGTERM, and killed; both times started again.
/// Guarantees: a segment replays like any capture; what was judged before is known again without new telemetry.
#[test]
fn a_restart_knows_what_was_received_and_a_segment_is_a_capture() {
    let place = Place::new("journal: {path: journal}\n");
    let live = place.start(place.command(&[]));
    let traces: Vec<String> = (1..=40).map(|n| format!("{n:032x}")).collect();
    let mut sender = Sender::connect(place.http).unwrap();
    for part in traces.chunks(4) {
        assert_eq!(sender.send("traces", JSON, &spans(part, 10)), Some(200));
    }
    drop(sender);
    let commits = place.metric("selvedge_journal_commits_total", "");
    assert_eq!(place.metric("selvedge_journal_batches_total", ""), 10);
    assert!((1..=10).contains(&commits), "{commits} commits");
    assert_eq!(place.metric("selvedge_journal_commit_seconds_count", ""), commits);
    assert!(place.metric("selvedge_journal_bytes", "") > 0);
    live.end();
    let mut live = place.start(place.command(&[]));
    assert_eq!(place.traces("").len(), 40);
    assert_eq!(place.metric("selvedge_journal_recovered_frames_total", ""), 10);
    assert_eq!(
        place.metric("selvedge_journal_torn_bytes_total", ""),
        0,
        "an orderly end leaves nothing to cut"
    );
    live.kill();
    let segment = place.path("journal").join(format!("{:020}.otlpcap", 0));
    let mut replay = std::process::Command::new(env!("CARGO_BIN_EXE_selvedge"));
    let output = replay.args(["replay", segment.to_str().unwrap()]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.contains("(40 traces"), "{told}");
    assert!(!told.contains("the end of"), "a sealed segment has no torn end: {told}");
}
