//! From an incident to the quarantines that would stop it: the narrowest first, each tried on recent traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use selvedge_model::finding::Family;
use selvedge_model::{
    Caller, Cut, Edge, Endpoint, EventTime, Finding, FindingKind, Incident, Operation, Place, Severity,
};

use crate::attest::{Attested, Doubt, compromises, names, whose};
use crate::backtest::{Trial, backtest_cuts};
use crate::knowledge::{Knowledge, Remembered};
use crate::limits::not_stopped;
use crate::matching::{route_to_cut, same_target, same_workload};
use crate::recent::Scope;
use crate::traffic::TrafficRow;

/// New candidates for one incident; past it those with the least evidence wait until others stand.
const PLANS_MAX: usize = 8;
/// Operations of one cut; past it the cut is not narrowed.
const OPERATIONS_MAX: usize = 16;
/// Hosts of one cut: the first by name.
const HOSTS_MAX: usize = 16;
/// Finding ids kept as evidence of one quarantine: several times what an incident keeps at once, because what was kept
/// must never look new. Past it nothing is (policy `keep_known`), and the lease runs out.
pub(crate) const EVIDENCE_MAX: usize = 1_024;

/// Whose deeds a quarantine answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Whoever holds a principal that callees verified.
    Principal(String),
    /// Somebody who proved no identity.
    Unproven,
    /// A workload, by its own proxy's word about what leaves the mesh.
    OwnProxy,
}

/// A quarantine that could be.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Whose deeds it answers.
    pub subject: Subject,
    /// The workload that it is about: with the subject it tells the candidates of an incident apart.
    pub target: Endpoint,
    /// Workloads that go by the subject: they lose calls.
    pub callers: Vec<Endpoint>,
    /// What would be denied; empty when everything is denied already.
    pub cuts: Vec<Cut>,
    /// What is denied already, by quarantines that stand.
    pub covered: Vec<Cut>,
    /// Ids of the findings that are proven to be the subject's deeds; those that were not are no evidence.
    pub evidence: Vec<String>,
    /// Kinds of evidence among them.
    pub families: BTreeSet<Family>,
    /// How bad those findings are by themselves: what nobody proved makes nobody worse.
    pub severity: Severity,
    /// It would deny what the subject normally does, and nothing says that its identity is in other hands.
    pub established: bool,
    /// What recent traffic says.
    pub trial: Trial,
    /// The same by workload where it is enforced, that of the first cut first.
    pub parts: Vec<Trial>,
    /// One sentence: who is cut from what, and why.
    pub reason: String,
    /// What it does not stop, one sentence each.
    pub not_stopped: Vec<String>,
}

impl Candidate {
    /// What tells it from the others of its incident, whatever it cuts.
    pub(crate) fn key(&self) -> (&Subject, &Endpoint) {
        (&self.subject, &self.target)
    }
}

/// All answers to an incident, most evidence first, and why findings led to none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plans {
    /// Independent of each other, each the narrowest that stops what it answers.
    pub candidates: Vec<Candidate>,
    /// Why findings are nobody's deed, for this purpose.
    pub doubts: BTreeSet<Doubt>,
}

/// Whose deeds findings are, as far as it is proven.
#[derive(Default)]
pub(crate) struct Deeds<'a> {
    /// By principal.
    verified: BTreeMap<String, Case<'a>>,
    /// By callee, of somebody who proved no identity.
    unproven: BTreeMap<Endpoint, Case<'a>>,
    /// By workload, of what leaves the mesh.
    leaving: BTreeMap<Endpoint, Case<'a>>,
    doubts: BTreeSet<Doubt>,
}

/// Findings that are proven to be one subject's deeds.
#[derive(Clone, Default)]
struct Case<'a> {
    findings: Vec<&'a Finding>,
}

/// What would stop an incident. `findings` are its findings, in any order; `standing` is what is denied already. Callers
/// without an identity are cut beside a named one where the record leaves open at most `undecided_max` of the
/// destination's calls, 0 to 1.
#[must_use]
pub fn plans(
    incident: &Incident,
    findings: &[&Finding],
    standing: &[Cut],
    knowledge: &dyn Knowledge,
    undecided_max: f64,
) -> Plans {
    let knowledge = Remembered::new(knowledge);
    plans_for(incident, &Deeds::of(findings, &knowledge), standing, &knowledge, undecided_max)
}

