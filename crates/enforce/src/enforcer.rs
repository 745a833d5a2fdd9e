//! Carries out what was decided: written down first, then told to the proxies, and what they answer is reported back.
//!
//! The order never changes: the lease store, the audit log, then the proxies. What cannot be stored or logged is not
//! enforced. A deny that ends is taken back even when the disk fails: what must not happen is that it stays.

mod entries;
mod files;
mod leases;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use selvedge_model::{AuditLine, ObservedTime, Quarantine};
use selvedge_policy::{ContainmentEvent, ENGINE, PushReport, QuarantineEvent};
use tokio::sync::{mpsc, oneshot};

use crate::audit::{AuditEntry, AuditError, AuditKind, AuditLog, AuditOptions, PublicKey, records};
use crate::store::{Moment, StoreError};
use crate::xds::{PolicyWorld, XdsEvent, XdsEventKind, XdsHandle};
use crate::yaml_folder::YamlFolder;
use entries::{describe, entry, entry_of, grounds, line_of, with};
use files::Files;
use leases::Leases;

/// Orders taken at once: one transaction each, one write of the audit log for all.
const BATCH_MAX: usize = 64;
/// How often the store notes that we run, which bounds what a crash does to leases.
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Answers of proxies about one quarantine that are logged, which is one a stream; past it they are only counted.
const HEARD_MAX: usize = 4_096;
/// Records of the log that are shown.
const SHOWN_MAX: u64 = 1_000;
const STORE_FILE: &str = "leases.redb";
const AUDIT_FOLDER: &str = "audit";

