//! The tasks of the sinks: they stop taking when told, finish what is there, and are waited for.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What shutdown waits for.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskGroup {
    tasks: TaskTracker,
    /// Take nothing new, finish what is here.
    pub(crate) stopping: CancellationToken,
    /// Finish nothing more.
    pub(crate) killed: CancellationToken,
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Every task ended because its input did.
    InTime,
    /// Some had to be stopped.
    Stopped,
}

impl TaskGroup {
    /// Starts a task that belongs to the group. The task must end soon after `killed`.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Asks the tasks to finish, and stops them when `deadline` has passed.
    pub(crate) async fn drain(self, deadline: Duration) -> Drained {
        self.stopping.cancel();
        self.tasks.close();
        let drained = match tokio::time::timeout(deadline, self.tasks.wait()).await {
            Ok(()) => Drained::InTime,
            Err(_) => Drained::Stopped,
        };
        self.killed.cancel();
        self.tasks.wait().await;
        drained
    }
}
