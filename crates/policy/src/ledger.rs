//! The life of every quarantine: decided, approved, pushed, proven, renewed, and ended. No I/O: each change is returned
//! as an event, for the audit log to write and the driver to push.
//!
//! Every command may be given twice, and two may be given at once: what has ended stays ended, and what is done already
//! changes nothing and says nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use selvedge_model::{Cut, Incident, Progress, Quarantine, QuarantineState, SteadyTime};

use crate::candidates::{Candidate, EVIDENCE_MAX};
use crate::config::{PolicyConfig, PolicyMode};
use crate::guard::{Load, MeshState, Refusal, mode_of, refusals};
use crate::lease::{Lease, Now};
use crate::lifecycle::{Change, CommandError, Decision, ENGINE, QuarantineEvent, event, quarantine_id};
use crate::matching::{overlap, same_target};
use crate::proof::NOT_TAKEN;

/// What the end of a quarantine that did harm begins with.
const HARM: &str = "harm: ";
const HOUR: Duration = Duration::from_hours(1);
/// Grants remembered: more than anybody would allow within an hour.
const GRANTS_MAX: usize = 1_024;

#[derive(Clone)]
struct Entry {
    quarantine: Quarantine,
    /// Of a live one its lease; of a proposed one how long it waits.
    lease: Lease,
    /// When the dry run began.
    shadow: Option<Lease>,
    /// It is ineffective because a proxy has not taken it; proxies may yet.
    untaken: bool,
}

/// All quarantines. Bounded: live and proposed ones by the guard rails, ended ones by `ended_max` (policy `oldest`).
#[derive(Clone)]
pub struct Ledger {
    entries: BTreeMap<String, Entry>,
    ended: VecDeque<String>,
    grants: VecDeque<SteadyTime>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// A ledger without entries.
    #[must_use]
    pub fn new() -> Self {
        Self { entries: BTreeMap::new(), ended: VecDeque::new(), grants: VecDeque::new() }
    }

    /// What was stored, as it is now: see the lease for what the clocks mean to it. What had been sent has to be sent
    /// again, because proxies may have forgotten or replaced it.
    #[must_use]
    pub fn restore(stored: Vec<Quarantine>, config: &PolicyConfig, now: Now) -> Self {
        let mut ledger = Self::new();
        let mut stored = stored;
        stored.sort_by(|left, right| (left.created, &left.id).cmp(&(right.created, &right.id)));
        for mut quarantine in stored {
            let ttl = Duration::from_secs(quarantine.ttl_seconds);
            let lease = match quarantine.expires {
                Some(expires) => Lease::restored(now, expires, ttl),
                None => {
                    Lease::restored(now, quarantine.created.after(config.proposal_ttl), config.proposal_ttl)
                }
            };
            if quarantine.state.live() {
                quarantine.progress = Progress::Planned;
                quarantine.expires = Some(lease.expires(now));
                let age = Duration::from_nanos(now.wall.0.saturating_sub(quarantine.created.0));
                if quarantine.owner == ENGINE && age < HOUR && ledger.grants.len() < GRANTS_MAX {
                    ledger.grants.push_back(now.steady);
                }
            }
            if quarantine.state.ended() {
                ledger.ended.push_back(quarantine.id.clone());
            }
            let shadow = promotes(&quarantine, config).then(|| Lease::granted(now, config.shadow_for));
            ledger.entries.insert(quarantine.id.clone(), Entry { quarantine, lease, shadow, untaken: false });
        }
        ledger
    }