/// What the enforcer is told.
#[derive(Debug)]
pub enum Order {
    /// Something was decided.
    Decided(ContainmentEvent),
    /// Answer when everything before this was carried out.
    Confirm {
        /// Whose last change the answer is about.
        id: String,
        /// Takes the answer: why that change could not be stored or logged, if so.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Nothing will come any more.
    End,
}

/// Why nothing can be enforced.
#[derive(Debug, thiserror::Error)]
pub enum EnforcerError {
    /// The folder is not there. It is not made, because a volume that is not mounted looks like that, and an empty store
    /// in its place would lift every quarantine.
    #[error("the folder {folder} is not there: mount it, or make it if this is the first start")]
    Missing {
        /// Which.
        folder: String,
    },
    /// The folder of the audit log cannot be made.
    #[error("cannot make the folder {folder}")]
    Folder {
        /// Which.
        folder: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The lease store.
    #[error("the quarantines in force are not known, so nothing is served")]
    Store(#[from] StoreError),
    /// The audit log.
    #[error("nothing can be enforced without its audit log")]
    Audit(#[from] AuditError),
}

/// Our clocks.
pub type Clock = Arc<dyn Fn() -> Moment + Send + Sync>;

/// The store, the log and the proxies.
pub struct Enforcer {
    leases: Leases,
    audit: AuditLog,
    xds: XdsHandle,
    clock: Clock,
    /// What proxies should have: stored and logged.
    live: BTreeMap<String, Quarantine>,
    /// The same as filters say it, and the number under which it was published.
    world: (u64, Arc<PolicyWorld>),
    /// Connected proxies of each live quarantine, and those that have it, as reported last.
    reported: BTreeMap<String, (usize, usize)>,
    /// What proxies said of each live quarantine since it was told to them last, and is in the log.
    heard: BTreeMap<String, BTreeSet<(AuditKind, String)>>,
    /// Why the last change to a quarantine is not on disk.
    unwritten: BTreeMap<String, String>,
    reports: mpsc::Sender<PushReport>,
    yaml: Option<YamlFolder>,
    folder: PathBuf,
    /// The latest records of the log, for people to look at.
    shown: Arc<ArcSwap<Vec<AuditLine>>>,
}

impl Enforcer {
    /// Opens `folder` and serves what was in force before; returns everything that is stored.
    ///
    /// # Errors
    /// The store or the log cannot be read: then nothing is served, and proxies keep what they have.
    pub fn open(
        folder: &Path,
        xds: XdsHandle,
        clock: Clock,
        reports: mpsc::Sender<PushReport>,
    ) -> Result<(Self, Vec<Quarantine>), EnforcerError> {
        let audit_folder = make_folder(folder)?;
        let now = clock();
        let (leases, quarantines) = Leases::open(&folder.join(STORE_FILE), now)?;
        let mut audit = AuditLog::open(&audit_folder, now.wall, AuditOptions::default())?;
        let live: BTreeMap<_, _> = quarantines
            .iter()
            .filter(|one| one.state.live())
            .map(|one| (one.id.clone(), one.clone()))
            .collect();
        let start = entry(AuditKind::Start, "engine", ENGINE, "the engine began to run", now.wall);
        let mut entries = vec![with(start, "live", live.len())];
        // A crash between the store and the log leaves a quarantine in force of which the log does not say why.
        entries.extend(live.values().map(|one| {
            let found =
                entry(AuditKind::Recovered, &one.id, ENGINE, "in force when the engine began", now.wall);
            grounds(with(found, "state", one.state.name()), one)
        }));
        audit.append_all(&entries)?;
        audit.checkpoint(now.wall)?;
        let mut enforcer = Self {
            leases,
            audit,
            xds,
            clock,
            live,
            world: (0, Arc::default()),
            reported: BTreeMap::new(),
            heard: BTreeMap::new(),
            unwritten: BTreeMap::new(),
            reports,
            yaml: None,
            folder: audit_folder,
            shown: Arc::default(),
        };
        enforcer.show();
        enforcer.publish();
        Ok((enforcer, quarantines))
    }

    /// From now on the live quarantines are files as well.
    pub fn write_yaml(&mut self, folder: YamlFolder) {
        self.yaml = Some(folder);
    }

    /// The latest records of the log, replaced whenever there are new ones.
    #[must_use]
    pub fn shown(&self) -> Arc<ArcSwap<Vec<AuditLine>>> {
        Arc::clone(&self.shown)
    }

    /// The key that signs the audit log, to be kept elsewhere.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.audit.public_key()
    }

    /// Carries out orders until [`Order::End`], or until nobody can order. Proxies keep what they have.
    ///
    /// # Errors
    /// The audit log could not be closed with a signature.
    pub async fn run(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut events: mpsc::Receiver<XdsEvent>,
    ) -> Result<(), EnforcerError> {
        let ids: Vec<String> = self.live.keys().cloned().collect();
        for id in ids {
            self.report(PushReport::Pushed { id }).await;
        }
        let files =
            self.yaml.take().map(|folder| Files::start(folder, self.live.values().cloned().collect()));
        let mut alive = tokio::time::interval(ALIVE_INTERVAL);
        alive.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut ordered, mut happened) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                biased;
                count = orders.recv_many(&mut ordered, BATCH_MAX) => {
                    let ends = count == 0 || ordered.iter().any(|order| matches!(order, Order::End));
                    self.obey(std::mem::take(&mut ordered)).await;
                    if let Some(files) = &files {
                        files.want(self.live.values().cloned().collect());
                    }
                    if ends {
                        break;
                    }
                }
                count = events.recv_many(&mut happened, BATCH_MAX) => {
                    if count > 0 {
                        self.hear(std::mem::take(&mut happened)).await;
                    }
                }
                _ = alive.tick() => self.note_alive().await,
            }
        }
        if let Some(files) = files {
            files.close().await;
        }
        let now = (self.clock)();
        let noted = self.leases.note_alive(now);
        self.audit.close(now.wall)?;
        Ok(noted?)
    }

