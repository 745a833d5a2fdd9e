//! The promise on made-up scores: the budget holds whatever the size of the mesh, and every class has its share.

use selvedge_model::MeasureClass;

use super::{Budgets, Calibration, Level, Pace};

/// A score of the exponential with mean 2: the `n`th of a low-discrepancy sequence.
#[expect(clippy::cast_possible_truncation, reason = "a score")]
fn score(n: u64) -> f32 {
    let u = (n as f64 * 0.618_033_988_749_894_9).fract();
    (-2.0 * (1.0 - u).max(1e-12).ln()) as f32
}

fn mesh(edges: u64, days: u64) -> Calibration {
    let mut calibration = Calibration::new(Budgets::default());
    for day in 0..days {
        for edge in 0..edges {
            let scores = [0, 1, 2, 3, 4].map(|class| score((day * edges + edge) * 5 + class));
            calibration.observe(Pace::Slow, &scores);
            for hour in 0..24 {
                let n = ((day * edges + edge) * 24 + hour) * 5;
                calibration.observe(Pace::Quick, &[0, 1, 2, 3, 4].map(|class| score(n + class)));
            }
        }
        calibration.end_of_day(&[0; 5]);
    }
    calibration
}

#[test]
fn the_budget_holds_whatever_the_size_of_the_mesh() {
    for edges in [30_u64, 300, 1_000] {
        let calibration = mesh(edges, 28);
        let mut pages = 0.0;
        let mut warnings = 0.0;
        for class in MeasureClass::ALL {
            // The chance of a day of an edge to exceed the threshold is known: e^(-c / 2).
            let chance = |pace, level| f64::from(-calibration.threshold(pace, class, level) / 2.0).exp();
            pages += 7.0 * edges as f64 * chance(Pace::Slow, Level::Page);
            warnings += edges as f64
                * (chance(Pace::Slow, Level::Warning) / 24.0 + chance(Pace::Quick, Level::Warning));
        }
        assert!(
            (0.2..=0.9).contains(&pages),
            "{edges} edges: {pages} pages a week, half of the budget is meant"
        );
        assert!((0.5..=1.0).contains(&warnings), "{edges} edges: {warnings} warnings an hour of 0.8");
    }
}

#[test]
fn a_score_and_its_return_period_are_each_others_inverse() {
    let calibration = mesh(300, 14);
    let threshold = calibration.threshold(Pace::Slow, MeasureClass::Errors, Level::Page);
    let rating = calibration.rate(Pace::Slow, MeasureClass::Errors, threshold);
    assert_eq!(rating.level, Some(Level::Page));
    let days = rating.return_period.unwrap().as_secs_f64() / 86_400.0;
    assert!((6.9..7.2).contains(&days), "{days}");
    let below = calibration.rate(Pace::Slow, MeasureClass::Errors, threshold - 0.1);
    assert_eq!(below.level, Some(Level::Warning));
}

#[test]
fn before_there_is_a_record_a_score_has_no_return_period_and_a_high_bar() {
    let calibration = mesh(300, 2);
    let rating = calibration.rate(Pace::Slow, MeasureClass::Volume, 12.0);
    assert_eq!((rating.return_period, rating.level), (None, Some(Level::Warning)));
    assert_eq!(calibration.rate(Pace::Quick, MeasureClass::Volume, 1e9).level, Some(Level::Warning));
}

#[test]
fn false_pages_raise_the_bar_of_their_class_and_quiet_months_lower_it_again() {
    let mut calibration = mesh(300, 7);
    let page = |calibration: &Calibration, class| calibration.threshold(Pace::Slow, class, Level::Page);
    let before = page(&calibration, MeasureClass::Volume);
    let other = page(&calibration, MeasureClass::Latency);
    calibration.end_of_day(&[3, 0, 0, 0, 0]);
    assert!(page(&calibration, MeasureClass::Volume) > before + 1.0);
    assert!((page(&calibration, MeasureClass::Latency) - other).abs() < 1e-3);
    (0..200).for_each(|_| calibration.end_of_day(&[0; 5]));
    assert!((page(&calibration, MeasureClass::Volume) - before).abs() < 0.5);
}

#[test]
fn no_quick_score_is_a_page_and_warnings_come_before_pages() {
    let calibration = mesh(300, 28);
    for class in MeasureClass::ALL {
        let quick = calibration.threshold(Pace::Quick, class, Level::Page);
        assert!(quick.is_infinite());
        let slow = [Level::Warning, Level::Page].map(|level| calibration.threshold(Pace::Slow, class, level));
        assert!(slow[0] < slow[1]);
    }
}
