//! A bounded map that forgets by generation: when the young half is full, the old half goes.

use std::hash::Hash;

use selvedge_model::hash::{FixedMap, fixed_state};
use serde::{Deserialize, Serialize};

/// Keeps what was used lately: a hit in the old half moves the entry to the young one.
#[derive(Serialize, Deserialize)]
#[serde(bound(
    serialize = "K: Serialize + Ord, V: Serialize",
    deserialize = "K: Deserialize<'de> + Eq + Hash, V: Deserialize<'de>"
))]
pub(crate) struct Generations<K, V> {
    #[serde(with = "selvedge_model::hash::listed")]
    young: FixedMap<K, V>,
    #[serde(with = "selvedge_model::hash::listed")]
    old: FixedMap<K, V>,
    young_max: usize,
    forgotten: u64,
}

impl<K: Copy + Eq + Hash, V: Copy> Generations<K, V> {
    /// A map that holds at most `entries_max`, and at least half of that of the entries used last.
    pub(crate) fn new(entries_max: usize) -> Self {
        Self {
            young: FixedMap::with_hasher(fixed_state()),
            old: FixedMap::with_hasher(fixed_state()),
            young_max: (entries_max / 2).max(1),
            forgotten: 0,
        }
    }

    pub(crate) fn configure(&mut self, entries_max: usize) {
        self.young_max = (entries_max / 2).max(1);
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(*value);
        }
        let value = self.old.remove(key)?;
        self.insert(*key, value);
        Some(value)
    }

    /// Inserts a key that [`Self::get`] did not find a moment ago, or overwrites one that it found.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.young_max && !self.young.contains_key(&key) {
            self.forgotten += self.old.len() as u64;
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key, value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten_within_the_bound() {
        let mut map = Generations::new(8);
        map.insert(0, "kept");
        for key in 1..1_000 {
            map.insert(key, "flood");
            assert_eq!(map.get(&0), Some("kept"));
            assert!(map.len() <= 8);
        }
        assert_eq!(map.get(&1), None);
        assert!(map.forgotten() > 900);
        assert!(!map.is_empty());
    }
}
