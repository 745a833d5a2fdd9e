//! `selvedge policy backtest`: what would these policies have done to these calls?

use std::collections::BTreeMap;
use std::io::Write;

use selvedge_act::visible;
use selvedge_model::EventTime;
use selvedge_policy::{Evaluator, MeshSettings, PolicySet, PolicyVerdict, TrafficRow, Trial, Truth};
use serde_json::json;

use super::recorded;
use super::scope::Scopes;
use crate::cli::{BacktestArgs, Form};
use crate::exit::{Failure, Outcome};
use crate::output;

/// Policies and reasons that are told apart, each; what is beyond is told as one (policy `keep_known`).
const TOLD_MAX: usize = 50;
/// Under which name.
const OTHERS: &str = "others";

/// What the policies would have done.
struct Judged {
    trial: Trial,
    /// Normal calls of which the record does not say enough.
    undecided_normal: u64,
    /// Calls that each policy would have denied.
    policies: BTreeMap<String, u64>,
    /// Why calls are undecided.
    undecided: BTreeMap<String, u64>,
    /// Policies that select none of the calls.
    idle: Vec<String>,
}

pub(super) fn run(args: &BacktestArgs) -> Outcome {
    let (texts, settings) = (super::texts(&args.policies)?, MeshSettings::from(&args.mesh));
    let policies = super::policies(&texts, &settings)?;
    let mut scopes = Scopes::default();
    for (_, text) in &texts {
        scopes.add(text, &settings)?;
    }
    if policies.rbac_filters() > 0 && args.workload.is_none() {
        return Err(anyhow::anyhow!(
            "an Envoy RBAC filter does not say at which workload it stands: give --workload NAMESPACE/NAME"
        )
        .into());
    }
    let recorded = recorded::play(&args.learn, &args.capture, args.config.as_deref())?;
    let rows: Vec<&TrafficRow> = recorded.judged.iter().filter(|row| concerned(row, args)).collect();
    let mut judged = judge(&policies, &rows);
    judged.idle = scopes.idle(&rows).into_iter().map(str::to_owned).collect();
    let mut err = output::stderr();
    for note in policies.notes().iter().chain(&recorded.warnings) {
        writeln!(err, "note: {}", visible(note))?;
    }
    let mut out = output::stdout();
    match args.format {
        Form::Text => tell(&mut out, &judged, policies.len(), args)?,
        Form::Json => writeln!(out, "{:#}", document(&judged, policies.len()))?,
    }
    if rows.is_empty() {
        return Err(anyhow::anyhow!(
            "no call was judged: the captures hold none that the policies are about"
        )
        .into());
    }
    match args.max_denied_normal.and_then(|max| excess(&judged, max)) {
        Some(excess) => Err(Failure::expectation(anyhow::anyhow!(excess))),
        None => Ok(()),
    }
}

/// Too much harm, in words. What the record does not clear counts as harm, and a policy that was not tried at all too:
/// else policies of which nothing can be judged would be the most harmless ones.
fn excess(judged: &Judged, max: u64) -> Option<String> {
    let (denied, undecided) = (judged.trial.backtest.denied_normal, judged.undecided_normal);
    let open = match undecided {
        0 => String::new(),
        _ => format!(", and of {undecided} the record does not say"),
    };
    if denied.saturating_add(undecided) > max {
        return Some(format!("{denied} normal calls would have been denied{open}; at most {max} may be"));
    }
    let first = judged.idle.first()?;
    let others = match judged.idle.len() - 1 {
        0 => String::new(),
        others => format!(" (nor do {others} others)"),
    };
    Some(format!("{first} selects none of the judged calls{others}, so it is not known to be harmless"))
}

/// The calls of the named workload; without one all.
fn concerned(row: &TrafficRow, args: &BacktestArgs) -> bool {
    args.workload.as_ref().is_none_or(|(namespace, name)| {
        !row.external && row.destination.namespace == *namespace && row.destination.workload == *name
    })
}

