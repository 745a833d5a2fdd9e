//! Stops a running query wherever it is.
//!
//! Tasks are stopped where they yield, and DataFusion's operators yield when their sources do. A join is different: of
//! two small inputs it may compute for hours without reading anything. So every join asks, for each batch that it gives
//! and each time that it looks at a condition, whether anybody still waits.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;
use tokio::time::Instant;

/// The query ran out of time, or nobody wants its answer any more.
#[derive(Debug, thiserror::Error)]
#[error("the query was stopped")]
pub(crate) struct Stopped;

/// Whether a query should go on. Clones speak of the same query.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    unwanted: Arc<AtomicBool>,
    deadline: Instant,
}

impl Stop {
    pub(crate) fn new(deadline: Instant) -> Self {
        Self { unwanted: Arc::default(), deadline }
    }

    /// Nobody wants the answer any more.
    pub(crate) fn unwanted(&self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<()> {
        if self.unwanted.load(Ordering::Relaxed) || Instant::now() >= self.deadline {
            return Err(DataFusionError::External(Box::new(Stopped)));
        }
        Ok(())
    }

    /// The plan, with every join asking.
    pub(crate) fn watch(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let watched =
            plan.transform_up(|node| {
                if !node.name().ends_with("JoinExec") {
                    return Ok(Transformed::no(node));
                }
                let input = match node.downcast_ref::<NestedLoopJoinExec>() {
                    Some(join) => self.condition(join)?.unwrap_or(node),
                    None => node,
                };
                Ok(Transformed::yes(
                    Arc::new(WatchedExec { input, stop: self.clone() }) as Arc<dyn ExecutionPlan>
                ))
            })?;
        Ok(watched.data)
    }

    fn condition(&self, join: &NestedLoopJoinExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(filter) = join.filter() else { return Ok(None) };
        let inner = Arc::clone(filter.expression());
        let watched = Arc::new(WatchedExpr { inner, stop: self.clone() });
        let filter = JoinFilter::new(watched, filter.column_indices().to_vec(), Arc::clone(filter.schema()));
        let join = NestedLoopJoinExecBuilder::from(join).with_filter(Some(filter)).build()?;
        Ok(Some(Arc::new(join)))
    }
}

/// An operator whose every batch is preceded by the question.
#[derive(Debug)]
struct WatchedExec {
    input: Arc<dyn ExecutionPlan>,
    stop: Stop,
}

impl DisplayAs for WatchedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchedExec")
    }
}

impl ExecutionPlan for WatchedExec {
    fn name(&self) -> &str {
        "WatchedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.pop().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self { input, stop: self.stop.clone() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let batches = self.input.execute(partition, context)?;
        let (schema, stop) = (batches.schema(), self.stop.clone());
        let watched = batches.map(move |batch| stop.check().and(batch));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, watched)))
    }
}

/// A condition that asks before it is evaluated.
#[derive(Debug)]
struct WatchedExpr {
    inner: Arc<dyn PhysicalExpr>,
    stop: Stop,
}

impl PartialEq for WatchedExpr {
    fn eq(&self, other: &Self) -> bool {
        self.inner.as_ref() == other.inner.as_ref()
    }
}

impl Eq for WatchedExpr {}

impl Hash for WatchedExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for WatchedExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for WatchedExpr {
    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.stop.check()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.pop().unwrap_or_else(|| Arc::clone(&self.inner));
        Ok(Arc::new(Self { inner, stop: self.stop.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}

/// True for an error that only says that the query was stopped.
pub(crate) fn stopped(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::External(error) => (error.as_ref() as &dyn std::error::Error).is::<Stopped>(),
        _ => false,
    }
}
