//! Values in chunks, linked into lists: growing never moves them, and a group's list needs no allocation of its own.

/// The end of a list.
pub(crate) const NIL: u32 = u32::MAX;
/// Slots of a chunk: a megabyte or two, so that the allocator gives it whole pages of its own. Chunks that share pages
/// with short-lived blocks cost a fifth of the whole engine in page faults and address translation.
const CHUNK: usize = 8_192;

/// Slots by number. Freed slots are used again; chunks are kept, so memory is that of the fullest moment.
///
/// Free slots are kept beside the slots: a slot that was freed long ago is out of the cache, and taking it must not wait
/// for it to be read.
pub(crate) struct Slab<T> {
    chunks: Vec<Box<[Slot<T>]>>,
    free: Vec<u32>,
    used: usize,
}

#[derive(Clone, Copy, Default)]
struct Slot<T> {
    value: T,
    next: u32,
}

impl<T: Copy + Default> Slab<T> {
    /// Bytes of one slot.
    pub(crate) const SLOT_BYTES: usize = size_of::<Slot<T>>();

    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), used: 0 }
    }

    /// Puts `value` in front of the list that starts at `next`; the new start.
    pub(crate) fn push(&mut self, value: T, next: u32) -> u32 {
        if self.free.is_empty() {
            self.grow();
        }
        let at = self.free.pop().unwrap_or(NIL);
        *self.slot_mut(at) = Slot { value, next };
        self.used += 1;
        at
    }

    /// Frees a slot; the slot after it in its list.
    pub(crate) fn free(&mut self, at: u32) -> u32 {
        self.free.push(at);
        self.used -= 1;
        self.next(at)
    }

    pub(crate) fn get(&self, at: u32) -> &T {
        &self.slot(at).value
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> &mut T {
        &mut self.slot_mut(at).value
    }

    pub(crate) fn next(&self, at: u32) -> u32 {
        self.slot(at).next
    }

    /// Links a slot that is in use to another list.
    pub(crate) fn link(&mut self, at: u32, next: u32) {
        self.slot_mut(at).next = next;
    }

    /// Slots in use.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    fn slot(&self, at: u32) -> &Slot<T> {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    fn slot_mut(&mut self, at: u32) -> &mut Slot<T> {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    fn grow(&mut self) {
        let first = self.chunks.len() * CHUNK;
        let number = |at: usize| {
            u32::try_from(at).ok().filter(|at| *at < NIL).expect("the byte budget ends before u32 does")
        };
        self.chunks.push(vec![Slot { value: T::default(), next: NIL }; CHUNK].into_boxed_slice());
        // The lowest number last, so that it is taken first: new slots are used in the order of their places.
        self.free.extend((0..CHUNK).rev().map(|at| number(first + at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_share_the_slots_and_freed_ones_are_used_again() {
        let mut slab = Slab::<u64>::new();
        let (mut odd, mut even) = (NIL, NIL);
        for value in 0..1_000 {
            let list = if value % 2 == 0 { &mut even } else { &mut odd };
            *list = slab.push(value, *list);
        }
        let mut seen = Vec::new();
        while odd != NIL {
            seen.push(*slab.get(odd));
            odd = slab.free(odd);
        }
        assert_eq!(seen, (0..500).rev().map(|n| 2 * n + 1).collect::<Vec<_>>());
        assert_eq!(slab.used(), 500);
        let chunks = slab.chunks.len();
        for value in 0..500 {
            odd = slab.push(value, odd);
        }
        assert_eq!(slab.chunks.len(), chunks);
        assert_eq!(*slab.get(even), 998);
        assert_eq!(*slab.get(slab.next(even)), 996);
    }
}
