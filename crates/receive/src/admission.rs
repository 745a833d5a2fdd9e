//! Admission: how many bytes may be in the house at once. Beyond it the answer is "later", at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The ration of bytes in flight, shared by all receivers. A byte is in flight from when the sender announces it
/// until the batch that holds it is dropped.
#[derive(Debug)]
pub struct Admission {
    bytes_max: usize,
    bytes: AtomicUsize,
}

impl Admission {
    /// A ration of `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, bytes: AtomicUsize::new(0) })
    }

    /// Bytes in flight now.
    #[must_use]
    pub fn bytes_in_flight(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The ration.
    #[must_use]
    pub fn bytes_in_flight_max(&self) -> usize {
        self.bytes_max
    }

    /// A permit for `bytes`, or `None` when they do not fit beside what is in flight.
    #[must_use]
    pub fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Permit> {
        let mut permit = Permit { admission: Some(Arc::clone(self)), bytes: 0 };
        permit.resize(bytes).then_some(permit)
    }

    fn take(&self, bytes: usize) -> bool {
        self.bytes
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|used| *used <= self.bytes_max)
            })
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(bytes <= before, "more bytes given back than were taken");
    }
}

/// A share of the bytes in flight; dropping it gives the share back.
#[derive(Debug)]
pub struct Permit {
    admission: Option<Arc<Admission>>,
    bytes: usize,
}

impl Permit {
    /// A permit that counts against nothing: for replay, and for tests.
    #[must_use]
    pub fn unmetered() -> Self {
        Self { admission: None, bytes: 0 }
    }

    /// The size of the share.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the share `bytes` large. Growing fails, and changes nothing, when there is no room; shrinking never
    /// fails.
    pub(crate) fn resize(&mut self, bytes: usize) -> bool {
        if let Some(admission) = &self.admission {
            if bytes <= self.bytes {
                admission.give_back(self.bytes - bytes);
            } else if !admission.take(bytes - self.bytes) {
                return false;
            }
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(admission) = &self.admission {
            admission.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_permit_gives_back_all_it_grew_to() {
        let admission = Admission::new(10);
        let mut permit = admission.reserve(4).expect("fits");
        assert!(permit.resize(9));
        assert!(!permit.resize(11));
        assert_eq!(permit.bytes(), 9, "a refused growth changes nothing");
        assert!(admission.reserve(2).is_none());
        assert!(permit.resize(8));
        assert_eq!(admission.bytes_in_flight(), 8);
        drop(permit);
        assert_eq!(admission.bytes_in_flight(), 0);
    }

    #[test]
    fn a_request_for_more_than_can_be_counted_is_refused() {
        let admission = Admission::new(usize::MAX);
        let _one = admission.reserve(1).expect("fits");
        assert!(admission.reserve(usize::MAX).is_none());
    }
}
