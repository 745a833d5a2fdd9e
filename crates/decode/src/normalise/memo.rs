//! What earlier records came to, so that the next record that says the same is not understood all over again.
//!
//! Two memos, both direct-mapped and bounded, both only a shortcut: they answer only when the bytes that the answer
//! was made of are the same bytes, and an answer that left a trace elsewhere (a repaired string, a name that the
//! full table refused) is never kept. [`CallMemo`] keeps the parts of an observation that repeat from call to call
//! of one edge; [`RouteMemo`] keeps the template of a path.

use selvedge_model::hash::quick;
use selvedge_model::{Observation, ObservationKind, Party, Side, Symbol, SymbolTable, TableId};

use super::reading::Reading;
use crate::field::Field;

/// Answers kept per memo; a power of two. A sender reports a few edges times a few methods and paths.
const SLOTS: usize = 512;
/// Bytes of what one record said; records that say more are understood every time. Together 512 KiB at most.
const SAID_BYTES_MAX: usize = 1_024;
/// Bytes of a path or URL; longer ones are read every time. Together 128 KiB at most.
const PATH_BYTES_MAX: usize = 256;

/// Fields that tell calls apart: they choose the slot, and are not what decides whether the answer fits.
const CALL_HINTS: [Field; 7] = [
    Field::UpstreamCluster,
    Field::UpstreamPeerPrincipal,
    Field::SourcePrincipal,
    Field::SourceWorkload,
    Field::DestinationWorkload,
    Field::ServerAddress,
    Field::Method,
];

/// The memory of a normaliser: scratch text and both memos.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) scratch: String,
    pub(crate) calls: CallMemo,
    pub(crate) routes: RouteMemo,
    table: Option<TableId>,
}

impl Memory {
    /// Forgets all answers when `symbols` is not the table that their symbols are of.
    #[inline]
    pub(crate) fn use_table(&mut self, symbols: &SymbolTable) {
        if self.table.as_ref() != Some(symbols.id()) {
            self.table = Some(symbols.id().clone());
            self.calls.slots.clear();
            self.routes.slots.clear();
        }
    }
}

/// Where a record of a call belongs in [`CallMemo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallKey {
    kind: ObservationKind,
    side: Side,
    reporter: Party,
    slot: usize,
}

impl CallKey {
    /// `reporter` is the resource's; with kind and side it is all that an answer depends on beside the fields.
    #[inline]
    pub(crate) fn new(kind: ObservationKind, side: Side, reporter: Party, reading: &Reading<'_>) -> Self {
        let mut mixed = u64::from(reporter.workload.0) << 8 | (side as u64) << 4 | kind as u64;
        for field in CALL_HINTS {
            if let Some(bytes) = reading.bytes(field) {
                mixed = mixed.rotate_left(7) ^ quick(bytes) ^ field as u64;
            }
        }
        Self { kind, side, reporter, slot: slot_of(mixed) }
    }

    pub(crate) fn kind(&self) -> ObservationKind {
        self.kind
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    pub(crate) fn reporter(&self) -> &Party {
        &self.reporter
    }
}

/// The parts of an observation that repeat.
///
/// Understanding a record is a function of the fields it looks at, and which fields it looks at next depends only on
/// those before. So a record that agrees on all fields that were looked at has the same answer, whatever the others
/// say; no list of the relevant fields is needed, which nobody would keep up to date.
#[derive(Default)]
pub(crate) struct CallMemo {
    slots: Vec<Option<Box<Call>>>,
}

struct Call {
    key: CallKey,
    said: Said,
    answer: Observation,
}

/// What a record said in the fields that were looked at.
#[derive(Default)]
pub(crate) struct Said {
    /// Bit per field that was looked at.
    pub(crate) looked_at: u128,
    /// Those of them that were sent.
    pub(crate) sent: u128,
    /// The values of the sent ones, by field.
    pub(crate) values: Vec<u8>,
}

impl CallMemo {
    /// The answer to an earlier record that said the same.
    #[inline]
    pub(crate) fn recall(&self, key: &CallKey, reading: &Reading<'_>) -> Option<&Observation> {
        let call = self.slots.get(key.slot)?.as_ref()?;
        (call.key == *key && reading.says(&call.said)).then_some(&call.answer)
    }

