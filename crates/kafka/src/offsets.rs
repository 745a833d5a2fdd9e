//! How far a partition is done: the offset that may be committed never passes a message that is not finished.

use std::collections::BTreeMap;

/// Messages of one partition that are begun, by offset; true when finished while an earlier one is not.
#[derive(Debug, Default)]
pub(crate) struct Offsets(BTreeMap<i64, bool>);

impl Offsets {
    /// A message came. False when it is here already.
    pub(crate) fn begin(&mut self, offset: i64) -> bool {
        let fresh = !self.0.contains_key(&offset);
        if fresh {
            self.0.insert(offset, false);
        }
        fresh
    }

    /// A message is finished. Answers the last offset before which nothing is unfinished, when it moved.
    pub(crate) fn finish(&mut self, offset: i64) -> Option<i64> {
        *self.0.get_mut(&offset)? = true;
        let mut last = None;
        while let Some(entry) = self.0.first_entry().filter(|entry| *entry.get()) {
            last = Some(entry.remove_entry().0);
        }
        last
    }

    /// Messages that are not finished, or wait for one that is not.
    pub(crate) fn open(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_committed_never_passes_an_unfinished_message() {
        let mut offsets = Offsets::default();
        for offset in [10, 11, 12, 15] {
            assert!(offsets.begin(offset));
        }
        assert!(!offsets.begin(11), "it is there already");
        assert_eq!(offsets.finish(12), None);
        assert_eq!(offsets.finish(11), None);
        assert_eq!(offsets.finish(10), Some(12));
        assert_eq!(offsets.open(), 1);
        assert_eq!(offsets.finish(15), Some(15));
        assert_eq!(offsets.finish(15), None, "it was finished before");
    }

    #[test]
    fn a_finished_message_that_comes_again_stays_finished() {
        let mut offsets = Offsets::default();
        assert!(offsets.begin(1) && offsets.begin(2));
        assert_eq!(offsets.finish(2), None);
        assert!(!offsets.begin(2));
        assert_eq!(offsets.finish(1), Some(2));
    }
}
