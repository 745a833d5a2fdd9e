//! Who may be the cause: ranked by additive scores, each with its reason.
//!
//! Two questions with two answers. *Who did it?* is the source of what leads, if its name can be trusted.
//! *What is ill?* is ranked by what is known of each callee and its callers (`illness.rs`). An identity that was only
//! claimed is never an answer; an empty list is an honest one.

use std::collections::{BTreeMap, BTreeSet};

use selvedge_model::{EventTime, Finding, FindingKind, IdentitySource, Suspect};

use crate::change::VersionChange;
use crate::illness::{self, Ill, Who, is_symptom, who};
use crate::kinds::{Blame, blame, weight};
use crate::title::{ratio, several};

/// Research promises the cause among the first five, not the first (`detection.md` 1.6).
const SUSPECTS_MAX: usize = 5;
/// Doing counts more than suffering: a flood explains the slowness it causes.
const DOING: f64 = 2.0;
/// A name that only a parent span or an address gives can be chosen by others.
const HEARSAY: f64 = 0.25;
/// Retries multiply the load on a failing callee by their number of attempts, seldom more than four; more is a flood.
const RETRIES_RATIO_MAX: f64 = 4.0;
/// A workload that calls on for another may do so by itself: as much of an accusation of its caller is one of it.
const BETWEEN: f64 = 0.5;
/// What is left of a rate's weight when it is explained by something else: retries, or load that is passed on.
const EXPLAINED: f64 = 0.125;

#[derive(Default)]
struct Board {
    scores: BTreeMap<Who, (f64, Vec<String>)>,
}

impl Board {
    fn add(&mut self, who: &Who, score: f64, because: impl IntoIterator<Item = String>) {
        let (total, reasons) = self.scores.entry(who.clone()).or_default();
        *total += score;
        reasons.extend(because);
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

/// Ranks the possible causes of what `findings` tell; `all` are those and what is for the record only, `changes` what was
/// deployed lately.
pub(crate) fn rank(findings: &[&Finding], all: &[&Finding], changes: &[VersionChange]) -> Vec<Suspect> {
    let mut board = Board::default();
    blame_sources(findings, &mut board);
    for Ill { who, score, reasons } in illness::rank(findings, all, changes) {
        board.add(&who, score, reasons);
    }
    blame_quiet_ends(findings, &mut board);
    board.ranked()
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
        board.add(&source, DOING * best, [accusation(kind, &of_kind)]);
        if kind == FindingKind::NewCallPath {
            let between: BTreeSet<Who> =
                of_kind.iter().map(|finding| who(&finding.edge.destination)).collect();
            for between in between {
                let because = format!("made calls for {} that it never made for it", source.2);
                board.add(&between, BETWEEN * DOING * best, [because]);
            }
        }
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
        FindingKind::NewCallPath => {
            format!("its requests go on from {destinations} to {subjects}, where they never went")
        }
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

/// Other signs of illness name the callee, without looking deeper.
fn blame_quiet_ends(findings: &[&Finding], board: &mut Board) {
    let mut by_kind: BTreeMap<(Who, FindingKind), (f64, EventTime)> = BTreeMap::new();
    for finding in findings {
        let ranked = is_symptom(finding.kind);
        let destination = &finding.edge.destination;
        if ranked || blame(finding.kind) != Blame::Destination || destination.workload.is_empty() {
            continue;
        }
        let (score, _) = by_kind.entry((who(destination), finding.kind)).or_insert((0.0, finding.onset));
        *score = score.max(weight(finding.severity));
    }
    for ((node, kind), (score, _)) in by_kind {
        board.add(&node, score, [format!("shows {}", kind.name())]);
    }
}
