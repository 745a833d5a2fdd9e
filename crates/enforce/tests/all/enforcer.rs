//! What has to be on disk before anything is enforced, and what a restart makes of it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use selvedge_enforce::audit::records;
use selvedge_enforce::store::Moment;
use selvedge_enforce::xds::XdsServer;
use selvedge_enforce::{Enforcer, EnforcerError, Order};
use selvedge_model::{
    Caller, ObservedTime, Place, QUARANTINE_ID_PREFIX, Quarantine, QuarantineState, SteadyTime,
};
use selvedge_policy::{Change, ContainmentEvent, PushReport, QuarantineEvent};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::child;
use crate::quarantines::{cut, quarantine};
use crate::server::{IN, OUT, Server, config, node};
use crate::state_of_the_world::{ack, subscribe};

const ID: &str = "selvedge-q-00000000000000a1";
const NOW: ObservedTime = ObservedTime(1_800_000_000_000_000_000);

struct Opened {
    enforcer: Enforcer,
    stored: Vec<Quarantine>,
    events: mpsc::Receiver<selvedge_enforce::xds::XdsEvent>,
    reports: mpsc::Receiver<PushReport>,
}

async fn open(folder: &Path) -> Result<Opened, EnforcerError> {
    let (_server, handle, events) = XdsServer::bind(config()).await.unwrap();
    let (sender, reports) = mpsc::channel(64);
    let clock = Arc::new(|| Moment { wall: NOW, steady: SteadyTime(1) });
    let (enforcer, stored) = Enforcer::open(folder, handle, clock, sender)?;
    Ok(Opened { enforcer, stored, events, reports })
}

fn enforced() -> ContainmentEvent {
    told(Change::Enforced, QuarantineState::Enforced)
}

fn told(change: Change, state: QuarantineState) -> ContainmentEvent {
    let quarantine = quarantine(
        "selvedge-q-00000000000000a1",
        vec![cut(Place::Inbound, "ledger", Caller::Unauthenticated)],
    );
    let quarantine = Quarantine { state, ..quarantine };
    let event = QuarantineEvent {
        id: quarantine.id.clone(),
        change,
        who: "engine".to_owned(),
        why: "it was seen".to_owned(),
        at: NOW,
    };
    ContainmentEvent::Quarantine(event, Some(Box::new(quarantine)))
}

/// Kinds of records about one subject, in order.
fn kinds(folder: &Path, subject: &str) -> Vec<String> {
    let found = records(&folder.join("audit"), 1, 1_000).unwrap().map(Result::unwrap);
    found.filter(|record| record.subject == subject).map(|record| record.kind).collect()
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_not_taken_for_a_first_start() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("not-mounted");
    assert!(matches!(open(&folder).await, Err(EnforcerError::Missing { .. })));
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_store_without_its_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).await.unwrap());
    fs::remove_dir_all(folder.path().join("audit")).unwrap();
    assert!(matches!(open(folder.path()).await, Err(EnforcerError::Audit(_))));
    assert!(!folder.path().join("audit").exists());
}

/// Scenario: a quarantine is enforced, and the process ends.
/// Guarantees: it was written down before it was pushed; the next process has it, and its log says why it is in force.
#[tokio::test]
async fn what_was_enforced_is_stored_and_logged_first_and_in_force_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let Opened { enforcer, stored, events, mut reports } = open(folder.path()).await.unwrap();
    assert!(stored.is_empty());
    let (orders, inbox) = mpsc::channel(8);
    orders.send(Order::Decided(enforced())).await.unwrap();
    orders.send(Order::End).await.unwrap();
    enforcer.run(inbox, events).await.unwrap();
    let ContainmentEvent::Quarantine(event, _) = enforced() else { unreachable!("it is one") };
    assert_eq!(reports.recv().await, Some(PushReport::Pushed { id: event.id.clone() }));
    assert_eq!(kinds(folder.path(), &event.id), ["decision", "push"]);

    let again = open(folder.path()).await.unwrap();
    assert_eq!(again.stored.len(), 1);
    assert_eq!(
        (again.stored[0].id.as_str(), again.stored[0].state),
        (event.id.as_str(), QuarantineState::Enforced)
    );
    assert_eq!(kinds(folder.path(), &event.id), ["decision", "push", "recovered"]);
}

