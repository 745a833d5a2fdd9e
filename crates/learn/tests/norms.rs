//! The normals of a small invented mesh, driven by closed windows: `web` calls `cart` and `ledger`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::time::Duration;

use selvedge_learn::normal::{EdgeNorm, Ended, Teaching};
use selvedge_learn::{Baselines, LearnConfig, Provenance};
use selvedge_model::{
    Call, CallShape, EdgeKey, EdgeWindow, EventTime, Measure, Node, Reported, Symbol, SymbolTable, Window,
};

const WINDOW: Duration = Duration::from_secs(10);
const MINUTE: u64 = 6;
const HOUR: u64 = 360;
const DAY: u64 = 24 * HOUR;
/// A midnight.
const START: u64 = 1_699_833_600_000_000_000;

struct Trial {
    baselines: Baselines,
    symbols: SymbolTable,
    /// Windows since the start.
    now: u64,
    teaching: Teaching,
    provenance: Provenance,
}

impl Trial {
    fn new(config: LearnConfig) -> Self {
        Self {
            baselines: Baselines::new(config),
            symbols: SymbolTable::new(1 << 16),
            now: 0,
            teaching: Teaching::Quiet,
            provenance: Provenance::Learned,
        }
    }

    fn key(destination: u32) -> EdgeKey {
        let node = |workload| Node { workload: Symbol(workload), ..Node::default() };
        EdgeKey { source: node(10), destination: node(destination), external: false }
    }

    /// One window in which each callee gets so many calls, reported by these sides.
    fn window(&mut self, calls: &[(u32, u64)], reported: Reported) -> Ended {
        let start = EventTime(START).after(WINDOW * u32::try_from(self.now).unwrap());
        let window = Window { start, end: start.after(WINDOW) };
        self.now += 1;
        let edges: Vec<(EdgeKey, EdgeWindow)> = calls
            .iter()
            .map(|&(callee, count)| (Self::key(callee), counted(count, start, reported)))
            .collect();
        let refs: Vec<(EdgeKey, &EdgeWindow)> = edges.iter().map(|(key, edge)| (*key, edge)).collect();
        let ended = self.baselines.norms_mut().judge(window, &refs);
        let teaching = self.teaching;
        self.baselines.norms_mut().learn(window, &refs, &|_, _| teaching);
        for (key, edge) in &edges {
            self.baselines.learn(window, *key, edge, &|_| false, self.provenance, &self.symbols);
        }
        ended
    }

    fn both(&mut self, windows: u64) {
        (0..windows).for_each(|_| {
            self.window(&[(20, 20), (21, 20)], Reported::Both);
        });
    }

    fn norm(&self, callee: u32) -> &EdgeNorm {
        self.baselines.norms().norm(&Self::key(callee)).unwrap()
    }

    /// Requests that are usual in a window.
    fn usual(&self, callee: u32) -> f64 {
        self.norm(callee).expects(Measure::Requests, 10.0, 0)
    }

    /// Whether the last window judged an edge.
    fn judged(&self, callee: u32) -> bool {
        self.baselines.norms().readings().iter().any(|reading| reading.key == Self::key(callee))
    }
}

fn counted(calls: u64, start: EventTime, reported: Reported) -> EdgeWindow {
    let mut edge = EdgeWindow::default();
    let shape = CallShape { status: 200, grpc_status: -1, reported, ..CallShape::default() };
    for n in 0..calls {
        let duration_nanos = (10 + n % 10) * 1_000_000;
        edge.record(&Call {
            edge: Trial::key(20),
            shape,
            start,
            end: EventTime(start.0 + duration_nanos),
            duration_nanos,
            request_bytes: 100,
            ..Call::default()
        });
    }
    edge
}

/// Scenario: an edge falls silent while its caller's proxy still reports other calls; and both do.
/// Guarantees: silence is judged only where somebody who reports the edge is heard.
#[test]
fn silence_is_judged_while_a_reporter_is_heard_and_is_a_gap_when_none_is() {
    let mut trial = Trial::new(LearnConfig::default());
    trial.both(2 * HOUR);
    for _ in 0..3 * MINUTE {
        trial.window(&[(20, 20)], Reported::Both);
    }
    let (silent, expected) = trial.norm(21).silent();
    assert!(silent >= Duration::from_secs(170) && expected > 200.0, "{silent:?} {expected}");
    let mut trial = Trial::new(LearnConfig::default());
    trial.both(2 * HOUR);
    trial.now += 30 * MINUTE;
    trial.window(&[(20, 20)], Reported::Both);
    assert_eq!(trial.norm(21).silent().0, Duration::from_secs(10), "only what was heard");
    assert!((trial.usual(21) - 20.0).abs() < 2.0, "nothing of it was learned: {}", trial.usual(21));
}

