//! What this process has finished and not committed: after an outage Kafka brings it again, to the same process.

use std::collections::{BTreeMap, HashMap};

use crate::partitions::Source;

/// Messages of one partition remembered, 40 bytes each; the oldest go first. They are those of one commit interval, or of an
/// outage of whoever takes commits.
const MESSAGES_MAX: usize = 65_536;

/// Length and CRC-32, beside the offset: a topic that is made anew has the same offsets, and other messages.
type Sum = (usize, u32);

/// Finished messages whose offset no broker has confirmed.
#[derive(Debug, Default)]
pub(crate) struct Recent(HashMap<Source, BTreeMap<i64, Sum>>);

impl Recent {
    /// A message is finished.
    pub(crate) fn note(&mut self, source: &Source, offset: i64, body: &[u8]) {
        let messages = self.0.entry(source.clone()).or_default();
        messages.insert(offset, sum(body));
        if MESSAGES_MAX < messages.len() {
            messages.pop_first();
        }
    }

    /// True when this very message was finished here.
    pub(crate) fn has(&self, source: &Source, offset: i64, body: &[u8]) -> bool {
        self.0.get(source).and_then(|messages| messages.get(&offset)).is_some_and(|known| *known == sum(body))
    }

    /// A broker has it that everything before `next` is finished: it does not bring that again.
    pub(crate) fn committed(&mut self, source: &Source, next: i64) {
        if let Some(messages) = self.0.get_mut(source) {
            *messages = messages.split_off(&next);
        }
    }
}

fn sum(body: &[u8]) -> Sum {
    (body.len(), crc32fast::hash(body))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_message_is_known_by_place_and_content_until_it_is_committed() {
        let source = Source { topic: Arc::from("otlp_spans"), partition: 0 };
        let mut recent = Recent::default();
        recent.note(&source, 7, b"a");
        recent.note(&source, 8, b"b");
        assert!(recent.has(&source, 7, b"a") && recent.has(&source, 8, b"b"));
        assert!(!recent.has(&source, 7, b"b"), "another message at the same place");
        assert!(!recent.has(&Source { partition: 1, ..source.clone() }, 7, b"a"));
        recent.committed(&source, 8);
        assert!(!recent.has(&source, 7, b"a") && recent.has(&source, 8, b"b"));
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let source = Source { topic: Arc::from("otlp_spans"), partition: 0 };
        let mut recent = Recent::default();
        for offset in 0..=i64::try_from(MESSAGES_MAX).unwrap() {
            recent.note(&source, offset, b"");
        }
        assert!(!recent.has(&source, 0, b"") && recent.has(&source, 1, b""));
    }
}
