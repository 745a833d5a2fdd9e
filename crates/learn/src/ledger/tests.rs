//! Records against counters: who is judged, when a shortfall is told, and what is none.

use selvedge_model::{CallShape, ShapeStats, SymbolTable};

use super::*;

const WINDOW: Duration = Duration::from_secs(10);
const WINDOWS_OF_BLOCK: u64 = 30;
const BOUNDS: LedgerBounds = LedgerBounds { requests_min: 20, share_max: 0.5 };

fn edge() -> EdgeKey {
    let mut symbols = SymbolTable::new(16);
    let mut node = |name| Node { workload: symbols.intern(name), ..Node::default() };
    EdgeKey { source: node("courier"), destination: node("ledger"), external: false }
}

/// A mesh of one edge, whose caller counts and records.
struct Mesh {
    ledger: Ledger,
    /// The next window, and how many windows later its counters come.
    at: u64,
    delay: u64,
    counted: Vec<u64>,
    told: Vec<Shortfall>,
    reporters: usize,
}

impl Mesh {
    fn new(delay: u64) -> Self {
        let at = 1_000 * WINDOWS_OF_BLOCK;
        Self { ledger: Ledger::default(), at, delay, counted: Vec::new(), told: Vec::new(), reporters: 0 }
    }

    fn window(&self, at: u64) -> Window {
        let start = EventTime(at * nanos(WINDOW));
        Window { start, end: start.after(WINDOW) }
    }

    /// A window in which so many requests are counted, and so many recorded.
    fn pass(&mut self, counted: u64, recorded: u64) {
        self.counted.push(counted);
        let due = self.counted.len().checked_sub(1 + usize::try_from(self.delay).unwrap());
        let counts: Vec<SideCount> = due
            .map(|due| SideCount {
                edge: edge(),
                side: Side::Client,
                at: self.window(self.at - self.delay).start,
                requests: self.counted[due],
            })
            .into_iter()
            .collect();
        let mut seen = EdgeWindow::default();
        let shape = CallShape { reported: Reported::ClientOnly, ..CallShape::default() };
        seen.add(shape, ShapeStats { calls: recorded, ..ShapeStats::default() });
        let audited = self.ledger.note(self.window(self.at), &counts, &[(edge(), &seen)], &BOUNDS);
        self.told.extend(audited.short);
        self.reporters = self.reporters.max(audited.reporters);
        self.at += 1;
    }

    fn blocks(&mut self, blocks: u64, counted: u64, recorded: u64) {
        (0..blocks * WINDOWS_OF_BLOCK).for_each(|_| self.pass(counted, recorded));
    }
}

#[test]
fn records_that_do_not_come_any_more_are_told_after_two_blocks_and_as_long_as_they_are_missing() {
    for delay in [0, 6, 12] {
        let mut mesh = Mesh::new(delay);
        mesh.blocks(16, 10, 10);
        assert_eq!((&mesh.told[..], mesh.reporters), (&[][..], 1));
        let began = mesh.window(mesh.at).start;
        mesh.blocks(6, 10, 1);
        let told: Vec<_> = mesh.told.iter().map(|told| (told.since, told.counted, told.recorded)).collect();
        let expected: Vec<_> = [2, 3, 4].map(|blocks| (began, blocks * 300, blocks * 30)).to_vec();
        assert_eq!(told, expected, "delay {delay}");
        assert_eq!((mesh.told[0].reporter(), mesh.told[0].side), (edge().source, Side::Client));
        mesh.blocks(4, 10, 10);
        assert_eq!(mesh.told.len(), 5, "two blocks more that were short, then none");
    }
}

#[test]
fn a_rate_that_jumps_is_no_shortfall_however_late_its_counters_come() {
    let mut mesh = Mesh::new(12);
    mesh.blocks(16, 10, 10);
    for burst in 0..200_u64 {
        let rate = if burst % 7 == 3 { 500 } else { 10 };
        (0..11).for_each(|_| mesh.pass(rate, rate));
    }
    assert_eq!(mesh.told, []);
    assert_eq!(mesh.reporters, 1);
}

#[test]
fn who_never_told_of_everything_is_not_judged() {
    let mut sampled = Mesh::new(6);
    sampled.blocks(40, 10, 4);
    sampled.blocks(10, 10, 0);
    assert_eq!((sampled.told.len(), sampled.reporters), (0, 0));

    let mut new = Mesh::new(6);
    new.blocks(9, 10, 10);
    new.blocks(6, 10, 0);
    assert_eq!((new.told.len(), new.reporters), (0, 0), "nobody knew it for an hour");

    let mut rare = Mesh::new(6);
    rare.blocks(40, 0, 0);
    for _ in 0..40 {
        (0..WINDOWS_OF_BLOCK).for_each(|window| rare.pass(u64::from(window % 2 == 0), 0));
    }
    assert_eq!((rare.told.len(), rare.reporters), (0, 0), "fifteen requests are too few");
}

#[test]
fn a_block_in_which_nobody_was_heard_for_a_while_is_not_judged() {
    let mut mesh = Mesh::new(6);
    mesh.blocks(16, 10, 10);
    for _ in 0..4 {
        // What the counters say of the pause has no records.
        mesh.ledger.gap();
        mesh.at += 20;
        (0..10).for_each(|_| mesh.pass(90, 10));
        mesh.blocks(3, 10, 10);
    }
    assert_eq!(mesh.told, []);
}

#[test]
fn what_is_missing_for_a_day_is_how_it_is_now() {
    let mut mesh = Mesh::new(6);
    mesh.blocks(16, 10, 10);
    mesh.blocks(400, 10, 2);
    assert_eq!(mesh.told.len(), usize::from(SHORT_BLOCKS_MAX) - 1);
    assert_eq!(mesh.told.iter().map(|told| told.since).collect::<std::collections::BTreeSet<_>>().len(), 1);
}

#[test]
fn a_side_that_counts_nothing_any_more_makes_room_after_a_day() {
    let mut mesh = Mesh::new(0);
    mesh.blocks(3, 10, 10);
    mesh.blocks(SILENT_BLOCKS - 4, 0, 0);
    assert_eq!(mesh.ledger.entries.len(), 1, "a count of nothing is a count");
    mesh.delay = u64::MAX >> 8;
    mesh.blocks(SILENT_BLOCKS + 3, 0, 0);
    assert_eq!(mesh.ledger.entries.len(), 0);
}
