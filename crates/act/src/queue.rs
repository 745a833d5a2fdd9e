//! What waits for one sink: bounded by incidents, at most a firing and a resolved state of each. No I/O, no clock.
//!
//! Policy `coalesce`: a newer state of an incident replaces its queued older one, so a sink that was away hears how
//! things are and not how they were. An incident that came and went while the sink was away is still told: its
//! firing state stays in front of its resolved one. Beyond `incidents_max` other incidents are refused.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use selvedge_model::Severity;
use tokio::time::Instant;

use crate::alert::{Alert, AlertStatus};
use crate::ledger::Row;

/// Incidents whose end is still to be told. The correlator keeps 1024 at once; past this the oldest is forgotten.
const ANNOUNCED_MAX: usize = 4_096;

/// One alert that waits, or is being sent.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) row: Row,
    pub(crate) id: String,
    pub(crate) alert: Arc<Alert>,
    pub(crate) attempts: u32,
    /// When it was first tried: retries end a while after.
    pub(crate) since: Option<Instant>,
}

/// What became of an alert that was handed over.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It waits; these older states of the incident do not any more.
    Queued { coalesced: Vec<Waiting> },
    /// Nothing to tell: too mild for this sink, or the end of what was never told here.
    NotForThisSink,
    /// The spool is full.
    Full,
    /// The sink is gone for good, or we are stopping.
    Closed,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send this; it is no longer in the queue.
    Send(Waiting),
    /// Nothing is due before then; `None` when nothing waits.
    Wait(Option<Instant>),
    /// Nothing waits and nothing more will come.
    Done,
}

/// What to do with an alert whose attempt failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Again {
    pub(crate) due: Instant,
    /// Nothing else is tried before then either.
    pub(crate) pause_all: bool,
    /// The sink was away: once it answers again, what failed for that reason need not wait any longer.
    pub(crate) outage: bool,
}

#[derive(Debug)]
struct Slot {
    states: VecDeque<Waiting>,
    due: Instant,
    outage: bool,
}

/// What waits for one sink.
#[derive(Debug)]
pub(crate) struct Queue {
    min_severity: Severity,
    incidents_max: usize,
    slots: BTreeMap<String, Slot>,
    announced: VecDeque<String>,
    paused_until: Option<Instant>,
    open: bool,
    draining: bool,
    refusal_told: bool,
}

impl Queue {
    pub(crate) fn new(min_severity: Severity, incidents_max: usize) -> Self {
        Self {
            min_severity,
            incidents_max,
            slots: BTreeMap::new(),
            announced: VecDeque::new(),
            paused_until: None,
            open: true,
            draining: false,
            refusal_told: false,
        }
    }

    /// Whether this alert is for this sink, and whether there is room.
    pub(crate) fn admit(&self, alert: &Alert) -> Option<Admission> {
        let id = &alert.incident.id;
        let told = match alert.status {
            AlertStatus::Firing => self.min_severity <= alert.incident.severity,
            AlertStatus::Resolved => self.announced.contains(id),
        };
        if !told {
            return Some(Admission::NotForThisSink);
        }
        if !self.open || self.draining {
            return Some(Admission::Closed);
        }
        (!self.slots.contains_key(id) && self.slots.len() >= self.incidents_max).then_some(Admission::Full)
    }

    /// Takes an alert that was admitted.
    pub(crate) fn push(&mut self, waiting: Waiting, now: Instant) -> Admission {
        let id = waiting.alert.incident.id.clone();
        self.announce(&waiting.alert);
        let fresh = Slot { states: VecDeque::new(), due: now, outage: false };
        let slot = self.slots.entry(id).or_insert(fresh);
        let mut coalesced = Vec::new();
        // Firing: whatever waits is old. Resolved: only an older resolved one is; a firing one is still to be told.
        while slot.states.back().is_some_and(|last| supersedes(waiting.alert.status, last.alert.status)) {
            coalesced.extend(slot.states.pop_back());
        }
        slot.states.push_back(waiting);
        Admission::Queued { coalesced }
    }

    /// Takes note of an alert that was delivered before; false when it was not for this sink.
    pub(crate) fn recall(&mut self, alert: &Alert) -> bool {
        let ours = !matches!(self.admit(alert), Some(Admission::NotForThisSink));
        if ours {
            self.announce(alert);
        }
        ours
    }

    /// From now on the end of what fires is to be told, and of what has ended it is not.
    fn announce(&mut self, alert: &Alert) {
        let id = &alert.incident.id;
        self.announced.retain(|other| other != id);
        if alert.status == AlertStatus::Firing {
            if self.announced.len() >= ANNOUNCED_MAX {
                self.announced.pop_front();
            }
            self.announced.push_back(id.clone());
        }
    }