impl<'a> Deeds<'a> {
    pub(crate) fn of(findings: &[&'a Finding], knowledge: &Remembered<'_>) -> Self {
        let mut deeds = Self::default();
        for finding in sorted(findings) {
            match whose(finding, knowledge) {
                Attested::Principal(principal) => push(&mut deeds.verified, principal.to_owned(), finding),
                Attested::Unproven => push(&mut deeds.unproven, bare(&finding.edge.destination), finding),
                Attested::OwnProxy(source) => push(&mut deeds.leaving, bare(source), finding),
                Attested::Nobody(doubt) => drop(deeds.doubts.insert(doubt)),
            }
        }
        deeds
    }
}

/// As [`plans`], when it is known whose deeds the findings are.
pub(crate) fn plans_for(
    incident: &Incident,
    deeds: &Deeds<'_>,
    standing: &[Cut],
    knowledge: &Remembered<'_>,
    undecided_max: f64,
) -> Plans {
    let Deeds { verified, unproven, leaving, doubts } = deeds;
    let planner = Planner { incident, knowledge, standing, undecided_max, leaving };
    let mut candidates: Vec<Candidate> = Vec::new();
    for (principal, case) in verified {
        candidates.extend(planner.against_principal(principal, case));
    }
    candidates.extend(unproven.iter().filter_map(|(callee, case)| planner.against_unproven(callee, case)));
    for (workload, case) in leaving {
        let cut_already = |candidate: &Candidate| {
            candidate.cuts.iter().chain(&candidate.covered).any(|cut| outbound_of(cut, workload))
        };
        if !candidates.iter().any(cut_already) {
            candidates.extend(planner.against_leaving(workload, case));
        }
    }
    let weight = |one: &Candidate| (one.severity, one.families.len(), one.evidence.len());
    candidates
        .sort_by(|left, right| weight(right).cmp(&weight(left)).then_with(|| left.key().cmp(&right.key())));
    let mut room = PLANS_MAX;
    candidates.retain(|candidate| {
        let new = usize::from(!candidate.cuts.is_empty());
        let kept = new <= room;
        room -= if kept { new } else { 0 };
        kept
    });
    Plans { candidates, doubts: doubts.clone() }
}

struct Planner<'a> {
    incident: &'a Incident,
    knowledge: &'a Remembered<'a>,
    standing: &'a [Cut],
    undecided_max: f64,
    leaving: &'a BTreeMap<Endpoint, Case<'a>>,
}

