//! Guard rails: why a quarantine is refused. All reasons are given, not only the first.

use std::collections::BTreeSet;

use selvedge_model::finding::Family;
use selvedge_model::{Caller, Incident, IncidentStatus, Severity};
use thiserror::Error;

use crate::attest::Doubt;
use crate::backtest::Trial;
use crate::candidates::Candidate;
use crate::config::{PolicyConfig, PolicyMode};

/// Share of calls of which the record may not say whether a cut on a principal denies them. Callees whose records are
/// lost now and then stay below it.
const UNDECIDED_SHARE_MAX: f64 = 0.1;
/// Edges without which a share of them means nothing.
const STORM_EDGES_MIN: usize = 20;

/// Why a quarantine was refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Refusal {
    /// The mode says so.
    #[error("quarantines are off at {workload}")]
    Off {
        /// Where it would be enforced.
        workload: String,
    },
    /// The kill switch is on.
    #[error("the kill switch is on")]
    KillSwitch,
    /// The engine does not know the mesh yet.
    #[error("the mesh is not known yet: nothing is cut while learning")]
    Learning,
    /// The incident is over.
    #[error("the incident is resolved")]
    Resolved,
    /// Not bad enough.
    #[error("what is proven is of severity {}; `high` is needed", severity.name())]
    NotSevere {
        /// The severity of the proven findings.
        severity: Severity,
    },
    /// Too little evidence, or none that says who or that it is new.
    #[error(
        "two kinds of proven evidence are needed, one of them identity or novelty; there is {}",
        kinds(families)
    )]
    Evidence {
        /// Kinds of evidence there are.
        families: BTreeSet<Family>,
    },
    /// It would deny what the caller normally does.
    #[error(
        "it would deny {denied_normal} calls that the caller normally makes; established calls are not cut on this evidence"
    )]
    Established {
        /// Normal calls denied.
        denied_normal: u64,
    },
    /// Nobody's identity is proven well enough.
    #[error("nobody can be cut: {}", texts(doubts))]
    NobodyProven {
        /// Why its findings name nobody.
        doubts: BTreeSet<Doubt>,
    },
    /// A workload that must never be cut.
    #[error("{workload} is protected by `{pattern}`")]
    Protected {
        /// The workload.
        workload: String,
        /// The pattern.
        pattern: String,
    },
    /// Too many are live.
    #[error("{active} quarantines are live; at most {active_max} may be")]
    ActiveMax {
        /// How many are.
        active: usize,
        /// How many may be.
        active_max: usize,
    },
    /// Too many wait for a person.
    #[error("{proposed} proposals wait; at most {proposed_max} may")]
    ProposedMax {
        /// How many do.
        proposed: usize,
        /// How many may.
        proposed_max: usize,
    },
    /// Too many within an hour.
    #[error("{granted} leases were granted within the hour; at most {per_hour_max} may be")]
    RateLimit {
        /// How many were.
        granted: usize,
        /// How many may be.
        per_hour_max: usize,
    },
    /// It would deny too many normal calls.
    #[error("it would deny {} % of normal calls; at most {} % may be", percent(*share), percent(*share_max))]
    BlastRadius {
        /// Share of denied normal calls, 0 to 1.
        share: f64,
        /// Largest allowed.
        share_max: f64,
    },
    /// It would hurt too many callers.
    #[error("it would deny normal calls of {callers} callers; at most {callers_max} may be hurt")]
    CallersHarmed {
        /// How many it would hurt.
        callers: u64,
        /// How many it may.
        callers_max: u64,
    },
    /// The record does not say enough.
    #[error("of {} % of calls the record does not say whether it would deny them; at most {} % may be open", percent(*share), percent(*share_max))]
    Undecided {
        /// Share of undecided calls, 0 to 1.
        share: f64,
        /// Largest allowed.
        share_max: f64,
    },
    /// Nothing to try it on.
    #[error("{calls} calls before the onset are too few to try it on; {calls_min} are needed")]
    NoTraffic {
        /// How many there are.
        calls: u64,
        /// How many are needed.
        calls_min: u64,
    },
    /// Something else than an intruder is wrong.
    #[error("the whole mesh deviates: {what}")]
    Storm {
        /// What says so.
        what: String,
    },
    /// It was there before, and is over.
    #[error("{id} was the same and has ended: {ended}")]
    Ended {
        /// Its id.
        id: String,
        /// Why it ended.
        ended: String,
    },
    /// There is nothing to stop at a proxy.
    #[error("no cut would stop it")]
    NoCut,
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

fn texts(doubts: &BTreeSet<Doubt>) -> String {
    if doubts.is_empty() {
        return "no finding is about a caller's deed".to_owned();
    }
    doubts.iter().map(|doubt| doubt.text()).collect::<Vec<_>>().join("; ")
}

fn kinds(families: &BTreeSet<Family>) -> String {
    let names: Vec<String> = families.iter().map(|family| format!("{family:?}").to_lowercase()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// How the mesh is, beside the incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeshState {
    /// It is known well enough to call something new.
    pub warm: bool,
    /// Open incidents of severity high or worse, this one included.
    pub open_incidents: usize,
    /// Edges that open incidents are about.
    pub edges_deviating: usize,
    /// Edges known.
    pub edges: usize,
}

/// How many quarantines there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Live ones.
    pub active: usize,
    /// Those that wait for a person.
    pub proposed: usize,
    /// Leases granted by the engine within the last hour.
    pub granted: usize,
}

