//! The door: takes SQL, keeps to the limits, answers with batches.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ParamValues;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::parser::Statement;
use futures::{FutureExt, StreamExt};
use selvedge_model::SymbolTable;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::catalog::{self, Sight};
use crate::error::SqlError;
use crate::guard;
use crate::history::{Files, History};
use crate::measure::STACK_BYTES;
use crate::pg::{PG_SCHEMA, PgCatalog};
use crate::result::QueryResult;
use crate::segment::{Store, StoreConfig};
use crate::session;
use crate::snapshot::Snapshot;
use crate::stop::{Stop, stopped};

/// Batches on their way to whoever asked; a slow reader slows its query, not memory.
const BATCHES_AHEAD: usize = 2;

/// Limits of all queries and of each.
#[derive(Clone, Debug)]
pub struct SqlConfig {
    /// Threads that run queries, and partitions of a scan. Ingestion's threads are others.
    pub threads: usize,
    /// Bytes that all running queries may use together for sorting, joining and grouping.
    pub memory_bytes_max: usize,
    /// Rows of a result; past it the result ends with [`SqlError::TooManyRows`].
    pub rows_max: usize,
    /// Time of a query, its waiting and the reading of its result included.
    pub time_max: Duration,
    /// Queries that run at once.
    pub running_max: usize,
    /// Queries that wait; past it the answer is [`SqlError::Busy`].
    pub waiting_max: usize,
}

impl Default for SqlConfig {
    fn default() -> Self {
        Self {
            threads: 1,
            memory_bytes_max: 256 << 20,
            rows_max: 1_000_000,
            time_max: Duration::from_secs(30),
            running_max: 4,
            waiting_max: 16,
        }
    }
}

/// What one query may have less of than [`SqlConfig`] allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueryOptions {
    /// Rows of the result.
    pub rows_max: Option<usize>,
    /// Time.
    pub time_max: Option<Duration>,
}

/// Where snapshots come from.
#[async_trait]
pub trait SnapshotSource: Send + Sync + 'static {
    /// Everything as it is now; `None` when there is nothing to look at any more.
    async fn snapshot(&self) -> Option<Arc<Snapshot>>;
}

/// Always the same: of captures and files.
#[async_trait]
impl SnapshotSource for Arc<Snapshot> {
    async fn snapshot(&self) -> Option<Arc<Snapshot>> {
        std::future::ready(Some(Arc::clone(self))).await
    }
}

/// SQL over snapshots. Cheap to clone: all clones share limits and threads.
#[derive(Clone)]
pub struct SqlService {
    inner: Arc<Inner>,
}

struct Inner {
    source: Box<dyn SnapshotSource>,
    history: Option<History>,
    template: SessionState,
    config: SqlConfig,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Queries have their own threads: a long computation must not hold up whoever asks, or ingestion.
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A runtime must not be waited for inside another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What to run.
pub(crate) enum Ask {
    /// A text, to be parsed and checked.
    Text(String),
    /// A statement that was checked, with values for its parameters, and PostgreSQL's tables beside ours.
    Statement(Box<Statement>, Option<ParamValues>, Arc<PgCatalog>),
}

impl SqlService {
    /// A service over a source of snapshots.
    ///
    /// # Errors
    /// Threads could not be started, or DataFusion could not be set up.
    pub fn new(source: impl SnapshotSource, config: SqlConfig) -> std::io::Result<Self> {
        Self::with_history(source, None, config)
    }

