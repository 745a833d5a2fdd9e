//! The `detection` section: how often people may be told of what is nothing, and what knowing the mesh may cost.

use selvedge_engine::EngineConfig;
use serde::Deserialize;

/// No budget is larger than this: past it nobody would look.
const BUDGET_MAX: f64 = 1_000.0;

/// `detection`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DetectionSection {
    budgets: BudgetsSection,
    /// Mebibytes of what busy edges normally do, beside the 2.5 KB of every edge.
    hot_memory_mib: Option<usize>,
}

/// `detection.budgets`: of the whole mesh, whatever its size.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BudgetsSection {
    /// Times a week that somebody may be woken by behaviour for nothing.
    pages_per_week: Option<f64>,
    /// Warnings an hour about behaviour that is nothing.
    warnings_per_hour: Option<f64>,
}

impl DetectionSection {
    /// Takes over what is said, and tells what is wrong with it.
    pub(crate) fn apply(&self, engine: &mut EngineConfig, problems: &mut Vec<String>) {
        let budgets = &mut engine.budgets;
        let said = [
            ("pages_per_week", self.budgets.pages_per_week, &mut budgets.pages_a_week),
            ("warnings_per_hour", self.budgets.warnings_per_hour, &mut budgets.warnings_an_hour),
        ];
        for (key, value, place) in said {
            let Some(value) = value else { continue };
            if value > 0.0 && value <= BUDGET_MAX {
                *place = value;
            } else {
                problems.push(format!(
                    "detection.budgets.{key}: {value} is not above 0 and at most {BUDGET_MAX}"
                ));
            }
        }
        if let Some(mib) = self.hot_memory_mib {
            engine.learn.hot_bytes_max = mib.saturating_mul(1 << 20);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str) -> (EngineConfig, Vec<String>) {
        let section: DetectionSection = crate::yaml::read(text).expect("a section");
        let (mut engine, mut problems) = (EngineConfig::default(), Vec::new());
        section.apply(&mut engine, &mut problems);
        (engine, problems)
    }

    #[test]
    fn budgets_and_memory_are_taken_over_and_the_rest_stays() {
        let (engine, problems) = applied("budgets: {pages_per_week: 0.5}\nhot_memory_mib: 16\n");
        assert!(problems.is_empty(), "{problems:?}");
        assert!((engine.budgets.pages_a_week - 0.5).abs() < 1e-12);
        assert!((engine.budgets.warnings_an_hour - 1.0).abs() < 1e-12);
        assert_eq!(engine.learn.hot_bytes_max, 16 << 20);
    }

    #[test]
    fn a_budget_of_nothing_and_one_that_nobody_reads_are_problems() {
        let (_, problems) = applied("budgets: {pages_per_week: 0, warnings_per_hour: 5000}");
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("detection.budgets.pages_per_week: 0 is not"), "{problems:?}");
    }
}
