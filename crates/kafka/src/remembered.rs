//! What the journal has already: a message that Kafka delivers again after a crash is recognised by its bytes.
//!
//! Between a batch that is durable and the commit of its offset a process may die; then its journal counts the batch, and
//! Kafka brings it once more. By bytes, not by offset: topics are made anew, and nothing must be passed over that is not
//! the same.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest as _, Sha256};

/// Batches remembered, 60 bytes each; the oldest go first. What was not committed is far less: a second's worth.
const BATCHES_MAX: usize = 262_144;

/// Length and CRC-32: cheap, and enough to say that it is another one.
type Sum = (usize, u32);
type Fingerprint = [u8; 32];

/// Batches that a journal holds.
#[derive(Debug, Default)]
pub struct Remembered {
    batches: HashMap<Sum, Fingerprint>,
    order: VecDeque<Sum>,
}

impl Remembered {
    /// Takes note of a batch of the journal.
    pub fn note(&mut self, body: &[u8]) {
        let sum = sum(body);
        if self.batches.insert(sum, fingerprint(body)).is_none() {
            self.order.push_back(sum);
        }
        if BATCHES_MAX < self.order.len()
            && let Some(oldest) = self.order.pop_front()
        {
            self.batches.remove(&oldest);
        }
    }

    /// True when the journal has these bytes.
    pub(crate) fn has(&self, body: &[u8]) -> bool {
        // Two batches with one sum are told apart by the fingerprint; the one noted first is not remembered, which costs
        // that it is counted twice.
        !self.batches.is_empty()
            && self.batches.get(&sum(body)).is_some_and(|known| *known == fingerprint(body))
    }
}

fn sum(body: &[u8]) -> Sum {
    (body.len(), crc32fast::hash(body))
}

fn fingerprint(body: &[u8]) -> Fingerprint {
    Sha256::digest(body).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_known_and_others_are_not() {
        let mut remembered = Remembered::default();
        assert!(!remembered.has(b"spans"));
        remembered.note(b"spans");
        remembered.note(b"spans");
        assert!(remembered.has(b"spans"));
        assert!(!remembered.has(b"Spans"));
        assert!(!remembered.has(b""));
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut remembered = Remembered::default();
        for number in 0..=BATCHES_MAX {
            remembered.note(&number.to_le_bytes());
        }
        assert!(!remembered.has(&0_usize.to_le_bytes()));
        assert!(remembered.has(&1_usize.to_le_bytes()) && remembered.has(&BATCHES_MAX.to_le_bytes()));
        assert_eq!(remembered.batches.len(), BATCHES_MAX);
    }
}
