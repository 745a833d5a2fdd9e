//! Functions that people who look at a mesh need, beside DataFusion's.

mod cells;
mod percentile;
mod percentile_groups;
mod text;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::functions::datetime::date_bin;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

/// Adds ours.
pub(crate) fn register(state: &mut SessionState) -> Result<()> {
    state.register_udaf(Arc::new(AggregateUDF::from(percentile::Percentile::new())))?;
    for function in text::all() {
        state.register_udf(Arc::new(ScalarUDF::from(function)))?;
    }
    let bucket = date_bin().as_ref().clone().with_aliases(["time_bucket"]);
    state.register_udf(Arc::new(bucket))?;
    Ok(())
}