/// Scenario: only the callees' proxies report; one of them is not heard, but for its metrics.
/// Guarantees: the caller's other calls say nothing about it, its metrics do.
#[test]
fn only_the_side_that_usually_reports_an_edge_counts_and_metrics_are_a_word() {
    let mut trial = Trial::new(LearnConfig::default());
    (0..2 * HOUR).for_each(|_| {
        trial.window(&[(20, 20), (21, 20)], Reported::ServerOnly);
    });
    for _ in 0..3 * MINUTE {
        trial.window(&[(20, 20)], Reported::ServerOnly);
        assert!(!trial.judged(21));
    }
    assert_eq!(trial.norm(21).silent().0, Duration::ZERO);
    for _ in 0..3 * MINUTE {
        let at = EventTime(START).after(WINDOW * u32::try_from(trial.now).unwrap());
        trial.baselines.norms_mut().hear(&Trial::key(21).destination, at);
        trial.window(&[(20, 20)], Reported::ServerOnly);
    }
    assert!(trial.norm(21).silent().0 >= Duration::from_secs(170), "{:?}", trial.norm(21).silent());
}

/// Scenario: a capture ends; another begins ten minutes later.
/// Guarantees: the pause is a gap, also for an edge that is so seldom heard that ten minutes are nothing.
#[test]
fn a_pause_of_the_telemetry_is_no_silence() {
    let mut trial = Trial::new(LearnConfig::default());
    for _ in 0..200 {
        trial.window(&[(20, 1)], Reported::Both);
        trial.now += 2 * MINUTE;
    }
    let before = trial.usual(20);
    trial.baselines.norms_mut().gap();
    trial.now += 60 * MINUTE;
    trial.window(&[(20, 1)], Reported::Both);
    assert!((trial.usual(20) / before - 1.0).abs() < 0.05, "{before} {}", trial.usual(20));
    assert!((before - 10.0 / 130.0).abs() < 0.03, "quiet time was learned as quiet: {before}");
}

/// Scenario: days with a window now and then missing; three days without any.
/// Guarantees: an hour ends when the first window after it is judged, once; days without a word are no days.
#[test]
fn hours_and_days_end_in_event_time_and_only_those_that_were_seen() {
    let mut trial = Trial::new(LearnConfig::default());
    let mut days = 0;
    let mut until = |trial: &mut Trial, end: u64| {
        while trial.now < end {
            let boundary = trial.now.is_multiple_of(HOUR) && trial.now > 0;
            trial.now += u64::from(boundary);
            let ended = trial.window(&[(20, 5)], Reported::Both);
            days += u64::from(ended.day.is_some());
            assert_eq!(ended.day.is_some(), boundary && (trial.now - 1) / DAY > (trial.now - 3) / DAY);
        }
    };
    until(&mut trial, 2 * DAY + 10);
    assert_eq!(trial.norm(20).days(), 2);
    trial.now += 3 * DAY;
    let ended = trial.window(&[(20, 5)], Reported::Both);
    assert_eq!(ended.day, Some(EventTime(START + 3 * 86_400_000_000_000)), "the day that was open");
    assert_eq!((trial.norm(20).days(), days), (3, 2));
    assert!(ended.days.is_empty() && ended.hours.is_empty(), "known for three days only");
}

#[test]
fn a_minute_of_which_a_window_must_not_be_learned_is_not_learned() {
    let mut trial = Trial::new(LearnConfig::default());
    trial.both(2 * HOUR);
    let before = trial.usual(20);
    for window in 0..10 * MINUTE {
        trial.teaching = if window % MINUTE == 2 { Teaching::Off } else { Teaching::Quiet };
        trial.window(&[(20, 26), (21, 20)], Reported::Both);
    }
    assert!((trial.usual(20) - before).abs() < 1e-3, "{before} {}", trial.usual(20));
    trial.teaching = Teaching::Quiet;
    (0..10 * MINUTE).for_each(|_| {
        trial.window(&[(20, 26), (21, 20)], Reported::Both);
    });
    assert!(trial.usual(20) > before + 0.5);
}

