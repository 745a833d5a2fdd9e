//! Records that say what an earlier record said: recognised by their bytes, so that they need not be understood again.
//!
//! Records of one sender carry the same attributes in the same order, and nearly all of them with the same values. A
//! trie is kept of encoded attributes, one root for each kind of sender. An edge of it is either a *whole* attribute,
//! where its value had a part in what was understood, or an attribute's *head* (its name, up to the value's tag), where
//! it had none. A record that gets through to an end has the answer that was learned there.
//!
//! Where several attributes follow each other whose values are not handed on, the bytes of all of them are compared at
//! once (a *run*), and only where they differ one by one.
//!
//! That is sound because understanding a record is a function of the fields it looks at, and which fields it looks at
//! next depends only on those before: a record that agrees with an earlier one on all of them, and on which others are
//! there, has the same answer. What differs from call to call (ids, status, sizes, path) is handed on as fields.

use std::borrow::Cow;

use selvedge_model::hash::{FixedMap, fixed_state, quick};
use selvedge_model::{Observation, Party, Side, SignalKind};

use crate::attribute::{Attributes, STRING_TAG, any_value, head_of, split};
use crate::fault::Fault;
use crate::field::{Field, field_of};
use crate::record::{Fields, Value};
use crate::wire::Reader;

/// Edges kept, some 12 MB: patterns of twenty thousand kinds of call. Past it nothing is learned (policy
/// `keep_known`), until so many records had to be understood that it is better to start anew.
const EDGES_MAX: usize = 1 << 19;
/// Bytes of attributes kept.
const TEXT_BYTES_MAX: usize = 24 << 20;
/// Answers kept, some 15 MB.
const ANSWERS_MAX: usize = 1 << 16;
/// Records that may go unrecognised while there is no room.
const MISSES_MAX: u64 = 1 << 20;
/// Attributes compared one after the other at one place. More whole ones are found by hash; more names than that at one
/// place come from a sender that invents them, and are not learned, or each would make every lookup there longer.
const SIBLINGS_MAX: usize = 8;
/// No edge.
const NIL: u32 = u32::MAX;

/// The patterns of all senders.
#[derive(Default)]
pub(crate) struct Patterns {
    roots: FixedMapOf<Sender, u32>,
    edges: Vec<Edge>,
    text: Vec<u8>,
    answers: Vec<Observation>,
    /// Whole attributes past [`SIBLINGS_MAX`], by node and hash.
    crowds: FixedMapOf<(u32, u64), u32>,
    /// Edges of the record that is being learned.
    path: Vec<u32>,
    misses: u64,
    unlearned: u64,
    generation: u32,
}

/// A map that begins empty by `Default`.
struct FixedMapOf<K, V>(FixedMap<K, V>);

impl<K, V> Default for FixedMapOf<K, V> {
    fn default() -> Self {
        Self(FixedMap::with_hasher(fixed_state()))
    }
}

/// All that an answer depends on beside the record's own fields.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sender {
    pub(crate) signal: SignalKind,
    pub(crate) reporter: Party,
    pub(crate) side: Option<Side>,
    pub(crate) proxy: bool,
}

/// Where a sender's patterns begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root {
    node: u32,
    generation: u32,
}

/// How far a record has got. A node is named by its first edge.
#[derive(Clone, Copy)]
pub(crate) struct Place(u32);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A node without edges.
    Nothing,
    /// All bytes of the attribute are the same.
    Whole,
    /// The attribute's name is the same, whatever its value.
    Head,
    /// The record ends here; `child` is the answer.
    End,
}

#[derive(Clone, Copy)]
struct Edge {
    kind: Kind,
    /// More whole attributes of this node are in [`Patterns::crowds`]; kept with the first edge.
    crowded: bool,
    /// The attribute's name is one of ours.
    known: bool,
    /// The field that the value is handed on as.
    field: Option<Field>,
    /// Bytes of the attribute's head.
    head: u8,
    /// Bytes of its tag and length in the record, which stand before it in the text.
    lead: u8,
    /// Bytes of the attribute as it was learned.
    length: u16,
    text: u32,
    child: u32,
    /// Bytes of the attributes that followed each other from here on, leads included; 0 when there is no run.
    run: u16,
    /// Where the run ends.
    run_to: u32,
    /// The next edge of the node: whole ones first.
    next: u32,
}

impl Edge {
    const NOTHING: Self = Self {
        kind: Kind::Nothing,
        crowded: false,
        known: false,
        field: None,
        head: 0,
        lead: 0,
        length: 0,
        text: 0,
        child: NIL,
        run: 0,
        run_to: NIL,
        next: NIL,
    };
}

