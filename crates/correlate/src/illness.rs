//! What is ill: simple pieces of evidence, each a ranking, fused by reciprocal ranks.
//!
//! No one piece is right in all systems, and their scales cannot be compared; their ranks can (`detection.md` 1.6, 3.7).
//! A caller of an ill callee is slow because of it, so depth counts double. A workload is ill here, never accused: nothing
//! is quarantined for what this module says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use selvedge_model::{Endpoint, Finding, FindingKind};

use crate::change::VersionChange;
use crate::kinds::weight;
use crate::title::{clipped, ratio, value_pair};

/// A rank counts as `1 / (RANK_OFFSET + rank)`. Lists of suspects are short: the first of a ranking must stand out.
const RANK_OFFSET: f64 = 2.0;
/// A caller of an ill service comes after it, its own caller after that, and so on.
const CALLERS_DEPTH_MAX: usize = 8;
/// Weight of depth, of a deployment, and of how many complain, where the others have 1.
const DEPTH: f64 = 2.0;
const CHANGE: f64 = 2.0;
const CALLERS: f64 = 0.5;

/// A change so long before the first sign may have caused it.
const CHANGE_BEFORE: Duration = Duration::from_mins(30);
/// And so long after it: signs date from the beginning of their window, versions from the end of a call.
const CHANGE_AFTER: Duration = Duration::from_mins(1);

/// Cluster, namespace, workload.
pub(crate) type Who = (String, String, String);

/// One workload that may be the cause.
pub(crate) struct Ill {
    pub(crate) who: Who,
    /// Up to the weight of the worst finding about it.
    pub(crate) score: f64,
    pub(crate) reasons: Vec<String>,
}

/// What one piece of evidence says of each workload: more is more suspicious.
type Ranking = BTreeMap<Who, (f64, String)>;

pub(crate) fn who(endpoint: &Endpoint) -> Who {
    (endpoint.cluster.clone(), endpoint.namespace.clone(), endpoint.workload.clone())
}

/// What illness looks like. Each spreads from callees to callers by itself: who fails need not be slow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Slow,
    Failing,
    /// What a caller logs follows from what its callees answer.
    Logging,
}

impl Sign {
    const ALL: [Self; 3] = [Self::Slow, Self::Failing, Self::Logging];

    fn of(kind: FindingKind) -> Option<Self> {
        match kind {
            FindingKind::LatencyHigh | FindingKind::NetworkDelay => Some(Self::Slow),
            FindingKind::ErrorRateHigh => Some(Self::Failing),
            FindingKind::LogTemplateMissing | FindingKind::LogTemplateNew | FindingKind::LogRate => {
                Some(Self::Logging)
            }
            _ => None,
        }
    }
}

/// True for kinds that say that calls of an edge go badly.
pub(crate) fn is_symptom(kind: FindingKind) -> bool {
    Sign::of(kind).is_some()
}

/// All that may be ill, by name. `context` are gauges of workloads, which nobody is told of by themselves, `versions` what
/// was deployed lately.
pub(crate) fn rank(findings: &[&Finding], context: &[&Finding], versions: &[VersionChange]) -> Vec<Ill> {
    let symptoms: Vec<&Finding> =
        findings.iter().copied().filter(|finding| is_symptom(finding.kind)).collect();
    let rankings = [
        (DEPTH, depth(&symptoms)),
        (1.0, effect(&symptoms)),
        (1.0, exclusive(&symptoms)),
        (1.0, network(&symptoms)),
        (1.0, earliest(&symptoms)),
        (CHANGE, deployed(&symptoms, versions)),
        (1.0, resources(context)),
        (CALLERS, callers(&symptoms)),
    ];
    let mut fused: BTreeMap<Who, (f64, Vec<String>)> =
        rankings[0].1.keys().map(|who| (who.clone(), (0.0, Vec::new()))).collect();
    for (weight, ranking) in &rankings {
        for (who, (value, reason)) in ranking {
            let Some((score, reasons)) = fused.get_mut(who) else { continue };
            let before = ranking.values().filter(|(other, _)| *other > *value).count();
            *score += weight / (RANK_OFFSET + 1.0 + before as f64);
            if !reason.is_empty() && (before == 0 || reasons.is_empty()) {
                reasons.push(reason.clone());
            }
        }
    }
    let scores: Vec<f64> = fused.values().map(|(score, _)| *score).collect();
    let worst = |who: &Who| {
        let about = symptoms.iter().filter(|finding| touches(finding, who));
        about.map(|finding| weight(finding.severity)).fold(0.0, f64::max)
    };
    // The first counts in full, the second half, the third a third: only the order is known.
    let ill = |(who, (score, reasons)): (Who, (f64, Vec<String>))| {
        let before = scores.iter().filter(|other| **other > score).count();
        Ill { score: worst(&who) / (1.0 + before as f64), reasons, who }
    };
    fused.into_iter().map(ill).collect()
}