    async fn obey(&mut self, orders: Vec<Order>) {
        let (mut waiting, mut entries, mut moved) = (Vec::new(), Vec::new(), Vec::new());
        for order in orders {
            match order {
                Order::Confirm { id, done } => waiting.push((id, done)),
                Order::End => {}
                Order::Decided(ContainmentEvent::Refused { incident_id, subject, reasons }) => {
                    let now = (self.clock)().wall;
                    let refusal = entry(AuditKind::Refusal, &incident_id, ENGINE, &reasons.join("; "), now);
                    entries.push(with(refusal, "plan", subject));
                }
                Order::Decided(ContainmentEvent::Quarantine(event, Some(quarantine))) => {
                    self.take(event, *quarantine, &mut entries, &mut moved).await;
                }
                Order::Decided(ContainmentEvent::Quarantine(event, None)) => {
                    self.leases.forget(&event.id);
                    self.unwritten.remove(&event.id);
                }
            }
        }
        let now = (self.clock)().wall;
        entries.extend(moved.iter().map(|id| entry(AuditKind::Push, id, ENGINE, "told to proxies", now)));
        if let Err(error) = self.audit.append_all(&entries) {
            self.without_log(&error, &moved).await;
        }
        if !moved.is_empty() {
            self.publish();
            for id in moved.into_iter().filter(|id| self.live.contains_key(id)).collect::<Vec<_>>() {
                self.report(PushReport::Pushed { id }).await;
            }
            self.count_proxies().await;
            self.sign(now);
        }
        self.show();
        for (id, done) in waiting {
            let unwritten = self.unwritten.get(&id).cloned();
            if done.send(unwritten.map_or(Ok(()), Err)).is_err() {
                tracing::debug!("whoever waited for an order is gone");
            }
        }
    }

    /// Stores one change. Only a change that proxies are to be told of moves what is live, and goes to `moved`: whatever
    /// else happens to a quarantine that could not be stored or logged, it stays out.
    async fn take(
        &mut self,
        event: QuarantineEvent,
        quarantine: Quarantine,
        entries: &mut Vec<AuditEntry>,
        moved: &mut Vec<String>,
    ) {
        let moves = event.change.moves_proxies();
        if let Err(error) = self.leases.commit(&event, &quarantine, (self.clock)()) {
            tracing::error!(quarantine = event.id, error = &error as &dyn std::error::Error, "not stored");
            self.unwritten.insert(event.id.clone(), describe(&error));
            if !quarantine.state.ended() {
                if moves {
                    let (id, by, why) = (event.id, "the lease store".to_owned(), describe(&error));
                    self.report(PushReport::Rejected { id, by, why }).await;
                }
                return;
            }
        } else {
            self.unwritten.remove(&event.id);
        }
        entries.push(entry_of(&event, &quarantine));
        if moves {
            self.reported.remove(&event.id);
            self.heard.remove(&event.id);
            if quarantine.state.live() {
                self.live.insert(event.id.clone(), quarantine);
            } else {
                self.live.remove(&event.id);
            }
            moved.push(event.id);
        } else if let Some(known) =
            self.live.get_mut(&event.id).filter(|known| known.state == quarantine.state)
        {
            *known = quarantine;
        }
    }

