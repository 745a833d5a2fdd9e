//! Lateral movement over several hops: how often an incident names the attacker within an hour, and what novelty costs in
//! quiet weeks of the same meshes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use selvedge_model::finding::Family;
use selvedge_model::{EdgeKey, EventTime, Finding, Incident, Severity, Symbol};
use selvedge_simulate::{Attack, Cover, Ground, Scenario};

use crate::Args;
use crate::rig::DAY;
use crate::shaped::{Shaped, Told};
use crate::table::{line, progress, rate, share};

/// A scenario happens to a copy of the mesh and of all that judges it, this long after the copy was made; the mesh itself
/// goes on for as long without.
const QUIET: Duration = Duration::from_hours(2);
/// How long an attacker takes at most for all hops.
const LENGTH: Duration = Duration::from_mins(40);
/// Found in time is within this of the first hop.
const IN_TIME: Duration = Duration::from_hours(1);
/// The attacker must be among so many suspects.
const SUSPECTS: usize = 3;
/// Hops of scenarios, in turn.
const HOPS: [usize; 3] = [2, 3, 4];
/// From a warning on, and from a page on.
const LEVELS: [Severity; 2] = [Severity::Medium, Severity::High];

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) scenarios: u64,
    pub(crate) cover: bool,
    pub(crate) known: bool,
}

/// Found at both levels, with the delay; `anybody`: some compromised workload is among the first suspects.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    foothold: [Option<Duration>; 2],
    anybody: [bool; 2],
}

/// Novelty of quiet weeks: incidents that reached a level by it.
#[derive(Default)]
struct Quiet {
    incidents: [BTreeSet<String>; 2],
    kinds: BTreeMap<(Severity, &'static str), BTreeSet<String>>,
}

/// Prints the table. False when surely fewer are found than the goal says.
pub(crate) fn run(args: &Args, plan: Plan) -> bool {
    let mut found: Vec<(usize, Found)> = Vec::new();
    let mut quiet = Quiet::default();
    for mesh in 0..args.meshes {
        let mut shaped = Shaped::new(args, mesh);
        let days = |count: u64| DAY * u32::try_from(count).unwrap_or(u32::MAX);
        let measured = shaped.mesh.now().after(days(7 * args.warm_weeks));
        shaped.until(measured, &mut |_, _| {});
        let prefix = format!("{mesh}/");
        let mut mine = Quiet::default();
        shaped.until(measured.after(days(7 * args.weeks)), &mut |shaped, told| mine.look(shaped, told));
        quiet.take(mine, &prefix);
        let wanted = (plan.scenarios * (mesh + 1) / args.meshes) - (plan.scenarios * mesh / args.meshes);
        for nth in 0..wanted {
            let hops = HOPS[usize::try_from(nth).unwrap_or(0) % HOPS.len()];
            let mut copy = shaped.clone();
            copy.signals.vary_attacks(1_000 * (args.seed + mesh) + nth);
            found.extend(scenario(&mut copy, plan, hops).map(|one| (hops, one)));
            shaped.until(shaped.mesh.now().after(QUIET), &mut |_, _| {});
        }
        progress(&format!("seed {}: {} scenarios so far", args.seed + mesh, found.len()));
    }
    print(args, plan, &found, &quiet)
}

fn scenario(shaped: &mut Shaped, plan: Plan, hops: usize) -> Option<Found> {
    let start = shaped.mesh.now().after(QUIET);
    let over = if plan.known { Ground::KnownEdges } else { Ground::NewEdges };
    let cover = if plan.cover { Cover::EveryHop } else { Cover::None };
    let attack = Attack::LateralMovement { hops, over, cover };
    let place = shaped.signals.attack(&mut shaped.mesh, attack, start, LENGTH)?;
    let scenario = shaped.signals.scenarios()[place].clone();
    let until = scenario.hops.first().copied().unwrap_or(scenario.start).after(IN_TIME);
    let mut found = Found::default();
    let mut ours: BTreeSet<EdgeKey> = BTreeSet::new();
    shaped.until(scenario.end.max(until), &mut |shaped, told| {
        if scenario.start < told.window.end && told.window.start < until {
            ours.extend(shaped.used_by(place));
            for change in &told.changes {
                if let Some(incident) = shaped.correlator.get(change.id()) {
                    found.look(shaped, (incident, &ours), &scenario, told.window.end);
                }
            }
        }
    });
    if found.foothold[0].is_none() {
        progress(&format!("  missed: {:?} from {:?}, {} edges", scenario.attack, scenario.path, ours.len()));
    }
    Some(found)
}

impl Found {
    /// Looks at an incident that holds a finding of one of the attacker's edges.
    fn look(
        &mut self,
        shaped: &Shaped,
        of: (&Incident, &BTreeSet<EdgeKey>),
        scenario: &Scenario,
        now: EventTime,
    ) {
        let (incident, ours) = of;
        let symbols = shaped.signals.symbols();
        let labels: BTreeSet<(String, String)> = ours
            .iter()
            .map(|key| key.edge(Symbol::NONE, Symbol::NONE, symbols))
            .map(|edge| (edge.source.label(), edge.destination.label()))
            .collect();
        let of_attack = |finding: &Finding| {
            scenario.start <= finding.detected
                && labels.contains(&(finding.edge.source.label(), finding.edge.destination.label()))
        };
        if !shaped.correlator.findings(&incident.id).any(of_attack) {
            return;
        }
        let services = shaped.mesh.services();
        let first: Vec<&str> =
            incident.suspects.iter().take(SUSPECTS).map(|suspect| suspect.workload.as_str()).collect();
        let suspected = |service: &usize| first.contains(&services[*service].as_str());
        let moving = scenario.path.len().saturating_sub(1);
        for (at, level) in LEVELS.into_iter().enumerate() {
            if incident.severity < level {
                continue;
            }
            self.anybody[at] |= scenario.path[..moving].iter().any(suspected);
            if self.foothold[at].is_none() && scenario.path.first().is_some_and(suspected) {
                self.foothold[at] = Some(now.since(scenario.start));
            }
        }
    }
}

impl Quiet {
    fn look(&mut self, shaped: &Shaped, told: &Told) {
        let new = |finding: &&Finding| matches!(finding.kind.family(), Family::Novelty | Family::Boundary);
        for finding in told.findings.iter().filter(new) {
            let edge = format!(
                "{} -> {} {}",
                finding.edge.source.label(),
                finding.edge.destination.label(),
                finding.subject
            );
            self.kinds.entry((finding.severity, finding.kind.name())).or_default().insert(edge);
        }
        for change in &told.changes {
            let Some(incident) = shaped.correlator.get(change.id()) else { continue };
            for (at, level) in LEVELS.into_iter().enumerate() {
                let by_novelty = |finding: &Finding| new(&finding) && finding.severity >= level;
                if incident.severity >= level && shaped.correlator.findings(&incident.id).any(by_novelty) {
                    self.incidents[at].insert(incident.id.clone());
                }
            }
        }
    }

