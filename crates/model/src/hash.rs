//! Hashing with a fixed seed, so that the same input gives the same ids and the same partition everywhere.

use std::hash::{BuildHasher, Hasher};

/// Fixed seed: maps keyed by it behave alike in every process and every replay.
/// Sizes are bounded wherever hostile keys can reach a map, so collisions cost a bounded scan at worst.
const SEED: u64 = 0x005e_1ed6_e5e1_ed6e;

/// Hash-map state with a fixed seed.
pub type FixedState = foldhash::fast::FixedState;

/// A map with the fixed hasher. Iteration order must not reach an output: sort at the stage's exit.
pub type FixedMap<K, V> = hashbrown::HashMap<K, V, FixedState>;

/// A set with the fixed hasher.
pub type FixedSet<K> = hashbrown::HashSet<K, FixedState>;

/// Keeps a [`FixedMap`] as a list of pairs, in the order of its keys: the same map has the same bytes.
pub mod listed {
    use std::hash::Hash;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{FixedMap, fixed_state};

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<K, V, S>(map: &FixedMap<K, V>, to: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize + Ord,
        V: Serialize,
        S: Serializer,
    {
        let mut pairs: Vec<(&K, &V)> = map.iter().collect();
        pairs.sort_unstable_by_key(|(key, _)| *key);
        to.collect_seq(pairs)
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, K, V, D>(from: D) -> Result<FixedMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Eq + Hash,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let pairs = Vec::<(K, V)>::deserialize(from)?;
        let mut map = FixedMap::with_capacity_and_hasher(pairs.len(), fixed_state());
        map.extend(pairs);
        Ok(map)
    }
}

/// The same for a [`FixedSet`].
pub mod listed_set {
    use std::hash::Hash;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{FixedSet, fixed_state};

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<K, S>(set: &FixedSet<K>, to: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize + Ord,
        S: Serializer,
    {
        let mut keys: Vec<&K> = set.iter().collect();
        keys.sort_unstable();
        to.collect_seq(keys)
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, K, D>(from: D) -> Result<FixedSet<K>, D::Error>
    where
        K: Deserialize<'de> + Eq + Hash,
        D: Deserializer<'de>,
    {
        let keys = Vec::<K>::deserialize(from)?;
        let mut set = FixedSet::with_capacity_and_hasher(keys.len(), fixed_state());
        set.extend(keys);
        Ok(set)
    }
}

/// The fixed state.
#[must_use]
pub fn fixed_state() -> FixedState {
    FixedState::with_seed(SEED)
}

/// 64-bit FNV-1a with a final avalanche: slow, frozen by its definition, for ids that people keep
/// (finding ids, deduplication keys) and for partition numbers that outlive one build.
#[derive(Clone, Copy)]
pub struct StableHasher(u64);

impl Default for StableHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl StableHasher {
    /// Adds a field; the length goes in too, so that `("ab", "c")` and `("a", "bc")` differ.
    #[must_use]
    pub fn field(mut self, bytes: &[u8]) -> Self {
        self.write(&(bytes.len() as u64).to_le_bytes());
        self.write(bytes);
        self
    }

    /// The hash of all fields so far.
    #[must_use]
    pub fn value(self) -> u64 {
        let mut mixed = self.0;
        mixed ^= mixed >> 33;
        mixed = mixed.wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^= mixed >> 33;
        mixed
    }

    /// The hash as 16 lower-case hex digits.
    #[must_use]
    pub fn hex(self) -> String {
        format!("{:016x}", self.value())
    }
}

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.value()
    }
}

/// The shard that owns a key. Stable over builds and processes: a shard is a partition (design section 9).
#[must_use]
pub fn partition(key: u128, partitions: usize) -> usize {
    let hash = StableHasher::default().field(&key.to_le_bytes()).value();
    let slot = (u128::from(hash) * partitions.max(1) as u128) >> 64;
    usize::try_from(slot).unwrap_or(0)
}

/// Hash of bytes under the fixed state: fast, for maps of one process, never for ids that people keep.
#[must_use]
pub fn quick(bytes: &[u8]) -> u64 {
    fixed_state().hash_one(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_boundaries_are_part_of_the_hash() {
        let left = StableHasher::default().field(b"ab").field(b"c").value();
        let right = StableHasher::default().field(b"a").field(b"bc").value();
        assert_ne!(left, right);
    }

    #[test]
    fn a_stable_hash_is_frozen() {
        assert_eq!(StableHasher::default().field(b"selvedge").hex(), "c867f9bac29377a9");
    }

    #[test]
    fn partitions_cover_the_range_and_only_it() {
        let mut seen = [false; 8];
        for key in 0..1_000_u128 {
            seen[partition(key, 8)] = true;
        }
        assert_eq!(seen, [true; 8]);
        assert_eq!(partition(u128::MAX, 1), 0);
    }
}
