//! Who invents names: the senders of most of the records whose names found no room.

use selvedge_model::Node;
use serde::{Deserialize, Serialize};

/// Senders that are counted apart. Whoever sends more than one in so many of all such records is among them.
const SENDERS_MAX: usize = 64;

/// Counts by sender in bounded room (Misra and Gries, 1982): a count is too low by at most one in [`SENDERS_MAX`] of all.
///
/// State across windows. What a flood leaves of it stays small, and depends on the order of records only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inventors {
    counts: Vec<(Node, u64)>,
}

impl Inventors {
    /// One more record of this sender.
    pub(crate) fn count(&mut self, sender: Node) {
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| *known == sender) {
            *count += 1;
        } else if self.counts.len() < SENDERS_MAX {
            self.counts.push((sender, 1));
        } else {
            self.counts.iter_mut().for_each(|(_, count)| *count -= 1);
            self.counts.retain(|(_, count)| *count > 0);
        }
    }

    /// The sender of most of them, and of how many at least. The first of equals.
    pub(crate) fn first(&self) -> Option<(Node, u64)> {
        self.counts.iter().rev().max_by_key(|(_, count)| *count).copied()
    }
}

#[cfg(test)]
mod tests {
    use selvedge_model::{Symbol, SymbolTable};

    use super::*;

    fn node(symbols: &mut SymbolTable, name: &str) -> Node {
        Node { workload: symbols.intern(name), ..Node::default() }
    }

    #[test]
    fn who_sends_most_is_known_though_others_come_and_go_in_any_number() {
        let mut symbols = SymbolTable::new(1 << 20);
        let mut inventors = Inventors::default();
        assert_eq!(inventors.first(), None);
        let flood = node(&mut symbols, "courier");
        for number in 0..10_000 {
            let other = node(&mut symbols, &format!("other-{number}"));
            inventors.count(other);
            inventors.count(flood);
            assert!(inventors.counts.len() <= SENDERS_MAX);
        }
        let (first, at_least) = inventors.first().unwrap();
        assert_eq!(first, flood);
        assert!((10_000 - 20_000 / 64..=10_000).contains(&at_least), "{at_least}");
        assert_ne!(first.workload, Symbol::OVERFLOW);
    }
}
