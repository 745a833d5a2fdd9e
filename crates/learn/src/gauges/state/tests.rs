use super::*;

const MINUTE: u64 = 60_000_000_000;
const ENOUGH: f64 = 10.0;
const MARGIN: f64 = 0.4;

fn at(minute: u64) -> EventTime {
    EventTime(1_000 * HOUR + minute * MINUTE)
}

/// Wanders around 1 by some percent.
fn usual(minute: u64) -> f64 {
    [0.02, -0.03, 0.0, 0.05, -0.01, 0.03, -0.04][usize::try_from(minute % 7).unwrap()]
}

struct Gauge {
    state: GaugeState,
    minute: u64,
}

impl Gauge {
    fn warm(minutes: u64) -> Self {
        let mut gauge = Self { state: GaugeState::since(1_000), minute: 0 };
        for minute in 0..minutes {
            assert!(gauge.next(usual(minute)).is_none(), "minute {minute}");
        }
        gauge
    }

    fn next(&mut self, x: f64) -> Option<Verdict> {
        self.minute += 1;
        if self.minute.is_multiple_of(60) {
            self.state.end_hour(1_000 + self.minute / 60);
        }
        self.state.take(at(self.minute), x, MARGIN, ENOUGH, false)
    }
}

#[test]
fn one_point_never_tells_and_the_second_one_does() {
    let mut gauge = Gauge::warm(90);
    assert!(gauge.next(4.0).is_none(), "however far away it is");
    let verdict = gauge.next(4.0).expect("two agree");
    assert_eq!(verdict.onset, at(91));
    assert!(verdict.usual.abs() < 0.1);
}

#[test]
fn a_moderate_effect_takes_longer_and_one_below_the_margin_never_tells() {
    let mut gauge = Gauge::warm(90);
    let told = (0..10).position(|_| gauge.next(0.7).is_some());
    assert!(told.is_some_and(|points| (2..6).contains(&points)), "{told:?}");
    let mut calm = Gauge::warm(90);
    assert!((0..200).all(|_| calm.next(0.38).is_none()));
}

#[test]
fn a_gauge_that_spikes_by_habit_is_known_for_it() {
    let mut gauge = Gauge::warm(0);
    let told = (0..1_500_u64).filter(|minute| {
        let spike = if minute % 41 == 40 { 2.0 } else { 0.0 };
        gauge.next(usual(*minute) + spike).is_some()
    });
    assert_eq!(told.count(), 0);
    let two = [gauge.next(2.0), gauge.next(2.1)];
    assert!(two.iter().all(Option::is_none), "it goes as far as that by itself");
    gauge.next(0.0);
    let more = [gauge.next(5.0), gauge.next(5.0)];
    assert!(more[1].is_some(), "this is farther");
}

#[test]
fn what_is_suspected_is_not_learned_for_four_hours_and_then_it_is_how_things_are() {
    let mut gauge = Gauge::warm(90);
    let told: Vec<bool> = (0..600).map(|_| gauge.next(3.0).is_some()).collect();
    assert!(!told[0] && told[1]);
    assert!(told[1..239].iter().all(|told| *told), "it goes on to deviate");
    assert!(told[245..].iter().all(|told| !told), "accepted");
}

#[test]
fn a_fault_that_was_told_does_not_raise_the_bar_for_the_next() {
    let mut gauge = Gauge::warm(90);
    for fault in 0..5 {
        let told = (0..3).filter(|_| gauge.next(3.0).is_some()).count();
        assert_eq!(told, 2, "fault {fault}");
        (0..30).for_each(|minute| assert!(gauge.next(usual(minute)).is_none()));
    }
}

#[test]
fn missing_points_are_a_gap_over_which_nothing_adds_up() {
    let mut gauge = Gauge::warm(90);
    assert!(gauge.next(4.0).is_none());
    gauge.minute += 20;
    assert!(gauge.next(4.0).is_none());
    assert!(gauge.next(4.0).is_some());
}

#[test]
fn points_that_come_more_often_than_once_a_minute_say_no_more() {
    let mut often = Gauge::warm(90);
    let start = at(91).0;
    let told = (0..4_u64).filter(|step| {
        often.state.take(EventTime(start + step * 10_000_000_000), 4.0, MARGIN, ENOUGH, false).is_some()
    });
    assert_eq!(told.count(), 0, "four points of one minute");
}

#[test]
fn an_hour_that_was_told_is_no_record_of_quiet_times() {
    let mut gauge = Gauge::warm(70);
    assert_eq!((0..3).filter_map(|_| gauge.next(3.0)).count(), 2);
    assert_eq!((0..5).filter_map(|minute| gauge.next(usual(minute))).count(), 0);
    assert_eq!(gauge.state.end_hour(1_002), Some(0.0));
}