/// Scenario: a proxy takes a dry run, which is then enforced; a step of a quarantine that was never enforced comes too.
/// Guarantees: what it took before is no acknowledgement of what it has to take now; and no step but a decision puts a
/// quarantine into force.
#[tokio::test]
async fn a_proxy_has_what_was_published_last_only_once_it_took_that() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(config()).await;
    let (_none, nothing) = mpsc::channel(1);
    let events = std::mem::replace(&mut server.events, nothing);
    let (sender, mut reports) = mpsc::channel(64);
    let clock = Arc::new(|| Moment { wall: NOW, steady: SteadyTime(1) });
    let (enforcer, _) = Enforcer::open(folder.path(), server.handle.clone(), clock, sender).unwrap();
    let (orders, inbox) = mpsc::channel(8);
    let mut running = JoinSet::new();
    running.spawn(enforcer.run(inbox, events));
    let mut proxy = server.state_of_the_world().await;
    proxy.send(subscribe(node("ledger"), &[IN, OUT])).await;
    let mut answer = proxy.answer().await;
    for (change, state) in
        [(Change::Shadowed, QuarantineState::Shadow), (Change::Enforced, QuarantineState::Enforced)]
    {
        proxy.send(ack(&answer, &[IN, OUT])).await;
        orders.send(Order::Decided(told(change, state))).await.unwrap();
        answer = proxy.answer().await;
        let id = ID.to_owned();
        assert_eq!(reports.recv().await, Some(PushReport::Pushed { id: id.clone() }));
        assert_eq!(
            reports.recv().await,
            Some(PushReport::Acknowledged { id: id.clone(), nodes: 1, acked: 0 }),
            "{:?}",
            server.handle.nodes()
        );
        proxy.send(ack(&answer, &[IN, OUT])).await;
        assert_eq!(reports.recv().await, Some(PushReport::Acknowledged { id, nodes: 1, acked: 1 }));
    }
    let lifted = told(Change::Lifted, QuarantineState::Lifted);
    orders.send(Order::Decided(lifted)).await.unwrap();
    orders.send(Order::Decided(told(Change::Rejected, QuarantineState::Enforced))).await.unwrap();
    proxy.answer().await;
    assert!(server.handle.nodes()[0].quarantines.is_empty());
    orders.send(Order::End).await.unwrap();
    running.join_next().await.unwrap().unwrap().unwrap();
    server.stop().await;
}

/// Files may grow to this; the disk is as good as full soon after.
const KIBIBYTES: u32 = 4_096;
/// Decisions after which the disk must be full.
const DECISIONS_MAX: u32 = 2_000;

/// Not a test: the child of the next one. Enforces until that is refused, says why, and what proxies are told.
#[tokio::test]
async fn child_enforces_until_the_disk_is_full() {
    let Some(folder) = child::place() else { return };
    let Opened { enforcer, events, mut reports, .. } = open(Path::new(&folder)).await.unwrap();
    let (orders, inbox) = mpsc::channel(8);
    let mut running = JoinSet::new();
    running.spawn(enforcer.run(inbox, events));
    for number in 0..DECISIONS_MAX {
        let ContainmentEvent::Quarantine(event, Some(mut quarantine)) = enforced() else { unreachable!() };
        quarantine.id = format!("{}{number:016x}", QUARANTINE_ID_PREFIX);
        quarantine.evidence = (0..512).map(|finding| format!("{finding:016x}")).collect();
        let id = quarantine.id.clone();
        let event = QuarantineEvent { id: id.clone(), ..event };
        orders.send(Order::Decided(ContainmentEvent::Quarantine(event, Some(quarantine)))).await.unwrap();
        let (done, confirmed) = oneshot::channel();
        orders.send(Order::Confirm { id: id.clone(), done }).await.unwrap();
        let confirmed = confirmed.await.unwrap();
        let mut pushed = false;
        while let Ok(report) = reports.try_recv() {
            pushed |= report == PushReport::Pushed { id: id.clone() };
        }
        assert_eq!(confirmed.is_ok(), pushed, "what is confirmed was told to proxies, and nothing else");
        if let Err(why) = confirmed {
            println!("refused number {number}: {why}");
            return;
        }
    }
}

/// Guarantees: what cannot be written down is not enforced, and whoever ordered it hears why.
#[tokio::test]
async fn on_a_full_disk_nothing_new_is_enforced_and_nothing_is_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let test = "enforcer::child_enforces_until_the_disk_is_full";
    let said = child::run_with_file_size_max(test, folder.path(), KIBIBYTES);
    let line = said.lines().find_map(|line| line.split_once("refused number ")).map(|(_, rest)| rest);
    let (number, why) =
        line.unwrap_or_else(|| panic!("nothing was refused: {said}")).split_once(": ").unwrap();
    assert!(number.parse::<u32>().unwrap() > 10, "{said}");
    assert!(why.contains("File too large"), "{why}");
}
