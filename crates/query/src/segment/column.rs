//! Number and id columns of a block: as narrow as their values allow, wide where they must be.

use std::ops::Range;

/// Exceptions a narrow column keeps before it becomes a wide one; past it the exceptions cost more than they save.
const EXCEPTIONS_MAX: usize = 512;
/// The delta that says "look among the exceptions".
const EXCEPTION: u32 = u32::MAX;
/// How far below the first value a narrow column reaches.
const REACH_BELOW: u64 = 1 << 31;

/// Which rows of a block are meant.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    /// A run of rows.
    Run(Range<usize>),
    /// These rows, ascending.
    Picked(Vec<u32>),
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Run(run) => run.len(),
            Self::Picked(rows) => rows.len(),
        }
    }

    /// Only the first `rows_max` rows.
    pub(crate) fn truncate(&mut self, rows_max: usize) {
        match self {
            Self::Run(run) => run.end = run.end.min(run.start + rows_max),
            Self::Picked(rows) => rows.truncate(rows_max),
        }
    }

    /// Appends what `map` makes of the value of each row.
    fn extend<V: Copy, T>(&self, values: &[V], out: &mut Vec<T>, map: impl Fn(V) -> T) {
        match self {
            Self::Run(run) => out.extend(values[run.clone()].iter().map(|value| map(*value))),
            Self::Picked(rows) => out.extend(rows.iter().map(|row| map(values[*row as usize]))),
        }
    }

    /// Where a row is among these.
    fn place(&self, row: u32) -> Option<usize> {
        match self {
            Self::Run(run) => run.contains(&(row as usize)).then(|| row as usize - run.start),
            Self::Picked(rows) => rows.binary_search(&row).ok(),
        }
    }

    /// Calls `take` with every row.
    pub(crate) fn each(&self, mut take: impl FnMut(usize)) {
        match self {
            Self::Run(run) => run.clone().for_each(take),
            Self::Picked(rows) => rows.iter().for_each(|row| take(*row as usize)),
        }
    }
}

/// 64-bit numbers, stored as one value while all are the same, as 32-bit distances while most are near each other, and
/// in full otherwise. A row costs 0, 4 or 8 bytes.
#[derive(Clone, Debug)]
pub(crate) enum Numbers {
    Same { value: u64, rows: usize },
    Near { base: u64, deltas: Vec<u32>, exceptions: Vec<(u32, u64)> },
    Wide(Vec<u64>),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::Same { value: 0, rows: 0 }
    }
}

impl Numbers {
    pub(crate) fn push(&mut self, value: u64, capacity: usize) {
        match self {
            Self::Near { base, deltas, exceptions } => {
                let delta = value.wrapping_sub(*base);
                if delta < u64::from(EXCEPTION) {
                    #[expect(clippy::cast_possible_truncation, reason = "compared on the line above")]
                    deltas.push(delta as u32);
                } else {
                    exceptions.push((u32::try_from(deltas.len()).unwrap_or(u32::MAX), value));
                    deltas.push(EXCEPTION);
                    if exceptions.len() > EXCEPTIONS_MAX {
                        self.widen(capacity);
                    }
                }
            }
            Self::Wide(values) => values.push(value),
            Self::Same { rows: 0, .. } => *self = Self::Same { value, rows: 1 },
            Self::Same { value: same, rows } if *same == value => *rows += 1,
            Self::Same { value: same, rows } => {
                let (same, rows) = (*same, *rows);
                let base = same.wrapping_sub(REACH_BELOW);
                let mut deltas = Vec::with_capacity(capacity.max(rows + 1));
                deltas.resize(rows, u32::try_from(REACH_BELOW).unwrap_or(0));
                *self = Self::Near { base, deltas, exceptions: Vec::new() };
                self.push(value, capacity);
            }
        }
    }

