//! Recent traffic: what every quarantine is tried against before anybody decides.
//!
//! Calls that are alike to every policy are one *row*; a row is kept once, and each minute only counts its rows. So a
//! shape that is seen again costs one look-up and an addition, and nothing is allocated for it.

use std::collections::VecDeque;
use std::time::Duration;

use selvedge_learn::{Baselines, RouteKey};
use selvedge_model::hash::{FixedMap, fixed_state};
use selvedge_model::{
    CallShape, EdgeKey, EdgeWindow, Endpoint, EventTime, IdentitySource, Node, Reported, Security, Symbol,
    SymbolTable, Window,
};
use serde::{Deserialize, Serialize};

use crate::traffic::TrafficRow;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60;
/// A row's key in its slot and in the index, which is half empty at worst.
const KEY_BYTES: usize = size_of::<Slot>() + 2 * (size_of::<(Key, u32)>() + 1);
/// A row's count in a minute.
const COUNT_BYTES: usize = size_of::<(u32, u32)>();
/// What one minute may spend on rows that nobody has seen before, as a share of all bytes: a flood of invented routes
/// leaves at least the better part of an hour of what was known before it.
const FLOOD_SHARE: usize = 60;

/// Limits of [`Recent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentConfig {
    /// How far back it reaches.
    pub retention: Duration,
    /// Bytes kept. Past it the oldest minute goes (policy `oldest_minute`); what a single minute brings anew past its
    /// share is counted and not kept (policy `keep_known`).
    pub bytes_max: usize,
}

impl Default for RecentConfig {
    fn default() -> Self {
        // A day has every daily job in it. 5,000 rows a minute over a day are 58 MB.
        Self { retention: Duration::from_hours(24), bytes_max: 96 << 20 }
    }
}

/// What the limits of [`Recent`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentOverflows {
    /// Minutes dropped to make room, before their time.
    pub minutes: u64,
    /// Calls of rows that found no room.
    pub calls: u64,
}

/// Whose traffic is wanted: calls to one of `callees`, and calls from one of `callers`. Principals are not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// Destinations.
    pub callees: Vec<Endpoint>,
    /// Sources.
    pub callers: Vec<Endpoint>,
}

