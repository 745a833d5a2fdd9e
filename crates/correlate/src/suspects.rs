//! Who may be the cause: ranked by additive scores, each with its reason.
//!
//! Two questions with two answers. *Who did it?* is the source of what leads, if its name can be trusted.
//! *What is ill?* is the deepest callee whose own callees are healthy (`detection.md` 3.7). An identity that was only
//! claimed is never an answer; an empty list is an honest one.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_model::{Endpoint, EventTime, Finding, FindingKind, IdentitySource, Suspect};

use crate::kinds::{Blame, blame, weight};
use crate::title::{ratio, several};

/// Research promises the cause among the first five, not the first (`detection.md` 1.6).
const SUSPECTS_MAX: usize = 5;
/// Doing counts more than suffering: a flood explains the slowness it causes.
const DOING: f64 = 2.0;
/// A caller of an ill service is suspected half as much as the service, its own caller a third, and so on.
const CALLERS_DEPTH_MAX: usize = 8;
/// A name that only a parent span or an address gives can be chosen by others.
const HEARSAY: f64 = 0.25;
/// Retries multiply the load on a failing callee by their number of attempts, seldom more than four; more is a flood.
const RETRIES_RATIO_MAX: f64 = 4.0;
/// What is left of a rate's weight when it is explained by something else: retries, or load that is passed on.
const EXPLAINED: f64 = 0.125;
/// Each further caller that complains of the same callee.
const PER_CALLER: f64 = 0.125;

/// What is earliest is not what follows from something else.
const EARLIEST: f64 = 1.0;

/// Signs of illness that spread from callees to callers.
const SLOW: &[FindingKind] = &[FindingKind::LatencyHigh];
const FAILING: &[FindingKind] = &[FindingKind::ErrorRateHigh];
/// What a caller logs follows from what its callees answer.
const CHANGED: &[FindingKind] =
    &[FindingKind::LogTemplateMissing, FindingKind::LogTemplateNew, FindingKind::LogRate];

type Who = (String, String, String);

#[derive(Default)]
struct Board {
    scores: BTreeMap<Who, (f64, Vec<String>)>,
}

impl Board {
    fn add(&mut self, who: &Who, score: f64, reason: String) {
        let (total, reasons) = self.scores.entry(who.clone()).or_default();
        *total += score;
        reasons.push(reason);
    }

    fn ranked(self) -> Vec<Suspect> {
        let mut ranked: Vec<(Who, (f64, Vec<String>))> = self.scores.into_iter().collect();
        ranked.sort_by(|left, right| right.1.0.total_cmp(&left.1.0).then_with(|| left.0.cmp(&right.0)));
        ranked.truncate(SUSPECTS_MAX);
        (1_u32..)
            .zip(ranked)
            .map(|(rank, ((_, namespace, workload), (score, reasons)))| Suspect {
                workload,
                namespace,
                rank,
                score,
                reasons,
            })
            .collect()
    }
}

/// Ranks the possible causes of what `findings` tell.
pub(crate) fn rank(findings: &[&Finding]) -> Vec<Suspect> {
    let mut board = Board::default();
    blame_sources(findings, &mut board);
    for sign in [SLOW, FAILING, CHANGED] {
        let of_sign: Vec<&Finding> =
            findings.iter().copied().filter(|finding| sign.contains(&finding.kind)).collect();
        blame_depths(&of_sign, &mut board);
        if sign == CHANGED {
            credit_earliest(&of_sign, &mut board);
        }
    }
    blame_quiet_ends(findings, &mut board);
    board.ranked()
}

fn who(endpoint: &Endpoint) -> Who {
    (endpoint.cluster.clone(), endpoint.namespace.clone(), endpoint.workload.clone())
}

/// How much the source's name is worth as an accusation; `None` when it must not be used.
fn trust(finding: &Finding) -> Option<f64> {
    let source = &finding.edge.source;
    let only_claimed = !finding.claimed_principal.is_empty() && source.principal == finding.claimed_principal;
    if source.workload.is_empty() || only_claimed {
        return None;
    }
    match finding.source_identity {
        IdentitySource::MtlsCertificate | IdentitySource::ProxyMetadata => Some(1.0),
        IdentitySource::ParentSpan | IdentitySource::Address => Some(HEARSAY),
        IdentitySource::Header | IdentitySource::None => None,
    }
}

