//! What to compute of shapes, what of rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use selvedge_model::tables::TableDef;

use crate::scan::{RowColumn, SegmentsExec};

/// Where the values of an expression are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Among those evaluated once for each shape.
    Shape(usize),
    /// Among those evaluated for each row.
    Row(usize),
}

/// One aggregate: its function, where its arguments are, and which rows it counts.
pub(crate) struct Aggregate {
    pub(crate) function: Arc<AggregateFunctionExpr>,
    pub(crate) arguments: Vec<Place>,
    pub(crate) filter: Option<Place>,
}

/// Expressions over some columns of a table.
pub(crate) struct Part {
    /// Positions in the table.
    pub(crate) columns: Vec<usize>,
    pub(crate) schema: SchemaRef,
    pub(crate) exprs: Vec<Arc<dyn PhysicalExpr>>,
}

/// How a grouping is computed by shape.
pub(crate) struct Plan {
    pub(crate) table: &'static TableDef,
    /// Of each shape; the keys of the groups come first.
    pub(crate) shapes: Part,
    pub(crate) rows: Part,
    /// How many of the shapes' expressions are keys.
    pub(crate) keys: usize,
    pub(crate) key_schema: SchemaRef,
    pub(crate) aggregates: Vec<Aggregate>,
    /// The answer, or the state for another operator to merge.
    pub(crate) last: bool,
    pub(crate) schema: SchemaRef,
}

impl Plan {
    /// `None` when a key speaks of more than shapes, or a function cannot take many groups at once.
    pub(crate) fn of(aggregate: &AggregateExec, segments: &SegmentsExec) -> Result<Option<Self>> {
        use datafusion::physical_plan::ExecutionPlan;
        let group = aggregate.group_expr();
        let keys: Vec<Arc<dyn PhysicalExpr>> =
            group.expr().iter().map(|(expr, _)| Arc::clone(expr)).collect();
        let functions = aggregate.aggr_expr();
        let of_shapes = |expr: &Arc<dyn PhysicalExpr>| speaks_of_shapes(segments, expr);
        let known = |function: &Arc<AggregateFunctionExpr>| {
            function.groups_accumulator_supported() && function.order_bys().is_empty()
        };
        if keys.is_empty()
            || !group.is_single()
            || !keys.iter().all(of_shapes)
            || !functions.iter().all(known)
        {
            return Ok(None);
        }
        let (mut shapes, mut rows) = (keys.clone(), Vec::new());
        let mut place = |expr: &Arc<dyn PhysicalExpr>| match speaks_of_shapes(segments, expr) {
            true => Place::Shape(position(&mut shapes, expr)),
            false => Place::Row(position(&mut rows, expr)),
        };
        let aggregates = functions
            .iter()
            .zip(aggregate.filter_expr())
            .map(|(function, filter)| Aggregate {
                function: Arc::clone(function),
                arguments: function.expressions().iter().map(&mut place).collect(),
                filter: filter.as_ref().map(&mut place),
            })
            .collect();
        Ok(Some(Self {
            table: segments.table,
            shapes: Part::new(segments, shapes)?,
            rows: Part::new(segments, rows)?,
            keys: keys.len(),
            key_schema: group.group_schema(&segments.schema)?,
            aggregates,
            last: *aggregate.mode() == AggregateMode::Single,
            schema: aggregate.schema(),
        }))
    }
}

/// The position of an expression, at the end when it is new.
fn position(exprs: &mut Vec<Arc<dyn PhysicalExpr>>, expr: &Arc<dyn PhysicalExpr>) -> usize {
    exprs.iter().position(|known| known.as_ref() == expr.as_ref()).unwrap_or_else(|| {
        exprs.push(Arc::clone(expr));
        exprs.len() - 1
    })
}

/// True when every column of an expression, and there are some, is the same for all rows of a shape.
fn speaks_of_shapes(segments: &SegmentsExec, expr: &Arc<dyn PhysicalExpr>) -> bool {
    let columns = collect_columns(expr);
    let of_shape = |name: &str| RowColumn::of(segments.table, name).is_none();
    !columns.is_empty() && columns.iter().all(|column| of_shape(column.name())) && !is_volatile(expr)
}

impl Part {
    fn new(segments: &SegmentsExec, exprs: Vec<Arc<dyn PhysicalExpr>>) -> Result<Self> {
        let mut needed: Vec<usize> =
            exprs.iter().flat_map(collect_columns).map(|column| column.index()).collect();
        needed.sort_unstable();
        needed.dedup();
        let schema = Arc::new(segments.schema.project(&needed)?);
        let columns = needed.iter().map(|column| segments.projection[*column]).collect();
        let exprs =
            exprs.into_iter().map(|expr| reassign_expr_columns(expr, &schema)).collect::<Result<Vec<_>>>()?;
        Ok(Self { columns, schema, exprs })
    }
}
