//! Makes record batches: takes rows from blocks, column by column, and only the columns that are asked for.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use selvedge_model::tables::TableDef;

use crate::scan::row_column::{RowColumn, Taken};
use crate::segment::block::Block;
use crate::segment::column::Rows;
use crate::segment::points::HISTOGRAM;
use crate::segment::shape::Shapes;

/// Rows of a batch. Large, because what DataFusion does with the dictionary of a column it does once a batch.
pub(crate) const BATCH_ROWS: usize = 32_768;

/// Rows of a batch that is folded at once: what is made of it stays in the nearest caches.
pub(crate) const SHAPED_ROWS: usize = 8_192;

/// Where a projected column comes from.
enum Source {
    /// Rows.
    Row(RowColumn, Taken),
    /// Shapes, by position in the table.
    Shape(usize),
}

/// Rows on their way into one batch.
pub(crate) struct Gather {
    table: &'static TableDef,
    schema: SchemaRef,
    projection: Vec<usize>,
    sources: Vec<Source>,
    /// The shape of every row taken.
    keys: Vec<u32>,
    /// Shape columns are among the projected ones, or the keys are wanted for themselves.
    keyed: bool,
    keys_wanted: bool,
    rows: usize,
}

impl Gather {
    /// `schema` is that of `projection`, positions in `table`.
    pub(crate) fn new(table: &'static TableDef, schema: SchemaRef, projection: Vec<usize>) -> Self {
        let mut gather = Self {
            table,
            schema,
            projection,
            sources: Vec::new(),
            keys: Vec::new(),
            keyed: false,
            keys_wanted: false,
            rows: 0,
        };
        gather.restart(BATCH_ROWS);
        gather
    }

    /// From now on the keys are wanted even when no column is made of them.
    pub(crate) fn keep_keys(&mut self) {
        if !self.keys_wanted {
            self.keys_wanted = true;
            self.restart(SHAPED_ROWS);
        }
    }

    /// Makes room for about so many rows.
    fn restart(&mut self, rows: usize) {
        let table = self.table;
        let source = |position: &usize| {
            let name = table.columns.get(*position).map_or("", |column| column.name);
            RowColumn::of(table, name)
                .map_or(Source::Shape(*position), |column| Source::Row(column, Taken::new(column, rows)))
        };
        self.sources = self.projection.iter().map(source).collect();
        self.keyed = self.keys_wanted || self.sources.iter().any(|source| matches!(source, Source::Shape(_)));
        self.keys = if self.keyed { Vec::with_capacity(rows) } else { Vec::new() };
        self.rows = 0;
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Adds rows of a block. All rows of one batch have their shapes in one book.
    pub(crate) fn take(&mut self, block: &Block, rows: &Rows, shapes: &dyn Shapes) {
        self.rows += rows.len();
        if self.keyed {
            match rows {
                Rows::Run(run) => {
                    self.keys.extend(block.shapes[run.clone()].iter().map(|key| u32::from(*key)));
                }
                Rows::Picked(picked) => {
                    self.keys.extend(picked.iter().map(|row| u32::from(block.shapes[*row as usize])));
                }
            }
        }
        let of_kind = |source: &Source| {
            matches!(source, Source::Row(RowColumn::Value | RowColumn::Sum | RowColumn::Count, _))
        };
        let histogram =
            if self.sources.iter().any(of_kind) { self.histograms(block, rows, shapes) } else { Vec::new() };
        for source in &mut self.sources {
            if let Source::Row(column, taken) = source {
                taken.take(*column, block, rows, &histogram);
            }
        }
    }

    fn histograms(&self, block: &Block, rows: &Rows, shapes: &dyn Shapes) -> Vec<bool> {
        let kind = self.table.position("kind").and_then(|position| shapes.column(position));
        let Some(kind) = kind else { return vec![false; rows.len()] };
        let kind = kind.as_dictionary::<UInt32Type>();
        let words = kind.values().as_string::<i32>();
        let mut histogram = Vec::with_capacity(rows.len());
        rows.each(|row| {
            let word = kind.key(usize::from(block.shapes[row])).map(|key| words.value(key));
            histogram.push(word == Some(HISTOGRAM));
        });
        histogram
    }

    /// The rows taken so far as a batch, and their keys; the next one begins.
    pub(crate) fn finish(&mut self, shapes: &dyn Shapes) -> Result<(RecordBatch, UInt32Array), ArrowError> {
        let rows = self.rows;
        let keys = UInt32Array::from(std::mem::take(&mut self.keys));
        let sources = std::mem::take(&mut self.sources);
        let columns = sources.into_iter().map(|source| match source {
            Source::Row(_, taken) => taken.finish(),
            Source::Shape(position) => {
                let column = shapes.column(position).ok_or_else(|| {
                    ArrowError::SchemaError(format!("column {position} of {} has no source", self.table.name))
                })?;
                take(&column, &keys, None)
            }
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        self.restart(rows);
        Ok((batch, keys))
    }
}
