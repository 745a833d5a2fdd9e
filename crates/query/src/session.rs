//! DataFusion sessions that can read our tables and nothing else.

use std::sync::Arc;

use datafusion::catalog::CatalogProviderList;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;

use crate::by_shape::AggregateByShape;
use crate::catalog::{CATALOG, SCHEMA};
use crate::functions;
use crate::history::STORE_URL;

/// Functions whose result may be far larger than their arguments: what they allocate is not accounted for, so one row
/// could take all memory.
const UNBOUNDED: [&str; 11] = [
    "repeat",
    "lpad",
    "rpad",
    "array_repeat",
    "list_repeat",
    "array_resize",
    "list_resize",
    "range",
    "generate_series",
    "gen_series",
    "space",
];

/// The state that every session begins with.
pub(crate) fn template(
    threads: usize,
    memory_bytes_max: usize,
    history: Option<Arc<dyn ObjectStore>>,
) -> Result<SessionState> {
    let mut config = SessionConfig::new()
        .with_target_partitions(threads.max(1))
        .with_information_schema(true)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    // A recursion without end would run until the time limit, and grow on the way.
    options.execution.enable_recursive_ctes = false;
    // History files end with what a reader wants; guessing costs a second read.
    options.execution.parquet.pushdown_filters = true;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime(memory_bytes_max, history)?)
        .with_default_features()
        .with_physical_optimizer_rule(Arc::new(AggregateByShape))
        .build();
    functions::register(&mut state)?;
    Ok(state)
}

/// The same session over other catalogs.
pub(crate) fn with_catalogs(template: &SessionState, catalogs: Arc<dyn CatalogProviderList>) -> SessionState {
    let mut state = template.clone();
    state.register_catalog_list(catalogs);
    state.mark_start_execution();
    state
}

fn runtime(memory_bytes_max: usize, history: Option<Arc<dyn ObjectStore>>) -> Result<Arc<RuntimeEnv>> {
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory_bytes_max)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .with_object_store_registry(Arc::new(Stores { history }))
        .build_arc()
}

/// Removes what must not be called.
pub(crate) fn remove_unbounded(state: &mut SessionState) -> Result<()> {
    use datafusion::execution::FunctionRegistry;
    for name in UNBOUNDED {
        state.deregister_udf(name)?;
    }
    Ok(())
}

/// No path and no URL leads anywhere, but for the private one of the history.
#[derive(Debug)]
struct Stores {
    history: Option<Arc<dyn ObjectStore>>,
}

impl ObjectStoreRegistry for Stores {
    fn register_store(&self, _: &url::Url, _: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        None
    }

    fn get_store(&self, url: &url::Url) -> Result<Arc<dyn ObjectStore>> {
        let private = STORE_URL.starts_with(&format!("{}://", url.scheme()));
        self.history.clone().filter(|_| private).ok_or_else(|| {
            DataFusionError::Plan(format!("{url} cannot be read: SQL here reads its own tables only"))
        })
    }
}
