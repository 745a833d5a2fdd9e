//! Quarantines in the flow: decided when an incident changes, pushed by others, proven by the calls that come after.
//!
//! Keeps the recent traffic that plans are tried on, the ledger of quarantines, and a proof for each that was pushed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem::Discriminant;

use selvedge_join::TickDelta;
use selvedge_learn::{Baselines, Provenance};
use selvedge_model::{
    EdgeKey, EdgeWindow, EventTime, Finding, Incident, IncidentStatus, Progress, Quarantine, Severity,
    SymbolTable, Window,
};
use selvedge_policy::{
    Change, CommandError, ContainmentEvent, Decision, Learned, Ledger, MeshState, Now, PolicyConfig, Proof,
    PushReport, QuarantineEvent, Recent, Refusal, TrafficRow, Verdict, known, respond,
};

/// Refusals remembered as told; past it they are told once more (policy `forget_all`).
const REFUSED_MAX: usize = 4_096;

/// Everything about quarantines between two events.
pub(crate) struct Containment {
    config: PolicyConfig,
    recent: Recent,
    ledger: Ledger,
    proofs: BTreeMap<String, Proof>,
    /// Kinds of reasons that were told, by incident and subject: the same twice are not told twice, whatever their numbers.
    refused: BTreeMap<(String, String), Vec<Discriminant<Refusal>>>,
    /// Incidents to be decided about, the one that waits longest first.
    waiting: VecDeque<String>,
    /// Incidents to be decided about again when a window has closed: some evidence counts only then.
    later: BTreeSet<String>,
    allowance: Allowance,
}

/// What decisions may cost. One tries plans on a day of traffic, on the thread that telemetry waits for, and whoever keeps an
/// incident changing asks for one at each tick: so the first ones are made at once, further ones wait (policy `wait`).
struct Allowance {
    left: u64,
    since: EventTime,
}

impl Allowance {
    /// Decisions that may be made at once.
    const BURST: u64 = 8;
    /// Decisions a second of event time afterwards.
    const PER_SECOND: u64 = 2;

    fn take(&mut self, now: EventTime) -> bool {
        let earned = now.since(self.since).as_secs();
        if earned > 0 {
            self.left = (self.left + earned.saturating_mul(Self::PER_SECOND)).min(Self::BURST);
            self.since = now;
        }
        let any = self.left > 0;
        self.left -= u64::from(any);
        any
    }
}

/// Where decisions look.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) symbols: &'a SymbolTable,
    pub(crate) baselines: &'a Baselines,
    /// On the clocks of leases.
    pub(crate) now: Now,
    /// In event time.
    pub(crate) frontier: EventTime,
}

impl Containment {
    pub(crate) fn new(config: PolicyConfig) -> Self {
        Self {
            recent: Recent::new(config.recent.clone()),
            config,
            ledger: Ledger::new(),
            proofs: BTreeMap::new(),
            refused: BTreeMap::new(),
            waiting: VecDeque::new(),
            later: BTreeSet::new(),
            allowance: Allowance { left: Allowance::BURST, since: EventTime::ABSENT },
        }
    }

    /// The recent traffic, as plain data.
    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Takes over recent traffic that another process knew.
    pub(crate) fn load(&mut self, mut recent: Recent) {
        recent.configure(self.config.recent.clone());
        self.recent = recent;
    }

    /// What a process before us had stored.
    pub(crate) fn restore(&mut self, stored: Vec<Quarantine>, now: Now) {
        self.ledger = Ledger::restore(stored, &self.config, now);
    }

    pub(crate) fn quarantines(&self) -> impl Iterator<Item = &Quarantine> {
        self.ledger.quarantines()
    }

    /// Every row of the recent traffic.
    pub(crate) fn visit(&self, symbols: &SymbolTable, visit: &mut dyn FnMut(&TrafficRow)) {
        self.recent.visit(None, symbols, visit);
    }

    pub(crate) fn overflows(&self) -> selvedge_policy::RecentOverflows {
        self.recent.overflows()
    }

    /// Keeps one edge of a closed window, before it is learned.
    pub(crate) fn learn(
        &mut self,
        window: Window,
        key: &EdgeKey,
        edge: &EdgeWindow,
        flagged: &dyn Fn(&selvedge_model::CallShape) -> bool,
        baselines: &Baselines,
        provenance: Provenance,
    ) {
        let approved = provenance == Provenance::Approved;
        let normal = |shape: &_| approved || (known(baselines, key, shape) && !flagged(shape));
        self.recent.learn(window, key, edge, &normal);
    }

    /// Shows every call to the proofs, once.
    pub(crate) fn observe(&mut self, deltas: &[TickDelta], view: View<'_>) {
        if self.proofs.is_empty() {
            return;
        }
        let usual = |key: &EdgeKey| view.baselines.edge(key).map_or((0, 0), |edge| (edge.calls, edge.failed));
        for ((_, key), edge) in deltas.iter().flat_map(|delta| &delta.edges) {
            for proof in self.proofs.values_mut() {
                proof.observe(key, edge, &usual, &self.config.proof, view.symbols);
            }
        }
    }