    /// Keeps the answer to this record, unless the record said too much.
    pub(crate) fn keep(
        &mut self,
        key: CallKey,
        looked_at: u128,
        reading: &Reading<'_>,
        answer: &Observation,
    ) {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, || None);
        }
        let slot = &mut self.slots[key.slot];
        let new = || Box::new(Call { key, said: Said::default(), answer: *answer });
        let mut call = slot.take().unwrap_or_else(new);
        if reading.write_said(looked_at, SAID_BYTES_MAX, &mut call.said) {
            call.key = key;
            call.answer = *answer;
            *slot = Some(call);
        }
    }
}

/// The route of a raw path or URL.
#[derive(Default)]
pub(crate) struct RouteMemo {
    slots: Vec<(Vec<u8>, Symbol)>,
}

impl RouteMemo {
    /// The route that this text gave before.
    #[inline]
    pub(crate) fn recall(&self, path: &[u8]) -> Option<Symbol> {
        let (known, route) = self.slots.get(slot_of(quick(path)))?;
        (known == path && !path.is_empty()).then_some(*route)
    }

    pub(crate) fn keep(&mut self, path: &[u8], route: Symbol) {
        if path.len() > PATH_BYTES_MAX {
            return;
        }
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, Default::default);
        }
        let slot = &mut self.slots[slot_of(quick(path))];
        slot.0.clear();
        slot.0.extend_from_slice(path);
        slot.1 = route;
    }
}

fn slot_of(hash: u64) -> usize {
    const { assert!(SLOTS.is_power_of_two() && SLOTS <= 1 << 16) };
    // Multiplied, because the lower bits of a call's mix are poor.
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    usize::try_from(mixed).map_or(0, |mixed| mixed % SLOTS)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::record::{Fields, Value};

    fn fields(cluster: &str, status: i64) -> Fields<'_> {
        let mut fields = Fields::new();
        fields.set(Field::UpstreamCluster, Value::Text(Cow::Borrowed(cluster.as_bytes())));
        fields.set(Field::Status, Value::Int(status));
        fields
    }

    #[test]
    fn an_answer_fits_a_record_that_agrees_on_what_was_looked_at_and_no_other() {
        let mut memo = CallMemo::default();
        let key = |reading: &Reading<'_>| {
            CallKey::new(ObservationKind::Span, Side::Client, Party::default(), reading)
        };
        let (known, other_status, other_cluster) =
            (fields("cart", 200), fields("cart", 503), fields("web", 200));
        let mut reading = Reading::new(&known, None);
        reading.set_looked_at(0);
        assert!(reading.has(Field::UpstreamCluster) && !reading.has(Field::Authority));
        let answer = Observation { method: Symbol(7), ..Observation::default() };
        memo.keep(key(&reading), reading.looked_at(), &reading, &answer);
        let recalled = |fields: &Fields<'_>| {
            let reading = Reading::new(fields, None);
            memo.recall(&key(&reading), &reading).copied()
        };
        assert_eq!(recalled(&known), Some(answer));
        assert_eq!(recalled(&other_status), Some(answer), "nobody looked at the status");
        assert_eq!(recalled(&other_cluster), None);
        let mut with_authority = fields("cart", 200);
        with_authority.set(Field::Authority, Value::Absent);
        assert_eq!(recalled(&with_authority), None, "its absence was looked at");
    }

    #[test]
    fn what_is_too_long_is_not_kept() {
        let (mut calls, mut routes) = (CallMemo::default(), RouteMemo::default());
        let long = "x".repeat(SAID_BYTES_MAX);
        let fields = fields(&long, 200);
        let reading = Reading::new(&fields, None);
        let key = CallKey::new(ObservationKind::Span, Side::Client, Party::default(), &reading);
        calls.keep(key, reading.looked_at(), &reading, &Observation::default());
        assert!(calls.recall(&key, &reading).is_none());
        routes.keep(long.as_bytes(), Symbol(7));
        assert_eq!(routes.recall(long.as_bytes()), None);
        routes.keep(b"/carts", Symbol(7));
        assert_eq!(routes.recall(b"/carts"), Some(Symbol(7)));
    }
}