    fn take(&mut self, other: Self, prefix: &str) {
        for (mine, theirs) in self.incidents.iter_mut().zip(other.incidents) {
            mine.extend(theirs.into_iter().map(|id| format!("{prefix}{id}")));
        }
        for (kind, theirs) in other.kinds {
            let mine = self.kinds.entry(kind).or_default();
            mine.extend(theirs.into_iter().map(|subject| format!("{prefix}{subject}")));
        }
    }
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn print(args: &Args, plan: Plan, found: &[(usize, Found)], quiet: &Quiet) -> bool {
    let weeks = (args.weeks * args.meshes) as f64;
    line(&format!(
        "| lateral movement{}{} | {} edges, seeds {}-{}, windows of {} s, {} weeks learned |",
        if plan.known { " over known edges" } else { "" },
        if plan.cover { ", a deployment as cover of each hop" } else { "" },
        args.edges,
        args.seed,
        args.seed + args.meshes - 1,
        args.window,
        args.warm_weeks
    ));
    line("|---|---|");
    let mut good = true;
    for (at, name) in ["warned", "paged"].into_iter().enumerate() {
        let of = |hops: Option<usize>| {
            let chosen: Vec<&Found> = found
                .iter()
                .filter(|(of, _)| hops.is_none_or(|hops| *of == hops))
                .map(|(_, one)| one)
                .collect();
            (count(chosen.iter().filter(|one| one.foothold[at].is_some()).count()), count(chosen.len()))
        };
        let (hits, all) = of(None);
        let mut delays: Vec<f64> =
            found.iter().filter_map(|(_, one)| one.foothold[at]).map(|delay| delay.as_secs_f64()).collect();
        let median =
            crate::table::percentile(&mut delays, 0.5).map_or("-".to_owned(), |delay| format!("{delay:.0}"));
        let by: Vec<String> = HOPS
            .map(|hops| {
                let (hits, all) = of(Some(hops));
                format!("{hops} hops {hits}/{all}")
            })
            .to_vec();
        let anybody = found.iter().filter(|(_, one)| one.anybody[at]).count();
        line(&format!(
            "| {name} within the hour, the first attacker among the first three | {} ({}), median {median} s; any attacker {anybody} |",
            share(hits, all),
            by.join(", ")
        ));
        let goal = if plan.cover { 0.6 } else { 0.9 };
        good &= at > 0 || plan.known || crate::table::binomial_interval(hits, all).1 >= goal;
    }
    if args.weeks == 0 {
        return good;
    }
    for (at, name) in ["warnings", "pages"].into_iter().enumerate() {
        line(&format!(
            "| quiet weeks: incidents with {name} of novelty, a week | {} in {weeks} weeks: {} |",
            quiet.incidents[at].len(),
            rate(count(quiet.incidents[at].len()), weeks)
        ));
    }
    let kinds: Vec<String> = quiet
        .kinds
        .iter()
        .rev()
        .map(|((severity, kind), edges)| format!("{} {kind} {}", severity.name(), edges.len()))
        .collect();
    line(&format!("| quiet weeks: edges and routes told | {} |", kinds.join(", ")));
    good
}
