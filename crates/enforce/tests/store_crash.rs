//! kill -9 at random moments: every change that was acknowledged is there afterwards, none twice, none half.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test")]

mod child;
mod sample;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sample::{after, change, grant, quarantine};
use selvedge_enforce::store::{Change, Lease, Store, StoreLimits, StoredQuarantine};
use selvedge_model::QuarantineState;
use selvedge_testkit::Rng;

const KILLS: usize = 120;
const LIMITS: StoreLimits =
    StoreLimits { open_max: 1_000, ended_max: 100_000, history_max: 1_000, record_bytes_max: 64 * 1024 };

/// Does nothing in a test run: it is the child's side, until it is killed or the disk is full.
#[test]
fn child_commits_until_it_cannot() {
    let Some(path) = child::place() else { return };
    let store = Store::open(Path::new(&path), after(0), LIMITS).unwrap();
    let mut held = store.load(after(0)).unwrap();
    let mut rng = Rng::seeded(held.iter().map(|stored| stored.revision).sum());
    println!("ready");
    loop {
        let step = next_step(&mut rng, &held);
        let stored = match store.commit(&step, after(1)) {
            Ok(stored) => stored,
            Err(error) => return println!("refused {error}"),
        };
        println!("ack {} {} {}", stored.quarantine.id, stored.revision, step.what);
        held.retain(|other| other.quarantine.id != stored.quarantine.id);
        held.push(stored);
        if rng.once_in(5) && store.note_alive(after(1)).is_err() {
            return println!("refused a sign of life");
        }
    }
}

/// A new quarantine, a renewal, or a lift.
fn next_step(rng: &mut Rng, held: &[StoredQuarantine]) -> Change {
    let open: Vec<_> = held.iter().filter(|stored| !stored.quarantine.state.ended()).collect();
    if open.len() < 3 || rng.once_in(4) {
        let mut new = quarantine(&format!("q-{:06}", held.len()), QuarantineState::Enforced);
        new.renewals = 0;
        return Change { what: "grant".to_owned(), ..change(new, 0, grant(600)) };
    }
    let chosen = open[usize::try_from(rng.below(open.len() as u64)).unwrap()];
    let mut next = chosen.quarantine.clone();
    if rng.once_in(3) {
        next.state = QuarantineState::Lifted;
        return Change { what: "lift".to_owned(), ..change(next, chosen.revision, Lease::End) };
    }
    next.renewals += 1;
    Change { what: "renew".to_owned(), ..change(next, chosen.revision, grant(600)) }
}

/// What the child said before it was killed: by quarantine, the words of its changes in order.
type Acknowledged = BTreeMap<String, Vec<String>>;

/// Takes what a killed child said into account, and says how many changes that were.
fn note(said: &[String], acknowledged: &mut Acknowledged) -> usize {
    for line in said {
        let [id, revision, what] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let changes = acknowledged.entry(id.to_owned()).or_default();
        assert_eq!(
            revision.parse::<usize>().unwrap(),
            changes.len() + 1,
            "{id} skipped or repeated a change"
        );
        changes.push(what.to_owned());
    }
    said.len()
}

/// Compares the store with what was acknowledged, and takes over the change in flight, if it was written.
fn check(store: &Store, acknowledged: &mut Acknowledged) -> usize {
    let mut in_flight = 0;
    let loaded = store.load(after(1)).unwrap();
    for stored in &loaded {
        let id = &stored.quarantine.id;
        let history = store.history(id).unwrap();
        let words: Vec<String> = history.events.iter().map(|event| event.what.clone()).collect();
        let revisions: Vec<u64> = history.events.iter().map(|event| event.revision).collect();
        assert_eq!(revisions, (1..=stored.revision).collect::<Vec<_>>(), "{id}: one event a change");
        let renewals = words.iter().filter(|word| *word == "renew").count();
        assert_eq!(usize::try_from(stored.quarantine.renewals).unwrap(), renewals, "{id}: half a change");
        let lifted = words.last().is_some_and(|word| word == "lift");
        assert_eq!(stored.quarantine.state == QuarantineState::Lifted, lifted, "{id}: half a change");
        assert_eq!(stored.remaining.is_none(), lifted, "{id}: half a change");
        let said = acknowledged.entry(id.clone()).or_default();
        assert!(words.starts_with(said), "{id}: acknowledged {said:?}, found {words:?}");
        in_flight += words.len() - said.len();
        *said = words;
    }
    assert_eq!(loaded.len(), acknowledged.len(), "a quarantine was lost");
    let ended = loaded.iter().filter(|stored| stored.quarantine.state.ended()).count();
    assert_eq!(usize::try_from(store.counts().unwrap().ended).unwrap(), ended, "half a change");
    in_flight
}

#[test]
fn killed_at_any_moment_every_acknowledged_change_is_there_once_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    let mut rng = Rng::seeded(20);
    let mut acknowledged = Acknowledged::new();
    let (mut changes, mut in_flight) = (0, 0);
    for _ in 0..KILLS {
        let grace = Duration::from_micros(rng.below(40_000));
        let early = rng.once_in(4);
        let said = child::run_and_kill("child_commits_until_it_cannot", &path, grace, early);
        changes += note(&said, &mut acknowledged);
        let store = Store::open(&path, after(1), LIMITS).unwrap();
        let found = check(&store, &mut acknowledged);
        assert!(found <= 1, "one change at a time is in flight, {found} were found");
        in_flight += found;
    }
    println!("{KILLS} kills, {changes} acknowledged changes, {in_flight} written and not acknowledged");
    assert!(KILLS < changes, "the children hardly worked: {changes} changes");
}

/// Scenario: the system lets the file grow to 2 MiB and no further, as a full disk or a quota does.
/// Guarantees: the change is refused, and what was acknowledged before is whole; with room the store goes on.
#[test]
fn a_full_disk_refuses_the_change_and_harms_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.redb");
    let text = child::run_with_file_size_max("child_commits_until_it_cannot", &path, 2_048);
    assert!(text.lines().any(|line| line.starts_with("refused ")), "{text}");
    let said: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("ack ").map(str::to_owned)).collect();
    let mut acknowledged = Acknowledged::new();
    assert!(10 < note(&said, &mut acknowledged), "{text}");
    let store = Store::open(&path, after(1), LIMITS).unwrap();
    check(&store, &mut acknowledged);
    store.commit(&change(quarantine("new", QuarantineState::Enforced), 0, grant(600)), after(1)).unwrap();
}