/// Each source once a kind, by the worst finding of that kind.
fn blame_sources(findings: &[&Finding], board: &mut Board) {
    let mut by_kind: BTreeMap<(Who, FindingKind), Vec<&Finding>> = BTreeMap::new();
    for finding in findings.iter().copied().filter(|finding| blame(finding.kind) == Blame::Source) {
        if trust(finding).is_some() {
            by_kind.entry((who(&finding.edge.source), finding.kind)).or_default().push(finding);
        }
    }
    for ((source, kind), of_kind) in by_kind {
        let score = |finding: &&Finding| {
            weight(finding.severity) * trust(finding).unwrap_or(0.0) * unexplained(finding, findings)
        };
        let best = of_kind.iter().map(score).max_by(f64::total_cmp).unwrap_or(0.0);
        board.add(&source, DOING * best, accusation(kind, &of_kind));
    }
}

/// What is left of an accusation after what else explains it: 1 is all.
fn unexplained(finding: &Finding, findings: &[&Finding]) -> f64 {
    if finding.kind != FindingKind::RequestRateHigh {
        return 1.0;
    }
    let (source, destination) = (who(&finding.edge.source), who(&finding.edge.destination));
    let passed_on = findings.iter().any(|other| {
        other.kind == finding.kind && who(&other.edge.destination) == source && other.id != finding.id
    });
    let fails = findings
        .iter()
        .any(|other| other.kind == FindingKind::ErrorRateHigh && who(&other.edge.destination) == destination);
    let few = ratio(finding).is_none_or(|ratio| ratio <= RETRIES_RATIO_MAX);
    if passed_on || (fails && few) { EXPLAINED } else { 1.0 }
}

fn accusation(kind: FindingKind, findings: &[&Finding]) -> String {
    let destinations = several(findings.iter().map(|finding| finding.edge.destination.label()));
    let subjects = several(findings.iter().map(|finding| finding.subject.clone()));
    let what = match kind {
        FindingKind::NewEdge | FindingKind::FanOut => {
            format!("called {destinations}, which it never did before")
        }
        FindingKind::NewEgress => {
            format!("called {destinations}, a host outside the mesh that was never seen")
        }
        FindingKind::NewRoute => format!("asked {destinations} for what it never asked before ({subjects})"),
        FindingKind::PathScan => format!("tried many paths on {destinations}"),
        FindingKind::RequestRateHigh => format!("calls {destinations} far more often than usual"),
        FindingKind::BytesHigh => format!("moves far more bytes to or from {destinations} than usual"),
        FindingKind::Beacon => format!("calls {destinations} at regular intervals"),
        FindingKind::ForgedIdentity => format!("presented a forged identity to {destinations}"),
        FindingKind::MalformedTelemetry => format!("sent {destinations} requests that break telemetry"),
        kind => format!("{} towards {destinations}", kind.name()),
    };
    let best = findings.iter().map(|finding| finding.source_identity).max().unwrap_or_default();
    if best == IdentitySource::MtlsCertificate {
        format!("{what}; its identity is proven by mutual TLS")
    } else if best == IdentitySource::ProxyMetadata {
        what
    } else {
        format!("{what}; its name is hearsay and may be someone else's choice")
    }
}

/// What changed first is no consequence of the rest: the reciprocal of each workload's place in time (rank fusion), those
/// that changed in one window together.
fn credit_earliest(findings: &[&Finding], board: &mut Board) {
    let mut onsets: BTreeMap<Who, EventTime> = BTreeMap::new();
    for finding in findings.iter().filter(|finding| !finding.edge.destination.workload.is_empty()) {
        let onset = onsets.entry(who(&finding.edge.destination)).or_insert(finding.onset);
        *onset = finding.onset.min(*onset);
    }
    let times: BTreeSet<EventTime> = onsets.values().copied().collect();
    if times.len() < 2 {
        return;
    }
    for (place, time) in (1_u32..).zip(times) {
        for (node, _) in onsets.iter().filter(|(_, onset)| **onset == time) {
            let reason = match place {
                1 => "its logs changed before those of others".to_owned(),
                place => format!("its logs changed as number {place}"),
            };
            board.add(node, EARLIEST / f64::from(place), reason);
        }
    }
}

