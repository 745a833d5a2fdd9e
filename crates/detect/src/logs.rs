//! What logs of workloads tell: statements that stop, appear or shift on a route that still runs.
//!
//! Scores are Bayes factors, which reach `e^h` by chance in at most one of `e^h` starts; with so many comparisons an
//! hour the threshold follows from the part of the warning budget that the rule gives to its kind, and the return
//! period of a finding from its score. Nothing is cut on this evidence, and nobody is woken by it.

use selvedge_learn::logs::{Class, Deviant, Deviation, Habits, Miner, Tally};
use selvedge_model::{EdgeKey, Exemplar, Finding, FindingKind, IdentitySource, Node, Window};

use crate::calibration::Budgets;
use crate::case::Context;
use crate::detector::Detector;
use crate::draft::Draft;
use crate::rules::RuleSet;

/// Callers that a deviation is told of, each as a finding on its own edge: so that it is seen who suffers by it.
const CALLERS_MAX: usize = 4;
/// Statements named in the evidence of one finding.
const STATEMENTS_TOLD_MAX: usize = 5;
const HOUR_SECONDS: f64 = 3_600.0;
/// OTLP severity numbers from here on are warnings.
const SEVERITY_WARN: u8 = 13;

/// The finding kind of a comparison.
fn kind(class: Class) -> FindingKind {
    match class {
        Class::Missing => FindingKind::LogTemplateMissing,
        Class::New => FindingKind::LogTemplateNew,
        Class::Rate => FindingKind::LogRate,
        Class::Silent => FindingKind::TelemetryGap,
    }
}

/// Part of the warning budget of a class; nothing when its rule is switched off.
fn budget_share(rules: &RuleSet, class: Class) -> Option<f64> {
    Some(match class {
        Class::Missing => rules.log_template_missing()?.budget_share.0,
        Class::New => rules.log_template_new()?.budget_share.0,
        Class::Rate => rules.log_rate()?.budget_share.0,
        Class::Silent => rules.telemetry_gap()?.budget_share.0,
    })
}

/// Nats from which on a class tells something: so many comparisons an hour, so much of the budget.
pub(crate) fn evidence_min(rules: &RuleSet, budgets: &Budgets, class: Class, habits: &Habits) -> f64 {
    let share = budget_share(rules, class).unwrap_or(0.0);
    let allowed = budgets.warnings_an_hour * share;
    if allowed > 0.0 { (habits.trials_an_hour(class) / allowed).ln().max(0.0) } else { f64::INFINITY }
}

impl Detector {
    /// Nats from which on a comparison of logs tells something.
    #[must_use]
    pub fn log_evidence_min(&self, class: Class, habits: &Habits) -> f64 {
        evidence_min(self.rules(), self.budgets(), class, habits)
    }

    /// Tells what deviates in the logs of a window.
    #[must_use]
    pub fn judge_logs(
        &self,
        cx: &Context<'_>,
        miner: &Miner,
        habits: &Habits,
        deviations: &[Deviation],
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        for deviation in deviations {
            // The same deviation keeps its id from window to window, as long as it lasts.
            let began = Window { start: deviation.since, end: deviation.since };
            let nobody = [Node::default()];
            let callers = if deviation.callers.is_empty() { &nobody[..] } else { &deviation.callers[..] };
            for caller in callers.iter().take(CALLERS_MAX) {
                let key = EdgeKey { source: *caller, destination: deviation.route.node, external: false };
                findings.push(self.tell(cx, began, key, draft(cx, miner, habits, deviation)));
            }
        }
        crate::detector::sorted(findings)
    }
}

fn draft(cx: &Context<'_>, miner: &Miner, habits: &Habits, deviation: &Deviation) -> Draft {
    let route = deviation.route;
    let (method, path) = (cx.symbols.resolve(route.method), cx.symbols.resolve(route.route));
    let subject = if deviation.class == Class::Silent {
        "logs".to_owned()
    } else {
        format!("{method} {path}").trim().to_owned()
    };
    let mut draft = Draft::new(kind(deviation.class), deviation.since)
        .subject(subject.clone())
        .summary(summary(cx, miner, deviation, &subject));
    for deviant in deviation.deviants.iter().take(STATEMENTS_TOLD_MAX) {
        let text = if deviation.class == Class::Silent {
            "any statement".to_owned()
        } else {
            miner.text(deviant.statement)
        };
        draft = draft.fact(
            "calls_with_statement",
            format!("{}: {text}", share(deviant.run)),
            share(deviant.record),
        );
    }
    let more = deviation.deviants.len().saturating_sub(STATEMENTS_TOLD_MAX);
    if more > 0 {
        draft = draft.note("further_statements", &more.to_string());
    }
    if let Some(first) = deviation.deviants.first() {
        draft = draft.fact("evidence_nats", format!("{:.1}", first.score), "");
        draft.return_period_seconds = Some(return_period(habits, deviation.class, first));
        if deviation.class == Class::New {
            for (why, odds) in miner.odds(first.statement) {
                draft = draft.fact("log_odds", format!("{odds:+}"), why);
            }
            let harmless = miner.severity(first.statement) < SEVERITY_WARN;
            draft = draft.lower_if(harmless, 1, "it is no warning and no error");
        }
    }
    if deviation.class == Class::Missing {
        let sure = deviation.deviants.first().is_some_and(|first| first.settled || first.errs);
        let why = "the statement is known for less than a day, and nothing else shows that calls fail";
        draft = draft.lower_if(!sure, 1, why);
    }
    draft.source_identity = IdentitySource::ParentSpan;
    draft.exemplars = deviation
        .exemplars
        .iter()
        .map(|trace_id| Exemplar { trace_id: *trace_id, ..Exemplar::default() })
        .collect();
    draft.lower_if(deviation.release, 1, "many statements of the workload are new: probably a new version")
}

fn summary(cx: &Context<'_>, miner: &Miner, deviation: &Deviation, subject: &str) -> String {
    let workload = cx.symbols.resolve(deviation.route.node.workload);
    let Some(first) = deviation.deviants.first() else { return String::new() };
    if deviation.class == Class::Silent {
        return format!(
            "{workload} serves calls and no longer logs anything ({}, before {}): its logs are missing, or all that it does",
            share(first.run),
            share(first.record)
        );
    }
    let text = miner.text(first.statement);
    let what = match (deviation.class, first.more) {
        (Class::Missing, _) => "no longer logs",
        (Class::New, _) => "logs for the first time",
        (_, true) => "logs more often",
        (_, false) => "logs less often",
    };
    let others = match deviation.deviants.len() {
        0 | 1 => String::new(),
        more => format!(" and {} more", more - 1),
    };
    format!(
        "{workload} {what} \"{text}\"{others} when it serves {subject}: {} calls, before {}",
        share(first.run),
        share(first.record)
    )
}

/// `3 of 40`.
fn share(tally: Tally) -> String {
    let Tally { calls, with } = tally;
    format!("{with:.0} of {calls:.0}")
}

/// How often such evidence comes by chance: once in `e^score` comparisons.
fn return_period(habits: &Habits, class: Class, deviant: &Deviant) -> f64 {
    let seconds = HOUR_SECONDS * f64::from(deviant.score).exp() / habits.trials_an_hour(class);
    seconds.min(crate::statistics::RETURN_PERIOD_SECONDS_MAX)
}
