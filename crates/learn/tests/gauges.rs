//! Gauges of invented edges: two witnesses, bounds, and nothing that depends on how points are handed over.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use selvedge_learn::gauges::{Aspect, Bounds, GaugeReading, Gauges};
use selvedge_model::{EdgeKey, EventTime, GaugeKey, GaugePoint, Node, Side, Symbol};

const MINUTE: u64 = 60_000_000_000;
const BOUNDS: Bounds =
    Bounds { level_margin: 0.4, network_margin: 0.22, resource_margin: 0.4, evidence: 10.0 };

fn point(side: Side, minute: u64, ms: f64, callee: u32) -> GaugePoint {
    let node = |workload| Node { workload: Symbol(workload), ..Node::default() };
    let edge = EdgeKey { source: node(7), destination: node(callee), external: false };
    GaugePoint {
        key: GaugeKey { edge, side, name: Symbol(9), quantile: 500 },
        origin: Symbol(3),
        at: EventTime(30_000 * MINUTE + minute * MINUTE),
        value: ms * 1e6,
        duration: true,
        beside_only: false,
    }
}

/// Some percent of wander, the same for both sides.
fn load(minute: u64) -> f64 {
    [1.0, 1.04, 0.97, 1.02, 0.95, 1.01][usize::try_from(minute % 6).unwrap()]
}

/// Two hours in which `caller` and `callee` say how many milliseconds a minute shows; what is told.
fn told(
    caller: impl Fn(u64) -> Option<f64>,
    callee: impl Fn(u64) -> Option<f64>,
) -> Vec<(u64, GaugeReading)> {
    let mut gauges = Gauges::default();
    let mut told = Vec::new();
    for minute in 0..120 {
        let client = caller(minute).map(|ms| point(Side::Client, minute, ms, 8));
        let server = callee(minute).map(|ms| point(Side::Server, minute, ms, 8));
        let points: Vec<GaugePoint> = client.into_iter().chain(server).collect();
        let judged = gauges.take(&points, &BOUNDS, false);
        told.extend(judged.readings.into_iter().map(|reading| (minute, reading)));
    }
    told
}

fn fault(minute: u64) -> bool {
    (100..103).contains(&minute)
}

#[test]
fn a_slow_callee_is_seen_by_both_and_the_network_is_not_blamed() {
    let slow = |minute| if fault(minute) { 200.0 } else { 0.0 };
    let readings = told(|m| Some(5.0 * load(m) + slow(m)), |m| Some(3.0 * load(m) + slow(m)));
    assert!(readings.iter().all(|(_, reading)| reading.aspect == Aspect::Level), "{readings:?}");
    let sides: std::collections::BTreeSet<Side> =
        readings.iter().map(|(_, reading)| reading.key.side).collect();
    assert_eq!(sides.len(), 2);
    assert_eq!(readings.iter().map(|(minute, _)| *minute).min(), Some(101), "the second of three points");
}

#[test]
fn a_delay_between_them_is_the_networks() {
    let delay = |minute| if fault(minute) { 200.0 } else { 0.0 };
    let readings = told(|m| Some(5.0 * load(m) + delay(m)), |m| Some(3.0 * load(m)));
    let network: Vec<_> = readings.iter().filter(|(_, reading)| reading.aspect == Aspect::Network).collect();
    assert_eq!(network.first().map(|(minute, _)| *minute), Some(101));
    let reading = network[0].1;
    assert!((150e6..250e6).contains(&reading.seen), "what the network takes: {reading:?}");
    assert!((1e6..3e6).contains(&reading.usual), "{reading:?}");
    assert!(readings.iter().all(|(_, reading)| reading.key.side == Side::Client));
}

#[test]
fn a_delay_that_the_callee_hides_by_its_own_noise_is_seen_in_the_ratio() {
    // The callee wanders by a factor of three in either direction, and the caller with it.
    let wander =
        |minute: u64| 200.0 * [1.0, 3.0, 0.4, 0.8, 2.5, 0.5, 1.4][usize::try_from(minute % 7).unwrap()];
    let delay = |minute| if fault(minute) { 400.0 } else { 0.0 };
    let readings = told(|m| Some(wander(m) * 1.02 + delay(m)), |m| Some(wander(m)));
    assert!(readings.iter().any(|(_, reading)| reading.aspect == Aspect::Network), "{readings:?}");
    assert!(readings.iter().all(|(_, reading)| reading.aspect == Aspect::Network), "{readings:?}");
}

#[test]
fn a_callee_that_says_nothing_is_a_gap_and_no_delay() {
    let readings = told(|m| Some(5.0 * load(m)), |m| (!(60..110).contains(&m)).then_some(3.0 * load(m)));
    assert!(readings.is_empty(), "{readings:?}");
}

#[test]
fn points_handed_over_one_by_one_or_all_at_once_come_to_the_same() {
    let points: Vec<Vec<GaugePoint>> = (0..130)
        .map(|minute| {
            let extra = if fault(minute) { 90.0 } else { 0.0 };
            (8..12).map(|callee| point(Side::Client, minute, 4.0 * load(minute) + extra, callee)).collect()
        })
        .collect();
    let (mut whole, mut single) = (Gauges::default(), Gauges::default());
    let mut told = [Vec::new(), Vec::new()];
    for minute in &points {
        told[0].extend(whole.take(minute, &BOUNDS, false).readings);
        for point in minute {
            told[1].extend(single.take(std::slice::from_ref(point), &BOUNDS, false).readings);
        }
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].len(), 2 * 4);
}

/// Scenario: one sender shows a million gauges of edges that it invents.
/// Guarantees: it gets half of the room, and others still find some.
#[test]
fn a_million_gauges_of_one_sender_leave_room_for_others() {
    let mut gauges = Gauges::default();
    for number in 0..1_000_000_u32 {
        let invented = GaugePoint { beside_only: false, ..point(Side::Internal, 1, 3.0, 100 + number) };
        gauges.take(&[invented], &BOUNDS, false);
    }
    let before = gauges.len();
    assert!(before <= 1 << 15, "{before}");
    assert!(gauges.refused() >= 900_000);
    let honest = GaugePoint { origin: Symbol(4), ..point(Side::Internal, 1, 3.0, 20) };
    gauges.take(&[honest], &BOUNDS, false);
    assert_eq!(gauges.len(), before + 1);
}

#[test]
fn what_is_approved_is_learned_and_never_told() {
    let mut gauges = Gauges::default();
    let told: usize = (0..120)
        .map(|minute| {
            let ms = if fault(minute) { 300.0 } else { 4.0 };
            gauges.take(&[point(Side::Client, minute, ms, 8)], &BOUNDS, true).readings.len()
        })
        .sum();
    assert_eq!(told, 0);
    assert_eq!(gauges.judged(), 2, "the value, and beside the other side's, should it come");
}