    /// The next thing to do at `now`.
    pub(crate) fn next(&mut self, now: Instant) -> Next {
        let Some((id, slot)) = self
            .slots
            .iter()
            .min_by_key(|(_, slot)| (slot.due, slot.states.front().map(|waiting| waiting.row)))
        else {
            return if self.draining { Next::Done } else { Next::Wait(None) };
        };
        let due = self.paused_until.map_or(slot.due, |paused| paused.max(slot.due));
        if now < due && !self.draining {
            return Next::Wait(Some(due));
        }
        let id = id.clone();
        match self.take(&id) {
            Some(waiting) => Next::Send(waiting),
            None => Next::Wait(None),
        }
    }

    /// True for the first refusal since the last delivery: that one is told, the others are only counted.
    pub(crate) fn first_refusal(&mut self) -> bool {
        !std::mem::replace(&mut self.refusal_told, true)
    }

    /// The sink took one: what waited only because the sink was away is due.
    pub(crate) fn delivered(&mut self, now: Instant) {
        self.refusal_told = false;
        self.paused_until = None;
        for slot in self.slots.values_mut().filter(|slot| slot.outage) {
            slot.outage = false;
            slot.due = now;
        }
    }

    /// Puts an alert back after a failed attempt. Answers it when a newer state has taken its place meanwhile.
    pub(crate) fn put_back(&mut self, waiting: Waiting, again: Again) -> Option<Waiting> {
        if again.pause_all {
            self.paused_until = self.paused_until.max(Some(again.due));
        }
        let id = waiting.alert.incident.id.clone();
        let fresh = || Slot { states: VecDeque::new(), due: again.due, outage: again.outage };
        let slot = self.slots.entry(id).or_insert_with(fresh);
        slot.due = again.due;
        slot.outage = again.outage;
        let newer = slot.states.iter().any(|state| supersedes(state.alert.status, waiting.alert.status));
        if newer {
            return Some(waiting);
        }
        slot.states.push_front(waiting);
        None
    }

    /// Takes nothing more; what waits is tried once more, at once.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining
    }

    /// Takes nothing more, and gives back what waits.
    pub(crate) fn close(&mut self) -> Vec<Waiting> {
        self.open = false;
        std::mem::take(&mut self.slots).into_values().flat_map(|slot| slot.states).collect()
    }

    fn take(&mut self, id: &str) -> Option<Waiting> {
        let slot = self.slots.get_mut(id)?;
        let waiting = slot.states.pop_front();
        if slot.states.is_empty() {
            self.slots.remove(id);
        }
        waiting
    }
}

/// A newer firing state stands for everything before it; a newer resolved one only for another resolved one.
fn supersedes(newer: AlertStatus, older: AlertStatus) -> bool {
    newer == AlertStatus::Firing || newer == older
}

