//! The answer to a query, batch by batch.

use std::pin::Pin;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use futures::{Stream, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::SqlError;
use crate::stop::Stop;

/// A stream of batches, all of one schema. Dropping it stops the query.
pub struct QueryResult {
    schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch, SqlError>>,
    task: Running,
}

/// The query's task, stopped when dropped: where it yields, and where it asks.
struct Running(JoinHandle<()>, Stop);

impl Drop for Running {
    fn drop(&mut self) {
        self.1.unwanted();
        self.0.abort();
    }
}

impl QueryResult {
    /// Waits for the schema, or for why there is none.
    pub(crate) async fn open(
        schema: oneshot::Receiver<SchemaRef>,
        mut batches: mpsc::Receiver<Result<RecordBatch, SqlError>>,
        (task, stop): (JoinHandle<()>, Stop),
    ) -> Result<Self, SqlError> {
        let task = Running(task, stop);
        match schema.await {
            Ok(schema) => Ok(Self { schema, batches, task }),
            Err(_) => match batches.recv().await {
                Some(Err(error)) => Err(error),
                _ => Err(SqlError::Failed { message: "the query ended without an answer".to_owned() }),
            },
        }
    }

    /// The columns of every batch.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// All batches at once.
    ///
    /// # Errors
    /// The query failed, or has more rows than allowed.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, SqlError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }

    /// True when nothing more will come.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.task.0.is_finished() && self.batches.is_empty()
    }
}

impl Stream for QueryResult {
    type Item = Result<RecordBatch, SqlError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_recv(cx)
    }
}