fn touches(finding: &Finding, node: &Who) -> bool {
    who(&finding.edge.source) == *node || who(&finding.edge.destination) == *node
}

/// Keeps the largest value of each workload.
fn keep(ranking: &mut Ranking, who: Who, value: f64, reason: String) {
    match ranking.get(&who) {
        Some((known, _)) if *known >= value => {}
        _ => {
            ranking.insert(who, (value, reason));
        }
    }
}

/// How `finding` says that a callee is ill.
fn how(finding: &Finding) -> &'static str {
    match Sign::of(finding.kind) {
        Some(Sign::Failing) => "failing",
        Some(Sign::Logging) => "logging otherwise than it did",
        _ => "slow",
    }
}

fn callees<'a>(symptoms: &'a [&'a Finding]) -> impl Iterator<Item = (Who, &'a Finding)> {
    let known = symptoms.iter().filter(|finding| !finding.edge.destination.workload.is_empty());
    known.map(|finding| (who(&finding.edge.destination), *finding))
}

/// The deepest ill callees, whose own callees are healthy; then their callers, layer by layer.
fn depth(symptoms: &[&Finding]) -> Ranking {
    let mut ranking = Ranking::new();
    for sign in Sign::ALL {
        let of_sign: Vec<&Finding> =
            symptoms.iter().copied().filter(|finding| Sign::of(finding.kind) == Some(sign)).collect();
        layers(&of_sign, &mut ranking);
    }
    ranking
}

/// All findings say the same of their callees.
fn layers(symptoms: &[&Finding], ranking: &mut Ranking) {
    let ill: BTreeSet<Who> = callees(symptoms).map(|(callee, _)| callee).collect();
    let calls_ill = |node: &Who| {
        // A call to itself does not make its callee the deeper one.
        callees(symptoms).any(|(callee, finding)| who(&finding.edge.source) == *node && callee != *node)
    };
    let deepest: BTreeSet<Who> = ill.iter().filter(|node| !calls_ill(node)).cloned().collect();
    // In a circle nobody is deepest: all are.
    let mut layer = if deepest.is_empty() { ill } else { deepest };
    let mut seen = BTreeSet::new();
    for depth in 0..CALLERS_DEPTH_MAX {
        for node in &layer {
            keep(ranking, node.clone(), 1.0 / (1.0 + depth as f64), place(node, depth, symptoms));
        }
        seen.extend(layer.iter().cloned());
        let callers = callees(symptoms).filter(|(callee, _)| layer.contains(callee));
        let next = callers
            .filter(|(_, finding)| !finding.edge.source.workload.is_empty())
            .map(|(_, finding)| who(&finding.edge.source));
        layer = next.filter(|node| !seen.contains(node)).collect();
        if layer.is_empty() {
            return;
        }
    }
}

fn place(node: &Who, depth: usize, symptoms: &[&Finding]) -> String {
    let about = |finding: &&&Finding| {
        let end = if depth == 0 { &finding.edge.destination } else { &finding.edge.source };
        who(end) == *node
    };
    let worst = symptoms.iter().filter(about).max_by(|left, right| {
        left.severity.cmp(&right.severity).then_with(|| (right.onset, &right.id).cmp(&(left.onset, &left.id)))
    });
    let Some(worst) = worst else { return String::new() };
    let how = how(worst);
    let callers: BTreeSet<Who> = symptoms
        .iter()
        .filter(about)
        .map(|finding| who(&finding.edge.source))
        .filter(|who| !who.2.is_empty())
        .collect();
    match (depth, callers.len()) {
        (0, 0 | 1) => format!("is {how}, and what it calls is not"),
        (0, callers) => format!("is {how} for {callers} callers, and what it calls is not"),
        _ => format!("is {how} or suffers because it calls {}", worst.edge.destination.label()),
    }
}

/// How many times the usual it is. How often a statement comes says nothing of how ill somebody is.
fn effect(symptoms: &[&Finding]) -> Ranking {
    let mut ranking = Ranking::new();
    let sized = |finding: &Finding| Sign::of(finding.kind) != Some(Sign::Logging);
    for (callee, finding) in callees(symptoms).filter(|(_, finding)| sized(finding)) {
        if let Some(times) = ratio(finding).filter(|times| *times > 1.0) {
            let reason = if times < 1_000.0 {
                format!("is {times:.1} times as {} as usual", how(finding))
            } else {
                String::new()
            };
            keep(&mut ranking, callee, times, reason);
        }
    }
    ranking
}