    fn widen(&mut self, capacity: usize) {
        let mut values = Vec::with_capacity(capacity.max(self.len()));
        self.extend(&Rows::Run(0..self.len()), &mut values, |value| value);
        *self = Self::Wide(values);
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Same { rows, .. } => *rows,
            Self::Near { deltas, .. } => deltas.len(),
            Self::Wide(values) => values.len(),
        }
    }

    /// Appends what `map` makes of the value of each of `rows`.
    pub(crate) fn extend<T: Copy>(&self, rows: &Rows, out: &mut Vec<T>, map: impl Fn(u64) -> T) {
        match self {
            Self::Same { value, .. } => out.extend(std::iter::repeat_n(map(*value), rows.len())),
            Self::Near { base, deltas, exceptions } => {
                let from = out.len();
                rows.extend(deltas, out, |delta| map(base.wrapping_add(u64::from(delta))));
                for (at, value) in exceptions {
                    if let Some(place) = rows.place(*at) {
                        out[from + place] = map(*value);
                    }
                }
            }
            Self::Wide(values) => rows.extend(values, out, map),
        }
    }

    pub(crate) fn value(&self, row: usize) -> u64 {
        match self {
            Self::Same { value, .. } => *value,
            Self::Near { base, deltas, exceptions } => match deltas[row] {
                EXCEPTION => exceptions
                    .binary_search_by_key(&row, |(at, _)| *at as usize)
                    .map_or(0, |at| exceptions[at].1),
                delta => base.wrapping_add(u64::from(delta)),
            },
            Self::Wide(values) => values[row],
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Same { .. } => 0,
            Self::Near { deltas, exceptions, .. } => {
                deltas.capacity() * size_of::<u32>() + exceptions.capacity() * size_of::<(u32, u64)>()
            }
            Self::Wide(values) => values.capacity() * size_of::<u64>(),
        }
    }

    pub(crate) fn shrink(&mut self) {
        match self {
            Self::Same { .. } => {}
            Self::Near { deltas, exceptions, .. } => {
                deltas.shrink_to_fit();
                exceptions.shrink_to_fit();
            }
            Self::Wide(values) => values.shrink_to_fit(),
        }
    }
}

/// Ids of `N` bytes; nothing is stored while all are absent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids<const N: usize> {
    absent: usize,
    ids: Vec<[u8; N]>,
}

impl<const N: usize> Ids<N> {
    pub(crate) fn push(&mut self, id: [u8; N], capacity: usize) {
        if self.ids.is_empty() {
            if id == [0; N] {
                self.absent += 1;
                return;
            }
            self.ids.reserve_exact(capacity.max(self.absent + 1));
            self.ids.resize(self.absent, [0; N]);
        }
        self.ids.push(id);
    }

    pub(crate) fn value(&self, row: usize) -> [u8; N] {
        self.ids.get(row).copied().unwrap_or([0; N])
    }

    /// True when no row has an id.
    pub(crate) fn all_absent(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.ids.capacity() * N
    }

    pub(crate) fn shrink(&mut self) {
        self.ids.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_back_whatever_their_distances(
            values in proptest::collection::vec(
                prop_oneof![Just(7_u64), 0..100_u64, any::<u64>(), (1_u64 << 40)..(1 << 40) + 5], 0..2_000),
        ) {
            let mut numbers = Numbers::default();
            values.iter().for_each(|value| numbers.push(*value, 16));
            let mut read = Vec::new();
            numbers.extend(&Rows::Run(0..numbers.len()), &mut read, |value| value);
            prop_assert_eq!(&read, &values);
            let some = |row: &u32| row % 3 == 1 || row.is_multiple_of(7);
            let picked: Vec<u32> = (0..u32::try_from(values.len()).unwrap()).filter(some).collect();
            read.clear();
            numbers.extend(&Rows::Picked(picked.clone()), &mut read, |value| value);
            prop_assert!(picked.iter().zip(&read).all(|(row, value)| values[*row as usize] == *value));
            prop_assert_eq!(picked.len(), read.len());
            let half = values.len() / 2;
            read.clear();
            numbers.extend(&Rows::Run(half..values.len()), &mut read, |value| value);
            prop_assert_eq!(&read, &values[half..]);
            prop_assert!((0..values.len()).all(|row| numbers.value(row) == values[row]));
        }
    }

    #[test]
    fn near_numbers_cost_four_bytes_and_equal_ones_nothing() {
        let (mut same, mut near) = (Numbers::default(), Numbers::default());
        for row in 0..1_000_u64 {
            same.push(5, 1_000);
            near.push(1_700_000_000_000_000_000 + row * 1_000, 1_000);
        }
        near.push(u64::MAX, 1_000);
        assert_eq!(same.bytes(), 0);
        assert!(near.bytes() < 8_200, "{}", near.bytes());
        assert_eq!(near.value(1_000), u64::MAX);
    }

    #[test]
    fn absent_ids_cost_nothing_until_one_is_present() {
        let mut ids = Ids::<8>::default();
        ids.push([0; 8], 4);
        assert_eq!(ids.bytes(), 0);
        ids.push([1; 8], 4);
        assert_eq!([ids.value(0), ids.value(1)], [[0; 8], [1; 8]]);
    }
}