#[test]
fn approved_traffic_teaches_a_normal_what_live_traffic_does() {
    let usual = |provenance| {
        let mut trial = Trial::new(LearnConfig::default());
        trial.provenance = provenance;
        trial.both(3 * HOUR);
        (trial.usual(20), trial.norm(20).expects(Measure::OverMedian, 10.0, 100))
    };
    assert_eq!(usual(Provenance::Learned), usual(Provenance::Approved));
}

#[test]
fn busy_edges_past_the_bytes_stay_cold_and_are_counted() {
    let room_for_one = LearnConfig { hot_bytes_max: EdgeNorm::HOT_BYTES, ..LearnConfig::default() };
    let mut trial = Trial::new(room_for_one);
    trial.both(2 * HOUR + 1);
    let sizes = [trial.norm(20).size(), trial.norm(21).size()];
    assert_eq!(sizes, [size_of::<EdgeNorm>() + EdgeNorm::HOT_BYTES, size_of::<EdgeNorm>()]);
    assert_eq!(trial.baselines.norms().overflows().hot, 2, "an hour each time");
}

#[test]
fn a_window_older_than_the_last_is_skipped_and_counted() {
    let mut trial = Trial::new(LearnConfig::default());
    trial.both(HOUR);
    trial.now -= 100;
    trial.window(&[(20, 9_000)], Reported::Both);
    assert!(!trial.judged(20));
    assert_eq!(trial.baselines.norms().overflows().windows, 1);
    assert!((trial.usual(20) - 20.0).abs() < 2.0);
}

/// Guarantees: latency is cut once there are requests enough, and the shares beyond are those of the quantiles.
#[test]
fn cuts_are_frozen_and_the_shares_beyond_them_are_learned() {
    let mut trial = Trial::new(LearnConfig::default());
    trial.both(MINUTE);
    assert!(trial.baselines.norms().cuts(&Trial::key(20)).is_none());
    trial.both(2 * HOUR);
    let cuts = trial.baselines.norms().cuts(&Trial::key(20)).unwrap().nanos();
    assert!((13_000_000..17_000_000).contains(&cuts[0]), "{cuts:?}");
    let share = trial.norm(20).expects(Measure::OverMedian, 10.0, 100);
    assert!((20.0..60.0).contains(&share), "{share} of a hundred");
}

/// Scenario: `web` calls `cart` and `ledger` twice as often from a moment on; `cart` was deployed at that moment, or three hours
/// before its edge was judged again, or an unknown workload was.
/// Guarantees: a deployment excuses what changes on the edges of its own workload, and soon.
#[test]
fn a_deployment_excuses_its_own_edges_for_a_while() {
    let suspected = |deployed: Option<(u32, u64)>| {
        let mut trial = Trial::new(LearnConfig::default());
        trial.both(2 * DAY);
        if let Some((workload, windows_ago)) = deployed {
            let node = Node { workload: Symbol(workload), ..Node::default() };
            let at = EventTime(START).after(WINDOW * u32::try_from(trial.now - windows_ago).unwrap());
            trial.baselines.norms_mut().deploy(&node, at);
            let told = trial.baselines.norms().deployed(&node);
            assert_eq!(told, Some(at).filter(|_| workload != 77), "nobody's deployment is not remembered");
        }
        let mut suspected = [false; 2];
        for _ in 0..90 * MINUTE {
            trial.window(&[(20, 40), (21, 40)], Reported::Both);
            for (suspected, callee) in suspected.iter_mut().zip([20, 21]) {
                let reading = trial.baselines.norms().reading(&Trial::key(callee));
                *suspected |= reading.is_some_and(|reading| reading.scores.suspicious());
            }
        }
        suspected
    };
    assert_eq!(suspected(None), [true, true]);
    assert_eq!(suspected(Some((20, 0))), [false, true]);
    assert_eq!(suspected(Some((10, 0))), [false, false], "the caller of both");
    assert_eq!(suspected(Some((20, 3 * HOUR))), [true, true]);
    assert_eq!(suspected(Some((77, 0))), [true, true]);
}
