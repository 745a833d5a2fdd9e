//! What is told of logs in days in which nothing is wrong: counted against the budget.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use std::collections::BTreeMap;
use std::time::Duration;

use selvedge_learn::logs::{Class, Habits, Miner};
use selvedge_model::{EventTime, LogWindow, Node, ServedRoute, Symbol, TraceId, Window};

const ROUTES: u32 = 60;
const STATEMENTS: u32 = 8;
const HOURS: u64 = 12;
const WINDOWS_A_DAY: f64 = 8_640.0;
/// Errors, and blips of one to three minutes with more of them, as in the research's simulator, or harsher (`detection.md` 2:
/// 0.1 %, 5 to 25 times as many, 0.1 a day).
const ERRORS: f64 = 0.001;
const BLIP_ERRORS: f64 = 0.025;
const BLIPS_A_DAY: f64 = 0.1;
/// A tenth of a warning an hour is five; a Poisson count of that mean is above eleven once in two hundred times.
const WARNINGS_MAX: u32 = 11;
const NOTED_MAX: u32 = 400;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap()) / f64::from(u32::MAX)
    }

    fn up_to(&mut self, most: f64) -> u32 {
        (0..=20)
            .take_while(|count| self.share() < most / (most + f64::from(*count)))
            .count()
            .try_into()
            .unwrap()
    }
}

/// A route: how many calls a window has, how it makes each statement, and a branch that comes in stretches.
struct Route {
    calls: f64,
    shares: Vec<f64>,
    branch: bool,
    stays: f64,
    /// Windows that a blip goes on.
    blip: u32,
}

/// Scenario: statements of all calls, of some (by chance, and in stretches of minutes, as when one customer asks again and
/// again), rare ones, and calls that fail and say other things, in blips more of them.
/// Guarantees: warnings stay near the budget of a tenth an hour; what is noted for the record is a small multiple.
#[test]
fn quiet_days_tell_little() {
    let mut told: BTreeMap<(bool, Class), u32> = BTreeMap::new();
    for seed in 100..104 {
        for (class, warns) in quiet(seed) {
            *told.entry((warns, class)).or_default() += 1;
        }
    }
    let hours = 4 * HOURS;
    eprintln!("in {hours} h of {ROUTES} routes (is it a warning, of which class): {told:?}");
    let warnings: u32 = told.iter().filter(|((warns, _), _)| *warns).map(|(_, count)| count).sum();
    let noted: u32 = told.values().sum::<u32>() - warnings;
    assert!(warnings <= WARNINGS_MAX && noted <= NOTED_MAX, "{warnings} warnings, {noted} noted");
}

/// Episodes told: class, and whether somebody is warned (as `detect` grades them).
fn quiet(seed: u64) -> Vec<(Class, bool)> {
    let mut dice = Dice(seed);
    let mut routes: Vec<Route> = (0..ROUTES)
        .map(|_| Route {
            calls: 0.2 + 4.0 * dice.share() * dice.share(),
            shares: (0..STATEMENTS).map(|at| if at < 5 { 1.0 } else { dice.share() }).collect(),
            branch: false,
            stays: 0.9 + 0.09 * dice.share(),
            blip: 0,
        })
        .collect();
    let (mut miner, mut habits) = (Miner::new(), Habits::new());
    let mut last: BTreeMap<(Class, u32), u64> = BTreeMap::new();
    let mut episodes = Vec::new();
    for at in 0..HOURS * 360 {
        let start = EventTime((at + 1_000) * 10_000_000_000);
        let window = Window { start, end: start.after(Duration::from_secs(10)) };
        let mut counts = LogWindow::default();
        for (number, route) in (0..).zip(&mut routes) {
            if dice.share() > route.stays {
                route.branch = !route.branch;
            }
            if dice.share() < BLIPS_A_DAY / WINDOWS_A_DAY {
                route.blip = 6 + dice.up_to(6.0);
            }
            serve(&mut dice, &mut miner, &mut counts, number, route, start);
            route.blip = route.blip.saturating_sub(1);
        }
        let least = |class: Class, habits: &Habits| {
            let share = [0.04, 0.03, 0.02, 0.01][class as usize];
            (habits.trials_an_hour(class) / share).ln()
        };
        for deviation in habits.take(window, &counts, &miner, false, &least) {
            let key = (deviation.class, deviation.route.route.0);
            if last.insert(key, at).is_none_or(|last| at - last > 30) {
                let first = deviation.deviants[0];
                let warns = match deviation.class {
                    Class::Missing => first.settled || first.errs,
                    Class::New => miner.is_error(first.statement),
                    Class::Rate | Class::Silent => false,
                };
                episodes.push((deviation.class, warns));
            }
        }
    }
    episodes
}

fn serve(
    dice: &mut Dice,
    miner: &mut Miner,
    counts: &mut LogWindow,
    number: u32,
    route: &Route,
    start: EventTime,
) {
    let node = Node { workload: Symbol(1_000 + number / 3), ..Node::default() };
    let key = ServedRoute { node, method: Symbol(10), route: Symbol(2_000 + number) };
    for call in 0..dice.up_to(route.calls) {
        let failed = dice.share() < if route.blip > 0 { BLIP_ERRORS } else { ERRORS };
        let mut said: Vec<u32> = Vec::new();
        for (statement, share) in (0..STATEMENTS).zip(&route.shares) {
            let made = match statement {
                _ if failed && statement > 1 => false,
                6 => route.branch,
                _ => dice.share() < *share,
            };
            let letter = char::from(b'a' + u8::try_from(number % 26).unwrap());
            let text = format!("INFO shop.Place{letter}#{} says so", number / 26 * 100 + statement);
            if made {
                said.extend(miner.statement(node, text.as_bytes(), 9, start).map(|id| id.0));
            }
        }
        if failed {
            let text = format!("ERROR shop.Place#{} lost something", number % 3 * 10);
            said.extend(miner.statement(node, text.as_bytes(), 17, start).map(|id| id.0));
        }
        said.sort_unstable();
        let trace = TraceId([u8::try_from(call + 1).unwrap(); 16]);
        counts.count(key, Node::default(), trace, failed, !said.is_empty(), &said);
    }
}
