//! The formulas: how likely so many odd calls are by the record, against what a change would bring.
//!
//! A call is *odd* when it did not make a statement that calls of its route make, or made one that they do not. Odd calls
//! out of all are beta-binomial: the record never tells the exact share, and a short record tells it badly, which is
//! why a window must not be compared with a share. Evidence is the Bayes factor of a change over the whole run of calls
//! since it may have begun; as long as nothing changed it reaches `e^h` with a chance of at most `e^-h` (Ville), from
//! each start.

use super::super::normal::maths::{exp, ln};

/// Two kinds of statements: those that every call makes (odd calls are accidents, of 0.5 % on average), and those that
/// depend on what is asked.
const ALWAYS: (f64, f64) = (0.5, 99.5);
const DEPENDS: (f64, f64) = (0.5, 0.5);
/// How odd calls are distributed once a statement stops: nearly all of them, or those of one replica.
const STOPPED: (f64, f64) = (2.0, 0.5);
/// Once one appears: any share of the calls.
const APPEARED: (f64, f64) = (0.5, 0.5);
/// A longer record than so many calls is worth no more: shares wander.
const WORTH_MAX: f64 = 200.0;

/// Which change is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A statement of (nearly) all calls stops.
    Stops,
    /// A statement of (nearly) no call appears.
    Appears,
    /// Either, of one that some calls make.
    Shifts,
}

/// Odd calls of all calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Odd {
    pub(crate) odd: f64,
    pub(crate) calls: f64,
}

/// Logarithm of the Bayes factor of `change` for the calls of a run, by the `record`. `always` is the share of statements,
/// over the mesh, that every call of their route makes.
pub(crate) fn evidence(change: Change, record: Odd, run: Odd, always: f64) -> f64 {
    likelihood(changed(change), run) - unchanged(change, record, run, always)
}

/// Logarithm of the Bayes factor for these calls being as the record says again, against their being as in the run.
pub(crate) fn recovery(change: Change, record: Odd, run: Odd, calls: Odd, always: f64) -> f64 {
    let (a, b) = changed(change);
    unchanged(change, record, calls, always) - likelihood((a + run.odd, b + run.calls - run.odd), calls)
}

fn changed(change: Change) -> (f64, f64) {
    match change {
        Change::Stops => STOPPED,
        Change::Appears | Change::Shifts => APPEARED,
    }
}

/// Logarithm of the chance of these calls by the record.
fn unchanged(change: Change, record: Odd, calls: Odd, always: f64) -> f64 {
    let worth = (WORTH_MAX / record.calls.max(1.0)).min(1.0);
    let record = Odd { odd: record.odd * worth, calls: record.calls * worth };
    match change {
        Change::Stops | Change::Appears => {
            let both = Odd { odd: record.odd + calls.odd, calls: record.calls + calls.calls };
            mixture(both, always) - mixture(record, always)
        }
        Change::Shifts => {
            let (hits, misses) = (record.odd + DEPENDS.0, record.calls - record.odd + DEPENDS.1);
            likelihood((hits, misses), calls)
        }
    }
}

fn mixture(of: Odd, always: f64) -> f64 {
    let (left, right) = (ln(always) + likelihood(ALWAYS, of), ln(1.0 - always) + likelihood(DEPENDS, of));
    let larger = left.max(right);
    larger + ln(exp(left - larger) + exp(right - larger))
}

/// Logarithm of the chance of these calls, in their order, when the share of odd ones is beta distributed.
fn likelihood((a, b): (f64, f64), of: Odd) -> f64 {
    ln_beta(a + of.odd, b + of.calls - of.odd) - ln_beta(a, b)
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// Logarithm of the gamma function of a positive number: recurrence up to 8, then Stirling's series (DLMF 5.11.1).
fn ln_gamma(x: f64) -> f64 {
    const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;
    let (mut x, mut product) = (x.max(1e-9), 1.0);
    while x < 8.0 {
        product *= x;
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series =
        inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1_260.0 - square / 1_680.0)));
    (x - 0.5) * ln(x) - x + HALF_LN_TAU + series - ln(product)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd(odd: f64, calls: f64) -> Odd {
        Odd { odd, calls }
    }

    #[test]
    fn the_gamma_function_is_that_of_whole_numbers_and_halves() {
        let mut factorial = 0.0;
        for n in 1..60_u32 {
            assert!((ln_gamma(f64::from(n)) - factorial).abs() < 1e-7, "{n}");
            factorial += f64::from(n).ln();
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-7);
    }

    #[test]
    fn chances_of_all_outcomes_add_up_to_one() {
        let choose = |n: f64, k: f64| ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
        for shape in [ALWAYS, DEPENDS, STOPPED, (3.0, 7.0)] {
            let total: f64 = (0..=12)
                .map(|k| (choose(12.0, f64::from(k)) + likelihood(shape, odd(f64::from(k), 12.0))).exp())
                .sum();
            assert!((total - 1.0).abs() < 1e-6, "{shape:?}: {total}");
        }
    }

    #[test]
    fn a_run_of_odd_calls_tells_more_the_longer_the_record_is() {
        let of = |calls| evidence(Change::Stops, odd(0.0, calls), odd(8.0, 8.0), 0.5);
        assert!(of(5.0) < of(20.0) && of(20.0) < of(200.0));
        assert!((of(200.0) - of(100_000.0)).abs() < 1e-6, "a record is worth so much and no more");
        assert!(
            evidence(Change::Stops, odd(0.0, 200.0), odd(0.0, 8.0), 0.5) < 0.0,
            "nothing odd speaks against it"
        );
    }

    #[test]
    fn what_depends_on_the_request_needs_more_than_what_is_always_said() {
        let of = |always| evidence(Change::Stops, odd(0.0, 5.0), odd(12.0, 12.0), always);
        assert!(of(0.9) > of(0.5) && of(0.5) > of(0.1));
    }

    #[test]
    fn nothing_seen_is_no_evidence() {
        for change in [Change::Stops, Change::Appears, Change::Shifts] {
            assert!(evidence(change, odd(3.0, 50.0), odd(0.0, 0.0), 0.5).abs() < 1e-9);
        }
    }
}
