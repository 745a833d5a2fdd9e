//! The leaf of a query's plan: reads units, filters them, makes batches.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, UInt32Array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
    SendableRecordBatchStream,
};
use futures::stream;
use selvedge_model::tables::TableDef;

use crate::scan::filter::Filter;
use crate::scan::gather::{BATCH_ROWS, Gather, SHAPED_ROWS};
use crate::scan::units::{Pruning, Unit};
use crate::segment::shape::Shapes;

/// Reads the segments of one table.
#[derive(Clone)]
pub(crate) struct SegmentsExec {
    pub(crate) table: &'static TableDef,
    pub(crate) schema: SchemaRef,
    pub(crate) projection: Vec<usize>,
    pub(crate) filter: Arc<Filter>,
    pub(crate) partitions: Vec<Arc<[Unit]>>,
    pub(crate) pruning: Pruning,
    fetch: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SegmentsExec {
    pub(crate) fn new(
        table: &'static TableDef,
        (schema, projection): (SchemaRef, Vec<usize>),
        filter: Filter,
        (partitions, pruning): (Vec<Arc<[Unit]>>, Pruning),
        fetch: Option<usize>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            table,
            schema,
            projection,
            filter: Arc::new(filter),
            partitions,
            pruning,
            fetch,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The batches of one partition with any columns: a schema, and the positions in the table.
    pub(crate) fn batches(
        &self,
        partition: usize,
        (schema, columns): (SchemaRef, Vec<usize>),
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Batches> {
        let Some(units) = self.partitions.get(partition) else {
            return internal_err!("{} has no partition {partition}", self.name());
        };
        Ok(Batches {
            units: Arc::clone(units),
            next: 0,
            filter: Arc::clone(&self.filter),
            gather: Gather::new(self.table, schema, columns),
            left: self.fetch.unwrap_or(usize::MAX),
            metrics: BaselineMetrics::new(metrics, partition),
        })
    }
}

impl fmt::Debug for SegmentsExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentsExec").field("table", &self.table.name).finish_non_exhaustive()
    }
}

impl DisplayAs for SegmentsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.pruning)?;
        let fields = self.schema.fields();
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        write!(f, ", columns=[{}]", names.join(", "))?;
        if !self.filter.none() {
            write!(f, ", filter={}", self.filter)?;
        }
        self.fetch.map_or(Ok(()), |fetch| write!(f, ", limit={fetch}"))
    }
}

impl ExecutionPlan for SegmentsExec {
    fn name(&self) -> &str {
        match self.table.name {
            "calls" => "CallsExec",
            "spans" => "SpansExec",
            "log_records" => "LogRecordsExec",
            _ => "MetricPointsExec",
        }
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let columns = (Arc::clone(&self.schema), self.projection.clone());
        let batches = self.batches(partition, columns, &self.metrics)?;
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::iter(batches))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let rows = match args.partition().and_then(|partition| self.partitions.get(partition)) {
            Some(units) => units.iter().map(|unit| unit.block.rows()).sum(),
            None => self.pruning.rows.0,
        };
        let rows = rows.min(self.fetch.unwrap_or(usize::MAX));
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows =
            if self.filter.none() { Precision::Exact(rows) } else { Precision::Inexact(rows) };
        Ok(Arc::new(statistics))
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self { fetch: limit, metrics: ExecutionPlanMetricsSet::new(), ..self.clone() }))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }
}

/// The batches of one partition, made one at a time.
pub(crate) struct Batches {
    units: Arc<[Unit]>,
    next: usize,
    filter: Arc<Filter>,
    gather: Gather,
    /// Rows that may still be given.
    left: usize,
    metrics: BaselineMetrics,
}

/// Rows, the number of each row's shape, and the book it is in.
type WithShapes = (RecordBatch, UInt32Array, Arc<dyn Shapes>);

impl Batches {
    /// Takes rows until a batch is full or the next rows have their shapes in another book, which is given back.
    fn fill(&mut self, rows_max: usize) -> Option<Arc<dyn Shapes>> {
        let mut shapes = None;
        while let Some(unit) = self.units.get(self.next) {
            let book = shapes.get_or_insert_with(|| Arc::clone(&unit.shapes));
            if self.gather.rows() >= rows_max || self.left == 0 || !Arc::ptr_eq(book, &unit.shapes) {
                break;
            }
            self.next += 1;
            let mut rows = self.filter.rows(&unit.block, unit.mask.as_deref());
            rows.truncate(self.left);
            if rows.len() > 0 {
                self.left -= rows.len();
                self.gather.take(&unit.block, &rows, unit.shapes.as_ref());
            }
        }
        shapes.filter(|_| self.gather.rows() > 0)
    }

    /// The next batch that has rows.
    fn filled(&mut self, rows_max: usize) -> Option<Arc<dyn Shapes>> {
        // A book's rows may all have been filtered out: on to the next book.
        while self.next < self.units.len() && self.left > 0 {
            if let Some(shapes) = self.fill(rows_max) {
                return Some(shapes);
            }
        }
        None
    }

    /// The next batch, with the shape of each row.
    pub(crate) fn with_shapes(&mut self) -> Result<Option<WithShapes>> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timer = timer.timer();
        self.gather.keep_keys();
        let Some(shapes) = self.filled(SHAPED_ROWS) else { return Ok(None) };
        let (batch, keys) = self.gather.finish(shapes.as_ref())?;
        Ok(Some((batch, keys, shapes)))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timer = timer.timer();
        let shapes = self.filled(BATCH_ROWS)?;
        match self.gather.finish(shapes.as_ref()) {
            Ok((batch, _)) => {
                self.metrics.record_output(batch.num_rows());
                Some(Ok(batch))
            }
            Err(error) => {
                self.next = self.units.len();
                Some(Err(error.into()))
            }
        }
    }
}
