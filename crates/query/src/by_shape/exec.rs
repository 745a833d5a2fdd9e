//! The operator: reads the units of a scan and folds them.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt, stream};

use crate::by_shape::by_shape;
use crate::by_shape::fold::Fold;
use crate::by_shape::plan::Plan;
use crate::scan::{Batches, SegmentsExec};

/// Batches folded before others may run: some milliseconds.
const BATCHES_BETWEEN_PAUSES: usize = 16;

/// An aggregate and the scan below it, in one.
pub(crate) struct ShapeAggregateExec {
    aggregate: AggregateExec,
    /// A [`SegmentsExec`].
    input: Arc<dyn ExecutionPlan>,
    plan: Arc<Plan>,
    metrics: ExecutionPlanMetricsSet,
}

impl ShapeAggregateExec {
    pub(crate) fn new(aggregate: AggregateExec, input: Arc<dyn ExecutionPlan>, plan: Plan) -> Self {
        Self { aggregate, input, plan: Arc::new(plan), metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl fmt::Debug for ShapeAggregateExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShapeAggregateExec").field("table", &self.plan.table.name).finish_non_exhaustive()
    }
}

impl DisplayAs for ShapeAggregateExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shape")?;
        self.aggregate.fmt_as(kind, f)
    }
}

impl ExecutionPlan for ShapeAggregateExec {
    fn name(&self) -> &str {
        "ShapeAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.aggregate.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        take: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.aggregate.apply_expressions(take)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let aggregate = replace_children_if_necessary(Arc::new(self.aggregate.clone()), children)?;
        Ok(by_shape(&aggregate)?.unwrap_or(aggregate))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(segments) = self.input.downcast_ref::<SegmentsExec>() else {
            return internal_err!("{} reads segments only", self.name());
        };
        let (schema, columns) = (Arc::clone(&self.plan.rows.schema), self.plan.rows.columns.clone());
        let batches = segments.batches(partition, (schema, columns), &self.metrics)?;
        let reservation =
            MemoryConsumer::new(format!("{}[{partition}]", self.name())).register(context.memory_pool());
        let fold = Fold::new(Arc::clone(&self.plan), reservation)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows_max = context.session_config().batch_size();
        let all = stream::once(folded(fold, batches)).map_ok(move |all| {
            metrics.record_output(all.num_rows());
            stream::iter(cut(&all, rows_max)).map(Ok)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), all.try_flatten())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

async fn folded(mut fold: Fold, mut batches: Batches) -> Result<RecordBatch> {
    let mut count = 0;
    while let Some((rows, keys, shapes)) = batches.with_shapes()? {
        fold.add(&rows, &keys, &shapes)?;
        count += 1;
        if count % BATCHES_BETWEEN_PAUSES == 0 {
            // Here a query that ran out of time, or that nobody waits for, ends.
            tokio::task::yield_now().await;
        }
    }
    fold.finish()
}

fn cut(all: &RecordBatch, rows_max: usize) -> Vec<RecordBatch> {
    let starts = (0..all.num_rows()).step_by(rows_max.max(1));
    starts.map(|start| all.slice(start, rows_max.min(all.num_rows() - start))).collect()
}