/// How long until `due`, seen from `now`.
pub(crate) fn until(due: Instant, now: Instant) -> Duration {
    due.saturating_duration_since(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{DeliveryLedger, DeliveryStatus, Entry};
    use crate::sample;

    fn waiting(incident: &str, status: AlertStatus, mark: u64) -> Waiting {
        let alert = Arc::new(sample::alert(incident, status));
        let entry =
            Entry { id: "", sink: "", incident_id: incident, alert: status, severity: Severity::High };
        let ledger = DeliveryLedger::default();
        let rows = (0..mark).map(|now| ledger.open(&entry, DeliveryStatus::Pending, now));
        let row = rows.last().unwrap();
        Waiting { row, id: format!("{incident}-{mark}"), alert, attempts: 0, since: None }
    }

    fn push(queue: &mut Queue, incident: &str, status: AlertStatus, mark: u64, now: Instant) -> Vec<String> {
        match queue.push(waiting(incident, status, mark), now) {
            Admission::Queued { coalesced } => coalesced.into_iter().map(|waiting| waiting.id).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn sent(queue: &mut Queue, now: Instant) -> Vec<String> {
        let mut ids = Vec::new();
        while let Next::Send(waiting) = queue.next(now) {
            ids.push(waiting.id);
        }
        ids
    }

    use AlertStatus::{Firing, Resolved};

    #[test]
    fn a_newer_state_replaces_the_queued_older_one_and_the_end_stays_behind_the_beginning() {
        let (mut queue, now) = (Queue::new(Severity::Low, 10), Instant::now());
        assert!(push(&mut queue, "a", Firing, 1, now).is_empty());
        assert_eq!(push(&mut queue, "a", Firing, 2, now), ["a-1"]);
        assert!(push(&mut queue, "b", Firing, 9, now).is_empty());
        assert!(push(&mut queue, "a", Resolved, 3, now).is_empty());
        assert_eq!(sent(&mut queue, now), ["a-2", "a-3", "b-9"]);
        push(&mut queue, "a", Firing, 4, now);
        push(&mut queue, "a", Resolved, 5, now);
        assert_eq!(push(&mut queue, "a", Firing, 6, now), ["a-5", "a-4"]);
        assert_eq!(sent(&mut queue, now), ["a-6"]);
    }

    #[test]
    fn beyond_the_bound_other_incidents_are_refused_and_known_ones_are_not() {
        let (mut queue, now) = (Queue::new(Severity::Low, 2), Instant::now());
        push(&mut queue, "a", Firing, 1, now);
        push(&mut queue, "b", Firing, 1, now);
        assert!(matches!(queue.admit(&sample::alert("c", Firing)), Some(Admission::Full)));
        assert!(queue.admit(&sample::alert("a", Firing)).is_none());
        assert!(queue.admit(&sample::alert("b", Resolved)).is_none());
    }

    #[test]
    fn the_end_is_told_only_where_the_beginning_was() {
        let (mut queue, now) = (Queue::new(Severity::Critical, 2), Instant::now());
        assert!(matches!(queue.admit(&sample::alert("a", Firing)), Some(Admission::NotForThisSink)));
        assert!(matches!(queue.admit(&sample::alert("a", Resolved)), Some(Admission::NotForThisSink)));
        push(&mut queue, "a", Firing, 1, now);
        assert!(queue.admit(&sample::alert("a", Resolved)).is_none());
        push(&mut queue, "a", Resolved, 2, now);
        assert!(matches!(queue.admit(&sample::alert("a", Resolved)), Some(Admission::NotForThisSink)));
    }

    /// Guarantees: after a restart the end of what was told before it is told, once, and what fires is not told again.
    #[test]
    fn the_end_of_what_a_process_before_us_told_is_told() {
        let (mut queue, now) = (Queue::new(Severity::Low, 10), Instant::now());
        assert!(queue.recall(&sample::alert("a", Firing)));
        assert!(queue.recall(&sample::alert("b", Firing)) && queue.recall(&sample::alert("b", Resolved)));
        assert!(!queue.recall(&sample::alert("c", Resolved)), "it was never told that it fires");
        assert!(matches!(queue.next(now), Next::Wait(None)));
        assert!(queue.admit(&sample::alert("a", Resolved)).is_none());
        assert!(matches!(queue.admit(&sample::alert("b", Resolved)), Some(Admission::NotForThisSink)));
    }

    #[test]
    fn a_failed_attempt_waits_and_gives_way_to_a_newer_state() {
        let (mut queue, now) = (Queue::new(Severity::Low, 10), Instant::now());
        let later = now + Duration::from_secs(5);
        let again = Again { due: later, pause_all: false, outage: false };
        push(&mut queue, "a", Firing, 1, now);
        let Next::Send(first) = queue.next(now) else { panic!("nothing to send") };
        assert!(queue.put_back(first, again).is_none());
        assert!(matches!(queue.next(now), Next::Wait(Some(due)) if due == later));
        assert_eq!(push(&mut queue, "a", Firing, 2, now), ["a-1"]);
        assert!(
            matches!(queue.next(now), Next::Wait(Some(due)) if due == later),
            "a newer state is no way around"
        );
        let Next::Send(second) = queue.next(later) else { panic!("nothing to send") };
        push(&mut queue, "a", Firing, 3, later);
        assert_eq!(queue.put_back(second, again).unwrap().id, "a-2");
        assert_eq!(sent(&mut queue, later), ["a-3"]);
    }

    #[test]
    fn a_pause_holds_everything_and_an_answer_ends_an_outage() {
        let (mut queue, now) = (Queue::new(Severity::Low, 10), Instant::now());
        let later = now + Duration::from_secs(60);
        push(&mut queue, "b", Firing, 1, now);
        push(&mut queue, "a", Firing, 2, now);
        let Next::Send(first) = queue.next(now) else { panic!("nothing to send") };
        queue.put_back(first, Again { due: later, pause_all: true, outage: true });
        assert!(matches!(queue.next(now), Next::Wait(Some(due)) if due == later));
        queue.delivered(now);
        assert_eq!(sent(&mut queue, now), ["b-1", "a-2"]);
    }

    #[test]
    fn a_closed_queue_gives_back_what_waits_and_takes_nothing() {
        let (mut queue, now) = (Queue::new(Severity::Low, 10), Instant::now());
        push(&mut queue, "a", Firing, 1, now);
        push(&mut queue, "a", Resolved, 2, now);
        assert_eq!(queue.close().len(), 2);
        assert!(matches!(queue.admit(&sample::alert("b", Firing)), Some(Admission::Closed)));
        queue.drain();
        assert!(matches!(queue.next(now), Next::Done));
    }
}
