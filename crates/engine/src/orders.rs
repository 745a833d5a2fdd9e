//! What people order, and proxies report, while the engine runs: taken between two batches.

use selvedge_model::Quarantine;
use selvedge_policy::{CommandError, PushReport};
use tokio::sync::{mpsc, oneshot};

/// Where the answer to an order goes.
pub(crate) type Reply = oneshot::Sender<Result<Quarantine, CommandError>>;

/// One of them.
pub(crate) enum Order {
    Approve { id: String, who: String, why: String, reply: Reply },
    Lift { id: String, who: String, why: String, reply: Reply },
    Report(PushReport),
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A rule stands against it.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// The engine ends.
    #[error("the engine is stopping")]
    Stopping,
}

/// Gives orders to the live engine.
#[derive(Clone)]
pub struct LiveOrders {
    pub(crate) sending: mpsc::Sender<Order>,
}

impl LiveOrders {
    /// Has a quarantine enforced, on the word of `who`.
    ///
    /// # Errors
    /// A rule stands against it, or the engine ends.
    pub async fn approve(&self, id: &str, who: &str, why: &str) -> Result<Quarantine, OrderError> {
        let (reply, answer) = oneshot::channel();
        let order = Order::Approve { id: id.to_owned(), who: who.to_owned(), why: why.to_owned(), reply };
        self.give(order, answer).await
    }

    /// Has a quarantine taken back.
    ///
    /// # Errors
    /// There is no such quarantine, or the engine ends.
    pub async fn lift(&self, id: &str, who: &str, why: &str) -> Result<Quarantine, OrderError> {
        let (reply, answer) = oneshot::channel();
        let order = Order::Lift { id: id.to_owned(), who: who.to_owned(), why: why.to_owned(), reply };
        self.give(order, answer).await
    }

    /// Says what a push has come to. False when the engine ends and nobody listens.
    pub async fn report(&self, report: PushReport) -> bool {
        self.sending.send(Order::Report(report)).await.is_ok()
    }

    async fn give(
        &self,
        order: Order,
        answer: oneshot::Receiver<Result<Quarantine, CommandError>>,
    ) -> Result<Quarantine, OrderError> {
        self.sending.send(order).await.map_err(|_| OrderError::Stopping)?;
        Ok(answer.await.map_err(|_| OrderError::Stopping)??)
    }
}