fn judge(set: &PolicySet, rows: &[&TrafficRow]) -> Judged {
    // Nobody says when an attack began, so every normal call that is denied is harm.
    let mut evaluator = Evaluator::new(EventTime(u64::MAX));
    let (mut policies, mut undecided) = (BTreeMap::new(), BTreeMap::new());
    for row in rows {
        let denied = match set.verdict(row) {
            PolicyVerdict::Allowed => Truth::No,
            PolicyVerdict::Denied { policy } => {
                count(&mut policies, policy, row.calls);
                Truth::Yes
            }
            PolicyVerdict::Unknown { why } => {
                count(&mut undecided, why, row.calls);
                Truth::Unknown
            }
        };
        evaluator.add(row, denied);
    }
    let trial = evaluator.finish();
    Judged { undecided_normal: trial.undecided_normal, trial, policies, undecided, idle: Vec::new() }
}

fn count(counts: &mut BTreeMap<String, u64>, name: String, calls: u64) {
    let name = if counts.len() < TOLD_MAX || counts.contains_key(&name) { name } else { OTHERS.to_owned() };
    *counts.entry(name).or_default() += calls;
}

/// Most calls first.
fn sorted(counts: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut rows: Vec<(&str, u64)> = counts.iter().map(|(name, calls)| (name.as_str(), *calls)).collect();
    rows.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
    rows
}

/// `none` is what telemetry says when no ALLOW policy matched.
fn policy_name(name: &str) -> &str {
    if name == "none" { "no ALLOW policy matches" } else { name }
}

fn tell(out: &mut impl Write, judged: &Judged, policies: usize, args: &BacktestArgs) -> std::io::Result<()> {
    let backtest = &judged.trial.backtest;
    let (considered, denied) = (backtest.considered, backtest.denied);
    let at = match &args.workload {
        Some((namespace, name)) => format!(" to {namespace}/{name}"),
        None => String::new(),
    };
    let noun = if policies == 1 { "policy" } else { "policies" };
    writeln!(out, "{policies} {noun} tried on {considered} calls{at}")?;
    let percent = share(denied, considered);
    writeln!(out, "denied      {denied} ({percent}), {} of them normal", backtest.denied_normal)?;
    for (name, calls) in sorted(&judged.policies) {
        writeln!(out, "  by        {}: {calls}", visible(policy_name(name)))?;
    }
    for caller in &backtest.callers {
        let (who, normal) = (visible(&caller.caller.label()), caller.denied_normal);
        let principal = visible(&caller.caller.principal);
        let identity = if principal.is_empty() { String::new() } else { format!(" ({principal})") };
        writeln!(out, "  whose     {who}{identity}: {}, {normal} of them normal", caller.denied)?;
    }
    for (route, calls) in &backtest.routes {
        let route = if route.is_empty() { "no route recorded" } else { route };
        writeln!(out, "  route     {}: {calls}", visible(route))?;
    }
    if backtest.more > 0 {
        writeln!(out, "            and {} more callers and routes", backtest.more)?;
    }
    if backtest.undecided > 0 {
        let normal = judged.undecided_normal;
        writeln!(out, "undecided   {}, {normal} of them normal", backtest.undecided)?;
        for (why, calls) in sorted(&judged.undecided) {
            writeln!(out, "  why       {}: {calls}", visible(why))?;
        }
    }
    for name in judged.idle.iter().take(TOLD_MAX) {
        writeln!(
            out,
            "idle        {} selects none of these calls: a wrong namespace or label?",
            visible(name)
        )?;
    }
    if judged.idle.len() > TOLD_MAX {
        writeln!(out, "            and {} more", judged.idle.len() - TOLD_MAX)?;
    }
    if args.learn.is_empty() {
        writeln!(
            out,
            "normal      is what the captures themselves had shown before; say what is normal with --learn"
        )?;
    }
    Ok(())
}

fn document(judged: &Judged, policies: usize) -> serde_json::Value {
    let backtest = selvedge_act::quarantine_document::BacktestDocument::from(&judged.trial.backtest);
    let counted = |counts: &BTreeMap<String, u64>, name: &str| -> Vec<serde_json::Value> {
        sorted(counts).into_iter().map(|(what, calls)| json!({ name: what, "calls": calls })).collect()
    };
    json!({
        "policies": policies,
        "backtest": backtest,
        "denied_by": counted(&judged.policies, "policy"),
        "undecided_normal": judged.undecided_normal,
        "undecided_because": counted(&judged.undecided, "why"),
        "idle": judged.idle,
    })
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn share(part: u64, whole: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}