/// The deepest ill callees, then their callers. All findings are of one sign.
fn blame_depths(findings: &[&Finding], board: &mut Board) {
    let ill: BTreeSet<Who> = findings
        .iter()
        .filter(|finding| !finding.edge.destination.workload.is_empty())
        .map(|finding| who(&finding.edge.destination))
        .collect();
    let callers = |node: &Who| -> BTreeSet<Who> {
        findings
            .iter()
            .filter(|finding| {
                who(&finding.edge.destination) == *node && !finding.edge.source.workload.is_empty()
            })
            .map(|finding| who(&finding.edge.source))
            .collect()
    };
    let calls_ill = |node: &Who| {
        findings.iter().any(|finding| {
            who(&finding.edge.source) == *node && ill.contains(&who(&finding.edge.destination)) && {
                // A call to itself does not make its callee the deeper one.
                who(&finding.edge.destination) != *node
            }
        })
    };
    let deepest: BTreeSet<Who> = ill.iter().filter(|node| !calls_ill(node)).cloned().collect();
    // In a circle nobody is deepest: all are.
    let mut layer = if deepest.is_empty() { ill.clone() } else { deepest };
    let mut seen = BTreeSet::new();
    let mut share = 1.0;
    for depth in 0..CALLERS_DEPTH_MAX {
        for node in &layer {
            judge_layer(node, depth, share, callers(node).len(), findings, board);
        }
        seen.extend(layer.iter().cloned());
        layer = layer.iter().flat_map(&callers).filter(|node| !seen.contains(node)).collect();
        share = 1.0 / (share.recip() + 1.0);
        if layer.is_empty() {
            return;
        }
    }
}

fn judge_layer(
    node: &Who,
    depth: usize,
    share: f64,
    callers: usize,
    findings: &[&Finding],
    board: &mut Board,
) {
    let about = |finding: &&&Finding| {
        let end = if depth == 0 { &finding.edge.destination } else { &finding.edge.source };
        who(end) == *node
    };
    let Some(worst) = findings.iter().filter(about).max_by(|left, right| {
        left.severity.cmp(&right.severity).then_with(|| (right.onset, &right.id).cmp(&(left.onset, &left.id)))
    }) else {
        return;
    };
    let (how, well) = match worst.kind {
        FindingKind::LatencyHigh => ("is slow", "is not"),
        FindingKind::ErrorRateHigh => ("is failing", "is not"),
        _ => ("logs otherwise than it did", "does not"),
    };
    let (bonus, reason) = match (depth, callers) {
        (0, 0 | 1) => (0.0, format!("{how}, and what it calls {well}")),
        (0, callers) => {
            let further = u32::try_from(callers - 1).unwrap_or(u32::MAX);
            (
                PER_CALLER * f64::from(further).min(8.0),
                format!("{how} for {callers} callers, and what it calls {well}"),
            )
        }
        _ => (0.0, format!("{how} or suffers because it calls {}", worst.edge.destination.label())),
    };
    board.add(node, (weight(worst.severity) + bonus) * share, reason);
}

/// Other signs of illness name the callee, without looking deeper.
fn blame_quiet_ends(findings: &[&Finding], board: &mut Board) {
    let mut by_kind: BTreeMap<(Who, FindingKind), (f64, EventTime)> = BTreeMap::new();
    for finding in findings {
        let depths = [SLOW, FAILING, CHANGED].iter().any(|sign| sign.contains(&finding.kind));
        let destination = &finding.edge.destination;
        if depths || blame(finding.kind) != Blame::Destination || destination.workload.is_empty() {
            continue;
        }
        let (score, _) = by_kind.entry((who(destination), finding.kind)).or_insert((0.0, finding.onset));
        *score = score.max(weight(finding.severity));
    }
    for ((node, kind), (score, _)) in by_kind {
        board.add(&node, score, format!("shows {}", kind.name()));
    }
}
