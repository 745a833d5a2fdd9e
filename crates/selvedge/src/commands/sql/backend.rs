//! Who answers: a running engine, or captures and files without one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use selvedge_act::{Answer, AskError, Asker, Piece, Secret};
use selvedge_engine::Pipeline;
use selvedge_query::output::{BatchReader, OutputError};
use selvedge_query::{
    History, HistoryConfig, QueryOptions, QueryResult, RecordBatch, SchemaRef, SqlConfig, SqlError,
    SqlService, StoreConfig, Watched,
};
use serde::Deserialize;

use crate::cli::SqlArgs;
use crate::commands::replay::Pacer;
use crate::config;
use crate::exit::Failure;
use crate::paths;

/// Where a running engine answers unless said otherwise (design section 4).
const URL_DEFAULT: &str = "http://127.0.0.1:4319";
/// Arrow's IPC stream: whatever format was asked for is made here.
const ARROW: &str = "application/vnd.apache.arrow.stream";
/// Captures are played for one person who waits: far more fits than a live engine keeps.
const CAPTURE_BYTES_MAX: usize = 4 << 30;
/// Bytes of queries over captures and files.
const MEMORY_BYTES_MAX: usize = 2 << 30;

/// Who answers.
pub(crate) enum Backend {
    Local(SqlService),
    Engine(Box<Asker>),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// The query is to blame.
    #[error("{}", .0.detail)]
    Problem(Problem),
    /// The engine could not be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The answer could not be read.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What is wrong with a query, as the API tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct Problem {
    pub(crate) detail: String,
    #[serde(default)]
    pub(crate) position: Option<Place>,
    #[serde(default)]
    pub(crate) hint: Option<String>,
}

/// Line and column, from 1.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl From<SqlError> for QueryError {
    fn from(error: SqlError) -> Self {
        let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let position = error.position();
        Self::Problem(Problem {
            detail: error.to_string(),
            position: position.map(|at| Place { line: place(at.line), column: place(at.column) }),
            hint: error.hint(),
        })
    }
}

impl Backend {
    /// The one that the arguments name.
    pub(crate) fn open(args: &SqlArgs) -> Result<Self, Failure> {
        if args.capture.is_empty() && args.history.is_none() {
            let token = crate::logging::token(args.token.as_deref()).map(Secret::new);
            let url = args.url.as_deref().unwrap_or(URL_DEFAULT);
            return Ok(Self::Engine(Box::new(Asker::new(url, "/api/v1/sql", token.as_ref())?)));
        }
        paths::require_files(&args.capture)?;
        paths::require_files(&args.learn)?;
        if let Some(missing) = args.history.as_ref().filter(|path| !path.exists()) {
            return Err(anyhow::anyhow!(
                "cannot read {}: there is no such file or folder",
                missing.display()
            )
            .into());
        }
        let mut config = config::load(args.config.as_deref())?;
        config.engine.record = Some(StoreConfig { bytes_max: CAPTURE_BYTES_MAX, ..StoreConfig::default() });
        let mut pipeline = Pipeline::new(&config.engine, config.rules);
        for path in &args.learn {
            selvedge_replay::teach(&mut pipeline, path)?;
        }
        let mut pace = Pacer::unpaced()?;
        let played = selvedge_replay::judge(&mut pipeline, &args.capture, &mut pace)?;
        pace.finish();
        let learned = Arc::new(pipeline.learned());
        let quarantines = Arc::new(pipeline.quarantines().cloned().collect());
        pipeline.recorded().watch(Watched {
            quarantines,
            // The log is of what was enforced, which a capture does not do.
            audit: Arc::default(),
            learned,
            findings: Arc::new(played.transcript.findings),
            incidents: Arc::new(played.incidents),
            ledger: played.stats.ledger,
        });
        let snapshot =
            pipeline.recorded().snapshot().ok_or_else(|| anyhow::anyhow!("nothing was recorded"))?;
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let limits = SqlConfig {
            threads,
            memory_bytes_max: MEMORY_BYTES_MAX,
            rows_max: usize::MAX,
            time_max: Duration::from_secs(24 * 3600),
            ..SqlConfig::default()
        };
        let history = args.history.as_deref().map(open_history).transpose()?;
        Ok(Self::Local(SqlService::with_history(snapshot, history, limits)?))
    }

