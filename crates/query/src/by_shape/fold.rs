//! The aggregates of one partition while its rows come in.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use crate::by_shape::plan::{Place, Plan};
use crate::segment::shape::Shapes;

/// The group of a shape that no row had until now.
const UNSEEN: u32 = u32::MAX;
/// Bytes that a shape and its group take while a book is read, beside its values.
const SHAPE_BYTES: usize = size_of::<u32>();

/// Groups and their aggregates.
pub(crate) struct Fold {
    plan: Arc<Plan>,
    groups: Box<dyn GroupValues>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    book: Option<BookValues>,
    /// The group of each row of a batch.
    group_of_row: Vec<usize>,
    reservation: MemoryReservation,
}

/// What was evaluated of the shapes of a book.
struct BookValues {
    shapes: Arc<dyn Shapes>,
    values: Vec<ArrayRef>,
    group_of: Vec<u32>,
}

impl Fold {
    pub(crate) fn new(plan: Arc<Plan>, reservation: MemoryReservation) -> Result<Self> {
        let groups = new_group_values(Arc::clone(&plan.key_schema), &GroupOrdering::None)?;
        let accumulators = plan
            .aggregates
            .iter()
            .map(|aggregate| aggregate.function.create_groups_accumulator())
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { plan, groups, accumulators, book: None, group_of_row: Vec::new(), reservation })
    }

    /// Adds rows: the columns that the rows' expressions need, and the number of each row's shape.
    pub(crate) fn add(
        &mut self,
        rows: &RecordBatch,
        keys: &UInt32Array,
        shapes: &Arc<dyn Shapes>,
    ) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let mut book = match self.book.take() {
            Some(book) if Arc::ptr_eq(&book.shapes, shapes) => book,
            _ => BookValues::new(&plan, shapes)?,
        };
        self.find_groups(&mut book, keys)?;
        let row_values = evaluate(&plan.rows.exprs, rows)?;
        let mut gathered: Vec<Option<ArrayRef>> = vec![None; book.values.len()];
        let mut values = |place: Place| match place {
            Place::Row(at) => Ok(Arc::clone(&row_values[at])),
            Place::Shape(at) => match &gathered[at] {
                Some(known) => Ok(Arc::clone(known)),
                None => {
                    let made = take(&book.values[at], keys, None)?;
                    gathered[at] = Some(Arc::clone(&made));
                    Ok(made)
                }
            },
        };
        for (aggregate, accumulator) in plan.aggregates.iter().zip(&mut self.accumulators) {
            let arguments =
                aggregate.arguments.iter().map(|place| values(*place)).collect::<Result<Vec<ArrayRef>>>()?;
            let filter = aggregate.filter.map(&mut values).transpose()?;
            let filter = filter.as_ref().map(|filter| filter.as_boolean());
            accumulator.update_batch(&arguments, &self.group_of_row, filter, self.groups.len())?;
        }
        let held = self.held(&book);
        self.book = Some(book);
        self.reservation.try_resize(held)
    }

    /// Looks up the group of each row; makes groups of the shapes that are met for the first time.
    fn find_groups(&mut self, book: &mut BookValues, keys: &UInt32Array) -> Result<()> {
        if self.look_up(book, keys) {
            return Ok(());
        }
        let mut met = Vec::new();
        for shape in keys.values() {
            let group = &mut book.group_of[*shape as usize];
            if *group == UNSEEN {
                *group = 0;
                met.push(*shape);
            }
        }
        let met = UInt32Array::from(met);
        let keys_met = book.values[..self.plan.keys]
            .iter()
            .map(|values| take(values, &met, None))
            .collect::<Result<Vec<_>, _>>()?;
        let mut groups = Vec::new();
        self.groups.intern(&keys_met, &mut groups)?;
        for (shape, group) in met.values().iter().zip(groups) {
            book.group_of[*shape as usize] = u32::try_from(group).unwrap_or(UNSEEN);
        }
        match self.look_up(book, keys) {
            true => Ok(()),
            false => internal_err!("a shape has no group"),
        }
    }

    /// False when some shape has no group yet.
    fn look_up(&mut self, book: &BookValues, keys: &UInt32Array) -> bool {
        self.group_of_row.clear();
        let group_of = |shape: &u32| book.group_of[*shape as usize] as usize;
        self.group_of_row.extend(keys.values().iter().map(group_of));
        self.group_of_row.iter().copied().fold(0, usize::max) < UNSEEN as usize
    }

    fn held(&self, book: &BookValues) -> usize {
        let accumulators: usize = self.accumulators.iter().map(|accumulator| accumulator.size()).sum();
        let values: usize = book.values.iter().map(|values| values.get_array_memory_size()).sum();
        self.groups.size() + accumulators + values + book.group_of.len() * SHAPE_BYTES
    }

    /// All groups.
    pub(crate) fn finish(mut self) -> Result<RecordBatch> {
        let rows = self.groups.len();
        if rows == 0 {
            // No row was let through: DataFusion's groups of several columns cannot be asked before their first row.
            return Ok(RecordBatch::new_empty(Arc::clone(&self.plan.schema)));
        }
        let mut columns = self.groups.emit(EmitTo::All)?;
        for accumulator in &mut self.accumulators {
            match self.plan.last {
                true => columns.push(accumulator.evaluate(EmitTo::All)?),
                false => columns.extend(accumulator.state(EmitTo::All)?),
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.plan.schema), columns, &options)?)
    }
}

impl BookValues {
    fn new(plan: &Plan, shapes: &Arc<dyn Shapes>) -> Result<Self> {
        let part = &plan.shapes;
        let Some(columns) =
            part.columns.iter().map(|column| shapes.column(*column)).collect::<Option<Vec<_>>>()
        else {
            return internal_err!("a shape has no such column");
        };
        let options = RecordBatchOptions::new().with_row_count(Some(shapes.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&part.schema), columns, &options)?;
        let values = evaluate(&part.exprs, &batch)?;
        Ok(Self { shapes: Arc::clone(shapes), values, group_of: vec![UNSEEN; shapes.len()] })
    }
}

fn evaluate(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows())).collect()
}