/// How the values of fields are used.
pub(crate) struct Uses {
    /// Fields whose values had a part in the answer.
    pub(crate) decided: u128,
    /// Fields that are read of every record.
    pub(crate) read: u128,
    /// Fields that are read of every record, unless their value is the one that is known.
    pub(crate) checked: u128,
    /// The tag that attributes have in a record.
    pub(crate) tag: u8,
}

/// A record on its way through the patterns.
pub(crate) struct Following<'p, 'f, 'a> {
    pub(crate) patterns: &'p Patterns,
    pub(crate) place: Place,
    pub(crate) fields: &'f mut Fields<'a>,
}

impl<'a> Attributes<'a> for Following<'_, '_, 'a> {
    #[inline]
    fn known(&mut self, rest: &[u8]) -> usize {
        let Some((length, place)) = self.patterns.run(self.place, rest) else { return 0 };
        self.place = place;
        length
    }

    #[inline]
    fn take(&mut self, attribute: Reader<'a>) -> Result<bool, Fault> {
        let next = self.patterns.step(self.place, attribute, self.fields);
        self.place = next.unwrap_or(self.place);
        Ok(next.is_some())
    }
}

impl Patterns {
    /// Forgets everything: answers hold symbols of a table that is not used any more.
    pub(crate) fn clear(&mut self) {
        let generation = self.generation.wrapping_add(1);
        *self = Self { generation, unlearned: self.unlearned, ..Self::default() };
    }

    /// Where the patterns of a sender begin.
    pub(crate) fn root(&mut self, sender: Sender) -> Root {
        if self.is_full() && self.misses > MISSES_MAX {
            self.clear();
        }
        let node = match self.roots.0.get(&sender) {
            Some(node) => *node,
            None if self.is_full() => NIL,
            None => {
                let node = self.push(Edge::NOTHING);
                self.roots.0.insert(sender, node);
                node
            }
        };
        Root { node, generation: self.generation }
    }

    /// True while what begins there is still known.
    pub(crate) fn holds(&self, root: Root) -> bool {
        root.generation == self.generation
    }

    /// The beginning of a record.
    pub(crate) fn begin(&self, root: Root) -> Place {
        Place(if self.holds(root) { root.node } else { NIL })
    }