    /// The audit log failed: what was to be enforced now is not. What ended is taken back all the same.
    async fn without_log(&mut self, error: &AuditError, moved: &[String]) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "the audit log cannot be written; enforcing nothing new"
        );
        for id in moved {
            self.unwritten.insert(id.clone(), describe(error));
            if self.live.remove(id).is_some() {
                let (by, why) = ("the audit log".to_owned(), describe(error));
                self.report(PushReport::Rejected { id: id.clone(), by, why }).await;
            }
        }
    }

    /// Signs the log up to here: after few records too, so that one that is cut off later is missed.
    fn sign(&mut self, now: ObservedTime) {
        if let Err(error) = self.audit.checkpoint(now) {
            tracing::error!(error = &error as &dyn std::error::Error, "the audit log cannot be signed");
        }
    }

    fn publish(&mut self) {
        let live: Vec<Quarantine> = self.live.values().cloned().collect();
        let world = Arc::new(PolicyWorld::of(&live));
        for refused in world.refused() {
            tracing::error!(
                quarantine = refused.quarantine,
                reason = refused.reason,
                "a cut cannot be enforced"
            );
        }
        self.world = (self.xds.publish(Arc::clone(&world)), world);
    }

    async fn hear(&mut self, events: Vec<XdsEvent>) {
        let now = (self.clock)().wall;
        let mut entries = Vec::new();
        for event in &events {
            let (kind, why) = match &event.kind {
                XdsEventKind::Acked { .. } => (AuditKind::Ack, "taken"),
                XdsEventKind::Nacked(rejection) => (AuditKind::Nack, rejection.error.as_str()),
                XdsEventKind::Stuck { .. } => (AuditKind::Nack, "no answer in time"),
                XdsEventKind::Connected | XdsEventKind::Pushed { .. } | XdsEventKind::Disconnected => {
                    continue;
                }
            };
            if kind == AuditKind::Nack {
                // It goes on with what it had, which may hold what was lifted.
                tracing::warn!(node = event.node, why, "a proxy does not take what is published");
            }
            for id in event.quarantines.iter().filter(|id| self.live.contains_key(*id)) {
                let heard = self.heard.entry(id.clone()).or_default();
                // Said once: a proxy that comes and goes must not fill the disk. Names of nodes are the proxies' own word.
                if heard.len() < HEARD_MAX && heard.insert((kind, event.node.clone())) {
                    entries.push(entry(kind, id, &event.node, why, now));
                    // One that is slow may still answer; one that says no is told.
                    if matches!(event.kind, XdsEventKind::Nacked(_)) {
                        let (by, why) = (event.node.clone(), why.to_owned());
                        self.report(PushReport::Rejected { id: id.clone(), by, why }).await;
                    }
                }
            }
        }
        if !entries.is_empty()
            && let Err(error) = self.audit.append_all(&entries)
        {
            tracing::error!(error = &error as &dyn std::error::Error, "the audit log cannot be written");
        }
        self.count_proxies().await;
    }

    /// Says of each live quarantine how many of its proxies have it, when that changed. One that has not looked at the
    /// latest publication yet does not have it, whatever it took before.
    async fn count_proxies(&mut self) {
        let (number, world) = &self.world;
        let (mut counts, mut changed) = (BTreeMap::<&str, (usize, usize)>::new(), Vec::new());
        let nodes = self.xds.nodes();
        for node in &nodes {
            for id in world.quarantines(&node.workload) {
                let count = counts.entry(id).or_default();
                count.0 += 1;
                count.1 += usize::from(node.world == *number && node.in_sync() && !node.unasked.contains(id));
            }
        }
        for id in self.live.keys() {
            let (nodes, acked) = counts.get(id.as_str()).copied().unwrap_or_default();
            if self.reported.insert(id.clone(), (nodes, acked)) != Some((nodes, acked)) {
                changed.push(PushReport::Acknowledged { id: id.clone(), nodes, acked });
            }
        }
        for report in changed {
            self.report(report).await;
        }
    }

    /// Reads what was written since the last time.
    fn show(&self) {
        let mut shown = self.shown.load().as_ref().clone();
        let last = self.audit.last_seq();
        let next = shown.last().map_or(last.saturating_sub(SHOWN_MAX), |line| line.sequence) + 1;
        if next > last {
            return;
        }
        match records(&self.folder, next, SHOWN_MAX) {
            Ok(found) => shown.extend(found.map_while(Result::ok).map(line_of)),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the audit log cannot be shown");
            }
        }
        let surplus = (shown.len() as u64).saturating_sub(SHOWN_MAX);
        shown.drain(..usize::try_from(surplus).unwrap_or(0));
        self.shown.store(Arc::new(shown));
    }

    async fn note_alive(&mut self) {
        if let Err(error) = self.leases.note_alive((self.clock)()) {
            tracing::error!(error = &error as &dyn std::error::Error, "the lease store cannot be written");
        }
        self.show();
        self.count_proxies().await;
    }

    async fn report(&self, report: PushReport) {
        if self.reports.send(report).await.is_err() {
            tracing::debug!("the engine ended before it heard of a push");
        }
    }
}

/// The audit log's folder, made at the first start only: a store without its log is not begun anew in silence.
fn make_folder(folder: &Path) -> Result<PathBuf, EnforcerError> {
    let audit = folder.join(AUDIT_FOLDER);
    if !folder.is_dir() {
        return Err(EnforcerError::Missing { folder: folder.display().to_string() });
    }
    if !audit.is_dir() && !folder.join(STORE_FILE).exists() {
        std::fs::create_dir(&audit)
            .map_err(|source| EnforcerError::Folder { folder: audit.display().to_string(), source })?;
    }
    Ok(audit)
}