impl Planner<'_> {
    /// One for each destination at which the principal did something by itself.
    fn against_principal(&self, principal: &str, case: &Case<'_>) -> Vec<Candidate> {
        let mut by_callee: BTreeMap<Endpoint, Case<'_>> = BTreeMap::new();
        for finding in case.findings.iter().filter(|finding| names(finding.kind)) {
            push(&mut by_callee, bare(&finding.edge.destination), finding);
        }
        let callers = self.callers(principal, case);
        let stolen = case.findings.iter().any(|finding| compromises(finding));
        let egress = self.egress(principal, &callers);
        let plan = |(callee, here): (&Endpoint, &Case<'_>)| {
            let owner = with_principal(callee, here);
            let whole = inbound(&owner, Caller::Principal(principal.to_owned()), Vec::new());
            let rows = self.rows(std::slice::from_ref(callee), &[]);
            let mut cuts = vec![self.narrowed(whole, here, &rows)];
            cuts.extend(self.plaintext_too(&owner, &rows));
            cuts.extend(egress.clone());
            let established = !stolen && self.hurts(&cuts[..1], &rows) > 0;
            self.candidate(Subject::Principal(principal.to_owned()), &callers, cuts, case, established)
        };
        by_callee.iter().map(plan).collect()
    }

    /// A deny of whoever proves no identity, where somebody got through without one.
    fn against_unproven(&self, callee: &Endpoint, case: &Case<'_>) -> Option<Candidate> {
        case.findings.iter().find(|finding| finding.kind == FindingKind::MtlsDowngrade)?;
        let owner = with_principal(callee, case);
        let rows = self.rows(std::slice::from_ref(callee), &[]);
        let whole = inbound(&owner, Caller::Unauthenticated, Vec::new());
        let cuts = vec![self.narrowed(whole, case, &rows)];
        Some(self.candidate(Subject::Unproven, &[], cuts, case, false))
    }

    /// A deny at the workload's own way out, of hosts that it never called before.
    fn against_leaving(&self, workload: &Endpoint, case: &Case<'_>) -> Option<Candidate> {
        let cut = outbound(workload, case)?;
        let callers = vec![workload.clone()];
        Some(self.candidate(Subject::OwnProxy, &callers, vec![cut], case, false))
    }

    /// `whole`, or only those operations of the deviation that nobody normally asks for, when the whole would hurt.
    fn narrowed(&self, whole: Cut, case: &Case<'_>, rows: &[TrafficRow]) -> Cut {
        if self.hurts(std::slice::from_ref(&whole), rows) == 0 {
            return whole;
        }
        let wanted: BTreeSet<Operation> =
            case.findings.iter().filter_map(|finding| operation(finding)).collect();
        let with = |operations: Vec<Operation>| Cut { operations, ..whole.clone() };
        let harmless =
            wanted.into_iter().filter(|operation| self.hurts(&[with(vec![operation.clone()])], rows) == 0);
        let operations: Vec<Operation> = harmless.collect();
        if operations.is_empty() || operations.len() > OPERATIONS_MAX { whole } else { with(operations) }
    }

    /// Normal calls before the onset that `cuts` would have denied.
    fn hurts(&self, cuts: &[Cut], rows: &[TrafficRow]) -> u64 {
        backtest_cuts(cuts, rows, self.incident.onset).backtest.denied_normal
    }

    /// The same attacker could come without a certificate: denied too, where nobody normally does and the record is
    /// complete enough to say so.
    fn plaintext_too(&self, callee: &Endpoint, rows: &[TrafficRow]) -> Option<Cut> {
        let cut = inbound(callee, Caller::Unauthenticated, Vec::new());
        let trial = backtest_cuts(std::slice::from_ref(&cut), rows, self.incident.onset);
        let open = trial.undecided_share() <= self.undecided_max;
        (trial.backtest.denied_normal == 0 && open && trial.considered_before > 0).then_some(cut)
    }

    /// What leaves the mesh from the workload that goes by `principal`: by its own word, or because it alone holds it.
    fn egress(&self, principal: &str, callers: &[Endpoint]) -> Option<Cut> {
        let holders = self.knowledge.holders(principal);
        self.leaving.iter().find_map(|(workload, case)| {
            let own = case.findings.iter().map(|finding| finding.edge.source.principal.as_str());
            let own = own.filter(|own| !own.is_empty()).collect::<BTreeSet<_>>();
            let alone = own.is_empty() && holders.len() == 1 && same_workload(&holders[0], workload);
            let same = own.iter().all(|own| *own == principal) && !own.is_empty();
            let named = callers.iter().any(|caller| same_workload(caller, workload));
            ((alone || same) && named).then(|| outbound(workload, case)).flatten()
        })
    }

    /// Workloads that go by a principal: those known to, and those that the findings name with it.
    fn callers(&self, principal: &str, case: &Case<'_>) -> Vec<Endpoint> {
        let mut callers: BTreeSet<Endpoint> =
            self.knowledge.holders(principal).iter().map(|holder| with(holder, principal)).collect();
        callers.extend(case.findings.iter().map(|finding| finding.edge.source.clone()));
        callers.into_iter().collect()
    }

    /// Recent traffic to `callees` and from `callers`.
    fn rows(&self, callees: &[Endpoint], callers: &[Endpoint]) -> Rc<[TrafficRow]> {
        let scope = Scope { callees: callees.to_vec(), callers: callers.to_vec() };
        self.knowledge.rows(scope, self.incident.onset)
    }

    fn candidate(
        &self,
        subject: Subject,
        callers: &[Endpoint],
        cuts: Vec<Cut>,
        case: &Case<'_>,
        established: bool,
    ) -> Candidate {
        let target = cuts.first().map(|cut| bare(&cut.workload)).unwrap_or_default();
        let (cuts, covered) = uncovered(cuts, self.standing);
        let place = |place| {
            let of = cuts.iter().filter(|cut| cut.place == place).map(|cut| bare(&cut.workload));
            of.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        let rows = self.rows(&place(Place::Inbound), &place(Place::Outbound));
        let mut trial = backtest_cuts(&cuts, &*rows, self.incident.onset);
        let mut parts: Vec<Trial> = Vec::new();
        for (at, cut) in cuts.iter().enumerate() {
            let here = |other: &Cut| other.place == cut.place && other.workload == cut.workload;
            if !cuts[..at].iter().any(here) {
                let of_workload: Vec<Cut> = cuts.iter().filter(|other| here(other)).cloned().collect();
                parts.push(backtest_cuts(&of_workload, &*rows, self.incident.onset));
            }
        }
        // Rows are sums under their first minute: the store knows the whole span.
        if let Some((from, until)) = self.knowledge.span() {
            (trial.backtest.from_seconds, trial.backtest.until_seconds) = (from, until);
        }
        let reason = reason(&subject, callers, &cuts, self.why(&cuts, case));
        let not_stopped = not_stopped(&subject, callers, &cuts, &rows, self.incident.onset);
        Candidate {
            evidence: case.findings.iter().take(EVIDENCE_MAX).map(|finding| finding.id.clone()).collect(),
            families: case.findings.iter().map(|finding| finding.kind.family()).collect(),
            severity: Severity::of_all(&case.findings),
            callers: callers.to_vec(),
            target,
            subject,
            cuts,
            covered,
            established,
            trial,
            parts,
            reason,
            not_stopped,
        }
    }
    /// The worst finding about what `cuts` deny, else the worst of the case: in words.
    fn why<'b>(&'b self, cuts: &[Cut], case: &'b Case<'_>) -> &'b str {
        let own = || case.findings.iter().copied();
        let beside = self.leaving.values().flat_map(|leaving| leaving.findings.iter().copied());
        let about = |finding: &&Finding| cuts.iter().any(|cut| is_about(finding, cut));
        let worst = |left: &&Finding, right: &&Finding| {
            left.severity.cmp(&right.severity).then_with(|| right.id.cmp(&left.id))
        };
        let why = own().chain(beside).filter(about).max_by(worst).or_else(|| own().max_by(worst));
        why.map_or("", |finding| finding.summary.as_str())
    }
}