/// Bounded store of recent traffic.
#[derive(Clone, Serialize, Deserialize)]
pub struct Recent {
    #[serde(skip)]
    config: RecentConfig,
    #[serde(with = "selvedge_model::hash::listed")]
    index: FixedMap<Key, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    minutes: VecDeque<Minute>,
    counts: usize,
    overflows: RecentOverflows,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Key {
    edge: EdgeKey,
    source_principal: Symbol,
    destination_principal: Symbol,
    method: Symbol,
    route: Symbol,
    denied_by: Symbol,
    status: u16,
    source_identity: IdentitySource,
    authenticated: Option<bool>,
    normal: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct Slot {
    key: Key,
    /// Minutes that count it; the slot is free at 0.
    minutes: u32,
    /// The minute that counted it last, and where.
    last: u64,
    at: u32,
}

#[derive(Clone, Serialize, Deserialize)]
struct Minute {
    start: u64,
    counts: Vec<(u32, u32)>,
    new_keys: usize,
}

/// Rows by slot: a look-up in an array for every count of every minute.
struct Selected {
    /// Past the end for slots that are not wanted.
    places: Vec<usize>,
    rows: Vec<TrafficRow>,
}

impl Recent {
    /// Takes the limits of `config`, as after a restart with another configuration.
    pub fn configure(&mut self, config: RecentConfig) {
        self.config = config;
    }

    /// A store that has seen nothing.
    #[must_use]
    pub fn new(config: RecentConfig) -> Self {
        Self {
            config,
            index: FixedMap::with_hasher(fixed_state()),
            slots: Vec::new(),
            free: Vec::new(),
            minutes: VecDeque::new(),
            counts: 0,
            overflows: RecentOverflows::default(),
        }
    }

    /// Keeps one edge of a closed window. `normal` says which shapes were known and unflagged (see [`known`]); ask it
    /// before the window is learned. Failed handshakes are no calls.
    pub fn learn(
        &mut self,
        window: Window,
        key: &EdgeKey,
        edge: &EdgeWindow,
        normal: &dyn Fn(&CallShape) -> bool,
    ) {
        let start = window.start.0 / SECOND / MINUTE * MINUTE;
        let Some(at) = self.minute(start) else { return };
        let calls = edge.shapes.iter().filter(|(shape, _)| !shape.handshake_failure.present());
        if self.keys_left(at) >= edge.shapes.len() {
            for (shape, stats) in calls {
                self.count(at, Key::of(key, shape, normal(shape)), stats.calls);
            }
        } else {
            // Which row gets the last room must not depend on the order in which shards met.
            let mut sorted: Vec<_> = calls.collect();
            sorted.sort_unstable_by_key(|(shape, _)| **shape);
            for (shape, stats) in sorted {
                self.count(at, Key::of(key, shape, normal(shape)), stats.calls);
            }
        }
        self.make_room();
    }

    /// First second that is kept, and the first that is not, Unix time; `None` when nothing is.
    #[must_use]
    pub fn span(&self) -> Option<(u64, u64)> {
        Some((self.minutes.front()?.start, self.minutes.back()?.start + MINUTE))
    }

    /// What the limits did.
    #[must_use]
    pub fn overflows(&self) -> RecentOverflows {
        self.overflows
    }

    /// Bytes that count against the bound.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.index.len() * KEY_BYTES + self.counts * COUNT_BYTES
    }

    /// Visits every row of every minute in `scope` (all, when `None`), oldest minute first; within a minute the order
    /// is that of arrival, so sums and not order may reach an output.
    pub fn visit(&self, scope: Option<&Scope>, symbols: &SymbolTable, visit: &mut dyn FnMut(&TrafficRow)) {
        let Selected { places, mut rows } = self.selected(scope, symbols);
        if rows.is_empty() {
            return;
        }
        for minute in &self.minutes {
            for (slot, calls) in &minute.counts {
                if let Some(row) = rows.get_mut(places[*slot as usize]) {
                    row.minute_seconds = minute.start;
                    row.calls = u64::from(*calls);
                    visit(row);
                }
            }
        }
    }

    /// The rows of `scope`, minutes summed: those that began by `onset` (the onset's own minute with them) as one row,
    /// those after it as another, each under its first minute. Sorted by words.
    #[must_use]
    pub fn folded(&self, scope: &Scope, onset: EventTime, symbols: &SymbolTable) -> Vec<TrafficRow> {
        let Selected { places, rows } = self.selected(Some(scope), symbols);
        if rows.is_empty() {
            return rows;
        }
        let mut parts = [rows.clone(), rows];
        for minute in &self.minutes {
            let part = &mut parts[usize::from(began_by(minute.start, onset))];
            for (slot, calls) in &minute.counts {
                if let Some(row) = part.get_mut(places[*slot as usize]) {
                    row.minute_seconds = if row.calls == 0 { minute.start } else { row.minute_seconds };
                    row.calls += u64::from(*calls);
                }
            }
        }
        let mut folded: Vec<TrafficRow> = parts.into_iter().flatten().filter(|row| row.calls > 0).collect();
        folded.sort_by(|left, right| order(left).cmp(&order(right)));
        folded
    }

    fn selected(&self, scope: Option<&Scope>, symbols: &SymbolTable) -> Selected {
        let nodes = |ends: &[Endpoint]| -> Vec<Node> {
            ends.iter().filter_map(|end| node_of(end, symbols)).collect()
        };
        let scope = scope.map(|scope| (nodes(&scope.callees), nodes(&scope.callers)));
        let wanted = |edge: &EdgeKey| match &scope {
            None => true,
            Some((callees, callers)) => callees.contains(&edge.destination) || callers.contains(&edge.source),
        };
        let (mut places, mut rows) = (vec![usize::MAX; self.slots.len()], Vec::new());
        for (slot, known) in self.slots.iter().enumerate() {
            if known.minutes > 0 && wanted(&known.key.edge) {
                places[slot] = rows.len();
                rows.push(known.key.row(symbols));
            }
        }
        Selected { places, rows }
    }

    /// The place of a minute; `None` when it is older than what is kept.
    fn minute(&mut self, start: u64) -> Option<usize> {
        if self.minutes.back().is_some_and(|minute| minute.start == start) {
            return Some(self.minutes.len() - 1);
        }
        let newest = self.minutes.back().map_or(start, |minute| minute.start);
        if start + self.config.retention.as_secs() <= newest {
            return None;
        }
        let at = self.minutes.partition_point(|minute| minute.start < start);
        if self.minutes.get(at).is_none_or(|minute| minute.start != start) {
            self.minutes.insert(at, Minute { start, counts: Vec::new(), new_keys: 0 });
        }
        let (retention, newest) = (self.config.retention.as_secs(), start.max(newest));
        let mut dropped = 0;
        while self.minutes.front().is_some_and(|minute| minute.start + retention <= newest) {
            self.drop_oldest();
            dropped += 1;
        }
        at.checked_sub(dropped)
    }

    /// New rows that a minute may still bring.
    fn keys_left(&self, at: usize) -> usize {
        let most = (self.config.bytes_max / FLOOD_SHARE / KEY_BYTES).max(1);
        most.saturating_sub(self.minutes[at].new_keys)
    }

    fn count(&mut self, at: usize, key: Key, calls: u64) {
        let more = u32::try_from(calls).unwrap_or(u32::MAX);
        let slot = match self.index.get(&key) {
            Some(slot) => *slot,
            None if self.keys_left(at) > 0 => self.add_key(at, key),
            None => {
                self.overflows.calls += calls;
                return;
            }
        };
        let newest = at + 1 == self.minutes.len();
        let (minute, known) = (&mut self.minutes[at], &mut self.slots[slot as usize]);
        let place = if newest && known.minutes > 0 && known.last == minute.start {
            Some(known.at as usize)
        } else if newest {
            None
        } else {
            minute.counts.iter().position(|(other, _)| *other == slot)
        };
        if let Some(place) = place {
            minute.counts[place].1 = minute.counts[place].1.saturating_add(more);
            return;
        }
        if newest {
            known.last = minute.start;
            known.at = u32::try_from(minute.counts.len()).unwrap_or(u32::MAX);
        }
        known.minutes += 1;
        minute.counts.push((slot, more));
        self.counts += 1;
    }

    fn add_key(&mut self, at: usize, key: Key) -> u32 {
        self.minutes[at].new_keys += 1;
        let fresh = Slot { key, minutes: 0, last: 0, at: 0 };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = fresh;
                slot
            }
            None => {
                self.slots.push(fresh);
                u32::try_from(self.slots.len() - 1).expect("slots are bounded by bytes far below 2^32")
            }
        };
        self.index.insert(key, slot);
        slot
    }

    fn make_room(&mut self) {
        while self.bytes() > self.config.bytes_max && self.minutes.len() > 1 {
            self.drop_oldest();
            self.overflows.minutes += 1;
        }
    }

    fn drop_oldest(&mut self) {
        let Some(minute) = self.minutes.pop_front() else { return };
        self.counts -= minute.counts.len();
        for (slot, _) in minute.counts {
            let known = &mut self.slots[slot as usize];
            known.minutes -= 1;
            if known.minutes == 0 {
                self.index.remove(&known.key);
                self.free.push(slot);
            }
        }
    }
}

