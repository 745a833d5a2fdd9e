//! A bounded table of names: every low-cardinality string of the telemetry is a `u32` after decoding.

use std::sync::Arc;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use crate::hash::quick;

/// A name in a [`SymbolTable`]. Numbers depend on arrival order: sort by the resolved text, never by the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Symbol(pub u32);

impl Symbol {
    /// The empty string: "not given".
    pub const NONE: Self = Self(0);
    /// What a name becomes once the table is full.
    pub const OVERFLOW: Self = Self(1);

    /// True when a name was given.
    #[must_use]
    pub fn present(self) -> bool {
        self != Self::NONE
    }
}

/// Tells one table from every other, also from one that takes its place in memory: whoever keeps symbols of a table
/// keeps its id too, and then knows when the symbols no longer apply.
#[derive(Clone, Debug, Default)]
pub struct TableId(Arc<u8>);

impl PartialEq for TableId {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TableId {}

/// Names by number and numbers by name. One owner, no locks.
///
/// Bounded in bytes: past `bytes_max` a new name becomes [`Symbol::OVERFLOW`] (policy `pool`) and is counted,
/// so that a flood of invented names can neither grow memory nor evict the names that are known.
#[derive(Clone)]
pub struct SymbolTable {
    text: String,
    ends: Vec<u32>,
    index: HashTable<u32>,
    bytes_max: usize,
    overflowed: u64,
    id: TableId,
}

/// What an overflowed name reads as.
pub const OVERFLOW_TEXT: &str = "(overflow)";
/// Bytes a name costs beside its text: its end offset and its slot in the index.
const ENTRY_BYTES: usize = 12;

impl SymbolTable {
    /// A table that holds names worth `bytes_max` bytes, its own bookkeeping included.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let mut table = Self {
            text: String::new(),
            ends: Vec::new(),
            index: HashTable::new(),
            bytes_max: bytes_max.min(u32::MAX as usize),
            overflowed: 0,
            id: TableId::default(),
        };
        table.push("");
        table.push(OVERFLOW_TEXT);
        table
    }

    /// All names in the order of their numbers, without the two that every table has, and how many found no room.
    pub fn names(&self) -> (impl Iterator<Item = &str>, u64) {
        let own =
            (2..self.ends.len()).map(|slot| slice(&self.text, &self.ends, u32::try_from(slot).unwrap_or(0)));
        (own, self.overflowed)
    }

    /// A table with these names under the same numbers, even when that is more than `bytes_max`: what stands elsewhere under
    /// a number must find it. `None` when a name is there twice, or empty, or there are too many: no table gave those out.
    #[must_use]
    pub fn restore<'a>(
        bytes_max: usize,
        names: impl Iterator<Item = &'a str>,
        overflowed: u64,
    ) -> Option<Self> {
        let mut table = Self { overflowed, ..Self::new(bytes_max) };
        for name in names {
            let fits = table.text.len() + name.len() <= u32::MAX as usize;
            if name.is_empty() || !fits || table.find(name).is_some() {
                return None;
            }
            table.push(name);
        }
        Some(table)
    }

    /// The number of `name`; a new name is added while there is room.
    pub fn intern(&mut self, name: &str) -> Symbol {
        if name.is_empty() {
            return Symbol::NONE;
        }
        let hash = quick(name.as_bytes());
        let found = self.index.find(hash, |slot| slice(&self.text, &self.ends, *slot) == name);
        if let Some(slot) = found {
            return Symbol(*slot);
        }
        if self.bytes() + name.len() + ENTRY_BYTES > self.bytes_max {
            self.overflowed += 1;
            return Symbol::OVERFLOW;
        }
        Symbol(self.push(name))
    }

    /// The number of a name that is already here.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Symbol> {
        if name.is_empty() {
            return Some(Symbol::NONE);
        }
        self.index
            .find(quick(name.as_bytes()), |slot| slice(&self.text, &self.ends, *slot) == name)
            .map(|slot| Symbol(*slot))
    }

    /// The name of a number that this table gave out; empty for any other.
    #[must_use]
    pub fn resolve(&self, symbol: Symbol) -> &str {
        slice(&self.text, &self.ends, symbol.0)
    }

    /// How many names there are: symbols are the numbers below it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Never: the empty name and the overflow name are always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + self.ends.len() * ENTRY_BYTES
    }

    /// Which table this is.
    #[must_use]
    pub fn id(&self) -> &TableId {
        &self.id
    }

    /// How many lookups found no room.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    fn push(&mut self, name: &str) -> u32 {
        let slot = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.text.push_str(name);
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        let Self { text, ends, index, .. } = self;
        index
            .insert_unique(quick(name.as_bytes()), slot, |other| quick(slice(text, ends, *other).as_bytes()));
        slot
    }
}

fn slice<'a>(text: &'a str, ends: &[u32], slot: u32) -> &'a str {
    let slot = slot as usize;
    let start = if slot == 0 { 0 } else { ends.get(slot - 1).copied().unwrap_or(0) as usize };
    let end = ends.get(slot).copied().unwrap_or(0) as usize;
    text.get(start..end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_reads_back() {
        let mut table = SymbolTable::new(1 << 20);
        let orders = table.intern("orders");
        assert_eq!(table.intern("orders"), orders);
        assert_ne!(table.intern("payments"), orders);
        assert_eq!(table.resolve(orders), "orders");
        assert_eq!(table.intern(""), Symbol::NONE);
        assert_eq!(table.find("nowhere"), None);
    }

    #[test]
    fn a_table_is_itself_and_no_other() {
        let table = SymbolTable::new(200);
        let kept = table.id().clone();
        assert_eq!(table.id(), &kept);
        drop(table);
        assert_ne!(SymbolTable::new(200).id(), &kept);
    }

    #[test]
    fn a_full_table_pools_new_names_and_keeps_old_ones() {
        let mut table = SymbolTable::new(200);
        let first = table.intern("first");
        for number in 0..1_000 {
            table.intern(&format!("flood-{number}"));
        }
        assert!(table.bytes() <= 200);
        assert_eq!(table.intern("one more"), Symbol::OVERFLOW);
        assert_eq!(table.resolve(Symbol::OVERFLOW), OVERFLOW_TEXT);
        assert_eq!(table.intern("first"), first);
        assert!(table.overflowed() > 900);
    }
}