/// The request that a finding is about, when it is about one.
fn operation(finding: &Finding) -> Option<Operation> {
    let text = match finding.kind {
        FindingKind::NewRoute => finding.subject.as_str(),
        _ => finding.evidence.iter().find(|fact| fact.name == "route")?.observed.as_str(),
    };
    let (method, route) = text.split_once(' ').unwrap_or(("", text));
    let known = !route.is_empty() && !route.contains("(overflow)");
    let method = if method == "_OTHER" { "" } else { method };
    known.then(|| Operation { method: method.to_owned(), route: route_to_cut(route) })
}

fn reason(subject: &Subject, callers: &[Endpoint], cuts: &[Cut], why: &str) -> String {
    let who = match subject {
        Subject::Principal(principal) => {
            let name = callers.first().map_or_else(|| "an unknown workload".to_owned(), Endpoint::label);
            format!("{name} ({principal}, under any certificate)")
        }
        Subject::Unproven => "callers without an identity".to_owned(),
        Subject::OwnProxy => callers.first().map_or_else(String::new, Endpoint::label),
    };
    let what: BTreeSet<String> = cuts
        .iter()
        .map(|cut| match cut.place {
            Place::Inbound => cut.workload.label(),
            Place::Outbound => cut.hosts.join(", "),
        })
        .collect();
    let what: Vec<String> = what.into_iter().collect();
    format!("cut {who} from {}: {why}", what.join(", "))
}