/// The calls of one shape as a row, without their minute.
pub(crate) fn row_of(edge: &EdgeKey, shape: &CallShape, calls: u64, symbols: &SymbolTable) -> TrafficRow {
    TrafficRow { calls, ..Key::of(edge, shape, false).row(symbols) }
}

impl Key {
    fn of(edge: &EdgeKey, shape: &CallShape, normal: bool) -> Self {
        let proven = proven(shape);
        Self {
            edge: *edge,
            source_principal: if proven { shape.source_principal } else { Symbol::NONE },
            destination_principal: shape.destination_principal,
            method: shape.method,
            route: shape.route,
            denied_by: shape.denied_by,
            status: shape.status,
            source_identity: shape.source_identity,
            authenticated: authenticated(shape),
            normal,
        }
    }

    fn row(&self, symbols: &SymbolTable) -> TrafficRow {
        // A name that found no room is one name for many: as good as not recorded.
        let text = |symbol: Symbol| {
            if symbol == Symbol::OVERFLOW { String::new() } else { symbols.resolve(symbol).to_owned() }
        };
        TrafficRow {
            minute_seconds: 0,
            source: self.edge.source.endpoint(self.source_principal, symbols),
            source_identity: self.source_identity,
            authenticated: self.authenticated,
            destination: self.edge.destination.endpoint(self.destination_principal, symbols),
            external: self.edge.external,
            method: text(self.method),
            route: text(self.route),
            status: self.status,
            denied_by: text(self.denied_by),
            normal: self.normal,
            calls: 0,
        }
    }
}

