//! Filters that are evaluated here, exactly: on shapes, on times, on ids. Everything else DataFusion filters itself.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_plan::PhysicalExpr;
use selvedge_model::tables::TableDef;

use crate::scan::hex;
use crate::scan::row_column::RowColumn;
use crate::segment::block::{Block, Bounds};
use crate::segment::column::Rows;
use crate::segment::shape::Shapes;

/// First and last nanosecond, both inclusive. A row without a time never matches: its time is NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    from: u64,
    to: u64,
}

impl Span {
    const ALL: Self = Self { from: 0, to: u64::MAX };

    fn meet(&mut self, other: Self) {
        self.from = self.from.max(other.from);
        self.to = self.to.min(other.to);
    }

    fn overlaps(self, bounds: (u64, u64)) -> bool {
        self.from <= bounds.1 && bounds.0 <= self.to
    }

    fn covers(self, bounds: (u64, u64)) -> bool {
        self.from <= bounds.0 && bounds.1 <= self.to
    }

    fn holds(self, time: u64) -> bool {
        self.from <= time && time <= self.to
    }
}

/// One condition that is evaluated here.
enum Pushed {
    Start(Span),
    End(Span),
    Trace(Vec<[u8; 16]>),
    SpanId(Vec<[u8; 8]>),
    /// It speaks of nothing but the shape.
    Shape,
}

/// True when the condition is evaluated here, exactly.
pub(crate) fn exact(table: &TableDef, expr: &Expr) -> bool {
    classify(table, expr).is_some()
}

fn classify(table: &TableDef, expr: &Expr) -> Option<Pushed> {
    if let Some(pushed) = time_or_id(table, expr) {
        return Some(pushed);
    }
    let columns = expr.column_refs();
    let of_shapes = |name: &str| table.position(name).is_some() && RowColumn::of(table, name).is_none();
    let shape = !columns.is_empty()
        && columns.iter().all(|column| of_shapes(column.name()))
        && !expr.is_volatile()
        && !holds_subquery(expr);
    shape.then_some(Pushed::Shape)
}

fn holds_subquery(expr: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    let nested = |expr: &Expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
        ))
    };
    expr.exists(nested).unwrap_or(true)
}

