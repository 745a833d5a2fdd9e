//! What earlier records came to, so that the next one that says the same is not understood all over again.
//!
//! All bounded, and all only a shortcut: they answer only when the bytes that the answer was made of are the same
//! bytes, and an answer that left a trace elsewhere (a repaired string, a name that the full table refused) is never
//! kept. [`Patterns`] keep what repeats from call to call, [`RouteMemo`] the template of a path, [`ResourceMemo`] the
//! senders.

use selvedge_model::hash::{FixedMap, fixed_state, quick};
use selvedge_model::{Observation, SignalKind, Symbol, SymbolTable, TableId};

use super::ResourceContext;
use crate::patterns::Patterns;

/// Routes kept; a power of two. A sender reports a few edges times a few paths.
const SLOTS: usize = 512;
/// Bytes of a path or URL; longer ones are read every time. Together 128 KiB at most.
const PATH_BYTES_MAX: usize = 256;
/// Bytes of resources kept: ten thousand of the usual size. Past it all are forgotten (policy `forget_all`).
const RESOURCE_BYTES_MAX: usize = 4 << 20;

/// The memory of a normaliser: scratch text, what was learned, and what can be learned from the record in hand.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) scratch: String,
    pub(crate) patterns: Patterns,
    pub(crate) routes: RouteMemo,
    pub(crate) resources: ResourceMemo,
    pub(crate) lesson: Option<Lesson>,
    table: Option<TableId>,
}

/// What there is to learn from a record that was understood.
pub(crate) struct Lesson {
    /// The fields whose values had a part in the answer.
    pub(crate) decided: u128,
    pub(crate) answer: Observation,
}

impl Memory {
    /// Forgets all answers when `symbols` is not the table that their symbols are of.
    #[inline]
    pub(crate) fn use_table(&mut self, symbols: &SymbolTable) {
        if self.table.as_ref() != Some(symbols.id()) {
            self.table = Some(symbols.id().clone());
            self.patterns.clear();
            self.routes.slots.clear();
            self.resources.clear();
        }
    }
}

/// Senders by the bytes of their resource, for each signal.
#[derive(Default)]
pub(crate) struct ResourceMemo {
    known: [Option<FixedMap<Box<[u8]>, ResourceContext>>; 3],
    bytes: usize,
}

impl ResourceMemo {
    /// The sender that these bytes named before.
    pub(crate) fn recall(&self, signal: SignalKind, encoded: &[u8]) -> Option<ResourceContext> {
        self.known[signal as usize].as_ref()?.get(encoded).copied()
    }

    pub(crate) fn keep(&mut self, signal: SignalKind, encoded: &[u8], resource: ResourceContext) {
        if self.bytes + encoded.len() > RESOURCE_BYTES_MAX {
            self.clear();
        }
        self.bytes += encoded.len();
        let known = self.known[signal as usize].get_or_insert_with(|| FixedMap::with_hasher(fixed_state()));
        known.insert(encoded.into(), resource);
    }

    fn clear(&mut self) {
        *self = Self::default();
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
    use super::*;

    #[test]
    fn what_is_too_long_is_not_kept() {
        let mut routes = RouteMemo::default();
        let long = "x".repeat(PATH_BYTES_MAX + 1);
        routes.keep(long.as_bytes(), Symbol(7));
        assert_eq!(routes.recall(long.as_bytes()), None);
        routes.keep(b"/carts", Symbol(7));
        assert_eq!(routes.recall(b"/carts"), Some(Symbol(7)));
    }
}
