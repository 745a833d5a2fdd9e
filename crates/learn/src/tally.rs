//! Counts by key with a limit on the number of keys.

use std::hash::Hash;

use selvedge_model::hash::{FixedMap, fixed_state};
use serde::{Deserialize, Serialize};

/// Counts by key. Policy `first`: once full, known keys go on counting and new ones are only counted as overflow.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "K: Serialize + Ord", deserialize = "K: Deserialize<'de> + Eq + Hash"))]
pub struct Tally<K> {
    #[serde(with = "selvedge_model::hash::listed")]
    counts: FixedMap<K, u64>,
    keys_max: usize,
    overflowed: u64,
}

impl<K: Copy + Eq + Hash> Tally<K> {
    /// A tally of at most `keys_max` keys.
    #[must_use]
    pub fn new(keys_max: usize) -> Self {
        Self { counts: FixedMap::with_hasher(fixed_state()), keys_max, overflowed: 0 }
    }

    /// Counts `count` for `key`.
    pub fn add(&mut self, key: K, count: u64) {
        if let Some(known) = self.counts.get_mut(&key) {
            *known += count;
        } else if self.counts.len() < self.keys_max {
            self.counts.insert(key, count);
        } else {
            self.overflowed += count;
        }
    }

    /// The count of `key`.
    #[must_use]
    pub fn count(&self, key: K) -> u64 {
        self.counts.get(&key).copied().unwrap_or(0)
    }

    /// True when `key` was counted.
    #[must_use]
    pub fn knows(&self, key: K) -> bool {
        self.counts.contains_key(&key)
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// True when nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Sum of all counts, overflow included.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum::<u64>() + self.overflowed
    }

    /// Keys that were counted exactly once: what Good and Turing's estimate of the unseen is made of.
    #[must_use]
    pub fn singletons(&self) -> u64 {
        self.counts.values().filter(|count| **count == 1).count() as u64
    }

    /// Keys and counts in no particular order: sort by names before it reaches an output.
    pub fn iter(&self) -> impl Iterator<Item = (K, u64)> {
        self.counts.iter().map(|(key, count)| (*key, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_tally_counts_what_it_knows_and_pools_the_rest() {
        let mut tally = Tally::new(2);
        [1, 2, 3, 1, 4].iter().for_each(|key| tally.add(*key, 1));
        assert_eq!((tally.count(1), tally.count(2), tally.count(3)), (2, 1, 0));
        assert_eq!((tally.len(), tally.total(), tally.singletons()), (2, 5, 1));
    }
}
