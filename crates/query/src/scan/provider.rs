//! A recorded table for DataFusion: the live segments, and the history where there is one.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;

use crate::history::{self, HistoryFile};
use crate::scan::exec::SegmentsExec;
use crate::scan::filter::{self, Filter};
use crate::scan::units;
use crate::schema;
use crate::segment::table::TableView;

/// One of the tables whose rows are in segments.
pub(crate) struct RecordedTable {
    view: Arc<TableView>,
    /// Files with rows that are not in memory.
    files: Vec<Arc<HistoryFile>>,
    schema: SchemaRef,
}

impl RecordedTable {
    pub(crate) fn new(view: Arc<TableView>, files: Vec<Arc<HistoryFile>>) -> Self {
        let schema = schema::recorded(view.table);
        Self { view, files, schema }
    }
}

impl fmt::Debug for RecordedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedTable").field("table", &self.view.table.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for RecordedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = self.view.table;
        let projection = projection.cloned().unwrap_or_else(|| (0..table.columns.len()).collect());
        let projected = Arc::new(self.schema.project(&projection)?);
        let filter = Filter::new(table, &self.schema, filters, session)?;
        let (units, pruning) = units::plan(&self.view, &filter)?;
        let files: Vec<Arc<HistoryFile>> =
            self.files.iter().filter(|file| filter.overlaps(&file.bounds)).cloned().collect();
        let older = if files.is_empty() {
            None
        } else {
            Some(history::scan(&files, &self.schema, &projection, filters, session)?)
        };
        let partitions = units::partition(units, session.config().target_partitions());
        let live = SegmentsExec::new(table, (projected, projection), filter, (partitions, pruning), limit);
        let live: Arc<dyn ExecutionPlan> = Arc::new(live);
        match older {
            Some(older) => UnionExec::try_new(vec![older, live]),
            None => Ok(live),
        }
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let answer = |expr: &&Expr| {
            if filter::exact(self.view.table, expr) {
                TableProviderFilterPushDown::Exact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        };
        Ok(filters.iter().map(answer).collect())
    }
}