    /// Where the record is after its next attribute, whose value is set in `fields` if it is read of every record;
    /// `None` when no earlier record was like that.
    #[inline]
    fn step<'a>(&self, place: Place, attribute: Reader<'a>, fields: &mut Fields<'a>) -> Option<Place> {
        let bytes = attribute.rest();
        let edge = &self.edges[self.find(place.0, bytes)? as usize];
        if edge.kind == Kind::Head || edge.field.is_some() {
            // Nearly always the value is a short string, and fills the rest.
            if let Some([length, STRING_TAG, text_length, text @ ..]) = bytes.get(usize::from(edge.head)..)
                && usize::from(*length) == text.len() + 2
                && usize::from(*text_length) == text.len()
                && *length < 0x80
            {
                if let Some(field) = edge.field {
                    fields.set(field, Value::Text(Cow::Borrowed(text)));
                }
                return Some(Place(edge.child));
            }
            // The value must fill the rest: then nothing can come that would change it.
            let value = attribute.last_value(usize::from(edge.head))?;
            if let Some(field) = edge.field {
                fields.set(field, any_value(value).ok()?);
            } else if edge.known {
                // Not used, but a broken value of a name that we know costs the record, as it always does.
                any_value(value).ok()?;
            }
        }
        Some(Place(edge.child))
    }

    /// The run that the rest of a record begins with: its length and where it leads.
    #[inline]
    fn run(&self, place: Place, rest: &[u8]) -> Option<(usize, Place)> {
        let mut at = place.0;
        while let Some(edge) = self.edges.get(at as usize) {
            if edge.run > 0 {
                let start = edge.text as usize - usize::from(edge.lead);
                let run = &self.text[start..][..usize::from(edge.run)];
                if rest.starts_with(run) {
                    return Some((run.len(), Place(edge.run_to)));
                }
            }
            at = edge.next;
        }
        None
    }

    /// The answer to a record that ends here.
    #[inline]
    pub(crate) fn answer(&self, place: Place, side: Option<Side>) -> Option<&Observation> {
        let mut at = place.0;
        while let Some(edge) = self.edges.get(at as usize) {
            if edge.kind == Kind::End {
                let answer = &self.answers[edge.child as usize];
                if side.is_none_or(|side| side == answer.side) {
                    return Some(answer);
                }
            }
            at = edge.next;
        }
        None
    }

    /// Learns the next attribute of a record that had to be understood; `None` when that cannot be learned.
    pub(crate) fn teach(&mut self, place: Place, attribute: Reader<'_>, uses: &Uses) -> Option<Place> {
        let bytes = attribute.rest();
        let (key, _) = split(attribute).ok()?;
        let head = head_of(bytes, key)?;
        attribute.last_value(head.len())?;
        let (head, length) = (u8::try_from(head.len()).ok()?, u16::try_from(bytes.len()).ok()?);
        let name = field_of(key);
        let is = |fields: u128| name.is_some_and(|field| field.bit() & fields != 0);
        let decides = is(uses.decided);
        self.edges.get(place.0 as usize)?;
        // What is there is followed only if it is as exact as this record needs it.
        let known =
            self.find(place.0, bytes).filter(|at| !decides || self.edges[*at as usize].kind == Kind::Whole);
        let edge = match known {
            Some(edge) => edge,
            None if self.is_full() || (!decides && self.siblings(place.0, Kind::Head) >= SIBLINGS_MAX) => {
                self.unlearned += 1;
                return None;
            }
            None => {
                let kind = if decides { Kind::Whole } else { Kind::Head };
                let lead = self.write_lead(uses.tag, bytes.len());
                let text = u32::try_from(self.text.len()).ok()?;
                self.text.extend_from_slice(bytes);
                let known = name.is_some();
                let field = name.filter(|_| is(uses.read) || (is(uses.checked) && !decides));
                self.insert(place.0, Edge { kind, known, field, head, lead, length, text, ..Edge::NOTHING })
            }
        };
        if self.edges[edge as usize].child == NIL {
            self.edges[edge as usize].child = self.push(Edge::NOTHING);
        }
        self.path.push(edge);
        Some(Place(self.edges[edge as usize].child))
    }

    /// Learns the answer to a record that ends here.
    pub(crate) fn conclude(&mut self, place: Place, answer: &Observation) {
        if place.0 == NIL || self.is_full() || self.answer(place, Some(answer.side)).is_some() {
            return;
        }
        let child = u32::try_from(self.answers.len()).unwrap_or(NIL);
        self.answers.push(*answer);
        self.insert(place.0, Edge { kind: Kind::End, child, ..Edge::NOTHING });
        self.learn_runs();
    }

    /// Finds the runs along the path that was learned: attributes that stand side by side in the text, too.
    fn learn_runs(&mut self) {
        let mut after: Option<(usize, usize, u32)> = None;
        for at in std::mem::take(&mut self.path).into_iter().rev() {
            let edge = &mut self.edges[at as usize];
            if edge.field.is_some() {
                after = None;
                continue;
            }
            let start = edge.text as usize - usize::from(edge.lead);
            let stop = edge.text as usize + usize::from(edge.length);
            let (end, to) = match after {
                Some((next, end, to)) if next == stop => (end, to),
                _ => (stop, edge.child),
            };
            if edge.run == 0
                && let Ok(run) = u16::try_from(end - start)
            {
                (edge.run, edge.run_to) = (run, to);
            }
            after = Some((start, end, to));
        }
    }

    /// Writes what stands before an attribute in a record: its tag and length, as every encoder writes them.
    fn write_lead(&mut self, tag: u8, length: usize) -> u8 {
        self.text.push(tag);
        let (mut rest, mut lead) = (length, 1);
        loop {
            let low = (rest & 0x7f).to_le_bytes()[0];
            rest >>= 7;
            lead += 1;
            self.text.push(if rest > 0 { low | 0x80 } else { low });
            if rest == 0 {
                return lead;
            }
        }
    }

    /// A record that had to be understood will be learned.
    pub(crate) fn begin_to_learn(&mut self) {
        self.misses += 1;
        self.path.clear();
    }

    /// Records that could not be learned for want of room. They cost more to read, and nothing else.
    pub(crate) fn unlearned(&self) -> u64 {
        self.unlearned
    }

    fn is_full(&self) -> bool {
        self.edges.len() >= EDGES_MAX
            || self.text.len() >= TEXT_BYTES_MAX
            || self.answers.len() >= ANSWERS_MAX
    }

    /// The edge of a node that an attribute goes along: a whole one before a head.
    #[inline]
    fn find(&self, node: u32, attribute: &[u8]) -> Option<u32> {
        let mut at = node;
        let crowded = self.edges.get(at as usize)?.crowded;
        while let Some(edge) = self.edges.get(at as usize)
            && edge.kind == Kind::Whole
        {
            if self.text_of(edge) == attribute {
                return Some(at);
            }
            at = edge.next;
        }
        if crowded && let Some(found) = self.find_in_crowd(node, attribute) {
            return Some(found);
        }
        while let Some(edge) = self.edges.get(at as usize) {
            if edge.kind == Kind::Head && attribute.starts_with(&self.text_of(edge)[..usize::from(edge.head)])
            {
                return Some(at);
            }
            at = edge.next;
        }
        None
    }

    fn find_in_crowd(&self, node: u32, attribute: &[u8]) -> Option<u32> {
        let at = *self.crowds.0.get(&(node, quick(attribute)))?;
        (self.text_of(&self.edges[at as usize]) == attribute).then_some(at)
    }

    #[inline]
    fn text_of(&self, edge: &Edge) -> &[u8] {
        &self.text[edge.text as usize..][..usize::from(edge.length)]
    }

    /// Adds an edge to a node; its number.
    fn insert(&mut self, node: u32, edge: Edge) -> u32 {
        let first = self.edges[node as usize];
        if first.kind == Kind::Nothing {
            self.edges[node as usize] = edge;
            return node;
        }
        if edge.kind != Kind::Whole {
            let added = self.push(edge);
            let mut last = node;
            while self.edges[last as usize].next != NIL {
                last = self.edges[last as usize].next;
            }
            self.edges[last as usize].next = added;
            return added;
        }
        if self.siblings(node, Kind::Whole) < SIBLINGS_MAX {
            // The node keeps its number, so the first edge moves.
            let moved = self.push(Edge { crowded: false, ..first });
            self.edges[node as usize] = Edge { crowded: first.crowded, next: moved, ..edge };
            return node;
        }
        let hash = quick(self.text_of(&edge));
        let added = self.push(edge);
        self.crowds.0.insert((node, hash), added);
        self.edges[node as usize].crowded = true;
        added
    }

    /// Edges of a kind that are looked at one after the other.
    fn siblings(&self, node: u32, kind: Kind) -> usize {
        let first = self.edges.get(node as usize);
        std::iter::successors(first, |edge| self.edges.get(edge.next as usize))
            .filter(|edge| edge.kind == kind)
            .count()
    }

    fn push(&mut self, edge: Edge) -> u32 {
        self.edges.push(edge);
        u32::try_from(self.edges.len() - 1).unwrap_or(NIL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USES: Uses = Uses { decided: 0, read: 0, checked: 0, tag: 0x4a };

    fn attribute(key: &str) -> Vec<u8> {
        let length = u8::try_from(key.len()).unwrap();
        [&[0x0a, length], key.as_bytes(), &[0x12, 3, STRING_TAG, 1, b'x']].concat()
    }

    fn learn(patterns: &mut Patterns, root: Root, key: &str) {
        let attribute = attribute(key);
        patterns.begin_to_learn();
        if let Some(place) = patterns.teach(patterns.begin(root), Reader::new(&attribute), &USES) {
            patterns.conclude(place, &Observation::default());
        }
    }

    fn knows(patterns: &Patterns, root: Root, key: &str) -> bool {
        let attribute = attribute(key);
        let mut fields = Fields::new();
        let place = patterns.step(patterns.begin(root), Reader::new(&attribute), &mut fields);
        place.is_some_and(|place| patterns.answer(place, None).is_some())
    }

    /// Scenario: a hostile sender puts another name in front of every record.
    /// Guarantees: what was known stays known, and lookups do not become longer and longer.
    #[test]
    fn invented_names_at_one_place_are_not_learned_without_end() {
        let mut patterns = Patterns::default();
        let sender =
            Sender { signal: SignalKind::Traces, reporter: Party::default(), side: None, proxy: false };
        let root = patterns.root(sender);
        learn(&mut patterns, root, "known");
        for number in 0..1_000 {
            learn(&mut patterns, root, &format!("invented-{number}"));
        }
        assert!(knows(&patterns, root, "known"));
        assert!(!knows(&patterns, root, "invented-999"));
        assert!(patterns.edges.len() <= 4 * SIBLINGS_MAX, "{} edges", patterns.edges.len());
        assert!(patterns.unlearned() >= 1_000 - SIBLINGS_MAX as u64);
    }
}