    /// All, by id.
    pub fn quarantines(&self) -> impl Iterator<Item = &Quarantine> {
        self.entries.values().map(|entry| &entry.quarantine)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Quarantine> {
        self.entries.get(id).map(|entry| &entry.quarantine)
    }

    /// What is denied or proposed to be.
    #[must_use]
    pub fn standing(&self) -> Vec<Cut> {
        let standing = self.quarantines().filter(|quarantine| !quarantine.state.ended());
        standing.flat_map(|quarantine| quarantine.cuts.iter().cloned()).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn load(&self, now: Now) -> Load {
        Load {
            active: self.quarantines().filter(|quarantine| quarantine.state.live()).count(),
            proposed: self.quarantines().filter(|one| one.state == QuarantineState::Proposed).count(),
            granted: self.grants.iter().filter(|at| now.steady.since(**at) < HOUR).count(),
        }
    }

    /// Decides about a candidate: one decision for each incident and cuts, however often it is asked.
    pub fn decide(
        &mut self,
        incident: &Incident,
        candidate: &Candidate,
        config: &PolicyConfig,
        mesh: &MeshState,
        now: Now,
    ) -> (Decision, Vec<QuarantineEvent>) {
        let (standing, mut events) = self.add_evidence(candidate, config, now);
        if candidate.cuts.is_empty() && !standing.is_empty() {
            return (Decision::Standing(standing), events);
        }
        let mut against = refusals(candidate, incident, config, mesh, &self.load(now));
        against.extend(self.ended_alike(incident, candidate));
        if !against.is_empty() {
            return (Decision::Refuse(against), events);
        }
        let (state, change) = match mode_of(candidate, config) {
            PolicyMode::Off | PolicyMode::Propose => (QuarantineState::Proposed, Change::Proposed),
            PolicyMode::Shadow => (QuarantineState::Shadow, Change::Shadowed),
            PolicyMode::Enforce if !config.shadow_for.is_zero() => {
                (QuarantineState::Shadow, Change::Shadowed)
            }
            PolicyMode::Enforce => (QuarantineState::Enforced, Change::Enforced),
        };
        let id = self.add(incident, candidate, state, config, now);
        events.push(event(&id, change, ENGINE, &candidate.reason, now));
        let decision = match state {
            QuarantineState::Shadow => Decision::Shadow(id),
            QuarantineState::Enforced => Decision::Enforce(id),
            _ => Decision::Propose(id),
        };
        (decision, events)
    }

    fn add(
        &mut self,
        incident: &Incident,
        candidate: &Candidate,
        state: QuarantineState,
        config: &PolicyConfig,
        now: Now,
    ) -> String {
        let id = quarantine_id(&incident.id, &candidate.cuts);
        let lease = if state.live() {
            self.grants.push_back(now.steady);
            let surplus = self.grants.len().saturating_sub(GRANTS_MAX);
            self.grants.drain(..surplus);
            Lease::granted(now, config.ttl)
        } else {
            Lease::granted(now, config.proposal_ttl)
        };
        let quarantine = Quarantine {
            id: id.clone(),
            incident_id: incident.id.clone(),
            cuts: candidate.cuts.clone(),
            state,
            progress: Progress::Planned,
            reason: candidate.reason.clone(),
            evidence: candidate.evidence.clone(),
            not_stopped: candidate.not_stopped.clone(),
            backtest: candidate.trial.backtest.clone(),
            owner: ENGINE.to_owned(),
            created: now.wall,
            ttl_seconds: config.ttl.as_secs(),
            expires: state.live().then(|| lease.expires(now)),
            renewals: 0,
            ended: String::new(),
        };
        let shadow = promotes(&quarantine, config).then(|| Lease::granted(now, config.shadow_for));
        self.entries.insert(id.clone(), Entry { quarantine, lease, shadow, untaken: false });
        id
    }

    /// Why the same, or part of it, was taken back before: by a person or by its lease for this incident or one that it
    /// took in, by harm for any. What has ended is never written over, either.
    fn ended_alike(&self, incident: &Incident, candidate: &Candidate) -> Option<Refusal> {
        let id = quarantine_id(&incident.id, &candidate.cuts);
        let alike = self.quarantines().filter(|other| other.state.ended()).find(|other| {
            let taken_in = incident.quarantines.iter().any(|known| known.id == other.id);
            let answers = other.incident_id == incident.id || taken_in || other.ended.starts_with(HARM);
            let again = |cut: &Cut| candidate.cuts.iter().any(|new| overlap(cut, new));
            other.id == id || (answers && other.cuts.iter().any(again))
        })?;
        Some(Refusal::Ended { id: alike.id.clone(), ended: alike.ended.clone() })
    }

    /// Gives a candidate's evidence to the quarantines that deny part of it already.
    fn add_evidence(
        &mut self,
        candidate: &Candidate,
        config: &PolicyConfig,
        now: Now,
    ) -> (Vec<String>, Vec<QuarantineEvent>) {
        let denies = |quarantine: &Quarantine| {
            let alike = |cut: &Cut| candidate.covered.iter().any(|covered| same_target(covered, cut));
            !quarantine.state.ended() && quarantine.cuts.iter().any(alike)
        };
        let ids: Vec<String> =
            self.quarantines().filter(|one| denies(one)).map(|one| one.id.clone()).collect();
        let mut events = Vec::new();
        for id in &ids {
            events.extend(self.renew(id, &candidate.evidence, config, now).unwrap_or_default());
        }
        (ids, events)
    }

    /// New evidence for a quarantine. A live one whose lease is in its second half is renewed by it, as often as is
    /// allowed. Known evidence renews nothing.
    ///
    /// # Errors
    /// There is no such quarantine, or it has ended.
    pub fn renew(
        &mut self,
        id: &str,
        evidence: &[String],
        config: &PolicyConfig,
        now: Now,
    ) -> Result<Vec<QuarantineEvent>, CommandError> {
        let entry = self.open(id)?;
        let known = &mut entry.quarantine.evidence;
        let room = EVIDENCE_MAX.saturating_sub(known.len());
        let new: Vec<&String> = evidence.iter().filter(|one| !known.contains(one)).take(room).collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let count = new.len();
        known.extend(new.into_iter().cloned());
        let ttl = Duration::from_secs(entry.quarantine.ttl_seconds);
        let late = entry.lease.left(now) <= ttl / 2;
        let allowed = entry.quarantine.renewals < config.renewals_max && !config.kill_switch;
        if !entry.quarantine.state.live() || !late || !allowed || entry.lease.over(now) {
            return Ok(Vec::new());
        }
        entry.lease = Lease::granted(now, ttl);
        entry.quarantine.expires = Some(entry.lease.expires(now));
        entry.quarantine.renewals += 1;
        Ok(vec![event(id, Change::Renewed, ENGINE, &format!("{count} new findings"), now)])
    }

    /// A person wants it enforced, now, and may say why. Enforced already is as good.
    ///
    /// # Errors
    /// There is no such quarantine, it has ended, or a guard rail that no person may pass stands against it.
    pub fn approve(
        &mut self,
        id: &str,
        who: &str,
        why: &str,
        config: &PolicyConfig,
        now: Now,
    ) -> Result<Vec<QuarantineEvent>, CommandError> {
        let active = self.load(now).active;
        let entry = self.open(id)?;
        let state = entry.quarantine.state;
        if state == QuarantineState::Enforced {
            return Ok(Vec::new());
        }
        if config.kill_switch {
            return Err(CommandError::KillSwitch);
        }
        if state == QuarantineState::Proposed && active >= config.active_max {
            return Err(CommandError::ActiveMax { active_max: config.active_max });
        }
        entry.enforce(Duration::from_secs(entry.quarantine.ttl_seconds), now);
        who.clone_into(&mut entry.quarantine.owner);
        let why = if why.is_empty() { "approved" } else { why };
        Ok(vec![event(id, Change::Enforced, who, why, now)])
    }

    /// Takes it back. Ended already is as good.
    ///
    /// # Errors
    /// There is no such quarantine.
    pub fn lift(
        &mut self,
        id: &str,
        who: &str,
        why: &str,
        now: Now,
    ) -> Result<Vec<QuarantineEvent>, CommandError> {
        let ended = format!("lifted by {who}: {why}");
        self.end(id, QuarantineState::Lifted, Change::Lifted, who, (&ended, why), now)
    }

    /// Takes it back because it did harm.
    ///
    /// # Errors
    /// There is no such quarantine.
    pub fn roll_back(&mut self, id: &str, why: &str, now: Now) -> Result<Vec<QuarantineEvent>, CommandError> {
        let ended = format!("{HARM}{why}");
        self.end(id, QuarantineState::Lifted, Change::RolledBack, ENGINE, (&ended, why), now)
    }

    /// Time passes: dry runs become enforced, leases run out, written ends are corrected, old ends are forgotten.
    pub fn advance(&mut self, config: &PolicyConfig, now: Now) -> Vec<QuarantineEvent> {
        let mut events = Vec::new();
        // Before leases run out: one that is as long as the dry run must not end with it.
        for (id, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.quarantine.state.live()) {
            let due = entry.shadow.is_some_and(|shadow| shadow.over(now));
            let failed = matches!(entry.quarantine.progress, Progress::Ineffective(_));
            if due && !config.kill_switch && !failed {
                entry.enforce(Duration::from_secs(entry.quarantine.ttl_seconds), now);
                events.push(event(id, Change::Enforced, ENGINE, "the dry run is over", now));
            }
        }
        let over: Vec<(String, bool)> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.quarantine.state.ended() && entry.lease.over(now))
            .map(|(id, entry)| (id.clone(), entry.quarantine.state.live()))
            .collect();
        for (id, live) in over {
            let why = if live { "the lease ran out" } else { "nobody approved it" };
            let ended = self.end(&id, QuarantineState::Expired, Change::Expired, ENGINE, (why, why), now);
            events.extend(ended.unwrap_or_default());
        }
        for (id, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.quarantine.state.live()) {
            let written = entry.quarantine.expires.unwrap_or_default();
            if let Some(expires) = entry.lease.corrected(now, written) {
                entry.quarantine.expires = Some(expires);
                events.push(event(id, Change::Rescheduled, ENGINE, "the wall clock was set", now));
            }
        }
        self.grants.retain(|at| now.steady.since(*at) < HOUR);
        while self.ended.len() > config.ended_max
            && let Some(id) = self.ended.pop_front()
        {
            self.entries.remove(&id);
            events.push(event(&id, Change::Forgotten, ENGINE, "too many have ended", now));
        }
        events
    }

    /// The driver has sent it.
    pub fn pushed(&mut self, id: &str, now: Now) -> Vec<QuarantineEvent> {
        self.progress(id, Progress::Pushed, now, |known| matches!(known, Progress::Planned))
    }

    /// `acked` of `nodes` connected proxies have taken it. Without a proxy nothing is enforced. When all have, an earlier
    /// refusal is over.
    pub fn acknowledged(&mut self, id: &str, nodes: usize, acked: usize, now: Now) -> Vec<QuarantineEvent> {
        if nodes == 0 || acked < nodes {
            return Vec::new();
        }
        let untaken = self.entries.get(id).is_some_and(|entry| entry.untaken);
        self.progress(id, Progress::Acknowledged, now, |known| {
            untaken || matches!(known, Progress::Planned | Progress::Pushed)
        })
    }

    /// A proxy has refused it; the others may have taken it.
    pub fn rejected(&mut self, id: &str, node: &str, why: &str, now: Now) -> Vec<QuarantineEvent> {
        let why = format!("{node} refused it: {why}");
        let Ok(entry) = self.open(id) else { return Vec::new() };
        let progress = Progress::Ineffective(why.clone());
        if entry.quarantine.progress == progress {
            return Vec::new();
        }
        entry.quarantine.progress = progress;
        entry.untaken = true;
        vec![event(id, Change::Rejected, ENGINE, &why, now)]
    }

    /// What telemetry says of it (see [`crate::Proof`]).
    pub fn judged(&mut self, id: &str, progress: Progress, now: Now) -> Vec<QuarantineEvent> {
        self.progress(id, progress, now, |_| true)
    }

    fn progress(
        &mut self,
        id: &str,
        progress: Progress,
        now: Now,
        from: impl Fn(&Progress) -> bool,
    ) -> Vec<QuarantineEvent> {
        let Ok(entry) = self.open(id) else { return Vec::new() };
        let known = &mut entry.quarantine.progress;
        if !entry.quarantine.state.live() || *known == progress || !from(known) {
            return Vec::new();
        }
        let (change, why) = match &progress {
            Progress::Planned => return Vec::new(),
            Progress::Pushed => (Change::Pushed, String::new()),
            Progress::Acknowledged => (Change::Acknowledged, String::new()),
            Progress::Effective => (Change::Effective, String::new()),
            Progress::Ineffective(why) => (Change::Ineffective, why.clone()),
        };
        entry.untaken = why.starts_with(NOT_TAKEN);
        *known = progress;
        vec![event(id, change, ENGINE, &why, now)]
    }

    fn open(&mut self, id: &str) -> Result<&mut Entry, CommandError> {
        let Some(entry) = self.entries.get_mut(id) else {
            return Err(CommandError::Unknown { id: id.to_owned() });
        };
        if entry.quarantine.state.ended() {
            return Err(CommandError::Ended { id: id.to_owned(), ended: entry.quarantine.ended.clone() });
        }
        Ok(entry)
    }

    fn end(
        &mut self,
        id: &str,
        state: QuarantineState,
        change: Change,
        who: &str,
        (ended, why): (&str, &str),
        now: Now,
    ) -> Result<Vec<QuarantineEvent>, CommandError> {
        let entry = match self.open(id) {
            Ok(entry) => entry,
            Err(CommandError::Ended { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        entry.quarantine.state = state;
        ended.clone_into(&mut entry.quarantine.ended);
        self.ended.push_back(id.to_owned());
        Ok(vec![event(id, change, who, why, now)])
    }
}

impl Entry {
    fn enforce(&mut self, ttl: Duration, now: Now) {
        self.lease = Lease::granted(now, ttl);
        self.shadow = None;
        self.quarantine.state = QuarantineState::Enforced;
        self.quarantine.progress = Progress::Planned;
        self.untaken = false;
        self.quarantine.expires = Some(self.lease.expires(now));
    }
}

/// True for a dry run that is to become enforced by itself: every workload it cuts is in mode `enforce`, and that mode
/// begins with dry runs.
fn promotes(quarantine: &Quarantine, config: &PolicyConfig) -> bool {
    quarantine.state == QuarantineState::Shadow
        && !config.shadow_for.is_zero()
        && quarantine.cuts.iter().all(|cut| config.mode_at(&cut.workload) == PolicyMode::Enforce)
}