/// True when the callee's own proxy verified the caller's principal.
#[must_use]
pub fn proven(shape: &CallShape) -> bool {
    shape.source_identity == IdentitySource::MtlsCertificate
        && shape.reported != Reported::ClientOnly
        && !shape.handshake_failure.present()
        && shape.source_principal.present()
        && shape.source_principal != Symbol::OVERFLOW
}

/// Whether the peer proved a principal to the callee; `None` when no record of the callee's side says.
#[must_use]
pub fn authenticated(shape: &CallShape) -> Option<bool> {
    match (shape.reported, shape.security) {
        (Reported::ClientOnly, _) => None,
        _ if proven(shape) => Some(true),
        (_, Security::Plaintext | Security::Tls) => Some(false),
        (Reported::ServerOnly, Security::MutualTls) => Some(true),
        // With both sides it may be the caller's word alone.
        (_, Security::MutualTls | Security::Unknown) => None,
    }
}

/// True when the edge and its route were known before this window: half of what makes a call normal. The other half is
/// that nothing about it was flagged.
#[must_use]
pub fn known(baselines: &Baselines, key: &EdgeKey, shape: &CallShape) -> bool {
    let Some(edge) = baselines.edge(key) else { return false };
    let route = RouteKey::of(shape);
    !shape.denied_by.present()
        && (!route.route.present() || edge.route(route).is_some_and(selvedge_learn::RouteBaseline::served))
}

/// True for minutes that began no later than `onset`: in the onset's own minute both normal and deviating calls lie, and
/// what was normal there counts as harm.
#[must_use]
pub fn began_by(minute_seconds: u64, onset: EventTime) -> bool {
    minute_seconds.saturating_mul(SECOND) <= onset.0
}

fn node_of(end: &Endpoint, symbols: &SymbolTable) -> Option<Node> {
    let find = |text: &str| if text.is_empty() { Some(Symbol::NONE) } else { symbols.find(text) };
    Some(Node {
        cluster: find(&end.cluster)?,
        namespace: find(&end.namespace)?,
        workload: find(&end.workload)?,
    })
}

fn order(row: &TrafficRow) -> impl Ord + '_ {
    let who = (&row.destination, row.external, &row.source, row.source_identity, row.authenticated);
    (who, (&row.method, &row.route, row.status, &row.denied_by, row.normal, row.minute_seconds))
}