/// The mode for a candidate: the least bold of all workloads where it would be enforced.
#[must_use]
pub fn mode_of(candidate: &Candidate, config: &PolicyConfig) -> PolicyMode {
    candidate.cuts.iter().map(|cut| config.mode_at(&cut.workload)).min().unwrap_or(PolicyMode::Off)
}

/// Every reason against a candidate; none means that it may go as far as its mode says.
#[must_use]
pub fn refusals(
    candidate: &Candidate,
    incident: &Incident,
    config: &PolicyConfig,
    mesh: &MeshState,
    load: &Load,
) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    about_mesh(incident, config, mesh, &mut refusals);
    about_load(candidate, config, load, &mut refusals);
    about_evidence(candidate, incident, &mut refusals);
    about_targets(candidate, config, &mut refusals);
    about_harm(candidate, config, &mut refusals);
    refusals
}

fn about_mesh(incident: &Incident, config: &PolicyConfig, mesh: &MeshState, refusals: &mut Vec<Refusal>) {
    if config.kill_switch {
        refusals.push(Refusal::KillSwitch);
    }
    if !mesh.warm {
        refusals.push(Refusal::Learning);
    }
    if incident.status == IncidentStatus::Resolved {
        refusals.push(Refusal::Resolved);
    }
    if mesh.open_incidents > config.storm_incidents_max {
        let what = format!("{} incidents of high severity are open", mesh.open_incidents);
        refusals.push(Refusal::Storm { what });
    }
    let share = ratio(mesh.edges_deviating, mesh.edges);
    if mesh.edges >= STORM_EDGES_MIN && share > config.storm_edges_share_max {
        let what = format!("{} of {} edges", mesh.edges_deviating, mesh.edges);
        refusals.push(Refusal::Storm { what });
    }
}

fn about_load(candidate: &Candidate, config: &PolicyConfig, load: &Load, refusals: &mut Vec<Refusal>) {
    let off = candidate.cuts.iter().filter(|cut| config.mode_at(&cut.workload) == PolicyMode::Off);
    let off: BTreeSet<String> = off.map(|cut| cut.workload.label()).collect();
    refusals.extend(off.into_iter().map(|workload| Refusal::Off { workload }));
    let mode = mode_of(candidate, config);
    if mode >= PolicyMode::Shadow && load.active >= config.active_max {
        refusals.push(Refusal::ActiveMax { active: load.active, active_max: config.active_max });
    }
    if mode >= PolicyMode::Shadow && load.granted >= config.per_hour_max {
        refusals.push(Refusal::RateLimit { granted: load.granted, per_hour_max: config.per_hour_max });
    }
    if mode == PolicyMode::Propose && load.proposed >= config.proposed_max {
        refusals.push(Refusal::ProposedMax { proposed: load.proposed, proposed_max: config.proposed_max });
    }
}

fn about_evidence(candidate: &Candidate, incident: &Incident, refusals: &mut Vec<Refusal>) {
    if candidate.cuts.is_empty() {
        refusals.push(Refusal::NoCut);
    }
    let severity = candidate.severity.min(incident.severity);
    if severity < Severity::High {
        refusals.push(Refusal::NotSevere { severity });
    }
    let families = &candidate.families;
    let tells = families.contains(&Family::Identity) || families.contains(&Family::Novelty);
    if families.len() < 2 || !tells {
        refusals.push(Refusal::Evidence { families: families.clone() });
    }
    if candidate.established {
        refusals.push(Refusal::Established { denied_normal: candidate.trial.backtest.denied_normal });
    }
}

fn about_targets(candidate: &Candidate, config: &PolicyConfig, refusals: &mut Vec<Refusal>) {
    let mut seen = BTreeSet::new();
    let targets = candidate.cuts.iter().map(|cut| &cut.workload).chain(&candidate.callers);
    for target in targets.filter(|target| seen.insert(target.label())) {
        if let Some(pattern) = config.protects(target) {
            refusals.push(Refusal::Protected { workload: target.label(), pattern: pattern.to_owned() });
        }
    }
}

fn about_harm(candidate: &Candidate, config: &PolicyConfig, refusals: &mut Vec<Refusal>) {
    // Of what comes beside the first cut the backtest was asked before it was added.
    let calls = candidate.parts.first().map_or(0, |part| part.considered_before);
    if calls < config.backtest_calls_min {
        refusals.push(Refusal::NoTraffic { calls, calls_min: config.backtest_calls_min });
    }
    // By workload: the traffic of one must not hide what another loses.
    let worst = |share: fn(&Trial) -> f64| candidate.parts.iter().map(share).fold(0.0, f64::max);
    let (share, share_max) = (worst(Trial::harm_share), config.blast_radius_max);
    if share > share_max {
        refusals.push(Refusal::BlastRadius { share, share_max });
    }
    let (callers, callers_max) = (candidate.trial.callers_harmed, config.callers_harmed_max);
    if callers > callers_max {
        refusals.push(Refusal::CallersHarmed { callers, callers_max });
    }
    // Who proves nothing and who is not recorded look alike.
    let bare = candidate.cuts.iter().any(|cut| cut.caller == Caller::Unauthenticated);
    let share_max = if bare { config.blast_radius_max } else { UNDECIDED_SHARE_MAX };
    let share = worst(Trial::undecided_share);
    if share > share_max {
        refusals.push(Refusal::Undecided { share, share_max });
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share of edges")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