/// True when the finding tells of something that `cut` denies there.
fn is_about(finding: &Finding, cut: &Cut) -> bool {
    let Edge { source, destination } = &finding.edge;
    match cut.place {
        Place::Inbound => !finding.external && same_workload(destination, &cut.workload),
        Place::Outbound => {
            finding.external
                && same_workload(source, &cut.workload)
                && cut.hosts.contains(&destination.workload)
        }
    }
}

fn inbound(callee: &Endpoint, caller: Caller, operations: Vec<Operation>) -> Cut {
    Cut { place: Place::Inbound, workload: callee.clone(), caller, hosts: Vec::new(), operations }
}

/// The hosts that a workload never called before, cut at its own way out.
fn outbound(workload: &Endpoint, case: &Case<'_>) -> Option<Cut> {
    let new = case.findings.iter().filter(|finding| finding.kind == FindingKind::NewEgress);
    let hosts: BTreeSet<String> = new.map(|finding| finding.edge.destination.workload.clone()).collect();
    let hosts: Vec<String> = hosts.into_iter().take(HOSTS_MAX).collect();
    (!hosts.is_empty()).then(|| Cut {
        place: Place::Outbound,
        workload: workload.clone(),
        caller: Caller::Local,
        hosts,
        operations: Vec::new(),
    })
}

/// What of `cuts` the `standing` ones do not deny yet, and what they do.
fn uncovered(cuts: Vec<Cut>, standing: &[Cut]) -> (Vec<Cut>, Vec<Cut>) {
    let (mut open, mut covered) = (Vec::new(), Vec::new());
    for mut cut in cuts {
        let whole = cut.clone();
        let mut done = false;
        for other in standing.iter().filter(|other| same_target(other, &whole)) {
            if !other.operations.is_empty() && !other.hosts.is_empty() {
                done |= *other == whole;
                continue;
            }
            // An empty list is everything.
            done |= remove(&mut cut.operations, &other.operations) && remove(&mut cut.hosts, &other.hosts);
        }
        if cut != whole || done {
            covered.push(whole);
        }
        if !done {
            open.push(cut);
        }
    }
    (open, covered)
}

/// Removes from `wanted` what is in `there`; true when nothing is left to want.
fn remove<T: PartialEq>(wanted: &mut Vec<T>, there: &[T]) -> bool {
    if there.is_empty() {
        return true;
    }
    if wanted.is_empty() {
        return false;
    }
    let left = wanted.iter().position(|one| !there.contains(one)).is_some();
    if left {
        wanted.retain(|one| !there.contains(one));
    }
    !left
}

fn outbound_of(cut: &Cut, workload: &Endpoint) -> bool {
    cut.place == Place::Outbound && same_workload(&cut.workload, workload)
}

fn sorted<'a>(findings: &[&'a Finding]) -> Vec<&'a Finding> {
    let mut sorted = findings.to_vec();
    sorted.sort_by(|left, right| (left.onset, &left.id).cmp(&(right.onset, &right.id)));
    sorted.dedup_by(|left, right| left.id == right.id);
    sorted
}

fn push<'a, K: Ord>(cases: &mut BTreeMap<K, Case<'a>>, key: K, finding: &'a Finding) {
    cases.entry(key).or_default().findings.push(finding);
}

/// The workload, whatever identity it presents.
fn bare(end: &Endpoint) -> Endpoint {
    Endpoint { principal: String::new(), ..end.clone() }
}

fn with(end: &Endpoint, principal: &str) -> Endpoint {
    Endpoint { principal: principal.to_owned(), ..end.clone() }
}

/// The callee with its principal, where a finding knows it.
fn with_principal(callee: &Endpoint, case: &Case<'_>) -> Endpoint {
    let known = case.findings.iter().map(|finding| finding.edge.destination.principal.as_str());
    with(callee, known.filter(|principal| !principal.is_empty()).min().unwrap_or_default())
}

/// The onset as minutes see it; used where a candidate speaks of what is normal.
pub(crate) fn normal_before(row: &TrafficRow, onset: EventTime) -> bool {
    row.normal && crate::recent::began_by(row.minute_seconds, onset)
}