    /// The same, with older rows in a history: memory and files are one table, and no row is there twice.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_history(
        source: impl SnapshotSource,
        history: Option<History>,
        config: SqlConfig,
    ) -> std::io::Result<Self> {
        let store = history.as_ref().map(History::store);
        let mut template = session::template(config.threads, config.memory_bytes_max, store)
            .map_err(std::io::Error::other)?;
        session::remove_unbounded(&mut template).map_err(std::io::Error::other)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("sql")
            .thread_stack_size(STACK_BYTES)
            .enable_time()
            .build()?;
        let inner = Inner {
            source: Box::new(source),
            history,
            template,
            permits: Arc::new(Semaphore::new(config.running_max.max(1))),
            config,
            waiting: AtomicUsize::new(0),
            runtime: Some(runtime),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Answers one statement that only reads. The result sees one snapshot, whatever happens meanwhile; dropping it
    /// stops the query.
    ///
    /// # Errors
    /// The statement is refused or does not fit the tables, or there is no room for it.
    pub async fn query(&self, sql: &str, options: QueryOptions) -> Result<QueryResult, SqlError> {
        self.run(Ask::Text(sql.to_owned()), options).await
    }

    /// Names of all functions, for completion.
    #[must_use]
    pub fn functions(&self) -> Vec<String> {
        let template = &self.inner.template;
        let scalar = template.scalar_functions().keys();
        let mut names: Vec<String> = scalar.chain(template.aggregate_functions().keys()).cloned().collect();
        names.extend(template.window_functions().keys().cloned());
        names.sort();
        names.dedup();
        names
    }

    /// PostgreSQL's tables and functions over tables of ours that have no rows.
    pub(crate) fn pg_catalog(&self) -> datafusion::error::Result<PgCatalog> {
        let snapshot = Store::new(&StoreConfig::default()).snapshot(&SymbolTable::new(0));
        let empty = Arc::new(Sight { snapshot, files: Files::default() });
        PgCatalog::new(&self.inner.template, &empty)
    }

    pub(crate) async fn run(&self, ask: Ask, options: QueryOptions) -> Result<QueryResult, SqlError> {
        let time_max =
            options.time_max.map_or(self.inner.config.time_max, |time| time.min(self.inner.config.time_max));
        let deadline = tokio::time::Instant::now() + time_max;
        let permit = self.permit(deadline, time_max).await?;
        let runtime = self.inner.runtime.as_ref().ok_or(SqlError::Stopping)?;
        let (schema_out, schema_in) = oneshot::channel();
        let (batches_out, batches_in) = mpsc::channel(BATCHES_AHEAD);
        let stop = Stop::new(deadline);
        let watch = stop.clone();
        let rows_max =
            options.rows_max.map_or(self.inner.config.rows_max, |rows| rows.min(self.inner.config.rows_max));
        let snapshot = tokio::time::timeout_at(deadline, self.inner.source.snapshot()).await;
        let snapshot = snapshot.map_err(|_| SqlError::TimedOut { after: time_max })?;
        let snapshot = snapshot.ok_or(SqlError::Stopping)?;
        // After the snapshot: what was dropped from memory before it is in the history by now.
        let files = self.inner.history.as_ref().map(|history| history.beside(&snapshot)).unwrap_or_default();
        let sight = Arc::new(Sight { snapshot, files });
        let (template, memory) = (self.inner.template.clone(), self.inner.config.memory_bytes_max);
        let task = runtime.handle().spawn(async move {
            let _permit: OwnedSemaphorePermit = permit;
            let query = Query { sight, template, memory, rows_max, time_max, stop: watch };
            let answer = query.answer(ask, schema_out, &batches_out);
            let ended = tokio::time::timeout_at(deadline, unbroken(answer)).await;
            if let Err(error) = ended.unwrap_or(Err(SqlError::TimedOut { after: time_max })) {
                // Whoever asked may have gone.
                drop(batches_out.send(Err(error)).await);
            }
        });
        QueryResult::open(schema_in, batches_in, (task, stop)).await
    }

    /// A place among the running queries, or one in the queue.
    async fn permit(
        &self,
        deadline: tokio::time::Instant,
        time_max: Duration,
    ) -> Result<OwnedSemaphorePermit, SqlError> {
        let Inner { permits, waiting, config, .. } = self.inner.as_ref();
        if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
            return Ok(permit);
        }
        let waits = Waiting::enter(waiting);
        if waits.position > config.waiting_max {
            return Err(SqlError::Busy { running: config.running_max, waiting: config.waiting_max });
        }
        match tokio::time::timeout_at(deadline, Arc::clone(permits).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| SqlError::Stopping),
            Err(_) => Err(SqlError::TimedOut { after: time_max }),
        }
    }
}

/// Counts itself among those who wait, until it is dropped.
struct Waiting<'a> {
    waiting: &'a AtomicUsize,
    position: usize,
}

impl<'a> Waiting<'a> {
    fn enter(waiting: &'a AtomicUsize) -> Self {
        Self { waiting, position: waiting.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One query, on the service's threads.
struct Query {
    sight: Arc<Sight>,
    template: SessionState,
    memory: usize,
    rows_max: usize,
    time_max: Duration,
    stop: Stop,
}

impl Query {
    async fn answer(
        self,
        ask: Ask,
        schema_out: oneshot::Sender<SchemaRef>,
        batches: &mpsc::Sender<Result<RecordBatch, SqlError>>,
    ) -> Result<(), SqlError> {
        let planning = |error| SqlError::planning(&error, self.memory);
        let (template, more) = match &ask {
            Ask::Text(_) => (&self.template, None),
            Ask::Statement(_, _, pg) => (&pg.template, Some((PG_SCHEMA, Arc::clone(&pg.schema)))),
        };
        let catalogs = catalog::over(&self.sight, Some(template), more).map_err(planning)?;
        let state = session::with_catalogs(template, catalogs);
        let plan = logical_plan(&state, ask, self.memory).await?;
        let plan = state.create_physical_plan(&plan).await.map_err(planning)?;
        let plan = self.stop.watch(plan).map_err(planning)?;
        let running = |error| match stopped(&error) {
            true => SqlError::TimedOut { after: self.time_max },
            false => SqlError::running(&error, self.memory),
        };
        let mut stream = execute_stream(plan, state.task_ctx()).map_err(running)?;
        if schema_out.send(stream.schema()).is_err() {
            return Ok(());
        }
        let mut left = self.rows_max;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(running)?;
            let too_many = batch.num_rows() > left;
            let batch = if too_many { batch.slice(0, left) } else { batch };
            left -= batch.num_rows();
            if batch.num_rows() > 0 && batches.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
            if too_many {
                return Err(SqlError::TooManyRows { rows_max: self.rows_max });
            }
        }
        Ok(())
    }
}

/// What DataFusion does, with its panics as errors: there are statements that it breaks on, and an answer that ends without
/// a word looks whole.
pub(crate) async fn unbroken<T>(work: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
    // What it worked on is its own, and is dropped.
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        let message = "the query engine broke on this statement; say it in another way".to_owned();
        Err(SqlError::Failed { message })
    })
}

async fn logical_plan(state: &SessionState, ask: Ask, memory: usize) -> Result<LogicalPlan, SqlError> {
    let (statement, parameters, sql) = match ask {
        Ask::Text(sql) => (guard::parse(&sql)?, None, sql),
        Ask::Statement(statement, parameters, _) => (*statement, parameters, String::new()),
    };
    let planning = |error| SqlError::planning_of(&error, memory, &sql);
    let mut plan = state.statement_to_plan(statement).await.map_err(planning)?;
    if let Some(values) = parameters {
        plan = plan.with_param_values(values).map_err(planning)?;
    }
    guard::check_plan(&plan)?;
    Ok(plan)
}