    /// Runs a statement.
    pub(crate) async fn ask(&self, sql: &str) -> Result<Rows, QueryError> {
        match self {
            Self::Local(service) => {
                Ok(Rows::Local(Box::new(service.query(sql, QueryOptions::default()).await?)))
            }
            Self::Engine(asker) => Rows::open(asker.post(sql.to_owned(), ARROW).await?).await,
        }
    }

    /// Names of functions, for completion; a running engine is not asked for them.
    pub(crate) fn functions(&self) -> Vec<String> {
        match self {
            Self::Local(service) => service.functions(),
            Self::Engine(_) => {
                ["percentile", "route", "workload", "namespace", "trust_domain", "time_bucket"]
                    .map(str::to_owned)
                    .into()
            }
        }
    }
}

/// Read only: nothing is too old or too much.
fn open_history(path: &Path) -> Result<History, selvedge_query::HistoryError> {
    History::open(HistoryConfig { folder: path.to_path_buf(), age_max: Duration::MAX, bytes_max: u64::MAX })
}

/// An answer while it arrives.
pub(crate) enum Rows {
    Local(Box<QueryResult>),
    Engine { schema: SchemaRef, answer: Box<Answer>, reader: Option<BatchReader>, ready: Vec<RecordBatch> },
}

impl Rows {
    async fn open(mut answer: Answer) -> Result<Self, QueryError> {
        if answer.status() != 200 {
            return Err(refusal(answer).await);
        }
        let (mut reader, mut ready) = (BatchReader::default(), Vec::new());
        while reader.schema().is_none() {
            match answer.next().await {
                Some(piece) => ready.extend(batches(&mut reader, piece?)?),
                None => break,
            }
        }
        let Some(schema) = reader.schema() else {
            return Err(broken("the engine's answer holds no rows and no columns"));
        };
        Ok(Self::Engine { schema, answer: Box::new(answer), reader: Some(reader), ready })
    }

    /// The columns.
    pub(crate) fn schema(&self) -> SchemaRef {
        match self {
            Self::Local(result) => result.schema(),
            Self::Engine { schema, .. } => SchemaRef::clone(schema),
        }
    }

    /// The next batches; `None` when there are no more.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<RecordBatch>, QueryError>> {
        match self {
            Self::Local(result) => Some(result.next().await?.map(|batch| vec![batch]).map_err(Into::into)),
            Self::Engine { answer, reader, ready, .. } => {
                if !ready.is_empty() {
                    return Some(Ok(std::mem::take(ready)));
                }
                match answer.next().await {
                    Some(Ok(piece)) => Some(batches(reader.as_mut()?, piece)),
                    Some(Err(error)) => Some(Err(error.into())),
                    None => reader.take()?.finish().err().map(|error| Err(error.into())),
                }
            }
        }
    }
}

fn batches(reader: &mut BatchReader, piece: Piece) -> Result<Vec<RecordBatch>, QueryError> {
    match piece {
        Piece::Bytes(bytes) => Ok(reader.read(bytes)?),
        Piece::Problem(document) => Err(problem(&document)),
    }
}

/// What a status other than 200 says.
async fn refusal(mut answer: Answer) -> QueryError {
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(Ok(Piece::Bytes(bytes))) = answer.next().await {
        body.extend(bytes);
        if body.len() > 64 << 10 {
            break;
        }
    }
    match serde_json::from_slice(&body) {
        Ok(problem) => QueryError::Problem(problem),
        Err(_) => broken(&format!("the engine answered {status}; is this address selvedge's API?")),
    }
}

fn problem(document: &str) -> QueryError {
    serde_json::from_str(document).map_or_else(|_| broken(document), QueryError::Problem)
}

fn broken(detail: &str) -> QueryError {
    QueryError::Problem(Problem { detail: detail.to_owned(), position: None, hint: None })
}
