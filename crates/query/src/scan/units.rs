//! What a scan has to read after pruning, and what it did not have to.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;

use crate::scan::filter::Filter;
use crate::segment::block::Block;
use crate::segment::shape::Shapes;
use crate::segment::table::TableView;

/// A block to read.
#[derive(Clone)]
pub(crate) struct Unit {
    pub(crate) block: Arc<Block>,
    pub(crate) shapes: Arc<dyn Shapes>,
    /// Which shapes match; `None` when all do.
    pub(crate) mask: Option<Arc<[bool]>>,
}

/// What was read of what there is, for `EXPLAIN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pruning {
    segments: (usize, usize),
    blocks: (usize, usize),
    pub(crate) rows: (usize, usize),
    by_time: bool,
    by_shape: bool,
}

impl fmt::Display for Pruning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((segments, of_segments), (blocks, of_blocks), (rows, of_rows)) =
            (self.segments, self.blocks, self.rows);
        write!(f, "segments={segments}/{of_segments}, blocks={blocks}/{of_blocks}, rows={rows}/{of_rows}")?;
        match (self.by_time, self.by_shape) {
            (true, true) => f.write_str(" (pruned by time and shape)"),
            (true, false) => f.write_str(" (pruned by time)"),
            (false, true) => f.write_str(" (pruned by shape)"),
            (false, false) => Ok(()),
        }
    }
}

/// The blocks that may hold rows which match.
pub(crate) fn plan(view: &TableView, filter: &Filter) -> Result<(Vec<Unit>, Pruning)> {
    let mut units = Vec::new();
    let mut pruning = Pruning::default();
    let mut masks: Vec<(*const (), Option<Arc<[bool]>>)> = Vec::new();
    for segment in &view.segments {
        pruning.segments.1 += 1;
        pruning.blocks.1 += segment.segment.blocks.len();
        pruning.rows.1 += segment.segment.rows;
        if !filter.overlaps(&segment.segment.bounds) {
            pruning.by_time = true;
            continue;
        }
        let book = Arc::as_ptr(&segment.shapes).cast::<()>();
        let known = masks.iter().find(|(known, _)| *known == book).map(|(_, mask)| mask.clone());
        let mask = match known {
            Some(mask) => mask,
            None => {
                let mask = filter.mask(segment.shapes.as_ref())?;
                masks.push((book, mask.clone()));
                mask
            }
        };
        if mask.as_ref().is_some_and(|mask| mask.iter().all(|matches| !matches)) {
            pruning.by_shape = true;
            continue;
        }
        let mask = mask.filter(|mask| !mask.iter().all(|matches| *matches));
        pruning.segments.0 += 1;
        for block in &segment.segment.blocks {
            if !filter.overlaps(&block.bounds) {
                pruning.by_time = true;
                continue;
            }
            pruning.blocks.0 += 1;
            pruning.rows.0 += block.rows();
            let (block, shapes) = (Arc::clone(block), Arc::clone(&segment.shapes));
            units.push(Unit { block, shapes, mask: mask.clone() });
        }
    }
    Ok((units, pruning))
}

/// Rows below which one more partition is not worth its task.
const PARTITION_ROWS_MIN: usize = 65_536;

/// Cuts the units into runs of about as many rows, at most `partitions_max`, at least one.
pub(crate) fn partition(units: Vec<Unit>, partitions_max: usize) -> Vec<Arc<[Unit]>> {
    let rows: usize = units.iter().map(|unit| unit.block.rows()).sum();
    let partitions = (rows / PARTITION_ROWS_MIN).clamp(1, partitions_max.max(1));
    let each = rows.div_ceil(partitions).max(1);
    let mut parts: Vec<Vec<Unit>> = vec![Vec::new()];
    let mut filled = 0;
    for unit in units {
        if filled >= each && parts.len() < partitions {
            parts.push(Vec::new());
            filled = 0;
        }
        filled += unit.block.rows();
        if let Some(last) = parts.last_mut() {
            last.push(unit);
        }
    }
    parts.into_iter().map(Arc::from).collect()
}