    /// Decides about an incident that changed, or whose evidence may have.
    pub(crate) fn decide<'f>(
        &mut self,
        incident: &Incident,
        findings: impl Iterator<Item = &'f Finding>,
        mesh: &MeshState,
        view: View<'_>,
        events: &mut Vec<ContainmentEvent>,
    ) {
        let findings: Vec<&Finding> = findings.collect();
        let Self { ledger, recent, config, .. } = self;
        let knowledge = Learned { symbols: view.symbols, baselines: view.baselines, recent };
        let response = respond(ledger, incident, &findings, &knowledge, config, mesh, view.now);
        for answer in response.answers {
            let subject = answer.candidate.map_or_else(String::new, |candidate| candidate.reason);
            if let Decision::Refuse(reasons) = answer.decision {
                self.refuse(&incident.id, subject, &reasons, events);
            }
        }
        self.tell(response.events, events);
    }

    fn refuse(
        &mut self,
        incident_id: &str,
        subject: String,
        reasons: &[Refusal],
        events: &mut Vec<ContainmentEvent>,
    ) {
        if self.refused.len() >= REFUSED_MAX {
            self.refused.clear();
        }
        let kinds: Vec<_> = reasons.iter().map(std::mem::discriminant).collect();
        let told = self.refused.entry((incident_id.to_owned(), subject.clone())).or_default();
        if *told != kinds {
            *told = kinds;
            let reasons = reasons.iter().map(ToString::to_string).collect();
            events.push(ContainmentEvent::Refused { incident_id: incident_id.to_owned(), subject, reasons });
        }
    }

    /// Notes an incident that changed, when it is grave enough to be decided about.
    pub(crate) fn consider(&mut self, incident: &Incident) {
        if incident.severity >= Severity::High && incident.status == IncidentStatus::Open {
            self.later.insert(incident.id.clone());
            self.wait(incident.id.clone());
        } else {
            self.refused.retain(|(id, _), _| *id != incident.id);
        }
    }

    /// A window has closed: those that changed since the last one did are decided about again.
    pub(crate) fn consider_again(&mut self) {
        std::mem::take(&mut self.later).into_iter().for_each(|id| self.wait(id));
    }

    /// Nobody waits any more: who is still to be decided about is told anew.
    pub(crate) fn forget_waiting(&mut self) {
        self.waiting.clear();
        self.later.clear();
    }

    fn wait(&mut self, id: String) {
        if !self.waiting.contains(&id) {
            self.waiting.push_back(id);
        }
    }

    /// The next incident to be decided about, if one may be.
    pub(crate) fn next(&mut self, now: EventTime) -> Option<String> {
        if self.waiting.is_empty() || !self.allowance.take(now) {
            return None;
        }
        self.waiting.pop_front()
    }

    /// Time passed: leases run out, proofs are judged.
    pub(crate) fn advance(&mut self, view: View<'_>, events: &mut Vec<ContainmentEvent>) {
        let changes = self.ledger.advance(&self.config, view.now);
        self.tell(changes, events);
        let verdicts: Vec<(String, Verdict)> = self
            .proofs
            .iter()
            .map(|(id, proof)| (id.clone(), proof.judge(view.frontier, &self.config.proof)))
            .collect();
        let mut changes = Vec::new();
        for (id, verdict) in verdicts {
            changes.extend(match verdict {
                Verdict::Open => Vec::new(),
                Verdict::Effective => self.ledger.judged(&id, Progress::Effective, view.now),
                Verdict::Ineffective(why) => self.ledger.judged(&id, Progress::Ineffective(why), view.now),
                Verdict::Harm(why) => self.ledger.roll_back(&id, &why, view.now).unwrap_or_default(),
            });
        }
        self.tell(changes, events);
    }

    /// A person wants a quarantine enforced.
    pub(crate) fn approve(
        &mut self,
        id: &str,
        who: &str,
        why: &str,
        now: Now,
        events: &mut Vec<ContainmentEvent>,
    ) -> Result<Quarantine, CommandError> {
        let changes = self.ledger.approve(id, who, why, &self.config, now)?;
        self.tell(changes, events);
        self.get(id)
    }

    /// A person takes a quarantine back.
    pub(crate) fn lift(
        &mut self,
        id: &str,
        who: &str,
        why: &str,
        now: Now,
        events: &mut Vec<ContainmentEvent>,
    ) -> Result<Quarantine, CommandError> {
        let changes = self.ledger.lift(id, who, why, now)?;
        self.tell(changes, events);
        self.get(id)
    }

    fn get(&self, id: &str) -> Result<Quarantine, CommandError> {
        self.ledger.get(id).cloned().ok_or_else(|| CommandError::Unknown { id: id.to_owned() })
    }

    /// What became of a push.
    pub(crate) fn report(&mut self, report: &PushReport, view: View<'_>, events: &mut Vec<ContainmentEvent>) {
        // Records lag behind what they tell of: what is in effect now is seen in calls that start from now on.
        let at = view.frontier.max(EventTime(view.now.wall.0));
        let changes = match report {
            PushReport::Pushed { id } => {
                if let Some(quarantine) = self.ledger.get(id).filter(|one| one.state.live()) {
                    self.proofs.insert(id.clone(), Proof::new(quarantine, at));
                }
                self.ledger.pushed(id, view.now)
            }
            PushReport::Acknowledged { id, nodes, acked } => {
                if *nodes > 0
                    && acked == nodes
                    && let Some(proof) = self.proofs.get_mut(id)
                {
                    proof.acknowledged(at);
                }
                self.ledger.acknowledged(id, *nodes, *acked, view.now)
            }
            PushReport::Rejected { id, by, why } => self.ledger.rejected(id, by, why, view.now),
        };
        self.tell(changes, events);
    }

    fn tell(&mut self, changes: Vec<QuarantineEvent>, events: &mut Vec<ContainmentEvent>) {
        for change in changes {
            let quarantine = self.ledger.get(&change.id);
            // What a dry run showed proves nothing of the deny that follows it.
            let begins_anew = change.change == Change::Enforced;
            if begins_anew || quarantine.is_none_or(|quarantine| !quarantine.state.live()) {
                self.proofs.remove(&change.id);
            }
            events.push(ContainmentEvent::Quarantine(change, quarantine.cloned().map(Box::new)));
        }
    }
}
