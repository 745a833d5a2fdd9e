//! Groups rows by their shapes: for a grouping whose keys speak of shapes only, which is most of them.
//!
//! DataFusion hashes the key of every row. Here the key of every *shape* is hashed, once, and a row's group is looked up
//! by the number of its shape; what an aggregate takes from shapes is evaluated once for each shape too. Aggregates are
//! DataFusion's own and ours, unchanged. Start reading at [`AggregateByShape`], then `plan.rs`, `fold.rs`, `exec.rs`.

mod exec;
mod fold;
mod plan;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::coop::CooperativeExec;

use crate::by_shape::exec::ShapeAggregateExec;
use crate::by_shape::plan::Plan;
use crate::scan::SegmentsExec;

/// Replaces the aggregates that can be computed by shape.
#[derive(Debug)]
pub(crate) struct AggregateByShape;

impl PhysicalOptimizerRule for AggregateByShape {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let replaced = plan.transform_up(|node| {
            Ok(match by_shape(&node)? {
                Some(replacement) => Transformed::yes(replacement),
                None => Transformed::no(node),
            })
        });
        replaced.data()
    }

    fn name(&self) -> &str {
        "AggregateByShape"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The same aggregate, by shape; `None` when it is none or has to be computed by DataFusion.
fn by_shape(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(aggregate) = node.downcast_ref::<AggregateExec>() else { return Ok(None) };
    let input = match aggregate.input().downcast_ref::<CooperativeExec>() {
        Some(cooperative) => cooperative.input(),
        None => aggregate.input(),
    };
    let Some(segments) = input.downcast_ref::<SegmentsExec>() else { return Ok(None) };
    let raw = matches!(aggregate.mode(), AggregateMode::Single | AggregateMode::Partial);
    if !raw || segments.fetch().is_some() || aggregate.limit_options().is_some() {
        return Ok(None);
    }
    let Some(plan) = Plan::of(aggregate, segments)? else { return Ok(None) };
    Ok(Some(Arc::new(ShapeAggregateExec::new(aggregate.clone(), Arc::clone(input), plan))))
}
