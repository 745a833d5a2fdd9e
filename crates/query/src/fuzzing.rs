//! What a fuzzer needs: a text, parsed, checked and planned, and never run. Not in what is shipped.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use selvedge_model::SymbolTable;

use crate::catalog::{self, Sight};
use crate::error::SqlError;
use crate::guard;
use crate::history::Files;
use crate::segment::{Store, StoreConfig};
use crate::service::unbroken;
use crate::session;

/// Plans statements over our tables, which have no rows.
pub struct Planner {
    state: SessionState,
    runtime: tokio::runtime::Runtime,
}

impl Planner {
    /// As [`crate::SqlService`] sets DataFusion up.
    ///
    /// # Errors
    /// DataFusion could not be set up.
    pub fn new() -> Result<Self, DataFusionError> {
        let mut template = session::template(1, 1 << 20, None)?;
        session::remove_unbounded(&mut template)?;
        let snapshot = Store::new(&StoreConfig::default()).snapshot(&SymbolTable::new(0));
        let sight = Arc::new(Sight { snapshot, files: Files::default() });
        let catalogs = catalog::over(&sight, Some(&template), None)?;
        let state = session::with_catalogs(&template, catalogs);
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(Self { state, runtime })
    }

    /// The plan's nodes by name, when the statement would be run.
    ///
    /// # Errors
    /// The refusal that a person would read.
    ///
    /// # Panics
    /// A statement that was not refused does more than read.
    pub fn plan(&self, sql: &str) -> Result<Vec<String>, SqlError> {
        let statement = guard::parse(sql)?;
        let planning = |error| SqlError::planning_of(&error, 0, sql);
        let plan = async { self.state.statement_to_plan(statement).await.map_err(planning) };
        let plan = self.runtime.block_on(unbroken(plan))?;
        guard::check_plan(&plan)?;
        let mut names = Vec::new();
        let walked = plan.apply_with_subqueries(|node| {
            let writes = matches!(
                node,
                LogicalPlan::Dml(_) | LogicalPlan::Ddl(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_)
            );
            assert!(!writes, "a statement that does more than read got through");
            names.push(node.display().to_string());
            Ok(TreeNodeRecursion::Continue)
        });
        walked.map_err(planning)?;
        Ok(names)
    }
}
