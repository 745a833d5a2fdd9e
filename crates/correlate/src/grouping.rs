//! Which findings belong together: they share an edge, a trace, a workload or an identity, close in time.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use selvedge_model::finding::Family;
use selvedge_model::hash::StableHasher;
use selvedge_model::{Endpoint, EventTime, Finding};

use crate::config::CorrelateConfig;
use crate::kinds::{Class, class};

/// Traces looked at for joining: an incident shows no more of them either.
pub(crate) const TRACES_MAX: usize = 8;

/// A finding as a point of contact: `node` is the thing it belongs to (an open incident, or itself).
pub(crate) struct Item {
    node: usize,
    class: Class,
    contacts: Vec<Contact>,
}

/// A thing that two findings may share, and the time in which the finding holds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Contact {
    key: u64,
    start: EventTime,
    end: EventTime,
    node: usize,
    /// It touches only what is the matter with the thing, not others that touch it as weakly: that two callees have one
    /// caller does not make them one story.
    weak: bool,
}

impl Item {
    /// A finding that just came in.
    pub(crate) fn fresh(node: usize, finding: &Finding) -> Self {
        let mut contacts = own_contacts(node, finding, finding.detected);
        neighbourhood(node, finding, &mut contacts);
        Self { node, class: class(finding), contacts }
    }

    /// A finding of an open incident. Its edge stays taken as long as the incident may be quiet: what deviates
    /// there again is the same story. When `near`, its neighbourhood is taken too.
    pub(crate) fn kept(node: usize, finding: &Finding, near: bool, config: &CorrelateConfig) -> Self {
        let slack = config.quiet.saturating_sub(config.join_within);
        let mut contacts = own_contacts(node, finding, finding.detected.after(slack));
        if near {
            neighbourhood(node, finding, &mut contacts);
        }
        Self { node, class: class(finding), contacts }
    }
}

/// The edge, until `edge_end`, and the traces.
fn own_contacts(node: usize, finding: &Finding, edge_end: EventTime) -> Vec<Contact> {
    let (start, end) = (finding.onset, finding.detected.max(finding.onset));
    let edge = edge_key(finding).map(|key| Contact { key, start, end: edge_end.max(end), node, weak: false });
    let traces = finding.exemplars.iter().filter(|trace| trace.present()).take(TRACES_MAX).map(|trace| {
        let key = StableHasher::default().field(b"trace").field(&trace.0).value();
        Contact { key, start, end, node, weak: false }
    });
    edge.into_iter().chain(traces).collect()
}

/// Both workloads, the source's identity, and an identity that is claimed.
fn neighbourhood(node: usize, finding: &Finding, contacts: &mut Vec<Contact>) {
    let (start, end) = (finding.onset, finding.detected.max(finding.onset));
    let mut push = |key: u64, weak: bool| contacts.push(Contact { key, start, end, node, weak });
    let (source, destination) = (&finding.edge.source, &finding.edge.destination);
    // Logs tell of the callee alone; its caller is where it may spread to.
    let aside = finding.kind.family() == Family::Logs;
    // One key for both ends: it joins findings of one caller, of one callee, and of neighbouring edges.
    for (endpoint, weak) in [(source, aside), (destination, false)] {
        if !endpoint.workload.is_empty() {
            push(endpoint_hash(b"node", endpoint).value(), weak);
        }
    }
    let mut touch = |key: u64| push(key, false);
    if !source.principal.is_empty() {
        touch(StableHasher::default().field(b"principal").field(source.principal.as_bytes()).value());
    }
    if !finding.claimed_principal.is_empty() {
        touch(StableHasher::default().field(b"claimed").field(finding.claimed_principal.as_bytes()).value());
    }
}

/// The edge as a number; `None` when neither end is known.
pub(crate) fn edge_key(finding: &Finding) -> Option<u64> {
    let (source, destination) = (&finding.edge.source, &finding.edge.destination);
    if source.workload.is_empty() && destination.workload.is_empty() {
        return None;
    }
    let mut hasher = endpoint_hash(b"edge", source);
    hasher.write_u64(endpoint_hash(b"to", destination).value());
    Some(hasher.value())
}

fn endpoint_hash(tag: &[u8], endpoint: &Endpoint) -> StableHasher {
    StableHasher::default()
        .field(tag)
        .field(endpoint.cluster.as_bytes())
        .field(endpoint.namespace.as_bytes())
        .field(endpoint.workload.as_bytes())
}

/// Groups nodes `0..nodes` by their items. `first` gives each node's place in time, by which "the earliest group" is
/// chosen; `returning` are pairs of nodes that are one thing for certain. The result lists groups and their members in
/// ascending order of node; the order of `items` is irrelevant.
pub(crate) fn group(
    nodes: usize,
    items: &[Item],
    returning: &[(usize, usize)],
    first: &dyn Fn(usize) -> (EventTime, String),
    config: &CorrelateConfig,
) -> Vec<Vec<usize>> {
    let mut sets = Sets::new(nodes);
    for (known, again) in returning {
        sets.join(*known, *again);
    }
    let standing = sets.standing(items);
    // Leads that touch are one story.
    weld(&mut sets, items.iter().filter(|item| item.class == Class::Lead), config);
    // Symptoms that touch are one story, which belongs to at most one group of leads.
    let free = |class: Class| items.iter().filter(move |item| item.class == class);
    let symptoms: Vec<&Item> =
        free(Class::Symptom).filter(|item| standing[item.node] == Class::Symptom).collect();
    weld(&mut sets, symptoms.iter().copied(), config);
    let anchors = |item: &&Item| item.class < Class::Info && standing[item.node] == Class::Lead;
    attach(&mut sets, &symptoms, &items.iter().filter(anchors).collect::<Vec<_>>(), first, config);
    // Context goes to whatever it touches first, and joins nothing.
    let context: Vec<&Item> = free(Class::Info).filter(|item| standing[item.node] == Class::Info).collect();
    let evidence = |item: &&Item| item.class < Class::Info;
    let attached =
        attach(&mut sets, &context, &items.iter().filter(evidence).collect::<Vec<_>>(), first, config);
    weld(&mut sets, context.into_iter().filter(|item| !attached.contains(&item.node)), config);
    sets.groups()
}

