//! Which group is due when: buckets of event time, so that nothing is found by scanning all groups.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use selvedge_model::EventTime;
use selvedge_model::time::nanos;

/// Width of a bucket. [`crate::CallStore::advance`] looks at all calls of a request again of which one is in a bucket that is
/// due, and the others end soon after: to the last moment of a bucket none is looked at in vain.
pub const DUE_GRAIN: Duration = Duration::from_millis(250);

/// Groups by due time. A group can be in several buckets; it knows itself which one counts.
#[derive(Default)]
pub(crate) struct Schedule {
    buckets: BTreeMap<u64, VecDeque<u32>>,
    entries: usize,
}

impl Schedule {
    /// Bytes of one entry, with room for the queue's growth.
    pub(crate) const ENTRY_BYTES: usize = 2 * size_of::<u32>();

    /// The bucket of a due time.
    pub(crate) fn bucket(due: EventTime) -> u64 {
        due.0 / nanos(DUE_GRAIN)
    }

    pub(crate) fn push(&mut self, bucket: u64, group: u32) {
        self.buckets.entry(bucket).or_default().push_back(group);
        self.entries += 1;
    }

    /// Takes out the first bucket that may hold something due by the watermark.
    pub(crate) fn pop_due(&mut self, watermark: EventTime) -> Option<(u64, VecDeque<u32>)> {
        let entry = self.buckets.first_entry().filter(|entry| *entry.key() <= Self::bucket(watermark))?;
        let (bucket, groups) = entry.remove_entry();
        self.entries -= groups.len();
        Some((bucket, groups))
    }

    /// The first bucket.
    pub(crate) fn first_bucket(&self) -> Option<u64> {
        self.buckets.first_key_value().map(|(bucket, _)| *bucket)
    }

    /// Takes out a bucket.
    pub(crate) fn take(&mut self, bucket: u64) -> VecDeque<u32> {
        let groups = self.buckets.remove(&bucket).unwrap_or_default();
        self.entries -= groups.len();
        groups
    }

    /// Puts back what is left of a bucket.
    pub(crate) fn put_back(&mut self, bucket: u64, groups: VecDeque<u32>) {
        if !groups.is_empty() {
            self.entries += groups.len();
            self.buckets.insert(bucket, groups);
        }
    }

    /// Entries in all buckets.
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    pub(crate) fn clear(&mut self) {
        self.buckets.clear();
        self.entries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_out_by_time_and_the_rest_stays() {
        let mut schedule = Schedule::default();
        let second = |n: u64| EventTime(n * 1_000_000_000);
        for (due, key) in [(3, 30), (1, 10), (1, 11), (9, 90)] {
            schedule.push(Schedule::bucket(second(due)), key);
        }
        let first = schedule.first_bucket().unwrap();
        let mut groups = schedule.take(first);
        assert_eq!(groups.pop_front(), Some(10));
        schedule.put_back(first, groups);
        let (_, keys) = schedule.pop_due(second(4)).unwrap();
        assert_eq!(keys, [11]);
        let (_, keys) = schedule.pop_due(second(4)).unwrap();
        assert_eq!(keys, [30]);
        assert!(schedule.pop_due(second(4)).is_none());
        assert_eq!(schedule.entries(), 1);
    }
}
