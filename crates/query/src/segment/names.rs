//! The text of symbols, copied out of the engine's table so that queries can read it on any thread.

use std::sync::Arc;

use selvedge_model::{Symbol, SymbolTable};

/// Names of a chunk that is grown by copying; a chunk with as many is left alone.
const CHUNK_NAMES: usize = 4_096;

/// All names up to some number. Cheap to clone: chunks are shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    chunks: Vec<Arc<Chunk>>,
    /// Names in all chunks.
    known: u32,
}

#[derive(Clone, Debug, Default)]
struct Chunk {
    first: u32,
    ends: Vec<u32>,
    text: String,
}

impl Names {
    /// Adds what the table has learned since the last time. Names never change, so what is here stays right.
    pub(crate) fn follow(&mut self, symbols: &SymbolTable) {
        let total = u32::try_from(symbols.len()).unwrap_or(u32::MAX);
        if total <= self.known {
            return;
        }
        let small = self.chunks.last().is_some_and(|chunk| chunk.ends.len() < CHUNK_NAMES);
        let mut chunk = if small { self.chunks.pop() } else { None }
            .unwrap_or_else(|| Arc::new(Chunk { first: self.known, ..Chunk::default() }));
        let grown = Arc::make_mut(&mut chunk);
        for number in self.known..total {
            grown.text.push_str(symbols.resolve(Symbol(number)));
            grown.ends.push(u32::try_from(grown.text.len()).unwrap_or(u32::MAX));
        }
        self.known = total;
        self.chunks.push(chunk);
    }

    /// The name of a symbol; empty when it was not known at the last [`Self::follow`].
    pub(crate) fn resolve(&self, symbol: Symbol) -> &str {
        let at = self.chunks.partition_point(|chunk| chunk.first <= symbol.0);
        let Some(chunk) = at.checked_sub(1).and_then(|at| self.chunks.get(at)) else { return "" };
        let slot = (symbol.0 - chunk.first) as usize;
        let start = slot.checked_sub(1).and_then(|before| chunk.ends.get(before)).copied().unwrap_or(0);
        let end = chunk.ends.get(slot).copied().unwrap_or(start);
        chunk.text.get(start as usize..end as usize).unwrap_or("")
    }

    pub(crate) fn bytes(&self) -> usize {
        let chunk = |chunk: &Arc<Chunk>| chunk.text.capacity() + chunk.ends.capacity() * size_of::<u32>();
        self.chunks.iter().map(chunk).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_table_and_old_copies_keep_what_they_knew() {
        let mut symbols = SymbolTable::new(1 << 20);
        let mut names = Names::default();
        let first = symbols.intern("first");
        names.follow(&symbols);
        let kept = names.clone();
        let many: Vec<Symbol> = (0..10_000).map(|number| symbols.intern(&format!("name-{number}"))).collect();
        names.follow(&symbols);
        assert_eq!(names.resolve(first), "first");
        assert_eq!(names.resolve(many[9_999]), "name-9999");
        assert_eq!([kept.resolve(first), kept.resolve(many[0])], ["first", ""]);
        assert_eq!(names.resolve(Symbol::NONE), "");
    }
}