/// What of the growth is its own: what its callers see, less what it sees of its callees.
fn exclusive(symptoms: &[&Finding]) -> Ranking {
    let mut ranking = Ranking::new();
    for sign in [Sign::Slow, Sign::Failing] {
        let mut seen: BTreeMap<Who, [f64; 2]> = BTreeMap::new();
        for (callee, finding) in callees(symptoms) {
            let Some((now, usual)) = value_pair(finding) else { continue };
            if Sign::of(finding.kind) != Some(sign) {
                continue;
            }
            let of_callee = seen.entry(callee).or_default();
            of_callee[0] = of_callee[0].max(now - usual);
            let of_caller = seen.entry(who(&finding.edge.source)).or_default();
            of_caller[1] = of_caller[1].max(now - usual);
        }
        // Failing and slow are of different units: what is told of either is told as a part of the most there is.
        let most = seen.values().map(|[inwards, outwards]| inwards - outwards).fold(0.0, f64::max);
        for (node, [inwards, outwards]) in seen {
            let own = inwards - outwards;
            if own > 0.0 && most > 0.0 {
                let what = if sign == Sign::Failing { "fails" } else { "is slow" };
                let share = 100.0 * own / inwards;
                let reason = format!("{what} by itself: {share:.0} % of it is in none of its callees");
                keep(&mut ranking, node, own / most, reason);
            }
        }
    }
    ranking
}

/// The callee at the end of a slow network.
fn network(symptoms: &[&Finding]) -> Ranking {
    let mut ranking = Ranking::new();
    for (callee, finding) in
        callees(symptoms).filter(|(_, finding)| finding.kind == FindingKind::NetworkDelay)
    {
        let lost = value_pair(finding).map_or(0.0, |(now, usual)| now - usual);
        let reason = format!(
            "{} waits for longer than it works: the time is lost between them",
            finding.edge.source.label()
        );
        keep(&mut ranking, callee, lost, reason);
    }
    ranking
}

/// Who deviated first.
fn earliest(symptoms: &[&Finding]) -> Ranking {
    let mut ranking = Ranking::new();
    let first = symptoms.iter().map(|finding| finding.onset).min().unwrap_or_default();
    for (callee, finding) in callees(symptoms) {
        let later = finding.onset.since(first).as_secs_f64();
        let reason = if later > 0.0 { String::new() } else { "deviated first".to_owned() };
        keep(&mut ranking, callee, -later, reason);
    }
    ranking
}

/// What was deployed shortly before anything deviated, the latest first. A sender chooses the version that it says, so this
/// points at who may be ill, as everything here does, and accuses nobody.
fn deployed(symptoms: &[&Finding], versions: &[VersionChange]) -> Ranking {
    let mut ranking = Ranking::new();
    let first = symptoms.iter().map(|finding| finding.onset).min().unwrap_or_default();
    for change in versions {
        let before = first.since(change.at);
        if before > CHANGE_BEFORE || change.at > first.after(CHANGE_AFTER) {
            continue;
        }
        let when = match before.as_secs() / 60 {
            0 => "when it began".to_owned(),
            1 => "a minute before it began".to_owned(),
            minutes => format!("{minutes} minutes before it began"),
        };
        let reason = format!(
            "runs a version that it never ran before, seen first {when} ({})",
            clipped(&change.version)
        );
        keep(&mut ranking, who(&change.workload), -before.as_secs_f64(), reason);
    }
    ranking
}

/// What its own gauges show.
fn resources(context: &[&Finding]) -> Ranking {
    let mut ranking = Ranking::new();
    for finding in context.iter().filter(|finding| finding.kind == FindingKind::ResourceHigh) {
        let Some(times) = ratio(finding).filter(|times| *times > 1.0) else { continue };
        let reason = format!("its own {} is {times:.1} times the usual", finding.subject);
        keep(&mut ranking, who(&finding.edge.destination), times, reason);
    }
    ranking
}

/// How many complain of it.
fn callers(symptoms: &[&Finding]) -> Ranking {
    let mut all: BTreeMap<Who, BTreeSet<Who>> = BTreeMap::new();
    for (callee, finding) in callees(symptoms) {
        all.entry(callee).or_default().insert(who(&finding.edge.source));
    }
    all.into_iter().map(|(callee, callers)| (callee, (callers.len() as f64, String::new()))).collect()
}
