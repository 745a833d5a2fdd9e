//! The pipeline's part that decides about quarantines, and takes what people and proxies say of them.

use std::collections::BTreeSet;

use selvedge_join::TickDelta;
use selvedge_learn::Baselines;
use selvedge_model::{EventTime, IncidentStatus, ObservedTime, Quarantine, Severity, SteadyTime};
use selvedge_policy::{CommandError, ContainmentEvent, MeshState, Now, PushReport, TrafficRow};

use super::{Effect, Pipeline};
use crate::containment::{Containment, View};
use crate::router::Router;

impl Pipeline {
    /// What time it is for leases. A replay does not say, and its event time counts.
    pub fn set_clock(&mut self, now: Now) {
        self.clock = Some(now);
    }

    /// Quarantines that a process before us had stored. Before anything else happens.
    pub fn restore(&mut self, stored: Vec<Quarantine>) {
        let now = view(&self.router, &self.baselines, self.clock).now;
        // Incidents that were read again from a journal know what answers them.
        stored.iter().for_each(|quarantine| self.correlator.note_quarantine(quarantine));
        self.containment.restore(stored, now);
    }

    /// All quarantines that are remembered, by id.
    pub fn quarantines(&self) -> impl Iterator<Item = &Quarantine> {
        self.containment.quarantines()
    }

    /// Visits the recent traffic, by minute: what policies are tried on.
    pub fn traffic(&self, visit: &mut dyn FnMut(&TrafficRow)) {
        self.containment.visit(self.router.symbols(), visit);
    }

    /// A person wants a quarantine enforced.
    ///
    /// # Errors
    /// There is no such quarantine, it has ended, or a guard rail that no person may pass stands against it.
    pub fn approve(
        &mut self,
        id: &str,
        who: &str,
        why: &str,
        effects: &mut Vec<Effect>,
    ) -> Result<Quarantine, CommandError> {
        self.contain(effects, |containment, view, events| containment.approve(id, who, why, view.now, events))
    }

    /// A person takes a quarantine back.
    ///
    /// # Errors
    /// There is no such quarantine.
    pub fn lift(
        &mut self,
        id: &str,
        who: &str,
        why: &str,
        effects: &mut Vec<Effect>,
    ) -> Result<Quarantine, CommandError> {
        self.contain(effects, |containment, view, events| containment.lift(id, who, why, view.now, events))
    }

    /// What a push has come to.
    pub fn report(&mut self, report: &PushReport, effects: &mut Vec<Effect>) {
        self.contain(effects, |containment, view, events| containment.report(report, view, events));
    }

    /// Leases run out and proofs fail whether or not telemetry comes.
    pub(super) fn advance_containment(&mut self, effects: &mut Vec<Effect>) {
        self.contain(effects, |containment, view, events| containment.advance(view, events));
    }

    /// Takes what the shards counted since the last time.
    pub(super) fn take(&mut self, deltas: Vec<TickDelta>) {
        self.containment.observe(&deltas, view(&self.router, &self.baselines, self.clock));
        self.windows.merge(deltas, &mut self.stats);
        self.recorder.calls(self.shards.completed());
    }

    /// Decides about the incidents that wait for it.
    pub(super) fn decide(&mut self, now: EventTime, effects: &mut Vec<Effect>) {
        if self.recovering {
            return;
        }
        while let Some(id) = self.containment.next(now) {
            // It may have become part of another one while it waited.
            let Some(incident) = self.correlator.get(&id) else { continue };
            if self.correlator.findings(&id).next().is_none() {
                continue;
            }
            let mesh = self.mesh_state();
            let view = view(&self.router, &self.baselines, self.clock);
            let mut events = Vec::new();
            let findings = self.correlator.findings(&id);
            self.containment.decide(incident, findings, &mesh, view, &mut events);
            self.tell(events, effects);
        }
    }

    fn mesh_state(&self) -> MeshState {
        let open: Vec<_> =
            self.correlator.incidents().filter(|one| one.status == IncidentStatus::Open).collect();
        let deviating: BTreeSet<_> = open
            .iter()
            .filter(|incident| incident.severity > Severity::Low)
            .flat_map(|incident| &incident.edges)
            .collect();
        let edges = self.baselines.edges().count();
        MeshState {
            warm: self.baselines.mesh().warm(),
            open_incidents: open.iter().filter(|incident| incident.severity >= Severity::High).count(),
            // While the mesh is ill as a whole, single edges are told less loudly; nothing is cut then.
            edges_deviating: if self.detector.mesh_is_ill() { edges } else { deviating.len() },
            edges,
        }
    }

    fn contain<T>(
        &mut self,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut Containment, View<'_>, &mut Vec<ContainmentEvent>) -> T,
    ) -> T {
        let mut events = Vec::new();
        let view = view(&self.router, &self.baselines, self.clock);
        let answer = change(&mut self.containment, view, &mut events);
        self.tell(events, effects);
        answer
    }

    fn tell(&mut self, events: Vec<ContainmentEvent>, effects: &mut Vec<Effect>) {
        let at = self.router.frontier();
        for event in events {
            let mut severity = Severity::Info;
            if let ContainmentEvent::Quarantine(_, Some(quarantine)) = &event {
                let incident = self.correlator.answered_by(quarantine);
                severity = incident.map_or(severity, |incident| incident.severity);
                self.correlator.note_quarantine(quarantine);
            }
            effects.push(Effect::Containment { at, severity, event });
        }
    }
}

fn view<'a>(router: &'a Router, baselines: &'a Baselines, clock: Option<Now>) -> View<'a> {
    let frontier: EventTime = router.frontier();
    let now = clock.unwrap_or(Now { steady: SteadyTime(frontier.0), wall: ObservedTime(frontier.0) });
    View { symbols: router.symbols(), baselines, now, frontier }
}
