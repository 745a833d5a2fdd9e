//! The plan that reads history files: pruned by time before, by statistics while reading, filtered exactly after.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::reassign_expr_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExecBuilder;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use crate::history::HistoryFile;

/// The private store of the history. No statement can name it.
pub(crate) const STORE_URL: &str = "selvedge-history://files/";

/// Reads `projection` of the rows of `files` that match all `filters`.
pub(crate) fn scan(
    files: &[Arc<HistoryFile>],
    schema: &SchemaRef,
    projection: &[usize],
    filters: &[Expr],
    session: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    let predicate = match conjunction(filters.to_vec()) {
        Some(expr) => {
            let schema = DFSchema::try_from(schema.as_ref().clone())?;
            Some(session.create_physical_expr(expr, &schema)?)
        }
        None => None,
    };
    // Columns that only a filter needs are read too, after the projected ones.
    let mut read = projection.to_vec();
    let needed =
        filters.iter().flat_map(Expr::column_refs).filter_map(|column| schema.index_of(column.name()).ok());
    for position in needed {
        if !read.contains(&position) {
            read.push(position);
        }
    }
    let mut source = ParquetSource::new(Arc::clone(schema));
    if let Some(predicate) = &predicate {
        source = source.with_predicate(Arc::clone(predicate));
    }
    let partitions = session.config().target_partitions().clamp(1, files.len().max(1));
    let groups = files.chunks(files.len().div_ceil(partitions).max(1)).map(|files| {
        let file = |file: &Arc<HistoryFile>| PartitionedFile::new(file.location.clone(), file.bytes);
        FileGroup::new(files.iter().map(file).collect())
    });
    let config = FileScanConfigBuilder::new(ObjectStoreUrl::parse(STORE_URL)?, Arc::new(source))
        .with_file_groups(groups.collect())
        .with_projection_indices(Some(read))?
        .build();
    let mut plan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
    if let Some(predicate) = predicate {
        let predicate = reassign_expr_columns(predicate, plan.schema().as_ref())?;
        plan = Arc::new(FilterExecBuilder::new(predicate, plan).build()?);
    }
    let columns = (0..projection.len()).map(|at| {
        let name = plan.schema().field(at).name().clone();
        ProjectionExpr::new(Arc::new(Column::new(&name, at)), name)
    });
    let columns: Vec<ProjectionExpr> = columns.collect();
    Ok(Arc::new(ProjectionExec::try_new(columns, plan)?))
}
