//! What a run came to: figures by round, ratios between them, and goals that were met or missed.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// One thing that was measured, once a round.
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) rounds: Vec<f64>,
}

/// What a goal allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn met(self, measured: f64) -> bool {
        match self {
            Self::AtMost(limit) => measured <= limit,
            Self::AtLeast(limit) => measured >= limit,
        }
    }
}

/// A goal of the project, and what was measured.
pub(super) struct Goal {
    pub(super) what: String,
    pub(super) measured: f64,
    pub(super) bound: Bound,
    pub(super) unit: &'static str,
}

/// All of a run.
#[derive(Default)]
pub(super) struct Results {
    pub(super) figures: Vec<Figure>,
    /// Of one figure to another in the same round; its name says of which.
    pub(super) ratios: Vec<Figure>,
    pub(super) goals: Vec<Goal>,
}

impl Results {
    /// A figure of some rounds; its median.
    pub(super) fn figure(&mut self, name: &str, unit: &'static str, rounds: Vec<f64>) -> f64 {
        let middle = median(rounds.clone());
        self.figures.push(Figure { name: name.to_owned(), unit, rounds });
        middle
    }

    /// The ratio of two figures, round by round; its median. Nothing when one of them was not measured.
    pub(super) fn ratio(&mut self, of: &str, to: &str) -> Option<f64> {
        let rounds = |name: &str| self.figures.iter().find(|figure| figure.name == name).map(|it| &it.rounds);
        let (of_rounds, to_rounds) = (rounds(of)?, rounds(to)?);
        let rounds: Vec<f64> = of_rounds.iter().zip(to_rounds).map(|(this, that)| this / that).collect();
        let middle = median(rounds.clone());
        self.ratios.push(Figure { name: format!("{of} / {to}"), unit: "", rounds });
        Some(middle)
    }

    pub(super) fn goal(&mut self, what: impl Into<String>, measured: f64, bound: Bound, unit: &'static str) {
        self.goals.push(Goal { what: what.into(), measured, bound, unit });
    }

    /// Figures and ratios, each with what was recorded of the same name, and the goals.
    pub(super) fn text(&self, recorded: Option<&Value>) -> String {
        let mut text = String::new();
        for (title, figures) in [("figures", &self.figures), ("ratios", &self.ratios)] {
            for figure in figures {
                let then = recorded.and_then(|run| run[title][figure.name.as_str()]["median"].as_f64());
                let line = figure_line(figure, then);
                writeln!(text, "{line}").expect("a string takes any text");
            }
            text.push('\n');
        }
        for goal in &self.goals {
            writeln!(text, "{}", goal_line(goal)).expect("a string takes any text");
        }
        text
    }

    pub(super) fn json(&self) -> Map<String, Value> {
        let figures = |figures: &[Figure]| -> Map<String, Value> {
            let of = |figure: &Figure| {
                let rounds: Vec<f64> = figure.rounds.iter().copied().map(rounded).collect();
                let middle = rounded(median(figure.rounds.clone()));
                json!({"unit": figure.unit, "median": middle, "rounds": rounds})
            };
            figures.iter().map(|figure| (figure.name.clone(), of(figure))).collect()
        };
        let goals = self.goals.iter().map(|goal| {
            let (bound, limit) = match goal.bound {
                Bound::AtMost(limit) => ("at_most", limit),
                Bound::AtLeast(limit) => ("at_least", limit),
            };
            let met = goal.bound.met(goal.measured);
            json!({"what": goal.what, "measured": rounded(goal.measured), bound: limit, "unit": goal.unit, "met": met})
        });
        let goals = Value::Array(goals.collect());
        let parts = [
            ("figures", Value::Object(figures(&self.figures))),
            ("ratios", Value::Object(figures(&self.ratios))),
            ("goals", goals),
        ];
        parts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

fn figure_line(figure: &Figure, recorded: Option<f64>) -> String {
    let rounds: Vec<String> = figure.rounds.iter().map(|value| shown(*value)).collect();
    let then = recorded.map_or("recorded: -".to_owned(), |then| format!("recorded: {}", shown(then)));
    format!(
        "{:<36} {:>10} {:<9} {then:<18} rounds: {}",
        figure.name,
        shown(median(figure.rounds.clone())),
        figure.unit,
        rounds.join(" ")
    )
}

fn goal_line(goal: &Goal) -> String {
    let bound = match goal.bound {
        Bound::AtMost(limit) => format!("<= {}", shown(limit)),
        Bound::AtLeast(limit) => format!(">= {}", shown(limit)),
    };
    let verdict = if goal.bound.met(goal.measured) { "met" } else { "MISSED" };
    format!("goal {:<66} {:>8} {:<3} {bound:<9} {verdict}", goal.what, shown(goal.measured), goal.unit)
}

/// Three figures that count.
fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 4,
    };
    format!("{value:.decimals$}")
}

/// What is written down: nobody measures closer.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// The middle one; between the middle two of an even number.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results() -> Results {
        let mut results = Results::default();
        results.figure("selvedge", "s", vec![1.0, 1.2, 1.1]);
        results.figure("plain", "s", vec![2.0, 2.0, 2.75]);
        let ratio = results.ratio("selvedge", "plain").unwrap();
        results.goal("cost", ratio, Bound::AtMost(0.35), "");
        results.goal("speed", 2.0, Bound::AtLeast(1.0), "GB");
        results
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios_and_not_the_ratio_of_the_medians() {
        let mut results = results();
        // 0.5, 0.6 and 0.4; of the medians it would be 0.55.
        assert!((median(results.ratios[0].rounds.clone()) - 0.5).abs() < 1e-9);
        assert_eq!(results.ratio("selvedge", "rotel"), None);
    }

    #[test]
    fn a_goal_is_met_at_its_limit_and_every_goal_is_a_line_with_its_verdict() {
        assert!(Bound::AtMost(1.0).met(1.0));
        assert!(!Bound::AtLeast(1.0).met(0.9));
        let text = results().text(None);
        let verdicts: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("goal "))
            .filter_map(|line| line.split(' ').next_back())
            .collect();
        assert_eq!(verdicts, ["MISSED", "met"]);
    }

    #[test]
    fn what_was_recorded_stands_beside_what_was_measured() {
        let before = Value::Object(results().json());
        let mut now = Results::default();
        now.figure("selvedge", "s", vec![9.0]);
        now.figure("new", "s", vec![1.0]);
        let text = now.text(Some(&before));
        assert!(text.contains("9.00 s         recorded: 1.10"), "{text}");
        assert!(text.contains("1.00 s         recorded: - "), "{text}");
    }

    #[test]
    fn the_json_has_medians_rounds_ratios_and_goals() {
        let json = Value::Object(results().json());
        assert_eq!(json["figures"]["selvedge"]["rounds"], json!([1.0, 1.2, 1.1]));
        assert_eq!(json["ratios"]["selvedge / plain"]["median"], json!(0.5));
        assert_eq!(json["goals"][0]["at_most"], json!(0.35));
        assert_eq!((&json["goals"][0]["met"], &json["goals"][1]["met"]), (&json!(false), &json!(true)));
    }
}