fn time_or_id(table: &TableDef, expr: &Expr) -> Option<Pushed> {
    match expr {
        Expr::BinaryExpr(binary) => {
            let (column, op, literal) = match (binary.left.as_ref(), binary.right.as_ref()) {
                (Expr::Column(column), Expr::Literal(literal, _)) => (column, binary.op, literal),
                (Expr::Literal(literal, _), Expr::Column(column)) => (column, binary.op.swap()?, literal),
                _ => return None,
            };
            match RowColumn::of(table, column.name())? {
                RowColumn::Start => Some(Pushed::Start(span(op, literal)?)),
                RowColumn::End => Some(Pushed::End(span(op, literal)?)),
                RowColumn::Trace if op == Operator::Eq => Some(Pushed::Trace(ids(&[literal])?)),
                RowColumn::Span if op == Operator::Eq => Some(Pushed::SpanId(ids(&[literal])?)),
                _ => None,
            }
        }
        Expr::InList(list) if !list.negated => {
            let Expr::Column(column) = list.expr.as_ref() else { return None };
            fn literal(item: &Expr) -> Option<&ScalarValue> {
                match item {
                    Expr::Literal(literal, _) => Some(literal),
                    _ => None,
                }
            }
            let literals = list.list.iter().map(literal).collect::<Option<Vec<_>>>()?;
            match RowColumn::of(table, column.name())? {
                RowColumn::Trace => Some(Pushed::Trace(ids(&literals)?)),
                RowColumn::Span => Some(Pushed::SpanId(ids(&literals)?)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The moments that compare so with a literal.
fn span(op: Operator, literal: &ScalarValue) -> Option<Span> {
    let ScalarValue::TimestampNanosecond(Some(at), _) = literal else { return None };
    // Before the epoch: an empty span below, everything above.
    let at = u64::try_from(*at).ok()?;
    Some(match op {
        Operator::Eq => Span { from: at.max(1), to: at },
        Operator::Gt => Span { from: at.saturating_add(1), to: u64::MAX },
        Operator::GtEq => Span { from: at.max(1), to: u64::MAX },
        Operator::Lt => Span { from: 1, to: at.saturating_sub(1) },
        Operator::LtEq => Span { from: 1, to: at },
        _ => return None,
    })
}

/// The ids that read as these texts; a text that no id reads as matches nothing.
fn ids<const N: usize>(literals: &[&ScalarValue]) -> Option<Vec<[u8; N]>> {
    let mut found = Vec::new();
    for literal in literals {
        let text = literal.try_as_str()?.unwrap_or("");
        found.extend(hex::parse::<N>(text));
    }
    Some(found)
}

/// All conditions of one scan.
pub(crate) struct Filter {
    table: &'static TableDef,
    start: Span,
    end: Span,
    traces: Option<Vec<[u8; 16]>>,
    spans: Option<Vec<[u8; 8]>>,
    shape: Option<(Arc<dyn PhysicalExpr>, Vec<usize>)>,
    text: Vec<String>,
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text.join(" AND "))
    }
}

impl Filter {
    /// Of conditions that are all [`exact`].
    pub(crate) fn new(
        table: &'static TableDef,
        schema: &Schema,
        exprs: &[Expr],
        session: &dyn Session,
    ) -> Result<Self> {
        let text = exprs.iter().map(ToString::to_string).collect();
        let mut filter =
            Self { table, start: Span::ALL, end: Span::ALL, traces: None, spans: None, shape: None, text };
        let mut shapes = Vec::new();
        for expr in exprs {
            match classify(table, expr) {
                Some(Pushed::Start(span)) => filter.start.meet(span),
                Some(Pushed::End(span)) => filter.end.meet(span),
                Some(Pushed::Trace(ids)) => meet(&mut filter.traces, ids),
                Some(Pushed::SpanId(ids)) => meet(&mut filter.spans, ids),
                Some(Pushed::Shape) => shapes.push(expr.clone()),
                None => {}
            }
        }
        if let Some(expr) = conjunction(shapes) {
            let mut positions: Vec<usize> =
                expr.column_refs().iter().filter_map(|column| table.position(column.name())).collect();
            positions.sort_unstable();
            let fields: Vec<Field> =
                positions.iter().map(|position| schema.field(*position).clone()).collect();
            let schema = DFSchema::try_from(Schema::new(fields))?;
            filter.shape = Some((session.create_physical_expr(expr, &schema)?, positions));
        }
        Ok(filter)
    }

    /// True when every row matches.
    pub(crate) fn none(&self) -> bool {
        self.text.is_empty()
    }

    /// False when no row within the bounds can match.
    pub(crate) fn overlaps(&self, bounds: &Bounds) -> bool {
        self.start.overlaps(bounds.start) && self.end.overlaps(bounds.end)
    }

    /// Which shapes match.
    pub(crate) fn mask(&self, shapes: &dyn Shapes) -> Result<Option<Arc<[bool]>>> {
        let Some((expr, positions)) = &self.shape else { return Ok(None) };
        let columns: Vec<ArrayRef> =
            positions.iter().filter_map(|position| shapes.column(*position)).collect();
        let fields: Vec<Field> = positions
            .iter()
            .zip(&columns)
            .map(|(position, column)| {
                Field::new(self.table.columns[*position].name, column.data_type().clone(), true)
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(shapes.len()));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?;
        let matches = expr.evaluate(&batch)?.into_array(shapes.len())?;
        let matches = matches.as_boolean();
        Ok(Some((0..shapes.len()).map(|shape| matches.is_valid(shape) && matches.value(shape)).collect()))
    }

    /// The rows of a block that match. `mask` is that of the block's book.
    pub(crate) fn rows(&self, block: &Block, mask: Option<&[bool]>) -> Rows {
        let mut rows = Rows::Run(0..block.rows());
        if let Some(ids) = &self.traces {
            if block.trace.all_absent() {
                return Rows::Picked(Vec::new());
            }
            rows = keep(&rows, |row| ids.contains(&block.trace.value(row)));
        }
        if let Some(ids) = &self.spans {
            rows = keep(&rows, |row| ids.contains(&block.span.value(row)));
        }
        if let Some(mask) = mask {
            rows = match rows {
                Rows::Run(_) => mask_all(&block.shapes, mask),
                rows @ Rows::Picked(_) => keep(&rows, |row| mask[usize::from(block.shapes[row])]),
            };
        }
        if !self.start.covers(block.bounds.start) {
            rows = keep(&rows, |row| self.start.holds(block.start.value(row)));
        }
        if !self.end.covers(block.bounds.end) {
            let end = |row| block.start.value(row).wrapping_add(block.elapsed.value(row));
            rows = keep(&rows, |row| self.end.holds(end(row)));
        }
        rows
    }
}

fn meet<const N: usize>(known: &mut Option<Vec<[u8; N]>>, ids: Vec<[u8; N]>) {
    *known = Some(match known.take() {
        Some(known) => known.into_iter().filter(|id| ids.contains(id)).collect(),
        None => ids,
    });
}

fn keep(rows: &Rows, matches: impl Fn(usize) -> bool) -> Rows {
    let mut kept = Vec::new();
    rows.each(|row| {
        if matches(row) {
            kept.push(u32::try_from(row).unwrap_or(u32::MAX));
        }
    });
    Rows::Picked(kept)
}

/// Without a branch on each row: whether a row matches is a coin toss.
fn mask_all(shapes: &[u16], mask: &[bool]) -> Rows {
    let mut kept = vec![0_u32; shapes.len()];
    let mut count = 0;
    for (row, shape) in (0_u32..).zip(shapes) {
        kept[count] = row;
        count += usize::from(mask[usize::from(*shape)]);
    }
    if count == shapes.len() {
        return Rows::Run(0..count);
    }
    kept.truncate(count);
    Rows::Picked(kept)
}
