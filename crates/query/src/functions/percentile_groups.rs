//! The accumulators of `percentile`: for many groups at once, and for one.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BinaryBuilder, BooleanArray, PrimitiveArray,
};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use crate::functions::cells::{Cells, Grid};

/// Histograms of all groups.
#[derive(Debug)]
pub(crate) struct Groups<G: Grid> {
    q: f64,
    groups: Vec<Cells<G>>,
    /// Bytes of all counts, as they were after the last batch.
    heap: usize,
}

impl<G: Grid> Groups<G> {
    pub(crate) fn new(q: f64) -> Self {
        Self { q, groups: Vec::new(), heap: 0 }
    }

    fn measure(&mut self) {
        self.heap = self.groups.iter().map(Cells::heap).sum();
    }

    fn answers(&self, groups: &[Cells<G>]) -> ArrayRef {
        let answers = groups.iter().map(|cells| cells.quantile(self.q));
        Arc::new(PrimitiveArray::<G::Kind>::from_iter(answers))
    }
}

fn states<G: Grid>(groups: &[Cells<G>]) -> Vec<ArrayRef> {
    let mut builder = BinaryBuilder::new();
    let mut bytes = Vec::new();
    for cells in groups {
        cells.write(&mut bytes);
        builder.append_value(&bytes);
    }
    vec![Arc::new(builder.finish())]
}

fn states_of(values: &[ArrayRef]) -> Option<&BinaryArray> {
    values.first().and_then(|states| states.as_binary_opt::<i32>())
}

impl<G: Grid + std::fmt::Debug + Send> GroupsAccumulator for Groups<G>
where
    <G::Kind as ArrowPrimitiveType>::Native: Send,
{
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups.max(self.groups.len()), Cells::default);
        let Some(values) = values.first().and_then(|values| values.as_primitive_opt::<G::Kind>()) else {
            return Ok(());
        };
        if values.null_count() == 0 && opt_filter.is_none() {
            for (value, group) in values.values().iter().zip(group_indices) {
                self.groups[*group].record(*value);
            }
        } else {
            let wanted =
                |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            for (row, group) in group_indices.iter().enumerate() {
                if values.is_valid(row) && wanted(row) {
                    self.groups[*group].record(values.value(row));
                }
            }
        }
        self.measure();
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let groups = emit_to.take_needed(&mut self.groups);
        self.measure();
        Ok(self.answers(&groups))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = emit_to.take_needed(&mut self.groups);
        self.measure();
        Ok(states(&groups))
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups.max(self.groups.len()), Cells::default);
        let Some(states) = states_of(values) else { return Ok(()) };
        for (state, group) in states.iter().zip(group_indices) {
            self.groups[*group].merge(state.unwrap_or_default());
        }
        self.measure();
        Ok(())
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |values| values.len());
        let mut each = Self::new(self.q);
        let groups: Vec<usize> = (0..rows).collect();
        each.update_batch(values, &groups, opt_filter, rows)?;
        Ok(states(&each.groups))
    }

    fn size(&self) -> usize {
        self.heap + self.groups.capacity() * size_of::<Cells<G>>()
    }
}

/// The histogram of one group.
#[derive(Debug)]
pub(crate) struct One<G: Grid> {
    q: f64,
    cells: Cells<G>,
}

impl<G: Grid> One<G> {
    pub(crate) fn new(q: f64) -> Self {
        Self { q, cells: Cells::default() }
    }
}

impl<G: Grid + std::fmt::Debug + Send + Sync> Accumulator for One<G> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if let Some(values) = values.first().and_then(|values| values.as_primitive_opt::<G::Kind>()) {
            values.iter().flatten().for_each(|value| self.cells.record(value));
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let answer = PrimitiveArray::<G::Kind>::from_iter([self.cells.quantile(self.q)]);
        ScalarValue::try_from_array(&answer, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.cells.heap()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::new();
        self.cells.write(&mut bytes);
        Ok(vec![ScalarValue::Binary(Some(bytes))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if let Some(states) = states_of(states) {
            states.iter().flatten().for_each(|state| self.cells.merge(state));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int64Array;
    use proptest::prelude::*;

    use super::*;
    use crate::functions::cells::Whole;

    fn add(groups: &mut Groups<Whole>, rows: &[(usize, i64)]) {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, value)| *value)));
        let indices: Vec<usize> = rows.iter().map(|(group, _)| *group).collect();
        groups.update_batch(&[values], &indices, None, 5).unwrap();
    }

    proptest! {
        /// Guarantees: however the rows are cut into batches, and the batches into partitions whose states are merged,
        /// the percentiles are those of one pass over all rows.
        #[test]
        fn partitions_merge_into_what_one_pass_gives(
            rows in proptest::collection::vec((0..5_usize, prop_oneof![0..100_i64, any::<i64>()]), 1..400),
            batch in 1..50_usize,
            partitions in 1..5_usize,
            q in 0.0..=1.0,
        ) {
            let mut once = Groups::<Whole>::new(q);
            add(&mut once, &rows);
            let mut parts: Vec<_> = (0..partitions).map(|_| Groups::<Whole>::new(q)).collect();
            for (number, rows) in rows.chunks(batch).enumerate() {
                add(&mut parts[number % partitions], rows);
            }
            let mut merged = Groups::<Whole>::new(q);
            for mut part in parts {
                let states = part.state(EmitTo::All).unwrap();
                let groups: Vec<usize> = (0..states[0].len()).collect();
                merged.merge_batch(&states, &groups, 5).unwrap();
            }
            let (once, merged) = (once.evaluate(EmitTo::All).unwrap(), merged.evaluate(EmitTo::All).unwrap());
            prop_assert_eq!(once.as_ref(), merged.as_ref());
        }
    }
}