/// Joins all nodes that hold the same thing at times at most `join_within` apart, transitively.
fn weld<'a>(sets: &mut Sets, items: impl Iterator<Item = &'a Item>, config: &CorrelateConfig) {
    let mut contacts: Vec<Contact> = items.flat_map(|item| item.contacts.iter().copied()).collect();
    contacts.sort_unstable();
    for bucket in contacts.chunk_by(|left, right| left.key == right.key) {
        let mut end = EventTime::ABSENT;
        let mut before: Option<&Contact> = None;
        for contact in bucket.iter().filter(|contact| !contact.weak) {
            if let Some(before) = before.filter(|_| contact.start <= end.after(config.join_within)) {
                sets.join(before.node, contact.node);
            }
            end = end.max(contact.end);
            before = Some(contact);
        }
        for weak in bucket.iter().filter(|contact| contact.weak) {
            if let Some(near) = bucket.iter().find(|other| !other.weak && near(weak, other, config)) {
                sets.join(near.node, weak.node);
            }
        }
    }
}

/// True when both hold their thing at times at most `join_within` apart.
fn near(left: &Contact, right: &Contact, config: &CorrelateConfig) -> bool {
    left.start <= right.end.after(config.join_within) && right.start <= left.end.after(config.join_within)
}

/// Joins each set of `loose` with the earliest set of `anchors` that it touches; returns the nodes that found one.
fn attach(
    sets: &mut Sets,
    loose: &[&Item],
    anchors: &[&Item],
    first: &dyn Fn(usize) -> (EventTime, String),
    config: &CorrelateConfig,
) -> BTreeSet<usize> {
    let mut by_key: BTreeMap<u64, Vec<Contact>> = BTreeMap::new();
    for contact in anchors.iter().flat_map(|item| &item.contacts) {
        by_key.entry(contact.key).or_default().push(*contact);
    }
    let mut touched: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for contact in loose.iter().flat_map(|item| &item.contacts) {
        let near = |anchor: &&Contact| near(anchor, contact, config);
        let root = sets.root(contact.node);
        let found = by_key.get(&contact.key).into_iter().flatten().filter(near).map(|anchor| anchor.node);
        touched.entry(root).or_default().extend(found);
    }
    touched.retain(|_, found| !found.is_empty());
    let places = sets.earliest(first);
    let home =
        |found: &[usize]| found.iter().map(|node| sets.root(*node)).min_by_key(|root| places.get(root));
    let joins: Vec<(usize, usize)> =
        touched.iter().filter_map(|(root, found)| home(found).map(|home| (*root, home))).collect();
    let attached = |item: &&&Item| touched.contains_key(&sets.root(item.node));
    let settled: BTreeSet<usize> = loose.iter().filter(attached).map(|item| item.node).collect();
    for (root, home) in joins {
        sets.join(root, home);
    }
    settled
}

/// Disjoint sets of nodes. The root of a set is its smallest node, so that it does not depend on the order of joins.
struct Sets {
    parents: Vec<usize>,
}

impl Sets {
    fn new(nodes: usize) -> Self {
        Self { parents: (0..nodes).collect() }
    }

    fn root(&self, mut node: usize) -> usize {
        while self.parents[node] != node {
            node = self.parents[node];
        }
        node
    }

    fn join(&mut self, left: usize, right: usize) {
        let root = self.root(left).min(self.root(right));
        self.hang(left, root);
        self.hang(right, root);
    }

    /// Hangs a whole path below `root`: paths stay short.
    fn hang(&mut self, mut node: usize, root: usize) {
        while self.parents[node] != root {
            let next = std::mem::replace(&mut self.parents[node], root);
            if next == node {
                return;
            }
            node = next;
        }
    }

    /// The most leading class in each node's set.
    fn standing(&self, items: &[Item]) -> Vec<Class> {
        let mut by_root = vec![Class::Info; self.parents.len()];
        for item in items {
            let root = self.root(item.node);
            by_root[root] = by_root[root].min(item.class);
        }
        (0..self.parents.len()).map(|node| by_root[self.root(node)]).collect()
    }

    /// The earliest place in time of each set, by root.
    fn earliest(&self, first: &dyn Fn(usize) -> (EventTime, String)) -> BTreeMap<usize, (EventTime, String)> {
        let mut places: BTreeMap<usize, (EventTime, String)> = BTreeMap::new();
        for node in 0..self.parents.len() {
            let place = first(node);
            let known = places.entry(self.root(node)).or_insert_with(|| place.clone());
            if place < *known {
                *known = place;
            }
        }
        places
    }

    fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for node in 0..self.parents.len() {
            groups.entry(self.root(node)).or_default().push(node);
        }
        groups.into_values().collect()
    }
}
